"""A fifth round of attacks: arrays, assumptions, draws, slopes, minima and real powers.

The first part holds what was accepted once: a range that was not looked at, an assumption that ties
variables together behind a rule's back, a name that is bound twice, an index that left its sum.
The rest asks each new rule and declaration for something that it must refuse.
"""

from __future__ import annotations

import random
from math import isqrt
from typing import Any

import pytest
import sympy as sp
from flint import fmpq

from proofs.groups.notation import G, R
from proofs.kernel.check import check_theorem
from proofs.kernel.domain import (
    SCORES,
    Array,
    Assumption,
    Domain,
    Draws,
    Group,
    Integer,
    Real,
    Table,
)
from proofs.kernel.errors import MalformedTheorem, ProofError, Unsupported
from proofs.kernel.rules import (
    Assume,
    Branch,
    Cite,
    ConstantProduct,
    Context,
    Differentiate,
    ExpSum,
    Factorwise,
    Instance,
    LinearMean,
    LogProduct,
    MeanValue,
    Moments,
    Outcomewise,
    RealPower,
    Square,
    Termwise,
)
from proofs.kernel.semantics import compare, evaluate
from proofs.kernel.terms import Maximum, Minimum, PoissonMean, RolloutMean, SampleMean, Slope
from proofs.kernel.theorem import (
    Cases,
    Chain,
    Claim,
    Clause,
    Induction,
    Mutant,
    Refutation,
    check_proof,
)
from tests.kernel.claims import step, theorem

K, M, N, i, j, l, m, n, p, t, w, x, y, z = sp.symbols("K M N i j l m n p t w x y z")
u, v, a, b, c, g, h, q, Q, L, Y = (sp.IndexedBase(name) for name in "uvabcghqQLY")
F = sp.Function("F")
half = sp.Rational(1, 2)
delta = sp.KroneckerDelta
many, more = Integer(N, 1), Integer(M, 1)
drawn = Domain(many, more, Array(q, (N,), law=True), Array(v, (N,)), Draws(Y, M, q), Real(x))


def total(body: Any, index: sp.Symbol = i, high: Any = N) -> sp.Sum:
    return sp.Sum(body, (index, 1, high))


def accepts(domain: Domain, lhs: Any, relation: str, rhs: Any, *by: Any, ledger: Any = None) -> str:
    """The grade of a proof in one step."""
    claim = Claim(lhs, relation, rhs)
    return check_proof(Context(domain, ledger), claim, Chain((step(relation, claim.rhs, *by),)), [])


def refuses(domain: Domain, lhs: Any, relation: str, rhs: Any, *by: Any, ledger: Any = None) -> Any:
    with pytest.raises(ProofError) as found:
        accepts(domain, lhs, relation, rhs, *by, ledger=ledger)
    return found


def verdict(refuted: Refutation) -> str:
    wrong = tuple(Mutant(str(d), "c", rhs=refuted.claim.rhs + d) for d in (100, 200))
    it = theorem(refutes=(refuted,), corrected_by=("groups.identity",), mutants=wrong)
    return check_theorem(it, {}, first_principles=False).verdict


# -- accepted once ---------------------------------------------------------------------------------


def test_a_law_sums_to_one_over_all_of_its_range_only() -> None:
    law = Array(q, (N,), law=True)
    domain = Domain(many, more, law, Array(u, (M,)), Array(L, (N,), 0, N, integer=True))
    assert accepts(domain, total(q[i]), "=", 1) == "exact"
    fewer = Domain(many, Integer(M, 1, N), law, Array(u, (M,)))
    refuses(fewer, total(q[i], i, M), "=", 1)  # the probability of the first M
    refuses(domain, total(q[i], i, L[1]), "=", 1)
    table = Domain(many, more, Array(Q, (M, N), law=True), Array(L, (M,), 0, N, integer=True))
    refuses(table, total(total(Q[j, i], i, L[j]), j, M), "=", M)
    refuses(table, total(Q[i, 1], i, M), "=", 1)


def test_an_assumption_does_not_reach_into_a_derivative() -> None:
    """With u_i = x, d/dx (x u_1) is u_1, and d/dx (x x) is 2x."""
    tied = Domain(many, Real(x), Array(u, (N,)), Assumption(u, (i,), x, "all are x"))
    product, square = sp.Derivative(x * u[1], x), sp.Derivative(x**2, x)
    chain = Chain(
        (
            step("=", product, Differentiate(product)),
            step("=", square, Assume(u, (1,))),
            step("=", 2 * x, Differentiate(square)),
        )
    )
    with pytest.raises(ProofError, match="depends on x"):
        check_proof(Context(tied), Claim(u[1], "=", 2 * x), chain, [])
    for low, high in ((x, x), (x, None), (None, x)):
        bounded = Domain(many, Real(x), Array(u, (N,), low, high, False, False))
        with pytest.raises(ProofError, match="depends on x"):
            Context(bounded).term(product)
    slope = Slope(t * u[1], t, x)  # a slope has a variable of its own
    assert accepts(tied, slope, "=", u[1], Differentiate(slope)) == "exact"


