"""ms-swift: its advantages, the loss of its GRPO trainer, and the divergence in it.

Called are `swift.rl_core.advantage` (``compute_advantages``, ``compute_advantages_dynamic``,
``compute_teacher_kl_per_token``, ``_sdar_agg_loss``) and
``GRPOTrainer._compute_loss`` of `swift.rlhf_trainers.grpo_trainer`.

The trainer is a real one that was not initialised, as ms-swift makes itself one to compute losses
(swift/ray/megatron/loss/grpo.py). It has a real ``GRPOConfig``, the attributes in `STATE`, and one
method that is not its own: ``_get_per_token_logps_and_entropies`` returns our log-probabilities.
Any other attribute that it reads is missing, and the operation cannot be run.
"""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Gaps, Losses, Rewards, Tokens
from identity.conformance.calls import attribute, call
from identity.conformance.frameworks import torch_answer, torch_array, torch_values
from identity.conformance.operation import CannotRun, Operation, Settings

__all__ = ["DISTRIBUTION", "SMALL", "operations"]

DISTRIBUTION = "ms-swift"
SMALL = False

ADVANTAGE = "swift.rl_core.advantage"
TRAINER = "swift.rlhf_trainers.grpo_trainer"

CLIP = (0.2, 0.28)
# For cispo epsilon_high is "the ε_max param", of which the configuration recommends 5.
CAP = 5.0
DUAL_CLIP = 3.0
CONSTANT = 16
BETA = 0.04

# What `GRPOTrainer.__init__` and those above it would set, for a plain run on one device.
STATE: dict[str, Any] = {
    "model": SimpleNamespace(training=True),
    "template": SimpleNamespace(padding_free=False),
    "is_multimodal": False,
    "compute_entropy": False,
    "chord_sft_iterator": None,
    "disable_rollout_importance_sampling": False,
    "model_accepts_loss_kwargs": False,
    "compute_loss_func": None,
    "_has_teacher": False,
}
# What is called of it, and what is replaced.
INTERNALS = (
    "_prepare_algorithm_params",
    "_compute_loss",
    "_compute_loss_and_metrics",
    "_get_per_token_logps_and_entropies",
)

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


@contextmanager
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)


@lru_cache(maxsize=1)
def _imported() -> Any:
    """The trainer's class, with TRL left as it was.

    The import takes ``__init__`` and ``log`` away from TRL's own trainer, which is undone here.
    Its configurations are all defined at once and that of PPO builds on one that newer releases of
    TRL do not have: an empty one stands in for it while the import lasts.
    """
    theirs = attribute("trl", "GRPOTrainer")
    kept = {name: vars(theirs)[name] for name in ("__init__", "log") if name in vars(theirs)}
    missing = "trl.experimental.ppo"
    stand_in = ModuleType(missing)
    stand_in.PPOConfig = type("PPOConfig", (), {})  # type: ignore[attr-defined]
    try:
        attribute(missing, "PPOConfig")
    except CannotRun:
        sys.modules[missing] = stand_in
    try:
        with _quiet():
            return attribute(TRAINER, "GRPOTrainer")
    finally:
        if sys.modules.get(missing) is stand_in:
            del sys.modules[missing]
        for name, function in kept.items():
            setattr(theirs, name, function)


@lru_cache(maxsize=64)
def _trainer(options: tuple[tuple[str, Any], ...], chunk: int | None) -> Any:
    kind = _imported()
    absent = [name for name in INTERNALS if not hasattr(kind, name)]
    if absent:
        raise CannotRun(f"GRPOTrainer has no {', '.join(absent)} any more")
    with _quiet():
        config = call(
            attribute("swift.rlhf_trainers", "GRPOConfig"),
            output_dir=".",
            use_cpu=True,
            bf16=False,
            kl_in_reward=False,
            per_device_train_batch_size=chunk or 1,
            gradient_accumulation_steps=1,
            num_generations=1,  # or the batch would have to be a multiple of it
            max_completion_length=CONSTANT,
            **dict(options),
        )
    trainer = kind.__new__(kind)
    for name, value in STATE.items():
        setattr(trainer, name, value)
    trainer.args = config
    trainer.beta = config.beta
    trainer.max_completion_length = config.max_completion_length
    trainer.dynamic_num_samples = chunk is not None
    trainer._prepare_algorithm_params()
    return trainer


def _loss(
    batch: Tokens,
    options: tuple[tuple[str, Any], ...],
    chunk: int | None = None,
    total: int | None = None,
    steps: int = 1,
    processes: int = 1,
) -> Answer:
    trainer = _trainer(options, chunk)
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)

    def ours(
        model: None, model_inputs: dict[str, Any], grpo_batch: Any, compute_entropy: bool
    ) -> tuple[Any, None]:
        return leaf[model_inputs["input_ids"][:, 0]], None

    trainer._get_per_token_logps_and_entropies = ours
    trainer.accelerator = SimpleNamespace(
        num_processes=processes, gather_for_metrics=lambda tensor: tensor
    )
    trainer.current_gradient_accumulation_steps = steps
    trainer._metrics = {"train": defaultdict(list)}
    mask = torch_array(batch.mask, "bool")
    ref = batch.ref_logp
    # As `_prepare_batch_inputs` and `_postprocess_batch` fill it.
    filled = call(
        attribute("swift.rl_core.data", "GRPOBatch"),
        completion_mask=mask,
        truncated_mask=torch_array(np.zeros(len(batch.mask)), "bool"),
        seq_lengths=torch_array(batch.mask.sum(1), "int64"),
        old_per_token_logps=torch_array(batch.old_logp, batch.dtype),
        ref_per_token_logps=None if ref is None else torch_array(ref, batch.dtype),
        advantages=call(
            attribute(ADVANTAGE, "expand_advantage_to_per_token"),
            advantages=torch_array(batch.advantages, batch.dtype),
            completion_mask=mask,
        ),
        num_items_in_batch=torch_array(batch.mask.sum() if total is None else total, "float32"),
    )
    try:
        loss = call(
            type(trainer)._compute_loss,
            self=trainer,
            model=None,
            # The number of each row is its only token.
            model_inputs={"input_ids": torch_array(np.arange(len(batch.mask))[:, None], "int64")},
            grpo_batch=filled,
        )
    except AttributeError as why:
        if why.obj is trainer or isinstance(why.obj, SimpleNamespace):
            raise CannotRun(f"the trainer reads what was not set: {why}") from why
        raise
    return torch_answer(leaf, loss)


def _together(parts: Sequence[Tokens], options: tuple[tuple[str, Any], ...], over: str) -> Answer:
    """Micro-batches or ranks as the trainers add them up.

    All parts are given the tokens of the whole (`_prepare_batch_inputs`). Micro-batches: the loss
    of each is divided by their number (``Trainer.training_step`` of transformers), which
    `_undo_gradient_accumulation_scaling` may have multiplied it by. Ranks: the gradients are
    averaged (torch's DistributedDataParallel).
    """
    total, count = int(sum(part.mask.sum() for part in parts)), len(parts)
    number = {over: count}
    answers = [_loss(part, options, total=total, **number) for part in parts]
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
            partial(_loss, options=frozen),
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
                partial(_loss, options=frozen, chunk=2),
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
        answers.append(_loss(Tokens(logp, logp, np.zeros(1), one, ref, batch.dtype), options))
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
