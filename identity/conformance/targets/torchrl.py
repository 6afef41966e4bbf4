"""TorchRL: ``torchrl.objectives.llm``, the losses ``GRPOLoss``, ``DAPO`` and ``CISPOLoss`` and the
transform ``MCAdvantage``; accumulation by ``MixedPrecisionOptimizationStepper``.

The losses read log-probabilities and the mask from their actor, for which `Actor` stands in: it
hands on what lies in the TensorDict. Everything else is TorchRL's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Gaps, Rewards, Tokens
from identity.conformance.calls import attribute, call
from identity.conformance.frameworks import torch_answer, torch_array, torch_values
from identity.conformance.operation import CannotRun, Operation, Settings

__all__ = ["DISTRIBUTION", "SMALL", "Actor", "StandInTrainer", "operations"]

DISTRIBUTION = "torchrl"
SMALL = True

CLIP = (0.2, 0.28)
BETA = 0.04
ALL_DTYPES = ("float32", "float64", "bfloat16", "float16")
# The losses take float64 too, but keep the bounds of the clip in float32 (log1p of a buffer), and
# so are no closer to their definition there.
CLIPPED_DTYPES = ("float32", "bfloat16", "float16")
LOSSES = "torchrl.objectives.llm"


class Actor:
    """Stand-in for the model: the distribution that `GRPOLoss` asks its actor for.

    It has what ``GRPOLoss._get_cur_log_prob`` and ``_log_weight`` read of an actor that is none of
    TorchRL's wrappers, ``get_dist``, and of a distribution, ``log_prob`` and ``mask``; a read of
    anything else raises AttributeError.
    """

    def get_dist(self, tensordict: Any, logits_key: str) -> Any:
        return _Tokens(tensordict["policy_log_probs"], tensordict["token_mask"])


class _Tokens:
    def __init__(self, logp: Any, mask: Any) -> None:
        self.logp, self.mask = logp, mask

    def log_prob(self, action: Any) -> Any:
        return self.logp


class StandInTrainer:
    """Stand-in for the trainer: its ``compute_loss``, all that the stepper calls of it."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def compute_loss(self, batch: Any) -> Any:
        return self.loss.forward(tensordict=batch)


def inverse(transform: Any, rollouts: Any) -> Any:
    """``transform.inv``, whose decorator takes the TensorDict by position only."""
    return transform.inv(rollouts)


def motionless(leaves: Sequence[Any]) -> Any:
    """An optimizer for the stepper, which moves nothing."""
    import torch

    return torch.optim.SGD(list(leaves), lr=0.0)


def _guarded(function: Any, /, **arguments: Any) -> Any:
    """Call; a read of what the stand-ins or the TensorDict have not is no verdict."""
    try:
        return call(function, **arguments)
    except (AttributeError, KeyError, NotImplementedError) as why:
        raise CannotRun(
            f"reads other things than those known: {type(why).__name__}: {why}"
        ) from why


# -- advantages ----------------------------------------------------------------------------------


def _advantages(batch: Rewards, trajectory_return: str | None) -> Answer:
    """Each rollout as a finished trajectory of one step, all of them in one call."""
    sizes = set(batch.sizes.tolist())
    if len(sizes) != 1:
        raise CannotRun("one grpo_size for all groups; those of another size stay in the queue")
    count = len(batch.rewards)
    # A fresh transform, since it keeps unfinished groups from call to call.
    transform = call(
        attribute(LOSSES, "MCAdvantage"),
        grpo_size=sizes.pop(),
        prompt_key="group",
        trajectory_return=trajectory_return,
    )
    rollouts = call(
        attribute("tensordict", "TensorDict"),
        source={
            "group": torch_array(batch.groups[:, None], "int64"),
            "row": torch_array(np.arange(count)[:, None], "int64"),
            "next": {
                "reward": torch_array(batch.rewards[:, None, None], batch.dtype),
                "done": torch_array(np.ones((count, 1, 1)), "bool"),
            },
        },
        batch_size=[count, 1],
    )
    written = call(inverse, transform=transform, rollouts=rollouts)
    if written is None or written.numel() != count:
        raise CannotRun("not all rollouts were written: some stay in the queue")
    # It writes group after group, in the order in which they are completed.
    answer = torch_values(written["advantage"])
    value = np.empty(count)
    value[written["row"].flatten().numpy()] = answer.value.ravel()
    return Answer(value, None, answer.dtype)


