"""identity.dynamics on every array library: type, device, dtype, values, tracing, derivatives."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np
import pytest

from identity.dynamics import stationary_variance, success_recursion, trajectory
from tests import tolerances
from tests.backends import OPTIONAL, Backend, load_or_skip

T = np.array([0.0, 0.5, 6.0, 40.0])
P = np.array([0.125, 0.5, 0.75, 0.9375])
SIZES = np.array([2.0, 4, 8, 64])


def underdamped(t: Any, start: Any, limit: Any) -> Any:
    return trajectory((0.25, 0.25), t, start, limit)


def critical(t: Any, start: Any, limit: Any) -> Any:
    return trajectory((0.25, 1.0), t, start, limit)


def overdamped(t: Any, start: Any, limit: Any) -> Any:
    return trajectory((0.25, 2.5), t, start, limit)


def plain(t: Any) -> Any:
    return trajectory((0.25, 0.5), t)


def variance(learning_rate: Any, curvature: Any, group_size: Any) -> Any:
    return stationary_variance(
        learning_rate, curvature, momentum=0.875, noise_std=1.5, group_size=group_size
    )


def variance_of_momentum(momentum: Any, noise_std: Any) -> Any:
    return stationary_variance(0.25, 1.0, momentum=momentum, noise_std=noise_std, group_size=8)


def success(p: Any, p_ref: Any) -> Any:
    return success_recursion(p, p_ref, 2.0, 0.25)


def success_of_beta(beta: Any, eps: Any) -> Any:
    return success_recursion(0.25, 0.5, beta, eps)


CALLS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "underdamped": (underdamped, (T, P, P[::-1])),
    "critical": (critical, (T, P, P[::-1])),
    "overdamped": (overdamped, (T, P, P[::-1])),
    "plain": (plain, (T,)),
    "variance": (variance, (P, P[::-1], SIZES)),
    "variance-momentum": (variance_of_momentum, (P, P[::-1])),
    "success": (success, (P, P[::-1])),
    "success-beta": (success_of_beta, (P, P[::-1])),
}
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@pytest.fixture(
    scope="module",
    params=["numpy-readonly", "array-api-strict", "torch", "torch-vmap", "jax", "jax-jit",
            "jax-vmap", *OPTIONAL],
)  # fmt: skip
def lib(request: pytest.FixtureRequest) -> Backend:
    return load_or_skip(request.param)


@pytest.mark.parametrize("name", CALLS)
def test_library_device_dtype_and_value(lib: Backend, name: str) -> None:
    """The inputs are exact in every dtype, so that the result in float64 is the value wanted."""
    function, arguments = CALLS[name]
    wanted = np.asarray(function(*arguments))
    dtypes = lib.dtypes if lib.name in ("numpy-readonly", "torch", "jax-jit") else ("float32",)
    for dtype in dtypes:
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


@pytest.mark.parametrize("zeta", [0.3, 1.0, 2.5])
def test_velocity_by_autodiff(zeta: float) -> None:
    """dR/dt = ω²t e^{−ζωt} sinhc(δωt), at small and at large times alike."""
    times = np.array([1e-6, 0.01, 0.9, 1.1, 5.0, 30.0])
    omega = 0.5
    s = omega * times
    delta = np.sqrt(complex(zeta * zeta - 1))
    turn = np.sinh(delta * s) / delta if delta else s + 0j
    wanted = omega * (np.exp(-zeta * s) * turn).real
    torch = importlib.import_module("torch") if load_or_skip("torch") else None
    t = torch.asarray(times, dtype=torch.float64, requires_grad=True)  # type: ignore[union-attr]
    trajectory((omega, zeta), t).sum().backward()
    jax = importlib.import_module("jax") if load_or_skip("jax") else None
    total = lambda x: trajectory((omega, zeta), x).sum()  # noqa: E731
    theirs = jax.grad(total)(jax.numpy.asarray(times))  # type: ignore[union-attr]
    for slopes in (t.grad.numpy(), np.asarray(theirs)):
        # Reverse mode takes e^x from expm1(x) + 1: an eps of 1, times the slope ω of the exponent.
        reach = tolerances.VELOCITY_RELATIVE * np.abs(wanted) + EPS["float64"] * omega
        assert (np.abs(slopes - wanted) <= reach).all()


def test_jax_as_it_comes_without_float64() -> None:
    """float32 and int32 only: no warning, no silent upcast."""
    load_or_skip("jax")
    code = """
import warnings; warnings.simplefilter("error")
import jax, jax.numpy as jnp
from identity import dynamics as f
x = jnp.asarray([0.25, 0.5])
calls = [
    lambda: f.trajectory((0.1, 0.5), x), lambda: f.trajectory((0.1, 2.0), x, 0.25, x),
    lambda: f.stationary_variance(x, 1.0, group_size=jnp.asarray([2, 4])),
    lambda: f.success_recursion(x, 0.5, 1.0), lambda: f.success_recursion(0.5, x, x, x),
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
