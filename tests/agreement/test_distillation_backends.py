"""identity.distillation on every array library: type, device, dtype, values, tracing, slopes."""

from __future__ import annotations

import functools
import importlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np
import pytest

from identity.distillation import (
    first_step_gain,
    forward_kl,
    geometric_tilt,
    on_policy_distillation_reward,
    reverse_kl,
)
from tests import tolerances
from tests.backends import OPTIONAL, Backend, load_or_skip
from tests.identity import distillation_oracle as oracle

STUDENT = np.array([[0.5, -1.0, 2.0], [0.0, 0.25, -3.0]])
TEACHER = np.array([[1.5, -0.5, 1.0], [0.0, -2.0, 1.0]])
REWARDS = np.array([[1.0, 0.0, 0.5], [-1.0, 2.0, 0.25]])
MASK = np.array([True, False])
TOKENS = np.array([[1, 1, 0], [1, 1, 1]])
FIRST = (np.array([0.5, -0.25]), np.array([0.0, 0.75]))


def of_steps(function: Callable[..., Any], first: Any, rest: Any, *teacher: Any) -> Any:
    return function([first, rest], list(teacher), level="sequence")


def masked(function: Callable[..., Any], student: Any, teacher: Any, mask: Any) -> Any:
    return function(student, teacher, level="token", mask=mask)


def of_tokens(credit: str, logp: Any, teacher: Any, mask: Any) -> Any:
    return on_policy_distillation_reward(logp, teacher, credit=credit, mask=mask)


Steps = (FIRST[0], STUDENT, FIRST[1], TEACHER)
CALLS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "reverse_kl": (functools.partial(reverse_kl, level="token"), (STUDENT, TEACHER)),
    "forward_kl": (functools.partial(forward_kl, level="token"), (STUDENT, TEACHER)),
    "reverse_kl-masked": (functools.partial(masked, reverse_kl), (STUDENT, TEACHER, MASK)),
    "reverse_kl-responses": (functools.partial(of_steps, reverse_kl), Steps),
    "forward_kl-responses": (functools.partial(of_steps, forward_kl), Steps),
    "geometric_tilt": (functools.partial(geometric_tilt, beta=2.0), (STUDENT, TEACHER)),
    "geometric_tilt-beyond": (functools.partial(geometric_tilt, beta=0.5), (STUDENT, TEACHER)),
    "first_step_gain": (first_step_gain, (STUDENT, TEACHER, REWARDS)),
    **{
        f"reward-{credit}": (
            functools.partial(of_tokens, credit),
            (-np.abs(STUDENT), -np.abs(TEACHER), TOKENS),
        )
        for credit in ("token", "to_go", "sequence")
    },
}
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@pytest.fixture(
    scope="module", params=["numpy-readonly", "array-api-strict", "torch", "jax-jit", *OPTIONAL]
)
def lib(request: pytest.FixtureRequest) -> Backend:
    """The other modes take part in `tests.identity.test_distillation_*`."""
    return load_or_skip(request.param)


def on(lib: Backend, arrays: tuple[np.ndarray, ...], dtype: str) -> list[Any]:
    return [lib.asarray(a, dtype if a.dtype == np.float64 else None) for a in arrays]


