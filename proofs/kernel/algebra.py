"""Normal forms: every term becomes a fraction of polynomials over its atoms.

Two terms whose difference has numerator zero are equal wherever all denominators are non-zero;
each division met on the way creates the obligation "this is non-zero on the domain", which the
positivity procedure must discharge at once. Atoms and the relations used between them:

* variables, indexed rewards and scores, and anything unknown: free generators;
* ``√f``: a generator t with t² = f. ``√(fg) = √f √g`` is used only after f, g ≥ 0 is proved;
* ``xⁿ`` with n an integer form: generators ``x^symbol`` and integer exponents, x ≠ 0 proved;
* ``n!`` and binomials: shifted to a common base, after 0 ≤ k ≤ n is proved;
* ``sin(x)``: sin(x)² = 1 − cos(x)², and −1 ≤ cos(x) ≤ 1;
* ``exp(x)``: exp(x + y) = exp(x) exp(y), exp(-x) = 1/exp(x); a real power of a positive base
  likewise;
* a sum over a group or an array: linear in its moments, see :mod:`proofs.kernel.moments`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from typing import Any

import sympy as sp
from flint import fmpq, fmpq_mat, fmpq_mpoly_ctx, fmpz

from proofs.kernel.domain import Domain, Integer, Real, exact
from proofs.kernel.errors import MalformedTheorem, Undecided
from proofs.kernel.moments import sum_fraction
from proofs.kernel.terms import Maximum, Minimum, Rounded, canonical, peel

__all__ = ["Algebra"]

Poly = Any
Fraction = tuple[Poly, Poly]

# Beyond these sizes a problem is refused (undecided), never truncated or left to hang.
GENERATORS = 28  # atoms per problem
LARGEST = 1000  # exponents, factorial shifts, terms written out
VARIABLES = 7  # variables in one sign question
RADICAND_BITS = 128
HALF = sp.Rational(1, 2)


def _key(poly: Poly) -> Any:
    """FLINT's polynomials are mutable, hence unhashable; this is their value."""
    if isinstance(poly, fmpq):
        return str(poly)
    return tuple(sorted((tuple(map(int, e)), str(c)) for e, c in poly.to_dict().items()))


def _context(prefix: str, size: int) -> Any:
    return fmpq_mpoly_ctx.get([f"{prefix}{i}" for i in range(size)], "lex")


