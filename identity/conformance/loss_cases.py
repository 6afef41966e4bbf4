"""Cases of losses and of their aggregation: ratio, clip, mask, padding, parts of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from identity.conformance import inputs
from identity.conformance.advantage_cases import unrecognised
from identity.conformance.batches import Answer, Losses, Tokens
from identity.conformance.context import (
    IN_FLOAT32,
    Context,
    Outcome,
    Raised,
    controlled,
    departs,
    traced,
)
from identity.conformance.conventions import NORMALISERS, AggregateConvention, LossConvention
from identity.conformance.deviations import DEVIATIONS, deviant_loss
from identity.conformance.expected import Expected
from identity.conformance.frameworks import DTYPES, epsilon, rounded
from identity.conformance.operation import CannotRun, Settings
from identity.conformance.recognise import matches, scaled
from identity.conformance.results import DIFFERS, EQUALS

__all__ = [
    "bf16_old",
    "clip",
    "divergence",
    "empty",
    "extremes",
    "holed",
    "masked_large",
    "masked_nan",
    "masked_rows",
    "micro_batches",
    "off_policy",
    "on_policy",
    "padding",
    "ranks",
    "sequence_ratio",
]


def _has_ref(context: Context) -> bool:
    return bool(context.operation.settings.beta)


def _strategy(context: Context, gap: int, sizes: tuple[int, int] = (3, 4)) -> Any:
    if context.operation.kind == "aggregate":
        return inputs.loss_batches(context.dtype)
    batches = inputs.token_batches(context.dtype, gap=gap, ref=_has_ref(context), sizes=sizes)
    return batches.filter(partial(_clear_of_bounds, context.operation.settings))


def _clear_of_bounds(settings: Settings, batch: Tokens) -> bool:
    """Whether rounding cannot decide if a ratio is clipped: no ratio is at a bound's last bits."""
    if settings.clip is None:
        return True
    low, high = settings.clip
    bounds = np.array([1 - low, 1 + low, 1 - high, 1 + high, low, high, settings.dual_clip or 1.0])
    gap = np.where(batch.mask, batch.logp - batch.old_logp, 0.0)
    whole = gap.sum(axis=1) / np.maximum(batch.mask.sum(axis=1), 1)
    ratios = np.exp(np.concatenate([gap.ravel(), whole]))
    near = np.abs(ratios[:, None] - bounds) <= 8 * epsilon(batch.dtype) * bounds
    return not np.any(near & (ratios[:, None] != 1.0))


def _compared(context: Context, case: str, theorem: str, gap: int, sizes: Any = (3, 4)) -> Outcome:
    """The operation against what it should be, over a search."""
    model = context.reference(case)
    if model is None:
        if case != "on_policy":
            raise CannotRun("no convention was recognised to hold it against")
        calibration = inputs.on_policy_calibration(context.dtype, _has_ref(context))[0]
        batch: Any = calibration
        if context.operation.kind == "aggregate":
            batch = Losses(calibration.logp, calibration.mask, context.dtype)
        return unrecognised(context, batch, theorem)
    aggregate = context.operation.kind == "aggregate"
    found = departs(
        context,
        _strategy(context, gap, sizes),
        model,
        theorem=theorem,
        convention=_aspect(context, case),
        factor=context.recognised.factor,
        reason=context.promise(case),
        also=() if aggregate or case == "on_policy" else _calibration(context),
    )
    if found.verdict == DIFFERS:
        return replace(found, convention=context.departure(case))
    return replace(found, convention=f"{found.convention}{_without_gradient(context)}")


def _calibration(context: Context) -> list[Tokens]:
    batches = inputs.loss_calibration(context.dtype, _has_ref(context))
    return [b for b in batches if _clear_of_bounds(context.operation.settings, b)]


