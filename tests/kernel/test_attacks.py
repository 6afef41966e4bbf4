"""Attacks that once made the kernel accept something false, kept as regression tests.

Each attack is a derivation of a false (or meaningless) statement from the public rules, found by
a reviewer who had not written the kernel. Correct behaviour is to refuse it: at the latest when
the derivation is checked, or earlier, when a term or a domain is built.
"""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import sympy as sp
from flint import arb, fmpq

from proofs.groups.notation import G, R, d, i, j, k, s, total
from proofs.kernel.check import check_theorem
from proofs.kernel.domain import SCORES, D, Domain, Group, Integer, Real, Table
from proofs.kernel.errors import ProofError, UndefinedValue
from proofs.kernel.rules import (
    Ball,
    BetaIntegral,
    BinomialMoments,
    Context,
    Differentiate,
    DropTerms,
    Hypothesis,
    Instance,
    Linear,
    Nonnegative,
    Reverse,
    Shift,
    Split,
    Square,
    Termwise,
    Tower,
    Unroll,
)
from proofs.kernel.semantics import compare, evaluate
from proofs.kernel.terms import BetaMean, PoissonMean, RolloutMean
from proofs.kernel.theorem import (
    Cases,
    Chain,
    Claim,
    Clause,
    Induction,
    Mutant,
    Refutation,
    Step,
    Theorem,
    check_proof,
)
from tests.kernel.claims import step
from tests.kernel.test_refuses_false import Statement, undefined_statements

REFUSALS = (ProofError, ArithmeticError, TypeError, ValueError, AttributeError, LookupError)

a, n, m, p, q, t, x, y, z = sp.symbols("a n m p q t x y z")
half = sp.Rational(1, 2)
f, F = sp.Function("f"), sp.Function("F")
slope = sp.IndexedBase("g")
no_variables = Domain()
real = Domain(Real(x))
naturals = Domain(Integer(n, 0))
counted = Domain(Integer(G, 2), Integer(k, 0, G), *SCORES, Group(G, correct=k))
random_group = Domain(Integer(G, 2), Real(p, 0, 1), *SCORES, Group(G, success=p, slope=slope))
hidden_zero = (n + 1) ** 2 - n**2 - 2 * n - 1  # SymPy does not see that this is 0

ATTACKS: list[Any] = []


