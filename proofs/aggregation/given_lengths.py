"""What a method's estimate has for mean and variance, once the lengths are known."""

from __future__ import annotations

import sympy as sp

from proofs.aggregation.assuming import put_in
from proofs.aggregation.notation import (
    MEAN,
    NOISE,
    C,
    G,
    J,
    L,
    M,
    N,
    V,
    Weight,
    alpha,
    b,
    by_algebra,
    dapo,
    delta_l,
    delta_paper,
    dr_grpo,
    estimate_mean,
    estimate_variance,
    exponent,
    g,
    grpo,
    i,
    lengths,
    m,
    maximum,
    mean_is_J,
    noise_is_VL,
    o,
    outcomes,
    over_group,
    over_outcomes,
    power_sum,
    powered_lengths,
    r,
    responses,
    u,
    v,
    w,
    x,
    y,
)
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Declaration, Domain, Integer, Real
from proofs.kernel.rules import Square
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

c, t, T = sp.symbols("c t T")
ell = sp.IndexedBase("ell")
token_sum = sp.Sum(ell[i, t], (t, 1, L[i]))
one = sp.Integer(1)
some_response, another = Integer(r, 1, G), Integer(c, 1, G)
covariances = (Real(V, 0), Array(C, (G, G), 0, open_low=False), noise_is_VL)
means = (Real(J), Array(m, (G,)), mean_is_J)
positive_means = (Real(J, 0), Array(m, (G,), 0), mean_is_J)


def _domain(*more: Declaration, of: sp.Expr, but: object = None) -> Domain:
    """With M and α where a term has them."""
    constants = [d for d in (maximum, exponent) if of.has(d.symbol)]
    own = powered_lengths if of.has(alpha) else lengths
    return Domain(responses, *constants, own, *(d for d in more if d != but))


A, B = power_sum(one), power_sum(-one)  # Σ L and Σ 1/L


# -- the lemma -------------------------------------------------------------------------------------


def _mean_of(k: sp.Symbol) -> sp.Sum:
    return over_outcomes(w[b] * g[k, b], b)


def _covariance(k: sp.Symbol, h: sp.Symbol) -> sp.Sum:
    return over_outcomes(w[y] * (g[k, y] - _mean_of(k)) * (g[h, y] - _mean_of(h)), y)


def linear_moments() -> Theorem:
    space = Domain(responses, outcomes, Array(w, (N,), law=True), Array(g, (G, N)), Array(x, (G,)))
    mean = over_outcomes(w[o] * over_group(x[i] * g[i, o]))
    variance = over_outcomes(w[y] * (over_group(x[i] * g[i, y]) - mean) ** 2, y)
    by_means = over_group(x[u] * _mean_of(u), u)
    by_covariances = over_group(over_group(x[u] * x[v] * _covariance(u, v), v), u)
    root = over_group(x[i] * g[i, y]) - mean
    return Theorem(
        id="aggregation.linear-moments",
        title="Mean and variance of a weighted sum",
        words=(
            "On any finite probability space Σ x_i g_i with fixed weights has the mean "
            "Σ x_i E[g_i] and the variance Σ_ij x_i x_j Cov(g_i, g_j), which is never negative."
        ),
        clauses=(
            by_algebra("mean", space, mean, by_means, "interchange the sums"),
            by_algebra("variance", space, variance, by_covariances, "expand the square"),
            Clause(
                "nonnegative",
                space,
                Claim(0, "<=", by_covariances),
                Chain(
                    (
                        Step(
                            "it is a mean of squares",
                            "<=",
                            by_covariances,
                            by=((1, Square(root, weight=w[y], over=((y, N),))),),
                        ),
                    )
                ),
            ),
        ),
        references=(Reference("folklore", "", "covariances are bilinear"),),
        mutants=(
            Mutant(
                "squared weights only", "variance", rhs=over_group(x[u] ** 2 * _covariance(u, u), u)
            ),
            Mutant("weights not applied", "mean", rhs=over_group(_mean_of(u), u)),
            Mutant(
                "uncentred",
                "variance",
                rhs=over_outcomes(w[y] * over_group(x[u] * g[u, y], u) ** 2, y),
            ),
            Mutant("never zero", "nonnegative", relation="<"),
        ),
        check=CHECKS.get("aggregation.linear-moments"),
    )


