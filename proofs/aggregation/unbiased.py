"""When weighting by length is unbiased, and what happens when length and gradient are dependent."""

from __future__ import annotations

import sympy as sp

from proofs.aggregation.assuming import assuming, put_in
from proofs.aggregation.notation import (
    POSITIVE,
    G,
    J,
    L,
    M,
    N,
    Y,
    alpha,
    b,
    by_algebra,
    delta_paper,
    exponent,
    f,
    g,
    i,
    j,
    m,
    maximum,
    o,
    outcomes,
    over_group,
    over_outcomes,
    p,
    responses,
    u,
    w,
    x,
    y,
)
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Assumption, Domain, Draws, Integer, Real
from proofs.kernel.rules import BinomialMoments, Moments, Termwise, Unroll
from proofs.kernel.terms import SampleMean, binomial_mean
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Mutant,
    Refutation,
    Step,
    Theorem,
)

k, q, t, c, T = sp.symbols("k q t c T")
h, d = sp.IndexedBase("h"), sp.IndexedBase("d")
table_of_lengths = Array(L, (G, N), 0, samples=POSITIVE)
chances = Array(w, (N,), law=True)
some_weights = Array(x, (G, N))


def share(at: sp.Symbol, outcome: sp.Symbol, index: sp.Symbol = u) -> sp.Expr:
    """W_i: the share of response i under ΔL; the shares of a group add up to 1."""
    return L[at, outcome] ** (-alpha) / over_group(L[index, outcome] ** (-alpha), index)


# -- under E[g_i | L] = ∇J -------------------------------------------------------------------------


def delta_l_unbiased() -> Theorem:
    inner = Integer(T, 1, spread=3)
    given_lengths = Array(d, (N, T), law=True)
    mean_is_J = Assumption(
        g,
        (i, o, t),
        J + h[i, o, t] - sp.Sum(d[o, c] * h[i, o, c], (c, 1, T)),
        "E[g_i | L] = J: the mean over what is random beside the lengths",
    )
    base = (responses, outcomes, inner, Real(J), chances, given_lengths)
    arrays = (Array(h, (G, N, T)), Array(g, (G, N, T)), mean_is_J)
    delta = Domain(*base[:3], maximum, exponent, *base[3:], table_of_lengths, *arrays)
    free = Domain(*base, some_weights, *arrays)

    def expected(weight: object) -> sp.Expr:
        estimate = over_group(weight(i, o) * g[i, o, t])  # type: ignore[operator]
        return over_outcomes(w[o] * sp.Sum(d[o, t] * estimate, (t, 1, T)))

    def clause(name: str, domain: Domain, weight: object, value: sp.Expr) -> Clause:
        before = expected(weight)
        steps, _ = put_in(before, mean_is_J)
        last = Step("the weights depend on the lengths only", "=", value)
        return Clause(name, domain, Claim(before, "=", value), Chain((*steps, last)))

    unassumed = Domain(*(z for z in delta.declarations if z != mean_is_J))
    return Theorem(
        id="aggregation.delta-l-unbiased",
        title="ΔL is unbiased if the gradients' mean does not depend on the lengths",
        words=(
            "If E[g_i | L_1, …, L_G] = ∇J for every response, the expectation of the ΔL estimate "
            "is ∇J/M, for any joint law of the lengths and every α. Under that condition any "
            "weights x_i(L) give ∇J E[Σ x_i]."
        ),
        assumptions=(
            "E[g_i | L_1, …, L_G] = J (one coordinate of ∇J), for every response and every outcome "
            "of the lengths; a finite probability space: an outcome o of the lengths with "
            "probability w_o, then everything else with probabilities d_(o,t)",
        ),
        clauses=(
            clause("delta-l", delta, lambda at, out: share(at, out) / M, J / M),
            clause(
                "any-weights",
                free,
                lambda at, out: x[at, out],
                J * over_outcomes(w[b] * over_group(x[u, b], u), b),
            ),
        ),
        references=(
            delta_paper("abstract: an unbiased estimate", "as we read it; the condition is ours"),
        ),
        implements=("identity.aggregation.estimator_bias",),
        mutants=(
            Mutant("without the condition", "delta-l", domain=unassumed),
            Mutant("no 1/M", "delta-l", rhs=J),
            Mutant(
                "token sums for shares",
                "delta-l",
                lhs=expected(lambda at, out: L[at, out] ** (-alpha) / M),
            ),
            Mutant(
                "mean weight of one response",
                "any-weights",
                rhs=J * over_outcomes(w[b] * over_group(x[u, b], u), b) / G,
            ),
        ),
        check=CHECKS.get("aggregation.delta-l-unbiased"),
    )


