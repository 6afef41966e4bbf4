"""The quantities of section 7 at 50 digits, from their definitions, at the floats passed.

Objectives F come from the literature's formulas, up to a constant; the tests differentiate them, so
that no weight is written down twice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np

from tests.oracles import to_mpf
from tests.tolerances import ORACLE_DIGITS

Function = Callable[[mpmath.mpf], mpmath.mpf]

# Of differences with steps of 1e-50 of an objective that is flat near 1.
WIDE_DIGITS = 10 * ORACLE_DIGITS


def rounded(value: float, dtype: str) -> mpmath.mpf:
    """A parameter as the dtype that computes holds it."""
    return mpmath.mpf(float(np.dtype("float64" if dtype == "float64" else "float32").type(value)))


def _log_q(p: mpmath.mpf, q: mpmath.mpf) -> mpmath.mpf:
    return mpmath.log(p) if q == 1 else p ** (1 - q) / (1 - q)


def _pass(p: mpmath.mpf, k: int) -> mpmath.mpf:
    return -mpmath.expm1(k * mpmath.log1p(-p))


# What each method ascends, by its options; None stands for a limit of large groups.
OBJECTIVES: dict[str, Callable[..., mpmath.mpf]] = {
    "reinforce": lambda p: p,
    "rloo": lambda p: p,
    "dr_grpo": lambda p: p,
    "grpo": lambda p: 2 * mpmath.asin(mpmath.sqrt(p)),
    "dapo": lambda p: 2 * mpmath.asin(mpmath.sqrt(p)),
    "max_rl": mpmath.log,
    "tsallis": lambda p, q: _log_q(p, q),
    "log_likelihood": mpmath.log,
    "log_odds": lambda p: mpmath.log(p) - mpmath.log1p(-p),
    "pass_at_k": lambda p, k: _pass(p, k),
    "grpo_pass_at_k": lambda p, k: 2 * mpmath.asin(mpmath.sqrt(_pass(p, k))) / k,
}


def objective(method: str, options: dict[str, Any], dtype: str) -> Function:
    """F of the method, with its real options rounded as the function under test rounds them."""
    exact = {n: v if n == "k" else rounded(v, dtype) for n, v in options.items()}
    return lambda p: OBJECTIVES[method](p, **exact)


def slope(function: Function, p: Fraction) -> mpmath.mpf:
    """F′(p), by a central difference whose error is far below the digits of the floats."""
    with mpmath.workdps(WIDE_DIGITS):
        x = to_mpf_wide(p)
        step = x * (1 - x) * mpmath.mpf(10) ** (-ORACLE_DIGITS)
        return (function(x + step) - function(x - step)) / (2 * step)


def second_slope(function: Function, p: Fraction) -> mpmath.mpf:
    with mpmath.workdps(WIDE_DIGITS):
        x = to_mpf_wide(p)
        step = x * (1 - x) * mpmath.mpf(10) ** (-ORACLE_DIGITS)
        return (function(x + step) - 2 * function(x) + function(x - step)) / step**2


def to_mpf_wide(value: Fraction) -> mpmath.mpf:
    return mpmath.mpf(value.numerator) / mpmath.mpf(value.denominator)


def kernel(p: Fraction, alpha: mpmath.mpf, beta: mpmath.mpf, less: int = 0) -> mpmath.mpf:
    """p^(α − less) (1 − p)^(β − less)."""
    with mpmath.workdps(ORACLE_DIGITS):
        return to_mpf(p) ** (alpha - less) * to_mpf(1 - p) ** (beta - less)


def escort(alpha: Sequence[Fraction], q: mpmath.mpf) -> list[mpmath.mpf]:
    with mpmath.workdps(ORACLE_DIGITS):
        raised = [to_mpf(a) ** (1 / q) if a else mpmath.mpf(0) for a in alpha]
        return [r / mpmath.fsum(raised) for r in raised]


def efficiency(
    weights: Sequence[Fraction], target: Sequence[Fraction], law: Sequence[Fraction]
) -> Fraction:
    cross = sum(p * a * b for p, a, b in zip(law, weights, target, strict=True))
    used = sum(p * a * a for p, a in zip(law, weights, strict=True))
    best = sum(p * b * b for p, b in zip(law, target, strict=True))
    return Fraction(cross * cross, 1) / (used * best)


def garl(
    gradients: Sequence[Fraction], weights: Sequence[Fraction], q: mpmath.mpf
) -> tuple[mpmath.mpf, mpmath.mpf]:
    """ḡ/w̄^q in one coordinate, and (1/M)Σ|g_m|/w̄^q, the scale of its rounding."""
    size = len(weights)
    with mpmath.workdps(ORACLE_DIGITS):
        scale = to_mpf(sum(weights, Fraction(0)) / size) ** q
        terms = sum((abs(g) for g in gradients), Fraction(0)) / size
        return to_mpf(sum(gradients, Fraction(0)) / size) / scale, to_mpf(terms) / scale


def pools(draws: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Every pool of that many draws from equally likely outcomes."""
    return itertools.product(draws, repeat=size)


def choices(weights: Sequence[Fraction], count: int) -> Iterator[tuple[tuple[int, ...], Fraction]]:
    """Every tuple of draws from a pool, with its chance under the chances w_j/Σw."""
    total = sum(weights, Fraction(0))
    live = [j for j, w in enumerate(weights) if w]
    for drawn in itertools.product(live, repeat=count):
        yield drawn, Fraction(math.prod(weights[j] / total for j in drawn))
