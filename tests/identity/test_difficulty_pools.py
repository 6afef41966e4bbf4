"""GARL and PAFT: exact enumeration of pools and of choices, bias, bounds, conventions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import array_api_compat.numpy as anp
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.difficulty import garl_estimate, paft_estimate
from identity.difficulty.pool import _chosen
from identity.expectation import update_weight
from tests import oracles
from tests import tolerances as tol
from tests.identity import difficulty_oracle as oracle

EPS = 2.0**-52
INDICES = st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.75, 1.0, 1.5])


@st.composite
def pool(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores (M, 2) and weights (M,), zeros among them, not all."""
    size = draw(st.integers(1, 6))
    weights = draw(st.lists(st.one_of(st.just(0.0), st.floats(2.0**-30, 1)), min_size=size,
                            max_size=size).filter(any))  # fmt: skip
    entries = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=2)
    scores = draw(st.lists(entries, min_size=size, max_size=size))
    return np.asarray(scores), np.asarray(weights)


def check(got: np.ndarray, columns: Any, weights: np.ndarray, q: float) -> None:
    """Against ḡ/w̄^q with g_m given exactly."""
    w = oracles.fractions(weights)
    log_mean = math.log(sum(weights) / len(weights))
    for value, column in zip(got.tolist(), columns, strict=True):
        want, scale = oracle.garl(column, w, mpmath.mpf(q))
        if scale == 0:
            assert value == 0
            continue
        bound = tol.pool_ulp(len(w), q, (1 - q) * log_mean)
        assert oracles.excess(value, want, "float64", relative_to=scale) <= bound


@given(pool=pool(), q=INDICES)
def test_garl(pool: tuple[np.ndarray, np.ndarray], q: float) -> None:
    scores, weights = pool
    gradients = scores * weights[:, None]
    columns = [oracles.fractions(c) for c in gradients.T]
    check(garl_estimate(gradients, weights, q), columns, weights, q)


@given(pool=pool(), q=INDICES, data=st.data())
def test_paft(pool: tuple[np.ndarray, np.ndarray], q: float, data: st.DataObject) -> None:
    """w̄^(1−q) times the mean of the chosen scores, in every dtype of indices."""
    scores, weights = pool
    live = np.flatnonzero(weights)
    chosen = np.asarray(data.draw(st.lists(st.sampled_from(live), min_size=1, max_size=5)))
    kind = data.draw(st.sampled_from(["int64", "int32", "uint8", "uint64"]))
    got = paft_estimate(scores, weights, q, indices=chosen.astype(kind))
    mean = sum(oracles.fractions(weights), Fraction(0)) / len(weights)
    for value, column in zip(got.tolist(), scores.T, strict=True):
        exact = oracles.fractions(column)
        with mpmath.workdps(tol.ORACLE_DIGITS):
            factor = oracles.to_mpf(mean) ** (1 - mpmath.mpf(q))
            want = factor * oracles.to_mpf(sum(exact[j] for j in chosen) / Fraction(len(chosen)))
            scale = factor * oracles.to_mpf(sum(abs(exact[j]) for j in chosen) / len(chosen))
        if scale == 0:
            assert value == 0
            continue
        bound = tol.pool_ulp(len(weights), 1 - q, (1 - q) * math.log(float(mean)))
        assert oracles.excess(value, want, "float64", relative_to=scale) <= bound


POOLS = [
    ([Fraction(1, 2), Fraction(1, 4), Fraction(0)], [[4.0, 1.0], [-2.0, 3.0], [50.0, 7.0]]),
    ([Fraction(1), Fraction(0), Fraction(1)], [[1.0, -1.0], [9.0, 9.0], [0.5, 2.0]]),
    ([Fraction(3, 8)], [[1.0, -2.0]]),
]


