"""Section 3, prompts and budgets: contrasts, discarded pairs, exploration, variances.

Every mean is a sum over all outcomes. Each function takes the formula it checks as a keyword, so
that a wrong one can be shown to be rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from math import prod

from .definitions import Count, binary_rewards, total_rational
from .policies import GRID, POLICIES, Policy

F = Fraction
Values = Sequence[Fraction]
Mean = Callable[[Values, Values], Fraction]
PROMPTS = (*POLICIES, *map(Policy.logit, GRID))
HALF = F(1, 2)


# --- correct and wrong rollouts ------------------------------------------------------------------


def mean_of(law: Values, values: Values) -> Fraction:
    """E X for a finite law."""
    return total_rational(w * x for w, x in zip(law, values, strict=True))


def variance_of(law: Values, values: Values) -> Fraction:
    """E (X − E X)²."""
    centre = mean_of(law, values)
    return mean_of(law, [(x - centre) ** 2 for x in values])


def scores_by_verdict(policy: Policy, verdict: bool) -> tuple[list[Fraction], list[list[Fraction]]]:
    """The law of the responses with one verdict, and their scores by coordinate."""
    chosen = [y for y, c in enumerate(policy.correct) if c == verdict]
    mass = total_rational(policy.probabilities[y] for y in chosen)
    law = [policy.probabilities[y] / mass for y in chosen]
    return law, [
        [s[d] for s in (policy.scores[y] for y in chosen)] for d in range(len(policy.gradients[0]))
    ]


def contrasts() -> Iterator[
    tuple[Policy, list[Fraction], list[Fraction], list[Fraction], list[Fraction]]
]:
    """Every policy and coordinate: both laws, and both lists of scores."""
    for policy in PROMPTS:
        right, plus = scores_by_verdict(policy, True)
        wrong, minus = scores_by_verdict(policy, False)
        for x, z in zip(plus, minus, strict=True):
            yield policy, right, wrong, x, z


def product_law(right: Values, wrong: Values) -> list[Fraction]:
    """One correct and one wrong response, drawn independently."""
    return [a * b for a, b in product(right, wrong)]


AMOUNTS = (F(-3), F(-1, 2), F(0), F(1, 3), F(1), F(5, 2))


def added_variance(plus: Fraction, minus: Fraction, c: Fraction) -> Fraction:
    """V₊ + c²V₋."""
    return plus + c * c * minus


def control_variate(
    *, closed_form: Callable[[Fraction, Fraction, Fraction], Fraction] = added_variance
) -> int:
    """All pairs of a correct and a wrong response: covariance 0, so no c lowers the variance.

    Refutes "Var(g⁺ − cg⁻) ≤ Var(g⁺)": it is V₊ + c²V₋; and the mean of g⁻ is not 0.
    """
    count = Count()
    for policy, right, wrong, x, z in contrasts():
        law = product_law(right, wrong)
        mean_x, mean_z = mean_of(right, x), mean_of(wrong, z)
        covariance = mean_of(law, [(a - mean_x) * (b - mean_z) for a, b in product(x, z)])
        count.equal(covariance, F(0), "Cov(g⁺, g⁻) = 0", policy=policy.name)
        count.equal(mean_z == 0, mean_x == 0, "E g⁻ = 0 only if E g⁺ = 0", policy=policy.name)
        plus, minus = variance_of(right, x), variance_of(wrong, z)
        for c in AMOUNTS:
            found = variance_of(law, [a - c * b for a, b in product(x, z)])
            at = {"policy": policy.name, "c": c}
            count.equal(found, closed_form(plus, minus, c), "Var = V₊ + c²V₋", **at)
            count.equal(found > plus, c != 0 and minus > 0, "Var(g⁺ − cg⁻) > Var(g⁺)", **at)
    return count.cases


def relative_variance(p: Fraction, plus: Fraction, minus: Fraction, c: Fraction) -> Fraction:
    """(V₊ + c²V₋)/(1 + cp/q)², in units of ‖E g⁺‖²."""
    return (plus + c * c * minus) / (1 + c * p / (1 - p)) ** 2


def contrast_gain(
    *,
    closed_form: Callable[[Fraction, Fraction, Fraction, Fraction], Fraction] = relative_variance,
    best: Callable[[Fraction, Fraction, Fraction], Fraction] = lambda p, v, u: p / (1 - p) * v / u,
) -> int:
    """All policies: E g⁻ = −(p/q)E g⁺, the contrast's relative variance, and its least value."""
    count = Count()
    for policy, right, wrong, x, z in contrasts():
        mean_x, mean_z = mean_of(right, x), mean_of(wrong, z)
        odds = policy.p / (1 - policy.p)
        count.equal(mean_z, -odds * mean_x, "E g⁻ = −(p/q)E g⁺", policy=policy.name)
        law = product_law(right, wrong)
        plus, minus = variance_of(right, x), variance_of(wrong, z)
        for c in AMOUNTS:
            contrast = [a - c * b for a, b in product(x, z)]
            centre = mean_of(law, contrast)
            if centre == 0 or mean_x == 0:
                continue
            found = variance_of(law, contrast) / centre**2
            claimed = closed_form(policy.p, plus, minus, c) / mean_x**2
            count.equal(found, claimed, "the relative variance", policy=policy.name, c=c)
    amounts = [F(n, 7) for n in range(-60, 61)]
    for p, plus, minus in product(GRID, (F(1, 3), F(2)), (F(1, 2), F(5))):
        odds = p / (1 - p)
        c_best = best(p, plus, minus)
        least = closed_form(p, plus, minus, c_best)
        at = {"p": p, "plus": plus, "minus": minus}
        value = plus * minus / (minus + odds**2 * plus)
        count.equal(least, value, "the least value V₊V₋/(V₋ + (p/q)²V₊)", **at)
        for c in amounts:
            if c != c_best and 1 + c * odds != 0:
                found = closed_form(p, plus, minus, c)
                count.true(least < found, "c* has the least relative variance", **at, c=c)
        count.true(least < plus, "less than V₊", **at)
        count.true(least < minus / odds**2, "less than (q/p)²V₋", **at)
    return count.cases


