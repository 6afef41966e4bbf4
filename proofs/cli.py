"""``grpo-identity``: check and explain the ledger, and the two commands on numbers.

Exit codes: 0 all is well; 1 something is open, stale or missing in the lock, or a mutant
survived; 2 the request makes no sense (unknown theorem, unreadable file, damaged lock).
The kernel and SymPy are imported by the commands that need them, so that help is quick.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from identity import __version__
from identity.cli.conform import conform
from identity.cli.console import fail, lenient_streams, print_json
from identity.cli.diagnose import diagnose
from identity.cli.plan import plan

if TYPE_CHECKING:
    from proofs.kernel.check import Report
    from proofs.kernel.theorem import Theorem
    from proofs.lock import State

__all__ = ["app", "main"]

app = typer.Typer(
    name="grpo-identity",
    help="Machine-checked statements on GRPO and its relatives, and what follows for your runs.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"grpo-identity {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Machine-checked statements on GRPO and its relatives, and what follows for your runs."""


@app.command()
def prove(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATTERN",
            help="Ids or topics, with * and ?: groups, groups.identity, '*silent*'. All if left "
            "out. What a theorem uses is checked with it.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", help="Check the theorems of a Python file of yours instead."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the table.")
    ] = False,
    relock: Annotated[
        bool,
        typer.Option(
            "--lock", help="Write ledger.lock.json anew, if everything is proved or refuted."
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            help="Processes. Default: 2, or 1 on a machine with one core.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check the ledger: derivations, first principles, samples, mutants, witnesses, lock.

    Exit code 1 if anything is open (vacuous included) or stale, or if a mutant survives.
    \f

    Parameters
    ----------
    patterns, file, as_json, relock, jobs
        As ``--help`` says.

    Raises
    ------
    typer.Exit
        With code 1 after a report that is not good, with code 2 after a message on stderr.
    """
    if relock and (patterns or file):
        raise fail("--lock locks the whole ledger: give it neither PATTERN nor --file")
    from proofs import claims, ledger, lock, report, terminal

    started = time.perf_counter()
    try:
        collection, own = _with_claims(ledger.theorems(), file)
        chosen = ledger.select(own or collection, patterns or [])
        locked = {} if relock else lock.read()
    except (ledger.LedgerError, ledger.UnknownTheorem, claims.ClaimsError, lock.LockError) as why:
        raise fail(str(why)) from None
    checked = ledger.closure(collection, chosen)
    if file is not None:  # a worker process cannot find the theorems of a file by their ids
        jobs = 1
    try:
        with _stdout_for_the_report(), terminal.progress(len(checked)) as progress:
            found = ledger.check_ledger(checked, progress, jobs=jobs or min(2, os.cpu_count() or 1))
    except ledger.LedgerError as why:
        raise fail(str(why)) from None
    own_ids = {t.id for t in own}
    reports = [r for name, r in found.items() if file is None or name in own_ids]
    if relock:
        locked = _relock(found)
    states = {} if file is not None else {n: lock.compare(r, locked) for n, r in found.items()}
    whole = file is None and len(checked) == len(collection)
    orphans = sorted(set(locked) - set(found)) if whole else []
    total = report.outcome(reports, states, orphans)
    seconds = time.perf_counter() - started
    if as_json:
        print_json(report.to_json(reports, states, total, seconds))
    else:
        extra = len(found) - len(chosen)
        terminal.print_ledger(reports, states, total, seconds, extra=extra, of_user=bool(own))
        if relock and total.good:
            typer.echo(f"Locked: {lock.LOCK}")
    if not total.good:
        raise typer.Exit(1)


def _stdout_for_the_report() -> AbstractContextManager[Any]:
    """What a user's file prints goes to stderr: stdout holds one report, or one JSON object."""
    return redirect_stdout(sys.stderr)


def _with_claims(
    collection: tuple[Theorem, ...], file: Path | None
) -> tuple[tuple[Theorem, ...], tuple[Theorem, ...]]:
    """The ledger with the theorems of a user's file, and these alone."""
    from proofs import claims

    if file is None:
        return collection, ()
    with _stdout_for_the_report():
        own = claims.load(file)
    return claims.together(file, collection, own), own


def _relock(found: dict[str, Report]) -> dict[str, dict[str, Any]]:
    """Write the lock if every verdict allows it; else leave the file, and the report says why."""
    from proofs import lock

    try:
        if all(r.verdict != "open" for r in found.values()):
            lock.write(found)
        return lock.read()
    except lock.LockError as why:
        raise fail(str(why)) from None


@app.command()
def explain(
    name: Annotated[str, typer.Argument(metavar="ID", help="A theorem, such as groups.identity.")],
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="The theorem is in a Python file of yours."),
    ] = None,
) -> None:
    """Show a theorem: statement, domain, assumptions, the derivation step by step, mutants.

    It is checked first, with all that it uses; exit code 1 if it is open.
    \f

    Parameters
    ----------
    name, file
        As ``--help`` says.

    Raises
    ------
    typer.Exit
        With code 1 if the theorem is open, with code 2 after a message on stderr.
    """
    from proofs import claims, ledger, lock, terminal

    try:
        collection, _ = _with_claims(ledger.theorems(), file)
        theorem = _named(collection, name)
        locked = lock.read()
    except (ledger.LedgerError, ledger.UnknownTheorem, claims.ClaimsError, lock.LockError) as why:
        raise fail(str(why)) from None
    with _stdout_for_the_report():
        found = ledger.check_ledger(ledger.closure(collection, (theorem,)))
    report = found[name]
    ours = name in {t.id for t in ledger.theorems()}
    state: State | None = lock.compare(report, locked) if ours else None
    terminal.print_theorem(report, state, ledger.used_by(collection, name))
    if report.verdict == "open":
        raise typer.Exit(1)


def _named(collection: tuple[Theorem, ...], name: str) -> Theorem:
    from proofs import ledger

    for theorem in collection:
        if theorem.id == name:
            return theorem
    of_topic = [t.id for t in collection if t.topic == name]
    raise ledger.UnknownTheorem(name, of_topic or ledger.near(collection, name))


app.command()(plan)
app.command()(diagnose)
app.command()(conform)


def main() -> None:
    """Entry point of the ``grpo-identity`` script."""
    lenient_streams()
    app()


if __name__ == "__main__":
    main()