@pytest.mark.parametrize("q", [0.0, 0.25, 1.0, 1.5])
@pytest.mark.parametrize("weights_scores", POOLS)
@pytest.mark.parametrize("count", [1, 3])
def test_paft_has_the_mean_of_garl(weights_scores: Any, q: float, count: int) -> None:
    """difficulty.paft, over every choice; choosing uniformly instead would not do."""
    fractions, scores = weights_scores
    weights, scores = np.asarray([float(w) for w in fractions]), np.asarray(scores)
    wanted = garl_estimate(scores * weights[:, None], weights, q)
    mean, uniform, spread = np.zeros(2), np.zeros(2), np.zeros(2)
    for drawn, chance in oracle.choices(fractions, count):
        step = paft_estimate(scores, weights, q, indices=np.asarray(drawn))
        mean += float(chance) * step
        spread += float(chance) * (step - wanted) ** 2
    np.testing.assert_allclose(mean, wanted, rtol=64 * EPS * len(scores) ** count)
    live = [j for j, w in enumerate(fractions) if w]
    if len(set(fractions) - {0}) > 1:  # the twin that forgets the weights
        for drawn in itertools.product(live, repeat=count):
            step = paft_estimate(scores, weights, q, indices=np.asarray(drawn))
            uniform += step / len(live) ** count
        assert np.all(np.abs(uniform - wanted) > tol.TELLS_APART * np.abs(wanted))
    assert np.all((spread > 0) == (len(live) > 1))  # resampling adds variance


def test_uniform_numbers_choose_in_proportion() -> None:
    """Midpoints of a grid fine enough for whole shares give the exact mean."""
    weights = np.asarray([0.0, 1.0, 3.0, 0.0, 4.0, 0.0])
    scores = np.arange(6.0)[:, None] ** 2 + 1
    uniforms = (np.arange(64) + 0.5) / 64
    got = paft_estimate(scores, weights, 1.0, uniforms=uniforms)
    assert float(got[0]) == (2 + 3 * 5 + 4 * 17) / 8
    for u, j in ((0.0, 1), (0.125, 2), (math.nextafter(0.125, 0), 1), (0.5, 4), (1 - 2.0**-53, 4)):
        one = paft_estimate(scores, weights, 1.0, uniforms=np.asarray([u]))
        assert float(one[0]) == float(scores[j, 0])


@given(pool=pool(), u=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4),
       kind=st.sampled_from(["float32", "float64"]))  # fmt: skip
def test_uniform_numbers_never_choose_weight_zero(
    pool: tuple[np.ndarray, np.ndarray], u: list[float], kind: str
) -> None:
    """A score that must not be chosen is told by its size; float32 pools keep float64 numbers."""
    scores, weights = pool
    marked = np.where(weights[:, None] > 0, 1.0, 2.0**40).astype(kind) + 0 * scores.astype(kind)
    got = paft_estimate(marked, weights.astype(kind), 1.0, uniforms=np.asarray(u))
    assert got.dtype == kind
    np.testing.assert_array_equal(got, [1.0, 1.0])


@pytest.mark.parametrize(
    ("weights", "kind", "uniform", "wanted"),
    [
        ([1.0, 1.0, 0.0], "float32", 1 - 2.0**-53, 2.0),  # rounds to 1 in float32
        ([5e-324, 0.0, 0.0], "float64", 0.9, 1.0),  # times the sum it rounds to the sum
        ([0.0, 1e-300, 1.0], "float64", 0.0, 2.0),
        ([0.0, 0.0, 1.7e308], "float64", 0.5, 3.0),
    ],
)
def test_some_draw_is_always_chosen(
    weights: list[float], kind: str, uniform: float, wanted: float
) -> None:
    scores = np.asarray([[1.0], [2.0], [3.0]], dtype=kind)
    array = np.asarray(weights, dtype=kind)
    assert paft_estimate(scores, array, 1.0, uniforms=np.asarray([uniform])) == wanted


class RoundedOtherwise:
    """NumPy with running sums as a parallel scan may round them: the last one up."""

    def __getattr__(self, name: str) -> Any:
        return getattr(anp, name)

    def cumulative_sum(self, values: np.ndarray, *, axis: int) -> np.ndarray:
        sums = np.cumsum(values, axis=axis)
        sums[..., -1] = np.nextafter(sums[..., -1], np.inf)
        return sums


def test_the_order_of_a_running_sum_does_not_matter() -> None:
    weights = np.asarray([0.5, 0.25, 0.0])
    for u, j in ((0.0, 0), (0.75, 1), (1 - 2.0**-53, 1)):
        assert _chosen(RoundedOtherwise(), weights, np.asarray([u])) == j


