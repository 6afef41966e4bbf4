"""The results of a run as text, and what text and HTML share: rows, sentences, short numbers."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from identity import __version__
from identity.cli.console import print_at_least
from identity.conformance.results import CANNOT_RUN, DIFFERS, EQUALS, EQUALS_TIMES, Result

__all__ = [
    "VERDICTS",
    "Row",
    "by_library",
    "differences",
    "print_report",
    "rows",
    "sentence",
    "short",
    "shortened",
    "summary",
    "unable",
    "versions",
]

VERDICTS = (EQUALS, EQUALS_TIMES, DIFFERS, CANNOT_RUN)
_STYLES = {EQUALS: "green", EQUALS_TIMES: "cyan", DIFFERS: "bold yellow", CANNOT_RUN: "dim"}
_FRAMEWORKS = ("numpy", "torch", "jax")

# Below the first the columns would be a few letters wide: a terminal wraps the lines instead. From
# the second on there is room for the theorems in a column of their own.
_NARROWEST, _WIDE = 60, 120
_NUMBER = re.compile(r"(?<![\w.])-?\d+\.?\d*(?:[eE][-+]?\d+)?(?!\w)")


@dataclass(frozen=True)
class Row:
    """Results of one operation and case whose words are the same.

    Parameters
    ----------
    results : tuple of Result
        One for each dtype; at least one.
    whole : bool
        Whether they are of all the dtypes in which the operation was run.
    """

    results: tuple[Result, ...]
    whole: bool

    @property
    def first(self) -> Result:
        """The one to show."""
        return self.results[0]

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Of all of them."""
        return tuple(result.dtype for result in self.results)


# -- which results go together -------------------------------------------------------------------


def by_library(results: Iterable[Result]) -> dict[tuple[str, str], list[Result]]:
    """Results of each library and version, in the order of the run."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        found.setdefault((result.library, result.version), []).append(result)
    return found


def rows(results: Iterable[Result]) -> dict[str, list[Row]]:
    """For each operation of a library its rows, case by case.

    Parameters
    ----------
    results : iterable of Result
        All of one library.

    Returns
    -------
    dict of str to list of Row
        By name of the operation.
    """
    cases: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        cases.setdefault(result.operation, {}).setdefault(result.case, []).append(result)
    return {
        operation: [row for found in of_case.values() for row in _merged(found, of_case, sentence)]
        for operation, of_case in cases.items()
    }


def differences(results: Iterable[Result]) -> list[Row]:
    """What differs, once for each operation and case.

    Dtypes whose sentences differ in their numbers alone are together: a residue of 7e-5 in float32
    and of 1e-13 in float64 is one thing.
    """
    cases: dict[tuple[str, str, str], dict[str, list[Result]]] = {}
    for result in results:
        key = result.library, result.version, result.operation
        cases.setdefault(key, {}).setdefault(result.case, []).append(result)
    return [
        row
        for of_case in cases.values()
        for found in of_case.values()
        for row in _merged(found, of_case, lambda r: _NUMBER.sub("#", sentence(r)))
        if row.first.verdict == DIFFERS
    ]


def _merged(found: list[Result], of_case: dict[str, list[Result]], words: Any) -> list[Row]:
    dtypes = {result.dtype for others in of_case.values() for result in others}
    together: dict[tuple[str, str], list[Result]] = {}
    for result in found:
        together.setdefault((words(result), result.theorem), []).append(result)
    return [Row(tuple(same), {r.dtype for r in same} == dtypes) for same in together.values()]


def unable(results: Iterable[Result]) -> dict[str, dict[str, list[str]]]:
    """What cannot be run in a library: reasons, for each the cases, and for these the operations.

    Cases are joined by commas, with the dtypes if they are not all; operations of the same cases
    are together.
    """
    reasons: dict[str, dict[str, list[str]]] = {}
    for operation, found in rows(results).items():
        cases: dict[str, list[str]] = {}
        for row in found:
            if row.first.verdict == CANNOT_RUN:
                where = "" if row.whole else f" in {', '.join(row.dtypes)}"
                cases.setdefault(row.first.reason or "", []).append(row.first.case + where)
        for reason, names in cases.items():
            reasons.setdefault(reason, {}).setdefault(", ".join(names), []).append(operation)
    return reasons


# -- words and numbers ---------------------------------------------------------------------------


def sentence(result: Result) -> str:
    """The verdict as a sentence, with the decimal value of a factor."""
    words = shortened(result.words)
    if result.factor_decimal is None:
        return words
    decimal, where = f"{result.factor_decimal:.6g}", result.factor_at or ""
    if result.factor is None:  # no factor on the convention, but a number to know
        return f"{words} ({decimal}: {where})" if where else f"{words} ({decimal})"
    return f"{words} (= {decimal}{f' at {where}' if where else ''})"


def shortened(text: str) -> str:
    """The text with its decimal numbers cut to six digits."""

    def six(match: re.Match[str]) -> str:
        number = match[0]
        fraction = "." in number or "e" in number.lower()
        return f"{float(number):.6g}" if fraction and len(number) > 6 else number

    return _NUMBER.sub(six, text)


def short(value: Any) -> str:
    """A value, a list or an error's text on one line, numbers to six digits."""
    if isinstance(value, dict):
        return "; ".join(f"{name} {short(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(short, value))}]"
    if isinstance(value, float):
        return f"{value + 0.0:.6g}"  # without the sign of −0
    return shortened(str(value))


def versions() -> dict[str, str]:
    """This package, Python, and what of NumPy, torch and JAX the run has loaded."""
    found = {"grpo-identity": __version__, "Python": platform.python_version()}
    for name in _FRAMEWORKS:
        if name in sys.modules:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:  # from a folder on the path
                found[name] = "local"
    return found


def summary(results: Sequence[Result]) -> str:
    """How many results there are, and of which verdict."""
    counts = Counter(result.verdict for result in results)
    noun = "result" if len(results) == 1 else "results"
    return f"{len(results):,} {noun}: " + ", ".join(f"{counts[v]:,} {v}" for v in VERDICTS)


# -- text ----------------------------------------------------------------------------------------


def print_report(console: Console, results: Sequence[Result]) -> None:
    """All of the results: a table for each library, then each difference, then the counts.

    Parameters
    ----------
    console : rich.console.Console
        Where to.
    results : sequence of Result
        Of a run, in its order.
    """
    for (library, version), found in by_library(results).items():
        console.print(Text.assemble((library, "bold"), f" {version}"))
        _print_table(console, rows(found))
        _print_unable(console, found)
        console.print()
    together = ", ".join(f"{name} {version}" for name, version in versions().items())
    for alike in _alike(differences(results)):
        _print_difference(console, alike, together)
    console.print(Text(summary(results), style="bold"))
    if any(result.theorem for result in results):
        console.print(Text("A theorem in full: grpo-identity explain ID", style="dim"))


def _print_table(console: Console, operations: dict[str, list[Row]]) -> None:
    shown = {
        name: kept
        for name, found in operations.items()
        if (kept := [row for row in found if row.first.verdict != CANNOT_RUN])
    }
    if not shown:
        return
    every = [row for found in shown.values() for row in found]
    wide, split = console.width >= _WIDE, not all(row.whole for row in every)
    cases = max(len(row.first.case) for row in every)
    theorems = max(len("theorem"), *(len(row.first.theorem) for row in every))

    def table() -> Table:
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True, pad_edge=False)
        grid.add_column(width=cases + 2, no_wrap=True)
        if split:
            grid.add_column(width=8)  # of the longest name, bfloat16
        grid.add_column(ratio=1, overflow="fold")
        if wide:
            grid.add_column(width=theorems, no_wrap=True)
        return grid

    def add(grid: Table, case: str, dtypes: str, verdict: Text, theorem: str) -> None:
        cells: list[RenderableType] = [f"  {case}", *([dtypes] if split else []), verdict]
        if wide:
            cells.append(Text(theorem, style="dim"))
        elif theorem:
            verdict.append(f" · {theorem}", style="dim")
        grid.add_row(*cells)

    head = table()
    add(head, "case", "dtypes", Text("verdict"), "theorem")
    head.style = "dim"
    print_at_least(console, head, _NARROWEST)
    for operation, found in shown.items():
        dtypes = dict.fromkeys(d for row in operations[operation] for d in row.dtypes)
        console.print(Text.assemble((operation, "bold"), (f"  {', '.join(dtypes)}", "dim")))
        grid = table()
        for row in found:
            verdict = Text(sentence(row.first), style=_STYLES[row.first.verdict])
            names = "all" if row.whole else "\n".join(row.dtypes)
            add(grid, row.first.case, names, verdict, row.first.theorem)
        print_at_least(console, grid, _NARROWEST)


