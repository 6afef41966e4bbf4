"""What a method estimates: mean and variance of Σ x_i g_i over one group, given the lengths.

g_i is the unnormalised gradient of response i, the sum over its tokens, of length L_i; a method
weighs it by x_i. Assumed: E[g_i | L] = ∇J, the g_i uncorrelated, Var(g_i | L) = V L_i.
"""

from __future__ import annotations

import math

from identity._arrays import Array, Namespace, finish, largest_float, quiet, real_argument
from identity.aggregation._lengths import lengths_of, mean_weight, shares_of
from identity.errors import DomainError
from identity.proven import proven

__all__ = ["coefficient_of_variation", "estimator_mean", "estimator_variance"]

# 2**±100 is a normal number in every dtype that computes.
_STEP = 100


@proven("aggregation.table")
def estimator_mean(
    lengths: Array, method: str, *, alpha: float = 1.0, constant: float | Array | None = None
) -> Array:
    r"""Σ x_i, the multiple of ∇J that a method estimates, given the lengths.

    ============================  ===================  ==================
    method                        x_i                  Σ x_i
    ============================  ===================  ==================
    ``grpo``                      1/(G L_i)            mean of 1/L
    ``dapo``, ``bnpo``            1/Σ L                1/(mean of L)
    ``dapo`` with a constant c    1/c                  G/c
    ``dr_grpo``                   1/(G M)              1/M
    ``sequence_sum``              1/G                  1
    ``delta_l(_batch)``           L_i^-α/(M Σ L^-α)    1/M
    ============================  ===================  ==================

    Parameters
    ----------
    lengths : array, shape (..., G)
        Lengths L_i of the G ≥ 1 responses, in tokens; each at least 1.
    method, alpha, constant
        As in `token_weights`, but for alpha, which may be any finite Python number (rounded to
        the dtype that computes).

    Returns
    -------
    array, shape (...)
        Σ x_i, per token where the method divides by lengths.

    Raises
    ------
    DomainError
        If a checked precondition fails, or an option is given that the method does not take.

    Notes
    -----
    *Preconditions (checked)*: lengths finite, at least 1, integers exact in the dtype that
    computes; constant above 0. *(assumed under jit)*: values like that.

    *Postcondition*: within G + 8 ulp.

    References
    ----------
    arXiv 2509.07558v1 for ΔL; the table is our ``aggregation.table``.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.aggregation import estimator_mean
    >>> print(estimator_mean(np.array([1, 2, 4, 4]), "grpo"))
    0.5
    >>> print(estimator_mean(np.array([1, 2, 4, 4]), "delta_l", constant=16))
    0.0625
    """
    xp, values, dtype, _, fixed = lengths_of(lengths, method, alpha, constant)
    with quiet(xp):
        return finish(xp, mean_weight(xp, values, method, fixed), dtype, "lengths")


@proven(
    "aggregation.table",
    "aggregation.delta-l-minimum-variance",
    "aggregation.delta-l-alpha",
)
def estimator_variance(
    lengths: Array,
    method: str,
    *,
    alpha: float = 1.0,
    constant: float | Array | None = None,
    variance: float = 1.0,
) -> Array:
    """V Σ x_i² L_i, the variance of a method's estimate, given the lengths.

    Parameters
    ----------
    lengths : array, shape (..., G)
        Lengths L_i of the G ≥ 1 responses, in tokens; each at least 1.
    method, alpha, constant
        As in `estimator_mean`.
    variance : float
        V, the variance per token of an unnormalised gradient (its trace in several dimensions); a
        Python number, at least 0.

    Returns
    -------
    array, shape (...)
        The variance. For the same mean 1/M it is least for ``delta_l`` with alpha 1, decreases in
        alpha before and increases after, unless all lengths are equal.

    Raises
    ------
    DomainError
        If a checked precondition fails, an option is given that the method does not take, or the
        dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: as `estimator_mean`; variance finite. *(assumed under jit)*: as
    there. *(assumed)*: given the lengths, the g_i are uncorrelated and Var(g_i) = V L_i. A baseline
    taken from the group breaks the first (``aggregation.shared-baseline``).

    *Postcondition*: within 4G + 16(1 + |alpha|) + 32 ulp. No power of a length overflows, whatever
    alpha.

    References
    ----------
    arXiv 2509.07558v1; our ``aggregation.table`` and ``aggregation.delta-l-alpha``.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.aggregation import estimator_variance
    >>> lengths = np.array([1, 2, 4, 4])
    >>> print(estimator_variance(lengths, "delta_l", constant=1))
    0.5
    >>> print(estimator_variance(lengths, "dr_grpo", constant=1))
    0.6875
    """
    scale = _number("variance", variance, zero=True)
    xp, values, dtype, exponent, fixed = lengths_of(lengths, method, alpha, constant)
    with quiet(xp):
        mean = mean_weight(xp, values, method, fixed)
        relative = _relative_variance(xp, values, exponent)
        # The root first: either factor alone may leave the dtype's range.
        root = _times(mean, math.sqrt(scale))
        return finish(xp, relative * root * root, dtype, "lengths")


