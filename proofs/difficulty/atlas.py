"""Every method as a weight on ∇p: the function that it ascends, its slope, its mass on a logit."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.difficulty.notation import (
    attempts,
    log_q,
    logistic,
    n,
    p,
    paced,
    q,
    shaping,
    slope_clause,
    t,
    tsallis,
    tsallis_paper,
    unit,
)
from proofs.expectation.notation import Dp, G, R, d, i, mean, mu, rollouts, s, sizes, weight
from proofs.expectation.notation import total as over_group
from proofs.expectation.weight import BINARY, ON_POLICY, SEQUENCE
from proofs.first_principles import CHECKS
from proofs.groups.notation import leave_one_out
from proofs.kernel.context import Context
from proofs.kernel.domain import Domain, Integer, Real
from proofs.kernel.rules import BinomialMoments, Instance, Linear, MeanValue, Tower
from proofs.kernel.terms import RolloutMean, binomial_mean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

k, z = sp.symbols("k z")
SCORES, RLOO, DR, ARCSINE = (
    f"expectation.{name}" for name in ("score-means", "rloo", "dr-grpo", "arcsine")
)
logit = Real(t)
at_logit = {p: logistic}
both = sp.sqrt(p * (1 - p))
solved = 1 - (1 - p) ** n  # pass@K, K = n


# -- E[g] of the estimators that ascend p ----------------------------------------------------------


def _reinforce() -> Clause:
    domain = rollouts(Integer(G, 1, spread=3))
    lhs = RolloutMean(mean(R[i] * s[i, d]), 0, G)
    counted = Tower(lhs, k).value(Context(domain))
    first = binomial_mean(k, k, G, p)
    factor = Dp[d] / (G * p)
    steps = (
        Step("given the rewards, scores have their conditional means", "=", counted, by=(Tower(lhs, k),)),
        Step("k of them", "=", factor * first, by=(Linear(counted, ((factor, first.function),)),)),
        Step("E[K] = Gp", "=", Dp[d], by=(BinomialMoments(k, G, p, k),)),
    )
    return Clause("reinforce", domain, Claim(lhs, "=", Dp[d]), Chain(steps), "w = 1")


def _from(name: str, theorem: str, clause: str, lhs: sp.Expr, rhs: sp.Expr, words: str) -> Clause:
    """What a theorem on finite groups says, as a line of the atlas."""
    step = Step("by that theorem", "=", rhs, by=(Instance(theorem, clause),))
    return Clause(name, rollouts(), Claim(lhs, "=", rhs), Chain((step,)), words)


def _limit() -> tuple[Clause, Clause]:
    """GRPO's weight W_G between its limit 1/√(p(1−p)) and (1 − 1/(2Gp(1−p))) times that."""
    most, fewer = 1 / both, (1 - 1 / (2 * G * p * (1 - p))) / both

    def clause(name: str, claim: Claim, side: str, words: str) -> Clause:
        by = ((1 / both, Instance(ARCSINE, side)),)
        return Clause(name, sizes, claim, Chain((Step(ARCSINE, "<=", claim.rhs, by=by),)), words)

    return (
        clause("grpo-above", Claim(weight(), "<=", most), "above", "W_G ≤ 1/√(p(1−p))"),
        clause(
            "grpo-below",
            Claim(fewer, "<=", weight()),
            "below",
            "(1 − 1/(2Gp(1−p)))/√(p(1−p)) ≤ W_G",
        ),
    )


# -- functions of p, their slopes and their mass ---------------------------------------------------


def _pair(name: str, ascended: sp.Expr, w: sp.Expr, words: str, more: tuple[Any, ...] = ()) -> tuple[Clause, Clause]:
    """F' = w, and the slope by the logit: w·p(1−p) there."""
    mass = sp.Derivative(ascended.xreplace(at_logit), t)
    closed = (w * p * (1 - p)).xreplace(at_logit)
    return (
        slope_clause(name, Domain(*more, unit), sp.Derivative(ascended, p), w, f"F = {words}"),
        slope_clause(
            f"{name}-mass", Domain(*more, logit), mass, closed, "the slope of F by the logit t"
        ),
    )