# -- without it ------------------------------------------------------------------------------------


def _mean_over(body: object, at: sp.Symbol) -> sp.Sum:
    return over_outcomes(w[b] * body(at, b), b)  # type: ignore[operator]


def _covariance(first: object, second: object, at: sp.Symbol) -> sp.Sum:
    return over_outcomes(
        w[o]
        * (first(at, o) - _mean_over(first, at))  # type: ignore[operator]
        * (second(at, o) - _mean_over(second, at)),  # type: ignore[operator]
    )


def delta_l_bias() -> Theorem:
    mean_is_J = Assumption(
        m, (i, o), J + h[i, o] - over_outcomes(w[c] * h[i, c], c), "E g_i = J for every response"
    )
    arrays = (Array(h, (G, N)), Array(m, (G, N)), mean_is_J)
    delta = Domain(
        responses, outcomes, maximum, exponent, Real(J), chances, table_of_lengths, *arrays
    )
    free = Domain(responses, outcomes, Real(J), chances, some_weights, *arrays)
    gradient, weight = (lambda at, out: m[at, out]), (lambda at, out: x[at, out])
    part = lambda at, out: share(at, out)  # noqa: E731
    before = over_outcomes(w[o] * over_group(share(i, o) / M * m[i, o]))
    after = (J + over_group(_covariance(part, gradient, i), i)) / M
    before_any = over_outcomes(w[o] * over_group(x[i, o] * m[i, o]))
    after_any = J * over_outcomes(w[o] * over_group(x[i, o])) + over_group(
        _covariance(weight, gradient, i), i
    )

    def clause(
        name: str, domain: Domain, lhs: sp.Expr, body: object, scale: sp.Expr, rhs: sp.Expr
    ) -> Clause:
        """E Σ x m = Σ E x E m + Σ Cov(x, m), and then E m = J."""
        covariances = over_group(_covariance(body, gradient, i), i)
        own = _mean_over(gradient, i)
        before, at_mean = body(i, o) * own, body(i, o) * J  # type: ignore[operator]
        _, rules = assuming(own, mean_is_J)
        each = Step("E g_i = J, as h − E h has the mean 0", "=", at_mean, by=rules)
        one = Termwise(over_group(before), at_mean, steps=(each,))
        total = over_outcomes(w[o] * over_group(before))
        swap = Step("for every response", "=", w[o] * over_group(at_mean), by=(one,))
        put_J = Termwise(total, w[o] * over_group(at_mean), steps=(swap,))
        moved = over_outcomes(w[o] * over_group(at_mean))
        steps = (
            Step("a mean of products, by its covariance", "=", scale * (total + covariances)),
            Step(mean_is_J.meaning, "=", scale * (moved + covariances), by=(put_J,)),
            Step("add up the weights", "=", rhs),
        )
        return Clause(name, domain, Claim(lhs, "=", rhs), Chain(steps))

    return Theorem(
        id="aggregation.delta-l-bias",
        title="ΔL's bias is a covariance of shares and gradients",
        words=(
            "With E g_i = ∇J for every response, and nothing else assumed, the expectation of the "
            "ΔL estimate is (1/M)(∇J + Σ_i Cov(W_i, E[g_i | L])), W_i = L_i^(−α)/ΣL_j^(−α): for "
            "exchangeable responses (1/M)(∇J + Cov(G W_1, E[g_1 | L])). For any weights it is "
            "∇J E[Σ x_i] + Σ_i Cov(x_i, E[g_i | L])."
        ),
        assumptions=(
            "E g_i = J (one coordinate of ∇J) for every response; a finite space of length vectors "
            "with probabilities w_o, m_(i,o) = E[g_i | L]",
        ),
        clauses=(
            clause("delta-l", delta, before, part, 1 / M, after),
            clause("any-weights", free, before_any, weight, sp.Integer(1), after_any),
        ),
        references=(delta_paper("abstract: an unbiased estimate", "the term is ours"),),
        implements=("identity.aggregation.estimator_bias",),
        mutants=(
            Mutant("no covariance", "delta-l", rhs=J / M),
            Mutant(
                "covariance without 1/M",
                "delta-l",
                rhs=J / M + over_group(_covariance(part, gradient, i), i),
            ),
            Mutant(
                "no covariance, any weights",
                "any-weights",
                rhs=J * over_outcomes(w[o] * over_group(x[i, o])),
            ),
            Mutant(
                "responses of different means",
                "any-weights",
                domain=Domain(*(z for z in free.declarations if z != mean_is_J)),
            ),
        ),
        check=CHECKS.get("aggregation.delta-l-bias"),
    )


