"""Exact real numbers: finite sums of rational multiples of square roots of squarefree integers.

Square roots of distinct squarefree positive integers are linearly independent over ℚ, so a
number is zero exactly when it has no terms, and equality is equality of terms.  Only the sign of
a number already known to be non-zero is read from an Arb ball, at a precision that is doubled
until the ball excludes zero; no comparison ever rests on a float.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from math import gcd, isqrt
from typing import Any, TypeAlias

import flint

__all__ = ["Rational", "Surd", "as_surd", "ball", "sqrt", "total"]

Rational: TypeAlias = int | Fraction


class Surd:
    """An immutable, hashable sum of c·√d, with c rational and d squarefree, ascending."""

    __slots__ = ("_terms",)

    _terms: dict[int, Fraction]

    def __init__(self, value: Rational = 0) -> None:
        terms = {1: Fraction(value)} if value else {}
        object.__setattr__(self, "_terms", terms)

    @classmethod
    def _of(cls, terms: dict[int, Fraction]) -> Surd:
        """Wrap {squarefree radicand: coefficient}; zero coefficients are dropped."""
        number = object.__new__(cls)
        object.__setattr__(number, "_terms", {d: c for d, c in terms.items() if c})
        return number

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Surd is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Surd is immutable")

    @property
    def terms(self) -> tuple[tuple[int, Fraction], ...]:
        """The pairs (radicand, coefficient), by ascending radicand; empty for zero."""
        return tuple(sorted(self._terms.items()))

    def __add__(self, other: Surd | Rational) -> Surd:
        if not isinstance(other, Surd | int | Fraction):
            return NotImplemented
        terms = dict(self._terms)
        for d, c in as_surd(other)._terms.items():
            terms[d] = terms[d] + c if d in terms else c
        return Surd._of(terms)

    __radd__ = __add__

    def __neg__(self) -> Surd:
        return Surd._of({d: -c for d, c in self._terms.items()})

    def __sub__(self, other: Surd | Rational) -> Surd:
        if not isinstance(other, Surd | int | Fraction):
            return NotImplemented
        return self + -as_surd(other)

    def __rsub__(self, other: Rational) -> Surd:
        return -self + other

    def __mul__(self, other: Surd | Rational) -> Surd:
        if isinstance(other, int | Fraction):
            return Surd._of({d: c * other for d, c in self._terms.items()})
        if not isinstance(other, Surd):
            return NotImplemented
        terms: dict[int, Fraction] = {}
        for d, c in self._terms.items():
            for e, b in other._terms.items():
                shared = gcd(d, e)  # √d·√e = shared·√(d/shared · e/shared), again squarefree
                radicand = (d // shared) * (e // shared)
                terms[radicand] = terms.get(radicand, Fraction(0)) + c * b * shared
        return Surd._of(terms)

    __rmul__ = __mul__

    def inverse(self) -> Surd:
        """Return 1/x: multiply by conjugates (√ℓ → −√ℓ, ℓ prime) until no root is left."""
        if not self._terms:
            raise ZeroDivisionError("1/0 in the ring of surds")
        if len(self._terms) == 1:
            ((d, c),) = self._terms.items()
            return Surd._of({d: 1 / (c * d)})
        prime = _smallest_prime_factor(max(self._terms))
        conjugate = Surd._of({d: c if d % prime else -c for d, c in self._terms.items()})
        return conjugate * (self * conjugate).inverse()

    def __truediv__(self, other: Surd | Rational) -> Surd:
        if not isinstance(other, Surd | int | Fraction):
            return NotImplemented
        return self * as_surd(other).inverse()

    def __rtruediv__(self, other: Rational) -> Surd:
        return self.inverse() * other

    def __pow__(self, exponent: int) -> Surd:
        if exponent < 0:
            return self.inverse() ** -exponent
        power = Surd(1)
        for _ in range(exponent):
            power = power * self
        return power

    def __bool__(self) -> bool:
        return bool(self._terms)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Surd):
            return self._terms == other._terms
        if isinstance(other, int | Fraction):
            return self._terms == ({1: other} if other else {})
        return NotImplemented

    def __hash__(self) -> int:
        if not self._terms.keys() - {1}:  # a rational hashes as the equal Fraction does
            return hash(self._terms.get(1, Fraction(0)))
        return hash(frozenset(self._terms.items()))

    def ball(self) -> Any:
        """Return an Arb ball that contains the number, at the precision now in force."""
        return sum((ball(c) * flint.arb(d).sqrt() for d, c in self._terms.items()), flint.arb(0))

    def sign(self) -> int:
        """Return −1, 0 or 1, exactly."""
        if not self._terms:
            return 0
        if len(self._terms) == 1:
            (c,) = self._terms.values()
            return 1 if c > 0 else -1
        precision = 64
        while True:
            with flint.ctx.workprec(precision):
                enclosure = self.ball()
                if enclosure > 0:
                    return 1
                if enclosure < 0:
                    return -1
            precision *= 2

    def __lt__(self, other: Surd | Rational) -> bool:
        return (self - other).sign() < 0

    def __le__(self, other: Surd | Rational) -> bool:
        return (self - other).sign() <= 0

    def __gt__(self, other: Surd | Rational) -> bool:
        return (self - other).sign() > 0

    def __ge__(self, other: Surd | Rational) -> bool:
        return (self - other).sign() >= 0

    def __abs__(self) -> Surd:
        return -self if self.sign() < 0 else self

    def __repr__(self) -> str:
        if not self._terms:
            return "0"
        return " + ".join(str(c) if d == 1 else f"{c}·√{d}" for d, c in self.terms)


def as_surd(value: Surd | Rational) -> Surd:
    """Return the number itself, a rational converted."""
    return value if isinstance(value, Surd) else Surd(value)


def ball(value: Rational) -> Any:
    """Return an Arb ball that contains a rational number."""
    return flint.arb(flint.fmpq(value.numerator, value.denominator))


def sqrt(value: Rational) -> Surd:
    """Return the square root of a rational number ≥ 0: √(a/b) = √(a·b)/b."""
    if value < 0:
        raise ValueError(f"square root of {value}")
    square, radicand = _square_part(value.numerator * value.denominator)
    return Surd._of({radicand: Fraction(square, value.denominator)})


def total(values: Iterable[Surd | Rational]) -> Surd:
    """Return the sum of the values; 0 for none."""
    terms: dict[int, Fraction] = {}
    for value in values:
        for d, c in as_surd(value)._terms.items():
            terms[d] = terms[d] + c if d in terms else c
    return Surd._of(terms)


@cache
def _square_part(n: int) -> tuple[int, int]:
    """Return (m, d) with n = m²·d and d squarefree; (0, 1) for 0."""
    if n == 0:
        return 0, 1
    square, radicand, factor = 1, 1, 2
    while factor * factor <= n:
        while n % (factor * factor) == 0:
            n //= factor * factor
            square *= factor
        if n % factor == 0:
            n //= factor
            radicand *= factor
        factor += 1
    return square, radicand * n


def _smallest_prime_factor(n: int) -> int:
    """Return the smallest prime that divides n ≥ 2."""
    return next((f for f in range(2, isqrt(n) + 1) if n % f == 0), n)
