"""Section 1, one sampled group: every entry checked straight from the definitions.

A statement linear in the scores is checked on the unit vectors of ℚ^G, which settles it for all
scores of every dimension, and on explicit rational scores in ℚ³ beside them.  Each function takes
the formula it checks as a keyword, so that a wrong one can be shown to be rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import product

from . import binary32
from .definitions import (
    Count,
    Method,
    Rewards,
    Scores,
    Vector,
    binary_rewards,
    combine,
    dr_grpo_advantages,
    group_update,
    grpo_advantages,
    is_mixed,
    loo_std_advantages,
    mean,
    rloo_advantages,
    scaled,
    std,
    total_rational,
)
from .surds import Rational, Surd, as_surd, sqrt, total

F = Fraction
TENTH = F(1, 10)
LEVELS = (F(-1), F(0), F(1, 2), F(2))


def unit_scores(group_size: int) -> Scores:
    """The unit vectors of ℚ^G: a linear identity that holds here holds for all scores."""
    return [[int(i == j) for j in range(group_size)] for i in range(group_size)]


def rational_scores(group_size: int) -> Scores:
    """Distinct rational scores in three dimensions, with no linear relation to the index."""
    return [
        [F(1, i + 2), F(i * i - 3, i + 3), F((-1) ** i * (2 * i + 1), 7)] for i in range(group_size)
    ]


def mixed_groups(sizes: range) -> Iterator[tuple[Rewards, Scores]]:
    """Every 0/1 reward vector with 0 < k < G, with unit and with rational scores."""
    for group_size in sizes:
        for rewards in filter(is_mixed, binary_rewards(group_size)):
            yield rewards, unit_scores(group_size)
            yield rewards, rational_scores(group_size)


def score_contrast(rewards: Rewards, scores: Scores) -> Vector:
    """Δs: the mean score at the higher reward minus the mean score at the lower one."""
    high = [r == max(rewards) for r in rewards]
    k = sum(high)
    return combine((F(1, k) if h else F(-1, len(high) - k) for h in high), scores)


def parallel(u: Vector, v: Vector) -> bool:
    """Whether all 2×2 minors of (u, v) vanish."""
    n = range(len(u))
    return all(u[i] * v[j] == u[j] * v[i] for i in n for j in n if i < j)


def root_k_g_minus_k(k: int, group_size: int) -> Surd:
    """√(k(G−k))/G."""
    return sqrt(k * (group_size - k)) / group_size


def binary_std(*, closed_form: Callable[[int, int], Surd] = root_k_g_minus_k) -> int:
    """All 0/1 vectors, G = 2..9: σ = √(k(G−k))/G = √(μ(1−μ))."""
    count = Count()
    for group_size in range(2, 10):
        for rewards in binary_rewards(group_size):
            mu = mean(rewards)
            claimed = closed_form(rewards.count(F(1)), group_size)
            count.equal(std(rewards), claimed, "σ = √(k(G−k))/G", R=rewards)
            count.equal(std(rewards), sqrt(mu * (1 - mu)), "σ = √(μ(1−μ))", R=rewards)
    return count.cases


def identity(*, closed_form: Callable[[Rewards], Surd] = std) -> int:
    """All 0/1 vectors, G = 2..7: g = σΔs, and g = 0 for a unanimous group."""
    count = Count()
    for rewards, scores in mixed_groups(range(2, 8)):
        found = group_update(grpo_advantages(rewards), scores)
        claimed = scaled(closed_form(rewards), score_contrast(rewards, scores))
        count.equal(found, claimed, "g = σΔs", R=rewards)
    for group_size, r in product(range(2, 8), (F(0), F(1))):
        found = group_update(grpo_advantages((r,) * group_size), unit_scores(group_size))
        count.true(not any(found), "g = 0 in a unanimous group", G=group_size, R=r)
    return count.cases


def sign(c: Fraction) -> int:
    """−1, 0 or 1."""
    return (c > 0) - (c < 0)


def baseline_invariance(
    *, method: Method = grpo_advantages, closed_form: Callable[[Fraction], Rational] = sign
) -> int:
    """All vectors over four levels, G = 2..4, R → cR + b: A and g are multiplied by sign(c).

    The advantages of Dr. GRPO and RLOO are multiplied by c, 0 and equal rewards included.
    And g = σΔs for all two-valued rewards {a, b}, a < b, G = 2..5: σ is that of the 0/1 verdicts,
    and the rewards' own deviation divided by b − a.
    """
    count = Count()
    for group_size in range(2, 5):
        scores = rational_scores(group_size)
        for rewards in product(LEVELS, repeat=group_size):
            before = method(rewards)
            for c, b in product((F(1), F(3, 2), F(-1), F(-2, 5)), (F(0), F(-7, 3))):
                moved = tuple(c * r + b for r in rewards)
                after = method(moved)
                at = {"R": rewards, "c": c, "b": b}
                count.equal(after, scaled(closed_form(c), before), "A(cR+b) = sign(c)·A(R)", **at)
                g = scaled(closed_form(c), group_update(before, scores))
                count.equal(group_update(after, scores), g, "g(cR+b) = sign(c)·g(R)", **at)
            for c, b in product((F(3, 2), F(-2, 5), F(0)), (F(0), F(-7, 3))):
                moved = tuple(c * r + b for r in rewards)
                for unscaled in (dr_grpo_advantages, rloo_advantages):
                    claimed = scaled(c, unscaled(rewards))
                    claim = "A(cR+b) = c·A(R) for Dr. GRPO and RLOO"
                    count.equal(unscaled(moved), claimed, claim, R=rewards, c=c, b=b)
    for a, b in ((F(-1), F(1)), (F(2, 7), F(5)), (F(-3), F(-1, 2))):
        for rewards, scores in mixed_groups(range(2, 6)):
            two_valued = tuple(b if r else a for r in rewards)
            found = group_update(method(two_valued), scores)
            claimed = scaled(std(rewards), score_contrast(two_valued, scores))
            count.equal(found, claimed, "g = √(k(G−k))/G·Δs for rewards {a,b}", R=two_valued)
            own = std(two_valued) / (b - a)
            count.equal(own, std(rewards), "σ of the verdicts = σ'/(b−a)", R=two_valued)
    return count.cases


def variance(rewards: Rewards) -> Surd:
    """σ²."""
    return std(rewards) ** 2


def dr_grpo(*, closed_form: Callable[[Rewards], Surd] = variance) -> int:
    """All 0/1 vectors, G = 2..7: with A_i = R_i − μ, g = σ²Δs; 0 for a unanimous group."""
    count = Count()
    for rewards, scores in mixed_groups(range(2, 8)):
        found = group_update(dr_grpo_advantages(rewards), scores)
        claimed = scaled(closed_form(rewards), score_contrast(rewards, scores))
        count.equal(found, claimed, "g = σ²Δs", R=rewards)
    for group_size, r in product(range(2, 8), (F(0), F(1))):
        found = group_update(dr_grpo_advantages((r,) * group_size), unit_scores(group_size))
        count.true(not any(found), "g = 0 in a unanimous group", G=group_size, R=r)
    return count.cases


def dapo(*, closed_form: Callable[[int, int], Fraction] = F) -> int:
    """All batches of two groups of 3, of three groups of 2: drop the unanimous groups.

    The kept groups' g are those of GRPO, in order; the mean over the kept groups is the mean over
    all M groups times M/(number kept): only the normalisation changes.
    """
    count = Count()
    for groups, group_size in ((2, 3), (3, 2)):
        scores = rational_scores(group_size)
        for batch in product(binary_rewards(group_size), repeat=groups):
            before = [group_update(grpo_advantages(rewards), scores) for rewards in batch]
            kept = [i for i, rewards in enumerate(batch) if std(rewards) > 0]
            filtered = [rewards for rewards in batch if is_mixed(rewards)]
            after = [group_update(grpo_advantages(rewards), scores) for rewards in filtered]
            count.equal(after, [before[i] for i in kept], "a kept group's g is GRPO's", batch=batch)
            if kept:
                found = [total(column) / len(kept) for column in zip(*after, strict=True)]
                factor = closed_form(groups, len(kept)) / groups
                claimed = [total(column) * factor for column in zip(*before, strict=True)]
                count.equal(found, claimed, "mean over kept = (M/kept)·mean over all", batch=batch)
    return count.cases


def rloo_factor(group_size: int) -> Fraction:
    """G/(G−1)."""
    return F(group_size, group_size - 1)


def rloo(*, closed_form: Callable[[int], Fraction] = rloo_factor) -> int:
    """Four reward levels, G = 2..4: R_i − μ = ((G−1)/G)(R_i − b_i).

    All 0/1 vectors, G = 2..7: g = (G/(G−1))σ²Δs; at G = 2 the advantages are GRPO's.
    """
    count = Count()
    for group_size in range(2, 5):
        for rewards in product(LEVELS, repeat=group_size):
            claimed = scaled(closed_form(group_size), dr_grpo_advantages(rewards))
            count.equal(
                rloo_advantages(rewards), claimed, "R_i − b_i = G/(G−1)·(R_i − μ)", R=rewards
            )
    for rewards, scores in mixed_groups(range(2, 8)):
        found = group_update(rloo_advantages(rewards), scores)
        factor = variance(rewards) * closed_form(len(rewards))
        claimed = scaled(factor, score_contrast(rewards, scores))
        count.equal(found, claimed, "g = G/(G−1)·σ²Δs", R=rewards)
    for rewards in binary_rewards(2):
        count.equal(
            rloo_advantages(rewards), grpo_advantages(rewards), "RLOO = GRPO at G = 2", R=rewards
        )
    return count.cases


def slope_by_deviations(rewards: Rewards, scores: Scores) -> Vector:
    """β̂ = Σ(R_i−μ)s_i / Σ(R_i−μ)²."""
    deviations = [r - mean(rewards) for r in rewards]
    return scaled(1 / total_rational(d * d for d in deviations), combine(deviations, scores))


def real_rewards(*, closed_form: Callable[[Rewards, Scores], Vector] = slope_by_deviations) -> int:
    """All vectors over four levels with σ > 0, G = 2..4, general scores and scores affine in R.

    The slope solves the normal equations of scores on (1, R), by Cramer's rule; g is σ times it.
    ‖g‖² ≤ (1/G)Σ‖s_i − s̄‖², with equality exactly when every residual is 0; the gap is the mean
    squared residual.  For 0/1 rewards the slope is Δs.
    """
    count = Count()
    for group_size in range(2, 5):
        for rewards in filter(is_mixed, product(LEVELS, repeat=group_size)):
            affine = [[1 - 3 * r, F(2, 3) * r] for r in rewards]
            for scores in (unit_scores(group_size), rational_scores(group_size), affine):
                _check_slope(count, rewards, scores, closed_form(rewards, scores))
    for rewards, scores in mixed_groups(range(2, 7)):
        contrast = score_contrast(rewards, scores)
        count.equal(closed_form(rewards, scores), contrast, "β̂ = Δs for 0/1 rewards", R=rewards)
    return count.cases


def _check_slope(count: Count, rewards: Rewards, scores: Scores, claimed: Vector) -> None:
    """Check β̂, g = σβ̂ and the Cauchy–Schwarz bound for one group."""
    n = len(rewards)
    sum_r, sum_rr = sum(rewards), total_rational(r * r for r in rewards)
    determinant = n * sum_rr - sum_r * sum_r
    ones = combine([1] * n, scores)
    with_r = combine(rewards, scores)
    slope = tuple((b * n - a * sum_r) / determinant for a, b in zip(ones, with_r, strict=True))
    level = tuple((a * sum_rr - b * sum_r) / determinant for a, b in zip(ones, with_r, strict=True))
    count.equal(claimed, slope, "β̂ is the least-squares slope", R=rewards, s=scores)
    g = group_update(grpo_advantages(rewards), scores)
    count.equal(g, scaled(std(rewards), claimed), "g = σβ̂", R=rewards, s=scores)

    spread = total(
        (v - a / n) ** 2 for row in scores for v, a in zip(map(as_surd, row), ones, strict=True)
    )
    gap = spread / n - total(x * x for x in g)
    residuals = [
        v - intercept - beta * r
        for row, r in zip(scores, rewards, strict=True)
        for v, intercept, beta in zip(map(as_surd, row), level, slope, strict=True)
    ]
    count.true(gap >= 0, "‖g‖² ≤ (1/G)Σ‖s_i − s̄‖²", R=rewards, s=scores)
    squares = total(x * x for x in residuals) / n
    count.equal(gap, squares, "the gap is the mean squared residual", R=rewards, s=scores)
    claim = "equality exactly for scores affine in R"
    count.equal(not gap, not any(residuals), claim, R=rewards, s=scores)


def bessel_factor(sigma: Surd, group_size: int, eps: Fraction) -> Surd:
    """√((G−1)/G)/(1 + ε/t), with t = σ√(G/(G−1))."""
    t = sigma * sqrt(F(group_size, group_size - 1))
    return sqrt(F(group_size - 1, group_size)) / (eps / t + 1)


def as_implemented(*, closed_form: Callable[[Surd, int, Fraction], Surd] = bessel_factor) -> int:
    """All 0/1 vectors, G = 2..6, ε in {0, 1/10000, 1/3}: with Bessel's t and A = (R−μ)/(t+ε).

    g = σ²/(t+ε)Δs = σ·√((G−1)/G)/(1+ε/t)Δs, and the printed factors at ε = 0 to six digits.
    """
    count = Count()
    for eps in (F(0), F(1, 10_000), F(1, 3)):
        for rewards, scores in mixed_groups(range(2, 7)):
            size, contrast, sigma = len(rewards), score_contrast(rewards, scores), std(rewards)
            found = group_update(grpo_advantages(rewards, ddof=1, eps=eps), scores)
            first = scaled(sigma**2 / (std(rewards, ddof=1) + eps), contrast)
            second = scaled(sigma * closed_form(sigma, size, eps), contrast)
            count.equal(found, first, "g = σ²/(t+ε)·Δs", R=rewards, eps=eps)
            count.equal(found, second, "g = σ√((G−1)/G)/(1+ε/t)·Δs", R=rewards, eps=eps)
    for size, printed in ((2, 707107), (4, 866025), (8, 935414), (16, 968246)):
        factor = closed_form(Surd(1), size, F(0))
        error = abs(factor - F(printed, 10**6))
        count.true(error <= F(1, 2 * 10**6), "the printed factor", G=size, factor=factor)
    return count.cases


def pair_weight(k: int, group_size: int) -> Surd:
    """1/(G√(k(G−k)))."""
    return 1 / (sqrt(k * (group_size - k)) * group_size)


def all_pairs(*, closed_form: Callable[[int, int], Surd] = pair_weight) -> int:
    """All 0/1 vectors, G = 2..7: g is the weighted sum of all k(G−k) contrasts s_i − s_j."""
    count = Count()
    for rewards, scores in mixed_groups(range(2, 8)):
        right = [s for s, r in zip(scores, rewards, strict=True) if r]
        wrong = [s for s, r in zip(scores, rewards, strict=True) if not r]
        pairs = [[x - y for x, y in zip(s, t, strict=True)] for s, t in product(right, wrong)]
        claimed = scaled(closed_form(len(right), len(rewards)), combine([1] * len(pairs), pairs))
        found = group_update(grpo_advantages(rewards), scores)
        count.equal(found, claimed, "g = Σ_pairs (s_i − s_j)/(G√(k(G−k)))", R=rewards)
        sigma_contrast = scaled(std(rewards), score_contrast(rewards, scores))
        count.equal(sigma_contrast, claimed, "σΔs is that sum", R=rewards)
    return count.cases


def loo_std_direction(*, method: Method = loo_std_advantages) -> int:
    """Refutes "any group normaliser only rescales the step" for leave-one-out std.

    G = 4, k = 1: advantages [1, −1/√3, −1/√3, −1/√3], where the 1 relies on a spread of 0 being
    read as no scaling.  G = 5, k = 2 needs no such convention: [3/2, 3/2, −√3/2, −√3/2, −√3/2].
    Neither sums to 0, and g is not parallel to Δs.  A normaliser shared by the group does only
    rescale: every 0/1 vector, G = 2..6, GRPO, Dr. GRPO, RLOO, Bessel with ε.
    """
    count = Count()
    witnesses = (
        ((1, 0, 0, 0), (Surd(1),) + (-sqrt(F(1, 3)),) * 3),
        ((1, 1, 0, 0, 0), (Surd(F(3, 2)),) * 2 + (-sqrt(F(3, 4)),) * 3),
    )
    for verdicts, claimed in witnesses:
        rewards = tuple(map(F, verdicts))
        found = method(rewards)
        count.equal(found, claimed, "the leave-one-out advantages", R=rewards)
        count.true(total(found) != 0, "the advantages do not sum to 0", R=rewards, A=found)
        for scores in (unit_scores(len(rewards)), rational_scores(len(rewards))):
            g, contrast = group_update(found, scores), score_contrast(rewards, scores)
            count.true(not parallel(g, contrast), "g is no multiple of Δs", R=rewards, g=g)
    shared: tuple[Method, ...] = (
        grpo_advantages,
        dr_grpo_advantages,
        rloo_advantages,
        partial(grpo_advantages, ddof=1, eps=F(1, 9)),
    )
    for rewards, scores in mixed_groups(range(2, 7)):
        contrast = score_contrast(rewards, scores)
        for rescaling in shared:
            g = group_update(rescaling(rewards), scores)
            count.true(parallel(g, contrast), "a shared normaliser only rescales", R=rewards)
    return count.cases


def unanimous_rounding(
    *,
    reward: Fraction = TENTH,
    add: Callable[[Sequence[Fraction]], Fraction] = binary32.running_sum,
) -> int:
    """Refutes "equal rewards give zero advantage", in binary32 simulated on rationals.

    Eight rewards 0.1, summed left to right, have a rounded mean one unit in the last place above
    0.1, so (R−mean)/(std+ε) ≠ 0 for both ddof and ε = 1e-4, 1e-6, 1e-9.  Summed by halves, every
    partial sum is exact and the advantage is 0.  Of the 429 ways to bracket the sum, the 208 whose
    rounded total is not 8R are exactly those that break the claim.  The dyadic reward 1/8 obeys
    it in every bracketing, and exact arithmetic always does.
    """
    count = Count()
    size, r = 8, binary32.rounded(reward)
    epsilons = (F(1, 10**4), F(1, 10**6), F(1, 10**9))
    running = add([r] * size)
    for ddof, eps in product((0, 1), epsilons):
        for name, summed, zero in (
            ("left to right", running, False),
            ("by halves", binary32.pairwise_sum([r] * size), True),
        ):
            group_mean = binary32.rounded(summed / size)
            found = binary32.advantage(r, group_mean, size, ddof, eps)
            claim = f"the advantage summed {name} is {'zero' if zero else 'not zero'}"
            count.equal(not found, zero, claim, R=r, ddof=ddof, eps=eps, A=found)
    for value, failing in ((r, 208), (F(1, 8), 0)):
        sums = binary32.associations(value, size)
        for summed in sums:
            group_mean = binary32.rounded(summed / size)
            found = binary32.advantage(value, group_mean, size, 1, epsilons[0])
            count.equal(not found, summed == size * value, "zero iff the sum is exact", R=value)
        count.equal(sum(s != size * value for s in sums), failing, "brackets that fail", R=value)
    count.true(not any(grpo_advantages((r,) * size)), "exact arithmetic gives zero", R=r)
    return count.cases


CHECKS: dict[str, Callable[[], int]] = {
    "groups.binary-std": binary_std,
    "groups.identity": identity,
    "groups.baseline-invariance": baseline_invariance,
    "groups.dr-grpo": dr_grpo,
    "groups.dapo": dapo,
    "groups.rloo": rloo,
    "groups.real-rewards": real_rewards,
    "groups.as-implemented": as_implemented,
    "groups.all-pairs": all_pairs,
    "groups.loo-std-direction": loo_std_direction,
    "groups.unanimous-rounding": unanimous_rounding,
}
