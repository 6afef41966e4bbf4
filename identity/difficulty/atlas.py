"""The atlas: every method here as one weight on ∇p."""

from __future__ import annotations

from identity._arrays import Array, finish, integer_argument, quiet
from identity.difficulty._arguments import count_argument, exponent, require_rate
from identity.difficulty._powers import (
    complement_power,
    lowered_product,
    power,
    power_product,
)
from identity.errors import DomainError
from identity.expectation import update_weight
from identity.expectation._arguments import arguments, check_method
from identity.expectation._powers import any_success, root_of_product
from identity.proven import proven

__all__ = ["METHODS", "difficulty_weight"]

#: The methods of the atlas, each with the parameters that it takes.
METHODS: dict[str, tuple[str, ...]] = {
    "reinforce": (),
    "rloo": ("group_size",),
    "dr_grpo": ("group_size",),
    "grpo": ("group_size",),
    "dapo": ("group_size",),
    "max_rl": ("group_size",),
    "tsallis": ("q",),
    "log_likelihood": (),
    "log_odds": (),
    "pass_at_k": ("k",),
    "grpo_pass_at_k": ("k",),
    "beta_kernel": ("alpha", "beta"),
}

_POLE_AT_ZERO = ("max_rl", "log_likelihood", "log_odds", "grpo_pass_at_k")
_SMALLEST = 2.0**-20


