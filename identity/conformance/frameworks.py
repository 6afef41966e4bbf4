"""From NumPy to torch and JAX and back, with the gradient; dtypes by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Floats

__all__ = [
    "DTYPES",
    "epsilon",
    "jax_answer",
    "jax_array",
    "rounded",
    "torch_answer",
    "torch_array",
    "torch_values",
]

# Spacing of the numbers just above 1, and the power of two that is just too large.
DTYPES = {
    "float64": (2.0**-52, 1024),
    "float32": (2.0**-23, 128),
    "float16": (2.0**-10, 16),
    "bfloat16": (2.0**-7, 128),
}


def epsilon(dtype: str) -> float:
    """Spacing of the numbers of a dtype just above 1."""
    return DTYPES[dtype][0]


def rounded(values: Any, dtype: str) -> Floats:
    """The values of a dtype nearest to these, as float64."""
    values = np.asarray(values, np.float64)
    if dtype == "bfloat16":
        torch = _torch()
        return np.asarray(torch.tensor(values).to(torch.bfloat16).to(torch.float64).numpy())
    with np.errstate(over="ignore"):
        return np.asarray(values.astype(dtype), np.float64)


def _torch() -> Any:
    import torch

    return torch


def torch_array(values: Any, dtype: str, *, leaf: bool = False) -> Any:
    """A torch tensor of a float dtype, "bool" or "int64"; `leaf`: to be differentiated by."""
    torch = _torch()
    tensor = torch.tensor(np.array(values), dtype=getattr(torch, dtype))
    return tensor.requires_grad_() if leaf else tensor


def torch_values(tensor: Any) -> Answer:
    """What came out, without a gradient."""
    torch = _torch()
    tensor = torch.as_tensor(tensor)
    value = tensor.detach().to("cpu", torch.float64).numpy()
    return Answer(value, None, str(tensor.dtype).removeprefix("torch."))


def torch_answer(leaf: Any, result: Any) -> Answer:
    """Value and gradient of a result (of its sum, if it is no scalar) by a leaf."""
    torch = _torch()
    if not isinstance(result, torch.Tensor):
        raise TypeError(f"it returned {type(result).__name__}, not a torch tensor")
    answer = torch_values(result)
    if result.requires_grad:
        (gradient,) = torch.autograd.grad(result.sum(), leaf, allow_unused=True)
    else:
        gradient = None
    gradient = torch.zeros_like(leaf) if gradient is None else gradient
    gradient = gradient.detach().to("cpu", torch.float64).numpy()
    return Answer(answer.value, gradient, answer.dtype)


def jax_array(values: Any, dtype: str) -> Any:
    """A JAX array; for float64 call inside ``jax.enable_x64(True)``."""
    import jax.numpy as jnp

    array = jnp.asarray(np.asarray(values), dtype=dtype)
    if array.dtype.name != dtype:
        raise ValueError(f"JAX made {array.dtype.name} of {dtype}: 64-bit types are not enabled")
    return array


def jax_answer(function: Callable[[Any], Any], leaf: Any) -> Answer:
    """Value and gradient of a function (of its sum) at a leaf."""
    import jax

    result, pull = jax.vjp(function, leaf)
    (gradient,) = pull(jax.numpy.ones_like(result))
    return Answer(
        np.asarray(result).astype(np.float64),
        np.asarray(gradient).astype(np.float64),
        result.dtype.name,
    )
