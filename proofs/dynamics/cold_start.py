"""How long a policy takes to leave a small success probability: times as integrals ∫ dp/p'."""

from __future__ import annotations

import sympy as sp

from proofs.dynamics.clauses import PLAIN_TIME, y
from proofs.dynamics.notation import tsallis_paper
from proofs.expectation.notation import G, b, p, weight, weight_terms
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Integer, Real
from proofs.kernel.rules import (
    Antiderivative,
    Ball,
    Differentiate,
    Instance,
    IntegralCompare,
    Split,
)
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

__all__ = ["cold_start", "cold_start_grpo", "noise_equilibrium", "noise_fitting"]

COLD, GRPO = "dynamics.cold-start", "dynamics.cold-start-grpo"
EQUILIBRIUM = "dynamics.noise-equilibrium"
WEIGHT = "expectation.grpo-weight"
TANGENT = "expectation.tangent-line"

q, c, p0, p1 = sp.symbols("q c p0 p1")
n, x, a = sp.symbols("n x a")  # of expectation.tangent-line
half, zero, one = sp.Rational(1, 2), sp.Integer(0), sp.Integer(1)
HUNDREDTH, THOUSANDTH = sp.Rational(1, 100), sp.Rational(1, 1000)

FROM = tuple(sp.Rational(n, 40) for n in (2, 3, 4, 5, 6, 7, 9))
SMALL = Real(p0, 0, half, samples=FROM)
LATER = Real(p1, p0, half, open_high=False, samples=(*FROM, half))
MIXED = Real(q, 0, 1, open_low=False, samples=tuple(sp.Rational(n, 8) for n in range(8)))
FLOW = "Gradient flow of the loss −log_q P at learning rate 1: θ' = P^(−q)∇P."
SIGMOID = "For a sigmoid policy P = 1/(1 + e^(−θ)), ∇log P = 1 − P."


def _integral(integrand: sp.Expr, low: sp.Expr = p0, high: sp.Expr = p1) -> sp.Expr:
    return DefiniteIntegral(integrand, y, low, high)


def _between(primitive: sp.Expr, low: sp.Expr = p0, high: sp.Expr = p1) -> sp.Expr:
    return primitive.xreplace({y: high}) - primitive.xreplace({y: low})


def _solved(
    name: str,
    domain: Domain,
    integrand: sp.Expr,
    primitive: sp.Expr,
    words: str,
    low: sp.Expr = p0,
    high: sp.Expr = p1,
) -> Clause:
    time = _integral(integrand, low, high)
    value = _between(primitive, low, high)
    step = Step("an antiderivative", "=", value, by=(Antiderivative(time, primitive),))
    return Clause(name, domain, Claim(time, "=", value), Chain((step,)), words)


def _compared(
    name: str, domain: Domain, integrand: sp.Expr, bound: sp.Expr, primitive: sp.Expr, words: str
) -> tuple[Clause, Clause]:
    """bound·f ≤ integrand ≤ 4·bound·f, f with the given antiderivative."""
    time, plain = _integral(integrand), _integral(bound)
    lower = _between(primitive)
    below = (
        (-1, Antiderivative(plain, primitive)),
        (1, IntegralCompare(plain, integrand, "<=")),
    )
    four = _integral(4 * bound)
    above = (
        (1, IntegralCompare(time, 4 * bound, "<=")),
        (1, Antiderivative(four, 4 * primitive)),
    )
    return (
        Clause(
            f"{name}-at-least",
            domain,
            Claim(lower, "<=", time),
            Chain((Step("(1 − P)² ≤ 1", "<=", time, by=below),)),
            f"at least {words}",
        ),
        Clause(
            f"{name}-at-most",
            domain,
            Claim(time, "<=", 4 * lower),
            Chain((Step("(1 − P)² ≥ 1/4 up to P = 1/2", "<=", 4 * lower, by=above),)),
            f"at most four times that, {words}",
        ),
    )