def test_pools_are_independent() -> None:
    rng = np.random.default_rng(7)
    scores, weights = rng.normal(size=(3, 2, 5, 4)), rng.random((3, 2, 5))
    u, j = rng.random((3, 2, 6)), rng.integers(0, 5, (3, 2, 6))
    gradients = scores * weights[..., None]
    for whole, one in (
        (garl_estimate(gradients, weights, 0.4),
         lambda n, m: garl_estimate(gradients[n, m], weights[n, m], 0.4)),
        (paft_estimate(scores, weights, 0.4, uniforms=u),
         lambda n, m: paft_estimate(scores[n, m], weights[n, m], 0.4, uniforms=u[n, m])),
        (paft_estimate(scores, weights, 0.4, indices=j),
         lambda n, m: paft_estimate(scores[n, m], weights[n, m], 0.4, indices=j[n, m])),
    ):  # fmt: skip
        assert whole.shape == (3, 2, 4)
        for n, m in np.ndindex(3, 2):
            np.testing.assert_allclose(whole[n, m], one(n, m), rtol=64 * EPS)


def test_a_pool_without_weight_takes_no_step() -> None:
    """By convention, as the mean score of the successes of MaxRL; not so at q = 0 for GARL."""
    scores, weights = np.asarray([[[3.0], [4.0]], [[5.0], [6.0]]]), np.asarray([[0.0, 0], [0, 1]])
    gradients = scores * weights[..., None]
    for q in (0.25, 1.0, 2.0):
        np.testing.assert_array_equal(garl_estimate(gradients, weights, q)[0], [0.0])
        for name, draws in (("indices", [[0], [1]]), ("uniforms", [[0.1], [0.1]])):
            step = paft_estimate(scores, weights, q, **{name: np.asarray(draws)})
            assert step[0] == 0
            assert step[1] != 0
    np.testing.assert_array_equal(garl_estimate(scores, 0 * weights, 0.0), [[3.5], [5.5]])


@pytest.mark.parametrize("size", [2, 5])
def test_binary_weights_at_one_are_max_rl(size: int) -> None:
    """GARL at q = 1 on 0/1 weights is the mean score of the successes: weight (1 − (1−p)^M)/p."""
    rate = Fraction(3, 16)
    total = 0.0
    for rewards in itertools.product((0, 1), repeat=size):
        chance = math.prod(rate if r else 1 - rate for r in rewards)
        scores = np.asarray([[r - float(rate)] for r in rewards])
        w = np.asarray(rewards)
        total += float(chance) * float(garl_estimate(scores * w[:, None], w, 1.0)[0])
    wanted = update_weight(float(rate), size, "max_rl") * float(rate * (1 - rate))
    np.testing.assert_allclose(total, wanted, rtol=64 * EPS)


@pytest.mark.parametrize("q", [0.25, 0.75, 1.0])
def test_leading_bias(q: float) -> None:
    """difficulty.garl-bias by enumeration: M times the bias nears its limit like 1/M.

    With E g = ∇P, that limit is (q/P^(q+1)) [((q+1)/2) (∇P/P) Var w − Cov(g, w)].
    """
    draws = ((0.25, 1.0), (1.0, -0.5))  # (w, g), equally likely
    (a, b), (c, d) = draws
    mean, gradient = (a + c) / 2, (b + d) / 2
    variance, together = ((a - c) / 2) ** 2, (a - c) * (b - d) / 4
    limit = q / mean ** (q + 1) * ((q + 1) / 2 * gradient / mean * variance - together)
    gaps = []
    for size in (32, 64, 128):
        k = np.arange(size + 1)
        law = np.asarray([math.comb(size, n) / 2**size for n in k])
        pools = np.asarray([[draws[0]] * n + [draws[1]] * (size - n) for n in k])
        steps = garl_estimate(pools[..., 1:], pools[..., 0], q)[:, 0]
        gaps.append(size * (float(law @ steps) - gradient / mean**q) - limit)
    assert abs(limit) > 0.1
    assert abs(gaps[2]) < 0.02 * abs(limit)
    for coarse, fine in itertools.pairwise(gaps):
        assert 1.8 < coarse / fine < 2.2


def test_range() -> None:
    """No intermediate result leaves the range where the step does not."""
    tiny, scores = np.asarray([1e-200, 3e-200]), np.asarray([[1.0], [2.0]])
    for q in (0.0, 0.5, 1.0, 2.0):
        want = 1.75 * 2e-200 ** (1 - q)
        got = garl_estimate(scores * tiny[:, None], tiny, q)
        np.testing.assert_allclose(got, [want], rtol=16 * EPS)
    exact = paft_estimate(scores, tiny, 1.0, indices=np.asarray([0, 1, 1, 1]))
    np.testing.assert_array_equal(exact, [1.75])
    scaled = paft_estimate(scores, tiny * 2.0**700, 1.0, indices=np.asarray([0, 1, 1, 1]))
    np.testing.assert_array_equal(scaled, exact)
