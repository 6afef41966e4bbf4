"""Bad input of identity.distillation: every rule is named, and nothing becomes NaN in silence."""

from __future__ import annotations

import importlib
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from identity import DomainError
from identity.distillation import (
    first_step_gain,
    forward_kl,
    geometric_tilt,
    on_policy_distillation_reward,
    reverse_kl,
)
from tests.backends import load_or_skip

S, T = np.log([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]), np.zeros((2, 3))
R = np.array([[1.0, 0.0, 1.0], [0.0, 0.5, 1.0]])
NAN, INF = math.nan, math.inf


def changed(array: np.ndarray, value: float) -> np.ndarray:
    copy = array.copy()
    copy[1, 2] = value
    return copy


def reverse(student: Any = S, teacher: Any = T, *, level: Any = "token", **options: Any) -> Any:
    return reverse_kl(student, teacher, level=level, **options)


def forward(student: Any = S, teacher: Any = T, *, level: Any = "token", **options: Any) -> Any:
    return forward_kl(student, teacher, level=level, **options)


def tilt(student: Any = S, teacher: Any = T, *, beta: Any = 2.0) -> Any:
    return geometric_tilt(student, teacher, beta=beta)


def gain(student: Any = S, teacher: Any = T, rewards: Any = R) -> Any:
    return first_step_gain(student, teacher, rewards)


LAWS: list[tuple[str, Any, str]] = [
    ("student", changed(S, NAN), "below +inf and not NaN"),
    ("student", changed(S, INF), "below +inf and not NaN"),
    ("teacher", changed(T, NAN), "below +inf and not NaN"),
    ("student", np.full((2, 3), -INF), "some token a probability above 0"),
    ("student", S[:, :2], "the shape of"),
    ("teacher", T[0], "the shape of"),
    ("teacher", T[None], "the shape of"),
    ("student", S + 1j, "dtype"),
    ("student", "text", "dtype"),
    ("student", None, "dtype"),
    ("student", S > 0, "numbers"),
    ("student", np.ma.masked_array(S), "plain array"),
    ("teacher", [[0, 2**60, 0], [0, 0, 0]], "holds exactly"),
]


@pytest.mark.parametrize("function", [reverse, forward, tilt, gain])
@pytest.mark.parametrize(("argument", "value", "rule"), LAWS)
def test_laws(function: Any, argument: str, value: Any, rule: str) -> None:
    with pytest.raises(DomainError) as caught:
        function(**{argument: value})
    error = caught.value
    both = ("student_logits", "teacher_logits")
    shapes = rule == "the shape of"  # named after whichever differs from the first
    assert error.argument == f"{argument}_logits" or (shapes and error.argument in both)
    assert rule in error.rule


@pytest.mark.parametrize("function", [reverse, forward, tilt, gain])
def test_scalars_and_nothing(function: Any) -> None:
    options = {"rewards": 0.5} if function is gain else {}
    with pytest.raises(DomainError, match="axis"):
        function(0.5, 0.5, **options)
    options = {"rewards": np.ones((2, 0))} if function is gain else {}
    with pytest.raises(DomainError, match="not be empty"):
        function(np.ones((2, 0)), np.ones((2, 0)), **options)


def test_infinite_ratios() -> None:
    for function, other in ((reverse, "teacher"), (forward, "student"), (gain, "teacher")):
        with pytest.raises(DomainError, match="ratio is infinite") as caught:
            function(**{other: changed(T, -INF)})
        assert caught.value.argument == f"{other}_logits"
        assert "index (1, 2)" in str(caught.value)
    # The other way round nothing is infinite.
    assert np.isfinite(reverse(student=changed(S, -INF))).all()
    assert np.isfinite(forward(teacher=changed(T, -INF))).all()
    assert np.isfinite(gain(student=changed(S, -INF))).all()


