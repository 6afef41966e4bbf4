"""ms-swift: its advantages, the loss of its GRPO trainer, and the divergence in it.

Called are `swift.rl_core.advantage` (``compute_advantages``, ``compute_advantages_dynamic``,
``compute_teacher_kl_per_token``, ``_sdar_agg_loss``) and
``GRPOTrainer._compute_loss`` of `swift.rlhf_trainers.grpo_trainer`.

The trainer is made by `identity.conformance.targets._swift_trainer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Gaps, Losses, Rewards, Tokens
from identity.conformance.calls import attribute, call
from identity.conformance.frameworks import torch_answer, torch_array, torch_values
from identity.conformance.operation import CannotRun, Operation, Settings
from identity.conformance.targets import _swift_trainer
from identity.conformance.targets._swift_trainer import CONSTANT, Options

__all__ = ["DISTRIBUTION", "SMALL", "operations"]

DISTRIBUTION = "ms-swift"
SMALL = False

ADVANTAGE = "swift.rl_core.advantage"

CLIP = (0.2, 0.28)
# For cispo epsilon_high is "the ε_max param", of which the configuration recommends 5.
CAP = 5.0
DUAL_CLIP = 3.0
BETA = 0.04

CONSECUTIVE = "takes no group ids: rows are consecutive groups of num_generations"
GROUPS = {"ragged": CONSECUTIVE, "interleaved": CONSECUTIVE}
WHOLE = "has no argument for the rest of the batch"


# -- advantages ----------------------------------------------------------------------------------


def _rewards(batch: Rewards, estimator: str, scale: str) -> dict[str, Any]:
    return {
        "rewards_per_func": torch_array(batch.rewards[:, None], batch.dtype),
        "reward_weights": torch_array(np.ones(1), batch.dtype),
        "advantage_estimator": estimator,
        "scale_rewards": scale,
    }


def _advantages(batch: Rewards, estimator: str, scale: str) -> Answer:
    if batch.size is None:
        raise CannotRun(CONSECUTIVE)
    advantages, _ = call(
        attribute(ADVANTAGE, "compute_advantages"),
        **_rewards(batch, estimator, scale),
        num_generations=batch.size,
    )
    return torch_values(advantages)


def _dynamic(batch: Rewards, estimator: str, scale: str) -> Answer:
    advantages, _ = call(
        attribute(ADVANTAGE, "compute_advantages_dynamic"),
        **_rewards(batch, estimator, scale),
        prompt_ids=[f"prompt {group}" for group in batch.groups],
        request_ids=[f"request {row}" for row in range(len(batch.groups))],
    )
    return torch_values(advantages)


def _advantage_operations() -> Iterator[Operation]:
    # 'group': "scale by intra-group standard deviation"; 'batch': "by the entire batch's"; the
    # default goes with the estimator: group, none, batch (args_mixin.py).
    methods = {
        ("grpo", "group"): "grpo",
        ("grpo", "none"): "dr_grpo",
        ("rloo", "none"): "rloo",
        ("reinforce_plus_plus", "batch"): "reinforce_pp",
    }
    baselines = {"grpo": {"baseline": "mean"}, "rloo": {"baseline": "leave_one_out"}}
    scales = {"group": {"scale": "std"}, "batch": {"scale": "batch_std"}, "none": {"scale": "none"}}
    for estimator in ("grpo", "rloo", "reinforce_plus_plus"):
        for scale, promised in scales.items():
            if (estimator, scale) == ("reinforce_plus_plus", "batch"):
                promised = {}  # "batch" may be that of the rewards or of what is left of them
            name, says = f"({estimator}, {scale})", {**baselines.get(estimator, {}), **promised}
            yield Operation(
                f"compute_advantages{name}",
                "advantage",
                partial(_advantages, estimator=estimator, scale=scale),
                says=says,
                method=methods.get((estimator, scale)),
                dtypes=("bfloat16", "float16", "float32", "float64"),
                lacks=GROUPS,
            )
            yield Operation(
                f"compute_advantages_dynamic{name}",
                "advantage",
                partial(_dynamic, estimator=estimator, scale=scale),
                says=says,
                method=methods.get((estimator, scale)),
                # Its means and deviations are float32 whatever the rewards are.
                dtypes=("float32",),
                twin=f"compute_advantages{name}",
            )


# -- losses --------------------------------------------------------------------------------------


def _together(parts: Sequence[Tokens], options: Options, over: str) -> Answer:
    """Micro-batches or ranks as the trainers add them up.

    All parts are given the tokens of the whole (`_prepare_batch_inputs`). Micro-batches: the loss
    of each is divided by their number (``Trainer.training_step`` of transformers), which
    `_undo_gradient_accumulation_scaling` may have multiplied it by. Ranks: the gradients are
    averaged (torch's DistributedDataParallel).
    """
    total, count = int(sum(part.mask.sum() for part in parts)), len(parts)
    number = {over: count}
    answers = [_swift_trainer.loss(part, options, total=total, **number) for part in parts]
    gradients = [a.gradient / count for a in answers if a.gradient is not None]
    value = np.asarray(sum(a.value for a in answers) / count)
    return Answer(value, np.concatenate(gradients), answers[0].dtype)


def _loss_operations() -> Iterator[Operation]:
    low, high = CLIP
    offset = {"objective": "ppo_clip", "bounds": "offset"}
    token, means = {"level": "token"}, {"normaliser": "sequence_mean_token_mean"}
    grpo = {**offset, **token, **means}
    tokens = {**token, "normaliser": "token_mean"}
    cispo = {"objective": "cispo", "bounds": "upper_absolute"}
    # The configuration takes its `loss_type` from TRL's, which describes the normalisers.
    variants: tuple[tuple[str, str | None, dict[str, Any], dict[str, Any]], ...] = (
        ("grpo", "grpo", {}, grpo),
        ("bnpo", "bnpo", {}, {**offset, **tokens}),
        ("dr_grpo", "dr_grpo", {}, {**offset, **token, "normaliser": "constant"}),
        ("dapo", "dapo", {}, {**offset, **tokens}),
        ("cispo", "cispo", {"epsilon_high": CAP}, {**cispo, **tokens}),
        ("grpo, beta", "grpo+kl", {"beta": BETA}, grpo),
        ("grpo, delta", None, {"delta": DUAL_CLIP}, grpo),
        (
            "grpo, sequence", "gspo", {"importance_sampling_level": "sequence"},
            {**grpo, "level": "sequence"},
        ),
        (
            "grpo, sequence_token", None, {"importance_sampling_level": "sequence_token"},
            {**grpo, "level": "sequence_token"},
        ),
        (
            "dapo, sequence_token", None, {"importance_sampling_level": "sequence_token"},
            {**offset, **tokens, "level": "sequence_token"},
        ),
    )  # fmt: skip
    for name, method, changes, says in variants:
        kind = name.partition(",")[0]
        options = {"epsilon": low, "epsilon_high": high, "beta": 0.0, "loss_type": kind, **changes}
        frozen = tuple(options.items())
        settings = Settings(
            clip=(low, options["epsilon_high"]),
            dual_clip=options.get("delta"),
            constant=CONSTANT if kind == "dr_grpo" else None,
            beta=options["beta"],
        )
        yield Operation(
            f"GRPOTrainer._compute_loss({name})",
            "loss",
            partial(_swift_trainer.loss, options=frozen),
            settings=settings,
            says=says,
            method=method,
            # The number of tokens is float32 whatever the log-probabilities are.
            dtypes=("float32",) if kind in ("dapo", "cispo") else ("float32", "float64"),
            micro_batches=partial(_together, options=frozen, over="steps"),
            ranks=partial(_together, options=frozen, over="processes"),
            equal_parts=True,  # of per_device_train_batch_size rows (args_mixin.py)
            examples=30,
        )
        if name == kind:
            # `_compute_loss_chunked`: "in fixed-size chunks to reduce peak GPU memory", where a
            # conversation of several turns has more rows than a device's batch.
            yield Operation(
                f"GRPOTrainer._compute_loss({name}, chunks of 2)",
                "loss",
                partial(_swift_trainer.loss, options=frozen, chunk=2),
                settings=settings,
                says=says,
                lacks={
                    "micro_batches": "the chunks are its micro-batches",
                    "ranks": "it gathers the sizes of the other ranks' batches",
                },
                dtypes=("float32",),
                twin=f"GRPOTrainer._compute_loss({name})",
                examples=30,
            )


# -- aggregation and divergence ------------------------------------------------------------------


def _aggregate(batch: Losses, mode: str) -> Answer:
    leaf = torch_array(batch.loss, batch.dtype, leaf=True)
    loss = call(
        attribute(ADVANTAGE, "_sdar_agg_loss"),
        loss_mat=leaf,
        loss_mask=torch_array(batch.mask, "bool"),
        loss_agg_mode=mode,
    )
    return torch_answer(leaf, loss)


def _in_loss(batch: Gaps) -> Answer:
    """The divergence of one token at a time: the loss with advantage 0 and β = 1."""
    options = (("beta", 1.0), ("loss_type", "grpo"))
    one = np.ones((1, 1), np.bool_)
    answers = []
    for logp, ref in zip(batch.logp[:, None, None], batch.ref_logp[:, None, None], strict=True):
        answers.append(
            _swift_trainer.loss(Tokens(logp, logp, np.zeros(1), one, ref, batch.dtype), options)
        )
    gradients = [a.gradient.ravel() for a in answers if a.gradient is not None]
    return Answer(np.array([a.value for a in answers]), np.concatenate(gradients), answers[0].dtype)


def _teacher(batch: Gaps, name: str) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    result = call(
        attribute(ADVANTAGE, name),
        teacher_per_token_logps=torch_array(batch.ref_logp, batch.dtype),
        policy_per_token_logps=leaf,
        completion_mask=torch_array(np.ones_like(batch.logp), "bool"),
    )
    return torch_answer(leaf, result)


def operations() -> Iterator[Operation]:
    """The functions and the trainer's loss, with the options under which the methods go there."""
    yield from _advantage_operations()
    yield from _loss_operations()
    for mode, normaliser in (
        ("token-mean", "token_mean"),
        ("seq-mean-token-sum", "sequence_mean_token_sum"),
        ("seq-mean-token-mean", "sequence_mean_token_mean"),
    ):
        yield Operation(
            f"_sdar_agg_loss({mode})",
            "aggregate",
            partial(_aggregate, mode=mode),
            says={"normaliser": normaliser},
            lacks={"micro_batches": WHOLE, "ranks": WHOLE},
        )
    yield Operation("GRPOTrainer._compute_loss(per_token_kl)", "kl", _in_loss, examples=20)
    yield Operation(
        "compute_teacher_kl_per_token", "kl",
        partial(_teacher, name="compute_teacher_kl_per_token"),
        says={"estimator": "k3"}, method="k3",
    )  # fmt: skip
