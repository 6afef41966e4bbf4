"""identity.difficulty: the atlas against its objectives, special values, bounds, identities."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity import expectation
from identity.difficulty import (
    METHODS,
    beta_kernel,
    beta_kernel_peak,
    difficulty_weight,
    escort,
    minimax_efficiency,
    success_gated_snr,
    success_variance,
    tsallis_weight,
    weight_efficiency,
)
from tests import oracles
from tests import tolerances as tol
from tests.identity import difficulty_oracle as oracle

DTYPES = ("float32", "float64")
LARGE = {"float32": 1e37, "float64": 1e307}
TOP = {"float32": 1 - 2.0**-24, "float64": 1 - 2.0**-53}

# Every method but the Beta kernel, which has tests of its own; all forms of the weights.
ATLAS: list[tuple[str, dict[str, Any]]] = [
    ("reinforce", {}),
    ("rloo", {}),
    ("dr_grpo", {}),
    ("grpo", {}),
    ("dapo", {}),
    ("max_rl", {}),
    ("tsallis", {"q": 0.0}),
    ("tsallis", {"q": 0.3}),
    ("tsallis", {"q": 1.0}),
    ("tsallis", {"q": 1.25}),
    ("log_likelihood", {}),
    ("log_odds", {}),
    *(("pass_at_k", {"k": k}) for k in (1, 2, 8)),
    *(("grpo_pass_at_k", {"k": k}) for k in (1, 2, 3, 4, 8, 1001)),
]


def label(case: Any) -> str:
    method, options = case
    return "-".join([method, *(f"{n}{v}" for n, v in options.items())])


atlas = pytest.mark.parametrize("case", ATLAS, ids=label)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def points(dtype: str) -> np.ndarray:
    """Both ends, both sides of ½, and ordinary rates."""
    tiny = (1e-37, 1e-20, 1e-7) if dtype == "float32" else (1e-300, 1e-155, 1e-20, 2.0**-53)
    usual = (0.003, 0.1, 0.25, 1 / 3, 0.4999, 0.5, 0.5001, 0.7, 0.9, 0.999)
    return np.asarray([*tiny, *usual, TOP[dtype]]).astype(dtype)


def worst(
    function: Callable[[Any], Any], exact: Callable[[Fraction], Any], at: np.ndarray, dtype: str
) -> float:
    """Largest relative error in eps, over points whose value is a normal number."""
    found = []
    for x in at:
        value = oracles.to_mpf(exact(Fraction(float(x))))
        if oracles.smallest_normal(dtype) <= abs(value) <= LARGE[dtype]:
            result = function(np.asarray([x]))
            assert result.dtype == dtype
            error = abs(oracles.to_mpf(Fraction(float(result[0]))) - value) / abs(value)
            found.append(float(error) / np.finfo(dtype).eps)
    assert len(found) >= 3  # large exponents underflow at most others
    return max(found)


# --- the atlas ----------------------------------------------------------------------------------


def test_every_method_is_tested() -> None:
    listed = {method for method, _ in ATLAS}
    assert listed == set(oracle.OBJECTIVES) == set(METHODS) - {"beta_kernel"}


@dtypes
@atlas
def test_weight_is_the_slope_of_the_objective(case: tuple[str, dict[str, Any]], dtype: str) -> None:
    method, options = case
    ascended = oracle.objective(method, options, dtype)
    error = worst(
        lambda p: difficulty_weight(p, method, **options),
        lambda p: oracle.slope(ascended, p),
        points(dtype),
        dtype,
    )
    assert error <= tol.ATLAS_EPS


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.6])
@pytest.mark.parametrize("beta", [0.3, 1.0, 7.3])
def test_beta_kernel_ascends_the_incomplete_beta_function(alpha: float, beta: float) -> None:
    """By Gauss-Legendre quadrature, whose error on [¼, ¾] falls like 10^-36."""
    nodes, shares = np.polynomial.legendre.leggauss(32)
    weight = difficulty_weight(0.5 + nodes / 4, "beta_kernel", alpha=alpha, beta=beta)
    exact = mpmath.betainc(alpha, beta, 0.25, 0.75)
    assert abs(float(shares @ weight) / 4 / exact - 1) <= 32 * 2.0**-52


@dtypes
@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 2.6, 3.5])
@pytest.mark.parametrize("beta", [0.1, 0.7, 1.0, 2.0, 333.3])
def test_beta_kernel_is_the_mass_of_its_weight(alpha: float, beta: float, dtype: str) -> None:
    a, b = oracle.rounded(alpha, dtype), oracle.rounded(beta, dtype)
    assert (
        worst(
            lambda p: difficulty_weight(p, "beta_kernel", alpha=alpha, beta=beta),
            lambda p: oracle.kernel(p, a, b, less=1),
            points(dtype),
            dtype,
        )
        <= tol.ATLAS_EPS
    )
    assert (
        worst(
            lambda p: beta_kernel(p, alpha, beta),
            lambda p: oracle.kernel(p, a, b),
            points(dtype),
            dtype,
        )
        <= tol.KERNEL_EPS
    )


@pytest.mark.parametrize(
    ("exponents", "at"),
    [
        ((100.5, 1000.25), [0.05, 0.09, 0.1, 0.12, 0.15]),
        ((1.5, 2.0**20), [1e-20, 1e-7, 1e-6, 1e-5, 1e-4]),
        ((0.0, 3.0), [1e-20, 0.1, 0.5, 1 - 2.0**-53]),
        ((3.0, 0.0), [1e-20, 0.1, 0.5, 1 - 2.0**-53]),
    ],
)
def test_beta_kernel_with_large_exponents(exponents: tuple[float, float], at: list[float]) -> None:
    a, b = (mpmath.mpf(x) for x in exponents)
    error = worst(
        lambda p: beta_kernel(p, *exponents),
        lambda p: oracle.kernel(p, a, b),
        np.asarray(at),
        "float64",
    )
    assert error <= tol.KERNEL_EPS


@pytest.mark.parametrize("method", ["rloo", "dr_grpo", "grpo", "dapo", "max_rl"])
@pytest.mark.parametrize("group_size", [2, 3, 8, 1000])
def test_finite_groups_are_those_of_expectation(method: str, group_size: int) -> None:
    p = np.linspace(0.01, 0.99, 9)
    np.testing.assert_array_equal(
        difficulty_weight(p, method, group_size=group_size),
        expectation.update_weight(p, group_size, method),
    )


@pytest.mark.parametrize("method", ["rloo", "dr_grpo", "grpo", "dapo", "max_rl"])
def test_limits_are_limits(method: str) -> None:
    p = np.asarray([0.02, 0.3, 0.5, 0.9])
    near = difficulty_weight(p, method, group_size=2**20)
    limit = difficulty_weight(p, method)
    # 1/(8 G pq) is the largest first correction but for Dr. GRPO's 1/G.
    assert np.all(np.abs(near / limit - 1) <= 1 / (4 * 2**20 * p * (1 - p)))


@given(p=st.floats(2.0**-1000, 1 - 2.0**-53))
def test_one_weight_under_several_names(p: float) -> None:
    one = difficulty_weight(p, "log_likelihood")
    for other in (
        difficulty_weight(p, "max_rl"),
        difficulty_weight(p, "tsallis", q=1.0),
        difficulty_weight(p, "tsallis", q=1),
        tsallis_weight(p, 1.0),
    ):
        assert other == one
    assert difficulty_weight(p, "tsallis", q=0) == difficulty_weight(p, "reinforce") == 1
    assert difficulty_weight(p, "pass_at_k", k=1) == 1
    assert difficulty_weight(p, "beta_kernel", alpha=1.0, beta=1.0) == 1
    assert difficulty_weight(p, "grpo_pass_at_k", k=1) == difficulty_weight(p, "grpo")
    assert difficulty_weight(p, "dapo") == difficulty_weight(p, "grpo")
    assert tsallis_weight(p, 0.375) == difficulty_weight(p, "tsallis", q=0.375)


def test_masses_of_the_atlas_are_beta_kernels() -> None:
    """difficulty.atlas: (pq)^½ for GRPO, pq for Dr. GRPO, which is PACED's default."""
    p = np.linspace(0.01, 0.99, 99)
    for method, kernel in (("grpo", beta_kernel(p, 0.5, 0.5)), ("dr_grpo", beta_kernel(p))):
        mass = difficulty_weight(p, method) * p * (1 - p)
        np.testing.assert_allclose(mass, kernel, rtol=tol.ATLAS_EPS * 2.0**-52)
        np.testing.assert_allclose(
            expectation.gradient_mass(p, method=method), kernel, rtol=tol.ATLAS_EPS * 2.0**-52
        )


