"""The spread of a group's rewards: its standard deviation, and whether there is any."""

from __future__ import annotations

from typing import Any

import numpy as np

from identity._arrays import (
    EXACT_INTEGERS,
    Array,
    DType,
    Namespace,
    as_arrays,
    finish,
    floating_dtype,
    inspectable,
    integer_argument,
    is_floating,
    name_of,
    require_all,
    require_not_empty,
)
from identity.errors import DomainError
from identity.groups._arithmetic import converted, deviations_of
from identity.proven import proven

__all__ = ["binary_std", "dapo_keep", "group_std"]


@proven(
    "groups.binary-std",
    "groups.baseline-invariance",
    "groups.as-implemented",
    "groups.unanimous-rounding",
)
def group_std(rewards: Array, *, ddof: int = 0, groups: Array | None = None) -> Array:
    """Standard deviation of the rewards of each group.

    Parameters
    ----------
    rewards : array, shape (..., G), or (N,) with `groups`
        Rewards, dimensionless; floating, integer or bool.
    ddof : {0, 1}
        0 divides by G (σ), 1 by G − 1 (Bessel's t = σ√(G/(G−1))).
    groups : integer array, shape (N,), optional
        Group id of each rollout.

    Returns
    -------
    array, shape (...), or (N,) with `groups`
        One value for each group; with `groups`, each rollout carries its group's.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result (t can exceed the
        largest float).

    Notes
    -----
    *Preconditions (checked)*: G ≥ 2, also for each id in `groups`; nothing empty; rewards finite,
    integer ones at most 2²⁴ in magnitude (2⁵³ in float64); ddof 0 or 1; `groups` integers in the
    shape of flat rewards. *(assumed under jit)*: such rewards and no group of one (it gives 0).

    *Postcondition*: within G + 4 ulp of the exact value; within 3 ulp for 0/1 rewards and
    G ≤ 256 (float32) or G ≤ 2¹⁷ (float64), where all sums are exact. Exactly 0 for a unanimous
    group, and 0 for another one only where σ itself rounds to 0.

    References
    ----------
    arXiv 2607.00152, the binary standard deviation √(k(G−k))/G.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.groups import group_std
    >>> group_std(np.array([[1.0, 0.0, 0.0, 1.0], [0.1, 0.1, 0.1, 0.1]]))
    array([0.5, 0. ])
    """
    ddof = integer_argument("ddof", ddof, (0, 1))
    xp, dtype, parts = deviations_of(rewards, groups)
    std = parts.std(xp, ddof)
    std = std[..., 0] if groups is None else parts.layout.restore(xp, std)
    return finish(xp, std, dtype, "rewards")


@proven(
    "groups.binary-std",
)
def binary_std(correct: Array, group_size: Array | int) -> Array:
    """Standard deviation √(k(G−k))/G of G rewards of which k are 1 and the rest 0.

    Parameters
    ----------
    correct : array of any shape, or int
        k, the number of correct rollouts; integers, or floats with integer values.
    group_size : int, or array of the shape of `correct`
        G, the number of rollouts.

    Returns
    -------
    array, the shape of `correct`
        σ, in the floating dtype of `correct` (the library's default for integers).

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: 0 ≤ k ≤ G, both integers, G ≥ 2, equal shapes, nothing empty; G at
    most 2²⁴ (2⁵³ in float64), beyond which counts are not exact. *(assumed under jit)*: all of
    these but the shapes.

    *Postcondition*: within 3 ulp of the exact value, symmetric in k and G − k; exactly 0, with
    derivative 0, at k = 0 and k = G.

    References
    ----------
    arXiv 2607.00152, the binary standard deviation.

    Examples
    --------
    >>> from identity.groups import binary_std
    >>> binary_std([0, 1, 2, 4], 4)
    array([0.       , 0.4330127, 0.5      , 0.       ])
    """
    single = isinstance(group_size, int | np.integer)
    if single:
        size: Any = integer_argument("group_size", group_size)
        xp, (hits,) = as_arrays(correct=correct)
    else:
        xp, (hits, size) = as_arrays(correct=correct, group_size=group_size)
        if tuple(size.shape) not in ((), tuple(hits.shape)):
            raise DomainError("group_size", tuple(size.shape), "be one number or match correct")
        require_not_empty("group_size", size)
    require_not_empty("correct", hits)
    dtype = floating_dtype(xp, hits)
    largest = EXACT_INTEGERS[name_of(dtype)]
    if single and not 2 <= size <= largest:
        raise DomainError("group_size", size, f"be an integer from 2 to {largest}")
    hits = _count(xp, "correct", hits, dtype)
    if single:
        size = xp.full_like(hits, float(size))
    else:
        size = _count(xp, "group_size", size, dtype)
        if inspectable(size):
            good = (size >= 2.0) & (size <= float(largest))
            require_all(xp, "group_size", size, good, f"be an integer from 2 to {largest}")
    if inspectable(hits, size):
        good = (hits >= 0.0) & (hits <= size)
        require_all(xp, "correct", hits, good, "lie between 0 and group_size")
    silent = (hits <= 0.0) | (hits >= size)
    square = xp.where(silent, xp.ones_like(hits), hits * (size - hits))
    std = xp.where(silent, xp.zeros_like(hits), xp.sqrt(square) / size)
    return finish(xp, std, dtype, "correct")


def _count(xp: Namespace, argument: str, array: Array, dtype: DType) -> Array:
    """Checked whole numbers, in the dtype that computes for results in `dtype`."""
    count = converted(xp, argument, array, dtype)
    if is_floating(array) and inspectable(array):
        require_all(xp, argument, array, xp.floor(array) == array, "hold whole numbers")
    return count


@proven(
    "groups.dapo",
)
def dapo_keep(rewards: Array, *, groups: Array | None = None) -> Array:
    """Mask of the groups that DAPO's dynamic sampling keeps: those with σ > 0.

    Parameters
    ----------
    rewards : array, shape (..., G), or (N,) with `groups`
        Rewards, dimensionless; floating, integer or bool.
    groups : integer array, shape (N,), optional
        Group id of each rollout.

    Returns
    -------
    bool array, shape (...), or (N,) with `groups`
        One value for each group; with `groups`, one for each rollout, true for all rollouts of a
        kept group: ``rewards[dapo_keep(rewards, groups=groups)]`` is the kept batch.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)* and *(assumed under jit)*: as `group_std`.

    *Postcondition*: exact: true if and only if two rewards of the group differ, also where σ
    itself would underflow to 0. (Where subnormals are flushed to 0, they are equal.)

    References
    ----------
    arXiv 2503.14476; arXiv 2607.00152.

    Examples
    --------
    >>> from identity.groups import dapo_keep
    >>> dapo_keep([[1, 0, 1], [1, 1, 1]])
    array([ True, False])
    """
    xp, _, parts = deviations_of(rewards, groups)
    if groups is None:
        return ~parts.unanimous[..., 0]
    return parts.layout.restore(xp, ~parts.unanimous)
