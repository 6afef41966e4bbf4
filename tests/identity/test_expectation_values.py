"""identity.expectation: published figures, special values, exact identities, real data."""

from __future__ import annotations

import csv
import itertools
import math
from fractions import Fraction
from importlib import resources

import mpmath
import numpy as np
import pytest
from flint import arb
from hypothesis import given
from hypothesis import strategies as st

from identity import expectation
from tests import tolerances as tol
from tests.identity import expectation_oracle as oracle

METHODS = ("grpo", "dr_grpo", "rloo", "dapo", "max_rl", "pass_at_k")
EPS = 2.0**-52

# arXiv 2607.00152, Table 1: exact smallest G and (first-order law), for ε = 10, 5, 1 %.
TABLE_1 = {
    0.5: ((7, 5), (11, 10), (51, 50)),
    0.3: ((9, 6), (14, 12), (61, 60)),
    0.1: ((22, 14), (36, 28), (144, 139)),
    0.05: ((42, 26), (69, 53), (273, 263)),
}
LOSSES = (0.1, 0.05, 0.01)


# --- published figures --------------------------------------------------------------------------


@pytest.mark.parametrize("p", TABLE_1)
def test_table_1(p: float) -> None:
    for epsilon, (exact, law) in zip(LOSSES, TABLE_1[p], strict=True):
        assert expectation.smallest_group_size(p, 1 - epsilon) == exact
        assert round(float(expectation.group_size_law(p, epsilon))) == law


def test_fidelity_of_groups_of_eight() -> None:
    assert abs(expectation.fidelity(0.5, 8) - 0.9278) <= tol.FOUR_DECIMALS
    assert abs(expectation.fidelity(0.05, 8) - 0.5390) <= tol.FOUR_DECIMALS


def test_second_order_law() -> None:
    assert abs(expectation.group_size_law(0.05, 0.01, order=2) - 271.1) <= tol.ONE_DECIMAL


@pytest.mark.parametrize(
    ("epsilon", "rate", "digits"), [(0.1, 2.0415, 4), (0.05, 3.3447, 4), (0.01, 12.976, 3)]
)
def test_rare_limit(epsilon: float, rate: float, digits: int) -> None:
    """G p → λ_ε as p → 0 (expectation.group-size-rare)."""
    p = 1e-12
    assert round(expectation.smallest_group_size(p, 1 - epsilon) * p, digits) == rate


def test_tail_miss_is_largest_at_ten() -> None:
    values = [float(expectation.tail_miss(0.3, 0.01, n)) for n in range(2, 100)]
    assert values.index(max(values)) + 2 == 10
    assert abs(max(values) - 0.876) <= tol.THREE_DECIMALS


@pytest.mark.parametrize(("group_size", "factor"), [(2, 0.5), (4, 0.75), (8, 0.875), (16, 0.9375)])
def test_bessel(group_size: int, factor: float) -> None:
    p = np.linspace(0.01, 0.99, 9)
    for function in (expectation.update_weight, expectation.surrogate, expectation.gradient_mass):
        for method in ("grpo", "dapo"):
            plain = function(p, group_size, method)
            np.testing.assert_array_equal(
                function(p, group_size, method, ddof=1), math.sqrt(factor) * plain
            )


# --- closed forms and special values ------------------------------------------------------------


def test_two_and_three_rollouts_have_no_difficulty_bias() -> None:
    p = np.linspace(0, 1, 101)
    np.testing.assert_array_equal(expectation.update_weight(p, 2), np.ones_like(p))
    np.testing.assert_array_equal(
        expectation.update_weight(p, 3), np.full_like(p, np.sqrt(np.float64(2)))
    )


@given(p=st.floats(0, 1))
def test_four_rollouts(p: float) -> None:
    x = oracle.ball(p) * (1 - oracle.ball(p))
    exact = arb(3).sqrt() + (3 - 2 * arb(3).sqrt()) * x
    value = expectation.update_weight(p, 4)
    assert oracle.relative_error(value, exact) <= tol.WEIGHT_EPS * EPS