def attack(title: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def keep(function: Callable[[], Any]) -> Callable[[], Any]:
        ATTACKS.append(pytest.param(function, id=title))
        return function

    return keep


def derive(domain: Domain, claim: Claim, *steps: Step, ledger: Any = None) -> str:
    return check_proof(Context(domain, ledger or {}), claim, Chain(steps), [])


def proved_before(domain: Domain, claim: Claim, *by: Any) -> dict[str, Any]:
    """A ledger with one theorem, checked in full (it may stay open: then it cannot be used)."""
    clause = Clause("c", domain, claim, Chain((step(claim.relation, claim.rhs, *by),)))
    side = "lhs" if claim.relation != "=" else "rhs"
    off = claim.rhs + 1
    mutants = (Mutant("a", "c", **{side: off}), Mutant("b", "c", **{side: off + 1}))
    theorem = Theorem("before.it", "title", "words", clauses=(clause,), mutants=mutants)
    return {"before.it": check_theorem(theorem, {}, first_principles=False)}


def instance(*terms: tuple[Any, Any]) -> Instance:
    return Instance("before.it", "c", terms)


# -- squares, roots, signs -----------------------------------------------------------------------


@attack("the square of a root of anything is non-negative")
def _() -> Any:
    return derive(real, Claim(0, "<=", x), step("<=", x, (1, Square(sp.sqrt(x)))))


@attack("the square of the imaginary unit is non-negative")
def _() -> Any:
    return derive(no_variables, Claim(1, "<=", 0), step("<=", 0, (1, Square(sp.I))))


@attack("a root of unknown sign is non-negative")
def _() -> Any:
    root = sp.sqrt(x)
    return derive(real, Claim(0, "<=", x), step("<=", x, (root, Nonnegative(root))))


@attack("binomials outside of their range are non-negative")
def _() -> Any:
    row = sp.Sum(sp.binomial(n, k), (k, 0, 1))
    return derive(
        Domain(Integer(n, -5)),
        Claim(0, "<=", n + 1),
        step("<=", n + 1, (1, Nonnegative(row)), (1, Unroll(row))),
    )


@attack("the logarithm of a negative number has a non-negative square")
def _() -> Any:
    logs = sp.Sum(sp.log(-k) ** 2, (k, 1, 1))
    return derive(
        no_variables,
        Claim(9, "<", 0),
        step("<", sp.pi**2, (1, Ball(9, "<", sp.pi**2))),
        step("<=", 0, (1, Nonnegative(logs)), (1, Unroll(logs))),
    )


@attack("the exponential of an imaginary number is positive")
def _() -> Any:
    turns = sp.Sum(sp.exp(sp.I * sp.pi * k), (k, 1, 1))
    return derive(
        no_variables,
        Claim(0, "<=", -1),
        step("<=", -1, (1, Nonnegative(turns)), (1, Unroll(turns))),
    )


# -- names ---------------------------------------------------------------------------------------


@attack("a variable called like the canonical index")
def _() -> Any:
    u = sp.Symbol("_0")
    lhs, rhs = sp.Sum(u * k, (k, 1, 3)), sp.Sum(k**2, (k, 1, 3))
    return derive(Domain(Real(u)), Claim(lhs, "=", rhs), step("=", rhs))


@attack("a variable called like a slack")
def _() -> Any:
    w = sp.Symbol("_weak_x")
    domain = Domain(Real(x, 0, open_low=False), Real(w, 5))
    return derive(domain, Claim(4 * w, "<", x * w), step("<", x * w))


@attack("two variables of the same name")
def _() -> Any:
    twin = sp.Symbol("x", real=True)
    return derive(Domain(Real(x, 0), Real(twin, 0)), Claim(x, "<=", twin), step("<=", twin))


@attack("a symbol with assumptions of its own")
def _() -> Any:
    root = sp.sqrt(y**2)
    ledger = proved_before(Domain(Real(y)), Claim(0, "<=", root))
    u = sp.Symbol("x", positive=True)
    by = (1, instance((y, u)))
    return derive(Domain(Real(u)), Claim(0, "<=", u), step("<=", u, by), ledger=ledger)


@attack("a shift by the bound index itself")
def _() -> Any:
    four = sp.Sum(k, (k, 0, 3))
    rhs = sp.Sum(2 * k, (k, -k, 3 - k))
    return derive(Domain(Integer(k, 1)), Claim(four, "=", rhs), step("=", rhs, Shift(four, k)))


def nested(index: sp.Symbol) -> sp.Sum:
    return sp.Sum(j * sp.Sum(index * j, (index, 1, 3)), (j, i, i + 2))


@pytest.mark.parametrize(
    "rule",
    [Reverse(nested(i)), Shift(nested(i), i), Split(nested(i), first=1)],
    ids=["reverse", "shift", "split"],
)
def test_a_limit_is_not_captured_by_an_inner_index(rule: Any) -> None:
    domain, clean = Domain(Integer(i, 1)), nested(a)  # the same sum with a harmless inner index
    try:
        fact = rule.prove(Context(domain))
        derive(domain, Claim(clean, "=", fact.rhs), step("=", nested(i)), step("=", fact.rhs, rule))
    except REFUSALS:
        return
    for point in domain.points("capture", 5):
        assert compare(clean, "=", fact.rhs, point) is True


@attack("an integral over a name that is summed over, too")
def _() -> Any:
    twice = sp.Sum(BetaMean(k, k, 1, 1), (k, 1, 3))
    rhs = BetaMean(1, 1, 1, 1) + BetaMean(2, 2, 1, 1) + BetaMean(3, 3, 1, 1)
    return derive(no_variables, Claim(twice, "=", rhs), step("=", rhs, Unroll(twice)))


@attack("a sum over an indexed reward")
def _() -> Any:
    odd = sp.Sum(R[1], (R[1], 0, 3))
    return derive(counted, Claim(odd, "=", 6), step("=", 6, Unroll(odd)))


@attack("a sum over the name of the rewards")
def _() -> Any:
    same = sp.Sum(R[1], (sp.Symbol("R"), 1, G))
    return derive(counted, Claim(same, "=", k), step("=", k))


# -- numbers that are none -----------------------------------------------------------------------


@attack("complex infinity swallows finite numbers")
def _() -> Any:
    one, minus = sp.Sum(1 / k, (k, 0, 0)), sp.Sum(-1 / k, (k, 0, 0))
    disguised_one = (y - 1) ** 2 - y**2 + 2 * y
    return derive(
        no_variables,
        Claim(5, "<=", 4),
        step(
            "<=",
            4,
            (1, Unroll(one)),
            (disguised_one, Unroll(minus)),
            (-1, Linear(minus, ((-1, 1 / k),))),
        ),
    )


@attack("a linear combination with an undefined coefficient")
def _() -> Any:
    ones, zeros = sp.Sum(1, (k, 1, 1)), sp.Sum(hidden_zero, (k, 1, 1))
    return derive(
        naturals,
        Claim(ones, "=", 2),
        step("=", zeros / hidden_zero, Linear(ones, ((1 / hidden_zero, hidden_zero),))),
        step(
            "=",
            2 * zeros / hidden_zero,
            Termwise(zeros, 2 * hidden_zero),
            Linear(sp.Sum(2 * hidden_zero, (k, 1, 1)), ((2, hidden_zero),)),
        ),
        step("=", 2, Unroll(zeros)),
    )


@attack("a coefficient that may be undefined")
def _() -> Any:
    ones = sp.Sum(1, (k, 1, 1))
    rhs = sp.Sum(x, (k, 1, 1)) / x
    return derive(real, Claim(ones, "=", rhs), step("=", rhs, Linear(ones, ((1 / x, x),))))


@attack("an instance at an undefined term")
def _() -> Any:
    domain = Domain(Integer(n, 0), Real(y))
    ledger = proved_before(domain, Claim(y * hidden_zero, "=", 0))
    by = instance((y, 1 / hidden_zero))
    return derive(naturals, Claim(1, "=", 0), step("=", 0, by), ledger=ledger)


@attack("an instance at an imaginary term")
def _() -> Any:
    ledger = proved_before(Domain(Real(y)), Claim(0, "<=", y**2))
    by = (1, instance((y, sp.sqrt(-1 - n))))
    return derive(naturals, Claim(0, "<=", -1 - n), step("<=", -1 - n, by), ledger=ledger)


# -- functions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "new",
    [lambda v: sp.I, lambda v: sp.sqrt(-1 - v), sp.Lambda(m, sp.I), sp.Lambda(m, sp.sqrt(-1 - m))],
    ids=["unit", "root", "unit as a term", "root as a term"],
)
def test_an_arbitrary_function_is_not_replaced_by_an_imaginary_one(new: Any) -> None:
    domain = Domain(Integer(n, 0), Table(f))
    ledger = proved_before(domain, Claim(0, "<=", f(n) ** 2))
    square = new(n) ** 2  # negative everywhere
    with pytest.raises(REFUSALS):
        derive(
            naturals,
            Claim(0, "<=", square),
            step("<=", square, (1, instance((f, new)))),
            ledger=ledger,
        )


