"""Sphinx extension: an entry for every name in a module's ``__all__``, whatever it is.

``.. public-names:: identity.groups`` documents functions, classes with their members, and
constants, in the order of ``__all__``. A name whose home is another package is left out only if
it is a module; a public name cannot be forgotten.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata


class PublicNames(SphinxDirective):
    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"heading": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        lines: list[str] = []
        for name in sorted(module.__all__, key=lambda n: (n.isupper(), n.startswith("_"))):
            lines += [*self.entry(module, name), ""]
        if "heading" not in self.options:
            return self.parse(lines)
        title = self.options["heading"]
        section = nodes.section(ids=[nodes.make_id(title)], names=[title.lower()])
        section += nodes.title("", title)
        source = importlib.import_module(module.__name__).__doc__ or ""
        section += nodes.paragraph("", inspect.cleandoc(source).split("\n\n")[0])
        section += self.parse(lines)
        return [section]

    def entry(self, module: Any, name: str) -> list[str]:
        thing, path = getattr(module, name), f"{module.__name__}.{name}"
        home = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
        self.env.__dict__.setdefault("public_homes", {})[home] = (path, self.env.docname)
        if inspect.isclass(thing) and not isinstance(thing, types.GenericAlias):
            return [f".. autoclass:: {path}", "   :members:"]
        if inspect.isroutine(thing) or hasattr(thing, "__wrapped__"):
            return [f".. autofunction:: {path}"]
        # Not autodata, which would show the docstring of the value's class.
        shown = repr(thing)
        short = len(shown) <= 120 and " at 0x" not in shown
        # The module as an option: in the name it would come after the page's current module.
        lines = [f".. py:data:: {name}", f"   :module: {module.__name__}"]
        lines += [f"   :value: {shown}", ""] if short else [""]
        return [*lines, *(f"   {line}" for line in comment(module, name))]

    def parse(self, lines: list[str]) -> list[nodes.Node]:
        container = nodes.container()
        container.document = self.state.document
        self.state.nested_parse(StringList(lines, "<public names>"), 0, container)
        return list(container.children)


def comment(module: Any, name: str) -> list[str]:
    """What stands beside the assignment of a constant, as ``#:`` or as a string below it."""
    root = module.__name__.split(".")[0]
    homes = [n for n in sorted(sys.modules) if n.startswith(module.__name__)]
    for home in [*homes, *(n for n in sorted(sys.modules) if n.split(".")[0] == root)]:
        if getattr(sys.modules[home], name, None) is getattr(module, name):
            docs = ModuleAnalyzer.for_module(home).find_attr_docs()
            if ("", name) in docs:
                return docs["", name]
    return []


def resolve_home(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element
) -> nodes.reference | None:
    """A name by the module that defines it links to its public entry."""
    if node.get("refdomain") != "py":
        return None
    path, docname = getattr(env, "public_homes", {}).get(node["reftarget"], ("", ""))
    if not path:
        return None
    return make_refnode(app.builder, node["refdoc"], docname, path, [contnode], path)


def tidy(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """``|x|`` in a docstring is an absolute value, not a substitution."""
    for n, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        parts[::2] = [re.sub(r"(?<!\\)\|(?=\S)", r"\\|", part) for part in parts[::2]]
        if not line.lstrip().startswith((">>>", "...")):
            lines[n] = "".join(parts)
        lines[n] = lines[n].replace(":class:`rules.", ":class:`~proofs.kernel.rules.")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("missing-reference", resolve_home)
    app.connect("autodoc-process-docstring", tidy, priority=800)
    app.add_directive("public-names", PublicNames)
    return {"version": "1", "parallel_read_safe": True}
