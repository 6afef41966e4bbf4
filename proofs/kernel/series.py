"""Rules about finite sums and products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs.kernel.algebra import LARGEST
from proofs.kernel.context import Context, Fact
from proofs.kernel.domain import Integer
from proofs.kernel.errors import ProofError, Undecided
from proofs.kernel.terms import as_term, peel

__all__ = [
    "BinomialMoments",
    "BinomialTheorem",
    "ConstantProduct",
    "Cut",
    "DropTerms",
    "Factorwise",
    "Linear",
    "Reverse",
    "Shift",
    "Split",
    "Telescope",
    "Termwise",
    "Unroll",
]


@dataclass(frozen=True)
class Shift:
    """Σ_{k=a}^{b} f(k) = Σ_{k=a-c}^{b-c} f(k+c): the same terms under other numbers."""

    total: sp.Sum
    by: Any

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        by = ctx.term(self.by)
        ctx.require(ctx.domain.is_integer(by), f"the shift {by} is not an integer")
        body = peel(self.total)[0].subs(var, var + by)
        return ctx.admit(self.total, "=", sp.Sum(body, (var, low - by, high - by)), "index shift")


@dataclass(frozen=True)
class Reverse:
    """Σ_{k=a}^{b} f(k) = Σ_{k=a}^{b} f(a+b-k): the same terms in reverse order."""

    total: sp.Sum

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        body = peel(self.total)[0].subs(var, low + high - var)
        return ctx.admit(self.total, "=", sp.Sum(body, (var, low, high)), "reversal")


@dataclass(frozen=True)
class Split:
    """Take ``first`` terms off the front and ``last`` off the back; needs that many terms."""

    total: sp.Sum
    first: int = 0
    last: int = 0

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        count = high - low + 1
        ctx.require(self.first >= 0 and self.last >= 0, "a negative number of terms")
        ctx.require(
            ctx.nonnegative(count - self.first - self.last),
            f"cannot show that the sum has {self.first + self.last} terms",
        )
        f = peel(self.total)[0]
        ends = [f.subs(var, low + j) for j in range(self.first)]
        ends += [f.subs(var, high - j) for j in range(self.last)]
        rest = sp.Sum(f, (var, low + self.first, high - self.last))
        return ctx.admit(self.total, "=", sp.Add(rest, *ends), "splitting off terms")


@dataclass(frozen=True)
class Cut:
    """Σ_{a}^{b} = Σ_{a}^{m} + Σ_{m+1}^{b} for a-1 ≤ m ≤ b."""

    total: sp.Sum
    at: Any

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        m, f = ctx.term(self.at), peel(self.total)[0]
        ctx.require(ctx.domain.is_integer(m), f"{m} is not an integer")
        for gap in (m - low + 1, high - m):
            ctx.require(ctx.nonnegative(gap), f"cannot show {gap} >= 0")
        parts = sp.Sum(f, (var, low, m)) + sp.Sum(f, (var, m + 1, high))
        return ctx.admit(self.total, "=", parts, "cutting the range")


@dataclass(frozen=True)
class Telescope:
    """Σ_{k=a}^{b} (v(k-1) - v(k)) = v(a-1) - v(b); the summand is checked to have that form."""

    total: sp.Sum
    v: Any  # a term in the summation variable

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        v = as_term(self.v)
        inside = ctx.inside(Integer(var, low, high))
        inside.term(v)
        inside.term(v.subs(var, var - 1))
        gap = peel(self.total)[0] - (v.subs(var, var - 1) - v)
        ctx.require(inside.zero(gap), "the summand is not v(k-1) - v(k)")
        ctx.require(ctx.nonnegative(high - low + 1), "cannot show that the range is in order")
        ends = v.subs(var, low - 1) - v.subs(var, high)
        return ctx.admit(self.total, "=", ends, "telescoping")


@dataclass(frozen=True)
class Linear:
    """Σ (Σ_j c_j f_j(k)) = Σ_j c_j Σ f_j(k), the c_j free of k; the split is checked."""

    total: sp.Sum
    parts: tuple[tuple[Any, Any], ...]

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        inside = ctx.inside(Integer(var, low, high))
        body = sp.Add(*(sp.sympify(c) * f for c, f in self.parts))
        for c, f in self.parts:
            ctx.term(c)  # free of the index, which is not declared here
            inside.term(f)
        ctx.require(inside.zero(peel(self.total)[0] - body), "the parts do not add up")
        result = sp.Add(*(c * sp.Sum(f, (var, low, high)) for c, f in self.parts))
        return ctx.admit(self.total, "=", result, "linearity of the sum")


@dataclass(frozen=True)
class Termwise:
    """Sums over one range compare as their terms do; the terms are proved for k in the range."""

    total: sp.Sum
    body: Any
    relation: str = "="
    steps: tuple[Any, ...] = ()  # a chain from the old to the new term; empty: one algebraic step

    def prove(self, ctx: Context) -> Fact:
        from proofs.kernel.theorem import Step, check_chain

        var, low, high = ctx.sum(self.total)
        inside = ctx.inside(Integer(var, low, high))
        body = inside.term(self.body)
        if self.relation == "<":
            ctx.require(ctx.nonnegative(high - low), "a strict comparison needs a term")
        steps = self.steps or (Step("term by term", self.relation, body),)
        grade = check_chain(inside, peel(self.total)[0], self.relation, body, steps)
        new = sp.Sum(body, (var, low, high))
        return ctx.admit(self.total, self.relation, new, "termwise comparison", grade)


@dataclass(frozen=True)
class DropTerms:
    """Σ over a sub-range ≤ Σ over the range, for non-negative terms."""

    total: sp.Sum
    low: Any
    high: Any

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        inside = ctx.inside(Integer(var, low, high))
        ctx.require(inside.nonnegative(peel(self.total)[0]), "cannot show that the terms are >= 0")
        first, last = ctx.term(self.low), ctx.term(self.high)
        for gap in (first - low, high - last, last - first + 1):
            ctx.require(ctx.nonnegative(gap), f"cannot show {gap} >= 0")
        part = sp.Sum(peel(self.total)[0], (var, first, last))
        return ctx.admit(part, "<=", self.total, "dropping non-negative terms")


@dataclass(frozen=True)
class Unroll:
    """A sum with concrete limits is the sum of its terms."""

    total: sp.Sum

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        known = {v.symbol: ctx.domain.constant(v.symbol) for v in ctx.domain.variables}
        fixed = {s: value for s, value in known.items() if value is not None}
        low, high = low.subs(fixed), high.subs(fixed)
        if not (low.is_Integer and high.is_Integer and high >= low - 1):
            raise Undecided(f"limits {low}, {high} are not concrete")
        if high - low > LARGEST:
            raise Undecided(f"more than {LARGEST} terms")
        terms = (peel(self.total)[0].subs(var, n) for n in range(int(low), int(high) + 1))
        return ctx.admit(self.total, "=", sp.Add(*terms), "writing out the terms")


@dataclass(frozen=True)
class BinomialTheorem:
    """Σ_{k=0}^{n} C(n,k) x^k y^{n-k} = (x+y)^n for an integer n ≥ 0 (any x, y, with 0⁰ = 1)."""

    k: sp.Symbol
    n: Any
    x: Any
    y: Any

    def prove(self, ctx: Context) -> Fact:
        k, n, x, y = self.k, ctx.term(self.n), ctx.term(self.x), ctx.term(self.y)
        ctx.require(ctx.domain.is_integer(n) and ctx.nonnegative(n), f"{n} is not an integer >= 0")
        if any(k in part.free_symbols for part in (n, x, y)):
            raise ProofError(f"{k} is bound")
        total = sp.Sum(sp.binomial(n, k) * x**k * y ** (n - k), (k, 0, n))
        return ctx.admit(total, "=", (x + y) ** n, "binomial theorem")


@dataclass(frozen=True)
class BinomialMoments:
    """E h(K) for K ~ Binomial(n, p), h a polynomial: E K(K-1)…(K-j+1) = n(n-1)…(n-j+1) p^j.

    That identity is the binomial theorem differentiated j times; h is rewritten in falling
    factorials by exact division.
    """

    k: sp.Symbol
    n: Any
    p: Any
    h: Any

    def prove(self, ctx: Context) -> Fact:
        k, n, p, h = self.k, ctx.term(self.n), ctx.term(self.p), as_term(self.h)
        ctx.require(ctx.domain.is_integer(n) and ctx.nonnegative(n), f"{n} is not an integer >= 0")
        if any(k in part.free_symbols for part in (n, p)):
            raise ProofError(f"{k} is bound")
        total = sp.Sum(sp.binomial(n, k) * p**k * (1 - p) ** (n - k) * h, (k, 0, n))
        ctx.inside(Integer(k, 0, n)).term(h)
        try:
            poly = sp.Poly(h, k)
        except sp.PolynomialError as problem:
            raise ProofError(f"{h} is not a polynomial in {k}: {problem}") from None
        if any(k in c.free_symbols for c in poly.all_coeffs()):
            raise ProofError(f"{h} is not a polynomial in {k}")
        coefficients = list(reversed(poly.all_coeffs()))
        result, j = sp.Integer(0), 0
        while coefficients:  # synthetic division by k, k-1, k-2, …: remainders are the answer
            remainder, quotient = _divide(coefficients, j)
            falling = sp.Mul(*((n - i) for i in range(j)))
            result += remainder * falling * p**j
            coefficients, j = quotient, j + 1
        return ctx.admit(total, "=", result, "binomial moments")


def _divide(coefficients: list[sp.Expr], root: int) -> tuple[sp.Expr, list[sp.Expr]]:
    """Divide a polynomial (lowest degree first) by (k - root)."""
    carry, quotient = sp.Integer(0), []
    for c in reversed(coefficients):
        carry = carry * root + c
        quotient.append(carry)
    remainder = quotient.pop()
    return remainder, list(reversed(quotient))


def _product(ctx: Context, whole: Any) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
    if not isinstance(whole, sp.Product) or len(whole.limits) != 1:
        raise ProofError(f"not a single product: {whole}")
    ctx.term(whole)
    ((var, low, high),) = whole.limits
    return var, low, high


@dataclass(frozen=True)
class Factorwise:
    """Products over one range are equal if their factors are, and Π f ≤ Π g if 0 ≤ f ≤ g."""

    whole: sp.Product
    body: Any
    relation: str = "="
    steps: tuple[Any, ...] = ()  # a chain from the old to the new factor

    def prove(self, ctx: Context) -> Fact:
        from proofs.kernel.theorem import Step, check_chain

        var, low, high = _product(ctx, self.whole)
        if self.relation not in ("=", "<="):
            raise ProofError("products are compared by = or <=")
        inside = ctx.inside(Integer(var, low, high))
        body, old = inside.term(self.body), self.whole.function
        if self.relation == "<=":
            ctx.require(inside.nonnegative(old), "cannot show that the factors are >= 0")
        steps = self.steps or (Step("factor by factor", self.relation, body),)
        grade = check_chain(inside, old, self.relation, body, steps)
        new = sp.Product(body, (var, low, high))
        return ctx.admit(self.whole, self.relation, new, "factorwise comparison", grade)


@dataclass(frozen=True)
class ConstantProduct:
    """Π_{i=a}^{b} c = c^(b-a+1) for c free of i."""

    whole: sp.Product

    def prove(self, ctx: Context) -> Fact:
        var, low, high = _product(ctx, self.whole)
        factor = self.whole.function
        if var in factor.free_symbols:
            raise ProofError(f"{factor} depends on {var}")
        return ctx.admit(self.whole, "=", factor ** (high - low + 1), "product of equal factors")
