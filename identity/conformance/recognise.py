"""Which convention an operation keeps: compared on fixed inputs, the plainest match wins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from identity.conformance import expected as reference
from identity.conformance import inputs
from identity.conformance.batches import Answer, Batch, Floats, Gaps, Losses, Rewards, Tokens
from identity.conformance.conventions import (
    EPSILONS,
    NORMALISERS,
    AdvantageConvention,
    AggregateConvention,
    Convention,
    KLConvention,
    LossConvention,
    advantage_conventions,
    kl_conventions,
)
from identity.conformance.deviations import DEVIATIONS, Deviation, deviant_loss, kl_readings
from identity.conformance.expected import Expected
from identity.conformance.factors import MULTIPLIERS
from identity.conformance.operation import CannotRun, Operation, Settings

__all__ = ["Recognised", "matches", "model_of", "precision", "recognise", "scaled"]

Model = Callable[[Any], Expected]


@dataclass(frozen=True)
class Recognised:
    """What an operation was found to compute.

    Parameters
    ----------
    convention : convention, optional
        None if none of the table fits.
    factor : str
        A constant factor on it, as a closed form; "1" for none.
    deviation : Deviation, optional
        A named departure from `convention`, where only that fits.
    model : callable, optional
        From a batch to what is expected of the operation if that is what it computes.
    """

    convention: Convention | None
    factor: str = "1"
    deviation: Deviation | None = None
    model: Model | None = None

    def __str__(self) -> str:
        if self.convention is None:
            return "none of the listed conventions"
        return str(self.convention) if self.deviation is None else self.deviation.name


def matches(answer: Answer, expected: Expected, dtype: str) -> bool:
    """Whether value and gradient are what is expected, to the `precision` there is."""
    value_room, gradient_room = expected.tolerances(precision(dtype, answer.dtype))
    with np.errstate(all="ignore"):
        if answer.value.shape != expected.value.shape:
            return False
        if not np.all(np.abs(answer.value - expected.value) <= value_room):
            return False
        if expected.gradient is None or answer.gradient is None:
            return True
        return bool(np.all(np.abs(answer.gradient - expected.gradient) <= gradient_room))


def precision(dtype: str, returned: str) -> str:
    """The dtype whose precision a result may have: its own, but float32 of float64 is common.

    A result of fewer bits yet would widen its own tolerance until it hid a difference.
    """
    return returned if (dtype, returned) == ("float64", "float32") else dtype


def scaled(expected: Expected, factor: float | Floats) -> Expected:
    """The same times a factor."""
    size = np.abs(factor)
    gradient, scale = expected.gradient, expected.gradient_scale
    return Expected(
        expected.value * factor,
        None if gradient is None else gradient * factor,
        expected.value_scale * size,
        None if scale is None else scale * size,
    )


def model_of(convention: Convention, settings: Settings, factor: str = "1") -> Model:
    """What a convention gives for a batch."""

    def model(batch: Any) -> Expected:
        if isinstance(convention, AdvantageConvention):
            return scaled(
                reference.advantages(batch, convention), _ADVANTAGE_FACTORS[factor](batch)
            )
        if isinstance(convention, KLConvention):
            return scaled(reference.divergences(batch, convention), float(_SIGNS[factor]))
        rows, width = batch.mask.shape
        number = MULTIPLIERS[factor](rows, width)
        if isinstance(convention, AggregateConvention):
            return scaled(reference.aggregated(batch, convention.normaliser, settings), number)
        return scaled(reference.losses(batch, convention, settings), number)

    return model


def recognise(operation: Operation, dtype: str) -> Recognised:
    """What an operation computes in a dtype.

    Parameters
    ----------
    operation : Operation
        To be called on the fixed inputs of its kind.
    dtype : str
        The widest that it accepts tells conventions apart best.

    Returns
    -------
    Recognised
        With no convention if none fits.

    Raises
    ------
    CannotRun
        If the operation cannot be called at all.
    """
    if operation.kind == "advantage":
        return _advantage(operation, dtype)
    if operation.kind == "kl":
        return _kl(operation, dtype)
    if operation.kind == "aggregate":
        return _aggregate(operation, dtype)
    return _loss(operation, dtype)


def _answers(operation: Operation, batches: Sequence[Batch]) -> list[tuple[Any, Answer]]:
    """The batches that can be run, with what comes out; CannotRun if there is none."""
    kept, problem = [], None
    for batch in batches:
        try:
            kept.append((batch, operation.answer(batch)))
        except Exception as why:  # whatever a library raises, or an adapter that cannot
            problem = problem or why
    if isinstance(problem, CannotRun) and not kept:
        raise problem
    if not kept:
        raise CannotRun(f"{type(problem).__name__}: {problem}")
    return kept


def _all_match(answers: list[tuple[Any, Answer]], model: Model, dtype: str) -> bool:
    try:
        return all(matches(answer, model(batch), dtype) for batch, answer in answers)
    except ValueError:  # a reading that makes no sense with these settings
        return False


# -- advantages ----------------------------------------------------------------------------------


def _sizes(batch: Rewards) -> Floats:
    _, inverse, counts = np.unique(batch.groups, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse], np.float64)


def _sample_std(batch: Rewards) -> Floats:
    out = np.empty_like(batch.rewards)
    for group in np.unique(batch.groups):
        rows = batch.groups == group
        out[rows] = np.std(batch.rewards[rows], ddof=1) if rows.sum() > 1 else 1.0
    return out


_ADVANTAGE_FACTORS: dict[str, Callable[[Rewards], Floats]] = {
    "1": lambda batch: np.ones_like(batch.rewards),
    "−1": lambda batch: -np.ones_like(batch.rewards),
    "2": lambda batch: np.full_like(batch.rewards, 2),
    "1/2": lambda batch: np.full_like(batch.rewards, 0.5),
    "G/(G−1)": lambda batch: _sizes(batch) / np.maximum(_sizes(batch) - 1, 1),
    "(G−1)/G": lambda batch: (_sizes(batch) - 1) / _sizes(batch),
    "√((G−1)/G)": lambda batch: np.sqrt((_sizes(batch) - 1) / _sizes(batch)),
    "G": _sizes,
    "1/G": lambda batch: 1 / _sizes(batch),
    "1/(G−1)": lambda batch: 1 / np.maximum(_sizes(batch) - 1, 1),
    "1/σ": lambda batch: 1 / np.where(
        _sample_std(batch) == 0, 1, _sample_std(batch) * np.sqrt(1 - 1 / _sizes(batch))
    ),
    "1/s": lambda batch: 1 / np.where(_sample_std(batch) == 0, 1, _sample_std(batch)),
}  # fmt: skip


_SECOND_FACTOR = list(_ADVANTAGE_FACTORS)[1]


@cache
def _calibrated(dtype: str) -> tuple[list[Rewards], list[tuple[Any, list[Expected]]]]:
    batches = inputs.advantage_calibration(dtype)
    table = [(c, [reference.advantages(b, c) for b in batches]) for c in advantage_conventions()]
    return batches, table


def _advantage(operation: Operation, dtype: str) -> Recognised:
    batches, table = _calibrated(dtype)
    answers = _answers(operation, batches)
    ran = [next(i for i, b in enumerate(batches) if b is batch) for batch, _ in answers]
    for factor, multiply in _ADVANTAGE_FACTORS.items():
        if factor == _SECOND_FACTOR:  # after all that have none
            for convention in _fitted(answers):
                model = model_of(convention, operation.settings)
                if _all_match(answers, model, dtype):
                    return Recognised(convention, "1", None, model)
        numbers = [multiply(batch) for batch, _ in answers]
        for convention, found in table:
            if all(
                matches(answer, scaled(found[i], number), dtype)
                for (_, answer), i, number in zip(answers, ran, numbers, strict=True)
            ):
                return Recognised(
                    convention, factor, None, model_of(convention, operation.settings, factor)
                )
    return Recognised(None)


def _fitted(answers: list[tuple[Any, Answer]]) -> Iterator[AdvantageConvention]:
    """Conventions with the ε that the group of the least spread would have."""
    batch, answer = answers[0]
    scales = ("std", "batch_std", "centred_batch_std")
    for scale, baseline, ddof in product(scales, ("mean", "leave_one_out"), (0, 1)):
        plain = AdvantageConvention(baseline, scale, ddof)
        centred = reference.advantages(batch, AdvantageConvention(baseline, "none")).value
        with np.errstate(all="ignore"):
            std = centred / reference.advantages(batch, plain).value
            total = centred / answer.value
            options = {
                "added": total - std,
                "in_variance": total**2 - std**2,
                "floored": np.where(total > std * 1.001, total, np.nan),
            }
        for placement, values in options.items():
            usable = values[np.isfinite(values) & (values > 0)]
            if len(usable):
                found = float(usable[np.argmin(std[np.isfinite(values) & (values > 0)])])
                nearest = min(EPSILONS, key=lambda eps: abs(np.log(eps / found)))
                for eps in (float(f"{found:.2e}"), float(np.float32(nearest)), found):
                    if eps < 1:
                        yield replace(plain, eps_placement=placement, eps=eps)


# -- aggregation and losses ----------------------------------------------------------------------


def _aggregate(operation: Operation, dtype: str) -> Recognised:
    batches = [
        Losses(batch.logp + np.arange(batch.logp.shape[1]) / 4, batch.mask, dtype)
        for batch in inputs.on_policy_calibration(dtype, False)
    ]
    answers = _answers(operation, batches)
    for factor, normaliser in product(MULTIPLIERS, NORMALISERS):
        if normaliser == "constant" and operation.settings.constant is None:
            continue
        convention = AggregateConvention(normaliser)
        model = model_of(convention, operation.settings, factor)
        if _all_match(answers, model, dtype):
            return Recognised(convention, factor, None, model)
    for deviation in DEVIATIONS:
        if deviation.change in ("numerator", "shifted"):
            for normaliser in NORMALISERS:
                model = _as_losses(normaliser, operation.settings, deviation.change)
                if _all_match(answers, model, dtype):
                    return Recognised(AggregateConvention(normaliser), "1", deviation, model)
    return Recognised(None)


def _as_losses(normaliser: str, settings: Settings, change: str) -> Model:
    """A deviant sum of given losses: as REINFORCE with an advantage of −1."""
    convention = LossConvention(normaliser, "reinforce", bounds="none")

    def model(batch: Losses) -> Expected:
        minus = -np.ones(len(batch.loss))
        tokens = Tokens(batch.loss, batch.loss, minus, batch.mask, None, batch.dtype)
        return deviant_loss(tokens, convention, settings, change)

    return model


def _policy_part(operation: Operation, batches: Sequence[Tokens]) -> list[tuple[Any, Answer]]:
    """What is left without the divergence: what the advantages change."""
    answers = _answers(operation, batches)
    if not operation.settings.beta:
        return answers
    kept = []
    for batch, answer in answers:
        zero = operation.answer(replace(batch, advantages=np.zeros_like(batch.advantages)))
        gradient = None
        if answer.gradient is not None and zero.gradient is not None:
            gradient = answer.gradient - zero.gradient
        kept.append((batch, Answer(answer.value - zero.value, gradient, answer.dtype)))
    return kept


def _loss(operation: Operation, dtype: str) -> Recognised:
    settings, with_ref = operation.settings, bool(operation.settings.beta)
    plain = replace(settings, beta=0.0)
    on_policy = _policy_part(operation, inputs.on_policy_calibration(dtype, with_ref))
    off_policy = _policy_part(operation, inputs.loss_calibration(dtype, with_ref))
    for normaliser, factor, change in _normalisers(on_policy, plain, dtype):
        found = _surrogate(off_policy, plain, dtype, normaliser, factor, change)
        if found is None:
            continue
        if not with_ref:
            return found
        assert isinstance(found.convention, LossConvention)
        complete = _with_divergence(operation, found, dtype)
        if complete is not None:
            return complete
    departing = _departing(operation, [*on_policy, *off_policy], dtype)
    if departing.convention is not None:
        return departing
    return _of_normaliser(operation, _normalisers(on_policy, plain, dtype))


def _of_normaliser(
    operation: Operation, found: Iterator[tuple[str, str, Deviation | None]]
) -> Recognised:
    """What is known if the gradient at ratio 1 is all that fits."""
    for normaliser, factor, change in found:
        if change is None:
            clipped = operation.settings.clip is not None
            says = {
                k: v for k, v in operation.says.items() if k in ("objective", "level", "bounds")
            }
            plain = LossConvention(normaliser, bounds="offset" if clipped else "none")
            if not clipped:
                plain = replace(plain, objective="importance")
            unknown = Deviation("none of the listed surrogates", "off_policy", "unknown")
            return Recognised(replace(plain, **says), factor, unknown)  # type: ignore[arg-type]
    return Recognised(None)


def _departing(operation: Operation, answers: list[Any], dtype: str) -> Recognised:
    """A departure whose gradient at ratio 1 is no normaliser's, among all conventions."""
    settings, says = replace(operation.settings, beta=0.0), operation.says
    normalisers = [n for n in NORMALISERS if n == says.get("normaliser", n)]
    conventions = [
        replace(convention, normaliser=normaliser)
        for normaliser in normalisers
        if normaliser != "constant" or settings.constant is not None
        for convention in _objectives(settings)
        if convention.objective == says.get("objective", convention.objective)
        and convention.level == says.get("level", convention.level)
    ]
    for deviation, convention in product(DEVIATIONS, conventions):
        if deviation.case != "divergence":
            model = _deviant(convention, settings, deviation)
            if _all_match(answers, model, dtype):
                return Recognised(convention, "1", deviation, model)
    return Recognised(None)


