"""On policy, the gradient of the whole loss is the identity's, through a transformer block.

Torch differentiates the loss of a preset with respect to all parameters of one block: embeddings,
causal attention, a feed-forward layer, two norms, a head. The prediction takes the scores of the
responses, s_i = ∇ log π(y_i), one backward pass each, and the prefactor of the method, with σ the
population standard deviation of the group's rewards, Δ the mean over the correct responses minus
that over the others, ŝ_i = s_i/L_i and G rollouts:

    grpo, two_grpo    σ Δŝ                      dr_grpo    (1/M) σ² Δs
    dapo              (G/ΣL) σ Δs               rloo       (G/(G − 1)) σ² Δs
    delta_l           (1/M) (G/ΣL⁻¹) σ Δŝ

each averaged over the groups.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from identity.surrogates import PRESETS
from tests import tolerances
from tests.backends import load_or_skip

VOCABULARY, WIDTH, LENGTH, PROMPT = 7, 8, 6, 2
LONGEST = 10.0  # M
GROUPS = 3
NAMES = ("grpo", "dr_grpo", "dapo", "rloo", "two_grpo", "delta_l")


def parameters() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    torch = load_or_skip("torch").xp
    shapes = {
        "embedding": (VOCABULARY, WIDTH),
        "position": (PROMPT + LENGTH, WIDTH),
        "qkv": (WIDTH, 3 * WIDTH),
        "out": (WIDTH, WIDTH),
        "up": (WIDTH, 4 * WIDTH),
        "down": (4 * WIDTH, WIDTH),
        "head": (WIDTH, VOCABULARY),
    }
    return {
        name: torch.asarray(rng.normal(size=shape) / math.sqrt(shape[0])).requires_grad_()
        for name, shape in shapes.items()
    }


def log_probabilities(weights: dict[str, Any], tokens: Any) -> Any:
    """log π of each response token given those before it, (B, LENGTH)."""
    torch = importlib.import_module("torch")
    functional = torch.nn.functional
    places = tokens.shape[1] - 1
    hidden = weights["embedding"][tokens[:, :-1]] + weights["position"][:places]
    query, key, value = functional.layer_norm(hidden, (WIDTH,)).matmul(weights["qkv"]).chunk(3, -1)
    scores = query @ key.transpose(-1, -2) / math.sqrt(WIDTH)
    future = torch.ones(places, places, dtype=torch.bool).triu(1)
    attention = torch.softmax(scores.masked_fill(future, -math.inf), dim=-1)
    hidden = hidden + (attention @ value) @ weights["out"]
    hidden = (
        hidden
        + torch.tanh(functional.layer_norm(hidden, (WIDTH,)) @ weights["up"]) @ (weights["down"])
    )
    table = torch.log_softmax(functional.layer_norm(hidden, (WIDTH,)) @ weights["head"], dim=-1)
    chosen = table.gather(-1, tokens[:, 1:, None])[..., 0]
    return chosen[:, PROMPT - 1 :]


def flat(gradients: Sequence[Any]) -> np.ndarray:
    return np.concatenate([g.numpy().ravel() for g in gradients])


@functools.cache
def sampled(size: int) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Tokens of GROUPS groups, their mask, 0/1 rewards, and the scores of all responses."""
    torch = load_or_skip("torch").xp
    rng = np.random.default_rng(size)
    responses = GROUPS * size
    prompts = rng.integers(VOCABULARY, size=(GROUPS, PROMPT)).repeat(size, axis=0)
    tokens = torch.asarray(
        np.concatenate([prompts, rng.integers(VOCABULARY, size=(responses, LENGTH))], axis=1)
    )
    lengths = rng.permutation(np.resize(np.arange(1, LENGTH + 1), responses))
    mask = np.arange(LENGTH) < lengths[:, None]
    # mixed groups, and the last one unanimous
    rewards = np.zeros((GROUPS, size))
    for g in range(GROUPS - 1):
        rewards[g, rng.permutation(size)[: 1 + g * (size > 2)]] = 1
    rewards[-1] = 1
    weights = parameters()
    logp = log_probabilities(weights, tokens)
    scores = [
        flat(torch.autograd.grad(logp[b][torch.asarray(mask[b])].sum(), list(weights.values()),
                                 retain_graph=True))
        for b in range(responses)
    ]  # fmt: skip
    return tokens, mask, rewards, np.stack(scores)


