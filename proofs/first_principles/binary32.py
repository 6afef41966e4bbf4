"""IEEE 754 binary32 arithmetic, round to nearest even, simulated exactly on rationals.

Every operation returns the correctly rounded value of the exact result.  Values that overflow do
not occur here and are not modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isqrt

__all__ = ["advantage", "associations", "pairwise_sum", "rounded", "rounded_sqrt", "running_sum"]

PRECISION = 24
SMALLEST_EXPONENT = -126


def _quantum(exponent: int) -> Fraction:
    """The spacing of binary32 numbers in [2^exponent, 2^(exponent+1)); subnormals included."""
    return Fraction(2) ** (max(exponent, SMALLEST_EXPONENT) - PRECISION + 1)


def _exponent(x: Fraction) -> int:
    """The e with 2^e ≤ |x| < 2^(e+1), for x ≠ 0."""
    e = abs(x.numerator).bit_length() - x.denominator.bit_length()
    return e if abs(x) >= Fraction(2) ** e else e - 1


def rounded(x: Fraction) -> Fraction:
    """The binary32 number nearest to x, ties to even."""
    if not x:
        return x
    quantum = _quantum(_exponent(x))
    return round(x / quantum) * quantum  # Python rounds an exact tie to even


def rounded_sqrt(x: Fraction) -> Fraction:
    """The binary32 number nearest to √x, ties to even, for x ≥ 0."""
    if not x:
        return x
    quantum = _quantum(_exponent(x) // 2)  # 2^(2e) ≤ x < 2^(2e+2) puts √x in [2^e, 2^(e+1))
    scaled = x / quantum**2
    root = isqrt(int(scaled))
    halfway = (root + Fraction(1, 2)) ** 2
    up = scaled > halfway or (scaled == halfway and root % 2 == 1)
    return (root + up) * quantum


def running_sum(values: Sequence[Fraction]) -> Fraction:
    """Left to right: ((v₁ + v₂) + v₃) + …, each sum rounded."""
    result = Fraction(0)
    for value in values:
        result = rounded(result + value)
    return result


def pairwise_sum(values: Sequence[Fraction]) -> Fraction:
    """By halves: the rounded sum of the pairwise sums of the first and of the second half."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return rounded(pairwise_sum(values[:half]) + pairwise_sum(values[half:]))


def associations(value: Fraction, count: int) -> list[Fraction]:
    """The rounded sum of `count` equal values for every way to put the brackets (Catalan many)."""
    sums: dict[int, list[Fraction]] = {1: [value]}
    for n in range(2, count + 1):
        sums[n] = [
            rounded(a + b) for left in range(1, n) for a in sums[left] for b in sums[n - left]
        ]
    return sums[count]


def advantage(
    reward: Fraction, group_mean: Fraction, size: int, ddof: int, eps: Fraction
) -> Fraction:
    """(R − mean)/(std + ε) of a group of `size` equal rewards, each operation rounded.

    std is √(Σ(R − mean)²/(size − ddof)), summed left to right around the mean that is passed.
    """
    deviation = rounded(reward - group_mean)
    squares = running_sum([rounded(deviation**2)] * size)
    std = rounded_sqrt(rounded(squares / (size - ddof)))
    return rounded(deviation / rounded(std + rounded(eps)))
