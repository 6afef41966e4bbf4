"""Bad input: each documented precondition, by argument, value and rule; and a fuzz."""

from __future__ import annotations

import importlib
import math
import pickle
import warnings
from collections.abc import Callable
from fractions import Fraction
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


def test_an_error_by_keywords_travels_too() -> None:
    error = DomainError(argument="p", value=2, rule="lie in [0, 1]")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "p must lie in [0, 1]; got 2"
    assert again.args == error.args == (str(error),)


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


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_eps_may_be_a_number_of_numpy(dtype: str) -> None:
    # Compared in its own dtype, the largest float64 was infinite, with a warning.
    kind = np.dtype(dtype).type
    np.testing.assert_array_equal(
        grpo_advantages([1.0, 0.0, 0.0], eps=kind(0.5)), grpo_advantages([1.0, 0.0, 0.0], eps=0.5)
    )
    for bad in (np.inf, -1.0, np.nan):
        with pytest.raises(DomainError, match="eps must be finite, at least 0"):
            grpo_advantages([1.0, 0.0, 0.0], eps=kind(bad))


def test_eps_beyond_every_float() -> None:
    for bad in (10**400, Fraction(10**400, 3)):
        raises("eps", bad, "be finite", lambda b=bad: grpo_advantages([1.0, 0.0], eps=b))


def default_limit(xp: Backend) -> int:
    """The largest integer that the default floating dtype holds exactly with all below it."""
    return 2**24 if "float32" in str(xp.xp.asarray(0.5).dtype) else 2**53


@pytest.mark.parametrize("sign", [1, -1])
@of_rewards
def test_integer_rewards_that_would_be_rounded(xp: Backend, function, sign: int) -> None:
    largest = default_limit(xp)
    good = xp.asarray(np.array([sign * largest, sign * (largest - 1)]), "int64")
    if function is dapo_keep:
        assert bool(xp.to_numpy(xp.call(function, good)))
    if not xp.checks_values:
        return
    bad = sign * (largest + 1)
    rewards = xp.asarray(np.array([sign * largest, bad]), "int64")
    raises("rewards", bad, f"at most {largest} in magnitude", lambda: function(rewards))
    ids = xp.asarray([3, 3])
    raises("rewards", bad, "at index 1", lambda: function(rewards, groups=ids))


def test_unsigned_rewards_that_would_be_rounded(xp: Backend) -> None:
    if not xp.checks_values:
        return
    for bad in (2**53 + 1, 2**63, 2**64 - 1):
        rewards = xp.asarray(np.array([1, bad], dtype=np.uint64))
        raises("rewards", bad, "in magnitude", lambda r=rewards: dapo_keep(r))
    small = xp.asarray(np.array([0, 255], dtype=np.uint8))
    assert xp.to_numpy(dapo_keep(small))


@of_scores
def test_integers_beside_scores_that_would_be_rounded(xp: Backend, function) -> None:
    if not xp.checks_values:
        return
    wide = xp.asarray(np.array([1, 2**24 + 1]), "int64")
    narrow = xp.asarray(np.ones((2, 1)), "float32")
    raises(first_argument(function), 2**24 + 1, "float32 holds", lambda: function(wide, narrow))
    ones = xp.asarray(np.array([1.0, 0.0]), "float32")
    raises("scores", 2**24 + 1, "float32 holds", lambda: function(ones, wide[:, None]))
    if "float16" in xp.dtypes:  # computed in float32, which holds these; float16 does not
        half = xp.asarray(np.array([[1.0], [-1.0]]), "float16")
        step = group_update(xp.asarray(np.array([2049, 2047]), "int64"), half)
        assert step.dtype == half.dtype
        assert xp.to_numpy(step).tolist() == [1.0]


def test_counts_that_would_be_rounded(xp: Backend) -> None:
    if not xp.checks_values:
        return
    largest = default_limit(xp)
    count = xp.asarray(np.array([largest + 1]), "int64")
    raises("correct", largest + 1, "in magnitude", lambda: binary_std(count, largest))
    one = xp.asarray(np.array([1]), "int64")
    raises("group_size", largest + 1, "in magnitude", lambda: binary_std(one, count))
    raises("group_size", largest + 1, "from 2 to", lambda: binary_std(one, largest + 1))


def test_counts_of_python_that_would_be_rounded() -> None:
    raises("correct", 2**53 + 1, "in magnitude", lambda: binary_std(2**53 + 1, 2**53))
    raises("group_size", 2**53 + 1, "in magnitude", lambda: binary_std(1, np.array(2**53 + 1)))
    raises("correct", 2**53, "between 0 and", lambda: binary_std(2**53, 2**53 - 1))


def test_the_place_of_a_lonely_rollout_is_the_callers(xp: Backend) -> None:
    if not xp.checks_values:
        return
    for ids, index in (([5, 0, 0], 0), ([7, 9, 7, 3], 1), ([1, 1, -4], 2)):
        rewards = xp.asarray([1.0] * len(ids))
        for function in OF_REWARDS:
            with pytest.raises(DomainError, match=rf"at index {index}\)") as caught:
                function(rewards, groups=xp.asarray(ids))
            assert caught.value.value == ids[index]


@of_rewards
def test_torch_tensors_that_are_no_arrays(function) -> None:
    torch = load_or_skip("torch").xp
    for tensor in unusual_tensors(torch):
        with pytest.raises(DomainError, match=r"rewards must be a plain \(dense, strided\) tensor"):
            function(tensor)
        with pytest.raises(DomainError, match="groups must be a plain"):
            function(torch.ones(2), groups=tensor)


def unusual_tensors(torch: Any) -> list[Any]:
    """Sparse and nested ones."""
    square = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "in beta state"
        return [
            square[0].to_sparse(),
            square.to_sparse_csr(),
            torch.nested.nested_tensor([square[0], square[1]]),
            torch.nested.nested_tensor([square[0], square[1, :1]], layout=torch.jagged),
        ]


def test_bfloat16_of_numpy() -> None:
    """ml_dtypes, which comes with JAX, registers it: NumPy's finfo and promotion do not know it."""
    load_or_skip("jax")
    bfloat16 = importlib.import_module("ml_dtypes").bfloat16
    values, scores = np.array([0.25, 1.0, 0.5]), np.array([[1.0], [0.5], [-2.0]])
    narrow = values.astype(bfloat16)
    for function in OF_REWARDS:
        result = function(narrow)
        assert result.dtype in (bfloat16, np.dtype(bool))
        wanted = function(values.astype(np.float32))
        np.testing.assert_array_equal(result, wanted.astype(result.dtype))
    halves = ((narrow, np.float16), (values.astype(np.float16), bfloat16))
    for function in (group_update, regression_slope):
        for first, dtype in (*halves, (narrow, np.float32)):
            result = function(first, scores.astype(dtype))
            assert result.dtype == np.float32
            np.testing.assert_array_equal(
                result, function(values.astype(np.float32), scores.astype(np.float32))
            )
        assert function(narrow, scores.astype(bfloat16)).dtype == bfloat16
    with pytest.raises(DomainError, match="that bfloat16 can hold"):
        rloo_advantages(np.array([3e38, -3e38]).astype(bfloat16))


def test_two_half_precisions_make_float32(xp: Backend) -> None:
    if "bfloat16" not in xp.dtypes:
        return
    weights, scores = xp.asarray([0.5, -0.5], "bfloat16"), xp.asarray([[1.0], [3.0]], "float16")
    result = xp.call(group_update, weights, scores)
    assert "float32" in str(result.dtype)
    assert xp.to_numpy(result).tolist() == [-0.5]


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
