"""Readings that no method has, by name, so that a report can say what happened.

Each is one change of a plain computation of the loss. The computation here is written out once
more, apart from the verified functions, so that it can be changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from identity.conformance.batches import Tokens
from identity.conformance.conventions import NORMALISERS, LossConvention
from identity.conformance.expected import Expected, clip_offsets
from identity.conformance.operation import Settings

__all__ = ["DEVIATIONS", "Deviation", "deviant_loss", "kl_readings"]


@dataclass(frozen=True)
class Deviation:
    """A named change.

    Parameters
    ----------
    name : str
        What the report says.
    case : str
        The case that it belongs to.
    change : str
        What `deviant_loss` does differently.
    """

    name: str
    case: str
    change: str


DEVIATIONS = (
    Deviation("mask ignored in the numerator", "on_policy", "numerator"),
    Deviation("mask shifted by one position", "on_policy", "shifted"),
    Deviation("advantages laid along the tokens, not the responses", "on_policy", "columns"),
    Deviation("no ratio: the old log-probabilities are not used", "off_policy", "unit_ratio"),
    Deviation("importance ratio inverted, π_old/π", "off_policy", "inverted"),
    Deviation("old log-probabilities rounded to bfloat16", "bf16_old", "old_bfloat16"),
    Deviation("log-probabilities rounded to float16", "bf16_old", "both_float16"),
    Deviation("log-probabilities rounded to bfloat16", "bf16_old", "both_bfloat16"),
    Deviation("sequence ratio summed over tokens, not averaged", "sequence_ratio", "summed"),
    Deviation("sequence ratio averaged over the padded width", "sequence_ratio", "padded_ratio"),
    Deviation("no gradient reaches the policy", "off_policy", "no_gradient"),
    Deviation("the gradient of CISPO with the value −ratio × advantage", "clip", "cispo_value"),
    Deviation("clipped to [low, high], outside of which 1 lies", "clip", "as_bounds"),
    Deviation("at most high, which is below 1", "clip", "as_upper_bound"),
    Deviation("clipped tokens keep their gradient", "clip", "straight_through"),
    Deviation("clip bounds exchanged", "clip", "swapped"),
    Deviation("clipped without the minimum", "clip", "no_minimum"),
    Deviation("dual clip where the advantage is positive", "clip", "dual_positive"),
    Deviation("dual clip with the sign of its bound reversed", "clip", "dual_negated"),
    Deviation("dual clip for every sign of the advantage", "clip", "dual_always"),
    Deviation("clipped tokens of CISPO lose their gradient", "clip", "cispo_clipped"),
    Deviation(
        "tokens that the PPO clip would drop lose their gradient under CISPO",
        "clip",
        "cispo_minimum",
    ),
    Deviation("ratio of CISPO differentiated", "clip", "cispo_differentiated"),
    Deviation("divergence with the sign reversed", "divergence", "kl_sign"),
    Deviation("k3 of the inverse ratio", "divergence", "kl_reversed"),
    Deviation("twice k2", "divergence", "kl_unhalved"),
    Deviation("divergence averaged over the padding", "divergence", "kl_padded"),
    Deviation("divergence without a weight β", "divergence", "kl_weightless"),
    *(
        Deviation(
            f"divergence summed otherwise than the loss: {words}",
            "divergence",
            f"kl_weights:{name}",
        )
        for name, words in NORMALISERS.items()
    ),
    Deviation("divergence with no gradient", "divergence", "kl_detached"),
    Deviation("divergence missing", "divergence", "kl_missing"),
)


def deviant_loss(
    batch: Tokens, convention: LossConvention, settings: Settings, change: str
) -> Expected:
    """The loss under a convention with one change; ValueError where the change has no meaning."""
    import torch

    if change.startswith("cispo") and convention.objective != "cispo":
        raise ValueError("no CISPO")
    if change.startswith("dual") and settings.dual_clip is None:
        raise ValueError("no dual clip")
    leaf = torch.tensor(batch.logp, requires_grad=True)
    mask = torch.tensor(batch.mask)
    valid = mask.to(torch.float64)
    logp, old = leaf, torch.tensor(batch.old_logp)
    if change in ("old_bfloat16", "both_bfloat16"):
        old = old.to(torch.bfloat16).to(torch.float64)
    if change == "both_bfloat16":
        logp = logp.to(torch.bfloat16).to(torch.float64)
    if change == "both_float16":
        logp, old = (v.to(torch.float16).to(torch.float64) for v in (logp, old))
    if change == "no_gradient":
        logp = logp.detach()
    if change == "unit_ratio":
        old = logp.detach()
    gap = old - logp if change == "inverted" else logp - old
    advantages = torch.tensor(batch.advantages)
    if change == "columns":
        advantages = advantages.repeat(leaf.shape[1]).view(leaf.shape)
    else:
        advantages = advantages[:, None].expand_as(leaf)
    if change == "shifted":
        valid = torch.roll(valid, 1, dims=1)
        valid[:, 0] = 0
    gap = _levelled(gap, valid, convention.level, change, logp)
    per_token = _surrogate(torch.exp(gap), logp, advantages, convention, settings, change)
    counted = torch.ones_like(valid) if change == "numerator" else valid
    weights = counted * _row_weights(valid, convention.normaliser, settings.constant)[:, None]
    value = (weights * per_token).sum()
    if convention.kl is not None and settings.beta and change != "kl_missing":
        value = value + _divergence(batch, leaf, valid, weights, convention, settings, change)
    slope = None
    if value.requires_grad:
        (slope,) = torch.autograd.grad(value, leaf, allow_unused=True)
    elif change != "no_gradient":
        raise ValueError("no gradient")
    slope = torch.zeros_like(leaf) if slope is None else slope
    size = np.asarray(
        float((weights * per_token.detach().abs()).sum()) + abs(float(value.detach()))
    )
    steep = np.full_like(batch.logp, max(float(slope.abs().max()), 1e-300))
    return Expected(value.detach().numpy(), slope.numpy(), size + 1e-300, steep)


def _levelled(gap: Any, valid: Any, level: str, change: str, logp: Any) -> Any:
    import torch

    if level == "token" and change not in ("summed", "padded_ratio"):
        return gap
    total = (gap * valid).sum(1, keepdim=True)
    count = valid.sum(1, keepdim=True).clamp(min=1)
    if change == "padded_ratio":
        count = torch.full_like(count, gap.shape[1])
    mean = total if change == "summed" else total / count
    if level == "sequence_token":
        return mean.detach() + logp - logp.detach()
    return mean.expand_as(gap)


def _surrogate(
    ratio: Any, logp: Any, advantages: Any, convention: LossConvention, settings: Settings, how: str
) -> Any:
    import torch

    objective = convention.objective
    if objective == "reinforce":
        return -advantages * logp
    if objective == "importance":
        return -ratio * advantages
    clipped = torch.clamp(ratio, *_interval(convention, settings, how))
    if objective == "cispo":
        if how == "cispo_value":
            return -clipped.detach() * advantages * torch.exp(logp - logp.detach())
        if how in ("cispo_clipped", "cispo_minimum"):
            kept = clipped == ratio
            if how == "cispo_minimum":
                kept = kept | (ratio * advantages < clipped * advantages)
            inside = kept.to(ratio.dtype)
            return -clipped.detach() * advantages * (inside * logp + (1 - inside) * logp.detach())
        weight = clipped if how == "cispo_differentiated" else clipped.detach()
        return -weight * advantages * logp
    gain = clipped * advantages
    if how != "no_minimum":
        gain = torch.minimum(ratio * advantages, gain)
    if how == "straight_through":
        gain = gain.detach() + (ratio - ratio.detach()) * advantages
    bound = settings.dual_clip
    if bound is None or not (convention.dual_clip or how.startswith("dual")):
        return -gain
    capped = torch.maximum(gain, (-bound if how == "dual_negated" else bound) * advantages)
    if how == "dual_always":
        return -capped
    where = advantages > 0 if how == "dual_positive" else advantages < 0
    return -torch.where(where, capped, gain)


def _interval(
    convention: LossConvention, settings: Settings, how: str
) -> tuple[float, float | None]:
    """What the ratio is clamped to; readings under which 1 lies outside are departures."""
    if how in ("as_bounds", "as_upper_bound"):
        if settings.clip is None:
            raise ValueError("no clip")
        return (settings.clip[0] if how == "as_bounds" else 0.0), settings.clip[1]
    offsets = clip_offsets(convention.bounds, settings.clip)
    if offsets is None:
        raise ValueError("no such clip")
    low, high = (offsets[1], offsets[0]) if how == "swapped" else offsets
    return 1 - low, 1 + high if math.isfinite(high) else None


def _row_weights(valid: Any, normaliser: str, constant: float | None) -> Any:
    import torch

    counts, (rows, width) = valid.sum(1), valid.shape
    ones = torch.ones_like(counts)
    return {
        "token_mean": ones / counts.sum(),
        "sequence_mean_token_mean": ones / (rows * counts.clamp(min=1)),
        "sequence_mean_token_sum": ones / rows,
        "constant": ones / (rows * (constant or 1.0)),
        "padded_width": ones / (rows * width),
        "token_sum": ones,
    }[normaliser]


def _divergence(
    batch: Tokens, leaf: Any, valid: Any, weights: Any, convention: LossConvention,
    settings: Settings, how: str,
) -> Any:  # fmt: skip
    import torch

    assert convention.kl is not None
    gap = torch.tensor(batch.ref_logp) - leaf
    estimator, gradient = convention.kl.estimator, convention.kl.gradient
    values = {"k1": -gap, "k2": gap**2 / 2, "k3": torch.exp(gap) - gap - 1, "abs": gap.abs()}
    value = values[estimator]
    if how == "kl_reversed":
        value = torch.exp(-gap) + gap - 1
    if how == "kl_unhalved":
        value = gap**2
    if gradient == "none" or how == "kl_detached":
        value = value.detach()
    if gradient == "policy":
        value = value.detach() + values["k2"] - values["k2"].detach()
    if how == "kl_padded":
        weights = torch.ones_like(valid) / valid.numel()
    if how.startswith("kl_weights:"):
        normaliser = how.removeprefix("kl_weights:")
        weights = valid * _row_weights(valid, normaliser, settings.constant)[:, None]
    beta = 1.0 if how == "kl_weightless" else settings.beta
    return (-beta if how == "kl_sign" else beta) * (weights * value).sum()


def kl_readings() -> dict[str, Any]:
    """Deviant estimators of one token's divergence, of log π_ref − log π as a torch tensor."""
    import torch

    return {
        "k3 of the inverse ratio": lambda gap: torch.exp(-gap) + gap - 1,
        "twice k2": lambda gap: gap**2,
        "k1 with the sign reversed": lambda gap: gap,
    }
