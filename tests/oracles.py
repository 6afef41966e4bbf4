"""Exact values at the floats actually passed, and distances to them in ulp.

Shares no code with identity/ or proofs/: means are `Fraction`s straight from the definitions,
square roots are taken once, by mpmath at `ORACLE_DIGITS`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from mpmath.libmp import dps_to_prec, from_rational

from tests.tolerances import HALF_ROUNDING_ULP, ORACLE_DIGITS

Number = Fraction | mpmath.mpf
_BITS = dps_to_prec(ORACLE_DIGITS)

# Significand bits and smallest normal exponent.
_FORMATS = {
    "float16": (11, -14),
    "bfloat16": (8, -126),
    "float32": (24, -126),
    "float64": (53, -1022),
}
_COMPUTING = {
    "float16": "float32",
    "bfloat16": "float32",
    "float32": "float32",
    "float64": "float64",
}


def fractions(values: Iterable[Any]) -> list[Fraction]:
    """Floats (or integers) as exact fractions."""
    return [Fraction(v.item() if isinstance(v, np.generic) else v) for v in values]


def mean(values: Sequence[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def sqrt(value: Fraction) -> mpmath.mpf:
    with mpmath.workdps(ORACLE_DIGITS):
        return mpmath.sqrt(mpmath.mpf(value.numerator) / mpmath.mpf(value.denominator))


def std(rewards: Sequence[Fraction], ddof: int = 0) -> mpmath.mpf:
    centre = mean(rewards)
    return sqrt(sum(((r - centre) ** 2 for r in rewards), Fraction(0)) / (len(rewards) - ddof))


def grpo(rewards: Sequence[Fraction], ddof: int = 0, eps: Fraction = Fraction(0)) -> list[Number]:
    if len(set(rewards)) == 1:
        return [Fraction(0)] * len(rewards)
    centre = mean(rewards)
    with mpmath.workdps(ORACLE_DIGITS):
        scale = std(rewards, ddof) + to_mpf(eps)
        return [to_mpf(r - centre) / scale for r in rewards]


def dr_grpo(rewards: Sequence[Fraction]) -> list[Fraction]:
    centre = mean(rewards)
    return [r - centre for r in rewards]


def rloo(rewards: Sequence[Fraction]) -> list[Fraction]:
    total = sum(rewards, Fraction(0))
    return [r - (total - r) / (len(rewards) - 1) for r in rewards]


def to_mpf(value: Number | int) -> mpmath.mpf:
    if isinstance(value, mpmath.mpf):
        return value
    value = value if isinstance(value, Fraction) else Fraction(value)
    return mpmath.mp.make_mpf(from_rational(value.numerator, value.denominator, _BITS))


def ulp(value: Number, dtype: str) -> mpmath.mpf:
    """Spacing of the dtype's floats in the binade of |value| (of subnormals below it)."""
    bits, lowest = _FORMATS[dtype]
    exponent = lowest if value == 0 else max(mpmath.frexp(to_mpf(value))[1] - 1, lowest)
    return _power_of_two(int(exponent) - bits + 1)


@functools.cache
def _power_of_two(exponent: int) -> mpmath.mpf:
    return mpmath.ldexp(1, exponent)


@functools.cache
def smallest_normal(dtype: str) -> mpmath.mpf:
    return mpmath.ldexp(1, _FORMATS[dtype][1])


def excess(
    actual: Any,
    exact: Number,
    dtype: str,
    *,
    relative_to: Number | None = None,
    flushes: bool = False,
) -> float:
    """|actual − exact| in ulp of the computing dtype at `relative_to` (default: exact).

    Forgiven first: the smallest float where the result underflows (the smallest normal one where
    subnormals are flushed), and the rounding to a half-precision dtype.
    """
    computing = _COMPUTING[dtype]
    actual, exact = to_mpf(Fraction(float(actual))), to_mpf(exact)
    with mpmath.workdps(ORACLE_DIGITS):
        error = abs(actual - exact)
        if abs(exact) < smallest_normal(dtype) or flushes:
            floor = smallest_normal(dtype) if flushes else ulp(Fraction(0), dtype)
            error = max(error - floor, mpmath.mpf(0))
        if computing != dtype:
            half = max(ulp(actual, dtype), ulp(exact, dtype)) * HALF_ROUNDING_ULP
            error = max(error - half, mpmath.mpf(0))
        return float(error / ulp(exact if relative_to is None else relative_to, computing))


def is_tiny(value: Number, dtype: str) -> bool:
    """Whether the value is below the dtype's normal range."""
    return bool(abs(to_mpf(value)) < smallest_normal(dtype))


def largest(values: Iterable[Number]) -> Number:
    return max((abs(v) for v in values), key=to_mpf)


def binary_std(correct: int, group_size: int) -> mpmath.mpf:
    return sqrt(Fraction(correct * (group_size - correct), group_size**2))


def largest_float(dtype: str) -> Fraction:
    bits, lowest = _FORMATS[dtype]
    return (2 - Fraction(1, 2 ** (bits - 1))) * Fraction(2) ** (1 - lowest)


def flushed(values: Iterable[float], dtype: str) -> list[float]:
    """The values as a library that flushes subnormals sees them, in the computing dtype."""
    bound = float(smallest_normal(_COMPUTING[dtype]))
    return [0.0 if abs(v) < bound else v for v in values]
