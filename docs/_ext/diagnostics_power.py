"""Sphinx extension: ``.. diagnostics-power:: healthy`` and so on: tables of measured rates.

The rates are those that ``experiments/diagnostics_power.py`` measured, read from its results when
the page is built. Intervals are Wilson's, at 95 %.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

RESULTS = Path(__file__).resolve().parents[2] / "experiments/results/diagnostics_power.json"
Z = 1.959963984540054  # two-sided 95 %
Rows = list[list[str]]


def wilson(count: int, total: int) -> tuple[float, float]:
    """Wilson's interval of a rate."""
    share, spread = count / total, Z * Z / total
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    low = 0.0 if count == 0 else max(0.0, middle - half)
    return low, 1.0 if count == total else min(1.0, middle + half)


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def rate(count: int, total: int) -> str:
    low, high = wilson(count, total)
    return f"{percent(count / total)} ({percent(low)}–{percent(high)})"


def healthy(results: dict[str, Any]) -> Rows:
    """False alarms: one row for each kind of healthy run, and all of them."""
    modes = results["modes"]
    rows = [["run", "runs", *modes, "any (Holm)", "rising autocorrelation", "rising variance"]]
    cells = [cell for cell in results["cells"].values() if cell["truth"] == "healthy"]
    for cell in cells:
        counts = [*cell["alone"], cell["any"], *cell["warning"]]
        rows.append([cell["effect"], str(cell["done"]), *(rate(c, cell["done"]) for c in counts)])
    total = sum(cell["done"] for cell in cells)
    sums = [
        sum(column)
        for column in zip(*([*c["alone"], c["any"], *c["warning"]] for c in cells), strict=True)
    ]
    rows.append(["all healthy runs", str(total), *(rate(count, total) for count in sums)])
    return rows


def power(results: dict[str, Any]) -> Rows:
    """One row for each kind of sick run: how often its own mode is found."""
    modes = results["modes"]
    rows = [["mode", "effect", "runs", "its own p < α", "present (Holm)", "named first"]]
    for cell in results["cells"].values():
        if cell["truth"] == "healthy":
            continue
        mode, done = modes.index(cell["truth"]), cell["done"]
        counts = (cell["alone"][mode], cell["present"][mode], cell["primary"][cell["truth"]])
        rows.append([cell["truth"], cell["effect"], str(done), *(rate(c, done) for c in counts)])
    return rows


def _pooled(results: dict[str, Any]) -> dict[str, list[Any]]:
    truths: dict[str, list[Any]] = {}
    for cell in results["cells"].values():
        truths.setdefault(cell["truth"], []).append(cell)
    return truths


def told_apart(results: dict[str, Any]) -> Rows:
    """Which mode is named first, by what the run suffers from."""
    readings = ["none", *results["modes"]]
    rows = [["run", "runs", *readings]]
    for truth, cells in _pooled(results).items():
        total = sum(cell["done"] for cell in cells)
        counts = [sum(cell["primary"][reading] for cell in cells) for reading in readings]
        rows.append([truth, str(total), *(percent(count / total) for count in counts)])
    return rows


def fired(results: dict[str, Any]) -> Rows:
    """How often each mode is called present, by what the run suffers from."""
    rows = [["run", "runs", *results["modes"]]]
    for truth, cells in _pooled(results).items():
        total = sum(cell["done"] for cell in cells)
        counts = [sum(column) for column in zip(*(c["present"] for c in cells), strict=True)]
        rows.append([truth, str(total), *(rate(count, total) for count in counts)])
    return rows


def warnings(results: dict[str, Any]) -> Rows:
    """Early warnings on unstable runs."""
    rows = [["effect", "runs", "rising autocorrelation", "rising variance"]]
    for cell in results["cells"].values():
        if cell["truth"] == "dynamical instability":
            rates = (rate(count, cell["done"]) for count in cell["warning"])
            rows.append([cell["effect"], str(cell["done"]), *rates])
    return rows


TABLES: dict[str, Callable[[dict[str, Any]], Rows]] = {
    "healthy": healthy,
    "power": power,
    "told-apart": told_apart,
    "fired": fired,
    "warnings": warnings,
}


class DiagnosticsPower(SphinxDirective):
    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in TABLES:
            raise self.error(f"no table {name!r}; there are {', '.join(TABLES)}")
        self.env.note_dependency(str(RESULTS))
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
        short = [cell["name"] for cell in results["cells"].values() if cell["done"] < cell["runs"]]
        if short:
            raise self.error(f"the experiment has not finished: {', '.join(short)}")
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for row in TABLES[name](results):
            lines += [f"   {'*' if n == 0 else ' '} - {cell}" for n, cell in enumerate(row)]
        container = nodes.container(classes=["diagnostics-power"])
        container += self.parse_text_to_nodes("\n".join(lines))
        return [container]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("diagnostics-power", DiagnosticsPower)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