def _without_gradient(context: Context) -> str:
    batch: Any = inputs.on_policy_calibration(context.dtype, _has_ref(context))[0]
    if context.operation.kind == "aggregate":
        batch = Losses(batch.logp, batch.mask, context.dtype)
    missing = context.run(batch).gradient is None
    return " (value only: no gradient comes with it)" if missing else ""


def _aspect(context: Context, case: str) -> str:
    """What of the convention a case is about."""
    convention = context.recognised.convention
    if not isinstance(convention, LossConvention):
        return str(convention)
    if case == "on_policy":
        return NORMALISERS[convention.normaliser]
    if case == "sequence_ratio":
        return convention.ratio
    if case == "divergence":
        return convention.divergence
    return convention.surrogate


# -- ratio and clip ------------------------------------------------------------------------------


def on_policy(context: Context) -> Outcome:
    """Ratio 1: value and gradient are those of the plain surrogate; or the weights of losses."""
    aggregate = context.operation.kind == "aggregate"
    return _compared(
        context, "on_policy", "surrogates.full-loss" if aggregate else "surrogates.on-policy", 0
    )


def off_policy(context: Context) -> Outcome:
    """Ratios from e⁻¹ to e."""
    return _compared(context, "off_policy", "surrogates.full-loss", 8)


def clip(context: Context) -> Outcome:
    """Ratios from e⁻³ to e³: what is clipped, and which clipped tokens keep a gradient."""
    convention = context.recognised.convention
    cispo = isinstance(convention, LossConvention) and convention.objective == "cispo"
    theorem = "surrogates.cispo-gradient" if cispo else "surrogates.clip-gradient"
    return _compared(context, "clip", theorem, 24, (2, 2))


def sequence_ratio(context: Context) -> Outcome:
    """One response of several tokens: a ratio for each, or one for all, and how long it counts."""
    convention = context.recognised.convention
    sequence = isinstance(convention, LossConvention) and convention.level != "token"
    theorem = "surrogates.gspo-length" if sequence else "surrogates.full-loss"
    found = _compared(context, "sequence_ratio", theorem, 8, (2, 4))
    summed = ("sequence_mean_token_sum", "constant", "token_sum", "padded_width")
    if (
        found.verdict == EQUALS
        and sequence
        and isinstance(convention, LossConvention)
        and convention.normaliser in summed
    ):
        return replace(found, verdict="equals ×", factor="L, the length of the response")
    return found


def bf16_old(context: Context) -> Outcome:
    """An unchanged policy, log-probabilities of all bits: the ratio is 1 to the last bits."""
    deviation = context.recognised.deviation
    plain = deviation is not None and deviation.case == "bf16_old"
    model = context.reference("bf16_old") if plain else context.recognised.model
    convention = context.recognised.convention
    if model is None or convention is None:
        raise CannotRun("no convention was recognised to hold it against")
    if not isinstance(convention, LossConvention) or convention.objective == "reinforce":
        raise CannotRun("it has no importance ratio")

    def fine(batch: Tokens) -> Tokens:
        logp = rounded(batch.logp * 1.1, batch.dtype)
        ref = None if batch.ref_logp is None else logp + (batch.ref_logp - batch.logp)
        return replace(batch, logp=logp, old_logp=logp, ref_logp=ref)

    strategy = inputs.token_batches(context.dtype, gap=0, ref=_has_ref(context), sizes=(2, 3)).map(
        fine
    )
    found = departs(
        context, strategy, model, theorem="surrogates.on-policy",
        convention="ratio 1 for an unchanged policy",
    )  # fmt: skip
    if found.verdict != DIFFERS:
        return replace(found, **_stored_in_bfloat16(context))
    for deviation in DEVIATIONS:
        if deviation.case != "bf16_old":
            continue

        def rounding(batch: Tokens, change: str = deviation.change) -> Expected:
            return deviant_loss(batch, convention, context.operation.settings, change)

        other = departs(context, strategy, rounding, theorem="", convention="")
        if other.verdict != DIFFERS:
            return replace(found, convention=deviation.name)
    return replace(found, convention="the ratio of an unchanged policy is not 1")


