"""The term language: SymPy expressions, plus the few nodes that SymPy lacks.

Expressions are inert data here. The kernel never calls ``simplify``, ``doit``, ``limit`` or
``equals`` on them; what an expression *means* is fixed by :mod:`proofs.kernel.semantics`.
"""

from __future__ import annotations

import re
from math import gcd
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

from proofs.kernel.errors import MalformedTheorem

__all__ = [
    "BetaMean",
    "DefiniteIntegral",
    "Maximum",
    "Minimum",
    "PoissonMean",
    "RolloutMean",
    "Rounded",
    "SampleMean",
    "Slope",
    "as_term",
    "binomial_mean",
    "bound_variables",
    "canonical",
    "half",
    "indices",
    "integers",
    "is_number",
    "is_rational",
    "is_settled",
    "latex",
    "peel",
    "reals",
    "substitute",
]

half = sp.Rational(1, 2)


class _Inert(sp.Function):  # type: ignore[misc]
    """A function symbol that SymPy must not evaluate or rewrite."""

    @classmethod
    def eval(cls, *_: Any) -> None:
        return None


class RolloutMean(_Inert):
    """``RolloutMean(h, lo, hi)``: E[h · 1(lo ≤ K ≤ hi)] over one group of i.i.d. rollouts.

    K is the number of rewarded rollouts (correct ones, if the verifier has no noise). The window
    states a convention: the update counts as 0 outside of it (GRPO's advantages are undefined at
    K = 0 and K = G).
    """

    nargs = 3


class BetaMean(_Inert):
    """``BetaMean(h, p, a, b)``: mean of h(p) over difficulties p ~ Beta(a, b)."""

    nargs = 4


class PoissonMean(_Inert):
    """``PoissonMean(h, n, rate)``: mean of h(n) over n ~ Poisson(rate)."""

    nargs = 3


class Rounded(_Inert):
    """``Rounded(x, bits)``: x rounded to ``bits`` significant bits, ties to even (IEEE 754)."""

    nargs = 2


class SampleMean(_Inert):
    """``SampleMean(h)``: mean of h over the draws that the domain declares."""

    nargs = 1


class Slope(_Inert):
    """``Slope(f, t, x)``: the derivative of f by t, at t = x.

    t is bound. What f holds besides t is constant here, also where it has the same value: that is
    what a stop-gradient (``detach``) does.
    """

    nargs = 3


class DefiniteIntegral(_Inert):
    """``DefiniteIntegral(f, x, a, b)``: the integral of f over x from a to b, for a ≤ b."""

    nargs = 4


class Minimum(_Inert):
    """``Minimum(a, b)``: the smaller one."""

    nargs = 2


class Maximum(_Inert):
    """``Maximum(a, b)``: the larger one."""

    nargs = 2


def integers(names: str) -> Any:
    """Plain symbols; their type lives in the domain, so SymPy assumes nothing by itself."""
    return sp.symbols(names)


reals = integers
indices = integers


def binomial_mean(h: sp.Expr, k: sp.Symbol, n: sp.Expr, p: sp.Expr) -> sp.Sum:
    """E[h(K)] for K ~ Binomial(n, p), written out as its defining sum."""
    return sp.Sum(sp.binomial(n, k) * p**k * (1 - p) ** (n - k) * h, (k, 0, n))


def as_term(value: Any) -> sp.Expr:
    """A term as given: SymPy expressions and exact Python numbers; strings are never parsed."""
    if isinstance(value, str | float | complex):
        raise MalformedTheorem(f"not a term: {value!r}")
    term = sp.sympify(value, strict=True)
    if not isinstance(term, sp.Expr):
        raise MalformedTheorem(f"not a term: {value!r}")
    return term


def peel(total: sp.Expr) -> tuple[sp.Expr, sp.Symbol, sp.Expr, sp.Expr]:
    """Body, index and limits of the outermost sum (or product): SymPy merges nested ones."""
    *within, (var, low, high) = total.limits
    return (total.func(total.function, *within) if within else total.function), var, low, high


