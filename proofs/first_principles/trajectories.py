"""Trajectories and escape times: power series of the equations, and times as integrals by Arb.

A trajectory is compared with the series that its differential equation dictates term by term, in
rational numbers; a time with the quadrature of dp/p'. Times of GRPO take the weight from all 2^G
groups.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import factorial
from typing import Any

import flint

from .definitions import Count, total_rational
from .policies import enumerated_weight
from .roots import rational

__all__ = ["CHECKS"]

F = Fraction
Ball = Any  # flint.arb or flint.acb, which have no type stubs
ORDERS = (F(0), F(1, 4), F(1, 2), F(3, 4))
TERMS = 90
TENTH, HUNDREDTH, LONG, PLAIN = F(1, 10), F(1, 100), F(1000), F(0)


def arb(x: Fraction) -> Ball:
    """The ball of a rational number."""
    return flint.arb(rational(x))


def near(x: Ball, y: Ball, width: float = 1e-12) -> bool:
    """Both balls are as small as that, and as near to each other."""
    return bool(abs(x - y) < width)


# --- the oscillator -----------------------------------------------------------------------------


def left_of_the_way(m: Fraction, gamma: Fraction, k: Fraction, t: Fraction) -> Ball:
    """S(t) = (R_∞ − R)/(R_∞ − R_0), by the three closed forms."""
    decay, disc = arb(gamma / (2 * m)), gamma**2 - 4 * m * k
    time = arb(t)
    if disc > 0:
        half = arb(disc).sqrt() / arb(2 * m)
        slow, fast = -decay + half, -decay - half
        return (slow * (fast * time).exp() - fast * (slow * time).exp()) / (slow - fast)
    if disc == 0:
        return (1 + decay * time) * (-decay * time).exp()
    turn = arb(-disc).sqrt() / arb(2 * m)
    wave = (turn * time).cos() + decay / turn * (turn * time).sin()
    return (-decay * time).exp() * wave


def series(m: Fraction, gamma: Fraction, k: Fraction, t: Fraction) -> Fraction:
    """The solution of m S'' + γ S' + k S = 0, S(0) = 1, S'(0) = 0, as its Taylor polynomial."""
    terms = [F(1), F(0)]
    for n in range(TERMS):
        pull = gamma * (n + 1) * terms[n + 1] + k * terms[n]
        terms.append(-pull / (m * (n + 1) * (n + 2)))
    return total_rational(c * t**n for n, c in enumerate(terms))


def taylor(mu: Fraction, kappa: Fraction, tau: Fraction) -> tuple[Fraction, ...]:
    """Stiffness, damping and mass."""
    return kappa, 1 - mu - kappa * tau, (1 + mu + kappa * tau**2) / 2


SETTINGS = (  # m, γ, k: overdamped, critical, underdamped, undamped, growing
    *((F(1, 2), F(3), F(1)), (F(1), F(5, 2), F(1)), (F(2), F(4), F(2))),
    *((F(1), F(2), F(1)), (F(1), F(1), F(3)), (F(1), F(0), F(2)), (F(1), F(-1, 2), F(1))),
)


def oscillator(
    *,
    closed_form: Callable[..., Ball] = left_of_the_way,
    reduction: Callable[..., tuple[Fraction, ...]] = taylor,
) -> int:
    """The closed forms against the series; the reduction against the series of e^λ."""
    count = Count()
    for (m, gamma, k), step in product(SETTINGS, range(9)):
        t = F(step, 4)
        found, claimed = arb(series(m, gamma, k, t)), closed_form(m, gamma, k, t)
        count.true(near(found, claimed), "the trajectory", m=m, gamma=gamma, k=k, t=t)
    for mu, kappa, tau in product(ORDERS, (F(1, 3), F(2)), (F(0), F(1), F(5, 2))):
        shifts = ((F(1), F(1)), (-1 - mu, F(0)), (mu, F(-1)), (kappa, -tau))  # Σ c e^(λs)
        found = tuple(total_rational(c * s**n for c, s in shifts) / factorial(n) for n in range(3))
        count.equal(reduction(mu, kappa, tau), found, "the reduction", mu=mu, kappa=kappa, tau=tau)
    for a, b in ((F(1, 2), F(1)), (F(1), F(3)), (F(1, 5), F(4))):
        for t in (F(1, 10), F(1, 2), F(1)):
            done = 1 - closed_form(F(1), a + b, a * b, t)
            high = a * b * t**2 / 2
            low = high * (1 - (a + b) * t / 3)
            count.true(bool(arb(low) <= done <= arb(high)), "the start", a=a, b=b, t=t)
    return count.cases


def exponential(a: Fraction, b: Fraction, t: Fraction) -> Ball:
    """e^(−t/T), T = (a + b)/(ab)."""
    return (-arb(a * b * t / (a + b))).exp()


def overdamped(*, closed_form: Callable[..., Ball] = exponential) -> int:
    """The distance between both, over rates and times; and m = 0 by its own series."""
    count = Count()
    for a, gap, step in product((F(1, 4), F(1), F(3)), (F(1, 2), F(2), F(40)), range(12)):
        b, t = a + gap, F(step * step, 7)
        apart = left_of_the_way(F(1), a + b, a * b, t) - closed_form(a, b, t)
        low, high = -a / (a + b), a / (b - a)
        holds = arb(low) <= apart <= arb(high)
        count.true(bool(holds), "near the single exponential", a=a, b=b, t=t)
        if t < 4 and a * b < 4 * (a + b):
            terms = [F(1)]
            for n in range(TERMS):
                terms.append(-terms[n] * a * b / ((a + b) * (n + 1)))
            found = arb(total_rational(c * t**n for n, c in enumerate(terms)))
            count.true(near(found, closed_form(a, b, t)), "mass 0", a=a, b=b, t=t)
    return count.cases


# --- times --------------------------------------------------------------------------------------


def time(rate: Callable[[Ball], Ball], low: Fraction, high: Fraction) -> Ball:
    """∫ dp/p'."""
    return flint.acb.integral(lambda p, _: 1 / rate(p), rational(low), rational(high)).real


