"""The stationary variance of the heavy ball, from one step of its second moments."""

from __future__ import annotations

import sympy as sp

from proofs.dynamics.notation import eta, momentum, mu, oscillator_paper
from proofs.first_principles import CHECKS
from proofs.kernel.context import Context
from proofs.kernel.domain import Array, Domain, Draws, Integer, Real
from proofs.kernel.rules import Moments, Termwise
from proofs.kernel.terms import SampleMean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

STATIONARY_VARIANCE = "dynamics.stationary-variance"

K, G, N, M, i, o, b, y = sp.symbols("K G N M i o b y")
v, c, s, a = sp.symbols("v c s a")
w, X, Z, law, f, Y = map(sp.IndexedBase, ("w", "X", "Z", "q", "f", "Y"))

phi1, phi2 = 1 + mu - eta * K, -mu

# -- one step, for any law of the pair (x_t, x_{t−1}) ----------------------------------------------

POSITIONS = (Real(K, 0), Real(eta, 0), Integer(N, 1, spread=3), Array(w, (N,), law=True))
NOISE = (
    Integer(G, 1, spread=2),
    Integer(M, 1, spread=2),
    Array(law, (M,), law=True),
    Array(f, (M,)),
    Draws(Y, G, law),
)
one_step = Domain(momentum(low=True), *POSITIONS, Array(X, (N,)), Array(Z, (N,)), *NOISE)


def over_pairs(body: sp.Expr, index: sp.Symbol = o) -> sp.Sum:
    return sp.Sum(body, (index, 1, N))


def over_rollouts(body: sp.Expr) -> sp.Sum:
    return sp.Sum(body, (y, 1, M))


expected = sp.Sum(law[b] * f[b], (b, 1, M))  # of one rollout's gradient
noise = sp.Sum(f[Y[i]], (i, 1, G)) / G - expected  # ξ_t: the group's mean minus its expectation
spread = sp.Sum(law[y] * f[y] ** 2, (y, 1, M)) - expected**2  # s²: the variance of one rollout's
following = phi1 * X[o] + phi2 * Z[o] + eta * noise  # x_{t+1}
now, before, both = (over_pairs(w[o] * e) for e in (X[o] ** 2, Z[o] ** 2, X[o] * Z[o]))


def _moment(name: str, body: sp.Expr, value: sp.Expr, text: str, words: str) -> Clause:
    """A mean over the pair's law and over the rollouts, which are independent of it."""
    inside = SampleMean(body)
    rule = Moments(inside, y)
    averaged = w[o] * rule.value(Context(one_step.extended(Integer(o, 1, N))))
    each = Step("moments of G independent rollouts", "=", averaged, by=(rule,))
    lhs = over_pairs(w[o] * inside)
    termwise = Termwise(lhs, averaged, steps=(each,))
    steps = (
        Step("given the pair, average over rollouts", "=", over_pairs(averaged), by=(termwise,)),
        Step(text, "=", value),
    )
    return Clause(name, one_step, Claim(lhs, "=", value), Chain(steps), words)


# -- stationarity: the moments of (x_{t+1}, x_t) are those of (x_t, x_{t−1}) -----------------------

STABLE = (momentum(low=True), Real(K, 0), Real(eta, 0, 2 * (1 + mu) / K), Real(s, 0))
stable = Domain(*STABLE, Integer(G, 1))
any_moments = Domain(*STABLE, Integer(G, 1), Real(v), Real(c))

beyond = Domain(
    *STABLE[:2],
    Real(eta, 2 * (1 + mu) / K, open_low=False),
    Real(s, 0),
    Integer(G, 1),
    Real(v, 0, open_low=False),
    Real(c),
)

kappa = eta * K
variance = (1 + mu) * eta * s**2 / ((1 - mu) * K * (2 * (1 + mu) - eta * K) * G)
covariance = phi1 * variance / (1 + mu)
contraction = (1 - mu) * kappa * (2 * (1 + mu) - kappa) / (1 + mu)


def next_variance(var: sp.Expr, cov: sp.Expr) -> sp.Expr:
    """E x_{t+1}² for E x_t² = E x_{t−1}² = var and E x_t x_{t−1} = cov."""
    return phi1**2 * var + 2 * phi1 * phi2 * cov + phi2**2 * var + eta**2 * s**2 / G


def next_covariance(var: sp.Expr, cov: sp.Expr) -> sp.Expr:
    return phi1 * var + phi2 * cov


def _algebra(
    name: str, domain: Domain, claim: Claim, text: str, words: str, by: tuple[object, ...] = ()
) -> Clause:
    step = Step(text, claim.relation, claim.rhs, by=by)
    return Clause(name, domain, claim, Chain((step,)), words)