# -- the table -------------------------------------------------------------------------------------


def _row(name: str, weight: Weight, mean: sp.Expr, variance: sp.Expr) -> tuple[Clause, Clause]:
    """Mean and variance of one method."""
    clauses = []
    for kind, assumed, before, after in (
        ("mean", means, estimate_mean(weight), mean),
        ("variance", covariances, estimate_variance(weight), variance),
    ):
        steps, _ = put_in(before, mean_is_J, noise_is_VL)
        last = Step("add up", "=", after)
        claim = Claim(before, "=", after)
        domain = _domain(*assumed, of=before)
        clauses.append(Clause(f"{name}-{kind}", domain, claim, Chain((*steps, last))))
    return clauses[0], clauses[1]


def _tokens(name: str, weight: Weight, loss: sp.Expr) -> Clause:
    """A method's loss over tokens, as a weighted sum of the responses' token sums."""
    tokens = Array(L, (G,), 1, T, integer=True)
    constants = (maximum,) if loss.has(M) else ()
    domain = Domain(responses, Integer(T, 1, spread=3), *constants, tokens, Array(ell, (G, T)))
    weighted = over_group(weight(i) * token_sum)
    words = "g_i is the sum over the tokens of response i"
    return by_algebra(f"{name}-tokens", domain, loss, weighted, "factor by response", words)


def variation(weight: Weight) -> sp.Expr:
    """Coefficient of variation: standard deviation over mean."""
    return sp.sqrt(estimate_variance(weight)) / estimate_mean(weight)


def _variation_clause(name: str, weight: Weight, value: sp.Expr) -> Clause:
    before = variation(weight)
    steps, _ = put_in(before, mean_is_J, noise_is_VL)
    return Clause(
        name,
        _domain(*positive_means, *covariances, of=before),
        Claim(before, "=", value),
        Chain((*steps, Step("add up", "=", value))),
    )


def _order() -> Clause:
    before = variation(grpo)
    small, large = sp.sqrt(V) / (J * sp.sqrt(B)), sp.sqrt(V * A) / (G * J)
    steps, _ = put_in(before, mean_is_J, noise_is_VL)
    pairs = Square(L[u] - L[v], weight=1 / (2 * L[u] * L[v]), over=((u, G), (v, G)))
    factor = sp.sqrt(V) / (J * G * sp.sqrt(B) * (sp.sqrt(A * B) + G))
    schwarz = Step("Cauchy–Schwarz: G² ≤ Σ L · Σ 1/L", "<=", large, by=((factor, pairs),))
    return Clause(
        "cv-order",
        _domain(*positive_means, *covariances, of=before),
        Claim(before, "<=", large),
        Chain((*steps, Step("add up", "=", small), schwarz)),
        words="CV(GRPO) = CV(ΔL at α = 1) ≤ CV(DAPO) = CV(Dr. GRPO)",
    )


def _gap() -> tuple[Clause, Clause]:
    """Equality in Cauchy–Schwarz."""
    plain = Domain(responses, lengths)
    two = Domain(responses, some_response, another, lengths)
    pairs = over_group(over_group((L[u] - L[v]) ** 2 / (2 * L[u] * L[v]), v), u)
    here = (L[r] - L[c]) ** 2 / (2 * L[r] * L[c])
    others = (1 - sp.KroneckerDelta(u, r) * sp.KroneckerDelta(v, c)) * (L[u] - L[v])
    weight = 1 / (2 * L[u] * L[v])
    return (
        by_algebra("cv-gap", plain, A * B - G**2, pairs, "expand the square"),
        Clause(
            "cv-equality",
            two,
            Claim(here, "<=", A * B - G**2),
            Chain(
                (
                    Step(
                        "the other pairs add squares",
                        "<=",
                        A * B - G**2,
                        by=((1, Square(others, weight=weight, over=((u, G), (v, G)))),),
                    ),
                )
            ),
            words="if the two sides of cv-order are equal, then so are any two lengths",
        ),
    )


