"""Derivatives of identity.difficulty in torch and JAX, reverse and forward, at 50 digits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from identity.difficulty import (
    beta_kernel,
    difficulty_weight,
    escort,
    garl_estimate,
    minimax_efficiency,
    paft_estimate,
    success_gated_snr,
    tsallis_weight,
    weight_efficiency,
)
from tests import oracles
from tests import tolerances as tol
from tests.agreement.test_expectation_derivatives import MODES as ELEMENTWISE
from tests.agreement.test_preference_derivatives import MODES
from tests.identity import difficulty_oracle as oracle

Function = Callable[..., Any]

modes = pytest.mark.parametrize("mode", MODES)
elementwise = pytest.mark.parametrize("mode", ELEMENTWISE)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
POINTS = {
    "float32": (1e-30, 1e-18, 3e-8, 0.1, 0.3, 0.5, 0.7, 0.99, 1 - 2.0**-24),
    "float64": (1e-300, 1e-150, 1e-100, 1e-16, 0.1, 0.3, 0.5, 0.7, 0.99, 1 - 2.0**-53),
}
# name: function, the exponent of p whose lowering autodiff rounds (0: none that matters)
CASES: dict[str, tuple[Function, str, dict[str, Any], float]] = {
    name: (functools.partial(difficulty_weight, method=method, **options), method, options, power)
    for name, (method, options, power) in {
        "grpo": ("grpo", {}, 0.0),
        "log_likelihood": ("log_likelihood", {}, 0.0),
        "log_odds": ("log_odds", {}, 0.0),
        "reinforce": ("reinforce", {}, 0.0),
        "tsallis": ("tsallis", {"q": 0.3}, 0.3),
        "tsallis-half": ("tsallis", {"q": 0.5}, 0.5),
        "pass": ("pass_at_k", {"k": 8}, 0.0),
        "grpo-pass-2": ("grpo_pass_at_k", {"k": 2}, 0.0),
        "grpo-pass-3": ("grpo_pass_at_k", {"k": 3}, 0.0),
        "grpo-pass-8": ("grpo_pass_at_k", {"k": 8}, 0.0),
    }.items()
}


def compare(
    got: float, want: mpmath.mpf, scale: mpmath.mpf, dtype: str, bound: float, p: float
) -> None:
    """Within the bound in eps, or infinite of the right sign where that is allowed."""
    top = np.finfo(dtype).max / 4
    if not np.isfinite(got) and (abs(want) > top or 1 / p**2 > top):
        assert (got > 0) == (want > 0), (p, got)
        return
    off = abs(oracles.to_mpf(Fraction(float(got))) - want) / scale
    tiny = abs(want) < oracles.smallest_normal(dtype)
    assert tiny or off <= bound * np.finfo(dtype).eps, (p, got, float(want))


@elementwise
@dtypes
@pytest.mark.parametrize("name", CASES)
def test_weights(mode: str, dtype: str, name: str) -> None:
    """Relative to |w'| + |w|/(p(1 − p))."""
    _, method, options, power = CASES[name]
    at = np.asarray(POINTS[dtype]).astype(dtype)
    slopes = ELEMENTWISE[mode](CASES[name][0], at)
    assert slopes.dtype == dtype
    ascended = oracle.objective(method, options, dtype)
    for got, x in zip(slopes.tolist(), oracles.fractions(at), strict=True):
        value, want = oracle.slope(ascended, x), oracle.second_slope(ascended, x)
        scale = abs(want) + abs(value) / oracles.to_mpf(x * (1 - x))
        bound = tol.ATLAS_DERIVATIVE_EPS
        if power:
            bound += tol.exponent_eps(power, math.log(x))
        compare(got, want, scale, dtype, bound, float(x))


KERNELS: dict[str, tuple[float, float]] = {
    "plain": (1.0, 1.0),
    "root": (0.5, 0.5),
    "odd": (0.3, 2.7),
}


@elementwise
@dtypes
@pytest.mark.parametrize("name", KERNELS)
def test_kernels(mode: str, dtype: str, name: str) -> None:
    """The kernel and the weight of which it is the mass; log p is the root of what is added."""
    a, b = KERNELS[name]
    at = np.asarray(POINTS[dtype]).astype(dtype)
    exact = [oracle.rounded(v, dtype) for v in (a, b)]
    for function, less in (
        (lambda p: beta_kernel(p, a, b), 0),
        (lambda p: difficulty_weight(p, "beta_kernel", alpha=a, beta=b), 1),
    ):
        slopes = ELEMENTWISE[mode](function, at)
        for got, x in zip(slopes.tolist(), oracles.fractions(at), strict=True):
            value = oracle.kernel(x, *exact, less=less)
            with mpmath.workdps(tol.ORACLE_DIGITS):
                left, right = exact[0] - less, exact[1] - less
                want = value * (left / oracles.to_mpf(x) - right / oracles.to_mpf(1 - x))
            scale = abs(want) + value * (1 + a + b) / oracles.to_mpf(x * (1 - x))
            bound = tol.ATLAS_DERIVATIVE_EPS + tol.exponent_eps(a - less, math.log(x))
            compare(got, want, scale, dtype, bound, float(x))


