"""identity.expectation on every array library: compiled, mapped and differentiated."""

from __future__ import annotations

import functools
import importlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flint import arb

from identity import DomainError, expectation
from tests import tolerances as tol
from tests.backends import Backend, jax_jit, load_or_skip
from tests.identity import expectation_oracle as oracle

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
TOP = {"float16": 0.9990234375, "bfloat16": 0.99609375, "float32": 1 - 2.0**-24,
       "float64": 1 - 2.0**-53}  # fmt: skip
SMALLEST = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126,
            "float64": 2.0**-1022}  # fmt: skip
METHODS = ("grpo", "dr_grpo", "rloo", "dapo", "max_rl", "pass_at_k")
SIZES = (2, 5, 64)


def probabilities(dtype: str) -> list[float]:
    tiny = {"float16": 4e-3, "bfloat16": 1e-30, "float32": 1e-30, "float64": 1e-300}[dtype]
    return [tiny, 1e-3, 1 / 64, 0.1, 0.3, 0.414, 0.5, 0.625, 0.9, TOP[dtype]]


def squared(p: float) -> arb:
    return oracle.ball(p) * (1 - oracle.ball(p))


def unanimous(p: float, group_size: int) -> arb:
    return oracle.ball(p) ** group_size + (1 - oracle.ball(p)) ** group_size


def tail_miss(p: float, group_size: int) -> arb:
    x, t = oracle.ball(p), oracle.ball(p / 2)
    return (1 - t) ** group_size - (1 - x) ** group_size - (x - t) ** group_size


def noisy(p: float, group_size: int) -> arb:
    t, f = oracle.ball(0.875), oracle.ball(0.125)
    seen, total, n = f + (t - f) * oracle.ball(p), arb(0), group_size - 1
    for b, c in enumerate(oracle.coefficients(group_size, "grpo")):
        total += math.comb(n, b) * seen**b * (1 - seen) ** (n - b) * c
    return (t - f) * total


def half_tail_miss(p: Any, group_size: int) -> Any:
    return expectation.tail_miss(p, p / 2, group_size)


def noisy_weight(p: Any, group_size: int) -> Any:
    return expectation.verifier_noise_weight(p, group_size, 0.875, 0.125)


def law(p: Any, group_size: int) -> Any:
    return expectation.group_size_law(p, 1 / group_size, order=2)


def exact_law(p: float, group_size: int) -> arb:
    x, e = squared(p), oracle.ball(1 / group_size)
    a, b = 1 / (8 * x), (7 - 16 * x) / (128 * x * x)
    return (a + (a * a + 4 * e * b).sqrt()) / (2 * e)


# name: function, exact value, bound
SINGLE: dict[str, tuple[Callable[..., Any], Callable[[float, int], arb], float]] = {
    "expected_std": (
        expectation.expected_std,
        lambda p, g: oracle.weight(p, g) * squared(p),
        tol.MASS_EPS,
    ),
    "fidelity": (
        expectation.fidelity,
        lambda p, g: oracle.weight(p, g) * squared(p).sqrt(),
        tol.MASS_EPS,
    ),
    "silent_rate": (expectation.silent_rate, unanimous, tol.SILENT_EPS),
    "groups_per_kept": (
        expectation.groups_per_kept,
        lambda p, g: 1 / oracle.mixed(p, g),
        tol.KEPT_EPS,
    ),
    "conditional_baseline": (
        expectation.conditional_baseline,
        lambda p, g: (oracle.ball(p) - oracle.ball(p) ** g) / oracle.mixed(p, g),
        tol.CONDITIONAL_EPS,
    ),
    "tail_miss": (half_tail_miss, tail_miss, tol.TAIL_MISS_EPS),
    "noise": (noisy_weight, noisy, tol.NOISE_EPS),
    "law": (law, exact_law, tol.LAW_EPS),
}
for _method in METHODS:
    SINGLE[f"weight-{_method}"] = (
        functools.partial(expectation.update_weight, method=_method),
        functools.partial(oracle.weight, method=_method),
        tol.MASS_EPS,
    )
    SINGLE[f"mass-{_method}"] = (
        functools.partial(expectation.gradient_mass, method=_method),
        lambda p, g, m=_method: oracle.weight(p, g, m) * squared(p),
        tol.MASS_EPS,
    )
    if _method != "dapo":
        SINGLE[f"surrogate-{_method}"] = (
            functools.partial(expectation.surrogate, method=_method),
            functools.partial(oracle.surrogate, method=_method),
            tol.SURROGATE_EPS,
        )