@attack("a function brings a term that a sum captures")
def _() -> Any:
    domain = Domain(Integer(n, 1), Integer(j, 1), Table(f))
    weighted, plain = sp.Sum(f(j) * k, (k, 1, n)), sp.Sum(k, (k, 1, n))
    ledger = proved_before(
        domain, Claim(weighted, "=", f(j) * plain), Linear(weighted, ((f(j), k),))
    )
    here = Domain(Integer(n, 1), Integer(j, 1))
    claim = Claim(sp.Sum(k**2, (k, 1, n)), "=", k * plain)
    return derive(here, claim, step("=", claim.rhs, instance((f, lambda v: k))), ledger=ledger)


@attack("the exponential declared as an arbitrary function")
def _() -> Any:
    domain = Domain(Integer(n, 0), Table(sp.exp))
    ledger = proved_before(domain, Claim(0, "<", sp.exp(n)))
    by = (1, instance((sp.exp, lambda v: sp.Integer(-1))))
    return derive(naturals, Claim(0, "<", -1), step("<", -1, by), ledger=ledger)


@attack("an instance inside a derivative")
def _() -> Any:
    rate = sp.Derivative(a * p, p)
    ledger = proved_before(Domain(Real(a), Real(p)), Claim(rate, "=", a), Differentiate(rate))
    claim = Claim(sp.Derivative(p**2, p), "=", p)
    return derive(Domain(Real(p)), claim, step("=", p, instance((a, p))), ledger=ledger)


