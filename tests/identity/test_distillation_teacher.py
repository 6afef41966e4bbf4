"""The geometric mixture and the first step toward a teacher, against 50 digits."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.distillation import first_step_gain, forward_kl, geometric_tilt, reverse_kl
from tests import oracles, tolerances
from tests.backends import Backend
from tests.identity import distillation_oracle as oracle
from tests.identity.test_distillation_divergence import HALF, ROWS, TOKENS, pairs
from tests.strategies import few_dtypes, in_rows, round_to

BETAS = (0.1, 0.5, 0.9, 1.0, 1.5, 2.0, 20.0, math.inf)
fewer = settings(in_rows, max_examples=max(1, in_rows.max_examples // 2))


@fewer
@given(data=st.data())
def test_tilt(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(few_dtypes(xp)))
    student, teacher = data.draw(pairs(dtype))
    beta = data.draw(st.sampled_from((0.5, 1.0, 3.0) if xp.compiled else BETAS))
    if dtype == "float16" and beta == 0.1:
        beta = 0.5  # ten times a logit of 200 and a fall of 60000 is beyond it
    result = xp.to_numpy(
        xp.call(geometric_tilt, xp.asarray(student, dtype), xp.asarray(teacher, dtype), beta=beta)
    )
    assert result.shape == (ROWS, TOKENS)
    for row, s, t in zip(result, student, teacher, strict=True):
        exact = oracle.tilt(s, t, beta)
        reach = max(np.ptp(x[np.isfinite(x)]) for x in (s, t))
        bound = tolerances.tilt_bound(TOKENS, reach, beta, oracle.EPS[dtype])
        for got, value in zip(row, exact, strict=True):
            if mpmath.isinf(value):
                assert got == -math.inf
                continue
            assert abs(float(got) - value) <= bound + HALF[dtype] * abs(float(value)), (s, t, beta)


def test_tilt_is_normalised_and_attains_the_maximum() -> None:
    """distillation.tilt: β log Z at π*, and β KL(π'‖π*) less for another law π'."""
    rng = np.random.default_rng(1)
    student, teacher, other = np.log(rng.dirichlet(np.ones(6), 3))

    def objective(log_law: np.ndarray, beta: float) -> float:
        gained = np.sum(np.exp(log_law) * (teacher - student))
        return float(gained - beta * reverse_kl(log_law, student, level="token"))

    for beta in (0.3, 0.8, 1.0, 2.5):
        best = geometric_tilt(student, teacher, beta=beta)
        assert np.exp(best).sum() == pytest.approx(1.0, rel=1e-14)
        mass = np.sum(np.exp((1 - 1 / beta) * student + teacher / beta))
        assert objective(best, beta) == pytest.approx(beta * math.log(mass), rel=1e-12)
        lower = beta * float(reverse_kl(other, best, level="token"))
        assert objective(best, beta) - objective(other, beta) == pytest.approx(lower, rel=1e-12)


def test_tilt_at_both_ends(xp: Backend) -> None:
    nowhere = -math.inf
    student = xp.asarray([[0.5, nowhere, 2.0, -1.0]], "float32")
    teacher = xp.asarray([[nowhere, 1.0, 0.0, 3.0]], "float32")
    for beta, law in ((1.0, teacher), (math.inf, student)):
        result = np.exp(xp.to_numpy(xp.call(geometric_tilt, student, teacher, beta=beta)))
        held = np.float64(xp.to_numpy(law))
        weights = np.exp(held - held.max())
        np.testing.assert_allclose(result, weights / weights.sum(), rtol=1e-6)
    result = xp.to_numpy(xp.call(geometric_tilt, student, teacher, beta=2.0))
    np.testing.assert_array_equal(np.isfinite(result), [[False, False, True, True]])


@fewer
@given(data=st.data())
def test_gain(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(few_dtypes(xp)))
    student, teacher = data.draw(pairs(dtype))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    kind = rng.integers(0, 2, (ROWS, TOKENS)) * 1.0 if rng.random() < 0.5 else None
    rewards = rng.normal(size=(ROWS, TOKENS)) * 4 if kind is None else kind
    rewards = np.vectorize(lambda v: round_to(v, dtype), otypes=[float])(rewards)
    result = xp.to_numpy(
        xp.call(first_step_gain, *(xp.asarray(x, dtype) for x in (student, teacher, rewards)))
    )
    for got, s, t, r in zip(result, student, teacher, rewards, strict=True):
        exact, spread = oracle.covariance(s, t, r)
        played = r[np.isfinite(s)]
        bound = tolerances.covariance_bound(
            float(spread), np.ptp(played), TOKENS, oracle.size(s, t), oracle.EPS[dtype]
        )
        bound += HALF[dtype] * abs(float(exact)) + float(oracles.smallest_normal(dtype))
        bound += 10.0**-tolerances.ORACLE_DIGITS  # what the oracle leaves of equal rewards
        assert abs(float(got) - exact) <= bound, (s, t, r, got, exact)


def test_equal_rewards_gain_exactly_nothing(xp: Backend) -> None:
    rng = np.random.default_rng(3)
    student, teacher = rng.normal(size=(2, ROWS, TOKENS))
    for dtype in few_dtypes(xp):
        arrays = [xp.asarray(x, dtype) for x in (student, teacher, np.full_like(student, 0.1))]
        assert (xp.to_numpy(xp.call(first_step_gain, *arrays)) == 0).all()


def test_responses_that_the_student_never_gives_do_not_count() -> None:
    student, teacher = np.array([0.0, 1.0, -math.inf]), np.array([1.0, 0.5, 7.0])
    rewards = np.array([1.0, 0.25, 1e9])
    expected = first_step_gain(student[:2], teacher[:2], rewards[:2])
    assert first_step_gain(student, teacher, rewards) == pytest.approx(float(expected), rel=1e-15)


def test_it_is_the_slope_along_the_tilt() -> None:
    """distillation.first-step: a central difference in λ, β = 1/λ."""
    rng = np.random.default_rng(7)
    student, teacher = np.log(rng.dirichlet(np.ones(5), 2))
    rewards = rng.normal(size=5)
    start = geometric_tilt(student, teacher, beta=4.0)  # any law on the path, at λ = 1/4

    def mean(share: float) -> float:
        return float(np.exp(geometric_tilt(student, teacher, beta=1 / share)) @ rewards)

    step = 1e-5
    slope = (mean(0.25 + step) - mean(0.25 - step)) / (2 * step)
    # log π_T/π_λ is 1 − λ times log π_T/π_S, up to a constant
    assert float(first_step_gain(start, teacher, rewards)) / 0.75 == pytest.approx(slope, rel=1e-8)


def test_better_teachers_and_the_divergence() -> None:
    """The witness; and no gain beyond (max R − E R) KL without a helpful first step."""
    rewards = np.array([1.0, 0.0, 1.0])
    student, teacher = np.array([0.1586, 0.5331, 0.3083]), np.array([0.0043, 0.4901, 0.5056])
    assert (teacher - student) @ rewards == pytest.approx(0.043, rel=1e-12)
    gain = float(first_step_gain(np.log(student), np.log(teacher), rewards))
    assert -0.2029 < gain < -0.2028
    rng = np.random.default_rng(9)
    students, teachers = rng.dirichlet(np.ones(3), (2, 4000))
    slopes = first_step_gain(np.log(students), np.log(teachers), np.tile(rewards, (4000, 1)))
    gains = (teachers - students) @ rewards
    means = students @ rewards
    divergences = reverse_kl(np.log(students), np.log(teachers), level="token")
    assert ((gains > 0) & (slopes < 0)).sum() > 40
    slack = 1e-12
    assert (gains - slopes <= (1 - means) * divergences + slack).all()
    assert (slopes - gains <= means * divergences + slack).all()
    # The other divergence bounds nothing of the kind.
    others = forward_kl(np.log(students), np.log(teachers), level="token")
    assert (gains - slopes > (1 - means) * others + slack).any()
