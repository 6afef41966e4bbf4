"""The central identity: a GRPO step is the standard deviation times the score contrast."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.groups.notation import (
    G,
    R,
    binary_any,
    contrast,
    d,
    i,
    j,
    k,
    mixed,
    mu,
    paper,
    s,
    sigma,
    total,
    update,
)
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

UNANIMOUS = "At k = 0 and k = G the update is 0 by convention."


def binary_std() -> Theorem:
    closed = sp.sqrt(k * (G - k)) / G
    by_mean = sp.sqrt(mu * (1 - mu))
    step = "R_i² = R_i and Σ R_i = k under the root; √G² = G"
    return Theorem(
        id="groups.binary-std",
        title="Standard deviation of binary rewards",
        words="For binary rewards σ = √(k(G−k))/G = √(μ(1−μ)).",
        assumptions=("σ is the population standard deviation (ddof 0).",),
        clauses=(
            Clause(
                "by-count",
                binary_any,
                Claim(sigma, "=", closed),
                Chain((Step(step, "=", closed),)),
            ),
            Clause(
                "by-mean",
                binary_any,
                Claim(sigma, "=", by_mean),
                Chain((Step(step, "=", closed), Step("μ = k/G", "=", by_mean))),
            ),
        ),
        references=(paper("§2"),),
        implements=("identity.groups.binary_std", "identity.groups.group_std"),
        mutants=(
            Mutant("root dropped", "by-count", rhs=k * (G - k) / G),
            Mutant("ddof 1", "by-count", rhs=sp.sqrt(k * (G - k) / (G * (G - 1)))),
            Mutant("G for G−k", "by-count", rhs=sp.sqrt(k * G) / G),
            Mutant("√μ", "by-mean", rhs=sp.sqrt(mu)),
        ),
        check=CHECKS.get("groups.binary-std"),
    )


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
        assumptions=(UNANIMOUS, "σ has ddof 0 and nothing is added to it."),
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
        references=(paper("Theorem 1"),),
        implements=(
            "identity.groups.grpo_advantages",
            "identity.groups.group_update",
            "identity.groups.score_contrast",
        ),
        mutants=(
            Mutant("variance instead of standard deviation", "update", rhs=sigma**2 * contrast),
            Mutant("sign of the contrast", "update", rhs=-closed),
            Mutant("unanimous groups allowed", "update", domain=binary_any),
        ),
        check=CHECKS.get("groups.identity"),
    )


def all_pairs() -> Theorem:
    pairs = total(total(R[i] * (1 - R[j]) * (s[i, d] - s[j, d]), j))
    closed = pairs / (G * sp.sqrt(k * (G - k)))
    return Theorem(
        id="groups.all-pairs",
        title="A GRPO step is a weighted sum of two-rollout contrasts",
        words=(
            "For binary rewards with 0 < k < G: g = σ Δs = (1/(G√(k(G−k)))) Σ over correct i and "
            "wrong j of (s_i − s_j). Every step is σ times the mean of the k(G−k) contrasts of one "
            "correct with one wrong rollout."
        ),
        assumptions=(UNANIMOUS,),
        clauses=(
            Clause(
                "pairs",
                mixed,
                Claim(sigma * contrast, "=", closed),
                Chain(
                    (
                        Step(
                            "σ = √(k(G−k))/G",
                            "=",
                            sp.sqrt(k * (G - k)) / G * contrast,
                        ),
                        Step(
                            "the double sum splits: Σ_i Σ_j R_i(1−R_j)s_i = (G−k) Σ R_i s_i",
                            "=",
                            closed,
                        ),
                    )
                ),
            ),
            Clause(
                "update",
                mixed,
                Claim(update((R[i] - mu) / sigma), "=", closed),
                Chain((Step("the update in the same two class sums", "=", closed),)),
            ),
        ),
        references=(paper("Theorem 1", "double-sum form, ours"),),
        implements=(
            "identity.groups.group_update",
            "identity.groups.score_contrast",
        ),
        mutants=(
            Mutant("1/G dropped", "pairs", rhs=closed * G),
            Mutant("mean over the pairs", "pairs", rhs=pairs / (k * (G - k))),
            Mutant("mean over the pairs as the step", "update", rhs=pairs / (k * (G - k))),
            Mutant(
                "all ordered pairs",
                "pairs",
                rhs=total(total(R[i] * (s[i, d] - s[j, d]), j)) / (G * sp.sqrt(k * G)),
            ),
        ),
        check=CHECKS.get("groups.all-pairs"),
    )
