"""The closed list of rules. Each one either admits a fact or raises; none of them guesses.

A rule's docstring says what it decides and why that is sound. ``RULES`` is the whole list:
the checker refuses a justification of any other type, so a topic module cannot bring its own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import sympy as sp

from proofs.kernel.algebra import LARGEST, Algebra
from proofs.kernel.domain import COORDINATE, Domain, Integer
from proofs.kernel.errors import ProofError, Undecided
from proofs.kernel.facts import FACTS
from proofs.kernel.semantics import compare, difference
from proofs.kernel.terms import BetaMean, PoissonMean, RolloutMean, as_term, peel
from proofs.kernel.wellformed import Terms, bound_symbols, depends_on

__all__ = [
    "RULES",
    "Ball",
    "BetaIntegral",
    "BinomialMoments",
    "BinomialTheorem",
    "Cite",
    "Context",
    "Cut",
    "Differentiate",
    "DropTerms",
    "Fact",
    "Hypothesis",
    "Instance",
    "Linear",
    "Nonnegative",
    "Positive",
    "Reverse",
    "Shift",
    "Split",
    "Square",
    "Telescope",
    "Termwise",
    "Tower",
    "Unroll",
]

GRADES = ("exact", "rigorous", "cited", "bounded", "sampled")  # strongest first
_TOKEN = object()  # only rules of this module can admit facts


def weakest(*grades: str) -> str:
    return max(grades, key=GRADES.index, default="exact")


class Fact:
    """``lhs relation rhs`` holds at every point of the context's domain. Made by rules only."""

    __slots__ = ("grade", "lhs", "procedure", "relation", "rhs")

    lhs: sp.Expr
    relation: str
    rhs: sp.Expr
    procedure: str
    grade: str

    def __init__(
        self, lhs: Any, relation: str, rhs: Any, procedure: str, grade: str, token: object
    ) -> None:
        if token is not _TOKEN:
            raise ProofError("facts are admitted by the kernel's rules only")
        if relation not in ("=", "<=", "<"):
            raise ProofError(f"unknown relation {relation}")
        values = (lhs, relation, rhs, procedure, grade)
        names = ("lhs", "relation", "rhs", "procedure", "grade")
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise ProofError("a fact does not change")

    def __repr__(self) -> str:
        return f"Fact({self.lhs} {self.relation} {self.rhs}, {self.procedure}, {self.grade})"


class Context:
    """Where a step is checked: the domain, theorems already proved, the induction hypothesis."""

    def __init__(
        self,
        domain: Domain,
        ledger: Any = None,
        hypothesis: Any = None,
        given: tuple[Fact, ...] = (),
    ) -> None:
        self.domain = domain
        self.ledger = ledger if ledger is not None else {}
        self.hypothesis = hypothesis  # the statement at n, inside an induction step
        self.given = given
        self.algebra = Algebra(domain)
        for fact in given:
            self.algebra.learn_positive(fact.rhs)
        self.terms = Terms(self.algebra, tuple(fact.rhs for fact in given))

    def inside(self, *more: Any) -> Context:
        return Context(self.domain.extended(*more), self.ledger, self.hypothesis, self.given)

    def term(self, value: Any) -> sp.Expr:
        """A term that is well-formed and defined on the whole domain, or an error."""
        return self.terms.admit(value)

    def zero(self, expr: sp.Expr) -> bool:
        return self.algebra.is_zero(expr)

    def require(self, condition: bool, complaint: str) -> None:
        if not condition:
            raise Undecided(complaint)

    def nonnegative(self, expr: sp.Expr) -> bool:
        return self.algebra.nonnegative(expr)

    def admit(
        self, lhs: Any, relation: str, rhs: Any, procedure: str, grade: str = "exact"
    ) -> Fact:
        """Both sides must be defined: then SymPy's cancelling cannot have changed anything."""
        return Fact(self.term(lhs), relation, self.term(rhs), procedure, grade, _TOKEN)

    def sum(self, total: Any) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
        """Index and limits of a defined sum (its limits are then integers, in order)."""
        var, low, high = limits(total)
        self.term(total)
        return var, low, high


