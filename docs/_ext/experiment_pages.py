"""Sphinx extension: what the experiments measured, as tables made from their committed results.

``.. experiment:: NAME`` sums up ``experiments/results/NAME.json`` and shows its rows, those of
one ``:quantity:`` if given; ``:extra:`` adds a column with a further entry of the rows. A value
outside its interval, or a theorem that the ledger does not have, is an error of the build.
"""

from __future__ import annotations

import hashlib
import json
import math
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


def shown_interval(low: float, high: float) -> str:
    n = digits(low, high)
    return f"{low:.{n}g} … {high:.{n}g}"


def share(part: float) -> str:
    return f"{100 * part:.2g} %"


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
        self.check(rows)
        if "quantity" in self.options:
            rows = [r for r in rows if r["quantity"] == self.options["quantity"]]
        if not rows:
            raise self.error(f"{path.relative_to(ROOT)} has no such rows")
        return [self.summary(name, content["versions"], rows), self.table(rows)]

    def check(self, rows: list[Row]) -> None:
        for row in rows:
            low, high = row["interval"]
            if not (row["brackets"] and low <= row["exact"] <= high):
                raise self.error(f"{row['exact']} is outside [{low}, {high}] at {row['case']}")
            if row["theorem"] is not None and row["theorem"] not in self.ledger.entries:
                raise self.error(f"the ledger has no theorem {row['theorem']!r}")

    def summary(self, name: str, versions: dict[str, str], rows: list[Row]) -> nodes.Node:
        widths = [(r["interval"][1] - r["interval"][0]) / abs(r["measured"]) for r in rows]
        libraries = ", ".join(f"{k} {v}" for k, v in versions.items() if k != "grpo-identity")
        return para(
            f"All {len(rows)} intervals hold the exact value. They are {share(min(widths))} to "
            f"{share(max(widths))} of the value wide. Run again by ",
            nodes.literal("", f"python experiments/{name}.py"),
            f"; measured with {libraries}.",
        )

    def table(self, rows: list[Row]) -> nodes.Node:
        several = len({r["quantity"] for r in rows}) > 1
        keys = list(dict.fromkeys(k for r in rows for k in r["case"]))
        extra = self.options.get("extra")
        header = [*(["quantity"] if several else []), *(HEADINGS.get(k, k) for k in keys)]
        header += ["measured interval", "exact value", *([HEADINGS[extra]] if extra else [])]
        header.append("exact value by")
        table = nodes.table(classes=["experiment-table"])
        group = nodes.tgroup(cols=len(header))
        group += [nodes.colspec(colwidth=1) for _ in header]
        group += nodes.thead("", self.cells(para(h) for h in header))
        body = nodes.tbody()
        for row in rows:
            low, high = row["interval"]
            cells = [para(row["quantity"])] if several else []
            cells += [para(self.word(row["case"].get(k, "—"))) for k in keys]
            cells += [
                para(shown_interval(low, high)),
                para(f"{row['exact']:.{digits(low, high)}g}"),
            ]
            cells += [para(shown_interval(*row[extra]))] if extra else []
            source = self.thm(row["theorem"]) if row["theorem"] else self.function(row["function"])
            body += self.cells([*cells, para(source)])
        group += body
        table += group
        frame = nodes.container(classes=["presets-table"])
        frame += table
        return frame

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
