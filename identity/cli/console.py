"""What the commands share: where text goes, and how an error ends a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from identity.errors import DomainError

__all__ = [
    "documented_errors",
    "fail",
    "lenient_streams",
    "output",
    "print_at_least",
    "print_json",
    "print_table",
]


def lenient_streams() -> None:
    """Let a terminal or file that cannot show φ show ``?`` instead of failing, help included."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def output() -> Console:
    """A console on stdout."""
    lenient_streams()
    return Console(highlight=False)


def print_table(console: Console, table: Table) -> None:
    """Print the table at the width that its cells need, also where the terminal is narrower.

    Rich would cut cells, and a cut number reads like another number.
    """
    unlimited = console.options.update(width=1 << 14)
    print_at_least(console, table, Measurement.get(console, unlimited, table).maximum)


def print_at_least(console: Console, table: Table, needed: int) -> None:
    """Print the table as if the terminal had at least this width."""
    width = console.width
    console.width = max(width, needed)
    console.print(table)
    console.width = width


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
