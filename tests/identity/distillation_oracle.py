"""Distillation at 50 digits, at the floats passed, straight from the definitions.

Results come with what their bounds are made of. Nothing is shared with identity/.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import mpmath
import numpy as np

from tests import oracles, tolerances

Number = Any

EPS = {"float16": 2.0**-23, "bfloat16": 2.0**-23, "float32": 2.0**-23, "float64": 2.0**-52}


def exact(value: Any) -> Number:
    """A float as a number of 50 digits."""
    value = float(value)
    return mpmath.mpf(value) if math.isinf(value) else oracles.to_mpf(oracles.fractions([value])[0])


@dataclass(frozen=True)
class Law:
    """One law: probabilities and logarithms of them, −inf for 0."""

    logs: list[Number]

    @property
    def probabilities(self) -> list[Number]:
        return [mpmath.exp(x) for x in self.logs]


def law(logits: Sequence[Any]) -> Law:
    values = [exact(x) for x in logits]
    top = max(values)
    mass = mpmath.log(sum(mpmath.exp(x - top) for x in values)) + top
    return Law([x - mass for x in values])


def size(first: Sequence[Any], second: Sequence[Any]) -> float:
    """D: the largest distance of a logit from its maximum, and between both logits of a token."""
    rows = [[float(x) for x in row] for row in (first, second)]
    found = [1.0]
    for row in rows:
        found += [max(row) - x for x in row if x > -math.inf]
    pairs = zip(*rows, strict=True)
    found += [abs(a - b) for a, b in pairs if min(a, b) > -math.inf]
    return max(found)


def divergence(first: Sequence[Any], second: Sequence[Any]) -> Number:
    """Σ p (log p − log q), inf where q is 0 and p is not."""
    with mpmath.workdps(2 * tolerances.ORACLE_DIGITS):
        p, q = law(first), law(second)
        return sum(
            (mpmath.exp(a) * (a - b) for a, b in zip(p.logs, q.logs, strict=True)
             if not mpmath.isinf(a)),
            mpmath.mpf(0),
        )  # fmt: skip


def divergence_slope(
    student: Sequence[Any], teacher: Sequence[Any], *, reverse: bool
) -> list[Number]:
    """By the student's logits: π (log π/π_T − KL), or π − π_T."""
    with mpmath.workdps(2 * tolerances.ORACLE_DIGITS):
        p, q = law(student), law(teacher)
        if not reverse:
            return [a - b for a, b in zip(p.probabilities, q.probabilities, strict=True)]
        whole = divergence(student, teacher)
        return [
            mpmath.mpf(0) if mpmath.isinf(a) else mpmath.exp(a) * (a - b - whole)
            for a, b in zip(p.logs, q.logs, strict=True)
        ]


def responses(steps: Sequence[np.ndarray]) -> dict[tuple[int, ...], Number]:
    """log P of every response, the laws after each prefix given."""
    with mpmath.workdps(2 * tolerances.ORACLE_DIGITS):
        found = {}
        for response in product(*(range(n) for n in steps[-1].shape)):
            total = mpmath.mpf(0)
            for t, step in enumerate(steps):
                if mpmath.isinf(total):
                    break
                total += law(step[response[:t]]).logs[response[t]]
            found[response] = total
        return found


def divergence_of_responses(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Number:
    """Σ P (log P − log Q) over all responses."""
    with mpmath.workdps(2 * tolerances.ORACLE_DIGITS):
        p, q = responses(first), responses(second)
        return sum(
            (mpmath.exp(p[y]) * (p[y] - q[y]) for y in p if not mpmath.isinf(p[y])), mpmath.mpf(0)
        )


def tilt(student: Sequence[Any], teacher: Sequence[Any], beta: float) -> list[Number]:
    """log π* ∝ (1 − 1/β) log π + (1/β) log π_T, 0⁰ = 1."""
    with mpmath.workdps(2 * tolerances.ORACLE_DIGITS):
        share = mpmath.mpf(0) if math.isinf(beta) else 1 / exact(beta)
        p, q = law(student).logs, law(teacher).logs

        def mixed(a: Number, b: Number) -> Number:
            parts = [w * x for w, x in ((1 - share, a), (share, b)) if w != 0]
            return mpmath.mpf("-inf") if any(map(mpmath.isinf, parts)) else sum(parts)

        weights = [mixed(a, b) for a, b in zip(p, q, strict=True)]
        mass = mpmath.log(sum(mpmath.exp(x) for x in weights))
        return [x - mass for x in weights]


def covariance(
    student: Sequence[Any], teacher: Sequence[Any], rewards: Sequence[Any]
) -> tuple[Number, Number]:
    """Cov_S(R, log π_T/π_S), and the mean distance of the log-ratio from its mean."""
    with mpmath.workdps(2 * tolerances.ORACLE_DIGITS):
        p, q = law(student), law(teacher)
        played = [
            (mpmath.exp(a), b - a, exact(r))
            for a, b, r in zip(p.logs, q.logs, rewards, strict=True)
            if not mpmath.isinf(a)
        ]
        mean = sum(w * r for w, _, r in played)
        centre = sum(w * x for w, x, _ in played)
        spread = sum(w * abs(x - centre) for w, x, _ in played)
        return sum(w * (r - mean) * (x - centre) for w, x, r in played), spread
