"""Policy losses: clipped and unclipped surrogates of the log-probabilities of sampled tokens."""

from __future__ import annotations

from typing import Any

from identity._arrays import Array, finish, quiet
from identity.aggregation import aggregate
from identity.proven import proven
from identity.surrogates._surrogate import Surrogate
from identity.surrogates._tokens import aggregated

__all__ = ["policy_loss", "token_loss"]


@proven(
    "surrogates.on-policy",
    "surrogates.clip-gradient",
    "surrogates.cispo-gradient",
    "surrogates.cispo-bound",
)
def token_loss(
    logp: Array,
    old_logp: Array | None,
    advantages: Array,
    mask: Array,
    *,
    objective: str = "ppo_clip",
    clip: tuple[float, float] | None = None,
    dual_clip: float | None = None,
    level: str | None = None,
) -> Array:
    """Loss of each token, to be aggregated and minimised.

    Parameters
    ----------
    logp, old_logp : array, shape (B, T)
        Log-probabilities, in nats, of the sampled tokens under the policy and under the one that
        sampled them. Only `logp` is differentiated; `old_logp` and `advantages` are constants, so
        that ``old_logp=logp`` means on policy. ``"reinforce"`` does not read `old_logp`, which
        may be None there.
    advantages : array, shape (B,) or (B, T)
        Advantages A of responses or of tokens, in units of the reward or standardised.
    mask : array, shape (B, T)
        Bool, or 0 and 1: which tokens belong to the response. What lies elsewhere in the other
        arguments, NaN and infinities included, does not matter.
    objective : {"ppo_clip", "cispo", "gspo", "reinforce"}
        With ρ the ratio π/π_old and clip(ρ) = min(max(ρ, 1 − low), 1 + high):

        * ``"ppo_clip"``: −min(ρA, clip(ρ)A);
        * ``"gspo"``: the same with the ratio s = exp(mean log ρ) of the response;
        * ``"cispo"``: −sg(clip(ρ))·A·log π, sg a constant of differentiation;
        * ``"reinforce"``: −A·log π, without any ratio.
    clip : pair of float (low, high)
        Offsets from 1, 0 ≤ low ≤ 1 and 0 ≤ high: the ratio's interval is [1 − low, 1 + high];
        ``(1, inf)`` clips nothing. Required, except by ``"reinforce"``, which takes none.
    dual_clip : float, optional
        c > 1: where A < 0 the objective is max(min(ρA, clip(ρ)A), cA). For ``"ppo_clip"`` and
        ``"gspo"``.
    level : {"token", "sequence", "sequence_token"}, optional
        Level of the ratio, as in `importance_ratio`: by default ``"sequence"`` for ``"gspo"``,
        which may be ``"sequence_token"`` too, and ``"token"`` for the others.

    Returns
    -------
    array, shape (B, T)
        Losses in the common dtype of `logp`, `old_logp` and `advantages`; exactly 0, with
        derivative 0, where masked.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: those of `importance_ratio`; advantages finite where `mask` is 1 (a
    response's, if it has a token); options as above. *(assumed under jit)*: such values.

    *Postcondition*: within |log ρ| + 6 ulp of the exact value for ratios of tokens, and
    (⌈log₂ T⌉ + 2)·mean|log ρ_t| + 6 ulp for those of sequences; under ``"cispo"`` and
    ``"reinforce"`` of it with max(|log π|, 1). Derivatives have the same bounds. A token outside
    its interval has derivative exactly 0 under ``"ppo_clip"`` and ``"gspo"``; under ``"cispo"`` it
    keeps that of sg(clip(ρ))·A·log π. The bound itself counts as inside: there the derivative is
    that of the unclipped surrogate. Bounds are compared as logarithms, log ρ with log(1 − low),
    log(1 + high) and log c, each rounded to the dtype that computes. At ρ = 1 every objective has
    the derivative −A of the unclipped one, whatever `clip`.

    Extremes are finite: log-ratios saturate at 64 (512 in float64, 11 in float16), with derivative
    0 above; a log-probability of -inf has ratio 0 and derivative 0; where its value enters
    (``"cispo"`` and ``"reinforce"``), it counts as −2²⁰, below any difference of float16 logits,
    and as −2¹² where the result is a float16.

    References
    ----------
    arXiv 1707.06347 v2 (PPO), equation 7; arXiv 1912.09729 v3, its section on dual-clip PPO; arXiv
    2503.14476 v2 (DAPO, clip-higher), section 3.1; arXiv 2506.13585 v1 (MiniMax-M1, CISPO),
    equations 4 and 5; arXiv 2507.18071 v2 (GSPO), equation 5. Places as we read them.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.surrogates import token_loss
    >>> logp = np.log([[0.5, 0.9], [0.2, 0.2]])
    >>> old_logp = np.log([[0.25, 0.9], [0.4, 0.1]])
    >>> advantages, mask = np.array([1.0, -1.0]), np.array([[1, 0], [1, 1]])
    >>> token_loss(logp, old_logp, advantages, mask, clip=(0.2, 0.28))
    array([[-1.28,  0.  ],
           [ 0.8 ,  2.  ]])
    """
    surrogate = Surrogate(objective, level, clip, dual_clip)
    tokens = surrogate.tokens(logp, old_logp, advantages, mask)
    with quiet(tokens.xp):
        losses = surrogate.losses(tokens)
        if not surrogate.zeroed(tokens):
            losses = tokens.masked(losses)
    return finish(tokens.xp, losses, tokens.dtype, "advantages")