def bound_variables(e: sp.Expr) -> set[Any]:
    """The indices and variables that sums, products, means and slopes inside a term bind."""
    sums = {limit[0] for s in e.atoms(sp.Sum, sp.Product) for limit in s.limits}
    return sums | {m.args[1] for m in e.atoms(BetaMean, DefiniteIntegral, PoissonMean, Slope)}


class _Latex(LatexPrinter):  # type: ignore[misc]
    def _print_Derivative(self, e: sp.Derivative) -> str:
        """In parentheses: what follows is not differentiated."""
        return rf"\left({super()._print_Derivative(e)}\right)"

    def _print_DefiniteIntegral(self, e: sp.Expr, exp: Any = None) -> str:
        body, x, low, high = map(self._print, e.args)
        whole = rf"\int_{{{low}}}^{{{high}}} {body}\, d{x}"
        return whole if exp is None else rf"\left({whole}\right)^{{{exp}}}"


def latex(expr: sp.Expr) -> str:
    return str(_Latex().doprint(expr))


def is_number(e: Any) -> bool:
    """A rational number or π, as SymPy itself makes them."""
    return e is sp.pi or is_rational(e)


def is_rational(e: Any) -> bool:
    """A rational number in lowest terms, as SymPy itself makes them."""
    if not isinstance(e, sp.Rational) or type(e).__module__ != sp.Rational.__module__:
        return False
    return e.q > 0 and gcd(int(e.p), int(e.q)) == 1


def is_settled(e: sp.Expr) -> bool:
    """Whether SymPy, given the same parts, makes the same term.

    One built with ``evaluate=False`` changes its form, even its meaning, as soon as it is rebuilt.
    """
    try:
        return bool(e.func(*e.args) == e)
    except Exception:  # SymPy refuses to build it
        return False


# -- bound variables -----------------------------------------------------------------------------


_SERIES = (sp.Sum, sp.Product)
_BINDERS = (*_SERIES, BetaMean, DefiniteIntegral, PoissonMean, Slope)
_OWN_NAME = re.compile(r"_(\d+)\Z")


def canonical(expr: sp.Expr) -> sp.Expr:
    """Rename bound variables by nesting depth, so that α-equivalent terms are equal.

    The names are _0, _1, …; what is free in the term keeps its name, and is never captured.
    """
    expr = sp.sympify(expr)
    if not expr.has(*_BINDERS):
        return expr
    apart = _apart(expr)
    own = (_OWN_NAME.match(s.name) for s in apart.free_symbols if isinstance(s, sp.Symbol))
    return _named(apart, 1 + max((int(m[1]) for m in own if m), default=-1))


def substitute(expr: sp.Expr, replace: dict[Any, Any]) -> sp.Expr:
    """Put terms in for free symbols; a bound variable never captures what is put in."""
    return canonical(_apart(sp.sympify(expr)).xreplace(replace))


def _bind(expr: sp.Expr, body: sp.Expr, old: sp.Symbol, new: sp.Symbol, ends: Any) -> sp.Expr:
    body = body.xreplace({old: new})
    if isinstance(expr, _SERIES):
        return expr.func(body, (new, *ends))
    return expr.func(body, new, *ends)


def _split(expr: sp.Expr) -> tuple[sp.Expr, sp.Symbol, Any]:
    body, var, *ends = peel(expr) if isinstance(expr, _SERIES) else expr.args
    return body, var, ends


def _apart(expr: sp.Expr) -> sp.Expr:
    """Every bound variable gets a name that occurs nowhere else."""
    if not expr.has(*_BINDERS):
        return expr
    if isinstance(expr, _BINDERS):
        body, var, ends = _split(expr)
        return _bind(expr, _apart(body), var, sp.Dummy(), map(_apart, ends))
    return expr.func(*map(_apart, expr.args))


def _named(expr: sp.Expr, depth: int) -> sp.Expr:
    if not expr.has(*_BINDERS):
        return expr
    if isinstance(expr, _BINDERS):
        body, var, ends = _split(expr)
        ends = (_named(end, depth) for end in ends)
        return _bind(expr, _named(body, depth + 1), var, sp.Symbol(f"_{depth}"), ends)
    return expr.func(*(_named(a, depth) for a in expr.args))