def _print_unable(console: Console, results: Sequence[Result]) -> None:
    for reason, cases in unable(results).items():
        places = "; ".join(f"{', '.join(names)} ({case})" for case, names in cases.items())
        head = f"{CANNOT_RUN}: {shortened(reason)}"
        console.print(Text.assemble((head, _STYLES[CANNOT_RUN]), f": {places}"))


def _alike(found: Iterable[Row]) -> list[list[Row]]:
    """Operations of a library that give the same where the same is expected: one entry for them."""
    together: dict[tuple[str, ...], list[Row]] = {}
    for row in found:
        first = row.first
        words = _NUMBER.sub("#", sentence(first))
        key = (first.library, first.case, *row.dtypes, words, first.theorem)
        together.setdefault((*key, short(first.expected), short(first.got)), []).append(row)
    return list(together.values())


def _print_difference(console: Console, alike: list[Row], together: str) -> None:
    row = alike[0]
    first = row.first
    place = f"{first.library} {first.version}, {first.operation}, {first.case}"
    console.print(Text.assemble((f"{DIFFERS}: ", _STYLES[DIFFERS]), (place, "bold")))
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True, pad_edge=False)
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(ratio=1, overflow="fold")
    _add(grid, "alike", "; ".join(other.first.operation for other in alike[1:]))
    _add(grid, "dtypes", ", ".join(row.dtypes))
    for result in row.results:
        words = shortened(result.convention or "")
        if result is first:
            _add(grid, "found", words)
        elif words != shortened(first.convention or ""):
            _add(grid, result.dtype, words)
    _add(grid, "note", shortened(first.reason or ""))
    _add(grid, "theorem", first.theorem)
    for name, value in (("expected", first.expected), ("got", first.got)):
        for n, line in enumerate(_lines(value)):
            _add(grid, "" if n else name, line)
    _add(grid, "control", shortened(first.control or "none"))
    _add(grid, "versions", f"{first.library} {first.version}, {together}")
    print_at_least(console, grid, _NARROWEST)
    if first.input:
        code = any(not line.startswith("#") for line in first.input.splitlines())
        what = "call" if code else "input"
        console.print(Text(f"the {what}, in {first.dtype}:", style="dim"))
        # From the first column and unwrapped, so that it can be pasted into Python.
        console.print(Text(first.input), soft_wrap=True)
    console.print()


def _add(grid: Table, name: str, text: str) -> None:
    if text:
        grid.add_row(name, Text(text))


def _lines(value: Any) -> list[str]:
    """One line, or one for each entry of a mapping."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [f"{name} {short(item)}" for name, item in value.items()]
    return [short(value)]
