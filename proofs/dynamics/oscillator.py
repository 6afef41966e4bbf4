"""The second-order reduction of the heavy ball, its trajectories, and its limit of small mass."""

from __future__ import annotations

import sympy as sp

from proofs.dynamics.clauses import differentiated, y
from proofs.dynamics.notation import kappa, momentum, mu, oscillator_paper, start, t, target, tau
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Real
from proofs.kernel.rules import Cite, MeanValue
from proofs.kernel.terms import Slope
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

__all__ = ["oscillator", "overdamped"]

m, gamma, k = sp.symbols("m gamma k")  # mass, damping, stiffness
x, v, c, z = sp.symbols("x v c z")
a, b = sp.symbols("a b")  # the two rates of the overdamped motion, a < b
zero = sp.Integer(0)

gap = target - start
ENDS = (Real(start), Real(target))
SOURCE = oscillator_paper("the second-order reduction and its closed-form trajectory")


# -- the reduction -------------------------------------------------------------------------------


taylor_mass = (1 + mu + kappa * tau**2) / 2
damping = 1 - mu - kappa * tau


def _reduction() -> tuple[Clause, ...]:
    setting = (momentum(True), Real(kappa, 0), Real(tau, 0, open_low=False))
    motion = Domain(*setting, Real(x), Real(v), Real(c))

    def path(at: sp.Expr) -> sp.Expr:
        return x + v * at + c * at**2 / 2

    residual = path(sp.Integer(1)) - (1 + mu) * path(zero) + mu * path(sp.Integer(-1))
    residual += kappa * path(-tau)
    force = taylor_mass * c + damping * v + kappa * x
    character = sp.exp(z) - (1 + mu) + mu * sp.exp(-z) + kappa * sp.exp(-z * tau)
    speed = sp.exp(z) - mu * sp.exp(-z) - kappa * tau * sp.exp(-z * tau)
    domain = Domain(*setting)

    def slope(name: str, body: sp.Expr, rhs: sp.Expr, words: str) -> Clause:
        return differentiated(name, domain, Slope(body, z, 0), rhs, words, "differentiated, at 0")

    moving = Slope(character, z, y)
    return (
        Clause(
            "reduction",
            motion,
            Claim(residual, "=", force),
            Chain((Step("collect", "=", force),)),
            "on quadratic motions the recursion is m·acceleration + γ·velocity + κ·position",
        ),
        slope("damping", character, damping, "the slope of the characteristic function at 0"),
        differentiated(
            "speed",
            Domain(
                momentum(True),
                Real(kappa, 0),
                Real(tau, 0, open_low=False, samples=SOME),
                Real(y, samples=TIME.samples),
            ),
            moving,
            speed.xreplace({z: y}),
            "its slope anywhere",
        ),
        slope("mass", speed, 2 * taylor_mass, "and the slope of that at 0 is twice the mass"),
    )


# -- trajectories --------------------------------------------------------------------------------

SOME = tuple(sp.Rational(n, 6) for n in (1, 2, 5, 6, 11, 17))  # where exp is no huge number
TIME = Real(t, samples=(*SOME, *(-n for n in SOME)))
MASS = Real(m, 0, samples=SOME)
over = (MASS, Real(gamma, 0, samples=SOME), Real(k, 0, gamma**2 / (4 * m)))
under = (MASS, Real(gamma, samples=TIME.samples), Real(k, gamma**2 / (4 * m)))
root = sp.sqrt(gamma**2 - 4 * m * k)
fast, slow = (-gamma - root) / (2 * m), (-gamma + root) / (2 * m)
turning = sp.sqrt(4 * m * k - gamma**2) / (2 * m)
decay = gamma / (2 * m)


def overdamped_share(at: sp.Expr) -> sp.Expr:
    """What is left of the way after a time."""
    return (slow * sp.exp(fast * at) - fast * sp.exp(slow * at)) / (slow - fast)


def overdamped_speed(at: sp.Expr) -> sp.Expr:
    return slow * fast * (sp.exp(fast * at) - sp.exp(slow * at)) / (slow - fast)


def critical_share(at: sp.Expr) -> sp.Expr:
    return (1 + decay * at) * sp.exp(-decay * at)