@proven(
    "difficulty.atlas",
)
def difficulty_weight(
    p: Array,
    method: str = "grpo",
    *,
    group_size: int | None = None,
    q: float | None = None,
    k: int | None = None,
    alpha: float | None = None,
    beta: float | None = None,
) -> Array:
    """Weight w(p) that a method puts on ∇p: it ascends F with F′ = w.

    ================  ==================  ====================  ===============================
    method            takes               w(p)                  F(p)
    ================  ==================  ====================  ===============================
    reinforce                             1                     p
    rloo              group_size, or not  1                     p
    dr_grpo           group_size, or not  (G−1)/G, 1 in limit   p times that
    grpo              group_size          W_G(p)                see `identity.expectation`
    grpo              nothing (limit)     1/√(p(1−p))           2 arcsin √p
    dapo              group_size          W_G/(1−pᴳ−(1−p)ᴳ)     see `identity.expectation`
    dapo              nothing (limit)     1/√(p(1−p))           2 arcsin √p
    max_rl            group_size          (1−(1−p)ᴳ)/p          Σ_{i≤G} (1−(1−p)ⁱ)/i
    max_rl            nothing (limit)     1/p                   log p
    tsallis           q                   p^−q                  (p^(1−q) − 1)/(1−q)
    log_likelihood                        1/p                   log p
    log_odds                              1/(p(1−p))            log(p/(1−p))
    pass_at_k         k                   K(1−p)^(K−1)          1 − (1−p)^K
    grpo_pass_at_k    k                   see below             (2/K) arcsin √(1−(1−p)^K)
    beta_kernel       alpha, beta         p^(α−1)(1−p)^(β−1)    incomplete Beta function
    ================  ==================  ====================  ===============================

    The gradient mass, the expected step on a scalar logit prompt, is w(p)·p(1−p). *grpo_pass_at_k*
    is GRPO in the limit of large groups whose reward is that one of K rollouts succeeds; its weight
    is (1−p)^(K/2−1)/√(1−(1−p)^K). *log_odds* is DPO with one mixed pair for each prompt, at the
    reference, without its factor β/2. *beta_kernel* is the weight whose gradient mass is
    `beta_kernel`.

    Parameters
    ----------
    p : array or float
        Success probability, any shape; dimensionless.
    method : str
        One of those above.
    group_size : int, optional
        G ≥ 2, rollouts per prompt, for the methods of groups; the limit of large groups if left
        out.
    q : float, optional
        Tsallis' index, for tsallis. Not 1 − p.
    k : int, optional
        K ≥ 1, for pass_at_k and grpo_pass_at_k.
    alpha, beta : float, optional
        Exponents of the mass, for beta_kernel.

    Returns
    -------
    array
        w(p), like `p`: a multiple of ∇p, not normalised over prompts.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: p in [0, 1], not NaN, not empty, and no end at which the weight is
    infinite; there, subnormal p count as 0. Infinite at 0 are the weights of grpo, dapo and max_rl
    without group_size, of tsallis with q > 0, log_likelihood, log_odds, grpo_pass_at_k, and
    beta_kernel with α < 1; at 1 those of grpo and dapo without group_size, log_odds,
    grpo_pass_at_k with K = 1, and beta_kernel with β < 1. dapo with group_size keeps no group at
    either end. Parameters that the method takes, and no others: group_size as in
    `identity.expectation.update_weight`, k an integer from 1 to 2²⁰, the others Python numbers
    from 0 (alpha and beta: 2⁻²⁰) to 2²⁰, rounded to the computing dtype. *(assumed under jit)*:
    such p; a p where the weight is infinite gives ∞. Assumed, as the methods' own entries say:
    binary rewards, on-policy rollouts, no clipping.

    *Postcondition*: within 12 eps, relative, where the weight is a normal number. There the
    derivative is within 16 eps of |w′| + |w|/(p(1−p)); for tsallis and beta_kernel, whose exponent
    autodiff lowers by 1 with a rounding, within 16 + (1 + |exponent|) |log p| eps; for grpo and
    dapo with group_size as in `update_weight`. It may be infinite, of the right sign, where it or
    1/p² passes a quarter of the largest float.

    References
    ----------
    arXiv 2603.11178, 2604.25907, 2510.23049; for the methods of groups see `update_weight`.

    Examples
    --------
    >>> from identity.difficulty import difficulty_weight
    >>> difficulty_weight([0.2, 0.5, 0.8])
    array([2.5, 2. , 2.5])
    >>> difficulty_weight([0.25, 1.0], "tsallis", q=0.5)
    array([2., 1.])
    >>> print(difficulty_weight(0.25, "pass_at_k", k=4))
    1.6875
    """
    method = check_method(method, tuple(METHODS))
    given = {"group_size": group_size, "q": q, "k": k, "alpha": alpha, "beta": beta}
    for name, value in given.items():
        taken = name in METHODS[method]
        if value is not None and not taken:
            raise DomainError(name, value, f"be left out for method {method!r}")
        if value is None and taken and name != "group_size":
            raise DomainError(name, None, f"be given for method {method!r}")
    if group_size is not None:
        return update_weight(p, group_size, method)
    exact = 1 if k is None else count_argument("k", integer_argument("k", k))
    if method == "pass_at_k" and exact > 1:
        return update_weight(p, exact, method)
    xp, (p,), dtype = arguments(p=p)
    root = method in ("grpo", "dapo") or (method == "grpo_pass_at_k" and exact == 1)
    left, right = 0.0, 0.0
    if method == "tsallis":
        left = exponent("q", q, xp, dtype)
    elif method == "beta_kernel":
        left = exponent("alpha", alpha, xp, dtype, low=_SMALLEST)
        right = exponent("beta", beta, xp, dtype, low=_SMALLEST)
    zero = root or method in _POLE_AT_ZERO or (method == "tsallis" and left > 0)
    zero = zero or (method == "beta_kernel" and left < 1)
    one = root or method == "log_odds" or (method == "beta_kernel" and right < 1)
    ends = "0 and 1" if zero and one else "0" if zero else "1"
    require_rate(xp, p, f"the weight of {method!r} is infinite at {ends}", zero=zero, one=one)
    with quiet(xp):
        if root:
            weight = 1 / root_of_product(xp, p)
        elif method == "grpo_pass_at_k":
            top = complement_power(xp, p, exact / 2 - 1)
            weight = top / xp.sqrt(any_success(xp, p, exact))
        elif method == "beta_kernel":
            weight = lowered_product(xp, p, left, right)
        elif method == "log_odds":
            weight = power_product(xp, p, -1.0, -1.0)
        else:
            weight = power(xp, p, -1.0 if method in _POLE_AT_ZERO else -left)
        return finish(xp, weight, dtype, "p")
