"""The results of a run as one HTML page, which loads nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from identity.conformance.cases import CASES, COMPARISONS
from identity.conformance.operation import KINDS
from identity.conformance.report import (
    VERDICTS,
    Row,
    by_library,
    differences,
    rows,
    sentence,
    short,
    shortened,
    summary,
    versions,
)
from identity.conformance.results import CANNOT_RUN, DIFFERS, EQUALS, EQUALS_TIMES, Result

__all__ = ["page"]

_TITLES = {
    "advantage": "Advantages",
    "loss": "Losses",
    "aggregate": "Aggregation of losses",
    "kl": "Divergences",
}
_CLASSES = {EQUALS: "eq", EQUALS_TIMES: "times", DIFFERS: "differs", CANNOT_RUN: "none"}
_MEANINGS = {
    EQUALS: "value and gradient are those of a convention",
    EQUALS_TIMES: "they are times a factor in closed form",
    DIFFERS: "there is an input on which they are not: the smallest one found is shown",
    CANNOT_RUN: "the call has no means for it, or the library ended it; no verdict",
}
_HEAVIEST = (DIFFERS, CANNOT_RUN, EQUALS_TIMES, EQUALS)

# From operation, case and dtype to an id in the page.
Places = dict[tuple[str, str, str], str]

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de;
  --box: #f6f8fa; --link: #0550ae; --eq: #dafbe1; --eq-ink: #0b4a1f; --times: #d8ecff;
  --times-ink: #0a3a6b; --differs: #ffe2bd; --differs-ink: #6b3600; --none: #eceff2;
  --none-ink: #474e57; --aim: #fff3c4; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0f1318; --ink: #e3e8ee; --soft: #a2acb8; --line: #39424d; --box: #191f27;
    --link: #84bcff; --eq: #103a20; --eq-ink: #b3efc4; --times: #12335a; --times-ink: #c0deff;
    --differs: #4f2d06; --differs-ink: #ffdcb3; --none: #262d36; --none-ink: #c2cad3;
    --aim: #453a10; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 100rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .5rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .4rem; }
h4 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .4rem 0; }
a { color: var(--link); }
code, pre, .op { font: .85rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.soft { color: var(--soft); }
.note { background: var(--aim); padding: .5rem .75rem; border-radius: 6px; }
.wide { overflow-x: auto; margin: .4rem 0; border: 1px solid var(--line); border-radius: 6px; }
.wide:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .9rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
tr:last-child > * { border-bottom: 0; }
thead th { background: var(--box); color: var(--soft); font-weight: 600; white-space: nowrap; }
.matrix { width: auto; min-width: 100%; }
.matrix td { border-left: 1px solid var(--line); min-width: 5.5rem; padding: 0; height: 1px; }
.matrix td a { display: block; height: 100%; padding: .35rem .6rem; color: inherit;
  text-decoration: none; white-space: nowrap; }
.matrix td a:hover, .matrix td a:focus-visible { text-decoration: underline; }
.matrix th[scope=row] { position: sticky; left: 0; background: var(--paper); font-weight: 400;
  min-width: 14rem; max-width: 24rem; }
.matrix thead th:first-child { position: sticky; left: 0; }
nav a { margin-right: 1rem; }
.eq { background: var(--eq); color: var(--eq-ink); }
.times { background: var(--times); color: var(--times-ink); }
.differs { background: var(--differs); color: var(--differs-ink); }
.matrix td.differs { font-weight: 600; }
.none { background: var(--none); color: var(--none-ink); }
.mark { display: inline-block; padding: 0 .45rem; border-radius: 4px; white-space: nowrap; }
.detail { min-width: 46rem; table-layout: fixed; }
.detail th { font-weight: 400; width: 8.5rem; }
.detail th:nth-child(3) { width: auto; }
.detail th:nth-child(4) { width: 16rem; }
h4.op { margin: 1rem 0 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
pre { margin: .3rem 0; padding: .6rem .75rem; overflow-x: auto; background: var(--box);
  border: 1px solid var(--line); border-radius: 6px; }
.difference { margin: .8rem 0; padding: .6rem .8rem; border: 1px solid var(--line);
  border-left: 5px solid var(--differs-ink); border-radius: 6px; }
tr:target, article:target { background: var(--aim); }
@media (max-width: 40rem) {
  body { padding: .75rem; font-size: 15px; }
  .matrix th[scope=row] { min-width: 8rem; max-width: 8rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dt { margin-top: .4rem; } }
""".strip()