def _stored_in_bfloat16(context: Context) -> dict[str, Any]:
    """How far off the ratio is if the caller stores the old log-probabilities in bfloat16."""
    logp = -np.arange(1, 4001) / 1000
    old = rounded(logp, "bfloat16")
    off = float(np.max(np.abs(np.expm1(logp - old))))
    return {
        "factor_decimal": off,
        "factor_at": "largest |ratio − 1| over log π in [−4, 0], were log π_old stored in bfloat16",
    }


def divergence(context: Context) -> Outcome:
    """The divergence in a loss: its estimator, gradient, sign and weights."""
    if not _has_ref(context):
        raise CannotRun("it adds no divergence")
    return _compared(context, "divergence", "surrogates.kl-as-loss", 0)


def extremes(context: Context) -> Outcome:
    """Log-ratios of ±10, ±20 and ±30 in a loss: to the old policy, or to the reference."""
    model = context.recognised.model or context.reference("clip")
    if model is None:
        raise CannotRun("no convention was recognised to hold it against")
    reach = DTYPES[context.dtype][1] * np.log(2)
    sizes = [gap for gap in inputs.EXTREME_GAPS if gap < reach]
    batches = inputs.extreme_batches(context.dtype, sizes, _has_ref(context))
    what = "reference" if _has_ref(context) else "old policy"
    found = departs(
        context, st.sampled_from(batches), model, theorem="surrogates.full-loss",
        convention=f"the same at log-ratios up to ±{sizes[-1]:g} to the {what}",
        control=lambda batch: _tame_control(context, model),
    )  # fmt: skip
    if found.verdict != DIFFERS:
        return found
    wrong = []
    for batch in batches:
        other = batch.old_logp if batch.ref_logp is None else batch.ref_logp
        try:
            fits = matches(context.run(batch), model(batch), context.dtype)
        except Raised:
            fits = False
        if not fits:
            wrong.append(f"{float(batch.logp[0, 0] - other[0, 0]):g}")
    where = ", ".join(dict.fromkeys(wrong))
    return replace(found, convention=f"departs at log-ratios to the {what} of {where}")


def _tame_control(context: Context, model: Callable[[Any], Expected]) -> str:
    batch = inputs.extreme_batches(context.dtype, (0.5,), _has_ref(context))[0]
    fits = matches(context.run(batch), model(batch), context.dtype)
    return controlled(context.run, batch) if fits else ""


# -- mask and padding ----------------------------------------------------------------------------


def _poisoned(context: Context, poison: float, words: str) -> Outcome:
    fields: tuple[str, ...] = (
        ("loss",) if context.operation.kind == "aggregate" else ("logp", "old_logp")
    )
    if _has_ref(context):
        fields = (*fields, "ref_logp")
    fields = (*fields, "all") if len(fields) > 1 else fields

    @st.composite
    def masked(draw: Any) -> tuple[Any, Any]:
        batch = draw(_strategy(context, 8))
        if batch.mask.all():
            batch = _wider(batch, 1)
        field = draw(st.sampled_from(fields))
        names = fields[:-1] if field == "all" else (field,)
        values = {n: np.where(batch.mask, getattr(batch, n), poison) for n in names}
        return replace(batch, **values), batch

    def agrees(pair: tuple[Any, Any]) -> Answer:
        return context.run(pair[0])

    def clean(pair: tuple[Any, Any]) -> Expected:
        return _own(context.run(pair[1]))

    found = departs(
        context, masked(), clean, theorem="aggregation.padding",
        convention=f"the same with {words} under the mask", run=agrees,
        control=lambda pair: controlled(context.run, pair[1]),
    )  # fmt: skip
    if found.verdict == DIFFERS:
        found = replace(found, convention=f"{words} under the mask reaches the result")
    return found


