"""Silent groups: how often, how to estimate it, and what a mixed group's mean is biased by."""

from __future__ import annotations

import sympy as sp

from proofs.expectation.methods import MIXED, mixed_share
from proofs.expectation.notation import (
    Dp,
    G,
    K,
    R,
    d,
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
    unit,
)
from proofs.expectation.weight import BINARY, ON_POLICY, SCORES, SEQUENCE
from proofs.first_principles import CHECKS
from proofs.groups.notation import leave_one_out
from proofs.kernel.domain import Domain, Integer, Real
from proofs.kernel.rules import (
    Ball,
    BetaIntegral,
    BinomialMoments,
    BinomialTheorem,
    Context,
    Cut,
    Hypothesis,
    Instance,
    Linear,
    Shift,
    Split,
    Termwise,
    Tower,
)
from proofs.kernel.terms import BetaMean, RolloutMean, binomial_mean
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Induction,
    Mutant,
    Reference,
    Refutation,
    Step,
    Theorem,
)

half = Real(p, 0, sp.Rational(1, 2))
silent = p**G + q**G


def silent_rate() -> Theorem:
    none, every = RolloutMean(sp.Integer(1), 0, 0), RolloutMean(sp.Integer(1), G, G)
    all_wrong = Tower(none, K).value(Context(rollouts()))
    all_right = Tower(every, K).value(Context(rollouts()))
    x, a, b = sp.symbols("x a b")
    whole = tuple(range(1, 7))
    prior = Domain(Integer(G, 2), Real(a, 0, samples=whole), Real(b, 0, samples=whole))
    right, wrong = BetaMean(x**G, x, a, b), BetaMean((1 - x) ** G, x, a, b)
    closed = sp.beta(a + G, b) / sp.beta(a, b) + sp.beta(a, b + G) / sp.beta(a, b)
    return Theorem(
        id="expectation.silent-rate",
        title="How often a group is silent",
        words=(
            "Pr(silent) = p^G + (1−p)^G, decreasing in G on (0, 1). Over Beta(a, b) difficulties "
            "it averages to B(a+G,b)/B(a,b) + B(a,b+G)/B(a,b)."
        ),
        assumptions=(BINARY,),
        uses=(SCORES,),
        clauses=(
            Clause(
                "rate",
                rollouts(),
                Claim(none + every, "=", silent),
                Chain(
                    (
                        Step(
                            "K ~ Binomial(G, p)",
                            "=",
                            all_wrong + all_right,
                            by=(Tower(none, K), Tower(every, K)),
                        ),
                        Step(
                            "one term each",
                            "=",
                            silent,
                            by=(Split(all_wrong, first=1), Split(all_right, first=1)),
                        ),
                    )
                ),
            ),
            Clause(
                "decreasing",
                sizes,
                Claim(p ** (G + 1) + q ** (G + 1), "<", silent),
                Chain((Step("the difference is p^G(1−p) + (1−p)^G p > 0", "<", silent),)),
            ),
            Clause(
                "beta",
                prior,
                Claim(right + wrong, "=", closed),
                Chain(
                    (
                        Step(
                            "Euler's integral, twice",
                            "=",
                            closed,
                            by=(BetaIntegral(right, G, 0), BetaIntegral(wrong, 0, G)),
                        ),
                    )
                ),
            ),
        ),
        references=(paper("§5"), Reference("DLMF", "", "5.12.1", "beta function")),
        implements=("identity.expectation.silent_rate", "identity.expectation.silent_rate_beta"),
        mutants=(
            Mutant("exponent G−1", "rate", rhs=p ** (G - 1) + q ** (G - 1)),
            Mutant("only all-wrong", "rate", rhs=q**G),
            Mutant("increasing", "decreasing", lhs=silent, rhs=p ** (G + 1) + q ** (G + 1)),
            Mutant("twice one side", "beta", rhs=2 * sp.beta(a + G, b) / sp.beta(a, b)),
        ),
        check=CHECKS["expectation.silent-rate"],
    )


