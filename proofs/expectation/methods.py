"""The weights of the other methods: Dr. GRPO, RLOO, Bessel's std, DAPO, pass@K, MaxRL, noise."""

from __future__ import annotations

import sympy as sp

from proofs.expectation import lemma_checks
from proofs.expectation.notation import (
    Dp,
    G,
    K,
    R,
    b,
    bessel,
    d,
    grpo_mean,
    i,
    mean,
    mu,
    p,
    paper,
    pmf,
    q,
    rollouts,
    s,
    sizes,
    total,
    unit,
    weight,
    weight_terms,
)
from proofs.expectation.weight import BINARY, ON_POLICY, SCORES, SEQUENCE, weight_steps
from proofs.first_principles import CHECKS
from proofs.groups.notation import leave_one_out
from proofs.kernel.domain import SCORES as COORDINATES
from proofs.kernel.domain import D, Domain, Group, Integer, Real
from proofs.kernel.rules import (
    BinomialMoments,
    BinomialTheorem,
    Context,
    Differentiate,
    Instance,
    Linear,
    Nonnegative,
    Split,
    Telescope,
    Termwise,
    Tower,
    Unroll,
)
from proofs.kernel.terms import RolloutMean, binomial_mean
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Mutant,
    Reference,
    Refutation,
    Step,
    Theorem,
)

SETTING = (ON_POLICY, SEQUENCE, BINARY)
WEIGHT = "expectation.grpo-weight"
CONDITIONAL = "given the rewards, scores have their conditional means"
mixed_share = RolloutMean(sp.Integer(1), 1, G - 1)  # probability of a mixed group
kept = 1 - p**G - q**G
MIXED = "expectation.mixed-share"


def quadratic(lhs: RolloutMean, factor: sp.Expr, closed: sp.Expr, domain: Domain) -> Chain:
    """E[g] for a step proportional to σ²: one second moment of the binomial."""
    counted = Tower(lhs, K).value(Context(domain))
    second = binomial_mean(K * (G - K), K, G, p)
    return Chain(
        (
            Step(CONDITIONAL, "=", counted, by=(Tower(lhs, K),)),
            Step(
                "at k correct the update is proportional to k(G−k) Δs",
                "=",
                factor * second,
                by=(Linear(counted, ((factor, second.function),)),),
            ),
            Step(
                "E[K(G−K)] = G(G−1)p(1−p)", "=", closed, by=(BinomialMoments(K, G, p, K * (G - K)),)
            ),
        )
    )


def dr_grpo() -> Theorem:
    domain = rollouts()
    lhs = RolloutMean(mean((R[i] - mu) * s[i, d]), 0, G)
    closed = (G - 1) / G * Dp[d]
    return Theorem(
        id="expectation.dr-grpo",
        title="Dr. GRPO ascends p, scaled by (G−1)/G",
        words="With A_i = R_i − μ, E[g] = ((G−1)/G) ∇p: no difficulty weight at any G.",
        assumptions=SETTING,
        uses=(SCORES,),
        clauses=(
            Clause(
                "update",
                domain,
                Claim(lhs, "=", closed),
                quadratic(lhs, Dp[d] / (G**2 * p * q), closed, domain),
            ),
        ),
        references=(paper("§3"), Reference("arXiv 2503.20783", "", "§3")),
        implements=(
            "identity.expectation.update_weight",
            "identity.expectation.surrogate",
            "identity.expectation.gradient_mass",
        ),
        mutants=(
            Mutant("factor dropped", "update", rhs=Dp[d]),
            Mutant("factor inverted", "update", rhs=G / (G - 1) * Dp[d]),
            Mutant("mass for weight", "update", rhs=p * q * Dp[d]),
        ),
        check=CHECKS["expectation.dr-grpo"],
    )


