"""Stability by roots: characteristic polynomials and block maps, their roots enclosed by Arb.

A recursion is stable if all roots of its characteristic polynomial have modulus below 1. What
cannot be decided by the enclosures counts as a failure. The block map is run, step by step, for
two starting points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import flint

from .definitions import Count, FirstPrinciplesError, total_rational

__all__ = ["CHECKS"]

F = Fraction
Ball = Any  # flint.arb, which has no type stubs
MOMENTA = (F(0), F(1, 3), F(1, 2), F(9, 10))
NEAR = F(1, 10**6)


def rational(x: Fraction) -> Any:
    return flint.fmpq(x.numerator, x.denominator)


def moduli(coefficients: Sequence[Fraction]) -> list[Ball]:
    """The moduli of the roots of c_0 z^n + … + c_n, multiple roots once."""
    poly = flint.fmpq_poly([rational(F(c)) for c in reversed(coefficients)])
    return [abs(root) for root, _ in poly.complex_roots()]


def is_stable(coefficients: Sequence[Fraction]) -> bool:
    """All roots inside the unit circle; raise if the enclosures cannot tell."""
    inside = [m < 1 for m in moduli(coefficients)]
    if not all(inside) and not any(m >= 1 for m in moduli(coefficients)):
        raise FirstPrinciplesError(f"a root too near to the circle: {coefficients}")
    return all(inside)


def heavy_ball(mu: Fraction, kappa: Fraction, delay: int = 0) -> list[Fraction]:
    """z^(τ+1) − (1 + μ)z^τ + μz^(τ−1) + κ; without delay z² − (1 + μ − κ)z + μ."""
    if delay == 0:
        return [F(1), kappa - 1 - mu, mu]
    if delay == 1:
        return [F(1), -1 - mu, mu + kappa]
    return [F(1), -1 - mu, mu, *[F(0)] * (delay - 2), kappa]


# --- two roots ----------------------------------------------------------------------------------


def jury_conditions(trace: Fraction, det: Fraction) -> bool:
    """1 − T + Δ > 0, 1 + T + Δ > 0, Δ < 1."""
    return 1 - trace + det > 0 and 1 + trace + det > 0 and det < 1


def jury(*, closed_form: Callable[[Fraction, Fraction], bool] = jury_conditions) -> int:
    """Real pairs by their sizes, complex pairs by their modulus."""
    count = Count()
    values = [F(n, 4) for n in range(-9, 10)]
    for a, b in product(values, repeat=2):
        stable = abs(a) < 1 and abs(b) < 1
        count.equal(closed_form(a + b, a * b), stable, "Jury, real roots", a=a, b=b)
        if b > 0:
            stable = a * a + b * b < 1
            count.equal(
                closed_form(2 * a, a * a + b * b), stable, "Jury, a pair", real=a, imaginary=b
            )
    return count.cases


def onset_of(root: Fraction, kappa: Fraction) -> tuple[bool, bool]:
    """Complex roots, and stability, for μ = root²."""
    waves = (1 - root) ** 2 < kappa < (1 + root) ** 2
    return waves, 0 < kappa < 2 * (1 + root**2)


def onset(*, closed_form: Callable[[Fraction, Fraction], tuple[bool, bool]] = onset_of) -> int:
    """The discriminant's sign, the enclosed roots, and the steps of an oscillation."""
    count = Count()
    for root in (F(0), F(1, 4), F(1, 2), F(4, 5)):
        mu = root**2
        edges = ((1 - root) ** 2, (1 + root) ** 2, 2 * (1 + mu), F(0))
        for kappa in sorted({e + s for e in edges for s in (F(1, 97), -F(1, 97))}):
            poly = heavy_ball(mu, kappa)
            waves = poly[1] ** 2 - 4 * poly[2] < 0
            found = (waves, is_stable(poly))
            count.equal(closed_form(root, kappa), found, "onset", root=root, kappa=kappa)
            if waves:
                size = max(float(m.mid()) for m in moduli(poly))
                near = abs(size - float(root)) < 1e-12
                count.true(near, "the modulus is √μ", root=root, kappa=kappa, found=size)
    return count.cases


