"""Functions of one's own, as a user would write them, for tests of the command."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from identity.conformance import Answer, Losses, Operation, Settings
from identity.conformance.frameworks import torch_answer, torch_array

CLIP = (0.2, 0.28)


def advantage(rewards: Any, groups: Any) -> Any:
    """GRPO with the sample standard deviation and ε = 1e-6; equal rewards get exactly 0."""
    result = torch.zeros_like(rewards)
    for group in groups.unique():
        rows = groups == group
        own = rewards[rows]
        if own.max() > own.min():
            result[rows] = (own - own.mean()) / (own.std() + 1e-6)
    return result


advantage.says = {"baseline": "mean", "scale": "std", "ddof": 1}  # type: ignore[attr-defined]


def _token_losses(logp: Any, old_logp: Any, advantages: Any) -> Any:
    ratio = torch.exp(logp - old_logp)
    clipped = ratio.clamp(1 - CLIP[0], 1 + CLIP[1])
    return -torch.minimum(ratio * advantages[:, None], clipped * advantages[:, None])


def token_mean_loss(logp: Any, old_logp: Any, advantages: Any, mask: Any) -> Any:
    """Clipped surrogate, mean over the tokens of the batch."""
    # What is masked may be NaN, and 0·NaN in a gradient is NaN: it is replaced before.
    logp, old_logp = (x.masked_fill(~mask, 0.0) for x in (logp, old_logp))
    losses = _token_losses(logp, old_logp, advantages)
    return losses.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


token_mean_loss.settings = Settings(clip=CLIP)  # type: ignore[attr-defined]
token_mean_loss.says = {"normaliser": "token_mean"}  # type: ignore[attr-defined]


def leaky_loss(logp: Any, old_logp: Any, advantages: Any, mask: Any) -> Any:
    """The same, but for a planted defect: masked tokens are multiplied by 0."""
    losses = _token_losses(logp, old_logp, advantages)
    return (losses * mask).sum() / mask.sum().clamp(min=1)


leaky_loss.settings = Settings(clip=CLIP)  # type: ignore[attr-defined]


def _aggregate(batch: Losses, factor: float) -> Answer:
    leaf = torch_array(batch.loss, batch.dtype, leaf=True)
    mask = torch_array(batch.mask, "bool")
    total = leaf.masked_fill(~mask, 0.0).sum()
    return torch_answer(leaf, factor * total / mask.sum().clamp(min=1))


def operations() -> Iterator[Operation]:
    """Two, of which one is not what it says; neither sees parts of a batch."""
    for name, factor in (("mean", 1.0), ('mean <b>&"twice"</b>', 2.0)):
        yield Operation(
            name, "aggregate", partial(_aggregate, factor=factor), dtypes=("float32",),
            says={"normaliser": "token_mean"},
        )  # fmt: skip


# -- odd ones ------------------------------------------------------------------------------------


def raising(rewards: Any, groups: Any) -> Any:
    raise RuntimeError("no [bold]rewards[/bold] today")


def printing(loss: Any, mask: Any) -> Any:
    print("printed by the function")
    return loss.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def interrupted(rewards: Any, groups: Any) -> Any:
    """Ctrl-C as soon as the groups are of unequal size."""
    if len(groups.unique(return_counts=True)[1].unique()) > 1:
        raise KeyboardInterrupt
    return advantage(rewards, groups)


def exiting(rewards: Any, groups: Any) -> Any:
    """The same with the end of the program."""
    if len(groups.unique(return_counts=True)[1].unique()) > 1:
        raise SystemExit(0)
    return advantage(rewards, groups)


def unknown_shape(rewards: Any, prompts: Any) -> Any:
    return rewards


def no_operations() -> None:
    return None


NOT_CALLABLE = 1
