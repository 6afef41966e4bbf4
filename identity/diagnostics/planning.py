"""The figures that `plan` reports for one prompt difficulty."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from identity.data import MAX_INTEGER
from identity.diagnostics.report import (
    MAX_GROUP_SIZE,
    checked_fidelity,
    checked_group_sizes,
    require_number,
)
from identity.errors import DomainError
from identity.expectation import (
    fidelity as fidelity_at,
)
from identity.expectation import (
    group_size_law,
    groups_per_kept,
    silent_rate,
    smallest_group_size,
)

__all__ = ["COLUMN_THEOREMS", "Plan", "PlanRow", "plan_group_size"]

COLUMN_THEOREMS = {
    "fidelity": "expectation.monotone",
    "silent_rate": "expectation.silent-rate",
    "groups_per_kept": "expectation.dapo",
    "rollouts_per_kept": "expectation.dapo",
}
"""The ledger id behind each figure of a `PlanRow`."""


@dataclass(frozen=True)
class PlanRow:
    """One group size and what it buys.

    Attributes
    ----------
    rule : {"exact", "second_order", "first_order", "given"}
        Where the group size comes from.
    value : float
        What the rule gives before rounding up.
    group_size : int
        G, at least 2.
    fidelity : float or None
        φ(G, p) = E[σ]/√(p(1−p)); None above G = 2^20, up to which it is evaluated.
    meets_target : bool
        Whether φ reaches the target: G is at least the exact size (`expectation.monotone`).
    silent_rate : float
        p^G + (1−p)^G, the probability that a group has no gradient.
    groups_per_kept : float
        Groups drawn per group kept under dynamic sampling, 1/(1 − p^G − (1−p)^G).
    rollouts_per_kept : float
        G times that.
    explanation : str
        The rule in words.
    theorem : str
        The ledger id behind the rule.
    """

    rule: str
    value: float
    group_size: int
    fidelity: float | None
    meets_target: bool
    silent_rate: float
    groups_per_kept: float
    rollouts_per_kept: float
    explanation: str
    theorem: str


@dataclass(frozen=True)
class Plan:
    """Group sizes for one success probability and one target.

    Attributes
    ----------
    p, fidelity, epsilon : float
        As asked for; epsilon = 1 − fidelity.
    rows : tuple of PlanRow
        Exact size, second-order law, first-order law, and the given size if there is one.
    column_theorems : dict
        `COLUMN_THEOREMS`.
    """

    p: float
    fidelity: float
    epsilon: float
    rows: tuple[PlanRow, ...]
    column_theorems: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, tuples and numbers, ready for ``json.dumps``; never NaN."""
        return asdict(self)


def plan_group_size(p: float, fidelity: float = 0.95, group_size: int | None = None) -> Plan:
    """Smallest group size for a target fidelity, the two laws beside it, and what each costs.

    Parameters
    ----------
    p : float
        Success probability, strictly between 0 and 1.
    fidelity : float, optional
        Target φ, in [1e-6, 1 − 1e-6].
    group_size : int, optional
        A group size from 2 to 2^20 to set beside the others.

    Returns
    -------
    Plan

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or if p and fidelity together ask for a group of
        more than 2^53 rollouts (at fidelity 0.95: p below 4e-16).

    Notes
    -----
    *Preconditions.* Checked: the domains. Assumed: on-policy, independent binary rewards.

    *Postcondition.* The exact size is the smallest G with φ(G, p) ≥ fidelity; the laws are rounded
    up, to 2 at least. The last two figures are those of `groups_per_kept`.

    Examples
    --------
    >>> [row.group_size for row in plan_group_size(0.05, 0.95).rows]
    [69, 60, 53]
    """
    require_number("p", p)
    if not 0 < p < 1:
        rule = "lie strictly between 0 and 1: at 0 and 1 every group is silent, at every group size"
        raise DomainError("p", p, rule)
    target = checked_fidelity(fidelity)
    if target < 1e-6:
        raise DomainError("fidelity", target, "be at least 1e-6: every group size exceeds that")
    # 1 − 0.9 in binary is not the float 0.1; the target's decimal text says what was meant.
    epsilon = float(1 - Fraction(repr(target)))
    chosen = None if group_size is None else checked_group_sizes([group_size])[0]
    prob = np.asarray(p, dtype=np.float64)

    exact = smallest_group_size(p, target)

    def row(rule: str, value: float, size: int, explanation: str, theorem: str) -> PlanRow:
        if size > MAX_INTEGER:
            rule = f"ask for a group of at most 2^53 rollouts; this takes {size:.3g}"
            raise DomainError("p, fidelity", (p, target), rule)
        reached = float(fidelity_at(prob, size)) if size <= MAX_GROUP_SIZE else None
        groups = float(groups_per_kept(prob, size))
        return PlanRow(
            rule=rule,
            value=value,
            group_size=size,
            fidelity=reached,
            meets_target=size >= exact,
            silent_rate=float(silent_rate(prob, size)),
            groups_per_kept=groups,
            rollouts_per_kept=groups * size,
            explanation=explanation,
            theorem=theorem,
        )

    second = float(group_size_law(prob, epsilon, order=2))
    first = float(group_size_law(prob, epsilon, order=1))
    rows = [
        row(
            "exact", float(exact), exact,
            f"smallest G with φ(G, p) ≥ {target:g}, by bisection: φ never falls as G grows",
            "expectation.monotone",
        ),
        row(
            "second_order", second, _rounded_up(second),
            f"root of ε = a/G + b/G², the 1 − φ to two orders: {second:.5g}, rounded up",
            "expectation.group-size-law-second-order",
        ),
        row(
            "first_order", first, _rounded_up(first),
            f"1/(8 ε p (1−p)) = {first:.5g}, rounded up; not sufficient in general",
            "expectation.group-size-law",
        ),
    ]  # fmt: skip
    if chosen is not None:
        given = row("given", float(chosen), chosen, "the size asked for", "expectation.attenuation")
        rows.append(given)
    return Plan(float(p), target, epsilon, tuple(rows), dict(COLUMN_THEOREMS))


def _rounded_up(value: float) -> int:
    """The law as a group size: rounded up, at least 2."""
    return max(2, math.ceil(value))