@attack("a derivative by a variable with one value")
def _() -> Any:
    domain = Domain(Integer(n, 3, 3))
    ledger = proved_before(domain, Claim(n**2, "=", 3 * n))
    claim = Claim(sp.Derivative(n**2, n), "=", sp.Derivative(3 * n, n))
    return derive(domain, claim, step("=", claim.rhs, instance()), ledger=ledger)


@attack("a derivative by an integer variable")
def _() -> Any:
    domain = Domain(Integer(n, 0, 1), Integer(m, 0))
    idempotent = Claim(n**2, "=", n)
    ends = tuple((Integer(n, v, v), Chain((step("=", v),))) for v in (0, 1))
    mutants = (Mutant("a", "c", rhs=n + 1), Mutant("b", "c", rhs=n + 2))
    clause = Clause("c", Domain(Integer(n, 0, 1)), idempotent, Cases(n, ends))
    ledger = {"before.it": report_of("before.it", clauses=(clause,), mutants=mutants)}
    claim = Claim(sp.Derivative(m * n**2, n), "=", sp.Derivative(m * n, n))
    return derive(domain, claim, step("=", claim.rhs, instance()), ledger=ledger)


@attack("Differentiate on something that is no derivative")
def _() -> Any:
    other = F(n**2, sp.Tuple(n, 1))
    domain = Domain(Integer(n, 0), Table(F))
    return derive(domain, Claim(other, "=", 2 * n), step("=", 2 * n, Differentiate(other)))


@attack("the rollouts depend on p as well")
def _() -> Any:
    mean = RolloutMean(total(R[i]), 0, G)
    rate = sp.Derivative(p * mean, p)
    return derive(random_group, Claim(rate, "=", mean), step("=", mean, Differentiate(rate)))


@attack("BetaIntegral on something that is no mean")
def _() -> Any:
    other = F(1, n, 1, 1)
    domain = Domain(Integer(n, 0), Table(F))
    return derive(domain, Claim(other, "=", 1), step("=", 1, BetaIntegral(other, 0, 0)))


@attack("BetaIntegral over a number")
def _() -> Any:
    mean, value = BetaMean(9, 3, 1, 1), sp.beta(3, 1) / sp.beta(1, 1)
    return derive(no_variables, Claim(mean, "=", value), step("=", value, BetaIntegral(mean, 2, 0)))


@attack("BetaIntegral with exponents that hide the variable")
def _() -> Any:
    mean = BetaMean(p**p, p, 2 - p, 1)
    value = sp.beta(2, 1) / sp.beta(2 - p, 1)
    domain = Domain(Real(p, 0, 1))
    return derive(domain, Claim(mean, "=", value), step("=", value, BetaIntegral(mean, p, 0)))


