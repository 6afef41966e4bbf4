"""The variance of an update made from Q prompts with G rollouts each."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Assumption, Domain, Draws, Integer
from proofs.kernel.rules import Context, Moments, Square
from proofs.kernel.terms import SampleMean
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Mutant,
    Reference,
    Refutation,
    Step,
    Theorem,
)
from proofs.preference.notation import M, N, Q, i, paper, y

G, n = sp.symbols("G n")
a, b, c, g, l, r = sp.symbols("a b c g l r")
half = sp.Rational(1, 2)
# N prompts with the law v; prompt a has M outcomes with the law kappa[a, ·] and the steps F[a, ·].
v, kappa, F = sp.IndexedBase("v"), sp.IndexedBase("kappa"), sp.IndexedBase("F")
mu, V, Y, X = (sp.IndexedBase(name) for name in ("mu", "V", "Y", "X"))

outcomes = (
    Integer(N, 1, spread=4),
    Integer(M, 1, spread=4),
    Array(v, (N,), law=True),
    Array(kappa, (N, M), law=True),
    Array(F, (N, M)),
)
joint = Domain(*outcomes)


def conditional_mean(prompt: sp.Symbol, index: sp.Symbol) -> sp.Expr:
    return sp.Sum(kappa[prompt, index] * F[prompt, index], (index, 1, M))


grand_mean = sp.Sum(v[l] * conditional_mean(l, r), (l, 1, N))
between = sp.Sum(v[a] * (conditional_mean(a, b) - grand_mean) ** 2, (a, 1, N))  # Var_q(μ_q)
_own = sp.Sum(kappa[a, b] * (F[a, b] - conditional_mean(a, c)) ** 2, (b, 1, M))
within = sp.Sum(v[a] * _own, (a, 1, N))  # E_q V(q)
_each = sp.Sum(kappa[a, b] * (F[a, b] - grand_mean) ** 2, (b, 1, M))
variance = sp.Sum(v[a] * _each, (a, 1, N))  # Var of the step of one outcome
# The mean of two outcomes of one prompt, drawn independently given the prompt.
_pair = kappa[a, b] * kappa[a, g] * ((F[a, b] + F[a, g]) / 2) ** 2
two_outcomes = sp.Sum(v[a] * sp.Sum(_pair, (g, 1, M), (b, 1, M)), (a, 1, N)) - grand_mean**2

# Q prompts drawn from v; μ_q and V(q) belong to the step of one outcome of prompt q.
given_prompts = (
    Array(mu, (N,)),
    Assumption(mu, (a,), conditional_mean(a, b), "μ_a is the mean step of prompt a"),
    Array(V, (N,)),
    Assumption(
        V,
        (a,),
        sp.Sum(kappa[a, b] * (F[a, b] - mu[a]) ** 2, (b, 1, M)),
        "V_a is the variance of the step of prompt a",
    ),
)
budget = Domain(
    Integer(N, 1, spread=4),
    Integer(M, 1, spread=4),
    Integer(Q, 1),
    *outcomes[2:],
    *given_prompts,
    Draws(Y, Q, v),
)
rollouts = Domain(
    Integer(N, 1, spread=4),
    Integer(M, 1, spread=4),
    Integer(Q, 1),
    Integer(G, 1),
    *outcomes[2:],
    *given_prompts,
    Draws(Y, Q, v),
)
mean_mu = sp.Sum(v[l] * mu[l], (l, 1, N))
spread_mu = sp.Sum(v[a] * (mu[a] - mean_mu) ** 2, (a, 1, N))
mean_V = sp.Sum(v[a] * V[a], (a, 1, N))


def of_prompts(size: sp.Expr) -> tuple[SampleMean, SampleMean]:
    """Second and first moment of the update: given its prompts it has the mean (1/Q) Σ μ and, the
    groups being independent, the variance (1/Q²) Σ V/size."""
    means, spreads = sp.Sum(mu[Y[i]], (i, 1, Q)), sp.Sum(V[Y[i]], (i, 1, Q))
    return SampleMean(spreads / size / Q**2 + (means / Q) ** 2), SampleMean(means / Q)


def _moments(domain: Domain, second: Any, first: Any) -> Step:
    rules = (Moments(second, y), Moments(first, y))
    ctx = Context(domain)
    value = rules[0].value(ctx) - rules[1].value(ctx) ** 2
    return Step("moments of the sums over independent prompts", "=", value, by=rules)


DRAWN = (
    "Prompts are drawn with replacement from a finite law. Given the prompts, their groups are "
    "independent, so that the update has the mean (1/Q) Σ μ and the variance (1/Q²) Σ V; V is V/G "
    "for means of G independent rollouts (clause independent of preference.budget-variance)."
)
ONE = "One coordinate of the update; for vectors sum over the coordinates."


def budget_variance() -> Theorem:
    total = sp.Sum(X[Y[i]], (i, 1, n))
    second, first = SampleMean((total / n) ** 2), SampleMean(total / n)
    any_law = Domain(
        Integer(N, 1, spread=4),
        Integer(n, 1),
        Array(v, (N,), law=True),
        Array(X, (N,)),
        Draws(Y, n, v),
    )
    centre = sp.Sum(v[l] * X[l], (l, 1, N))
    own = sp.Sum(v[a] * (X[a] - centre) ** 2, (a, 1, N))
    second_q, first_q = of_prompts(sp.Integer(1))
    closed = (spread_mu + mean_V) / Q
    return Theorem(
        id="preference.budget-variance",
        title="The variance of an update falls with prompts, and only in part with rollouts",
        words=(
            "The mean of n independent draws has 1/n of the variance of one. The variance of a "
            "group's step, its prompt being drawn too, is Var_q(μ_q) + E_q V(q), with μ_q and V(q) "
            "its mean and variance given the prompt q. So the mean step of Q prompts has the "
            "variance (1/Q)[Var_q(μ_q) + E_q V(q)], where V(q) = V_G(q) belongs to groups of G; "
            "for two rollouts of one prompt, averaged, V(q) is half of that of one."
        ),
        assumptions=(DRAWN, ONE),
        clauses=(
            Clause(
                "independent",
                any_law,
                Claim(second - first**2, "=", own / n),
                Chain((_moments(any_law, second, first), Step("one law", "=", own / n))),
                words="Var of the mean of n independent draws: of groups (n = Q), or of rollouts "
                "of one prompt (n = G)",
            ),
            Clause(
                "total",
                joint,
                Claim(variance, "=", between + within),
                Chain((Step("expand the squares", "=", between + within),)),
                words="law of total variance: Var = Var_q(μ_q) + E_q V(q)",
            ),
            Clause(
                "two-rollouts",
                joint,
                Claim(two_outcomes, "=", between + within / 2),
                Chain((Step("expand the squares", "=", between + within / 2),)),
                words="the mean of two rollouts of one prompt: Var_q(μ_q) + E_q V(q)/2",
            ),
            Clause(
                "budget",
                budget,
                Claim(second_q - first_q**2, "=", closed),
                Chain((_moments(budget, second_q, first_q), Step("collect", "=", closed))),
                words="Q prompts, given which the update has the mean (1/Q) Σ μ and the variance "
                "(1/Q²) Σ V: Var = (1/Q)[Var_q(μ_q) + E_q V(q)]",
            ),
        ),
        references=(
            Reference("law of total variance", "", "", "any textbook"),
            paper("rollout budgets", "this form is ours"),
        ),
        implements=("identity.preference.budget_variance",),
        mutants=(
            Mutant("not divided by n", "independent", rhs=own),
            Mutant("divided by n(n + 1)", "independent", rhs=own / (n * (n + 1))),
            Mutant("within prompts only", "total", rhs=within),
            Mutant("both halved", "two-rollouts", rhs=(between + within) / 2),
            Mutant("prompts do not differ", "budget", rhs=mean_V / Q),
            Mutant("only V is divided by Q", "budget", rhs=spread_mu + mean_V / Q),
        ),
        check=CHECKS["preference.budget-variance"],
    )


def rollout_iid() -> Theorem:
    second, first = of_prompts(G)
    update = second - first**2
    excess = (1 - 1 / G) / Q * spread_mu
    printed = (spread_mu + mean_V) / (Q * G)
    collected = (spread_mu + mean_V / G) / Q
    coin = ((N, 2), (M, 1), (v, (half, half)), (kappa, ((1,), (1,))), (F, ((1,), (-1,))))
    fixed = ((mu, (1, -1)), (V, (0, 0)))
    moments = _moments(rollouts, second, first)
    corrected = "preference.budget-variance"
    return Theorem(
        id="preference.rollout-iid",
        title="Rollouts of one prompt are not independent draws",
        words=(
            "The claim Var = Var(g)/(QG) for Q prompts with G rollouts each, Var(g) the variance "
            "of one rollout's term with its prompt drawn too, treats the rollouts of a prompt as "
            "independent of the prompt that they share. Where the mean steps of prompts differ and "
            "G ≥ 2 it is too small, by ((1 − 1/G)/Q) Var_q(μ_q)."
        ),
        assumptions=(
            DRAWN,
            ONE,
            "The step of a group is the mean of G terms, independent given the prompt.",
        ),
        refutes=(
            Refutation(
                "two-rollouts",
                joint,
                Claim(two_outcomes, "=", variance / 2),
                coin,
                "the mean of two rollouts of one prompt has half of the variance of one",
            ),
            Refutation(
                "budget",
                rollouts,
                Claim(update, "=", printed),
                (*coin, (Q, 2), (G, 2), *fixed),
                "Var = Var(g)/(QG)",
            ),
        ),
        clauses=(
            Clause(
                "excess",
                rollouts,
                Claim(update - printed, "=", excess),
                Chain(
                    (
                        Step(moments.text, "=", moments.expr - printed, by=moments.by),
                        Step("collect", "=", excess),
                    )
                ),
                words="Var − Var(g)/(QG) = ((1 − 1/G)/Q) Var_q(μ_q)",
            ),
            Clause(
                "at-least",
                rollouts,
                Claim(printed, "<=", update),
                Chain(
                    (
                        Step(
                            "Var_q(μ_q) ≥ 0",
                            "<=",
                            collected,
                            by=(
                                (
                                    (1 - 1 / G) / Q,
                                    Square(mu[a] - mean_mu, weight=v[a], over=((a, N),)),
                                ),
                            ),
                        ),
                        Step(
                            moments.text,
                            "=",
                            update,
                            by=moments.by,
                        ),
                    )
                ),
                words="Var(g)/(QG) ≤ Var",
            ),
        ),
        references=(paper("rollout budgets", "as we read it; reconstructed"),),
        corrected_by=(corrected,),
        mutants=(
            Mutant("also false: a quarter", "two-rollouts", rhs=variance / 4),
            Mutant("also false: Var(g)/Q", "budget", rhs=G * printed),
            Mutant("all of Var_q(μ_q)", "excess", rhs=spread_mu / Q),
            Mutant("twice as much", "at-least", lhs=2 * printed),
        ),
        check=CHECKS["preference.rollout-iid"],
    )