class Algebra:
    """The polynomial ring of one domain, growing an atom at a time."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.ctx = _context("x", GENERATORS)
        self.gens = self.ctx.gens()
        self.zero = self.gens[0] - self.gens[0]
        self.one = self.zero + 1
        self.atoms: list[Any] = []
        self.index: dict[Any, int] = {}
        self.squares: dict[int, Poly] = {}  # generator -> radicand, for √ atoms
        self.bases: dict[int, Poly] = {}  # generator -> x, for x^n atoms
        self.signs: dict[int, str] = {}  # generator -> "+" or "0+"
        self.memo: dict[Any, Fraction] = {}
        self.positive: list[sp.Expr] = []
        self.bound: list[Any] = []  # (index, size) of the sums around the current term
        self.constants: dict[int, fmpq] = {}  # generator -> c, for c^n atoms
        self.known: dict[tuple[str, Any], bool] = {}

    # -- public ------------------------------------------------------------------------------
    def is_zero(self, expr: sp.Expr) -> bool:
        """True: the expression is zero on the whole domain. False: this method cannot tell."""
        numerator, _ = self.fraction(expr)
        return bool(self.reduced(numerator) == 0)

    def nonnegative(self, expr: sp.Expr, strict: bool = False) -> bool:
        """True: expr ≥ 0 (or > 0) on the whole domain. False: cannot tell."""
        numerator, denominator = self.fraction(expr)
        top, bottom = self.reduced(numerator), self.reduced(denominator)
        below = self.sign(bottom, strict=True)
        if below == 0:
            return False
        above = self.sign(top * below, strict)
        return above > 0

    def nonzero(self, expr: sp.Expr) -> bool:
        numerator, _ = self.fraction(expr)
        return self.sign(self.reduced(numerator), strict=True) != 0

    # -- from terms to fractions -------------------------------------------------------------
    def fraction(self, expr: sp.Expr) -> Fraction:
        expr = sp.sympify(expr)
        key = (expr, *self.bound) if self.bound else expr  # a sum may use an index's range
        if key not in self.memo:
            self.memo[key] = self._fraction(expr)
        return self.memo[key]

    def _fraction(self, e: sp.Expr) -> Fraction:
        if e.is_Rational:
            return self.one * fmpq(int(e.p), int(e.q)), self.one
        if e.is_Symbol:
            value = self.domain.constant(e)
            return (self.atom(e), self.one) if value is None else self.fraction(value)
        if e.is_Add:
            top, bottom = self.zero, self.one
            for a in e.args:
                n, d = self.fraction(a)
                if d == bottom:
                    top = top + n
                else:
                    top, bottom = self.cancel(top * d + n * bottom, bottom * d)
            return self.cancel(self.reduced(top), bottom)
        if e.is_Mul:
            top, bottom = self.one, self.one
            for a in e.args:
                n, d = self.fraction(a)
                top, bottom = self.cancel(top * n, bottom * d)
            return self.cancel(self.reduced(top), bottom)
        if e.is_Pow:
            return self._power(e.base, e.exp)
        if isinstance(e, sp.exp):
            return self._exponential(e.args[0])
        if isinstance(e, sp.sin | sp.cos):
            return self._circular(e)
        if e is sp.pi:
            return self.atom(e, "+"), self.one
        if isinstance(e, sp.beta):
            positive = all(self.nonnegative(a, strict=True) for a in e.args)
            return self.atom(canonical(e), "+" if positive else None), self.one
        if isinstance(e, Rounded):  # rounding keeps the sign, and only 0 becomes 0
            rounded = canonical(e)
            if self.nonnegative(e.args[0]):
                positive = self.nonnegative(e.args[0], strict=True)
                return self.atom(rounded, "+" if positive else "0+"), self.one
            return self.atom(rounded), self.one
        if isinstance(e, Minimum | Maximum):
            return self._extreme(e)
        if isinstance(e, sp.binomial):
            return self._binomial(*e.args)
        if isinstance(e, sp.factorial):
            return self._factorial(e.args[0])
        if isinstance(e, sp.Sum):
            return self._sum(e)
        if isinstance(e, sp.Product):
            return self.atom(canonical(e), self._sum_sign(e, empty="+")), self.one
        if isinstance(e, sp.KroneckerDelta) and self.nonzero(e.args[0] - e.args[1]):
            return self.zero, self.one
        if isinstance(e, sp.Indexed):
            return self.atom(e, self._entry_sign(e)), self.one
        if e.is_Number and not e.is_Rational:
            raise Undecided(f"{e} is not an exact number")
        return self.atom(canonical(e)), self.one

    def atom(self, key: Any, sign: str | None = None) -> Poly:
        if key not in self.index:
            if len(self.atoms) == GENERATORS:
                raise Undecided(f"more than {GENERATORS} atoms")
            self.index[key] = len(self.atoms)
            self.atoms.append(key)
            if sign is not None:
                self.signs[self.index[key]] = sign
        return self.gens[self.index[key]]

    @staticmethod
    def cancel(top: Poly, bottom: Poly) -> Fraction:
        if bottom == 1:
            return top, bottom
        common = top.gcd(bottom)
        if common != 1 and common != 0:
            top, bottom = top / common, bottom / common
        return top, bottom

    def _invert(self, value: Fraction, shown: Any) -> Fraction:
        top, bottom = value
        if self.sign(self.reduced(top), strict=True) == 0:
            raise Undecided(f"cannot show that {shown} is non-zero on the domain")
        return bottom, top

    def _power(self, base: sp.Expr, exponent: sp.Expr) -> Fraction:
        exponent = self._fixed(exponent)
        if exponent.is_Integer:
            top, bottom = self.fraction(base)
            n = int(exponent)
            if abs(n) > LARGEST:
                raise Undecided(f"the exponent {n} is too large")
            if n < 0:
                top, bottom = self._invert((top, bottom), base)
                n = -n
            return self.reduced(top**n), self.reduced(bottom**n)
        if exponent.is_Rational and exponent.q == 2:
            root = self._root(base)
            whole, odd = divmod(int(exponent.p), 2)
            top, bottom = self._power(base, sp.Integer(whole))
            if odd:
                top, bottom = top * root[0], bottom * root[1]
            return self.cancel(self.reduced(top), self.reduced(bottom))
        if self.domain.is_integer(exponent):
            return self._symbolic_power(base, sp.expand(exponent))
        return self._real_power(base, exponent)

    def _exponential(self, exponent: sp.Expr) -> Fraction:
        """exp(a·x + b·y) = exp(x)^a exp(y)^b for integers a, b; exp(x) > 0."""
        result: Fraction = (self.one, self.one)
        for count, rest in _parts(exponent):
            piece = self.atom(canonical(sp.exp(rest)), "+") ** abs(count)
            result = self._times(result, (piece, self.one) if count > 0 else (self.one, piece))
        return result

    def _circular(self, e: sp.Expr) -> Fraction:
        """sin(x)² = 1 − cos(x)²; x itself in normal form, so that equal angles give one atom."""
        top, bottom = self.fraction(e.args[0])
        if top == 0:
            return self.fraction(e.func(0))
        scale = fmpq(bottom.leading_coefficient())
        top, bottom = top / scale, bottom / scale
        sign = -1 if top.leading_coefficient() < 0 else 1
        x = self.to_expr(top * sign) / self.to_expr(bottom)
        cosine, sine = sp.cos(x), sp.sin(x)
        inner = -sine if sine.could_extract_minus_sign() else sine
        if not all(
            isinstance(f, sp.sin | sp.cos) and f.args[0] in (x, -x) for f in (cosine, inner)
        ):
            return self.fraction(sign * sine if isinstance(e, sp.sin) else cosine)  # known values
        c = self.atom(cosine)
        if isinstance(e, sp.cos):
            return c, self.one
        s = self.atom(inner)
        self.squares[self.index[inner]] = self.one - c**2
        return s * (sign if inner == sine else -sign), self.one

    def _real_power(self, base: sp.Expr, exponent: sp.Expr) -> Fraction:
        """x^(a·y + b·z) = (x^y)^a (x^z)^b for x > 0, and (x·w)^y = x^y w^y for x, w > 0."""
        top, bottom = self.fraction(base)
        if not self._positive(top, bottom):
            return self.atom(canonical(base**exponent)), self.one
        pieces = [f for poly in (top, bottom) for f, _ in poly.factor()[1]]
        if not all(self.sign(f, strict=True) for f in pieces):
            return self.atom(canonical(base**exponent), "+"), self.one
        result: Fraction = (self.one, self.one)
        for count, rest in _parts(exponent):
            if rest.is_Rational:
                piece: Fraction = (self.atom(canonical(base**rest), "+"), self.one)
                if rest == 1 or rest.q == 2:
                    piece = self._power(base, rest)
            else:
                piece = self._base_power(top, bottom, rest, "+")
            piece = (piece[0] ** abs(count), piece[1] ** abs(count))
            result = self._times(result, piece if count > 0 else piece[::-1])
        return result

    def _extreme(self, e: sp.Expr) -> Fraction:
        """The smaller (larger) of two terms, where it is shown which one that is."""
        a, b = e.args
        low, high = (a, b) if isinstance(e, Minimum) else (b, a)
        if self.nonnegative(b - a):
            return self.fraction(low)
        if self.nonnegative(a - b):
            return self.fraction(high)
        return self.atom(canonical(e)), self.one

    def _entry_sign(self, e: sp.Indexed) -> str | None:
        """Of an entry of an array, by the bounds of its entries."""
        group, array = self.domain.group, self.domain.arrays.get(e.base)
        if array is None:
            binary = group is not None and group.binary and e.base == group.rewards
            return "0+" if binary else None
        low, _, open_low, _ = array.bounds
        if low is None or not self.nonnegative(low):
            return None
        return "+" if open_low or self.nonnegative(low, strict=True) else "0+"

    def _symbolic_power(self, base: sp.Expr, exponent: sp.Expr) -> Fraction:
        """x^(a·m + b·n + c) = (x^m)^a (x^n)^b x^c for x ≠ 0; and 0^n = 0 for n ≥ 1."""
        top, bottom = self.fraction(base)
        if self.reduced(top) == 0:
            if not self.nonnegative(exponent - 1):
                raise Undecided(f"0**({exponent}): cannot show that the exponent is positive")
            return self.zero, self.one
        if self.reduced(top) == bottom:
            return self.one, self.one
        result: Fraction = (self.one, self.one)
        sign = "+" if self._positive(top, bottom) else None
        if sign is None and self.sign(self.reduced(top), strict=True) == 0:
            return self._power_of_maybe_zero(base, exponent)
        for count, rest in self._linear_terms(exponent):
            if rest == 1:
                result = self._times(result, self._power(base, count))
                continue
            n, d = self._base_power(top, bottom, rest, sign)
            piece = (n ** abs(int(count)), d ** abs(int(count)))
            result = self._times(result, piece if count > 0 else piece[::-1])
        return result

    @staticmethod
    def _linear_terms(exponent: sp.Expr) -> list[tuple[sp.Integer, sp.Expr]]:
        terms = [term.as_coeff_Mul() for term in sp.Add.make_args(exponent)]
        if not all(count.is_Integer for count, _ in terms):
            raise Undecided(f"exponent {exponent} has a fractional coefficient")
        return terms

    def _power_of_maybe_zero(self, base: sp.Expr, exponent: sp.Expr) -> Fraction:
        """x^(m + n) = x^m x^n also holds at x = 0 (with 0⁰ = 1) when m, n ≥ 0."""
        result: Fraction = (self.one, self.one)
        sign = "0+" if self.nonnegative(base) else None
        for count, rest in self._linear_terms(exponent):
            if count < 0 or not (rest == 1 or self.nonnegative(rest)):
                raise Undecided(f"cannot show that {base} is non-zero in {base}**({exponent})")
            if rest == 1:
                result = self._times(result, self._power(base, count))
                continue
            atom = self.atom(canonical(base**rest), sign)
            result = self._times(result, (atom ** int(count), self.one))
        return result

    def _base_power(self, top: Poly, bottom: Poly, exponent: sp.Expr, sign: str | None) -> Fraction:
        """The generator for base^exponent, with the base split into irreducible factors."""
        result: Fraction = (self.one, self.one)
        for side, poly in enumerate((top, bottom)):
            constant, factors = poly.factor()
            oriented = []
            for f, multiplicity in factors:
                s = self.sign(f, strict=True)
                if s < 0:
                    f, constant = -f, constant * (-1) ** multiplicity
                oriented.append((f, multiplicity, "+" if s else None))
            if constant != 1:
                key = ("power", _key(fmpq(constant)), exponent)
                part = self.atom(key, "+" if constant > 0 else None)
                self.constants[self.index[key]] = fmpq(constant)
                result = self._times(result, (part, self.one) if side == 0 else (self.one, part))
            for f, multiplicity, kind in oriented:
                key = ("power", _key(f), exponent)
                part = self.atom(key, kind) ** multiplicity
                self.bases[self.index[key]] = f
                result = self._times(result, (part, self.one) if side == 0 else (self.one, part))
        return result

    def _times(self, x: Fraction, y: Fraction) -> Fraction:
        return self.cancel(x[0] * y[0], x[1] * y[1])

    # -- square roots ------------------------------------------------------------------------
    def _root(self, base: sp.Expr) -> Fraction:
        """√(n/d) as a product of root generators; splits a product only after sign proofs."""
        top, bottom = self.fraction(base)
        top, bottom = self.reduced(top), self.reduced(bottom)
        below = self.sign(bottom, strict=True)
        if below == 0:
            raise Undecided(f"cannot show the sign of the denominator of {base}")
        radicand = self.reduced(top * bottom)  # √(n/d) = √(nd) / |d|
        if self.sign(radicand, strict=False) <= 0 and radicand != 0:
            raise Undecided(f"cannot show that {base} is non-negative under a root")
        outside, inside = self._split_root(radicand)
        return outside * inside, bottom * below

    def _split_root(self, radicand: Poly) -> tuple[Poly, Poly]:
        if radicand == 0:
            return self.zero, self.one
        constant, factors = radicand.factor()
        outside, inside, rest = self.one, self.one, self.one
        constant = fmpq(constant)
        for f, multiplicity in factors:
            s = self.sign(f, strict=False)
            if s == 0:  # sign unknown: this factor stays under one common root
                rest = rest * f**multiplicity
                continue
            if s < 0:
                f, constant = -f, constant * (-1) ** multiplicity
            outside = outside * f ** (multiplicity // 2)
            if multiplicity % 2:
                inside = inside * self._root_generator(f)
        if rest != 1:
            # √(c·g·h) = √g · √(c·h) needs g ≥ 0 only, which holds for the factors taken out.
            return outside, inside * self._root_generator(rest * constant)
        if constant < 0:
            raise Undecided("root of a negative number")
        whole, square_free = _square_part(constant)
        outside = outside * whole
        for prime in square_free:
            inside = inside * self._root_generator(self.one * fmpq(prime))
        return outside, inside

    def _root_generator(self, radicand: Poly) -> Poly:
        positive = self.sign(radicand, strict=True) > 0
        key = ("root", _key(radicand))
        generator = self.atom(key, "+" if positive else "0+")
        self.squares[self.index[key]] = radicand
        return generator

    def reduced(self, poly: Poly) -> Poly:
        """Replace t² by its radicand for every root generator t."""
        for i in sorted(self.squares, reverse=True):  # later roots may contain earlier ones
            degrees = poly.degrees()
            if i >= len(degrees) or degrees[i] < 2:
                continue
            radicand, total = self.squares[i], self.zero
            for exponents, coefficient in poly.to_dict().items():
                n = int(exponents[i])
                keep = tuple(e if j != i else n % 2 for j, e in enumerate(exponents))
                total = total + self.ctx.from_dict({keep: coefficient}) * radicand ** (n // 2)
            poly = total
        return poly

    # -- factorials --------------------------------------------------------------------------
    def _fixed(self, form: sp.Expr) -> sp.Expr:
        """Put in the integer variables whose bounds leave one value only."""
        if not form.free_symbols:
            return form
        values = {s: self.domain.constant(s) for s in form.free_symbols}
        return form.xreplace({s: v for s, v in values.items() if v is not None})

    def _binomial(self, n: sp.Expr, k: sp.Expr) -> Fraction:
        n, k = self._fixed(n), self._fixed(k)
        if k.is_Integer and k > LARGEST:
            raise Undecided(f"binomial({n}, {k}) is too large")
        if k.is_Integer and k >= 0:
            if not (self.domain.is_integer(n) and self.nonnegative(n)):
                raise Undecided(f"cannot show that {n} is a non-negative integer")
            falling = sp.Mul(*((n - j) for j in range(int(k))))
            return self.fraction(falling / sp.Integer(int(_fac(int(k)).p)))
        if all(self.domain.is_integer(x) and self.nonnegative(x) for x in (n, k - n - 1)):
            return self.zero, self.one  # more chosen than there are
        for form in (n, k, n - k):
            if not (self.domain.is_integer(form) and self.nonnegative(form)):
                return self.atom(canonical(sp.binomial(n, k)), "0+"), self.one
        top = self._factorial(n)
        below = self._times(self._factorial(k), self._factorial(sp.expand(n - k)))
        return self._times(top, (below[1], below[0]))

    def _factorial(self, n: sp.Expr) -> Fraction:
        """(m + c)! = m! (m+1)…(m+c), and downwards; m is n without its constant term."""
        n = sp.expand(self._fixed(n))
        if n.is_Integer:
            if not 0 <= n <= LARGEST:
                raise Undecided(f"factorial of {n}")
            return self.one * _fac(int(n)), self.one
        shift, base = n.as_coeff_Add()
        if abs(shift) > LARGEST:
            raise Undecided(f"the factorial of {n} is too far from that of {base}")
        if not (shift.is_Integer and self.domain.is_integer(base)):
            raise Undecided(f"factorial of {n}")
        if not (self.nonnegative(base) and self.nonnegative(n)):
            raise Undecided(f"cannot show that {base} and {n} are non-negative")
        top = self.atom(("factorial", base), "+")
        bottom = self.one
        for j in range(1, int(shift) + 1):
            top = top * self.fraction(base + j)[0]
        for j in range(-int(shift)):
            bottom = bottom * self.fraction(base - j)[0]
        return top, bottom

    # -- sums ----------------------------------------------------------------------------------
    def _sum(self, e: sp.Sum) -> Fraction:
        body, var, low, high = peel(e)
        if body == 0 or sp.expand(high - low) == -1:
            return self.zero, self.one  # zero terms, or none
        if var not in body.free_symbols:
            return self.fraction((high - low + 1) * body)
        if low != 1 or not (high in self.domain.sizes or self._is_entry(high)):
            return self.atom(canonical(e), self._sum_sign(e)), self.one
        return sum_fraction(self, e)

    def _is_entry(self, high: sp.Expr) -> bool:
        return isinstance(high, sp.Indexed) and high.base in self.domain.arrays

    def expression(self, i: int) -> sp.Expr:
        """The term that a generator stands for."""
        key = self.atoms[i]
        if not isinstance(key, tuple):
            return key
        if key[0] == "root":
            return sp.sqrt(self.to_expr(self.squares[i]))
        if key[0] == "factorial":
            return sp.factorial(key[1])
        base = self.constants.get(i)
        x = self.to_expr(self.bases[i]) if base is None else sp.Rational(int(base.p), int(base.q))
        return x ** key[2]

    def to_expr(self, poly: Poly) -> sp.Expr:
        """A polynomial as a term again."""
        terms = []
        for exponents, c in poly.to_dict().items():
            powers = (self.expression(i) ** int(n) for i, n in enumerate(exponents) if n)
            c = fmpq(c)
            terms.append(sp.Mul(sp.Rational(int(c.p), int(c.q)), *powers))
        return sp.Add(*terms)

    def used(self, poly: Poly) -> list[int]:
        return [i for i, n in enumerate(poly.degrees()) if n > 0]

    def mentions(self, i: int, var: sp.Symbol) -> bool:
        key = self.atoms[i]
        if isinstance(key, tuple):
            inner = self.squares.get(i, self.bases.get(i, self.zero))
            if any(self.mentions(j, var) for j in self.used(inner)):
                return True
            return any(isinstance(part, sp.Basic) and var in part.free_symbols for part in key)
        return var in key.free_symbols

    def require_index(self, index: sp.Expr, size: sp.Expr) -> None:
        """Raise unless the index is shown to lie in 1..size."""
        innermost = next((high for bound, high in reversed(self.bound) if bound == index), None)
        if innermost == size:
            return
        inside = self.domain.is_integer(index) and self.nonnegative(index - 1)
        if inside and self.nonnegative(size - index):
            return
        raise Undecided(f"cannot show that the index {index} lies in 1..{size}")

    def _sum_sign(self, e: sp.Expr, empty: str = "0+") -> str | None:
        """Of a sum, or of a product (an empty one is 1), by the sign of its terms."""
        body, var, low, high = peel(e)
        try:
            inner = Algebra(self.domain.extended(Integer(var, low, high)))
            if inner.nonnegative(body, strict=True):
                return "+" if empty == "+" or self.nonnegative(high - low) else "0+"
            return "0+" if inner.nonnegative(body) else None
        except (Undecided, MalformedTheorem):  # no sign is the safe answer
            return None

    # -- signs -------------------------------------------------------------------------------
    def _positive(self, top: Poly, bottom: Poly) -> bool:
        s = self.sign(self.reduced(bottom), strict=True)
        return s != 0 and self.sign(self.reduced(top) * s, strict=True) > 0

    def sign(self, poly: Poly, strict: bool) -> int:
        """+1 or -1 if the polynomial is provably ≥ 0 or ≤ 0 (strictly if asked), else 0."""
        if poly == 0:
            return 0 if strict else 1
        for factor in (1, -1):
            if self._slack_positive(poly * factor, strict):
                return factor
        constant, factors = poly.factor()
        if len(factors) == 1 and factors[0][1] == 1:
            return self._known_sign(poly)
        result = 1 if constant > 0 else -1
        for f, multiplicity in factors:
            if multiplicity % 2 == 0 and not strict:
                continue
            s = self.sign(f, strict)
            if s == 0:
                return 0
            result *= s**multiplicity
        return result

    def learn_positive(self, expr: sp.Expr) -> None:
        """Remember that a term is > 0 on the domain (an admitted fact, never a guess)."""
        self.positive.append(sp.sympify(expr))
        top, bottom = self.fraction(expr)
        if bottom == self.one and top in self.gens[: len(self.atoms)]:
            self.signs[self.gens.index(top)] = "+"

    def _known_sign(self, poly: Poly) -> int:
        """Whether the polynomial is a rational multiple of one known to be positive."""
        for term in self._positive_terms():
            top, bottom = self.fraction(term)
            fact = self.reduced(top * bottom)
            if fact == 0:
                continue
            ratio = fmpq(poly.leading_coefficient()) / fmpq(fact.leading_coefficient())
            if poly == fact * ratio:
                return 1 if ratio > 0 else -1
        return 0

    def _positive_terms(self) -> list[sp.Expr]:
        group = self.domain.group
        terms = list(self.positive)
        if group is not None and group.spread:  # rewards that are not all equal
            i = sp.Symbol("_i")
            square = sp.Sum(group.rewards[i] ** 2, (i, 1, group.size))
            plain = sp.Sum(group.rewards[i], (i, 1, group.size))
            terms.append(group.size * square - plain**2)
        return terms

    def _slack_positive(self, poly: Poly, strict: bool) -> bool:
        """All coefficients non-negative after writing each variable by its distance to a bound."""
        key = ("strict" if strict else "weak", _key(poly))
        if key not in self.known:
            self.known[key] = any(
                _coefficients_positive(form, strict) for form in self._slack_forms(poly, strict)
            ) or (strict and self._positive_with_end(poly))
        return self.known[key]

    def _positive_with_end(self, poly: Poly) -> bool:
        """On a closed range: positive up to its end, which slacks leave out, and at the end."""
        used = {self.atoms[i] for i in self.used(poly)}
        for v in self.domain.variables:
            if v.symbol not in used or not isinstance(v, Real) or v.open_low or v.open_high:
                continue
            if v.low is None or v.high is None:
                continue
            forms = self._slack_forms(poly, True, half_open=v.symbol)
            if any(_coefficients_positive(form, True) for form in forms):
                top, bottom = self.fraction(v.high)
                if self.sign(bottom, strict=True) > 0:
                    return self.sign(self._at(poly, v.symbol, top, bottom), strict=True) > 0
        return False

    def _at(self, poly: Poly, symbol: sp.Symbol, top: Poly, bottom: Poly) -> Poly:
        """The polynomial where a variable is top/bottom, times a power of bottom."""
        i = self.index[symbol]
        degree, total = int(poly.degrees()[i]), self.zero
        for exponents, coefficient in poly.to_dict().items():
            n = int(exponents[i])
            rest = tuple(0 if j == i else e for j, e in enumerate(exponents))
            term = self.ctx.from_dict({rest: coefficient})
            total = total + term * top**n * bottom ** (degree - n)
        return total

    def _entries(self, used: set[Any]) -> list[sp.Indexed]:
        """Entries of arrays among what is used, or among the bounds of an index that is used."""
        found = set(used)
        for v in self.domain.variables:
            if v.symbol in used:
                for bound in (v.low, v.high):
                    found |= set() if bound is None else sp.sympify(bound).free_symbols
        entries = (e for e in found if isinstance(e, sp.Indexed) and e.base in self.domain.arrays)
        return sorted(entries, key=str)

    def _slack_forms(self, poly: Poly, strict: bool, half_open: Any = None) -> Any:
        used = {self.atoms[i] for i in self.used(poly)}
        variables: list[Integer | Real] = []
        for entry in self._entries(used):  # bounded as a real variable is
            bounds = self.domain.arrays[entry.base].bounds
            variables.append(Real(entry, *bounds))
            for bound in bounds[:2]:
                used |= set() if bound is None else bound.free_symbols
        cosines = sorted((a for a in used if isinstance(a, sp.cos)), key=str)
        variables += [Real(cosine, -1, 1, False, False) for cosine in cosines]
        for v in reversed(self.domain.variables):  # those used, and those that bound them
            if v.symbol in used:
                if isinstance(v, Real) and v.symbol == half_open:
                    v = replace(v, open_high=True)
                variables.insert(0, v)
                for bound in (v.low, v.high):
                    used |= set() if bound is None else sp.sympify(bound).free_symbols
        if len(variables) > VARIABLES:
            return
        for substitution in _substitutions(self.domain, variables, strict):
            yield _Slack(self, substitution).apply(poly)


def _parts(exponent: sp.Expr) -> list[tuple[int, sp.Expr]]:
    """The exponent as a sum of integer multiples: 3x/2 - y is 3·(x/2) + (-1)·y."""
    waiting, found = [exponent], []
    while waiting:
        term = waiting.pop()
        if not term.is_Add:
            term = sp.expand_mul(term, deep=False)
        if term.is_Add:
            waiting += term.args
            continue
        coefficient, rest = term.as_coeff_Mul()
        if not coefficient.is_Rational:
            raise Undecided(f"the exponent {exponent}")
        if abs(coefficient.p) > LARGEST:
            raise Undecided(f"the exponent {exponent} is too large")
        if coefficient != 0:
            found.append((int(coefficient.p), rest / coefficient.q))
    return found


def _fac(n: int) -> fmpq:
    return fmpq(fmpz.fac_ui(n))


def _square_part(c: fmpq) -> tuple[fmpq, list[int]]:
    """√c = whole · Π √prime."""
    whole, primes = fmpq(1, int(c.q)), []
    if fmpz(c.p * c.q).bit_length() > RADICAND_BITS:
        raise Undecided("a radicand too large to factor")
    for prime, n in fmpz(c.p * c.q).factor():
        whole = whole * fmpq(int(prime)) ** (int(n) // 2)
        if n % 2:
            primes.append(int(prime))
    return whole, primes


# -- positivity by slacks ------------------------------------------------------------------------
#
# Each variable is rewritten by a non-negative slack: v = low + u, v = high - u, or, between two
# finite ends, v = (low + high·u)/(1 + u). A polynomial whose coefficients in the slacks are all
# non-negative is non-negative; it is positive if a term made of positive slacks only is present.

Slack = tuple[sp.Expr, sp.Expr]  # numerator and positive denominator in the slack symbols


def _substitutions(domain: Domain, variables: list[Integer | Real], strict: bool) -> Any:
    """Every way to write the variables by slacks; a dict symbol -> (numerator, denominator)."""
    affine = [v for v in variables if isinstance(v, Integer) and _affine(v, domain)]
    others = [v for v in variables if v not in affine]
    facts = []
    for w in affine:
        facts.append(w.symbol - w.low)
        if w.high is not None:
            facts.append(w.high - w.symbol)
    symbols = tuple(v.symbol for v in affine)
    for chosen in combinations(facts, len(affine)):
        base = _solve(symbols, chosen)
        if base is None:
            continue
        choices: list[dict[sp.Symbol, Slack]] = [{s: (e, sp.Integer(1)) for s, e in base.items()}]
        for v in others:
            choices = [{**c, v.symbol: form} for c in choices for form in _forms(v, strict)]
        yield from choices


def _affine(v: Integer, domain: Domain) -> bool:
    for bound in (v.low, v.high):
        if bound is None:
            continue
        for s in sp.sympify(bound).free_symbols:
            w = domain.variable(s)
            if not isinstance(w, Integer) or not _affine(w, domain):
                return False
        poly = sp.sympify(bound)
        symbols = sorted(poly.free_symbols, key=str)
        if symbols and not poly.is_polynomial(*symbols):
            return False
        if symbols and sp.Poly(poly, *symbols).total_degree() > 1:
            return False
    return True


@lru_cache(maxsize=10_000)
def _solve(
    symbols: tuple[sp.Symbol, ...], facts: tuple[sp.Expr, ...]
) -> dict[sp.Symbol, sp.Expr] | None:
    """Invert slack_j = facts_j(symbols), an affine map with rational coefficients."""
    m = len(symbols)
    if m == 0:
        return {}
    polys = [sp.Poly(f, *symbols) for f in facts]
    if any(p.total_degree() > 1 for p in polys):
        return None
    rows = [[exact(p.coeff_monomial(s)) for s in symbols] for p in polys]
    matrix = fmpq_mat(m, m, [x for row in rows for x in row])
    if matrix.det() == 0:
        return None
    inverse = matrix.inv()
    constants = [p.coeff_monomial(1) for p in polys]
    slacks = [sp.Dummy("weak") for _ in range(m)]
    return {
        s: sp.Add(
            *(
                sp.Rational(int(inverse[i, j].p), int(inverse[i, j].q)) * (slacks[j] - constants[j])
                for j in range(m)
            )
        )
        for i, s in enumerate(symbols)
    }


def _forms(v: Integer | Real, strict: bool) -> list[Slack]:
    """The ways to write one variable; the last ones use one of its two bounds only."""
    open_low = isinstance(v, Real) and v.open_low
    open_high = isinstance(v, Real) and v.open_high
    one = sp.Integer(1)

    def slack(positive: bool) -> sp.Dummy:
        return sp.Dummy("strict" if positive else "weak")

    forms: list[Slack] = []
    if v.low is not None and v.high is not None and (open_low or open_high or not strict):
        # u = 0 is one end and u -> infinity the other, which must not belong to the interval
        # if a strict conclusion is wanted.
        u = slack(open_low and open_high)
        start, limit = (v.low, v.high) if open_high else (v.high, v.low)
        forms.append((start + limit * u, one + u))
    if v.low is not None:
        forms.append((v.low + slack(open_low), one))
    if v.high is not None:
        forms.append((v.high - slack(open_high), one))
    if not forms:
        forms.append((sp.Dummy("free"), one))
    return forms


class _Slack:
    """One substitution, applied to polynomials of an algebra."""

    def __init__(self, algebra: Algebra, forms: dict[sp.Symbol, Slack]) -> None:
        self.algebra = algebra
        self.forms = forms
        self.ctx = _context("y", 2 * GENERATORS)
        self.names: dict[Any, int] = {}
        self.closed: list[int] = []
        self.memo: dict[sp.Expr, Fraction] = {}

    def generator(self, key: Any) -> Poly:
        at = self.names.setdefault(key, len(self.names))
        if at >= 2 * GENERATORS:
            raise Undecided("too many slacks")
        return self.ctx.gens()[at]

    def image(self, e: sp.Expr) -> Fraction:
        """A polynomial expression in variables and slacks as a fraction in slacks."""
        if e in self.memo:
            return self.memo[e]
        zero = self.ctx.gens()[0] - self.ctx.gens()[0]
        top, bottom = zero + 1, zero + 1
        if e.is_Rational:
            top = top * fmpq(int(e.p), int(e.q))
        elif e in self.forms:
            n, d = (self.image(sp.sympify(part)) for part in self.forms[e])
            top, bottom = n[0] * d[1], n[1] * d[0]
        elif e.is_Symbol:
            top = self.generator(e)
        elif e.is_Add:
            top = zero
            for a in e.args:
                n, d = self.image(a)
                top, bottom = top * d + n * bottom, bottom * d
        elif e.is_Mul:
            for a in e.args:
                n, d = self.image(a)
                top, bottom = top * n, bottom * d
        elif e.is_Pow and e.exp.is_Integer:
            n, d = self.image(e.base)
            if e.exp < 0:
                n, d = d, n
            top, bottom = n ** abs(int(e.exp)), d ** abs(int(e.exp))
        else:
            raise Undecided(f"{e} in a bound")
        self.memo[e] = (top, bottom)
        return self.memo[e]

    def apply(self, poly: Poly) -> Any:
        """(numerator in slacks, predicate 'this slack is positive', predicate 'non-negative')."""
        degrees = [int(n) for n in poly.degrees()]
        images: dict[int, Fraction] = {}
        for i, n in enumerate(degrees):
            if n:
                key = self.algebra.atoms[i]
                if isinstance(key, sp.Symbol | sp.Indexed | sp.cos) and key in self.forms:
                    images[i] = self.image(key)
                else:
                    images[i] = (self.generator(("atom", i)), self.ctx.gens()[0] * 0 + 1)
        kinds: dict[int, str] = {}
        for key, at in self.names.items():
            if isinstance(key, tuple):
                kinds[at] = self.algebra.signs.get(key[1], "?")
            else:  # slacks are dummies of ours, named by their kind
                known = {"strict": "+", "weak": "0+"} if isinstance(key, sp.Dummy) else {}
                kinds[at] = known.get(key.name, "?")
        if not all(_coefficients_positive((d, kinds), True) for _, d in images.values()):
            return None  # the denominators must be positive for the numerator to decide
        total = self.ctx.gens()[0] * 0
        for exponents, coefficient in poly.to_dict().items():
            term = self.ctx.gens()[0] * 0 + coefficient
            for i, (n, d) in images.items():
                e = int(exponents[i])
                term = term * n**e * d ** (degrees[i] - e)
            total = total + term
        return total, kinds


def _coefficients_positive(form: Any, strict: bool) -> bool:
    if form is None:
        return False
    total, kinds = form
    positive_term = False
    for exponents, coefficient in total.to_dict().items():
        if coefficient < 0:
            return False
        moving = [i for i, n in enumerate(exponents) if n]
        if any(kinds.get(i, "?") == "?" and int(exponents[i]) % 2 for i in moving):
            return False
        if all(kinds.get(i) == "+" for i in moving):
            positive_term = True
    return positive_term or not strict
