"""The variance of an update made from a budget of prompts and rollouts."""

from __future__ import annotations

from typing import Any

from identity._arrays import (
    EXACT_INTEGERS,
    Array,
    Namespace,
    as_arrays,
    common_dtype,
    dtype_name,
    finish,
    inspectable,
    integer_argument,
    quiet,
    require_all,
    require_not_empty,
)
from identity.errors import DomainError
from identity.groups._arithmetic import converted
from identity.preference._arguments import require_same_shape, require_weights
from identity.proven import proven

__all__ = ["budget_variance"]


@proven(
    "preference.budget-variance",
)
def budget_variance(
    prompt_means: Array, prompt_variances: Array, *, prompts: int, weights: Array | None = None
) -> Array:
    """Variance (1/Q)[Var_q(μ_q) + E_q V_G(q)] of the mean step of Q groups.

    Each of Q prompts is drawn from a pool of N, independently and with replacement, and gives one
    group of G rollouts, whose step has mean μ_q and variance V_G(q).

    Parameters
    ----------
    prompt_means : array, shape (N,) or (N, ...)
        μ_q of each prompt of the pool, in units of the step; further axes are coordinates.
    prompt_variances : array of the shape of `prompt_means`
        V_G(q), the variance of the step of one group of prompt q at the group size used, in
        squared units. For a mean of independent rollouts it is the variance of one rollout over
        G; for steps with a baseline from the group it has to be taken from groups.
    prompts : int
        Q ≥ 1, the prompts of one update.
    weights : array, shape (N,), optional
        How often each prompt is drawn, in any unit; all equally often by default.

    Returns
    -------
    array, shape (...)
        The variance of each coordinate of the update; 0-d for means of shape (N,). Summed over
        coordinates it is the trace of the covariance.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: equal shapes of at least one axis, nothing empty; means finite,
    variances finite and at least 0; weights finite, at least 0, with a positive sum; integers at
    most 2²⁴ in magnitude (2⁵³ in float64); prompts an integer from 1 to that bound. *(assumed
    under jit)*: values like that. Assumed: prompts drawn with replacement, groups independent
    given their prompts.

    *Postcondition*: within 2N + 16 ulp of itself, as long as no squared deviation and no ratio of
    two weights underflows. The part of the means is exactly 0 where all means are equal. The
    derivative in a weight of 0 leaves out a mean whose squared distance overflows.

    Rollouts of one prompt share it: the QG rollouts of an update are not independent draws, and
    the variance is not that of one rollout over QG. More rollouts lower V_G(q) alone;
    Var_q(μ_q) falls with more prompts only.

    References
    ----------
    The law of total variance. arXiv 2510.00977 treats rollouts as independent draws, as we read
    it.

    Examples
    --------
    One prompt of mean 0, one of mean 2, each with variance 3 for its group:

    >>> import numpy as np
    >>> from identity.preference import budget_variance
    >>> print(budget_variance(np.array([0.0, 2.0]), np.array([3.0, 3.0]), prompts=8))
    0.5
    """
    count = integer_argument("prompts", prompts)
    named: dict[str, Any] = {"prompt_means": prompt_means, "prompt_variances": prompt_variances}
    if weights is not None:
        named["weights"] = weights
    xp, arrays = as_arrays(**named)
    means, variances, *rest = arrays
    shape = tuple(means.shape)
    if not shape:
        raise DomainError("prompt_means", shape, "have prompts along its first axis")
    require_not_empty("prompt_means", means)
    require_same_shape({"prompt_means": means, "prompt_variances": variances})
    if rest and tuple(rest[0].shape) != shape[:1]:
        rule = f"have one entry for each prompt, shape {shape[:1]}"
        raise DomainError("weights", tuple(rest[0].shape), rule)
    dtype = common_dtype(xp, *arrays)
    means, variances, *rest = (
        converted(xp, name, array, dtype) for name, array in zip(named, arrays, strict=True)
    )
    largest = EXACT_INTEGERS[dtype_name(means)]
    if not 1 <= count <= largest:
        raise DomainError("prompts", count, f"be an integer from 1 to {largest}")
    if inspectable(variances):
        require_all(xp, "prompt_variances", variances, variances >= 0, "be at least 0")
    share = rest[0] if rest else xp.ones_like(xp.reshape(means, (shape[0], -1))[:, 0])
    require_weights(xp, share)
    with quiet(xp):
        share = share / xp.max(share)  # their sum is then finite
        spread = _variance(xp, means, share) + _mean(xp, variances, share)
        return finish(xp, spread / float(count), dtype, "prompt_means")


def _mean(xp: Namespace, values: Array, share: Array) -> Array:
    """Weighted mean over the first axis."""
    weights = xp.reshape(share / xp.sum(share), (-1,) + (1,) * (values.ndim - 1))
    return xp.sum(weights * values, axis=0)


def _variance(xp: Namespace, values: Array, share: Array) -> Array:
    """Weighted variance over the first axis, from the distances to one of the values: to that of
    the largest weight, which is never far from the mean in units of the spread."""
    anchor = xp.take(values, xp.reshape(xp.argmax(share), (1,)), axis=0)
    weights = xp.reshape(share / xp.sum(share), (-1,) + (1,) * (values.ndim - 1))
    # A prompt that is never drawn may be anywhere, but counts for the derivative in its weight.
    offset = values - anchor
    counts = (weights > 0) | xp.isfinite(offset * offset)
    offset = xp.where(counts, offset, xp.zeros_like(values))
    deviation = xp.where(counts, offset - _mean(xp, offset, share), xp.zeros_like(values))
    return xp.sum((weights * deviation) * deviation, axis=0)
