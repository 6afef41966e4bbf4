# ruff: noqa: F811 - the fixture is imported by its name
"""Aggregation on every array library: type, device, dtype; gradients are weights; compiled."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np
import pytest

from identity.aggregation import (
    aggregate,
    coefficient_of_variation,
    combine,
    estimator_bias,
    estimator_mean,
    estimator_variance,
    partial_sums,
    token_weights,
)
from tests import tolerances
from tests.agreement.differentiation import (
    Derivative,
    derivative,  # noqa: F401
    load_mode,
    torch_forward_mode,
)
from tests.backends import Backend, jax_jit, load_or_skip
from tests.identity.aggregating import CASES, Batch, by_length, sample, widened

cases = pytest.mark.parametrize("case", CASES)
COSTLY = ("grpo", "delta_l-groups")  # enough where each shape is compiled


def loss_of(arrays: tuple[Any, ...], options: dict[str, Any]) -> Callable[[Any], Any]:
    return lambda loss: aggregate(loss, *arrays, **options)


# --- library, device, dtype ----------------------------------------------------------------------


def identity_of(array: Any) -> tuple[Any, ...]:
    device = array_api_compat.device(array)
    return array_api_compat.array_namespace(array), device, array.dtype


@cases
def test_library_device_and_dtype_are_kept(xp: Backend, case: str) -> None:
    if xp.compiled and (case != "grpo" or xp.name == "jax-vmap"):
        return
    batch = sample(4, 6, empty=(1,))
    for dtype in ("bfloat16",) if xp.compiled else xp.dtypes:
        (loss, mask), options = batch.on(xp, dtype, case)
        results = [
            xp.call(aggregate, loss, mask, **options),
            xp.call(token_weights, mask, dtype=dtype, **options),
        ]
        if xp.name in ("numpy", "array-api-strict", "torch", "jax", "torch-cuda", "jax-cuda"):
            part = partial_sums(loss, mask, **options)
            ids = None if part.groups is None else xp.asarray(np.unique(batch.ids))
            results += [combine([part]), part.share(part.totals(ids)[1], ids)]
        for result in results:
            assert identity_of(result) == identity_of(loss)


def test_estimators_keep_library_device_and_dtype(xp: Backend) -> None:
    if xp.name == "jax-vmap":
        return
    for dtype in ("bfloat16",) if xp.compiled else xp.dtypes:
        lengths = xp.asarray([[2.0, 3.0], [4.0, 4.0]], dtype)
        gradients = xp.asarray([[0.5, 1.0], [1.0, 2.0]], dtype)
        for function in (estimator_mean, estimator_variance, coefficient_of_variation):
            assert identity_of(xp.call(function, lengths, method="grpo")) == identity_of(lengths)
        bias = xp.call(estimator_bias, lengths, gradients, method="grpo")
        assert identity_of(bias) == identity_of(lengths)
        bias = xp.call(estimator_bias, xp.asarray([[2, 3], [4, 4]]), gradients, method="grpo")
        assert bias.dtype == gradients.dtype


@cases
def test_every_library_gives_the_same_bits(xp: Backend, case: str) -> None:
    """Additions and divisions in one order; only powers differ, and constants under a compiler."""
    if xp.compiled and (case != "grpo" or xp.name == "jax-vmap"):
        return
    batch = sample(6, 21, seed=3, empty=(2,))
    arrays, options = batch.on(xp, "float64", case)
    actual = xp.to_numpy(xp.call(aggregate, *arrays, **options))
    expected = aggregate(batch.loss, batch.mask, **batch.arguments(case))
    if by_length(case) or xp.name in ("jax-jit", "jax-vmap"):
        assert abs(actual - expected) <= 1e-14 * abs(expected) + 1e-17
    else:
        assert actual == expected


# --- derivatives ---------------------------------------------------------------------------------


@cases
def test_gradient_is_the_weights(derivative: Derivative, case: str) -> None:
    """Bit for bit where nothing is compiled; exactly 0, whatever the poison, where masked."""
    backend = derivative.backend
    batch = sample(5, 9, seed=1, empty=(3,))
    compiled = derivative.mode in ("jax-jit", "jax-vmap")
    if derivative.mode.startswith("jax") and case not in COSTLY:
        return
    for dtype in ("float32",) if derivative.mode.startswith("jax") else backend.dtypes:
        (loss, mask), options = batch.on(backend, dtype, case)
        gradient = derivative(loss_of((mask,), options), loss)
        weights = backend.to_numpy(token_weights(mask, dtype=dtype, **options))
        assert (gradient[~batch.mask] == 0).all()
        if compiled:
            bound = 2 * tolerances.token_weight_ulp(5, by_length=by_length(case))
            assert (np.abs(gradient - weights) <= bound * np.spacing(weights)).all()
        else:
            np.testing.assert_array_equal(gradient, weights)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3, 4)])
def test_without_tokens_the_gradient_is_zero(
    derivative: Derivative, shape: tuple[int, int]
) -> None:
    backend = derivative.backend
    mode = derivative.mode
    if mode == "jax-vmap" or (mode in ("jax", "torch-func-vmap") and 0 in shape):
        return
    for case in COSTLY if mode.startswith("jax") else CASES:
        batch = Batch(np.full(shape, np.nan), np.zeros(shape, dtype=bool), np.zeros(shape[0], int))
        (loss, mask), options = batch.on(backend, "float32", case)
        gradient = derivative(loss_of((mask,), options), loss)
        assert gradient.shape == shape
        assert (gradient == 0).all()


@cases
def test_widening_changes_no_bit_of_the_gradient(derivative: Derivative, case: str) -> None:
    if derivative.mode not in ("torch", "torch-cuda") and case not in COSTLY:
        return
    if derivative.mode in ("jax", "jax-vmap"):
        return
    backend = derivative.backend
    batch = sample(4, 9, seed=2)
    found = set()
    for width in (9, 10, 33):
        for poison in (np.nan, 1e30):
            (loss, mask), options = widened(batch, width, poison).on(backend, "float32", case)
            gradient = derivative(loss_of((mask,), options), loss)
            found.add(gradient[:, :9].tobytes())
            assert (gradient[:, 9:] == 0).all()
            if derivative.mode.startswith("jax"):
                break
    assert len(found) == 1


def test_forward_mode() -> None:
    """The derivative along a direction is the loss of the direction."""
    batch = sample(4, 6, empty=(1,))
    direction = np.where(batch.mask, np.random.default_rng(0).normal(size=(4, 6)), 0.0)
    for case in COSTLY:
        expected = aggregate(direction, batch.mask, **batch.arguments(case))
        torch = load_or_skip("torch")
        (loss, mask), options = batch.on(torch, "float64", case)
        func = importlib.import_module("torch.func")
        with torch_forward_mode():
            _, slope = func.jvp(
                loss_of((mask,), options), (loss,), (torch.asarray(direction, "float64"),)
            )
        assert abs(float(slope) - expected) <= 1e-15
        jax = load_or_skip("jax")
        if case != "grpo":
            continue
        (loss, mask), options = batch.on(jax, "float64", case)
        _, slope = importlib.import_module("jax").jvp(
            loss_of((mask,), options), (loss,), (jax.asarray(direction, "float64"),)
        )
        assert abs(float(slope) - expected) <= 1e-15


# --- compiled ------------------------------------------------------------------------------------


def test_widening_under_jit() -> None:
    """In one compiled form each: value and gradient, at widths of other shapes of the tree."""
    backend = load_or_skip("jax-jit")
    jax = importlib.import_module("jax")
    for case in COSTLY:
        method, options, grouped = CASES[case]

        def value(loss: Any, mask: Any, ids: Any, how: Any = (method, options, grouped)) -> Any:
            method, options, grouped = how
            return aggregate(loss, mask, method, **options, **({"groups": ids} if grouped else {}))

        compiled = jax_jit(jax.value_and_grad(value))
        batch = sample(9, 130, seed=4, empty=(5,))
        found = set()
        for width in (130, 131, 263) if case == "grpo" else (130, 600):
            each = widened(batch, width)
            arrays = [backend.asarray(each.loss, "float32"), backend.asarray(each.mask)]
            loss, gradient = compiled(*arrays, backend.asarray(each.ids))
            found.add((np.asarray(loss).tobytes(), np.asarray(gradient)[:, :130].tobytes()))
        assert len(found) == 1


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_torch_compile_traces_without_a_break() -> None:
    backend = load_or_skip("torch")
    torch = importlib.import_module("torch")
    batch = sample(4, 6, empty=(1,))
    (loss, mask), options = batch.on(backend, "float64", "delta_l-groups")
    groups = options.pop("groups")
    function = functools.partial(aggregate, **options)
    compiled = torch.compile(
        lambda a, b, g: function(a, b, groups=g), backend="eager", fullgraph=True
    )
    assert float(compiled(loss, mask, groups)) == float(function(loss, mask, groups=groups))


def test_jax_compiles_once_for_one_shape() -> None:
    load_or_skip("jax")
    jax = importlib.import_module("jax")
    traces = []

    @jax.jit
    def step(loss: Any, mask: Any, groups: Any) -> Any:
        traces.append(1)
        return aggregate(loss, mask, "dapo", groups=groups)

    batch = sample(4, 6)
    for ids in ([0, 0, 1, 1], [7, 7, 7, 3], [1, 1, 1, 1]):  # 2, 2, 1 groups
        value = float(step(batch.loss, batch.mask, np.array(ids)))
        expected = aggregate(batch.loss, batch.mask, "dapo", groups=np.array(ids))
        assert abs(value - expected) <= 1e-14
    assert len(traces) == 1


def test_jax_without_x64() -> None:
    load_or_skip("jax")
    jax = importlib.import_module("jax")
    batch = sample(4, 6)
    with jax.enable_x64(False):
        loss, mask = jax.numpy.asarray(batch.loss), jax.numpy.asarray(batch.mask)
        step = jax.jit(lambda a, b, g: aggregate(a, b, "dapo", groups=g))
        value = step(loss, mask, jax.numpy.asarray(batch.ids))
        assert value.dtype == np.float32
        with np.errstate(over="ignore"):
            narrow = batch.loss.astype(np.float32)
        expected = aggregate(narrow, batch.mask, "dapo", groups=batch.ids)
        assert abs(float(value) - float(expected)) <= 1e-6


def test_layout_in_memory_does_not_matter(xp: Backend) -> None:
    if xp.library == "jax":
        return  # jax arrays have no strides
    batch = sample(5, 40)
    values = []
    for transposed in (False, True):
        loss, mask = batch.loss, batch.mask
        if transposed:
            loss, mask = np.ascontiguousarray(loss.T), np.ascontiguousarray(mask.T)
        arrays = [xp.asarray(loss, "float64"), xp.asarray(mask)]
        if transposed:
            arrays = [array.T for array in arrays]
        values.append(xp.to_numpy(xp.call(aggregate, *arrays, method="grpo")).tobytes())
    assert len(set(values)) == 1


def test_a_gradient_of_what_makes_the_loss() -> None:
    """Through exp of log-probabilities, finite where masked."""
    mode = load_mode("torch")
    batch = sample(3, 5)
    logp = np.where(batch.mask, batch.loss, 0.0)
    mask = mode.backend.asarray(batch.mask)
    weights = token_weights(batch.mask, "grpo")
    gradient = mode(lambda x: aggregate(mode.backend.xp.exp(x), mask, "grpo"),
                    mode.backend.asarray(logp, "float64"))  # fmt: skip
    np.testing.assert_allclose(gradient, weights * np.exp(logp), rtol=tolerances.PRODUCT_RELATIVE)
