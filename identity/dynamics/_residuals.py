"""What is left of a curve after a fit: whether it looks like independent noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from identity.dynamics._laws import Floats

__all__ = ["Residuals", "residuals_of"]


@dataclass(frozen=True)
class Residuals:
    """Diagnostics of residuals e_0 … e_{n−1}; p-values are asymptotic.

    Attributes
    ----------
    lag1_autocorrelation : float
        Σ e_t e_{t+1}/Σ e_t².
    durbin_watson : float
        Σ(e_{t+1} − e_t)²/Σ e_t²: 2 for independent ones, towards 0 for slow drifts.
    ljung_box, ljung_box_p : float
        n(n + 2)Σ r_k²/(n − k) over min(10, n//5) lags, and its p-value (chi-squared).
    runs_z, runs_p : float
        Standardised number of runs of one sign (Wald–Wolfowitz), and its two-sided p-value.
    jarque_bera, normality_p : float
        n(skewness²/6 + (kurtosis − 3)²/24), and its p-value (chi-squared, 2).
    """

    lag1_autocorrelation: float
    durbin_watson: float
    ljung_box: float
    ljung_box_p: float
    runs_z: float
    runs_p: float
    jarque_bera: float
    normality_p: float


def residuals_of(residuals: Floats, special: Any) -> Residuals:
    """Diagnostics; `special` is scipy.special. Residuals of a perfect fit count as noise."""
    n = residuals.size
    e = residuals / max(float(np.abs(residuals).max()), 1e-300)
    total = max(float(e @ e), 1e-300)
    lags = min(10, n // 5)
    correlations = [float(e[k:] @ e[:-k]) / total for k in range(1, lags + 1)]
    box = n * (n + 2) * sum(r * r / (n - k) for k, r in enumerate(correlations, start=1))
    steps = np.diff(e)
    z = _runs(e)
    deviations = e - e.mean()
    variance = max(float(np.mean(deviations**2)), 1e-30)
    skewness = float(np.mean(deviations**3)) / variance**1.5
    excess = float(np.mean(deviations**4)) / variance**2 - 3
    bera = n * (skewness**2 / 6 + excess**2 / 24)
    return Residuals(
        lag1_autocorrelation=correlations[0],
        durbin_watson=float(steps @ steps) / total,
        ljung_box=box,
        ljung_box_p=float(special.chdtrc(lags, box)),
        runs_z=z,
        runs_p=math.erfc(abs(z) / math.sqrt(2)),
        jarque_bera=bera,
        normality_p=math.exp(-bera / 2),
    )


def _runs(e: Floats) -> float:
    """Wald–Wolfowitz: runs of one sign, less their mean, over their standard deviation."""
    signs = e[e != 0] > 0
    n, up = signs.size, int(signs.sum())
    down = n - up
    if not up or not down or n < 3:
        return 0.0
    runs = 1 + int(np.count_nonzero(signs[1:] != signs[:-1]))
    mean = 2 * up * down / n + 1
    variance = (mean - 1) * (mean - 2) / (n - 1)
    return (runs - mean) / math.sqrt(variance) if variance > 0 else 0.0
