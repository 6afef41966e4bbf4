"""The exact threshold of a pure delay, without momentum, for every number of steps."""

from __future__ import annotations

import sympy as sp

from proofs.dynamics.notation import POSITIVE_DELAY, r, tau, u
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Integer, Real
from proofs.kernel.rules import AngleSum, Complement, Instance, MeanValue, Sine, Square
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

__all__ = ["DELAY", "critical", "delay_threshold"]

x, y, w = sp.symbols("x y w")
half, zero = sp.Rational(1, 2), sp.Integer(0)

DELAY = "dynamics.delay-threshold"
TANGENT = "expectation.tangent-line"
LEVIN_MAY = Reference(
    "S. A. Levin, R. M. May",
    "",
    "1976, Theoretical Population Biology 9",
    "x_{t+1} = x_t − κx_{t−τ}",
)


def tidy(angle: sp.Expr) -> sp.Expr:
    """One fraction, so that SymPy does not see a right angle in it."""
    top, bottom = sp.fraction(sp.together(angle))
    return sp.expand(top) / sp.expand(bottom)


odd = 2 * tau + 1
narrow = sp.pi / (2 * odd)  # half of the critical angle
angle = 2 * narrow
critical = 2 * sp.sin(narrow)  # the largest stable κ, not included


def sine_rises(low: sp.Expr, high: sp.Expr) -> MeanValue:
    """sin πx/2 for 0 ≤ low ≤ x ≤ high ≤ 1."""
    slope = sp.pi / 2 * sp.cos(sp.pi * x / 2)
    cosine = Sine(sp.pi / 2 - sp.pi * x / 2)  # SymPy writes its sine as cos πx/2
    steps = (Step("the cosine up to a right angle", "<", slope, by=((sp.pi / 2, cosine),)),)
    return MeanValue(sp.sin(sp.pi * x / 2), x, low, high, slope, "<=", steps)


after, before = tau * angle + angle, tau * angle  # arguments of z^(τ+1) and z^τ


def _crossing_at(gain: sp.Expr) -> sp.Expr:
    """The real part of z^(τ+1) − z^τ + κ at z = e^(iφ)."""
    return sp.cos(tidy(after)) - sp.cos(before) + gain


def _crossing() -> tuple[Clause, ...]:
    domain = Domain(POSITIVE_DELAY)
    first = Complement("cos", tidy(after), tidy(-narrow))
    real = _crossing_at(critical)
    imaginary = sp.sin(tidy(after)) - sp.sin(before)
    return (
        Clause(
            "crossing-real",
            domain,
            Claim(real, "=", zero),
            Chain(
                (
                    Step(
                        "(τ + 1)φ and τφ lie half of φ beside a right angle",
                        "=",
                        zero,
                        by=(first, Complement("cos", before, tidy(narrow))),
                    ),
                )
            ),
            words="at the threshold the real part is 0 at z = e^(iφ), φ = π/(2τ + 1)",
        ),
        Clause(
            "crossing-imaginary",
            domain,
            Claim(imaginary, "=", zero),
            Chain(
                (
                    Step(
                        "both sines are cos φ/2",
                        "=",
                        zero,
                        by=(
                            Complement("sin", tidy(after), tidy(-narrow)),
                            Complement("sin", before, tidy(narrow)),
                        ),
                    ),
                )
            ),
            words="and so is the imaginary part",
        ),
    )


