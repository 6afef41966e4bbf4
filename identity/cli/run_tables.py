"""How ``grpo-identity diagnose`` prints the log of one run."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from identity.cli.console import fail, print_table
from identity.diagnostics import RUN_COLUMNS, Finding, RunDiagnosis

__all__ = ["named_columns", "print_run"]

_STYLES = {"present": "bold red", "not found": "green", "cannot tell": "yellow"}


def named_columns(pairs: Sequence[str]) -> dict[str, str]:
    """``NAME=COLUMN`` options as a mapping; ends the command with exit code 2 if one is not."""
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not equals or not column or name not in RUN_COLUMNS or name in columns:
            raise fail(
                f"--column must be NAME=COLUMN, each NAME once, with NAME one of "
                f"{', '.join(RUN_COLUMNS)}; got {pair!a}"
            )
        columns[name] = column
    return columns


def print_run(console: Console, report: RunDiagnosis) -> None:
    """The reading, one table of the four modes, and a paragraph for each."""
    console.print(Text(report.source, style="bold"))
    console.print(Text(f"recognised as {report.recognised}; {report.steps:,} steps"))
    for caveat in report.caveats:
        console.print(Text(f"• {caveat}", style="dim"))
    console.print()
    console.print(Text(report.reading, style="bold"))
    console.print()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("mode", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name in ("value", "threshold", "p", "Holm p"):
        table.add_column(name, justify="right", no_wrap=True)
    for finding in report.findings:
        table.add_row(
            finding.mode,
            Text(finding.verdict, style=_STYLES[finding.verdict]),
            _number(finding.value),
            _number(finding.threshold if finding.p_value is not None else None),
            _p_value(finding.p_value),
            _p_value(finding.adjusted_p),
        )
    print_table(console, table)
    for finding in report.findings:
        _print_finding(console, finding, report.alpha)
    console.print(
        Text(
            f"Holm p: adjusted over the modes that can be told; present: below {report.alpha:g}.",
            style="dim",
        )
    )


def _print_finding(console: Console, finding: Finding, alpha: float) -> None:
    console.print(Text(f"{finding.mode} ({finding.theorem})", style="bold"))
    console.print(Padding(Text(finding.explanation), (0, 0, 0, 2)))
    if finding.value is not None and finding.interval is not None:
        low, high = finding.interval
        console.print(
            Padding(
                Text(
                    f"{finding.statistic}: {finding.value:.3g}, {100 * (1 - alpha):g} % interval "
                    f"{low:.3g} to {high:.3g}. Null: {finding.null}.",
                    style="dim",
                ),
                (0, 0, 0, 2),
            )
        )
    if finding.reason and finding.verdict != "cannot tell":
        console.print(Padding(Text(f"Note: {finding.reason}.", style="dim"), (0, 0, 0, 2)))
    console.print()


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3g}"


def _p_value(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:.4f}" if value >= 1e-4 else "< 0.0001"
