"""Bad input: each documented precondition, by argument, value and rule; and a fuzz."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity import DomainError
from identity.groups import (
    binary_std,
    dapo_keep,
    dr_grpo_advantages,
    group_std,
    group_update,
    grpo_advantages,
    regression_slope,
    rloo_advantages,
    score_contrast,
)
from tests.backends import Backend, load_or_skip

OF_REWARDS = (group_std, grpo_advantages, dr_grpo_advantages, rloo_advantages, dapo_keep)
OF_SCORES = (group_update, score_contrast, regression_slope)
of_rewards = pytest.mark.parametrize("function", OF_REWARDS)
of_scores = pytest.mark.parametrize("function", OF_SCORES)


def raises(argument: str, value: object, rule: str, call: Callable[[], Any]) -> None:
    """The call raises for this argument, with this value, and a rule that says this."""
    with pytest.raises(DomainError) as caught:
        call()
    error = caught.value
    assert error.argument == argument
    if isinstance(value, float) and math.isnan(value):
        assert math.isnan(error.value)
    else:
        assert error.value == value
    assert rule in error.rule
    assert argument in str(error)
    assert rule in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (again.argument, again.rule) == (error.argument, error.rule)


def first_argument(function: Callable[..., Any]) -> str:
    return "advantages" if function is group_update else "rewards"


@of_rewards
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_rewards_must_be_finite(xp: Backend, function, bad: float) -> None:
    if not xp.checks_values:
        xp.call(function, xp.asarray([1.0, bad, 0.0]))  # documented: values are not looked at
        return
    rewards = xp.asarray([[1.0, 0.0], [bad, 0.0]])
    raises("rewards", bad, "be finite", lambda: xp.call(function, rewards))
    with pytest.raises(DomainError, match=r"at index \(1, 0\)"):
        xp.call(function, rewards)


@of_rewards
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 1), (3, 0), (0, 2)])
def test_groups_must_hold_two(xp: Backend, function, shape: tuple[int, ...]) -> None:
    rule = "not be empty" if shape == (0, 2) else "at least two rollouts"
    raises("rewards", shape, rule, lambda: function(xp.asarray(np.zeros(shape))))


@of_rewards
def test_rewards_must_be_real_numbers(function) -> None:
    for bad in (np.array([1j, 0]), np.array(["a", "b"]), np.array([object(), 1]), [1, None]):
        with pytest.raises(DomainError, match="rewards must have dtype"):
            function(bad)
    for bad in ([[1.0], [1.0, 2.0]], "ab", None, object()):
        with pytest.raises(DomainError, match="rewards must"):
            function(bad)
    with pytest.raises(DomainError, match="plain array"):
        function(np.ma.masked_array([1.0, 0.0], mask=[True, False]))


@of_rewards
def test_groups_argument(xp: Backend, function) -> None:
    rewards = xp.asarray([1.0, 0.0, 1.0])

    def call(values: Any, groups: Any) -> Callable[[], Any]:
        return lambda: function(values, groups=groups)

    raises("groups", (2,), "have the shape", call(rewards, xp.asarray([1, 1])))
    raises("groups", "bool", "integer ids", call(rewards, xp.asarray([True, True, True])))
    ids = xp.asarray([0.0, 0.0, 0.0], "float32")
    raises("groups", "float32", "integer ids", call(rewards, ids))
    raises("rewards", (1, 3), "be flat", call(xp.asarray([[1.0, 0, 1]]), xp.asarray([[1, 1, 1]])))
    raises("rewards", (1,), "two rollouts", call(xp.asarray([1.0]), xp.asarray([1])))
    raises("rewards", (0,), "two rollouts", call(xp.asarray(np.zeros(0)), xp.asarray([1])))
    lonely = xp.asarray([4, 9, 4])
    if xp.checks_values:
        raises("groups", 9, "at least twice", call(rewards, lonely))
    result = call(rewards, xp.asarray([4, 4, 4]))()
    assert tuple(result.shape) == (3,)


@of_rewards
def test_a_lonely_rollout_under_tracing_gives_zero(xp: Backend, function) -> None:
    if xp.checks_values:
        return
    result = xp.call(function, xp.asarray([1.0, 5.0, 0.0]), groups=xp.asarray([4, 9, 4]))
    assert xp.to_numpy(result)[1] == 0.0


@pytest.mark.parametrize("ddof", [2, -1, 0.0, 1.0, 0.5, True, None, "1", np.array([0, 1])])
def test_ddof_is_zero_or_one(ddof: Any) -> None:
    for function in (group_std, grpo_advantages):
        with pytest.raises(DomainError, match=r"ddof must be one of \(0, 1\)"):
            function(np.array([1.0, 0.0]), ddof=ddof)


@pytest.mark.parametrize("eps", [-1e-9, math.nan, math.inf, -math.inf, 1e39])
def test_eps_is_finite_and_not_negative(xp: Backend, eps: float) -> None:
    rewards = xp.asarray([1.0, 0.0], "float32")
    raises("eps", eps, "be finite, at least 0", lambda: grpo_advantages(rewards, eps=eps))


@pytest.mark.parametrize("eps", [True, None, "1e-6", 1j, np.array(1e-6), [1e-6]])
def test_eps_is_a_number(eps: Any) -> None:
    with pytest.raises(DomainError, match="eps must be a Python number"):
        grpo_advantages(np.array([1.0, 0.0]), eps=eps)


def test_binary_std_counts(xp: Backend) -> None:
    if not xp.checks_values:
        return
    raises("correct", 5, "between 0 and", lambda: binary_std(xp.asarray([1, 5]), 4))
    raises("correct", -1, "between 0 and", lambda: binary_std(xp.asarray([1, -1]), 4))
    raises("correct", 1.5, "whole numbers", lambda: binary_std(xp.asarray([1, 1.5]), 4))
    raises("correct", math.nan, "be finite", lambda: binary_std(xp.asarray([1, math.nan]), 4))
    counts = xp.asarray([1, 1])
    raises("group_size", 1, "be an integer from 2", lambda: binary_std(counts, 1))
    raises("group_size", 1, "from 2", lambda: binary_std(counts, xp.asarray([2, 1])))
    raises("group_size", 2.5, "whole", lambda: binary_std(counts, xp.asarray([2, 2.5])))
    raises("group_size", 2**60, "from 2 to", lambda: binary_std(counts, 2**60))
    raises("group_size", (3,), "match correct", lambda: binary_std(counts, xp.asarray([2, 2, 2])))
    raises("group_size", (0,), "match correct", lambda: binary_std(counts, xp.asarray([])))
    raises("correct", (0,), "not be empty", lambda: binary_std(xp.asarray([]), 4))


@pytest.mark.parametrize("size", [True, None, "4", 4.5, math.nan])
def test_binary_std_group_size_is_a_count(size: Any) -> None:
    with pytest.raises(DomainError, match="group_size must"):
        binary_std([1, 2], size)


@of_scores
def test_scores_follow_the_groups(xp: Backend, function) -> None:
    rewards = xp.asarray([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    name = first_argument(function)
    for shape in ((3, 2), (2,), (), (2, 3, 4), (1, 2, 4), (3, 1, 4), (3, 2, 4, 1), (2, 4)):
        scores = xp.asarray(np.zeros(shape))
        raises("scores", shape, f"{name}.shape + (D,)", lambda s=scores: function(rewards, s))
    raises(
        "scores", (3, 2, 0), "be empty", lambda: function(rewards, xp.asarray(np.zeros((3, 2, 0))))
    )
    raises(name, (1,), "two rollouts", lambda: function(xp.asarray([1.0]), xp.asarray([[1.0]])))


@of_scores
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_must_be_finite(xp: Backend, function, bad: float) -> None:
    if not xp.checks_values:
        return
    good = xp.asarray([1.0, 0.0])
    name = first_argument(function)
    scores = xp.asarray([[1.0, 2.0], [3.0, bad]])
    raises("scores", bad, "be finite", lambda: function(good, scores))
    raises(name, bad, "be finite", lambda: function(xp.asarray([1.0, bad]), scores))


def test_contrast_takes_binary_rewards(xp: Backend) -> None:
    if not xp.checks_values:
        return
    scores = xp.asarray([[1.0], [2.0], [3.0]])
    rewards = xp.asarray([1.0, 0.0, 0.5])
    raises("rewards", 0.5, "be 0 or 1", lambda: score_contrast(rewards, scores))
    raises("rewards", 2, "be 0 or 1", lambda: score_contrast(xp.asarray([1, 0, 2]), scores))


def test_two_libraries_do_not_mix(xp: Backend) -> None:
    if xp.library == "numpy":
        return
    scores = xp.asarray([[1.0], [2.0]])
    for function in OF_SCORES:
        with pytest.raises(DomainError, match="come from the same array library"):
            function(np.array([1.0, 0.0]), scores)
    with pytest.raises(DomainError, match="groups must come from the same array library"):
        grpo_advantages(xp.asarray([1.0, 0.0]), groups=np.array([1, 1]))
    # A sequence has no library of its own.
    assert type(grpo_advantages(xp.asarray([1.0, 0.0]), groups=[1, 1])) is type(scores)


def test_two_devices_do_not_mix() -> None:
    torch = load_or_skip("torch").xp
    elsewhere = torch.zeros((2, 1), device="meta")
    with pytest.raises(DomainError, match=r"scores must lie on the device of rewards \(cpu\)"):
        score_contrast(torch.asarray([1.0, 0.0]), elsewhere)


def test_results_that_the_dtype_cannot_hold(xp: Backend) -> None:
    for dtype, largest in (("float32", np.finfo(np.float32).max), ("float64", np.finfo("f8").max)):
        rewards = xp.asarray([float(largest), -float(largest), -float(largest)], dtype)
        for function, options in (
            (group_std, {"ddof": 1}),
            (dr_grpo_advantages, {}),
            (rloo_advantages, {}),
        ):
            if not xp.checks_values:
                assert not np.isnan(xp.to_numpy(xp.call(function, rewards, **options))).any()
                continue
            with pytest.raises(DomainError, match="rewards must give a result that"):
                xp.call(function, rewards, **options)


# --- fuzz: nothing but DomainError or finite results ---------------------------------------------

_NUMBERS = st.one_of(
    st.floats(width=64),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.sampled_from([0, 1, 0.1, 5e-324, 1.7976931348623157e308]),
)
_SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
_DTYPES = st.sampled_from(
    ["float16", "float32", "float64", "int8", "int64", "uint8", "uint64", "bool", "complex128"]
)


@st.composite
def _arrays(draw: st.DrawFn) -> np.ndarray:
    shape, dtype = draw(_SHAPES), draw(_DTYPES)
    size = math.prod(shape)
    values = draw(
        st.lists(st.floats(width=64) | st.sampled_from([0.0, 1.0]), min_size=size, max_size=size)
    )
    with np.errstate(all="ignore"):
        return np.array(values, dtype=np.float64).reshape(shape).astype(dtype)


_ANYTHING = st.one_of(
    _arrays(),
    _NUMBERS,
    st.lists(_NUMBERS, max_size=4),
    st.lists(st.lists(_NUMBERS, max_size=3), max_size=3),
    st.none(),
    st.text(max_size=3),
)


def _outcome(xp: Backend, function: Callable[..., Any], *args: Any, **options: Any) -> None:
    try:
        result = function(*args, **options)
    except DomainError:
        return
    values = xp.to_numpy(result)
    assert np.isfinite(values).all(), (args, options, values)


def _on(xp: Backend, value: Any) -> Any:
    """A NumPy value on the backend, where it has the dtype."""
    if not isinstance(value, np.ndarray) or xp.library == "numpy":
        return value
    if value.dtype == np.complex128 and xp.library == "array":
        return xp.xp.asarray(value)
    return xp.asarray(value) if value.dtype != np.float16 or xp.library != "array" else value


@pytest.mark.parametrize("function", [*OF_REWARDS, *OF_SCORES, binary_std])
@given(data=st.data())
def test_fuzz(xp: Backend, function, data: st.DataObject) -> None:
    if not xp.checks_values or xp.compiled:
        return
    first = _on(xp, data.draw(_ANYTHING))
    if function in OF_REWARDS:
        options: dict[str, Any] = {}
        if data.draw(st.booleans()):
            options["groups"] = _on(xp, data.draw(_ANYTHING))
        if function in (group_std, grpo_advantages) and data.draw(st.booleans()):
            options["ddof"] = data.draw(_NUMBERS | st.none())
        if function is grpo_advantages and data.draw(st.booleans()):
            options["eps"] = data.draw(_NUMBERS | st.none())
        _outcome(xp, function, first, **options)
    else:
        _outcome(xp, function, first, _on(xp, data.draw(_ANYTHING)))


@pytest.mark.parametrize("function", OF_REWARDS)
@given(data=st.data())
def test_fuzz_near_the_domain(xp: Backend, function, data: st.DataObject) -> None:
    """Well-shaped input, so that the fuzz reaches the arithmetic."""
    if not xp.checks_values or xp.compiled:
        return
    dtype = data.draw(st.sampled_from(xp.dtypes))
    size = data.draw(st.integers(2, 6))
    rewards = data.draw(
        st.lists(
            st.floats(width=64) | st.sampled_from([0.0, 0.1, 1.0]), min_size=size, max_size=size
        )
    )
    with np.errstate(all="ignore"):
        array = xp.asarray(np.array(rewards), dtype)
    options: dict[str, Any] = {}
    if data.draw(st.booleans()):
        ids = data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
        options["groups"] = xp.asarray(ids)
    _outcome(xp, function, array, **options)
