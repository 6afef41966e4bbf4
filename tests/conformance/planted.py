"""Planted differences: correct implementations with one step changed, each to be found.

`SIGNS` says of each where it shows and what the report must name. The correct computation is
`advantages`, `policy_loss`, `aggregate` and `divergence` with the defaults; a planted one has
another function for one of the steps. The operations say what the correct ones compute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from identity.conformance.batches import Answer, Gaps, Losses, Rewards, Tokens
from identity.conformance.frameworks import torch_answer, torch_array, torch_values
from identity.conformance.operation import Operation, Settings

__all__ = ["CORRECT", "PLANTED", "SIGNS", "Planted"]

Step = Callable[..., Any]

# -- where each shows, and what the report must name ---------------------------------------------

_ANY_GROUPS = ("binary", "rewards")
_SHUFFLED = ("interleaved",)
_RAGGED_TOKENS = ("on_policy", "off_policy", "padding")
_RAGGED_LOSSES = ("on_policy", "padding")
_POISON = ("masked_nan", "masked_large")
_RATIOS = ("off_policy", "clip")
_KL = ("kl_values", "kl_gradient")

SIGNS: dict[str, tuple[tuple[str, ...], str]] = {
    # advantages
    "ddof 0 for 1": (_ANY_GROUPS, "ddof 0"),
    "ddof 1 for 0": (_ANY_GROUPS, "ddof 1"),
    "eps inside the root": (_ANY_GROUPS, "ε in the variance"),
    "eps as a floor": (_ANY_GROUPS, "ε as floor"),
    "eps 1e-4 for 1e-6": (_ANY_GROUPS, "0.0001"),
    "eps missing": (_ANY_GROUPS, "no ε"),
    "leave-one-out for the group mean": (_ANY_GROUPS, "leave-one-out mean"),
    "group mean for leave-one-out": (_ANY_GROUPS, "group mean"),
    "standardised twice": (_ANY_GROUPS, "1/σ"),
    "std of the batch": (("rewards", "ragged", "interleaved"), "batch std"),
    "not standardised": (_ANY_GROUPS, "reward − group mean"),
    "standardised where it should not be": (_ANY_GROUPS, "group std"),
    "mean of the batch": (("rewards", "ragged", "interleaved"), "batch mean"),
    "no baseline": (_ANY_GROUPS, "reward"),
    "median for mean": (_ANY_GROUPS, "none of the listed conventions"),
    "mean absolute deviation for std": (("rewards", "ragged"), "none of the listed conventions"),
    "sign of the advantage": (_ANY_GROUPS, "−1"),
    "advantages clipped": (_ANY_GROUPS, "none of the listed conventions"),
    "rewards cast to integers": (("rewards",), "none of the listed conventions"),
    "residue of equal rewards": (("unanimous",), "equal rewards"),
    "equal rewards over no eps": (("unanimous",), "equal rewards"),
    "group of one keeps its reward": (("singleton",), "group of one"),
    "group of one is NaN": (("singleton",), "group of one"),
    "groups cut to one size": (("ragged",), "reading of the groups"),
    "groups taken as consecutive": (_SHUFFLED, "group ids"),
    "rows left sorted by group": (_SHUFFLED, "order of the ids"),
    "one NaN reward spoils all groups": (("unscored",), "other groups"),
    "one path with ddof 0": (("two_paths",), "not the same as the other path"),
    # the mask
    "mask ignored in the numerator": (
        (*_RAGGED_TOKENS, *_POISON),
        "mask ignored in the numerator",
    ),
    "mask ignored in the denominator": (_RAGGED_TOKENS, "padded width"),
    "padded width for the constant": (_RAGGED_TOKENS, "padded width"),
    "padded width for the token means": (_RAGGED_TOKENS, "padded width"),
    "masked values times 0": (("masked_nan",), "NaN under the mask"),
    "no token at all": (("empty",), "a batch without tokens gives NaN"),
    "a response without tokens": (("masked_rows",), "a response without tokens gives NaN"),
    "mask shifted by one": (_RAGGED_TOKENS, "shifted by one position"),
    "first token dropped": (_RAGGED_TOKENS, "none of the listed conventions"),
    "loss times B": (_RAGGED_TOKENS, "token mean × B"),
    "loss over T again": (_RAGGED_TOKENS, "padded width"),
    "token sum for the token mean": (_RAGGED_TOKENS, "token sum"),
    "means of responses for the token mean": (
        _RAGGED_TOKENS,
        "mean over sequences of token means",
    ),
    "aggregate: mask ignored in the numerator": (
        (*_RAGGED_LOSSES, *_POISON),
        "mask ignored in the numerator",
    ),
    "aggregate: mask ignored in the denominator": (_RAGGED_LOSSES, "padded width"),
    "aggregate: padded width for the constant": (_RAGGED_LOSSES, "padded width"),
    "aggregate: padded width for the token means": (_RAGGED_LOSSES, "padded width"),
    "aggregate: masked values times 0": (("masked_nan",), "NaN under the mask"),
    "aggregate: no token at all": (("empty",), "a batch without tokens gives NaN"),
    "aggregate: a response without tokens": (
        ("masked_rows",),
        "a response without tokens gives NaN",
    ),
    "aggregate: mask shifted by one": (_RAGGED_LOSSES, "shifted by one position"),
    "aggregate: loss times B": (_RAGGED_LOSSES, "token mean × B"),
    "aggregate: one path by rows": (("two_paths",), "not the same as the other path"),
    # parts of a batch
    "mean of the token means of micro-batches": (("micro_batches",), "micro-batch"),
    "sum of the token means of micro-batches": (("micro_batches",), "micro-batch"),
    "accumulation divides twice": (("micro_batches",), "1/n"),
    "mean of the response means of micro-batches": (("micro_batches",), "micro-batch"),
    "aggregate: mean of the token means of micro-batches": (("micro_batches",), "micro-batch"),
    "number of processes missing": (("ranks",), "1/n"),
    "number of processes twice": (("ranks",), "× n"),
    "token mean of each process": (("ranks",), "ranks' own"),
    # ratio and clip
    "ratio inverted": (("on_policy", *_RATIOS), "ratio inverted"),
    "ratio always 1": (_RATIOS, "no ratio"),
    "old log-probabilities differentiated": (
        ("on_policy", *_RATIOS),
        "no gradient reaches the policy",
    ),
    "old log-probabilities in bfloat16": (("bf16_old",), "bfloat16"),
    "log-probabilities in float16": (("on_policy", "bf16_old", *_RATIOS), "float16"),
    "advantages along the tokens": (("on_policy", "off_policy"), "advantages laid along"),
    "advantages standardised again": (
        ("on_policy", "off_policy"),
        "none of the listed conventions",
    ),
    "sign of the loss": (("on_policy", "off_policy"), "−1"),
    "offsets read as bounds": (("on_policy", "clip"), "clipped to [low, high]"),
    "bounds read as offsets": (("clip",), "clipped to [1 − low, 1 + high]"),
    "bounds exchanged": (("clip",), "bounds exchanged"),
    "lower bound for both": (_RATIOS, "none of the listed surrogates"),
    "upper bound alone": (("clip",), "at most 1 + high"),
    "no clip": (("clip",), "ratio × advantage"),
    "clip without the minimum": (("clip",), "without the minimum"),
    "maximum for the minimum": (_RATIOS, "none of the listed surrogates"),
    "clipped tokens keep their gradient": (_RATIOS, "clipped tokens keep their gradient"),
    "dual clip of positive advantages": (("on_policy", "clip"), "advantage is positive"),
    "dual clip at −c": (("on_policy", "clip"), "sign of its bound reversed"),
    "dual clip missing": (("clip",), "PPO clip, token ratio"),
    "CISPO takes the minimum": (_RATIOS, "PPO clip"),
    "CISPO drops clipped tokens": (("clip",), "clipped tokens of CISPO lose their gradient"),
    "CISPO differentiates its ratio": (
        ("on_policy", "off_policy", "clip"),
        "ratio of CISPO differentiated",
    ),
    "CISPO without the log-probability": (("on_policy", "clip"), "with the value"),
    # the ratio of a sequence
    "sequence ratio of sums": (("on_policy", "sequence_ratio"), "summed over tokens"),
    "sequence ratio, losses summed": (_RAGGED_TOKENS, "mean over sequences of token sums"),
    "sequence ratio over the padded width": (("sequence_ratio", "padding"), "padded width"),
    "sequence ratio as mean of ratios": (
        ("sequence_ratio", "off_policy"),
        "none of the listed surrogates",
    ),
    "token ratio for that of the sequence": (("sequence_ratio", "off_policy"), "token ratio"),
    # the divergence in a loss
    "divergence over the padding": (("divergence",), "padded width"),
    "divergence subtracted": (("divergence",), "sign reversed"),
    "divergence as k1": (("divergence",), "plus β·(k1"),
    "divergence as k2": (("divergence",), "plus β·(k2"),
    "divergence from the policy's side": (("divergence",), "k3 of the inverse ratio"),
    "divergence without beta": (("divergence",), "without a weight β"),
    "divergence missing": (("divergence",), "divergence missing"),
    "divergence without a gradient": (("divergence",), "no gradient"),
    # the divergence itself
    "k1 for k3": (_KL, "k1"),
    "k3 of the inverse ratio": (_KL, "k3 of the inverse ratio"),
    "k2 without the half": (_KL, "twice k2"),
    "k1 with its sign reversed": (_KL, "k1 with the sign reversed"),
    "absolute log-ratio for k1": (_KL, "abs"),
    "gradient of k2 for k3": (("kl_gradient",), "log(π/π_ref)·∇log π"),
    "gradient of k3 for that of k2": (("kl_gradient",), "differentiated as it stands"),
    "gradient through the reference": (("kl_gradient",), "no gradient"),
    "log-ratio clamped to ±10": (("kl_extremes",), "without gradient"),
    "k3 clamped to ±10": (("kl_extremes",), "a plateau of 10"),
}


@dataclass(frozen=True)
class Planted:
    """An operation that is not what it says.

    Parameters
    ----------
    name : str
        Key of `SIGNS`.
    operation : Operation
        What is judged.
    cases : tuple of str
        In at least one of these it must be found.
    words : str
        What the report must name.
    twin : Operation, optional
        The one that `operation` names as its twin.
    """

    name: str
    operation: Operation
    cases: tuple[str, ...]
    words: str
    twin: Operation | None = None


CORRECT: list[Operation] = []  # the unchanged ones: in these, nothing is to be found
PLANTED: list[Planted] = []


def _plant(name: str, operation: Operation, twin: Operation | None = None) -> None:
    named = replace(operation, name=name, twin=None if twin is None else twin.name)
    PLANTED.append(Planted(name, named, *SIGNS[name], twin=twin))


# -- advantages ----------------------------------------------------------------------------------

EPS = 1e-4


def rows_of_groups(ids: Any) -> list[Any]:
    return [(ids == one).nonzero()[:, 0] for one in ids.unique()]


def centred(group: Any, batch: Any) -> Any:
    return group - group.mean()


def sample_std(values: Any, ddof: int = 1) -> Any:
    return ((values - values.mean()) ** 2).sum().div(len(values) - ddof).sqrt()


def std(group: Any, batch: Any) -> Any:
    return sample_std(group)


def added(spread: Any) -> Any:
    return spread + EPS


def one_value(group: Any) -> bool:
    return bool(group.max() == group.min())


def advantages(
    batch: Rewards,
    rows_of: Step = rows_of_groups,
    numerator: Step = centred,
    spread: Step = std,
    denominator: Step = added,
    silent: Step = one_value,
    final: Step = lambda advantages: advantages,
    read: Step = lambda rewards: rewards,
) -> Answer:
    rewards = read(torch_array(batch.rewards, batch.dtype))
    result = torch.zeros_like(rewards)
    for rows in rows_of(torch_array(batch.groups, "int64")):
        rows = rows[~rewards[rows].isnan()]
        group = rewards[rows]
        if len(group) and not silent(group):
            scored = rewards[~rewards.isnan()]
            result[rows] = numerator(group, scored) / denominator(spread(group, scored))
    return torch_values(final(result))


def _leave_one_out(group: Any, batch: Any) -> Any:
    return (group - group.mean()) * len(group) / (len(group) - 1)


GRPO = Operation(
    "grpo",
    "advantage",
    advantages,
    says={"baseline": "mean", "scale": "std", "ddof": 1, "eps": EPS, "eps_placement": "added"},
)
EXACT = replace(
    GRPO,
    name="grpo without eps",
    call=partial(advantages, spread=lambda g, b: sample_std(g, 0), denominator=lambda s: s),
    says={"baseline": "mean", "scale": "std", "ddof": 0, "eps_placement": "absent"},
)
SMALL_EPS = replace(
    GRPO,
    name="grpo with a smaller eps",
    call=partial(advantages, denominator=lambda spread: spread + 1e-6),
    says={**GRPO.says, "eps": 1e-6},
)
LARGE_EPS = replace(
    GRPO,
    name="grpo with a larger eps",
    call=partial(advantages, denominator=lambda spread: spread + 1e-2),
    says={**GRPO.says, "eps": 1e-2},
)
DR_GRPO = replace(
    GRPO,
    name="dr_grpo",
    call=partial(advantages, denominator=torch.ones_like),
    says={"baseline": "mean", "scale": "none"},
)
RLOO = replace(
    GRPO,
    name="rloo",
    call=partial(advantages, numerator=_leave_one_out, denominator=torch.ones_like),
    says={"baseline": "leave_one_out", "scale": "none"},
)
CORRECT += [GRPO, EXACT, SMALL_EPS, LARGE_EPS, DR_GRPO, RLOO]


def _by_cutting(ids: Any) -> list[Any]:
    return list(torch.arange(len(ids)).tensor_split(len(ids.unique())))


def _by_counting(ids: Any) -> list[Any]:
    """As many rows for each group as it has, but the next ones."""
    return list(torch.arange(len(ids)).split(ids.unique(return_counts=True)[1].tolist()))


def _left_sorted(batch: Rewards) -> Answer:
    answer = advantages(batch)
    return replace(answer, value=answer.value[np.argsort(batch.groups, kind="stable")])


def _means_by_matrix(batch: Rewards) -> Answer:
    """0 · NaN is NaN in the sums over the other groups."""
    rewards = torch_array(batch.rewards, batch.dtype)
    ids = torch_array(batch.groups, "int64")
    belongs = (ids[:, None] == ids.unique()).to(rewards.dtype)
    mean = belongs @ (rewards @ belongs / belongs.sum(0))
    return replace(advantages(batch), value=torch_values(rewards - mean).value)


def _residue(group: Any, batch: Any) -> Any:
    return group - group.sum() * (1 / len(group))


def _loops_or_not(batch: Rewards, ddof: int) -> Answer:
    return advantages(batch, spread=lambda group, _: sample_std(group, ddof))


for name, base, steps in (
    ("ddof 0 for 1", GRPO, {"spread": lambda g, b: sample_std(g, 0)}),
    ("ddof 1 for 0", EXACT, {"denominator": lambda s: s}),
    ("eps inside the root", GRPO, {"denominator": lambda s: (s**2 + EPS).sqrt()}),
    ("eps as a floor", LARGE_EPS, {"denominator": lambda s: s.clamp(min=1e-2)}),
    ("eps 1e-4 for 1e-6", SMALL_EPS, {}),
    ("eps missing", GRPO, {"denominator": lambda s: s}),
    ("leave-one-out for the group mean", DR_GRPO,
     {"numerator": _leave_one_out, "denominator": torch.ones_like}),
    ("group mean for leave-one-out", RLOO, {"denominator": torch.ones_like}),
    ("standardised twice", EXACT,
     {"spread": lambda g, b: sample_std(g, 0), "denominator": lambda s: s**2}),
    ("std of the batch", GRPO, {"spread": lambda g, b: sample_std(b)}),
    ("not standardised", GRPO, {"denominator": torch.ones_like}),
    ("standardised where it should not be", DR_GRPO, {}),
    ("mean of the batch", GRPO, {"numerator": lambda g, b: g - b.mean()}),
    ("no baseline", DR_GRPO, {"numerator": lambda g, b: g, "denominator": torch.ones_like}),
    ("median for mean", DR_GRPO,
     {"numerator": lambda g, b: g - g.median(), "denominator": torch.ones_like}),
    ("mean absolute deviation for std", GRPO,
     {"spread": lambda g, b: (g - g.mean()).abs().mean()}),
    ("sign of the advantage", GRPO, {"numerator": lambda g, b: g.mean() - g}),
    ("advantages clipped", GRPO, {"final": lambda a: a.clamp(-0.5, 0.5)}),
    ("rewards cast to integers", GRPO, {"read": lambda r: r.trunc()}),
    ("residue of equal rewards", SMALL_EPS,
     {"numerator": _residue, "silent": lambda g: len(g) < 2, "denominator": lambda s: s + 1e-6}),
    ("equal rewards over no eps", EXACT,
     {"silent": lambda g: len(g) < 2, "spread": lambda g, b: sample_std(g - g[0], 0),
      "numerator": lambda g, b: g - g[0] - (g - g[0]).mean(), "denominator": lambda s: s}),
    ("group of one keeps its reward", DR_GRPO,
     {"silent": lambda g: len(g) > 1 and one_value(g), "denominator": torch.ones_like,
      "numerator": lambda g, b: g - g.mean() * (len(g) > 1)}),
    ("group of one is NaN", GRPO, {"silent": lambda g: len(g) > 1 and one_value(g)}),
    ("groups cut to one size", GRPO, {"rows_of": _by_cutting}),
    ("groups taken as consecutive", GRPO, {"rows_of": _by_counting}),
):  # fmt: skip
    _plant(name, replace(base, call=partial(advantages, **steps)))
_plant("rows left sorted by group", replace(GRPO, call=_left_sorted))
_plant("one NaN reward spoils all groups", replace(DR_GRPO, call=_means_by_matrix))
_WITHOUT_DDOF = {name: word for name, word in GRPO.says.items() if name != "ddof"}
_plant(
    "one path with ddof 0",
    replace(GRPO, call=partial(_loops_or_not, ddof=0), says=_WITHOUT_DDOF),
    twin=replace(GRPO, name="the other path", says=_WITHOUT_DDOF),
)

# -- losses --------------------------------------------------------------------------------------

CLIP, CONSTANT, BETA, DUAL = (0.2, 0.28), 16.0, 0.04, 3.0
LOW, HIGH = 1 - CLIP[0], 1 + CLIP[1]


def zeroed(values: Any, mask: Any) -> Any:
    return torch.where(mask, values, 0.0)


def token_ratio(logp: Any, old: Any, mask: Any) -> Any:
    return torch.exp(logp - old)


def ppo_clip(ratio: Any, advantages: Any, logp: Any, low: float = LOW, high: float = HIGH) -> Any:
    return torch.min(ratio * advantages, ratio.clamp(low, high) * advantages)


def dual_clip(ratio: Any, advantages: Any, logp: Any) -> Any:
    gain = ppo_clip(ratio, advantages, logp)
    return torch.where(advantages < 0, torch.max(gain, DUAL * advantages), gain)


def cispo(ratio: Any, advantages: Any, logp: Any) -> Any:
    return ratio.clamp(LOW, HIGH).detach() * advantages * logp


def k3(logp: Any, ref: Any) -> Any:
    return torch.exp(ref - logp) - (ref - logp) - 1


def token_mean(losses: Any, mask: Any) -> Any:
    return losses.sum() / mask.sum().clamp(min=1)


def response_mean(losses: Any, mask: Any) -> Any:
    return (losses.sum(1) / mask.sum(1).clamp(min=1)).mean()


def response_sum(losses: Any, mask: Any) -> Any:
    return losses.sum(1).mean()


def constant(losses: Any, mask: Any) -> Any:
    return losses.sum() / (len(losses) * CONSTANT)


def penalised(losses: Any, divergence: Any, mask: Any, reduce: Step) -> Any:
    return reduce(zeroed(losses + BETA * divergence, mask), mask)


def policy_loss(
    batch: Tokens,
    clean: Step = zeroed,
    read: Step = lambda logp: logp,
    read_old: Step = lambda old, logp: old,
    lay: Step = lambda advantages, shape: advantages[:, None].expand(shape),
    ratio: Step = token_ratio,
    gain: Step = ppo_clip,
    divergence: Step = k3,
    penalise: Step = penalised,
    count: Step = lambda mask: mask,
    drop: Step = zeroed,
    reduce: Step = token_mean,
) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    mask = torch_array(batch.mask, "bool")
    logp = clean(read(leaf), mask)
    old = clean(read_old(torch_array(batch.old_logp, batch.dtype), leaf), mask)
    advantages = clean(lay(torch_array(batch.advantages, batch.dtype), leaf.shape), mask)
    losses = -gain(ratio(logp, old, mask), advantages, logp)
    mask = count(mask)
    if batch.ref_logp is None:
        return torch_answer(leaf, reduce(drop(losses, mask), mask))
    ref = clean(torch_array(batch.ref_logp, batch.dtype), mask)
    return torch_answer(leaf, penalise(losses, divergence(logp, ref), mask, reduce))


def sequence_ratio(logp: Any, old: Any, mask: Any, count: Any = None) -> Any:
    count = mask.sum(1, keepdim=True).clamp(min=1) if count is None else count
    return torch.exp((logp - old).sum(1, keepdim=True) / count).expand_as(logp)


def _sum_over(tokens: int) -> Step:
    return lambda losses, mask: losses.sum() / tokens


def _tokens_of(parts: Sequence[Any]) -> int:
    return max(sum(int(part.mask.sum()) for part in parts), 1)


def _together(answers: Sequence[Answer], factor: float = 1.0) -> Answer:
    """The sum of the values and all rows of the gradients, times a factor."""
    value = np.asarray(sum(answer.value for answer in answers))
    gradient = np.concatenate([np.asarray(answer.gradient) for answer in answers])
    return Answer(value * factor, gradient * factor, answers[0].dtype)


def _accumulated(parts: Sequence[Any], call: Step = policy_loss) -> Answer:
    tokens = _tokens_of(parts)
    return _together([call(part, reduce=_sum_over(tokens)) for part in parts])


def _averaged(parts: Sequence[Any], call: Step = policy_loss) -> Answer:
    """Gradients are averaged over processes: each divides by its share of all tokens."""
    share = _tokens_of(parts) / len(parts)
    return _together([call(part, reduce=_sum_over(share)) for part in parts], 1 / len(parts))


def _loss(name: str, says: dict[str, object], settings: dict[str, Any], **steps: Any) -> Operation:
    return Operation(
        name,
        "loss",
        partial(policy_loss, **steps),
        settings=Settings(**{"clip": CLIP, **settings}),
        says={"objective": "ppo_clip", "level": "token", "bounds": "offset", **says},
    )


TOKEN_MEAN = replace(
    _loss("ppo", {"normaliser": "token_mean", "dual_clip": False}, {}),
    micro_batches=_accumulated,
    ranks=_averaged,
)
RESPONSES: dict[str, object] = {"normaliser": "sequence_mean_token_mean", "dual_clip": False}
MEANS = _loss("grpo", RESPONSES, {}, reduce=response_mean)
PENALISED = _loss(
    "grpo+kl", {**RESPONSES, "kl_estimator": "k3"}, {"beta": BETA}, reduce=response_mean
)
PER_CONSTANT = _loss(
    "dr_grpo", {"normaliser": "constant", "dual_clip": False}, {"constant": CONSTANT},
    reduce=constant,
)  # fmt: skip
SUMS = _loss(
    "ppo of sums", {"normaliser": "sequence_mean_token_sum", "dual_clip": False}, {},
    reduce=response_sum,
)  # fmt: skip
DUAL_CLIP = _loss(
    "dual clip", {"normaliser": "token_mean", "dual_clip": True}, {"dual_clip": DUAL},
    gain=dual_clip,
)  # fmt: skip
ABSOLUTE = _loss(
    "ppo, absolute", {"normaliser": "token_mean", "dual_clip": False, "bounds": "absolute"},
    {"clip": (LOW, HIGH)},
)  # fmt: skip
CISPO = _loss("cispo", {"normaliser": "token_mean", "objective": "cispo"}, {}, gain=cispo)
GSPO = _loss(
    "gspo", {**RESPONSES, "level": "sequence"}, {}, ratio=sequence_ratio, reduce=response_mean
)
CORRECT += [TOKEN_MEAN, MEANS, PENALISED, PER_CONSTANT, SUMS, DUAL_CLIP, ABSOLUTE, CISPO, GSPO]


def _shifted(mask: Any) -> Any:
    return torch.cat([torch.zeros_like(mask[:, :1]), mask[:, :-1]], 1)


def _without_first(mask: Any) -> Any:
    return torch.cat([torch.zeros_like(mask[:, :1]), mask[:, 1:]], 1)


def _times(values: Any, mask: Any) -> Any:
    return values * mask


def _as_they_are(values: Any, mask: Any) -> Any:
    return values


def _bfloat16(old: Any, logp: Any) -> Any:
    return old.bfloat16().to(old.dtype)


def _whitened(advantages: Any, shape: Any) -> Any:
    spread = sample_std(advantages, 0) + 1e-8
    return ((advantages - advantages.mean()) / spread)[:, None].expand(shape)


def _bounded(low: float, high: float) -> Step:
    return partial(ppo_clip, low=low, high=high)


def _kept_gradient(ratio: Any, advantages: Any, logp: Any) -> Any:
    """The clip is in the value alone."""
    return ratio * advantages + (ppo_clip(ratio, advantages, logp) - ratio * advantages).detach()


def _dual_of_positive(ratio: Any, advantages: Any, logp: Any) -> Any:
    gain = ppo_clip(ratio, advantages, logp)
    return torch.where(advantages > 0, torch.max(gain, DUAL * advantages), gain)


def _dual_negated(ratio: Any, advantages: Any, logp: Any) -> Any:
    gain = ppo_clip(ratio, advantages, logp)
    return torch.where(advantages < 0, torch.max(gain, -DUAL * advantages), gain)


def _cispo_by_minimum(ratio: Any, advantages: Any, logp: Any) -> Any:
    kept = ppo_clip(ratio, advantages, logp) == ratio * advantages
    return cispo(ratio, advantages, torch.where(kept, logp, logp.detach()))


def _cispo_inside(ratio: Any, advantages: Any, logp: Any) -> Any:
    inside = (ratio >= LOW) & (ratio <= HIGH)
    return cispo(ratio, advantages, torch.where(inside, logp, logp.detach()))


def _mean_ratio(logp: Any, old: Any, mask: Any) -> Any:
    ratios = torch.where(mask, torch.exp(logp - old), 0.0)
    return (ratios.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)).expand_as(logp)


def _over_padding(losses: Any, divergence: Any, mask: Any, reduce: Step) -> Any:
    return reduce(zeroed(losses, mask), mask) + BETA * zeroed(divergence, mask).mean()


for name, base, steps in (
    ("mask ignored in the numerator", TOKEN_MEAN, {"clean": _as_they_are, "drop": _as_they_are}),
    ("mask ignored in the denominator", TOKEN_MEAN, {"reduce": lambda x, m: x.mean()}),
    ("padded width for the constant", PER_CONSTANT, {"reduce": lambda x, m: x.mean()}),
    ("padded width for the token means", MEANS, {"reduce": lambda x, m: x.mean(1).mean()}),
    ("masked values times 0", TOKEN_MEAN, {"clean": _as_they_are, "drop": _times}),
    ("no token at all", TOKEN_MEAN, {"reduce": lambda x, m: x.sum() / m.sum()}),
    ("a response without tokens", MEANS, {"reduce": lambda x, m: (x.sum(1) / m.sum(1)).mean()}),
    ("mask shifted by one", TOKEN_MEAN, {"count": _shifted, "clean": _as_they_are}),
    ("first token dropped", TOKEN_MEAN, {"count": _without_first}),
    ("loss times B", TOKEN_MEAN, {"reduce": lambda x, m: token_mean(x, m) * len(x)}),
    ("loss over T again", SUMS, {"reduce": lambda x, m: response_sum(x, m) / x.shape[1]}),
    ("token sum for the token mean", TOKEN_MEAN, {"reduce": lambda x, m: x.sum()}),
    ("means of responses for the token mean", TOKEN_MEAN, {"reduce": response_mean}),
    ("ratio inverted", TOKEN_MEAN, {"ratio": lambda p, q, m: torch.exp(q - p)}),
    ("ratio always 1", TOKEN_MEAN, {"read_old": lambda old, logp: logp.detach()}),
    ("old log-probabilities differentiated", TOKEN_MEAN,
     {"read_old": lambda old, logp: old + (logp - logp.detach())}),
    ("old log-probabilities in bfloat16", TOKEN_MEAN, {"read_old": _bfloat16}),
    ("log-probabilities in float16", TOKEN_MEAN,
     {"read": lambda p: p.half().to(p.dtype), "read_old": lambda q, p: q.half().to(q.dtype)}),
    ("advantages along the tokens", TOKEN_MEAN,
     {"lay": lambda a, shape: a.repeat(shape[1]).view(shape)}),
    ("advantages standardised again", TOKEN_MEAN, {"lay": _whitened}),
    ("sign of the loss", TOKEN_MEAN, {"gain": lambda r, a, p: -ppo_clip(r, a, p)}),
    ("offsets read as bounds", TOKEN_MEAN, {"gain": _bounded(*CLIP)}),
    ("bounds read as offsets", ABSOLUTE, {"gain": _bounded(1 - LOW, 1 + HIGH)}),
    ("bounds exchanged", TOKEN_MEAN, {"gain": _bounded(1 - CLIP[1], 1 + CLIP[0])}),
    ("lower bound for both", TOKEN_MEAN, {"gain": _bounded(LOW, 1 + CLIP[0])}),
    ("upper bound alone", TOKEN_MEAN, {"gain": _bounded(0.0, HIGH)}),
    ("no clip", TOKEN_MEAN, {"gain": _bounded(0.0, math.inf)}),
    ("clip without the minimum", TOKEN_MEAN, {"gain": lambda r, a, p: r.clamp(LOW, HIGH) * a}),
    ("maximum for the minimum", TOKEN_MEAN,
     {"gain": lambda r, a, p: torch.max(r * a, r.clamp(LOW, HIGH) * a)}),
    ("clipped tokens keep their gradient", TOKEN_MEAN, {"gain": _kept_gradient}),
    ("dual clip of positive advantages", DUAL_CLIP, {"gain": _dual_of_positive}),
    ("dual clip at −c", DUAL_CLIP, {"gain": _dual_negated}),
    ("dual clip missing", DUAL_CLIP, {}),
    ("CISPO takes the minimum", CISPO, {"gain": _cispo_by_minimum}),
    ("CISPO drops clipped tokens", CISPO, {"gain": _cispo_inside}),
    ("CISPO differentiates its ratio", CISPO, {"gain": lambda r, a, p: r.clamp(LOW, HIGH) * a * p}),
    ("CISPO without the log-probability", CISPO,
     {"gain": lambda r, a, p: r.clamp(LOW, HIGH).detach() * a * torch.exp(p - p.detach())}),
    ("sequence ratio of sums", GSPO,
     {"ratio": partial(sequence_ratio, count=1), "reduce": response_mean}),
    ("sequence ratio, losses summed", GSPO, {"ratio": sequence_ratio, "reduce": response_sum}),
    ("sequence ratio over the padded width", GSPO,
     {"ratio": lambda p, q, m: sequence_ratio(p, q, m, m.shape[1]), "reduce": response_mean}),
    ("sequence ratio as mean of ratios", GSPO, {"ratio": _mean_ratio, "reduce": response_mean}),
    ("token ratio for that of the sequence", GSPO, {"reduce": response_mean}),
    ("divergence over the padding", PENALISED,
     {"penalise": _over_padding, "reduce": response_mean}),
    ("divergence subtracted", PENALISED,
     {"divergence": lambda p, q: -k3(p, q), "reduce": response_mean}),
    ("divergence as k1", PENALISED, {"divergence": lambda p, q: p - q, "reduce": response_mean}),
    ("divergence as k2", PENALISED,
     {"divergence": lambda p, q: (p - q) ** 2 / 2, "reduce": response_mean}),
    ("divergence from the policy's side", PENALISED,
     {"divergence": lambda p, q: k3(-p, -q), "reduce": response_mean}),
    ("divergence without beta", PENALISED,
     {"divergence": lambda p, q: k3(p, q) / BETA, "reduce": response_mean}),
    ("divergence missing", PENALISED,
     {"divergence": lambda p, q: torch.zeros_like(p), "reduce": response_mean}),
    ("divergence without a gradient", PENALISED,
     {"divergence": lambda p, q: k3(p, q).detach(), "reduce": response_mean}),
):  # fmt: skip
    # Parts of a batch are for the next ones.
    _plant(name, replace(base, call=partial(policy_loss, **steps), micro_batches=None, ranks=None))

# -- parts of a batch ----------------------------------------------------------------------------


def _in_parts(parts: Sequence[Any], call: Step, factor: Step, **steps: Any) -> Answer:
    """Each part by itself, the sum of all times a factor of their number."""
    return _together([call(part, **steps) for part in parts], factor(len(parts)))


def _local(factor: Step, call: Step = policy_loss, **steps: Any) -> Step:
    return partial(_in_parts, call=call, factor=factor, **steps)


for name, of_parts in (
    ("mean of the token means of micro-batches", _local(lambda n: 1 / n)),
    ("sum of the token means of micro-batches", _local(lambda n: 1)),
    ("accumulation divides twice", lambda p: _together([_accumulated(p)], 1 / len(p))),
):
    _plant(name, replace(TOKEN_MEAN, micro_batches=of_parts))
for name, of_parts in (
    ("number of processes missing", lambda p: _together([_averaged(p)], 1 / len(p))),
    ("number of processes twice", lambda p: _together([_averaged(p)], len(p))),
    ("token mean of each process", _local(lambda n: 1 / n)),
):
    _plant(name, replace(TOKEN_MEAN, ranks=of_parts))
_plant(
    "mean of the response means of micro-batches",
    replace(MEANS, micro_batches=_local(lambda n: 1 / n, reduce=response_mean)),
)

# -- aggregation ---------------------------------------------------------------------------------


def aggregate(
    batch: Losses,
    count: Step = lambda mask: mask,
    drop: Step = zeroed,
    reduce: Step = token_mean,
) -> Answer:
    leaf = torch_array(batch.loss, batch.dtype, leaf=True)
    mask = count(torch_array(batch.mask, "bool"))
    return torch_answer(leaf, reduce(drop(leaf, mask), mask))


def _aggregate(normaliser: str, reduce: Step) -> Operation:
    return Operation(
        f"aggregate({normaliser})",
        "aggregate",
        partial(aggregate, reduce=reduce),
        settings=Settings(constant=CONSTANT),
        says={"normaliser": normaliser},
    )


ALL_TOKENS = replace(
    _aggregate("token_mean", token_mean),
    micro_batches=partial(_accumulated, call=aggregate),
    ranks=partial(_averaged, call=aggregate),
)
ALL_RESPONSES = _aggregate("sequence_mean_token_mean", response_mean)
OVER_CONSTANT = _aggregate("constant", constant)
CORRECT += [
    ALL_TOKENS,
    ALL_RESPONSES,
    OVER_CONSTANT,
    _aggregate("sequence_mean_token_sum", response_sum),
]

for name, base, steps in (
    ("mask ignored in the numerator", ALL_TOKENS, {"drop": _as_they_are}),
    ("mask ignored in the denominator", ALL_TOKENS, {"reduce": lambda x, m: x.mean()}),
    ("padded width for the constant", OVER_CONSTANT, {"reduce": lambda x, m: x.mean()}),
    ("padded width for the token means", ALL_RESPONSES, {"reduce": lambda x, m: x.mean(1).mean()}),
    ("masked values times 0", ALL_TOKENS, {"drop": _times}),
    ("no token at all", ALL_TOKENS, {"reduce": lambda x, m: x.sum() / m.sum()}),
    ("a response without tokens", ALL_RESPONSES,
     {"reduce": lambda x, m: (x.sum(1) / m.sum(1)).mean()}),
    ("mask shifted by one", ALL_TOKENS, {"count": _shifted}),
    ("loss times B", ALL_TOKENS, {"reduce": lambda x, m: token_mean(x, m) * len(x)}),
):  # fmt: skip
    changed = replace(base, call=partial(aggregate, **steps), micro_batches=None, ranks=None)
    _plant(f"aggregate: {name}", changed)
_plant(
    "aggregate: mean of the token means of micro-batches",
    replace(ALL_TOKENS, micro_batches=_local(lambda n: 1 / n, aggregate)),
)
_plant(
    "aggregate: one path by rows",
    replace(ALL_TOKENS, call=partial(aggregate, reduce=response_mean), says={}),
    twin=replace(ALL_TOKENS, name="the other path", says={}),
)

# -- divergence ----------------------------------------------------------------------------------


def divergence(batch: Gaps, estimate: Step = k3) -> Answer:
    leaf = torch_array(batch.logp, batch.dtype, leaf=True)
    return torch_answer(leaf, estimate(leaf, torch_array(batch.ref_logp, batch.dtype)))


def k1(logp: Any, ref: Any) -> Any:
    return logp - ref


def k2(logp: Any, ref: Any) -> Any:
    return (logp - ref) ** 2 / 2


def k3_like_k2(logp: Any, ref: Any) -> Any:
    return (k3(logp, ref) - k2(logp, ref)).detach() + k2(logp, ref)


def _kl(estimate: Step, estimator: str, gradient: str = "value") -> Operation:
    return Operation(
        f"kl({estimator}, {gradient})",
        "kl",
        partial(divergence, estimate=estimate),
        says={"estimator": estimator, "gradient": gradient},
    )


K1, K2, K3 = _kl(k1, "k1"), _kl(k2, "k2"), _kl(k3, "k3")
K3_POLICY = _kl(k3_like_k2, "k3", "policy")
CORRECT += [K1, K2, K3, K3_POLICY]

for name, base, estimate in (
    ("k1 for k3", K3, k1),
    ("k3 of the inverse ratio", K3, lambda p, q: k3(-p, -q)),
    ("k2 without the half", K2, lambda p, q: (p - q) ** 2),
    ("k1 with its sign reversed", K1, lambda p, q: q - p),
    ("absolute log-ratio for k1", K1, lambda p, q: (p - q).abs()),
    ("gradient of k2 for k3", K3, k3_like_k2),
    ("gradient of k3 for that of k2", K3_POLICY, k3),
    # As of a reference that shares the policy's weights and was not detached.
    ("gradient through the reference", K3, lambda p, q: k3(p, q + (p - p.detach()))),
    ("log-ratio clamped to ±10", K3, lambda p, q: k3((p - q).clamp(-10, 10), torch.zeros_like(q))),
    ("k3 clamped to ±10", K3, lambda p, q: k3(p, q).clamp(-10, 10)),
):
    _plant(name, replace(base, call=partial(divergence, estimate=estimate)))

assert [one.name for one in PLANTED] == list(dict.fromkeys(one.name for one in PLANTED))
assert {one.name for one in PLANTED} == set(SIGNS)
