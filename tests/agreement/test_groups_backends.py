"""The same function on every array library: type, device, dtype, values, derivatives."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import array_api_compat
import mpmath
import numpy as np
import pytest

from identity.groups import (
    binary_std,
    dapo_keep,
    dr_grpo_advantages,
    group_std,
    group_update,
    grpo_advantages,
    regression_slope,
    rloo_advantages,
    score_contrast,
)
from tests import oracles, strategies, tolerances
from tests.agreement.differentiation import Derivative, derivative, load_mode  # noqa: F401
from tests.backends import Backend, load_or_skip

ADVANTAGES = {
    "grpo": grpo_advantages,
    "grpo-bessel-eps": functools.partial(grpo_advantages, ddof=1, eps=1e-6),
    "dr-grpo": dr_grpo_advantages,
    "rloo": rloo_advantages,
}
REWARDS = np.array(
    [[0.3, 0.1, 0.9, 0.5], [0.1, 0.1, 0.1, 0.1], [1.0, 0.0, 0.0, 1.0], [7.0, -3.0, 7.0, 2.5]]
)
IDS = np.array([5, -2, 5, 5, 9, 9, -2, 9, 9, 5, -2])
SCORES = np.random.default_rng(3).normal(size=(4, 4, 3))


def identity_of(array: Any) -> tuple[Any, ...]:
    """Library, device and dtype."""
    device = array_api_compat.device(array)
    return array_api_compat.array_namespace(array), device, array.dtype


def test_library_device_and_dtype_are_kept(xp: Backend) -> None:
    # Under jit and vmap types are known without values; random rewards meet every dtype there.
    for dtype in strategies.few_dtypes(xp) if xp.name in ("jax-jit", "jax-vmap") else xp.dtypes:
        rewards = xp.asarray(REWARDS, dtype)
        scores = xp.asarray(SCORES, dtype)
        binary = xp.asarray(REWARDS > 0.2, dtype)
        flat, ids = xp.asarray(np.ravel(REWARDS)[:11], dtype), xp.asarray(IDS)
        results = [
            xp.call(group_std, rewards),
            xp.call(binary_std, xp.asarray([1.0, 2.0], dtype), group_size=4),
            xp.call(dapo_keep, rewards),
            xp.call(group_update, rewards, scores),
            xp.call(score_contrast, binary, scores),
            xp.call(regression_slope, rewards, scores),
        ]
        for method in ADVANTAGES.values():
            results += [xp.call(method, rewards), xp.call(method, flat, groups=ids)]
        for result in results:
            library, device, kept = identity_of(result)
            assert (library, device) == identity_of(rewards)[:2]
            assert kept == rewards.dtype or "bool" in str(kept)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_every_backend_agrees_with_numpy(xp: Backend, name: str) -> None:
    bound = tolerances.IDENTITY_SPREAD * tolerances.grpo_ulp(4)
    for dtype in ("float32", "float64"):
        expected = ADVANTAGES[name](REWARDS.astype(dtype))
        actual = xp.to_numpy(xp.call(ADVANTAGES[name], xp.asarray(REWARDS, dtype)))
        reach = bound * np.spacing(np.abs(expected).max(axis=-1, keepdims=True))
        assert (np.abs(actual - expected) <= reach).all()


@pytest.mark.parametrize("name", [*ADVANTAGES, "std"])
def test_ragged_agrees_with_dense(xp: Backend, name: str) -> None:
    # The same groups, written flat and shuffled: sums may differ in order, not in more.
    function: Callable[..., Any] = {**ADVANTAGES, "std": group_std}[name]
    rng = np.random.default_rng(0)
    order = rng.permutation(REWARDS.size)
    ids = np.repeat([4, -1, 8, 0], 4)[order]
    for dtype in ("float32", "float64"):
        flat = xp.asarray(REWARDS.ravel()[order], dtype)
        actual = xp.to_numpy(xp.call(function, flat, groups=xp.asarray(ids)))
        dense = xp.to_numpy(xp.call(function, xp.asarray(REWARDS, dtype)))
        if name == "std":
            dense = np.repeat(dense, 4).reshape(4, 4)
        expected = dense.ravel()[order]
        reach = np.abs(dense).max(axis=-1, keepdims=True) * np.ones_like(dense)
        bound = tolerances.IDENTITY_SPREAD * tolerances.grpo_ulp(4)
        assert (np.abs(actual - expected) <= bound * np.spacing(reach.ravel()[order])).all()


def test_layout_in_memory_does_not_matter(xp: Backend) -> None:
    if xp.library == "jax":
        return  # jax arrays have no strides
    rewards = xp.asarray(np.ascontiguousarray(REWARDS.T), "float64").T
    np.testing.assert_array_equal(
        xp.to_numpy(xp.call(dr_grpo_advantages, rewards)), dr_grpo_advantages(REWARDS)
    )


# --- derivatives ---------------------------------------------------------------------------------


def jacobian_row(rewards: list[Fraction], i: int, name: str) -> list[mpmath.mpf]:
    """∂A_i/∂R_j for all j, exactly, from the definitions."""
    size = len(rewards)
    deviations = [oracles.to_mpf(d) for d in oracles.dr_grpo(rewards)]
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        centring = [mpmath.mpf(int(i == j)) - mpmath.mpf(1) / size for j in range(size)]
        if name == "dr-grpo":
            return centring
        if name == "rloo":
            return [c * size / (size - 1) for c in centring]
        ddof, eps = (1, Fraction(1e-6)) if name == "grpo-bessel-eps" else (0, Fraction(0))
        spread = oracles.std(rewards, ddof)
        scale = spread + oracles.to_mpf(eps)
        return [
            c / scale - deviations[i] * deviations[j] / ((size - ddof) * spread * scale**2)
            for j, c in enumerate(centring)
        ]


@pytest.mark.parametrize("name", ADVANTAGES)
def test_derivatives_of_advantages(derivative: Derivative, name: str) -> None:  # noqa: F811
    function = ADVANTAGES[name]
    for row in (REWARDS[0], REWARDS[2], REWARDS[3]):
        at = derivative.backend.asarray(row, "float64")
        exact = [jacobian_row(oracles.fractions(row), i, name) for i in range(row.size)]
        steepest = max(abs(value) for values in exact for value in values)
        for i, values in enumerate(exact):
            actual = derivative(lambda r, i=i: function(r)[i], at)
            for got, want in zip(actual, values, strict=True):
                off = oracles.excess(got, want, "float64", relative_to=steepest)
                assert off <= tolerances.derivative_ulp(row.size)


@pytest.mark.parametrize("ddof", [0, 1])
def test_derivative_of_std(derivative: Derivative, ddof: int) -> None:  # noqa: F811
    for row in (REWARDS[0], REWARDS[2], REWARDS[3]):
        rewards = oracles.fractions(row)
        spread = oracles.std(rewards, ddof)
        freedom = len(rewards) - ddof
        exact = [oracles.to_mpf(d) / (freedom * spread) for d in oracles.dr_grpo(rewards)]
        at = derivative.backend.asarray(row, "float64")
        actual = derivative(lambda r: group_std(r, ddof=ddof), at)
        for got, want in zip(actual, exact, strict=True):
            off = oracles.excess(got, want, "float64", relative_to=oracles.largest(exact))
            assert off <= tolerances.derivative_ulp(row.size)


def weighted(function: Callable[..., Any], weights: Any) -> Callable[[Any], Any]:
    return lambda rewards: (function(rewards) * weights).sum()


@pytest.mark.parametrize("name", [*ADVANTAGES, "std"])
def test_unanimous_groups_have_no_derivative(derivative: Derivative, name: str) -> None:  # noqa: F811
    backend = derivative.backend
    function: Callable[..., Any] = {**ADVANTAGES, "std": group_std}[name]
    for dtype in derivative.dtypes:
        for size in (2, 3, 8):
            at = backend.asarray([[value] * size for value in (0.0, 0.1, 1.0, -2.3, 1 / 3)], dtype)
            shape = (5,) if name == "std" else (5, size)
            weights = backend.asarray(np.arange(1.0, np.prod(shape) + 1).reshape(shape), dtype)
            assert (derivative(weighted(function, weights), at) == 0.0).all()


@pytest.mark.parametrize("name", [*ADVANTAGES, "std"])
def test_a_unanimous_group_does_not_spoil_its_neighbours(
    derivative: Derivative,  # noqa: F811
    name: str,
) -> None:
    # A mixed, a unanimous and a mixed group, as a batch and as ids.
    backend = derivative.backend
    function: Callable[..., Any] = {**ADVANTAGES, "std": group_std}[name]
    rewards = REWARDS[[0, 1, 3]]
    at = backend.asarray(rewards, "float64")
    ids = np.repeat([3, 1, 2], 4)
    order = np.random.default_rng(1).permutation(12)
    group_ids = backend.asarray(ids[order])
    flat = backend.asarray(rewards.ravel()[order], "float64")
    # Powers differ from rollout to rollout, so that the derivative of a sum does not vanish.
    dense = derivative(lambda r: (function(r) ** 3).sum(), at)
    ragged = derivative(lambda r: (function(r, groups=group_ids) ** 3).sum(), flat)
    for gradient in (dense.ravel(), ragged[np.argsort(order)]):
        assert np.isfinite(gradient).all()
        assert (gradient[4:8] == 0.0).all()
        assert (gradient[:4] != 0.0).any()
        assert (gradient[8:] != 0.0).any()
    if name != "std":  # a rollout carries its group's std, so ragged sums count it G times
        reach = np.abs(dense).max(axis=-1, keepdims=True) * np.ones_like(dense)
        bound = tolerances.IDENTITY_SPREAD * tolerances.derivative_ulp(12)
        off = np.abs(ragged[np.argsort(order)] - dense.ravel())
        assert (off <= bound * np.spacing(reach.ravel())).all()


def test_unanimous_steps_have_no_derivative(derivative: Derivative) -> None:  # noqa: F811
    backend = derivative.backend
    for dtype in derivative.dtypes:
        rewards = backend.asarray(np.full(4, 0.1), dtype)
        ones = backend.asarray(np.ones(4), dtype)
        scores = backend.asarray(SCORES[0], dtype)
        ends = backend.asarray([0.0, 4.0], dtype)
        steps = functools.partial(every_step, ones)
        assert (derivative(functools.partial(steps, rewards), scores) == 0.0).all()
        of_rewards = functools.partial(every_step, ones, scores=scores)
        assert (derivative(of_rewards, rewards) == 0.0).all()
        assert (derivative(lambda k: binary_std(k, 4).sum(), ends) == 0.0).all()


def every_step(ones: Any, rewards: Any, scores: Any) -> Any:
    """Steps and slopes of one group, added up, so that one derivative covers them."""
    steps = [group_update(method(rewards), scores) for method in ADVANTAGES.values()]
    steps += [score_contrast(ones, scores), regression_slope(rewards, scores)]
    return sum(step.sum() for step in steps)


@pytest.mark.parametrize("name", [*ADVANTAGES, "std"])
def test_a_lonely_rollout_under_jit_has_no_derivative(name: str) -> None:
    # Eagerly it is refused; under jit its id goes unseen, and it must not spoil the others.
    function: Callable[..., Any] = {**ADVANTAGES, "std": group_std}[name]
    jitted = load_mode("jax-jit")
    ids = jitted.backend.asarray([4, 9, 4, 4])
    at = jitted.backend.asarray([1.0, 5.0, 0.0, 0.5], "float64")
    gradient = jitted(lambda r: (function(r, groups=ids) ** 3).sum(), at)
    assert np.isfinite(gradient).all()
    assert gradient[1] == 0.0
    assert gradient[0] != 0.0


def test_derivatives_survive_extreme_rewards(derivative: Derivative) -> None:  # noqa: F811
    # ∂σ/∂R_j = A_j/G has no scale: the same at 1e300 and at 1e-300.
    for unit in (1e300, 1.0, 1e-300):
        at = derivative.backend.asarray(np.array([3.0, 1.0, 2.0, 2.0]) * unit, "float64")
        exact = [oracles.to_mpf(d) / 4 / oracles.sqrt(Fraction(1, 2)) for d in (1, -1, 0, 0)]
        actual = derivative(group_std, at)
        for got, want in zip(actual, exact, strict=True):
            off = oracles.excess(got, want, "float64", relative_to=oracles.largest(exact))
            assert off <= tolerances.derivative_ulp(4)


# --- tracing -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_torch_compile_traces_without_a_break() -> None:
    backend = load_or_skip("torch")
    torch = importlib.import_module("torch")
    rewards = backend.asarray(REWARDS, "float64")
    compiled = torch.compile(grpo_advantages, backend="eager", fullgraph=True)
    np.testing.assert_array_equal(
        backend.to_numpy(compiled(rewards)), backend.to_numpy(grpo_advantages(rewards))
    )


def test_jax_compiles_once_for_one_shape() -> None:
    load_or_skip("jax")
    jax = importlib.import_module("jax")
    traces = []

    @jax.jit
    def step(rewards: Any, groups: Any) -> Any:
        traces.append(1)
        return grpo_advantages(rewards, groups=groups)

    rewards = jax.numpy.asarray(np.arange(6.0))
    for ids in ([0, 0, 1, 1, 2, 2], [7, 7, 7, 3, 3, 3], [1, 1, 1, 1, 1, 1]):  # 3, 2, 1 groups
        result = step(rewards, jax.numpy.asarray(ids))
        expected = grpo_advantages(np.arange(6.0), groups=np.array(ids))
        bound = tolerances.IDENTITY_SPREAD * tolerances.grpo_ulp(6)
        reach = bound * np.spacing(np.abs(expected).max())
        assert (np.abs(np.asarray(result) - expected) <= reach).all()
    assert len(traces) == 1


def test_jax_without_x64() -> None:
    load_or_skip("jax")
    jax = importlib.import_module("jax")
    with jax.enable_x64(False):
        rewards = jax.numpy.asarray([1, 0, 1, 1])
        for result in (grpo_advantages(rewards), grpo_advantages(rewards, groups=rewards * 0)):
            assert result.dtype == np.float32
            exact = oracles.grpo(oracles.fractions([1, 0, 1, 1]))
            for got, want in zip(np.asarray(result), exact, strict=True):
                assert oracles.excess(got, want, "float32") <= tolerances.BINARY_GRPO_ULP


def test_groups_may_be_mapped_over_with_rewards_fixed() -> None:
    backend = load_or_skip("jax")
    jax = importlib.import_module("jax")
    rewards = backend.asarray([1.0, 0.0, 0.0, 3.0])
    ids = backend.asarray([[0, 0, 1, 1], [0, 1, 1, 0]])
    mapped = jax.vmap(lambda g: grpo_advantages(rewards, groups=g))(ids)
    for row, group_ids in zip(mapped, ids, strict=True):
        np.testing.assert_array_equal(row, grpo_advantages(rewards, groups=group_ids))
