"""Two-rollout GRPO against DPO through automatic differentiation of a softmax policy.

Two tokens from an alphabet of four, as in `test_autograd_identity`. The score of a response is
[y_t = v] − softmax, whose second part drops out of s⁺ − s⁻, and the normaliser of log-softmax drops
out of Δ: both sides are exact in the logits.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from identity.groups import grpo_advantages
from identity.preference import (
    discard_rate,
    dpo_gradient_weight,
    dpo_loss,
    pairwise_update,
    two_grpo_update,
)
from tests import oracles, tolerances
from tests.agreement.differentiation import CUDA_MODES, Derivative, load_mode
from tests.agreement.test_autograd_identity import ALPHABET, TOKENS, log_softmax_of
from tests.identity import preference_oracle as oracle

BETAS = (0.125, 1.0)
BETTER, WORSE = (0, 3), (2, 1)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(scope="session", params=["torch", "torch-func", "jax-jit", *CUDA_MODES])
def derivative(request: pytest.FixtureRequest) -> Derivative:
    return load_mode(request.param)


def log_probability(derivative: Derivative, logits: Any, response: tuple[int, ...]) -> Any:
    table = log_softmax_of(derivative.backend.library)(logits)
    return sum(table[t, v] for t, v in enumerate(response))


def one_hot(response: tuple[int, ...]) -> np.ndarray:
    return np.asarray([[float(v == y) for v in range(ALPHABET)] for y in response])


def policy(seed: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(TOKENS, ALPHABET)).astype(dtype)


def grpo_gradient(derivative: Derivative, logits: np.ndarray, rewards: list[float]) -> np.ndarray:
    """∇ of ½ Σ A_i log π(y_i), the advantages from the two rewards."""
    array = derivative.backend.asarray(rewards, logits.dtype.name)

    def surrogate(parameters: Any) -> Any:
        advantages = grpo_advantages(array)
        first, second = (log_probability(derivative, parameters, y) for y in (BETTER, WORSE))
        return (advantages[0] * first + advantages[1] * second) / 2

    return derivative(surrogate, derivative.backend.asarray(logits, logits.dtype.name))


def dpo_descent(
    derivative: Derivative, logits: np.ndarray, reference: np.ndarray, beta: float
) -> np.ndarray:
    """−∇ of DPO's loss, the reference's log-probabilities from the same library."""
    backend, dtype = derivative.backend, logits.dtype.name
    fixed = [
        log_probability(derivative, backend.asarray(reference, dtype), y) for y in (BETTER, WORSE)
    ]

    def loss(parameters: Any) -> Any:
        own = [log_probability(derivative, parameters, y) for y in (BETTER, WORSE)]
        return dpo_loss(*own, *fixed, beta=beta)

    return -derivative(loss, backend.asarray(logits, dtype))


def margin_of(logits: np.ndarray, reference: np.ndarray) -> Fraction:
    """Δ, exactly: normalisers cancel."""
    total = Fraction(0)
    for sign, response in ((1, BETTER), (-1, WORSE)):
        for t, v in enumerate(response):
            total += sign * (Fraction(float(logits[t, v])) - Fraction(float(reference[t, v])))
    return total


def check(actual: np.ndarray, factor: Any, beta: float, dtype: str) -> None:
    """actual = factor·(e⁺ − e⁻), each coordinate."""
    direction = one_hot(BETTER) - one_hot(WORSE)
    for got, d in zip(actual.ravel().tolist(), direction.ravel().tolist(), strict=True):
        want = oracles.to_mpf(factor) * int(d)
        off = oracles.excess(got, want, dtype, relative_to=oracles.to_mpf(factor))
        assert off <= tolerances.equivalence_ulp(beta), (got, want, off)


@dtypes
@pytest.mark.parametrize("beta", BETAS)
def test_at_the_reference(derivative: Derivative, dtype: str, beta: float) -> None:
    """∇J = (1/β)(−∇L) on the same pair."""
    logits = policy(0, dtype)
    step = grpo_gradient(derivative, logits, [1.0, 0.0])
    descent = dpo_descent(derivative, logits, logits, beta)
    check(step, Fraction(1, 2), beta, dtype)
    check(descent, Fraction(beta) / 2, beta, dtype)
    reach = 2 * tolerances.equivalence_ulp(beta) * np.finfo(dtype).eps
    np.testing.assert_allclose(step, descent / np.asarray(beta, dtype), rtol=0, atol=reach)


@dtypes
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("seed", [1, 2])
def test_off_the_reference(derivative: Derivative, dtype: str, beta: float, seed: int) -> None:
    """The same direction, |∇L|/|∇J| = 2βS(−βΔ) = 2 · dpo_gradient_weight."""
    logits, reference = policy(seed, dtype), policy(-seed % 100, dtype)
    margin = margin_of(logits, reference)
    weight = oracle.dpo_weight(margin, Fraction(beta))
    step = grpo_gradient(derivative, logits, [0.75, 0.5])
    descent = dpo_descent(derivative, logits, reference, beta)
    check(step, Fraction(1, 2), beta, dtype)
    check(descent, weight, beta, dtype)
    ratio = float(np.linalg.norm(descent) / np.linalg.norm(step))
    ours = 2 * float(dpo_gradient_weight(float(margin), beta=beta))
    assert ratio == pytest.approx(
        ours, rel=tolerances.equivalence_ulp(beta) * float(np.finfo(dtype).eps)
    )
    # The wrong factors: that of the reference, of the mirrored margin, without the 2.
    for wrong in (beta, 2 * beta - ours, ours / 2):
        assert ratio != pytest.approx(wrong, rel=tolerances.FOUR_DIGITS)


@dtypes
def test_equal_rewards_have_no_step(derivative: Derivative, dtype: str) -> None:
    logits = policy(4, dtype)
    for reward in (0.0, 1.0, 0.1):
        assert (grpo_gradient(derivative, logits, [reward, reward]) == 0.0).all()
        scores = np.stack([one_hot(BETTER).ravel(), one_hot(WORSE).ravel()]).astype(dtype)
        step = two_grpo_update(np.full(2, reward, dtype=dtype), scores)
        assert (step == 0.0).all()


@pytest.mark.parametrize("mode", ["torch", "jax-jit"])
@pytest.mark.parametrize("correct", range(5))
def test_all_groups(mode: str, correct: int) -> None:
    """preference.all-groups: at the reference, G-GRPO's step is 2/(βG√(k(G−k))) times the sum
    of −∇L over all k(G−k) pairs."""
    derivative, beta, size = load_mode(mode), 0.25, 4
    logits = policy(7, "float64")
    rng = np.random.default_rng(correct)
    responses = [tuple(rng.integers(0, ALPHABET, size=TOKENS).tolist()) for _ in range(size)]
    rewards = [1] * correct + [0] * (size - correct)
    array = derivative.backend.asarray(logits, "float64")
    fixed = [log_probability(derivative, array, y) for y in responses]

    def losses(parameters: Any) -> Any:
        own = [log_probability(derivative, parameters, y) for y in responses]
        pairs = [(i, j) for i in range(correct) for j in range(correct, size)]
        return sum(dpo_loss(own[i], own[j], fixed[i], fixed[j], beta=beta) for i, j in pairs)

    softmax = np.exp(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)))
    scores = np.stack([(one_hot(y) - softmax).ravel() for y in responses])
    step = pairwise_update(rewards, scores)
    if correct in (0, size):
        assert (step == 0.0).all()
        return
    descent = -derivative(losses, array).ravel()
    factor = 2 / (beta * size * np.sqrt(correct * (size - correct)))
    reach = tolerances.equivalence_ulp(beta) * size * np.finfo("float64").eps
    np.testing.assert_allclose(factor * descent, step, rtol=0, atol=reach)


def test_over_sampling_the_objectives_differ() -> None:
    """preference.prompt-level: 2-GRPO ascends p; DPO, one mixed pair for each prompt, ascends
    (β/2) logit p at the reference; weighted by the rate 2pq of mixed pairs they agree up to β."""
    beta = 0.5
    logits = np.random.default_rng(0).normal(size=ALPHABET)
    for correct in ([0], [0, 1], [1, 2, 3]):
        chances = np.exp(logits) / np.exp(logits).sum()
        is_correct = np.isin(np.arange(ALPHABET), correct)
        p = chances[is_correct].sum()
        q = 1 - p
        scores = np.eye(ALPHABET) - chances
        ascent_of_p = (chances[is_correct][:, None] * scores[is_correct]).sum(axis=0)
        grpo, dpo = np.zeros(ALPHABET), np.zeros(ALPHABET)
        for i in range(ALPHABET):
            for j in range(ALPHABET):
                pair = two_grpo_update([is_correct[i], is_correct[j]], scores[[i, j]])
                grpo += chances[i] * chances[j] * pair
                if is_correct[i] and not is_correct[j]:
                    chance = chances[i] / p * chances[j] / q
                    dpo += chance * dpo_gradient_weight(0.0, beta=beta) * (scores[i] - scores[j])
        reach = 100 * np.finfo("float64").eps
        np.testing.assert_allclose(grpo, ascent_of_p, atol=reach)
        np.testing.assert_allclose(dpo, beta / 2 * ascent_of_p / (p * q), atol=reach / (p * q))
        kept = 1 - discard_rate(p)
        np.testing.assert_allclose(kept * dpo, beta * grpo, atol=reach)
        assert abs(np.abs(dpo).max() / np.abs(beta * grpo).max() - 1) > 0.5