def rloo() -> Theorem:
    domain = rollouts()
    lhs = RolloutMean(mean((R[i] - leave_one_out(i)) * s[i, d]), 0, G)
    return Theorem(
        id="expectation.rloo",
        title="RLOO is unbiased for ∇p",
        words="With the leave-one-out baseline E[g] = ∇p at every G ≥ 2.",
        assumptions=SETTING,
        uses=(SCORES,),
        clauses=(
            Clause(
                "update",
                domain,
                Claim(lhs, "=", Dp[d]),
                quadratic(lhs, Dp[d] / (G * (G - 1) * p * q), Dp[d], domain),
            ),
        ),
        references=(paper("Proposition 1"),),
        implements=(
            "identity.expectation.update_weight",
            "identity.expectation.surrogate",
            "identity.expectation.gradient_mass",
        ),
        mutants=(
            Mutant("Dr. GRPO's factor", "update", rhs=(G - 1) / G * Dp[d]),
            Mutant(
                "baseline over all G", "update", lhs=RolloutMean(mean((R[i] - mu) * s[i, d]), 0, G)
            ),
            Mutant("log-likelihood weight", "update", rhs=Dp[d] / p),
        ),
        check=CHECKS["expectation.rloo"],
    )


def bessel_weight() -> Theorem:
    domain = rollouts()
    lhs = RolloutMean(mean((R[i] - mu) / bessel * s[i, d]), 1, G - 1)
    counted = Tower(lhs, K).value(Context(domain))
    plain = Tower(grpo_mean, K).value(Context(domain))
    factor = sp.sqrt((G - 1) / G)
    return Theorem(
        id="expectation.bessel",
        title="Bessel's std multiplies the weight by √((G−1)/G)",
        words="With the sample standard deviation (ddof 1) E[g] = √((G−1)/G) W_G(p) ∇p.",
        assumptions=(*SETTING, "g = 0 for unanimous groups; ε = 0."),
        uses=(SCORES, WEIGHT),
        clauses=(
            Clause(
                "update",
                domain,
                Claim(lhs, "=", factor * weight() * Dp[d]),
                Chain(
                    (
                        Step(CONDITIONAL, "=", counted, by=(Tower(lhs, K),)),
                        Step(
                            "at every k the step is √((G−1)/G) times the one with ddof 0",
                            "=",
                            factor * plain,
                            by=(Linear(counted, ((factor, plain.function),)),),
                        ),
                        Step(
                            "that one has mean E[g]",
                            "=",
                            factor * grpo_mean,
                            by=(Tower(grpo_mean, K),),
                        ),
                        Step(
                            "the weight of GRPO",
                            "=",
                            factor * weight() * Dp[d],
                            by=(Instance(WEIGHT, "update"),),
                        ),
                    )
                ),
            ),
        ),
        references=(paper("§2"),),
        implements=("identity.expectation.update_weight",),
        mutants=(
            Mutant("factor dropped", "update", rhs=weight() * Dp[d]),
            Mutant("factor inverted", "update", rhs=weight() * Dp[d] / factor),
            Mutant("root dropped", "update", rhs=factor**2 * weight() * Dp[d]),
        ),
        check=CHECKS["expectation.bessel"],
    )


