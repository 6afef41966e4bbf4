"""Sphinx extension: what installed trainers compute, from the committed results of conformance.

``.. conformance-run::``
    When and with what versions; the verdicts of each library, counted.
``.. conformance-matrix:: KIND``
    Case by library for the cases of advantages, losses, divergences or comparisons.
``.. conformance-library:: NAME``
    One library: what its operations keep, and case by case every verdict with its theorem and,
    for a difference, the call.
``.. conformance-found:: CASE``
    The conventions that were found in a case, and which operations keep them.
``.. conformance-table:: NAME``
    A table of conventions, departures, factors or cases, as the code has it.

A theorem that the ledger does not have, or a case that there is not, is an error of the build.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import theory_figures
from conformance_figures import FIGURES, RESULTS
from conformance_tables import TABLES, Text
from docutils import nodes
from ledger_data import ROOT
from proof_ledger import LedgerDirective, badge, bullets, details, join, para
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

from identity.conformance.cases import CASES, COMPARISONS
from identity.conformance.frameworks import DTYPES
from identity.conformance.report import VERDICTS, Row, differences, rows, sentence, short, shortened
from identity.conformance.results import CANNOT_RUN, DIFFERS, EQUALS, EQUALS_TIMES, Result
from identity.conformance.target import LIBRARIES

BADGES = {EQUALS: "equals", EQUALS_TIMES: "times", DIFFERS: "differs", CANNOT_RUN: "unable"}
MEANINGS = {
    EQUALS: "value and gradient are those of a convention",
    EQUALS_TIMES: "they are those of a convention times a factor in closed form",
    DIFFERS: "on some input they are not: the smallest that was found is shown",
    CANNOT_RUN: "no verdict: the call has no means for the case, or the library ended it",
}
MATRICES: dict[str, Callable[[str], bool]] = {
    "advantages": lambda case: case in CASES and "advantage" in CASES[case].kinds,
    "losses": lambda case: case in CASES and "loss" in CASES[case].kinds,
    "divergences": lambda case: case in CASES and "kl" in CASES[case].kinds,
    "comparisons": lambda case: case in COMPARISONS,
}
# Where an operation's convention is to be read off, part by part; and where it may be another one.
TELLING = ("rewards", "off_policy", "on_policy", "divergence", "kl_gradient")
DECIDING = (*TELLING, "binary", "clip", "sequence_ratio", "kl_values")


@dataclass(frozen=True)
class Run:
    """The content of the results file."""

    date: str
    python: str
    platform: str
    versions: dict[str, str]
    results: tuple[Result, ...]

    def library(self, name: str) -> list[Result]:
        return [result for result in self.results if result.library == name]

    @property
    def libraries(self) -> list[str]:
        return list(dict.fromkeys(result.library for result in self.results))


def read(path: Path = RESULTS) -> Run:
    content = json.loads(path.read_text(encoding="utf-8"))
    results = tuple(Result(**row) for row in content.pop("results"))
    return Run(**content, results=results)


def problems(run: Run, theorems: Container[str]) -> list[str]:
    """What is wrong with the results, for an error of the build."""
    found = []
    for result in run.results:
        place = f"{result.library}, {result.operation}, {result.case}"
        if result.theorem not in theorems and (result.theorem or result.verdict != CANNOT_RUN):
            found.append(f"{place}: the ledger has no theorem {result.theorem!r}")
        if result.case not in CASES and result.case not in COMPARISONS:
            found.append(f"{place}: there is no such case")
        if result.library not in LIBRARIES:
            found.append(f"{place}: there is no page of such a library")
        if result.verdict not in VERDICTS:
            found.append(f"{place}: there is no verdict {result.verdict!r}")
    return found


def title(case: str) -> str:
    """What a case asks."""
    return CASES[case].title if case in CASES else COMPARISONS[case]


def label(library: str, case: str) -> str:
    return str(nodes.make_id(f"conformance {library} {case}"))


def counted(results: Iterable[Result]) -> dict[str, int]:
    """How many of each verdict; those that do not occur are left out."""
    counts = Counter(result.verdict for result in results)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}


def found_words(result: Result) -> str:
    """The verdict's sentence without the verdict, which stands beside it."""
    words = sentence(result)
    return words.removeprefix("equals ").removeprefix("differs: ").removeprefix("cannot run: ")