# -- losses --------------------------------------------------------------------------------------


def _loss_module(name: str, beta: float, **options: Any) -> Any:
    return call(
        attribute(LOSSES, name),
        actor_network=call(Actor),
        clip_epsilon=CLIP,
        entropy_bonus=False,  # on by default, and added to the loss
        kl_to_ref_coeff=beta or None,
        **options,
    )


def _tensordict(leaf: Any, old: Any, advantages: Any, mask: Any, ref: Any, dtype: str) -> Any:
    source = {
        "policy_log_probs": leaf,
        "token_mask": torch_array(mask, "bool"),
        "tokens": {"full": torch_array(np.zeros(mask.shape), "int64")},  # of which nothing is read
        "log_probs": {"full": torch_array(old, dtype)},
        "advantage": torch_array(np.asarray(advantages)[:, None, None], dtype),
    }
    if ref is not None:
        source["next"] = {"ref_log_probs": {"full": torch_array(ref, dtype)}}
    return call(attribute("tensordict", "TensorDict"), source=source, batch_size=[len(mask)])


def _total(output: Any) -> Any:
    """All that is to be minimised, as in the library's ``OptimizationStepper`` (trainers.py)."""
    return sum(value for key, value in output.items() if key.startswith("loss"))


def _tokens(batch: Tokens, beta: float) -> tuple[Any, Any]:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    ref = batch.ref_logp if beta else None
    return leaf, _tensordict(leaf, batch.old_logp, batch.advantages, batch.mask, ref, batch.dtype)


def _loss(batch: Tokens, name: str, beta: float, **options: Any) -> Answer:
    leaf, tensordict = _tokens(batch, beta)
    loss = _loss_module(name, beta, **options)
    # ``aggregation="none"`` has a loss for each token, to be summed; the others have one number.
    return torch_answer(leaf, _total(_guarded(loss.forward, tensordict=tensordict)).sum())


def _accumulated(parts: Sequence[Tokens], name: str, beta: float, **options: Any) -> Answer:
    """Micro-batches as the stepper of ``torchrl.trainers.algorithms.GRPOTrainer`` adds them up:
    each loss divided by gradient_accumulation_steps (``MixedPrecisionOptimizationStepper.step``).
    """
    import torch

    loss = _loss_module(name, beta, **options)
    trainer = call(StandInTrainer, loss=loss)
    leaves, batches = zip(*(_tokens(part, beta) for part in parts), strict=True)
    optimizer = call(motionless, leaves=list(leaves))
    gradients: list[Any] = []

    def keep(*_: Any) -> None:  # before the optimizer's step, after which the stepper clears them
        gradients.extend(leaf.grad.detach().to(torch.float64).numpy() for leaf in leaves)

    optimizer.register_step_pre_hook(keep)
    stepper = call(
        attribute("torchrl.trainers.trainers", "MixedPrecisionOptimizationStepper"),
        optimizer=optimizer,
        gradient_accumulation_steps=len(parts),
        clip_norm=None,
        device_type="cpu",
    )
    value = 0.0
    for tensordict in batches:
        metrics = _guarded(stepper.step, trainer=trainer, sub_batch=tensordict)
        value += float(_total(metrics)) / len(parts)  # the metrics are those before the division
    if not gradients:
        raise CannotRun("the stepper skipped the step: a loss was not finite")
    return Answer(np.asarray(value), np.concatenate(gradients), parts[0].dtype)


