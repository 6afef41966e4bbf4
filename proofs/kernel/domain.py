"""Typed domains: the one object from which symbols, checks, samples and LaTeX come.

A domain is an ordered tuple of declarations; a bound may mention earlier variables. Besides
plain variables there are :class:`Group` (one sampled group: rewards and scores indexed by rollout),
:class:`Table` (an arbitrary function of an integer) and those of :mod:`proofs.kernel.arrays`:
arrays, assumptions about them, and draws from a law.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

import sympy as sp
from flint import fmpq

from proofs.kernel.arrays import Array, Assumption, Draws
from proofs.kernel.errors import MalformedTheorem, UndefinedValue
from proofs.kernel.names import check_apart, check_function, check_name
from proofs.kernel.terms import as_term, is_rational, is_settled

__all__ = [
    "COORDINATE",
    "SCORES",
    "Array",
    "Assumption",
    "D",
    "Declaration",
    "Domain",
    "Draws",
    "Group",
    "Integer",
    "Point",
    "Real",
    "Table",
    "as_point",
    "is_plain",
    "names_of",
    "parts_of",
]

Point = dict[Any, Any]
D = sp.Symbol("D")  # number of score coordinates: scores are vectors of any dimension
COORDINATE = sp.Symbol("d")
REWARDS, SCORE = sp.IndexedBase("R"), sp.IndexedBase("s")


def _settle_bounds(d: Integer | Real) -> None:
    """Bounds become terms once, so that every check sees the same ones."""
    for name in ("low", "high"):
        bound = getattr(d, name)
        object.__setattr__(d, name, None if bound is None else as_term(bound))


def _in_words(bound: Any) -> str:
    """A bound as people write it: with ^ for powers."""
    return str(bound).replace("**", "^")


@dataclass(frozen=True)
class Integer:
    """An integer with inclusive bounds; ``high=None`` means unbounded."""

    symbol: sp.Symbol
    low: Any
    high: Any = None
    spread: int = 9  # how far above ``low`` samples go when there is no upper bound

    def __post_init__(self) -> None:
        _settle_bounds(self)

    def latex(self) -> str:
        s, low = sp.latex(self.symbol), sp.latex(sp.sympify(self.low))
        if self.high is None:
            return rf"{s} \in \mathbb{{Z}},\ {s} \ge {low}"
        return rf"{s} \in \mathbb{{Z}},\ {low} \le {s} \le {sp.latex(sp.sympify(self.high))}"

    def words(self) -> str:
        if self.high is None:
            return f"{self.symbol} integer, {self.symbol} >= {_in_words(self.low)}"
        low, high = _in_words(self.low), _in_words(self.high)
        return f"{self.symbol} integer, {low} <= {self.symbol} <= {high}"


@dataclass(frozen=True)
class Real:
    """A real number in an interval; an infinite end is ``None``."""

    symbol: sp.Symbol
    low: Any = None
    high: Any = None
    open_low: bool = True
    open_high: bool = True
    samples: tuple[Any, ...] = ()  # points at which both sides can be evaluated, to draw from

    def __post_init__(self) -> None:
        _settle_bounds(self)

    def latex(self) -> str:
        s = sp.latex(self.symbol)
        low = r"-\infty" if self.low is None else sp.latex(sp.sympify(self.low))
        high = r"\infty" if self.high is None else sp.latex(sp.sympify(self.high))
        left = "(" if self.open_low or self.low is None else "["
        right = ")" if self.open_high or self.high is None else "]"
        return rf"{s} \in {left}{low}, {high}{right}"

    def words(self) -> str:
        low = "-inf" if self.low is None else _in_words(self.low)
        high = "inf" if self.high is None else _in_words(self.high)
        left = "(" if self.open_low or self.low is None else "["
        right = ")" if self.open_high or self.high is None else "]"
        return f"{self.symbol} real, in {left}{low}, {high}{right}"


@dataclass(frozen=True)
class Group:
    """One sampled group: rewards R[i] and score coordinates s[i, d], i = 1..G, d = 1..D.

    ``correct`` names k = Σ R_i and makes the rewards binary; without it the rewards are any
    reals, and ``spread`` demands that they are not all equal (σ > 0). ``success`` makes the
    rollouts random and i.i.d. with that success probability; ``slope`` is then the gradient ∇p,
    and the conditional score means are ∇p/p (correct) and -∇p/(1-p) (wrong), which
    ``expectation.score-means`` proves. ``flip`` = (t, f) makes the rewards noisy: a correct
    response is rewarded with probability t, a wrong one with probability f.
    """

    size: sp.Symbol
    rewards: sp.IndexedBase = REWARDS
    scores: sp.IndexedBase = SCORE
    correct: sp.Symbol | None = None
    spread: bool = False
    success: sp.Symbol | None = None
    slope: sp.IndexedBase | None = None
    flip: tuple[sp.Symbol, sp.Symbol] | None = None

    @property
    def bases(self) -> tuple[sp.IndexedBase, ...]:
        """The arrays: rewards, scores and, if there is one, the slope."""
        return tuple(b for b in (self.rewards, self.scores, self.slope) if b is not None)

    def latex(self) -> str:
        kind = r"\{0,1\}" if self.binary else r"\mathbb{R}"
        R, s = sp.latex(self.rewards.label), sp.latex(self.scores.label)
        text = rf"{R}_i \in {kind},\ {s}_i \in \mathbb{{R}}^D,\ 1 \le i \le {sp.latex(self.size)}"
        if self.correct is not None:
            text += rf",\ \textstyle\sum_i {R}_i = {sp.latex(self.correct)}"
        if self.spread:
            text += r",\ \sigma > 0"
        if self.success is not None:
            p = sp.latex(self.success)
            text += rf",\ ({R}_i, {s}_i)\ \text{{i.i.d.}},\ \Pr({R}_i = 1) = {p}"
            text += rf",\ \mathrm{{E}}[{s}_i] = 0,\ \mathrm{{E}}[{R}_i {s}_i] = \nabla {p}"
        if self.flip is not None:
            t, f = map(sp.latex, self.flip)
            text += rf",\ \text{{rewarded with probability }}{t}\text{{ or }}{f}"
        return text

    def words(self) -> str:
        text = f"rewards {self.rewards}[1..{self.size}] " + ("binary" if self.binary else "real")
        if self.correct is not None:
            text += f" with sum {self.correct}"
        if self.spread:
            text += ", not all equal"
        if self.success is not None:
            text += f", i.i.d. rollouts with success probability {self.success}"
            text += f" of gradient {self.slope}[d]" if self.slope is not None else ""
        if self.flip is not None:
            text += f", rewarded with probability {self.flip[0]} if correct, {self.flip[1]} if not"
        return text + f", scores {self.scores}[i, d] in R^D"

    @property
    def reward_rate(self) -> sp.Expr:
        """Probability that a rollout is rewarded: p, or f + (t-f)p under a noisy verifier."""
        if self.flip is None:
            return self.success
        t, f = self.flip
        return f + (t - f) * self.success

    @property
    def gain(self) -> sp.Expr:
        """E[R_i s_i] / ∇p: 1, or t - f under a noisy verifier."""
        return sp.Integer(1) if self.flip is None else self.flip[0] - self.flip[1]

    @property
    def binary(self) -> bool:
        return self.correct is not None or self.success is not None

    @property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The variables that shape the group, or the law of its rollouts."""
        named = (self.size, D, COORDINATE, self.correct, self.success, *(self.flip or ()))
        return tuple(s for s in named if s is not None)


