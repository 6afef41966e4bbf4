"""A softmax bandit with two arms: how it saturates, and what a divergence adds."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.dynamics.clauses import PLAIN_TIME, y
from proofs.dynamics.notation import FOLKLORE, eta, oscillator_paper, t
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Real
from proofs.kernel.rules import Antiderivative, Differentiate, Instance, IntegralCompare
from proofs.kernel.terms import DefiniteIntegral, Slope
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Mutant,
    Refutation,
    Step,
    Theorem,
)

__all__ = ["bandit_saturation", "exponential_needs_restoring_force", "restoring_force"]

P, p, c = sp.symbols("P p c")
theta, ref, beta, z = sp.symbols("theta theta_ref beta z")
half, zero, one = sp.Rational(1, 2), sp.Integer(0), sp.Integer(1)
quarters = tuple(sp.Rational(n, 6) for n in (1, 2, 5, 6, 11, 17))

SATURATION, FORCE = "dynamics.bandit-saturation", "dynamics.restoring-force"
LOGIT = "A softmax over two arms of rewards 1 and 0; θ is the difference of the logits."
FLOW = "Gradient flow at learning rate η, in expectation: θ' = ηW(p)·p(1 − p)."

best = sp.exp(theta) / (1 + sp.exp(theta))  # π of the rewarded arm


def _rate(weight: sp.Expr, at: sp.Expr) -> sp.Expr:
    """dp/dt for the weight W: p' = p(1 − p)θ'."""
    return eta * weight * (at * (1 - at)) ** 2


def _plain_time() -> tuple[Clause, ...]:
    """From p = 1/2 to P, for W = 1: the time is ∫ dp/p'."""
    domain = Domain(Real(eta, 0), Real(P, half, 1, open_low=False))
    time = DefiniteIntegral(1 / _rate(one, y), y, half, P)
    primitive = PLAIN_TIME / eta
    closed = primitive.xreplace({y: P}) - primitive.xreplace({y: half})

    def bound(name: str, integrand: sp.Expr, whole: sp.Expr, lower: bool, words: str) -> Clause:
        value = whole.xreplace({y: P}) - whole.xreplace({y: half})
        relation = DefiniteIntegral(integrand, y, half, P)
        if lower:
            claim = Claim(value, "<=", time)
            by: tuple[Any, ...] = (
                (-1, Antiderivative(relation, whole)),
                (1, IntegralCompare(relation, 1 / _rate(one, y), "<=")),
            )
        else:
            claim = Claim(time, "<=", value)
            by = (
                (1, IntegralCompare(time, integrand, "<=")),
                (1, Antiderivative(relation, whole)),
            )
        step = Step("the integrands compare", "<=", claim.rhs, by=by)
        return Clause(name, domain, claim, Chain((step,)), words)

    return (
        Clause(
            "plain-time",
            domain,
            Claim(time, "=", closed),
            Chain((Step("an antiderivative", "=", closed, by=(Antiderivative(time, primitive),)),)),
            "W = 1: the time from 1/2 to P",
        ),
        bound(
            "plain-at-least",
            1 / (eta * (1 - y) ** 2),
            1 / (eta * (1 - y)),
            True,
            "it is at least (1/(1 − P) − 2)/η, so 1 − P ≥ 1/(ηt + 2)",
        ),
        bound(
            "plain-at-most",
            (1 + 6 * (1 - y)) / (eta * (1 - y) ** 2),
            (1 / (1 - y) - 6 * sp.log(1 - y)) / eta,
            False,
            "and at most (1/(1 − P) − 2 − 6 log(2(1 − P)))/η: 1 − P ~ 1/(ηt)",
        ),
    )


s = eta * t
curve = half + s / (2 * sp.sqrt(16 + s**2))


def _limit_curve() -> tuple[Clause, ...]:
    """W = 1/√(pq), the limit of GRPO at large G, from p = 1/2."""
    domain = Domain(Real(eta, 0), Real(t))
    later = Domain(Real(eta, 0), Real(t, 0))
    moving = sp.Derivative(curve, t)
    rate = eta * (curve * (1 - curve)) ** sp.Rational(3, 2)
    wide = sp.sqrt(16 + s**2)
    above = 64 * (wide + 2 * s) / (s**2 * wide * (wide + s) ** 2)
    below = 64 / (wide**2 * (wide + s) ** 2)
    return (
        Clause(
            "grpo-curve",
            domain,
            Claim(moving, "=", rate),
            Chain(
                (
                    Step("differentiated", "=", 8 * eta / wide**3, by=(Differentiate(moving),)),
                    Step("p(1 − p) = 4/(16 + η²t²)", "=", eta * (4 / wide**2) ** sp.Rational(3, 2)),
                    Step("as it stands", "=", rate),
                )
            ),
            "W = 1/√(p(1 − p)): p = 1/2 + ηt/(2√(16 + η²t²)) solves p' = η(p(1 − p))^{3/2}; it is "
            "1/2 at t = 0",
        ),
        Clause(
            "grpo-at-most",
            later,
            Claim(1 - curve, "<=", 4 / s**2),
            Chain(
                (
                    Step("rationalised", "=", 4 / s**2 - above),
                    Step("less what is positive", "<=", 4 / s**2),
                )
            ),
            "1 − p ≤ 4/(ηt)²",
        ),
        Clause(
            "grpo-at-least",
            later,
            Claim(4 / (16 + s**2), "<", 1 - curve),
            Chain(
                (
                    Step("more by what is positive", "<", 4 / wide**2 + below),
                    Step("rationalised", "=", 1 - curve),
                )
            ),
            "1 − p ≥ 4/((ηt)² + 16)",
        ),
    )