# --- what is discarded, what is found ------------------------------------------------------------


def equal_rewards(p: Fraction) -> Fraction:
    """p² + q²."""
    return p * p + (1 - p) * (1 - p)


def discard_rate(*, closed_form: Callable[[Fraction], Fraction] = equal_rewards) -> int:
    """All four outcomes of a pair: equal rewards have the probability p² + q², at least ½.

    Refutes "1 − p² − q² are discarded", which is the share that is kept, and equal only if p² + q²
    were ½, at p = ½.
    """
    count = Count()
    for n in range(1, 20):
        p = F(n, 20)
        discarded, kept = F(0), F(0)
        for r, r2 in binary_rewards(2):
            mass = (p if r else 1 - p) * (p if r2 else 1 - p)
            if r == r2:
                discarded += mass
            else:
                kept += mass
        count.equal(discarded, closed_form(p), "Pr(equal rewards) = p² + q²", p=p)
        printed = 1 - p * p - (1 - p) * (1 - p)
        count.equal(kept, printed, "1 − p² − q² is kept", p=p)
        count.equal(discarded == printed, p == HALF, "the printed rate, at p = ½ only", p=p)
        count.true(discarded >= HALF, "at least half is discarded", p=p)
    return count.cases


def twice_variance(law: Values, rates: Values) -> Fraction:
    """2 Var(p)."""
    return 2 * variance_of(law, rates)