def mixed_share_theorem() -> Theorem:
    counted = sp.Sum(pmf(K), (K, 1, G - 1))
    whole, ones = sp.Sum(pmf(K), (K, 0, G)), sp.Sum(pmf(K), (K, 1, G))
    count, count1 = sp.Sum(pmf(K) * K, (K, 0, G)), sp.Sum(pmf(K) * K, (K, 1, G))
    others = sp.Sum(pmf(K), (K, 2, G - 1))
    single = G * p * q ** (G - 1)
    return Theorem(
        id="expectation.mixed-share",
        title="The share of mixed groups",
        words=(
            "A group of G rollouts is mixed with probability 1 − p^G − (1−p)^G, which lies between "
            "Gp(1−p)^(G−1) and Gp."
        ),
        assumptions=(BINARY,),
        uses=(SCORES,),
        clauses=(
            Clause(
                "kept",
                rollouts(),
                Claim(mixed_share, "=", kept),
                Chain(
                    (
                        Step("K ~ Binomial(G, p)", "=", counted, by=(Tower(mixed_share, K),)),
                        Step(
                            "add the two ends",
                            "=",
                            whole - p**G - q**G,
                            by=(Split(whole, first=1, last=1),),
                        ),
                        Step(
                            "probabilities sum to 1", "=", kept, by=(BinomialTheorem(K, G, p, q),)
                        ),
                    )
                ),
            ),
            Clause(
                "at-most",
                sizes,
                Claim(kept, "<=", G * p),
                Chain(
                    (
                        Step(
                            "probabilities sum to 1",
                            "=",
                            whole - p**G - q**G,
                            by=(BinomialTheorem(K, G, p, q),),
                        ),
                        Step("drop p^G", "<=", whole - q**G),
                        Step("the terms k ≥ 1", "=", ones, by=(Split(whole, first=1),)),
                        Step("1 ≤ k", "<=", count1, by=((1, Termwise(ones, pmf(K) * K, "<=")),)),
                        Step("and k = 0 adds nothing", "=", count, by=(Split(count, first=1),)),
                        Step("E[K] = Gp", "=", G * p, by=(BinomialMoments(K, G, p, K),)),
                    )
                ),
                words="1 − p^G − (1−p)^G ≤ Gp",
            ),
            Clause(
                "at-least",
                sizes,
                Claim(single, "<=", kept),
                Chain(
                    (
                        Step(
                            "the other mixed counts only add",
                            "<=",
                            single + others,
                            by=((1, Nonnegative(others)),),
                        ),
                        Step(
                            "k = 1 and those are all but the ends",
                            "=",
                            whole - p**G - q**G,
                            by=(Split(whole, first=2, last=1),),
                        ),
                        Step(
                            "probabilities sum to 1", "=", kept, by=(BinomialTheorem(K, G, p, q),)
                        ),
                    )
                ),
                words="Gp(1−p)^(G−1) ≤ 1 − p^G − (1−p)^G",
            ),
            Clause(
                "positive",
                sizes,
                Claim(0, "<", kept),
                Chain(
                    (
                        Step("k = 1 has a positive probability", "<", single),
                        Step(
                            "and the other mixed counts only add",
                            "<=",
                            single + others,
                            by=((1, Nonnegative(others)),),
                        ),
                        Step(
                            "those are all but the ends",
                            "=",
                            whole - p**G - q**G,
                            by=(Split(whole, first=2, last=1),),
                        ),
                        Step(
                            "probabilities sum to 1", "=", kept, by=(BinomialTheorem(K, G, p, q),)
                        ),
                    )
                ),
            ),
            Clause(
                "share-positive",
                rollouts(),
                Claim(0, "<", mixed_share),
                Chain(
                    (
                        Step("k = 1 has a positive probability", "<", single),
                        Step(
                            "and the other mixed counts only add",
                            "<=",
                            single + others,
                            by=((1, Nonnegative(others)),),
                        ),
                        Step(
                            "those are all mixed counts",
                            "=",
                            counted,
                            by=(Split(counted, first=1),),
                        ),
                        Step("K ~ Binomial(G, p)", "=", mixed_share, by=(Tower(mixed_share, K),)),
                    )
                ),
            ),
        ),
        references=(paper("§5", "bounds ours"),),
        implements=("identity.expectation.groups_per_kept",),
        mutants=(
            Mutant("silent share", "kept", rhs=p**G + q**G),
            Mutant("exponent G−1", "kept", rhs=1 - p ** (G - 1) - q ** (G - 1)),
            Mutant("reversed", "at-most", lhs=G * p, rhs=kept),
            Mutant("no power of 1−p", "at-least", lhs=G * p),
            Mutant("at least 2p(1−p)", "positive", lhs=2 * p * q),
            Mutant("at least Gp(1−p)", "share-positive", lhs=G * p * q),
        ),
        check=lemma_checks.mixed_share,
    )


