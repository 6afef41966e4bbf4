"""The bias of a method where lengths and gradients are dependent."""

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
    quiet,
    require_all,
    require_exact,
    require_finite,
    require_not_empty,
)
from identity.aggregation._lengths import lengths_of, mean_weight, shares_of
from identity.errors import DomainError
from identity.proven import proven

__all__ = ["estimator_bias"]

# What rounding leaves of a sum that should be 1, for each of its terms.
_EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@proven(
    "aggregation.delta-l-unbiased",
    "aggregation.delta-l-bias",
    "aggregation.delta-l-unconditional",
    "aggregation.grpo-length",
    "aggregation.token-mean-ratio",
)
def estimator_bias(
    lengths: Array,
    gradients: Array,
    method: str,
    *,
    probabilities: Array | None = None,
    alpha: float = 1.0,
) -> Array:
    """The bias of a method where lengths and gradients are dependent, over a table of outcomes.

    Parameters
    ----------
    lengths : array, shape (N, G)
        Lengths of the G responses in each of N outcomes, in tokens; each at least 1.
    gradients : array, shape (N, G) or (N, G, D)
        E[g_i | L] in each outcome, of any dimension D.
    method, alpha
        As in `estimator_mean`. No constant is taken: it cancels.
    probabilities : array, shape (N,), optional
        Of the outcomes, with sum 1; all equal if left out.

    Returns
    -------
    array, 0-d or shape (D,)
        E[Σ x_i g_i] / E[Σ x_i] − ∇J, in units of the gradient, with ∇J = E[(1/G) Σ g_i].

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    An estimate is unbiased if its mean is a fixed multiple of ∇J. The multiple here is E[Σ x_i],
    the right one where E[g_i | L] = ∇J in every outcome; for ``delta_l`` and ``dr_grpo`` it is 1/M,
    whatever the lengths. Then the bias of every method is 0. Without that it is the covariance of
    G x_i/E[Σ x] and E[g_i | L], averaged over i; 0 for methods that give every response one fixed
    weight (``dr_grpo``, ``sequence_sum``, ``delta_l`` with alpha 0). For ``dapo`` the weight 1/ΣL
    is one for all responses but varies over outcomes.

    *Preconditions (checked)*: lengths as in `estimator_mean`; gradients finite; probabilities at
    least 0, with sum 1 but for rounding; shapes match. *(assumed under jit)*: values like that.
    *(assumed)*: outcomes of the responses have one distribution, so that ∇J is E[g_i] for every i.

    *Postcondition*: within 2N + 4G + 16(1 + |alpha|) + 64 ulp of E[Σ (x_i/E[Σ x] + 1/G) |g_i|].
    Exactly 0 where every response has one fixed weight.

    References
    ----------
    The witness of ``aggregation.delta-l-unconditional``, which the example repeats: arXiv
    2509.07558v1 calls ΔL unbiased; it is so under the condition above.

    Examples
    --------
    One choice, long (L = 2, reward 1, score 1/2) or short (L = 1, reward 0), each with
    probability 1/2, and two responses: ∇J = 1/4, of which ΔL estimates 5/24.

    >>> import numpy as np
    >>> from identity.aggregation import estimator_bias
    >>> lengths = np.array([[2, 2], [2, 1], [1, 2], [1, 1]])
    >>> gradients = np.where(lengths == 2, 0.5, 0.0)
    >>> print(round(24 * float(estimator_bias(lengths, gradients, "delta_l") + 1 / 4), 12))
    5.0
    """
    given = {"lengths": lengths, "gradients": gradients}
    if probabilities is not None:
        given["probabilities"] = probabilities
    xp, (lengths, gradients, *rest) = as_arrays(**given)
    shape = tuple(lengths.shape)
    if len(shape) != 2:
        raise DomainError("lengths", shape, "have shape (N, G): outcomes by responses")
    if tuple(gradients.shape)[:2] != shape or gradients.ndim not in (2, 3):
        rule = f"have shape {shape} or {(*shape, 'D')}"
        raise DomainError("gradients", tuple(gradients.shape), rule)
    require_not_empty("gradients", gradients)
    dtype = common_dtype(xp, lengths, gradients)
    compute = computing(xp, dtype)
    xp, values, _, exponent, _ = lengths_of(
        lengths, method, alpha, None, needs_constant=False, dtype=dtype
    )
    require_exact(xp, "gradients", gradients, compute)
    require_finite(xp, "gradients", gradients)
    vectors = xp.astype(gradients, compute)
    chances = _chances(xp, rest[0] if rest else None, values)
    with quiet(xp):
        shares = shares_of(xp, values, exponent)
        if method in ("grpo", "dapo", "bnpo"):  # the others have one mean in all outcomes
            means = mean_weight(xp, values, method, None)
            shares = shares * (means / xp.sum(chances * means))[:, None]
        weights = chances[:, None] * (shares - 1.0 / shape[1])
        if vectors.ndim == 3:
            weights = weights[:, :, None]
        return finish(xp, xp.sum(xp.sum(weights * vectors, axis=0), axis=0), dtype, "lengths")


def _chances(xp: Namespace, probabilities: Array | None, values: Array) -> Array:
    """Probabilities of the outcomes in the dtype of the values, with sum 1."""
    outcomes = int(values.shape[0])
    if probabilities is None:
        return xp.full_like(values[:, 0], 1.0 / outcomes)
    if tuple(probabilities.shape) != (outcomes,):
        rule = f"have shape (N,), here {(outcomes,)}"
        raise DomainError("probabilities", tuple(probabilities.shape), rule)
    require_finite(xp, "probabilities", probabilities)
    chances = xp.astype(probabilities, values.dtype)
    total = xp.sum(chances)
    if inspectable(chances):
        require_all(xp, "probabilities", chances, chances >= 0.0, "be at least 0")
        eps = max(_EPS.get(dtype_name(array), 0.0) for array in (probabilities, chances))
        slack = 2 * outcomes * eps
        if not abs(float(total) - 1.0) <= slack:
            raise DomainError("probabilities", float(total), "have sum 1")
    return chances / total
