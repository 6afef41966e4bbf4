"""The run of all libraries: complete or not at all, resumed, in separate processes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from experiments import conformance as module
from identity.conformance import load
from identity.conformance.run import cells

ROOT = Path(__file__).resolve().parents[2]
TOY = "docs.examples.toy_loss:second"
SILENT = Console(quiet=True)


def row(library: str, operation: str = "f", case: str = "padding", dtype: str = "float32") -> Any:
    return {"library": library, "operation": operation, "case": case, "dtype": dtype,
            "version": "1", "verdict": "equals"}  # fmt: skip


# --- what is committed --------------------------------------------------------------------------


def test_committed_results_are_as_this_writes_them(tmp_path: Path) -> None:
    content = json.loads(module.RESULTS.read_text(encoding="ascii"))
    libraries = sorted({r["library"] for r in content["results"]})
    assert module.ordered(content["results"], libraries) == content["results"]
    module.write(tmp_path / "again.json", content)
    assert (tmp_path / "again.json").read_bytes() == module.RESULTS.read_bytes()
    asked = [(r["library"], r["operation"], r["case"], r["dtype"]) for r in content["results"]]
    assert len(set(asked)) == len(asked)


# --- files --------------------------------------------------------------------------------------


def test_order_is_by_library_operation_case_and_dtype() -> None:
    rows = [
        row("b"), row("a", "z", "padding"), row("a", "z", "on_policy", "float32"),
        row("a", "z", "on_policy", "float64"), row("a", "c", "empty"),
    ]  # fmt: skip
    found = [(r["library"], r["operation"], r["case"], r["dtype"]) for r in
             module.ordered(rows, ["a", "b"])]  # fmt: skip
    assert found == [
        ("a", "z", "on_policy", "float64"), ("a", "z", "on_policy", "float32"),
        ("a", "z", "padding", "float32"), ("a", "c", "empty", "float32"),
        ("b", "f", "padding", "float32"),
    ]  # fmt: skip


def test_what_is_kept_is_dropped_when_code_or_version_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, code = tmp_path / "out.json", tmp_path / "engine.py"
    code.write_text("one")
    monkeypatch.setattr(module, "code", lambda library: [code])
    monkeypatch.setattr(module, "versions", lambda libraries: {"polgrad": "1"})
    assert module.kept(output, "polgrad") == ([], False)
    module.keep(output, "polgrad", [row("polgrad")], True)
    assert module.kept(output, "polgrad") == ([row("polgrad")], True)
    assert module.kept(output, "trl") == ([], False)
    code.write_text("two")
    assert module.kept(output, "polgrad") == ([], False)
    code.write_text("one")
    monkeypatch.setattr(module, "versions", lambda libraries: {"polgrad": "2"})
    assert module.kept(output, "polgrad") == ([], False)


def test_results_depend_on_their_own_adapter_and_on_no_other() -> None:
    names = {path.name for path in module.code("polgrad") if path.parent.name == "targets"}
    assert "polgrad.py" in names
    assert "_trl_trainer.py" in names  # helpers belong to all
    assert "trl.py" not in names
    assert {"recognise.py", "conformance.py"} <= {path.name for path in module.code("polgrad")}


def test_files_hold_no_number_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        module.write(tmp_path / "x.json", {"results": [{"got": float("nan")}]})
    assert not (tmp_path / "x.json").exists()


# --- processes ----------------------------------------------------------------------------------


def everything_but(case: str) -> list[dict[str, Any]]:
    """Made-up results of all cells of the toy but those of a case."""
    return [row(TOY, c.operation.name, c.case, c.dtype) for c in cells(load(TOY)) if c.case != case]


def test_a_library_that_was_interrupted_goes_on_in_its_own_process() -> None:
    ended: list[tuple[str, list[Any], bool]] = []
    earlier = everything_but("on_policy")
    jobs = [
        module.Job("toy", (TOY,), module.WITHIN, earlier),
        module.Job("broken", ("docs.examples.absent:f",), module.WITHIN),
    ]
    with Progress(console=SILENT) as progress:
        broken = module.run(
            jobs, 2, progress, lambda j, rows, all_: ended.append((j.name, rows, all_))
        )
    found = {name: (rows, complete) for name, rows, complete in ended}
    assert set(broken) == {"broken"}
    assert "No module named 'docs.examples.absent'" in broken["broken"]
    assert found["broken"] == ([], False)
    rows, complete = found["toy"]
    assert complete
    assert rows[: len(earlier)] == earlier
    assert [(r["case"], r["dtype"], r["verdict"]) for r in rows[len(earlier) :]] == [
        ("on_policy", "float32", "differs"), ("on_policy", "float64", "differs"),
    ]  # fmt: skip


def test_an_interrupt_keeps_what_was_found_so_far() -> None:
    ended: list[tuple[list[Any], bool]] = []

    class Interrupting(Progress):
        def update(self, *arguments: Any, **options: Any) -> None:
            if options.get("total"):
                raise KeyboardInterrupt

    earlier = everything_but("on_policy")
    job = module.Job("toy", (TOY,), module.WITHIN, earlier)
    with pytest.raises(KeyboardInterrupt), Interrupting(console=SILENT) as progress:
        module.run([job], 1, progress, lambda j, rows, complete: ended.append((rows, complete)))
    assert ended == [(earlier, False)]


# --- the whole ----------------------------------------------------------------------------------


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The jobs that were run, by one that finds a row for each; "broken" breaks off."""
    jobs: list[Any] = []

    def run(todo: Any, at_once: int, progress: Any, ended: Any) -> dict[str, str]:
        jobs.extend(todo)
        for job in todo:
            case = module.TOGETHER if job.name == module.TOGETHER else "padding"
            rows = [*job.earlier, *(row(name, case=case) for name in job.libraries)]
            ended(job, rows, job.name != "verl")
        return {job.name: "its end" for job in todo if job.name == "verl"}

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "key", lambda library: "key")
    return jobs