def _near(name: str, value: sp.Expr, shown: sp.Rational, width: sp.Rational) -> tuple[Clause, ...]:
    """A closed number, to the digits shown."""
    low, high = shown - width, shown + width
    words = f"{float(shown):.12g}, to within {float(width):g}"
    return (
        Clause(
            f"{name}-low",
            Domain(),
            Claim(low, "<", value),
            Chain((Step("enclosed", "<", value, by=((1, Ball(low, "<", value)),)),)),
            f"at least {words}",
        ),
        Clause(
            f"{name}-high",
            Domain(),
            Claim(value, "<", high),
            Chain((Step("enclosed", "<", high, by=((1, Ball(value, "<", high)),)),)),
            f"at most {words}",
        ),
    )


PLAIN = 1 / (y**2 * (1 - y) ** 2)  # 1/p' of a sigmoid policy, q = 0
LIKELIHOOD = 1 / (y * (1 - y) ** 2)  # q = 1
LIKELIHOOD_TIME = sp.log(y) - sp.log(1 - y) + 1 / (1 - y)
POWER, POWER_TIME = y ** (q - 2), -(y ** (q - 1)) / (1 - q)


def cold_start() -> Theorem:
    g = sp.IndexedBase("g")
    n, j, P = sp.symbols("n j P")
    order = Real(q, 0, 1, False, False, samples=tuple(sp.Rational(j, 8) for j in range(9)))
    gradient = Domain(Integer(n, 1, spread=3), Array(g, (n,)), Real(P, 0, 1), order)
    flow = sp.Sum(g[j] * P ** (-q) * g[j], (j, 1, n))
    score = P ** (2 - q) * sp.Sum((g[j] / P) ** 2, (j, 1, n))
    norm = Real(c, 0, samples=FROM)
    return Theorem(
        id=COLD,
        title="How long a cold start takes",
        words=(
            "Along the flow of the Tsallis loss −log_q P the success probability obeys P' = "
            "P^(2−q)‖∇log P‖². At a constant squared norm c it takes "
            "(p₀^(−(1−q)) − p₁^(−(1−q)))/((1 − q)c) from p₀ to p₁ for q < 1, and "
            "log(p₁/p₀)/c for q = 1. For a sigmoid policy, up to "
            "P = 1/2, the time lies between that at c = 1 and four times that, with closed forms "
            "at q = 0 and q = 1: from .01 to .5 it is 108.18014 and 5.58502."
        ),
        assumptions=(FLOW, SIGMOID, "0 < p₀ < p₁ ≤ 1/2; times are ∫ dP/P'."),
        clauses=(
            Clause(
                "flow",
                gradient,
                Claim(flow, "=", score),
                Chain((Step("∇P = P∇log P", "=", score),)),
                "P' = ∇P·θ' = P^(2−q)‖∇log P‖², coordinate by coordinate",
            ),
            _solved(
                "constant",
                Domain(norm, MIXED, SMALL, LATER),
                POWER / c,
                POWER_TIME / c,
                "‖∇log P‖² = c, q < 1",
            ),
            _solved(
                "constant-log",
                Domain(norm, SMALL, LATER),
                1 / (c * y),
                sp.log(y) / c,
                "‖∇log P‖² = c, q = 1",
            ),
            *_compared(
                "sigmoid",
                Domain(MIXED, SMALL, LATER),
                POWER / (1 - y) ** 2,
                POWER,
                POWER_TIME,
                "(p₀^(−(1−q)) − p₁^(−(1−q)))/(1 − q)",
            ),
            *_compared(
                "sigmoid-log",
                Domain(SMALL, LATER),
                LIKELIHOOD,
                1 / y,
                sp.log(y),
                "log(p₁/p₀)",
            ),
            _solved("T0", Domain(SMALL, LATER), PLAIN, PLAIN_TIME, "sigmoid, q = 0"),
            _solved("T1", Domain(SMALL, LATER), LIKELIHOOD, LIKELIHOOD_TIME, "sigmoid, q = 1"),
            *_near(
                "T0-number",
                _between(PLAIN_TIME, HUNDREDTH, half),
                sp.Rational(10818014, 10**5),
                sp.Rational(1, 2 * 10**5),
            ),
            *_near(
                "T1-number",
                _between(LIKELIHOOD_TIME, HUNDREDTH, half),
                sp.Rational(558502, 10**5),
                sp.Rational(1, 2 * 10**5),
            ),
        ),
        references=(tsallis_paper("Theorems 5.1 and 5.2"),),
        implements=("identity.dynamics.cold_start_time",),
        mutants=(
            Mutant("P^(1−q)", "flow", rhs=score / P),
            Mutant("without 1 − q", "constant", rhs=_between(-(y ** (q - 1)) / c)),
            Mutant("a norm of 2", "sigmoid-at-least", lhs=2 * _between(POWER_TIME)),
            Mutant("twice suffices", "sigmoid-log-at-most", rhs=_between(sp.log(y))),
            Mutant("one logarithm", "T0", rhs=_between(PLAIN_TIME - sp.log(y))),
            Mutant("another time", "T1-number-high", rhs=sp.Rational(558501, 10**5)),
        ),
        check=CHECKS.get(COLD),
    )


