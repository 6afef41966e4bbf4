"""Roots of a quadratic inside the unit circle, and the heavy ball without lag."""

from __future__ import annotations

import sympy as sp

from proofs.dynamics.clauses import compared
from proofs.dynamics.notation import kappa, oscillator_paper, t
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Integer, Real
from proofs.kernel.rules import AngleSum, Square
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

a, b, x, y, v, w, psi, nu = sp.symbols("a b x y v w psi nu")
alpha, beta, shift = sp.symbols("alpha beta phi")

JURY = "dynamics.jury"
ALL = {"open_low": False, "open_high": False}


def at_one(trace: sp.Expr, det: sp.Expr) -> sp.Expr:
    """z² − Tz + Δ at z = 1."""
    return 1 - trace + det


def at_minus_one(trace: sp.Expr, det: sp.Expr) -> sp.Expr:
    return 1 + trace + det


def _pair(name: str, value: sp.Expr, root: sp.Expr, words: str) -> Clause:
    """Positive at ±1, for roots α ± iβ."""
    step = Step("a square, and β² > 0", "<", value, by=((1, Square(root)),))
    domain = Domain(Real(alpha), Real(beta, 0))
    return Clause(name, domain, Claim(0, "<", value), Chain((step,)), words)


def jury() -> Theorem:
    inside = Domain(Real(a, -1, 1), Real(b, -1, 1))
    real = (a + b, a * b)  # of two real roots
    pair = (2 * alpha, alpha**2 + beta**2)  # of α ± iβ
    above = Real(a, 1, open_low=False)
    below = Real(a, None, -1, open_high=False)
    zero, one = sp.Integer(0), sp.Integer(1)
    low_b, high_b = Real(b, None, 1, open_high=False), Real(b, 1, open_low=False)
    low_m, high_m = Real(b, None, -1, open_high=False), Real(b, -1, open_low=False)
    return Theorem(
        id=JURY,
        title="Jury's conditions for two roots",
        words=(
            "Let z² − Tz + Δ have real coefficients. If both roots lie inside the unit circle, "
            "then 1 − T + Δ > 0, 1 + T + Δ > 0 and Δ < 1. If one is on the circle or outside of "
            "it, then one of the three fails. For a complex pair the first two "
            "hold always, and Δ is the squared modulus."
        ),
        assumptions=("T and Δ are real: sum and product of the roots.",),
        clauses=(
            compared(
                "real-one", inside, zero, "<", at_one(*real), "both inside: (1 − a)(1 − b) > 0"
            ),
            compared(
                "real-minus-one",
                inside,
                zero,
                "<",
                at_minus_one(*real),
                "both inside: (1 + a)(1 + b) > 0",
            ),
            compared("real-product", inside, a * b, "<", one, "both inside: ab < 1"),
            compared(
                "right-of-one",
                Domain(above, low_b),
                at_one(*real),
                "<=",
                zero,
                "a ≥ 1 ≥ b: the first fails",
            ),
            compared(
                "both-right",
                Domain(above, high_b),
                one,
                "<=",
                a * b,
                "a, b ≥ 1: the third fails",
            ),
            compared(
                "left-of-minus-one",
                Domain(below, high_m),
                at_minus_one(*real),
                "<=",
                zero,
                "a ≤ −1 ≤ b: the second fails",
            ),
            compared(
                "both-left",
                Domain(below, low_m),
                one,
                "<=",
                a * b,
                "a, b ≤ −1: the third fails",
            ),
            _pair("pair-one", at_one(*pair), 1 - alpha, "(1 − α)² + β² > 0"),
            _pair("pair-minus-one", at_minus_one(*pair), 1 + alpha, "(1 + α)² + β² > 0"),
        ),
        references=(
            Reference("E. I. Jury", "", "Theory and Application of the z-Transform, 1964", ""),
        ),
        mutants=(
            Mutant("for a root outside", "real-one", domain=Domain(Real(a, -1, 2), Real(b, -1, 1))),
            Mutant("the product is at most a half", "real-product", lhs=2 * a * b),
            Mutant("the modulus of a pair is its real part", "pair-one", rhs=1 - 2 * alpha),
            Mutant("b on the same side", "right-of-one", domain=Domain(above, high_b)),
            Mutant("the sum instead", "both-left", rhs=a + b),
        ),
        check=CHECKS.get(JURY),
    )


