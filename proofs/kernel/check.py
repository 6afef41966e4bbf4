"""The verdict on a theorem: computed from its derivation, samples, mutants and witnesses."""

from __future__ import annotations

import re
import reprlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from fractions import Fraction
from itertools import chain
from typing import Any, get_args, get_origin, get_type_hints

import sympy as sp
from sympy.core.cache import clear_cache

from proofs.kernel.context import Context, weakest
from proofs.kernel.domain import (
    Array,
    Assumption,
    Domain,
    Draws,
    Group,
    Integer,
    Point,
    Real,
    Table,
    as_point,
)
from proofs.kernel.errors import MalformedTheorem, ProofError, UndefinedValue, Unsupported
from proofs.kernel.names import check_function
from proofs.kernel.rules import RULES
from proofs.kernel.semantics import compare, difference, evaluate, forget, show
from proofs.kernel.terms import DefiniteIntegral, Slope
from proofs.kernel.theorem import (
    Cases,
    Chain,
    Claim,
    Clause,
    Induction,
    Mutant,
    Reference,
    Refutation,
    Step,
    StepReport,
    Theorem,
    check_proof,
    clause_context,
)
from proofs.kernel.wellformed import check_classes, check_form

__all__ = ["MutantReport", "Report", "check_fields", "check_theorem"]

SAMPLES = 50
MUTANT_POINTS = 200
ID = re.compile(r"[a-z]+\.[a-z0-9]+(-[a-z0-9]+)*\Z")


@dataclass
class MutantReport:
    name: str
    refuted: bool
    witness: str


@dataclass
class Report:
    """What the kernel found out about one theorem."""

    theorem: Theorem
    verdict: str = "open"  # proved, refuted, open
    grade: str | None = None
    steps: list[tuple[str, StepReport]] = field(default_factory=list)  # (clause, step)
    mutants: list[MutantReport] = field(default_factory=list)
    witness: str | None = None
    samples: int = 0
    cases: int = 0  # exact cases of the first-principles check
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    grades: dict[str, str] = field(default_factory=dict)

    def clause(self, name: str) -> tuple[Clause, str]:
        """For :class:`rules.Instance`: a clause of a theorem that has been established."""
        for clause in self.theorem.clauses:
            if clause.name == name:
                if self.verdict not in ("proved", "refuted") or name not in self.grades:
                    raise ProofError(f"{self.theorem.id} is {self.verdict}")
                return clause, self.grades[name]
        raise ProofError(f"{self.theorem.id} has no clause {name!r}")


def check_theorem(
    theorem: Theorem, ledger: Mapping[str, Report], *, first_principles: bool = True
) -> Report:
    """Check everything about one theorem. Never raises for a wrong theorem: it stays open."""
    started = time.perf_counter()
    report = Report(theorem)
    ledger = _Watched(ledger)
    # A cache finds a term by equality, and might find an author's in place of ours.
    clear_cache()
    forget()
    try:
        check_fields(theorem)
        _check_types(theorem)
        _check_form(theorem)
        for clause in theorem.clauses:
            _check_clause(clause, ledger, report)
        _check_refutations(theorem, report)
        _check_mutants(theorem, ledger, report)
        _check_uses(theorem, ledger)
        if first_principles:
            report.cases = _first_principles(theorem)
    except (ProofError, UndefinedValue, AssertionError) as problem:
        report.problems.append(f"{type(problem).__name__}: {problem}")
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        NotImplementedError,
        RecursionError,
        TypeError,
        SystemError,
        ValueError,
        sp.PolynomialError,
    ) as problem:  # ill-formed input must not look like success
        report.problems.append(f"{type(problem).__name__}: {problem}")
    if not report.problems:
        report.verdict = "refuted" if theorem.refutes else "proved"
        inherited = (ledger[used].grade for used in theorem.uses)
        report.grade = weakest(*report.grades.values(), *(g for g in inherited if g))
    report.seconds = time.perf_counter() - started
    return report


def _first_principles(theorem: Theorem) -> int:
    if theorem.check is None:
        raise MalformedTheorem("there is no first-principles check")
    cases = theorem.check()
    if type(cases) is not int or cases < 1:
        raise MalformedTheorem(
            f"the first-principles check must count its cases, at least one; got {cases!r}"
        )
    return cases


class _Watched(dict[str, Report]):
    """The ledger, noting which theorems a derivation really used."""

    def __init__(self, ledger: Mapping[str, Report]) -> None:
        super().__init__(ledger)
        self.used: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        if key in self:
            self.used.add(key)
        return super().get(key, default)


# -- form ----------------------------------------------------------------------------------------


