"""Advantages without the standard deviation (Dr. GRPO, RLOO), and DAPO's filter."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.groups.notation import (
    G,
    R,
    binary_any,
    contrast,
    i,
    k,
    leave_one_out,
    mean,
    mixed,
    mu,
    paper,
    r,
    real_any,
    rollout,
    sigma,
    update,
    variance,
)
from proofs.kernel.domain import COORDINATE, SCORES, Domain, Group, Integer, Real
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem


def dr_grpo() -> Theorem:
    g = update(R[i] - mu)
    return Theorem(
        id="groups.dr-grpo",
        title="A Dr. GRPO step is σ² times the score contrast",
        words=(
            "For binary rewards with 0 < k < G the group update with A_i = R_i − μ is σ² Δs, in "
            "any dimension."
        ),
        clauses=(
            Clause(
                "update",
                mixed,
                Claim(g, "=", variance * contrast),
                Chain(
                    (
                        Step("class sums", "=", k * (G - k) / G**2 * contrast),
                        Step("k(G−k)/G² is σ²", "=", variance * contrast),
                    )
                ),
            ),
        ),
        references=(
            paper("§2"),
            Reference("arXiv 2503.20783", "", "§3", "the advantage without the std"),
        ),
        implements=("identity.groups.dr_grpo_advantages", "identity.groups.group_update"),
        mutants=(
            Mutant("σ for σ²", "update", rhs=sigma * contrast),
            Mutant("ddof 1", "update", rhs=variance * G / (G - 1) * contrast),
            Mutant("unanimous groups allowed", "update", domain=binary_any),
        ),
        check=CHECKS.get("groups.dr-grpo"),
    )


def dapo() -> Theorem:
    # The batch is again a family of (indicator, vector) pairs: m_b says whether group b is kept.
    N, M, b, c = sp.symbols("N M b c")
    m, u = sp.IndexedBase("m"), sp.IndexedBase("u")
    batch = Domain(
        Integer(N, 1), Integer(M, 1, N), *SCORES, Group(N, rewards=m, scores=u, correct=M)
    )
    kept = sp.Sum(m[b] * u[b, COORDINATE], (b, 1, N))
    equal = Domain(Integer(G, 2), Real(c), *SCORES, Group(G))
    return Theorem(
        id="groups.dapo",
        title="DAPO's filter changes the normalisation, not the steps it keeps",
        words=(
            "A group of equal rewards has deviations 0, so by the convention its update is 0; the "
            "mean update over a batch of N groups of which M ≥ 1 are mixed is M/N times the mean "
            "over the mixed ones."
        ),
        assumptions=("A silent group's update is 0 (written m_b u_b with m_b the keep mask).",),
        clauses=(
            Clause(
                "silent",
                equal,
                Claim(update(c - mean(c, r)), "=", 0),
                Chain((Step("the mean of G equal rewards is that reward", "=", 0),)),
            ),
            Clause(
                "kept",
                batch,
                Claim(kept / N, "=", sp.Rational(1) * M / N * (kept / sp.Sum(m[b], (b, 1, N)))),
                Chain(
                    (
                        Step(
                            "the M kept groups are counted by Σ m_b",
                            "=",
                            M / N * (kept / sp.Sum(m[b], (b, 1, N))),
                        ),
                    )
                ),
            ),
        ),
        references=(Reference("arXiv 2503.14476", "", "§3.2", "dynamic sampling"), paper("§2")),
        implements=("identity.groups.dapo_keep",),
        mutants=(
            Mutant("batch mean unchanged", "kept", rhs=kept / sp.Sum(m[b], (b, 1, N))),
            Mutant("M/N squared", "kept", rhs=(M / N) ** 2 * kept / sp.Sum(m[b], (b, 1, N))),
            Mutant(
                "no group kept",
                "kept",
                domain=Domain(
                    Integer(N, 1),
                    Integer(M, 0, N),
                    *SCORES,
                    Group(N, rewards=m, scores=u, correct=M),
                ),
            ),
            Mutant("divisor G−1 in the mean", "silent", lhs=update(c - mean(c, r) * G / (G - 1))),
        ),
        check=CHECKS.get("groups.dapo"),
    )


def rloo() -> Theorem:
    each = Domain(*real_any.declarations[:3], rollout, *real_any.declarations[3:])
    pair = Domain(
        Integer(G, 2, 2), Integer(k, 1, G - 1), *SCORES, Integer(r, 1, G), Group(G, correct=k)
    )
    closed = (G - 1) / G * (R[r] - leave_one_out(r))
    return Theorem(
        id="groups.rloo",
        title="RLOO is Dr. GRPO times G/(G−1)",
        words=(
            "For any rewards R_i − μ = ((G−1)/G)(R_i − b_i), with b_i the leave-one-out mean. For "
            "binary rewards with 0 < k < G the RLOO update is (G/(G−1)) σ² Δs, and at G = 2, k = 1 "
            "RLOO's and GRPO's advantages agree rollout by rollout."
        ),
        clauses=(
            Clause(
                "advantage",
                each,
                Claim(R[r] - mu, "=", closed),
                Chain((Step("Σ_{j≠i} R_j = Gμ − R_i", "=", closed),)),
            ),
            Clause(
                "update",
                mixed,
                Claim(update(R[i] - leave_one_out(i)), "=", G / (G - 1) * variance * contrast),
                Chain(
                    (
                        Step(
                            "the leave-one-out mean, summed out",
                            "=",
                            k * (G - k) / (G * (G - 1)) * contrast,
                        ),
                        Step("k(G−k)/G² is σ²", "=", G / (G - 1) * variance * contrast),
                    )
                ),
            ),
            Clause(
                "two-rollouts",
                pair,
                Claim((R[r] - mu) / sigma, "=", R[r] - leave_one_out(r)),
                Chain((Step("at G = 2, k = 1 both are 2R_i − 1", "=", R[r] - leave_one_out(r)),)),
            ),
        ),
        references=(paper("Proposition 1"),),
        implements=("identity.groups.rloo_advantages", "identity.groups.group_update"),
        mutants=(
            Mutant("factor inverted", "advantage", rhs=G / (G - 1) * (R[r] - leave_one_out(r))),
            Mutant(
                "mean over all G",
                "advantage",
                rhs=(G - 1) / G * (R[r] - leave_one_out(r) * (G - 1) / G),
            ),
            Mutant("no factor", "update", rhs=variance * contrast),
            Mutant(
                "any two rewards",
                "two-rollouts",
                domain=Domain(
                    Integer(G, 2, 2), Integer(k, 1, 1), *SCORES, rollout, Group(G, spread=True)
                ),
            ),
            Mutant(
                "three rollouts",
                "two-rollouts",
                domain=Domain(
                    Integer(G, 3, 3),
                    Integer(k, 1, G - 1),
                    *SCORES,
                    Integer(r, 1, G),
                    Group(G, correct=k),
                ),
            ),
        ),
        check=CHECKS.get("groups.rloo"),
    )
