"""Gradients of any age: a condition that suffices, with momentum."""

from __future__ import annotations

import sympy as sp

from proofs.dynamics.clauses import compared
from proofs.dynamics.notation import (
    POSITIVE_DELAY,
    kappa,
    momentum,
    mu,
    oscillator_paper,
    phi,
    r,
    tau,
    u,
)
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Integer, Real
from proofs.kernel.rules import (
    AngleSum,
    Hypothesis,
    Instance,
    Sine,
    Square,
)
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Induction,
    Mutant,
    Reference,
    Step,
    Theorem,
)

n, x, sign = sp.symbols("n x epsilon")
zero = sp.Integer(0)

SINES = "dynamics.sine-multiple"
SUFFICIENT = "dynamics.delay-sufficient"
TANGENT = "expectation.tangent-line"


def sine_multiple() -> Theorem:
    """|sin nx| ≤ n |sin x|, squared."""
    s, c = sp.sin(x), sp.cos(x)
    sn, cn = sp.sin(n * x), sp.cos(n * x)
    expanded = (sn * c + cn * s) ** 2
    return Theorem(
        id=SINES,
        title="The sine of a multiple",
        words="|sin nx| ≤ n |sin x| for every integer n ≥ 1 and every real x.",
        clauses=(
            Clause(
                "squared",
                Domain(Integer(n, 1), Real(x)),
                Claim(sn**2, "<=", n**2 * s**2),
                Induction(
                    n,
                    base=Chain((Step("both sides are sin² x", "<=", s**2),)),
                    step=Chain(
                        (
                            Step("the angle multiplied out", "=", sp.sin(n * x + x) ** 2),
                            Step(
                                "the sum of angles",
                                "=",
                                expanded,
                                by=(AngleSum("sin", n * x, x),),
                            ),
                            Step(
                                "sums of squares",
                                "<=",
                                (n + 1) ** 2 * s**2,
                                by=(
                                    (1 + 1 / n, Hypothesis()),
                                    (1 / n, Square(n * s - sn * c * cn)),
                                    (1 / n, Square(sn * s)),
                                    (1 / n, Square(sn**2 * c)),
                                    (2, Square(sn * s)),
                                ),
                            ),
                        )
                    ),
                ),
            ),
        ),
        references=(Reference("elementary", "", "induction on n"),),
        mutants=(
            Mutant("without the factor", "squared", rhs=s**2),
            Mutant("linear in n", "squared", rhs=n * s**2),
        ),
        check=CHECKS.get(SINES),
    )


def delay_sufficient() -> Theorem:
    """z − (1 + μ) + μ/z + κ z^(−τ) = 0 has no root z = r e^(iφ) with r ≥ 1 if κτ < 1 − μ."""
    gain = Real(kappa, 0, (1 - mu) / tau)
    outside = Real(r, 1, open_low=False)
    rest = (momentum(True), POSITIVE_DELAY, gain, outside)
    domain = Domain(*rest, Real(u, 0, 1))
    s, many = sp.sin(phi), sp.sin(tau * phi)
    imaginary = (r - mu / r) * s - kappa * r ** (-tau) * many
    shrunk = (r - mu / r) * s - kappa * r ** (-tau) * tau * s
    per_delay = kappa * r ** (-tau) / (2 * tau * s)
    grows = Instance(
        TANGENT, "tangent", ((sp.Symbol("n"), tau), (sp.Symbol("x"), r), (sp.Symbol("a"), 1))
    )
    power = kappa * tau * s * r ** (-tau)
    plus = r - (1 + mu) + mu / r + kappa * r ** (-tau)
    minus = r + (1 + mu) + mu / r - sign * kappa * r ** (-tau)
    return Theorem(
        id=SUFFICIENT,
        title="A delay below (1 − μ)/κ does not destabilise",
        words=(
            "For gradients that are τ ≥ 1 steps old, x_{t+1} = (1 + μ)x_t − μx_{t−1} − κx_{t−τ}, "
            "0 ≤ μ < 1 and κ > 0, the condition κτ < 1 − μ suffices for stability: no root of the "
            "characteristic equation lies on the unit circle or outside of it."
        ),
        assumptions=(
            "A root is written z = r e^(iφ), r ≥ 1, φ = πu; conjugates come in pairs, so 0 ≤ u "
            "≤ 1. The equation is divided by z^τ: z − (1 + μ) + μ/z + κ z^(−τ) = 0.",
        ),
        uses=(SINES, TANGENT),
        clauses=(
            Clause(
                "imaginary-part",
                domain,
                Claim(zero, "<", imaginary),
                Chain(
                    (
                        Step("κτ < 1 − μ ≤ r − μ/r", "<", (r - mu / r) * s - kappa * tau * s),
                        Step("r^τ ≥ 1 + τ(r − 1) ≥ 1", "<=", shrunk, by=((power, grows),)),
                        Step(
                            "|sin τφ| ≤ τ sin φ",
                            "<=",
                            imaginary,
                            by=(
                                (per_delay, Square(tau * s - many)),
                                (per_delay, Instance(SINES, "squared", ((n, tau), (x, phi)))),
                            ),
                        ),
                    )
                ),
                words="for 0 < φ < π the imaginary part is positive",
                given=(Sine(phi),),
            ),
            compared(
                "positive-real",
                Domain(*rest),
                zero,
                "<",
                plus,
                "z = r: (r − 1)(r − μ)/r ≥ 0, and κ r^(−τ) > 0",
            ),
            compared(
                "negative-real",
                Domain(*rest, Real(sign, -1, 1, False, False)),
                zero,
                "<",
                minus,
                "z = −r: minus the real part is positive; ε = ±1 is the sign of (−1)^τ",
                Step("κ < 1 ≤ r^τ", "<", r + mu + mu / r + 1 - kappa),
                Step("and ε ≤ 1", "<=", minus, by=((kappa * r ** (-tau), grows),)),
            ),
        ),
        references=(oscillator_paper("the condition ηK·K_ref < 1 − μ"),),
        implements=("identity.dynamics.refresh_threshold",),
        mutants=(
            Mutant(
                "up to twice that",
                "imaginary-part",
                domain=Domain(
                    momentum(True),
                    POSITIVE_DELAY,
                    Real(kappa, 0, 2 * (1 - mu) / tau),
                    outside,
                    Real(u, 0, 1),
                ),
            ),
            Mutant(
                "inside as well",
                "imaginary-part",
                domain=Domain(momentum(True), POSITIVE_DELAY, gain, Real(r, 0, 1), Real(u, 0, 1)),
            ),
            Mutant("without the pull", "positive-real", rhs=plus - 2 * kappa * r ** (-tau)),
        ),
        check=CHECKS.get(SUFFICIENT),
    )
