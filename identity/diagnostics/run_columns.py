"""What the columns of a run's log mean: names that trainers write, and the values below them.

**Per step.** One row (CSV, Parquet) or object (JSONL) per logged step, with some of the columns of
`RUN_COLUMNS`, found by these names unless the caller names others. Rows of one step are merged, so
that evaluations may stand on lines of their own; empty cells and nulls are missing values. A field
``data`` that holds an object is read as if its fields stood beside it (verl's file logger), and a
JSON object with a list ``log_history`` is read as that list (``trainer_state.json``).

**Per group.** One row per sampled group: a step column, a prompt column (`PROMPT_COLUMNS`), and
``k`` and ``n``, ``k_of_N`` or ``rewards`` as in a log of prompts. Reward and silent share are then
computed, and the silent share is predicted for each group from the visits of its prompt before and
after it, by the unbiased form (`expectation.silent-u-statistic`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from identity.diagnostics.errors import LogFormatError, Place, printable
from identity.diagnostics.runs import RunLog
from identity.diagnostics.shapes import PROMPT_COLUMNS, Record, group_pair, integer, prompt_name
from identity.diagnostics.shapes import recognise as recognise_prompts
from identity.expectation import silent_rate_unbiased

__all__ = ["RUN_COLUMNS", "RUN_SHAPES", "collect_run", "recognise_run"]

RUN_COLUMNS: dict[str, tuple[str, ...]] = {
    "step": (
        "step", "global_step", "training/global_step", "train/global_step", "_step", "Step",
    ),
    "train_reward": (
        "train_reward", "reward", "train/reward", "critic/rewards/mean", "critic/score/mean",
    ),
    "heldout_reward": (
        "heldout_reward", "gold_reward", "eval_reward", "eval/reward", "val_reward",
    ),
    "entropy": ("entropy", "train/entropy", "actor/entropy", "actor/entropy_loss"),
    "silent_fraction": (
        "silent_fraction", "frac_reward_zero_std", "train/frac_reward_zero_std",
    ),
    "predicted_silent": ("predicted_silent",),
}  # fmt: skip
"""Names by which each column is found, the first one present: ours, TRL's and verl's."""

RUN_SHAPES = (
    "name the columns of a run: a reward per step ("
    + ", ".join(RUN_COLUMNS["train_reward"])
    + "), held-out reward ("
    + ", ".join(RUN_COLUMNS["heldout_reward"])
    + "), entropy or silent_fraction ("
    + ", ".join(RUN_COLUMNS["silent_fraction"][1:])
    + "), or step, a prompt column and k_of_N for each group"
)

# verl names held-out columns by data set: val-core/<data set>/acc/mean@1.
_VERL_HELDOUT = re.compile(r"val-core/.+/(?:acc|reward|score)/mean@\d+")


@dataclass(frozen=True)
class _RunShape:
    """Which column holds what; `group` is the shape of a log with one row per group."""

    found: dict[str, str]
    group: Any = None
    prompt: str = ""
    caveats: tuple[str, ...] = field(default=())

    @property
    def columns(self) -> tuple[str, ...]:
        grouped = (*self.group.columns, self.prompt) if self.group else ()
        return tuple(dict.fromkeys((*self.found.values(), *grouped)))


def recognise_run(
    names: Sequence[str], place: Place, columns: Mapping[str, str] | None = None
) -> _RunShape:
    """Which columns are read as what; an error at `place` if they make no log of a run."""
    given = dict(columns or {})
    present = set(names)
    for quantity, column in given.items():
        if column not in present:
            raise place.error(f"have the column {column!r}, named for {quantity}",
                              value=_shown(names))  # fmt: skip
    found = dict(given)
    caveats = []
    for quantity, aliases in RUN_COLUMNS.items():
        name = next((alias for alias in aliases if alias in present), None)
        if quantity not in found and name is not None and name not in found.values():
            found[quantity] = name
    if "heldout_reward" not in found:
        sets = [name for name in names if _VERL_HELDOUT.fullmatch(name)]
        if len(sets) == 1:
            found["heldout_reward"] = sets[0]
        elif sets:
            shown = ", ".join(printable(name) for name in sets[:4])
            caveats.append(f"Several held-out columns, none is used until one is named: {shown}.")
    usable = set(found) - {"step", "predicted_silent"}
    if usable:
        return _RunShape(found, caveats=tuple(caveats))
    prompt = next((name for name in PROMPT_COLUMNS if name in present), None)
    if prompt and "step" in found:
        try:
            group = recognise_prompts(names, place)
        except LogFormatError:
            group = None
        if group is not None and group.kind != "long" and "count" not in group.columns:
            return _RunShape({"step": found["step"]}, group, prompt)
    raise place.error(RUN_SHAPES, value=_shown(names))


def _shown(names: Sequence[str]) -> list[str]:
    return [name if len(name) <= 40 else name[:37] + "..." for name in names]


def collect_run(
    records: Iterator[tuple[Place, Record]],
    place: Place,
    kind: str,
    *,
    text: bool,
    columns: Mapping[str, str] | None = None,
) -> RunLog:
    """Fold records into one value per step and column."""
    rows = [(here, _flat(record)) for here, record in records]
    if not rows:
        raise place.error("not be empty: no step in it")
    names = list(dict.fromkeys(name for _, record in rows for name in record))
    shape = recognise_run(names, rows[0][0] if text else place, columns)
    fold = _fold_groups if shape.group else _fold_steps
    table, caveats = fold(rows, shape, text)
    if not table:
        raise place.error("have a value in one of its columns", value=list(shape.columns))
    steps = sorted(table)
    held = {
        name: [table[step].get(name) for step in steps]
        for name in ("train_reward", "heldout_reward", "entropy", "silent_fraction",
                     "silent_excess")
    }  # fmt: skip
    label = ", ".join(f"{quantity} from {printable(column)}" for quantity, column in
                      shape.found.items())  # fmt: skip
    if shape.group:
        label = f"one row per group ({label}, prompts from {shape.prompt}, {shape.group.label})"
    return RunLog(
        steps,
        **held,
        source=printable(place.path),
        recognised=f"{kind}: a run, {label}; {len(rows):,} rows",
        caveats=(*shape.caveats, *caveats),
    )


def _flat(record: Record) -> Record:
    inner = record.get("data")
    return {**record, **inner} if isinstance(inner, dict) else record


Table = dict[int, dict[str, float]]


def _fold_steps(
    rows: list[tuple[Place, Record]], shape: _RunShape, text: bool
) -> tuple[Table, list[str]]:
    table: Table = {}
    replaced = 0
    for number, (here, record) in enumerate(rows):
        values = {
            quantity: value
            for quantity, column in shape.found.items()
            if quantity != "step"
            and (value := _number(record.get(column), here, column, quantity, text)) is not None
        }
        if not values:
            continue
        column = shape.found.get("step")
        step = number if column is None else integer(record.get(column), here, column, text=text)
        at = table.setdefault(step, {})
        replaced += sum(name in at for name in values)
        at.update(values)
    for at in table.values():
        if {"silent_fraction", "predicted_silent"} <= set(at):
            at["silent_excess"] = at["silent_fraction"] - at["predicted_silent"]
    caveats = []
    if "step" not in shape.found:
        caveats.append("No step column: rows are taken as consecutive steps.")
    if replaced:
        caveats.append(f"Steps logged twice: {replaced:,} values stand for earlier ones.")
    return table, caveats


def _number(value: object, here: Place, column: str, quantity: str, text: bool) -> float | None:
    if value is None or (text and isinstance(value, str) and not value.strip()):
        return None
    number = math.nan
    if text and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if not abs(number) <= 1e150:
        raise here.error("be a finite number, or empty", column, value)
    share = quantity in ("silent_fraction", "predicted_silent")
    if (share and not 0 <= number <= 1) or (quantity == "entropy" and number < 0):
        raise here.error("lie in [0, 1]" if share else "be 0 or more", column, value)
    return number


def _fold_groups(
    rows: list[tuple[Place, Record]], shape: _RunShape, text: bool
) -> tuple[Table, list[str]]:
    column = shape.found["step"]
    groups = []
    for here, record in rows:
        for name in shape.columns:
            if name not in record:
                raise here.error(f"have the field {name!r}, as other records do",
                                 value=sorted(record))  # fmt: skip
        step = integer(record[column], here, column, text=text)
        who = prompt_name(record[shape.prompt], here, shape.prompt, text=text)
        k, n = group_pair(shape.group, record, here, text)
        if not 2 <= n <= 2**20:
            raise here.error("hold groups of 2 to 2**20 rollouts", value=n)
        groups.append((step, who, k, n))
    groups.sort(key=lambda group: group[0])
    visits: dict[object, list[int]] = {}
    for index, group in enumerate(groups):
        visits.setdefault(group[1], []).append(index)
    # Groups with a visit before and after, by size: one call for each size.
    sized: dict[int, list[tuple[int, int, int]]] = {}
    for seen in visits.values():
        for before, index, after in zip(seen, seen[1:], seen[2:], strict=False):
            size = groups[index][3]
            pooled = groups[before][3] + groups[after][3]
            if pooled >= size:
                correct = groups[before][2] + groups[after][2]
                sized.setdefault(size, []).append((index, correct, pooled))
    predicted: dict[int, float] = {}
    for size, parts in sized.items():
        counts = np.array([part[1:] for part in parts], dtype=float)
        shares = np.asarray(silent_rate_unbiased(counts[:, 0], counts[:, 1], size))
        predicted.update(zip((part[0] for part in parts), map(float, shares), strict=True))
    by_step: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        by_step.setdefault(group[0], []).append(index)
    table: Table = {}
    for step, members in by_step.items():
        silent = {i: float(groups[i][2] in (0, groups[i][3])) for i in members}
        at = table[step] = {
            "train_reward": math.fsum(groups[i][2] / groups[i][3] for i in members) / len(members),
            "silent_fraction": math.fsum(silent.values()) / len(members),
        }
        known = [i for i in members if i in predicted]
        if known:
            at["silent_excess"] = math.fsum(silent[i] - predicted[i] for i in known) / len(known)
    return table, []
