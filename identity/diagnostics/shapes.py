"""What the columns of a log mean: the accepted shapes, and the checks on their values.

**Accepted shapes.** The columns (CSV, Parquet) or the fields of the first object (JSONL) decide,
in this order; other columns are ignored.

1. ``k`` and ``n``, optionally ``count``: k correct of n rollouts, for ``count`` prompts (1).
2. ``k_of_N`` with a number in its name (say ``k_of_8``), optionally ``count``: as 1 with n = N.
3. ``rewards``, optionally ``count``: a list of 0/1 rewards, one prompt per row, widths may differ.
   In CSV the cell is a quoted JSON list; in JSONL a line may be the bare list.
4. Long form, one row per rollout: a prompt column (`PROMPT_COLUMNS`) and a 0/1 reward column
   (`REWARD_COLUMNS`). Rows of one prompt need not be adjacent.

Integers may be written ``3`` or ``3.0``; rewards ``0``, ``1``, ``0.0``, ``1.0``, ``true``,
``false``. Memory is proportional to the number of distinct (k, n) pairs, and for long form to the
number of prompts.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from identity.data import MAX_INTEGER, SolveRates
from identity.diagnostics.errors import Place, printable

__all__ = [
    "PROMPT_COLUMNS",
    "PROMPT_SHAPES",
    "REWARD_COLUMNS",
    "Record",
    "collect",
    "decoded_json",
    "group_pair",
    "integer",
    "prompt_name",
    "recognise",
]

PROMPT_COLUMNS = ("prompt_id", "problem_id", "problem_index", "question_id", "uid", "prompt")
"""Names that mark the prompt in long form; the first one present is used."""

REWARD_COLUMNS = ("reward", "correct")
"""Names that hold the 0/1 reward in long form; the first one present is used."""

_INTEGER = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_K_OF_N = re.compile(r"k_of_([1-9][0-9]{0,14})")
PROMPT_SHAPES = (
    "name its columns k and n (optionally count), or k_of_N such as k_of_8, or rewards, or a "
    f"prompt column ({', '.join(PROMPT_COLUMNS)}) with a reward column "
    f"({', '.join(REWARD_COLUMNS)})"
)

Record = Mapping[str, Any]


# --- shapes: what a record means ------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """One accepted shape: the columns it reads and its name in the report."""

    kind: str
    columns: tuple[str, ...]
    label: str
    group_size: int = 0


def recognise(names: Sequence[str], place: Place) -> _Shape:
    """The first accepted shape that these columns have; an error at `place` if none."""
    present = set(names)
    count = ("count",) if "count" in present else ()
    noted = " with a count column" if count else ""
    if {"k", "n"} <= present:
        return _Shape("counts", ("k", "n", *count), f"k,n counts{noted}")
    fixed = [name for name in names if _K_OF_N.fullmatch(name)]
    if len(fixed) > 1:
        raise place.error("have one k_of_N column", value=fixed)
    if fixed:
        size = int(fixed[0].removeprefix("k_of_"))
        label = f"{fixed[0]} counts (n = {size}){noted}"
        return _Shape("fixed", (fixed[0], *count), label, size)
    if "rewards" in present:
        return _Shape("list", ("rewards", *count), f"lists of 0/1 rewards, one per prompt{noted}")
    prompt = next((name for name in PROMPT_COLUMNS if name in present), None)
    reward = next((name for name in REWARD_COLUMNS if name in present), None)
    if prompt and reward:
        return _Shape("long", (prompt, reward), f"0/1 rewards, one row per rollout "
                      f"(prompts in {prompt}, rewards in {reward})")  # fmt: skip
    shown = [name if len(name) <= 40 else name[:37] + "..." for name in names]
    raise place.error(PROMPT_SHAPES, value=shown)


def _caveats(names: Sequence[str], shape: _Shape) -> tuple[str, ...]:
    unused = next((n for n in PROMPT_COLUMNS if n in names and n not in shape.columns), None)
    if unused is None:
        return ()
    return (f"Each row counts as a prompt of its own: rows that share a {unused} are not pooled.",)


def collect(
    records: Iterator[tuple[Place, Record]], place: Place, kind: str, *, text: bool
) -> SolveRates:
    """Fold records into counts by (k, n)."""
    counts: dict[tuple[int, int], int] = {}
    prompts: dict[object, tuple[int, int]] = {}
    shape: _Shape | None = None
    caveats: tuple[str, ...] = ()
    rows = 0
    for here, record in records:
        rows += 1
        if shape is None:
            shape = recognise(list(record), here)
            caveats = _caveats(list(record), shape)
        for name in shape.columns:
            if name not in record:
                raise here.error(f"have the field {name!r}, as the first record does",
                                 value=sorted(record))  # fmt: skip
        if shape.kind == "long":
            prompt, reward = shape.columns
            identity = prompt_name(record[prompt], here, prompt, text=text)
            k, n = prompts.get(identity, (0, 0))
            prompts[identity] = (k + _reward(record[reward], here, reward, text=text), n + 1)
            continue
        pair = group_pair(shape, record, here, text)
        times = 1
        if "count" in shape.columns:
            times = integer(record["count"], here, "count", text=text, low=0)
        counts[pair] = counts.get(pair, 0) + times
    if shape is None:
        raise place.error("not be empty: no prompt in it")
    for pair in prompts.values():
        counts[pair] = counts.get(pair, 0) + 1
    if not any(counts.values()):
        raise place.error("name at least one prompt; every count is 0")
    unit = "rows" if place.unit == "row" or text else "records"
    return SolveRates.from_counts(
        counts.items(),
        source=printable(place.path),
        recognised=f"{kind}: {shape.label}; {rows:,} {unit}",
        caveats=caveats,
    )


def _counts_pair(shape: _Shape, record: Record, here: Place, text: bool) -> tuple[int, int]:
    n = integer(record["n"], here, "n", text=text, low=1)
    return _correct(record["k"], here, "k", n, text=text), n


def _fixed_pair(shape: _Shape, record: Record, here: Place, text: bool) -> tuple[int, int]:
    column, n = shape.columns[0], shape.group_size
    return _correct(record[column], here, column, n, text=text), n


def _list_pair(shape: _Shape, record: Record, here: Place, text: bool) -> tuple[int, int]:
    rewards = record["rewards"]
    if text:
        rewards = decoded_json(rewards, here, "rewards")
    if not isinstance(rewards, list) or not rewards:
        raise here.error("be a list of at least one 0/1 reward", "rewards", rewards)
    if isinstance(rewards[0], dict):
        raise here.error("be a list of 0/1 rewards; write records one per line, without [ ] around",
                         "rewards", rewards)  # fmt: skip
    correct = sum(
        _reward(reward, here, f"rewards[{i}]", text=False) for i, reward in enumerate(rewards)
    )
    return correct, len(rewards)


_PAIRS: dict[str, Callable[[_Shape, Record, Place, bool], tuple[int, int]]] = {
    "counts": _counts_pair,
    "fixed": _fixed_pair,
    "list": _list_pair,
}


def group_pair(shape: _Shape, record: Record, here: Place, text: bool) -> tuple[int, int]:
    """(k, n) of a record in which one row is one prompt or one group."""
    return _PAIRS[shape.kind](shape, record, here, text)


# --- values ---------------------------------------------------------------------------------


def _as_integer(value: object, *, text: bool) -> int | None:
    """The integer that a cell holds, or None; integral floats count, booleans do not."""
    if text and isinstance(value, str):
        cell = value.strip()
        if not _INTEGER.fullmatch(cell):
            return None
        digits = cell.partition(".")[0]
        # int() refuses thousands of digits; anything this long is over the bound anyway.
        return int(digits) if len(digits) <= 20 else (-1 if cell[0] == "-" else MAX_INTEGER + 1)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return None


def integer(value: object, here: Place, column: str, *, text: bool, low: int = 0) -> int:
    """The integer in a cell, at least `low`; an error at `here` if there is none."""
    number = _as_integer(value, text=text)
    if number is None:
        raise here.error("be an integer", column, value)
    if not low <= number <= MAX_INTEGER:
        rule = "be non-negative" if number < 0 else f"be an integer between {low} and 2**53"
        raise here.error(rule, column, value)
    return number


def _correct(value: object, here: Place, column: str, n: int, *, text: bool) -> int:
    k = integer(value, here, column, text=text, low=0)
    if k > n:
        raise here.error(f"be at most n = {n}", column, value)
    return k


def _reward(value: object, here: Place, column: str, *, text: bool) -> int:
    if isinstance(value, bool):
        return int(value)
    if text and isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return int(value.strip().lower() == "true")
    number = _as_integer(value, text=text)
    if number not in (0, 1):
        raise here.error("be 0 or 1", column, value)
    return number


def prompt_name(value: object, here: Place, column: str, *, text: bool) -> object:
    """The text or integer that names a prompt."""
    if text and isinstance(value, str):
        value = value.strip()
    if isinstance(value, bool) or not isinstance(value, (str, int, bytes)) or value in ("", b""):
        raise here.error("be a text or integer that names the prompt", column, value)
    return value


# --- JSON -----------------------------------------------------------------------------------


def decoded_json(text: str, place: Place, column: str | None = None) -> Any:
    """The value of a JSON text; an error at `place` if it is none, or repeats a key."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        rule = f"be valid JSON, complete on this line ({error.msg} at character {error.pos + 1})"
        raise place.error(rule, column, text.strip()) from error
    except (ValueError, RecursionError) as error:
        # A repeated key, an integer of thousands of digits, nesting thousands deep.
        raise place.error(f"be valid JSON ({error})", column, text.strip()) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        twice = next(k for k, times in Counter(k for k, _ in pairs).items() if times > 1)
        raise ValueError(f"key {twice!a} twice")
    return record
