"""The three laws that `fit` compares, each with its derivatives, and a least-squares descent.

A law is R(t) = start·(1 − f(t; x)) + limit·f(t; x) with f of shape parameters x, on a time scale of
one for the whole curve. A vector of parameters is (start, limit, *x).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "DAMPINGS",
    "Exponential",
    "Floats",
    "Law",
    "Logistic",
    "Oscillation",
    "descend",
    "linearised",
    "starts",
]

Floats = npt.NDArray[np.float64]

# Rows of the tables of starts use at most so many points of the curve.
_COARSE = 2000
# Log ζ within this is told from 0 and from infinity; so is a time that is long for the curve.
DAMPINGS = (math.log(1e-4), math.log(1e4))
_LONGEST = math.log(1e2)


class Law(Protocol):
    """A family of curves by its shape parameters."""

    def __hash__(self) -> int: ...

    @property
    def shapes(self) -> int:
        """How many shape parameters."""
        ...

    def share(self, x: Sequence[float], t: Floats) -> tuple[Floats, list[Floats]]:
        """f(t; x) and its derivatives by x."""
        ...

    def grid(self, steps: int) -> list[tuple[float, ...]]:
        """Shape parameters to start from, for a curve of so many steps."""
        ...

    def box(self, steps: int) -> tuple[tuple[float, float], ...]:
        """The range of each shape parameter; beyond is 0 or infinity for all that can be seen."""
        ...


@dataclass(frozen=True)
class Oscillation:
    """Two of log ω, log T (T = 2ζ/ω) and v = ζ/√(1 + ζ²), as `coordinates` says.

    v is linear in ζ at 0 and in ζ^−2 at infinity, as the curve is: no descent gets stuck there.
    """

    coordinates: str = "rate"  # (log ω, v); "time": (log T, v); "both": (log ω, log T)
    shapes: ClassVar[int] = 2

    def from_shape(self, log_time: float, log_zeta: float) -> tuple[float, float]:
        """x from log T and log ζ."""
        # Beyond the range of ζ the curve keeps ω where that is small, and T where it is large.
        raised = max(DAMPINGS[0] - log_zeta, 0.0)
        log_zeta, log_time = min(log_zeta + raised, DAMPINGS[1]), log_time + raised
        log_omega = math.log(2) + log_zeta - log_time
        if self.coordinates == "both":
            return log_omega, log_time
        v = 1 / math.sqrt(1 + math.exp(-2 * log_zeta))
        return (log_omega if self.coordinates == "rate" else log_time), v

    def to_shape(self, x: Sequence[float]) -> tuple[float, float]:
        """log T and log ζ from x."""
        if self.coordinates == "both":
            return x[1], x[0] + x[1] - math.log(2)
        log_zeta = math.log(x[1]) - 0.5 * math.log((1 - x[1]) * (1 + x[1]))
        if self.coordinates == "rate":
            return math.log(2) + log_zeta - x[0], log_zeta
        return x[0], log_zeta

    def share(self, x: Sequence[float], t: Floats) -> tuple[Floats, list[Floats]]:
        log_time, log_zeta = self.to_shape(x)
        zeta, omega = math.exp(log_zeta), 2 * math.exp(log_zeta - log_time)
        s = omega * t
        square = (zeta - 1) * (zeta + 1)
        delta = math.sqrt(abs(square))
        if square < 0:
            decay = np.exp(-zeta * s)
            impulse, cosine = decay * np.sin(delta * s) / delta, decay * np.cos(delta * s)
        else:
            decay = np.exp(-s / (zeta + delta))
            fall = -np.expm1(-2 * delta * s)
            impulse = decay * fall / (2 * delta) if delta else decay * s
            cosine = decay * (1 - fall / 2)
        f = 1 - cosine - zeta * impulse
        if abs(square) > 1e-4:
            by_zeta = (s * cosine - impulse) / square
        else:
            x2 = square * s * s
            by_zeta = np.exp(-zeta * s) * s**3 * (1 / 3 + x2 * (1 / 30 + x2 / 840))
        # By the logarithms of ω and ζ, each with the other held.
        by_omega = s * impulse
        by_zeta = -zeta * by_zeta
        if self.coordinates == "both":
            return f, [by_omega + by_zeta, by_zeta]
        bend = (1 + zeta * zeta) ** 1.5 / zeta
        if self.coordinates == "rate":
            return f, [by_omega, bend * by_zeta]
        return f, [-by_omega, bend * (by_zeta + by_omega)]

    def grid(self, steps: int) -> list[tuple[float, ...]]:
        fastest = math.log(math.pi * (steps - 1))
        found: list[tuple[float, ...]] = []
        for zeta in (0.03, 0.1, 0.25, 0.5, 0.8, 1.2, 2.5, 8.0):
            # A curve of that damping lasts for 1/ζ radians, over which phases have to agree.
            width = min(0.5, 0.2 + zeta / 2) if zeta > 0.3 else 2 * zeta
            count = math.ceil((fastest - math.log(0.3)) / width) + 1
            for rate in np.linspace(math.log(0.3), fastest, count).tolist():
                log_time = math.log(2 * zeta / max(1.0, 2 * zeta)) - rate
                found.append(self.from_shape(log_time, math.log(zeta)))
        return found

    def box(self, steps: int) -> tuple[tuple[float, float], ...]:
        quick = math.log(1e-2 / steps)
        rates = (-_LONGEST, DAMPINGS[1] - quick)
        times = (quick + DAMPINGS[0], _LONGEST)
        dampings = tuple(1 / math.sqrt(1 + math.exp(-2 * end)) for end in DAMPINGS)
        if self.coordinates == "both":
            return rates, times
        return (rates if self.coordinates == "rate" else times), (dampings[0], dampings[1])


@dataclass(frozen=True)
class Exponential:
    """x = (log T,): the overdamped limit."""

    shapes: ClassVar[int] = 1

    def share(self, x: Sequence[float], t: Floats) -> tuple[Floats, list[Floats]]:
        s = t * math.exp(-x[0])
        return -np.expm1(-s), [-s * np.exp(-s)]

    def grid(self, steps: int) -> list[tuple[float, ...]]:
        times = np.linspace(-math.log(2 * steps), 2.0, 30)
        return [(time,) for time in times.tolist()]

    def box(self, steps: int) -> tuple[tuple[float, float], ...]:
        return ((math.log(1e-2 / steps), _LONGEST),)


@dataclass(frozen=True)
class Logistic:
    """x = (midpoint, log width): start and limit are its two asymptotes."""

    shapes: ClassVar[int] = 2

    def share(self, x: Sequence[float], t: Floats) -> tuple[Floats, list[Floats]]:
        inverse = math.exp(-x[1])
        z = (t - x[0]) * inverse
        f = 0.5 * (1 + np.tanh(z / 2))
        slope = f * (0.5 - 0.5 * np.tanh(z / 2))
        return f, [-inverse * slope, -z * slope]

    def grid(self, steps: int) -> list[tuple[float, ...]]:
        middles = np.linspace(-0.5, 1.5, 21).tolist()
        widths = np.linspace(-math.log(2 * steps), 0.5, 10).tolist()
        return [(middle, width) for middle in middles for width in widths]

    def box(self, steps: int) -> tuple[tuple[float, float], ...]:
        return (-20.0, 21.0), (math.log(1e-2 / steps), _LONGEST)


@functools.lru_cache(maxsize=6)
def _table(law: Law, steps: int) -> tuple[Floats, Floats, Floats]:
    """Shapes of the grid, and their curves, centred and of unit norm, on a thinned time axis."""
    t = _times(steps)[:: max(1, -(-steps // _COARSE))]
    shapes = law.grid(steps)
    rows = np.stack([law.share(x, t)[0] for x in shapes])
    rows -= rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(shapes), rows / np.maximum(norms, 1e-300), t


def _times(steps: int) -> Floats:
    return np.arange(steps) / (steps - 1)


def starts(law: Law, rewards: Floats, count: int) -> list[Floats]:
    """Parameters from which to descend: the best shapes of a grid, in different parts of it."""
    steps = rewards.size
    shapes, rows, t = _table(law, steps)
    thin = rewards[:: max(1, -(-steps // _COARSE))]
    explained = (rows @ (thin - thin.mean())) ** 2
    chosen: list[Floats] = []
    order = np.argsort(-explained)
    for index in order.tolist():
        if all(np.abs(shapes[index] - other).max() > 0.7 for other in chosen):
            chosen.append(shapes[index])
        if len(chosen) == count:
            break
    found = []
    for x in chosen:
        f = law.share(x.tolist(), t)[0]
        design = np.stack([1 - f, f], axis=1)
        ends = np.linalg.lstsq(design, thin, rcond=1e-10)[0]
        found.append(np.concatenate([ends, x]))
    return found


def linearised(law: Law, rewards: Floats, theta: Floats) -> tuple[Floats, Floats]:
    """Residuals and the Jacobian of the curve, columns in the order of the parameters."""
    start, limit, *x = theta.tolist()
    f, slopes = law.share(x, _times_of(rewards.size))
    rise = limit - start
    jacobian = np.empty((rewards.size, 2 + law.shapes))
    jacobian[:, 0] = 1 - f
    jacobian[:, 1] = f
    for n, slope in enumerate(slopes):
        jacobian[:, 2 + n] = rise * slope
    return rewards - (start + rise * f), jacobian


_times_of = functools.lru_cache(maxsize=6)(_times)


def descend(
    law: Law,
    rewards: Floats,
    theta: Floats,
    free: Sequence[int],
    tolerance: float,
    iterations: int = 80,
) -> tuple[Floats, float]:
    """Levenberg–Marquardt over the free parameters: where it ends, and its sum of squares.

    Shape parameters stay in the law's box. Stops when a step gains less than `tolerance` times the
    mean square of the residuals.
    """
    free = list(free)
    box = np.asarray([(-math.inf, math.inf)] * 2 + list(law.box(rewards.size)))
    lowest, highest = box[:, 0], box[:, 1]
    theta = theta.copy()
    theta[free] = np.clip(theta, lowest, highest)[free]
    residual, jacobian = linearised(law, rewards, theta)
    total = float(residual @ residual)
    damping = 1e-3
    for _ in range(iterations):
        slope = jacobian.T @ residual
        outward = ((theta <= lowest) & (slope < 0)) | ((theta >= highest) & (slope > 0))
        moving = [n for n in free if not outward[n]]
        columns = jacobian[:, moving]
        gradient, normal = slope[moving], columns.T @ columns
        scale = normal.diagonal() + 1e-30
        while True:
            try:
                step = np.linalg.solve(normal + np.diag(damping * scale), gradient)
            except np.linalg.LinAlgError:
                step = gradient / (scale * (1 + damping))
            proposal = theta.copy()
            proposal[moving] += step
            # A long step in a logarithm is a guess: at most a factor e².
            proposal[2:] = np.clip(proposal[2:], theta[2:] - 2, theta[2:] + 2)
            proposal[moving] = np.clip(proposal, lowest, highest)[moving]
            new, slopes = linearised(law, rewards, proposal)
            less = float(new @ new)
            if less < total or damping > 1e7:
                break
            damping *= 8
        if not less < total:
            break
        # Where the linear model promises much more than it gives, it overshoots.
        moved = proposal[moving] - theta[moving]
        gain, promised = total - less, float(moved @ (2 * gradient - normal @ moved))
        theta, total, residual, jacobian = proposal, less, new, slopes
        damping = max(damping / 10, 1e-10) if gain > 0.7 * promised else max(4 * damping, 0.2)
        if gain <= tolerance * total / rewards.size:
            break
    return theta, total
