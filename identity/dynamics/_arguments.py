"""The argument checks that the functions of `identity.dynamics` share."""

from __future__ import annotations

import math

from identity._arrays import integer_argument, real_argument
from identity.errors import DomainError

__all__ = ["finite", "interval_argument", "momentum_argument", "one_of", "positive"]

_LARGEST = 2**53


def finite(argument: str, value: object) -> float:
    """A finite real number of Python or NumPy."""
    number = real_argument(argument, value, "be a real number")
    if not math.isfinite(number):
        raise DomainError(argument, value, "be finite")
    return number


def positive(argument: str, value: object) -> float:
    """A finite real number above 0."""
    number = finite(argument, value)
    if number <= 0:
        raise DomainError(argument, value, "be positive")
    return number


def momentum_argument(value: object) -> float:
    """μ as a float in [0, 1)."""
    number = real_argument("momentum", value, "be a real number")
    if not 0 <= number < 1:  # false for NaN
        raise DomainError("momentum", value, "lie in [0, 1)")
    return number


def interval_argument(argument: str, value: object, least: int) -> int:
    """A number of steps as an int, from `least` to 2^53."""
    number = integer_argument(argument, value)
    if not least <= number <= _LARGEST:
        raise DomainError(argument, value, f"be an integer from {least} to {_LARGEST}")
    return number


def one_of(argument: str, value: object, allowed: tuple[str, ...]) -> str:
    """One of a few names."""
    if not isinstance(value, str) or value not in allowed:
        raise DomainError(argument, value, f"be one of {allowed}")
    return value
