"""Theorems that a user wrote in a file of their own, for ``grpo-identity prove --file``."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from proofs.kernel.check import check_fields
from proofs.kernel.errors import MalformedTheorem
from proofs.kernel.theorem import Theorem
from proofs.ledger import LedgerError, in_order
from proofs.source import resolves

__all__ = ["ClaimsError", "load", "together"]

MODULE = "user_claims"


class ClaimsError(Exception):
    """The file cannot be used; the message names the file and, where it can, the line."""


def load(path: Path) -> tuple[Theorem, ...]:
    """Run the file and collect its theorems.

    They are the tuple ``THEOREMS`` if the file defines it, else the results of its public
    functions that take no arguments and are annotated ``-> Theorem``.
    """
    module = _run(path)
    if hasattr(module, "THEOREMS"):
        found = module.THEOREMS
        if not isinstance(found, tuple | list):
            raise ClaimsError(f"{path}: THEOREMS must be a tuple; got {type(found).__name__}")
        named = [(f"THEOREMS[{n}]", theorem) for n, theorem in enumerate(found)]
    else:
        named = [(f"{f.__name__}()", _call(path, f)) for f in _functions(path, module)]
    for name, theorem in named:
        if type(theorem) is not Theorem:
            raise ClaimsError(f"{path}: {name} must be a Theorem; got {type(theorem).__name__}")
        try:
            check_fields(theorem)
        except MalformedTheorem as problem:
            raise ClaimsError(f"{path}: {name}: {problem}") from None
    if not named:
        raise ClaimsError(
            f"{path} has no theorems: define THEOREMS = (…,) or functions annotated '-> Theorem'"
        )
    return tuple(theorem for _, theorem in named)


def together(path: Path, ledger: Sequence[Theorem], own: Sequence[Theorem]) -> tuple[Theorem, ...]:
    """The ledger and the user's theorems in one order; theirs may use ours, never replace them."""
    taken = {t.id for t in ledger}
    for theorem in own:
        if theorem.id in taken:
            raise ClaimsError(f"{path}: the ledger has a theorem {theorem.id}; choose another id")
        for name in theorem.implements:
            if not resolves(name):
                raise ClaimsError(f"{path}: {theorem.id} implements {name}, which does not exist")
    try:
        return in_order((*ledger, *own))
    except LedgerError as problem:
        raise ClaimsError(f"{path}: {problem}") from None


def _run(path: Path) -> ModuleType:
    try:
        source = path.read_bytes()
    except OSError as problem:
        raise ClaimsError(f"{path} cannot be read: {problem.strerror}") from None
    module = ModuleType(MODULE)
    module.__file__ = str(path)
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as problem:
        line = f", line {problem.lineno}" if problem.lineno else ""  # none for a null byte
        raise ClaimsError(f"{path}{line}: SyntaxError: {problem.msg}") from None
    except ValueError as problem:  # a null byte, on some versions of Python
        raise ClaimsError(f"{path}: {problem}") from None
    sys.modules[MODULE] = module  # dataclasses and typing look their module up
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as problem:
        raise _located(path, problem) from problem
    return module


def _functions(path: Path, module: ModuleType) -> list[Any]:
    found = []
    for name, value in vars(module).items():
        if name.startswith("_"):
            continue
        if type(value) is Theorem:
            raise ClaimsError(
                f"{path}: {name} would not be checked: list it in THEOREMS = ({name},)"
            )
        function = inspect.unwrap(value) if callable(value) else value  # it may be cached
        if not inspect.isfunction(function) or function.__module__ != MODULE:
            continue
        returns = function.__annotations__.get("return")
        shown = returns if isinstance(returns, str) else getattr(returns, "__name__", str(returns))
        line = function.__code__.co_firstlineno
        if shown.split(".")[-1] == "Theorem":
            if inspect.signature(function).parameters:
                raise ClaimsError(f"{path}, line {line}: {name} must take no arguments")
            found.append(value)
        elif re.search(r"\bTheorem\b", str(returns)):
            raise ClaimsError(
                f"{path}, line {line}: {name} returns {shown}, and would not be checked: annotate "
                "it '-> Theorem', list what it returns in THEOREMS, or give it a name with '_'"
            )
    return found


def _call(path: Path, function: Any) -> Any:
    try:
        return function()
    except (Exception, SystemExit) as problem:
        raise _located(path, problem) from problem


def _located(path: Path, problem: BaseException) -> ClaimsError:
    """The error, with the last line of the user's own file that led to it."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(problem.__traceback__)
        if frame.filename == str(path)
    ]
    where = f"{path}, line {lines[-1]}" if lines else str(path)
    return ClaimsError(f"{where}: {type(problem).__name__}: {problem}")
