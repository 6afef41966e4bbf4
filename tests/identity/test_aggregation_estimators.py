"""Mean, variance and bias of what a method estimates, against the table's definitions."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.aggregation import (
    coefficient_of_variation,
    estimator_bias,
    estimator_mean,
    estimator_variance,
    token_weights,
)
from tests import oracles, strategies, tolerances
from tests.backends import Backend
from tests.identity.grouping import assert_close

Numbers = list[mpmath.mpf]
METHODS: dict[str, tuple[str, dict[str, float]]] = {
    "grpo": ("grpo", {}),
    "dapo": ("dapo", {}),
    "dapo-constant": ("dapo", {"constant": 77}),
    "dr_grpo": ("dr_grpo", {"constant": 60}),
    "bnpo": ("bnpo", {}),
    "sequence_sum": ("sequence_sum", {}),
    "delta_l": ("delta_l", {"alpha": 1.0, "constant": 60}),
    "delta_l-half": ("delta_l", {"alpha": 0.5, "constant": 60}),
    "delta_l-flat": ("delta_l", {"alpha": 0.0, "constant": 60}),
    "delta_l-steep": ("delta_l", {"alpha": 7.0, "constant": 60}),
    "delta_l-rising": ("delta_l", {"alpha": -1.5, "constant": 60}),
    "delta_l_batch": ("delta_l_batch", {"alpha": 0.9, "constant": 60}),
}

COMPILED = ("grpo", "dapo", "delta_l-half")  # these stand for all where each is compiled


def exact_x(lengths: list[Fraction], name: str, dtype: str) -> Numbers:
    """x_i of each response, from the table."""
    method, options = METHODS[name]
    size = len(lengths)
    constant = mpmath.mpf(options.get("constant", 1))
    kind = np.float64 if dtype == "float64" else np.float32
    alpha = oracles.to_mpf(Fraction(float(kind(options.get("alpha", 1.0)))))
    values = [oracles.to_mpf(x) for x in lengths]
    if method == "grpo":
        return [1 / (size * x) for x in values]
    if method in ("dapo", "bnpo"):
        return [1 / (constant if "constant" in options else mpmath.fsum(values))] * size
    if method in ("dr_grpo", "sequence_sum"):
        return [1 / (size * constant)] * size
    powers = [x**-alpha for x in values]
    return [p / mpmath.fsum(powers) / constant for p in powers]


def lengths_of(dtype: str, size: int) -> st.SearchStrategy[list[float]]:
    top = {"float16": 6e4, "bfloat16": 2.0**24, "float32": 2.0**24, "float64": 2.0**40}[dtype]
    near = st.integers(1, 60).map(float)
    far = st.floats(1, top)
    one = st.one_of(near, far).map(lambda x: strategies.round_to(x, dtype))
    return st.lists(one, min_size=size, max_size=size)


def drawn(xp: Backend, data: st.DataObject) -> tuple[str, list[float]]:
    dtypes = ("float32",) if xp.compiled else xp.dtypes
    dtype = data.draw(st.sampled_from(dtypes))
    size = 3 if xp.compiled else data.draw(st.integers(1, 9))
    return dtype, data.draw(lengths_of(dtype, size))


@given(data=st.data())
def test_mean_and_variance(xp: Backend, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(COMPILED if xp.compiled else list(METHODS)))
    dtype, lengths = drawn(xp, data)
    method, options = METHODS[name]
    array = xp.asarray(lengths, dtype)
    size, alpha = len(lengths), options.get("alpha", 1.0)
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        x = exact_x(oracles.fractions(lengths), name, dtype)
        mean = mpmath.fsum(x)
        variance = 2 * mpmath.fsum(a * a * length for a, length in zip(x, lengths, strict=True))
    actual = xp.call(estimator_mean, array, method=method, **options)
    assert actual.dtype == array.dtype
    bound = tolerances.mean_weight_ulp(size)
    assert_close(xp, xp.to_numpy(actual), [mean], dtype, bound)
    if variance > oracles.to_mpf(oracles.largest_float(dtype)) / 2:
        return
    actual = xp.call(estimator_variance, array, method=method, variance=2.0, **options)
    bound = tolerances.length_variance_ulp(size, alpha)
    assert_close(xp, xp.to_numpy(actual), [variance], dtype, bound)


@given(data=st.data(), name=st.sampled_from(list(METHODS)))
def test_coefficient_of_variation(xp: Backend, data: st.DataObject, name: str) -> None:
    if xp.compiled:
        return  # its parts are the test above
    dtype, lengths = drawn(xp, data)
    method, options = METHODS[name]
    alpha = options.get("alpha", 1.0)
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        x = exact_x(oracles.fractions(lengths), name, dtype)
        second = mpmath.fsum(a * a * length for a, length in zip(x, lengths, strict=True))
        exact = mpmath.sqrt(2 * second) / mpmath.fsum(x) / 3
    if exact > 2.0**14:
        return
    array = xp.asarray(lengths, dtype)
    given_alpha = {"alpha": alpha} if method.startswith("delta_l") else {}
    actual = xp.call(
        coefficient_of_variation, array, method=method, variance=2, gradient_norm=3, **given_alpha
    )
    bound = tolerances.length_variance_ulp(len(lengths), alpha)
    assert_close(xp, xp.to_numpy(actual), [exact], dtype, bound)


@pytest.mark.parametrize("name", METHODS)
def test_token_weights_are_x(name: str) -> None:
    """A group's weights are the x_i of the table; its gradient g_i a sum over tokens."""
    lengths = [5, 1, 3, 3]
    method, options = METHODS[name]
    if abs(options.get("alpha", 1.0)) > 4:
        return
    mask = np.arange(5) < np.array(lengths)[:, None]
    weights = token_weights(mask, method, **options)[:, 0]
    x = exact_x([Fraction(n) for n in lengths], name, "float64")
    for got, want in zip(weights, x, strict=True):
        assert oracles.excess(got, want, "float64") <= tolerances.token_weight_ulp(
            4, by_length=True
        )
    mean = float(estimator_mean(np.array(lengths), method, **options))
    assert abs(mean / weights.sum() - 1) < 1e-14


