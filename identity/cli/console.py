"""What the commands share: where text goes, and how an error ends a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from identity.errors import DomainError

__all__ = ["documented_errors", "fail", "output", "print_json"]


def output() -> Console:
    """A console on stdout; a terminal that cannot show φ shows ``?`` instead of failing."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return Console(highlight=False)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on stdout, ASCII, without NaN or infinity."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def fail(message: str) -> typer.Exit:
    """Print ``error: message`` on stderr; raise the result to end with exit code 2."""
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(2)


@contextmanager
def documented_errors() -> Iterator[None]:
    """Turn a `DomainError` into its message and exit code 2."""
    try:
        yield
    except DomainError as error:
        raise fail(str(error)) from error