def test_finished_libraries_are_not_run_again(tmp_path: Path, runs: list[Any]) -> None:
    output = tmp_path / "out.json"
    module.keep(output, "polgrad", [row("polgrad", "kept")], True)
    module.keep(output, "liger", [row("liger", "half")], False)
    rows = module.measure(["liger", "polgrad"], output, 2)
    assert [(job.name, job.libraries) for job in runs] == [
        ("liger", ("liger",)), (module.TOGETHER, ("liger", "polgrad")),
    ]  # fmt: skip
    assert runs[0].earlier == [row("liger", "half")]
    assert [(r["library"], r["operation"], r["case"]) for r in rows] == [
        ("liger", "half", "padding"), ("liger", "f", "padding"), ("liger", "f", "same_method"),
        ("polgrad", "kept", "padding"), ("polgrad", "f", "same_method"),
    ]  # fmt: skip


def test_one_library_is_compared_with_none(tmp_path: Path, runs: list[Any]) -> None:
    module.measure(["polgrad"], tmp_path / "out.json", 2)
    assert [job.name for job in runs] == ["polgrad"]


def test_a_library_that_breaks_off_is_an_error_and_the_others_are_kept(
    tmp_path: Path, runs: list[Any]
) -> None:
    with pytest.raises(SystemExit, match="broke off: verl; run again"):
        module.measure(["polgrad", "verl"], tmp_path / "out.json", 2)
    assert module.kept(tmp_path / "out.json", "polgrad")[1]
    assert not module.kept(tmp_path / "out.json", "verl")[1]


def test_the_file_is_written_when_all_is_there(
    tmp_path: Path, runs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.json"
    monkeypatch.setattr(module, "version", lambda package: "1")
    monkeypatch.setattr(module.os, "environ", {})
    monkeypatch.setattr("sys.argv", ["x", "--targets", "polgrad", "liger", "--output", str(output)])
    module.main()
    content = json.loads(output.read_text(encoding="ascii"))
    assert list(content) == ["date", "python", "platform", "versions", "results"]
    assert {"polgrad", "liger-kernel", "torch"} <= set(content["versions"])
    assert len(content["results"]) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    monkeypatch.setattr("sys.argv", ["x", "--targets", "verl", "--output", str(output)])
    before = output.read_bytes()
    with pytest.raises(SystemExit, match="broke off"):
        module.main()
    assert output.read_bytes() == before


def test_what_is_not_installed_is_an_error_that_names_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "version", lambda package: None if package == "trl" else "1")
    module.check_installed(["verl", "polgrad"])
    with pytest.raises(SystemExit, match=r"not installed: trl; `make conformance`"):
        module.check_installed(["polgrad", "trl"])


def test_comparisons_are_within_a_library_and_between_all() -> None:
    assert (module.WITHIN, module.TOGETHER) == ("two_paths", "same_method")


# --- the Makefile -------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_experiments_leaves_out_this_one() -> None:
    def shown(target: str) -> str:
        command = ["make", "--dry-run", "--no-print-directory", target]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "experiments/stale_refresh.py" in shown("experiments")
    assert "experiments/conformance.py" not in shown("experiments")
    assert "-m experiments.conformance" in shown("conformance")


def test_pins_of_trainers_contradict_no_other() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        return dict(line.split("==") for line in lines if "==" in line)

    ours, trainers = pins("constraints.txt"), pins("constraints-conformance.txt")
    assert not set(ours) & set(trainers)
    content = json.loads(module.RESULTS.read_text(encoding="ascii"))
    for name, version in content["versions"].items():
        if name != "grpo-identity":
            assert {**ours, **trainers}[name] == version.partition("+")[0], name
