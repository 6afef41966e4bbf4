"""The weights of least variance, for uncorrelated gradients and for any others."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.aggregation.assuming import assuming, put_in
from proofs.aggregation.given_lengths import B, covariances, one, some_response
from proofs.aggregation.notation import (
    NOISE,
    C,
    G,
    L,
    M,
    N,
    V,
    b,
    delta_l,
    delta_paper,
    estimate_variance,
    fixed_sum,
    free_weights,
    g,
    i,
    j,
    lengths,
    maximum,
    noise_is_VL,
    o,
    outcomes,
    over_group,
    over_outcomes,
    r,
    responses,
    u,
    w,
    x,
    z,
)
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Assumption, Domain, Real
from proofs.kernel.rules import Square
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

q, d, v = map(sp.IndexedBase, "qdv")
c, lam, scale = sp.symbols("c lambda tau")


def minimum_variance() -> Theorem:
    declarations = (responses, maximum, lengths, *free_weights, *covariances)
    domain = Domain(*declarations)
    with_r = Domain(responses, some_response, *declarations[1:])
    any_weights = Domain(*(d for d in declarations if d != fixed_sum))
    best = estimate_variance(lambda at: delta_l(at, one))
    of_x = over_group(over_group(x[i] * x[j] * C[i, j], j))
    of_two = estimate_variance(lambda at: delta_l(at, 2 * one))
    diagonal = over_group(V * L[i] * x[i] ** 2)
    least = V / (M**2 * B)
    total = over_group(x[i])
    value, rules = assuming(total, fixed_sum)
    (sum_of_x,) = rules
    _, to_diagonal = assuming(of_x, noise_is_VL)
    start, _ = put_in(best, noise_is_VL)
    best_x = 1 / (M * B * L[i])
    excess = over_group(V * L[i] * (x[i] - best_x) ** 2)
    at_r = (x[i] - best_x).xreplace({i: r})
    others = (1 - sp.KroneckerDelta(i, r)) * (x[i] - best_x)
    twice = -2 * V / (M * B)

    def squares(root: sp.Expr) -> tuple[object, object]:
        return ((1, Square(root, weight=V * L[i], over=((i, G),))), (twice, sum_of_x))

    return Theorem(
        id="aggregation.delta-l-minimum-variance",
        title="For uncorrelated gradients of variance ∝ L, weights ∝ 1/L have the least variance",
        words=(
            "For uncorrelated g_i of variance V L_i, among all weights that add up to 1/M the "
            "variance of Σ x_i g_i is least, V/(M² Σ1/L), at x_i = (1/M) L_i^(−1)/ΣL_j^(−1): ΔL at "
            "α = 1. Any other weights exceed it by V Σ L_i (x_i − that)², for every group size."
        ),
        assumptions=(NOISE, "x_i may be any numbers with Σ x_i = 1/M; lengths and V are positive"),
        clauses=(
            Clause(
                "constraint",
                domain,
                Claim(total, "=", 1 / M),
                Chain(
                    (
                        Step("what is assumed", "=", value, by=rules),
                        Step("add up", "=", 1 / M),
                    )
                ),
            ),
            Clause(
                "minimum",
                domain,
                Claim(best, "<=", of_x),
                Chain(
                    (
                        *start,
                        Step("add up", "=", least),
                        Step(
                            "the excess is a sum of squares",
                            "<=",
                            diagonal,
                            by=squares(x[i] - best_x),
                        ),
                        Step(noise_is_VL.meaning, "=", of_x, by=to_diagonal),
                    )
                ),
            ),
            Clause(
                "excess",
                domain,
                Claim(of_x, "=", least + excess),
                Chain(
                    (
                        Step(noise_is_VL.meaning, "=", diagonal, by=to_diagonal),
                        Step(
                            "Σ x_i = 1/M",
                            "=",
                            diagonal + twice * (total - 1 / M),
                            by=rules,
                        ),
                        Step(
                            "complete the square",
                            "=",
                            least + excess,
                        ),
                    )
                ),
            ),
            Clause(
                "each-weight",
                with_r,
                Claim(least + V * L[r] * at_r**2, "<=", of_x),
                Chain(
                    (
                        Step("the other squares", "<=", diagonal, by=squares(others)),
                        Step(noise_is_VL.meaning, "=", of_x, by=to_diagonal),
                    )
                ),
                words="equality holds only where every x_r is that of ΔL at α = 1",
            ),
        ),
        references=(delta_paper("the weights of least variance", "as we read it"),),
        implements=(
            "identity.aggregation.estimator_variance",
            "identity.aggregation.coefficient_of_variation",
        ),
        mutants=(
            Mutant("weights with any sum", "minimum", domain=any_weights),
            Mutant("α = 2 is best", "excess", rhs=of_two + excess),
            Mutant("strictly", "minimum", relation="<"),
            Mutant("twice the square", "each-weight", lhs=least + 2 * V * L[r] * at_r**2),
            Mutant(
                "excess without lengths", "excess", rhs=least + over_group(V * (x[i] - best_x) ** 2)
            ),
        ),
        check=CHECKS.get("aggregation.delta-l-minimum-variance"),
    )


# -- best weights for any covariances --------------------------------------------------------------


def best_weights() -> Theorem:
    zero_sum = Assumption(v, (i,), z[i] - over_group(z[u], u) / G, "the v_i add up to 0")
    space = Domain(
        responses,
        outcomes,
        Real(scale),
        Real(lam),
        Array(w, (N,), law=True),
        Array(g, (G, N)),
        Array(q, (G,)),
        Array(z, (G,)),
        Array(v, (G,)),
        zero_sum,
    )

    def deviation(weight: Any) -> sp.Expr:
        """Σ x_i g_i less its mean."""
        return over_group(weight(i) * (g[i, o] - over_outcomes(w[b] * g[i, b], b)))

    def variance(weight: Any) -> sp.Sum:
        return over_outcomes(w[o] * deviation(weight) ** 2)

    def both(at: sp.Symbol) -> sp.Expr:
        return scale * q[at] + v[at]

    own_deviation = g[j, o] - over_outcomes(w[b] * g[j, b], b)
    with_each = over_outcomes(w[o] * deviation(lambda at: q[at]) * own_deviation)
    cross = 2 * scale * over_group(v[j] * (with_each - lam), j)
    apart = scale**2 * variance(lambda at: q[at]) + cross
    sum_of_v = over_group(v[j], j)
    (no_sum,) = assuming(sum_of_v, zero_sum)[1]

    own = Assumption(
        C, (i, j), c + sp.KroneckerDelta(i, j) * d[i], "Cov(g_i, g_j) is c, plus d_i if i = j"
    )
    declarations = (
        responses,
        maximum,
        Real(c),
        Array(d, (G,), 0),
        *free_weights,
        Array(C, (G, G)),
        own,
    )
    domain = Domain(*declarations)
    inverse = over_group(1 / d[u], u)
    best = 1 / (M * d[i] * inverse)
    before = over_group(over_group(best * best.xreplace({i: j}) * C[i, j], j))
    after = over_group(over_group(x[i] * x[j] * C[i, j], j))
    least = (1 / inverse + c) / M**2
    total = over_group(x[i])
    (sum_of_x,) = assuming(total, fixed_sum)[1]
    start, _ = put_in(before, own)
    (there,) = assuming(after, own)[1]
    opened = over_group(d[i] * x[i] ** 2) + c * total**2
    excess = over_group(d[i] * (x[i] - best) ** 2)
    known = over_group(d[i] * x[i] ** 2) + c / M**2
    completed = known - 2 / (M * inverse) * (total - 1 / M)  # as the square needs it
    return Theorem(
        id="aggregation.best-weights",
        title="The best weights for correlated gradients",
        words=(
            "On any finite space the weights τq + v, Σ v_i = 0, which have the sum of τq, give at "
            "least the variance τ² Var(Σ q_i g_i) + 2τ Σ_j v_j (Cov(Σ q_i g_i, g_j) − λ), for any "
            "λ. Where Cov(Σ q_i g_i, g_j) = λ for every j, that is q ∝ C⁻¹1 with C the covariance "
            "matrix, the last sum is 0: τq has the least variance among weights of its sum. If all "
            "pairs have one covariance c and Var(g_i) = c + d_i, the best weights are x_i ∝ 1/d_i, "
            "which are ∝ 1/L only if d_i ∝ L_i."
        ),
        assumptions=("d_i > 0; c may have either sign; all weights add up to 1/M",),
        clauses=(
            Clause(
                "any-covariance",
                space,
                Claim(apart, "<=", variance(both)),
                Chain(
                    (
                        Step(
                            "what is left is the variance of Σ v_i g_i",
                            "<=",
                            variance(both),
                            by=(
                                (
                                    1,
                                    Square(
                                        deviation(lambda at: v[at]), weight=w[o], over=((o, N),)
                                    ),
                                ),
                                (-2 * scale * lam, no_sum),
                            ),
                        ),
                    )
                ),
            ),
            Clause(
                "one-covariance",
                domain,
                Claim(after, "=", before + excess),
                Chain(
                    (
                        Step(own.meaning, "=", opened, by=(there,)),
                        Step("Σ x_i = 1/M", "=", known, by=(sum_of_x,)),
                        Step("Σ x_i − 1/M = 0", "=", completed, by=(sum_of_x,)),
                        Step("complete the square", "=", least + excess),
                        Step(own.meaning, "=", before + excess, by=start[0].by),
                    )
                ),
                words="the variance for x exceeds that for weights ∝ 1/d by a sum of squares",
            ),
        ),
        references=(
            delta_paper("its least-variance argument", "extended here to correlated gradients"),
        ),
        mutants=(
            Mutant(
                "excess without d", "one-covariance", rhs=before + over_group((x[i] - best) ** 2)
            ),
            Mutant(
                "equal weights are best",
                "one-covariance",
                rhs=over_group(over_group(C[i, j], j)) / (G * M) ** 2 + excess,
            ),
            Mutant(
                "weights with any sum",
                "one-covariance",
                domain=Domain(*(x for x in declarations if x != fixed_sum)),
            ),
            Mutant("no cross term", "any-covariance", lhs=scale**2 * variance(lambda at: q[at])),
        ),
        check=CHECKS.get("aggregation.best-weights"),
    )
