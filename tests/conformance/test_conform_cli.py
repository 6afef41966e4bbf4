"""``grpo-identity conform`` as a user meets it: text, JSON, page, exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner
from typer.testing import Result as Ended

from identity.cli import conform as command
from identity.conformance import CASES, LIBRARIES, Result
from identity.conformance.html import page
from identity.conformance.report import differences, print_report, rows, short, shortened, unable
from identity.conformance.run import Cell
from identity.conformance.targets import polgrad
from proofs.cli import app

ROOT = Path(__file__).parents[2]
TOY = "tests.conformance.toy"
FEW = ("--case", "on_policy", "--case", "masked_nan", "--case", "ranks", "--dtype", "float32")


def run(*arguments: object, width: int = 80) -> Ended:
    words = ["conform", *map(str, arguments)]
    return CliRunner().invoke(app, words, env={"COLUMNS": str(width)})


def ok(*arguments: object, width: int = 80, code: int = 0) -> str:
    ended = run(*arguments, width=width)
    assert ended.exit_code == code, ended.output
    return ended.stdout


def refused(*arguments: object) -> str:
    ended = run(*arguments)
    assert ended.exit_code == 2, ended.output
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def words(text: str) -> str:
    """The text with the line breaks of the terminal undone."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def leaky() -> list[Result]:
    """Of the loss with the planted defect, in two dtypes."""
    found = json.loads(
        ok(f"{TOY}:leaky_loss", "--json", "--case", "on_policy", "--case", "masked_nan",
           "--case", "ranks", "--case", "bf16_old")
    )  # fmt: skip
    return [Result(**entry) for entry in found["results"]]


def text(results: list[Result], width: int) -> str:
    stream = io.StringIO()
    print_report(Console(file=stream, width=width, highlight=False), results)
    return stream.getvalue()


def made(case: str, dtype: str, verdict: str, **fields: Any) -> Result:
    place = {"library": "lib", "version": "1.0", "operation": "op", "theorem": "groups.identity"}
    return Result(**(place | {"case": case, "dtype": dtype, "verdict": verdict} | fields))


# -- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 160])
def test_text_of_a_planted_defect(leaky: list[Result], width: int) -> None:
    found = text(leaky, width)
    lines, together = found.splitlines(), words(found)
    assert lines[0] == f"{TOY}:leaky_loss local"
    assert "leaky_loss  float32, float64" in lines
    code = found.index("the call, in float32:"), found.index("8 results: ")
    assert max(map(cell_len, found[: code[0]].splitlines())) <= width
    assert "equals token mean" in together
    assert "differs: NaN under the mask reaches the result" in together
    for theorem in ("surrogates.on-policy", "aggregation.padding"):
        assert theorem in together
    # One entry for the two dtypes, with all that it takes to see it for oneself.
    assert together.count(f"differs: {TOY}:leaky_loss local, leaky_loss, masked_nan") == 1
    assert "dtypes float32, float64 found NaN under the mask" in together
    assert re.search(r"got value nan", together)
    assert re.search(r"expected value -1 gradient \[\[-1, 0\]\]", together)
    assert re.search(r"versions .* local, grpo-identity .*Python 3.* numpy .* torch ", together)
    assert "cannot run: the call sees one rank: putting them together is its caller's: " in together
    assert together.count("(ranks)") == 1
    assert "8 results: 4 equals, 0 equals ×, 2 differs, 2 cannot run" in lines


def test_the_call_can_be_pasted(leaky: list[Result]) -> None:
    found = text(leaky, 80)
    start = found.index("the call, in float32:\n")
    snippet = found[start:].partition("\n")[2].partition("\n\n")[0]
    assert snippet == next(r.input for r in leaky if r.verdict == "differs")
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert any(name.startswith("r") and bool(value.isnan()) for name, value in names.items()
               if hasattr(value, "isnan"))  # fmt: skip


def test_factors_are_given_with_their_value() -> None:
    found = words(ok(f"{TOY}:advantage", "--case", "binary", "--dtype", "float32"))
    assert "equals σΔs × √((G−1)/G) (= 0.935414 at G = 8, k = 1)" in found
    assert "groups.as-implemented" in found


def test_rows_of_the_same_words_are_together() -> None:
    results = [
        made("binary", "float32", "equals", convention="A"),
        made("binary", "float64", "equals", convention="A"),
        made("rewards", "float32", "equals", convention="A"),
        made("rewards", "float64", "equals", convention="B"),
    ]
    found = rows(results)["op"]
    assert [(row.first.case, row.dtypes, row.whole) for row in found] == [
        ("binary", ("float32", "float64"), True),
        ("rewards", ("float32",), False),
        ("rewards", ("float64",), False),
    ]
    lines = [line.split() for line in text(results, 80).splitlines()]
    assert ["binary", "all", "equals", "A", "·", "groups.identity"] in lines
    assert ["rewards", "float64", "equals", "B", "·", "groups.identity"] in lines


