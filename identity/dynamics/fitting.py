"""The trajectory fitted to a logged reward curve, beside the laws that it competes with."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from identity._arrays import Array, as_arrays, is_floating, require_exact
from identity.dynamics._arguments import finite
from identity.dynamics._laws import DAMPINGS, Exponential, Floats, Logistic, Oscillation
from identity.dynamics._profile import (
    Best,
    Intervals,
    best_of,
    best_oscillation,
    intervals,
)
from identity.dynamics._residuals import Residuals, residuals_of
from identity.errors import DomainError
from identity.proven import proven

__all__ = ["Estimate", "LawFit", "Residuals", "TrajectoryFit", "fit"]

_SHORTEST = 12
# Intervals where there is no trend to speak of.
_LEVEL, _SHAPE = (-math.inf, math.inf), (0.0, math.inf)
_NOTHING = {"start": _LEVEL, "limit": _LEVEL, "natural_frequency": _SHAPE}
_NOTHING |= {"damping_ratio": _SHAPE, "time_constant": _SHAPE}


@dataclass(frozen=True)
class Estimate:
    """A least-squares value and the two ends of its interval; an end may be infinite, or 0."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LawFit:
    """One law fitted to the curve by least squares.

    Attributes
    ----------
    parameters : mapping of str to float
        By name, times in steps.
    r_squared : float
        1 − Σ residual²/Σ(R − mean)².
    aic, bic : float
        n log(Σ residual²/n) + c·(parameters + 1), c = 2 and log n: smaller is better, differences
        count.
    """

    parameters: Mapping[str, float]
    r_squared: float
    aic: float
    bic: float


@dataclass(frozen=True)
class TrajectoryFit:
    """What `fit` says of a curve; times in steps, frequencies in radians per step.

    Attributes
    ----------
    start, limit : Estimate
        R_0 and R_∞.
    natural_frequency, damping_ratio, time_constant : Estimate
        ω, ζ and T = 2ζ/ω. Where the curve cannot tell the overdamped law from its limit, the
        exponential, ω and ζ reach up to infinity while T stays finite.
    level : float
        Confidence level of each interval by itself.
    noise_std : float
        √(Σ residual²/(n − 4)).
    oscillator, exponential, logistic : LawFit
        The second-order law, R_∞ − (R_∞ − R_0)e^{−t/T}, and R_low + (R_high − R_low)/(1 +
        e^{−(t − midpoint)/width}).
    residuals : Residuals
        Of the oscillator.
    regime : {"overdamped", "underdamped", "undetermined"}
        Undetermined where the data cannot tell; critical damping is a point, and never decided.
    reason : str
        Why, in a sentence.
    remarks : tuple of str
        What puts the intervals in doubt, if anything.
    """

    start: Estimate
    limit: Estimate
    natural_frequency: Estimate
    damping_ratio: Estimate
    time_constant: Estimate
    level: float
    noise_std: float
    oscillator: LawFit
    exponential: LawFit
    logistic: LawFit
    residuals: Residuals
    regime: str
    reason: str
    remarks: tuple[str, ...]