def keeps(results: Sequence[Result]) -> str:
    """What the operation of these results was found to compute, in one line."""
    widest: dict[str, Result] = {}
    for result in sorted(results, key=lambda r: list(DTYPES).index(r.dtype)):
        if result.verdict != CANNOT_RUN:
            widest.setdefault(result.case, result)
    for case in DECIDING:
        if case in widest and widest[case].verdict == DIFFERS:
            return f"differs in {case}: {found_words(widest[case])}"
    parts = (found_words(widest[case]) for case in TELLING if case in widest)
    return ", ".join(dict.fromkeys(parts)) or "not recognised"


def alike(case: str, operations: dict[str, list[Row]]) -> list[tuple[list[str], Row]]:
    """Rows of a case, operations with the same words together."""
    together: dict[tuple[str, ...], tuple[list[str], Row]] = {}
    for operation, found in operations.items():
        for row in found:
            if row.first.case == case:
                key = (sentence(row.first), row.first.theorem, *row.dtypes)
                together.setdefault(key, ([], row))[0].append(operation)
    return list(together.values())


def values(expected: Any, got: Any) -> tuple[str, str]:
    """Both to six digits, or to all where six do not tell them apart."""
    if (pair := (short(expected), short(got)))[0] != pair[1]:
        return pair
    return str(expected), str(got)


