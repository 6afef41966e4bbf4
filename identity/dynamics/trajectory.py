"""The mean training curve: in closed form for the oscillator, step by step for the recursion."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from identity._arrays import (
    Array,
    Namespace,
    finish,
    inspectable,
    quiet,
    require_all,
    require_finite,
)
from identity.dynamics._arguments import finite, interval_argument, positive
from identity.dynamics.oscillator import Oscillator
from identity.errors import DomainError
from identity.expectation._arguments import arguments
from identity.proven import proven

__all__ = ["recursion", "trajectory"]

Rates: TypeAlias = "Oscillator | tuple[float, float]"

_PAIR = "be an Oscillator or a pair (natural frequency, damping ratio)"
# Below this, max(1, 2|ζ|)ωt, the covered share is a power series: its terms fall by half or more.
_SERIES_REACH = 0.5
_TERMS = 20


@proven(
    "dynamics.oscillator",
    "dynamics.overdamped",
)
def trajectory(oscillator: Rates, t: Array, start: Array = 0.0, limit: Array = 1.0) -> Array:
    r"""Mean reward R(t) of the oscillator released at rest: m R″ + γR′ + k(R − R_∞) = 0.

    R_∞ − (R_∞ − R_0)[λ₊e^{λ₋t} − λ₋e^{λ₊t}]/(λ₊ − λ₋) with the roots λ± of mλ² + γλ + k; for
    complex ones R_∞ − (R_∞ − R_0)e^{−ζωt}[cos νt + (ζω/ν) sin νt], ν = ω√(1 − ζ²), and at critical
    damping R_∞ − (R_∞ − R_0)(1 + ωt)e^{−ωt}. For small t it is R_0 + (R_∞ − R_0)ω²t²/2.

    Parameters
    ----------
    oscillator : Oscillator or (float, float)
        The oscillator, or its natural frequency ω > 0 in radians per step and its damping ratio ζ,
        any finite number: Python numbers.
    t : array or float
        Time in steps, at least 0, any shape.
    start, limit : array of the shape of `t`, or float
        R_0 and R_∞.

    Returns
    -------
    array
        R(t): shape, dtype, library and device of the arrays.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: ω and ζ as above; t at least 0, start and limit finite, shapes.
    *(assumed under jit)*: values like that.

    *Postcondition*: R = R_0 φ + R_∞(1 − φ), where both shares are computed without cancellation.
    For ζ ≥ 1 the error is at most (24 + 2ζωt) eps of |R_0|φ + |R_∞|(1 − φ): nothing is lost at
    small times, near the limit or near critical damping. For 0 ≤ ζ < 1 it is at most
    (24 + 2ωt) eps of |R_0|E + |R_∞||1 − φ| up to ωt = 1/4, and of |R_0|E + |R_∞|max(E, |1 − φ|)
    beyond, with the envelope E = (1 + ζωt)e^{−ζωt}. For ζ < 0, where the curve leaves its limit,
    it is relative to (|R_0| + |R_∞|) times the growing exponential.

    References
    ----------
    arXiv 2606.30789, *reconstructed*.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.dynamics import Oscillator, trajectory
    >>> o = Oscillator(learning_rate=0.01, curvature=1.0, momentum=0.8)
    >>> print(trajectory(o, np.array([0.0, 20.0, 200.0]), start=0.2, limit=0.6).round(4))
    [0.2   0.441 0.6  ]
    """
    omega, zeta = _rates(oscillator)
    xp, arrays, dtype = arguments(t=t, start=start, limit=limit)
    t, start, limit = arrays
    require_finite(xp, "t", t)
    if inspectable(t):
        require_all(xp, "t", t, t >= 0, "be at least 0")
    require_finite(xp, "start", start)
    require_finite(xp, "limit", limit)
    with quiet(xp):
        left, covered = _shares(xp, omega * t, zeta)
        return finish(xp, start * left + limit * covered, dtype, "t")


def _rates(oscillator: Rates) -> tuple[float, float]:
    """ω and ζ."""
    if isinstance(oscillator, Oscillator):
        return oscillator.natural_frequency, oscillator.damping_ratio
    if not isinstance(oscillator, tuple | list) or len(oscillator) != 2:
        raise DomainError("oscillator", oscillator, _PAIR)
    zeta = finite("damping_ratio", oscillator[1])
    if abs(zeta) > 2.0**500:
        raise DomainError("damping_ratio", zeta, "be at most 2^500 in magnitude")
    return positive("natural_frequency", oscillator[0]), zeta


def _shares(xp: Namespace, s: Array, zeta: float) -> tuple[Array, Array]:
    """φ and 1 − φ at s = ωt."""
    if abs(zeta) < 1:
        nu = math.sqrt((1 - zeta) * (1 + zeta))
        decay, turn = xp.exp(-zeta * s), xp.sin(nu * s)
        left = decay * (xp.cos(nu * s) + (zeta / nu) * turn)
        half = xp.sin(nu / 2 * s)
        covered = decay * (2 * half * half - (zeta / nu) * turn) - xp.expm1(-zeta * s)
    else:
        delta = math.sqrt((abs(zeta) - 1) * (abs(zeta) + 1))
        # The rate of smaller magnitude; the other is its inverse.
        slow = math.copysign(1 / (abs(zeta) + delta), zeta)
        # ∫₀ˢ of the ratio of the two exponentials: s itself at critical damping.
        width = math.copysign(2 * delta, zeta)
        lag = -xp.expm1(-width * s) / width if delta else s
        decay = xp.exp(-slow * s)
        left = decay * (1 + slow * lag)
        covered = -xp.expm1(-slow * s) - decay * (slow * lag)
    near = s * max(1.0, 2 * abs(zeta)) <= _SERIES_REACH
    inside = xp.where(near, s, xp.zeros_like(s))
    return left, xp.where(near, _first_rise(inside, zeta), covered)


def _first_rise(s: Array, zeta: float) -> Array:
    """1 − φ by its power series in x = s·max(1, 2|ζ|) ≤ 1/2: no cancellation at small times."""
    scale = max(1.0, 2 * abs(zeta))
    ratio, fall = -2 * zeta / scale, -1 / (scale * scale)
    # y″ = 1 − 2ζy′ − y, whose coefficients c_n are those of s²x^{n−2}.
    coefficients = [0.5]
    before = 0.0
    for n in range(3, _TERMS):
        coefficient = ratio * coefficients[-1] / n + fall * before / (n * (n - 1))
        before = coefficients[-1]
        coefficients.append(coefficient)
    x = s * scale
    total = 0 * x
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return s * (s * total)


@proven(
    "dynamics.onset",
)
def recursion(
    oscillator: Oscillator, steps: int, *, start: float = 0.0, limit: float = 1.0
) -> npt.NDArray[np.float64]:
    r"""Mean reward of the exact recursion, step by step, from rest at `start`.

    R_{t+1} = (1 + μ)R_t − μR_{t−1} − κ(R_{t−τ} − R_∞), with R_t = R_0 for all t ≤ 0.

    Parameters
    ----------
    oscillator : Oscillator
        μ, κ and τ; its mass convention plays no part.
    steps : int
        How many steps, from 1 to 2^53.
    start, limit : float, keyword-only
        R_0 and R_∞.

    Returns
    -------
    numpy.ndarray, shape (steps + 1,), float64
        R_0, R_1, …; what the reduction `trajectory` approximates.

    Raises
    ------
    DomainError
        If an argument is out of range, or the curve leaves the floats, as unstable ones do.

    Notes
    -----
    *Preconditions (checked)*: as above. Nothing is *assumed under* ``jit``: Python numbers only.

    *Postcondition*: every step is rounded a few times, relative to its largest term; stable
    recursions forget those errors.

    References
    ----------
    arXiv 2606.30789, *reconstructed*.

    Examples
    --------
    >>> from identity.dynamics import Oscillator, recursion
    >>> recursion(Oscillator(learning_rate=0.5, curvature=1.0), 3)
    array([0.   , 0.5  , 0.75 , 0.875])
    """
    if not isinstance(oscillator, Oscillator):
        raise DomainError("oscillator", oscillator, "be an Oscillator")
    count = interval_argument("steps", steps, 1)
    begin, end = finite("start", start), finite("limit", limit)
    mu, kappa, tau = oscillator.momentum, oscillator.stiffness, oscillator.refresh_interval
    # The distance to the limit, and the velocity, rather than differences of rewards.
    distances = [begin - end]
    velocity = 0.0
    for t in range(count):
        velocity = mu * velocity - kappa * distances[max(t - tau, 0)]
        distances.append(distances[-1] + velocity)
    rewards = np.asarray(distances) + end
    rewards[0] = begin
    if not np.isfinite(rewards).all():
        raise DomainError("steps", steps, "be few enough for the curve to stay finite")
    return rewards
