"""Does a reward curve keep oscillating? Roots of an autoregression, and early warning.

Near its fixed point a run is a heavy ball with late gradients, x_{t+1} = (1+μ)x_t − μx_{t−1} −
κx_{t−τ} + noise: an autoregression. Its roots are complex or negative where the run overshoots,
and it is unstable where one of them reaches modulus 1; bounded rewards then cycle instead of
growing. A real root just below 1 is no oscillation but slow learning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from identity.diagnostics._statistics import block_means, kendall_rising

__all__ = ["OVERSHOOT", "Oscillation", "early_warning", "oscillation"]

Floats = npt.NDArray[np.float64]

OVERSHOOT = 0.5
"""Boundary of the null: each swing has half the size of the one before it."""

_LEAST_CYCLES = 4  # in the window; a slower wave cannot be told from a trend
_POINTS_PER_CYCLE = 5  # of which neighbours are averaged, so that sampling noise counts less
_SURROGATES = 499
_BURN_IN = 100
_LARGEST_SIMULATED = 0.999  # a stationary surrogate for a fitted root at or above 1


@dataclass(frozen=True)
class Oscillation:
    """The oscillating roots of the AR(2) fit.

    Attributes
    ----------
    overshoot : float
        Size of a swing relative to the one before, r^(π/θ); 0 without an oscillating root.
    overshoot_interval : tuple of float
        Bootstrap interval.
    modulus, period : float
        r per step, and the steps of a cycle; NaN without an oscillating root.
    modulus_interval : tuple of float
        Bootstrap interval of the modulus.
    p_value : float
        Of an overshoot of at most `OVERSHOOT`.
    """

    overshoot: float
    overshoot_interval: tuple[float, float]
    modulus: float
    modulus_interval: tuple[float, float]
    period: float
    p_value: float


def _detrended(series: Floats, degree: int) -> Floats:
    """Series, along the first axis, less the polynomial that fits it best."""
    basis, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, len(series)), degree + 1))
    rest: Floats = series - basis @ (basis.T @ series)
    return rest


def _fit(series: Floats) -> tuple[Floats, Floats]:
    """Least squares φ₁, φ₂ of x_t = φ₁x_{t−1} + φ₂x_{t−2}, along the last axis."""
    now, one, two = series[..., 2:], series[..., 1:-1], series[..., :-2]

    def dot(a: Floats, b: Floats) -> Floats:
        total: Floats = np.einsum("...t,...t->...", a, b)
        return total

    a, b, c = dot(one, one), dot(one, two), dot(two, two)
    u, v = dot(now, one), dot(now, two)
    det = a * c - b * b
    det = np.where(det > 0, det, np.inf)
    return (u * c - v * b) / det, (v * a - u * b) / det


def _oscillating(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Modulus and angle of the oscillating root of z² = φ₁z + φ₂; modulus 0 if there is none."""
    disc = first * first + 4 * second
    pair = disc < 0
    modulus = np.sqrt(np.where(pair, -second, 1.0))
    angle = np.arccos(np.clip(first / (2 * modulus), -1, 1))
    # Of two real roots the smaller one; it oscillates, with a cycle of two, if it is negative.
    lower = (first - np.sqrt(np.where(pair, 0.0, disc))) / 2
    modulus = np.where(pair, modulus, np.maximum(-lower, 0.0))
    return modulus, np.where(pair, angle, math.pi)


def _overshoot(modulus: Floats, angle: Floats) -> Floats:
    half_cycle = math.pi / np.maximum(angle, 1e-9)
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        kept: Floats = np.where(modulus > 0, np.exp(half_cycle * np.log(modulus)), 0.0)
    return kept