class ConformanceDirective(LedgerDirective):
    """The results, checked, and what the pages are built of."""

    @property
    def run_(self) -> Run:
        self.env.note_dependency(str(RESULTS))
        run = read()
        if found := problems(run, self.ledger.entries):
            raise self.error(f"{RESULTS.relative_to(ROOT)}: {'; '.join(found[:5])}")
        return run

    def ref(self, target: str, *content: nodes.Node) -> pending_xref:
        """A link to a label; unlike that of a role its content may be more than text."""
        return pending_xref(
            "", nodes.inline("", "", *content), refdomain="", reftype="conformance",
            reftarget=target, refdoc=self.env.docname, refwarn=True,
        )  # fmt: skip

    def doc(self, library: str) -> pending_xref:
        """A link to the page of a library."""
        return pending_xref(
            "", nodes.inline("", library), refdomain="std", reftype="doc", refexplicit=True,
            reftarget=f"/conformance/{library}", refdoc=self.env.docname, refwarn=True,
        )  # fmt: skip

    def theorems(self, results: Iterable[Result]) -> list[nodes.Node]:
        names = dict.fromkeys(result.theorem for result in results if result.theorem)
        return join((self.thm(name) for name in names), " ")

    def counts(self, results: Iterable[Result]) -> list[nodes.Node]:
        """Verdicts in words and colour, with their numbers."""
        parts = (
            badge(f"{number} {verdict}", BADGES[verdict])
            for verdict, number in counted(results).items()
        )
        return join(parts, " ")

    def operations(self, names: Iterable[str]) -> list[nodes.Node]:
        return join((nodes.literal("", name) for name in names), ", ")

    def table(
        self, heads: Sequence[str], lines: Iterable[Sequence[nodes.Node]], *classes: str
    ) -> nodes.Node:
        """A table that scrolls if it is wide; the first column stays."""
        table = nodes.table(classes=["conformance-table", "colwidths-auto", *classes])
        group = nodes.tgroup(cols=len(heads))
        group += [nodes.colspec(colwidth=1) for _ in heads]
        group += nodes.thead("", self.cells(map(para, heads)))
        group += nodes.tbody("", *map(self.cells, lines))
        table += group
        return table

    @staticmethod
    def cells(entries: Iterable[nodes.Node]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", entry) for entry in entries))


class RunDirective(ConformanceDirective):
    def run(self) -> list[nodes.Node]:
        run = self.run_
        basis = ", ".join(
            f"{name} {version}" for name, version in run.versions.items() if name != "grpo-identity"
        )
        lines = []
        for library in run.libraries:
            own = run.library(library)
            operations = len({result.operation for result in own})
            lines.append(
                [
                    para(self.doc(library)),
                    para(own[0].version),
                    para(str(operations)),
                    para(*self.counts(own)),
                ]
            )
        missing = [name for name in LIBRARIES if name not in run.libraries]
        absent = [para(f"Not in this run: {', '.join(missing)}.")] if missing else []
        return [
            para(
                f"Run on {run.date}: {len(run.results):,} verdicts on {len(run.libraries)} "
                f"{'library' if len(run.libraries) == 1 else 'libraries'}, Python {run.python}, "
                f"{run.platform}, {basis}. Run again by ",
                nodes.literal("", "make conformance"),
                ".",
            ),
            *absent,
            self.table(("library", "version", "operations", "verdicts"), lines),
        ]


class LegendDirective(ConformanceDirective):
    def run(self) -> list[nodes.Node]:
        return [
            bullets(
                para(badge(verdict, BADGES[verdict]), f" {words}")
                for verdict, words in MEANINGS.items()
            )
        ]


class MatrixDirective(ConformanceDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        if self.arguments[0] not in MATRICES:
            raise self.error(f"no matrix {self.arguments[0]!r}; there are {', '.join(MATRICES)}")
        run, of_kind = self.run_, MATRICES[self.arguments[0]]
        lines = []
        for case in (*CASES, *COMPARISONS):
            here = [result for result in run.results if result.case == case]
            if here and of_kind(case):
                cells = [self.cell(case, here, library) for library in run.libraries]
                theorems = para(*self.theorems(here), classes=["conformance-theorems"])
                lines.append([self.head(case), *cells, theorems])
        if not lines:
            return [para("This run has no such case.")]
        heads = ("case", *run.libraries, "theorems")
        return [self.table(heads, lines, "conformance-matrix")]

    def head(self, case: str) -> nodes.Node:
        note = nodes.inline("", "", *self.text(title(case)), classes=["conformance-note"])
        return para(nodes.strong("", case), " ", note)

    def cell(self, case: str, results: Iterable[Result], library: str) -> nodes.Node:
        own = [result for result in results if result.library == library]
        if not own:
            return para("—")
        return para(self.ref(label(library, case), *self.counts(own)))


class LibraryDirective(ConformanceDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        library = self.arguments[0]
        if library not in LIBRARIES:
            raise self.error(f"no library {library!r}; there are {', '.join(LIBRARIES)}")
        run = self.run_
        adapter = import_module(f"identity.conformance.targets.{LIBRARIES[library]}")
        what = inspect.cleandoc(adapter.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        own = run.library(library)
        if not own:
            none = "The committed results do not have it: run "
            return [
                para(*self.text(what)),
                para(none, nodes.literal("", "make conformance"), "."),
            ]
        operations = rows(own)
        lines = []
        for name in operations:
            mine = [result for result in own if result.operation == name]
            lines.append(
                [para(nodes.literal("", name)), para(keeps(mine)), para(*self.counts(mine))]
            )
        cases = [c for c in (*CASES, *COMPARISONS) if any(r.case == c for r in own)]
        return [
            para(*self.text(what)),
            para(f"Version {own[0].version}, run on {run.date}. ", *self.counts(own)),
            self.table(("operation", "keeps", "verdicts"), lines, "conformance-keeps"),
            *(self.section(library, case, operations, own) for case in cases),
        ]

    def section(
        self, library: str, case: str, operations: dict[str, list[Row]], own: list[Result]
    ) -> nodes.section:
        name = label(library, case)
        section = nodes.section(ids=[name], names=[name])
        self.state.document.note_explicit_target(section, section)
        section += nodes.title("", case)
        asked = title(case)
        section += para(*self.text(asked if asked.endswith("?") else f"{asked}."))
        lines: list[list[nodes.Node]] = []
        unable: list[nodes.Node] = []
        for names, row in alike(case, operations):
            first = row.first
            if first.verdict == CANNOT_RUN:
                where = "" if row.whole else f" in {', '.join(row.dtypes)}"
                reason = shortened(first.reason or "")
                unable.append(
                    para(
                        badge(CANNOT_RUN, "unable"), f" {reason}: ", *self.operations(names), where
                    )
                )
                continue
            words: list[nodes.Node] = [para(found_words(first))]
            if first.reason:
                words.append(para(shortened(first.reason), classes=["conformance-note"]))
            lines.append(
                [
                    para(*self.operations(names)),
                    para(", ".join(row.dtypes)),
                    para(badge(first.verdict, BADGES[first.verdict])),
                    nodes.container("", *words),
                    para(*self.theorems([first])),
                ]
            )
        if lines:
            section += self.table(
                ("operation", "dtypes", "verdict", "found", "theorem"),
                lines,
                "conformance-verdicts",
            )
        if unable:
            section += bullets(unable)
        for row in differences(own):
            if row.first.case == case:
                section += self.difference(row)
        return section

    def difference(self, row: Row) -> nodes.Node:
        first = row.first
        block = details("", summary=f"{first.operation}, {', '.join(row.dtypes)}: the call")
        words = {result.dtype: found_words(result) for result in row.results}
        if len(set(words.values())) == 1:
            words = {"found": found_words(first)}
        fields: list[tuple[str, list[nodes.Node]]] = [
            (name, [nodes.Text(text)]) for name, text in words.items()
        ]
        if first.reason:
            fields.append(("note", [nodes.Text(shortened(first.reason))]))
        fields.append(("departs from", self.theorems([first])))
        if first.got is not None:
            expected, got = values(first.expected, first.got)
            if first.expected is not None:
                fields.append(("expected", [nodes.literal("", expected)]))
            fields.append(("got", [nodes.literal("", got)]))
        control = shortened(first.control) if first.control else "none was found"
        fields.append(("control", [nodes.Text(control)]))
        listed = nodes.field_list(classes=["theorem-links"])
        for name, content in fields:
            body = nodes.field_body("", para(*content))
            listed += nodes.field("", nodes.field_name("", name), body)
        block += listed
        if first.input:
            block += para(f"In {first.dtype}:")
            # Forced: a snippet that has to be filled in is no Python.
            block += nodes.literal_block(first.input, first.input, language="python", force=True)
        return block


class FoundDirective(ConformanceDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        case, run = self.arguments[0], self.run_
        if case not in CASES:
            raise self.error(f"no case {case!r}; there are {', '.join(CASES)}")
        kept: dict[str, dict[str, list[str]]] = {}
        for result in run.results:
            if result.case == case and result.verdict in (EQUALS, EQUALS_TIMES):
                times = "" if result.factor is None else f" × {result.factor}"
                of_words = kept.setdefault(f"{result.convention}{times}", {})
                names = of_words.setdefault(result.library, [])
                if result.operation not in names:
                    names.append(result.operation)
        lines = []
        for words, libraries in sorted(kept.items()):
            parts = [
                para(self.ref(label(library, case), nodes.Text(library)), ": ",
                     *self.operations(names))
                for library, names in libraries.items()
            ]  # fmt: skip
            lines.append([para(words), nodes.container("", *parts)])
        if not lines:
            return [para("This run has found none.")]
        return [self.table(("convention", "kept by"), lines)]


class TableDirective(ConformanceDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in TABLES:
            raise self.error(f"no table {name!r}; there are {', '.join(TABLES)}")
        heads, lines = TABLES[name]()
        shown = [[para(self.shown(cell)) for cell in line] for line in lines]
        return [self.table(heads, shown)]

    @staticmethod
    def shown(cell: Text) -> nodes.Node:
        if cell.kind == "code":
            return nodes.literal("", cell.words)
        if cell.kind == "math":
            return nodes.math(cell.words, cell.words)
        return nodes.Text(cell.words)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element
) -> nodes.reference | None:
    """Links of `ConformanceDirective.ref`."""
    if node.get("reftype") != "conformance":
        return None
    place = cast(StandardDomain, env.get_domain("std")).anonlabels.get(node["reftarget"])
    if place is None:
        return None
    return make_refnode(app.builder, node["refdoc"], *place, [contnode])


def setup(app: Sphinx) -> ExtensionMetadata:
    theory_figures.FIGURES.update(FIGURES)
    app.connect("missing-reference", resolve)
    app.add_directive("conformance-run", RunDirective)
    app.add_directive("conformance-legend", LegendDirective)
    app.add_directive("conformance-matrix", MatrixDirective)
    app.add_directive("conformance-library", LibraryDirective)
    app.add_directive("conformance-found", FoundDirective)
    app.add_directive("conformance-table", TableDirective)
    # Draw and count again when results have changed.
    written = hashlib.sha256(RESULTS.read_bytes()).hexdigest()
    app.add_config_value("conformance_of", written, "env")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
