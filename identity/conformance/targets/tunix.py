"""Tunix (google-tunix, JAX): its advantage estimators, policy losses, aggregation and divergence.

Called are `tunix.rl.algo_core` (``compute_advantages``, ``compute_rloo_advantages``,
``compute_drgrpo_advantages``, ``grpo_loss_fn``, ``ppo_policy_loss_fn``) and `tunix.rl.common`
(``aggregate_loss``, ``compute_kl_divergence``), the losses with the library's own configurations.

The losses take a model and get its log-probabilities from
``tunix.rl.common.compute_per_token_logps``. During a call that one function is replaced by one
that returns ours, and nothing else is. The losses are compiled as the library's trainer compiles
them: for each new shape that takes some tenths of a second, and operation by operation far longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Gaps, Losses, Rewards, Tokens
from identity.conformance.calls import attribute, call
from identity.conformance.frameworks import jax_answer, jax_array
from identity.conformance.operation import CannotRun, Operation, Settings

__all__ = ["DISTRIBUTION", "SMALL", "operations"]

DISTRIBUTION = "google-tunix"
SMALL = False

CORE = "tunix.rl.algo_core"
COMMON = "tunix.rl.common"
SYNCHRONOUS = "tunix.rl.grpo.grpo_learner"
AGENTIC = "tunix.rl.agentic.agentic_grpo_learner"

CLIP = (0.2, 0.28)
DUAL_CLIP = 3.0
CONSTANT = 16
BETA = 0.04

# What the losses ask of the model, by keyword; anything else is a new version's.
MODEL_KEYWORDS = {
    "prompt_tokens",
    "completion_tokens",
    "pad_id",
    "eos_id",
    "stop_gradient",
    "return_logits",
    "segment_ids",
    "segment_positions",
    "temperature",
}

# All of it is cast to float32 first, and a model's log-probabilities are float32 whatever its
# weights are (common.py, `selective_log_softmax`): float64 would be another float32.
SINGLE = ("bfloat16", "float32")

CONSECUTIVE = "takes no group ids: rows are consecutive groups of num_generations"
GROUPS = {"ragged": CONSECUTIVE, "interleaved": CONSECUTIVE}
NO_RANKS = "its training step is one program over the whole batch: no rank has a loss of its own"
NO_PARTS = "has no argument for the rest of the batch"


def _advantages(batch: Rewards, name: str) -> Answer:
    if batch.size is None:
        raise CannotRun(CONSECUTIVE)
    # All of them are given NumPy arrays by the learners (rl_learner.py, `_compute_rewards`).
    with attribute("jax", "enable_x64")(True):
        result = call(
            attribute(CORE, name),
            rewards=np.asarray(batch.rewards, batch.dtype),
            num_generations=batch.size,
        )
        value = np.asarray(result)
    return Answer(value.astype(np.float64), None, value.dtype.name)


def _differentiated(function: Any, leaf: tuple[str, Any, str], **arguments: Any) -> Answer:
    """Value and gradient by one of the arguments; the call that is recorded has its value."""
    name, values, dtype = leaf
    array = jax_array(values, dtype)
    call(function, **{name: array}, **arguments)
    return jax_answer(lambda traced: function(**{name: traced}, **arguments), array)


def _aggregate(batch: Losses, mode: str, norm: Mapping[str, Any]) -> Answer:
    with attribute("jax", "enable_x64")(True):
        return _differentiated(
            attribute(COMMON, "aggregate_loss"),
            ("per_token_loss", batch.loss, batch.dtype),
            completion_mask=jax_array(batch.mask, "bool"),
            loss_agg_mode=mode,
            **norm,
        )


def _kl(batch: Gaps, method: str) -> Answer:
    with attribute("jax", "enable_x64")(True):
        return _differentiated(
            attribute(COMMON, "compute_kl_divergence"),
            ("per_token_logps", batch.logp, batch.dtype),
            ref_per_token_logps=jax_array(batch.ref_logp, batch.dtype),
            method=method,
        )


@contextmanager
def _log_probabilities(logp: Any) -> Iterator[None]:
    """Let the library's model have these log-probabilities, and an entropy of zero."""
    common = attribute("tunix.rl", "common")
    original = attribute(COMMON, "compute_per_token_logps")
    logits = attribute("jax.numpy", "zeros")((*logp.shape, 1), logp.dtype)

    def ours(graphdef: Any, state: Any, **keywords: Any) -> Any:
        new = sorted(set(keywords) - MODEL_KEYWORDS)
        if new or keywords.get("return_logits") is not True or keywords["stop_gradient"]:
            raise CannotRun(f"the model is asked for something else: {new or keywords}")
        return logp, logits

    common.compute_per_token_logps = ours
    try:
        yield
    finally:
        common.compute_per_token_logps = original