def test_rewriting_brings_in_no_name_that_is_bound_there() -> None:
    """Σ_{i≤M} Σ_{w≤N} δ_wi is min(M, N), also where i runs to N further out."""
    smaller = sp.Sum(delta(w, i), (w, 1, N), (i, 1, M))
    arrays = (Array(u, (N,)), Array(b, (M,)), Array(c, (N,)))
    domain = Domain(many, more, *arrays, Assumption(c, (l,), smaller, "the smaller size"))
    refuses(domain, total(u[i] * c[1]), "=", M * total(u[i]), Assume(c, (1,)))
    refuses(domain, smaller, "=", M)
    refuses(domain, smaller, "=", N)


def test_an_index_stays_inside_its_sum() -> None:
    """The range L_j must not be drawn out of the sum over j."""

    def inner(k: sp.Symbol, r: sp.Symbol, s: sp.Symbol) -> sp.Expr:
        body = Minimum(g[r] * delta(w, 2) + b[r] * delta(w, 3) + h[s, k] * delta(w, 1), 0)
        return sp.Sum(body, (k, 1, L[r]), (r, 1, N), (s, 1, K))

    domain = Domain(
        Integer(N, 3), Integer(K, 1), more, Array(L, (N,), 0, M, integer=True),
        Array(g, (N,)), Array(b, (N,)), Array(h, (K, M)),
    )  # fmt: skip
    second, third = (total(delta(w, at) * inner(l, j, i), w) for at in (2, 3))
    left = second * total(Minimum(b[j], 0), j)  # Σ L_j min(g_j, 0) · Σ min(b_j, 0)
    right = third * total(Minimum(g[j], 0), j)
    refuses(domain, left, "=", right)
    assert accepts(domain, second, "=", K * total(L[j] * Minimum(g[j], 0), j)) == "exact"


def test_an_instance_leaves_the_function_of_an_assumption_alone() -> None:
    tied = Domain(many, Table(F), Array(u, (N,)), Assumption(u, (i,), F(i), "F"), Integer(j, 1, N))
    claim = Claim(u[j] + 1, "=", F(j) + 1)
    clause = Clause("c", tied, claim, Chain((step("=", claim.rhs, Assume(u, (j,))),)))
    report = check_theorem(theorem(clause), {}, first_principles=False)
    assert report.verdict == "proved", report.problems
    ledger = {"test.claim": report}
    assert accepts(tied, claim.lhs, "=", claim.rhs, Instance("test.claim", "c"), ledger=ledger)
    other = Instance("test.claim", "c", ((F, sp.Lambda(n, n**2)),))
    found = refuses(tied, claim.lhs, "=", j**2 + 1, other, ledger=ledger)
    assert "stay as they are" in str(found.value)


def test_a_witness_obeys_an_assumption_exactly() -> None:
    """u_1² = 2 is true there, and false at a rational number within 10^-120."""
    domain = Domain(Integer(N, 1, 1), Array(u, (N,)), Assumption(u, (i,), sp.sqrt(2), "√2"))
    assert accepts(domain, u[1] ** 2, "=", 2, Assume(u, (1,))) == "exact"
    near = sp.Rational(isqrt(2 * 10**240), 10**120)
    refuted = Refutation("c", domain, Claim(u[1] ** 2, "=", 2), ((N, 1), (u, (near,))))
    assert verdict(refuted) == "open"


def test_what_is_random_has_a_value_in_its_own_mean_only() -> None:
    slope = sp.IndexedBase("dp")
    random_group = (Real(p, 0, 1), *SCORES, Group(G, success=p, slope=slope))
    both = Domain(
        Integer(G, 2), *random_group, many, Array(q, (N,), law=True), Draws(Y, N, q)
    )  # fmt: skip
    for term in (SampleMean(R[1]), RolloutMean(Y[1], 0, G), SampleMean(RolloutMean(R[1], 0, G))):
        refuses(both, term, "<=", term + 1)
    for term in (SampleMean(Y[1]), RolloutMean(R[1], 0, G)):
        assert accepts(both, term, "<=", term + 1)


