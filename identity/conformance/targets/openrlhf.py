"""OpenRLHF: advantages, policy loss, aggregation and divergence.

Called are ``openrlhf.trainer.ppo_utils.experience_maker``'s `RemoteExperienceMaker`, of which
`compute_advantages_and_returns` gets a real `Experience`; `PolicyLoss` and `aggregate_loss` of
``openrlhf.models.loss``; `compute_approx_kl` and `masked_mean` of ``openrlhf.models.utils``; and,
for a loss with a divergence, `ActorPPOTrainer.training_step` of ``openrlhf.trainer.ray.ppo_actor``.

Its modules import packages that need a GPU to be of use: see `STAND_INS`.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Gaps, Losses, Rewards, Tokens
from identity.conformance.calls import attribute, call
from identity.conformance.frameworks import torch_answer, torch_array, torch_values
from identity.conformance.operation import CannotRun, Operation, Settings

__all__ = ["DISTRIBUTION", "SMALL", "Model", "Strategy", "operations"]

DISTRIBUTION = "openrlhf"
SMALL = False

CLIP = (0.2, 0.28)
BETA = 0.04
FLOATS = ("float32", "float64", "float16", "bfloat16")
# Where OpenRLHF converts to float32 on the way.
SHORT = ("float32", "float16", "bfloat16")

# Modules of packages that need not be installed, and what is imported from them. None of it is
# used in what is called here; using it, or importing anything else, fails.
STAND_INS = {
    "deepspeed": (),
    "deepspeed.runtime": (),
    "deepspeed.runtime.zero": (),
    "deepspeed.runtime.zero.partition_parameters": ("ZeroParamStatus",),
    "flash_attn": (),
    "flash_attn.bert_padding": ("index_first_axis", "pad_input", "rearrange", "unpad_input"),
    "flash_attn.utils": (),
    "flash_attn.utils.distributed": ("all_gather",),
    "vllm": (),
    "vllm.inputs": ("TokensPrompt",),
    "vllm.utils": ("random_uuid",),
}

Info = dict[str, Any]


def _library(module: str, path: str) -> Any:
    """Something of OpenRLHF, imported with stand-ins, which are taken away again after that."""
    if module in sys.modules:
        return attribute(module, path)
    absent = {root for root in map(_root, STAND_INS) if find_spec(root) is None}
    made = {name: _stand_in(name) for name in STAND_INS if _root(name) in absent}
    sys.modules.update(made)
    try:
        return attribute(module, path)
    finally:
        for name in made:
            sys.modules.pop(name, None)


def _root(name: str) -> str:
    return name.partition(".")[0]


def _stand_in(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    for member in STAND_INS[name]:
        setattr(module, member, object())
    return module


def _run(function: Callable[..., Any], **arguments: Any) -> Any:
    """Call what reads the attributes of stand-ins: one that they have not is no result."""
    try:
        return call(function, **arguments)
    except AttributeError as why:
        raise CannotRun(f"{function.__qualname__} reads what it was not given: {why}") from why


# -- advantages ----------------------------------------------------------------------------------


def _advantage(batch: Rewards, estimator: str, grouped: bool, no_std_norm: bool = False) -> Answer:
    sizes = batch.sizes
    if grouped and len(set(sizes.tolist())) > 1:
        raise CannotRun("there is one n_samples_per_prompt for all prompts")
    count = len(batch.rewards)
    # Where each rollout stood when the rollouts of a prompt were together, as `Experience` has it.
    order = np.argsort(batch.groups, kind="stable") if grouped else np.arange(count)
    # The estimates of the divergence, which the reward is added to, are never below float32.
    wide = "float64" if batch.dtype == "float64" else "float32"
    experience = call(
        _library("openrlhf.trainer.ppo_utils.experience", "Experience"),
        rewards=torch_array(batch.rewards, batch.dtype),
        action_mask=torch_array(np.ones((count, 2)), "bool"),
        kl=torch_array(np.zeros((count, 2)), wide),
        index=np.argsort(order).tolist(),
    )
    # All that is read of the command line; rewards (here: advantages) are clipped by its default.
    advantage = call(Namespace, estimator=estimator, gamma=1.0, no_std_norm=no_std_norm)
    arguments = call(
        Namespace,
        algo=call(Namespace, advantage=advantage),
        rollout=call(Namespace, n_samples_per_prompt=int(sizes[0]) if grouped else 1),
        reward=call(
            Namespace,
            clip_range=(-10.0, 10.0),
            overlong_buffer_len=None,
            stop_properly_penalty_coef=None,
        ),
    )
    maker = call(
        _library("openrlhf.trainer.ppo_utils.experience_maker", "RemoteExperienceMaker"),
        actor_model_group=None,
        critic_model_group=None,
        reward_model_group=None,
        initial_model_group=None,
        kl_controller=call(
            _library("openrlhf.trainer.ppo_utils.kl_controller", "FixedKLController"), kl_coef=0.0
        ),
        strategy=call(Namespace, args=arguments),
        tokenizer=None,
    )
    (done,) = _run(maker.compute_advantages_and_returns, experiences=[experience])
    return torch_values(done.advantages[:, -1])


# -- one number from many ------------------------------------------------------------------------


def _totals(masks: Sequence[Any], ranks: bool) -> Info:
    """What the losses are divided by in one step of the optimizer, by OpenRLHF's own function.

    openrlhf/utils/loss_utils.py, `iter_grad_accum_global_norm`, through which `ppo_train` of
    openrlhf/trainer/ray/ppo_actor.py goes: the masks are those of all micro-batches, and are summed
    over ranks.
    """
    return dict(
        call(
            _library("openrlhf.utils.loss_utils", "_optimizer_step_loss_norm"),
            masks=[torch_array(mask, "bool") for mask in masks],
            dp_group=None,
            dp_size=len(masks) if ranks else 1,
            gas=1 if ranks else len(masks),
        )
    )


def _split(parts: Sequence[Any], ranks: bool, one: Callable[[Any, Info], Answer]) -> Answer:
    """DeepSpeed multiplies the loss of each of n micro-batches, and averages over n ranks, by 1/n.

    The same function says so: "DeepSpeed, which scales every backward loss by 1 / gas".
    """
    info = _totals([part.mask for part in parts], ranks)
    answers = [one(part, info) for part in parts]
    gradients = [answer.gradient for answer in answers if answer.gradient is not None]
    value = np.mean([float(answer.value) for answer in answers])
    gradient = np.concatenate(gradients) / len(parts)
    return Answer(np.asarray(value), gradient, answers[0].dtype)


def _splits(one: Callable[[Any, Info], Answer]) -> dict[str, Any]:
    return {
        "micro_batches": partial(_split, ranks=False, one=one),
        "ranks": partial(_split, ranks=True, one=one),
    }


def _aggregate(batch: Losses, info: Info, tokens: bool) -> Answer:
    leaf = torch_array(batch.loss, batch.dtype, leaf=True)
    mask = torch_array(batch.mask, "bool")
    function = _library("openrlhf.models.loss", "aggregate_loss")
    return torch_answer(
        leaf, call(function, loss=leaf, loss_mask=mask, token_level_loss=tokens, **info)
    )


def _masked_mean(batch: Losses) -> Answer:
    leaf = torch_array(batch.loss, batch.dtype, leaf=True)
    mask = torch_array(batch.mask, "bool")
    function = _library("openrlhf.models.utils", "masked_mean")
    return torch_answer(leaf, call(function, tensor=leaf, mask=mask, dim=None))


# -- losses --------------------------------------------------------------------------------------


def _clipped(options: dict[str, Any]) -> Any:
    function = _library("openrlhf.models.loss", "PolicyLoss")
    return call(function, clip_eps_low=CLIP[0], clip_eps_high=CLIP[1], **options)


def _of_tokens(batch: Tokens) -> Any:
    advantages = np.broadcast_to(batch.advantages[:, None], batch.logp.shape)
    return torch_array(advantages, batch.dtype)


def _loss(batch: Tokens, info: Info, options: dict[str, Any]) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    loss, *_ = call(
        _clipped(options).forward,
        log_probs=leaf,
        old_log_probs=torch_array(batch.old_logp, batch.dtype),
        advantages=_of_tokens(batch),
        action_mask=torch_array(batch.mask, "bool"),
        **info,
    )
    return torch_answer(leaf, loss)


class Model:
    """A model that gives the log-probabilities which it was made with."""

    def __init__(self, log_probs: Any) -> None:
        self.log_probs = log_probs

    def train(self) -> None:
        """Nothing."""

    def __call__(self, sequences: Any, action_mask: Any, **options: Any) -> tuple[Any, None]:
        return self.log_probs, None


class Strategy:
    """Strategy and scheduler of a training step: the loss is kept, and no step is made."""

    ring_attn_group = None

    def __init__(self) -> None:
        self.loss: Any = None

    def backward(self, loss: Any, model: Any, optimizer: Any) -> None:
        """Keep the loss."""
        self.loss = loss

    def optimizer_step(self, optimizer: Any, model: Any, scheduler: Any, name: str) -> None:
        """Nothing."""

    def get_grad_norm(self, model: Any) -> float:
        """A number to be logged."""
        return 0.0

    def get_last_lr(self) -> list[float]:
        """A number to be logged."""
        return [0.0]


def _step(batch: Tokens, info: Info, options: dict[str, Any]) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    strategy = call(Strategy)
    divergence = call(
        Namespace, use_loss=True, init_coef=BETA, estimator="k3", unbiased_gradient=False
    )
    trainer = call(  # all that is read of it
        Namespace,
        actor=call(Model, log_probs=leaf),
        actor_loss_fn=_clipped(options),
        actor_optim=None,
        actor_scheduler=strategy,
        aux_loss=False,
        ema_model=None,
        strategy=strategy,
        args=call(
            Namespace,
            algo=call(Namespace, kl=divergence),
            actor=call(Namespace, entropy_coef=None),
            train=call(Namespace, dynamic_batch_enable=False),
        ),
    )
    experience = call(
        _library("openrlhf.trainer.ppo_utils.experience", "Experience"),
        action_mask=torch_array(batch.mask, "bool"),
        action_log_probs=torch_array(batch.old_logp, batch.dtype),
        base_action_log_probs=torch_array(batch.ref_logp, batch.dtype),
        advantages=_of_tokens(batch),
    )
    _run(
        _library("openrlhf.trainer.ray.ppo_actor", "ActorPPOTrainer.training_step"),
        self=trainer,
        experience=experience,
        kl_ctl=BETA,
        step=0,
        loss_batch_info=info,
    )
    return torch_answer(leaf, strategy.loss)


def _whole_step(batch: Tokens, options: dict[str, Any]) -> Answer:
    return _step(batch, _totals([batch.mask], ranks=False), options)


def _kl(batch: Gaps, kind: str, unbiased: bool) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    estimates = call(
        _library("openrlhf.models.utils", "compute_approx_kl"),
        log_probs=leaf,
        log_probs_base=torch_array(batch.ref_logp, batch.dtype),
        kl_estimator=kind,
        unbiased_gradient=unbiased,
    )
    return torch_answer(leaf, estimates)


# -- all of them ---------------------------------------------------------------------------------


def operations() -> Iterator[Operation]:
    """Advantages, aggregation, policy losses and divergences."""
    yield from _advantages()
    yield from _aggregations()
    yield from _losses()
    for kind, unbiased in (("k1", 0), ("k2", 0), ("k3", 0), ("k1", 1), ("k3", 1)):
        yield Operation(
            f"compute_approx_kl({kind}{', unbiased_gradient' if unbiased else ''})", "kl",
            partial(_kl, kind=kind, unbiased=bool(unbiased)),
            says={"estimator": kind, "gradient": "policy" if unbiased else "value"},
            method=None if unbiased else kind, dtypes=FLOATS,
        )  # fmt: skip


def _advantages() -> Iterator[Operation]:
    equal = {
        "ragged": "there is one n_samples_per_prompt for all prompts",
        "singleton": "its command line asks for n_samples_per_prompt > 1",
    }
    for estimator, method, baseline, scale in (
        ("group_norm", "grpo", "mean", "std"),
        ("dr_grpo", "dr_grpo", "mean", "none"),
        ("rloo", "rloo", "leave_one_out", "none"),
        ("reinforce_baseline", "reinforce_pp_baseline", "mean", "centred_batch_std"),
        ("reinforce", "reinforce_pp", "batch_mean", "batch_std"),
        ("flash_reinforce", None, "batch_mean", "none"),
    ):
        # The last two have no groups, and one sample for each prompt.
        grouped = baseline != "batch_mean"
        yield Operation(
            estimator, "advantage", partial(_advantage, estimator=estimator, grouped=grouped),
            says={"baseline": baseline, "scale": scale}, method=method,
            # A batch is whitened in float32 whatever the dtype.
            dtypes=SHORT if "batch_std" in scale else FLOATS,
            lacks=equal if grouped else {},
        )  # fmt: skip
    yield Operation(
        "reinforce_baseline(no_std_norm)", "advantage",
        partial(_advantage, estimator="reinforce_baseline", grouped=True, no_std_norm=True),
        says={"baseline": "mean", "scale": "none"}, dtypes=SHORT, lacks=equal,
    )  # fmt: skip


def _aggregations() -> Iterator[Operation]:
    for tokens, normaliser in ((True, "token_mean"), (False, "sequence_mean_token_mean")):
        one = partial(_aggregate, tokens=tokens)
        yield Operation(
            f"aggregate_loss(token_level_loss={tokens})", "aggregate", partial(one, info={}),
            says={"normaliser": normaliser}, dtypes=FLOATS, **_splits(one),
        )  # fmt: skip
    yield Operation(
        "masked_mean", "aggregate", _masked_mean, says={"normaliser": "token_mean"}, dtypes=FLOATS,
        lacks=dict.fromkeys(("micro_batches", "ranks"), "takes no totals of the whole batch"),
    )  # fmt: skip


def _losses() -> Iterator[Operation]:
    clip = {"objective": "ppo_clip", "bounds": "offset"}
    mean, means = "token_mean", "sequence_mean_token_mean"
    for name, method, options, normaliser in (
        ("token_level_loss=False", "grpo", {"token_level_loss": False}, means),
        ("token_level_loss=True", "dapo", {"token_level_loss": True}, mean),
        ("dual_clip", None, {"token_level_loss": True, "dual_clip": 3.0}, mean),
        ("gspo", "gspo", {"policy_loss_type": "gspo"}, means),
    ):
        level = "sequence" if method == "gspo" else "token"
        dual = options.get("dual_clip")
        one = partial(_loss, options=options)
        yield Operation(
            f"PolicyLoss({name})", "loss", partial(one, info={}),
            settings=Settings(clip=CLIP, dual_clip=3.0 if dual else None),
            says={"normaliser": normaliser, "level": level, "dual_clip": bool(dual), **clip},
            method=method, dtypes=FLOATS, **_splits(one),
        )  # fmt: skip
    for mode, method, normaliser in (
        ("seq-mean-token-mean", "grpo+kl", means),
        ("token-mean", None, mean),
    ):
        options = {"token_level_loss": mode == "token-mean"}
        yield Operation(
            f"training_step({mode}, k3)", "loss", partial(_whole_step, options=options),
            settings=Settings(clip=CLIP, beta=BETA),
            says={"normaliser": normaliser, "level": "token", "kl_estimator": "k3", **clip},
            method=method, dtypes=SHORT, **_splits(partial(_step, options=options)),
        )  # fmt: skip