def masked_nan(context: Context) -> Outcome:
    """NaN where the mask is 0: nothing may change."""
    return _poisoned(context, np.nan, "NaN")


def masked_large(context: Context) -> Outcome:
    """1e9 where the mask is 0: nothing may change."""
    return _poisoned(context, 1e9 if context.dtype != "float16" else 6e4, "1e9")


def _own(answer: Answer) -> Expected:
    """What the operation itself gave, as what is expected, to a few units in the last place."""
    size = np.abs(answer.value) + (0 if answer.gradient is None else np.abs(answer.gradient).max())
    gradient = answer.gradient
    steep = None if gradient is None else np.full_like(gradient, np.max(np.abs(gradient)))
    return Expected(answer.value, gradient, size * np.ones_like(answer.value), steep)


def _wider(batch: Any, columns: int) -> Any:
    """The same with masked columns at the end."""
    rows = len(batch.mask)

    def widened(values: Any, fill: float) -> Any:
        more = np.full((rows, columns), fill, values.dtype)
        return np.concatenate([values, more], axis=1)

    mask = widened(batch.mask, False)
    if isinstance(batch, Losses):
        return replace(batch, loss=widened(batch.loss, 1.0), mask=mask)
    ref = None if batch.ref_logp is None else widened(batch.ref_logp, -1.0)
    return replace(
        batch,
        logp=widened(batch.logp, -1.0),
        old_logp=widened(batch.old_logp, -1.0),
        mask=mask,
        ref_logp=ref,
    )


def padding(context: Context) -> Outcome:
    """More masked columns: nothing may change."""
    pairs = st.tuples(_strategy(context, 8), st.integers(1, 4))

    def original(pair: tuple[Any, int]) -> Expected:
        own = _own(context.run(pair[0]))
        if own.gradient is None or own.gradient_scale is None:
            return own
        room = np.pad(own.gradient_scale, ((0, 0), (0, pair[1])), mode="edge")
        return replace(
            own, gradient=np.pad(own.gradient, ((0, 0), (0, pair[1]))), gradient_scale=room
        )

    def widened(pair: tuple[Any, int]) -> Answer:
        return context.run(_wider(*pair))

    found = departs(
        context, pairs, original, theorem="aggregation.padding",
        convention="the same with wider padding", run=widened,
        control=lambda pair: controlled(context.run, pair[0]),
    )  # fmt: skip
    if found.verdict == DIFFERS:
        name = "depends on the padded width"
        found = replace(found, convention=name, theorem="aggregation.padded-width")
    return found


def holed(context: Context) -> Outcome:
    """Masks with holes and padding at the left, a token in every row."""
    model = context.recognised.model
    if model is None:
        raise CannotRun("no convention was recognised to hold it against")
    calibration = inputs.on_policy_calibration(context.dtype, _has_ref(context))[0]
    mask = calibration.mask.copy()
    mask[:, 0] = False
    batch: Any = replace(calibration, mask=mask)
    if context.operation.kind == "aggregate":
        batch = Losses(calibration.logp, mask, context.dtype)
    try:
        context.run(batch)
    except Raised:
        words = "a mask with padding at the left is refused"
        return Outcome(EQUALS, words, theorem="aggregation.padding")
    strategy = inputs.holed(_strategy(context, 8))
    if context.operation.kind == "loss":  # other tokens count now
        strategy = strategy.filter(partial(_clear_of_bounds, context.operation.settings))
    found = departs(
        context, strategy, model, theorem="aggregation.padding",
        convention="the same under any mask",
    )  # fmt: skip
    if found.verdict == DIFFERS:
        found = replace(found, convention="depends on where the masked tokens are")
    return found


