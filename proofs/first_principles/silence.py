"""Section 2, groups without contrast: how often they occur, how to estimate it, what they bias.

Each statement is summed over every 0/1 vector, every tuple of responses of a policy, or every
tuple of three categories.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations, pairwise, product
from math import comb, factorial, prod

from .definitions import (
    Count,
    Method,
    Rewards,
    binary_rewards,
    dr_grpo_advantages,
    grpo_advantages,
    is_mixed,
    mean,
    rloo_advantages,
    scaled,
    total_rational,
)
from .policies import (
    GRID,
    Policy,
    cases,
    expected_update,
    expected_value,
    grpo_weight_formula,
    mixed_mass,
)
from .surds import Surd, sqrt

F = Fraction
Polynomial = list[Fraction]  # coefficients, constant first


def is_silent(rewards: Rewards) -> Fraction:
    """1 when all rewards are equal, else 0."""
    return F(not is_mixed(rewards))


def times(a: Polynomial, b: Polynomial) -> Polynomial:
    """The product of two polynomials."""
    result = [F(0)] * (len(a) + len(b) - 1)
    for (i, x), (j, y) in product(enumerate(a), enumerate(b)):
        result[i + j] += x * y
    return result


def integral(polynomial: Polynomial) -> Fraction:
    """The integral over [0, 1]."""
    return total_rational(c / (n + 1) for n, c in enumerate(polynomial))


def silent_mass(group_size: int, p: Fraction) -> Fraction:
    """p^G + q^G."""
    return p**group_size + (1 - p) ** group_size


def beta_silent_mass(group_size: int, a: int, b: int) -> Fraction:
    """B(a+G, b)/B(a, b) + B(a, b+G)/B(a, b)."""

    def beta(x: int, y: int) -> Fraction:
        return F(factorial(x - 1) * factorial(y - 1), factorial(x + y - 1))

    return (beta(a + group_size, b) + beta(a, b + group_size)) / beta(a, b)


def silent_rate(
    *,
    closed_form: Callable[[int, Fraction], Fraction] = silent_mass,
    beta_form: Callable[[int, int, int], Fraction] = beta_silent_mass,
) -> int:
    """All 0/1 vectors, G = 2..7: P(silent) = p^G+q^G, strictly decreasing in G inside (0, 1).

    Difficulties from Beta(a, b), integers a, b ≤ 4: the probability of every silent vector, a
    polynomial in p, is multiplied by the density and integrated exactly.
    """
    count = Count()
    for p in GRID:
        found = [expected_value(size, p, is_silent) for size in range(2, 8)]
        for size, rate in enumerate(found, start=2):
            count.equal(rate, closed_form(size, p), "P(silent) = p^G+q^G", G=size, p=p)
        for size, (now, then) in enumerate(pairwise(found), start=2):
            count.true(then < now, "P(silent) decreases in G", G=size, p=p)
    p_itself, q_itself = [F(0), F(1)], [F(1), F(-1)]
    for size, a, b in product(range(2, 7), range(1, 5), range(1, 5)):
        density = [F(1)]
        for factor in [p_itself] * (a - 1) + [q_itself] * (b - 1):
            density = times(density, factor)
        mass = F(0)
        for rewards in filter(is_silent, binary_rewards(size)):
            term = density
            for r in rewards:
                term = times(term, p_itself if r else q_itself)
            mass += integral(term)
        claimed = beta_form(size, a, b)
        claim = "P(silent) under Beta(a, b)"
        count.equal(mass / integral(density), claimed, claim, G=size, a=a, b=b)
    return count.cases


LOGS = [(n, size) for n in range(2, 8) for size in range(2, n + 1)]
Estimate = Callable[[int, int, int], Fraction]  # called with (c, n, G)


def of_count(estimate: Estimate, group_size: int) -> Callable[[Rewards], Fraction]:
    """The estimate as a function of the log: c correct of n."""
    return lambda log: estimate(log.count(F(1)), len(log), group_size)


def u_statistic(c: int, n: int, group_size: int) -> Fraction:
    """[C(c, G) + C(n−c, G)]/C(n, G)."""
    return F(comb(c, group_size) + comb(n - c, group_size), comb(n, group_size))


def silent_u_statistic(*, closed_form: Estimate = u_statistic) -> int:
    """All 2^n logs, n ≤ 7, every G ≤ n: it is the share of silent G-subsets of the log.

    Its expectation, over the same logs, is p^G+q^G.
    """
    count = Count()
    for n, size in LOGS:
        for log in binary_rewards(n):
            share = mean([is_silent(subset) for subset in combinations(log, size)])
            claimed = closed_form(log.count(F(1)), n, size)
            count.equal(share, claimed, "the share of silent subsets", log=log, G=size)
        for p in GRID:
            found = expected_value(n, p, of_count(closed_form, size))
            count.equal(found, silent_mass(size, p), "unbiased for p^G+q^G", n=n, G=size, p=p)
    return count.cases


def plug_in(c: int, n: int, group_size: int) -> Fraction:
    """p̂^G + q̂^G with p̂ = c/n."""
    return silent_mass(group_size, F(c, n))


def silent_plug_in(*, estimate: Estimate = plug_in) -> int:
    """Refutes "p̂^G + q̂^G is unbiased": all 2^n logs, n ≤ 7, G = 2..n; it is biased upward.

    At G = 2 and 3, where p^G+q^G is 1 − Gpq, the bias is exactly Gpq/n.
    """
    count = Count()
    for (n, size), p in product(LOGS, GRID):
        found = expected_value(n, p, of_count(estimate, size))
        bias = found - silent_mass(size, p)
        count.true(bias > 0, "the plug-in estimate is biased upward", n=n, G=size, p=p, bias=bias)
        if size <= 3:
            claimed = size * p * (1 - p) / n
            count.equal(bias, claimed, "the bias is Gpq/n", n=n, G=size, p=p)
    return count.cases


def conditional_mean(group_size: int, p: Fraction) -> Fraction:
    """(p − p^G)/(1 − p^G − q^G)."""
    return (p - p**group_size) / mixed_mass(group_size, p)


def conditional_baseline(
    *, closed_form: Callable[[int, Fraction], Fraction] = conditional_mean
) -> int:
    """All 0/1 vectors, G = 2..7: E[p̂ | 0<k<G], above p for p < ½, equal at ½, below beyond.

    At G = 2 it is ½ for every p.  The gradient is not turned: over all mixed response tuples of
    every policy, E[g | 0<k<G]·P(0<k<G) is E[g] (GRPO, Dr. GRPO, RLOO).
    """
    count = Count()
    for size, p in product(range(2, 8), GRID):
        mass = expected_value(size, p, lambda rewards: F(is_mixed(rewards)))
        part = expected_value(size, p, lambda rewards: mean(rewards) * is_mixed(rewards))
        found = part / mass
        count.equal(found, closed_form(size, p), "E[p̂ | 0<k<G]", G=size, p=p)
        side = (p < F(1, 2)) - (p > F(1, 2))
        count.equal((found - p).sign(), side, "the side of p it is on", G=size, p=p)
        if size == 2:
            count.equal(found, F(1, 2), "½ at G = 2", p=p)
    methods: tuple[Method, ...] = (grpo_advantages, dr_grpo_advantages, rloo_advantages)
    for (policy, size), method in product(cases(), methods):
        kept = expected_update(policy, size, method, is_mixed)
        claimed = expected_update(policy, size, method)
        found_update = scaled(mixed_mass(size, policy.p), kept)
        claim = "E[g | mixed]·P(mixed) = E[g]"
        count.equal(found_update, claimed, claim, policy=policy.name, G=size)
    return count.cases


def dapo(*, closed_form: Callable[[int, Fraction], Fraction] = mixed_mass) -> int:
    """All mixed response tuples of every policy: E[g | kept] = W_G(p)/(1−p^G−q^G)·∇p.

    Draws per kept group: the sum over n ≤ N of n·P(the n-th group is the first kept) differs from
    1/(1−p^G−q^G) by exactly r^N(N + 1/(1−r)), r = p^G+q^G, for N ≤ 40, and that tends to 0; giving
    up after N draws, the mean number is (1−r^N)/(1−r).
    p → 0: |p·W − √(G−1)/G| ≤ Gp on p = 10⁻¹..10⁻⁶, G = 2..6; there and at p = 1/3..3/4 pGW/√(G−1)
    is between q^(G−1) and its inverse.
    """
    count = Count()
    for policy, group_size in cases():
        found = expected_update(policy, group_size, grpo_advantages, is_mixed)
        factor = grpo_weight_formula(group_size, policy.p) / closed_form(group_size, policy.p)
        claimed = scaled(factor, policy.p_gradient)
        claim = "E[g | 0<k<G] = W_G/(1−p^G−q^G)·∇p"
        count.equal(found, claimed, claim, policy=policy.name, G=group_size)
    for group_size, p in product(range(2, 6), GRID):
        r = expected_value(group_size, p, lambda rewards: F(not is_mixed(rewards)))
        draws, miss = Surd(0), Surd(1)
        for n in range(1, 41):
            draws += n * miss * (1 - r)
            miss *= r
            rest = miss * (n + 1 / closed_form(group_size, p))
            count.equal(draws + rest, 1 / closed_form(group_size, p), "draws", G=group_size, p=p)
            capped = (1 - miss) / closed_form(group_size, p)
            count.equal(draws + n * miss, capped, "draws, at most N", G=group_size, p=p, N=n)
    for group_size, digits in product(range(2, 7), range(1, 7)):
        p = F(1, 10**digits)
        near_zero = grpo_weight_formula(group_size, p) * (p / closed_form(group_size, p))
        error = abs(near_zero - sqrt(group_size - 1) / group_size)
        count.true(error <= group_size * p, "p·W_DAPO → √(G−1)/G", G=group_size, p=p)
    rates = (*GRID, *(F(1, 10**n) for n in range(1, 7)))
    for group_size, p in product(range(2, 7), rates):
        weight = grpo_weight_formula(group_size, p) / closed_form(group_size, p)
        factor, bound = weight * (group_size * p), (1 - p) ** (group_size - 1)
        top = sqrt(group_size - 1)
        holds = top * bound <= factor <= top / bound
        count.true(holds, "q^(G−1) ≤ GpW/√(G−1) ≤ q^(1−G)", G=group_size, p=p, factor=factor)
    return count.cases


def dapo_same_as_grpo(
    *, keep: Callable[[Rewards], bool] = is_mixed, closed_form: Callable[..., Fraction] = mixed_mass
) -> int:
    """Refutes "DAPO's filter leaves the update law of GRPO": the ratio of E[g] depends on p.

    Enumerated for the logit prompt, G = 2..5, at p = ½ and 1/10: the ratios differ, and each is
    1/(1−p^G−q^G).
    """
    count = Count()
    for group_size in range(2, 6):
        ratios = []
        for p in (F(1, 2), F(1, 10)):
            policy = Policy.logit(p)
            (kept,) = expected_update(policy, group_size, grpo_advantages, keep)
            (plain,) = expected_update(policy, group_size, grpo_advantages)
            ratios.append(kept / plain)
            claimed = 1 / closed_form(group_size, p)
            count.equal(kept / plain, claimed, "DAPO/GRPO = 1/(1−p^G−q^G)", G=group_size, p=p)
        claim = "the ratio DAPO/GRPO is not constant in p"
        count.true(ratios[0] != ratios[1], claim, G=group_size, ratios=ratios)
    return count.cases


def missed_mass(n: int, p: Fraction, tau: Fraction) -> Fraction:
    """(1−τ)^N − q^N − (p−τ)^N."""
    return (1 - tau) ** n - (1 - p) ** n - (p - tau) ** n


def tail_miss(*, closed_form: Callable[[int, Fraction, Fraction], Fraction] = missed_mass) -> int:
    """All 3^N tuples of (rare correct τ, common correct p−τ, wrong q), N = 2..7.

    The mass of the tuples with a correct and a wrong rollout but no rare one.  At τ = .01, p = .3
    its only maximum is .876, at N = 10; from N = 14 on (1−τ)^N alone is smaller.
    """
    count = Count()
    for n, (p, tau) in product(
        range(2, 8), ((F(3, 10), F(1, 100)), (F(1, 2), F(1, 3)), (F(4, 5), F(1, 7)))
    ):
        masses = {"rare": tau, "common": p - tau, "wrong": 1 - p}
        found = total_rational(
            prod((masses[y] for y in group), start=F(1))
            for group in product(masses, repeat=n)
            if "rare" not in group and "common" in group and "wrong" in group
        )
        count.equal(found, closed_form(n, p, tau), "P(tail missed)", N=n, p=p, tau=tau)
    p, tau = F(3, 10), F(1, 100)
    peak = closed_form(10, p, tau)
    count.true(abs(peak - F(876, 1000)) <= F(1, 2000), "the maximum is .876", value=peak)
    for n in range(2, 14):
        value = closed_form(n, p, tau)
        count.true(value < peak or n == 10, "the maximum is at N = 10", N=n, value=value)
    count.true((1 - tau) ** 14 < peak, "no later N comes near", bound=(1 - tau) ** 14)
    return count.cases
