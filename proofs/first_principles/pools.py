"""Section 7, pools of latent draws: every pool with its probability, every resample from it.

A law has a few values, each with a weight and a score; a pool is a list of them, and its mean is
taken over all pools, here by how often each value occurs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from math import factorial, prod
from typing import Any, TypeAlias

import flint

from .definitions import Count, total_rational
from .escorts import real_power
from .surds import Surd, as_surd, ball, sqrt, total

__all__ = ["POWER_CHECKS", "garl_bias", "paft"]

F = Fraction
Ball: TypeAlias = Any  # flint.arb, which has no type stubs
PRECISION = 200


# --- x^(−q) less its Taylor polynomials -----------------------------------------------------------


def rising(q: Fraction, count: int) -> Fraction:
    """q(q+1)…(q+count−1)/count!."""
    return prod((q + k for k in range(count)), start=F(1)) / factorial(count)


def constant(q: Fraction, order: int, least: Fraction) -> Ball:
    """What the squares are multiplied with: as Taylor's theorem has it, halved."""
    return ball(rising(q, order + 1) / 2) * real_power(ball(least), -q - order - 1)


def squares(order: int, number: Fraction, u: Fraction, size: Fraction) -> Fraction:
    """Two squares whose roots have the product |number · u^(order+1)| (times u for order 1)."""
    if order == 0:
        return number**2 / size + size * u**2
    if order == 3:
        return (number**2 / size + size) * u**4
    return number**2 * u**2 / size + size * u**4


def power_remainder(
    order: int, *, bound: Callable[[Fraction, int, Fraction], Ball] = constant
) -> int:
    """A grid of x ≥ c: D (x^(−q) − polynomial) is at most its bound, for D of both signs."""
    count = Count()
    for q, c in product((F(1, 4), F(1), F(5, 2)), (F(1, 8), F(3, 4), F(1))):
        for gap, number, size in product(
            (F(0), F(1, 50), F(1), F(9)), (F(-2), F(1)), (F(1, 2), F(3))
        ):
            x = c + gap
            u = x - 1
            polynomial = total_rational((-u) ** k * rising(q, k) for k in range(order + 1))
            with flint.ctx.workprec(PRECISION):
                left = ball(number * (u if order == 1 else 1)) * (
                    real_power(ball(x), -q) - ball(polynomial)
                )
                right = bound(q, order, c) * ball(squares(order, number, u, size))
                holds = bool(left <= right) or (u == 0 and bool(left.contains(0)))
            at = {"q": q, "c": c, "x": x, "D": number, "size": size}
            count.true(holds, "remainder ≤ bound", **at, left=left, right=right)
    return count.cases


POWER_CHECKS: dict[str, Callable[..., int]] = {
    f"difficulty.power-{name}": partial(power_remainder, order)
    for order, name in enumerate(("change", "tangent", "parabola", "cubic"))
}


# --- GARL -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Law:
    """Values with their probabilities, weights and gradients g."""

    probabilities: tuple[Fraction, ...]
    weights: tuple[Fraction, ...]
    gradients: tuple[Fraction, ...]

    def mean(self, function: Callable[[Fraction, Fraction], Fraction]) -> Fraction:
        """E f(g, w)."""
        rows = zip(self.probabilities, self.gradients, self.weights, strict=True)
        return total_rational(p * function(g, w) for p, g, w in rows)

    @property
    def P(self) -> Fraction:
        return self.mean(lambda g, w: w)

    @property
    def G(self) -> Fraction:
        return self.mean(lambda g, w: g)

    def moment(self, a: int, b: int) -> Fraction:
        """E (g − E g)^a (w − P)^b."""
        mean_g, mean_w = self.G, self.P
        return self.mean(lambda g, w: (g - mean_g) ** a * (w - mean_w) ** b)

    def pools(self, size: int) -> Iterator[tuple[Fraction, Fraction, Fraction]]:
        """Probability, mean of g and mean of w of every pool, by the counts of the values."""
        for counts in compositions(size, len(self.probabilities)):
            ways = factorial(size) // prod(map(factorial, counts))
            chance = prod((p**n for p, n in zip(self.probabilities, counts, strict=True)))
            mean_g, mean_w = (
                total_rational(n * x for n, x in zip(counts, row, strict=True)) / size
                for row in (self.gradients, self.weights)
            )
            yield Fraction(ways * chance), mean_g, mean_w