@dataclass(frozen=True)
class Table:
    """An arbitrary real function of one integer argument."""

    function: Any

    def latex(self) -> str:
        return rf"{self.function.__name__}: \mathbb{{Z}} \to \mathbb{{R}}\ \text{{arbitrary}}"

    def words(self) -> str:
        return f"{self.function.__name__} an arbitrary function of an integer"


SCORES = (Integer(D, 1, spread=2), Integer(COORDINATE, 1, D))  # declare these before a group

Declaration = Integer | Real | Group | Table | Array | Assumption | Draws


def names_of(d: Declaration) -> tuple[sp.Symbol, ...]:
    """The names that a declaration brings: of a variable, of arrays, or of a function."""
    if isinstance(d, Integer | Real):
        return (d.symbol,)
    if isinstance(d, Group):
        return tuple(base.label for base in d.bases)
    if isinstance(d, Array | Draws):
        return (d.base.label,)
    if isinstance(d, Assumption):
        return ()
    return (sp.Symbol(d.function.__name__),)


def parts_of(d: Declaration) -> list[sp.Expr]:
    """The terms that a declaration is made with."""
    if isinstance(d, Integer | Real | Array):
        shape = d.shape if isinstance(d, Array) else ()
        return [part for part in (d.low, d.high, *shape) if part is not None]
    if isinstance(d, Assumption):
        return [d.value]
    if isinstance(d, Draws):
        return [d.size]
    return list(d.parameters) if isinstance(d, Group) else []