@pytest.mark.parametrize("name", SINGLE)
def test_every_backend_meets_the_bound(xp: Backend, name: str) -> None:
    function, exact, bound = SINGLE[name]
    for dtype in xp.dtypes:
        half = dtype in ("float16", "bfloat16")
        p = xp.asarray(probabilities(dtype), dtype)
        passed = xp.to_numpy(p).astype(np.float64)
        for group_size in SIZES[-1:] if xp.compiled and dtype != "float64" else SIZES:
            result = xp.call(function, p, group_size=group_size)
            assert result.dtype == p.dtype
            assert tuple(result.shape) == tuple(p.shape)
            values = xp.to_numpy(result)
            # Half precision computes in float32 and rounds once.
            allowed = EPS[dtype] if half else bound * EPS[dtype]
            smallest = 2.0 * SMALLEST[dtype]
            for value, at in zip(values, passed.tolist(), strict=True):
                wanted = exact(at, group_size)
                if float(wanted) < smallest:
                    continue
                assert oracle.relative_error(value, wanted) <= allowed, (dtype, group_size, at)


def test_dapo_surrogate_agrees(xp: Backend) -> None:
    for dtype in ("float32", "float64"):
        p = xp.asarray(probabilities(dtype)[1:], dtype)
        for group_size in SIZES:
            result = xp.call(expectation.surrogate, p, group_size=group_size, method="dapo")
            reference = expectation.surrogate(xp.to_numpy(p).astype(np.float64), group_size, "dapo")
            values = xp.to_numpy(result).astype(np.float64)
            np.testing.assert_allclose(
                values, reference, rtol=2 * tol.SURROGATE_EPS * EPS[dtype], atol=0
            )


def test_counts_and_shape_parameters(xp: Backend) -> None:
    for dtype in ("float32", "float64", "int32"):
        correct, rollouts = xp.asarray([0, 1, 3, 8], dtype), xp.asarray([8, 8, 9, 8], dtype)
        result = xp.to_numpy(
            xp.call(expectation.silent_rate_unbiased, correct, rollouts, group_size=4)
        )
        exact = [arb(1), arb(35) / 70, arb(15) / 126, arb(1)]
        for value, wanted in zip(result, exact, strict=True):
            eps = EPS[result.dtype.name]
            assert oracle.relative_error(value, wanted) <= tol.unbiased_eps(4) * eps
    for dtype in ("float32", "float64"):
        a, b = xp.asarray([1.0, 0.5], dtype), xp.asarray([1.0, 2.0], dtype)
        result = xp.to_numpy(xp.call(expectation.silent_rate_beta, a, b, group_size=4))
        exact = [rising(1, 1, 4), rising(0.5, 2, 4)]
        for value, wanted in zip(result, exact, strict=True):
            assert oracle.relative_error(value, wanted) <= tol.beta_eps(1.0) * EPS[dtype]


def rising(a: float, b: float, group_size: int) -> arb:
    total = arb(0)
    for u in (oracle.ball(a), oracle.ball(b)):
        product = arb(1)
        for i in range(group_size):
            product *= (u + i) / (oracle.ball(a) + oracle.ball(b) + i)
        total += product
    return total


def test_any_shape_and_python_numbers(xp: Backend) -> None:
    for shape in ((), (1,), (2, 3), (2, 1, 3)):
        p = xp.asarray(np.full(shape, 0.3), "float64")
        values = xp.to_numpy(xp.call(expectation.update_weight, p, group_size=9))
        assert values.shape == shape
        np.testing.assert_array_equal(values, np.full(shape, np.ravel(values)[0]))
    assert isinstance(expectation.update_weight(0.3, 9), float)


def test_bad_values_raise_where_values_are_seen(xp: Backend) -> None:
    bad = xp.asarray([0.5, math.nan, 2.0], "float64")
    if xp.checks_values:
        with pytest.raises(DomainError, match=r"p must lie in .* index 1"):
            xp.call(expectation.update_weight, bad, group_size=9)
    else:
        values = xp.to_numpy(xp.call(expectation.update_weight, bad, group_size=9))
        assert np.isnan(values[1])
        assert np.isfinite(values[0])
    with pytest.raises(DomainError, match="method must be one of"):
        xp.call(expectation.update_weight, xp.asarray([0.5]), group_size=9, method="ppo")


def test_numbers_beside_a_float64_array_are_not_rounded_to_float32(xp: Backend) -> None:
    p = xp.asarray([0.5], "float64")
    result = xp.to_numpy(xp.call(noisy_third, p))
    np.testing.assert_array_equal(result, [1 / 3])


def noisy_third(p: Any) -> Any:
    return expectation.verifier_noise_weight(p, 2, 1 / 3, 0.0)