def _surrogates(
    root: tuple[float, float, float], size: int, stride: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Modulus and angle fitted to surrogates of `size` values, detrended and thinned alike.

    `root` has the modulus and the angle in the thinned series, and the other root if both are real.
    """
    modulus, angle, other = root
    first, second = _coefficients(modulus ** (1 / stride), angle / stride, other)
    noise = rng.standard_normal((_BURN_IN + size, _SURROGATES))
    path = np.zeros_like(noise)
    for t in range(2, len(path)):
        path[t] = first * path[t - 1] + second * path[t - 2] + noise[t]
    rest = _detrended(path[_BURN_IN:], 3)
    count = size // stride
    thinned = rest[size - count * stride :].reshape(count, stride, _SURROGATES).mean(axis=1)
    return _oscillating(*_fit(thinned.T))


def _coefficients(modulus: float, angle: float, other: float) -> tuple[float, float]:
    """φ₁, φ₂ of a complex pair, or of the root −modulus and another real root."""
    if angle < math.pi:
        return 2 * modulus * math.cos(angle), -modulus * modulus
    return other - modulus, modulus * other


def oscillation(series: Floats, confidence: float, seed: int) -> Oscillation:
    """AR(2) fit to the detrended series, and the test of a lasting oscillation.

    The null is an AR(2) whose oscillating roots overshoot by one half, at the fitted angle; its
    law is that of 499 surrogates, fitted in the same way. The binomial noise of a logged reward
    only lowers the fitted modulus, so that it makes the test conservative. A wave so slow that
    neighbours can be averaged is thinned to five points a cycle.
    """
    rest = _detrended(series, 3)
    nothing = Oscillation(0.0, (0.0, 0.0), math.nan, (math.nan, math.nan), math.nan, 1.0)
    largest = float(np.abs(rest).max())
    if largest <= 1e-9 * float(np.abs(series).max()):
        return nothing
    rest = rest / largest
    power = np.abs(np.fft.rfft(rest))[_LEAST_CYCLES:]
    length = series.size / (_LEAST_CYCLES + int(power.argmax()))
    stride = max(1, round(length / _POINTS_PER_CYCLE))
    thinned = block_means(rest, series.size // stride)
    fitted = _fit(thinned)
    modulus, angle = (float(v) for v in _oscillating(*fitted))
    if modulus == 0:
        return nothing
    overshoot = float(_overshoot(np.asarray(modulus), np.asarray(angle)))
    other = min(max(float(fitted[0]) + modulus, -_LARGEST_SIMULATED), _LARGEST_SIMULATED)
    boundary = OVERSHOOT ** (angle / math.pi)
    rng = np.random.default_rng(seed)
    null = _overshoot(*_surrogates((boundary, angle, other), series.size, stride, rng))
    p = (1 + int(np.count_nonzero(null >= overshoot))) / (1 + _SURROGATES)
    around = min(modulus, _LARGEST_SIMULATED)
    found = _surrogates((around, angle, other), series.size, stride, rng)
    tails = ((1 + confidence) / 2, (1 - confidence) / 2)
    kept = np.quantile(_overshoot(*found), tails)
    moduli = np.quantile(found[0], tails)
    # Reflected at the estimate: least squares finds too small a modulus, and so do surrogates.
    reflected = [max(0.0, overshoot + min(overshoot, 1.0) - float(q)) for q in kept]
    per_step = [max(0.0, modulus + around - float(q)) ** (1 / stride) for q in moduli]
    return Oscillation(
        overshoot,
        (reflected[0], reflected[1]),
        modulus ** (1 / stride),
        (per_step[0], per_step[1]),
        2 * math.pi * stride / angle,
        p,
    )


def early_warning(series: Floats, blocks: int = 8) -> dict[str, float]:
    """Kendall's τ of lag-1 autocorrelation and of variance over consecutive blocks, with p-values.

    Under a stationary law the blocks are exchangeable, so the law of τ is exact as far as blocks
    are independent.
    """
    length = series.size // blocks
    series = series / max(float(np.abs(series).max()), 1e-300)
    parts = series[series.size - length * blocks :].reshape(blocks, length)
    rest = _detrended(parts.T, 1).T
    variance = np.einsum("bt,bt->b", rest, rest) / length
    lagged = np.einsum("bt,bt->b", rest[:, 1:], rest[:, :-1]) / length
    correlation = np.divide(lagged, variance, out=np.zeros(blocks), where=variance > 0)
    found: dict[str, float] = {}
    for name, values in (("lag-1 autocorrelation", correlation), ("variance", variance)):
        tau, p = kendall_rising([float(v) for v in values])
        found[f"rising {name}: tau"], found[f"rising {name}: p"] = tau, p
    return found