def exact(value: Any) -> fmpq:
    """A Python, SymPy or FLINT rational as an fmpq."""
    if isinstance(value, fmpq):
        return value
    if isinstance(value, int):
        return fmpq(value)
    if isinstance(value, Fraction):
        return fmpq(value.numerator, value.denominator)
    if isinstance(value, sp.Rational):
        return fmpq(int(value.p), int(value.q))
    raise TypeError(f"not an exact rational: {value!r}")


def _table(values: dict[int, fmpq]) -> Callable[[int], fmpq]:
    def value(n: int) -> fmpq:
        if n not in values:
            raise UndefinedValue(f"the table has no value at {n}")
        return values[n]

    return value


def _given(d: Declaration, point: Point) -> bool:
    if isinstance(d, Group):
        return {d.rewards, d.scores} <= set(point) or d.slope in point
    if isinstance(d, Array):
        return d.base in point
    if isinstance(d, Assumption):
        return d.array in point
    return isinstance(d, Table) and d.function in point


def as_point(pairs: Any) -> Point:
    """A witness as written down: numbers and (nested) lists of numbers become exact."""

    def convert(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [convert(v) for v in value]
        if isinstance(value, sp.Dict):  # an arbitrary function, as a table
            return _table({int(n): exact(v) for n, v in value.items()})
        return exact(value)

    return {key: convert(value) for key, value in pairs}


def _check_names(declarations: Any, before: Any = ()) -> None:
    """Names are plain symbols without assumptions, used once, none with a leading underscore."""
    names = [v.symbol for v in before if isinstance(v, Integer | Real)]
    arrays: list[sp.Symbol] = []
    for d in declarations:
        if isinstance(d, Integer | Real):
            if isinstance(d, Real) and d.samples:
                _check_samples(d.symbol, d.samples)
        elif isinstance(d, Group | Array | Draws):
            arrays += names_of(d)
            for base in d.bases if isinstance(d, Group) else (d.base,):
                if type(base) is not sp.IndexedBase or base != sp.IndexedBase(base.label.name):
                    raise MalformedTheorem(
                        f"{base} carries assumptions; types belong to the domain"
                    )
            if isinstance(d, Array) and d.samples:
                _check_samples(d.base, d.samples)
        elif isinstance(d, Assumption):
            pass
        elif not isinstance(d, Table):
            raise MalformedTheorem(f"a domain is made of declarations; {d!r} is none")
        else:
            check_function(d.function)
        for s in names_of(d):
            check_name(s)
        names += names_of(d)
    check_apart(names, arrays)


def _check_samples(name: Any, samples: tuple[Any, ...]) -> None:
    if not all(is_rational(as_term(x)) for x in samples):
        raise MalformedTheorem(f"{name}: sample points are rational numbers")
    if len(set(samples)) < 6:
        raise MalformedTheorem(f"{name}: fewer than six sample points")


def is_plain(bound: sp.Expr) -> bool:
    """Rational arithmetic on variables: nothing in it can depend on the rollouts or an index."""
    if is_rational(bound):
        return True
    if bound.args and not is_settled(bound):
        return False
    if type(bound) is sp.Pow:
        return bool(bound.exp.is_Integer) and is_plain(bound.base)
    if type(bound) in (sp.Add, sp.Mul):
        return all(is_plain(a) for a in bound.args)
    return type(bound) is sp.Symbol


def _within_unit(d: Integer | Real, *, inside: bool) -> bool:
    """Whether a variable is a real number from 0 to 1, without the ends if ``inside``."""
    if not isinstance(d, Real) or not isinstance(d.low, sp.Rational):
        return False
    if not isinstance(d.high, sp.Rational):
        return False
    low, high = exact(d.low), exact(d.high)
    above = low > 0 or (low == 0 and (d.open_low or not inside))
    return bool(above and (high < 1 or (high == 1 and (d.open_high or not inside))))


def _check_bounds(d: Integer | Real | Array, name: Any, seen: set[Any]) -> None:
    for bound in (d.low, d.high):
        free = bound.free_symbols if bound is not None else set()
        if bound is not None and not is_plain(bound):
            raise MalformedTheorem(
                f"the bound {bound} is not made of + · / and whole powers of rationals"
            )
        if not free <= seen:
            raise MalformedTheorem(f"bound {bound} of {name} is not declared yet")


def _check_array(d: Array | Assumption | Draws, before: Any, seen: set[Any]) -> None:
    arrays = {x.base: x for x in before if isinstance(x, Array)}
    if isinstance(d, Assumption):
        array = arrays.get(d.array)
        if array is None or array.law:
            raise MalformedTheorem(f"{d.array} is no array that was declared before, or is a law")
        if len(d.indices) != len(array.shape):
            raise MalformedTheorem(f"{d.entry} has {len(d.indices)} indices")
        if any(isinstance(x, Assumption) and x.array == d.array for x in before):
            raise MalformedTheorem(f"two assumptions about {d.array}")
        taken = [s for x in before for s in names_of(x)]
        for index in d.indices:
            check_name(index)
        check_apart((*d.indices, *taken), [b.label for b in arrays])
        if d.value.has(d.array) or d.array.label in d.value.free_symbols:
            raise MalformedTheorem(f"the assumption about {d.array} mentions {d.array} itself")
        used = {s for s in d.value.free_symbols if isinstance(s, sp.Symbol)}
        if not used <= {*taken, *d.indices}:
            raise MalformedTheorem(f"the assumption about {d.array} mentions what is not declared")
        return
    sizes = d.shape if isinstance(d, Array) else (d.size,)
    known = {x.symbol: x for x in before if isinstance(x, Integer)}
    for size in sizes:
        low = known[size].low if size in known else None
        if not isinstance(low, sp.Integer) or low < 1:
            raise MalformedTheorem(f"{size} is no integer >= 1 that was declared before {d.base}")
    if isinstance(d, Draws):
        law = arrays.get(d.law)
        if law is None or not law.law or len(law.shape) != 1:
            raise MalformedTheorem(f"{d.law} is no law (of one index) that was declared before")
        if any(isinstance(x, Draws) for x in before):
            raise MalformedTheorem("one set of draws per domain")
        return
    if not 1 <= len(d.shape) <= 3:
        raise MalformedTheorem(f"{d.base} has {len(d.shape)} indices")
    if d.law and (d.low is not None or d.high is not None or d.integer):
        raise MalformedTheorem(f"{d.base} is a law: its bounds are 0 and 1")
    _check_bounds(d, d.base, seen)


@dataclass(frozen=True)
class Domain:
    declarations: tuple[Declaration, ...] = ()

    def __init__(self, *declarations: Declaration) -> None:
        object.__setattr__(self, "declarations", declarations)
        _check_names(declarations)
        seen: set[Any] = set()
        for n, d in enumerate(declarations):
            if isinstance(d, Integer | Real):
                _check_bounds(d, d.symbol, seen)
                seen.add(d.symbol)
            elif isinstance(d, Array | Assumption | Draws):
                _check_array(d, declarations[:n], seen)
            elif isinstance(d, Group):
                needed = {d.size, D} | ({d.correct} if d.correct is not None else set())
                needed |= {d.success} if d.success is not None else set()
                needed |= set(d.flip or ())
                if not needed <= seen:
                    raise MalformedTheorem(f"declare {needed - seen} before the group")
                bounds = {x.symbol: x for x in declarations if isinstance(x, Integer | Real)}
                if not isinstance(bounds[d.size], Integer):
                    raise MalformedTheorem("the group size must be an integer variable")
                if d.correct is not None and not isinstance(bounds[d.correct], Integer):
                    raise MalformedTheorem("the number correct must be an integer variable")
                if d.success is not None and not _within_unit(bounds[d.success], inside=True):
                    raise MalformedTheorem(f"{d.success} must range within (0, 1)")
                if d.success is not None and (d.correct is not None or d.spread):
                    raise MalformedTheorem("a random group leaves its rewards to chance")
                if d.flip is not None and d.success is None:
                    raise MalformedTheorem("a noisy verifier needs a success probability")
                for rate in d.flip or ():
                    if not _within_unit(bounds[rate], inside=False):
                        raise MalformedTheorem(f"{rate} must range within [0, 1]")

    @classmethod
    def internal(cls, *declarations: Declaration) -> Domain:
        """For the kernel's own helper variables, whose names start with an underscore."""
        domain = cls.__new__(cls)
        object.__setattr__(domain, "declarations", declarations)
        return domain

    # -- structure ---------------------------------------------------------------------------
    def extended(self, *more: Declaration) -> Domain:
        _check_names(more, self.declarations)
        return Domain.internal(*self.declarations, *more)

    def without(self, symbol: sp.Symbol) -> Domain:
        keep = (d for d in self.declarations if getattr(d, "symbol", None) != symbol)
        return Domain(*keep)

    def replaced(self, symbol: sp.Symbol, new: Declaration) -> Domain:
        return Domain(
            *(new if getattr(d, "symbol", None) == symbol else d for d in self.declarations)
        )

    def means(self, other: Domain) -> bool:
        """Whether both have the same points: where samples are drawn from does not matter."""

        def meaning(d: Declaration) -> Declaration:
            if isinstance(d, Integer):
                return replace(d, spread=0)
            if isinstance(d, Assumption):
                return replace(d, meaning="")
            if not isinstance(d, Real | Array):
                return d
            open_low, open_high = d.open_low or d.low is None, d.open_high or d.high is None
            return replace(d, samples=(), open_low=open_low, open_high=open_high)

        mine, theirs = map(meaning, self.declarations), map(meaning, other.declarations)
        return tuple(mine) == tuple(theirs)

    @property
    def variables(self) -> tuple[Integer | Real, ...]:
        return tuple(d for d in self.declarations if isinstance(d, Integer | Real))

    @property
    def group(self) -> Group | None:
        groups = [d for d in self.declarations if isinstance(d, Group)]
        if len(groups) > 1:
            raise MalformedTheorem("one group per domain")
        return groups[0] if groups else None

    @property
    def arrays(self) -> dict[Any, Array]:
        return {d.base: d for d in self.declarations if isinstance(d, Array)}

    @property
    def draws(self) -> Draws | None:
        return next((d for d in self.declarations if isinstance(d, Draws)), None)

    def with_any_draws(self) -> Domain | None:
        """With the draws as an array of their own: any outcomes; None if there are no draws."""
        draws = self.draws
        if draws is None:
            return None
        (outcomes,) = self.arrays[draws.law].shape
        some = Array(draws.base, (draws.size,), 1, outcomes, integer=True)
        return Domain.internal(*(some if d is draws else d for d in self.declarations))

    @property
    def randomness(self) -> Point:
        """What a point needs to know beside values: how the group and the draws are random."""
        parts = {"group": self.group, "draws": self.draws}
        return {key: part for key, part in parts.items() if part is not None}

    @property
    def sizes(self) -> set[Any]:
        """What arrays, groups and draws are indexed up to."""
        found = {size for d in self.arrays.values() for size in d.shape}
        found |= {self.draws.size} if self.draws is not None else set()
        return found | ({self.group.size} if self.group is not None else set())

    def shapes(self, symbol: sp.Symbol) -> bool:
        """Whether another declaration depends on the variable."""
        return any(
            symbol in part.free_symbols
            for d in self.declarations
            if getattr(d, "symbol", None) != symbol
            for part in parts_of(d)
        )

    def variable(self, symbol: sp.Symbol) -> Integer | Real | None:
        return next((v for v in self.variables if v.symbol == symbol), None)

    def constant(self, symbol: sp.Symbol) -> sp.Integer | None:
        """The value of an integer variable whose bounds leave only one."""
        v = self.variable(symbol)
        if not isinstance(v, Integer) or v.high is None:
            return None
        ends = []
        for bound in (sp.sympify(v.low), sp.sympify(v.high)):
            known = {s: self.constant(s) for s in bound.free_symbols}
            if None in known.values():
                return None
            ends.append(bound.subs(known))
        return ends[0] if ends[0] == ends[1] and ends[0].is_Integer else None

    def is_integer(self, expr: sp.Expr) -> bool:
        """Whether an expression is an integer polynomial in integer variables."""
        expr = sp.sympify(expr)
        if expr.is_Integer:
            return True
        if expr.is_Symbol:
            return isinstance(self.variable(expr), Integer)
        if expr.is_Add or expr.is_Mul:
            return all(self.is_integer(a) for a in expr.args)
        if expr.is_Pow and expr.exp.is_Integer and expr.exp >= 0:
            return self.is_integer(expr.base)
        if isinstance(expr, sp.Indexed):
            array = self.arrays.get(expr.base)
            return array is not None and array.integer
        if isinstance(expr, sp.Sum) and self.group is not None and self.group.binary:
            group, ((var, low, high), *more) = self.group, expr.limits
            counts = expr.function == group.rewards[var] and not more
            return bool(counts and low == 1 and high == group.size)
        return False

    def latex(self) -> list[str]:
        return [d.latex() for d in self.declarations]

    def words(self, show: Callable[[sp.Expr], str] = str) -> list[str]:
        """Each declaration in words; ``show`` prints the terms of assumptions."""
        return [
            d.words(show) if isinstance(d, Assumption) else d.words() for d in self.declarations
        ]

    # -- membership and samples --------------------------------------------------------------
    def contains(self, point: Point) -> str | None:
        """None if the (exact rational) point is in the domain, else the rule that it breaks."""
        from proofs.kernel.semantics import evaluate  # the meaning of bounds

        for d in self.declarations:
            if isinstance(d, Integer | Real):
                if d.symbol not in point:
                    return f"{d.symbol} has no value"
                value = exact(point[d.symbol])
                if isinstance(d, Integer) and value.q != 1:
                    return f"{d.symbol} = {value} is not an integer"
                for bound, sign, strict in (
                    (d.low, 1, isinstance(d, Real) and d.open_low),
                    (d.high, -1, isinstance(d, Real) and d.open_high),
                ):
                    if bound is None:
                        continue
                    gap = (value - exact(evaluate(sp.sympify(bound), point))) * sign
                    if gap < 0 or (strict and gap == 0):
                        return f"{d.symbol} = {value} violates its bound {bound}"
            elif isinstance(d, Group | Array | Assumption):
                problem = self._problem(d, point)
                if problem:
                    return problem
            elif isinstance(d, Draws):
                continue  # random: they have no value at a point
            elif d.function not in point:
                return f"{d.function} has no value"
        return None

    def excludes(self, point: Point) -> bool:
        """Whether a point that gives every variable a value breaks one of the rules."""
        if not {v.symbol for v in self.variables} <= set(point):
            return False
        # A group or function that the point leaves out says nothing about it.
        known = (d for d in self.declarations if isinstance(d, Integer | Real) or _given(d, point))
        return Domain.internal(*known).contains(point) is not None

    def _group_problem(self, d: Group, point: Point) -> str | None:
        if d.success is not None:
            if d.slope is None:
                return None
            if d.slope not in point:
                return "the group has no slope"
            wanted = exact(point[D])
            return None if len(point[d.slope]) == wanted else f"the slope has not {wanted} entries"
        size = int(exact(point[d.size]).p)
        rewards, scores = point.get(d.rewards), point.get(d.scores)
        if rewards is None or scores is None:
            return "the group has no rewards or scores"
        if len(rewards) != size or len(scores) != size:
            return f"the group has {len(rewards)} rewards, not {size}"
        if len({len(row) for row in scores}) != 1 or len(scores[0]) != point[D]:
            return "the scores differ in dimension"
        if d.binary and not all(exact(r) in (0, 1) for r in rewards):
            return "the rewards are not binary"
        if d.correct is not None and sum(map(exact, rewards), fmpq(0)) != exact(point[d.correct]):
            return f"the rewards do not sum to {d.correct}"
        if d.spread and len({exact(r) for r in rewards}) < 2:
            return "the rewards are all equal"
        return None

    def _problem(self, d: Group | Array | Assumption, point: Point) -> str | None:
        if isinstance(d, Group):
            return self._group_problem(d, point)
        return _array_problem(d, point) if isinstance(d, Array) else self._broken(d, point)

    def _broken(self, d: Assumption, point: Point) -> str | None:
        from proofs.kernel.semantics import compare

        shape = [int(exact(point[n]).p) for n in self.arrays[d.array].shape]
        for at in product(*(range(1, n + 1) for n in shape)):
            here = {**point, **dict(zip(d.indices, map(fmpq, at), strict=True))}
            if compare(d.entry, "=", d.value, here) is not True:  # exactly
                return f"the assumption does not hold: {d.meaning}"
        return None

    def points(
        self, seed: str, wanted: int, near: tuple[int, ...] = (), *, anywhere: bool = False
    ) -> Iterator[Point]:
        """Reproducible exact rational points of the domain, corners of it first.

        ``near`` are integers worth a try, such as those that occur in a statement; ``anywhere``
        looks at the whole interval of a real variable, whatever samples its author asks for.
        """
        from proofs.kernel.sampling import draw

        rng = random.Random(seed)
        found = 0
        for attempt in range(60 * wanted):
            point = draw(self, rng, corner=attempt % 3 == 0, near=near, anywhere=anywhere)
            if point is None or self.contains(point) is not None:
                continue
            yield point
            found += 1
            if found == wanted:
                return


def _array_problem(d: Array, point: Point) -> str | None:
    from proofs.kernel.semantics import evaluate

    if d.base not in point:
        return f"{d.base} has no value"
    shape = [int(exact(point[n]).p) for n in d.shape]
    low, high, open_low, open_high = d.bounds
    ends = [
        (exact(evaluate(bound, point)), bound, sign, strict)
        for bound, sign, strict in ((low, 1, open_low), (high, -1, open_high))
        if bound is not None
    ]

    def problem(part: Any, sizes: list[int]) -> str | None:
        if not sizes:
            value = exact(part)
            if d.integer and value.q != 1:
                return f"{d.base} has the entry {value}, not an integer"
            for end, bound, sign, strict in ends:
                gap = (value - end) * sign
                if gap < 0 or (strict and gap == 0):
                    return f"{d.base} has the entry {value}, which violates the bound {bound}"
            return None
        if not isinstance(part, list) or len(part) != sizes[0]:
            return f"{d.base} has not {sizes[0]} entries"
        if d.law and len(sizes) == 1 and sum(map(exact, part), fmpq(0)) != 1:
            return f"the probabilities {d.base} do not sum to 1"
        return next((p for p in (problem(x, sizes[1:]) for x in part) if p), None)

    return problem(point[d.base], shape)
