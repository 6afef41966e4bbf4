"""Weights and losses against exact values, on every backend; masks, padding, empty batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.aggregation import aggregate, token_weights
from identity.aggregation._tree import group_totals, tree_sum
from tests import oracles, strategies, tolerances
from tests.backends import Backend
from tests.identity.aggregating import (
    CASES,
    POISON,
    Batch,
    batches,
    by_length,
    cases_of,
    exact_loss,
    exact_weights,
    sample,
    widened,
)
from tests.identity.grouping import assert_all_zero, assert_close

cases = pytest.mark.parametrize("case", CASES)
COSTLY = ("grpo", "delta_l-groups")  # enough where each shape is compiled


def dtypes(xp: Backend) -> st.SearchStrategy[str]:
    """One or two where each costs compilations."""
    if xp.name == "jax":
        return st.sampled_from(("float32", "bfloat16"))
    return st.just("float32") if xp.compiled else strategies.dtypes(xp)


@given(data=st.data())
def test_weights(xp: Backend, data: st.DataObject) -> None:
    case = data.draw(cases_of(xp))
    dtype = data.draw(dtypes(xp))
    batch = data.draw(batches(xp, dtype))
    (_, mask), options = batch.on(xp, dtype, case)
    actual = xp.to_numpy(xp.call(token_weights, mask, dtype=dtype, **options))
    assert actual.shape == batch.mask.shape
    assert (actual[~batch.mask] == 0).all()
    exact = exact_weights(batch, case, dtype)
    spread = [exact[row] for row, n in enumerate(batch.counts) for _ in range(n)]
    bound = tolerances.token_weight_ulp(len(exact), by_length=by_length(case))
    assert_close(xp, actual[batch.mask], spread, dtype, bound)


@given(data=st.data())
def test_loss(xp: Backend, data: st.DataObject) -> None:
    case = data.draw(cases_of(xp))
    dtype = data.draw(dtypes(xp))
    batch = data.draw(batches(xp, dtype))
    arrays, options = batch.on(xp, dtype, case)
    result = xp.call(aggregate, *arrays, **options)
    assert result.dtype == arrays[0].dtype
    assert result.shape == ()
    seen = xp.to_numpy(arrays[0])
    exact, size = exact_loss(seen, batch, exact_weights(batch, case, dtype))
    bound = tolerances.aggregate_ulp(*reversed(batch.mask.shape))
    if size == 0:
        assert float(result) == 0.0
    else:
        assert_close(xp, xp.to_numpy(result), [exact], dtype, bound, relative_to=size)


@cases
def test_larger_batch(case: str) -> None:
    """Rows beyond the width of a slice, and a width that is no power of two."""
    batch = sample(70, 1300, seed=1, empty=(3, 69))
    weights = exact_weights(batch, case, "float32")
    with np.errstate(over="ignore"):
        loss = batch.loss.astype(np.float32)
    exact, size = exact_loss(loss, batch, weights)
    actual = aggregate(loss, batch.mask, **batch.arguments(case))
    off = oracles.excess(actual, exact, "float32", relative_to=size)
    assert off <= tolerances.aggregate_ulp(1300, 70)
    rounded = token_weights(batch.mask, dtype="float32", **batch.arguments(case))
    for row, weight in enumerate(weights):
        for got in rounded[row][batch.mask[row]][:1].tolist():
            bound = tolerances.token_weight_ulp(70, by_length=by_length(case))
            assert oracles.excess(got, weight, "float32") <= bound


def test_definitions_by_hand() -> None:
    """Small numbers, worked out on paper."""
    mask = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]])
    loss = np.array([[1.0, 2.0, 3.0], [6.0, 9, 9], [9, 9, 9], [4.0, 6.0, 9]])
    ids = [4, 4, 7, 7]
    assert aggregate(loss, mask, "grpo") == (2 + 6 + 0 + 5) / 4
    assert aggregate(loss, mask, "dapo") == 22 / 6
    assert aggregate(loss, mask, "bnpo") == 22 / 6
    assert aggregate(loss, mask, "dapo", constant=11) == 2
    assert aggregate(loss, mask, "dapo", groups=ids) == (12 / 4 + 10 / 2) / 2
    assert aggregate(loss, mask, "dr_grpo", constant=11) == 0.5
    assert aggregate(loss, mask, "sequence_sum") == 22 / 4
    flat = aggregate(loss, mask, "delta_l", constant=10, alpha=0)
    assert flat == aggregate(loss, mask, "delta_l_batch", constant=10, alpha=0)
    assert abs(flat - 22 / 3 / 10) < 1e-15  # the empty row does not count
    # (1/10)(6/3 + 6/1 + 10/2)/(1/3 + 1 + 1/2), and by group ((2 + 6)/(4/3) + 10)/2
    batch = aggregate(loss, mask, "delta_l_batch", constant=10)
    assert abs(batch - 13 / (11 / 6) / 10) < 1e-15
    assert abs(aggregate(loss, mask, "delta_l", constant=10, groups=ids) - 0.8) < 1e-15
    assert aggregate(loss, mask, "delta_l", constant=10) == batch


def test_group_or_batch() -> None:
    """aggregation.batch-or-group: two prompts whose responses differ in length suffice."""
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]])
    by_group = token_weights(mask, "delta_l", constant=1, groups=[0, 0, 1, 1])[:, 0]
    by_batch = token_weights(mask, "delta_l_batch", constant=1)[:, 0]
    np.testing.assert_array_equal(by_group, [0.25] * 4)
    np.testing.assert_array_equal(by_batch, [0.1, 0.1, 0.4, 0.4])


def test_padded_width_is_no_constant() -> None:
    """aggregation.padded-width: with T as the constant the loss of a padded batch is another."""
    batch = sample(4, 12)
    wide = widened(batch, 20)
    losses = [aggregate(b.loss, b.mask, "dr_grpo", constant=b.mask.shape[1]) for b in (batch, wide)]
    assert losses[0] != losses[1]
    fixed = [aggregate(b.loss, b.mask, "dr_grpo", constant=12) for b in (batch, wide)]
    assert fixed[0] == fixed[1]


# --- padding, masks, empty -----------------------------------------------------------------------


@cases
def test_widening_the_padding_changes_no_bit(xp: Backend, case: str) -> None:
    if xp.name == "jax-vmap" or (xp.compiled and case not in COSTLY):
        return
    width = 17
    for dtype in ("float32",) if xp.compiled else xp.dtypes:
        batch = sample(5, width, seed=2, empty=(1,))
        expected = None
        for wider in (width, width + 3) if xp.compiled else (width, 18, 32, 2 * width + 3):
            (loss, mask), options = widened(batch, wider).on(xp, dtype, case)
            got = xp.to_numpy(xp.call(aggregate, loss, mask, **options)).tobytes()
            weights = xp.to_numpy(xp.call(token_weights, mask, dtype=dtype, **options))
            found = (got, weights[:, :width].tobytes())
            assert expected in (None, found), wider
            expected = found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_widening_up_to_4096(xp: Backend, rows: int, dtype: str) -> None:
    if xp.compiled or xp.name == "torch-vmap":
        return  # a compilation for each width; see test_aggregation_backends
    rng = np.random.default_rng(rows)
    for width in (1, 16, 17, 127, 129, 700, 2048, 3001):
        batch = sample(rows, width, seed=int(rng.integers(1000)))
        found = set()
        for wider in {width, width + 1, width + 16, 4096}:
            (loss, mask), options = widened(batch, wider).on(xp, dtype, "grpo")
            found.add(xp.to_numpy(xp.call(aggregate, loss, mask, **options)).tobytes())
            if xp.name == "torch" and rows == 3:  # another layout in memory
                loss = loss.T.contiguous().T
                found.add(xp.to_numpy(aggregate(loss, mask, **options)).tobytes())
        assert len(found) == 1, width


def test_a_librarys_own_sum_would_not_do() -> None:
    """The test above can fail: NumPy's sum depends on the width."""
    rng = np.random.default_rng(0)
    found = set()
    row = rng.normal(size=1000).astype(np.float32)
    for width in (1000, 1001, 1500, 4096):
        found.add(float(np.sum(np.pad(row, (0, width - 1000)))))
    assert len(found) > 1


