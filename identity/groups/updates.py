"""The step that a group takes, and the two directions in which theorems express it."""

from __future__ import annotations

from typing import Any

from identity._arrays import (
    Array,
    DType,
    Namespace,
    as_arrays,
    common_dtype,
    finish,
    inspectable,
    quiet,
    require_all,
    require_not_empty,
)
from identity.errors import DomainError
from identity.groups._arithmetic import (
    Dense,
    Deviations,
    converted,
    deviations,
    power_of_two,
    require_groups,
)
from identity.proven import proven

__all__ = ["group_update", "regression_slope", "score_contrast"]


@proven(
    "groups.identity",
    "groups.dr-grpo",
    "groups.rloo",
    "groups.real-rewards",
    "groups.all-pairs",
)
def group_update(advantages: Array, scores: Array) -> Array:
    """The step g = (1/G) Σ A_i s_i of each group.

    Parameters
    ----------
    advantages : array, shape (..., G)
        Advantages A_i.
    scores : array, shape (..., G, D)
        Scores s_i = ∇ log π(y_i), of any dimension D ≥ 1.

    Returns
    -------
    array, shape (..., D)
        g, in the common dtype of both arguments.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: G ≥ 2; nothing empty; shapes match in all axes but the last of
    scores; values finite, integers at most 2²⁴ in magnitude (2⁵³ in float64). *(assumed under
    jit)*: values like that.

    *Postcondition*: within (G + 3) ulp of (1/G) Σ |A_i s_i|, a bound relative to the terms, not
    to their sum, which may cancel. Zero advantages give exactly 0.

    References
    ----------
    arXiv 2607.00152, Theorem 1.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.groups import group_update, grpo_advantages
    >>> scores = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> group_update(grpo_advantages(np.array([1.0, 0.0])), scores)
    array([ 0.5, -1. ])
    """
    xp, dtype, weights, vectors = weights_and_scores("advantages", advantages, scores)
    return finish(xp, _mean_product(xp, weights, vectors), dtype, "scores")


@proven(
    "groups.identity",
    "groups.all-pairs",
)
def score_contrast(rewards: Array, scores: Array) -> Array:
    """Δs, the mean score of the correct rollouts minus that of the incorrect ones.

    Parameters
    ----------
    rewards : array, shape (..., G)
        Binary rewards, each 0 or 1; floating, integer or bool.
    scores : array, shape (..., G, D)
        Scores s_i = ∇ log π(y_i), of any dimension D ≥ 1.

    Returns
    -------
    array, shape (..., D)
        Δs, in the common dtype of both arguments; 0 for a unanimous group by convention.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: as `group_update`, and every reward is 0 or 1. *(assumed under
    jit)*: that and finite scores.

    *Postcondition*: within (G + 3) ulp of the sum of the two means of |s_i|. Exactly 0 for a
    unanimous group. ``group_std(R) * score_contrast(R, s)`` is the GRPO step.

    References
    ----------
    arXiv 2607.00152, Theorem 1.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.groups import score_contrast
    >>> score_contrast([1, 0, 1], np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]))
    array([ 2., -2.])
    """
    xp, dtype, array, vectors = weights_and_scores("rewards", rewards, scores)
    if inspectable(array):
        require_all(xp, "rewards", array, (array == 0.0) | (array == 1.0), "be 0 or 1")
    correct = xp.astype(array == 1.0, vectors.dtype)
    size = float(array.shape[-1])
    hits = xp.sum(correct, axis=-1, keepdims=True)
    silent = (hits == 0.0) | (hits == size)
    hits = xp.where(silent, xp.ones_like(hits), hits)  # now neither k nor G − k is 0
    # G/k on the correct, −G/(G−k) on the others: Δs is their mean product with the scores.
    weights = xp.where(correct == 1.0, size / hits, -size / (size - hits))
    contrast = _mean_product(xp, weights, vectors)
    return finish(xp, xp.where(silent, xp.zeros_like(contrast), contrast), dtype, "scores")


@proven(
    "groups.real-rewards",
)
def regression_slope(rewards: Array, scores: Array) -> Array:
    """β̂, the least-squares slope of the scores on the reward: Σ(R_i−μ)s_i / Σ(R_i−μ)².

    Parameters
    ----------
    rewards : array, shape (..., G)
        Real rewards; floating, integer or bool.
    scores : array, shape (..., G, D)
        Scores s_i = ∇ log π(y_i), of any dimension D ≥ 1.

    Returns
    -------
    array, shape (..., D)
        β̂, in the common dtype of both arguments, per unit of reward; 0 for a unanimous group by
        convention. For binary rewards it is Δs.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)* and *(assumed under jit)*: as `group_update`.

    *Postcondition*: within 4G + 14 ulp of max_i |R_i−μ| Σ|s_i| / Σ(R_i−μ)². Exactly 0 for a
    unanimous group. ``group_std(R) * regression_slope(R, s)`` is the GRPO step.

    References
    ----------
    The identity for real rewards, which arXiv 2607.00152 lists as open.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.groups import regression_slope
    >>> regression_slope(np.array([0.0, 1.0, 2.0]), np.array([[1.0], [3.0], [5.0]]))
    array([2.])
    """
    xp, dtype, array, vectors = weights_and_scores("rewards", rewards, scores)
    slope = _slope(xp, deviations(xp, Dense(array.shape[-1]), array), vectors)
    return finish(xp, slope, dtype, "scores")


def weights_and_scores(
    argument: str, weights: Any, scores: Any
) -> tuple[Namespace, DType, Array, Array]:
    """The result's dtype, and checked weights (..., G) and scores (..., G, D) in that which
    computes it."""
    named: dict[str, Any] = {argument: weights, "scores": scores}
    xp, (weights, scores) = as_arrays(**named)
    require_groups(argument, weights)
    shape = tuple(weights.shape)
    if not scores.shape or tuple(scores.shape)[:-1] != shape:
        rule = f"have shape {argument}.shape + (D,), here {(*shape, 'D')}"
        raise DomainError("scores", tuple(scores.shape), rule)
    require_not_empty("scores", scores)
    dtype = common_dtype(xp, weights, scores)
    weights = converted(xp, argument, weights, dtype)
    return xp, dtype, weights, converted(xp, "scores", scores, dtype)


def _mean_product(xp: Namespace, weights: Array, scores: Array) -> Array:
    """(1/G) Σ_i w_i s_i over the last axis of weights, in the dtype that computes."""
    with quiet(xp):
        weights = weights[..., None]
        peak = xp.max(xp.abs(weights * scores), axis=-2, keepdims=True)
        factor = power_of_two(xp, peak, "products")
        total = xp.sum((weights * factor) * (scores * factor), axis=-2) / float(scores.shape[-2])
        back = power_of_two(xp, peak, "products", power=-1.0)[..., 0, :]
        return total * back * back  # back² itself may leave the range


def _slope(xp: Namespace, parts: Deviations, scores: Array) -> Array:
    """(1/G) Σ A_i s_i over σ, the root divided by twice: a square would not stay in the middle of
    the range, and a derivative squares what is divided by."""
    with quiet(xp):
        peak = xp.max(xp.abs(scores), axis=-2, keepdims=True)
        back = power_of_two(xp, peak, "scores", power=-0.5)[..., 0, :]
        scores = scores * power_of_two(xp, peak, "scores")
        root, half = parts.root(xp, 0), xp.sqrt(parts.scale)
        total = xp.sum((parts.scaled / root * half)[..., None] * scores, axis=-2) / root
        slope = total * back * (half / parts.layout.width) * back
        return xp.where(parts.unanimous, xp.zeros_like(slope), slope)
