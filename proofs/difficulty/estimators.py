"""GARL, an estimate of Tsallis' gradient from M latent draws: a ratio, whose bias is expanded."""

from __future__ import annotations

import sympy as sp

from proofs.difficulty.expansion import IDS, POINTS, rising
from proofs.difficulty.expansion import c as least
from proofs.difficulty.expansion import factor as number
from proofs.difficulty.expansion import scale as size
from proofs.difficulty.expansion import x as at
from proofs.difficulty.notation import (
    M,
    N,
    Y,
    g,
    i,
    law,
    law_mean,
    over_draws,
    q,
    tsallis_paper,
    w,
    y,
)
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Real
from proofs.kernel.rules import Instance, LinearMean, Moments, Outcomewise
from proofs.kernel.terms import SampleMean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

m = sp.Symbol("m")
v = sp.IndexedBase("v")
FINITE = "latent draws Y_i are independent, from one law p over finitely many values"
SIGN = (
    "g is one coordinate of the loss gradient, E[g] = P∇ℓ₁ = −∇P with ℓ₁ = −log P, and ∇ℓ_q = "
    "P^(1−q)∇ℓ₁ is what is estimated; for ascent both change sign"
)

# The weights are w = m + v with v ≥ 0: the kernel sees that w̄ ≥ m draw by draw.
mean_g, mean_v = law_mean(lambda k: g[k]), law_mean(lambda k: v[k])
P = m + mean_v
D = over_draws(g[Y[i]] - mean_g) / M  # mean of g less E[g]
u = over_draws(v[Y[i]] - mean_v) / (M * P)  # w̄/P − 1
estimate = (over_draws(g[Y[i]]) / M) / (over_draws(m + v[Y[i]]) / M) ** q
target = mean_g / P**q


def moment(a: int, b: int) -> sp.Sum:
    """E (g − E g)^a (w − P)^b."""
    return law_mean(lambda k: (g[k] - mean_g) ** a * (v[k] - mean_v) ** b, y)


def leading(spread: int = 1, covariance: int = -1) -> sp.Expr:
    gradient = mean_g / P  # ∇ℓ₁
    inner = spread * (q + 1) / 2 * gradient * moment(0, 2) + covariance * moment(1, 1)
    return q / (M * P ** (q + 1)) * inner


def second() -> sp.Expr:
    inner = moment(1, 2) - (q + 2) / 3 * mean_g / P * moment(0, 3)
    return q * (q + 1) / (2 * M**2 * P ** (q + 2)) * inner


# E of D²(w̄ − P)² and of (w̄ − P)⁴, times M³.
MIXED = moment(2, 2) + (M - 1) * (moment(2, 0) * moment(0, 2) + 2 * moment(1, 1) ** 2)
PURE = moment(0, 4) + 3 * (M - 1) * moment(0, 2) ** 2


def rest() -> sp.Expr:
    third = rising(3) * (P / m) ** (q + 3) * (MIXED / (size * P**2) + size * PURE / P**4)
    fourth = rising(4) * (P / m) ** (q + 4) * (mean_g**2 / size + size) * PURE / P**4
    return (third + fourth) / (2 * M**3 * P**q)


Part = tuple[sp.Expr, sp.Expr, sp.Expr]  # coefficient, product of D and u, its mean


def parts() -> tuple[Part, ...]:
    """Of the polynomial that bounds the estimate from above."""
    zero, V, C = sp.Integer(0), moment(0, 2), moment(1, 1)
    third = rising(3) * (m / P) ** (-q - 3) / 2
    fourth = rising(4) * (m / P) ** (-q - 4) / 2 * (mean_g**2 / size + size)
    means_of_u = (sp.Integer(1), zero, V / (M * P**2), moment(0, 3) / (M**2 * P**3))
    means_with_D = (zero, C / (M * P), moment(1, 2) / (M**2 * P**2))
    found = [(mean_g * (-1) ** k * rising(k), u**k, mean) for k, mean in enumerate(means_of_u)]
    found += [((-1) ** k * rising(k), D * u**k, mean) for k, mean in enumerate(means_with_D)]
    found += [(third / size, D**2 * u**2, MIXED / (M**3 * P**2))]
    found += [(third * size + fourth, u**4, PURE / (M**3 * P**4))]
    return tuple((P ** (-q) * coefficient, product, mean) for coefficient, product, mean in found)


def _by_moments(found: tuple[Part, ...]) -> tuple[sp.Expr, tuple[Step, ...]]:
    """The polynomial's mean, its products replaced by their moments: those of few factors first."""
    terms = [coefficient * SampleMean(product) for coefficient, product, _ in found]
    start, steps = sp.Add(*terms), []
    for text, lines in (
        ("first and second", (0, 1, 2, 4, 5)),
        ("third", (3, 6)),
        ("fourth", (7, 8)),
    ):
        rules = tuple(Moments(SampleMean(found[k][1]), y) for k in lines)
        for k in lines:
            terms[k] = found[k][0] * found[k][2]
        steps.append(Step(f"{text} moments of independent draws", "=", sp.Add(*terms), by=rules))
    return start, tuple(steps)


