"""The success probability from iteration to iteration, and where it comes to rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from identity._arrays import Array, finish, inspectable, quiet, require_all
from identity.dynamics._arguments import finite, positive
from identity.errors import DomainError
from identity.expectation._arguments import arguments, require_unit
from identity.proven import proven

__all__ = ["FixedPoint", "success_fixed_point", "success_recursion"]

# Iterations after which a sequence that has not come close counts as not arriving.
_PATIENCE = 10_000


@proven(
    "dynamics.success-recursion",
)
def success_recursion(p: Array, p_ref: Array, beta: Array, eps: Array = 0.0) -> Array:
    r"""Success probability after one iteration of mirror GRPO with reverse KL to a fixed reference.

    p_n = 1/(1 + ((1 − p_ref)/p_ref) exp(−1/(β√(p(1 − p) + ε)))), p = p_{n−1}: the log-odds of the
    reference, raised by the standardised advantage of a success over β.

    Parameters
    ----------
    p : array or float
        Success probability of the last iteration, in [0, 1], any shape. Arguments are numbers or
        arrays of one shape.
    p_ref : array or float
        That of the reference, strictly between 0 and 1.
    beta : array or float
        β > 0, the weight of the KL divergence.
    eps : array or float
        ε ≥ 0, added to the variance p(1 − p).

    Returns
    -------
    array
        p_n: shape, dtype, library and device of the arrays. 1 where p(1 − p) + ε is 0, the limit.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: the ranges above, finite, and shapes. *(assumed under jit)*: values
    like that.

    *Postcondition*: relative error at most 8 + 4z(1 − p_n) eps, z = 1/(β√(p(1 − p) + ε)), and p_n
    never below p_ref by more than that.

    References
    ----------
    arXiv 2503.06639.

    Examples
    --------
    >>> from identity.dynamics import success_recursion
    >>> print(round(float(success_recursion(0.5, 0.5, beta=2.0)), 6))
    0.731059
    """
    xp, arrays, dtype = arguments(p=p, p_ref=p_ref, beta=beta, eps=eps)
    p, p_ref, beta, eps = arrays
    require_unit(xp, "p", p)
    if inspectable(*arrays):
        inside = (p_ref > 0) & (p_ref < 1)
        require_all(xp, "p_ref", p_ref, inside, "lie strictly between 0 and 1")
        good = (beta > 0) & xp.isfinite(beta)
        require_all(xp, "beta", beta, good, "be positive and finite")
        require_all(xp, "eps", eps, (eps >= 0) & xp.isfinite(eps), "be finite and at least 0")
    with quiet(xp):
        gain = 1 / (beta * xp.sqrt(p * (1 - p) + eps))
        failing = (1 - p_ref) * xp.exp(-gain)
        return finish(xp, p_ref / (p_ref + failing), dtype, "p")


@dataclass(frozen=True)
class FixedPoint:
    """Where the success recursion rests.

    Attributes
    ----------
    value : float
        The least fixed point above p_ref; 1.0 if there is none below 1.
    interior : bool
        Whether `value` solves the equation below 1. (With ε > 0 one always does, though it may
        round to 1.0.)
    slope : float
        Derivative of the recursion there: nearby starts converge if it is below 1 in magnitude.
    reached : bool
        Whether the iteration started at p_ref tends to `value`. Always so for p_ref ≥ 1/2, where
        it climbs; below, steps may jump over it, or never settle.
    """

    value: float
    interior: bool
    slope: float
    reached: bool


@proven(
    "dynamics.laplace-limit",
    "dynamics.success-recursion",
)
def success_fixed_point(p_ref: float, beta: float, eps: float = 0.0) -> FixedPoint:
    r"""Least fixed point p* > p_ref of `success_recursion`, and whether the iteration gets there.

    In u = log p/(1 − p) it is the least root of u = u_ref + 1/(β√(p(1 − p) + ε)). For ε = 0 the
    right side is u_ref + (2/β) cosh(u/2), convex: an interior fixed point exists iff the line
    meets it, that is iff u_ref + 2√(1 + β⁻²) ≤ 2 arsinh β. At p_ref = 1/2 this reads
    1/β ≤ 0.66274341934918…, the Laplace limit. Without a fixed point the iteration tends to 1.

    Parameters
    ----------
    p_ref : float
        Success probability of the reference, strictly between 0 and 1.
    beta : float
        β > 0.
    eps : float
        ε ≥ 0.

    Returns
    -------
    FixedPoint
        `value`, and what can be said of it.

    Raises
    ------
    DomainError
        If an argument lies outside its range.

    Notes
    -----
    *Preconditions (checked)*: the ranges. Nothing is *assumed under* ``jit``: Python numbers only.

    *Postcondition*: the equation of u holds to a few eps of its terms, so that `value` is good to
    about 8 eps (1 + |u|)/(1 − slope); where the two fixed points merge, to the root of that.
    Existence is decided up to the rounding of its condition.

    For u > 0 the derivative of 1/√(p(1 − p) + ε) has one maximum, at p(1 − p) = 2ε/(1 + 12ε), and
    for u < 0 it is negative: u_ref + 1/(β√…) − u falls, then may rise once, then falls. Its
    first root is found by bisection between those turning points. `reached` is proven for
    p_ref ≥ 1/2 and for ε = 0 without an interior point; elsewhere the iteration is run, for at
    most 10,000 steps.

    References
    ----------
    arXiv 2503.06639 for the recursion. The Laplace limit: OEIS A033259.

    Examples
    --------
    >>> from identity.dynamics import success_fixed_point
    >>> success_fixed_point(0.5, beta=1.4).value, success_fixed_point(0.5, beta=1.4).interior
    (1.0, False)
    >>> round(success_fixed_point(0.5, beta=2.0).value, 6)
    0.764728
    """
    start, weight = positive("p_ref", p_ref), positive("beta", beta)
    if start >= 1:
        raise DomainError("p_ref", p_ref, "lie strictly between 0 and 1")
    extra = finite("eps", eps)
    if extra < 0:
        raise DomainError("eps", eps, "be at least 0")
    low = math.log(start) - math.log1p(-start)

    def target(u: float) -> float:
        return low + _gain(u, extra) / weight

    def excess(u: float) -> float:
        return target(u) - u

    bracket = _first_root(excess, low, weight, extra)
    if bracket is None:
        return FixedPoint(1.0, False, 0.0, True)
    root = _bisected(excess, *bracket)
    slope = _gain_slope(root, extra) / weight
    reached = start >= 0.5 or _arrives(target, low, root, slope)
    return FixedPoint(1 / (1 + math.exp(-root)) if root > -700 else 0.0, True, slope, reached)


def _variance(u: float) -> float:
    """p(1 − p) at log-odds u; 0 far out."""
    small = math.exp(-abs(u))
    return small / (1 + small) ** 2


def _gain(u: float, eps: float) -> float:
    """1/√(p(1 − p) + ε)."""
    variance = _variance(u) + eps
    return 1 / math.sqrt(variance) if variance > 0 else math.inf


def _gain_slope(u: float, eps: float) -> float:
    """Its derivative by u, (2p − 1)p(1 − p)/(2(p(1 − p) + ε)^{3/2})."""
    variance = _variance(u)
    if variance == 0:
        return 0.0 if eps else math.copysign(math.inf, u)
    total = variance + eps
    return math.tanh(u / 2) * variance / total / (2 * math.sqrt(total))


def _first_root(
    excess: Callable[[float], float], low: float, beta: float, eps: float
) -> tuple[float, float] | None:
    """A bracket of the least root: excess > 0 at its start, ≤ 0 at its end, one root within."""

    def rising(u: float) -> float:
        return _gain_slope(u, eps) - beta

    if eps == 0:
        valley = max(2 * math.asinh(beta), low)
        return (low, valley) if excess(valley) <= 0 else None
    # The slope is largest at p(1 − p) = 2ε/(1 + 12ε), where cosh(u/2) = 1/(2√(p(1 − p))).
    steepest = 2 * math.acosh(math.sqrt(1 + 12 * eps) / (math.sqrt(8) * math.sqrt(eps)))
    # The root is at most 1/(β√ε) above u_ref; p rounds to 1 long before a million.
    far = min(low + 1 / beta / math.sqrt(eps) + 1e-9 * (1 + abs(low)), 1e6)
    if rising(steepest) <= 0:
        return low, far
    valley = _bisected(lambda u: -rising(u), 0.0, steepest)
    if valley > low and excess(valley) <= 0:
        return low, valley
    return max(low, valley), far


def _bisected(function: Callable[[float], float], low: float, high: float) -> float:
    """Where the sign changes from positive at `low`, to the last float."""
    while low < (middle := low + (high - low) / 2) < high:
        if function(middle) > 0:
            low = middle
        else:
            high = middle
    return high


def _arrives(target: Callable[[float], float], u: float, root: float, slope: float) -> bool:
    """Whether the iteration from u comes to an attracting root."""
    if abs(slope) >= 1:
        return False
    near = 1e-9 * max(1.0, abs(root))
    for _ in range(_PATIENCE):
        if abs(u - root) <= near:
            return True
        u = target(u)
        if not math.isfinite(u):
            return False
    return False
