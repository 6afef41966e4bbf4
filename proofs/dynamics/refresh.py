"""Thresholds of a refreshed gradient: one step late, and frozen for a block of steps."""

from __future__ import annotations

import sympy as sp

from proofs.dynamics.clauses import compared
from proofs.dynamics.delays import DELAY, critical
from proofs.dynamics.notation import (
    POSITIVE_DELAY,
    kappa,
    momentum,
    mu,
    oscillator_paper,
    tau,
)
from proofs.dynamics.stability import at_minus_one, at_one
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Integer, Real
from proofs.kernel.rules import Instance, Square
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Mutant,
    Reference,
    Refutation,
    Step,
    Theorem,
)

__all__ = [
    "BLOCK",
    "block_threshold",
    "partial_sum",
    "refresh_threshold",
    "refresh_threshold_general",
]

BLOCK = "dynamics.block-threshold"
ONE_STEP = "dynamics.refresh-threshold"
TANGENT = "expectation.tangent-line"
ORDER = "expectation.power-order"
PARTIAL = "dynamics.partial-sum"

N, v, x, f = sp.symbols("N v x f")
zero, one = sp.Integer(0), sp.Integer(1)
POSITION, VELOCITY = Real(x), Real(v)
BLOCK_SIZE = Integer(N, 1, spread=5)
ANY_STEPS = Integer(N, 0, spread=5)  # 0: before the first one
PAPER = oscillator_paper("the threshold ηK·K_ref < 1 − μ")


def refresh_threshold() -> Theorem:
    """x_{t+1} = (1 + μ)x_t − (μ + κ)x_{t−1}."""
    trace, det = 1 + mu, mu + kappa
    disc = trace**2 - 4 * det
    turn = (1 - mu) ** 2 / 4
    waving = Domain(momentum(True), Real(kappa, turn))
    below = Domain(momentum(True), Real(kappa, 0, 1 - mu))
    above = Domain(momentum(True), Real(kappa, 1 - mu, open_low=False))
    return Theorem(
        id=ONE_STEP,
        title="One step late, κ < 1 − μ is exactly the condition",
        words=(
            "With gradients that are one step old, x_{t+1} = (1 + μ)x_t − μx_{t−1} − κx_{t−1}, "
            "0 ≤ μ < 1, is stable iff 0 < κ < 1 − μ. The roots are complex iff κ > (1 − μ)²/4, "
            "with squared modulus μ + κ, so that at κ = 1 − μ a pair of them lies on the circle."
        ),
        assumptions=(
            "κ = ηK is the learning rate times the curvature; K_ref = 1.",
            "Stable means that Jury's three conditions hold (dynamics.jury).",
        ),
        clauses=(
            compared("stable-at-one", below, zero, "<", at_one(trace, det), "the first condition"),
            compared(
                "stable-at-minus-one",
                below,
                zero,
                "<",
                at_minus_one(trace, det),
                "the second condition",
            ),
            compared("stable-product", below, det, "<", one, "the third: μ + κ < 1"),
            compared("unstable-product", above, one, "<=", det, "κ ≥ 1 − μ: the third fails"),
            compared(
                "unstable-at-one",
                Domain(momentum(True), Real(kappa, None, 0, open_high=False)),
                at_one(trace, det),
                "<=",
                zero,
                "κ ≤ 0: the first fails",
            ),
            compared("complex-roots", waving, disc, "<", zero, "complex for κ > (1 − μ)²/4"),
            compared(
                "real-roots",
                Domain(momentum(True), Real(kappa, None, turn, open_high=False)),
                zero,
                "<=",
                disc,
                "real up to there",
            ),
            Clause(
                "modulus",
                waving,
                Claim((trace / 2) ** 2 + (sp.sqrt(-disc) / 2) ** 2, "=", mu + kappa),
                Chain((Step("the product of a conjugate pair", "=", mu + kappa),)),
                words="|z|² = μ + κ for complex roots",
            ),
        ),
        references=(PAPER,),
        implements=("identity.dynamics.refresh_threshold",),
        mutants=(
            Mutant(
                "up to 1",
                "stable-product",
                domain=Domain(momentum(True), Real(kappa, 0, 1)),
            ),
            Mutant(
                "from half of it",
                "unstable-product",
                domain=Domain(momentum(True), Real(kappa, (1 - mu) / 2)),
            ),
            Mutant("modulus μ, as without lag", "modulus", rhs=mu),
        ),
        check=CHECKS.get(ONE_STEP),
    )


a = mu**N
S1 = (1 - a) / (1 - mu)  # Σ μ^j, j < N
S2 = (N - mu * S1) / (1 - mu)  # Σ of the first N partial sums


