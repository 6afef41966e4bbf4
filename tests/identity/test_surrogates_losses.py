"""Losses of tokens and of batches: values against 50 digits, on every backend."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.surrogates import policy_loss, token_loss
from tests import oracles, tolerances
from tests.backends import Backend
from tests.identity import surrogates_oracle as oracle
from tests.identity.surrogates_oracle import Options

SHAPE = (3, 5)
CASES = {
    "ppo_clip": Options(),
    "unclipped": Options(clip=(1.0, math.inf)),
    "dual_clip": Options(clip=(0.2, 0.2), dual_clip=3.0),
    "cispo": Options("cispo", (1.0, 4.0)),
    "cispo_bounded": Options("cispo", (0.2, 0.28)),
    "gspo": Options("gspo", (3e-4, 4e-4)),
    "gspo_wide": Options("gspo", (0.2, 0.3), dual_clip=1.25),
    "gspo_token": Options("gspo", (0.2, 0.3), level="sequence_token"),
    "reinforce": Options("reinforce", None),
}
cases = pytest.mark.parametrize("case", CASES)
METHODS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "dapo": {},
    "bnpo": {},
    "sequence_sum": {},
    "dr_grpo": {"constant": 7.0},
    "delta_l": {"constant": 7.0, "alpha": 0.75},
    "delta_l_batch": {"constant": 7.0},
}


@st.composite
def batch(draw: st.DrawFn, xp: Backend, dtype: str) -> tuple[np.ndarray, ...]:
    """logp, old_logp, advantages (B,), mask, as floats that the backend holds."""
    size = SHAPE[0] * SHAPE[1]
    logs = st.lists(st.floats(-4, 0, width=32), min_size=size, max_size=size)
    old = np.reshape(draw(logs), SHAPE)
    near = np.reshape(draw(logs), SHAPE) * draw(st.sampled_from([1.0, 0.1, 0.001])) + old
    # no products below the normal range
    weight = st.floats(-3, 3, width=32).filter(lambda v: v == 0 or abs(v) > 2.0**-60)
    advantages = np.array(draw(st.lists(weight, min_size=3, max_size=3)))
    mask = np.reshape(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)), SHAPE)
    return (*(oracle.seen(xp, a, dtype) for a in (near, old, advantages)), mask)


@given(data=st.data())
def test_token_losses(xp: Backend, data: st.DataObject) -> None:
    options = CASES[data.draw(st.sampled_from(sorted(CASES)))]
    dtype = data.draw(st.sampled_from(("float32",) if xp.compiled else xp.dtypes))
    logp, old, advantages, mask = data.draw(batch(xp, dtype))
    arrays = [xp.asarray(a, dtype) for a in (logp, old, advantages)]
    result = xp.call(token_loss, *arrays, xp.asarray(mask), **options.keywords)
    assert result.dtype == arrays[0].dtype
    actual = xp.to_numpy(result)
    assert (actual[mask == 0] == 0).all()
    for b in range(SHAPE[0]):
        row = oracle.row(logp[b], old[b], [advantages[b]] * 5, mask[b], options, dtype)
        for t in np.flatnonzero(mask[b]):
            off = oracles.excess(
                actual[b, t], row.losses[t], dtype, flushes=xp.flushes_subnormals,
                relative_to=row.scales[t],
            )  # fmt: skip
            assert off <= row.ulp, (b, t, actual[b, t], row.losses[t])


@pytest.mark.parametrize("method", METHODS)
def test_aggregated(xp: Backend, method: str) -> None:
    rng = np.random.default_rng(5)
    mask = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
    for case in ("ppo_clip",) if xp.compiled else ("ppo_clip", "gspo_wide", "cispo"):
        old = rng.uniform(-3, 0, SHAPE)
        logp, advantages = old + rng.normal(0, 0.3, SHAPE), rng.normal(size=3)
        for dtype in ("float32",) if xp.compiled else ("float32", "float64"):
            held = [oracle.seen(xp, a, dtype) for a in (logp, old, advantages)]
            result = xp.call(
                policy_loss, *(xp.asarray(a, dtype) for a in held), xp.asarray(mask),
                **CASES[case].keywords, aggregation=method, **METHODS[method],
            )  # fmt: skip
            assert tuple(result.shape) == ()
            exact, scale, moved = aggregated(held, mask, CASES[case], dtype, method)
            off = oracles.excess(xp.to_numpy(result), exact, dtype, relative_to=scale)
            assert off <= moved + tolerances.loss_ulp(*SHAPE)


def aggregated(
    held: list[np.ndarray], mask: np.ndarray, options: Options, dtype: str, method: str
) -> tuple[Any, Any, float]:
    """Σ w ℓ, Σ w |ℓ| in terms that may cancel, and the largest bound of a row."""
    logp, old, advantages = held
    weights = oracle.token_weights(mask, method, **METHODS[method])
    total = scale = mpmath.mpf(0)
    moved = 0.0
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        for b in range(mask.shape[0]):
            row = oracle.row(
                logp[b], old[b], [advantages[b]] * mask.shape[1], mask[b], options, dtype
            )
            total += sum(w * v for w, v in zip(weights[b], row.losses, strict=True))
            scale += sum(w * v for w, v in zip(weights[b], row.scales, strict=True))
            moved = max(moved, row.ulp)
    return total, scale, moved


def test_gspo_is_ppo_clip_with_the_ratio_of_sequences(xp: Backend) -> None:
    rng = np.random.default_rng(0)
    arrays = [xp.asarray(rng.normal(size=s), "float32") for s in (SHAPE, SHAPE, 3)]
    mask = xp.asarray(np.arange(5) < np.array([[5], [2], [0]]))
    one = xp.call(token_loss, *arrays, mask, objective="gspo", clip=(0.2, 0.2))
    other = xp.call(token_loss, *arrays, mask, clip=(0.2, 0.2), level="sequence")
    np.testing.assert_array_equal(xp.to_numpy(one), xp.to_numpy(other))
    # Only the derivative of GSPO-token differs from GSPO's.
    token = xp.call(
        token_loss, *arrays, mask, objective="gspo", clip=(0.2, 0.2), level="sequence_token"
    )
    np.testing.assert_array_equal(xp.to_numpy(one), xp.to_numpy(token))


def test_advantages_of_tokens(xp: Backend) -> None:
    rng = np.random.default_rng(1)
    logp, old = (xp.asarray(rng.normal(size=SHAPE), "float32") for _ in range(2))
    rows = rng.normal(size=3)
    mask = xp.asarray(np.arange(5) < np.array([[5], [2], [0]]))
    spread = rows[:, None] * np.ones(SHAPE)
    for case in ("ppo_clip", "dual_clip") if xp.compiled else CASES:
        options = CASES[case]
        wide, narrow = (
            xp.call(token_loss, logp, old, xp.asarray(a, "float32"), mask, **options.keywords)
            for a in (spread, rows)
        )
        np.testing.assert_array_equal(xp.to_numpy(wide), xp.to_numpy(narrow))


def test_the_dual_clip_bounds_what_a_bad_token_costs() -> None:
    logp, old = np.log([[0.9, 0.5, 0.1, 0.1]]), np.log([[0.01, 0.4, 0.1, 0.5]])
    mask = np.ones((1, 4), dtype=bool)
    plain = token_loss(logp, old, [-1.0], mask, clip=(0.2, 0.2))
    dual = token_loss(logp, old, [-1.0], mask, clip=(0.2, 0.2), dual_clip=3)
    np.testing.assert_allclose(plain, [[90, 1.25, 1, 0.8]], rtol=1e-12)
    np.testing.assert_allclose(dual, [[3, 1.25, 1, 0.8]], rtol=1e-12)
    good = token_loss(logp, old, [1.0], mask, clip=(0.2, 0.2), dual_clip=3)
    np.testing.assert_array_equal(good, token_loss(logp, old, [1.0], mask, clip=(0.2, 0.2)))


def test_reinforce_reads_no_old_log_probabilities(xp: Backend) -> None:
    rng = np.random.default_rng(3)
    logp, advantages = rng.normal(size=SHAPE), rng.normal(size=3)
    mask = np.ones(SHAPE, dtype=bool)
    loss = token_loss(
        xp.asarray(logp, "float64"), None, xp.asarray(advantages, "float64"), xp.asarray(mask),
        objective="reinforce",
    )  # fmt: skip
    np.testing.assert_array_equal(xp.to_numpy(loss), -advantages[:, None] * logp)


@cases
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_extremes_are_finite(xp: Backend, case: str, sign: float) -> None:
    logp = np.array([[-1.0, -11.0, -31.0, -81.0, -math.inf], [-1.0, -1.0, -1.0, -1.0, -1.0],
                     [-1.0, -1.0, -math.inf, -math.inf, -math.inf]])  # fmt: skip
    old = np.array([[-1.0, -1.0, -1.0, -1.0, -1.0], [-1.0, -11.0, -31.0, -81.0, -90.0],
                    [-1.0, -81.0, -1.0, -1.0, -81.0]])  # fmt: skip
    mask = np.ones(SHAPE, dtype=bool)
    options = CASES[case]
    if xp.name == "jax-vmap":
        return
    dtypes = ("float32",) if xp.compiled else ("float16", "float32", "bfloat16", "float64")
    for dtype in set(xp.dtypes) & set(dtypes):
        if dtype == "float16" and options.objective in ("ppo_clip", "gspo"):
            continue  # twice e^11 is no float16, which is an error
        arrays = [xp.asarray(a, dtype) for a in (logp, old, [sign, 2 * sign, 0.5 * sign])]
        loss = xp.call(token_loss, *arrays, xp.asarray(mask), **options.keywords)
        actual = xp.to_numpy(loss)
        for b in range(3):
            weight = sign * (1.0, 2.0, 0.5)[b]
            row = oracle.row(logp[b], old[b], [weight] * 5, mask[b], options, dtype)
            for t in range(5):
                off = oracles.excess(
                    actual[b, t], row.losses[t], dtype, relative_to=row.scales[t],
                    flushes=xp.flushes_subnormals,
                )  # fmt: skip
                assert off <= row.ulp, (b, t, actual[b, t], row.losses[t])


def test_sums_of_saturated_ratios_are_finite() -> None:
    # e^64 for each of a million tokens, with advantages of a thousand.
    logp = np.zeros((64, 2**14), dtype=np.float32)
    loss = policy_loss(
        logp, logp - 1000, np.full(64, -1000, dtype=np.float32), np.ones(logp.shape, dtype=bool),
        clip=(0.2, 0.2), aggregation="sequence_sum",
    )  # fmt: skip
    np.testing.assert_allclose(loss, math.exp(64) * 1000 * 2**14, rtol=1e-5)


def test_results_have_the_promoted_dtype(xp: Backend) -> None:
    mask = xp.asarray([[1, 1]])
    one = [xp.asarray(v, "float32") for v in ([[-1.0, -2.0]], [[-1.5, -2.0]])]
    for other, expected in (("float64", "float64"), ("int32", "float32")):
        advantages = xp.asarray([1], other)
        loss = token_loss(*one, advantages, mask, **CASES["ppo_clip"].keywords)
        assert loss.dtype == xp.asarray([0.0], expected).dtype
    if "bfloat16" in xp.dtypes:
        half = [xp.xp.astype(a, xp.xp.bfloat16) if xp.library != "jax" else
                a.astype("bfloat16") for a in one]  # fmt: skip
        loss = token_loss(*half, xp.asarray([1.0], "bfloat16"), mask, clip=(0.2, 0.2))
        assert loss.dtype == half[0].dtype


def test_integers_and_lists_are_numbers_too() -> None:
    loss = token_loss([[-1, -2]], [[-1, -2]], [2], [[1, 0]], clip=(0.2, 0.2))
    assert loss.tolist() == [[-2.0, 0.0]]


def test_clip_bounds_are_offsets_from_one() -> None:
    # surrogates.cispo-bound: an absolute bound of 0.2 would scale an on-policy gradient by 1/5.
    logp = np.log([[0.5, 0.25]])
    on_policy = token_loss(logp, logp, [1.0], [[1, 1]], objective="cispo", clip=(0.2, 0.2))
    reinforce = token_loss(logp, None, [1.0], [[1, 1]], objective="reinforce")
    np.testing.assert_array_equal(on_policy, reinforce)


@pytest.mark.parametrize("method", ["dapo", "sequence_sum"])
def test_a_sum_over_tokens_weighs_a_sequence_ratio_by_its_length(method: str) -> None:
    # surrogates.gspo-length
    logp = np.log(np.full((2, 4), 0.5))
    mask = np.array([[1, 1, 1, 1], [1, 0, 0, 0]])
    shares = [
        policy_loss(
            logp, logp, np.eye(2)[i], mask, objective="gspo", clip=(3e-4, 4e-4), aggregation=method
        )
        for i in range(2)
    ]
    assert shares[0] == 4 * shares[1]


def test_inputs_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in (SHAPE, SHAPE, 3)]
    mask = np.ones(SHAPE)
    kept = [a.copy() for a in (*arrays, mask)]
    for options in CASES.values():
        token_loss(*arrays, mask, **options.keywords)
    for array, before in zip((*arrays, mask), kept, strict=True):
        np.testing.assert_array_equal(array, before)
