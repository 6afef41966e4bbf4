"""Where stale gradients start to oscillate and where they stop to converge, exactly."""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext

from identity.dynamics._arguments import interval_argument, momentum_argument, one_of
from identity.proven import proven

__all__ = ["oscillation_onset", "refresh_threshold"]

STALENESS = ("one_step", "delay", "block")
# 1 − μ is at least 2^-53, and the forms below cancel its square.
_DIGITS = 80


@proven(
    "dynamics.refresh-threshold",
    "dynamics.refresh-threshold-general",
    "dynamics.delay-threshold",
    "dynamics.delay-sufficient",
    "dynamics.block-threshold",
)
def refresh_threshold(momentum: float, interval: int, staleness: str = "delay") -> float:
    r"""Smallest stiffness κ = ηK at which heavy ball with stale gradients is no longer stable.

    The recursion is stable for 0 < κ < threshold. The result is κ itself; times `interval` it is
    the quantity ηK·K_ref of the published law.

    ==========  ==============================================================  =================
    staleness   which gradient a step takes                                     threshold
    ==========  ==============================================================  =================
    delay       that of `interval` steps ago; 0 is no lag                       exact
    block       that of the start of its block of `interval` steps, momentum    exact
                kept; 1 is no lag
    one_step    the published law: one refresh counts as one step of delay      (1 − μ)/interval,
                                                                                see below
    ==========  ==============================================================  =================

    The published law is exact for a delay of one step, ``interval=1``. Elsewhere it is sufficient
    but not sharp: the exact thresholds of both other models lie above it.

    Parameters
    ----------
    momentum : float
        μ in [0, 1); dimensionless.
    interval : int
        Steps: the delay τ ≥ 0, the length of a block N ≥ 1, or K_ref ≥ 1 of the law.
    staleness : {"delay", "block", "one_step"}
        Which model.

    Returns
    -------
    float
        The threshold of κ, dimensionless.

    Raises
    ------
    DomainError
        momentum outside [0, 1) or NaN, interval no integer or out of range, unknown staleness.

    Notes
    -----
    *Preconditions (checked)*: as above. Nothing is *assumed under* ``jit``: Python numbers only.

    *Postcondition*: within 8 eps (delay) or 1 ulp (block, one_step: 2 ulp) of the exact value at
    the floats passed, for any μ and interval.

    *Delay.* On the unit circle z^(τ−1)(z − 1)(z − μ) = −κ says κ sin τφ = (1 − μ) sin φ and
    κ cos τφ = 2(1 + μ) sin²(φ/2). So κ² = 4s((1 − μ)² + 4μs) with s = sin²(φ/2), which grows with
    φ: the threshold belongs to the smallest φ, the one root of
    tan(τφ) tan(φ/2) = (1 − μ)/(1 + μ) in (0, π/(2τ + 1)].

    *Block.* Over a block, (x, v) ↦ ((1 − κS₂)x + μS₁v, −κS₁x + μ^N v) with S₁ = Σ_{j<N} μ^j and
    S₂ = Σ_{j<N} (N − j)μ^j. Jury's conditions are κ < 2(1 + a)/((1 + a)S₂ − μS₁²), a = μ^N, and,
    for N ≥ 2 and μ > 0, κ < (1 − a)/(μS₁² − aS₂).

    References
    ----------
    The law ηK·K_ref < 1 − μ: arXiv 2606.30789, *reconstructed*. The delay without momentum:
    S. A. Levin and R. M. May, Theoretical Population Biology 9 (1976).

    Examples
    --------
    >>> from identity.dynamics import refresh_threshold
    >>> refresh_threshold(0.75, 1), refresh_threshold(0.0, 4, "block")
    (0.25, 0.5)
    >>> print(round(8 * refresh_threshold(0.0, 8), 4))
    1.4763
    """
    mu = momentum_argument(momentum)
    model = one_of("staleness", staleness, STALENESS)
    steps = interval_argument("interval", interval, 0 if model == "delay" else 1)
    if model == "one_step":
        return (1 - mu) / steps
    return _delay(mu, steps) if model == "delay" else _block(mu, steps)


def _delay(mu: float, tau: int) -> float:
    if tau == 0:
        return 2 * (1 + mu)
    if tau == 1:
        return 1 - mu
    low, high = 0.0, math.pi / (2 * tau + 1)
    while low < (middle := low + (high - low) / 2) < high:
        rising = (1 - mu) * math.cos(middle / 2) * math.cos(tau * middle)
        if rising > (1 + mu) * math.sin(middle / 2) * math.sin(tau * middle):
            low = middle
        else:
            high = middle
    s = math.sin(high / 2)
    return 2 * s * math.hypot(1 - mu, 2 * math.sqrt(mu) * s)


def _block(mu: float, steps: int) -> float:
    if steps == 1 or mu == 0:
        return 2 * (1 + mu) / steps
    with localcontext(Context(prec=_DIGITS)):
        m = Decimal(mu)
        d, a = 1 - m, m**steps
        # The sums in closed form: S₁ = (1 − a)/d, S₂ = (N − μS₁)/d.
        flip = 2 * d * d * (1 + a) / (steps * d * (1 + a) - 2 * m * (1 - a))
        turn = d * d * (1 - a) / (m * (1 - a) - a * steps * d)
        return float(min(flip, turn))


@proven(
    "dynamics.onset",
)
def oscillation_onset(momentum: float, interval: int = 0) -> float:
    r"""Stiffness κ = ηK at which the slowest mode of the recursion becomes complex, exactly.

    Below it the slowest mode decays without oscillation; at it the two slowest real roots of
    z^(τ−1)(z − 1)(z − μ) = −κ have met.

    Parameters
    ----------
    momentum : float
        μ in [0, 1); dimensionless.
    interval : int
        The delay τ ≥ 0 of the gradient, in steps; 0 is no lag, where the onset is (1 − √μ)².

    Returns
    -------
    float
        The onset; below ``refresh_threshold(momentum, interval, "delay")``.

    Raises
    ------
    DomainError
        momentum outside [0, 1) or NaN, interval no integer or out of range.

    Notes
    -----
    *Preconditions (checked)*: as above. Nothing is *assumed under* ``jit``: Python numbers only.

    *Postcondition*: within 16 eps of the exact value at the float passed.

    On (μ, 1) the function f(z) = z^(τ−1)(1 − z)(z − μ) rises to one maximum, the onset, and falls.
    For κ below it let z₋ < z₊ solve f = κ. On a circle of radius r between them
    |z^(τ−1)(z − 1)(z − μ)| ≥ f(r) > κ, so that by Rouché's theorem all roots but one lie within
    |z| ≤ z₋, and the slowest is z₊, real and simple. Without lag and with κ beyond (1 + √μ)² the
    roots are real again, but negative.

    References
    ----------
    B. T. Polyak, USSR Computational Mathematics and Mathematical Physics 4 (1964), for no lag.

    Examples
    --------
    >>> from identity.dynamics import oscillation_onset
    >>> oscillation_onset(0.25), oscillation_onset(0.0, 1)
    (0.25, 0.25)
    """
    mu = momentum_argument(momentum)
    tau = interval_argument("interval", interval, 0)
    if tau == 0:
        return ((1 - mu) / (1 + math.sqrt(mu))) ** 2
    d = 1 - mu
    # 1 − z and z − μ at the maximum, each without cancellation.
    root = math.hypot(tau * d, 2 * math.sqrt(mu))
    down = 2 * d / (2 + tau * d + root)
    up = d - down
    if tau == 1:
        return d * d / 4
    return math.exp((tau - 1) * math.log1p(-down)) * down * up
