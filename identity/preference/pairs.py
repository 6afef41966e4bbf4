"""Steps made of pairs of rollouts: a group of two, and all contrasts of a larger group."""

from __future__ import annotations

import math

from identity._arrays import (
    Array,
    finish,
    inspectable,
    integer_argument,
    largest_float,
    quiet,
    require_all,
)
from identity.errors import DomainError
from identity.groups.updates import group_update, weights_and_scores
from identity.proven import proven

__all__ = ["pairwise_update", "two_grpo_update"]


@proven(
    "preference.two-grpo",
    "preference.equivalence",
)
def two_grpo_update(rewards: Array, scores: Array, *, ddof: int = 0) -> Array:
    """GRPO's step ½(A₁s₁ + A₂s₂) for groups of two rollouts.

    Any two different rewards have advantages ±1, so that the step is ½(s⁺ − s⁻), whatever their
    distance; equal ones have 0.

    Parameters
    ----------
    rewards : array, shape (..., 2)
        Real rewards, dimensionless; floating, integer or bool. Only their order matters.
    scores : array, shape (..., 2, D)
        Scores s_i = ∇ log π(y_i), of any dimension D ≥ 1.
    ddof : {0, 1}
        0 divides by the population standard deviation; 1 (Bessel), as verl and TRL do, gives
        advantages ±1/√2.

    Returns
    -------
    array, shape (..., D)
        The step, in the common dtype of both arguments.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: pairs along the last axis of rewards; nothing empty; shapes match in
    all axes but the last of scores; values finite, integers at most 2²⁴ in magnitude (2⁵³ in
    float64); ddof 0 or 1. *(assumed under jit)*: values like that.

    *Postcondition*: within 1 ulp of itself, 2 with ddof 1, and exactly 0 for equal rewards
    (where subnormals are flushed to 0, those are equal). The derivative with respect to the
    rewards is 0 everywhere.

    Times β this is −∇ of `dpo_loss` on the same pair at the reference.

    References
    ----------
    arXiv 2510.00977, the two-rollout case of GRPO.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.preference import two_grpo_update
    >>> scores = np.array([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 2.0]]])
    >>> two_grpo_update(np.array([[0.2, 0.7], [1.0, 1.0]]), scores)
    array([[-0.5,  1. ],
           [ 0. ,  0. ]])
    """
    ddof = integer_argument("ddof", ddof, (0, 1))
    xp, dtype, array, vectors = weights_and_scores("rewards", rewards, scores)
    if array.shape[-1] != 2:
        raise DomainError("rewards", tuple(array.shape), "hold pairs along the last axis")
    with quiet(xp):
        first, second = array[..., :1], array[..., 1:]
        zero, one = xp.zeros_like(first), xp.ones_like(first)
        sign = xp.where(first > second, one, xp.where(first < second, -one, first - second))
        one_side, other = vectors[..., 0, :], vectors[..., 1, :]
        contrast = one_side - other
        # Half of the difference, where it fits; a half of each would round subnormals.
        fits = xp.abs(contrast) <= largest_float(contrast.dtype)
        half = xp.where(fits, contrast * 0.5, one_side * 0.5 - other * 0.5)
        step = sign * (half if ddof == 0 else half * math.sqrt(0.5))
        return finish(xp, xp.where(sign == zero, xp.zeros_like(step), step), dtype, "scores")


@proven(
    "preference.all-groups",
)
def pairwise_update(rewards: Array, scores: Array) -> Array:
    """GRPO's step as the weighted sum of all k(G−k) contrasts of a correct and a wrong rollout.

    (1/(G√(k(G−k)))) Σ_{i correct} Σ_{j wrong} (s_i − s_j) = σΔs: at the reference, where a
    contrast is 2/β times the descent of DPO's loss on that pair, a weighted sum of k(G−k)
    DPO steps.

    Parameters
    ----------
    rewards : array, shape (..., G)
        Binary rewards, each 0 or 1; floating, integer or bool.
    scores : array, shape (..., G, D)
        Scores s_i = ∇ log π(y_i), of any dimension D ≥ 1.

    Returns
    -------
    array, shape (..., D)
        The step, in the common dtype of both arguments.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: G ≥ 2; nothing empty; shapes match in all axes but the last of
    scores; rewards 0 or 1; scores finite, integers at most 2²⁴ in magnitude (2⁵³ in float64).
    *(assumed under jit)*: rewards and scores like that.

    *Postcondition*: within (G + 8) ulp of (1/G) Σ |A_i s_i|, A_i the advantages √((G−k)/k) and
    −√(k/(G−k)). Exactly 0 for a unanimous group. A rollout takes part in all its pairs at once:
    O(GD) time and memory.

    References
    ----------
    arXiv 2607.00152, Theorem 1, for σΔs; arXiv 2510.00977 for pairs and preferences.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.preference import pairwise_update
    >>> pairwise_update([1, 0, 0, 1], np.array([[1.0], [2.0], [4.0], [7.0]]))
    array([0.5])
    """
    xp, dtype, array, vectors = weights_and_scores("rewards", rewards, scores)
    correct, wrong = array == 1.0, array == 0.0
    if inspectable(array):
        require_all(xp, "rewards", array, correct | wrong, "be 0 or 1")
    size = float(array.shape[-1])
    zero, one = xp.zeros_like(array), xp.ones_like(array)
    hits = xp.sum(xp.where(correct, one, zero), axis=-1, keepdims=True)
    misses = xp.sum(xp.where(wrong, one, zero), axis=-1, keepdims=True)
    silent = (hits == size) | (misses == size)
    # A correct rollout takes part in G − k contrasts, a wrong one in k.
    some, other = (xp.where(n == 0.0, xp.ones_like(n), n) for n in (hits, misses))
    share = xp.sqrt(other / some)
    # Any other reward is seen here only under jit: it must not pass for a wrong rollout.
    weights = xp.where(wrong, -xp.sqrt(some / other), xp.full_like(one, math.nan))
    weights = xp.where(correct, share, weights)
    step = group_update(xp.where(silent, zero, weights), vectors)
    return finish(xp, xp.where(silent, xp.zeros_like(step), step), dtype, "scores")