@pytest.mark.parametrize("name", CALLS)
def test_library_device_dtype_and_value(lib: Backend, name: str) -> None:
    """The inputs are exact in every dtype, so that the result in float64 is the value wanted."""
    function, arguments = CALLS[name]
    wanted = np.asarray(function(*arguments))
    for dtype in ("bfloat16", "float64") if lib.compiled else lib.dtypes:
        arrays = on(lib, arguments, dtype)
        result = lib.call(function, *arrays)
        assert result.dtype == arrays[0].dtype
        assert array_api_compat.device(result) == array_api_compat.device(arrays[0])
        assert array_api_compat.array_namespace(result) is array_api_compat.array_namespace(
            arrays[0]
        )
        values = lib.to_numpy(result).astype(np.float64)
        assert values.shape == wanted.shape
        reach = tolerances.BACKENDS_EPS * EPS["float64" if dtype == "float64" else "float32"]
        if dtype in ("float16", "bfloat16"):
            reach += EPS[dtype]
        assert (np.abs(values - wanted) <= reach * np.abs(wanted).max()).all()


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("name", CALLS)
def test_torch_compile_traces_without_a_break(name: str) -> None:
    backend = load_or_skip("torch")
    torch = importlib.import_module("torch")
    torch.compiler.reset()
    function, arguments = CALLS[name]
    arrays = on(backend, arguments, "float64")
    compiled = torch.compile(lambda *a: function(*a), backend="eager", fullgraph=True)
    np.testing.assert_array_equal(
        backend.to_numpy(compiled(*arrays)), backend.to_numpy(function(*arrays))
    )


