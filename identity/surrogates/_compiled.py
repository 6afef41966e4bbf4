"""The losses of tokens as one function with its own derivative, for torch's compiler on CPUs.

Inductor loads a bool mask element by element there, and is slower still to store a bool for the
backward pass, which is what the derivatives of `where` and `clamp` ask for. Here the mask is
numbers and only floats are kept. The values are those of `identity.surrogates._surrogate`, by the
same operations in the same order.

To be imported only while torch compiles, and so is there.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from identity._arrays import Array, DType
from identity.surrogates._arithmetic import LOWEST

__all__ = ["numbers_of", "token_losses"]

torch: Any = sys.modules["torch"]

# A bool's bytes as integers, by an operator that Inductor calls and does not look into: its own
# reinterpretation goes through every element, and a view is no better.
_LIBRARY = torch.library.Library("grpo_identity", "DEF")
_LIBRARY.define("bytes_of(Tensor mask) -> Tensor")
_LIBRARY.impl("bytes_of", lambda mask: mask.contiguous().view(torch.uint8).clone(), "CPU")
_LIBRARY.impl("bytes_of", lambda mask: mask.new_empty(tuple(mask.shape), dtype=torch.uint8), "Meta")
if hasattr(torch.library, "register_vmap"):
    torch.library.register_vmap(
        "grpo_identity::bytes_of",
        lambda info, dims, mask: (torch.ops.grpo_identity.bytes_of(mask), dims[0]),
    )


def numbers_of(mask: Array, dtype: DType) -> Array | None:
    """The mask, bool or 0 and 1, in a floating dtype; None where the operator would not do."""
    if hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting():
        return None  # exported programs are to need nothing but torch
    if mask.dtype == torch.bool:
        mask = torch.ops.grpo_identity.bytes_of(mask)
    return mask.to(dtype)


def token_losses(
    logp: Array, old_logp: Array, weights: Array, numbers: Array, bounds: tuple[float, ...]
) -> Array:
    """The loss of each token, exactly 0 where `numbers`, the mask, is 0.

    `bounds` are those of the log-ratio: (low, high, cap) for a clip whose high is `cap` where the
    advantage is negative, and (low, high, cap, floor) for CISPO, without that `cap` and with a
    lower bound of log π.
    """
    result: Array = _TokenLosses.apply(logp, old_logp, weights, numbers, bounds)
    return result


class _TokenLosses(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any, logp: Array, old: Array, weights: Array, numbers: Array, bounds: Any
    ) -> Array:
        ctx.save_for_backward(logp, old, weights, numbers)
        ctx.bounds = bounds
        return _losses_and_slopes(logp, old, weights, numbers, bounds)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Array) -> tuple[Array | None, ...]:
        # Computed anew, for `torch.func.grad` of `grad`; a compiler computes it once.
        logp, old, weights, numbers = ctx.saved_tensors
        slopes = _losses_and_slopes(logp, old, weights, numbers, ctx.bounds)[1]
        if len(ctx.bounds) == 3:  # in the order of eager code
            gradient = gradient * weights
        # The weights of a row without tokens may be NaN.
        return torch.where(slopes != 0.0, gradient * slopes, 0.0), None, None, None, None


def _losses_and_slopes(
    logp: Array, old: Array, weights: Array, numbers: Array, bounds: tuple[float, ...]
) -> tuple[Array, Array]:
    keep = numbers != 0.0
    difference = torch.where(keep, logp - old.clamp(LOWEST), 0.0)
    low, high = bounds[:2]
    if len(bounds) == 4:
        values = torch.where(keep, logp, 0.0)
        floored = values.clamp(bounds[3])
        # The weights of a row without tokens may be NaN.
        factors = torch.where(keep, torch.exp(difference.detach().clamp(low, high)) * weights, 0.0)
        return factors * floored, torch.where(floored == values, factors, 0.0)
    negative = weights > 0.0  # the advantage is
    cap, unbounded = (torch.full_like(weights, bound) for bound in (bounds[2], -math.inf))
    lower = torch.where(negative, torch.full_like(weights, low), unbounded)
    upper = torch.where(negative, cap, torch.full_like(weights, high))
    clipped = difference.clamp(lower, upper)
    ratios = torch.exp(clipped)
    losses = torch.where(keep, ratios * weights, 0.0)
    return losses, torch.where(keep & (clipped == difference), ratios, 0.0)
