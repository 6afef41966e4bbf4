"""What sampling does with pairs: how many are discarded, and the advantage that is expected."""

from __future__ import annotations

import math
from typing import Any

from identity._arrays import (
    Array,
    as_arrays,
    common_dtype,
    finish,
    inspectable,
    integer_argument,
    quiet,
    require_all,
    require_not_empty,
    returned,
)
from identity.expectation import silent_rate
from identity.expectation._arguments import arguments, require_interior, require_unit
from identity.groups._arithmetic import converted
from identity.preference._arguments import require_same_shape, require_weights
from identity.proven import proven

__all__ = ["discard_rate", "expected_advantage", "mean_discard_rate"]


@proven(
    "preference.discard-rate",
)
def discard_rate(p: Array) -> Array:
    """Probability p² + q² that both rollouts of a pair get the same reward.

    Such a pair has no better response: it is discarded as a preference, and takes no step under
    GRPO. 1 − p² − q² = 2pq is the rate of the pairs that are kept.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.

    Returns
    -------
    array
        The rate, between ½ and 1, like `p`.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: p in [0, 1], not NaN, not empty. *(assumed under jit)*: such values.
    Assumed: two independent binary rewards.

    *Postcondition*: within 6 eps, relative; exactly 1 at p = 0 and p = 1.

    The rate at a mean of several p is at most the mean of their rates; see `mean_discard_rate`.

    References
    ----------
    arXiv 2510.00977, appendix D.3, where 1 − p² − q² stands for it, as we read it.

    Examples
    --------
    >>> from identity.preference import discard_rate
    >>> discard_rate([0.0, 0.5, 0.75])
    array([1.   , 0.5  , 0.625])
    """
    return silent_rate(p, 2)


@proven(
    "preference.discard-rate",
    "preference.mean-discard-rate",
)
def mean_discard_rate(p: Array, *, weights: Array | None = None) -> Array:
    """Share of discarded pairs over prompts: the weighted mean of p² + q².

    Parameters
    ----------
    p : array of any shape
        Success probability of each prompt.
    weights : array of the shape of `p`, optional
        How often each prompt is drawn, in any unit; all equally often by default.

    Returns
    -------
    array, 0-d
        The share, between ½ and 1.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: p as in `discard_rate`, weights finite, not negative, with a
    positive sum. *(assumed under jit)*: such values. Assumed: two independent binary rewards for
    each prompt.

    *Postcondition*: within 2N + 12 eps, relative, N the number of prompts.

    It exceeds `discard_rate` at the mean of p by 2 Var(p), and equals it only if all p with a
    positive weight are equal.

    References
    ----------
    arXiv 2510.00977, appendix D.3, which evaluates at the mean, as we read it.

    Examples
    --------
    Half of the prompts at 0.1, half at 0.9, against the rate 0.5 at their mean:

    >>> import numpy as np
    >>> from identity.preference import mean_discard_rate
    >>> print(round(float(mean_discard_rate(np.array([0.1, 0.9]))), 12))
    0.82
    """
    named: dict[str, Any] = {"p": p} if weights is None else {"p": p, "weights": weights}
    xp, arrays = as_arrays(**named)
    require_not_empty("p", arrays[0])
    require_same_shape(dict(zip(named, arrays, strict=True)))
    dtype = common_dtype(xp, arrays[0], arrays[-1])
    rate = silent_rate(converted(xp, "p", arrays[0], dtype), 2)
    if weights is None:
        return finish(xp, xp.mean(rate), dtype, "p")
    share = converted(xp, "weights", arrays[1], dtype)
    require_weights(xp, share)
    with quiet(xp):
        share = share / xp.max(share)
        return finish(xp, xp.sum(share * rate) / xp.sum(share), dtype, "p")


@proven(
    "preference.advantage-limit",
)
def expected_advantage(p: Array, rewards: Array, *, group_size: int | None = 2) -> Array:
    """E[A | R], the mean advantage under GRPO of a rollout with reward R.

    R − p in a group of two; (R − p)/√(pq) in the limit of a large group.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.
    rewards : array or float
        R, 0 or 1: a number, or of the shape of `p`.
    group_size : {2, None}
        2 for pairs, None for the limit of a large group.

    Returns
    -------
    array
        The expected advantage, dimensionless, in the floating dtype of the first of `p`, `rewards`
        that has an axis, else of `p`.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: p in [0, 1], in the limit strictly between 0 and 1; rewards 0 or 1;
    arrays of one shape, not empty; group_size 2 or None. *(assumed under jit)*: such values.
    Assumed: independent rewards, population standard deviation, advantage 0 for equal rewards.

    *Postcondition*: within 1 ulp for pairs, 4 ulp in the limit.

    References
    ----------
    arXiv 2510.00977, Proposition C.1.

    Examples
    --------
    >>> from identity.preference import expected_advantage
    >>> expected_advantage([0.25, 0.25], [1, 0])
    array([ 0.75, -0.25])
    >>> print(expected_advantage(0.2, 1.0, group_size=None))
    2.0
    """
    if group_size is not None:
        integer_argument("group_size", group_size, (2,))
    xp, (p, rewards), dtype = arguments(p=p, rewards=rewards)
    if group_size is None:
        require_interior(xp, "p", p, dtype, "in the limit some rollout has no advantage")
    else:
        require_unit(xp, "p", p)
    if inspectable(rewards):
        good = (rewards == 1.0) | (rewards == 0.0)
        require_all(xp, "rewards", rewards, good, "be 0 or 1")
    p, rewards = p + 0 * rewards, rewards + 0 * p  # one shape, where one is a number
    correct, wrong = rewards == 1.0, rewards == 0.0
    other = xp.where(correct, 1 - p, xp.where(wrong, p, xp.full_like(p, math.nan)))
    size = other if group_size is not None else xp.sqrt(other / xp.where(correct, p, 1 - p))
    return returned(xp, xp.where(correct, size, -size), dtype)
