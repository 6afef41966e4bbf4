"""Section 6, noise and success over training: the recursions themselves, step by step.

The stationary variance comes from summing the recursion's own responses to a unit of noise, in
rational numbers. Policies are lists of probabilities, response by response, in Arb balls: a
comparison that cannot be decided counts as a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise, product
from math import ceil
from typing import Any, TypeAlias

import flint

from .definitions import Count, dr_grpo_advantages, mean, rloo_advantages, total_rational
from .large_groups import PRECISION, fidelity
from .policies import enumerated_weight
from .surds import Rational, ball

__all__ = ["CHECKS"]

F = Fraction
Ball: TypeAlias = Any  # flint.arb, which has no type stubs

# --- the stationary variance ----------------------------------------------------------------------

# μ, η, K: without momentum, with some, near the onset of instability, with fast oscillations
SETTINGS = (
    (F(0), F(1, 2), F(1)),
    (F(0), F(1, 4), F(6)),
    (F(1, 2), F(1, 4), F(2)),
    (F(1, 2), F(1), F(5, 2)),
    (F(3, 4), F(1, 8), F(4)),
    (F(1, 5), F(2, 3), F(1)),
)
ROLLOUTS = (
    ((F(0), F(1, 3)), (F(3), F(2, 3))),
    ((F(-1), F(1, 4)), (F(1), F(1, 2)), (F(2), F(1, 4))),
)
LONG = 120  # steps


def stationary(
    mu: Fraction, eta: Fraction, stiffness: Fraction, s2: Fraction, size: int
) -> Fraction:
    """(1+μ)ηs²/[(1−μ)K(2(1+μ)−ηK)G]."""
    rest = 2 * (1 + mu) - eta * stiffness
    return (1 + mu) * eta * s2 / ((1 - mu) * stiffness * rest * size)


def heavy_ball(
    mu: Fraction, eta: Fraction, stiffness: Fraction, noise: tuple[Rational, ...]
) -> list[Fraction]:
    """x after each noise, from rest at the fixed point: x' = x − η(Kx − ξ) + μ(x − x₋)."""
    before, now, path = F(0), F(0), []
    for xi in noise:
        before, now = now, now - eta * (stiffness * now - xi) + mu * (now - before)
        path.append(now)
    return path


def stationary_variance(*, closed_form: Callable[..., Fraction] = stationary) -> int:
    """The variance from rest rises to the claim: below it always, and to 1e-9 of it at the end.

    The variance after T steps is enumerated over all noises for T ≤ 3, each noise the mean of G
    rollouts less its expectation; it is (s²/G) Σ r_j², r_j the response to a unit of noise j steps
    ago, and that is summed for T = 120.
    """
    count = Count()
    for law, size in product(ROLLOUTS, (1, 2)):
        centre = total_rational(value * mass for value, mass in law)
        s2 = total_rational(mass * (value - centre) ** 2 for value, mass in law)
        groups = [
            (mean([value for value, _ in group]) - centre, _mass(group))
            for group in product(law, repeat=size)
        ]
        for mu, eta, stiffness in SETTINGS:
            at = {"mu": mu, "eta": eta, "K": stiffness, "G": size, "s2": s2}
            claimed = closed_form(mu, eta, stiffness, s2, size)
            responses = heavy_ball(mu, eta, stiffness, (1, *(0,) * (LONG - 1)))
            for steps in range(1, 4 if size == 1 else 3):
                found = total_rational(
                    _mass(path)
                    * heavy_ball(mu, eta, stiffness, tuple(xi for xi, _ in path))[-1] ** 2
                    for path in product(groups, repeat=steps)
                )
                summed = s2 / size * total_rational(r * r for r in responses[:steps])
                count.equal(found, summed, "E x_T² over all noises", T=steps, **at)
                count.true(found < claimed, "it is below the stationary one", T=steps, **at)
            reached = s2 / size * total_rational(r * r for r in responses)
            close = claimed * (1 - F(1, 10**9)) < reached <= claimed
            count.true(close, "E x_T² approaches the stationary variance", T=LONG, **at)
    return count.cases


def _mass(outcomes: tuple[tuple[Fraction, Fraction], ...]) -> Fraction:
    """The probability of independent outcomes."""
    result = F(1)
    for _, mass in outcomes:
        result *= mass
    return result


# --- the mean drift and the group size ------------------------------------------------------------

DRIFTS = {  # φ at G = 4 and 16
    F(1, 2): (F("0.808"), F("0.967")),
    F(3, 10): (F("0.749"), F("0.959")),
    F(1, 10): (F("0.507"), F("0.854")),
    F(1, 20): (F("0.373"), F("0.712")),
}


