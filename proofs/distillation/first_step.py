"""The first step from a student toward a teacher, and what a better teacher promises for it."""

from __future__ import annotations

import sympy as sp

from proofs.distillation.notation import (
    LOG_T,
    LOG_W,
    OPD,
    POSITIVE,
    N,
    j,
    over,
    policies,
    tau,
    w,
    y,
)
from proofs.first_principles import CHECKS
from proofs.kernel.calculus import derivative
from proofs.kernel.context import Context
from proofs.kernel.domain import Array, Domain, Real
from proofs.kernel.rules import Ball, Cite, Differentiate, Termwise
from proofs.kernel.terms import Maximum, Slope
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Mutant,
    Refutation,
    Step,
    Theorem,
)

lam, x, low, high = sp.symbols("lambda x low high")
R = sp.IndexedBase("R")
rewarded = (*policies, Array(R, (N,)))
bounded = (
    *policies,
    Real(low),
    Real(high, low, open_low=False),
    Array(R, (N,), low, high, open_low=False, open_high=False),
)
WRITTEN = "In the formulas w is the student π_S and tau the teacher π_T."

RATIO = LOG_T - LOG_W
STUDENT_MEAN = over(w[y] * R[y])
GAIN = over(tau[y] * R[y]) - STUDENT_MEAN  # E_T R − E_S R
DIVERGENCE = over(w[y] * (LOG_W - LOG_T))  # KL(π_S‖π_T)
COVARIANCE = over(w[y] * R[y] * RATIO) - STUDENT_MEAN * over(w[y] * RATIO)


def path(strength: sp.Expr, response: sp.Expr = y) -> sp.Expr:
    """π_S^(1−λ) π_T^λ, not yet normalised."""
    return sp.exp((1 - strength) * sp.log(w[response]) + strength * sp.log(tau[response]))


def mean_on_path(strength: sp.Expr, value: sp.Expr) -> sp.Expr:
    """E_λ of a value of the response."""
    return over(path(strength) * value) / over(path(strength, j), j)


def covariance_on_path(strength: sp.Expr) -> sp.Expr:
    """Cov_λ(R, log π_T/π_S)."""
    product = mean_on_path(strength, R[y] * RATIO)
    return product - mean_on_path(strength, R[y]) * mean_on_path(strength, RATIO)


def first_step() -> Theorem:
    def differentiated(name: str, domain: Domain, at: sp.Expr, rhs: sp.Expr, words: str) -> Clause:
        slope = Slope(mean_on_path(lam, R[y]), lam, at)
        steps = (
            Step(
                "differentiate", "=", derivative(slope, Context(domain)), by=(Differentiate(slope),)
            ),
            Step("collect", "=", rhs),
        )
        return Clause(name, domain, Claim(slope, "=", rhs), Chain(steps), words)

    domain = Domain(*bounded)
    tangent = Cite("exponential-tangent", ((sp.Symbol("x"), RATIO),))

    def margin(name: str, weight: sp.Expr, words: str) -> Clause:
        """The gain and the covariance differ by at most the divergence times a reward's reach."""
        sign = 1 if weight.coeff(R[y]) < 0 else -1  # weights high − R, and R − low
        linear = w[y] * weight * (1 + RATIO)
        above = tau[y] * weight
        convex = Step(
            "1 + x ≤ e^x at x = log(π_T/π_S)", "<=", above, by=((w[y] * weight, tangent),)
        )
        fact = Termwise(over(linear), above, "<=", (convex,))
        reach = weight.xreplace({R[y]: STUDENT_MEAN})
        bound = reach * DIVERGENCE
        gap = sign * (GAIN - COVARIANCE)
        step = Step("Σ π_S = Σ π_T = 1", "<=", bound, by=((1, fact),))
        return Clause(name, domain, Claim(gap, "<=", bound), Chain((step,)), words)

    squares = over((w[y] - tau[y]) ** 2 / tau[y])
    upper = w[y] * (w[y] / tau[y] - 1)
    reversed_tangent = Cite("exponential-tangent", ((sp.Symbol("x"), -RATIO),))
    convex = Step("1 + x ≤ e^x at x = log(π_S/π_T)", "<=", upper, by=((w[y], reversed_tangent),))
    at = Domain(*rewarded, Real(x))
    above = margin("at-most", high - R[y], "E_T R − E_S R − Cov ≤ (max R − E_S R) KL(π_S‖π_T)")
    below = margin("at-least", R[y] - low, "Cov − (E_T R − E_S R) ≤ (E_S R − min R) KL(π_S‖π_T)")
    return Theorem(
        id="distillation.first-step",
        title="The first step toward a teacher gains a covariance",
        words=(
            "Along π_λ ∝ π_S^{1−λ} π_T^λ the reward has the slope d/dλ E[R] = Cov_S(R, log "
            "π_T/π_S) at the student, and Cov_λ(R, log π_T/π_S) at every λ. It differs from the "
            "whole gain E_T R − E_S R by at most the divergence times a distance of rewards: with "
            "rewards in [low, high], gain − Cov ≤ (high − E_S R) KL(π_S‖π_T) and Cov − gain ≤ "
            "(E_S R − low) KL(π_S‖π_T). So a teacher that is better by more than (high − E_S R) "
            "KL(π_S‖π_T) does give a helpful first step. The divergence is at most Σ (π_S − π_T)²/"
            "π_T, of second order in the difference of both; the gain is of first order."
        ),
        assumptions=(POSITIVE, WRITTEN),
        clauses=(
            differentiated(
                "slope",
                Domain(*rewarded),
                sp.Integer(0),
                COVARIANCE,
                "d/dλ E[R] at λ = 0 is Cov_S(R, log π_T/π_S)",
            ),
            differentiated(
                "on-path", at, x, covariance_on_path(x), "and at λ = x it is that under π_x"
            ),
            above,
            below,
            Clause(
                "second-order",
                Domain(*policies),
                Claim(DIVERGENCE, "<=", squares),
                Chain(
                    (
                        Step(
                            "response by response",
                            "<=",
                            over(upper),
                            by=((1, Termwise(DIVERGENCE, upper, "<=", (convex,))),),
                        ),
                        Step("Σ π_S = Σ π_T = 1", "=", squares),
                    )
                ),
                "KL(π_S‖π_T) ≤ Σ (π_S − π_T)²/π_T",
            ),
        ),
        references=(OPD,),
        implements=("identity.distillation.first_step_gain",),
        mutants=(
            Mutant("a mean, no covariance", "slope", rhs=over(w[y] * R[y] * RATIO)),
            Mutant("the gain", "slope", rhs=GAIN),
            Mutant("at the student", "on-path", rhs=COVARIANCE),
            Mutant("the other sign", "on-path", rhs=-covariance_on_path(x)),
            Mutant("no more than the covariance", "at-most", rhs=0),
            Mutant("half the divergence", "at-most", rhs=above.claim.rhs / 2),
            Mutant("no less than the covariance", "at-least", rhs=0),
            Mutant("half the divergence, below", "at-least", rhs=below.claim.rhs / 2),
            Mutant("half of the squares", "second-order", rhs=squares / 2),
        ),
        check=CHECKS.get("distillation.first-step"),
    )


