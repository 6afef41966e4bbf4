"""Clips and clipped surrogates as their papers write them, for ratios that are jets."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from .definitions import total_rational
from .jets import Jet, constant, maximum, minimum

F = Fraction
Rows = list[list[Fraction]]  # one number for each token of each response
Clip = tuple[Fraction, Fraction]  # offsets from 1: the interval [1 − low, 1 + high]

CLIPS: tuple[Clip, ...] = ((F(1, 5), F(1, 5)), (F(1, 5), F(7, 25)), (F(1), F(4)))
LENGTHS = ((1, 1), (1, 3), (2, 1), (3, 2, 1))
DUAL = F(3)
FIFTH = F(1, 5)


def clip(ratio: Jet, bounds: Clip, side: int) -> Jet:
    """The ratio, clipped to [1 − low, 1 + high]."""
    low, high = bounds
    return maximum(minimum(ratio, 1 + high, side), 1 - low, side)


def ppo(ratio: Jet, advantage: Any, bounds: Clip, side: int) -> Jet:
    """min(ρA, clip(ρ)A)."""
    return minimum(ratio * advantage, clip(ratio, bounds, side) * advantage, side)


def dual_clip(ratio: Jet, advantage: Any, bounds: Clip, side: int, cap: Fraction = DUAL) -> Jet:
    """PPO's clip, and for negative advantages max(·, cA)."""
    value = ppo(ratio, advantage, bounds, side)
    return maximum(value, advantage * cap, side) if advantage < 0 else value


def numbers(lengths: Sequence[int], salt: int) -> Rows:
    """Rational numbers of both signs, one for each token, without a pattern in their indices."""
    return [
        [F((-1) ** (i + t + salt) * (7 * i + 3 * t + salt), 2 * t + i + 2) for t in range(n)]
        for i, n in enumerate(lengths)
    ]


def summed(rows: Sequence[Sequence[Jet]]) -> Jet:
    """Σ over all tokens of all responses."""
    return sum((value for row in rows for value in row), constant(F(0)))


def mean(row: Sequence[Fraction]) -> Fraction:
    """The mean over the tokens of a response."""
    return total_rational(row) / len(row)
