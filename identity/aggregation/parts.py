"""Parts of a batch (micro-batches, ranks) that merge to the value and gradient of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat

from identity._arrays import (
    Array,
    DType,
    Namespace,
    as_arrays,
    inspectable,
    is_integral,
    quiet,
    require_all,
)
from identity.aggregation._methods import Method
from identity.aggregation._rows import checked_result, nonzero, prepare, quotient, rows_of
from identity.aggregation._tree import tree_sum
from identity.errors import DomainError
from identity.proven import proven

__all__ = ["PartialSums", "combine", "partial_sums"]

# A denominator of floats (delta_l) that was added up elsewhere may be below this part's own by
# rounding; a denominator that misses a row of a large batch may be too, and passes.
_SLACK = 1 - 2.0**-10


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class PartialSums:
    """Numerators and denominators of the rows of one part, which travel together.

    `partial_sums` makes it. It holds plain arrays and is registered with no library. The loss of
    the whole is Σ_b N_b / (c Σ_b D_b) over the rows of all parts, c the constant, or with group
    ids the mean of that over groups.

    Attributes
    ----------
    numerator : array, shape (B,), or None
        N_b of each row, in the dtype that computes; carries the gradient. None if the part was
        made from the mask alone.
    denominator : array, shape (B,)
        D_b of each row: integers, or floats for ``delta_l`` and ``delta_l_batch``. No gradient.
    groups : integer array, shape (B,), or None
        Group id of each row.
    method, alpha, constant
        As passed; parts merge only if these agree.
    dtype
        That of the combined loss.

    Notes
    -----
    Two ways to use it. Where all parts are at hand, ``combine(parts)``. Where they are not
    (gradient accumulation, data-parallel ranks), `totals` gives sums to be added over parts by
    whatever means, for instance ``torch.distributed.all_reduce``, and `share` what this part adds
    to the loss of the whole, whose gradient it can take alone::

        part = partial_sums(loss, mask, "dapo")
        _, tokens = part.totals()
        torch.distributed.all_reduce(tokens)  # an integer
        part.share(tokens).backward()  # summed over ranks: the gradient of the whole

    ``DistributedDataParallel`` averages gradients over ranks instead of adding them: multiply the
    share by the number of ranks. For gradient accumulation, masks are known before losses:
    ``partial_sums(None, mask, method)`` counts the denominators alone.
    """

    numerator: Array | None
    denominator: Array
    groups: Array | None
    method: str
    alpha: float
    constant: Any
    dtype: DType

    def totals(self, ids: Array | None = None) -> tuple[Array | None, Array]:
        """Σ N_b and Σ D_b over the rows of this part, to be added over parts.

        Parameters
        ----------
        ids : integer array, shape (K,), optional
            With groups, and only then: every group id of the whole batch, once each, in the same
            order on every rank. Ids of groups that have no row in this part give 0.

        Returns
        -------
        numerator, denominator : array, 0-d or shape (K,)
            The first is None if the part was made from the mask alone. Token and row counts are
            integers, whose sums over any parts are exact.

        Raises
        ------
        DomainError
            If ids are missing or given without groups, or where they can be seen, if two are
            equal or a group of this part is not among them.
        """
        xp, ids = self._ids(ids)
        if ids is None:
            numerator = None if self.numerator is None else tree_sum(xp, self.numerator)
            return numerator, self._sum(xp, self.denominator)
        member = self.groups == ids[:, None]
        numerator = None
        if self.numerator is not None:
            numerator = tree_sum(xp, self._spread(xp, member, self.numerator))
        return numerator, self._sum(xp, self._spread(xp, member, self.denominator))

    def share(self, denominator: Array, ids: Array | None = None) -> Array:
        """What this part adds to the loss of the whole.

        Parameters
        ----------
        denominator : array, 0-d or shape (K,)
            Σ D_b over the rows of *all* parts, as `totals` gives it for one. Not used, though
            asked for, by ``dapo`` with a constant, which is its denominator.
        ids : integer array, shape (K,), optional
            As in `totals`.

        Returns
        -------
        array, 0-d
            Shares of all parts add up to the value of the whole, within the bound of `combine`,
            and their gradients to its gradient: bit for bit where denominators are integers.

        Raises
        ------
        DomainError
            If the part has no numerator; as `totals`; or, where it can be seen, if a denominator
            is less than this part's own or not finite, so that it cannot be that of the whole.
        """
        if self.numerator is None:
            raise DomainError("loss", None, "be given for a part that is to have a share")
        xp, ids = self._ids(ids)
        _, (_, denominator) = as_arrays(numerator=self.numerator, denominator=denominator)
        own = replace(self, numerator=None).totals(ids)[1]
        if tuple(denominator.shape) != tuple(own.shape):
            rule = f"have the shape that totals gives, {tuple(own.shape)}"
            raise DomainError("denominator", tuple(denominator.shape), rule)
        compute = self.numerator.dtype
        whole = xp.astype(denominator, compute)
        if inspectable(whole, own):
            least = xp.astype(own, compute)
            good = xp.isfinite(whole) & (whole >= (least if is_integral(own) else _SLACK * least))
            require_all(xp, "denominator", whole, good, "be of all parts: at least this part's own")
        constant = 1.0 if self.constant is None else self.constant
        with quiet(xp):
            if ids is not None:
                member = self.groups == ids[:, None]
                each = xp.sum(self._spread(xp, member, whole[:, None]), axis=0)  # one is not 0
                total = tree_sum(xp, self.numerator / nonzero(xp, each))
                over = xp.full_like(total, max(1.0, float(ids.shape[0]))) * constant
            else:
                total = tree_sum(xp, self.numerator)
                over = nonzero(xp, whole) * constant if self._method.normalised else constant
            return checked_result(xp, total / over, self.dtype)

    @property
    def _method(self) -> Method:
        return Method(self.method, self.alpha, self.constant, self.groups is not None)

    def _ids(self, ids: Array | None) -> tuple[Namespace, Array | None]:
        if self.groups is None:
            if ids is not None:
                raise DomainError("ids", ids, "be left out where there are no groups")
            return array_api_compat.array_namespace(self.denominator), None
        if ids is None:
            raise DomainError("ids", None, "list every group id of the whole batch")
        xp, (groups, ids) = as_arrays(groups=self.groups, ids=ids)
        if ids.ndim != 1 or not is_integral(ids):
            raise DomainError("ids", tuple(ids.shape), "be integers of shape (K,)")
        if inspectable(ids, groups):
            once = xp.sum(xp.astype(ids == ids[:, None], xp.int32), axis=-1) == 1
            require_all(xp, "ids", ids, once, "name each group once")
            listed = xp.any(groups[:, None] == ids, axis=-1)
            require_all(xp, "groups", groups, listed, "be among ids")
        return xp, ids

    @staticmethod
    def _spread(xp: Namespace, member: Array, values: Array) -> Array:
        """(K, B): the value where the row is of the group, else 0."""
        return xp.where(member, values, xp.zeros_like(values))

    @staticmethod
    def _sum(xp: Namespace, values: Array) -> Array:
        return xp.sum(values, axis=-1) if is_integral(values) else tree_sum(xp, values)


@proven("aggregation.split", "aggregation.sequence-mean-split")
def partial_sums(
    loss: Array | None,
    mask: Array,
    method: str,
    *,
    alpha: float = 1.0,
    constant: float | Array | None = None,
    groups: Array | None = None,
    dtype: Any = None,
) -> PartialSums:
    """The numerators and denominators of one part of a batch, to be merged with those of others.

    Parameters
    ----------
    loss : array, shape (B, T), or None
        As in `aggregate`. None counts the denominators alone, for when masks are known before
        losses.
    mask, method, alpha, constant, groups
        As in `aggregate`. Rows are those of this part; a constant (a length, or for ``dapo`` a
        global token count) is that of the whole. Parts may differ in B and T. A group may have
        rows in several parts, under one id.
    dtype : dtype or str, optional
        Only where `loss` is None: the dtype of the losses, in which denominators that are no counts
        are computed; the library's default one if left out.

    Returns
    -------
    PartialSums
        One numerator and one denominator for each row; B numbers each.

    Raises
    ------
    DomainError
        As `aggregate`, but for a result that overflows only after the division.

    Notes
    -----
    *Preconditions (checked)* and *(assumed under jit)*: as `aggregate`.

    *Postcondition*: numerators are within ⌈log₂ T⌉ + 8 ulp of Σ|ℓ|/d, d what the row is divided by
    (n for ``grpo``, n^alpha for ΔL, else 1), and do not depend on the padding. Integer
    denominators are exact. A part without rows, and a row without tokens, have numerator 0.

    References
    ----------
    Our statements ``aggregation.split`` and ``aggregation.sequence-mean-split``: a mean of the
    parts' means is the mean of the whole only if all parts count the same.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.aggregation import aggregate, combine, partial_sums
    >>> loss = np.array([[1.0, 2.0, 3.0], [6.0, 0.0, 0.0]])
    >>> mask = np.array([[1, 1, 1], [1, 0, 0]])
    >>> parts = [partial_sums(loss[i : i + 1], mask[i : i + 1], "dapo") for i in (0, 1)]
    >>> print(combine(parts), aggregate(loss, mask, "dapo"))
    3.0 3.0
    >>> print(sum(aggregate(loss[i : i + 1], mask[i : i + 1], "dapo") for i in (0, 1)) / 2)
    4.0
    """
    if loss is not None and dtype is not None:
        raise DomainError("dtype", dtype, "be left out where there is a loss")
    batch = prepare(loss, mask, method, alpha, constant, groups, dtype)
    rows = rows_of(batch)
    numerator = rows.numerator
    if numerator is not None:
        numerator = checked_result(batch.xp, numerator, batch.compute, batch.loss, batch.valid)
    chosen = batch.method
    return PartialSums(
        numerator, rows.denominator, batch.ids, chosen.name, chosen.alpha, chosen.constant,
        batch.dtype,
    )  # fmt: skip


@proven("aggregation.split", "aggregation.sequence-mean-split")
def combine(parts: Sequence[PartialSums]) -> Array:
    """The loss of the whole batch, from its parts.

    Parameters
    ----------
    parts : list of PartialSums
        One or more, made with the same method, options and dtype; some may be empty or fully
        masked, but not all parts may be left out: the whole then has no dtype.

    Returns
    -------
    array, 0-d
        The loss, in the dtype of the losses; carries the gradient of every part.

    Raises
    ------
    DomainError
        If `parts` is empty, is not what `partial_sums` returns for a loss, or mixes methods,
        options, dtypes or libraries; or if the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: as above. *(assumed under jit)*: that constants given as arrays are
    equal, and finite results.

    *Postcondition*: the value and gradient of `aggregate` on the rows of all parts, one part after
    the other: bit for bit, when both are computed eagerly. In another order of the rows the value
    is within the bound of `aggregate`, and the gradient the same bit for bit, except for
    ``delta_l`` and ``delta_l_batch`` within ⌈log₂ B⌉ + 16 ulp.

    References
    ----------
    Our statements ``aggregation.split`` and ``aggregation.sequence-mean-split``.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.aggregation import combine, partial_sums
    >>> mask = np.ones((2, 4), dtype=bool)
    >>> many = partial_sums(np.full((2, 4), 1.0), mask, "grpo")
    >>> none = partial_sums(np.zeros((0, 9)), np.zeros((0, 9), dtype=bool), "grpo")
    >>> print(combine([many, none]))
    1.0
    """
    first, xp = _agreeing(parts)
    numerator = xp.concat([part.numerator for part in parts])
    denominator = xp.concat([part.denominator for part in parts])
    ids = None if first.groups is None else xp.concat([part.groups for part in parts])
    value = quotient(xp, first._method, numerator, denominator, ids)
    return checked_result(xp, value, first.dtype)


def _agreeing(parts: Any) -> tuple[PartialSums, Namespace]:
    """The first part and its namespace, if all parts can be merged."""
    if not isinstance(parts, (list, tuple)) or not parts:
        raise DomainError("parts", parts, "be a list of one or more results of partial_sums")
    for index, part in enumerate(parts):
        if not isinstance(part, PartialSums):
            raise DomainError(f"parts[{index}]", part, "be a result of partial_sums")
        if part.numerator is None:
            raise DomainError(f"parts[{index}]", None, "have been made from a loss")
    first = parts[0]
    names = {f"parts[{i}]": part.numerator for i, part in enumerate(parts)}
    xp, _ = as_arrays(**names)
    for index, part in enumerate(parts):
        for field in ("method", "alpha", "dtype"):
            value, wanted = getattr(part, field), getattr(first, field)
            if value != wanted:
                raise DomainError(
                    f"parts[{index}].{field}", value, f"be that of parts[0], {wanted}"
                )
        if not _same(part.constant, first.constant):
            rule = f"be that of parts[0], {first.constant}"
            raise DomainError(f"parts[{index}].constant", part.constant, rule)
        ids, wanted = part.groups, first.groups
        if (ids is None) != (wanted is None) or (ids is not None and ids.dtype != wanted.dtype):
            rule = "be left out, or of one integer dtype, in all parts"
            raise DomainError(f"parts[{index}].groups", None if ids is None else ids.dtype, rule)
    return first, xp


def _same(one: Any, other: Any) -> bool:
    """Whether two constants are equal, as far as can be seen."""
    if one is None or other is None:
        return one is other
    for value in (one, other):
        if array_api_compat.is_array_api_obj(value) and not inspectable(value):
            return True
    return float(one) == float(other)
