"""Presets against Liger's own loss of log-probabilities, where it is installed."""

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


@pytest.mark.parametrize("name", LIGER)
@pytest.mark.parametrize("spread", [1e-4, 0.3, 1.0])
def test_liger(name: str, spread: float) -> None:
    torch = load_or_skip("torch").xp
    module = pytest.importorskip("liger_kernel.chunked_loss.grpo_loss")
    rng = np.random.default_rng(3)
    old = rng.uniform(-3, 0, (ROWS, WIDTH))
    logp, ref = (torch.asarray(old + rng.normal(0, spread, old.shape)) for _ in range(2))
    old = torch.asarray(old)
    advantages = torch.asarray(rng.normal(size=ROWS))
    mask = torch.asarray(np.arange(WIDTH) < rng.integers(1, WIDTH + 1, (ROWS, 1)))
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