def _bound(domain: Domain) -> Clause:
    found = parts()
    body = sp.Add(*(coefficient * product for coefficient, product, _ in found))
    mean, mean_estimate = SampleMean(body), SampleMean(estimate)
    linear = LinearMean(mean, tuple((coefficient, product) for coefficient, product, _ in found))
    start, steps = _by_moments(found)
    closed = target + leading() + second() + rest()

    def instance(order: int, value: sp.Expr) -> tuple[sp.Expr, Instance]:
        terms = ((at, 1 + u), (least, m / P), (number, value), (size, size))
        return P ** (-q), Instance(IDS[order], "bound", terms)

    text = "Taylor's polynomials at w̄/P, draw by draw"
    by = (instance(2, D), instance(3, mean_g))
    rule = Outcomewise(mean_estimate, body, "<=", (Step(text, "<=", body, by=by),))
    chain = (
        Step(text, "<=", mean, by=((1, rule),)),
        Step("power by power", "=", start, by=(linear,)),
        *steps,
        Step("collect", "=", closed),
    )
    words = "for every g, so that with −g for g it bounds the mean from below"
    return Clause("bound", domain, Claim(mean_estimate, "<=", closed), Chain(chain), words)


def _exact() -> Clause:
    """q = 1: the bias is a covariance of the estimate with its own denominator."""
    mean_w = law_mean(lambda k: w[k])
    top, bottom = over_draws(g[Y[i]]) / M, over_draws(w[Y[i]]) / M
    ratio = top / bottom
    product = SampleMean(ratio * (bottom - mean_w))
    value = law_mean(lambda k: g[k]) / mean_w - product / mean_w
    before = SampleMean(top) / mean_w - product / mean_w
    steps = (
        Step(
            "ratio times denominator is the numerator",
            "=",
            before,
            by=(LinearMean(product, ((1, top), (-mean_w, ratio))),),
        ),
        Step("the mean of one draw", "=", value, by=(Moments(SampleMean(top), y),)),
    )
    words = "q = 1: E[ĝ] − ∇ℓ₁ = −E[ĝ (w̄ − P)]/P"
    domain = Domain(*law(Array(w, (N,), 0), Array(g, (N,))))
    return Clause("ratio", domain, Claim(SampleMean(ratio), "=", value), Chain(steps), words)


def garl_bias() -> Theorem:
    exponent = Real(q, 0, samples=POINTS)
    domain = Domain(
        exponent, *law(Real(m, 0), Array(v, (N,), 0, open_low=False), Real(size, 0), Array(g, (N,)))
    )
    above, exact = _bound(domain), _exact()
    return Theorem(
        id="difficulty.garl-bias",
        title="GARL's bias is of order 1/M, with an explicit remainder",
        words=(
            "GARL's estimate ĝ = ḡ/w̄^q, from the means of g_i and of w_i ≥ m > 0 over M draws, has "
            "the mean E[ĝ] = ∇ℓ_q + (q/(M P^(q+1)))[((q+1)/2)∇ℓ₁ Var(w) − Cov(g, w)] + "
            "(q(q+1)/(2M² P^(q+2)))[E(g−Eg)(w−P)² − ((q+2)/3)∇ℓ₁ E(w−P)³] up to an explicit bound "
            "of order 1/M², for every real q > 0, where P = E[w], ∇ℓ₁ = E[g]/P and ∇ℓ_q = "
            "P^(1−q)∇ℓ₁. At q = 1 its bias is exactly −E[ĝ(w̄ − P)]/P."
        ),
        assumptions=(
            FINITE,
            SIGN,
            "Weights are at least m > 0, written w = m + v. The bound has (P/m)^(q+3) and "
            "(P/m)^(q+4); λ > 0 may be any number, such as |E g|.",
        ),
        uses=IDS[2:],
        clauses=(above, exact),
        references=(
            tsallis_paper("Theorem 6.1", "the leading term, as we read it; the remainder is ours"),
            Reference("folklore", "", "bias of the ratio estimator", "see aggregation.*"),
        ),
        implements=("identity.difficulty.garl_estimate",),
        mutants=(
            Mutant("unbiased", "bound", rhs=target),
            Mutant(
                "covariance of the other sign",
                "bound",
                rhs=target + leading(covariance=1) + second() + rest(),
            ),
            Mutant(
                "only the covariance", "bound", rhs=target + leading(spread=0) + second() + rest()
            ),
            Mutant(
                "at q = 1 unbiased",
                "ratio",
                rhs=law_mean(lambda k: g[k]) / law_mean(lambda k: w[k]),
            ),
        ),
        check=CHECKS.get("difficulty.garl-bias"),
    )
