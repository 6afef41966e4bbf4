# ruff: noqa: F811 - the fixture is imported by its name
"""Derivatives of losses in torch and JAX: against 50 digits, at clips, extremes and poison."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity import DomainError
from identity.surrogates import PRESETS, importance_ratio, kl, policy_loss, token_loss
from tests import oracles, tolerances
from tests.agreement.differentiation import Derivative, derivative, load_mode  # noqa: F401
from tests.backends import Backend, jax_jit, load_or_skip
from tests.identity import surrogates_oracle as oracle
from tests.identity.surrogates_oracle import Options

CASES = {
    "ppo_clip": Options(),
    "dual_clip": Options(clip=(0.2, 0.2), dual_clip=1.5),
    "cispo": Options("cispo", (0.2, 0.28)),
    "gspo": Options("gspo", (0.1, 0.1)),
    "gspo_token": Options("gspo", (0.1, 0.1), level="sequence_token"),
    "reinforce": Options("reinforce", None),
}
cases = pytest.mark.parametrize("case", CASES)
SHAPE = (4, 6)
MASK = np.arange(6) < np.array([[6], [3], [0], [1]])
IDS = np.array([5, 5, 9, 9])
NUMPY = ("torch", "jax-jit")  # enough where the mode does not matter


@pytest.fixture(scope="session", params=["torch", "torch-func-vmap", "jax-jit", "torch-cuda"])
def few(request: pytest.FixtureRequest) -> Derivative:
    """Modes enough for what the surrogates themselves decide."""
    return load_mode(request.param)


def sampled(seed: int, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    old = rng.uniform(-3, 0, SHAPE)
    return old + rng.normal(0, spread, SHAPE), old, rng.normal(size=SHAPE[0])


def gradient_of(
    mode: Derivative, function: Callable[..., Any], logp: np.ndarray, dtype: str, *others: Any
) -> np.ndarray:
    """The gradient by logp; the others are arrays, floating ones in the dtype."""
    held = [
        mode.backend.asarray(a, dtype if np.asarray(a).dtype.kind == "f" else None) for a in others
    ]
    return mode(lambda at: function(at, *held), mode.backend.asarray(logp, dtype))


@cases
def test_against_the_definition(derivative: Derivative, case: str) -> None:
    if derivative.mode in ("jax", "jax-vmap") and case not in ("ppo_clip", "gspo"):
        return  # seconds each, of compiling one operation after the other
    options = CASES[case]
    for dtype in ("float32", "bfloat16") if derivative.mode == "jax-jit" else ("float32",):
        held = [oracle.seen(derivative.backend, a, dtype) for a in sampled(3)]
        actual = gradient_of(
            derivative,
            lambda at, old, a, mask: policy_loss(
                at, old, a, mask, **options.keywords, aggregation="grpo"
            ),
            held[0], dtype, *held[1:], MASK,
        )  # fmt: skip
        weights = oracle.token_weights(MASK, "grpo")
        for b in range(SHAPE[0]):
            row = oracle.row(held[0][b], held[1][b], [held[2][b]] * 6, MASK[b], options, dtype)
            assert not row.near
            with mpmath.workdps(tolerances.ORACLE_DIGITS):
                exact = [
                    sum(w * slopes[u] for w, slopes in zip(weights[b], row.jacobian, strict=True))
                    for u in range(6)
                ]
            for got, want in zip(actual[b], exact, strict=True):
                off = oracles.excess(got, want, dtype)
                assert off <= row.ulp + tolerances.loss_ulp(*SHAPE), (b, got, want)
        assert (actual[~MASK] == 0).all()


@pytest.mark.parametrize("mode", NUMPY)
@given(seed=st.integers(0, 10_000), dtype=st.sampled_from(["float32", "float64"]),
       case=st.sampled_from(sorted(CASES)), spread=st.sampled_from([0.01, 0.3, 3.0]))  # fmt: skip
def test_token_derivatives(mode: str, seed: int, dtype: str, case: str, spread: float) -> None:
    """Σ ℓ of random tokens: every branch of every surrogate."""
    loaded, options = load_mode(mode), CASES[case]
    logp, old, advantages = (oracle.seen(loaded.backend, a, dtype) for a in sampled(seed, spread))
    function = summed(loaded.mode, case)
    arrays = [loaded.backend.asarray(a, dtype) for a in (logp, old, advantages)]
    actual = loaded.backend.to_numpy(function(*arrays, loaded.backend.asarray(MASK)))
    for b in range(SHAPE[0]):
        row = oracle.row(logp[b], old[b], [advantages[b]] * 6, MASK[b], options, dtype)
        if row.near:
            continue
        for u in range(6):
            with mpmath.workdps(tolerances.ORACLE_DIGITS):
                exact = sum(slopes[u] for slopes in row.jacobian)
            off = oracles.excess(
                actual[b, u], exact, dtype, flushes=loaded.backend.library == "jax"
            )
            assert off <= row.ulp + tolerances.loss_ulp(*SHAPE), (b, u, actual[b, u], exact)


@functools.cache
def summed(mode: str, case: str) -> Callable[..., Any]:
    """The gradient of Σ ℓ by logp, compiled once under JAX."""

    def total(logp: Any, *others: Any) -> Any:
        return token_loss(logp, *others, **CASES[case].keywords).sum()

    if mode == "jax-jit":
        jax = importlib.import_module("jax")
        return jax_jit(jax.grad(total))
    return importlib.import_module("torch").func.grad(total)


@cases
def test_at_ratio_one_all_have_the_gradient_of_the_unclipped(
    few: Derivative,
    case: str,
) -> None:
    """surrogates.on-policy, with log π itself as log π_old, and even with an empty interval."""
    logp, _, advantages = sampled(5)
    options = CASES[case].keywords
    clips = [options["clip"]] if options["clip"] is None else [options["clip"], (0.0, 0.0)]
    expected = gradient_of(
        few,
        lambda at, a, mask: policy_loss(at, None, a, mask, objective="reinforce",
                                        aggregation="grpo"),
        logp, "float32", advantages, MASK,
    )  # fmt: skip
    for clip in clips:
        actual = gradient_of(
        few,
            lambda at, a, mask, clip=clip: policy_loss(
                at, at, a, mask, **{**options, "clip": clip}, aggregation="grpo"
            ),
            logp, "float32", advantages, MASK,
        )  # fmt: skip
        # s/n·n of a sequence rounds twice
        reach = 4 * np.spacing(np.abs(expected).max()) if case == "gspo" else 0
        assert (np.abs(actual - expected) <= reach).all()


def test_clipped_tokens(few: Derivative) -> None:
    """Derivative exactly 0 for PPO, that of sg(clip(ρ))·A·log π for CISPO."""
    log_ratio = np.array([[0.5, -0.5, 0.0, 0.1], [0.5, -0.5, 0.0, 0.1]])
    logp, advantages = log_ratio - 2, np.array([1.0, -1.0])
    old, mask = np.full((2, 4), -2.0), np.ones((2, 4), dtype=bool)
    seen = {}
    for objective in ("ppo_clip", "cispo"):
        seen[objective] = gradient_of(
        few,
            lambda at, o, a, m, objective=objective: token_loss(
                at, o, a, m, objective=objective, clip=(0.2, 0.2)
            ).sum(),
            logp, "float64", old, advantages, mask,
        )  # fmt: skip
    ratio = np.exp(log_ratio)
    kept = np.array([[0, 1, 1, 1], [1, 0, 1, 1]])
    sign = -advantages[:, None]
    np.testing.assert_allclose(
        seen["ppo_clip"], sign * ratio * kept, rtol=tolerances.PRODUCT_RELATIVE
    )
    assert (seen["ppo_clip"][kept == 0] == 0).all()
    np.testing.assert_allclose(
        seen["cispo"], sign * np.clip(ratio, 0.8, 1.2), rtol=tolerances.PRODUCT_RELATIVE
    )


def test_a_bound_is_inside(few: Derivative) -> None:
    """At the bound as rounded, and one float before and after it."""
    bound = np.float32(math.log1p(0.25))
    logp = np.array([[np.nextafter(bound, np.float32(v)) for v in (0, bound, 1)]])
    actual = gradient_of(
        few,
        lambda at, o, a, m: token_loss(at, o, a, m, clip=(0.25, 0.25)).sum(),
        logp, "float32", np.zeros((1, 3)), np.array([1.0]), np.ones((1, 3), dtype=bool),
    )  # fmt: skip
    np.testing.assert_allclose(actual, [[-1.25, -1.25, 0]], rtol=1e-6)


@cases
def test_extremes_have_finite_derivatives(
    few: Derivative,
    case: str,
) -> None:
    logp = np.array([[-1, -11, -31, -81, -math.inf, -1], [-1, -1, -1, -1, -1, -1]] * 2)
    old = np.array([[-1, -1, -1, -1, -1, -81], [-1, -11, -31, -81, -90, -61]] * 2)
    advantages = np.array([1.0, 2.0, -1.0, -2.0])
    mask, options = np.ones(SHAPE, dtype=bool), CASES[case]
    for dtype in ("float32", "bfloat16") if few.mode in ("torch", "jax-jit") else ("float32",):
        actual = gradient_of(
        few,
            lambda at, o, a, m: token_loss(at, o, a, m, **options.keywords).sum(),
            logp.astype(float), dtype, old.astype(float), advantages, mask,
        )  # fmt: skip
        for b in range(4):
            row = oracle.row(logp[b], old[b], [advantages[b]] * 6, mask[b], options, dtype)
            for u in range(6):
                exact = sum(slopes[u] for slopes in row.jacobian)
                off = oracles.excess(actual[b, u], exact, dtype, flushes=True)
                assert off <= row.ulp + tolerances.loss_ulp(*SHAPE), (b, u, actual[b, u], exact)


@pytest.mark.parametrize("case", ["cispo", "reinforce"])
def test_extremes_of_half_precision(case: str) -> None:
    backend = load_or_skip("torch")
    logp, old, advantages, mask = (
        backend.asarray(a, "float16")
        for a in ([[-math.inf, -5000.0, -4096.0]], [[-1.0] * 3], [-2.0], [[1.0] * 3])
    )
    value, gradient = run_of(lambda at: token_loss(at, old, advantages, mask,
                                                   **CASES[case].keywords).sum(), logp)  # fmt: skip
    factor = 2.0 if case == "reinforce" else 1.6
    np.testing.assert_allclose(value, -3 * 4096 * factor, rtol=2e-3)
    np.testing.assert_allclose(gradient, [[0, 0, factor]], rtol=1e-3)


def run_of(function: Callable[..., Any], at: Any) -> tuple[Any, Any]:
    leaf = at.clone().requires_grad_()
    value = function(leaf)
    value.backward()
    return value.detach().double().numpy(), leaf.grad.double().numpy()


@pytest.mark.parametrize("case", CASES)
def test_both_at_minus_infinity_under_jit(case: str) -> None:
    """Not an error where it cannot be seen: ratio 0, and nothing else is spoiled."""
    backend, jax = load_or_skip("jax-jit"), importlib.import_module("jax")
    logp, old, advantages, mask = (
        backend.asarray(a)
        for a in ([[-math.inf, -1.0, -1.0], [-2.0, -math.inf, -1.0]],
                  [[-math.inf, -1.0, -1.0], [-2.0, -1.0, -math.inf]], [1.0, -1.0], [[1] * 3] * 2)
    )  # fmt: skip

    def loss(at: Any) -> Any:
        return policy_loss(at, old, advantages, mask, **CASES[case].keywords, aggregation="grpo")

    if case != "reinforce":  # where it can be seen
        with pytest.raises(DomainError, match="old_logp"):
            loss(logp)
    value, gradient = jax_jit(jax.value_and_grad(loss))(logp)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert gradient[0, 0] == 0
    for estimator in ("k1", "k2", "k3"):
        result = jax_jit(functools.partial(kl, estimator=estimator))(logp, old)
        assert np.isfinite(result).all()


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("wide", [True, False])
def test_mapped_over_masks_alone(library: str, wide: bool) -> None:
    backend = load_or_skip(library)
    xp = backend.xp
    masks = backend.asarray(np.array([[[1, 1], [1, 0]], [[0, 1], [0, 0]]], dtype=bool))
    logp = backend.asarray([[-1.0, -2.0], [-0.5, -1.5]], "float32")
    advantages = backend.asarray([[1.0, 2.0], [3.0, -1.0]] if wide else [1.0, 3.0], "float32")

    def loss(mask: Any) -> Any:
        return policy_loss(logp, logp, advantages, mask, clip=(0.2, 0.2), aggregation="dapo")

    vmap = xp.func.vmap if library == "torch" else importlib.import_module("jax").vmap
    mapped = backend.to_numpy(vmap(loss)(masks))
    np.testing.assert_array_equal(mapped, [backend.to_numpy(loss(m)) for m in masks])


# --- masks ---------------------------------------------------------------------------------------


def preset_loss(name: str, at: Any, *arrays: Any) -> Any:
    """The loss of a preset from (logp, old, ref, advantages, mask, ids)."""
    old, ref, advantages, mask, ids = arrays
    preset = PRESETS[name]
    return preset.loss(
        at, old, None, mask, advantages=advantages,
        ref_logp=ref if preset.kl_coefficient else None, groups=ids if preset.per_group else None,
        constant=9.0 if preset.aggregation in ("dr_grpo", "delta_l") else None,
    )  # fmt: skip


@functools.cache
def preset_value_and_gradient(mode: str, name: str) -> Callable[..., Any]:
    function = functools.partial(preset_loss, name)
    if mode == "jax-jit":
        jax = importlib.import_module("jax")
        return jax_jit(jax.value_and_grad(function))
    if mode == "jax":
        return importlib.import_module("jax").value_and_grad(function)

    def run(at: Any, *others: Any) -> Any:
        leaf = at.clone().requires_grad_()
        value = function(leaf, *others)
        value.backward()
        return value.detach(), leaf.grad

    return run


def value_and_gradient(backend: Backend, name: str, dtype: str, *arrays: Any) -> Any:
    held = [backend.asarray(a, dtype if a.dtype.kind == "f" else None) for a in arrays]
    value, gradient = preset_value_and_gradient(backend.name, name)(*held)
    return backend.to_numpy(value), backend.to_numpy(gradient)


POISON = (math.nan, math.inf, -math.inf, 1e30)
MODES = ("torch", "jax-jit")
presets = pytest.mark.parametrize("name", PRESETS)


def batch(name: str, seed: int = 7) -> list[np.ndarray]:
    logp, old, advantages = sampled(seed)
    ref = old + np.random.default_rng(1).normal(0, 0.3, SHAPE)
    spread = advantages[:, None] * np.ones(SHAPE)  # per token, so that these can be poisoned too
    del name
    return [logp, old, ref, spread, MASK, IDS]


@presets
@pytest.mark.parametrize("mode", MODES)
def test_masked_positions_never_matter(mode: str, name: str) -> None:
    backend = load_or_skip(mode)
    for dtype in ("float32", "bfloat16") if mode == "torch" else ("float32",):
        arrays = batch(name)
        value, gradient = value_and_gradient(backend, name, dtype, *arrays)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        assert (gradient[~MASK] == 0).all()
        assert (gradient[MASK] != 0).any()
        for turn in range(4):
            spoiled = [
                np.where(MASK, a, np.resize(np.roll(POISON, turn * (i + 1)), SHAPE))
                for i, a in enumerate(arrays[:4])
            ]
            other = value_and_gradient(backend, name, dtype, *spoiled, *arrays[4:])
            np.testing.assert_array_equal(other[0], value, strict=True)
            np.testing.assert_array_equal(other[1], gradient, strict=True)


@presets
@pytest.mark.parametrize("mode", MODES)
def test_wider_padding_changes_no_bit(mode: str, name: str) -> None:
    if mode == "jax-jit" and name not in ("grpo", "gspo", "delta_l"):
        return  # four compilations each
    backend = load_or_skip(mode)
    rng = np.random.default_rng(11)
    width = 67
    mask = np.arange(width) < np.array([[67], [30], [0], [1]])
    old = rng.uniform(-3, 0, (3, 4, width))
    arrays = [old[0] + rng.normal(0, 0.2, (4, width)), *old[:2], rng.normal(size=(4, width))]
    for dtype in ("float32", "float64") if mode == "torch" else ("float32",):
        # Advantages of tokens, and of responses.
        for advantages in (arrays[3], arrays[3][:, 0])[: 1 + (mode == "torch" or name == "gspo")]:
            given = [*arrays[:3], advantages]
            value, gradient = value_and_gradient(backend, name, dtype, *given, mask, IDS)
            for extra in (1, 61, 200) if mode == "torch" else (61,):
                pad = ((0, 0), (0, extra))
                wide = [np.pad(a, pad[: a.ndim] if a.ndim == 2 else ((0, 0),),
                               constant_values=3.5) for a in given]  # fmt: skip
                other = value_and_gradient(backend, name, dtype, *wide, np.pad(mask, pad), IDS)
                np.testing.assert_array_equal(other[0], value, strict=True)
                np.testing.assert_array_equal(other[1][:, :width], gradient, strict=True)
                assert (other[1][:, width:] == 0).all()


@presets
@pytest.mark.parametrize("mode", MODES)
def test_no_tokens_give_exactly_zero(mode: str, name: str) -> None:
    backend = load_or_skip(mode)
    for shape in ((4, 6), (0, 6), (4, 0)) if mode == "torch" else ((4, 6),):
        arrays = [np.full(shape, math.nan) for _ in range(4)]
        mask = np.zeros(shape, dtype=bool)
        value, gradient = value_and_gradient(
            backend, name, "float32", *arrays, mask, IDS[: shape[0]]
        )
        assert value == 0.0
        assert gradient.shape == shape
        assert (gradient == 0).all()


@presets
def test_torch_and_jax_agree(name: str) -> None:
    arrays = batch(name, 21)
    results = [value_and_gradient(load_or_skip(m), name, "float64", *arrays) for m in MODES]
    reach = 32 * np.finfo(float).eps
    for one, other in zip(*results, strict=True):
        assert (np.abs(one - other) <= reach * np.abs(one).max()).all()


# --- divergence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("gradient", ["value", "policy"])
def test_kl_derivatives_beyond_saturation(estimator: str, gradient: str) -> None:
    """0 as values; as policy gradients log(π/π_ref), which stays at its largest."""
    backend = load_or_skip("torch")
    for dtype, top in (("float32", 2.0**20), ("float16", 2.0**12)):
        logp = backend.asarray([-1.0, -math.inf], dtype)
        ref = backend.asarray([-math.inf, -1.0], dtype)
        _, slopes = run_of(
            lambda at, ref=ref: kl(at, ref, estimator=estimator, gradient=gradient).sum(), logp
        )
        beyond = 0.0 if gradient == "value" else top
        np.testing.assert_array_equal(slopes, [beyond, 0.0])


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("gradient", ["value", "policy"])
def test_kl_derivatives(
    few: Derivative,
    estimator: str,
    gradient: str,
) -> None:
    log_ratio = np.array([0, 1e-6, -1e-4, 0.01, -0.1, 0.49, 0.51, -0.6, 1, -2, 20, -30, 70, -70])
    ref = np.full(log_ratio.shape, -1.0)
    dtype = "float64"
    logp = oracle.seen(few.backend, ref + log_ratio, dtype)
    actual = gradient_of(
        few,
        lambda at, r: kl(at, r, estimator=estimator, gradient=gradient).sum(),
        logp, dtype, ref,
    )  # fmt: skip
    for got, at in zip(actual, logp, strict=True):
        _, slope = oracle.kl(at, -1.0, "k2" if gradient == "policy" else estimator, dtype)
        off = oracles.excess(got, slope, dtype)
        assert off <= tolerances.KL_DERIVATIVE_ULP + abs(at + 1), (at, got, slope)


def test_policy_gradient_of_kl_is_unbiased() -> None:
    """surrogates.kl-gradients: exact means over the sampled token of a softmax policy."""
    torch = load_or_skip("torch").xp
    logits = torch.asarray([0.3, -0.5, 1.1, 0.2], dtype=torch.float64)
    ref = torch.log_softmax(torch.asarray([0.1, 0.4, -0.2, 0.9], dtype=torch.float64), dim=-1)

    def mean_gradient(estimator: str, gradient: str) -> np.ndarray:
        leaf = logits.clone().requires_grad_()
        logp = torch.log_softmax(leaf, dim=-1)
        terms = kl(logp, ref, estimator=estimator, gradient=gradient)
        (logp.exp().detach() * terms).sum().backward()  # sampled: weights are no function
        return leaf.grad.numpy()

    def gradient_of_kl(forward: bool) -> np.ndarray:
        leaf = logits.clone().requires_grad_()
        logp = torch.log_softmax(leaf, dim=-1)
        value = (logp.exp() * (logp - ref)) if forward else (ref.exp() * (ref - logp))
        value.sum().backward()
        return leaf.grad.numpy()

    for estimator in ("k1", "k2", "k3"):
        np.testing.assert_allclose(
            mean_gradient(estimator, "policy"), gradient_of_kl(True), rtol=1e-12, atol=1e-15
        )
    assert np.abs(mean_gradient("k1", "value")).max() < 1e-15
    np.testing.assert_allclose(mean_gradient("k2", "value"), gradient_of_kl(True), rtol=1e-12)
    np.testing.assert_allclose(mean_gradient("k3", "value"), gradient_of_kl(False), rtol=1e-12)
    # surrogates.kl-as-loss: none of the unbiased values has the unbiased gradient.
    for estimator in ("k1", "k3"):
        assert np.abs(mean_gradient(estimator, "value") - gradient_of_kl(True)).max() > 0.01


def test_ratio_derivatives(few: Derivative) -> None:
    logp, old, _ = sampled(9)
    lengths = MASK.sum(axis=1, keepdims=True)
    difference = np.where(MASK, logp - old, 0)
    s = np.exp(difference.sum(axis=1, keepdims=True) / np.maximum(lengths, 1))
    expected = {
        "token": np.exp(difference) * MASK,
        "sequence": s * MASK,  # n tokens have derivative s/n each
        "sequence_token": s * MASK,
    }
    for level, want in expected.items():
        actual = gradient_of(
        few,
            lambda at, o, m, level=level: importance_ratio(at, o, m, level=level).sum(),
            logp, "float64", old, MASK,
        )  # fmt: skip
        np.testing.assert_allclose(actual, want, rtol=1e-14)
        assert (actual[~MASK] == 0).all()


# --- tracing -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of autograd functions, by Dynamo itself
@presets
def test_torch_compile_traces_without_a_break(name: str) -> None:
    backend = load_or_skip("torch")
    torch = importlib.import_module("torch")
    held = [backend.asarray(a, "float32" if a.dtype.kind == "f" else None) for a in batch(name)]
    compiled = torch.compile(functools.partial(preset_loss, name), backend="eager", fullgraph=True)
    results = []
    for function in (functools.partial(preset_loss, name), compiled):
        leaf = held[0].clone().requires_grad_()
        value = function(leaf, *held[1:])
        value.backward()
        results.append((value.detach().numpy(), leaf.grad.numpy()))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