def _outside() -> tuple[Clause, ...]:
    out = Real(r, 1, open_low=False)
    phi = sp.pi * u
    near = Domain(POSITIVE_DELAY, out, Real(u, 0, 1 / odd))
    far = Domain(POSITIVE_DELAY, out, Real(u, 1 / odd, 1, False, False))
    many, middle = tau * phi, odd * phi / 2
    part = r * sp.sin(many + phi) - sp.sin(many)
    gap = sp.sin(middle + phi / 2) - sp.sin(middle - phi / 2)
    complement = tidy(sp.pi / 2 - middle)
    squared = r ** (2 * tau) * (r**2 - 2 * r * sp.cos(phi) + 1)
    grows = Instance(
        TANGENT, "tangent", ((sp.Symbol("n"), 2 * tau), (sp.Symbol("x"), r), (sp.Symbol("a"), 1))
    )
    chord = r**2 - 2 * r * sp.cos(phi) + 1
    s = sp.sin(phi / 2)
    double = AngleSum("cos", phi / 2, phi / 2)
    product = 2 * sp.cos(middle) * sp.sin(phi / 2)
    cartesian = (r ** (tau + 1) * sp.cos(many + phi) - r**tau * sp.cos(many)) ** 2 + (
        r ** (tau + 1) * sp.sin(many + phi) - r**tau * sp.sin(many)
    ) ** 2
    return (
        Clause(
            "small-angle",
            near,
            Claim(zero, "<", part),
            Chain(
                (
                    Step(
                        "two positive factors",
                        "<",
                        product,
                    ),
                    Step(
                        "a difference of sines",
                        "=",
                        gap,
                        by=(AngleSum("sin", middle, phi / 2), AngleSum("sin", middle, -phi / 2)),
                    ),
                    Step(
                        "r ≥ 1, and the first sine is positive",
                        "<=",
                        part,
                        by=((r - 1, Sine(sp.expand(many + phi))),),
                    ),
                )
            ),
            words=(
                "for 0 < φ < π/(2τ + 1), r ≥ 1 the imaginary part of z^τ(z − 1) is positive "
                "(over r^τ)"
            ),
            given=(Sine(complement), Sine(phi / 2)),
        ),
        Clause(
            "modulus",
            Domain(POSITIVE_DELAY, out, Real(u)),
            Claim(cartesian, "=", squared),
            Chain(
                (
                    Step(
                        "the sum of angles",
                        "=",
                        squared,
                        by=(AngleSum("cos", many, phi), AngleSum("sin", many, phi)),
                    ),
                )
            ),
            words="|z^τ(z − 1)|² = r^(2τ)(r² − 2r cos φ + 1)",
        ),
        Clause(
            "large-angle",
            far,
            Claim(critical**2, "<=", squared),
            Chain(
                (
                    Step(
                        "the sine rises up to a right angle",
                        "<=",
                        4 * s**2,
                        by=((4 * (s + critical / 2), sine_rises(1 / odd, u)),),
                    ),
                    Step("half the angle", "=", 2 - 2 * (sp.cos(phi / 2) ** 2 - s**2)),
                    Step(
                        "(r − 1)² + 2(r − 1)(1 − cos φ) ≥ 0",
                        "<=",
                        r**2 - 2 * r * (sp.cos(phi / 2) ** 2 - s**2) + 1,
                        by=((1, Square(r - 1)), (4 * (r - 1), Square(s))),
                    ),
                    Step("the angle", "=", chord, by=(double,)),
                    Step("r^(2τ) ≥ 1 + 2τ(r − 1) ≥ 1", "<=", squared, by=((chord, grows),)),
                )
            ),
            words="for φ ≥ π/(2τ + 1) and r ≥ 1 its modulus is at least the threshold",
            given=(Sine(phi / 2), Sine(narrow)),
        ),
        Clause(
            "positive-real",
            Domain(POSITIVE_DELAY, out),
            Claim(zero, "<=", r**tau * (r - 1)),
            Chain((Step("r ≥ 1", "<=", r**tau * (r - 1)),)),
            words="for φ = 0 the value is not negative, so it is no −κ",
        ),
    )


def below_its_angle(share: sp.Expr, high: sp.Expr, var: sp.Symbol = x) -> MeanValue:
    """sin cx ≤ cx for 0 ≤ x ≤ high, c = share."""
    body = share * var - sp.sin(share * var)
    slope = share - share * sp.cos(share * var)
    double = AngleSum("cos", share * var / 2, share * var / 2)
    s, c = sp.sin(share * var / 2), sp.cos(share * var / 2)
    square = share * (1 - (c**2 - s**2))
    steps = (
        Step("half the angle", "<=", square, by=((2 * share, Square(s)),)),
        Step("the angle", "=", slope, by=(double,)),
    )
    return MeanValue(body, var, 0, high, slope, "<=", steps)


def square_below(share: sp.Expr, high: sp.Expr) -> MeanValue:
    """sin² cx ≤ (cx)² for 0 ≤ x ≤ high."""
    s, c = sp.sin(share * x), sp.cos(share * x)
    slope = 2 * share**2 * x - 2 * share * s * c
    doubled = 2 * share**2 * x - share * sp.sin(2 * share * x)
    steps = (
        Step("sin 2y ≤ 2y", "<=", doubled, by=((share, below_its_angle(2 * share, x, w)),)),
        Step("twice the angle", "=", slope, by=(AngleSum("sin", share * x, share * x),)),
    )
    return MeanValue((share * x) ** 2 - s**2, x, 0, high, slope, "<=", steps)


