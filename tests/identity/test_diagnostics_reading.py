"""Logs: every accepted shape gives its counts; everything else one documented error."""

from __future__ import annotations

import gzip
import json
import math
import os
import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from identity.data import BIG_MATH_CAVEATS, MAX_INTEGER, SolveRates, big_math_solve_rates
from identity.diagnostics import LogFormatError, diagnose, read_log
from identity.errors import DomainError

# The counts that every good file below holds: two prompts 1/2, one 0/3, one 2/2.
COUNTS = {(1, 2): 2, (0, 3): 1, (2, 2): 1}


def counts(rates: SolveRates) -> dict[tuple[int, int], int]:
    return dict(zip(zip(rates.correct, rates.rollouts, strict=True), rates.count, strict=True))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


GOOD = [
    ("a.csv", "k,n,count\n1,2,2\n0,3,1\n2,2,1\n", "k,n counts with a count column"),
    ("a.csv", "k,n\n1,2\n1,2\n0,3\n2,2\n", "k,n counts"),
    ("a.csv", "\ufeffk,n\r\n1,2\r\n1,2\r\n0,3\r\n2,2", "k,n counts"),
    ("a.csv", "\n\n n , extra, k \n2,x,1\n\n2,,1.0\n 3 ,y,0\n2,z,+2\n,,\n", "k,n counts"),
    ("a.tsv", "k\tn\tcount\n1\t2\t2\n0\t3\t1\n2\t2\t1\n2\t2\t0\n", "k,n counts"),
    ("a.csv", "k;n;count\n1;2;2\n0;3;1\n2;2;1\n", "k,n counts"),
    ("a.csv", 'rewards\n"[0, 1]"\n"[1.0, false]"\n"[0,0,0]"\n"[true,1]"\n', "lists of 0/1"),
    ("a.csv", "prompt_id,reward\na,1\nb,0\na,0\nc,0\nb,1\nc,0\nc,0\nd,1\nd,true\n", "long"),
    ("a.jsonl", '{"k":1,"n":2,"count":2}\n\n{"k":0,"n":3,"count":1}\n'
     '{"k":2.0,"n":2,"count":1,"note":"x"}\n', "k,n counts"),
    ("a.jsonl", '\ufeff{"rewards":[0,1]}\r\n{"rewards":[1,0]}\r\n{"rewards":[0,0,0]}\r\n'
     '{"rewards":[true,1.0]}', "lists of 0/1"),
    ("a.jsonl", "[0,1]\n[1,0]\n[0,0,0]\n[1,1]\n", "lists of 0/1"),
    ("a.json", '{"uid":7,"correct":1}\n{"uid":7,"correct":0}\n{"uid":"7","correct":true}\n'
     '{"uid":"7","correct":false}\n{"uid":8,"correct":0}\n{"uid":8,"correct":0}\n'
     '{"uid":8,"correct":0}\n{"uid":9,"correct":1}\n{"uid":9,"correct":1}\n', "long"),
    ("log", "k,n\n1,2\n1,2\n0,3\n2,2\n", "k,n counts"),
    ("log", "[0,1]\n[1,0]\n[0,0,0]\n[1,1]\n", "lists of 0/1"),
]  # fmt: skip


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(("name", "text", "shape"), GOOD, ids=range(len(GOOD)))
def test_text_shapes(tmp_path: Path, name: str, text: str, shape: str, zipped: bool) -> None:
    data = text.encode()
    path = (
        write(tmp_path, name + ".gz", gzip.compress(data))
        if zipped
        else write(tmp_path, name, data)
    )
    rates = read_log(path)
    assert counts(rates) == COUNTS
    assert ("one row per rollout" if shape == "long" else shape) in rates.recognised
    assert ("gzipped" in rates.recognised) == zipped
    assert rates.source == str(path)
    assert rates.ratio_only == (False,) * len(rates.count)


def test_columns_of_the_one_shot_log(tmp_path: Path) -> None:
    text = "problem_index,visit,k_of_8\n0,0,0\n0,1,3\n1,0,8\n1,1,3\n"
    rates = read_log(write(tmp_path, "groups.csv.gz", gzip.compress(text.encode())))
    assert counts(rates) == {(0, 8): 1, (3, 8): 2, (8, 8): 1}
    assert "k_of_8 counts (n = 8)" in rates.recognised
    assert "not pooled" in rates.caveats[0]