# The witness: a long response (L = 2, reward 1) with probability q, else a short one (L = 1, 0).


def long_or_short(size: sp.Expr, rate: sp.Expr) -> sp.Sum:
    """E[Σ W_i g_i] at α = 1 for K ~ Binomial(size, rate) long responses: g = 1 − rate, else 0."""
    long = sp.Rational(1, 2)
    return binomial_mean(k * long * (1 - rate) / (k * long + size - k), k, size, rate)


def _value(name: str, size: int, value: sp.Expr, words: str) -> Clause:
    total = long_or_short(sp.Integer(size), sp.Rational(1, 2))
    step = Step("write out the number of long responses", "=", value, by=(Unroll(total),))
    return Clause(name, Domain(), Claim(total, "=", value), Chain((step,)), words)


def _limit() -> tuple[Clause, Clause]:
    """Every α = 1 group lies between two bounds that meet as G grows."""
    domain = Domain(Integer(G, 1), Real(q, 0, 1))
    total = long_or_short(G, q)
    pmf = sp.binomial(G, k) * q**k * (1 - q) ** (G - k)
    clauses = []
    for name, bend, text in (("at-least", 1, "2 − k/G ≤ 2"), ("at-most", 2, "2 − k/G ≥ 1")):
        gap = k / G - q
        bound = q / (2 - q) + 2 * gap / (2 - q) ** 2 + bend * gap**2 / (2 - q) ** 2
        polynomial = (1 - q) * bound
        moments = BinomialMoments(k, G, q, polynomial)
        value = q * (1 - q) * (1 / (2 - q) + bend * (1 - q) / ((2 - q) ** 2 * G))
        middle = binomial_mean(polynomial, k, G, q)
        if bend == 1:
            rule = Termwise(middle, total.function, "<=")
            steps = (
                Step("mean and variance of the share of long ones", "=", middle, by=(moments,)),
                Step(text, "<=", total, by=((1, rule),)),
            )
            claim = Claim(value, "<=", total)
        else:
            rule = Termwise(total, pmf * polynomial, "<=")
            steps = (
                Step(text, "<=", middle, by=((1, rule),)),
                Step("mean and variance of the share of long ones", "=", value, by=(moments,)),
            )
            claim = Claim(total, "<=", value)
        clauses.append(Clause(f"limit-{name}", domain, claim, Chain(steps)))
    return clauses[0], clauses[1]


