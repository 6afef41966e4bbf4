"""GSPO: the ratio of a whole response, to the power one over its length."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Assumption, Domain, Draws, Integer
from proofs.kernel.rules import (
    Assume,
    Cite,
    LogProduct,
    Moments,
    RealPower,
    Square,
    Termwise,
)
from proofs.kernel.terms import SampleMean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem
from proofs.surrogates.notation import (
    GSPO,
    OFFSETS,
    A,
    G,
    L,
    T,
    by_rules,
    clipped,
    high,
    i,
    lengths,
    low,
    over_responses,
    over_tokens,
    slope,
    t,
    token_mean,
    x,
    z,
)

N, n, y, m, v, u = sp.symbols("N n y m v u")
length = sp.Symbol("L")
p, q, f, Y, rho, s, K = map(sp.IndexedBase, ("p", "q", "f", "Y", "rho", "s", "K"))

outcomes = Integer(N, 1, spread=3)
policies = (outcomes, Array(p, (N,), law=True), Array(q, (N,), law=True))


def over_outcomes(body: sp.Expr, index: sp.Symbol = y) -> sp.Sum:
    return sp.Sum(body, (index, 1, N))


# -- the ratio -------------------------------------------------------------------------------------


def geometric_mean() -> Clause:
    """exp((1/L) Σ log ρ_t) = (Π ρ_t)^(1/L)."""
    domain = Domain(Integer(length, 1, spread=4), Array(rho, (length,), 0))
    whole = sp.Product(rho[t], (t, 1, length))
    lhs = sp.exp(sp.Sum(sp.log(rho[t]), (t, 1, length)) / length)
    result = whole ** (1 / length)
    middle = sp.exp(sp.log(whole) / length)
    steps = (
        Step("the logarithm of a product", "=", middle, by=(LogProduct(whole),)),
        Step("definition of a real power", "=", result, by=(RealPower(whole, 1 / length),)),
    )
    words = "s from token ratios ρ_t > 0: the L-th root of their product, which is q/p"
    return Clause("geometric-mean", domain, Claim(lhs, "=", result), Chain(steps), words)


def gspo_ratio() -> Theorem:
    fixed = Domain(Integer(length, 2), *policies)
    chosen = Domain(Integer(length, 2), *policies, Integer(v, 1, N))
    mean = over_outcomes(p[y] * (q[y] / p[y]) ** (1 / length))  # E_old[s]
    root = sp.sqrt(q[y]) - sp.sqrt(p[y])
    gap = over_outcomes(root**2) / length
    at_v = root.xreplace({y: v}) ** 2 / length
    others = (1 - sp.KroneckerDelta(y, v)) * root
    one = sp.Integer(1)
    bernoulli = Cite(
        "bernoulli", ((sp.Symbol("x"), sp.sqrt(q[y] / p[y])), (sp.Symbol("y"), 2 / length))
    )
    tangent = p[y] * (1 + 2 / length * (sp.sqrt(q[y] / p[y]) - 1))
    term = Step("2/L ≤ 1 and (q/p)^(1/L) = (√(q/p))^(2/L)", "<=", tangent, by=((p[y], bernoulli),))
    to_gap = (
        Step(
            "Bernoulli's inequality, response by response",
            "<=",
            over_outcomes(tangent),
            by=((1, Termwise(mean, tangent, "<=", (term,))),),
        ),
        Step("Σ p = Σ q = 1, so that 2(1 − Σ √(pq)) = Σ (√q − √p)²", "=", 1 - gap),
    )

    def bounded(name: str, domain: Domain, rhs: sp.Expr, dropped: sp.Expr, words: str) -> Clause:
        square = Square(dropped, weight=1 / length, over=((y, N),))
        last = Step("squares are not negative", "<=", rhs, by=((1, square),))
        return Clause(name, domain, Claim(mean, "<=", rhs), Chain((*to_gap, last)), words)

    equal = Domain(
        Integer(length, 1),
        outcomes,
        Array(p, (N,), law=True),
        Array(q, (N,), 0),
        Assumption(q, (y,), p[y], "the policies are equal"),
    )
    put_in = Termwise(mean, p[y], "=", (Step("q = p", "=", p[y], by=(Assume(q, (y,)),)),))
    drawn = Domain(Integer(n, 1), *policies, Array(f, (N,)), Draws(Y, n, p))
    weighted = SampleMean(sp.Sum(q[Y[m]] / p[Y[m]] * f[Y[m]], (m, 1, n)) / n)
    moments = Moments(weighted, y)
    target = over_outcomes(q[y] * f[y])
    uneven = Domain(*policies, Integer(T, 1), Array(K, (N,), 1, T, integer=True))
    return Theorem(
        id="surrogates.gspo-ratio",
        title="GSPO's ratio is no importance weight: at one length its mean is below 1",
        words=(
            "Responses of one length L ≥ 2 have probabilities p under the old and q under the "
            "current policy. GSPO's s = exp(mean log ρ_t) = (q/p)^(1/L) has mean E_old[s] ≤ 1 − "
            "(1/L) Σ (√q − √p)² ≤ 1, and 1 − E_old[s] ≥ (1/L)(√q_v − √p_v)² for each response v: "
            "the mean is 1 iff the policies are equal. The weight q/p itself is unbiased for every "
            "f: its mean against f is E_new[f], which is 1 at f = 1."
        ),
        assumptions=(
            "One length for all responses: where lengths differ the mean can exceed 1 (a near miss "
            "below has such a witness).",
            "q/p is the product of the token ratios: the chain rule of probability.",
        ),
        clauses=(
            geometric_mean(),
            Clause(
                "gap",
                fixed,
                Claim(mean, "<=", 1 - gap),
                Chain(to_gap),
                "E_old[s] is below 1 by at least (1/L) Σ (√q − √p)²",
            ),
            bounded("at-most-one", fixed, one, root, "E_old[s] ≤ 1"),
            bounded(
                "each-response",
                chosen,
                1 - at_v,
                others,
                "if the mean is 1, then q_v = p_v for all v",
            ),
            Clause(
                "equal-policies",
                equal,
                Claim(mean, "=", one),
                Chain(
                    (
                        Step("every ratio is 1", "=", over_outcomes(p[y]), by=(put_in,)),
                        Step("Σ p = 1", "=", one),
                    )
                ),
                "and if q = p, then the mean is 1",
            ),
            Clause(
                "importance-weight",
                drawn,
                Claim(weighted, "=", target),
                Chain(
                    (
                        Step(
                            "each of the n responses has the law p, which cancels",
                            "=",
                            target,
                            by=(moments,),
                        ),
                    )
                ),
                "what s is not: weights q/p make samples of p unbiased for means over q",
            ),
        ),
        references=(GSPO,),
        implements=("identity.surrogates.importance_ratio",),
        mutants=(
            Mutant(
                "the arithmetic mean", "geometric-mean", lhs=sp.Sum(rho[t], (t, 1, length)) / length
            ),
            Mutant("twice the gap", "gap", rhs=1 - 2 * gap),
            Mutant("one token", "gap", domain=Domain(Integer(length, 1, 1), *policies)),
            Mutant("less than 1/2", "at-most-one", rhs=sp.Rational(1, 2)),
            Mutant(
                "lengths that differ",
                "at-most-one",
                lhs=over_outcomes(p[y] * (q[y] / p[y]) ** (1 / K[y])),
                domain=uneven,
            ),
            Mutant("without 1/L", "each-response", rhs=1 - length * at_v),
            Mutant(
                "unequal policies", "equal-policies", domain=Domain(Integer(length, 2), *policies)
            ),
            Mutant(
                "roots as weights",
                "importance-weight",
                lhs=SampleMean(sp.Sum(sp.sqrt(q[Y[m]] / p[Y[m]]) * f[Y[m]], (m, 1, n)) / n),
            ),
        ),
        check=CHECKS.get("surrogates.gspo-ratio"),
    )


# -- its sum over tokens ---------------------------------------------------------------------------


def gspo_length() -> Theorem:
    advantages = Array(A, (G,))
    ratios = Array(s, (G,), 0)
    inside = Array(s, (G,), 1 - low, 1 + high)
    average = token_mean(z[i, u], u)
    live = s[i] * sp.exp(x * average)  # log s moves by the mean of the tokens' slopes
    all_tokens = over_responses(L[i])

    def domain(ratio: Array, *more: object) -> Domain:
        return Domain(*lengths, *OFFSETS, advantages, ratio, *more)  # type: ignore[arg-type]

    values = domain(ratios)
    moving = domain(inside, Array(z, (G, T)))
    alike = Domain(
        *lengths,
        Assumption(L, (i,), T, "all responses have T tokens"),
        *OFFSETS,
        advantages,
        ratios,
    )
    objective = clipped(s[i], A[i])
    summed = over_responses(over_tokens(objective))
    weighted = over_responses(L[i] * objective)
    token_level = slope(over_responses(over_tokens(-clipped(live, A[i]))) / all_tokens)
    published = slope(over_responses(-clipped(live, A[i])) / G)
    means = slope(over_responses(token_mean(-clipped(live, A[i]))) / G)
    own = s[i] * sp.exp(x * z[i, t])  # GSPO-token: sg(s)π/sg(π), the slope of the token's own log π
    by_token = slope(over_responses(token_mean(-clipped(own, A[i]))) / G)
    by_length = -over_responses(L[i] * s[i] * A[i] * average) / all_tokens
    evenly = -over_responses(s[i] * A[i] * average) / G
    same = over_responses(objective) / G
    alike_step = Termwise(
        summed,
        T * objective,
        "=",
        (
            Step("T equal terms", "=", L[i] * objective),
            Step("L_i = T", "=", T * objective, by=(Assume(L, (i,)),)),
        ),
    )
    count = Termwise(all_tokens, T, "=", (Step("L_i = T", "=", T, by=(Assume(L, (i,)),)),))
    return Theorem(
        id="surrogates.gspo-length",
        title="Summed over tokens, a sequence-level ratio counts a response once per token",
        words=(
            "GSPO's ratio is one number for a response, so the sum of its surrogate over tokens is "
            "L_i times that of the response. The token mean of a group weighs responses by L_i/ΣL, "
            "in value and in gradient, where the published loss (1/G) Σ_i has 1/G for each; they "
            "agree if all lengths are equal. A mean over responses of token means is the published "
            "loss, and GSPO-token has the same gradient under it."
        ),
        assumptions=(
            "Ratios s_i at the current parameters; in the gradients they lie inside of the clip.",
            "log s_i moves by x times the mean over the response of the slopes z of its tokens.",
        ),
        clauses=(
            Clause(
                "value",
                values,
                Claim(summed, "=", weighted),
                Chain((Step("L_i equal terms", "=", weighted),)),
                "token-summed: Σ_i L_i min(s_i A_i, clip(s_i)A_i)",
            ),
            Clause(
                "equal-lengths",
                alike,
                Claim(summed / all_tokens, "=", same),
                Chain(
                    (
                        Step(
                            "T terms each, GT in all",
                            "=",
                            over_responses(T * objective) / sp.Sum(T, (i, 1, G)),
                            by=(alike_step, count),
                        ),
                        Step("T cancels", "=", same),
                    )
                ),
                "if all lengths are T, the token mean is the mean over responses",
            ),
            by_rules(
                "token-mean",
                moving,
                token_level,
                by_length,
                end="L_i equal terms",
                words="its gradient: 1/ΣL for a response's summed slopes, L_i/ΣL for their mean",
            ),
            by_rules(
                "published",
                moving,
                published,
                evenly,
                words="gradient of (1/G) Σ_i: 1/G for the mean of a response's slopes",
            ),
            by_rules(
                "mean-of-means",
                moving,
                means,
                evenly,
                end="a mean of L_i equal terms",
                words="gradient of a mean over responses of token means: the published one",
            ),
            by_rules(
                "gspo-token",
                moving,
                by_token,
                evenly,
                words="GSPO-token, the ratio sg(s)π/sg(π), under the same aggregation: the same",
            ),
        ),
        references=(GSPO,),
        implements=("identity.surrogates.policy_loss",),
        mutants=(
            Mutant("once per response", "value", rhs=over_responses(objective)),
            Mutant("any lengths", "equal-lengths", domain=values),
            Mutant("evenly", "token-mean", rhs=evenly),
            Mutant("by length", "published", rhs=by_length),
            Mutant("token sums", "mean-of-means", rhs=evenly * G),
            Mutant(
                "under the token mean",
                "gspo-token",
                lhs=slope(over_responses(over_tokens(-clipped(own, A[i]))) / all_tokens),
            ),
        ),
        check=CHECKS.get("surrogates.gspo-length"),
    )