def position(steps: sp.Expr) -> sp.Expr:
    """After some steps with the gradient −κx frozen at the start of the block."""
    partial = (1 - mu**steps) / (1 - mu)
    return x + mu * partial * v - kappa * x * (steps - mu * partial) / (1 - mu)


def velocity(steps: sp.Expr) -> sp.Expr:
    return mu**steps * v - kappa * x * (1 - mu**steps) / (1 - mu)


def block_trace() -> sp.Expr:
    return 1 + a - kappa * S2


def block_determinant() -> sp.Expr:
    return a * (1 - kappa * S2) + kappa * mu * S1**2


def partial_sum() -> Theorem:
    """Σ_{j<N} μ^j = (1 − μ^N)/(1 − μ) lies between 0 and N."""
    domain = Domain(Real(mu, 0, 1), BLOCK_SIZE)
    n, y, b = sp.symbols("n x a")  # of the two lemmas
    order = Instance(ORDER, "order", ((n, N), (y, mu), (b, 1)))
    tangent = Instance(TANGENT, "tangent", ((n, N), (y, mu), (b, 1)))
    room = N * (1 - mu) - (1 - a)
    return Theorem(
        id=PARTIAL,
        title="Bounds of 1 − μ^N",
        words="For 0 < μ < 1 and N ≥ 1: 0 < 1 − μ^N ≤ N(1 − μ).",
        uses=(ORDER, TANGENT),
        clauses=(
            compared(
                "gap", domain, zero, "<", 1 - a, "", Step("μ^N < 1", "<", 1 - a, by=((1, order),))
            ),
            compared(
                "room",
                domain,
                zero,
                "<=",
                room,
                "",
                Step("Bernoulli's inequality", "<=", room, by=((1, tangent),)),
            ),
        ),
        references=(Reference("elementary", "", "Bernoulli's inequality"),),
        mutants=(
            Mutant("at most a half", "gap", lhs=sp.Rational(1, 2)),
            Mutant("by one term fewer", "room", rhs=(N - 1) * (1 - mu) - (1 - a)),
        ),
        check=CHECKS.get(PARTIAL),
    )


def _sufficient() -> tuple[Clause, ...]:
    """κN = f(1 − μ) with 0 < f < 1: all three values are positive."""
    gain = f * (1 - mu) / N
    domain = Domain(Real(mu, 0, 1), BLOCK_SIZE, Real(f, 0, 1))
    trace, det = (e.xreplace({kappa: gain}) for e in (block_trace(), block_determinant()))
    gap, room = Instance(PARTIAL, "gap"), Instance(PARTIAL, "room")
    per = f / (N * (1 - mu))

    def clause(name: str, value: sp.Expr, words: str, *by: tuple[sp.Expr, object]) -> Clause:
        step = Step(words, "<", value, by=by)
        return Clause(name, domain, Claim(zero, "<", value), Chain((step,)), words, given=(gap,))

    return (
        clause("sufficient-at-one", at_one(trace, det), "it is f(1 − μ^N)", (f, gap)),
        clause(
            "sufficient-at-minus-one",
            at_minus_one(trace, det),
            "the frozen pull is less than 1 + μ^N",
            (per * mu * (1 + a), gap),
            (per * mu, Square(1 - a)),
        ),
        clause(
            "sufficient-product",
            1 - det,
            "S₁ ≤ N",
            (1 - f * mu, gap),
            (per * mu * (1 - a), room),
            (per * a, room),
            (per * a * (1 - mu), gap),
        ),
    )


def _plain() -> tuple[Clause, ...]:
    """Without momentum."""
    j = sp.Symbol("j")
    factor = 1 - kappa * N
    moved = x - sp.Sum(kappa * x, (j, 1, N))
    return (
        compared(
            "plain-block",
            Domain(BLOCK_SIZE, Real(kappa), POSITION),
            moved,
            "=",
            factor * x,
            "μ = 0: N equal steps multiply x by 1 − κN",
            Step("N equal terms", "=", factor * x),
        ),
        compared(
            "plain-stable",
            Domain(BLOCK_SIZE, Real(kappa, 0, 2 / N)),
            zero,
            "<",
            1 - factor**2,
            "|1 − κN| < 1 for 0 < κN < 2",
        ),
        compared(
            "plain-unstable",
            Domain(BLOCK_SIZE, Real(kappa, 2 / N, open_low=False)),
            one,
            "<=",
            factor**2,
            "|1 − κN| ≥ 1 for κN ≥ 2",
        ),
        compared(
            "plain-overshoot",
            Domain(BLOCK_SIZE, Real(kappa, 1 / N)),
            factor,
            "<",
            zero,
            "the factor is negative for κN > 1: x overshoots",
        ),
    )