# -- ranges --------------------------------------------------------------------------------------


@attack("a strict comparison of empty sums")
def _() -> Any:
    small, large = sp.Sum(k, (k, 1, n)), sp.Sum(k + 1, (k, 1, n))
    by = (1, Termwise(small, k + 1, "<"))
    return derive(naturals, Claim(small, "<", large), step("<", large, by))


@attack("cases with a gap between two halves")
def _() -> Any:
    claim = Claim(sp.Rational(1, 4), "<=", (n - 1) ** 2)
    end = Chain((step("<=", claim.rhs),))
    parts = ((Integer(n, 0, half), end), (Integer(n, 3 * half, 5), end))
    return check_proof(Context(Domain(Integer(n, 0, 5))), claim, Cases(n, parts), [])


@attack("a statement without a value at one of its cases")
def _() -> Any:
    thirds = sp.Sum(1 / n, (k, 1, 3))
    claim = Claim(n * thirds, "=", 3 - 3 * sp.Integer(0) ** n)  # SymPy: 0 * anything is 0
    cases = Cases(
        n,
        (
            (Integer(n, 0, 0), Chain((step("=", 0),))),
            (Integer(n, 1), Chain((step("=", claim.rhs, Unroll(thirds)),))),
        ),
    )
    return check_proof(Context(naturals), claim, cases, [])


@attack("an induction that starts at one half")
def _() -> Any:
    claim = Claim((-1) ** (2 * n), "=", -1)
    base = Chain((step("=", -1),))
    more = Chain((step("=", (-1) ** (2 * n)), step("=", -1, Hypothesis())))
    return check_proof(Context(Domain(Integer(n, half))), claim, Induction(n, base, more), [])


@attack("the hypothesis survives when its variable is put in")
def _() -> Any:
    jump = 1 - sp.Integer(0) ** n  # 0 at n = 0, then 1
    one, none = sp.Sum(jump, (n, 1, 1)), sp.Sum(0, (n, 1, 1))
    by_hypothesis = Termwise(one, 0, "<=", (step("<=", 0, (1, Hypothesis())),))
    cheat = Chain((step("<=", 0, (1, by_hypothesis), (-1, Unroll(one)), (1, Unroll(none))),))
    honest = Chain((step("=", jump), step("<=", 0, (1, Hypothesis()))))
    cases = Cases(n, ((Integer(n, 0, 0), cheat), (Integer(n, 1), honest)))
    induction = Induction(n, Chain((step("<=", 0),)), cases)
    return check_proof(Context(naturals), Claim(jump, "<=", 0), induction, [])


@attack("a sub-range between the integers")
def _() -> Any:
    body = k * (2 - k)
    part, full = sp.Sum(body, (k, half, 3 * half)), sp.Sum(body, (k, 0, 2))
    return derive(
        no_variables,
        Claim(3 * half, "<=", 1),
        step("<=", part, (-1, Split(part, 1, 1))),
        step("<=", full, (1, DropTerms(full, half, 3 * half))),
        step("=", 1, Unroll(full)),
    )


@attack("rewards at another index than the one summed over")
def _() -> Any:
    first_two = total(R[1 + sp.KroneckerDelta(i, 1)])
    return derive(counted, Claim(first_two, "=", k), step("=", k))


# -- the tower property --------------------------------------------------------------------------


class ScoreMeans:
    verdict, grade = "proved", "exact"


SCORE_MEANS = {"expectation.score-means": ScoreMeans()}


def over(body: sp.Expr, index: sp.Symbol = i) -> sp.Sum:
    return sp.Sum(body, (index, 1, G))


wrong_score = s[j + (i - j) * R[1], d]
delta = sp.KroneckerDelta