def settled(rule: Any) -> Any:
    """The rule with each field converted once, so that all checks see the same terms."""

    def settle(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(settle(v) for v in value)
        plain = isinstance(value, sp.Basic | sp.core.function.FunctionClass | str | int)
        if plain or value is None or is_dataclass(value):
            return value
        return as_term(value)

    return replace(rule, **{f.name: settle(getattr(rule, f.name)) for f in fields(rule)})


def limits(total: sp.Expr) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
    if not isinstance(total, sp.Sum) or len(total.limits) != 1:
        raise ProofError(f"not a single sum: {total}")
    ((var, low, high),) = total.limits
    return var, low, high


@dataclass(frozen=True)
class Shift:
    """Σ_{k=a}^{b} f(k) = Σ_{k=a-c}^{b-c} f(k+c): the same terms under other numbers."""

    total: sp.Sum
    by: Any

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        by = ctx.term(self.by)
        ctx.require(ctx.domain.is_integer(by), f"the shift {by} is not an integer")
        body = self.total.function.subs(var, var + by)
        return ctx.admit(self.total, "=", sp.Sum(body, (var, low - by, high - by)), "index shift")


@dataclass(frozen=True)
class Reverse:
    """Σ_{k=a}^{b} f(k) = Σ_{k=a}^{b} f(a+b-k): the same terms in reverse order."""

    total: sp.Sum

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        body = self.total.function.subs(var, low + high - var)
        return ctx.admit(self.total, "=", sp.Sum(body, (var, low, high)), "reversal")


@dataclass(frozen=True)
class Split:
    """Take ``first`` terms off the front and ``last`` off the back; needs that many terms."""

    total: sp.Sum
    first: int = 0
    last: int = 0

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        count = high - low + 1
        ctx.require(self.first >= 0 and self.last >= 0, "a negative number of terms")
        ctx.require(
            ctx.nonnegative(count - self.first - self.last),
            f"cannot show that the sum has {self.first + self.last} terms",
        )
        f = self.total.function
        ends = [f.subs(var, low + j) for j in range(self.first)]
        ends += [f.subs(var, high - j) for j in range(self.last)]
        rest = sp.Sum(f, (var, low + self.first, high - self.last))
        return ctx.admit(self.total, "=", sp.Add(rest, *ends), "splitting off terms")


@dataclass(frozen=True)
class Cut:
    """Σ_{a}^{b} = Σ_{a}^{m} + Σ_{m+1}^{b} for a-1 ≤ m ≤ b."""

    total: sp.Sum
    at: Any

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        m, f = ctx.term(self.at), self.total.function
        ctx.require(ctx.domain.is_integer(m), f"{m} is not an integer")
        for gap in (m - low + 1, high - m):
            ctx.require(ctx.nonnegative(gap), f"cannot show {gap} >= 0")
        parts = sp.Sum(f, (var, low, m)) + sp.Sum(f, (var, m + 1, high))
        return ctx.admit(self.total, "=", parts, "cutting the range")


@dataclass(frozen=True)
class Telescope:
    """Σ_{k=a}^{b} (v(k-1) - v(k)) = v(a-1) - v(b); the summand is checked to have that form."""

    total: sp.Sum
    v: Any  # a term in the summation variable

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        v = as_term(self.v)
        inside = ctx.inside(Integer(var, low, high))
        inside.term(v)
        inside.term(v.subs(var, var - 1))
        gap = self.total.function - (v.subs(var, var - 1) - v)
        ctx.require(inside.zero(gap), "the summand is not v(k-1) - v(k)")
        ctx.require(ctx.nonnegative(high - low + 1), "cannot show that the range is in order")
        ends = v.subs(var, low - 1) - v.subs(var, high)
        return ctx.admit(self.total, "=", ends, "telescoping")


@dataclass(frozen=True)
class Linear:
    """Σ (Σ_j c_j f_j(k)) = Σ_j c_j Σ f_j(k), the c_j free of k; the split is checked."""

    total: sp.Sum
    parts: tuple[tuple[Any, Any], ...]

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        inside = ctx.inside(Integer(var, low, high))
        body = sp.Add(*(sp.sympify(c) * f for c, f in self.parts))
        for c, f in self.parts:
            ctx.term(c)  # free of the index, which is not declared here
            inside.term(f)
        ctx.require(inside.zero(self.total.function - body), "the parts do not add up")
        result = sp.Add(*(c * sp.Sum(f, (var, low, high)) for c, f in self.parts))
        return ctx.admit(self.total, "=", result, "linearity of the sum")


@dataclass(frozen=True)
class Termwise:
    """Sums over one range compare as their terms do; the terms are proved for k in the range."""

    total: sp.Sum
    body: Any
    relation: str = "="
    steps: tuple[Any, ...] = ()  # a chain from the old to the new term; empty: one algebraic step

    def prove(self, ctx: Context) -> Fact:
        from proofs.kernel.theorem import Step, check_chain

        var, low, high = ctx.sum(self.total)
        inside = ctx.inside(Integer(var, low, high))
        body = inside.term(self.body)
        if self.relation == "<":
            ctx.require(ctx.nonnegative(high - low), "a strict comparison needs a term")
        steps = self.steps or (Step("term by term", self.relation, body),)
        grade = check_chain(inside, self.total.function, self.relation, body, steps)
        new = sp.Sum(body, (var, low, high))
        return ctx.admit(self.total, self.relation, new, "termwise comparison", grade)


@dataclass(frozen=True)
class DropTerms:
    """Σ over a sub-range ≤ Σ over the range, for non-negative terms."""

    total: sp.Sum
    low: Any
    high: Any

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        inside = ctx.inside(Integer(var, low, high))
        ctx.require(inside.nonnegative(self.total.function), "cannot show that the terms are >= 0")
        first, last = ctx.term(self.low), ctx.term(self.high)
        for gap in (first - low, high - last, last - first + 1):
            ctx.require(ctx.nonnegative(gap), f"cannot show {gap} >= 0")
        part = sp.Sum(self.total.function, (var, first, last))
        return ctx.admit(part, "<=", self.total, "dropping non-negative terms")


@dataclass(frozen=True)
class Unroll:
    """A sum with concrete limits is the sum of its terms."""

    total: sp.Sum

    def prove(self, ctx: Context) -> Fact:
        var, low, high = ctx.sum(self.total)
        known = {v.symbol: ctx.domain.constant(v.symbol) for v in ctx.domain.variables}
        fixed = {s: value for s, value in known.items() if value is not None}
        low, high = low.subs(fixed), high.subs(fixed)
        if not (low.is_Integer and high.is_Integer and high >= low - 1):
            raise Undecided(f"limits {low}, {high} are not concrete")
        if high - low > LARGEST:
            raise Undecided(f"more than {LARGEST} terms")
        terms = (self.total.function.subs(var, n) for n in range(int(low), int(high) + 1))
        return ctx.admit(self.total, "=", sp.Add(*terms), "writing out the terms")


@dataclass(frozen=True)
class BinomialTheorem:
    """Σ_{k=0}^{n} C(n,k) x^k y^{n-k} = (x+y)^n for an integer n ≥ 0 (any x, y, with 0⁰ = 1)."""

    k: sp.Symbol
    n: Any
    x: Any
    y: Any

    def prove(self, ctx: Context) -> Fact:
        k, n, x, y = self.k, ctx.term(self.n), ctx.term(self.x), ctx.term(self.y)
        ctx.require(ctx.domain.is_integer(n) and ctx.nonnegative(n), f"{n} is not an integer >= 0")
        if any(k in part.free_symbols for part in (n, x, y)):
            raise ProofError(f"{k} is bound")
        total = sp.Sum(sp.binomial(n, k) * x**k * y ** (n - k), (k, 0, n))
        return ctx.admit(total, "=", (x + y) ** n, "binomial theorem")


@dataclass(frozen=True)
class BinomialMoments:
    """E h(K) for K ~ Binomial(n, p), h a polynomial: E K(K-1)…(K-j+1) = n(n-1)…(n-j+1) p^j.

    That identity is the binomial theorem differentiated j times; h is rewritten in falling
    factorials by exact division.
    """

    k: sp.Symbol
    n: Any
    p: Any
    h: Any

    def prove(self, ctx: Context) -> Fact:
        k, n, p, h = self.k, ctx.term(self.n), ctx.term(self.p), as_term(self.h)
        ctx.require(ctx.domain.is_integer(n) and ctx.nonnegative(n), f"{n} is not an integer >= 0")
        if any(k in part.free_symbols for part in (n, p)):
            raise ProofError(f"{k} is bound")
        total = sp.Sum(sp.binomial(n, k) * p**k * (1 - p) ** (n - k) * h, (k, 0, n))
        ctx.inside(Integer(k, 0, n)).term(h)
        try:
            poly = sp.Poly(h, k)
        except sp.PolynomialError as problem:
            raise ProofError(f"{h} is not a polynomial in {k}: {problem}") from None
        if any(k in c.free_symbols for c in poly.all_coeffs()):
            raise ProofError(f"{h} is not a polynomial in {k}")
        coefficients = list(reversed(poly.all_coeffs()))
        result, j = sp.Integer(0), 0
        while coefficients:  # synthetic division by k, k-1, k-2, …: remainders are the answer
            remainder, quotient = _divide(coefficients, j)
            falling = sp.Mul(*((n - i) for i in range(j)))
            result += remainder * falling * p**j
            coefficients, j = quotient, j + 1
        return ctx.admit(total, "=", result, "binomial moments")


def _divide(coefficients: list[sp.Expr], root: int) -> tuple[sp.Expr, list[sp.Expr]]:
    """Divide a polynomial (lowest degree first) by (k - root)."""
    carry, quotient = sp.Integer(0), []
    for c in reversed(coefficients):
        carry = carry * root + c
        quotient.append(carry)
    remainder = quotient.pop()
    return remainder, list(reversed(quotient))


SCORE_MEANS = "expectation.score-means"  # the theorem that gives the two conditional means


@dataclass(frozen=True)
class Tower:
    """E[h · 1(a ≤ K ≤ b)] over i.i.d. binary rollouts, for h linear in the scores.

    Tower property: given the rewards the scores are independent with means ∇p/p (correct) and
    -∇p/(1-p) (wrong), so Σ_correct s has mean K ∇p/p and Σ_wrong s has mean -(G-K) ∇p/(1-p);
    K itself is Binomial(G, p). The rule writes h by K, Σ R_i s_i and Σ s_i and refuses any
    other dependence on the rollouts.
    """

    mean: RolloutMean
    k: sp.Symbol

    def prove(self, ctx: Context) -> Fact:
        if not isinstance(self.mean, RolloutMean):
            raise ProofError("not a mean over rollouts")
        ctx.term(self.mean)
        means = ctx.ledger.get(SCORE_MEANS)
        if means is None or means.verdict != "proved":
            raise ProofError(f"{SCORE_MEANS} is not proved (yet)")
        return ctx.admit(self.mean, "=", self.value(ctx), "tower property", means.grade)

    def value(self, ctx: Context) -> sp.Expr:
        """The sum over k, also for building the next line of a derivation."""
        h, low, high = self.mean.args
        group, k = ctx.domain.group, self.k
        if group is None or group.success is None or group.slope is None:
            raise ProofError("the domain has no random group")
        i, size, p = sp.Symbol("_0"), group.size, group.reward_rate
        if ctx.domain.variable(k) is not None or k in h.atoms(sp.Symbol):
            raise ProofError(f"{k} is not a fresh symbol")
        if h.has(RolloutMean, BetaMean, PoissonMean, sp.Derivative):
            raise Undecided("a mean or a derivative inside the update")
        for end in (low, high):
            ctx.require(ctx.domain.is_integer(end), f"the window {end} is not an integer")
        for bound in (low, size - high):
            ctx.require(ctx.nonnegative(bound), f"cannot show that the window {bound} >= 0")
        ctx.require(ctx.nonnegative(high - low), "cannot show that the window is not empty")
        h = _read_moments(h, group, k, ())
        inside = ctx.inside(Integer(k, low, high))
        up, all_ = sp.Symbol("_correct_scores"), sp.Symbol("_all_scores")
        score = group.scores[i, COORDINATE]
        h = h.xreplace(
            {
                sp.Sum(group.rewards[i] * score, (i, 1, size)): up,
                sp.Sum(score, (i, 1, size)): all_,
            }
        )
        if h.has(group.rewards, group.scores):
            raise Undecided(f"the update depends on the rollouts in another way: {h}")
        constant = h.xreplace({up: sp.Integer(0), all_: sp.Integer(0)})
        a = h.xreplace({up: sp.Integer(1), all_: sp.Integer(0)}) - constant
        b = h.xreplace({up: sp.Integer(0), all_: sp.Integer(1)}) - constant
        ctx.require(inside.zero(h - constant - a * up - b * all_), "not linear in the scores")
        slope = group.gain * group.slope[COORDINATE]
        mean_up = k * slope / p
        mean_all = mean_up - (size - k) * slope / (1 - p)
        value = constant + a * mean_up + b * mean_all
        weight = sp.binomial(size, k) * p**k * (1 - p) ** (size - k)
        return sp.Sum(weight * value, (k, low, high))


def _read_moments(h: sp.Expr, group: Any, k: sp.Symbol, around: tuple[Any, ...]) -> sp.Expr:
    """Expand the group sums of a term into Σ R = k, Σ R s, Σ s; only linear bodies are read."""
    if isinstance(h, sp.Sum):
        inner, var, low, high = peel(h)
        if low != 1 or high != group.size:
            raise Undecided(f"a sum over {low}..{high} inside the update")
        body = sp.expand(_read_moments(inner, group, k, (*around, var)))
        terms = sp.Add.make_args(body)
        return sp.Add(*(_read_term(term, group, k, var, around) for term in terms))
    if not h.args or not h.has(sp.Sum):
        return h
    return h.func(*(_read_moments(a, group, k, around) for a in h.args))


def _read_term(
    term: sp.Expr, group: Any, k: sp.Symbol, var: sp.Symbol, around: tuple[Any, ...]
) -> sp.Expr:
    """Σ over the group of one product; ``_0`` is the index of the sums that remain."""
    i = sp.Symbol("_0")
    fixed = moving = sp.Integer(1)
    for factor in sp.Mul.make_args(term):
        if var not in factor.free_symbols:
            fixed *= factor
            continue
        base, power = factor.as_base_exp()
        if base == group.rewards[var] and power.is_Integer and power > 0:
            factor = base  # a binary reward equals its powers
        moving *= factor
    factors = sp.Mul.make_args(moving)
    delta = next((f for f in factors if isinstance(f, sp.KroneckerDelta)), None)
    if delta is not None:  # Σ_j δ_ij f(j) = f(i), for an index i of the same range
        (other,) = (x for x in delta.args if x != var)
        rest = (moving / delta).xreplace({var: other})
        if other not in around or rest.has(sp.KroneckerDelta):
            raise Undecided(f"cannot sum {moving} over {var}")
        return fixed * rest
    reward, score = group.rewards[var], group.scores[var, COORDINATE]
    remaining = {var: i}
    readable = {
        sp.Integer(1): group.size,
        reward: k,
        score: sp.Sum(score.xreplace(remaining), (i, 1, group.size)),
        reward * score: sp.Sum((reward * score).xreplace(remaining), (i, 1, group.size)),
    }
    if moving not in readable:
        raise Undecided(f"the rollouts enter as {moving}")
    return fixed * readable[moving]


@dataclass(frozen=True)
class Differentiate:
    """d/dx by the sum, product, power and chain rules, term by term in a finite sum.

    The derivative of a root or of arcsin is written with the same root in a denominator, so that
    the next algebraic step must prove it non-zero: that is where the rule applies.
    """

    derivative: sp.Derivative

    def prove(self, ctx: Context) -> Fact:
        if type(self.derivative) is not sp.Derivative:
            raise ProofError("not a derivative")
        ctx.term(self.derivative)
        body, (var, count) = self.derivative.args
        if body.has(RolloutMean, PoissonMean, BetaMean):
            raise Undecided("a mean inside a derivative")
        if count != 1:
            raise ProofError("only first derivatives")
        return ctx.admit(self.derivative, "=", _diff(body, var, ctx), "differentiation rules")


def _diff(e: sp.Expr, x: sp.Symbol, ctx: Context) -> sp.Expr:
    if x not in e.free_symbols:
        return sp.Integer(0)
    if e == x:
        return sp.Integer(1)
    if e.is_Add:
        return sp.Add(*(_diff(a, x, ctx) for a in e.args))
    if e.is_Mul:
        first, rest = e.args[0], e.func(*e.args[1:])
        return _diff(first, x, ctx) * rest + first * _diff(rest, x, ctx)
    if e.is_Pow and x not in e.exp.free_symbols:
        if not (e.exp.is_Rational or ctx.domain.is_integer(e.exp)):
            raise Undecided(f"derivative of {e}")
        return e.exp * e.base ** (e.exp - 1) * _diff(e.base, x, ctx)
    if isinstance(e, sp.asin):
        return _diff(e.args[0], x, ctx) / sp.sqrt(1 - e.args[0] ** 2)
    if isinstance(e, sp.log):
        return _diff(e.args[0], x, ctx) / e.args[0]
    if isinstance(e, sp.exp):
        return e * _diff(e.args[0], x, ctx)
    if isinstance(e, sp.Sum):
        var, low, high = limits(e)
        if x in (low + high).free_symbols or var == x:
            raise Undecided(f"the limits of {e} move with {x}")
        inside = ctx.inside(Integer(var, low, high)) if ctx.domain.variable(var) is None else ctx
        return sp.Sum(_diff(e.function, x, inside), (var, low, high))
    if isinstance(e, sp.Function) and len(e.args) == 1 and e.args[0] == x:
        return sp.Derivative(e, x)
    if (
        isinstance(e, sp.Function)
        and e.args[-1] == x
        and not any(x in a.free_symbols for a in e.args[:-1])
    ):
        return sp.Derivative(e, x)
    raise Undecided(f"no differentiation rule for {e}")


@dataclass(frozen=True)
class BetaIntegral:
    """E[p^m (1-p)^n] = B(a+m, b+n)/B(a, b) for p ~ Beta(a, b): Euler's integral defines B."""

    mean: BetaMean
    m: Any
    n: Any

    def prove(self, ctx: Context) -> Fact:
        if type(self.mean) is not BetaMean:
            raise ProofError("not a mean over a Beta law")
        ctx.term(self.mean)
        h, p, a, b = self.mean.args
        m, n = ctx.term(self.m), ctx.term(self.n)  # p is bound, so they cannot mention it
        if h != p**m * (1 - p) ** n:
            raise ProofError(f"{h} is not p^m (1-p)^n")
        for part in (m, n):
            ctx.require(ctx.nonnegative(part), f"cannot show {part} >= 0")
        for part in (a, b):
            ctx.require(ctx.algebra.nonnegative(part, strict=True), f"cannot show {part} > 0")
        value = sp.beta(a + m, b + n) / sp.beta(a, b)
        return ctx.admit(self.mean, "=", value, "Euler's beta integral")


@dataclass(frozen=True)
class Square:
    """0 ≤ e², or 0 ≤ Σ_i e² over the group when an index is named. Reals only, by the domain."""

    root: Any
    index: Any = None

    def prove(self, ctx: Context) -> Fact:
        if self.index is None:
            square = ctx.term(self.root) ** 2
        else:
            if ctx.domain.group is None:
                raise ProofError("no group to sum over")
            size = ctx.domain.group.size
            square = ctx.inside(Integer(self.index, 1, size)).term(self.root) ** 2
            square = sp.Sum(square, (self.index, 1, size))
        return ctx.admit(0, "<=", square, "a square is non-negative")


@dataclass(frozen=True)
class Nonnegative:
    """0 ≤ e, by slacks: all coefficients non-negative in the distances to the bounds."""

    expr: Any
    strict = False

    def prove(self, ctx: Context) -> Fact:
        e = ctx.term(self.expr)
        ctx.require(ctx.algebra.nonnegative(e, self.strict), f"cannot show the sign of {e}")
        return ctx.admit(0, "<" if self.strict else "<=", e, "positivity by slacks")


@dataclass(frozen=True)
class Positive(Nonnegative):
    """0 < e, by slacks."""

    strict = True


@dataclass(frozen=True)
class Ball:
    """A relation between closed terms, by Arb balls: guaranteed enclosures of both sides."""

    lhs: Any
    relation: str
    rhs: Any

    def prove(self, ctx: Context) -> Fact:
        lhs, rhs = ctx.term(self.lhs), ctx.term(self.rhs)
        if self.relation not in ("<", "<=") or _open(lhs) or _open(rhs):
            raise ProofError("balls compare closed terms by < or <=")
        ctx.require(compare(lhs, self.relation, rhs, {}) is True, f"not shown: {lhs} vs {rhs}")
        rational = type(difference(lhs, rhs, {})).__name__ == "fmpq"
        if rational:
            return ctx.admit(lhs, self.relation, rhs, "rational arithmetic")
        return ctx.admit(lhs, self.relation, rhs, "ball arithmetic", "rigorous")


def _open(e: sp.Expr) -> bool:
    return bool(e.free_symbols - bound_variables(e)) or bool(e.atoms(sp.Indexed))


def bound_variables(e: sp.Expr) -> set[Any]:
    sums = {limit[0] for s in e.atoms(sp.Sum) for limit in s.limits}
    return sums | {m.args[1] for m in e.atoms(BetaMean, PoissonMean)}


@dataclass(frozen=True)
class Instance:
    """An earlier theorem's clause with terms put for its variables.

    Each variable's term must be shown to lie in that variable's range, and each arbitrary
    function may be replaced by any term in its argument. Verdict and grade are inherited.
    """

    theorem: str
    clause: str
    terms: tuple[tuple[Any, Any], ...] = ()

    def prove(self, ctx: Context) -> Fact:
        done = ctx.ledger.get(self.theorem)
        if done is None:
            raise ProofError(f"{self.theorem} is not proved (yet)")
        clause, grade = done.clause(self.clause)
        mapping = dict(self.terms)
        replace: dict[Any, Any] = {}
        for d in clause.domain.declarations:
            if hasattr(d, "symbol"):
                term = ctx.term(mapping.pop(d.symbol, d.symbol))
                self._within(ctx, d, term, replace)
                replace[d.symbol] = term
            elif hasattr(d, "function"):
                if d.function in mapping:
                    replace[d.function] = self._function(ctx, mapping.pop(d.function))
                elif d not in ctx.domain.declarations:
                    raise ProofError(f"no term for the function {d.function}")
            else:  # a group: taken over as it is, never re-interpreted
                mine = ctx.domain.group
                if mine != d:
                    raise ProofError(f"the group of {self.theorem} is not the group here")
                for s in d.parameters:
                    if replace.get(s, s) != s:
                        raise ProofError(f"{s} belongs to the group and stays as it is")
        if mapping:
            raise ProofError(f"{self.theorem} has no variables {sorted(map(str, mapping))}")
        sides = (clause.claim.lhs, clause.claim.rhs)
        lhs, rhs = (_substitute(e, replace, ctx.domain) for e in sides)
        return ctx.admit(lhs, clause.claim.relation, rhs, f"theorem {self.theorem}", grade)

    @staticmethod
    def _function(ctx: Context, value: Any) -> sp.Lambda:
        if value is sp.S.IdentityFunction:  # as SymPy writes n -> n
            return value
        if type(value) is not sp.Lambda or len(value.variables) != 1:
            raise ProofError("an arbitrary function is replaced by a Lambda of one variable")
        ctx.inside(Integer(value.variables[0], None)).term(value.expr)
        return value

    def _within(self, ctx: Context, d: Any, term: sp.Expr, replace: dict[Any, Any]) -> None:
        here = ctx.domain.variable(term) if term.is_Symbol else None
        same = here is not None and here == d
        if same and not (set(replace) & bound_symbols(d)):
            return
        if isinstance(d, Integer):
            ctx.require(ctx.domain.is_integer(term), f"{term} is not shown to be an integer")
        for bound, sign, strict in (
            (d.low, 1, not isinstance(d, Integer) and d.open_low),
            (d.high, -1, not isinstance(d, Integer) and d.open_high),
        ):
            if bound is None:
                continue
            gap = sign * (term - _substitute(sp.sympify(bound), replace, ctx.domain))
            ctx.require(
                ctx.algebra.nonnegative(gap, strict),
                f"cannot show that {d.symbol} := {term} obeys the bound {bound}",
            )


def _substitute(e: sp.Expr, replace: dict[Any, Any], domain: Domain) -> sp.Expr:
    """Simultaneous substitution; bound variables must not be captured."""
    bound = bound_variables(e)
    incoming: set[Any] = set()
    for new in replace.values():
        incoming |= depends_on(new, domain) if isinstance(new, sp.Basic) else set()
    if bound & (incoming | {s for s in replace if isinstance(s, sp.Symbol)}):
        raise ProofError(f"the substitution touches bound variables {sorted(map(str, bound))}")
    for derivative in e.atoms(sp.Derivative):
        var = derivative.args[1][0]
        moved = [new for s, new in replace.items() if s != var and isinstance(new, sp.Basic)]
        if replace.get(var, var) != var or any(var in depends_on(new, domain) for new in moved):
            raise ProofError(f"the substitution touches the variable {var} of a derivative")
    functions = {
        f: new for f, new in replace.items() if isinstance(f, sp.core.function.FunctionClass)
    }
    for f, new in functions.items():
        e = e.replace(f, new)
    return e.xreplace({s: new for s, new in replace.items() if isinstance(s, sp.Symbol)})


@dataclass(frozen=True)
class Hypothesis:
    """The induction hypothesis of the surrounding induction step."""

    def prove(self, ctx: Context) -> Fact:
        if ctx.hypothesis is None:
            raise ProofError("there is no induction hypothesis here")
        h = ctx.hypothesis
        return ctx.admit(h.lhs, h.relation, h.rhs, "induction hypothesis")


@dataclass(frozen=True)
class Cite:
    """A named fact of the literature (``proofs/kernel/facts.py``), its hypotheses discharged."""

    name: str
    terms: tuple[tuple[Any, Any], ...]

    def prove(self, ctx: Context) -> Fact:
        if self.name not in FACTS:
            raise ProofError(f"unknown fact {self.name}")
        fact, replace = FACTS[self.name], dict(self.terms)
        if set(replace) != set(fact.variables):
            raise ProofError(f"{self.name} needs terms for {fact.variables}")
        for positive in fact.positive:
            term = positive.xreplace(replace)
            ctx.require(ctx.algebra.nonnegative(term, strict=True), f"cannot show {term} > 0")
        for integer in fact.integers:
            ctx.require(ctx.domain.is_integer(replace[integer]), f"{integer} is not an integer")
        for term in replace.values():
            ctx.term(term)
        lhs, rhs = (_substitute(e, replace, ctx.domain) for e in (fact.lhs, fact.rhs))
        return ctx.admit(lhs, fact.relation, rhs, f"literature: {fact.reference}", "cited")


RULES: tuple[type, ...] = (
    Ball,
    BetaIntegral,
    BinomialMoments,
    BinomialTheorem,
    Cite,
    Cut,
    Differentiate,
    DropTerms,
    Hypothesis,
    Instance,
    Linear,
    Nonnegative,
    Positive,
    Reverse,
    Shift,
    Split,
    Square,
    Telescope,
    Termwise,
    Tower,
    Unroll,
)
