"""identity.preference: bad input, by argument, value and rule; examples, imports and links."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity import DomainError, preference
from identity.preference import (
    budget_variance,
    contrast_gain,
    discard_rate,
    dpo_gradient_weight,
    dpo_loss,
    expected_advantage,
    mean_discard_rate,
    optimal_contrast,
    pairwise_update,
    two_grpo_update,
)
from tests.backends import Backend, load_or_skip
from tests.identity.test_groups_errors import raises, unusual_tensors

LOG_PROBABILITIES = ("logp_chosen", "logp_rejected", "ref_chosen", "ref_rejected")
UPDATES = (two_grpo_update, pairwise_update)
updates = pytest.mark.parametrize("function", UPDATES)
NO_NUMBERS = ("ab", None, object(), [1.0, None], [[1.0], [1.0, 2.0]], 0.5j)


@pytest.fixture(scope="module", params=["numpy", "array-api-strict", "torch", "jax"])
def lib(request: pytest.FixtureRequest) -> Backend:
    """Where values are seen."""
    return load_or_skip(request.param)


def one_bad(name: str, good: Any, bad: Any, beta: float = 1.0) -> Callable[[], Any]:
    """dpo_loss with one argument that is not like the others."""
    return lambda: dpo_loss(**(dict.fromkeys(LOG_PROBABILITIES, good) | {name: bad}), beta=beta)


@pytest.mark.parametrize("name", LOG_PROBABILITIES)
def test_log_probabilities(lib: Backend, name: str) -> None:
    good = lib.asarray([-1.0, -2.0], "float32")
    for bad in (-math.inf, math.inf, math.nan):
        raises(name, bad, "be finite", one_bad(name, good, lib.asarray([-1.0, bad], "float32")))
    if name != "logp_chosen":
        for shape in ((), (1,), (3,), (1, 2), (2, 1), (2, 2)):
            bad_shape = lib.asarray(np.zeros(shape), "float32")
            raises(name, shape, "shape of logp_chosen", one_bad(name, good, bad_shape))
    wide = lib.asarray(np.array([0, 2**24 + 1]), "int64")
    raises(name, 2**24 + 1, "float32 holds exactly", one_bad(name, good, wide))


def test_no_array_is_stretched_over_a_number() -> None:
    with pytest.raises(DomainError, match=r"ref_chosen must have the shape of logp_chosen, \(2,\)"):
        dpo_loss([-1.0, -2.0], [-1.0, -2.0], 0.0, 0.0, beta=1.0)
    raises("logp_chosen", (0,), "not be empty", lambda: dpo_loss([], [], [], [], beta=1.0))
    raises("margin", (0, 2), "not be empty", lambda: dpo_gradient_weight(np.empty((0, 2)), beta=1))


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan, math.inf, -math.inf, 1e-320, 1.7e308])
def test_beta_is_positive_and_in_range(lib: Backend, beta: float) -> None:
    array = lib.asarray([0.0], "float64")
    for call in (
        lambda: dpo_gradient_weight(array, beta=beta),
        lambda: dpo_loss(array, array, array, array, beta=beta),
    ):
        raises("beta", beta, "lie between 2.23e-308 and 4.49e+307 in float64", call)
    narrow = lib.asarray([0.0], "float32")
    for beyond in (1e-39, 1e38):
        raises("beta", beyond, "in float32", lambda b=beyond: dpo_gradient_weight(narrow, beta=b))


@pytest.mark.parametrize("beta", [True, None, "0.1", 1j, np.array(0.1), [0.1]], ids=repr)
def test_beta_is_a_number(beta: Any) -> None:
    with pytest.raises(DomainError, match="beta must be a Python number"):
        dpo_gradient_weight([0.0], beta=beta)
    with pytest.raises(DomainError, match="beta must be a Python number"):
        dpo_loss([0.0], [0.0], [0.0], [0.0], beta=beta)


def test_beta_beyond_every_float() -> None:
    for beta in (10**400, Fraction(10**400, 3)):
        raises("beta", beta, "lie between", lambda b=beta: dpo_gradient_weight([0.0], beta=b))


def test_results_that_do_not_fit(lib: Backend) -> None:
    far, zero = lib.asarray([-3e38], "float32"), lib.asarray([0.0], "float32")
    raises("logp_chosen", math.inf, "float32 can hold",
           lambda: dpo_loss(far, zero, zero, zero, beta=2.0))  # fmt: skip
    if "float16" in lib.dtypes:
        half = lib.asarray([-6e4], "float16")
        raises("logp_chosen", math.inf, "float16 can hold",
               lambda: dpo_loss(half, -half, -half, half, beta=1.0))  # fmt: skip
        raises("beta", math.inf, "float16 can hold", lambda: dpo_gradient_weight(half, beta=1e5))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_margin_is_finite(lib: Backend, bad: float) -> None:
    raises("margin", bad, "be finite",
           lambda: dpo_gradient_weight(lib.asarray([0.0, bad]), beta=1.0))  # fmt: skip


@updates
def test_rewards_and_scores(lib: Backend, function: Callable[..., Any]) -> None:
    pair, scores = lib.asarray([1.0, 0.0]), lib.asarray([[1.0], [2.0]])
    for shape in ((), (1,), (0,), (3, 1)):
        bad = lib.asarray(np.zeros(shape))
        raises("rewards", shape, "two rollouts", lambda r=bad: function(r, scores))
    raises("rewards", (0, 2), "not be empty",
           lambda: function(lib.asarray(np.zeros((0, 2))), scores))  # fmt: skip
    for shape in ((), (2,), (1, 1), (3, 1), (1, 2, 1), (2, 1, 1)):
        bad = lib.asarray(np.zeros(shape))
        raises("scores", shape, "rewards.shape + (D,)", lambda s=bad: function(pair, s))
    raises("scores", (2, 0), "be empty", lambda: function(pair, lib.asarray(np.zeros((2, 0)))))
    for bad in (math.nan, math.inf):
        raises("rewards", bad, "be finite", lambda b=bad: function(lib.asarray([1.0, b]), scores))
        raises("scores", bad, "be finite",
               lambda b=bad: function(pair, lib.asarray([[1.0], [b]])))  # fmt: skip
    for wrong in NO_NUMBERS:
        with pytest.raises(DomainError, match="rewards must"):
            function(wrong, [[1.0], [2.0]])
        with pytest.raises(DomainError, match="scores must"):
            function([1.0, 0.0], wrong)


def test_pairs_are_pairs(lib: Backend) -> None:
    for size in (3, 8):
        rewards, scores = lib.asarray(np.zeros((2, size))), lib.asarray(np.zeros((2, size, 1)))
        raises(
            "rewards", (2, size), "hold pairs", lambda r=rewards, s=scores: two_grpo_update(r, s)
        )


@pytest.mark.parametrize("ddof", [2, -1, 0.0, True, None, "1"], ids=repr)
def test_ddof_is_zero_or_one(ddof: Any) -> None:
    with pytest.raises(DomainError, match=r"ddof must be one of \(0, 1\)"):
        two_grpo_update([1, 0], [[1.0], [2.0]], ddof=ddof)


def test_binary_rewards(lib: Backend) -> None:
    scores = lib.asarray(np.zeros((2, 2, 1)))
    for bad in (0.5, -1.0, 2.0):
        rewards = lib.asarray([[1.0, 0.0], [1.0, bad]])
        raises("rewards", bad, "be 0 or 1", lambda r=rewards: pairwise_update(r, scores))
        with pytest.raises(DomainError, match=r"at index \(1, 1\)"):
            pairwise_update(rewards, scores)
        p = lib.asarray([0.5, 0.5])
        raises("rewards", bad, "be 0 or 1",
               lambda b=bad, p=p: expected_advantage(p, lib.asarray([1.0, b])))  # fmt: skip


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 0.5, 1j, None, "x"], ids=repr)
def test_one_reward_beside_probabilities(bad: Any) -> None:
    for p in (0.0, 0.5, [0.0, 0.5]):
        with pytest.raises(DomainError, match="rewards must"):
            expected_advantage(p, bad)


@pytest.mark.parametrize("mode", ["jax-jit", "torch-vmap"])
def test_unseen_rewards_that_are_not_binary_give_nan(mode: str) -> None:
    """Under tracing nothing is checked; nothing is taken for a wrong rollout either."""
    backend = load_or_skip(mode)
    scores = backend.asarray([[1.0], [2.0]])
    for bad in (0.5, math.nan, math.inf):
        rewards = backend.asarray([1.0, bad])
        assert np.isnan(backend.to_numpy(backend.call(pairwise_update, rewards, scores))).all()
        p = backend.asarray([0.5, 0.5])
        advantage = backend.to_numpy(backend.call(expected_advantage, p, rewards))
        assert np.isnan(advantage[1])
    step = backend.call(two_grpo_update, backend.asarray([1.0, math.nan]), scores)
    assert np.isnan(backend.to_numpy(step)).all()


BAD_P = (math.nan, math.inf, -1e-9, 1 + 2.0**-52, 2, [0.5, math.nan], [], "half", None, 0.5j,
         np.ma.masked_array([0.5], [True]), [[0.1], [0.2, 0.3]])  # fmt: skip
OF_P: dict[str, Callable[..., Any]] = {
    "discard_rate": discard_rate,
    "mean_discard_rate": mean_discard_rate,
    "expected_advantage": lambda p: expected_advantage(p, 1.0),
    "contrast_gain": lambda p: contrast_gain(p, 1.0, 1.0),
    "contrast_gain-c": lambda p: contrast_gain(p, 1.0, 1.0, 0.5),
    "optimal_contrast": lambda p: optimal_contrast(p, 1.0, 1.0),
}
INTERIOR = ("contrast_gain", "contrast_gain-c", "optimal_contrast")


@pytest.mark.parametrize("name", OF_P)
@pytest.mark.parametrize("p", BAD_P, ids=repr)
def test_bad_probability(name: str, p: Any) -> None:
    with pytest.raises(DomainError) as caught:
        OF_P[name](p)
    assert caught.value.argument == "p"


@pytest.mark.parametrize("p", [0.0, 1.0, 5e-324, [0.5, 1.0]], ids=repr)
def test_ends_of_the_interval(p: Any) -> None:
    for name in INTERIOR:
        with pytest.raises(DomainError, match="strictly between 0 and 1"):
            OF_P[name](p)
    with pytest.raises(DomainError, match="strictly between 0 and 1"):
        expected_advantage(p, 1.0, group_size=None)


@pytest.mark.parametrize("group_size", [1, 3, 4, True, 2.0, "2", math.inf], ids=repr)
def test_expected_advantage_knows_pairs_and_the_limit(group_size: Any) -> None:
    with pytest.raises(DomainError, match=r"group_size must be one of \(2,\)"):
        expected_advantage(0.5, 1.0, group_size=group_size)


BAD_VARIANCE = (-1e-9, math.nan, math.inf, -math.inf, "x", None, [])


@pytest.mark.parametrize("bad", BAD_VARIANCE, ids=repr)
def test_bad_variance(bad: Any) -> None:
    for function in (contrast_gain, optimal_contrast):
        for name in ("variance_correct", "variance_wrong"):
            values = {"variance_correct": 1.0, "variance_wrong": 1.0} | {name: bad}
            with pytest.raises(DomainError) as caught:
                function(0.5, **values)
            assert caught.value.argument == name


def test_a_contrast_needs_noise_in_what_is_subtracted() -> None:
    raises("variance_wrong", 0.0, "be positive", lambda: optimal_contrast(0.5, 1.0, 0.0))
    assert optimal_contrast(0.5, 0.0, 1.0) == 0.0
    for plus, minus in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0)):
        assert contrast_gain(0.5, plus, minus) == 0.0


def test_bad_contrast(lib: Backend) -> None:
    one = lib.asarray([1.0, 1.0])
    half = lib.asarray([0.5, 0.5])
    for bad, rule in ((math.nan, "be finite"), (math.inf, "be finite"), (-1.0, "not be -q/p")):
        c = lib.asarray([0.0, bad])
        raises("c", bad, rule, lambda c=c: contrast_gain(half, one, one, c))
    for wrong in ("x", [], [1.0, 2.0, 3.0], object()):
        with pytest.raises(DomainError, match="c must"):
            contrast_gain([0.5, 0.5], 1.0, 1.0, wrong)


def test_different_shapes_do_not_broadcast() -> None:
    column, row = np.full((3, 1), 0.5), np.full((1, 4), 0.25)
    for call in (
        lambda: contrast_gain(column, row, 1.0),
        lambda: contrast_gain(column, 1.0, 1.0, row),
        lambda: optimal_contrast(0.5, column, row),
        lambda: expected_advantage(column, np.ones((1, 4))),
        lambda: mean_discard_rate(column, weights=row),
        lambda: budget_variance(column, row, prompts=1),
        lambda: budget_variance(column, column[:, 0], prompts=1),
    ):
        with pytest.raises(DomainError, match="shape"):
            call()


def test_weights(lib: Backend) -> None:
    values = lib.asarray([0.5, 0.25])

    def calls(weights: Any) -> list[Callable[[], Any]]:
        return [
            lambda: mean_discard_rate(values, weights=weights),
            lambda: budget_variance(values, values, prompts=1, weights=weights),
        ]

    for bad, rule in ((-1.0, "at least 0"), (math.nan, "be finite"), (math.inf, "be finite")):
        for call in calls(lib.asarray([1.0, bad])):
            raises("weights", bad, rule, call)
    for call in calls(lib.asarray([0.0, 0.0])):
        raises("weights", 0.0, "positive sum", call)
    for shape in ((), (1,), (3,), (2, 1)):
        for call in calls(lib.asarray(np.ones(shape))):
            raises("weights", shape, "shape", call)


def test_budget(lib: Backend) -> None:
    means = lib.asarray([[0.5], [1.5]])
    for bad in (math.nan, math.inf):
        wrong = lib.asarray([[0.5], [bad]])
        raises("prompt_means", bad, "be finite",
               lambda w=wrong: budget_variance(w, means, prompts=1))  # fmt: skip
        raises("prompt_variances", bad, "be finite",
               lambda w=wrong: budget_variance(means, w, prompts=1))  # fmt: skip
    raises("prompt_variances", -0.5, "be at least 0",
           lambda: budget_variance(means, -means, prompts=1))  # fmt: skip
    raises("prompt_means", (), "along its first axis",
           lambda: budget_variance(means[0, 0], means[0, 0], prompts=1))  # fmt: skip
    for shape in ((0,), (0, 2), (2, 0)):
        empty = lib.asarray(np.zeros(shape))
        raises("prompt_means", shape, "be empty",
               lambda e=empty: budget_variance(e, e, prompts=1))  # fmt: skip
    for prompts in (0, -1, 2**60):
        raises("prompts", prompts, "from 1 to",
               lambda q=prompts: budget_variance(means, means, prompts=q))  # fmt: skip
    far = lib.asarray([1e300, -1e300], "float64")
    raises("prompt_means", math.inf, "can hold", lambda: budget_variance(far, far * 0, prompts=1))


@pytest.mark.parametrize("prompts", [True, None, 2.0, "2", [2]], ids=repr)
def test_prompts_is_a_count(prompts: Any) -> None:
    with pytest.raises(DomainError, match="prompts must be an integer"):
        budget_variance([1.0], [1.0], prompts=prompts)


def test_libraries_do_not_mix() -> None:
    torch = load_or_skip("torch").xp
    ours, theirs = np.array([0.0, 1.0]), torch.asarray([0.0, 1.0])
    for call, argument in (
        (lambda: dpo_loss(ours, theirs, ours, ours, beta=1.0), "logp_rejected"),
        (lambda: two_grpo_update(ours, theirs[:, None]), "scores"),
        (lambda: pairwise_update(ours, theirs[:, None]), "scores"),
        (lambda: mean_discard_rate(ours, weights=theirs), "weights"),
        (lambda: budget_variance(ours, theirs, prompts=1), "prompt_variances"),
        (lambda: expected_advantage(ours, theirs), "rewards"),
        (lambda: contrast_gain(ours, 1.0, theirs), "variance_wrong"),
    ):
        with pytest.raises(DomainError, match="same array library") as caught:
            call()
        assert caught.value.argument == argument


def test_torch_tensors_that_are_no_arrays() -> None:
    for tensor in unusual_tensors(load_or_skip("torch").xp):
        for call in (
            lambda t=tensor: dpo_loss(t, t, t, t, beta=1.0),
            lambda t=tensor: dpo_gradient_weight(t, beta=1.0),
            lambda t=tensor: two_grpo_update(t, t),
            lambda t=tensor: pairwise_update(t, t),
            lambda t=tensor: discard_rate(t),
            lambda t=tensor: mean_discard_rate(t),
            lambda t=tensor: contrast_gain(t, 1.0, 1.0),
            lambda t=tensor: budget_variance(t, t, prompts=1),
        ):
            with pytest.raises(DomainError, match=r"must be a plain \(dense, strided\) tensor"):
                call()


def test_bfloat16_of_numpy() -> None:
    """ml_dtypes, which comes with JAX, registers it: NumPy's finfo and promotion do not know it."""
    load_or_skip("jax")
    bfloat16 = importlib.import_module("ml_dtypes").bfloat16
    values, scores = np.array([0.25, 0.5]), np.array([[1.0], [0.5]])
    calls: list[Callable[..., Any]] = [
        lambda v, s: dpo_loss(v, v, v, s[:, 0], beta=0.5),
        lambda v, s: dpo_gradient_weight(v, beta=0.5),
        lambda v, s: two_grpo_update(v, s, ddof=1),
        lambda v, s: pairwise_update(v > 0.25, s),
        lambda v, s: discard_rate(v),
        lambda v, s: mean_discard_rate(v, weights=s[:, 0]),
        lambda v, s: expected_advantage(v, v > 0.25, group_size=None),
        lambda v, s: contrast_gain(v, s[:, 0], v),
        lambda v, s: optimal_contrast(v, s[:, 0], v),
        lambda v, s: budget_variance(s, s, prompts=3, weights=v),
    ]
    for call in calls:
        result = call(values.astype(bfloat16), scores.astype(bfloat16))
        assert result.dtype == bfloat16
        wide = call(values.astype(np.float32), scores.astype(np.float32))
        assert wide.dtype == np.float32
        np.testing.assert_array_equal(result, wide.astype(bfloat16))
    mixed = two_grpo_update(values.astype(np.float16), scores.astype(bfloat16))
    assert mixed.dtype == np.float32


