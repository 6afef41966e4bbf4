"""Presets against other libraries' losses of log-probabilities, where these are installed.

``make peers`` installs them and runs this file.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from identity.surrogates import PRESETS
from tests import tolerances
from tests.backends import load_or_skip

ROWS, WIDTH = 6, 9
LONGEST = 11
LIGER: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo", "beta": 0.04},
    "two_grpo": {"loss_type": "grpo", "beta": 0.0},
    "dr_grpo": {"loss_type": "dr_grpo", "beta": 0.0, "max_completion_length": LONGEST},
    "dapo": {"loss_type": "bnpo", "beta": 0.0, "epsilon_high": 0.28},
    # an absolute bound there, an offset from 1 here
    "cispo": {"loss_type": "cispo", "beta": 0.0, "epsilon_high": 5.0},
    "gspo": {
        "loss_type": "grpo", "beta": 0.0, "epsilon_low": 3e-4, "epsilon_high": 4e-4,
        "importance_sampling_level": "sequence",
    },
}  # fmt: skip


def sample(seed: int, spread: float) -> tuple[np.ndarray, ...]:
    """log π_old, log π, log π_ref, a number for each response, and the mask."""
    rng = np.random.default_rng(seed)
    old = rng.uniform(-3, 0, (ROWS, WIDTH))
    logp, ref = (old + rng.normal(0, spread, old.shape) for _ in range(2))
    numbers = rng.normal(size=ROWS)
    return old, logp, ref, numbers, np.arange(WIDTH) < rng.integers(1, WIDTH + 1, (ROWS, 1))


@pytest.mark.parametrize("name", LIGER)
@pytest.mark.parametrize("spread", [1e-4, 0.3, 1.0])
def test_liger(name: str, spread: float) -> None:
    torch = load_or_skip("torch").xp
    module = pytest.importorskip("liger_kernel.chunked_loss.grpo_loss")
    old, logp, ref, advantages, mask = map(torch.asarray, sample(3, spread))
    preset = dataclasses.replace(PRESETS[name], per_group=False)
    results = []
    for theirs in (False, True):
        leaf = logp.clone().requires_grad_()
        if theirs:
            ones = mask.to(leaf.dtype)
            loss, _ = module.LigerFusedLinearGRPOFunction.ppo_loss_fn(
                leaf, ones, advantages, ones, old_per_token_logps=old, ref_per_token_logps=ref,
                **{"epsilon_low": 0.2, "epsilon_high": 0.2, **LIGER[name]},
            )  # fmt: skip
        else:
            loss = preset.loss(
                leaf, old, None, mask, advantages=advantages,
                ref_logp=ref if preset.kl_coefficient else None,
                constant=LONGEST if name == "dr_grpo" else None,
            )  # fmt: skip
        loss.backward()
        results.append((loss.detach().numpy(), leaf.grad.numpy()))
    for one, other in zip(*results, strict=True):
        scale = np.abs(one).max()
        assert np.abs(one - other).max() <= tolerances.LIBRARY_RELATIVE * scale


@pytest.mark.parametrize("name", ["grpo", "two_grpo", "dr_grpo", "dapo", "rloo", "gspo", "cispo"])
@pytest.mark.parametrize("spread", [1e-4, 0.3, 1.0])
def test_polgrad(name: str, spread: float) -> None:
    torch = load_or_skip("torch").xp
    polgrad = pytest.importorskip("polgrad")
    old, logp, ref, rewards, mask = map(torch.asarray, sample(7, spread))
    groups = torch.asarray(np.arange(ROWS) // 2)
    # Bessel and eps as polgrad has them; and the token mean over the batch.
    preset = dataclasses.replace(PRESETS[name], per_group=False, ddof=1, eps=1e-4)
    kind = {"rloo": "rloo", "dr_grpo": "dr_grpo"}.get(name, "grpo")
    theirs = polgrad.get_algorithm("grpo" if name == "two_grpo" else name)
    config = theirs.loss
    if name in ("two_grpo", "grpo"):
        kl = config.kl if preset.kl_coefficient else None
        config = dataclasses.replace(config, kl=kl)
    if name == "dr_grpo":
        config = dataclasses.replace(config, norm_len=LONGEST)
    clip = preset.clip
    if clip is not None:
        low = None if name == "cispo" else clip[0]
        config = dataclasses.replace(config, clip=polgrad.ClipConfig(low, clip[1]))
    advantages = preset.advantages(rewards, groups)
    if kind == "rloo":
        expected = polgrad.rloo_advantages(rewards, groups)
    else:
        standard = polgrad.get_algorithm(kind).advantage_config
        expected = polgrad.grpo_advantages(rewards, groups, standard)
    assert float(abs(advantages - expected).max()) <= tolerances.LIBRARY_RELATIVE
    results = []
    for other in (False, True):
        leaf = logp.clone().requires_grad_()
        if other:
            loss = polgrad.policy_loss(
                config, logprobs=leaf, old_logprobs=old, advantages=advantages,
                response_mask=mask, ref_logprobs=ref if config.kl else None,
            ).loss  # fmt: skip
        else:
            loss = preset.loss(
                leaf, old, rewards, mask, ref_logp=ref if preset.kl_coefficient else None,
                constant=LONGEST if name == "dr_grpo" else None, groups=groups,
            )  # fmt: skip
        loss.backward()
        results.append((loss.detach().numpy(), leaf.grad.numpy()))
    (value, gradient), (their_value, their_gradient) = results
    # The terms of the value cancel, and are as large as the advantages.
    terms = float(abs(advantages).max())
    assert abs(value - their_value) <= tolerances.LIBRARY_RELATIVE * terms
    largest = np.abs(gradient).max()
    assert np.abs(gradient - their_gradient).max() <= tolerances.LIBRARY_RELATIVE * largest