def test_jax_as_it_comes_without_float64() -> None:
    """float32 and int32 only: no warning, no silent upcast."""
    load_or_skip("jax")
    code = """
import warnings; warnings.simplefilter("error")
import jax, jax.numpy as jnp
from identity import expectation as e
p = jnp.asarray([0.01, 0.3, 0.9])
for f in (e.update_weight, e.surrogate, e.gradient_mass):
    for method in ("grpo", "dapo", "max_rl", "pass_at_k"):
        assert jax.jit(lambda p: f(p, 40, method))(p).dtype == "float32"
        assert f(p, 40, method).dtype == "float32"
assert e.silent_rate_unbiased(jnp.asarray([1, 2]), 9, 4).dtype == "float32"
assert e.silent_rate_beta(p, 2.0, 40).dtype == "float32"
"""
    environment = os.environ | {"JAX_ENABLE_X64": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# --- derivatives --------------------------------------------------------------------------------


def torch_derivative(function: Callable[..., Any], p: np.ndarray) -> np.ndarray:
    torch = load_or_skip("torch").xp
    leaf = torch.asarray(p.copy())
    leaf.requires_grad_(True)
    function(leaf).sum().backward()
    return np.asarray(leaf.grad.numpy())


def jax_derivative(function: Callable[..., Any], p: np.ndarray) -> np.ndarray:
    backend = load_or_skip("jax-jit")
    jax = importlib.import_module("jax")
    return np.asarray(jax_jit(jax.vmap(jax.grad(function)))(backend.asarray(p)))


DERIVATIVES = {"torch": torch_derivative, "jax": jax_derivative}


def exact_slope(p: float, group_size: int) -> arb:
    """W' = (n/1) E[c(B+1) − c(B)], B ~ B(n−1, p)."""
    n, c = group_size - 1, oracle.coefficients(group_size, "grpo")
    if n == 0:
        return arb(0)
    x = oracle.ball(p)
    differences = [c[b + 1] - c[b] for b in range(n)]
    return n * oracle.binomial_sum(differences, n - 1, x)


@pytest.mark.parametrize("library", DERIVATIVES)
@pytest.mark.parametrize("group_size", [2, 3, 4, 9, 64, 1000])
def test_derivative_of_the_weight(library: str, group_size: int) -> None:
    p = np.asarray([1e-12, 1e-4, 0.02, 0.3, 0.45, 0.5, 0.7, 0.999, 1 - 1e-9])
    slopes = DERIVATIVES[library](
        functools.partial(expectation.update_weight, group_size=group_size), p
    )
    for slope, at in zip(slopes.tolist(), p.tolist(), strict=True):
        wanted = exact_slope(at, group_size)
        # The scale on which W changes: 1/G near the ends, pq inside.
        scale = float(oracle.weight(at, group_size)) / (at * (1 - at) + 1 / group_size)
        assert abs(float(oracle.ball(slope) - wanted)) <= tol.DERIVATIVE_RELATIVE * scale


@pytest.mark.parametrize("library", DERIVATIVES)
@pytest.mark.parametrize("group_size", [2, 3, 9, 64, 4096])
@pytest.mark.parametrize("method", METHODS)
def test_derivative_of_the_surrogate_is_the_weight(
    library: str, group_size: int, method: str
) -> None:
    p = np.asarray([1e-200, 1e-12, 1e-5, 1e-3, 0.02, 0.3, 0.45, 0.5, 0.7, 0.999, 1 - 1e-9])
    slopes = DERIVATIVES[library](
        functools.partial(expectation.surrogate, group_size=group_size, method=method), p
    )
    weights = expectation.update_weight(p, group_size, method)
    scale = weights
    if method == "max_rl":  # p·H: the derivatives of the two factors cancel by log(Gp)
        scale = np.maximum(weights, expectation.surrogate(p, group_size, method) / p)
    keep = weights >= SMALLEST["float64"]
    assert np.all(np.abs(slopes - weights)[keep] <= (tol.DERIVATIVE_RELATIVE * scale)[keep])


@pytest.mark.parametrize("library", DERIVATIVES)
@pytest.mark.parametrize("name", [n for n in SINGLE if n != "fidelity"])
def test_derivatives_are_finite_also_at_the_ends(library: str, name: str) -> None:
    function, _, _ = SINGLE[name]
    inner = "dapo" in name or name in ("groups_per_kept", "conditional_baseline", "law")
    p = np.asarray([1e-9, 0.25, 0.5, 0.75, 1 - 1e-9] if inner else [0, 1e-300, 0.25, 0.5, 0.75, 1])
    for group_size in SIZES:
        slopes = DERIVATIVES[library](functools.partial(function, group_size=group_size), p)
        assert np.isfinite(slopes).all()


@pytest.mark.parametrize("library", DERIVATIVES)
def test_max_rl_has_its_derivative_at_zero(library: str) -> None:
    slope = DERIVATIVES[library](
        functools.partial(expectation.update_weight, group_size=8, method="max_rl"),
        np.asarray([0.0]),
    )
    np.testing.assert_array_equal(slope, [-28.0])


def test_tables_are_built_once_and_shared_by_all_libraries(xp: Backend) -> None:
    from identity.expectation.weight import weight_table

    p = xp.asarray([0.1, 0.6], "float64")
    first = xp.to_numpy(xp.call(expectation.update_weight, p, group_size=33))
    table = weight_table(33)
    again = xp.to_numpy(xp.call(expectation.update_weight, p, group_size=33))
    np.testing.assert_array_equal(first, again)
    assert weight_table(33) is table