def test_table() -> None:
    """aggregation.table: which coefficients of variation are equal, and which is less."""
    rng = np.random.default_rng(3)
    lengths = np.exp(rng.normal(5, 1, size=(20, 8)))
    of = {m: coefficient_of_variation(lengths, m) for m in ("grpo", "dapo", "dr_grpo", "bnpo")}
    least = coefficient_of_variation(lengths, "delta_l", alpha=1.0)
    np.testing.assert_array_equal(of["grpo"], least)
    np.testing.assert_array_equal(of["dapo"], of["dr_grpo"])
    np.testing.assert_array_equal(of["dapo"], coefficient_of_variation(lengths, "delta_l", alpha=0))
    np.testing.assert_allclose(least, 1 / np.sqrt((1 / lengths).sum(axis=1)), rtol=1e-14)
    np.testing.assert_allclose(of["dapo"], np.sqrt(lengths.sum(axis=1)) / 8, rtol=1e-14)
    assert (least < of["dapo"]).all()
    equal = np.full(4, 37.0)
    values = [coefficient_of_variation(equal, "delta_l", alpha=a) for a in (-2, 0, 0.5, 1, 9)]
    np.testing.assert_allclose(values, values[0], rtol=1e-15)


@given(
    lengths=st.lists(st.integers(1, 5000), min_size=2, max_size=8).filter(lambda x: len({*x}) > 1)
)
def test_variance_falls_to_alpha_one_and_rises_after(lengths: list[int]) -> None:
    alphas = [-2.0, -1.0, 0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0, 3.0]
    values = [
        float(estimator_variance(np.array(lengths), "delta_l", alpha=a, constant=7)) for a in alphas
    ]
    turn = alphas.index(1.0)
    slack = 1 + 1e-13  # nearly equal lengths
    assert all(a * slack >= b for a, b in itertools.pairwise(values[: turn + 1]))
    assert all(a <= b * slack for a, b in itertools.pairwise(values[turn:]))
    other = estimator_variance(np.array(lengths), "dr_grpo", constant=7)
    assert abs(values[alphas.index(0.0)] / float(other) - 1) < 1e-14


