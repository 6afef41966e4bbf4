"""Rules about exponentials: what connects them to sums, products and real powers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs.kernel.context import Context, Fact
from proofs.kernel.errors import ProofError
from proofs.kernel.terms import as_term

__all__ = ["ExpSum", "LogProduct", "RealPower"]


@dataclass(frozen=True)
class ExpSum:
    """exp(Σ_{i=a}^{b} f(i)) = Π_{i=a}^{b} exp(f(i))."""

    total: sp.Sum

    def prove(self, ctx: Context) -> Fact:
        if not isinstance(self.total, sp.Sum) or len(self.total.limits) != 1:
            raise ProofError(f"not a single sum: {self.total}")
        ctx.sum(self.total)
        product = sp.Product(sp.exp(self.total.function), self.total.limits[0])
        return ctx.admit(sp.exp(self.total), "=", product, "exponential of a sum")


@dataclass(frozen=True)
class LogProduct:
    """log(Π_{i=a}^{b} f(i)) = Σ_{i=a}^{b} log(f(i)), for factors that are shown to be positive."""

    whole: sp.Product

    def prove(self, ctx: Context) -> Fact:
        if not isinstance(self.whole, sp.Product) or len(self.whole.limits) != 1:
            raise ProofError(f"not a single product: {self.whole}")
        total = sp.Sum(sp.log(self.whole.function), self.whole.limits[0])
        ctx.sum(total)  # defined: the factors are positive
        return ctx.admit(sp.log(self.whole), "=", total, "logarithm of a product")


@dataclass(frozen=True)
class RealPower:
    """x^y = exp(y log x) for x > 0: the definition of a real power."""

    base: Any
    exponent: Any

    def prove(self, ctx: Context) -> Fact:
        x, y = ctx.term(self.base), ctx.term(self.exponent)
        ctx.require(ctx.algebra.nonnegative(x, strict=True), f"cannot show {x} > 0")
        value = as_term(sp.exp(y * sp.log(x)))
        return ctx.admit(x**y, "=", value, "definition of a real power")