def test_a_mean_over_all_counts_has_no_point_where_all_are_smooth() -> None:
    """√(t + 1/(m+1)) is defined at t = 0 for every m, and left of 0 only for some."""
    term = Slope(PoissonMean(sp.sqrt(t + 1 / (m + 1)), m, 1), t, 0)
    refuses(Domain(Real(x)), term, "<=", term + 1)
    rate = Slope(PoissonMean(sp.sqrt(m), m, t), t, x)
    assert accepts(Domain(Real(x, 0)), rate, "<=", rate + 1)


def test_an_assumption_mentions_what_is_declared() -> None:
    """A name that is free there would be bound wherever the assumption is used."""

    def sums() -> None:
        domain = Domain(many, Array(u, (N,)), Assumption(u, (i,), w, "w"))
        constant = sp.Sum(u[1], (w, 1, 3))  # 3 u_1, or 6
        inner = Termwise(constant, w, "=", (step("=", w, Assume(u, (1,))),))
        accepts(domain, constant, "=", sp.Sum(w, (w, 1, 3)), inner)

    with pytest.raises(ProofError):
        sums()


@pytest.mark.parametrize("at", [0, 1])
def test_a_refuted_claim_has_its_slopes_everywhere(at: int) -> None:
    fine = Slope(Minimum(t, t + 1), t, x)
    assert verdict(Refutation("c", Domain(Real(x)), Claim(fine, "=", 5), ((x, at),))) == "refuted"
    kink = Slope(Minimum(t, 2 * t), t, x)
    assert verdict(Refutation("c", Domain(Real(x)), Claim(kink, "=", 5), ((x, at),))) == "open"


# -- declarations ----------------------------------------------------------------------------------

law = Array(q, (N,), law=True)


@pytest.mark.parametrize(
    "declarations",
    [
        (Array(u, (N,)),),  # the size comes first
        (Integer(N, 0), Array(u, (N,))),
        (Real(N, 1), Array(u, (N,))),
        (Integer(K, 1), Integer(N, K), Array(u, (N,))),  # a number, as a lower bound of a size
        (many, Array(u, (3,))),
        (many, Array(u, ())),
        (many, Array(u, (N, N, N, N))),
        (many, Array(u, (N,)), Array(u, (N,))),
        (many, Real(sp.Symbol("u")), Array(u, (N,))),
        (many, Array(sp.IndexedBase("u", positive=True), (N,))),
        (many, Array(sp.IndexedBase("u", shape=(3,)), (N,))),
        (many, Array(u, (N,), 0, x)),
        (many, Real(x), Array(u, (N,), sp.log(x))),
        (many, Array(v, (N,)), Array(u, (N,), v[1])),
        (many, Array(q, (N,), 0, law=True)),
        (many, Array(q, (N,), integer=True, law=True)),
        (many, Array(u, (N,), samples=(1, 2, 3))),
        (many, Assumption(u, (i,), 1, "none")),
        (many, law, Assumption(q, (i,), 1 / N, "uniform")),
        (many, Array(u, (N,)), Assumption(u, (i, j), 1, "two indices")),
        (many, Array(u, (N, N)), Assumption(u, (i, i), 1, "the diagonal")),
        (many, Array(u, (N,)), Assumption(u, (N,), 1, "an index that is declared")),
        (many, Array(u, (N,)), Assumption(u, (sp.Integer(1),), 1, "one entry")),
        (many, Array(u, (N,)), Assumption(u, (i,), u[1], "itself")),
        (many, Array(u, (N,)), Assumption(u, (i,), 1, "one"), Assumption(u, (i,), 2, "two")),
        (many, more, Draws(Y, M, q), law),
        (many, more, Array(u, (N,)), Draws(Y, M, u)),
        (many, more, Array(q, (N, M), law=True), Draws(Y, M, q)),
        (many, more, law, Draws(Y, M, q), Draws(v, M, q)),
        (many, law, Draws(Y, K, q)),
        (many, law, Draws(q, N, q)),
    ],
    ids=str,
)
def test_declarations_that_say_nothing_or_two_things(declarations: Any) -> None:
    with pytest.raises(MalformedTheorem):
        Domain(*declarations)


NEVER = {
    "beyond its bound": (Array(u, (N,), 0, 1), sp.Integer(2)),
    "positive, where nothing is": (Array(u, (N,), None, 0), x**2 + 1),
    "no integer": (Array(u, (N,), integer=True), half),
}


@pytest.mark.parametrize("name", NEVER)
def test_an_assumption_that_nothing_meets_proves_no_theorem(name: str) -> None:
    array, value = NEVER[name]
    domain = Domain(many, Real(x), array, Assumption(u, (i,), value, "never"))
    claim = Claim(N * u[1], "=", N * value)
    clause = Clause("c", domain, claim, Chain((step("=", claim.rhs, Assume(u, (1,))),)))
    report = check_theorem(theorem(clause), {}, first_principles=False)
    assert report.verdict == "open"
    assert "vacuous" in report.problems[0]


