"""The figures: the published ones exactly as printed, the others against exact rationals."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.data import SolveRates, big_math_solve_rates
from identity.diagnostics import (
    MAX_GROUP_SIZE,
    ZONES,
    Diagnosis,
    MassRow,
    diagnose,
    plan_group_size,
)
from identity.errors import DomainError
from identity.expectation import fidelity, smallest_group_size
from tests.tolerances import ORACLE_DIGITS, mean_relative


@pytest.fixture(scope="module")
def shipped() -> Diagnosis:
    return diagnose(big_math_solve_rates())


def percent(share: float) -> float:
    """As printed: two decimals."""
    return round(100 * share, 2)


def mass(report: Diagnosis, method: str, size: int | None) -> MassRow:
    (row,) = (row for row in report.gradient_mass if (row.method, row.group_size) == (method, size))
    return row


# --- theory.md, "Real data" -----------------------------------------------------------------------


def test_published_population(shipped: Diagnosis) -> None:
    assert shipped.prompts == 215_608
    assert percent(shipped.unanimous.never_correct) == 4.02
    assert percent(shipped.unanimous.always_correct) == 7.16
    assert shipped.unanimous.prompts == 8_661 + 15_446
    assert shipped.unanimous.share == 24_107 / 215_608


def test_published_mass(shipped: Diagnosis) -> None:
    for method in ("dr_grpo", "rloo"):
        for size in (4, 8, None):
            row = mass(shipped, method, size)
            assert (percent(row.extremes), percent(row.middle)) == (13.88, 22.78)
    for method in ("grpo", "dapo"):
        row = mass(shipped, method, None)
        assert (percent(row.extremes), percent(row.middle)) == (24.70, 17.47)


def test_published_silent_rates(shipped: Diagnosis) -> None:
    assert [row.group_size for row in shipped.silent] == [4, 8, 16, 32, 64]
    assert [percent(row.plug_in) for row in shipped.silent] == [59.27, 44.28, 32.24, 23.01, 16.53]
    unbiased = [percent(row.unbiased) for row in shipped.silent[:3] if row.unbiased is not None]
    assert unbiased == [58.59, 43.07, 30.19]
    assert {row.unbiased_prompts for row in shipped.silent} == {215_602}
    assert {row.plug_in_prompts for row in shipped.silent} == {215_608}
    assert all("6 prompts left out" in row.note for row in shipped.silent)
    # At G = n the unbiased estimate is the share of unanimous logs.
    assert shipped.silent[-1].unbiased == pytest.approx(24_107 / 215_602, rel=mean_relative(64, 65))


# --- against exact rationals ----------------------------------------------------------------------

rows = st.integers(1, 12).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(0, 50), st.booleans())
)


@given(
    table=st.lists(rows, min_size=1, max_size=8).filter(lambda t: any(r[2] for r in t)),
    size=st.integers(2, 14),
)
def test_silent_rates_exactly(table: list[tuple[int, int, int, bool]], size: int) -> None:
    rates = SolveRates(*(tuple(column) for column in zip(*table, strict=True)), "test", "test")  # type: ignore[arg-type]
    row = diagnose(rates, group_sizes=[size]).silent[0]

    def plug_in(k: int, n: int) -> Fraction:
        return Fraction(k, n) ** size + Fraction(n - k, n) ** size

    def unbiased(k: int, n: int) -> Fraction:
        return Fraction(math.comb(k, size) + math.comb(n - k, size), math.comb(n, size))

    used = [(k, n, c) for k, n, c, only in table if c and n >= size and not only]
    everyone = sum(c for _, _, c, _ in table)
    bound = mean_relative(size, len(table))
    expected = sum(c * plug_in(k, n) for k, n, c, _ in table) / Fraction(everyone)
    assert row.plug_in == pytest.approx(float(expected), rel=bound, abs=0)
    assert row.plug_in_prompts == everyone
    assert row.unbiased_prompts == sum(c for _, _, c in used)
    if not used:
        assert row.unbiased is None
        assert row.plug_in_same_prompts is None
        assert row.note == f"needs n ≥ {size}"
        return
    expected = sum(c * unbiased(k, n) for k, n, c in used) / Fraction(row.unbiased_prompts)
    assert row.unbiased == pytest.approx(float(expected), rel=bound, abs=0)
    expected = sum(c * plug_in(k, n) for k, n, c in used) / Fraction(row.unbiased_prompts)
    assert row.plug_in_same_prompts == pytest.approx(float(expected), rel=bound, abs=0)
    # Jensen, prompt by prompt: C(k,G)/C(n,G) ≤ (k/n)^G.
    assert row.plug_in_same_prompts >= row.unbiased * (1 - bound)


def exact_mass(k: int, n: int, size: int | None, method: str) -> mpmath.mpf:
    """Weight times p(1−p) from the definition: E[σ] summed over the outcomes of the group."""
    p = mpmath.mpf(k) / n
    q = 1 - p
    if method in ("dr_grpo", "rloo"):
        return p * q
    if size is None:
        return mpmath.sqrt(p * q)
    spread = mpmath.fsum(
        mpmath.binomial(size, j) * p**j * q ** (size - j) * mpmath.sqrt(j * (size - j)) / size
        for j in range(size + 1)
    )
    return spread / (1 - p**size - q**size) if method == "dapo" else spread


@pytest.mark.parametrize("method", ["grpo", "dr_grpo", "rloo", "dapo"])
@pytest.mark.parametrize("size", [2, 3, 8, None])
def test_mass_exactly(method: str, size: int | None) -> None:
    # The edges .1 and .9 belong to the shoulders, .4 and .6 to the middle.
    table = [(0, 20, 5), (1, 20, 7), (2, 20, 3), (7, 20, 2), (8, 20, 4), (12, 20, 6), (13, 20, 1),
             (18, 20, 9), (19, 20, 2), (20, 20, 8)]  # fmt: skip
    zone = {1: 0, 2: 1, 7: 1, 8: 2, 12: 2, 13: 3, 18: 3, 19: 4}
    rates = SolveRates.from_counts([((k, n), c) for k, n, c in table], source="t", recognised="t")
    report = diagnose(rates, group_sizes=[2, 3, 8])
    with mpmath.workdps(ORACLE_DIGITS):
        expected = [mpmath.mpf(0)] * len(ZONES)
        for k, n, c in table:
            if k in zone:
                expected[zone[k]] += c * exact_mass(k, n, size, method)
        total = mpmath.fsum(expected)
        shares = [float(value / total) for value in expected]
    row = mass(report, method, size)
    bound = mean_relative(size or 2, len(table))
    assert row.zones == pytest.approx(shares, rel=bound, abs=0)
    assert row.extremes == pytest.approx(shares[0] + shares[-1], rel=bound, abs=0)
    assert row.middle == row.zones[2]


@given(table=st.lists(rows, min_size=1, max_size=8).filter(lambda t: any(r[2] for r in t)))
def test_report_is_finite_and_consistent(table: list[tuple[int, int, int, bool]]) -> None:
    rates = SolveRates(*(tuple(column) for column in zip(*table, strict=True)), "test", "test")  # type: ignore[arg-type]
    report = diagnose(rates, fidelity=0.8, group_sizes=[5, 2, 2])
    json.dumps(report.to_dict(), allow_nan=False)
    assert [row.group_size for row in report.silent] == [2, 5]
    assert report.largest_rollouts == max(n for _, n, c, _ in table if c)
    unanimous = sum(c for k, n, c, _ in table if k in (0, n))
    assert report.unanimous.prompts == unanimous
    mixed = report.prompts - unanimous
    assert report.group_size.mixed_prompts == mixed
    assert len(report.gradient_mass) == (4 * 3 if mixed else 0)
    for row in report.gradient_mass:
        assert math.fsum(row.zones) == pytest.approx(1, rel=mean_relative(2, 5), abs=0)
    assert bool(report.group_size.quantiles) == bool(mixed)
    assert (report.group_size.recommended is not None) == bool(mixed)


def test_mirrored_difficulties_get_the_same_report() -> None:
    """p ↔ 1−p: every figure but the zones, which are mirrored, is bit for bit the same."""
    pairs = [((1, 7), 3), ((2, 7), 5), ((0, 7), 2), ((30, 31), 4)]
    one = diagnose(SolveRates.from_counts(pairs, source="t", recognised="t"))
    mirrored = [((n - k, n), c) for (k, n), c in reversed(pairs)]
    other = diagnose(SolveRates.from_counts(mirrored, source="t", recognised="t"))
    assert one.group_size == other.group_size
    for a, b in zip(one.gradient_mass, other.gradient_mass, strict=True):
        assert a.zones == pytest.approx(b.zones[::-1], rel=mean_relative(2, 4), abs=0)


# --- recommended group size -----------------------------------------------------------------------


def mean_fidelity(size: int) -> float:
    """Of the shipped table, from the definition of φ, in floats."""
    rates = big_math_solve_rates()
    total = weighted = 0.0
    for k, n, c in zip(rates.correct, rates.rollouts, rates.count, strict=True):
        if 0 < k < n:
            total += c
            weighted += c * float(exact_mass(k, n, size, "grpo") / exact_mass(k, n, None, "grpo"))
    return weighted / total


def test_recommended_size_is_the_smallest(shipped: Diagnosis) -> None:
    advice = shipped.group_size
    assert (advice.recommended, advice.mixed_prompts) == (68, 215_608 - 24_107)
    assert advice.theorem == "expectation.monotone"
    bound = mean_relative(68, 69)
    assert advice.mean_fidelity == pytest.approx(mean_fidelity(68), rel=bound, abs=0)
    assert advice.mean_fidelity_below == pytest.approx(mean_fidelity(67), rel=bound, abs=0)
    assert mean_fidelity(67) < 0.95 <= mean_fidelity(68)


def test_quantiles(shipped: Diagnosis) -> None:
    """By difficulty; since the exact size falls as p rises to ½, also quantiles of the size."""
    rates = big_math_solve_rates()
    sizes: list[tuple[int, int]] = []
    for k, n, c in zip(rates.correct, rates.rollouts, rates.count, strict=True):
        if 0 < k < n:
            sizes.append((smallest_group_size(min(k, n - k) / n, 0.95), c))
    total = sum(c for _, c in sizes)
    for quantile in shipped.group_size.quantiles:
        met = sum(c for size, c in sizes if size <= quantile.group_size)
        below = sum(c for size, c in sizes if size < quantile.group_size)
        assert below < quantile.share * total <= met
        assert smallest_group_size(quantile.p, 0.95) == quantile.group_size
    assert [q.share for q in shipped.group_size.quantiles] == [0.25, 0.5, 0.75, 0.9, 0.95, 1.0]


@pytest.mark.parametrize(
    ("target", "expected"), [(0.5, 2), (0.51, 3), (0.9, 7), (0.95, 11), (0.99, 51)]
)
def test_one_difficulty_gets_its_exact_size(target: float, expected: int) -> None:
    rates = SolveRates.from_counts([((2, 4), 9)], source="t", recognised="t")
    advice = diagnose(rates, fidelity=target).group_size
    assert advice.recommended == expected == smallest_group_size(0.5, target)
    assert (advice.mean_fidelity_below is None) == (expected == 2)


def test_beyond_the_largest_group() -> None:
    rates = SolveRates.from_counts([((1, 10**9), 1)], source="t", recognised="t")
    advice = diagnose(rates).group_size
    assert advice.recommended is None
    assert advice.mean_fidelity is None
    assert {q.group_size for q in advice.quantiles} == {smallest_group_size(1e-9, 0.95)}


def test_upper_bound_is_clopper_pearson() -> None:
    rates = SolveRates.from_counts([((0, 64), 1), ((0, 8), 1)], source="t", recognised="t")
    found = diagnose(rates).unanimous
    assert found.rollouts == 64
    assert found.upper_bound is not None
    assert (1 - found.upper_bound) ** 64 == pytest.approx(0.05, rel=mean_relative(64, 1), abs=0)
    none = SolveRates.from_counts([((8, 8), 1)], source="t", recognised="t")
    assert diagnose(none).unanimous.upper_bound is None


@pytest.mark.parametrize("target", [0, 1, -0.5, math.nan, 1 - 1e-7])
def test_target_outside_its_domain(target: float) -> None:
    with pytest.raises(DomainError, match=r"^fidelity must "):
        diagnose(big_math_solve_rates(), fidelity=target)
    with pytest.raises(DomainError, match=r"^fidelity must "):
        plan_group_size(0.5, target)


@pytest.mark.parametrize("sizes", [[], [1], [0], [-3], [True], [2.0], [MAX_GROUP_SIZE + 1]])
def test_group_sizes_outside_their_domain(sizes: list[int]) -> None:
    with pytest.raises(DomainError, match=r"^group_sizes? must "):
        diagnose(big_math_solve_rates(), group_sizes=sizes)


# --- plan -----------------------------------------------------------------------------------------

# 2607.00152, Table 1: exact smallest size and first-order law, by p and ε.
TABLE_1 = {
    (0.5, 0.9): (7, 5), (0.5, 0.95): (11, 10), (0.5, 0.99): (51, 50),
    (0.3, 0.9): (9, 6), (0.3, 0.95): (14, 12), (0.3, 0.99): (61, 60),
    (0.1, 0.9): (22, 14), (0.1, 0.95): (36, 28), (0.1, 0.99): (144, 139),
    (0.05, 0.9): (42, 27), (0.05, 0.95): (69, 53), (0.05, 0.99): (273, 264),
}  # fmt: skip


@pytest.mark.parametrize(("cell", "sizes"), TABLE_1.items())
def test_plan_gives_table_1(cell: tuple[float, float], sizes: tuple[int, int]) -> None:
    by_rule = {row.rule: row for row in plan_group_size(*cell).rows}
    assert (by_rule["exact"].group_size, by_rule["first_order"].group_size) == sizes
    assert by_rule["exact"].meets_target
    for row in by_rule.values():
        assert row.fidelity is not None
        assert row.meets_target == (row.fidelity >= cell[1])


def test_plan_at_five_percent() -> None:
    plan = plan_group_size(0.05, 0.99, 8)
    assert [row.rule for row in plan.rows] == ["exact", "second_order", "first_order", "given"]
    assert plan.epsilon == 0.01
    assert round(plan.rows[1].value, 1) == 271.1
    given_size = plan.rows[-1]
    assert given_size.fidelity is not None
    assert round(given_size.fidelity, 4) == 0.5390
    silent = Fraction(0.05) ** 8 + (1 - Fraction(0.05)) ** 8
    bound = mean_relative(8, 1)
    assert given_size.silent_rate == pytest.approx(float(silent), rel=bound, abs=0)
    assert given_size.groups_per_kept == pytest.approx(float(1 / (1 - silent)), rel=bound, abs=0)
    assert given_size.rollouts_per_kept == 8 * given_size.groups_per_kept


@given(p=st.floats(1e-9, 1 - 1e-9), target=st.floats(0.01, 0.999))
def test_plan_holds_together(p: float, target: float) -> None:
    plan = plan_group_size(p, target, 2)
    json.dumps(plan.to_dict(), allow_nan=False)
    exact = plan.rows[0].group_size
    for row in plan.rows:
        assert row.group_size >= 2
        assert row.meets_target == (row.group_size >= exact)
        assert (row.fidelity is None) == (row.group_size > MAX_GROUP_SIZE)
        assert row.groups_per_kept >= 1
    assert plan.rows[0].meets_target


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, 1.1, math.nan, math.inf, 1e-300, 1e-16])
def test_plan_outside_its_domain(p: float) -> None:
    with pytest.raises(DomainError, match=r"^p(, fidelity)? must "):
        plan_group_size(p)


def test_plan_uses_the_fidelity_function() -> None:
    row = plan_group_size(0.3, 0.9).rows[0]
    assert row.fidelity == float(fidelity(0.3, row.group_size))


@pytest.mark.parametrize("p", [None, "0.05", [0.05], True, 0.5 + 0j])
def test_plan_takes_a_number(p: Any) -> None:
    with pytest.raises(DomainError, match=r"^p must be a number"):
        plan_group_size(p)
    with pytest.raises(DomainError, match=r"^fidelity must be a number"):
        plan_group_size(0.5, p)


@pytest.mark.parametrize("sizes", [8, None, "8", [None, 2], [[8]], [8.0], [True], [], {8}])
def test_group_sizes_are_a_sequence_of_integers(sizes: Any) -> None:
    with pytest.raises(DomainError, match=r"^group_size"):
        diagnose(big_math_solve_rates(), group_sizes=sizes)


@pytest.mark.parametrize("rates", ["file.csv", None, [(1, 2)]])
def test_diagnose_takes_solve_rates(rates: Any) -> None:
    with pytest.raises(DomainError, match=r"^rates must be SolveRates"):
        diagnose(rates)


def test_diagnose_takes_numpy_group_sizes() -> None:
    rows = diagnose(big_math_solve_rates(), group_sizes=np.array([8, 4])).silent
    assert [row.group_size for row in rows] == [4, 8]
