"""The reward of on-policy distillation."""

from __future__ import annotations

from identity._arrays import (
    Array,
    Namespace,
    as_arrays,
    common_dtype,
    computing,
    dtype_name,
    finish,
    inspectable,
    mask_argument,
    quiet,
    require_all,
    require_exact,
    returned,
    stop_gradient,
)
from identity.distillation._laws import filled
from identity.errors import DomainError
from identity.proven import proven

__all__ = ["CREDITS", "on_policy_distillation_reward"]

CREDITS = ("token", "to_go", "sequence")


@proven(
    "distillation.opd",
    "distillation.future-terms",
    "distillation.per-token-kl",
)
def on_policy_distillation_reward(
    logp: Array,
    teacher_logp: Array,
    *,
    credit: str,
    mask: Array | None = None,
) -> Array:
    """Reward log π_T − log π of sampled tokens, whose policy gradient descends KL(π‖π_T).

    Parameters
    ----------
    logp, teacher_logp : array, shape (B, T)
        Log-probabilities, in nats, of tokens sampled from the student, under the student and under
        the teacher.
    credit : {"token", "to_go", "sequence"}
        What the score ∇log π of a token is to be multiplied by. ``"token"``: its own log π_T −
        log π. ``"to_go"``: the sum from that token to the end of the response. ``"sequence"``: the
        sum over the whole response, one number for each.
    mask : array, shape (B, T), optional
        Bool, or 0 and 1: which tokens count. What lies elsewhere does not matter.

    Returns
    -------
    array, shape (B, T), or (B,) for ``"sequence"``
        Rewards in nats, in the common dtype, constants of differentiation; exactly 0 where masked.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: equal shapes; finite log-probabilities where not masked. A teacher's
    probability of 0 for a sampled token has no reward; whoever truncates the teacher has to say
    what stands for it. *(assumed under jit)*: such values. *(assumed)*: tokens sampled from the
    student as it is, without which no claim about gradients holds.

    *Postcondition*: a token's reward within 1 ulp of the difference; sums within T ulp of the sum
    of the magnitudes of what is added.

    On samples of the student, Σ_t reward_t ∇log π_t has the mean −∇KL(π‖π_T) of responses for
    ``"to_go"`` and for ``"sequence"``, where ``"to_go"`` drops what a token cannot change. For
    ``"token"`` it has minus the sum of the gradients of the next-token divergences, prefixes held
    constant: another gradient, which leaves out how a token changes the divergences after it. A
    constant baseline changes no mean.

    References
    ----------
    arXiv 2605.12483; reconstructed.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.distillation import on_policy_distillation_reward
    >>> logp, teacher = np.array([[-1.0, -2.0, -1.0]]), np.array([[-1.5, -1.0, -3.0]])
    >>> on_policy_distillation_reward(logp, teacher, credit="token")
    array([[-0.5,  1. , -2. ]])
    >>> on_policy_distillation_reward(logp, teacher, credit="to_go")
    array([[-1.5, -1. , -2. ]])
    >>> on_policy_distillation_reward(logp, teacher, credit="sequence")
    array([-1.5])
    """
    if not isinstance(credit, str) or credit not in CREDITS:
        raise DomainError("credit", credit, f"be one of {CREDITS}")
    named = {"logp": logp, "teacher_logp": teacher_logp}
    if mask is not None:
        named["mask"] = mask
    xp, arrays = as_arrays(**named)
    given = dict(zip(named, arrays, strict=True))
    shape = tuple(given["logp"].shape)
    if len(shape) != 2:
        raise DomainError("logp", shape, "have shape (B, T): responses by tokens")
    for name, array in given.items():
        if tuple(array.shape) != shape:
            raise DomainError(name, tuple(array.shape), f"have the shape of logp, {shape}")
    keep = mask_argument(xp, given["mask"]) if mask is not None else None
    dtype = common_dtype(xp, given["logp"], given["teacher_logp"])
    compute = computing(xp, dtype)
    values = []
    for name in ("logp", "teacher_logp"):
        if dtype_name(given[name]) == "bool":
            raise DomainError(name, "bool", "hold numbers")
        require_exact(xp, name, given[name], compute)
        array = stop_gradient(returned(xp, given[name], compute))
        _require_finite(xp, name, array, keep)
        values.append(array)
    with quiet(xp):
        reward = values[1] - values[0]
        if keep is not None:
            reward = xp.where(keep, reward, filled(xp, 0.0, reward))
        if credit == "sequence":
            reward = xp.sum(reward, axis=1)
        elif credit == "to_go":
            reward = xp.flip(xp.cumulative_sum(xp.flip(reward, axis=1), axis=1), axis=1)
            if keep is not None:
                reward = xp.where(keep, reward, filled(xp, 0.0, reward))
        return finish(xp, reward, dtype, "teacher_logp")


def _require_finite(xp: Namespace, argument: str, array: Array, keep: Array | None) -> None:
    if not inspectable(array, *(() if keep is None else (keep,))):
        return
    good, rule = xp.isfinite(array), "be finite, since the token was sampled"
    if keep is not None:
        good, rule = good | ~keep, "be finite where mask is 1"
    require_all(xp, argument, array, good, rule)
