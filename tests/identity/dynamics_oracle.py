"""Oracles for identity.dynamics: 50 digits from the definitions, sharing no code with it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

from tests.tolerances import ORACLE_DIGITS

DIGITS = ORACLE_DIGITS
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


def precise(function: Callable[..., Any], digits: int = DIGITS) -> Callable[..., Any]:
    """At so many digits, the caller's floats taken as they are."""

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        with mpmath.workdps(digits):
            return function(*arguments)

    return run


@precise
def error_eps(value: float, exact: mpmath.mpf, scale: Any = None, dtype: str = "float64") -> float:
    """|value − exact| in eps of `scale`, by default of exact."""
    size = abs(exact if scale is None else scale)
    return float(abs(mpmath.mpf(float(value)) - exact) / size / EPS[dtype])


@precise
def delay_threshold(mu: float, tau: int) -> mpmath.mpf:
    """By the crossing of z^(τ−1)(z − 1)(z − μ) = −κ with the unit circle."""
    m = mpmath.mpf(mu)
    end = mpmath.pi / (2 * tau + 1)

    def crossing(phi: mpmath.mpf) -> mpmath.mpf:
        z = mpmath.expj(phi)
        return mpmath.im(z ** (tau - 1) * (z - 1) * (z - m)) / phi

    if mu == 0:
        phi = end
    else:
        # arg of the left side grows from 0 (before the sign): one root below the end.
        low, high = mpmath.mpf(0), end
        sign = crossing(end * mpmath.mpf(10) ** -30)
        for _ in range(4 * DIGITS):
            middle = (low + high) / 2
            low, high = (middle, high) if crossing(middle) * sign > 0 else (low, middle)
        phi = high
    z = mpmath.expj(phi)
    return abs((z - 1) * (z - m))


def companion(mu: float, kappa: float, tau: int) -> np.ndarray:
    """Roots of z^(τ+1) − (1 + μ)z^τ + μz^(τ−1) + κ, times z where τ = 0."""
    coefficients = np.zeros(max(tau, 1) + 2)
    coefficients[0], coefficients[1], coefficients[2] = 1, -(1 + mu), mu
    coefficients[1 if tau == 0 else tau + 1] += kappa
    roots = np.roots(coefficients)
    return roots[np.argsort(-np.abs(roots))]


def block_map(mu: float, kappa: float, steps: int) -> np.ndarray:
    """(x, v) after a block, run step by step from two starts."""
    columns = []
    for x, v in ((1.0, 0.0), (0.0, 1.0)):
        pull = kappa * x
        for _ in range(steps):
            v = mu * v - pull
            x = x + v
        columns.append((x, v))
    return np.asarray(columns).T


@precise
def block_threshold(mu: float, steps: int) -> mpmath.mpf:
    """Jury's conditions with the sums as sums."""
    m = mpmath.mpf(mu)
    powers = [m**j for j in range(steps + 1)]
    s1 = mpmath.fsum(powers[:-1])
    s2 = mpmath.fsum((steps - j) * powers[j] for j in range(steps))
    a = powers[-1]
    bounds = [2 * (1 + a) / ((1 + a) * s2 - m * s1**2)]
    turning = m * s1**2 - a * s2
    if turning > 0:
        bounds.append((1 - a) / turning)
    return min(bounds)


@precise
def onset(mu: float, tau: int) -> mpmath.mpf:
    """The maximum of z^(τ−1)(1 − z)(z − μ) on (μ, 1), by golden sections."""
    m = mpmath.mpf(mu)
    low, high = m, mpmath.mpf(1)
    ratio = (mpmath.sqrt(5) - 1) / 2

    def height(z: mpmath.mpf) -> mpmath.mpf:
        return z ** (tau - 1) * (1 - z) * (z - m)

    for _ in range(130):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (a, high) if height(a) < height(b) else (low, b)
    return height((low + high) / 2)


@functools.partial(precise, digits=2 * DIGITS + 20)
def left_share(omega: float, zeta: float, t: float) -> mpmath.mpf:
    """φ(t) with complex roots where they are complex; 1 − φ is wanted to `DIGITS` digits too."""
    w, z, time = mpmath.mpf(omega), mpmath.mpf(zeta), mpmath.mpf(t)
    s = w * time
    if abs(z) == 1:
        return (1 + z * s) * mpmath.exp(-z * s)
    root = mpmath.sqrt(mpmath.mpc(z * z - 1))
    plus, minus = -z + root, -z - root
    value = (plus * mpmath.exp(minus * s) - minus * mpmath.exp(plus * s)) / (plus - minus)
    return mpmath.re(value)


def update_weight(p: mpmath.mpf, group_size: int) -> mpmath.mpf:
    """W_G(p) as its sum."""
    q, n = 1 - p, group_size - 1
    return mpmath.fsum(
        mpmath.binomial(n, b)
        * p**b
        * q ** (n - b)
        * (mpmath.sqrt(mpmath.mpf(n - b) / (1 + b)) + mpmath.sqrt(mpmath.mpf(b) / (n + 1 - b)))
        for b in range(n + 1)
    )


@functools.partial(precise, digits=24)
def escape_time(weight: Callable[[Any, Any], Any], p0: float, p1: float) -> mpmath.mpf:
    """∫ dp/(p²q²W) by adaptive quadrature in the log-odds; weight(p, q). To 24 digits: slow."""
    ends = [mpmath.log(mpmath.mpf(p) / (1 - mpmath.mpf(p))) for p in (p0, p1)]
    panels = int(ends[1] - ends[0]) + 1

    def rate(u: mpmath.mpf) -> mpmath.mpf:
        p, q = 1 / (1 + mpmath.exp(-u)), 1 / (1 + mpmath.exp(u))
        return 1 / (p * q * weight(p, q))

    return mpmath.quad(rate, mpmath.linspace(*ends, panels + 1))


def success_limit(p_ref: float, beta: float, eps: float, steps: int) -> float:
    """The success recursion iterated in plain floats."""
    p = p_ref
    for _ in range(steps):
        spread = beta * math.sqrt(p * (1 - p) + eps)
        if spread == 0:
            return 1.0
        p = p_ref / (p_ref + (1 - p_ref) * math.exp(-1 / spread))
    return p
