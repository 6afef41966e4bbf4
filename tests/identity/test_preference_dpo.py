"""DPO's loss and the length of its step, against 50 digits on every backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.preference import dpo_gradient_weight, dpo_loss
from tests import oracles, strategies, tolerances
from tests.backends import Backend, load_or_skip
from tests.identity import preference_oracle as oracle
from tests.identity.grouping import computed, exactly

BETAS = (0.1, 1.0, 3.0)  # few: each is one more compilation


@pytest.fixture(scope="module", params=["numpy", "torch", "jax-jit"])
def lib(request: pytest.FixtureRequest) -> Backend:
    """For what needs no full round: one backend of each library, each call compiled once."""
    return load_or_skip(request.param)


def rounded(beta: float, dtype: str) -> Fraction:
    return Fraction(beta if dtype == "float64" else float(np.float32(beta)))


def called(xp: Backend, function: Any, arrays: Any, dtype: str, exact: Any, **options: Any) -> Any:
    """As `computed`, where the result is known to fit."""
    result = xp.call(function, *arrays, **options)
    assert result.dtype == arrays[0].dtype
    return xp.to_numpy(result)


def check_loss(
    xp: Backend, rows: Sequence[Sequence[float]], dtype: str, beta: float, run: Any = called
) -> None:
    """The loss of all rows at once, each within its bound."""
    arrays = [xp.asarray(list(column), dtype) for column in zip(*rows, strict=True)]
    beta_exact = rounded(beta, dtype)
    ratios = [oracle.ratios(exactly(xp, row, dtype)) for row in rows]
    exact = [oracle.dpo_loss(a - b, beta_exact) for a, b in ratios]
    actual = run(xp, dpo_loss, arrays, dtype, exact, beta=beta)
    for got, want, (a, b) in zip(actual.tolist(), exact, ratios, strict=True):
        assert np.isfinite(got)
        if abs(a) + abs(b) > tolerances.DPO_REACH[dtype] * max(abs(a - b), 1 / beta_exact):
            continue
        off = oracles.excess(got, want, dtype, flushes=xp.flushes_subnormals)
        assert off <= int(tolerances.DPO_ULP) + 2 * max(beta_exact * (a - b), 0), (a, b, got, off)


def log_probabilities(dtype: str) -> st.SearchStrategy[float]:
    if dtype == "bfloat16":
        return (
            st.integers(-2048, 0).map(lambda n: n / 8).map(lambda v: strategies.round_to(v, dtype))
        )
    width = int(dtype.removeprefix("float"))
    near = st.floats(-8, 0, width=width)
    return st.one_of(near, st.floats(-2000, 0, width=width))


@strategies.in_rows
@given(data=st.data(), beta=st.sampled_from(BETAS))
def test_loss(xp: Backend, data: st.DataObject, beta: float) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    row = st.lists(log_probabilities(dtype), min_size=4, max_size=4)
    check_loss(
        xp,
        data.draw(st.lists(row, min_size=strategies.ROWS, max_size=strategies.ROWS)),
        dtype,
        beta,
        computed,
    )


@strategies.in_rows
@given(data=st.data(), beta=st.sampled_from(BETAS))
def test_loss_of_any_finite_numbers(xp: Backend, data: st.DataObject, beta: float) -> None:
    # Differences of these overflow; the loss is returned where it is a float, and refused where
    # not.
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    row = st.lists(strategies.finite_floats(dtype), min_size=4, max_size=4)
    check_loss(
        xp,
        data.draw(st.lists(row, min_size=strategies.ROWS, max_size=strategies.ROWS)),
        dtype,
        beta,
        computed,
    )


MARGINS = (0.0, 1e-8, 0.5, 10.0, 30.0, 80.0, 87.0, 88.5, 103.0, 700.0, 745.0, 1e4)


@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_margins(lib: Backend, sign: int) -> None:
    for dtype in lib.dtypes:
        margins = [strategies.round_to(sign * m, dtype) for m in MARGINS]
        check_loss(lib, [(m, 0.0, 0.0, 0.0) for m in margins], dtype, 1.0)
        check_loss(lib, [(0.0, 0.0, 0.0, m) for m in margins], dtype, 1.0)
        check_weight(lib, margins, dtype, 1.0)


def check_weight(xp: Backend, margins: Sequence[float], dtype: str, beta: float) -> None:
    beta_exact = rounded(beta, dtype)
    seen = exactly(xp, margins, dtype)
    exact = [oracle.dpo_weight(m, beta_exact) for m in seen]
    actual = called(xp, dpo_gradient_weight, [xp.asarray(margins, dtype)], dtype, exact, beta=beta)
    computing = "float64" if dtype == "float64" else "float32"
    lost = float(beta_exact) * float(oracles.smallest_normal(computing))
    for got, want, m in zip(actual.tolist(), exact, seen, strict=True):
        off = oracles.excess(got, want, dtype, flushes=xp.flushes_subnormals)
        bound = int(tolerances.DPO_ULP) + max(beta_exact * m, 0)
        assert off <= bound or abs(got - float(want)) <= lost, (m, got, off)


@strategies.in_rows
@given(data=st.data(), beta=st.sampled_from(BETAS))
def test_weight(xp: Backend, data: st.DataObject, beta: float) -> None:
    dtype = data.draw(st.sampled_from(strategies.few_dtypes(xp)))
    values = st.one_of(strategies.finite_floats(dtype), strategies.usual_floats(dtype))
    check_weight(
        xp,
        data.draw(st.lists(values, min_size=strategies.ROWS, max_size=strategies.ROWS)),
        dtype,
        beta,
    )


def test_at_the_reference(lib: Backend) -> None:
    """Loss log 2 and weight β/2, exactly, whatever the log-probabilities."""
    for dtype in lib.dtypes:
        same = lib.asarray([-0.5, -100.0, -1e4], dtype)
        loss = lib.to_numpy(lib.call(dpo_loss, same, same, same, same, beta=0.5))
        expected = strategies.round_to(math.log(2), dtype)
        bound = tolerances.DPO_ULP * np.spacing(np.float32(1.0) if dtype != "float64" else 1.0)
        if dtype in ("float16", "bfloat16"):
            assert (loss == expected).all()
        else:
            assert (np.abs(loss - math.log(2)) <= bound).all()
        weight = lib.call(dpo_gradient_weight, lib.asarray([0.0, -0.0], dtype), beta=0.5)
        assert lib.to_numpy(weight).tolist() == [0.25, 0.25]


@pytest.mark.parametrize("beta", [1e-30, 1e-6, 1e6, 1e30])
def test_any_beta(beta: float) -> None:
    backend = Backend("numpy", np, ("float64",))
    rows = [(-m, 0.0, 0.0, -n) for m in (0.0, 1e-30, 1e-5, 3.0, 1e29) for n in (0.0, 1e-6, 2.0)]
    check_loss(backend, rows, "float64", beta)
    check_weight(backend, [row[0] for row in rows], "float64", beta)


@given(data=st.data())
def test_swapping_the_pair_mirrors_the_margin(data: st.DataObject) -> None:
    """L(Δ) − L(−Δ) = −βΔ, and the two weights sum to β: the logistic's symmetry."""
    row = data.draw(st.lists(log_probabilities("float64"), min_size=4, max_size=4))
    chosen, rejected, of_chosen, of_rejected = (np.array([v]) for v in row)
    there = dpo_loss(chosen, rejected, of_chosen, of_rejected, beta=0.25)
    back = dpo_loss(rejected, chosen, of_rejected, of_chosen, beta=0.25)
    margin = (chosen - of_chosen) - (rejected - of_rejected)
    reach = 0.25 * (abs(row[0]) + abs(row[1]) + abs(row[2]) + abs(row[3])) + 1
    bound = tolerances.IDENTITY_SPREAD * tolerances.DPO_ULP * np.spacing(reach)
    assert abs(there - back + 0.25 * margin) <= bound
    weights = dpo_gradient_weight(margin, beta=0.25) + dpo_gradient_weight(-margin, beta=0.25)
    assert abs(weights - 0.25) <= bound


