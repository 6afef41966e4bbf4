"""What a convention gives for a batch, by the verified functions, and how far off a dtype may be.

Everything is computed in float64 from the values that were passed. Tolerances are those of a
computation in the operation's dtype: a few units in the last place of the terms that are added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from identity.conformance.batches import Booleans, Floats, Gaps, Losses, Rewards, Tokens
from identity.conformance.conventions import AdvantageConvention, KLConvention, LossConvention
from identity.conformance.frameworks import epsilon
from identity.conformance.operation import Settings
from identity.groups import dr_grpo_advantages, grpo_advantages, rloo_advantages

__all__ = ["Expected", "advantages", "aggregated", "clip_offsets", "divergences", "losses"]

# Units in the last place of the largest term; few bits leave room for few.
ULPS = {"float64": 64.0, "float32": 64.0, "float16": 16.0, "bfloat16": 8.0}


@dataclass(frozen=True, eq=False)
class Expected:
    """What should come out, and by how much it may be missed.

    Parameters
    ----------
    value, gradient : float64 arrays
        As in `Answer`; `gradient` None if not compared.
    value_scale, gradient_scale : float64 arrays
        The sizes of the terms: results may be off by some ulp of them.
    """

    value: Floats
    gradient: Floats | None
    value_scale: Floats
    gradient_scale: Floats | None

    def tolerances(self, dtype: str) -> tuple[Floats, Floats]:
        """For value and gradient, in a dtype."""
        unit = ULPS[dtype] * epsilon(dtype)
        gradient = self.value_scale if self.gradient_scale is None else self.gradient_scale
        return unit * self.value_scale, unit * gradient


# -- advantages ----------------------------------------------------------------------------------


def advantages(batch: Rewards, convention: AdvantageConvention) -> Expected:
    """Advantages under a convention; a group of one has a leave-one-out baseline of 0."""
    rewards, groups = batch.rewards, batch.groups
    with np.errstate(all="ignore"):
        centred = _centred(batch, convention.baseline)
        denominator = _denominator(batch, centred, convention)
        if convention.baseline == "mean" and convention.scale == "std" and _plain(convention):
            sized = batch.sizes.min() > 1
            value = (
                np.asarray(
                    grpo_advantages(
                        rewards, ddof=convention.ddof, eps=convention.eps, groups=groups
                    )
                )
                if sized
                else np.where(centred == 0, 0.0, centred / denominator)
            )
        else:
            value = np.where(centred == 0, 0.0, centred / denominator)
        over_batch = "batch" in convention.scale + convention.baseline
        largest = _largest(np.zeros_like(groups) if over_batch else groups, rewards)
        sizes = int(np.max(batch.sizes, initial=1))
        # The mean is off by an ulp of the largest reward, and so is the deviation.
        scale = np.abs(value) * (1 + sizes / 16)
        scale = scale + (1 + np.abs(value)) * largest / denominator / 4
    return Expected(value, None, np.where(np.isfinite(scale), scale, 1.0), None)


def _plain(convention: AdvantageConvention) -> bool:
    return convention.eps_placement in ("absent", "added")


def _centred(batch: Rewards, baseline: str) -> Floats:
    rewards, groups = batch.rewards, batch.groups
    if baseline == "mean":
        return (
            np.asarray(dr_grpo_advantages(rewards, groups=groups))
            if _pairs(batch)
            else _mean(rewards, groups)
        )
    if baseline == "leave_one_out":
        if _pairs(batch):
            return np.asarray(rloo_advantages(rewards, groups=groups))
        sizes = _size_of_each(groups)
        return np.asarray(_mean(rewards, groups) * sizes / np.maximum(sizes - 1, 1))
    if baseline == "batch_mean":
        return np.asarray(rewards - math.fsum(rewards) / len(rewards))
    return rewards


def _largest(groups: Any, rewards: Floats) -> Floats:
    """The largest reward of each row's group."""
    out = np.zeros_like(rewards)
    for group in np.unique(groups):
        rows = groups == group
        out[rows] = np.nanmax(np.abs(rewards[rows]), initial=0.0)
    return out