_PARTS = (Theorem, Clause, Claim, Chain, Cases, Induction, Step, Mutant, Refutation, Reference,
          Domain, Integer, Real, Group, Table, Array, Assumption, Draws, *RULES)  # fmt: skip
_ATOMS = (str, int, bool, float, Fraction, type(None))


def check_fields(theorem: Theorem) -> None:
    """Raise unless every field holds what it is declared to hold: text, or a tuple of parts.

    A text where a tuple belongs would be taken apart letter by letter.
    """
    _check_fields(theorem, theorem.id if type(theorem.id) is str else "the theorem")


def _check_fields(part: Any, where: str) -> None:
    hints = get_type_hints(type(part))
    for f in fields(part):
        value = getattr(part, f.name)
        if f.name == "check" and type(part) is Theorem:
            if value is not None and not callable(value):
                raise MalformedTheorem(f"{where}: check must be a function; got {value!r}")
            continue
        _check_field(value, hints[f.name], f"{where}: {f.name}")


def _check_field(value: Any, hint: Any, where: str) -> None:
    many = get_origin(hint) is tuple and get_args(hint)[1:] == (Ellipsis,)
    kinds = (tuple,) if many else tuple(k for k in (get_args(hint) or (hint,)) if k is not Any)
    if kinds and not _is_any(value, kinds) and all(isinstance(k, type) for k in kinds):
        names = {str: "text", tuple: "a tuple (with a comma, if it has one part)"}
        wanted = " or ".join(names.get(k, f"a {k.__name__}") for k in kinds)
        raise MalformedTheorem(f"{where} must be {wanted}; got {reprlib.repr(value)}")
    if many:
        for n, part in enumerate(value):
            _check_field(part, get_args(hint)[0], f"{where}[{n}]")
    elif _is_any(value, (Clause, Refutation, Mutant, Reference)):
        _check_fields(value, where)


def _is_any(value: Any, kinds: tuple[type, ...]) -> bool:
    """By identity: ``in`` would ask the author's own ``__eq__``."""
    return any(type(value) is kind for kind in kinds)


def _check_types(value: Any) -> None:
    """Every part is of the kernel's own type, and cannot change once it was looked at.

    A subclass could say one thing and mean another; so could a list, a moment later.
    """
    if _is_any(value, _PARTS):
        for f in fields(value):
            if not (type(value) is Theorem and f.name == "check"):
                _check_types(getattr(value, f.name))
        if type(value) is Domain:
            Domain(*value.declarations)  # its rules of form hold
    elif type(value) is tuple:
        for part in value:
            _check_types(part)
    elif isinstance(value, list | dict):
        raise MalformedTheorem(
            f"a part that can change: write a tuple (or sympy.Dict): {reprlib.repr(value)}"
        )
    elif isinstance(value, sp.Basic):
        check_classes(value)
    elif isinstance(value, sp.core.function.FunctionClass):
        check_function(value)
    elif not _is_any(value, _ATOMS):
        raise MalformedTheorem(f"{type(value).__name__} is no part of a theorem: {value!r}")


def _check_form(theorem: Theorem) -> None:
    if not ID.match(theorem.id):
        raise MalformedTheorem(f"{theorem.id!r} is not of the form topic.slug")
    if not theorem.clauses and not theorem.refutes:
        raise MalformedTheorem("nothing is stated")
    if not theorem.words or not theorem.title:
        raise MalformedTheorem("title and statement in words are needed")
    if theorem.refutes and not theorem.corrected_by:
        raise MalformedTheorem("a refutation names the theorem that is true instead")
    if len(theorem.mutants) < 2:
        raise MalformedTheorem("at least two mutants are needed")
    names = [c.name for c in theorem.clauses] + [r.name for r in theorem.refutes]
    if len(set(names)) != len(names):
        raise MalformedTheorem("clause names repeat")
    parts: tuple[Clause | Refutation, ...] = (*theorem.clauses, *theorem.refutes)
    for part in parts:
        _check_symbols(part.domain, part.claim)


def _check_symbols(domain: Domain, claim: Claim) -> None:
    for n, d in enumerate(domain.declarations):
        bounds = (d.low, d.high) if isinstance(d, Integer | Real | Array) else ()
        for bound in bounds:  # each has a value wherever the earlier variables have one
            if bound is not None and not bound.is_Atom:
                Context(Domain.internal(*domain.declarations[:n])).term(bound)
        if isinstance(d, Assumption):
            before = Domain.internal(*domain.declarations[:n])
            shape = before.arrays[d.array].shape
            ranges = (Integer(i, 1, n) for i, n in zip(d.indices, shape, strict=True))
            Context(before).inside(*ranges).term(d.value)
    check_form(domain, claim.lhs)
    check_form(domain, claim.rhs)
    if claim.lhs == claim.rhs:
        raise MalformedTheorem("both sides are the same term")