def test_shapes_are_kept(lib: Backend) -> None:
    for shape in ((), (2, 3)) if lib.compiled else ((), (1,), (3,), (2, 3), (2, 1, 2)):
        array = lib.asarray(np.zeros(shape), "float64")
        assert tuple(lib.call(dpo_loss, array, array, array, array, beta=1.0).shape) == shape
        assert tuple(lib.call(dpo_gradient_weight, array, beta=1.0).shape) == shape


def test_numbers_sequences_integers_and_bools() -> None:
    expected = dpo_loss(*(np.array([v]) for v in (-1.0, -2.0, -1.0, -1.0)), beta=1.0)
    assert dpo_loss(-1, -2, -1, -1, beta=1) == expected[0]
    assert (
        dpo_loss([-1], [-2], [-1.0], np.array([-1]), beta=Fraction(1)).tolist() == expected.tolist()
    )
    assert dpo_gradient_weight(True, beta=np.float32(1)) == dpo_gradient_weight(1.0, beta=1.0)


def test_the_widest_dtype_is_taken(lib: Backend) -> None:
    def call(*dtypes: str) -> Any:
        arrays = [lib.asarray([-1.0], dtype) for dtype in dtypes]
        return lib.call(dpo_loss, *arrays, beta=1.0).dtype

    def of(dtype: str) -> Any:
        return lib.asarray([1.0], dtype).dtype

    assert call("float32", "float64", "float32", "float32") == of("float64")
    assert call("int32", "int64", "float32", "int32") == of("float32")
    if "float16" in lib.dtypes:
        assert call("float16", "int32", "float16", "bool") == of("float16")
        assert call("float16", "float32", "float16", "float16") == of("float32")
    if "bfloat16" in lib.dtypes:
        assert call("bfloat16", "bfloat16", "float16", "int32") == of("float32")


