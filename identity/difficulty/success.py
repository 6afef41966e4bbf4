"""What observed successes say: the spread p(1−p), and the noise of a gated gradient."""

from __future__ import annotations

from identity._arrays import (
    EXACT_INTEGERS,
    Array,
    dtype_name,
    inspectable,
    quiet,
    require_all,
    returned,
)
from identity.difficulty._arguments import require_rate
from identity.errors import DomainError
from identity.expectation._arguments import arguments
from identity.proven import proven

__all__ = ["success_gated_snr", "success_variance"]


@proven(
    "difficulty.plug-in",
)
def success_variance(correct: Array, rollouts: Array, *, unbiased: bool = True) -> Array:
    """Estimate of p(1−p) from c correct of K rollouts: p̂(1−p̂) K/(K−1), p̂ = c/K.

    The plug-in p̂(1−p̂) has the mean (1 − 1/K) p(1−p): it is too small, by half at K = 2.

    Parameters
    ----------
    correct : array or int
        c, rollouts that were correct, 0 ≤ c ≤ K: whole numbers, of integer or floating dtype.
    rollouts : array or int
        K, rollouts logged: a number or an array of the shape of `correct`.
    unbiased : bool
        False for the plug-in p̂(1−p̂).

    Returns
    -------
    array
        The estimate, in the floating dtype of the inputs, else the library's default. At most
        ¼ for the plug-in and ¼ K/(K−1) for the unbiased one.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: whole numbers of at most 2²⁴ (2⁵³ in float64), c at most K, K at
    least 2, or 1 for the plug-in; arrays of one shape, not empty, or numbers. *(assumed under
    jit)*: such values. Assumed: K independent rollouts with one p.

    *Postcondition*: within 2 eps, relative; exactly 0 at c = 0 and c = K. Counts have no
    derivative.

    References
    ----------
    The sample variance with Bessel's correction. arXiv 2603.11178 weights prompts by p̂(1−p̂).

    Examples
    --------
    >>> from identity.difficulty import success_variance
    >>> success_variance([0, 1, 2, 3, 4], 4)
    array([0.        , 0.25      , 0.33333333, 0.25      , 0.        ])
    >>> print(success_variance(2, 4, unbiased=False))
    0.25
    """
    if not isinstance(unbiased, bool):
        raise DomainError("unbiased", unbiased, "be True or False")
    xp, (c, n), dtype = arguments(correct=correct, rollouts=rollouts)
    largest = EXACT_INTEGERS[dtype_name(c)]
    for name, count in (("correct", c), ("rollouts", n)):
        if inspectable(count):
            whole = (count == xp.floor(count)) & (count >= 0) & (count <= largest)
            require_all(xp, name, count, whole, f"hold whole numbers from 0 to {largest}")
    least = 2 if unbiased else 1
    if inspectable(n):
        require_all(xp, "rollouts", n, n >= least, f"be at least {least}")
    if inspectable(c, n):
        require_all(xp, "correct", c + 0 * n, c <= n, "be at most the number of rollouts")
    with quiet(xp):
        return returned(xp, (c / n) * ((n - c) / (n - float(unbiased))), dtype)


@proven(
    "difficulty.snr-vanishes",
)
def success_gated_snr(p: Array) -> Array:
    """Signal-to-noise ratio √(p/(1−p)) of a gradient that only successes carry.

    For g = R·v, R ∈ {0, 1} with mean p and v fixed, the mean is pv and the standard deviation
    √(p(1−p)) |v|. Their ratio vanishes at p = 0 and grows without bound at p = 1.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.

    Returns
    -------
    array
        The ratio for one rollout, like `p`; √n times it for a mean of n independent ones.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: p in [0, 1), not NaN, not empty. *(assumed under jit)*: such p; at
    p = 1 the result is ∞.

    *Postcondition*: within 3 eps, relative; exactly 0 at p = 0, where the derivative is +∞.

    References
    ----------
    arXiv 2603.11178, whose version 1 states that the ratio vanishes at both ends, for gradients
    of distillation.

    Examples
    --------
    >>> from identity.difficulty import success_gated_snr
    >>> success_gated_snr([0.0, 0.2, 0.5, 0.9])
    array([0. , 0.5, 1. , 3. ])
    """
    xp, (p,), dtype = arguments(p=p)
    require_rate(xp, p, "the ratio is infinite at 1", one=True)
    with quiet(xp):
        # At 0 the numerator stands for the odds, whose rule would multiply infinity by 0.
        return returned(xp, xp.sqrt(xp.where(p == 0, p, p / (1 - p))), dtype)
