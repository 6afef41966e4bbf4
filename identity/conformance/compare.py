"""Operations held against each other: two paths of one library, one method in several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from identity.conformance import inputs
from identity.conformance.batches import Answer, Losses
from identity.conformance.context import Context, Outcome, departs, described, shown, traced
from identity.conformance.expected import Expected
from identity.conformance.operation import CannotRun
from identity.conformance.results import DIFFERS, EQUALS

__all__ = ["probe", "same_method", "two_paths"]

THEOREMS = {
    "advantage": "groups.as-implemented",
    "loss": "surrogates.full-loss",
    "aggregate": "aggregation.table",
    "kl": "surrogates.kl-values",
}


def _strategy(context: Context) -> Any:
    kind, dtype = context.operation.kind, context.dtype
    if kind == "advantage":
        return inputs.reward_batches(dtype)
    if kind == "kl":
        return inputs.gap_batches(dtype)
    if kind == "aggregate":
        return inputs.loss_batches(dtype)
    return inputs.token_batches(dtype, gap=16, ref=bool(context.operation.settings.beta))


def two_paths(context: Context, other: Context) -> Outcome:
    """Search for an input on which two operations of a library differ, odd groups included."""

    def theirs(batch: Any) -> Expected:
        return _room(other.run(batch), other, batch)

    name = other.operation.name
    found = departs(
        context, _strategy(context), theirs, theorem=THEOREMS[context.operation.kind],
        convention=f"the same as {name}",
    )  # fmt: skip
    if found.verdict == DIFFERS:
        return replace(found, convention=f"not the same as {name}")
    if context.operation.kind == "advantage" and "ragged" not in context.operation.lacks:
        alone = inputs.rewards_of([[0.0, 1.0], [0.75]], context.dtype)
        mine, their = (_attempt(c, alone) for c in (context, other))
        if not _equal(mine, their, context.dtype):
            snippet, got = traced(context.run, alone)
            return Outcome(
                DIFFERS, f"not the same as {name} for a group of one",
                theorem=THEOREMS["advantage"], input=snippet,
                expected=their if isinstance(their, str) else shown(their), got=got,
                control="groups of several rewards: all inputs that were tried agree",
            )  # fmt: skip
    return found


def _attempt(context: Context, batch: Any) -> Answer | str:
    try:
        return context.run(batch)
    except CannotRun:
        raise
    except Exception as why:
        return f"{type(why.__cause__).__name__}: {why.__cause__}"


def _equal(one: Answer | str, other: Answer | str, dtype: str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str)
    from identity.conformance.recognise import matches

    return matches(one, _room(other), dtype)


def _room(answer: Answer, context: Context | None = None, batch: Any = None) -> Expected:
    """What another operation gave, to a few units in the last place of the terms."""
    model = None if context is None else context.recognised.model
    if model is not None:  # which knows how large they are
        return replace(model(batch), value=answer.value, gradient=answer.gradient)
    size = np.max(np.abs(answer.value), initial=0.0) + 1e-300
    gradient = answer.gradient
    if gradient is None:
        return Expected(answer.value, None, np.full_like(answer.value, size), None)
    steep = float(np.max(np.abs(gradient), initial=0.0)) + 1e-300
    # A value may cancel; each of its terms is about as large as a derivative times a few.
    reach = steep * gradient.size * 8
    return Expected(
        answer.value, gradient, np.full_like(answer.value, max(size, reach)),
        np.full_like(gradient, steep),
    )  # fmt: skip


def probe(context: Context) -> tuple[str, Answer] | None:
    """What an operation gives on the batch that all of its kind are compared on."""
    kind, dtype = context.operation.kind, context.dtype
    batch: Any
    if kind == "advantage":
        batch = inputs.rewards_of([[1, 0, 0, 1], [1, 0, 0, 0]], dtype)
    elif kind == "kl":
        batch = inputs.gaps((0.5, -1.0, 1.5), dtype)
    else:
        batch = inputs.on_policy_calibration(dtype, bool(context.operation.settings.beta))[0]
        if kind == "aggregate":
            batch = Losses(batch.logp, batch.mask, dtype)
    try:
        return described(batch), context.run(batch)
    except Exception:
        return None


def same_method(
    context: Context, others: Mapping[str, Sequence[tuple[str, Answer]]], own: tuple[str, Answer]
) -> Outcome:
    """Which libraries give the same for a method of this name on one batch, and which do not.

    Parameters
    ----------
    context : Context
        The operation.
    others : mapping of str to sequence of (str, Answer)
        For each other library its operations of this method, with what they gave.
    own : (str, Answer)
        The batch in words, and what this operation gave.
    """
    same: list[str] = []
    different: list[str] = []
    got: dict[str, Any] = {}
    for library, answers in sorted(others.items()):
        near = any(_equal(own[1], answer, context.dtype) for _, answer in answers)
        (same if near else different).append(library)
        if not near:
            name, answer = answers[0]
            got[f"{library}: {name}"] = shown(answer)
    method = context.operation.method
    theorem = THEOREMS[context.operation.kind]
    if not different:
        return Outcome(EQUALS, f"{method} of {', '.join(same)}", theorem=theorem)
    text = f"not {method} of {', '.join(different)}"
    if same:
        text += f"; the same as of {', '.join(same)}"
    return Outcome(
        DIFFERS, text, theorem=theorem, input=f"# {own[0]}", expected=got, got=shown(own[1]),
        control=f"each equals its own convention: this one {context.name()}",
        reason="expected is what the other libraries give on this batch",
    )  # fmt: skip
