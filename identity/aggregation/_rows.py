"""The arithmetic behind this package: one numerator and one denominator for each row.

Every method is Σ_b N_b / (c Σ_b D_b) over rows b, c a constant, or the mean of Σ N_b / (c Σ D_b)
over groups:

    method                      N_b             D_b
    grpo                        S_b/n_b         1
    dapo, bnpo                  S_b             n_b
    dr_grpo, sequence_sum       S_b             1
    delta_l, delta_l_batch      S_b/n_b^alpha   1/n_b^alpha; 0 for an empty row

with S_b the sum and n_b the number of unmasked tokens. Counts are integers, so that their sums are
exact in any order and over any number of parts. Rows are divided and never multiplied: a compiler
may contract a product with the addition that follows it, and then decides the last bit.
`row_weights` repeats what a backward pass does, in its order.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import array_api_compat

from identity._arrays import (
    FLOATS,
    Array,
    DType,
    Namespace,
    as_arrays,
    computing,
    floating_dtype,
    inspectable,
    is_integral,
    mask_argument,
    name_of,
    quiet,
    require_all,
    require_exact,
    require_ids,
)
from identity.aggregation._methods import Method, constant_argument, method_of
from identity.aggregation._tree import group_totals, tree_sum
from identity.errors import DomainError

__all__ = [
    "Rows",
    "Zeroed",
    "checked_result",
    "nonzero",
    "prepare",
    "quotient",
    "row_weights",
    "rows_of",
]


@dataclass(frozen=True)
class Zeroed:
    """In place of the mask: losses are exactly 0 already wherever it is.

    `numbers` are the mask as 0 and 1 in a floating dtype that counts a row's tokens exactly. For
    torch's compiler, which is slow with bools on CPUs.
    """

    mask: Array
    numbers: Array


@dataclass(frozen=True)
class Batch:
    """Checked arguments: `valid` and `loss` of shape (B, T), `ids` of shape (B,)."""

    xp: Namespace
    method: Method
    valid: Array
    loss: Array | None
    ids: Array | None
    dtype: DType  # of results
    numbers: Array | None = None  # of `Zeroed`

    @property
    def compute(self) -> DType:
        return computing(self.xp, self.dtype)


@dataclass(frozen=True)
class Rows:
    """N_b and D_b of each row, and the divisor that made N_b of the sum S_b."""

    numerator: Array | None
    denominator: Array
    divisor: Array | None


def prepare(
    loss: Any, mask: Any, method: object, alpha: Any, constant: Any, groups: Any, dtype: Any = None
) -> Batch:
    """The arguments, checked; `loss` may be None."""
    chosen = method_of(method, alpha, constant, groups)
    numbers = None
    if isinstance(mask, Zeroed):
        mask, numbers = mask.mask, mask.numbers
    named = {"loss": loss, "mask": mask, "groups": groups}
    if not isinstance(constant, Real) and array_api_compat.is_array_api_obj(constant):
        named["constant"] = constant
    named = {name: value for name, value in named.items() if value is not None or name == "mask"}
    xp, arrays = as_arrays(**named)
    given = dict(zip(named, arrays, strict=True))
    shape = tuple(given["mask"].shape)
    if len(shape) != 2:
        raise DomainError("mask", shape, "have shape (B, T), responses by tokens")
    if loss is not None and tuple(given["loss"].shape) != shape:
        rule = f"have the shape of mask, {shape}"
        raise DomainError("loss", tuple(given["loss"].shape), rule)
    if groups is not None:
        rule = f"have one id for each row of mask, shape {shape[:1]}"
        require_ids(given["groups"], shape[:1], rule)
    kept = floating_argument(xp, dtype) if loss is None else floating_dtype(xp, given["loss"])
    if loss is not None:
        require_exact(xp, "loss", given["loss"], computing(xp, kept))
    chosen = Method(
        chosen.name,
        chosen.alpha,
        constant_argument(xp, given.get("constant", constant), kept),
        chosen.grouped,
    )
    valid = mask_argument(xp, given["mask"])
    return Batch(xp, chosen, valid, given.get("loss"), given.get("groups"), kept, numbers)


def floating_argument(xp: Namespace, dtype: Any) -> DType:
    """A floating dtype, given as such or by name; the library's default one for None."""
    if dtype is None:
        return xp.asarray(0.5).dtype
    name = dtype if isinstance(dtype, str) else name_of(dtype)
    found = getattr(xp, name, None) if name in FLOATS else None
    if found is None:
        raise DomainError("dtype", dtype, "be a real floating dtype of the mask's library")
    return found


