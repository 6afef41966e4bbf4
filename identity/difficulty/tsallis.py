"""Tsallis' family between the success rate and its logarithm, and the escort law."""

from __future__ import annotations

from identity._arrays import (
    Array,
    Namespace,
    as_arrays,
    finish,
    floating_dtype,
    inspectable,
    quiet,
    require_all,
    require_not_empty,
    smallest_normal,
    stop_gradient,
)
from identity.difficulty._arguments import exponent, require_rate
from identity.difficulty._powers import power
from identity.errors import DomainError
from identity.expectation._arguments import arguments
from identity.groups._arithmetic import converted
from identity.proven import proven

__all__ = ["escort", "tsallis_weight"]

_SMALLEST = 2.0**-20


@proven(
    "difficulty.tsallis",
)
def tsallis_weight(p: Array, q: float) -> Array:
    """Weight p^−q of the loss −log_q p: ∇(−log_q p) = p^−q ∇(−p) = p^(1−q) ∇(−log p).

    log_q p = (p^(1−q) − 1)/(1−q), which is log p at q = 1: q goes from the success rate (q = 0)
    to its logarithm (q = 1). The same number is what GARL amplifies by; p^(1−q) is what PAFT
    attenuates by.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.
    q : float
        Tsallis' index, dimensionless; rounded to the computing dtype. Not 1 − p.

    Returns
    -------
    array
        The weight, at least 1, like `p`.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: p in [0, 1], not NaN, not empty; for q > 0 normal, as the weight is
    infinite at 0; q a Python number from 0 to 2²⁰. *(assumed under jit)*: such p; at 0 the result
    is ∞.

    *Postcondition*: within 2 eps, relative; exactly 1 at q = 0 and at p = 1. The derivative
    −q p^(−q−1) is within 4 + (1 + q) |log p| eps, relative, and −∞ where it overflows.

    References
    ----------
    arXiv 2604.25907.

    Examples
    --------
    >>> from identity.difficulty import tsallis_weight
    >>> tsallis_weight([0.0625, 0.25, 1.0], 0.5)
    array([4., 2., 1.])
    """
    xp, (p,), dtype = arguments(p=p)
    index = exponent("q", q, xp, dtype)
    require_rate(xp, p, "the weight is infinite at 0", zero=index > 0)
    with quiet(xp):
        return finish(xp, power(xp, p, -index), dtype, "p")


@proven(
    "difficulty.tsallis",
)
def escort(alpha: Array, q: float) -> Array:
    """Escort law θ_j ∝ α_j^(1/q): where Tsallis' loss leads that is fed labels with the law α.

    The least mean loss Σ α_j (−log_q θ_j) over laws θ. It is α itself only at q = 1; below, θ is
    more concentrated than α, above, less.

    Parameters
    ----------
    alpha : array, shape (..., J)
        Probabilities of the labels along the last axis, in any unit.
    q : float
        Tsallis' index, dimensionless; rounded to the computing dtype.

    Returns
    -------
    array of the shape of `alpha`
        θ, which sums to 1 along the last axis.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: at least one axis, nothing empty; alpha finite, at least 0, not all
    0 in any row, integers at most 2²⁴ (2⁵³ in float64); q a Python number from 2⁻²⁰ to 2²⁰.
    *(assumed under jit)*: such alpha; a row of zeros gives NaN.

    *Postcondition*: with r_j = α_j/max α, within J + 8 + 4/q + |log r_j|/q eps, relative, where
    θ_j is a normal number; no ratio underflows that matters. Exactly 0 where α_j is, exactly 1/J
    each if all are equal and J is a power of two. Derivatives are finite but at α_j = 0 for
    q > 1, where ∂θ_j/∂α_j is ∞; forward mode then gives NaN in the whole row.

    References
    ----------
    arXiv 2604.25907; the name is from statistical physics.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.difficulty import escort
    >>> print(escort(np.array([0.75, 0.25]), 0.5))
    [0.9 0.1]
    """
    xp, (values,) = as_arrays(alpha=alpha)
    shape = tuple(values.shape)
    if not shape:
        raise DomainError("alpha", shape, "have labels along its last axis")
    require_not_empty("alpha", values)
    dtype = floating_dtype(xp, values)
    power_of = 1.0 / exponent("q", q, xp, dtype, low=_SMALLEST)
    values = converted(xp, "alpha", values, dtype)
    peak = xp.max(stop_gradient(values), axis=-1, keepdims=True)
    if inspectable(values):
        require_all(xp, "alpha", values, values >= 0, "be at least 0")
        require_all(xp, "alpha", peak, peak > 0, "not be all 0 in a row")
    with quiet(xp):
        # θ does not depend on the scale of α: its derivative needs no derivative of the peak.
        raised = _raised_ratio(xp, values, peak, power_of)
        return finish(xp, raised / xp.sum(raised, axis=-1, keepdims=True), dtype, "alpha")


def _raised_ratio(xp: Namespace, values: Array, peak: Array, exponent: float) -> Array:
    """(value/peak)^exponent; from fourth roots where the ratio underflows and the power may not."""
    ratio = values / peak
    far = (ratio < smallest_normal(values.dtype)) & (values > 0)
    one = xp.ones_like(values)
    roots = xp.sqrt(xp.sqrt(xp.where(far, values, one))) / xp.sqrt(xp.sqrt(peak))
    near = power(xp, xp.where(far, one, ratio), exponent)
    return xp.where(far, power(xp, xp.where(far, roots, one), 4.0 * exponent), near)
