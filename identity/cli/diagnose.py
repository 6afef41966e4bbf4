"""``grpo-identity diagnose``: what group-based training sees on prompts, or went wrong in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from identity.cli.console import documented_errors, fail, output, print_json, print_table
from identity.cli.run_tables import named_columns, print_run
from identity.data import SolveRates, big_math_solve_rates
from identity.diagnostics import (
    DEFAULT_GROUP_SIZES,
    MASS_NOTE,
    ZONES,
    Diagnosis,
    MassRow,
    RunLog,
    SilentRow,
    diagnose_run,
    read_any,
    read_run,
)
from identity.diagnostics import diagnose as diagnosed

__all__ = ["diagnose"]

_METHODS = {"grpo": "GRPO", "dr_grpo": "Dr. GRPO", "rloo": "RLOO", "dapo": "DAPO"}


def diagnose(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="CSV, JSONL (either may be gzipped) or Parquet; the shipped Big-Math solve rates "
            "if left out.",
            show_default=False,
        ),
    ] = None,
    fidelity: Annotated[
        float, typer.Option(help="Target fidelity φ for the recommended group size, in (0, 1).")
    ] = 0.95,
    group_size: Annotated[
        list[int] | None,
        typer.Option(
            "--group-size",
            "-G",
            help="Group size to report; repeat for several. Default: "
            f"{', '.join(map(str, DEFAULT_GROUP_SIZES))}.",
            show_default=False,
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="Also draw the figure to this file (.png, .pdf or .svg).", metavar="OUT"),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Read the file as the log of one run, group by group.")
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of a run's log, if it has another name than the usual ones; repeat for "
            "several. Names: step, train_reward, heldout_reward, entropy, silent_fraction, "
            "predicted_silent.",
            metavar="NAME=COLUMN",
            show_default=False,
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="For a run: chance of a false alarm, in [0.001, 0.5].")
    ] = 0.05,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """Silent groups, gradient mass by difficulty and group size, from logged solve rates.

    Or, from the log of one run, which of four failure modes it shows.

    A log of prompts names its columns, or JSON fields, in one of four ways:

    - k and n, optionally count: k correct of n rollouts

    - k_of_N such as k_of_8, optionally count

    - rewards, optionally count: a list of 0/1 per prompt

    - one row per rollout: a prompt column and a 0/1 column

    Prompt columns: prompt_id problem_id problem_index question_id uid prompt

    0/1 columns: reward correct

    A log of a run has one row per step, with some of the columns

    step reward eval_reward entropy frac_reward_zero_std

    or verl's names for them; with --run, step and prompt for each group

    Bad files and values end with a message naming the line, exit code 2.
    \f

    Parameters
    ----------
    file : Path, optional
        Read by `identity.diagnostics.read_any`: `read_log` and `read_run` document the accepted
        shapes. Without it,
        `identity.data.big_math_solve_rates`, with these caveats: draws from the table match the
        start population of arXiv 2607.00152 in distribution only; Big-Math dropped many unsolved
        problems, so that P(0) is partly selection; six rows record a ratio without its number of
        rollouts, and stay out of the unbiased silent rate.
    fidelity, group_size
        As for `identity.diagnostics.diagnose`.
    figure : Path, optional
        Where to draw `identity.cli.figure.draw_figure`; an existing file is replaced.
    run : bool
        Whether to read the file by `identity.diagnostics.read_run` even if it has the shape of a
        log of prompts.
    column : list of str, optional
        Columns of a run, for `identity.diagnostics.read_run`; implies `run`.
    alpha : float
        As for `identity.diagnostics.diagnose_run`.
    as_json : bool
        Print JSON.

    Raises
    ------
    typer.Exit
        With code 2, after a message on stderr, for a file or an argument that is not accepted.

    Notes
    -----
    ``--json`` prints one object, `identity.diagnostics.Diagnosis` field by field, without NaN;
    shares and rates are fractions of 1::

        {"source", "recognised", "licence", "caveats": [text], "prompts", "largest_rollouts",
         "unanimous": {"never_correct", "always_correct", "share", "prompts",
                       "rollouts": integer or null, "upper_bound": number or null},
         "silent": [{"group_size", "plug_in", "plug_in_prompts",
                     "unbiased": number or null, "unbiased_prompts",
                     "plug_in_same_prompts": number or null, "note"}],
         "gradient_mass": [{"method", "group_size": integer, or null for the large-G limit,
                            "zones": [five shares], "extremes", "middle", "theorem"}],
         "group_size": {"target", "recommended": integer or null,
                        "mean_fidelity": number or null, "mean_fidelity_below": number or null,
                        "mixed_prompts", "quantiles": [{"share", "p", "group_size"}],
                        "rule", "theorem"}}

    and for a run `identity.diagnostics.RunDiagnosis`::

        {"source", "recognised", "caveats": [text], "steps", "alpha",
         "findings": [{"mode", "verdict": "present", "not found" or "cannot tell", "statistic",
                       "value": number or null, "interval": [low, high] or null, "threshold",
                       "null": text, "p_value": number or null, "adjusted_p": number or null,
                       "theorem", "explanation", "reason",
                       "evidence": {name: number or null}}, four of them],
         "primary": mode or null, "consequences": {mode: its cause}, "reading"}
    """
    columns = named_columns(column or ())
    if (run or columns) and file is None:
        raise fail("--run and --column need a FILE")
    with documented_errors():
        log = _read(file, run or bool(columns), columns)
    if isinstance(log, RunLog):
        if figure is not None:
            raise fail("--figure draws a log of prompts; this is the log of a run")
        with documented_errors():
            found = diagnose_run(log, alpha=alpha)
        if as_json:
            print_json(found.to_dict())
        else:
            print_run(output(), found)
        return
    with documented_errors():
        report = diagnosed(
            log, fidelity=fidelity, group_sizes=group_size or list(DEFAULT_GROUP_SIZES)
        )
    if figure is not None:
        _draw(report, figure)
    if as_json:
        print_json(report.to_dict())
        return
    console = output()
    _print(console, report)
    if figure is not None:
        console.print(Text(f"figure: {figure}"))


def _read(file: Path | None, run: bool, columns: dict[str, str]) -> SolveRates | RunLog:
    if file is None:
        return big_math_solve_rates()
    return read_run(file, columns) if run else read_any(file)


def _draw(report: Diagnosis, path: Path) -> None:
    try:
        from identity.cli.figure import FORMATS, save_figure
    except ImportError as error:
        raise fail('--figure needs matplotlib: pip install "grpo-identity[data]"') from error
    if path.suffix.lower() not in FORMATS:
        raise fail(f"--figure must end in {', '.join(FORMATS)}; got {str(path)!r}")
    try:
        save_figure(report, path)
    except (OSError, ValueError) as error:
        raise fail(f"--figure {str(path)!r} cannot be written ({error})") from error


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def _heading(console: Console, text: str) -> None:
    console.print(Text(text, style="bold"))


def _print(console: Console, report: Diagnosis) -> None:
    console.print(Text(report.source, style="bold"))
    console.print(
        Text(
            f"recognised as {report.recognised}; N = {report.prompts:,} prompts, "
            f"n ≤ {report.largest_rollouts:,} rollouts each"
        )
    )
    for caveat in report.caveats:
        console.print(Text(f"• {caveat}", style="dim"))
    console.print()
    _heading(console, "Silent groups: every rollout gets the same reward, the gradient is 0")
    print_table(console, _silent_table(report))
    _print_notes(console, _silent_notes(report))
    _print_unanimous(console, report)
    if report.gradient_mass:
        _heading(console, "Gradient mass by difficulty, percent of each method's total")
        print_table(console, _mass_table(report))
        notes = [MASS_NOTE, "Theorems: " + ", ".join(_theorems(report)) + "."]
        if report.largest_rollouts <= 10:
            notes.insert(
                0,
                f"With n ≤ {report.largest_rollouts} no p̂ lies in the two extremes: "
                "they are empty by resolution, not by difficulty.",
            )
        _print_notes(console, notes)
    else:
        console.print(Text("Gradient mass: none, as no prompt has 0 < p̂ < 1."))
        console.print()
    _print_advice(console, report)


def _print_notes(console: Console, notes: list[str]) -> None:
    for note in notes:
        console.print(Text(note, style="dim"))
    console.print()


def _silent_table(report: Diagnosis) -> Table:
    table = _table()
    table.add_column("G", justify="right")
    for name in ("plug-in", "prompts", "unbiased", "prompts", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.silent:
        table.add_row(
            str(row.group_size),
            _percent(row.plug_in),
            f"{row.plug_in_prompts:,}",
            f"needs n ≥ {row.group_size}" if row.unbiased is None else _percent(row.unbiased),
            f"{row.unbiased_prompts:,}",
            _difference(row),
        )
    return table


def _difference(row: SilentRow) -> str:
    if row.unbiased is None or row.plug_in_same_prompts is None:
        return "—"
    return f"{100 * (row.plug_in_same_prompts - row.unbiased):+.2f}"


def _silent_notes(report: Diagnosis) -> list[str]:
    notes = [
        "plug-in: mean of p̂^G + (1−p̂)^G, biased upward (expectation.silent-plug-in). "
        "unbiased: mean of [C(k,G) + C(n−k,G)]/C(n,G) over prompts with a recorded n ≥ G "
        "(expectation.silent-u-statistic); never extrapolated. difference: plug-in minus "
        "unbiased over the same prompts, in percentage points."
    ]
    if any(row.unbiased_prompts < row.plug_in_prompts for row in report.silent):
        notes.append("The two columns cover different prompts where their counts differ.")
    return notes


def _print_unanimous(console: Console, report: Diagnosis) -> None:
    found = report.unanimous
    console.print(
        Text.assemble(
            ("Unanimous in the log: ", "bold"),
            f"{_percent(found.share)} of prompts ({_percent(found.never_correct)} at p̂ = 0, "
            f"{_percent(found.always_correct)} at p̂ = 1).",
        )
    )
    note = (
        "No group size wakes a prompt whose p is 0 or 1 (expectation.silent-rate: its silent rate "
        "is 1 at every G). The log shows p̂, not p."
    )
    if found.upper_bound is not None:
        note += (
            f" 0 correct of {found.rollouts:,} rollouts leaves p up to "
            f"{100 * found.upper_bound:.3g} % open (one-sided 95 %)."
        )
    _print_notes(console, [note])


def _label(row: MassRow) -> str:
    if row.method == "grpo" and row.group_size is None:
        return "GRPO, DAPO"
    return "Dr. GRPO, RLOO" if row.method == "dr_grpo" else _METHODS[row.method]


def mass_rows(report: Diagnosis) -> list[MassRow]:
    """Rows that differ: RLOO has Dr. GRPO's shares at every G, DAPO has GRPO's in the limit."""
    limits = {row.method: row for row in report.gradient_mass if row.group_size is None}
    rows = [limits["dr_grpo"]]
    for method in ("grpo", "dapo"):
        rows += [
            row
            for row in report.gradient_mass
            if row.method == method and row.group_size is not None
        ]
    return [*rows, limits["grpo"]]


def _mass_table(report: Diagnosis) -> Table:
    table = _table()
    table.add_column("method")
    table.add_column("G", justify="right")
    for zone in ZONES:
        table.add_column(zone.replace(" p ", "\np "), justify="right", no_wrap=True)
    table.add_column("extremes\n(1st+last)", justify="right", no_wrap=True)
    previous = ""
    for row in mass_rows(report):
        label = _label(row)
        if previous and label != previous:
            table.add_section()
        size = "any" if row.method == "dr_grpo" else str(row.group_size or "→ ∞")
        shares = [f"{100 * share:.2f}" for share in (*row.zones, row.extremes)]
        table.add_row(label if label != previous else "", size, *shares)
        previous = label
    return table


def _theorems(report: Diagnosis) -> list[str]:
    return list(dict.fromkeys(row.theorem for row in report.gradient_mass))


def _print_advice(console: Console, report: Diagnosis) -> None:
    advice = report.group_size
    heading = ("Recommended group size: ", "bold")
    if not advice.mixed_prompts:
        console.print(Text.assemble(heading, "none, as no prompt has 0 < p̂ < 1."))
        return
    if advice.recommended is None or advice.mean_fidelity is None:
        console.print(Text.assemble(heading, "above 2^20, the largest group evaluated."))
    else:
        below = (
            f", {advice.mean_fidelity_below:.4f} at G = {advice.recommended - 1:,}"
            if advice.mean_fidelity_below is not None
            else ""
        )
        console.print(
            Text.assemble(
                heading,
                (f"G = {advice.recommended:,}", "bold"),
                f" (mean fidelity {advice.mean_fidelity:.4f}{below}).",
            )
        )
    _print_notes(
        console,
        [
            f"Rule: the {advice.rule} ({advice.mixed_prompts:,} prompts). The mean never falls as "
            f"G grows ({advice.theorem}), so bisection finds it. φ = E[σ]/√(p(1−p)), p̂ for p; "
            f"with n ≤ {report.largest_rollouts:,} a mixed prompt's p̂ is never closer to 0 or 1 "
            "than 1/n, so rarer successes, which need larger groups, do not show."
        ],
    )
    _heading(console, "Exact group size by difficulty, from the most balanced prompts on")
    table = _table()
    table.add_column("share of mixed prompts", no_wrap=True)
    for quantile in advice.quantiles:
        table.add_column(f"{100 * quantile.share:.0f} %", justify="right", no_wrap=True)
    table.add_row("min(p̂, 1−p̂)", *(f"{quantile.p:.3g}" for quantile in advice.quantiles))
    table.add_row("smallest G", *(f"{quantile.group_size:,}" for quantile in advice.quantiles))
    print_table(console, table)