def page(
    results: Sequence[Result],
    *,
    notes: Iterable[str] = (),
    when: datetime | None = None,
    software: Mapping[str, str] | None = None,
) -> str:
    """One page: a matrix of operations and cases for each library, and all the details below.

    Parameters
    ----------
    results : sequence of Result
        Of a run, in its order.
    notes : iterable of str
        What to say above them.
    when : datetime, optional
        When it was run; now, if left out.
    software : mapping of str to str, optional
        Versions of what it was run with; those of this process, if left out.

    Returns
    -------
    str
        HTML, which neither runs nor loads anything.
    """
    when = datetime.now(UTC) if when is None else when
    software = versions() if software is None else software
    libraries = by_library(results)
    together = ", ".join(f"{name} {version}" for name, version in software.items())
    body = [
        "<header>",
        "<h1>What the installed trainers compute</h1>",
        f'<p class="soft">{when:%Y-%m-%d}; {escape(together)}</p>',
        f"<p>{escape(summary(results))}</p>",
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
        _legend(),
        _links(libraries),
        "</header>",
        "<main>",
        *(
            _library(n, library, version, found)
            for n, ((library, version), found) in enumerate(libraries.items())
        ),
        _cases({result.case for result in results}),
        "</main>",
    ]
    names = ", ".join(f"{library} {version}" for library, version in libraries)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(f'Conformance: {names}')}</title>",
            f"<style>\n{_STYLE}\n</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


def _legend() -> str:
    entries = "".join(
        f"<dt>{_mark(verdict)}</dt><dd>{escape(_MEANINGS[verdict])}</dd>" for verdict in VERDICTS
    )
    return (
        f"<dl>{entries}</dl>"
        "<p>A difference is a difference, not an error: which convention a library keeps is its "
        "own choice. Every cell leads to its details.</p>"
    )


def _links(libraries: Iterable[tuple[str, str]]) -> str:
    links = (
        f'<a href="#l{n}">{escape(library)} {escape(version)}</a>'
        for n, (library, version) in enumerate(libraries)
    )
    return f'<nav aria-label="Libraries">{" ".join(links)}</nav>'


def _mark(verdict: str) -> str:
    return f'<span class="mark {_CLASSES[verdict]}">{escape(verdict)}</span>'


def _scrolling(table: str, label: str) -> str:
    """A table in a box of its own, that the keyboard can scroll too."""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'
    )


def _library(number: int, library: str, version: str, results: list[Result]) -> str:
    operations, shown = rows(results), differences(results)
    places = _places(f"l{number}", operations, shown)
    parts = [
        f'<section id="l{number}"><h2>{escape(library)} {escape(version)}</h2>',
        f"<p>{escape(summary(results))}</p>",
    ]
    kinds = _kinds(operations)
    for kind in dict.fromkeys(kinds.values()):
        members = {name: found for name, found in operations.items() if kinds[name] == kind}
        parts += [
            f"<h3>{escape(kind)}</h3>",
            _scrolling(_matrix(members, places), f"{library}: {kind}"),
        ]
    if shown:
        parts.append("<h3>Differences</h3>")
        parts += [_difference(row, places) for row in shown]
    parts.append("<h3>Operations</h3>")
    parts += [_operation(name, found, places) for name, found in operations.items()]
    return "\n".join([*parts, "</section>"])


def _places(prefix: str, operations: Mapping[str, Sequence[Row]], shown: Sequence[Row]) -> Places:
    """Where each result is told in full: its difference, if it is one, or the line of its case."""
    found: Places = {}
    for n, row in enumerate(row for of_case in operations.values() for row in of_case):
        found |= dict.fromkeys(map(_key, row.results), f"{prefix}-c{n}")
    for n, row in enumerate(shown):
        found |= dict.fromkeys(map(_key, row.results), f"{prefix}-d{n}")
    return found


def _kinds(operations: dict[str, list[Row]]) -> dict[str, str]:
    """The heading for each operation, by the cases that it was asked."""
    asked = {name: {row.first.case for row in found} for name, found in operations.items()}
    every = set().union(*asked.values())
    # The cases of an aggregation are cases of a loss as well: some of the others tell them apart.
    clear = any(c in CASES and CASES[c].kinds == ("loss",) for c in every)
    titles = {}
    for name, cases in asked.items():
        possible = [
            kind for kind in KINDS if all(kind in CASES[c].kinds for c in cases if c in CASES)
        ]
        if possible == ["loss", "aggregate"]:
            titles[name] = _TITLES["aggregate"] if clear else "Losses and their aggregation"
        else:
            titles[name] = _TITLES[possible[0]] if len(possible) == 1 else "Operations"
    return titles