# name: weight at p = 0 and at p = 1, None where it is infinite.
ENDS: dict[str, tuple[dict[str, Any], float | None, float | None]] = {
    "reinforce": ({}, 1.0, 1.0),
    "rloo": ({"group_size": 4}, 1.0, 1.0),
    "dr_grpo": ({"group_size": 4}, 0.75, 0.75),
    "grpo": ({"group_size": 5}, 2.0, 2.0),
    "grpo-limit": ({}, None, None),
    "dapo": ({"group_size": 4}, None, None),
    "dapo-limit": ({}, None, None),
    "max_rl": ({"group_size": 4}, 4.0, 1.0),
    "max_rl-limit": ({}, None, 1.0),
    "tsallis": ({"q": 0.3}, None, 1.0),
    "tsallis-0": ({"q": 0}, 1.0, 1.0),
    "log_likelihood": ({}, None, 1.0),
    "log_odds": ({}, None, None),
    "pass_at_k": ({"k": 4}, 4.0, 0.0),
    "pass_at_k-1": ({"k": 1}, 1.0, 1.0),
    "grpo_pass_at_k-1": ({"k": 1}, None, None),
    "grpo_pass_at_k-2": ({"k": 2}, None, 1.0),
    "grpo_pass_at_k-3": ({"k": 3}, None, 0.0),
    "beta_kernel": ({"alpha": 0.9, "beta": 0.9}, None, None),
    "beta_kernel-1": ({"alpha": 1.0, "beta": 1.0}, 1.0, 1.0),
    "beta_kernel-2": ({"alpha": 2.0, "beta": 0.5}, 0.0, None),
    "beta_kernel-3": ({"alpha": 0.5, "beta": 3.0}, None, 0.0),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends(name: str) -> None:
    """Exact values, and an error exactly where the weight grows without bound."""
    options, *ends = ENDS[name]
    method = name.partition("-")[0]
    for p, near, wanted in ((0.0, 1e-9, ends[0]), (1.0, 1 - 1e-9, ends[1])):
        close = float(difficulty_weight(near, method, **options))
        if wanted is None:
            assert close > 1e2 or method == "beta_kernel"
            with pytest.raises(ValueError, match="p must lie"):
                difficulty_weight(p, method, **options)
        else:
            assert difficulty_weight(p, method, **options) == wanted
            assert abs(close - wanted) < 1e-3


def test_kernel_at_its_ends_and_peak() -> None:
    ends = np.asarray([0.0, 1.0])
    np.testing.assert_array_equal(beta_kernel(ends, 0.25, 3.0), [0, 0])
    np.testing.assert_array_equal(beta_kernel(ends, 0.0, 3.0), [1, 0])
    np.testing.assert_array_equal(beta_kernel(ends, 0.25, 0.0), [0, 1])
    np.testing.assert_array_equal(beta_kernel(ends, 0, 0), [1, 1])
    np.testing.assert_array_equal(beta_kernel([0.0, 0.5, 1.0]), [0, 0.25, 0])


@given(alpha=st.floats(0.05, 20), beta=st.floats(0.05, 20), other=st.floats(0.001, 0.999))
def test_peak_is_the_largest(alpha: float, beta: float, other: float) -> None:
    """difficulty.beta-kernel: no rate has more, and a little to either side is less."""
    peak = beta_kernel_peak(alpha, beta)
    assert 0 < peak < 1
    top = float(beta_kernel(peak, alpha, beta))
    assert float(beta_kernel(other, alpha, beta)) <= top * (1 + 2 * tol.KERNEL_EPS * 2.0**-52)
    for beside in (peak * 0.99, peak + (1 - peak) * 0.01):
        assert float(beta_kernel(beside, alpha, beta)) < top
    exact = Fraction(alpha) / (Fraction(alpha) + Fraction(beta))
    assert abs(Fraction(peak) - exact) <= exact * Fraction(2) ** -52


# --- Tsallis and the escort law -----------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("q", [0.1, 0.3, 0.5, 0.75, 1.0, 1.7])
def test_tsallis_weight(q: float, dtype: str) -> None:
    index = oracle.rounded(q, dtype)
    bound = tol.TSALLIS_EPS
    assert worst(lambda p: tsallis_weight(p, q), lambda p: oracle.to_mpf_wide(p) ** -index,
                 points(dtype), dtype) <= bound  # fmt: skip


ALPHAS = [
    [0.75, 0.25],
    [0.5, 0.3, 0.2, 0.0],
    [1e-300, 1e300, 1e290],
    [3e-310, 1.0, 1e-200],
    [1.0] * 7,
    [5e-324, 1.7e308],
]


@pytest.mark.parametrize("q", [2.0**-20, 0.01, 0.3, 0.5, 1.0, 2.0, 50.0, 1000.0, 2.0**20])
def test_escort(q: float) -> None:
    for alpha in ALPHAS:
        exact = oracle.escort(oracles.fractions(alpha), mpmath.mpf(q))
        result = escort(np.asarray(alpha), q)
        top = max(alpha)
        for got, want, a in zip(result.tolist(), exact, alpha, strict=True):
            if a == 0:
                assert got == 0
                continue
            ratio = abs(math.log(a) - math.log(top))
            bound = tol.escort_eps(len(alpha), q, ratio)
            assert oracles.excess(got, want, "float64") <= bound, (q, alpha, got, want)


@given(
    alpha=st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=6).filter(any),
    q=st.floats(0.125, 8),
)
def test_escort_is_a_law_in_the_order_of_alpha(alpha: list[float], q: float) -> None:
    theta = escort(np.asarray(alpha), q)
    assert abs(float(np.sum(theta)) - 1) <= 16 * 2.0**-52
    at_one = escort(np.asarray(alpha), 1.0)
    np.testing.assert_allclose(
        at_one,
        np.asarray(alpha) / np.sum(np.asarray(alpha)),
        rtol=2 * tol.escort_eps(6, 1, 99) * 2.0**-52,
    )
    ranks = np.argsort(np.asarray(alpha), kind="stable")
    assert np.all(np.diff(theta[ranks]) >= 0)