@proven(
    "aggregation.table",
    "aggregation.delta-l-minimum-variance",
    "aggregation.delta-l-alpha",
)
def coefficient_of_variation(
    lengths: Array,
    method: str,
    *,
    alpha: float = 1.0,
    variance: float = 1.0,
    gradient_norm: float = 1.0,
) -> Array:
    """Standard deviation of a method's estimate over the norm of its mean, given the lengths.

    Parameters
    ----------
    lengths : array, shape (..., G)
        Lengths L_i of the G ≥ 1 responses, in tokens; each at least 1.
    method, alpha
        As in `estimator_mean`. No constant is taken: it cancels.
    variance : float
        V, the variance per token; a Python number, at least 0.
    gradient_norm : float
        ‖∇J‖, a Python number above 0.

    Returns
    -------
    array, shape (...)
        √V/(‖∇J‖ √Σ1/L) for ``grpo`` and for ``delta_l`` with alpha 1, the least of all;
        √(V Σ L)/(G ‖∇J‖) for the methods that give all tokens one weight.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*, *(assumed under jit)* and *(assumed)*: as `estimator_variance`.

    *Postcondition*: within 4G + 16(1 + |alpha|) + 32 ulp.

    References
    ----------
    arXiv 2509.07558v1; our ``aggregation.table``.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.aggregation import coefficient_of_variation
    >>> lengths = np.array([1.0, 1.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    >>> print(coefficient_of_variation(lengths, "grpo"))
    0.5
    >>> print(round(float(coefficient_of_variation(lengths, "dapo")), 4))
    0.5831
    """
    scale = _number("variance", variance, zero=True)
    norm = _number("gradient_norm", gradient_norm)
    xp, values, dtype, exponent, _ = lengths_of(lengths, method, alpha, None, needs_constant=False)
    with quiet(xp):
        relative = _relative_variance(xp, values, exponent)
        return finish(xp, _times(xp.sqrt(relative), math.sqrt(scale) / norm), dtype, "lengths")


def _times(values: Array, number: float) -> Array:
    """values · number, for a number that the dtype need not hold: in steps that it holds."""
    fraction, exponent = math.frexp(number)
    if exponent > 0:  # up last, and never below the result on the way
        fraction, exponent = 2 * fraction, exponent - 1
    values = values * fraction
    while exponent:
        step = max(-_STEP, min(_STEP, exponent))
        values, exponent = values * 2.0**step, exponent - step
    return values


def _relative_variance(xp: Namespace, values: Array, alpha: float) -> Array:
    """Σ s_i² L_i, s the shares: the variance over V and the square of the mean."""
    shares = shares_of(xp, values, alpha)
    return xp.sum(shares * values * shares, axis=-1)


def _number(argument: str, value: object, *, zero: bool = False) -> float:
    """A Python number above 0, or at least 0."""
    rule = f"be a finite Python number {'at least' if zero else 'above'} 0"
    number = real_argument(argument, value, rule)
    if not (number > 0 or (zero and number == 0)) or number > largest_float("float64"):
        raise DomainError(argument, value, rule)
    return number