def test_large_lengths_and_powers_do_not_overflow(xp: Backend) -> None:
    for dtype, top in (("float32", 2.0**120), ("float64", 2.0**1000)):
        lengths = xp.asarray([1.0, 2.0, top], dtype)
        for alpha in (4.0,) if xp.compiled else (1.0, 4.0, 50.0, 1e300):
            value = xp.call(
                estimator_variance, lengths, method="delta_l", alpha=alpha, constant=1.0
            )
            with mpmath.workdps(tolerances.ORACLE_DIGITS):
                ratio = mpmath.mpf(2) ** -min(alpha, 1e4)
                exact = (1 + 2 * ratio**2) / (1 + ratio) ** 2
            bound = tolerances.length_variance_ulp(3, min(alpha, 50.0))
            assert_close(xp, xp.to_numpy(value), [exact], dtype, bound)
        value = xp.call(estimator_variance, lengths, method="delta_l", alpha=-40.0, constant=1.0)
        assert float(value) == top
        mean = xp.to_numpy(xp.call(estimator_mean, lengths, method="dapo"))
        exact = Fraction(3) / (3 + Fraction(top))
        assert_close(xp, mean, [exact], dtype, tolerances.mean_weight_ulp(3))
        many = xp.asarray([top * 2.0**5] * 8, dtype)  # whose sum would overflow in float32
        assert float(xp.call(estimator_mean, many, method="dapo")) == 1 / (top * 2.0**5)


def test_batches_of_groups(xp: Backend) -> None:
    lengths = np.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0]])
    for function in (estimator_mean, estimator_variance):
        together = xp.to_numpy(xp.call(function, xp.asarray(lengths), method="grpo"))
        single = [float(function(row, "grpo")) for row in lengths]
        np.testing.assert_allclose(together, single, rtol=1e-6)
    assert estimator_mean([[1, 2], [4, 4]], "dr_grpo", constant=4).tolist() == [0.25, 0.25]


# --- bias ----------------------------------------------------------------------------------------


def witness(group_size: int) -> tuple[np.ndarray, np.ndarray]:
    """All outcomes of one Bernoulli(1/2) choice, long (L = 2, R = 1) or short (L = 1, R = 0), with
    a logit: the score is ±1/2, g = R s."""
    long = np.array(list(itertools.product((True, False), repeat=group_size)))
    return np.where(long, 2, 1), np.where(long, 0.5, 0.0)


@pytest.mark.parametrize(
    ("group_size", "alpha", "mean"),
    [
        (2, 1.0, Fraction(5, 24)),
        (2, 0.0, Fraction(1, 4)),
        (4, 0.0, Fraction(1, 4)),
    ],
)
def test_the_witness_exactly(xp: Backend, group_size: int, alpha: float, mean: Fraction) -> None:
    """aggregation.delta-l-unconditional."""
    if xp.compiled and (group_size, alpha) != (2, 1.0):
        return
    lengths, gradients = witness(group_size)
    for dtype in ("float64",) if xp.compiled else ("float32", "float64"):
        arrays = [xp.asarray(lengths), xp.asarray(gradients, dtype)]
        bias = xp.to_numpy(xp.call(estimator_bias, *arrays, method="delta_l", alpha=alpha))
        bound = tolerances.length_bias_ulp(2**group_size, group_size, alpha)
        exact = [mean - Fraction(1, 4)]
        if alpha == 0:
            assert bias == 0
        assert_close(xp, bias, exact, dtype, bound, relative_to=Fraction(1, 2))


def test_the_published_digits_of_the_witness() -> None:
    def mean(group_size: int, alpha: float) -> float:
        return float(estimator_bias(*witness(group_size), "delta_l", alpha=alpha)) + 0.25

    assert abs(mean(4, 1.0) - 0.186607) <= tolerances.SIX_DECIMALS
    assert abs(mean(2, 0.5) - 0.228553) <= tolerances.SIX_DECIMALS
    # The limit 1/6 as G grows, over the count of long responses.
    group_size = 400
    count = np.arange(group_size + 1)
    lengths = np.where(np.arange(group_size) < count[:, None], 2, 1)
    gradients = np.where(lengths == 2, 0.5, 0.0)
    chances = np.array(
        [float(Fraction(int(mpmath.binomial(group_size, k)), 2**group_size)) for k in count]
    )
    large = estimator_bias(lengths, gradients, "delta_l", probabilities=chances) + 0.25
    assert 0 < large - 1 / 6 < 1 / group_size
    assert mean(2, 1.0) > mean(4, 1.0) > large


