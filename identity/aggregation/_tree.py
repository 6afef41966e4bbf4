"""Sums whose every bit is independent of how far an axis is padded with zeros.

A library's own ``sum`` chooses its order of additions by the width of the array, by the layout in
memory and by the device, so that widening the padding moves the last bits. Here the order is
fixed: an axis of n is thought of as padded with zeros to a power of two P ≥ n, and halved, the
first half added to the second, until one column is left. Padding further adds halves of zeros
only, and x + 0 is exact. The additions are elementwise, which no library reorders, and each
element takes part in log₂ P of them: the error is at most ⌈log₂ n⌉ · ½ eps · Σ|x|.
"""

from __future__ import annotations

from typing import Any

import array_api_compat

from identity._arrays import Array, Namespace, signed

__all__ = ["group_totals", "tree_sum"]

# Halvings are done four at a time, on 16 slices of the axis, which costs one copy in a backward
# pass instead of four.
_SLICES = 16


def tree_sum(xp: Namespace, values: Array) -> Array:
    """Sum over the last axis, in the order described above; 0 over an axis of length 0."""
    width = int(values.shape[-1])
    if width == 0:
        return xp.sum(values, axis=-1)
    while width > 1:
        padded = 2 ** (width - 1).bit_length()
        slices = min(_SLICES, padded)
        piece = padded // slices
        used = -(-width // piece)  # slices beyond are zeros, which need not be added
        values = _lengthen(xp, values, used * piece - width)
        pieces = _unstack(xp, xp.reshape(values, (*values.shape[:-1], used, piece)))
        values = _halve(pieces, slices)
        width = piece
    return values[..., 0]


def _lengthen(xp: Namespace, values: Array, zeros: int) -> Array:
    if not zeros:
        return values
    shape = (*values.shape[:-1], zeros)
    return xp.concat([values, xp.broadcast_to(xp.zeros_like(values[..., :1]), shape)], axis=-1)


def _unstack(xp: Namespace, values: Array) -> list[Array]:
    """The slices along the last axis but one."""
    if array_api_compat.is_torch_namespace(xp):  # its `unstack` moves an axis; vmap has no rule
        return list(values.unbind(-2))
    return list(xp.unstack(values, axis=-2))


def _halve(pieces: list[Array], slices: int) -> Array:
    """The sum of slices, of which those beyond `pieces` are zeros."""
    while slices > 1:
        slices //= 2
        first, second = pieces[:slices], pieces[slices:]
        both = [a + b for a, b in zip(first, second, strict=False)]
        pieces = both + first[len(second) :]
    return pieces[0]


def group_totals(xp: Namespace, ids: Array, values: Array) -> tuple[Array, Array]:
    """For each row the sum of `values` over the rows of its group, and the number of groups.

    `ids` are integers of shape (B,), in any order, B ≥ 1. The rows are sorted once, and summed by
    a segmented scan by doubling: after step j each place holds the sum of up to 2**j places before
    it in its own group. All libraries do the same operations in the same order.
    """
    ids = signed(xp, ids)
    rows = int(ids.shape[0])
    order = xp.argsort(ids, stable=True)
    ranked = xp.take(ids, order, axis=0)
    first = xp.searchsorted(ranked, ranked, side="left")
    last = xp.searchsorted(ranked, ranked, side="right") - 1
    place = xp.cumulative_sum(xp.ones_like(first)) - 1
    total: Any = xp.take(values, order, axis=0)
    step = 1
    while step < rows:
        shifted = xp.concat([xp.zeros_like(total[:step]), total[:-step]])
        total = total + xp.where(place - first >= step, shifted, xp.zeros_like(total))
        step *= 2
    inverse = xp.argsort(order, stable=True)
    count = xp.sum(xp.astype(place == first, xp.int32))
    return xp.take(xp.take(total, last, axis=0), inverse, axis=0), count