def plain_rate(p: Ball) -> Ball:
    """p' of the two-arm bandit under the plain gradient: (p(1 − p))²."""
    return (p * (1 - p)) ** 2


def limit_rate(p: Ball) -> Ball:
    """p' at W = 1/√(p(1 − p))."""
    return (p * (1 - p)).sqrt() ** 3


def curve(t: Fraction) -> Ball:
    """1/2 + t/(2√(16 + t²))."""
    return arb(F(1, 2)) + arb(t) / (2 * arb(16 + t * t).sqrt())


def tail(t: Fraction) -> tuple[Ball, Ball]:
    return arb(4 / (16 + t * t)), arb(4 / t**2)


def saturation_bounds(left: Fraction) -> tuple[Ball, Ball]:
    """Of the time to 1 − p = left: 1/left − 2, and that less 6 log(2 left)."""
    low = arb(1 / left - 2)
    return low, low - 6 * arb(2 * left).log()


def bandit_saturation(
    *,
    closed_form: Callable[[Fraction], Ball] = curve,
    bounds: Callable[[Fraction], tuple[Ball, Ball]] = saturation_bounds,
    tails: Callable[[Fraction], tuple[Ball, Ball]] = tail,
) -> int:
    """The time to reach the curve is t; the time of the plain gradient keeps its bounds."""
    count = Count()
    for t in (F(1, 10), F(1), F(3), F(10), F(30)):
        p = closed_form(t)
        middle = F(round(float(p.mid()) * 2**50), 2**50)
        found = time(limit_rate, F(1, 2), middle)
        count.true(near(found, arb(t), 1e-9), "the curve of GRPO", t=t, found=found)
        low, high = tails(t)
        count.true(bool(low < 1 - p) and bool(1 - p < high), "its tail", t=t)
    for n in (3, 5, 10, 100, 1000):
        found = time(plain_rate, F(1, 2), 1 - F(1, n))
        low, high = bounds(F(1, n))
        holds = bool(low < found) and bool(found < high)
        count.true(holds, "the plain gradient", left=F(1, n), found=found)
    for n in (4, 20, 400):
        p = 1 - F(1, n)
        count.true(p**2 * (1 - p) < F(1, n - 1), "the rate vanishes", p=p)
    return count.cases


def fixed_logit(reference: Fraction, beta: Fraction) -> Fraction:
    return reference + 1 / beta


def bandit_stiffness(beta: Fraction, best: Ball) -> Ball:
    """βp(1 − p)."""
    return arb(beta) * best * (1 - best)


