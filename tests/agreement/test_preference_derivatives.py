"""Derivatives of identity.preference in torch and JAX, reverse and forward, at 50 digits."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from identity.preference import (
    budget_variance,
    contrast_gain,
    discard_rate,
    dpo_gradient_weight,
    dpo_loss,
    expected_advantage,
    mean_discard_rate,
    optimal_contrast,
    pairwise_update,
    two_grpo_update,
)
from tests import oracles, tolerances
from tests.agreement.differentiation import torch_forward_mode
from tests.backends import jax_jit, load_or_skip
from tests.identity import preference_oracle as oracle

Function = Callable[..., Any]


def torch_jacobian(mode: str, function: Function, *at: np.ndarray) -> list[np.ndarray]:
    """∂f/∂x for every argument x."""
    torch = load_or_skip("torch").xp
    derive = getattr(importlib.import_module("torch.func"), mode)
    arrays = [torch.asarray(a) for a in at]
    with torch_forward_mode():
        return [d.numpy() for d in derive(function, tuple(range(len(at))))(*arrays)]


@functools.cache
def jitted(mode: str, function: Function, count: int) -> Function:
    jax = importlib.import_module("jax")
    return jax_jit(getattr(jax, mode)(function, tuple(range(count))))


def jax_jacobian(mode: str, function: Function, *at: np.ndarray) -> list[np.ndarray]:
    load_or_skip("jax-jit")
    return [np.asarray(d) for d in jitted(mode, function, len(at))(*at)]


MODES = {
    f"{library}-{mode}": functools.partial(jacobian, mode)
    for library, jacobian in (("torch", torch_jacobian), ("jax", jax_jacobian))
    for mode in ("jacrev", "jacfwd")
}
modes = pytest.mark.parametrize("mode", MODES)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
MARGINS = {
    "float32": (0.0, 1e-9, 0.25, 1.0, 10.0, 30.0, 80.0, 87.0, 88.0, 100.0, 1e4, 1e30, 3e38),
    "float64": (0.0, 1e-9, 0.25, 1.0, 30.0, 80.0, 700.0, 708.0, 720.0, 1e4, 1e30, 1e308),
}
BETA = 0.5


def both_signs(dtype: str) -> np.ndarray:
    values = np.asarray(MARGINS[dtype])
    return np.concatenate([values, -values]).astype(dtype)


def summed_loss(*log_probabilities: Any) -> Any:
    return dpo_loss(*log_probabilities, beta=BETA).sum()


def summed_weight(margin: Any) -> Any:
    return dpo_gradient_weight(margin, beta=BETA).sum()


def check_slope(got: float, want: mpmath.mpf, x: Fraction, dtype: str, factor: int) -> None:
    """Within 8 + factor·max(x, 0) ulp, or where e^−x underflows."""
    assert np.isfinite(got)
    off = oracles.excess(got, want, dtype, flushes=True)
    bound = int(tolerances.DPO_ULP) + factor * max(x, 0)
    lost = float(oracles.smallest_normal(dtype))
    assert off <= bound or abs(got - float(want)) <= lost, (got, want, off)


@modes
@dtypes
def test_gradient_of_the_loss(mode: str, dtype: str) -> None:
    """−w, w, w and −w with w = βS(−βΔ): finite and exact over the whole range of margins."""
    at = both_signs(dtype)
    zero = np.zeros_like(at)
    for place, sign in enumerate((1, -1, -1, 1)):
        arguments = [at if n == place else zero for n in range(4)]
        slopes = MODES[mode](summed_loss, *arguments)
        for n, direction in enumerate((-1, 1, 1, -1)):
            assert slopes[n].dtype == dtype
            for got, m in zip(slopes[n].tolist(), oracles.fractions(at), strict=True):
                want = direction * oracle.dpo_weight(sign * m, Fraction(BETA))
                check_slope(got, want, Fraction(BETA) * sign * m, dtype, 2)


@modes
@dtypes
def test_gradient_of_the_loss_where_the_margin_cancels(mode: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    unit = {"float32": 2.0**-11, "float64": 2.0**-40}[dtype]
    rows = (-4000 + unit * rng.integers(-9000, 9000, size=(4, 20))).astype(dtype)
    slopes = MODES[mode](summed_loss, *rows)
    for n, direction in enumerate((-1, 1, 1, -1)):
        for got, row in zip(slopes[n].tolist(), rows.T.tolist(), strict=True):
            a, b = oracle.ratios(oracles.fractions(row))
            want = direction * oracle.dpo_weight(a - b, Fraction(BETA))
            check_slope(got, want, Fraction(BETA) * (a - b), dtype, 2)


@modes
@dtypes
def test_slope_of_the_weight(mode: str, dtype: str) -> None:
    at = both_signs(dtype)
    (slopes,) = MODES[mode](summed_weight, at)
    for got, m in zip(slopes.tolist(), oracles.fractions(at), strict=True):
        x = Fraction(BETA) * m
        with mpmath.workdps(tolerances.ORACLE_DIGITS):
            share = oracle.logistic(oracles.to_mpf(x)) * oracle.logistic(-oracles.to_mpf(x))
            check_slope(got, -share / 4, abs(x), dtype, 1)


def test_second_derivative_of_the_loss() -> None:
    """β²S(βΔ)S(−βΔ), also at Δ = 0, where a loss from |Δ| has none."""
    jax = importlib.import_module("jax")
    load_or_skip("jax")

    def loss(x: Any) -> Any:
        return dpo_loss(x, 0 * x, 0 * x, 0 * x, beta=BETA)

    second = jax_jit(jax.grad(jax.grad(loss)))
    for margin in (0.0, 0.5, -0.5, 20.0, -20.0):
        share = 1 / (1 + np.exp(BETA * margin)) / (1 + np.exp(-BETA * margin))
        assert second(margin) == pytest.approx(
            BETA**2 * share, rel=tolerances.SECOND_DERIVATIVE_RELATIVE
        )


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_gradients_in_half_precision(library: str, half: str) -> None:
    """Margins of ±10, ±30, ±80: as exact as the dtype."""
    backend = load_or_skip(library)
    at = backend.asarray([10.0, 30.0, 80.0, 0.0, -10.0, -30.0, -80.0], half)
    zero = at * 0
    if library == "torch":
        at.requires_grad_(True)
        summed_loss(at, zero, zero, zero).backward()
        slopes = backend.to_numpy(at.grad)
    else:
        grad = importlib.import_module("jax").grad(summed_loss)
        slopes = backend.to_numpy(grad(at, zero, zero, zero))
    for got, m in zip(slopes.tolist(), backend.to_numpy(at).tolist(), strict=True):
        want = -oracle.dpo_weight(Fraction(m), Fraction(BETA))
        assert oracles.excess(got, want, half) <= tolerances.DPO_ULP + 2 * max(BETA * m, 0)


# --- steps: linear in the scores, constant in the rewards ----------------------------------------


bessel = functools.partial(two_grpo_update, ddof=1)


@modes
@dtypes
def test_updates(mode: str, dtype: str) -> None:
    scores = np.asarray([[3.0], [-1.0], [0.5]]).astype(dtype)
    for function, rewards, weights in (
        (two_grpo_update, [0.25, 0.75], [Fraction(-1, 2), Fraction(1, 2)]),
        (two_grpo_update, [0.3, 0.3], [Fraction(0)] * 2),
        (bessel, [1.0, 0.0], [oracles.sqrt(Fraction(1, 8)), -oracles.sqrt(Fraction(1, 8))]),
        (pairwise_update, [1.0, 0.0, 1.0],
         [s * oracles.sqrt(Fraction(n, 18)) for s, n in ((1, 1), (-1, 4), (1, 1))]),
        (pairwise_update, [1.0, 1.0, 1.0], [Fraction(0)] * 3),
    ):  # fmt: skip
        size = len(rewards)
        at = np.asarray(rewards).astype(dtype)
        by_rewards, by_scores = MODES[mode](function, at, scores[:size])
        assert (by_rewards == 0.0).all()
        for got, want in zip(by_scores.ravel().tolist(), weights, strict=True):
            assert oracles.excess(got, want, dtype) <= tolerances.pairwise_ulp(size)


# --- functions of p, of variances and of pools ---------------------------------------------------


def slope_at(function: Callable[..., Any], at: Sequence[Fraction], place: int) -> mpmath.mpf:
    """∂f/∂x by mpmath, of a function of mpmath numbers."""
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        numbers = [oracles.to_mpf(x) for x in at]

        def along(x: mpmath.mpf) -> mpmath.mpf:
            return function(*numbers[:place], x, *numbers[place + 1 :])

        return mpmath.diff(along, numbers[place])


def exact_gain(p: Any, plus: Any, minus: Any, c: Any) -> Any:
    return (plus + c**2 * minus) / (1 + c * p / (1 - p)) ** 2


def exact_least(p: Any, plus: Any, minus: Any) -> Any:
    return plus * minus / (minus + (p / (1 - p)) ** 2 * plus)


def limit_advantage(p: Any) -> Any:
    return expected_advantage(p, 1.0 + 0 * p, group_size=None)


def wrong_advantage(p: Any) -> Any:
    return expected_advantage(p, 0 * p, group_size=None)


CASES: dict[str, tuple[Function, Callable[..., Any], int]] = {
    "discard_rate": (discard_rate, lambda p: p**2 + (1 - p) ** 2, 1),
    "limit-correct": (limit_advantage, lambda p: mpmath.sqrt((1 - p) / p), 1),
    "limit-wrong": (wrong_advantage, lambda p: -mpmath.sqrt(p / (1 - p)), 1),
    "contrast_gain": (contrast_gain, exact_gain, 4),
    "contrast_gain-least": (contrast_gain, exact_least, 3),
    "optimal_contrast": (optimal_contrast, lambda p, a, b: p / (1 - p) * a / b, 3),
}
POINTS = np.asarray(
    [[0.5, 1.0, 1.0, 1.0], [0.125, 3.0, 0.25, 2.0], [0.875, 0.1, 7.0, 0.5], [1e-4, 2.0, 5.0, 3.0],
     [1 - 2.0**-10, 2.0, 5.0, 3.0], [0.3, 1e10, 1e-10, 4.0], [0.3, 1e-10, 1e10, 1e-5]]
)  # fmt: skip
SUMS: dict[str, Function] = {
    name: lambda *x, f=function: f(*x).sum() for name, (function, _, _) in CASES.items()
}


@modes
@dtypes
@pytest.mark.parametrize("name", CASES)
def test_slopes(mode: str, dtype: str, name: str) -> None:
    """Relative to |f'| + |f|/(x(1 − x)) for p, |f|/x for the others: nothing cancels more."""
    _, exact, count = CASES[name]
    at = POINTS[:, :count].astype(dtype)
    slopes = MODES[mode](SUMS[name], *(np.ascontiguousarray(c) for c in at.T))
    for row, point in enumerate(at):
        numbers = oracles.fractions(point)
        value = exact(*(oracles.to_mpf(x) for x in numbers))
        for place, x in enumerate(numbers):
            want = slope_at(exact, numbers, place)
            unit = oracles.to_mpf(x * (1 - x) if place == 0 else x)
            scale = abs(want) + abs(value) / unit
            off = oracles.excess(slopes[place][row], want, dtype, relative_to=scale, flushes=True)
            assert off <= tolerances.CONTRAST_DERIVATIVE_EPS, (name, point, place, off)