# name: function, derivative at p = 0 and at p = 1 (None where p is refused)
ENDS: dict[str, tuple[Function, float | None, float | None]] = {
    "reinforce": (lambda p: difficulty_weight(p, "reinforce"), 0.0, 0.0),
    "dr_grpo-4": (lambda p: difficulty_weight(p, "dr_grpo", group_size=4), 0.0, 0.0),
    "tsallis-0": (lambda p: tsallis_weight(p, 0), 0.0, 0.0),
    "tsallis-half": (lambda p: tsallis_weight(p, 0.5), None, -0.5),
    "log_likelihood": (lambda p: difficulty_weight(p, "log_likelihood"), None, -1.0),
    "pass-3": (lambda p: difficulty_weight(p, "pass_at_k", k=3), -6.0, 0.0),
    "pass-2": (lambda p: difficulty_weight(p, "pass_at_k", k=2), -2.0, -2.0),
    "pass-1": (lambda p: difficulty_weight(p, "pass_at_k", k=1), 0.0, 0.0),
    "grpo-pass-2": (lambda p: difficulty_weight(p, "grpo_pass_at_k", k=2), None, 0.0),
    "grpo-pass-3": (lambda p: difficulty_weight(p, "grpo_pass_at_k", k=3), None, -math.inf),
    "grpo-pass-4": (lambda p: difficulty_weight(p, "grpo_pass_at_k", k=4), None, -1.0),
    "grpo-pass-6": (lambda p: difficulty_weight(p, "grpo_pass_at_k", k=6), None, 0.0),
    "kernel": (beta_kernel, 1.0, -1.0),
    "kernel-root": (lambda p: beta_kernel(p, 0.5, 0.5), math.inf, -math.inf),
    "kernel-steep": (lambda p: beta_kernel(p, 1.5, 2.5), 0.0, 0.0),
    "kernel-left": (lambda p: beta_kernel(p, 0.0, 3.0), -3.0, 0.0),
    "kernel-right": (lambda p: beta_kernel(p, 3.0, 0.0), 0.0, 3.0),
    "kernel-none": (lambda p: beta_kernel(p, 0.0, 0.0), 0.0, 0.0),
    "kernel-weight": (
        lambda p: difficulty_weight(p, "beta_kernel", alpha=1.0, beta=3.0), -2.0, 0.0,
    ),
    "kernel-weight-2": (
        lambda p: difficulty_weight(p, "beta_kernel", alpha=1.5, beta=2.0), math.inf, -1.0,
    ),
    "snr": (success_gated_snr, math.inf, None),
    "minimax": (minimax_efficiency, 0.0, None),
    "minimax-log": (lambda d: minimax_efficiency(d, "log"), 0.0, None),
}  # fmt: skip


@elementwise
@pytest.mark.parametrize("name", ENDS)
def test_ends(mode: str, name: str) -> None:
    """The limit of the slope, no NaN, wherever the function itself is finite."""
    _, *ends = ENDS[name]
    for p, want in zip((0.0, 1.0), ends, strict=True):
        if want is not None:
            slope = ELEMENTWISE[mode](ENDS[name][0], np.asarray([p]))
            assert slope[0] == want, (p, slope)


@elementwise
@dtypes
@pytest.mark.parametrize("scale", ["relative", "log"])
def test_minimax(mode: str, dtype: str, scale: str) -> None:
    """Relative to the slope itself: it cancels nowhere, and is not lost beyond cosh's range."""
    shared = (1e-30, 1e-9, 0.1, 0.4999, 0.5, 0.9, 0.999)
    function = functools.partial(minimax_efficiency, scale=scale)
    at = np.asarray(shared if scale == "relative" else (*shared, 3, 6.25, 11.1, 20, 20.5, 40))
    at = at.astype(dtype)
    slopes = ELEMENTWISE[mode](function, at)
    for got, d in zip(slopes.tolist(), oracles.fractions(at), strict=True):
        with mpmath.workdps(2 * tol.ORACLE_DIGITS):
            x = oracle.to_mpf_wide(d)
            want = -2 * x if scale == "relative" else -2 * mpmath.tanh(x) * mpmath.sech(x) ** 2
        off = oracles.excess(got, want, dtype)
        assert off <= tol.MINIMAX_DERIVATIVE_EPS[scale], (float(d), got)
    if scale == "log":
        slopes = ELEMENTWISE[mode](function, np.asarray([100.0, 1e3, 1e30]).astype(dtype))
        assert np.all(np.isfinite(slopes))
        assert np.all(slopes[1:] == 0)


