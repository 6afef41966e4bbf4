"""identity.expectation: bad input, light imports, documented errors and nothing else."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import identity.expectation as expectation
from identity import DomainError, proven_functions
from tests.backends import load_or_skip
from tests.identity.test_groups_errors import unusual_tensors

METHODS = ("grpo", "dr_grpo", "rloo", "dapo", "max_rl", "pass_at_k")
HUGE = 2**53

OF_P: dict[str, Callable[..., Any]] = {
    "update_weight": expectation.update_weight,
    "surrogate": expectation.surrogate,
    "expected_std": expectation.expected_std,
    "fidelity": expectation.fidelity,
    "silent_rate": expectation.silent_rate,
    "gradient_mass": expectation.gradient_mass,
    "conditional_baseline": expectation.conditional_baseline,
    "groups_per_kept": expectation.groups_per_kept,
    "tail_miss": lambda p, g: expectation.tail_miss(p, 0.0, g),
    "verifier_noise_weight": lambda p, g: expectation.verifier_noise_weight(p, g, 1.0, 0.0),
}
BAD_P = (
    math.nan, math.inf, -math.inf, -1e-9, 1 + 2.0**-52, 2, -1, [0.5, math.nan], np.asarray([]),
    [], "half", None, 0.5j, np.ma.masked_array([0.5], [True]), [[0.1], [0.2, 0.3]],
)  # fmt: skip
BAD_SIZE = (1, 0, -3, 2.0, 2.5, math.nan, "8", None, True, [8], np.asarray([4, 8]), 2**80)


@pytest.mark.parametrize("name", OF_P)
@pytest.mark.parametrize("p", BAD_P, ids=repr)
def test_bad_probability(name: str, p: Any) -> None:
    with pytest.raises(DomainError) as caught:
        OF_P[name](p, 4)
    assert caught.value.argument == "p"


@pytest.mark.parametrize("name", OF_P)
@pytest.mark.parametrize("group_size", BAD_SIZE, ids=repr)
def test_bad_group_size(name: str, group_size: Any) -> None:
    if name == "gradient_mass" and group_size is None:
        return  # the large-G limit
    with pytest.raises(DomainError) as caught:
        OF_P[name](0.5, group_size)
    assert caught.value.argument == "group_size"


@pytest.mark.parametrize(
    "name", ["update_weight", "surrogate", "expected_std", "fidelity", "gradient_mass"]
)
def test_group_size_beyond_the_tables(name: str) -> None:
    with pytest.raises(DomainError, match="group_size must be at most 1048576"):
        OF_P[name](0.5, 2**20 + 1)


@pytest.mark.parametrize("method", ["GRPO", "", "ppo", None, 3, ["grpo"]], ids=repr)
@pytest.mark.parametrize(
    "function", [expectation.update_weight, expectation.surrogate, expectation.gradient_mass]
)
def test_unknown_method(function: Callable[..., Any], method: Any) -> None:
    with pytest.raises(DomainError, match="method must be one of") as caught:
        function(0.5, 4, method)
    assert caught.value.argument == "method"


@pytest.mark.parametrize(
    ("method", "ddof"), [("grpo", 2), ("grpo", 0.5), ("grpo", True), ("dr_grpo", 1), ("rloo", 1)]
)
def test_bad_ddof(method: str, ddof: Any) -> None:
    with pytest.raises(DomainError) as caught:
        expectation.update_weight(0.5, 4, method, ddof=ddof)
    assert caught.value.argument == "ddof"


@pytest.mark.parametrize("p", [0.0, 1.0, 5e-324, [0.5, 1.0]], ids=repr)
def test_nothing_is_kept_at_the_ends(p: Any) -> None:
    for function in (expectation.update_weight, expectation.surrogate, expectation.gradient_mass):
        with pytest.raises(DomainError, match="strictly between 0 and 1"):
            function(p, 4, "dapo")
    for function in (expectation.groups_per_kept, expectation.conditional_baseline):
        with pytest.raises(DomainError, match="strictly between 0 and 1"):
            function(p, 4)


def test_pass_at_k_has_no_large_limit() -> None:
    with pytest.raises(DomainError, match="group_size must be given"):
        expectation.gradient_mass(0.5, method="pass_at_k")


def test_float16_has_no_room_for_a_large_group() -> None:
    with pytest.raises(DomainError, match="group_size must be at most 65504"):
        expectation.update_weight(np.float16(0.25), 10**5, "max_rl")


@pytest.mark.parametrize(
    ("correct", "rollouts", "group_size", "argument"),
    [
        (0.5, 8, 2, "correct"),
        (-1, 8, 2, "correct"),
        (9, 8, 2, "correct"),
        (math.nan, 8, 2, "correct"),
        (math.inf, 8, 2, "correct"),
        (3, 8.5, 2, "rollouts"),
        (3, 4, 5, "rollouts"),
        (3, math.nan, 2, "rollouts"),
        (3, -4, 2, "rollouts"),
        (3, 2.0**60, 2, "rollouts"),
        ([], 4, 2, "correct"),
        ([1, 2], [4, 4, 4], 2, "rollouts"),
        ([[1, 2]], [4, 4], 2, "rollouts"),
        ([1, 9], [8, 8], 2, "correct"),
        ([1, 2], [8, 3], 4, "rollouts"),
        ("1", 4, 2, "correct"),
    ],
)
def test_bad_counts(correct: Any, rollouts: Any, group_size: int, argument: str) -> None:
    with pytest.raises(DomainError) as caught:
        expectation.silent_rate_unbiased(correct, rollouts, group_size)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("correct", "rollouts", "argument"),
    [
        (2**53 + 1, 2**53, "correct"),
        (2, 2**53 + 1, "rollouts"),
        (np.array([2]), 2**53 + 1, "rollouts"),
        (2**53 + 1, np.array([2**53]), "correct"),
        (np.array([2]), np.array([2**64 - 1], dtype=np.uint64), "rollouts"),
        (np.array([2], dtype=np.float32), np.array([2**24 + 1]), "rollouts"),
        (np.array([2], dtype=np.float16), 2**24 + 1, "rollouts"),
    ],
)
def test_counts_that_would_be_rounded(correct: Any, rollouts: Any, argument: str) -> None:
    with pytest.raises(DomainError, match="in magnitude") as caught:
        expectation.silent_rate_unbiased(correct, rollouts, 2)
    assert caught.value.argument == argument


def test_counts_of_torch_that_would_be_rounded() -> None:
    torch = load_or_skip("torch").xp
    for dtype in (torch.int64, torch.int32, torch.uint32, torch.uint64):
        correct = torch.asarray([2, 2**24 + 1], dtype=dtype)
        with pytest.raises(DomainError, match=r"correct .* 16777216 in magnitude.* at index 1"):
            expectation.silent_rate_unbiased(correct, 2**24, 2)


@pytest.mark.parametrize("name", OF_P)
def test_torch_tensors_that_are_no_arrays(name: str) -> None:
    for tensor in unusual_tensors(load_or_skip("torch").xp):
        with pytest.raises(DomainError, match=r"p must be a plain \(dense, strided\) tensor"):
            OF_P[name](tensor, 4)


def test_bfloat16_of_numpy() -> None:
    """ml_dtypes, which comes with JAX, registers it: NumPy's finfo does not know it."""
    load_or_skip("jax")
    bfloat16 = importlib.import_module("ml_dtypes").bfloat16
    p = np.array([0.25, 0.5, 0.75])
    calls: list[Callable[[Any], Any]] = [lambda p, f=f: f(p, 8) for f in OF_P.values()]
    for function in (expectation.update_weight, expectation.surrogate, expectation.gradient_mass):
        calls += [lambda p, f=function, m=method: f(p, 8, m) for method in METHODS]
    calls += [lambda p, o=order: expectation.group_size_law(p, 0.125, order=o) for order in (1, 2)]
    calls += [lambda p: expectation.silent_rate_beta(p, 2.0, 8)]
    for call in calls:
        result = call(p.astype(bfloat16))
        assert result.dtype == bfloat16
        np.testing.assert_array_equal(result, call(p.astype(np.float32)).astype(bfloat16))
    for bad in (0.0, 1.0, 1e-39):
        with pytest.raises(DomainError, match="strictly between 0 and 1"):
            expectation.groups_per_kept(np.asarray([bad]).astype(bfloat16), 8)
    assert expectation.silent_rate_unbiased(np.asarray([2]).astype(bfloat16), 4, 2) == np.asarray(
        1 / 3
    ).astype(bfloat16)