@proven(
    "dynamics.oscillator",
)
def fit(rewards_per_step: Array, *, level: float = 0.95) -> TrajectoryFit:
    r"""Fit the trajectory of the oscillator to a reward curve, with intervals and rivals.

    Least squares of R_0, R_∞, ω and ζ > 0 in `trajectory`, from many starts; beside it the single
    exponential and the logistic law, fitted in the same way. Needs SciPy (the extra ``fit``).

    Parameters
    ----------
    rewards_per_step : array, shape (n,)
        Mean reward of each optimiser step, evenly spaced, from the first one on: released at rest
        at step 0. At least 12 steps. Any library; read out to NumPy.
    level : float, keyword-only
        Confidence level of each interval, in (0, 1).

    Returns
    -------
    TrajectoryFit
        Estimates with intervals, the three laws, residual diagnostics, and the regime, if the
        data can tell it.

    Raises
    ------
    DomainError
        A curve that is not 1-D, has fewer than 12 steps, NaN or infinite values, or is constant;
        level out of range.
    ImportError
        Without SciPy.

    Notes
    -----
    *Preconditions (checked)*: as above. Values must be visible: nothing is *assumed under* ``jit``.
    Assumed: independent noise of one variance; `residuals` says whether that is plausible.

    *Postcondition*: intervals are of the profile likelihood, {v: min SSR(v) − SSR ≤ s²F}, F the
    quantile of F(1, n − 4): exact for linear parameters, nominal up to the curvature of the model
    otherwise. Measured in the tests by simulation. Their ends are good to 0.2 % of the half-width.

    The regime is decided by the interval of ζ: above 1, below 1, or undetermined; undetermined
    too, all intervals unbounded, where a constant explains the curve as well (F test at 1 − level,
    Bonferroni over the shapes searched). Where the data hardly bound ζ from above, the intervals
    of ω and ζ cover more often than they say.

    References
    ----------
    D. J. Venzon and S. H. Moolgavkar, Applied Statistics 37 (1988), for profile likelihood. The
    comparison of laws: arXiv 2606.30789, *reconstructed*.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.dynamics import fit, trajectory
    >>> noise = np.random.default_rng(0).normal(scale=0.01, size=200)
    >>> found = fit(trajectory((0.1, 0.3), np.arange(200.0), start=0.2, limit=0.7) + noise)
    >>> found.regime, round(found.damping_ratio.value, 2)
    ('underdamped', 0.3)
    """
    curve = _curve(rewards_per_step)
    probability = finite("level", level)
    if not 0 < probability < 1:
        raise DomainError("level", level, "lie strictly between 0 and 1")
    special = _special()
    n = curve.size
    centre, scale = float(curve.mean()), float(np.ptp(curve))
    rewards = (curve - centre) / scale
    exponential, logistic = best_of(Exponential(), rewards), best_of(Logistic(), rewards)
    best = best_oscillation(rewards, exponential)
    quantile = float(special.fdtri(1.0, n - 4.0, probability))
    found = intervals(rewards, best, exponential, quantile)
    best = found.best
    estimates = _estimates(found, centre, scale, n - 1)
    variation = float(np.sum((rewards - rewards.mean()) ** 2))
    residuals = residuals_of(rewards - _fitted(best, n), special)
    trend = (variation - best.total) / 3 / max(best.total / (n - 4), 1e-300)
    # By Bonferroni's inequality, since the shape was searched for.
    flat = min(1.0, len(Oscillation().grid(n)) * float(special.fdtrc(3.0, n - 4.0, trend)))
    if flat > 1 - probability:
        estimates = {k: Estimate(v.value, *_NOTHING[k]) for k, v in estimates.items()}
    regime, reason = _regime(estimates["damping_ratio"], flat, probability)

    def law(parameters: Mapping[str, float], total: float) -> LawFit:
        fitted = n * (math.log(max(total / n, 1e-32)) + 2 * math.log(scale))
        count = len(parameters) + 1
        return LawFit(
            MappingProxyType(dict(parameters)),
            1 - total / variation,
            fitted + 2 * count,
            fitted + math.log(n) * count,
        )

    start, limit, log_time = exponential.theta.tolist()
    low, high, middle, log_width = logistic.theta.tolist()
    laws = {
        "oscillator": law(
            {k: estimates[k].value for k in ("start", "limit", "natural_frequency")}
            | {"damping_ratio": estimates["damping_ratio"].value},
            best.total,
        ),
        "exponential": law(
            {
                "start": centre + scale * start,
                "limit": centre + scale * limit,
                "time_constant": (n - 1) * math.exp(log_time),
            },
            exponential.total,
        ),
        "logistic": law(
            {
                "low": centre + scale * low,
                "high": centre + scale * high,
                "midpoint": (n - 1) * middle,
                "width": (n - 1) * math.exp(log_width),
            },
            logistic.total,
        ),
    }
    named: dict[str, Any] = {**estimates, **laws}
    return TrajectoryFit(
        **named,
        level=probability,
        noise_std=scale * math.sqrt(best.total / (n - 4)),
        residuals=residuals,
        regime=regime,
        reason=reason,
        remarks=_remarks(estimates, laws, residuals),
    )


def _special() -> Any:
    """scipy.special, which has the quantiles."""
    try:
        return importlib.import_module("scipy.special")
    except ImportError as error:
        message = "identity.dynamics.fit needs SciPy: pip install 'grpo-identity[fit]'"
        raise ImportError(message) from error