NINE_TENTHS = sp.Rational(9, 10)
second_limit, third_limit = (
    limit.xreplace({mu: NINE_TENTHS})
    for limit in (
        2 * (1 + a) / ((1 + a) * S2 - mu * S1**2),
        (1 - a) / (mu * S1**2 - a * S2),
    )
)
in_units = N / (1 - NINE_TENTHS)  # of the sufficient value of κ
BINDING = {  # μ = 9/10: which value reaches 0 first, and where, to three decimals
    4: (third_limit, sp.Rational(2922, 1000)),
    16: (third_limit, sp.Rational(2985, 1000)),
    64: (second_limit, sp.Rational(2780, 1000)),
}


def _numbers() -> tuple[Clause, ...]:
    second, third = (
        value.xreplace({mu: NINE_TENTHS})
        for value in (at_minus_one(block_trace(), block_determinant()), 1 - block_determinant())
    )
    two, exactly = Domain(Integer(N, 2, 2)), sp.Rational(38, 9)
    clauses = [
        compared(
            "ratio-2",
            two,
            in_units * third_limit,
            "=",
            exactly,
            "μ = 9/10, N = 2: the third value reaches 0 at κN/(1 − μ) = 38/9",
            Step("rational arithmetic", "=", exactly),
        ),
        compared(
            "other-2",
            two,
            zero,
            "<",
            second.xreplace({kappa: third_limit}),
            "where the second is positive",
        ),
    ]
    for size, (limit, value) in BINDING.items():
        domain = Domain(Integer(N, size, size))
        which = "third" if limit is third_limit else "second"
        other = second if limit is third_limit else third
        words = f"μ = 9/10, N = {size}: the {which} value reaches 0 at {float(value):.3f} units"
        low, high = (value + sp.Rational(c, 2000) for c in (-1, 1))
        positive = other.xreplace({kappa: limit})
        clauses += [
            compared(f"ratio-{size}-low", domain, low, "<", in_units * limit, words),
            compared(f"ratio-{size}-high", domain, in_units * limit, "<", high, words),
            compared(f"other-{size}", domain, zero, "<", positive, "where the other is positive"),
        ]
    return tuple(clauses)


def block_threshold() -> Theorem:
    some = Domain(Real(mu, 0, 1), ANY_STEPS, Real(kappa, 0), POSITION, VELOCITY)
    free = Domain(Real(mu, 0, 1), BLOCK_SIZE, Real(kappa))
    mapped = (1 - kappa * S2) * x + mu * S1 * v  # and (−κS₁)x + av
    second = 2 * (1 + a) - kappa * ((1 + a) * S2 - mu * S1**2)
    third = 1 - a - kappa * (mu * S1**2 - a * S2)

    def equal(name: str, domain: Domain, lhs: sp.Expr, rhs: sp.Expr, words: str) -> Clause:
        return compared(name, domain, lhs, "=", rhs, words, Step("add up", "=", rhs))

    return Theorem(
        id=BLOCK,
        title="A gradient frozen for a block of steps: the exact threshold",
        words=(
            "The gradient is taken at the first of every N steps and used for all of them, with "
            "momentum μ. One block maps position and velocity by a matrix, whose Jury values are "
            "κNS₁, 2(1 + μ^N) − κ((1 + μ^N)S₂ − μS₁²) and 1 − μ^N − κ(μS₁² − μ^N S₂), where S₁ = "
            "(1 − μ^N)/(1 − μ) and S₂ = (N − μS₁)/(1 − μ): stable iff all three are positive. κN "
            "< 1 − μ "
            "suffices. Without momentum the block multiplies x by 1 − κN: for κ > 0 stable iff "
            "κN < 2, and overshooting if κN > 1."
        ),
        assumptions=(
            "v_{t+1} = μv_t − κx_0 and x_{t+1} = x_t + v_{t+1}, x_0 the position at the start of "
            "the block; 0 < μ < 1 where μ is present.",
            "Stable means that Jury's three conditions hold (dynamics.jury).",
        ),
        uses=(PARTIAL,),
        clauses=(
            equal(
                "velocity",
                some,
                mu * velocity(N) - kappa * x,
                velocity(N + 1),
                "the closed form obeys v ← μv − κx₀, and is v at 0 steps",
            ),
            equal(
                "position",
                some,
                position(N) + velocity(N + 1),
                position(N + 1),
                "the closed form obeys x ← x + v, and is x₀ at 0 steps",
            ),
            equal(
                "matrix",
                some,
                position(N),
                mapped,
                "one row of the matrix; the other is as it stands",
            ),
            equal(
                "at-one",
                free,
                at_one(block_trace(), block_determinant()),
                kappa * N * S1,
                "the first value is κNS₁",
            ),
            equal(
                "at-minus-one",
                free,
                at_minus_one(block_trace(), block_determinant()),
                second,
                "the second value",
            ),
            equal("product", free, 1 - block_determinant(), third, "the third value"),
            *_sufficient(),
            *_plain(),
            *_numbers(),
        ),
        references=(PAPER,),
        implements=("identity.dynamics.refresh_threshold",),
        mutants=(
            Mutant("a pull at every step", "velocity", lhs=mu * velocity(N) - kappa * position(N)),
            Mutant("moved by the old velocity", "position", lhs=position(N) + velocity(N)),
            Mutant("the first value is κN", "at-one", rhs=kappa * N),
            Mutant("without the square", "at-minus-one", rhs=2 * (1 + a) - kappa * (1 + a) * S2),
            Mutant("as of one step", "product", rhs=1 - mu - kappa),
            Mutant(
                "stable up to 3",
                "plain-stable",
                domain=Domain(BLOCK_SIZE, Real(kappa, 0, 3 / N)),
            ),
            Mutant(
                "unstable from 1",
                "plain-unstable",
                domain=Domain(BLOCK_SIZE, Real(kappa, 1 / N)),
            ),
            Mutant("a ratio of 4", "ratio-2", rhs=sp.Integer(4)),
        ),
        check=CHECKS.get(BLOCK),
    )