def _kl(batch: Gaps) -> Answer:
    """The divergence that the loss adds, at coefficient 1: of one token at a time, since it
    is a mean."""
    zero = np.zeros((1, 1))
    loss = _loss_module("GRPOLoss", 1.0)
    answers = []
    for logp, ref in zip(batch.logp, batch.ref_logp, strict=True):
        leaf = torch_array([[logp]], batch.dtype, leaf=True)
        tensordict = _tensordict(leaf, [[logp]], zero[0], zero == 0, [[ref]], batch.dtype)
        output = _guarded(loss.forward, tensordict=tensordict)
        answers.append(torch_answer(leaf, output.loss_kl_to_ref))
    return Answer(
        np.array([answer.value.item() for answer in answers]),
        np.array([answer.gradient.item() for answer in answers if answer.gradient is not None]),
        answers[0].dtype,
    )


# -- what there is -------------------------------------------------------------------------------

PPO = {"objective": "ppo_clip", "level": "token", "bounds": "offset"}
# Name, class, options, what is promised, the method.
VARIANTS: tuple[tuple[str, str, dict[str, Any], dict[str, str], str | None], ...] = (
    (
        "GRPOLoss(token_mean)", "GRPOLoss", {"aggregation": "token_mean"},
        {"normaliser": "token_mean", **PPO}, "grpo",
    ),
    (
        "GRPOLoss(prompt_mean)", "GRPOLoss", {"aggregation": "prompt_mean"},
        {"normaliser": "sequence_mean_token_mean", **PPO}, None,
    ),
    (
        "GRPOLoss(none).sum()", "GRPOLoss", {"aggregation": "none"},
        {"normaliser": "token_sum", **PPO}, None,
    ),
    (
        # "the output will be summed"
        "GRPOLoss(reduction=sum)", "GRPOLoss", {"reduction": "sum"},
        {"normaliser": "token_sum", **PPO}, None,
    ),
    ("DAPO", "DAPO", {}, {"normaliser": "token_mean", **PPO}, "dapo"),
    (
        "CISPOLoss", "CISPOLoss", {},
        {"normaliser": "token_mean", "objective": "cispo", "level": "token", "bounds": "offset"},
        "cispo",
    ),
)  # fmt: skip


def operations() -> Iterator[Operation]:
    """Transform and losses, with the options under which the methods go there."""
    for trajectory_return in (None, "sum"):
        yield Operation(
            f"MCAdvantage(trajectory_return={trajectory_return})",
            "advantage",
            partial(_advantages, trajectory_return=trajectory_return),
            says={"baseline": "mean", "scale": "std"},
            method="grpo",
            dtypes=ALL_DTYPES,
            lacks={
                "ragged": "one grpo_size for all groups; those of another size stay in the queue",
            },
            examples=20,
        )
    for name, loss, chosen, says, method in VARIANTS:
        summed = chosen.get("aggregation") == "none"
        yield Operation(
            name,
            "loss",
            partial(_loss, name=loss, beta=0.0, **chosen),
            settings=Settings(clip=CLIP),
            says=says,
            method=method,
            dtypes=CLIPPED_DTYPES,
            # The stepper takes one number.
            micro_batches=None if summed else partial(_accumulated, name=loss, beta=0.0, **chosen),
            twin="GRPOLoss(token_mean)" if name == "DAPO" else None,
            examples=30,
        )
    for aggregation, normaliser in (
        ("token_mean", "token_mean"),
        ("prompt_mean", "sequence_mean_token_mean"),
    ):
        options: dict[str, Any] = {"name": "GRPOLoss", "beta": BETA, "aggregation": aggregation}
        yield Operation(
            f"GRPOLoss({aggregation}, kl_to_ref_coeff)",
            "loss",
            partial(_loss, **options),
            settings=Settings(clip=CLIP, beta=BETA),
            says={"normaliser": normaliser, **PPO},
            method="grpo+kl" if aggregation == "token_mean" else None,
            dtypes=CLIPPED_DTYPES,
            micro_batches=partial(_accumulated, **options),
            examples=30,
        )
    yield Operation("GRPOLoss.loss_kl_to_ref", "kl", _kl, dtypes=ALL_DTYPES, examples=20)
