"""The loss of direct preference optimisation on one pair, and the length of its step."""

from __future__ import annotations

from identity._arrays import (
    Array,
    Namespace,
    as_arrays,
    common_dtype,
    finish,
    floating_dtype,
    quiet,
    require_not_empty,
)
from identity.groups._arithmetic import converted
from identity.preference._arguments import positive_number, require_same_shape
from identity.proven import proven

__all__ = ["dpo_gradient_weight", "dpo_loss"]


@proven(
    "preference.dpo-gradient",
    "preference.equivalence",
)
def dpo_loss(
    logp_chosen: Array,
    logp_rejected: Array,
    ref_chosen: Array,
    ref_rejected: Array,
    *,
    beta: float,
) -> Array:
    """DPO's loss −log S(βΔ) of each pair, S the logistic function.

    Parameters
    ----------
    logp_chosen, logp_rejected : array of any shape
        Log-probabilities of the better and the worse response under the policy, in nats, summed
        over tokens.
    ref_chosen, ref_rejected : array of the same shape
        The same under the reference.
    beta : float
        β, dimensionless; rounded to the computing dtype.

    Returns
    -------
    array, the shape of `logp_chosen`
        The loss of each pair, in nats; no mean is taken.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: log-probabilities finite and of one shape, not empty, integers at
    most 2²⁴ in magnitude (2⁵³ in float64); beta positive, normal and at most a quarter of the
    largest float of the computing dtype. A log-probability of −inf is refused: its ratio to the
    reference has no margin. *(assumed under jit)*: such log-probabilities. That they are at most
    0 is not required.

    *Postcondition*: within 8 + 2 max(βΔ, 0) ulp of itself: Δ, which cancels, is known to 1 ulp.
    The derivatives with respect to the four log-probabilities, in the order of the arguments, are
    −w, w, w and −w, w = βS(−βΔ), with the same bound plus β times the smallest normal number.
    That holds where the log-ratios of both responses add up, in magnitude, to at most 2²⁰ (2⁴⁹ in
    float64) times |Δ| or times 1/β. Everywhere else, too, value and derivatives are finite for
    finite log-probabilities, if the dtype can hold the loss.

    At Δ = 0, −∇L = (β/2)(s⁺ − s⁻) is β times the step of `two_grpo_update` on the same pair.

    References
    ----------
    arXiv 2305.18290, section 4: the loss (equation 7) and what its gradient does.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.preference import dpo_loss
    >>> chosen, rejected = np.array([-3.0, -3.0]), np.array([-3.0, -9.0])
    >>> dpo_loss(chosen, rejected, np.array([-3.0, -4.0]), np.array([-3.0, -4.0]), beta=0.5)
    array([0.69314718, 0.04858735])
    """
    names = ("logp_chosen", "logp_rejected", "ref_chosen", "ref_rejected")
    given = (logp_chosen, logp_rejected, ref_chosen, ref_rejected)
    xp, arrays = as_arrays(**dict(zip(names, given, strict=True)))
    named = dict(zip(names, arrays, strict=True))
    require_same_shape(named)
    require_not_empty(names[0], arrays[0])
    dtype = common_dtype(xp, *arrays)
    beta = positive_number("beta", beta, dtype, xp)
    values = [converted(xp, name, array, dtype) for name, array in named.items()]
    with quiet(xp):
        # A quarter of each: their sum is then finite. What that loses of subnormals is far below
        # the loss.
        chosen, rejected, of_chosen, of_rejected = (value * 0.25 for value in values)
        better, better_lost = _difference(chosen, of_chosen)
        worse, worse_lost = _difference(rejected, of_rejected)
        margin, lost = _difference(better, worse)
        scaled = beta * (margin + ((better_lost - worse_lost) + lost)) * 4.0
        ahead, fading = _fading(xp, scaled)
        # log(1 + e^−x) = log1p(e^−|x|) − min(x, 0).
        behind = xp.where(ahead, xp.zeros_like(scaled), scaled)
        return finish(xp, xp.log1p(fading) - behind, dtype, names[0])


@proven(
    "preference.dpo-gradient",
    "preference.equivalence",
)
def dpo_gradient_weight(margin: Array, *, beta: float) -> Array:
    """βS(−βΔ), what multiplies s⁺ − s⁻ in the descent −∇L of DPO's loss.

    Parameters
    ----------
    margin : array of any shape
        Δ, the log-ratio to the reference of the better response minus that of the worse one, in
        nats.
    beta : float
        β, dimensionless; rounded to the computing dtype.

    Returns
    -------
    array, the shape of `margin`
        The weight, between 0 and β; β/2 at Δ = 0.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: margin finite and not empty, integers and beta as in `dpo_loss`.
    *(assumed under jit)*: a finite margin.

    *Postcondition*: within 8 + max(βΔ, 0) ulp of itself, plus β times the smallest normal number.
    The derivative, −β²S(βΔ)S(−βΔ), is within 8 + |βΔ| ulp, plus β² times that number.

    The step ½(s⁺ − s⁻) of two rollouts under GRPO points the same way. The ratio of lengths, DPO
    over GRPO, is twice this weight: β at the reference, where the margin is 0, falling to 0 as
    the policy comes to prefer the better response.

    References
    ----------
    arXiv 2305.18290, section 4, the gradient of the loss; arXiv 2510.00977 for the comparison.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.preference import dpo_gradient_weight
    >>> dpo_gradient_weight(np.array([-40.0, 0.0, 40.0]), beta=0.1)
    array([0.09820138, 0.05      , 0.00179862])
    """
    xp, (array,) = as_arrays(margin=margin)
    require_not_empty("margin", array)
    dtype = floating_dtype(xp, array)
    beta = positive_number("beta", beta, dtype, xp)
    with quiet(xp):
        ahead, fading = _fading(xp, beta * converted(xp, "margin", array, dtype))
        share = xp.where(ahead, fading, xp.ones_like(fading)) / (1.0 + fading)
        return finish(xp, beta * share, dtype, "beta")


def _difference(first: Array, second: Array) -> tuple[Array, Array]:
    """The difference, and exactly what its rounding lost (Knuth), whose derivative is 0."""
    total = first - second
    back = total - first
    return total, (first - (total - back)) - (second + back)


def _fading(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Where x > 0, and e^−|x|; not from |x|, whose derivative at 0 is lost."""
    ahead = x > 0.0
    return ahead, xp.exp(xp.where(ahead, -x, x))