def test_points_obey_bounds_laws_and_assumptions() -> None:
    domain = Domain(
        Integer(N, 2, 2), Array(u, (N,), 0, 1), law, Array(L, (N,), 1, 3, integer=True),
        Array(c, (N,)), Assumption(c, (i,), u[i] ** 2, "squares"),
    )  # fmt: skip
    good = {N: 2, u: [half, half], q: [half, half], L: [1, 3], c: [half**2, half**2]}
    third, quarter = sp.Rational(1, 3), half**2
    bad = {u: [0, half], q: [half, third], L: [half, 1], c: [quarter, half]}
    wrong: list[dict[Any, Any]] = [{key: value} for key, value in bad.items()]
    wrong += [{u: [half]}, {q: [0, 1]}, {L: [1, 4]}, {q: half}, {c: quarter}]
    exact = {True: 0, False: 0}
    for other in ({}, *wrong):
        point = {key: _exact(value) for key, value in {**good, **other}.items()}
        exact[domain.contains(point) is None] += 1
    assert exact == {True: 1, False: len(wrong)}


def _exact(value: Any) -> Any:
    if isinstance(value, list):
        return [_exact(part) for part in value]
    number = sp.Rational(value)
    return fmpq(int(number.p), int(number.q))


def test_sizes_and_laws_stay_as_they_are() -> None:
    """In cases, by induction and in an instance."""
    domain = Domain(Integer(N, 1), Array(u, (N,)), Assumption(u, (i,), 1, "one"), Real(x))
    line = Chain((step("=", N, Assume(u, (1,))),))
    claim = Claim(N * u[1], "=", N)
    accepted = Clause("c", domain, claim, line)
    report = check_theorem(theorem(accepted), {}, first_principles=False)
    assert report.verdict == "proved", report.problems
    ledger = {"test.claim": report}
    for parts in ((Integer(N, 1, 1), Integer(N, 2)), (Integer(N, 0, 3), Integer(N, 4))):
        proof = Cases(N, tuple((part, line) for part in parts))
        with pytest.raises(ProofError):
            check_proof(Context(domain), claim, proof, [])
    with pytest.raises(ProofError, match="bounds other"):
        check_proof(Context(domain), claim, Induction(N, line, line), [])
    other = Domain(Integer(N, 1), Array(u, (N,)), Real(x))  # nothing assumed
    looser = Domain(Integer(N, 1), Array(u, (N,), 0), *domain.declarations[2:])
    bigger = Domain(Integer(K, 1), *domain.declarations)
    rule = Instance("test.claim", "c")
    for here in (other, looser):
        with pytest.raises(ProofError, match="not so declared"):
            rule.prove(Context(here, ledger))
    with pytest.raises(ProofError, match="stay as they are"):
        Instance("test.claim", "c", ((N, K),)).prove(Context(bigger, ledger))


# -- terms -----------------------------------------------------------------------------------------

tokens = Domain(
    many, more, Integer(n, 0), Real(x), Real(y, 0), Array(u, (N,)), Array(v, (N,), 0),
    Array(a, (N, M)), Array(L, (N,), 0, M, integer=True),
    Array(c, (N,), 0, None, open_low=False),
)  # fmt: skip


@pytest.mark.parametrize(
    "term",
    [
        u[0],
        u[2],
        u[N + 1],
        u[x],
        u[n],
        u[1, 1],
        a[1],
        a[M, N],
        u[L[1]],
        a[1, L[1]],
        total(u[i], i, M),
        total(total(a[i, t], t, L[i] + 1)),
        total(total(a[i, t], t, N)),
        total(sp.Sum(u[i], (t, 1, u[i]))),
        total(1 / u[i]),
        total(1 / c[i]),
        total(sp.log(c[i])),
        total(sp.sqrt(u[i])),
        total(u[i] ** x),
        total(c[i] ** y),
        total(u[i] ** (-n)),
        total(1 / L[i]),
        total(delta(i, x)),
        total(total(u[i], i)),
        sp.Product(1 / u[i], (i, 1, N)),
        SampleMean(u[1]),
        sp.exp(u[N + 1]),
        Minimum(u[2], x),
        Slope(t * x, x, y),
        Slope(t * i, t, total(u[i])),
        Slope(Slope(t * j, j, t), t, x),
        Slope(u[t], t, 1),
        Slope(sp.Sum(x, (i, 1, t)), t, 1),
        Slope(sp.sqrt(t), t, 0),
        Slope(sp.asin(t), t, 1),
        Slope(t**x, t, 0),
        Slope(t**x, t, x),
        Slope((-2) ** t, t, n),
        Slope(1 / t, t, n),
        Slope(sp.log(t), t, c[1]),
        Slope(Minimum(t, x), t, x),
        Slope(Maximum(t, 2 * t), t, 0),
        Slope(sp.sqrt(t**2), t, u[1]),
        sp.Derivative(Minimum(x, -x), x),
        sp.Derivative(x * n, n),
    ],
    ids=str,
)
def test_terms_without_a_meaning_somewhere(term: sp.Expr) -> None:
    refuses(tokens, term, "<=", term + 1)