def _normalisers(
    answers: list[tuple[Any, Answer]], settings: Settings, dtype: str
) -> Iterator[tuple[str, str, Deviation | None]]:
    """Normalisers, with factor or deviation, that fit the gradient at ratio 1."""
    gradients = [
        (batch, replace(answer, value=np.asarray(0.0))) for batch, answer in answers
    ]  # values differ between objectives of one gradient

    def without_value(model: Model) -> Model:
        def only(batch: Tokens) -> Expected:
            whole = model(batch)
            return replace(whole, value=np.asarray(0.0))

        return only

    usable = [n for n in NORMALISERS if n != "constant" or settings.constant is not None]
    for factor, normaliser in product(MULTIPLIERS, usable):
        convention = LossConvention(normaliser, "importance", bounds="none")
        model = without_value(model_of(convention, settings, factor))
        if _all_match(gradients, model, dtype):
            yield normaliser, factor, None
    for deviation, normaliser in product(DEVIATIONS, usable):
        if deviation.case == "on_policy":
            convention = LossConvention(normaliser, "importance", bounds="none")
            if _all_match(
                gradients, without_value(_deviant(convention, settings, deviation)), dtype
            ):
                yield normaliser, "1", deviation


def _deviant(
    convention: LossConvention, settings: Settings, deviation: Deviation, factor: str = "1"
) -> Model:
    def model(batch: Tokens) -> Expected:
        rows, width = batch.mask.shape
        number = MULTIPLIERS[factor](rows, width)
        return scaled(deviant_loss(batch, convention, settings, deviation.change), number)

    return model