def dapo() -> Theorem:
    top = sp.sqrt(G - 1)
    ratio = weight() / kept
    first = q ** (G - 1) * top
    lower, upper = first / (G * p), top / (G * p * q ** (G - 1))
    rest = sp.Sum(weight_terms(), (b, 1, G - 1))
    single = G * p * q ** (G - 1)
    # Draws until a group is kept, at most N: n with probability r^(n−1)(1−r), N in all other cases.
    n, N = sp.symbols("n N")
    r = p**G + q**G
    stopping = sp.Sum(n * r ** (n - 1) * (1 - r), (n, 1, N - 1))
    after = (n + 1 / (1 - r)) * r**n
    draws = (1 - r**N) / (1 - r)
    return Theorem(
        id="expectation.dapo",
        title="Dynamic sampling divides the weight by the mixed share",
        words=(
            "Keeping only groups with 0 < k < G gives E[g | kept] = W_G(p)/(1 − p^G − (1−p)^G) ∇p; "
            "with at most N draws (1 − r^N)/(1 − r) groups are drawn on average, where r = p^G + "
            "(1−p)^G, so as N → ∞ 1/(1 − p^G − (1−p)^G) per kept group. As p → 0 the weight is "
            "√(G−1)/(Gp) up to a factor between (1−p)^(G−1) and (1−p)^−(G−1)."
        ),
        assumptions=(
            *SETTING,
            "g = 0 for unanimous groups; σ has ddof 0.",
            "A prompt is redrawn, independently, until its group is mixed.",
        ),
        uses=(WEIGHT, MIXED),
        clauses=(
            Clause(
                "update",
                rollouts(),
                Claim(grpo_mean / mixed_share, "=", ratio * Dp[d]),
                Chain(
                    (
                        Step(
                            "silent groups add 0 to the mean: the numerator is the weight of GRPO",
                            "=",
                            weight() * Dp[d] / mixed_share,
                            by=(Instance(WEIGHT, "update"),),
                        ),
                        Step(
                            "the denominator is the probability of a mixed group",
                            "=",
                            ratio * Dp[d],
                            by=(Instance(MIXED, "kept"),),
                        ),
                    )
                ),
                words="E[g | 0 < K < G]",
                given=(Instance(MIXED, "positive"), Instance(MIXED, "share-positive")),
            ),
            Clause(
                "draws",
                sizes.extended(Integer(N, 1)),
                Claim(stopping + N * r ** (N - 1), "=", draws),
                Chain(
                    (
                        Step(
                            "n r^(n−1)(1−r) is a difference of (n + 1/(1−r)) r^n",
                            "=",
                            1 / (1 - r) - after.subs(n, N - 1) + N * r ** (N - 1),
                            by=(Telescope(stopping, after),),
                        ),
                        Step("collect r^N", "=", draws),
                    )
                ),
                words="mean number of draws, stopping at a mixed group or after N",
                given=(Instance(MIXED, "positive"),),
            ),
            Clause(
                "rare-below",
                sizes,
                Claim(lower, "<=", ratio),
                Chain(
                    (
                        Step(
                            "the mixed share is at most Gp",
                            "<=",
                            first / kept,
                            by=((first / (G * p * kept), Instance(MIXED, "at-most")),),
                        ),
                        Step(
                            "W_G is at least its term b = 0",
                            "<=",
                            (first + rest) / kept,
                            by=((1 / kept, Nonnegative(rest)),),
                        ),
                        Step("together they are W_G", "=", ratio, by=(Split(weight(), first=1),)),
                    )
                ),
                words="√(G−1)(1−p)^(G−1)/(Gp) ≤ W_G/(1 − p^G − (1−p)^G)",
                given=(Instance(MIXED, "positive"),),
            ),
            Clause(
                "rare-above",
                sizes,
                Claim(ratio, "<=", upper),
                Chain(
                    (
                        Step(
                            "the weight saturates",
                            "<=",
                            top / kept,
                            by=((1 / kept, Instance(WEIGHT, "bound")),),
                        ),
                        Step(
                            "the mixed share is at least Gp(1−p)^(G−1)",
                            "<=",
                            upper,
                            by=((top / (single * kept), Instance(MIXED, "at-least")),),
                        ),
                    )
                ),
                words="W_G/(1 − p^G − (1−p)^G) ≤ √(G−1)/(Gp(1−p)^(G−1))",
                given=(Instance(MIXED, "positive"),),
            ),
        ),
        references=(Reference("arXiv 2503.14476", "", "§3.2", "the method"), paper("§5")),
        implements=(
            "identity.expectation.update_weight",
            "identity.expectation.surrogate",
            "identity.expectation.gradient_mass",
            "identity.expectation.groups_per_kept",
        ),
        mutants=(
            Mutant("weight of GRPO", "update", rhs=weight() * Dp[d]),
            Mutant("only all-wrong groups dropped", "update", rhs=weight() / (1 - q**G) * Dp[d]),
            Mutant("√(G−2)", "rare-above", rhs=upper / top * sp.sqrt(G - 2)),
            Mutant("no cap", "draws", rhs=1 / (1 - r)),
            Mutant("r^(N−1)", "draws", rhs=(1 - r ** (N - 1)) / (1 - r)),
            Mutant("factor 2", "rare-below", lhs=2 * lower),
        ),
        check=CHECKS["expectation.dapo"],
    )