def silent_u_statistic() -> Theorem:
    n, c = sp.symbols("n c")
    domain = Domain(Integer(G, 1, spread=5), Integer(n, G, spread=6), unit)
    B = sp.binomial
    base = B(n, c) * p**c * q ** (n - c)
    estimator = (B(c, G) + B(n - c, G)) / B(n, G)
    lhs = binomial_mean(estimator, c, n, p)
    right, wrong = base * B(c, G) / B(n, G), base * B(n - c, G) / B(n, G)
    first, second = sp.Sum(right, (c, 0, n)), sp.Sum(wrong, (c, 0, n))
    first_zero, first_rest = sp.Sum(right, (c, 0, G - 1)), sp.Sum(right, (c, G, n))
    second_rest, second_zero = sp.Sum(wrong, (c, 0, n - G)), sp.Sum(wrong, (c, n - G + 1, n))
    fewer = B(n - G, c - G) * p**c * q ** (n - c)
    fewer_wrong = B(n - G, c) * p**c * q ** (n - c)
    shifted = Shift(sp.Sum(fewer, (c, G, n)), G).prove(Context(domain)).rhs
    plain = B(n - G, c) * p**c * q ** (n - G - c)
    rest = sp.Sum(plain, (c, 0, n - G))
    return Theorem(
        id="expectation.silent-u-statistic",
        title="An unbiased silent rate from logged rollouts",
        words=(
            "With c correct of n ≥ G logged rollouts, [C(c,G) + C(n−c,G)]/C(n,G) is unbiased for "
            "p^G + (1−p)^G."
        ),
        assumptions=("c ~ Binomial(n, p): independent rollouts of one prompt and one policy.",),
        clauses=(
            Clause(
                "unbiased",
                domain,
                Claim(lhs, "=", silent),
                Chain(
                    (
                        Step(
                            "two sums",
                            "=",
                            first + second,
                            by=(Linear(lhs, ((1, right), (1, wrong))),),
                        ),
                        Step(
                            "cut where the binomials vanish",
                            "=",
                            first_zero + first_rest + second_rest + second_zero,
                            by=(Cut(first, G - 1), Cut(second, n - G)),
                        ),
                        Step(
                            "C(c,G) = 0 for c < G, C(n−c,G) = 0 for n − c < G",
                            "=",
                            first_rest + second_rest,
                            by=(Termwise(first_zero, 0), Termwise(second_zero, 0)),
                        ),
                        Step(
                            "C(n,c)C(c,G)/C(n,G) = C(n−G,c−G), and likewise for n−c",
                            "=",
                            sp.Sum(fewer, (c, G, n)) + sp.Sum(fewer_wrong, (c, 0, n - G)),
                            by=(Termwise(first_rest, fewer), Termwise(second_rest, fewer_wrong)),
                        ),
                        Step(
                            "shift the first",
                            "=",
                            shifted + sp.Sum(fewer_wrong, (c, 0, n - G)),
                            by=(Shift(sp.Sum(fewer, (c, G, n)), G),),
                        ),
                        Step(
                            "p^G and (1−p)^G come out",
                            "=",
                            (p**G + q**G) * rest,
                            by=(
                                Linear(shifted, ((p**G, plain),)),
                                Linear(sp.Sum(fewer_wrong, (c, 0, n - G)), ((q**G, plain),)),
                            ),
                        ),
                        Step(
                            "probabilities sum to 1",
                            "=",
                            silent,
                            by=(BinomialTheorem(c, n - G, p, q),),
                        ),
                    )
                ),
            ),
        ),
        references=(Reference("Hoeffding 1948", "", "U-statistics", "this use is ours"),),
        implements=("identity.expectation.silent_rate_unbiased",),
        mutants=(
            Mutant(
                "plug-in", "unbiased", lhs=binomial_mean((c / n) ** G + (1 - c / n) ** G, c, n, p)
            ),
            Mutant(
                "with replacement",
                "unbiased",
                lhs=binomial_mean((B(c, G) + B(n - c, G)) / B(n + 1, G), c, n, p),
            ),
            Mutant("one side", "unbiased", lhs=binomial_mean(B(c, G) / B(n, G), c, n, p)),
        ),
        check=CHECKS["expectation.silent-u-statistic"],
    )


