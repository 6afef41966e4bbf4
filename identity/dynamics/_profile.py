"""The least-squares oscillation of a curve, and profile-likelihood intervals of its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from identity.dynamics._laws import Exponential, Floats, Law, Oscillation, descend, linearised, starts

__all__ = ["Best", "best_exponential", "best_of", "best_oscillation", "intervals"]

# Gains that end a descent, in units of the variance of the noise: a gain of 1e-8 moves an estimate
# by 1e-4 of its standard error.
_EXACT, _ROUGH = 1e-8, 1e-4
# Log ζ within ±_SHAPE is told from 0 and infinity; ends within _SPAN ranges of the curve.
_SHAPE = math.log(1e3)
_SPAN = 1e3
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
    law = Oscillation()
    best = best_of(law, rewards, 4, _EXACT)
    start, limit, log_omega, log_zeta = best.theta.tolist()
    if log_zeta > _SHAPE or best.total >= exponential.total * (1 - 1e-12):
        return Best(np.append(exponential.theta, math.inf), exponential.total)
    log_time = math.log(2) + log_zeta - log_omega
    return Best(np.asarray([start, limit, log_time, log_zeta]), best.total)


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
        theta[3] = min(theta[3], _SHAPE)  # as good as infinity
        if not law.by_time:
            theta[2] = math.log(2) + theta[3] - theta[2]
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
            guess = here.copy()
            guess[position] = value
            here, total = descend(law, self.rewards, guess, free, _ROUGH)
            if total < self.low_point.total:
                self.low_point = Best(_by_time(law, here), total)
            return math.sqrt(max(total - self.best.total, 0.0)) - wanted

        reach = _SPAN if position < 2 else _SHAPE + 10
        step = sign * self._scale(law, theta, position)
        inner, inner_height = centre, -wanted
        while True:
            outer = inner + step
            if abs(outer - (0.0 if position < 2 else centre)) > reach:
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

    def _scale(self, law: Oscillation, theta: Floats, position: int) -> float:
        """Half the width of the interval if the model were linear."""
        columns = linearised(law, self.rewards, theta)[1]
        norms = np.linalg.norm(columns, axis=0) + 1e-12
        scaled = columns / norms
        normal = scaled.T @ scaled + 1e-12 * np.eye(4)
        variance = float(np.linalg.inv(normal)[position, position]) / norms[position] ** 2
        width = math.sqrt(self.threshold * variance)
        return min(max(width, 1e-12), 1.0)


def _by_time(law: Oscillation, theta: Floats) -> Floats:
    result = theta.copy()
    if not law.by_time:
        result[2] = math.log(2) + theta[3] - theta[2]
    return result


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
        spread = best.total / (rewards.size - 4)
        profiles = Profiles(rewards, best, max(spread * quantile, 1e-26 * rewards.size))
        # Whether ζ may be infinite: the exponential is that limit.
        endless = exponential.total - best.total <= profiles.threshold
        by_time, by_rate = Oscillation(by_time=True), Oscillation()
        found = Intervals(
            best,
            profiles.interval(by_time, 0, (False, False)),
            profiles.interval(by_time, 1, (False, False)),
            profiles.interval(by_rate, 2, (False, endless)),
            profiles.interval(by_time, 3, (False, endless)),
            profiles.interval(by_time, 2, (False, False)),
        )
        low = profiles.low_point
        if low.total >= best.total * (1 - 1e-6):
            return found
        best = Best(*descend(by_time, rewards, low.theta, range(4), _EXACT))
    return found
