"""Section 3, pairs and preferences: every entry checked straight from the definitions.

DPO's loss is differentiated exactly: with an integer β, e^(βΔ) = X^β is rational, X the ratio of
the two probability ratios, and so is the derivative of log(1 + X^(−β)). Expectations are sums
over every tuple of responses. Each function takes the formula it checks as a keyword, so that a
wrong one can be shown to be rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod

from .budgets import (
    PROMPTS,
    budget_variance,
    contrast_gain,
    control_variate,
    discard_rate,
    exploration,
    exploration_equal_epochs,
    mean_discard_rate,
    rollout_iid,
)
from .definitions import (
    Count,
    Rewards,
    Vector,
    binary_rewards,
    combine,
    group_update,
    grpo_advantages,
    scaled,
    std,
    total_rational,
)
from .groups import LEVELS, mixed_groups, rational_scores, unit_scores
from .policies import GRID, POLICIES, Policy, expected_update, expected_value
from .surds import Surd, as_surd, sqrt, total

F = Fraction
Values = Sequence[Fraction]
BETAS = (1, 2, 3)
HALF = F(1, 2)


@dataclass(frozen=True)
class Dual:
    """A number and its derivative."""

    value: Fraction
    slope: Fraction

    def __truediv__(self, other: Dual) -> Dual:
        slope = (self.slope * other.value - self.value * other.slope) / other.value**2
        return Dual(self.value / other.value, slope)

    def __pow__(self, n: int) -> Dual:
        return Dual(self.value**n, n * self.value ** (n - 1) * self.slope)


def constant(value: Fraction) -> Dual:
    """A number that does not move: a reference, or what is behind a stop-gradient."""
    return Dual(value, F(0))


def dpo_descent(ratio: Dual, beta: int) -> Fraction:
    """−∂L for L = log(1 + X^(−β)), X = e^Δ: the loss −log S(βΔ)."""
    power = ratio**-beta
    return -power.slope / (1 + power.value)


def moving(policy: Policy, response: int, coordinate: int) -> Dual:
    """π(y) and its derivative by one parameter."""
    return Dual(policy.probabilities[response], policy.gradients[response][coordinate])


def margins(policy: Policy, better: int, worse: int, reference: Values) -> list[Dual]:
    """e^Δ by each parameter."""
    return [
        (moving(policy, better, d) / constant(reference[better]))
        / (moving(policy, worse, d) / constant(reference[worse]))
        for d in range(len(policy.gradients[0]))
    ]


def references(policy: Policy) -> Iterator[tuple[Fraction, ...]]:
    """The policy itself, the uniform law, and one that differs from both."""
    yield policy.probabilities
    n = len(policy.probabilities)
    yield (F(1, n),) * n
    weights = [F(y * y + 1) for y in range(n)]
    yield tuple(w / total_rational(weights) for w in weights)


def pairs_of(policy: Policy) -> Iterator[tuple[int, int]]:
    """All ordered pairs of different responses."""
    responses = range(len(policy.probabilities))
    return ((u, v) for u, v in product(responses, repeat=2) if u != v)


def difference(policy: Policy, u: int, v: int) -> Vector:
    """s_u − s_v."""
    return combine((1, -1), (policy.scores[u], policy.scores[v]))


# --- one pair, one group -------------------------------------------------------------------------


def signs(rewards: Rewards) -> Vector:
    """1 for the larger of two rewards, −1 for the smaller, 0 for equal ones."""
    a, b = rewards
    return Surd((a > b) - (a < b)), Surd((b > a) - (b < a))


def two_grpo(*, closed_form: Callable[[Rewards], Vector] = signs) -> int:
    """All pairs of rewards over four levels: A = ±1 or 0, g = ½ΣA s; 1/√2 of it at ddof 1."""
    count = Count()
    for rewards in product(LEVELS, repeat=2):
        claimed = closed_form(rewards)
        count.equal(grpo_advantages(rewards), claimed, "A = ±1", R=rewards)
        bessel = grpo_advantages(rewards, ddof=1)
        count.equal(bessel, scaled(sqrt(HALF), claimed), "A = ±1/√2 at ddof 1", R=rewards)
        for scores in (unit_scores(2), rational_scores(2)):
            found = group_update(grpo_advantages(rewards), scores)
            count.equal(found, scaled(HALF, combine(claimed, scores)), "g = ½ΣA s", R=rewards)
    return count.cases


def logistic_weight(beta: int, ratio: Fraction) -> Fraction:
    """βS(−βΔ), for e^Δ = ratio."""
    return beta / (1 + ratio**beta)


def dpo_gradient(*, closed_form: Callable[[int, Fraction], Fraction] = logistic_weight) -> int:
    """All pairs of responses, three references, β = 1, 2, 3: −∇L = βS(−βΔ)(s⁺ − s⁻)."""
    count = Count()
    for policy, beta in product(POLICIES, BETAS):
        for (u, v), reference in product(pairs_of(policy), references(policy)):
            ratios = margins(policy, u, v, reference)
            found = tuple(as_surd(dpo_descent(x, beta)) for x in ratios)
            weight = closed_form(beta, ratios[0].value)
            claimed = scaled(weight, difference(policy, u, v))
            at = {"policy": policy.name, "pair": (u, v), "reference": reference, "beta": beta}
            count.equal(found, claimed, "−∇L = βS(−βΔ)(s⁺ − s⁻)", **at)
            count.true(0 < weight < beta, "0 < βS(−βΔ) < β", **at)
            opposite = closed_form(beta, 1 / ratios[0].value)
            count.equal(weight + opposite, F(beta), "βS(−βΔ) + βS(βΔ) = β", **at)
    return count.cases


def twice_logistic_weight(beta: int, ratio: Fraction) -> Fraction:
    """2βS(−βΔ), the length of DPO's step over that of two-rollout GRPO."""
    return 2 * beta / (1 + ratio**beta)