def _pairs(batch: Rewards) -> bool:
    """Whether the verified functions apply: at least two rollouts a group."""
    return int(batch.sizes.min()) > 1


def _mean(rewards: Floats, groups: Any) -> Floats:
    centred = np.array(rewards)
    for group in np.unique(groups):
        rows = groups == group
        centred[rows] = rewards[rows] - math.fsum(rewards[rows]) / np.count_nonzero(rows)
    return centred


def _size_of_each(groups: Any) -> Floats:
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse], np.float64)


def _denominator(batch: Rewards, centred: Floats, convention: AdvantageConvention) -> Floats:
    if convention.scale == "none":
        return np.ones_like(batch.rewards)
    if convention.scale == "std":
        around, groups = _mean(batch.rewards, batch.groups), batch.groups
    else:
        groups = np.zeros_like(batch.groups)
        around = batch.rewards if convention.scale == "batch_std" else centred
        around = _mean(around, groups)
    variance = np.empty_like(batch.rewards)
    for group in np.unique(groups):
        rows = groups == group
        count = max(int(np.count_nonzero(rows)) - convention.ddof, 0)
        variance[rows] = math.fsum(around[rows] ** 2) / count if count else 0.0
    std, eps = np.sqrt(variance), convention.eps
    if convention.eps_placement == "in_variance":
        return np.asarray(np.sqrt(variance + eps))
    if convention.eps_placement == "floored":
        return np.maximum(std, eps)
    return np.asarray(std + eps)


# -- losses --------------------------------------------------------------------------------------


def clip_offsets(bounds: str, clip: tuple[float, float] | None) -> tuple[float, float] | None:
    """The clip as offsets (low, high) from 1; None if it cannot be read like that."""
    if bounds == "none":
        return 1.0, math.inf
    if clip is None:
        return None
    low, high = clip
    if bounds == "offset":
        offsets = low, high
    elif bounds == "absolute":
        offsets = 1 - low, high - 1
    elif bounds == "upper_offset":
        offsets = 1.0, high
    else:
        offsets = 1.0, high - 1
    return offsets if 0 <= offsets[0] <= 1 and offsets[1] >= 0 else None


def _weights(mask: Booleans, normaliser: str, constant: float | None) -> Floats:
    from identity.aggregation import token_weights

    width = mask.shape[1]
    method, options = {
        "token_mean": ("bnpo", {}),
        "sequence_mean_token_mean": ("grpo", {}),
        "sequence_mean_token_sum": ("sequence_sum", {}),
        "constant": ("dr_grpo", {"constant": constant}),
        "padded_width": ("dr_grpo", {"constant": float(width)}),
        "token_sum": ("dapo", {"constant": 1.0}),
    }[normaliser]
    return np.asarray(token_weights(mask, method, dtype=np.float64, **options))  # type: ignore[arg-type]


def aggregated(batch: Losses, normaliser: str, settings: Settings) -> Expected:
    """A loss and its weights under a normaliser."""
    weights = _weights(batch.mask, normaliser, settings.constant)
    terms = np.where(batch.mask, weights * np.where(batch.mask, batch.loss, 0.0), 0.0)
    return Expected(
        np.asarray(math.fsum(terms.ravel())),
        weights,
        np.asarray(math.fsum(np.abs(terms).ravel())),
        np.full_like(weights, np.max(np.abs(weights), initial=0.0)),
    )


