"""Theorems as objects, and the checking of their derivations.

A theorem has clauses (statements with a domain and a derivation) and, if it refutes something,
refutations (a published claim, false at an exact witness). Nothing here is typed in by hand:
verdict and grade are computed by :mod:`proofs.kernel.check` from what the rules admitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from proofs.kernel.context import Context, Fact, settled, weakest
from proofs.kernel.domain import Domain, Integer
from proofs.kernel.errors import MalformedTheorem, ProofError, Undecided
from proofs.kernel.rules import RULES
from proofs.kernel.terms import as_term, latex

__all__ = [
    "Cases",
    "Chain",
    "Claim",
    "Clause",
    "Induction",
    "Mutant",
    "Reference",
    "Refutation",
    "Step",
    "Theorem",
    "check_chain",
    "check_proof",
    "clause_context",
]

RELATIONS = ("=", "<=", "<")


@dataclass(frozen=True)
class Claim:
    """``lhs relation rhs`` for every point of a domain."""

    lhs: Any
    relation: str
    rhs: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "lhs", as_term(self.lhs))
        object.__setattr__(self, "rhs", as_term(self.rhs))
        if self.relation not in RELATIONS:
            raise MalformedTheorem(f"unknown relation {self.relation}")

    def latex(self) -> str:
        sign = {"=": "=", "<=": r"\le", "<": "<"}[self.relation]
        return f"{latex(self.lhs)} {sign} {latex(self.rhs)}"


@dataclass(frozen=True)
class Step:
    """One line of a chain: previous term, ``relation``, ``expr``.

    Without ``by`` the step is algebra (equation) or positivity of the difference (inequality).
    For an equation ``by`` lists rules whose equations are rewritten in the previous term. For an
    inequality it lists pairs (coefficient, rule): the difference must be the combination of these
    facts, up to a remainder that is zero or non-negative by slacks.
    """

    text: str
    relation: str
    expr: Any
    by: tuple[Any, ...] = ()

    def __post_init__(self) -> None:  # converted once, so that every check sees the same term
        object.__setattr__(self, "expr", as_term(self.expr))


@dataclass(frozen=True)
class Chain:
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Cases:
    """Split the range of an integer variable; consecutive ranges must cover it."""

    variable: sp.Symbol
    parts: tuple[tuple[Integer, Any], ...]


@dataclass(frozen=True)
class Induction:
    """Base at the variable's lower bound, step from n to n+1 with :class:`rules.Hypothesis`."""

    variable: sp.Symbol
    base: Any
    step: Any


@dataclass(frozen=True)
class Clause:
    name: str
    domain: Domain
    claim: Claim
    proof: Any
    words: str = ""
    given: tuple[Any, ...] = ()  # rules that admit "0 < e": needed to divide by e


@dataclass(frozen=True)
class Refutation:
    """A claim that somebody made, the point where it fails, and where it was made."""

    name: str
    domain: Domain
    claim: Claim
    witness: tuple[tuple[Any, Any], ...]
    words: str = ""


@dataclass(frozen=True)
class Mutant:
    """A near miss of a clause (or refutation) that must be false, with a witness found for it."""

    name: str
    of: str
    lhs: Any = None
    relation: str | None = None
    rhs: Any = None
    domain: Domain | None = None


@dataclass(frozen=True)
class Reference:
    source: str  # "arXiv 2607.00152" or a book
    version: str  # "v1", or "" where only one version is known
    place: str  # "Theorem 1", "§3", …
    note: str = ""

    def words(self) -> str:
        parts = [self.source + (f" {self.version}" if self.version else ""), self.place, self.note]
        return ", ".join(p for p in parts if p)


@dataclass(frozen=True)
class Theorem:
    id: str
    title: str
    words: str  # the statement in words, one or two sentences
    clauses: tuple[Clause, ...] = ()
    refutes: tuple[Refutation, ...] = ()
    assumptions: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    implements: tuple[str, ...] = ()
    mutants: tuple[Mutant, ...] = ()
    corrected_by: tuple[str, ...] = ()
    check: Callable[[], int] | None = field(default=None, compare=False)

    @property
    def topic(self) -> str:
        return self.id.split(".")[0]


# -- checking a derivation -----------------------------------------------------------------------


@dataclass
class StepReport:
    text: str
    procedure: str
    seconds: float
    relation: str = "="
    latex: str = ""
    grade: str = "exact"