def compositions(total_count: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total_count,)
        return
    for first in range(total_count + 1):
        for rest in compositions(total_count - first, parts - 1):
            yield first, *rest


LATENT = (
    Law((F(1, 2), F(1, 2)), (F(4, 5), F(6, 5)), (F(1), F(-1, 3))),
    Law((F(1, 4), F(3, 4)), (F(1), F(3, 4)), (F(2), F(1, 2))),
    Law((F(1, 5), F(3, 10), F(1, 2)), (F(1), F(9, 10), F(6, 5)), (F(-1), F(2), F(1, 4))),
)
INDICES = (F(1, 2), F(1), F(7, 4), F(3))


def leading_bias(law: Law, q: Fraction) -> Fraction:
    """((q+1)/2)∇ℓ₁ Var(w) − Cov(g, w), times q/(M P^(q+1)) in the bias; ∇ℓ₁ = E[g]/P."""
    return (q + 1) / 2 * law.G / law.P * law.moment(0, 2) - law.moment(1, 1)


def second_order(law: Law, q: Fraction) -> Fraction:
    """E(g−Eg)(w−P)² − ((q+2)/3)∇ℓ₁ E(w−P)³, times q(q+1)/(2M² P^(q+2)) in the bias."""
    return law.moment(1, 2) - (q + 2) / 3 * law.G / law.P * law.moment(0, 3)


def remainder(law: Law, q: Fraction, size: int, scale: Fraction) -> Ball:
    """The theorem's bound, of order 1/M²."""
    P, share = law.P, ball(law.P / min(law.weights))
    mixed = law.moment(2, 2) + (size - 1) * (
        law.moment(2, 0) * law.moment(0, 2) + 2 * law.moment(1, 1) ** 2
    )
    pure = law.moment(0, 4) + 3 * (size - 1) * law.moment(0, 2) ** 2
    third = ball(rising(q, 3) * (mixed / (scale * P**2) + scale * pure / P**4))
    fourth = ball(rising(q, 4) * (law.G**2 / scale + scale) * pure / P**4)
    whole = third * real_power(share, q + 3) + fourth * real_power(share, q + 4)
    return whole / (2 * ball(F(size) ** 3) * real_power(ball(P), q))


def garl_mean(law: Law, q: Fraction, size: int) -> Ball:
    """E[ḡ/w̄^q] over all pools."""
    terms = (ball(chance * g) * real_power(ball(w), -q) for chance, g, w in law.pools(size))
    return sum(terms, flint.arb(0))


def garl_bias(*, leading: Callable[[Law, Fraction], Fraction] = leading_bias) -> int:
    """Pools of up to 64 draws: bias less both terms is within the remainder, and M²(bias less
    the first) stays below one number; at q = 1 the bias is −E[ĝ(w̄ − P)]/P exactly.
    """
    count = Count()
    for law, q in product(LATENT, INDICES):
        sizes = (1, 2, 3, 8, 64) if len(law.weights) == 2 else (1, 2, 5, 12)
        for size in sizes:
            with flint.ctx.workprec(PRECISION):
                factor = ball(q) / real_power(ball(law.P), q + 1)
                target = ball(law.G) * real_power(ball(law.P), -q)
                first = factor * ball(leading(law, q) / size)
                second = factor * ball((q + 1) / (2 * law.P) * second_order(law, q) / size**2)
                bias = garl_mean(law, q, size) - target
                for scale in (F(1, 4), F(1)):
                    bound = remainder(law, q, size, scale)
                    holds = bool(abs(bias - first - second) <= bound)
                    at = {"law": law.weights, "q": q, "M": size, "scale": scale}
                    count.true(holds, "|bias − two terms| ≤ bound", **at, bias=bias, bound=bound)
                once = abs(bias - first) * size**2
                most = abs(second) * size**2 + remainder(law, q, 2, F(1)) * 8
                count.true(
                    bool(once <= most), "M²(bias − leading) is bounded", M=size, q=q, once=once
                )
    for law, size in product(LATENT, (1, 2, 5)):
        pools = list(law.pools(size))
        bias = total_rational(chance * g / w for chance, g, w in pools) - law.G / law.P
        exact = total_rational(chance * g / w * (w - law.P) for chance, g, w in pools) / law.P
        count.equal(bias, -exact, "q = 1: −E[ĝ(w̄ − P)]/P", law=law.weights, M=size)
    return count.cases