def leading(size: int, p: Fraction) -> Fraction:
    """1/(8Gp(1−p))."""
    return 1 / (8 * size * p * (1 - p))


def group_size_invariance(
    *,
    drifts: dict[Fraction, tuple[Fraction, Fraction]] = DRIFTS,
    closed_form: Callable[[int, Fraction], Fraction] = leading,
) -> int:
    """RLOO: weight 1, Dr. GRPO: (G−1)/G, over all 2^G groups; GRPO: φ as printed, growing with G.

    1 − φ is 1/(8x) up to (2/5)/x² for x = Gp(1−p) = 1, 2, 10, 100, 200 (the next G), inside of the
    13/x² that is claimed; and at most 1/(2x) for every G = 2..20.
    """
    count = Count()
    for p, printed in drifts.items():
        at: dict[str, object] = {"p": p}
        for size in range(2, 6):
            plain = enumerated_weight(size, p, rloo_advantages)
            count.equal(plain, 1, "RLOO: E[g]/∇p", G=size, **at)
            scaled = enumerated_weight(size, p, dr_grpo_advantages)
            count.equal(scaled, F(size - 1, size), "Dr. GRPO: E[g]/∇p", G=size, **at)
        with flint.ctx.workprec(PRECISION):
            root = ball(p * (1 - p)).sqrt()
            enumerated = enumerated_weight(4, p).ball() * root
            count.true(enumerated.overlaps(fidelity(4, p)), "GRPO: √(pq) E[g]/∇p is φ", **at)
            for size, text in zip((4, 16), printed, strict=True):
                near = abs(fidelity(size, p) - ball(text)) < ball(F(1, 2000))
                count.true(near, "φ to three digits", G=size, printed=text, **at)
            drift = [fidelity(size, p) for size in range(2, 22)]
            for size, (now, then) in enumerate(pairwise(drift), start=2):
                count.true(now < then and then < 1, "φ grows, below 1", G=size, **at)
                bound = ball(1 / (2 * size * p * (1 - p)))
                count.true(1 - now <= bound, "1 − φ ≤ 1/(2x)", G=size, **at)
            for least in (1, 2, 10, 100, 200):
                size = ceil(least / (p * (1 - p)))
                x = size * p * (1 - p)
                gap = abs(1 - fidelity(size, p) - ball(closed_form(size, p)))
                count.true(gap * ball(x * x) <= ball(F(2, 5)), "1 − φ = 1/(8x)", G=size, **at)
    return count.cases


# --- one step of the success recursion ------------------------------------------------------------

# Rewards of the responses, the reference's probabilities, those of the last policy.
PROMPTS = (
    ((1, 0), (F(1, 2), F(1, 2)), (F(2, 3), F(1, 3))),
    ((1, 0, 0), (F(1, 10), F(1, 2), F(2, 5)), (F(1, 4), F(1, 4), F(1, 2))),
    ((0, 1, 1, 0), (F(1, 5), F(2, 5), F(3, 10), F(1, 10)), (F(1, 20), F(1, 5), F(7, 10), F(1, 20))),
    ((1, 1, 0), (F(1, 100), F(1, 50), F(97, 100)), (F(1, 50), F(1, 50), F(24, 25))),
)
PENALTIES = ((F(1), F(0)), (F(2), F(1, 100)), (F(1, 2), F(1, 4)), (F(5), F(0)))  # β, ε


def next_success(p: Fraction, reference: Fraction, beta: Fraction, eps: Fraction) -> Ball:
    """1/(1 + ((1−p_ref)/p_ref) exp(−1/(β√(p(1−p)+ε))))."""
    exponent = 1 / (ball(beta) * ball(p * (1 - p) + eps).sqrt())
    return 1 / (1 + ball((1 - reference) / reference) * (-exponent).exp())