@cases
def test_more_masked_rows(xp: Backend, case: str) -> None:
    """Where rows are not counted, rows without tokens change no bit either."""
    method, _, grouped = CASES[case]
    if method in ("grpo", "dr_grpo", "sequence_sum") or grouped or xp.compiled:
        return
    batch = sample(5, 9)
    more = Batch(
        np.pad(batch.loss, ((0, 4), (0, 0)), constant_values=np.inf),
        np.pad(batch.mask, ((0, 4), (0, 0))),
        np.pad(batch.ids, (0, 4)),
    )
    values = []
    for each in (batch, more):
        arrays, options = each.on(xp, "float32", case)
        values.append(xp.to_numpy(xp.call(aggregate, *arrays, **options)).tobytes())
    assert values[0] == values[1]


@cases
def test_masked_losses_never_matter(xp: Backend, case: str) -> None:
    if xp.compiled and case not in COSTLY:
        return
    batch = sample(4, 6, empty=(2,))
    zeros = Batch(np.where(batch.mask, batch.loss, 0.0), batch.mask, batch.ids)
    poisons = np.resize(POISON, batch.mask.shape)
    assert set(poisons[~batch.mask].astype(str)) == {str(p) for p in POISON}
    poisoned = Batch(np.where(batch.mask, batch.loss, poisons), batch.mask, batch.ids)
    for dtype in ("float32",) if xp.compiled else xp.dtypes:
        values = []
        for each in (zeros, poisoned):
            arrays, options = each.on(xp, dtype, case)
            values.append(xp.to_numpy(xp.call(aggregate, *arrays, **options)))
        assert np.isfinite(values[0])
        assert values[0].tobytes() == values[1].tobytes()