# --- PAFT -----------------------------------------------------------------------------------------


def half_power(x: Fraction, exponent: Fraction) -> Surd:
    """x to a multiple of 1/2."""
    twice = exponent * 2
    whole, odd = divmod(int(twice), 2)
    return (sqrt(x) if odd else Surd(1)) * x**whole


def attenuated(q: Fraction) -> Fraction:
    """The exponent of w̄ in PAFT."""
    return 1 - q


def by_weight(weights: Sequence[Fraction]) -> list[Fraction]:
    """The chances of resampling each draw."""
    return [w / total_rational(weights) for w in weights]


def paft(
    *,
    exponent: Callable[[Fraction], Fraction] = attenuated,
    chances: Callable[[Sequence[Fraction]], list[Fraction]] = by_weight,
    resamples: Callable[[int], int] = lambda count: count,
) -> int:
    """Every pool of up to three draws, every one or two resamples from it: mean and variance."""
    count = Count()
    weights, scores = (F(1, 2), F(2), F(1, 5)), (F(3), F(-1), F(1, 4))
    law = (F(1, 2), F(1, 3), F(1, 6))
    for q, size, many in product((F(0), F(1, 2), F(1), F(3, 2), F(2)), (1, 2, 3), (1, 2)):
        mean_paft, mean_garl, square_paft, square_garl, noise = ([] for _ in range(5))
        at: dict[str, Any] = {"q": q, "M": size, "J": many}
        for pool in product(range(len(law)), repeat=size):
            chance = prod((law[k] for k in pool), start=F(1))
            w, s = [weights[k] for k in pool], [scores[k] for k in pool]
            mean_w = total_rational(w) / size
            top = total_rational(a * b for a, b in zip(w, s, strict=True)) / size
            garl = half_power(mean_w, -q) * top
            scale, share = half_power(mean_w, exponent(q)), chances(w)
            first, second = [], []
            for draws in product(range(size), repeat=many):
                part = prod((share[k] for k in draws), start=F(1))
                step = scale * (total_rational(s[k] for k in draws) / many)
                first.append(step * part)
                second.append(step * step * part)
            count.equal(total(first), garl, "E[PAFT | pool] = GARL", pool=pool, **at)
            one = [scale * x - garl for x in s]
            variance = total(x * x * p for x, p in zip(one, share, strict=True))
            claimed = garl * garl + variance * F(1, resamples(many))
            count.equal(total(second), claimed, "E[PAFT² | pool]", pool=pool, **at)
            mean_paft.append(total(first) * chance)
            mean_garl.append(garl * chance)
            square_paft.append(total(second) * chance)
            square_garl.append(garl * garl * chance)
            noise.append(variance * chance * F(1, many))
        count.equal(total(mean_paft), total(mean_garl), "E[PAFT] = E[GARL]", **at)
        gap = total(square_paft) - total(square_garl)
        count.equal(gap, total(noise), "the variances differ by the noise", **at)
        count.true(as_surd(gap) > 0 or size == 1, "PAFT's is larger", **at)
    return count.cases
