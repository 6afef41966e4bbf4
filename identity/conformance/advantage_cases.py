"""Cases of advantages: the factor on σΔs, equal rewards, odd groups, ids, missing rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from identity.conformance import factors, inputs
from identity.conformance.batches import Floats, Rewards
from identity.conformance.context import (
    Context,
    Outcome,
    Raised,
    controlled,
    departs,
    described,
    traced,
)
from identity.conformance.conventions import AdvantageConvention
from identity.conformance.expected import Expected
from identity.conformance.frameworks import epsilon
from identity.conformance.operation import CannotRun
from identity.conformance.recognise import matches, precision
from identity.conformance.results import DIFFERS, EQUALS, EQUALS_TIMES

__all__ = ["binary", "interleaved", "ragged", "rewards", "singleton", "unanimous", "unscored"]


def _theorem(context: Context) -> str:
    convention = context.recognised.convention
    if not isinstance(convention, AdvantageConvention):
        return "groups.identity"
    if convention.scale == "none":
        return {"leave_one_out": "groups.rloo", "none": "groups.baseline-invariance"}.get(
            convention.baseline, "groups.dr-grpo"
        )
    return "groups.as-implemented" if convention.ddof or convention.eps else "groups.identity"


def _convention(context: Context) -> AdvantageConvention:
    convention = context.recognised.convention
    assert isinstance(convention, AdvantageConvention)
    return convention


# -- the factor on σΔs ---------------------------------------------------------------------------


def binary(context: Context) -> Outcome:
    """k of G correct: A_i is a factor times the standardised reward (R_i − p)/σ; which one?"""
    sizes, counts, measured, rooms = [], [], [], []
    for size in inputs.GROUP_SIZES:
        for k in range(1, size):
            batch = inputs.binary_rewards(size, k, context.dtype)
            try:
                found = _direction(context, batch)
            except CannotRun:
                raise
            except Raised as why:
                raise CannotRun(f"{type(why.__cause__).__name__}: {why.__cause__}") from why
            if isinstance(found, Outcome):
                return found
            sizes.append(size)
            counts.append(k)
            measured.append(found[0])
            rooms.append(found[1])
    size_, k_ = np.asarray(sizes, np.float64), np.asarray(counts, np.float64)
    form = factors.fit(size_, k_, np.asarray(measured), np.asarray(rooms))
    theorem = _theorem(context)
    promised = _promised_factor(context)
    if promised is not None:
        return promised
    if form is None and _is_predicted(context):
        words = context.name()
        return Outcome(EQUALS, words, theorem=theorem, reason="no closed form is listed for it")
    if form is None:
        table = dict(zip(zip(sizes, counts, strict=True), measured, strict=True))
        return Outcome(
            DIFFERS, "a factor on σΔs that no listed closed form gives", theorem=theorem,
            got={f"G={g}, k={k}": v for (g, k), v in list(table.items())[:8]},
            reason="the advantages are parallel to the standardised rewards",
        )  # fmt: skip
    if form.text == "1":
        return Outcome(EQUALS, "σΔs", theorem=theorem)
    where = np.asarray([8.0]), np.asarray([1.0])
    off = float(np.max(np.abs(form.at(size_, k_) / np.asarray(measured) - 1)))
    return Outcome(
        EQUALS_TIMES, "σΔs", str(form), float(form.at(*where)[0]), "G = 8, k = 1", theorem,
        reason=f"at most {off:.1e} from the closed form, relatively, in {len(sizes)} groups",
    )  # fmt: skip


def _is_predicted(context: Context) -> bool:
    """Whether what it was recognised as gives these values too."""
    model = context.recognised.model
    batches = [inputs.binary_rewards(g, k, context.dtype) for g in (4, 8, 64) for k in (1, g - 1)]
    return model is not None and all(
        matches(context.run(batch), model(batch), context.dtype) for batch in batches
    )


def _direction(context: Context, batch: Rewards) -> tuple[float, float] | Outcome:
    """The factor and how well it is known; or where the advantages point elsewhere."""
    size, k = len(batch.rewards), float(batch.rewards.sum())
    sigma = np.sqrt(k * (size - k)) / size
    ideal = (batch.rewards - k / size) / sigma
    answer = context.run(batch).value
    factor = float(answer @ ideal / (ideal @ ideal))
    rest = np.max(np.abs(answer - factor * ideal)) / max(abs(factor), 1e-300)
    kept = precision(context.dtype, context.run(batch).dtype)
    room = (16 + size / 4) * epsilon(kept) * float(np.max(np.abs(ideal)))
    if not rest <= 2 * room:  # true for NaN
        snippet, got = traced(context.run, batch)
        return Outcome(
            DIFFERS,
            str(context.recognised)
            if context.recognised.convention is not None
            else "advantages that are not parallel to the standardised rewards",
            theorem="groups.identity",
            input=snippet,
            expected={"value": (factor * ideal).tolist()},
            got=got,
            control=_some_control(context, [inputs.binary_rewards(2, 1, context.dtype)]),
            reason="no multiple of (R − p)/σ, so the update is no multiple of σΔs",
        )
    return factor, room * abs(factor)


def _promised_factor(context: Context) -> Outcome | None:
    broken = context.broken_promises("binary")
    if not broken or context.reference("binary") is None:
        return None
    return rewards(context, case="binary")


def _some_control(context: Context, batches: list[Rewards]) -> str | None:
    """Of these, one on which the operation gives what it was recognised as."""
    model = context.recognised.model
    for batch in batches:
        try:
            if model is None:
                continue
            if matches(context.run(batch), model(batch), context.dtype):
                return controlled(context.run, batch)
        except (Raised, CannotRun):
            continue
    return None


# -- values --------------------------------------------------------------------------------------


def rewards(context: Context, case: str = "rewards") -> Outcome:
    """Groups of real rewards: the values of a convention."""
    model = context.reference(case)
    theorem = "groups.real-rewards" if case == "rewards" else _theorem(context)
    if model is None:
        return unrecognised(context, inputs.advantage_calibration(context.dtype)[0], theorem)
    found = departs(
        context,
        inputs.reward_batches(context.dtype, shifted=True),
        model,
        theorem=theorem,
        convention=str(context.recognised),
        factor=context.recognised.factor,
        reason=context.promise(case),
    )
    if found.verdict == DIFFERS:
        found = replace(found, convention=context.departure(case))
    return found


def unrecognised(context: Context, batch: Any, theorem: str) -> Outcome:
    """Nothing in the tables fits: the call and what came out."""
    snippet, got = traced(context.run, batch)
    return Outcome(
        DIFFERS, "none of the listed conventions", theorem=theorem, input=snippet, got=got,
        reason="no entry of the tables of conventions and departures gives these values",
    )  # fmt: skip


def unanimous(context: Context) -> Outcome:
    """Equal rewards that are no dyadic fractions: exactly 0, and no NaN."""
    if _is_raw(context):
        raise CannotRun("it subtracts no baseline, so equal rewards stay as they are")

    model = context.recognised.model
    mixed = model is not None and not _spans_batch(context)
    mixed = mixed and "rewards" not in context.operation.lacks  # which takes one group at a time

    def zero(batch: Rewards) -> Expected:
        equal = batch.groups == 0
        if equal.all() or model is None:
            nothing = np.zeros_like(batch.rewards)
            return Expected(nothing, None, nothing, None)
        whole = model(batch)
        room = np.where(equal, 0.0, whole.value_scale)
        return Expected(np.where(equal, 0.0, whole.value), None, room, None)

    plain = inputs.binary_rewards(4, 4, context.dtype)
    found = departs(
        context,
        inputs.unanimous_rewards(context.dtype, beside=mixed),
        zero,
        theorem="groups.unanimous-rounding",
        convention="exactly 0 for equal rewards",
        control=lambda batch: _zero_control(context, plain) or "",
    )
    if found.verdict != DIFFERS:
        return found
    values = found.got["value"] if isinstance(found.got, dict) else None
    if values is None:
        name = "equal rewards raise an error"
    elif not np.all(np.isfinite(np.asarray(values, np.float64))):
        name = "equal rewards give NaN"
    else:
        zeros = np.asarray(found.expected["value"]) == 0
        worst = np.max(np.abs(np.asarray(values)[zeros]), initial=0.0)
        name = f"equal rewards leave a residue, {worst:.3g} here"
        if worst == 0:
            name = "a group beside one of equal rewards gets other values"
    return replace(found, convention=name, control=found.control or None)


def _is_raw(context: Context) -> bool:
    convention = context.recognised.convention
    return isinstance(convention, AdvantageConvention) and convention.baseline == "none"


def _zero_control(context: Context, batch: Rewards) -> str | None:
    try:
        if not np.any(context.run(batch).value):
            return controlled(context.run, batch)
    except (Raised, CannotRun):
        pass
    return None


# -- groups of other shapes ----------------------------------------------------------------------


def _with_readings(
    context: Context,
    strategy: Any,
    readings: Mapping[str, Callable[[Rewards], Rewards]],
    theorem: str,
) -> Outcome:
    """Compare with what it was recognised as; name a difference by the reading that fits."""
    model = context.recognised.model
    if model is None:
        raise CannotRun("no convention was recognised to hold it against")
    found = departs(
        context, strategy, model, theorem=theorem, convention=str(context.recognised.convention),
        factor=context.recognised.factor,
    )  # fmt: skip
    if found.verdict != DIFFERS:
        return found
    for name, reading in readings.items():
        other = departs(
            context,
            strategy,
            partial(_reread, model, reading),
            theorem=theorem,
            convention=name,
        )
        if other.verdict != DIFFERS:
            return replace(found, convention=name)
    return replace(found, convention="no listed reading of the groups")


def _reread(
    model: Callable[[Any], Expected], reading: Callable[[Rewards], Rewards], batch: Rewards
) -> Expected:
    return model(reading(batch))


def _equal_chunks(batch: Rewards) -> Rewards:
    """As many consecutive chunks as there are groups, all of one size; the last takes the rest."""
    count = len(batch.sizes)
    size = max(len(batch.rewards) // count, 1)
    ids = np.minimum(np.arange(len(batch.rewards)) // size, count - 1)
    return replace(batch, groups=ids.astype(np.int64))


def _consecutive_chunks(batch: Rewards) -> Rewards:
    """Consecutive chunks of the sizes that the groups have, by id."""
    _, counts = np.unique(batch.groups, return_counts=True)
    return replace(batch, groups=np.repeat(np.arange(len(counts)), counts).astype(np.int64))


def _one_group(batch: Rewards) -> Rewards:
    return replace(batch, groups=np.zeros_like(batch.groups))


_READINGS = {
    "group ids ignored: consecutive rows are groups": _consecutive_chunks,
    "groups taken to be of equal size": _equal_chunks,
    "group ids ignored: the batch is one group": _one_group,
}


def ragged(context: Context) -> Outcome:
    """Groups of unequal size, in consecutive rows."""
    strategy = inputs.reward_batches(context.dtype, sizes="unequal")
    equal = {k: v for k, v in _READINGS.items() if "equal size" in k or "one group" in k}
    return _with_readings(context, strategy, equal, "groups.identity")


def interleaved(context: Context) -> Outcome:
    """Rows of the groups mixed, with explicit ids."""
    strategy = inputs.reward_batches(context.dtype, shuffled=True)
    found = _with_readings(context, strategy, _READINGS, "groups.identity")
    if found.convention != "no listed reading of the groups":
        return found
    model = context.recognised.model
    assert model is not None

    def sorted_rows(batch: Rewards) -> Expected:
        whole = model(batch)
        order = np.argsort(batch.groups, kind="stable")
        return Expected(whole.value[order], None, whole.value_scale[order], None)

    other = departs(context, strategy, sorted_rows, theorem=found.theorem, convention="")
    if other.verdict != DIFFERS:
        return replace(found, convention="rows returned in the order of the ids, not as given")
    return found


def singleton(context: Context) -> Outcome:
    """A group of one beside a group of two, and alone: its σ is 0, and so is σΔs."""
    beside = inputs.rewards_of([[0.0, 1.0], [0.75]], context.dtype)
    alone = inputs.rewards_of([[0.75]], context.dtype)
    words, worst = [], None
    for place, batch in (("beside another group", beside), ("alone", alone)):
        if place.startswith("beside") and "ragged" in context.operation.lacks:
            continue
        reading = _one_advantage(context, batch)
        words.append((place, reading))
        if reading not in _ONE_IS_FINE and worst is None:
            worst = batch, reading
    same = len({reading for _, reading in words}) == 1
    text = "; ".join(
        reading if same else f"{place}: {reading}" for place, reading in words[: 1 if same else 2]
    )
    if worst is None:
        return Outcome(EQUALS, text, theorem="groups.identity")
    snippet, got = traced(context.run, worst[0])
    expected = context.recognised.model
    value = None if expected is None else expected(worst[0]).value.copy()
    if value is not None:
        value[-1] = 0.0
    return Outcome(
        DIFFERS, text, theorem="groups.identity", input=snippet,
        expected=None if value is None else {"value": value.tolist()}, got=got,
        control=_some_control(context, [inputs.binary_rewards(2, 1, context.dtype)]),
        reason="a group of one has σ = 0, so that σΔs is 0",
    )  # fmt: skip


_ONE_IS_FINE = (
    "a group of one gets 0",
    "a group of one is refused",
    "a group of one like any other, in the spread of the batch",
)


def _one_advantage(context: Context, batch: Rewards) -> str:
    try:
        answer = context.run(batch)
    except Raised:
        return "a group of one is refused"
    value, model = float(answer.value[-1]), context.recognised.model
    if _spans_batch(context) and model and matches(answer, model(batch), context.dtype):
        return "a group of one like any other, in the spread of the batch"
    if _spans_batch(context):
        return "a group of one gets NaN" if np.isnan(value) else f"a group of one gets {value:.6g}"
    reward = float(batch.rewards[-1])
    for known, words in (
        (0.0, "a group of one gets 0"),
        (reward, "a group of one keeps its raw reward"),
    ):
        if abs(value - known) <= 4 * epsilon(context.dtype) * reward:
            return words
    if abs(value / reward - 1) < 2e-3:
        return "a group of one keeps its raw reward"
    return "a group of one gets NaN" if np.isnan(value) else f"a group of one gets {value:.6g}"


# -- rewards that are missing --------------------------------------------------------------------

_MISSING = (
    ("one NaN of four", [[np.nan, 1.0, 0.0, 0.25]]),
    ("one scorable of four", [[np.nan, 1.0, np.nan, np.nan]]),
    ("all NaN", [[np.nan] * 4]),
)


def unscored(context: Context) -> Outcome:
    """Groups with rewards of NaN beside a complete one, which must not notice."""
    whole = [1.0, 0.0, 0.0, 1.0]
    readings: list[tuple[str, str]] = []
    clean = inputs.rewards_of([whole], context.dtype)
    control = context.run(clean).value
    scale = float(np.max(np.abs(control))) or 1.0
    whole_batch = _spans_batch(context)
    for name, groups in _MISSING:
        batch = inputs.rewards_of([whole, *groups], context.dtype)
        try:
            value = context.run(batch).value
        except Raised:
            readings.append((name, "refused"))
            continue
        if not whole_batch and not np.all(
            np.abs(value[:4] - control) <= 64 * epsilon(context.dtype) * scale
        ):
            snippet, got = traced(context.run, batch)
            return Outcome(
                DIFFERS, "a reward of NaN changes the advantages of other groups",
                theorem="groups.identity", input=snippet, got=got,
                expected={"value of the first four": control.tolist()},
                control=f"{described(clean)} gives {control.tolist()}, as expected",
                reason=name,
            )  # fmt: skip
        readings.append((name, _missing_reading(context, batch, value)))
    same = len({reading for _, reading in readings}) == 1
    text = readings[0][1] if same else "; ".join(f"{name}: {reading}" for name, reading in readings)
    return Outcome(EQUALS, f"NaN rewards: {text}", theorem="groups.identity")


def _spans_batch(context: Context) -> bool:
    convention = context.recognised.convention
    return isinstance(convention, AdvantageConvention) and (
        "batch" in convention.scale or "batch" in convention.baseline
    )


def _missing_reading(context: Context, batch: Rewards, value: Floats) -> str:
    odd, rewards_ = value[4:], batch.rewards[4:]
    missing = np.isnan(rewards_)
    if np.all(np.isnan(odd)):
        return "its group gets NaN"
    if not np.any(odd):
        return "its group gets 0"
    room = 64 * epsilon(context.dtype) * 8
    model = context.recognised.model
    if model is not None:
        zeroed = inputs.rewards_of([np.where(missing, 0.0, rewards_).tolist()], context.dtype)
        if np.all(np.abs(odd - model(zeroed).value) <= room):
            return "counts as a reward of 0"
        if missing.sum() < 3:
            kept = inputs.rewards_of([rewards_[~missing].tolist()], context.dtype)
            if np.all(np.abs(odd[~missing] - model(kept).value) <= room):
                left = odd[missing]
                what = "NaN" if np.all(np.isnan(left)) else "0" if not np.any(left) else "other"
                return f"left out of its group, itself {what}"
    if np.all(np.isnan(odd[missing])):
        return "itself NaN, its group otherwise finite"
    return f"its group gets {np.round(odd, 6).tolist()}"
