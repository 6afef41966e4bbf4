"""identity.expectation against 50 digits, at the float passed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import array_api_compat.numpy as anp
import mpmath
import numpy as np
import pytest
from flint import arb, arb_poly
from hypothesis import example, given
from hypothesis import strategies as st

from identity import expectation
from identity.expectation import _binomial, weight
from tests import tolerances as tol
from tests.identity import expectation_oracle as oracle

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
SMALLEST = {"float32": 1.2e-38, "float64": 1e-300}
DTYPES = tuple(EPS)
SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 16, 17, 64, 100, 1000)
LARGEST = 4096
TOP = 1 - 2.0**-53


def hard_points(group_size: int) -> list[float]:
    """Tiny, near 1, near 1/G, near 1/2, and one p in every few pieces of the table."""
    near = [c / group_size for c in (0.001, 0.5, 1.0, 3.0)]
    return [1e-300, 1e-155, 1e-20, 2.0**-53, *near, 0.25, 0.5 - 1e-9, 0.5, 0.5 + 1e-9, 0.75,
            1 - near[0], 1 - near[2], 1 - 1e-9, TOP]  # fmt: skip


def worst(
    function: Callable[[Any], Any], exact: Callable[[float], arb], points: list[float], dtype: str
) -> tuple[float, float]:
    """Largest relative error in eps of the dtype, and where."""
    p = np.asarray(points).astype(dtype)
    p = p[(p >= SMALLEST[dtype]) & (p < 1)]
    values = function(p)
    assert values.dtype == dtype
    floor = float(np.finfo(dtype).smallest_normal)
    found = [
        (oracle.relative_error(v, e) / EPS[dtype], float(q))
        for v, q in zip(values, p, strict=True)
        if abs(float(e := exact(float(q)))) >= floor or e.is_zero()
    ]
    return max(found)


def check(
    function: Callable[[Any], Any],
    exact: Callable[[float], arb],
    points: list[float],
    bound: float,
    dtype: str = "float64",
) -> None:
    error, where = worst(function, exact, points, dtype)
    assert error <= bound, f"{error} eps at p = {where!r}"
    if dtype == "float64":
        assert error * EPS[dtype] <= tol.PROMISED_RELATIVE


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", [*SIZES, LARGEST])
def test_weight_and_std(group_size: int, dtype: str) -> None:
    points = hard_points(group_size)
    check(
        lambda p: expectation.update_weight(p, group_size),
        lambda p: oracle.weight(p, group_size),
        points,
        tol.WEIGHT_EPS,
        dtype,
    )
    check(
        lambda p: expectation.expected_std(p, group_size),
        lambda p: oracle.expected_std(p, group_size),
        points,
        tol.MASS_EPS,
        dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", SIZES)
@pytest.mark.parametrize("method", ["dr_grpo", "rloo", "dapo", "max_rl", "pass_at_k"])
def test_other_weights(method: str, group_size: int, dtype: str) -> None:
    points = hard_points(group_size)
    check(
        lambda p: expectation.update_weight(p, group_size, method),
        lambda p: oracle.weight(p, group_size, method),
        points,
        tol.MASS_EPS,
        dtype,
    )
    check(
        lambda p: expectation.gradient_mass(p, group_size, method),
        lambda p: oracle.weight(p, group_size, method) * oracle.ball(p) * (1 - oracle.ball(p)),
        points,
        tol.MASS_EPS,
        dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", [*SIZES, LARGEST])
@pytest.mark.parametrize("method", ["grpo", "dr_grpo", "rloo", "max_rl", "pass_at_k"])
def test_surrogate(method: str, group_size: int, dtype: str) -> None:
    check(
        lambda p: expectation.surrogate(p, group_size, method),
        lambda p: oracle.surrogate(p, group_size, method),
        hard_points(group_size),
        tol.SURROGATE_EPS,
        dtype,
    )


@pytest.mark.parametrize(("group_size", "p"), [(2, 1e-9), (3, 0.7), (4, 0.3), (8, 0.02), (9, 0.9)])
def test_dapo_surrogate_is_the_integral_from_one_half(group_size: int, p: float) -> None:
    value = expectation.surrogate(p, group_size, "dapo")
    error = oracle.relative_error(value, oracle.dapo_surrogate(p, group_size))
    assert error <= tol.SURROGATE_EPS * EPS["float64"]
    assert expectation.surrogate(0.5, group_size, "dapo") == 0
    # Odd about 1/2, exactly where 1 − p is exact.
    q = 1 - p
    mirror = expectation.surrogate(1 - q, group_size, "dapo")
    assert expectation.surrogate(q, group_size, "dapo") == -mirror


def test_dapo_surrogate_at_two_and_three_is_the_log_odds() -> None:
    points = hard_points(2)
    for group_size, factor in ((2, arb(1) / 2), (3, arb(2).sqrt() / 3)):
        check(
            lambda p, g=group_size: expectation.surrogate(p, g, "dapo"),
            lambda p, f=factor: f * (oracle.ball(p) / (1 - oracle.ball(p))).log(),
            points,
            tol.SURROGATE_EPS,
        )


@given(
    group_size=st.one_of(st.integers(2, 64), st.integers(2, 700)),
    p=st.one_of(
        st.floats(1e-300, TOP),
        st.floats(-300, -0.3).map(lambda e: 10.0**e),
        st.floats(-15.9, -0.3).map(lambda e: 1 - 10.0**e),
    ),
)
@example(group_size=257, p=2.5e-4)
def test_anywhere(group_size: int, p: float) -> None:
    exact = oracle.weight(p, group_size)
    x = oracle.ball(p) * (1 - oracle.ball(p))
    mixed = oracle.mixed(p, group_size)
    for value, wanted, bound in (
        (expectation.update_weight(p, group_size), exact, tol.WEIGHT_EPS),
        (expectation.update_weight(p, group_size, "dapo"), exact / mixed, tol.MASS_EPS),
        (expectation.expected_std(p, group_size), exact * x, tol.MASS_EPS),
        (expectation.fidelity(p, group_size), exact * x.sqrt(), tol.MASS_EPS),
        (expectation.groups_per_kept(p, group_size), 1 / mixed, tol.KEPT_EPS),
        (expectation.surrogate(p, group_size), oracle.surrogate(p, group_size), tol.SURROGATE_EPS),
    ):
        assert oracle.relative_error(value, wanted) <= bound * EPS["float64"]


@pytest.mark.parametrize("group_size", [10**6, 2**20])
def test_very_large_groups(group_size: int) -> None:
    with np.errstate(all="raise", under="ignore"):
        for p in (1e-300, 1e-7, 1e-6, 3e-5, 0.5, 1 - 1e-6):
            exact = oracle.weight_windowed(p, group_size)
            value = expectation.update_weight(p, group_size)
            assert oracle.relative_error(value, exact) <= tol.WEIGHT_EPS * EPS["float64"]
        p = np.asarray([0.0, 1e-300, 1e-9, 0.3, 0.5, TOP, 1.0])
        for method in ("grpo", "max_rl", "dapo", "pass_at_k"):
            inner = p[1:-1] if method == "dapo" else p
            assert np.isfinite(expectation.surrogate(inner, group_size, method)).all()
            assert np.isfinite(expectation.update_weight(inner, group_size, method)).all()
            assert np.isfinite(expectation.gradient_mass(inner, group_size, method)).all()
        assert np.isfinite(expectation.silent_rate(p, group_size)).all()
        assert np.isfinite(expectation.silent_rate_beta(0.5, 2.0, group_size))
        p = 1e-5
        wanted = oracle.surrogate(p, group_size, "pass_at_k")
        value = expectation.surrogate(p, group_size, "pass_at_k")
        assert oracle.relative_error(value, wanted) <= tol.SURROGATE_EPS * EPS["float64"]


def test_max_rl_surrogate_of_a_million_rollouts() -> None:
    # Σ (1 − q^i)/i = H_N − Σ q^i/i; at p = 1 the harmonic number itself.
    value = expectation.surrogate(1.0, 10**6, "max_rl")
    with mpmath.workdps(tol.ORACLE_DIGITS):
        wanted = arb(str(mpmath.harmonic(10**6)))
    assert oracle.relative_error(value, wanted) <= tol.SURROGATE_LARGE_EPS * EPS["float64"]


@pytest.mark.parametrize("group_size", [9, 16, 64, 500])
def test_every_piece_of_a_table(group_size: int) -> None:
    """Also between the fit's nodes, at both ends of each piece, and that the pieces join."""
    table = weight.weight_table(group_size)
    right = np.append(table.left[1:], 0.25)
    for left, end in zip(table.left.tolist(), right.tolist(), strict=True):
        for x in (left, left + 0.03 * (end - left), (left + end) / 2, math.nextafter(end, 0)):
            p = 2 * x / (1 + math.sqrt(1 - 4 * x))
            value = expectation.update_weight(p, group_size)
            error = oracle.relative_error(value, oracle.weight(p, group_size))
            assert error <= tol.WEIGHT_EPS * EPS["float64"], (x, error)