# --- delays -------------------------------------------------------------------------------------


def sine_bound(n: int, sine: Ball) -> Ball:
    return n * sine


def sine_multiple(*, closed_form: Callable[[int, Ball], Ball] = sine_bound) -> int:
    """|sin nx| ≤ n|sin x| by enclosures, on a grid of angles."""
    count = Count()
    for n in range(1, 13):
        for j in range(1, 40):
            x = flint.arb(rational(F(j, 6)))
            left, right = abs((n * x).sin()), closed_form(n, abs(x.sin()))
            holds = left <= right or (n == 1 and left.overlaps(right))
            count.true(bool(holds), "|sin nx| ≤ n|sin x|", n=n, x=F(j, 6))
    return count.cases


def sufficient(mu: Fraction, delay: int) -> Fraction:
    return (1 - mu) / delay


def delay_sufficient(*, closed_form: Callable[[Fraction, int], Fraction] = sufficient) -> int:
    """Just below κτ = 1 − μ, and at tenths of it, all roots lie inside."""
    count = Count()
    for mu, delay in product((*MOMENTA, F(99, 100)), (1, 2, 3, 5, 8, 13)):
        for share in (F(1, 10), F(1, 2), F(9, 10), 1 - NEAR):
            kappa = share * closed_form(mu, delay)
            stable = is_stable(heavy_ball(mu, kappa, delay))
            count.true(stable, "κτ < 1 − μ suffices", mu=mu, delay=delay, kappa=kappa)
    return count.cases


def critical(delay: int) -> Ball:
    """2 sin(π/(2(2τ+1)))."""
    return 2 * (flint.arb.pi() / (2 * (2 * delay + 1))).sin()


def _lower(x: Ball) -> Fraction:
    """A rational within 1e-12 of a ball's middle."""
    return F(round(float(x.mid()) * 10**12), 10**12)


def delay_threshold(*, closed_form: Callable[[int], Ball] = critical) -> int:
    """Stable just below, and at shares of it; unstable just above, and far above."""
    count = Count()
    for delay in range(1, 15):
        limit = _lower(closed_form(delay))
        for share in (F(1, 7), F(1, 2), F(6, 7), 1 - NEAR):
            poly = heavy_ball(F(0), share * limit, delay)
            count.true(is_stable(poly), "stable below", delay=delay, share=share)
        for share in (1 + NEAR, F(8, 7), F(2), F(5)):
            poly = heavy_ball(F(0), share * limit, delay)
            count.true(not is_stable(poly), "unstable above", delay=delay, share=share)
    return count.cases


def one_step(mu: Fraction) -> Fraction:
    return 1 - mu


def refresh_threshold(*, closed_form: Callable[[Fraction], Fraction] = one_step) -> int:
    """Stable just below 1 − μ, unstable just above."""
    count = Count()
    for mu in (*MOMENTA, F(1, 10), F(99, 100)):
        limit = closed_form(mu)
        for share, expected in ((F(1, 5), True), (1 - NEAR, True), (1 + NEAR, False)):
            stable = is_stable(heavy_ball(mu, share * limit, 1))
            count.equal(stable, expected, "one step late", mu=mu, share=share)
        count.true(not is_stable(heavy_ball(mu, -NEAR, 1)), "κ < 0", mu=mu)
    return count.cases


# --- blocks -------------------------------------------------------------------------------------


def bounds_of_the_sum(mu: Fraction, size: int) -> tuple[Fraction, Fraction]:
    """0 and N, in units of 1 − μ: bounds of 1 − μ^N."""
    return F(0), size * (1 - mu)


def partial_sum(
    *, closed_form: Callable[[Fraction, int], tuple[Fraction, Fraction]] = bounds_of_the_sum
) -> int:
    """1 − μ^N = (1 − μ)(1 + μ + … + μ^(N−1)), added up."""
    count = Count()
    for mu, size in product((F(1, 10), *MOMENTA[1:]), range(1, 12)):
        whole = (1 - mu) * total_rational(mu**j for j in range(size))
        low, high = closed_form(mu, size)
        count.true(low < whole <= high, "0 < 1 − μ^N ≤ N(1 − μ)", mu=mu, N=size, value=whole)
    return count.cases


