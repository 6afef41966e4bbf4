"""The figures that `diagnose` reports, as pure functions from counts to dataclasses.

Everything here depends on the difficulties only through p̂ = k/n, and the four update laws
(GRPO, Dr. GRPO, RLOO, DAPO), the fidelity and the silent rate are symmetric under p ↔ 1 − p.
So each prompt enters by min(k, n − k)/n, which loses no digits near p̂ = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import numpy.typing as npt

from identity.data import SolveRates
from identity.diagnostics.results import (
    Diagnosis,
    GroupSizeAdvice,
    MassRow,
    Quantile,
    SilentRow,
    Unanimous,
)
from identity.errors import DomainError
from identity.expectation import (
    fidelity as fidelity_at,
)
from identity.expectation import (
    gradient_mass,
    silent_rate,
    silent_rate_unbiased,
    smallest_group_size,
)

__all__ = [
    "DEFAULT_GROUP_SIZES",
    "MASS_METHODS",
    "MASS_NOTE",
    "MAX_GROUP_SIZE",
    "ZONES",
    "diagnose",
]

DEFAULT_GROUP_SIZES = (4, 8, 16, 32, 64)
"""Group sizes reported unless the caller names others."""

MAX_GROUP_SIZE = 2**20
"""Largest group size evaluated: the range of `fidelity` and `gradient_mass`."""

MASS_METHODS = ("grpo", "dr_grpo", "rloo", "dapo")
"""Methods whose gradient mass is compared."""

ZONES = ("0 < p < .1", ".1 ≤ p < .4", ".4 ≤ p ≤ .6", ".6 < p ≤ .9", ".9 < p < 1")
"""Difficulty zones of the mixed prompts; the first and the last together are the extremes."""

QUANTILE_SHARES = (0.25, 0.5, 0.75, 0.9, 0.95, 1.0)

MASS_NOTE = (
    "Shares of w(p̂)·p̂(1−p̂), the expected step on a logit prompt. DAPO is per kept group, every "
    "prompt redrawn until a group is mixed; where refilling takes other prompts instead, each "
    "prompt is kept with probability 1 − p^G − (1−p)^G and the shares are those of GRPO."
)
"""How to read the gradient mass."""

_MIDDLE = 2

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Columns:
    correct: Integers
    rollouts: Integers
    count: Floats
    folded: Floats
    recorded: npt.NDArray[np.bool_]

    @property
    def mixed(self) -> npt.NDArray[np.bool_]:
        return (self.folded > 0) & (self.count > 0)


def _columns(rates: SolveRates) -> _Columns:
    correct = np.asarray(rates.correct, dtype=np.int64)
    rollouts = np.asarray(rates.rollouts, dtype=np.int64)
    return _Columns(
        correct=correct,
        rollouts=rollouts,
        count=np.asarray(rates.count, dtype=np.float64),
        folded=np.minimum(correct, rollouts - correct) / rollouts,
        recorded=~np.asarray(rates.ratio_only, dtype=np.bool_),
    )


def diagnose(
    rates: SolveRates,
    *,
    fidelity: float = 0.95,
    group_sizes: Sequence[int] = DEFAULT_GROUP_SIZES,
) -> Diagnosis:
    """What group-based training would see on prompts with these solve rates.

    Parameters
    ----------
    rates : SolveRates
        Counts of prompts by (k correct, n rollouts).
    fidelity : float, optional
        Target φ for the recommended group size, in (0, 1 − 1e-6].
    group_sizes : sequence of int, optional
        Group sizes G from 2 to 2^20 to report; reported once each, ascending.

    Returns
    -------
    Diagnosis
        Silent rates, gradient mass by difficulty, unanimous prompts and the recommended G.

    Raises
    ------
    DomainError
        If `fidelity` or a group size is outside its domain, or there is no group size.

    Notes
    -----
    *Preconditions.* Checked: the domains above. Assumed: rollouts of one prompt are independent
    with one success probability; mass is that of a logit prompt, w(p)·p(1−p).

    *Postcondition.* Means over prompts are weighted by counts, in float64. The gradient mass and
    the fidelity are plug-in figures: they take p̂ for p. Only the unbiased silent rate is free of
    that.

    Examples
    --------
    >>> from identity.data import big_math_solve_rates
    >>> report = diagnose(big_math_solve_rates())
    >>> [round(100 * row.plug_in, 2) for row in report.silent]
    [59.27, 44.28, 32.24, 23.01, 16.53]
    """
    if not isinstance(rates, SolveRates):
        raise DomainError("rates", rates, "be SolveRates, such as read_log(path) returns")
    sizes = checked_group_sizes(group_sizes)
    columns = _columns(rates)
    return Diagnosis(
        source=rates.source,
        recognised=rates.recognised,
        licence=rates.licence,
        caveats=rates.caveats,
        prompts=rates.prompts,
        largest_rollouts=int(columns.rollouts[columns.count > 0].max()),
        unanimous=_unanimous(columns, rates),
        silent=tuple(_silent(columns, rates, size) for size in sizes),
        gradient_mass=_masses(columns, sizes),
        group_size=_advice(columns, rates, checked_fidelity(fidelity)),
    )


def checked_group_sizes(values: Sequence[int]) -> tuple[int, ...]:
    """Distinct group sizes from 2 to 2^20, ascending."""
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
        raise DomainError("group_sizes", values, "be a sequence of group sizes")
    if len(values) == 0:
        raise DomainError("group_sizes", values, "name at least one group size")
    for size in values:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 2:
            raise DomainError("group_size", size, "be an integer of at least 2")
        if size > MAX_GROUP_SIZE:
            raise DomainError("group_size", size, f"be at most {MAX_GROUP_SIZE}")
    return tuple(sorted({int(size) for size in values}))


def require_number(argument: str, value: object) -> None:
    """Raise unless the value is a real number, which a bool is not."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise DomainError(argument, value, "be a number")