def test_differences_of_other_numbers_are_one() -> None:
    results = [
        made("unanimous", "float32", "differs", convention="a residue, 7.45e-05 here"),
        made("unanimous", "float64", "differs", convention="a residue, 1.39e-13 here"),
        made("unanimous", "float16", "differs", convention="equal rewards give NaN"),
    ]
    assert [row.dtypes for row in differences(results)] == [("float32", "float64"), ("float16",)]
    found = words(text(results, 80))
    assert "found a residue, 7.45e-05 here float64 a residue, 1.39e-13 here" in found


def test_operations_that_differ_alike_are_one_entry() -> None:
    results = [
        made("empty", "float32", "differs", operation=name, convention="NaN", got="nan", input=name)
        for name in ("first", "second")
    ]
    found = text(results, 80)
    assert words(found).count("the call, in float32:") == 1
    assert "alike second" in words(found)
    results[1] = made("empty", "float32", "differs", operation="second", convention="NaN", got="1")
    assert "alike" not in text(results, 80)


def test_what_cannot_run_is_one_line_for_each_reason() -> None:
    results = [
        made(case, dtype, "cannot run", operation=name, theorem="", reason="not so")
        for name in ("f", "g")
        for case in ("empty", "padding")
        for dtype in ("float32", "float64")
    ]
    assert unable(results) == {"not so": {"empty, padding": ["f", "g"]}}
    assert "cannot run: not so: f, g (empty, padding)" in text(results, 80).splitlines()
    results[0] = made("empty", "float32", "equals", operation="f", convention="A")
    assert unable(results)["not so"] == {
        "empty in float64, padding": ["f"],
        "empty, padding": ["g"],
    }


def test_numbers_are_short_in_text_alone() -> None:
    assert shortened("rewards [0.10000000149011612, 1e-06] of 4000, 1000000000.0") == (
        "rewards [0.1, 1e-06] of 4000, 1e+09"
    )
    assert shortened("k3_loss1.23456789, v1.2.3, float32") == "k3_loss1.23456789, v1.2.3, float32"
    assert short({"value": [1 / 3, -0.0, "nan", 2], "no": None}) == (
        "value [0.333333, 0, nan, 2]; no None"
    )


def test_markup_and_brackets_are_shown_as_they_are() -> None:
    found = ok(f"{TOY}:raising", "--case", "binary", "--dtype", "float32")
    assert "cannot run: RuntimeError: no [bold]rewards[/bold] today: raising (binary)" in found


# -- JSON ----------------------------------------------------------------------------------------


def test_json() -> None:
    ended = run(f"{TOY}:operations", f"{TOY}:printing", "--json", *FEW)
    assert ended.exit_code == 0
    # What a function prints is no part of the object.
    assert "printed by the function" not in ended.stdout
    assert "printed by the function" in ended.stderr
    found = json.loads(ended.stdout)
    assert set(found) == {"results"}
    assert set(found["results"][0]) == {
        "library", "version", "operation", "case", "dtype", "verdict", "convention", "factor",
        "factor_decimal", "factor_at", "theorem", "input", "expected", "got", "control", "reason",
    }  # fmt: skip
    assert Counter(entry["verdict"] for entry in found["results"]) == {
        "equals": 5, "differs": 1, "cannot run": 3,
    }  # fmt: skip
    (differs,) = (e for e in found["results"] if e["verdict"] == "differs")
    assert differs["operation"] == 'mean <b>&"twice"</b>'
    assert differs["convention"] == "token mean × 2"


