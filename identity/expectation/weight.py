"""The weight W_G(p) that a method puts on ∇p, and what follows from it at once."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from identity._arrays import Array, Namespace, returned
from identity.errors import DomainError
from identity.expectation._arguments import (
    arguments,
    bessel_factor,
    check_method,
    group_size_argument,
    require_fits,
    require_interior,
    require_unit,
)
from identity.expectation._binomial import Floats, Table, binomial_mean, evaluate, fit
from identity.expectation._powers import (
    any_success,
    complement_power,
    mean_complement_power,
    minor,
    mixed_per_minor,
    over_mixed,
    root_of_product,
)
from identity.proven import proven

__all__ = [
    "METHODS",
    "NEVER_KEPT",
    "expected_std",
    "fidelity",
    "gradient_mass",
    "grpo_coefficients",
    "grpo_weight",
    "update_weight",
    "verifier_noise_weight",
]

METHODS = ("grpo", "dr_grpo", "rloo", "dapo", "max_rl", "pass_at_k")

NEVER_KEPT = "every group is unanimous at 0 and 1, and none is kept"

# Methods whose formula needs a table, and with it a bound on the group size.
TABULATED = ("grpo", "dapo")


def grpo_coefficients(b: Floats, group_size: int) -> Floats:
    """A⁺(1+b) − A⁻(b) = √((G−1−b)/(1+b)) + √(b/(G−b)), the Bernstein coefficients of W_G."""
    return np.sqrt((group_size - 1 - b) / (1 + b)) + np.sqrt(b / (group_size - b))


@lru_cache(maxsize=128)
def weight_table(group_size: int) -> Table:
    """W_G as a function of x = pq ∈ [0, 1/4]: a polynomial of degree ⌊(G−1)/2⌋."""
    n = group_size - 1
    coefficients = grpo_coefficients(np.arange(group_size, dtype=np.float64), group_size)

    def values(x: Floats) -> Floats:
        root = np.sqrt(np.maximum(1 - 4 * x, 0))
        pairs = zip((2 * x / (1 + root)).tolist(), ((1 + root) / 2).tolist(), strict=True)
        return np.asarray([binomial_mean(coefficients, n, p, q) for p, q in pairs])

    # W_2 = 1 and W_3 = √2 are constant: a fitted slope of 1e-16 would be noise.
    degree = 0 if group_size <= 3 else n // 2
    return fit(values, group_size, 0.25, degree=degree, start_value=math.sqrt(n))


def grpo_weight(xp: Namespace, x: Array, group_size: int) -> Array:
    """W_G as a function of x = pq, unchecked."""
    return evaluate(xp, weight_table(group_size), x)


@proven(
    "expectation.weight",
    "expectation.grpo-weight",
    "expectation.no-bias-at-two",
    "expectation.dr-grpo",
    "expectation.rloo",
    "expectation.bessel",
    "expectation.dapo",
    "expectation.pass-at-k",
    "expectation.max-rl",
)
def update_weight(p: Array, group_size: int, method: str = "grpo", *, ddof: int = 0) -> Array:
    r"""Weight W_G(p) of the expected update: E[g] = W_G(p) ∇p.

    ============  ==========================================================================
    method        W_G(p), q = 1 − p
    ============  ==========================================================================
    grpo          E[√((G−1−B)/(1+B)) + √(B/(G−B))], B ~ B(G−1, p); 1 at G = 2, √2 at G = 3
    dr_grpo       (G−1)/G
    rloo          1
    dapo          W_grpo / (1 − p^G − q^G): per *kept* group
    max_rl        (1 − q^G)/p, G the number of rollouts
    pass_at_k     K q^(K−1), K = `group_size`
    ============  ==========================================================================

    Parameters
    ----------
    p : array or float
        Success probability of a prompt, any shape, floating dtype; dimensionless.
    group_size : int
        Rollouts per prompt, G ≥ 2; a Python integer, static under jit. At most 2^20 for grpo
        and dapo.
    method : {"grpo", "dr_grpo", "rloo", "dapo", "max_rl", "pass_at_k"}
        Which update.
    ddof : {0, 1}, keyword-only
        1 divides by Bessel's standard deviation, which multiplies the weight by √((G−1)/G);
        only for grpo and dapo.

    Returns
    -------
    array
        W_G(p), same shape, dtype, library and device as `p`.

    Raises
    ------
    DomainError
        Eagerly: p outside [0, 1] or NaN, empty p; p outside (0, 1) for dapo, where no group is
        ever kept at 0 and 1; group_size no integer or out of range; unknown method; ddof neither
        0 nor 1, or 1 with a method without σ.

    Notes
    -----
    *Preconditions.* Checked: all of the above; under jit and vmap only shapes and the static
    arguments, and a p outside [0, 1] gives a meaningless number, NaN gives NaN. Assumed: binary
    rewards, on-policy rollouts, no clipping, sequence-sum scores.

    *Postcondition.* Relative error at most 8 eps (dapo: 12) for p in [1e-300, 1 − 2^-53] (float64)
    or any normal p (float32), every G up to 2^20. Exactly √(G−1) at p = 0 and 1 for grpo. Time and
    memory O(size of p), whatever G; the table of a group size is built once, in milliseconds
    (about 0.1 s at G = 10^6). Derivatives by autodiff are those of the piecewise polynomials,
    within 4096 eps, and of the closed forms, within 16 eps: see `identity.expectation`.

    References
    ----------
    arXiv 2607.00152, Theorem 1 and Proposition 2 (grpo); 2503.20783 (dr_grpo); 2503.14476 (dapo);
    2602.02710 (max_rl).

    Examples
    --------
    >>> float(update_weight(0.3, 2))
    1.0
    >>> update_weight(np.asarray([0.0, 1.0]), 5)
    array([2., 2.])
    >>> print(update_weight(0.25, 4, "pass_at_k"))
    1.6875
    """
    method = check_method(method, METHODS)
    size = group_size_argument(group_size, bounded=method in TABULATED)
    factor = bessel_factor(method, size, ddof)
    xp, (p,), dtype = arguments(p=p)
    require_unit(xp, "p", p)
    if method == "dapo":
        require_interior(xp, "p", p, dtype, NEVER_KEPT)
    if method in ("max_rl", "pass_at_k"):
        require_fits(size, dtype)
    if method == "dr_grpo":
        # 0·p keeps the result in the graph of a differentiated p, and a NaN a NaN.
        weight = 0 * p + (size - 1) / size
    elif method == "rloo":
        weight = 0 * p + 1
    elif method == "max_rl":
        weight = mean_complement_power(xp, p, size)
    elif method == "pass_at_k":
        weight = float(size) * complement_power(xp, p, size - 1)
    else:
        weight = grpo_weight(xp, p * (1 - p), size)
        if method == "dapo":
            weight = over_mixed(xp, weight, p, size)
        if ddof:
            weight = factor * weight
    return returned(xp, weight, dtype)


@proven(
    "expectation.grpo-weight",
    "expectation.binomial-sum",
)
def expected_std(p: Array, group_size: int) -> Array:
    r"""Expected population standard deviation of a group's rewards, E[σ] = p q W_G(p).

    Also GRPO's expected step on a scalar logit prompt: (1/G) Σ_k C(G,k) p^k q^(G−k) √(k(G−k)).

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.
    group_size : int
        Rollouts per prompt, 2 ≤ G ≤ 2^20, static under jit.

    Returns
    -------
    array
        E[σ] ∈ [0, 1/2], like `p`.

    Raises
    ------
    DomainError
        Eagerly: p outside [0, 1] or NaN, empty p, group_size no integer or out of range.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and group_size. Assumed: independent
    binary rewards.

    *Postcondition.* Relative error at most 12 eps for p in [1e-300, 1 − 2^-53] (float64) or any
    normal p (float32). Exactly 0 at p = 0 and 1.

    References
    ----------
    arXiv 2607.00152, Proposition 2.

    Examples
    --------
    >>> float(expected_std(0.5, 2))
    0.25
    """
    size = group_size_argument(group_size, bounded=True)
    xp, (p,), dtype = arguments(p=p)
    require_unit(xp, "p", p)
    x = p * (1 - p)
    return returned(xp, x * grpo_weight(xp, x, size), dtype)


@proven(
    "expectation.monotone",
    "expectation.arcsine",
    "expectation.attenuation",
)
def fidelity(p: Array, group_size: int) -> Array:
    r"""Finite-group attenuation φ(G, p) = E[σ]/√(pq) ∈ [0, 1].

    The share of the large-group update that a group of G gives: 1 − 1/(8Gpq) − ... as G → ∞.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.
    group_size : int
        Rollouts per prompt, 2 ≤ G ≤ 2^20, static under jit.

    Returns
    -------
    array
        φ, like `p`. At p = 0 and 1, where E[σ]/√(pq) is 0/0, the limit 0.

    Raises
    ------
    DomainError
        Eagerly: p outside [0, 1] or NaN, empty p, group_size no integer or out of range.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and group_size.

    *Postcondition.* Relative error at most 12 eps for p in [1e-300, 1 − 2^-53] (float64) or any
    normal p (float32). The derivative is +∞ at p = 0 and −∞ at p = 1, by autodiff too.

    References
    ----------
    arXiv 2607.00152, Corollary 1.

    Examples
    --------
    >>> print(round(float(fidelity(0.5, 8)), 4), round(float(fidelity(0.05, 8)), 4))
    0.9278 0.539
    """
    size = group_size_argument(group_size, bounded=True)
    xp, (p,), dtype = arguments(p=p)
    require_unit(xp, "p", p)
    x = p * (1 - p)
    return returned(xp, root_of_product(xp, p) * grpo_weight(xp, x, size), dtype)


@proven(
    "expectation.grpo-weight",
    "expectation.dr-grpo",
    "expectation.rloo",
    "expectation.dapo",
    "expectation.pass-at-k",
    "expectation.max-rl",
    "expectation.arcsine",
)
def gradient_mass(
    p: Array, group_size: int | None = None, method: str = "grpo", *, ddof: int = 0
) -> Array:
    r"""Gradient mass w(p)·pq: the expected step on a scalar logit prompt, where ∇p = pq.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.
    group_size : int or None
        Rollouts per prompt as for `update_weight`; None takes the large-G limit: √(pq) for grpo
        and dapo, pq for dr_grpo and rloo, q for max_rl. pass_at_k has none but 0: not accepted.
    method : {"grpo", "dr_grpo", "rloo", "dapo", "max_rl", "pass_at_k"}
        Which update.
    ddof : {0, 1}, keyword-only
        As for `update_weight`.

    Returns
    -------
    array
        w(p)·pq, like `p`.

    Raises
    ------
    DomainError
        As `update_weight`; also pass_at_k without a group size.

    Notes
    -----
    *Preconditions.* As `update_weight`.

    *Postcondition.* Relative error at most 12 eps for p in [1e-300, 1 − 2^-53] (float64) or any
    normal p (float32). The limit √(pq) has the derivative +∞ at p = 0 and −∞ at p = 1.

    References
    ----------
    arXiv 2607.00152, section on difficulty; 2603.11178.

    Examples
    --------
    >>> print(gradient_mass(0.5), gradient_mass(0.5, method="dr_grpo"))
    0.5 0.25
    """
    method = check_method(method, METHODS)
    size = None
    if group_size is not None:
        size = group_size_argument(group_size, bounded=method in TABULATED)
    elif method == "pass_at_k":
        raise DomainError("group_size", None, "be given for method 'pass_at_k'")
    factor = bessel_factor(method, size, ddof)
    xp, (p,), dtype = arguments(p=p)
    require_unit(xp, "p", p)
    if method == "dapo":
        require_interior(xp, "p", p, dtype, NEVER_KEPT)
    x = p * (1 - p)
    if method in ("dr_grpo", "rloo"):
        share = 1.0 if size is None or method == "rloo" else (size - 1) / size
        mass = share * x
    elif method == "max_rl":
        mass = (1 - p) if size is None else any_success(xp, p, size) * (1 - p)
    elif method == "pass_at_k":
        assert size is not None
        mass = float(size) * p * complement_power(xp, p, size)
    elif size is None:
        mass = root_of_product(xp, p)
    else:
        mass = grpo_weight(xp, x, size)
        if method == "dapo":
            # pq over the mixed share: the smaller of p and q is divided out of both.
            m = minor(xp, p)
            mass = mass * (1 - m) / mixed_per_minor(xp, m, size)
        else:
            mass = x * mass
        if ddof:
            mass = factor * mass
    return returned(xp, mass, dtype)


@proven(
    "expectation.verifier-noise",
)
def verifier_noise_weight(
    p: Array, group_size: int, true_positive: Array, false_positive: Array
) -> Array:
    r"""GRPO's weight under a noisy verifier: E[g] = (t − f) W_G(f + (t − f)p) ∇p.

    Parameters
    ----------
    p : array or float
        True success probability, any shape; dimensionless.
    group_size : int
        Rollouts per prompt, 2 ≤ G ≤ 2^20, static under jit.
    true_positive, false_positive : float or array of the shape of `p`
        Probability t that a correct, f that an incorrect answer is accepted.

    Returns
    -------
    array
        (t − f) W_G(p̃): its sign is that of Youden's t − f.

    Raises
    ------
    DomainError
        Eagerly: p, t or f outside [0, 1] or NaN, empty arrays, shapes that differ, group_size no
        integer or out of range.

    Notes
    -----
    *Preconditions.* Checked: as above; under jit only shapes and group_size. Assumed: the
    verifier errs independently of the rollout given its correctness.

    *Postcondition.* Relative error at most 16 eps: p̃ = tp + fq and q̃ = (1−t)p + (1−f)q are sums
    of non-negative terms.

    References
    ----------
    arXiv 2601.04411.

    Examples
    --------
    >>> print(verifier_noise_weight(0.5, 2, 0.75, 0.25))
    0.5
    """
    size = group_size_argument(group_size, bounded=True)
    xp, (p, t, f), dtype = arguments(
        p=p, true_positive=true_positive, false_positive=false_positive
    )
    for name, value in (("p", p), ("true_positive", t), ("false_positive", f)):
        require_unit(xp, name, value)
    q = 1 - p
    accepted, rejected = t * p + f * q, (1 - t) * p + (1 - f) * q
    return returned(xp, (t - f) * grpo_weight(xp, accepted * rejected, size), dtype)