def dapo_same_as_grpo() -> Theorem:
    filtered = grpo_mean / mixed_share
    at_half = 1 / (1 - 2 * sp.Rational(1, 2) ** G)  # 1/(1 − p^G − q^G) at p = 1/2
    return Theorem(
        id="expectation.dapo-same-as-grpo",
        title="DAPO's filter changes the weight",
        words=(
            "The claim that dropping silent groups leaves GRPO's expected update as it is, up to a "
            "factor common to all prompts, fails: E[g | kept] = E[g]/(1 − p^G − (1−p)^G), and at "
            "G = 2 that factor is 8/3 at p = 1/4 and 2 at p = 1/2, while E[g] = ∇p at both."
        ),
        assumptions=(*SETTING, "g = 0 for unanimous groups; σ has ddof 0."),
        uses=(WEIGHT, MIXED),
        refutes=(
            Refutation(
                "two-rollouts",
                rollouts(),
                Claim(filtered, "=", at_half * grpo_mean),
                ((G, 2), (p, sp.Rational(1, 4)), (D, 1), (d, 1), (Dp, (1,))),
                "at every p, E[g | kept] is the multiple of E[g] that it is at p = 1/2",
            ),
        ),
        clauses=(
            Clause(
                "factor",
                rollouts(),
                Claim(filtered, "=", grpo_mean / kept),
                Chain(
                    (
                        Step(
                            "probability of a mixed group",
                            "=",
                            grpo_mean / kept,
                            by=(Instance(MIXED, "kept"),),
                        ),
                    )
                ),
                words="E[g | kept] = E[g]/(1 − p^G − (1−p)^G)",
                given=(Instance(MIXED, "positive"), Instance(MIXED, "share-positive")),
            ),
            Clause(
                "two",
                rollouts(Integer(G, 2, 2)),
                Claim(filtered, "=", Dp[d] / (2 * p * q)),
                Chain(
                    (
                        Step(
                            "the weight of GRPO",
                            "=",
                            weight() * Dp[d] / mixed_share,
                            by=(Instance(WEIGHT, "update"),),
                        ),
                        Step("W₂ = 1", "=", Dp[d] / mixed_share, by=(Unroll(weight()),)),
                        Step(
                            "probability of a mixed group",
                            "=",
                            Dp[d] / (2 * p * q),
                            by=(Instance(MIXED, "kept"),),
                        ),
                    )
                ),
                words="E[g | kept] at G = 2, where E[g] = ∇p",
                given=(Instance(MIXED, "share-positive"),),
            ),
        ),
        references=(Reference("folklore", "", "", "no paper is known to print it"),),
        corrected_by=("expectation.dapo",),
        mutants=(
            Mutant("also false at G = 4", "two-rollouts", domain=rollouts(Integer(G, 4, 4))),
            Mutant("also false as equality", "two-rollouts", rhs=grpo_mean),
            Mutant("only all-wrong groups dropped", "factor", rhs=grpo_mean / (1 - q**G)),
            Mutant("plain weight", "two", rhs=Dp[d]),
        ),
        check=CHECKS["expectation.dapo-same-as-grpo"],
    )


