"""Reverse-mode derivatives in torch and in jax, behind one call; what forward mode needs."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.backends import Backend, jax_jit, load_or_skip

MODES = ("torch", "torch-func", "torch-func-vmap", "jax", "jax-jit", "jax-vmap")
CUDA_MODES = ("torch-cuda",)


@contextmanager
def torch_forward_mode() -> Iterator[None]:
    """torch compiles its own decompositions with torch.jit.script, which it deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@dataclass(frozen=True)
class Derivative:
    """Gradients of scalar functions in one library and mode."""

    mode: str
    backend: Backend

    @property
    def dtypes(self) -> tuple[str, ...]:
        """All that the library has; two where each costs seconds of compilation."""
        return ("float32", "bfloat16") if self.mode in ("jax", "jax-vmap") else self.backend.dtypes

    def __call__(self, function: Callable[[Any], Any], at: Any) -> np.ndarray:
        """The gradient at an array, in NumPy. `function` maps an array to a 0-d array."""
        if self.mode.startswith("jax"):
            jax = importlib.import_module("jax")
            gradient = jax.grad(function)
            if self.mode == "jax-jit":
                return self.backend.to_numpy(jax_jit(gradient)(at))
            if self.mode == "jax-vmap":
                return self.backend.to_numpy(jax.vmap(gradient)(at[None, ...])[0])
            return self.backend.to_numpy(gradient(at))
        torch = importlib.import_module("torch")
        if self.mode == "torch-func":
            return self.backend.to_numpy(torch.func.grad(function)(at))
        if self.mode == "torch-func-vmap":
            gradient = torch.func.vmap(torch.func.grad(function))
            return self.backend.to_numpy(gradient(at[None, ...])[0])
        leaf = at.clone().requires_grad_()
        function(leaf).backward()
        return self.backend.to_numpy(leaf.grad)


def load_mode(mode: str) -> Derivative:
    """The mode, or a counted skip where its library is missing."""
    library = mode if mode in CUDA_MODES else mode.partition("-")[0]
    return Derivative(mode, load_or_skip(library))


derivative = pytest.fixture(scope="session", params=[*MODES, *CUDA_MODES], name="derivative")(
    lambda request: load_mode(request.param)
)