def contrast(rewards: np.ndarray, scores: np.ndarray) -> np.ndarray:
    good = rewards == 1
    if good.all() or not good.any():
        return np.zeros(scores.shape[1])
    return scores[good].mean(axis=0) - scores[~good].mean(axis=0)


Prefactor = Callable[[float, int, np.ndarray], float]
# of σ, G, the lengths of a group; and whether the scores are divided by their lengths
PREDICTED: dict[str, tuple[Prefactor, bool]] = {
    "grpo": (lambda s, g, n: s, True),
    "two_grpo": (lambda s, g, n: s, True),
    "dr_grpo": (lambda s, g, n: s**2 / LONGEST, False),
    "dapo": (lambda s, g, n: g / n.sum() * s, False),
    "rloo": (lambda s, g, n: g / (g - 1) * s**2, False),
    "delta_l": (lambda s, g, n: g / (1 / n).sum() * s / LONGEST, True),
}


def predicted(name: str, size: int) -> np.ndarray:
    _, mask, rewards, scores = sampled(size)
    factor, divided = PREDICTED[name]
    lengths = mask.sum(axis=1).reshape(GROUPS, size)
    by_group = scores.reshape(GROUPS, size, -1)
    total = np.zeros(scores.shape[1])
    for r, s, n in zip(rewards, by_group, lengths, strict=True):
        direction = contrast(r, s / n[:, None] if divided else s)
        total += factor(float(r.std()), size, n) * direction / GROUPS
    return total


def differentiated(name: str, size: int, old: str) -> np.ndarray:
    """−∇ loss of the preset with respect to all parameters."""
    torch = load_or_skip("torch").xp
    tokens, mask, rewards, _ = sampled(size)
    preset, weights = PRESETS[name], parameters()
    logp = log_probabilities(weights, tokens)
    poisoned = torch.where(torch.asarray(mask), logp, math.nan)
    loss = preset.loss(
        poisoned,
        {"same": poisoned, "detached": logp.detach()}[old],
        torch.asarray(rewards),
        torch.asarray(mask),
        # At the reference the divergence has gradient 0: the whole loss, as it starts.
        ref_logp=logp.detach() if preset.kl_coefficient else None,
        constant=LONGEST if name in ("dr_grpo", "delta_l") else None,
    )
    return -flat(torch.autograd.grad(loss, list(weights.values())))


CASES = [(name, size) for name in NAMES for size in ((2,) if name == "two_grpo" else (2, 4))]


@pytest.mark.parametrize(("name", "size"), CASES)
@pytest.mark.parametrize("old", ["same", "detached"])
def test_gradient_is_the_identity(name: str, size: int, old: str) -> None:
    actual, expected = differentiated(name, size, old), predicted(name, size)
    scale = np.abs(expected).max()
    assert scale > 1e-3
    assert np.abs(actual - expected).max() <= tolerances.BLOCK_RELATIVE * scale


@pytest.mark.parametrize("name", NAMES)
def test_other_prefactors_are_refused(name: str) -> None:
    size = 2 if name == "two_grpo" else 4
    actual = differentiated(name, size, "same")
    own = predicted(name, size)
    for other in NAMES:
        wrong = predicted(other, size)
        if np.allclose(wrong, own, rtol=tolerances.SAME_PREDICTION):  # grpo and two_grpo at G = 2
            continue
        assert np.abs(actual - wrong).max() > tolerances.OTHER_PREDICTION * np.abs(actual).max(), (
            other
        )


def test_clipping_changes_nothing_on_policy() -> None:
    """surrogates.on-policy, in parameters: GSPO and CISPO have the gradient of their unclipped
    form, which with these aggregations is that of GRPO and DAPO."""
    for one, other in (("gspo", "grpo"), ("cispo", "dapo")):
        first, second = (differentiated(name, 4, "same") for name in (one, other))
        scale = np.abs(second).max()
        assert np.abs(first - second).max() <= tolerances.BLOCK_RELATIVE * scale
