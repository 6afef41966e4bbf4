"""Section 7, Tsallis' loss: every forecast on a grid of the simplex, evaluated as it is defined.

Powers are Arb balls, so an inequality holds only if the balls are apart; forecasts that are the
claimed minimiser itself are skipped as what they are: equal, not smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import Any, TypeAlias

import flint

from .definitions import Count
from .surds import ball

__all__ = ["log_q_tangent", "real_power", "tsallis"]

F = Fraction
Ball: TypeAlias = Any  # flint.arb or flint.arb_series, which have no type stubs
PRECISION = 160
EXPONENTS = (F(1, 5), F(1, 2), F(1), F(3, 2), F(3))


def real_power(x: Ball, exponent: Fraction) -> Ball:
    """x^exponent for x > 0."""
    return (x.log() * ball(exponent)).exp()


def log_q(x: Ball, q: Fraction) -> Ball:
    """(x^(1−q) − 1)/(1 − q), and log x at q = 1."""
    return x.log() if q == 1 else (real_power(x, 1 - q) - 1) / ball(1 - q)


def log_q_tangent(
    *,
    tangent: Callable[[Fraction], Fraction] = lambda x: x - 1,
    exponents: Sequence[Fraction] = EXPONENTS,
) -> int:
    """A grid of x on both sides of 1: log_q x < x − 1; and y < e^y − 1 for y ≠ 0."""
    count = Count()
    for q, x in product(exponents, (F(1, 1000), F(1, 7), F(99, 100), F(101, 100), F(3), F(500))):
        with flint.ctx.workprec(PRECISION):
            found = log_q(ball(x), q)
            count.true(bool(found < ball(tangent(x))), "log_q x < x − 1", q=q, x=x, found=found)
            same = log_q(flint.arb(1), q)
            count.true(bool(same.contains(0)) and tangent(F(1)) == 0, "both 0 at 1", q=q)
            y = ball(x).log()
            count.true(bool(y < y.exp() - 1), "y < e^y − 1", y=y)
    return count.cases


# --- the loss -------------------------------------------------------------------------------------

ALPHAS: tuple[tuple[Fraction, ...], ...] = (
    (F(1, 2), F(1, 2)),
    (F(9, 10), F(1, 10)),
    (F(2, 3), F(1, 3)),
    (F(1, 2), F(1, 3), F(1, 6)),
    (F(1, 12), F(3, 4), F(1, 6)),
)


def simplex(size: int, steps: int) -> Iterator[tuple[Fraction, ...]]:
    """Every distribution whose probabilities are positive multiples of 1/steps."""
    for parts in product(range(1, steps), repeat=size - 1):
        if sum(parts) < steps:
            yield tuple(F(k, steps) for k in (*parts, steps - sum(parts)))


def loss(alpha: Sequence[Fraction], forecast: Sequence[Ball], q: Fraction) -> Ball:
    """Σ α_j (−log_q θ_j)."""
    pairs = zip(alpha, forecast, strict=True)
    return sum((-ball(a) * log_q(x, q) for a, x in pairs), flint.arb(0))


def escort(alpha: Sequence[Fraction], q: Fraction) -> list[Ball]:
    """θ_j ∝ α_j^(1/q)."""
    powers = [real_power(ball(a), 1 / q) for a in alpha]
    return [x / sum(powers, flint.arb(0)) for x in powers]


def amplification(p: Fraction, q: Fraction) -> Ball:
    """P^(−q)."""
    return real_power(ball(p), -q)


def tsallis(
    *,
    weight: Callable[[Fraction, Fraction], Ball] = amplification,
    best: Callable[[Sequence[Fraction], Fraction], list[Ball]] = escort,
    improper: Sequence[Fraction] = (F(1, 5), F(1, 2), F(3, 2), F(3)),
) -> int:
    """The gradient by power series, the escort law against all others, and who is proper."""
    count = Count()
    for q, p, slope in product(EXPONENTS, (F(1, 50), F(1, 2), F(8, 9)), (F(-2), F(1, 3))):
        with flint.ctx.workprec(PRECISION):
            old, flint.ctx.cap = flint.ctx.cap, 2
            path = flint.arb_series([ball(p), ball(slope)])
            found, log = -log_q(path, q)[1], -path.log()[1]
            flint.ctx.cap = old
            for claimed in (-weight(p, q) * ball(slope), weight(p, q) * ball(p) * log):
                near = bool(found.overlaps(claimed)) and float(found.rad()) < 1e-30
                count.true(near, "∇(−log_q P)", q=q, p=p, v=slope, found=found, claimed=claimed)
    for q, alpha in product(EXPONENTS, ALPHAS):
        with flint.ctx.workprec(PRECISION):
            claimed_best = best(alpha, q)
            least = loss(alpha, claimed_best, q)
            for theta in simplex(len(alpha), 12):
                here = [ball(x) for x in theta]
                same = all(bool(x.overlaps(b)) for x, b in zip(here, claimed_best, strict=True))
                holds = same or bool(least < loss(alpha, here, q))
                count.true(holds, "the least loss", q=q, alpha=alpha, theta=theta)
    for q, p in product(EXPONENTS, (F(3, 5), F(9, 10))):
        with flint.ctx.workprec(PRECISION):
            at_truth = loss((p, 1 - p), [ball(p), ball(1 - p)], q)
            shifts = [F(sign, 10**n) for n in (2, 4, 6) for sign in (1, -1)]
            beaten = [
                shift
                for shift in shifts
                if loss((p, 1 - p), [ball(p + shift), ball(1 - p - shift)], q) < at_truth
            ]
        wanted = [s for s in shifts if (s > 0) == (q < 1)] if q in improper else []
        if q in improper:  # the smallest shift of the right sign beats the truth, the other none
            right = bool(beaten) and set(beaten) <= set(wanted) and wanted[-1] in beaten
        else:
            right = not beaten
        count.true(right, "proper at q = 1 only", q=q, p=p, beaten=beaten)
    return count.cases
