"""GRPO, Dr. GRPO and RLOO advantages: values against exact oracles, on every backend."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.groups import dr_grpo_advantages, group_std, grpo_advantages, rloo_advantages
from tests import oracles, strategies, tolerances
from tests.backends import Backend
from tests.identity.grouping import assert_all_zero, assert_close, computed, exactly

EPSILONS = (1e-4, 1e-6, 1e-9)
METHODS = (grpo_advantages, dr_grpo_advantages, rloo_advantages)
ORACLES = {
    grpo_advantages: oracles.grpo,
    dr_grpo_advantages: oracles.dr_grpo,
    rloo_advantages: oracles.rloo,
}
REAL_BOUNDS = {
    grpo_advantages: tolerances.grpo_ulp,
    dr_grpo_advantages: tolerances.centred_ulp,
    rloo_advantages: tolerances.centred_ulp,
}
BINARY_BOUNDS = {
    grpo_advantages: tolerances.BINARY_GRPO_ULP,
    dr_grpo_advantages: tolerances.BINARY_CENTRED_ULP,
    rloo_advantages: tolerances.BINARY_CENTRED_ULP,
}
method = pytest.mark.parametrize("method", METHODS)


@method
@given(data=st.data())
def test_binary_rewards(xp: Backend, data: st.DataObject, method) -> None:
    rewards = data.draw(strategies.binary_rewards(xp))
    dtype = data.draw(strategies.dtypes(xp))
    exact = ORACLES[method](oracles.fractions(rewards))
    actual = xp.to_numpy(xp.call(method, xp.asarray(rewards, dtype)))
    assert_close(xp, actual, exact, dtype, BINARY_BOUNDS[method])


@method
@given(data=st.data())
def test_real_rewards(xp: Backend, data: st.DataObject, method) -> None:
    dtype = data.draw(strategies.dtypes(xp))
    rewards = data.draw(strategies.rewards(xp, dtype))
    exact = ORACLES[method](exactly(xp, rewards, dtype))
    actual = computed(xp, method, [xp.asarray(rewards, dtype)], dtype, exact)
    bound = REAL_BOUNDS[method](len(rewards))
    assert_close(xp, actual, exact, dtype, bound, relative_to=oracles.largest(exact))


@given(data=st.data(), ddof=st.sampled_from([0, 1]), eps=st.sampled_from([0.0, *EPSILONS, 2.0]))
def test_as_implemented(xp: Backend, data: st.DataObject, ddof: int, eps: float) -> None:
    dtype = data.draw(strategies.dtypes(xp))
    rewards = data.draw(strategies.rewards(xp, dtype))
    rounded = Fraction(eps if dtype == "float64" else float(np.float32(eps)))
    exact = oracles.grpo(exactly(xp, rewards, dtype), ddof, rounded)
    actual = computed(
        xp, grpo_advantages, [xp.asarray(rewards, dtype)], dtype, exact, ddof=ddof, eps=eps
    )
    bound = tolerances.grpo_ulp(len(rewards))
    assert_close(xp, actual, exact, dtype, bound, relative_to=oracles.largest(exact))


@pytest.mark.parametrize("eps", [1e-30, 1e-6, 2.0, 1e7, 1e30])
def test_eps_far_above_the_spread(xp: Backend, eps: float) -> None:
    # eps/std beyond the largest float: the advantages are still normal numbers, or close to it.
    for unit in (2.0**-102, 2.0**-90, 2.0**-70, 2.0**-65, 2.0**-30):
        rewards = [unit] * 8 + [unit * (1 + 2.0**-23)]
        for row in (rewards, [0.0, unit, unit]):
            exact = oracles.grpo(exactly(xp, row, "float32"), 0, Fraction(float(np.float32(eps))))
            result = xp.call(grpo_advantages, xp.asarray(row, "float32"), eps=eps)
            bound, scale = tolerances.grpo_ulp(len(row)), oracles.largest(exact)
            assert_close(xp, xp.to_numpy(result), exact, "float32", bound, relative_to=scale)


@pytest.mark.parametrize("eps", EPSILONS)
@given(data=st.data(), ddof=st.sampled_from([0, 1]))
def test_as_implemented_binary(xp: Backend, data: st.DataObject, ddof: int, eps: float) -> None:
    rewards = data.draw(strategies.binary_rewards(xp))
    dtype = data.draw(strategies.dtypes(xp))
    rounded = Fraction(eps if dtype == "float64" else float(np.float32(eps)))
    exact = oracles.grpo(oracles.fractions(rewards), ddof, rounded)
    result = xp.call(grpo_advantages, xp.asarray(rewards, dtype), ddof=ddof, eps=eps)
    assert_close(xp, xp.to_numpy(result), exact, dtype, tolerances.BINARY_GRPO_EPS_ULP)


@method
@given(data=st.data())
def test_ragged_groups(xp: Backend, data: st.DataObject, method) -> None:
    dtype = data.draw(strategies.dtypes(xp))
    rewards, ids = data.draw(strategies.ragged(xp, dtype))
    seen = exactly(xp, rewards, dtype)
    places = {g: [n for n, i in enumerate(ids) if i == g] for g in ids}
    exact: list[oracles.Number] = [Fraction(0)] * len(ids)
    scale: list[oracles.Number] = list(exact)
    for members in places.values():
        values = ORACLES[method]([seen[n] for n in members])
        for n, value in zip(members, values, strict=True):
            exact[n], scale[n] = value, oracles.largest(values)
    arrays = [xp.asarray(rewards, dtype)]
    group_ids = xp.asarray(np.array(ids, dtype=np.int64))
    actual = computed(xp, method, arrays, dtype, exact, groups=group_ids)
    bound = REAL_BOUNDS[method](max(len(members) for members in places.values()))
    assert_close(xp, actual, exact, dtype, bound, relative_to=scale)


@method
@pytest.mark.parametrize("group_size", [2, 3, 8, 33])
def test_unanimous_groups_have_no_advantage(xp: Backend, group_size: int, method) -> None:
    for dtype in xp.dtypes:
        largest = float(oracles.largest_float(dtype))
        tiny = float(oracles.ulp(0, dtype))
        values = (0.0, 0.1, 1 / 3, 0.7, 1.0, -2.3, largest, -largest, tiny)
        rewards = [[strategies.round_to(v, dtype)] * group_size for v in values]
        array = xp.asarray(rewards, dtype)
        assert_all_zero(xp.to_numpy(xp.call(method, array)))
        if method is grpo_advantages:
            # Each is compiled anew under jit, where random groups meet all of them.
            for eps in EPSILONS[:1] if xp.name == "jax-jit" else EPSILONS:
                result = xp.call(method, array, eps=eps, ddof=1)
                assert_all_zero(xp.to_numpy(result))


def test_the_naive_formula_fails_where_ours_does_not() -> None:
    # groups.unanimous-rounding: eight float32 rewards of 0.1 under (R − mean)/(std + eps).
    rewards = np.full(8, 0.1, dtype=np.float32)
    sequential = np.float32(0)
    for reward in rewards:
        sequential = np.float32(sequential + reward)
    deviation = rewards - np.float32(sequential / np.float32(8))
    assert (deviation != 0).all()
    for eps in EPSILONS:
        naive = deviation / (np.sqrt(np.mean(deviation**2)) + np.float32(eps))
        assert (naive != 0).all()
        assert_all_zero(grpo_advantages(rewards, eps=eps))


def test_integer_and_bool_rewards_take_the_default_float(xp: Backend) -> None:
    expected = [[1.0, -1.0], [0.0, 0.0]]
    default = xp.xp.asarray(0.5).dtype
    for dtype in ("int8", "int64", "uint8", "bool"):
        result = xp.call(grpo_advantages, xp.asarray([[1, 0], [1, 1]], dtype))
        assert result.dtype == default
        assert xp.to_numpy(result).tolist() == expected


@given(data=st.data())
def test_two_rollouts_make_rloo_grpo(xp: Backend, data: st.DataObject) -> None:
    rewards = data.draw(st.lists(st.integers(0, 1), min_size=2, max_size=2))
    array = xp.asarray(rewards, data.draw(strategies.dtypes(xp)))
    np.testing.assert_array_equal(
        xp.to_numpy(xp.call(rloo_advantages, array)), xp.to_numpy(xp.call(grpo_advantages, array))
    )


@given(
    rewards=st.lists(st.integers(-1000, 1000), min_size=2, max_size=40),
    shift=st.integers(-(2**30), 2**30),
    power=st.integers(-20, 20),
)
def test_baseline_invariance_is_exact_where_arithmetic_is(
    rewards: list[int], shift: int, power: int
) -> None:
    # An exact shift and an exact factor: same offsets from the anchor, same bits.
    values = np.array(rewards, dtype=np.float64)
    plain = grpo_advantages(values)
    np.testing.assert_array_equal(grpo_advantages(values + shift), plain)
    np.testing.assert_array_equal(grpo_advantages(np.ldexp(values, power)), plain)
    np.testing.assert_array_equal(grpo_advantages(-values), -plain)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_binade(xp: Backend, dtype: str) -> None:
    # One batch that sweeps the exponents, so that each power-of-two rule is met on both sides.
    info = np.finfo(dtype)
    near = 1 + np.array([0, 1, 3]) * info.eps
    shapes = np.array([near, near[::-1], [1, 0, 0], [-1, 1, 0.5]], dtype=dtype)
    powers = np.arange(info.minexp, info.maxexp - 1, 1 if dtype == "float32" else 7)
    rewards = np.concatenate([np.ldexp(shape, powers[:, None]) for shape in shapes])
    array = xp.asarray(rewards, dtype)
    stds = xp.to_numpy(xp.call(group_std, array))
    advantages = xp.to_numpy(xp.call(grpo_advantages, array))
    # And again as thousands of small ragged groups, where G/P is small.
    flat = xp.asarray(rewards.ravel(), dtype)
    ids = xp.asarray(np.repeat(np.arange(len(rewards)), 3))
    ragged = xp.to_numpy(xp.call(group_std, flat, ddof=1, groups=ids))[::3]
    for row, std, ragged_std, values in zip(rewards, stds, ragged, advantages, strict=True):
        seen = exactly(xp, row.tolist(), dtype)
        for ddof, got in enumerate((std, ragged_std)):
            wanted = [oracles.std(seen, ddof)]
            assert_close(xp, np.array([got]), wanted, dtype, tolerances.std_ulp(3))
        exact = oracles.grpo(seen)
        largest = oracles.largest(exact)
        assert_close(xp, values, exact, dtype, tolerances.grpo_ulp(3), relative_to=largest)


@method
def test_batches_are_groups_of_their_own(xp: Backend, method) -> None:
    rewards = np.random.default_rng(0).normal(size=(2, 3, 8))
    batched = xp.to_numpy(xp.call(method, xp.asarray(rewards, "float64")))
    for i in range(2):
        for j in range(3):
            exact = ORACLES[method](oracles.fractions(rewards[i, j]))
            bound = REAL_BOUNDS[method](8)
            scale = oracles.largest(exact)
            assert_close(xp, batched[i, j], exact, "float64", bound, relative_to=scale)


def test_memory_and_size_of_ragged_groups() -> None:
    # 50,000 groups: anything of N × groups would need 40 GB here.
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.repeat(np.arange(50_000), 2))
    rewards = rng.integers(0, 2, size=ids.size)
    advantages = grpo_advantages(rewards, groups=ids)
    order = np.argsort(ids, kind="stable")
    expected = grpo_advantages(rewards[order].reshape(-1, 2)).ravel()
    np.testing.assert_array_equal(advantages[order], expected)


def test_one_ragged_group_of_everything() -> None:
    rewards = np.random.default_rng(0).normal(size=1000)
    exact = oracles.grpo(oracles.fractions(rewards))
    actual = grpo_advantages(rewards, groups=np.full(1000, 7))
    off = [
        oracles.excess(a, e, "float64", relative_to=oracles.largest(exact))
        for a, e in zip(actual, exact, strict=True)
    ]
    assert max(off) <= tolerances.grpo_ulp(1000)


def test_input_is_left_alone() -> None:
    rewards = np.array([1.0, 0.0, 0.5])
    kept = rewards.copy()
    grpo_advantages(rewards)
    rloo_advantages(rewards, groups=np.array([1, 1, 1]))
    np.testing.assert_array_equal(rewards, kept)