def critical_speed(at: sp.Expr) -> sp.Expr:
    return -(decay**2) * at * sp.exp(-decay * at)


def waving_share(at: sp.Expr) -> sp.Expr:
    return sp.exp(-decay * at) * (sp.cos(turning * at) + decay / turning * sp.sin(turning * at))


def waving_speed(at: sp.Expr) -> sp.Expr:
    return -k / (m * turning) * sp.exp(-decay * at) * sp.sin(turning * at)


def _trajectory(
    name: str, ranges: tuple[Real, ...], share: object, speed: object, stiffness: sp.Expr = k
) -> tuple[Clause, ...]:
    """R' = V, mV' + γV + k(R − R_∞) = 0, R(0) = R_0 and V(0) = 0."""
    domain = Domain(*ranges, *ENDS, TIME)
    at_rest = Domain(*ranges, *ENDS)
    place = target - gap * share(t)  # type: ignore[operator]
    pace = -gap * speed(t)  # type: ignore[operator]
    moving, pulling = sp.Derivative(place, t), sp.Derivative(pace, t)
    newton = m * pulling + gamma * pace + stiffness * (place - target)
    acceleration = Slope(-gap * speed(z), z, 0)  # type: ignore[operator]
    kick = gap * stiffness / m
    return (
        differentiated(f"{name}-velocity", domain, moving, pace, "R' = V"),
        differentiated(
            f"{name}-motion",
            domain,
            newton,
            zero,
            "mV' + γV + k(R − R_∞) = 0",
            derivative=pulling,
        ),
        differentiated(
            f"{name}-kick",
            at_rest,
            acceleration,
            kick,
            "V'(0) = (R_∞ − R_0)k/m: R ≈ R_0 + (R_∞ − R_0)k t²/(2m)",
            "differentiated, at 0",
        ),
    )


# -- the first moments ---------------------------------------------------------------------------

RATES = (Real(a, 0, samples=SOME), Real(b, a, samples=(*SOME, *(n + 3 for n in SOME))))
LATER = Real(t, 0, open_low=False, samples=SOME)


def share(at: sp.Expr) -> sp.Expr:
    """What is left of the way, by the rates a < b: λ₊ = −a, λ₋ = −b."""
    return (b * sp.exp(-a * at) - a * sp.exp(-b * at)) / (b - a)


def _tangent(point: sp.Expr) -> Cite:
    return Cite("exponential-tangent", ((sp.Symbol("x"), point),))


def _start() -> tuple[Clause, ...]:
    """ab t²/2 − ab(a + b)t³/6 ≤ 1 − S(t) ≤ ab t²/2."""
    domain = Domain(*RATES, LATER)
    done, parabola = 1 - share(t), a * b * t**2 / 2
    cubic = parabola - a * b * (a + b) * t**3 / 6
    pace = a * b * (sp.exp(-a * z) - sp.exp(-b * z)) / (b - a)  # of 1 − S
    up = MeanValue(  # e^(−yz) + yz grows with y
        sp.exp(-y * z) + y * z,
        y,
        a,
        b,
        z - z * sp.exp(-y * z),
        "<=",
        (
            Step(
                "e^(yz) ≥ 1 + yz ≥ 1",
                "<=",
                z - z * sp.exp(-y * z),
                by=((z * sp.exp(-y * z), _tangent(y * z)),),
            ),
        ),
    )
    bend = y**2 * z**2 / 2 - sp.exp(-y * z) - y * z
    down = MeanValue(  # and minus y²z²/2 it falls
        bend,
        y,
        a,
        b,
        y * z**2 + z * sp.exp(-y * z) - z,
        "<=",
        (
            Step(
                "e^(−yz) ≥ 1 − yz",
                "<=",
                y * z**2 + z * sp.exp(-y * z) - z,
                by=((z, _tangent(-y * z)),),
            ),
        ),
    )
    above_slope = a * b * z - pace
    above = MeanValue(
        a * b * z**2 / 2 - 1 + share(z),
        z,
        0,
        t,
        above_slope,
        "<=",
        (Step("e^(−az) + az ≤ e^(−bz) + bz", "<=", above_slope, by=((a * b / (b - a), up),)),),
    )
    below_slope = pace - a * b * z + a * b * (a + b) * z**2 / 2
    below = MeanValue(
        1 - share(z) - a * b * z**2 / 2 + a * b * (a + b) * z**3 / 6,
        z,
        0,
        t,
        below_slope,
        "<=",
        (Step("to second order", "<=", below_slope, by=((a * b / (b - a), down),)),),
    )
    return (
        Clause(
            "start-above",
            domain,
            Claim(done, "<=", parabola),
            Chain((Step("the parabola rises faster", "<=", parabola, by=((1, above),)),)),
            "of the way at most (k/m)t²/2 is done, k/m = ab",
        ),
        Clause(
            "start-below",
            domain,
            Claim(cubic, "<=", done),
            Chain((Step("the cubic rises more slowly", "<=", done, by=((1, below),)),)),
            "and at least (k/m)t²/2 · (1 − (γ/m)t/3), γ/m = a + b",
        ),
    )


