"""Groups as pairs: a group of two, and a larger group at the reference."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.groups.notation import (
    G,
    R,
    d,
    i,
    j,
    k,
    mean,
    mu,
    r,
    s,
    sigma,
    total,
    update,
)
from proofs.kernel.domain import SCORES, Array, Assumption, Domain, Group, Integer, Real
from proofs.kernel.rules import Assume, Differentiate, Instance, Termwise
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem
from proofs.preference.notation import UNDIVIDED, beta, descent, paper, strength, t, x, z

m, c = sp.symbols("m c")
better = total(R[i] * s[i, d])  # s⁺: the score of the rollout that R marks by 1
worse = total((1 - R[i]) * s[i, d])  # s⁻
contrast = better - worse


def _two(*more: Integer | Real, size: int = 2) -> Domain:
    """Two rollouts, the better one marked by R = 1."""
    return Domain(Integer(G, size, size), Integer(k, 1, 1), *more, *SCORES, Group(G, correct=k))


def _equal_rewards() -> Clause:
    a = sp.IndexedBase("a")
    domain = Domain(
        Integer(G, 2, 2),
        Integer(r, 1, G),
        Real(c),
        Array(a, (G,)),
        Assumption(a, (m,), c, "both rewards are c"),
    )
    rewards = sp.Sum(a[m], (m, 1, G))
    assumed = Step("by assumption", "=", c, by=(Assume(a, (m,)),))
    return Clause(
        "equal",
        domain,
        Claim(a[r] - rewards / G, "=", 0),
        Chain(
            (
                Step(
                    "both rewards are c",
                    "=",
                    c - sp.Sum(c, (m, 1, G)) / G,
                    by=(Assume(a, (r,)), Termwise(rewards, c, steps=(assumed,))),
                ),
                Step("and so is their mean", "=", 0),
            )
        ),
        words="equal rewards: R_i − μ = 0, and the advantage is 0 by convention",
    )


def two_grpo() -> Theorem:
    each = _two(Integer(r, 1, G))
    apart = _two(Real(x), Real(z, x), Integer(r, 1, G))
    reward = x + (z - x) * R[i]  # z for the better rollout, x for the other
    centre = mean(reward.xreplace({i: m}), m)
    squares = (reward - centre) ** 2
    spread = sp.sqrt(mean(squares).xreplace({i: j}))
    bessel_spread = sp.sqrt(total(squares).xreplace({i: j}) / (G - 1))
    sign = 2 * R[r] - 1
    advantage = (R[r] - mu) / sigma
    any_advantage, advantage_bessel = (
        ((reward - centre) / s).xreplace({i: r}) for s in (spread, bessel_spread)
    )
    g, any_g, g_bessel = (
        update(A)
        for A in (
            (R[i] - mu) / sigma,
            (reward - centre) / spread,
            (reward - centre) / bessel_spread,
        )
    )

    def clause(
        name: str, domain: Domain, lhs: sp.Expr, rhs: sp.Expr, step: str, words: str
    ) -> Clause:
        return Clause(name, domain, Claim(lhs, "=", rhs), Chain((Step(step, "=", rhs),)), words)

    half, quarter = "μ = σ = 1/2", "(z + x)/2 is the mean, (z − x)/2 the standard deviation"
    ones = "A = 1 for the better rollout and −1 for the other"
    return Theorem(
        id="preference.two-grpo",
        title="With two rollouts GRPO's step is half the score difference",
        words=(
            "Two rollouts with different rewards, whatever these are, have the advantages 1 (the "
            "better one) and −1, so that g = (s⁺ − s⁻)/2; equal rewards have the advantage 0 by "
            "convention. With the sample standard deviation (ddof 1) the advantages are 1/√2 and "
            "−1/√2, and g = (s⁺ − s⁻)/(2√2)."
        ),
        assumptions=(
            "Nothing is added to the standard deviation.",
            "At equal rewards, where A is 0/0, it is 0 by convention.",
        ),
        clauses=(
            clause("advantage", each, advantage, sign, half, ones),
            clause("update", _two(), g, contrast / 2, half, "g = (s⁺ − s⁻)/2"),
            clause(
                "any-rewards",
                apart,
                any_advantage,
                sign,
                quarter,
                f"{ones}, also for rewards z > x",
            ),
            clause(
                "any-rewards-update",
                _two(Real(x), Real(z, x)),
                any_g,
                contrast / 2,
                quarter,
                "g = (s⁺ − s⁻)/2, also for rewards z > x",
            ),
            _equal_rewards(),
            clause(
                "ddof-1",
                apart,
                advantage_bessel,
                sign / sp.sqrt(2),
                "(z − x)/√2 is the sample standard deviation",
                "ddof 1: A = 1/√2 and −1/√2, for any rewards z > x",
            ),
            clause(
                "ddof-1-update",
                _two(Real(x), Real(z, x)),
                g_bessel,
                contrast / (2 * sp.sqrt(2)),
                "(z − x)/√2 is the sample standard deviation",
                "ddof 1: g = (s⁺ − s⁻)/(2√2), for any rewards z > x",
            ),
        ),
        references=(
            paper("two-rollout GRPO"),
            Reference("TRL, verl", "", "advantage computation", "torch.std has ddof 1 by default"),
        ),
        implements=("identity.preference.two_grpo_update",),
        mutants=(
            Mutant("the deviation, not divided", "advantage", lhs=R[r] - mu),
            Mutant("no factor 1/2", "update", rhs=contrast),
            Mutant("the distance of the rewards counts", "any-rewards", rhs=(z - x) * sign),
            Mutant(
                "the distance of the rewards counts in the step",
                "any-rewards-update",
                rhs=(z - x) * contrast / 2,
            ),
            Mutant("ddof 0", "ddof-1", rhs=sign),
            Mutant("ddof 0 in the step", "ddof-1-update", rhs=contrast / 2),
            Mutant("three rollouts", "update", domain=_two(size=3)),
            Mutant(
                "rewards that differ",
                "equal",
                domain=Domain(*_equal_rewards().domain.declarations[:-1]),
            ),
        ),
        check=CHECKS["preference.two-grpo"],
    )


def all_groups() -> Theorem:
    domain = Domain(Integer(G, 2), Integer(k, 1, G - 1), strength, *SCORES, Group(G, correct=k))
    # At the reference the log-ratios are 0, and move along coordinate d as t s_i does.
    step = descent(t * s[i, d] - t * s[j, d])
    chosen = R[i] * (1 - R[j])
    inner = total(chosen * step, j)
    pairs = total(inner)
    flat = total(chosen * beta / 2 * (s[i, d] - s[j, d]), j)
    worked_out = Termwise(
        inner,
        flat.function,
        steps=(Step("S(0) = 1/2", "=", flat.function, by=(Differentiate(step),)),),
    )
    each = Termwise(pairs, flat, steps=(Step("S(0) = 1/2", "=", flat, by=(worked_out,)),))
    root = sp.sqrt(k * (G - k))
    factor = 2 / (beta * G * root)
    contrasts = total(total(chosen * (s[i, d] - s[j, d]), j)) / (G * root)
    number = total(total(chosen, j))
    return Theorem(
        id="preference.all-groups",
        title="At the reference a GRPO step is a weighted sum of DPO steps",
        words=(
            "For binary rewards with 0 < k < G and the policy at its reference, GRPO's step is "
            "2/(βG√(k(G−k))) times the sum of DPO's descents −∇L over all k(G−k) pairs of a "
            "correct and a wrong rollout; the weights add up to 2σ/β."
        ),
        assumptions=(
            "Moving by t along coordinate d changes log π(y_i) by t s_i, to first order in t; the "
            "reference does not move.",
            UNDIVIDED,
        ),
        uses=("groups.all-pairs",),
        clauses=(
            Clause(
                "update",
                domain,
                Claim(update((R[i] - mu) / sigma), "=", factor * pairs),
                Chain(
                    (
                        Step(
                            "all contrasts of a correct and a wrong rollout",
                            "=",
                            contrasts,
                            by=(Instance("groups.all-pairs", "update"),),
                        ),
                        Step("2/β times β/2", "=", factor * total(flat)),
                        Step(
                            "(β/2)(s_i − s_j) is the descent of DPO's loss at the reference",
                            "=",
                            factor * pairs,
                            by=(each,),
                        ),
                    )
                ),
                words="g is a weighted sum of DPO's descents at Δ = 0",
            ),
            Clause(
                "total-weight",
                domain,
                Claim(factor * number, "=", 2 * sigma / beta),
                Chain(
                    (
                        Step("there are k(G−k) pairs", "=", 2 * root / (beta * G)),
                        Step("σ = √(k(G−k))/G", "=", 2 * sigma / beta),
                    )
                ),
                words="the weights of all pairs together: 2σ/β",
            ),
        ),
        references=(paper("two-rollout GRPO and DPO", "this form is ours"),),
        implements=("identity.preference.pairwise_update",),
        mutants=(
            Mutant("mean over the pairs", "update", rhs=pairs / (k * (G - k))),
            Mutant("2/β dropped", "update", rhs=factor * beta / 2 * pairs),
            Mutant("wrong against correct", "update", rhs=-factor * pairs),
            Mutant("weights of sum 1/β", "total-weight", rhs=1 / beta),
        ),
        check=CHECKS["preference.all-groups"],
    )
