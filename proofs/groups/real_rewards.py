"""Rewards that are any real numbers: the step is a regression slope."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.groups.notation import (
    G,
    R,
    contrast,
    i,
    mean,
    mixed,
    mu,
    paper,
    r,
    real_any,
    real_spread,
    rollout,
    s,
    sigma,
    total,
    update,
    variance,
)
from proofs.kernel.domain import COORDINATE, D, Domain, Real
from proofs.kernel.rules import Square, Termwise
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

d = COORDINATE
c, h, x, y = sp.symbols("c h x y")


def slope(at: sp.Symbol = d) -> sp.Expr:
    """β̂: least-squares slope of a score coordinate on the reward."""
    return total((R[h] - mu) * s[h, at], h) / total((R[h] - mu) ** 2, h)


def squared_residual(score: sp.Expr) -> sp.Expr:
    """Mean squared residual of scores that are given by R[i]."""
    there = score.xreplace({i: h})
    fit = total((R[h] - mu) * there, h) / total((R[h] - mu) ** 2, h)
    return mean((score - mean(there, h) - fit * (R[i] - mu)) ** 2)


def real_rewards() -> Theorem:
    g = update((R[i] - mu) / sigma)
    s_bar = mean(s[h, d], h)
    spread = mean((s[i, d] - s_bar) ** 2)
    residual = s[i, d] - s_bar - slope() * (R[i] - mu)
    at_r = residual.xreplace({i: r})
    others = (1 - sp.KroneckerDelta(i, r)) * residual  # the residuals of all rollouts but r
    line = x + y * R[i]
    line_residual = squared_residual(line)
    with_r = Domain(*real_spread.declarations[:3], rollout, *real_spread.declarations[3:])
    affine = Domain(*real_spread.declarations[:3], Real(x), Real(y), *real_spread.declarations[3:])
    there = {d: c}
    norm, bound = (
        sp.Sum((g**2).xreplace(there), (c, 1, D)),
        sp.Sum(spread.xreplace(there), (c, 1, D)),
    )
    return Theorem(
        id="groups.real-rewards",
        title="For any rewards a GRPO step is σ times a regression slope",
        words=(
            "For real rewards with σ > 0: g = σ β̂, β̂ the least-squares slope of the scores on the "
            "reward; ‖g‖² ≤ (1/G) Σ ‖s_i − s̄‖², and the gap is the mean squared residual. It is at "
            "least 1/G times each squared residual, and scores affine in R have none, so equality "
            "holds iff the scores are affine in R. For binary rewards with 0 < k < G β̂ = Δs."
        ),
        clauses=(
            Clause(
                "slope",
                real_spread,
                Claim(g, "=", sigma * slope()),
                Chain((Step("Σ(R_i−μ)² = Gσ²", "=", sigma * slope()),)),
            ),
            Clause(
                "gap",
                real_spread,
                Claim(spread - g**2, "=", mean(residual**2)),
                Chain((Step("expand the residual in moments of R and s", "=", mean(residual**2)),)),
            ),
            Clause(
                "each-residual",
                with_r,
                Claim(at_r**2 / G, "<=", spread - g**2),
                Chain(
                    (
                        Step(
                            "the other squared residuals are non-negative",
                            "<=",
                            spread - g**2,
                            by=((1, MeanSquare(others)),),
                        ),
                    )
                ),
                words="if the gap is 0, then so is every residual: the scores are affine in R",
            ),
            Clause(
                "affine",
                affine,
                Claim(line_residual, "=", 0),
                Chain((Step("the line fits itself", "=", 0),)),
                words="scores x + yR_i have no residual: the gap is 0",
            ),
            Clause(
                "norm",
                real_spread,
                Claim(norm, "<=", bound),
                Chain(
                    (
                        Step(
                            "coordinate by coordinate, the gap being a mean of squares",
                            "<=",
                            bound,
                            by=(
                                (
                                    1,
                                    Termwise(
                                        norm,
                                        bound.function,
                                        "<=",
                                        steps=(
                                            Step(
                                                "Cauchy–Schwarz as a sum of squares",
                                                "<=",
                                                bound.function,
                                                by=((1, MeanSquare(residual.xreplace(there))),),
                                            ),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                    )
                ),
            ),
            Clause(
                "binary",
                mixed,
                Claim(slope(), "=", contrast),
                Chain((Step("R_i² = R_i, Σ R_i = k", "=", contrast),)),
            ),
        ),
        references=(paper("§7", "listed there as open; the result is new here"),),
        implements=(
            "identity.groups.regression_slope",
            "identity.groups.grpo_advantages",
            "identity.groups.group_update",
        ),
        mutants=(
            Mutant("variance for standard deviation", "slope", rhs=variance * slope()),
            Mutant("equal rewards allowed", "slope", domain=real_any),
            Mutant("half the bound", "norm", rhs=bound / 2),
            Mutant("uncentred bound as gap", "gap", lhs=mean(s[i, d] ** 2) - g**2),
            Mutant("without 1/G", "each-residual", lhs=at_r**2),
            Mutant("half the contrast", "binary", rhs=contrast / 2),
            Mutant("scores quadratic in R", "affine", lhs=squared_residual(line + R[i] ** 2)),
        ),
        check=CHECKS.get("groups.real-rewards"),
    )


def MeanSquare(root: sp.Expr) -> Square:  # a rule with its 1/G inside the root's square
    return Square(root / sp.sqrt(G), i)
