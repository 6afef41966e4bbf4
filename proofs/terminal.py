"""Progress, table and explanation in a terminal; readable without colour, and in a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from identity.cli.console import output, print_at_least
from proofs import ledger
from proofs.kernel.check import Report
from proofs.kernel.theorem import Theorem
from proofs.lock import State
from proofs.report import Outcome, explanation, mutants

__all__ = ["print_ledger", "print_theorem", "progress"]

WIDTH = 100  # of a pipe, which has none of its own
NARROWEST = 80  # below it the table would lose columns; a terminal wraps its lines instead
STYLES = {"proved": "green", "refuted": "cyan", "open": "bold red"}


def _console() -> Console:
    console = output()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    return console


# -- progress ------------------------------------------------------------------------------------


@contextmanager
def progress(count: int) -> Iterator[ledger.Progress | None]:
    """A live bar on stderr, so that stdout holds the result alone; nothing if it is no terminal."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("checking"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=count)
        running: list[str] = []

        def tell(theorem: Theorem, report: Report | None) -> None:
            if report is None:
                running.append(theorem.id)
            else:
                running.remove(theorem.id)
                bar.advance(task)
                if report.verdict == "open":
                    console.print(Text(f"open: {theorem.id}", style=STYLES["open"]))
            bar.update(task, description=", ".join(running))

        yield tell


# -- the table -----------------------------------------------------------------------------------


def print_ledger(
    reports: Sequence[Report],
    states: Mapping[str, State],
    total: Outcome,
    seconds: float,
    *,
    extra: int,
    of_user: bool,
) -> None:
    console = _console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("theorem", no_wrap=True, overflow="ellipsis", max_width=36)
    table.add_column("statement", ratio=1)
    table.add_column("verdict", no_wrap=True)
    table.add_column("grade", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    for report in reports:
        table.add_row(
            report.theorem.id,
            Text(report.theorem.words),
            Text(report.verdict, style=STYLES.get(report.verdict, "")),
            report.grade or "—",
            f"{report.seconds:.2f}",
        )
    print_at_least(console, table, NARROWEST)
    _print_problems(console, reports, states, total)
    console.print(Text(_summary(total, len(reports), seconds, extra, of_user)))


def _print_problems(
    console: Console, reports: Sequence[Report], states: Mapping[str, State], total: Outcome
) -> None:
    lines: list[tuple[str, str]] = []
    for report in reports:
        name = report.theorem.id
        if report.verdict == "open":
            lines += [(f"open: {name}", why) for why in report.problems]
        state = states.get(name)
        if state is not None and state.name == "stale":
            lines.append((f"stale: {name}", "; ".join(state.changes)))
    missing = [name for name, state in states.items() if state.name == "missing"]
    if missing:
        lines.append(("missing in the lock", ", ".join(missing)))
    lines += [(f"stale: {name}", "it is in the lock only") for name in total.orphans]
    for head, text in lines:
        console.print(Text.assemble((head, "bold red"), f": {text}"))
    if total.stale or total.missing or total.orphans:
        console.print(
            Text("If the change is meant, lock it: grpo-identity prove --lock", style="dim")
        )
    if lines:
        console.print()


def _summary(total: Outcome, count: int, seconds: float, extra: int, of_user: bool) -> str:
    noun = "theorem" if count == 1 else "theorems"
    text = (
        f"{count} {noun}: {total.proved} proved, {total.refuted} refuted, {total.open} open. "
        f"{total.mutants_refuted} of {total.mutants} mutants killed. "
    )
    if of_user:
        text += "Not locked: they are not in the ledger. "
    else:
        text += f"Lock: {count - total.stale - total.missing} fresh, {total.stale} stale, "
        text += f"{total.missing} missing. "
    if extra:
        text += f"{extra} of the ledger checked because they are used. "
    return text + f"{seconds:.1f} s."


# -- one theorem ---------------------------------------------------------------------------------


def print_theorem(report: Report, state: State | None, users: Sequence[str]) -> None:
    console, theorem = _console(), report.theorem

    def heading(text: str) -> None:
        console.print()
        console.print(Text(text, style="bold"))

    def line(text: str, depth: int = 1) -> None:
        # Continuation lines hang by two, so that a formula's next line is not taken for a new one.
        body = Text(text, no_wrap=False, overflow="fold")
        wrapped = body.wrap(console, max(20, console.width - 2 * depth - 2))
        for n, part in enumerate(wrapped):
            part.rstrip()
            indent = " " * (2 * depth + (2 if n else 0))
            console.print(Text(indent).append_text(part), no_wrap=True, crop=False)

    def listed(title: str, entries: Sequence[str]) -> None:
        if entries:
            heading(title)
            for entry in entries:
                line(entry)

    console.print(Text.assemble((theorem.id, "bold"), f": {theorem.title}"))
    console.print(
        Text.assemble(
            (report.verdict, STYLES.get(report.verdict, "")),
            f", grade {report.grade or '—'}, {report.seconds:.2f} s",
            f", lock {state.name}" if state is not None else "",
        )
    )
    listed("Statement", [theorem.words])
    listed("Problems", report.problems)
    listed("Assumptions", theorem.assumptions)
    sections, letters = explanation(report)
    for section in sections:
        heading(section.heading)
        for depth, text in section.lines:
            line(text, depth + 1)
    listed("where", [f"{name} = {text}" for name, text in letters])
    listed("Witness", report.witness.split(" | ") if report.witness else [])
    listed("Corrected by", theorem.corrected_by)
    heading("Checked besides")
    line(f"{report.cases:,} exact cases from first principles, without the derivation's code")
    if theorem.clauses:
        line(f"{report.samples:,} exact points of the domains, to 50 digits")
    killed = [refuted for _, refuted, _ in mutants(report)]
    heading(f"Mutants: {sum(killed)} of {len(killed)} killed")
    for mutant, refuted, witness in mutants(report):
        line(f"{mutant.name} (of {mutant.of}): " + ("refuted" if refuted else "not refuted"))
        if witness:
            line(f"at {witness}", 2)
    listed("Uses", theorem.uses)
    listed("Used by", users)
    listed("References", [r.words() for r in theorem.references])
    listed("Implemented by", theorem.implements)
    if state is not None and not state.fresh:
        listed("Against the lock", state.changes)
    console.print()