def delta_l_unconditional() -> Theorem:
    shares = L[Y[i]] ** (-alpha) / over_group(L[Y[j]] ** (-alpha), j)
    estimate = SampleMean(over_group(shares * f[Y[i]]) / M)
    gradient = over_outcomes(p[y] * f[y], y)
    sampled = (
        responses,
        outcomes,
        maximum,
        exponent,
        Array(p, (N,), law=True),
        Array(L, (N,), 0, samples=POSITIVE),
        Array(f, (N,)),
        Draws(Y, G, p),
    )
    domain = Domain(*sampled)
    half = sp.Rational(1, 2)
    flat = SampleMean(over_group(f[Y[i]]) / (G * M))

    def witness(size: int, power: sp.Expr) -> tuple[tuple[object, object], ...]:
        return (
            (G, size),
            (N, 2),
            (M, 1),
            (alpha, power),
            (p, (half, half)),
            (L, (2, 1)),
            (f, (half, 0)),
        )

    def refuted(name: str, size: int, power: sp.Expr, words: str) -> Refutation:
        return Refutation(
            name, domain, Claim(estimate, "=", gradient / M), witness(size, power), words
        )

    one = sp.Integer(1)
    # At α = 1/2: two long responses share alike; a long one beside a short one has the share W.
    quarter, long = half**2, 1 / sp.sqrt(2)
    both_long, one_long = quarter * half, quarter * (long / (long + 1) * half)
    no_alpha = Domain(*(z for z in sampled if z not in (exponent, sampled[5])))
    at_least, at_most = _limit()
    return Theorem(
        id="aggregation.delta-l-unconditional",
        title="Without a condition ΔL can be biased",
        words=(
            "The claim that the ΔL estimate is unbiased fails where long responses have another "
            "mean gradient than short ones. Two responses exist, each with probability 1/2: a long "
            "one (L = 2, reward 1) and a short one (L = 1, reward 0), g = R s, so ∇J = 1/4, and M "
            "= 1. At α = 1 the expectation is 5/24 for G = 2, 209/1120 = .186607 for G = 4, and "
            "between 1/6 + 1/(18G) and 1/6 + 1/(9G) for every G; at α = 1/2 it is (2√2 − 1)/8 = "
            ".228553 for G = 2; at α = 0 it is 1/4, as there is no bias then in general. If the "
            "long response has the probability q, ∇J = q(1−q) and the limit at α = 1 is "
            "q(1−q)/(2−q)."
        ),
        assumptions=(
            "responses are independent draws from one law; the clauses about the two-response "
            "policy count its long responses, K ~ Binomial(G, q), and its score is that of a logit",
        ),
        refutes=(
            refuted("two-responses", 2, one, "E[Σ x_i g_i] = ∇J/M, at α = 1 and G = 2"),
            refuted("four-responses", 4, one, "the same at G = 4"),
            refuted("square-root", 2, half, "the same at α = 1/2 and G = 2"),
        ),
        clauses=(
            _value("value-2", 2, sp.Rational(5, 24), "α = 1, G = 2: 5/24"),
            _value("value-4", 4, sp.Rational(209, 1120), "α = 1, G = 4: .186607"),
            by_algebra(
                "value-2-root",
                Domain(),
                both_long + 2 * one_long,
                (2 * sp.sqrt(2) - 1) / 8,
                "rationalise",
                "α = 1/2, G = 2: .228553, from two long responses and from one in two orders",
            ),
            at_least,
            at_most,
            Clause(
                "alpha-zero",
                no_alpha,
                Claim(flat, "=", gradient / M),
                Chain(
                    (Step("the mean of one response", "=", gradient / M, by=(Moments(flat, y),)),)
                ),
                words="equal shares, α = 0: no bias, for any law",
            ),
        ),
        references=(
            delta_paper("abstract: an unbiased estimate", "as we read it, without a condition"),
        ),
        implements=("identity.aggregation.estimator_bias",),
        corrected_by=("aggregation.delta-l-unbiased", "aggregation.delta-l-bias"),
        mutants=(
            Mutant(
                "also false: nine tenths", "two-responses", rhs=sp.Rational(9, 10) * gradient / M
            ),
            Mutant("1/5 at G = 2", "value-2", rhs=sp.Rational(1, 5)),
            Mutant("1/6 reached", "limit-at-most", rhs=q * (1 - q) / (2 - q)),
            Mutant("at least the gradient", "limit-at-least", lhs=q * (1 - q)),
            Mutant("a baseline's factor", "alpha-zero", rhs=(1 - 1 / G) * gradient / M),
        ),
        check=CHECKS.get("aggregation.delta-l-unconditional"),
    )
