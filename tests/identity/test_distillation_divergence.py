"""Divergences of tokens and of responses against 50 digits, small and large."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.distillation import forward_kl, reverse_kl
from identity.surrogates import kl
from tests import oracles, tolerances
from tests.backends import Backend
from tests.identity import distillation_oracle as oracle
from tests.strategies import few_dtypes, in_rows, round_to

FUNCTIONS = {"reverse": reverse_kl, "forward": forward_kl}
ROWS, TOKENS = 6, 5
HALF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 0.0, "float64": 0.0}
directions = pytest.mark.parametrize("direction", FUNCTIONS)


@st.composite
def pairs(draw: st.DrawFn, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Laws of logits up to 200, whose differences go from 2^-30 to 2^5, some of probability 0."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (ROWS, TOKENS)
    scale = 2.0 ** rng.uniform(-3, 6, (ROWS, 1))
    apart = 2.0 ** rng.uniform(-30, 5, (ROWS, 1))
    offsets = rng.choice([0.0, 0.0, 8.0, -100.0], (2, ROWS, 1))
    student = rng.normal(size=shape) * scale
    teacher = student + rng.normal(size=shape) * apart
    both = [student + offsets[0], teacher + offsets[1]]
    if draw(st.booleans()):
        nowhere = rng.random((ROWS, TOKENS)) < 0.2
        nowhere[:, 0] = False
        both = [np.where(nowhere, -math.inf, x) for x in both]
    rounded = np.vectorize(lambda v: round_to(v, dtype) if np.isfinite(v) else v, otypes=[float])
    return rounded(both[0]), rounded(both[1])


@directions
@settings(in_rows, max_examples=max(1, in_rows.max_examples // 2))
@given(data=st.data())
def test_tokens(xp: Backend, direction: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(few_dtypes(xp)))
    student, teacher = data.draw(pairs(dtype))
    first, second = (student, teacher) if direction == "reverse" else (teacher, student)
    result = xp.to_numpy(
        xp.call(FUNCTIONS[direction], xp.asarray(student, dtype), xp.asarray(teacher, dtype),
                level="token")
    )  # fmt: skip
    assert result.shape == (ROWS,)
    for got, p, q in zip(result, first, second, strict=True):
        exact = oracle.divergence(p, q)
        reach = tolerances.divergence_bound(
            float(exact), TOKENS, oracle.size(p, q), oracle.EPS[dtype]
        )
        reach += HALF[dtype] * float(exact) + float(oracles.smallest_normal(dtype))
        assert got >= 0
        assert abs(float(got) - exact) <= reach, (p, q, got, exact)


@directions
def test_small_divergences_keep_their_digits(direction: str) -> None:
    """½ Σ π d² to 8 digits at d = 1e-7, where Σ π (log π − log π_T) has none left."""
    student = np.array([0.25, -1.5, 3.0, 0.0])
    for exponent in range(4, 11):
        teacher = student + np.array([1.0, -2.0, 0.5, 0.0]) * 10.0**-exponent
        got = float(FUNCTIONS[direction](student, teacher, level="token"))
        arguments = (student, teacher) if direction == "reverse" else (teacher, student)
        exact = oracle.divergence(*arguments)
        bound = tolerances.divergence_bound(exact, 4, oracle.size(*arguments), 2.0**-52)
        assert abs(got - exact) <= bound
        assert abs(got - exact) <= 10.0 ** (exponent - 14) * exact


@directions
def test_equal_laws_are_exactly_0(xp: Backend, direction: str) -> None:
    rows = [[0.1, -300.0, 2.5, 1e4, 3.0], [-math.inf, 0.7, -math.inf, 0.2, 0.0]]
    logits = np.array(rows * (ROWS // 2))
    for dtype in few_dtypes(xp):
        array = xp.asarray(logits, dtype)
        shifted = xp.asarray(np.float64(xp.to_numpy(array)) + 2.0**20, "float64")
        result = xp.to_numpy(xp.call(FUNCTIONS[direction], array, array, level="token"))
        assert (result == 0).all()
        if dtype == "float64":
            result = xp.to_numpy(xp.call(FUNCTIONS[direction], array, shifted, level="token"))
            assert (np.abs(result) < 1e-17).all()


def test_each_direction_is_the_other_one_exchanged(xp: Backend) -> None:
    rows = ([0.0, 1.0, 3.0, 0.0, 0.0], [1.0, 1.0, -2.0, 0.0, 0.5])
    student, teacher = (xp.asarray([row] * ROWS, "float64") for row in rows)
    reverse = xp.to_numpy(xp.call(reverse_kl, student, teacher, level="token"))
    forward = xp.to_numpy(xp.call(forward_kl, teacher, student, level="token"))
    np.testing.assert_array_equal(reverse, forward)
    other = xp.to_numpy(xp.call(forward_kl, student, teacher, level="token"))
    assert abs(other - reverse).max() > 0.1


def test_probability_0() -> None:
    half, first = np.log([0.5, 0.5]), np.array([0.0, -math.inf])
    assert float(reverse_kl(first, half, level="token")) == pytest.approx(math.log(2), rel=1e-15)
    assert float(forward_kl(half, first, level="token")) == pytest.approx(math.log(2), rel=1e-15)
    assert float(reverse_kl(first, first, level="token")) == 0.0
    assert float(reverse_kl([5.0], [-3.0], level="token")) == 0.0  # one token is certain


def test_extremes_are_finite(xp: Backend) -> None:
    """Probabilities that underflow on one side or on both, in the middle of ordinary ones."""
    rows = [
        ([0.0, -5000.0, 0.0, 1.0, 0.0], [0.0, 5000.0, 0.0, 0.0, 0.0]),
        ([0.0, 3e4, 1.0, 0.0, 0.0], [0.0, 3e4, -3e4, 0.0, 1.0]),
        ([-2e4, 0.0, -2e4, 0.0, 0.0], [0.0, 0.0, -2e4, 0.0, 0.0]),
    ]
    student, teacher = (np.array([row[n] for row in rows] * (ROWS // 3)) for n in range(2))
    for dtype in few_dtypes(xp):
        arrays = [xp.asarray(x, dtype) for x in (student, teacher)]
        held = [np.float64(xp.to_numpy(a)) for a in arrays]
        for direction, function in FUNCTIONS.items():
            result = xp.to_numpy(xp.call(function, *arrays, level="token"))
            ordered = held if direction == "reverse" else held[::-1]
            for got, p, q in zip(result, *ordered, strict=True):
                exact = oracle.divergence(p, q)
                assert abs(float(got) - exact) <= 1e-6 * exact + HALF[dtype] * exact + 1e-30


def both_masked(student: Any, teacher: Any, mask: Any) -> Any:
    reverse, forward = (
        function(student, teacher, level="token", mask=mask) for function in FUNCTIONS.values()
    )
    return reverse + 2 * forward


def test_masked_laws_never_matter(xp: Backend) -> None:
    rng = np.random.default_rng(5)
    student, teacher = rng.normal(size=(2, ROWS, TOKENS))
    mask = np.array([1, 0, 1, 0, 0, 1])
    poison = np.array([math.nan, math.inf, -math.inf, 1e300, -math.inf])
    bad = [np.where(mask[:, None] == 1, x, p)
           for x, p in ((student, poison), (teacher, poison[::-1]))]  # fmt: skip
    clean, poisoned = (
        xp.to_numpy(
            xp.call(both_masked, *(xp.asarray(x, "float64") for x in given), xp.asarray(mask))
        )
        for given in ((student, teacher), bad)
    )
    np.testing.assert_array_equal(clean, poisoned)
    assert (clean[mask == 0] == 0).all()
    assert (clean[mask == 1] > 0).all()


def test_a_mask_of_more_axes() -> None:
    student, teacher = np.random.default_rng(5).normal(size=(2, 2, 3, 4))
    mask = np.array([[True, False, True], [False, False, True]])
    whole = reverse_kl(student, teacher, level="token")
    kept = reverse_kl(student, teacher, level="token", mask=mask)
    np.testing.assert_array_equal(kept, np.where(mask, whole, 0))


# -- responses -------------------------------------------------------------------------------------


def tree(rng: np.random.Generator, sizes: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.normal(size=sizes[: t + 1]) * 1.5 for t in range(len(sizes))]


def reverse_of_steps(*steps: Any) -> Any:
    half = len(steps) // 2
    return reverse_kl(list(steps[:half]), list(steps[half:]), level="sequence")


def forward_of_steps(*steps: Any) -> Any:
    half = len(steps) // 2
    return forward_kl(list(steps[:half]), list(steps[half:]), level="sequence")


STEPS = {"reverse": reverse_of_steps, "forward": forward_of_steps}


@pytest.mark.parametrize("sizes", [(3,), (2, 3), (3, 2, 2)])
@directions
def test_responses(xp: Backend, direction: str, sizes: tuple[int, ...]) -> None:
    """Σ over all responses, each with its probability, of the log-ratio of the products."""
    if xp.compiled and (len(sizes) != 2 or (xp.name != "jax-jit" and direction == "forward")):
        return  # one shape is enough where each costs a second
    rng = np.random.default_rng(11)
    student, teacher = tree(rng, sizes), tree(rng, sizes)
    arrays = [xp.asarray(x, "float64") for x in (*student, *teacher)]
    result = xp.to_numpy(xp.call(STEPS[direction], *arrays))
    first, second = (student, teacher) if direction == "reverse" else (teacher, student)
    exact = oracle.divergence_of_responses(first, second)
    assert result.shape == ()
    assert abs(float(result) - exact) <= tolerances.TREE_RELATIVE * exact


@directions
def test_batches_of_responses(direction: str) -> None:
    rng = np.random.default_rng(13)
    many = [[tree(rng, (2, 2)) for _ in range(3)] for _ in range(2)]
    stacked = [[np.stack([tree[t] for tree in trees]) for t in range(2)] for trees in many]
    result = FUNCTIONS[direction](*stacked, level="sequence")
    one_by_one = [
        float(FUNCTIONS[direction](s, t, level="sequence")) for s, t in zip(*many, strict=True)
    ]
    np.testing.assert_allclose(result, one_by_one, rtol=tolerances.TREE_RELATIVE)


def test_prefixes_that_cannot_be_reached_never_matter() -> None:
    """The laws after a first token of probability 0 may be anything, and need no support."""
    nan, inf = math.nan, math.inf
    student = [np.array([0.0, -inf]), np.array([[0.0, 1.0], [nan, inf]])]
    teacher = [np.array([0.5, 0.0]), np.array([[0.0, -1.0], [nan, -inf]])]
    whole = float(reverse_kl(student, teacher, level="sequence"))
    alone = reverse_kl(student[0], teacher[0], level="token")
    after = reverse_kl(student[1][0], teacher[1][0], level="token")
    assert whole == pytest.approx(float(alone) + float(after), rel=1e-15)
    # A response that ends early goes on with one certain token.
    ended = [np.array([0.0, 0.0]), np.array([[0.0, 1.0], [0.0, -inf]])]
    also = [np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.0, -inf]])]
    expected = oracle.divergence_of_responses(ended, also)
    assert float(reverse_kl(ended, also, level="sequence")) == pytest.approx(
        float(expected), rel=1e-14
    )


def test_the_value_does_not_depend_on_what_moves() -> None:
    rng = np.random.default_rng(17)
    student, teacher = tree(rng, (3, 4)), tree(rng, (3, 4))
    moving = reverse_kl(student, teacher, level="sequence")
    assert moving == reverse_kl(student, teacher, level="sequence", prefixes="detached")


def test_samples_of_the_next_token_have_this_mean() -> None:
    """Σ π k1 of `identity.surrogates.kl`, the estimator from samples."""
    rng = np.random.default_rng(19)
    student, teacher = (np.log(rng.dirichlet(np.ones(7))) for _ in range(2))
    mean = np.sum(np.exp(student) * kl(student, teacher, estimator="k1"))
    exact = reverse_kl(student, teacher, level="token")
    np.testing.assert_allclose(mean, exact, rtol=1e-13)
