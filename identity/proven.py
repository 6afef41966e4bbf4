"""The link from a function to the theorems that it implements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["proven", "proven_functions"]

F = TypeVar("F", bound=Callable[..., Any])

_REGISTRY: dict[str, tuple[str, ...]] = {}


def proven(*theorems: str) -> Callable[[F], F]:
    """Record that a function implements the named theorems; costs nothing at run time.

    Parameters
    ----------
    *theorems : str
        Ledger ids, ``"topic.slug"``. A test holds this list against the ``implements``
        field of the theorems, in both directions.

    Returns
    -------
    callable
        A decorator that returns the function itself, unwrapped.

    Raises
    ------
    ValueError
        If no id is given or an id is not of the form ``topic.slug``.
    """
    if not theorems or not all(t.count(".") == 1 and all(t.split(".")) for t in theorems):
        raise ValueError(f"proven() takes ledger ids of the form 'topic.slug'; got {theorems!r}")

    def record(function: F) -> F:
        _REGISTRY[f"{function.__module__}.{function.__qualname__}"] = theorems
        function.__proven__ = theorems  # type: ignore[attr-defined]
        return function

    return record


def proven_functions() -> dict[str, tuple[str, ...]]:
    """Every decorated function imported so far: qualified name to ledger ids."""
    return dict(_REGISTRY)