def run_block(mu: Fraction, kappa: Fraction, size: int, x: Fraction, v: Fraction) -> Any:
    """N steps with the gradient of the first one."""
    pull = -kappa * x
    for _ in range(size):
        v = mu * v + pull
        x = x + v
    return x, v


def block_polynomial(mu: Fraction, kappa: Fraction, size: int) -> list[Fraction]:
    """z² − Tz + Δ of the map, from the images of (1, 0) and (0, 1)."""
    a, c = run_block(mu, kappa, size, F(1), F(0))
    b, d = run_block(mu, kappa, size, F(0), F(1))
    return [F(1), -(a + d), a * d - b * c]


def block_limit(mu: Fraction, size: int) -> Fraction:
    """Where the second or the third value reaches 0."""
    power = mu**size
    one = (1 - power) / (1 - mu)
    two = (size - mu * one) / (1 - mu)
    limits = [2 * (1 + power) / ((1 + power) * two - mu * one**2)]
    if mu * one**2 > power * two:
        limits.append((1 - power) / (mu * one**2 - power * two))
    return min(limits)


def block_threshold(*, closed_form: Callable[[Fraction, int], Fraction] = block_limit) -> int:
    """Stable just below and at shares of the limit, and up to κN = 1 − μ; unstable just above."""
    count = Count()
    for mu, size in product(MOMENTA, (1, 2, 3, 4, 8, 16, 64)):
        limit = closed_form(mu, size)
        for share, expected in ((F(1, 5), True), (1 - NEAR, True), (1 + NEAR, False)):
            stable = is_stable(block_polynomial(mu, share * limit, size))
            count.equal(stable, expected, "the block map", mu=mu, N=size, share=share)
        early = is_stable(block_polynomial(mu, (1 - NEAR) * (1 - mu) / size, size))
        count.true(early, "κN < 1 − μ suffices", mu=mu, N=size)
    return count.cases


def refresh_threshold_general(*, sharp: Callable[[Fraction], Fraction] = one_step) -> int:
    """Stable beyond κ·K_ref = 1 − μ for delays and blocks of two and more; the printed ratios."""
    count = Count()
    for steps in (2, 4, 8):
        kappa = F(11, 10) * sharp(F(0)) / steps
        count.true(is_stable(heavy_ball(F(0), kappa, steps)), "a delay", delay=steps)
    for mu, steps in product((F(0), F(9, 10)), (2, 4, 16, 64)):
        kappa = F(19, 10) * sharp(mu) / steps
        count.true(is_stable(block_polynomial(mu, kappa, steps)), "a block", mu=mu, N=steps)
    ratios = {2: 4.2222, 4: 2.9225, 16: 2.9846, 64: 2.7800}
    for steps, ratio in ratios.items():
        found = float(block_limit(F(9, 10), steps) * steps * 10)
        count.true(abs(found - ratio) < 1e-4, "the ratio at μ = .9", N=steps, found=found)
    for steps, ratio in {1: 1.0, 2: 1.2361, 4: 1.3892, 8: 1.4763}.items():
        found = steps * float(critical(steps).mid())
        count.true(abs(found - ratio) < 1e-4, "the ratio of a delay", delay=steps, found=found)
    return count.cases


CHECKS: dict[str, Callable[[], int]] = {
    "dynamics.jury": jury,
    "dynamics.onset": onset,
    "dynamics.sine-multiple": sine_multiple,
    "dynamics.delay-sufficient": delay_sufficient,
    "dynamics.delay-threshold": delay_threshold,
    "dynamics.refresh-threshold": refresh_threshold,
    "dynamics.partial-sum": partial_sum,
    "dynamics.block-threshold": block_threshold,
    "dynamics.refresh-threshold-general": refresh_threshold_general,
}
