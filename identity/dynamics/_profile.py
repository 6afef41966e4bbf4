"""The least-squares oscillation of a curve, and profile-likelihood intervals of its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from identity.dynamics._laws import (
    DAMPINGS,
    Exponential,
    Floats,
    Law,
    Oscillation,
    descend,
    linearised,
    starts,
)

__all__ = ["Best", "best_exponential", "best_of", "best_oscillation", "intervals"]

# Gains that end a descent, in units of the variance of the noise: a gain of 1e-8 moves an estimate
# by 1e-4 of its standard error.
_EXACT, _ROUGH = 1e-8, 1e-4
# Ends further out than so many ranges of the curve count as unbounded.
_SPAN = 1e3
# Noise below this share of the range is not believed: rewards are logged with fewer digits.
_FINEST = 1e-8
# An endpoint is where the profile reaches its threshold within this share of its square root.
_CLOSE = 2e-3


@dataclass(frozen=True)
class Best:
    """Parameters of a law by least squares, and their sum of squares."""

    theta: Floats
    total: float


def best_of(law: Law, rewards: Floats, count: int = 2, tolerance: float = _ROUGH) -> Best:
    """The best of some descents, from the best parts of a grid."""
    free = range(2 + law.shapes)
    ends = [descend(law, rewards, s, free, tolerance) for s in starts(law, rewards, count)]
    return Best(*min(ends, key=lambda end: end[1]))


def best_exponential(rewards: Floats) -> Best:
    """The overdamped limit ζ → ∞."""
    return best_of(Exponential(), rewards)


def best_oscillation(rewards: Floats, exponential: Best) -> Best:
    """By time constant: (start, limit, log T, log ζ), with ζ = ∞ where the limit is no worse."""
    by_time, by_rate = Oscillation(by_time=True), Oscillation()
    ends = []
    for theta in starts(by_rate, rewards, 4):
        # The pair of parameters that are close to independent: ω and ζ, or T and ζ.
        law = by_time if theta[3] > 0 else by_rate
        end, total = descend(
            law, rewards, _other(theta) if law.by_time else theta, range(4), _EXACT
        )
        ends.append((end if law.by_time else _other(end), total))
    best = Best(*min(ends, key=lambda end: end[1]))
    if best.theta[3] >= DAMPINGS[1] or best.total >= exponential.total * (1 - 1e-12):
        return Best(np.append(exponential.theta, math.inf), exponential.total)
    return best


def _other(theta: Floats) -> Floats:
    """log ω to log T = log 2ζ/ω or back: the map is its own inverse."""
    result = theta.copy()
    result[2] = math.log(2) + theta[3] - theta[2]
    return result


@dataclass
class Profiles:
    """Profile likelihood of one curve: the best sum of squares with one parameter held."""

    rewards: Floats
    best: Best
    threshold: float  # how far the sum of squares may rise

    def __post_init__(self) -> None:
        self.low_point = self.best

    def interval(
        self, law: Oscillation, position: int, unbounded: tuple[bool, bool]
    ) -> tuple[float, float]:
        """Where the profile of one parameter crosses the threshold, below and above its value."""
        theta = self.best.theta.copy()
        theta[3] = min(theta[3], DAMPINGS[1])  # as good as infinity
        theta = theta if law.by_time else _other(theta)
        ends = []
        for sign, open_ended in zip((-1.0, 1.0), unbounded, strict=True):
            ends.append(
                sign * math.inf if open_ended else self._crossing(law, theta, position, sign)
            )
        return ends[0], ends[1]

    def _crossing(self, law: Oscillation, theta: Floats, position: int, sign: float) -> float:
        centre = float(theta[position])
        free = [n for n in range(4) if n != position]
        wanted = math.sqrt(self.threshold)
        here = theta

        def height(value: float) -> float:
            nonlocal here
            guess = here + (value - here[position]) * self._tangent(law, here, position)
            here, total = descend(law, self.rewards, guess, free, _ROUGH)
            if total < self.low_point.total:
                self.low_point = Best(here if law.by_time else _other(here), total)
            return math.sqrt(max(total - self.best.total, 0.0)) - wanted

        ends = (-_SPAN, _SPAN) if position < 2 else law.box(self.rewards.size)[position - 2]
        step = sign * self._scale(law, theta, position)
        inner, inner_height = centre, -wanted
        while True:
            outer = inner + step
            if not ends[0] < outer < ends[1]:
                return sign * math.inf
            outer_height = height(outer)
            if outer_height >= 0:
                break
            # The square root of the rise is close to a straight line.
            slope = (outer_height - inner_height) / (outer - inner)
            inner, inner_height = outer, outer_height
            ahead = -outer_height / slope * 1.05 if slope * sign > 0 else 3 * step
            step = sign * min(max(abs(ahead), 0.05 * abs(step)), 4 * abs(step))
        return _illinois(height, (inner, inner_height), (outer, outer_height), _CLOSE * wanted)

    def _normal(self, law: Oscillation, theta: Floats) -> tuple[Floats, Floats]:
        """JᵀJ, scaled to a unit diagonal, and the scales.

        With a ridge: moving a logarithm by 2, or an end by `_SPAN`, costs as much as the threshold
        even where the curve does not respond at all.
        """
        columns = linearised(law, self.rewards, theta)[1]
        stiff = np.asarray([_SPAN, _SPAN, 2.0, 2.0]) ** -2 * self.threshold
        normal = columns.T @ columns + np.diag(stiff)
        scales = np.sqrt(normal.diagonal())
        return normal / np.outer(scales, scales) + 1e-12 * np.eye(4), scales

    def _scale(self, law: Oscillation, theta: Floats, position: int) -> float:
        """Half the width of the interval if the model were linear."""
        normal, scales = self._normal(law, theta)
        variance = float(np.linalg.inv(normal)[position, position]) / scales[position] ** 2
        return min(math.sqrt(self.threshold * variance), 1.0)

    def _tangent(self, law: Oscillation, theta: Floats, position: int) -> Floats:
        """How the other parameters follow one, to first order along the profile."""
        normal, scales = self._normal(law, theta)
        others = [n for n in range(4) if n != position]
        follow = np.linalg.solve(normal[np.ix_(others, others)], normal[others, position])
        direction = np.ones(4)
        direction[others] = -follow * scales[position] / scales[others]
        return direction


def _illinois(
    function: Callable[[float], float],
    low: tuple[float, float],
    high: tuple[float, float],
    close: float,
) -> float:
    """Where the function is zero within `close`, by regula falsi that halves a stale end."""
    (a, fa), (b, fb) = low, high
    if abs(fb) <= close:
        return b
    for _ in range(40):
        c = b - fb * (b - a) / (fb - fa)
        fc = function(c)
        if abs(fc) <= close:
            return c
        if fc * fb < 0:
            a, fa = b, fb
        else:
            fa /= 2
        b, fb = c, fc
    return b


@dataclass(frozen=True)
class Intervals:
    """Of (start, limit, ω, ζ, T), shape parameters still as logarithms; the best they belong to."""

    best: Best
    start: tuple[float, float]
    limit: tuple[float, float]
    log_omega: tuple[float, float]
    log_zeta: tuple[float, float]
    log_time: tuple[float, float]


def intervals(rewards: Floats, best: Best, exponential: Best, quantile: float) -> Intervals:
    """All profile intervals; `quantile` is that of F(1, n − 4). Starts over where a profile finds
    a better optimum than the descents did."""
    for _ in range(4):
        spread = max(best.total / (rewards.size - 4), _FINEST**2)
        profiles = Profiles(rewards, best, spread * quantile)
        # Whether ζ may be infinite: the exponential is that limit.
        endless = exponential.total - best.total <= profiles.threshold
        by_time, by_rate = Oscillation(by_time=True), Oscillation()
        log_time = profiles.interval(by_time, 2, (False, False))
        log_omega = profiles.interval(by_rate, 2, (False, endless))
        limit = profiles.interval(by_time, 1, (False, False))
        if math.isinf(log_time[1]) or math.isinf(log_omega[0]):
            # Still on its way: only the box of the search has bounded the limit.
            falls = best.theta[1] < best.theta[0]
            limit = (-math.inf, limit[1]) if falls else (limit[0], math.inf)
        # ζ near independent of what is held with it.
        law = by_time if best.theta[3] > 0 else by_rate
        log_zeta = profiles.interval(law, 3, (False, endless))
        if math.isinf(log_zeta[0]):
            log_time = (-math.inf, log_time[1])
        start = profiles.interval(by_time, 0, (False, False))
        found = Intervals(best, start, limit, log_omega, log_zeta, log_time)
        low = profiles.low_point
        if low.total >= best.total * (1 - 1e-6):
            return found
        best = Best(*descend(by_time, rewards, low.theta, range(4), _EXACT))
    return found
