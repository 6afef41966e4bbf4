"""``pytest --grpo-identity=...`` as a user runs it, in a directory of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ADAPTER = """
import torch


def advantages(rewards, groups):
    out = torch.zeros_like(rewards)
    for group in groups.unique():
        rows = groups == group
        own = rewards[rows]
        if own.max() > own.min():
            out[rows] = (own - own.mean()) / (own.std(unbiased={unbiased}) + 1e-6)
    return out


advantages.says = {{"baseline": "mean", "scale": "std", "ddof": 1}}
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(ADAPTER.format(unbiased=True), encoding="utf-8")
    (tmp_path / "bad.py").write_text(ADAPTER.format(unbiased=False), encoding="utf-8")
    (tmp_path / "test_own.py").write_text("def test_own():\n    assert True\n", encoding="utf-8")
    return tmp_path


def test_each_case_is_a_test(folder: Path) -> None:
    listed = run(folder, "--grpo-identity=good:advantages", "--collect-only")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert "good:advantages::advantages::binary[float32]" in listed.stdout
    assert "good:advantages::advantages::interleaved[float64]" in listed.stdout
    assert "test_own.py::test_own" in listed.stdout


def test_a_good_one_passes_beside_the_own_tests(folder: Path) -> None:
    done = run(folder, "--grpo-identity=good:advantages", "--grpo-identity-case=rewards")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout  # two dtypes, and the own test


def test_a_difference_fails_and_is_told(folder: Path) -> None:
    done = run(folder, "--grpo-identity=bad:advantages", "-k", "grpo-identity and rewards")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed" in done.stdout
    assert "its name or documentation says: ddof 1" in done.stdout
    assert "theorem: groups.real-rewards" in done.stdout
    assert "bad.advantages(rewards=torch.tensor(" in done.stdout


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--grpo-identity=nothing", "target must be one of"),
        ("--grpo-identity=no_such_module:f", "import no_such_module"),
        ("--grpo-identity=good:absent", "name something in good"),
    ],
)
def test_a_target_that_is_not_there_is_a_usage_error(folder: Path, option: str, words: str) -> None:
    done = run(folder, option)
    assert done.returncode == 4, done.stdout + done.stderr
    assert words in done.stderr


def test_without_the_option_nothing_of_it_is_imported(folder: Path) -> None:
    (folder / "test_own.py").write_text(
        "import sys\n\n\ndef test_own():\n    assert 'identity.conformance' not in sys.modules\n",
        encoding="utf-8",
    )
    assert run(folder).returncode == 0
