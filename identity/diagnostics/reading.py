"""Read a log: counts of ``(k correct, n rollouts)`` per prompt, or one run step by step.

**Accepted files.** CSV (also tab- or semicolon-separated; a header is required), JSONL (one
object, or one bare list of rewards, per line) and Parquet; CSV and JSONL may be gzipped. The
format follows the suffix (``.csv .tsv .txt``, ``.jsonl .ndjson .json``, ``.parquet .pq``, each
text one also with ``.gz``), or else the first bytes. Text is UTF-8, a BOM and CRLF line ends are
fine.

The columns decide what is in it: `identity.diagnostics.shapes` lists the accepted shapes of a log
of prompts, `identity.diagnostics.run_columns` those of a log of a run. Memory is proportional to
the number of distinct (k, n) pairs, for long form to the number of prompts, and for a run to the
number of rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, BinaryIO

from identity.data import SolveRates
from identity.diagnostics.errors import LogFormatError, Place
from identity.diagnostics.run_columns import (
    RUN_COLUMNS,
    RUN_SHAPES,
    collect_run,
    recognise_run,
)
from identity.diagnostics.runs import RunLog
from identity.diagnostics.shapes import PROMPT_SHAPES, Record, collect, decoded_json, recognise
from identity.errors import DomainError

__all__ = ["read_any", "read_log", "read_run"]

_MAX_LINE = 1 << 24  # 16 MiB: a file without line ends must not be read into memory whole
_MAX_OBJECT = 1 << 28  # characters of a JSON object over many lines
_SUFFIXES = {
    ".csv": "CSV", ".tsv": "CSV", ".txt": "CSV",
    ".jsonl": "JSONL", ".ndjson": "JSONL", ".json": "JSONL",
    ".parquet": "Parquet", ".pq": "Parquet",
}  # fmt: skip


def read_log(path: str | os.PathLike[str]) -> SolveRates:
    """Read counts of correct rollouts per prompt from a CSV, JSONL or Parquet file.

    Parameters
    ----------
    path : str or path-like
        The file. The docstrings of this module and of `identity.diagnostics.shapes` list the
        accepted formats and shapes.

    Returns
    -------
    SolveRates
        Counts aggregated by (k, n); ``recognised`` says which shape was found.

    Raises
    ------
    LogFormatError
        If the file cannot be opened or decoded, is empty, has none of the accepted shapes, or
        holds a value outside its domain (NaN, negative, non-integer, k > n, n < 1, a reward other
        than 0 or 1). Names the file, the line or row, the column, the value and the rule.

    See Also
    --------
    identity.diagnostics.report.diagnose : The figures from the counts.
    """
    found: SolveRates = _read(path, _Reading(recognise, collect))
    return found


def read_run(path: str | os.PathLike[str], columns: Mapping[str, str] | None = None) -> RunLog:
    """Read the log of one training run from a CSV, JSONL or Parquet file.

    Parameters
    ----------
    path : str or path-like
        The file. The docstrings of this module and of `identity.diagnostics.run_columns` list the
        accepted formats, shapes and column names.
    columns : mapping, optional
        Which column of the file holds what, by the keys of `RUN_COLUMNS`; the rest are found by
        their usual names.

    Returns
    -------
    RunLog
        One value per step; ``recognised`` says which columns were read as what.

    Raises
    ------
    LogFormatError
        As for `read_log`; also if a named column is not there.
    DomainError
        If `columns` has a key that is not in `RUN_COLUMNS`, or is no mapping of text to text.
    """
    found: RunLog = _read(path, _run_reading(columns))
    return found


def read_any(path: str | os.PathLike[str]) -> SolveRates | RunLog:
    """Read whichever log it is: of prompts, if its columns have such a shape, or of a run.

    Parameters, errors and formats are those of `read_log` and `read_run`.
    """
    found: SolveRates | RunLog = _read(path, _Reading(_recognise_any, _collect_any))
    return found


@dataclass(frozen=True)
class _Reading:
    """How names of columns are judged, and how records become a result."""

    recognise: Callable[[Sequence[str], Place], Any]
    collect: Callable[..., Any]


def _run_reading(columns: Mapping[str, str] | None) -> _Reading:
    if columns is not None:
        named = isinstance(columns, Mapping) and all(
            isinstance(name, str) for name in columns.values()
        )
        if not named or not set(columns) <= set(RUN_COLUMNS):
            raise DomainError("columns", columns, f"map {', '.join(RUN_COLUMNS)} to names")
    return _Reading(partial(recognise_run, columns=columns), partial(collect_run, columns=columns))


def _recognise_any(names: Sequence[str], place: Place) -> Any:
    """The shape of a log of prompts, or else of a run."""
    try:
        return recognise(names, place)
    except LogFormatError as error:
        if error.rule != PROMPT_SHAPES:
            raise
    try:
        return recognise_run(names, place)
    except LogFormatError as error:
        raise _neither(place, error) from error


def _neither(place: Place, error: LogFormatError) -> LogFormatError:
    if error.rule != RUN_SHAPES:
        return error
    return place.error(f"{PROMPT_SHAPES}; or {RUN_SHAPES}", value=error.value)


def _collect_any(
    records: Iterator[tuple[Place, Record]], place: Place, kind: str, *, text: bool
) -> SolveRates | RunLog:
    first = next(records, None)
    if first is None:
        raise place.error("not be empty: no prompt and no step in it")
    everything = chain([first], records)
    try:
        recognise(list(first[1]), first[0])
    except LogFormatError as error:
        if error.rule != PROMPT_SHAPES:
            raise
        try:
            return collect_run(everything, place, kind, text=text)
        except LogFormatError as other:
            raise _neither(first[0], other) from other
    return collect(everything, place, kind, text=text)


def _read(path: str | os.PathLike[str], reading: _Reading) -> Any:
    if not isinstance(path, str | os.PathLike):
        raise DomainError("path", path, "be a str or path-like")
    place = Place(os.fsdecode(path))
    try:
        with open(path, "rb") as raw:
            head = raw.peek(8)[:8]
            zipped = head.startswith(b"\x1f\x8b")
            stream: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
            kind = _kind(place.path, zipped, stream)
            if kind == "Parquet":
                if zipped:
                    raise place.error("not be gzipped: Parquet is compressed already, unpack it")
                return _read_parquet(raw, Place(place.path, "row"), reading)
            label = kind + (", gzipped" if zipped else "")
            text = kind == "CSV"
            records = (
                _csv_records(stream, place, reading.recognise)
                if text
                else _json_records(stream, place)
            )
            return reading.collect(records, place, label, text=text)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise place.error(f"be a complete gzip file ({error})") from error
    except OSError as error:
        raise place.error(f"be a readable file ({error.strerror or error})") from error
    except ValueError as error:
        if isinstance(error, LogFormatError) or "null byte" not in str(error):
            raise
        raise place.error("be a readable file (its name has a null byte)") from error


def _kind(path: str, zipped: bool, stream: Any) -> str:
    stem, suffix = os.path.splitext(path.lower())
    if suffix == ".gz":
        suffix = os.path.splitext(stem)[1]
    known = _SUFFIXES.get(suffix)
    if known is not None:
        return known
    head = bytes(stream.peek(256)[:256])
    if head.startswith(b"PAR1"):
        return "Parquet"
    body = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "JSONL" if body.startswith((b"{", b"[")) else "CSV"


# --- text formats: decoded lines, then records ----------------------------------------------


def _lines(stream: BinaryIO, place: Place) -> Iterator[str]:
    number = 0
    while line := stream.readline(_MAX_LINE + 1):
        number += 1
        if len(line) > _MAX_LINE:
            raise place.at(number).error(f"be a text line of at most {_MAX_LINE:,} bytes")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            start = error.start
            raise place.at(number).error(
                "be UTF-8 text", value=line[max(start - 8, 0) : start + 8]
            ) from error


def _csv_records(
    stream: BinaryIO, place: Place, judge: Callable[[Sequence[str], Place], Any]
) -> Iterator[tuple[Place, Record]]:
    lines = _lines(stream, place)
    header_line = ""
    skipped = 0
    for header_line in lines:
        if header_line.strip():
            break
        skipped += 1
    if not header_line.strip():
        return
    delimiter = next((d for d in ",\t;" if d in header_line), ",")
    names = None
    reader = csv.reader(chain([header_line], lines), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            here = place.at(reader.line_num + skipped)
            if names is None:
                names = [name.strip() for name in row]
                twice = [n for n, times in Counter(names).items() if n and times > 1]
                if twice:
                    raise here.error("name each column once", value=twice[0])
                # The header alone must already have one of the shapes.
                judge(names, here)
                continue
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(names):
                raise here.error(
                    f"have {len(names)} cells like the header (a list must be quoted); "
                    f"it has {len(row)}",
                    value=row,
                )
            yield here, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise place.at(reader.line_num + skipped).error(f"be valid CSV ({error})") from error


def _json_records(stream: BinaryIO, place: Place) -> Iterator[tuple[Place, Record]]:
    lines = _lines(stream, place)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        here = place.at(number)
        if number == 1 and line.strip() == "{":
            yield from _history(line, lines, here)
            return
        value = decoded_json(line, here)
        if isinstance(value, list):
            value = {"rewards": value}
        if not isinstance(value, dict):
            raise here.error("hold one JSON object or one list of rewards", value=value)
        yield here, value


def _history(first: str, rest: Iterator[str], place: Place) -> Iterator[tuple[Place, Record]]:
    """Records of a JSON object over many lines that has a list of them, as transformers writes."""
    text, size = [first], len(first)
    for line in rest:
        size += len(line)
        if size > _MAX_OBJECT:
            raise place.error(f"hold one JSON object per line, or one of at most {_MAX_OBJECT:,}")
        text.append(line)
    value = decoded_json("".join(text), place)
    history = value.get("log_history") if isinstance(value, dict) else None
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise place.error("hold one JSON object per line, or one with a list log_history")
    for entry in history:
        yield place, entry


# --- Parquet --------------------------------------------------------------------------------


def _read_parquet(raw: BinaryIO, place: Place, reading: _Reading) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise place.error(
            'be CSV or JSONL: reading Parquet needs pyarrow, pip install "grpo-identity[data]"'
        ) from error
    # What pyarrow raises on damaged files; LogFormatError, a ValueError, is passed on.
    damaged = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError,
               MemoryError)  # fmt: skip
    try:
        source = raw if raw.seekable() else io.BytesIO(raw.read())
        table = pq.ParquetFile(source)
        names: list[str] = list(table.schema_arrow.names)
        if table.metadata.num_rows == 0:
            raise place.error("not be empty")
        shape = reading.recognise(names, place)
        if len(set(shape.columns)) != sum(names.count(c) for c in shape.columns):
            raise place.error("name each column once", value=names)

        def records() -> Iterator[tuple[Place, Record]]:
            number = 0
            for batch in table.iter_batches(batch_size=8192, columns=list(shape.columns)):
                columns = [batch.column(batch.schema.names.index(c)) for c in shape.columns]
                for row in zip(*(c.to_pylist() for c in columns), strict=True):
                    number += 1
                    yield place.at(number), dict(zip(shape.columns, row, strict=True))

        return reading.collect(records(), place, "Parquet", text=False)
    except LogFormatError:
        raise
    except damaged as error:
        raise place.error(f"be a readable Parquet file ({error})") from error