def silent_plug_in() -> Theorem:
    n, c = sp.symbols("n c")
    B = sp.binomial
    domain = Domain(Integer(G, 2), Integer(n, 1), unit)
    plug_in = (c / n) ** G + (1 - c / n) ** G
    lhs = binomial_mean(plug_in, c, n, p)
    tangent = p**G + G * p ** (G - 1) * (c / n - p) + q**G + G * q ** (G - 1) * (1 - c / n - q)
    base = B(n, c) * p**c * q ** (n - c)
    line = binomial_mean(tangent, c, n, p)
    line_rest, above_rest = sp.Sum(base * tangent, (c, 1, n)), sp.Sum(base * plug_in, (c, 1, n))
    two = binomial_mean((c / n) ** 2 + (1 - c / n) ** 2, c, n, p)
    bias = p**2 + q**2 + 2 * p * q / n
    x, a, m = sp.symbols("x a n")
    cite = "expectation.tangent-line"
    return Theorem(
        id="expectation.silent-plug-in",
        title="The plug-in silent rate is biased upward",
        words=(
            "The claim that p̂^G + (1−p̂)^G is unbiased for the silent rate fails: with n = 2 logged "
            "rollouts at p = 1/2 and G = 2 its mean is 3/4, not 1/2. Its mean is too large for "
            "every n ≥ 1, G ≥ 2 and 0 < p < 1 (convexity), by exactly 2p(1−p)/n at G = 2."
        ),
        assumptions=("p̂ = c/n with c ~ Binomial(n, p).",),
        uses=(cite,),
        refutes=(
            Refutation(
                "unbiased",
                domain,
                Claim(lhs, "=", silent),
                ((G, 2), (n, 2), (p, sp.Rational(1, 2))),
                "the plug-in silent rate is unbiased",
            ),
        ),
        clauses=(
            Clause(
                "upward",
                domain,
                Claim(silent, "<", lhs),
                Chain(
                    (
                        Step(
                            "the tangents have the right mean",
                            "=",
                            line,
                            by=(BinomialMoments(c, n, p, tangent),),
                        ),
                        Step(
                            "the term c = 0 apart",
                            "=",
                            q**n * tangent.subs(c, 0) + line_rest,
                            by=(Split(line, first=1),),
                        ),
                        Step(
                            "a power lies above its tangent, and 0 = 0^G is above by (G−1)p^G",
                            "<",
                            q**n + above_rest,
                            by=(
                                (
                                    q**n,
                                    Instance(cite, "tangent", ((m, G), (x, 1), (a, q))),
                                ),
                                (
                                    1,
                                    Termwise(
                                        line_rest,
                                        base * plug_in,
                                        "<=",
                                        steps=(
                                            Step(
                                                "tangent line, twice",
                                                "<=",
                                                base * plug_in,
                                                by=(
                                                    (
                                                        base,
                                                        Instance(
                                                            cite,
                                                            "tangent",
                                                            ((m, G), (x, c / n), (a, p)),
                                                        ),
                                                    ),
                                                    (
                                                        base,
                                                        Instance(
                                                            cite,
                                                            "tangent",
                                                            ((m, G), (x, 1 - c / n), (a, q)),
                                                        ),
                                                    ),
                                                ),
                                            ),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                        Step("all terms together", "=", lhs, by=(Split(lhs, first=1),)),
                    )
                ),
                words="E[p̂^G + (1−p̂)^G] > p^G + (1−p)^G",
            ),
            Clause(
                "at-two",
                Domain(Integer(n, 1), unit),
                Claim(two, "=", bias),
                Chain(
                    (
                        Step(
                            "second binomial moment",
                            "=",
                            bias,
                            by=(BinomialMoments(c, n, p, (c / n) ** 2 + (1 - c / n) ** 2),),
                        ),
                    )
                ),
            ),
        ),
        references=(paper("§5", "the 44 % beside 43 % at G = 8 on Big-Math"),),
        corrected_by=("expectation.silent-u-statistic",),
        mutants=(
            Mutant("also false: downward", "unbiased", lhs=lhs + p * q / n),
            Mutant(
                "also false: only the all-wrong part",
                "unbiased",
                lhs=binomial_mean((1 - c / n) ** G, c, n, p),
                rhs=q**G,
            ),
            Mutant("bias p(1−p)/n", "at-two", rhs=p**2 + q**2 + p * q / n),
            Mutant("downward", "upward", lhs=lhs, rhs=silent),
            Mutant(
                "unbiased at G = 1", "upward", domain=Domain(Integer(G, 1, 1), Integer(n, 1), unit)
            ),
            Mutant("by p(1−p)/n and more", "upward", lhs=silent + p * q / n),
        ),
        check=CHECKS["expectation.silent-plug-in"],
    )


def conditional_baseline() -> Theorem:
    domain = rollouts()
    j = sp.Symbol("j")
    share = sp.Sum(R[j], (j, 1, G)) / G
    numerator = RolloutMean(share, 1, G - 1)
    counted = Tower(numerator, K).value(Context(domain))
    inner, whole = sp.Sum(pmf(K) * K, (K, 1, G - 1)), binomial_mean(K, K, G, p)
    kept = 1 - p**G - q**G
    closed = (p - p**G) / kept
    conditional = numerator / mixed_share
    low = Domain(Integer(G, 2), half)
    high = Domain(Integer(G, 2), Real(p, sp.Rational(1, 2), 1))
    order = "expectation.power-order"
    n, x, a = sp.symbols("n x a")
    given = (Instance(MIXED, "positive"), Instance(MIXED, "share-positive"))

    def methods(name: str, advantage: sp.Expr, factor: sp.Expr, who: str) -> tuple[Clause, Clause]:
        full, cut = (
            RolloutMean(mean(advantage * s[i, d]), *window) for window in ((0, G), (1, G - 1))
        )
        full_sum, cut_sum = (Tower(m, K).value(Context(domain)) for m in (full, cut))
        value = factor * Dp[d]
        same = Clause(
            f"{name}-gradient",
            domain,
            Claim(full, "=", cut),
            Chain(
                (
                    Step("K ~ Binomial(G, p)", "=", full_sum, by=(Tower(full, K),)),
                    Step(
                        "the terms k = 0 and k = G vanish",
                        "=",
                        cut_sum,
                        by=(Split(full_sum, first=1, last=1),),
                    ),
                    Step("the mean over mixed groups", "=", cut, by=(Tower(cut, K),)),
                )
            ),
            words=f"{who}: E[g] = E[g; 0 < K < G], silent groups add 0",
        )
        given_mixed = Clause(
            f"{name}-given-mixed",
            domain,
            Claim(cut / mixed_share, "=", value / kept),
            Chain(
                (
                    Step("K ~ Binomial(G, p)", "=", cut_sum / mixed_share, by=(Tower(cut, K),)),
                    Step(
                        "the terms k = 0 and k = G are 0",
                        "=",
                        full_sum / mixed_share,
                        by=(Split(full_sum, first=1, last=1),),
                    ),
                    Step(
                        "the mean over all groups",
                        "=",
                        full / mixed_share,
                        by=(Tower(full, K),),
                    ),
                    Step(
                        f"E[g] of {who}",
                        "=",
                        value / mixed_share,
                        by=(Instance(f"expectation.{name}", "update"),),
                    ),
                    Step(
                        "probability of a mixed group",
                        "=",
                        value / kept,
                        by=(Instance(MIXED, "kept"),),
                    ),
                )
            ),
            words=f"{who}: E[g | 0 < K < G] = E[g]/(1 − p^G − (1−p)^G)",
            given=given,
        )
        return same, given_mixed

    dr_same, dr_given = methods("dr-grpo", R[i] - mu, (G - 1) / G, "Dr. GRPO")
    rloo_same, rloo_given = methods("rloo", R[i] - leave_one_out(i), sp.Integer(1), "RLOO")
    return Theorem(
        id="expectation.conditional-baseline",
        title="Given a mixed group the baseline is biased, the gradient keeps its direction",
        words=(
            "E[p̂ | 0 < k < G] = (p − p^G)/(1 − p^G − (1−p)^G), more than p for p < 1/2 and less "
            "for p > 1/2: given a mixed group the baseline that advantages subtract is biased. The "
            "update is not turned: for Dr. GRPO and RLOO E[g | 0 < k < G] is E[g], that is "
            "((G−1)/G)∇p and ∇p, divided by 1 − p^G − (1−p)^G, since silent groups add 0. (For "
            "GRPO see expectation.dapo.)"
        ),
        assumptions=(ON_POLICY, SEQUENCE, BINARY),
        uses=(SCORES, MIXED, order, "expectation.dr-grpo", "expectation.rloo"),
        clauses=(
            Clause(
                "mean",
                domain,
                Claim(conditional, "=", closed),
                Chain(
                    (
                        Step(
                            "K ~ Binomial(G, p)",
                            "=",
                            counted / mixed_share,
                            by=(Tower(numerator, K),),
                        ),
                        Step(
                            "1/G out",
                            "=",
                            inner / G / mixed_share,
                            by=(Linear(counted, ((1 / G, inner.function),)),),
                        ),
                        Step(
                            "all but k = G",
                            "=",
                            (whole / G - p**G) / mixed_share,
                            by=(Split(whole, first=1, last=1),),
                        ),
                        Step(
                            "E[K] = Gp",
                            "=",
                            (p - p**G) / mixed_share,
                            by=(BinomialMoments(K, G, p, K),),
                        ),
                        Step(
                            "probability of a mixed group",
                            "=",
                            closed,
                            by=(Instance(MIXED, "kept"),),
                        ),
                    )
                ),
                given=given,
            ),
            Clause(
                "above",
                low,
                Claim(p, "<", closed),
                Chain(
                    (
                        Step(
                            "p^(G−1) < (1−p)^(G−1)",
                            "<",
                            closed,
                            by=(
                                (
                                    p * q / kept,
                                    Instance(order, "order", ((n, G - 1), (x, p), (a, q))),
                                ),
                            ),
                        ),
                    )
                ),
                given=(Instance(MIXED, "positive"),),
                words="p < E[p̂ | 0 < k < G] for p < 1/2",
            ),
            Clause(
                "below",
                high,
                Claim(closed, "<", p),
                Chain(
                    (
                        Step(
                            "(1−p)^(G−1) < p^(G−1)",
                            "<",
                            p,
                            by=(
                                (
                                    p * q / kept,
                                    Instance(order, "order", ((n, G - 1), (x, q), (a, p))),
                                ),
                            ),
                        ),
                    )
                ),
                given=(Instance(MIXED, "positive"),),
                words="E[p̂ | 0 < k < G] < p for p > 1/2",
            ),
            dr_same,
            dr_given,
            rloo_same,
            rloo_given,
        ),
        references=(paper("§5", "ours"),),
        implements=("identity.expectation.conditional_baseline",),
        mutants=(
            Mutant("unbiased", "mean", rhs=p),
            Mutant("all-wrong groups kept", "mean", rhs=(p - p**G) / (1 - p**G)),
            Mutant("below p", "above", lhs=closed, rhs=p),
            Mutant("p above 1/2", "above", domain=high),
            Mutant("p below 1/2", "below", domain=low),
            Mutant("g doubled in mixed groups", "dr-grpo-gradient", rhs=2 * dr_same.claim.rhs),
            Mutant("RLOO's g doubled", "rloo-gradient", rhs=2 * rloo_same.claim.rhs),
            Mutant("the conditional mean is E[g]", "dr-grpo-given-mixed", rhs=(G - 1) / G * Dp[d]),
            Mutant("RLOO's conditional mean is ∇p", "rloo-given-mixed", rhs=Dp[d]),
        ),
        check=CHECKS["expectation.conditional-baseline"],
    )


def tail_miss() -> Theorem:
    N, j, tau = sp.symbols("N j tau")
    domain = Domain(Integer(N, 2), unit, Real(tau, 0, p))
    common = p - tau
    term = sp.binomial(N, j) * common**j * q ** (N - j)
    lhs, whole = sp.Sum(term, (j, 1, N - 1)), sp.Sum(term, (j, 0, N))
    closed = (1 - tau) ** N - q**N - common**N
    numbers = {tau: sp.Rational(1, 100), p: sp.Rational(3, 10)}
    at = closed.xreplace(numbers)
    late = Domain(Integer(N, 10, spread=40))

    def value(size: int) -> sp.Expr:
        return at.xreplace({N: sp.Integer(size)})

    def rises(size: int) -> Clause:
        return Clause(
            f"rises-{size}",
            Domain(),
            Claim(value(size), "<", value(size + 1)),
            Chain(
                (
                    Step(
                        "rational numbers",
                        "<",
                        value(size + 1),
                        by=((1, Ball(value(size), "<", value(size + 1))),),
                    ),
                )
            ),
        )

    following = at.xreplace({N: N + 1})
    rounding = (value(10) - sp.Rational(876, 1000)) ** 2
    return Theorem(
        id="expectation.tail-miss",
        title="Missing the rare correct answer",
        words=(
            "A mixed group without a rare-correct rollout (mass τ < p) has probability "
            "(1−τ)^N − (1−p)^N − (p−τ)^N. It is not monotone in N: at τ = .01, p = .3 it rises to "
            ".876 at N = 10 and falls from there on."
        ),
        assumptions=("Independent rollouts: rare-correct τ, common-correct p − τ, wrong 1 − p.",),
        clauses=(
            Clause(
                "probability",
                domain,
                Claim(lhs, "=", closed),
                Chain(
                    (
                        Step(
                            "add j = 0 and j = N",
                            "=",
                            whole - q**N - common**N,
                            by=(Split(whole, first=1, last=1),),
                        ),
                        Step(
                            "binomial theorem with p − τ and 1 − p",
                            "=",
                            closed,
                            by=(BinomialTheorem(j, N, common, q),),
                        ),
                    )
                ),
                words="j common-correct and N − j wrong rollouts, 0 < j < N",
            ),
            *(rises(size) for size in range(2, 10)),
            Clause(
                "falls",
                late,
                Claim(following, "<", at),
                Induction(
                    N,
                    base=Chain(
                        (
                            Step(
                                "rational numbers",
                                "<",
                                value(10),
                                by=((1, Ball(value(11), "<", value(10))),),
                            ),
                        )
                    ),
                    step=Chain(
                        (
                            Step(
                                "99/100 of the last drop, and more",
                                "<",
                                following,
                                by=((sp.Rational(99, 100), Hypothesis()),),
                            ),
                        )
                    ),
                ),
            ),
            Clause(
                "maximum",
                Domain(),
                Claim(rounding, "<=", sp.Rational(1, 4 * 10**6)),
                Chain(
                    (
                        Step(
                            "rational numbers",
                            "<=",
                            sp.Rational(1, 4 * 10**6),
                            by=((1, Ball(rounding, "<=", sp.Rational(1, 4 * 10**6))),),
                        ),
                    )
                ),
            ),
        ),
        references=(Reference("arXiv 2602.06717", "", "", "reconstructed"),),
        implements=("identity.expectation.tail_miss",),
        mutants=(
            Mutant("unanimous common-correct counted", "probability", rhs=(1 - tau) ** N - q**N),
            Mutant("p for p − τ", "probability", rhs=(1 - tau) ** N - q**N - p**N),
            Mutant("falls from 9 on", "falls", domain=Domain(Integer(N, 9, 9))),
            Mutant("rises from 10 to 11", "rises-9", lhs=value(10), rhs=value(11)),
            Mutant("maximum .877", "maximum", lhs=(value(10) - sp.Rational(877, 1000)) ** 2),
        ),
        check=CHECKS["expectation.tail-miss"],
    )
