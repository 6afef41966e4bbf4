"""What a method ascends: the integral F_G of its weight W_G."""

from __future__ import annotations

import math
from functools import lru_cache

import array_api_compat
import numpy as np

from identity._arrays import Array, returned
from identity.expectation._arguments import (
    arguments,
    bessel_factor,
    check_method,
    group_size_argument,
    require_interior,
    require_unit,
)
from identity.expectation._binomial import Floats, Table, binomial_mean, evaluate, fit, running_mean
from identity.expectation._powers import any_success, minor, mixed_from_minor
from identity.expectation.weight import METHODS, NEVER_KEPT, grpo_coefficients, grpo_weight
from identity.proven import proven

__all__ = ["surrogate"]

TABULATED = ("grpo", "dapo", "max_rl")


@lru_cache(maxsize=128)
def _mean_weight_table(group_size: int, method: str) -> tuple[Table, float]:
    """H(v) = (1/v)∫_0^v W as a function of v, and H(1) = F(1).

    With W = E[c(B)], B ~ B(G−1, p), H is E[(c(0) + ... + c(B))/(B+1)] under the same law: the
    integral of a Bernstein polynomial is one of the running sums of its coefficients.
    """
    b = np.arange(group_size, dtype=np.float64)
    symmetric = method == "grpo"
    weight = grpo_coefficients(b, group_size) if symmetric else group_size / (1 + b)
    means = running_mean(weight)

    def values(v: Floats) -> Floats:
        return np.asarray([binomial_mean(means, group_size - 1, p, 1 - p) for p in v.tolist()])

    degree = 0 if symmetric and group_size <= 3 else group_size - 1
    table = fit(
        values, group_size, 0.5 if symmetric else 1.0, degree=degree, start_value=float(means[0])
    )
    return table, float(means[-1])


@lru_cache(maxsize=128)
def _dapo_table(group_size: int) -> Table:
    """(1/(½−v)) ∫_v^½ D with D = W/(1 − p^G − q^G) − a/p, a = √(G−1)/G, on [0, ½].

    D is bounded: a/p takes the pole. Each stretch between neighbouring fit nodes is
    integrated by 8-point Gauss-Legendre quadrature, whose error falls like ρ^-16, ρ > 63.
    """
    xp = array_api_compat.array_namespace(np.empty(0))
    points, weights = np.polynomial.legendre.leggauss(8)
    share = math.sqrt(group_size - 1) / group_size
    upper, integral = 0.5, 0.0

    def values(v: Floats) -> Floats:
        nonlocal upper, integral
        out = np.empty_like(v)
        for i in range(v.size - 1, -1, -1):
            half = (upper - v[i]) / 2
            s = v[i] + half * (1 + points)
            weight = grpo_weight(xp, s * (1 - s), group_size)
            rest = weight / mixed_from_minor(xp, s, group_size) - share / s
            integral += half * float(np.sum(weights * rest))
            upper = float(v[i])
            out[i] = integral / (0.5 - upper)
        return out

    return fit(values, group_size, 0.5)


@proven(
    "expectation.weight",
    "expectation.no-bias-at-two",
    "expectation.dr-grpo",
    "expectation.rloo",
    "expectation.dapo",
    "expectation.pass-at-k",
    "expectation.max-rl",
    "expectation.arcsine",
)
def surrogate(p: Array, group_size: int, method: str = "grpo", *, ddof: int = 0) -> Array:
    r"""The function F_G of p that a method ascends: F_G' = W_G, so E[g] = ∇F_G(p).

    ============  =============================================================================
    method        F_G(p)
    ============  =============================================================================
    grpo          ∫_0^p W_G = (1/G) E[c(0) + ... + c(B−1)], B ~ B(G, p); p at G = 2, √2 p at 3
    dr_grpo       p (G−1)/G
    rloo          p
    dapo          ∫_{1/2}^p W_G/(1 − u^G − (1−u)^G) du; half the log-odds at G = 2
    max_rl        Σ_{i=1}^{G} (1 − q^i)/i
    pass_at_k     1 − q^K, K = `group_size`
    ============  =============================================================================

    F(0) = 0 for all but dapo. Its weight grows like √(G−1)/(Gp) at 0, which has no finite
    integral from 0: what it ascends is unbounded, like (√(G−1)/G) log p. It is measured from
    p = 1/2 and odd about it.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.
    group_size : int
        Rollouts per prompt, G ≥ 2, static under jit; at most 2^20 for grpo, dapo and max_rl.
    method : {"grpo", "dr_grpo", "rloo", "dapo", "max_rl", "pass_at_k"}
        Which update.
    ddof : {0, 1}, keyword-only
        As for `update_weight`: 1 multiplies by √((G−1)/G).

    Returns
    -------
    array
        F_G(p), like `p`.

    Raises
    ------
    DomainError
        Eagerly: p outside [0, 1] or NaN, empty p; p outside (0, 1) for dapo; group_size no
        integer or out of range; unknown method; bad ddof.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and static arguments. Assumed: as
    for `update_weight`.

    *Postcondition.* Relative error at most 16 eps for G ≤ 4096 (64 eps up to 2^20), p in
    [1e-300, 1 − 2^-53] (float64) or any normal p (float32). Exactly 0 at p = 0 (dapo: at 1/2).

    References
    ----------
    arXiv 2607.00152, section 3; 2510.23049; 2503.14476.

    Examples
    --------
    >>> float(surrogate(0.25, 2))
    0.25
    >>> print(round(float(surrogate(0.5, 2, "max_rl")), 15))
    0.875
    """
    method = check_method(method, METHODS)
    size = group_size_argument(group_size, bounded=method in TABULATED)
    factor = bessel_factor(method, size, ddof)
    xp, (p,), dtype = arguments(p=p)
    require_unit(xp, "p", p)
    if method == "dapo":
        require_interior(xp, "p", p, dtype, NEVER_KEPT)
    if method == "dr_grpo":
        value = (size - 1) / size * p
    elif method == "rloo":
        value = 1 * p
    elif method == "pass_at_k":
        value = any_success(xp, p, size)
    elif method == "max_rl":
        table, _ = _mean_weight_table(size, method)
        value = p * evaluate(xp, table, p)
    elif method == "dapo":
        m = minor(xp, p)
        pole = math.sqrt(size - 1) / size * xp.log(2 * m)
        below = (0.5 - m) * evaluate(xp, _dapo_table(size), m) - pole
        value = xp.where(p <= 0.5, -below, below)
    else:
        # F(p) + F(q) = F(1), since W is symmetric.
        m = minor(xp, p)
        table, whole = _mean_weight_table(size, method)
        lower = m * evaluate(xp, table, m)
        value = xp.where(p <= 0.5, lower, whole - lower)
    if ddof:
        value = factor * value
    return returned(xp, value, dtype)
