"""Section 8: teachers and students over finitely many responses, every one of them visited.

Policies are lists of positive rational probabilities and logarithms are formal, so equalities are
exact. Responses of several tokens are next door, in ``responses``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product

import flint

from .definitions import Count, total_rational
from .divergence import (
    LAWS,
    Law,
    directions,
    divergence,
    gradient_backward,
    gradient_forward,
    log_policy,
    pairs,
)
from .jets import Jet, Logs, constant, log_of
from .responses import future_terms, per_token_kl
from .surds import ball

__all__ = ["CHECKS"]

F = Fraction
PRECISION = 200  # bits, where a sign is asked for


def total(terms: Iterator[Logs] | Sequence[Logs]) -> Logs:
    return sum(terms, Logs({}))


def not_negative(value: Logs) -> bool:
    """Whether it is 0 as a formal sum, or shown to be positive."""
    with flint.ctx.workprec(PRECISION):
        return value == 0 or bool(value.ball() > 0)


# -- one draw --------------------------------------------------------------------------------------


def reward(probability: Fraction, of_teacher: Fraction) -> Logs:
    """log π_T − log π."""
    return log_of(of_teacher) - log_of(probability)


def supervised(policy: Law, teacher: Law, scores: Sequence[Fraction]) -> Fraction:
    """−E_{π_T}[∇log π]."""
    return -total_rational(q * s for q, s in zip(teacher, scores, strict=True))


def opd(
    *,
    of_sample: Callable[[Fraction, Fraction], Logs] = reward,
    backward: Callable[[Law, Law, Sequence[Fraction]], Fraction] = supervised,
    scale: int = 1,
) -> int:
    """Every pair of laws and unit direction, every tuple of 1 and 2 samples, two baselines.

    The mean of the average of (r − c) ∇log π is −∇KL(π‖π_T); ∇KL(π_T‖π) is the supervised
    gradient; KL(π‖π_T) is at least Σ (√π − √π_T)².
    """
    count = Count()
    for policy, teacher in pairs():
        rewards = [of_sample(p, q) for p, q in zip(policy, teacher, strict=True)]
        for b in directions(len(policy)):
            at = {"π": policy, "π_T": teacher, "b": b}
            scores = [log.slope for log in log_policy(policy, b)]
            target = gradient_forward(policy, teacher, b)
            for n, c in product((1, 2), (F(0), F(7, 3))):
                mean = Logs({})
                for drawn in product(range(len(policy)), repeat=n):
                    weight = F(1)
                    for y in drawn:
                        weight *= policy[y]
                    steps = total([(rewards[y] - c) * scores[y] for y in drawn])
                    mean = mean + steps * (weight / n)
                count.equal(mean, -target, "E[(r − c) ∇log π] = −∇KL(π‖π_T)", **at, n=n, c=c)
            found = gradient_backward(policy, teacher, b)
            count.equal(found, backward(policy, teacher, scores), "−E_T[∇log π]", **at)
        with flint.ctx.workprec(PRECISION):
            roots = [
                (ball(p).sqrt() - ball(q).sqrt()) for p, q in zip(policy, teacher, strict=True)
            ]
            gap = sum((x * x for x in roots), flint.arb(0))
            above = divergence(policy, teacher).ball() > scale * gap
        count.true(above, "KL(π‖π_T) > Σ (√π − √π_T)²", π=policy, π_T=teacher)
    return count.cases


# -- the tilt --------------------------------------------------------------------------------------

# Products of entries are squares, so that β = 2 has rational probabilities too.
SQUARE_PAIRS: tuple[tuple[Law, Law], ...] = (
    ((F(4, 13), F(9, 13)), (F(9, 13), F(4, 13))),
    ((F(1, 10), F(9, 10)), (F(2, 5), F(3, 5))),
    ((F(1, 10), F(9, 10)), (F(9, 10), F(1, 10))),
    ((F(1, 6), F(1, 3), F(1, 2)), (F(2, 3), F(1, 12), F(1, 4))),
)


def root_of(value: Fraction) -> Fraction | None:
    """The square root, if it is rational."""
    found = F(round(value.numerator**0.5), round(value.denominator**0.5))
    return found if found * found == value else None


def geometric(student: Law, teacher: Law, beta: Fraction) -> list[Fraction] | None:
    """π_k^(1−1/β) π_T^(1/β), not normalised, where all of them are rational."""
    if (1 / beta).denominator == 1:
        n = int(1 / beta)
        return [s ** (1 - n) * q**n for s, q in zip(student, teacher, strict=True)]
    roots = [root_of(s * q) for s, q in zip(student, teacher, strict=True)]
    known = [r for r in roots if r is not None]
    return known if beta == 2 and len(known) == len(roots) else None


def tilt(
    *,
    tilted: Callable[[Law, Law, Fraction], list[Fraction] | None] = geometric,
    scale: Callable[[Fraction], Fraction] = lambda beta: beta,
) -> int:
    """β = 1/3, 1/2, 1, and 2 where roots are rational; every other law of the same size as π.

    The objective is β log Z − β KL(π‖π*), and lower than at π* for every other law.
    """
    count = Count()
    for student, teacher in (*pairs(), *SQUARE_PAIRS):
        for beta in (F(1, 3), F(1, 2), F(1), F(2)):
            weights = tilted(student, teacher, beta)
            if weights is None:
                continue
            mass = total_rational(weights)
            best: Law = tuple(x / mass for x in weights)

            def objective(
                law: Law, beta: Fraction = beta, student: Law = student, teacher: Law = teacher
            ) -> Logs:
                gained = zip(law, student, teacher, strict=True)
                ratio = total([log_of(q / s) * p for p, s, q in gained])
                return ratio - divergence(law, student) * beta

            at = {"π_k": student, "π_T": teacher, "β": beta}
            count.equal(objective(best), log_of(mass) * beta, "the value at π* is β log Z", **at)
            if beta == 1:
                count.equal(best, teacher, "β = 1 gives the teacher", **at)
            for law in (*LAWS[len(student)], student, teacher):
                value = objective(law)
                deficit = divergence(law, best) * scale(beta)
                count.equal(value, log_of(mass) * beta - deficit, "β log Z − β KL", **at, π=law)
                if law != best:
                    lower = objective(best) - value
                    below = lower != 0 and not_negative(lower)
                    count.true(below, "no other law is as good", **at, π=law)
    return count.cases


# -- the first step --------------------------------------------------------------------------------


def covariance(student: Law, teacher: Law, rewards: Sequence[Fraction]) -> Logs:
    """Cov_S(R, log π_T/π_S)."""
    ratios = [log_of(q / p) for p, q in zip(student, teacher, strict=True)]
    mean = total_rational(p * r for p, r in zip(student, rewards, strict=True))
    return total([x * (p * (r - mean)) for p, r, x in zip(student, rewards, ratios, strict=True)])


def slope_on_path(student: Law, teacher: Law, rewards: Sequence[Fraction], at: int) -> Logs:
    """d/dλ of Σ R π_S^(1−λ) π_T^λ / Σ π_S^(1−λ) π_T^λ at a whole λ, by jets."""
    top, bottom = constant(F(0)), constant(F(0))
    for p, q, r in zip(student, teacher, rewards, strict=True):
        value = p * (q / p) ** at
        weight = Jet(value, log_of(q / p) * value)
        top, bottom = top + weight * r, bottom + weight
    mass = bottom.value
    found: Logs = (top.slope * mass - bottom.slope * top.value) * (1 / (mass * mass))
    return found


def tilted_student(student: Law, teacher: Law, at: int) -> Law:
    """π_S^(1−λ) π_T^λ, normalised."""
    weights = [p * (q / p) ** at for p, q in zip(student, teacher, strict=True)]
    return tuple(x / total_rational(weights) for x in weights)


def reward_vectors(size: int) -> Iterator[tuple[Fraction, ...]]:
    """All binary rewards that differ, and one with other values."""
    for rewards in product((F(0), F(1)), repeat=size):
        if len(set(rewards)) > 1:
            yield rewards
    yield tuple(F(y * y - 2, y + 1) for y in range(size))


def first_step(
    *,
    closed_form: Callable[[Law, Law, Sequence[Fraction]], Logs] = covariance,
    reach: Callable[[Fraction], Fraction] = lambda distance: distance,
) -> int:
    """Every pair of laws, every binary reward: the slope at λ = 0, 1 and 2, and both bounds."""
    count = Count()
    for student, teacher in pairs():
        divergent = divergence(student, teacher)
        for rewards in reward_vectors(len(student)):
            at = {"π_S": student, "π_T": teacher, "R": rewards}
            for step in (0, 1, 2):
                found = slope_on_path(student, teacher, rewards, step)
                here = tilted_student(student, teacher, step)
                # log π_T/π_S, whose multiple log π_{λ+1}/π_λ differs from it by a constant
                after = tilted_student(student, teacher, step + 1)
                count.equal(found, closed_form(here, after, rewards), "Cov_λ", **at, λ=step)
            mean = total_rational(p * r for p, r in zip(student, rewards, strict=True))
            of_teacher = total_rational(q * r for q, r in zip(teacher, rewards, strict=True))
            gap = (of_teacher - mean) - covariance(student, teacher, rewards)
            above = divergent * reach(max(rewards) - mean) - gap
            below = divergent * reach(mean - min(rewards)) + gap
            count.true(not_negative(above), "gain − Cov ≤ (max R − E_S R) KL", **at)
            count.true(not_negative(below), "Cov − gain ≤ (E_S R − min R) KL", **at)
        squares = total_rational((p - q) ** 2 / q for p, q in zip(student, teacher, strict=True))
        small = not_negative(squares - divergent)
        count.true(small, "KL(π_S‖π_T) ≤ Σ (π_S − π_T)²/π_T", π_S=student, π_T=teacher)
    return count.cases


WITNESS = (
    (F(1586, 10000), F(5331, 10000), F(3083, 10000)),
    (F(43, 10000), F(4901, 10000), F(5056, 10000)),
    (F(1), F(0), F(1)),
)


def better_teacher_helps(
    *,
    witness: tuple[Law, Law, tuple[Fraction, ...]] = WITNESS,
    reach: Callable[[Fraction], Fraction] = lambda distance: distance,
    parts: int = 12,
) -> int:
    """The witness to four digits; among all laws with twelfths, better teachers of both kinds.

    Wherever the gain exceeds (max R − E_S R) KL(π_S‖π_T), the covariance is positive.
    """
    count = Count()
    student, teacher, rewards = witness
    gain = total_rational((q - p) * r for p, q, r in zip(student, teacher, rewards, strict=True))
    count.equal(gain, F(43, 1000), "the teacher of the witness is better by .043")
    with flint.ctx.workprec(PRECISION):
        slope = covariance(student, teacher, rewards).ball()
        near = bool(slope < -0.2028) and bool(slope > -0.2029)
    count.true(near, "and its first step has the slope −.2028…", slope=str(slope))
    laws: list[Law] = [
        (F(a, parts), F(b, parts), F(parts - a - b, parts))
        for a in range(1, parts)
        for b in range(1, parts - a)
    ]
    harmful = enough = 0
    for student, teacher in product(laws, repeat=2):
        gain = total_rational(
            (q - p) * r for p, q, r in zip(student, teacher, WITNESS[2], strict=True)
        )
        if gain <= 0:
            continue
        mean = student[0] + student[2]
        with flint.ctx.workprec(60):
            slope = covariance(student, teacher, WITNESS[2]).ball()
            room = ball(gain) - (divergence(student, teacher) * reach(1 - mean)).ball()
        harmful += bool(slope < 0)
        if room > 0:
            enough += 1
            helps = bool(slope > 0)
            count.true(helps, "a gain beyond the divergence helps", π_S=student, π_T=teacher)
    count.true(harmful > 0, "some better teachers do harm in the first step", found=harmful)
    count.true(enough > 0, "some teachers are better by enough", found=enough)
    return count.cases


CHECKS: dict[str, Callable[[], int]] = {
    "distillation.opd": opd,
    "distillation.tilt": tilt,
    "distillation.first-step": first_step,
    "distillation.better-teacher-helps": better_teacher_helps,
    "distillation.future-terms": future_terms,
    "distillation.per-token-kl": per_token_kl,
}
