"""The four diagnostics of a run: each from a log to one `Finding`, before the joint verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from identity.diagnostics._oscillation import OVERSHOOT, early_warning, oscillation
from identity.diagnostics._statistics import Estimate, drift_test, level_test, mean_test
from identity.diagnostics.runs import RunLog

__all__ = [
    "EXCESS_MARGIN",
    "LEAST_EVALUATIONS",
    "LEAST_REWARDS",
    "LEAST_STEPS",
    "Part",
    "concentration",
    "degeneracy",
    "hacking",
    "instability",
]

Floats = npt.NDArray[np.float64]

LEAST_EVALUATIONS = 12
"""Held-out values needed by the test of reward hacking."""

LEAST_STEPS = 24
"""Values needed by the tests of silent groups and of entropy."""

LEAST_REWARDS = 80
"""Rewards needed by the test of instability, which leaves out the first third."""

EXCESS_MARGIN = 0.01
"""Least silent share above its prediction that counts; more where the policy jumps about."""

_TREND_BLOCKS = 8
# A policy that moves by δ between visits shifts silent shares by ½f″(p)δ², f = p^G + (1−p)^G;
# over evenly spread difficulties ½f″ is G on average. Taken for groups of up to this many.
_MOVEMENT = 16.0


@dataclass(frozen=True)
class Part:
    """A finding without its verdict, which needs the other modes' p-values."""

    statistic: str
    threshold: float
    null: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    reason: str = ""
    words: dict[str, str] = field(default_factory=dict)
    evidence: dict[str, float | None] = field(default_factory=dict)
    by_level: bool = False


def _missing(log: RunLog, *names: str) -> str:
    absent = [name for name in names if name not in log.quantities]
    return f"no column {' and no column '.join(absent)}" if absent else ""


# --- reward hacking -------------------------------------------------------------------------


