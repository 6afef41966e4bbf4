"""Logs of runs: every accepted shape gives its columns; everything else one documented error."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.data import SolveRates
from identity.diagnostics import (
    RUN_COLUMNS,
    RUN_QUANTITIES,
    LogFormatError,
    RunLog,
    diagnose_run,
    read_any,
    read_log,
    read_run,
)
from identity.errors import DomainError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def shown(log: RunLog) -> dict[str, list[float | None]]:
    """Columns with a value, missing values as None."""
    return {
        name: [None if math.isnan(v) else float(v) for v in getattr(log, name)]
        for name in ("step", *log.quantities)
    }


# Step 2 has no held-out reward, step 4 no entropy.
WANTED = {
    "step": [0.0, 2.0, 4.0],
    "train_reward": [0.25, 0.5, 0.5],
    "heldout_reward": [0.125, None, 0.25],
    "entropy": [1.0, 0.5, None],
    "silent_fraction": [0.5, 0.25, 0.0],
}
TRL = """{"loss": 0.0, "step": 0, "reward": 0.25, "entropy": 1.0, "frac_reward_zero_std": 0.5}
{"eval_reward": 0.125, "eval_entropy": 7, "step": 0}
{"step": 2, "reward": 0.5, "entropy": 0.5, "frac_reward_zero_std": 0.25}

{"step": 4, "reward": 0.5, "frac_reward_zero_std": 0, "entropy": null}
{"eval_reward": 0.25, "step": 4}
{"train_runtime": 9.5, "step": 4}
"""
HISTORY = json.dumps(
    {"best_metric": None, "log_history": [json.loads(line) for line in TRL.split("\n") if line]},
    indent=2,
)
VERL = """{"step": 0, "data": {"critic/rewards/mean": 0.25, "actor/entropy": 1,
 "critic/score/mean": 9, "val-core/math/acc/mean@1": 0.125, "val-aux/math/format/mean@1": 1,
 "silent_fraction": 0.5}}
{"step": 2, "data": {"critic/rewards/mean": 0.5, "actor/entropy": 0.5, "silent_fraction": 0.25}}
{"step": 4, "data": {"critic/rewards/mean": 0.5, "val-core/math/acc/mean@1": 0.25,
 "silent_fraction": 0}}
""".replace(",\n ", ", ")
TABLE = """global_step,train/reward,eval/reward,train/entropy,train/frac_reward_zero_std,note
0,0.25,0.125,1.0,0.5,x
2.0,0.5,,0.5,0.25,