def test_margins_that_cancel() -> None:
    """The difference of two large differences, to the last bit: log-probabilities of long
    answers."""
    rng = np.random.default_rng(0)
    backend = Backend("numpy", np, ("float32", "float64"))
    for dtype, steps in (("float32", 2.0**-10), ("float64", 2.0**-39)):
        base = -rng.uniform(4000, 8000, size=(200, 1)).astype(dtype)
        rows = base + rng.integers(-100, 100, size=(200, 4)) * np.asarray(steps, dtype=dtype)
        check_loss(backend, rows.tolist(), dtype, 0.1)
    naive = (np.float32(-8191.7) - np.float32(-0.3)) - (np.float32(-8191.5) - np.float32(-0.1))
    exact = oracles.fractions(np.float32([-8191.7, -8191.5, -0.3, -0.1]))
    a, b = oracle.ratios(exact)
    assert naive != float(a - b)


def test_margins_are_rounded_once() -> None:
    """β = 1 multiplies exactly: what is left of 2βΔ ulp is βΔ, from one rounding of Δ."""
    rng = np.random.default_rng(0)
    ends = ((-99, 0), (-999, -500), (-99, 0), (-499, 0))  # margins from about 0 to 1000
    rows = np.stack([rng.uniform(*end, size=300) for end in ends])
    losses = dpo_loss(*rows, beta=1.0)
    for got, row in zip(losses.tolist(), rows.T.tolist(), strict=True):
        a, b = oracle.ratios(oracles.fractions(row))
        off = oracles.excess(got, oracle.dpo_loss(a - b, Fraction(1)), "float64")
        assert off <= int(tolerances.DPO_ULP) + max(a - b, 0)


def test_a_biased_twin_is_refused() -> None:
    """The bound tells the loss from that with the reference's sign or β wrong."""
    for row in ((-3.0, -5.0, -2.0, -2.5), (-40.0, -2.0, -1.0, -1.0)):
        a, b = oracle.ratios(oracles.fractions(row))
        got = float(dpo_loss(*row, beta=0.5))
        for wrong in (
            oracle.dpo_loss(a + b, Fraction(1, 2)),
            oracle.dpo_loss(b - a, Fraction(1, 2)),
            oracle.dpo_loss(a - b, Fraction(50001, 100000)),
        ):
            assert oracles.excess(got, wrong, "float64") > tolerances.DPO_ULP + 50


def test_large_losses_are_not_infinite() -> None:
    with np.errstate(over="ignore", divide="ignore"):
        naive = -np.log(1 / (1 + np.exp(np.float32(89.0))))
    assert np.isinf(naive)
    assert dpo_loss(np.float32(-89), *np.zeros(3, np.float32), beta=1.0) == np.float32(89)