def hacking(log: RunLog, confidence: float) -> Part:
    """Does held-out reward fall while trained reward rises?"""
    statistic = "change of held-out reward per unit gained in trained reward"
    null = (
        "held-out reward has not fallen, or trained reward has not risen, between the first and "
        "the last third: Welch's t on block means, the larger p-value of the two, over the whole "
        "run and over its second half (Bonferroni)"
    )
    part = Part(statistic, 0.0, null)
    lacking = _missing(log, "train_reward", "heldout_reward")
    if lacking:
        return _untold(part, lacking)
    at, held = log.values("heldout_reward")
    steps, train = log.values("train_reward")
    if held.size < LEAST_EVALUATIONS or train.size < LEAST_STEPS:
        return _untold(
            part,
            f"{held.size} held-out and {train.size} trained rewards; it takes "
            f"{LEAST_EVALUATIONS} and {LEAST_STEPS}",
        )
    tested = []
    for start in [0, held.size // 2] if held.size >= 2 * LEAST_EVALUATIONS else [0]:
        during = train[steps >= at[start]] if start else train
        if during.size < LEAST_STEPS // 2:
            continue
        rise = _change(during, confidence)
        fall = _change(-held[start:], confidence)
        tested.append((max(rise.p_value, fall.p_value), held.size - start, rise, fall))
    p, size, rise, fall = min(tested, key=lambda found: found[0])
    change = 0.0 - fall.value
    value = interval = None
    if rise.value > 0:
        value = change / rise.value
        interval = (-fall.interval[1] / rise.value, -fall.interval[0] / rise.value)
    share = "the whole run" if size == held.size else "the second half of the run"
    gained = f"trained reward changed by {rise.value:+.3g}, held-out reward by {change:+.3g}"
    return Part(
        statistic,
        0.0,
        null,
        value,
        interval,
        min(1.0, len(tested) * p),
        words={
            "present": f"Over {share} {gained}. With a verifier of positive Youden index t − f "
            "both move the same way, so what is rewarded is no longer what is wanted: rewards are "
            "exploited, or the training prompts are learned by heart.",
            "not found": f"Over {share} {gained}: no sign that one rises at the other's expense.",
        },
        evidence={
            "trained reward: change": rise.value,
            "trained reward: p of no rise": rise.p_value,
            "held-out reward: change": change,
            "held-out reward: p of no fall": fall.p_value,
            "evaluations in the window": float(size),
        },
    )


def _change(series: Floats, confidence: float) -> Estimate:
    """Last third less first third."""
    third = series.size // 3
    return level_test(series[:third], series[-third:], confidence=confidence)


# --- advantage degeneracy -------------------------------------------------------------------


def degeneracy(log: RunLog, confidence: float, silent_limit: float) -> Part:
    """Are groups silent more often than difficulty predicts, or nearly always?"""
    excess_is = "silent share less its prediction p^G + (1−p)^G"
    level_is = "silent share in the last quarter of the run"
    margin = EXCESS_MARGIN + _MOVEMENT * _movement(log)
    null = (
        f"at most {margin:.3g} above the prediction for independent rollouts, and at most "
        f"{silent_limit:g} in the last quarter: Student's t on block means, both (Bonferroni) "
        "where both can be tested"
    )
    part = Part(excess_is, margin, null)
    if not {"silent_fraction", "silent_excess"} & set(log.quantities):
        return _untold(part, _missing(log, "silent_fraction", "silent_excess"))
    (_, silent), (_, excess) = log.values("silent_fraction"), log.values("silent_excess")
    if max(silent.size, excess.size) < LEAST_STEPS:
        return _untold(part, f"{max(silent.size, excess.size)} steps; it takes {LEAST_STEPS}")
    tests: list[tuple[str, float, Estimate, bool]] = []
    if excess.size >= LEAST_STEPS:
        tests.append((excess_is, margin, mean_test(excess, margin, 12, confidence), False))
    if silent.size >= LEAST_STEPS:
        late = silent[-(silent.size // 4) :]
        tests.append((level_is, silent_limit, mean_test(late, silent_limit, 6, confidence), True))
    statistic, threshold, estimate, by_level = min(tests, key=lambda test: test[2].p_value)
    evidence: dict[str, float | None] = {}
    for name, _, found, _ in tests:
        evidence[name], evidence[f"{name}: p"] = found.value, found.p_value
    untested = ""
    if excess.size < LEAST_STEPS:
        untested = (
            "only the level was tested: groups with correlated rollouts look like groups of "
            "easier and harder prompts unless other rollouts of the same prompts are logged"
        )
    elif silent.size < LEAST_STEPS:
        untested = "only the excess was tested: no silent_fraction"
    figures = "; ".join(f"{name}: {found.value:.3g}" for name, _, found, _ in tests)
    if by_level:
        why = "nearly every group is without gradient"
        if excess.size >= LEAST_STEPS and evidence[f"{excess_is}: p"] is not None:
            predicted = tests[0][2].p_value >= 0.05
            why += (
                ", as often as the prompts' difficulties predict: they are solved or hopeless"
                if predicted
                else ", and more often than difficulty predicts"
            )
    else:
        why = (
            "groups agree more often than independent rollouts would: duplicated samples, a "
            "temperature near 0 or a shared seed"
        )
    return Part(
        statistic,
        threshold,
        null,
        estimate.value,
        estimate.interval,
        min(1.0, len(tests) * estimate.p_value),
        untested,
        {
            "present": f"{figures[0].upper()}{figures[1:]}: {why}.",
            "not found": f"{figures[0].upper()}{figures[1:]}.",
        },
        evidence,
        by_level,
    )


def _movement(log: RunLog) -> float:
    """Mean square of trained reward less the mean of its neighbours; 0 if no rate in [0, 1]."""
    _, train = log.values("train_reward")
    if train.size < 3 or train.min() < 0 or train.max() > 1:
        return 0.0
    return float(np.mean((train[1:-1] - (train[:-2] + train[2:]) / 2) ** 2))


# --- policy concentration -------------------------------------------------------------------


def concentration(log: RunLog, confidence: float, entropy_floor: float) -> Part:
    """Has entropy fallen below a small share of what it was?"""
    statistic = "entropy in the last quarter of the run, as a share of its start"
    null = f"at least {entropy_floor:g} of the start: Student's t on block means"
    part = Part(statistic, entropy_floor, null)
    lacking = _missing(log, "entropy")
    if lacking:
        return _untold(part, lacking)
    _, entropy = log.values("entropy")
    if entropy.size < LEAST_STEPS:
        return _untold(part, f"{entropy.size} entropies; it takes {LEAST_STEPS}")
    start = float(np.median(entropy[:3]))
    if start == 0:
        return _untold(part, "entropy is 0 from the start")
    late = mean_test(-entropy[-(entropy.size // 4) :], -entropy_floor * start, 6, confidence)
    falling = drift_test(-entropy[entropy.size // 2 :], _TREND_BLOCKS, confidence)
    still = "and still falls" if falling.p_value < 0.05 else "and has no clear trend by now"
    figures = f"Entropy went from {start:.3g} to {-late.value:.3g}, {still}"
    return Part(
        statistic,
        entropy_floor,
        null,
        -late.value / start,
        (-late.interval[1] / start, -late.interval[0] / start),
        late.p_value,
        words={
            "present": f"{figures}. Without a restoring force, such as a KL penalty, a softmax "
            "policy has no interior fixed point and ends up certain of its answers.",
            "not found": f"{figures}.",
        },
        evidence={
            "entropy at the start": start,
            "entropy in the last quarter": -late.value,
            "second half: p of no fall": falling.p_value,
        },
    )


# --- dynamical instability ------------------------------------------------------------------


def instability(log: RunLog, confidence: float, seed: int) -> Part:
    """Does trained reward keep oscillating?"""
    statistic = "overshoot: size of a swing relative to the one before it, r^(π/θ)"
    null = (
        "an AR(2) in the last two thirds of the run whose oscillating roots r·e^(±iθ) overshoot "
        f"by at most {OVERSHOOT:g}: surrogates at that boundary"
    )
    part = Part(statistic, OVERSHOOT, null)
    lacking = _missing(log, "train_reward")
    if lacking:
        return _untold(part, lacking)
    steps, train = log.values("train_reward")
    if train.size < LEAST_REWARDS:
        return _untold(part, f"{train.size} rewards; it takes {LEAST_REWARDS}")
    gaps = np.diff(steps)
    if (gaps != gaps[0]).any():
        return _untold(part, "rewards are not logged at equal intervals of steps")
    found = oscillation(train[train.size // 3 :], confidence, seed)
    evidence: dict[str, float | None] = {
        "root modulus per logged step": _or_none(found.modulus),
        "root modulus, lower end": _or_none(found.modulus_interval[0]),
        "root modulus, upper end": _or_none(found.modulus_interval[1]),
        "steps per cycle": _or_none(found.period * float(gaps[0])),
        **early_warning(train),
    }
    if math.isnan(found.modulus):
        words = "The AR(2) fit has no complex or negative root."
        return Part(statistic, OVERSHOOT, null, None, None, 1.0, "", {"not found": words}, evidence)
    reached = "reaches" if found.modulus_interval[1] >= 1 else "stays below"
    figures = (
        f"In cycles of {found.period * float(gaps[0]):.3g} steps each swing has "
        f"{100 * found.overshoot:.0f} % of the size of the one before; root modulus "
        f"{found.modulus:.3f}, whose interval {reached} 1"
    )
    return Part(
        statistic,
        OVERSHOOT,
        null,
        found.overshoot,
        found.overshoot_interval,
        found.p_value,
        words={
            "present": f"{figures}. Steps overshoot: a smaller learning rate, less momentum or "
            "fresher rollouts damp it.",
            "not found": f"{figures}.",
        },
        evidence=evidence,
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _untold(part: Part, reason: str) -> Part:
    return Part(part.statistic, part.threshold, part.null, reason=reason)
