"""The quantities of section 3 at 50 digits, from their definitions, at the floats passed."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import mpmath

from tests.oracles import mean, sqrt, to_mpf
from tests.tolerances import ORACLE_DIGITS


def logistic(x: mpmath.mpf) -> mpmath.mpf:
    with mpmath.workdps(ORACLE_DIGITS):
        return 1 / (1 + mpmath.exp(-x)) if x > 0 else mpmath.exp(x) / (1 + mpmath.exp(x))


def dpo_weight(margin: Fraction, beta: Fraction) -> mpmath.mpf:
    with mpmath.workdps(ORACLE_DIGITS):
        return to_mpf(beta) * logistic(-to_mpf(beta * margin))


def dpo_loss(margin: Fraction, beta: Fraction) -> mpmath.mpf:
    """−log S(βΔ); for −βΔ beyond a thousand digits its only term."""
    with mpmath.workdps(ORACLE_DIGITS):
        x = to_mpf(beta * margin)
        return mpmath.log1p(mpmath.exp(-x)) if x > 0 else mpmath.log1p(mpmath.exp(x)) - x


def ratios(row: Sequence[Fraction]) -> tuple[Fraction, Fraction]:
    """Log-ratios of the better and the worse response, from the four log-probabilities."""
    chosen, rejected, of_chosen, of_rejected = row
    return chosen - of_chosen, rejected - of_rejected


def two_grpo(
    rewards: Sequence[Fraction], column: Sequence[Fraction], ddof: int
) -> Fraction | mpmath.mpf:
    """½ Σ A_i s_i with A_i = (R_i − μ)/std, straight from the rewards."""
    if rewards[0] == rewards[1]:
        return Fraction(0)
    centre = mean(rewards)
    spread = sum((r - centre) ** 2 for r in rewards) / (2 - ddof)
    top = sum((r - centre) * s for r, s in zip(rewards, column, strict=True)) / 2
    with mpmath.workdps(ORACLE_DIGITS):
        return to_mpf(top) / sqrt(spread)


def pairwise(rewards: Sequence[int], column: Sequence[Fraction]) -> tuple[mpmath.mpf, mpmath.mpf]:
    """The sum over pairs as written, and (1/G)Σ|A_i s_i|, the scale of its rounding."""
    size, correct = len(rewards), sum(rewards)
    if correct in (0, size):
        return mpmath.mpf(0), mpmath.mpf(0)
    total = Fraction(0)
    for r, s in zip(rewards, column, strict=True):
        for other, t in zip(rewards, column, strict=True):
            if r == 1 and other == 0:
                total += s - t
    product = Fraction(correct * (size - correct))
    terms = sum(
        abs(s) * (size - correct if r == 1 else correct)
        for r, s in zip(rewards, column, strict=True)
    )
    with mpmath.workdps(ORACLE_DIGITS):
        scale = size * sqrt(product)
        return to_mpf(total) / scale, to_mpf(terms) / scale


def gain(p: Fraction, plus: Fraction, minus: Fraction, c: Fraction) -> Fraction:
    return (plus + c**2 * minus) / (1 + c * p / (1 - p)) ** 2


def least_gain(p: Fraction, plus: Fraction, minus: Fraction) -> Fraction:
    """The value at c*, put into the definition."""
    if plus == 0 or minus == 0:
        return Fraction(0)
    return gain(p, plus, minus, p / (1 - p) * plus / minus)


def budget(
    means: Sequence[Fraction],
    variances: Sequence[Fraction],
    weights: Sequence[Fraction],
    prompts: int,
) -> Fraction:
    total = sum(weights)
    centre = sum(w * m for w, m in zip(weights, means, strict=True)) / total
    spread = sum(w * (m - centre) ** 2 for w, m in zip(weights, means, strict=True)) / total
    within = sum(w * v for w, v in zip(weights, variances, strict=True)) / total
    return (spread + within) / prompts
