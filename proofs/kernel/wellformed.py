"""Which terms have a meaning at every point of a domain. Everything that enters passes here.

Two questions are answered together, by recursion: is the term *well-formed* (known node types
only, plain symbols, every free symbol declared, no name bound twice or both bound and declared,
no floating-point number, no infinity), and is it *defined* on the whole domain (each divisor
proved non-zero, each radicand proved non-negative, sums over integer ranges in order, …)?
SymPy may cancel terms as it builds them; that is harmless once the parts are known to be defined.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.kernel.algebra import Algebra
from proofs.kernel.domain import (
    D,
    Domain,
    Group,
    Integer,
    Real,
    Table,
    is_plain,
    names_of,
)
from proofs.kernel.errors import MalformedTheorem, Undecided
from proofs.kernel.names import check_apart, check_function, check_name, check_plain
from proofs.kernel.terms import (
    BetaMean,
    DefiniteIntegral,
    Maximum,
    Minimum,
    PoissonMean,
    RolloutMean,
    Rounded,
    SampleMean,
    Slope,
    as_term,
    is_number,
    is_settled,
    peel,
    substitute,
)

__all__ = [
    "LARGEST_PRECISION",
    "Terms",
    "bound_symbols",
    "check_classes",
    "check_form",
    "depends_on",
]

_PLAIN = {  # and how many arguments they have here: SymPy's logarithm may have a base
    sp.binomial: 2,
    sp.factorial: 1,
    sp.KroneckerDelta: 2,
    sp.exp: 1,
    sp.log: 1,
    sp.asin: 1,
    sp.sin: 1,
    sp.cos: 1,
    sp.beta: 2,
    Minimum: 2,
    Maximum: 2,
    Rounded: 2,
}


_NOT_INTEGRATED = (
    *(sp.Derivative, Slope, RolloutMean, BetaMean, PoissonMean, SampleMean),
    *(DefiniteIntegral, Rounded),
)
COUNT = sp.Symbol("K")  # of rewarded rollouts, as a mean's window prints it
LARGEST_PRECISION = 4096  # bits of a rounded number


_CLASSES: tuple[type, ...] = (
    *(sp.Symbol, sp.Integer, sp.Rational, type(sp.S.Zero), type(sp.S.One), type(sp.S.NegativeOne)),
    *(type(sp.S.Half), type(sp.pi), sp.Add, sp.Mul, sp.Pow, sp.Sum, sp.Product),
    *(sp.Derivative, sp.Indexed, Slope, SampleMean),
    *(sp.IndexedBase, sp.Tuple, sp.Dict, sp.Lambda, type(sp.S.IdentityFunction), *_PLAIN),
    *(RolloutMean, BetaMean, PoissonMean, DefiniteIntegral),
)


def check_classes(term: sp.Basic) -> None:
    """Raise unless every node is of a class of the language itself.

    An author's class may compare equal to one of them, and answer for itself when it is asked.
    """
    waiting = [term]
    while waiting:
        e = waiting.pop()
        kind = type(e)
        if type(kind) is sp.core.function.UndefinedFunction:
            check_function(kind)
        elif not any(kind is known for known in _CLASSES):
            raise MalformedTheorem(f"{kind.__name__} is not in the language")
        waiting.extend(e.args)


def depends_on(term: sp.Expr, domain: Domain) -> set[Any]:
    """The variables that the value of a term depends on.

    A mean over rollouts depends on the law of the group without mentioning it.
    """
    found: set[Any] = set(term.free_symbols)
    if term.has(RolloutMean) and domain.group is not None:
        found |= set(domain.group.parameters)
    if term.has(SampleMean) and domain.draws is not None:
        law = domain.arrays[domain.draws.law]
        found |= {domain.draws.size, law.base.label, *law.shape}
    return found


def bound_symbols(d: Integer | Real) -> set[Any]:
    """The variables that the bounds of a variable mention."""
    found: set[Any] = set()
    for bound in (d.low, d.high):
        if bound is not None:
            found |= sp.sympify(bound).free_symbols
    return found


def check_form(domain: Domain, term: sp.Expr, bound: frozenset[sp.Symbol] = frozenset()) -> None:
    """Raise unless the term is well-formed over the domain; ``bound``: binders around it."""
    taken = {name for d in domain.declarations for name in names_of(d)}
    _form(term, domain, taken, bound, mean="")


def _bases(domain: Domain) -> set[Any]:
    found = set() if domain.group is None else set(domain.group.bases)
    found |= {domain.draws.base} if domain.draws is not None else set()
    return found | set(domain.arrays)


def _form(e: sp.Expr, domain: Domain, taken: set[Any], bound: Any, mean: str) -> None:
    def down(part: sp.Expr, *more: sp.Symbol, mean: str = mean) -> None:
        _form(part, domain, taken, bound | frozenset(more), mean)

    def binder(symbol: Any) -> None:
        check_name(symbol)
        check_apart((symbol, *taken, *bound), [base.label for base in _bases(domain)])

    if is_number(e):
        return
    if isinstance(e, sp.Symbol):
        check_plain(e)
        if e not in bound and domain.variable(e) is None:
            raise MalformedTheorem(f"{e} is not declared")
        return
    if not is_settled(e):
        raise MalformedTheorem(
            f"{e} is not as SymPy builds it (evaluate=False, factor and together make such terms); "
            "write e.func(*e.args) of its parts"
        )
    if type(e) in (sp.Add, sp.Mul, sp.Pow):
        for a in e.args:
            down(a)
        return
    if type(e) is sp.Indexed:
        group, draws = domain.group, domain.draws
        if e.base not in _bases(domain):
            raise MalformedTheorem(f"{e.base} is not declared")
        over = ""  # the mean in which it has a value, if it is random
        if draws is not None and e.base == draws.base:
            over = "draws"
        elif group is not None and group.success is not None and e.base != group.slope:
            over = "rollouts" if e.base in group.bases else ""
        if over and mean != over:
            raise MalformedTheorem(f"{e} is random: it has a value inside a mean only")
        for a in e.indices:
            down(a)
        return
    if type(e) in (sp.Sum, sp.Product):
        inner, var, low, high = peel(e)
        binder(var)
        down(low)
        down(high)
        down(inner, var)
        return
    if type(e) is sp.Derivative:
        body, (var, count), *more = e.args
        if more or count != 1 or not isinstance(domain.variable(var), Real):
            raise MalformedTheorem(f"{e}: first derivatives by a declared real variable only")
        if body.has(sp.Derivative, Slope):
            raise MalformedTheorem(f"{e}: a derivative inside a derivative")
        down(body)
        return
    if type(e) is Slope:
        body, var, at = e.args
        if body.has(sp.Derivative, Slope) or at.has(sp.Derivative, Slope):
            raise MalformedTheorem(f"{e}: a derivative inside a derivative")
        binder(var)
        down(at)
        down(body, var)
        return
    if type(e) is SampleMean:
        if domain.draws is None or mean:
            raise MalformedTheorem("a mean over draws needs draws, and does not nest")
        down(e.args[0], mean="draws")
        return
    if type(e) is DefiniteIntegral and e.args[0].has(*_NOT_INTEGRATED):
        raise MalformedTheorem(f"{e}: a mean, a rounding or a derivative inside an integral")
    if type(e) in (BetaMean, PoissonMean, DefiniteIntegral):
        body, var, *rest = e.args
        binder(var)
        for a in rest:
            down(a)
        down(body, var)
        return
    if type(e) is RolloutMean:
        if domain.group is None or domain.group.success is None or mean:
            raise MalformedTheorem("a mean over rollouts needs a random group, and does not nest")
        if COUNT in taken | bound:
            raise MalformedTheorem(f"{COUNT} is what the window of a mean over rollouts counts")
        body, *window = e.args
        for a in window:
            down(a)
        down(body, mean="rollouts")
        return
    if type(e) is Rounded and not (e.args[1].is_Integer and 1 <= e.args[1] <= LARGEST_PRECISION):
        raise MalformedTheorem(f"{e}: the precision is a number from 1 to {LARGEST_PRECISION}")
    if type(e) in _PLAIN:
        if len(e.args) != _PLAIN[type(e)]:
            raise MalformedTheorem(f"{e} has {len(e.args)} arguments, not {_PLAIN[type(e)]}")
        for a in e.args:
            down(a)
        return
    tables = {d.function for d in domain.declarations if isinstance(d, Table)}
    if isinstance(e, sp.core.function.AppliedUndef) and e.func in tables and len(e.args) == 1:
        check_function(e.func)  # it equals the declared one, and may yet be another
        down(e.args[0])
        return
    raise MalformedTheorem(f"{type(e).__name__} is not in the language: {e}")


def _is_algebraic(body: sp.Expr, var: sp.Symbol) -> bool:
    """Made of + · / and rational powers of ``var``: it grows no faster than a polynomial."""
    if var not in body.free_symbols or body == var:
        return True
    if type(body) in (sp.Add, sp.Mul):
        return all(_is_algebraic(a, var) for a in body.args)
    return type(body) is sp.Pow and body.exp.is_Rational and _is_algebraic(body.base, var)


class Terms:
    """Definedness over one domain, with memory of what was checked.

    With ``smooth``, a variable, the term must have a derivative by it as well: no root of
    something that reaches 0, no arcsin that reaches ±1, no minimum of two that may be equal. With
    ``at``, a term, all of this is asked where the variable has that value. Every node of a term is
    continuous where it is defined, so what is strict at a point holds around it.
    """

    def __init__(
        self,
        algebra: Algebra,
        given: tuple[Any, ...] = (),
        smooth: sp.Symbol | None = None,
        at: sp.Expr | None = None,
    ) -> None:
        self.algebra = algebra
        self.domain = algebra.domain
        self.given = given
        self.smooth = smooth
        self.at = at
        self.done: set[sp.Expr] = set()
        self.within: dict[Any, Terms] = {}

    def admit(self, value: Any) -> sp.Expr:
        """The term, once it is known to be well-formed and defined on the whole domain."""
        term = as_term(value)
        if term not in self.done:
            check_form(self.domain, term)
            self._defined(term)
        return term

    def around(self, variable: sp.Symbol, at: sp.Expr | None = None) -> Terms:
        """The same domain, asking for derivatives by a variable (at ``at``, if that is given)."""
        return Terms(self.algebra, self.given, variable, at)

    def smooth_in(self, term: sp.Expr, variable: sp.Symbol, at: sp.Expr | None = None) -> None:
        """Raise unless the term has a derivative by the variable (at ``at``, if that is given)."""
        self.around(variable, at)._defined(term)

    def _inside(self, key: Any, domain: Domain) -> Terms:
        if key not in self.within:
            algebra = Algebra(domain)
            for term in self.given:
                algebra.learn_positive(term)
            self.within[key] = Terms(algebra, self.given, self.smooth, self.at)
        return self.within[key]

    def _need(self, condition: bool, complaint: str) -> None:
        if not condition:
            raise Undecided(f"not shown to be defined: {complaint}")

    def _moves(self, e: sp.Expr) -> bool:
        """Whether a derivative is being taken by something that ``e`` depends on."""
        return self.smooth is not None and self.smooth in depends_on(e, self.domain)

    def _there(self, e: sp.Expr) -> sp.Expr:
        """The term where the variable of a slope has its value."""
        if self.at is None:
            return e
        put_in = substitute(e, {self.smooth: self.at})
        self._need(not put_in.has(sp.nan, sp.zoo, sp.oo), f"{e} at {self.smooth} = {self.at}")
        return put_in

    def _nonnegative(self, e: sp.Expr, strict: bool = False) -> bool:
        return self.algebra.nonnegative(self._there(e), strict)

    def _positive(self, e: sp.Expr) -> bool:
        return self._nonnegative(e, strict=True)

    def _nonzero(self, e: sp.Expr) -> bool:
        return self.algebra.nonzero(self._there(e))

    def _integer(self, e: sp.Expr) -> None:
        self._need(not self._moves(e), f"{e} moves, and is to be an integer")
        self._need(self.domain.is_integer(e), f"{e} is not an integer")

    def _defined(self, e: sp.Expr) -> None:
        if e in self.done or e.is_Rational or e.is_Symbol or e is sp.pi:
            return
        if isinstance(e, sp.Sum | sp.Product):
            inner, var, low, high = peel(e)
            for end in (low, high):
                self._defined(end)
                self._integer(end)
            self._need(self._nonnegative(high - low + 1), f"the range {low}..{high}")
            key = ("sum", var, low, high)
            self._inside(key, self.domain.extended(Integer(var, low, high)))._defined(inner)
        elif isinstance(e, RolloutMean):
            self._defined_mean(e)
        elif isinstance(e, sp.Derivative):
            body, var = e.args[0], e.args[1][0]
            self._open_variable(var)
            self.smooth_in(body, var)
        elif isinstance(e, Slope):
            body, var, at = e.args
            self._defined(at)
            self.smooth_in(body, var, at)
        elif isinstance(e, SampleMean):
            self._defined_sample_mean(e)
        elif isinstance(e, DefiniteIntegral):
            body, var, low, high = e.args
            self._need(not self._moves(e), f"the derivative of {e}")
            for end in (low, high):
                self._defined(end)
                self._need(is_plain(end), f"the bound {end}: it is not rational")
            self._need(self._nonnegative(high - low), f"the range from {low} to {high}")
            # Every node is continuous where it is defined, so on a closed range it is integrable.
            between = self.domain.extended(Real(var, low, high, False, False))
            self._inside(("range", var, low, high), between)._defined(body)
        elif isinstance(e, BetaMean):
            body, var, a, b = e.args
            for part in (a, b):
                self._defined(part)
                self._need(self._positive(part), f"{part} > 0")
            self._inside(
                ("unit", var), self.domain.extended(Real(var, 0, 1, False, False))
            )._defined(body)
        elif isinstance(e, PoissonMean):
            body, var, rate = e.args
            self._need(_is_algebraic(body, var), f"convergence of the mean of {body}")
            # What holds for every count need not hold around a point for all of them at once.
            self._need(not self._moves(body), f"the derivative of the mean of {body}")
            self._defined(rate)
            self._need(self._positive(rate), f"{rate} > 0")
            self._inside(("count", var), self.domain.extended(Integer(var, 0)))._defined(body)
        else:
            for a in e.args:
                if isinstance(a, sp.Expr) and not isinstance(a, sp.IndexedBase):
                    self._defined(a)
            self._defined_here(e)
        self.done.add(e)

    def active(self, e: sp.Expr) -> sp.Expr:
        """A term in place of a minimum (maximum) that equals it around the point of a derivative.

        That is the argument that is strictly smaller (larger) there, or either one if both are
        the same once what is inside of them has been decided in this way.
        """
        if not isinstance(e, Minimum | Maximum):
            if not e.has(Minimum, Maximum):
                return e
            return e.func(*map(self.active, e.args))
        a, b = map(self.active, e.args)
        if not (self._moves(a) or self._moves(b)):
            return e.func(a, b)
        low, high = (a, b) if isinstance(e, Minimum) else (b, a)
        if self._positive(b - a):
            return low
        if self._positive(a - b):
            return high
        same = self.algebra.is_zero(a - b)
        self._need(same, f"the derivative of {e}, unless it is known which is smaller")
        return a

    def _open_variable(self, var: sp.Symbol) -> None:
        """A derivative needs room on both sides: a real variable in an open interval.

        At isolated points two different functions may agree, and their derivatives differ.
        """
        own = self.domain.variable(var)
        ok = isinstance(own, Real) and (own.low is None or own.open_low)
        ok = ok and isinstance(own, Real) and (own.high is None or own.open_high)
        self._need(ok, f"{var} does not range over an open interval")
        shapes = self.domain.shapes(var)
        self._need(not shapes, f"another variable or an assumption depends on {var}")

    def _defined_here(self, e: sp.Expr) -> None:
        if e.is_Pow:
            base, exponent = e.base, e.exp
            if exponent.is_Integer:
                self._need(exponent >= 0 or self._nonzero(base), f"{base} is non-zero")
            elif exponent.is_Rational and exponent.q == 2:
                ok = self._nonnegative(base, strict=bool(exponent < 0) or self._moves(base))
                self._need(ok, f"the root of {base}")
            elif self.domain.is_integer(exponent) and not self._moves(exponent):
                ok = self._nonnegative(exponent) or self._nonzero(base)
                self._need(ok, f"{base}**({exponent})")
            else:
                self._need(self._positive(base), f"the power {e}")
        elif isinstance(e, sp.log):
            self._need(self._positive(e.args[0]), f"log({e.args[0]})")
        elif isinstance(e, sp.asin):
            x = e.args[0]
            self._need(self._nonnegative(1 - x**2, strict=self._moves(x)), f"asin({x})")
        elif isinstance(e, sp.beta):
            self._need(all(self._positive(a) for a in e.args), f"{e}")
        elif isinstance(e, sp.binomial):
            n, k = e.args
            self._integer(n)
            self._integer(k)
            self._need(self._nonnegative(n), f"binomial of {n}")
        elif isinstance(e, sp.factorial):
            self._integer(e.args[0])
            self._need(self._nonnegative(e.args[0]), f"factorial of {e.args[0]}")
        elif isinstance(e, Minimum | Maximum):
            if any(map(self._moves, e.args)):
                self.active(e)
        elif isinstance(e, Rounded):
            self._need(not self._moves(e.args[0]), f"the derivative of {e}, a step function")
        elif isinstance(e, sp.KroneckerDelta):
            for a in e.args:
                self._integer(a)
        elif isinstance(e, sp.Indexed):
            self._defined_index(e)
        elif isinstance(e, sp.core.function.AppliedUndef):
            self._integer(e.args[0])

    def _defined_index(self, e: sp.Indexed) -> None:
        group, arrays = self.domain.group, self.domain.arrays
        shapes: dict[Any, tuple[Any, ...]] = {base: d.shape for base, d in arrays.items()}
        if group is not None:
            shapes[group.rewards] = (group.size,)
            shapes[group.scores] = (group.size, D)
            shapes[group.slope] = (D,)
        shape = shapes[e.base]  # check_form has seen to it that there is one
        self._need(len(e.indices) == len(shape), f"the indices of {e}")
        for index, size in zip(e.indices, shape, strict=True):
            self._integer(index)
            ok = self._nonnegative(index - 1) and self._nonnegative(size - index)
            self._need(ok, f"the index {index} of {e}")

    def _defined_sample_mean(self, e: sp.Expr) -> None:
        """Defined for every outcome of the draws: any integers from 1 to the size of the law."""
        domain = self.domain.with_any_draws()
        assert domain is not None  # check_form has seen to it
        self._inside(("draws",), domain)._defined(e.args[0])

    def _defined_mean(self, e: RolloutMean) -> None:
        """Defined for every reward vector whose number correct lies in the window."""
        body, low, high = e.args
        group = self.domain.group
        assert group is not None
        for end in (low, high):
            self._defined(end)
            self._integer(end)
        count = sp.Symbol("_count")
        fixed = Group(group.size, group.rewards, group.scores, correct=count, slope=group.slope)
        others = [d for d in self.domain.declarations if not isinstance(d, Group)]
        domain = Domain.internal(*others, Integer(count, low, high), fixed)
        self._inside(("mean", low, high), domain)._defined(body)
