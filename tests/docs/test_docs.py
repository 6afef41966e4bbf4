"""The pages: built strictly, complete, offline, and with formulas that can be read."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import sympy as sp

from proofs import ledger
from tests.docs.tex import TexError, check_tex

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ("identity", "identity.groups", "identity.expectation", "identity.diagnostics")
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
    "link": "href",
}
NOT_LOADED = {"canonical", "next", "prev", "index", "search", "author", "copyright", "license"}
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Page(HTMLParser):
    """Ids, links, loaded resources and formulas of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.sections: dict[str, str] = {}  # id -> classes
        self.links: list[str] = []
        self.loads: list[str] = []
        self.formulas: list[str] = []
        self._math: list[str] | None = None
        self._depth = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids[given["id"]] += 1
        if tag == "section":
            self.sections[given.get("id", "")] = given.get("class", "")
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        relation = set(given.get("rel", "").split())
        if tag in LOADED and LOADED[tag] in given and not (relation & NOT_LOADED):
            self.loads.append(given[LOADED[tag]])
        if self._math is not None:
            self._depth += tag not in VOID
        elif "math" in given.get("class", "").split():
            self._math, self._depth = [], 1

    def handle_endtag(self, tag: str) -> None:
        if self._math is not None and tag not in VOID:
            self._depth -= 1
            if self._depth == 0:
                self.formulas.append("".join(self._math).strip())
                self._math = None

    def handle_data(self, data: str) -> None:
        if self._math is not None:
            self._math.append(data)


def build(target: Path) -> dict[str, Page]:
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(target / "trees"), str(ROOT / "docs"), str(target / "html")],
        cwd=target,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((target / "html").rglob("*.html"))
    return {str(p.relative_to(target / "html")): Page(p) for p in pages}