def parquet(folder: Path, columns: dict[str, object], name: str = "a.parquet") -> Path:
    path = folder / name
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    "columns",
    [
        {"k": [1, 1, 0, 2], "n": [2, 2, 3, 2]},
        {"k": [1.0, 0.0, 2.0], "n": pa.array([2, 3, 2], pa.int8()), "count": [2, 1, 1]},
        {"rewards": [[0, 1], [1, 0], [0, 0, 0], [1, 1]], "other": ["a", "b", "c", "d"]},
        {"rewards": [[False, True], [True, False], [False] * 3, [True] * 2]},
        {"prompt": list("aabbcccdd"), "reward": [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]},
    ],
    ids=["ints", "floats", "lists", "booleans", "long"],
)
@pytest.mark.parametrize("name", ["a.parquet", "noname"])
def test_parquet_shapes(tmp_path: Path, columns: dict[str, object], name: str) -> None:
    rates = read_log(parquet(tmp_path, columns, name))
    assert counts(rates) == COUNTS
    assert rates.recognised.startswith("Parquet: ")


# name, text, line, column, what the message says
BAD = [
    ("a.csv", "", None, None, "not be empty"),
    ("a.csv", "\n\n", None, None, "not be empty"),
    ("a.csv", "k,n\n", None, None, "not be empty"),
    ("a.jsonl", "", None, None, "not be empty"),
    ("a.csv", "k,n,count\n1,2,0\n", None, None, "name at least one prompt"),
    ("a.csv", "a,b\n1,2\n", 1, None, "name its columns k and n"),
    ("a.csv", "k,m\n1,2\n", 1, None, "name its columns k and n"),
    ("a.csv", "k,n,k\n1,2,1\n", 1, None, "name each column once"),
    ("a.csv", "k_of_8,k_of_4\n1,1\n", 1, None, "have one k_of_N column"),
    ("a.csv", "k_of_0\n0\n", 1, None, "name its columns"),
    ("a.csv", "k,n\n1,2\n3,2\n", 3, "k", "be at most n = 2; got '3'"),
    ("a.csv", "\n\nk,n\n\n3,2\n", 5, "k", "be at most n = 2"),
    ("a.csv", "\n\nk,n\n1,2\n\"3,2\n", 5, None, "be valid CSV"),
    ("a.csv", "k_of_8\n9\n", 2, "k_of_8", "be at most n = 8"),
    ("a.csv", "k,n\n-1,2\n", 2, "k", "be non-negative; got '-1'"),
    ("a.csv", "k,n\n1,0\n", 2, "n", "be an integer between 1 and 2**53; got '0'"),
    ("a.csv", "k,n\n1,-3\n", 2, "n", "be non-negative"),
    ("a.csv", "k,n\n\n1.5,2\n", 3, "k", "be an integer; got '1.5'"),
    ("a.csv", "k,n\nnan,2\n", 2, "k", "be an integer; got 'nan'"),
    ("a.csv", "k,n\n1,inf\n", 2, "n", "be an integer"),
    ("a.csv", "k,n\n,2\n", 2, "k", "be an integer; got ''"),
    ("a.csv", "k,n\n1,1_0\n", 2, "n", "be an integer"),
    ("a.csv", "k,n\n1,\u0662\n", 2, "n", "be an integer"),
    ("a.csv", f"k,n\n1,{2**53 + 1}\n", 2, "n", "between 1 and 2**53"),
    ("a.csv", f"k,n\n1,{'9' * 5000}\n", 2, "n", "between 1 and 2**53"),
    ("a.csv", "k,n,count\n1,2,-1\n", 2, "count", "be non-negative"),
    ("a.csv", "k,n,count\n1,2,0.5\n", 2, "count", "be an integer"),
    ("a.csv", "k,n\n1,2\n1\n", 3, None, "have 2 cells like the header"),
    ("a.csv", "rewards\n[0,1]\n", 2, None, "a list must be quoted"),
    ("a.csv", 'rewards\n"[0,2]"\n', 2, "rewards[1]", "be 0 or 1; got 2"),
    ("a.csv", 'rewards\n"[]"\n', 2, "rewards", "at least one 0/1 reward"),
    ("a.csv", 'rewards\n"0 1"\n', 2, "rewards", "be valid JSON"),
    ("a.csv", 'k,n\n"1,2\n', 2, None, "be valid CSV"),
    ("a.csv", "k,n\n1\r2,3\n", 2, None, "be valid CSV"),
    ("a.csv", "prompt,reward\na,0.5\n", 2, "reward", "be 0 or 1; got '0.5'"),
    ("a.csv", "prompt,reward\na,-1\n", 2, "reward", "be 0 or 1"),
    ("a.csv", "prompt,reward\n,1\n", 2, "prompt", "names the prompt"),
    ("a.csv", "prompt,score\na,1\n", 1, None, "with a reward column"),
    ("a.csv", b"k,n\n1,2\n\xff\xfe,3\n", 3, None, "be UTF-8 text"),
    ("a.csv", "k,n\n1,2\n".encode("utf-16"), 1, None, "be UTF-8 text"),
    ("a.jsonl", '{"k":1,"n":2}\n{"k":1,\n', 2, None, "be valid JSON"),
    ("a.jsonl", '{"k":1,"n":2}\n{"k":1}\n', 2, None, "have the field 'n'"),
    ("a.jsonl", '{"k":1,"k":1,"n":2}\n', 1, None, "key 'k' twice"),
    ("a.jsonl", '{"k":"1","n":2}\n', 1, "k", "be an integer; got '1'"),
    ("a.jsonl", '{"k":true,"n":2}\n', 1, "k", "be an integer; got True"),
    ("a.jsonl", '{"k":null,"n":2}\n', 1, "k", "be an integer; got None"),
    ("a.jsonl", '{"k":NaN,"n":2}\n', 1, "k", "be an integer; got nan"),
    ("a.jsonl", '{"k":1e999,"n":2}\n', 1, "k", "be an integer; got inf"),
    ("a.jsonl", f'{{"k":{"1" * 5000},"n":2}}\n', 1, None, "be valid JSON"),
    ("a.jsonl", "[" * 100_000 + "\n", 1, None, "be valid JSON"),
    ("a.jsonl", '"text"\n', 1, None, "hold one JSON object or one list"),
    ("a.jsonl", "[0,1]\n[]\n", 2, "rewards", "at least one 0/1 reward"),
    ("a.jsonl", '[0,1]\n[0,"1"]\n', 2, "rewards[1]", "be 0 or 1; got '1'"),
    ("a.jsonl", "[0,[1]]\n", 1, "rewards[1]", "be 0 or 1"),
    ("a.jsonl", '[0,1]\n{"rewards":0}\n', 2, "rewards", "be a list"),
    ("a.json", '[\n {"k":1,"n":2}\n]\n', 1, None, "complete on this line"),
    ("a.jsonl", '{"uid":true,"reward":1}\n', 1, "uid", "names the prompt; got True"),
    ("a.jsonl", '{"\\ud800":1}\n', 1, None, "name its columns"),
    ("a.csv.gz", gzip.compress(b"k,n\n1,2\n")[:-9], None, None, "be a complete gzip file"),
    ("a.csv.gz", b"\x1f\x8b\x08garbage!!", None, None, "be a complete gzip file"),
    ("a.parquet", "", None, None, "be a readable Parquet file"),
    ("a.parquet", b"PAR1 nonsense PAR1", None, None, "be a readable Parquet file"),
    ("a.parquet.gz", gzip.compress(b"PAR1"), None, None, "not be gzipped"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "line", "column", "message"), BAD, ids=range(len(BAD)))
