"""Facts, and where they hold: what a rule is given, and what it may hand back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import sympy as sp

from proofs.kernel.algebra import Algebra
from proofs.kernel.domain import Domain
from proofs.kernel.errors import ProofError, Undecided
from proofs.kernel.terms import as_term, peel
from proofs.kernel.wellformed import Terms

__all__ = ["GRADES", "Context", "Fact", "limits", "settled", "weakest"]

GRADES = ("exact", "rigorous", "cited", "bounded", "sampled")  # strongest first
_TOKEN = object()  # only a context can admit facts


def weakest(*grades: str) -> str:
    return max(grades, key=GRADES.index, default="exact")


class Fact:
    """``lhs relation rhs`` holds at every point of the context's domain. Made by rules only."""

    __slots__ = ("grade", "lhs", "procedure", "relation", "rhs")

    lhs: sp.Expr
    relation: str
    rhs: sp.Expr
    procedure: str
    grade: str

    def __init__(
        self, lhs: Any, relation: str, rhs: Any, procedure: str, grade: str, token: object
    ) -> None:
        if token is not _TOKEN:
            raise ProofError("facts are admitted by the kernel's rules only")
        if relation not in ("=", "<=", "<"):
            raise ProofError(f"unknown relation {relation}")
        values = (lhs, relation, rhs, procedure, grade)
        names = ("lhs", "relation", "rhs", "procedure", "grade")
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise ProofError("a fact does not change")

    def __repr__(self) -> str:
        return f"Fact({self.lhs} {self.relation} {self.rhs}, {self.procedure}, {self.grade})"


class Context:
    """Where a step is checked: the domain, theorems already proved, the induction hypothesis."""

    def __init__(
        self,
        domain: Domain,
        ledger: Any = None,
        hypothesis: Any = None,
        given: tuple[Fact, ...] = (),
    ) -> None:
        self.domain = domain
        self.ledger = ledger if ledger is not None else {}
        self.hypothesis = hypothesis  # the statement at n, inside an induction step
        self.given = given
        self.algebra = Algebra(domain)
        for fact in given:
            self.algebra.learn_positive(fact.rhs)
        self.terms = Terms(self.algebra, tuple(fact.rhs for fact in given))

    def inside(self, *more: Any) -> Context:
        return Context(self.domain.extended(*more), self.ledger, self.hypothesis, self.given)

    def term(self, value: Any) -> sp.Expr:
        """A term that is well-formed and defined on the whole domain, or an error."""
        return self.terms.admit(value)

    def smooth(self, term: sp.Expr, variable: sp.Symbol) -> None:
        """Raise unless an admitted term is differentiable by a variable, on the whole domain."""
        self.terms.smooth_in(term, variable)

    def zero(self, expr: sp.Expr) -> bool:
        return self.algebra.is_zero(expr)

    def require(self, condition: bool, complaint: str) -> None:
        if not condition:
            raise Undecided(complaint)

    def nonnegative(self, expr: sp.Expr) -> bool:
        return self.algebra.nonnegative(expr)

    def admit(
        self, lhs: Any, relation: str, rhs: Any, procedure: str, grade: str = "exact"
    ) -> Fact:
        """Both sides must be defined: then SymPy's cancelling cannot have changed anything."""
        return Fact(self.term(lhs), relation, self.term(rhs), procedure, grade, _TOKEN)

    def sum(self, total: Any) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
        """Index and limits of a defined sum (its limits are then integers, in order)."""
        var, low, high = limits(total)
        self.term(total)
        return var, low, high


def settled(rule: Any) -> Any:
    """The rule with each field converted once, so that all checks see the same terms."""

    def settle(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(settle(v) for v in value)
        plain = isinstance(value, sp.Basic | sp.core.function.FunctionClass | str | int)
        if plain or value is None or is_dataclass(value):
            return value
        return as_term(value)

    return replace(rule, **{f.name: settle(getattr(rule, f.name)) for f in fields(rule)})


def limits(total: sp.Expr) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
    """Of a sum; of the outer one, if sums are nested."""
    if not isinstance(total, sp.Sum):
        raise ProofError(f"not a sum: {total}")
    _, var, low, high = peel(total)
    return var, low, high