@pytest.mark.parametrize(
    "term",
    [
        SampleMean(SampleMean(Y[1])),
        SampleMean(v[Y[1] + 1]),
        SampleMean(v[Y[N]]),
        SampleMean(1 / (Y[1] - 1)),
        SampleMean(sp.sqrt(1 - Y[1])),
        SampleMean(Y[Y[1]]),
        v[Y[1]],
        Y[1],
        q[Y[1]] * SampleMean(Y[1]),
        Slope(SampleMean(sp.sqrt(t - Y[1])), t, 1),
        sp.Sum(SampleMean(x), (i, 1, Y[1])),
    ],
    ids=str,
)
def test_draws_have_a_value_inside_a_mean_for_every_outcome(term: sp.Expr) -> None:
    refuses(drawn, term, "<=", term + 1)


# -- algebra ---------------------------------------------------------------------------------------

FALSE: dict[str, tuple[Any, str, Any]] = {
    "a sum of products is no product of sums": (
        total(u[i] * v[i]),
        "=",
        total(u[i]) * total(v[i]),
    ),
    "a delta picks within its range": (
        total(total(delta(i, t), t, M) * u[i]),
        "=",
        total(u[i]),
    ),
    "a delta picks no more than one": (total(total(delta(i, j), j)), "=", N**2),
    "an outer index and an inner": (
        total(total(a[i, t], t, L[i])),
        "=",
        total(total(a[i, t], t, M)),
    ),
    "ranges that move": (
        total(total(u[i] * L[j], t, L[j]), j),
        "=",
        total(total(u[i] * L[j], t, L[i]), j),
    ),
    "an empty sum is not positive": (sp.Integer(0), "<", total(v[1], t, L[1])),
    "real entries are not integers": (total(u[i] ** 2), "=", total(u[i])),
    "an open bound is open": (sp.Integer(0), "<", total(c[i])),
    "integer entries are not positive": (sp.Integer(0), "<", total(L[i])),
    "a power of a sum": ((u[1] + v[1]) ** n, "=", u[1] ** n + v[1] ** n),
    "a power of a power": ((v[1] ** n) ** n, "=", v[1] ** (2 * n)),
    "zero to the zero": (sp.Integer(0) ** L[1], "=", 0),
    "a root of a square": (sp.sqrt(u[1] ** 2), "=", u[1]),
    "a root of a sum": (sp.sqrt(v[1] + y), "=", sp.sqrt(v[1]) + sp.sqrt(y)),
    "exp of a product": (sp.exp(x * u[1]), "=", sp.exp(x) * sp.exp(u[1])),
    "exp of a sum of exps": (sp.exp(x + u[1]), "=", sp.exp(x) + sp.exp(u[1])),
    "real powers add": (y**x * y ** u[1], "=", y ** (x * u[1])),
    "real powers of sums": ((y + v[1]) ** x, "=", y**x + v[1] ** x),
    "a real power is not increasing": (y**x, "<=", (y + 1) ** x),
    "a real power is not at least 1": (sp.Integer(1), "<=", (y + 1) ** x),
    "exp is not at least 1": (sp.Integer(1), "<=", sp.exp(x)),
    "a minimum of unknowns": (Minimum(x, u[1]), "=", x),
    "minimum and maximum": (Minimum(x, u[1]), "=", Maximum(x, u[1])),
    "a minimum of sums": (total(Minimum(u[i], v[i])), "=", Minimum(total(u[i]), total(v[i]))),
    "a minimum is not positive": (sp.Integer(0), "<=", Minimum(x, y)),
    "a slope is not the function": (Slope(t**2, t, x), "=", x**2),
    "a slope by another name at another point": (Slope(t**2, t, x), "=", Slope(w**2, w, y)),
    "a product is not a sum": (sp.Product(v[i], (i, 1, N)), "=", total(v[i])),
    "a product of non-negatives": (sp.Integer(0), "<", sp.Product(c[i], (i, 1, N))),
}