@cases
def test_without_tokens(xp: Backend, case: str) -> None:
    if xp.name == "jax-vmap" or (xp.compiled and case not in COSTLY):
        return
    for shape in ((0, 3), (3, 4)) if xp.compiled else ((0, 3), (3, 0), (0, 0), (1, 1), (3, 4)):
        batch = Batch(np.full(shape, np.nan), np.zeros(shape, dtype=bool), np.zeros(shape[0], int))
        for dtype in ("float32",) if xp.compiled else xp.dtypes:
            arrays, options = batch.on(xp, dtype, case)
            value = xp.call(aggregate, *arrays, **options)
            assert value.dtype == arrays[0].dtype
            assert_all_zero(xp.to_numpy(value))
            weights = xp.to_numpy(xp.call(token_weights, arrays[1], dtype=dtype, **options))
            assert weights.shape == shape
            assert_all_zero(weights)


def test_masks_of_every_dtype(xp: Backend) -> None:
    batch = sample(4, 6)
    loss = xp.asarray(batch.loss, "float32")
    expected = xp.to_numpy(xp.call(aggregate, loss, xp.asarray(batch.mask), method="grpo"))
    if xp.name == "jax-vmap":
        return
    more = ("int32", "int8", "uint32", "uint64", "float64")
    for dtype in ("int64", "uint8", "float32") if xp.compiled else ("int64", "uint8", *more):
        mask = xp.asarray(batch.mask, dtype)
        assert xp.to_numpy(xp.call(aggregate, loss, mask, method="grpo")) == expected
    if "bfloat16" in xp.dtypes and not xp.compiled:
        mask = xp.asarray(batch.mask, "bfloat16")
        assert xp.to_numpy(xp.call(aggregate, loss, mask, method="grpo")) == expected


