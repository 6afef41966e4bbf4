"""Calls into a library: by keyword, against its signature, and kept to be shown.

A positional argument whose meaning changed between two releases looks exactly like a difference
in what is computed. So adapters call through `call`, which takes keywords only, finds each of
them in the signature of what is installed, and otherwise says that the operation cannot be run.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any

import numpy as np

from identity.conformance.operation import CannotRun

__all__ = ["attribute", "call", "recording"]


class Recording:
    """The calls made, as lines of Python that make them again."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.imports: set[str] = set()
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []  # so that an id stays that of one object
        self.complete = True

    def line(self, function: Any, arguments: dict[str, Any]) -> str:
        """The call as it is about to be made, before the function can change its arguments."""
        shown = ", ".join(f"{name}={self.show(value)}" for name, value in arguments.items())
        return f"{self._callee(function)}({shown})"

    def add(self, line: str, result: Any) -> None:
        """A call that was made."""
        if result is not None:
            name = f"r{len(self.lines)}"
            self._remember(result, name)
            line = f"{name} = {line}"
        self.lines.append(line)

    def _remember(self, value: Any, name: str) -> None:
        self._names[id(value)] = name
        self._kept.append(value)

    def _callee(self, function: Any) -> str:
        if id(function) in self._names:
            return self._names[id(function)]
        owner = getattr(function, "__self__", None)
        if owner is not None and id(owner) in self._names:
            return f"{self._names[id(owner)]}.{function.__name__}"
        module, name = (
            getattr(function, "__module__", None),
            getattr(function, "__qualname__", None),
        )
        if not module or not name or not _found_at(module, name, function):
            self.complete = False
            return f"<{name or type(function).__name__}>"
        self.imports.add(module)
        return f"{module}.{name}"

    def show(self, value: Any) -> str:
        """An expression for the value; where there is none, the snippet is not complete."""
        if id(value) in self._names:
            return self._names[id(value)]
        if isinstance(value, Enum):
            self.imports.add(type(value).__module__)
            return f"{type(value).__module__}.{type(value).__qualname__}.{value.name}"
        if isinstance(value, bool | int | str | type(None)):
            return repr(value)
        if isinstance(value, float):
            return repr(value) if np.isfinite(value) else f"float({str(value)!r})"
        if isinstance(value, tuple | list):
            inner = ", ".join(self.show(item) for item in value)
            if isinstance(value, list):
                return f"[{inner}]"
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if isinstance(value, dict):
            pairs = ", ".join(f"{k!r}: {self.show(v)}" for k, v in value.items())
            return f"{{{pairs}}}"
        module = type(value).__module__.partition(".")[0]
        if isinstance(value, np.ndarray):
            self.imports.add("numpy")
            return f"numpy.array({_listed(value)}, dtype={value.dtype.name!r})"
        if module == "torch" and hasattr(value, "requires_grad"):
            self.imports.add("torch")
            plain = value.detach().cpu()
            text = f"torch.tensor({_listed(plain)}, dtype={plain.dtype}"
            if value.requires_grad and value.is_leaf:
                name = f"leaf{len(self._names)}"
                self.lines.append(f"{name} = {text}, requires_grad=True)")
                self._remember(value, name)
                return name
            return f"{text})"
        if module in ("jax", "jaxlib") and hasattr(value, "dtype"):
            self.imports.add("jax.numpy")
            try:
                listed = _listed(np.asarray(value, np.float64 if value.dtype.kind == "V" else None))
            except Exception:  # a tracer has no value to show
                self.complete = False
                return "<traced>"
            return f"jax.numpy.array({listed}, dtype={value.dtype.name!r})"
        self.complete = False
        return f"<{type(value).__name__}>"

    def text(self) -> str:
        """Imports and calls; what stands in angle brackets has to be filled in."""
        imports = [f"import {module}" for module in sorted(self.imports)]
        lines = self.lines
        if any(re.search(r"(?<![\w.])-?(inf|nan)\b", line) for line in lines):
            imports.append("from math import inf, nan")
        return "\n".join([*imports, *lines])


def _found_at(module: str, name: str, function: Any) -> bool:
    """Whether importing the module and following the name leads to this function."""
    place: Any = sys.modules.get(module)
    for part in name.split("."):
        place = getattr(place, part, None)
    return place is function


_current: ContextVar[Recording | None] = ContextVar("recording", default=None)


@contextmanager
def recording() -> Iterator[Recording]:
    """Keep the calls made inside."""
    kept = Recording()
    token = _current.set(kept)
    try:
        yield kept
    finally:
        _current.reset(token)


def attribute(module: str, path: str) -> Any:
    """Something of an installed library by its place, or `CannotRun` if it is not there.

    Parameters
    ----------
    module : str
        Dotted name of the module to import.
    path : str
        Dotted path in it.

    Raises
    ------
    CannotRun
        If the module cannot be imported or has no such attribute.
    """
    import importlib

    try:
        found: Any = importlib.import_module(module)
    except Exception as why:  # whatever a library raises while it is imported
        raise CannotRun(f"import {module}: {type(why).__name__}: {why}") from why
    for name in path.split("."):
        if not hasattr(found, name):
            raise CannotRun(f"{module} has no {path}")
        found = getattr(found, name)
    return found


def call(function: Callable[..., Any], /, **arguments: Any) -> Any:
    """Call with these keywords, if the installed signature has all of them and needs no other.

    Parameters
    ----------
    function : callable
        Of the library.
    **arguments
        By the names that the adapter was written for.

    Returns
    -------
    object
        What it returns.

    Raises
    ------
    CannotRun
        If the signature takes no such keyword or requires another one.
    """
    check_signature(function, arguments)
    kept = _current.get()
    if kept is None:
        return function(**arguments)
    line = kept.line(function, arguments)
    try:
        result = function(**arguments)
    except BaseException:
        kept.add(line, None)
        raise
    kept.add(line, result)
    return result


def check_signature(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Raise `CannotRun` unless these keywords, and no others, make a call."""
    name = getattr(function, "__qualname__", type(function).__name__)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as why:
        raise CannotRun(f"{name} has no signature to check: {why}") from why
    parameters = signature.parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {
        n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    unknown = [n for n in arguments if n not in named and not open_ended]
    required = [
        n
        for n, p in parameters.items()
        if p.default is p.empty
        and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and n not in arguments
    ]
    problems = [f"takes no argument {n!r}" for n in unknown]
    problems += [f"requires an argument {n!r}" for n in required]
    if problems:
        raise CannotRun(f"the signature changed: {name} {' and '.join(problems)}")


def _listed(value: Any) -> str:
    return repr(value.tolist())
