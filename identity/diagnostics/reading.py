"""Read a training or evaluation log into counts of ``(k correct, n rollouts)`` per prompt.

**Accepted files.** CSV (also tab- or semicolon-separated; a header is required), JSONL (one
object, or one bare list of rewards, per line) and Parquet; CSV and JSONL may be gzipped. The
format follows the suffix (``.csv .tsv .txt``, ``.jsonl .ndjson .json``, ``.parquet .pq``, each
text one also with ``.gz``), or else the first bytes. Text is UTF-8, a BOM and CRLF line ends are
fine.

The columns decide what is in it: `identity.diagnostics.shapes` lists the accepted shapes.
Memory is proportional to the number of distinct (k, n) pairs, and for long form to the number of
prompts.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from identity.data import SolveRates
from identity.diagnostics.errors import LogFormatError, Place
from identity.diagnostics.shapes import Record, collect, decoded_json, recognise
from identity.errors import DomainError

__all__ = ["read_log"]

_MAX_LINE = 1 << 24  # 16 MiB: a file without line ends must not be read into memory whole
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
                return _read_parquet(raw, Place(place.path, "row"))
            records = _csv_records if kind == "CSV" else _json_records
            label = kind + (", gzipped" if zipped else "")
            return collect(records(stream, place), place, label, text=kind == "CSV")
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


def _csv_records(stream: BinaryIO, place: Place) -> Iterator[tuple[Place, Record]]:
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
    reader = csv.reader(_chain(header_line, lines), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            here = place.at(reader.line_num + skipped)
            if names is None:
                names = [name.strip() for name in row]
                twice = [n for n, times in Counter(names).items() if n and times > 1]
                if twice:
                    raise here.error("name each column once", value=twice[0])
                # The header alone must already have one of the shapes.
                recognise(names, here)
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


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _json_records(stream: BinaryIO, place: Place) -> Iterator[tuple[Place, Record]]:
    for number, line in enumerate(_lines(stream, place), start=1):
        if not line.strip():
            continue
        here = place.at(number)
        value = decoded_json(line, here)
        if isinstance(value, list):
            value = {"rewards": value}
        if not isinstance(value, dict):
            raise here.error("hold one JSON object or one list of rewards", value=value)
        yield here, value


# --- Parquet --------------------------------------------------------------------------------


def _read_parquet(raw: BinaryIO, place: Place) -> SolveRates:
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
        shape = recognise(names, place)
        if len(set(shape.columns)) != sum(names.count(c) for c in shape.columns):
            raise place.error("name each column once", value=names)

        def records() -> Iterator[tuple[Place, Record]]:
            number = 0
            for batch in table.iter_batches(batch_size=8192, columns=list(shape.columns)):
                columns = [batch.column(batch.schema.names.index(c)) for c in shape.columns]
                for row in zip(*(c.to_pylist() for c in columns), strict=True):
                    number += 1
                    yield place.at(number), dict(zip(shape.columns, row, strict=True))

        return collect(records(), place, "Parquet", text=False)
    except LogFormatError:
        raise
    except damaged as error:
        raise place.error(f"be a readable Parquet file ({error})") from error
