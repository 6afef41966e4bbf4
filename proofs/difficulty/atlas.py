"""Every method as a weight on ∇p: the function that it ascends, its slope, its mass on a logit."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.difficulty.notation import (
    BELOW_ONE,
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
logit = Real(t, samples=tuple(sp.Rational(j, 2) for j in range(-8, 9)))
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
        Step(
            "given the rewards, scores have their conditional means",
            "=",
            counted,
            by=(Tower(lhs, k),),
        ),
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


def _method(
    name: str, ascended: sp.Expr, w: sp.Expr, words: str, more: tuple[Any, ...] = ()
) -> tuple[Clause, Clause]:
    """F' = w, and the slope of F by the logit: w·p(1−p) there."""
    mass = sp.Derivative(ascended.xreplace(at_logit), t)
    closed = (w * p * (1 - p)).xreplace(at_logit)
    text = "mass: the slope of F by the logit t, at p = 1/(1 + e^(−t))"
    return (
        slope_clause(name, Domain(*more, unit), sp.Derivative(ascended, p), w, f"F = {words}"),
        slope_clause(f"{name}-mass", Domain(*more, logit), mass, closed, text),
    )


def _on_pass_at_k() -> Clause:
    """GRPO whose reward is a success among n attempts: large groups ascend 2 arcsin √P, P = pass@n.

    The factor 1/n is that of the source, as we read it.
    """
    ascended = sp.Derivative(2 / n * sp.asin(sp.sqrt(solved)), p)
    closed = n * (1 - p) ** (n - 1) / (n * sp.sqrt(solved * (1 - solved)))
    # Where a positive probability is needed: 1 − (1 − p)^n > 0, by its slope along z·p.
    mixed = MeanValue(1 - (1 - p * z) ** n, z, 0, 1, n * p * (1 - p * z) ** (n - 1), "<")
    words = "F = (2/n) arcsin √P: w = (1/n)(dP/dp)/√(P(1−P)), P = 1 − (1−p)^n"
    return slope_clause("grpo-pass-at-k", Domain(attempts, unit), ascended, closed, words, (mixed,))


def atlas() -> Theorem:
    rloo = RolloutMean(mean((R[i] - leave_one_out(i)) * s[i, d]), 0, G)
    dr_grpo = RolloutMean(mean((R[i] - mu) * s[i, d]), 0, G)
    below = Real(q, None, 1, samples=(-2, -1, 0, *BELOW_ONE))
    odds = sp.log(p / (1 - p))
    deformed = "(p^(1−q) − 1)/(1 − q)"
    kinds = (
        _method("success", p, sp.Integer(1), "p: REINFORCE, RLOO, Dr. GRPO")[1:],
        _method("grpo", 2 * sp.asin(sp.sqrt(p)), 1 / both, "2 arcsin √p: GRPO, large groups"),
        _method("log", sp.log(p), 1 / p, "log p: log-likelihood"),
        _method("log-odds", odds, 1 / (p * (1 - p)), "log(p/(1−p)): DPO, one mixed pair a prompt"),
        _method("tsallis-small", log_q(p), p ** (-q), f"{deformed}, q < 1", (below,)),
        _method("tsallis-large", log_q(p), p ** (-q), f"{deformed}, q > 1", (tsallis(False),)),
        _method("pass-at-k", solved, n * (1 - p) ** (n - 1), "1 − (1−p)^n", (attempts,)),
    )
    return Theorem(
        id="difficulty.atlas",
        title="Every method is a weight on ∇p",
        words=(
            "E[g] = w ∇p with w = 1 for REINFORCE and RLOO, (G−1)/G for Dr. GRPO, and W_G for "
            "GRPO, between 1 − 1/(2Gp(1−p)) and 1 times 1/√(p(1−p)). A function F of p is "
            "ascended with the weight F': 1/√(p(1−p)) for 2 arcsin √p, 1/p for log p, p^(−q) for "
            "Tsallis' logarithm, q ≠ 1, 1/(p(1−p)) for the log-odds, K(1−p)^(K−1) for pass@K = 1 − "
            "(1−p)^K, and (1/K) P'/√(P(1−P)), P = pass@K, for (2/K) arcsin √P. On a logit prompt "
            "the slope of F is its mass w·p(1−p): √(p(1−p)) for 2 arcsin √p, p(1−p) for p: both "
            "Beta kernels."
        ),
        assumptions=(
            ON_POLICY,
            SEQUENCE,
            BINARY,
            "K = n in the formulas. That DPO with one mixed pair for each prompt ascends β/2 times "
            "the log-odds is part of preference.prompt-level.",
        ),
        uses=(SCORES, RLOO, DR, ARCSINE),
        clauses=(
            _reinforce(),
            _from("rloo", RLOO, "update", rloo, Dp[d], "w = 1"),
            _from("dr-grpo", DR, "update", dr_grpo, (G - 1) / G * Dp[d], "w = (G−1)/G"),
            *_limit(),
            *(clause for kind in kinds for clause in kind),
            _on_pass_at_k(),
        ),
        references=(
            paced("the weight p(1−p)"),
            tsallis_paper("the loss family"),
            shaping("GRPO on pass@K and its surrogate"),
            Reference("arXiv 2607.00152", "", "§3", "GRPO's difficulty weight"),
        ),
        implements=("identity.difficulty.difficulty_weight",),
        mutants=(
            Mutant(
                "a sum for the mean", "reinforce", lhs=RolloutMean(over_group(R[i] * s[i, d]), 0, G)
            ),
            Mutant("Dr. GRPO has weight 1", "dr-grpo", rhs=Dp[d]),
            Mutant("W_G is 1/√(p(1−p))", "grpo-above", relation="="),
            Mutant("arcsine without the 2", "grpo", lhs=sp.Derivative(sp.asin(sp.sqrt(p)), p)),
            Mutant("mass p(1−p) for GRPO", "grpo-mass", rhs=(p * (1 - p)).xreplace(at_logit)),
            Mutant("p^(1−q)", "tsallis-small", rhs=p ** (1 - q)),
            Mutant("1/p for the log-odds", "log-odds", rhs=1 / p),
            Mutant("K(1−p)^K", "pass-at-k", rhs=n * (1 - p) ** n),
            Mutant(
                "without 1/K",
                "grpo-pass-at-k",
                lhs=sp.Derivative(2 * sp.asin(sp.sqrt(solved)), p),
            ),
        ),
        check=CHECKS.get("difficulty.atlas"),
    )
