"""A later round of attacks: where prover, evaluator and reader disagreed on what a term means.

As in ``test_attacks``, each was accepted once. Here the hole was never a wrong rule, but something
that a term depends on without mentioning it, a type that says one thing and means another, or an
evaluator that answered where it should have declined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import sympy as sp
from flint import fmpq

from proofs.groups.notation import G, R, d, i, s, total
from proofs.kernel.check import check_theorem
from proofs.kernel.domain import COORDINATE, SCORES, D, Domain, Group, Integer, Real, Table
from proofs.kernel.errors import MalformedTheorem, ProofError, UndefinedValue, Unsupported
from proofs.kernel.rules import Ball, Context, Differentiate, Instance
from proofs.kernel.semantics import compare, evaluate
from proofs.kernel.terms import BetaMean, PoissonMean, RolloutMean, Rounded, Slope
from proofs.kernel.theorem import (
    Cases,
    Chain,
    Claim,
    Clause,
    Mutant,
    Refutation,
    Theorem,
    check_proof,
)
from proofs.lock import entry, serial
from tests.kernel.claims import step, theorem

m, n, p, t, f, x, y = sp.symbols("m n p t f x y")
half = sp.Rational(1, 2)
slope = sp.IndexedBase("dp")
F = sp.Function("F")
unit = Real(p, 0, 1)
real = Domain(Real(x))
naturals = Domain(Integer(n, 0))


def check(it: Theorem, ledger: Any = None) -> Any:
    return check_theorem(it, ledger or {}, first_principles=False)


def square(domain: Domain = naturals) -> Clause:
    claim = Claim((n + 1) ** 2, "=", n**2 + 2 * n + 1)
    return Clause("c", domain, claim, Chain((step("=", claim.rhs),)))


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "declaration",
    [
        Table(sp.Function("F", positive=True)),
        Table(sp.Function("log")),
        Table(sp.Function("F^2 + 1")),
        Real(sp.Symbol("W_G(p) - sqrt(G-1)")),
        Real(sp.Symbol("pi")),
        Group(G, rewards=sp.IndexedBase("R", positive=True)),
        Group(G, scores=sp.IndexedBase("s", real=True)),
        Group(G, rewards=sp.IndexedBase("R", shape=(3,))),
    ],
    ids=str,
)
def test_names_carry_no_assumptions_and_are_names(declaration: Any) -> None:
    with pytest.raises(MalformedTheorem):
        Domain(Integer(G, 2), *SCORES, declaration)


# -- what a mean over rollouts depends on ----------------------------------------------------------

noisy_group = Group(G, success=p, slope=slope, flip=(t, f))
noisy = Domain(Integer(G, 2), unit, Real(t, 0, 1), Real(f, 0, 1), *SCORES, noisy_group)
rate = RolloutMean(total(R[i]), 0, G)


@pytest.mark.parametrize("terms", [((t, f), (f, t)), ((t, half),), ((f, p),), ((p, t),)], ids=str)
def test_an_instance_leaves_the_law_of_the_group_alone(terms: Any) -> None:
    claim = Claim(rate, "<=", rate + t**2)
    before = theorem(Clause("c", noisy, claim, Chain((step("<=", claim.rhs),))))
    ledger = {"test.meaning": check(before)}
    assert ledger["test.meaning"].verdict == "proved", ledger["test.meaning"].problems
    context = Context(noisy, ledger)
    assert Instance("test.meaning", "c").prove(context).lhs == rate
    with pytest.raises(ProofError, match="belongs to the group"):
        Instance("test.meaning", "c", terms).prove(context)


def test_a_mean_over_rollouts_is_no_constant_of_p() -> None:
    product = sp.Derivative(p * y, p)
    claim = Claim(product, "=", y)
    clause = Clause(
        "c", Domain(unit, Real(y)), claim, Chain((step("=", y, Differentiate(product)),))
    )
    wrong = (Mutant("a", "c", rhs=y + 1), Mutant("b", "c", rhs=2 * y + 1))
    ledger = {"test.meaning": check(theorem(clause, mutants=wrong))}
    assert ledger["test.meaning"].verdict == "proved"
    plain = Domain(Integer(G, 2), unit, *SCORES, Group(G, success=p, slope=slope))
    with pytest.raises(ProofError, match="the variable p of a derivative"):
        Instance("test.meaning", "c", ((y, rate),)).prove(Context(plain, ledger))


# -- domains ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [Real(n, 777, 1000, True, False), Real(n, 777, 1000)], ids=str)
def test_cases_are_ranges_of_integers(part: Any) -> None:
    claim = Claim(0, "<", (n - 777) ** 2)
    line = Chain((step("<", claim.rhs),))
    proof = Cases(n, ((Integer(n, 0, 776), line), (part, line)))
    with pytest.raises(ProofError, match="not a range of integers"):
        check_proof(Context(Domain(Integer(n, 0, 1000))), claim, proof, [])


@pytest.mark.parametrize(
    "declarations",
    [
        (Real(p, 1, 2), Group(G, success=p)),
        (Real(p, 0, 1, open_low=False), Group(G, success=p)),
        (Integer(p, 0, 1), Group(G, success=p)),
        (Real(p), Group(G, success=p)),
        (unit, Real(t, 0, 2), Real(f, 0, 1), Group(G, success=p, flip=(t, f))),
        (unit, Real(t, 0, 1), Real(f, 0, t), Group(G, success=p, flip=(t, f))),
        (Real(t, 0, 1), Real(f, 0, 1), Group(G, flip=(t, f))),
        (unit, Real(x, sp.log(p)), Group(G, success=p)),
    ],
    ids=str,
)
def test_probabilities_are_probabilities(declarations: Any) -> None:
    with pytest.raises(MalformedTheorem):
        Domain(Integer(G, 2), *SCORES, *declarations)


class Wide(Integer):
    """Shown as any integer, yet bounded."""

    def words(self) -> str:
        return f"{self.symbol} any integer"


class Narrow(Domain):
    """Proves over fewer points than it shows."""

    @property
    def variables(self) -> Any:
        return tuple(Real(v.symbol, 1) for v in super().variables)


@dataclass(frozen=True)
class Shy(Claim):
    """Says one thing to the prover and another to the reader."""

    def latex(self) -> str:
        return "n = n + 1"


def test_parts_of_a_theorem_have_the_kernels_own_types() -> None:
    assert check(theorem(square())).verdict == "proved"
    low = Claim(-200, "<", x)
    for clause in (
        square(Domain(Wide(n, 0))),
        Clause("c", Narrow(Real(x)), low, Chain((step("<", x),))),
        Clause("c", naturals, Shy(*vars(square().claim).values()), square().proof),
        Clause("c", Domain.internal(Integer(sp.Symbol("_n"), 0)), Claim(0, "<", 1), Chain(())),
    ):
        report = check(theorem(clause))
        assert report.verdict == "open"
        assert "MalformedTheorem" in report.problems[0]


# -- derivatives -----------------------------------------------------------------------------------


def test_a_derivative_inside_a_derivative_is_refused() -> None:
    nested = sp.Derivative(x * sp.Derivative(x * y, y), x)
    refuted = Refutation("c", Domain(Real(x), Real(y)), Claim(nested, "=", 2 * x), ((x, 1), (y, 5)))
    report = check(theorem(refutes=(refuted,), corrected_by=("groups.identity",)))
    assert report.verdict == "open"
    with pytest.raises(Unsupported):
        evaluate(nested, {x: fmpq(1), y: fmpq(5)})


@pytest.mark.parametrize(
    "body", [sp.sqrt((3 * x - 1) ** 2), sp.sqrt(x**2), sp.asin(2 * x - x**2)], ids=str
)
def test_a_derivative_at_a_kink_is_undefined(body: sp.Expr) -> None:
    domain = Domain(Real(x, -half, 2))
    with pytest.raises(ProofError, match="not shown to be defined"):
        Context(domain).term(sp.Derivative(body, x))


def test_a_root_away_from_zero_has_a_derivative() -> None:
    Context(Domain(Real(x, 0, 1))).term(sp.Derivative(sp.asin(sp.sqrt(x)), x))


def test_there_is_no_derivative_by_an_integer() -> None:
    claim = Claim(sp.Derivative(n**2, n), "=", 2 * n + 1)
    refuted = Refutation("c", naturals, claim, ((n, 3),))
    report = check(theorem(refutes=(refuted,), corrected_by=("groups.identity",)))
    assert report.verdict == "open"
    assert "real variable" in report.problems[0]


# -- the evaluator ---------------------------------------------------------------------------------


def test_scores_depend_on_correctness_not_on_the_reward() -> None:
    """Jensen: E[s²] ≥ (∇p)²/(p(1−p)) for every policy, however noisy its verifier."""
    squares = RolloutMean(total(s[i, d] ** 2) / G, 0, G)
    point = {
        G: fmpq(2), p: fmpq(1, 2), t: fmpq(1, 2), f: fmpq(1, 2), D: fmpq(1), COORDINATE: fmpq(1),
        slope: [fmpq(1)], "group": noisy_group,
    }  # fmt: skip
    assert evaluate(squares, point) == 4
    # And the mean reward-weighted score is (t − f)∇p, here with t = 3/4.
    point |= {t: fmpq(3, 4), f: fmpq(1, 8)}
    assert evaluate(RolloutMean(total(R[i] * s[i, d]) / G, 0, G), point) == fmpq(5, 8)


@pytest.mark.parametrize("exponent", [10, 300, 1000, 3001, 3000])
@pytest.mark.parametrize("bits", [2, 11, 24, 53])
def test_a_root_is_rounded_correctly_however_small(exponent: int, bits: int) -> None:
    for factor in (fmpq(1), fmpq(3), fmpq(1, 3), fmpq(2**40 + 1)):
        for radicand in (factor / fmpq(2) ** exponent, factor * fmpq(2) ** exponent):
            rounded = evaluate(Rounded(sp.sqrt(x), bits), {x: radicand})
            root = evaluate(sp.sqrt(x), {x: radicand})
            # Half a unit in the last place, which is at most 2^(1-bits) of the value.
            assert abs(rounded - root) <= rounded / fmpq(2) ** bits
            assert evaluate(Rounded(x, bits), {x: rounded}) == rounded


def test_a_tiny_root_is_not_a_large_number() -> None:
    tiny = sp.Sum(sp.Rational(1, 2**3001), (m, 1, 1))
    with pytest.raises(ProofError):
        Ball(sp.Rational(1, 2**500), "<", Rounded(sp.sqrt(tiny), 24)).prove(Context(Domain()))


@pytest.mark.parametrize("bits", [-3, 0, x, 10**11], ids=str)
def test_a_precision_is_a_positive_number_of_bits(bits: Any) -> None:
    with pytest.raises(ProofError):
        Context(Domain(Real(x))).term(Rounded(x, bits))


@pytest.mark.parametrize(
    "term",
    [
        PoissonMean(1, m, 10**8),
        PoissonMean(m**2, m, 1),
        sp.factorial(n),
        sp.binomial(n, 7),
        3**n,
        BetaMean((-2 - p) ** p, p, 1, 1),
        BetaMean(sp.sqrt(p), p, 1, 1),
        BetaMean(p, p, -1, 1),
        Rounded(sp.sqrt(2) * x, 24),
    ],
    ids=str,
)
def test_the_evaluator_declines_what_it_cannot_do(term: sp.Expr) -> None:
    with pytest.raises(Unsupported):
        evaluate(term, {n: fmpq(10**9), x: fmpq(1)})


def test_no_more_groups_than_can_be_enumerated() -> None:
    law = Group(G, success=p, slope=slope)
    point = {G: fmpq(60), p: fmpq(1, 2), D: fmpq(1), slope: [fmpq(1)], "group": law}
    with pytest.raises(Unsupported):
        evaluate(rate, point)


def test_more_digits_are_taken_where_they_are_needed() -> None:
    # 230 bits cannot tell these apart from 0, nor divide by the second.
    tiny = sp.exp(-x) - sp.exp(-x - y)
    point = {x: fmpq(10), y: fmpq(1, 10**80)}
    assert compare(0, "<", tiny * sp.Integer(10) ** 60, point) is not False
    assert compare(1 / tiny, "<", 0, point) is False


# -- what kills a mutant ---------------------------------------------------------------------------


def test_what_cannot_be_evaluated_refutes_no_mutant() -> None:
    """Both 'near misses' are the claim itself, with a 2 that the evaluator cannot compute."""
    elsewhere = Domain(Integer(n, 0, spread=10))
    two, one = PoissonMean(m**2, m, 1), BetaMean(3 * sp.sqrt(p), p, 1, 1) / 2
    rhs = square().claim.rhs
    for hidden in (two * n + n**2 + 1, n**2 + 2 * n + one):
        mutant = Mutant("true", "c", rhs=hidden, domain=elsewhere)
        report = check(theorem(square(), mutants=(mutant, Mutant("b", "c", rhs=rhs + 1))))
        assert report.verdict == "open"


def test_where_samples_are_drawn_is_no_part_of_a_domain() -> None:
    elsewhere = Domain(Integer(n, 0, spread=10))
    assert elsewhere.means(naturals)
    assert not Domain(Integer(n, 1)).means(naturals)
    mutant = Mutant("the same", "c", domain=elsewhere)
    report = check(theorem(square(), mutants=(mutant, mutant)))
    assert "changes nothing" in report.problems[0]


# -- where samples look ----------------------------------------------------------------------------


def test_samples_go_far_out_and_to_the_numbers_of_the_statement() -> None:
    values = [point[x] for point in real.points("far", 50)]
    assert max(map(abs, values)) > 10**3
    assert max(abs(v) for v in values if v < 0) > 10
    bounded = Domain(Integer(n, 0, 100_000))
    assert any(point[n] == 777 for point in bounded.points("near", 200, near=(777,)))
    group = Domain(Integer(G, 2), *SCORES, Group(G))
    largest = [max(map(abs, point[R])) for point in group.points("far", 50)]
    assert max(largest) > 1000
    arbitrary = Domain(Table(F))
    assert max(abs(point[F](3)) for point in arbitrary.points("far", 80)) > 1000


# -- the lock --------------------------------------------------------------------------------------


def test_the_lock_holds_the_words() -> None:
    base = check(theorem(square()))
    for other in (
        Theorem(**{**vars(base.theorem), "words": "other words"}),
        Theorem(**{**vars(base.theorem), "title": "another title"}),
        theorem(Clause(**{**vars(square()), "words": "the clause in other words"})),
    ):
        assert entry(check(other))["words"] != entry(base)["words"]


def test_an_arbitrary_function_is_not_taken_for_a_known_one() -> None:
    assert serial(sp.Function("log")(x)) != serial(sp.log(x))


def test_a_zero_divisor_is_undefined_not_unsupported() -> None:
    with pytest.raises(UndefinedValue) as found:
        evaluate(1 / (x - y), {x: fmpq(1), y: fmpq(1)})
    assert not isinstance(found.value, Unsupported)


def test_a_sum_that_does_not_move_keeps_its_derivative() -> None:
    """It is worked out once for all terms, where it stands itself, and not inside a derivative."""
    i, j, t = sp.symbols("i j t")
    inner = sp.Sum(t * j, (j, 1, 2))
    whole = sp.Sum(i * inner * sp.Derivative(inner, t), (i, 1, 2))
    assert evaluate(whole, {t: fmpq(5)}) == 135
    slope = sp.Sum(i * inner * Slope(sp.Sum(t * j, (j, 1, 2)), t, 2), (i, 1, 2))
    assert evaluate(slope, {t: fmpq(5)}) == 135
    assert evaluate(sp.Sum(i**inner, (i, 1, 2)), {t: fmpq(1)}) == 9
    moving = sp.Sum(sp.Sum(i * j, (j, 1, i)) * inner, (i, 1, 2))
    assert evaluate(moving, {t: fmpq(5)}) == 15 * (1 + 6)
