"""DPO on one pair: the descent of its loss, and the step of a group of two beside it."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Real
from proofs.kernel.rules import Differentiate
from proofs.kernel.terms import Slope
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem
from proofs.preference.notation import (
    LINE,
    UNDIVIDED,
    at_zero,
    b,
    beta,
    descent,
    log_ratio,
    logistic,
    pair,
    paper,
    policy,
    reference,
    rho,
    score,
    strength,
    t,
    u,
    v,
    x,
    z,
)

DPO = Reference("arXiv 2305.18290", "", "§4", "the loss and its gradient, place as we read it")
to_reference = log_ratio(policy(u), rho[u]) - log_ratio(policy(v), rho[v])
to_itself = log_ratio(policy(u), at_zero(policy(u))) - log_ratio(policy(v), at_zero(policy(v)))
weight = beta * logistic(-beta * at_zero(to_reference))  # βS(−βΔ)


def dpo_gradient() -> Theorem:
    domain = Domain(*pair, strength, reference)
    lhs = descent(to_reference)
    plus, minus = score(policy(u)), score(policy(v))
    closed, flat = weight * (plus - minus), weight * (b[u] - b[v])
    a = sp.Symbol("a")
    margins = Domain(strength, Real(a, samples=tuple(range(-3, 4))))
    ahead, behind = beta * logistic(beta * a), beta * logistic(-beta * a)
    return Theorem(
        id="preference.dpo-gradient",
        title="DPO's descent is a logistic weight times the score difference",
        words=(
            "For the loss L = −log S(βΔ) of one pair, S the logistic function and Δ the log-ratio "
            "to the reference of the better response less that of the worse one, −∇L = "
            "βS(−βΔ)(s⁺ − s⁻). The weight is positive, and what it lacks of β is the weight at the "
            "opposite margin: it lies strictly between 0 and β."
        ),
        assumptions=(LINE,),
        clauses=(
            Clause(
                "descent",
                domain,
                Claim(lhs, "=", closed),
                Chain(
                    (
                        Step(
                            "chain rule; the normaliser is common to both responses and cancels",
                            "=",
                            flat,
                            by=(Differentiate(lhs),),
                        ),
                        Step(
                            "as it does in the difference of the two scores",
                            "=",
                            closed,
                            by=(Differentiate(plus), Differentiate(minus)),
                        ),
                    )
                ),
                words="−∇L = βS(−βΔ)(s⁺ − s⁻)",
            ),
            Clause(
                "weight",
                margins,
                Claim(0, "<", behind),
                Chain((Step("exponentials are positive", "<", behind),)),
                words="βS(−βΔ) > 0 at every margin Δ = a",
            ),
            Clause(
                "complement",
                margins,
                Claim(beta - behind, "=", ahead),
                Chain((Step("S(x) + S(−x) = 1", "=", ahead),)),
                words="β − βS(−βΔ) = βS(βΔ)",
            ),
        ),
        references=(DPO,),
        implements=("identity.preference.dpo_loss", "identity.preference.dpo_gradient_weight"),
        mutants=(
            Mutant(
                "sign of the margin",
                "descent",
                rhs=beta * logistic(beta * at_zero(to_reference)) * (plus - minus),
            ),
            Mutant("β dropped", "descent", rhs=closed / beta),
            Mutant("the better score only", "descent", rhs=weight * plus),
            Mutant("at least β/2", "weight", lhs=beta / 2),
            Mutant("S is even", "complement", rhs=behind),
        ),
        check=CHECKS["preference.dpo-gradient"],
    )


def surrogate() -> sp.Expr:
    """GRPO's surrogate of two rollouts with rewards z (better) and x, advantages written out."""
    mean = (z + x) / 2
    std = sp.sqrt(((z - mean) ** 2 + (x - mean) ** 2) / 2)
    ratio_u, ratio_v = (policy(response) / at_zero(policy(response)) for response in (u, v))
    return ((z - mean) / std * ratio_u + (x - mean) / std * ratio_v) / 2


def equivalence() -> Theorem:
    rewards = (Real(x), Real(z, x))
    domain = Domain(*pair, strength, *rewards)
    apart = Domain(*pair, strength, *rewards, reference)
    grpo, dpo, dpo_apart = Slope(surrogate(), t, 0), descent(to_itself), descent(to_reference)
    half = (b[u] - b[v]) / 2
    advantages = "the advantages are 1 and −1, and the slope of a ratio is the score"
    return Theorem(
        id="preference.equivalence",
        title="On one pair at the reference, two-rollout GRPO is DPO",
        words=(
            "On the same pair ∇J of two-rollout GRPO is (1/β)(−∇L) of DPO exactly, where the "
            "policy is the reference. For any reference −∇L = 2βS(−βΔ)∇J: the directions agree, "
            "and the positive number 2βS(−βΔ) is the ratio of the lengths."
        ),
        assumptions=(
            LINE,
            "J = (1/2) Σ A_i π(y_i)/sg[π(y_i)], on policy and unclipped.",
            f"Two different rewards, z > x; {UNDIVIDED}",
        ),
        clauses=(
            Clause(
                "at-reference",
                domain,
                Claim(grpo, "=", dpo / beta),
                Chain(
                    (
                        Step(advantages, "=", half, by=(Differentiate(grpo),)),
                        Step("S(0) = 1/2", "=", dpo / beta, by=(Differentiate(dpo),)),
                    )
                ),
                words="∇J = (1/β)(−∇L), the reference being the policy at t = 0",
            ),
            Clause(
                "anywhere",
                apart,
                Claim(dpo_apart, "=", 2 * weight * grpo),
                Chain(
                    (
                        Step(
                            "chain rule; the normaliser cancels",
                            "=",
                            2 * weight * half,
                            by=(Differentiate(dpo_apart),),
                        ),
                        Step(advantages, "=", 2 * weight * grpo, by=(Differentiate(grpo),)),
                    )
                ),
                words="−∇L = 2βS(−βΔ)∇J for any reference",
            ),
            Clause(
                "same-direction",
                apart,
                Claim(0, "<", 2 * weight),
                Chain((Step("exponentials are positive", "<", 2 * weight),)),
                words="2βS(−βΔ) > 0",
            ),
        ),
        references=(paper("two-rollout GRPO and DPO"), DPO),
        implements=(
            "identity.preference.two_grpo_update",
            "identity.preference.dpo_loss",
            "identity.preference.dpo_gradient_weight",
        ),
        mutants=(
            Mutant("1/β dropped", "at-reference", rhs=dpo),
            Mutant("the same factor at every reference", "anywhere", rhs=beta * grpo),
            Mutant("2 dropped", "anywhere", rhs=weight * grpo),
            Mutant("at least β", "same-direction", lhs=beta),
        ),
        check=CHECKS["preference.equivalence"],
    )