@proven(
    "surrogates.on-policy",
    "surrogates.clip-gradient",
    "surrogates.cispo-gradient",
    "surrogates.cispo-bound",
    "surrogates.gspo-length",
    "surrogates.full-loss",
)
def policy_loss(
    logp: Array,
    old_logp: Array | None,
    advantages: Array,
    mask: Array,
    *,
    objective: str = "ppo_clip",
    clip: tuple[float, float] | None = None,
    dual_clip: float | None = None,
    level: str | None = None,
    aggregation: str,
    alpha: float = 1.0,
    constant: float | Array | None = None,
    groups: Array | None = None,
) -> Array:
    """The scalar loss to minimise: `token_loss`, aggregated.

    Parameters
    ----------
    logp, old_logp, advantages, mask, objective, clip, dual_clip, level
        As in `token_loss`.
    aggregation : str
        A method of `identity.aggregation.aggregate`: how tokens and responses are weighed.
    alpha, constant, groups
        Options of that method.

    Returns
    -------
    array, shape ()
        Σ w·ℓ over the tokens with `identity.aggregation.token_weights` w, in the common dtype of
        `logp`, `old_logp` and `advantages`. Exactly 0, with derivatives 0, if there is no token.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)* and *(assumed under jit)*: those of `token_loss` and of
    `identity.aggregation.aggregate`.

    *Postcondition*: within the bound of `token_loss`, plus ⌈log₂ B⌉ + ⌈log₂ T⌉ + 10 ulp, of
    Σ w·|ℓ|, a bound relative to the terms, which may cancel in the sum. What is masked changes no
    bit of the value or of the gradient, and neither does more padding, for every method of
    aggregation; only the sign of a loss that is 0 may depend on it.

    GSPO's ratio is one for a response, so that the sum over its tokens counts it once for each
    token: under ``"dapo"``, ``"dr_grpo"`` and ``"sequence_sum"`` responses weigh by their length.
    ``"grpo"`` is the published (1/G) Σ_i.

    References
    ----------
    As `token_loss` and `identity.aggregation.aggregate`.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.surrogates import policy_loss
    >>> logp = np.log([[0.5, 0.9], [0.2, 0.2]])
    >>> old_logp = np.log([[0.25, 0.9], [0.4, 0.1]])
    >>> advantages, mask = np.array([1.0, -1.0]), np.array([[1, 0], [1, 1]])
    >>> loss = policy_loss(logp, old_logp, advantages, mask, clip=(0.2, 0.28), aggregation="grpo")
    >>> round(float(loss), 12)
    0.06
    """
    surrogate = Surrogate(objective, level, clip, dual_clip)
    tokens = surrogate.tokens(logp, old_logp, advantages, mask)
    with quiet(tokens.xp):
        losses = surrogate.losses(tokens)
    options: dict[str, Any] = {"alpha": alpha, "constant": constant, "groups": groups}
    zeroed = surrogate.zeroed(tokens)
    loss = aggregated(aggregate, losses, tokens, aggregation, zeroed=zeroed, **options)
    return finish(tokens.xp, loss, tokens.dtype, "advantages")