def restoring_force(
    *,
    closed_form: Callable[[Fraction, Fraction], Fraction] = fixed_logit,
    stiffness: Callable[[Fraction, Ball], Ball] = bandit_stiffness,
) -> int:
    """J = Σ π r − β Σ π log(π/π_ref) as a power series around the claimed fixed point."""
    count = Count()
    old = flint.ctx.cap
    flint.ctx.cap = 3
    try:
        for reference, beta in product((F(-1), F(0), F(2, 3)), (F(1, 4), F(1, 2), F(1), F(5))):
            logit = flint.arb_series([arb(closed_form(reference, beta)), 1])
            policy = [logit.exp() / (1 + logit.exp()), 1 / (1 + logit.exp())]
            anchor = arb(reference)
            other = [anchor.exp() / (1 + anchor.exp()), 1 / (1 + anchor.exp())]
            parts = [p * (p / q).log() for p, q in zip(policy, other, strict=True)]
            objective = policy[0] - arb(beta) * (parts[0] + parts[1])
            slope, bend = objective[1], 2 * objective[2]
            count.true(near(slope, arb(F(0))), "a fixed point", reference=reference, beta=beta)
            claimed = -stiffness(beta, policy[0][0])
            count.true(near(bend, claimed), "its stiffness", reference=reference, beta=beta)
    finally:
        flint.ctx.cap = old
    return count.cases


def exponential_needs_restoring_force(*, floor: Fraction = TENTH) -> int:
    """The relative rates −(1 − p)'/(1 − p) fall below any floor that they start above."""
    count = Count()
    start, late = arb(F(1, 2)), arb(1 - floor**2 / 2)
    for name, rate in (("plain", plain_rate), ("GRPO at large G", limit_rate)):
        first, last = (rate(p) / (1 - p) for p in (start, late))
        count.true(bool(first > arb(floor)), f"{name}: starts above", rate=first)
        count.true(bool(last < arb(floor)), f"{name}: ends below", rate=last)
    for n in (10, 100, 1000):
        left = 1 - curve(F(n))
        count.true(bool(left * n * n > 3), "no faster than 1/t²", t=n, left=left)
        count.true(bool(left > (-arb(F(n, 2))).exp()), "slower than an exponential", t=n)
    return count.cases


def escape(q: Fraction, low: Fraction, high: Fraction) -> Ball:
    """(p₀^(−(1−q)) − p₁^(−(1−q)))/(1 − q), and log(p₁/p₀) at q = 1."""
    if q == 1:
        return arb(high / low).log()
    power = arb(q - 1)
    return (arb(low) ** power - arb(high) ** power) / arb(1 - q)


def cold_start(*, closed_form: Callable[..., Ball] = escape) -> int:
    """Quadrature of dP/P' at a constant norm and for a sigmoid policy; the two printed times."""
    count = Count()
    for q in (*ORDERS, F(1)):
        for low, high in ((F(1, 100), F(1, 2)), (F(1, 7), F(1, 3)), (F(1, 1000), F(1, 50))):
            claimed, order = closed_form(q, low, high), arb(2 - q)

            def flow(p: Ball, order: Ball = order) -> Ball:
                return (order * p.log()).exp()

            def sigmoid(p: Ball, order: Ball = order) -> Ball:
                return (order * p.log()).exp() * (1 - p) ** 2

            at_one, curved = time(flow, low, high), time(sigmoid, low, high)
            width = 1e-9 * float(claimed.mid())
            count.true(near(at_one, claimed, width), "a constant norm", q=q, low=low, high=high)
            holds = bool(claimed < curved) and bool(curved < 4 * claimed)
            count.true(holds, "a sigmoid policy", q=q, low=low, high=high, found=curved)
    for order, printed in ((2, 108.18014), (1, 5.58502)):
        found = time(_sigmoid_rate(order), F(1, 100), F(1, 2))
        count.true(bool(abs(found - printed) < 5e-6), "from .01 to .5", order=order, found=found)
    return count.cases


def bounds_by_group(size: int, low: Fraction, high: Fraction) -> tuple[Ball, Ball]:
    """(1/p₀ − 1/p₁)/√(G−1), and that over (1 − p₁)^(G+1)."""
    first = arb(1 / low - 1 / high) / arb(F(size - 1)).sqrt()
    return first, first / arb((1 - high) ** (size + 1))


