"""The array libraries, and ways of running them, that every function is tested on.

A `Backend` makes arrays, calls a function on them (eagerly, compiled, or mapped over a batch)
and brings the result back to NumPy. A backend that cannot run here is skipped and counted;
in CI (``CI=true``) a session that skipped a required one fails.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import currently_in_test_context

NUMPY = ("numpy", "numpy-readonly")
STRICT = ("array-api-strict",)
TORCH = ("torch", "torch-vmap")
JAX = ("jax", "jax-jit", "jax-vmap")
OPTIONAL = ("torch-cuda", "jax-cuda")  # a machine without a GPU is not at fault
NAMES = (*NUMPY, *STRICT, *TORCH, *JAX, *OPTIONAL)

SKIP_MARK = "backend not available: "

# Modes whose arithmetic another backend runs as well: alone, or compiled.
REPEATING = ("numpy-readonly", "torch-vmap", "jax", "jax-vmap")

_STRICT_DTYPES = ("float32", "float64")
_ALL_DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Backend:
    """One array library in one mode of execution."""

    name: str
    xp: Any
    dtypes: tuple[str, ...]
    checks_values: bool = True  # false where tracing hides values
    flushes_subnormals: bool = False
    compiled: bool = False  # each new shape costs a compilation: keep shapes few
    device: Any = None
    # Not an argument: Hypothesis prints those with every strategy, and refuses to print much.
    _jitted: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def library(self) -> str:
        """``"numpy"``, ``"array"``, ``"torch"`` or ``"jax"``."""
        return self.name.partition("-")[0]

    def asarray(self, values: Any, dtype: str | None = None) -> Any:
        """An array on this backend; `dtype` by name."""
        if self.library == "numpy":
            array = np.array(values) if dtype is None else np.array(values).astype(dtype)
            array.flags.writeable = self.name != "numpy-readonly"
            return array
        options = {} if dtype is None else {"dtype": getattr(self.xp, dtype)}
        if self.library == "torch":
            options["device"] = self.device
            if isinstance(values, np.ndarray):
                values = values.copy()
        return self.xp.asarray(values, **options)

    def to_numpy(self, array: Any) -> np.ndarray:
        """The values in NumPy (bfloat16 as float32, which holds them exactly)."""
        if hasattr(array, "detach"):
            array = array.detach().cpu()
            return (array.float() if str(array.dtype) == "torch.bfloat16" else array).numpy()
        result = np.asarray(array)
        return result.astype(np.float32) if result.dtype.name == "bfloat16" else result

    def call(self, function: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
        """``function(*arrays, **options)`` in this backend's mode.

        ``groups`` among the options travels with the arrays. Mapped modes run a batch of two
        equal copies and insist that both give the same bits. JAX maps one operation after the
        other, and the many examples of a random test in one compiled program.
        """
        groups = options.pop("groups", None)
        static = functools.partial(_positional, function, groups is not None, options)
        arguments = arrays if groups is None else (*arrays, groups)
        mapped = self.name in ("jax-vmap", "torch-vmap")
        if mapped:
            module = importlib.import_module("jax" if self.library == "jax" else "torch.func")
            mode = module.vmap(static)
        else:
            mode = static
        if self.name == "jax-jit" or (self.name == "jax-vmap" and currently_in_test_context()):
            key = (function, groups is not None, tuple(sorted(options.items())))
            if key not in self._jitted:
                plain = importlib.import_module("jax").jit
                # What is mapped compiles alone under jax-jit: the rules of mapping remain.
                self._jitted[key] = (plain if mapped else jax_jit)(mode)
            mode = self._jitted[key]
        if mapped:
            batched = mode(*(self.xp.stack([a, a]) for a in arguments))
            first, second = self.to_numpy(batched[0]), self.to_numpy(batched[1])
            np.testing.assert_array_equal(first, second, strict=True)
            return batched[0]
        return mode(*arguments)


def _positional(
    function: Callable[..., Any], grouped: bool, options: Mapping[str, Any], *arrays: Any
) -> Any:
    if grouped:
        *arrays, groups = arrays
        return function(*arrays, groups=groups, **options)
    return function(*arrays, **options)


# XLA compiles every operation of eager JAX, for each shape, and spends most of that in its newer
# code generator. Without it single operations give the same bits: measured at random bits in every
# dtype, for the arithmetic that identity/ calls; log1p of float16 differed, and of sums of products
# the order. So eager and mapped modes lose nothing. Programs compiled whole may differ: `jax_jit`
# keeps the generator for them. A flag that a release does not know ends the process.
_GENERATOR = "xla_cpu_use_fusion_emitters"
_RELEASES = ("0.10.",)


def compile_operations_faster() -> None:
    """Leave XLA's newer code generator to `jax_jit`, unless ``XLA_FLAGS`` are given."""
    try:
        release = importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return
    if release.startswith(_RELEASES):
        os.environ.setdefault("XLA_FLAGS", f"--{_GENERATOR}=false")


def jax_jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """``jax.jit``, compiled as users have it compiled."""
    changed = os.environ.get("XLA_FLAGS") == f"--{_GENERATOR}=false"
    options = {"compiler_options": {_GENERATOR: True}} if changed else {}
    compiled: Callable[..., Any] = importlib.import_module("jax").jit(function, **options)
    return compiled


def hidden() -> frozenset[str]:
    """Backends hidden by ``HIDE_BACKENDS`` (comma separated), to test the counting of skips."""
    return frozenset(filter(None, os.environ.get("HIDE_BACKENDS", "").split(",")))


@functools.cache
def load(name: str) -> Backend:
    """The backend of that name.

    Raises
    ------
    ImportError
        If it cannot run on this machine.
    """
    if name in hidden():
        raise ImportError(f"{name} is hidden by HIDE_BACKENDS")
    if name in NUMPY:
        xp = importlib.import_module("array_api_compat.numpy")
        return Backend(name, xp, ("float16", "float32", "float64"))
    if name in STRICT:
        return Backend(name, importlib.import_module("array_api_strict"), _STRICT_DTYPES)
    if name.startswith("torch"):
        torch = importlib.import_module("torch")
        xp = importlib.import_module("array_api_compat.torch")
        if name == "torch-cuda" and not torch.cuda.is_available():
            raise ImportError("torch sees no CUDA device")
        device = torch.device("cuda" if name == "torch-cuda" else "cpu")
        return Backend(name, xp, _ALL_DTYPES, checks_values=name != "torch-vmap", device=device)
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    if name == "jax-cuda" and jax.default_backend() != "gpu":
        raise ImportError("jax sees no CUDA device")
    return Backend(
        name,
        importlib.import_module("jax.numpy"),
        _ALL_DTYPES,
        checks_values=name in ("jax", "jax-cuda"),
        flushes_subnormals=True,
        compiled=True,
    )


def load_or_skip(name: str) -> Backend:
    """The backend, or a counted skip of the test."""
    try:
        return load(name)
    except ImportError as error:
        pytest.skip(f"{SKIP_MARK}{name} ({error})")


def missing(reasons: Mapping[str, int]) -> dict[str, int]:
    """Backends among skip reasons, with the number of tests skipped."""
    counts: dict[str, int] = {}
    for reason, number in reasons.items():
        _, mark, rest = reason.partition(SKIP_MARK)
        if mark:
            name = rest.partition(" ")[0]
            counts[name] = counts.get(name, 0) + number
    return counts


def required_missing(counts: Mapping[str, int]) -> list[str]:
    """The skipped backends that CI insists on."""
    return sorted(name for name in counts if name not in OPTIONAL)
