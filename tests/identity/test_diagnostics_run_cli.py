"""``grpo-identity diagnose`` on the log of a run: text, JSON, and errors with exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from identity.diagnostics import MODES, diagnose_run, read_run
from tests.identity.test_cli_plan_diagnose import ok, refused, words

EXAMPLE = Path(__file__).parents[2] / "docs/examples/run.csv"


@pytest.mark.parametrize("width", [80, 120])
def test_text(width: int) -> None:
    text = ok("diagnose", EXAMPLE, width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    flat = words(text)
    for sentence in (
        "CSV: a run, step from step, train_reward from reward",
        "Look at reward hacking first.",
        "mode verdict value threshold p Holm p",
        "reward hacking (expectation.verifier-noise)",
        "advantage degeneracy not found",
        "Null: held-out reward has not fallen",
        "present: below 0.05.",
    ):
        assert sentence in flat
    for theorem in MODES.values():
        assert theorem in flat


@pytest.mark.parametrize("width", [20, 40, 60])
def test_no_number_is_cut(width: int) -> None:
    wide = words(ok("diagnose", EXAMPLE, width=200))
    narrow = words(ok("diagnose", EXAMPLE, width=width))
    for line in diagnose_run(read_run(EXAMPLE)).findings:
        shown = f"{line.mode} {line.verdict} "
        start = wide.index(shown)
        assert wide[start : start + 60] in narrow


def test_json_is_the_report() -> None:
    found = json.loads(ok("diagnose", EXAMPLE, "--json", "--alpha", 0.01))
    wanted = diagnose_run(read_run(EXAMPLE), alpha=0.01).to_dict()
    assert found == json.loads(json.dumps(wanted))
    assert found["alpha"] == 0.01
    assert found["primary"] == "reward hacking"


def test_named_columns(tmp_path: Path) -> None:
    path = tmp_path / "renamed.csv"
    path.write_text(EXAMPLE.read_text().replace("step,reward,", "i,paid,", 1))
    assert "No step column" in ok("diagnose", path)
    text = ok("diagnose", path, "--column", "step=i", "--column", "train_reward=paid")
    assert "Look at reward hacking first" in words(text)


def test_groups_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    right = np.random.default_rng(0).binomial(2, 0.5, (30, 9))
    rows = (f"{s},{p},{k}" for s, counts in enumerate(right) for p, k in enumerate(counts))
    path.write_text("\n".join(["step,prompt,k_of_2", *rows]) + "\n")
    assert "Silent groups" in ok("diagnose", path)
    flat = words(ok("diagnose", path, "--run"))
    assert "one row per group" in flat
    assert "advantage degeneracy not found" in flat
    assert "Cannot tell: no column entropy." in flat


def test_a_log_without_anything_to_tell(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("step,reward\n0,0.5\n1,0.5\n")
    flat = words(ok("diagnose", path))
    assert "None of the four can be told from this log." in flat
    assert "2 rewards; it takes 80" in flat


def test_refused(tmp_path: Path) -> None:
    neither = tmp_path / "neither.csv"
    neither.write_text("loss,grad_norm\n1,2\n")
    line = refused("diagnose", neither)
    assert "line 1 must name its columns k and n" in line
    assert "or name the columns of a run" in line
    assert "frac_reward_zero_std" in line
    assert "--figure draws a log of prompts" in refused(
        "diagnose", EXAMPLE, "--figure", tmp_path / "x.png"
    )
    assert "need a FILE" in refused("diagnose", "--run")
    assert "need a FILE" in refused("diagnose", "--column", "step=a")
    for pair in ("step", "step=", "reward=a", "=a", "train-reward=a"):
        assert "--column must be NAME=COLUMN" in refused("diagnose", EXAMPLE, "--column", pair)
    assert "each NAME once" in refused(
        "diagnose", EXAMPLE, "--column", "step=step", "--column", "step=reward"
    )
    assert "have the column 'none'" in refused("diagnose", EXAMPLE, "--column", "entropy=none")
    assert "alpha must" in refused("diagnose", EXAMPLE, "--alpha", 0)
    bad = tmp_path / "bad.csv"
    bad.write_text("step,reward\n0,0.5\n1,nan\n")
    assert "line 3, column reward must be a finite number, or empty" in refused("diagnose", bad)
