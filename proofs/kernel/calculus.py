"""Rules about derivatives, and about which of two terms is the smaller one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs.kernel.context import Context, Fact
from proofs.kernel.domain import Integer, Real, is_plain
from proofs.kernel.errors import ProofError, Undecided
from proofs.kernel.terms import (
    BetaMean,
    DefiniteIntegral,
    Maximum,
    Minimum,
    PoissonMean,
    RolloutMean,
    SampleMean,
    Slope,
    as_term,
    bound_variables,
    peel,
)

__all__ = ["Branch", "Differentiate", "MeanValue", "derivative"]


@dataclass(frozen=True)
class Differentiate:
    """d/dx by the sum, product, power and chain rules, term by term in a finite sum.

    The derivative of a root or of arcsin is written with the same root in a denominator, so that
    the next algebraic step must prove it non-zero: that is where the rule applies. A minimum has
    the derivative of the one that is shown to be smaller. For a slope, the point is put in.
    """

    derivative: Any

    def prove(self, ctx: Context) -> Fact:
        if type(self.derivative) not in (sp.Derivative, Slope):
            raise ProofError("not a derivative")
        ctx.term(self.derivative)
        return ctx.admit(
            self.derivative, "=", derivative(self.derivative, ctx), "differentiation rules"
        )


def derivative(term: sp.Expr, ctx: Context) -> sp.Expr:
    """The derivative that a term names, worked out; also for building the next line of a proof."""
    at = None
    if isinstance(term, Slope):
        body, var, at = term.args
    else:
        body, (var, count) = term.args
        if count != 1:
            raise ProofError("only first derivatives")
    if body.has(RolloutMean, PoissonMean, BetaMean, SampleMean, DefiniteIntegral):
        raise Undecided("a mean or an integral inside a derivative")
    result = _diff(body, var, ctx, at)
    if at is None:
        return result
    if at.free_symbols & bound_variables(result):
        raise Undecided(f"{at} would be captured by a sum")
    return result.xreplace({var: at})


def _diff(e: sp.Expr, x: sp.Symbol, ctx: Context, at: sp.Expr | None) -> sp.Expr:
    def down(part: sp.Expr) -> sp.Expr:
        return _diff(part, x, ctx, at)

    if x not in e.free_symbols:
        return sp.Integer(0)
    if e == x:
        return sp.Integer(1)
    if e.is_Add:
        return sp.Add(*map(down, e.args))
    if e.is_Mul:
        first, rest = e.args[0], e.func(*e.args[1:])
        return down(first) * rest + first * down(rest)
    if e.is_Pow and x not in e.exp.free_symbols:
        return e.exp * e.base ** (e.exp - 1) * down(e.base)
    if e.is_Pow and x not in e.base.free_symbols:
        return e * sp.log(e.base) * down(e.exp)
    if isinstance(e, sp.asin):
        return down(e.args[0]) / sp.sqrt(1 - e.args[0] ** 2)
    if isinstance(e, sp.sin):
        return sp.cos(e.args[0]) * down(e.args[0])
    if isinstance(e, sp.cos):
        return -sp.sin(e.args[0]) * down(e.args[0])
    if isinstance(e, sp.log):
        return down(e.args[0]) / e.args[0]
    if isinstance(e, sp.exp):
        return e * down(e.args[0])
    if isinstance(e, Minimum | Maximum):
        return down(ctx.terms.around(x, at).active(e))
    if isinstance(e, sp.Sum):
        body, var, low, high = peel(e)
        if x in (low + high).free_symbols or var == x:
            raise Undecided(f"the limits of {e} move with {x}")
        inside = ctx.inside(Integer(var, low, high)) if ctx.domain.variable(var) is None else ctx
        return sp.Sum(_diff(body, x, inside, at), (var, low, high))
    raise Undecided(f"no differentiation rule for {e}")


@dataclass(frozen=True)
class Branch:
    """min(a, b) = a where a ≤ b is shown on the whole domain, and b where b ≤ a is; max likewise.

    A statement about a minimum is proved piece by piece: one clause, or one case, for
    each range in which it is known which of the two is smaller.
    """

    extreme: Any

    def prove(self, ctx: Context) -> Fact:
        if type(self.extreme) not in (Minimum, Maximum):
            raise ProofError("not a minimum or maximum")
        ctx.term(self.extreme)
        a, b = self.extreme.args
        low, high = (a, b) if type(self.extreme) is Minimum else (b, a)
        if ctx.nonnegative(b - a):
            return ctx.admit(self.extreme, "=", low, "the piece that applies")
        ctx.require(ctx.nonnegative(a - b), f"cannot show which of {a} and {b} is smaller")
        return ctx.admit(self.extreme, "=", high, "the piece that applies")


@dataclass(frozen=True)
class MeanValue:
    """f(a) ≤ f(b), or f(a) < f(b), for a ≤ b (a < b) where f' ≥ 0 (> 0) between a and b.

    By the mean value theorem: f is shown to be differentiable for every real variable from a to
    b, ends included, and the steps lead from 0 to f' (as the rules of differentiation give it, up
    to algebra) for a variable strictly between a and b.
    """

    body: Any  # f, a term in the variable
    variable: sp.Symbol
    low: Any
    high: Any
    slope: Any  # f', as the steps write it
    relation: str = "<="
    steps: tuple[Any, ...] = ()

    def prove(self, ctx: Context) -> Fact:
        from proofs.kernel.theorem import Step, check_chain

        x, low, high = self.variable, ctx.term(self.low), ctx.term(self.high)
        if self.relation not in ("<=", "<"):
            raise ProofError("the mean value theorem compares by <= or <")
        strict = self.relation == "<"
        ctx.require(is_plain(low) and is_plain(high), f"{low} or {high} is no bound")
        ctx.require(ctx.algebra.nonnegative(high - low, strict), f"cannot show {low} <= {high}")
        body, slope = as_term(self.body), as_term(self.slope)
        ends = ctx.inside(Real(x, low, high, False, False))
        ends.term(body)
        ends.smooth(body, x)
        inside = ctx.inside(Real(x, low, high))
        worked_out = inside.term(_diff(body, x, inside, None))
        ctx.require(inside.zero(inside.term(slope) - worked_out), "that is not the derivative")
        steps = self.steps or (Step("its sign", self.relation, slope),)
        grade = check_chain(inside, sp.Integer(0), self.relation, slope, steps)
        first, last = (body.xreplace({x: end}) for end in (low, high))
        return ctx.admit(first, self.relation, last, "mean value theorem", grade)