@pytest.mark.parametrize("group_size", [2, 3, 4, 5, 8, 64, 100, 4096, 10**6])
def test_ends(group_size: int) -> None:
    ends = np.asarray([0.0, 1.0])
    root = np.sqrt(np.float64(group_size - 1))
    np.testing.assert_array_equal(expectation.update_weight(ends, group_size), [root, root])
    for function in (expectation.expected_std, expectation.fidelity):
        np.testing.assert_array_equal(function(ends, group_size), [0, 0])
    np.testing.assert_array_equal(expectation.silent_rate(ends, group_size), [1, 1])
    np.testing.assert_array_equal(
        expectation.update_weight(ends, group_size, "max_rl"), [group_size, 1]
    )
    np.testing.assert_array_equal(
        expectation.update_weight(ends, group_size, "pass_at_k"), [group_size, 0]
    )
    for method in ("grpo", "dr_grpo", "rloo", "max_rl", "pass_at_k"):
        assert expectation.surrogate(0.0, group_size, method) == 0
    np.testing.assert_array_equal(
        expectation.tail_miss(np.asarray([0.0, 1.0, 1.0]), np.asarray([0.0, 1.0, 0.0]), group_size),
        [0, 0, 0],
    )
    share = (group_size - 1) / group_size
    np.testing.assert_array_equal(
        expectation.update_weight(ends, group_size, "dr_grpo"), [share, share]
    )
    np.testing.assert_array_equal(expectation.update_weight(ends, group_size, "rloo"), [1, 1])


@given(p=st.floats(2.0**-40, 0.5), group_size=st.integers(2, 200))
def test_symmetry(p: float, group_size: int) -> None:
    q = 1 - p
    p = 1 - q  # both exact
    for function in (expectation.update_weight, expectation.expected_std, expectation.fidelity):
        assert function(p, group_size) == function(q, group_size)
    assert expectation.groups_per_kept(p, group_size) == expectation.groups_per_kept(q, group_size)


def test_large_group_limits() -> None:
    p = np.asarray([0.02, 0.3, 0.5, 0.9])
    x = p * (1 - p)
    for method, limit in (("grpo", np.sqrt(x)), ("dapo", np.sqrt(x)), ("dr_grpo", x),
                          ("rloo", x), ("max_rl", 1 - p)):  # fmt: skip
        np.testing.assert_array_equal(expectation.gradient_mass(p, method=method), limit)
        near = expectation.gradient_mass(p, 2**20, method)
        # 1/(8 G pq) is the largest of the first corrections.
        assert np.all(np.abs(near / limit - 1) <= 1 / (4 * 2**20 * x))


def test_youden_decides_the_sign() -> None:
    p = np.linspace(0.01, 0.99, 50)
    assert np.all(expectation.verifier_noise_weight(p, 8, 0.9, 0.2) > 0)
    assert np.all(expectation.verifier_noise_weight(p, 8, 0.2, 0.9) < 0)
    np.testing.assert_array_equal(expectation.verifier_noise_weight(p, 8, 0.4, 0.4), 0 * p)
    np.testing.assert_array_equal(
        expectation.verifier_noise_weight(p, 8, 1.0, 0.0), expectation.update_weight(p, 8)
    )


# --- first principles ---------------------------------------------------------------------------


@pytest.mark.parametrize("group_size", [2, 3, 4, 5])
@pytest.mark.parametrize("p", [0.125, 0.5, 0.8125])
def test_weight_by_enumeration(group_size: int, p: float) -> None:
    """E[g]/∇p over all 2^G reward vectors, on a logit prompt: s = R − p, ∇p = pq."""
    rate = Fraction(p)
    exact = {method: arb(0) for method in METHODS}
    for rewards in itertools.product((0, 1), repeat=group_size):
        chance = math.prod(rate if r else 1 - rate for r in rewards)
        scores = [r - rate for r in rewards]
        correct, mean = sum(rewards), Fraction(sum(rewards), group_size)
        spread = (oracle_fraction(mean * (1 - mean))).sqrt()
        centred = sum((r - mean) * s for r, s in zip(rewards, scores, strict=True)) / group_size
        step = dict.fromkeys(METHODS, arb(0))
        if 0 < correct < group_size:
            step["grpo"] = oracle_fraction(centred) / spread
            kept = 1 - rate**group_size - (1 - rate) ** group_size
            step["dapo"] = step["grpo"] / oracle_fraction(kept)
        step["dr_grpo"] = oracle_fraction(centred)
        step["rloo"] = oracle_fraction(centred * group_size / (group_size - 1))
        if correct:
            mean_score = sum(s for r, s in zip(rewards, scores, strict=True) if r) / correct
            step["max_rl"] = oracle_fraction(Fraction(mean_score))
        if correct == 1:  # best minus second best
            step["pass_at_k"] = oracle_fraction(1 - rate)
        for method in METHODS:
            exact[method] += oracle_fraction(chance) * step[method]
    for method in METHODS:
        value = expectation.gradient_mass(p, group_size, method)
        assert oracle.relative_error(value, exact[method]) <= tol.MASS_EPS * EPS, method


