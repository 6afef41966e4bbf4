"""The test tools: skipped backends are counted, and CI fails if a required one is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tests import backends, oracles, strategies

PROBE = "tests/agreement/test_backends.py::test_this_backend_runs"


def test_this_backend_runs(xp: backends.Backend) -> None:
    result = xp.call(lambda a, b: a + b, xp.asarray([1.0]), xp.asarray([2.0]))
    assert xp.to_numpy(result).tolist() == [3.0]


def test_strategies_are_printed_alike_whatever_was_compiled() -> None:
    backend = backends.load_or_skip("jax-jit")
    before = repr(strategies.rewards(backend, "float32"))
    backend.call(lambda a: a + 1, backend.asarray([1.0]))
    assert repr(strategies.rewards(backend, "float32")) == before
    assert len(before) < 1000


def session(hide: str, ci: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HIDE_BACKENDS": hide, "CI": ci}
    for name in [name for name in environment if name.startswith("PYTEST_")]:
        del environment[name]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", PROBE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("hide", "ci", "passes"),
    [
        ("torch-cuda,jax-cuda", "true", True),
        ("array-api-strict,torch-cuda", "", True),
        ("array-api-strict,torch-cuda", "true", False),
    ],
)
def test_a_missing_backend_fails_ci(hide: str, ci: str, passes: bool) -> None:
    # jax and torch stay hidden from the inner session where they cost a slow import.
    run = session(hide, ci)
    assert (run.returncode == 0) is passes, run.stdout + run.stderr
    assert "torch-cuda (1 tests)" in run.stdout
    if not passes:
        assert "CI fails: array-api-strict must run there" in run.stdout


def test_counting() -> None:
    reasons = {
        f"Skipped: {backends.SKIP_MARK}jax (no module)": 2,
        f"Skipped: {backends.SKIP_MARK}torch-cuda (none)": 3,
        "Skipped: another reason": 5,
    }
    assert backends.missing(reasons) == {"jax": 2, "torch-cuda": 3}
    assert backends.required_missing({"jax": 2, "torch-cuda": 3}) == ["jax"]
    assert backends.required_missing({"torch-cuda": 3}) == []


def test_ulp_counts_what_it_says() -> None:
    one = oracles.fractions([1.0])[0]
    for dtype, step in (("float32", 2.0**-23), ("float64", 2.0**-52)):
        assert oracles.excess(1.0 + 3 * step, one, dtype) == 3.0
        assert oracles.excess(1.0, one, dtype) == 0.0
        tiny = float(np.finfo(dtype).smallest_subnormal)
        assert oracles.excess(tiny, oracles.fractions([3 * tiny])[0], dtype) == 1.0
    assert oracles.excess(1.0 + 2.0**-10, one, "float16") > 1.0