def mean_discard_rate(*, closed_form: Mean = twice_variance) -> int:
    """All triples of rates, three laws: the mean rate exceeds the rate at the mean by 2Var(p)."""
    count = Count()
    rates = (F(0), F(1, 10), F(1, 2), F(9, 10), F(1))
    laws = ((F(1, 3),) * 3, (F(1, 2), F(1, 3), F(1, 6)), (F(1, 10), F(1, 10), F(4, 5)))
    for law, prompts in product(laws, product(rates, repeat=3)):
        at = {"law": law, "p": prompts}
        excess = mean_of(law, [equal_rewards(p) for p in prompts])
        excess -= equal_rewards(mean_of(law, prompts))
        count.equal(excess, closed_form(law, prompts), "excess = 2Var(p)", **at)
        count.equal(excess > 0, len(set(prompts)) > 1, "0 only if all are equal", **at)
    tenths = (F(1, 10), F(9, 10))
    found = mean_of((HALF, HALF), [equal_rewards(p) for p in tenths])
    count.equal(found, F(82, 100), "half .1, half .9: .82")
    return count.cases


def found_by_enumeration(rates: Values) -> Fraction:
    """The probability that at least one of independent rollouts is correct, over all outcomes."""
    return total_rational(
        prod((p if r else 1 - p for p, r in zip(rates, rewards, strict=True)), start=F(1))
        for rewards in binary_rewards(len(rates))
        if any(rewards)
    )


def found_by_pairs(rates: Values) -> Fraction:
    """1 − Π(1−p_i)²."""
    return 1 - prod(((1 - p) ** 2 for p in rates), start=F(1))


def exploration(*, closed_form: Callable[[Values], Fraction] = found_by_pairs) -> int:
    """All outcomes of up to three pairs with p_i ≥ p₀: they find no less than 2m rollouts at p₀."""
    count = Count()
    for m, start in product(range(1, 4), (F(0), F(1, 4), F(2, 3))):
        floor = found_by_enumeration((start,) * (2 * m))
        count.equal(floor, 1 - (1 - start) ** (2 * m), "1 − (1−p₀)^(2m)", m=m, p0=start)
        for rises in product((F(0), F(1, 5), F(1, 3)), repeat=m):
            rates = [start + rise for rise in rises]
            found = found_by_enumeration([p for p in rates for _ in range(2)])
            count.equal(found, closed_form(rates), "1 − Π(1−p_i)²", p=rates)
            count.true(found >= floor, "at least the group of 2m", p=rates, p0=start)
    return count.cases


def found_by_groups(p: Fraction, group_size: int, epochs: int) -> Fraction:
    """1 − (1−p)^(Gm)."""
    return 1 - (1 - p) ** (group_size * epochs)


def exploration_equal_epochs(
    *, closed_form: Callable[[Fraction, int, int], Fraction] = found_by_groups
) -> int:
    """All outcomes, G = 3..5, one or two epochs: pairs at p₀ find strictly less than groups of G.

    Refutes "pairs explore at least as much" at equal epochs; at G = 4 p_i = 1 − (1−p₀)² makes
    up for it, exactly.
    """
    count = Count()
    for p, group_size, epochs in product(GRID, range(3, 6), (1, 2)):
        at = {"p": p, "G": group_size, "m": epochs}
        groups = found_by_enumeration((p,) * (group_size * epochs))
        count.equal(groups, closed_form(p, group_size, epochs), "1 − (1−p)^(Gm)", **at)
        pairs = found_by_enumeration((p,) * (2 * epochs))
        count.true(pairs < groups, "pairs find less", **at)
        if group_size == 4:
            risen = 1 - (1 - p) ** 2
            made_up = found_by_enumeration((risen,) * (2 * epochs))
            count.equal(made_up, groups, "1 − (1−p₀)² is just enough", **at)
    return count.cases


# --- budgets -------------------------------------------------------------------------------------

Pool = tuple[Values, Sequence[tuple[Values, Values]]]  # the law of prompts; laws and terms of each
POOLS: tuple[Pool, ...] = (
    (
        (F(1, 3), F(2, 3)),
        (((F(1, 4), F(3, 4)), (F(1), F(-2))), ((F(1, 2), F(1, 2)), (F(3), F(1, 2)))),
    ),
    ((HALF, HALF), (((F(1),), (F(1),)), ((F(1),), (F(-1),)))),
    (
        (F(1, 6), F(1, 2), F(1, 3)),
        (
            ((F(1, 5), F(4, 5)), (F(0), F(2))),
            ((F(1),), (F(1, 3),)),
            ((F(2, 3), F(1, 3)), (F(-1), F(4))),
        ),
    ),
)


