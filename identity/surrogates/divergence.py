"""Estimators of the divergence from a reference policy, as values and as losses."""

from __future__ import annotations

import math

from identity._arrays import Array, Namespace, dtype_name, finish, name_of, quiet, stop_gradient
from identity.proven import proven
from identity.surrogates._arithmetic import SQUARED, choice, clamp
from identity.surrogates._tokens import Tokens, tokens_of

__all__ = ["ESTIMATORS", "GRADIENTS", "kl", "kl_of"]

ESTIMATORS = ("k1", "k2", "k3")
GRADIENTS = ("value", "policy")

# Within this distance of 0, e^y − 1 − y is a series, up to a power that no last bit notices.
_SERIES = 0.5
_TERMS = {"float32": 9, "float64": 15}


@proven(
    "surrogates.kl-values",
    "surrogates.kl-gradients",
    "surrogates.kl-as-loss",
)
def kl(
    logp: Array,
    ref_logp: Array,
    *,
    estimator: str = "k3",
    gradient: str = "value",
    mask: Array | None = None,
) -> Array:
    """Estimate of KL(π‖π_ref) from each sampled token.

    Parameters
    ----------
    logp, ref_logp : array, shape (B, T), or any shape without a mask
        Log-probabilities, in nats, of tokens sampled from π, under π and under the reference,
        which is a constant.
    estimator : {"k1", "k2", "k3"}
        With r = π_ref/π: k1 = −log r, k2 = ½ log² r, k3 = r − 1 − log r.
    gradient : {"value", "policy"}
        What the result is differentiated to. ``"value"``: the estimator itself, as a function of
        `logp`. ``"policy"``: log(π/π_ref)·∇log π whatever the estimator, whose mean is the
        gradient of the divergence.
    mask : array, shape (B, T), optional
        Bool, or 0 and 1: which tokens count. What lies elsewhere does not matter.

    Returns
    -------
    array, the shape of `logp`
        Estimates in nats, in the common dtype; exactly 0, with derivative 0, where masked.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: equal shapes; log-probabilities below +inf and not NaN where not
    masked, and not both -inf. *(assumed under jit)*: such values. *(assumed)*: tokens sampled from
    π itself, without which no claim about means holds.

    *Postcondition*: within 1 ulp (k1), 3 (k2) or 16 (k3) of the estimator at the rounded
    difference of both, also where k3 is as small as ½ log² r, plus |log r| for k3; derivatives
    within 16 + |log r| ulp. Differences of log-probabilities count as at most 2²⁰ in magnitude
    (for float16 2¹², and 2⁸ in k2), and log r in k3 as at most 64 (512 in float64, 11 in float16).
    Beyond, the derivative under ``"value"`` is 0. Under ``"policy"`` it is whatever the estimator
    log(π/π_ref), which saturates at ±2²⁰ (±2¹² for float16) and is then not 0; it is 0 only where
    log π itself is below −2²⁰ (−2¹²), -inf included.

    On samples from π, k1 and k3 have mean KL(π‖π_ref), and k2 has not. As losses their gradients
    have other means: E∇k1 = 0, E∇k2 = ∇KL(π‖π_ref), E∇k3 = ∇KL(π_ref‖π). ``gradient="policy"``
    keeps the value of the estimator and has E = ∇KL(π‖π_ref): it is the derivative of k2. All of
    that is about the next token given what came before. The gradient of the divergence between
    responses has a further part, of each token's effect on those after it.

    References
    ----------
    J. Schulman, Approximating KL divergence, 2020, for k1, k2, k3; arXiv 2402.03300 v3, equation
    4, for k3 in GRPO's loss, as we read it.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.surrogates import kl
    >>> logp, ref_logp = np.log([0.5, 0.5]), np.log([0.25, 1.0])
    >>> kl(logp, ref_logp, estimator="k1").round(4)
    array([ 0.6931, -0.6931])
    >>> kl(logp, ref_logp, estimator="k3").round(4)
    array([0.1931, 0.3069])
    """
    choice("estimator", estimator, ESTIMATORS)
    choice("gradient", gradient, GRADIENTS)
    tokens = tokens_of(logp, mask, ref_logp=ref_logp)
    with quiet(tokens.xp):
        estimate = kl_of(tokens, estimator, gradient)
    return finish(tokens.xp, estimate, tokens.dtype, "logp")


def kl_of(tokens: Tokens, estimator: str, gradient: str) -> Array:
    """The estimates of checked tokens, in the dtype that computes."""
    xp = tokens.xp
    high = SQUARED[name_of(tokens.dtype)] if estimator == "k2" else -tokens.floor
    low = -tokens.saturation if estimator == "k3" else -high
    # log r from the difference log π − log π_ref, 0 where masked
    difference = tokens.difference("ref_logp")
    if gradient == "policy":
        score = tokens.bounded_logp()
        slope = stop_gradient(clamp(xp, difference, tokens.floor, -tokens.floor))
        value = _estimate(xp, clamp(xp, stop_gradient(difference), low, high), estimator)
        return value + slope * (score - stop_gradient(score))
    return _estimate(xp, clamp(xp, difference, low, high), estimator)


def _estimate(xp: Namespace, difference: Array, estimator: str) -> Array:
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return 0.5 * difference * difference
    return _excess(xp, -difference)


def _excess(xp: Namespace, log_r: Array) -> Array:
    """e^y − 1 − y, accurate also where both parts nearly cancel, in value and derivative."""
    near = xp.abs(log_r) < _SERIES
    y = xp.where(near, log_r, xp.zeros_like(log_r))
    terms = _TERMS[dtype_name(y)]
    series = y / math.factorial(terms + 1) + 1 / math.factorial(terms)
    for power in range(terms - 1, 1, -1):
        series = series * y + 1 / math.factorial(power)
    return xp.where(near, series * y * y, xp.expm1(log_r) - log_r)
