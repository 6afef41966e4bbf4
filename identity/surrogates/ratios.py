"""The ratio of the policy to the one that sampled, by token or by sequence."""

from __future__ import annotations

from identity._arrays import Array, quiet, returned
from identity.proven import proven
from identity.surrogates._arithmetic import choice, clamp, spread
from identity.surrogates._tokens import LEVELS, tokens_of

__all__ = ["importance_ratio"]


@proven(
    "surrogates.on-policy",
    "surrogates.gspo-ratio",
)
def importance_ratio(logp: Array, old_logp: Array, mask: Array, *, level: str = "token") -> Array:
    """Ratio of the policy to the one that sampled, at the level of tokens or of sequences.

    Parameters
    ----------
    logp, old_logp : array, shape (B, T)
        Log-probabilities, in nats, of the sampled tokens under the policy and under the one that
        sampled them; B responses of up to T tokens. `old_logp` is a constant: nothing is
        differentiated with respect to it.
    mask : array, shape (B, T)
        Bool, or 0 and 1: which tokens belong to the response. What lies elsewhere in the other
        arguments does not matter.
    level : {"token", "sequence", "sequence_token"}
        ``"token"`` is ρ_t = π/π_old of each token. ``"sequence"`` is GSPO's
        s = exp(mean over the response of log ρ_t), the same for all its tokens.
        ``"sequence_token"`` is GSPO-token's: the value of s, the derivative of the token's own
        log-probability, sg(s)·π/sg(π).

    Returns
    -------
    array, shape (B, T)
        Ratios, dimensionless, in the common dtype of both log-probabilities; exactly 0, with
        derivative 0, where masked.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: equal shapes (B, T), of any B and T; `mask` 0 or 1; where it is 1,
    `logp` below +inf and not NaN, and `old_logp` finite. *(assumed under jit)*: such values.

    *Postcondition*: within |log ρ| + 4 ulp at ``"token"``, which is what rounding the difference
    of both arguments costs, and (⌈log₂ T⌉ + 2)·mean|log ρ_t| + 4 ulp for sequences.
    On equal log-probabilities exactly 1. Log-ratios saturate at 64 (512 in float64, 11 in
    float16): above, the value is that at the saturation and the derivative 0. A log-probability of
    -inf gives ratio 0, derivative 0. Padding changes no bit of a response's ratios.

    s is not an importance weight: E_old[s] ≤ 1 for a fixed length above 1, with equality only if
    the policies are equal.

    References
    ----------
    arXiv 2507.18071 v2 (GSPO), the sequence ratio s_i and GSPO-token, as we read it; arXiv
    1707.06347 v2 (PPO), section 3, for the ratio of tokens.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.surrogates import importance_ratio
    >>> logp = np.log([[0.5, 0.9, 0.1], [0.2, 0.2, 0.2]])
    >>> old_logp = np.log([[0.25, 0.9, 0.7], [0.4, 0.1, 0.2]])
    >>> mask = np.array([[1, 1, 0], [1, 1, 1]])
    >>> importance_ratio(logp, old_logp, mask)
    array([[2. , 1. , 0. ],
           [0.5, 2. , 1. ]])
    >>> importance_ratio(logp, old_logp, mask, level="sequence").round(3)
    array([[1.414, 1.414, 0.   ],
           [1.   , 1.   , 1.   ]])
    """
    level = choice("level", level, LEVELS)
    tokens = tokens_of(logp, mask, old_logp=old_logp)
    xp = tokens.xp
    log_ratio = tokens.log_ratio(level)
    with quiet(xp):
        ratio = xp.exp(clamp(xp, log_ratio, high=tokens.saturation))
        ratio = tokens.masked(spread(xp, ratio, int(tokens.logp.shape[1])))
        return returned(xp, ratio, tokens.dtype)
