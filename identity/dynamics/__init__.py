"""Closed-form training curves: heavy ball with stale gradients, success rates, cold starts.

Near a fixed point the mean of an update with momentum μ, learning rate η, restoring force K and
gradients τ steps old follows x_{t+1} = (1 + μ)x_t − μx_{t−1} − κx_{t−τ}, κ = ηK. `Oscillator`
reduces it to second order; `regime`, `oscillation_onset` and `refresh_threshold` speak of the
recursion itself.

Conventions, beside those of `identity.expectation` for arrays, dtypes and integers:

* **Time** is in optimiser steps and κ dimensionless, so that frequencies are in radians per step.
* **Numbers** (constants of an oscillator, thresholds, starts and ends of a cold start) are of
  Python or NumPy, and static under ``jit``.
* **Arrays** go into `trajectory`, `stationary_variance` and `success_recursion`.
"""

from identity.dynamics.cold_start import cold_start_time
from identity.dynamics.fitting import Estimate, LawFit, Residuals, TrajectoryFit, fit
from identity.dynamics.noise import stationary_variance
from identity.dynamics.oscillator import Oscillator, regime
from identity.dynamics.success import FixedPoint, success_fixed_point, success_recursion
from identity.dynamics.threshold import oscillation_onset, refresh_threshold
from identity.dynamics.trajectory import recursion, trajectory

__all__ = [
    "Estimate",
    "FixedPoint",
    "LawFit",
    "Oscillator",
    "Residuals",
    "TrajectoryFit",
    "cold_start_time",
    "fit",
    "oscillation_onset",
    "recursion",
    "refresh_threshold",
    "regime",
    "stationary_variance",
    "success_fixed_point",
    "success_recursion",
    "trajectory",
]