def pass_at_k() -> Theorem:
    domain = rollouts()
    # r_max − r_second is 1 for a single correct rollout and 0 otherwise; a sum, not a mean.
    lhs = RolloutMean(total(R[i] * s[i, d]), 1, 1)
    counted = Tower(lhs, K).value(Context(domain))
    closed = G * q ** (G - 1) * Dp[d]
    surrogate = sp.Derivative(1 - q**G, p)
    return Theorem(
        id="expectation.pass-at-k",
        title="Top-1 minus top-2 is unbiased for pass@G",
        words=(
            "The surrogate 1 − (1−p)^K has weight K(1−p)^(K−1), K ≥ 1. On G ≥ 2 rollouts the "
            "estimator Σ A_i s_i with A = r_max − r_second for the best rollout and 0 for the rest "
            "(a sum, not a mean) has mean G(1−p)^(G−1) ∇p = ∇[1 − (1−p)^G]."
        ),
        assumptions=(*SETTING, "For binary rewards r_max − r_second = 1 exactly when k = 1."),
        uses=(SCORES,),
        clauses=(
            Clause(
                "surrogate",
                Domain(Integer(G, 1), unit),
                Claim(surrogate, "=", G * q ** (G - 1)),
                Chain(
                    (
                        Step(
                            "power and chain rule",
                            "=",
                            G * q ** (G - 1),
                            by=(Differentiate(surrogate),),
                        ),
                    )
                ),
            ),
            Clause(
                "estimator",
                domain,
                Claim(lhs, "=", closed),
                Chain(
                    (
                        Step(CONDITIONAL, "=", counted, by=(Tower(lhs, K),)),
                        Step(
                            "one term, k = 1: G p (1−p)^(G−1) ∇p/p",
                            "=",
                            closed,
                            by=(Unroll(counted),),
                        ),
                    )
                ),
            ),
        ),
        references=(
            Reference("pass@K policy gradients", "", "", "top-1 minus top-2, reconstructed"),
        ),
        implements=(
            "identity.expectation.update_weight",
            "identity.expectation.surrogate",
            "identity.expectation.gradient_mass",
        ),
        mutants=(
            Mutant("a mean, not a sum", "estimator", lhs=RolloutMean(mean(R[i] * s[i, d]), 1, 1)),
            Mutant("exponent G", "surrogate", rhs=G * q**G),
            Mutant(
                "every correct rollout counts",
                "estimator",
                lhs=RolloutMean(total(R[i] * s[i, d]), 1, G),
            ),
        ),
        check=CHECKS["expectation.pass-at-k"],
    )


def max_rl() -> Theorem:
    domain = rollouts(Integer(G, 1, spread=3))
    successes = total(R[sp.Symbol("j")], sp.Symbol("j"))
    lhs = RolloutMean(total(R[i] * s[i, d]) / successes, 1, G)
    counted = Tower(lhs, K).value(Context(domain))
    ones, whole = sp.Sum(pmf(K), (K, 1, G)), sp.Sum(pmf(K), (K, 0, G))
    closed = (1 - q**G) / p * Dp[d]
    return Theorem(
        id="expectation.max-rl",
        title="The mean score of the successes",
        words=(
            "The mean score of the correct ones among N ≥ 1 rollouts (0 if there is none) has mean "
            "∇p (1 − (1−p)^N)/p: ∇p at N = 1 (REINFORCE), ∇ log p as N → ∞ (log-likelihood)."
        ),
        assumptions=SETTING,
        uses=(SCORES,),
        clauses=(
            Clause(
                "update",
                domain,
                Claim(lhs, "=", closed),
                Chain(
                    (
                        Step(CONDITIONAL, "=", counted, by=(Tower(lhs, K),)),
                        Step(
                            "each k ≥ 1 contributes ∇p/p",
                            "=",
                            Dp[d] / p * ones,
                            by=(Linear(counted, ((Dp[d] / p, pmf(K)),)),),
                        ),
                        Step(
                            "all but k = 0",
                            "=",
                            Dp[d] / p * (whole - q**G),
                            by=(Split(whole, first=1),),
                        ),
                        Step(
                            "probabilities sum to 1", "=", closed, by=(BinomialTheorem(K, G, p, q),)
                        ),
                    )
                ),
            ),
        ),
        references=(Reference("arXiv 2602.02710", "", "", "estimator, reconstructed"),),
        implements=(
            "identity.expectation.update_weight",
            "identity.expectation.surrogate",
            "identity.expectation.gradient_mass",
        ),
        mutants=(
            Mutant("log-likelihood", "update", rhs=Dp[d] / p),
            Mutant("exponent N−1", "update", rhs=(1 - q ** (G - 1)) / p * Dp[d]),
            Mutant("mean over all rollouts", "update", lhs=RolloutMean(mean(R[i] * s[i, d]), 1, G)),
        ),
        check=CHECKS["expectation.max-rl"],
    )