def _curve(rewards: Any) -> Floats:
    """The curve as float64 of NumPy, checked."""
    xp, (array,) = as_arrays(rewards_per_step=rewards)
    if array.ndim != 1:
        raise DomainError("rewards_per_step", tuple(array.shape), "be one curve, shape (n,)")
    require_exact(xp, "rewards_per_step", array, xp.float64)
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = array.double() if is_floating(array) else array
    try:
        curve = np.asarray(array, dtype=np.float64)
    except Exception as error:  # tracers each raise their own kind
        raise DomainError("rewards_per_step", type(rewards), "have values to look at") from error
    if curve.size < _SHORTEST:
        raise DomainError("rewards_per_step", curve.shape, f"hold at least {_SHORTEST} steps")
    if not np.isfinite(curve).all():
        at = int(np.argmin(np.isfinite(curve)))
        raise DomainError("rewards_per_step", float(curve[at]), f"be finite (broken at step {at})")
    with np.errstate(over="ignore"):
        spread = float(np.ptp(curve))
    if spread == 0:
        raise DomainError("rewards_per_step", float(curve[0]), "not be constant")
    if not 2.0**-900 <= spread <= 2.0**900 or float(np.abs(curve).max()) > 2.0**900:
        raise DomainError("rewards_per_step", spread, "vary between 2^-900 and 2^900")
    return curve


def _estimates(found: Intervals, centre: float, scale: float, steps: int) -> dict[str, Estimate]:
    """In units of the curve and of steps."""
    start, limit, log_time, log_zeta = found.best.theta.tolist()

    def level(value: float, ends: tuple[float, float]) -> Estimate:
        return Estimate(*(centre + scale * v for v in (value, *ends)))

    def exponential(value: float, ends: tuple[float, float], unit: float) -> Estimate:
        values = (math.exp(v) if v < 700 else math.inf for v in (value, *ends))
        return Estimate(*(v * unit for v in values))

    if log_zeta >= DAMPINGS[1] - 1e-3:
        log_zeta = math.inf
    log_omega = math.log(2) + log_zeta - log_time
    if log_zeta <= DAMPINGS[0] + 1e-3:
        log_zeta = log_time = -math.inf
    return {
        "start": level(start, found.start),
        "limit": level(limit, found.limit),
        "natural_frequency": exponential(log_omega, found.log_omega, 1 / steps),
        "damping_ratio": exponential(log_zeta, found.log_zeta, 1.0),
        "time_constant": exponential(log_time, found.log_time, steps),
    }


def _fitted(best: Best, steps: int) -> Floats:
    """The fitted curve."""
    start, limit, log_time, log_zeta = best.theta.tolist()
    t = np.arange(steps) / (steps - 1)
    if math.isinf(log_zeta):
        share = Exponential().share((log_time,), t)[0]
    else:
        law = Oscillation("time")
        share = law.share(law.from_shape(log_time, log_zeta), t)[0]
    return np.asarray(start + (limit - start) * share)


def _regime(zeta: Estimate, flat: float, level: float) -> tuple[str, str]:
    """The regime if the data can tell, and why."""
    ends = f"[{zeta.low:.3g}, {zeta.high:.3g}]"
    if flat > 1 - level:
        return "undetermined", f"a constant explains the curve as well (p = {flat:.2g})"
    if zeta.low > 1:
        return "overdamped", f"the {level:.4g} interval of the damping ratio, {ends}, is above 1"
    if zeta.high < 1:
        return "underdamped", f"the {level:.4g} interval of the damping ratio, {ends}, is below 1"
    return "undetermined", f"the {level:.4g} interval of the damping ratio, {ends}, contains 1"


def _remarks(
    estimates: Mapping[str, Estimate], laws: Mapping[str, LawFit], residuals: Residuals
) -> tuple[str, ...]:
    found = []
    if residuals.ljung_box_p < 0.01:
        found.append(
            "residuals are correlated in time (Ljung–Box p = "
            f"{residuals.ljung_box_p:.2g}): the intervals assume independent noise"
        )
    if residuals.normality_p < 0.01:
        found.append(f"residuals are not normal (Jarque–Bera p = {residuals.normality_p:.2g})")
    for name, rival in laws.items():
        gain = laws["oscillator"].bic - rival.bic
        if gain > 0:
            found.append(f"BIC prefers the {name} law, by {gain:.1f}")
    ends = {name: (estimates[name].low, estimates[name].high) for name in ("start", "limit")}
    unbounded = (name for name, pair in ends.items() if not all(map(math.isfinite, pair)))
    return (*found, *(f"the curve does not bound its {name}" for name in unbounded))
