"""What is said about a report: the JSON of ``prove --json`` and the lines of ``explain``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import sympy as sp

from identity import __version__
from proofs.kernel.check import Report
from proofs.kernel.domain import names_of
from proofs.kernel.theorem import Cases, Chain, Clause, Induction, Refutation, StepReport, Theorem
from proofs.ledger import TOPICS
from proofs.lock import State
from proofs.plain import Plain, shown_symbol

__all__ = ["Outcome", "Section", "explanation", "outcome", "printer", "to_json"]

UNLOCKED = State("unlocked")  # a theorem that a user wrote: there is nothing to compare it with


# -- all reports together ------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a run of the checker amounts to."""

    proved: int
    refuted: int
    open: int
    mutants: int
    mutants_refuted: int
    stale: int
    missing: int
    orphans: tuple[str, ...]  # locked, but no longer in the ledger

    @property
    def good(self) -> bool:
        survivors = self.mutants - self.mutants_refuted
        return not (self.open or survivors or self.stale or self.missing or self.orphans)


def outcome(
    reports: Iterable[Report], states: Mapping[str, State], orphans: Sequence[str] = ()
) -> Outcome:
    reports = list(reports)
    mutants = [m for r in reports for m in r.mutants]
    verdicts = [r.verdict for r in reports]
    found = [states.get(r.theorem.id, UNLOCKED).name for r in reports]
    return Outcome(
        proved=verdicts.count("proved"),
        refuted=verdicts.count("refuted"),
        open=len(verdicts) - verdicts.count("proved") - verdicts.count("refuted"),
        mutants=sum(max(len(r.mutants), len(r.theorem.mutants)) for r in reports),
        mutants_refuted=sum(m.refuted for m in mutants),
        stale=found.count("stale"),
        missing=found.count("missing"),
        orphans=tuple(orphans),
    )


def to_json(
    reports: Sequence[Report],
    states: Mapping[str, State],
    total: Outcome,
    seconds: float,
) -> dict[str, Any]:
    """The one object that ``prove --json`` prints; docs/cli.md describes it field by field."""
    return {
        "version": __version__,
        "seconds": round(seconds, 3),
        "ok": total.good,
        "summary": {
            "proved": total.proved,
            "refuted": total.refuted,
            "open": total.open,
            "mutants": total.mutants,
            "mutants_refuted": total.mutants_refuted,
            "stale": total.stale,
            "missing_in_lock": total.missing,
            "only_in_lock": list(total.orphans),
        },
        "theorems": [_theorem(r, states.get(r.theorem.id, UNLOCKED)) for r in reports],
    }


def _theorem(report: Report, state: State) -> dict[str, Any]:
    theorem = report.theorem
    return {
        "id": theorem.id,
        "topic": theorem.topic,
        "title": theorem.title,
        "verdict": report.verdict,
        "grade": report.grade,
        "assumptions": list(theorem.assumptions),
        "statement": theorem.words,
        "clauses": [_part(c) for c in theorem.clauses],
        "refuted_claims": [
            {**_part(r), "witness": {str(k): str(v) for k, v in r.witness}} for r in theorem.refutes
        ],
        "steps": [_step(clause, step) for clause, step in report.steps],
        "uses": list(theorem.uses),
        "references": [r.words() for r in theorem.references],
        "implements": list(theorem.implements),
        "mutants": [
            {"name": m.name, "of": m.of, "refuted": refuted, "witness": witness}
            for m, refuted, witness in mutants(report)
        ],
        "witness": report.witness,
        "corrected_by": list(theorem.corrected_by),
        "samples": report.samples,
        "first_principles_cases": report.cases,
        "problems": list(report.problems),
        "lock": {"state": state.name, "changes": list(state.changes)},
        "stale": state.name in ("stale", "missing"),
        "seconds": round(report.seconds, 4),
    }


def _part(part: Clause | Refutation) -> dict[str, Any]:
    return {
        "name": part.name,
        "words": part.words,
        "domain": part.domain.words(),
        "claim": Plain().claim(part.claim),
        "latex": part.claim.latex(),
    }


def _step(clause: str, step: StepReport) -> dict[str, Any]:
    return {
        "text": step.text,
        "procedure": step.procedure,
        "seconds": round(step.seconds, 4),
        "clause": clause,
        "relation": step.relation,
        "latex": step.latex,
        "grade": step.grade,
    }


def mutants(report: Report) -> Iterator[tuple[Any, bool, str]]:
    """Every mutant of the theorem; one that was not reached counts as not refuted."""
    seen = iter(report.mutants)  # in the same order, up to the first that survived
    for mutant in report.theorem.mutants:
        found = next(seen, None)
        yield mutant, bool(found and found.refuted), found.witness if found else ""


# -- one report, explained -----------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A clause or refuted claim as lines of text: (indentation, text)."""

    heading: str
    lines: tuple[tuple[int, str], ...]


