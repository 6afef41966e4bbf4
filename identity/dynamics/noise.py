"""The spread that sampling noise keeps up around the fixed point."""

from __future__ import annotations

from identity._arrays import Array, dtype_name, finish, inspectable, quiet, require_all
from identity.errors import DomainError
from identity.expectation._arguments import arguments
from identity.proven import proven

__all__ = ["stationary_variance"]


@proven(
    "dynamics.stationary-variance",
)
def stationary_variance(
    learning_rate: Array,
    curvature: Array,
    *,
    momentum: Array = 0.0,
    noise_std: Array = 1.0,
    group_size: Array = 1,
) -> Array:
    r"""Variance (1 + μ)η s²/[(1 − μ)K(2(1 + μ) − ηK)G] of the heavy ball around its fixed point.

    Of x_{t+1} = (1 + μ)x_t − μx_{t−1} − ηKx_t + ηξ_t with independent ξ, Var ξ = s²/G, no lag,
    once it has become stationary. Inversely proportional to the group size.

    Parameters
    ----------
    learning_rate : array or float
        η > 0, any shape. Arguments are numbers or arrays of one shape.
    curvature : array or float
        K > 0, the restoring force per distance.
    momentum : array or float, keyword-only
        μ in [0, 1).
    noise_std : array or float, keyword-only
        s ≥ 0, of the step of one rollout before it is multiplied by η.
    group_size : array or int, keyword-only
        G, an integer of at least 1.

    Returns
    -------
    array
        The variance of x, in squared units of x; shape, dtype, library and device of the arrays.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: the ranges above, shapes, and ηK < 2(1 + μ): beyond, nothing is
    stationary. *(assumed under jit)*: values like that; ηK beyond the threshold then gives a
    negative number.

    *Postcondition*: relative error at most 8 + 2ηK/(2(1 + μ) − ηK) eps, as long as no factor
    underflows.

    References
    ----------
    Folklore for the AR(2) process; arXiv 2606.30789 for the dependence on G, *reconstructed*.

    Examples
    --------
    >>> from identity.dynamics import stationary_variance
    >>> print(stationary_variance(0.5, 2.0, noise_std=2.0, group_size=4))
    0.25
    """
    named = {
        "learning_rate": learning_rate,
        "curvature": curvature,
        "momentum": momentum,
        "noise_std": noise_std,
        "group_size": group_size,
    }
    for name, value in named.items():
        if isinstance(value, bool) or (hasattr(value, "dtype") and dtype_name(value) == "bool"):
            raise DomainError(name, value, "be a number, not a bool")
    xp, arrays, dtype = arguments(**named)
    eta, k, mu, s, size = arrays
    with quiet(xp):
        if inspectable(*arrays):
            finite = {name: xp.isfinite(a) for name, a in zip(named, arrays, strict=True)}
            good = {
                "learning_rate": (eta > 0, "be positive and finite"),
                "curvature": (k > 0, "be positive and finite"),
                "momentum": ((mu >= 0) & (mu < 1), "lie in [0, 1)"),
                "noise_std": (s >= 0, "be at least 0 and finite"),
                "group_size": ((size >= 1) & (xp.floor(size) == size), "be an integer ≥ 1"),
            }
            for (name, (fine, rule)), array in zip(good.items(), arrays, strict=True):
                require_all(xp, name, array, fine & finite[name], rule)
        kappa = eta * k
        margin = 2 * (1 + mu) - kappa
        if inspectable(margin):
            rule = "stay below 2(1 + momentum) times the curvature's inverse, to be stable"
            require_all(xp, "learning_rate", eta + 0 * margin, margin > 0, rule)
        result = (1 + mu) / (1 - mu) * (eta / k) * (s * (s / size)) / margin
        return finish(xp, result, dtype, "learning_rate")
