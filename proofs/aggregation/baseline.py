"""Responses that share a baseline are correlated, and have other best weights."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.aggregation.assuming import assuming
from proofs.aggregation.notation import (
    C,
    G,
    L,
    M,
    N,
    V,
    Y,
    by_algebra,
    delta_l,
    delta_paper,
    estimate_variance,
    free_weights,
    i,
    j,
    lengths,
    maximum,
    outcomes,
    over_group,
    over_outcomes,
    p,
    responses,
    u,
    x,
    y,
    z,
)
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Assumption, Domain, Draws, Integer, Real
from proofs.kernel.rules import Moments, Outcomewise
from proofs.kernel.terms import SampleMean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Refutation, Step, Theorem

R, s, t, h, k, q, d, v = map(sp.IndexedBase, "Rsthkqdv")
c, a, b, lam, scale = sp.symbols("c a b lambda tau")
pair = Integer(G, 2, spread=2)


def _centred(score: sp.IndexedBase, source: sp.IndexedBase) -> Assumption:
    value = source[y] - over_outcomes(p[b] * source[b], b)
    return Assumption(score, (y,), value, f"scores have the mean 0: E {score} = 0")


first_score, second_score = _centred(s, h), _centred(t, k)
sampled = (
    pair,
    outcomes,
    Array(p, (N,), law=True),
    Array(R, (N,)),
    Array(h, (N,)),
    Array(s, (N,)),
    first_score,
    Array(k, (N,)),
    Array(t, (N,)),
    second_score,
    Draws(Y, G, p),
)


def _advantage(at: sp.Expr) -> sp.Expr:
    """A_i = R_i − mean R."""
    return R[Y[at]] - over_group(R[Y[u]], u) / G


def _expanded(score: sp.IndexedBase) -> sp.Expr:
    """Σ A_i s_i in sums over the draws."""
    rewards, scores = over_group(R[Y[i]]), over_group(score[Y[i]])
    return over_group(R[Y[i]] * score[Y[i]]) - rewards * scores / G


def _gradient(score: sp.IndexedBase) -> sp.Sum:
    """∇J = E[R s]."""
    return over_outcomes(p[y] * R[y] * score[y], y)


def _zero_mean(score: sp.IndexedBase, assumption: Assumption) -> tuple[Any, ...]:
    return assuming(over_outcomes(p[y] * score[y], y), assumption)[1]


def shared_baseline_covariance() -> Theorem:
    domain = Domain(*sampled)
    total_s, total_t = (over_group(_advantage(i) * score[Y[i]]) for score in (s, t))
    same = over_group(_advantage(i) ** 2 * s[Y[i]] * t[Y[i]])
    pairs = total_s * total_t - same
    rewards = over_group(R[Y[i]])
    flat_same = (
        over_group(R[Y[i]] ** 2 * s[Y[i]] * t[Y[i]])
        - 2 * rewards * over_group(R[Y[i]] * s[Y[i]] * t[Y[i]]) / G
        + rewards**2 * over_group(s[Y[i]] * t[Y[i]]) / G**2
    )
    flat = _expanded(s) * _expanded(t) - flat_same
    both = _gradient(s) * _gradient(t)
    means = (1 - 1 / G) ** 2 * both
    product = (1 - 2 / G + 2 / G**2) * both
    zero = (*_zero_mean(s, first_score), *_zero_mean(t, second_score))
    mean = (1 - 1 / G) * _gradient(s)
    one = (SampleMean(_expanded(s)), SampleMean(_expanded(t)))

    average = SampleMean(pairs) / (G * (G - 1))
    covariance = average - SampleMean(total_s) / G * (SampleMean(total_t) / G)
    return Theorem(
        id="aggregation.shared-baseline-covariance",
        title="A shared mean baseline correlates the gradients of a group by ∇J∇Jᵀ/G²",
        words=(
            "For independent rollouts, A_i = R_i − mean R and g_i = A_i s_i: E[g_i] = (1 − 1/G)∇J, "
            "and the covariance matrix of g_i and g_j, i ≠ j, is ∇J∇Jᵀ/G², 0 only if ∇J is. It is "
            "stated for any two coordinates, averaged over the pairs, which are all alike."
        ),
        assumptions=(
            "rollouts are independent draws from one finite law p with G ≥ 2; E s = 0, as for the "
            "scores of a policy; s and t are two coordinates of the score, so ∇J = (E[Rs], E[Rt])",
        ),
        clauses=(
            Clause(
                "mean",
                domain,
                Claim(SampleMean(total_s) / G, "=", mean),
                Chain(
                    (
                        Step(
                            "expand",
                            "=",
                            one[0] / G,
                            by=(Outcomewise(SampleMean(total_s), _expanded(s)),),
                        ),
                        Step(
                            "moments of independent draws; scores have the mean 0",
                            "=",
                            mean,
                            by=(Moments(one[0], y), *_zero_mean(s, first_score)),
                        ),
                    )
                ),
            ),
            Clause(
                "covariance",
                domain,
                Claim(covariance, "=", both / G**2),
                Chain(
                    (
                        Step(
                            "expand",
                            "=",
                            SampleMean(flat) / (G * (G - 1)) - one[0] / G * (one[1] / G),
                            by=(
                                Outcomewise(SampleMean(pairs), flat),
                                Outcomewise(SampleMean(total_s), _expanded(s)),
                                Outcomewise(SampleMean(total_t), _expanded(t)),
                            ),
                        ),
                        Step(
                            "moments of independent draws; scores have the mean 0",
                            "=",
                            product - means,
                            by=(
                                Moments(SampleMean(flat), y),
                                Moments(one[0], y),
                                Moments(one[1], y),
                                *zero,
                            ),
                        ),
                        Step("1 − 2/G + 2/G² − (1 − 1/G)²", "=", both / G**2),
                    )
                ),
            ),
        ),
        references=(delta_paper("independent gradients", "as we read it; the covariance is new"),),
        mutants=(
            Mutant("uncorrelated", "covariance", rhs=0),
            Mutant("1/G for 1/G²", "covariance", rhs=both / G),
            Mutant("mean without 1 − 1/G", "mean", rhs=_gradient(s)),
            Mutant(
                "scores of any mean",
                "covariance",
                domain=Domain(*(x for x in sampled if x != first_score)),
            ),
        ),
        check=CHECKS.get("aggregation.shared-baseline-covariance"),
    )


def shared_baseline() -> Theorem:
    domain = Domain(*sampled[:7], sampled[-1])
    one, two = sp.Integer(1), sp.Integer(2)
    g1, g2 = (_advantage(at) * s[Y[at]] for at in (one, two))
    correlated = Assumption(
        C,
        (i, j),
        c + sp.KroneckerDelta(i, j) * (V * L[i] - c),
        "Var(g_i) = V L_i, Cov(g_i, g_j) = c",
    )
    weights = Domain(
        pair, maximum, Real(V, 0), Real(c, 0), lengths, *free_weights, Array(C, (G, G)), correlated
    )
    by_length = estimate_variance(lambda at: delta_l(at, one))
    of_x = over_group(over_group(x[i] * x[j] * C[i, j], j))
    half = sp.Rational(1, 2)
    best = (3 * half / 2, half / 2)
    any_rewards = Domain(responses, Array(R, (G,)))
    centred = over_group(R[i] - over_group(R[u], u) / G)
    return Theorem(
        id="aggregation.shared-baseline",
        title="The gradients of a group are not independent",
        words=(
            "The claim that the g_i of a group are independent, which makes 1/L the best weights, "
            "fails with a baseline taken from the group: Σ A_i = 0. For one logit at probability "
            "1/2, rewards 1 and 0 and G = 2, E[g_1 g_2] = 1/32, E[g_1] E[g_2] = 1/64. For any "
            "group with Var(g_i) = V L_i and Cov(g_i, g_j) = c the weights ∝ 1/L are not the best: "
            "L = (1, 2), V = 1, c = 1/2, sum 1: variance 8/9 for 1/L, 7/8 for (3/4, 1/4)."
        ),
        assumptions=("rollouts are independent draws from one finite law; E s = 0; G ≥ 2",),
        refutes=(
            Refutation(
                "uncorrelated",
                domain,
                Claim(SampleMean(g1 * g2), "=", SampleMean(g1) * SampleMean(g2)),
                (
                    (G, 2),
                    (N, 2),
                    (p, (half, half)),
                    (R, (1, 0)),
                    (h, (half, -half)),
                    (s, (half, -half)),
                ),
                "Cov(g_1, g_2) = 0 with A_i = R_i − mean R",
            ),
            Refutation(
                "best-by-length",
                weights,
                Claim(by_length, "<=", of_x),
                (
                    (G, 2),
                    (M, 1),
                    (V, 1),
                    (c, half),
                    (L, (1, 2)),
                    (z, best),
                    (x, best),
                    (C, ((1, half), (half, 2))),
                ),
                "weights ∝ 1/L have the least variance of all weights with sum 1/M",
            ),
        ),
        clauses=(
            by_algebra(
                "zero-sum", any_rewards, centred, sp.Integer(0), "the mean, G times", "Σ A_i = 0"
            ),
        ),
        references=(delta_paper("independent gradients", "assumed there, as we read it"),),
        corrected_by=("aggregation.shared-baseline-covariance", "aggregation.best-weights"),
        mutants=(
            Mutant(
                "also false: half of it",
                "uncorrelated",
                rhs=SampleMean(g1) * SampleMean(g2) / 2,
            ),
            Mutant("best within 1 percent", "best-by-length", lhs=by_length * sp.Rational(99, 100)),
            Mutant(
                "divisor G + 1 in the mean",
                "zero-sum",
                lhs=over_group(R[i] - over_group(R[u], u) / (G + 1)),
            ),
        ),
        check=CHECKS.get("aggregation.shared-baseline"),
    )