@pytest.mark.parametrize("q", [0.25, 0.5, 2.0])
def test_escort_has_the_least_loss(q: float) -> None:
    """difficulty.tsallis: Σ α_j(−log_q θ_j) is larger at every other law, and at α unless q = 1."""
    alpha = np.asarray([0.6, 0.3, 0.1])

    def loss(theta: np.ndarray) -> float:
        return float(np.sum(alpha * -((theta ** (1 - q) - 1) / (1 - q))))

    best = escort(alpha, q)
    assert loss(best) < loss(alpha)
    rng = np.random.default_rng(5)
    for other in rng.dirichlet([1, 1, 1], size=200):
        assert loss(best) <= loss(other)
    for move in ([1, -1, 0], [0, 1, -1], [1, 0, -1]):
        for size in (1e-4, -1e-4):
            assert loss(best) < loss(best + size * np.asarray(move))


def test_escort_special_values() -> None:
    np.testing.assert_array_equal(escort(np.ones(4), 0.3), np.full(4, 0.25))
    np.testing.assert_array_equal(escort(np.asarray([0.5, 0.25]), 2.0**-20), [1, 0])
    np.testing.assert_array_equal(escort(np.asarray([[2.0], [5.0]]), 0.7), [[1], [1]])
    twice = escort(np.asarray([[3.0, 1.0], [1.0, 3.0]]), 0.5)
    np.testing.assert_array_equal(twice, twice[::-1, ::-1])
    np.testing.assert_allclose(twice[0], [0.9, 0.1], rtol=2.0**-50)


