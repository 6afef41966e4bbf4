"""How the variance of ΔL depends on its exponent α."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.aggregation.assuming import put_in
from proofs.aggregation.notation import (
    EXPONENTS,
    NOISE,
    POSITIVE,
    C,
    G,
    L,
    M,
    V,
    alpha,
    delta_l,
    delta_paper,
    estimate_variance,
    exponent,
    i,
    maximum,
    noise_is_VL,
    over_group,
    power_sum,
    powered_lengths,
    responses,
    u,
    v,
)
from proofs.first_principles import CHECKS
from proofs.kernel.calculus import derivative
from proofs.kernel.context import Context
from proofs.kernel.domain import Array, Assumption, Domain, Integer, Real
from proofs.kernel.rules import Assume, Instance, MeanValue, Square
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

k, k1, k2, shorter, excess, t = sp.symbols("k k1 k2 h r t")
alpha1, alpha2 = sp.symbols("alpha1 alpha2")
z = sp.IndexedBase("z")
S = power_sum
BELOW = tuple(sp.Rational(n, 4) for n in (-4, -2, 0, 1, 2, 3))
ABOVE = tuple(sp.Rational(n, 4) for n in (4, 5, 6, 7, 8, 10))

# Two responses of lengths h and h + r, numbered 1 and 2; the others are as they come.
first, second = sp.Integer(1), sp.Integer(2)
two_lengths = Assumption(
    L,
    (i,),
    z[i]
    + sp.KroneckerDelta(i, first) * (shorter - z[first])
    + sp.KroneckerDelta(i, second) * (shorter + excess - z[second]),
    "responses 1 and 2 have the lengths h and h + r",
)
differing = (
    Real(shorter, 0, samples=POSITIVE),
    Real(excess, 0, samples=POSITIVE),
    Array(z, (G,), 0, samples=POSITIVE),
    powered_lengths,
    two_lengths,
)
at_least_two = Integer(G, 2, spread=3)


def log_sum(power: sp.Expr) -> sp.Sum:
    """S'(k) = Σ L^k log L."""
    return over_group(L[u] ** power * sp.log(L[u]), u)


def mean_log(power: sp.Expr) -> sp.Expr:
    """Mean of log L under the weights L^k."""
    return log_sum(power) / S(power)


def _spread_of_logs(power: sp.Expr) -> sp.Expr:
    """Variance of log L under the weights L^k, as a sum over pairs: the slope of mean_log."""
    squares = over_group(
        over_group(L[u] ** power * L[v] ** power * (sp.log(L[u]) - sp.log(L[v])) ** 2 / 2, v), u
    )
    return squares / S(power) ** 2


def _pairs(only_others: bool) -> Square:
    root = sp.log(L[u]) - sp.log(L[v])
    if only_others:
        root = (1 - sp.KroneckerDelta(u, second) * sp.KroneckerDelta(v, first)) * root
    return Square(root, weight=L[u] ** k * L[v] ** k / 2, over=((v, G), (u, G)))


def tilted_mean() -> Theorem:
    low, high = Real(k1, samples=EXPONENTS), Real(k2, k1, samples=EXPONENTS)
    plain = Domain(responses, powered_lengths, low, high)
    strict = Domain(at_least_two, *differing, low, high)
    slope = _spread_of_logs(k)
    over = 1 / S(k) ** 2
    pair = (sp.log(shorter + excess) - sp.log(shorter)) ** 2
    here = L[second] ** k * L[first] ** k * (sp.log(L[second]) - sp.log(L[first])) ** 2 / 2
    known = (shorter + excess) ** k * shorter**k * pair / 2
    log_grows = MeanValue(sp.log(t) - sp.log(shorter), t, shorter, shorter + excess, 1 / t, "<")
    weak = MeanValue(
        mean_log(k),
        k,
        k1,
        k2,
        slope,
        "<=",
        (
            Step(
                "a variance, written as a sum of squares", "<=", slope, by=((over, _pairs(False)),)
            ),
        ),
    )
    strictly = MeanValue(
        mean_log(k),
        k,
        k1,
        k2,
        slope,
        "<",
        (
            Step("two of the logarithms differ", "<", known * over),
            Step(
                "what is assumed", "=", here * over, by=(Assume(L, (second,)), Assume(L, (first,)))
            ),
            Step("the other pairs add squares", "<=", slope, by=((over, _pairs(True)),)),
        ),
    )
    sides = mean_log(k1), mean_log(k2)

    def clause(
        name: str, domain: Domain, rule: MeanValue, relation: str, given: Any = ()
    ) -> Clause:
        step = Step("its slope in k is a variance", relation, sides[1], by=((1, rule),))
        return Clause(
            name, domain, Claim(sides[0], relation, sides[1]), Chain((step,)), given=given
        )

    return Theorem(
        id="aggregation.tilted-mean",
        title="The mean log-length grows with the exponent of the weights",
        words=(
            "The mean of log L under weights proportional to L^k, Σ L^k log L / Σ L^k, is "
            "nondecreasing in k, and increasing if two of the lengths differ: its slope is the "
            "variance of log L under these weights."
        ),
        assumptions=("lengths are positive; to differ, two responses have the lengths h < h + r",),
        clauses=(
            clause("nondecreasing", plain, weak, "<="),
            clause("increasing", strict, strictly, "<", (log_grows,)),
        ),
        references=(Reference("folklore", "", "log Σ L^k is convex in k"),),
        mutants=(
            Mutant("at most the plain mean of log L", "nondecreasing", rhs=mean_log(sp.Integer(0))),
            Mutant("decreasing", "increasing", lhs=sides[1], rhs=sides[0]),
            Mutant("the sum of powers itself", "increasing", lhs=S(k1), rhs=S(k2)),
        ),
        check=CHECKS.get("aggregation.tilted-mean"),
    )


