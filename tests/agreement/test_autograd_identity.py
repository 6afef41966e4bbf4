"""The identity through automatic differentiation of a softmax policy, in torch and in jax.

Two tokens from an alphabet of four; a rollout is correct if its first token is one of two. For
every G from 2 to 16 and every k, the gradient of (1/G) Σ A_i log π(y_i) with respect to the
logits, the advantages computed from the rewards by `identity.groups`, is compared with σΔs (and
its relatives) at 50 digits. The softmax's own term drops out of Δs, so the right side is exact;
the left side has to make it cancel.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from identity.groups import dr_grpo_advantages, grpo_advantages, rloo_advantages
from tests import oracles, tolerances
from tests.agreement.differentiation import CUDA_MODES, Derivative, load_mode

TOKENS, ALPHABET = 2, 4
EPS = 1e-6


def bessel(rewards: Any) -> Any:
    return grpo_advantages(rewards, ddof=1, eps=EPS)


METHODS = (grpo_advantages, dr_grpo_advantages, rloo_advantages, bessel)


def factors(rewards: Sequence[Fraction], eps: Fraction) -> list[mpmath.mpf]:
    """What multiplies β̂ (Δs for binary rewards) under each of `METHODS`."""
    size = len(rewards)
    sigma, t = oracles.std(rewards), oracles.std(rewards, 1)
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        square = sigma**2
        return [
            sigma,
            square,
            square * size / (size - 1),
            square / (t + oracles.to_mpf(eps)),
        ]


def slope(rewards: Sequence[Fraction], rollouts: np.ndarray) -> list[Fraction]:
    """β̂ of the scores on the rewards, by coordinate. s_i = [y_i = v] − softmax, whose second
    part is the same for all rollouts and has no slope."""
    deviations = oracles.dr_grpo(rewards)
    squares = sum(d * d for d in deviations)
    if squares == 0:
        return [Fraction(0)] * (TOKENS * ALPHABET)
    return [
        sum((d for d, y in zip(deviations, rollouts, strict=True) if y[t] == v), Fraction(0))
        / squares
        for t in range(TOKENS)
        for v in range(ALPHABET)
    ]


def contrast(correct: Sequence[bool], rollouts: np.ndarray) -> list[Fraction]:
    """Δs, from the two means."""
    means = []
    for side in (True, False):
        members = [y for y, c in zip(rollouts, correct, strict=True) if c is side]
        means.append(
            [
                Fraction(sum(int(y[t] == v) for y in members), len(members))
                for t in range(TOKENS)
                for v in range(ALPHABET)
            ]
        )
    return [a - b for a, b in zip(*means, strict=True)]


def sampled(group_size: int) -> tuple[np.ndarray, np.ndarray]:
    """A group for every k: rollouts (G+1, G, T) and their 0/1 rewards (G+1, G)."""
    rng = np.random.default_rng(group_size)
    correct = np.arange(group_size) < np.arange(group_size + 1)[:, None]
    correct = rng.permuted(correct, axis=1)
    first = rng.integers(0, 2, size=correct.shape) + np.where(correct, 0, 2)
    second = rng.integers(0, ALPHABET, size=correct.shape)
    return np.stack([first, second], axis=-1), correct.astype(np.float64)


def gradients(
    derivative: Derivative, dtype: str, rewards: np.ndarray, rollouts: np.ndarray
) -> np.ndarray:
    """Per method and group, the gradient of the sampled surrogate: (M, K, T·V).

    Each method and group has logits of its own, all equal, so that one backward pass serves all.
    """
    backend = derivative.backend
    xp = backend.xp
    rng = np.random.default_rng(0)
    groups = rewards.shape[0]
    logits = rng.normal(size=(1, 1, 1, TOKENS, ALPHABET)) * np.ones((len(METHODS), groups, 1, 1, 1))
    reward_array = backend.asarray(rewards, dtype)
    indices = backend.asarray(rollouts[None, ..., None])
    log_softmax = log_softmax_of(backend.library)

    def surrogate(parameters: Any) -> Any:
        advantages = xp.stack([method(reward_array) for method in METHODS])
        table = log_softmax(parameters)
        shape = (len(METHODS), *rollouts.shape, ALPHABET)
        chosen = xp.take_along_axis(
            xp.broadcast_to(table, shape), xp.broadcast_to(indices, (*shape[:-1], 1)), axis=-1
        )
        log_probability = xp.sum(chosen[..., 0], axis=-1)
        return xp.sum(advantages * log_probability) / rewards.shape[-1]

    gradient = derivative(surrogate, backend.asarray(logits, dtype))
    return gradient.reshape(len(METHODS), groups, TOKENS * ALPHABET)


def log_softmax_of(library: str) -> Callable[[Any], Any]:
    if library == "jax":
        return importlib.import_module("jax.nn").log_softmax
    torch = importlib.import_module("torch")
    return lambda logits: torch.log_softmax(logits, dim=-1)


def excesses(
    actual: np.ndarray,
    direction: Sequence[Fraction],
    rewards: Sequence[Fraction],
    dtype: str,
    scale: Sequence[mpmath.mpf],
) -> list[float]:
    """Per method, the largest distance to scale·direction, in ulp of scale·Σ|R_i − μ|/(Gσ²)."""
    deviations = oracles.dr_grpo(rewards)
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        reach = oracles.to_mpf(sum(abs(d) for d in deviations) / sum(d * d for d in deviations))
        return [
            max(
                oracles.excess(
                    got, factor * oracles.to_mpf(want), dtype, relative_to=factor * reach
                )
                for got, want in zip(row, direction, strict=True)
            )
            for row, factor in zip(actual, scale, strict=True)
        ]


@pytest.fixture(scope="session", params=["torch", "torch-func", "jax", "jax-jit", *CUDA_MODES])
def derivative(request: pytest.FixtureRequest) -> Derivative:
    return load_mode(request.param)


@pytest.mark.parametrize("group_size", range(2, 17))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_is_the_identity(derivative: Derivative, dtype: str, group_size: int) -> None:
    rollouts, rewards = sampled(group_size)
    eps = Fraction(float(np.array(EPS, dtype=dtype)))
    actual = gradients(derivative, dtype, rewards, rollouts)
    for k in range(group_size + 1):
        exact = oracles.fractions(rewards[k])
        assert sum(exact) == sum(rewards[k])
        correct = [r == 1 for r in exact]
        k_here = sum(correct)
        if k_here in (0, group_size):
            assert (actual[:, k] == 0.0).all()
            continue
        direction = contrast(correct, rollouts[k])
        assert direction == slope(exact, rollouts[k])  # groups.real-rewards, binary case
        off = excesses(actual[:, k], direction, exact, dtype, factors(exact, eps))
        assert max(off) <= tolerances.autograd_ulp(group_size), (k_here, off)


@pytest.mark.parametrize("group_size", [2, 5, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_for_real_rewards(derivative: Derivative, dtype: str, group_size: int) -> None:
    rollouts, _ = sampled(group_size)
    rng = np.random.default_rng(group_size)
    rewards = rng.normal(size=rollouts.shape[:2]).astype(dtype)
    eps = Fraction(float(np.array(EPS, dtype=dtype)))
    actual = gradients(derivative, dtype, rewards, rollouts)
    bound = tolerances.autograd_ulp(group_size) + tolerances.grpo_ulp(group_size)
    for k in range(group_size + 1):
        exact = oracles.fractions(rewards[k])
        direction = slope(exact, rollouts[k])
        off = excesses(actual[:, k], direction, exact, dtype, factors(exact, eps))
        assert max(off) <= bound * group_size, off


@pytest.mark.parametrize("group_size", [2, 3, 8, 16])
def test_wrong_constants_are_refused(group_size: int) -> None:
    """The bound is tight enough to tell the methods apart: no factor fits another's gradient."""
    derivative = load_mode("torch")
    rollouts, rewards = sampled(group_size)
    actual = gradients(derivative, "float32", rewards, rollouts)
    k = next(k for k in range(group_size + 1) if 0 < rewards[k].sum() < group_size)
    exact = oracles.fractions(rewards[k])
    direction = contrast([r == 1 for r in exact], rollouts[k])
    right = factors(exact, Fraction(float(np.float32(EPS))))
    for i, factor in enumerate(right):
        for wrong in (*right, factor * group_size / (group_size - 1), -factor):
            if abs(wrong / factor - 1) > tolerances.TELLS_APART:
                scale = [*right[:i], wrong, *right[i + 1 :]]
                off = excesses(actual[:, k], direction, exact, "float32", scale)
                assert off[i] > tolerances.autograd_ulp(group_size)