@pytest.mark.parametrize(
    "h",
    [
        over(over(R[j], j), k),
        RolloutMean(over(R[i]), 0, G) ** 2,
        over(over(2 ** delta(i, j) * R[j], i), j),
        over(over(1 / (1 + delta(i, j)), i), j),
        over(over(over(delta(i, j) * delta(i, t), i), j), t),
        over(i * over(R[j] * wrong_score, j)),
        sp.Sum(G * over(R[j], j), (G, 1, G)),
        over(R[1], sp.Symbol("R")),
        over(R[1 + delta(i, 1)]),
    ],
    ids=[
        "bound k",
        "mean of a mean",
        "delta in an exponent",
        "delta in a denominator",
        "two deltas",
        "scores of computed index",
        "index called G",
        "index called R",
        "rewards of computed index",
    ],
)
def test_tower_refuses_or_is_right(h: sp.Expr) -> None:
    """Dependence on the rollouts that the rule must not misread."""
    mean = RolloutMean(h, 0, G)
    try:
        fact = Tower(mean, k).prove(Context(random_group, SCORE_MEANS))
    except REFUSALS:
        return
    for size, rate in ((2, fmpq(1, 3)), (3, fmpq(2, 5))):
        point = {
            G: fmpq(size),
            p: rate,
            D: fmpq(1),
            d: fmpq(1),
            slope: [fmpq(2)],
            "group": random_group.group,
        }
        assert compare(mean, "=", fact.rhs, point) is True


@attack("a variable called like the scores of the tower rule")
def _() -> Any:
    u = sp.Symbol("_correct_scores")
    domain = Domain(*random_group.declarations[:2], Real(u), *random_group.declarations[2:])
    return Tower(RolloutMean(u, 0, G), k).prove(Context(domain, SCORE_MEANS))


@attack("a window from one half")
def _() -> Any:
    return Tower(RolloutMean(1, half, G), k).prove(Context(random_group, SCORE_MEANS))


def test_tower_needs_the_theorem_on_score_means() -> None:
    mean = RolloutMean(over(R[i] * s[i, d]), 0, G)
    with pytest.raises(ProofError):
        Tower(mean, k).prove(Context(random_group))
    with pytest.raises((ProofError, TypeError)):
        Tower(mean, k, "before.it").prove(Context(random_group, {"before.it": ScoreMeans()}))


# -- meaning -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (sp.sqrt(p * (1 - p)), sp.pi / 8),
        (sp.sqrt(p), sp.Rational(2, 3)),
        (p * sp.sqrt(p), sp.Rational(2, 5)),
        (sp.sqrt(1 - p) * (1 - p), sp.Rational(2, 5)),
    ],
)
def test_the_ball_of_a_beta_mean_contains_its_value(body: sp.Expr, value: sp.Expr) -> None:
    """The integrand is not analytic at the ends: quadrature must be told."""
    try:
        ball = evaluate(BetaMean(body, p, 1, 1), {})
    except UndefinedValue:
        return
    right = evaluate(value, {})
    assert ball.overlaps(right if isinstance(right, arb) else arb(right))


@attack("a false closed inequality by a wrong quadrature")
def _() -> Any:
    mean, low = BetaMean(sp.sqrt(p * (1 - p)), p, 1, 1), sp.Rational(2, 5)  # the mean is π/8
    return derive(no_variables, Claim(low, "<", mean), step("<", mean, (1, Ball(low, "<", mean))))


@attack("a Poisson mean with a negative rate")
def _() -> Any:
    return evaluate(PoissonMean(1, n, -50), {})


@pytest.mark.parametrize("statement", undefined_statements(), ids=lambda z: z.template.name)
def test_undefined_statements(statement: Statement) -> None:
    """On a wider domain a side has no value at some point: nothing is proved there."""
    assert not statement.accepted()


