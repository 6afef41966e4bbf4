"""What a function of ``identity`` is made of, as one hash.

Its syntax tree, without comments, docstrings, type annotations and the ``@proven`` links, together
with those of every function, class and constant of ``identity`` that it refers to, directly or
not. The source is read, not imported, and the hash is the same on every version of Python.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["SourceError", "code_hash", "resolves"]

PACKAGE = "identity"


class SourceError(Exception):
    """A name is not a definition of ``identity``, or its source cannot be read."""


def resolves(name: str) -> bool:
    """Whether a dotted name, such as ``identity.groups.group_std``, is a definition of ours."""
    return _definition(*_split(name)) is not None


def code_hash(name: str) -> str:
    """SHA-256 of a function of ``identity`` and of all that it refers to there."""
    start = _definition(*_split(name))
    if start is None:
        raise SourceError(f"{name} is not a function of {PACKAGE}")
    seen: dict[tuple[str, str], str] = {}
    waiting = [start]
    while waiting:
        module, found = waiting.pop()
        if (module, found) in seen:
            continue
        nodes = _modules(module).definitions[found]
        seen[module, found] = " ".join(_dump(node) for node in nodes)
        waiting += _references(module, nodes)
    text = "\n".join(f"{module}.{found}: {seen[module, found]}" for module, found in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()


def _split(name: str) -> tuple[str, str]:
    module, _, last = name.rpartition(".")
    return module, last


@dataclass(frozen=True)
class _Module:
    definitions: dict[str, list[ast.stmt]]  # every statement that binds the name, in order
    imports: dict[str, tuple[str, str | None]]  # local name -> (module, name in it or None)


@cache
def _modules(name: str) -> _Module:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SourceError(f"there is no module {name}")
    tree = ast.parse(Path(spec.origin).read_bytes(), spec.origin)
    package = name if spec.submodule_search_locations is not None else _split(name)[0]
    found = _Module({}, {})
    for statement in _top_level(tree.body):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                found.imports[alias.asname or whole] = (whole, None)
        elif isinstance(statement, ast.ImportFrom):
            base = _base(package, statement)
            for alias in statement.names:
                found.imports[alias.asname or alias.name] = (base, alias.name)
        else:
            for bound in _bound(statement):
                found.definitions.setdefault(bound, []).append(statement)
    return found


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, also those inside ``if`` and ``try``."""
    for statement in body:
        if isinstance(statement, ast.If):
            yield from _top_level([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            handlers = [s for h in statement.handlers for s in h.body]
            yield from _top_level(
                [*statement.body, *handlers, *statement.orelse, *statement.finalbody]
            )
        else:
            yield statement


def _base(package: str, statement: ast.ImportFrom) -> str:
    if not statement.level:
        return statement.module or ""
    parts = package.split(".")
    parts = parts[: len(parts) - statement.level + 1]
    return ".".join([*parts, *([statement.module] if statement.module else [])])


def _bound(statement: ast.stmt) -> Iterable[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets: list[ast.AST] = []
    if isinstance(statement, ast.Assign):
        targets = list(statement.targets)
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]


def _definition(module: str, name: str) -> tuple[str, str] | None:
    """Where a name of a module of ours is defined, through re-exports; None if elsewhere."""
    for _ in range(20):
        if module.split(".")[0] != PACKAGE or not _exists(module):
            return None
        found = _modules(module)
        if name in found.definitions:
            return module, name
        target, inner = found.imports.get(name, ("", None))
        if inner is None:
            return None
        module, name = target, inner
    return None


@cache
def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is not a package
        return False


def _references(module: str, nodes: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """The definitions of ours that the code mentions: ``name``, or ``module.name``."""
    here = _modules(module)
    for node in (n for statement in nodes for n in ast.walk(_stripped(statement))):
        chain = _chain(node)
        if not chain:
            continue
        if chain[0] in here.definitions:
            yield module, chain[0]
            continue
        target, inner = here.imports.get(chain[0], ("", None))
        if target.split(".")[0] != PACKAGE:
            continue
        found = _definition(target, inner) if inner is not None else None
        if found is not None:
            yield found
            continue
        # A module: follow the attributes as long as they name modules.
        where = target if inner is None else f"{target}.{inner}"
        for attribute in chain[1:]:
            found = _definition(where, attribute)
            if found is not None:
                yield found
                break
            where = f"{where}.{attribute}"


def _chain(node: ast.AST) -> list[str]:
    """``a.b.c`` as its names; nothing for other expressions."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


class _Strip(ast.NodeTransformer):
    """Remove what does not run: docstrings, annotations, the links to theorems."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        node.decorator_list = [d for d in node.decorator_list if not _is_link(d)]
        self.generic_visit(node)
        node.body = _without_docstring(node.body)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = _without_docstring(node.body)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is None:
            return node
        return ast.Assign(targets=[node.target], value=node.value)


def _is_link(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and _chain(decorator.func)[-1:] == ["proven"]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return body[1:] or [ast.Pass()]
    return body


_STRIPPED: dict[ast.stmt, ast.stmt] = {}


def _stripped(statement: ast.stmt) -> ast.stmt:
    if statement not in _STRIPPED:  # the tree is ours alone, so it is changed in place
        _STRIPPED[statement] = _Strip().visit(statement)
    return _STRIPPED[statement]


def _dump(node: Any) -> str:
    """Like ``ast.dump`` without positions, and the same on every Python version."""
    if isinstance(node, ast.stmt):
        node = _stripped(node)
    return _dump_stripped(node)


def _dump_stripped(node: Any) -> str:
    if isinstance(node, ast.AST):
        shown = (
            f"{name}={_dump_stripped(value)}"
            for name, value in ast.iter_fields(node)
            if name not in ("ctx", "kind", "type_comment", "simple")
            and value is not None
            and value != []
        )
        return f"{type(node).__name__}({', '.join(shown)})"
    if isinstance(node, list):
        return "[" + ", ".join(map(_dump_stripped, node)) + "]"
    return repr(node)