def test_losses_of_integers_and_bools(xp: Backend) -> None:
    mask = xp.asarray([[1, 1], [1, 0]])
    default = xp.xp.asarray(0.5).dtype
    for loss in (xp.asarray([[1, 2], [4, 9]]), xp.asarray([[True, True], [False, True]])):
        value = xp.call(aggregate, loss, mask, method="grpo")
        assert value.dtype == default
        assert float(value) == (2.75 if float(loss[0, 1]) == 2 else 0.5)


def test_lists() -> None:
    loss = [[1.0, 2.0], [4.0, 9.0]]
    mask = [[1, 1], [1, 0]]
    value = aggregate(loss, mask, "grpo")
    assert value == 2.75
    assert aggregate(np.array(loss), mask, "grpo") == 2.75


def test_dtype_of_weights(xp: Backend) -> None:
    mask = xp.asarray([[1, 1], [1, 0]])
    assert token_weights(mask, "grpo").dtype == xp.xp.asarray(0.5).dtype
    for name in ("bfloat16",) if xp.compiled else xp.dtypes:
        kind = getattr(xp.xp, name)
        for given_as in (name, kind):
            weights = token_weights(mask, "grpo", dtype=given_as)
            assert weights.dtype == kind
            assert xp.to_numpy(weights).tolist() == [[0.25, 0.25], [0.5, 0.0]]


def test_constant_as_an_array(xp: Backend) -> None:
    """A token count from an all-reduce; its values are seen or not."""
    batch = sample(4, 6)
    loss, mask = xp.asarray(batch.loss, "float32"), xp.asarray(batch.mask)
    expected = xp.to_numpy(xp.call(aggregate, loss, mask, method="dapo", constant=40))
    for dtype in ("int64", "float32"):
        count = xp.asarray(40, dtype)
        assert float(aggregate(loss, mask, "dapo", constant=count)) == expected
        value = xp.call(with_constant, loss, mask, count)
        assert xp.to_numpy(value) == expected
    for number in (np.float32(40), np.int64(40)):
        assert float(aggregate(loss, mask, "dapo", constant=number)) == expected


def with_constant(loss: Any, mask: Any, count: Any) -> Any:
    return aggregate(loss, mask, "dapo", constant=count)


# --- the sums ------------------------------------------------------------------------------------


def test_tree_sum_order(xp: Backend) -> None:
    """Halving: element i with i + P/2, over and over."""
    rng = np.random.default_rng(5)
    for width in (1, 7, 33) if xp.compiled else range(1, 70):
        row = rng.normal(size=(2, width)).astype(np.float32)
        folded = np.pad(row, ((0, 0), (0, 2 ** (width - 1).bit_length() - width)))
        while folded.shape[1] > 1:
            half = folded.shape[1] // 2
            folded = folded[:, :half] + folded[:, half:]
        actual = xp.to_numpy(tree_sum(xp.xp, xp.asarray(row)))
        np.testing.assert_array_equal(actual, folded[:, 0])
    assert_all_zero(xp.to_numpy(tree_sum(xp.xp, xp.asarray(np.zeros((2, 0))))))


def test_group_totals(xp: Backend) -> None:
    ids = np.array([5, -3, 5, 2**40, -3, 5, 0])
    values = np.array([1, 2, 4, 8, 16, 32, 64])
    totals, number = group_totals(xp.xp, xp.asarray(ids), xp.asarray(values))
    assert xp.to_numpy(totals).tolist() == [37, 18, 37, 8, 18, 37, 64]
    assert int(number) == 4
    unsigned = xp.asarray(np.array([7, 2**64 - 1, 7], dtype=np.uint64))
    totals, number = group_totals(xp.xp, unsigned, xp.asarray(np.array([1.0, 2.0, 4.0])))
    assert xp.to_numpy(totals).tolist() == [5.0, 2.0, 5.0]
    assert int(number) == 2
