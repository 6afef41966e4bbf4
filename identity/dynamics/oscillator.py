"""The heavy ball with stale gradients as an oscillator: its constants, modes and regime."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

from identity._arrays import integer_argument
from identity.dynamics._arguments import (
    finite,
    interval_argument,
    momentum_argument,
    one_of,
    positive,
)
from identity.dynamics.threshold import oscillation_onset, refresh_threshold
from identity.errors import DomainError
from identity.proven import proven

__all__ = ["Oscillator", "regime"]

MASSES = ("taylor", "heavy_ball")
MODELS = ("recursion", "continuous")
# κ and the onset are each rounded: this close, relative, they count as equal.
_SAME = 2.0**-47


@dataclass(frozen=True, kw_only=True)
class Oscillator:
    r"""Heavy ball with stale gradients near a fixed point, and its second-order reduction.

    The recursion of the distance x to the fixed point is
    x_{t+1} = (1 + μ)x_t − μx_{t−1} − κx_{t−τ} + ηξ_t, κ = ηK, Var ξ = s²/G.
    With x_t = e^{λt} its characteristic function e^λ − (1 + μ) + μe^{−λ} + κe^{−λτ} is, to second
    order in λ, k + γλ + mλ²: the oscillator m x″ + γ x′ + k x = 0, time in steps.

    Parameters
    ----------
    learning_rate : float
        η > 0.
    curvature : float
        K > 0, the restoring force per distance: minus the derivative of the mean step at the fixed
        point, before it is multiplied by η.
    momentum : float
        μ in [0, 1).
    refresh_interval : int
        The delay τ ≥ 0 of the gradient, in steps; 0 is no lag.
    group_size : int
        Rollouts G ≥ 1 whose mean is one step; only the noise depends on it.
    noise_std : float
        s ≥ 0, the standard deviation of the step of one rollout, before it is multiplied by η.
    mass_convention : {"taylor", "heavy_ball"}
        Which m. "taylor": (1 + μ + κτ²)/2, the full second-order term. "heavy_ball": (1 + μ)/2,
        which leaves the delay out of the second order and keeps it in γ. They agree without lag.

    Raises
    ------
    DomainError
        If a parameter lies outside its range, or κ or m is not a normal float.

    Notes
    -----
    *Preconditions (checked)*: the ranges. Nothing is *assumed under* ``jit``: Python numbers only.

    *Postcondition*: every property is within 8 eps, γ and T relative to (1 − μ) + κτ in place of
    γ, and the roots as far as γ² − 4mk does not cancel. What the reduction itself leaves out is
    the third order in λ: it describes modes that are slow against a step and against τ.

    References
    ----------
    arXiv 2606.30789, *reconstructed*: the mass there is a matter of convention, as we read it.

    Examples
    --------
    >>> from identity.dynamics import Oscillator
    >>> o = Oscillator(learning_rate=0.5, curvature=0.5, momentum=0.25)
    >>> o.stiffness, o.damping, o.mass, o.time_constant
    (0.25, 0.75, 0.625, 3.0)
    >>> round(o.damping_ratio, 4)
    0.9487
    """

    learning_rate: float
    curvature: float
    momentum: float = 0.0
    refresh_interval: int = 0
    group_size: int = 1
    noise_std: float = 0.0
    mass_convention: str = "taylor"

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("learning_rate", positive("learning_rate", self.learning_rate))
        put("curvature", positive("curvature", self.curvature))
        put("momentum", momentum_argument(self.momentum))
        put("refresh_interval", interval_argument("refresh_interval", self.refresh_interval, 0))
        size = integer_argument("group_size", self.group_size)
        if size < 1:
            raise DomainError("group_size", size, "be at least 1")
        put("group_size", size)
        put("noise_std", finite("noise_std", self.noise_std))
        if self.noise_std < 0:
            raise DomainError("noise_std", self.noise_std, "be at least 0")
        one_of("mass_convention", self.mass_convention, MASSES)
        normal = 2.0**-1022
        if not normal <= self.stiffness < math.inf or not math.isfinite(4 * self.mass * self.mass):
            rule = "give a stiffness ηK, and with the delay a mass, that floats can hold"
            raise DomainError("curvature", self.curvature, rule)

    @property
    def stiffness(self) -> float:
        """k = κ = ηK."""
        return self.learning_rate * self.curvature

    @property
    def damping(self) -> float:
        """γ = (1 − μ) − κτ: negative beyond the law κτ < 1 − μ."""
        return (1 - self.momentum) - self.stiffness * self.refresh_interval

    @property
    def mass(self) -> float:
        """m by the convention chosen: (1 + μ + κτ²)/2 or (1 + μ)/2."""
        lag = self.stiffness * self.refresh_interval * self.refresh_interval
        return ((1 + self.momentum) + (lag if self.mass_convention == "taylor" else 0)) / 2

    @property
    def natural_frequency(self) -> float:
        """ω = √(k/m), in radians per step."""
        return math.sqrt(self.stiffness) / math.sqrt(self.mass)

    @property
    def damping_ratio(self) -> float:
        """ζ = γ/(2√(mk)): 1 is critical, below 0 grows."""
        return self.damping / (2 * math.sqrt(self.mass) * math.sqrt(self.stiffness))

    @property
    def time_constant(self) -> float:
        """T = γ/k in steps, of the overdamped limit e^{−t/T}."""
        return self.damping / self.stiffness

    @property
    def roots(self) -> tuple[complex, complex]:
        """λ₊ and λ₋ = (−γ ± √(γ² − 4mk))/(2m), per step; the larger first where they are real."""
        zeta, omega = self.damping_ratio, self.natural_frequency
        root = cmath.sqrt(complex((zeta - 1) * (zeta + 1)))
        if root.imag or not root.real:
            return omega * (-zeta + root), omega * (-zeta - root)
        # The larger in magnitude first; their product is ω².
        far = -zeta - math.copysign(root.real, zeta)
        near = 1 / far
        ordered = (near, far) if zeta > 0 else (far, near)
        return complex(omega * ordered[0]), complex(omega * ordered[1])

    @property
    def noise_variance(self) -> float:
        """η²s²/G, the variance that one step adds."""
        scale = self.learning_rate * self.noise_std
        return scale * (scale / self.group_size)


@proven(
    "dynamics.onset",
)
def regime(oscillator: Oscillator, *, model: str = "recursion") -> str:
    r"""Whether the slowest mode decays, oscillates or grows.

    ============  =====================================  =========================================
    result        ``model="recursion"``, exact           ``model="continuous"``, the reduction
    ============  =====================================  =========================================
    overdamped    slowest root real and positive: κ <    γ² > 4mk, γ > 0
                  `oscillation_onset`
    critical      the two slowest roots are one: κ at    γ² = 4mk, γ > 0
                  the onset
    underdamped   slowest root complex, or negative      γ² < 4mk, γ > 0
    unstable      a root of modulus 1 or more: κ ≥       γ ≤ 0
                  `refresh_threshold`, "delay"
    ============  =====================================  =========================================

    Parameters
    ----------
    oscillator : Oscillator
        What to classify.
    model : {"recursion", "continuous"}, keyword-only
        The exact discrete recursion, lag included, or its second-order reduction. The second
        depends on the mass convention, and calls unstable what breaks ηKτ < 1 − μ.

    Returns
    -------
    {"overdamped", "critical", "underdamped", "unstable"}
        The regime. Without lag, the recursion oscillates for (1 − √μ)² < κ < (1 + √μ)² with
        complex roots, and from there to 2(1 + μ) with negative ones, of alternating sign.

    Raises
    ------
    DomainError
        If `oscillator` is none, or model is unknown.

    Notes
    -----
    *Preconditions (checked)*: as above. Nothing is *assumed under* ``jit``: Python numbers only.

    *Postcondition*: exact up to the rounding of κ and of the boundaries. κ and the onset (or γ²
    and 4mk) count as equal within 2^-47, relative, which no trajectory shows.

    References
    ----------
    Jury's conditions without lag; arXiv 2606.30789 for the reduction, *reconstructed*.

    Examples
    --------
    >>> from identity.dynamics import Oscillator, regime
    >>> [regime(Oscillator(learning_rate=e, curvature=1.0, momentum=0.25)) for e in (0.2, 0.25)]
    ['overdamped', 'critical']
    >>> [regime(Oscillator(learning_rate=e, curvature=1.0, momentum=0.25)) for e in (0.3, 2.5)]
    ['underdamped', 'unstable']
    """
    if not isinstance(oscillator, Oscillator):
        raise DomainError("oscillator", oscillator, "be an Oscillator")
    o = oscillator
    if one_of("model", model, MODELS) == "continuous":
        if o.damping <= 0:
            return "unstable"
        return _side(o.damping_ratio * o.damping_ratio, 1.0)
    if o.stiffness >= refresh_threshold(o.momentum, o.refresh_interval, "delay"):
        return "unstable"
    return _side(oscillation_onset(o.momentum, o.refresh_interval), o.stiffness)


def _side(large: float, small: float) -> str:
    """Overdamped where `large` is the larger one."""
    if abs(large - small) <= _SAME * max(large, small):
        return "critical"
    return "overdamped" if large > small else "underdamped"
