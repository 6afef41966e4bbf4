"""identity.difficulty on every array library: type, device, dtype, values, tracing."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np
import pytest

from identity.difficulty import (
    METHODS,
    beta_kernel,
    difficulty_weight,
    escort,
    garl_estimate,
    minimax_efficiency,
    paft_estimate,
    success_gated_snr,
    success_variance,
    tsallis_weight,
    weight_efficiency,
)
from tests import tolerances
from tests.backends import OPTIONAL, Backend, load_or_skip

P = np.array([0.125, 0.5, 0.75, 0.9375])
COUNTS, ROLLOUTS = np.array([0.0, 3, 5, 8]), np.array([4.0, 8, 16, 8])
ROWS = np.array([[0.5, 0.25, 0.0], [0.125, 1.0, 0.75]])
SCORES = np.round(np.random.default_rng(3).normal(size=(2, 3, 2)) * 16) / 16
UNIFORMS = np.array([[0.125, 0.75, 0.5, 0.875], [0.0, 0.25, 0.375, 0.9375]])
OPTIONS: dict[str, dict[str, Any]] = {
    "tsallis": {"q": 0.25},
    "pass_at_k": {"k": 4},
    "grpo_pass_at_k": {"k": 5},
    "beta_kernel": {"alpha": 0.25, "beta": 3.5},
}


def lawful_efficiency(weights: Any, target: Any, law: Any) -> Any:
    return weight_efficiency(weights, target, probabilities=law)


def resampled(scores: Any, weights: Any, uniforms: Any) -> Any:
    return paft_estimate(scores, weights, 0.25, uniforms=uniforms)


CALLS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    **{
        f"weight-{m}": (functools.partial(difficulty_weight, method=m, **OPTIONS.get(m, {})), (P,))
        for m in METHODS
    },
    "weight-8": (functools.partial(difficulty_weight, group_size=8), (P,)),
    "beta_kernel": (functools.partial(beta_kernel, alpha=0.5, beta=2.5), (P,)),
    "tsallis_weight": (functools.partial(tsallis_weight, q=0.75), (P,)),
    "escort": (functools.partial(escort, q=0.5), (ROWS,)),
    "escort-above": (functools.partial(escort, q=4.0), (ROWS,)),
    "minimax": (minimax_efficiency, (P,)),
    "minimax-log": (functools.partial(minimax_efficiency, scale="log"), (P * 4,)),
    "efficiency": (weight_efficiency, (ROWS, ROWS[::-1])),
    "efficiency-law": (lawful_efficiency, (ROWS, ROWS[::-1], ROWS)),
    "success_variance": (success_variance, (COUNTS, ROLLOUTS)),
    "success_variance-plug-in": (
        functools.partial(success_variance, unbiased=False),
        (COUNTS, ROLLOUTS),
    ),
    "success_gated_snr": (success_gated_snr, (P,)),
    "garl": (functools.partial(garl_estimate, q=0.75), (SCORES, ROWS)),
    "garl-low": (functools.partial(garl_estimate, q=0.25), (SCORES, ROWS)),
    "paft": (resampled, (SCORES, ROWS, UNIFORMS)),
}
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@pytest.fixture(
    scope="module",
    params=["numpy-readonly", "array-api-strict", "torch", "torch-vmap", "jax-jit", *OPTIONAL],
)
def lib(request: pytest.FixtureRequest) -> Backend:
    """NumPy and eager JAX take part in `tests.identity.test_difficulty_*`."""
    return load_or_skip(request.param)


@pytest.mark.parametrize("name", CALLS)
def test_library_device_dtype_and_value(lib: Backend, name: str) -> None:
    """The inputs are exact in every dtype, so that the result in float64 is the value wanted."""
    function, arguments = CALLS[name]
    wanted = np.asarray(function(*arguments))
    for dtype in ("bfloat16", "float64") if lib.compiled else lib.dtypes:
        arrays = [lib.asarray(np.ascontiguousarray(a), dtype) for a in arguments]
        result = lib.call(function, *arrays)
        assert result.dtype == arrays[0].dtype
        assert array_api_compat.device(result) == array_api_compat.device(arrays[0])
        assert array_api_compat.array_namespace(result) is array_api_compat.array_namespace(
            arrays[0]
        )
        values = lib.to_numpy(result).astype(np.float64)
        assert values.shape[values.ndim - wanted.ndim :] == wanted.shape
        reach = tolerances.BACKENDS_EPS * EPS["float64" if dtype == "float64" else "float32"]
        if dtype in ("float16", "bfloat16"):
            reach += EPS[dtype]
        assert (np.abs(values - wanted) <= reach * np.abs(wanted)).all()


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_torch_compile_traces_without_a_break() -> None:
    """One call for each path through the code, in one graph, as compilation is slow; not GRPO in
    finite groups, whose table is made by NumPy."""
    backend = load_or_skip("torch")
    torch = importlib.import_module("torch")
    torch.compiler.reset()
    names = ("weight-grpo", "weight-grpo_pass_at_k", "weight-beta_kernel", "weight-tsallis",
             "escort-above", "minimax-log", "efficiency-law", "success_variance",
             "success_gated_snr", "garl-low", "paft")  # fmt: skip
    calls = [CALLS[name] for name in names]
    given = [[backend.asarray(np.ascontiguousarray(a), "float64") for a in c[1]] for c in calls]

    def every(arrays: Any) -> list[Any]:
        return [function(*a) for (function, _), a in zip(calls, arrays, strict=True)]

    compiled = torch.compile(every, backend="eager", fullgraph=True)
    for found, wanted in zip(compiled(given), every(given), strict=True):
        np.testing.assert_array_equal(backend.to_numpy(found), backend.to_numpy(wanted))


def test_jax_as_it_comes_without_float64() -> None:
    """float32 and int32 only: no warning, no silent upcast."""
    load_or_skip("jax")
    code = """
