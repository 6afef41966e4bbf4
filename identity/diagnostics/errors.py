"""The error that a malformed log raises, and the places that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from identity.errors import DomainError

__all__ = ["LogFormatError", "Place", "printable"]

_ABSENT = ...  # no value to show; a singleton that survives pickling


class LogFormatError(DomainError):
    """A log file cannot be read, or a place in it breaks the accepted shape.

    Parameters
    ----------
    path : str
        The file, as named by the caller.
    rule : str
        The rule that is broken, so that "<place> must <rule>" reads well.
    line : int, optional
        1-based line (text formats) or row (Parquet).
    column : str, optional
        Column or field.
    value : object, optional
        The offending value; left out of the message when absent.
    unit : {"line", "row"}, optional
        What `line` counts.

    Attributes
    ----------
    path, rule, line, column, value, unit
        As passed; `line`, `column` and `value` are None where there is none.
    """

    def __init__(
        self,
        path: str,
        rule: str,
        *,
        line: int | None = None,
        column: str | None = None,
        value: object = _ABSENT,
        unit: str = "line",
    ) -> None:
        place = printable(path)
        if line is not None:
            place += f", {unit} {line}"
        if column is not None:
            place += f", column {printable(column)}"
        super().__init__(place, None if value is _ABSENT else value, rule)
        self.path, self.line, self.column, self.unit = path, line, column, unit
        self._absent = value is _ABSENT
        shown = "" if self._absent else f"; got {_shortened(ascii(value))}"
        self.args = (f"{place} must {printable(rule)}{shown}",)

    def __reduce__(self) -> Any:
        value = _ABSENT if self._absent else self.value
        return _rebuild, (self.path, self.rule, self.line, self.column, value, self.unit)


def _rebuild(
    path: str, rule: str, line: int | None, column: str | None, value: object, unit: str
) -> LogFormatError:
    return LogFormatError(path, rule, line=line, column=column, value=value, unit=unit)


def _shortened(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


def printable(text: str) -> str:
    """Text that any terminal can show: no control characters and no lone surrogates."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return shown if len(shown) <= 600 else shown[:597] + "..."


@dataclass(frozen=True)
class Place:
    """Where a value stands, so that every check can name it."""

    path: str
    unit: str = "line"
    line: int | None = None

    def at(self, line: int) -> Place:
        return Place(self.path, self.unit, line)

    def error(
        self, rule: str, column: str | None = None, value: object = _ABSENT
    ) -> LogFormatError:
        return LogFormatError(
            self.path, rule, line=self.line, column=column, value=value, unit=self.unit
        )
