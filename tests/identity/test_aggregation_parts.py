"""Parts of a batch merge to the whole: random splits, groups across parts, shares by totals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity import DomainError
from identity.aggregation import (
    PartialSums,
    aggregate,
    combine,
    partial_sums,
    token_weights,
)
from tests import tolerances
from tests.backends import Backend, load_or_skip
from tests.identity.aggregating import (
    CASES,
    Batch,
    batches,
    by_length,
    exact_loss,
    exact_weights,
    sample,
    widened,
)
from tests.identity.grouping import assert_close

cases = pytest.mark.parametrize("case", CASES)
LISTED = np.array([18, -18, 0, 9, -9, 27])  # the ids of `sample`, and one without a row


def part_of(xp: Backend, batch: Batch, dtype: str, case: str) -> PartialSums:
    """Trimmed to the longest of its own rows, as a micro-batch is."""
    reached = np.flatnonzero(batch.mask.any(axis=0))
    width = int(reached[-1]) + 1 if reached.size else 0
    trimmed = Batch(batch.loss[:, :width], batch.mask[:, :width], batch.ids)
    arrays, options = trimmed.on(xp, dtype, case)
    return partial_sums(*arrays, **options)


def slices(sizes: Sequence[int], order: np.ndarray | None = None) -> list[np.ndarray]:
    places = np.arange(sum(sizes)) if order is None else order
    return np.split(places, np.cumsum(sizes)[:-1])


@given(data=st.data(), case=st.sampled_from(list(CASES)))
def test_random_splits(xp: Backend, data: st.DataObject, case: str) -> None:
    """Rows in any order, parts of any size, empty ones too."""
    if xp.name == "torch-vmap" or xp.compiled:
        return  # a part is no array, and has a shape of its own; see test_under_tracing
    dtype = data.draw(st.sampled_from(xp.dtypes))
    batch = data.draw(batches(xp, dtype))
    rows, tokens = batch.mask.shape
    order = np.array(data.draw(st.permutations(range(rows))), dtype=int)
    cuts = data.draw(st.lists(st.integers(0, rows), max_size=4).map(sorted))
    chunks = np.split(order, cuts)
    parts = [part_of(xp, batch.rows(chunk), dtype, case) for chunk in chunks]
    arrays, _ = batch.on(xp, dtype, case)
    value = combine(parts)
    assert value.dtype == arrays[0].dtype
    exact, size = exact_loss(xp.to_numpy(arrays[0]), batch, exact_weights(batch, case, dtype))
    bound = tolerances.aggregate_ulp(tokens, rows)
    if size == 0:
        assert float(value) == 0.0
    else:
        assert_close(xp, xp.to_numpy(value), [exact], dtype, bound, relative_to=size)


@cases
@pytest.mark.parametrize("sizes", [(7,), (3, 4), (0, 1, 5, 0, 1), (1,) * 7])
def test_rows_in_order_give_the_same_bits(xp: Backend, case: str, sizes: tuple[int, ...]) -> None:
    if xp.name in ("torch-vmap", "jax-jit", "jax-vmap"):
        return
    if xp.compiled and (len(sizes) != 2 or case != "delta_l-groups"):
        return
    batch = sample(7, 11, seed=3, empty=(2,))
    for dtype in ("float32",) if xp.compiled else xp.dtypes:
        arrays, options = batch.on(xp, dtype, case)
        whole = xp.to_numpy(aggregate(*arrays, **options))
        parts = [part_of(xp, batch.rows(chunk), dtype, case) for chunk in slices(sizes)]
        assert xp.to_numpy(combine(parts)).tobytes() == whole.tobytes()


@cases
def test_a_part_may_have_no_row_or_no_token(case: str) -> None:
    xp = load_or_skip("numpy")
    batch = sample(6, 8, seed=4, empty=(1, 2))
    whole = aggregate(batch.loss, batch.mask, **batch.arguments(case))
    chunks = [np.array([], int), np.array([0]), np.array([1, 2]), np.array([3, 4, 5])]
    parts = [part_of(xp, batch.rows(chunk), "float64", case) for chunk in chunks]
    assert combine(parts) == whole
    empty = part_of(xp, batch.rows(np.array([1, 2])), "float64", case)
    assert combine([empty]) == 0.0
    assert combine([part_of(xp, batch.rows(np.array([], int)), "float64", case)]) == 0.0


def gradients(batch: Batch, case: str, chunks: Sequence[np.ndarray], how: str) -> tuple[Any, Any]:
    """Value and gradient through torch, from parts with leaves of their own."""
    torch = load_or_skip("torch").xp
    xp = load_or_skip("torch")
    method, options, grouped = CASES[case]
    leaves = [torch.tensor(batch.loss[chunk], requires_grad=True) for chunk in chunks]
    masks = [torch.tensor(batch.mask[chunk]) for chunk in chunks]
    given = [
        {**options, **({"groups": torch.tensor(batch.ids[chunk])} if grouped else {})}
        for chunk in chunks
    ]
    ids = xp.asarray(np.unique(batch.ids)) if grouped else None
    if how == "combine":
        value = combine(
            [
                partial_sums(leaf, mask, method, **own)
                for leaf, mask, own in zip(leaves, masks, given, strict=True)
            ]
        )
        value.backward()
    else:  # masks are known before losses; then one backward pass for each part
        total = sum(
            partial_sums(None, mask, method, dtype="float64", **own).totals(ids)[1]
            for mask, own in zip(masks, given, strict=True)
        )
        value = 0.0
        for leaf, mask, own in zip(leaves, masks, given, strict=True):
            share = partial_sums(leaf, mask, method, **own).share(total, ids)
            share.backward()
            value += share.detach()
    gradient = np.concatenate([leaf.grad.numpy() for leaf in leaves])
    order = np.concatenate(chunks)
    return float(value.detach()), gradient[np.argsort(order)]


@cases
@pytest.mark.parametrize("how", ["combine", "share"])
def test_value_and_gradient_of_the_whole(case: str, how: str) -> None:
    """In any order of the rows; the gradient to the last bit where denominators are counts."""
    rng = np.random.default_rng(8)
    batch = sample(9, 13, seed=5, empty=(4,))
    weights = token_weights(batch.mask, dtype="float64", **batch.arguments(case))
    whole = aggregate(batch.loss, batch.mask, **batch.arguments(case))
    exact, size = exact_loss(batch.loss, batch, exact_weights(batch, case, "float64"))
    xp = load_or_skip("torch")
    bound = tolerances.aggregate_ulp(13, 9)
    for sizes in ((9,), (2, 3, 4), (0, 8, 1), (1,) * 9):
        for order in (np.arange(9), rng.permutation(9)):
            value, gradient = gradients(batch, case, slices(sizes, order), how)
            assert_close(xp, np.array(value), [exact], "float64", bound, relative_to=size)
            if how == "combine" and (np.diff(order) == 1).all():
                assert value == whole
            if by_length(case):
                reach = tolerances.token_weight_ulp(9, by_length=True)
                assert (np.abs(gradient - weights) <= 2 * reach * np.spacing(weights)).all()
                assert (gradient[~batch.mask] == 0).all()
            else:
                np.testing.assert_array_equal(gradient, weights)


def test_a_mean_of_means_is_not_the_mean() -> None:
    """aggregation.split and aggregation.sequence-mean-split: the test above can fail."""
    batch = sample(6, 8, seed=4)
    for method, sizes in (("dapo", (3, 3)), ("grpo", (2, 4))):
        parts = [aggregate(batch.loss[chunk], batch.mask[chunk], method) for chunk in slices(sizes)]
        assert abs(sum(parts) / 2 - aggregate(batch.loss, batch.mask, method)) > 1e-3
    # Equal token counts, or equal sequence counts, are what makes it right.
    full = np.ones_like(batch.mask)
    loss = np.where(batch.mask, batch.loss, 1.0)
    for method in ("dapo", "grpo"):
        parts = [aggregate(loss[chunk], full[chunk], method) for chunk in slices((3, 3))]
        assert abs(sum(parts) / 2 - aggregate(loss, full, method)) < 1e-15


@cases
def test_totals(xp: Backend, case: str) -> None:
    """Numerators and denominators as one would all-reduce them."""
    if xp.name in ("torch-vmap", "jax-jit", "jax-vmap"):
        return
    if xp.compiled and case != "delta_l-groups":
        return
    _, options, grouped = CASES[case]
    batch = sample(7, 11, seed=6, empty=(2,))
    dtype = "float64"
    ids = xp.asarray(LISTED) if grouped else None
    parts = [part_of(xp, batch.rows(chunk), dtype, case) for chunk in slices((2, 0, 5))]
    reduced = [sum(xp.to_numpy(p.totals(ids)[i]) for p in parts) for i in (0, 1)]
    number = len(set(batch.ids.tolist())) if grouped else 1
    constant = options.get("constant", 1.0)
    if case == "dapo-constant":
        value = reduced[0] / constant
    else:
        value = np.sum(reduced[0] / np.where(reduced[1] == 0, 1, reduced[1])) / number / constant
    arrays, given = batch.on(xp, dtype, case)
    whole = float(aggregate(*arrays, **given))
    assert abs(value - whole) <= 1e-13 * max(1.0, abs(whole))
    if grouped:
        assert reduced[0].shape == LISTED.shape
        assert reduced[1][-1] == 0
        if not by_length(case):
            tokens = [batch.mask[batch.ids == i].sum() for i in LISTED]
            assert reduced[1].tolist() == tokens
    elif case in ("dapo", "bnpo", "dapo-constant"):
        assert reduced[1] == batch.mask.sum()
    elif not by_length(case):
        assert reduced[1] == 7


def test_share_of_groups_without_a_row_elsewhere() -> None:
    batch = sample(5, 6, seed=7)
    ids = np.unique(batch.ids)
    options = {"groups": batch.ids, "constant": 9.0}
    part = partial_sums(batch.loss, batch.mask, "delta_l", **options)
    assert part.share(part.totals(ids)[1], ids) == aggregate(
        batch.loss, batch.mask, "delta_l", **options
    )


def test_under_tracing() -> None:
    """A part lives inside a compiled function."""
    backend = load_or_skip("jax-jit")
    batch = sample(6, 8, seed=4, empty=(1,))
    for case in ("dapo", "delta_l-groups"):
        method, options, grouped = CASES[case]

        def merged(loss: Any, mask: Any, ids: Any, how=(method, options, grouped)) -> Any:
            method, options, grouped = how
            parts = [
                partial_sums(
                    loss[a:b],
                    mask[a:b],
                    method,
                    **options,
                    **({"groups": ids[a:b]} if grouped else {}),
                )
                for a, b in ((0, 2), (2, 6))
            ]
            return combine(parts)

        arrays = [backend.asarray(x) for x in (batch.loss, batch.mask, batch.ids)]
        value = float(backend.call(merged, *arrays))
        whole = float(aggregate(batch.loss, batch.mask, **batch.arguments(case)))
        assert abs(value - whole) <= 1e-14 * max(1.0, abs(whole))


# --- refused -------------------------------------------------------------------------------------


def part(method: str = "dapo", **options: Any) -> PartialSums:
    loss = options.pop("loss", np.ones((2, 3)))
    return partial_sums(loss, np.ones((2, 3), dtype=bool), method, **options)


def test_parts_that_do_not_fit() -> None:
    ids = np.array([0, 1])
    for parts, argument in (
        ([], "parts"),
        (part(), "parts"),
        ([part(), 1.0], r"parts\[1\]"),
        ([part(loss=None)], r"parts\[0\]"),
        ([part(), part("bnpo")], r"parts\[1\].method"),
        (
            [part("delta_l", constant=5), part("delta_l", constant=5, alpha=0.5)],
            r"parts\[1\].alpha",
        ),
        ([part("dr_grpo", constant=5), part("dr_grpo", constant=6)], r"parts\[1\].constant"),
        ([part(), part(constant=6)], r"parts\[1\].constant"),
        ([part(), part(groups=ids)], r"parts\[1\].groups"),
        ([part(groups=ids), part(groups=ids.astype(np.int32))], r"parts\[1\].groups"),
        ([part(), part(loss=np.ones((2, 3), np.float32))], r"parts\[1\].dtype"),
    ):
        with pytest.raises(DomainError, match=f"{argument} must"):
            combine(parts)  # type: ignore[arg-type]
    assert combine([part("dr_grpo", constant=5), part("dr_grpo", constant=np.array(5))]) == 0.6


def test_parts_of_two_libraries() -> None:
    torch = load_or_skip("torch").xp
    other = partial_sums(torch.ones((2, 3)), torch.ones((2, 3)), "dapo")
    with pytest.raises(DomainError, match="come from the same array library"):
        combine([part(), other])


def test_totals_and_shares_are_checked() -> None:
    grouped = part(groups=np.array([4, 9]))
    for ids, rule in (
        (None, "list every group id"),
        (np.array([4]), "be among ids"),
        (np.array([4, 9, 4]), "name each group once"),
        (np.array([[4, 9]]), "integers of shape"),
        (np.array([4.0, 9.0]), "integers of shape"),
    ):
        with pytest.raises(DomainError, match=rule):
            grouped.totals(ids)
    with pytest.raises(DomainError, match="left out where there are no groups"):
        part().totals(np.array([4]))
    for denominator, rule in (
        (np.array(5), "of all parts: at least this part's own"),
        (np.array(np.nan), "of all parts"),
        (np.array([6]), r"shape that totals gives, \(\)"),
    ):
        with pytest.raises(DomainError, match=rule):
            part().share(denominator)
    with pytest.raises(DomainError, match="be given for a part that is to have a share"):
        part(loss=None).share(np.array(6))
    assert part().share(np.array(6)) == 1.0
    assert part().share(12) == 0.5


def test_dtype_is_for_masks_alone() -> None:
    with pytest.raises(DomainError, match="dtype must be left out where there is a loss"):
        part(dtype="float64")
    with pytest.raises(DomainError, match="dtype must be a real floating dtype"):
        part(loss=None, dtype="int64")
    counted = part("delta_l", loss=None, constant=3, dtype="float32")
    assert counted.denominator.dtype == np.float32
    assert counted.totals()[0] is None


def test_a_part_is_checked_as_a_batch_is() -> None:
    for bad in (np.nan, np.inf):
        loss = np.ones((2, 3))
        loss[1, 2] = bad
        with pytest.raises(DomainError, match=r"loss must be finite where mask is 1 .*\(1, 2\)"):
            part(loss=loss)
    with pytest.raises(DomainError, match="that float32 can hold"):
        part(loss=np.full((2, 3), 3e38, np.float32))


def test_a_half_precision_part_keeps_what_computes() -> None:
    """Sums of float16 are float32 until the end, so that merging loses nothing."""
    loss = np.full((2, 3), 2.0**-9, np.float16) + np.float16(1)
    each = part(loss=loss)
    assert each.numerator is not None
    assert each.numerator.dtype == np.float32
    assert combine([each, each]).dtype == np.float16


def test_widening_one_part(xp: Backend) -> None:
    if xp.name == "torch-vmap" or xp.compiled:
        return
    batch = sample(4, 9, seed=9)
    values = []
    for width in (9, 10, 40):
        first, options = batch.rows(slice(0, 2)).on(xp, "float32", "grpo")
        second, _ = widened(batch.rows(slice(2, 4)), width).on(xp, "float32", "grpo")
        parts = [partial_sums(*arrays, **options) for arrays in (first, second)]
        values.append(xp.to_numpy(combine(parts)).tobytes())
    assert len(set(values)) == 1
