"""The closed list of rules. Each one either admits a fact or raises; none of them guesses.

A rule's docstring says what it decides and why that is sound. ``RULES`` is the whole list:
the checker refuses a justification of any other type, so a topic module cannot bring its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from proofs.kernel.calculus import Branch, Differentiate, MeanValue
from proofs.kernel.circular import AngleSum, Complement, Sine
from proofs.kernel.context import Context, Fact
from proofs.kernel.domain import Array, Assumption, Domain, Draws, Integer, parts_of
from proofs.kernel.errors import ProofError
from proofs.kernel.exponentials import ExpSum, LogProduct, RealPower
from proofs.kernel.facts import FACTS
from proofs.kernel.integration import Antiderivative, IntegralCompare
from proofs.kernel.means import BetaIntegral, LinearMean, Moments, Outcomewise, Tower
from proofs.kernel.semantics import compare, difference
from proofs.kernel.series import (
    BinomialMoments,
    BinomialTheorem,
    ConstantProduct,
    Cut,
    DropTerms,
    Factorwise,
    Linear,
    Reverse,
    Shift,
    Split,
    Telescope,
    Termwise,
    Unroll,
)
from proofs.kernel.terms import bound_variables
from proofs.kernel.wellformed import bound_symbols, depends_on

__all__ = [
    "RULES",
    "AngleSum",
    "Antiderivative",
    "Assume",
    "Ball",
    "BetaIntegral",
    "BinomialMoments",
    "BinomialTheorem",
    "Branch",
    "Cite",
    "Complement",
    "ConstantProduct",
    "Context",
    "Cut",
    "Differentiate",
    "DropTerms",
    "ExpSum",
    "Fact",
    "Factorwise",
    "Hypothesis",
    "Instance",
    "IntegralCompare",
    "Linear",
    "LinearMean",
    "LogProduct",
    "MeanValue",
    "Moments",
    "Nonnegative",
    "Outcomewise",
    "Positive",
    "RealPower",
    "Reverse",
    "Shift",
    "Sine",
    "Split",
    "Square",
    "Telescope",
    "Termwise",
    "Tower",
    "Unroll",
]


@dataclass(frozen=True)
class Square:
    """0 ≤ e², or 0 ≤ Σ w e² over named indices, for weights w ≥ 0. Reals only, by the domain.

    ``index`` alone runs over the group; ``over`` lists pairs (index, size), the innermost first.
    """

    root: Any
    index: Any = None
    weight: Any = 1
    over: tuple[Any, ...] = ()

    def prove(self, ctx: Context) -> Fact:
        ranges = tuple(self.over)
        if self.index is not None:
            if ctx.domain.group is None:
                raise ProofError("no group to sum over")
            ranges = ((self.index, ctx.domain.group.size), *ranges)
        inside = ctx.inside(*(Integer(i, 1, size) for i, size in reversed(ranges)))
        weight = inside.term(self.weight)
        ctx.require(inside.nonnegative(weight), f"cannot show that {weight} >= 0")
        square = weight * inside.term(self.root) ** 2
        if ranges:
            square = sp.Sum(square, *((i, 1, size) for i, size in ranges))
        return ctx.admit(0, "<=", square, "a square is non-negative")


@dataclass(frozen=True)
class Nonnegative:
    """0 ≤ e, by slacks: all coefficients non-negative in the distances to the bounds."""

    expr: Any
    strict = False

    def prove(self, ctx: Context) -> Fact:
        e = ctx.term(self.expr)
        ctx.require(ctx.algebra.nonnegative(e, self.strict), f"cannot show the sign of {e}")
        return ctx.admit(0, "<" if self.strict else "<=", e, "positivity by slacks")


@dataclass(frozen=True)
class Positive(Nonnegative):
    """0 < e, by slacks."""

    strict = True


@dataclass(frozen=True)
class Ball:
    """A relation between closed terms, by Arb balls: guaranteed enclosures of both sides."""

    lhs: Any
    relation: str
    rhs: Any

    def prove(self, ctx: Context) -> Fact:
        lhs, rhs = ctx.term(self.lhs), ctx.term(self.rhs)
        if self.relation not in ("<", "<=") or _open(lhs) or _open(rhs):
            raise ProofError("balls compare closed terms by < or <=")
        ctx.require(compare(lhs, self.relation, rhs, {}) is True, f"not shown: {lhs} vs {rhs}")
        rational = type(difference(lhs, rhs, {})).__name__ == "fmpq"
        if rational:
            return ctx.admit(lhs, self.relation, rhs, "rational arithmetic")
        return ctx.admit(lhs, self.relation, rhs, "ball arithmetic", "rigorous")


def _open(e: sp.Expr) -> bool:
    return bool(e.free_symbols - bound_variables(e)) or bool(e.atoms(sp.Indexed))


@dataclass(frozen=True)
class Instance:
    """An earlier theorem's clause with terms put for its variables.

    Each variable's term must be shown to lie in that variable's range, and each arbitrary
    function may be replaced by any term in its argument. Verdict and grade are inherited.
    """

    theorem: str
    clause: str
    terms: tuple[tuple[Any, Any], ...] = ()

    def prove(self, ctx: Context) -> Fact:
        done = ctx.ledger.get(self.theorem)
        if done is None:
            raise ProofError(f"{self.theorem} is not proved (yet)")
        clause, grade = done.clause(self.clause)
        mapping = dict(self.terms)
        replace: dict[Any, Any] = {}
        for d in clause.domain.declarations:
            if hasattr(d, "symbol"):
                term = ctx.term(mapping.pop(d.symbol, d.symbol))
                self._within(ctx, d, term, replace)
                replace[d.symbol] = term
            elif hasattr(d, "function"):
                if d.function in mapping:
                    replace[d.function] = self._function(ctx, mapping.pop(d.function))
                elif d not in ctx.domain.declarations:
                    raise ProofError(f"no term for the function {d.function}")
            elif isinstance(d, Array | Assumption | Draws):  # taken over as they are
                if d not in ctx.domain.declarations:
                    raise ProofError(f"{d.words()}: not so declared here")
                shaped: set[Any] = {s for part in parts_of(d) for s in part.free_symbols}
                shaped |= {f.func for part in parts_of(d) for f in part.atoms(AppliedUndef)}
                if any(replace.get(s, s) != s for s in shaped):
                    raise ProofError(f"{sorted(map(str, shaped))} stay as they are")
            else:  # a group: taken over as it is, never re-interpreted
                mine = ctx.domain.group
                if mine != d:
                    raise ProofError(f"the group of {self.theorem} is not the group here")
                for s in d.parameters:
                    if replace.get(s, s) != s:
                        raise ProofError(f"{s} belongs to the group and stays as it is")
        if mapping:
            raise ProofError(f"{self.theorem} has no variables {sorted(map(str, mapping))}")
        sides = (clause.claim.lhs, clause.claim.rhs)
        lhs, rhs = (_substitute(e, replace, ctx.domain) for e in sides)
        return ctx.admit(lhs, clause.claim.relation, rhs, f"theorem {self.theorem}", grade)

    @staticmethod
    def _function(ctx: Context, value: Any) -> sp.Lambda:
        if value is sp.S.IdentityFunction:  # as SymPy writes n -> n
            return value
        if type(value) is not sp.Lambda or len(value.variables) != 1:
            raise ProofError("an arbitrary function is replaced by a Lambda of one variable")
        ctx.inside(Integer(value.variables[0], None)).term(value.expr)
        return value

    def _within(self, ctx: Context, d: Any, term: sp.Expr, replace: dict[Any, Any]) -> None:
        here = ctx.domain.variable(term) if term.is_Symbol else None
        same = here is not None and here == d
        if same and not (set(replace) & bound_symbols(d)):
            return
        if isinstance(d, Integer):
            ctx.require(ctx.domain.is_integer(term), f"{term} is not shown to be an integer")
        for bound, sign, strict in (
            (d.low, 1, not isinstance(d, Integer) and d.open_low),
            (d.high, -1, not isinstance(d, Integer) and d.open_high),
        ):
            if bound is None:
                continue
            gap = sign * (term - _substitute(sp.sympify(bound), replace, ctx.domain))
            ctx.require(
                ctx.algebra.nonnegative(gap, strict),
                f"cannot show that {d.symbol} := {term} obeys the bound {bound}",
            )


def _substitute(e: sp.Expr, replace: dict[Any, Any], domain: Domain) -> sp.Expr:
    """Simultaneous substitution; bound variables must not be captured."""
    bound = bound_variables(e)
    incoming: set[Any] = set()
    for new in replace.values():
        incoming |= depends_on(new, domain) if isinstance(new, sp.Basic) else set()
    if bound & (incoming | {s for s in replace if isinstance(s, sp.Symbol)}):
        raise ProofError(f"the substitution touches bound variables {sorted(map(str, bound))}")
    for derivative in e.atoms(sp.Derivative):
        var = derivative.args[1][0]
        moved = [new for s, new in replace.items() if s != var and isinstance(new, sp.Basic)]
        if replace.get(var, var) != var or any(var in depends_on(new, domain) for new in moved):
            raise ProofError(f"the substitution touches the variable {var} of a derivative")
    functions = {
        f: new for f, new in replace.items() if isinstance(f, sp.core.function.FunctionClass)
    }
    for f, new in functions.items():
        e = e.replace(f, new)
    return e.xreplace({s: new for s, new in replace.items() if isinstance(s, sp.Symbol)})


@dataclass(frozen=True)
class Assume:
    """An assumption of the theorem, at the given indices: x[i, …] = its term there."""

    array: Any
    at: tuple[Any, ...]

    def prove(self, ctx: Context) -> Fact:
        found = [d for d in ctx.domain.declarations if isinstance(d, Assumption)]
        assumed = next((d for d in found if d.array == self.array), None)
        if assumed is None:
            raise ProofError(f"nothing is assumed about {self.array}")
        at = tuple(ctx.term(i) for i in self.at)
        if len(at) != len(assumed.indices):
            raise ProofError(f"{self.array} has {len(assumed.indices)} indices")
        entry = ctx.term(assumed.array[at])
        replace = dict(zip(assumed.indices, at, strict=True))
        value = _substitute(assumed.value, replace, ctx.domain)
        return ctx.admit(entry, "=", value, "assumption")


@dataclass(frozen=True)
class Hypothesis:
    """The induction hypothesis of the surrounding induction step."""

    def prove(self, ctx: Context) -> Fact:
        if ctx.hypothesis is None:
            raise ProofError("there is no induction hypothesis here")
        h = ctx.hypothesis
        return ctx.admit(h.lhs, h.relation, h.rhs, "induction hypothesis")


@dataclass(frozen=True)
class Cite:
    """A named fact of the literature (``proofs/kernel/facts.py``), its hypotheses discharged."""

    name: str
    terms: tuple[tuple[Any, Any], ...]

    def prove(self, ctx: Context) -> Fact:
        if self.name not in FACTS:
            raise ProofError(f"unknown fact {self.name}")
        fact, replace = FACTS[self.name], dict(self.terms)
        if set(replace) != set(fact.variables):
            raise ProofError(f"{self.name} needs terms for {fact.variables}")
        for terms, strict, sign in ((fact.positive, True, ">"), (fact.nonnegative, False, ">=")):
            for needed in terms:
                term = needed.xreplace(replace)
                ctx.require(ctx.algebra.nonnegative(term, strict), f"cannot show {term} {sign} 0")
        for integer in fact.integers:
            ctx.require(ctx.domain.is_integer(replace[integer]), f"{integer} is not an integer")
        for term in replace.values():
            ctx.term(term)
        lhs, rhs = (_substitute(e, replace, ctx.domain) for e in (fact.lhs, fact.rhs))
        return ctx.admit(lhs, fact.relation, rhs, f"literature: {fact.reference}", "cited")


RULES: tuple[type, ...] = (
    AngleSum,
    Antiderivative,
    Assume,
    Ball,
    BetaIntegral,
    BinomialMoments,
    BinomialTheorem,
    Branch,
    Cite,
    Complement,
    ConstantProduct,
    Cut,
    Differentiate,
    DropTerms,
    ExpSum,
    Factorwise,
    Hypothesis,
    Instance,
    IntegralCompare,
    Linear,
    LinearMean,
    LogProduct,
    MeanValue,
    Moments,
    Nonnegative,
    Outcomewise,
    Positive,
    RealPower,
    Reverse,
    Shift,
    Sine,
    Split,
    Square,
    Telescope,
    Termwise,
    Tower,
    Unroll,
)