# --- efficiency ---------------------------------------------------------------------------------


@dtypes
def test_minimax_efficiency(dtype: str) -> None:
    near = np.asarray([1e-30, 1e-9, 0.1, 0.3, 0.4999, 0.5, 0.7, 0.999, TOP[dtype]]).astype(dtype)
    error = worst(minimax_efficiency, lambda d: 1 - d * d, near, dtype)
    assert error <= tol.MINIMAX_EPS["relative"]
    far = np.asarray([1e-30, 1e-9, 0.1, 0.5, 1, 3, 7.74, 11.1, 19.9, 20, 20.1, 40, 300]).astype(
        dtype
    )

    def sech_squared(d: Fraction) -> mpmath.mpf:
        with mpmath.workdps(3 * tol.ORACLE_DIGITS):
            return mpmath.sech(oracle.to_mpf_wide(d)) ** 2

    error = worst(lambda d: minimax_efficiency(d, "log"), sech_squared, far, dtype)
    assert error <= tol.MINIMAX_EPS["log"]
    for scale in ("relative", "log"):
        assert minimax_efficiency(np.zeros(1, dtype), scale) == 1
    assert minimax_efficiency(np.asarray([1e30], dtype), "log") == 0


@given(data=st.data(), delta=st.floats(0, 0.99))
def test_no_weight_within_delta_is_less_efficient(data: st.DataObject, delta: float) -> None:
    """difficulty.minimax on both scales; the two-point law attains it."""
    size = data.draw(st.integers(2, 6))
    entry = st.floats(0.01, 10)
    target = np.asarray(data.draw(st.lists(entry, min_size=size, max_size=size)))
    law = np.asarray(data.draw(st.lists(entry, min_size=size, max_size=size)))
    error = np.asarray(data.draw(st.lists(st.floats(-1, 1), min_size=size, max_size=size)))
    slack = 1 - 4 * tol.efficiency_eps(size) * 2.0**-52
    for scale, ratio in (("relative", 1 + delta * error), ("log", np.exp(delta * error))):
        found = weight_efficiency(ratio * target, target, probabilities=law)
        assert found >= minimax_efficiency(delta, scale) * slack
        assert found <= 1 / slack
    for scale, low, high in (
        ("relative", 1 - delta, 1 + delta),
        ("log", math.exp(-delta), math.exp(delta)),
    ):
        pair = np.asarray([low, high])
        found = weight_efficiency(pair, np.ones(2), probabilities=np.asarray([high, low]))
        np.testing.assert_allclose(
            found, minimax_efficiency(delta, scale), rtol=4 * tol.efficiency_eps(2) * 2.0**-52
        )