ANYTHING = st.one_of(
    st.floats(),
    st.floats(0, 1),
    st.integers(-3, 3),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.lists(st.floats(0, 1), max_size=3),
    st.lists(st.floats(), min_size=2, max_size=2),
    st.lists(st.lists(st.floats(), min_size=1, max_size=2), min_size=2, max_size=2),
)


@given(a=ANYTHING, b=ANYTHING, c=ANYTHING, d=ANYTHING)
def test_documented_errors_or_finite_results(a: Any, b: Any, c: Any, d: Any) -> None:
    for call in (
        lambda: dpo_loss(a, b, a, b, beta=1.0),
        lambda: dpo_loss(a, a, a, a, beta=b),
        lambda: dpo_loss(a, b, c, d, beta=0.5),
        lambda: dpo_gradient_weight(a, beta=b),
        lambda: two_grpo_update(a, b),
        lambda: two_grpo_update([1, 0], a, ddof=b),
        lambda: pairwise_update(a, b),
        lambda: pairwise_update([1, 0], a),
        lambda: discard_rate(a),
        lambda: mean_discard_rate(a, weights=b),
        lambda: expected_advantage(a, b),
        lambda: expected_advantage(a, b, group_size=c),
        lambda: contrast_gain(a, b, c, d),
        lambda: contrast_gain(0.5, a, b),
        lambda: optimal_contrast(a, b, c),
        lambda: budget_variance(a, b, prompts=c, weights=d),
        lambda: budget_variance(a, a, prompts=2),
    ):
        try:
            result = call()
        except DomainError:
            continue
        assert np.isfinite(np.asarray(result, dtype=np.float64)).all()


def test_arguments_are_left_alone() -> None:
    arrays = [np.array([-1.0, -2.0]), np.array([1.0, 0.0]), np.array([[1.0], [2.0]])]
    kept = [a.copy() for a in arrays]
    logp, rewards, scores = arrays
    dpo_loss(logp, rewards, logp, rewards, beta=1.0)
    two_grpo_update(rewards, scores)
    pairwise_update(rewards, scores)
    budget_variance(scores, scores, prompts=1, weights=rewards)
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


# --- what is exported, and what it loads --------------------------------------------------------

SUBMODULES = ("budget", "contrast", "dpo", "pairs", "sampling")


def test_all_names_what_the_modules_define() -> None:
    modules = [importlib.import_module(f"identity.preference.{m}") for m in SUBMODULES]
    assert sorted(name for m in modules for name in m.__all__) == preference.__all__