4, 0.5 ,0.25, ,0,
"""


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", TRL),
        ("trainer_state.json", HISTORY),
        ("a.jsonl", VERL),
        ("a.csv", TABLE),
        ("a.csv", "\ufeff" + TABLE.replace("\n", "\r\n")),
        ("a.tsv", TABLE.replace(",", "\t")),
        ("log", TABLE),
        ("log", TRL),
        ("a.csv", "\n".join([TABLE.split("\n")[0], *sorted(TABLE.split("\n")[1:])[::-1]])),
    ],
    ids=["trl", "history", "verl", "csv", "bom", "tsv", "bare-csv", "bare-json", "unsorted"],
)
def test_steps(tmp_path: Path, name: str, text: str, zipped: bool) -> None:
    path = write(tmp_path, name + ".gz" * zipped, gzip.compress(text.encode()) if zipped else text)
    for read in (read_run, read_any):
        log = read(path)
        assert isinstance(log, RunLog)
        assert shown(log) == WANTED
        assert log.source == str(path)
        assert "a run" in log.recognised
        assert not log.caveats


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {name: list(values) for name, values in WANTED.items()}
    pq.write_table(pa.table({**columns, "other": ["x"] * 3}), path)
    assert shown(read_run(path)) == WANTED
    assert isinstance(read_any(path), RunLog)


def test_named_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "i,reward,mine,gold\n0,9,0.5,0.1\n1,9,0.25,0.2\n")
    log = read_run(path, {"step": "i", "train_reward": "mine", "heldout_reward": "gold"})
    assert shown(log) == {
        "step": [0, 1],
        "train_reward": [0.5, 0.25],
        "heldout_reward": [0.1, 0.2],
    }
    with pytest.raises(LogFormatError, match="have the column 'none', named for entropy"):
        read_run(path, {"entropy": "none"})
    for columns in ({"reward": "mine"}, {"step": 3}, ["step"]):
        with pytest.raises(DomainError, match=r"^columns must map"):
            read_run(path, columns)  # type: ignore[arg-type]


def test_what_is_said_beside_the_values(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "reward\n0.5\n0.25\n")
    log = read_run(path)
    assert list(log.step) == [0, 1]
    assert "rows are taken as consecutive steps" in log.caveats[0]
    path = write(tmp_path, "b.csv", "step,reward\n1,0.5\n2,0.25\n1,0.75\n")
    log = read_run(path)
    assert list(log.train_reward) == [0.75, 0.25]
    assert "1 values stand for earlier ones" in log.caveats[0]
    path = write(
        tmp_path, "c.csv", "step,val-core/a/acc/mean@1,val-core/b/acc/mean@8,reward\n1,0,0,1\n"
    )
    log = read_run(path)
    assert log.quantities == ("train_reward",)
    assert "val-core/a/acc/mean@1, val-core/b/acc/mean@8" in log.caveats[0]
    assert read_run(path, {"heldout_reward": "val-core/b/acc/mean@8"}).heldout_reward[0] == 0


def test_prediction_becomes_an_excess(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "step,silent_fraction,predicted_silent\n1,.5,.25\n2,.5,\n")
    assert shown(read_run(path))["silent_excess"] == [0.25, None]


# --- one row per group ---------------------------------------------------------------------------

# Prompt a: 1, 2, 4 of 4; prompt b: 0, 0, 2 of 4. Only the second visits have two neighbours.
GROUPS = [(0, "a", 1), (0, "b", 0), (1, "b", 0), (1, "a", 2), (2, "a", 4), (2, "b", 2)]


def c(n: int, k: int) -> int:
    return math.comb(n, k)


# Pooled neighbours: a has 1 + 4 = 5 of 8, b has 0 + 2 = 2 of 8; groups of 4.
PREDICTED = [(c(5, 4) + c(3, 4)) / c(8, 4), (c(2, 4) + c(6, 4)) / c(8, 4)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "step,uid,k_of_4\n" + "".join(f"{s},{p},{k}\n" for s, p, k in GROUPS)),
        ("a.csv", "step,prompt,n,k\n" + "".join(f"{s},{p},4,{k}\n" for s, p, k in GROUPS[::-1])),
        (
            "a.jsonl",
            "".join(
                json.dumps({"global_step": s, "prompt_id": p, "rewards": [1] * k + [0] * (4 - k)})
                + "\n"
                for s, p, k in GROUPS
            ),
        ),
    ],
)
def test_groups(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path, name, text)
    log = read_run(path)
    assert shown(log)["train_reward"] == [1 / 8, 2 / 8, 6 / 8]
    assert shown(log)["silent_fraction"] == [0.5, 0.5, 0.5]
    excess = shown(log)["silent_excess"]
    assert (excess[0], excess[2]) == (None, None)
    assert excess[1] == pytest.approx(0.5 - math.fsum(PREDICTED) / 2, rel=1e-14)
    # Without being asked it is a log of prompts, as before.
    assert isinstance(read_any(path), SolveRates)
    assert read_log(path).prompts == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,uid,k_of_4,count\n0,a,1,2\n", "name the columns of a run"),
        ("step,uid,k,n\n0,a,1,1\n", "line 2 must hold groups of 2 to"),
        ("step,uid,k_of_4\n0,,1\n", "line 2, column uid must be a text or integer"),
        ("step,uid,k_of_4\n0,a,5\n", "line 2, column k_of_4 must be at most n = 4"),
        ("step,uid,k_of_4\n-1,a,3\n", "line 2, column step must be non-negative"),
        ("uid,k_of_4\n0,3\n", "name the columns of a run"),
    ],
)
def test_groups_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LogFormatError) as error:
        read_run(write(tmp_path, "a.csv", text))
    assert message in str(error.value)


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "step,reward\n0,nan\n", "line 2, column reward must be a finite number"),
        ("a.csv", "step,reward\n0,inf\n", "line 2, column reward must be a finite number"),
        ("a.csv", "step,reward\n0,1e200\n", "line 2, column reward must be a finite number"),
        ("a.csv", "step,reward\n0,x\n", "line 2, column reward must be a finite number"),
        ("a.csv", "step,reward\n0,true\n", "line 2, column reward must be a finite number"),
        ("a.csv", "step,reward\n,0.5\n", "line 2, column step must be an integer"),
        ("a.csv", "step,reward\n0.5,0.5\n", "line 2, column step must be an integer"),
        ("a.csv", "step,entropy\n0,-0.5\n", "line 2, column entropy must be 0 or more"),
        ("a.csv", "step,silent_fraction\n0,1.5\n", "silent_fraction must lie in [0, 1]"),
        ("a.csv", "step,reward\n0,\n", "have a value in one of its columns"),
        ("a.csv", "step,loss\n0,1\n", "line 1 must name the columns of a run"),
        ("a.csv", "step,reward\n", "not be empty: no step in it"),
        ("a.jsonl", '{"step": 0, "reward": NaN}\n', "line 1, column reward must be a finite"),
        ("a.jsonl", '{"step": 0, "reward": true}\n', "line 1, column reward must be a finite"),
        ("a.jsonl", '{"step": 0, "reward": "0.5"}\n', "line 1, column reward must be a finite"),
        ("a.jsonl", '{"step": 0, "reward": [1]}\n', "line 1, column reward must be a finite"),
        ("a.jsonl", '{"step": 0, "reward": 1' + "0" * 400 + "}\n", "must be a finite"),
        ("a.jsonl", '{"step": 0, "loss": 1}\n', "must name the columns of a run"),
        ("a.json", '{\n "log_history": 3}\n', "or one with a list log_history"),
        ("a.json", '{\n "log_history": [3]}\n', "or one with a list log_history"),
        ("a.json", '{\n "log_history": [}\n', "be valid JSON"),
        ("a.json", '{\n "log_history": []}\n', "not be empty"),
    ],
)
def test_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(LogFormatError) as error:
        read_run(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_neither_a_log_of_prompts_nor_of_a_run(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.table({"loss": [1.0]}), path)
    else:
        write(tmp_path, name, "loss,x\n1,2\n" if name == "a.csv" else '{"loss": 1, "x": 2}\n')
    with pytest.raises(LogFormatError) as error:
        read_any(path)
    text = str(error.value)
    for part in ("k and n", "k_of_8", "critic/rewards/mean", "frac_reward_zero_std", "'loss'"):
        assert part in text


def test_read_any_keeps_other_errors(tmp_path: Path) -> None:
    for name, text, message in (
        ("a.csv", "k_of_4,k_of_8\n1,1\n", "have one k_of_N column"),
        ("b.jsonl", '{"k_of_4": 1, "k_of_8": 2}\n', "have one k_of_N column"),
        ("c.jsonl", "", "no prompt and no step in it"),
        ("d.jsonl", '{"step": 1, "reward": "x"}\n', "finite number"),
    ):
        with pytest.raises(LogFormatError, match=message):
            read_any(write(tmp_path, name, text))


# --- the type -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "argument"),
    [
        ({"step": []}, "step"),
        ({"step": [1, 1]}, "step"),
        ({"step": [2, 1]}, "step"),
        ({"step": [-1, 1]}, "step"),
        ({"step": [0.5, 1]}, "step"),
        ({"step": [0, math.nan]}, "step"),
        ({"step": "01"}, "step"),
        ({"step": 3}, "step"),
        ({"step": [[0, 1]]}, "step"),
        ({"step": [[0], [1, 2]]}, "step"),
        ({"step": [0, 2**60]}, "step"),
        ({"train_reward": [1.0]}, "train_reward"),
        ({"train_reward": [math.inf, 0]}, "train_reward"),
        ({"train_reward": [1e200, 0]}, "train_reward"),
        ({"train_reward": [True, False]}, "train_reward"),
        ({"train_reward": np.array([True, False])}, "train_reward"),
        ({"train_reward": ["0", "1"]}, "train_reward"),
        ({"train_reward": [1j, 0]}, "train_reward"),
        ({"train_reward": [None, math.nan]}, "train_reward"),
        ({"train_reward": [10**400, 0]}, "train_reward"),
        ({"train_reward": [object(), 0]}, "train_reward"),
        ({"entropy": [-0.1, 0]}, "entropy"),
        ({"silent_fraction": [0, 1.1]}, "silent_fraction"),
        ({"silent_excess": [-1.1, 1]}, "silent_excess"),
        ({}, "train_reward"),
    ],
)
def test_run_logs_are_checked(columns: dict[str, Any], argument: str) -> None:
    given = {"step": [0, 1], **columns}
    with pytest.raises(DomainError) as error:
        RunLog(**given)
    assert error.value.argument == argument


def test_run_logs_take_arrays_and_do_not_change_them() -> None:
    reward = np.array([0.5, np.nan, 0.25], dtype=np.float32)
    log = RunLog(np.arange(3), train_reward=reward)
    assert shown(log)["train_reward"] == [0.5, None, 0.25]
    assert reward.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        log.train_reward[0] = 1
    steps, values = log.values("train_reward")
    assert (list(steps), list(values)) == ([0, 2], [0.5, 0.25])
    assert [v.size for v in log.values("entropy")] == [0, 0]
    assert set(RUN_QUANTITIES) - {"silent_excess"} < set(RUN_COLUMNS)


# --- fuzz: a report or the documented error ------------------------------------------------------

CELLS = st.sampled_from(
    ["", " ", "0", "1", "2", "3", "0.5", "-1", "nan", "inf", "1e300", "true", "x", "a", '"', "4.0"]
)
NAMES = st.sampled_from(
    ["step", "reward", "eval_reward", "entropy", "frac_reward_zero_std", "predicted_silent", "uid",
     "k", "n", "k_of_4", "count", "rewards", "loss", ""]
)  # fmt: skip


def read_or_error(path: Path) -> RunLog | LogFormatError:
    try:
        return read_run(path)
    except LogFormatError as error:
        return error


def report_or_documented_error(path: Path) -> None:
    found = read_or_error(path)
    if isinstance(found, LogFormatError):
        assert found.path == str(path)
        assert str(found).isprintable()
        assert len(str(found)) < 2000
        return
    json.dumps(diagnose_run(found).to_dict(), allow_nan=False)


@given(
    names=st.lists(NAMES, min_size=1, max_size=5, unique=True),
    rows=st.lists(st.lists(CELLS, min_size=5, max_size=5), max_size=8),
    kind=st.sampled_from(["csv", "jsonl", "history"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_fuzz(tmp_path: Path, names: list[str], rows: list[list[str]], kind: str) -> None:
    cut = [row[: len(names)] for row in rows]
    if kind == "csv":
        text = "\n".join(",".join(row) for row in [names, *cut]) + "\n"
    else:
        records = [dict(zip(names, row, strict=True)) for row in cut]
        for record in records:
            for name, cell in record.items():
                if cell.replace(".", "").isdigit():
                    record[name] = json.loads(cell)
        text = "".join(json.dumps(record) + "\n" for record in records)
        if kind == "history":
            text = json.dumps({"log_history": records}, indent=1)
    report_or_documented_error(write(tmp_path, "f.csv" if kind == "csv" else "f.jsonl", text))