def test_jax_as_it_comes_without_float64() -> None:
    """float32 and int32 only: no warning, no silent upcast."""
    load_or_skip("jax")
    code = """
import warnings; warnings.simplefilter("error")
import jax, jax.numpy as jnp
from identity import distillation as d
s, t, r = jnp.asarray([[0.25, -0.5]]), jnp.asarray([[0, 1]]), jnp.asarray([[1, 0]])
calls = [
    lambda: d.reverse_kl(s, t, level="token"), lambda: d.forward_kl(s, t, level="token", mask=[1]),
    lambda: d.reverse_kl([s[0], jnp.zeros((2, 2))], [s[0], jnp.ones((2, 2))], level="sequence"),
    lambda: d.geometric_tilt(s, t, beta=0.5), lambda: d.first_step_gain(s, t, r),
    *(lambda c=c: d.on_policy_distillation_reward(s, t, credit=c, mask=r)
      for c in ("token", "to_go", "sequence")),
]
for call in calls:
    assert call().dtype == "float32"
    assert jax.jit(call)().dtype == "float32"
"""
    environment = os.environ | {"JAX_ENABLE_X64": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# -- derivatives -----------------------------------------------------------------------------------


def torch_gradient(function: Callable[..., Any], *at: np.ndarray) -> list[np.ndarray]:
    torch = load_or_skip("torch").xp
    leaves = [torch.asarray(a.copy()).requires_grad_() for a in at]
    function(*leaves).backward()
    return [np.zeros_like(a) if x.grad is None else x.grad.numpy()
            for x, a in zip(leaves, at, strict=True)]  # fmt: skip


def jax_gradient(function: Callable[..., Any], *at: np.ndarray) -> list[np.ndarray]:
    load_or_skip("jax")
    jax = importlib.import_module("jax")
    found = jax.jit(jax.grad(function, tuple(range(len(at)))))(*at)
    return [np.asarray(g) for g in found]


gradients = pytest.mark.parametrize("gradient", [torch_gradient, jax_gradient])


def laws() -> tuple[np.ndarray, np.ndarray]:
    """Differences from 1e-9 to 30, logits to 60, probabilities of 0 on one side and on both."""
    rng = np.random.default_rng(31)
    student = rng.normal(size=(12, 5)) * 2.0 ** rng.uniform(-2, 4.5, (12, 1))
    teacher = student + rng.normal(size=(12, 5)) * 10.0 ** np.linspace(-9, 1.2, 12)[:, None]
    student[9:, 1] = teacher[9:, 1] = -math.inf
    return student, teacher


@gradients
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_slopes_of_tokens(gradient: Any, direction: str) -> None:
    """π (log π/π_T − KL) and π − π_T, small ones too; 0 and no NaN at a probability of 0."""
    student, teacher = laws()
    (student if direction == "reverse" else teacher)[8, 3] = -math.inf
    function = reverse_kl if direction == "reverse" else forward_kl
    (found,) = gradient(lambda s: function(s, _like(s, teacher), level="token").sum(), student)
    assert np.isfinite(found).all()
    for got, s, t in zip(found, student, teacher, strict=True):
        exact = oracle.divergence_slope(s, t, reverse=direction == "reverse")
        largest = max(abs(x) for x in exact)
        reach = tolerances.DISTILLATION_SLOPE_EPS * EPS["float64"]
        bound = reach * (oracle.size(s, t) * largest + oracle.size(s, t))
        for value, wanted in zip(got, exact, strict=True):
            assert abs(value - wanted) <= bound, (s, t, got, exact)
    assert (found[9:, 1] == 0).all()


def _like(array: Any, values: Any) -> Any:
    """The values as an array of the library of another one."""
    return array_api_compat.array_namespace(array).asarray(values)


@gradients
def test_masked_laws_have_slope_0(gradient: Any) -> None:
    student, teacher = laws()
    mask = np.arange(12) % 3 != 0
    bad = np.where(mask[:, None], student, [math.nan, math.inf, -math.inf, 1e300, -math.inf])

    def total(s: Any) -> Any:
        return reverse_kl(s, _like(s, teacher), level="token", mask=_like(s, mask)).sum()

    (clean,), (poisoned,) = gradient(total, student), gradient(total, bad)
    np.testing.assert_array_equal(clean, poisoned)
    assert (clean[~mask] == 0).all()
    assert (np.abs(clean[mask]).max(axis=1) > 0).all()


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


@gradients
def test_per_token_gradients_leave_out_the_future(gradient: Any) -> None:
    """distillation.future-terms: their difference is E[∇log π(i) KL(rest | i)]."""
    rng = np.random.default_rng(37)
    student = [rng.normal(size=(3,)), rng.normal(size=(3, 4))]
    teacher = [rng.normal(size=(3,)), rng.normal(size=(3, 4))]

    def divergence(prefixes: str, *steps: Any) -> Any:
        them = [_like(steps[0], t) for t in teacher]
        return reverse_kl(list(steps), them, level="sequence", prefixes=prefixes)

    whole = gradient(functools.partial(divergence, "moving"), *student)
    own = gradient(functools.partial(divergence, "detached"), *student)
    first, rest = map(softmax, student)
    after = reverse_kl(student[1], teacher[1], level="token")
    future = first * (after - first @ after)  # Σ_i π_i (δ_ik − π_k) KL_i
    np.testing.assert_allclose(whole[0] - own[0], future, rtol=0, atol=1e-14)
    assert np.abs(future).max() > 0.05
    np.testing.assert_allclose(whole[1], own[1], rtol=1e-13)
    # The per-token gradient is that of the next token, each at its prefix's probability.
    local = [
        np.array([[float(x) for x in oracle.divergence_slope(s, t, reverse=True)]
                  for s, t in zip(np.atleast_2d(a), np.atleast_2d(c), strict=True)])
        for a, c in zip(student, teacher, strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(own[0], local[0][0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(own[1], local[1] * first[:, None], rtol=0, atol=1e-14)
    assert rest.shape == (3, 4)


@gradients
def test_the_forward_divergence_has_no_future(gradient: Any) -> None:
    """The gradient of responses is π − π_T at the teacher's prefixes."""
    rng = np.random.default_rng(41)
    student = [rng.normal(size=(2,)), rng.normal(size=(2, 3))]
    teacher = [rng.normal(size=(2,)), rng.normal(size=(2, 3))]

    def divergence(*steps: Any) -> Any:
        return forward_kl(list(steps), [_like(steps[0], t) for t in teacher], level="sequence")

    found = gradient(divergence, *student)
    of_teacher = softmax(teacher[0])
    np.testing.assert_allclose(found[0], softmax(student[0]) - of_teacher, rtol=0, atol=1e-14)
    after = (softmax(student[1]) - softmax(teacher[1])) * of_teacher[:, None]
    np.testing.assert_allclose(found[1], after, rtol=0, atol=1e-14)


@gradients
def test_witness_of_per_token_kl(gradient: Any) -> None:
    """distillation.per-token-kl: 0 against (1/8) log(4/3), as an optimiser would see it."""
    even, skew = np.log([0.5, 0.5]), np.log([0.25, 0.75])
    student, teacher = [even, np.stack([even, even])], [even, np.stack([even, skew])]
    for prefixes, expected in (("detached", 0.0), ("moving", math.log(4 / 3) / 8)):

        def divergence(first: Any, prefixes: str = prefixes) -> Any:
            steps, them = ([_like(first, x) for x in law] for law in (student, teacher))
            return reverse_kl([first, steps[1]], them, level="sequence", prefixes=prefixes)

        (found,) = gradient(divergence, even)
        np.testing.assert_allclose(found, [-expected, expected], rtol=1e-14, atol=1e-17)


@gradients
def test_slopes_of_the_tilt(gradient: Any) -> None:
    """Of Σ c log π*: (1 − 1/β) and 1/β times c − π* Σ c."""
    rng = np.random.default_rng(43)
    student, teacher, weights = rng.normal(size=(3, 6))
    for beta in (0.5, 1.0, 3.0, math.inf):

        def total(s: Any, t: Any, beta: float = beta) -> Any:
            return (geometric_tilt(s, t, beta=beta) * _like(s, weights)).sum()

        found = gradient(total, student, teacher)
        law = np.exp(geometric_tilt(student, teacher, beta=beta))
        slope = weights - law * weights.sum()
        for got, share in zip(found, (1 - 1 / beta, 1 / beta), strict=True):
            np.testing.assert_allclose(got, share * slope, rtol=0, atol=1e-13)


@gradients
def test_slopes_of_the_first_step(gradient: Any) -> None:
    """By the rewards π (d − E d), by the teacher π (R − E R), by the student what is left."""
    rng = np.random.default_rng(47)
    student, teacher, rewards = rng.normal(size=(3, 6))
    found = gradient(lambda *a: first_step_gain(*a), student, teacher, rewards)
    p, ratio = softmax(student), teacher - student
    gap, rest = ratio - p @ ratio, rewards - p @ rewards
    expected = (p * (gap * rest - p @ (gap * rest) - rest), p * rest, p * gap)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-14)


@gradients
@pytest.mark.parametrize("credit", ["token", "to_go", "sequence"])
def test_rewards_are_constants(gradient: Any, credit: str) -> None:
    """Multiplied by log π, they leave the policy gradient alone."""
    logp, teacher = -np.abs(STUDENT), -np.abs(TEACHER)
    reward = on_policy_distillation_reward(logp, teacher, credit=credit)
    wide = reward[:, None] if credit == "sequence" else reward

    def objective(x: Any, y: Any) -> Any:
        r = on_policy_distillation_reward(x, y, credit=credit)
        return ((r[:, None] if credit == "sequence" else r) * x).sum()

    of_student, of_teacher = gradient(objective, logp, teacher)
    np.testing.assert_allclose(of_student, np.broadcast_to(wide, logp.shape), rtol=1e-15)
    assert (of_teacher == 0).all()


@gradients
@pytest.mark.parametrize(("beta", "law"), [(1.0, 0), (math.inf, 1)])
def test_the_tilt_at_an_end_has_slope_0_by_the_other_law(
    gradient: Any, beta: float, law: int
) -> None:
    """And not none, also where it alone is differentiated."""

    def total(moving: Any) -> Any:
        both = [_like(moving, TEACHER), _like(moving, TEACHER)]
        both[law] = moving
        return (geometric_tilt(*both, beta=beta) * _like(moving, REWARDS)).sum()

    (found,) = gradient(total, STUDENT)
    assert (found == 0).all()