def _objectives(settings: Settings) -> Iterator[LossConvention]:
    """Conventions but for the normaliser, which is left open."""
    levels = ("token", "sequence", "sequence_token")
    bounds = ("offset", "absolute", "upper_offset", "upper_absolute")
    readable = [b for b in bounds if reference.clip_offsets(b, settings.clip) is not None]
    for objective, level, bound in product(("ppo_clip", "cispo"), levels, readable):
        yield LossConvention("", objective, level, bound)
        if objective == "ppo_clip" and settings.dual_clip is not None:
            yield LossConvention("", objective, level, bound, True)
    for level in levels:
        yield LossConvention("", "importance", level, "none")
        yield LossConvention("", "cispo", level, "none")
    yield LossConvention("", "reinforce", bounds="none")


def _surrogate(
    answers: list[tuple[Any, Answer]],
    settings: Settings,
    dtype: str,
    normaliser: str,
    factor: str,
    change: Deviation | None,
) -> Recognised | None:
    candidates = [replace(c, normaliser=normaliser) for c in _objectives(settings)]
    if change is not None:
        for convention in candidates:
            model = _deviant(convention, settings, change)
            if _all_match(answers, model, dtype):
                return Recognised(convention, "1", change, model)
        return None
    for convention in candidates:
        model = model_of(convention, settings, factor)
        if _all_match(answers, model, dtype):
            return Recognised(convention, factor, None, model)
    for deviation, convention in product(DEVIATIONS, candidates):
        if deviation.case in ("off_policy", "sequence_ratio", "clip", "bf16_old"):
            model = _deviant(convention, settings, deviation, factor)
            if _all_match(answers, model, dtype):
                return Recognised(convention, factor, deviation, model)
    return None