def rows_of(batch: Batch) -> Rows:
    """N_b and D_b of each row. Masked losses are replaced before anything is computed of them."""
    xp, method, compute = batch.xp, batch.method, batch.compute
    if batch.numbers is None:
        counts = xp.sum(xp.astype(batch.valid, xp.int32), axis=-1)
    else:
        counts = xp.astype(xp.sum(batch.numbers, axis=-1), xp.int32)
    divisor = None
    denominator = counts if method.counts_tokens else xp.ones_like(counts)
    if method.name == "grpo":
        divisor = xp.astype(nonzero(xp, counts), compute)
    elif method.by_length:
        divisor = power(xp, xp.astype(nonzero(xp, counts), compute), method.alpha)
        denominator = xp.where(counts > 0, 1.0 / divisor, xp.zeros_like(divisor))
    if batch.loss is None:
        return Rows(None, denominator, divisor)
    with quiet(xp):
        loss = batch.loss
        if batch.numbers is None:
            loss = xp.where(batch.valid, loss, xp.zeros_like(_corner(loss)))
        numerator = tree_sum(xp, xp.astype(loss, compute))
        return Rows(numerator if divisor is None else numerator / divisor, denominator, divisor)


def power(xp: Namespace, values: Array, alpha: float) -> Array:
    """values^alpha for positive values, exact for the exponents 0 and 1."""
    if alpha == 0.0:
        return xp.ones_like(values)
    return values if alpha == 1.0 else values**alpha


def _corner(array: Array) -> Array:
    """At most one element, that broadcasts against the whole."""
    rows, columns = (min(1, int(n)) for n in array.shape)
    return array[:rows, :columns]


def nonzero(xp: Namespace, values: Array) -> Array:
    """What to divide by: the values, 1 in place of 0, where all that is divided is 0."""
    return xp.where(values == 0, xp.ones_like(values), values)


def _divisors(
    xp: Namespace, method: Method, denominator: Array, ids: Array | None, dtype: DType
) -> tuple[Array | None, Any]:
    """What each row is divided by (with groups), and then the sum of all."""
    constant = 1.0 if method.constant is None else method.constant
    if not method.normalised:
        return None, constant
    if ids is None or not denominator.shape[0]:
        return None, _total(xp, denominator, dtype) * constant
    totals, count = group_totals(xp, ids, denominator)
    return xp.astype(nonzero(xp, totals), dtype), xp.astype(count, dtype) * constant


def _total(xp: Namespace, denominator: Array, dtype: DType) -> Array:
    exact = is_integral(denominator)
    total = xp.sum(denominator) if exact else tree_sum(xp, denominator)
    return xp.astype(nonzero(xp, total), dtype)


def quotient(
    xp: Namespace, method: Method, numerator: Array, denominator: Array, ids: Array | None
) -> Array:
    """The value, from the rows."""
    with quiet(xp):
        each, whole = _divisors(xp, method, denominator, ids, numerator.dtype)
        terms = numerator if each is None else numerator / each
        return tree_sum(xp, terms) / whole


def row_weights(batch: Batch) -> Array:
    """What multiplies each unmasked loss of a row, in the dtype that computes."""
    xp, method, compute = batch.xp, batch.method, batch.compute
    rows = rows_of(batch)
    each, whole = _divisors(xp, method, rows.denominator, batch.ids, compute)
    weights = xp.astype(xp.ones_like(rows.denominator), compute) / whole
    for divisor in (each, rows.divisor):
        weights = weights if divisor is None else weights / divisor
    return weights


def checked_result(
    xp: Namespace, result: Array, dtype: DType, loss: Array | None = None, valid: Any = None
) -> Array:
    """The result in the caller's dtype; raise if it is visible and not finite there."""
    with quiet(xp):
        result = xp.astype(result, dtype)
    if inspectable(result) and not bool(xp.all(xp.isfinite(result))):
        if loss is not None:
            good = xp.isfinite(loss) | ~valid
            require_all(xp, "loss", loss, good, "be finite where mask is 1")
        rule = f"have sums and a result that {name_of(dtype)} can hold"
        raise DomainError("loss", "overflow", rule)
    return result
