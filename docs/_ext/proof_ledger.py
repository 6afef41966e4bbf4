"""Sphinx extension: checked theorems as page sections.

Directives

``.. theorem:: topic.slug``
    One theorem: statement, domain, assumptions, derivation, verdict, witnesses, links.
``.. theorem-rest:: topic``
    The theorems of a topic that no page places by hand, so that none is missing.
``.. ledger-table::``, ``.. ledger-graph:: topic``, ``.. ledger-counts::``
    All theorems; the dependency graph of a topic with the same links as text; live counts.
``.. kernel-rules::``, ``.. kernel-modules::``, ``.. kernel-facts::``
    The trusted base, from the docstrings of the kernel itself.
``.. first-principles::``
    The checks that stand beside the derivations.

Role ``:ledger:thm:`topic.slug``` links to a theorem. Everything is computed while the pages are
built: the whole ledger is checked once, and again only when a proof or a function has changed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, ClassVar, cast

from docutils import nodes
from docutils.statemachine import StringList
from ledger_data import ROOT, ClauseEntry, Entry, Ledger, RefutationEntry, run_ledger
from ledger_graph import draw
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.domains import Domain, ObjType
from sphinx.environment import BuildEnvironment
from sphinx.roles import XRefRole
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)
PLACED = re.compile(r"^\s*\.\. theorem:: (\S+)\s*$", re.MULTILINE)
SUPERSCRIPT = re.compile(r"(?<=[\w)])\^([^\W_](?![A-Za-z0-9])|\{[^}]*\})")
SUBSCRIPT = re.compile(r"(?<!\w)([^\W_]{1,2}[⁺⁻]?)_([^\W_](?![A-Za-z0-9])|\{[^}]*\})")


# -- small node builders ---------------------------------------------------------------------------


class details(nodes.General, nodes.Element):
    """A block behind a summary line."""


class graph(nodes.General, nodes.Element):
    """A dependency graph, drawn when the addresses of the pages are known."""


def para(*children: nodes.Node | str, classes: Iterable[str] = ()) -> nodes.paragraph:
    node = nodes.paragraph("", "", *map(inline, children))
    node["classes"] += list(classes)
    return node


def inline(child: nodes.Node | str) -> nodes.Node:
    return nodes.Text(child) if isinstance(child, str) else child


def math(tex: str) -> nodes.math:
    return nodes.math(tex, tex)


def display(tex: str) -> nodes.math_block:
    return nodes.math_block(tex, tex, number=None, docname="", **{"no-wrap": False})


def badge(word: str, kind: str) -> nodes.inline:
    return nodes.inline("", word, classes=["badge", f"badge-{kind}"])


def bullets(items: Iterable[nodes.Node | list[nodes.Node]]) -> nodes.bullet_list:
    result = nodes.bullet_list()
    for item in items:
        result += nodes.list_item("", *(item if isinstance(item, list) else [item]))
    return result


def join(parts: Iterable[nodes.Node], separator: str = ", ") -> list[nodes.Node]:
    result: list[nodes.Node] = []
    for part in parts:
        result += [nodes.Text(separator)] if result else []
        result.append(part)
    return result


def xref(domain: str, kind: str, target: str, docname: str, title: str = "") -> pending_xref:
    return pending_xref(
        "",
        nodes.literal("", title or target, classes=["xref"]),
        refdomain=domain,
        reftype=kind,
        reftarget=target,
        refexplicit=bool(title),
        refdoc=docname,
        refwarn=True,
    )


def anchor(identifier: str) -> str:
    return str(nodes.make_id(identifier))


def count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


# -- the domain ------------------------------------------------------------------------------------


class LedgerDomain(Domain):
    """Theorems as link targets."""

    name = "ledger"
    label = "Proof ledger"
    object_types: ClassVar[dict[str, ObjType]] = {"theorem": ObjType("theorem", "thm")}
    roles: ClassVar[dict[str, Any]] = {"thm": XRefRole()}
    initial_data: ClassVar[dict[str, Any]] = {"theorems": {}}
    data_version = 1

    @property
    def theorems(self) -> dict[str, tuple[str, str]]:
        return cast("dict[str, tuple[str, str]]", self.data["theorems"])

    def clear_doc(self, docname: str) -> None:
        for name in [n for n, (doc, _) in self.theorems.items() if doc == docname]:
            del self.theorems[name]

    def merge_domaindata(self, docnames: AbstractSet[str], otherdata: dict[str, Any]) -> None:
        for name, (doc, title) in otherdata["theorems"].items():
            if doc in docnames:
                self.theorems[name] = (doc, title)

    def resolve_xref(
        self,
        env: BuildEnvironment,
        fromdocname: str,
        builder: Builder,
        typ: str,
        target: str,
        node: pending_xref,
        contnode: nodes.Element,
    ) -> nodes.reference | None:
        if target not in self.theorems:
            return None
        doc, title = self.theorems[target]
        return make_refnode(builder, fromdocname, doc, anchor(target), [contnode], title)

    def resolve_any_xref(self, *_: Any, **__: Any) -> list[tuple[str, nodes.reference]]:
        return []

    def get_objects(self) -> Iterator[tuple[str, str, str, str, str, int]]:
        for name, (doc, title) in self.theorems.items():
            yield name, f"{name}: {title}", "theorem", doc, anchor(name), 1


# -- directives ------------------------------------------------------------------------------------


class LedgerDirective(SphinxDirective):
    @property
    def ledger(self) -> Ledger:
        return cast(Ledger, self.env.ledger)  # type: ignore[attr-defined]

    def thm(self, identifier: str) -> pending_xref:
        return xref("ledger", "thm", identifier, self.env.docname)

    def function(self, name: str, title: str = "") -> pending_xref:
        return xref("py", "func", name, self.env.docname, title)

    def parse(self, lines: Iterable[str], source: str) -> list[nodes.Node]:
        container = nodes.container()
        container.document = self.state.document
        self.state.nested_parse(StringList(list(lines), source), 0, container)
        return list(container.children)

    @staticmethod
    def text(words: str) -> list[nodes.Node]:
        """The words of a proof object: `code`, and A_i with its subscript; no other markup."""
        result: list[nodes.Node] = []
        for n, part in enumerate(re.split(r"`+([^`]+)`+", words)):
            if n % 2:
                result.append(nodes.literal("", part))
                continue
            for m, raised in enumerate(SUPERSCRIPT.split(part)):
                if m % 2:
                    result.append(nodes.superscript("", raised.strip("{}")))
                    continue
                for j, piece in enumerate(SUBSCRIPT.split(raised)):  # text, base, index, text, …
                    if piece and j % 3 == 2:
                        result.append(nodes.subscript("", piece.strip("{}")))
                    elif piece:
                        result.append(nodes.Text(piece))
        return result


class TheoremDirective(LedgerDirective):
    required_arguments = 1
    has_content = True  # a word to the reader, put between the title and the statement

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in self.ledger.entries:
            raise self.error(f"the ledger has no theorem {name!r}")
        return [self.section(self.ledger.entries[name])]

    def section(self, entry: Entry) -> nodes.section:
        domain = cast(LedgerDomain, self.env.get_domain("ledger"))
        if entry.id in domain.theorems and domain.theorems[entry.id][0] != self.env.docname:
            raise self.error(f"{entry.id} is placed on two pages")
        domain.theorems[entry.id] = (self.env.docname, entry.title)
        section = nodes.section(ids=[anchor(entry.id)], names=[entry.id.lower()])
        section["classes"] += ["theorem", f"theorem-{entry.verdict}"]
        self.state.document.note_explicit_target(section, section)
        section += nodes.title("", "", *self.text(entry.title))
        section += para(
            nodes.literal("", entry.id, classes=["theorem-id"]),
            " ",
            badge(entry.verdict, entry.verdict),
            " ",
            *([badge(f"grade: {entry.grade}", "grade")] if entry.grade else []),
            classes=["theorem-head"],
        )
        section += para(*self.text(entry.words), classes=["theorem-words"])
        section += self.parse(self.content, "<theorem>") if self.content else []
        for problem in entry.problems:
            section += nodes.warning("", para(f"Not established: {problem}"))
        for refutation in entry.refutations:
            section += self.refutation(entry, refutation)
        if entry.corrected_by:
            section += para(
                nodes.strong("", "What is true instead: "),
                *join(self.thm(n) for n in entry.corrected_by),
            )
        if entry.assumptions:
            section += para(nodes.strong("", "Assumptions"), classes=["theorem-label"])
            section += bullets(para(*self.text(a)) for a in entry.assumptions)
        for clause in entry.clauses:
            section += self.clause(entry, clause)
        section += self.mutants(entry)
        section += self.links(entry)
        return section

    def refutation(self, entry: Entry, r: RefutationEntry) -> list[nodes.Node]:
        label = "The claim" if len(entry.refutations) == 1 else f"The claim: {r.name}"
        result: list[nodes.Node] = [para(nodes.strong("", label), classes=["theorem-label"])]
        if r.words:
            result.append(para(*self.text(r.words)))
        result += self.statement(r.domain, r.claim, r.where, r.long_form)
        if r.witness:
            result.append(
                para(
                    nodes.strong("", "False at: "),
                    nodes.literal("", r.witness, classes=["witness"]),
                    classes=["theorem-witness"],
                )
            )
        return result

    def statement(
        self, domain: tuple[str, ...], claim: str, where: tuple[str, ...], long_form: str
    ) -> list[nodes.Node]:
        result: list[nodes.Node] = []
        if domain:
            parts = join((math(d) for d in domain), "; ")
            result.append(para("For all ", *parts, classes=["theorem-domain"]))
        result.append(display(claim))
        if where:
            parts = join((math(w) for w in where), "; ")
            result.append(para("where ", *parts, ".", classes=["theorem-where"]))
        if long_form:
            block = details("", summary="The same, spelled out")
            block += display(long_form)
            result.append(block)
        return result

    def clause(self, entry: Entry, clause: ClauseEntry) -> list[nodes.Node]:
        label = "Statement" if not entry.refutations else "What holds"
        if len(entry.clauses) > 1:
            label += f": {clause.name}"
        result: list[nodes.Node] = [para(nodes.strong("", label), classes=["theorem-label"])]
        if clause.words:
            result.append(para(*self.text(clause.words)))
        result += self.statement(clause.domain, clause.statement, clause.where, clause.long_form)
        if len(clause.steps) == 1 and not clause.steps[0].heading:
            # The one line is the statement itself: say how it was discharged.
            (step,) = clause.steps
            lead = [*self.text(step.text), "; "] if step.text != clause.words else []
            reason = self.justification(step.procedure, step.grade, step.rules)
            return [*result, para(nodes.strong("", "Derivation: "), *lead, *reason)]
        result.append(para(nodes.strong("", "Derivation"), classes=["theorem-label"]))
        steps: nodes.enumerated_list | None = None
        for number, step in enumerate(clause.steps, start=1):
            if step.heading or step.start or steps is None:
                if step.heading:
                    words: list[nodes.Node | str] = []
                    for word, tex in step.heading:
                        words += ["; " if words else "", f"{word} ", math(tex)]
                    result.append(para(nodes.emphasis("", "", *map(inline, words)), "."))
                if step.start:
                    result.append(display(step.start))
                steps = nodes.enumerated_list(enumtype="arabic", prefix="", suffix=".")
                steps["start"] = number
                steps["classes"].append("derivation")
                result.append(steps)
            steps += nodes.list_item(
                "",
                para(*self.text(step.text)),
                display(step.tex),
                para(*self.justification(step.procedure, step.grade, step.rules)),
            )
        return result

    def justification(
        self, procedure: str, grade: str, rules: tuple[str, ...]
    ) -> list[nodes.Node | str]:
        result: list[nodes.Node | str] = ["by ", nodes.emphasis("", procedure)]
        if rules:
            links = (
                xref("py", "class", f"proofs.kernel.rules.{r}", self.env.docname, r) for r in rules
            )
            result += [" (", *join(links), ")"]
        return [*result, f" · {grade}"]

    def mutants(self, entry: Entry) -> list[nodes.Node]:
        if not entry.mutants:
            return []
        done = sum(m.refuted for m in entry.mutants)
        block = details("", summary=f"Near misses: {done} of {len(entry.mutants)} refuted")
        block += para("Each differs a little from what is stated above, and must be false.")
        block += bullets(
            para(
                *self.text(m.name),
                ": " + ("false at " if m.refuted else "NOT refuted"),
                nodes.literal("", m.witness, classes=["witness"]),
            )
            for m in entry.mutants
        )
        return [block]

    def links(self, entry: Entry) -> list[nodes.Node]:
        rows: list[tuple[str, list[nodes.Node]]] = []

        def row(label: str, parts: Iterable[nodes.Node], separator: str = ", ") -> None:
            found = join(parts, separator)
            if found:
                rows.append((label, found))

        row("Uses", (self.thm(n) for n in entry.uses))
        row("Used by", (self.thm(n) for n in self.ledger.used_by(entry.id)))
        row("Corrects", (self.thm(n) for n in self.ledger.corrects(entry.id)))
        row("Functions", (self.function(n) for n in entry.implements))
        if entry.check:
            words = [
                self.function(entry.check),
                nodes.Text(f", {count(entry.cases, 'exact case')}"),
            ]
            row("First-principles check", words, "")
        if entry.samples:
            row("Sampled", [nodes.Text(f"at {entry.samples} exact points of the domain")])
        row("References", (nodes.Text(r) for r in entry.references), "; ")
        row("Check it yourself", [nodes.literal("", f"grpo-identity prove {entry.id}")])
        table = nodes.field_list(classes=["theorem-links"])
        for label, found in rows:
            table += nodes.field(
                "", nodes.field_name("", label), nodes.field_body("", para(*found))
            )
        return [table]


class RestDirective(TheoremDirective):
    def run(self) -> list[nodes.Node]:
        topic = self.arguments[0]
        placed = self.env.ledger_placed  # type: ignore[attr-defined]
        rest = [e for e in self.ledger.topic(topic) if e.id not in placed]
        return [self.section(e) for e in rest]


class TableDirective(LedgerDirective):
    def run(self) -> list[nodes.Node]:
        header = ("Theorem", "Statement", "Verdict", "Grade", "Near misses")
        table = nodes.table(classes=["ledger-table"])
        group = nodes.tgroup(cols=len(header))
        group += [nodes.colspec(colwidth=w) for w in (28, 36, 14, 12, 10)]
        group += nodes.thead("", self.row([para(h) for h in header]))
        body = nodes.tbody()
        for e in self.ledger.entries.values():
            done = f"{sum(m.refuted for m in e.mutants)}/{len(e.mutants)}"
            body += self.row(
                [
                    para(self.thm(e.id)),
                    para(*self.text(e.title)),
                    para(badge(e.verdict, e.verdict)),
                    para(e.grade),
                    para(done),
                ]
            )
        group += body
        table += group
        return [table]

    @staticmethod
    def row(cells: Iterable[nodes.Node]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", cell) for cell in cells))


class CountsDirective(LedgerDirective):
    def run(self) -> list[nodes.Node]:
        all_ = list(self.ledger.entries.values())
        verdicts = {v: sum(e.verdict == v for e in all_) for v in ("proved", "refuted", "open")}
        mutants = [m for e in all_ for m in e.mutants]
        cases = sum(e.cases for e in all_)
        samples = sum(e.samples for e in all_)
        tiles = [
            (verdicts["proved"], "proved", "proved"),
            (verdicts["refuted"], "refuted, each with an exact witness", "refuted"),
            (verdicts["open"], "open", "open"),
            (sum(m.refuted for m in mutants), f"of {len(mutants)} near misses refuted", "plain"),
            (cases, "cases enumerated from first principles", "plain"),
            (samples, "exact sample points", "plain"),
        ]
        box = nodes.container(classes=["counts"])
        for number, words, kind in tiles:
            tile = nodes.container(classes=["count", f"count-{kind}"])
            tile += para(nodes.strong("", f"{number:,}"), f" {words}")
            box += tile
        note = para(
            f"Counted while this page was built: the whole ledger took "
            f"{self.ledger.seconds:.0f} seconds."
        )
        note["classes"].append("counts-note")
        return [box, note]


class GraphDirective(LedgerDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        topic = self.arguments[0]
        drawing = graph(topic=topic)
        items = []
        for e in self.ledger.topic(topic):
            links: list[nodes.Node | str] = [self.thm(e.id), f" ({e.verdict})"]
            for words, names in (
                ("uses", e.uses),
                ("is corrected by", e.corrected_by),
            ):
                if names:
                    links += [f"; {words} ", *join(self.thm(n) for n in names)]
            items.append(para(*links))
        block = details("", summary="The same as a list")
        block += bullets(items)
        legend = para(
            "Solid arrows: is used by. Dashed arrows: corrects. A dashed frame is a refuted claim.",
            classes=["graph-legend"],
        )
        return [drawing, legend, block]


class RulesDirective(LedgerDirective):
    """Every rule of the closed list, with its docstring as it stands in the code."""

    def run(self) -> list[nodes.Node]:
        from proofs.kernel.rules import RULES

        lines: list[str] = []
        for rule in RULES:
            if not (rule.__doc__ or "").strip():
                raise self.error(f"the rule {rule.__name__} has no docstring")
            lines += [f".. autoclass:: proofs.kernel.rules.{rule.__name__}", ""]
        return self.parse(lines, "<kernel rules>")


class ModulesDirective(LedgerDirective):
    """The kernel's modules in reading order: first docstring paragraph and size."""

    names = (
        "terms",
        "names",
        "arrays",
        "domain",
        "semantics",
        "quadrature",
        "sampling",
        "wellformed",
        "algebra",
        "moments",
        "context",
        "series",
        "means",
        "calculus",
        "integration",
        "exponentials",
        "circular",
        "facts",
        "rules",
        "theorem",
        "check",
    )

    def run(self) -> list[nodes.Node]:
        folder = ROOT / "proofs" / "kernel"
        present = {p.stem for p in folder.glob("*.py")} - {"__init__", "errors"}
        order = [n for n in self.names if n in present] + sorted(present - set(self.names))
        items, total = [], 0
        for name in order:
            source = (folder / f"{name}.py").read_text(encoding="utf-8")
            size = source.count("\n")
            total += size
            doc = inspect.cleandoc(_module_docstring(source)).split("\n\n")[0].replace("\n", " ")
            items.append(
                para(
                    nodes.literal("", f"proofs/kernel/{name}.py"),
                    f" ({size} lines): ",
                    *self.text(doc),
                )
            )
        return [bullets(items), para(f"Together {total:,} lines.")]