# -- GRPO ----------------------------------------------------------------------------------------


def grpo_weight(size: int, at: sp.Expr) -> sp.Expr:
    """W_G, its terms written out."""
    terms = (weight_terms(sp.Integer(size), at).xreplace({b: sp.Integer(n)}) for n in range(size))
    return sp.Add(*terms)


def _rates() -> tuple[Clause, ...]:
    """√(G−1) p²(1−p)^(G+1) ≤ p' ≤ √(G−1) p², and the times that belong to these bounds."""
    size = Integer(G, 2)
    domain = Domain(size, Real(p, 0, 1))
    rate = (p * (1 - p)) ** 2 * weight()
    most, least = sp.sqrt(G - 1) * p**2, sp.sqrt(G - 1) * p**2 * (1 - p) ** (G + 1)
    rest = sp.Sum(weight_terms(), (b, 1, G - 1))
    first = (p * (1 - p)) ** 2 * ((1 - p) ** (G - 1) * sp.sqrt(G - 1) + rest)
    small = Domain(size, SMALL, LATER)
    quick = 1 / (sp.sqrt(G - 1) * y**2)
    slow = 1 / (sp.sqrt(G - 1) * y**2 * (1 - y) ** (G + 1))
    at_end = 1 / (sp.sqrt(G - 1) * y**2 * (1 - p1) ** (G + 1))
    time = _integral(slow)
    last = _between(-1 / (sp.sqrt(G - 1) * (1 - p1) ** (G + 1) * y))
    tangent = Instance(TANGENT, "tangent", ((n, G + 1), (x, 1 - y), (a, 1 - p1)))
    both = sp.sqrt(G - 1) * y**2 * ((1 - p1) * (1 - y)) ** (G + 1)
    return (
        Clause(
            "rate-at-most",
            domain,
            Claim(rate, "<=", most),
            Chain(
                (
                    Step(
                        "W_G ≤ √(G−1)",
                        "<=",
                        (p * (1 - p)) ** 2 * sp.sqrt(G - 1),
                        by=(((p * (1 - p)) ** 2, Instance(WEIGHT, "bound")),),
                    ),
                    Step("(1 − p)² ≤ 1", "<=", most),
                )
            ),
            "p' = p²(1 − p)²W_G(p) ≤ √(G−1) p²",
        ),
        Clause(
            "rate-at-least",
            domain,
            Claim(least, "<=", rate),
            Chain(
                (
                    Step("the terms of a sum are not negative", "<=", first),
                    Step("first term apart", "=", rate, by=(Split(weight(), first=1),)),
                )
            ),
            "p' ≥ √(G−1) p²(1 − p)^(G+1)",
        ),
        _solved(
            "time-at-least",
            small,
            quick,
            -1 / (sp.sqrt(G - 1) * y),
            "so the time is at least (1/p₀ − 1/p₁)/√(G−1)",
        ),
        Clause(
            "time-at-most",
            small,
            Claim(time, "<=", last),
            Chain(
                (
                    Step(
                        "(1 − p)^(G+1) ≥ (1 − p₁)^(G+1)",
                        "<=",
                        _integral(at_end),
                        by=(
                            (
                                1,
                                IntegralCompare(
                                    time,
                                    at_end,
                                    "<=",
                                    (
                                        Step(
                                            "1 − p ≥ 1 − p₁",
                                            "<=",
                                            at_end,
                                            by=((1 / both, tangent),),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                    ),
                    Step(
                        "an antiderivative",
                        "=",
                        last,
                        by=(
                            Antiderivative(
                                _integral(at_end),
                                -1 / (sp.sqrt(G - 1) * (1 - p1) ** (G + 1) * y),
                            ),
                        ),
                    ),
                )
            ),
            "and at most that over (1 − p₁)^(G+1)",
        ),
    )


LIMIT = (y * (1 - y)) ** sp.Rational(-3, 2)
LIMIT_TIME = 2 * (2 * y - 1) / sp.sqrt(y * (1 - y))


def cold_start_grpo() -> Theorem:
    eight = 1 / (y**2 * (1 - y) ** 2 * grpo_weight(8, y))
    units = sp.Rational(1, 200)
    return Theorem(
        id=GRPO,
        title="A finite group leaves a cold start in a time of order 1/p₀",
        words=(
            "For a sigmoid policy GRPO's success probability obeys p' = p²(1 − p)²W_G(p), which "
            "lies between √(G−1) p²(1 − p)^(G+1) and √(G−1) p². So the time from p₀ to p₁ is "
            "(1/p₀ − 1/p₁)/√(G−1) up to a factor between 1 and (1 − p₁)^(−(G+1)): of order 1/p₀ "
            "for every finite G. The limit 1/√(p(1 − p)) takes 2(1 − 2p₀)/√(p₀(1 − p₀)) to 1/2, of "
            "order 1/√p₀. From .001 to .5: 1012.81 (G = 2), 386.72 (G = 8), 63.15 (the limit)."
        ),
        assumptions=(
            "Gradient flow in expectation at learning rate 1: θ' = W_G(p)·p(1 − p), with W_G of "
            "expectation.grpo-weight: population std, no ε, on policy.",
            "Times are ∫ dp/p'; between two bounds of p' they lie between the bounds' times. At "
            "G = 2, W = 1 (expectation.no-bias-at-two).",
            "0 < p₀ < p₁ ≤ 1/2.",
        ),
        uses=(WEIGHT, TANGENT),
        clauses=(
            *_rates(),
            _solved(
                "limit",
                Domain(SMALL),
                LIMIT,
                LIMIT_TIME,
                "W = 1/√(p(1−p)), from p₀ to 1/2: 2(1 − 2p₀)/√(p₀(1 − p₀))",
                high=half,
            ),
            *_near("two", _between(PLAIN_TIME, THOUSANDTH, half), sp.Rational(101281, 100), units),
            *_near("eight", _integral(eight, THOUSANDTH, half), sp.Rational(38672, 100), units),
            *_near(
                "limit-number",
                _between(LIMIT_TIME, THOUSANDTH, half),
                sp.Rational(6315, 100),
                units,
            ),
        ),
        references=(tsallis_paper("the escape times, with the weights of GRPO put in"),),
        implements=("identity.dynamics.cold_start_time",),
        mutants=(
            Mutant("as fast as the limit", "rate-at-most", rhs=p ** sp.Rational(3, 2) / 2),
            Mutant("without the power", "rate-at-least", lhs=sp.sqrt(G - 1) * p**2),
            Mutant("half as long", "time-at-most", rhs=_between(-half / (sp.sqrt(G - 1) * y))),
            Mutant("4/√p₀", "limit", rhs=4 / sp.sqrt(p0)),
            Mutant("eight as two", "eight-low", lhs=sp.Integer(1012)),
            Mutant("the limit as eight", "limit-number-low", lhs=sp.Integer(386)),
        ),
        check=CHECKS.get(GRPO),
    )


# -- noise ---------------------------------------------------------------------------------------


def noise_equilibrium() -> Theorem:
    """The loss Σ α_j (−log_q m_j) over two answers, α = (A^q, B^q), m = (m, 1 − m)."""
    A, B, m = sp.symbols("A B m")
    masses = (Real(A, 0, samples=FROM), Real(B, 0, samples=FROM))
    order = Real(q, 0, 1, samples=tuple(sp.Rational(j, 9) for j in range(1, 9)))
    domain = Domain(*masses, order)
    share = Real(m, 0, 1, samples=tuple(sp.Rational(j, 9) for j in range(1, 9)))

    def loss(at: sp.Expr) -> sp.Expr:
        wrong, right = (1 - at ** (1 - q)) / (1 - q), (1 - (1 - at) ** (1 - q)) / (1 - q)
        return A**q * wrong + B**q * right

    balance = A / (A + B)
    pull = Slope(loss(y), y, balance)
    moving = sp.Derivative(loss(m), m)
    slope = -(A**q) * m ** (-q) + B**q * (1 - m) ** (-q)
    anywhere = Domain(*masses, order, share)
    return Theorem(
        id=EQUILIBRIUM,
        title="Where training with contaminated labels is stationary",
        words=(
            "With a share ε of contaminated labels the Tsallis loss over the two answers is "
            "stationary at the mass ε^(1/q)/(ε^(1/q) + (1 − ε)^(1/q)) of the wrong one, for "
            "0 < q < 1."
        ),
        assumptions=(
            "Written with A = ε^(1/q) and B = (1 − ε)^(1/q), up to a common factor: the weights "
            "of the two labels are A^q and B^q.",
        ),
        clauses=(
            Clause(
                "gradient",
                anywhere,
                Claim(moving, "=", slope),
                Chain((Step("differentiated", "=", slope, by=(Differentiate(moving),)),)),
                "−ε m^(−q) + (1 − ε)(1 − m)^(−q)",
            ),
            Clause(
                "equilibrium",
                domain,
                Claim(pull, "=", zero),
                Chain((Step("both pulls are (A + B)^q", "=", zero, by=(Differentiate(pull),)),)),
                "stationary at m = A/(A + B)",
            ),
        ),
        references=(tsallis_paper("Proposition C.2, the equilibrium"),),
        mutants=(
            Mutant("at ε itself", "equilibrium", lhs=Slope(loss(y), y, A**q / (A**q + B**q))),
            Mutant("the other answer", "equilibrium", lhs=Slope(loss(y), y, B / (A + B))),
            Mutant("without the second pull", "gradient", rhs=-(A**q) * m ** (-q)),
        ),
        check=CHECKS.get(EQUILIBRIUM),
    )


def noise_fitting() -> Theorem:
    some = Domain(Real(p0, 0, half, samples=FROM))
    time = DefiniteIntegral(PLAIN, y, p0, half)
    return Theorem(
        id="dynamics.noise-fitting",
        title="The time to fit a wrong label is not bounded whatever its initial mass",
        words=(
            "A bound on the time to fit contaminated labels that rests on a score bounded from "
            "below does not cover a sigmoid policy, whose score vanishes as p → 1; and for q < 1 "
            "the "
            "time grows beyond every bound as the initial mass of the wrong answer tends to 0."
        ),
        assumptions=(
            FLOW,
            SIGMOID,
            "P is the mass of the wrong answer, whose label is fitted alone.",
            "1/100 and 1000 stand for any positive constants.",
        ),
        uses=(COLD,),
        refutes=(
            Refutation(
                "score",
                Domain(Real(p, 0, 1)),
                Claim(HUNDREDTH, "<=", (1 - p) ** 2),
                ((p, sp.Rational(19, 20)),),
                "the squared score of a sigmoid policy is at least 1/100 for all p",
            ),
            Refutation(
                "time",
                some,
                Claim(time, "<=", sp.Integer(1000)),
                ((p0, THOUSANDTH),),
                "at q = 0 any initial mass is fitted up to 1/2 within a time of 1000",
            ),
        ),
        clauses=(
            Clause(
                "diverges",
                Domain(MIXED, SMALL, LATER),
                Claim(_between(POWER_TIME), "<=", _integral(POWER / (1 - y) ** 2)),
                Chain(
                    (
                        Step(
                            "as proved",
                            "<=",
                            _integral(POWER / (1 - y) ** 2),
                            by=((1, Instance(COLD, "sigmoid-at-least")),),
                        ),
                    )
                ),
                "the time from an initial mass p₀ is at least (p₀^(−(1−q)) − p₁^(−(1−q)))/(1 − q)",
            ),
        ),
        references=(tsallis_paper("Proposition C.2", "reconstructed"),),
        corrected_by=(COLD, EQUILIBRIUM),
        mutants=(
            Mutant("also false: a fiftieth", "score", lhs=sp.Rational(1, 50)),
            Mutant("also false: 1012", "time", rhs=sp.Integer(1012)),
            Mutant("twice that", "diverges", lhs=2 * _between(POWER_TIME)),
        ),
        check=CHECKS.get("dynamics.noise-fitting"),
    )
