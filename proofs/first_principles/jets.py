"""Values with a slope, exact, and logarithms of rationals as formal sums.

A jet v + s·x is a function near x = 0 up to first order. Which of two jets is smaller near 0 may
depend on the side from which 0 is approached; a function has a derivative where both sides give
the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import flint

from .surds import Surd, ball

__all__ = ["NO_SLOPE", "Jet", "Logs", "Number", "constant", "log_of", "maximum", "minimum", "slope"]

Number = Any  # Fraction, Surd or Logs: a ring, and ordered where jets are compared
NO_SLOPE = "none"  # of a function whose one-sided slopes differ


@dataclass(frozen=True)
class Jet:
    """value + slope·x near x = 0."""

    value: Number
    slope: Number

    def __add__(self, other: Jet | Number) -> Jet:
        other = constant(other)
        return Jet(self.value + other.value, self.slope + other.slope)

    __radd__ = __add__

    def __neg__(self) -> Jet:
        return self * -1

    def __sub__(self, other: Jet | Number) -> Jet:
        return self + constant(other) * -1

    def __rsub__(self, other: Jet | Number) -> Jet:
        return constant(other) - self

    def __mul__(self, other: Jet | Number) -> Jet:
        other = constant(other)
        return Jet(self.value * other.value, self.slope * other.value + other.slope * self.value)

    __rmul__ = __mul__


def constant(value: Jet | Number) -> Jet:
    """A number as a jet that does not move."""
    return value if isinstance(value, Jet) else Jet(value, Fraction(0))


def minimum(a: Jet | Number, b: Jet | Number, side: int) -> Jet:
    """The smaller of two near 0, on the right (side 1) or on the left (side −1)."""
    a, b = constant(a), constant(b)
    if a.value != b.value:
        return a if a.value < b.value else b
    return a if a.slope * side <= b.slope * side else b


def maximum(a: Jet | Number, b: Jet | Number, side: int) -> Jet:
    """The larger of two near 0."""
    return -minimum(-constant(a), -constant(b), side)


def slope(function: Callable[[int], Jet]) -> Number:
    """The derivative at 0 of what is given as a jet on each side, or that there is none."""
    right, left = function(1).slope, function(-1).slope
    return right if right == left else NO_SLOPE


# --- logarithms -----------------------------------------------------------------------------------


class Logs:
    """A polynomial in log 2, log 3, log 5, … with rational coefficients; equal if the same."""

    def __init__(self, terms: dict[tuple[int, ...], Fraction]) -> None:
        self.terms = {primes: c for primes, c in terms.items() if c}

    def __add__(self, other: Logs | Surd | Fraction | int) -> Logs:
        terms = dict(self.terms)
        for primes, c in _as_logs(other).terms.items():
            terms[primes] = terms.get(primes, Fraction(0)) + c
        return Logs(terms)

    __radd__ = __add__

    def __mul__(self, other: Logs | Fraction | int) -> Logs:
        terms: dict[tuple[int, ...], Fraction] = {}
        for a, c in self.terms.items():
            for b, d in _as_logs(other).terms.items():
                primes = tuple(sorted((*a, *b)))
                terms[primes] = terms.get(primes, Fraction(0)) + c * d
        return Logs(terms)

    __rmul__ = __mul__

    def __neg__(self) -> Logs:
        return self * -1

    def __sub__(self, other: Logs | Fraction | int) -> Logs:
        return self + -_as_logs(other)

    def __rsub__(self, other: Fraction | int) -> Logs:
        return _as_logs(other) - self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Logs | Fraction | int):
            return NotImplemented
        return self.terms == _as_logs(other).terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def exp(self) -> Fraction:
        """exp of a sum of logarithms with whole coefficients."""
        if not all(len(primes) == 1 and c.denominator == 1 for primes, c in self.terms.items()):
            raise ValueError(f"exp({self}) is not rational")
        return prod((Fraction(p) ** int(c) for (p,), c in self.terms.items()), start=Fraction(1))

    def ball(self) -> Any:
        """A ball that contains the number, at the precision now in force."""
        total = flint.arb(0)
        for primes, c in self.terms.items():
            term = ball(c)
            for p in primes:
                term = term * flint.arb(p).log()
            total = total + term
        return total

    def __repr__(self) -> str:
        shown = (
            "·".join((str(c), *(f"log {p}" for p in primes))) for primes, c in self.terms.items()
        )
        return " + ".join(shown) or "0"


def _as_logs(value: Any) -> Logs:
    return value if isinstance(value, Logs) else Logs({(): Fraction(value)})


def log_of(value: Fraction | int) -> Logs:
    """log of a positive rational, by its prime factors."""
    terms: dict[tuple[int, ...], Fraction] = {}
    fraction = Fraction(value)
    for number, sign in ((fraction.numerator, 1), (fraction.denominator, -1)):
        for p in _prime_factors(number):
            terms[(p,)] = terms.get((p,), Fraction(0)) + sign
    return Logs(terms)


def _prime_factors(number: int) -> Iterable[int]:
    divisor = 2
    while number > 1:
        while number % divisor == 0:
            yield divisor
            number //= divisor
        divisor += 1
