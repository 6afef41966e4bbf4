"""Three versions of one loss, held against the theory.

grpo-identity conform docs.examples.toy_loss:first
"""

import numpy as np
import torch

from identity.conformance import Answer, Operation, Settings, call

LOW, HIGH = 0.2, 0.28


def surrogate(logp, old_logp, advantages):
    ratio = torch.exp(logp - old_logp)
    clipped = torch.clamp(ratio, 1 - LOW, 1 + HIGH)
    return -torch.minimum(ratio * advantages[:, None], clipped * advantages[:, None])


# -- as functions ----------------------------------------------------------------------------------


def first(logp, old_logp, advantages, mask):
    """Meant as the mean over all tokens that count."""
    return (surrogate(logp, old_logp, advantages) * mask).mean()


first.settings = Settings(clip=(LOW, HIGH))


def second(logp, old_logp, advantages, mask):
    """The same, with its promise."""
    return first(logp, old_logp, advantages, mask)


second.settings = Settings(clip=(LOW, HIGH))
second.says = {"normaliser": "token_mean", "objective": "ppo_clip"}


def third(logp, old_logp, advantages, mask, num_tokens=None):
    """Divided by the number of tokens; what is masked is taken out before anything is computed."""
    logp, old_logp = (torch.where(mask, values, 0.0) for values in (logp, old_logp))
    total = torch.where(mask, surrogate(logp, old_logp, advantages), 0.0).sum()
    return total / max(int(mask.sum()) if num_tokens is None else num_tokens, 1)


# -- as operations ---------------------------------------------------------------------------------


def answer(batch, num_tokens=None):
    """Convert, call, convert back."""
    dtype = getattr(torch, batch.dtype)
    logp = torch.tensor(batch.logp, dtype=dtype, requires_grad=True)
    loss = call(
        third,
        logp=logp,
        old_logp=torch.tensor(batch.old_logp, dtype=dtype),
        advantages=torch.tensor(batch.advantages, dtype=dtype),
        mask=torch.tensor(batch.mask),
        num_tokens=num_tokens,
    )
    (gradient,) = torch.autograd.grad(loss, logp)
    value, gradient = (tensor.detach().double().numpy() for tensor in (loss, gradient))
    return Answer(value, gradient, batch.dtype)


def accumulated(parts, num_tokens):
    """What the training loop makes of micro-batches: it adds losses and gradients."""
    each = [answer(part, num_tokens) for part in parts]
    value = np.asarray(sum(one.value for one in each))
    return Answer(value, np.concatenate([one.gradient for one in each]), each[0].dtype)


def by_own_tokens(parts):
    return accumulated(parts, None)


def by_all_tokens(parts):
    return accumulated(parts, sum(int(part.mask.sum()) for part in parts))


def operations():
    for name, together in (("own tokens", by_own_tokens), ("all tokens", by_all_tokens)):
        yield Operation(
            f"third({name})",
            "loss",
            answer,
            settings=Settings(clip=(LOW, HIGH)),
            says={"normaliser": "token_mean", "objective": "ppo_clip", "level": "token"},
            method="dapo",
            dtypes=("float32", "float64", "bfloat16"),
            lacks={"ranks": "the training loop runs in one process"},
            micro_batches=together,
        )
