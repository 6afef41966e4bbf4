"""False-alarm rates of the tests behind the run diagnostics, at the edge of their nulls.

A count of rejections fails where a test of the nominal level would reach it with probability
`FALSE_ALARM`. Each check has a biased twin, which must fail it.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from identity.diagnostics import MODES, diagnose_run
from identity.diagnostics._oscillation import OVERSHOOT, oscillation
from identity.diagnostics._statistics import drift_test, kendall_rising, level_test, mean_test

ROOT = Path(__file__).resolve().parents[2]
FALSE_ALARM = 1e-9
ALPHA = 0.05
# The law of surrogates is taken at the fitted angle, and a p-value has one of 500 values.
SURROGATE_ALPHA = 0.06
Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, float], float]


def too_many(count: int, runs: int, alpha: float = ALPHA) -> bool:
    """Whether a test of this level rejects so often with probability below `FALSE_ALARM`."""
    return bool(binom.sf(count - 1, runs, alpha) < FALSE_ALARM)


def autoregression(rng: np.random.Generator, root: float, size: int) -> Floats:
    series: Floats = lfilter([1.0], [1.0, -root], rng.standard_normal(size + 50))[50:]
    return series


def drift_of_a_walk(rng: np.random.Generator, bias: float) -> float:
    return drift_test(np.cumsum(rng.standard_normal(64) + 0.2 * bias), 8).p_value


def drift_of_a_noisy_walk(rng: np.random.Generator, bias: float) -> float:
    walk = np.cumsum(0.3 * rng.standard_normal(64) + 0.15 * bias)
    return drift_test(walk + rng.standard_normal(64), 8).p_value


def drift_of_noise(rng: np.random.Generator, bias: float) -> float:
    return drift_test(rng.standard_normal(64) + 0.1 * bias * np.arange(64), 8).p_value


def level_of_noise(rng: np.random.Generator, bias: float) -> float:
    return level_test(rng.standard_normal(40), rng.standard_normal(40) + 0.3 * bias).p_value


def level_of_different_noise(rng: np.random.Generator, bias: float) -> float:
    return level_test(3 * rng.standard_normal(100), rng.standard_normal(24) + bias).p_value


def mean_of_noise(rng: np.random.Generator, bias: float) -> float:
    return mean_test(rng.standard_normal(120) + 0.1 * bias, 0.0).p_value


def mean_of_correlated_noise(rng: np.random.Generator, bias: float) -> float:
    return mean_test(autoregression(rng, 0.3, 360) + 0.15 * bias, 0.0).p_value


def rising_blocks(rng: np.random.Generator, bias: float) -> float:
    return kendall_rising(list(rng.standard_normal(8) + 0.2 * bias * np.arange(8)))[1]


TESTS: tuple[tuple[Draw, int, float], ...] = (
    (drift_of_a_walk, 2000, ALPHA),
    (drift_of_a_noisy_walk, 2000, ALPHA),
    (drift_of_noise, 2000, ALPHA),
    (level_of_noise, 2000, ALPHA),
    (level_of_different_noise, 2000, ALPHA),
    (mean_of_noise, 2000, ALPHA),
    (mean_of_correlated_noise, 2000, 0.07),  # a little correlation reaches beyond the blocks
    (rising_blocks, 2000, ALPHA),
)


def rejections(draw: Draw, runs: int, bias: float) -> int:
    rng = np.random.default_rng(11)
    return sum(draw(rng, bias) < ALPHA for _ in range(runs))


@pytest.mark.parametrize(("draw", "runs", "alpha"), TESTS, ids=lambda v: getattr(v, "__name__", ""))
def test_level(draw: Draw, runs: int, alpha: float) -> None:
    assert not too_many(rejections(draw, runs, 0.0), runs, alpha)


@pytest.mark.parametrize(("draw", "runs", "alpha"), TESTS, ids=lambda v: getattr(v, "__name__", ""))
def test_biased_twin_of_the_level(draw: Draw, runs: int, alpha: float) -> None:
    assert too_many(rejections(draw, runs // 4, 1.0), runs // 4, alpha)


def test_the_walk_is_the_edge() -> None:
    """Student's t is exact there: not fewer rejections than its level either."""
    count = rejections(drift_of_a_walk, 2000, 0.0)
    assert binom.cdf(count, 2000, ALPHA) > FALSE_ALARM
    assert binom.cdf(rejections(drift_of_noise, 2000, 0.0), 2000, ALPHA) < FALSE_ALARM