@pytest.mark.parametrize("function", [reverse, forward])
@pytest.mark.parametrize(
    ("options", "argument", "rule"),
    [
        ({"level": "word"}, "level", "one of"),
        ({"level": None}, "level", "one of"),
        ({"level": ["token"]}, "level", "one of"),
        ({"mask": np.ones((2, 3))}, "mask", "shape (2,)"),
        ({"mask": np.array(1)}, "mask", "shape (2,)"),
        ({"mask": np.array([2, 0])}, "mask", "0 or 1"),
        ({"mask": np.array([NAN, 0])}, "mask", "0 or 1"),
        ({"level": "sequence"}, "_logits", "list of arrays"),
    ],
)
def test_options(function: Any, options: dict[str, Any], argument: str, rule: str) -> None:
    with pytest.raises(DomainError) as caught:
        function(**options)
    assert caught.value.argument.endswith(argument)
    assert rule in caught.value.rule


def test_there_is_no_default_level() -> None:
    for function in (reverse_kl, forward_kl):
        with pytest.raises(TypeError, match="level"):
            function(S, T)  # type: ignore[call-arg]


@pytest.mark.parametrize("prefixes", ["detached", "fixed", None])
def test_prefixes_belong_to_sequences(prefixes: Any) -> None:
    with pytest.raises(DomainError, match="prefixes"):
        reverse(prefixes=prefixes)


FIRST = S[0]
SECOND = np.zeros((3, 2))


@pytest.mark.parametrize("function", [reverse, forward])
@pytest.mark.parametrize(
    ("student", "teacher", "argument", "rule"),
    [
        ([], [], "_logits", "not empty"),
        ("ab", "ab", "_logits", "list of arrays"),
        ([FIRST], [FIRST, SECOND], "_logits", "as many arrays"),
        ([FIRST, SECOND.T], [FIRST, SECOND.T], "student_logits[1]", "one axis more"),
        ([FIRST, FIRST], [FIRST, FIRST], "student_logits[1]", "one axis more"),
        ([FIRST, SECOND], [FIRST, SECOND[:, :1]], "teacher_logits[1]", "the shape of"),
        ([FIRST, SECOND * NAN], [FIRST, SECOND], "student_logits[1]", "not NaN"),
    ],
)
def test_steps(function: Any, student: Any, teacher: Any, argument: str, rule: str) -> None:
    with pytest.raises(DomainError) as caught:
        function(student, teacher, level="sequence")
    assert caught.value.argument.endswith(argument)
    assert rule in caught.value.rule


def test_no_mask_for_responses() -> None:
    with pytest.raises(DomainError, match="level 'sequence'"):
        reverse([FIRST], [FIRST], level="sequence", mask=np.array(True))


@pytest.mark.parametrize(
    "beta", [0, 0.0, -1.0, NAN, -INF, True, None, "1", 1j, np.array([1.0]), 1e-308]
)
def test_beta(beta: Any) -> None:
    with pytest.raises(DomainError) as caught:
        tilt(beta=beta)
    assert caught.value.argument == "beta"


def test_beta_may_be_any_positive_number() -> None:
    for beta in (1, Fraction(1, 2), np.float32(0.5), INF, 10**400, 1e-300 * 1e10):
        result = tilt(beta=beta, student=T, teacher=T)
        np.testing.assert_allclose(np.exp(result), 1 / 3, rtol=1e-15)


def test_tilts_without_a_law() -> None:
    left, right = np.array([0.0, -INF]), np.array([-INF, 0.0])
    with pytest.raises(DomainError, match="for some token for which student_logits is") as caught:
        tilt(left, right)
    assert caught.value.argument == "teacher_logits"
    for beta in (1.0, INF):
        assert np.exp(tilt(left, right, beta=beta)).sum() == 1
    with pytest.raises(DomainError, match="wherever teacher_logits is") as caught:
        tilt(left, np.zeros(2), beta=0.5)
    assert caught.value.argument == "student_logits"


def test_results_that_the_dtype_cannot_hold() -> None:
    far = np.array([0.0, -6e4], dtype=np.float16)
    with pytest.raises(DomainError, match="float16 can hold"):
        tilt(far * 0, far, beta=0.5)
    huge = np.array([0.0, 1e308])
    for function in (reverse, forward):
        with pytest.raises(DomainError, match="float64 can hold"):
            function(huge, -huge)
    with pytest.raises(DomainError, match="float64 can hold"):
        gain(np.zeros(2), np.array([0.0, 9.0]), np.array([1e308, -1e308]))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_rewards_are_finite(bad: float) -> None:
    with pytest.raises(DomainError) as caught:
        gain(rewards=changed(R, bad))
    assert caught.value.argument == "rewards"


