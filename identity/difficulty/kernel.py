"""The Beta kernel, a family of gradient masses that vanish at both ends."""

from __future__ import annotations

from identity._arrays import Array, quiet, returned
from identity.difficulty._arguments import exponent, require_rate
from identity.difficulty._powers import power_product
from identity.expectation._arguments import arguments
from identity.proven import proven

__all__ = ["beta_kernel", "beta_kernel_peak"]

_SMALLEST = 2.0**-20


@proven(
    "difficulty.beta-kernel",
)
def beta_kernel(p: Array, alpha: float = 1.0, beta: float = 1.0) -> Array:
    """The Beta kernel p^α (1−p)^β.

    As a weight on prompts it is PACED's, by default p(1−p). As gradient mass, the weight on ∇p
    times p(1−p), it is that of Dr. GRPO at α = β = 1 and of GRPO with large groups at α = β = ½.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.
    alpha, beta : float
        α and β, dimensionless; rounded to the computing dtype. Not normalised by a Beta function.

    Returns
    -------
    array
        The kernel, between 0 and 1, like `p`.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: p in [0, 1], not NaN, not empty; alpha and beta Python numbers from
    0 to 2²⁰. *(assumed under jit)*: such p.

    *Postcondition*: within 6 eps, relative, where p^α and (1−p)^β are normal numbers. Exactly 0
    at p = 0 if α > 0 and at p = 1 if β > 0; 0⁰ is 1. The derivative is within
    16 + (1 + α) |log p| eps of |f′| + |f|(1 + α + β)/(p(1−p)), where f is a normal number; +∞ at
    p = 0 for 0 < α < 1 and −∞ at p = 1 for 0 < β < 1.

    References
    ----------
    arXiv 2603.11178; version 3 takes α = β = 1.

    Examples
    --------
    >>> from identity.difficulty import beta_kernel
    >>> beta_kernel([0.0, 0.25, 0.5])
    array([0.    , 0.1875, 0.25  ])
    >>> beta_kernel([0.0625, 1.0], 0.5, 0.0)
    array([0.25, 1.  ])
    """
    xp, (p,), dtype = arguments(p=p)
    a = exponent("alpha", alpha, xp, dtype)
    b = exponent("beta", beta, xp, dtype)
    require_rate(xp, p, "")
    with quiet(xp):
        return returned(xp, power_product(xp, p, a, b), dtype)


@proven(
    "difficulty.beta-kernel",
)
def beta_kernel_peak(alpha: float = 1.0, beta: float = 1.0) -> float:
    """α/(α+β), where the Beta kernel p^α (1−p)^β is largest.

    Parameters
    ----------
    alpha, beta : float
        α and β, dimensionless.

    Returns
    -------
    float
        The success probability at the peak, between 0 and 1.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: alpha and beta Python numbers from 2⁻²⁰ to 2²⁰. *(assumed
    under jit)*: nothing; no array takes part.

    *Postcondition*: within 1 ulp.

    References
    ----------
    arXiv 2603.11178.

    Examples
    --------
    >>> from identity.difficulty import beta_kernel_peak
    >>> beta_kernel_peak(1.0, 3.0)
    0.25
    """
    xp, _, dtype = arguments(p=1.0)
    a = exponent("alpha", alpha, xp, dtype, low=_SMALLEST)
    return a / (a + exponent("beta", beta, xp, dtype, low=_SMALLEST))