@pytest.mark.parametrize("name", FALSE)
def test_false_statements_of_algebra(name: str) -> None:
    lhs, relation, rhs = FALSE[name]
    refuses(tokens, lhs, relation, rhs)


def test_a_probability_may_be_one() -> None:
    domain = Domain(many, more, law, Array(Q, (M, N), law=True))
    assert accepts(domain, q[1], "<=", 1)
    assert accepts(domain, 0, "<", total(q[i] ** 2))
    refuses(domain, q[1], "<", 1)
    refuses(domain, total(q[i] ** 2), "=", 1)
    refuses(domain, total(Q[j, i] * q[i]), "=", 1)
    refuses(domain, total(total(Q[j, i]), j, M), "=", 1)


def test_bounds_are_those_of_the_entries() -> None:
    between = Domain(many, Real(x, 0), Array(u, (N,), x, 2 * x, True, False))
    assert accepts(between, 0, "<", u[1] - x)
    assert accepts(between, 0, "<", total(u[i]))
    assert accepts(between, u[1], "<=", 2 * x)
    refuses(between, u[1], "<", 2 * x)
    refuses(between, total(u[i]), "<", 2 * N * x)
    refuses(between, x, "<", u[1] - x)
    fractions = Domain(many, Array(L, (N,), half, sp.Rational(5, 2), integer=True))
    assert accepts(fractions, half, "<=", L[1])
    refuses(fractions, half, "<", L[1] - half)
    refuses(fractions, L[1], "<=", 1)


# -- the rules, and each of their hypotheses -------------------------------------------------------

free = Domain(many, Real(x), Real(y), Array(u, (N,)), Array(v, (N,), 0), Array(a, (N, N)))
bent = Domain(*free.declarations, Assumption(a, (i, j), (i - j) * x, "skew"))


@pytest.mark.parametrize(
    "rule",
    [
        Assume(u, (1,)),
        Assume(a, (1,)),
        Assume(a, (1, 2)),
        Assume(a, (1, x)),
        Assume(a, (1, 0)),
        Square(u[i], over=((i, -1),)),
        Square(u[i], over=((i, x),)),
        Square(u[i], over=((i, N + 1),)),
        Square(u[i], over=((i, N), (i, N))),
        Square(u[i], index=i),
        Square(1, weight=x),
        Square(v[i], weight=u[i], over=((i, N),)),
        Branch(Minimum(x, y)),
        Branch(x),
        Branch(Maximum(u[1], v[1])),
        Cite("bernoulli", ((sp.Symbol("x"), x), (sp.Symbol("y"), half))),
        Cite("bernoulli", ((sp.Symbol("x"), v[1]), (sp.Symbol("y"), v[1]))),
        Cite("bernoulli", ((sp.Symbol("x"), v[1]), (sp.Symbol("y"), -half))),
        Cite("exponential-tangent", ((sp.Symbol("x"), 1 / x),)),
        Cite("exponential-tangent", ()),
        ConstantProduct(sp.Product(u[i], (i, 1, N))),
        ConstantProduct(sp.Sum(x, (i, 1, N))),
        ConstantProduct(sp.Product(x, (i, 1, -2))),
        Factorwise(sp.Product(u[i], (i, 1, N)), u[i] + 1, "<="),
        Factorwise(sp.Product(v[i], (i, 1, N)), v[i] + 1, "<"),
        Factorwise(sp.Product(v[i], (i, 1, N)), v[i] + 1, "="),
        Factorwise(sp.Product(v[i], (i, 1, N)), v[i] - 1, "<="),
        Factorwise(total(v[i]), v[i] + 1, "<="),
        ExpSum(sp.Product(u[i], (i, 1, N))),
        ExpSum(total(total(a[i, j], j))),
        ExpSum(total(sp.log(u[i]))),
        LogProduct(sp.Product(u[i], (i, 1, N))),
        LogProduct(total(v[i])),
        RealPower(x, y),
        RealPower(u[1] ** 2, y),
        RealPower(0, y),
        Differentiate(x),
        Differentiate(Slope(Minimum(t, y), t, x)),
        Differentiate(Slope(sp.sqrt(t), t, x)),
        Differentiate(Slope(sp.Product(t * v[i], (i, 1, N)), t, x)),
        Differentiate(Slope(total(t**2 * u[i]), t, total(u[i]))),  # would be captured
        MeanValue(t**2, t, x, y, 2 * t),
        MeanValue(t, t, 0, 0, 1, "<"),
        MeanValue(t, t, 0, 1, 1, "="),
        MeanValue(t, t, 0, 1, 2),
        MeanValue(-t, t, 0, 1, -1),
        MeanValue(t**2, t, -1, 1, 2 * t),
        MeanValue(t**3, t, -1, 1, 3 * t**2, "<"),  # the slope is 0 between
        MeanValue(sp.sqrt(t), t, 0, 1, 1 / (2 * sp.sqrt(t))),
        MeanValue(sp.log(t), t, 0, 1, 1 / t),
        MeanValue(-1 / t, t, -1, 1, 1 / t**2),
        MeanValue(Maximum(t, -t) * 2 + t, t, -1, 1, 3),
        MeanValue(x * y, x, 0, 1, y**2),
        MeanValue(t * i, t, 0, 1, i),
        MeanValue(total(t * u[i]), i, 0, 1, 0),
        MeanValue(t, t, u[1], v[1], 1),
        MeanValue(t, u[1], 0, 1, 1),
        Moments(SampleMean(x), y),
    ],
    ids=str,
)
def test_a_rule_without_its_hypotheses(rule: Any) -> None:
    with pytest.raises(ProofError):
        rule.prove(Context(free))