def equivalence(*, closed_form: Callable[[int, Fraction], Fraction] = twice_logistic_weight) -> int:
    """All pairs of responses with rewards of four levels: −∇L = 2βS(−βΔ)∇J, and β∇J at π_ref."""
    count = Count()
    rewards = [(a, b) for a, b in product(LEVELS, repeat=2) if a > b]
    for policy, beta in product(POLICIES[:2], BETAS):
        for u, v in pairs_of(policy):
            scores = [policy.scores[u], policy.scores[v]]
            steps = {group_update(grpo_advantages(pair), scores) for pair in rewards}
            count.equal(len(steps), 1, "∇J is that of any rewards", policy=policy.name)
            for reference in references(policy):
                ratios = margins(policy, u, v, reference)
                found = tuple(as_surd(dpo_descent(x, beta)) for x in ratios)
                claimed = scaled(closed_form(beta, ratios[0].value), next(iter(steps)))
                at = {"policy": policy.name, "pair": (u, v), "beta": beta, "ref": reference}
                count.equal(found, claimed, "−∇L = 2βS(−βΔ)∇J", **at)
                if reference == policy.probabilities:
                    (step,) = steps
                    count.equal(found, scaled(beta, step), "−∇L = β∇J at π_ref", **at)
    return count.cases


def pair_weight(k: int, group_size: int, beta: int) -> Surd:
    """2/(βG√(k(G−k)))."""
    return F(2, beta * group_size) / sqrt(k * (group_size - k))


def all_groups(*, closed_form: Callable[[int, int, int], Surd] = pair_weight) -> int:
    """All mixed 0/1 vectors, G = 2..5: g is the weighted sum of DPO's descents at the reference."""
    count = Count()
    for (rewards, scores), beta in product(mixed_groups(range(2, 6)), BETAS):
        n = range(len(rewards))
        k = sum(r == 1 for r in rewards)
        # At the reference e^Δ is 1 and moves by the difference of the scores.
        descents = [
            [
                dpo_descent(Dual(F(1), F(a) - F(b)), beta)
                for a, b in zip(scores[i], scores[j], strict=True)
            ]
            for i in n
            for j in n
            if rewards[i] == 1 and rewards[j] == 0
        ]
        weight = closed_form(k, len(rewards), beta)
        claimed = combine([weight] * len(descents), descents)
        found = group_update(grpo_advantages(rewards), scores)
        count.equal(found, claimed, "g = Σ weights × DPO's descents", R=rewards, beta=beta)
        whole = weight * len(descents) * beta
        count.equal(whole, 2 * std(rewards), "the weights add up to 2σ/β", R=rewards, beta=beta)
    return count.cases


# --- over sampling -------------------------------------------------------------------------------


def mixed_pairs(policy: Policy) -> Iterator[tuple[Fraction, int, int]]:
    """Each pair of two independent responses with different verdicts, the correct one first."""
    for probability, (y, z) in policy.groups(2):
        if policy.correct[y] != policy.correct[z]:
            yield (probability, y, z) if policy.correct[y] else (probability, z, y)


def sampled_descent(policy: Policy, beta: int) -> tuple[Fraction, Vector]:
    """Pr(mixed), and the sum of probability times −∇L at the reference over mixed pairs."""
    mass, weights, steps = F(0), [], []
    for probability, u, v in mixed_pairs(policy):
        mass += probability
        weights.append(probability)
        ratios = margins(policy, u, v, policy.probabilities)
        steps.append([dpo_descent(x, beta) for x in ratios])
    return mass, combine(weights, steps)