def losses(batch: Tokens, convention: LossConvention, settings: Settings) -> Expected:
    """A policy loss and its gradient by the log-probabilities; ValueError if it has none."""
    import torch

    from identity.surrogates import token_loss

    leaf = torch.tensor(batch.logp, requires_grad=True)
    mask, old = torch.tensor(batch.mask), torch.tensor(batch.old_logp)
    advantages_ = torch.tensor(batch.advantages)
    options: dict[str, Any] = {"objective": convention.objective}
    if convention.objective != "reinforce":
        bounds = "none" if convention.objective == "importance" else convention.bounds
        clip = clip_offsets(bounds, settings.clip)
        if clip is None:
            raise ValueError(f"{settings.clip} is no clip of the kind {bounds}")
        kind = "ppo_clip" if convention.objective == "importance" else convention.objective
        options = {"objective": kind, "clip": clip, "level": convention.level}
        if convention.dual_clip:
            options["dual_clip"] = settings.dual_clip
    per_token = token_loss(leaf, old, advantages_, mask, **options)
    sizes = per_token.detach().abs()
    if convention.objective in ("cispo", "reinforce"):
        sizes = sizes + per_token.detach().abs() / torch.clamp(leaf.detach().abs(), min=0.125)
    if convention.kl is not None and settings.beta:
        ref = torch.tensor(batch.ref_logp)
        against = leaf.detach() if convention.kl.gradient == "none" else leaf
        divergence = _estimate(
            torch.where(mask, against, 0.0), torch.where(mask, ref, 0.0), convention.kl
        )
        if convention.kl_ratio:
            divergence = divergence * torch.exp(torch.where(mask, leaf - old, 0.0))
        gap = torch.where(mask, (leaf.detach() - ref).abs(), 0.0)
        sizes = sizes + settings.beta * (divergence.detach().abs() + torch.exp(gap))
        per_token = per_token + settings.beta * divergence
    constant = settings.constant
    weights = torch.tensor(_weights(batch.mask, convention.normaliser, constant))
    value = (weights * per_token).sum()
    (slope,) = torch.autograd.grad(value, leaf)
    gap = torch.where(mask, (leaf.detach() - old).abs(), 0.0)
    value_scale = (weights * sizes * (1 + gap)).sum() + 1e-300
    # Before clipping, a token's term is as large as its weight times its advantage.
    each = (weights.abs() * advantages_.abs()[:, None] * torch.exp(gap)).max()
    if convention.kl_ratio:  # the product rule has two terms as large as the divergence
        each = torch.maximum(each, (weights.abs() * sizes).max())
    gradient_scale = torch.full_like(weights, float(torch.maximum(each, slope.abs().max())))
    return Expected(
        value.detach().numpy(), slope.numpy(), value_scale.numpy(), gradient_scale.numpy()
    )


# -- divergences ---------------------------------------------------------------------------------


def _estimate(logp: Any, ref_logp: Any, convention: KLConvention) -> Any:
    """The estimate of each token, with its gradient; "none" is taken for "value"."""
    from identity.surrogates import kl

    gradient = "policy" if convention.gradient == "policy" else "value"
    if convention.estimator != "abs":
        return kl(logp, ref_logp, estimator=convention.estimator, gradient=gradient)
    value = (logp - ref_logp).abs()  # estimates no divergence: there is no verified function
    if gradient == "value":
        return value
    square = kl(logp, ref_logp, estimator="k2")
    return value.detach() + square - square.detach()


def divergences(batch: Gaps, convention: KLConvention) -> Expected:
    """Estimates for each token, and the gradient of their sum."""
    import torch

    leaf = torch.tensor(batch.logp, requires_grad=True)
    value = _estimate(leaf, torch.tensor(batch.ref_logp), convention)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    slopes = slope.numpy() if convention.gradient != "none" else np.zeros_like(batch.logp)
    gap = np.abs(batch.logp - batch.ref_logp)
    # e^y is what cancels where y is small; y itself is exact, as log-probabilities are on a grid.
    terms = 1 + gap + np.exp(np.maximum(batch.ref_logp - batch.logp, 0))
    simple = convention.estimator != "k3"
    scale = 1 + gap + gap**2 if simple else terms
    return Expected(value.detach().numpy(), slopes, scale, terms if not simple else 1 + gap)
