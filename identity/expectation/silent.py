"""Unanimous ("silent") groups: how often they occur, and what conditioning on the others does."""

from __future__ import annotations

import math

from identity._arrays import (
    EXACT_INTEGERS,
    Array,
    Namespace,
    dtype_name,
    inspectable,
    largest_float,
    placement,
    quiet,
    require_all,
    returned,
)
from identity.expectation._arguments import (
    arguments,
    group_size_argument,
    require_interior,
    require_unit,
)
from identity.expectation._powers import (
    complement_power,
    log_complement,
    mean_complement_power,
    minor,
    mixed_from_minor,
    mixed_per_minor,
    over_mixed,
)
from identity.expectation.weight import NEVER_KEPT
from identity.proven import proven

__all__ = [
    "conditional_baseline",
    "groups_per_kept",
    "silent_rate",
    "silent_rate_beta",
    "silent_rate_unbiased",
    "tail_miss",
]

# Elements of the largest temporary of a product over G factors.
_TEMPORARY = 2**20

# 1 − 8 eps: by more, the sum of both rates is not rounded past 1.
_SHRINK = {"float32": 1 - 2.0**-20, "float64": 1 - 2.0**-49}


@proven(
    "expectation.silent-rate",
)
def silent_rate(p: Array, group_size: int) -> Array:
    r"""Probability p^G + q^G that all rollouts of a group get the same reward.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.
    group_size : int
        Rollouts per prompt, G ≥ 2, static under jit.

    Returns
    -------
    array
        P(silent) ∈ [0, 1], like `p`; exactly 1 at p = 0 and 1.

    Raises
    ------
    DomainError
        Eagerly: p outside [0, 1] or NaN, empty p, group_size no integer or below 2.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and group_size. Assumed: independent
    binary rewards.

    *Postcondition.* Relative error at most 6 eps for G ≤ 2^20, wherever the result is a normal
    number: the rounding of 1 − p is carried along. Needs `**` of the library to 1 ulp.

    References
    ----------
    arXiv 2607.00152, section 5; 2503.14476.

    Examples
    --------
    >>> print(silent_rate(0.5, 4))
    0.125
    """
    size = group_size_argument(group_size)
    xp, (p,), dtype = arguments(p=p)
    require_unit(xp, "p", p)
    with quiet(xp):
        return returned(xp, p ** float(size) + complement_power(xp, p, size), dtype)


@proven(
    "expectation.silent-u-statistic",
)
def silent_rate_unbiased(correct: Array, rollouts: Array, group_size: int) -> Array:
    r"""Unbiased estimate of p^G + q^G from logged rollouts, [C(c,G) + C(n−c,G)]/C(n,G).

    The share of the C(n, G) groups that can be drawn from the log which are unanimous.

    Parameters
    ----------
    correct : array or int
        c, rollouts that were correct, 0 ≤ c ≤ n: whole numbers, of integer or floating dtype.
    rollouts : array or int
        n, rollouts logged, n ≥ G: a number or an array of the shape of `correct`.
    group_size : int
        2 ≤ G ≤ 2^20, static under jit.

    Returns
    -------
    array
        The estimate, in [0, 1]; floating dtype of the inputs, else the library's default.

    Raises
    ------
    DomainError
        Eagerly: counts that are no whole numbers or above 2²⁴ (2⁵³ in float64), c outside [0, n],
        n < G, empty arrays, shapes that differ, group_size no integer or out of range.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and group_size. Assumed: the n
    rollouts are independent with one p.

    *Postcondition.* Relative error at most 2 G eps; exactly 1 at c = 0 and c = n; exactly 0
    where no unanimous group exists. Memory O(size + 2^20). Counts have no derivative; what autodiff
    returns for floating ones means nothing.

    References
    ----------
    New here; the plug-in that it corrects is read off in arXiv 2607.00152, section 5.

    Examples
    --------
    >>> print(silent_rate_unbiased(2, 4, 2))
    0.3333333333333333
    """
    size = group_size_argument(group_size, bounded=True)
    xp, (c, n), dtype = arguments(correct=correct, rollouts=rollouts)
    for name, count in (("correct", c), ("rollouts", n)):
        if inspectable(count):
            whole = (count == xp.floor(count)) & (count >= 0)
            require_all(xp, name, count, whole, "hold whole numbers, 0 or more")
            largest = EXACT_INTEGERS[dtype_name(count)]
            require_all(xp, name, count, count <= largest, f"be at most {largest}")
    if inspectable(c, n):
        require_all(xp, "correct", c + 0 * n, c <= n, "be at most the number of rollouts")
        require_all(xp, "rollouts", n, n >= size, f"be at least the group size {size}")
    c = c + 0 * n
    value = _falling_ratio(xp, c, n + 0 * c, size) + _falling_ratio(xp, n - c, n + 0 * c, size)
    return returned(xp, value, dtype)