def clause_context(clause: Clause, domain: Domain, ledger: Any) -> tuple[Context, str]:
    """The context in which a clause is proved, and the grade of what it was given."""
    ground, given, grade = Context(domain, ledger), [], "exact"
    for rule in clause.given:
        fact = _fact(ground, rule)
        if fact.relation != "<" or fact.lhs != 0:
            raise ProofError("a clause may be given positive terms only")
        given.append(fact)
        grade = weakest(grade, fact.grade)
    return Context(domain, ledger, None, tuple(given)), grade


def check_proof(ctx: Context, claim: Claim, proof: Any, log: list[StepReport]) -> str:
    """Raise unless the proof establishes exactly this claim; return its grade."""
    ctx.term(claim.lhs)
    ctx.term(claim.rhs)
    if isinstance(proof, Chain):
        return check_chain(ctx, claim.lhs, claim.relation, claim.rhs, proof.steps, log)
    if isinstance(proof, Cases):
        return _check_cases(ctx, claim, proof, log)
    if isinstance(proof, Induction):
        return _check_induction(ctx, claim, proof, log)
    raise ProofError(f"not a proof: {type(proof).__name__}")


def check_chain(
    ctx: Context,
    lhs: sp.Expr,
    relation: str,
    rhs: sp.Expr,
    steps: tuple[Step, ...],
    log: list[StepReport] | None = None,
) -> str:
    if not steps:
        raise ProofError("an empty chain")
    ctx.term(lhs)
    grade, reached, previous = "exact", "=", lhs
    for number, step in enumerate(steps, start=1):
        started = time.perf_counter()
        try:
            step_grade, procedure = _check_step(ctx, previous, step)
        except ProofError as problem:
            raise type(problem)(f"step {number} ({step.text}): {problem}") from None
        grade = weakest(grade, step_grade)
        if step.relation == "<" or (step.relation == "<=" and reached == "="):
            reached = step.relation
        previous = step.expr
        if log is not None:
            seconds = time.perf_counter() - started
            tex = latex(previous)
            log.append(StepReport(step.text, procedure, seconds, step.relation, tex, step_grade))
    if previous != rhs:
        raise ProofError("the chain does not end at the right-hand side of its statement")
    if RELATIONS.index(reached) < RELATIONS.index(relation) or (relation == "=" != reached):
        raise ProofError(f"the chain shows {reached}, the statement says {relation}")
    return grade


def _check_step(ctx: Context, previous: sp.Expr, step: Step) -> tuple[str, str]:
    new = ctx.term(step.expr)
    if step.relation not in RELATIONS:
        raise ProofError(f"unknown relation {step.relation}")
    if step.relation == "=":
        grade, names, current = "exact", [], previous
        for rule in step.by:
            fact = _fact(ctx, rule)
            if fact.relation != "=":
                raise ProofError("an inequality cannot be used for rewriting")
            rewritten = current.xreplace({fact.lhs: fact.rhs})
            if rewritten == current:  # an equation may as well be used on the other side
                target = new.xreplace({fact.lhs: fact.rhs})
                if target == new:
                    raise ProofError(f"{fact.procedure}: its left side does not occur: {fact.lhs}")
                new = ctx.term(target)
            # Admitted again: what is put in may hold a name that is bound around the place.
            current, grade = ctx.term(rewritten), weakest(grade, fact.grade)
            names.append(fact.procedure)
        if current != new:
            if not ctx.zero(current - new):
                raise Undecided("the two sides are not shown to be equal")
            names.append(_algebra_name(ctx, current, new))
        return grade, ", ".join(dict.fromkeys(names)) or "identity"
    return _check_inequality(ctx, previous, step, new)


def _check_inequality(ctx: Context, previous: sp.Expr, step: Step, new: sp.Expr) -> tuple[str, str]:
    grade, names, strict = "exact", [], False
    rest = new - previous
    for coefficient, rule in step.by:
        fact = _fact(ctx, rule)
        c = ctx.term(coefficient)
        if fact.relation != "=":
            ctx.require(ctx.nonnegative(c), f"cannot show that the coefficient {c} is >= 0")
        if fact.relation == "<" and ctx.algebra.nonnegative(c, strict=True):
            strict = True
        rest = rest - c * (fact.rhs - fact.lhs)
        grade = weakest(grade, fact.grade)
        names.append(fact.procedure)
    if ctx.zero(rest):
        names.append(_algebra_name(ctx, previous, new))
        if step.relation == "<" and not strict:
            raise Undecided("only the weak inequality is shown")
    else:
        need = step.relation == "<" and not strict
        ctx.require(
            ctx.algebra.nonnegative(rest, strict=need),
            "the difference is not shown to be " + ("positive" if need else "non-negative"),
        )
        names.append("positivity by slacks")
    return grade, ", ".join(dict.fromkeys(names))