@pytest.mark.parametrize("rewards", [R[0], R[:, :1], R[0, 0], R[None], R > 0])
def test_rewards_do_not_broadcast(rewards: Any) -> None:
    with pytest.raises(DomainError) as caught:
        gain(rewards=rewards)
    assert caught.value.argument == "rewards"


def reward(logp: Any = S, teacher_logp: Any = T, *, credit: Any = "token", mask: Any = None) -> Any:
    return on_policy_distillation_reward(logp, teacher_logp, credit=credit, mask=mask)


@pytest.mark.parametrize(
    ("options", "argument", "rule"),
    [
        ({"credit": "response"}, "credit", "one of"),
        ({"credit": None}, "credit", "one of"),
        ({"logp": S[0]}, "logp", "(B, T)"),
        ({"logp": 0.5}, "logp", "(B, T)"),
        ({"teacher_logp": T[:, :1]}, "teacher_logp", "the shape of logp"),
        ({"teacher_logp": changed(T, -INF)}, "teacher_logp", "be finite"),
        ({"teacher_logp": changed(T, NAN)}, "teacher_logp", "be finite"),
        ({"logp": changed(S, -INF)}, "logp", "be finite"),
        ({"logp": S > 0}, "logp", "numbers"),
        ({"mask": np.ones(2)}, "mask", "the shape of logp"),
        ({"mask": np.full((2, 3), 0.5)}, "mask", "0 or 1"),
        ({"logp": changed(S, 1e308), "teacher_logp": changed(T, -1e308)}, "teacher_logp", "hold"),
    ],
)
def test_reward(options: dict[str, Any], argument: str, rule: str) -> None:
    with pytest.raises(DomainError) as caught:
        reward(**options)
    assert caught.value.argument == argument
    assert rule in caught.value.rule


def test_the_reward_of_no_tokens() -> None:
    for credit, shape in (("token", (2, 0)), ("to_go", (2, 0)), ("sequence", (2,))):
        assert reward(np.ones((2, 0)), np.ones((2, 0)), credit=credit).shape == shape
    assert reward(np.ones((0, 3)), np.ones((0, 3)), credit="sequence").shape == (0,)


def test_where_values_cannot_be_seen() -> None:
    """Under jit: the infinite divergence is inf, and a law of zeros NaN, never a number."""
    jax = pytest.importorskip("jax")
    backend = load_or_skip("jax-jit")
    rows = backend.asarray([[0.0, 0.0], [0.0, -INF], [-INF, -INF]], "float64")
    plain = backend.asarray(np.zeros((3, 2)), "float64")
    result = np.asarray(jax.jit(lambda s, t: reverse_kl(s, t, level="token"))(plain, rows))
    np.testing.assert_array_equal(result, [0.0, INF, INF])
    result = np.asarray(jax.jit(lambda s, t: reverse_kl(s, t, level="token"))(rows, plain))
    assert result[0] == 0
    assert result[1] == pytest.approx(math.log(2))
    assert math.isnan(result[2])
    gains = np.asarray(jax.jit(first_step_gain)(plain, rows, plain + np.array([0.0, 1.0])))
    assert gains[0] == 0
    assert not np.isfinite(gains[1:]).any()


def test_libraries_do_not_mix() -> None:
    torch = load_or_skip("torch").xp
    for function in (reverse, forward, tilt, gain):
        with pytest.raises(DomainError, match="same array library"):
            function(student=torch.asarray(S))
    with pytest.raises(DomainError, match="same array library"):
        reverse([FIRST, SECOND], [FIRST, torch.asarray(SECOND)], level="sequence")


def test_lists_of_numbers_are_arrays() -> None:
    module = importlib.import_module("identity.distillation")
    assert float(module.reverse_kl([0, 0], [0, 0], level="token")) == 0.0
    assert module.forward_kl([[0, 1]], [[1, 0]], level="token").dtype == np.float64
    assert module.reverse_kl(np.float32([0, 1]), np.float16([1, 0]), level="token").dtype == "f4"
