"""Importance ratios: values against 50 digits on every backend, extremes, and what is masked."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.surrogates import importance_ratio
from tests import oracles, tolerances
from tests.backends import Backend
from tests.identity import surrogates_oracle as oracle

LEVELS = ("token", "sequence", "sequence_token")
levels = pytest.mark.parametrize("level", LEVELS)
SHAPE = (3, 5)
POISON = (math.nan, math.inf, -math.inf, 1e30)


def batches(reach: float = 6.0) -> st.SearchStrategy[np.ndarray]:
    """Log-probabilities, new and old, stacked (2, 3, 5)."""
    element = st.floats(-reach, 0.0, width=32)
    size = 2 * SHAPE[0] * SHAPE[1]
    return st.lists(element, min_size=size, max_size=size).map(
        lambda values: np.reshape(values, (2, *SHAPE))
    )


def masks() -> st.SearchStrategy[np.ndarray]:
    """0/1 masks, with holes and empty rows."""
    size = SHAPE[0] * SHAPE[1]
    return st.lists(st.integers(0, 1), min_size=size, max_size=size).map(
        lambda values: np.reshape(values, SHAPE)
    )


@given(data=st.data())
def test_values(xp: Backend, data: st.DataObject) -> None:
    level = data.draw(st.sampled_from(LEVELS))
    dtype = data.draw(st.sampled_from(("float32",) if xp.compiled else xp.dtypes))
    logp, old = oracle.seen(xp, data.draw(batches()), dtype)
    mask = data.draw(masks())
    result = xp.call(
        importance_ratio,
        *(xp.asarray(a, dtype) for a in (logp, old)),
        xp.asarray(mask),
        level=level,
    )
    assert tuple(result.shape) == SHAPE
    assert result.dtype == xp.asarray(logp, dtype).dtype
    actual = xp.to_numpy(result)
    assert (actual[mask == 0] == 0).all()
    for b in range(SHAPE[0]):
        kept = np.flatnonzero(mask[b])
        with mpmath.workdps(tolerances.ORACLE_DIGITS):
            logs = [oracle.exact(logp[b, t]) - oracle.exact(old[b, t]) for t in kept]
            size = float(sum(abs(v) for v in logs) / len(logs)) if logs else 0.0
            mean = sum(logs) / len(logs) if logs else None
            exact = [mpmath.exp(v if level == "token" else mean) for v in logs]
        for t, value, log in zip(kept, exact, logs, strict=True):
            moved = abs(float(log)) if level == "token" else 5 * size
            assert oracles.excess(actual[b, t], value, dtype) <= moved + 4


@levels
def test_equal_policies_have_ratio_exactly_one(xp: Backend, level: str) -> None:
    values = np.random.default_rng(0).uniform(-9, 0, SHAPE)
    mask = np.arange(5) < np.array([[5], [1], [3]])
    for dtype in xp.dtypes:
        logp = xp.asarray(values, dtype)
        ratio = xp.to_numpy(xp.call(importance_ratio, logp, logp, xp.asarray(mask), level=level))
        np.testing.assert_array_equal(ratio, mask.astype(ratio.dtype))


@levels
def test_masked_values_never_matter(xp: Backend, level: str) -> None:
    rng = np.random.default_rng(1)
    logp, old = rng.uniform(-3, 0, (2, *SHAPE))
    mask = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0]])
    arrays = [xp.asarray(a, "float32") for a in (logp, old)]
    clean = xp.to_numpy(xp.call(importance_ratio, *arrays, xp.asarray(mask), level=level))
    for turn in range(4):
        poison = np.resize(np.roll(POISON, turn), SHAPE)
        other = np.resize(np.roll(POISON, turn // 2), SHAPE)
        spoiled = [
            xp.asarray(np.where(mask == 1, a, bad), "float32")
            for a, bad in ((logp, poison), (old, other))
        ]
        result = xp.call(importance_ratio, *spoiled, xp.asarray(mask), level=level)
        np.testing.assert_array_equal(xp.to_numpy(result), clean)


@pytest.mark.parametrize("log_ratio", [-math.inf, -1e30, -80, -30, -10, 10, 30, 80, 1e30])
def test_extreme_ratios_are_finite(xp: Backend, log_ratio: float) -> None:
    for dtype in ("float32", "bfloat16") if xp.compiled else xp.dtypes:
        at = -90.0 if log_ratio > 0 else -1.0
        logp = np.array([[at + log_ratio if math.isfinite(log_ratio) else log_ratio, -1.0]])
        old = np.array([[at, -1.0]])
        if dtype == "float16" and abs(log_ratio) == 1e30:
            continue
        new, sampled = oracle.seen(xp, logp, dtype), oracle.seen(xp, old, dtype)
        result = xp.to_numpy(
            xp.call(
                importance_ratio, xp.asarray(new, dtype), xp.asarray(sampled, dtype),
                xp.asarray([[True, True]]),
            )
        )  # fmt: skip
        assert np.isfinite(result).all()
        difference = min(float(new[0, 0]) - float(sampled[0, 0]), oracle.SATURATION[dtype])
        with mpmath.workdps(tolerances.ORACLE_DIGITS):
            exact = mpmath.exp(difference) if math.isfinite(difference) else mpmath.mpf(0)
        off = oracles.excess(result[0, 0], exact, dtype, flushes=xp.flushes_subnormals)
        assert off <= abs(difference) + 4 if exact else result[0, 0] == 0


def test_a_zero_probability_makes_a_sequence_ratio_zero(xp: Backend) -> None:
    logp = xp.asarray([[-1.0, -math.inf, -2.0], [-1.0, -1.0, -1.0]], "float32")
    old = xp.asarray([[-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]], "float32")
    for level in ("sequence", "sequence_token"):
        ratio = xp.call(
            importance_ratio, logp, old, xp.asarray([[1, 1, 1], [1, 1, 1]]), level=level
        )
        assert xp.to_numpy(ratio).tolist() == [[0, 0, 0], [1, 1, 1]]


@levels
def test_wider_padding_changes_no_bit(xp: Backend, level: str) -> None:
    rng = np.random.default_rng(2)
    rows, width = 3, 37
    logp, old = rng.uniform(-4, 0, (2, rows, width))
    mask = np.arange(width) < np.array([[37], [20], [0]])
    for dtype in ("float32",) if xp.compiled else ("float32", "float64"):
        results = []
        for extra in (0, 91) if xp.compiled else (0, 1, 27, 91):
            pad = ((0, 0), (0, extra))
            arrays = [xp.asarray(np.pad(a, pad, constant_values=7.5), dtype) for a in (logp, old)]
            ratio = xp.call(importance_ratio, *arrays, xp.asarray(np.pad(mask, pad)), level=level)
            results.append(xp.to_numpy(ratio)[:, :width])
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])


@levels
def test_empty_batches(xp: Backend, level: str) -> None:
    if xp.name.endswith("vmap"):
        return
    for shape in ((0, 4), (3, 0), (0, 0)):
        empty: Any = xp.asarray(np.zeros(shape), "float32")
        mask = xp.asarray(np.zeros(shape, dtype=bool))
        assert tuple(xp.call(importance_ratio, empty, empty, mask, level=level).shape) == shape


def test_the_sequence_ratio_is_no_importance_weight() -> None:
    # surrogates.gspo-ratio: E_old[s] over every pair of tokens from two policies is below 1.
    old, new = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    pairs = np.array([(i, j) for i in range(3) for j in range(3)])
    ratio = importance_ratio(
        np.log(new)[pairs], np.log(old)[pairs], np.ones_like(pairs), level="sequence"
    )
    weights = old[pairs].prod(axis=1)
    assert (weights * ratio[:, 0]).sum() < 0.93
    token = importance_ratio(np.log(new)[pairs], np.log(old)[pairs], np.ones_like(pairs))
    np.testing.assert_allclose((weights * token.prod(axis=1)).sum(), 1, rtol=1e-14)
