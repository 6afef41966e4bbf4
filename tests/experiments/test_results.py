"""The committed results: complete, narrow, on the exact values, and written by the present code."""

from __future__ import annotations

import importlib
import json
import math
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofs.ledger import theorems
from tests.experiments import oracles

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("stale_refresh", "oscillation_onset", "stationary_variance", "bandit_saturation")
MODULES: dict[str, Any] = {n: importlib.import_module(f"experiments.{n}") for n in NAMES}
FILES = {n: ROOT / "experiments" / "results" / f"{n}.json" for n in NAMES}
CONTENT = {n: json.loads(path.read_text(encoding="utf-8")) for n, path in FILES.items()}
WIDEST = 0.05

ORACLE = 1e-9  # the oracles find thresholds by bisection, maxima on a grid
SAME = 1e-9  # a simulation again, possibly by other kernels of NumPy


def rows(name: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = CONTENT[name]["results"]
    return result


def row(name: str, quantity: str = "", **case: Any) -> dict[str, Any]:
    """The one row of this case."""
    (found,) = (
        r
        for r in rows(name)
        if case.items() <= r["case"].items() and quantity in ("", r["quantity"])
    )
    return found


def objections(entry: dict[str, Any], exact: float) -> list[str]:
    """Why an interval does not establish the value."""
    low, high = entry["interval"]
    found = []
    if not low <= exact <= high:
        found.append("outside")
    if not 0 <= high - low < WIDEST * abs(entry["measured"]):
        found.append("wide")
    return found


def bandit_of(name: str) -> dict[str, Any]:
    parameters: dict[str, Any] = CONTENT[name]["parameters"]
    result: dict[str, Any] = parameters.get("bandit") or parameters.get("approach") or {}
    return result


# --- committed numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_interval_is_narrow_and_holds_the_value_derived_here(name: str) -> None:
    for entry in rows(name):
        if entry["quantity"].startswith("slope"):
            continue
        value = oracles.exact(name, entry, bandit_of(name))
        assert math.isclose(entry["exact"], value, rel_tol=ORACLE), entry
        assert not objections(entry, value), entry
        assert entry["brackets"] is True


def test_the_cases_of_the_issue_are_all_there() -> None:
    cases = {
        (c["arms"], c["staleness"], c["interval"])
        for c in (r["case"] for r in rows("stale_refresh"))
        if c["momentum"] == 0.0
    }
    wanted = {("delay", n) for n in (1, 2, 4, 8)} | {("block", n) for n in (2, 4, 16)}
    assert cases == {(arms, *w) for arms in ("two", "five") for w in wanted}
    sizes = {r["case"].get("group_size") for r in rows("stationary_variance")}
    assert sizes - {None} == {2, 4, 8, 16, 32, 64}


@pytest.mark.parametrize("name", NAMES)
def test_results_are_of_the_present_parameters_and_cells(name: str) -> None:
    module = MODULES[name]
    assert CONTENT[name]["parameters"] == module.PARAMETERS
    assert CONTENT[name]["experiment"] == name
    # Four slopes beside the variances; a power and a prefactor for each of five methods.
    further = {"stationary_variance": 4, "bandit_saturation": 5}.get(name, 0)
    assert len(rows(name)) == len(module.cells()) + further
    known = {t.id for t in theorems()}
    for entry in rows(name):
        assert entry["theorem"] is None or entry["theorem"] in known, entry["theorem"]
        if entry["theorem"] is None:
            package, function = entry["function"].rsplit(".", 1)
            assert callable(getattr(importlib.import_module(package), function))


def test_numbers_of_the_theory() -> None:
    times_rule = [("delay", 1, 1.0), ("delay", 2, 1.2361), ("delay", 4, 1.3892)]
    times_rule += [("delay", 8, 1.4763), ("block", 2, 2.0), ("block", 4, 2.0), ("block", 16, 2.0)]
    for staleness, n, ratio in times_rule:
        found = row("stale_refresh", arms="two", momentum=0.0, staleness=staleness, interval=n)
        low, high = found["times_short_rule"]
        assert low - 5e-5 <= ratio <= high + 5e-5, found
    for n, ratio in ((2, 38 / 9), (4, 2.9225), (16, 2.9846)):
        found = row("stale_refresh", arms="five", momentum=0.9, staleness="block", interval=n)
        low, high = found["times_short_rule"]
        assert low - 5e-5 <= ratio <= high + 5e-5, found
    for method, p0, time in (("G=2", 0.001, 1012.81), ("G=8", 0.001, 386.72),
                             ("limit", 0.001, 63.15), ("plain", 0.01, 108.18014),
                             ("log-likelihood", 0.01, 5.58502)):  # fmt: skip
        found = row("bandit_saturation", "ηt from p0 to ½", method=method, p0=p0)
        digits = 5 if p0 == 0.01 else 2
        assert round(found["exact"], digits) == time
        assert not objections(found, found["exact"])


def test_slope_of_the_variance() -> None:
    """−1 for the critic, whose noise is s²/G; not for a baseline that the group shares."""
    for momentum in (0.0, 0.9):
        case = {"momentum": momentum}
        quantity = "slope of log variance by log G"
        critic = row("stationary_variance", quantity, estimator="critic", **case)
        assert not objections(critic, -1.0)
        shared = row("stationary_variance", quantity, estimator="leave-one-out", **case)
        assert objections(shared, -1.0) == ["outside"]
        assert not objections(shared, shared["exact"])


# --- twins that must be refused -----------------------------------------------------------------


def test_the_short_rule_is_refused_where_it_is_not_sharp() -> None:
    for entry in rows("stale_refresh"):
        sharp = (entry["case"]["staleness"], entry["case"]["interval"]) == ("delay", 1)
        assert objections(entry, entry["short_rule"]) == ([] if sharp else ["outside"])
        assert entry["short_rule_in_interval"] is sharp


@pytest.mark.parametrize("name", ["stale_refresh", "oscillation_onset"])
def test_a_neighbouring_delay_is_refused(name: str) -> None:
    """A simulation whose delay is off by one has another threshold."""
    module = MODULES[name]
    cell = next(
        c for c in module.cells().values() if c["staleness"] == "delay" and c["interval"] == 4
    )
    wrong = module.compare(cell, module.measure({**cell, "interval": 3}))
    assert not wrong["brackets"]
    assert objections(wrong, wrong["exact"]) == ["outside"]


def test_a_group_mean_is_no_leave_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the factor G/(G − 1) the update is another one, with less noise."""
    module = MODULES["stationary_variance"]
    monkeypatch.setitem(module.PARAMETERS, "batches", 5)
    cell = next(
        c
        for c in module.cells().values()
        if c["estimator"] == "leave-one-out" and c["group_size"] == 2
    )
    right, honest = module.variance_row(cell, module.measure(cell)), module.estimate

    def biased(rng: Any, p: Any, estimator: str, group_size: int) -> Any:
        return honest(rng, p, estimator, group_size) * (group_size - 1) / group_size

    monkeypatch.setattr(module, "estimate", biased)
    assert right["brackets"]
    assert not module.variance_row(cell, module.measure(cell))["brackets"]


def test_objections_know_a_wide_interval() -> None:
    assert objections({"interval": [0.9, 1.1], "measured": 1.0}, 1.0) == ["wide"]
    assert objections({"interval": [1.02, 1.01], "measured": 1.0}, 1.0) == ["outside", "wide"]


# --- a slice of each, measured again ------------------------------------------------------------


def close(found: Any, kept: Any) -> bool:
    return bool(np.allclose(found, kept, rtol=SAME, atol=0))


@pytest.mark.parametrize(
    "name", ["two 0.0 delay 4", "two 0.9 block 16", "five 0.9 delay 1", "five 0.0 block 2"]
)
def test_thresholds_are_found_again(name: str) -> None:
    module = MODULES["stale_refresh"]
    cell = module.cells()[name]
    again = module.measure(cell)
    kept = row("stale_refresh", **cell)
    assert close(again["interval"], kept["interval"])
    assert np.allclose(again["scan"], kept["scan"], rtol=2e-5)


@pytest.mark.parametrize(
    "name",
    [
        "onset of oscillation 0.5 none 0",
        "onset of alternation 0.25 none 0",
        "stability limit 0.8 none 0",
        "onset of oscillation 0.0 block 4",
    ],
)
def test_transitions_are_found_again(name: str) -> None:
    module = MODULES["oscillation_onset"]
    cell = dict(module.cells()[name])
    again = module.measure(cell)
    assert close(
        again["interval"], row("oscillation_onset", cell.pop("quantity"), **cell)["interval"]
    )


@pytest.mark.parametrize("name", ["critic 0.0 0.02 2", "leave-one-out 0.9 0.002 8"])
def test_batches_of_chains_are_found_again(name: str) -> None:
    """To rounding under the NumPy that wrote them; under another, whose streams may differ, as a
    draw of the same law, with a false-alarm rate of 1e-9."""
    module = MODULES["stationary_variance"]
    cell = module.cells()[name]
    kept = row("stationary_variance", **cell)
    again = module.batch_variance(cell, 7)
    if CONTENT["stationary_variance"]["versions"]["numpy"] == np.__version__:
        assert close(again, kept["batches"][7])
    else:
        spread = np.std(kept["batches"], ddof=1)
        assert abs(again - kept["measured"]) < 8.1 * spread  # Student's t, 39 degrees


@pytest.mark.parametrize(
    "name", ["saturation plain", "saturation limit", "curve 4.0", "approach 0.5",
             "cold start limit 0.001", "cold start log-likelihood 0.01", "cold start G=8 0.01"]
)  # fmt: skip
def test_saturation_is_found_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = MODULES["bandit_saturation"]
    cell = module.cells()[name]
    monkeypatch.setattr(module, "cells", lambda: {name: cell})
    for again in module.rows({name: module.measure(cell)}):
        kept = row("bandit_saturation", again["quantity"], **again["case"])
        assert close(again["interval"], kept["interval"])


# --- what the simulations stand on --------------------------------------------------------------


@pytest.mark.parametrize("arms", ["two", "five"])
def test_fixed_point_and_curvature_of_the_bandits(arms: str) -> None:
    """The gradient vanishes there; its derivative, by central differences, has this eigenvalue."""
    bandit = MODULES["stale_refresh"].BANDITS[arms]
    top, step = bandit.fixed_point, 1e-5
    assert np.abs(bandit.gradient(top[None])).max() < 1e-15
    shifts = step * np.eye(top.size)
    slope = (bandit.gradient(top + shifts) - bandit.gradient(top - shifts)) / (2 * step)
    assert math.isclose(-np.linalg.eigvals(slope).real.min(), bandit.curvature, rel_tol=1e-9)
    assert math.isclose(np.linalg.norm(bandit.direction), 1.0)


def test_gradient_of_the_five_arms_is_that_of_j() -> None:
    module = MODULES["stale_refresh"]
    given = module.PARAMETERS["five_arms"]
    theta, step = np.asarray([0.3, -0.7, 0.1, 0.9, -0.2]), 1e-6

    def objective(logits: np.ndarray) -> float:
        policy = np.exp(logits) / np.exp(logits).sum()
        prior = np.asarray(given["reference"])
        kl = policy @ np.log(policy / prior)
        return float(policy @ np.asarray(given["rewards"]) - given["beta"] * kl)

    slope = [(objective(theta + e) - objective(theta - e)) / (2 * step) for e in step * np.eye(5)]
    assert np.allclose(
        MODULES["stale_refresh"].BANDITS["five"].gradient(theta[None])[0], slope, atol=1e-9
    )


@pytest.mark.parametrize("estimator", ["critic", "leave-one-out"])
def test_estimators_are_unbiased_with_the_stated_noise(estimator: str) -> None:
    module = MODULES["stationary_variance"]
    pays = module.PARAMETERS["bandit"]["pays"]
    top, _ = module.fixed_point()
    p = 1 / (1 + math.exp(-top))
    for size in (2, 3, 8):
        mean, variance = oracles.group_noise(estimator, size, p, pays)
        assert math.isclose(mean, (pays[0] - pays[1]) * p * (1 - p), rel_tol=1e-12)
        assert math.isclose(module.noise(estimator, size), size * variance, rel_tol=1e-11)


def test_sampled_groups_have_the_law_of_the_estimator() -> None:
    """Mean and variance of 200,000 sampled groups, each within 6.1 standard errors (1e-9)."""
    module = MODULES["stationary_variance"]
    pays, draws = module.PARAMETERS["bandit"]["pays"], 200_000
    for estimator in ("critic", "leave-one-out"):
        sample = module.estimate(np.random.default_rng(5), np.full(draws, 0.7), estimator, 4)
        mean, variance = oracles.group_noise(estimator, 4, 0.7, pays)
        squares = (sample - mean) ** 2
        assert abs(sample.mean() - mean) < 6.1 * sample.std() / math.sqrt(draws)
        assert abs(squares.mean() - variance) < 6.1 * squares.std() / math.sqrt(draws)
        assert abs(squares.mean() - 0.9 * variance) > 6.1 * squares.std() / math.sqrt(draws)


def test_burn_in_is_long_enough() -> None:
    parameters = MODULES["stationary_variance"].PARAMETERS
    for momentum, kappa in parameters["motions"]:
        slowest = max(abs(np.linalg.eigvals(oracles.delay_matrix(kappa, momentum, 0))))
        assert slowest ** (2 * parameters["burn_in"]) < 1e-8


# --- running ------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: types.ModuleType = MODULES["stale_refresh"]
    chosen = dict(list(module.cells().items())[:2])
    measured: list[str] = []

    def measure(cell: dict[str, Any]) -> dict[str, Any]:
        if cell["interval"] == 2 and len(measured) == 1:
            measured.append("interrupted")
            raise KeyboardInterrupt
        measured.append(f"delay {cell['interval']}")
        return {"interval": [0.1 * cell["interval"], 1 / 3], "scan": []}

    monkeypatch.setattr(module, "RESULTS", tmp_path / "stale.json")
    monkeypatch.setattr(module, "PARTIAL", tmp_path / "stale.partial")
    monkeypatch.setattr(module, "cells", lambda: chosen)
    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr("sys.argv", ["stale_refresh.py"])
    with pytest.raises(SystemExit, match="1 of 2 cells; run again to go on"):
        module.main()
    assert not module.RESULTS.exists()
    module.main()
    assert measured == ["delay 1", "interrupted", "delay 2"]
    assert [p.name for p in tmp_path.iterdir()] == ["stale.json"]
    resumed = module.RESULTS.read_bytes()
    module.main()
    assert module.RESULTS.read_bytes() == resumed
    assert [r["interval"][0] for r in json.loads(resumed)["results"]] == [0.1, 0.2]


def test_what_another_version_of_the_file_measured_is_not_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = MODULES["stale_refresh"]
    name, cell = next(iter(module.cells().items()))
    old = {"interval": [8.0, 9.0], "scan": []}
    monkeypatch.setattr(module, "RESULTS", tmp_path / "stale.json")
    monkeypatch.setattr(module, "PARTIAL", tmp_path / "stale.partial")
    monkeypatch.setattr(module, "cells", lambda: {name: cell})
    monkeypatch.setattr(module, "measure", lambda cell: {"interval": [1.0, 2.0], "scan": []})
    monkeypatch.setattr("sys.argv", ["stale_refresh.py"])
    module.write(module.PARTIAL, {"key": "of another version", "found": {name: old}})
    module.main()
    assert json.loads(module.RESULTS.read_text(encoding="utf-8"))["results"][0]["interval"] == [
        1,
        2,
    ]


def test_what_runs_an_experiment_is_the_same_in_all() -> None:
    mark = "# --- running: these lines are the same in every experiment"
    texts = [(ROOT / "experiments" / f"{n}.py").read_text(encoding="utf-8") for n in NAMES]
    assert all(mark in text for text in texts)
    assert len({text[text.index(mark) :] for text in texts}) == 1
