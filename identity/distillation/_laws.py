"""Laws over a vocabulary from logits: checked, shifted by their maximum, normalised.

A logit of −inf is a probability of 0. Every law is shifted by its largest logit first, a constant
of differentiation, so that no exponential overflows and a common offset costs nothing. What has
probability 0 is replaced by a number before anything is computed from it, so that no branch that
is not taken makes an infinite derivative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from identity._arrays import (
    Array,
    DType,
    Namespace,
    as_arrays,
    common_dtype,
    computing,
    dtype_name,
    inspectable,
    mask_argument,
    placement,
    require_all,
    require_exact,
    require_not_empty,
    returned,
    stop_gradient,
)
from identity.errors import DomainError

__all__ = ["Law", "filled", "given_logits", "law_of", "require_covered", "require_laws"]


@dataclass(frozen=True)
class Law:
    """Laws over the last axis, in the dtype that computes."""

    logits: Array  # as given; 0 where the probability is 0
    played: Array  # bool: where the probability is not 0
    largest: Array  # (…, 1), a constant
    shifted: Array  # logits less the largest; 0 where the probability is 0
    log_mass: Array  # (…, 1): the logarithm of Σ exp(shifted), between 0 and log V
    probability: Array


def filled(xp: Namespace, value: float, like: Array) -> Array:
    """A 0-d constant of the dtype and on the device of an array."""
    return xp.full((), value, dtype=like.dtype, **placement(like))


def given_logits(
    mask: Any = None, dtype: DType | None = None, **arguments: Any
) -> tuple[Namespace, DType, dict[str, Array], Array | None]:
    """The arguments as arrays of one shape, at least 1-d and not empty, in the computing dtype.

    With them the mask, of that shape without the last axis, as bools. The dtype of results is that
    of the promotion, or `dtype`.

    Raises
    ------
    DomainError
        If libraries, devices, dtypes or shapes break a rule.
    """
    masked = {} if mask is None else {"mask": mask}
    xp, arrays = as_arrays(**arguments, **masked)
    named = dict(zip((*arguments, *masked), arrays, strict=True))
    keep = named.pop("mask", None)
    first, *others = named
    shape = tuple(named[first].shape)
    if not shape:
        raise DomainError(first, shape, "have an axis of tokens or responses, the last one")
    for name in others:
        if tuple(named[name].shape) != shape:
            raise DomainError(name, tuple(named[name].shape), f"have the shape of {first}, {shape}")
    require_not_empty(first, named[first])
    if keep is not None:
        if tuple(keep.shape) != shape[:-1]:
            raise DomainError("mask", tuple(keep.shape), f"have shape {shape[:-1]}, one per law")
        keep = mask_argument(xp, keep)
    dtype = common_dtype(xp, *named.values()) if dtype is None else dtype
    compute = computing(xp, dtype)
    for name, array in named.items():
        if dtype_name(array) == "bool":
            raise DomainError(name, "bool", "hold numbers")
        require_exact(xp, name, array, compute)
        named[name] = returned(xp, array, compute)
    return xp, dtype, named, keep


def require_laws(xp: Namespace, argument: str, logits: Array, keep: Array | None = None) -> None:
    """Raise for a visible logit that is NaN or +inf, and for a law of zeros, where `keep` is true.

    `keep` has the shape of the laws, without the last axis.
    """
    if not inspectable(logits, *(() if keep is None else (keep,))):
        return
    logits = stop_gradient(logits)
    possible = logits < math.inf  # false for NaN
    somewhere = xp.any(logits > -math.inf, axis=-1)
    if keep is not None:
        possible, somewhere = possible | ~keep[..., None], somewhere | ~keep
    require_all(xp, argument, logits, possible, "be below +inf and not NaN")
    highest = xp.max(logits, axis=-1)
    require_all(xp, argument, highest, somewhere, "give some token a probability above 0")


def require_covered(
    xp: Namespace,
    argument: str,
    logits: Array,
    played: Array,
    *,
    by: str,
    keep: Array | None = None,
) -> None:
    """Raise for a visible probability of 0 where the other law, that of `by`, has more than 0."""
    if not inspectable(logits, played, *(() if keep is None else (keep,))):
        return
    logits = stop_gradient(logits)
    good = (logits > -math.inf) | ~played
    if keep is not None:
        good = good | ~keep[..., None]
    rule = f"be above -inf wherever {by} is: the logarithm of the ratio is infinite"
    require_all(xp, argument, logits, good, rule)


def law_of(xp: Namespace, logits: Array, keep: Array | None = None) -> Law:
    """The laws of checked logits; where `keep` is false, the uniform one, whatever lies there."""
    zero = filled(xp, 0.0, logits)
    if keep is not None:
        logits = xp.where(keep[..., None], logits, zero)
    played = logits > -math.inf
    largest = stop_gradient(xp.max(logits, axis=-1, keepdims=True))
    # A row of zeros alone, seen only where nothing is checked, becomes NaN below.
    logits = xp.where(played, logits, zero)
    shifted = xp.where(played, logits - largest, zero)
    weights = xp.where(played, xp.exp(shifted), zero)
    mass = xp.sum(weights, axis=-1, keepdims=True)
    return Law(logits, played, largest, shifted, xp.log(mass), weights / mass)
