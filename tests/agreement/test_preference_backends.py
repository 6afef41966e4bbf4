"""identity.preference on every array library: type, device, dtype, values, tracing."""

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
from tests import tolerances
from tests.backends import OPTIONAL, Backend, load_or_skip

P = np.array([0.125, 0.5, 0.75, 0.9375])
LOGP = -np.array([0.5, 3.0, 12.25, 7.0])
PAIRS = np.array([[1.0, 0.0], [0.25, 0.5], [0.5, 0.5], [0.0, 1.0]])
BINARY = np.array([[1.0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1], [1, 0, 1, 1]])
SCORES = np.round(np.random.default_rng(3).normal(size=(4, 4, 2)) * 16) / 16


def limit_advantage(p: Any, rewards: Any) -> Any:
    return expected_advantage(p, rewards, group_size=None)


def weighted_rate(p: Any, weights: Any) -> Any:
    return mean_discard_rate(p, weights=weights)


def weighted_budget(means: Any, variances: Any, weights: Any) -> Any:
    return budget_variance(means, variances, prompts=3, weights=weights)


CALLS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "dpo_loss": (functools.partial(dpo_loss, beta=0.25), (LOGP, LOGP[::-1], LOGP * 0 - 4, LOGP)),
    "dpo_gradient_weight": (functools.partial(dpo_gradient_weight, beta=0.25), (LOGP,)),
    "two_grpo_update": (two_grpo_update, (PAIRS, SCORES[:, :2])),
    "two_grpo_update-bessel": (
        functools.partial(two_grpo_update, ddof=1),
        (PAIRS, SCORES[:, :2]),
    ),
    "pairwise_update": (pairwise_update, (BINARY, SCORES)),
    "discard_rate": (discard_rate, (P,)),
    "mean_discard_rate": (mean_discard_rate, (P,)),
    "mean_discard_rate-weights": (weighted_rate, (P, P[::-1])),
    "expected_advantage": (expected_advantage, (P, BINARY[3])),
    "expected_advantage-limit": (limit_advantage, (P, BINARY[3])),
    "contrast_gain": (contrast_gain, (P, P[::-1], P, P)),
    "contrast_gain-least": (contrast_gain, (P, P[::-1], P)),
    "optimal_contrast": (optimal_contrast, (P, P[::-1], P)),
    "budget_variance": (weighted_budget, (SCORES[0], SCORES[1] ** 2, P)),
}
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@pytest.fixture(
    scope="module", params=["numpy-readonly", "array-api-strict", "torch", "jax-jit", *OPTIONAL]
)
def lib(request: pytest.FixtureRequest) -> Backend:
    """The other modes take part in `tests.identity.test_preference_*`."""
    return load_or_skip(request.param)


@pytest.mark.parametrize("name", CALLS)
def test_library_device_dtype_and_value(lib: Backend, name: str) -> None:
    """The inputs are exact in every dtype, so that the result in float64 is the value wanted."""
    function, arguments = CALLS[name]
    wanted = np.asarray(function(*arguments))
    for dtype in lib.dtypes:
        arrays = [lib.asarray(a, dtype) for a in arguments]
        result = lib.call(function, *arrays)
        assert result.dtype == arrays[0].dtype
        assert array_api_compat.device(result) == array_api_compat.device(arrays[0])
        assert array_api_compat.array_namespace(result) is array_api_compat.array_namespace(
            arrays[0]
        )
        values = lib.to_numpy(result).astype(np.float64)
        assert values.shape == wanted.shape
        reach = tolerances.BACKENDS_EPS * EPS["float64" if dtype == "float64" else "float32"]
        if dtype in ("float16", "bfloat16"):
            reach += EPS[dtype]
        assert (np.abs(values - wanted) <= reach * np.abs(wanted).max()).all()


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("name", CALLS)
def test_torch_compile_traces_without_a_break(name: str) -> None:
    backend = load_or_skip("torch")
    torch = importlib.import_module("torch")
    torch.compiler.reset()
    function, arguments = CALLS[name]
    arrays = [backend.asarray(a, "float64") for a in arguments]
    compiled = torch.compile(lambda *a: function(*a), backend="eager", fullgraph=True)
    np.testing.assert_array_equal(
        backend.to_numpy(compiled(*arrays)), backend.to_numpy(function(*arrays))
    )


def test_jax_as_it_comes_without_float64() -> None:
    """float32 and int32 only: no warning, no silent upcast."""
    load_or_skip("jax")
    code = """
import warnings; warnings.simplefilter("error")
import jax, jax.numpy as jnp
from identity import preference as f
x, r = jnp.asarray([0.25, 0.5]), jnp.asarray([1, 0])
s = jnp.asarray([[1.0], [2.0]])
calls = [
    lambda: f.dpo_loss(x, -x, x, x, beta=0.1), lambda: f.dpo_gradient_weight(x, beta=0.1),
    lambda: f.two_grpo_update(r, s), lambda: f.pairwise_update(r, s), lambda: f.discard_rate(x),
    lambda: f.mean_discard_rate(x, weights=r), lambda: f.expected_advantage(x, r),
    lambda: f.contrast_gain(x, 1.0, 2.0), lambda: f.contrast_gain(x, 1.0, 2.0, 0.5),
    lambda: f.optimal_contrast(x, 1.0, 2.0), lambda: f.budget_variance(x, x, prompts=2),
    lambda: f.budget_variance(x, x, prompts=2, weights=r),
]
for call in calls:
    assert call().dtype == "float32"
    assert jax.jit(call)().dtype == "float32"
"""
    environment = os.environ | {"JAX_ENABLE_X64": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_layout_in_memory_does_not_matter() -> None:
    torch = load_or_skip("torch").xp
    scores = np.asfortranarray(SCORES)
    plain = pairwise_update(BINARY, SCORES)
    np.testing.assert_array_equal(pairwise_update(np.asfortranarray(BINARY), scores), plain)
    strided = torch.asarray(SCORES).permute(2, 0, 1).contiguous().permute(1, 2, 0)
    theirs = pairwise_update(torch.asarray(BINARY), strided).numpy()
    reach = tolerances.pairwise_ulp(4) * np.spacing(np.abs(SCORES).sum(axis=1))
    assert (np.abs(theirs - plain) <= reach).all()
