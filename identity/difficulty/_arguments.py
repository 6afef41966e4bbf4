"""The argument checks that the functions of `identity.difficulty` share."""

from __future__ import annotations

import numpy as np

from identity._arrays import (
    Array,
    DType,
    Namespace,
    computing,
    inspectable,
    name_of,
    real_argument,
    require_all,
    smallest_normal,
)
from identity.errors import DomainError

__all__ = ["LARGEST", "count_argument", "exponent", "require_rate"]

LARGEST = 2**20


def exponent(
    argument: str, value: object, xp: Namespace, dtype: DType, *, low: float = 0.0
) -> float:
    """An exponent of Python or NumPy between `low` and 2^20, as the computing dtype holds it."""
    rule = f"be a Python number from {low:.3g} to {LARGEST}"
    number = real_argument(argument, value, rule)
    if not low <= number <= LARGEST:  # false for NaN
        raise DomainError(argument, value, rule)
    if name_of(computing(xp, dtype)) == "float32":
        # Rounded here, so that 1 − q and 1/q are those of the q that is used.
        number = float(np.float32(number))
    return number + 0.0  # no negative zero


def count_argument(argument: str, value: int) -> int:
    """A count that is an exponent: from 1 to 2^20."""
    if not 1 <= value <= LARGEST:
        raise DomainError(argument, value, f"be an integer from 1 to {LARGEST}")
    return value


def require_rate(
    xp: Namespace, p: Array, pole: str, *, zero: bool = False, one: bool = False
) -> None:
    """Raise unless visible rates lie in [0, 1], without the ends that are poles.

    Where 0 is one, subnormal numbers count as 0: their reciprocal is not finite.
    """
    if not inspectable(p):
        return
    low = smallest_normal(p.dtype) if zero else 0.0
    rule = f"lie in {'(' if zero else '['}0, 1{')' if one else ']'}"
    if zero or one:
        rule += f": {pole}"
    require_all(xp, "p", p, (p >= low) & ((p < 1) if one else (p <= 1)), rule)