@pytest.mark.slow
def test_docs_build_strictly_and_hold_together(tmp_path: Path) -> None:
    kept = ROOT / "docs" / "_build"
    # Always from nothing. In CI where `make docs`, which has the same options, takes it up.
    folder = kept if os.environ.get("CI") == "true" and not kept.exists() else tmp_path
    folder.mkdir(exist_ok=True)
    try:
        pages = build(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it would hide the warnings from `make docs`
        raise
    html = folder / "html"
    own = {n: p for n, p in pages.items() if not n.startswith("_modules/")}
    problems = [
        *repeated_ids(own),
        *theorems_without_a_section(own),
        *public_names_without_an_entry(own),
        *remote_resources(pages, html),
        *dead_links(own, html),
        *unreadable_formulas(own),
    ]
    assert not problems, "\n".join(problems)
    assert sum(len(p.formulas) for p in own.values()) > 300  # the reader does find them


def repeated_ids(pages: dict[str, Page]) -> Iterator[str]:
    for name, page in pages.items():
        for repeated in (i for i, n in page.ids.items() if n > 1):
            yield f"{name}: the id {repeated} occurs more than once"


def theorems_without_a_section(pages: dict[str, Page]) -> Iterator[str]:
    for theorem in ledger.theorems():
        anchor = theorem.id.replace(".", "-")
        verdict = "refuted" if theorem.refutes else "proved"
        places = [n for n, p in pages.items() if anchor in p.sections]
        if places != [f"theory/{theorem.topic}.html"]:
            yield f"{theorem.id} has its section on {places}"
        elif f"theorem-{verdict}" not in pages[places[0]].sections[anchor]:
            yield f"{theorem.id} is not shown as {verdict}"


def public_names_without_an_entry(pages: dict[str, Page]) -> Iterator[str]:
    entries = {i for n, p in pages.items() if n.startswith("api/") for i in p.ids}
    for module in PUBLIC:
        for name in importlib.import_module(module).__all__:
            if f"{module}.{name}" not in entries:
                yield f"{module}.{name} has no entry"


def remote_resources(pages: dict[str, Page], html: Path) -> Iterator[str]:
    for name, page in pages.items():
        for address in page.loads:
            parts = urlsplit(address)
            if parts.netloc or parts.scheme not in ("", "data"):
                yield f"{name} loads {address}"
    for style in html.rglob("*.css"):
        for address in re.findall(
            r"(?:url\(|@import)\s*['\"]?(https?:[^'\")]+)", style.read_text()
        ):
            yield f"{style.name} loads {address}"


def dead_links(pages: dict[str, Page], html: Path) -> Iterator[str]:
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (html / name).parent / unquote(parts.path) if parts.path else html / name
            if not target.exists():
                yield f"{name}: {link} leads nowhere"
            elif parts.fragment and target.suffix == ".html":
                found = pages.get(os.path.relpath(target, html))
                if found and unquote(parts.fragment) not in found.ids:
                    yield f"{name}: {link} has no such place"


def unreadable_formulas(pages: dict[str, Page]) -> Iterator[str]:
    for name, page in pages.items():
        for formula in page.formulas:
            text = formula.removeprefix(r"\(").removesuffix(r"\)")
            text = text.removeprefix(r"\[").removesuffix(r"\]").strip()
            try:
                check_tex(text)
            except TexError as problem:
                yield f"{name}: {problem}"


# -- the checks themselves are checked -------------------------------------------------------------


@pytest.mark.parametrize(
    "formula",
    [
        r"\frac{1}{G} \sum_{i=1}^{G} \frac{\left(R_{i} - \mu\right) s_{i,d}}{\sigma}",
        r"\mathrm{E}\left[K \;;\; 1 \le K \le G - 1\right] = \binom{G}{k} p^{k}",
        r"\sqrt{\frac{1}{2}} \text{ arbitrary words}",
    ],
)
def test_tex_reader_accepts_formulas(formula: str) -> None:
    check_tex(formula)


@pytest.mark.parametrize(
    "formula",
    [
        r"\frac{1}{G",
        r"\frac{1}",
        r"\left(x",
        r"x\right)",
        r"x^{2}^{3}",
        r"x_a_b",
        r"\operatorname{RolloutMean}{\left(x \right)}",
        r"\unknown{x}",
        "Sum(R[i], (i, 1, G))",
        "x**2",
        r"}x{",
        r"\sqrt",
        "_x",
        "verdict",
    ],
)
def test_tex_reader_refuses_what_is_not_a_formula(formula: str) -> None:
    with pytest.raises(TexError):
        check_tex(formula)


def test_reader_of_pages_sees_remote_resources(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<link rel="stylesheet" href="https://cdn.example/x.css"><img src="//cdn.example/i.png">'
        '<p id="x"></p><p id="x"></p><a href="#y">y</a><span class="math">\\(x^\\)</span>'
    )
    pages = {"a.html": Page(tmp_path / "a.html")}
    assert len(list(remote_resources(pages, tmp_path))) == 2
    assert len(list(repeated_ids(pages))) == 1
    assert len(list(dead_links(pages, tmp_path))) == 1
    assert len(list(unreadable_formulas(pages))) == 1


# -- the extension ---------------------------------------------------------------------------------


def test_every_formula_of_the_ledger_can_be_read_spelled_out() -> None:
    from ledger_tex import abbreviations, tex

    for theorem in ledger.theorems():
        names = abbreviations(theorem.topic)
        for part in (*theorem.clauses, *theorem.refutes):
            for side in (part.claim.lhs, part.claim.rhs):
                check_tex(tex(side))
                check_tex(tex(names.shorten(side)[0]))


def test_abbreviations_stand_for_the_very_same_term() -> None:
    from ledger_tex import abbreviations, tex

    from proofs.groups import notation as n

    names = abbreviations("groups")
    short, used = names.shorten(n.sigma * n.contrast)
    assert {str(s) for s in used} == {r"\sigma", r"\Delta s_{d}"}
    assert tex(short) == r"\sigma \Delta s_{d}"
    back = short.subs(dict(names.entries))
    assert back == n.sigma * n.contrast
    untouched = sp.sqrt(n.mu + 1)
    assert names.shorten(untouched)[0].subs(dict(names.entries)) == untouched


def test_nested_sums_print_with_different_letters() -> None:
    from ledger_tex import tex

    from proofs.groups import notation as n

    shown = tex(n.sigma)
    letters = re.findall(r"\\sum_\{(.)=", shown)
    assert len(letters) == 2
    assert len(set(letters)) == 2


def test_graph_is_drawn_in_columns_and_names_every_theorem() -> None:
    from ledger_graph import draw

    def entry(name: str, verdict: str, uses: tuple[str, ...] = (), by: tuple[str, ...] = ()) -> Any:
        return SimpleNamespace(
            id=name, topic=name.split(".")[0], title="<&>", verdict=verdict, grade="exact",
            uses=uses, corrected_by=by,
        )  # fmt: skip

    entries = {
        "a.one": entry("a.one", "proved"),
        "a.two": entry("a.two", "proved", ("a.one", "b.far")),
        "a.wrong": entry("a.wrong", "refuted", (), ("a.two",)),
        "b.far": entry("b.far", "proved"),
    }
    book: Any = SimpleNamespace(
        entries=entries, topic=lambda t: [e for e in entries.values() if e.topic == t]
    )
    svg = draw(book, "a", lambda name: f"#{name}")
    assert svg.count("<rect") == 4
    assert svg.count('class="edge uses"') == 2
    assert svg.count('class="edge corrects"') == 1
    assert "refuted" in re.sub(r"<[^>]*>", " ", svg)  # in words, not by colour alone
    assert "&lt;&amp;&gt;" in svg
    left = {m[1]: int(m[0]) for m in re.findall(r'<rect x="(\d+)".*?<tspan[^>]*>([^<]*)<', svg)}
    assert left["one"] < left["two"] < left["wrong"]
    looped = {"a.one": entry("a.one", "proved", ("a.one",))}
    book = SimpleNamespace(entries=looped, topic=lambda t: list(looped.values()))
    with pytest.raises(ValueError, match="cycle"):
        draw(book, "a", lambda name: name)


def test_the_page_on_the_kernel_lists_every_module() -> None:
    from proof_ledger import ModulesDirective

    modules = {path.stem for path in (ROOT / "proofs" / "kernel").glob("[a-z]*.py")}
    assert modules - {"errors"} == set(ModulesDirective.names)


def test_every_rule_of_the_kernel_says_what_it_decides() -> None:
    from proofs.kernel.rules import RULES

    for rule in RULES:
        assert len(inspect.getdoc(rule) or "") > 10, rule.__name__
        assert not (rule.__doc__ or "").startswith(f"{rule.__name__}("), rule.__name__


# -- files beside the pages ------------------------------------------------------------------------


def test_readme_examples_run() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    runner = doctest.DocTestRunner()
    for n, block in enumerate(blocks):
        test = doctest.DocTestParser().get_doctest(block, {}, f"README block {n}", "README.md", 0)
        assert runner.run(test).failed == 0
    assert runner.summarize(verbose=False).attempted >= 5


def test_changelog_and_readme_name_the_ledger() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    known = {t.id for t in ledger.theorems()}
    for theorem in ledger.theorems():
        slug = theorem.id.split(".")[1]
        assert f"`{slug}`" in changelog or f"`{theorem.id}`" in changelog, theorem.id
    for name in re.findall(r"`((?:groups|expectation)\.[a-z0-9-]+)`", readme + changelog):
        assert name in known, name


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"])
def test_no_path_of_a_machine_in_the_front_matter(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(home|root|Users|work|tmp|opt|usr)/", text)
    assert not re.search(r"[A-Z]:\\\\", text)
