"""The central identity: a GRPO step is the standard deviation times the score contrast."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.groups.notation import R, binary_any, contrast, G, k, i, mixed, mu, sigma, update
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem


def identity() -> Theorem:
    g = update((R[i] - mu) / sigma)
    closed = sigma * contrast
    return Theorem(
        id="groups.identity",
        title="A GRPO step is σ times the score contrast",
        words=(
            "For binary rewards with 0 < k < G the group update (1/G) Σ A_i s_i with "
            "A_i = (R_i − μ)/σ equals σ Δs, in any dimension."
        ),
        assumptions=(
            "Rewards are 0 or 1 and not unanimous; at k = 0 and k = G the update is 0 by convention.",
            "σ is the population standard deviation (ddof 0) and nothing is added to it.",
        ),
        clauses=(
            Clause(
                "update",
                mixed,
                Claim(g, "=", closed),
                Chain(
                    (
                        Step(
                            "Σ R_i = k and R_i² = R_i turn the update into the two class sums",
                            "=",
                            sp.sqrt(k * (G - k)) / G * contrast,
                        ),
                        Step("√(k(G−k))/G is σ, written out", "=", closed),
                    )
                ),
            ),
        ),
        references=(Reference("arXiv 2607.00152", "", "Theorem 1"),),
        implements=("identity.groups.grpo_advantages", "identity.groups.group_update"),
        mutants=(
            Mutant("variance instead of standard deviation", "update", rhs=sigma**2 * contrast),
            Mutant("sign of the contrast", "update", rhs=-closed),
            Mutant("unanimous groups allowed", "update", domain=binary_any),
        ),
        check=CHECKS.get("groups.identity"),
    )