def weighted_pairs(*, closed_form: Callable[[int], Fraction] = Fraction) -> int:
    """All pairs of responses: E[g] = ∇p for GRPO, E[−∇L; mixed] = β∇p for DPO at the reference."""
    count = Count()
    for policy, beta in product(PROMPTS, BETAS):
        at = {"policy": policy.name, "beta": beta}
        mass, found = sampled_descent(policy, beta)
        claimed = scaled(closed_form(beta), policy.p_gradient)
        count.equal(found, claimed, "E[−∇L; mixed] = β∇p", **at)
        count.equal(mass, 2 * policy.p * (1 - policy.p), "Pr(mixed) = 2pq", **at)
        step = scaled(closed_form(beta), expected_update(policy, 2, grpo_advantages))
        count.equal(found, step, "E[−∇L; mixed] = βE[g]", **at)
    return count.cases


def logit_factor(p: Fraction, beta: int) -> Fraction:
    """β/(2pq)."""
    return beta / (2 * p * (1 - p))


def prompt_level(*, closed_form: Callable[[Fraction, int], Fraction] = logit_factor) -> int:
    """All pairs of responses: E[−∇L | mixed] = ∇(β/2)log(p/q) = β/(2pq)E[g], no fixed multiple.

    Refutes "one objective up to a factor": the factor differs between p = ½ and p = ¼.
    """
    count = Count()
    for policy, beta in product((*PROMPTS, Policy.logit(F(1, 4))), BETAS):
        at = {"policy": policy.name, "beta": beta}
        mass, weighted = sampled_descent(policy, beta)
        found = scaled(1 / mass, weighted)
        slopes = [Dual(policy.p, slope) / Dual(1 - policy.p, -slope) for slope in policy.p_gradient]
        logit = tuple(as_surd(F(beta, 2) * x.slope / x.value) for x in slopes)
        count.equal(found, logit, "E[−∇L | mixed] = ∇(β/2)log(p/q)", **at)
        step = expected_update(policy, 2, grpo_advantages)
        claimed = scaled(closed_form(policy.p, beta), step)
        count.equal(found, claimed, "E[−∇L | mixed] = β/(2pq)E[g]", **at)
    for beta in BETAS:
        factors = closed_form(HALF, beta), closed_form(F(1, 4), beta)
        count.true(factors[0] != factors[1], "the factor depends on p", beta=beta)
    return count.cases


def expected_given(group_size: int, p: Fraction, reward: Fraction) -> Surd:
    """E[A_1 | R_1 = reward], over all rewards of the other rollouts."""
    return total(
        grpo_advantages((reward, *rest))[0] * prod((p if r else 1 - p for r in rest), start=F(1))
        for rest in binary_rewards(group_size - 1)
    )


def by_spread(group_size: int, p: Fraction, reward: Fraction) -> Surd:
    """(R − p)E[σ]/(pq), which is R − p for pairs."""
    return expected_value(group_size, p, std) * ((reward - p) / (p * (1 - p)))


def advantage_limit(*, closed_form: Callable[[int, Fraction, Fraction], Surd] = by_spread) -> int:
    """All rewards of the others, G = 2..6: E[A | R], R − p for pairs, and its limit."""
    count = Count()
    for group_size, p, reward in product(range(2, 7), GRID, (F(0), F(1))):
        at = {"G": group_size, "p": p, "R": reward}
        found = expected_given(group_size, p, reward)
        count.equal(found, closed_form(group_size, p, reward), "E[A | R]", **at)
        if group_size == 2:
            count.equal(found, reward - p, "E[A | R] = R − p for pairs", **at)
        share = found * sqrt(p * (1 - p)) / (reward - p)
        low = 1 - 1 / (2 * group_size * p * (1 - p))
        count.true(low <= share <= 1, "1 − 1/(2Gpq) ≤ E[A | R]√(pq)/(R − p) ≤ 1", **at)
    return count.cases


CHECKS: dict[str, Callable[[], int]] = {
    f"preference.{function.__name__.replace('_', '-')}": function
    for function in (
        two_grpo,
        dpo_gradient,
        equivalence,
        all_groups,
        weighted_pairs,
        prompt_level,
        advantage_limit,
        control_variate,
        contrast_gain,
        mean_discard_rate,
        discard_rate,
        exploration,
        exploration_equal_epochs,
        budget_variance,
        rollout_iid,
    )
}