def _with_divergence(operation: Operation, found: Recognised, dtype: str) -> Recognised | None:
    """The same with the divergence that is added to it."""
    settings, policy = operation.settings, found.convention
    assert isinstance(policy, LossConvention)
    batches = [
        replace(batch, advantages=np.zeros_like(batch.advantages))
        for batch in inputs.loss_calibration(dtype, True)
    ]
    answers = _answers(operation, batches)
    number = MULTIPLIERS[found.factor]
    estimates = [kl for kl in kl_conventions() if kl.gradient != "none"]
    for weighted, kl in product((False, True), estimates):
        convention = replace(policy, kl=kl, kl_ratio=weighted)
        model = model_of(convention, settings, found.factor)
        if _all_match(answers, model, dtype):
            if found.deviation is not None:
                model = _deviant(convention, settings, found.deviation, found.factor)
            return Recognised(convention, found.factor, found.deviation, model)
    for deviation, kl in product(DEVIATIONS, estimates):
        if deviation.case == "divergence":
            convention = replace(policy, kl=kl)

            def model(
                batch: Tokens, convention: LossConvention = convention, d: Deviation = deviation
            ) -> Expected:
                rows, width = batch.mask.shape
                whole = deviant_loss(batch, convention, settings, d.change)
                return scaled(whole, number(rows, width))

            if _all_match(answers, model, dtype):
                return Recognised(convention, found.factor, deviation, model)
    return None


