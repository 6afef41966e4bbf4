"""TRL: the real ``GRPOTrainer`` and ``RLOOTrainer``, built as in `_trl_trainer`.

Advantages come out of ``_generate_and_score_completions``, which samples from the tiny model,
asks the reward function and normalises; losses and their gradients out of ``_compute_loss``, to
which only the language model is replaced by `Policy`, so that the log-probabilities are given.
The divergence is what ``_compute_loss`` adds at advantage 0, beta 1 and one token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Floats, Gaps, Rewards, Tokens
from identity.conformance.calls import call
from identity.conformance.frameworks import torch_answer, torch_array, torch_values
from identity.conformance.operation import CannotRun, Operation, Settings
from identity.conformance.targets._trl_trainer import Inputs, Policy, quiet, rank_loss, trainer

__all__ = ["DISTRIBUTION", "SMALL", "group_gradient", "operations"]

DISTRIBUTION = "trl"
SMALL = True

CLIP = (0.2, 0.28)
# For cispo epsilon_high is "the ε_max param", of which the configuration recommends 5.
CAP = 5.0
CONSTANT = 16
BETA = 0.04
NO_IDS = "takes no group ids: consecutive rows of num_generations are a group"
NO_GROUPS = {"ragged": NO_IDS, "interleaved": NO_IDS}
ONE_GROUP = {
    **NO_GROUPS,
    "rewards": "one group at a time is taken through the loss",
    "unscored": "one group at a time is taken through the loss",
}
HEAD = "the model's fused head gives 0 at masked tokens, whatever stands there"
NO_MASKED = {"masked_values": HEAD}
EQUAL_ROWS = "every micro-batch of a process has per_device_train_batch_size rows"


def _advantages(batch: Rewards, name: str, **settings: Any) -> Answer:
    if batch.size is None:
        raise CannotRun(NO_IDS)
    with quiet():
        built = call(
            trainer,
            name=name,
            per_device_train_batch_size=len(batch.rewards),
            num_generations=batch.size,
            max_completion_length=1,
            **settings,
        )
        rows = [{"prompt": "a b", "reward": float(reward)} for reward in batch.rewards]
        result = call(built._generate_and_score_completions, inputs=rows)
    return torch_values(result["advantages"])


def _inputs(batch: Tokens, items: int) -> Inputs:
    ones = np.ones((len(batch.mask), 1))
    inputs = {
        "prompt_ids": torch_array(ones, "int64"),
        "prompt_mask": torch_array(ones, "int64"),
        "completion_ids": torch_array(np.ones_like(batch.mask), "int64"),
        "completion_mask": torch_array(batch.mask, "int64"),
        "advantages": torch_array(batch.advantages, batch.dtype),
        "old_per_token_logps": torch_array(batch.old_logp, batch.dtype),
        # The tokens of the generation batch over all processes: `num_items_in_batch =
        # self.accelerator.gather(loss_mask.sum()).sum()` in _generate_and_score_completions.
        # As an integer it is divided in float32, the dtype of a real run.
        "num_items_in_batch": torch_array(
            items, "float64" if batch.dtype == "float64" else "int64"
        ),
    }
    if batch.ref_logp is not None:
        inputs["ref_per_token_logps"] = torch_array(batch.ref_logp, batch.dtype)
    return Inputs(inputs)


def _built(settings: dict[str, Any], accumulation: int, steps_per_generation: int) -> Any:
    return call(
        trainer,
        name="GRPOTrainer",
        accumulation=accumulation,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=steps_per_generation,
        per_device_train_batch_size=2,  # these two are not read by the loss
        num_generations=2,
        max_completion_length=CONSTANT,
        **settings,
    )


def _computed(built: Any, batch: Tokens, items: int, ranks: int | None = None) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    policy, inputs = call(Policy, logp=leaf), _inputs(batch, items)
    if ranks is None:
        return torch_answer(leaf, call(built._compute_loss, model=policy, inputs=inputs))
    loss = call(rank_loss, trainer=built, processes=ranks, model=policy, inputs=inputs)
    return torch_answer(leaf, loss)


def _count(parts: Sequence[Tokens]) -> int:
    return int(sum(np.count_nonzero(part.mask) for part in parts))


def _loss(batch: Tokens, **settings: Any) -> Answer:
    with quiet():
        return _computed(_built(settings, 1, 1), batch, _count([batch]))


def _together(answers: Sequence[Answer], scale: float) -> Answer:
    gradients = [np.asarray(a.gradient) * scale for a in answers]
    value = np.asarray(sum(a.value for a in answers) * scale)
    return Answer(value, np.concatenate(gradients), answers[0].dtype)


def _equal_rows(parts: Sequence[Tokens]) -> None:
    if len({len(part.mask) for part in parts}) != 1:
        raise CannotRun(EQUAL_ROWS)


def _micro_batches(parts: Sequence[Tokens], one_generation: bool, **settings: Any) -> Answer:
    """One optimizer step: the gradients of the micro-batches' losses are added.

    Nothing divides them after the loss: ``loss_is_scaled_for_ga`` is True (grpo_trainer.py), so
    ``Trainer.training_step`` does not, and ``Accelerator.backward`` divides by its own
    ``gradient_accumulation_steps``, which ``Trainer`` leaves at 1
    (``create_accelerator_and_postprocess``: ``grad_acc_kwargs["num_steps"] = 1``).
    """
    _equal_rows(parts)
    with quiet():
        built = _built(settings, len(parts), len(parts) if one_generation else 1)
        answers = [_computed(built, p, _count(parts if one_generation else [p])) for p in parts]
    return _together(answers, 1.0)


def _ranks(parts: Sequence[Tokens], **settings: Any) -> Answer:
    """One optimizer step of several processes: ``Accelerator.prepare_model`` wraps the model in
    ``DistributedDataParallel``, which averages gradients over processes."""
    _equal_rows(parts)
    with quiet():
        built = _built(settings, 1, 1)
        answers = [_computed(built, part, _count(parts), len(parts)) for part in parts]
    return _together(answers, 1 / len(parts))


def _kl(batch: Gaps, **settings: Any) -> Answer:
    tokens, one = [], np.ones((1, 1))
    with quiet():
        built = _built({"loss_type": "grpo", "beta": 1.0, **settings}, 1, 1)
        for logp, ref in zip(batch.logp, batch.ref_logp, strict=True):
            token = Tokens(logp * one, logp * one, np.zeros(1), one > 0, ref * one, batch.dtype)
            tokens.append(_computed(built, token, 1))
    value = np.array([float(t.value) for t in tokens])
    gradient = np.concatenate([np.ravel(t.gradient) for t in tokens])  # type: ignore[arg-type]
    return Answer(value, gradient, tokens[0].dtype)


def group_gradient(rewards: Floats, dtype: str, loss_type: str = "dapo", length: int = 3) -> Floats:
    """Gradient of the trainer's loss by the log-probability of each response of one group.

    The batch with its advantages goes from ``_generate_and_score_completions`` to
    ``_compute_loss`` as it is, on policy: every completion has the same length, and only the
    policy's log-probabilities are given.

    Parameters
    ----------
    rewards : array, shape (G,)
        Of the responses; the trainer makes float32 of them.
    dtype : str
        Of the log-probabilities.
    loss_type : str
        Of ``GRPOConfig``.
    length : int
        Tokens of a response.

    Returns
    -------
    float64 array, shape (G,)
        Summed over the tokens of the response.
    """
    with quiet():
        built = call(
            trainer,
            name="GRPOTrainer",
            exact_length=length,
            per_device_train_batch_size=len(rewards),
            num_generations=len(rewards),
            loss_type=loss_type,
        )
        rows = [{"prompt": "a b", "reward": float(reward)} for reward in rewards]
        batch = call(built._generate_and_score_completions, inputs=rows)
        if tuple(batch["completion_mask"].shape) != (len(rewards), length):
            raise CannotRun(f"the completions do not all have {length} tokens")
        leaf = torch_array(np.full((len(rewards), length), -1.0), dtype, leaf=True)
        loss = call(built._compute_loss, model=call(Policy, logp=leaf), inputs=batch)
        gradient = torch_answer(leaf, loss).gradient
        return np.asarray(gradient if gradient is None else gradient.sum(axis=1))


def _through_the_loss(batch: Rewards, loss_type: str) -> Answer:
    """−G times the gradient: the advantages, if the loss makes of them what it should."""
    if batch.size != len(batch.rewards):
        raise CannotRun("one group at a time")
    gradient = group_gradient(batch.rewards, batch.dtype, loss_type)
    return Answer(-len(gradient) * gradient, None, batch.dtype)


def _operation(
    name: str,
    says: dict[str, object],
    method: str | None,
    *,
    one_generation: bool = True,
    **settings: Any,
) -> Operation:
    numbers = Settings(
        clip=(settings["epsilon"], settings["epsilon_high"]),
        dual_clip=settings.get("delta"),
        constant=CONSTANT if settings["loss_type"] == "dr_grpo" else None,
        beta=settings.get("beta", 0.0),
    )
    return Operation(
        f"GRPOTrainer._compute_loss({name})",
        "loss",
        partial(_loss, **settings),
        settings=numbers,
        says=says,
        method=method,
        lacks=NO_MASKED,
        micro_batches=partial(_micro_batches, one_generation=one_generation, **settings),
        ranks=partial(_ranks, **settings),
        equal_parts=True,
        examples=30,
    )


def operations() -> Iterator[Operation]:
    """The options of the two trainers that a published method or our vocabulary names."""
    mean, left_out = {"baseline": "mean"}, {"baseline": "leave_one_out"}
    centred = {"scale": "centred_batch_std"}
    advantages: tuple[tuple[str, dict[str, Any], dict[str, str], str | None], ...] = (
        ("GRPOTrainer", {"scale_rewards": "group"}, {**mean, "scale": "std"}, "grpo"),
        ("GRPOTrainer", {"scale_rewards": "batch"}, {**mean, "scale": "batch_std"}, None),
        ("GRPOTrainer", {"scale_rewards": "none"}, {**mean, "scale": "none"}, "dr_grpo"),
        ("RLOOTrainer", {}, {**left_out, "scale": "none"}, "rloo"),
        ("RLOOTrainer", {"normalize_advantages": True}, {**left_out, **centred}, None),
    )
    for name, option, says, method in advantages:
        shown = ", ".join(f"{key}={value}" for key, value in option.items())
        yield Operation(
            f"{name}({shown})" if shown else name,
            "advantage",
            partial(_advantages, name=name, **option),
            says=says,
            method=method,
            # `rewards_per_func[:, i] = torch.tensor(output_reward_func, dtype=torch.float32)`
            dtypes=("float32",),
            lacks=NO_GROUPS,
            examples=20,
        )
    for loss_type in ("dapo", "grpo"):
        yield Operation(
            f"GRPOTrainer, from rewards to the gradient ({loss_type})",
            "advantage",
            partial(_through_the_loss, loss_type=loss_type),
            says={**mean, "scale": "std"},
            dtypes=("float32",),
            lacks=ONE_GROUP,
            examples=20,
        )
    clip: dict[str, Any] = {"epsilon": CLIP[0], "epsilon_high": CLIP[1]}
    ppo: dict[str, object] = {"objective": "ppo_clip", "bounds": "offset"}
    token, sequence = {**ppo, "level": "token"}, {**ppo, "level": "sequence"}
    token_mean, constant = {"normaliser": "token_mean"}, {"normaliser": "constant"}
    means = {"normaliser": "sequence_mean_token_mean"}
    yield from (
        _operation("grpo", {**token, **means}, "grpo", **clip, loss_type="grpo"),
        _operation("bnpo", {**token, **token_mean}, "bnpo", **clip, loss_type="bnpo"),
        _operation("dr_grpo", {**token, **constant}, "dr_grpo", **clip, loss_type="dr_grpo"),
        _operation("dapo", {**token, **token_mean}, "dapo", **clip, loss_type="dapo"),
        _operation(
            "dapo, steps_per_generation=1", {**token, **token_mean}, None, one_generation=False,
            **clip, loss_type="dapo",
        ),
        _operation(
            "dapo, delta=3", {**token, **token_mean, "dual_clip": True}, "dual_clip",
            **clip, loss_type="dapo", delta=3.0,
        ),
        _operation(
            "cispo", {"objective": "cispo", "bounds": "upper_absolute", **token_mean}, "cispo",
            epsilon=CLIP[0], epsilon_high=CAP, loss_type="cispo",
        ),
        _operation(
            "grpo, sequence", {**sequence, **means}, "gspo",
            **clip, loss_type="grpo", importance_sampling_level="sequence",
        ),
        _operation(
            "dapo, sequence", {**sequence, **token_mean}, None,
            **clip, loss_type="dapo", importance_sampling_level="sequence",
        ),
        _operation(
            "luspo, sequence", {**sequence, "normaliser": "sequence_mean_token_sum"}, None,
            **clip, loss_type="luspo", importance_sampling_level="sequence",
        ),
        _operation(
            "grpo, beta", {**token, **means, "kl_estimator": "k3"}, "grpo+kl",
            **clip, loss_type="grpo", beta=BETA, use_bias_correction_kl=False,
        ),
        # The default since the option is there: the divergence is multiplied by the ratio.
        _operation(
            "grpo, beta, use_bias_correction_kl", {**token, **means}, None,
            **clip, loss_type="grpo", beta=BETA, use_bias_correction_kl=True,
        ),
    )  # fmt: skip
    for corrected in (False, True):
        yield Operation(
            f"GRPOTrainer._compute_loss(use_bias_correction_kl={corrected}), divergence",
            "kl",
            partial(_kl, use_bias_correction_kl=corrected),
            # With it "the KL gradient becomes the unbiased reverse-KL gradient".
            says={"estimator": "k3", "gradient": "policy" if corrected else "value"},
            method=None if corrected else "k3",
            examples=30,
        )
