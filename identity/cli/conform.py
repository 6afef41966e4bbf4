"""``grpo-identity conform``: which convention each operation of an installed trainer keeps."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from identity.cli.console import (
    documented_errors,
    fail,
    lenient_streams,
    output,
    print_at_least,
    print_json,
)

if TYPE_CHECKING:
    from identity.conformance import Result, Target

__all__ = ["conform"]

_INTERRUPTED = 130  # as a shell has it: 128 and the number of SIGINT


def conform(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET",
            help="A library of --list, or module:function of your own; several are also compared "
            "with each other.",
            show_default=False,
        ),
    ] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(
            "--case",
            metavar="NAME",
            help="Only this case of --list; repeat for several.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            "--dtype",
            metavar="NAME",
            help="Only in float64, float32, float16 or bfloat16; repeat for several.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Also write a page of its own.", show_default=False
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit code 1 if anything differs, or if a TARGET has no case that can run.",
        ),
    ] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="List libraries, cases and conventions, and run nothing.")
    ] = False,
) -> None:
    """What the installed trainers compute: call them, and name the convention that each keeps.

    The verdict on an operation in a case is one of

    - equals: value and gradient are those of a convention

    - equals ×: they are those times a factor in closed form

    - differs: on some input they are not; the smallest one found is shown

    - cannot run: with the reason

    A difference is a difference, not an error.

    TARGET may be a function of your own, told apart by the names of its parameters:

    - f(rewards, groups): advantages

    - f(logp, old_logp, advantages, mask), optionally ref_logp: a loss

    - f(loss, mask): the loss of the losses of tokens

    - f(logp, ref_logp): estimates of a divergence

    - f(): operations, as `identity.conformance.Operation`

    Ctrl-C ends the run and reports what there is, exit code 130.
    \f

    Parameters
    ----------
    targets : list of str
        Names for `identity.conformance.load`.
    case, dtype : list of str, optional
        As for `identity.conformance.conform`.
    as_json : bool
        Print JSON.
    html : Path, optional
        Where to write `identity.conformance.html.page`; an existing file is replaced.
    strict : bool
        Whether a difference ends with exit code 1. So does a target whose every case cannot run,
        or that is not installed; single cases that cannot run are no difference.
    listing : bool
        Print libraries, cases and conventions instead.

    Raises
    ------
    typer.Exit
        With code 1 as `strict` says; with code 2, after a message on stderr, for a request that
        makes no sense, a library that is not installed, or an error that ended the run; with code
        130 after Ctrl-C.

    Notes
    -----
    ``--json`` prints one object, `identity.conformance.Result` field by field; what is not finite
    is a string, "nan", "inf" or "-inf"::

        {"results": [{"library", "version", "operation", "case", "dtype",
                      "verdict": "equals", "equals ×", "differs" or "cannot run",
                      "convention": text or null, "factor": text or null,
                      "factor_decimal": number or null, "factor_at": text or null, "theorem",
                      "input": text or null, "expected", "got", "control": text or null,
                      "reason": text or null}]}

    and with ``--list``::

        {"libraries": [{"name", "distribution", "version": text or null if not installed}],
         "cases": [{"name", "kinds": [text], "title"}],
         "conventions": {field of `says`: {value: words}}}
    """
    lenient_streams()
    if listing:
        if targets:
            raise fail("--list takes no TARGET")
        _print_listing(as_json)
        return
    _require("hypothesis", "torch")
    if not targets:
        raise fail("name a TARGET: a library of --list, or module:function of your own")
    _check_writable(html)
    run = _run(targets, case, dtype)
    _report(run, as_json, html)
    _end(run, strict)


def _require(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        needed = " and ".join(missing)
        raise fail(f'conform needs {needed}: pip install "grpo-identity[conformance]"')


# -- the run -------------------------------------------------------------------------------------


@dataclass
class _Run:
    """What has come out so far, and how it ended."""

    results: list[Result] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)  # why a target could not be loaded
    interrupted: bool = False
    problem: str | None = None


def _run(names: Sequence[str], case: Sequence[str] | None, dtype: Sequence[str] | None) -> _Run:
    """Load and run; whatever ends it early is kept beside the results that there are."""
    from identity import conformance
    from identity.conformance.frameworks import DTYPES
    from identity.conformance.run import chosen_cases
    from identity.errors import DomainError

    run = _Run()
    with documented_errors():
        cases = chosen_cases(case)
        for name in dtype or ():
            if name not in DTYPES:
                raise DomainError("dtype", name, f"be one of {', '.join(DTYPES)}")
    operation = ""

    def tell(words: str) -> None:
        nonlocal operation
        operation = words
        bar.tell(words)

    try:
        # What a library or a user's function prints goes to stderr: stdout holds the report.
        with redirect_stdout(sys.stderr):
            _load(run, names)
            with _progress(run.targets, cases, dtype) as bar:
                for result in conformance.conform(run.targets, cases, dtypes=dtype, progress=tell):
                    run.results.append(result)
                    bar.advance(result)
    except KeyboardInterrupt:
        run.interrupted = True
    except (Exception, SystemExit) as problem:
        if not operation:
            raise
        run.problem = f"{operation}: {_located(problem)}"
    return run


def _load(run: _Run, names: Sequence[str]) -> None:
    """The targets; one that is not installed is an error only if there is no other."""
    from identity.conformance import LIBRARIES, CannotRun, load
    from identity.errors import DomainError

    # A name that does not exist is told at once, and not after a minute of imports.
    unique = list(dict.fromkeys(names))
    for name in sorted(unique, key=lambda name: ":" in name or name in LIBRARIES):
        if ":" not in name and name not in LIBRARIES:
            with documented_errors():
                load(name)
    for name in unique:
        try:
            run.targets.append(load(name))
        except CannotRun as why:
            run.absent.append(_absence(name, str(why)))
        except DomainError as why:
            raise fail(str(why)) from None
        except (Exception, SystemExit) as problem:
            raise fail(f"{name}: {_located(problem)}") from None
    if not run.targets:
        raise fail("; ".join(run.absent))
    for reason in run.absent:
        typer.echo(f"left out: {reason}", err=True)


def _absence(name: str, why: str) -> str:
    if ":" not in name and _version(distribution := _distribution(name)) is None:
        return f"{name} is not installed: pip install {distribution}"
    return f"{name}: {why}"


def _located(problem: BaseException) -> str:
    """An error in one line, with the place where it was raised."""
    words = f"{type(problem).__name__}: {problem}"
    frames = traceback.extract_tb(problem.__traceback__)
    return f"{words} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else words


# -- progress ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bar:
    """Told what is run and what came out."""

    tell: Callable[[str], None] = lambda words: None
    advance: Callable[[Result], None] = lambda result: None


@contextmanager
def _progress(
    targets: Sequence[Target], cases: Sequence[str], dtypes: Sequence[str] | None
) -> Iterator[_Bar]:
    """A live bar on stderr; nothing if that is no terminal."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Bar()
        return
    columns = (
        TextColumn("calling"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=_planned(targets, cases, dtypes))

        def advance(result: Result) -> None:
            from identity.conformance.cases import COMPARISONS

            if result.case in COMPARISONS:  # at the end, as many as there are pairs
                bar.update(task, description=f"{result.library}: {result.case}")
            else:
                bar.advance(task)

        yield _Bar(lambda words: bar.update(task, description=words), advance)


def _planned(targets: Sequence[Target], cases: Sequence[str], dtypes: Sequence[str] | None) -> int:
    from identity.conformance.run import planned

    def narrowed(operation: Any) -> Any:
        kept = tuple(d for d in operation.dtypes if not dtypes or d in dtypes)
        return replace(operation, dtypes=kept)

    kept = [replace(t, operations=tuple(map(narrowed, t.operations))) for t in targets]
    return planned(kept, cases)


# -- the report ----------------------------------------------------------------------------------


def _report(run: _Run, as_json: bool, html: Path | None) -> None:
    from identity.conformance.report import print_report

    complete = not run.interrupted and run.problem is None
    if complete and not run.results:
        raise fail("nothing to run: no operation of the TARGET has these cases in these dtypes")
    if as_json:
        print_json({"results": [result.as_json() for result in run.results]})
    elif run.results:
        print_report(output(), run.results)
    if html is not None:  # after the rest, which an error here does not take away
        _write(html, run)
        if not as_json:
            output().print(Text(f"page: {html}"))


def _check_writable(path: Path | None) -> None:
    """Tell before the run, not after it."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise fail(f"--html {str(path)!a} cannot be written: it must be a file in a folder")


def _write(path: Path, run: _Run) -> None:
    """The page, whole or not at all: a reader never meets half of it."""
    from identity.conformance.html import page

    notes = [f"Left out: {why}." for why in run.absent]
    if run.interrupted:
        notes.append("The run was interrupted: results are missing.")
    if run.problem is not None:
        notes.append(f"The run ended early: results are missing. {run.problem}")
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        fresh.write_text(page(run.results, notes=notes), encoding="utf-8", newline="\n")
        fresh.replace(path)
    except OSError as problem:
        fresh.unlink(missing_ok=True)
        raise fail(f"--html {str(path)!a} cannot be written ({problem})") from problem


def _end(run: _Run, strict: bool) -> None:
    """The exit code."""
    from identity.conformance.report import summary
    from identity.conformance.results import CANNOT_RUN, DIFFERS

    if run.interrupted:
        typer.echo(f"interrupted, {summary(run.results)}", err=True)
        raise typer.Exit(_INTERRUPTED)
    if run.problem is not None:
        raise fail(run.problem)
    ran = {result.library for result in run.results if result.verdict != CANNOT_RUN}
    idle = [target.library for target in run.targets if target.library not in ran]
    if strict and idle:
        typer.echo(f"strict: no case can run of {', '.join(idle)}", err=True)
    differs = any(result.verdict == DIFFERS for result in run.results)
    if strict and (differs or idle or run.absent):
        raise typer.Exit(1)


# -- what there is -------------------------------------------------------------------------------


def _distribution(library: str) -> str:
    """The name that pip knows; the adapter's module, which imports no library."""
    from identity.conformance import LIBRARIES

    adapter = importlib.import_module(f"identity.conformance.targets.{LIBRARIES[library]}")
    return str(adapter.DISTRIBUTION)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _print_listing(as_json: bool) -> None:
    _require("hypothesis")  # the cases hold the strategies of their inputs
    from identity.conformance.conventions import EPSILONS

    found = _listing()
    if as_json:
        print_json(found)
        return
    console = output()
    _print_rows(
        console,
        ("library", "installed"),
        [
            (
                entry["name"],
                entry["version"] or f"not installed: pip install {entry['distribution']}",
            )
            for entry in found["libraries"]
        ],
    )
    _print_rows(
        console,
        ("case", "of", "what is asked"),
        [(e["name"], _kinds(e["kinds"]), e["title"]) for e in found["cases"]],
    )
    for name, entries in found["conventions"].items():
        _print_rows(console, (name, "in words"), list(entries.items()))
    eps = ", ".join(f"{eps:g}" for eps in EPSILONS)
    console.print(Text(f"ε of advantages: {eps}, or what the measured factor gives"))


def _kinds(kinds: Sequence[str]) -> str:
    from identity.conformance.operation import KINDS

    return "all" if len(kinds) == len(KINDS) else ", ".join(kinds)


def _listing() -> dict[str, Any]:
    from identity.conformance import CASES, LIBRARIES
    from identity.conformance import conventions as tables
    from identity.conformance.cases import COMPARISONS
    from identity.conformance.operation import KINDS

    distributions = {name: _distribution(name) for name in LIBRARIES}
    libraries = [
        {"name": name, "distribution": found, "version": _version(found)}
        for name, found in distributions.items()
    ]
    cases = [{"name": c.name, "kinds": list(c.kinds), "title": c.title} for c in CASES.values()]
    cases += [{"name": n, "kinds": list(KINDS), "title": t} for n, t in COMPARISONS.items()]
    return {
        "libraries": libraries,
        "cases": cases,
        "conventions": {
            "baseline": tables.BASELINES,
            "scale": tables.SCALES,
            "eps_placement": tables.PLACEMENTS,
            "normaliser": tables.NORMALISERS,
            "objective": tables.OBJECTIVES,
            "bounds": tables.BOUNDS,
            "estimator, gradient": {
                f"{c.estimator}, {c.gradient}": str(c) for c in tables.kl_conventions()
            },
        },
    }


def _print_rows(
    console: Console, headings: Sequence[str], entries: Sequence[Sequence[str]]
) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, heading in enumerate(headings):
        last = n == len(headings) - 1
        table.add_column(heading, no_wrap=not last, overflow="fold")
    for entry in entries:
        table.add_row(*map(Text, entry))
    print_at_least(console, table, 72)