def refresh_threshold_general() -> Theorem:
    """The published threshold as a sharp one: exact witnesses beside the true values."""
    delay = Domain(POSITIVE_DELAY)
    block = Domain(BLOCK_SIZE, Real(kappa, 1 / N, open_low=False))
    nine = sp.Rational(9, 10)
    third = (1 - a - kappa * (mu * S1**2 - a * S2)).xreplace({mu: nine})
    heavy = Domain(BLOCK_SIZE, Real(kappa, (1 - nine) / N, open_low=False))
    return Theorem(
        id="dynamics.refresh-threshold-general",
        title="For longer refresh intervals ηK·K_ref < 1 − μ is sufficient, not sharp",
        words=(
            "Read as the exact border of stability for any refresh interval, ηK·K_ref = 1 − μ is "
            "too low for the delays and blocks shown here. A pure delay of two steps without "
            "momentum "
            "is stable up to √5 − 1 in units of it, longer ones beyond, towards π/2; a block "
            "without "
            "momentum up to 2, where 1 is only the onset of overshoot; a block of two "
            "steps with μ = 9/10 up to 38/9."
        ),
        assumptions=("K_ref is the delay τ, or the number N of steps in a block.",),
        uses=(DELAY, BLOCK),
        refutes=(
            Refutation(
                "delay",
                delay,
                Claim(tau * critical, "=", one),
                ((tau, 2),),
                "a pure delay without momentum loses stability at κτ = 1",
            ),
            Refutation(
                "block",
                block,
                Claim(one, "<=", (1 - kappa * N) ** 2),
                ((N, 2), (kappa, sp.Rational(3, 4))),
                "a block without momentum is unstable from κN = 1 on",
            ),
            Refutation(
                "heavy-block",
                heavy,
                Claim(third, "<=", zero),
                ((N, 2), (kappa, sp.Rational(1, 10))),
                "a block with μ = 9/10 fails Jury's third condition from κN = 1 − μ on",
            ),
        ),
        clauses=(
            compared(
                "delay-of-two",
                Domain(Integer(tau, 2, 2)),
                tau * critical,
                "=",
                sp.sqrt(5) - 1,
                "the true value for τ = 2",
                Step("as proved", "=", sp.sqrt(5) - 1, by=(Instance(DELAY, "two"),)),
            ),
            compared(
                "block-of-two",
                Domain(Integer(N, 2, 2)),
                in_units * third_limit,
                "=",
                sp.Rational(38, 9),
                "the true value for a block of two, μ = 9/10",
                Step("as proved", "=", sp.Rational(38, 9), by=(Instance(BLOCK, "ratio-2"),)),
            ),
        ),
        references=(PAPER,),
        implements=("identity.dynamics.refresh_threshold",),
        corrected_by=(DELAY, BLOCK, ONE_STEP),
        mutants=(
            Mutant("also false: the limit for every delay", "delay", rhs=sp.pi / 2),
            Mutant("also false: stable from 1 on", "block", lhs=(1 - kappa * N) ** 2, rhs=one),
            Mutant("the golden ratio", "delay-of-two", rhs=(sp.sqrt(5) + 1) / 2),
        ),
        check=CHECKS.get("dynamics.refresh-threshold-general"),
    )
