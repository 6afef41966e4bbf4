"""Hold targets against the theory: every operation, every case, every dtype."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from identity.conformance import compare
from identity.conformance.cases import CASES, COMPARISONS
from identity.conformance.context import Context, Outcome, Raised
from identity.conformance.operation import CannotRun, Operation
from identity.conformance.recognise import Recognised, recognise
from identity.conformance.results import CANNOT_RUN, Result
from identity.conformance.target import Target
from identity.errors import DomainError

__all__ = ["Cell", "cells", "chosen_cases", "conform", "planned"]

_WIDEST = ("float64", "float32", "bfloat16", "float16")
# The contract's name for both ways of poisoning masked positions.
_LACK_ALIASES = {"masked_nan": "masked_values", "masked_large": "masked_values"}


@dataclass(frozen=True)
class _Ready:
    target: Target
    context: Context


def chosen_cases(names: Sequence[str] | None) -> list[str]:
    """Names of cases, all of them for None; DomainError for one that there is not."""
    known = [*CASES, *COMPARISONS]
    for name in names or ():
        if name not in known:
            raise DomainError("case", name, f"be one of {', '.join(known)}")
    return [name for name in known if not names or name in names]


def planned(targets: Sequence[Target], cases: Sequence[str]) -> int:
    """How many results of single operations a run will have."""
    return sum(len(list(cells(target, cases))) for target in targets)


def conform(
    targets: Sequence[Target],
    cases: Sequence[str] | None = None,
    *,
    dtypes: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda words: None,
) -> Iterator[Result]:
    """The verdicts, one after the other.

    Parameters
    ----------
    targets : sequence of Target
        From `identity.conformance.load`.
    cases : sequence of str, optional
        Names of cases; all if left out.
    dtypes : sequence of str, optional
        Only these; all that an operation accepts if left out.
    progress : callable, optional
        Told what is being run.

    Yields
    ------
    Result
        Operations in order, and for each its cases; comparisons between operations at the end.

    Raises
    ------
    DomainError
        If there is no case of a name.
    """
    names = chosen_cases(cases)
    last = None
    for target in targets:
        for cell in cells(target, cases):
            if dtypes and cell.dtype not in dtypes:
                continue
            if cell.operation is not last:
                last = cell.operation
                progress(f"{target.library}: {last.name}")
            yield cell.result()
    if "two_paths" in names or "same_method" in names:
        ready = list(_ready(targets, dtypes))
        if "two_paths" in names:
            progress("operations of one library against each other")
            yield from _twins(ready)
        if "same_method" in names:
            progress("one method in several libraries")
            yield from _methods(ready)


def _ready(targets: Sequence[Target], dtypes: Sequence[str] | None) -> Iterator[_Ready]:
    for target in targets:
        for operation in target.operations:
            if (
                operation.twin is None
                and operation.method is None
                and not _is_twin(target, operation)
            ):
                continue
            try:
                found = _recognised(operation)
            except CannotRun:
                continue
            for dtype in operation.dtypes:
                if not dtypes or dtype in dtypes:
                    yield _Ready(target, Context(operation, found, dtype))


def _is_twin(target: Target, operation: Operation) -> bool:
    return any(other.twin == operation.name for other in target.operations)


def cells(target: Target, cases: Sequence[str] | None = None) -> Iterator[Cell]:
    """The single verdicts that a target can be asked for, comparisons left out.

    Parameters
    ----------
    target : Target
        From `identity.conformance.load`.
    cases : sequence of str, optional
        Names of cases; all if left out.
    """
    names = [name for name in chosen_cases(cases) if name in CASES]
    for operation in target.operations:
        for dtype in operation.dtypes:
            for name in names:
                if CASES[name].asks(operation):
                    yield Cell(target, operation, name, dtype)


@dataclass(frozen=True)
class Cell:
    """One operation, case and dtype.

    Parameters
    ----------
    target : Target
        The library.
    operation : Operation
        One of it.
    case, dtype : str
        What it is asked, and in what.
    """

    target: Target
    operation: Operation
    case: str
    dtype: str

    def result(self) -> Result:
        """The verdict; an operation is recognised once for all its cells."""
        try:
            found = _recognised(self.operation)
        except CannotRun as why:
            return _unable(self.target, self.operation, self.case, self.dtype, str(why))
        context = Context(self.operation, found, self.dtype)
        return _result(self.target, context, self.case, CASES[self.case].run)


def _recognised(operation: Operation) -> Recognised:
    """What an operation is, or why it cannot be called, found out once."""
    known = _KNOWN.get(id(operation))
    if known is None:
        found: Recognised | CannotRun
        try:
            found = _in_widest(operation)
        except CannotRun as why:
            found = why
        known = _KNOWN[id(operation)] = operation, found
    if isinstance(known[1], CannotRun):
        raise known[1]
    return known[1]


def _in_widest(operation: Operation) -> Recognised:
    """In the widest dtype, or the next: some compute in float32 whatever they are given."""
    dtypes = [dtype for dtype in _WIDEST if dtype in operation.dtypes]
    found = Recognised(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype in dtypes[:2]:
            if found.convention is None:
                found = recognise(operation, dtype)
    return found


# By identity, with the operation kept so that it stays the one of that id.
_KNOWN: dict[int, tuple[Operation, Recognised | CannotRun]] = {}


def _result(
    target: Target, context: Context, case: str, run: Callable[[Context], Outcome]
) -> Result:
    operation = context.operation
    lack = operation.lacks.get(case) or operation.lacks.get(_LACK_ALIASES.get(case, ""))
    if lack:
        return _unable(target, operation, case, context.dtype, lack)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = run(context)
    except CannotRun as why:
        return _unable(target, operation, case, context.dtype, str(why))
    except Raised as why:
        problem = f"{type(why.__cause__).__name__}: {why.__cause__}"
        return _unable(target, operation, case, context.dtype, problem)
    return Result(
        target.library, target.version, operation.name, case, context.dtype, **_fields(outcome)
    )


def _fields(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome)


def _unable(target: Target, operation: Operation, case: str, dtype: str, reason: str) -> Result:
    return Result(
        target.library, target.version, operation.name, case, dtype, CANNOT_RUN, reason=reason
    )


def _twins(ready: list[_Ready]) -> Iterator[Result]:
    for one in ready:
        twin = one.context.operation.twin
        if twin is None:
            continue
        for other in ready:
            same = other.target is one.target and other.context.dtype == one.context.dtype
            if same and other.context.operation.name == twin:
                against = partial(compare.two_paths, other=other.context)
                yield _result(one.target, one.context, "two_paths", against)


def _methods(ready: list[_Ready]) -> Iterator[Result]:
    """Operations of one method and kind, in the dtype that most libraries have."""
    if len({r.target.library for r in ready}) < 2:
        return
    groups: dict[tuple[str, str, str], list[tuple[_Ready, tuple[str, Any]]]] = {}
    for one in ready:
        operation = one.context.operation
        if operation.method is not None and one.context.dtype == "float32":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                gave = compare.probe(one.context)
            if gave is not None:
                key = operation.kind, operation.method, one.context.dtype
                groups.setdefault(key, []).append((one, gave))
    for members in groups.values():
        for one, own in members:
            others: dict[str, list[tuple[str, Any]]] = {}
            for other, gave in members:
                if other.target.library != one.target.library:
                    name = other.context.operation.name
                    others.setdefault(other.target.library, []).append((name, gave[1]))
            if others:
                against = partial(compare.same_method, others=others, own=own)
                yield _result(one.target, one.context, "same_method", against)