# -- the matrix ----------------------------------------------------------------------------------


def _matrix(operations: dict[str, list[Row]], places: Places) -> str:
    asked = {row.first.case for found in operations.values() for row in found}
    titles = _titles() | dict.fromkeys(sorted(asked - _titles().keys()), "")
    cases = [case for case in titles if case in asked]
    head = "".join(
        f'<th scope="col" title="{escape(titles[case])}">{escape(case)}</th>' for case in cases
    )
    lines = []
    for name, found in operations.items():
        cells = "".join(_cell([r for r in found if r.first.case == c], places) for c in cases)
        lines.append(f'<tr><th scope="row" class="op">{_breakable(name)}</th>{cells}</tr>')
    return (
        f'<table class="matrix"><thead><tr><th scope="col">operation</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _breakable(name: str) -> str:
    """A name that may be broken after its underscores and brackets."""
    return re.sub(r"(&\w+;|[_(,.=])", r"\1<wbr>", escape(name))


def _titles() -> dict[str, str]:
    return {name: case.title for name, case in CASES.items()} | COMPARISONS


def _cell(found: list[Row], places: Places) -> str:
    if not found:
        return "<td></td>"
    heaviest = min(found, key=lambda row: _HEAVIEST.index(row.first.verdict))
    verdict = heaviest.first.verdict
    same = all(row.first.verdict == verdict for row in found)
    dtypes = "" if same else f"<br>in {escape(', '.join(heaviest.dtypes))}"
    words = "; ".join(sentence(row.first) for row in found)
    return (
        f'<td class="{_CLASSES[verdict]}">'
        f'<a href="#{places[_key(heaviest.first)]}" title="{escape(words)}">'
        f"{escape(verdict)}{dtypes}</a></td>"
    )


def _key(result: Result) -> tuple[str, str, str]:
    return result.operation, result.case, result.dtype


# -- details -------------------------------------------------------------------------------------


def _operation(name: str, found: list[Row], places: Places) -> str:
    lines = "".join(_line(row, places[_key(row.first)]) for row in found)
    table = (
        '<table class="detail"><thead><tr><th scope="col">case</th><th scope="col">dtypes</th>'
        '<th scope="col">verdict</th><th scope="col">theorem</th></tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )
    return f'<h4 class="op">{escape(name)}</h4>{_scrolling(table, name)}'


def _line(row: Row, place: str) -> str:
    first = row.first
    identity, notes = f' id="{place}"', [sentence(first)]
    if first.reason and first.verdict != CANNOT_RUN:
        notes.append(shortened(first.reason))
    words = "<br>".join(map(escape, notes))
    if first.verdict == DIFFERS:
        identity, words = "", f'{words} (<a href="#{place}">input</a>)'
    return (
        f'<tr{identity}><th scope="row" class="{_CLASSES[first.verdict]}">{escape(first.case)}</th>'
        f"<td>{escape(', '.join(row.dtypes))}</td><td>{words}</td>"
        f"<td>{_code(first.theorem)}</td></tr>"
    )


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>" if text else ""


def _difference(row: Row, places: Places) -> str:
    first = row.first
    entries = [("found", escape(shortened(first.convention or "")))]
    entries += [
        (escape(other.dtype), escape(shortened(other.convention or "")))
        for other in row.results[1:]
        if other.convention != first.convention
    ]
    entries += [
        ("note", escape(shortened(first.reason or ""))),
        ("theorem", _code(first.theorem)),
        ("expected", "" if first.expected is None else _code(short(first.expected))),
        ("got", "" if first.got is None else _code(short(first.got))),
        ("control", escape(shortened(first.control or "none"))),
        ("version", escape(f"{first.library} {first.version}")),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in entries if text)
    call = ""
    if first.input:
        call = f'<pre tabindex="0" aria-label="the call">{escape(first.input)}</pre>'
    return (
        f'<article class="difference" id="{places[_key(first)]}">'
        f'<h4><span class="op">{escape(first.operation)}</span>, {escape(first.case)}, '
        f"{escape(', '.join(row.dtypes))}</h4><dl>{listed}</dl>{call}</article>"
    )


def _cases(asked: set[str]) -> str:
    entries = "".join(
        f"<dt><code>{escape(name)}</code></dt><dd>{escape(title)}</dd>"
        for name, title in _titles().items()
        if name in asked
    )
    return (
        f"<section><h2>The cases</h2><dl>{entries}</dl>"
        '<p class="soft">A theorem in full: <code>grpo-identity explain ID</code></p></section>'
    )
