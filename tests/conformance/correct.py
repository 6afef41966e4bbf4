"""Correct implementations in many styles: whatever is found in one of them is found wrongly.

`STYLES` has for each style its operations, which say completely what they compute. All of them:

* What is masked may be NaN or 1e9, also the advantage of a response without tokens. Such a
  response has loss 0 and counts in B. A batch without tokens gives 0, with gradient 0.
* A group of equal rewards, or of one, gives exactly 0; under a baseline of the batch, a batch of
  equal rewards does.
* NaN rewards raise ValueError, or are left out of their group and get 0.
* Parts of a batch are divided by what the whole batch has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from identity.conformance.batches import Answer, Gaps, Losses, Rewards, Tokens
from identity.conformance.frameworks import (
    jax_answer,
    jax_array,
    rounded,
    torch_answer,
    torch_array,
    torch_values,
)
from identity.conformance.operation import CannotRun, Operation, Settings

__all__ = ["STYLES"]

CONSTANT = 16.0
FEWER: dict[str, Any] = {"examples": 20}
ALL_DTYPES = ("float64", "float32", "float16", "bfloat16")

# -- what is computed ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Advantage:
    """(R − baseline)/denominator."""

    baseline: str = "mean"
    scale: str = "std"
    ddof: int = 1
    eps: float = 1e-4
    eps_placement: str = "added"


DR_GRPO = Advantage(scale="none")
RLOO = Advantage("leave_one_out", "none")


@dataclass(frozen=True)
class Loss:
    """A policy loss, with k3 times beta."""

    normaliser: str
    objective: str = "ppo_clip"
    level: str = "token"
    bounds: str = "offset"
    clip: tuple[float, float] = (0.2, 0.28)
    dual_clip: float | None = None
    beta: float = 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """That of the ratio."""
        low, high = self.clip
        return (low, high) if self.bounds == "absolute" else (1 - low, 1 + high)


@dataclass(frozen=True)
class Whole:
    """What the batch has of which a part is given, and the number of processes that share it."""

    rows: int
    tokens: int
    ranks: int = 1

    @classmethod
    def of(cls, parts: Sequence[Any], ranks: int = 1) -> Whole:
        masks = [part.mask for part in parts]
        return cls(sum(map(len, masks)), sum(int(mask.sum()) for mask in masks), ranks)


AdvantageCall = Callable[[Rewards, Advantage], Answer]
LossCall = Callable[[Tokens, Loss, Whole], Answer]
AggregateCall = Callable[[Losses, str, Whole], Answer]
KLCall = Callable[[Gaps, str, str], Answer]


def _together(answers: Sequence[Answer], factor: float = 1.0) -> Answer:
    """The sum of the values and all rows of the gradients, times a factor."""
    value = np.asarray(sum(answer.value for answer in answers))
    gradient = np.concatenate([np.asarray(answer.gradient) for answer in answers])
    return Answer(value * factor, gradient * factor, answers[0].dtype)


def _over_parts(call: Callable[[Any, Any, Whole], Answer], spec: Any) -> dict[str, Any]:
    """The call, and what comes of accumulation and of the mean over processes."""

    def whole(batch: Any) -> Answer:
        return call(batch, spec, Whole.of([batch]))

    def micro_batches(parts: Sequence[Any]) -> Answer:
        return _together([call(part, spec, Whole.of(parts)) for part in parts])

    def ranks(parts: Sequence[Any]) -> Answer:
        # Each process multiplies by their number, since gradients are averaged over them.
        shared = Whole.of(parts, len(parts))
        return _together([call(part, spec, shared) for part in parts], 1 / len(parts))

    return {"call": whole, "micro_batches": micro_batches, "ranks": ranks}


def _advantages(call: AdvantageCall, *specs: Advantage, **options: Any) -> list[Operation]:
    result = []
    for spec in specs:
        says = asdict(spec)
        name = f"{spec.baseline}, {spec.scale}"
        if spec.scale == "none":
            says = {"baseline": spec.baseline, "scale": "none"}
        else:
            name += f", ddof {spec.ddof}, {spec.eps:g} {spec.eps_placement}"
        given = {"call": partial(call, spec=spec), "says": says}
        result.append(Operation(f"advantages({name})", "advantage", **FEWER | given | options))
    return result


def _losses(call: LossCall, *specs: Loss, **options: Any) -> list[Operation]:
    result = []
    for spec in specs:
        says: dict[str, object] = {"normaliser": spec.normaliser, "objective": spec.objective}
        clip = None
        if spec.objective != "reinforce":
            clip, dual = spec.clip, spec.dual_clip is not None
            says |= {"level": spec.level, "bounds": spec.bounds, "dual_clip": dual}
        if spec.beta:
            says["kl_estimator"] = "k3"
        words = [str(value) for value in says.values() if not isinstance(value, bool)]
        name = f"loss({', '.join(words)}{', dual clip' * (spec.dual_clip is not None)})"
        settings = Settings(clip, spec.dual_clip, CONSTANT, spec.beta)
        given = {"says": says, "settings": settings, "lacks": _lacks(spec.normaliser)}
        given |= _over_parts(call, spec)
        result.append(Operation(name, "loss", **FEWER | given | options))
    return result


def _aggregates(call: AggregateCall, *normalisers: str, **options: Any) -> list[Operation]:
    result = []
    for normaliser in normalisers:
        given = _over_parts(call, normaliser)
        if normaliser in ("padded_width", "token_sum"):  # no library takes totals for these
            given = {"call": given["call"]}
        given |= {"says": {"normaliser": normaliser}, "settings": Settings(constant=CONSTANT)}
        given["lacks"] = _lacks(normaliser)
        result.append(Operation(f"aggregate({normaliser})", "aggregate", **FEWER | given | options))
    return result


def _lacks(normaliser: str) -> dict[str, str]:
    """The one dependence on padding that is meant."""
    meant = normaliser == "padded_width"
    return {"padding": "it is said to divide by the padded width"} if meant else {}


def _divergences(call: KLCall, *specs: tuple[str, str], **options: Any) -> list[Operation]:
    result = []
    for estimator, gradient in specs:
        says = {"estimator": estimator, "gradient": gradient}
        given = {"call": partial(call, **says), "says": says}
        result.append(Operation(f"kl({estimator}, {gradient})", "kl", **FEWER | given | options))
    return result


def _twins(one: list[Operation], other: list[Operation]) -> list[Operation]:
    """Two that are said to compute the same."""
    name = one[0].name
    return [
        replace(one[0], name=f"{name}, one path", twin=f"{name}, another"),
        replace(other[0], name=f"{name}, another"),
    ]


def _leaf_and_zeroed(batch: Tokens) -> tuple[Any, ...]:
    """The leaf, and log-probabilities, old ones, reference, advantages (B, T) and mask, of torch,
    with zeros where masked."""
    mask = torch_array(batch.mask, "bool")
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    old, ref = (
        None if x is None else torch_array(x, batch.dtype).masked_fill(~mask, 0.0)
        for x in (batch.old_logp, batch.ref_logp)
    )
    advantages = torch_array(batch.advantages, batch.dtype)[:, None].expand(mask.shape)
    return leaf, leaf.masked_fill(~mask, 0.0), old, ref, advantages.masked_fill(~mask, 0.0), mask


def _refuse_nan(rewards: Any) -> None:
    if bool((rewards != rewards).any()):
        raise ValueError("every rollout must have a reward")


# -- torch, vectorised, a group in each row ------------------------------------------------------


def plain_advantages(batch: Rewards, spec: Advantage) -> Answer:
    if batch.size is None:
        raise CannotRun("takes groups of one size, in consecutive rows")
    rewards = torch_array(batch.rewards, batch.dtype).view(-1, batch.size)
    _refuse_nan(rewards)
    shifted = rewards - rewards[:, :1]  # equal rewards become exact zeros
    centred = shifted - shifted.mean(1, keepdim=True)
    if spec.baseline == "leave_one_out":
        centred = centred * (batch.size / max(batch.size - 1, 1))
    if spec.scale == "std":
        variance = centred.square().sum(1, keepdim=True) / max(batch.size - spec.ddof, 1)
        centred = centred / (variance.sqrt() + spec.eps)
    return torch_values(centred.view(-1))


def plain_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    leaf, logp, old, ref, advantages, mask = _leaf_and_zeroed(batch)
    ratio = torch.exp(logp - old)
    clipped = torch.clamp(ratio, *spec.interval)
    if spec.objective == "cispo":
        losses = -clipped.detach() * advantages * logp
    else:
        losses = -torch.min(ratio * advantages, clipped * advantages)
    if spec.beta:
        losses = losses + spec.beta * (torch.exp(ref - logp) - (ref - logp) - 1)
    losses = losses * mask
    if spec.normaliser == "token_mean":
        loss = losses.sum() / max(whole.tokens, 1)
    else:
        loss = (losses.sum(1) / mask.sum(1).clamp(min=1)).sum() / whole.rows
    return torch_answer(leaf, loss * whole.ranks)


def plain_aggregate(batch: Losses, normaliser: str, whole: Whole) -> Answer:
    leaf, mask = torch_array(batch.loss, batch.dtype, leaf=True), torch_array(batch.mask, "bool")
    losses = leaf.masked_fill(~mask, 0.0)
    divisor = {
        "token_mean": max(whole.tokens, 1),
        "padded_width": whole.rows * mask.shape[1],
        "token_sum": 1,
    }
    return torch_answer(leaf, losses.sum() / divisor[normaliser] * whole.ranks)


def plain_kl(batch: Gaps, estimator: str, gradient: str) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    log_r = torch_array(batch.ref_logp, batch.dtype) - leaf
    values = {"k1": -log_r, "k2": log_r**2 / 2, "k3": torch.exp(log_r) - log_r - 1}
    value = values[estimator]
    return torch_answer(leaf, value.detach() if gradient == "none" else value)


# -- torch, loops over groups, rows and tokens ---------------------------------------------------


def loop_advantages(batch: Rewards, spec: Advantage) -> Answer:
    rewards = torch_array(batch.rewards, batch.dtype)
    result = torch.zeros_like(rewards)
    for group in set(batch.groups.tolist()):
        rows = [i for i, own in enumerate(batch.groups) if own == group]
        rows = [i for i in rows if not math.isnan(rewards[i])]
        if all(rewards[i] == rewards[rows[0]] for i in rows):
            continue
        mean = sum(rewards[i] for i in rows) / len(rows)
        squares = sum((rewards[i] - mean) ** 2 for i in rows)
        std = torch.sqrt(squares / (len(rows) - spec.ddof))
        for i in rows:
            result[i] = (rewards[i] - mean) / (std + spec.eps)
    return torch_values(result)


def loop_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    old, advantages = (torch_array(x, batch.dtype) for x in (batch.old_logp, batch.advantages))
    low, high = spec.interval
    total = torch.zeros((), dtype=leaf.dtype)
    for i, row in enumerate(batch.mask):
        places = np.flatnonzero(row).tolist()
        gaps = [leaf[i, t] - old[i, t] for t in places]
        if spec.level == "sequence":
            gaps = [sum(gaps) / max(len(gaps), 1)] * len(gaps)
        for t, gap in zip(places, gaps, strict=True):
            if spec.objective == "reinforce":
                gain = leaf[i, t]
            elif advantages[i] > 0:
                gain = torch.exp(gap).clamp(max=high)
            else:
                gain = torch.exp(gap).clamp(min=low)
            share = {
                "token_mean": whole.tokens,
                "sequence_mean_token_mean": len(places) * whole.rows,
                "sequence_mean_token_sum": whole.rows,
            }[spec.normaliser]
            total = total - gain * advantages[i] / share * whole.ranks
    return torch_answer(leaf, total)


def loop_aggregate(batch: Losses, normaliser: str, whole: Whole) -> Answer:
    leaf = torch_array(batch.loss, batch.dtype, leaf=True)
    total = torch.zeros((), dtype=leaf.dtype)
    for losses, mask in zip(leaf, batch.mask, strict=True):
        kept = losses[torch.tensor(mask)]
        if len(kept):
            share = kept.mean() if normaliser == "sequence_mean_token_mean" else kept.sum()
            total = total + share / whole.rows
    return torch_answer(leaf, total * whole.ranks)


# -- NumPy, gradients by hand --------------------------------------------------------------------


def numpy_advantages(batch: Rewards, spec: Advantage) -> Answer:
    rewards = batch.rewards.astype(batch.dtype)
    _refuse_nan(rewards)
    _, first, inverse, counts = np.unique(
        batch.groups, return_index=True, return_inverse=True, return_counts=True
    )
    size = counts[inverse]
    shifted = rewards - rewards[first][inverse]
    centred = shifted - (np.bincount(inverse, shifted) / counts)[inverse]
    denominator = np.ones_like(centred)
    if spec.baseline == "leave_one_out":
        denominator = np.where(size > 1, 1 - 1 / size, 1)
    if spec.scale == "std":
        std = np.sqrt(np.bincount(inverse, centred**2) / counts)
        denominator = np.maximum(std, spec.eps)[inverse]
    value = (centred / denominator).astype(batch.dtype)
    return Answer(value.astype(np.float64), None, batch.dtype)


def _numpy_weights(mask: Any, normaliser: str, whole: Whole) -> Any:
    count = mask.sum(1, keepdims=True)
    row = {
        "token_mean": 1 / max(whole.tokens, 1),
        "sequence_mean_token_mean": 1 / (whole.rows * np.maximum(count, 1)),
        "sequence_mean_token_sum": 1 / whole.rows,
        "constant": 1 / (whole.rows * CONSTANT),
        "padded_width": 1 / (whole.rows * mask.shape[1]),
        "token_sum": 1.0,
    }
    return mask * row[normaliser] * whole.ranks


def numpy_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    mask, (low, high) = batch.mask, spec.interval
    logp, old, advantages = (
        np.where(mask, x, 0).astype(batch.dtype)
        for x in (batch.logp, batch.old_logp, batch.advantages[:, None])
    )
    weights = _numpy_weights(mask, spec.normaliser, whole).astype(batch.dtype)
    count = np.maximum(mask.sum(1, keepdims=True), 1).astype(batch.dtype)
    gap = logp - old
    if spec.level == "sequence":
        gap = np.broadcast_to(gap.sum(1, keepdims=True) / count, mask.shape)
    ratio = np.exp(gap)
    if spec.objective == "cispo":
        slope = -np.clip(ratio, low, high) * advantages
        losses = slope * logp
    else:
        cap = math.inf if spec.dual_clip is None else spec.dual_clip
        bounded = np.where(advantages > 0, np.minimum(ratio, high), np.clip(ratio, low, cap))
        losses = -bounded * advantages
        slope = np.where(bounded == ratio, losses, 0)
    gradient = weights * slope
    if spec.level == "sequence":
        gradient = mask * gradient.sum(1, keepdims=True) / count
    value = np.asarray((weights * losses).sum(), np.float64)
    return Answer(value, gradient.astype(np.float64), batch.dtype)


def numpy_aggregate(batch: Losses, normaliser: str, whole: Whole) -> Answer:
    weights = _numpy_weights(batch.mask, normaliser, whole).astype(batch.dtype)
    losses = np.where(batch.mask, batch.loss, 0).astype(batch.dtype)
    value = np.asarray(np.vdot(weights, losses), np.float64)
    return Answer(value, weights.astype(np.float64), batch.dtype)


def numpy_kl(batch: Gaps, estimator: str, gradient: str) -> Answer:
    gap = batch.logp.astype(batch.dtype) - batch.ref_logp.astype(batch.dtype)
    excess = np.expm1(-gap)
    values = {"k1": gap, "k2": 0.5 * gap * gap, "k3": excess + gap}
    slopes = {"k1": np.ones_like(gap), "k2": gap, "k3": -excess}
    slope = gap if gradient == "policy" else slopes[estimator]
    value = values[estimator].astype(np.float64)
    return Answer(value, slope.astype(np.float64), batch.dtype)


# -- JAX, padded to few shapes, each of which is compiled ------------------------------------------


def _few_shapes(values: Any, fill: float = 0.0) -> Any:
    """Padded at the end of each axis to a multiple of 16."""
    values = np.asarray(values)
    return np.pad(values, [(0, -n % 16) for n in values.shape], constant_values=fill)


def _first(answer: Answer, shape: tuple[int, ...]) -> Answer:
    """Without the padding."""
    kept = tuple(slice(n) for n in shape)
    assert answer.gradient is not None
    return replace(
        answer,
        value=answer.value[kept] if answer.value.ndim else answer.value,
        gradient=answer.gradient[kept],
    )


def jax_advantages(batch: Rewards, spec: Advantage) -> Answer:
    import jax
    import jax.numpy as jnp

    _refuse_nan(batch.rewards)
    inverse = _few_shapes(np.unique(batch.groups, return_inverse=True)[1], -1)  # no group's
    with jax.enable_x64(True):
        rewards = jax_array(_few_shapes(batch.rewards), batch.dtype)
        total = partial(jax.ops.segment_sum, segment_ids=inverse, num_segments=len(inverse))
        size = total(jnp.ones_like(rewards))[inverse]
        shifted = rewards - jax.ops.segment_max(rewards, inverse, len(inverse))[inverse]
        centred = shifted - total(shifted)[inverse] / size
        if spec.scale == "std":
            variance = total(centred**2)[inverse] / jnp.maximum(size - spec.ddof, 1)
            centred = centred / (jnp.sqrt(variance) + spec.eps)
        value = np.asarray(centred, np.float64)[: len(batch.rewards)]
        return Answer(value, None, centred.dtype.name)


def jax_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        mask = jnp.asarray(_few_shapes(batch.mask))
        ref = batch.logp if batch.ref_logp is None else batch.ref_logp
        advantages = np.broadcast_to(batch.advantages[:, None], batch.mask.shape)
        old, ref, advantages = (
            jnp.where(mask, jax_array(_few_shapes(x), batch.dtype), 0)
            for x in (batch.old_logp, ref, advantages)
        )

        def loss(leaf: Any) -> Any:
            logp = jnp.where(mask, leaf, 0)
            gap, count = logp - old, jnp.maximum(mask.sum(1, keepdims=True), 1)
            if spec.level == "sequence":
                gap = gap.sum(1, keepdims=True) / count
            ratio = jnp.exp(gap)
            gain = jnp.minimum(ratio * advantages, jnp.clip(ratio, *spec.interval) * advantages)
            losses = -gain
            if spec.beta:
                losses += spec.beta * (jnp.expm1(ref - logp) - (ref - logp))
            losses = jnp.where(mask, losses, 0)
            share = CONSTANT if spec.normaliser == "constant" else count
            return ((losses / share).sum() * whole.ranks / whole.rows).astype(leaf.dtype)

        answer = jax_answer(loss, jax_array(_few_shapes(batch.logp), batch.dtype))
    return _first(answer, batch.mask.shape)


def jax_aggregate(batch: Losses, normaliser: str, whole: Whole) -> Answer:
    import jax
    import jax.numpy as jnp

    divisor = {"constant": whole.rows * CONSTANT, "token_mean": max(whole.tokens, 1)}[normaliser]
    with jax.enable_x64(True):
        mask = jnp.asarray(_few_shapes(batch.mask))
        answer = jax_answer(
            lambda leaf: jnp.sum(leaf, where=mask) * whole.ranks / divisor,
            jax_array(_few_shapes(batch.loss), batch.dtype),
        )
    return _first(answer, batch.mask.shape)


def jax_kl(batch: Gaps, estimator: str, gradient: str) -> Answer:
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        logp, ref = (jax_array(_few_shapes(x), batch.dtype) for x in (batch.logp, batch.ref_logp))

        def value(logp: Any) -> Any:
            k3 = jnp.expm1(ref - logp) - (ref - logp)
            k2 = (ref - logp) ** 2 / 2
            if gradient == "policy":
                return jax.lax.stop_gradient(k3 - k2) + k2
            return k3

        return _first(jax_answer(value, logp), batch.logp.shape)


# -- torch, sums over groups and tokens by matrices ----------------------------------------------


def matrix_advantages(batch: Rewards, spec: Advantage) -> Answer:
    rewards = torch_array(batch.rewards, batch.dtype)
    scored = ~rewards.isnan()
    rewards = torch.where(scored, rewards, 0.0)
    ids = torch_array(batch.groups, "int64")
    member = (ids[:, None] == ids.unique()) & scored[:, None]
    belongs = member.to(rewards.dtype)
    size = belongs.sum(0).clamp(min=1)
    top = torch.where(member, rewards[:, None], -math.inf).amax(0)
    top = torch.where(member.any(0), top, 0.0)
    shifted = (rewards - top[member.to(torch.uint8).argmax(1)]) * scored
    centred = shifted - torch.einsum("ng,g->n", belongs, shifted @ belongs / size)
    if spec.scale == "std":
        variance = torch.einsum("n,n,ng->g", centred, centred, belongs)
        variance = variance / (size - spec.ddof).clamp(min=1)
        inverse = (variance + spec.eps).rsqrt()  # in the variance
        centred = centred * (belongs @ inverse)
    if spec.scale == "batch_std":
        kept = rewards[scored]
        spread = (kept - kept.mean()).norm() / math.sqrt(max(len(kept) - spec.ddof, 1))
        centred = centred / (spread + spec.eps)
    return torch_values(centred)


def matrix_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    leaf, logp, old, _, advantages, mask = _leaf_and_zeroed(batch)
    kept = mask.to(leaf.dtype)
    if spec.objective == "reinforce":
        losses = -logp * advantages
    else:
        ratio = torch.exp(logp - old)
        low, high = spec.interval
        losses = torch.maximum(-ratio * advantages, -ratio.clip(low, high) * advantages)
    rows = torch.full((len(kept),), 1.0, dtype=leaf.dtype)
    if spec.normaliser == "sequence_mean_token_mean":
        rows = 1 / torch.einsum("bt->b", kept).clamp(min=1) / whole.rows
    else:
        rows = rows / max(whole.tokens, 1)
    return torch_answer(leaf, torch.einsum("b,bt,bt->", rows, kept, losses) * whole.ranks)


# -- torch, scattered into groups and rows -------------------------------------------------------


def scatter_advantages(batch: Rewards, spec: Advantage) -> Answer:
    rewards = torch_array(batch.rewards, batch.dtype)
    _refuse_nan(rewards)
    ids, inverse = torch_array(batch.groups, "int64").unique(return_inverse=True)
    zeros = torch.zeros(len(ids), dtype=rewards.dtype)
    size = zeros.index_add(0, inverse, torch.ones_like(rewards))
    least = zeros.scatter_reduce(0, inverse, rewards, "amin", include_self=False)
    largest = zeros.scatter_reduce(0, inverse, rewards, "amax", include_self=False)
    mean = zeros.index_add(0, inverse, rewards) / size
    if spec.baseline == "leave_one_out":
        others = (mean * size)[inverse] - rewards
        centred = rewards - others / (size[inverse] - 1).clamp(min=1)
    else:
        centred = rewards - mean[inverse]
    if spec.scale == "std":
        squares = zeros.scatter_add(0, inverse, centred**2)
        std = (squares / (size - spec.ddof).clamp(min=1)).sqrt()
        centred = centred / (std + spec.eps)[inverse]
    return torch_values(centred.where((least < largest)[inverse], 0.0))


def scatter_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    row, column = torch_array(batch.mask, "bool").nonzero(as_tuple=True)
    zeros = torch.zeros(len(batch.mask), dtype=leaf.dtype)
    advantages = torch_array(batch.advantages, batch.dtype)[row]
    gap = leaf[row, column] - torch_array(batch.old_logp, batch.dtype)[row, column]
    count = zeros.index_add(0, row, torch.ones_like(gap))[row]
    if spec.level == "sequence":
        gap = zeros.index_add(0, row, gap / count)[row]
    ratio = gap.exp()
    losses = -torch.minimum(ratio * advantages, ratio.clamp(*spec.interval) * advantages)
    loss = zeros.scatter_add(0, row, losses / count).sum() / whole.rows
    return torch_answer(leaf, loss * whole.ranks)


# -- torch, the tokens that count one after the other --------------------------------------------


def packed_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    mask = torch_array(batch.mask, "bool")
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    lengths = mask.sum(1)
    cu_seqlens = [0, *lengths.cumsum(0).tolist()]
    logp, old = leaf[mask], torch_array(batch.old_logp, batch.dtype)[mask]
    gap = logp - old
    sequences = [slice(*ends) for ends in pairwise(cu_seqlens)]
    if spec.level != "token":
        means = [gap[s].mean().expand(gap[s].shape) if len(gap[s]) else gap[s] for s in sequences]
        gap = torch.cat(means)
    if spec.level == "sequence_token":  # the value of the sequence, the derivative of the token
        gap = gap.detach() + logp - logp.detach()
    ratio = torch.exp(gap)
    weights = torch_array(batch.advantages, batch.dtype).repeat_interleave(lengths)
    losses = -torch.minimum(ratio * weights, torch.clamp(ratio, *spec.interval) * weights)
    if spec.beta:
        log_r = torch_array(batch.ref_logp, batch.dtype)[mask] - logp
        losses = losses + spec.beta * (log_r.expm1() - log_r)
    if spec.normaliser == "token_mean":
        loss = losses.sum() / max(whole.tokens, 1)
    else:
        loss = sum(losses[s].sum() / max(s.stop - s.start, 1) for s in sequences) / whole.rows
    return torch_answer(leaf, loss * whole.ranks)


def packed_aggregate(batch: Losses, normaliser: str, whole: Whole) -> Answer:
    mask = torch_array(batch.mask, "bool")
    leaf = torch_array(batch.loss, batch.dtype, leaf=True)
    sums = [sequence.sum() for sequence in leaf[mask].split(mask.sum(1).tolist())]
    if normaliser == "sequence_mean_token_mean":
        sums = [s / max(int(n), 1) for s, n in zip(sums, mask.sum(1), strict=True)]
    divisor = {"token_mean": max(whole.tokens, 1), "constant": CONSTANT * whole.rows}
    return torch_answer(leaf, sum(sums) / divisor.get(normaliser, whole.rows) * whole.ranks)


# -- torch, clipped as a log-ratio ---------------------------------------------------------------


def log_space_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    leaf, logp, old, _, advantages, mask = _leaf_and_zeroed(batch)
    low, high = (torch.full_like(logp, math.log(bound)) for bound in spec.interval)
    cap = torch.full_like(logp, math.log(spec.dual_clip or math.inf))
    negative = advantages < 0
    lower = torch.where(negative, low, -math.inf)
    upper = torch.where(negative, cap, high)
    gains = advantages * torch.clamp(logp - old, lower, upper).exp()
    divisor = max(whole.tokens, 1) if spec.normaliser == "token_mean" else CONSTANT * whole.rows
    return torch_answer(leaf, gains[mask].sum() * (-whole.ranks / divisor))


def log_space_kl(batch: Gaps, estimator: str, gradient: str) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    log_r = torch_array(batch.ref_logp, batch.dtype) - leaf
    k3, k2 = torch.expm1(log_r) - log_r, log_r.square() / 2
    value = {"k1": -log_r, "k2": k2, "k3": k3}[estimator]
    if gradient == "policy":
        value = value.detach() + k2 - k2.detach()
    return torch_answer(leaf, value)


# -- torch, everything chosen by `where` ---------------------------------------------------------


def where_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    mask = torch_array(batch.mask, "bool")
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    logp, old = torch.where(mask, leaf, -1.0), torch_array(batch.old_logp, batch.dtype)
    ratio = torch.where(mask, torch.exp(logp - torch.where(mask, old, -1.0)), 1.0)
    advantages = torch.where(mask, torch_array(batch.advantages, batch.dtype)[:, None], 0.0)
    low, high = spec.interval
    if spec.objective == "cispo":
        weight = torch.where(ratio > high, high, torch.where(ratio < low, low, ratio))
        gains = weight.detach() * advantages * logp
    else:
        positive = torch.where(ratio > high, high * advantages, ratio * advantages)
        negative = torch.where(ratio < low, low * advantages, ratio * advantages)
        if spec.dual_clip is not None:
            floor = spec.dual_clip * advantages
            negative = torch.where(negative < floor, floor, negative)
        gains = torch.where(advantages > 0, positive, negative)
    sums = torch.where(mask, -gains, 0.0).sum(1)
    if spec.normaliser == "token_mean":
        loss = torch.where(mask.any(), sums.sum() / max(whole.tokens, 1), 0.0)
    else:  # sequence_mean_token_mean
        count = mask.sum(1)
        loss = torch.where(count > 0, sums / torch.where(count > 0, count, 1), 0.0).sum()
        loss = loss / whole.rows
    return torch_answer(leaf, loss * whole.ranks)


# -- torch, a function with its own backward -----------------------------------------------------


class _Surrogate(torch.autograd.Function):
    """Σ weights · surrogate, clipped for "ppo_clip", for "cispo" of a constant ratio."""

    @staticmethod
    def forward(
        ctx: Any, logp: Any, old: Any, advantages: Any, weights: Any, mask: Any, spec: Loss
    ) -> Any:
        low, high = spec.interval
        ratio = torch.exp(logp - old)
        if spec.objective == "cispo":
            slope = -ratio.clamp(low, high) * advantages
            losses = slope * logp
        else:
            outside = ((advantages > 0) & (ratio > high)) | ((advantages < 0) & (ratio < low))
            slope = torch.where(outside, 0.0, -ratio * advantages)
            losses = torch.where(outside, -ratio.clamp(low, high) * advantages, slope)
        ctx.save_for_backward(torch.where(mask, weights * slope, 0.0))
        return torch.where(mask, weights * losses, 0.0).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None, None, None, None, None


def function_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    leaf, old, advantages = (
        torch_array(x, batch.dtype) for x in (batch.logp, batch.old_logp, batch.advantages[:, None])
    )
    mask = torch_array(batch.mask, "bool")
    if spec.normaliser == "token_mean":
        weights = torch.full_like(leaf, whole.ranks / max(whole.tokens, 1))
    else:  # sequence_mean_token_sum
        weights = torch.full_like(leaf, whole.ranks / whole.rows)
    leaf.requires_grad_()
    return torch_answer(leaf, _Surrogate.apply(leaf, old, advantages, weights, mask, spec))


class _Excess(torch.autograd.Function):
    """k3 of a log-ratio, by value or with the derivative of k2."""

    @staticmethod
    def forward(ctx: Any, gap: Any, policy: bool) -> Any:
        excess = torch.expm1(-gap)
        ctx.save_for_backward(gap if policy else -excess)
        return gap + excess

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * ctx.saved_tensors[0], None


def function_kl(batch: Gaps, estimator: str, gradient: str) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    gap = leaf - torch_array(batch.ref_logp, batch.dtype)
    return torch_answer(leaf, _Excess.apply(gap, gradient == "policy"))


# -- torch.func, row by row ----------------------------------------------------------------------


def functional_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    _, logp, old, _, advantages, mask = _leaf_and_zeroed(batch)

    def response(logp: Any, old: Any, advantages: Any, mask: Any) -> Any:
        count = mask.sum().clamp(min=1)
        gap = logp - old
        if spec.level == "sequence":
            gap = torch.where(mask, gap, 0.0).sum() / count
        ratio = torch.exp(gap)
        gains = torch.minimum(ratio * advantages, ratio.clamp(*spec.interval) * advantages)
        if spec.objective == "reinforce":
            gains = logp * advantages
        loss = -torch.where(mask, gains, 0.0).sum() * whole.ranks / whole.rows
        return loss / count if spec.normaliser == "sequence_mean_token_mean" else loss

    both = torch.func.vmap(torch.func.grad_and_value(response))
    gradient, values = both(logp.detach(), old, advantages, mask)
    gradient = torch.where(mask, gradient, 0.0)
    answer = torch_values(values.sum())
    return Answer(answer.value, torch_values(gradient).value, answer.dtype)


def functional_kl(batch: Gaps, estimator: str, gradient: str) -> Answer:
    def value(logp: Any, ref: Any) -> Any:
        gap = logp - ref
        return {"k1": gap, "k2": gap * gap / 2, "k3": torch.expm1(-gap) + gap}[estimator]

    logp, ref = (torch_array(x, batch.dtype) for x in (batch.logp, batch.ref_logp))
    slopes, values = torch.func.vmap(torch.func.grad_and_value(value))(logp, ref)
    answer = torch_values(values)
    return Answer(answer.value, torch_values(slopes).value, answer.dtype)


# -- torch, accumulated in float64 ---------------------------------------------------------------


def double_advantages(batch: Rewards, spec: Advantage) -> Answer:
    rewards = torch_array(batch.rewards, batch.dtype)
    wide = rewards.double()
    result = torch.zeros_like(wide)
    for group in set(batch.groups.tolist()):
        rows = torch_array(batch.groups == group, "bool") & ~wide.isnan()
        own = wide[rows]
        if len(own) == 0 or own.max() == own.min():
            continue
        baseline = own.mean()
        if spec.baseline == "leave_one_out":
            baseline = (own.sum() - own) / (len(own) - 1)
        std = own.std(correction=spec.ddof) + spec.eps if spec.scale == "std" else 1.0
        result[rows] = (own - baseline) / std
    return torch_values(result.to(rewards.dtype))


def double_loss(batch: Tokens, spec: Loss, whole: Whole) -> Answer:
    leaf, logp, old, _, advantages, mask = _leaf_and_zeroed(batch)
    ratio = (logp.double() - old.double()).exp()
    weights = advantages.double()
    losses = -torch.minimum(ratio * weights, ratio.clamp(*spec.interval) * weights)[mask]
    loss = losses.sum() / max(whole.tokens, 1) * whole.ranks
    return torch_answer(leaf, loss.to(leaf.dtype))


def double_aggregate(batch: Losses, normaliser: str, whole: Whole) -> Answer:
    leaf, mask = torch_array(batch.loss, batch.dtype, leaf=True), torch_array(batch.mask, "bool")
    losses = leaf.masked_fill(~mask, 0.0).double()
    if normaliser == "token_mean":
        loss = losses.sum() / max(whole.tokens, 1)
    else:  # sequence_mean_token_mean
        loss = (losses.sum(1) / mask.sum(1).clamp(min=1)).sum() / whole.rows
    return torch_answer(leaf, (loss * whole.ranks).to(leaf.dtype))


# -- torch, rows sorted by group and put back ----------------------------------------------------


def sorted_advantages(batch: Rewards, spec: Advantage) -> Answer:
    rewards = torch_array(batch.rewards, batch.dtype)
    _refuse_nan(rewards)
    ranked, order = torch_array(batch.groups, "int64").sort(stable=True)
    counts = ranked.unique_consecutive(return_counts=True)[1].tolist()
    blocks = []
    for block in rewards[order].split(counts):
        if spec.baseline == "batch_mean":
            blocks.append(block - rewards.mean())
            continue
        shifted = block - block[0]
        total, others = shifted.sum(), max(len(block) - 1, 1)
        if spec.baseline == "leave_one_out":
            blocks.append(shifted - (total - shifted) / others)
        else:
            blocks.append(shifted - total / len(block))
    centred = torch.cat(blocks)[order.argsort()]
    if rewards.max() == rewards.min():
        centred = torch.zeros_like(centred)
    if spec.scale == "none":
        return torch_values(centred)
    source = centred if spec.scale == "centred_batch_std" else rewards
    deviation = (source - source.mean()).square().sum() / max(len(source) - spec.ddof, 1)
    return torch_values(centred / (deviation.sqrt() + spec.eps))


# -- Python's own numbers ------------------------------------------------------------------------


def python_advantages(batch: Rewards, spec: Advantage) -> Answer:
    members: dict[int, list[float]] = {}
    for reward, group in zip(batch.rewards.tolist(), batch.groups.tolist(), strict=True):
        members.setdefault(group, []).extend([reward] * (reward == reward))
    result = []
    for reward, group in zip(batch.rewards.tolist(), batch.groups.tolist(), strict=True):
        own = members[group]
        if reward != reward or min(own) == max(own):
            result.append(0.0)
            continue
        mean = math.fsum(own) / len(own)
        variance = math.fsum((r - mean) ** 2 for r in own) / (len(own) - spec.ddof)
        std = math.sqrt(variance + spec.eps)  # in the variance
        result.append((reward - mean) / std)
    return Answer(rounded(result, batch.dtype), None, batch.dtype)


def python_aggregate(batch: Losses, normaliser: str, whole: Whole) -> Answer:
    weights = np.zeros(batch.mask.shape)
    terms = []
    for i, t in zip(*np.nonzero(batch.mask), strict=True):
        weights[i, t] = whole.ranks / (whole.rows * CONSTANT)
        if normaliser == "sequence_mean_token_mean":
            weights[i, t] *= CONSTANT / batch.mask[i].tolist().count(True)
        terms.append(weights[i, t] * batch.loss[i, t])
    value = rounded(math.fsum(terms), batch.dtype)
    return Answer(value, rounded(weights, batch.dtype), batch.dtype)


def python_kl(batch: Gaps, estimator: str, gradient: str) -> Answer:
    gaps = [p - q for p, q in zip(batch.logp.tolist(), batch.ref_logp.tolist(), strict=True)]
    values = {"k1": list(gaps), "k2": [g * g / 2 for g in gaps]}
    slopes = {"k1": [1.0 for _ in gaps], "k2": list(gaps)}
    if estimator == "k3":
        values["k3"] = [math.expm1(-g) + g for g in gaps]
        slopes["k3"] = [-math.expm1(-g) for g in gaps]
    value, slope = (rounded(x[estimator], batch.dtype) for x in (values, slopes))
    return Answer(value, slope, batch.dtype)


# -- all of them ---------------------------------------------------------------------------------

BY_VALUE = tuple((estimator, "value") for estimator in ("k1", "k2", "k3"))
IN_ROWS = dict.fromkeys(("ragged", "interleaved"), "takes groups of one size, in consecutive rows")
NO_EPS = {"eps": 0.0, "eps_placement": "absent"}
SEQUENCES = "sequence_mean_token_mean"
ABSOLUTE: dict[str, Any] = {"bounds": "absolute", "clip": (0.8, 1.28)}

STYLES: dict[str, list[Operation]] = {
    "plain torch": [
        *_advantages(plain_advantages, Advantage(), DR_GRPO, RLOO, lacks=IN_ROWS),
        *_losses(
            plain_loss,
            Loss("token_mean"),
            Loss(SEQUENCES, beta=0.04),
            Loss("token_mean", "cispo"),
        ),
        *_aggregates(plain_aggregate, "token_mean", "padded_width", "token_sum"),
        *_divergences(plain_kl, *BY_VALUE, ("k1", "none")),
    ],
    "loops": [
        *_advantages(
            loop_advantages, Advantage(ddof=0, **NO_EPS), Advantage(eps=1e-6), examples=10
        ),
        *_losses(
            loop_loss,
            Loss("sequence_mean_token_sum"),
            Loss(SEQUENCES, level="sequence", clip=(3e-4, 4e-4)),
            Loss("token_mean", "reinforce"),
            examples=10,
        ),
        *_aggregates(loop_aggregate, SEQUENCES, "sequence_mean_token_sum", examples=10),
    ],
    "NumPy": [
        *_advantages(
            numpy_advantages,
            Advantage(ddof=0, eps=1e-3, eps_placement="floored"),
            Advantage(ddof=0, eps=1e-6, eps_placement="floored"),  # which few rewards show
            RLOO,
        ),
        *_losses(
            numpy_loss,
            Loss(SEQUENCES),
            Loss("token_mean", dual_clip=3.0),
            Loss("constant", "cispo"),
            Loss("sequence_mean_token_sum", level="sequence"),
            Loss("padded_width"),
        ),
        *_aggregates(
            numpy_aggregate,
            "token_mean",
            SEQUENCES,
            "sequence_mean_token_sum",
            "constant",
            "padded_width",
            "token_sum",
        ),
        *_divergences(numpy_kl, *BY_VALUE, ("k3", "policy"), ("k1", "policy")),
    ],
    "JAX": [
        *_advantages(jax_advantages, Advantage(), DR_GRPO, examples=10),
        *_losses(
            jax_loss,
            Loss("constant"),
            Loss(SEQUENCES, beta=0.04),
            Loss(SEQUENCES, level="sequence"),
            examples=10,
        ),
        *_aggregates(jax_aggregate, "constant", "token_mean", examples=10),
        *_divergences(jax_kl, ("k3", "value"), ("k3", "policy"), examples=10),
    ],
    "matrices": [
        *_advantages(
            matrix_advantages,
            DR_GRPO,
            Advantage(ddof=0, eps=1e-4, eps_placement="in_variance"),
            Advantage(scale="batch_std"),
        ),
        *_losses(matrix_loss, Loss("token_mean"), Loss(SEQUENCES, "reinforce")),
    ],
    "scatter": [
        *_advantages(scatter_advantages, Advantage(eps=1e-6), RLOO),
        *_losses(scatter_loss, Loss(SEQUENCES), Loss(SEQUENCES, level="sequence")),
    ],
    "packed": [
        *_losses(
            packed_loss,
            Loss("token_mean", beta=0.04),
            Loss("token_mean", level="sequence"),
            Loss(SEQUENCES, level="sequence_token"),
        ),
        *_aggregates(packed_aggregate, "token_mean", SEQUENCES, "constant"),
    ],
    "log-space": [
        *_losses(log_space_loss, Loss("constant"), Loss("token_mean", dual_clip=3.0)),
        *_divergences(log_space_kl, *BY_VALUE, ("k3", "policy")),
    ],
    "where": _losses(
        where_loss,
        Loss("token_mean", **ABSOLUTE),
        Loss("token_mean", "cispo", **ABSOLUTE),
        Loss(SEQUENCES, dual_clip=3.0),
    ),
    "autograd.Function": [
        *_losses(
            function_loss,
            Loss("token_mean"),
            Loss("token_mean", "cispo"),
            Loss("sequence_mean_token_sum"),
        ),
        *_divergences(function_kl, ("k3", "value"), ("k3", "policy")),
    ],
    "torch.func": [
        *_losses(
            functional_loss,
            Loss("sequence_mean_token_sum"),
            Loss(SEQUENCES, level="sequence"),
            Loss("sequence_mean_token_sum", "reinforce"),
        ),
        *_divergences(functional_kl, *BY_VALUE),
    ],
    "float64 inside": [
        *_advantages(double_advantages, Advantage(), RLOO, DR_GRPO, dtypes=ALL_DTYPES),
        *_losses(double_loss, Loss("token_mean"), dtypes=ALL_DTYPES),
        *_aggregates(double_aggregate, "token_mean", SEQUENCES, dtypes=ALL_DTYPES),
    ],
    "sorted": [
        *_advantages(sorted_advantages, RLOO, DR_GRPO, Advantage(scale="centred_batch_std")),
        *_advantages(
            sorted_advantages,
            Advantage("batch_mean", "batch_std", ddof=0, eps=1e-6),
            lacks={"singleton": "its baseline is that of the batch: a group of one is like any"},
        ),
    ],
    "two paths": [
        *_twins(_advantages(double_advantages, RLOO), _advantages(scatter_advantages, RLOO)),
        *_twins(_losses(plain_loss, Loss(SEQUENCES)), _losses(scatter_loss, Loss(SEQUENCES))),
        *_twins(_aggregates(numpy_aggregate, SEQUENCES), _aggregates(loop_aggregate, SEQUENCES)),
        *_twins(_divergences(numpy_kl, *BY_VALUE[2:]), _divergences(plain_kl, *BY_VALUE[2:])),
    ],
    "Python": [
        *_advantages(
            python_advantages,
            Advantage(eps=1e-6, eps_placement="in_variance"),
            Advantage(ddof=0, **NO_EPS),
            dtypes=ALL_DTYPES,
        ),
        *_aggregates(python_aggregate, "constant", SEQUENCES),
        *_divergences(python_kl, *BY_VALUE),
    ],
}
