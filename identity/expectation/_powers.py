"""Closed forms in p^G and q^G without cancellation, elementwise on any array library.

Floating p carries q = 1 − p only up to a rounding that q^G multiplies by G. Each form here
therefore works from p, or from the smaller of p and q, which 1 − p gives exactly.

Automatic differentiation sees the same forms, so that they are chosen for it too: what cancels
between a numerator and a denominator is divided out on paper, or their derivatives would cancel in
floats; and no factor is both infinite in one derivative and zero in another.
"""

from __future__ import annotations

from identity._arrays import Array, Namespace

__all__ = [
    "any_success",
    "complement_power",
    "log_complement",
    "mean_complement_power",
    "minor",
    "mixed_from_minor",
    "mixed_per_minor",
    "over_mixed",
    "root_of_product",
]

# Below this value of N p, 1 − q^N is tiny; its quotient by p is then a series of _TERMS in p.
_NEAR = 0.25
_TERMS = 12


def minor(xp: Namespace, p: Array) -> Array:
    """min(p, 1 − p), exact: 1 − p is rounded only where p is the smaller."""
    return xp.where(p <= 0.5, p, 1 - p)


def root_of_product(xp: Namespace, p: Array) -> Array:
    """√(pq), within 2 ulp, with its infinite derivatives at 0 and 1.

    There the vanishing factor stands for the product, whose rule would multiply infinity by 0.
    """
    q = 1 - p
    return xp.sqrt(xp.where(p == 0, p, xp.where(q == 0, q, p * q)))


def complement_power(xp: Namespace, p: Array, exponent: int) -> Array:
    """(1 − p)^exponent, exponent ≥ 1, within 4 ulp for exponents up to 2^20.

    With q = fl(1 − p), (1 − p)^k = q^k exp(k log(1 + δ/q)) where δ = (1 − q) − p is exact and 0
    for p > 1/2. The square of δ/q is left out: at most 2^20 (eps/2)², below eps/16 in float32.
    """
    q = 1 - p
    if exponent == 1:
        return q
    lost = (1 - q) - p
    correction = xp.exp(float(exponent) * (lost / xp.where(q > 0, q, xp.ones_like(q))))
    return q ** float(exponent) * correction


def log_complement(xp: Namespace, p: Array) -> Array:
    """log(1 − p) for p ≤ 1/2, within 3 ulp, also where it is tiny.

    From `log` and the rounding of 1 − p as in `complement_power`: the log1p of XLA is off by up to
    120 ulp around −0.414 (jaxlib 0.10).
    """
    q = 1 - p
    return xp.log(q) + ((1 - q) - p) / q


def any_success(xp: Namespace, p: Array, trials: int) -> Array:
    """1 − q^trials, within 5 ulp, also where it is tiny.

    expm1 only where it is needed: its derivative, computed as expm1 + 1, cancels elsewhere.
    """
    near = p * float(trials) < _NEAR
    tiny = xp.where(near, p, xp.zeros_like(p))
    small = -xp.expm1(float(trials) * log_complement(xp, tiny))
    return xp.where(near, small, 1 - complement_power(xp, p, trials))


def mixed_from_minor(xp: Namespace, m: Array, group_size: int) -> Array:
    """1 − p^G − q^G from m = min(p, q), within 6 ulp: the probability that a group is mixed."""
    return any_success(xp, m, group_size) - m ** float(group_size)


def mixed_per_minor(xp: Namespace, m: Array, group_size: int) -> Array:
    """(1 − p^G − q^G)/m from m = min(p, q), within 7 ulp; G at m = 0."""
    return mean_complement_power(xp, m, group_size) - m ** float(group_size - 1)


def over_mixed(xp: Namespace, value: Array | float, p: Array, group_size: int) -> Array:
    """value/(1 − p^G − q^G), with its pole in a factor of its own.

    The derivative of 1/m may then be infinite, and meets no power of m that is 0.
    """
    m = minor(xp, p)
    return value / mixed_per_minor(xp, m, group_size) / m


def mean_complement_power(xp: Namespace, p: Array, trials: int) -> Array:
    """(1 − q^N)/p = 1 + q + ... + q^(N−1), within 5 ulp; N at p = 0, with its derivative there."""
    near = p * float(trials) < _NEAR
    zero, one = xp.zeros_like(p), xp.ones_like(p)
    s = xp.where(near, p, zero)
    series = one
    for j in range(_TERMS, 0, -1):
        series = 1 - s * ((trials - j) / (j + 1)) * series
    far = any_success(xp, p, trials) / xp.where(near, one, p)
    return xp.where(near, float(trials) * series, far)