@lru_cache(maxsize=64)
def _step(function: str, module: str, name: str, options: tuple[tuple[str, Any], ...]) -> Any:
    """Value and gradient of a loss, compiled as the training step is (peft_trainer.py)."""
    config = call(attribute(module, name), **dict(options))
    if name != "PPOConfig":
        config.temperature = 1.0  # the learners set it from the rollout's (grpo_learner.py)
    model = attribute("flax.nnx", "Module")()

    def loss(logp: Any, example: Any) -> Any:
        with _log_probabilities(logp):
            value, _ = call(
                attribute(CORE, function),
                model=model,
                train_example=example,
                algo_config=config,
                pad_id=0,
                eos_id=2,
            )
        return value

    compiled = attribute("jax", "jit")(attribute("jax", "value_and_grad")(loss))

    def step(logp: Any, example: Any) -> Any:
        return compiled(logp, example)

    step.__qualname__ = f"{function} <compiled, {name}>"  # in the record of calls
    return step


def _loss(
    batch: Tokens, function: str, module: str, name: str, options: tuple[tuple[str, Any], ...]
) -> Answer:
    rows, width = batch.mask.shape
    advantages = batch.advantages
    if name == "PPOConfig":  # one for each token, as generalised advantage estimation makes them
        advantages = np.broadcast_to(advantages[:, None], batch.mask.shape)
    ref = batch.ref_logp
    with attribute("jax", "enable_x64")(True):
        example = call(
            attribute(COMMON, "TrainExample"),
            prompt_ids=jax_array(np.ones((rows, 1)), "int32"),
            prompt_mask=jax_array(np.ones((rows, 1)), "bool"),
            completion_ids=jax_array(np.ones((rows, width)), "int32"),
            # The agentic learner's is of integers (agentic/utils.py, `right_pad`).
            completion_mask=jax_array(batch.mask, "int32" if module == AGENTIC else "bool"),
            advantages=jax_array(advantages, batch.dtype),
            ref_per_token_logps=None if ref is None else jax_array(ref, batch.dtype),
            old_per_token_logps=jax_array(batch.old_logp, batch.dtype),
        )
        value, gradient = call(
            _step(function, module, name, options),
            logp=jax_array(batch.logp, batch.dtype),
            example=example,
        )
        return Answer(
            np.asarray(value).astype(np.float64),
            np.asarray(gradient).astype(np.float64),
            value.dtype.name,
        )


def _mean_of_steps(parts: Sequence[Tokens], one: Callable[[Tokens], Answer]) -> Answer:
    """Micro-batches as sft/peft_trainer.py adds them up.

    ``PeftTrainer.__init__`` wraps the optimizer in ``optax.MultiSteps``, which takes the mean of
    the gradients of the micro-batches; ``MetricsBuffer.loss`` is the mean of their losses.
    """
    answers = [one(part) for part in parts]
    gradients = [a.gradient / len(parts) for a in answers if a.gradient is not None]
    value = np.mean([a.value for a in answers])
    return Answer(np.asarray(value), np.concatenate(gradients), answers[0].dtype)


