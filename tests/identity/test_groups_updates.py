"""group_update, score_contrast, regression_slope against exact sums, and the identity itself."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from identity.groups import (
    dr_grpo_advantages,
    group_std,
    group_update,
    grpo_advantages,
    regression_slope,
    rloo_advantages,
    score_contrast,
)
from tests import oracles, strategies, tolerances
from tests.backends import Backend
from tests.identity.grouping import assert_all_zero, assert_close, computed, exactly

Column = list[Fraction]


def columns(xp: Backend, scores: Sequence[Sequence[float]], dtype: str) -> list[Column]:
    """Scores by coordinate, as exact numbers."""
    return [exactly(xp, column, dtype) for column in zip(*scores, strict=True)]


def mean_product(weights: Sequence[Fraction], column: Column) -> Fraction:
    return oracles.mean([w * s for w, s in zip(weights, column, strict=True)])


def mean_magnitude(weights: Sequence[Fraction], column: Column) -> Fraction:
    return oracles.mean([abs(w * s) for w, s in zip(weights, column, strict=True)])


def contrast_weights(rewards: Sequence[Fraction]) -> list[Fraction]:
    size, correct = len(rewards), sum(r == 1 for r in rewards)
    if correct in (0, size):
        return [Fraction(0)] * size
    return [Fraction(size, correct) if r == 1 else Fraction(-size, size - correct) for r in rewards]


@given(data=st.data())
def test_update_is_the_mean_product(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(strategies.dtypes(xp))
    size = data.draw(strategies.group_sizes(xp))
    scores = data.draw(strategies.vectors(dtype, size))
    weights = [row[0] for row in data.draw(strategies.vectors(dtype, size, dimension=1))]
    exact_weights = exactly(xp, weights, dtype)
    by_coordinate = columns(xp, scores, dtype)
    exact = [mean_product(exact_weights, c) for c in by_coordinate]
    scale = [mean_magnitude(exact_weights, c) for c in by_coordinate]
    arrays = [xp.asarray(weights, dtype), xp.asarray(scores, dtype)]
    actual = computed(xp, group_update, arrays, dtype, exact)
    bound = tolerances.mean_product_ulp(size)
    assert_close(xp, actual, exact, dtype, bound, relative_to=scale)


@given(data=st.data())
def test_contrast_of_means(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(strategies.dtypes(xp))
    rewards = data.draw(strategies.binary_rewards(xp))
    scores = data.draw(strategies.vectors(dtype, len(rewards)))
    weights = contrast_weights(oracles.fractions(rewards))
    by_coordinate = columns(xp, scores, dtype)
    exact = [mean_product(weights, c) for c in by_coordinate]
    scale = [mean_magnitude(weights, c) for c in by_coordinate]
    arrays = [xp.asarray(rewards, dtype), xp.asarray(scores, dtype)]
    actual = computed(xp, score_contrast, arrays, dtype, exact)
    bound = tolerances.mean_product_ulp(len(rewards))
    assert_close(xp, actual, exact, dtype, bound, relative_to=scale)


@given(data=st.data())
def test_least_squares_slope(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(strategies.dtypes(xp))
    rewards = data.draw(strategies.rewards(xp, dtype))
    seen = exactly(xp, rewards, dtype)
    assume(len(set(seen)) > 1)
    scores = data.draw(strategies.vectors(dtype, len(rewards)))
    deviations = oracles.dr_grpo(seen)
    squares = sum(d * d for d in deviations)
    by_coordinate = columns(xp, scores, dtype)
    exact = [
        sum(d * s for d, s in zip(deviations, c, strict=True)) / squares for c in by_coordinate
    ]
    steepest = oracles.largest(deviations)
    scale = [steepest * sum(abs(s) for s in c) / squares for c in by_coordinate]
    arrays = [xp.asarray(rewards, dtype), xp.asarray(scores, dtype)]
    actual = computed(xp, regression_slope, arrays, dtype, exact)
    bound = tolerances.slope_ulp(len(rewards))
    assert_close(xp, actual, exact, dtype, bound, relative_to=scale)


@given(data=st.data())
def test_slope_of_binary_rewards_is_the_contrast(xp: Backend, data: st.DataObject) -> None:
    rewards = data.draw(strategies.binary_rewards(xp))
    scores = data.draw(strategies.vectors("float64", len(rewards)))
    arrays = [xp.asarray(rewards, "float64"), xp.asarray(scores, "float64")]
    slope = xp.to_numpy(xp.call(regression_slope, *arrays))
    contrast = oracles.fractions(xp.to_numpy(xp.call(score_contrast, *arrays)))
    weights = contrast_weights(oracles.fractions(rewards))
    scale = [mean_magnitude(weights, c) for c in columns(xp, scores, "float64")]
    size = len(rewards)
    bound = tolerances.IDENTITY_SPREAD * (
        tolerances.slope_ulp(size) + tolerances.mean_product_ulp(size)
    )
    assert_close(xp, slope, contrast, "float64", size * bound, relative_to=scale)


@pytest.mark.parametrize("group_size", [2, 3, 8, 16])
def test_identity_for_every_count(xp: Backend, group_size: int) -> None:
    # groups.identity, groups.dr-grpo, groups.rloo: all k at once, as a batch of groups.
    rng = np.random.default_rng(group_size)
    counts = np.arange(group_size + 1)
    rewards = (np.arange(group_size) < counts[:, None]).astype(np.float64)
    scores = rng.normal(size=(group_size + 1, group_size, 3))
    for dtype in ("float32", "float64"):
        array, vectors = xp.asarray(rewards, dtype), xp.asarray(scores, dtype)
        passed = xp.to_numpy(vectors)
        for method, power, factor in (
            (grpo_advantages, 1, Fraction(1)),
            (dr_grpo_advantages, 2, Fraction(1)),
            (rloo_advantages, 2, Fraction(group_size, group_size - 1)),
        ):
            steps = xp.to_numpy(xp.call(group_update, xp.call(method, array), vectors))
            for k in counts.tolist():
                exact_rewards = oracles.fractions(rewards[k])
                weights = contrast_weights(exact_rewards)
                sigma = oracles.std(exact_rewards)
                by_coordinate = columns(xp, passed[k].tolist(), dtype)
                scale = oracles.to_mpf(factor) * sigma**power
                exact = [scale * oracles.to_mpf(mean_product(weights, c)) for c in by_coordinate]
                terms = [scale * oracles.to_mpf(mean_magnitude(weights, c)) for c in by_coordinate]
                bound = tolerances.mean_product_ulp(group_size) + tolerances.BINARY_GRPO_ULP
                if k in (0, group_size):
                    assert_all_zero(steps[k])
                else:
                    assert_close(xp, steps[k], exact, dtype, bound, relative_to=terms)


@given(data=st.data())
def test_identity_for_real_rewards(data: st.DataObject) -> None:
    # groups.real-rewards: g = σβ̂ and ‖g‖² ≤ (1/G)Σ‖s_i − s̄‖².
    rewards = data.draw(st.lists(st.integers(-50, 50), min_size=2, max_size=12))
    scores = data.draw(strategies.vectors("float64", len(rewards)))
    array, vectors = np.array(rewards, dtype=np.float64), np.array(scores)
    step = group_update(grpo_advantages(array), vectors)
    other = group_std(array) * regression_slope(array, vectors)
    bound = tolerances.slope_ulp(len(rewards)) + tolerances.grpo_ulp(len(rewards))
    reach = np.abs(vectors).sum(axis=0) * tolerances.IDENTITY_SPREAD * bound * np.spacing(1.0)
    assert (np.abs(step - other) <= reach).all()
    with np.errstate(over="ignore"):
        centred = vectors - vectors.mean(axis=0)
        spread = np.sqrt(np.mean(np.sum((centred / 2.0**401) ** 2, axis=1)))
        length = np.sqrt(np.sum((step / 2.0**401) ** 2))
    assert length <= spread + bound * np.spacing(1.0) * np.abs(vectors / 2.0**401).sum()


def test_unanimous_groups_take_no_step(xp: Backend) -> None:
    scores = np.random.default_rng(1).normal(size=(2, 5, 3))
    for dtype in xp.dtypes:
        vectors = xp.asarray(scores, dtype)
        for value in (0.0, 0.1, 1.0):
            rewards = xp.asarray(np.full((2, 5), value), dtype)
            assert_all_zero(xp.to_numpy(xp.call(regression_slope, rewards, vectors)))
            for method in (grpo_advantages, dr_grpo_advantages, rloo_advantages):
                advantages = xp.call(method, rewards)
                assert_all_zero(xp.to_numpy(xp.call(group_update, advantages, vectors)))
            if value in (0.0, 1.0):
                assert_all_zero(xp.to_numpy(xp.call(score_contrast, rewards, vectors)))


def test_extreme_rewards_and_scores_stay_in_range(xp: Backend) -> None:
    shape = np.array([[1.0], [2.0], [4.0]])
    for dtype in ("float32", "float64"):
        info = np.finfo(dtype)
        largest = np.array([[info.max]] * 3, dtype=dtype)
        weights = np.array([1, -1, 1], dtype=dtype)
        for signed, expected in ((weights, info.max / 3), (np.abs(weights), info.max)):
            step = xp.call(group_update, xp.asarray(signed, dtype), xp.asarray(largest, dtype))
            bound = tolerances.mean_product_ulp(3)
            assert_close(
                xp,
                xp.to_numpy(step),
                oracles.fractions([expected]),
                dtype,
                bound,
                relative_to=Fraction(float(info.max)),
            )
        # No product overflows here, but their sum would.
        halves = xp.asarray(np.full((8, 1), info.max / 4), dtype)
        step = xp.call(group_update, xp.asarray(np.ones(8), dtype), halves)
        assert xp.to_numpy(step).tolist() == [float(info.max / 4)]
        units = [info.max / 8, info.smallest_normal, np.sqrt(info.max), np.sqrt(info.tiny)]
        if not xp.flushes_subnormals:
            units.append(info.smallest_subnormal * 8)
        for unit in units:
            # The unit cancels: the slope of (1, 2, 4) on (0, 1, 2) is 3/2.
            rewards = np.array([0, 1, 2], dtype=dtype) * np.array(unit, dtype=dtype)
            scores = shape.astype(dtype) * np.array(unit, dtype=dtype)
            slope = xp.call(regression_slope, xp.asarray(rewards, dtype), xp.asarray(scores, dtype))
            bound = tolerances.slope_ulp(3)
            assert_close(xp, xp.to_numpy(slope), [Fraction(3, 2)], dtype, bound)


def test_integer_rewards_take_the_dtype_of_the_scores(xp: Backend) -> None:
    for dtype in xp.dtypes:
        scores = xp.asarray([[1.0, 0.0], [0.0, 2.0]], dtype)
        for rewards in (xp.asarray([1, 0]), xp.asarray([True, False])):
            for function in (score_contrast, regression_slope, group_update):
                assert xp.call(function, rewards, scores).dtype == scores.dtype


def test_mixed_precision_takes_the_wider_dtype(xp: Backend) -> None:
    scores = xp.asarray([[1.0, 0.0], [0.0, 2.0]], "float32")
    rewards = xp.asarray([1.0, 0.0], "float64")
    for function in (score_contrast, regression_slope, group_update):
        assert xp.call(function, rewards, scores).dtype == rewards.dtype
        assert xp.call(function, xp.asarray([1.0, 0.0], "float32"), scores).dtype == scores.dtype


def test_identical_scores_have_no_contrast_of_note() -> None:
    scores = np.full((3, 1), 0.1)
    rewards = np.array([1.0, 0.0, 1.0])
    exact = [Fraction(0)]
    off = oracles.excess(
        score_contrast(rewards, scores)[0], exact[0], "float64", relative_to=Fraction(0.2)
    )
    assert off <= tolerances.mean_product_ulp(3)