def table() -> Theorem:
    S = power_sum
    one_response = Domain(responses, maximum, some_response, lengths)
    flat = sp.sqrt(V * A) / (G * J)
    small = sp.sqrt(V) / (J * sp.sqrt(B))
    delta_one = lambda at: delta_l(at, one)  # noqa: E731
    return Theorem(
        id="aggregation.table",
        title="Mean, variance and relative noise of four ways to aggregate",
        words=(
            "With E[g_i | L] = ∇J and uncorrelated g_i of variance V L_i, the estimate Σ x_i g_i "
            "has, given the lengths, the mean (∇J/G) Σ 1/L and variance (V/G²) Σ 1/L for GRPO, "
            "G∇J/ΣL and V/ΣL for DAPO, ∇J/M and V ΣL/(GM)² for Dr. GRPO, ∇J/M and (V/M²) "
            "ΣL^(1−2α)/(ΣL^(−α))² for ΔL. At α = 0 ΔL is Dr. GRPO. Standard deviation over mean: "
            "√V/(‖∇J‖√Σ1/L) for GRPO and for ΔL at α = 1, which is at most √(VΣL)/(G‖∇J‖), that of "
            "DAPO and of Dr. GRPO; the two are equal only if all lengths are."
        ),
        assumptions=(
            MEAN,
            NOISE,
            "J > 0 in coefficients of variation: of several coordinates, V is the trace of the "
            "covariance per token and J = ‖∇J‖",
        ),
        clauses=(
            _tokens("grpo", grpo, over_group(token_sum / L[i]) / G),
            _tokens("dapo", dapo, over_group(token_sum) / power_sum(one)),
            _tokens("dr-grpo", dr_grpo, over_group(token_sum) / (G * M)),
            *_row("grpo", grpo, J * B / G, V * B / G**2),
            *_row("dapo", dapo, G * J / A, V / A),
            *_row("dr-grpo", dr_grpo, J / M, V * A / (G * M) ** 2),
            *_row("delta-l", delta_l, J / M, V / M**2 * S(1 - 2 * alpha) / S(-alpha) ** 2),
            by_algebra(
                "alpha-zero", one_response, delta_l(r, sp.Integer(0)), dr_grpo(r), "L^0 = 1"
            ),
            _variation_clause("cv-grpo", grpo, small),
            _variation_clause("cv-delta-l-one", delta_one, small),
            _variation_clause("cv-dapo", dapo, flat),
            _variation_clause("cv-dr-grpo", dr_grpo, flat),
            _order(),
            *_gap(),
        ),
        references=(
            delta_paper("its comparison of GRPO, DAPO, Dr. GRPO and ΔL", "as we read it"),
            Reference("arXiv 2503.20783", "", "§3", "Dr. GRPO, as we read it"),
            Reference("arXiv 2503.14476", "", "§3.3", "DAPO's token mean, as we read it"),
        ),
        implements=(
            "identity.aggregation.token_weights",
            "identity.aggregation.aggregate",
            "identity.aggregation.estimator_mean",
            "identity.aggregation.estimator_variance",
            "identity.aggregation.coefficient_of_variation",
        ),
        mutants=(
            Mutant(
                "mean without E[g|L] = J", "grpo-mean", domain=_domain(*means, of=J, but=mean_is_J)
            ),
            Mutant("mean of lengths for lengths", "grpo-mean", rhs=J * G / A),
            Mutant(
                "correlated gradients",
                "dapo-variance",
                domain=_domain(*covariances, of=V, but=noise_is_VL),
            ),
            Mutant("G for M", "dr-grpo-variance", rhs=V * A / M**2),
            Mutant(
                "exponent −2α", "delta-l-variance", rhs=V / M**2 * S(-2 * alpha) / S(-alpha) ** 2
            ),
            Mutant("α = 1 is Dr. GRPO", "alpha-zero", lhs=delta_l(r, one)),
            Mutant("strictly smaller", "cv-order", relation="<"),
            Mutant("DAPO's mean without G", "dapo-mean", rhs=J / A),
            Mutant("no factor 1/2", "cv-equality", lhs=(L[r] - L[c]) ** 2 / (L[r] + L[c])),
        ),
        check=CHECKS.get("aggregation.table"),
    )
