"""Sine, cosine and definite integrals: what the rules show, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import sympy as sp
from flint import arb, fmpq

from proofs.kernel.check import check_theorem
from proofs.kernel.context import Context
from proofs.kernel.domain import Domain, Integer, Real
from proofs.kernel.errors import (
    MalformedTheorem,
    ProofError,
    Undecided,
    UndefinedValue,
    Unsupported,
)
from proofs.kernel.rules import (
    AngleSum,
    Antiderivative,
    Ball,
    Complement,
    Differentiate,
    Instance,
    IntegralCompare,
    MeanValue,
    Sine,
)
from proofs.kernel.semantics import compare, evaluate
from proofs.kernel.terms import (
    BetaMean,
    DefiniteIntegral,
    Maximum,
    Minimum,
    Rounded,
    Slope,
    canonical,
)
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Refutation, Step
from tests.kernel.claims import step, theorem

a, b, n, t, u, x, y, z = sp.symbols("a b n t u x y z")
half = sp.Rational(1, 2)
UNIT = Context(Domain(Real(x, 0, 1)))
LINE = Context(Domain(Real(x), Real(y)))


def integral(body: sp.Expr, low: Any, high: Any) -> sp.Expr:
    return DefiniteIntegral(body, t, sp.sympify(low), sp.sympify(high))


# -- sine and cosine -----------------------------------------------------------------------------


def test_pythagoras_whatever_the_form_of_the_angle() -> None:
    angle = 3 * x * (x + y) / 2
    assert LINE.zero(sp.sin(angle) ** 2 + sp.cos(sp.expand(angle)) ** 2 - 1)
    assert LINE.zero(sp.sin(x * (1 - y)) + sp.sin(x * y - x))
    assert LINE.zero(sp.cos(x * (1 - y)) - sp.cos(x * y - x))
    assert not LINE.zero(sp.sin(x) ** 2 - sp.cos(x) ** 2)
    assert not LINE.zero(sp.sin(x) - sp.sin(y))
    assert not LINE.zero(sp.sin(2 * x) - 2 * sp.sin(x))


def test_a_cosine_lies_between_minus_one_and_one() -> None:
    assert LINE.nonnegative(1 - sp.cos(x))
    assert LINE.nonnegative(1 + sp.cos(x))
    assert LINE.nonnegative(sp.sin(x) ** 2)
    assert not LINE.algebra.nonnegative(1 - sp.cos(x), strict=True)
    assert not LINE.nonnegative(sp.cos(x))
    assert not LINE.nonnegative(sp.sin(x))
    assert not LINE.nonnegative(sp.Rational(99, 100) - sp.cos(x))


def test_the_sign_of_a_sine_needs_its_angle_between_zero_and_pi() -> None:
    assert Sine(sp.pi * x).prove(UNIT).relation == "<"
    closed = Context(Domain(Real(x, 0, 1, False, False)))
    assert Sine(sp.pi * x).prove(closed).relation == "<="
    for angle in (2 * sp.pi * x, sp.pi * x - sp.pi / 2, -sp.pi * x, 4 * x, sp.pi * (x + half)):
        with pytest.raises(Undecided):
            Sine(angle).prove(UNIT)
    with pytest.raises(Undecided):  # π is known to be positive here, and no more
        Sine(x).prove(UNIT)


@pytest.mark.parametrize("function", ["sin", "cos"])
def test_the_sum_of_angles_holds_where_it_is_evaluated(function: str) -> None:
    fact = AngleSum(function, 2 * x, y / 3).prove(LINE)
    for first, second in ((1, 2), (-3, 5), (half, sp.Rational(7, 3))):
        point = {x: sp.sympify(first), y: sp.sympify(second)}
        left, right = (side.xreplace(point) for side in (fact.lhs, fact.rhs))
        assert compare(left, "=", right, {}) is None  # equal to 50 digits
        assert compare(left + sp.Rational(1, 10**40), "=", right, {}) is False


def test_complementary_angles_add_up_to_a_right_angle() -> None:
    n_odd = 2 * n + 1
    ctx = Context(Domain(Integer(n, 1)))
    fact = Complement("sin", sp.pi * n / n_odd, sp.pi / (2 * n_odd)).prove(ctx)
    assert (fact.lhs, fact.rhs) == (sp.sin(sp.pi * n / n_odd), sp.cos(sp.pi / (2 * n_odd)))
    with pytest.raises(Undecided):
        Complement("sin", sp.pi * n / n_odd, sp.pi / n_odd).prove(ctx)
    with pytest.raises(ProofError):
        Complement("tan", sp.pi * n / n_odd, sp.pi / (2 * n_odd)).prove(ctx)
    with pytest.raises(ProofError):
        AngleSum("tan", x, y).prove(LINE)


def test_derivatives_of_sine_and_cosine() -> None:
    wave = sp.Derivative(sp.sin(3 * x) * sp.cos(x), x)
    fact = Differentiate(wave).prove(LINE)
    assert LINE.zero(fact.rhs - 3 * sp.cos(3 * x) * sp.cos(x) + sp.sin(3 * x) * sp.sin(x))
    found = evaluate(Slope(sp.sin(t**2), t, 2), {})
    assert found.overlaps(4 * arb(4).cos())
    assert abs(float(found.mid()) - 4 * math.cos(4)) < 1e-12


# -- definite integrals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "low", "high", "value"),
    [
        (1 / t**2, half, 2, 1.5),
        (sp.sqrt(t), 0, 1, 2 / 3),
        (sp.exp(t) * sp.sin(t), 0, 1, (math.e * (math.sin(1) - math.cos(1)) + 1) / 2),
        (sp.log(t), 1, 2, 2 * math.log(2) - 1),
        (t ** sp.Rational(1, 3), 1, 8, 0.75 * 15),
        (sp.Integer(3), 1, 1, 0.0),
        (t**3 - 1, -1, 2, 0.75),
    ],
)
def test_the_value_of_an_integral(body: sp.Expr, low: Any, high: Any, value: float) -> None:
    found = evaluate(integral(body, low, high), {})
    assert float(found.mid()) == pytest.approx(value, rel=1e-14, abs=1e-14)
    assert float(found.rad()) < 1e-20 or body == sp.sqrt(t)


def test_an_integral_over_a_cut_has_no_small_ball() -> None:
    """√t at 0 is not analytic; 1/t across 0 has no value at all."""
    across = evaluate(integral(1 / t, -1, 1), {})
    assert not across.is_finite()
    with pytest.raises(Undecided):
        Context(Domain()).term(integral(1 / t, -1, 1))
    with pytest.raises(Undecided):
        Context(Domain()).term(integral(1 / t, 0, 1))


def test_an_antiderivative_is_differentiated() -> None:
    whole = integral(1 / t**2, x, 1)
    assert Antiderivative(whole, -1 / t).prove(UNIT).rhs == 1 / x - 1
    for wrong in (1 / t, -1 / t + t, sp.log(t), -1 / t**2):
        with pytest.raises(Undecided):
            Antiderivative(whole, wrong).prove(UNIT)
    # 1/t² has the antiderivative −1/t, but not through 0
    with pytest.raises((Undecided, MalformedTheorem)):
        Antiderivative(integral(1 / t**2, -1, 1), -1 / t).prove(UNIT)
    # t^(3/2) has a derivative at 0, but √t, which it is made of, has none
    with pytest.raises(Undecided):
        Antiderivative(integral(3 * sp.sqrt(t) / 2, 0, 1), t * sp.sqrt(t)).prove(UNIT)


def test_the_ends_are_in_order_and_rational() -> None:
    with pytest.raises(Undecided):
        UNIT.term(integral(t, 1, x))
    with pytest.raises(Undecided):
        UNIT.term(integral(t, x, x**2))
    with pytest.raises(Undecided):
        UNIT.term(integral(t, 0, sp.pi))
    UNIT.term(integral(t, x, 1))


def test_integrals_compare_as_their_integrands() -> None:
    whole = integral(t**2, 0, x)
    fact = IntegralCompare(whole, t, "<=").prove(UNIT)
    assert (fact.relation, fact.rhs) == ("<=", integral(t, 0, x))
    with pytest.raises(Undecided):  # not at t = 0 or 1
        IntegralCompare(whole, t, "<").prove(UNIT)
    with pytest.raises(Undecided):
        IntegralCompare(integral(t, 0, x), t**2, "<=").prove(UNIT)
    strictly = IntegralCompare(integral(t, 0, x), t + 1, "<").prove(UNIT)
    assert strictly.relation == "<"
    closed = Context(Domain(Real(x, 0, 1, False, False)))
    with pytest.raises(Undecided):  # over a point both integrals are 0
        IntegralCompare(integral(t, 0, x), t + 1, "<").prove(closed)
    with pytest.raises(ProofError):
        IntegralCompare(t, t, "<=").prove(UNIT)


def test_what_may_not_stand_in_an_integral() -> None:
    for body in (Rounded(t, 24), Slope(z**2, z, t), integral(x * t, 0, 1)):
        with pytest.raises(MalformedTheorem):
            UNIT.term(DefiniteIntegral(body, y, sp.Integer(0), sp.Integer(1)))
    with pytest.raises(MalformedTheorem):  # its variable is taken
        UNIT.term(DefiniteIntegral(x, x, sp.Integer(0), sp.Integer(1)))
    with pytest.raises(MalformedTheorem):
        UNIT.term(DefiniteIntegral(t, t, t, sp.Integer(1)))
    UNIT.term(integral(Maximum(t, x), 0, 1))


def test_no_derivative_of_an_integral() -> None:
    moving = sp.Derivative(integral(t * x, 0, 1), x)
    with pytest.raises(Undecided):
        Differentiate(moving).prove(UNIT)
    with pytest.raises(ProofError):
        MeanValue(integral(t * y, 0, 1), y, 0, x, half).prove(UNIT)


def test_the_variable_of_an_integral_is_bound() -> None:
    assert canonical(integral(t * x, 0, 1)) == canonical(
        DefiniteIntegral(z * x, z, sp.Integer(0), sp.Integer(1))
    )
    assert UNIT.zero(integral(t * x, 0, 1) - DefiniteIntegral(z * x, z, sp.Integer(0), 1))
    assert not UNIT.zero(integral(t * x, 0, 1) - integral(t, 0, 1))
    closed = Ball(integral(t**2, 0, 1), "<", half).prove(UNIT)
    assert closed.grade == "rigorous"
    with pytest.raises(ProofError):
        Ball(integral(t * x, 0, 1), "<", half).prove(UNIT)


def test_a_term_put_in_is_not_captured_by_the_integral() -> None:
    whole = integral(t * x, 0, 1)
    chain = Chain((step("=", x / 2, Antiderivative(whole, x * t**2 / 2)),))
    lemma = theorem(Clause("area", Domain(Real(x, 0, 1)), Claim(whole, "=", x / 2), chain))
    done = check_theorem(lemma, {}, first_principles=False)
    assert done.verdict == "proved", done.problems
    here = Context(Domain(Real(t, 0, 1)), {"test.claim": done})
    with pytest.raises(ProofError):
        Instance("test.claim", "area", ((x, t),)).prove(here)


# -- a closed range is positive up to its end ----------------------------------------------------


def test_strictly_positive_on_a_closed_range() -> None:
    closed = Context(Domain(Real(x, 0, 1, False, False)))
    square = x**2 + (1 - x) ** 2
    assert closed.algebra.nonnegative(square, strict=True)
    assert not closed.algebra.nonnegative(x * (1 - x), strict=True)
    assert not closed.algebra.nonnegative(1 - x, strict=True)  # 0 at the end
    assert not closed.algebra.nonnegative(x, strict=True)  # 0 at the beginning
    assert not closed.algebra.nonnegative(x**3 - (1 - x) ** 3, strict=True)
    moving = Context(Domain(Real(a, 0), Real(x, a, 2 * a, False, False)))
    assert moving.algebra.nonnegative((x - a) ** 2 + (2 * a - x) ** 2, strict=True)
    assert not moving.algebra.nonnegative((x - a) * (2 * a - x), strict=True)


def test_mutants_with_integrals_are_refuted() -> None:
    whole = integral(1 / t**2, x, 1)
    ninths = tuple(sp.Rational(j, 9) for j in range(1, 8))
    chain = Chain((step("=", 1 / x - 1, Antiderivative(whole, -1 / t)),))
    right = theorem(
        Clause("area", Domain(Real(x, 0, 1, samples=ninths)), Claim(whole, "=", 1 / x - 1), chain),
        mutants=(Mutant("larger", "area", rhs=1 / x), Mutant("log", "area", rhs=-sp.log(x))),
    )
    report = check_theorem(right, {}, first_principles=False)
    assert report.verdict == "proved", report.problems
    assert all(m.refuted for m in report.mutants)


def test_no_value_inside_a_power_series() -> None:
    with pytest.raises((Unsupported, MalformedTheorem)):
        evaluate(Slope(integral(t * z, 0, 1), z, 1), {})


def test_a_chain_of_integrands() -> None:
    whole = integral(t * (1 - t), 0, 1)
    steps = (Step("1 − t ≤ 1", "<=", t), Step("t ≤ 1", "<=", sp.Integer(1)))
    assert IntegralCompare(whole, 1, "<=", steps).prove(UNIT).rhs == integral(sp.Integer(1), 0, 1)


# -- what an integral without a value may not do (found by an attack) -----------------------------


@pytest.mark.parametrize(
    "body",
    [
        sp.cos(sp.sqrt(t - 2)),
        sp.sqrt(t - 2) * sp.sqrt(t - 3),
        sp.log(t - 2) - sp.log(t - 3),
        (t - 2) ** sp.Rational(1, 3) * (t - 3) ** sp.Rational(2, 3),
        (t - 2) ** t,
    ],
)
def test_an_integrand_without_a_value_has_no_integral(body: sp.Expr) -> None:
    """Its continuation is real there, or the imaginary parts cancel."""
    with pytest.raises(UndefinedValue):
        evaluate(integral(body, 0, 1), {})


def test_no_claim_without_a_meaning_is_refuted() -> None:
    claim = Claim(integral(sp.cos(sp.sqrt(t - 2)), 0, 1), "<=", sp.Integer(1))
    refuted = Refutation("claim", Domain(Real(x, 0, 5)), claim, ((x, 4),), "w")
    report = check_theorem(
        theorem(refutes=(refuted,), corrected_by=("test.other",)), {}, first_principles=False
    )
    assert report.verdict == "open"
    whole = integral(1 / t**2, x, 1)
    chain = Chain((step("=", 1 / x - 1, Antiderivative(whole, -1 / t)),))
    clause = Clause("area", Domain(Real(x, 0, 1)), Claim(whole, "=", 1 / x - 1), chain)
    for lhs in (
        integral(sp.cos(sp.sqrt(t - 3)), x, 1),
        integral(sp.sqrt(t - 2) * sp.sqrt(t - 3), x, 1),
        DefiniteIntegral(1 / t**2, t, sp.Integer(1), x),
    ):
        mutants = (Mutant("none", "area", lhs=lhs), Mutant("larger", "area", rhs=1 / x))
        report = check_theorem(theorem(clause, mutants=mutants), {}, first_principles=False)
        assert report.verdict == "open"


def test_a_range_that_is_not_in_order_has_no_value() -> None:
    with pytest.raises(UndefinedValue):
        evaluate(integral(t, 1, 0), {})
    assert float(evaluate(integral(t, half, half), {}).mid()) == 0


def test_what_the_evaluator_does_not_do_it_says() -> None:
    s = sp.Symbol("s")
    for body in (integral(t, 0, s), integral(s * t, 0, 1), Minimum(s, sp.Integer(1)), sp.sin(s)):
        with pytest.raises(Unsupported):
            evaluate(BetaMean(body, s, sp.Integer(1), sp.Integer(1)), {})


def test_an_integer_power_of_what_changes_its_sign() -> None:
    found = evaluate(integral((t - 1) ** n, 0, half), {n: fmpq(2)})
    assert found.overlaps(arb(7) / 24)
    assert float(found.rad()) < 1e-40
    assert evaluate(integral(t**n, 0, 1), {n: fmpq(2)}).overlaps(arb(1) / 3)


def test_equal_angles_with_a_denominator() -> None:
    ctx = Context(Domain(Real(x, 1, 2)))
    angle = 3 * x * (-x - 1) / (x + sp.pi)
    assert ctx.zero(sp.sin(angle) - sp.sin(sp.expand(angle)))
    assert ctx.zero(sp.sin(angle) + sp.sin(sp.expand(-angle)))
    assert ctx.zero(sp.cos(angle) - sp.cos(sp.expand(-angle)))
    assert ctx.zero(sp.sin(angle) ** 2 + sp.cos(sp.expand(-angle)) ** 2 - 1)
    assert not ctx.zero(sp.sin(angle) - sp.sin(sp.expand(-angle)))
