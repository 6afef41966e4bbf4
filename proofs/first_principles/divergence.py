"""Section 5, the divergence: k1, k2 and k3 as values and as losses, over every outcome.

A policy is any list of positive rational probabilities; along a direction b its logits are
log π_y + x b_y. Logarithms are formal, so equalities are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product

import flint

from .definitions import Count, total_rational
from .jets import Jet, Logs, constant, log_of

F = Fraction
Law = tuple[Fraction, ...]
Direction = tuple[Fraction, ...]
Estimator = Callable[[Jet, Jet], Jet]  # of log π and log π_ref at the sample

LAWS: dict[int, tuple[Law, ...]] = {
    2: ((F(1, 2), F(1, 2)), (F(1, 4), F(3, 4)), (F(5, 6), F(1, 6))),
    3: ((F(1, 6), F(1, 2), F(1, 3)), (F(1, 3), F(1, 2), F(1, 6)), (F(1, 8), F(5, 8), F(1, 4))),
    4: ((F(1, 10), F(1, 5), F(3, 10), F(2, 5)), (F(1, 4), F(1, 4), F(1, 3), F(1, 6))),
}


def k1(log_p: Jet, log_r: Jet) -> Jet:
    """−log r, r = π_ref/π."""
    return log_p - log_r


def k2(log_p: Jet, log_r: Jet) -> Jet:
    """½ log² r."""
    return (log_p - log_r) * (log_p - log_r) * F(1, 2)


def k3(log_p: Jet, log_r: Jet) -> Jet:
    """r − 1 − log r."""
    return exp(log_r - log_p) - 1 + (log_p - log_r)


def exp(exponent: Jet) -> Jet:
    """exp of a jet whose value is the logarithm of a rational."""
    value = exponent.value.exp()
    return Jet(value, exponent.slope * value)


def pairs() -> Iterator[tuple[Law, Law]]:
    """Every ordered pair of different laws on the same outcomes."""
    for laws in LAWS.values():
        for policy, reference in product(laws, repeat=2):
            if policy != reference:
                yield policy, reference


def directions(size: int) -> Iterator[Direction]:
    """The unit vectors, which settle what is linear in the direction, and one more."""
    for k in range(size):
        yield tuple(F(y == k) for y in range(size))
    yield tuple(F(y * y - 2, y + 1) for y in range(size))


def log_policy(policy: Law, direction: Direction) -> list[Jet]:
    """log π_y + x b_y − log Σ_j π_j exp(x b_j), to first order."""
    mass = total_rational(policy)
    mass_slope = total_rational(p * b for p, b in zip(policy, direction, strict=True))
    return [
        Jet(log_of(p / mass), b - mass_slope / mass) for p, b in zip(policy, direction, strict=True)
    ]


def fixed(law: Law) -> list[Jet]:
    """The logarithms of a law that does not move."""
    return [constant(log_of(p)) for p in law]


def kl(weights: Sequence[Jet], of: Sequence[Jet], to: Sequence[Jet]) -> Jet:
    """Σ w (log of − log to)."""
    terms = (w * (a - c) for w, a, c in zip(weights, of, to, strict=True))
    return sum(terms, constant(F(0)))


def divergence(policy: Law, reference: Law) -> Logs:
    """KL(π‖π_ref)."""
    logs = log_policy(policy, (F(0),) * len(policy))
    value: Logs = kl([constant(p) for p in policy], logs, fixed(reference)).value
    return value


def gradient_forward(policy: Law, reference: Law, direction: Direction) -> Logs:
    """∇KL(π‖π_ref): both the law and the logarithms move."""
    logs = log_policy(policy, direction)
    weights = [Jet(p, log.slope * p) for p, log in zip(policy, logs, strict=True)]
    slope: Logs = kl(weights, logs, fixed(reference)).slope
    return slope


def gradient_backward(policy: Law, reference: Law, direction: Direction) -> Logs:
    """∇KL(π_ref‖π)."""
    weights = [constant(r) for r in reference]
    slope: Logs = kl(weights, fixed(reference), log_policy(policy, direction)).slope
    return slope


def as_loss(estimator: Estimator, policy: Law, reference: Law, direction: Direction) -> Logs:
    """E ∇k: Σ π ∇k, the law of the samples held constant."""
    logs = log_policy(policy, direction)
    values = map(estimator, logs, fixed(reference))
    slope: Logs = sum((v * p for v, p in zip(values, policy, strict=True)), constant(F(0))).slope
    return slope


def zero(policy: Law, reference: Law, direction: Direction) -> Logs:
    """0."""
    return Logs({})


def kl_values(
    *, first: Estimator = k1, second: Estimator = k2, third: Estimator = k3, samples: int = 2
) -> int:
    """Every pair of laws, every tuple of 1 and 2 samples: the means of k1 and k3; k2's of neither.

    k3 ≥ 0 at every outcome. The mean of k2 lies above the divergence for one pair of laws and
    below it for the pair exchanged.
    """
    count = Count()
    gaps: dict[tuple[Law, Law], int] = {}
    for policy, reference in pairs():
        logs, refs = fixed(policy), fixed(reference)
        target = divergence(policy, reference)
        at = {"π": policy, "π_ref": reference}
        for name, estimator in (("k1", first), ("k3", third)):
            values = [estimator(a, c).value for a, c in zip(logs, refs, strict=True)]
            for n in range(1, samples + 1):
                mean = Logs({})
                for drawn in product(range(len(policy)), repeat=n):
                    weight = F(1)
                    for y in drawn:
                        weight *= policy[y]
                    mean = mean + sum((values[y] for y in drawn), Logs({})) * (weight / n)
                count.equal(mean, target, f"E[{name}] = KL(π‖π_ref)", **at, n=n)
        with flint.ctx.workprec(200):
            for a, c in zip(logs, refs, strict=True):
                value = third(a, c).value
                holds = value == 0 or value.ball() > 0
                count.true(holds, "k3 ≥ 0", **at, log_p=a.value, log_r=c.value)
            means = (second(a, c) * p for a, c, p in zip(logs, refs, policy, strict=True))
            gap = (sum(means, constant(F(0))).value - target).ball()
            count.true(gap > 0 or gap < 0, "E[k2] ≠ KL(π‖π_ref)", **at)
            gaps[policy, reference] = 1 if gap > 0 else -1
    even, skew = LAWS[2][:2]
    found = (gaps[even, skew], gaps[skew, even])
    count.equal(found, (1, -1), "E[k2] is above, and below if exchanged", π=even, π_ref=skew)
    return count.cases


def kl_gradients(
    *,
    of_k1: Callable[[Law, Law, Direction], Logs] = zero,
    of_k2: Callable[[Law, Law, Direction], Logs] = gradient_forward,
    of_k3: Callable[[Law, Law, Direction], Logs] = gradient_backward,
) -> int:
    """Every pair of laws, every unit direction: E ∇k1, E ∇k2 and E ∇k3, and both closed forms."""
    count = Count()
    for policy, reference in pairs():
        for b in directions(len(policy)):
            at = {"π": policy, "π_ref": reference, "b": b}
            for name, estimator, claimed in (
                ("k1", k1, of_k1),
                ("k2", k2, of_k2),
                ("k3", k3, of_k3),
            ):
                found = as_loss(estimator, policy, reference, b)
                count.equal(found, claimed(policy, reference, b), f"E ∇{name}", **at)
            push = sum((p - r) * x for p, r, x in zip(policy, reference, b, strict=True))
            found = gradient_backward(policy, reference, b)
            count.equal(found, Logs({(): F(push)}), "∇KL(π_ref‖π) = Σ(π − π_ref)b", **at)
            scores = [log.slope for log in log_policy(policy, b)]
            weights = [log_of(p / r) * p for p, r in zip(policy, reference, strict=True)]
            pull = sum((w * s for w, s in zip(weights, scores, strict=True)), Logs({}))
            found = gradient_forward(policy, reference, b)
            count.equal(found, pull, "∇KL(π‖π_ref) = Σ π log(π/π_ref)∇log π", **at)
    return count.cases


def kl_as_loss(*, estimators: Sequence[Estimator] = (k1, k3)) -> int:
    """k1 and k3 have unbiased values, and E ∇k misses E[k ∇log π], which is not 0.

    At the witness the divergence is stationary, and E ∇k3 = −1/2.
    """
    count = Count()
    for policy, reference in pairs():
        at = {"π": policy, "π_ref": reference}
        for estimator in estimators:
            missed = []
            for b in directions(len(policy)):
                logs = log_policy(policy, b)
                values = [
                    estimator(a, c).value for a, c in zip(logs, fixed(reference), strict=True)
                ]
                terms = zip(policy, values, logs, strict=True)
                missing = sum((v * (p * log.slope) for p, v, log in terms), Logs({}))
                found = gradient_forward(policy, reference, b)
                whole = as_loss(estimator, policy, reference, b) + missing
                count.equal(found, whole, "∇KL = E ∇k + E[k ∇log π]", **at, b=b)
                missed.append(missing)
            biased = any(missing != 0 for missing in missed)
            count.true(biased, "E ∇k ≠ ∇KL(π‖π_ref) in some direction", **at)
    policy, reference = LAWS[3][:2]
    b = (F(6), F(-4), F(3))
    both = (gradient_forward(policy, reference, b), as_loss(estimators[-1], policy, reference, b))
    count.equal(both, (0, F(-1, 2)), "stationary, but E ∇k3 = −1/2", π=policy, b=b)
    return count.cases