@pytest.mark.parametrize(
    ("domain", "lhs", "relation", "rhs", "by"),
    [
        (real, (sp.log(x) + 1) ** 2, "=", sp.log(x) ** 2 + 2 * sp.log(x) + 1, ()),
        (real, 0, "<=", sp.asin(x) ** 2, ()),
        (real, sp.sqrt(x) ** 3, "=", x * sp.sqrt(x), ()),
        (naturals, 0, "<=", sp.Sum(1 / k, (k, 0, n)) ** 2, ()),
        (naturals, 0, "<=", sp.Sum(k, (k, n + 3, n)), ()),
        (
            Domain(Real(p, 0, 1, open_low=False), Integer(n, 0)),
            sp.Derivative(p**n, p),
            "=",
            n * p ** (n - 1),
            (Differentiate(sp.Derivative(p**n, p)),),
        ),
    ],
    ids=["log", "asin", "root", "reciprocals", "backwards", "power at 0"],
)
def test_a_statement_without_a_value_is_refused(
    domain: Domain, lhs: Any, relation: str, rhs: Any, by: Any
) -> None:
    with pytest.raises(REFUSALS):
        derive(domain, Claim(lhs, relation, rhs), step(relation, rhs, *by))


# -- the frame -----------------------------------------------------------------------------------


def report_of(theorem_id: str = "test.frame", **parts: Any) -> Any:
    theorem = Theorem(theorem_id, "title", "words", **parts)
    return check_theorem(theorem, {}, first_principles=False)


def square_clause(domain: Domain = naturals) -> Clause:
    claim = Claim((n + 1) ** 2, "=", n**2 + 2 * n + 1)
    return Clause("c", domain, claim, Chain((step("=", claim.rhs),)))


@pytest.mark.parametrize("side", [sp.Symbol("nowhere"), sp.zoo, sp.oo, F(n)], ids=str)
def test_an_ill_formed_mutant_is_not_a_refuted_mutant(side: Any) -> None:
    mutants = (Mutant("odd", "c", rhs=side), Mutant("honest", "c", rhs=n))
    assert report_of(clauses=(square_clause(),), mutants=mutants).verdict == "open"


def test_samples_reach_beyond_one_point() -> None:
    """With ``spread=0`` every sample is n = 0; a rule that errs must still be caught."""
    try:
        domain = Domain(Integer(n, 0, spread=0))
        values = {int(point[n].p) for point in domain.points("spread", 50)}
    except REFUSALS:
        return
    assert len(values) >= 5


def test_a_trivial_claim_is_not_refuted_by_a_moody_function() -> None:
    count = itertools.count()
    claim = Claim(f(n), "=", f(n) + 0 * n)
    refuted = Refutation(
        "r", Domain(Integer(n, 0), Table(f)), claim, ((n, 0), (f, lambda v: next(count)))
    )
    mutants = (Mutant("a", "r", rhs=f(n) + 1), Mutant("b", "r", rhs=f(n) + 2))
    report = report_of(refutes=(refuted,), corrected_by=("test.other",), mutants=mutants)
    assert report.verdict == "open"


@pytest.mark.parametrize(
    "clause",
    [
        Clause(
            "c",
            Domain(Integer(m, 1), Integer(n, 1 / m)),
            Claim(0, "<=", n),
            Chain((step("<=", n),)),
        ),
        Clause(
            "c",
            naturals,
            Claim(
                sp.Sum(sp.binomial(n, k) * x**k * (1 - x) ** (n - k) * sp.sqrt(k), (k, 0, n)),
                "=",
                n,
            ),
            Chain((step("=", n, BinomialMoments(k, n, x, sp.sqrt(k))),)),
        ),
        Clause(
            "c",
            Domain(Real(q, 0, 1)),
            Claim(BetaMean(1 / (p - half), p, 1, 1), "=", 0),
            Chain((step("=", 0),)),
        ),
    ],
    ids=["rational bound", "moment of a root", "integral of a pole"],
)
def test_check_theorem_never_raises(clause: Clause) -> None:
    mutants = (Mutant("a", "c", rhs=n + 7), Mutant("b", "c", rhs=n + 8))
    report_of(clauses=(clause,), mutants=mutants)


def test_a_bad_moment_is_refused_not_raised() -> None:
    with pytest.raises(ProofError):
        BinomialMoments(k, n, half, sp.sqrt(k)).prove(Context(naturals))


