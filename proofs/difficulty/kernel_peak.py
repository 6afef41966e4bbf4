"""The Beta kernel p^α (1 − p)^β as a weight: where it is largest."""

from __future__ import annotations

import sympy as sp

from proofs.difficulty.notation import p, paced, t
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Real
from proofs.kernel.rules import Differentiate, MeanValue
from proofs.kernel.terms import Slope
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

alpha, beta = sp.symbols("alpha beta")
peak = alpha / (alpha + beta)
QUARTERS = tuple(sp.Rational(k, 4) for k in (1, 2, 3, 4, 6, 8, 12))
RATES = tuple(sp.Rational(k, 12) for k in range(1, 12))
exponents = (Real(alpha, 0, samples=QUARTERS), Real(beta, 0, samples=QUARTERS))


def kernel(x: sp.Expr) -> sp.Expr:
    return x**alpha * (1 - x) ** beta


def beta_kernel() -> Theorem:
    flat = Slope(kernel(t), t, peak)
    slope = t ** (alpha - 1) * (1 - t) ** (beta - 1) * (alpha - (alpha + beta) * t)
    before = Domain(*exponents, Real(p, 0, peak, samples=RATES))
    after = Domain(*exponents, Real(p, peak, 1, samples=RATES))
    largest = kernel(peak)

    def side(name: str, domain: Domain, rule: MeanValue, words: str) -> Clause:
        step = Step("its slope has one sign up to the peak", "<", largest, by=((1, rule),))
        return Clause(name, domain, Claim(kernel(p), "<", largest), Chain((step,)), words)

    return Theorem(
        id="difficulty.beta-kernel",
        title="The Beta kernel is largest at α/(α+β)",
        words=(
            "For real α, β > 0 the weight p^α (1−p)^β has slope 0 at p = α/(α+β) and is strictly "
            "smaller at every other p in (0, 1), on either side. So with α = β it favours p = 1/2."
        ),
        assumptions=("0 < p < 1; α and β need not be integers.",),
        clauses=(
            Clause(
                "stationary",
                Domain(*exponents),
                Claim(flat, "=", 0),
                Chain((Step("α(1−p) = βp there", "=", 0, by=(Differentiate(flat),)),)),
                "the slope at the peak is 0",
            ),
            side(
                "below",
                before,
                MeanValue(kernel(t), t, p, peak, slope, "<"),
                "p^α (1−p)^β is smaller for p < α/(α+β)",
            ),
            side(
                "above",
                after,
                MeanValue(-kernel(t), t, peak, p, -slope, "<"),
                "and for p > α/(α+β)",
            ),
        ),
        references=(paced("the weight w(p) = p^α (1−p)^β", "its maximum: elementary"),),
        implements=("identity.difficulty.beta_kernel", "identity.difficulty.beta_kernel_peak"),
        mutants=(
            Mutant("β/(α+β)", "stationary", lhs=Slope(kernel(t), t, beta / (alpha + beta))),
            Mutant("(α+1)/(α+β+2)", "below", rhs=kernel((alpha + 1) / (alpha + beta + 2))),
            Mutant("above it the kernel grows", "above", lhs=largest, rhs=kernel(p)),
            Mutant("at most half of the peak", "below", rhs=largest / 2),
        ),
        check=CHECKS.get("difficulty.beta-kernel"),
    )
