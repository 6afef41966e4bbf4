"""group_std, binary_std, dapo_keep: values against exact oracles, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.groups import binary_std, dapo_keep, dr_grpo_advantages, group_std
from tests import oracles, strategies, tolerances
from tests.backends import Backend
from tests.identity.grouping import assert_all_zero, assert_close, computed, exactly


@pytest.mark.parametrize("group_size", [2, 3, 7, 16, 64, 1000])
def test_binary_std_for_every_count(xp: Backend, group_size: int) -> None:
    counts = (
        list(range(group_size + 1)) if group_size < 1000 else [0, 1, 2, 333, 667, 998, 999, 1000]
    )
    exact = [oracles.binary_std(k, group_size) for k in counts]
    for dtype in xp.dtypes:
        if dtype == "bfloat16" and group_size > 256:
            continue  # its integers end there
        correct = xp.asarray(np.array(counts), dtype)
        result = xp.call(binary_std, correct, group_size=group_size)
        assert result.dtype == correct.dtype
        values = xp.to_numpy(result)
        assert_close(xp, values, exact, dtype, tolerances.BINARY_STD_ULP)
        np.testing.assert_array_equal(values, values[::-1])
        assert values[0] == 0.0
        assert values[-1] == 0.0


def test_binary_std_takes_one_size_for_each_count(xp: Backend) -> None:
    counts, sizes = [1, 2, 7], [2, 5, 9]
    result = xp.call(binary_std, xp.asarray(counts), xp.asarray(sizes))
    dtype = str(result.dtype).rpartition(".")[2]
    exact = [oracles.binary_std(k, n) for k, n in zip(counts, sizes, strict=True)]
    assert_close(xp, xp.to_numpy(result), exact, dtype, tolerances.BINARY_STD_ULP)


def test_binary_std_of_one_number() -> None:
    assert binary_std(1, 2) == 0.5
    assert binary_std(np.int64(1), np.int64(4)).shape == ()


def test_binary_std_counts_up_to_the_last_exact_integer() -> None:
    size = 2**53
    exact = oracles.binary_std(size - 1, size)
    result = np.asarray(binary_std(np.array(float(size - 1)), size))
    off = oracles.excess(result, exact, "float64")
    assert off <= tolerances.BINARY_STD_ULP


@given(data=st.data())
def test_std_of_binary_rewards(xp: Backend, data: st.DataObject) -> None:
    rewards = data.draw(strategies.binary_rewards(xp))
    dtype = data.draw(strategies.dtypes(xp))
    array = xp.asarray(rewards, dtype)
    exact = [oracles.binary_std(sum(rewards), len(rewards))]
    assert_close(
        xp, xp.to_numpy(xp.call(group_std, array)), exact, dtype, tolerances.BINARY_STD_ULP
    )


@given(data=st.data(), ddof=st.sampled_from([0, 1]))
def test_std_of_real_rewards(xp: Backend, data: st.DataObject, ddof: int) -> None:
    dtype = data.draw(strategies.dtypes(xp))
    rewards = data.draw(strategies.rewards(xp, dtype))
    exact = [oracles.std(exactly(xp, rewards, dtype), ddof)]
    actual = computed(xp, group_std, [xp.asarray(rewards, dtype)], dtype, exact, ddof=ddof)
    assert_close(xp, actual, exact, dtype, tolerances.std_ulp(len(rewards)))


@given(data=st.data())
def test_keep_is_exact(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(strategies.dtypes(xp))
    rewards = data.draw(strategies.rewards(xp, dtype))
    keep = xp.call(dapo_keep, xp.asarray([rewards, rewards[::-1]], dtype))
    assert tuple(keep.shape) == (2,)
    expected = len(set(exactly(xp, rewards, dtype))) > 1
    assert xp.to_numpy(keep).tolist() == [expected, expected]


@given(data=st.data())
def test_ragged_spread_is_each_groups_own(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(strategies.dtypes(xp))
    rewards, ids = data.draw(strategies.ragged(xp, dtype))
    seen = exactly(xp, rewards, dtype)
    groups = {g: [r for r, i in zip(seen, ids, strict=True) if i == g] for g in ids}
    array, group_ids = xp.asarray(rewards, dtype), xp.asarray(np.array(ids, dtype=np.int64))
    keep = xp.to_numpy(xp.call(dapo_keep, array, groups=group_ids))
    assert keep.tolist() == [len(set(groups[i])) > 1 for i in ids]
    stds = {g: oracles.std(members) for g, members in groups.items()}
    actual = xp.to_numpy(xp.call(group_std, array, groups=group_ids))
    for got, group in zip(actual.tolist(), ids, strict=True):
        bound = tolerances.std_ulp(len(groups[group]))
        assert_close(xp, np.array([got]), [stds[group]], dtype, bound)


@pytest.mark.parametrize("group_size", [2, 3, 8, 33])
def test_unanimous_groups_have_no_spread(xp: Backend, group_size: int) -> None:
    for dtype in xp.dtypes:
        largest = float(oracles.largest_float(dtype))
        tiny = float(oracles.ulp(0, dtype))
        values = (0.0, 0.1, 1 / 3, 0.7, 1.0, -2.3, largest, -largest, tiny)
        rewards = [[strategies.round_to(v, dtype)] * group_size for v in values]
        array = xp.asarray(rewards, dtype)
        for ddof in (0, 1):
            assert_all_zero(xp.to_numpy(xp.call(group_std, array, ddof=ddof)))
        assert not xp.to_numpy(xp.call(dapo_keep, array)).any()


def test_filter_changes_no_kept_group(xp: Backend) -> None:
    rewards = np.array([[1.0, 0.0, 0.0], [0.1, 0.1, 0.1], [0.2, 0.7, 0.1]])
    array = xp.asarray(rewards, "float64")
    keep = xp.to_numpy(xp.call(dapo_keep, array))
    before = xp.to_numpy(xp.call(dr_grpo_advantages, array))
    after = xp.to_numpy(xp.call(dr_grpo_advantages, xp.asarray(rewards[keep], "float64")))
    np.testing.assert_array_equal(before[keep], after)


def test_large_binary_groups() -> None:
    for dtype, size in tolerances.BINARY_EXACT_GROUP.items():
        if dtype == "bfloat16":
            continue
        for correct in (1, size // 3, size - 1):
            rewards = np.zeros(size, dtype=dtype)
            rewards[:correct] = 1
            exact = oracles.binary_std(correct, size)
            off = oracles.excess(np.asarray(group_std(rewards)), exact, dtype)
            assert off <= tolerances.BINARY_STD_ULP