def test_a_fact_is_not_changed_after_it_was_admitted() -> None:
    fact = Nonnegative(n).prove(Context(naturals))
    with pytest.raises((ProofError, TypeError, ValueError)):
        dataclasses.replace(fact, rhs=sp.Integer(-5))


class Moody:
    """Another term at each conversion."""

    def __init__(self, *terms: Any) -> None:
        self.terms = list(terms)

    def _sympy_(self) -> Any:
        return self.terms.pop(0) if len(self.terms) > 1 else self.terms[0]


def test_a_step_has_one_term() -> None:
    for first in range(1, 4):
        moods = Moody(*[n] * first, n + 1)
        with pytest.raises(REFUSALS):
            derive(naturals, Claim(n, "=", n + 1), step("=", moods))


@pytest.mark.parametrize("first", range(1, 5))
def test_a_linear_combination_has_one_coefficient_and_one_term(first: int) -> None:
    one, ones = sp.Integer(1), sp.Sum(k, (k, 1, n))
    for parts, rhs in (
        (((Moody(*[one] * first, sp.Integer(5)), k),), 5 * ones),
        (((1, Moody(*[k] * first, 7 * k)),), sp.Sum(7 * k, (k, 1, n))),
    ):
        with pytest.raises(REFUSALS):
            derive(
                Domain(Integer(n, 1)), Claim(ones, "=", rhs), step("=", rhs, Linear(ones, parts))
            )


def test_a_variable_has_one_lower_bound() -> None:
    for first in range(16):
        try:
            domain = Domain(Integer(n, Moody(*[sp.Integer(5)] * first, sp.Integer(0))))
            derive(domain, Claim(5, "<=", n), step("<=", n))
        except REFUSALS:
            continue
        assert domain.contains({n: fmpq(0)}) is not None  # 5 is the bound for good
        assert all(point[n] >= 5 for point in domain.points("bound", 20))


class Lying(sp.Sum):  # type: ignore[misc]
    @property
    def limits(self) -> Any:
        return (sp.Tuple(k, 1, 2),)


def test_a_subclass_of_a_node_is_not_that_node() -> None:
    with pytest.raises(REFUSALS):
        Unroll(Lying(k, (k, 1, 1))).prove(Context(no_variables))


SETUP = """
import sympy as sp
from proofs.kernel.domain import Domain, Integer
from proofs.kernel.rules import Ball, Context, Unroll
n, k = sp.symbols("n k")
ctx = Context(Domain(Integer(n, 0)))
v = sp.symbols("v0:12")
many = Context(Domain(*[Integer(u, 0, 9) for u in v]))
primes = (10**60 + 7) * (10**59 + 39)
try:
    {work}
except Exception:
    pass
"""


@pytest.mark.parametrize(
    "work",
    [
        "Unroll(sp.Sum(k, (k, 1, 10**7))).prove(ctx)",
        "ctx.zero(sp.factorial(n + 10**5) - n)",
        "ctx.zero(sp.binomial(n, 5000) - n)",
        "many.nonnegative(sum(v) - (v[0] * v[1] - 5) ** 2)",
        "many.nonnegative(sum(v) - v[0] * v[1] * v[2] * v[3] * v[4] * v[5] - 1)",
        "ctx.zero(sp.Pow(primes * (n + 1), sp.Rational(1, 2), evaluate=False) - 1)",
        "Ball(sp.Sum(1 / k, (k, 1, 10**9)), '<', 1).prove(ctx)",
    ],
    ids=["unroll", "factorial", "binomial", "two of 12", "six of 12", "factoring", "evaluation"],
)
def test_large_inputs_are_given_up(work: str) -> None:
    code = SETUP.format(work=work)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


@pytest.mark.parametrize("accept", ATTACKS)
def test_the_attack_is_refused(accept: Callable[[], Any]) -> None:
    with pytest.raises(REFUSALS):
        accept()