@pytest.mark.parametrize("group_size", [20, 64, 257])
def test_interpolation_error_is_bounded_rigorously(group_size: int) -> None:
    """No sampling: on a piece of width h, a polynomial through d + 1 Chebyshev points misses W by
    at most 2 (h/4)^(d+1) max|W^(d+1)|/(d+1)!, the maximum bounded by the Taylor series of W (a
    polynomial) about the middle. W itself is bounded below in the same way."""
    table = weight.weight_table(group_size)
    order = table.coefficients.shape[0]
    series = arb_poly(_symmetric_powers(oracle.coefficients(group_size, "grpo")))
    assert series.degree() >= order
    for left, end in zip(table.left.tolist(), [*table.left[1:].tolist(), 0.25], strict=True):
        middle = (oracle.ball(left) + oracle.ball(end)) / 2
        half = oracle.ball(end) - middle
        taylor = series(arb_poly([middle, 1])).coeffs()
        least, derivative = taylor[0], arb(0)
        for j in range(1, len(taylor)):
            least -= abs(taylor[j]) * half**j
            if j >= order:
                derivative += math.comb(j, order) * abs(taylor[j]) * half ** (j - order)
        bound = 2 * (half / 2) ** order * derivative / least
        assert float((bound / EPS["float64"]).upper()) <= tol.INTERPOLATION_EPS, left