def cold_start_grpo(
    *, closed_form: Callable[..., tuple[Ball, Ball]] = bounds_by_group, printed: float = 386.72
) -> int:
    """Rates from all 2^G groups on a grid, between their bounds; the times from .001 to ½."""
    count = Count()
    for size in (2, 3, 4, 6):
        for p in (F(1, 50), F(1, 5), F(1, 2), F(4, 5)):
            weight = enumerated_weight(size, p).ball()
            root = arb(F(size - 1)).sqrt()
            low = root * arb((1 - p) ** (size - 1))
            holds = low.overlaps(weight) or bool(low < weight)
            holds = holds and (root.overlaps(weight) or bool(weight < root))
            count.true(holds, "the weight keeps its bounds", G=size, p=p, weight=weight)
    for size, low, high in product((2, 3, 8, 20), (F(1, 1000), F(1, 60)), (F(1, 50), F(1, 2))):
        if low < high:
            found = time(_grpo_rate(size), low, high)
            first, last = closed_form(size, low, high)
            holds = bool(first < found) and bool(found < last)
            count.true(holds, "the time keeps its bounds", G=size, low=low, high=high, T=found)
    for size, shown in ((2, 1012.81), (8, printed)):
        found = time(_grpo_rate(size), F(1, 1000), F(1, 2))
        count.true(bool(abs(found - shown) < 5e-3), "from .001 to .5", G=size, found=found)
    found = time(limit_rate, F(1, 1000), F(1, 2))
    count.true(bool(abs(found - 63.15) < 5e-3), "the limit, from .001 to .5", found=found)
    return count.cases


def weight_at(size: int, p: Ball) -> Ball:
    """E[A⁺(1+B) − A⁻(B)] over the other G − 1 rollouts, at a complex p."""
    total = flint.acb(0)
    for b in range(size):
        up = arb(F(size - 1 - b, 1 + b)).sqrt()
        down = arb(F(b, size - b)).sqrt()
        total += flint.acb(up + down) * _choose(size - 1, b) * p**b * (1 - p) ** (size - 1 - b)
    return total


def _grpo_rate(size: int) -> Callable[[Ball], Ball]:
    return lambda p: plain_rate(p) * weight_at(size, p)


def _sigmoid_rate(order: int) -> Callable[[Ball], Ball]:
    return lambda p: p**order * (1 - p) ** 2


def _choose(n: int, k: int) -> int:
    return factorial(n) // (factorial(k) * factorial(n - k))


def mass_at_rest(share: Fraction, q: Fraction) -> Ball:
    """ε^(1/q)/(ε^(1/q) + (1 − ε)^(1/q))."""
    wrong, right = (arb(x) ** arb(1 / q) for x in (share, 1 - share))
    return wrong / (wrong + right)


def noise_equilibrium(*, closed_form: Callable[[Fraction, Fraction], Ball] = mass_at_rest) -> int:
    """The slope of the loss over both answers, as a power series at the claimed mass."""
    count = Count()
    old = flint.ctx.cap
    flint.ctx.cap = 3
    try:
        for share, q in product((F(1, 20), F(1, 5), F(1, 2)), (F(1, 4), F(1, 2), F(3, 4))):
            m = flint.arb_series([closed_form(share, q), 1])
            power = flint.arb_series([arb(1 - q)])
            wrong, right = ((1 - (power * x.log()).exp()) / arb(1 - q) for x in (m, 1 - m))
            loss = arb(share) * wrong + arb(1 - share) * right
            count.true(near(loss[1], arb(F(0))), "stationary", share=share, q=q)
            count.true(bool(loss[2] > 0), "a minimum", share=share, q=q)
    finally:
        flint.ctx.cap = old
    return count.cases


def noise_fitting(
    *, score: Fraction = HUNDREDTH, bound: Fraction = LONG, q: Fraction = PLAIN
) -> int:
    """Some p has a squared score below any floor; some initial mass takes longer than any bound."""
    count = Count()
    for shrink in range(5):
        floor = score / 4**shrink
        p = F(1, 2)
        while (1 - p) ** 2 >= floor and 1 - p > F(1, 10**4):
            p = (1 + p) / 2
        count.true((1 - p) ** 2 < floor, "a score below the floor", p=p, floor=floor)
    order = 2 - q
    for longer in range(5):
        wanted, initial = bound * 2**longer, F(1, 2)

        def rate(p: Ball) -> Ball:
            return (arb(order) * p.log()).exp() * (1 - p) ** 2

        found = arb(F(0))
        while not found > arb(wanted) and initial > F(1, 10**6):
            initial /= 4
            found = time(rate, initial, F(1, 2))
        count.true(bool(found > arb(wanted)), "a time beyond the bound", bound=wanted, m=initial)
    return count.cases


CHECKS: dict[str, Callable[[], int]] = {
    "dynamics.oscillator": oscillator,
    "dynamics.overdamped": overdamped,
    "dynamics.bandit-saturation": bandit_saturation,
    "dynamics.restoring-force": restoring_force,
    "dynamics.exponential-needs-restoring-force": exponential_needs_restoring_force,
    "dynamics.cold-start": cold_start,
    "dynamics.cold-start-grpo": cold_start_grpo,
    "dynamics.noise-equilibrium": noise_equilibrium,
    "dynamics.noise-fitting": noise_fitting,
}