def delta_l_alpha() -> Theorem:
    covariances = (Real(V, 0), Array(C, (G, G)), noise_is_VL)
    closed_domain = Domain(responses, maximum, exponent, powered_lengths, *covariances)
    before = estimate_variance(delta_l)

    def closed(power: sp.Expr) -> sp.Expr:
        return V / M**2 * S(1 - 2 * power) / S(-power) ** 2

    below = (
        Real(alpha1, None, 1, samples=BELOW),
        Real(alpha2, alpha1, 1, open_high=False, samples=(*BELOW[1:], 1)),
    )
    above = (Real(alpha1, 1, open_low=False, samples=ABOVE), Real(alpha2, alpha1, samples=ABOVE))
    past_one = (Real(alpha1, 1, samples=ABOVE), above[1])
    from_zero = (
        Real(alpha1, 0, samples=ABOVE + BELOW),
        Real(alpha2, alpha1, samples=ABOVE + BELOW),
    )
    plain = (responses, maximum, Real(V, 0), powered_lengths)
    strict = (at_least_two, maximum, Real(V, 0), *differing)

    def side(name: str, base: tuple[Any, ...], ends: Any, relation: str, falls: bool) -> Clause:
        """Monotone between two exponents on one side of 1."""
        sign = -1 if falls else 1
        body = sign * closed(t)
        inner = Domain(*base, *ends, Real(t))
        slope = derivative(sp.Derivative(body, t), Context(inner))
        lemma = "increasing" if relation == "<" else "nondecreasing"
        powers = (-t, 1 - 2 * t) if falls else (1 - 2 * t, -t)
        tilted = Instance("aggregation.tilted-mean", lemma, ((k1, powers[0]), (k2, powers[1])))
        steps = (
            Step("the mean log-lengths compare", relation, slope, by=((2 * closed(t), tilted),)),
        )
        rule = MeanValue(body, t, alpha1, alpha2, slope, relation, steps)
        left, right = (alpha2, alpha1) if falls else (alpha1, alpha2)
        claim = Claim(closed(left), relation, closed(right))
        text = "the slope in α has one sign"
        return Clause(
            name,
            Domain(*base, *ends),
            claim,
            Chain((Step(text, relation, closed(right), by=((1, rule),)),)),
        )

    steps, _ = put_in(before, noise_is_VL)
    return Theorem(
        id="aggregation.delta-l-alpha",
        title="ΔL's variance falls up to α = 1 and rises after",
        words=(
            "For uncorrelated g_i of variance V L_i the variance of ΔL is (V/M²) S(1−2α)/S(−α)², "
            "S(k) = Σ L^k, for every real α. It is nonincreasing in α up to 1 and nondecreasing "
            "from 1 on; if two of the lengths differ it falls and rises strictly."
        ),
        assumptions=(
            NOISE,
            "lengths, V > 0; to differ: two responses have the lengths h < h + r",
        ),
        uses=("aggregation.tilted-mean",),
        clauses=(
            Clause(
                "closed-form",
                closed_domain,
                Claim(before, "=", closed(alpha)),
                Chain((*steps, Step("add up", "=", closed(alpha)))),
            ),
            side("falls-weakly", plain, below, "<=", True),
            side("rises-weakly", plain, above, "<=", False),
            side("falls", strict, below, "<", True),
            side("rises", strict, above, "<", False),
        ),
        references=(delta_paper("the exponent α", "as we read it; the monotonicity is new here"),),
        implements=(
            "identity.aggregation.estimator_variance",
            "identity.aggregation.coefficient_of_variation",
        ),
        mutants=(
            Mutant("S(−2α)", "closed-form", rhs=V / M**2 * S(-2 * alpha) / S(-alpha) ** 2),
            Mutant(
                "falls with S(1−α)",
                "falls-weakly",
                lhs=V / M**2 * S(1 - alpha2) / S(-alpha2) ** 2,
                rhs=V / M**2 * S(1 - alpha1) / S(-alpha1) ** 2,
            ),
            Mutant("falls beyond 1", "falls", domain=Domain(*strict, *past_one)),
            Mutant("rises from 0 on", "rises", domain=Domain(*strict, *from_zero)),
        ),
        check=CHECKS.get("aggregation.delta-l-alpha"),
    )
