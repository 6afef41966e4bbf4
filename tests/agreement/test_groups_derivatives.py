"""Derivatives of identity.groups at every scale of the rewards, in both modes of torch and JAX.

The Jacobians have closed forms, taken here at 50 digits from the definitions.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from identity.groups import (
    binary_std,
    dr_grpo_advantages,
    group_std,
    group_update,
    grpo_advantages,
    regression_slope,
    rloo_advantages,
    score_contrast,
)
from tests import oracles, tolerances
from tests.agreement.differentiation import torch_forward_mode
from tests.backends import jax_jit, load_or_skip

Function = Callable[..., Any]
EXPONENTS = {"float32": range(-122, 121, 11), "float64": range(-1000, 1001, 125)}
ROWS = ([1.0, 0.0, 0.0], [1.0, 0.0], [0.75, -1.0, 0.5, 0.625, 1.0])
IDS = {size: [7] * size for size in (2, 3, 5)}


def torch_reverse(function: Function, at: np.ndarray, *others: np.ndarray) -> np.ndarray:
    torch = load_or_skip("torch").xp
    arrays = [torch.asarray(array) for array in (at, *others)]
    return np.asarray(importlib.import_module("torch.func").jacrev(function)(*arrays))


def torch_forward(function: Function, at: np.ndarray, *others: np.ndarray) -> np.ndarray:
    torch = load_or_skip("torch").xp
    arrays = [torch.asarray(array) for array in (at, *others)]
    with torch_forward_mode():
        return np.asarray(importlib.import_module("torch.func").jacfwd(function)(*arrays))


@functools.cache
def jitted(function: Function, mode: str) -> Function:
    jax = importlib.import_module("jax")
    return jax_jit(getattr(jax, mode)(function))


def jax_reverse(function: Function, at: np.ndarray, *others: np.ndarray) -> np.ndarray:
    load_or_skip("jax-jit")
    return np.asarray(jitted(function, "jacrev")(at, *others))


def jax_forward(function: Function, at: np.ndarray, *others: np.ndarray) -> np.ndarray:
    load_or_skip("jax-jit")
    return np.asarray(jitted(function, "jacfwd")(at, *others))


def jax_eager(function: Function, at: np.ndarray) -> np.ndarray:
    jax = importlib.import_module("jax")
    return np.asarray(jax.jacrev(function)(load_or_skip("jax").asarray(at)))


MODES = {
    "torch-reverse": torch_reverse,
    "torch-forward": torch_forward,
    "jax-reverse": jax_reverse,
    "jax-forward": jax_forward,
}
modes = pytest.mark.parametrize("mode", MODES)
dtypes = pytest.mark.parametrize("dtype", EXPONENTS)


def spread_slopes(rewards: list[Fraction], ddof: int) -> tuple[list[Any], Any]:
    """∂std/∂R_j, and the largest of them."""
    freedom = (len(rewards) - ddof) * oracles.std(rewards, ddof)
    exact = [oracles.to_mpf(d) / freedom for d in oracles.dr_grpo(rewards)]
    return exact, oracles.largest(exact)


def advantage_slopes(
    rewards: list[Fraction], ddof: int = 0, eps: Fraction = Fraction(0)
) -> tuple[list[list[Any]], Any]:
    """∂A_i/∂R_j, and 1/(std + eps), the scale of the terms that make it up."""
    size, spread = len(rewards), oracles.std(rewards, ddof)
    deviations = [oracles.to_mpf(d) for d in oracles.dr_grpo(rewards)]
    scale = spread + oracles.to_mpf(eps)
    slopes = [
        [
            (mpmath.mpf(int(i == j)) - mpmath.mpf(1) / size) / scale
            - deviations[i] / scale * deviations[j] / ((size - ddof) * spread * scale)
            for j in range(size)
        ]
        for i in range(size)
    ]
    return slopes, 1 / scale


def check(actual: np.ndarray, exact: Any, dtype: str, relative_to: Any, bound: float) -> None:
    """Every entry within `bound` ulp of `relative_to`, or of the smallest normal float."""
    wanted = [value for row in exact for value in (row if isinstance(row, list) else [row])]
    assert actual.size == len(wanted)
    assert actual.dtype == dtype
    for got, want in zip(actual.ravel().tolist(), wanted, strict=True):
        assert np.isfinite(got), (got, want)
        off = oracles.excess(got, want, dtype, relative_to=relative_to, flushes=True)
        assert off <= bound, (got, want, off)


def rewards_at(row: list[float], exponent: int, dtype: str) -> tuple[np.ndarray, list[Fraction]]:
    values = np.ldexp(np.asarray(row), exponent).astype(dtype)
    return values, oracles.fractions(values)


def ragged(function: Callable[..., Any], rewards: Any) -> Any:
    return function(rewards, groups=IDS[int(rewards.shape[0])])


STD = {ddof: functools.partial(group_std, ddof=ddof) for ddof in (0, 1)}
RAGGED_STD = functools.partial(ragged, group_std)
GRPO = {0: grpo_advantages, 1: functools.partial(grpo_advantages, ddof=1)}
RAGGED_GRPO = functools.partial(ragged, grpo_advantages)


@modes
@dtypes
def test_std(mode: str, dtype: str) -> None:
    for row in ROWS:
        for exponent in EXPONENTS[dtype]:
            values, rewards = rewards_at(row, exponent, dtype)
            bound = tolerances.derivative_ulp(len(row))
            for ddof, function in STD.items():
                exact, scale = spread_slopes(rewards, ddof)
                check(MODES[mode](function, values), exact, dtype, scale, bound)
        exact, scale = spread_slopes(rewards, 0)
        actual = MODES[mode](RAGGED_STD, values)
        check(actual, [exact] * len(row), dtype, scale, bound)


@modes
@dtypes
def test_advantages(mode: str, dtype: str) -> None:
    for row in ROWS:
        bound = tolerances.derivative_ulp(len(row))
        for exponent in EXPONENTS[dtype]:
            values, rewards = rewards_at(row, exponent, dtype)
            for ddof, function in GRPO.items():
                exact, scale = advantage_slopes(rewards, ddof)
                check(MODES[mode](function, values), exact, dtype, scale, bound)
            size = len(row)
            centring = [[oracles.to_mpf(Fraction(int(i == j) * size - 1, size))
                         for j in range(size)] for i in range(size)]  # fmt: skip
            check(MODES[mode](dr_grpo_advantages, values), centring, dtype, 1, bound)
            factor = mpmath.mpf(size) / (size - 1)
            check(MODES[mode](rloo_advantages, values),
                  [[factor * c for c in line] for line in centring], dtype, 2, bound)  # fmt: skip
        exact, scale = advantage_slopes(rewards)
        check(MODES[mode](RAGGED_GRPO, values), exact, dtype, scale, bound)


@modes
@dtypes
@pytest.mark.parametrize("eps", [1e-30, 1e-6, 1.0])
def test_advantages_with_eps(mode: str, dtype: str, eps: float) -> None:
    function = functools.partial(grpo_advantages, eps=eps)
    rounded = Fraction(float(np.asarray(eps).astype(dtype)))
    for row in ROWS:
        bound = tolerances.derivative_ulp(len(row))
        for exponent in EXPONENTS[dtype]:
            values, rewards = rewards_at(row, exponent, dtype)
            exact, scale = advantage_slopes(rewards, 0, rounded)
            check(MODES[mode](function, values), exact, dtype, scale, bound)


def test_reported_inputs() -> None:
    """float32, [s, 0, 0]: was 0, 0.557, infinite or NaN, depending on s and on the mode."""
    for unit in (1.5e-27, 1e-28, 1e-30, 1e-36):
        values = np.asarray([unit, 0, 0], dtype="float32")
        exact, scale = spread_slopes(oracles.fractions(values), 0)
        for derivative in (*MODES.values(), jax_eager):
            bound = tolerances.derivative_ulp(3)
            check(derivative(group_std, values), exact, "float32", scale, bound)
        pair = values[:2]
        exact, scale = advantage_slopes(oracles.fractions(pair))
        for derivative in (*MODES.values(), jax_eager):
            check(derivative(grpo_advantages, pair), exact, "float32", scale, bound)


SCORES = np.asarray([[0.5], [-1.0], [0.75], [0.625], [-0.25]])
WEIGHTS = np.asarray([0.75, -1.0, 0.5, 0.625, 1.0])


def swapped(function: Function) -> Function:
    return lambda second, first: function(first, second)


UPDATE_BY_SCORES = swapped(group_update)
CONTRAST_BY_SCORES = swapped(score_contrast)
SLOPE_BY_SCORES = swapped(regression_slope)


@modes
@dtypes
def test_update(mode: str, dtype: str) -> None:
    # Bilinear: ∂g/∂A_j = s_j/G and ∂g/∂s_j = A_j/G, for products up to this.
    top = {"float32": 100, "float64": 900}[dtype]
    for first in range(-top // 2, top + 1, top // 9):
        second = min(top - first, top)
        a = np.ldexp(WEIGHTS, first).astype(dtype)
        s = np.ldexp(SCORES, second).astype(dtype)
        for function, at, other in ((group_update, a, s), (UPDATE_BY_SCORES, s, a)):
            exact = [oracles.to_mpf(x) / 5 for x in oracles.fractions(other.ravel())]
            actual = MODES[mode](function, at, other)
            bound = tolerances.mean_product_ulp(5)
            check(actual, exact, dtype, oracles.largest(exact), bound)


@modes
@dtypes
def test_contrast(mode: str, dtype: str) -> None:
    binary = np.asarray([1.0, 0.0, 0.0, 1.0, 0.0]).astype(dtype)
    share = [oracles.to_mpf(Fraction(w)) for w in (Fraction(1, 2), Fraction(-1, 3))]
    exact = [share[0], share[1], share[1], share[0], share[1]]
    for exponent in EXPONENTS[dtype]:
        at = np.ldexp(SCORES, exponent).astype(dtype)
        actual = MODES[mode](CONTRAST_BY_SCORES, at, binary)
        check(actual, exact, dtype, share[0], tolerances.mean_product_ulp(5))


@modes
@dtypes
def test_slope(mode: str, dtype: str) -> None:
    # ∂β̂/∂s_j = d_j/Σd² and ∂β̂/∂R_j = (s_j − s̄ − 2β̂ d_j)/Σd², for magnitudes up to these.
    reach = {"float32": 60, "float64": 480}[dtype]
    lowest, highest = {"float32": (-70, 125), "float64": (-600, 1020)}[dtype]
    for first in range(-reach, reach + 1, reach // 3):
        for second in range(-reach, reach + 1, reach // 2):
            r, s = np.ldexp(WEIGHTS, first).astype(dtype), np.ldexp(SCORES, second).astype(dtype)
            rewards, scores = oracles.fractions(r), oracles.fractions(s[:, 0])
            centred = oracles.dr_grpo(rewards)
            squares = sum(d * d for d in centred)
            slope = sum(d * x for d, x in zip(centred, scores, strict=True)) / squares
            of_scores = [oracles.to_mpf(d / squares) for d in centred]
            of_rewards = [
                oracles.to_mpf((x - oracles.mean(scores) - 2 * slope * d) / squares)
                for x, d in zip(scores, centred, strict=True)
            ]
            for function, at, other, exact in (
                (regression_slope, r, s, of_rewards),
                (SLOPE_BY_SCORES, s, r, of_scores),
            ):
                scale = oracles.largest(exact)
                if not mpmath.ldexp(1, lowest) < scale < mpmath.ldexp(1, highest):
                    continue
                bound = 2 * tolerances.derivative_ulp(5)
                check(MODES[mode](function, at, other), exact, dtype, scale, bound)


@modes
@dtypes
def test_binary_std(mode: str, dtype: str) -> None:
    for size in (2, 9, 1024, 2**24):
        at = np.asarray([1, size // 3 or 1, size // 2, size - 1]).astype(dtype)
        with mpmath.workdps(tolerances.ORACLE_DIGITS):
            exact = [
                mpmath.mpf(size - 2 * k) / (2 * size * mpmath.sqrt(k * (size - k)))
                for k in at.astype(int).tolist()
            ]
        actual = MODES[mode](lambda k, g=size: binary_std(k, g).sum(), at)
        for got, want in zip(actual.tolist(), exact, strict=True):
            scale = max(abs(want), mpmath.mpf(1) / size**2)
            check(np.asarray(got).astype(dtype), [want], dtype, scale, tolerances.derivative_ulp(2))
