"""The advantages that GRPO, Dr. GRPO and RLOO give to the rollouts of a group."""

from __future__ import annotations

import math
from numbers import Real

from identity._arrays import Array, finish, integer_argument, largest_float
from identity.errors import DomainError
from identity.groups._arithmetic import deviations_of
from identity.proven import proven

__all__ = ["dr_grpo_advantages", "grpo_advantages", "rloo_advantages"]


@proven(
    "groups.identity",
    "groups.baseline-invariance",
    "groups.real-rewards",
    "groups.as-implemented",
    "groups.unanimous-rounding",
)
def grpo_advantages(
    rewards: Array, *, ddof: int = 0, eps: float = 0.0, groups: Array | None = None
) -> Array:
    """GRPO's advantages (R_i − μ)/(std + eps) of each group.

    Parameters
    ----------
    rewards : array, shape (..., G), or (N,) with `groups`
        Rewards, dimensionless; floating, integer or bool.
    ddof : {0, 1}
        0 is the exact identity's population standard deviation; 1 (Bessel) is what verl and TRL
        divide by.
    eps : float
        Added to the standard deviation, in units of the reward; rounded to the computing dtype.
    groups : integer array, shape (N,), optional
        Group id of each rollout.

    Returns
    -------
    array, the shape of `rewards`
        Advantages, dimensionless.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: as `group_std`; eps a finite number ≥ 0, of Python or NumPy.
    *(assumed under jit)*: as `group_std`.

    *Postcondition*: for real rewards every element is within 3G + 12 ulp of the largest
    magnitude in its group; for 0/1 rewards each is within 3 ulp of itself (7 if eps > 0), for G
    as in `group_std`. Exactly 0 for a unanimous group, whatever eps. No finite reward overflows.

    With scores s_i, (1/G) Σ A_i s_i = σΔs for binary rewards, σβ̂ for real ones, and the factor
    on it is √((G−1)/G)/(1 + eps/t) with ddof 1.

    References
    ----------
    arXiv 2607.00152, Theorem 1.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.groups import grpo_advantages
    >>> grpo_advantages(np.array([[1, 0, 0, 1], [0, 0, 0, 0]]))
    array([[ 1., -1., -1.,  1.],
           [ 0.,  0.,  0.,  0.]])
    >>> grpo_advantages([3.0, 7.0, 5.0, 9.0], groups=[4, 2, 4, 2])
    array([-1., -1.,  1.,  1.])
    """
    ddof = integer_argument("ddof", ddof, (0, 1))
    if isinstance(eps, bool) or not isinstance(eps, Real):
        raise DomainError("eps", eps, "be a Python number")
    try:
        number = float(eps)  # before any comparison, which NumPy's numbers make in their own dtype
    except OverflowError:  # of an integer or a fraction
        number = math.inf
    xp, dtype, parts = deviations_of(rewards, groups)
    largest = largest_float(parts.scaled.dtype)
    if not 0 <= number <= largest:  # false for NaN
        raise DomainError("eps", eps, f"be finite, at least 0 and at most {largest:.3g}")
    advantages = parts.layout.restore(xp, parts.standardised(xp, ddof, number))
    return finish(xp, advantages, dtype, "rewards")


@proven(
    "groups.baseline-invariance",
    "groups.dr-grpo",
    "groups.unanimous-rounding",
)
def dr_grpo_advantages(rewards: Array, *, groups: Array | None = None) -> Array:
    """Dr. GRPO's advantages R_i − μ of each group.

    Parameters
    ----------
    rewards : array, shape (..., G), or (N,) with `groups`
        Rewards, dimensionless; floating, integer or bool.
    groups : integer array, shape (N,), optional
        Group id of each rollout.

    Returns
    -------
    array, the shape of `rewards`
        Advantages, in units of the reward.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result (a deviation can
        reach twice the largest float).

    Notes
    -----
    *Preconditions (checked)* and *(assumed under jit)*: as `group_std`.

    *Postcondition*: for real rewards every element is within 2G + 6 ulp of the largest magnitude
    in its group; for 0/1 rewards each is within 2 ulp of itself, for G up to 2²⁴ (2⁵³ in
    float64). Exactly 0 for a unanimous group, whose derivative is 0 by the same convention.

    With scores s_i, (1/G) Σ A_i s_i = σ²Δs for binary rewards.

    References
    ----------
    arXiv 2503.20783; arXiv 2607.00152.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.groups import dr_grpo_advantages
    >>> dr_grpo_advantages(np.array([1.0, 0.0, 0.0, 0.0]))
    array([ 0.75, -0.25, -0.25, -0.25])
    """
    xp, dtype, parts = deviations_of(rewards, groups)
    return finish(xp, parts.layout.restore(xp, parts.centred(xp, 0)), dtype, "rewards")


@proven(
    "groups.baseline-invariance",
    "groups.rloo",
    "groups.unanimous-rounding",
)
def rloo_advantages(rewards: Array, *, groups: Array | None = None) -> Array:
    """RLOO's advantages R_i − b_i, b_i the mean reward of the other rollouts of the group.

    Parameters
    ----------
    rewards : array, shape (..., G), or (N,) with `groups`
        Rewards, dimensionless; floating, integer or bool.
    groups : integer array, shape (N,), optional
        Group id of each rollout.

    Returns
    -------
    array, the shape of `rewards`
        Advantages, in units of the reward.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)* and *(assumed under jit)*: as `group_std`.

    *Postcondition*: the bounds of `dr_grpo_advantages`. Exactly 0 for a unanimous group, whose
    derivative is 0 by the same convention. At G = 2 the values for 0/1 rewards are GRPO's.

    With scores s_i, (1/G) Σ A_i s_i = (G/(G−1)) σ²Δs for binary rewards.

    References
    ----------
    arXiv 2607.00152, Proposition 1.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.groups import rloo_advantages
    >>> rloo_advantages(np.array([1.0, 0.0, 0.0, 1.0, 0.0]))
    array([ 0.75, -0.5 , -0.5 ,  0.75, -0.5 ])
    """
    xp, dtype, parts = deviations_of(rewards, groups)
    return finish(xp, parts.layout.restore(xp, parts.centred(xp, 1)), dtype, "rewards")
