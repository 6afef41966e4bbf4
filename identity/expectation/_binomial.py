r"""Means over the binomial law, E[c(B)] with B ~ B(n, p), to near machine precision.

Everything `identity.expectation` computes with a sum is of this one form: a polynomial in p whose
Bernstein coefficients c(0), ..., c(n) are positive. Two ways to evaluate it:

* `binomial_mean`: one p, plain floats. The pmf is built by its ratio recurrence outward from the
  mode, unnormalised (the mode has weight 1), and the mean is Σ w c / Σ w: nothing overflows for
  any n, an error common to all w cancels, and rounding p/q merely moves p by an ulp. The sum runs
  over a window that misses at most 2^-62 of the mean (Bernstein's inequality).
* `Table`: one n, many p. Piecewise polynomials of low degree in a variable v (p itself, or pq when
  the mean is symmetric) fitted once per n through node values from `binomial_mean`. Pieces are
  equally spaced in u = log(1 + G v), the scale on which such a mean changes: it is flat for
  v ≪ 1/G and behaves like a power of v beyond. Evaluation takes O(1) operations per element,
  whatever n, with `log1p`, `floor`, `take`, multiply and add: it can be jitted, mapped and
  differentiated, in NumPy, torch and JAX.

How exact a table is. A piece [v, v e^h] with h = 1/16 has its nearest singularity (v = 0, the
branch point of the limits 1/√v and log v) at least ρ = 63 away in the sense of Bernstein's ellipse,
so that the interpolation error falls like ρ^(−d−1); d = 8 leaves 1e-16 of the value. What remains
is rounding: two to four ulp in all. The tests hold every piece against 50 digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import array_api_compat
import numpy as np
import numpy.typing as npt

from identity._arrays import Array, Namespace, placement

__all__ = [
    "MAX_GROUP_SIZE",
    "Floats",
    "Table",
    "binomial_mean",
    "evaluate",
    "fit",
    "running_mean",
    "window",
]

Floats: TypeAlias = npt.NDArray[np.float64]

# Largest group size that gets a table: building one then takes about a second.
MAX_GROUP_SIZE = 2**20

# Logarithm of the relative weight, in E[c(B)], of what the window leaves out.
LOG_TAIL = -62 * math.log(2)

# Width of a piece in u = log(1 + G v), and the degree of its polynomial.
_STEP = 1 / 16
_DEGREE = 8

# Elements that NumPy evaluates at a time.
_BLOCK = 2**14

# Up to this degree in v one polynomial serves the whole range.
_SINGLE = 3


def window(n: int, p: float, variance: float, log_tail: float = LOG_TAIL) -> tuple[int, int]:
    """First and last b that matter in a mean over B(n, p).

    Parameters
    ----------
    n : int
        Number of trials.
    p : float
        Success probability.
    variance : float
        n p q, with q = 1 − p to full relative precision.
    log_tail : float
        Logarithm of what may be missed.

    Returns
    -------
    low, high : int
        P(B < low or B > high) ≤ exp(log_tail)/(n + 1), by Bernstein's inequality
        P(|B − np| ≥ t) ≤ 2 exp(−t²/(2(npq + t/3))). For coefficients within a factor n + 1 of
        their mean the sum over the window is therefore the mean to a relative error of
        exp(log_tail).
    """
    level = math.log(2 * (n + 1)) - log_tail
    reach = level / 3 + math.sqrt(level * level / 9 + 2 * level * variance)
    mean = n * p
    return max(0, math.floor(mean - reach)), min(n, math.ceil(mean + reach))


def binomial_mean(
    coefficients: Callable[[Floats], Floats] | Floats, n: int, p: float, q: float
) -> float:
    """E[c(B)] for B ~ B(n, p), positive c.

    Parameters
    ----------
    coefficients : callable or ndarray
        c as a function of the (float) values of B, or the array c(0), ..., c(n).
    n : int
        Number of trials.
    p, q : float
        Success probability and its complement, each to full relative precision.

    Returns
    -------
    float
        The mean. Relative error at most (2 m + 8) eps, m the number of terms in the window,
        plus what an ulp of p or q changes.
    """
    low, high = window(n, p, n * p * q)
    centre = min(max(math.floor((n + 1) * p), low), high)
    b = float(low) + np.arange(high - low + 1, dtype=np.float64)
    weights = np.ones_like(b)
    at = centre - low
    if at + 1 < b.size:
        down = b[at:-1]
        weights[at + 1 :] = np.cumprod((n - down) / (down + 1) * (p / q))
    if at > 0:
        up = b[at:0:-1]
        weights[at - 1 :: -1] = np.cumprod(up / (n - up + 1) * (q / p))
    c = coefficients(b) if callable(coefficients) else coefficients[low : high + 1]
    return float(np.sum(weights * c) / np.sum(weights))


def running_mean(values: Floats) -> Floats:
    """Means of values[0..b] for every b, by two-level sums (relative error about 2√n eps)."""
    n = values.size
    width = max(1, math.isqrt(n))
    rows = -(-n // width)
    padded = np.zeros(rows * width)
    padded[:n] = values
    inner = np.cumsum(padded.reshape(rows, width), axis=1)
    inner[1:] += np.cumsum(inner[:-1, -1])[:, None]
    means: Floats = inner.reshape(-1)[:n] / np.arange(1, n + 1)
    return means


@dataclass(frozen=True, eq=False)
class Table:
    """Piecewise polynomials in v on [0, end]; piece i starts at left[i].

    Attributes
    ----------
    group_size : int
        G in u = log(1 + G v).
    left, scale : ndarray
        Start of each piece and the reciprocal of its width: t = (v − left)·scale ∈ [0, 1].
    coefficients : ndarray, shape (degree + 1, pieces)
        Powers of t, lowest first.
    """

    group_size: int
    left: Floats
    scale: Floats
    coefficients: Floats


def fit(
    function: Callable[[Floats], Floats],
    group_size: int,
    end: float,
    *,
    degree: int | None = None,
    start_value: float | None = None,
) -> Table:
    """Fit a table to a function on [0, end].

    Parameters
    ----------
    function : callable
        Values at an increasing array of v; called once per piece, from the last to the first.
    group_size : int
        G in u = log(1 + G v).
    end : float
        Right end of the range of v.
    degree : int, optional
        Degree of `function` if it is a polynomial of low degree: then one piece is exact.
    start_value : float, optional
        The value at v = 0, to be met exactly.

    Returns
    -------
    Table
    """
    if degree is not None and degree <= _SINGLE:
        order = degree
        edges = np.asarray([0.0, end])
    else:
        order = _DEGREE if degree is None else min(degree, _DEGREE)
        # The last piece ends at `end`; it is at most a hundredth wider than the others.
        pieces = max(1, math.ceil(math.log1p(group_size * end) / _STEP - 0.01))
        edges = np.expm1(np.arange(pieces + 1) * _STEP) / group_size
        edges[-1] = end
    # Chebyshev points of [0, 1], increasing, and the map from values there to powers of t.
    angles = (2 * np.arange(order, -1, -1) + 1) * np.pi / (2 * (order + 1))
    nodes = np.cos(angles / 2) ** 2
    to_chebyshev, to_powers = _values_to_chebyshev(order, angles), _chebyshev_to_powers(order)
    left, width = edges[:-1], np.diff(edges)
    coefficients = np.empty((order + 1, left.size))
    for i in range(left.size - 1, -1, -1):
        values = function(left[i] + width[i] * nodes)
        # The value in the middle is taken out, or its rounding would swamp the rest. The two
        # matrices stay apart: the coefficients decay like 63^-k, faster than the powers grow.
        base = values[values.size // 2]
        coefficients[:, i] = to_powers @ (to_chebyshev @ (values - base))
        coefficients[0, i] += base
    if start_value is not None:
        coefficients[0, 0] = start_value
    return Table(group_size, left, 1 / width, coefficients)


def _values_to_chebyshev(order: int, angles: Floats) -> Floats:
    matrix: Floats = 2 / (order + 1) * np.cos(np.outer(np.arange(order + 1), angles))
    matrix[0] /= 2
    return matrix


def _chebyshev_to_powers(order: int) -> Floats:
    """Integer matrix: column k holds the powers of t in T_k(2t − 1)."""
    matrix = np.zeros((order + 1, order + 1))
    matrix[0, 0] = 1
    if order:
        matrix[:2, 1] = (-1, 2)
    for k in range(2, order + 1):
        shifted = np.concatenate(([0.0], matrix[:-1, k - 1]))
        matrix[:, k] = 4 * shifted - 2 * matrix[:, k - 1] - matrix[:, k - 2]
    return matrix


def evaluate(xp: Namespace, table: Table, v: Array) -> Array:
    """The tabulated function at v ≥ 0, elementwise, in the dtype and on the device of v.

    A NaN gives a NaN; a v beyond the end is extrapolated from the last piece. Memory is
    proportional to the size of v.
    """
    if table.left.size == 1:
        t = v * float(table.scale[0])
        value = 0 * t + float(table.coefficients[-1, 0])  # in the graph of v, also if constant
        for row in table.coefficients[-2::-1]:
            value = value * t + float(row[0])
        return value
    if array_api_compat.is_numpy_namespace(xp):
        return _evaluate_numpy(table, np.asarray(v))
    last = table.left.size - 1
    index = xp.astype(xp.log1p(v * table.group_size) * (1 / _STEP), xp.asarray(0).dtype)
    # A NaN becomes any integer at all, which must still find a piece.
    index = xp.where(index < last, index, xp.full_like(index, last))
    index = xp.where(index > 0, index, xp.zeros_like(index))
    flat = xp.reshape(index, (-1,))

    def look_up(values: Floats) -> Array:
        # A copy, so that no library hands out the memory of a cached table.
        constants = xp.asarray(values.copy(), dtype=v.dtype, **placement(v))
        return xp.reshape(xp.take(constants, flat, axis=0), v.shape)

    t = (v - look_up(table.left)) * look_up(table.scale)
    value = look_up(table.coefficients[-1])
    for row in table.coefficients[-2::-1]:
        value = value * t + look_up(row)
    return value


def _evaluate_numpy(table: Table, v: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same operations in place, in blocks that stay in the cache."""
    left, scale = table.left.astype(v.dtype), table.scale.astype(v.dtype)
    rows = table.coefficients.astype(v.dtype)
    flat = v.reshape(-1)
    out = np.empty_like(flat)
    for start in range(0, flat.size, _BLOCK):
        part, value = flat[start : start + _BLOCK], out[start : start + _BLOCK]
        index = (np.log1p(part * table.group_size) * (1 / _STEP)).astype(np.intp)
        scratch = left.take(index, mode="clip")
        t = part - scratch
        t *= scale.take(index, mode="clip", out=scratch)
        rows[-1].take(index, mode="clip", out=value)
        for row in rows[-2::-1]:
            value *= t
            value += row.take(index, mode="clip", out=scratch)
    return out.reshape(v.shape)[()]  # a scalar rather than a 0-d array