def _module_docstring(source: str) -> str:
    import ast

    return ast.get_docstring(ast.parse(source)) or ""


class FactsDirective(LedgerDirective):
    """The literature facts that the kernel believes."""

    def run(self) -> list[nodes.Node]:
        from ledger_tex import relation, tex

        from proofs.kernel.facts import FACTS

        if not FACTS:
            return [para("None at present: no theorem of the ledger has the grade “cited”.")]
        items: list[nodes.Node | list[nodes.Node]] = []
        for fact in FACTS.values():
            formula = f"{tex(fact.lhs)} {relation(fact.relation)} {tex(fact.rhs)}"
            head = para(
                nodes.literal("", fact.name), ": ", *self.text(fact.words), f" ({fact.reference})"
            )
            items.append([head, display(formula)])
        return [bullets(items)]


class ChecksDirective(LedgerDirective):
    """The first-principles checks, in the order of the ledger."""

    def run(self) -> list[nodes.Node]:
        names = dict.fromkeys(e.check for e in self.ledger.entries.values() if e.check)
        lines: list[str] = []
        for name in names:
            lines += [f".. autofunction:: {name}", ""]
        return self.parse(lines, "<first-principles checks>")


# -- events ----------------------------------------------------------------------------------------


def check_ledger_once(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Before any page is read: run the ledger (or reuse it) and see what is placed where."""
    known = getattr(env, "ledger", None)
    ledger = run_ledger(known)
    env.ledger = ledger  # type: ignore[attr-defined]
    placed: dict[str, str] = {}
    for path in sorted(Path(app.srcdir).rglob("*.rst")):
        if "_build" in path.parts:
            continue
        for name in PLACED.findall(path.read_text(encoding="utf-8")):
            if name in placed:
                logger.warning("%s is placed on %s and on %s", name, placed[name], path.name)
            placed[name] = path.name
    changed = known is None or known.fingerprint != ledger.fingerprint
    if changed or placed != getattr(env, "ledger_placed", None):
        docnames[:] = sorted(env.found_docs)  # any page may show something of the ledger
    env.ledger_placed = placed  # type: ignore[attr-defined]
    states = {e.verdict for e in ledger.entries.values()}
    if "open" in states:
        names = [e.id for e in ledger.entries.values() if e.verdict == "open"]
        logger.warning("open theorems: %s", ", ".join(names))


def every_theorem_is_shown(app: Sphinx, env: BuildEnvironment) -> None:
    domain = cast(LedgerDomain, env.get_domain("ledger"))
    missing = set(env.ledger.entries) - set(domain.theorems)  # type: ignore[attr-defined]
    if missing:
        logger.warning("no page shows %s", ", ".join(sorted(missing)))


def draw_graphs(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    domain = cast(LedgerDomain, app.env.get_domain("ledger"))

    def link(name: str) -> str:
        doc, _ = domain.theorems[name]
        page = "" if doc == docname else app.builder.get_relative_uri(docname, doc)
        return f"{page}#{anchor(name)}"

    for node in list(doctree.findall(graph)):
        svg = draw(app.env.ledger, node["topic"], link)  # type: ignore[attr-defined]
        raw = nodes.raw("", f'<div class="ledger-graph-frame">{svg}</div>', format="html")
        node.replace_self(raw)


def link_theorems(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Add links from a function to the theorems that it implements."""
    proven = getattr(obj, "__proven__", ())
    if proven:
        links = ", ".join(f":ledger:thm:`{t}`" for t in proven)
        lines += ["", ".. rubric:: Proven by", "", links, ""]


def visit_details(self: Any, node: details) -> None:
    self.body.append("<details><summary>" + self.encode(node["summary"]) + "</summary>\n")


def depart_details(self: Any, node: details) -> None:
    self.body.append("</details>\n")


def skip(self: Any, node: nodes.Element) -> None:
    """Other builders show the content of a details block as it is."""


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_domain(LedgerDomain)
    app.add_node(details, html=(visit_details, depart_details), text=(skip, skip))
    app.add_node(graph)
    app.add_directive("theorem", TheoremDirective)
    app.add_directive("theorem-rest", RestDirective)
    app.add_directive("ledger-table", TableDirective)
    app.add_directive("ledger-counts", CountsDirective)
    app.add_directive("ledger-graph", GraphDirective)
    app.add_directive("kernel-rules", RulesDirective)
    app.add_directive("kernel-modules", ModulesDirective)
    app.add_directive("kernel-facts", FactsDirective)
    app.add_directive("first-principles", ChecksDirective)
    app.connect("env-before-read-docs", check_ledger_once)
    app.connect("env-check-consistency", every_theorem_is_shown)
    app.connect("doctree-resolved", draw_graphs)
    app.connect("autodoc-process-docstring", link_theorems, priority=900)
    return {"version": "1", "env_version": 1, "parallel_read_safe": False}
