"""Sphinx extension: what the experiments measured, as tables made from their committed results.

``.. experiment:: NAME`` sums up ``experiments/results/NAME.json`` and shows its rows, those of
one ``:quantity:`` if given; ``:extra:`` adds a column with a further entry of the rows. A value
outside its interval, or a theorem that the ledger does not have, is an error of the build.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container
from typing import Any, ClassVar

import theory_figures
from docutils import nodes
from docutils.parsers.rst import directives
from experiment_figures import FIGURES, RESULTS, Row
from ledger_data import ROOT
from proof_ledger import LedgerDirective, para
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

NAMES = ("stale_refresh", "oscillation_onset", "stationary_variance", "bandit_saturation")
# Words for the columns: keys of the cases, and the entries that ``:extra:`` may name.
HEADINGS = {
    "momentum": "μ",
    "kappa": "ηK",
    "group_size": "G",
    "interval": "steps",
    "beta": "β",
    "p0": "p₀",
    "time": "ηt",
    "times_short_rule": "interval / short rule",
}


def digits(low: float, high: float) -> int:
    """Significant digits that show an interval's ends: two beyond its width."""
    width = (high - low) / max(abs(low), abs(high))
    return min(max(2 - math.floor(math.log10(width)), 3), 12)


def shown(value: float, figures: int) -> str:
    return f"{value:#.{figures}g}".replace("-", "−")


def shown_interval(low: float, high: float) -> str:
    n = digits(low, high)
    return f"{shown(low, n)} … {shown(high, n)}"


def problem(rows: list[Row], known: Container[str]) -> str:
    """What is wrong with the rows, or nothing."""
    for row in rows:
        low, high = row["interval"]
        if not (row["brackets"] and low <= row["exact"] <= high):
            return f"{row['exact']} is outside [{low}, {high}] at {row['case']}"
        if row["theorem"] is not None and row["theorem"] not in known:
            return f"the ledger has no theorem {row['theorem']}"
    return ""


class Experiment(LedgerDirective):
    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {
        "quantity": directives.unchanged_required,
        "extra": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in NAMES:
            raise self.error(f"no experiment {name!r}; there are {', '.join(NAMES)}")
        path = RESULTS / f"{name}.json"
        self.env.note_dependency(str(path))
        content = json.loads(path.read_text(encoding="utf-8"))
        rows: list[Row] = content["results"]
        if found := problem(rows, self.ledger.entries):
            raise self.error(f"{path.relative_to(ROOT)}: {found}")
        if "quantity" in self.options:
            rows = [r for r in rows if r["quantity"] == self.options["quantity"]]
        if not rows:
            raise self.error(f"{path.relative_to(ROOT)} has no such rows")
        return [self.summary(name, content["versions"], rows), self.table(rows)]

    def summary(self, name: str, versions: dict[str, str], rows: list[Row]) -> nodes.Node:
        widest = max((r["interval"][1] - r["interval"][0]) / abs(r["measured"]) for r in rows)
        libraries = ", ".join(f"{k} {v}" for k, v in versions.items() if k != "grpo-identity")
        return para(
            f"All {len(rows)} intervals hold the exact value, and none is wider than "
            f"{math.ceil(1e4 * widest) / 100:g} % of it. Run again by ",
            nodes.literal("", f"python experiments/{name}.py"),
            f"; measured with {libraries}.",
        )

    def table(self, rows: list[Row]) -> nodes.Node:
        columns: dict[str, list[str]] = {}
        if len({r["quantity"] for r in rows}) > 1:
            columns["quantity"] = [r["quantity"] for r in rows]
        keys = list(dict.fromkeys(k for r in rows for k in r["case"]))
        if all(len(r["case"]) == len(keys) for r in rows):
            for key in keys:
                columns[HEADINGS.get(key, key)] = [self.word(r["case"][key]) for r in rows]
        else:
            columns["case"] = [
                ", ".join(f"{HEADINGS.get(k, '')} {self.word(v)}" for k, v in r["case"].items())
                for r in rows
            ]
        columns["measured interval"] = [shown_interval(*r["interval"]) for r in rows]
        columns["exact value"] = [shown(r["exact"], digits(*r["interval"])) for r in rows]
        if extra := self.options.get("extra"):
            columns[HEADINGS[extra]] = [shown_interval(*r[extra]) for r in rows]
        table = nodes.table(classes=["experiment-table", "colwidths-auto"])
        group = nodes.tgroup(cols=len(columns) + 1)
        group += [nodes.colspec(colwidth=1) for _ in range(len(columns) + 1)]
        group += nodes.thead("", self.cells(map(para, (*columns, "exact value by"))))
        lines = zip(*columns.values(), strict=True)
        group += nodes.tbody(
            "",
            *(
                self.cells([*map(para, line), para(self.source(row))])
                for line, row in zip(lines, rows, strict=True)
            ),
        )
        table += group
        return table

    def source(self, row: Row) -> nodes.Node:
        """Link to what the exact value is from."""
        if row["theorem"]:
            return self.thm(row["theorem"])
        return self.function(row["function"], row["function"].removeprefix("identity."))

    @staticmethod
    def cells(entries: Any) -> nodes.row:
        return nodes.row("", *(nodes.entry("", entry) for entry in entries))

    @staticmethod
    def word(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)


def setup(app: Sphinx) -> ExtensionMetadata:
    theory_figures.FIGURES.update(FIGURES)
    app.add_directive("experiment", Experiment)
    written = b"".join((RESULTS / f"{name}.json").read_bytes() for name in NAMES)
    # Draw and count again when results have changed.
    app.add_config_value("experiments_of", hashlib.sha256(written).hexdigest(), "env")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
