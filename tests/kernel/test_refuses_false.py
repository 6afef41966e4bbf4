"""The kernel accepts true statements and refuses more than a thousand false ones.

Every false statement comes from a true one whose derivation the kernel accepts: one node of a
side is changed (a constant off by one, a root or a factor dropped, another variable, a sign, a
limit of a sum), the relation is tightened, or an assumption is weakened. The derivation is bent
to end at the false statement. Each is first *shown* to be false by exact evaluation at a point of
its domain, so refusing it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.groups.notation import (
    G,
    R,
    bessel,
    binary_any,
    contrast,
    d,
    i,
    j,
    k,
    leave_one_out,
    mixed,
    mu,
    r,
    real_any,
    rollout,
    s,
    sigma,
    total,
    update,
    variance,
)
from proofs.kernel.check import check_theorem
from proofs.kernel.domain import Domain, Group, Integer, Real, Table
from proofs.kernel.errors import MalformedTheorem, ProofError, UndefinedValue
from proofs.kernel.rules import (
    RULES,
    Ball,
    BetaIntegral,
    BinomialMoments,
    BinomialTheorem,
    Context,
    Differentiate,
    DropTerms,
    Fact,
    Hypothesis,
    Linear,
    Nonnegative,
    Positive,
    Reverse,
    Shift,
    Split,
    Square,
    Termwise,
    Unroll,
)
from proofs.kernel.semantics import compare
from proofs.kernel.terms import BetaMean
from proofs.kernel.theorem import (
    Cases,
    Chain,
    Claim,
    Clause,
    Induction,
    Mutant,
    Step,
    Theorem,
    check_proof,
)

REFUSALS = (ProofError, ArithmeticError, TypeError, ValueError, AttributeError, LookupError)

n, m, t, x, y, p, q, a, b = sp.symbols("n m t x y p q a b")
half, third = sp.Rational(1, 2), sp.Rational(1, 3)
f = sp.Function("f")

unit = Domain(Real(p, 0, 1))
trials = Domain(Integer(n, 1), Real(p, 0, 1))
naturals = Domain(Integer(n, 0))
chosen = Domain(Integer(n, 1), Integer(m, 1, n))
plane = Domain(Real(x, 0), Real(y, 0))
reals = Domain(Real(x), Real(y))
beta = Domain(Integer(a, 1, 2), Integer(b, 2, 2))
closed = Domain()


def to_end(*rules: Any, through: tuple[Step, ...] = ()) -> Callable[[Claim], Any]:
    """A chain through fixed lines to the right-hand side, whatever that is."""
    return lambda c: Chain((*through, Step("end", c.relation, c.rhs, rules)))


def inductive(first: int = 0) -> Callable[[Claim], Any]:
    """Σ_{m=first}^{n} f(m) = closed form, by induction on n."""

    def prove(c: Claim) -> Any:
        after = c.lhs.subs(n, n + 1)
        base = c.lhs.subs(n, first)
        return Induction(
            n,
            Chain((Step("one term", "=", c.rhs.subs(n, first), (Unroll(base),)),)),
            Chain(
                (
                    Step(
                        "last term off, hypothesis",
                        "=",
                        c.rhs.subs(n, n + 1),
                        (Split(after, last=1), Hypothesis()),
                    ),
                )
            ),
        )

    return prove


@dataclass(frozen=True)
class Template:
    name: str
    domain: Domain
    claim: Claim
    prove: Callable[[Claim], Any] = field(default_factory=to_end)


def equation(name: str, domain: Domain, lhs: Any, rhs: Any, *rules: Any) -> Template:
    return Template(name, domain, Claim(lhs, "=", rhs), to_end(*rules))


def mean_of(h: sp.Expr) -> sp.Sum:
    return sp.Sum(sp.binomial(n, k) * p**k * (1 - p) ** (n - k) * h, (k, 0, n))


def group_identities() -> Iterator[Template]:
    root = sp.sqrt(k * (G - k))
    yield equation("mean", binary_any, mu, k / G)
    yield equation("variance", binary_any, variance, k * (G - k) / G**2)
    yield equation("std", binary_any, sigma, root / G)
    yield equation("bessel", binary_any, bessel, sp.sqrt(k * (G - k) / (G * (G - 1))))
    yield equation("std by mean", binary_any, sigma, sp.sqrt(mu * (1 - mu)))
    yield equation("grpo", mixed, update((R[i] - mu) / sigma), sigma * contrast)
    yield equation("grpo by counts", mixed, update((R[i] - mu) / sigma), root / G * contrast)
    yield equation("dr-grpo", mixed, update(R[i] - mu), sigma**2 * contrast)
    yield equation("centred", real_any, total(R[i] - mu), 0)
    yield equation(
        "pairs",
        mixed,
        total(total(R[i] * (1 - R[j]) * (s[i, d] - s[j, d]), j)),
        k * (G - k) * contrast,
    )
    yield equation("scatter", real_any, total((R[i] - mu) ** 2), total(R[j] ** 2, j) - G * mu**2)
    yield equation(
        "leave one out", real_any, update(R[i] - leave_one_out(i)), G / (G - 1) * update(R[i] - mu)
    )
    one = Domain(*real_any.declarations, rollout)
    yield equation("one advantage", one, R[r] - leave_one_out(r), G / (G - 1) * (R[r] - mu))


def binomial_sums() -> Iterator[Template]:
    for name, h, value in (
        ("mass", sp.Integer(1), sp.Integer(1)),
        ("first", k, n * p),
        ("second", k**2, n * p * (1 - p) + n**2 * p**2),
        ("factorial", k * (k - 1), n * (n - 1) * p**2),
        ("rest", (n - k) * k, n * (n - 1) * p * (1 - p)),
        ("variance", (k - n * p) ** 2, n * p * (1 - p)),
        ("third", k * (k - 1) * (k - 2), n * (n - 1) * (n - 2) * p**3),
    ):
        yield equation(f"moment {name}", trials, mean_of(h), value, BinomialMoments(k, n, p, h))
    powers = sp.Sum(sp.binomial(n, k) * x**k * y ** (n - k), (k, 0, n))
    yield equation(
        "binomial theorem",
        Domain(Integer(n, 0), *plane.declarations),
        powers,
        (x + y) ** n,
        BinomialTheorem(k, n, x, y),
    )
    # Σ k C(n,k) x^k y^(n-k) = n x (x+y)^(n-1): first term off, absorb, shift, binomial theorem
    weighted = sp.Sum(k * sp.binomial(n, k) * x**k * y ** (n - k), (k, 0, n))
    tail = sp.Sum(k * sp.binomial(n, k) * x**k * y ** (n - k), (k, 1, n))
    absorbed = n * sp.binomial(n - 1, k - 1) * x**k * y ** (n - k)
    shifted = sp.Sum(absorbed, (k, 1, n))
    moved = sp.Sum(absorbed.subs(k, k + 1), (k, 0, n - 1))
    core = sp.binomial(n - 1, k) * x**k * y ** (n - 1 - k)
    yield equation(
        "absorption",
        Domain(Integer(n, 1), *plane.declarations),
        weighted,
        n * x * (x + y) ** (n - 1),
        Split(weighted, first=1),
        Termwise(tail, absorbed),
        Shift(shifted, 1),
        Linear(moved, ((n * x, core),)),
        BinomialTheorem(k, n - 1, x, y),
    )
    yield equation(
        "pascal", chosen, sp.binomial(n + 1, m), sp.binomial(n, m) + sp.binomial(n, m - 1)
    )
    yield equation("absorb", chosen, m * sp.binomial(n, m), n * sp.binomial(n - 1, m - 1))
    yield equation("symmetry", chosen, sp.binomial(n, m), sp.binomial(n, n - m))
    yield equation("factorial", naturals, sp.factorial(n + 2), (n + 2) * (n + 1) * sp.factorial(n))
    yield equation("powers", trials, (2 * p) ** n * p ** (n + 1), 2**n * p ** (2 * n) * p)


def other_sums() -> Iterator[Template]:
    table = Domain(Integer(n, 2), Table(f))
    plain = sp.Sum(f(k), (k, 0, n))
    yield equation("shift", table, plain, sp.Sum(f(k + 2), (k, -2, n - 2)), Shift(plain, 2))
    yield equation("reverse", table, plain, sp.Sum(f(n - k), (k, 0, n)), Reverse(plain))
    yield equation(
        "split",
        table,
        plain,
        f(0) + f(1) + f(n) + sp.Sum(f(k), (k, 2, n - 1)),
        Split(plain, first=2, last=1),
    )
    two = sp.Sum(3 * f(k) + n * k, (k, 0, n))
    yield equation(
        "linear",
        table,
        two,
        3 * plain + n * sp.Sum(k, (k, 0, n)),
        Linear(two, ((3, f(k)), (n, k))),
    )
    few = sp.Sum(k**2 * x, (k, 1, 4))
    yield equation("unroll", reals, few, 30 * x, Unroll(few))
    for name, body, value in (
        ("gauss", m, n * (n + 1) / 2),
        ("odd", 2 * m + 1, (n + 1) ** 2),
        ("squares", m**2, n * (n + 1) * (2 * n + 1) / 6),
        ("cubes", m**3, n**2 * (n + 1) ** 2 / 4),
        ("geometric", 2**m, 2 ** (n + 1) - 1),
        ("ratio", 3**m, (3 ** (n + 1) - 1) / 2),
        ("telescope", 1 / ((m + 1) * (m + 2)), (n + 1) / (n + 2)),
    ):
        yield Template(name, naturals, Claim(sp.Sum(body, (m, 0, n)), "=", value), inductive())


def algebra() -> Iterator[Template]:
    yield equation("square", reals, (x + y) ** 2, x**2 + 2 * x * y + y**2)
    yield equation("cube", reals, (x - y) ** 3, x**3 - 3 * x**2 * y + 3 * x * y**2 - y**3)
    yield equation("difference", reals, (x - y) * (x + y), x**2 - y**2)
    yield equation("fractions", plane, 1 / x + 1 / y, (x + y) / (x * y))
    yield equation("partial", unit, 1 / (p * (1 - p)), 1 / p + 1 / (1 - p))
    yield equation("root of square", plane, sp.sqrt(x**2 * y), x * sp.sqrt(y))
    yield equation("root product", plane, sp.sqrt(x) * sp.sqrt(x * y), x * sp.sqrt(y))
    yield equation("rationalise", plane, 1 / sp.sqrt(x * y), sp.sqrt(x * y) / (x * y))
    yield equation("bernoulli", unit, sp.sqrt(p / (1 - p)), p / sp.sqrt(p * (1 - p)))
    yield equation("conjugate", plane, (sp.sqrt(x) - sp.sqrt(y)) * (sp.sqrt(x) + sp.sqrt(y)), x - y)
    yield equation("surds", closed, sp.sqrt(6) * sp.sqrt(10), 2 * sp.sqrt(15))
    yield equation("nested", closed, (1 + sp.sqrt(2)) ** 3, 7 + 5 * sp.sqrt(2))
    for body, slope in (
        (p**3 - 2 * p, 3 * p**2 - 2),
        (p**2 * (1 - p), 2 * p - 3 * p**2),
        (p / (1 + p), 1 / (1 + p) ** 2),
        (sp.sqrt(p), 1 / (2 * sp.sqrt(p))),
    ):
        rate = sp.Derivative(body, p)
        yield equation(f"slope of {body}", unit, rate, slope, Differentiate(rate))
    for u, v in ((1, 0), (2, 1)):
        average = BetaMean(p**u * (1 - p) ** v, p, a, b)
        value = sp.beta(a + u, b + v) / sp.beta(a, b)
        yield equation(f"euler {u} {v}", beta, average, value, BetaIntegral(average, u, v))


def inequalities() -> Iterator[Template]:
    def less(name: str, domain: Domain, lhs: Any, relation: str, rhs: Any, *by: Any) -> Template:
        return Template(name, domain, Claim(lhs, relation, rhs), to_end(*by))

    yield less(
        "bernoulli variance", unit, p * (1 - p), "<=", sp.Rational(1, 4), (1, Square(p - half))
    )
    yield less("am-gm", plane, x * y, "<=", (x + y) ** 2 / 4, (1, Square((x - y) / 2)))
    yield less("positive variance", unit, 0, "<", p * (1 - p))
    yield less("square below", unit, p**2, "<", p)
    yield less("cube below", unit, p**3, "<", p)
    yield less("weak linear", naturals, n, "<=", n**2 + n)
    yield less("strict linear", naturals, n, "<", n + 1)
    yield less("counts", chosen, m, "<=", n)
    yield less("squares of counts", chosen, m**2, "<=", n**2)
    yield less("excess", chosen, 0, "<=", (n - m) * (m - 1))
    inner = Domain(Integer(n, 2), Integer(m, 1, n - 1))
    yield less("inner", inner, n - 1, "<=", m * (n - m))
    yield less("root below", unit, 0, "<", sp.sqrt(p) * (1 - p))
    yield less("reciprocal", plane, 0, "<", 1 / (1 + x) + y)
    yield less("used strictly", plane, x, "<", x + y, (1, Positive(y)))
    yield less("used weakly", chosen, 2 * m, "<=", 2 * n, (2, Nonnegative(n - m)))
    terms = sp.Sum(k, (k, 1, n))
    yield less(
        "termwise",
        trials,
        terms,
        "<=",
        sp.Sum(k + p, (k, 1, n)),
        (1, Termwise(terms, k + p, "<=")),
    )
    full = sp.Sum(k**2, (k, 0, n))
    yield less("dropped", naturals, 0, "<=", full, (1, Nonnegative(full)))
    yield less(
        "sub-range",
        Domain(Integer(n, 2)),
        sp.Sum(k**2, (k, 1, n - 1)),
        "<=",
        full,
        (1, DropTerms(full, 1, n - 1)),
    )
    whole = Domain(Integer(n, 0, 9))
    pieces = ((0, 0), (1, 4), (5, 9))

    def split(c: Claim) -> Any:
        end = Chain((Step("end", c.relation, c.rhs),))
        one = Chain((Step("end", c.relation, c.rhs.subs(n, 0)),))
        return Cases(n, tuple((Integer(n, u, v), one if u == v else end) for u, v in pieces))

    yield Template("cases", whole, Claim(n, "<=", n**2), split)


def numbers() -> Iterator[Template]:
    def ball(name: str, lhs: Any, relation: str, rhs: Any) -> Template:
        return Template(
            name,
            closed,
            Claim(lhs, relation, rhs),
            lambda c: Chain(
                (Step("end", c.relation, c.rhs, ((1, Ball(c.lhs, c.relation, c.rhs)),)),)
            ),
        )

    yield ball("root two", sp.sqrt(2), "<", sp.Rational(141422, 100000))
    yield ball("pi", sp.Rational(314159, 100000), "<", sp.pi)
    yield ball("pi above", sp.pi, "<", sp.Rational(22, 7))
    yield ball("logarithm", sp.log(2), "<", sp.Rational(7, 10))
    yield ball("arc", sp.asin(third), "<", sp.Rational(34, 100))
    yield ball("sum", sp.Sum(1 / k**2, (k, 1, 20)), "<=", sp.Rational(1597, 1000))
    yield ball("two roots", sp.sqrt(2) + sp.sqrt(3), "<", sp.Rational(3147, 1000))


@cache
def templates() -> tuple[Template, ...]:
    return (
        *group_identities(),
        *binomial_sums(),
        *other_sums(),
        *algebra(),
        *inequalities(),
        *numbers(),
    )


# -- making statements false ---------------------------------------------------------------------


def nearby(e: sp.Expr, others: tuple[sp.Symbol, ...]) -> Iterator[sp.Expr]:
    """Every term with exactly one node of ``e`` changed."""
    if e.is_Rational:
        yield from (e + 1, e - 1, -e, 2 * e, e + half)
    if e.is_Symbol:
        yield from (e + 1, e - 1, -e, sp.Integer(0), sp.Integer(1))
        yield from (o for o in others if o != e)
        yield from (e - o for o in others if o != e)
    if e.is_Pow:
        yield e.base
        yield e.base**2
        yield sp.sqrt(e)
    if e.is_Add or e.is_Mul:
        for at, part in enumerate(e.args):
            rest = e.args[:at] + e.args[at + 1 :]
            yield e.func(*rest)
            yield e.func(*rest, -part)
            yield e.func(*rest, part, part)
    if isinstance(e, sp.Indexed | sp.Derivative | BetaMean):
        return
    if isinstance(e, sp.Sum):
        body, (var, low, high) = e.function, e.limits[0]
        more = e.limits[1:]
        for new in nearby(body, others):
            yield sp.Sum(new, *e.limits)
        for new_low, new_high in (
            (low + 1, high),
            (low, high - 1),
            (low, high + 1),
            (low - 1, high),
        ):
            yield sp.Sum(body, (var, new_low, new_high), *more)
        return
    for at, part in enumerate(e.args):
        for new in nearby(part, others):
            yield e.func(*e.args[:at], new, *e.args[at + 1 :])


def changed(e: sp.Expr, domain: Domain) -> Iterator[sp.Expr]:
    others = tuple(v.symbol for v in domain.variables if v.symbol not in (d, sp.Symbol("D")))
    yield from (e + 1, e - 1, -e, 2 * e, e / 2, e**2, sp.sqrt(e), sp.Integer(0), sp.Integer(1))
    iterator = nearby(e, others)
    while True:
        try:
            yield next(iterator)
        except StopIteration:
            return
        except REFUSALS:  # SymPy itself refuses some of the changes and ends the generator
            return


def weakened(domain: Domain) -> Iterator[Domain]:
    """The domain with one assumption less."""
    for old in domain.declarations:
        options: list[Any] = []
        if isinstance(old, Integer):
            options = [replace(old, low=old.low - 1), replace(old, low=old.low - 3)]
            if old.high is not None:
                options += [replace(old, high=old.high + 1), replace(old, high=None)]
        elif isinstance(old, Real):
            options = [
                replace(old, open_low=False),
                replace(old, open_high=False),
                replace(old, low=None),
                replace(old, high=None),
            ]
        elif isinstance(old, Group):
            options = [replace(old, correct=None), replace(old, spread=False)]
        for new in options:
            if new == old:
                continue
            try:
                yield Domain(*(new if z is old else z for z in domain.declarations))
            except MalformedTheorem:
                continue


@cache
def points_of(domain: Domain, wanted: int = 10) -> tuple[Any, ...]:
    return tuple({str(z): z for z in domain.points("false statements", wanted)}.values())


def false_on(domain: Domain, claim: Claim) -> bool:
    """Exact evaluation finds a point of the domain where the claim does not hold."""
    for point in points_of(domain):
        try:
            if compare(claim.lhs, claim.relation, claim.rhs, point) is False:
                return True
        except REFUSALS:
            continue
    return False


def undefined_on(domain: Domain, claim: Claim) -> bool:
    """Exact evaluation finds a point of the domain where a side has no value."""
    for point in points_of(domain, 40):
        try:
            compare(claim.lhs, claim.relation, claim.rhs, point)
        except (UndefinedValue, ZeroDivisionError):
            return True
    return False


@dataclass(frozen=True)
class Statement:
    template: Template
    domain: Domain
    claim: Claim

    def accepted(self) -> bool:
        try:
            proof = self.template.prove(self.claim)
            check_proof(Context(self.domain), self.claim, proof, [])
        except REFUSALS:
            return False
        return True

    def __str__(self) -> str:
        c = self.claim
        return f"{self.template.name}: {c.lhs} {c.relation} {c.rhs} on {self.domain.words()}"


PER_TEMPLATE = 14  # spread evenly over all changes of a template


def bent(template: Template) -> list[Statement]:
    """False variants of one template: other sides, another relation, a weaker assumption."""
    c, domain = template.claim, template.domain
    claims = dict.fromkeys(Claim(c.lhs, c.relation, e) for e in changed(c.rhs, domain))
    claims |= dict.fromkeys(Claim(e, c.relation, c.rhs) for e in changed(c.lhs, domain))
    claims.pop(c, None)
    sides = [z for z in claims if not (z.lhs.has(sp.nan, sp.zoo) or z.rhs.has(sp.nan, sp.zoo))]
    stride = max(1, len(sides) // PER_TEMPLATE)
    chosen = [
        *sides[::stride],
        Claim(c.lhs, "<", c.rhs),
        Claim(c.rhs, "<", c.lhs),
        Claim(c.rhs, c.relation, c.lhs),
    ]
    found = [Statement(template, domain, z) for z in chosen if false_on(domain, z)]
    found += [Statement(template, z, c) for z in weakened(domain) if false_on(z, c)]
    return found


@cache
def false_statements() -> tuple[Statement, ...]:
    return tuple(statement for template in templates() for statement in bent(template))


def undefined_statements() -> tuple[Statement, ...]:
    """True statements on a domain so wide that a side has no value somewhere."""
    return tuple(
        Statement(template, domain, template.claim)
        for template in templates()
        for domain in weakened(template.domain)
        if undefined_on(domain, template.claim)
    )


# -- the tests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("template", templates(), ids=lambda z: z.name)
def test_the_true_template_is_accepted(template: Template) -> None:
    c = template.claim
    check_proof(Context(template.domain), c, template.prove(c), [])
    for point in template.domain.points("templates", 10):
        assert compare(c.lhs, c.relation, c.rhs, point) is not False


def test_more_than_a_thousand_false_statements_are_refused() -> None:
    statements = false_statements()
    assert len(statements) >= 1000
    assert len({z.template.name for z in statements}) == len(templates())
    accepted = [str(z) for z in statements if z.accepted()]
    assert not accepted, "\n".join(accepted)


coefficient = st.fractions(min_value=-9, max_value=9, max_denominator=7)
monomial = st.tuples(coefficient, st.integers(0, 3), st.integers(0, 3))
polynomial = st.lists(monomial, min_size=1, max_size=4).map(
    lambda terms: sp.Add(*(sp.Rational(str(c)) * x**u * y**v for c, u, v in terms))
)


def holds(domain: Domain, claim: Claim, *by: Any) -> bool:
    try:
        check_proof(Context(domain), claim, to_end(*by)(claim), [])
    except REFUSALS:
        return False
    return True


@given(polynomial, polynomial, polynomial)
@settings(max_examples=60, deadline=None)
def test_random_identities(e: sp.Expr, g: sp.Expr, error: sp.Expr) -> None:
    """(e + g)² − e² − 2eg = g² always; with an error only if the error is zero."""
    lhs = (e + g) ** 2 - e**2
    true = 2 * sp.expand(e * g) + sp.expand(g**2)
    assert lhs == true or holds(reals, Claim(lhs, "=", true))
    false = Claim(lhs, "=", true + error)
    assert holds(reals, false) == (sp.expand(error) == 0)


@given(polynomial, st.fractions(min_value=0, max_value=5, max_denominator=9))
@settings(max_examples=60, deadline=None)
def test_random_squares_are_non_negative_and_their_shifts_are_not(e: sp.Expr, shift: Any) -> None:
    """e² ≥ 0 is accepted; e² ≤ −c and e² < e² − c never; what is accepted is true at points."""
    assert holds(reals, Claim(0, "<=", e**2), (1, Square(e)))
    c = sp.Rational(str(shift))
    assert not holds(reals, Claim(e**2, "<", e**2 - c), (1, Square(e)))
    lower = Claim(-c, "<", e**2)
    if holds(reals, lower, (1, Square(e))):
        assert not false_on(reals, lower)


@given(
    st.lists(
        st.sampled_from([x, y, x + 1, x + y, 2 * x + 3 * y, x * y + 1]), min_size=1, max_size=4
    ),
    polynomial,
)
@settings(max_examples=60, deadline=None)
def test_random_signs(factors: list[sp.Expr], other: sp.Expr) -> None:
    """Products of positive factors are accepted as positive; nothing false ever is."""
    assert holds(plane, Claim(0, "<", sp.Mul(*factors)))
    for relation in ("<", "<="):
        claim = Claim(0, relation, sp.Mul(*factors) + other)
        if holds(plane, claim):
            assert not false_on(plane, claim)


@given(st.fractions(min_value=0, max_value=4, max_denominator=1000), st.integers(2, 50))
@settings(max_examples=100, deadline=None)
def test_random_closed_numbers(guess: Any, radicand: int) -> None:
    """A ball decides √r against a rational exactly as squaring does."""
    g, root = sp.Rational(str(guess)), sp.sqrt(radicand)
    below, above = Claim(g, "<", root), Claim(root, "<", g)
    assert holds(closed, below, (1, Ball(g, "<", root))) == (guess * guess < radicand)
    assert holds(closed, above, (1, Ball(root, "<", g))) == (guess * guess > radicand)


# -- the frame around the rules ------------------------------------------------------------------


def verdict(claim: Claim, proof: Any, domain: Domain = naturals, **more: Any) -> Any:
    mutants = (
        Mutant("one more", "c", rhs=claim.lhs - 1),
        Mutant("two more", "c", rhs=claim.lhs - 2),
    )
    parts = {"mutants": mutants, **more}
    clause = Clause("c", domain, claim, proof)
    theorem = Theorem("test.statement", "title", "words", clauses=(clause,), **parts)
    return check_theorem(theorem, {}, first_principles=False)


good = Claim((n + 1) ** 2, "=", n**2 + 2 * n + 1)


def test_a_true_theorem_is_proved() -> None:
    assert verdict(good, to_end()(good)).verdict == "proved"


def test_a_chain_must_end_at_its_statement() -> None:
    report = verdict(good, Chain((Step("elsewhere", "=", (1 + n) * (n + 1) + n - n),)))
    assert report.verdict == "open"
    assert "does not end" in report.problems[0]


@pytest.mark.parametrize("proof", [Chain(()), Cases(n, ()), None, 0, "proof", Nonnegative(n)])
def test_no_proof_is_not_a_proof(proof: Any) -> None:
    assert verdict(good, proof).verdict == "open"


@pytest.mark.parametrize(
    ("relation", "steps"),
    [
        ("<", ("<=",)),
        ("<", ("=",)),
        ("<=", ("=",)),
        ("=", ("<=",)),
        ("=", ("<",)),
        ("=", ("=", "<=")),
        ("<", ("<=", "=", "<=")),
    ],
)
def test_the_chain_must_show_the_relation_of_the_statement(relation: str, steps: Any) -> None:
    claim = Claim(n * (n + 1), relation, n**2 + n)
    chain = Chain(tuple(Step("line", z, n**2 + n) for z in steps))
    assert verdict(claim, chain).verdict == "open"


@pytest.mark.parametrize("relation", [">", ">=", "==", "!=", "", "≤"])
def test_other_relations_do_not_exist(relation: str) -> None:
    with pytest.raises(ProofError):
        Claim(n, relation, n)
    with pytest.raises(ProofError):
        check_proof(Context(naturals), good, Chain((Step("s", relation, good.rhs),)), [])


@pytest.mark.parametrize(
    "empty",
    [
        Domain(Integer(n, 5, 3)),
        Domain(Integer(n, 0), Integer(m, n + 1, n)),
        Domain(Real(x, 1, 0), Integer(n, 0)),
        Domain(Real(x, 1, 1), Integer(n, 0)),
    ],
    ids=["integers", "dependent", "reversed", "point"],
)
def test_an_empty_domain_is_refused(empty: Domain) -> None:
    report = verdict(good, to_end()(good), empty)
    assert report.verdict == "open"
    assert "vacuous" in report.problems[0]


def test_facts_cannot_be_made_without_the_token() -> None:
    for token in (None, object(), "token"):
        with pytest.raises(ProofError):
            Fact(sp.Integer(1), "<=", sp.Integer(0), "forged", "exact", token)


def test_foreign_rules_are_refused() -> None:
    @dataclass(frozen=True)
    class Trust:
        def prove(self, ctx: Context) -> Fact:
            return Nonnegative(n).prove(ctx)

    class Looser(Nonnegative):
        pass

    for rule in (Trust(), Looser(n), Fact, lambda: None):
        claim = Claim(0, "<=", n)
        with pytest.raises(ProofError, match="not one of the kernel's rules"):
            check_proof(Context(naturals), claim, to_end((1, rule))(claim), [])
    assert len(set(RULES)) == len(RULES)


def test_a_negative_coefficient_is_refused() -> None:
    claim = Claim(n, "<=", 0)
    with pytest.raises(ProofError):
        check_proof(Context(naturals), claim, to_end((-1, Nonnegative(n)))(claim), [])


def test_a_rule_that_does_not_occur_is_refused() -> None:
    other = sp.Sum(k, (k, 0, 3))
    with pytest.raises(ProofError):
        check_proof(Context(naturals), good, to_end(Unroll(other))(good), [])


def test_an_inequality_is_not_used_for_rewriting() -> None:
    claim = Claim(n, "=", n + 1)
    with pytest.raises(ProofError):
        check_proof(Context(naturals), claim, to_end(Nonnegative(n))(claim), [])


def test_there_is_no_hypothesis_outside_of_an_induction() -> None:
    with pytest.raises(ProofError):
        check_proof(Context(naturals), good, to_end(Hypothesis())(good), [])


def test_false_inductions_are_refused() -> None:
    lhs = sp.Sum(m, (m, 0, n))
    for value in (n * (n + 1) / 2 + 1, n * n, n * (n - 1) / 2, n + 0 * m, sp.Integer(0)):
        claim = Claim(lhs, "=", value)
        with pytest.raises(REFUSALS):
            check_proof(Context(naturals), claim, inductive()(claim), [])


@pytest.mark.parametrize(
    "ranges", [((0, 3), (5, 9)), ((1, 4), (5, 9)), ((0, 4), (5, 8)), ((0, 4),), ((5, 9), (0, 4))]
)
def test_cases_must_cover(ranges: Any) -> None:
    claim = Claim(n, "<=", n**2 + n)
    parts = tuple((Integer(n, u, v), to_end()(claim)) for u, v in ranges)
    with pytest.raises(ProofError):
        check_proof(Context(Domain(Integer(n, 0, 9))), claim, Cases(n, parts), [])


@pytest.mark.parametrize(
    "side", [n + m, sp.oo * n, sp.nan, sp.zoo, n + sp.Float(0.5), f(n), sp.IndexedBase("Q")[n]]
)
def test_ill_formed_statements_are_refused(side: Any) -> None:
    claim = Claim(side, "=", side + 0 * n) if side is sp.nan else Claim(side, "<=", side + 1)
    assert verdict(claim, to_end()(claim)).verdict == "open"


def test_a_bound_variable_may_not_be_a_declared_one() -> None:
    claim = Claim(sp.Sum(n, (n, 0, 3)), "=", 6)
    assert verdict(claim, to_end(Unroll(claim.lhs))(claim)).verdict == "open"


def test_mutants_are_needed_and_must_be_false() -> None:
    proof = to_end()(good)
    assert verdict(good, proof, mutants=()).verdict == "open"
    true = (Mutant("same value", "c", rhs=(n + 1) * (n + 1) + 0), Mutant("x", "c", rhs=n))
    assert verdict(good, proof, mutants=true).verdict == "open"
    swapped = (Mutant("true", "c", lhs=n**2 + 2 * n + 1, rhs=(n + 1) ** 2), Mutant("x", "c", rhs=n))
    assert verdict(good, proof, mutants=swapped).verdict == "open"


def test_both_sides_may_not_be_the_same_term() -> None:
    claim = Claim(n + n, "=", 2 * n)
    assert verdict(claim, to_end()(claim)).verdict == "open"