import warnings; warnings.simplefilter("error")
import jax, jax.numpy as jnp
from identity import difficulty as f
x, c, s = jnp.asarray([0.25, 0.5]), jnp.asarray([1, 2]), jnp.asarray([[1.0], [2.0]])
options = {"tsallis": {"q": 0.3}, "pass_at_k": {"k": 3}, "grpo_pass_at_k": {"k": 3},
           "beta_kernel": {"alpha": 0.3, "beta": 3}}
calls = [lambda m=m, o=o: f.difficulty_weight(x, m, **o) for m, o in options.items()]
calls += [
    lambda: f.difficulty_weight(x, group_size=4), lambda: f.difficulty_weight(x, "log_odds"),
    lambda: f.escort(c, 0.3), lambda: f.minimax_efficiency(x, "log"),
    lambda: f.weight_efficiency(x, c, probabilities=x),
    lambda: f.success_variance(c, 4), lambda: f.success_gated_snr(x),
    lambda: f.garl_estimate(s, x, 0.3), lambda: f.paft_estimate(s, c, 0.3, indices=c - 1),
    lambda: f.paft_estimate(s, x, 0.3, uniforms=jax.random.uniform(jax.random.key(0), (5,))),
]
assert all(call().dtype == "float32" for call in calls)
assert all(r.dtype == "float32" for r in jax.jit(lambda: [call() for call in calls])())
"""
    environment = os.environ | {"JAX_ENABLE_X64": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_indices_on_every_library() -> None:
    indices = np.array([[0, 1, 1], [2, 0, 2]])
    wanted = paft_estimate(SCORES, ROWS, 0.25, indices=indices)
    for name in ("array-api-strict", "torch", "torch-vmap", "jax-jit"):
        backend = load_or_skip(name)
        for kind in ("int32", "int64", "uint8"):
            arrays = [backend.asarray(a, "float64") for a in (SCORES, ROWS)]
            result = backend.call(chosen, *arrays, backend.asarray(indices, kind))
            values = backend.to_numpy(result)
            reach = tolerances.BACKENDS_EPS * EPS["float64"]
            np.testing.assert_allclose(values[-2:] if values.ndim == 2 else values[0], wanted,
                                       rtol=reach)  # fmt: skip


def chosen(scores: Any, weights: Any, indices: Any) -> Any:
    return paft_estimate(scores, weights, 0.25, indices=indices)


def test_unseen_values_keep_their_meaning_at_the_ends() -> None:
    """Under jit nothing raises: a pole is ∞, NaN stays NaN, an empty pool takes no step."""
    backend = load_or_skip("jax-jit")
    p = backend.asarray([0.0, 1.0, np.nan], "float64")
    for method, want in (("grpo", [np.inf, np.inf]), ("log_likelihood", [np.inf, 1.0]),
                         ("log_odds", [np.inf, np.inf]), ("reinforce", [1.0, 1.0])):  # fmt: skip
        got = backend.to_numpy(backend.call(functools.partial(difficulty_weight, method=method), p))
        np.testing.assert_array_equal(got, [*want, np.nan])
    none = backend.asarray([[0.0, 0.0]], "float64")
    scores = backend.asarray([[[3.0], [4.0]]], "float64")
    step = backend.call(resampled, scores, none, backend.asarray([[0.5]], "float64"))
    np.testing.assert_array_equal(backend.to_numpy(step), [[0.0]])


def test_layout_in_memory_does_not_matter() -> None:
    torch = load_or_skip("torch").xp
    plain = garl_estimate(SCORES, ROWS, 0.5)
    np.testing.assert_array_equal(
        garl_estimate(np.asfortranarray(SCORES), np.asfortranarray(ROWS), 0.5), plain
    )
    strided = torch.asarray(SCORES).permute(2, 0, 1).contiguous().permute(1, 2, 0)
    theirs = garl_estimate(strided, torch.asarray(ROWS), 0.5).numpy()
    np.testing.assert_allclose(theirs, plain, rtol=tolerances.BACKENDS_EPS * EPS["float64"])
