"""Section 7, weights: derivatives by power series, laws of few prompts, rollouts one by one.

Tsallis' loss is in ``escorts``, its estimators in ``pools``. What has no exact value is an Arb
ball: an equation holds if both balls overlap and are narrow, an inequality if the balls say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise, product
from math import prod
from typing import Any, TypeAlias

import flint

from .definitions import Count, Method, Vector, binary_rewards, mean, scaled, total_rational
from .definitions import dr_grpo_advantages as centred
from .definitions import rloo_advantages as leave_one_out
from .escorts import log_q_tangent, real_power, tsallis
from .policies import POLICIES, Policy, expected_update
from .pools import POWER_CHECKS, garl_bias, paft
from .surds import Surd, ball, sqrt

__all__ = ["CHECKS"]

F = Fraction
Ball: TypeAlias = Any  # flint.arb or flint.arb_series, which have no type stubs
PRECISION = 160
NARROW = 1e-30


def close(found: Ball, claimed: Ball) -> bool:
    """Whether two narrow balls may hold the same number."""
    narrow = all(x.is_finite() and float(x.rad()) < NARROW for x in (found, claimed))
    return bool(narrow and found.overlaps(claimed))


def slope_at(function: Callable[[Ball], Ball], point: Fraction) -> Ball:
    """The derivative there: the second coefficient of the function of point + t."""
    old, flint.ctx.cap = flint.ctx.cap, 2
    try:
        return function(flint.arb_series([ball(point), 1]))[1]
    finally:
        flint.ctx.cap = old


# --- the atlas ------------------------------------------------------------------------------------

POINTS = (F(1, 20), F(1, 3), F(1, 2), F(5, 7), F(19, 20))
Entry = tuple[Callable[[Ball], Ball], Callable[[Ball], Ball]]  # F and its weight


def _tsallis(q: Fraction) -> Entry:
    def ascended(p: Ball) -> Ball:
        return (real_power(p, 1 - q) - 1) / ball(1 - q)

    return ascended, lambda p: real_power(p, -q)


def _pass_at(k: int) -> Entry:
    return (lambda p: 1 - (1 - p) ** k), (lambda p: k * (1 - p) ** (k - 1))


def _grpo_pass_at(k: int) -> Entry:
    def weight(p: Ball) -> Ball:
        solved = 1 - (1 - p) ** k
        return (1 - p) ** (k - 1) / (solved * (1 - solved)).sqrt()

    return (lambda p: ball(F(2, k)) * (1 - (1 - p) ** k).sqrt().asin()), weight


ENTRIES: dict[str, Entry] = {
    "success": (lambda p: p, lambda p: flint.arb(1)),
    "grpo": (lambda p: 2 * p.sqrt().asin(), lambda p: 1 / (p * (1 - p)).sqrt()),
    "log": (lambda p: p.log(), lambda p: 1 / p),
    "log-odds": (lambda p: (p / (1 - p)).log(), lambda p: 1 / (p * (1 - p))),
    **{f"Tsallis {q}": _tsallis(q) for q in (F(-1), F(1, 2), F(3, 2), F(3))},
    **{f"pass@{k}": _pass_at(k) for k in (1, 2, 5)},
    **{f"GRPO on pass@{k}": _grpo_pass_at(k) for k in (1, 2, 5)},
}


def plain_advantages(rewards: tuple[Fraction, ...]) -> Vector:
    """REINFORCE without a baseline: A_i = R_i."""
    return tuple(map(Surd, rewards))


ESTIMATORS: tuple[tuple[str, Method, Callable[[int], Fraction]], ...] = (
    ("REINFORCE", plain_advantages, lambda size: F(1)),
    ("RLOO", leave_one_out, lambda size: F(1)),
    ("Dr. GRPO", centred, lambda size: F(size - 1, size)),
)


def atlas(*, entries: dict[str, Entry] = ENTRIES, estimators: Any = ESTIMATORS) -> int:
    """F' = w on a grid, F's slope on a logit prompt, and E[g] = w ∇p over every group."""
    count = Count()
    for (name, (ascended, weight)), p in product(entries.items(), POINTS):
        with flint.ctx.workprec(PRECISION):
            found, claimed = slope_at(ascended, p), weight(ball(p))
            count.true(close(found, claimed), "F' = w", of=name, p=p, found=found, claimed=claimed)
            t = ball(p / (1 - p)).log()

            def on_logit(shift: Ball, t: Ball = t, ascended: Any = ascended) -> Ball:
                return ascended(1 / (1 + (-(shift + t)).exp()))

            found, claimed = slope_at(on_logit, F(0)), weight(ball(p)) * ball(p * (1 - p))
            count.true(close(found, claimed), "mass w·p(1−p)", of=name, p=p, found=found)
    for (name, method, factor), policy, size in product(
        estimators, (Policy.logit(F(1, 3)), POLICIES[0]), (2, 3)
    ):
        claimed_step = scaled(factor(size), policy.p_gradient)
        found_step = expected_update(policy, size, method)
        count.equal(found_step, claimed_step, "E[g] = w ∇p", of=name, G=size, policy=policy.name)
    return count.cases


# --- the Beta kernel ------------------------------------------------------------------------------

EXPONENTS = (F(1, 4), F(1, 2), F(1), F(3, 2), F(4))


def beta_kernel(
    *, peak: Callable[[Fraction, Fraction], Fraction] = lambda a, b: a / (a + b)
) -> int:
    """On a grid around it the kernel is smaller than at its peak; the slope there is 0."""
    count = Count()
    for a, b in product(EXPONENTS, repeat=2):
        with flint.ctx.workprec(PRECISION):

            def kernel(p: Ball, a: Fraction = a, b: Fraction = b) -> Ball:
                return real_power(p, a) * real_power(1 - p, b)

            top = peak(a, b)
            at_top = kernel(ball(top))
            for p in (*(F(j, 24) for j in range(1, 24)), top - F(1, 10**6), top + F(1, 10**6)):
                below = kernel(ball(p)) < at_top
                count.true(p == top or bool(below), "smaller off the peak", a=a, b=b, p=p)
            found = slope_at(kernel, top)
            count.true(close(found, flint.arb(0)), "slope 0 at the peak", a=a, b=b, found=found)
    return count.cases


# --- misspecified weights -------------------------------------------------------------------------

DELTAS = (F(0), F(1, 10), F(1, 2), F(4, 5))
FACTORS = (F(1), F(11, 10), F(3, 2), F(3))  # e^δ
LAWS: tuple[tuple[tuple[Fraction, ...], tuple[Fraction, ...]], ...] = (
    ((F(1, 2), F(1, 2)), (F(1), F(1))),
    ((F(1, 5), F(4, 5)), (F(3), F(1, 2))),
    ((F(1, 6), F(1, 2), F(1, 3)), (F(1), F(2), F(1, 4))),
)


def efficiency(
    law: Sequence[Fraction], ideal: Sequence[Fraction], ratio: Sequence[Fraction]
) -> Fraction:
    """(E w w*)²/(E w² E w*²), w = r w*."""
    rows = list(zip(law, ideal, ratio, strict=True))
    cross = total_rational(p * r * w * w for p, w, r in rows)
    used = total_rational(p * (r * w) ** 2 for p, w, r in rows)
    return cross**2 / (used * total_rational(p * w * w for p, w, _ in rows))


def least_relative(delta: Fraction) -> Fraction:
    """1 − δ²."""
    return 1 - delta**2


def least_logarithmic(factor: Fraction) -> Fraction:
    """sech²δ = (2/(e^δ + e^(−δ)))²."""
    return (2 / (factor + 1 / factor)) ** 2


def minimax(
    *,
    relative: Callable[[Fraction], Fraction] = least_relative,
    logarithmic: Callable[[Fraction], Fraction] = least_logarithmic,
) -> int:
    """All ratios on a grid of the range: none falls below the bound; two prompts attain it.

    For two prompts the least efficiency over a fine grid of laws is found as well.
    """
    count = Count()
    ranges = [(1 - d, 1 + d, relative(d)) for d in DELTAS]
    ranges += [(1 / h, h, logarithmic(h)) for h in FACTORS]
    for low, high, bound in ranges:
        at = {"low": low, "high": high, "bound": bound}
        grid = [low + (high - low) * F(j, 4) for j in range(5)]
        for law, ideal in LAWS:
            for ratio in product(grid, repeat=len(law)):
                found = efficiency(law, ideal, ratio)
                count.true(found >= bound, "efficiency ≥ bound", P=law, w=ideal, r=ratio, **at)
        for u, v in ((F(1), F(1)), (F(2), F(1, 3))):
            shares = (high * v * v, low * u * u)
            law = tuple(x / sum(shares) for x in shares)
            found = efficiency(law, (u, v), (low, high))
            count.equal(found, bound, "two prompts attain it", P=law, u=u, v=v, **at)
        laws = ((F(j, 200), 1 - F(j, 200)) for j in range(1, 200))
        least = min(efficiency(law, (F(1), F(1)), (low, high)) for law in laws)
        count.true(bound <= least <= bound + F(1, 500), "the least one", least=least, **at)
    return count.cases


# --- estimated variance ---------------------------------------------------------------------------


def plug_in(*, factor: Callable[[int], Fraction] = lambda k: F(k - 1, k)) -> int:
    """All 2^K rewards: E[p̂(1−p̂)] = (1 − 1/K) p(1−p), and K/(K−1) makes it unbiased."""
    count = Count()
    for size, p in product(range(1, 8), (F(1, 20), F(1, 3), F(1, 2), F(6, 7))):
        found = total_rational(
            mean(rewards) * (1 - mean(rewards)) * prod(p if r else 1 - p for r in rewards)
            for rewards in binary_rewards(size)
        )
        count.equal(found, factor(size) * p * (1 - p), "E[p̂(1−p̂)]", K=size, p=p)
        if size > 1:
            count.equal(found * F(size, size - 1), p * (1 - p), "times K/(K−1)", K=size, p=p)
    return count.cases


# --- success-gated gradients ----------------------------------------------------------------------

Outcomes = Sequence[tuple[Fraction, Fraction]]  # probability, gradient
RATES = (F(1, 100), F(1, 5), F(1, 2), F(4, 5), F(9, 10), F(99, 100))


def moments(outcomes: Outcomes) -> tuple[Fraction, Fraction]:
    """Mean and variance."""
    centre = total_rational(p * g for p, g in outcomes)
    return centre, total_rational(p * (g - centre) ** 2 for p, g in outcomes)


def snr(outcomes: Outcomes) -> Surd:
    """Mean over standard deviation."""
    centre, variance = moments(outcomes)
    return sqrt(variance).inverse() * centre


def gated(p: Fraction, gradient: Fraction) -> Outcomes:
    return ((p, gradient), (1 - p, F(0)))


def root_odds(p: Fraction) -> Surd:
    """√(p/(1−p))."""
    return sqrt(p / (1 - p))


def success_gated_snr(
    *,
    closed_form: Callable[[Fraction], Surd] = root_odds,
    spread: Callable[[Fraction, Fraction, Fraction], Fraction] = (
        lambda p, c, v: p * v + p * (1 - p) * c**2
    ),
) -> int:
    """Exact moments of R·c, of several scores among successes, and of (R − p)² on one logit."""
    count = Count()
    for p, c in product(RATES, (F(1), F(3, 7), F(20))):
        count.equal(snr(gated(p, c)), closed_form(p), "SNR", p=p, c=c)
    for p, later in pairwise(RATES):
        count.true(closed_form(p) < closed_form(later), "it grows", p=p, later=later)
    for bound in (F(1, 10), F(1), F(7, 2), F(100)):
        at = bound**2 / (1 + bound**2)
        above, below = (snr(gated(p, F(1))) for p in ((1 + at) / 2, at / 2))
        count.true(below < bound < above, "passes every bound", B=bound)
    for p, scores in product(RATES, ((F(1), F(2)), (F(-1), F(3), F(1, 2)), (F(1), F(-1)))):
        share = p / len(scores)
        centre, variance = moments([*((share, f) for f in scores), (1 - p, F(0))])
        c, v = moments([(F(1, len(scores)), f) for f in scores])
        count.equal(variance, spread(p, c, v), "variance", p=p, scores=scores)
        count.true(centre**2 * v <= p * c**2 * variance, "SNR² v ≤ p c²", p=p, scores=scores)
    for p in RATES:
        centre, variance = moments([(p, (1 - p) ** 2), (1 - p, p**2)])
        claimed = p * (1 - p) * variance
        count.equal(centre**2 * (1 - 2 * p) ** 2, claimed, "with a baseline", p=p)
    return count.cases


def falls_beyond_half(p: Fraction) -> Surd:
    """As a claim: SNR(p) is at most this for p > 1/2."""
    return snr(gated(F(1, 2), F(1)))


def envelope(p: Fraction) -> Surd:
    """As a claim: SNR(p) is at most this for all p."""
    return 2 * sqrt(p * (1 - p)) * snr(gated(F(1, 2), F(1)))


def snr_vanishes(
    *, claims: Sequence[Callable[[Fraction], Surd]] = (falls_beyond_half, envelope)
) -> int:
    """Every p > 1/2 of the grid refutes both claims, at p = 4/5 with an SNR of 2."""
    count = Count()
    count.equal(snr(gated(F(4, 5), F(1))), Surd(2), "SNR at 4/5")
    for claim, p in product(claims, RATES):
        if p > F(1, 2):
            count.true(snr(gated(p, F(1))) > claim(p), "the claim fails", p=p, of=claim.__name__)
    previous = Surd(0)
    for n in range(1, 12):
        found = snr(gated(1 - F(1, 10**n), F(1)))
        count.true(found > max(previous, Surd(3 ** (n - 1))), "no bound near p = 1", n=n)
        previous = found
    return count.cases


CHECKS: dict[str, Callable[[], int]] = {
    "difficulty.atlas": atlas,
    "difficulty.beta-kernel": beta_kernel,
    "difficulty.minimax": minimax,
    "difficulty.plug-in": plug_in,
    "difficulty.success-gated-snr": success_gated_snr,
    "difficulty.snr-vanishes": snr_vanishes,
    "difficulty.log-q-tangent": log_q_tangent,
    "difficulty.tsallis": tsallis,
    **POWER_CHECKS,
    "difficulty.garl-bias": garl_bias,
    "difficulty.paft": paft,
}
