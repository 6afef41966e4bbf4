"""Rewards that are any real numbers: the step is a regression slope."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.groups.notation import (
    R,
    contrast,
    i,
    mean,
    mixed,
    mu,
    paper,
    real_any,
    real_spread,
    s,
    sigma,
    total,
    update,
    variance,
)
from proofs.kernel.domain import COORDINATE, D
from proofs.kernel.rules import Square, Termwise
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

d = COORDINATE
e, h = sp.symbols("e h")


def slope(at: sp.Symbol = d) -> sp.Expr:
    """β̂: least-squares slope of a score coordinate on the reward."""
    return total((R[h] - mu) * s[h, at], h) / total((R[h] - mu) ** 2, h)


def real_rewards() -> Theorem:
    g = update((R[i] - mu) / sigma)
    s_bar = mean(s[h, d], h)
    spread = mean((s[i, d] - s_bar) ** 2)
    residual = s[i, d] - s_bar - slope() * (R[i] - mu)
    there = {d: e}
    norm, bound = (
        sp.Sum((g**2).xreplace(there), (e, 1, D)),
        sp.Sum(spread.xreplace(there), (e, 1, D)),
    )
    return Theorem(
        id="groups.real-rewards",
        title="For any rewards a GRPO step is σ times a regression slope",
        words=(
            "For real rewards with σ > 0: g = σ β̂, β̂ the least-squares slope of the scores on the "
            "reward; ‖g‖² ≤ (1/G) Σ ‖s_i − s̄‖², and the gap is the mean squared residual, so "
            "equality holds iff the scores are affine in R. For binary rewards β̂ = Δs."
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
        ),
        check=CHECKS.get("groups.real-rewards"),
    )


def MeanSquare(root: sp.Expr) -> Square:  # a rule with its 1/G inside the root's square
    from proofs.groups.notation import G

    return Square(root / sp.sqrt(G), i)
