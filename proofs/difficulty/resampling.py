"""PAFT: draws resampled by their weights; given the pool, its mean is GARL's estimate."""

from __future__ import annotations

import sympy as sp

from proofs.difficulty.notation import (
    ABOVE_ONE,
    BELOW_ONE,
    M,
    N,
    Y,
    i,
    law,
    over_draws,
    q,
    tsallis_paper,
    w,
    y,
)
from proofs.first_principles import CHECKS
from proofs.kernel.context import Context
from proofs.kernel.domain import Array, Domain, Draws, Integer, Real
from proofs.kernel.rules import Moments, Outcomewise, Square
from proofs.kernel.terms import SampleMean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

J, W, j, l = sp.symbols("J W j l")
s, omega, Z = map(sp.IndexedBase, ("s", "omega", "Z"))
exponent = Real(q, samples=(0, 1, *BELOW_ONE, *ABOVE_ONE[:3]))
pool = Domain(exponent, *law(Array(w, (N,), 0), Array(s, (N,))))

# Over the pool Y_1, …, Y_M: a draw has the weight w and the score s, and g = w s.
mean_w = over_draws(w[Y[i]]) / M
garl = (over_draws(w[Y[i]] * s[Y[i]]) / M) / mean_w**q
share = w[Y[j]] / over_draws(w[Y[l]], l)  # the probability of resampling draw j
single = mean_w ** (1 - q) * s[Y[j]]  # PAFT, if it is draw j
given_pool = over_draws(share * single, j)
second_moment = over_draws(share * single**2, j)
centre = over_draws(w[Y[i]] * s[Y[i]]) / over_draws(w[Y[i]])  # weighted mean of the scores
spread = mean_w ** (2 - 2 * q) * over_draws(share * (s[Y[j]] - centre) ** 2, j)


def resampled() -> tuple[Domain, sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
    """A given pool of M draws: J independent resamples from the law ω_i = w_i/W, W = Σ w."""
    domain = Domain(
        *(exponent, Integer(M, 1, spread=3), Integer(J, 1), Real(W, 0)),
        *(Array(s, (M,)), Array(omega, (M,), law=True), Draws(Z, J, omega)),
    )
    scale = (W / M) ** (1 - q)
    average = scale * sp.Sum(s[Z[j]], (j, 1, J)) / J
    of_garl = sp.Sum(W * omega[i] * s[i], (i, 1, M)) / M / (W / M) ** q
    return domain, average, of_garl, scale, sp.Sum(omega[i] * s[i], (i, 1, M))


def paft() -> Theorem:
    given, average, of_garl, scale, centre_of_pool = resampled()
    variance = scale**2 * sp.Sum(omega[l] * (s[l] - centre_of_pool) ** 2, (l, 1, M))
    mean, square = SampleMean(average), SampleMean(average**2)
    total, pooled = SampleMean(second_moment), SampleMean(garl**2)

    def by_moments(name: str, lhs: SampleMean, rhs: sp.Expr, text: str, words: str) -> Clause:
        rule = Moments(lhs, y)
        steps = (
            Step("independent resamples", "=", rule.value(Context(given)), by=(rule,)),
            Step(text, "=", rhs),
        )
        return Clause(name, given, Claim(lhs, "=", rhs), Chain(steps), words)

    def on_average(name: str, lhs: SampleMean, body: sp.Expr, words: str) -> Clause:
        step = Step("pool by pool", "=", SampleMean(body), by=(Outcomewise(lhs, body),))
        return Clause(name, pool, Claim(lhs, "=", step.expr), Chain((step,)), words)

    least = Step(
        "a sum of squares, each with its probability",
        "<=",
        of_garl**2 + variance / J,
        by=((scale**2 / J, Square(s[l] - centre_of_pool, weight=omega[l], over=((l, M),))),),
    )
    larger = Clause(
        "larger-variance",
        given,
        Claim(of_garl**2, "<=", least.expr),
        Chain((least,)),
        "GARL² ≤ E[PAFT² | pool]",
    )
    return Theorem(
        id="difficulty.paft",
        title="PAFT is GARL with the noise of resampling added",
        words=(
            "PAFT resamples a draw of the pool with probability w_j/Σw and takes w̄^(1−q) s_j. "
            "Given the pool its mean is GARL's estimate (Σ w s/M)/w̄^q, for every real q; so both "
            "have the same mean, hence the same bias. The average of J resamples adds, given the "
            "pool, 1/J of the variance of one: GARL² ≤ E[PAFT² | pool] in every pool, and with one "
            "resample E[PAFT²] = E[GARL²] + E[Var(PAFT | pool)]. So PAFT's variance is at least "
            "GARL's."
        ),
        assumptions=(
            "Pool: M independent draws from one law over finitely many values; w > 0. s is one "
            "coordinate of the score, and g = w s.",
            "Given the pool, resamples are independent, with probabilities ω_i = w_i/W, W = Σ w.",
        ),
        clauses=(
            by_moments(
                "given-pool",
                mean,
                of_garl,
                "(W/M)^(1−q) = (W/M)/(W/M)^q",
                "E[PAFT | pool] = GARL, for the average of J resamples",
            ),
            by_moments(
                "noise",
                square,
                of_garl**2 + variance / J,
                "squares and pairs",
                "E[PAFT² | pool] = GARL² + (variance of one resample)/J",
            ),
            larger,
            on_average("same-mean", SampleMean(given_pool), garl, "E[PAFT] = E[GARL]"),
            on_average(
                "total-variance",
                total,
                garl**2 + spread,
                "J = 1: E[PAFT²] = E[GARL² + Var(PAFT | pool)]",
            ),
        ),
        references=(tsallis_paper("the two estimators, PAFT by importance resampling"),),
        implements=("identity.difficulty.paft_estimate",),
        mutants=(
            Mutant("not attenuated", "given-pool", rhs=of_garl * (W / M) ** q),
            Mutant("attenuated by P^q", "given-pool", lhs=SampleMean(average * (W / M) ** q)),
            Mutant("no 1/J", "noise", rhs=of_garl**2 + variance),
            Mutant("resampled evenly", "same-mean", lhs=SampleMean(over_draws(single, j) / M)),
            Mutant("no variance added", "total-variance", rhs=pooled),
            Mutant("twice as large", "larger-variance", lhs=2 * of_garl**2),
        ),
        check=CHECKS.get("difficulty.paft"),
    )