def oracle_fraction(value: Fraction) -> arb:
    return arb(value.numerator) / value.denominator


@pytest.mark.parametrize("group_size", [2, 4, 7])
def test_unbiased_estimate_is_unbiased_and_the_plug_in_is_not(group_size: int) -> None:
    rate, n = Fraction(3, 16), 12
    p = float(rate)
    chances = [math.comb(n, c) * rate**c * (1 - rate) ** (n - c) for c in range(n + 1)]
    counts = np.arange(n + 1)
    weights = np.asarray([float(c) for c in chances])
    silent = float(expectation.silent_rate(p, group_size))
    unbiased = float(np.sum(weights * expectation.silent_rate_unbiased(counts, n, group_size)))
    plug_in = float(np.sum(weights * expectation.silent_rate(counts / n, group_size)))
    assert abs(unbiased / silent - 1) <= tol.unbiased_eps(group_size) * EPS
    # The biased twin must be told apart.
    assert plug_in / silent - 1 > tol.PROMISED_RELATIVE


def test_population_silent_rate_is_the_mean_over_the_beta_law() -> None:
    a, b, group_size = 0.5, 2.0, 8
    with mpmath.workdps(tol.ORACLE_DIGITS):
        exact = sum(
            mpmath.beta(a + i, b + j) / mpmath.beta(a, b)
            for i, j in ((group_size, 0), (0, group_size))
        )
    value = expectation.silent_rate_beta(a, b, group_size)
    assert oracle.relative_error(value, arb(str(exact))) <= tol.beta_eps(1.0) * EPS


# --- the smallest group size --------------------------------------------------------------------


def reaches(p: float, group_size: int, target: float) -> bool:
    x = oracle.ball(p)
    phi = oracle.weight_windowed(p, group_size) * (x * (1 - x)).sqrt()
    return bool(phi >= oracle.ball(target))


@given(
    p=st.one_of(st.floats(0.01, 0.99), st.floats(-4.0, -1.0).map(lambda e: 10.0**e)),
    target=st.one_of(st.floats(0.05, 0.99), st.floats(-3, -1.0).map(lambda e: 1 - 10.0**e)),
)
def test_smallest_group_size_is_the_smallest(p: float, target: float) -> None:
    size = expectation.smallest_group_size(p, target)
    if size > 3:
        assert reaches(p, size, target)
        assert not reaches(p, size - 1, target)
    assert size == expectation.smallest_group_size(p, target)


def test_smallest_group_size_where_floats_cannot_tell() -> None:
    """One more rollout moves φ by less than an ulp: decimals decide, and Arb agrees."""
    p, target = 1e-15, 0.9
    size = expectation.smallest_group_size(p, target)
    low, high = (poisson_like(p, g) for g in (size - 1, size))
    assert low < oracle.ball(target) <= high
    assert float(high - low) < EPS


def poisson_like(p: float, group_size: int) -> arb:
    """φ with n p ≈ 2: the first 400 outcomes carry all of it."""
    x, n = oracle.ball(p), group_size - 1
    term, total = ((1 - x).log() * n).exp(), arb(0)
    for b in range(400):
        total += term * ((arb(n - b) / (1 + b)).sqrt() + (arb(b) / (group_size - b)).sqrt())
        term = term * (n - b) * (x / (1 - x)) / (b + 1)
    return total * (x * (1 - x)).sqrt()


