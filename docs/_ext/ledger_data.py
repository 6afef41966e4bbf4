"""The checked ledger as plain text and TeX, detached from the proof objects."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ledger_tex import abbreviations, function_name, relation, tex

from proofs.kernel.domain import COORDINATE, D
from proofs.ledger import TOPICS, check_ledger, theorems

__all__ = ["Entry", "Ledger", "fingerprint", "run_ledger"]

Heading = tuple[tuple[str, str], ...]
Line = tuple[Heading, Any, Any]  # heading, first term of a chain (or None), step

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class StepEntry:
    text: str
    procedure: str
    grade: str
    seconds: float
    tex: str
    rules: tuple[str, ...]
    heading: tuple[tuple[str, str], ...] = ()  # (word, TeX): "Case" G = 2, …; where it changes
    start: str = ""  # the term that a chain starts from, at its first step


@dataclass(frozen=True)
class ClauseEntry:
    name: str
    words: str
    domain: tuple[str, ...]
    statement: str
    where: tuple[str, ...]  # definitions of the abbreviations used
    long_form: str  # spelled out; "" if there is nothing to spell out
    grade: str
    steps: tuple[StepEntry, ...]


@dataclass(frozen=True)
class RefutationEntry:
    name: str
    words: str
    domain: tuple[str, ...]
    claim: str
    where: tuple[str, ...]
    long_form: str
    witness: str


@dataclass(frozen=True)
class MutantEntry:
    name: str
    refuted: bool
    witness: str


@dataclass(frozen=True)
class Entry:
    """One theorem, checked."""

    id: str
    topic: str
    title: str
    words: str
    verdict: str
    grade: str
    assumptions: tuple[str, ...]
    clauses: tuple[ClauseEntry, ...]
    refutations: tuple[RefutationEntry, ...]
    mutants: tuple[MutantEntry, ...]
    uses: tuple[str, ...]
    corrected_by: tuple[str, ...]
    references: tuple[str, ...]
    implements: tuple[str, ...]
    check: str  # qualified name of the first-principles check
    cases: int
    samples: int
    seconds: float
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Ledger:
    fingerprint: str
    topics: tuple[str, ...] = ()
    seconds: float = 0.0
    entries: dict[str, Entry] = field(default_factory=dict)

    def topic(self, name: str) -> list[Entry]:
        return [e for e in self.entries.values() if e.topic == name]

    def used_by(self, identifier: str) -> list[str]:
        return [e.id for e in self.entries.values() if identifier in e.uses]

    def corrects(self, identifier: str) -> list[str]:
        return [e.id for e in self.entries.values() if identifier in e.corrected_by]


def fingerprint() -> str:
    """Changes when a proof, a function or a library that the kernel relies on changes."""
    digest = hashlib.sha256(platform.python_version().encode())
    for package in ("sympy", "python-flint", "mpmath"):
        digest.update(f"{package} {version(package)}".encode())
    for folder in ("proofs", "identity", "docs/_ext"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def run_ledger(known: Ledger | None = None) -> Ledger:
    """Check every theorem, unless nothing changed since ``known``."""
    key = fingerprint()
    if known is not None and known.fingerprint == key:
        return known
    started = time.perf_counter()
    reports = check_ledger(theorems(), jobs=min(2, os.cpu_count() or 1))
    entries = {name: _entry(report) for name, report in reports.items()}
    return Ledger(key, TOPICS, time.perf_counter() - started, entries)


def _entry(report: Any) -> Entry:
    theorem = report.theorem
    steps: dict[str, list[Any]] = {}
    for clause, step in report.steps:
        steps.setdefault(clause, []).append(step)
    witnesses = (report.witness or "").split(" | ")
    witnesses += [""] * len(theorem.refutes)
    check = getattr(theorem.check, "func", theorem.check)  # of a partial, what it calls
    return Entry(
        id=theorem.id,
        topic=theorem.topic,
        title=theorem.title,
        words=theorem.words,
        verdict=report.verdict,
        grade=report.grade or "",
        assumptions=tuple(theorem.assumptions),
        clauses=tuple(
            _clause(theorem.topic, c, report.grades.get(c.name, ""), steps.get(c.name, []))
            for c in theorem.clauses
        ),
        refutations=tuple(
            RefutationEntry(
                r.name, r.words, _domain(r.domain), *_statement(theorem.topic, r.claim), witness
            )
            for r, witness in zip(theorem.refutes, witnesses, strict=False)
        ),
        mutants=tuple(MutantEntry(m.name, m.refuted, m.witness) for m in report.mutants),
        uses=tuple(theorem.uses),
        corrected_by=tuple(theorem.corrected_by),
        references=tuple(r.words() for r in theorem.references),
        implements=tuple(theorem.implements),
        check="" if check is None else f"{check.__module__}.{check.__qualname__}",
        cases=report.cases,
        samples=report.samples,
        seconds=report.seconds,
        problems=tuple(report.problems),
    )


def _domain(domain: Any) -> tuple[str, ...]:
    """D and d come with every score vector; the page says so once, in the notation."""
    lines = []
    for declaration in domain.declarations:
        if hasattr(declaration, "function"):
            name = function_name(declaration.function.__name__)
            lines.append(rf"{name}: \mathbb{{Z}} \to \mathbb{{R}}\ \text{{arbitrary}}")
        elif getattr(declaration, "symbol", None) not in (D, COORDINATE):
            lines.append(declaration.latex())
    return tuple(lines)


def _statement(topic: str, claim: Any) -> tuple[str, tuple[str, ...], str]:
    names = abbreviations(topic)
    left, used_left = names.shorten(claim.lhs)
    right, used_right = names.shorten(claim.rhs)
    sign = relation(claim.relation)
    short = f"{tex(left)} {sign} {tex(right)}"
    used = names.closure(tuple(dict.fromkeys((*used_left, *used_right))))
    if left == right:  # the abbreviation would hide what is proved
        return f"{tex(claim.lhs)} {sign} {tex(claim.rhs)}", (), ""
    if not used:
        return short, (), ""
    where = tuple(names.definition(s) for s in used)
    return short, where, f"{tex(claim.lhs)} {sign} {tex(claim.rhs)}"


def _clause(topic: str, clause: Any, grade: str, reports: list[Any]) -> ClauseEntry:
    names = abbreviations(topic)
    lines = list(_lines(clause.proof, clause.claim.lhs, clause.domain, ()))
    if reports and len(lines) != len(reports):
        raise ValueError(f"{clause.name}: {len(lines)} steps written, {len(reports)} checked")
    steps: list[StepEntry] = []
    previous: Heading = ()
    short_forms: list[str] = []
    for n, (heading, start, step) in enumerate(lines):
        report = reports[n] if reports else None
        shown = tex(names.shorten(step.expr)[0])
        before = short_forms[-1] if short_forms and start is None else None
        if start is not None:
            before = tex(names.shorten(start)[0])
        # Two lines that differ only inside an abbreviation are shown spelled out.
        if shown == before:
            shown = tex(step.expr)
        short_forms.append(shown)
        steps.append(
            StepEntry(
                text=step.text,
                procedure=report.procedure if report else "not checked",
                grade=report.grade if report else "",
                seconds=report.seconds if report else 0.0,
                tex=f"{relation(step.relation)} {shown}",
                rules=_rules(step),
                heading=heading if heading != previous else (),
                start="" if start is None else before or "",
            )
        )
        previous = heading
    return ClauseEntry(
        clause.name,
        clause.words,
        _domain(clause.domain),
        *_statement(topic, clause.claim),
        grade,
        tuple(steps),
    )


def _lines(proof: Any, lhs: Any, domain: Any, heading: Heading) -> Iterator[Line]:
    """The steps of a derivation in the order in which the kernel reports them."""
    kind = type(proof).__name__
    if kind == "Chain":
        for n, step in enumerate(proof.steps):
            yield heading, (lhs if n == 0 else None), step
    elif kind == "Cases":
        n = proof.variable
        for part, inner in proof.parts:
            if part.high is None:
                label = rf"{tex(n)} \ge {tex(part.low)}"
            elif part.low == part.high:
                label = f"{tex(n)} = {tex(part.low)}"
            else:
                label = rf"{tex(part.low)} \le {tex(n)} \le {tex(part.high)}"
            start = lhs.subs(n, part.low) if part.low == part.high else lhs
            yield from _lines(inner, start, domain, (*heading, ("Case", label)))
    elif kind == "Induction":
        n = proof.variable
        low = domain.variable(n).low
        base = (*heading, ("Base case", f"{tex(n)} = {tex(low)}"))
        yield from _lines(proof.base, lhs.subs(n, low), domain, base)
        step = (*heading, ("Induction step", rf"{tex(n)} \to {tex(n + 1)}"))
        yield from _lines(proof.step, lhs.subs(n, n + 1), domain, step)
    else:
        raise TypeError(f"no way to show a {kind}")


def _rules(step: Any) -> tuple[str, ...]:
    """Names of the rules that a step applies, in order, without repetition."""
    found = []
    for item in step.by:
        rule = item[1] if isinstance(item, tuple) else item
        found.append(type(rule).__name__)
    return tuple(dict.fromkeys(found))
