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
    law_of,
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


def resampled() -> tuple[Domain, sp.Expr, sp.Expr, sp.Expr]:
    """A given pool of M draws: J independent resamples from the law ω_i = w_i/W, W = Σ w."""
    domain = Domain(
        *(exponent, Integer(M, 1, spread=3), Integer(J, 1), Real(W, 0)),
        *(Array(s, (M,)), Array(omega, (M,), law=True), Draws(Z, J, omega)),
    )
    scale = (W / M) ** (1 - q)
    average = scale * sp.Sum(s[Z[j]], (j, 1, J)) / J
    of_garl = sp.Sum(W * omega[i] * s[i], (i, 1, M)) / M / (W / M) ** q
    mean = sp.Sum(omega[i] * s[i], (i, 1, M))
    variance = scale**2 * sp.Sum(omega[l] * (s[l] - mean) ** 2, (l, 1, M))
    return domain, average, of_garl, variance


def paft() -> Theorem:
    given, average, of_garl, variance = resampled()
    mean, square = SampleMean(average), SampleMean(average**2)
    total, pooled = SampleMean(second_moment), SampleMean(garl**2)

    def by_moments(name: str, lhs: SampleMean, rhs: sp.Expr, text: str, words: str) -> Clause:
        rule = Moments(lhs, y)
        steps = (
            Step("independent resamples", "=", rule.value(Context(given)), by=(rule,)),
            Step(text, "=", rhs),
        )
        return Clause(name, given, Claim(lhs, "=", rhs), Chain(steps), words)

    def on_average(
        name: str, lhs: SampleMean, relation: str, body: sp.Expr, rule: Outcomewise, words: str
    ) -> Clause:
        rhs = SampleMean(body)
        by = ((1, rule),) if relation == "<=" else (rule,)
        step = Step("pool by pool", relation, rhs, by=by)
        return Clause(name, pool, Claim(lhs, relation, rhs), Chain((step,)), words)

    jensen = Step(
        "a mean of squares less the squared mean is a sum of squares",
        "<=",
        second_moment,
        by=((1, Square(single - garl, weight=share, over=((j, M),))),),
    )
    return Theorem(
        id="difficulty.paft",
        title="PAFT is GARL with the noise of resampling added",
        words=(
            "PAFT resamples a draw of the pool with probability w_j/Σw and takes w̄^(1−q) s_j. "
            "Given the pool its mean is GARL's estimate (Σ w s/M)/w̄^q, for every real q; so both "
            "have the same mean, hence the same bias. The average of J resamples has, given the "
            "pool, 1/J of the variance of one, and E[PAFT²] = E[GARL²] + E[that variance]: PAFT's "
            "variance is at least GARL's."
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
            on_average(
                "same-mean",
                SampleMean(given_pool),
                "=",
                garl,
                Outcomewise(SampleMean(given_pool), garl),
                "E[PAFT] = E[GARL]",
            ),
            on_average(
                "total-variance",
                total,
                "=",
                garl**2 + spread,
                Outcomewise(total, garl**2 + spread),
                "J = 1: E[PAFT²] = E[GARL² + Var(PAFT | pool)]",
            ),
            on_average(
                "larger-variance",
                pooled,
                "<=",
                second_moment,
                Outcomewise(pooled, second_moment, "<=", (jensen,)),
                "J = 1: E[GARL²] ≤ E[PAFT²]",
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
            Mutant("smaller variance", "larger-variance", lhs=total, rhs=pooled),
        ),
        check=CHECKS.get("difficulty.paft"),
    )
