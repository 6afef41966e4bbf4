"""Derivatives of identity.expectation by torch and JAX, against 50 digits, to the ends of p.

The exact derivative is the linear term of a power series over Arb balls, put into the definition.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from flint import arb, arb_series

from identity import expectation
from tests import tolerances as tol
from tests.agreement.differentiation import load_mode, torch_forward_mode
from tests.agreement.test_expectation_backends import METHODS, half_tail_miss, law, noisy_weight
from tests.backends import jax_jit, load_or_skip
from tests.identity import expectation_oracle as oracle

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
TINY = {"float32": (1e-30, 1e-20, 3e-20), "float64": (1e-300, 1e-200, 1e-155, 1e-100, 1e-30)}
TOP = {"float32": 1 - 2.0**-24, "float64": 1 - 2.0**-53}


def series(value: float, slope: float = 1.0) -> arb_series:
    return arb_series([arb(value), arb(slope)], prec=2)


def power(x: arb_series, exponent: int) -> arb_series:
    """x^n: arb_series has ** for a leading 0 or any exponent, but this needs no logarithm."""
    result = arb_series([1], prec=2)
    while exponent:
        if exponent & 1:
            result *= x
        x, exponent = x * x, exponent >> 1
    return result


def mean(values: Any, n: int, x: arb_series) -> arb_series:
    """E[values(B)], B ~ B(n, x)."""
    term, total, odds = power(1 - x, n), arb_series([0], prec=2), x / (1 - x)
    for b in range(n + 1):
        total += term * values[b]
        term = term * odds * arb(n - b) / arb(b + 1)
    return total


def mixed(x: arb_series, g: int) -> arb_series:
    return 1 - power(x, g) - power(1 - x, g)


def weight(x: arb_series, g: int, method: str = "grpo") -> arb_series:
    if method == "dr_grpo":
        return arb_series([arb(g - 1) / g], prec=2)
    if method == "rloo":
        return arb_series([1], prec=2)
    if method == "pass_at_k":
        return g * power(1 - x, g - 1)
    if method == "max_rl":
        return (1 - power(1 - x, g)) / x
    value = mean(oracle.coefficients(g, "grpo"), g - 1, x)
    return value / mixed(x, g) if method == "dapo" else value


def surrogate(x: arb_series, g: int, method: str) -> arb_series:
    if method == "pass_at_k":
        return 1 - power(1 - x, g)
    if method in ("dr_grpo", "rloo"):
        return weight(x, g, method) * x
    if method == "dapo":  # the derivative alone, which makes the bound one relative to it
        return arb_series([arb(0), weight(x, g, method)[0]], prec=2)
    return mean(oracle.running_sums(g, method), g, x) / g


def exact_law(x: arb_series, g: int) -> arb_series:
    e, y = arb(1 / g), x * (1 - x)
    a, b = 1 / (8 * y), (7 - 16 * y) / (128 * y * y)
    return (a + (a * a + 4 * e * b).sqrt()) / (2 * e)


def exact_tail_miss(x: arb_series, g: int) -> arb_series:
    t = x / 2
    return power(1 - t, g) - power(1 - x, g) - power(x - t, g)


# name: function, definition, bound
Case = tuple[Callable[..., Any], Callable[[arb_series, int], arb_series], float]
CASES: dict[str, Case] = {
    "expected_std": (
        expectation.expected_std,
        lambda x, g: x * (1 - x) * weight(x, g),
        tol.DERIVATIVE_TABLE_EPS,
    ),
    "fidelity": (
        expectation.fidelity,
        lambda x, g: (x * (1 - x)).sqrt() * weight(x, g),
        tol.DERIVATIVE_TABLE_EPS,
    ),
    "silent_rate": (
        expectation.silent_rate,
        lambda x, g: power(x, g) + power(1 - x, g),
        tol.DERIVATIVE_CLOSED_EPS,
    ),
    "groups_per_kept": (
        expectation.groups_per_kept,
        lambda x, g: 1 / mixed(x, g),
        tol.DERIVATIVE_CLOSED_EPS,
    ),
    "conditional_baseline": (
        expectation.conditional_baseline,
        lambda x, g: (x - power(x, g)) / mixed(x, g),
        tol.DERIVATIVE_CLOSED_EPS,
    ),
    "tail_miss": (half_tail_miss, exact_tail_miss, tol.DERIVATIVE_CLOSED_EPS),
    "noise": (
        noisy_weight,
        lambda x, g: arb(0.75) * weight(arb(0.125) + arb(0.75) * x, g),
        tol.DERIVATIVE_TABLE_EPS,
    ),
    "law": (law, exact_law, tol.DERIVATIVE_CLOSED_EPS),
    "law-1": (
        lambda p, group_size: expectation.group_size_law(p, 1 / group_size),
        lambda x, g: 1 / (8 * arb(1 / g) * x * (1 - x)),
        tol.DERIVATIVE_CLOSED_EPS,
    ),
    "mass-limit": (
        lambda p, group_size: expectation.gradient_mass(p),
        lambda x, g: (x * (1 - x)).sqrt(),
        tol.DERIVATIVE_CLOSED_EPS,
    ),
}
for _method in METHODS:
    _bound = tol.DERIVATIVE_TABLE_EPS if _method in ("grpo", "dapo") else tol.DERIVATIVE_CLOSED_EPS
    CASES[f"weight-{_method}"] = (
        functools.partial(expectation.update_weight, method=_method),
        functools.partial(weight, method=_method),
        _bound,
    )
    CASES[f"mass-{_method}"] = (
        functools.partial(expectation.gradient_mass, method=_method),
        lambda x, g, m=_method: x * (1 - x) * weight(x, g, m),
        _bound,
    )
    CASES[f"surrogate-{_method}"] = (
        functools.partial(expectation.surrogate, method=_method),
        functools.partial(surrogate, method=_method),
        tol.DERIVATIVE_TABLE_EPS if _method == "max_rl" else _bound,
    )


def backward(mode: str, function: Callable[[Any], Any], p: np.ndarray) -> np.ndarray:
    derivative = load_mode(mode)
    return derivative(lambda x: function(x).sum(), derivative.backend.xp.asarray(p.copy()))


def torch_forward(function: Callable[[Any], Any], p: np.ndarray) -> np.ndarray:
    torch = load_or_skip("torch").xp
    func = importlib.import_module("torch.func")
    at = torch.asarray(p.copy())
    with torch_forward_mode():
        return np.asarray(func.jvp(function, (at,), (torch.ones_like(at),))[1].numpy())


def jax_forward(function: Callable[[Any], Any], p: np.ndarray) -> np.ndarray:
    at = load_or_skip("jax-jit").asarray(p)
    jax = importlib.import_module("jax")
    return np.asarray(jax_jit(lambda x: jax.jvp(function, (x,), (x * 0 + 1,))[1])(at))


MODES = {
    "torch-backward": functools.partial(backward, "torch"),
    "torch-forward": torch_forward,
    "jax-backward": functools.partial(backward, "jax-jit"),
    "jax-forward": jax_forward,
}


def points(dtype: str, group_size: int) -> np.ndarray:
    g = float(group_size)
    p = [*TINY[dtype], 1e-15, 1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-3, 0.01 / g, 0.2 / g, 0.3 / g,
         1 / g, 0.02, 0.1, 0.3, 0.45, 0.5, 0.5 + 1e-3, 0.7, 0.9, 1 - 0.2 / g, 0.999, 1 - 1e-6,
         TOP[dtype]]  # fmt: skip
    return np.asarray(p).astype(dtype)


def miss(slope: Any, exact: arb_series, at: float, group_size: int, dtype: str) -> float:
    """|slope − f'| in eps of |f'| + |f|/(pq + 1/G). Forgiven: infinity of the right sign where f'
    has a pole and it or 1/p² is at least a quarter of the largest float, and the smallest normal
    float."""
    value, wanted = exact[0], exact[1]
    limit = float(np.finfo(dtype).max) / 4
    steep = abs(wanted) > 1 / (arb(at) * group_size) ** 2 and 1 / arb(at) ** 2 > limit
    if (steep or abs(wanted) > limit) and math.isinf(slope):
        return 0.0 if (slope > 0) == bool(wanted > 0) else math.inf
    if not math.isfinite(slope):
        return math.inf
    scale = abs(wanted) + abs(value) / (arb(at) * (1 - arb(at)) + arb(1) / group_size)
    error = abs(arb(float(slope)) - wanted)
    floor = arb(float(np.finfo(dtype).smallest_normal))
    if error < floor:
        return 0.0
    return float((error - floor) / scale) / EPS[dtype]


def worst(name: str, mode: str, group_size: int, dtype: str) -> tuple[float, float]:
    function, definition, _ = CASES[name]
    p = points(dtype, group_size)
    slopes = MODES[mode](functools.partial(function, group_size=group_size), p)
    assert slopes.dtype == dtype
    return max(
        (miss(s, exactly(definition, float(at), group_size), float(at), group_size, dtype), at)
        for s, at in zip(slopes.tolist(), p.tolist(), strict=True)
    )


@functools.lru_cache(maxsize=10_000)
def exactly(definition: Any, at: float, group_size: int) -> arb_series:
    return definition(series(at), group_size)


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_derivative(name: str, mode: str, dtype: str) -> None:
    sizes = (2, 3, 8, 64, 1000) if mode.startswith("torch") else (8, 64)
    for group_size in sizes:
        error, at = worst(name, mode, group_size, dtype)
        assert error <= CASES[name][2], f"{error} eps at p = {at!r}, G = {group_size}"


@pytest.mark.parametrize("mode", MODES)
def test_reported_inputs(mode: str) -> None:
    """Each was a wrong number or NaN: a cancelled numerator, an infinity times 0."""
    eighth = functools.partial(expectation.conditional_baseline, group_size=8)
    p = np.asarray([1e-30, 1e-10, 1e-8, 1e-6, 1 - 2.0**-24], dtype="float32")
    np.testing.assert_allclose(MODES[mode](eighth, p), 0.4375, rtol=tol.FOUR_DIGITS)
    mass = functools.partial(expectation.gradient_mass, group_size=8, method="dapo")
    np.testing.assert_allclose(MODES[mode](mass, p[:4]), 0.3580, rtol=tol.FOUR_DIGITS)
    wide = MODES[mode](mass, np.asarray([1e-200, 1e-100]))
    np.testing.assert_allclose(wide, 0.3580, rtol=tol.FOUR_DIGITS)
    rare = {
        "float32": np.asarray([1e-30, 1e-20], "float32"),
        "float64": np.asarray([1e-300, 1e-155]),
    }
    for p in rare.values():
        for name in ("groups_per_kept", "weight-dapo", "law", "law-1"):
            function = functools.partial(CASES[name][0], group_size=8)
            np.testing.assert_array_equal(MODES[mode](function, p), [-np.inf, -np.inf])


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("mode", MODES)
def test_roots_have_infinite_derivatives_at_the_ends(mode: str, dtype: str) -> None:
    ends = np.asarray([0.0, 1.0], dtype=dtype)
    for name in ("fidelity", "mass-limit"):
        function = functools.partial(CASES[name][0], group_size=8)
        np.testing.assert_array_equal(MODES[mode](function, ends), [np.inf, -np.inf])


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("mode", MODES)
def test_beta_law(mode: str, dtype: str) -> None:
    """By a; by b is the same function with its arguments exchanged."""
    for b in (1e-3, 0.5, 4.0):
        for group_size in (2, 8):
            at = np.asarray([1e-20, 1e-6, 0.1, 0.5, 1.0, 3.0, 50.0], dtype=dtype)
            function = functools.partial(expectation.silent_rate_beta, b=b, group_size=group_size)
            slopes = MODES[mode](function, at)
            second = float(np.asarray(b, dtype=dtype))
            for slope, a in zip(slopes.tolist(), at.tolist(), strict=True):
                total = arb_series([0], prec=2)
                for u in (series(a), series(second, 0.0)):
                    product = arb_series([1], prec=2)
                    for i in range(group_size):
                        product *= (u + i) / (series(a) + arb(second) + i)
                    total += product
                scale = abs(total[1]) + total[0] / (arb(a) + arb(second))
                error = float(abs(arb(slope) - total[1]) / scale) / EPS[dtype]
                assert error <= 2 * tol.DERIVATIVE_CLOSED_EPS, (a, b, group_size, error)


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("mode", MODES)
def test_second_arguments(mode: str, dtype: str) -> None:
    """tail_miss by τ, verifier_noise_weight by t and by f."""
    at = np.asarray([1e-30, 1e-8, 1e-3, 0.1, 0.3, 0.499], dtype=dtype)
    g, half = 8, arb(0.5)
    cases: list[tuple[Callable[[Any], Any], Callable[[arb_series], arb_series], float]] = [
        (
            lambda t: expectation.tail_miss(0.5, t, g),
            lambda t: power(1 - t, g) - power(half, g) - power(half - t, g),
            tol.DERIVATIVE_CLOSED_EPS,
        ),
        (
            lambda t: expectation.verifier_noise_weight(0.5, g, t, 0.125),
            lambda t: (t - arb(0.125)) * weight((t + arb(0.125)) / 2, g),
            tol.DERIVATIVE_TABLE_EPS,
        ),
        (
            lambda f: expectation.verifier_noise_weight(0.5, g, 0.875, f),
            lambda f: (arb(0.875) - f) * weight((f + arb(0.875)) / 2, g),
            tol.DERIVATIVE_TABLE_EPS,
        ),
    ]
    for function, definition, bound in cases:
        for slope, value in zip(MODES[mode](function, at).tolist(), at.tolist(), strict=True):
            assert miss(slope, definition(series(value)), value, g, dtype) <= bound


def test_the_oracle_agrees_with_numerical_differentiation() -> None:
    """mpmath, from the formulas on numbers: shares nothing with the series above."""
    with mpmath.workdps(60):
        p = mpmath.mpf(0.3)
        exact = mpmath.diff(lambda x: (x - x**8) / (1 - x**8 - (1 - x) ** 8), p)
        ours = arb(mpmath.nstr(exact, 50))
        miss_by = exactly(CASES["conditional_baseline"][1], 0.3, 8)[1] / ours - 1
        assert abs(float(miss_by)) < 1e-25
