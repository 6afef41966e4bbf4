"""Dividing by a random length: by each response's own (GRPO), by the total (DAPO)."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.aggregation.notation import (
    G,
    L,
    N,
    Y,
    by_algebra,
    delta_paper,
    f,
    i,
    j,
    outcomes,
    over_group,
    over_outcomes,
    p,
    responses,
    y,
)
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Draws, Real
from proofs.kernel.rules import Differentiate, Moments, Outcomewise, Square, Termwise
from proofs.kernel.terms import SampleMean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

q, o, t = sp.symbols("q o t")
law = (Array(p, (N,), law=True), Draws(Y, G, p))


def law_mean(body: Any, index: sp.Symbol = y) -> sp.Sum:
    """E h(Y) for one response."""
    return over_outcomes(p[index] * body(index), index)


# -- GRPO: each response over its own length -------------------------------------------------------


def grpo_length() -> Theorem:
    R, s = sp.IndexedBase("R"), sp.IndexedBase("s")
    R1, R2, L1, L2 = sp.symbols("R1 R2 L1 L2")
    long_lengths = Array(L, (N,), 0)
    domain = Domain(responses, outcomes, long_lengths, Array(f, (N,)), *law)
    scored = Domain(responses, outcomes, long_lengths, Array(R, (N,)), Array(s, (N,)), *law)
    small = tuple(sp.Rational(n, 3) for n in range(-4, 5))
    two = Domain(Real(t, samples=small), Real(R1), Real(R2), Real(L1, 0), Real(L2, 0))
    rate = Domain(Real(q, 0, 1))
    estimate = SampleMean(over_group(f[Y[i]] / L[Y[i]]) / G)
    per_token = law_mean(lambda k: f[k] / L[k])
    mean_f, mean_inverse = law_mean(lambda k: f[k], o), law_mean(lambda k: 1 / L[k], o)
    covariance = law_mean(lambda k: (f[k] - mean_f) * (1 / L[k] - mean_inverse))
    split = mean_f * mean_inverse + covariance

    own = over_group((R[Y[i]] - over_group(R[Y[j]], j) / G) * s[Y[i]] / L[Y[i]]) / G
    rewards, scores = over_group(R[Y[j]], j), over_group(s[Y[i]] / L[Y[i]])
    apart = over_group(R[Y[i]] * s[Y[i]] / L[Y[i]]) / G - rewards * scores / G**2
    mean_R = law_mean(lambda k: R[k], o)
    with_baseline = (1 - 1 / G) * law_mean(lambda k: (R[k] - mean_R) * s[k] / L[k])

    # One logit: the first response has probability q and score 1 − q, the second score −q.
    def update(first: sp.Expr, second: sp.Expr) -> sp.Expr:
        return q * (first * (1 - q)) + (1 - q) * (second * (-q))

    logit = 1 / (1 + sp.exp(-t))  # q as a function of the logit t
    first, second = sp.Derivative(sp.log(logit), t), sp.Derivative(sp.log(1 - logit), t)
    per_token_logit = logit * (R1 * first / L1) + (1 - logit) * (R2 * second / L2)
    scores_of_logit = (Differentiate(first), Differentiate(second))
    slope = sp.Derivative(R1 * logit + R2 * (1 - logit), t)
    closed = logit * (1 - logit) * (R1 / L1 - R2 / L2)
    three_quarters = sp.Rational(3, 4)
    return Theorem(
        id="aggregation.grpo-length",
        title="Dividing each response by its own length changes what is estimated",
        words=(
            "GRPO's mean over responses of g_i/L_i has the expectation E[g/L] = E[g] E[1/L] + "
            "Cov(g, 1/L), not a fixed multiple of ∇J = E[g]. On one logit t with two responses of "
            "probabilities q = 1/(1 + e^(−t)) and 1 − q, g = R s: E[g/L] = q(1−q)(R_1/L_1 − "
            "R_2/L_2) where ∇J = q(1−q)(R_1 − R_2). At L = (2, 1): rewards 1 and 0 give ∇J/2, and "
            "rewards 1 and 3/4 give −∇J. With the group's mean reward as baseline the expectation "
            "is (1 − 1/G) Cov(R, s/L)."
        ),
        assumptions=("responses are independent draws Y_i from one law p; g, s: one coordinate",),
        clauses=(
            Clause(
                "mean",
                domain,
                Claim(estimate, "=", split),
                Chain(
                    (
                        Step(
                            "every response is drawn alike",
                            "=",
                            per_token,
                            by=(Moments(estimate, y),),
                        ),
                        Step("a mean of products, by its covariance", "=", split),
                    )
                ),
            ),
            Clause(
                "with-baseline",
                scored,
                Claim(SampleMean(own), "=", with_baseline),
                Chain(
                    (
                        Step(
                            "expand",
                            "=",
                            SampleMean(apart),
                            by=(Outcomewise(SampleMean(own), apart),),
                        ),
                        Step(
                            "means over the draws",
                            "=",
                            with_baseline,
                            by=(Moments(SampleMean(apart), y),),
                        ),
                    )
                ),
                words="A_i = R_i − mean R: (1 − 1/G) Cov(R, s/L)",
            ),
            Clause(
                "two-responses",
                two,
                Claim(per_token_logit, "=", closed),
                Chain((Step("the scores are 1 − q and −q", "=", closed, by=scores_of_logit),)),
            ),
            Clause(
                "gradient",
                two,
                Claim(slope, "=", logit * (1 - logit) * (R1 - R2)),
                Chain(
                    (
                        Step(
                            "dq/dt = q(1 − q)",
                            "=",
                            logit * (1 - logit) * (R1 - R2),
                            by=(Differentiate(slope),),
                        ),
                    )
                ),
            ),
            by_algebra(
                "half",
                rate,
                update(sp.Rational(1, 2), sp.Integer(0)),
                update(sp.Integer(1), sp.Integer(0)) / 2,
                "the long response alone is rewarded",
                "R = (1, 0), L = (2, 1): E[g/L] = ∇J/2; at q = 1/2, 1/8 and 1/4",
            ),
            by_algebra(
                "reversed",
                rate,
                update(sp.Rational(1, 2), three_quarters),
                -update(sp.Integer(1), three_quarters),
                "1/2 − 3/4 = −(1 − 3/4)",
                "R = (1, 3/4), L = (2, 1): E[g/L] = −∇J",
            ),
        ),
        references=(
            Reference("arXiv 2503.20783", "", "§3.1", "the length bias of GRPO, as we read it"),
            delta_paper("its comparison of methods", "as we read it"),
        ),
        implements=("identity.aggregation.estimator_bias",),
        mutants=(
            Mutant("no covariance", "mean", rhs=mean_f * mean_inverse),
            Mutant("divided by the mean length", "mean", rhs=mean_f / law_mean(lambda k: L[k], o)),
            Mutant(
                "no factor 1 − 1/G",
                "with-baseline",
                rhs=law_mean(lambda k: (R[k] - mean_R) * s[k] / L[k]),
            ),
            Mutant(
                "a multiple of the gradient",
                "two-responses",
                rhs=logit * (1 - logit) * (R1 - R2) / (logit * L1 + (1 - logit) * L2),
            ),
            Mutant("same direction", "reversed", rhs=update(sp.Integer(1), three_quarters)),
        ),
        check=CHECKS.get("aggregation.grpo-length"),
    )


# -- DAPO: the total over the total length ---------------------------------------------------------


at_least_one = Array(L, (N,), 1, open_low=False)


def token_mean_ratio() -> Theorem:
    domain = Domain(responses, outcomes, at_least_one, Array(f, (N,)), *law)
    short = Domain(
        responses,
        outcomes,
        Array(L, (N,), 0, samples=tuple(sp.Rational(n, 99) for n in range(1, 7))),
        Array(f, (N,)),
        *law,
    )
    mean_f, mean_L = law_mean(lambda k: f[k], o), law_mean(lambda k: L[k], o)
    rate = mean_f / mean_L  # r

    def off(k: Any) -> sp.Expr:
        """g − rL, of mean 0."""
        return f[k] - rate * L[k]

    def away(k: Any) -> sp.Expr:
        """L − E L."""
        return L[k] - mean_L

    # Over the group: D = mean of g − rL, W = mean of L − E L.
    total_f, total_L = over_group(f[Y[i]]), over_group(L[Y[i]])
    D, W = (total_f - rate * total_L) / G, total_L / G - mean_L
    ratio = total_f / total_L
    estimate = SampleMean(ratio)
    cross = law_mean(lambda k: off(k) * away(k))
    third = law_mean(lambda k: off(k) * away(k) ** 2)
    spread = law_mean(lambda k: off(k) ** 2)
    deviation = law_mean(lambda k: away(k) ** 2)
    fourth = law_mean(lambda k: off(k) ** 2 * away(k) ** 2 + away(k) ** 4)
    leading = rate - cross / (G * mean_L**2) + third / (G**2 * mean_L**3)
    bound = (fourth + (G - 1) * (spread * deviation + 2 * cross**2 + 3 * deviation**2)) / (
        2 * G**3 * mean_L**3
    )

    def side(name: str, sign: int) -> Clause:
        """The expansion of 1/ΣL to third order, with half of D²W² + W⁴ for what is left."""
        series = rate + D / mean_L - D * W / mean_L**2 + D * W**2 / mean_L**3
        body = series + sign * (D**2 * W**2 + W**4) / (2 * mean_L**3)
        square = Square(W * (D + sign * W * G / total_L))
        tokens = Termwise(sp.Sum(1, (i, 1, G)), L[Y[i]], "<=")
        length = total_L / G
        longer = W**4 * (length + 1) / (2 * G * mean_L**3 * length**2)
        by = ((1 / (2 * mean_L**3), square), (longer, tokens))
        text = "1/ΣL to third order; the rest by (a ± b)² ≥ 0 and L ≥ 1"
        moments = Step(
            "moments of independent draws",
            "=",
            leading + sign * bound,
            by=(Moments(SampleMean(body), y),),
        )
        if sign > 0:
            steps = (Step(text, "<=", body, by=by),)
            rule = Outcomewise(estimate, body, "<=", steps)
            chain = (Step("outcome by outcome", "<=", SampleMean(body), by=((1, rule),)), moments)
            return Clause(name, domain, Claim(estimate, "<=", leading + bound), Chain(chain))
        rule = Outcomewise(SampleMean(body), ratio, "<=", (Step(text, "<=", ratio, by=by),))
        start = Step("moments of independent draws", "=", SampleMean(body), by=moments.by)
        chain = (start, Step("outcome by outcome", "<=", estimate, by=((1, rule),)))
        return Clause(name, domain, Claim(leading - bound, "<=", estimate), Chain(chain))

    constant = _constant_length()
    return Theorem(
        id="aggregation.token-mean-ratio",
        title="DAPO's token mean estimates a ratio, with a bias of order 1/G",
        words=(
            "For independent responses of at least one token, E[Σ g_i/Σ L_i] = r − Cov(g − rL, "
            "L)/(G λ²) + E[(g − rL)(L − λ)²]/(G² λ³) up to an explicit bound of order 1/G², with "
            "r = E[g]/E[L], λ = E[L]. So the token mean estimates E[g]/E[L], and the leading term "
            "of its bias is −(Cov(g, L) − r Var L)/(G λ²)."
        ),
        assumptions=(
            "responses are independent draws Y_i from one finite law p; g one coordinate of the "
            "unnormalised gradient; L ≥ 1",
        ),
        clauses=(
            side("at-most", 1),
            side("at-least", -1),
            by_algebra(
                "leading-term",
                Domain(outcomes, at_least_one, Array(f, (N,)), law[0]),
                cross,
                law_mean(lambda k: (f[k] - mean_f) * away(k)) - rate * deviation,
                "covariances are bilinear",
                "Cov(g − rL, L) = Cov(g, L) − r Var L",
            ),
            constant,
        ),
        references=(
            Reference("arXiv 2503.14476", "", "§3.3", "the token mean, as we read it"),
            Reference("folklore", "", "bias of the ratio estimator", "the bound is ours"),
        ),
        implements=("identity.aggregation.estimator_bias",),
        mutants=(
            Mutant("no bias", "at-most", rhs=rate),
            Mutant("unbiased for E[g]/E[L] from below", "at-least", lhs=rate),
            Mutant(
                "leading term of the other sign",
                "at-most",
                rhs=leading + 2 * cross / (G * mean_L**2) + bound,
            ),
            Mutant("lengths below 1", "at-most", domain=short),
            Mutant(
                "only Cov(g, L)", "leading-term", rhs=law_mean(lambda k: (f[k] - mean_f) * away(k))
            ),
        ),
        check=CHECKS.get("aggregation.token-mean-ratio"),
    )


def _constant_length() -> Clause:
    """All responses of one length: no bias."""
    M = sp.Symbol("M")
    domain = Domain(responses, outcomes, Real(M, 0), Array(f, (N,)), *law)
    before = SampleMean(over_group(f[Y[i]]) / over_group(M, j))
    apart = SampleMean(over_group(f[Y[i]]) / (G * M))
    value = law_mean(lambda k: f[k]) / M
    return Clause(
        "constant-length",
        domain,
        Claim(before, "=", value),
        Chain(
            (
                Step("ΣL = GM", "=", apart, by=(Outcomewise(before, apart.args[0]),)),
                Step("the mean of one response", "=", value, by=(Moments(apart, y),)),
            )
        ),
        words="where all lengths are M the expectation is E[g]/M exactly",
    )
