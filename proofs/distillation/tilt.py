"""The best response to a teacher under a divergence penalty is a geometric mixture."""

from __future__ import annotations

import sympy as sp

from proofs.distillation.notation import OPD, N, j, outcomes, over, tau, w, y
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Integer, Real
from proofs.kernel.rules import Cite, RealPower, Termwise
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

beta, kappa = sp.symbols("beta kappa")
p = sp.IndexedBase("p")  # any policy
LOG_P, LOG_S, LOG_T = sp.log(p[y]), sp.log(w[y]), sp.log(tau[y])

three = (outcomes, Array(p, (N,), law=True), Array(w, (N,), law=True), Array(tau, (N,), law=True))
# Samples evaluate powers to 50 digits; any β > 0 is covered.
tenths = tuple(sp.Rational(n, 10) for n in (2, 5, 8, 10, 15, 25, 40))


def exponent(strength: sp.Expr, response: sp.Expr = y) -> sp.Expr:
    """(1 − 1/β) log π_k + (1/β) log π_T."""
    log_s, log_t = sp.log(w[response]), sp.log(tau[response])
    return (1 - 1 / strength) * log_s + log_t / strength


def partition(strength: sp.Expr) -> sp.Expr:
    """Z, the sum of π_k^(1−1/β) π_T^(1/β)."""
    return over(sp.exp(exponent(strength, j)), j)


def log_tilted(strength: sp.Expr, response: sp.Expr = y) -> sp.Expr:
    """log π*: the exponent less log Z."""
    return exponent(strength, response) - sp.log(partition(strength))


def objective(strength: sp.Expr, law: sp.Expr, log_law: sp.Expr) -> sp.Expr:
    """E_π[log π_T/π_k] − β KL(π‖π_k)."""
    return over(law * (LOG_T - LOG_S)) - strength * over(law * (log_law - LOG_S))


