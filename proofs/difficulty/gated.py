"""Signal-to-noise ratio of a gradient that only successes give."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.difficulty.notation import half, p, paced, t, unit
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Integer, Real
from proofs.kernel.rules import MeanValue
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

SNR = "difficulty.success-gated-snr"
M, i, j = sp.symbols("M i j")
c, bound, later = sp.symbols("c B u")
alpha, f = sp.IndexedBase("alpha"), sp.IndexedBase("f")
gated = Domain(unit, Real(c, 0))


def moments(rate: sp.Expr, success: sp.Expr, failure: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Mean and variance of a gradient with two values."""
    mean = rate * success + (1 - rate) * failure
    variance = rate * (success - mean) ** 2 + (1 - rate) * (failure - mean) ** 2
    return mean, variance


def ratio(rate: sp.Expr) -> sp.Expr:
    """Mean over standard deviation of R·c, c > 0."""
    mean, variance = moments(rate, c, sp.Integer(0))
    return mean / sp.sqrt(variance)


def closed(rate: sp.Expr) -> sp.Expr:
    return sp.sqrt(rate / (1 - rate))


def growing(low: sp.Expr, high: sp.Expr) -> MeanValue:
    slope = 1 / (2 * sp.sqrt(t / (1 - t)) * (1 - t) ** 2)
    return MeanValue(closed(t), t, low, high, slope, "<")


def over(body: sp.Expr, index: sp.Symbol = i) -> sp.Sum:
    return sp.Sum(alpha[index] * body, (index, 1, M))


def success_gated_snr() -> Theorem:
    threshold = bound**2 / (1 + bound**2)
    above = Domain(Real(bound, 0), Real(p, threshold, 1))
    below = Domain(Real(bound, 0), Real(p, 0, threshold))
    two = Domain(unit, Real(later, p, 1))
    at_threshold = Step("B²/(1+B²) is where p/(1−p) = B²", "=", closed(threshold))

    # Correct responses of several scores: mean and spread of the score among them.
    several = Domain(Integer(M, 1, spread=3), unit, Array(alpha, (M,), law=True), Array(f, (M,)))
    centre = over(f[j], j)
    spread = over((f[i] - centre) ** 2)
    variance = p * over((f[i] - p * centre) ** 2) + (1 - p) * (p * centre) ** 2
    split = p * spread + p * (1 - p) * centre**2
    squared, limit = (p * centre) ** 2 * spread, p * centre**2 * variance

    # One logit with the success rate as baseline: g = (R − p)·(R − p).
    mean, with_baseline = moments(p, (1 - p) * (1 - p), p * p)

    def step(
        name: str, domain: Domain, claim: Claim, steps: tuple[Step, ...], words: str
    ) -> Clause:
        return Clause(name, domain, claim, Chain(steps), words)

    def equation(
        name: str, domain: Domain, lhs: sp.Expr, rhs: sp.Expr, text: str, words: str
    ) -> Clause:
        return step(name, domain, Claim(lhs, "=", rhs), (Step(text, "=", rhs),), words)

    by_slope: Any = "the slope of √(p/(1−p)) is positive"
    return Theorem(
        id=SNR,
        title="A gradient that only successes give has the signal-to-noise ratio √(p/(1−p))",
        words=(
            "If a success (probability p) gives the gradient c > 0 and a failure 0, mean over "
            "standard deviation is √(p/(1−p)): increasing in p, below any B > 0 for p < "
            "B²/(1+B²) and above it for larger p. So it vanishes at p → 0 only. If the gradients "
            "of successes have mean c and variance v, the variance is p v + p(1−p)c² and "
            "(mean)² v ≤ p c² (variance): it then vanishes at p → 1 as well if c²/v does. On one "
            "logit with baseline p, (mean)² (1−2p)² = p(1−p) (variance), which vanishes at both "
            "ends."
        ),
        assumptions=("One coordinate of the gradient of one rollout; failures give no gradient.",),
        clauses=(
            equation(
                "closed-form",
                gated,
                ratio(p),
                closed(p),
                "mean pc, variance p(1−p)c²",
                "SNR = √(p/(1−p)), for every c > 0",
            ),
            step(
                "increasing",
                two,
                Claim(closed(p), "<", closed(later)),
                (Step(by_slope, "<", closed(later), by=((1, growing(p, later)),)),),
                "p < u implies SNR(p) < SNR(u)",
            ),
            step(
                "exceeds",
                above,
                Claim(bound, "<", closed(p)),
                (
                    at_threshold,
                    Step(by_slope, "<", closed(p), by=((1, growing(threshold, p)),)),
                ),
                "B < SNR for p > B²/(1+B²)",
            ),
            step(
                "vanishes-at-zero",
                below,
                Claim(closed(p), "<", bound),
                (
                    Step(by_slope, "<", closed(threshold), by=((1, growing(p, threshold)),)),
                    Step("B²/(1+B²) is where p/(1−p) = B²", "=", bound),
                ),
                "SNR < B for p < B²/(1+B²)",
            ),
            equation(
                "spread-among-successes",
                several,
                variance,
                split,
                "within successes, and between success and failure",
                "variance = p v + p(1−p) c²",
            ),
            step(
                "bounded-by-spread",
                several,
                Claim(squared, "<=", limit),
                (Step("the variance is at least p v", "<=", limit),),
                "SNR² v ≤ p c²",
            ),
            equation(
                "with-baseline",
                Domain(unit),
                mean**2 * (1 - 2 * p) ** 2,
                p * (1 - p) * with_baseline,
                "mean p(1−p), variance p(1−p)(1−2p)²",
                "one logit, baseline p: SNR² = p(1−p)/(1−2p)²",
            ),
        ),
        references=(
            Reference("elementary", "", "mean and variance of a Bernoulli variable"),
            paced("abstract", "that the ratio vanishes at both ends"),
        ),
        mutants=(
            Mutant("√(p(1−p))", "closed-form", rhs=sp.sqrt(p * (1 - p))),
            Mutant("p/(1−p)", "closed-form", rhs=p / (1 - p)),
            Mutant("decreasing", "increasing", lhs=closed(later), rhs=closed(p)),
            Mutant("twice the bound", "exceeds", lhs=2 * bound),
            Mutant("at most half of B", "vanishes-at-zero", rhs=bound / 2),
            Mutant("no spread", "spread-among-successes", rhs=p * (1 - p) * centre**2),
            Mutant("half of it", "bounded-by-spread", rhs=limit / 2),
            Mutant(
                "as without a baseline",
                "with-baseline",
                lhs=mean**2 * (1 - p),
                rhs=p * with_baseline,
            ),
        ),
        check=CHECKS.get(SNR),
    )


