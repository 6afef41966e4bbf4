"""Liger Kernel: ``liger_kernel.chunked_loss``, its GRPO loss in plain torch.

Two code paths: ``LigerFusedLinearGRPOFunction.ppo_loss_fn`` on log-probabilities, and the module
``LigerFusedLinearGRPOLoss``, which makes them of hidden states and the weight of the last layer,
chunk by chunk; and ``k3_loss_fn``. The Triton kernels of the same loss need a GPU.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Gaps, Tokens
from identity.conformance.calls import attribute, call
from identity.conformance.frameworks import torch_answer, torch_array
from identity.conformance.operation import CannotRun, Operation, Settings

__all__ = ["DISTRIBUTION", "SMALL", "hidden_states", "operations"]

DISTRIBUTION = "liger-kernel"
SMALL = True

MODULE = "liger_kernel.chunked_loss.grpo_loss"
LONGEST = 16
DELTA = 3.0


@dataclass(frozen=True)
class Variant:
    """One setting of the loss, which both code paths have."""

    loss_type: str
    level: str = "token"
    low: float = 0.2
    high: float = 0.28
    beta: float = 0.0
    delta: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        return {
            "loss_type": self.loss_type,
            "importance_sampling_level": self.level,
            "epsilon_low": self.low,
            "epsilon_high": self.high,
            "beta": self.beta,
            "delta": self.delta,
            "max_completion_length": LONGEST if self.loss_type == "dr_grpo" else None,
        }


def _arguments(batch: Tokens, variant: Variant, dtype: str) -> dict[str, Any]:
    ref = torch_array(batch.ref_logp, dtype) if variant.beta else None
    return {
        "attention_mask": torch_array(batch.mask, "int64"),
        "advantages": torch_array(batch.advantages, dtype),
        "old_per_token_logps": torch_array(batch.old_logp, dtype),
        "ref_per_token_logps": ref,
    }


def _plain(batch: Tokens, variant: Variant, items: int | None = None) -> Answer:
    function = attribute(MODULE, "LigerFusedLinearGRPOFunction.ppo_loss_fn")
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    given = _arguments(batch, variant, batch.dtype)
    keywords = {
        "per_token_logps": leaf,
        **given,
        "full_attention_mask": given["attention_mask"],
        **variant.options,
        "num_items_in_batch": items,
    }
    # It swallows what it does not know (**kwargs), so that a new name would go unnoticed.
    unknown = set(keywords) - set(inspect.signature(function).parameters)
    if unknown:
        raise CannotRun(f"the signature changed: ppo_loss_fn has no {', '.join(sorted(unknown))}")
    loss, _ = call(function, **keywords)
    return torch_answer(leaf, loss)


def hidden_states(logp: Any) -> Any:
    """A model of two tokens, as a function of the log-probability of the sampled one.

    Its hidden states (B, T, 2) are the log-probabilities of both tokens, and with the identity as
    the weight of the last layer they are the logits. So the library finds `logp` again, up to the
    rounding of log Σ e^logits = 0, and what autograd makes of its gradient by the hidden states,
    (1 − p)·(−1, 1) times that by `logp`, is the gradient by `logp`: here
    d(log(1 − p), log p)/d log p = (−p/(1 − p), 1).
    """
    import torch

    return torch.stack((torch.log(-torch.expm1(logp)), logp), dim=-1)


def _fused(batch: Tokens, variant: Variant, items: int | None = None) -> Answer:
    if np.any(batch.logp >= 0):
        raise CannotRun("no finite logits have a log-probability of 0 or more")
    module = call(
        attribute(MODULE, "LigerFusedLinearGRPOLoss"),
        compiled=False,
        use_ref_model=variant.beta != 0.0,
        **variant.options,
    )
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    loss, *_ = call(
        module.forward,
        _input=call(hidden_states, logp=leaf),
        lin_weight=torch_array(np.eye(2), batch.dtype),
        selected_token_ids=torch_array(np.ones(batch.mask.shape), "int64"),
        **_arguments(batch, variant, batch.dtype),
        num_items_in_batch=items,
    )
    return torch_answer(leaf, loss)


# -- parts ---------------------------------------------------------------------------------------

Path = Callable[[Tokens, Variant, int | None], Answer]


def _tokens(parts: Sequence[Tokens]) -> int:
    return sum(int(np.count_nonzero(part.mask)) for part in parts)


def _together(answers: Sequence[Answer], share: float) -> Answer:
    value = share * np.sum([answer.value for answer in answers])
    rows = [answer.gradient for answer in answers if answer.gradient is not None]
    return Answer(np.asarray(value), share * np.concatenate(rows), answers[0].dtype)


def _micro_batches(parts: Sequence[Tokens], path: Path, variant: Variant) -> Answer:
    """``num_items_in_batch`` are the tokens of "all grad-accum micro-batches × all processes"
    (``LigerFusedLinearPPOBase._compute_dapo_normalizer``): gradients add up as they are.
    """
    items = _tokens(parts)
    return _together([path(part, variant, items) for part in parts], 1.0)


def _ranks(parts: Sequence[Tokens], path: Path, variant: Variant) -> Answer:
    """The same over processes, whose number it asks torch.distributed for and divides by (same
    place); data parallel averages gradients. With a token count given nothing is communicated, so
    that torch's "fake" backend, one process that is one of R, is enough.
    """
    import torch.distributed as distributed

    if not distributed.is_available() or distributed.is_initialized():
        raise CannotRun("torch.distributed is absent or in use")
    items, answers = _tokens(parts), []
    for rank, part in enumerate(parts):
        try:
            call(
                distributed.init_process_group,
                backend="fake", rank=rank, world_size=len(parts),
            )  # fmt: skip
        except (RuntimeError, ValueError, TypeError, ImportError) as why:
            raise CannotRun(f"torch cannot stand in for {len(parts)} processes: {why}") from why
        try:
            answers.append(path(part, variant, items))
        finally:
            call(distributed.destroy_process_group)
    return _together(answers, 1.0 / len(parts))


# -- divergence ----------------------------------------------------------------------------------


def _k3(batch: Gaps) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    # In this order the loss calls it: log_p the reference, log_q the policy.
    ref = torch_array(batch.ref_logp, batch.dtype)
    return torch_answer(leaf, call(attribute(MODULE, "k3_loss_fn"), log_p=ref, log_q=leaf))


# -- what there is -------------------------------------------------------------------------------

NORMALISERS = {
    "grpo": "sequence_mean_token_mean",  # "Average per-sequence loss"
    "bnpo": "token_mean",  # "Batch Normalized Per-token loss"
    "dr_grpo": "constant",  # "normalize by batch_size * max_completion_length"
    "dapo": "token_mean",  # "the number of tokens in the batch"
    "cispo": "token_mean",  # as dapo
}
# What is in the parentheses of the name, the setting, the method.
VARIANTS: tuple[tuple[str, Variant, str | None], ...] = (
    ("grpo", Variant("grpo"), "grpo"),
    ("grpo, beta", Variant("grpo", beta=0.04), "grpo+kl"),
    ("bnpo", Variant("bnpo"), "bnpo"),
    ("dr_grpo", Variant("dr_grpo"), "dr_grpo"),
    ("dapo", Variant("dapo"), "dapo"),
    # "epsilon_high is typically larger (e.g. 5.0) and epsilon_low is unused"
    ("cispo", Variant("cispo", low=0.0, high=5.0), "cispo"),
    ("grpo, sequence", Variant("grpo", level="sequence"), "gspo"),
    ("bnpo, sequence", Variant("bnpo", level="sequence"), None),
    ("dr_grpo, sequence", Variant("dr_grpo", level="sequence"), None),
    ("dapo, sequence", Variant("dapo", level="sequence"), None),
    ("grpo, delta", Variant("grpo", delta=DELTA), None),
)


def operations() -> Iterator[Operation]:
    """The loss on both paths, with the options under which the methods go there."""
    for label, variant, method in VARIANTS:
        cispo = variant.loss_type == "cispo"
        says = {
            "normaliser": NORMALISERS[variant.loss_type],
            "objective": "cispo" if cispo else "ppo_clip",
            "level": variant.level,
            "bounds": "upper_absolute" if cispo else "offset",
        }
        if variant.beta:
            says["kl_estimator"] = "k3"
        settings = Settings(
            clip=(variant.low, variant.high),
            dual_clip=variant.delta,
            constant=LONGEST if variant.loss_type == "dr_grpo" else None,
            beta=variant.beta,
        )
        for name, path, dtypes in (
            (f"ppo_loss_fn({label})", _plain, ("float32", "float64", "bfloat16", "float16")),
            # Log-probabilities and loss are float32 there, whatever goes in.
            (f"LigerFusedLinearGRPOLoss({label})", _fused, ("float32",)),
        ):
            counted = variant.loss_type in ("dapo", "cispo")  # those that num_items_in_batch is for
            yield Operation(
                name,
                "loss",
                partial(path, variant=variant),
                settings=settings,
                says=says,
                method=method,
                dtypes=dtypes,
                micro_batches=partial(_micro_batches, path=path, variant=variant)
                if counted
                else None,
                ranks=partial(_ranks, path=path, variant=variant) if counted else None,
                twin=f"ppo_loss_fn({label})" if path is _fused else None,
                examples=50 if path is _plain else 20,
            )
    yield Operation(
        "k3_loss_fn", "kl", _k3, says={"estimator": "k3", "gradient": "value"}, method="k3",
        dtypes=("float32", "float64", "bfloat16", "float16"),
    )  # fmt: skip