# -- clauses -------------------------------------------------------------------------------------


def _check_clause(clause: Clause, ledger: Any, report: Report) -> None:
    log: list[StepReport] = []
    try:
        ctx, given = clause_context(clause, clause.domain, ledger)
        grade = weakest(given, check_proof(ctx, clause.claim, clause.proof, log))
    except ProofError as problem:
        raise type(problem)(f"{clause.name}: {problem}") from None
    report.steps += [(clause.name, step) for step in log]
    report.samples += _sample(clause.name, clause.domain, clause.claim)
    report.grades[clause.name] = grade


def _sample(name: str, domain: Domain, claim: Claim) -> int:
    """Evaluate at exact points, 50 digits. A false value is a bug of the kernel: report it."""
    wanted = SAMPLES if domain.declarations else 1
    count = 0
    seen: set[str] = set()
    near = _numbers(domain, claim)
    for point in domain.points(name, wanted, near):
        seen.add(_show_point(point))
        _look(name, claim, point)
        count += 1
    if any(isinstance(d, Real | Array) and d.samples for d in domain.declarations):
        # The author says where both sides can be evaluated; the kernel looks elsewhere as well.
        for point in domain.points(f"{name} anywhere", wanted, near, anywhere=True):
            with suppress(Unsupported):
                _look(name, claim, point, strictly=False)
    if count < wanted:
        raise MalformedTheorem(f"{name}: only {count} points found in the domain (vacuous?)")
    if domain.variables and len(seen) < 2 and not _single(domain):
        raise MalformedTheorem(f"{name}: all samples are the same point")
    return count


def _look(name: str, claim: Claim, point: Point, strictly: bool = True) -> None:
    """Raise if the claim is false there; ``strictly`` also if "<" cannot be told from "="."""
    truth = compare(claim.lhs, claim.relation, claim.rhs, point)
    if truth is False or (truth is None and claim.relation == "<" and strictly):
        raise ProofError(f"{name}: false at {_show_point(point)}")


def _numbers(domain: Domain, claim: Claim) -> tuple[int, ...]:
    """Integers that the statement mentions: a mistake at one of them must not go unnoticed."""
    sums = [s for side in (claim.lhs, claim.rhs) for s in side.atoms(sp.Sum)]
    largest = 1000
    if all(_is_polynomial(side) for side in (claim.lhs, claim.rhs)):
        largest = 10**18  # quick to evaluate anywhere
    if domain.sizes or any(s.function.has(sp.Sum) for s in sums):
        largest = 20  # a group, or a sum of sums, of a larger size would take too long
    found = {int(n) for side in (claim.lhs, claim.rhs) for n in side.atoms(sp.Integer)}
    return tuple(sorted(n for n in found if abs(n) <= largest))


def _is_polynomial(e: sp.Expr) -> bool:
    if type(e) in (sp.Add, sp.Mul):
        return all(map(_is_polynomial, e.args))
    if type(e) is sp.Pow:
        return bool(e.exp.is_Integer) and abs(e.exp) < 100 and _is_polynomial(e.base)
    return bool(e.is_Symbol or e.is_Rational)


def _single(domain: Domain) -> bool:
    """Every variable is fixed by its bounds."""
    return all(domain.constant(v.symbol) is not None for v in domain.variables)


def _show_point(point: Point) -> str:
    shown = []
    for key, value in point.items():
        if key in ("group", "draws"):
            continue
        if callable(value):
            table = []
            for n in range(6):
                with suppress(UndefinedValue):
                    table.append(f"{n}: {value(n)}")
            shown.append(f"{key}: {{{', '.join(table)}}}")
        elif isinstance(value, list) and value and isinstance(value[0], list):
            shown.append(f"{key} = [{', '.join(show(row) for row in value)}]")
        else:
            shown.append(f"{key} = {show(value)}")
    return "; ".join(shown) or "(closed statement)"


# -- refutations and mutants ---------------------------------------------------------------------


def _check_refutations(theorem: Theorem, report: Report) -> None:
    shown = []
    for r in theorem.refutes:
        point = as_point(r.witness)
        point |= r.domain.randomness
        outside = r.domain.contains(point)
        if outside:
            raise ProofError(f"{r.name}: the witness is outside the domain: {outside}")
        _check_defined(Context(r.domain), r.claim)
        if compare(r.claim.lhs, r.claim.relation, r.claim.rhs, point) is not False:
            raise ProofError(f"{r.name}: the claim holds at the witness")
        gap = difference(r.claim.lhs, r.claim.rhs, point)
        report.grades[r.name] = "exact" if type(gap).__name__ == "fmpq" else "rigorous"
        left, right = (show(evaluate(side, point)) for side in (r.claim.lhs, r.claim.rhs))
        shown.append(f"{_show_point(point)}: left side {left}, right side {right}")
    if shown:
        report.witness = " | ".join(shown)