def snr_vanishes() -> Theorem:
    beyond = Domain(Real(p, half, 1), Real(c, 0))
    even = moments(half, c, sp.Integer(0))
    at_half = even[0] / sp.sqrt(even[1])
    envelope = 2 * sp.sqrt(p * (1 - p)) * at_half
    witness = ((p, sp.Rational(4, 5)), (c, 1))
    return Theorem(
        id="difficulty.snr-vanishes",
        title="The signal-to-noise ratio of success-gated gradients does not vanish at p → 1",
        words=(
            "The claim that the gradient's signal-to-noise ratio vanishes at both ends fails where "
            "successes give one gradient and failures none: it does not come down again beyond p = "
            "1/2, but is √(p/(1−p)), 2 at p = 4/5, and exceeds every bound as p → 1. It holds "
            "under assumptions that are to be stated, such as gradients of the successes whose "
            "mean becomes small beside their spread, or a baseline on one logit."
        ),
        assumptions=(
            "g = R c: one coordinate, one rollout. The later version states the claim as an "
            "observation across problems, which this does not touch.",
        ),
        refutes=(
            Refutation(
                "falls-beyond-half",
                beyond,
                Claim(ratio(p), "<=", at_half),
                witness,
                "SNR(p) ≤ SNR(1/2) for p > 1/2: it comes down again",
            ),
            Refutation(
                "both-ends",
                Domain(unit, Real(c, 0)),
                Claim(ratio(p), "<=", envelope),
                witness,
                "SNR(p) ≤ 2√(p(1−p)) SNR(1/2): it vanishes at both ends as √(p(1−p)) does",
            ),
        ),
        references=(
            paced("abstract", "“provably vanishes at both pass-rate extremes”"),
            paced("abstract", "there an empirical bell curve across problems", "v3"),
        ),
        corrected_by=(SNR,),
        implements=("identity.difficulty.success_gated_snr",),
        mutants=(
            Mutant(
                "also false: below 3/2 of it", "falls-beyond-half", rhs=sp.Rational(3, 2) * at_half
            ),
            Mutant("also false: twice the envelope", "both-ends", rhs=2 * envelope),
            Mutant("also false: constant", "falls-beyond-half", relation="=", rhs=at_half),
        ),
        check=CHECKS.get("difficulty.snr-vanishes"),
    )