def tilt() -> Theorem:
    strength = Real(beta, 0, samples=tenths)
    domain = Domain(*three, strength)
    value = objective(beta, p[y], LOG_P)
    star = log_tilted(beta)
    maximum = beta * sp.log(partition(beta))
    distance = over(p[y] * (LOG_P - star))  # KL(π‖π*)
    at_star = objective(beta, sp.exp(star), star)

    # With κ = 1/(2β) the square root of π* has whole multiples of κ in its exponents.
    doubled = 1 / (2 * kappa)
    root = sp.exp(log_tilted(doubled) / 2)  # √π*
    gap = over((sp.sqrt(p[y]) - root) ** 2)
    log_ratio = log_tilted(doubled) - LOG_P
    tangent = Cite("exponential-tangent", ((sp.Symbol("x"), log_ratio / 2),))
    to_root = p[y] * (LOG_P - log_tilted(doubled))
    of_root = 2 * p[y] - 2 * sp.sqrt(p[y]) * root
    convex_root = Step("1 + x ≤ e^x at x = ½ log(π*/π)", "<=", to_root, by=((2 * p[y], tangent),))
    rootwise = Termwise(over(of_root), to_root, "<=", (convex_root,))
    narrow = Domain(*three, Real(kappa, 0, samples=tenths))
    value_k = objective(doubled, p[y], LOG_P)
    maximum_k = doubled * sp.log(partition(doubled))

    power = w[y] ** (1 - 1 / beta) * tau[y] ** (1 / beta)
    mixture = power / over(power.xreplace({y: j}), j)
    chosen = Domain(outcomes, *three[2:], strength, Integer(y, 1, N))
    ends = (RealPower(w[y], 1 - 1 / beta), RealPower(tau[y], 1 / beta))
    inner = tuple(RealPower(r.base.xreplace({y: j}), r.exponent) for r in ends)
    to_exp = Step("x^y = exp(y log x)", "=", sp.exp(exponent(beta, j)), by=inner)
    sum_of_powers = over(power.xreplace({y: j}), j)
    under = Termwise(sum_of_powers, sp.exp(exponent(beta, j)), steps=(to_exp,))
    one = sp.Integer(1)
    return Theorem(
        id="distillation.tilt",
        title="The optimum under a divergence penalty is π_k^(1−1/β) π_T^(1/β)",
        words=(
            "E_π[log π_T/π_k] − β KL(π‖π_k) = β log Z − β KL(π‖π*) for every policy π, with π* = "
            "π_k^{1−1/β} π_T^{1/β}/Z. So π* is the maximum, and any other policy is lower, by at "
            "least β Σ (√π − √π*)². At β = 1 the objective is −KL(π‖π_T) and the "
            "optimum the teacher; for β > 1 the optimum lies between the two, for β < 1 beyond the "
            "teacher."
        ),
        assumptions=(
            "Finitely many responses, each with positive probability under π, π_k and π_T.",
            "In the formulas p is any policy π, w is π_k and tau is π_T.",
        ),
        clauses=(
            Clause(
                "mixture",
                chosen,
                Claim(sp.exp(star), "=", mixture),
                Chain((Step("x^y = exp(y log x)", "=", mixture, by=(*ends, under)),)),
                "π*, written by its logarithm, is the normalised π_k^(1−1/β) π_T^(1/β)",
            ),
            Clause(
                "deficit",
                domain,
                Claim(value, "=", maximum - beta * distance),
                Chain((Step("collect the logarithms; Σ π = 1", "=", maximum - beta * distance),)),
                "the objective is β log Z − β KL(π‖π*)",
            ),
            Clause(
                "value",
                domain,
                Claim(at_star, "=", maximum),
                Chain((Step("collect the logarithms; Σ π* = 1", "=", maximum),)),
                "at π* it is β log Z",
            ),
            Clause(
                "distance",
                narrow,
                Claim(value_k, "<=", maximum_k - doubled * gap),
                Chain(
                    (
                        Step(
                            "collect the logarithms; Σ π = 1",
                            "=",
                            maximum_k - doubled * over(to_root),
                        ),
                        Step(
                            "response by response",
                            "<=",
                            maximum_k - doubled * over(of_root),
                            by=((doubled, rootwise),),
                        ),
                        Step("Σ π = Σ π* = 1", "=", maximum_k - doubled * gap),
                    )
                ),
                "no policy is above π*, and one as good as π* is π*; here β = 1/(2κ)",
            ),
            Clause(
                "teacher",
                Domain(outcomes, *three[2:], Integer(y, 1, N)),
                Claim(sp.exp(log_tilted(one)), "=", tau[y]),
                Chain((Step("Σ π_T = 1", "=", tau[y]),)),
                "β = 1 gives the teacher",
            ),
            Clause(
                "at-one",
                Domain(*three),
                Claim(objective(one, p[y], LOG_P), "=", -over(p[y] * (LOG_P - LOG_T))),
                Chain((Step("log π_k cancels", "=", -over(p[y] * (LOG_P - LOG_T))),)),
                "and the objective there is −KL(π‖π_T)",
            ),
        ),
        references=(OPD,),
        implements=("identity.distillation.geometric_tilt",),
        mutants=(
            Mutant("exponents swapped", "mixture", rhs=mixture.xreplace({w: tau, tau: w})),
            Mutant("not normalised", "mixture", rhs=power),
            Mutant("without β", "deficit", rhs=maximum - distance),
            Mutant(
                "the divergence from the teacher",
                "deficit",
                rhs=maximum - beta * over(p[y] * (LOG_P - LOG_T)),
            ),
            Mutant("log Z alone", "value", rhs=sp.log(partition(beta))),
            Mutant("the teacher is best", "distance", rhs=objective(doubled, tau[y], LOG_T)),
            Mutant("twice the distance", "distance", rhs=maximum_k - 2 * doubled * gap),
            Mutant("the student", "teacher", rhs=w[y]),
            Mutant("the divergence from the student", "at-one", rhs=-over(p[y] * (LOG_P - LOG_S))),
        ),
        check=CHECKS.get("distillation.tilt"),
    )
