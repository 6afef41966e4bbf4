"""The least-squares oscillation of a curve, and profile-likelihood intervals of its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from identity.dynamics._laws import (
    DAMPINGS,
    Floats,
    Law,
    Oscillation,
    descend,
    linearised,
    starts,
)

__all__ = ["Best", "Intervals", "best_of", "best_oscillation", "intervals"]

Ends = tuple[float, float]

# Gains that end a descent, in units of the variance of the noise: a gain of 1e-8 moves an estimate
# by 1e-4 of its standard error.
_EXACT, _ROUGH = 1e-8, 1e-4
# Ends further out than so many ranges of the curve count as unbounded.
_SPAN = 1e3
# Noise below this share of the range is not believed: rewards are logged with fewer digits.
_FINEST = 1e-8
# An endpoint is where the profile reaches its threshold within this share of its square root.
_CLOSE = 2e-3
_RATE, _TIME, _BOTH = Oscillation("rate"), Oscillation("time"), Oscillation("both")


@dataclass(frozen=True)
class Best:
    """Parameters of a law by least squares, and their sum of squares.

    Those of an oscillation are (start, limit, log T, log ζ), and ζ may be infinite.
    """

    theta: Floats
    total: float


def best_of(law: Law, rewards: Floats) -> Best:
    """The better of two descents, from the best parts of a grid."""
    free = range(2 + law.shapes)
    ends = [descend(law, rewards, s, free, _ROUGH) for s in starts(law, rewards, 2)]
    return Best(*min(ends, key=lambda end: end[1]))


def best_oscillation(rewards: Floats, exponential: Best) -> Best:
    """The best of four descents; ζ = ∞ where that limit is no worse."""
    ends = []
    for theta in starts(_RATE, rewards, 4):
        canonical = _canonical(_RATE, theta)
        law = _independent(canonical)
        end, total = descend(law, rewards, _in(law, canonical), range(4), _EXACT)
        ends.append((_canonical(law, end), total))
    best = Best(*min(ends, key=lambda end: end[1]))
    if best.theta[3] >= DAMPINGS[1] - 1e-3 or best.total >= exponential.total * (1 - 1e-12):
        return Best(np.append(exponential.theta, math.inf), exponential.total)
    return best


def _independent(theta: Floats) -> Oscillation:
    """The coordinates that are closest to independent: T and ζ of slow decays, else ω and ζ."""
    return _TIME if theta[3] > 0 else _RATE


def _canonical(law: Oscillation, theta: Floats) -> Floats:
    return np.asarray([*theta[:2], *law.to_shape(theta[2:].tolist())])


def _in(law: Oscillation, canonical: Floats) -> Floats:
    return np.asarray([*canonical[:2], *law.from_shape(*canonical[2:].tolist())])


class Profile:
    """How far the sum of squares must rise if one parameter is held.

    `found` is the best point seen on the way, which may be better than `best`.
    """

    def __init__(self, rewards: Floats, best: Best, threshold: float) -> None:
        self.rewards, self.best, self.threshold = rewards, best, threshold
        self.found = best

    def interval(self, law: Oscillation, position: int, *, endless: bool = False) -> Ends:
        """Where the rise reaches the threshold, below and above the best value; infinite where it
        does not within the box of the search, and above if `endless`."""
        theta = _in(law, self.best.theta)
        below = self._crossing(law, theta, position, -1.0)
        return below, math.inf if endless else self._crossing(law, theta, position, 1.0)

    def _crossing(self, law: Oscillation, theta: Floats, position: int, sign: float) -> float:
        free = [n for n in range(4) if n != position]
        wanted = math.sqrt(self.threshold)
        here = theta

        def height(value: float) -> float:
            nonlocal here
            guess = here + (value - here[position]) * self._tangent(law, here, position)
            guess[position] = value
            here, total = descend(law, self.rewards, guess, free, _ROUGH)
            if total < self.found.total:
                self.found = Best(_canonical(law, here), total)
            return math.sqrt(max(total - self.best.total, 0.0)) - wanted

        box = ((-_SPAN, _SPAN), (-_SPAN, _SPAN), *law.box(self.rewards.size))[position]
        bound = box[0] if sign < 0 else box[1]
        longest = _reach(law)[position]
        step = sign * min(self._scale(law, theta, position), longest)
        inner, inner_height = float(theta[position]), -wanted
        while True:
            if (bound - inner) * sign <= 0:
                return sign * math.inf
            outer = min(inner + step, bound) if sign > 0 else max(inner + step, bound)
            outer_height = height(outer)
            if outer_height >= 0:
                break
            # The square root of the rise is close to a straight line.
            slope = (outer_height - inner_height) / (outer - inner)
            inner, inner_height = outer, outer_height
            ahead = -1.05 * outer_height / abs(slope) if slope * sign > 0 else 3 * abs(step)
            step = sign * min(max(ahead, 0.05 * abs(step)), 4 * abs(step), longest)
        return _illinois(height, (inner, inner_height), (outer, outer_height), _CLOSE * wanted)

    def _normal(self, law: Oscillation, theta: Floats) -> tuple[Floats, Floats]:
        """JᵀJ, scaled to a unit diagonal, and the scales.

        With a ridge: the longest step of a parameter costs as much as the threshold even where
        the curve does not respond at all.
        """
        columns = linearised(law, self.rewards, theta)[1]
        normal = columns.T @ columns + np.diag(self.threshold / _reach(law) ** 2)
        scales = np.sqrt(normal.diagonal())
        return normal / np.outer(scales, scales) + 1e-12 * np.eye(4), scales

    def _scale(self, law: Oscillation, theta: Floats, position: int) -> float:
        """Half the width of the interval if the model were linear."""
        normal, scales = self._normal(law, theta)
        variance = float(np.linalg.inv(normal)[position, position]) / scales[position] ** 2
        return math.sqrt(self.threshold * variance)

    def _tangent(self, law: Oscillation, theta: Floats, position: int) -> Floats:
        """How the other parameters follow one, to first order along the profile."""
        normal, scales = self._normal(law, theta)
        others = [n for n in range(4) if n != position]
        follow = np.linalg.solve(normal[np.ix_(others, others)], normal[others, position])
        direction = np.ones(4)
        direction[others] = -follow * scales[position] / scales[others]
        return direction


def _reach(law: Oscillation) -> Floats:
    """The longest step of each parameter."""
    return np.asarray([_SPAN, _SPAN, 1.5, 1.5 if law.coordinates == "both" else 0.25])


def _illinois(function: Callable[[float], float], low: Ends, high: Ends, close: float) -> float:
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
    """Of (start, limit, ω, ζ, T), the last three as logarithms; the best that they belong to."""

    best: Best
    start: Ends
    limit: Ends
    log_omega: Ends
    log_zeta: Ends
    log_time: Ends


def intervals(rewards: Floats, best: Best, exponential: Best, quantile: float) -> Intervals:
    """All profile intervals; `quantile` is that of F(1, n − 4). Starts over where a profile finds
    a better optimum than the descents did."""
    for _ in range(4):
        spread = max(best.total / (rewards.size - 4), _FINEST**2)
        profile = Profile(rewards, best, spread * quantile)
        found = _intervals(profile, exponential)
        if profile.found.total >= best.total * (1 - 1e-6):
            break
        law = _independent(profile.found.theta)
        end, total = descend(law, rewards, _in(law, profile.found.theta), range(4), _EXACT)
        if total >= best.total:
            break
        best = Best(_canonical(law, end), total)
    return found


def _intervals(profile: Profile, exponential: Best) -> Intervals:
    best, law = profile.best, _independent(profile.best.theta)
    # Whether ζ may be infinite: the exponential is that limit.
    endless = exponential.total - best.total <= profile.threshold
    log_zeta = _log_zeta(profile.interval(law, 3, endless=endless))
    if law is _TIME:
        log_omega = profile.interval(_BOTH, 2, endless=endless)
        log_time = profile.interval(_TIME, 2)
    else:
        log_omega = profile.interval(_RATE, 2, endless=endless)
        log_time = profile.interval(_BOTH, 3)
    if math.isinf(log_zeta[0]):
        log_time = (-math.inf, log_time[1])
    start, limit = profile.interval(law, 0), profile.interval(law, 1)
    if math.isinf(log_time[1]) or math.isinf(log_omega[0]):
        # Still on its way: only the box of the search has bounded the limit.
        falls = best.theta[1] < best.theta[0]
        limit = (-math.inf, limit[1]) if falls else (limit[0], math.inf)
    return Intervals(best, start, limit, log_omega, log_zeta, log_time)


def _log_zeta(ends: Ends) -> Ends:
    """From v = ζ/√(1 + ζ²)."""
    low, high = (v if math.isinf(v) else _RATE.to_shape((0.0, v))[1] for v in ends)
    return low, high