def _check_defined(ctx: Context, claim: Claim) -> None:
    """A value at one point does not say that a derivative or an integral exists on the domain."""
    for side in (claim.lhs, claim.rhs):
        if side.has(sp.Derivative, Slope, DefiniteIntegral):
            ctx.term(side)


def _check_mutants(theorem: Theorem, ledger: Any, report: Report) -> None:
    statements: tuple[Clause | Refutation, ...] = (*theorem.clauses, *theorem.refutes)
    parts = {p.name: p for p in statements}
    seen: list[tuple[str, Claim, Domain]] = []
    for m in theorem.mutants:
        if m.of not in parts:
            raise MalformedTheorem(f"mutant {m.name!r} is of an unknown clause {m.of!r}")
        original = parts[m.of]
        claim, domain = mutated(m, original)
        if claim == original.claim and domain.means(original.domain):
            raise MalformedTheorem(f"mutant {m.name!r} changes nothing")
        if any(m.of == of and claim == c and domain.means(d) for of, c, d in seen):
            raise MalformedTheorem(f"mutant {m.name!r} says the same as one before it")
        seen.append((m.of, claim, domain))
        try:
            _check_symbols(domain, claim)
            if isinstance(original, Clause):
                _check_defined(clause_context(original, domain, ledger)[0], claim)
            else:
                _check_defined(Context(domain), claim)
        except ProofError as problem:
            raise type(problem)(f"mutant {m.name!r}: {problem}") from None
        # A refuted claim's own witness is the first point tried for its mutants.
        points = [as_point(original.witness)] if isinstance(original, Refutation) else []
        witness = _falsify(domain, claim, m.name, points, original.domain)
        report.mutants.append(MutantReport(m.name, witness is not None, witness or ""))
        if witness is None:
            raise ProofError(f"mutant {m.name!r} was not refuted")
        if isinstance(original, Clause) and isinstance(original.proof, Chain):
            _refuse_mutant(original, claim, domain, m, ledger)


def mutated(m: Mutant, original: Any) -> tuple[Claim, Domain]:
    c = original.claim
    claim = Claim(
        c.lhs if m.lhs is None else m.lhs,
        c.relation if m.relation is None else m.relation,
        c.rhs if m.rhs is None else m.rhs,
    )
    return claim, original.domain if m.domain is None else m.domain


def _falsify(
    domain: Domain, claim: Claim, seed: str, first: list[Any], original: Domain
) -> str | None:
    """An exact point of the domain where the claim is false.

    Having no value there counts only at a point that an assumption of the original excludes.
    """
    first = [{**p, **domain.randomness} for p in first]
    candidates = [p for p in first if domain.contains(p) is None]
    for point in chain(candidates, domain.points(f"mutant {seed}", MUTANT_POINTS)):
        try:
            if compare(claim.lhs, claim.relation, claim.rhs, point) is False:
                left, right = (show(evaluate(s, point)) for s in (claim.lhs, claim.rhs))
                return f"{_show_point(point)}: left side {left}, right side {right}"
        except Unsupported:
            continue
        except UndefinedValue as problem:
            if original.excludes(point):
                return f"{_show_point(point)}: undefined ({problem})"
    return None


def _refuse_mutant(original: Clause, claim: Claim, domain: Domain, m: Mutant, ledger: Any) -> None:
    """The original derivation, bent to end at the mutated statement, must not be accepted."""
    steps = list(original.proof.steps)
    last = steps[-1]
    steps[-1] = type(last)(last.text, last.relation, claim.rhs, last.by)
    if domain == original.domain and claim.relation == original.claim.relation:
        # Only the first and last line read differently: checking the mutated one decides.
        if claim.lhs == original.claim.lhs and len(steps) > 1:
            claim = Claim(steps[-2].expr, last.relation, claim.rhs)
            steps = steps[-1:]
        elif claim.rhs == original.claim.rhs:
            claim = Claim(claim.lhs, steps[0].relation, steps[0].expr)
            steps = steps[:1]
    try:
        bent = Chain(tuple(steps))
        ctx, _ = clause_context(original, domain, ledger)
        check_proof(ctx, claim, bent, [])
    except (ProofError, ArithmeticError, TypeError, ValueError):
        return
    raise ProofError(f"the kernel accepted the mutant {m.name!r}: this is a bug of the kernel")


def _check_uses(theorem: Theorem, ledger: _Watched) -> None:
    if set(theorem.uses) != ledger.used:
        raise MalformedTheorem(
            f"uses says {sorted(theorem.uses)}, the derivation used {sorted(ledger.used)}"
        )
