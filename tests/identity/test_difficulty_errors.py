"""identity.difficulty: bad input, by argument, value and rule; what is exported."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity import DomainError, difficulty
from identity.difficulty import (
    METHODS,
    beta_kernel,
    beta_kernel_peak,
    difficulty_weight,
    escort,
    garl_estimate,
    minimax_efficiency,
    paft_estimate,
    success_gated_snr,
    success_variance,
    tsallis_weight,
    weight_efficiency,
)
from tests.backends import Backend, load_or_skip
from tests.identity.test_groups_errors import raises, unusual_tensors

SUBMODULES = ("atlas", "kernel", "pool", "robust", "success", "tsallis")
OPTIONS: dict[str, dict[str, Any]] = {
    "tsallis": {"q": 0.5},
    "pass_at_k": {"k": 4},
    "grpo_pass_at_k": {"k": 4},
    "beta_kernel": {"alpha": 0.5, "beta": 2.0},
}
OF_P: dict[str, Callable[..., Any]] = {
    "beta_kernel": beta_kernel,
    "tsallis_weight": lambda p: tsallis_weight(p, 0.5),
    "success_gated_snr": success_gated_snr,
    "grpo-8": lambda p: difficulty_weight(p, group_size=8),
    **{m: lambda p, m=m: difficulty_weight(p, m, **OPTIONS.get(m, {})) for m in METHODS},
}
OF_ROWS: dict[str, Callable[..., Any]] = {
    "escort": lambda w: escort(w, 0.5),
    "weight_efficiency": lambda w: weight_efficiency(w, w),
}
BAD_P = (math.nan, math.inf, -math.inf, -1e-9, 1 + 2.0**-52, 2, [0.5, math.nan], [], "half", None,
         0.5j, object(), np.ma.masked_array([0.5], [True]), [[0.1], [0.2, 0.3]])  # fmt: skip
NO_NUMBERS = (True, None, "0.5", 1j, np.array(0.5), [0.5], (), math.nan)


@pytest.fixture(scope="module", params=["numpy", "array-api-strict", "torch", "jax"])
def lib(request: pytest.FixtureRequest) -> Backend:
    """Where values are seen."""
    return load_or_skip(request.param)


@pytest.mark.parametrize("name", OF_P)
@pytest.mark.parametrize("p", BAD_P, ids=lambda p: repr(p) if type(p) is not object else "object")
def test_bad_probability(name: str, p: Any) -> None:
    with pytest.raises(DomainError) as caught:
        OF_P[name](p)
    assert caught.value.argument == "p"


def test_poles_say_where_they_are(lib: Backend) -> None:
    one_end = ("log_likelihood", "tsallis", "grpo_pass_at_k", "beta_kernel")
    for method in ("grpo", "log_odds", *one_end):
        ends = "0" if method in one_end else "0 and 1"
        for p in (0.0, 1.0):
            array = lib.asarray([0.5, p], "float64")
            call = OF_P[method]
            if p == 1.0 and ends == "0":
                assert np.isfinite(lib.to_numpy(call(array))).all()
                continue
            rule = f"the weight of '{method}' is infinite at {ends}"
            raises("p", p, rule, lambda c=call, a=array: c(a))
    steep = {"alpha": 2.0, "beta": 0.5}
    one = lib.asarray([1.0], "float64")
    raises("p", 1.0, "lie in [0, 1)", lambda: difficulty_weight(one, "beta_kernel", **steep))
    raises("p", 0.0, "(0, 1]", lambda: tsallis_weight(one * 0, 0.5))
    raises("p", 1.0, "[0, 1)", lambda: success_gated_snr(one))


def test_rates_too_small_for_their_reciprocal() -> None:
    for name in ("log_likelihood", "log_odds", "grpo", "tsallis_weight"):
        with pytest.raises(DomainError, match="p must lie in"):
            OF_P[name](5e-324)
    assert success_gated_snr(5e-324) > 0
    assert beta_kernel(5e-324) == 5e-324


def test_results_that_do_not_fit(lib: Backend) -> None:
    p = lib.asarray([0.5, 2.0**-100], "float32")
    for call in (lambda: tsallis_weight(p, 1.5),
                 lambda: difficulty_weight(p, "tsallis", q=1.5)):  # fmt: skip
        raises("p", math.inf, "float32 can hold", call)
    if "float16" in lib.dtypes:
        half = lib.asarray([2.0**-20], "float16")
        raises("p", math.inf, "float16 can hold", lambda: difficulty_weight(half, "log_odds"))
        raises("group_size", 2**17, "this dtype",
               lambda: difficulty_weight(half, "max_rl", group_size=2**17))  # fmt: skip


@pytest.mark.parametrize("method", ["", "GRPO", "ppo", None, 1, ["grpo"], "grpo "], ids=repr)
def test_unknown_method(method: Any) -> None:
    with pytest.raises(DomainError, match="method must be one of") as caught:
        difficulty_weight(0.5, method)
    assert caught.value.argument == "method"


@pytest.mark.parametrize("method", METHODS)
def test_parameters_belong_to_methods(method: str) -> None:
    every: dict[str, Any] = {"group_size": 4, "q": 0.5, "k": 4, "alpha": 0.5, "beta": 0.5}
    own = OPTIONS.get(method, {})
    for name, value in every.items():
        if name not in METHODS[method]:
            extra = {**own, name: value}
            raises(name, value, f"be left out for method '{method}'",
                   lambda o=extra: difficulty_weight(0.5, method, **o))  # fmt: skip
        elif name != "group_size":
            rest = {n: v for n, v in own.items() if n != name}
            raises(name, None, f"be given for method '{method}'",
                   lambda r=rest: difficulty_weight(0.5, method, **r))  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, -3, 2**20 + 1, 2**60, True, 4.0, "4"], ids=repr)
def test_group_sizes_and_attempts(size: Any) -> None:
    with pytest.raises(DomainError, match="group_size must be"):
        difficulty_weight(0.5, "grpo", group_size=size)
    if size == 1:
        return
    for method in ("pass_at_k", "grpo_pass_at_k"):
        with pytest.raises(DomainError, match="k must be an integer"):
            difficulty_weight(0.5, method, k=size)


EXPONENTS: dict[str, tuple[float, Callable[[Any], Any]]] = {
    "q-tsallis_weight": (0.0, lambda v: tsallis_weight(0.5, v)),
    "q-difficulty_weight": (0.0, lambda v: difficulty_weight(0.5, "tsallis", q=v)),
    "q-escort": (2.0**-20, lambda v: escort([0.5], v)),
    "q-garl": (0.0, lambda v: garl_estimate([[1.0]], [1.0], v)),
    "q-paft": (0.0, lambda v: paft_estimate([[1.0]], [1.0], v, indices=[0])),
    "alpha-beta_kernel": (0.0, lambda v: beta_kernel(0.5, v)),
    "beta-beta_kernel": (0.0, lambda v: beta_kernel(0.5, 1.0, v)),
    "alpha-peak": (2.0**-20, lambda v: beta_kernel_peak(v)),
    "beta-peak": (2.0**-20, lambda v: beta_kernel_peak(1.0, v)),
    "alpha-atlas": (
        2.0**-20,
        lambda v: difficulty_weight(0.5, "beta_kernel", alpha=v, beta=1.0),
    ),
    "beta-atlas": (2.0**-20, lambda v: difficulty_weight(0.5, "beta_kernel", alpha=1.0, beta=v)),
}


@pytest.mark.parametrize("name", EXPONENTS)
def test_exponents(name: str) -> None:
    low, call = EXPONENTS[name]
    argument = name.partition("-")[0]
    beyond = (-1e-9, -1, 2.0**20 + 1, math.inf, -math.inf, 10**400, -(10**400), Fraction(10**9))
    for bad in (*NO_NUMBERS, *beyond, *((0, 0.0) if low else ())):
        if bad is None and name.endswith("atlas"):
            continue
        with pytest.raises(DomainError, match=f"{argument} must be (a Python number|given)"):
            call(bad)
    for good in (low, 1, np.float32(0.5), np.int64(2), Fraction(1, 2)):
        assert np.isfinite(np.asarray(call(good))).all()


@pytest.mark.parametrize("scale", ["", "Log", None, 1, ["log"]], ids=repr)
def test_minimax_scale(scale: Any) -> None:
    with pytest.raises(DomainError, match="scale must be one of"):
        minimax_efficiency(0.5, scale)


def test_delta(lib: Backend) -> None:
    for bad in (-1e-9, math.nan, math.inf):
        array = lib.asarray([0.5, bad], "float64")
        raises("delta", bad, "lie in [0, 1)", lambda a=array: minimax_efficiency(a))
        raises("delta", bad, "be finite and at least 0",
               lambda a=array: minimax_efficiency(a, "log"))  # fmt: skip
    raises("delta", 1.0, "lie in [0, 1)", lambda: minimax_efficiency(lib.asarray([1.0])))
    for bad in ("x", None, [], object(), 0.5j):
        with pytest.raises(DomainError, match="delta must"):
            minimax_efficiency(bad)


def test_rows(lib: Backend) -> None:
    for name, call in OF_ROWS.items():
        argument = "alpha" if name == "escort" else "weights"
        for bad, rule in ((-1.0, "be at least 0"), (math.nan, "be finite"), (math.inf, "finite")):
            raises(argument, bad, rule, lambda c=call, b=bad: c(lib.asarray([[1.0, b]])))
        raises(argument, 0.0, "not be all 0 in a row",
               lambda c=call: c(lib.asarray([[1.0, 0.0], [0.0, 0.0]])))  # fmt: skip
        raises(argument, (), "along its last axis", lambda c=call: c(lib.asarray(1.0)))
        for shape in ((0,), (2, 0), (0, 2)):
            raises(argument, shape, "not be empty",
                   lambda c=call, s=shape: c(lib.asarray(np.zeros(s))))  # fmt: skip
        for bad in ("ab", None, object(), [1.0, None], [[1.0], [1.0, 2.0]]):
            with pytest.raises(DomainError, match=f"{argument} must"):
                call(bad)


def test_efficiency_rows(lib: Backend) -> None:
    one = lib.asarray([1.0, 1.0])
    for shape in ((), (1,), (3,), (1, 2), (2, 1)):
        bad = lib.asarray(np.ones(shape))
        raises("target", shape, "shape of weights", lambda b=bad: weight_efficiency(one, b))
        raises("probabilities", shape, "shape of weights",
               lambda b=bad: weight_efficiency(one, one, probabilities=b))  # fmt: skip
    left, right = lib.asarray([1.0, 0.0]), lib.asarray([0.0, 1.0])
    rule = "be positive at some prompt of a row that is drawn"
    raises("weights", 0.0, rule, lambda: weight_efficiency(left, one, probabilities=right))
    raises("target", 0.0, rule, lambda: weight_efficiency(one, left, probabilities=right))
    raises("probabilities", 0.0, "not be all 0",
           lambda: weight_efficiency(one, one, probabilities=one * 0))  # fmt: skip


def test_counts(lib: Backend) -> None:
    four = lib.asarray([4.0, 4.0])
    for bad, rule in ((-1.0, "whole"), (0.5, "whole"), (math.nan, "whole"), (math.inf, "whole"),
                      (5.0, "at most the number of rollouts")):  # fmt: skip
        counts = lib.asarray([1.0, bad])
        raises("correct", bad, rule, lambda c=counts: success_variance(c, four))
    for bad, rule in ((1.0, "at least 2"), (0.0, "at least 2"), (2.5, "whole"), (-4.0, "whole")):
        rollouts = lib.asarray([4.0, bad])
        raises("rollouts", bad, rule, lambda n=rollouts: success_variance(four * 0, n))
    raises("rollouts", 0.0, "at least 1",
           lambda: success_variance(four * 0, four * 0, unbiased=False))  # fmt: skip
    wide = lib.asarray(np.asarray([2**24 + 1]), "int64")
    raises("rollouts", 2**24 + 1, "holds exactly",
           lambda: success_variance(lib.asarray([1.0], "float32"), wide))  # fmt: skip
    for shape in ((3,), (2, 1)):
        with pytest.raises(DomainError, match="rollouts must be a number or have the shape"):
            success_variance(four, lib.asarray(np.full(shape, 4.0)))
    for flag in (1, 0, None, "no", np.True_):
        with pytest.raises(DomainError, match="unbiased must be True or False"):
            success_variance(1, 2, unbiased=flag)


ESTIMATES: dict[str, Callable[..., Any]] = {
    "gradients": lambda v, w: garl_estimate(v, w, 0.5),
    "scores": lambda v, w: paft_estimate(v, w, 0.5, uniforms=[0.5]),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_pools(lib: Backend, name: str) -> None:
    vectors, weights = lib.asarray([[1.0], [2.0]]), lib.asarray([0.5, 0.25])
    draws = {} if name == "gradients" else {"uniforms": lib.asarray([0.5])}
    function = garl_estimate if name == "gradients" else paft_estimate

    def call(v: Any, w: Any) -> Any:
        return function(v, w, 0.5, **draws)

    for bad in (-1.0, math.nan, math.inf):
        rule = "be at least 0" if bad == -1 else "be finite"
        raises("weights", bad, rule, lambda b=bad: call(vectors, lib.asarray([0.5, b])))
    for bad in (math.nan, -math.inf):
        raises(name, bad, "be finite", lambda b=bad: call(lib.asarray([[1.0], [b]]), weights))
    for shape in ((), (2,), (1, 1), (3, 1), (1, 2, 1)):
        bad_shape = lib.asarray(np.zeros(shape))
        raises(name, shape, "weights.shape + (D,)", lambda b=bad_shape: call(b, weights))
    raises(name, (2, 0), "be empty", lambda: call(lib.asarray(np.zeros((2, 0))), weights))
    raises("weights", (), "along its last axis", lambda: call(vectors, lib.asarray(1.0)))
    for shape in ((0,), (0, 2)):
        raises("weights", shape, "be empty",
               lambda s=shape: call(vectors, lib.asarray(np.zeros(s))))  # fmt: skip
    huge = lib.asarray([1.7e308, 1.7e308], "float64")
    raises("weights", math.inf, "a sum that float64 can hold",
           lambda: call(lib.asarray([[0.0], [0.0]], "float64"), huge))  # fmt: skip
    for wrong in ("ab", None, object(), [1.0, None], 0.5j):
        for pair, argument in (((wrong, [0.5, 0.5]), name), (([[1.0], [2.0]], wrong), "weights")):
            with pytest.raises(DomainError, match=f"{argument} must"):
                ESTIMATES[name](*pair)


def test_gradients_without_weight(lib: Backend) -> None:
    """Their step would be infinite; at q = 0 nothing is divided."""
    vectors, weights = lib.asarray([[0.0], [3.0]]), lib.asarray([0.0, 0.0])
    raises("gradients", 3.0, "be 0 where all weights of the pool are 0",
           lambda: garl_estimate(vectors, weights, 0.5))  # fmt: skip
    assert lib.to_numpy(garl_estimate(vectors, weights, 0)) == 1.5


def test_results_of_pools_that_do_not_fit() -> None:
    with pytest.raises(DomainError, match="float64 can hold"):
        garl_estimate([[1.0]], [1e-300], 1.5)
    with pytest.raises(DomainError, match="float64 can hold"):
        garl_estimate([[1.7e308], [1.7e308]], [1.0, 1.0], 0.5)
    with pytest.raises(DomainError, match="float64 can hold"):
        paft_estimate([[1.0]], [1e-300], 3.0, indices=[0])


def test_draws(lib: Backend) -> None:
    scores, weights = lib.asarray([[1.0], [2.0], [3.0]]), lib.asarray([0.5, 0.0, 0.25])

    def call(**draws: Any) -> Any:
        return paft_estimate(scores, weights, 0.5, **draws)

    for bad in (-1, 3, 127):
        small = lib.asarray(np.asarray([0, bad], dtype="int8"))
        raises("indices", bad, "lie between 0 and 2", lambda i=small: call(indices=i))
    raises("indices", 1, "name draws of positive weight",
           lambda: call(indices=lib.asarray([0, 2, 1])))  # fmt: skip
    for bad in (-1e-9, 1.0, math.nan, math.inf):
        raises("uniforms", bad, "lie in [0, 1)",
               lambda b=bad: call(uniforms=lib.asarray([0.5, b], "float64")))  # fmt: skip
    raises("indices", "float64", "hold integers",
           lambda: call(indices=lib.asarray([0.0, 2.0], "float64")))  # fmt: skip
    raises("indices", "bool", "hold integers",
           lambda: call(indices=lib.asarray([False, False])))  # fmt: skip
    for name, kind in (("indices", "int32"), ("uniforms", "float64")):
        for shape in ((), (1, 2), (3, 2)):
            bad = lib.asarray(np.zeros(shape, kind))
            raises(name, shape, "weights.shape[:-1] + (N,)", lambda n=name, b=bad: call(**{n: b}))
        raises(name, (0,), "be empty",
               lambda n=name, k=kind: call(**{n: lib.asarray(np.zeros(0, k))}))  # fmt: skip
    one, half = lib.asarray([0]), lib.asarray([0.5])
    raises("indices", None, "not both", lambda: call())
    raises("indices", None, "not both", lambda: call(indices=one, uniforms=half))


def test_large_unsigned_indices() -> None:
    for backend in ("numpy", "torch"):
        lib = load_or_skip(backend)
        for kind, bad in (("uint64", 2**63), ("uint32", 2**32 - 1), ("uint16", 2**16 - 1)):
            indices = lib.asarray(np.asarray([0, bad], dtype=kind))
            with pytest.raises(DomainError, match="indices must lie between 0 and 0") as caught:
                paft_estimate(lib.asarray([[1.0]]), lib.asarray([1.0]), 0.5, indices=indices)
            assert caught.value.value == bad


def test_libraries_do_not_mix() -> None:
    torch = load_or_skip("torch").xp
    ours, theirs = np.array([0.25, 0.5]), torch.asarray([0.25, 0.5])
    for call, argument in (
        (lambda: weight_efficiency(ours, theirs), "target"),
        (lambda: weight_efficiency(ours, ours, probabilities=theirs), "probabilities"),
        (lambda: success_variance(ours * 0, theirs), "rollouts"),
        (lambda: garl_estimate(ours[:, None], theirs, 0.5), "weights"),
        (lambda: paft_estimate(ours[:, None], ours, 0.5, uniforms=theirs), "uniforms"),
    ):
        with pytest.raises(DomainError, match="same array library") as caught:
            call()
        assert caught.value.argument == argument


def test_torch_tensors_that_are_no_arrays() -> None:
    for tensor in unusual_tensors(load_or_skip("torch").xp):
        for call in (*OF_P.values(), *OF_ROWS.values(), minimax_efficiency,
                     lambda t: garl_estimate(t, t, 0.5), lambda t: success_variance(t, 2),
                     lambda t: paft_estimate([[1.0]], [1.0], 0.5, indices=t)):  # fmt: skip
            with pytest.raises(DomainError, match=r"must be a plain \(dense, strided\) tensor"):
                call(tensor)


def test_bfloat16_of_numpy() -> None:
    """ml_dtypes, which comes with JAX, registers it: NumPy's finfo and promotion do not know it."""
    load_or_skip("jax")
    bfloat16 = importlib.import_module("ml_dtypes").bfloat16
    values = np.array([0.25, 0.5])
    calls: list[Callable[..., Any]] = [
        *OF_P.values(),
        *OF_ROWS.values(),
        minimax_efficiency,
        lambda v: garl_estimate(v[:, None], v, 0.5),
        lambda v: paft_estimate(v[:, None], v, 0.5, uniforms=v),
        lambda v: success_variance(v * 0, v * 8),
    ]
    for call in calls:
        result = call(values.astype(bfloat16))
        assert result.dtype == bfloat16
        wide = call(values.astype(np.float32))
        np.testing.assert_array_equal(result, wide.astype(bfloat16))


