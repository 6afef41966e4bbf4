"""What a case works with: an operation as recognised, and how to find where it departs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from identity.conformance.batches import Answer, Batch, Losses, Rewards, Tokens
from identity.conformance.calls import recording
from identity.conformance.conventions import (
    AdvantageConvention,
    AggregateConvention,
    Convention,
    KLConvention,
    LossConvention,
)
from identity.conformance.expected import Expected
from identity.conformance.operation import CannotRun, Operation
from identity.conformance.recognise import Recognised, matches, model_of
from identity.conformance.results import DIFFERS, EQUALS, EQUALS_TIMES
from identity.conformance.search import smallest

__all__ = [
    "IN_FLOAT32",
    "Context",
    "Outcome",
    "Raised",
    "controlled",
    "departs",
    "described",
    "shown",
    "traced",
]


@dataclass(frozen=True)
class Outcome:
    """A verdict without its place: see `identity.conformance.results.Result`."""

    verdict: str
    convention: str | None = None
    factor: str | None = None
    factor_decimal: float | None = None
    factor_at: str | None = None
    theorem: str = ""
    input: str | None = None
    expected: Any = None
    got: Any = None
    control: str | None = None
    reason: str | None = None


IN_FLOAT32 = "the same to the precision of float32, but not to that of float64"

# Where a promise is looked at: a case for each field of a convention.
_FIELD_CASES = {
    "baseline": ("rewards", "binary"),
    "scale": ("rewards", "binary"),
    "ddof": ("rewards", "binary"),
    "eps_placement": ("rewards", "binary"),
    "eps": ("rewards", "binary"),
    "normaliser": ("on_policy",),
    "objective": ("clip",),
    "bounds": ("clip",),
    "dual_clip": ("clip",),
    "level": ("sequence_ratio",),
    "kl_estimator": ("divergence",),
    "estimator": ("kl_values",),
    "gradient": ("kl_gradient",),
}


@dataclass(frozen=True)
class Context:
    """An operation in a dtype, with what it was recognised as.

    Parameters
    ----------
    operation : Operation
        What is called.
    recognised : Recognised
        In the widest dtype that it accepts.
    dtype : str
        The one of this run.
    """

    operation: Operation
    recognised: Recognised
    dtype: str

    def run(self, batch: Batch) -> Answer:
        """Call the operation; any error but `CannotRun` becomes `Raised`."""
        try:
            return self.operation.answer(batch)
        except CannotRun:
            raise
        except Exception as why:
            raise Raised(why) from why

    def broken_promises(self, case: str) -> dict[str, object]:
        """What the operation says otherwise than it was recognised, as far as a case goes."""
        convention = self.recognised.convention
        if convention is None:
            return {}
        found = {
            name: promised
            for name, promised in self.operation.says.items()
            if case in _FIELD_CASES[name] and not _kept(convention, name, promised)
        }
        if _counts(self.operation.says) and self.recognised.factor != "1":
            for name in ("normaliser", "scale"):
                if name in self.operation.says and case in _FIELD_CASES[name]:
                    found[name] = self.operation.says[name]
        return found

    def reference(self, case: str) -> Callable[[Any], Expected] | None:
        """What the operation is held against in a case.

        What it promises, where it does not keep that, and otherwise the convention: where an
        operation departs from it in a way that has a name, every case that shows it says so.
        """
        convention, settings = self.recognised.convention, self.operation.settings
        if convention is None:
            promised = _promised(self.operation)
            return None if promised is None else model_of(promised, settings)
        deviation = self.recognised.deviation
        broken = self.broken_promises(case)
        if broken:
            return model_of(_with_fields(convention, broken), settings)
        if deviation is not None:
            return model_of(convention, settings, self.recognised.factor)
        return self.recognised.model

    def departure(self, case: str) -> str:
        """What a difference in a case is called: what it is instead, where that is known."""
        known = self.recognised.convention is None or self.recognised.deviation is not None
        if known or self.broken_promises(case):
            return self.name()
        return f"not always: {self.name()}"

    def name(self) -> str:
        """What the operation was recognised as, in words."""
        times = self.recognised.factor
        words = str(self.recognised)
        return words if times == "1" else f"{words} × {times}"

    def promise(self, case: str) -> str | None:
        """What it says otherwise, as a sentence; None if it keeps its word."""
        broken = self.broken_promises(case)
        if not broken:
            return None
        said = ", ".join(f"{name} {value}" for name, value in broken.items())
        return f"its name or documentation says: {said}"


class Raised(Exception):
    """The library raised an error."""


def _kept(convention: Convention, name: str, promised: object) -> bool:
    found = _field(convention, name)
    # One advantage for each response makes these two one and the same (surrogates.gspo-ratio).
    one = ("sequence", "sequence_token")
    return found == promised or (name == "level" and found in one and promised in one)


def _field(convention: Convention, name: str) -> object:
    if isinstance(convention, LossConvention) and name == "kl_estimator":
        return None if convention.kl is None else convention.kl.estimator
    return getattr(convention, name)


def _with_fields(convention: Convention, fields: Mapping[str, object]) -> Convention:
    changes = dict(fields)
    estimator = changes.pop("kl_estimator", None)
    if estimator is not None and isinstance(convention, LossConvention):
        gradient = "value" if convention.kl is None else convention.kl.gradient
        changes["kl"] = KLConvention(str(estimator), gradient)
    without_eps = getattr(convention, "eps_placement", None) == "absent"
    if changes.get("eps") and "eps_placement" not in changes and without_eps:
        changes["eps_placement"] = "added"
    unclipped = getattr(convention, "bounds", None) == "none"
    if changes.get("objective") in ("ppo_clip", "cispo") and "bounds" not in changes and unclipped:
        changes["bounds"] = "offset"
    return replace(convention, **changes)  # type: ignore[arg-type]


def _promised(operation: Operation) -> Convention | None:
    """What an operation says that it computes, if it says enough."""
    says = dict(operation.says)
    plain: Convention
    if operation.kind == "advantage" and "baseline" in says and "scale" in says:
        plain = AdvantageConvention(ddof=1 if says["scale"] != "none" else 0)
    elif operation.kind == "kl" and "estimator" in says:
        plain = KLConvention("k3", "value")
    elif operation.kind == "aggregate" and "normaliser" in says:
        plain = AggregateConvention("token_mean")
    elif operation.kind == "loss" and "normaliser" in says:
        clipped = operation.settings.clip is not None
        plain = LossConvention("token_mean", bounds="offset" if clipped else "none")
    else:
        return None
    return _with_fields(plain, says)


def _counts(says: Mapping[str, object]) -> bool:
    return "normaliser" in says or "scale" in says


def departs(
    context: Context,
    strategy: Any,
    model: Callable[[Any], Expected],
    *,
    theorem: str,
    convention: str,
    factor: str = "1",
    reason: str | None = None,
    run: Callable[[Any], Answer] | None = None,
    control: Callable[[Any], str] | None = None,
    also: Sequence[Any] = (),
) -> Outcome:
    """Search for an input on which the operation is not what a model says.

    Parameters
    ----------
    context : Context
        The operation.
    strategy : hypothesis strategy
        Of its inputs.
    model : callable
        What is expected.
    theorem, convention, factor, reason
        Of the outcome: `convention` is what it equals if no input is found, and what a difference
        is called if one is.
    run : callable, optional
        What is called instead of the operation.
    control : callable, optional
        Makes a control of the input found, where none agrees; otherwise one is looked for on which
        the operation is what it was recognised as.
    also : sequence of inputs
        Tried after the search, which is short: on these, conventions are known to differ.

    Returns
    -------
    Outcome
        "equals" if no such input is found; otherwise "differs" with the smallest one, and with the
        smallest on which it does equal the model as control.
    """
    call = context.run if run is None else run
    examples = context.operation.examples

    def agrees(batch: Any, dtype: str = context.dtype) -> bool:
        try:
            return matches(call(batch), model(batch), dtype)
        except Raised:
            return False

    bad = smallest(strategy, lambda batch: not agrees(batch), examples)
    if bad is None:
        bad = next((batch for batch in also if not agrees(batch)), None)
    if bad is None:
        verdict = EQUALS if factor == "1" else EQUALS_TIMES
        return Outcome(verdict, convention, None if factor == "1" else factor, theorem=theorem)
    good = smallest(strategy, agrees, examples)
    snippet, got = traced(call, bad)
    if context.dtype == "float64" and reason is None:
        rough = smallest(strategy, lambda batch: not agrees(batch, "float32"), examples)
        if rough is None:
            reason = IN_FLOAT32
    return Outcome(
        DIFFERS,
        convention,
        theorem=theorem,
        input=snippet,
        expected=shown(model(bad)),
        got=got,
        control=controlled(call, good)
        if good is not None
        else _control(context, strategy, bad, control),
        reason=reason,
    )


def _control(
    context: Context, strategy: Any, bad: Any, make: Callable[[Any], str] | None
) -> str | None:
    if make is not None and (text := make(bad)):
        return text
    model = context.recognised.model
    if model is None:
        return None

    def recognised(batch: Any) -> bool:
        try:
            return matches(context.run(batch), model(batch), context.dtype)
        except (Raised, AttributeError):  # the input of the case is more than a batch
            return False

    other = smallest(strategy, recognised, context.operation.examples)
    if other is None:
        return None
    value = shown(context.run(other))["value"]
    return f"{described(other)} gives {value}, which is that of: {context.name()}"


def traced(call: Callable[[Any], Answer], batch: Any) -> tuple[str, Any]:
    """The call as lines of Python, and what comes out."""
    got: Any
    with recording() as kept:
        try:
            got = shown(call(batch))
        except Raised as why:
            got = f"{type(why.__cause__).__name__}: {why.__cause__}"
    snippet = kept.text() if kept.lines else ""
    if not kept.complete or not kept.lines:
        snippet = "\n".join([f"# {described(batch)}", *([snippet] if snippet else [])])
    return snippet, got


def controlled(call: Callable[[Any], Answer], batch: Any) -> str:
    """A passing call, in words."""
    return f"{described(batch)} gives {shown(call(batch))['value']}, as expected"


def shown(answer: Answer | Expected) -> dict[str, Any]:
    """Value and gradient as lists."""
    out = {"value": answer.value.tolist()}
    if answer.gradient is not None:
        out["gradient"] = answer.gradient.tolist()
    return out


def described(batch: Any) -> str:
    """The input in one line; of a case with more than a batch, what is done to it too."""
    if isinstance(batch, tuple):
        first, more = batch
        if isinstance(more, int):
            return f"{described(first)}, and {more} masked columns more"
        if isinstance(more, list):
            rows = " + ".join(str(len(part.mask)) for part in more)
            return f"{described(first)}, in parts of {rows} rows"
        return described(first)
    if isinstance(batch, Rewards):
        return f"rewards {batch.rewards.tolist()}, groups {batch.groups.tolist()}"
    if isinstance(batch, Losses):
        return f"losses {batch.loss.tolist()}, mask {batch.mask.astype(int).tolist()}"
    if isinstance(batch, Tokens):
        ref = "" if batch.ref_logp is None else f", log π_ref {batch.ref_logp.tolist()}"
        return (
            f"log π {batch.logp.tolist()}, log π_old {batch.old_logp.tolist()}, advantages "
            f"{batch.advantages.tolist()}, mask {batch.mask.astype(int).tolist()}{ref}"
        )
    return f"log π {np.asarray(batch.logp).tolist()}, log π_ref {batch.ref_logp.tolist()}"