def waves(overshoot: float, angle: float, runs: int) -> int:
    """Rejections on autoregressions whose swings shrink by this factor."""
    rng = np.random.default_rng(5)
    r = overshoot ** (angle / math.pi)
    filtered = [1.0, -2 * r * math.cos(angle), r * r]
    series = (lfilter([1.0], filtered, rng.standard_normal(300))[200:] for _ in range(runs))
    return sum(oscillation(x, 0.95, 0).p_value < ALPHA for x in series)


@pytest.mark.parametrize("angle", [2.0, 1.05, 0.35])
def test_level_at_the_edge_of_overshooting(angle: float) -> None:
    assert not too_many(waves(OVERSHOOT, angle, 200), 200, SURROGATE_ALPHA)
    assert too_many(waves(0.9, angle, 60), 60, SURROGATE_ALPHA)


# --- the experiment ------------------------------------------------------------------------------


def loaded() -> Any:
    name = "experiments_diagnostics_power"  # the pages have a module diagnostics_power
    if name not in sys.modules:
        path = ROOT / "experiments/diagnostics_power.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


power = loaded()
RESULTS = json.loads(power.RESULTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [cell.name for cell in power.CELLS])
def test_results_are_those_of_the_cells(name: str) -> None:
    (cell,) = (cell for cell in power.CELLS if cell.name == name)
    record = RESULTS["cells"][name]
    assert power.resumed(power.RESULTS, restart=False)["cells"][name] == record
    assert record["done"] == cell.runs == sum(record["primary"].values())
    assert max(*record["alone"], *record["present"], record["any"]) <= cell.runs
    assert len(record["slice"]) == power.SLICE


@pytest.mark.parametrize(
    "name", ["healthy", "hacking-1", "doubled-0.2", "free-0.1", "unstable-4-1.2"]
)
def test_results_are_what_the_code_finds(name: str) -> None:
    (cell,) = (cell for cell in power.CELLS if cell.name == name)
    for log, wanted in zip(
        power.chunk_logs(cell, 0), RESULTS["cells"][name]["slice"], strict=False
    ):
        found = [finding.p_value for finding in diagnose_run(log, alpha=power.ALPHA).findings]
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-12)


def test_false_alarms_of_healthy_runs() -> None:
    """None of the diagnostics, alone or after Holm's correction, nor the early warnings."""
    for cell in RESULTS["cells"].values():
        if cell["truth"] == "healthy":
            for count in (*cell["alone"], cell["any"], *cell["warning"]):
                assert not too_many(count, cell["done"])


def test_sick_runs_fail_the_check_of_healthy_ones() -> None:
    """The twin: every mode has an effect size at which the count is too high for a false alarm."""
    for mode in MODES:
        cells = [cell for cell in RESULTS["cells"].values() if cell["truth"] == mode]
        counts = [(cell["alone"][list(MODES).index(mode)], cell["done"]) for cell in cells]
        assert any(too_many(count, done) for count, done in counts)
        assert sum(done for _, done in counts) >= 500


def test_an_experiment_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = tuple(power.Cell(f"c{n}", "healthy", "few", runs=3) for n in range(2))
    monkeypatch.setattr(power, "CELLS", cells)
    monkeypatch.setattr(power, "CHUNK", 2)
    monkeypatch.setattr(power, "STEPS", 90)
    path = tmp_path / "deep" / "out.json"
    monkeypatch.setattr(sys, "argv", ["x", "--out", str(path)])
    whole = _run(path)
    half = json.loads(json.dumps(whole))
    half["cells"]["c1"] = power.empty(cells[1])
    first = {"c0": power.empty(cells[0]), "c1": power.empty(cells[1])}
    power.write(path, half)
    assert _run(path) == whole
    power.write(path, {**whole, "settings": {}, "cells": first})
    assert _run(path) == whole
    changed = json.loads(json.dumps(whole))
    changed["cells"]["c0"]["effect"] = "another"
    changed["cells"]["c0"]["alone"] = [3, 3, 3, 3]
    power.write(path, changed)
    assert _run(path) == whole


def _run(path: Path) -> Any:
    power.main()
    return json.loads(path.read_text(encoding="utf-8"))