def test_smallest_group_size_at_equality() -> None:
    # φ(2, ½) = ½ exactly, and φ(3, p)² = 2pq.
    assert expectation.smallest_group_size(0.5, 0.5) == 2
    assert expectation.smallest_group_size(0.5, math.nextafter(0.5, 1)) == 3
    # At p = ½ that is √½, which is no float: its neighbours are decided as fractions.
    root = math.sqrt(0.5)
    below, above = sorted((root, math.nextafter(root, 0 if root**2 > 0.5 else 1)))
    assert expectation.smallest_group_size(0.5, math.nextafter(below, 0)) == 3
    assert expectation.smallest_group_size(0.5, math.nextafter(above, 1)) == 4


def test_smallest_group_size_is_symmetric() -> None:
    assert expectation.smallest_group_size(0.75, 0.95) == expectation.smallest_group_size(
        0.25, 0.95
    )


@given(p=st.floats(0.001, 0.999), group_size=st.integers(2, 300))
def test_fidelity_grows_with_the_group(p: float, group_size: int) -> None:
    low = expectation.fidelity(p, group_size)
    high = expectation.fidelity(p, group_size + 1)
    assert low <= high * (1 + tol.MASS_EPS * EPS)
    assert high <= 1


# --- Big-Math solve rates -----------------------------------------------------------------------
# Convention: the six values j/9 (n = 9, one problem each) count in every figure but the unbiased
# one, which is "from 64 rollouts" and therefore over the 215,602 problems with n = 64. Taken over
# all rows with their own n, G = 4 would read 58.58.


@pytest.fixture(scope="module")
def big_math() -> dict[str, np.ndarray]:
    file = resources.files("identity.data") / "big_math_solve_rates.csv"
    with file.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    table = {key: np.asarray([int(r[key]) for r in rows]) for key in ("k", "n", "count")}
    table["p"] = table["k"] / table["n"]
    return table


def close(share: float, per_cent: float) -> bool:
    return abs(share - per_cent / 100) <= tol.PER_CENT_HUNDREDTHS


def test_big_math_ends(big_math: dict[str, np.ndarray]) -> None:
    count, p = big_math["count"], big_math["p"]
    assert count.sum() == 215_608
    assert close(count[p == 0].sum() / count.sum(), 4.02)
    assert close(count[p == 1].sum() / count.sum(), 7.16)


@pytest.mark.parametrize(
    ("method", "extremes", "middle"), [("dr_grpo", 13.88, 22.78), ("grpo", 24.70, 17.47)]
)
def test_big_math_mass(
    big_math: dict[str, np.ndarray], method: str, extremes: float, middle: float
) -> None:
    p = big_math["p"]
    mass = big_math["count"] * expectation.gradient_mass(p, method=method)
    outer = ((p > 0) & (p < 0.1)) | ((p > 0.9) & (p < 1))
    inner = (p >= 0.4) & (p <= 0.6)
    assert close(mass[outer].sum() / mass.sum(), extremes)
    assert close(mass[inner].sum() / mass.sum(), middle)


@pytest.mark.parametrize(
    ("group_size", "per_cent"), [(4, 59.27), (8, 44.28), (16, 32.24), (32, 23.01), (64, 16.53)]
)
def test_big_math_silent(big_math: dict[str, np.ndarray], group_size: int, per_cent: float) -> None:
    count = big_math["count"]
    silent = expectation.silent_rate(big_math["p"], group_size)
    assert close(float(np.sum(count * silent) / count.sum()), per_cent)


@pytest.mark.parametrize(("group_size", "per_cent"), [(4, 58.59), (8, 43.07), (16, 30.19)])
def test_big_math_silent_unbiased(
    big_math: dict[str, np.ndarray], group_size: int, per_cent: float
) -> None:
    full = big_math["n"] == 64
    count = big_math["count"][full]
    assert count.sum() == 215_602
    silent = expectation.silent_rate_unbiased(big_math["k"][full], 64, group_size)
    assert close(float(np.sum(count * silent) / count.sum()), per_cent)