def stationary_variance() -> Theorem:
    gap_v, gap_c = next_variance(v, c) - v, next_covariance(v, c) - c
    mean_of = phi1 * over_pairs(w[o] * X[o]) + phi2 * over_pairs(w[o] * Z[o])
    quadratic = phi1**2 * now + 2 * phi1 * phi2 * both + phi2**2 * before + eta**2 * spread / G
    return Theorem(
        id=STATIONARY_VARIANCE,
        title="The stationary variance falls as 1/G",
        words=(
            "Let x_{t+1} = (1 + μ − ηK)x_t − μx_{t−1} + ηξ_t, ξ_t the noise of a mean over G "
            "rollouts, of variance s²/G, with 0 ≤ μ < 1 and 0 < ηK < 2(1 + μ). Stationary second "
            "moments are those of mean 0 and variance (1+μ)ηs²/[(1−μ)K(2(1+μ)−ηK)G], and no "
            "others: proportional to 1/G. For ηK ≥ 2(1 + μ) and s > 0 there are none."
        ),
        assumptions=(
            "x is the deviation from the fixed point. ξ_t is independent of what came before; its "
            "G rollouts are independent and have the same law at every step.",
            "The clauses about one step hold for every finite law of (x_t, x_{t−1}), by linearity "
            "for every law of finite second moments.",
        ),
        clauses=(
            _moment(
                "mean",
                following,
                mean_of,
                "E ξ = 0",
                "E x_{t+1} = (1 + μ − ηK) E x_t − μ E x_{t−1}",
            ),
            _moment(
                "second-moment",
                following**2,
                quadratic,
                "E ξ = 0, E ξ² = s²/G",
                "E x_{t+1}² = φ₁² E x_t² + 2φ₁φ₂ E x_t x_{t−1} + φ₂² E x_{t−1}² + η²s²/G, "
                "φ₁ = 1 + μ − ηK, φ₂ = −μ",
            ),
            _moment(
                "lag-one",
                following * X[o],
                phi1 * now + phi2 * both,
                "E ξ = 0",
                "E x_{t+1} x_t = φ₁ E x_t² + φ₂ E x_t x_{t−1}",
            ),
            _algebra(
                "centred",
                Domain(momentum(low=True), Real(K, 0), Real(eta, 0), Real(a)),
                Claim(a - (phi1 * a + phi2 * a), "=", eta * K * a),
                "φ₁ + φ₂ = 1 − ηK",
                "a mean a that does not change has ηKa = 0: it is 0",
            ),
            _algebra(
                "forced",
                any_moments,
                Claim(
                    gap_v + 2 * phi1 * phi2 / (1 + mu) * gap_c, "=", contraction * (variance - v)
                ),
                "insert",
                "from variance v and covariance c: where neither changes, v is the stated one",
            ),
            _algebra(
                "factor",
                stable,
                Claim(0, "<", contraction),
                "by the ranges",
                "the factor before the difference is positive",
            ),
            _algebra(
                "none-beyond",
                beyond,
                Claim(0, "<", gap_v + 2 * phi1 * phi2 / (1 + mu) * gap_c),
                "the noise, and −v times the factor, which is not positive any more",
                "for ηK ≥ 2(1 + μ) no variance v ≥ 0 and covariance stay the same",
            ),
            _algebra(
                "solves",
                stable,
                Claim(next_variance(variance, covariance), "=", variance),
                "insert",
                "the stated variance, with the covariance φ₁v/(1 + μ), does not change",
            ),
            _algebra(
                "solves-lag",
                stable,
                Claim(next_covariance(variance, covariance), "=", covariance),
                "insert",
                "nor does that covariance",
            ),
            _algebra(
                "positive",
                stable,
                Claim(0, "<", variance),
                "by the ranges",
                "it is positive",
            ),
            _algebra(
                "correlation",
                stable,
                Claim(0, "<", variance**2 - covariance**2),
                "v² − c² = v²((1 + μ)² − φ₁²)/(1 + μ)², and (1 + μ)² − φ₁² = ηK(2(1 + μ) − ηK)",
                "and larger than the covariance: there are such laws",
            ),
        ),
        references=(
            oscillator_paper("noise of a group", "reconstructed; the closed form is ours"),
            Reference("folklore", "", "variance of a second-order autoregression"),
        ),
        implements=("identity.dynamics.stationary_variance",),
        mutants=(
            Mutant("noise of one rollout", "second-moment", rhs=quadratic + eta**2 * spread),
            Mutant("the noise remembers", "lag-one", rhs=phi1 * now + phi2 * both + eta**2),
            Mutant("μ forgotten", "mean", rhs=mean_of - phi2 * over_pairs(w[o] * Z[o])),
            Mutant("the mean halves", "centred", rhs=a / 2),
            Mutant(
                "without momentum",
                "forced",
                rhs=contraction * (eta * s**2 / (K * (2 - eta * K) * G) - v),
                domain=Domain(
                    momentum(low=True),
                    Real(K, 0),
                    Real(eta, 0, 2 / K),
                    *any_moments.declarations[3:],
                ),
            ),
            Mutant("1 − μ for 1 + μ", "solves", lhs=next_variance(variance * (1 - mu), covariance)),
            Mutant("half the covariance", "solves-lag", rhs=covariance / 2),
            Mutant("as much more as the noise", "none-beyond", lhs=2 * eta**2 * s**2 / G),
            Mutant("at least s²", "positive", lhs=s**2),
            Mutant("a factor of at least μ", "factor", lhs=mu),
            Mutant("half as correlated", "correlation", rhs=variance**2 - 4 * covariance**2),
            Mutant("1/√G", "solves", rhs=variance * sp.sqrt(G)),
        ),
        check=CHECKS.get(STATIONARY_VARIANCE),
    )