ANYTHING = st.one_of(
    st.floats(),
    st.floats(0, 1),
    st.integers(-3, 3),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.lists(st.floats(0, 1), max_size=3),
    st.lists(st.floats(), min_size=2, max_size=2),
    st.lists(st.lists(st.floats(), min_size=1, max_size=2), min_size=2, max_size=2),
)


@given(a=ANYTHING, b=ANYTHING, c=ANYTHING, method=st.sampled_from(list(METHODS)))
def test_documented_errors_or_finite_results(a: Any, b: Any, c: Any, method: str) -> None:
    for call in (
        lambda: beta_kernel(a, b, c),
        lambda: beta_kernel_peak(a, b),
        lambda: difficulty_weight(a, method, group_size=b),
        lambda: difficulty_weight(a, method, **OPTIONS.get(method, {})),
        lambda: difficulty_weight(a, "tsallis", q=b),
        lambda: difficulty_weight(a, "beta_kernel", alpha=b, beta=c),
        lambda: difficulty_weight(a, "pass_at_k", k=b),
        lambda: difficulty_weight(a, "grpo_pass_at_k", k=b),
        lambda: escort(a, b),
        lambda: garl_estimate(a, b, c),
        lambda: garl_estimate(a, [0.5, 0.25], 0.5),
        lambda: garl_estimate([[1.0], [2.0]], a, b),
        lambda: minimax_efficiency(a, b),
        lambda: minimax_efficiency(a, "log"),
        lambda: paft_estimate([[1.0], [2.0]], a, 0.5, uniforms=b),
        lambda: paft_estimate(a, [0.5, 0.25], b, uniforms=c),
        lambda: paft_estimate([[1.0], [2.0]], [0.5, 0.25], a, indices=b),
        lambda: success_gated_snr(a),
        lambda: success_variance(a, b, unbiased=c),
        lambda: success_variance(a, b),
        lambda: tsallis_weight(a, b),
        lambda: weight_efficiency(a, b, probabilities=c),
        lambda: weight_efficiency(a, a),
    ):
        try:
            result = call()
        except DomainError:
            continue
        assert np.isfinite(np.asarray(result, dtype=np.float64)).all()


def test_arguments_are_left_alone() -> None:
    p, scores, indices = np.array([0.25, 0.5]), np.array([[1.0], [2.0]]), np.array([0, 1, 1])
    kept = [x.copy() for x in (p, scores, indices)]
    for call in (*OF_P.values(), *OF_ROWS.values()):
        call(p)
    garl_estimate(scores, p, 0.5)
    paft_estimate(scores, p, 0.5, indices=indices)
    paft_estimate(scores, p, 0.5, uniforms=p)
    for array, before in zip((p, scores, indices), kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_all_names_what_the_modules_define() -> None:
    modules = [importlib.import_module(f"identity.difficulty.{m}") for m in SUBMODULES]
    assert sorted(name for m in modules for name in m.__all__) == difficulty.__all__
