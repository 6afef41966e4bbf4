"""Rules about integrals over a closed range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs.kernel.calculus import _diff
from proofs.kernel.context import Context, Fact
from proofs.kernel.domain import Real
from proofs.kernel.errors import ProofError
from proofs.kernel.terms import DefiniteIntegral, as_term, substitute

__all__ = ["Antiderivative", "IntegralCompare"]


def _range(ctx: Context, whole: Any) -> tuple[sp.Expr, sp.Symbol, sp.Expr, sp.Expr, Context]:
    """Integrand, variable, ends, and the context in which the variable runs over the range."""
    if type(whole) is not DefiniteIntegral:
        raise ProofError(f"not an integral: {whole}")
    ctx.term(whole)
    body, var, low, high = whole.args
    return body, var, low, high, ctx.inside(Real(var, low, high, False, False))


@dataclass(frozen=True)
class Antiderivative:
    """∫_a^b f = F(b) − F(a): the fundamental theorem of calculus.

    F is shown to be differentiable for every real variable from a to b, ends included, and its
    derivative, as the rules of differentiation give it, to be f. The integrand is continuous,
    as every term is where it is defined.
    """

    whole: Any
    primitive: Any  # F, a term in the variable of the integral

    def prove(self, ctx: Context) -> Fact:
        body, var, low, high, between = _range(ctx, self.whole)
        primitive = as_term(self.primitive)
        between.term(primitive)
        between.smooth(primitive, var)
        slope = between.term(_diff(primitive, var, between, None))
        ctx.require(between.zero(slope - body), f"the derivative of {primitive} is not shown")
        first, last = (substitute(primitive, {var: end}) for end in (low, high))
        return ctx.admit(self.whole, "=", last - first, "fundamental theorem of calculus")


@dataclass(frozen=True)
class IntegralCompare:
    """Integrals over one range compare as their integrands do, point by point."""

    whole: Any
    body: Any
    relation: str = "="
    steps: tuple[Any, ...] = ()  # a chain from the old to the new integrand

    def prove(self, ctx: Context) -> Fact:
        from proofs.kernel.theorem import Step, check_chain

        old, var, low, high, between = _range(ctx, self.whole)
        body = between.term(self.body)
        if self.relation == "<":
            longer = ctx.algebra.nonnegative(high - low, strict=True)
            ctx.require(longer, f"a strict comparison needs {low} < {high}")
        steps = self.steps or (Step("point by point", self.relation, body),)
        grade = check_chain(between, old, self.relation, body, steps)
        new = DefiniteIntegral(body, var, low, high)
        return ctx.admit(self.whole, self.relation, new, "comparison of integrands", grade)