def _losses() -> Iterator[Operation]:
    dapo, drgrpo = "tunix.rl.grpo.dapo_learner", "tunix.rl.grpo.drgrpo_learner"
    low, high = CLIP
    both = {"epsilon": low, "epsilon_high": high}
    level = {"level": "token"}
    sequences = {**level, "normaliser": "sequence_mean_token_mean"}
    tokens = {**level, "normaliser": "token_mean"}
    k1, k3 = {"kl_estimator": "k1"}, {"kl_estimator": "k3"}
    variants: tuple[tuple[str, str | None, str, str, dict[str, Any], dict[str, Any]], ...] = (
        # GRPOConfig has no field for the upper bound; that of the agentic learner has.
        ("grpo", "grpo", SYNCHRONOUS, "GRPOConfig", {"epsilon": low}, sequences),
        ("agentic grpo", "grpo", AGENTIC, "GRPOConfig", both, sequences),
        # The estimator "kl" is the default of GRPOConfig.
        ("grpo+kl", "grpo+kl", AGENTIC, "GRPOConfig", {**both, "beta": BETA}, {**sequences, **k1}),
        (
            "grpo+low_var_kl", None, AGENTIC, "GRPOConfig",
            {**both, "beta": BETA, "kl_loss_mode": "low_var_kl"}, {**sequences, **k3},
        ),
        ("dapo", "dapo", dapo, "DAPOConfig", both, tokens),
        (
            "drgrpo", "dr_grpo", drgrpo, "DrGRPOConfig", {"epsilon": low},
            {**level, "normaliser": "padded_width"},
        ),
        (
            "gspo-token", "gspo", AGENTIC, "GRPOConfig", {**both, "loss_algo": "gspo-token"},
            {**sequences, "level": "sequence_token"},
        ),
        (
            "ppo", None, "tunix.rl.ppo.ppo_learner", "PPOConfig",
            {"epsilon_low": low, "epsilon_high": high}, level,
        ),
        (
            "ppo dual clip", None, "tunix.rl.ppo.ppo_learner", "PPOConfig",
            {"epsilon_low": low, "epsilon_high": high, "epsilon_c": DUAL_CLIP},
            {**level, "dual_clip": True},
        ),
    )  # fmt: skip
    for variant, method, module, name, options, says in variants:
        beta = options.get("beta", 0.0)
        if name not in ("PPOConfig", "DAPOConfig"):  # beta is that of the reward, and None
            options = {"beta": beta, **options}
        function = "ppo_policy_loss_fn" if name == "PPOConfig" else "grpo_loss_fn"
        one = partial(
            _loss, function=function, module=module, name=name, options=tuple(options.items())
        )
        yield Operation(
            f"{function}({variant})",
            "loss",
            one,
            settings=Settings(
                clip=CLIP if "epsilon_high" in options else (low, low),
                dual_clip=options.get("epsilon_c"),
                beta=beta,
            ),
            says={"objective": "ppo_clip", "bounds": "offset", **says},
            method=method,
            dtypes=("float32",),
            lacks={"ranks": NO_RANKS},
            micro_batches=partial(_mean_of_steps, one=one),
            equal_parts=True,  # rl_cluster.py: mini_batch_size % train_micro_batch_size == 0
            examples=10,
        )


def operations() -> Iterator[Operation]:
    """The functions, with the options and configurations under which the methods go there."""
    for name, method, says in (
        ("compute_advantages", "grpo", {"baseline": "mean", "scale": "std"}),
        ("compute_drgrpo_advantages", "dr_grpo", {"baseline": "mean", "scale": "none"}),
        ("compute_rloo_advantages", "rloo", {"baseline": "leave_one_out", "scale": "none"}),
    ):
        yield Operation(
            name,
            "advantage",
            partial(_advantages, name=name),
            says=says,
            method=method,
            dtypes=("float16", "float32", "float64"),
            lacks=GROUPS,
        )
    yield from _losses()
    for mode, norm, normaliser in (
        ("token-mean", None, "token_mean"),
        ("sequence-mean-token-mean", None, "sequence_mean_token_mean"),
        ("sequence-mean-token-scale", None, "padded_width"),
        ("sequence-mean-token-scale", CONSTANT, "constant"),
        ("seq-mean-token-sum", None, "sequence_mean_token_sum"),
        ("sequence-mean-token-sum-norm", None, "sequence_mean_token_sum"),
        ("sequence-mean-token-sum-norm", CONSTANT, None),
    ):
        yield Operation(
            f"aggregate_loss({mode}{'' if norm is None else f', norm={norm}'})",
            "aggregate",
            partial(_aggregate, mode=mode, norm={} if norm is None else {"norm": norm}),
            settings=Settings(constant=norm),
            says={} if normaliser is None else {"normaliser": normaliser},
            dtypes=SINGLE,
            lacks={"micro_batches": NO_PARTS, "ranks": NO_RANKS},
            examples=12,
        )
    for method, estimator in (("kl", "k1"), ("mse_kl", "k2"), ("low_var_kl", "k3")):
        yield Operation(
            f"compute_kl_divergence({method})",
            "kl",
            partial(_kl, method=method),
            says={"estimator": estimator},
            method=estimator,
            dtypes=SINGLE,
            examples=12,
        )