def oscillator() -> Theorem:
    return Theorem(
        id="dynamics.oscillator",
        title="Heavy ball with stale gradients as a damped oscillator",
        words=(
            "To second order in time, x_{t+1} = (1 + μ)x_t − μx_{t−1} − κx_{t−τ} is an oscillator "
            "of stiffness κ = ηK, damping γ = (1 − μ) − κτ and mass (1 + μ + κτ²)/2. From rest at "
            "R_0 it moves along closed forms, for γ > 0 towards R_∞: "
            "R_∞ − (R_∞ − R_0)[λ₊e^{λ₋t} − λ₋e^{λ₊t}]/(λ₊ − λ₋) "
            "if overdamped, and the critical and the underdamped one. All start with "
            "R − R_0 ≈ (R_∞ − R_0)kt²/(2m)."
        ),
        assumptions=(
            "Mass by the convention that the characteristic function agrees to second order at 0; "
            "where the lag is expanded to first order only, the mass is (1 + μ)/2.",
            "x is the distance to the fixed point, R the reward or any coordinate of that kind.",
            "R(0) = R_0 and V(0) = 0 can be read off the formulas; V is the velocity.",
            "λ± = (−γ ± √(γ² − 4mk))/(2m); in the bounds at the start λ₊ = −a, λ₋ = −b.",
        ),
        clauses=(
            *_reduction(),
            *_trajectory("overdamped", over, overdamped_share, overdamped_speed),
            *_trajectory(
                "critical",
                (MASS, Real(gamma, samples=TIME.samples)),
                critical_share,
                critical_speed,
                gamma**2 / (4 * m),
            ),
            *_trajectory("underdamped", under, waving_share, waving_speed),
            *_start(),
        ),
        references=(SOURCE,),
        implements=("identity.dynamics.trajectory", "identity.dynamics.fit"),
        mutants=(
            Mutant("the mass is μ", "mass", rhs=2 * mu),
            Mutant("the lag adds damping", "damping", rhs=1 - mu + kappa * tau),
            Mutant(
                "the rates exchanged",
                "overdamped-velocity",
                rhs=gap * (slow**2 * sp.exp(slow * t) - fast**2 * sp.exp(fast * t)) / (slow - fast),
            ),
            Mutant("a kick of k/2m", "overdamped-kick", rhs=gap * k / (2 * m)),
            Mutant(
                "without the decay",
                "underdamped-velocity",
                rhs=gap * k / (m * turning) * sp.sin(turning * t),
            ),
            Mutant("t²/4", "start-above", rhs=a * b * t**2 / 4),
            Mutant("no cubic term", "start-below", lhs=a * b * t**2 / 2),
        ),
        check=CHECKS.get("dynamics.oscillator"),
    )