def _limit() -> tuple[Clause, ...]:
    """τ times the threshold, between two bounds that tend to π/2."""
    domain, c = Domain(POSITIVE_DELAY), sp.pi / 2
    upper = sp.pi * tau / odd
    lower = upper * (1 - narrow**2 / 6)
    body = sp.sin(c * y) - c * y + (c * y) ** 3 / 6
    slope = c * sp.cos(c * y) - c + c * (c * y) ** 2 / 2
    s, quarter = sp.sin(c * y / 2), c * y / 2
    double = AngleSum("cos", c * y / 2, c * y / 2)
    halved = c * (2 * quarter**2 - (1 - (sp.cos(c * y / 2) ** 2 - s**2)))
    above = MeanValue(
        body,
        y,
        0,
        1 / odd,
        slope,
        "<=",
        (
            Step(
                "sin² y ≤ y², for the half angle",
                "<=",
                halved,
                by=((2 * c, square_below(c / 2, y)),),
            ),
            Step("the angle", "=", slope, by=(double,)),
        ),
    )
    return (
        Clause(
            "limit-above",
            domain,
            Claim(tau * critical, "<=", upper),
            Chain((Step("sin x ≤ x", "<=", upper, by=((2 * tau, below_its_angle(c, 1 / odd)),)),)),
            words="τκ ≤ πτ/(2τ + 1) < π/2",
        ),
        Clause(
            "limit-below",
            domain,
            Claim(lower, "<=", tau * critical),
            Chain((Step("x − x³/6 ≤ sin x", "<=", tau * critical, by=((2 * tau, above),)),)),
            words="and τκ is at least that times 1 − x²/6, x = π/(2(2τ + 1)): τκ → π/2",
        ),
    )


def _outward() -> Clause:
    phi = sp.pi * u
    c, s = sp.cos(phi), sp.sin(phi)
    speed = (tau + 1) * ((c - 1) ** 2 + s**2) + (c - 1)
    s2, c2 = sp.sin(phi / 2), sp.cos(phi / 2)
    return Clause(
        "outward",
        Domain(POSITIVE_DELAY, Real(u, 0, 1, open_high=False)),
        Claim(zero, "<", speed),
        Chain(
            (
                Step("a square", "<", 2 * odd * s2**2, by=((2 * odd * s2, Sine(phi / 2)),)),
                Step("half the angle", "=", odd * (1 - (c2**2 - s2**2))),
                Step("the angle", "=", odd * (1 - c), by=(AngleSum("cos", phi / 2, phi / 2),)),
                Step("on the circle |w|² = 2 − 2 cos φ", "=", speed),
            )
        ),
        words=(
            "on the unit circle, with w = z − 1: (τ + 1)|w|² + Re w > 0, the sign of the speed at "
            "which the root moves outwards as κ grows"
        ),
        given=(Sine(phi / 2),),
    )


def _value(name: str, delay: int, result: sp.Expr, words: str) -> Clause:
    return Clause(
        name,
        Domain(Integer(tau, delay, delay)),
        Claim(tau * critical, "=", result),
        Chain((Step("the value of the sine", "=", result),)),
        words,
    )


def delay_threshold() -> Theorem:
    return Theorem(
        id=DELAY,
        title="The exact threshold of a pure delay",
        words=(
            "Without momentum, x_{t+1} = x_t − κx_{t−τ} with τ ≥ 1 is stable for 0 < κ < κ* = "
            "2 sin(π/(2(2τ + 1))): no root lies on the unit circle or outside. At κ* the root "
            "e^(iπ/(2τ+1)) lies on it, and roots that reach the circle leave it outwards as κ "
            "grows. τκ* is 1 for τ = 1, √5 − 1 for τ = 2, and tends to π/2."
        ),
        assumptions=(
            "A root z = re^(iφ), 0 ≤ φ = πu ≤ π (conjugates come in pairs), solves z^τ(z − 1) = "
            "−κ. Three ranges of φ cover all r ≥ 1: a positive imaginary part, a modulus that is "
            "too large, or a non-negative value.",
            "Unstable for κ > κ*: roots move continuously with κ and leave the circle outwards, "
            "so none "
            "comes back. That (τ + 1)|w|² + Re w, over κ|(τ + 1)z − τ|², is d log|z|/dκ is "
            "implicit "
            "differentiation of z^τ(z − 1) = −κ; both are outside of the kernel.",
        ),
        uses=(TANGENT,),
        clauses=(
            *_crossing(),
            *_outside(),
            _outward(),
            _value("one", 1, sp.Integer(1), "τ = 1: κ* = 1"),
            _value("two", 2, sp.sqrt(5) - 1, "τ = 2: 2κ* = √5 − 1"),
            *_limit(),
        ),
        references=(
            LEVIN_MAY,
            Reference("N. D. Hayes", "", "1950, J. London Math. Soc. 25", "the limit π/2"),
        ),
        implements=("identity.dynamics.refresh_threshold",),
        mutants=(
            Mutant("at κ = 1/τ", "crossing-real", lhs=_crossing_at(1 / tau)),
            Mutant(
                "inside the circle",
                "small-angle",
                domain=Domain(POSITIVE_DELAY, Real(r, 0, 1), Real(u, 0, 1 / odd)),
            ),
            Mutant("twice the threshold", "large-angle", lhs=4 * critical**2),
            Mutant("the sine of the whole angle", "two", rhs=4 * sp.sin(sp.pi / 5)),
            Mutant("the limit is 1", "limit-above", rhs=sp.Integer(1)),
            Mutant("inwards", "outward", lhs=sp.Integer(1)),
        ),
        check=CHECKS.get(DELAY),
    )