def checked_fidelity(value: float) -> float:
    """A target in (0, 1 − 1e-6], the range of `smallest_group_size`."""
    require_number("fidelity", value)
    if not 0 < value <= 1 - 1e-6:
        raise DomainError("fidelity", value, "lie strictly between 0 and 1, at most 1 - 1e-6")
    return float(value)


def _mean(values: Floats, weights: Floats) -> float:
    return float(np.sum(values * weights) / np.sum(weights))


def _unanimous(columns: _Columns, rates: SolveRates) -> Unanimous:
    present = columns.count > 0
    zero = present & (columns.correct == 0)
    one = present & (columns.correct == columns.rollouts)
    never = sum(c for k, c in zip(rates.correct, rates.count, strict=True) if k == 0)
    always = sum(
        c for k, n, c in zip(rates.correct, rates.rollouts, rates.count, strict=True) if k == n
    )
    rollouts = int(columns.rollouts[zero].max()) if zero.any() else None
    return Unanimous(
        never_correct=never / rates.prompts if zero.any() else 0.0,
        always_correct=always / rates.prompts if one.any() else 0.0,
        share=(never + always) / rates.prompts,
        prompts=never + always,
        rollouts=rollouts,
        # 1 − 0.05^(1/n) without cancellation at large n.
        upper_bound=None if rollouts is None else float(-np.expm1(np.log(0.05) / rollouts)),
    )


def _silent(columns: _Columns, rates: SolveRates, size: int) -> SilentRow:
    plug_in = np.asarray(silent_rate(columns.folded, size), dtype=np.float64)
    usable = columns.recorded & (columns.rollouts >= size) & (columns.count > 0)
    prompts = sum(c for c, use in zip(rates.count, usable, strict=True) if use)
    unbiased = same = None
    if prompts:
        correct, rollouts = columns.correct[usable], columns.rollouts[usable]
        estimate = silent_rate_unbiased(
            correct.astype(np.float64), rollouts.astype(np.float64), size
        )
        unbiased = _mean(np.asarray(estimate, dtype=np.float64), columns.count[usable])
        same = _mean(plug_in[usable], columns.count[usable])
    missing = rates.prompts - prompts
    if not prompts:
        note = f"needs n ≥ {size}"
    elif missing:
        note = f"{missing:,} prompts left out: they need a recorded n ≥ {size}"
    else:
        note = ""
    return SilentRow(
        group_size=size,
        plug_in=_mean(plug_in, columns.count),
        plug_in_prompts=rates.prompts,
        unbiased=unbiased,
        unbiased_prompts=prompts,
        plug_in_same_prompts=same,
        note=note,
    )


