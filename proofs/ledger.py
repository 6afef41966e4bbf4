"""All theorems of the project, checked in the order in which their proofs use each other.

A topic is a package ``proofs.<topic>`` with a tuple ``THEOREMS``. The ledger as a whole has rules
of its own: ids are unique and begin with their topic, ``uses`` and ``corrected_by`` name theorems
that exist, ``uses`` has no cycle, and what corrects a refuted claim must itself be proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from typing import Any

from proofs.kernel.check import Report, check_theorem
from proofs.kernel.theorem import Theorem

__all__ = [
    "TOPICS",
    "LedgerError",
    "Progress",
    "UnknownTheorem",
    "check_ledger",
    "closure",
    "in_order",
    "select",
    "theorems",
    "used_by",
]

TOPICS = (
    "groups",
    "expectation",
    "preference",
    "aggregation",
    "surrogates",
    "dynamics",
    "difficulty",
    "distillation",
)

Progress = Callable[[Theorem, "Report | None"], None]  # None: its check begins


class LedgerError(Exception):
    """The collection of theorems is ill-formed; nothing has been checked."""


class UnknownTheorem(LookupError):
    """No theorem has this id or matches this pattern; ``near`` lists ids that look like it."""

    def __init__(self, pattern: str, near: Sequence[str]) -> None:
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"no theorem matches {pattern!r}{hint}")
        self.pattern = pattern
        self.near = tuple(near)


# -- collecting ----------------------------------------------------------------------------------


@cache
def theorems() -> tuple[Theorem, ...]:
    """Every theorem of the package, each after those that it uses."""
    found: list[Theorem] = []
    for topic in TOPICS:
        of_topic = getattr(import_module(f"proofs.{topic}"), "THEOREMS", None)
        if of_topic is None:
            raise LedgerError(f"proofs.{topic} defines no THEOREMS")
        for theorem in of_topic:
            if theorem.topic != topic:
                raise LedgerError(f"{theorem.id} is listed under the topic {topic}")
            found.append(theorem)
    return in_order(found)


def in_order(collection: Iterable[Theorem]) -> tuple[Theorem, ...]:
    """The theorems as listed, but each after those that it uses; raise if they are ill-formed."""
    by_id: dict[str, Theorem] = {}
    for theorem in collection:
        if theorem.id in by_id:
            raise LedgerError(f"two theorems are called {theorem.id}")
        by_id[theorem.id] = theorem
    for theorem in by_id.values():
        for kind, names in (("uses", theorem.uses), ("corrected_by", theorem.corrected_by)):
            for name in names:
                if name not in by_id:
                    raise LedgerError(f"{theorem.id}: {kind} names {name}, which does not exist")
    ordered: dict[str, Theorem] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise LedgerError("a cycle of uses: " + " → ".join((*path[path.index(name) :], name)))
        if name not in ordered:
            for used in by_id[name].uses:
                visit(used, (*path, name))
            ordered[name] = by_id[name]

    for name in by_id:
        visit(name, ())
    return tuple(ordered.values())


# -- selecting -----------------------------------------------------------------------------------


def select(collection: Sequence[Theorem], patterns: Sequence[str]) -> tuple[Theorem, ...]:
    """The theorems whose id or topic matches a shell-style pattern; all without a pattern."""
    chosen: set[str] = set()
    for pattern in patterns:
        matching = {
            t.id for t in collection if fnmatchcase(t.id, pattern) or fnmatchcase(t.topic, pattern)
        }
        if not matching:
            raise UnknownTheorem(pattern, near(collection, pattern))
        chosen |= matching
    return tuple(t for t in collection if not patterns or t.id in chosen)


def near(collection: Sequence[Theorem], name: str) -> list[str]:
    """Ids and topics that look like a misspelt one."""
    names = [*dict.fromkeys(t.topic for t in collection), *(t.id for t in collection)]
    slugs = {t.id.split(".", 1)[-1]: t.id for t in collection}
    close = get_close_matches(name, names, n=3, cutoff=0.7)
    close += [slugs[s] for s in get_close_matches(name, slugs, n=3, cutoff=0.75)]
    return list(dict.fromkeys(close))[:3]


def closure(collection: Sequence[Theorem], chosen: Sequence[Theorem]) -> tuple[Theorem, ...]:
    """The chosen theorems and all that their verdicts rest on, in the order of ``collection``."""
    by_id = {t.id: t for t in collection}
    needed: set[str] = set()
    waiting = [t.id for t in chosen]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += (*by_id[name].uses, *by_id[name].corrected_by)
    return tuple(t for t in collection if t.id in needed)


def used_by(collection: Iterable[Theorem], name: str) -> tuple[str, ...]:
    return tuple(t.id for t in collection if name in t.uses)


# -- checking ------------------------------------------------------------------------------------


def check_ledger(
    collection: Sequence[Theorem], progress: Progress | None = None, *, jobs: int = 1
) -> dict[str, Report]:
    """Check theorems that come in order and closed under ``uses``; id to report.

    ``jobs`` > 1 checks that many at a time in processes of their own, for theorems of the package
    only (a worker finds them by id); the reports are the same.
    """
    tell = progress or (lambda theorem, report: None)
    if jobs > 1 and len(collection) > 1:
        reports = _check_in_processes(collection, tell, jobs)
    else:
        reports = {}
        for theorem in collection:
            tell(theorem, None)
            reports[theorem.id] = _check(theorem, reports)
            tell(theorem, reports[theorem.id])
    _check_corrections(reports)
    return reports


def _check(theorem: Theorem, reports: Mapping[str, Report]) -> Report:
    try:
        return check_theorem(theorem, reports)
    # One broken theorem, or a check that leaves, must not hide the verdict on the others.
    except (Exception, SystemExit) as problem:
        return Report(theorem, problems=[f"{type(problem).__name__}: {problem}"])


def _check_corrections(reports: Mapping[str, Report]) -> None:
    """A refutation is open until the theorem that is true instead is proved; so are its users."""
    while any(_doubt(name, report, reports) for name, report in reports.items()):
        pass  # one that became open may open others, whatever their order


def _doubt(name: str, report: Report, reports: Mapping[str, Report]) -> bool:
    """Whether the report became open just now."""
    if report.verdict == "open":
        return False
    theorem = report.theorem
    doubts = [
        f"it is corrected by {other}, which is {found.verdict if found else 'not checked'}"
        for other in theorem.corrected_by
        if (found := reports.get(other)) is None or found.verdict != "proved"
    ]
    doubts += [
        f"it uses {other}, which is open"
        for other in theorem.uses
        if other in reports and reports[other].verdict == "open"
    ]
    if name in theorem.corrected_by:
        doubts.append("it names itself as its correction")
    if doubts:
        report.problems += doubts
        report.verdict, report.grade = "open", None
    return bool(doubts)


# -- two at a time -------------------------------------------------------------------------------
#
# Theorems hold functions and symbols that do not pickle, so a report travels without its theorem
# and is put together again on the other side.

_Plain = dict[str, Any]


def _without_theorem(report: Report) -> _Plain:
    return {f.name: getattr(report, f.name) for f in fields(report) if f.name != "theorem"}


def _check_by_id(name: str, used: dict[str, _Plain]) -> _Plain:
    """In a worker: check one theorem of the package, given the reports on those that it uses."""
    by_id = {t.id: t for t in theorems()}
    ledger = {other: Report(theorem=by_id[other], **plain) for other, plain in used.items()}
    return _without_theorem(_check(by_id[name], ledger))


def _check_in_processes(
    collection: Sequence[Theorem], tell: Progress, jobs: int
) -> dict[str, Report]:
    reports: dict[str, Report] = {}
    waiting = list(collection)
    running: dict[Future[_Plain], Theorem] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            while waiting or running:
                ready = [t for t in waiting if all(used in reports for used in t.uses)]
                for theorem in ready[: jobs - len(running)]:
                    waiting.remove(theorem)
                    used = {name: _without_theorem(reports[name]) for name in theorem.uses}
                    tell(theorem, None)
                    running[pool.submit(_check_by_id, theorem.id, used)] = theorem
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    theorem = running.pop(future)
                    reports[theorem.id] = Report(theorem=theorem, **future.result())
                    tell(theorem, reports[theorem.id])
        except BrokenProcessPool:
            raise LedgerError("a worker process died (memory?); try again with --jobs 1") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {t.id: reports[t.id] for t in collection}