def onset() -> Theorem:
    """x_{t+1} = (1 + μ − κ) x_t − μ x_{t−1}: roots of z² − (1 + μ − κ) z + μ. Here μ = ν²."""
    trace, det = 1 + nu**2 - kappa, nu**2
    disc = trace**2 - 4 * det
    first, last = (1 - nu) ** 2, (1 + nu) ** 2
    root = Real(nu, 0, 1, open_low=False)
    between = Domain(root, Real(kappa, first, last))
    limit = 2 * (1 + nu**2)
    stable = Domain(root, Real(kappa, 0, limit))
    wave = Domain(Real(nu, 0, 1), Integer(t, 1), Real(psi), Real(shift))
    gain = 1 + nu**2 - 2 * nu * sp.cos(psi)

    def at(steps: sp.Expr) -> sp.Expr:
        return nu**steps * sp.cos(sp.expand(steps * psi) + shift)

    following = (1 + nu**2 - gain) * at(t) - nu**2 * at(t - 1)
    unrolled = (
        nu**t * nu * (sp.cos(t * psi + shift) * sp.cos(psi) - sp.sin(t * psi + shift) * sp.sin(psi))
    )
    zero = sp.Integer(0)
    return Theorem(
        id="dynamics.onset",
        title="Where the heavy ball begins to oscillate, and where it becomes unstable",
        words=(
            "Without lag, x_{t+1} = (1 + μ − κ)x_t − μx_{t−1} with 0 ≤ μ < 1 has complex roots iff "
            "(1 − √μ)² < κ < (1 + √μ)²; their modulus is then √μ, and x_t = √μ^t cos(tψ + φ) are "
            "solutions, cos ψ = (1 + μ − κ)/(2√μ). It is stable, both roots inside the unit "
            "circle, iff 0 < κ < 2(1 + μ)."
        ),
        assumptions=(
            "Written with ν = √μ. κ = ηK: learning rate times curvature.",
            "Stable means that Jury's three conditions hold (dynamics.jury): their values are κ, "
            "2(1 + μ) − κ and 1 − μ.",
        ),
        clauses=(
            compared("oscillates", between, disc, "<", zero, "negative discriminant in between"),
            compared(
                "below",
                Domain(root, Real(kappa, None, first, open_high=False)),
                zero,
                "<=",
                disc,
                "real roots up to (1 − √μ)²",
            ),
            compared(
                "above",
                Domain(root, Real(kappa, last, open_low=False)),
                zero,
                "<=",
                disc,
                "real roots from (1 + √μ)² on",
            ),
            Clause(
                "modulus",
                between,
                Claim((trace / 2) ** 2 + (sp.sqrt(-disc) / 2) ** 2, "=", nu**2),
                Chain((Step("the product of a conjugate pair", "=", nu**2),)),
                words="|z|² = μ for complex roots z = (T ± √D)/2",
            ),
            Clause(
                "wave",
                wave,
                Claim(following, "=", at(t + 1)),
                Chain(
                    (
                        Step(
                            "both shifted angles expanded",
                            "=",
                            unrolled,
                            by=(AngleSum("cos", t * psi + shift, -psi),),
                        ),
                        Step(
                            "and put together again",
                            "=",
                            at(t + 1),
                            by=(AngleSum("cos", t * psi + shift, psi),),
                        ),
                    )
                ),
                words="an oscillation that decays as √μ^t, for κ = 1 + μ − 2√μ cos ψ",
            ),
            compared(
                "stable-at-one", stable, zero, "<", at_one(trace, det), "Jury's first condition"
            ),
            compared(
                "stable-at-minus-one",
                stable,
                zero,
                "<",
                at_minus_one(trace, det),
                "the second, for κ < 2(1 + μ)",
            ),
            compared("product", Domain(root), det, "<", sp.Integer(1), "the third, μ < 1"),
            compared(
                "unstable-below",
                Domain(root, Real(kappa, None, 0, open_high=False)),
                at_one(trace, det),
                "<=",
                zero,
                "κ ≤ 0: the first fails",
            ),
            compared(
                "unstable-above",
                Domain(root, Real(kappa, limit, open_low=False)),
                at_minus_one(trace, det),
                "<=",
                zero,
                "κ ≥ 2(1 + μ): the second fails",
            ),
        ),
        references=(
            oscillator_paper("the onset of oscillations"),
            Reference("B. T. Polyak", "", "1964, the heavy ball", ""),
        ),
        implements=(
            "identity.dynamics.regime",
            "identity.dynamics.oscillation_onset",
            "identity.dynamics.recursion",
        ),
        mutants=(
            Mutant(
                "from half of it",
                "oscillates",
                domain=Domain(root, Real(kappa, first / 2, last)),
            ),
            Mutant("modulus μ", "modulus", rhs=nu**4),
            Mutant("decays as μ^t", "wave", rhs=nu ** (2 * t + 2) * sp.cos((t + 1) * psi + shift)),
            Mutant(
                "stable without end", "stable-at-minus-one", domain=Domain(root, Real(kappa, 0))
            ),
            Mutant(
                "unstable from 2 on",
                "unstable-above",
                domain=Domain(root, Real(kappa, 2, open_low=False)),
            ),
        ),
        check=CHECKS.get("dynamics.onset"),
    )