def overdamped() -> Theorem:
    domain = Domain(*RATES, LATER)
    stiff = Domain(Real(gamma, 0, samples=SOME), Real(k, 0, samples=SOME), *ENDS, TIME)
    c_rate = a * b / (a + b)  # k/γ
    plain = sp.exp(-c_rate * t)
    place = target - gap * sp.exp(-k * t / gamma)
    moving = sp.Derivative(place, t)
    falls = MeanValue(  # e^(−cz) falls no faster than (c/a)e^(−az)
        c_rate / a * sp.exp(-a * z) - sp.exp(-c_rate * z),
        z,
        0,
        t,
        c_rate * sp.exp(-c_rate * z) - c_rate * sp.exp(-a * z),
        "<=",
        (
            Step(
                "c < a",
                "<=",
                c_rate * sp.exp(-c_rate * z) - c_rate * sp.exp(-a * z),
                by=(
                    (
                        c_rate / (z * (a - c_rate)),
                        Cite(
                            "exponential-increasing",
                            ((sp.Symbol("x"), -c_rate * z), (sp.Symbol("y"), -a * z)),
                        ),
                    ),
                ),
            ),
        ),
    )
    slower = MeanValue(  # e^(−yt) falls as y grows
        -sp.exp(-y * t), y, a, b, t * sp.exp(-y * t), "<="
    )
    slower_still = MeanValue(-sp.exp(-y * t), y, c_rate, a, t * sp.exp(-y * t), "<=")
    lower, upper = -a / (a + b), a / (b - a)
    distance = share(t) - plain
    return Theorem(
        id="dynamics.overdamped",
        title="With heavy damping the approach is nearly a single exponential",
        words=(
            "At mass 0 the trajectory is R_∞ − (R_∞ − R_0)e^(−t/T) with T = γ/k. At mass m the "
            "overdamped one stays near it for all t ≥ 0: with rates a < b (γ/m = a + b, k/m = "
            "ab, T = (a + b)/(ab)) the difference, over R_∞ − R_0, lies between −a/(b − a) and "
            "a/(a + b), which tend to 0 with mk/γ² = ab/(a + b)²."
        ),
        assumptions=(
            "γ, k > 0; a and b are minus the two roots λ₊ and λ₋ of dynamics.oscillator, whose sum "
            "and product are γ/m and k/m.",
        ),
        clauses=(
            differentiated(
                "first-order",
                stiff,
                gamma * moving + k * (place - target),
                zero,
                "γR' + k(R − R_∞) = 0; R(0) = R_0 as it stands",
                derivative=moving,
            ),
            Clause(
                "never-faster",
                domain,
                Claim(lower, "<=", distance),
                Chain(
                    (
                        Step(
                            "at the slow rate",
                            "<=",
                            c_rate / a * sp.exp(-a * t) - plain,
                            by=((1, falls),),
                        ),
                        Step("c < a", "<=", sp.exp(-a * t) - plain),
                        Step(
                            "the fast part takes away from the slow one",
                            "<=",
                            distance,
                            by=((a / (b - a), slower),),
                        ),
                    )
                ),
                "S(t) − e^(−t/T) ≥ −a/(a + b)",
            ),
            Clause(
                "hardly-slower",
                domain,
                Claim(distance, "<=", upper),
                Chain(
                    (
                        Step(
                            "1/T is less than the slow rate",
                            "<=",
                            share(t) - sp.exp(-a * t),
                            by=((1, slower_still),),
                        ),
                        Step(
                            "what is left is a difference of exponentials below 1",
                            "<=",
                            a / (b - a) * (1 - sp.exp(-b * t)),
                            by=((a * sp.exp(-a * t) / (b - a), _tangent(a * t)),),
                        ),
                        Step("and e^(−bt) > 0", "<=", upper),
                    )
                ),
                "S(t) − e^(−t/T) ≤ a/(b − a)",
            ),
        ),
        references=(SOURCE,),
        implements=("identity.dynamics.trajectory",),
        mutants=(
            Mutant(
                "T = k/γ",
                "first-order",
                lhs=gamma * sp.Derivative(target - gap * sp.exp(-gamma * t / k), t)
                + k * (target - gap * sp.exp(-gamma * t / k) - target),
            ),
            Mutant("never below", "never-faster", lhs=zero),
            Mutant("never above", "hardly-slower", rhs=-a / (b - a)),
            Mutant("the fast rate", "hardly-slower", lhs=share(t) - sp.exp(-b * t)),
        ),
        check=CHECKS.get("dynamics.overdamped"),
    )
