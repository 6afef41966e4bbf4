"""polgrad: advantages, losses, aggregation and divergence as functions of torch tensors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Gaps, Losses, Rewards, Tokens
from identity.conformance.calls import attribute, call
from identity.conformance.frameworks import torch_answer, torch_array, torch_values
from identity.conformance.operation import Operation, Settings

__all__ = ["DISTRIBUTION", "SMALL", "operations"]

DISTRIBUTION = "polgrad"
SMALL = True

CLIP = (0.2, 0.28)
CONSTANT = 16
NORMALISERS = {
    "TOKEN_MEAN": "token_mean",
    "SEQ_MEAN_TOKEN_MEAN": "sequence_mean_token_mean",
    "SEQ_MEAN_TOKEN_SUM": "sequence_mean_token_sum",
    "TOKEN_SUM_NORM": "constant",
}
NO_NAN = {"unscored": "rewards must be finite (it raises an error of its own)"}
NO_EMPTY = {"masked_rows": "it requires a token in every row (an error of its own)"}


def _grpo(batch: Rewards, scale: str, unbiased: bool) -> Answer:
    config = call(
        attribute("polgrad", "GroupNormConfig"), center=True, scale=scale, eps=1e-4,
        unbiased=unbiased,
    )  # fmt: skip
    return torch_values(
        call(
            attribute("polgrad", "grpo_advantages"),
            rewards=torch_array(batch.rewards, batch.dtype),
            group_ids=torch_array(batch.groups, "int64"),
            config=config,
        )
    )


def _rloo(batch: Rewards) -> Answer:
    return torch_values(
        call(
            attribute("polgrad", "rloo_advantages"),
            rewards=torch_array(batch.rewards, batch.dtype),
            group_ids=torch_array(batch.groups, "int64"),
        )
    )


def _aggregate(batch: Losses, mode: str) -> Answer:
    leaf = torch_array(batch.loss, batch.dtype, leaf=True)
    loss = call(
        attribute("polgrad", "aggregate"),
        per_token=leaf,
        response_mask=torch_array(batch.mask, "bool"),
        mode=attribute("polgrad", f"Aggregation.{mode}"),
        norm_len=CONSTANT,
    )
    return torch_answer(leaf, loss)


def _loss(batch: Tokens, ratio: str, surrogate: str, clip: Any, mode: str, beta: float) -> Answer:
    aggregation = attribute("polgrad", f"Aggregation.{mode}")
    bounds = None
    if clip is not None:
        low, high, cap = clip
        bounds = call(attribute("polgrad", "ClipConfig"), eps_low=low, eps_high=high, ratio_cap=cap)
    divergence = None
    if beta:
        kind = attribute("polgrad", "KLEstimator.K3")
        divergence = call(attribute("polgrad", "KLLossConfig"), kind=kind, coef=beta)
    config = call(
        attribute("polgrad", "PolicyLossConfig"),
        ratio=attribute("polgrad", f"RatioKind.{ratio}"),
        surrogate=attribute("polgrad", f"SurrogateKind.{surrogate}"),
        clip=bounds,
        aggregation=aggregation,
        norm_len=CONSTANT,
        kl=divergence,
    )
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    result = call(
        attribute("polgrad", "policy_loss"),
        config=config,
        logprobs=leaf,
        old_logprobs=torch_array(batch.old_logp, batch.dtype),
        advantages=torch_array(batch.advantages, batch.dtype),
        response_mask=torch_array(batch.mask, "bool"),
        ref_logprobs=None if batch.ref_logp is None else torch_array(batch.ref_logp, batch.dtype),
    )
    return torch_answer(leaf, result.loss)


def _kl(batch: Gaps, kind: str) -> Answer:
    leaf = torch_array(batch.logp[None], batch.dtype, leaf=True)  # it takes (B, T) only
    estimates = call(
        attribute("polgrad", "kl_estimate"),
        logprobs=leaf,
        ref_logprobs=torch_array(batch.ref_logp[None], batch.dtype),
        response_mask=torch_array(np.ones((1, len(batch.logp))), "bool"),
        kind=attribute("polgrad", f"KLEstimator.{kind.upper()}"),
    )
    answer = torch_answer(leaf, estimates)
    assert answer.gradient is not None
    return Answer(answer.value[0], answer.gradient[0], answer.dtype)


def operations() -> Iterator[Operation]:
    """The functions, with the options under which the methods go there."""
    for unbiased, ddof in ((True, 1), (False, 0)):
        yield Operation(
            f"grpo_advantages(unbiased={unbiased})",
            "advantage",
            partial(_grpo, scale="std", unbiased=unbiased),
            says={"baseline": "mean", "scale": "std", "ddof": ddof, "eps": 1e-4},
            method="grpo" if unbiased else None,
            lacks=NO_NAN,
        )
    yield Operation(
        "grpo_advantages(scale=none)",
        "advantage",
        partial(_grpo, scale="none", unbiased=True),
        says={"baseline": "mean", "scale": "none"},
        method="dr_grpo",
        lacks=NO_NAN,
    )
    yield Operation(
        "rloo_advantages",
        "advantage",
        _rloo,
        says={"baseline": "leave_one_out", "scale": "none"},
        method="rloo",
        lacks=NO_NAN,
    )
    for mode, normaliser in NORMALISERS.items():
        yield Operation(
            f"aggregate({mode.lower()})",
            "aggregate",
            partial(_aggregate, mode=mode),
            settings=Settings(constant=CONSTANT),
            says={"normaliser": normaliser},
            lacks=NO_EMPTY,
        )
    clipped = (*CLIP, None)
    for method, ratio, surrogate, clip, mode, beta in (
        ("grpo", "TOKEN", "PG_CLIP", clipped, "SEQ_MEAN_TOKEN_MEAN", 0.0),
        ("grpo+kl", "TOKEN", "PG_CLIP", clipped, "SEQ_MEAN_TOKEN_MEAN", 0.04),
        ("dapo", "TOKEN", "PG_CLIP", clipped, "TOKEN_MEAN", 0.0),
        ("dr_grpo", "TOKEN", "PG_CLIP", clipped, "TOKEN_SUM_NORM", 0.0),
        ("dual_clip", "TOKEN", "PG_CLIP", (*CLIP, 3.0), "TOKEN_MEAN", 0.0),
        ("gspo", "SEQUENCE", "PG_CLIP", clipped, "SEQ_MEAN_TOKEN_MEAN", 0.0),
        ("cispo", "TOKEN", "CISPO", clipped, "TOKEN_MEAN", 0.0),
        ("reinforce", "TOKEN", "REINFORCE", None, "TOKEN_MEAN", 0.0),
    ):
        yield Operation(
            f"policy_loss({method})",
            "loss",
            partial(_loss, ratio=ratio, surrogate=surrogate, clip=clip, mode=mode, beta=beta),
            settings=Settings(
                clip=None if clip is None else clip[:2],
                dual_clip=None if clip is None else clip[2],
                constant=CONSTANT if mode == "TOKEN_SUM_NORM" else None,
                beta=beta,
            ),
            says={"normaliser": NORMALISERS[mode]},
            method=method,
            lacks=NO_EMPTY,
        )
    for kind in ("k1", "k2", "k3"):
        yield Operation(
            f"kl_estimate({kind})", "kl", partial(_kl, kind=kind),
            says={"estimator": kind, "gradient": "value"}, method=kind,
        )  # fmt: skip