def test_bad_text(
    tmp_path: Path, name: str, text: str | bytes, line: int | None, column: str | None, message: str
) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(LogFormatError) as caught:
        read_log(path)
    error = caught.value
    assert (error.path, error.line, error.column) == (str(path), line, column)
    place = (
        str(path) + (f", line {line}" if line else "") + (f", column {column}" if column else "")
    )
    assert str(error).startswith(f"{place} must ")
    assert message in str(error)
    assert str(error).isprintable()
    assert isinstance(error, DomainError)


@pytest.mark.parametrize(
    ("columns", "line", "column", "message"),
    [
        ({"k": [1, 3], "n": [2, 2]}, 2, "k", "be at most n = 2; got 3"),
        ({"k": [1.0, float("nan")], "n": [2, 2]}, 2, "k", "be an integer; got nan"),
        ({"k": [1, None], "n": [2, 2]}, 2, "k", "be an integer; got None"),
        ({"k": ["1"], "n": [2]}, 1, "k", "be an integer; got '1'"),
        ({"rewards": [[0, 1], None]}, 2, "rewards", "be a list"),
        ({"rewards": [[0, 1], [0.5]]}, 2, "rewards[0]", "be 0 or 1"),
        ({"prompt": ["a", None], "reward": [1, 1]}, 2, "prompt", "names the prompt"),
        ({"x": [1]}, None, None, "name its columns"),
        ({"k": pa.array([], pa.int64()), "n": pa.array([], pa.int64())}, None, None, "empty"),
    ],
)
def test_bad_parquet(
    tmp_path: Path, columns: dict[str, object], line: int | None, column: str | None, message: str
) -> None:
    path = parquet(tmp_path, columns)
    with pytest.raises(LogFormatError, match=f"^{path}.* must ") as caught:
        read_log(path)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert (f", row {line}," in str(caught.value)) == (line is not None)
    assert message in str(caught.value)


