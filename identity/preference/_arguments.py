"""The argument checks that the functions of `identity.preference` share."""

from __future__ import annotations

from identity._arrays import (
    Array,
    DType,
    Namespace,
    computing,
    inspectable,
    largest_float,
    name_of,
    real_argument,
    require_all,
    smallest_normal,
)
from identity.errors import DomainError

__all__ = ["positive_number", "require_same_shape", "require_weights"]


def require_same_shape(arguments: dict[str, Array]) -> None:
    """Raise unless all arrays have the shape of the first."""
    first, *others = arguments
    shape = tuple(arguments[first].shape)
    for name in others:
        if tuple(arguments[name].shape) != shape:
            rule = f"have the shape of {first}, {shape}"
            raise DomainError(name, tuple(arguments[name].shape), rule)


def positive_number(argument: str, value: object, dtype: DType, xp: Namespace) -> float:
    """A positive number of Python or NumPy, normal in the dtype that computes results in `dtype`.

    At most a quarter of the largest float, so that a power of two beside it changes nothing.
    """
    number = real_argument(argument, value, "be a Python number")
    compute = name_of(computing(xp, dtype))
    low, high = smallest_normal(compute), largest_float(compute) / 4
    if not low <= number <= high:  # false for NaN
        raise DomainError(argument, value, f"lie between {low:.3g} and {high:.3g} in {compute}")
    return number


def require_weights(xp: Namespace, weights: Array) -> None:
    """Raise for a visible weight that is negative or not finite, and where all are 0."""
    if not inspectable(weights):
        return
    good = (weights >= 0) & xp.isfinite(weights)
    require_all(xp, "weights", weights, good, "be finite and at least 0")
    if not bool(xp.any(weights > 0)):
        raise DomainError("weights", 0.0, "have a positive sum")
