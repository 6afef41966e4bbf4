"""Tests for short, autocorrelated series of a training run, with their null distributions.

Two questions are kept apart. *Does the process drift?* is asked of the law of the run: a series
may wander far without any drift, so the null is a random walk, the most persistent series
without one (`drift_test`). *Did the level change on this run?* is asked of the run itself: its
policy went where it went, and only the sampling of each step is noise (`level_test`).
Everything is deterministic: the laws are Student's t and the exact law of Kendall's τ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

__all__ = [
    "Estimate",
    "block_means",
    "drift_test",
    "holm",
    "kendall_rising",
    "level_test",
    "mean_test",
    "student_quantile",
    "student_tail",
]

Floats = npt.NDArray[np.float64]

# Where the standard error falls below this multiple of the values, they are constant but for
# rounding.
_CONSTANT = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A value, its interval, and the probability of one as extreme under the null.

    Attributes
    ----------
    value : float
        The estimate.
    interval : tuple of float
        Two-sided, at the confidence asked for.
    p_value : float
        One-sided.
    """

    value: float
    interval: tuple[float, float]
    p_value: float


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function, by Lentz's method; x < (a+1)/(a+b+2)."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + numerator * d
            c = 1 + numerator / c
            d = 1 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, 1 - x) / b


def student_tail(t: float, degrees: float) -> float:
    """P(T ≥ t) for Student's t; the relative error stays small far out in the upper tail."""
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    half = 0.5 * _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))
    return half if t >= 0 else 1 - half


@cache
def student_quantile(tail: float, degrees: float) -> float:
    """The t with P(T ≥ t) = tail, for 0 < tail ≤ 1/2, by bisection."""
    low, high = 0.0, 1.0
    while student_tail(high, degrees) > tail:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        if student_tail(middle, degrees) > tail:
            low = middle
        else:
            high = middle
    return high


def _against(
    value: float, error: float, null: float, degrees: float, confidence: float
) -> Estimate:
    """One-sided test of ``value ≤ null``, and the interval around the value."""
    if error == 0:
        p = 0.0 if value > null else 1.0
        return Estimate(value, (value, value), p)
    wide = student_quantile((1 - confidence) / 2, degrees) * error
    p = student_tail((value - null) / error, degrees)
    return Estimate(value, (value - wide, value + wide), p)


def block_means(series: Floats, blocks: int) -> Floats:
    """Means of consecutive blocks of equal length; the first few values are left out if need be."""
    length = series.size // blocks
    kept = series[series.size - length * blocks :]
    means: Floats = kept.reshape(blocks, length).mean(axis=1)
    return means


@cache
def _walk_whitening(blocks: int, length: int) -> Floats:
    """Inverse Cholesky factor of the covariance of a random walk's increments of block means.

    With unit steps, increments of consecutive means over n values have variance (2n² + 1)/(3n);
    neighbours have covariance (n² − 1)/(6n); others are independent.
    """
    n = float(length)
    size = blocks - 1
    covariance = np.eye(size) * (2 * n * n + 1) / (3 * n)
    beside = (n * n - 1) / (6 * n)
    covariance += beside * (np.eye(size, k=1) + np.eye(size, k=-1))
    whitening: Floats = np.linalg.inv(np.linalg.cholesky(covariance))
    return whitening


def drift_test(series: Floats, blocks: int, confidence: float = 0.95) -> Estimate:
    """Drift per value of the series, and the p-value of a drift that is not positive.

    Generalised least squares on the increments of block means. If the series without its drift
    is a Gaussian random walk, the ratio has exactly Student's law with ``blocks − 2`` degrees of
    freedom. For a less persistent series (stationary noise around a line, or a walk seen through
    noise) the increments of block means partly cancel, their spread overstates the error of the
    drift, and the test is conservative.
    """
    means = block_means(series, blocks)
    length = series.size // blocks
    whiten = _walk_whitening(blocks, length)
    one = whiten @ np.full(blocks - 1, float(length))
    seen = whiten @ np.diff(means)
    norm = float(one @ one)
    drift = float(one @ seen) / norm
    rest = seen - drift * one
    degrees = blocks - 2
    error = math.sqrt(float(rest @ rest) / degrees / norm)
    scale = float(np.abs(means).max())
    if error * length * blocks <= _CONSTANT * scale:
        error = 0.0
    if abs(drift) * length * blocks <= _CONSTANT * scale:
        drift = 0.0
    return _against(drift, error, 0.0, degrees, confidence)


def mean_test(series: Floats, null: float, blocks: int = 12, confidence: float = 0.95) -> Estimate:
    """Mean of the series, and the p-value of a mean of at most `null`.

    Student's t on block means, whose spread also counts a correlation that is shorter than a
    block.
    """
    blocks = min(blocks, series.size)
    means = block_means(series, blocks)
    value = float(means.mean())
    error = float(means.std(ddof=1)) / math.sqrt(blocks)
    if error <= _CONSTANT * float(np.abs(means).max()):
        error = 0.0
    return _against(value, error, null, blocks - 1, confidence)


def level_test(
    before: Floats, after: Floats, blocks: int = 8, confidence: float = 0.95
) -> Estimate:
    """Mean of `after` less mean of `before`, and the p-value of "not above 0".

    Welch's t on block means, with the degrees of freedom of the part that has fewer: never more
    than Welch's. The noise is what is left of block means beside a straight line, so that a trend
    within a part, which is no noise, does not hide the change.
    """
    means = [block_means(part, min(blocks, part.size)) for part in (before, after)]
    value = float(means[1].mean() - means[0].mean())
    variance = 0.0
    for mean in means:
        line, _ = np.linalg.qr(np.vander(np.arange(mean.size, dtype=float), 2))
        rest = mean - line @ (line.T @ mean)
        variance += float(rest @ rest) / (mean.size - 2) / mean.size
    error = math.sqrt(variance)
    scale = max(float(np.abs(mean).max()) for mean in means)
    if error <= _CONSTANT * scale:
        error = 0.0
    if abs(value) <= _CONSTANT * scale:
        value = 0.0
    return _against(value, error, 0.0, min(mean.size for mean in means) - 2, confidence)


@cache
def _inversions(size: int) -> tuple[int, ...]:
    """How many permutations of `size` things have 0, 1, … inversions."""
    counts = [1]
    for n in range(2, size + 1):
        counts = [
            sum(counts[k - j] for j in range(n) if 0 <= k - j < len(counts))
            for k in range(len(counts) + n - 1)
        ]
    return tuple(counts)


def kendall_rising(values: Sequence[float]) -> tuple[float, float]:
    """Kendall's τ of the values with their order, and P(τ at least that large) if exchangeable.

    Exact: a uniform permutation has the law of inversions. Ties count as neither rising nor
    falling, which can only raise the p-value.
    """
    size = len(values)
    pairs = [(values[i], values[j]) for i in range(size) for j in range(i + 1, size)]
    rising = sum(later > earlier for earlier, later in pairs)
    falling = sum(later < earlier for earlier, later in pairs)
    law = _inversions(size)
    p = sum(law[: len(pairs) - rising + 1]) / math.factorial(size)
    return (rising - falling) / len(pairs), p


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: none is wrong with probability above α."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
