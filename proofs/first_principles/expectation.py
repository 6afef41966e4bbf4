"""Section 2, what a finite group ascends: expectations summed over every tuple of responses.

The policies are exact: rational probabilities, rational derivatives, several responses on either
side of the verdict.  Unanimous groups are in ``silence``, large groups in ``large_groups``.
Each function takes the formula it checks as a keyword, so that a wrong one can be rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise, product
from math import prod

from .definitions import (
    Count,
    Method,
    Rewards,
    Vector,
    Weight,
    best_minus_second_advantages,
    binary_rewards,
    dr_grpo_advantages,
    grpo_advantages,
    rloo_advantages,
    scaled,
    std,
    success_mean_advantages,
    total_rational,
)
from .large_groups import (
    arcsine,
    attenuation,
    group_size_law,
    group_size_law_second_order,
    group_size_rare,
    monotone,
)
from .policies import (
    GRID,
    POLICIES,
    Policy,
    binomial,
    cases,
    enumerated_weight,
    expected_update,
    expected_value,
    grpo_weight_formula,
)
from .silence import (
    Polynomial,
    conditional_baseline,
    dapo,
    dapo_same_as_grpo,
    silent_plug_in,
    silent_rate,
    silent_u_statistic,
    tail_miss,
    times,
)
from .surds import Surd, sqrt, total

F = Fraction
BESSEL: Method = partial(grpo_advantages, ddof=1)


def check_weight(method: Method, closed_form: Weight, name: str) -> Count:
    """All policies and sizes: E[g] = W_G(p)∇p for a method and its claimed weight."""
    count = Count()
    for policy, group_size in cases():
        found = expected_update(policy, group_size, method)
        claimed = scaled(closed_form(group_size, policy.p), policy.p_gradient)
        count.equal(found, claimed, f"E[g] = {name}·∇p", policy=policy.name, G=group_size)
    return count


# --- the weight of a method ----------------------------------------------------------------------

Table = list[Fraction]


def master_weight(plus: Table, minus: Table, p: Fraction) -> Fraction:
    """E_B[A⁺(1+B) − A⁻(B)], B ~ B(G−1, p)."""
    masses = binomial(len(plus) - 2, p)
    return total_rational(m * (plus[1 + b] - minus[b]) for b, m in enumerate(masses))


def tables(group_size: int) -> Iterator[tuple[Table, Table]]:
    """Three pairs A⁺(k), A⁻(k), k = 0..G, of unrelated rationals; unanimous groups included."""
    for seed in (3, 5, 11):
        plus = [F((k * k * seed + 7) % 13 - 6, k + seed) for k in range(group_size + 1)]
        minus = [F((k * seed + 4) % 11 - 5, 2 * k + seed) for k in range(group_size + 1)]
        yield plus, minus


def table_method(plus: Table, minus: Table) -> Method:
    """A_i = A⁺(k) for a correct rollout and A⁻(k) for a wrong one."""

    def advantages(rewards: Rewards) -> Vector:
        k = rewards.count(F(1))
        return tuple(Surd(plus[k] if r else minus[k]) for r in rewards)

    return advantages


def surrogate_polynomial(plus: Table, minus: Table) -> Polynomial:
    """F_G = (1/G)Σ_b (A⁺(1+b) − A⁻(b))·P(K > b), summed over the reward vectors with K > b."""
    size = len(plus) - 1
    result = [F(0)] * (size + 1)
    for rewards in binary_rewards(size):
        k = rewards.count(F(1))
        gain = total_rational(plus[1 + b] - minus[b] for b in range(k)) / size
        mass = [gain]
        for r in rewards:
            mass = times(mass, [F(0), F(1)] if r else [F(1), F(-1)])
        result = [a + b for a, b in zip(result, mass, strict=True)]
    return result


def derivative(polynomial: Polynomial) -> Polynomial:
    """The derivative, coefficient by coefficient."""
    return [n * c for n, c in enumerate(polynomial)][1:]


def weight(*, closed_form: Callable[[Table, Table, Fraction], Fraction] = master_weight) -> int:
    """All response tuples of every policy: E[g] = W_G(p)∇p for arbitrary tables A⁺, A⁻.

    F_G = (1/G)Σ_b (A⁺(1+b) − A⁻(b))·P(K > b), multiplied out as a polynomial in p, has F_G′ = W_G.
    W_G is a polynomial of degree ≤ G−1: its G-th difference along enumerated values vanishes.
    pqW_G = E[σ] for GRPO, both sides over all 2^G reward vectors.
    """
    count = Count()
    for policy, group_size in cases():
        for plus, minus in tables(group_size):
            found = expected_update(policy, group_size, table_method(plus, minus))
            claimed = scaled(closed_form(plus, minus, policy.p), policy.p_gradient)
            at = {"policy": policy.name, "A⁺": plus, "A⁻": minus}
            count.equal(found, claimed, "E[g] = E_B[A⁺(1+B) − A⁻(B)]·∇p", **at)
    for group_size in range(2, 6):
        for plus, minus in tables(group_size):
            slope = derivative(surrogate_polynomial(plus, minus))
            for p in GRID:
                found_slope = total_rational(c * p**n for n, c in enumerate(slope))
                claimed_slope = closed_form(plus, minus, p)
                count.equal(found_slope, claimed_slope, "F_G′ = W_G", plus=plus, minus=minus, p=p)
    for group_size in range(2, 6):
        values = [enumerated_weight(group_size, F(j, 10)) for j in range(1, group_size + 2)]
        for _ in range(group_size):
            values = [b - a for a, b in pairwise(values)]
        count.equal(values, [0], "W_G is a polynomial of degree ≤ G−1 in p", G=group_size)
        for p in GRID:
            spread = expected_value(group_size, p, std)
            scaled_weight = enumerated_weight(group_size, p) * (p * (1 - p))
            count.equal(scaled_weight, spread, "p·q·W_G(p) = E[σ]", G=group_size, p=p)
    return count.cases


def grpo_weight(*, closed_form: Weight = grpo_weight_formula) -> int:
    """All policies: E[g] = W_G(p)∇p for GRPO; then the listed values of W_G, G = 2..7.

    W₂ = 1, W₃ = √2, W₄ = √3 + (3−2√3)pq and W(p) = W(q) on enumerated values; W(0) = W(1) =
    √(G−1) by exact Lagrange extrapolation of the enumerated polynomial from G interior points.
    """
    count = check_weight(grpo_advantages, closed_form, "W_G(p)")
    for p in GRID:
        count.equal(enumerated_weight(2, p), 1, "W₂ = 1", p=p)
        count.equal(enumerated_weight(3, p), sqrt(2), "W₃ = √2", p=p)
        fourth = sqrt(3) + (3 - 2 * sqrt(3)) * (p * (1 - p))
        count.equal(enumerated_weight(4, p), fourth, "W₄ = √3 + (3−2√3)pq", p=p)
    for group_size in range(2, 8):
        nodes = [F(j, group_size + 1) for j in range(1, group_size + 1)]
        values = [enumerated_weight(group_size, p) for p in nodes]
        count.equal(values, values[::-1], "W_G(p) = W_G(q)", G=group_size)
        for p, value in zip(nodes, values, strict=True):
            count.equal(
                value, closed_form(group_size, p), "the closed form of W_G", G=group_size, p=p
            )
        for end in (F(0), F(1)):
            basis = [
                prod(((end - y) / (x - y) for y in nodes if y != x), start=F(1)) for x in nodes
            ]
            found = total(v * c for v, c in zip(values, basis, strict=True))
            count.equal(found, sqrt(group_size - 1), "W_G(0) = W_G(1) = √(G−1)", G=group_size)
            claimed = closed_form(group_size, end)
            count.equal(found, claimed, "the closed form of W_G at an end", G=group_size, p=end)
    return count.cases


def root_of_g_minus_one(group_size: int) -> Surd:
    """√(G−1)."""
    return sqrt(group_size - 1)


def no_bias_at_two(*, closed_form: Callable[[int], Surd] = root_of_g_minus_one) -> int:
    """All response tuples at G = 2 and 3: E[g] = c∇p with c = 1 and √2, whatever p is."""
    count = Count()
    policies = (*POLICIES, *map(Policy.logit, GRID))
    for policy, group_size in product(policies, (2, 3)):
        found = expected_update(policy, group_size, grpo_advantages)
        claimed = scaled(closed_form(group_size), policy.p_gradient)
        count.equal(found, claimed, "E[g] = c·∇p", policy=policy.name, G=group_size)
    return count.cases


def unbiased_any_group(
    *, method: Method = grpo_advantages, closed_form: Weight = grpo_weight_formula
) -> int:
    """Refutes "the estimate is unbiased at every group size", over all 2^G groups.

    If it were, W_G(½)/W_G(⅛) would be the same at every G.  It is 1 at G = 2 and 3 and differs
    from 1 at G = 4..8; the enumerated weights are those of the closed form.
    """
    count = Count()
    a, b = F(1, 2), F(1, 8)
    for group_size in range(2, 9):
        at_a, at_b = (enumerated_weight(group_size, p, method) for p in (a, b))
        constant = group_size < 4
        claim = "W_G(½) = W_G(⅛)" if constant else "W_G(½) ≠ W_G(⅛)"
        count.equal(at_a == at_b, constant, claim, G=group_size, W_half=at_a, W_eighth=at_b)
        for p, value in ((a, at_a), (b, at_b)):
            count.equal(value, closed_form(group_size, p), "W_G(p)", G=group_size, p=p)
    return count.cases


def saturation(*, bound: Callable[[int], Surd] = root_of_g_minus_one) -> int:
    """Refutes "the weight diverges like 1/√p": W_G(p) ≤ √(G−1) for every p.

    Every summand of W_G is ≤ √(G−1), G = 2..40, and the mean of such summands is too; the largest
    is attained, at B = 0.  Enumerated: W_8 ≤ √7 < 1/√p at p = 10⁻⁴, 10⁻⁶, where it has come
    within 7p of √7.
    """
    count = Count()
    for group_size in range(2, 41):
        ends = [
            sqrt(F(group_size - 1 - b, 1 + b)) + sqrt(F(b, group_size - b))
            for b in range(group_size)
        ]
        for b, summand in enumerate(ends):
            count.true(summand <= bound(group_size), "summand ≤ √(G−1)", G=group_size, B=b)
        count.equal(ends[0], bound(group_size), "the bound is attained at B = 0", G=group_size)
    for p in (F(1, 10**4), F(1, 10**6)):
        found = enumerated_weight(8, p)
        count.true(found <= bound(8), "W_8(p) ≤ √7", p=p)
        count.true(bound(8) - found <= 7 * p, "W_8(p) ≥ √7 − 7p", p=p)
        count.true(found * sqrt(p) * 10 < 1, "W_8(p) is not even a tenth of 1/√p", p=p)
    return count.cases


def dr_grpo(*, closed_form: Weight = lambda g, p: Surd(F(g - 1, g))) -> int:
    """All response tuples of every policy: E[g] = ((G−1)/G)∇p for A_i = R_i − μ."""
    return check_weight(dr_grpo_advantages, closed_form, "(G−1)/G").cases


def rloo(*, closed_form: Weight = lambda g, p: Surd(1)) -> int:
    """All response tuples of every policy: E[g] = ∇p for A_i = R_i − b_i."""
    return check_weight(rloo_advantages, closed_form, "1").cases


def bessel(*, closed_form: Callable[[int], Surd] = lambda g: sqrt(F(g - 1, g))) -> int:
    """All response tuples of every policy: ddof 1 multiplies E[g] by √((G−1)/G)."""
    count = Count()
    for policy, group_size in cases():
        found = expected_update(policy, group_size, BESSEL)
        claimed = scaled(
            closed_form(group_size), expected_update(policy, group_size, grpo_advantages)
        )
        count.equal(found, claimed, "W_ddof1 = √((G−1)/G)·W", policy=policy.name, G=group_size)
    return count.cases


def root_sum(group_size: int, p: Fraction) -> Surd:
    """(1/G) Σ_k C(G,k) p^k q^(G−k) √(k(G−k))."""
    masses = enumerate(binomial(group_size, p))
    return total(sqrt(k * (group_size - k)) * mass for k, mass in masses) / group_size


def binomial_sum(*, closed_form: Weight = root_sum) -> int:
    """The scalar logit prompt, all 2^G groups, G = 2..7: E[g] is the binomial sum of √(k(G−k)).

    Dr. GRPO: E[g] = E[σ²] = pq(G−1)/G, both sides enumerated.
    """
    count = Count()
    for group_size, p in product(range(2, 8), GRID):
        policy = Policy.logit(p)
        (found,) = expected_update(policy, group_size, grpo_advantages)
        claimed = closed_form(group_size, p)
        count.equal(found, claimed, "E[g] = (1/G)ΣC(G,k)p^k q^(G−k)√(k(G−k))", G=group_size, p=p)
        (plain,) = expected_update(policy, group_size, dr_grpo_advantages)
        claimed = Surd(p * (1 - p) * F(group_size - 1, group_size))
        count.equal(plain, claimed, "Dr. GRPO: E[g] = pq(G−1)/G", G=group_size, p=p)
        second_moment = expected_value(group_size, p, lambda rewards: std(rewards) ** 2)
        count.equal(second_moment, claimed, "E[σ²] = pq(G−1)/G", G=group_size, p=p)
    return count.cases


# --- other surrogates and rewards ----------------------------------------------------------------


def pass_at_k_weight(k: int, p: Fraction) -> Fraction:
    """K q^(K−1)."""
    return k * (1 - p) ** (k - 1)


def pass_at_k(*, closed_form: Callable[[int, Fraction], Fraction] = pass_at_k_weight) -> int:
    """All response tuples of every policy: the gradient of P(some response of K is correct).

    It is the sum of the gradients of the tuples' probabilities, P(tuple)·Σs_i, and equals
    Kq^(K−1)∇p; so is E[Σ A_i s_i] (a sum, not a mean) for A = r_max − r_second on the best.
    """
    count = Count()
    for policy, k in cases():
        success, gradient = F(0), [F(0)] * len(policy.p_gradient)
        for probability, group in policy.groups(k):
            if any(policy.rewards(group)):
                success += probability
                for y in group:
                    slopes = zip(gradient, policy.scores[y], strict=True)
                    gradient = [d + probability * s for d, s in slopes]
        at = {"policy": policy.name, "K": k}
        claimed = scaled(closed_form(k, policy.p), policy.p_gradient)
        count.equal(success, 1 - (1 - policy.p) ** k, "P(some correct) = 1−q^K", **at)
        count.equal(tuple(gradient), claimed, "∇(1−q^K) = Kq^(K−1)∇p", **at)
        estimate = scaled(k, expected_update(policy, k, best_minus_second_advantages))
        count.equal(estimate, claimed, "E[Σ A_i s_i] = ∇(1−q^G)", **at)
    return count.cases


def max_rl_weight(n: int, p: Fraction) -> Fraction:
    """(1 − q^N)/p."""
    return (1 - (1 - p) ** n) / p


def max_rl(*, closed_form: Callable[[int, Fraction], Fraction] = max_rl_weight) -> int:
    """All response tuples of every policy: the mean score of the successes, 0 if there are none.

    N = 1, where it is REINFORCE, included.
    """
    count = Count()
    for policy, n in (*product(POLICIES, (1,)), *cases()):
        found = scaled(n, expected_update(policy, n, success_mean_advantages))
        claimed = scaled(closed_form(n, policy.p), policy.p_gradient)
        claim = "E[mean score of the successes] = (1−q^N)/p·∇p"
        count.equal(found, claimed, claim, policy=policy.name, N=n)
    return count.cases


def judged(policy: Policy, t: Fraction, f: Fraction) -> Policy:
    """The joint law of (response, verdict): correct is accepted with t, wrong with f.

    A verdict does not depend on θ, so ∇P(y, v) = ∇π(y)·P(v | y) and the score stays s_y.
    """
    accept = [t if c else f for c in policy.correct]
    pairs = [
        (y, v, a if v else 1 - a)
        for y, a in enumerate(accept)
        for v in (True, False)
        if (a if v else 1 - a)
    ]
    return Policy(
        f"{policy.name} judged with t={t}, f={f}",
        tuple(policy.probabilities[y] * chance for y, _, chance in pairs),
        tuple(tuple(d * chance for d in policy.gradients[y]) for y, _, chance in pairs),
        tuple(v for _, v, _ in pairs),
    )


def accepted(p: Fraction, t: Fraction, f: Fraction) -> Fraction:
    """p̃ = f + (t−f)p."""
    return f + (t - f) * p


def verifier_noise(
    *, closed_form: Callable[[Fraction, Fraction, Fraction], Fraction] = accepted
) -> int:
    """All tuples of (response, verdict): E[g] = (t−f)W_G(p̃)∇p, so its sign is that of t−f.

    Six pairs (t, f), with t above, below and equal to f; GRPO and RLOO; G = 2..4 for three
    responses, G = 2..3 for four.
    """
    count = Count()
    rates = [(10, 0), (9, 2), (5, 3), (3, 7), (0, 10), (4, 4)]  # tenths
    for (t10, f10), (policy, largest) in product(rates, zip(POLICIES, (4, 3), strict=False)):
        t, f = F(t10, 10), F(f10, 10)
        noisy = judged(policy, t, f)
        p = closed_form(policy.p, t, f)
        count.equal(noisy.p, p, "P(accepted) = f+(t−f)p", policy=noisy.name)
        for group_size in range(2, largest + 1):
            at = {"policy": noisy.name, "G": group_size}
            found = expected_update(noisy, group_size, grpo_advantages)
            factor = grpo_weight_formula(group_size, p) * (t - f)
            claimed = scaled(factor, policy.p_gradient)
            count.equal(found, claimed, "E[g] = (t−f)W_G(p̃)∇p", **at)
            count.equal(factor.sign(), (t > f) - (t < f), "the sign is that of t−f", **at)
            plain = expected_update(noisy, group_size, rloo_advantages)
            count.equal(plain, scaled(t - f, policy.p_gradient), "RLOO: (t−f)∇p", **at)
    return count.cases


CHECKS: dict[str, Callable[[], int]] = {
    "expectation.weight": weight,
    "expectation.grpo-weight": grpo_weight,
    "expectation.no-bias-at-two": no_bias_at_two,
    "expectation.unbiased-any-group": unbiased_any_group,
    "expectation.saturation": saturation,
    "expectation.dr-grpo": dr_grpo,
    "expectation.rloo": rloo,
    "expectation.bessel": bessel,
    "expectation.dapo": dapo,
    "expectation.dapo-same-as-grpo": dapo_same_as_grpo,
    "expectation.binomial-sum": binomial_sum,
    "expectation.arcsine": arcsine,
    "expectation.attenuation": attenuation,
    "expectation.monotone": monotone,
    "expectation.group-size-law": group_size_law,
    "expectation.group-size-law-second-order": group_size_law_second_order,
    "expectation.group-size-rare": group_size_rare,
    "expectation.silent-rate": silent_rate,
    "expectation.silent-u-statistic": silent_u_statistic,
    "expectation.silent-plug-in": silent_plug_in,
    "expectation.conditional-baseline": conditional_baseline,
    "expectation.pass-at-k": pass_at_k,
    "expectation.max-rl": max_rl,
    "expectation.verifier-noise": verifier_noise,
    "expectation.tail-miss": tail_miss,
}