@given(
    rows=st.lists(
        st.tuples(*[st.floats(0, 1e10, width=32)] * 3), min_size=1, max_size=8
    ).filter(lambda r: any(a and p for a, _, p in r) and any(b and p for _, b, p in r))
)  # fmt: skip
def test_weight_efficiency(rows: list[tuple[float, float, float]]) -> None:
    weights, target, law = (np.asarray(c) for c in zip(*rows, strict=True))
    drawn = law > 0
    # A square of a ratio must not underflow: what the bound excludes.
    for column in (weights, target, law):
        if np.any((column > 0) & (column < 1e-50 * column.max())):
            return
    assert drawn.any()
    exact = oracle.efficiency(*(oracles.fractions(x) for x in (weights, target, law)))
    found = float(weight_efficiency(weights, target, probabilities=law))
    assert abs(Fraction(found) - exact) <= exact * Fraction(
        tol.efficiency_eps(len(rows)) * 2.0**-52
    )
    again = weight_efficiency(weights * 2.0**40, target, probabilities=law * 2.0**-9)
    assert found == float(again)


def test_weight_efficiency_special_values() -> None:
    w = np.asarray([[0.1, 0.7, 0.3], [1e200, 1e-200, 0.0]])
    np.testing.assert_array_equal(weight_efficiency(w, w), [1, 1])
    assert weight_efficiency(np.asarray([1.0, 0.0]), np.asarray([0.0, 1.0])) == 0
    # Big-Math's question in small: uniform weights where √(pq) would be right.
    p = np.asarray([0.25, 0.75, 0.5])
    assert 0 < weight_efficiency(np.ones(3), difficulty_weight(p)) < 1


