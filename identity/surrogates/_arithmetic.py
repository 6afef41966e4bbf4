"""Constants, clamps and copies whose derivatives are the same in every library.

Everything is computed from logarithms. A ratio is exp of a log-ratio that was clamped before, so
no exponential overflows, no branch that is not taken makes an infinite derivative, and a clip of
the ratio is a clamp of its logarithm, which costs no operation of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import array_api_compat

from identity._arrays import Array, Namespace, placement
from identity.errors import DomainError

__all__ = [
    "LOG_FLOOR",
    "LOWEST",
    "SATURATION",
    "SQUARED",
    "choice",
    "clamp",
    "filled",
    "spread",
]

# Ratios stop growing at exp of this, by the dtype of the result. e^64 leaves a factor 5e10 of
# float32 for advantages and sums, e^512 leaves 1e85 of float64; e^11 is the last that float16 has.
SATURATION = {"float16": 11.0, "bfloat16": 64.0, "float32": 64.0, "float64": 512.0}

# Log-probabilities stop falling here, so that -inf is a number, by the dtype of the result. No
# difference of two float16 logits reaches -2^20, and -2^12 leaves a factor 15 of float16.
LOG_FLOOR = {
    "float16": -(2.0**12),
    "bfloat16": -(2.0**20),
    "float32": -(2.0**20),
    "float64": -(2.0**20),
}

# The same for differences that are squared, whose half square is still a float16.
SQUARED = {**{name: -floor for name, floor in LOG_FLOOR.items()}, "float16": 2.0**8}

# Below every log-probability. What stands for an old one of -inf that nobody may look at: the sum
# of many is finite.
LOWEST = -(2.0**100)


def filled(xp: Namespace, value: float, like: Array) -> Array:
    """A 0-d constant of the dtype and on the device of an array."""
    return xp.full((), value, dtype=like.dtype, **placement(like))


def clamp(
    xp: Namespace,
    values: Array,
    low: Array | float = -math.inf,
    high: Array | float = math.inf,
) -> Array:
    """min(max(values, low), high), with derivative 1 on the closed interval and 0 outside.

    Bounds are numbers or arrays that broadcast to `values`, constants of differentiation. NaN
    stays NaN. The libraries' own clips disagree on the derivative at a bound (1, ½ and 0).
    """
    if array_api_compat.is_torch_namespace(xp):  # one pass, and this derivative
        if isinstance(low, float) != isinstance(high, float):
            low = filled(xp, low, values) if isinstance(low, float) else low
            high = filled(xp, high, values) if isinstance(high, float) else high
        return values.clamp(low, high)
    low = filled(xp, low, values) if isinstance(low, float) else low
    high = filled(xp, high, values) if isinstance(high, float) else high
    values = xp.where(values < low, low, values)
    return xp.where(values > high, high, values)


def spread(xp: Namespace, values: Array, width: int) -> Array:
    """Values (B, 1) in each of `width` columns; of any other shape they stay as they are.

    By doubling, not by broadcasting: the derivative of that is a sum over the columns in the order
    of the library, whose last bits depend on the width. The derivative of doubling adds halves, so
    that further columns of derivative 0 change no bit.
    """
    if int(values.shape[1]) != 1 or width == 1:
        return values
    while int(values.shape[1]) < width:
        values = xp.concat([values, values], axis=1)
    return values[:, :width]


def choice(argument: str, value: object, allowed: Sequence[str]) -> str:
    """The value, if it is one of the names."""
    if not isinstance(value, str) or value not in allowed:
        raise DomainError(argument, value, f"be one of {tuple(allowed)}")
    return value
