"""The dependency graph as one SVG: columns by depth, no colour needed to read it.

A theorem stands to the right of everything it uses, a refuted claim to the right of the theorem
that corrects it. Solid lines: "is used by"; dashed lines: "corrects". A refuted claim has a dashed
frame and the word; a proved one a solid frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from ledger_data import Entry, Ledger

__all__ = ["draw"]

WIDTH, LINE, PAD, GAP_X, GAP_Y = 186, 15, 9, 64, 12


@dataclass
class _Box:
    entry: Entry
    lines: list[str]
    x: int = 0
    y: int = 0

    @property
    def height(self) -> int:
        return LINE * len(self.lines) + 2 * PAD + 4


def draw(ledger: Ledger, topic: str, link: Callable[[str], str]) -> str:
    """SVG of one topic and of whatever it uses elsewhere."""
    names = [e.id for e in ledger.topic(topic)]
    for entry in ledger.topic(topic):
        foreign = (*entry.uses, *entry.corrected_by)
        names += [n for n in foreign if n in ledger.entries and n not in names]
    edges = [
        (source, target, "uses")
        for target in names
        for source in ledger.entries[target].uses
        if source in names
    ]
    edges += [
        (right, wrong, "corrects")
        for wrong in names
        for right in ledger.entries[wrong].corrected_by
        if right in names and right not in ledger.entries[wrong].uses
    ]
    columns = _columns(names, edges)
    boxes = {n: _Box(ledger.entries[n], _label(ledger.entries[n], topic)) for n in names}
    _place(columns, boxes, edges)
    right = max(b.x for b in boxes.values()) + WIDTH + 8
    bottom = max(b.y + b.height for b in boxes.values()) + 8
    parts = [
        f'<svg class="ledger-graph" xmlns="http://www.w3.org/2000/svg" role="group" '
        f'aria-label="Dependency graph of topic {escape(topic)}" viewBox="0 0 {right} {bottom}" '
        f'width="{right}" height="{bottom}">',
        f'<defs><marker id="arrow-{escape(topic)}" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
    ]
    parts += [_arrow(boxes[a], boxes[b], kind, topic) for a, b, kind in edges]
    parts += [_node(boxes[n], link(n)) for n in names]
    return "\n".join([*parts, "</svg>"])


def _columns(names: list[str], edges: list[tuple[str, str, str]]) -> list[list[str]]:
    """Longest path from a theorem that uses nothing; unconnected ones fill up the columns."""
    into: dict[str, list[str]] = {n: [] for n in names}
    for source, target, _ in edges:
        into[target].append(source)
    depth: dict[str, int] = {}

    def of(name: str, seen: frozenset[str] = frozenset()) -> int:
        if name in seen:
            raise ValueError(f"the ledger has a cycle through {name}")
        if name not in depth:
            depth[name] = 1 + max((of(s, seen | {name}) for s in into[name]), default=-1)
        return depth[name]

    for name in names:
        of(name)
    connected = {n for edge in edges for n in edge[:2]}
    columns: list[list[str]] = [[] for _ in range(max(3, 1 + max(depth.values(), default=0)))]
    for name in names:
        if name in connected:
            columns[depth[name]].append(name)
    for name in names:
        if name not in connected:
            min(columns, key=len).append(name)
    return columns


def _place(
    columns: list[list[str]], boxes: dict[str, _Box], edges: list[tuple[str, str, str]]
) -> None:
    """Order each column by the mean height of its neighbours, a few sweeps either way."""

    def stack() -> None:
        tall = [sum(boxes[n].height + GAP_Y for n in column) for column in columns]
        for number, column in enumerate(columns):
            y = 8 + (max(tall) - tall[number]) // 2
            for name in column:
                boxes[name].x, boxes[name].y = 8 + number * (WIDTH + GAP_X), y
                y += boxes[name].height + GAP_Y

    stack()
    for sweep in range(6):
        for column in columns if sweep % 2 == 0 else columns[::-1]:

            def pull(name: str) -> float:
                near = [a if b == name else b for a, b, _ in edges if name in (a, b)]
                heights = [boxes[n].y + boxes[n].height / 2 for n in near]
                return sum(heights) / len(heights) if heights else 1e9

            column.sort(key=pull)
            stack()


def _label(entry: Entry, topic: str) -> list[str]:
    name = entry.id.split(".")[1] if entry.topic == topic else entry.id
    lines, current = [], ""
    for word in name.replace(".", ".\u200b").replace("-", "-\u200b").split("\u200b"):
        if len(current) + len(word) > 23:
            lines.append(current)
            current = ""
        current += word
    return [*lines, current, f"{entry.verdict} · {entry.grade}" if entry.grade else entry.verdict]


def _node(box: _Box, href: str) -> str:
    x, y, e = box.x, box.y, box.entry
    text = "".join(
        f'<tspan x="{x + WIDTH // 2}" y="{y + PAD + LINE * (n + 1) - 2 + (n == last) * 4}"'
        f"{' class=' + chr(34) + 'verdict' + chr(34) if n == last else ''}>{escape(line)}</tspan>"
        for last in [len(box.lines) - 1]
        for n, line in enumerate(box.lines)
    )
    return (
        f'<a href="{escape(href)}" class="node {escape(e.verdict)}">'
        f"<title>{escape(e.id)}: {escape(e.title)}</title>"
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{box.height}" rx="6"/>'
        f'<text text-anchor="middle">{text}</text></a>'
    )


def _arrow(a: _Box, b: _Box, kind: str, topic: str) -> str:
    x1, y1 = a.x + WIDTH, a.y + a.height // 2
    x2, y2 = b.x - 2, b.y + b.height // 2
    bend = min(60 + (x2 - x1) // 4, 120)
    path = f"M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
    words = "corrects" if kind == "corrects" else "is used by"
    return (
        f'<path class="edge {kind}" d="{path}" marker-end="url(#arrow-{topic})">'
        f"<title>{escape(a.entry.id)} {words} {escape(b.entry.id)}</title></path>"
    )