# -- the page ------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Tags that are open, ids, links, and whatever would be loaded."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)
        named = dict(attrs)
        if "id" in named:
            self.ids.append(str(named["id"]))
        if tag == "a":
            self.links.append(str(named["href"]))
        if tag in ("script", "link", "img", "iframe") or "src" in named:
            self.loaded.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_page(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("old")
    found = ok(f"{TOY}:operations", f"{TOY}:leaky_loss", *FEW, "--html", file)
    assert f"page: {file}" in "".join(found.splitlines())
    assert list(tmp_path.iterdir()) == [file]
    source = file.read_text(encoding="utf-8")
    parsed = _Page(source)
    assert parsed.open == []
    assert parsed.loaded == []
    assert not re.search(r"https?:|url\(|@import", source)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert set(parsed.links) <= {f"#{name}" for name in parsed.ids}
    assert "<b>" not in source
    shown = words("".join(parsed.text))
    assert 'mean <b>&"twice"</b>' in shown
    assert "token mean × 2" in shown
    assert "its name or documentation says: normaliser token_mean" in shown
    assert "9 results: 4 equals, 0 equals ×, 2 differs, 3 cannot run" in shown
    assert 'name="viewport"' in source
    assert "prefers-color-scheme: dark" in source


def test_page_of_a_run(leaky: list[Result]) -> None:
    when = datetime(2030, 1, 2, tzinfo=UTC)
    source = page(leaky, notes=["a <note>"], when=when, software={"torch": "9.9"})
    assert "2030-01-02; torch 9.9" in source
    assert "a &lt;note&gt;" in source
    assert f"<title>Conformance: {TOY}:leaky_loss local</title>" in source
    assert "<h3>Losses</h3>" in source
    snippet = next(r.input for r in leaky if r.verdict == "differs")
    assert snippet is not None
    assert snippet in "".join(_Page(source).text)
    parsed = _Page(page([]))
    assert parsed.open == []


def test_page_tells_dtypes_apart() -> None:
    results = [
        made("unanimous", "float32", "differs", convention="a residue"),
        made("unanimous", "float64", "equals", convention="0"),
        made("unanimous", "float16", "differs", convention="NaN"),
        made("a_case_of_another_version", "float32", "equals", convention="A"),
    ]
    parsed = _Page(page(results))
    assert "differs" in parsed.text
    assert "in float32" in parsed.text
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert set(parsed.links) <= {f"#{name}" for name in parsed.ids}


def test_page_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be written" in refused(f"{TOY}:advantage", "--html", tmp_path)
    assert "cannot be written" in refused(f"{TOY}:advantage", "--html", tmp_path / "no" / "page")

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", full)
    file = tmp_path / "page.html"
    ended = run(f"{TOY}:printing", "--case", "on_policy", "--dtype", "float32", "--html", file)
    assert ended.exit_code == 2
    assert "disk full" in ended.stderr
    assert "1 result: 1 equals" in ended.stdout  # the report is there all the same
    assert list(tmp_path.iterdir()) == []


# -- exit codes ----------------------------------------------------------------------------------


def test_strict() -> None:
    differs = ("--case", "masked_nan", "--dtype", "float32")
    ok(f"{TOY}:leaky_loss", *differs)
    ok(f"{TOY}:leaky_loss", *differs, "--strict", code=1)
    # A case that cannot run is no difference; a target of which nothing can is no success.
    few = ("--case", "on_policy", "--case", "ranks", "--dtype", "float32")
    ok(f"{TOY}:printing", *few, "--strict")
    ended = run(f"{TOY}:printing", "--case", "ranks", "--dtype", "float32", "--strict")
    assert ended.exit_code == 1
    assert f"strict: no case can run of {TOY}:printing" in ended.stderr
    ok(f"{TOY}:printing", "--case", "ranks", "--dtype", "float32")


def test_unknown_names() -> None:
    assert refused().startswith("name a TARGET")
    assert refused("nothing").startswith("target must be one of liger, ")
    assert refused(f"{TOY}:advantage", "--case", "nothing").startswith("case must be one of binary")
    assert refused(f"{TOY}:advantage", "--dtype", "int8").startswith("dtype must be one of float64")
    assert refused(f"{TOY}:advantage", "--case", "clip").startswith("nothing to run")
    assert refused(f"{TOY}:advantage", "--dtype", "bfloat16").startswith("nothing to run")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{TOY}:nothing", "target must name something in tests.conformance.toy"),
        (f"{TOY}:", "target must name something"),
        (f"{TOY}:NOT_CALLABLE", "target must be a function"),
        (f"{TOY}:unknown_shape", "target must be a function of a known call shape (f(rewards, "),
        (f"{TOY}:no_operations", f"{TOY}:no_operations: TypeError: "),
        ("builtins:dict", "target must have a signature"),
        ("no_such_module:f", "no_such_module:f: import no_such_module: ModuleNotFoundError"),
        (":f", ":f: import "),
    ],
)
def test_functions_that_cannot_be_called(name: str, message: str) -> None:
    assert refused(name).startswith(message)


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polgrad, "DISTRIBUTION", "no-such-distribution")
    missing = "polgrad is not installed: pip install no-such-distribution"
    assert refused("polgrad") == missing
    few = (f"{TOY}:printing", "polgrad", "--case", "on_policy", "--dtype", "float32")
    ended = run(*few)
    assert ended.exit_code == 0
    assert f"left out: {missing}" in ended.stderr
    assert "1 result: 1 equals" in ended.stdout
    assert run(*few, "--strict").exit_code == 1


