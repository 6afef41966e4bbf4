"""Gradients of Tsallis' loss from a pool of draws: GARL, and PAFT by resampling."""

from __future__ import annotations

from typing import Any

from identity._arrays import (
    Array,
    DType,
    Namespace,
    as_arrays,
    common_dtype,
    computing,
    dtype_name,
    finish,
    inspectable,
    is_integral,
    name_of,
    placement,
    quiet,
    require_all,
    require_not_empty,
    signed,
    stop_gradient,
)
from identity.difficulty._arguments import exponent
from identity.difficulty._powers import power
from identity.errors import DomainError
from identity.groups._arithmetic import converted
from identity.proven import proven

__all__ = ["garl_estimate", "paft_estimate"]


@proven(
    "difficulty.garl-bias",
)
def garl_estimate(gradients: Array, weights: Array, q: float) -> Array:
    """GARL's step ḡ/w̄^q from a pool of M draws, an estimate of ∇P/P^q.

    Draw m has the weight w_m with mean P and the gradient g_m with mean ∇P, as in the latent
    model P = E_z[w(z)], g = w·s with s = ∇ log(π(z) w(z)): w̄ and ḡ are their means over the pool.
    Its bias falls like q/(M P^(q+1)); at q = 0 there is none.

    Parameters
    ----------
    gradients : array, shape (..., M, D)
        g_m, of any dimension D ≥ 1, in the units of w_m over those of the parameters.
    weights : array, shape (..., M)
        w_m, for example the probability of the right answer after draw m, or 0 and 1.
    q : float
        Tsallis' index, dimensionless; rounded to the computing dtype.

    Returns
    -------
    array, shape (..., D)
        The step; for q > 0 it is 0, by convention, for a pool whose weights are all 0.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: M ≥ 1; nothing empty; shapes match in all axes but the last of
    gradients; values finite, integers at most 2²⁴ in magnitude (2⁵³ in float64); weights at least
    0, with a finite sum; for q > 0 gradients 0 where all weights of the pool are 0; q a Python
    number from 0 to 2²⁰. *(assumed under jit)*: such values. Assumed: independent draws.

    *Postcondition*: within (1 + q)(M + 2) + 8 + |(1 − q) log w̄| ulp of (1/M)Σ|g_m|/w̄^q, a bound
    relative to the terms, where no intermediate result leaves the range of normal numbers.
    Linear in the gradients; the derivative by the weights is that of the formula.

    References
    ----------
    arXiv 2604.25907, and its Theorem 6.1 for the bias.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.difficulty import garl_estimate
    >>> gradients = np.array([[1.0], [0.0], [0.0], [0.0]])
    >>> print(garl_estimate(gradients, np.array([1, 0, 0, 0]), 0.5))
    [0.5]
    """
    xp, dtype, index, vectors, w, _ = _pool({"gradients": gradients, "weights": weights}, q)
    with quiet(xp):
        mean = xp.sum(vectors, axis=-2) / float(vectors.shape[-2])
        if index == 0:
            return finish(xp, mean, dtype, "gradients")
        total, positive = _mean_weight(xp, w)
        if inspectable(vectors, w):
            stray = (vectors != 0) & ~positive[..., None, None]
            rule = "be 0 where all weights of the pool are 0"
            require_all(xp, "gradients", stop_gradient(vectors), ~stray, rule)
        total = total[..., None]
        # A large index divides first: w̄^−q may overflow where the result does not.
        step = (
            mean * power(xp, total, -index)
            if index < 0.5
            else _times_power(xp, mean / total, total, 1 - index)
        )
        step = xp.where(positive[..., None], step, xp.zeros_like(step))
        return finish(xp, step, dtype, "gradients")