def bandit_saturation() -> Theorem:
    slope = sp.Derivative(best, theta)
    plain = p**2 * (1 - p)
    return Theorem(
        id=SATURATION,
        title="A bare two-arm bandit saturates by a power of time",
        words=(
            "From p = 1/2 the plain gradient has 1 − p between 1/(ηt + 2) and a bound that is "
            "1/(ηt) to leading order; the limit of GRPO at large G has p = 1/2 + ηt/(2√(16 + "
            "η²t²)), so that 4/((ηt)² + 16) ≤ 1 − p ≤ 4/(ηt)². The relative rate −(1 − p)'/(1 − p) "
            "of the plain gradient tends to 0."
        ),
        assumptions=(
            LOGIT,
            FLOW,
            "Times are ∫ dp/p'. W = 1/√(p(1 − p)) is the limit of large groups, by "
            "expectation.arcsine; at a finite G, W_G tends to √(G−1) as p → 1, and 1 − p is of "
            "order 1/t again.",
        ),
        clauses=(
            Clause(
                "gradient",
                Domain(Real(theta, samples=(*quarters, *(-n for n in quarters)))),
                Claim(slope, "=", best * (1 - best)),
                Chain(
                    (Step("differentiated", "=", best * (1 - best), by=(Differentiate(slope),)),)
                ),
                "dp/dθ = p(1 − p)",
            ),
            *_plain_time(),
            *_limit_curve(),
            Clause(
                "no-rate",
                Domain(Real(c, 0, 1), Real(p, 1 - c, 1)),
                Claim(plain, "<", c),
                Chain((Step("1 − p < c and p < 1", "<", c),)),
                "plain: the relative rate p²(1 − p)η is below any cη once p > 1 − c",
            ),
        ),
        references=(FOLKLORE,),
        implements=("identity.dynamics.cold_start_time",),
        mutants=(
            Mutant("(1 − p)²", "gradient", rhs=(1 - best) ** 2),
            Mutant("p(1 − p) once", "grpo-curve", rhs=eta * sp.sqrt(curve * (1 - curve))),
            Mutant("2/(ηt)²", "grpo-at-most", rhs=2 / s**2),
            Mutant("half as long", "plain-at-least", lhs=2 * (1 / (1 - P) - 2) / eta),
            Mutant("without the logarithm", "plain-at-most", rhs=(1 / (1 - P) - 2) / eta),
            Mutant("squared", "no-rate", rhs=c**2),
        ),
        check=CHECKS.get(SATURATION),
    )


