"""Intervals of `identity.dynamics.fit` cover at their nominal rate; a biased twin does not.

False-alarm rate 1e-9 for each test: coverage is counted over independent simulated curves, and the
number of hits held against exact binomial bounds on both sides. A twin whose intervals are
halved, and one whose intervals are doubled, must fall outside of the same bounds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from identity.dynamics import Estimate, TrajectoryFit, fit, trajectory

FALSE_ALARM = 1e-9
CURVES = 200
LEVEL = 0.8
STEPS = np.arange(100.0)
NAMES = ("start", "limit", "natural_frequency", "damping_ratio", "time_constant")
# ω in radians per step, ζ, and the noise of curves from 0.2 to 0.7, at which ζ is bounded above.
REGIMES = {
    "underdamped": (0.12, 0.3, 0.03),
    "critical": (0.12, 1.0, 0.03),
    "overdamped": (0.3, 2.0, 0.01),
}


@functools.cache
def simulated(regime: str) -> tuple[TrajectoryFit, ...]:
    """Fits of independent curves with normal noise; the generator is seeded."""
    omega, zeta, noise = REGIMES[regime]
    clean = trajectory((omega, zeta), STEPS, 0.2, 0.7)
    rng = np.random.default_rng(20_250 + len(regime))
    return tuple(
        fit(clean + rng.normal(scale=noise, size=STEPS.size), level=LEVEL) for _ in range(CURVES)
    )


def hits(regime: str, name: str, changed: Callable[[Estimate], Estimate]) -> int:
    omega, zeta, _ = REGIMES[regime]
    truth = dict(zip(NAMES, (0.2, 0.7, omega, zeta, 2 * zeta / omega), strict=True))[name]
    estimates = (changed(getattr(f, name)) for f in simulated(regime))
    return sum(e.low <= truth <= e.high for e in estimates)


def bounds() -> tuple[int, int]:
    """Hits outside of which a nominal interval falls with at most the false-alarm rate."""
    return (
        int(stats.binom.ppf(FALSE_ALARM / 2, CURVES, LEVEL)),
        int(stats.binom.isf(FALSE_ALARM / 2, CURVES, LEVEL)),
    )


def scaled(factor: float) -> Callable[[Estimate], Estimate]:
    """Intervals of another width, scaled about the estimate."""

    def change(e: Estimate) -> Estimate:
        low, high = (e.value + factor * (end - e.value) for end in (e.low, e.high))
        return Estimate(e.value, low, high)

    return change


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("name", NAMES)
def test_intervals_cover_at_their_nominal_rate(regime: str, name: str) -> None:
    low, high = bounds()
    assert low <= hits(regime, name, lambda e: e) <= high


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("name", NAMES)
def test_intervals_of_another_width_are_rejected(regime: str, name: str) -> None:
    low, high = bounds()
    assert hits(regime, name, scaled(0.5)) < low
    assert hits(regime, name, scaled(2.0)) > high


@pytest.mark.parametrize("regime", REGIMES)
def test_regimes_are_told_apart_or_left_open(regime: str) -> None:
    """A wrong word needs an interval of ζ that misses it on one side: rarer than 1 − level."""
    words = [f.regime for f in simulated(regime)]
    wrong = {"underdamped": "overdamped", "overdamped": "underdamped"}
    if regime == "critical":
        decided = sum(word != "undetermined" for word in words)
        assert decided <= stats.binom.isf(FALSE_ALARM, CURVES, 1 - LEVEL)
        return
    assert wrong[regime] not in words
    assert words.count(regime) > 0.9 * CURVES


def test_residuals_of_true_models_look_like_noise() -> None:
    """p-values of the diagnostics, over independent curves, against their nominal level."""
    fits = [f for regime in REGIMES for f in simulated(regime)]
    allowed = stats.binom.isf(FALSE_ALARM, len(fits), 0.05)
    for name in ("ljung_box_p", "runs_p", "normality_p"):
        assert sum(getattr(f.residuals, name) < 0.05 for f in fits) <= allowed, name
    assert math.isclose(float(np.mean([f.residuals.durbin_watson for f in fits])), 2, abs_tol=0.15)


def test_correlated_noise_is_found_out() -> None:
    omega, zeta, noise = REGIMES["underdamped"]
    clean = trajectory((omega, zeta), STEPS, 0.2, 0.7)
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(20):
        steps = rng.normal(scale=noise, size=STEPS.size)
        for n in range(1, steps.size):
            steps[n] += 0.7 * steps[n - 1]
        found += any("correlated" in remark for remark in fit(clean + steps).remarks)
    assert found >= 16
