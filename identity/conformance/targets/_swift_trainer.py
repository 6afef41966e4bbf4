"""The GRPO trainer of ms-swift, of which only the loss is wanted: no model, no network, no files.

It is a real one that was not initialised, as ms-swift makes itself one to compute losses
(swift/ray/megatron/loss/grpo.py). It has a real ``GRPOConfig``, the attributes in `STATE`, and one
method that is not its own: ``_get_per_token_logps_and_entropies`` returns our log-probabilities.
Any other attribute that it reads is missing, and the operation cannot be run.

ms-swift asks for releases of TRL before 1.0. Its import is helped over what newer ones lack
(`_imported`); of what it imports from them the loss uses ``nanmin`` and ``nanmax``, for metrics.
"""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Tokens
from identity.conformance.calls import attribute, call
from identity.conformance.frameworks import torch_answer, torch_array
from identity.conformance.operation import CannotRun

__all__ = ["CONSTANT", "Options", "loss"]

Options = tuple[tuple[str, Any], ...]  # of ``GRPOConfig``

ADVANTAGE = "swift.rl_core.advantage"
TRAINER = "swift.rlhf_trainers.grpo_trainer"
CONSTANT = 16  # tokens that a completion may have

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
def _trainer(options: Options, chunk: int | None) -> Any:
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


def loss(
    batch: Tokens,
    options: Options,
    chunk: int | None = None,
    total: int | None = None,
    steps: int = 1,
    processes: int = 1,
) -> Answer:
    """The loss of a batch and its gradient.

    Parameters
    ----------
    batch : Tokens
        What the model is taken to give.
    options : tuple of pairs
        What the configuration is given.
    chunk : int, optional
        The batch size of a device, to take the path for batches that outgrow it.
    total : int, optional
        Number of tokens of all micro-batches and ranks, if there are others than these.
    steps, processes : int
        How many micro-batches and ranks there are.
    """
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
        result = call(
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
    return torch_answer(leaf, result)
