"""Section 5, full losses: aggregation, advantages and surrogate of each method, differentiated.

Advantages of binary groups are surds, all else is rational.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import product

from .clips import CLIPS, Clip, Rows, clip, mean, numbers, ppo
from .definitions import (
    Count,
    Method,
    Rewards,
    binary_rewards,
    dr_grpo_advantages,
    grpo_advantages,
    is_mixed,
    rloo_advantages,
    std,
    total_rational,
)
from .divergence import k3
from .jets import Jet, constant, log_of, slope
from .surds import Surd, sqrt, total

F = Fraction

Prefactor = tuple[Surd, list[Surd]]  # of Δ, and of each response's summed slopes
METHODS: dict[str, Method] = {
    "any weights": grpo_advantages,
    "grpo": grpo_advantages,
    "two_grpo": grpo_advantages,
    "gspo": grpo_advantages,
    "dr_grpo": dr_grpo_advantages,
    "dapo": grpo_advantages,
    "cispo": grpo_advantages,
    "rloo": rloo_advantages,
    "delta_l": grpo_advantages,
}
CONSTANT = F(7)  # M of Dr. GRPO and ΔL
ALPHAS = (F(-1), F(0), F(1, 2), F(1), F(2))


def power(length: int, alpha: Fraction) -> Surd:
    """L^−α for whole and half α."""
    half = sqrt(F(1, length)) if alpha >= 0 else sqrt(length)
    return half ** int(abs(2 * alpha))


def token_weights(method: str, lengths: Sequence[int], alpha: Fraction) -> list[Surd]:
    """The weight of a response's token in the loss."""
    size = len(lengths)
    if method == "any weights":
        return [Surd(F((-1) ** i * (i + 2), n + 2)) for i, n in enumerate(lengths)]
    if method in ("grpo", "two_grpo", "gspo"):
        return [Surd(F(1, size * n)) for n in lengths]
    if method == "dr_grpo":
        return [Surd(1 / (size * CONSTANT))] * size
    if method == "rloo":
        return [Surd(F(1, size))] * size
    if method == "delta_l":
        powers = [power(n, alpha) for n in lengths]
        return [x / (total(powers) * CONSTANT) for x in powers]
    return [Surd(F(1, sum(lengths)))] * size


def prefactor(method: str, rewards: Rewards, lengths: Sequence[int], alpha: Fraction) -> Prefactor:
    """−gradient = factor · Δ(scale · s), as the theorem states it."""
    size, sigma = len(lengths), std(rewards)
    ones, averages = [Surd(1)] * size, [Surd(F(1, n)) for n in lengths]
    if method == "any weights":
        return sigma * size, token_weights(method, lengths, alpha)
    if method in ("grpo", "gspo"):
        return sigma, averages
    if method == "two_grpo":
        return Surd(F(1, 2)), averages
    if method == "dr_grpo":
        return sigma**2 / CONSTANT, ones
    if method == "rloo":
        return sigma**2 * F(size, size - 1), ones
    if method == "delta_l":
        powers = [power(n, alpha) for n in lengths]
        return sigma * size / (total(powers) * CONSTANT), powers
    return sigma * F(size, sum(lengths)), ones


def group_loss(
    method: str, rewards: Rewards, slopes: Rows, alpha: Fraction, bounds: Clip, side: int
) -> Jet:
    """The loss of one group, on policy, as the method defines it."""
    lengths = [len(row) for row in slopes]
    advantages = METHODS[method](rewards)
    loss = constant(Surd(0))
    for w, a, row in zip(token_weights(method, lengths, alpha), advantages, slopes, strict=True):
        for z in row:
            if method in ("rloo", "cispo"):
                factor = clip(constant(F(1)), bounds, side) if method == "cispo" else F(1)
                objective = Jet(F(-2, 3), z) * factor * a
            else:
                step = mean(row) if method == "gspo" else z
                objective = ppo(Jet(Surd(1), Surd(step)), a, bounds, side)
            loss = loss - objective * w
    return loss


def group_cases() -> Iterator[tuple[Rewards, tuple[int, ...]]]:
    """Every mixed 0/1 vector with several lengths, G = 2..4."""
    for lengths in ((1, 2), (3, 1), (2, 1, 3), (1, 2, 1, 1)):
        for rewards in filter(is_mixed, binary_rewards(len(lengths))):
            yield rewards, lengths


def probabilities(lengths: Sequence[int], salt: int) -> Rows:
    """One for each token; some are the same for every salt."""
    return [[F(1 + (i + salt * t) % 5, 6) for t in range(n)] for i, n in enumerate(lengths)]


def penalty(slopes: Rows, policy: Rows, reference: Rows, beta: Fraction) -> Jet:
    """β times the mean over responses of the means over tokens of k3."""
    size, loss = len(slopes), constant(F(0))
    for row, ps, rs in zip(slopes, policy, reference, strict=True):
        for z, p, r in zip(row, ps, rs, strict=True):
            loss = loss + k3(Jet(log_of(p), z), constant(log_of(r))) * (beta / (size * len(row)))
    return loss


def pull_of_k3(ratio: Fraction) -> Fraction:
    """By how much k3 moves with log π: 1 − π_ref/π."""
    return 1 - ratio


def full_loss(
    *,
    closed_form: Callable[[str, Rewards, Sequence[int], Fraction], Prefactor] = prefactor,
    pull: Callable[[Fraction], Fraction] = pull_of_k3,
) -> int:
    """Every mixed 0/1 vector, G = 2..4, unequal lengths: −∇loss is the prefactor times Δ.

    With GRPO's weights also for weights of any sign, and for the penalty of k3.
    """
    count = Count()
    for lengths, beta in product(sorted({n for _, n in group_cases()}), (F(1, 25), F(3))):
        slopes, policy = numbers(lengths, 2), probabilities(lengths, 2)
        for salt in (1, 2, 3):
            reference = probabilities(lengths, salt)
            found = penalty(slopes, policy, reference, beta).slope
            pulls = (
                mean([pull(r / p) * z for z, p, r in zip(*rows, strict=True)])
                for rows in zip(slopes, policy, reference, strict=True)
            )
            claimed = beta * total_rational(pulls) / len(lengths)
            count.equal(found, claimed, "the penalty of k3", L=lengths, beta=beta)
            if salt == 2:
                count.equal(found, F(0), "no pull at π = π_ref", L=lengths)
    for rewards, lengths in group_cases():
        slopes = numbers(lengths, 2)
        sums = [total_rational(row) for row in slopes]
        k = int(total_rational(rewards))
        for method in METHODS:
            if method == "two_grpo" and len(lengths) != 2:
                continue
            for alpha in ALPHAS if method == "delta_l" else (F(1),):
                loss = partial(group_loss, method, rewards, slopes, alpha, CLIPS[1])
                factor, scales = closed_form(method, rewards, lengths, alpha)
                signs = [F(1, k) if r else F(-1, len(lengths) - k) for r in rewards]
                delta = total(c * (s * v) for c, s, v in zip(signs, scales, sums, strict=True))
                at = {"R": rewards, "L": lengths, "alpha": alpha}
                count.equal(slope(loss), -factor * delta, f"{method}: −prefactor·Δ", **at)
    return count.cases