# -- divergences ---------------------------------------------------------------------------------

_SIGNS = {"1": 1.0, "−1": -1.0}


def _kl(operation: Operation, dtype: str) -> Recognised:
    batches = [inputs.gaps(v, dtype) for v in ((0.5, -1.0, 2.0, 0.0), (-0.25,), (1.5,))]
    answers = _answers(operation, batches)
    for convention in kl_conventions():
        model = model_of(convention, operation.settings)
        if _all_match(answers, model, dtype):
            return Recognised(convention, "1", None, model)
    for name, reading in kl_readings().items():
        deviation = Deviation(name, "kl_values", name)
        model = _reading(reading)
        if _all_match(answers, model, dtype):
            closest = KLConvention(_PLAIN.get(name, "k1"), "value")
            return Recognised(closest, "1", deviation, model)
    return Recognised(None)


_PLAIN = {"k3 of the inverse ratio": "k3", "twice k2": "k2"}


def _reading(reading: Callable[[Any], Any]) -> Model:
    def model(batch: Gaps) -> Expected:
        import torch

        leaf = torch.tensor(batch.logp, requires_grad=True)
        value = reading(torch.tensor(batch.ref_logp) - leaf)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        size = 1 + np.exp(np.abs(batch.logp - batch.ref_logp))
        return Expected(value.detach().numpy(), slope.numpy(), size, size)

    return model
