"""What a GRPO advantage does not see: shifts and positive scalings of the rewards."""

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


def _affine(*scale: Real) -> Domain:
    return Domain(
        *real_spread.declarations[:3], rollout, Real(b), *scale, *real_spread.declarations[3:]
    )


def baseline_invariance() -> Theorem:
    plain = (R[r] - mu) / sigma
    up = _affine(Real(c, 0))
    down = _affine(Real(c, None, 0))
    two_valued = Domain(*mixed.declarations[:-1], Real(b), Real(c, 0), mixed.declarations[-1])
    closed = sp.sqrt(k * (G - k)) / G * contrast
    return Theorem(
        id="groups.baseline-invariance",
        title="Shifts and positive scalings of the rewards change nothing",
        words=(
            "Adding any constant to all rewards leaves A and g unchanged; R → cR + b leaves A "
            "unchanged for c > 0 and flips its sign for c < 0. So two-valued rewards {b, b + c} "
            "obey the identity too."
        ),
        assumptions=("σ > 0; nothing is added to σ (a positive ε breaks the scaling part).",),
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
        ),
        check=CHECKS.get("groups.baseline-invariance"),
    )
