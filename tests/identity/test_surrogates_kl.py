"""Estimators of the divergence: values against 50 digits, small and large, and their means."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.surrogates import kl
from tests import oracles, tolerances
from tests.backends import Backend
from tests.identity import surrogates_oracle as oracle

ESTIMATORS = ("k1", "k2", "k3")
GRADIENTS = ("value", "policy")
SIZE = 8


@st.composite
def log_ratios(draw: st.DrawFn) -> list[float]:
    """Differences from 2^-40 to 2^8, of either sign; half their square is still a float16."""
    exponents = st.lists(st.integers(-40, 7), min_size=SIZE, max_size=SIZE)
    factors = st.lists(st.floats(-2, 2, width=32), min_size=SIZE, max_size=SIZE)
    pairs = zip(draw(factors), draw(exponents), strict=True)
    return [float(np.ldexp(f, e)) for f, e in pairs]


@given(data=st.data())
def test_values(xp: Backend, data: st.DataObject) -> None:
    estimator = data.draw(st.sampled_from(ESTIMATORS))
    gradient = data.draw(st.sampled_from(GRADIENTS))
    dtype = data.draw(st.sampled_from(("float32",) if xp.compiled else xp.dtypes))
    ref = oracle.seen(xp, data.draw(log_ratios()), dtype)
    logp = np.zeros(SIZE)  # so that the difference is exact, however small
    result = xp.call(
        kl, xp.asarray(logp, dtype), xp.asarray(ref, dtype), estimator=estimator, gradient=gradient
    )
    for got, at in zip(xp.to_numpy(result), ref, strict=True):
        value, _ = oracle.kl(0.0, at, estimator, dtype)
        off = oracles.excess(got, value, dtype, flushes=xp.flushes_subnormals)
        assert off <= tolerances.KL_ULP[estimator], (at, got, value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_k3_is_accurate_where_it_is_small(xp: Backend, dtype: str) -> None:
    # exp(y) − 1 − y as written has no correct digit at 1e-8, and none of expm1(y) − y at 1e-16.
    points = [s * 10.0**-n for n in range(12) for s in (1, -1)] + [0.4999, 0.5001, -0.4999, -0.5001]
    ref = oracle.seen(xp, points, dtype)
    result = xp.to_numpy(xp.call(kl, xp.asarray(np.zeros(len(points)), dtype),
                                 xp.asarray(ref, dtype)))  # fmt: skip
    for got, at in zip(result, ref, strict=True):
        value, _ = oracle.kl(0.0, at, "k3", dtype)
        assert oracles.excess(got, value, dtype) <= tolerances.KL_ULP["k3"], (at, got, value)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_extremes_are_finite_and_nonnegative(xp: Backend, estimator: str) -> None:
    ref = [-math.inf, -500.0, -80.0, -30.0, 30.0, 80.0, 500.0, 0.0]
    logp = [0.0] * 7 + [-math.inf]
    for dtype in {"float16", "float32", "float64"} & set(xp.dtypes):
        result = xp.to_numpy(
            xp.call(kl, xp.asarray(logp, dtype), xp.asarray(ref, dtype), estimator=estimator)
        )
        assert np.isfinite(result).all()
        for got, new, at in zip(result, logp, ref, strict=True):
            value, _ = oracle.kl(new, at, estimator, dtype)
            # log r up to 80 and its exponential
            bound = tolerances.KL_ULP[estimator] + 80 * (estimator == "k3")
            assert oracles.excess(got, value, dtype) <= bound, (new, at, got)
    if estimator != "k1":
        assert (result >= 0).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_masked_tokens_never_matter(xp: Backend, estimator: str) -> None:
    logp = np.array([[-1.0, math.nan, -2.0], [math.inf, -1.0, 1e30]])
    ref = np.array([[-1.5, -1.0, -1.0], [math.nan, math.nan, -math.inf]])
    mask = np.array([[1, 0, 1], [0, 0, 0]])
    result = xp.to_numpy(
        xp.call(_with_mask, xp.asarray(logp, "float32"), xp.asarray(ref, "float32"),
                xp.asarray(mask), estimator=estimator)
    )  # fmt: skip
    exact = [oracle.kl(a, b, estimator, "float32")[0] for a, b in ((-1, -1.5), (-2, -1))]
    expected = [float(value) for value in exact]
    np.testing.assert_allclose(result[mask == 1], expected, rtol=1e-6)
    assert (result[mask == 0] == 0).all()


def _with_mask(logp, ref, mask, **options):  # type: ignore[no-untyped-def]
    return kl(logp, ref, mask=mask, **options)


def test_any_shape_without_a_mask(xp: Backend) -> None:
    for shape in ((2, 3, 2),) if xp.compiled else ((), (0,), (2, 0), (2, 3, 2)):
        array = xp.asarray(np.full(shape, -1.0), "float32")
        result = xp.to_numpy(xp.call(kl, array, array))
        assert result.shape == shape
        assert (result == 0).all()


def test_means_under_the_policy() -> None:
    """surrogates.kl-values, exactly: a policy with rational probabilities."""
    policy = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
    ref = [Fraction(1, 4), Fraction(1, 4), Fraction(1, 2)]
    logs = [[math.log(p) for p in row] for row in (policy, ref)]
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        divergence = sum(
            oracles.to_mpf(p) * mpmath.log(oracles.to_mpf(p / r))
            for p, r in zip(policy, ref, strict=True)
        )
    means = {
        name: float(np.dot([float(p) for p in policy], kl(*np.array(logs), estimator=name)))
        for name in ESTIMATORS
    }
    np.testing.assert_allclose(means["k1"], float(divergence), rtol=1e-15)
    np.testing.assert_allclose(means["k3"], float(divergence), rtol=1e-15)
    assert abs(means["k2"] - float(divergence)) > 0.02
