"""verl: ``verl.trainer.ppo.core_algos`` and the loss that its actor is trained with.

Called are the advantage estimators and policy losses that are registered there, `agg_loss`,
`kl_penalty`, the deprecated `compute_policy_loss`, and ``verl.workers.utils.losses.ppo_loss``,
which adds the divergence. Configurations are verl's own `ActorConfig` and `AlgoConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Gaps, Losses, Rewards, Tokens
from identity.conformance.calls import attribute, call
from identity.conformance.frameworks import torch_answer, torch_array, torch_values
from identity.conformance.operation import Operation, Settings

__all__ = ["DISTRIBUTION", "SMALL", "operations"]

DISTRIBUTION = "verl"
SMALL = False

CORE = "verl.trainer.ppo.core_algos"
CLIP = (0.2, 0.28)
DUAL_CLIP = 3.0  # the configuration's default; the vanilla loss always applies it
CONSTANT = 16
BETA = 0.04
REINFORCE = "compute_policy_loss_reinforce"
EPSILON = 1e-6  # the functions' default
FLOATS = ("float32", "float64", "float16", "bfloat16")
NORMALISERS = {
    "token-mean": "token_mean",
    "token-sum": "token_sum",
    "seq-mean-token-mean": "sequence_mean_token_mean",
    "seq-mean-token-sum": "sequence_mean_token_sum",
    "seq-mean-token-sum-norm": "constant",
}
NO_TOTALS = dict.fromkeys(("micro_batches", "ranks"), "takes no totals of the whole batch")

Info = dict[str, Any]


# -- advantages ----------------------------------------------------------------------------------


def _advantage(batch: Rewards, name: str, tokens: int = 2, **options: Any) -> Answer:
    # The reward lies on the last of a few tokens, all valid, and is the same for each of them.
    rewards = np.zeros((len(batch.rewards), tokens))
    rewards[:, -1] = batch.rewards
    advantages, _ = call(
        call(attribute(CORE, "get_adv_estimator_fn"), name_or_enum=name),
        token_level_rewards=torch_array(rewards, batch.dtype),
        response_mask=torch_array(np.ones_like(rewards), "int64"),
        index=np.array(batch.groups),
        **options,
    )
    return torch_values(advantages[:, -1])


def _whitened(batch: Rewards, name: str) -> Answer:
    config = call(attribute("verl.trainer.config", "AlgoConfig"), gamma=1.0)
    return _advantage(batch, name, tokens=1, config=config)


# -- one number from many ------------------------------------------------------------------------


def _totals(masks: Sequence[Any], ranks: bool) -> Info:
    """What verl divides by: tokens and rows of the whole batch, and the number of ranks.

    verl/workers/engine/fsdp/transformer_impl.py, `forward_backward_batch`: the tokens of the mask,
    summed over micro-batches and ranks. verl/trainer/ppo/ray_trainer.py, `_update_actor`: all rows
    of the mini-batch, with or without tokens. verl/workers/utils/losses.py, `ppo_loss`, hands them
    to the loss.
    """
    return {
        "dp_size": len(masks) if ranks else 1,
        "batch_num_tokens": int(sum(np.count_nonzero(mask) for mask in masks)),
        "global_batch_size": sum(len(mask) for mask in masks),
    }


def _split(parts: Sequence[Any], ranks: bool, one: Callable[[Any, Info], Answer]) -> Answer:
    """Micro-batches' losses are each differentiated and add up; ranks' gradients are averaged."""
    info = _totals([part.mask for part in parts], ranks)
    answers = [one(part, info) for part in parts]
    share = 1 / len(parts) if ranks else 1.0
    gradients = [answer.gradient for answer in answers if answer.gradient is not None]
    value = np.asarray(share * sum(float(answer.value) for answer in answers))
    return Answer(value, share * np.concatenate(gradients), answers[0].dtype)


def _splits(one: Callable[[Any, Info], Answer]) -> dict[str, Any]:
    return {
        "micro_batches": partial(_split, ranks=False, one=one),
        "ranks": partial(_split, ranks=True, one=one),
    }


def _aggregate(batch: Losses, info: Info, mode: str, factor: int | None) -> Answer:
    leaf = torch_array(batch.loss, batch.dtype, leaf=True)
    loss = call(
        attribute(CORE, "agg_loss"),
        loss_mat=leaf,
        loss_mask=torch_array(batch.mask, "bool"),
        loss_agg_mode=mode,
        loss_scale_factor=factor,
        **info,
    )
    return torch_answer(leaf, loss)


# -- losses --------------------------------------------------------------------------------------


def _config(mode: str, factor: int | None = None, info: Info | None = None, **more: Any) -> Any:
    info = info or {}
    return call(
        attribute("verl.workers.config", "ActorConfig"),
        strategy="fsdp",
        rollout_n=1,
        use_dynamic_bsz=True,
        clip_ratio_low=CLIP[0],
        clip_ratio_high=CLIP[1],
        clip_ratio_c=DUAL_CLIP,
        loss_agg_mode=mode,
        loss_scale_factor=factor,
        global_batch_info=info if factor is None else {**info, "loss_scale_factor": factor},
        **more,
    )


def _tensors(batch: Tokens) -> dict[str, Any]:
    # verl's advantages are those of tokens.
    advantages = np.broadcast_to(batch.advantages[:, None], batch.logp.shape)
    return {
        "advantages": torch_array(advantages, batch.dtype),
        "response_mask": torch_array(batch.mask, "bool"),
    }


def _loss(batch: Tokens, info: Info, name: str, mode: str, factor: int | None = None) -> Answer:
    if name == REINFORCE:  # not registered under a name of its own, and names what it only logs
        function, old = attribute(CORE, name), "rollout_log_prob"
    else:
        function, old = call(attribute(CORE, "get_policy_loss_fn"), name=name), "old_log_prob"
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    tensors = {**_tensors(batch), old: torch_array(batch.old_logp, batch.dtype)}
    config = _config(mode, factor, info)
    loss, _ = call(function, log_prob=leaf, loss_agg_mode=mode, config=config, **tensors)
    return torch_answer(leaf, loss)


def _deprecated(batch: Tokens) -> Answer:
    import warnings

    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        loss, *_ = call(
            attribute(CORE, "compute_policy_loss"),
            old_log_prob=torch_array(batch.old_logp, batch.dtype),
            log_prob=leaf,
            cliprange_low=CLIP[0],
            cliprange_high=CLIP[1],
            clip_ratio_c=DUAL_CLIP,
            loss_agg_mode="token-mean",
            **_tensors(batch),
        )
    return torch_answer(leaf, loss)


def _ppo_loss(batch: Tokens, info: Info, mode: str, kind: str) -> Answer:
    """The whole loss of the actor, as its engine calls it: with one token as the prompt.

    The model's log-probabilities are one vector, without padding, in which those of a response
    stand one place to the left; all T tokens are of the response, those that count or not.
    """
    rows, width = batch.logp.shape
    leaf = torch_array(np.pad(batch.logp, ((0, 0), (0, 1))).ravel(), batch.dtype, leaf=True)
    ones = np.ones((rows, width + 1))
    data = call(
        attribute("tensordict", "TensorDict"),
        source={
            "prompts": torch_array(ones[:, :1], "int64"),
            "responses": torch_array(ones[:, 1:], "int64"),
            "attention_mask": torch_array(ones, "int64"),
            "old_log_probs": torch_array(batch.old_logp, batch.dtype),
            "ref_log_prob": torch_array(batch.ref_logp, batch.dtype),
            **_tensors(batch),
        },
        batch_size=[rows],
    )
    call(attribute("verl.utils.tensordict_utils", "assign_non_tensor"), tensor_dict=data, **info)
    loss, _ = call(
        attribute("verl.workers.utils.losses", "ppo_loss"),
        config=_config(mode, use_kl_loss=True, kl_loss_coef=BETA, kl_loss_type=kind),
        model_output={"log_probs": leaf},
        data=data,
    )
    answer = torch_answer(leaf, loss)
    gradient = None if answer.gradient is None else answer.gradient.reshape(ones.shape)[:, :width]
    return Answer(answer.value, gradient, answer.dtype)


def _whole(batch: Tokens, mode: str, kind: str) -> Answer:
    return _ppo_loss(batch, _totals([batch.mask], ranks=False), mode, kind)


def _kl(batch: Gaps, kind: str) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    ref = torch_array(batch.ref_logp, batch.dtype)
    estimates = call(attribute(CORE, "kl_penalty"), logprob=leaf, ref_logprob=ref, kl_penalty=kind)
    return torch_answer(leaf, estimates)


# -- all of them ---------------------------------------------------------------------------------


def operations() -> Iterator[Operation]:
    """Advantages, aggregation, policy losses and divergences."""
    yield from _advantages()
    yield from _aggregations()
    yield from _losses()
    for kind, estimator, gradient in (
        ("k1", "k1", "value"),
        ("abs", "abs", "value"),
        ("mse", "k2", "value"),
        ("low_var_kl", "k3", "value"),
        ("k1+", "k1", "policy"),
        ("k3+", "k3", "policy"),
    ):
        yield Operation(
            f"kl_penalty({kind})", "kl", partial(_kl, kind=kind),
            says={"estimator": estimator, "gradient": gradient},
            method=estimator if gradient == "value" and estimator != "abs" else None,
            dtypes=FLOATS,
        )  # fmt: skip


def _advantages() -> Iterator[Operation]:
    for name, twin in (("grpo", "grpo_vectorized"), ("grpo_vectorized", "grpo")):
        # What the vectorised one finds mean and spread with is documented to use float32.
        dtypes = FLOATS if name == "grpo" else ("float32", "float16", "bfloat16")
        for standardised in (True, False):
            said = {"baseline": "mean", "scale": "std", "eps": EPSILON}
            yield Operation(
                name if standardised else f"{name}(norm_adv_by_std_in_grpo=False)",
                "advantage",
                partial(
                    _advantage, name=name, epsilon=EPSILON, norm_adv_by_std_in_grpo=standardised
                ),
                says=said if standardised else {"baseline": "mean", "scale": "none"},
                method="grpo" if standardised else "dr_grpo",
                dtypes=dtypes,
                twin=twin if standardised else f"{twin}(norm_adv_by_std_in_grpo=False)",
            )
    for name, twin in (("rloo", "rloo_vectorized"), ("rloo_vectorized", "rloo")):
        yield Operation(
            name, "advantage", partial(_advantage, name=name),
            says={"baseline": "leave_one_out", "scale": "none"}, method="rloo",
            dtypes=FLOATS, twin=twin,
        )  # fmt: skip
    # These two standardise over all tokens of the batch, here one for each rollout, and with a
    # Bessel factor that is a quotient of two integers: in float32 whatever the dtype.
    dtypes = ("float32", "float16", "bfloat16")
    for name, method, baseline, scale in (
        ("reinforce_plus_plus_baseline", "reinforce_pp_baseline", "mean", "centred_batch_std"),
        ("reinforce_plus_plus", "reinforce_pp", "batch_mean", "batch_std"),
    ):
        yield Operation(
            name, "advantage", partial(_whitened, name=name),
            says={"baseline": baseline, "scale": scale}, method=method, dtypes=dtypes,
        )  # fmt: skip


def _aggregations() -> Iterator[Operation]:
    modes: list[tuple[str, int | None]] = [
        (mode, CONSTANT if normaliser == "constant" else None)
        for mode, normaliser in NORMALISERS.items()
    ]
    for mode, factor in [*modes, ("seq-mean-token-sum-norm", None)]:
        norm = mode == "seq-mean-token-sum-norm"
        width = norm and factor is None
        one = partial(_aggregate, mode=mode, factor=factor)
        yield Operation(
            f"agg_loss({mode}{f', loss_scale_factor={factor}' if norm else ''})",
            "aggregate",
            partial(one, info={}),
            settings=Settings(constant=factor),
            says={"normaliser": "padded_width" if width else NORMALISERS[mode]},
            dtypes=FLOATS,
            **_splits(one),
        )


def _losses() -> Iterator[Operation]:
    ppo = {"objective": "ppo_clip", "level": "token", "bounds": "offset", "dual_clip": True}
    gspo = {"objective": "ppo_clip", "level": "sequence", "bounds": "offset"}
    for name, mode, method, said in (
        ("vanilla", "seq-mean-token-mean", "grpo", ppo),
        ("vanilla", "token-mean", "dapo", ppo),
        ("vanilla", "seq-mean-token-sum-norm", "dr_grpo", ppo),
        ("gspo", "seq-mean-token-mean", "gspo", gspo),
        ("cispo", "token-mean", "cispo", {"objective": "cispo"}),
        ("gpg", "token-mean", "reinforce", {"objective": "reinforce"}),
        (REINFORCE, "seq-mean-token-sum", None, {"objective": "reinforce"}),
    ):
        factor = CONSTANT if mode == "seq-mean-token-sum-norm" else None
        one = partial(_loss, name=name, mode=mode, factor=factor)
        yield Operation(
            f"{name}({mode})", "loss", partial(one, info={}),
            settings=Settings(
                clip=None if name in ("gpg", REINFORCE) else CLIP,
                dual_clip=DUAL_CLIP if name == "vanilla" else None,
                constant=factor,
            ),
            says={"normaliser": NORMALISERS[mode], **said},
            method=method,
            dtypes=FLOATS,
            twin="compute_policy_loss(token-mean)" if method == "dapo" else None,
            **_splits(one),
        )  # fmt: skip
    yield Operation(
        "compute_policy_loss(token-mean)", "loss", _deprecated,
        settings=Settings(clip=CLIP, dual_clip=DUAL_CLIP),
        says={"normaliser": "token_mean", **ppo}, dtypes=FLOATS,
        lacks=NO_TOTALS, twin="vanilla(token-mean)",
    )  # fmt: skip
    for mode, method in (("seq-mean-token-mean", "grpo+kl"), ("token-mean", None)):
        yield Operation(
            f"ppo_loss(vanilla, {mode}, low_var_kl)", "loss",
            partial(_whole, mode=mode, kind="low_var_kl"),
            settings=Settings(clip=CLIP, dual_clip=DUAL_CLIP, beta=BETA),
            says={"normaliser": NORMALISERS[mode], **ppo, "kl_estimator": "k3"},
            method=method, dtypes=FLOATS,
            **_splits(partial(_ppo_loss, mode=mode, kind="low_var_kl")),
        )  # fmt: skip
