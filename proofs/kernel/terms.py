"""The term language: SymPy expressions, plus the few nodes that SymPy lacks.

Expressions are inert data here. The kernel never calls ``simplify``, ``doit``, ``limit`` or
``equals`` on them; what an expression *means* is fixed by :mod:`proofs.kernel.semantics`.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.kernel.errors import MalformedTheorem

__all__ = [
    "BetaMean",
    "PoissonMean",
    "RolloutMean",
    "Rounded",
    "as_term",
    "binomial_mean",
    "canonical",
    "half",
    "indices",
    "integers",
    "peel",
    "reals",
]

half = sp.Rational(1, 2)


class _Inert(sp.Function):  # type: ignore[misc]
    """A function symbol that SymPy must not evaluate or rewrite."""

    @classmethod
    def eval(cls, *_: Any) -> None:
        return None


class RolloutMean(_Inert):
    """``RolloutMean(h, lo, hi)``: E[h · 1(lo ≤ K ≤ hi)] over one group of i.i.d. rollouts.

    K is the number of correct rollouts. The window states a convention: the update counts as 0
    outside of it (GRPO's advantages are undefined at K = 0 and K = G).
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


def peel(total: sp.Sum) -> tuple[sp.Expr, sp.Symbol, sp.Expr, sp.Expr]:
    """Summand, index and limits of the outermost sum: SymPy merges nested sums into one node."""
    *within, (var, low, high) = total.limits
    return (sp.Sum(total.function, *within) if within else total.function), var, low, high


def canonical(expr: sp.Expr) -> sp.Expr:
    """Rename bound variables by nesting depth, so that α-equivalent terms are equal."""
    return _rename(sp.sympify(expr), 0)


def _rename(expr: sp.Expr, depth: int) -> sp.Expr:
    if not expr.args or not expr.has(sp.Sum, BetaMean, PoissonMean, sp.Derivative):
        return expr
    if isinstance(expr, sp.Sum):
        inner, var, low, high = peel(expr)
        dummy = sp.Symbol(f"_{depth}")
        body = _rename(inner, depth + 1).xreplace({var: dummy})
        return sp.Sum(body, (dummy, _rename(low, depth), _rename(high, depth)))
    if isinstance(expr, BetaMean | PoissonMean):
        body, var, *rest = expr.args
        dummy = sp.Symbol(f"_{depth}")
        return expr.func(
            _rename(body, depth + 1).xreplace({var: dummy}),
            dummy,
            *(_rename(r, depth) for r in rest),
        )
    return expr.func(*(_rename(a, depth) for a in expr.args))