def test_an_assumption_at_its_own_indices() -> None:
    here = Domain(*bent.declarations, Integer(i, 1, N), Integer(j, 1, N))
    fact = Assume(a, (j, i)).prove(Context(here))
    assert fact.lhs == a[j, i]
    assert sp.expand(fact.rhs - (j - i) * x) == 0
    for at in ((i,), (i, N + 1), (i, x), (i, j, 1)):
        with pytest.raises(ProofError):
            Assume(a, at).prove(Context(here))


Ymean = SampleMean(total(v[Y[i]], i, M))


@pytest.mark.parametrize(
    "rule",
    [
        Moments(total(v[i]), y),
        Moments(Ymean, x),  # not a new name
        Moments(Ymean, i),
        Moments(Ymean, sp.Symbol("N")),
        Moments(Ymean, sp.Symbol("_0")),
        Moments(Ymean, sp.Symbol("v")),
        Moments(SampleMean(total(v[Y[1]], i, M)), y),
        Moments(SampleMean(total(v[Y[i]] * i, i, M)), y),
        Moments(SampleMean(total(v[Y[i]] * v[Y[1]], i, M)), y),
        Moments(SampleMean(v[Y[1]]), y),
        Moments(SampleMean(sp.exp(total(v[Y[i]], i, M))), y),
        Moments(SampleMean(1 / total(q[Y[i]], i, M)), y),
        Moments(SampleMean(total(v[Y[i]], i, M) ** 5), y),
        Moments(SampleMean(total(total(v[Y[i]] * v[Y[j]], j, M), i, M)), y),
        Moments(SampleMean(total(delta(Y[i], j), j, N)), y),
        LinearMean(Ymean, ((v[Y[1]], sp.Integer(1)),)),
        LinearMean(SampleMean(v[Y[1]] ** 2), ((v[Y[1]], v[Y[1]]),)),
        LinearMean(Ymean, ((M, v[Y[1]]),)),
        LinearMean(Ymean, ((1, total(v[Y[i]], i, M)), (1, x))),
        LinearMean(x, ((1, x),)),
        Outcomewise(Ymean, M * v[Y[1]]),
        Outcomewise(Ymean, v[Y[1] + 1]),
        Outcomewise(Ymean, Ymean),  # a mean inside a mean
        Outcomewise(SampleMean(Y[1]), N - 1, "<="),
        Outcomewise(SampleMean(Y[1]), N, "<"),
        Outcomewise(SampleMean(q[Y[1]]), 1, "<"),
        Outcomewise(x, x + 1, "<="),
    ],
    ids=str,
)
def test_a_rule_about_draws_without_its_hypotheses(rule: Any) -> None:
    with pytest.raises(ProofError):
        rule.prove(Context(drawn))


def test_draws_are_independent_and_not_equal() -> None:
    mean = total(q[y] * v[y], y)
    square = SampleMean(total(v[Y[i]], i, M) ** 2)
    rule = Moments(square, y)
    second = total(q[y] * v[y] ** 2, y)
    assert accepts(drawn, square, "=", M * second + M * (M - 1) * mean**2, rule)
    refuses(drawn, square, "=", M**2 * mean**2, rule)
    refuses(drawn, square, "=", M * second + M**2 * mean**2, rule)
    refuses(drawn, square, "=", M**2 * second, rule)
    refuses(drawn, square, "=", SampleMean(total(v[Y[i]], i, M)) ** 2)


# -- random terms ----------------------------------------------------------------------------------