def group_law(law: Values, terms: Values, group_size: int) -> tuple[list[Fraction], list[Fraction]]:
    """The law of the mean of G terms of one prompt, over every tuple of outcomes."""
    chances, means = [], []
    for outcomes in product(range(len(law)), repeat=group_size):
        chances.append(prod((law[y] for y in outcomes), start=F(1)))
        means.append(total_rational(terms[y] for y in outcomes) / group_size)
    return chances, means


def update_variance(pool: Pool, prompts: int, group_size: int) -> Fraction:
    """Var of the mean of Q groups: over every tuple of prompts, and all their groups."""
    law, members = pool
    groups: list[tuple[Fraction, Fraction]] = []  # chance and step of a group, prompt included
    for share, (own, terms) in zip(law, members, strict=True):
        groups += [(share * w, x) for w, x in zip(*group_law(own, terms, group_size), strict=True)]
    chances, means = [], []
    for drawn in product(groups, repeat=prompts):
        chances.append(prod((chance for chance, _ in drawn), start=F(1)))
        means.append(total_rational(step for _, step in drawn) / prompts)
    return variance_of(chances, means)


def parts_of(pool: Pool, group_size: int) -> tuple[Fraction, Fraction]:
    """Var_q(μ_q) and E_q V_G(q)."""
    law, members = pool
    groups = [group_law(own, terms, group_size) for own, terms in members]
    between = variance_of(law, [mean_of(*group) for group in groups])
    return between, mean_of(law, [variance_of(*group) for group in groups])


def by_prompts(between: Fraction, within: Fraction, prompts: int) -> Fraction:
    """(Var_q(μ_q) + E_q V_G(q))/Q."""
    return (between + within) / prompts


def budget_variance(
    *, closed_form: Callable[[Fraction, Fraction, int], Fraction] = by_prompts
) -> int:
    """Three pools, Q = 1, 2, G = 1..3, all prompts and groups: (1/Q)[Var_q(μ_q) + E_q V_G(q)]."""
    count = Count()
    for pool, prompts, group_size in product(POOLS, (1, 2), (1, 2, 3)):
        at = {"pool": POOLS.index(pool), "Q": prompts, "G": group_size}
        found = update_variance(pool, prompts, group_size)
        between, within = parts_of(pool, group_size)
        count.equal(found, closed_form(between, within, prompts), "the law of total variance", **at)
        single = parts_of(pool, 1)
        count.equal(between, single[0], "μ_q does not depend on G", **at)
        count.equal(within, single[1] / group_size, "V_G(q) = V_1(q)/G", **at)
    return count.cases


def shared_prompt(between: Fraction, prompts: int, group_size: int) -> Fraction:
    """((1 − 1/G)/Q) Var_q(μ_q)."""
    return (1 - F(1, group_size)) / prompts * between


def rollout_iid(*, closed_form: Callable[[Fraction, int, int], Fraction] = shared_prompt) -> int:
    """Three pools, all prompts and groups: Var − Var(g)/(QG) = ((1 − 1/G)/Q)Var_q(μ_q).

    Refutes "Var = Var(g)/(QG)": it holds at G = 1 only, where prompts differ.
    """
    count = Count()
    for pool, prompts, group_size in product(POOLS, (1, 2), (1, 2, 3)):
        at = {"pool": POOLS.index(pool), "Q": prompts, "G": group_size}
        found = update_variance(pool, prompts, group_size)
        printed = update_variance(pool, 1, 1) / (prompts * group_size)
        between, _ = parts_of(pool, 1)
        claimed = closed_form(between, prompts, group_size)
        count.equal(found - printed, claimed, "Var − Var(g)/(QG)", **at)
        count.equal(found == printed, group_size == 1, "equal at G = 1 only", **at)
    return count.cases
