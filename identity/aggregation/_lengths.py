"""Checked lengths of responses, and what the methods make of them: shares and their mean."""

from __future__ import annotations

from typing import Any

from identity._arrays import (
    Array,
    DType,
    Namespace,
    as_arrays,
    computing,
    floating_dtype,
    inspectable,
    largest_float,
    require_all,
    require_exact,
    require_finite,
    require_not_empty,
)
from identity.aggregation._methods import alpha_argument, constant_argument, method_of
from identity.aggregation._rows import power
from identity.errors import DomainError

__all__ = ["lengths_of", "mean_weight", "shares_of"]


def lengths_of(
    lengths: Any,
    method: object,
    alpha: Any,
    constant: Any,
    *,
    needs_constant: bool = True,
    dtype: DType | None = None,
) -> tuple[Namespace, Array, DType, float, Any]:
    """Checked lengths in the dtype that computes, the dtype of results, the exponent with which
    the method weighs lengths, and its constant."""
    by_length = method in ("delta_l", "delta_l_batch")
    exponent = alpha_argument(alpha, largest_float("float64"), "be a Python number that is finite")
    stand_in = constant
    if not needs_constant and (by_length or method == "dr_grpo"):
        stand_in = 1.0
    chosen = method_of(method, 1.0 if by_length else alpha, stand_in, None)
    xp, (values,) = as_arrays(lengths=lengths)
    if not values.shape:
        raise DomainError("lengths", (), "have responses along the last axis")
    require_not_empty("lengths", values)
    kept = floating_dtype(xp, values) if dtype is None else dtype
    compute = computing(xp, kept)
    require_exact(xp, "lengths", values, compute)
    require_finite(xp, "lengths", values)
    values = xp.astype(values, compute)
    if inspectable(values):
        require_all(xp, "lengths", values, values >= 1.0, "be at least 1")
    if not by_length:
        exponent = 1.0 if chosen.name == "grpo" else 0.0
    return xp, values, kept, exponent, constant_argument(xp, constant, kept)


def shares_of(xp: Namespace, values: Array, alpha: float) -> Array:
    """L_i^-alpha / Σ L^-alpha, from the ratios to the length that weighs most."""
    if alpha == 0.0:
        return xp.full_like(values, 1.0 / int(values.shape[-1]))
    extreme = xp.min if alpha > 0 else xp.max
    ratio = values / extreme(values, axis=-1, keepdims=True)
    powers = 1.0 / power(xp, ratio, alpha)
    return powers / xp.sum(powers, axis=-1, keepdims=True)


def mean_weight(xp: Namespace, values: Array, method: object, constant: Any) -> Array:
    """Σ x_i."""
    size = float(values.shape[-1])
    if method == "grpo":
        return xp.sum(1.0 / values, axis=-1) / size
    if method in ("dapo", "bnpo") and constant is None:
        return 1.0 / xp.sum(values / size, axis=-1)  # Σ L itself may overflow
    one = xp.ones_like(values[..., 0])
    if method == "sequence_sum":
        return one
    return (one * size if method == "dapo" else one) / constant
