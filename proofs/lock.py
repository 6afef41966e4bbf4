"""The lock: what every theorem said, and which code implemented it, when it was last proved.

``ledger.lock.json`` holds a SHA-256 of each theorem's statement, words, domain and assumptions, its
verdict and grade, and a SHA-256 of the code of each function that it implements. A theorem is
*fresh* if all of that is as locked, *stale* if something differs, *missing* if it is not in the
lock. ``grpo-identity prove --lock`` writes the file, after everything has been proved.

What is hashed: terms by their structure, with the arguments of sums and products sorted, so that
the order SymPy happens to print in is of no account; code as :mod:`proofs.source` says.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import sympy as sp

from proofs.kernel.check import Report
from proofs.kernel.facts import FACTS
from proofs.kernel.theorem import Claim, Clause, Refutation, Theorem
from proofs.source import SourceError, code_hash

__all__ = [
    "LOCK",
    "LockError",
    "State",
    "compare",
    "entry",
    "read",
    "serial",
    "write",
]

LOCK = Path(__file__).with_name("ledger.lock.json")
FORMAT = 2


class LockError(Exception):
    """The lock file cannot be read or written; the message says why."""


@dataclass(frozen=True)
class State:
    """How a theorem stands against the lock."""

    name: str  # fresh, stale, missing
    changes: tuple[str, ...] = ()

    @property
    def fresh(self) -> bool:
        return self.name == "fresh"


# -- the file ------------------------------------------------------------------------------------


def read(path: Path = LOCK) -> dict[str, dict[str, Any]]:
    """The locked entries by theorem id; none if there is no lock file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise LockError(f"{path} cannot be read: {problem}") from None
    try:
        content = json.loads(text)
    except json.JSONDecodeError as problem:
        raise LockError(
            f"{path}, line {problem.lineno}: not JSON ({problem.msg}); restore it from version "
            "control, or write it anew with: grpo-identity prove --lock"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise LockError(f"{path} is not a ledger lock of format {FORMAT}")
    entries = content.get("theorems")
    if not isinstance(entries, dict):
        raise LockError(f"{path} has no object 'theorems'")
    for name, found in entries.items():
        _check_entry(path, name, found)
    return entries


def _check_entry(path: Path, name: str, found: object) -> None:
    texts = ("statement", "words", "domain", "assumptions", "verdict", "grade")
    if (
        not isinstance(found, dict)
        or set(found) != {*texts, "code"}
        or not all(isinstance(found[field], str) for field in texts)
        or not isinstance(found["code"], dict)
        or not all(isinstance(value, str) for value in found["code"].values())
    ):
        raise LockError(f"{path}: the entry of {name} is damaged")


def write(reports: Mapping[str, Report], path: Path = LOCK) -> None:
    """Lock these reports, all of which must be proved or refuted."""
    doubtful = [name for name, report in reports.items() if report.verdict == "open"]
    if doubtful:
        raise LockError(f"not locked: {', '.join(doubtful)} open")
    try:
        entries = {name: entry(reports[name]) for name in sorted(reports)}
    except SourceError as problem:
        raise LockError(f"not locked: {problem}") from None
    text = json.dumps({"format": FORMAT, "theorems": entries}, indent=1, ensure_ascii=True) + "\n"
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as problem:
        fresh.unlink(missing_ok=True)
        raise LockError(f"{path} cannot be written: {problem}") from None


def entry(report: Report) -> dict[str, Any]:
    """What the lock holds about one theorem."""
    theorem = report.theorem
    # A theorem that rests on the literature changes with what is believed of it.
    facts = sorted(FACTS.items()) if report.grade == "cited" else []
    return {
        "statement": _sha((_statement(theorem), facts)),
        "words": _sha(_words(theorem)),
        "domain": _sha(_domains(theorem)),
        "assumptions": _sha(theorem.assumptions),
        "verdict": report.verdict,
        "grade": report.grade or "none",
        "code": {name: code_hash(name) for name in sorted(theorem.implements)},
    }


def compare(report: Report, locked: Mapping[str, dict[str, Any]]) -> State:
    """How one theorem stands against the lock."""
    if report.theorem.id not in locked:
        return State("missing", ("it is not in the lock",))
    then = locked[report.theorem.id]
    try:
        now = entry(report)
    except SourceError as problem:
        return State("stale", (str(problem),))
    changes = [f"the {part} changed" for part in ("statement", "words", "domain", "assumptions")
               if now[part] != then[part]]  # fmt: skip
    changes += [f"{part} was {then[part]}, is {now[part]}" for part in ("verdict", "grade")
                if now[part] != then[part]]  # fmt: skip
    for name in sorted({*now["code"], *then["code"]}):
        if name not in then["code"]:
            changes.append(f"it now implements {name}")
        elif name not in now["code"]:
            changes.append(f"it no longer implements {name}")
        elif now["code"][name] != then["code"][name]:
            changes.append(f"the code of {name} changed")
    return State("stale", tuple(changes)) if changes else State("fresh")


def _sha(value: Any) -> str:
    return hashlib.sha256(serial(value).encode()).hexdigest()


# -- statements ----------------------------------------------------------------------------------


def _statement(theorem: Theorem) -> Any:
    clauses = [(c.name, c.claim) for c in theorem.clauses]
    refuted = [(r.name, r.claim, r.witness) for r in theorem.refutes]
    return (theorem.id, clauses, refuted, theorem.corrected_by)


def _words(theorem: Theorem) -> Any:
    """What a reader takes for the statement; the text of a step may change."""
    parts: tuple[Clause | Refutation, ...] = (*theorem.clauses, *theorem.refutes)
    return (theorem.title, theorem.words, [(part.name, part.words) for part in parts])


def _domains(theorem: Theorem) -> Any:
    parts: tuple[Clause | Refutation, ...] = (*theorem.clauses, *theorem.refutes)
    return [(part.name, part.domain.declarations) for part in parts]


_SAMPLING = {"Integer": {"spread"}, "Real": {"samples"}}  # where to look, not what is meant


def serial(value: Any) -> str:
    """A text that two values share exactly if they have the same structure."""
    if isinstance(value, sp.Basic):
        return _serial_term(value)
    if isinstance(value, sp.core.function.FunctionClass):
        return f"function {value.__name__}"
    if isinstance(value, Claim):
        return f"{serial(value.lhs)} {value.relation} {serial(value.rhs)}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(serial, value)) + "]"
    if hasattr(value, "__dataclass_fields__"):
        skipped = _SAMPLING.get(type(value).__name__, set())
        shown = (f"{f.name}={serial(getattr(value, f.name))}" for f in fields(value)
                 if f.name not in skipped)  # fmt: skip
        return f"{type(value).__name__}({', '.join(shown)})"
    if value is None or isinstance(value, str | bool):
        return repr(value)
    return str(value)  # int, Fraction, fmpq: the same text for the same number


def _serial_term(e: sp.Basic) -> str:
    if isinstance(e, sp.Symbol):
        plain = e == sp.Symbol(e.name)
        facts = "" if plain else f" {sorted(k for k, v in e.assumptions0.items() if v)}"
        return f"`{e.name}{facts}`"
    if isinstance(e, sp.IndexedBase):
        return f"base {e.label}"
    if isinstance(e, sp.core.function.AppliedUndef):
        return f"arbitrary {e.func.__name__}({', '.join(map(_serial_term, e.args))})"
    if not e.args:
        return str(e)
    parts = [_serial_term(a) for a in e.args]
    if isinstance(e, sp.Add | sp.Mul):
        parts.sort()
    return f"{type(e).__name__}({', '.join(parts)})"