def test_parquet_names_a_column_twice(tmp_path: Path) -> None:
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 3, names=["k", "n", "k"]), path)
    with pytest.raises(LogFormatError, match="name each column once"):
        read_log(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [("no-such-file.csv", "readable file"), (".", "readable file"), ("a\0b", "null byte")],
)
def test_unreadable(path: str, message: str) -> None:
    with pytest.raises(LogFormatError, match=message):
        read_log(path)


def test_a_file_without_line_ends_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("identity.diagnostics.reading._MAX_LINE", 64)
    path = write(tmp_path, "a.csv", "k,n\n1,2\n" + "1" * 65)
    with pytest.raises(LogFormatError, match=r"line 3 must be a text line of at most 64 bytes"):
        read_log(path)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path, {"k": [1], "n": [2]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(LogFormatError, match=r'pip install "grpo-identity\[data\]"'):
        read_log(path)
    assert counts(read_log(write(tmp_path, "a.csv", "k,n\n1,2\n"))) == {(1, 2): 1}


def test_a_pipe_is_read(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"k,n\n1,2\n")
    os.close(write_end)
    try:
        assert counts(read_log(f"/dev/fd/{read_end}")) == {(1, 2): 1}
    finally:
        os.close(read_end)


@pytest.mark.parametrize("value", [3, None])
def test_errors_survive_pickling(value: object) -> None:
    error = LogFormatError("a.csv", "be an integer", line=3, column="k", value=value)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == f"a.csv, line 3, column k must be an integer; got {value}"
    assert (copy.path, copy.line, copy.column, copy.value) == ("a.csv", 3, "k", value)
    bare = LogFormatError("a.csv", "not be empty")
    assert str(pickle.loads(pickle.dumps(bare))) == "a.csv must not be empty"


# --- every format says the same ----------------------------------------------------------------

observations = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), min_size=1, max_size=8)