LETTERS = {
    "mu": "μ",
    "sigma": "σ",
    "bessel": "t",
    "contrast": "Δs",
    "correct_mean": "s̄₊",
    "wrong_mean": "s̄₋",
}


@cache
def _notation() -> tuple[tuple[str, sp.Expr], ...]:
    """Letters for the terms that the topics' ``notation`` modules name."""
    found: dict[str, sp.Expr] = {}
    for topic in TOPICS:
        if find_spec(f"proofs.{topic}.notation") is None:
            continue
        module = import_module(f"proofs.{topic}.notation")
        for name, letter in LETTERS.items():
            term = getattr(module, name, None)
            if isinstance(term, sp.Expr) and term.args:
                found.setdefault(letter, term)
    return tuple(found.items())


def printer(theorem: Theorem) -> Plain:
    """A printer whose letters do not clash with the theorem's own symbols."""
    own: set[str] = set()
    parts: tuple[Clause | Refutation, ...] = (*theorem.clauses, *theorem.refutes)
    for part in parts:
        for term in (part.claim.lhs, part.claim.rhs, *_steps(getattr(part, "proof", None))):
            own |= {shown_symbol(symbol) for symbol in term.atoms(sp.Symbol)}
        for d in part.domain.declarations:
            own |= set(map(shown_symbol, names_of(d)))
    return Plain({term: letter for letter, term in _notation() if letter not in own})


def _steps(proof: Any) -> Iterator[sp.Expr]:
    """Every term that a derivation goes through."""
    if isinstance(proof, Chain):
        yield from (step.expr for step in proof.steps)
    elif isinstance(proof, Cases):
        for _, inner in proof.parts:
            yield from _steps(inner)
    elif isinstance(proof, Induction):
        yield from _steps(proof.base)
        yield from _steps(proof.step)


def explanation(report: Report) -> tuple[list[Section], list[tuple[str, str]]]:
    """Every clause with its derivation, every refuted claim, and the letters that they use."""
    theorem, plain = report.theorem, printer(report.theorem)
    sections = []
    for clause in theorem.clauses:
        logged = [step for name, step in report.steps if name == clause.name]
        grade = report.grades.get(clause.name, "not proved")
        lines = [(0, clause.words)] if clause.words else []
        lines += _domain(clause)
        lines += [(0, f"Claim: {plain.claim(clause.claim)}"), (0, "Proof:")]
        # The chain starts from the left side of the claim.
        lines += _proof(clause.proof, iter(logged), plain, 1)
        sections.append(Section(f"{clause.name} ({grade})", tuple(lines)))
    for refuted in theorem.refutes:
        lines = [(0, refuted.words)] if refuted.words else []
        lines += _domain(refuted)
        lines.append((0, f"Claim: {plain.claim(refuted.claim)}"))
        witness = ", ".join(f"{key} = {value}" for key, value in refuted.witness)
        lines.append((0, f"False at {witness}"))
        grade = report.grades.get(refuted.name, "not established")
        sections.append(Section(f"{refuted.name}: a claim, refuted ({grade})", tuple(lines)))
    return sections, plain.definitions()


def _domain(part: Clause | Refutation) -> list[tuple[int, str]]:
    signs = {">=": "≥", "<=": "≤", "inf)": "∞)", "(-inf": "(−∞"}
    words = "; ".join(part.domain.words(Plain().text)) or "no variables"
    for plain, sign in signs.items():
        words = words.replace(plain, sign)
    return [(0, f"For {words}.")]


def _proof(
    proof: Any, logged: Iterator[StepReport], plain: Plain, depth: int
) -> Iterator[tuple[int, str]]:
    """The steps as written, each with what the kernel noted about it, in the order of checking."""
    if isinstance(proof, Chain):
        for number, step in enumerate(proof.steps, start=1):
            seen = next(logged, None)
            how = f"{seen.procedure}; {seen.grade}" if seen else "not accepted"
            sign = {"<=": "≤"}.get(step.relation, step.relation)
            yield depth, f"{number}. {step.text}  [{how}]"
            yield depth + 1, f"{sign} {plain.text(step.expr)}"
    elif isinstance(proof, Cases):
        for part, inner in proof.parts:
            if part.high is not None and sp.sympify(part.low) == sp.sympify(part.high):
                yield depth, f"Case {part.symbol} = {part.low}:"
            else:
                yield depth, f"Case {part.words().split(', ', 1)[1].replace('<=', '≤')}:"
            yield from _proof(inner, logged, plain, depth + 1)
    elif isinstance(proof, Induction):
        yield depth, f"Induction on {proof.variable}; at its lower bound:"
        yield from _proof(proof.base, logged, plain, depth + 1)
        yield depth, f"from {proof.variable} to {proof.variable} + 1:"
        yield from _proof(proof.step, logged, plain, depth + 1)
    else:
        yield depth, f"not a proof: {type(proof).__name__}"