def masked_rows(context: Context) -> Outcome:
    """A response without tokens beside others: does it count in B?"""
    model = context.recognised.model
    if model is None:
        raise CannotRun("no convention was recognised to hold it against")

    def emptied(batch: Any) -> Any:
        mask = np.concatenate([batch.mask, np.zeros((1, batch.mask.shape[1]), bool)])
        if isinstance(batch, Losses):
            return replace(batch, loss=np.concatenate([batch.loss, batch.loss[:1]]), mask=mask)
        return Tokens(
            np.concatenate([batch.logp, batch.logp[:1]]),
            np.concatenate([batch.old_logp, batch.old_logp[:1]]),
            np.concatenate([batch.advantages, [1.0]]),
            mask,
            None
            if batch.ref_logp is None
            else np.concatenate([batch.ref_logp, batch.ref_logp[:1]]),
            batch.dtype,
        )

    def dropped(batch: Any) -> Expected:
        kept = model(batch.rows(0, len(batch.mask) - 1))
        if kept.gradient is None or kept.gradient_scale is None:
            return kept
        room = np.pad(kept.gradient_scale, ((0, 1), (0, 0)), mode="edge")
        return replace(kept, gradient=np.pad(kept.gradient, ((0, 1), (0, 0))), gradient_scale=room)

    strategy = _strategy(context, 0).map(emptied)
    outcome = None
    for name, expected in (
        ("a response without tokens counts in B", model),
        ("a response without tokens is left out of B", dropped),
    ):
        outcome = departs(
            context, strategy, expected, theorem="aggregation.padding", convention=name
        )
        if outcome.verdict != DIFFERS:
            return (
                outcome
                if _counts_rows(context)
                else replace(outcome, convention="a response without tokens changes nothing")
            )
    assert outcome is not None
    return replace(outcome, convention=_what(outcome.got, "a response without tokens"))


def _counts_rows(context: Context) -> bool:
    convention = context.recognised.convention
    assert isinstance(convention, AggregateConvention | LossConvention)
    return convention.normaliser not in ("token_mean", "token_sum")


def _what(got: Any, subject: str) -> str:
    if isinstance(got, str):
        return f"{subject} raises an error"
    numbers = [np.asarray(v, np.float64) for v in got.values()]
    bad = any(not np.all(np.isfinite(v)) for v in numbers)
    return f"{subject} gives NaN" if bad else f"{subject} changes the result otherwise"


def empty(context: Context) -> Outcome:
    """No token at all: 0 with gradient 0, or a refusal, but no NaN."""
    calibration = inputs.on_policy_calibration(context.dtype, _has_ref(context))[1]
    nothing = np.zeros_like(calibration.mask)
    batch: Any = replace(calibration, mask=nothing)
    full: Any = calibration
    if context.operation.kind == "aggregate":
        batch = Losses(calibration.logp, nothing, context.dtype)
        full = Losses(calibration.logp, calibration.mask, context.dtype)
    try:
        answer = context.run(batch)
    except Raised:
        return Outcome(EQUALS, "a batch without tokens is refused", theorem="aggregation.padding")
    gradient = np.zeros(()) if answer.gradient is None else answer.gradient
    if not np.any(answer.value) and not np.any(gradient):
        return Outcome(EQUALS, "0 for a batch without tokens", theorem="aggregation.padding")
    snippet, got = traced(context.run, batch)
    zero = {"value": 0.0, "gradient": np.zeros_like(gradient).tolist()}
    return Outcome(
        DIFFERS, _what(got, "a batch without tokens"), theorem="aggregation.padding", input=snippet,
        expected=zero, got=got, control=controlled(context.run, full),
    )  # fmt: skip


# -- parts of a batch ----------------------------------------------------------------------------


