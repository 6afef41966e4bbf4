"""What an advantage does not see: shifts of the rewards, and for GRPO positive factors."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.groups.notation import (
    G,
    R,
    contrast,
    i,
    j,
    k,
    leave_one_out,
    mean,
    mixed,
    mu,
    paper,
    r,
    real_any,
    real_spread,
    rollout,
    sigma,
    update,
)
from proofs.kernel.domain import Domain, Real
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

b, c = sp.symbols("b c")


def advantage(index: sp.Symbol, scale: sp.Expr, shift: sp.Expr) -> sp.Expr:
    """(R'_i − μ')/σ' of the rewards R' = scale·R + shift, from the definition."""
    inner = sp.Symbol("l")
    mu_ = mean(scale * R[inner] + shift, inner)
    sigma_ = sp.sqrt(mean((scale * R[j] + shift - mu_) ** 2, j))
    return (scale * R[index] + shift - mu_) / sigma_


def moved(index: sp.Symbol) -> sp.Expr:
    """R'_i = cR_i + b."""
    return c * R[index] + b


def _affine(*scale: Real, group: Domain = real_spread) -> Domain:
    return Domain(*group.declarations[:3], rollout, Real(b), *scale, *group.declarations[3:])


def baseline_invariance() -> Theorem:
    plain = (R[r] - mu) / sigma
    up = _affine(Real(c, 0))
    down = _affine(Real(c, None, 0))
    two_valued = Domain(*mixed.declarations[:-1], Real(b), Real(c, 0), mixed.declarations[-1])
    closed = sp.sqrt(k * (G - k)) / G * contrast
    inner, other = sp.symbols("l m")
    moved_mean = mean(moved(inner), inner)
    moved_std = sp.sqrt(mean((moved(j) - moved_mean) ** 2, j))
    others = sp.Sum((1 - sp.KroneckerDelta(r, other)) * moved(other), (other, 1, G)) / (G - 1)
    any_scale = _affine(Real(c), group=real_any)
    dr, rl = c * (R[r] - mu), c * (R[r] - leave_one_out(r))
    return Theorem(
        id="groups.baseline-invariance",
        title="GRPO does not see shifts and positive scalings of the rewards",
        words=(
            "Adding any constant to all rewards leaves GRPO's A and g unchanged; R → cR + b leaves "
            "A unchanged for c > 0 and flips its sign for c < 0. So rewards {b, b + c} with c > 0 "
            "give the step of their 0/1 verdicts, g = σ Δs with σ = √(k(G−k))/G the deviation of "
            "the verdicts; in the rewards' own σ' = cσ it is σ' Δs/c. The advantages of Dr. GRPO "
            "and RLOO do not see shifts either, but are multiplied by c."
        ),
        assumptions=(
            "GRPO: σ > 0, and nothing is added to σ (a positive ε breaks the scaling part).",
        ),
        clauses=(
            Clause(
                "shift",
                _affine(),
                Claim(advantage(r, sp.Integer(1), b), "=", plain),
                Chain((Step("b cancels in R'_i − μ' and in every deviation of σ'", "=", plain),)),
            ),
            Clause(
                "shift-update",
                Domain(*real_any.declarations[:3], Real(b), *real_spread.declarations[3:]),
                Claim(update(advantage(i, sp.Integer(1), b)), "=", update((R[i] - mu) / sigma)),
                Chain(
                    (Step("the same, summed with the scores", "=", update((R[i] - mu) / sigma)),)
                ),
            ),
            Clause(
                "scale-up",
                up,
                Claim(advantage(r, c, b), "=", plain),
                Chain((Step("√c² = c for c > 0", "=", plain),)),
            ),
            Clause(
                "scale-down",
                down,
                Claim(advantage(r, c, b), "=", -plain),
                Chain((Step("√c² = −c for c < 0", "=", -plain),)),
            ),
            Clause(
                "two-valued",
                two_valued,
                Claim(update(advantage(i, c, b)), "=", closed),
                Chain((Step("binary R, rewards b and b + c", "=", closed),)),
                words="g of rewards b + cR is the g of the verdicts R",
            ),
            Clause(
                "own-std",
                two_valued,
                Claim(update(advantage(i, c, b)), "=", moved_std * contrast / c),
                Chain(
                    (
                        Step("binary R, rewards b and b + c", "=", closed),
                        Step("σ' = c √(k(G−k))/G", "=", moved_std * contrast / c),
                    )
                ),
                words="in the rewards' own deviation σ' the factor is σ'/c",
            ),
            Clause(
                "dr-grpo",
                any_scale,
                Claim(moved(r) - moved_mean, "=", dr),
                Chain((Step("b cancels, c comes out", "=", dr),)),
                words="Dr. GRPO's advantage of cR + b is c times that of R; equal rewards included",
            ),
            Clause(
                "rloo",
                any_scale,
                Claim(moved(r) - others, "=", rl),
                Chain((Step("b cancels, c comes out", "=", rl),)),
                words="and so is RLOO's",
            ),
        ),
        references=(paper("§2"),),
        implements=(
            "identity.groups.grpo_advantages",
            "identity.groups.dr_grpo_advantages",
            "identity.groups.rloo_advantages",
            "identity.groups.group_std",
        ),
        mutants=(
            Mutant("negative scale without the sign", "scale-down", rhs=plain),
            Mutant("scale multiplies A", "scale-up", rhs=c * plain),
            Mutant("any sign of c", "scale-up", domain=_affine(Real(c))),
            Mutant("shift enters A", "shift", rhs=plain + b),
            Mutant("shift enters g", "shift-update", rhs=update((R[i] - mu) / sigma + b)),
            Mutant("the rewards' own deviation", "two-valued", rhs=moved_std * contrast),
            Mutant("σ of the verdicts over c", "own-std", rhs=closed / c),
            Mutant("scale not seen", "dr-grpo", rhs=R[r] - mu),
            Mutant("scale not seen by RLOO", "rloo", rhs=R[r] - leave_one_out(r)),
        ),
        check=CHECKS.get("groups.baseline-invariance"),
    )