def _zone(columns: _Columns) -> Integers:
    """Index into `ZONES`, by exact comparison of integers: 10k against multiples of n."""
    # n ≤ 2**53, so 10k fits int64.
    k, n = 10 * columns.correct, columns.rollouts
    return np.select([k < n, k < 4 * n, k <= 6 * n, k <= 9 * n], [0, 1, 2, 3], default=4)


_THEOREMS = {
    "grpo": "expectation.grpo-weight",
    "dr_grpo": "expectation.dr-grpo",
    "rloo": "expectation.rloo",
    "dapo": "expectation.dapo",
}


def _masses(columns: _Columns, sizes: tuple[int, ...]) -> tuple[MassRow, ...]:
    mixed = columns.mixed
    if not mixed.any():
        return ()
    zone, p, count = _zone(columns)[mixed], columns.folded[mixed], columns.count[mixed]
    rows = []
    for method in MASS_METHODS:
        for size in (*sizes, None):
            mass = np.asarray(gradient_mass(p, size, method=method), dtype=np.float64) * count
            by_zone = np.bincount(zone, weights=mass, minlength=len(ZONES)) / mass.sum()
            limit = size is None and method in ("grpo", "dapo")
            rows.append(
                MassRow(
                    method=method,
                    group_size=size,
                    zones=tuple(float(share) for share in by_zone),
                    extremes=float(by_zone[0] + by_zone[-1]),
                    middle=float(by_zone[_MIDDLE]),
                    theorem="expectation.arcsine" if limit else _THEOREMS[method],
                )
            )
    return tuple(rows)


def _advice(columns: _Columns, rates: SolveRates, target: float) -> GroupSizeAdvice:
    rule = (
        f"smallest G ≥ 2 at which the mean of φ(G, p̂) over the prompts with 0 < p̂ < 1 "
        f"reaches {target:g}"
    )
    mixed = columns.mixed
    prompts = sum(c for c, use in zip(rates.count, mixed, strict=True) if use)
    if not prompts:
        return GroupSizeAdvice(target, None, None, None, 0, (), rule, "expectation.monotone")
    p, index = np.unique(columns.folded[mixed], return_inverse=True)
    weights = np.bincount(index, weights=columns.count[mixed]).astype(np.float64)

    def mean_fidelity(size: int) -> float:
        return _mean(np.asarray(fidelity_at(p, size), dtype=np.float64), weights)

    # φ(·, p) is nondecreasing (expectation.monotone), and so is the mean: double, then bisect.
    low, high = 1, 2
    while high < MAX_GROUP_SIZE and mean_fidelity(high) < target:
        low, high = high, 2 * high
    reached = mean_fidelity(high) >= target
    while reached and high - low > 1:
        middle = (low + high) // 2
        if mean_fidelity(middle) >= target:
            high = middle
        else:
            low = middle
    return GroupSizeAdvice(
        target=target,
        recommended=high if reached else None,
        mean_fidelity=mean_fidelity(high) if reached else None,
        mean_fidelity_below=mean_fidelity(high - 1) if reached and high > 2 else None,
        mixed_prompts=prompts,
        quantiles=_quantiles(p, weights, target),
        rule=rule,
        theorem="expectation.monotone",
    )


def _quantiles(p: Floats, weights: Floats, target: float) -> tuple[Quantile, ...]:
    """Exact sizes at quantiles of p, which is ascending in (0, ½]; counted from ½ down."""
    balanced = p[::-1]
    cumulative = np.cumsum(weights[::-1])
    # Counts are integers, exact in float64, so share 1 finds the last prompt without tolerance.
    places = np.searchsorted(cumulative, np.asarray(QUANTILE_SHARES) * cumulative[-1])
    rates = [float(balanced[place]) for place in places]
    return tuple(
        Quantile(share, rate, smallest_group_size(rate, target))
        for share, rate in zip(QUANTILE_SHARES, rates, strict=True)
    )