def _algebra_name(ctx: Context, *terms: sp.Expr) -> str:
    """Which part of the normal form a comparison needed, for the reader of the derivation."""
    if any(t.atoms(sp.Indexed) and t.atoms(sp.Sum) for t in terms):
        return "sum normal form"
    powers = (x.exp for t in terms for x in t.atoms(sp.Pow))
    plain = all(e.is_Integer or (e.free_symbols and ctx.domain.is_integer(e)) for e in powers)
    plain = plain and not any(t.has(sp.exp) for t in terms)
    return "rational zero test" if plain else "algebraic zero test"


def _fact(ctx: Context, rule: Any) -> Fact:
    if not any(type(rule) is known for known in RULES):
        raise ProofError(f"{type(rule).__name__} is not one of the kernel's rules")
    fact: Fact = type(rule).prove(settled(rule), ctx)
    return fact


def _check_cases(ctx: Context, claim: Claim, proof: Cases, log: list[StepReport]) -> str:
    whole = ctx.domain.variable(proof.variable)
    if not isinstance(whole, Integer):
        raise ProofError("cases split an integer variable")
    expected, grade = sp.sympify(whole.low), "exact"
    for number, (part, inner) in enumerate(proof.parts):
        if type(part) is not Integer:
            raise ProofError(f"case {number + 1} is not a range of integers")
        if part.symbol != proof.variable or sp.expand(sp.sympify(part.low) - expected) != 0:
            raise ProofError(f"case {number + 1} does not start at {expected}")
        for end in (part.low, part.high):
            if end is not None and not ctx.domain.is_integer(end):
                raise ProofError(f"case {number + 1}: the bound {end} is not an integer")
        last = number == len(proof.parts) - 1
        if last:
            if part.high != whole.high and sp.expand(sp.sympify(part.high) - whole.high) != 0:
                raise ProofError("the last case does not end at the upper bound")
        elif part.high is None:
            raise ProofError("only the last case may be unbounded")
        else:
            # Later cases must start inside or just past the range, never beyond a gap.
            expected = sp.sympify(part.high) + 1
        if part.low == part.high:  # one value: put it in
            value = {proof.variable: sp.sympify(part.low)}
            if ctx.domain.shapes(proof.variable) or ctx.domain.group is not None:
                raise ProofError(f"{proof.variable} bounds other variables or shapes the group")
            domain = ctx.domain.without(proof.variable)
            inside = Context(domain, ctx.ledger)
            one = Claim(claim.lhs.subs(value), claim.relation, claim.rhs.subs(value))
            grade = weakest(grade, check_proof(inside, one, inner, log))
        else:
            domain = ctx.domain.replaced(proof.variable, part)
            inside = Context(domain, ctx.ledger)
            grade = weakest(grade, check_proof(inside, claim, inner, log))
    if not proof.parts:
        raise ProofError("no cases")
    return grade


def _check_induction(ctx: Context, claim: Claim, proof: Induction, log: list[StepReport]) -> str:
    n = proof.variable
    whole = ctx.domain.variable(n)
    if not isinstance(whole, Integer) or whole.high is not None or ctx.hypothesis is not None:
        raise ProofError("induction runs over an integer variable without upper bound")
    if not ctx.domain.is_integer(whole.low):
        raise ProofError(f"induction cannot start at {whole.low}")
    if ctx.domain.shapes(n) or ctx.domain.group:
        raise ProofError(f"{n} bounds other variables or shapes the group")
    start = {n: sp.sympify(whole.low)}
    base = Claim(claim.lhs.subs(start), claim.relation, claim.rhs.subs(start))
    ground = Context(ctx.domain.without(n), ctx.ledger)
    grade = check_proof(ground, base, proof.base, log)
    following = Claim(claim.lhs.subs(n, n + 1), claim.relation, claim.rhs.subs(n, n + 1))
    stepping = Context(ctx.domain, ctx.ledger, claim)
    return weakest(grade, check_proof(stepping, following, proof.step, log))