# --- successes ----------------------------------------------------------------------------------


def test_success_variance_is_unbiased_and_the_plug_in_is_not() -> None:
    """Every outcome of K rollouts; the biased twin misses by 1/K."""
    for size in (2, 3, 8):
        rate = Fraction(3, 16)
        counts = np.arange(size + 1)
        law = [math.comb(size, c) * rate**c * (1 - rate) ** (size - c) for c in range(size + 1)]
        truth = rate * (1 - rate)
        for unbiased, wanted in ((True, truth), (False, (1 - Fraction(1, size)) * truth)):
            values = success_variance(counts, size, unbiased=unbiased)
            mean = sum(Fraction(v) * w for v, w in zip(values.tolist(), law, strict=True))
            assert abs(mean - wanted) <= wanted * Fraction(tol.SUCCESS_EPS * 2.0**-52)
        assert wanted < truth


@given(size=st.integers(2, 2**24), share=st.floats(0, 1))
def test_success_variance(size: int, share: float) -> None:
    count = min(size, round(size * share))
    for unbiased, divisor in ((True, size * (size - 1)), (False, size * size)):
        exact = Fraction(count * (size - count), divisor)
        for dtype in DTYPES:
            found = success_variance(np.asarray([count], dtype), size, unbiased=unbiased)
            assert found.dtype == dtype
            assert oracles.excess(found[0], exact, dtype) <= tol.SUCCESS_EPS
            if count in (0, size):
                assert found == 0
    assert success_variance(1, 1, unbiased=False) == 0


@dtypes
def test_success_gated_snr(dtype: str) -> None:
    """It falls to 0 at one end only."""

    def exact(p: Fraction) -> mpmath.mpf:
        with mpmath.workdps(tol.ORACLE_DIGITS):
            return mpmath.sqrt(oracle.to_mpf_wide(p / (1 - p)))

    assert worst(success_gated_snr, exact, points(dtype), dtype) <= tol.SNR_EPS
    assert success_gated_snr(np.zeros(1, dtype)) == 0
    assert success_gated_snr(np.asarray([TOP[dtype]], dtype)) > 4e3
    rising = success_gated_snr(np.sort(points(dtype)))
    assert np.all(np.diff(rising) > 0)


def test_snr_of_a_simulated_gate() -> None:
    """Mean over standard deviation of R·v, over both outcomes."""
    for rate in (Fraction(1, 16), Fraction(3, 4)):
        mean, square = rate, rate
        exact = oracles.sqrt(mean**2 / (square - mean**2))
        assert oracles.excess(success_gated_snr(float(rate)), exact, "float64") <= tol.SNR_EPS