def success_recursion(*, closed_form: Callable[..., Ball] = next_success) -> int:
    """π_ref exp(A/β), normalised response by response: its success is as claimed, above p_ref.

    No other policy of a grid has an objective as large: those that mix it with any policy that is
    sure of one response, and those with another success probability.
    """
    count = Count()
    for (rewards, reference, last), (beta, eps) in product(PROMPTS, PENALTIES):
        at = {"rewards": rewards, "reference": reference, "last": last, "beta": beta, "eps": eps}
        p, start = _success(last, rewards), _success(reference, rewards)
        spread = total_rational(pi * (r - p) ** 2 for pi, r in zip(last, rewards, strict=True))
        with flint.ctx.workprec(PRECISION):
            scale = ball(spread + eps).sqrt()
            advantages = [ball(r - p) / scale for r in rewards]
            tilted = [
                ball(pi) * (a / ball(beta)).exp()
                for pi, a in zip(reference, advantages, strict=True)
            ]
            whole = sum(tilted, flint.arb(0))
            best = [pi / whole for pi in tilted]
            success = sum((pi * r for pi, r in zip(best, rewards, strict=True)), flint.arb(0))
            claimed = closed_form(p, start, beta, eps)
            count.true(success.overlaps(claimed), "p_n", found=success, claimed=claimed, **at)
            count.true(claimed > ball(start), "p_n > p_ref", p_ref=start, claimed=claimed, **at)

            def objective(policy: list[Ball]) -> Ball:
                terms = zip(policy, advantages, reference, strict=True)  # noqa: B023
                price = ball(beta)  # noqa: B023
                return sum(
                    (pi * (a - price * (pi / ball(base)).log()) for pi, a, base in terms),
                    flint.arb(0),
                )

            top = objective(best)
            for other in _others(best, claimed, rewards):
                count.true(objective(other) < top, "no other policy is better", **at)
    return count.cases


def _success(policy: tuple[Fraction, ...], rewards: tuple[int, ...]) -> Fraction:
    return total_rational(pi * r for pi, r in zip(policy, rewards, strict=True))


def _others(best: list[Ball], success: Ball, rewards: tuple[int, ...]) -> list[list[Ball]]:
    """Policies near and far from the best one."""
    found = []
    for share, sure in product((F(1, 1000), F(1, 10), F(9, 10)), range(len(best))):
        far = ball(share)
        found.append([pi * (1 - far) + (far if i == sure else 0) for i, pi in enumerate(best)])
    for share in (F(1, 100), F(1, 3), F(4, 5), F(99, 100)):  # that much success, evenly
        right = sum(rewards)
        each = {1: share / right, 0: (1 - share) / (len(rewards) - right)}
        found.append([ball(each[r]) for r in rewards])
    for nudge in (F(99, 100), F(101, 100)):  # a little less or more success
        up = success * ball(nudge) / success, (1 - success * ball(nudge)) / (1 - success)
        found.append([pi * (up[0] if r else up[1]) for pi, r in zip(best, rewards, strict=True)])
    return found


# --- its fixed points -----------------------------------------------------------------------------

LIMITS = F(66274341934918, 10**14), F(66274341934919, 10**14)
SHARE = F(9167782798005, 10**13)


def laplace_limit(*, limits: tuple[Fraction, Fraction] = LIMITS, share: Fraction = SHARE) -> int:
    """p_n − p of the recursion itself, at ε = 0 and p_ref = 1/2, on p = 1/1000..999/1000 and at p*.

    At 1/β the lower limit it is negative at p* alone, at the upper one nowhere; it is positive a
    millionth beside p*. At 1/β = 6/10 it changes sign twice. The limits bracket the root of
    x e^√(1+x²) = 1 + √(1+x²), the Laplace limit.
    """
    count = Count()
    low, high = limits
    grid = [F(j, 1000) for j in range(1, 1000)]

    def moves(p: Fraction, inverse: Fraction) -> Ball:
        return next_success(p, F(1, 2), 1 / inverse, F(0)) - ball(p)

    with flint.ctx.workprec(2 * PRECISION):
        count.true(moves(share, low) < 0, "p_n < p at p* below the limit", p=share, inverse=low)
        count.true(moves(share, high) > 0, "p_n > p at p* above it", p=share, inverse=high)
        for p, inverse in product((share - F(1, 10**6), share + F(1, 10**6)), limits):
            count.true(moves(p, inverse) > 0, "p_n > p beside p*", p=p, inverse=inverse)
        for p, inverse in product(grid, limits):
            count.true(moves(p, inverse) > 0, "p_n > p on the grid", p=p, inverse=inverse)
        signs = [moves(p, F(3, 5)) > 0 for p in grid]
        changes = sum(a != b for a, b in pairwise(signs))
        count.equal(changes, 2, "two fixed points at 1/β = 6/10")
        count.true(not any(moves(p, F(3, 5)) <= 0 for p in grid[:500]), "none up to 1/2")
        for x, sign in ((low, -1), (high, 1)):
            root = ball(1 + x * x).sqrt()
            gap = ball(x) * root.exp() - 1 - root
            count.true(gap * sign > 0, "the Laplace limit is between", x=x)
    return count.cases


CHECKS: dict[str, Callable[[], int]] = {
    "dynamics.stationary-variance": stationary_variance,
    "dynamics.group-size-invariance": group_size_invariance,
    "dynamics.success-recursion": success_recursion,
    "dynamics.laplace-limit": laplace_limit,
}