@modes
def test_slopes_stay_finite_at_the_edges(mode: str) -> None:
    """Where a variance is 0 or both extreme; 0 · ∞ must not come of the side not taken."""
    for plus, minus in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1e300, 1e-300), (1e-300, 1e300)):
        for p in (1e-100, 0.5, 1 - 2.0**-53):
            point = [np.asarray([v]) for v in (p, plus, minus)]
            slopes = MODES[mode](SUMS["contrast_gain-least"], *point)
            assert not any(np.isnan(s).any() for s in slopes), (p, plus, minus, slopes)
            if p == 0.5:
                assert all(np.isfinite(s).all() for s in slopes), (plus, minus, slopes)


def budget(means: Any, variances: Any, weights: Any) -> Any:
    return budget_variance(means, variances, prompts=3, weights=weights)


def weighted_rate(p: Any, weights: Any) -> Any:
    return mean_discard_rate(p, weights=weights)


@modes
@dtypes
@pytest.mark.parametrize("least", [0.7, 0.0])
def test_slopes_of_means_over_prompts(mode: str, dtype: str, least: float) -> None:
    """∂/∂μ_i = 2w_i(μ_i − μ)/Q, ∂/∂V_i = w_i/Q, ∂/∂w_i = ((μ_i − μ)² + V_i − value·Q)/(QΣw)."""
    means, variances, weights = (
        np.asarray(x).astype(dtype)
        for x in ([3.0, -1.0, 0.5, 0.1], [1.0, 0.0, 2.0, 0.3], [1.0, 2.0, 0.5, least])
    )
    m, v, w = (oracles.fractions(x) for x in (means, variances, weights))
    total = sum(w)
    centre = sum(a * b for a, b in zip(w, m, strict=True)) / total
    parts = [(a - centre) ** 2 + b for a, b in zip(m, v, strict=True)]
    value = sum(a * b for a, b in zip(w, parts, strict=True)) / total
    exact = [
        [2 * a / total * (b - centre) / 3 for a, b in zip(w, m, strict=True)],
        [a / total / 3 for a in w],
        [(a - value) / total / 3 for a in parts],
    ]
    bound = 2 * tolerances.budget_ulp(4)
    for got, want in zip(MODES[mode](budget, means, variances, weights), exact, strict=True):
        check_row(got, want, dtype, bound)
    p = np.asarray([0.1, 0.5, 0.8, 1.0]).astype(dtype)
    rates = [x**2 + (1 - x) ** 2 for x in oracles.fractions(p)]
    rate = sum(a * b for a, b in zip(w, rates, strict=True)) / total
    of_p = [a / total * (4 * x - 2) for a, x in zip(w, oracles.fractions(p), strict=True)]
    of_w = [(a - rate) / total for a in rates]
    for got, want in zip(MODES[mode](weighted_rate, p, weights), (of_p, of_w), strict=True):
        check_row(got, want, dtype, bound)


def check_row(actual: np.ndarray, exact: list[Fraction], dtype: str, bound: float) -> None:
    scale = oracles.largest(exact)
    for got, want in zip(actual.tolist(), exact, strict=True):
        assert oracles.excess(got, want, dtype, relative_to=scale) <= bound, (got, want)


@modes
def test_equal_means_have_no_slope(mode: str) -> None:
    means, variances = np.full(5, 0.1), np.full(5, 0.25)
    by_means, by_variances, _ = MODES[mode](budget, means, variances, np.ones(5))
    assert (by_means == 0.0).all()
    np.testing.assert_allclose(by_variances, 1 / 15, rtol=tolerances.SHARE_RELATIVE)
