"""How many pairs are discarded: for one prompt, and over prompts."""

from __future__ import annotations

import sympy as sp

from proofs.expectation.methods import MIXED, mixed_share
from proofs.expectation.notation import G, rollouts
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Integer, Real
from proofs.kernel.rules import Instance, Square
from proofs.kernel.terms import RolloutMean
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
from proofs.preference.notation import N, i, p, paper, q, w

P = sp.IndexedBase("P")  # success probabilities of N prompts, drawn with the law w
r, l = sp.symbols("r l")
SILENT = "expectation.silent-rate"
both_wrong, both_right = RolloutMean(sp.Integer(1), 0, 0), RolloutMean(sp.Integer(1), G, G)
discarded = both_wrong + both_right  # Pr(equal rewards)
printed = 1 - p**2 - (1 - p) ** 2

two = rollouts(Integer(G, 2, 2))
prompts = Domain(
    Integer(N, 1, spread=4), Array(w, (N,), law=True), Array(P, (N,), 0, 1, False, False)
)
mean_P = sp.Sum(w[l] * P[l], (l, 1, N))
mean_rate = sp.Sum(w[i] * (P[i] ** 2 + (1 - P[i]) ** 2), (i, 1, N))
rate_at_mean = mean_P**2 + (1 - mean_P) ** 2
variance = sp.Sum(w[i] * (P[i] - mean_P) ** 2, (i, 1, N))
half, tenth = sp.Rational(1, 2), sp.Rational(1, 10)
tenths = ((N, 2), (w, (half, half)), (P, (tenth, 9 * tenth)))  # half .1, half .9

PAIR = "The two rewards of a pair are binary and independent, each 1 with probability p."
PLACE = paper("App. D.3", "P_discard; reconstructed")


def mean_discard_rate() -> Theorem:
    spread = 2 * variance
    each = Domain(Integer(N, 1, spread=4), Integer(r, 1, N), *prompts.declarations[1:])
    others = (1 - sp.KroneckerDelta(i, r)) * (P[i] - mean_P)
    own = 2 * w[r] * (P[r] - mean_P) ** 2
    return Theorem(
        id="preference.mean-discard-rate",
        title="Over prompts the discard rate is at least that of the mean prompt",
        words=(
            "Over prompts with the law w and success probabilities P_i the share of discarded "
            "pairs, the mean of P_i² + (1−P_i)², exceeds the value at the mean of P by 2 Var(P): "
            "it is at least that value, and equals it only if all P_i are equal."
        ),
        assumptions=(PAIR, "A finite law over prompts."),
        clauses=(
            Clause(
                "excess",
                prompts,
                Claim(mean_rate - rate_at_mean, "=", spread),
                Chain((Step("P² + (1−P)² = 1 − 2P + 2P²", "=", spread),)),
                words="mean rate − rate at the mean = 2 Var(P)",
            ),
            Clause(
                "at-least",
                prompts,
                Claim(rate_at_mean, "<=", mean_rate),
                Chain(
                    (
                        Step(
                            "2 Var(P) ≥ 0",
                            "<=",
                            mean_rate,
                            by=((2, Square(P[i] - mean_P, weight=w[i], over=((i, N),))),),
                        ),
                    )
                ),
            ),
            Clause(
                "each-prompt",
                each,
                Claim(own, "<=", mean_rate - rate_at_mean),
                Chain(
                    (
                        Step(
                            "the squares of all other prompts are non-negative",
                            "<=",
                            mean_rate - rate_at_mean,
                            by=((2, Square(others, weight=w[i], over=((i, N),))),),
                        ),
                    )
                ),
                words="if the excess is 0, then P_r is the mean, for every prompt r",
            ),
        ),
        references=(PLACE,),
        implements=("identity.preference.mean_discard_rate",),
        mutants=(
            Mutant("Var(P)", "excess", rhs=spread / 2),
            Mutant("at most", "at-least", lhs=mean_rate, rhs=rate_at_mean),
            Mutant("more by Var(P)", "at-least", lhs=rate_at_mean + 2 * spread),
            Mutant("without the weight", "each-prompt", lhs=own / w[r]),
        ),
        check=CHECKS["preference.mean-discard-rate"],
    )


def discard_rate() -> Theorem:
    return Theorem(
        id="preference.discard-rate",
        title="The share of discarded pairs is p² + (1−p)², not its complement",
        words=(
            "The formula 1 − r² − (1−r)² for the share of pairs that are discarded, r the success "
            "probability, is the share 2r(1−r) that is kept; p² + (1−p)² ≥ 1/2 are discarded. Nor "
            "may it be evaluated at the mean r̄ over prompts: if half of the prompts have .1 and "
            "half .9, the discarded share is .82, at the mean .50."
        ),
        assumptions=(PAIR, "A pair of equal rewards is discarded."),
        uses=(SILENT, MIXED),
        refutes=(
            Refutation(
                "printed",
                two,
                Claim(discarded, "=", printed),
                (
                    (G, 2),
                    (p, tenth),
                    (sp.Symbol("D"), 1),
                    (sp.Symbol("d"), 1),
                    (sp.IndexedBase("dp"), (1,)),
                ),
                "the discarded share is 1 − p² − (1−p)²",
            ),
            Refutation(
                "at-the-mean",
                prompts,
                Claim(mean_rate, "=", rate_at_mean),
                tenths,
                "the mean share over prompts is the share at their mean",
            ),
        ),
        clauses=(
            Clause(
                "rate",
                two,
                Claim(discarded, "=", p**2 + q**2),
                Chain(
                    (
                        Step(
                            "silent groups of two",
                            "=",
                            p**2 + q**2,
                            by=(Instance(SILENT, "rate"),),
                        ),
                    )
                ),
                words="Pr(equal rewards) = p² + (1−p)²",
            ),
            Clause(
                "kept",
                two,
                Claim(mixed_share, "=", printed),
                Chain((Step("mixed groups of two", "=", printed, by=(Instance(MIXED, "kept"),)),)),
                words="the printed formula is Pr(different rewards)",
            ),
            Clause(
                "at-least-half",
                Domain(Real(p, 0, 1)),
                Claim(half, "<=", p**2 + q**2),
                Chain(
                    (Step("(1 − 2p)²/2 ≥ 0", "<=", p**2 + q**2, by=((half, Square(1 - 2 * p)),)),)
                ),
                words="at least half of the pairs are discarded, whatever p is",
            ),
        ),
        references=(PLACE, Reference("folklore", "", "", "the rate at the mean")),
        implements=("identity.preference.discard_rate", "identity.preference.mean_discard_rate"),
        corrected_by=(SILENT, "preference.mean-discard-rate"),
        mutants=(
            Mutant("also false: one order of a mixed pair", "printed", rhs=p * q),
            Mutant("also false: more by Var(P)", "at-the-mean", rhs=rate_at_mean + variance),
            Mutant("only all wrong", "rate", rhs=q**2),
            Mutant("p(1−p)", "kept", rhs=p * q),
            Mutant("at least 2/3", "at-least-half", lhs=sp.Rational(2, 3)),
        ),
        check=CHECKS["preference.discard-rate"],
    )
