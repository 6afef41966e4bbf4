"""Subtracting wrong rollouts from correct ones: what it gains, and how much is best.

g⁺ and g⁻ are the parts of a step that correct and wrong rollouts make. Since E[score] = 0,
E g⁻ = −(p/q) E g⁺: g⁻ is no control variate of mean 0, and g⁺ − cg⁻ has the mean
(1 + cp/q) E g⁺. Given the prompt both parts are independent. Variances are comparable only
relative to the squared mean.
"""

from __future__ import annotations

from identity._arrays import Array, Namespace, finish, inspectable, quiet, require_all
from identity.expectation._arguments import arguments, require_interior
from identity.proven import proven

__all__ = ["contrast_gain", "optimal_contrast"]

_INTERIOR = "elsewhere one of the two parts is missing"


@proven(
    "preference.contrast-gain",
)
def contrast_gain(
    p: Array, variance_correct: Array, variance_wrong: Array, c: Array | None = None
) -> Array:
    """Relative variance (V₊ + c²V₋)/(1 + cp/q)² of the contrast g⁺ − cg⁻.

    Parameters
    ----------
    p : array or float
        Success probability, dimensionless; q = 1 − p.
    variance_correct, variance_wrong : array or float
        V₊ and V₋, the variances (traces of the covariances) of g⁺ and g⁻, both in units of
        ‖E g⁺‖².
    c : array or float, optional
        How much of g⁻ is subtracted, dimensionless; the best amount (`optimal_contrast`) by
        default. Any sign.

    Returns
    -------
    array
        Variance over squared mean of g⁺ − cg⁻, dimensionless. V₊ at c = 0; at the best c the
        least value, V₊V₋/(V₋ + (p/q)²V₊), which is below V₊ and below (q/p)²V₋.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: p strictly between 0 and 1; variances finite, at least 0; c finite
    and not −q/p, where the contrast has mean 0; arrays of one shape, not empty, or numbers.
    *(assumed under jit)*: such values. Assumed: g⁺ and g⁻ uncorrelated, as they are given the
    prompt.

    *Postcondition*: within 8 eps, relative, for c ≥ 0 or none; for c < 0 the mean cancels, and
    (q + |c|p)/|q + cp| multiplies the bound. 0 at the best c if either variance is 0.

    References
    ----------
    New here; arXiv 2510.00977, Proposition 4.1, takes g⁻ for a control variate.

    Examples
    --------
    >>> from identity.preference import contrast_gain
    >>> print(contrast_gain(0.5, 4.0, 4.0, 0.0), contrast_gain(0.5, 4.0, 4.0))
    4.0 2.0
    """
    named = {"p": p, "variance_correct": variance_correct, "variance_wrong": variance_wrong}
    if c is not None:
        named["c"] = c
    xp, (p, plus, minus, *rest), dtype = arguments(**named)
    require_interior(xp, "p", p, dtype, _INTERIOR)
    _require_variance(xp, "variance_correct", plus)
    _require_variance(xp, "variance_wrong", minus)
    with quiet(xp):
        if not rest:
            value = _least(xp, *_filled(p, plus, minus))
        else:
            if inspectable(rest[0]):
                require_all(xp, "c", rest[0], xp.isfinite(rest[0]), "be finite")
            value = _at(xp, *_filled(p, plus, minus, rest[0]))
        return finish(xp, value, dtype, "variance_correct")


@proven(
    "preference.contrast-gain",
)
def optimal_contrast(p: Array, variance_correct: Array, variance_wrong: Array) -> Array:
    """c* = (p/q)V₊/V₋, the amount of g⁻ at which g⁺ − cg⁻ has the least relative variance.

    Parameters
    ----------
    p : array or float
        Success probability, dimensionless; q = 1 − p.
    variance_correct, variance_wrong : array or float
        V₊ and V₋, the variances of g⁺ and g⁻, in one unit.

    Returns
    -------
    array
        c*, dimensionless, at least 0.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: p strictly between 0 and 1; variances finite, V₊ at least 0, V₋
    positive; arrays of one shape, not empty, or numbers. *(assumed under jit)*: such values.

    *Postcondition*: within 3 eps, relative, where pV₊ and qV₋ are normal numbers.

    References
    ----------
    New here; see `contrast_gain`.

    Examples
    --------
    >>> from identity.preference import optimal_contrast
    >>> print(optimal_contrast(0.5, 4.0, 2.0))
    2.0
    """
    xp, (p, plus, minus), dtype = arguments(
        p=p, variance_correct=variance_correct, variance_wrong=variance_wrong
    )
    require_interior(xp, "p", p, dtype, _INTERIOR)
    _require_variance(xp, "variance_correct", plus)
    _require_variance(xp, "variance_wrong", minus)
    if inspectable(minus):
        require_all(xp, "variance_wrong", minus, minus > 0, "be positive")
    with quiet(xp):
        return finish(xp, (p * plus) / ((1 - p) * minus), dtype, "variance_correct")


def _require_variance(xp: Namespace, argument: str, array: Array) -> None:
    if inspectable(array):
        good = (array >= 0) & xp.isfinite(array)
        require_all(xp, argument, array, good, "be finite and at least 0")


def _filled(*arrays: Array) -> list[Array]:
    """Numbers stretched to the one shape of the others."""
    zero = sum(0 * array for array in arrays)
    return [array + zero for array in arrays]


def _at(xp: Namespace, p: Array, plus: Array, minus: Array, c: Array) -> Array:
    """a²V₊ + (ca)²V₋ with a = q/(q + cp): no square of c, which may overflow, nor a tiny a."""
    q = 1 - p
    mean = q + c * p
    if inspectable(mean):
        require_all(xp, "c", c, mean != 0, "not be -q/p, where the contrast has mean 0")
    share = q / mean
    large = (c > 1) | (c < -1)
    safe = xp.where(large, c, xp.ones_like(c))
    # By the mean that was checked: q/c + p may round to 0 where that does not.
    far = xp.where(large, mean / safe, xp.ones_like(c))
    rest = xp.where(large, q / far, c * share)
    return share * (share * plus) + rest * (rest * minus)


def _least(xp: Namespace, p: Array, plus: Array, minus: Array) -> Array:
    """V₊/(1 + t) or (q/p)²V₋/(1 + 1/t), t = (p/q)²V₊/V₋, whichever of t and 1/t is at most 1.

    Each side is given harmless values where the other is taken, for the sake of derivatives.
    """
    q = 1 - p
    zero, one = xp.zeros_like(p), xp.ones_like(p)
    first = p * (p * plus) <= q * (q * minus)
    only = first & (minus > 0)
    odds = xp.where(first, p, zero) / q
    t = odds * (odds * xp.where(only, plus, zero)) / xp.where(only, minus, one)
    low = xp.where(only, plus, zero) / (1 + t)
    against = q / xp.where(first, one, p)
    small = xp.where(first, zero, minus)
    u = against * (against * small) / xp.where(first, one, plus)
    return xp.where(first, low, against * (against * small) / (1 + u))