def restoring_force() -> Theorem:
    """J = p − β KL(π‖π_ref), the logits (θ, 0) and (θ_ref, 0)."""

    def logs(logit: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        total = sp.log(1 + sp.exp(logit))
        return logit - total, -total

    (up, down), (up_ref, down_ref) = logs(theta), logs(ref)
    divergence = best * (up - up_ref) + (1 - best) * (down - down_ref)
    objective = best - beta * divergence
    gradient = best * (1 - best) * (1 - beta * (theta - ref))
    moving = sp.Derivative(objective, theta)
    fixed = ref + 1 / beta
    at_fixed = best.xreplace({theta: fixed})
    pull = Slope(gradient.xreplace({theta: z}), z, fixed)
    stiffness = -beta * at_fixed * (1 - at_fixed)
    logits = (*quarters, *(-n for n in quarters))
    strength, anchor = Real(beta, 0, samples=quarters), Real(ref, samples=logits)
    anywhere = Domain(strength, anchor, Real(theta, samples=logits))
    away = Domain(strength, anchor, Real(z, 0, samples=quarters))
    below, above = (gradient.xreplace({theta: fixed + sign * z}) for sign in (-1, 1))
    return Theorem(
        id=FORCE,
        title="A divergence from the reference gives an interior fixed point",
        words=(
            "With J = p − β KL(π‖π_ref) the gradient by θ is p(1 − p)(1 − β(θ − θ_ref)): one fixed "
            "point, θ* = θ_ref + 1/β, to which the gradient points from both sides, with stiffness "
            "βp*(1 − p*)."
        ),
        assumptions=(
            LOGIT,
            "β > 0. To first order around θ* the flow θ' = η dJ/dθ is exponential, at the rate "
            "η times the stiffness.",
        ),
        clauses=(
            Clause(
                "gradient",
                anywhere,
                Claim(moving, "=", gradient),
                Chain((Step("differentiated", "=", gradient, by=(Differentiate(moving),)),)),
                "dJ/dθ = p(1 − p)(1 − β(θ − θ_ref))",
            ),
            Clause(
                "fixed-point",
                Domain(strength, anchor),
                Claim(Slope(objective.xreplace({theta: z}), z, fixed), "=", zero),
                Chain(
                    (
                        Step(
                            "differentiated, at θ*",
                            "=",
                            zero,
                            by=(Differentiate(Slope(objective.xreplace({theta: z}), z, fixed)),),
                        ),
                    )
                ),
                "dJ/dθ = 0 at θ_ref + 1/β",
            ),
            Clause(
                "rises",
                away,
                Claim(zero, "<", below),
                Chain((Step("θ = θ* − z", "<", below),)),
                "below θ* it is positive",
            ),
            Clause(
                "falls",
                away,
                Claim(above, "<", zero),
                Chain((Step("θ = θ* + z", "<", zero),)),
                "above θ* negative",
            ),
            Clause(
                "stiffness",
                Domain(strength, anchor),
                Claim(pull, "=", stiffness),
                Chain((Step("differentiated, at θ*", "=", stiffness, by=(Differentiate(pull),)),)),
                "its slope at θ* is −βp*(1 − p*)",
            ),
        ),
        references=(oscillator_paper("the restoring force K"),),
        mutants=(
            Mutant("without p(1 − p)", "gradient", rhs=1 - beta * (theta - ref)),
            Mutant("stiffness β", "stiffness", rhs=-beta),
            Mutant("away from it", "rises", rhs=above),
        ),
        check=CHECKS.get(FORCE),
    )


def exponential_needs_restoring_force() -> Theorem:
    return Theorem(
        id="dynamics.exponential-needs-restoring-force",
        title="A bare two-arm bandit does not saturate exponentially",
        words=(
            "An exponential approach has a relative rate −(1 − p)'/(1 − p) that stays away from 0. "
            "In a bare two-arm softmax bandit the rate is ηp²(1 − p) for the plain gradient and "
            "ηp^{3/2}(1 − p)^{1/2} for the limit of GRPO at large G: both vanish as p → 1, and 1 "
            "− p "
            "falls like 1/(ηt) and 4/(ηt)². A divergence from a reference gives a fixed point to "
            "which the approach is exponential."
        ),
        assumptions=(
            LOGIT,
            FLOW,
            "A tenth stands for any positive rate, in units of η. The claim is the exponential law "
            "applied where there is no restoring force, which its source assumes.",
        ),
        uses=(SATURATION,),
        refutes=(
            Refutation(
                "plain",
                Domain(Real(p, half, 1, open_low=False)),
                Claim(sp.Rational(1, 10), "<=", p**2 * (1 - p)),
                ((p, sp.Rational(19, 20)),),
                "the plain gradient closes the gap at a rate of at least η/10 from p = 1/2 on",
            ),
            Refutation(
                "grpo",
                Domain(Real(p, half, 1, open_low=False)),
                Claim(sp.Rational(1, 10), "<=", p ** sp.Rational(3, 2) * sp.sqrt(1 - p)),
                ((p, sp.Rational(199, 200)),),
                "and so does the limit of GRPO at large G",
            ),
        ),
        clauses=(
            Clause(
                "algebraic",
                Domain(Real(eta, 0), Real(t, 0)),
                Claim(4 / (16 + s**2), "<", 1 - curve),
                Chain(
                    (
                        Step(
                            "as proved",
                            "<",
                            1 - curve,
                            by=((1, Instance(SATURATION, "grpo-at-least")),),
                        ),
                    )
                ),
                "the limit of GRPO stays above 4/((ηt)² + 16): no exponential bounds it",
            ),
        ),
        references=(oscillator_paper("a single exponential for saturating curves"),),
        corrected_by=(SATURATION, FORCE),
        mutants=(
            Mutant("also false: a hundredth", "plain", lhs=sp.Rational(11, 100)),
            Mutant("twice that", "algebraic", lhs=8 / (16 + s**2)),
        ),
        check=CHECKS.get("dynamics.exponential-needs-restoring-force"),
    )
