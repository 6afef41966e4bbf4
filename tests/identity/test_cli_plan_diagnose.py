"""The two commands as a user meets them: text, JSON, figure, and errors with exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from identity.cli.diagnose import diagnose
from identity.cli.plan import plan

APP = typer.Typer()
APP.command("plan")(plan)
APP.command("diagnose")(diagnose)


def run(*arguments: object, width: int = 80) -> Result:
    return CliRunner().invoke(APP, [str(a) for a in arguments], env={"COLUMNS": str(width)})


def ok(*arguments: object, width: int = 80) -> str:
    result = run(*arguments, width=width)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def words(text: str) -> str:
    """The text with the line breaks of the terminal undone."""
    return " ".join(text.split())


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("width", [80, 120])
def test_plan_prints(width: int) -> None:
    text = ok("plan", "--p", 0.05, "--fidelity", 0.95, "-G", 8, width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    rows = [line.split() for line in text.splitlines()]
    assert [
        "exact",
        "smallest",
        "group",
        "69",
        "0.9506",
        "yes",
        "2.90",
        "%",
        "1.030",
        "71.1",
    ] in rows
    assert ["first-order", "law", "53", "0.9283", "no", "6.60", "%", "1.071", "56.7"] in rows
    for theorem in (
        "expectation.monotone",
        "expectation.group-size-law-second-order",
        "expectation.group-size-law",
        "expectation.silent-rate",
        "expectation.dapo",
    ):
        assert theorem in text.split()


def test_plan_fits_where_numbers_are_long() -> None:
    text = ok("plan", "--p", "1e-7", "-G", 8)
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "33,446,632" in text


def test_plan_json() -> None:
    found = json.loads(ok("plan", "--p", 0.05, "--json"))
    assert set(found) == {"p", "fidelity", "epsilon", "rows", "column_theorems"}
    assert [(row["rule"], row["group_size"]) for row in found["rows"]] == [
        ("exact", 69),
        ("second_order", 60),
        ("first_order", 53),
    ]
    assert set(found["rows"][0]) == {
        "rule", "value", "group_size", "fidelity", "meets_target", "silent_rate",
        "groups_per_kept", "rollouts_per_kept", "explanation", "theorem",
    }  # fmt: skip


@pytest.mark.parametrize("p", ["0", "1", "-0.5", "nan", "2", "1e-300"])
def test_plan_refuses_p(p: str) -> None:
    assert refused("plan", "--p", p).startswith("error: p must ")


def test_plan_refuses_the_rest() -> None:
    assert "fidelity must " in refused("plan", "--p", 0.5, "--fidelity", 1)
    assert "group_size must " in refused("plan", "--p", 0.5, "-G", 1)
    assert run("plan").exit_code == 2
    assert run("plan", "--p", "x").exit_code == 2


@pytest.mark.parametrize("width", [80, 120])
def test_diagnose_prints_the_shipped_data(width: int) -> None:
    text = ok("diagnose", width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    rows = [line.split() for line in text.splitlines()]
    for size, plug_in, unbiased in (
        (4, "59.27", "58.59"),
        (8, "44.28", "43.07"),
        (16, "32.24", "30.19"),
        (32, "23.01", "19.64"),
        (64, "16.53", "11.18"),
    ):
        start = [str(size), plug_in, "%", "215,608", unbiased, "%", "215,602"]
        assert any(row[:-1] == start for row in rows)
    flat = words(text)
    for sentence in (
        "N = 215,608 prompts",
        "in distribution only",
        "partly selection",
        "ratio j/9",
        "4.02 % at p̂ = 0, 7.16 % at p̂ = 1",
        "The log shows p̂, not p.",
        "Dr. GRPO, RLOO any 7.89 31.93 22.78 31.41 5.99 13.88",
        "GRPO, DAPO → ∞ 14.22 29.22 17.47 28.61 10.48 24.70",
        "Recommended group size: G = 68",
        "Rule: the smallest G ≥ 2 at which the mean of φ(G, p̂)",
        "expectation.monotone",
    ):
        assert sentence in flat


def test_diagnose_json_is_one_object() -> None:
    found = json.loads(ok("diagnose", "--json", "-G", 8, "-G", 4, "--fidelity", 0.9))
    assert set(found) == {
        "source", "recognised", "licence", "caveats", "prompts", "largest_rollouts", "unanimous",
        "silent", "gradient_mass", "group_size",
    }  # fmt: skip
    assert [row["group_size"] for row in found["silent"]] == [4, 8]
    assert len(found["gradient_mass"]) == 4 * 3
    assert len(found["caveats"]) == 3


def test_diagnose_says_where_the_unbiased_rate_needs_more(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("k_of_8,problem_index\n0,1\n3,1\n8,2\n")
    text = ok("diagnose", path, "-G", 8, "-G", 16)
    assert "needs n ≥ 16" in text
    flat = words(text)
    assert "k_of_8 counts (n = 8); 3 rows" in flat
    assert "rows that share a problem_index are not pooled" in flat
    assert "empty by resolution" in flat
    assert json.loads(ok("diagnose", path, "-G", 16, "--json"))["silent"][0]["unbiased"] is None


def test_diagnose_where_nothing_is_mixed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("[1,1]\n[1]\n")
    figure = tmp_path / "out.png"
    text = ok("diagnose", path, "--figure", figure)
    assert "Gradient mass: none" in text
    assert "Recommended group size: none" in text
    assert figure.read_bytes().startswith(b"\x89PNG")
    json.loads(ok("diagnose", path, "--json"))


def test_diagnose_beyond_the_largest_group(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("k,n\n1,1000000000\n")
    assert "above 2^20" in ok("diagnose", path)


def test_diagnose_reads_parquet(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"rewards": [[0, 1], [1, 1, 0]]}), path)
    assert "Parquet: lists of 0/1 rewards" in ok("diagnose", path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"k,n\n1,2\n3,2\n", "line 3, column k must be at most n = 2; got '3'"),
        ("a.jsonl", b'{"k":1,"n":2}\n{"k":\n', "line 2 must be valid JSON"),
        ("a.csv", b"", "must not be empty"),
        ("a.csv", bytes(range(256)), "line 1 must name its columns"),
        ("a.parquet", b"junk", "must be a readable Parquet file"),
    ],
)
def test_diagnose_refuses_malformed_files(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    line = refused("diagnose", path)
    assert str(path) in line
    assert message in line


def test_diagnose_refuses_the_rest(tmp_path: Path) -> None:
    assert "must be a readable file" in refused("diagnose", tmp_path / "none.csv")
    assert "must be a readable file" in refused("diagnose", tmp_path)
    assert "fidelity must" in refused("diagnose", "--fidelity", 0)
    assert "group_size must" in refused("diagnose", "-G", 1)
    assert "must end in .png" in refused("diagnose", "--figure", tmp_path / "out.bmp")
    assert "cannot be written" in refused("diagnose", "--figure", tmp_path / "none" / "out.png")


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")]
)
def test_figure(tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"out{suffix}"
    assert "figure:" in ok("diagnose", "--figure", path)
    assert path.read_bytes().startswith(magic)


def test_figure_tells_series_apart_without_colour() -> None:
    from identity.cli.figure import draw_figure
    from identity.data import big_math_solve_rates
    from identity.diagnostics import diagnose as diagnosed

    figure = draw_figure(diagnosed(big_math_solve_rates()))
    left, right = figure.axes
    lines = [(line.get_marker(), line.get_linestyle()) for line in left.lines]
    assert len(set(lines)) == len(lines) == 3
    hatches = [bars.patches[0].get_hatch() for bars in right.containers if hasattr(bars, "patches")]
    assert len(set(hatches)) == 4
    for axes in (left, right):
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        assert axes.get_legend()


def test_figure_of_a_path_that_looks_like_mathematics(tmp_path: Path) -> None:
    path = tmp_path / "$x_{ 漢 $.csv"
    path.write_text("k,n\n1,2\n")
    ok(
        "diagnose",
        path,
        "--figure",
        tmp_path / "out.png",
        *[a for g in range(2, 40) for a in ("-G", g)],
    )


def test_figure_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "identity.cli.figure", raising=False)
    monkeypatch.delattr("identity.cli.figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    line = refused("diagnose", "--figure", tmp_path / "out.png")
    assert 'pip install "grpo-identity[data]"' in line


def test_output_that_cannot_show_greek() -> None:
    code = "from tests.identity.test_cli_plan_diagnose import APP; APP(['plan', '--p', '0.5'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "COLUMNS": "80", "PATH": ""},
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_imports_stay_light() -> None:
    """Neither the package nor the commands load what they do not need."""
    code = (
        "import sys; import identity; print({m.split('.')[0] for m in sys.modules} & "
        "{'typer', 'rich', 'matplotlib', 'pyarrow', 'click'}); "
        "import identity.cli.plan, identity.cli.diagnose; print({m.split('.')[0] for m in "
        "sys.modules} & {'matplotlib', 'pyarrow', 'sympy', 'mpmath', 'flint', 'torch', 'jax'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", "set()"]


@pytest.mark.parametrize("width", [20, 40, 60, 64, 80])
def test_no_number_is_ever_cut(width: int, tmp_path: Path) -> None:
    """A cut number reads like another one: lines may be longer than the terminal, cells not."""
    text = ok("plan", "--p", 1e-12, width=width)
    for whole in ("3,344,663,053,671", "2,879,800,601,303", "3.47e+12", "fidelity", "first-order"):
        assert whole in text
    wide = tmp_path / "wide.csv"
    wide.write_text("k,n,count\n1,9007199254740992,1\n5,1000000,9007199254740000\n")
    text = ok("diagnose", wide, "-G", 2, "-G", 2**20, width=width)
    rows = [line.split() for line in text.splitlines()]
    assert any(row[:1] == ["1048576"] and "9,007,199,254,740,001" in row for row in rows)
    assert any(row[:1] == ["DAPO"] and len(row) == 8 for row in rows)
    assert "…" not in text


@pytest.mark.parametrize("command", ["plan", "diagnose"])
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_help_where_phi_cannot_be_written(command: str, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proofs.cli", command, "--help"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"fidelity ?" in done.stdout or b"?(" in done.stdout


def test_a_json_array_is_not_taken_for_rewards(tmp_path: Path) -> None:
    array = tmp_path / "array.json"
    array.write_text('[{"k": 1, "n": 4}, {"k": 2, "n": 4}]')
    assert "one per line" in refused("diagnose", array)


def test_a_fidelity_that_every_group_exceeds() -> None:
    assert "fidelity must be at least 1e-6" in refused("plan", "--p", 0.05, "--fidelity", 1e-300)


def test_what_asks_for_too_large_a_group_names_both_arguments() -> None:
    assert refused("plan", "--p", 1e-16).startswith("error: p, fidelity must ask for a group of")
