"""How many rollouts a prompt needs: the exact smallest group, and the laws that approximate it."""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import numpy as np

from identity._arrays import (
    Array,
    inspectable,
    integer_argument,
    largest_float,
    require_all,
    returned,
)
from identity.errors import DomainError
from identity.expectation._arguments import arguments, number, require_interior
from identity.expectation._binomial import binomial_mean, window
from identity.expectation.weight import grpo_coefficients
from identity.proven import proven

__all__ = ["group_size_law", "smallest_group_size"]

_RAREST = 1e-16
_CLOSEST = 1e-6
_NO_SPREAD = "a prompt that always or never succeeds has no spread to be faithful to"


@proven(
    "expectation.monotone",
)
def smallest_group_size(p: float, fidelity: float) -> int:
    r"""Smallest group size G with φ(G, p) ≥ `fidelity`, exactly.

    φ(G, p) = E[σ]/√(pq) never decreases in G (expectation.monotone), so that doubling and
    bisection find it.

    Parameters
    ----------
    p : float
        Success probability in [1e-16, 1 − 2^-53]; a number or a 0-d array, not traced.
    fidelity : float
        Target for φ, in (0, 1 − 1e-6]: 0.95 for ε = 5 %.

    Returns
    -------
    int
        The smallest G ≥ 2 with φ(G, p) ≥ fidelity, for the very floats passed.

    Raises
    ------
    DomainError
        p or fidelity no number, NaN or outside the ranges above; traced arguments.

    Notes
    -----
    *Preconditions.* Checked: the ranges.

    *Postcondition.* Exact. A comparison that floats cannot settle with their error bound is made
    with `decimal`, to as many digits as it takes. That ends: for G ≥ 4, φ(G, p) is irrational
    relative to any rational target (the numbers √(k(G−k)) fall into two or more classes modulo
    rational factors: take k = 1 and a prime k in (G/2, G), or k = 2 if that prime is G − 1);
    G = 2 and 3, where φ² = pq and 2pq, are compared as fractions. Milliseconds; up to three
    seconds at the corner p → 0, fidelity → 1 − 1e-6.

    References
    ----------
    arXiv 2607.00152, Table 1 and Corollary 2.

    Examples
    --------
    >>> smallest_group_size(0.5, 0.9), smallest_group_size(0.05, 0.99)
    (7, 273)
    """
    target = number("fidelity", fidelity)
    if not 0 < target <= 1 - _CLOSEST:
        raise DomainError("fidelity", target, f"lie in (0, 1 - {_CLOSEST:g}]")
    rate = number("p", p)
    if not _RAREST <= rate < 1:
        raise DomainError("p", rate, f"lie in [{_RAREST:g}, 1): {_NO_SPREAD}")
    # φ is symmetric, and 1 − p is exact for p > 1/2.
    m = min(rate, 1 - rate)
    if _reaches(2, m, target):
        return 2
    guess = max(3, round(1 / (8 * (1 - target) * m * (1 - m))))
    low, high = 2, guess
    while not _reaches(high, m, target):
        low, high = high, 2 * high
    while high - low > 1:
        # low misses the target, high meets it.
        middle = (low + high) // 2
        if _reaches(middle, m, target):
            high = middle
        else:
            low = middle
    return high


def _reaches(group_size: int, m: float, target: float) -> bool:
    """Whether φ(G, m) ≥ target, decided exactly; m in (0, 1/2]."""
    if group_size <= 3:
        exact = Fraction(m)
        return (group_size - 1) * exact * (1 - exact) >= Fraction(target) ** 2
    q = 1 - m
    n = group_size - 1
    low, high = window(n, m, n * m * q)
    value = math.sqrt(m * q) * binomial_mean(lambda b: grpo_coefficients(b, group_size), n, m, q)
    # Each of the window's weights is a product of at most high − low ratios of 2 ulp; 64 covers
    # the sums, the roots and the ulp by which q is rounded.
    error = (2 * (high - low) + 64) * np.finfo(np.float64).eps
    if abs(value - target) > error:
        return value > target
    digits = 40
    while True:
        phi, bound = _decimal_fidelity(group_size, m, digits)
        if abs(phi - Decimal(target)) > bound:
            return phi > Decimal(target)
        digits *= 2


