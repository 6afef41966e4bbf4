"""Diagnosing a run: the statistics against their laws, each mode on a healthy and a sick series."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import pytest

from identity.diagnostics import (
    LEAST_EVALUATIONS,
    LEAST_REWARDS,
    LEAST_STEPS,
    MODES,
    Finding,
    RunDiagnosis,
    RunLog,
    diagnose_run,
)
from identity.diagnostics import _oscillation as waves
from identity.diagnostics import _statistics as laws
from identity.errors import DomainError

Floats = npt.NDArray[np.float64]
HACKING, DEGENERACY, CONCENTRATION, INSTABILITY = MODES
STEPS = 240


def noise(scale: float, size: int = STEPS, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, scale, size)


def finding(log: RunLog, mode: str, **options: Any) -> Finding:
    (found,) = (f for f in diagnose_run(log, **options).findings if f.mode == mode)
    return found


def healthy() -> dict[str, Any]:
    """A run that learns: reward rises to a plateau, entropy falls by a third."""
    t = np.arange(STEPS)
    learned = 1 - np.exp(-t / 60)
    held = 0.3 + 0.35 * learned + noise(0.03, seed=1)
    return {
        "step": t,
        "train_reward": 0.3 + 0.4 * learned + noise(0.02),
        "heldout_reward": np.where(t % 5 == 0, held, np.nan),
        "entropy": 0.9 - 0.3 * learned + noise(0.005, seed=2),
        "silent_fraction": np.clip(0.2 + 0.2 * learned + noise(0.03, seed=3), 0, 1),
        "silent_excess": noise(0.03, seed=4),
    }


def sick(mode: str) -> dict[str, Any]:
    """The same run with one thing wrong."""
    run = healthy()
    t = run["step"]
    if mode == HACKING:
        run["heldout_reward"] = run["heldout_reward"] - 0.5 * (1 - np.exp(-t / 60))
    elif mode == DEGENERACY:
        run["silent_excess"] = run["silent_excess"] + 0.1
        run["silent_fraction"] = np.clip(run["silent_fraction"] + 0.1, 0, 1)
    elif mode == CONCENTRATION:
        run["entropy"] = 0.9 * np.exp(-t / 30) + 0.001
    else:
        run["train_reward"] = run["train_reward"] + 0.15 * np.cos(2 * np.pi * t / 9)
    return run


# --- the laws ------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [1, 2, 3.5, 4, 7, 30, 1000])
@pytest.mark.parametrize("t", [-40.0, -1.5, -0.1, 0.0, 0.3, 1.0, 2.5, 12.0, 1e3, 1e8])
def test_student(degrees: float, t: float) -> None:
    with mpmath.workdps(40):
        x = mpmath.mpf(degrees) / (degrees + mpmath.mpf(t) ** 2)
        half = (
            mpmath.betainc(mpmath.mpf(degrees) / 2, mpmath.mpf(1) / 2, 0, x, regularized=True) / 2
        )
        exact = float(half if t >= 0 else 1 - half)
    # Besides 64 eps: the front factor x^(ν/2) multiplies the rounding of its logarithm.
    bound = 2**-52 * (64 + 8 * abs(math.log(max(exact, 1e-300))) + 4 * degrees)
    assert abs(laws.student_tail(t, degrees) - exact) <= bound * exact
    assert laws.student_tail(math.inf, degrees) == 0.0
    assert laws.student_tail(-math.inf, degrees) == 1.0


def test_student_quantile() -> None:
    assert laws.student_quantile(0.025, 10) == pytest.approx(2.2281388519862747, rel=1e-12)
    assert laws.student_tail(laws.student_quantile(1e-6, 3), 3) == pytest.approx(1e-6, rel=1e-12)


@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_kendall_is_exact(size: int) -> None:
    """Against all permutations."""
    orders = list(itertools.permutations(range(size)))

    def statistic(order: tuple[int, ...]) -> int:
        return sum(b > a for a, b in itertools.combinations(order, 2))

    for order in orders[:: max(1, len(orders) // 12)]:
        tau, p = laws.kendall_rising(order)
        rising, pairs = statistic(order), math.comb(size, 2)
        assert tau == (2 * rising - pairs) / pairs
        exact = Fraction(sum(statistic(other) >= rising for other in orders), len(orders))
        assert p == float(exact)


def test_kendall_with_ties() -> None:
    assert laws.kendall_rising([1.0, 1.0, 1.0]) == (0.0, 1.0)


def test_holm() -> None:
    assert laws.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert laws.holm([0.9, 0.8]) == [1.0, 1.0]
    assert laws.holm([]) == []


@pytest.mark.parametrize(("blocks", "length"), [(6, 1), (8, 1), (8, 5), (5, 12)])
def test_whitening_of_a_walk(blocks: int, length: int) -> None:
    """The covariance that is whitened is that of block means of sums of unit steps."""
    steps = blocks * length
    sums = np.tril(np.ones((steps, steps)))
    means = sums.reshape(blocks, length, steps).mean(axis=1)
    covariance = np.diff(means, axis=0) @ np.diff(means, axis=0).T
    whiten = laws._walk_whitening(blocks, length)
    np.testing.assert_allclose(whiten @ covariance @ whiten.T, np.eye(blocks - 1), atol=1e-10)


def test_drift_of_a_line_is_its_slope() -> None:
    found = laws.drift_test(0.25 * np.arange(80.0), 8)
    assert found.value == pytest.approx(0.25, rel=1e-12)
    assert found.p_value == 0.0
    assert laws.drift_test(-0.25 * np.arange(80.0), 8).p_value == 1.0
    assert laws.drift_test(np.full(80, 0.3), 8).p_value == 1.0


def test_level_test_sees_a_step_within_trends() -> None:
    early = 0.01 * np.arange(40.0) + noise(0.01, 40)
    found = laws.level_test(early, early + 1)
    assert found.value == pytest.approx(1.0, rel=1e-12)
    assert found.interval[0] < 1 < found.interval[1]
    assert found.p_value < 1e-6
    assert laws.level_test(early, early).p_value == pytest.approx(0.5)
    assert laws.level_test(np.full(40, 0.3), np.full(40, 0.3)).p_value == 1.0
    assert laws.level_test(np.full(40, 0.3), np.full(40, 0.4)).p_value == 0.0


def test_mean_test() -> None:
    values = noise(1.0, 120)
    found = laws.mean_test(values, 0.0)
    blocks = values.reshape(12, 10).mean(axis=1)
    t = blocks.mean() / (blocks.std(ddof=1) / math.sqrt(12))
    assert found.p_value == pytest.approx(laws.student_tail(t, 11))
    assert laws.mean_test(np.full(60, 0.95), 0.9).p_value == 0.0
    assert laws.mean_test(np.full(60, 0.85), 0.9).p_value == 1.0


# --- oscillation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "modulus", "angle"),
    [
        (2 * 0.8 * math.cos(1.0), -0.64, 0.8, 1.0),
        (-0.9, 0.0, 0.9, math.pi),
        (0.5 - 0.7, 0.35, 0.7, math.pi),  # roots 0.5 and −0.7
        (1.4, -0.45, 0.0, math.pi),  # roots 0.5 and 0.9: no oscillation
        (0.0, 0.0, 0.0, math.pi),
    ],
)
def test_oscillating_roots(first: float, second: float, modulus: float, angle: float) -> None:
    found = waves._oscillating(np.array(first), np.array(second))
    np.testing.assert_allclose(found, (modulus, angle), atol=1e-12)


@pytest.mark.parametrize("period", [2, 3, 6, 9, 18, 34])
def test_a_lasting_wave_is_found_with_its_period(period: int) -> None:
    t = np.arange(200)
    series = np.cos(2 * np.pi * t / period) + 0.05 * noise(1.0, 200) + (t / 100) ** 3
    found = waves.oscillation(series, 0.95, 0)
    assert found.p_value < 0.02
    assert found.period == pytest.approx(period, rel=0.05)
    assert found.modulus > 0.95
    assert found.modulus_interval[0] < found.modulus <= found.modulus_interval[1]
    assert found.overshoot > 0.8


@pytest.mark.parametrize(
    ("kappa", "momentum", "delay", "lasting"),
    [
        (0.1, 0.0, 0, False),
        (1.0, 0.0, 0, False),
        (1.95, 0.0, 0, True),  # below 2(1 + μ), but each swing has 95 % of the one before
        (0.05, 0.5, 0, False),
        (0.3, 0.0, 1, False),
        (0.95, 0.0, 1, True),  # threshold 1
        (0.1, 0.0, 4, False),
        (0.34, 0.0, 4, True),  # threshold 2 sin(π/18) = 0.3473
    ],
)
def test_heavy_balls_with_late_gradients(
    kappa: float, momentum: float, delay: int, lasting: bool
) -> None:
    x = np.zeros(900)
    shocks = noise(1.0, 900, seed=7)
    for t in range(delay + 1, 899):
        x[t + 1] = (1 + momentum) * x[t] - momentum * x[t - 1] - kappa * x[t - delay] + shocks[t]
    assert (waves.oscillation(x[100:], 0.95, 0).p_value < 0.05) == lasting


def test_slow_or_constant_series_do_not_oscillate() -> None:
    assert waves.oscillation(np.full(100, 0.3), 0.95, 0).p_value == 1.0
    assert waves.oscillation(np.linspace(0, 1, 100) ** 2, 0.95, 0).p_value == 1.0
    assert waves.oscillation(np.cumsum(noise(1.0, 200)), 0.95, 0).p_value > 0.5


def test_early_warning() -> None:
    rng = np.random.default_rng(3)
    x = np.zeros(800)
    for t in range(1, 800):
        x[t] = 0.98 * t / 800 * x[t - 1] + rng.normal()
    found = waves.early_warning(x)
    assert found["rising lag-1 autocorrelation: p"] < 0.01
    assert found["rising variance: p"] < 0.05
    backwards = waves.early_warning(x[::-1])
    assert backwards["rising lag-1 autocorrelation: p"] > 0.95
    assert waves.early_warning(np.zeros(80))["rising variance: p"] == 1.0


# --- the four modes -----------------------------------------------------------------------------


def test_a_healthy_run() -> None:
    report = diagnose_run(RunLog(**healthy()))
    assert [f.verdict for f in report.findings] == ["not found"] * 4
    assert report.primary is None
    assert report.reading == "None of the modes that can be told is present."
    assert [f.mode for f in report.findings] == list(MODES)
    assert [f.theorem for f in report.findings] == list(MODES.values())


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_told_from_the_others(mode: str) -> None:
    report = diagnose_run(RunLog(**sick(mode)))
    assert {f.mode for f in report.findings if f.verdict == "present"} == {mode}
    assert report.primary == mode
    assert report.reading == f"Look at {mode} first."
    (found,) = (f for f in report.findings if f.mode == mode)
    assert found.adjusted_p is not None
    assert found.p_value is not None
    assert found.p_value <= found.adjusted_p < 0.05
    assert found.value is not None
    assert found.interval is not None
    assert found.interval[0] <= found.value <= found.interval[1]


@pytest.mark.parametrize("mode", MODES)
def test_the_report_is_plain_and_repeatable(mode: str) -> None:
    log = RunLog(**sick(mode))
    once, again = diagnose_run(log), diagnose_run(log)
    assert once == again
    assert isinstance(once, RunDiagnosis)
    found = json.loads(json.dumps(once.to_dict(), allow_nan=False))
    assert set(found) == {
        "source", "recognised", "caveats", "steps", "alpha", "findings", "primary",
        "consequences", "reading",
    }  # fmt: skip
    assert set(found["findings"][0]) == {
        "mode", "verdict", "statistic", "value", "interval", "threshold", "null", "p_value",
        "adjusted_p", "theorem", "explanation", "reason", "evidence",
    }  # fmt: skip


def test_hacking_that_comes_after_learning() -> None:
    run = healthy()
    t = run["step"]
    run["train_reward"] = 0.3 + 0.4 * t / STEPS + noise(0.02)
    peak = 0.3 + 0.3 * np.minimum(t, 140) / 140 - 0.25 * np.maximum(t - 140, 0) / 100
    run["heldout_reward"] = np.where(t % 4 == 0, peak + noise(0.02, seed=5), np.nan)
    found = finding(RunLog(**run), HACKING)
    assert found.verdict == "present"
    assert found.evidence["evaluations in the window"] == 30
    assert "second half" in found.explanation


def test_both_rewards_falling_is_not_hacking() -> None:
    run = sick(HACKING)
    run["train_reward"] = run["train_reward"][::-1]
    assert finding(RunLog(**run), HACKING).verdict == "not found"


def test_coupling_is_in_units_of_trained_reward() -> None:
    run = sick(HACKING)
    found = finding(RunLog(**run), HACKING)
    run["train_reward"] = 10 * run["train_reward"] - 3
    scaled = finding(RunLog(**run), HACKING)
    assert found.value is not None
    assert scaled.value == pytest.approx(found.value / 10, rel=1e-9)
    assert scaled.p_value == pytest.approx(found.p_value, rel=1e-6)


def test_silent_groups_by_level() -> None:
    run = healthy()
    run["silent_fraction"] = np.clip(0.96 + noise(0.01), 0, 1)
    found = finding(RunLog(**run), DEGENERACY)
    assert (found.verdict, found.threshold) == ("present", 0.9)
    assert "as often as the prompts' difficulties predict" in found.explanation
    assert finding(RunLog(**run), DEGENERACY, silent_limit=0.98).verdict == "not found"
    del run["silent_excess"]
    found = finding(RunLog(**run), DEGENERACY)
    assert found.verdict == "present"
    assert "only the level was tested" in found.reason
    del run["silent_fraction"]
    run["silent_excess"] = sick(DEGENERACY)["silent_excess"]
    found = finding(RunLog(**run), DEGENERACY)
    assert found.verdict == "present"
    assert "only the excess was tested" in found.reason


def test_the_margin_widens_where_the_policy_jumps() -> None:
    run = sick(DEGENERACY)
    before = finding(RunLog(**run), DEGENERACY)
    jumps = 0.2 * (-1.0) ** run["step"]
    run["train_reward"] = np.clip(run["train_reward"] + jumps, 0, 1)
    after = finding(RunLog(**run), DEGENERACY)
    assert before.verdict == "present"
    assert after.verdict == "not found"
    assert after.null.startswith("at most 2.") or after.null.startswith("at most 1.")


def test_silent_groups_follow_from_a_concentrated_policy() -> None:
    run = sick(CONCENTRATION)
    run["silent_fraction"] = np.clip(0.97 + noise(0.01), 0, 1)
    report = diagnose_run(RunLog(**run))
    assert report.primary == CONCENTRATION
    assert report.consequences == {DEGENERACY: CONCENTRATION}
    assert "may follow from policy concentration" in report.reading


def test_concentration_follows_from_an_exploited_reward() -> None:
    run = sick(HACKING)
    run["entropy"] = sick(CONCENTRATION)["entropy"]
    report = diagnose_run(RunLog(**run))
    assert report.primary == HACKING
    assert report.consequences == {CONCENTRATION: HACKING}


def test_two_causes_are_both_named() -> None:
    run = sick(HACKING)
    run["silent_excess"] = sick(DEGENERACY)["silent_excess"]
    reading = diagnose_run(RunLog(**run)).reading
    assert "Also present: " in reading
    assert HACKING in reading
    assert DEGENERACY in reading


def test_the_floor_of_entropy_is_a_choice() -> None:
    log = RunLog(**healthy())
    assert finding(log, CONCENTRATION).verdict == "not found"
    assert finding(log, CONCENTRATION, entropy_floor=0.8).verdict == "present"


# --- what cannot be told ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "mode", "reason"),
    [
        ({"heldout_reward": None}, HACKING, "no column heldout_reward"),
        ({"train_reward": None}, HACKING, "no column train_reward"),
        ({"train_reward": None}, INSTABILITY, "no column train_reward"),
        ({"entropy": None}, CONCENTRATION, "no column entropy"),
        ({"entropy": np.zeros(STEPS)}, CONCENTRATION, "0 from the start"),
        (
            {"silent_fraction": None, "silent_excess": None},
            DEGENERACY,
            "no column silent_fraction and no column silent_excess",
        ),
        ({"step": np.arange(STEPS) ** 2}, INSTABILITY, "equal intervals"),
    ],
)
def test_cannot_tell(change: dict[str, Any], mode: str, reason: str) -> None:
    log = RunLog(**{**healthy(), **change})
    found = finding(log, mode)
    assert found.verdict == "cannot tell"
    assert reason in found.reason
    assert reason in found.explanation
    assert (found.value, found.p_value, found.adjusted_p) == (None, None, None)
    assert mode in diagnose_run(log).reading.partition("Cannot be told: ")[2]


@pytest.mark.parametrize("size", [1, 2, 5, LEAST_EVALUATIONS - 1, LEAST_STEPS - 1])
def test_too_short_for_anything(size: int) -> None:
    columns = {name: value[:size] for name, value in healthy().items()}
    report = diagnose_run(RunLog(**columns))
    assert [f.verdict for f in report.findings] == ["cannot tell"] * 4
    assert report.reading == "None of the four can be told from this log."


@pytest.mark.parametrize("size", [LEAST_STEPS, LEAST_STEPS + 1, LEAST_REWARDS, LEAST_REWARDS + 1])
def test_just_long_enough(size: int) -> None:
    columns = {name: value[:size] for name, value in healthy().items()}
    columns["heldout_reward"] = columns["train_reward"]
    report = diagnose_run(RunLog(**columns))
    wanted = "not found" if size >= LEAST_REWARDS else "cannot tell"
    assert [f.verdict for f in report.findings] == ["not found"] * 3 + [wanted]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_columns(value: float) -> None:
    flat = np.full(STEPS, value)
    log = RunLog(np.arange(STEPS), flat, flat, flat, flat, np.zeros(STEPS))
    report = diagnose_run(log)
    json.dumps(report.to_dict(), allow_nan=False)
    present = [f.mode for f in report.findings if f.verdict == "present"]
    assert present == ([DEGENERACY] if value == 1 else [])


@pytest.mark.parametrize("scale", [1e-140, 1e-9, 1e9, 1e140])
def test_rewards_of_any_size(scale: float) -> None:
    run = sick(INSTABILITY)
    for name in ("train_reward", "heldout_reward", "entropy"):
        run[name] = run[name] * scale
    assert diagnose_run(RunLog(**run)).primary == INSTABILITY


# --- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0},
        {"alpha": 0.6},
        {"alpha": math.nan},
        {"alpha": True},
        {"alpha": "0.05"},
        {"silent_limit": 0},
        {"silent_limit": 1},
        {"silent_limit": math.nan},
        {"entropy_floor": 1.5},
        {"entropy_floor": -0.1},
        {"entropy_floor": None},
        {"seed": -1},
        {"seed": 0.5},
        {"seed": True},
    ],
)
def test_arguments_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(DomainError) as error:
        diagnose_run(RunLog(**healthy()), **options)
    assert error.value.argument == next(iter(options))


def test_the_log_is_checked() -> None:
    with pytest.raises(DomainError, match=r"^log must be a RunLog"):
        diagnose_run(healthy())  # type: ignore[arg-type]


def test_theorems_are_in_the_ledger() -> None:
    from proofs import ledger

    assert set(MODES.values()) <= {theorem.id for theorem in ledger.theorems()}
