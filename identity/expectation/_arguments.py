"""The argument checks that the functions of `identity.expectation` share."""

from __future__ import annotations

import math

from identity._arrays import (
    EXACT_INTEGERS,
    Array,
    DType,
    Namespace,
    as_arrays,
    computing,
    floating_dtype,
    inspectable,
    integer_argument,
    largest_float,
    name_of,
    placement,
    require_all,
    require_exact,
    require_not_empty,
    smallest_normal,
)
from identity.errors import DomainError
from identity.expectation._binomial import MAX_GROUP_SIZE

__all__ = [
    "arguments",
    "bessel_factor",
    "check_method",
    "group_size_argument",
    "number",
    "require_fits",
    "require_interior",
    "require_unit",
]

_LARGEST = 2**53


def arguments(**values: object) -> tuple[Namespace, list[Array], DType]:
    """Arrays in the dtype that computes, and the dtype to return.

    Arguments have one shape or are single numbers. The first that is an array of one or more
    axes (else the first) sets the dtype; Python numbers take it without rounding on the way.
    Integers that the computing dtype does not hold exactly are refused.
    """
    plain = {k: v for k, v in values.items() if type(v) in (int, float)}
    if len(plain) == len(values):
        plain = {}
    xp, converted = as_arrays(**{k: v for k, v in values.items() if k not in plain})
    arrays = dict(zip((k for k in values if k not in plain), converted, strict=True))
    for name, array in arrays.items():
        require_not_empty(name, array)
    like = next((a for a in arrays.values() if a.ndim), next(iter(arrays.values())))
    shape = tuple(like.shape)
    for name, array in arrays.items():
        if array.ndim and tuple(array.shape) != shape:
            raise DomainError(name, tuple(array.shape), f"be a number or have the shape {shape}")
    dtype = floating_dtype(xp, like)
    compute = computing(xp, dtype)
    for name, array in arrays.items():
        require_exact(xp, name, array, compute)
    largest = EXACT_INTEGERS[name_of(compute)]
    for name, value in plain.items():
        if isinstance(value, int) and abs(value) > largest:
            raise DomainError(name, value, f"be an integer of at most {largest} in magnitude")
        arrays[name] = xp.asarray(number(name, value), dtype=compute, **placement(like))
    return xp, [xp.astype(arrays[k], compute) for k in values], dtype


def require_unit(xp: Namespace, argument: str, array: Array) -> None:
    """Raise unless every value that may be inspected lies in [0, 1] (NaN does not)."""
    if inspectable(array):
        require_all(xp, argument, array, (array >= 0) & (array <= 1), "lie in [0, 1]")


def require_interior(xp: Namespace, argument: str, array: Array, dtype: DType, why: str) -> None:
    """Raise unless every value that may be inspected lies strictly between 0 and 1.

    Numbers subnormal in the caller's dtype count as 0: their reciprocal is not finite.
    """
    if inspectable(array):
        good = (array >= smallest_normal(dtype)) & (array < 1)
        require_all(xp, argument, array, good, f"lie strictly between 0 and 1: {why}")


def require_fits(group_size: int, dtype: DType) -> None:
    """Raise unless the group size, which some results reach, is finite in the caller's dtype."""
    largest = largest_float(dtype)
    if group_size > largest:
        raise DomainError("group_size", group_size, f"be at most {largest:g} in this dtype")


def group_size_argument(value: object, *, bounded: bool = False) -> int:
    """G as an int: at least 2, and at most 2^20 where tables or loops need a bound."""
    number = integer_argument("group_size", value)
    if number < 2:
        raise DomainError("group_size", number, "be at least 2")
    largest = MAX_GROUP_SIZE if bounded else _LARGEST
    if number > largest:
        raise DomainError("group_size", number, f"be at most {largest}")
    return number


def number(argument: str, value: object) -> float:
    """A finite real number, from a Python number or a 0-d array."""
    if isinstance(value, (bool, str, bytes)) or getattr(value, "ndim", 0) != 0:
        raise DomainError(argument, value, "be a number")
    if hasattr(value, "detach"):
        value = value.detach()
    try:
        result = float(value)  # type: ignore[arg-type]
    except Exception as error:  # tracers and other objects each raise their own kind
        raise DomainError(argument, value, "be a number") from error
    if not math.isfinite(result):
        raise DomainError(argument, value, "be a finite number")
    return result


def check_method(method: object, methods: tuple[str, ...]) -> str:
    """The method's name, one of `methods`."""
    if not isinstance(method, str) or method not in methods:
        raise DomainError("method", method, f"be one of {methods}")
    return method


def bessel_factor(method: str, group_size: int | None, ddof: object) -> float:
    """√((G−1)/G) for ddof = 1, 1 for ddof = 0; only methods that divide by σ take ddof = 1."""
    value = integer_argument("ddof", ddof, allowed=(0, 1))
    if value == 1 and method not in ("grpo", "dapo"):
        rule = f"be 0 for method {method!r}, which does not divide by a standard deviation"
        raise DomainError("ddof", value, rule)
    if value == 0 or group_size is None:
        return 1.0
    return math.sqrt((group_size - 1) / group_size)
