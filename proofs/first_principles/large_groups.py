"""Section 2, large groups: limits, expansions and the group size that a fidelity needs.

The fidelity is φ(G, p) = E[σ]/√(pq).  Inequalities are decided by Arb balls at 128 bits: a ball
comparison that cannot be decided counts as a failure, never as a success.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise, product
from math import ceil, comb, floor
from typing import Any, TypeAlias

import flint

from .definitions import Count, Rewards, dr_grpo_advantages, std
from .policies import enumerated_weight, expected_value
from .surds import Surd, ball, sqrt, total

F = Fraction
Ball: TypeAlias = Any  # flint.arb, which has no type stubs
PRECISION = 128


def fidelity(group_size: int, p: Fraction) -> Ball:
    """φ(G, p) = E[σ]/√(pq), by summing the binomial law of k."""
    with flint.ctx.workprec(PRECISION):
        odds = ball(p / (1 - p))
        mass = ball(1 - p) ** group_size
        result = flint.arb(0)
        for k in range(group_size):
            result += mass * flint.arb(k * (group_size - k)).sqrt()
            mass = mass * odds * (group_size - k) / (k + 1)
        return result / (group_size * ball(p * (1 - p)).sqrt())


def inverse_root(p: Fraction) -> Ball:
    """1/√(pq)."""
    return 1 / ball(p * (1 - p)).sqrt()


def arcsine(*, closed_form: Callable[[Fraction], Ball] = inverse_root) -> int:
    """W_G(p) = E[σ]/(pq) → 1/√(pq): 0 ≤ limit − W_G ≤ limit/(2Gpq), G = 2, 4, …, 2048.

    W_G enumerated over all 2^G groups lies in the ball used, G ≤ 6.  That 2·arcsin√p has this
    derivative: each of its increments over [j/50, (j+1)/50] is between the interval's length
    times the limit at one end and at the other.  Dr. GRPO: W = (G−1)/G for all p, so it ascends p.
    """
    count = Count()
    for p in (F(1, 10), F(1, 4), F(1, 2), F(2, 3), F(19, 20)):
        for group_size in (2**j for j in range(1, 12)):
            with flint.ctx.workprec(PRECISION):
                gap = closed_form(p) - fidelity(group_size, p) * inverse_root(p)
                bound = closed_form(p) / ball(2 * group_size * p * (1 - p))
                holds = gap > 0 and gap < bound
            claim = "0 < 1/√(pq) − W_G ≤ 1/(2G(pq)^{3/2})"
            count.true(holds, claim, G=group_size, p=p, gap=gap, bound=bound)
        for group_size in range(2, 7):
            with flint.ctx.workprec(PRECISION):
                found = enumerated_weight(group_size, p).ball()
                holds = found.overlaps(fidelity(group_size, p) * inverse_root(p))
            count.true(holds, "W_G is E[σ]/(pq)", G=group_size, p=p, W=found)
            plain = enumerated_weight(group_size, p, dr_grpo_advantages)
            count.equal(plain, F(group_size - 1, group_size), "Dr. GRPO: W", G=group_size, p=p)
    for a, b in pairwise(F(j, 50) for j in range(1, 50)):
        with flint.ctx.workprec(PRECISION):
            rise = 2 * (ball(b).sqrt().asin() - ball(a).sqrt().asin())
            ends = [closed_form(x) * ball(b - a) for x in (a, b)]
            low, high = ends if b > F(1, 2) else ends[::-1]
            holds = low < rise and rise < high
        count.true(holds, "the slope of 2·arcsin√p is 1/√(pq)", a=a, b=b)
    return count.cases


def second_order(group_size: int, p: Fraction) -> Fraction:
    """1 − 1/(8Gpq) − (7−16pq)/(128G²p²q²)."""
    x = group_size * p * (1 - p)
    return 1 - 1 / (8 * x) - (7 - 16 * p * (1 - p)) / (128 * x**2)


REMAINDER = F(3, 10)
LIKELY = tuple(F(1, n) for n in (200, 100, 50, 20, 10, 5, 3, 2))
MIRRORED = (F(2, 3), F(9, 10), F(49, 50))


def attenuation(
    *,
    closed_form: Callable[[int, Fraction], Fraction] = second_order,
    constant: Fraction = REMAINDER,
) -> int:
    """|φ − (1 − 1/(8Gpq) − (7−16pq)/(128G²p²q²))| ≤ C/(Gpq)³ with C = 3/10, on a grid.

    p = 1/200..1/2 and 2/3, 9/10, 49/50, the first G with Gpq ≥ x for x = 1, 2, 3, 4, 6, 10, 30
    (and 200 for 1/10 ≤ p ≤ 9/10).
    """
    count = Count()
    for p, x in product((*LIKELY, *MIRRORED), (1, 2, 3, 4, 6, 10, 30, 200)):
        if x == 200 and p * (1 - p) < F(9, 100):
            continue
        group_size = max(2, ceil(x / (p * (1 - p))))
        with flint.ctx.workprec(PRECISION):
            error = abs(fidelity(group_size, p) - ball(closed_form(group_size, p)))
            found = error * ball(group_size * p * (1 - p)) ** 3
            holds = found <= ball(constant)
        claim = "the remainder of the second-order expansion"
        count.true(holds, claim, G=group_size, p=p, remainder=found, bound=constant)
    return count.cases


def monotone(*, spread: Callable[[Rewards], Surd] = std) -> int:
    """φ is nondecreasing in G and at most 1: exact surds, G = 2..11, p = 1/10..9/10 and 1/100.

    The reason, free of p: the mean of σ over the G+1 ways to delete one rollout is at most the
    σ of the whole group, for every 0/1 vector, G+1 = 3..24 (by the number k of ones).
    """
    count = Count()

    def by_count(k: int, group_size: int) -> Surd:
        return spread((F(1),) * k + (F(0),) * (group_size - k))

    for size in range(3, 25):
        for k in range(size + 1):
            deleted = [by_count(k - 1, size - 1)] * k + [by_count(k, size - 1)] * (size - k)
            holds = total(deleted) / size <= by_count(k, size)
            count.true(holds, "E[σ of a random subgroup] ≤ σ", G=size, k=k)
    for p in (F(1, 100), *(F(j, 10) for j in range(1, 10))):
        means = [
            total(
                by_count(k, size) * (comb(size, k) * p**k * (1 - p) ** (size - k))
                for k in range(size + 1)
            )
            for size in range(2, 12)
        ]
        for size in range(2, 5):
            enumerated = expected_value(size, p, spread)
            count.equal(enumerated, means[size - 2], "E[σ] by the number of ones", G=size, p=p)
        for size, value in enumerate(means, start=2):
            count.true(value <= sqrt(p * (1 - p)), "φ ≤ 1", G=size, p=p, E_sigma=value)
        for size, (now, then) in enumerate(pairwise(means), start=2):
            count.true(now <= then, "φ is nondecreasing in G", G=size, p=p)
    return count.cases


EPSILONS = (F(1, 10), F(1, 20), F(1, 100))
SMALLEST = {  # the smallest G with φ ≥ 1−ε, and the printed G* = 1/(8εpq), per EPSILONS
    F(1, 2): ((7, 5), (11, 10), (51, 50)),
    F(3, 10): ((9, 6), (14, 12), (61, 60)),
    F(1, 10): ((22, 14), (36, 28), (144, 139)),
    F(1, 20): ((42, 26), (69, 53), (273, 263)),
}
Cells: TypeAlias = Mapping[Fraction, tuple[tuple[int, int], ...]]


def first_order(eps: Fraction, p: Fraction) -> Fraction:
    """G* = 1/(8εpq)."""
    return 1 / (8 * eps * p * (1 - p))


def group_size_law(*, table: Cells = SMALLEST) -> int:
    """Refutes "G ≥ 1/(8εpq) gives φ ≥ 1−ε" in each of the paper's twelve cells.

    φ at ⌈G*⌉ is below 1−ε; the smallest G that reaches 1−ε is found by trying every G from 2; the
    printed G* is 1/(8εpq) rounded to the nearest integer.  φ(8, .5) = .9278, φ(8, .05) = .5390.
    """
    count = Count()
    for p, cells in table.items():
        group_size = 2
        for eps, (exact, rule) in sorted(zip(EPSILONS, cells, strict=True), reverse=True):
            at = {"p": p, "eps": eps}
            count.true(
                fidelity(ceil(first_order(eps, p)), p) < ball(1 - eps), "φ(⌈G*⌉) < 1−ε", **at
            )
            while True:  # a larger target needs a larger group, so the search goes on from here
                reached = fidelity(group_size, p)
                if reached >= ball(1 - eps):
                    break
                count.true(reached < ball(1 - eps), "φ(G) < 1−ε is decided", G=group_size, **at)
                group_size += 1
            count.equal(group_size, exact, "the smallest G with φ ≥ 1−ε", **at)
            nearest = floor(first_order(eps, p) + F(1, 2))
            count.equal(nearest, rule, "the printed G* = 1/(8εpq)", **at)
    for p, printed in ((F(1, 2), F(9278, 10**4)), (F(1, 20), F(5390, 10**4))):
        found = fidelity(8, p)
        holds = abs(found - ball(printed)) < ball(F(1, 20_000))
        count.true(holds, "φ(8, p) to four digits", p=p, phi=found)
    return count.cases


def quadratic(eps: Fraction, p: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """The coefficients (ε, −a, −b) of εG² − aG − b, a = 1/(8pq), b = (7−16pq)/(128p²q²)."""
    x = p * (1 - p)
    return eps, -1 / (8 * x), -(7 - 16 * x) / (128 * x**2)


Quadratic: TypeAlias = Callable[[Fraction, Fraction], tuple[Fraction, Fraction, Fraction]]


def group_size_law_second_order(*, closed_form: Quadratic = quadratic) -> int:
    """The positive root of ε = a/G + b/G²: 271.1 at p = .05, ε = 1 %, by an exact sign change.

    In all twelve cells it is nearer to the exact smallest G than 1/(8εpq) is, by an exact sign of
    the quadratic at the reflection of 1/(8εpq) in the exact G; and the second-order expansion of
    φ is below 1−ε at the root rounded down and not below it at the root rounded up.
    """
    count = Count()

    def below_root(g: Fraction, eps: Fraction, p: Fraction) -> bool:
        c2, c1, c0 = closed_form(eps, p)
        return c2 * g**2 + c1 * g + c0 < 0  # for g > 0; the other root is negative

    eps, p = F(1, 100), F(1, 20)
    count.true(below_root(F(27105, 100), eps, p), "the root is above 271.05", p=p, eps=eps)
    count.true(not below_root(F(27115, 100), eps, p), "the root is below 271.15", p=p, eps=eps)
    for p, cells in SMALLEST.items():
        for eps, (exact, _) in zip(EPSILONS, cells, strict=True):
            at = {"p": p, "eps": eps, "exact": exact}
            rule = first_order(eps, p)
            count.true(below_root(rule, eps, p), "the root is above 1/(8εpq)", **at)
            mirrored = 2 * exact - rule
            count.true(not below_root(mirrored, eps, p), "the root is nearer than 1/(8εpq)", **at)
            up = next(g for g in range(1, 2 * exact) if not below_root(F(g), eps, p))
            claim = "the expansion of φ crosses 1−ε at the root"
            count.true(second_order(up, p) >= 1 - eps > second_order(up - 1, p), claim, **at)
    return count.cases


def poisson_fidelity(rate: Fraction, terms: int = 100) -> Ball:
    """E√N/√λ for N ~ Poisson(λ), λ ≤ 20: a partial sum, and a ball for the rest.

    √k ≤ k, so the rest from k = K on is at most λ·P(N ≥ K−1), and that is at most
    λ·P(N = K−1)/(1 − λ/K).
    """
    with flint.ctx.workprec(PRECISION):
        lam = ball(rate)
        mass = (-lam).exp()
        result = flint.arb(0)
        for k in range(terms):
            result += mass * flint.arb(k).sqrt()
            if k < terms - 1:
                mass = mass * lam / (k + 1)
        rest = lam * mass / (1 - lam / terms)
        return (result + flint.arb(0).union(rest)) / lam.sqrt()


RATES = ((F(1, 10), "2.0415"), (F(1, 20), "3.3447"), (F(1, 100), "12.976"))


def group_size_rare(*, rates: tuple[tuple[Fraction, str], ...] = RATES) -> int:
    """λ_ε solves E√Poisson(λ) = (1−ε)√λ: a sign change across the printed digits.

    E√N/√λ increases along λ = 1/4, 2/4, …, 16, so the crossing is the only one there.  At p = 1/20,
    1/100, 1/1000 the smallest G is above λ/p and at most λ/p + λ + 2, so pG → λ.
    """
    count = Count()
    for low, high in pairwise(F(j, 4) for j in range(1, 65)):
        increases = poisson_fidelity(low) < poisson_fidelity(high)
        count.true(increases, "E√N/√λ increases in λ", low=low, high=high)
    for eps, printed in rates:
        half_digit = F(1, 2 * 10 ** len(printed.partition(".")[2]))
        low, high = F(printed) - half_digit, F(printed) + half_digit
        at = {"eps": eps, "printed": printed}
        count.true(poisson_fidelity(low) < ball(1 - eps), "λ_ε is above the digits", **at)
        count.true(poisson_fidelity(high) > ball(1 - eps), "λ_ε is below the digits", **at)
        for p in (F(1, 20), F(1, 100), F(1, 1000)):
            before, after = floor(low / p), ceil(high / p + high + 2)
            count.true(fidelity(before, p) < ball(1 - eps), "G > λ/p", G=before, p=p, **at)
            count.true(fidelity(after, p) > ball(1 - eps), "G ≤ λ/p + λ + 2", G=after, p=p, **at)
    return count.cases