def test_grpo_on_the_witness() -> None:
    """aggregation.grpo-length: E[g/L]/E[1/L] = (1/8)/(3/4), not 1/4; at any group size."""
    for group_size in (1, 2, 5):
        bias = estimator_bias(*witness(group_size), "grpo")
        assert abs(bias - (1 / 6 - 1 / 4)) < 1e-15


def test_dapo_on_the_witness() -> None:
    """aggregation.token-mean-ratio: the mean of Σg/ΣL is not E[g]/E[L]."""
    lengths, gradients = witness(2)
    mean = np.mean(gradients.sum(axis=1) / lengths.sum(axis=1))
    scale = np.mean(2 / lengths.sum(axis=1))
    assert abs(estimator_bias(lengths, gradients, "dapo") - (mean / scale - 0.25)) < 1e-15
    assert abs(mean - 0.25 / 1.5) > 0.01


@pytest.mark.parametrize("name", METHODS)
def test_unbiased_under_the_condition(name: str) -> None:
    """aggregation.delta-l-unbiased: E[g_i | L] the same in every outcome."""
    method, options = METHODS[name]
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 500, size=(50, 6))
    gradients = np.broadcast_to(np.array([0.5, -2.0, 3.0]), (50, 6, 3))
    chances = rng.dirichlet(np.ones(50))
    alpha = {"alpha": options["alpha"]} if "alpha" in options else {}
    bias = estimator_bias(lengths, gradients, method, probabilities=chances, **alpha)
    assert bias.shape == (3,)
    bound = tolerances.length_bias_ulp(50, 6, options.get("alpha", 1.0))
    assert (np.abs(bias) <= bound * np.spacing(6.0)).all()


@given(data=st.data())
def test_bias_of_random_tables(xp: Backend, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(COMPILED if xp.compiled else list(METHODS)))
    method, options = METHODS[name]
    if "constant" in options and method == "dapo":
        return  # the constant cancels, and is not taken
    outcomes, size = (
        (2, 3) if xp.compiled else (data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4)))
    )
    dtype = "float32" if xp.compiled else data.draw(st.sampled_from(("float32", "float64")))
    lengths = [data.draw(lengths_of(dtype, size)) for _ in range(outcomes)]
    numbers = st.lists(st.integers(-64, 64).map(lambda n: n / 8), min_size=size, max_size=size)
    gradients = [data.draw(numbers) for _ in range(outcomes)]
    masses = data.draw(st.lists(st.integers(0, 16), min_size=outcomes, max_size=outcomes))
    masses[0] += 1
    kind = np.float64 if dtype == "float64" else np.float32
    chances = (np.array(masses) / sum(masses)).astype(kind)
    alpha = {"alpha": options["alpha"]} if "alpha" in options else {}
    arrays = [xp.asarray(lengths, dtype), xp.asarray(gradients, dtype), xp.asarray(chances)]
    actual = xp.to_numpy(xp.call(with_chances, *arrays, method=method, **alpha))
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        seen = oracles.fractions(chances)
        p = [oracles.to_mpf(c / sum(seen)) for c in seen]
        x = [exact_x(oracles.fractions(row), name, dtype) for row in lengths]
        whole = mpmath.fsum(c * mpmath.fsum(row) for c, row in zip(p, x, strict=True))
        exact, scale = mpmath.mpf(0), mpmath.mpf(0)
        for c, row, g in zip(p, x, gradients, strict=True):
            for a, value in zip(row, g, strict=True):
                exact += c * (a / whole - mpmath.mpf(1) / size) * value
                scale += c * (a / whole + mpmath.mpf(1) / size) * abs(value)
    if scale == 0:
        assert actual == 0
        return
    bound = tolerances.length_bias_ulp(outcomes, size, options.get("alpha", 1.0))
    assert_close(xp, actual, [exact], dtype, bound, relative_to=scale)


def with_chances(lengths: Any, gradients: Any, chances: Any, **options: Any) -> Any:
    return estimator_bias(lengths, gradients, probabilities=chances, **options)