@pytest.mark.parametrize("module", ["torch", "hypothesis"])
def test_the_extra_is_missing(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    advice = f'conform needs {module}: pip install "grpo-identity[conformance]"'
    assert refused(f"{TOY}:advantage") == advice
    if module == "torch":
        ok("--list")


def test_control_c(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    few = ("--case", "singleton", "--case", "rewards", "--case", "ragged", "--dtype", "float32")
    ended = run(f"{TOY}:interrupted", *few, "--html", file)
    assert ended.exit_code == 130
    assert "interrupted, 1 result: 1 equals" in ended.stderr
    assert "1 result: 1 equals" in ended.stdout
    assert "The run was interrupted" in file.read_text(encoding="utf-8")
    ended = run(f"{TOY}:interrupted", *few, "--json")
    assert ended.exit_code == 130
    assert len(json.loads(ended.stdout)["results"]) == 1


def test_a_function_that_exits_is_a_case_that_differs() -> None:
    few = ("--case", "rewards", "--case", "ragged", "--dtype", "float32")
    ended = run(f"{TOY}:exiting", *few)
    assert ended.exit_code == 0
    assert "SystemExit: 0" in ended.stdout


def test_an_error_of_ours_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is by then is printed."""
    whole = Cell.result
    seen: list[str] = []

    def result(self: Cell) -> Result:
        seen.append(self.case)
        if len(seen) > 1:
            raise RuntimeError("planted")
        return whole(self)

    monkeypatch.setattr(Cell, "result", result)
    ended = run(f"{TOY}:advantage", "--case", "rewards", "--case", "ragged", "--dtype", "float32")
    assert ended.exit_code == 2
    assert "RuntimeError: planted" in ended.stderr
    assert "1 result: 1 equals" in ended.stdout


# -- the list, the streams -----------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_list(width: int) -> None:
    found = ok("--list", width=width)
    assert max(map(cell_len, found.splitlines())) <= width
    lines = [line.split() for line in found.splitlines()]
    firsts = {line[0] for line in lines if line}
    assert {*LIBRARIES, *CASES, "two_paths", "same_method", "leave_one_out", "token_mean"} <= firsts
    assert ["kl_values", "kl", "Values", "at", "log-ratios", "up", "to", "2"] in lines
    assert refused("--list", "polgrad").startswith("--list takes no TARGET")


def test_list_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polgrad, "DISTRIBUTION", "no-such-distribution")
    found = json.loads(ok("--list", "--json"))
    assert set(found) == {"libraries", "cases", "conventions"}
    entry = {"name": "polgrad", "distribution": "no-such-distribution", "version": None}
    assert entry in found["libraries"]
    assert [case["name"] for case in found["cases"][: len(CASES)]] == list(CASES)
    assert found["conventions"]["normaliser"]["token_mean"] == "token mean"


def test_progress_goes_to_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    few = (f"{TOY}:operations", *FEW)
    assert run(*few).stderr == ""

    def terminal(**options: Any) -> Console:
        return Console(**options, force_terminal=True, width=100, legacy_windows=False)

    monkeypatch.setattr(command, "Console", terminal)
    monkeypatch.setenv("TERM", "xterm")
    ended = run(*few, "--json")
    assert "calling" in ended.stderr
    assert f"{TOY}:operations: mean" in ended.stderr
    assert len(json.loads(ended.stdout)["results"]) == 6


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        command, capture_output=True, cwd=ROOT, env={**os.environ, **environment}, check=False
    )


def test_help_and_list_load_no_framework() -> None:
    code = """if True:
        import sys
        from proofs.cli import app
        def run(*words):
            try:
                app(words)
            except SystemExit as end:
                assert not end.code
        run("--help")
        run("conform", "--help")
        heavy = "torch", "jax", "hypothesis", "identity.conformance", "sympy", "trl", "verl"
        assert not [m for m in heavy if m in sys.modules]
        run("conform", "--list")
        assert not [m for m in (*heavy[:2], *heavy[4:]) if m in sys.modules]
    """
    ended = _python(code)
    assert ended.returncode == 0, ended.stderr.decode()


def test_a_terminal_without_greek() -> None:
    code = f"import sys; sys.argv = ['g', 'conform', '{TOY}:advantage', '--case', 'binary', "
    code += "'--dtype', 'float32']; from proofs.cli import main; main()"
    ended = _python(code, PYTHONIOENCODING="cp1252", COLUMNS="100")
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"equals ??s \xd7 ?((G?1)/G)" in ended.stdout