@proven(
    "difficulty.paft",
)
def paft_estimate(
    scores: Array,
    weights: Array,
    q: float,
    *,
    indices: Array | None = None,
    uniforms: Array | None = None,
) -> Array:
    """PAFT's step w̄^(1−q) (1/N) Σ s_j over N draws j from the pool with chances w_j/Σw.

    Given the pool its mean is GARL's step with g_m = w_m s_m, so that both have one bias; the
    resampling adds variance.

    Parameters
    ----------
    scores : array, shape (..., M, D)
        s_m = ∇ log(π(z_m) w_m), of any dimension D ≥ 1; draws of weight 0 are never chosen.
    weights : array, shape (..., M)
        w_m, as in `garl_estimate`.
    q : float
        Tsallis' index, dimensionless; rounded to the computing dtype.
    indices : integer array, shape (..., N)
        The draws j of each pool, from 0 to M − 1, made elsewhere with chances w_j/Σw.
    uniforms : array, shape (..., N)
        Instead of `indices`: independent uniform numbers in [0, 1), as a random generator of any
        library makes them. Each chooses by the running sum of the weights.

    Returns
    -------
    array, shape (..., D)
        The step; 0, by convention, for a pool whose weights are all 0.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: scores, weights and q as gradients, weights and q in
    `garl_estimate`; either indices or uniforms, not empty, of the shape of weights but for the
    last axis; indices in range and of positive weight, unless the pool has none; uniforms in
    [0, 1). *(assumed under jit)*: such values. Assumed: the draws are independent given the pool.

    *Postcondition*: within (1 + |1 − q|)(M + 2) + 8 + |(1 − q) log w̄| ulp of w̄^(1−q) times the
    mean of |s_j|. Linear in the scores; by the weights only w̄ is differentiated, not the choice.
    Memory O(N·M) for each pool. The running sum is taken in the wider of the dtypes of weights
    and uniforms, at least float32.

    References
    ----------
    arXiv 2604.25907.

    Examples
    --------
    GARL's step from this pool is 2:

    >>> import numpy as np
    >>> from identity.difficulty import paft_estimate
    >>> scores, weights = np.array([[4.0], [-2.0], [9.0]]), np.array([0.5, 0.25, 0.0])
    >>> print(paft_estimate(scores, weights, 1.0, indices=np.array([0, 1, 0, 0])))
    [2.5]
    >>> print(paft_estimate(scores, weights, 1.0, uniforms=np.array([0.0, 0.5, 0.7])))
    [2.]
    """
    if (indices is None) == (uniforms is None):
        raise DomainError("indices", None, "be given, or uniforms, and not both")
    named = {"scores": scores, "weights": weights}
    named |= {"uniforms": uniforms} if indices is None else {"indices": indices}
    xp, dtype, index, vectors, w, (_, given, draws) = _pool(named, q)
    name = list(named)[2]
    shape = tuple(w.shape)[:-1]
    if not draws.shape or tuple(draws.shape)[:-1] != shape:
        rule = f"have shape weights.shape[:-1] + (N,), here {(*shape, 'N')}"
        raise DomainError(name, tuple(draws.shape), rule)
    require_not_empty(name, draws)
    with quiet(xp):
        total, positive = _mean_weight(xp, w)
        if indices is None:
            draws = _chosen(xp, stop_gradient(given), stop_gradient(draws))
        else:
            draws = _checked(xp, draws, stop_gradient(w), positive)
        hits = xp.astype(_hits(xp, draws, w), w.dtype)
        shares = xp.sum(hits, axis=-2) / float(draws.shape[-1])
        mean = xp.sum(shares[..., None] * vectors, axis=-2)
        step = _times_power(xp, mean, total[..., None], 1 - index)
        step = xp.where(positive[..., None], step, xp.zeros_like(step))
        return finish(xp, step, dtype, "scores")