def _decimal_fidelity(group_size: int, m: float, digits: int) -> tuple[Decimal, Decimal]:
    """φ(G, m) to about `digits` digits, and a bound on its error."""
    n = group_size - 1
    low, high = window(n, m, n * m * (1 - m), -digits * math.log(10))
    with localcontext(Context(prec=digits + 12)):
        p = Decimal(m)
        q = 1 - p
        odds = p / q
        centre = min(max(math.floor(group_size * m), low), high)
        total, mass = Decimal(0), Decimal(0)
        for step in (1, -1):
            weight, b = Decimal(1), centre
            if step < 0:
                b, weight = centre - 1, Decimal(centre) / ((n - centre + 1) * odds)
            while low <= b <= high:
                c = (Decimal(n - b) / (1 + b)).sqrt() + (Decimal(b) / (group_size - b)).sqrt()
                total += weight * c
                mass += weight
                if step > 0:
                    weight = weight * (n - b) / (b + 1) * odds
                else:
                    weight = weight * b / ((n - b + 1) * odds)
                b += step
        phi = (p * q).sqrt() * total / mass
        # Rounding: ten operations a term, each to 10^-(digits + 11); and what the window misses.
        bound = phi * (
            Decimal(20 * (high - low + 4)).scaleb(-digits - 11) + Decimal(2).scaleb(-digits)
        )
    return phi, bound


@proven(
    "expectation.group-size-law",
    "expectation.group-size-law-second-order",
)
def group_size_law(p: Array, epsilon: Array, *, order: int = 1) -> Array:
    r"""Group size at which an expansion of the attenuation reaches 1 − ε.

    Order 1 is G* = 1/(8εpq) (Corollary 2): below the exact answer, so that φ(G*) < 1 − ε. Order 2
    is the root of ε = a/G + b/G² with a = 1/(8pq), b = (7 − 16pq)/(128p²q²).

    Parameters
    ----------
    p : array or float
        Success probability strictly between 0 and 1, any shape; dimensionless.
    epsilon : float or array of the shape of `p`
        Loss of fidelity accepted, strictly between 0 and 1: 0.05 for 5 %.
    order : {1, 2}, keyword-only
        Terms of the expansion.

    Returns
    -------
    array
        The (real) group size; round up for rollouts. See `smallest_group_size` for the exact one.

    Raises
    ------
    DomainError
        Eagerly: p or epsilon outside (0, 1) or NaN, a result that is not finite, empty arrays,
        shapes that differ; order neither 1 nor 2.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and order. The expansion is for
    G pq ≫ 1: where p ≪ ε it underestimates (expectation.group-size-rare).

    *Postcondition.* Relative error at most 8 eps as a formula in p and ε.

    References
    ----------
    arXiv 2607.00152, Corollaries 1 and 2.

    Examples
    --------
    >>> print(group_size_law(0.5, 0.125), round(float(group_size_law(0.05, 0.01, order=2)), 1))
    4.0 271.1
    """
    order = integer_argument("order", order, (1, 2))
    xp, (p, epsilon), dtype = arguments(p=p, epsilon=epsilon)
    require_interior(xp, "p", p, dtype, _NO_SPREAD)
    require_interior(xp, "epsilon", epsilon, dtype, "it is the accepted loss of fidelity")
    # 1/(8pq) in partial fractions, and 7/2 − 8pq as a square: their derivatives do not cancel.
    size = 1 / (8 * p) + 1 / (8 * (1 - p))
    if order == 2:
        size = size * (0.5 + xp.sqrt(0.25 + epsilon * (1.5 + 2 * (1 - 2 * p) ** 2)))
    # Divided last: what overflows is then the result itself, found before it happens.
    if inspectable(size, epsilon):
        largest = largest_float(dtype)
        fits = size <= largest * epsilon
        require_all(xp, "p", p + 0 * epsilon, fits, "leave the group size finite at this epsilon")
    return returned(xp, size / epsilon, dtype)