def _symmetric_powers(coefficients: tuple[arb, ...]) -> list[arb]:
    """Coefficients of W as a polynomial in x = pq, from its Bernstein coefficients in p."""
    n = len(coefficients) - 1
    powers = []  # of p: Σ_j C(n, j) Δ^j c(0) p^j
    row = list(coefficients)
    for j in range(n + 1):
        powers.append(row[0] * math.comb(n, j))
        row = [b - a for a, b in itertools.pairwise(row)]
    series = []
    for j in range(n // 2 + 1):
        # p^j is the lowest power in (p − p²)^j: peel x^j off.
        lead = powers[j]
        series.append(lead)
        for i in range(j + 1):
            powers[j + i] -= lead * math.comb(j, i) * (-1) ** i
    return series


@given(
    p=st.one_of(st.floats(0, 1), st.floats(-300, 0).map(lambda e: 10.0**e)),
    group_size=st.integers(2, 3000),
)
def test_silent_rate(p: float, group_size: int) -> None:
    x = oracle.ball(p)
    exact = x**group_size + (1 - x) ** group_size
    if float(exact) < float(np.finfo(np.float64).smallest_normal):
        return
    error = oracle.relative_error(expectation.silent_rate(p, group_size), exact)
    assert error <= tol.SILENT_EPS * EPS["float64"]


@given(
    p=st.one_of(st.floats(1e-300, TOP), st.floats(-300, -0.1).map(lambda e: 10.0**e)),
    share=st.floats(0, 1),
    group_size=st.integers(2, 300),
)
def test_conditional_baseline_and_tail_miss(p: float, share: float, group_size: int) -> None:
    x, tail = oracle.ball(p), share * p
    t = oracle.ball(tail)
    exact = (x - x**group_size) / oracle.mixed(p, group_size)
    error = oracle.relative_error(expectation.conditional_baseline(p, group_size), exact)
    assert error <= tol.CONDITIONAL_EPS * EPS["float64"]
    exact = (1 - t) ** group_size - (1 - x) ** group_size - (x - t) ** group_size
    value = expectation.tail_miss(p, tail, group_size)
    if share == 1 or float(exact) < float(np.finfo(np.float64).smallest_normal):
        return
    assert oracle.relative_error(value, exact) <= tol.TAIL_MISS_EPS * EPS["float64"]


@given(
    p=st.floats(0, 1), t=st.floats(0, 1), f=st.floats(0, 1), group_size=st.sampled_from((2, 5, 40))
)
def test_verifier_noise(p: float, t: float, f: float, group_size: int) -> None:
    n = group_size - 1
    youden = oracle.ball(t) - oracle.ball(f)
    seen = oracle.ball(f) + youden * oracle.ball(p)
    total = arb(0)
    for b, c in enumerate(oracle.coefficients(group_size, "grpo")):
        total += math.comb(n, b) * seen**b * (1 - seen) ** (n - b) * c
    value = expectation.verifier_noise_weight(p, group_size, t, f)
    exact = youden * total
    if not exact.is_zero() and abs(float(exact)) < float(np.finfo(np.float64).smallest_normal):
        return
    assert oracle.relative_error(value, exact) <= tol.NOISE_EPS * EPS["float64"]


@given(n=st.integers(2, 400), share=st.floats(0, 1), group_size=st.integers(2, 400), data=st.data())
def test_silent_rate_unbiased(n: int, share: float, group_size: int, data: st.DataObject) -> None:
    group_size = min(group_size, n)
    c = data.draw(st.one_of(st.just(round(share * n)), st.sampled_from((0, 1, n - 1, n))))
    ways = math.comb(c, group_size) + math.comb(n - c, group_size)
    exact = Fraction(ways, math.comb(n, group_size))
    value = expectation.silent_rate_unbiased(c, n, group_size)
    ball = arb(exact.numerator) / exact.denominator
    assert oracle.relative_error(value, ball) <= tol.unbiased_eps(group_size) * EPS["float64"]
    if c in (0, n):
        assert value == 1


@given(
    a=st.floats(1e-12, 1e6), b=st.floats(1e-12, 1e6), group_size=st.sampled_from((2, 3, 8, 64, 900))
)
def test_silent_rate_beta(a: float, b: float, group_size: int) -> None:
    x, y = oracle.ball(a), oracle.ball(b)

    def product(u: arb) -> arb:
        total = arb(1)
        for i in range(group_size):
            total *= (u + i) / (x + y + i)
        return total

    exact = product(x) + product(y)
    value = expectation.silent_rate_beta(a, b, group_size)
    if float(exact) < float(np.finfo(np.float64).smallest_normal):
        return
    bound = tol.beta_eps(math.log(float(exact))) * EPS["float64"]
    assert oracle.relative_error(value, exact) <= bound


@given(p=st.floats(1e-150, TOP), epsilon=st.floats(1e-150, TOP), order=st.sampled_from((1, 2)))
def test_group_size_law(p: float, epsilon: float, order: int) -> None:
    x = oracle.ball(p) * (1 - oracle.ball(p))
    e = oracle.ball(epsilon)
    if order == 1:
        exact = 1 / (8 * e * x)
    else:
        a, b = 1 / (8 * x), (7 - 16 * x) / (128 * x * x)
        exact = (a + (a * a + 4 * e * b).sqrt()) / (2 * e)
    value = expectation.group_size_law(p, epsilon, order=order)
    assert oracle.relative_error(value, exact) <= tol.LAW_EPS * EPS["float64"]


def test_a_wrong_weight_is_noticed() -> None:
    """The biased twin: G − 1 for G, and one coefficient off by 1e-11, do not pass."""
    p = 0.3
    assert oracle.relative_error(expectation.update_weight(p, 9), oracle.weight(p, 8)) > (
        tol.PROMISED_RELATIVE
    )
    table = weight.weight_table(16)
    spoilt = table.coefficients.copy()
    spoilt[0] *= 1 + 10 * tol.PROMISED_RELATIVE
    wrong = _binomial.Table(16, table.left, table.scale, spoilt)
    value = _binomial.evaluate(anp, wrong, np.asarray(p * (1 - p)))
    assert oracle.relative_error(value, oracle.weight(p, 16)) > tol.PROMISED_RELATIVE
