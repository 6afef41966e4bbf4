"""Sphinx extension: ``.. markdown:: ../CHANGELOG.md`` shows a Markdown file of the project.

Headings, paragraphs, lists, code, emphasis and links are enough for these files; anything else
is an error, so that nothing is dropped in silence. markdown-it comes with rich.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata


class MarkdownPage(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        _, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(path)
        text = Path(path).read_text(encoding="utf-8")
        tree = SyntaxTreeNode(MarkdownIt("commonmark").parse(text))
        return self.sections(list(tree.children))

    def sections(self, blocks: list[SyntaxTreeNode]) -> list[nodes.Node]:
        """Nest what follows a heading below it."""
        top: list[nodes.Node] = []
        opened: list[tuple[int, nodes.section]] = []
        for block in blocks:
            if block.type == "heading":
                level = int(block.tag[1])
                opened = [(n, s) for n, s in opened if n < level]
                section = nodes.section()
                title = nodes.title("", "", *self.inline(block.children[0]))
                section += title
                section["names"] = [nodes.fully_normalize_name(title.astext())]
                self.state.document.note_implicit_target(section, section)
                (opened[-1][1].append if opened else top.append)(section)
                opened.append((level, section))
            else:
                (opened[-1][1].append if opened else top.append)(self.block(block))
        return top

    def block(self, node: SyntaxTreeNode) -> nodes.Node:
        if node.type == "paragraph":
            return nodes.paragraph("", "", *self.inline(node.children[0]))
        if node.type in ("bullet_list", "ordered_list"):
            kind = nodes.bullet_list if node.type == "bullet_list" else nodes.enumerated_list
            items = (nodes.list_item("", *map(self.block, i.children)) for i in node.children)
            return kind("", *items)
        if node.type in ("fence", "code_block"):
            language = node.info.strip() if node.type == "fence" and node.info else "text"
            return nodes.literal_block(node.content, node.content, language=language)
        raise self.error(f"no way to show a Markdown {node.type}")

    def inline(self, node: SyntaxTreeNode) -> list[nodes.Node]:
        result: list[nodes.Node] = []
        for child in node.children:
            inner = self.inline(child) if child.children else []
            if child.type in ("text", "code_inline"):
                kind = nodes.literal if child.type == "code_inline" else None
                result.append(kind("", child.content) if kind else nodes.Text(child.content))
            elif child.type in ("softbreak", "hardbreak"):
                result.append(nodes.Text("\n"))
            elif child.type in ("strong", "em"):
                kind = nodes.strong if child.type == "strong" else nodes.emphasis
                result.append(kind("", "", *inner))
            elif child.type == "link":
                address = str(child.attrs["href"])
                result.append(nodes.reference("", "", *inner, refuri=address))
            else:
                raise self.error(f"no way to show a Markdown {child.type}")
        return result


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("markdown", MarkdownPage)
    return {"version": "1", "parallel_read_safe": True}