def _pool(
    named: dict[str, Any], q: float
) -> tuple[Namespace, DType, float, Array, Array, list[Array]]:
    """Namespace, dtype of the result, index, checked vectors and weights, all arrays as given."""
    xp, arrays = as_arrays(**named)
    (first, vectors), (_, w) = list(zip(named, arrays, strict=True))[:2]
    shape = tuple(w.shape)
    if not shape:
        raise DomainError("weights", shape, "have draws along its last axis")
    require_not_empty("weights", w)
    if not vectors.shape or tuple(vectors.shape)[:-1] != shape:
        rule = f"have shape weights.shape + (D,), here {(*shape, 'D')}"
        raise DomainError(first, tuple(vectors.shape), rule)
    require_not_empty(first, vectors)
    dtype = common_dtype(xp, vectors, w)
    vectors = converted(xp, first, vectors, dtype)
    w = converted(xp, "weights", w, dtype)
    if inspectable(w):
        require_all(xp, "weights", w, w >= 0, "be at least 0")
    return xp, dtype, exponent("q", q, xp, dtype), vectors, w, arrays


def _mean_weight(xp: Namespace, w: Array) -> tuple[Array, Array]:
    """w̄, or 1 where all weights are 0, and whether any is not."""
    mean = xp.sum(w, axis=-1) / float(w.shape[-1])
    if inspectable(mean):
        rule = f"have a sum that {name_of(w.dtype)} can hold"
        require_all(xp, "weights", stop_gradient(mean), xp.isfinite(mean), rule)
    positive = xp.any(w > 0, axis=-1)
    return xp.where(positive, mean, xp.ones_like(mean)), positive


def _times_power(xp: Namespace, x: Array, base: Array, exponent: float) -> Array:
    return x if exponent == 0 else x * power(xp, base, exponent)


def _positions(xp: Namespace, w: Array) -> Array:
    return xp.arange(w.shape[-1], **placement(w))


def _hits(xp: Namespace, draws: Array, w: Array) -> Array:
    """Which draw (last axis) each of the N is, shape (..., N, M)."""
    return draws[..., None] == _positions(xp, w)


def _checked(xp: Namespace, indices: Array, w: Array, positive: Array) -> Array:
    """The indices in the library's own integer dtype; raise for what is visibly no draw."""
    if not is_integral(indices):
        raise DomainError("indices", dtype_name(indices), "hold integers")
    draws = xp.astype(signed(xp, indices), _positions(xp, w).dtype)  # 2^63 and above turn negative
    if inspectable(draws, w):
        last = int(w.shape[-1]) - 1
        inside = (draws >= 0) & (draws <= last)
        require_all(xp, "indices", indices, inside, f"lie between 0 and {last}")
        never = xp.any(_hits(xp, draws, w) & (w == 0)[..., None, :], axis=-1)
        rule = "name draws of positive weight"
        require_all(xp, "indices", indices, ~(never & positive[..., None]), rule)
    return draws


def _chosen(xp: Namespace, w: Array, uniforms: Array) -> Array:
    """For each uniform number the first draw of positive weight whose running sum passes it.

    A running sum may be rounded in any order, so that it need not grow: the choice never falls on
    a weight of 0 all the same, and some draw is always chosen.
    """
    dtype = computing(xp, common_dtype(xp, w, uniforms))
    if inspectable(uniforms):
        require_all(xp, "uniforms", uniforms, (uniforms >= 0) & (uniforms < 1), "lie in [0, 1)")
    w, uniforms = xp.astype(w, dtype), xp.astype(uniforms, dtype)
    peak = xp.max(w, axis=-1, keepdims=True)
    w = w / xp.where(peak > 0, peak, xp.ones_like(peak))
    sums = xp.where(w > 0, xp.cumulative_sum(w, axis=-1), xp.zeros_like(w))
    mark = uniforms * xp.max(sums, axis=-1, keepdims=True)
    passed = sums[..., None, :] > mark[..., None]
    position = _positions(xp, w)
    return xp.min(xp.where(passed, position, xp.full_like(position, w.shape[-1])), axis=-1)
