"""p^a (1 − p)^b with real exponents, elementwise on any array library."""

from __future__ import annotations

from identity._arrays import Array, Namespace

__all__ = ["complement_power", "lowered_product", "power", "power_product"]


def power(xp: Namespace, x: Array, exponent: float) -> Array:
    """x^exponent within 1 ulp; exactly 1, x and 1/x (½ ulp) for the exponents 0, 1 and −1."""
    if exponent == 0:
        return 0 * x + 1  # stays in the graph of a differentiated x, and a NaN stays NaN
    if exponent == 1:
        return x
    if exponent == -1:
        return 1 / x
    return x**exponent


def lowered_power(xp: Namespace, x: Array, exponent: float) -> Array:
    """x^(exponent − 1) within 2 ulp: below ½ the difference would be rounded, and log x may be
    large."""
    return power(xp, x, exponent) / x if exponent < 0.5 else power(xp, x, exponent - 1)


def complement_power(xp: Namespace, p: Array, exponent: float) -> Array:
    """(1 − p)^exponent, within 4 ulp for exponents up to 2^20 in magnitude.

    With q = fl(1 − p), (1 − p)^b = q^b exp(b log(1 + δ/q)) where δ = (1 − q) − p is exact and 0
    for p > 1/2, as for whole exponents in `identity.expectation`. For |b| ≤ 1 the factor is 1 to
    within an ulp, and left out.
    """
    q = 1 - p
    value = power(xp, q, exponent)
    if abs(exponent) <= 1:
        return value
    lost = (1 - q) - p
    return value * xp.exp(exponent * (lost / xp.where(q > 0, q, xp.ones_like(q))))


def power_product(xp: Namespace, p: Array, a: float, b: float) -> Array:
    """p^a (1 − p)^b, within 6 ulp."""
    if a == 0 or b == 0:
        return power(xp, p, a) if b == 0 else complement_power(xp, p, b)
    return power(xp, p, a) * complement_power(xp, p, b)


def lowered_product(xp: Namespace, p: Array, a: float, b: float) -> Array:
    """p^(a−1) (1 − p)^(b−1), within 8 ulp."""
    if b == 1:
        return lowered_power(xp, p, a)
    right = lowered_power(xp, 1 - p, b) if b <= 2 else complement_power(xp, p, b - 1)
    return right if a == 1 else lowered_power(xp, p, a) * right
