"""Discarded pairs, contrasts of parts and budgets: exact rational values on every backend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from identity import DomainError
from identity.expectation import silent_rate
from identity.preference import (
    budget_variance,
    contrast_gain,
    discard_rate,
    expected_advantage,
    mean_discard_rate,
    optimal_contrast,
)
from tests import oracles, strategies, tolerances
from tests.backends import Backend, load_or_skip
from tests.identity import preference_oracle as oracle
from tests.identity.grouping import assert_all_zero, assert_close


@pytest.fixture(scope="module", params=["numpy", "torch", "jax-jit"])
def lib(request: pytest.FixtureRequest) -> Backend:
    """For what needs no full round: one backend of each library, each call compiled once."""
    return load_or_skip(request.param)


def probabilities(dtype: str) -> st.SearchStrategy[float]:
    """Strictly inside, so that q has a few digits in half precision."""
    return st.floats(2.0**-12, 1 - 2.0**-8).map(lambda p: strategies.round_to(p, dtype))


def positive(dtype: str) -> st.SearchStrategy[float]:
    reach = {"float16": 3, "bfloat16": 20, "float32": 20, "float64": 200}[dtype]
    number = st.integers(-reach, reach).flatmap(
        lambda e: st.floats(1.0, 1.99).map(lambda m: m * 2.0**e)
    )
    return number.map(lambda v: strategies.round_to(v, dtype))


def drawn(data: st.DataObject, element: st.SearchStrategy[float]) -> list[float]:
    return data.draw(st.lists(element, min_size=strategies.ROWS, max_size=strategies.ROWS))


@strategies.in_rows
@given(data=st.data())
def test_discard_rate(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    p = drawn(data, st.one_of(probabilities(dtype), st.sampled_from([0.0, 0.5, 1.0])))
    exact = [x**2 + (1 - x) ** 2 for x in oracles.fractions(p)]
    actual = xp.call(discard_rate, xp.asarray(p, dtype))
    assert_close(xp, xp.to_numpy(actual), exact, dtype, tolerances.SILENT_EPS)


@strategies.in_rows
@given(data=st.data())
def test_mean_discard_rate(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    p = drawn(data, probabilities(dtype))
    weights = drawn(data, st.one_of(st.just(0.0), positive(dtype)))
    assume(any(weights))
    shares = oracles.fractions(weights)
    rates = [x**2 + (1 - x) ** 2 for x in oracles.fractions(p)]
    bound = tolerances.weighted_rate_eps(strategies.ROWS)
    total = xp.call(mean_discard_rate, xp.asarray(p, dtype))
    assert total.shape == ()
    assert_close(xp, xp.to_numpy(total), [oracles.mean(rates)], dtype, bound)
    actual = xp.call(weighted_rate, xp.asarray(p, dtype), xp.asarray(weights, dtype))
    exact = sum(w * r for w, r in zip(shares, rates, strict=True)) / sum(shares)
    assert_close(xp, xp.to_numpy(actual), [exact], dtype, bound)


def weighted_rate(p: Any, weights: Any) -> Any:
    return mean_discard_rate(p, weights=weights)


def test_the_rate_at_the_mean_is_not_the_mean_of_the_rates() -> None:
    """preference.discard-rate: half .1, half .9, .82 against .50; the printed 1 − p² − q²."""
    p = np.array([0.1, 0.9] * 5)
    eps = np.spacing(1.0)
    assert abs(mean_discard_rate(p) - 0.82) <= tolerances.weighted_rate_eps(10) * eps
    assert abs(discard_rate(np.mean(p)) - 0.5) <= tolerances.SILENT_EPS * eps
    assert abs((1 - mean_discard_rate(p)) - 0.18) <= tolerances.weighted_rate_eps(10) * eps
    assert abs(mean_discard_rate([0.1, 0.9], weights=[3, 1]) - 0.82) <= 20 * eps


@given(
    p=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    seed=st.integers(0, 2**32 - 1),
)
def test_jensen(p: list[float], seed: int) -> None:
    weights = np.random.default_rng(seed).uniform(0.1, 3, size=len(p))
    there = mean_discard_rate(np.array(p), weights=weights)
    at_mean = discard_rate(np.clip(np.sum(weights * np.array(p)) / np.sum(weights), 0, 1))
    bound = 2 * tolerances.weighted_rate_eps(len(p)) * np.spacing(1.0)
    assert there >= at_mean - bound
    assert 0.5 - bound <= there <= 1 + bound


def test_unit_of_the_weights_does_not_matter() -> None:
    p, weights = np.array([0.2, 0.7, 0.9]), np.array([1.0, 3.5, 0.5])
    plain = mean_discard_rate(p, weights=weights)
    for power in (-1000, -500, 1000, 1022):
        assert mean_discard_rate(p, weights=np.ldexp(weights, power)) == plain


def test_discard_rate_is_the_silent_rate_of_pairs() -> None:
    p = np.linspace(0, 1, 101)
    np.testing.assert_array_equal(discard_rate(p), silent_rate(p, 2))


# --- contrasts ----------------------------------------------------------------------------------


def check_contrast(
    xp: Backend,
    function: Callable[..., Any],
    arguments: list[list[float]],
    dtype: str,
    exact: list[Fraction],
    bound: float,
) -> None:
    limit = oracles.largest_float(dtype) * Fraction(1 - tolerances.NEAR_OVERFLOW)
    assume(all(e < limit for e in exact))
    result = xp.call(function, *(xp.asarray(a, dtype) for a in arguments))
    assert_close(xp, xp.to_numpy(result), exact, dtype, bound)


def rows(arguments: list[list[float]]) -> list[list[Fraction]]:
    return [oracles.fractions(row) for row in zip(*arguments, strict=True)]


@strategies.in_rows
@given(data=st.data())
def test_contrast_gain(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    variance = st.one_of(st.just(0.0), positive(dtype))
    arguments = [drawn(data, probabilities(dtype)), *(drawn(data, variance) for _ in range(3))]
    exact = [oracle.gain(*row) for row in rows(arguments)]
    check_contrast(xp, contrast_gain, arguments, dtype, exact, tolerances.CONTRAST_EPS)


@strategies.in_rows
@given(data=st.data())
def test_least_contrast_gain(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    variance = st.one_of(st.just(0.0), positive(dtype))
    arguments = [drawn(data, probabilities(dtype)), *(drawn(data, variance) for _ in range(2))]
    exact = [oracle.least_gain(*row) for row in rows(arguments)]
    for (p, plus, minus), least in zip(rows(arguments), exact, strict=True):
        if plus and minus:  # the closed form
            assert least == plus * minus / (minus + (p / (1 - p)) ** 2 * plus)
    check_contrast(xp, contrast_gain, arguments, dtype, exact, tolerances.CONTRAST_EPS)


@strategies.in_rows
@given(data=st.data())
def test_optimal_contrast(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    arguments = [drawn(data, probabilities(dtype)), *(drawn(data, positive(dtype)) for _ in "+-")]
    exact = [p / (1 - p) * plus / minus for p, plus, minus in rows(arguments)]
    bound = tolerances.OPTIMAL_CONTRAST_EPS
    check_contrast(xp, optimal_contrast, arguments, dtype, exact, bound)


@given(
    p=st.floats(1e-3, 0.999),
    plus=st.floats(1e-3, 1e3),
    minus=st.floats(1e-3, 1e3),
    c=st.floats(-10, 1e4),
)
def test_the_best_contrast_is_best(p: float, plus: float, minus: float, c: float) -> None:
    least = contrast_gain(p, plus, minus)
    slack = 1 + 2 * tolerances.CONTRAST_EPS * np.spacing(1.0)
    best = contrast_gain(p, plus, minus, optimal_contrast(p, plus, minus))
    assert least / slack <= best <= least * slack
    assert least <= plus * slack
    q = 1 - p
    assume(abs(q + c * p) > 1e-3 * (q + abs(c) * p))
    assert contrast_gain(p, plus, minus, c) * (slack + 1e-9) >= least
    assert contrast_gain(p, plus, minus, 0.0) == plus


def test_a_negative_contrast_cancels_as_documented() -> None:
    for p, c in ((0.5, -0.5), (0.25, -2.9), (0.75, -0.33), (0.9, -5.0)):
        exact = oracle.gain(*oracles.fractions([p, 2.0, 3.0, c]))
        q = 1 - p
        bound = tolerances.CONTRAST_EPS * (q + abs(c) * p) / abs(q + c * p)
        assert abs(contrast_gain(p, 2.0, 3.0, c) / float(exact) - 1) <= bound * np.spacing(1.0)


def test_extreme_contrasts_stay_in_range() -> None:
    """Squares of c and of p/q leave the range where the result does not."""
    for p, plus, minus in ((0.5, 1e200, 1e-200), (0.5, 1e-200, 1e200), (1e-300, 1e10, 1e-10),
                           (1e-150, 1e300, 1e-300), (1 - 2.0**-53, 1e300, 1e300)):  # fmt: skip
        exact = [oracle.least_gain(*oracles.fractions([p, plus, minus]))]
        backend = Backend("numpy", np, ("float64",))
        result = contrast_gain(p, plus, minus)
        assert_close(backend, np.asarray(result), exact, "float64", tolerances.CONTRAST_EPS)
    for c in (1e200, 1e308):
        exact = [oracle.gain(*oracles.fractions([0.5, 1.0, 2.0, c]))]
        result = np.asarray(contrast_gain(0.5, 1.0, 2.0, c))
        assert_close(backend, result, exact, "float64", tolerances.CONTRAST_EPS)


def test_the_reduction_by_subtraction_needs_no_contrast() -> None:
    """preference.control-variate: Var(g⁺ − cg⁻) = V₊ + c²V₋, so it is least at c = 0; what
    falls is the variance relative to the squared mean. Exactly, on a two-point example: one
    rollout of each side, scores ±1 with mean ½ on the correct side, p = ½."""
    correct = [(Fraction(3, 4), 1), (Fraction(1, 4), -1)]  # mean ½, variance ¾
    wrong = [(w, -s) for w, s in correct]  # mean −½ = −(p/q)·½
    for c in (Fraction(0), Fraction(1, 2), Fraction(1), Fraction(2)):
        outcomes = [(v * w, s - c * t) for (v, s), (w, t) in itertools.product(correct, wrong)]
        centre = sum(w * x for w, x in outcomes)
        spread = sum(w * (x - centre) ** 2 for w, x in outcomes)
        assert spread == Fraction(3, 4) * (1 + c**2)
        unit = Fraction(1, 4)  # ‖E g⁺‖²
        gain = contrast_gain(
            0.5, float(Fraction(3, 4) / unit), float(Fraction(3, 4) / unit), float(c)
        )
        assert abs(Fraction(float(gain)) - spread / centre**2) < Fraction(1, 10**14)
    assert contrast_gain(0.5, 3.0, 3.0) == 1.5  # at c* = 1: half of V₊
    assert optimal_contrast(0.5, 3.0, 3.0) == 1.0


# --- budgets ------------------------------------------------------------------------------------


def weighted_budget(means: Any, variances: Any, weights: Any, *, prompts: int) -> Any:
    return budget_variance(means, variances, prompts=prompts, weights=weights)


@strategies.in_rows
@given(data=st.data())
def test_budget_variance(xp: Backend, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    sign = st.sampled_from([-1.0, 1.0])
    signed = st.builds(lambda s, v: s * v, sign, st.one_of(st.just(0.0), positive(dtype)))
    means = drawn(data, signed)
    variances = drawn(data, st.one_of(st.just(0.0), positive(dtype)))
    weights = drawn(data, st.one_of(st.just(0.0), st.just(1.0), positive(dtype)))
    assume(any(weights))
    prompts = data.draw(st.sampled_from([1, 7]))
    m, v, w = (oracles.fractions(x) for x in (means, variances, weights))
    arrays = [xp.asarray(x, dtype) for x in (means, variances, weights)]
    bound = tolerances.budget_ulp(strategies.ROWS)
    for exact, function, given_arrays in (
        (
            oracle.budget(m, v, [Fraction(1)] * strategies.ROWS, prompts),
            budget_variance,
            arrays[:2],
        ),
        (oracle.budget(m, v, w, prompts), weighted_budget, arrays),
    ):
        assume(exact < oracles.largest_float(dtype) * Fraction(1 - tolerances.NEAR_OVERFLOW))
        result = xp.call(function, *given_arrays, prompts=prompts)
        assert result.shape == ()
        assert result.dtype == arrays[0].dtype
        assert_close(xp, xp.to_numpy(result), [exact], dtype, bound)


def test_equal_means_leave_the_variance_within(lib: Backend) -> None:
    for dtype in lib.dtypes:
        for value in (0.1, 1 / 3, -7.0, 1000.0):
            means = lib.asarray([strategies.round_to(value, dtype)] * 7, dtype)
            zero = lib.asarray([0.0] * 7, dtype)
            assert_all_zero(lib.to_numpy(lib.call(budget_variance, means, zero, prompts=3)))
            weights = lib.asarray([0.3, 2.0, 0.0, 1.0, 5.0, 5.0, 0.1], dtype)
            result = lib.call(weighted_budget, means, zero, weights, prompts=3)
            assert_all_zero(lib.to_numpy(result))


def test_a_prompt_of_weight_zero_does_not_matter() -> None:
    """Not even as an origin of distances: 1e20 would swallow the spread of the others."""
    means, variances = np.array([1e20, 1.0, 2.0, 4.0]), np.array([1e30, 0.5, 0.5, 0.5])
    weights = np.array([0.0, 1.0, 1.0, 1.0])
    got = budget_variance(means, variances, prompts=5, weights=weights)
    exact = oracle.budget(*(oracles.fractions(x) for x in (means, variances, weights)), 5)
    off = oracles.excess(got, exact, "float64")
    assert off <= tolerances.budget_ulp(4)


def test_coordinates_are_apart_and_shapes_follow(lib: Backend) -> None:
    rng = np.random.default_rng(0)
    shapes = ((5,), (5, 1), (5, 3), (5, 2, 2), (1,), (1, 2))
    for shape in ((5, 3),) if lib.compiled else shapes:
        means, variances = rng.normal(size=shape), rng.uniform(size=shape)
        weights = rng.uniform(size=shape[0])
        a, b, w = (lib.asarray(x, "float64") for x in (means, variances, weights))
        for result, share in (
            (lib.call(budget_variance, a, b, prompts=4), np.ones(shape[0])),
            (lib.call(weighted_budget, a, b, w, prompts=4), weights),
        ):
            values = lib.to_numpy(result)
            assert values.shape == shape[1:]
            for index in np.ndindex(shape[1:]):
                at = (slice(None), *index)
                exact = oracle.budget(
                    oracles.fractions(means[at]),
                    oracles.fractions(variances[at]),
                    oracles.fractions(share),
                    4,
                )
                off = oracles.excess(values[index], exact, "float64")
                assert off <= tolerances.budget_ulp(shape[0])


def test_extreme_means_and_weights() -> None:
    means, variances = np.array([1e150, -1e150]), np.array([1e300, 1e300])
    assert budget_variance(means, variances, prompts=1) == pytest.approx(2e300, rel=1e-14)
    for unit in (1e-300, 1e300, 5e307):
        weights = np.array([unit, 3 * unit])
        got = budget_variance(
            np.array([0.0, 4.0]), np.array([1.0, 1.0]), prompts=2, weights=weights
        )
        assert got == 2.0


def exact_variance(draws: dict[int, list[tuple[Fraction, Fraction]]], prompts: int) -> Fraction:
    """Variance of the mean step over every sequence of prompts and every outcome of their
    groups, each prompt equally likely."""
    steps = [(Fraction(1, len(draws)) * w, x) for group in draws.values() for w, x in group]
    first = second = Fraction(0)
    for sequence in itertools.product(steps, repeat=prompts):
        chance, mean = Fraction(1), Fraction(0)
        for w, x in sequence:
            chance, mean = chance * w, mean + x / prompts
        first, second = first + chance * mean, second + chance * mean**2
    return second - first**2


def pair_steps(p: Fraction) -> list[tuple[Fraction, Fraction]]:
    """2-GRPO on a logit prompt, score R − p: step ½ with chance 2pq, else 0."""
    return [(2 * p * (1 - p), Fraction(1, 2)), (1 - 2 * p * (1 - p), Fraction(0))]


@pytest.mark.parametrize("prompts", [1, 2, 3])
def test_budget_against_every_outcome(prompts: int) -> None:
    """preference.budget-variance, and preference.rollout-iid: Var(one rollout)/(QG) is less."""
    pool = {0: Fraction(1, 10), 1: Fraction(1, 2), 2: Fraction(7, 8)}
    draws = {q: pair_steps(p) for q, p in pool.items()}
    exact = exact_variance(draws, prompts)
    means = [sum(w * x for w, x in group) for group in draws.values()]
    variances = [
        sum(w * (x - m) ** 2 for w, x in group)
        for group, m in zip(draws.values(), means, strict=True)
    ]
    assert oracle.budget(means, variances, [Fraction(1)] * 3, prompts) == exact
    got = budget_variance([float(m) for m in means], [float(v) for v in variances], prompts=prompts)
    assert got == pytest.approx(float(exact), rel=1e-14)


def test_rollouts_of_a_prompt_share_it() -> None:
    """preference.rollout-iid: mean reward of Q prompts × G rollouts, exactly. Var = (1/Q)[Var_q(p)
    + E_q pq/G] exceeds Var(R)/(QG) as soon as prompts differ."""
    pool = [Fraction(1, 10), Fraction(9, 10)]
    rollouts = 3
    draws = {
        n: [
            (math.comb(rollouts, k) * p**k * (1 - p) ** (rollouts - k), Fraction(k, rollouts))
            for k in range(rollouts + 1)
        ]
        for n, p in enumerate(pool)
    }
    exact = exact_variance(draws, 2)
    got = budget_variance(
        [float(p) for p in pool], [float(p * (1 - p) / rollouts) for p in pool], prompts=2
    )
    assert got == pytest.approx(float(exact), rel=1e-14)
    mean = oracles.mean(pool)
    as_if_independent = mean * (1 - mean) / (2 * rollouts)
    assert exact > 2 * as_if_independent
    more = budget_variance(
        [float(p) for p in pool], [float(p * (1 - p) / 10**9) for p in pool], prompts=2
    )
    assert more > 0.07  # rollouts alone do not bring Var_q(p)/Q = .08 down


@pytest.mark.parametrize("rare", [0.0, 1e-38])
def test_a_far_prompt_counts_by_its_weight(rare: float) -> None:
    means, weights = np.array([0.0, 1e20], "f4"), np.array([1.0, rare], "f4")
    found = budget_variance(means, np.ones(2, "f4"), prompts=2, weights=weights)
    share = Fraction(float(weights[1])) / (1 + Fraction(float(weights[1])))
    expected = (1 + Fraction(float(means[1])) ** 2 * share * (1 - share)) / 2
    assert abs(Fraction(float(found)) / expected - 1) < tolerances.FLOAT32_RELATIVE


@pytest.mark.parametrize(
    ("p", "plus", "minus", "c"),
    [
        (1e-21, 1e20, 1e-20, None),
        (0.99, 1.0, 1.0, 1e38),
        (0.9999, 1.0, 1.0, 3e38),
        (0.9999999, 1.0, 1.0, 1e38),
    ],
)
def test_contrasts_far_out(p: float, plus: float, minus: float, c: float | None) -> None:
    numbers = [np.array([x], "f4") for x in (p, plus, minus)]
    found = contrast_gain(*numbers, None if c is None else np.array([c], "f4"))
    exact = [Fraction(float(x[0])) for x in numbers]
    q, ratio = 1 - exact[0], exact[0] / (1 - exact[0])
    if c is None:
        expected = exact[1] * exact[2] / (exact[2] + ratio**2 * exact[1])
    else:
        far = Fraction(float(np.float32(c)))
        expected = (exact[1] + far**2 * exact[2]) / (1 + far * exact[0] / q) ** 2
    assert abs(Fraction(float(found[0])) / expected - 1) <= 8 * 2.0**-23


def test_no_warning_where_a_rate_underflows() -> None:
    with np.errstate(all="raise"):
        assert float(discard_rate(1e-300)) == 1.0
        assert float(mean_discard_rate(np.array([1e-300, 1.0]))) == 1.0
        rate = mean_discard_rate(np.array([0.1, 0.9]), weights=np.array([1e-310, 1e300]))
        assert abs(float(rate) - 0.82) < tolerances.PROMISED_RELATIVE


@given(p=st.floats(0.01, 0.49), steps=st.integers(-2, 2), wrong=st.sampled_from([0.0, 1.0]))
def test_contrasts_next_to_the_one_without_a_mean(p: float, steps: int, wrong: float) -> None:
    """The mean is 0, and refused, or it is not, and the variance is large."""
    c = -(1 - p) / p
    for _ in range(abs(steps)):
        c = math.nextafter(c, math.copysign(math.inf, steps))
    if (1 - p) + c * p == 0:
        with pytest.raises(DomainError, match="c must"):
            contrast_gain(p, 1.0, wrong, c)
    else:
        assert 1e20 < float(contrast_gain(p, 1.0, wrong, c)) < math.inf


def test_dtype_of_an_expected_advantage() -> None:
    half, numbers = np.asarray(0.3, "f2"), np.array([1.0, 0.0], "f4")
    assert expected_advantage(half, numbers).dtype == np.float32
    assert expected_advantage(half, 1).dtype == np.float16