def better_teacher_helps() -> Theorem:
    # The witness: three responses, of which the second is wrong.
    student = tuple(sp.Rational(n, 10000) for n in (1586, 5331, 3083))
    teacher = tuple(sp.Rational(n, 10000) for n in (43, 4901, 5056))
    rewards = (1, 0, 1)
    mean = sp.Add(*(a * r for a, r in zip(student, rewards, strict=True)))
    covariance = sp.Add(
        *(
            a * (r - mean) * (sp.log(b) - sp.log(a))
            for a, b, r in zip(student, teacher, rewards, strict=True)
        )
    )

    def number(name: str, smaller: sp.Expr, larger: sp.Expr, words: str) -> Clause:
        step = Step("both to 50 digits", "<", larger, by=((1, Ball(smaller, "<", larger)),))
        return Clause(name, Domain(), Claim(smaller, "<", larger), Chain((step,)), words)

    claimed = Maximum(COVARIANCE, -GAIN)
    return Theorem(
        id="distillation.better-teacher-helps",
        title="A better teacher need not give a helpful first step",
        words=(
            "The claim that a teacher with a higher reward gives a first step that raises the "
            "reward fails: with π_S = (.1586, .5331, .3083), π_T = (.0043, .4901, .5056) and "
            "rewards (1, 0, 1) the teacher is better by exactly .043, and the covariance of reward "
            "and log π_T/π_S, the slope of the first step, is −.2028. The first step follows the "
            "logarithm, and the teacher has all but given up one of the right responses. The claim "
            "holds where the gain exceeds (max R − E_S R) KL(π_S‖π_T) (distillation.first-step): "
            "to first order, for teachers near the student."
        ),
        assumptions=(POSITIVE, WRITTEN),
        refutes=(
            Refutation(
                "better-helps",
                Domain(*rewarded),
                Claim(0, "<=", claimed),
                ((N, 3), (w, student), (tau, teacher), (R, rewards)),
                "E_T R > E_S R implies Cov_S(R, log π_T/π_S) ≥ 0: one of Cov and E_S R − E_T R "
                "is at least 0",
            ),
        ),
        clauses=(
            number(
                "slope", covariance, sp.Rational(-2028, 10000), "Cov_S(R, log π_T/π_S) < −0.2028"
            ),
            number(
                "slope-below",
                sp.Rational(-2029, 10000),
                covariance,
                "Cov_S(R, log π_T/π_S) > −0.2029",
            ),
        ),
        references=(OPD,),
        corrected_by=("distillation.first-step",),
        implements=("identity.distillation.first_step_gain",),
        mutants=(
            Mutant("also false: by the gain", "better-helps", lhs=GAIN),
            Mutant(
                "also false: or it is far",
                "better-helps",
                rhs=Maximum(claimed, DIVERGENCE / 4 - GAIN),
            ),
        ),
        check=CHECKS.get("distillation.better-teacher-helps"),
    )