@pytest.mark.parametrize(
    ("a", "b", "argument"),
    [(0.0, 1.0, "a"), (1.0, -1.0, "b"), (math.nan, 1.0, "a"), (1.0, math.inf, "b"),
     (1e308, 1.0, "a"), ([], 1.0, "a"), ([1.0, 2.0], [1.0, 2.0, 3.0], "b"), (1.0, "x", "b")],
)  # fmt: skip
def test_bad_beta(a: Any, b: Any, argument: str) -> None:
    with pytest.raises(DomainError) as caught:
        expectation.silent_rate_beta(a, b, 4)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("p", "epsilon", "order", "argument"),
    [(0.0, 0.1, 1, "p"), (1.0, 0.1, 1, "p"), (0.5, 0.0, 1, "epsilon"), (0.5, 1.0, 2, "epsilon"),
     (0.5, math.nan, 1, "epsilon"), (0.5, -0.1, 1, "epsilon"), (0.5, 0.1, 3, "order"),
     (0.5, 0.1, True, "order"), (0.5, 0.1, np.array([1, 2]), "order"),
     (0.5, 0.1, "1", "order"), (0.5, 0.1, [1], "order"),
     (1e-200, 1e-200, 1, "p"), ([0.1, 0.2], [0.1, 0.2, 0.3], 1, "epsilon")],
)  # fmt: skip
def test_bad_law(p: Any, epsilon: Any, order: Any, argument: str) -> None:
    with pytest.raises(DomainError) as caught:
        expectation.group_size_law(p, epsilon, order=order)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("p", "fidelity", "argument"),
    [(0.0, 0.9, "p"), (1.0, 0.9, "p"), (math.nan, 0.9, "p"), (1e-17, 0.9, "p"), ([0.5], 0.9, "p"),
     ("0.5", 0.9, "p"), (None, 0.9, "p"), (True, 0.9, "p"), (0.5, 0.0, "fidelity"),
     (0.5, 1.0, "fidelity"), (0.5, 1 - 1e-7, "fidelity"), (0.5, math.nan, "fidelity"),
     (0.5, [0.9], "fidelity"), (0.5, 0.9j, "fidelity")],
)  # fmt: skip
def test_bad_target(p: Any, fidelity: Any, argument: str) -> None:
    with pytest.raises(DomainError) as caught:
        expectation.smallest_group_size(p, fidelity)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("tail", "argument"),
    [(0.6, "tail"), (-0.1, "tail"), (math.nan, "tail"), ([0.1, 0.2], None), ([], "tail")],
)
def test_bad_tail(tail: Any, argument: str | None) -> None:
    if argument is None:  # a number beside an array is fine
        assert expectation.tail_miss(0.5, tail, 4).shape == (2,)
        return
    with pytest.raises(DomainError) as caught:
        expectation.tail_miss(0.5, tail, 4)
    assert caught.value.argument == argument