def verifier_noise() -> Theorem:
    t, f = sp.symbols("t f")
    rates = (Real(t, 0, 1), Real(f, 0, 1))
    noisy = Domain(
        Integer(G, 2, spread=2),
        unit,
        *rates,
        *COORDINATES,
        Group(G, success=p, slope=Dp, flip=(t, f)),
    )
    clean = rollouts(None, *rates)
    rate = f + (t - f) * p
    rewarded = t * R[i] + f * (1 - R[i])  # chance that a rollout is rewarded, given its verdict
    share, pulled = RolloutMean(mean(rewarded), 0, G), RolloutMean(mean(rewarded * s[i, d]), 0, G)

    def counted(lhs: RolloutMean, value: sp.Expr, h: sp.Expr, factor: sp.Expr) -> Chain:
        first = Tower(lhs, K).value(Context(clean))
        moment = binomial_mean(h, K, G, p)
        return Chain(
            (
                Step(CONDITIONAL, "=", first, by=(Tower(lhs, K),)),
                Step(
                    "a binomial mean",
                    "=",
                    factor * moment,
                    by=(Linear(first, ((factor, moment.function),)),),
                ),
                Step("E[K] = Gp", "=", value, by=(BinomialMoments(K, G, p, h),)),
            )
        )

    W = weight(G, rate)
    return Theorem(
        id="expectation.verifier-noise",
        title="A noisy verifier: Youden's t − f decides the sign",
        words=(
            "If correct responses are rewarded with probability t and wrong ones with probability "
            "f, then p̃ = f + (t−f)p and E[g] = (t−f) W_G(p̃) ∇p; since W_G > 0 the sign of the "
            "step is the sign of t − f."
        ),
        assumptions=(
            *SETTING,
            "The verifier's errors are independent given correctness; 0 < t, f < 1.",
        ),
        uses=(SCORES, WEIGHT),
        clauses=(
            Clause(
                "rate",
                clean,
                Claim(share, "=", rate),
                counted(share, rate, f * G + (t - f) * K, 1 / G),
            ),
            Clause(
                "pull",
                clean,
                Claim(pulled, "=", (t - f) * Dp[d]),
                counted(pulled, (t - f) * Dp[d], t * K * q - f * (G - K) * p, Dp[d] / (G * p * q)),
                words="E[R̃ s] = (t − f) ∇p",
            ),
            Clause(
                "update",
                noisy,
                Claim(grpo_mean, "=", (t - f) * W * Dp[d]),
                Chain(
                    (
                        *weight_steps(grpo_mean, rate, (t - f) * Dp[d], noisy),
                        Step("p̃(1−p̃) cancels", "=", (t - f) * W * Dp[d]),
                    )
                ),
            ),
            Clause(
                "positive",
                Domain(Integer(G, 2), unit, *rates),
                Claim(0, "<", W),
                Chain(
                    (
                        Step(
                            "the weight is positive at every rate in (0, 1)",
                            "<",
                            W,
                            by=((1, Instance(WEIGHT, "positive", ((p, rate),))),),
                        ),
                    )
                ),
            ),
        ),
        references=(Reference("arXiv 2601.04411", "", "", "reconstructed"),),
        implements=("identity.expectation.verifier_noise_weight",),
        mutants=(
            Mutant("weight at the true rate", "update", rhs=(t - f) * weight() * Dp[d]),
            Mutant("t + f", "update", rhs=(t + f) * W * Dp[d]),
            Mutant("rate t p", "rate", rhs=t * p),
            Mutant("no damping", "pull", rhs=Dp[d]),
            Mutant("more than 1", "positive", lhs=1),
        ),
        check=CHECKS["expectation.verifier-noise"],
    )
