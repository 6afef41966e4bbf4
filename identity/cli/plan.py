"""``grpo-identity plan``: how many rollouts one prompt needs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from identity.cli.console import documented_errors, output, print_json, print_table
from identity.diagnostics.planning import Plan, plan_group_size

__all__ = ["plan"]

_NAMES = {
    "exact": "exact smallest group",
    "second_order": "second-order law",
    "first_order": "first-order law",
    "given": "--group-size",
}


def plan(
    p: Annotated[float, typer.Option("--p", help="Success probability of the prompt, in (0, 1).")],
    fidelity: Annotated[
        float, typer.Option(help="Target φ(G, p) = E[σ]/√(p(1−p)), in (0, 1).")
    ] = 0.95,
    group_size: Annotated[
        int | None, typer.Option("--group-size", "-G", help="Also show this group size.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """How many rollouts one prompt needs, exactly and by the two laws, and what they cost.

    Arguments outside their domain end with a message and exit code 2.
    \f

    Parameters
    ----------
    p, fidelity, group_size
        As for `identity.diagnostics.plan_group_size`.
    as_json : bool
        Print JSON.

    Raises
    ------
    typer.Exit
        With code 2, after a message on stderr, for an argument outside its domain.

    Notes
    -----
    ``--json`` prints one object, `identity.diagnostics.Plan` field by field, without NaN::

        {"p", "fidelity", "epsilon",
         "rows": [{"rule": "exact" | "second_order" | "first_order" | "given",
                   "value", "group_size", "fidelity": number or null, "meets_target",
                   "silent_rate", "groups_per_kept", "rollouts_per_kept",
                   "explanation", "theorem"}],
         "column_theorems": {column: ledger id}}

    The row ``given`` is there with ``--group-size`` only; ``fidelity`` of a row is null above
    G = 2^20.
    """
    with documented_errors():
        result = plan_group_size(p, fidelity, group_size)
    if as_json:
        print_json(result.to_dict())
        return
    console = output()
    title = f"Group size for p = {result.p:g}, fidelity ≥ {result.fidelity:g}"
    console.print(Text(title, style="bold"))
    print_table(console, _table(result))
    console.print(_legend(result))


def _table(result: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("rule", no_wrap=True)
    for name in ("G", "fidelity", "met", "silent", "groups\nper kept", "rollouts\nper kept"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result.rows:
        table.add_row(
            _NAMES[row.rule],
            f"{row.group_size:,}",
            "—" if row.fidelity is None else f"{row.fidelity:.4f}",
            # Rounded to four digits 0.94996 reads 0.9500: the word settles it.
            "yes" if row.meets_target else "no",
            f"{100 * row.silent_rate:.2f} %",
            _amount(row.groups_per_kept, 3),
            _amount(row.rollouts_per_kept, 1),
        )
    return table


def _amount(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if value < 1e5 else f"{value:.2e}"


def _legend(result: Plan) -> Table:
    theorem = result.column_theorems
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    entries = [(_NAMES[row.rule], row.explanation, row.theorem) for row in result.rows]
    entries += [
        ("fidelity", "φ(G, p) = E[σ]/√(p(1−p)), at most 1, never falls in G", theorem["fidelity"]),
        ("silent", "p^G + (1−p)^G: a unanimous group has no gradient", theorem["silent_rate"]),
        (
            "groups per kept",
            "1/(1 − p^G − (1−p)^G), dynamic sampling",
            theorem["groups_per_kept"],
        ),
        ("rollouts per kept", "G times that", theorem["rollouts_per_kept"]),
    ]
    for name, meaning, identity in entries:
        table.add_row(name, Text.assemble(meaning, "\n", (identity, "dim")))
    return table
