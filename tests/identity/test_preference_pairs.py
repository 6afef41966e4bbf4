"""Steps made of pairs, against exact sums over pairs on every backend."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.groups import group_std, group_update, grpo_advantages, score_contrast
from identity.preference import expected_advantage, pairwise_update, two_grpo_update
from tests import oracles, strategies, tolerances
from tests.backends import Backend, load_or_skip
from tests.identity import preference_oracle as oracle
from tests.identity.grouping import assert_all_zero, assert_close, computed, exactly

ddofs = pytest.mark.parametrize("ddof", [0, 1])


@pytest.fixture(scope="module", params=["numpy", "torch", "jax-jit"])
def lib(request: pytest.FixtureRequest) -> Backend:
    """For what needs no full round: one backend of each library, each call compiled once."""
    return load_or_skip(request.param)


def columns(xp: Backend, scores: list[list[float]], dtype: str) -> list[list[Fraction]]:
    return [exactly(xp, column, dtype) for column in zip(*scores, strict=True)]


@given(data=st.data(), ddof=st.sampled_from([0, 1]))
def test_two_grpo(xp: Backend, data: st.DataObject, ddof: int) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    element = st.one_of(strategies.usual_floats(dtype), strategies.finite_floats(dtype))
    rewards = data.draw(st.lists(element, min_size=2, max_size=2))
    value = st.one_of(strategies.usual_floats(dtype), strategies.finite_floats(dtype))
    scores = data.draw(st.lists(st.lists(value, min_size=2, max_size=2), min_size=2, max_size=2))
    seen = exactly(xp, rewards, dtype)
    exact = [oracle.two_grpo(seen, c, ddof) for c in columns(xp, scores, dtype)]
    arrays = [xp.asarray(rewards, dtype), xp.asarray(scores, dtype)]
    actual = computed(xp, two_grpo_update, arrays, dtype, exact, ddof=ddof)
    if seen[0] == seen[1]:
        assert_all_zero(actual)
    assert_close(xp, actual, exact, dtype, tolerances.PAIR_ULP[ddof])


@ddofs
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_grpo_is_grpo(dtype: str, ddof: int) -> None:
    """The advantages and the update of identity.groups, put together, as a batch."""
    rng = np.random.default_rng(0)
    rewards = np.concatenate([rng.normal(size=(3, 2)), [[1, 0], [0, 1], [1, 1], [0.1, 0.1]]])
    r, s = rewards.astype(dtype), rng.normal(size=(7, 2, 3)).astype(dtype)
    ours = two_grpo_update(r, s, ddof=ddof)
    theirs = group_update(grpo_advantages(r, ddof=ddof), s)
    bound = tolerances.mean_product_ulp(2) + tolerances.grpo_ulp(2)
    assert (np.abs(ours - theirs) <= bound * np.spacing(np.abs(s).sum(axis=1))).all()
    assert_all_zero(ours[-2:])


def test_only_the_order_of_two_rewards_matters(lib: Backend) -> None:
    scores = lib.asarray([[3.0, -1.0], [1.0, 5.0]], "float64")
    for better, worse in ((1.0, 0.0), (1e-300, -1e300), (0.1, np.nextafter(0.1, 0)), (1e9, 1e-9)):
        for pair, sign in (([better, worse], 1.0), ([worse, better], -1.0)):
            step = lib.to_numpy(lib.call(two_grpo_update, lib.asarray(pair, "float64"), scores))
            assert step.tolist() == [sign * 1.0, sign * -3.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_scores_do_not_overflow(lib: Backend, dtype: str) -> None:
    largest = float(oracles.largest_float(dtype))
    scores = lib.asarray([[largest, 1.0], [-largest, 0.0]], dtype)
    rewards = lib.asarray([1.0, 0.0], dtype)
    step = lib.to_numpy(lib.call(two_grpo_update, rewards, scores))
    assert step.tolist() == [largest, 0.5]
    step = lib.to_numpy(lib.call(pairwise_update, rewards, scores))
    assert step[0] == pytest.approx(largest, rel=tolerances.FOUR_DIGITS)


def test_small_integer_rewards_and_bools(lib: Backend) -> None:
    for dtype in lib.dtypes:
        scores = lib.asarray([[1.0, 0.0], [0.0, 2.0]], dtype)
        for rewards in (lib.asarray([1, 0], "int32"), lib.asarray([True, False])):
            for function in (two_grpo_update, pairwise_update):
                step = lib.call(function, rewards, scores)
                assert step.dtype == scores.dtype
                assert lib.to_numpy(step).tolist() == [0.5, -1.0]


@given(data=st.data())
def test_pairwise(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    one_size = st.lists(st.integers(0, 1), min_size=4, max_size=4)  # where each is compiled
    rewards = data.draw(one_size if xp.compiled else strategies.binary_rewards(xp))
    scores = data.draw(strategies.vectors(dtype, len(rewards)))
    results = [oracle.pairwise(rewards, c) for c in columns(xp, scores, dtype)]
    exact, scale = ([r[i] for r in results] for i in (0, 1))
    arrays = [xp.asarray(rewards, dtype), xp.asarray(scores, dtype)]
    actual = computed(xp, pairwise_update, arrays, dtype, exact)
    if sum(rewards) in (0, len(rewards)):
        assert_all_zero(actual)
        return
    bound = tolerances.pairwise_ulp(len(rewards))
    assert_close(xp, actual, exact, dtype, bound, relative_to=scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("group_size", [2, 3, 8, 33])
def test_pairwise_is_grpo_for_every_count(group_size: int, dtype: str) -> None:
    """preference.all-groups: all k at once; σΔs, the GRPO step, and at G = 2 two_grpo_update."""
    rng = np.random.default_rng(group_size)
    r = (np.arange(group_size) < np.arange(group_size + 1)[:, None]).astype(dtype)
    s = rng.normal(size=(group_size + 1, group_size, 3)).astype(dtype)
    ours = pairwise_update(r, s)
    assert_all_zero(ours[[0, -1]])
    others = [group_update(grpo_advantages(r), s), group_std(r)[:, None] * score_contrast(r, s)]
    if group_size == 2:
        others.append(two_grpo_update(r, s))
    reach = np.abs(s).sum(axis=1)  # no advantage exceeds √G < G
    bound = tolerances.IDENTITY_SPREAD * tolerances.pairwise_ulp(group_size)
    for other in others:
        assert (np.abs(ours - other) <= bound * np.spacing(reach)).all()


def test_wrong_prefactors_are_refused() -> None:
    """1/(k(G−k)), the mean contrast, and 1/G² are not the step."""
    rewards, column = [1, 0, 0, 1, 0], oracles.fractions([1.0, 2.5, -1.0, 4.0, 0.25])
    exact, scale = oracle.pairwise(rewards, column)
    got = pairwise_update(rewards, np.array([[float(c)] for c in column]))[0]
    root = mpmath.sqrt(6)
    for factor in (5 / root, root / 5, root, mpmath.mpf(1) / 2, -1):
        off = oracles.excess(got, exact * factor, "float64", relative_to=scale)
        assert off > tolerances.pairwise_ulp(5)
    assert oracles.excess(got, exact, "float64", relative_to=scale) <= tolerances.pairwise_ulp(5)


def test_all_pairs_at_once_in_linear_memory() -> None:
    """2^17 rollouts: a matrix of pairs would take 32 GiB."""
    size = 2**17
    rng = np.random.default_rng(0)
    rewards = rng.integers(0, 2, size=size)
    scores = rng.normal(size=(size, 1))
    step = pairwise_update(rewards, scores)
    expected = group_std(rewards) * score_contrast(rewards, scores)
    assert abs(step - expected) <= size * np.spacing(np.abs(scores).mean())


@strategies.in_rows
@given(data=st.data(), group_size=st.sampled_from([2, None]))
def test_expected_advantage(xp: Backend, data: st.DataObject, group_size: int | None) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    inside = st.floats(2.0**-14, 1 - 2.0**-8).map(lambda p: strategies.round_to(p, dtype))
    p = data.draw(st.lists(inside, min_size=strategies.ROWS, max_size=strategies.ROWS))
    rewards = data.draw(
        st.lists(st.integers(0, 1), min_size=strategies.ROWS, max_size=strategies.ROWS)
    )
    exact: list[oracles.Number] = []
    for probability, r in zip(oracles.fractions(p), rewards, strict=True):
        with mpmath.workdps(tolerances.ORACLE_DIGITS):
            unit = 1 if group_size else oracles.sqrt(probability * (1 - probability))
            exact.append(oracles.to_mpf(r - probability) / unit)
    arrays = [xp.asarray(p, dtype), xp.asarray(rewards, dtype)]
    actual = xp.call(expected_advantage, *arrays, group_size=group_size)
    assert actual.dtype == arrays[0].dtype
    bound = tolerances.ADVANTAGE_ULP[group_size]
    assert_close(xp, xp.to_numpy(actual), exact, dtype, bound)


@pytest.mark.parametrize("p", [Fraction(1, 8), Fraction(1, 2), Fraction(7, 8)])
def test_expected_advantage_is_the_mean_over_groups(p: Fraction) -> None:
    """All outcomes of the rest of the group, with advantages from identity.groups."""
    for reward in (0, 1):
        total = Fraction(0)
        for other in (0, 1):
            chance = p if other else 1 - p
            total += chance * Fraction(float(grpo_advantages([reward, other])[0]))
        assert expected_advantage(float(p), reward) == total
    # Towards the limit: at G = 512 the mean is within 1/G of it, relative.
    size, q = 512, 1 - p
    for reward in (0, 1):
        mean = mpmath.mpf(0)
        for others in range(size):
            k = others + reward
            if 0 < k < size:
                ratio = Fraction(size - k, k) if reward else Fraction(k, size - k)
                chance = mpmath.binomial(size - 1, others) * oracles.to_mpf(p) ** others
                chance *= oracles.to_mpf(q) ** (size - 1 - others)
                mean += (1 if reward else -1) * chance * mpmath.sqrt(oracles.to_mpf(ratio))
        limit = float(expected_advantage(float(p), reward, group_size=None))
        assert abs(mean / limit - 1) <= 4 / float(size * p * q)


def test_expected_advantage_at_the_ends(lib: Backend) -> None:
    p, r = (
        lib.asarray([0.0, 0.0, 1.0, 1.0], "float64"),
        lib.asarray([0.0, 1.0, 0.0, 1.0], "float64"),
    )
    assert lib.to_numpy(lib.call(expected_advantage, p, r)).tolist() == [0.0, 1.0, -1.0, 0.0]
