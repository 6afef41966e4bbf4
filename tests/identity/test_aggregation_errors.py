"""Bad input: each documented precondition, by argument, value and rule; a fuzz; the imports."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import identity.aggregation
from identity import DomainError
from identity.aggregation import (
    aggregate,
    coefficient_of_variation,
    estimator_bias,
    estimator_mean,
    estimator_variance,
    partial_sums,
    token_weights,
)
from tests import tolerances
from tests.backends import Backend, load_or_skip

METHODS = ("grpo", "dapo", "dr_grpo", "bnpo", "sequence_sum", "delta_l", "delta_l_batch")
NEED = ("dr_grpo", "delta_l", "delta_l_batch")
LOSS, MASK = np.ones((2, 3)), np.array([[1, 1, 1], [1, 0, 0]])


def raises(argument: str, rule: str, call: Callable[..., Any], *args: Any, **options: Any) -> None:
    with pytest.raises(DomainError) as caught:
        call(*args, **options)
    assert caught.value.argument == argument
    assert rule in caught.value.rule, caught.value.rule


def each(call: Callable[[Callable[..., Any]], None]) -> None:
    """The same for all that take a mask."""
    for function in (
        lambda mask, *a, **o: token_weights(mask, *a, **o),
        lambda mask, *a, **o: aggregate(LOSS, mask, *a, **o),
        lambda mask, *a, **o: partial_sums(LOSS, mask, *a, **o),
    ):
        call(function)


@pytest.mark.parametrize("method", ["", "GRPO", "rloo", None, 3, ["grpo"], np.array("grpo")])
def test_unknown_methods(method: Any) -> None:
    each(lambda f: raises("method", "be one of ('grpo', 'dapo'", f, MASK, method))
    for function in (estimator_mean, estimator_variance, coefficient_of_variation):
        raises("method", "be one of", function, [1, 2], method)
    raises("method", "be one of", estimator_bias, [[1, 2]], [[1.0, 2.0]], method)


def test_options_that_a_method_does_not_take() -> None:
    ids = np.array([0, 1])
    for method in METHODS:
        given = {"constant": 5} if method in NEED else {}
        if not method.startswith("delta_l"):
            rule = f"be left out: method {method!r} takes no alpha"
            for alpha in (0.5, 0, 2):
                each(lambda f, m=method, g=given, a=alpha, r=rule:
                     raises("alpha", r, f, MASK, m, alpha=a, **g))  # fmt: skip
            token_weights(MASK, method, alpha=1.0, **given)  # the default, which says nothing
        if method in ("grpo", "bnpo", "sequence_sum"):
            each(
                lambda f, m=method: raises("constant", "takes no constant", f, MASK, m, constant=5)
            )
        if method not in ("dapo", "delta_l"):
            each(lambda f, m=method, g=given:
                 raises("groups", "takes no groups", f, MASK, m, groups=ids, **g))  # fmt: skip
    each(lambda f: raises("constant", "where groups are given", f, MASK, "dapo", constant=5,
                          groups=ids))  # fmt: skip
    raises("constant", "takes no constant", estimator_variance, [1, 2], "grpo", constant=5)
    raises("alpha", "takes no alpha", coefficient_of_variation, [1, 2], "dapo", alpha=0.5)


@pytest.mark.parametrize("method", NEED)
def test_the_constant_is_no_padded_width(method: str) -> None:
    """aggregation.padded-width: the error says what the constant is not."""
    for rule in ("be the maximal completion length", "padded width", "aggregation.padded-width"):
        each(lambda f, r=rule: raises("constant", r, f, MASK, method))
    raises("constant", "maximal completion length", estimator_mean, [1, 2], method)


@pytest.mark.parametrize(
    "bad", [0, -1, math.nan, math.inf, True, "8", 1j, [8], 1e-320, 10**400, Fraction(1, 10**400)]
)
def test_constants(xp: Backend, bad: Any) -> None:
    mask = xp.asarray(MASK)
    for method in ("dapo", "dr_grpo", "delta_l"):
        raises("constant", "be a number above 0", token_weights, mask, method, constant=bad)
    if isinstance(bad, (bool, str, complex, list, Fraction)) or bad == 10**400:
        return
    if xp.checks_values:
        array = xp.asarray(bad, "float32")
        raises("constant", "above 0", token_weights, mask, "dr_grpo", constant=array)
    row = xp.asarray([8.0])
    raises("constant", "0-d array", token_weights, mask, "dr_grpo", constant=row)
    with pytest.raises(DomainError, match="constant"):
        token_weights(mask, "dr_grpo", constant=xp.asarray(True))


def test_constants_beyond_the_dtype() -> None:
    loss = LOSS.astype(np.float32)
    raises("constant", "to 3.4e+38", aggregate, loss, MASK, "dr_grpo", constant=1e39)
    assert aggregate(LOSS, MASK, "dr_grpo", constant=1e39) > 0


@pytest.mark.parametrize("bad", [4.5, -5, math.nan, math.inf, True, None, "1", 1j, [1.0], 10**400])
def test_alphas(bad: Any) -> None:
    each(lambda f: raises("alpha", "be a Python number between -4 and 4", f, MASK, "delta_l",
                          alpha=bad, constant=5))  # fmt: skip
    if bad not in (4.5, -5):
        raises("alpha", "be a Python number", estimator_mean, [1, 2], "delta_l", alpha=bad,
               constant=5)  # fmt: skip


def test_shapes(xp: Backend) -> None:
    for shape in ((), (3,), (2, 3, 1)):
        mask = xp.asarray(np.ones(shape))
        raises("mask", "have shape (B, T)", token_weights, mask, "grpo")
    mask, loss = xp.asarray(MASK), xp.asarray(LOSS)
    for shape in ((), (3,), (1, 3), (2, 1), (2, 4), (2, 3, 1)):
        other = xp.asarray(np.ones(shape))
        raises("loss", "have the shape of mask, (2, 3)", aggregate, other, mask, "grpo")
    for shape in ((), (1,), (3,), (2, 1), (2, 3)):
        ids = xp.asarray(np.ones(shape, dtype=np.int64))
        raises("groups", "one id for each row", aggregate, loss, mask, "dapo", groups=ids)
    for dtype in ("float32", "bool"):
        ids = xp.asarray([0, 1], dtype)
        raises("groups", "hold integer ids", aggregate, loss, mask, "dapo", groups=ids)


def test_masks_are_zero_or_one(xp: Backend) -> None:
    bads = ((2, "int64"), (-1, "int32"), (0.5, "float32"), (math.nan, "float64"))
    for bad, dtype in bads[::3] if xp.compiled else bads:
        values = np.array([[1, 1, 0], [1, bad, 0]])
        mask = xp.asarray(values, dtype)
        if not xp.checks_values:
            xp.call(token_weights, mask, method="grpo")  # documented: values are not looked at
            continue
        raises("mask", "be 0 or 1 (broken at index (1, 1))", token_weights, mask, "grpo")
    for dtype in ("uint8", "uint64"):
        if xp.checks_values:
            mask = xp.asarray(np.array([[3]]), dtype)
            raises("mask", "be 0 or 1", token_weights, mask, "grpo")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_losses_that_count_are_finite(xp: Backend, method: str, bad: float) -> None:
    options = {"constant": 5} if method in NEED else {}
    loss = np.where(MASK == 1, 1.0, np.nan)
    loss[1, 0] = bad
    if not xp.checks_values or (xp.compiled and method != "grpo"):
        return
    for dtype in ("float32",) if xp.compiled else xp.dtypes:
        arrays = [xp.asarray(loss, dtype), xp.asarray(MASK)]
        rule = "be finite where mask is 1 (broken at index (1, 0))"
        raises("loss", rule, xp.call, aggregate, *arrays, method=method, **options)


def test_results_that_the_dtype_cannot_hold(xp: Backend) -> None:
    for dtype in ("float32",) if xp.compiled else xp.dtypes:
        top = {"float16": 6e4, "bfloat16": 3e38, "float32": 3e38, "float64": 1.7e308}[dtype]
        arrays = [xp.asarray(np.full((2, 3), top), dtype), xp.asarray(MASK)]
        if xp.checks_values:
            rule = f"sums and a result that {dtype} can hold"
            raises("loss", rule, xp.call, aggregate, *arrays, method="sequence_sum")
        if dtype == "float16":  # whose sums are float32
            assert float(xp.call(aggregate, *arrays, method="dapo")) > 5e4


def test_integers_that_would_be_rounded(xp: Backend) -> None:
    if not xp.checks_values or "float32" in str(xp.xp.asarray(0.5).dtype):
        return
    loss = xp.asarray(np.full((2, 3), 2**53 + 1))
    raises("loss", "hold integers of at most", aggregate, loss, xp.asarray(MASK), "grpo")


@pytest.mark.parametrize(
    "bad", ["int64", "complex64", "float", "nonsense", 3, np.int64, "ones", float]
)
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_dtype_of_weights(name: str, bad: Any) -> None:
    mask = load_or_skip(name).asarray(MASK)
    raises("dtype", "be a real floating dtype", token_weights, mask, "grpo", dtype=bad)


def test_no_numbers_and_mixed_libraries() -> None:
    torch = load_or_skip("torch").xp
    for bad in (None, "mask", [[1, 2], [1]], object(), np.array([["a"]]), np.array([[1j]])):
        with pytest.raises(DomainError, match="mask must"):
            token_weights(bad, "grpo")
        with pytest.raises(DomainError, match="must"):
            aggregate(LOSS, bad, "grpo")
    with pytest.raises(DomainError, match="loss must"):
        aggregate(None, MASK, "grpo")
    with pytest.raises(DomainError, match="plain array"):
        token_weights(np.ma.masked_array(MASK, mask=MASK), "grpo")
    tensor = torch.ones((2, 3))
    for mix in ((tensor, MASK), (LOSS, tensor)):
        with pytest.raises(DomainError, match="mask must come from the same array library as loss"):
            aggregate(*mix, "grpo")
    with pytest.raises(DomainError, match="groups must come from the same"):
        aggregate(tensor, tensor, "dapo", groups=np.array([0, 1]))
    with pytest.raises(DomainError, match="constant must come from the same"):
        aggregate(tensor, tensor, "dapo", constant=np.array(5))
    with pytest.raises(DomainError, match="plain"):
        aggregate(tensor.to_sparse(), tensor, "grpo")


# --- estimators ----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [estimator_mean, estimator_variance, coefficient_of_variation])
def test_lengths(xp: Backend, function: Callable[..., Any]) -> None:
    raises("lengths", "responses along the last axis", function, xp.asarray(3.0), "grpo")
    for shape in ((0,), (2, 0), (0, 2)):
        raises("lengths", "not be empty", function, xp.asarray(np.ones(shape)), "grpo")
    for bad, rule in ((math.nan, "finite"), (math.inf, "finite"), (0.0, "at least 1"),
                      (0.5, "at least 1"), (-2.0, "at least 1")):  # fmt: skip
        if xp.checks_values:
            raises("lengths", rule, function, xp.asarray([1.0, bad]), "grpo")
    raises("lengths", "have dtype", function, "ab", "grpo")


def test_numbers_of_the_estimators() -> None:
    for bad in (-1, math.nan, math.inf, True, None, "1", 10**400, np.array(1.0)):
        raises("variance", "at least 0", estimator_variance, [1, 2], "grpo", variance=bad)
        raises("gradient_norm", "above 0", coefficient_of_variation, [1, 2], "grpo",
               gradient_norm=bad)  # fmt: skip
    raises("gradient_norm", "above 0", coefficient_of_variation, [1], "grpo", gradient_norm=0)
    assert estimator_variance([1, 2], "grpo", variance=0) == 0
    raises("lengths", "that float16 can hold", estimator_variance,
           np.array([1e4, 1e4], np.float16), "sequence_sum", variance=1e5)  # fmt: skip


def test_tables_of_outcomes(xp: Backend) -> None:
    lengths, gradients = xp.asarray([[1, 2], [2, 2]]), xp.asarray([[0.5, 1.0], [2.0, 0.0]])
    for shape in ((), (2,), (2, 2, 1)):
        raises("lengths", "have shape (N, G)", estimator_bias, xp.asarray(np.ones(shape)),
               gradients, "grpo")  # fmt: skip
    for shape in ((), (2,), (2, 1), (3, 2), (2, 2, 1, 1)):
        raises("gradients", "(2, 2, 'D')", estimator_bias, lengths, xp.asarray(np.ones(shape)),
               "grpo")  # fmt: skip
    raises("gradients", "be empty", estimator_bias, lengths, xp.asarray(np.ones((2, 2, 0))), "grpo")
    call = {"lengths": lengths, "gradients": gradients, "method": "grpo"}
    for shape in ((), (1,), (2, 1)):
        raises("probabilities", "have shape (N,)", estimator_bias, **call,
               probabilities=xp.asarray(np.ones(shape)))  # fmt: skip
    if not xp.checks_values:
        return
    for values, rule in (([0.5, 0.6], "sum 1"), ([1.5, -0.5], "at least 0"), ([0, 0], "sum 1"),
                         ([math.nan, 1.0], "finite")):  # fmt: skip
        raises("probabilities", rule, estimator_bias, **call, probabilities=xp.asarray(values))
    bad = xp.asarray([[0.5, math.nan], [2.0, 0.0]])
    raises("gradients", "be finite", estimator_bias, lengths, bad, "grpo")
    estimator_bias(**call, probabilities=xp.asarray([1, 0]))


# --- fuzz ----------------------------------------------------------------------------------------

_SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
_KINDS = ["float16", "float32", "float64", "int8", "int64", "uint8", "uint16", "uint64", "bool"]


@st.composite
def anything(draw: st.DrawFn) -> Any:
    shape, dtype = draw(_SHAPES), draw(st.sampled_from([*_KINDS, "complex128"]))
    size = math.prod(shape)
    values = draw(
        st.lists(st.floats(width=64) | st.sampled_from([0.0, 1.0]), min_size=size, max_size=size)
    )
    with np.errstate(all="ignore"):
        array = np.array(values, dtype=np.float64).reshape(shape).astype(dtype)
    return draw(st.sampled_from([array, array.tolist(), None, "x"])) if size else array


@given(data=st.data(), method=st.sampled_from(METHODS))
def test_fuzz(xp: Backend, data: st.DataObject, method: str) -> None:
    """Nothing but DomainError or finite results."""
    if not xp.checks_values or xp.compiled:
        return
    arrays = [data.draw(anything()) for _ in range(2)]
    if data.draw(st.booleans()):  # well-shaped, so that the fuzz reaches the arithmetic
        shape = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 4)))
        size = math.prod(shape)
        dtype = data.draw(st.sampled_from(xp.dtypes))
        values = st.lists(st.floats(width=16), min_size=size, max_size=size)
        arrays[0] = xp.asarray(np.array(data.draw(values)).reshape(shape), dtype)
        flags = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
        kind = data.draw(st.sampled_from([k for k in _KINDS if k != "float16"]))
        arrays[1] = xp.asarray(np.array(flags).reshape(shape), kind)
    options: dict[str, Any] = {"constant": 5} if method in NEED else {}
    if data.draw(st.booleans()):
        options["groups"] = data.draw(st.lists(st.integers(-3, 3), max_size=3))
        if xp.library != "numpy":
            options["groups"] = xp.asarray(np.array(options["groups"], dtype=np.int64))
    arrays = [
        xp.asarray(a) if isinstance(a, np.ndarray) and xp.library != "numpy" and usable(xp, a)
        else a for a in arrays
    ]  # fmt: skip
    try:
        result = aggregate(*arrays, method, **options)
    except DomainError:
        return
    assert np.isfinite(xp.to_numpy(result)).all()


def usable(xp: Backend, array: np.ndarray) -> bool:
    return array.dtype.name != "float16" or xp.library != "array"


# --- imports, documents --------------------------------------------------------------------------

FUNCTIONS = [name for name in identity.aggregation.__all__ if name != "PartialSums"]


def test_a_constant_has_no_derivative() -> None:
    torch = pytest.importorskip("torch")
    constant = torch.tensor(8.0, requires_grad=True)
    loss, mask = torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool)
    assert not aggregate(loss, mask, "dr_grpo", constant=constant).requires_grad
    assert not token_weights(mask, "dr_grpo", constant=constant).requires_grad


def test_a_dtype_of_another_library_is_read_by_its_name() -> None:
    torch = pytest.importorskip("torch")
    assert token_weights(np.ones((2, 2)), "grpo", dtype=torch.float32).dtype == np.float32
    assert token_weights(torch.ones(2, 2), "grpo", dtype=np.float32).dtype == torch.float32


def test_no_warning_where_weights_underflow() -> None:
    with np.errstate(all="raise"):
        weights = token_weights(np.ones((1, 2)), "dr_grpo", constant=1e9, dtype="float16")
    assert weights.max() < 1e-7


@pytest.mark.parametrize(
    ("constant", "variance", "expected"),
    [(1e25, 1e30, 1e-18), (1e15, 1e39, 1e11), (1e-30, 4e-90, 4e-28), (1e30, 1e75, 1e17)],
)
def test_an_estimator_variance_in_range_is_found(
    constant: float, variance: float, expected: float
) -> None:
    lengths = np.array([100.0], dtype=np.float32)
    found = estimator_variance(lengths, "dr_grpo", constant=constant, variance=variance)
    assert abs(float(found) / expected - 1) < tolerances.FLOAT32_RELATIVE


@pytest.mark.parametrize(
    ("variance", "norm"), [(4e-90, 1e-38), (1e80, 1e40), (1e-300, 1e-150), (4.0, 1e-30)]
)
def test_a_coefficient_in_range_is_found(variance: float, norm: float) -> None:
    lengths = np.array([1.0, 2.0, 4.0], dtype=np.float32)
    found = coefficient_of_variation(lengths, "grpo", variance=variance, gradient_norm=norm)
    expected = math.sqrt(variance) / norm / math.sqrt(1.75)
    assert abs(float(found) / expected - 1) < tolerances.FLOAT32_RELATIVE


def test_an_unsigned_mask_is_shown_as_passed() -> None:
    torch = load_or_skip("torch").xp
    with pytest.raises(DomainError) as caught:
        token_weights(torch.full((2, 2), 2**63, dtype=torch.uint64), "grpo")
    assert caught.value.value == 2**63