@given(groups=observations, order=st.randoms(use_true_random=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_shapes_agree(tmp_path: Path, groups: list[list[int]], order: object) -> None:
    expected = Counter((sum(group), len(group)) for group in groups)
    rollouts = [(i, reward) for i, group in enumerate(groups) for reward in group]
    order.shuffle(rollouts)  # type: ignore[attr-defined]
    texts = {
        "pairs.csv": "k,n\n" + "".join(f"{sum(g)},{len(g)}\n" for g in groups),
        "counts.csv": "k,n,count\n" + "".join(f"{k},{n},{c}\n" for (k, n), c in expected.items()),
        "lists.jsonl": "".join(json.dumps({"rewards": g}) + "\n" for g in groups),
        "bare.jsonl": "".join(json.dumps(g) + "\n" for g in groups),
        "long.csv": "problem_id,correct\n" + "".join(f"{i},{r}\n" for i, r in rollouts),
    }
    for name, text in texts.items():
        assert counts(read_log(write(tmp_path, name, text))) == dict(expected), name
    assert counts(read_log(parquet(tmp_path, {"rewards": groups}))) == dict(expected)


# --- fuzz: a report or the documented error ------------------------------------------------------


def read_or_error(path: Path) -> SolveRates | LogFormatError:
    try:
        return read_log(path)
    except LogFormatError as error:
        return error


def report_or_documented_error(path: Path) -> None:
    found = read_or_error(path)
    if isinstance(found, LogFormatError):
        assert found.path == str(path)
        assert str(found).isprintable()
        assert len(str(found)) < 2000
        return
    text = json.dumps(diagnose(found).to_dict(), allow_nan=False)
    assert json.loads(text)["prompts"] == found.prompts > 0


NAMES = st.sampled_from(["f.csv", "f.tsv", "f.jsonl", "f.parquet", "f", "f.csv.gz"])
TOKENS = st.sampled_from(
    ["k", "n", "count", "rewards", "k_of_8", "prompt", "reward", "0", "1", "2", "3.0", "-1", "nan",
     "1e5", str(MAX_INTEGER), str(MAX_INTEGER + 1), "true", "null", ",", ",", ",", "\n", "\n", "\r",
     '"', "{", "}", "[", "]", "[0,1]", ":", '"k"', '"n"', '"rewards"', " ", "\t", ";", "\x00",
     "\ufeff", "é", "\u2028", "\x1f\x8b", "PAR1"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["k", "n", "count", "rewards", "k_of_8", "uid", "reward"]) | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
NUMBERS = st.integers(-2, 9) | st.integers() | st.just(MAX_INTEGER) | st.floats(0, 9)


@given(name=NAMES, content=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(name="f.csv", content=b"k,n\n1,9007199254740992\n")
@example(name="f.csv", content=b"k,n,count\n1,2,9007199254740992\n1,3,9007199254740992\n")
@example(name="f", content=b"\xef\xbb\xbf")
def test_fuzz_bytes(tmp_path: Path, name: str, content: bytes) -> None:
    report_or_documented_error(write(tmp_path, name, content))


@given(name=NAMES, tokens=st.lists(TOKENS, max_size=40), zipped=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz_tokens(tmp_path: Path, name: str, tokens: list[str], zipped: bool) -> None:
    content = "".join(tokens).encode()
    report_or_documented_error(write(tmp_path, name, gzip.compress(content) if zipped else content))


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz_numbers(tmp_path: Path, rows: list[tuple[object, object, object]]) -> None:
    lines = "".join(f"{k},{n},{c}\n" for k, n, c in rows)
    report_or_documented_error(write(tmp_path, "f.csv", "k,n,count\n" + lines))


@given(values=st.lists(JSON, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz_json(tmp_path: Path, values: list[object]) -> None:
    lines = "".join(json.dumps(value) + "\n" for value in values)
    report_or_documented_error(write(tmp_path, "f.jsonl", lines))


@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz_damaged_parquet(tmp_path: Path, place: int, byte: int, cut: bool) -> None:
    path = parquet(tmp_path, {"k": [1, 0, 2], "n": [2, 3, 2], "rewards": [[0, 1], [1], []]})
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] = byte
    report_or_documented_error(
        write(tmp_path, "f.parquet", bytes(content[:place] if cut else content))
    )


# --- the type and the shipped table ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("correct", "rollouts", "count", "ratio_only"),
    [
        ((1,), (2, 3), (1,), (False,)),
        ((1,), (0,), (1,), (False,)),
        ((3,), (2,), (1,), (False,)),
        ((-1,), (2,), (1,), (False,)),
        ((1,), (2,), (-1,), (False,)),
        ((1,), (2,), (0,), (False,)),
        ((), (), (), ()),
    ],
)
def test_solve_rates_are_checked(
    correct: tuple[int, ...],
    rollouts: tuple[int, ...],
    count: tuple[int, ...],
    ratio_only: tuple[bool, ...],
) -> None:
    with pytest.raises(DomainError):
        SolveRates(correct, rollouts, count, ratio_only, "test", "test")


def test_shipped_table() -> None:
    rates = big_math_solve_rates()
    assert rates.prompts == 215_608
    assert len(rates.count) == 71
    assert [n for n, only in zip(rates.rollouts, rates.ratio_only, strict=True) if only] == [9] * 6
    assert rates.caveats == BIG_MATH_CAVEATS
    assert "2607.00152" in rates.source
    assert rates.licence == "counts are facts; figure CC BY 4.0"
    assert big_math_solve_rates() is rates


@pytest.mark.parametrize("value", [0.5, 8.0, "8", None, True, math.inf, math.nan, 2**901])
@pytest.mark.parametrize("column", range(3))
def test_solve_rates_hold_integers(value: Any, column: int) -> None:
    columns: list[Any] = [(1,), (8,), (1,)]
    columns[column] = (value,)
    with pytest.raises(DomainError):
        SolveRates(*columns, (False,), "test", "test")


def test_counts_of_numpy_do_not_overflow() -> None:
    small = tuple(np.array([100, 100], dtype=np.int8))
    rates = SolveRates((0, 1), (2, 2), small, (False, False), "test", "test")  # type: ignore[arg-type]
    assert rates.prompts == 200


@pytest.mark.parametrize("path", [b"log.csv", 5, None])
def test_a_path_is_text_or_path_like(path: Any) -> None:
    with pytest.raises(DomainError, match=r"^path must be a str or path-like"):
        read_log(path)