class Grower:
    """Random terms of the new kinds, over ``tokens`` and a law."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = iter(sp.symbols("d:9"))

    def entry(self, index: list[tuple[sp.Symbol, Any]]) -> sp.Expr:
        pick = self.random.choice
        row = pick([s for s, high in index if high == N] + [sp.Integer(1)])
        column = pick([s for s, high in index if high != N] + [sp.Integer(1)])
        found = [u[row], v[row], a[row, column], L[row], q[row], x, y, N, sp.Integer(2)]
        if index:
            found += [pick(index)[0], delta(pick(index)[0], pick(index)[0]), delta(row, column)]
        return pick(found)

    def grow(self, depth: int, index: list[tuple[sp.Symbol, Any]]) -> sp.Expr:
        kind = self.random.randint(0, 11) if depth else 0
        if kind == 0:
            return self.entry(index)
        if kind < 5:
            name = next(self.names, None)
            if name is None:
                return self.entry(index)
            rows = [s for s, high in index if high == N] or [sp.Integer(1)]
            high = self.random.choice([N, N, M, L[self.random.choice(rows)]])
            return sp.Sum(self.grow(depth - 1, [*index, (name, high)]), (name, 1, high))
        one = self.grow(depth - 1, index)
        if kind == 5:
            return one**2
        if kind == 6:
            return self.random.choice([Minimum, Maximum])(one, self.grow(0, index))
        if kind == 7:
            return one / self.random.choice([y, v[1], y + v[1], sp.sqrt(y)])
        if kind == 8:
            return one * sp.exp(self.entry(index)) * (y * v[1]) ** (x / 2 + 1)
        other = self.grow(depth - 1, index)
        return one * other if kind < 10 else one + other


mixed = Domain(*tokens.declarations, law)


def _point(generator: random.Random) -> dict[Any, Any]:
    rows, columns = generator.randint(1, 3), generator.randint(1, 2)

    def numbers(low: int, high: int, bottom: int, count: int = rows) -> list[fmpq]:
        return [fmpq(generator.randint(low, high), bottom) for _ in range(count)]

    weights = numbers(1, 9, 1)
    point: dict[Any, Any] = {
        N: fmpq(rows), M: fmpq(columns), n: fmpq(1), x: fmpq(generator.randint(-9, 9), 2),
        y: fmpq(generator.randint(1, 9), 4), u: numbers(-9, 9, 2), v: numbers(1, 9, 3),
        a: [numbers(-9, 9, 2, columns) for _ in range(rows)], L: numbers(0, columns, 1),
        c: numbers(0, 9, 2), q: [part / sum(weights, fmpq(0)) for part in weights],
    }  # fmt: skip
    assert mixed.contains(point) is None
    return point


def _differ(one: Any, other: Any) -> bool:
    gap = one - other
    return bool(gap != 0) if isinstance(gap, fmpq) else bool(gap > 0 or gap < 0)


def test_the_normal_form_of_a_random_term_has_its_value_and_sign() -> None:
    decided = 0
    for seed in range(150):
        term = Grower(seed).grow(3, [])
        context = Context(mixed)
        try:
            context.term(term)
            top, bottom = context.algebra.fraction(term)
            algebra = context.algebra
            signs = [algebra.nonnegative(s * term, k) for s in (1, -1) for k in (False, True)]
        except ProofError:
            continue
        form = context.algebra.to_expr(context.algebra.reduced(top))
        form = form / context.algebra.to_expr(bottom)
        decided += 1
        generator = random.Random(seed)
        for _ in range(2):
            point = _point(generator)
            try:
                value = evaluate(term, point)
                assert not _differ(value, evaluate(form, point)), (term, form, point)
            except Unsupported:
                continue
            assert not (value < 0 and signs[0]), (term, point)
            assert not (value <= 0 and signs[1]), (term, point)
            assert not (value > 0 and signs[2]), (term, point)
            assert not (value >= 0 and signs[3]), (term, point)
    assert decided > 100


def test_random_terms_are_not_taken_for_one_another() -> None:
    """A term against a copy with one thing exchanged, where the two differ at a point."""
    exchanges = [
        (N, M), (u, v), (L, u), (x, y), (q, v), (Minimum, Maximum), (sp.Integer(2), N),
    ]  # fmt: skip
    tried = 0
    for seed in range(1000, 1120):
        generator = random.Random(seed)
        term = Grower(seed).grow(3, [])
        old, new = generator.choice(exchanges)
        other = term.replace(old, new) if isinstance(old, type) else term.xreplace({old: new})
        point = _point(generator)
        try:
            Context(mixed).term(term)
            Context(mixed).term(other)
            if compare(term, "=", other, point) is not False:
                continue
        except (ProofError, Unsupported, TypeError, IndexError):
            continue
        tried += 1
        refuses(mixed, term, "=", other)
    assert tried > 15
