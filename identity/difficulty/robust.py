"""What a weight that is off costs: its efficiency beside the best one, and the worst case."""

from __future__ import annotations

from typing import Any

from identity._arrays import (
    Array,
    Namespace,
    as_arrays,
    common_dtype,
    finish,
    inspectable,
    quiet,
    require_all,
    require_not_empty,
    returned,
    stop_gradient,
)
from identity.errors import DomainError
from identity.expectation._arguments import arguments
from identity.groups._arithmetic import converted
from identity.preference._arguments import require_same_shape
from identity.proven import proven

__all__ = ["minimax_efficiency", "weight_efficiency"]

_SCALES = ("relative", "log")

# Beyond, sech²δ = 4e^−2δ to within 2e^−2δ < 1e-17, and cosh δ may overflow.
_FAR = 20.0


@proven(
    "difficulty.minimax",
)
def minimax_efficiency(delta: Array, scale: str = "relative") -> Array:
    """Least efficiency of a weight w that is known up to δ: 1 − δ² or sech²δ.

    The efficiency (E ww*)²/(E w² E w*²) beside the best weight w* is at least that, for every law
    of prompts and every w with w/w* in [1 − δ, 1 + δ] (relative) or in [e^−δ, e^δ] (log); a law
    on two prompts attains it.

    Parameters
    ----------
    delta : array or float
        δ, any shape; dimensionless.
    scale : {"relative", "log"}
        How δ bounds the ratio w/w*.

    Returns
    -------
    array
        The least efficiency, between 0 and 1, like `delta`.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: delta not negative, not NaN, not empty, below 1 (relative) or
    finite (log); scale one of the two. *(assumed under jit)*: such delta.

    *Postcondition*: within 2 eps (relative) or 8 eps (log), of itself; exactly 1 at δ = 0.
    Derivatives are within 4 and 16 eps, where they are normal numbers; exactly 0 at δ = 0.

    References
    ----------
    arXiv 2603.11178, on robustness to misspecified weights, where the loss is O(δ²).

    Examples
    --------
    >>> from identity.difficulty import minimax_efficiency
    >>> print(minimax_efficiency(0.5), round(float(minimax_efficiency(0.5, "log")), 12))
    0.75 0.786447732966
    """
    if not isinstance(scale, str) or scale not in _SCALES:
        raise DomainError("scale", scale, f"be one of {_SCALES}")
    xp, (d,), dtype = arguments(delta=delta)
    if inspectable(d):
        if scale == "relative":
            require_all(xp, "delta", d, (d >= 0) & (d < 1), "lie in [0, 1)")
        else:
            require_all(xp, "delta", d, (d >= 0) & xp.isfinite(d), "be finite and at least 0")
    with quiet(xp):
        if scale == "log":
            value = _sech_squared(xp, d)
        else:  # the product cancels in no value, the square in no derivative
            value = xp.where(d < 0.5, 1 - d * d, (1 - d) * (1 + d))
        return returned(xp, value, dtype)


def _sech_squared(xp: Namespace, d: Array) -> Array:
    """1/(1 + 2 sinh²(δ/2))², whose derivative cancels nowhere, and 4e^−2δ far out."""
    far = d > _FAR
    u = xp.expm1(xp.where(far, xp.zeros_like(d), d) / 2)
    sinh = (u + u / (1 + u)) / 2
    sech = 1 / (1 + 2 * (sinh * sinh))
    tail = 4 * xp.exp(-2 * xp.where(far, d, xp.full_like(d, _FAR)))
    return xp.where(far, tail, sech * sech)


@proven(
    "difficulty.minimax",
)
def weight_efficiency(
    weights: Array, target: Array, *, probabilities: Array | None = None
) -> Array:
    """Efficiency (E ww*)²/(E w² E w*²) of weights w beside the best weights w*.

    The squared cosine between both under the law of prompts: neither scale matters.

    Parameters
    ----------
    weights, target : array, shape (..., N)
        w and w* of each of N prompts, in any unit.
    probabilities : array of the shape of `weights`, optional
        How often each prompt is drawn, in any unit; all equally often by default.

    Returns
    -------
    array, shape (...)
        The efficiency, between 0 and 1 up to rounding.

    Raises
    ------
    DomainError
        If a checked precondition fails.

    Notes
    -----
    *Preconditions (checked)*: equal shapes of at least one axis, nothing empty; values finite and
    at least 0, integers at most 2²⁴ (2⁵³ in float64); weights, target and probabilities not all 0
    in any row, and positive together somewhere in it. *(assumed under jit)*: such values; where
    they are not, the result is NaN.

    *Postcondition*: within 2N + 16 eps, relative, where no square of a ratio to the row's largest
    value underflows; exactly 1 for equal weights.

    References
    ----------
    arXiv 2603.11178, on robustness to misspecified weights.

    Examples
    --------
    Two prompts, one weighted half too much and one half too little, where that hurts most:

    >>> from identity.difficulty import weight_efficiency
    >>> print(weight_efficiency([1.5, 0.5], [1.0, 1.0], probabilities=[0.25, 0.75]))
    0.75
    """
    named: dict[str, Any] = {"weights": weights, "target": target}
    if probabilities is not None:
        named["probabilities"] = probabilities
    xp, arrays = as_arrays(**named)
    shape = tuple(arrays[0].shape)
    if not shape:
        raise DomainError("weights", shape, "have prompts along its last axis")
    require_not_empty("weights", arrays[0])
    require_same_shape(dict(zip(named, arrays, strict=True)))
    dtype = common_dtype(xp, *arrays)
    scaled = []
    for name, array in zip(named, arrays, strict=True):
        value = converted(xp, name, array, dtype)
        peak = xp.max(stop_gradient(value), axis=-1, keepdims=True)
        if inspectable(value):
            require_all(xp, name, value, value >= 0, "be at least 0")
            require_all(xp, name, peak, peak > 0, "not be all 0 in a row")
        with quiet(xp):
            scaled.append(value / peak)
    w, t, *rest = scaled
    with quiet(xp):
        seen = rest[0] if rest else xp.ones_like(w)
        squares = xp.sum(seen * (w * w), axis=-1)
        best = xp.sum(seen * (t * t), axis=-1)
        for name, total in (("weights", squares), ("target", best)):
            if inspectable(total):
                rule = "be positive at some prompt of a row that is drawn"
                require_all(xp, name, stop_gradient(total), total > 0, rule)
        cross = xp.sum(seen * (w * t), axis=-1)
        return finish(xp, (cross / squares) * (cross / best), dtype, "weights")