@modes
@pytest.mark.parametrize("q", [0.25, 0.5, 1.0, 2.0])
def test_escort(mode: str, q: float) -> None:
    """∂θ_i/∂α_j = θ_i(δ_ij − θ_j)/(q α_j), also beside a 0 and where the ratio underflows."""
    alpha = np.asarray([7.5e199, 2.5e199, 3e-200, 0.0] if q > 1 else [0.75, 0.25, 0.5, 0.0])
    if q > 1 and mode.endswith("fwd"):
        alpha = alpha[:3]  # the infinite slope at 0 meets tangents of 0

    def pick(a: Any) -> Any:
        return escort(a, q)[0] + 2 * escort(a, q)[1]

    (slope,) = MODES[mode](pick, alpha)
    theta = oracle.escort(oracles.fractions(alpha), mpmath.mpf(q))
    for j, got in enumerate(slope.tolist()):
        if alpha[j] == 0:
            # Its share is α^(1/q): slope 0 below q = 1, −(θ_0 + 2θ_1)/Σα at 1, −∞ above.
            lost = float(theta[0] + 2 * theta[1])
            want = {True: 0.0, False: -math.inf}[q < 1] if q != 1 else -lost / alpha.sum()
            assert got == pytest.approx(want, rel=64 * 2.0**-52)
            continue
        want = sum(
            f * theta[i] * ((i == j) - theta[j]) for i, f in ((0, 1), (1, 2))
        ) / (mpmath.mpf(q) * oracles.to_mpf(Fraction(float(alpha[j]))))  # fmt: skip
        scale = 3 * theta[j] / (q * alpha[j])
        assert abs(got - want) <= scale * tol.escort_eps(4, q, 999) * 2.0**-52, (j, got, want)


@modes
def test_efficiency(mode: str) -> None:
    """∂/∂w_i = 2e (p_i t_i/Σpwt − p_i w_i/Σpw²): 0 where w is a multiple of t; also at a 0."""
    w, t, p = np.asarray([1.0, 2.0, 0.0]), np.asarray([2.0, 1.0, 0.5]), np.asarray([0.5, 1.0, 0.25])

    def efficiency(a: Any, b: Any, c: Any) -> Any:
        return weight_efficiency(a, b, probabilities=c)

    cross, used, best = (float(np.sum(p * x)) for x in (w * t, w * w, t * t))
    value = cross**2 / used / best
    exact = (
        2 * value * (p * t / cross - p * w / used),
        2 * value * (p * w / cross - p * t / best),
        value * (2 * w * t / cross - w * w / used - t * t / best),
    )
    for got, want in zip(MODES[mode](efficiency, w, t, p), exact, strict=True):
        np.testing.assert_allclose(got, want, rtol=64 * tol.efficiency_eps(3) * 2.0**-52, atol=0)
    for got in MODES[mode](efficiency, w, 2 * w, p)[:1]:
        assert np.all(np.abs(got) <= 16 * 2.0**-52)


@modes
@pytest.mark.parametrize("q", [0.0, 0.25, 1.5])
def test_pools(mode: str, q: float) -> None:
    """Linear in g and s; −q ḡ/(M w̄^(q+1)) and (1−q) s̄/(M w̄^q) by the weights."""
    g, w = np.asarray([[2.0], [-1.0], [0.5]]), np.asarray([0.5, 0.25, 0.125])
    mean, size = w.mean(), 3
    indices = [0, 1, 0, 2]

    def garl(a: Any, b: Any) -> Any:
        return garl_estimate(a, b, q)[0]

    def paft(a: Any, b: Any) -> Any:
        return paft_estimate(a, b, q, uniforms=0 * b + 0.3)[0]

    relative = tol.pool_ulp(size, q, 2.0) * 2.0**-51
    by_gradients, by_weights = MODES[mode](garl, g, w)
    np.testing.assert_allclose(by_gradients[:, 0], np.full(3, 1 / size / mean**q), rtol=relative)
    slope = -q * g.mean() / size / mean ** (q + 1)
    np.testing.assert_allclose(by_weights, np.full(3, slope), rtol=relative)
    by_scores, by_weights = MODES[mode](paft, g, w)  # 0.3 falls on the first draw, thrice
    np.testing.assert_allclose(by_scores[:, 0], [mean ** (1 - q), 0, 0], rtol=relative)
    slope = (1 - q) * g[0, 0] / size / mean**q
    np.testing.assert_allclose(by_weights, np.full(3, slope), rtol=relative)
    assert len(indices) == 4
    none = np.zeros(3)
    for function in (garl, paft):
        for got in MODES[mode](function, np.zeros((3, 1)), none):
            assert np.all(np.isfinite(got))