def _split(context: Context, combine: Callable[[Sequence[Any]], Answer], part: str) -> Outcome:
    @st.composite
    def parted(draw: Any) -> tuple[Any, list[Any]]:
        batch = draw(_strategy(context, 8, (4, 4)).filter(lambda b: len(b.mask) > 1))
        rows = len(batch.mask)
        if context.operation.equal_parts:
            count = draw(st.sampled_from([n for n in (2, 3, 4) if rows % n == 0]))
            cuts = [rows // count * part for part in range(1, count)]
        else:
            count = draw(st.integers(2, min(3, rows)))
            cuts = sorted(draw(st.permutations(range(1, rows)))[: count - 1])
        edges = [0, *cuts, rows]
        return batch, [batch.rows(a, b) for a, b in pairwise(edges)]

    def combined(pair: tuple[Any, list[Any]]) -> Answer:
        try:
            return combine(pair[1])
        except CannotRun:
            raise
        except Exception as why:
            raise Raised(why) from why

    def whole(pair: tuple[Any, list[Any]]) -> Expected:
        return _own(context.run(pair[0]))

    mean = _is_mean_of_sequences(context)
    theorem = "aggregation.sequence-mean-split" if mean else "aggregation.split"
    found = departs(
        context, parted(), whole, theorem=theorem,
        convention=f"the whole batch's, from its {part}", run=combined,
        control=lambda pair: f"at once, {controlled(context.run, pair[0])}",
    )  # fmt: skip
    if found.verdict != DIFFERS:
        return found
    if found.reason == IN_FLOAT32:
        name = f"the whole batch's, from its {part}, to the precision of float32 only"
        return replace(found, convention=name)
    model = context.recognised.model
    readings: dict[str, Callable[[Any], Expected]] = {
        f"× {text}, of n {part}": partial(_by_power, whole, power)
        for text, power in (("1/n", -1), ("n", 1), ("1/n²", -2), ("n²", 2))
    }
    if model is not None:
        readings |= {
            f"mean of the {part}' own losses": lambda pair: _pieces(model, pair[1], mean=True),
            f"sum of the {part}' own losses": lambda pair: _pieces(model, pair[1], mean=False),
            f"mean of the {part}' own losses, divided by their number once more": lambda pair: (
                scaled(_pieces(model, pair[1], mean=True), 1 / len(pair[1]))
            ),
        }
    for name, reading in readings.items():
        other = departs(context, parted(), reading, theorem="", convention="", run=combined)
        if other.verdict != DIFFERS:
            return replace(found, convention=name)
    return replace(found, convention=f"not the whole batch's, from its {part}")


def _by_power(whole: Callable[[Any], Expected], power: int, pair: tuple[Any, Any]) -> Expected:
    return scaled(whole(pair), float(len(pair[1])) ** power)


def _pieces(model: Callable[[Any], Expected], parts: list[Any], mean: bool) -> Expected:
    """What the parts give by themselves, put together."""
    each = [model(part) for part in parts]
    number = 1 / len(each) if mean else 1.0
    gradients = [e.gradient for e in each if e.gradient is not None]
    scales = [e.gradient_scale for e in each if e.gradient_scale is not None]
    whole = Expected(
        np.asarray(sum(e.value for e in each)),
        np.concatenate(gradients),
        np.asarray(sum(e.value_scale for e in each)),
        np.concatenate(scales),
    )
    return scaled(whole, number)


def _is_mean_of_sequences(context: Context) -> bool:
    convention = context.recognised.convention
    return isinstance(
        convention, AggregateConvention | LossConvention
    ) and convention.normaliser.startswith("sequence_mean")


def micro_batches(context: Context) -> Outcome:
    """The batch in two or three micro-batches, of equal and unequal numbers of tokens."""
    if context.operation.micro_batches is None:
        raise CannotRun("the call sees one micro-batch: putting them together is its caller's")
    return _split(context, context.operation.micro_batches, "micro-batches")


def ranks(context: Context) -> Outcome:
    """The batch on two or three ranks, whose gradients are averaged."""
    if context.operation.ranks is None:
        raise CannotRun("the call sees one rank: putting them together is its caller's")
    return _split(context, context.operation.ranks, "ranks")