def _falling_ratio(xp: Namespace, c: Array, n: Array, size: int) -> Array:
    """C(c, G)/C(n, G) = Π_{i<G} (c−i)/(n−i), factors taken in blocks along a new last axis."""
    block = max(1, min(size, _TEMPORARY // max(1, math.prod(c.shape))))
    product = xp.ones_like(c)
    for start in range(0, size, block):
        i = _range(xp, c, start, min(start + block, size))
        left = xp.expand_dims(c, axis=-1) - i
        left = xp.where(left > 0, left, xp.zeros_like(left))
        product = product * xp.prod(left / (xp.expand_dims(n, axis=-1) - i), axis=-1)
    return product


def _range(xp: Namespace, like: Array, start: int, stop: int) -> Array:
    return xp.arange(start, stop, dtype=like.dtype, **placement(like))


@proven(
    "expectation.silent-rate",
)
def silent_rate_beta(a: Array, b: Array, group_size: int) -> Array:
    r"""Silent rate of a population with Beta(a, b) difficulties.

    B(a+G, b)/B(a, b) + B(a, b+G)/B(a, b) = Π_{i<G} (a+i)/(a+b+i) + Π_{i<G} (b+i)/(a+b+i).

    Parameters
    ----------
    a, b : array or float
        Shape parameters of the Beta law of p, positive; arrays of one shape, or numbers.
    group_size : int
        Rollouts per prompt, 2 ≤ G ≤ 2^20, static under jit.

    Returns
    -------
    array
        E[p^G + q^G] ∈ [0, 1].

    Raises
    ------
    DomainError
        Eagerly: a or b not positive, NaN or beyond a quarter of the largest float, empty arrays,
        shapes that differ, group_size no integer or out of range.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and group_size.

    *Postcondition.* Relative error at most (16 + 8 |ln S|) eps, S the smaller of the two terms
    that matters. Derivatives S′ with respect to a and b by autodiff are within 32 eps of
    |S′| + S/(a + b), for G ≤ 8 and parameters in [1e-20, 50]. Memory O(size + 2^20), time
    O(size·G).

    References
    ----------
    arXiv 2607.00152, section 5.

    Examples
    --------
    >>> print(round(float(silent_rate_beta(1.0, 1.0, 4)), 15))
    0.4
    """
    size = group_size_argument(group_size, bounded=True)
    xp, (a, b), dtype = arguments(a=a, b=b)
    largest = largest_float(a.dtype) / 4
    for name, value in (("a", a), ("b", b)):
        if inspectable(value):
            good = (value > 0) & (value <= largest)
            require_all(xp, name, value, good, f"be positive and at most {largest:.3g}")
    a, b = a + 0 * b, b + 0 * a
    total = _rising_ratio(xp, a, b, size) + _rising_ratio(xp, b, a, size)
    # Rounding may pass 1. A factor brings it back and, unlike a constant, keeps the derivative.
    within = xp.where(
        total > 1, xp.full_like(total, _SHRINK[dtype_name(total)]), xp.ones_like(total)
    )
    return returned(xp, within * total, dtype)


def _rising_ratio(xp: Namespace, a: Array, b: Array, size: int) -> Array:
    """Π_{i<G} (a+i)/(a+b+i): the first factor as it is, the others through their logarithms."""
    block = max(1, min(size, _TEMPORARY // max(1, math.prod(a.shape))))
    log = xp.zeros_like(a)
    for start in range(1, size, block):
        i = _range(xp, a, start, min(start + block, size))
        part, other = xp.expand_dims(a, axis=-1) + i, xp.expand_dims(b, axis=-1)
        ratio, rest = part / (part + other), other / (part + other)
        near = rest < 0.5
        half = xp.full_like(ratio, 0.5)
        logs = xp.where(
            near,
            log_complement(xp, xp.where(near, rest, half)),
            xp.log(xp.where(near, half, ratio)),
        )
        log = log + xp.sum(logs, axis=-1)
    return a / (a + b) * xp.exp(log)


@proven(
    "expectation.mixed-share",
    "expectation.dapo",
)
def groups_per_kept(p: Array, group_size: int) -> Array:
    r"""Groups drawn per kept group under dynamic sampling, 1/(1 − p^G − q^G).

    Parameters
    ----------
    p : array or float
        Success probability strictly between 0 and 1, any shape; dimensionless.
    group_size : int
        Rollouts per prompt, G ≥ 2, static under jit.

    Returns
    -------
    array
        Expected number of groups drawn until one is not unanimous, at least 1.

    Raises
    ------
    DomainError
        Eagerly: p outside (0, 1), subnormal or NaN, empty p, group_size no integer or below 2.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and group_size (infinite at 0, 1).

    *Postcondition.* Relative error at most 8 eps.

    References
    ----------
    arXiv 2503.14476.

    Examples
    --------
    >>> print(groups_per_kept(0.5, 2))
    2.0
    """
    size = group_size_argument(group_size)
    xp, (p,), dtype = arguments(p=p)
    require_interior(xp, "p", p, dtype, NEVER_KEPT)
    return returned(xp, over_mixed(xp, 1.0, p, size), dtype)


@proven(
    "expectation.conditional-baseline",
)
def conditional_baseline(p: Array, group_size: int) -> Array:
    r"""Mean success rate of a mixed group, E[k/G | 0 < k < G] = (p − p^G)/(1 − p^G − q^G).

    Above p for p < 1/2: given a mixed group advantages are biased, gradients are not.

    Parameters
    ----------
    p : array or float
        Success probability strictly between 0 and 1, any shape; dimensionless.
    group_size : int
        Rollouts per prompt, G ≥ 2, static under jit.

    Returns
    -------
    array
        The conditional mean, between 1/G (p → 0) and 1 − 1/G (p → 1).

    Raises
    ------
    DomainError
        Eagerly: p outside (0, 1), subnormal or NaN, empty p, group_size no integer or below 2.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and group_size.

    *Postcondition.* Relative error at most 12 eps.

    References
    ----------
    arXiv 2607.00152, section 5; 2510.23049.

    Examples
    --------
    >>> print(round(float(conditional_baseline(0.25, 2)), 15))
    0.5
    """
    size = group_size_argument(group_size)
    xp, (p,), dtype = arguments(p=p)
    require_interior(xp, "p", p, dtype, NEVER_KEPT)
    # p or, above ½, q is divided out of both sides: neither they nor their derivatives cancel.
    m = minor(xp, p)
    below, above = 1 - m ** float(size - 1), (1 - m) * mean_complement_power(xp, m, size - 1)
    share = xp.where(p <= 0.5, below, above)
    return returned(xp, share / mixed_per_minor(xp, m, size), dtype)


@proven(
    "expectation.tail-miss",
)
def tail_miss(p: Array, tail: Array, group_size: int) -> Array:
    r"""Probability (1−τ)^N − q^N − (p−τ)^N of a mixed group without a rare correct rollout.

    Not monotone in N: at τ = 0.01, p = 0.3 it is largest (0.876) at N = 10.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.
    tail : float or array of the shape of `p`
        Probability τ of the rare correct answers, 0 ≤ τ ≤ p.
    group_size : int
        Rollouts per prompt, N ≥ 2, static under jit.

    Returns
    -------
    array
        The probability, like `p`.

    Raises
    ------
    DomainError
        Eagerly: p outside [0, 1], tail outside [0, p], NaN, empty arrays, shapes that differ,
        group_size no integer or below 2.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and group_size.

    *Postcondition.* Relative error at most 16 eps: evaluated as (1−τ)^N (1 − s^N − (1−s)^N) with
    s = (p−τ)/(1−τ), which does not cancel.

    References
    ----------
    arXiv 2602.06717.

    Examples
    --------
    >>> print(round(float(tail_miss(0.3, 0.01, 10)), 3))
    0.876
    """
    size = group_size_argument(group_size)
    xp, (p, tail), dtype = arguments(p=p, tail=tail)
    require_unit(xp, "p", p)
    require_unit(xp, "tail", tail)
    if inspectable(p, tail):
        require_all(xp, "tail", tail + 0 * p, tail <= p, "be at most p")
    others = 1 - tail
    divisor = xp.where(others > 0, others, xp.ones_like(others))
    s = (p - tail) / divisor
    m = xp.where(s <= 0.5, s, (1 - p) / divisor)
    return returned(xp, complement_power(xp, tail, size) * mixed_from_minor(xp, m, size), dtype)