def test_different_shapes_do_not_broadcast() -> None:
    column, row = np.full((3, 1), 0.5), np.full((1, 4), 0.25)
    with pytest.raises(DomainError, match="shape"):
        expectation.tail_miss(column, row, 4)
    with pytest.raises(DomainError, match="shape"):
        expectation.verifier_noise_weight(column, 4, row, 0.1)
    with pytest.raises(DomainError, match="shape"):
        expectation.group_size_law(column, row)


@pytest.mark.parametrize("rate", ["true_positive", "false_positive"])
def test_bad_verifier(rate: str) -> None:
    rates = {"true_positive": 0.9, "false_positive": 0.1}
    for bad in (-0.1, 1.1, math.nan, "x"):
        with pytest.raises(DomainError) as caught:
            expectation.verifier_noise_weight(0.5, 4, **(rates | {rate: bad}))
        assert caught.value.argument == rate


ANYTHING = st.one_of(
    st.floats(),
    st.floats(0, 1),
    st.integers(-3, 3),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.lists(st.floats(0, 1), max_size=3),
    st.lists(st.floats(), max_size=3),
)
SIZES = st.one_of(st.integers(-2, 40), st.sampled_from((HUGE, 2**20 + 1, 2.0, None, "2")))


@given(p=ANYTHING, group_size=SIZES, method=st.sampled_from((*METHODS, "x")), ddof=ANYTHING)
def test_documented_errors_or_finite_results(
    p: Any, group_size: Any, method: Any, ddof: Any
) -> None:
    calls = [lambda f=f: f(p, group_size) for f in OF_P.values()]
    for function in (expectation.update_weight, expectation.surrogate, expectation.gradient_mass):
        calls.append(lambda f=function: f(p, group_size, method))
        calls.append(lambda f=function: f(p, group_size, method, ddof=ddof))
    for call in calls:
        expect_finite(call)


@given(a=ANYTHING, b=ANYTHING, group_size=SIZES, order=ANYTHING)
def test_documented_errors_or_finite_results_of_two_arguments(
    a: Any, b: Any, group_size: Any, order: Any
) -> None:
    for call in (
        lambda: expectation.tail_miss(a, b, group_size),
        lambda: expectation.verifier_noise_weight(0.3, group_size, a, b),
        lambda: expectation.silent_rate_beta(a, b, group_size),
        lambda: expectation.silent_rate_unbiased(a, b, group_size),
        lambda: expectation.group_size_law(a, b),
        lambda: expectation.group_size_law(a, b, order=2),
        lambda: expectation.group_size_law(a, b, order=order),
        lambda: expectation.smallest_group_size(a, 0.9),
        lambda: expectation.smallest_group_size(0.3, b),
    ):
        expect_finite(call)


def expect_finite(call: Callable[[], Any]) -> None:
    try:
        result = call()
    except DomainError:
        return
    assert np.isfinite(np.asarray(result, dtype=np.float64)).all()


def test_import_is_light() -> None:
    code = (
        "import sys, identity.expectation as e; e.update_weight(0.3, 8);"
        "print(sorted({'sympy', 'mpmath', 'flint', 'torch', 'jax', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_function_names_its_theorems() -> None:
    linked = {name.rpartition(".")[2]: ids for name, ids in proven_functions().items()}
    for name in expectation.__all__:
        assert linked[name], name
        assert all(i.startswith("expectation.") for i in linked[name])
        text = getattr(expectation, name).__doc__
        for section in ("Parameters", "Returns", "Raises", "References", "Examples"):
            assert f"{section}\n    ---" in text, (name, section)
        assert "*Preconditions.*" in text, name
        assert "*Postcondition.*" in text, name
