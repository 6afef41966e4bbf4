"""The value of an integral: rigorous quadrature by Arb, over complex balls.

Arb asks for the integrand on rectangles of the complex plane, and whether it is analytic there.
So what is evaluated here is the analytic continuation of the real term: a root or a logarithm
whose argument may meet the negative axis has none, and gives a ball without bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import sympy as sp
from flint import acb, arb, arb_series, fmpq

from proofs.kernel.errors import Unsupported

__all__ = ["integral"]


def integral(e: sp.Expr, value: Callable[[sp.Expr], Any]) -> Any:
    """The ball of ``DefiniteIntegral(f, x, a, b)``; ``value`` evaluates what is free of x."""
    body, var, low, high = e.args
    ends = [value(end) for end in (low, high)]
    if any(isinstance(end, arb_series) for end in ends):
        raise Unsupported(f"the derivative of {e}")
    integrand = _continued(body, var, value)
    result = acb.integral(integrand, *(acb(arb(end)) for end in ends))
    if not result.imag.contains(0):
        raise Unsupported(f"the integral is not real: {result}")
    return result.real


Function = Callable[[Any, bool], Any]  # of a complex ball, and whether analyticity is asked for


def _continued(e: sp.Expr, var: sp.Symbol, value: Callable[[sp.Expr], Any]) -> Function:
    """The analytic continuation of a term, put together once: it is called many times."""
    if e == var:
        return lambda x, _: x
    if var not in e.free_symbols:
        found = value(e)
        if not isinstance(found, fmpq | arb):
            raise Unsupported(f"an integral of {e}")
        constant = acb(arb(found))
        return lambda x, _: constant
    if e.is_Add or e.is_Mul:
        moving = [a for a in e.args if var in a.free_symbols]
        first, *rest = (_continued(a, var, value) for a in (*moving, *_still(e, var)))
        return reduce(_sum if e.is_Add else _product, rest, first)
    if e.is_Pow and e.exp.is_Rational and e.exp.q <= 2:
        base, n = _continued(e.base, var, value), int(e.exp.p)
        if e.exp.q == 2:
            return lambda x, analytic: base(x, analytic).sqrt(analytic) ** n
        return lambda x, analytic: base(x, analytic) ** n
    if e.is_Pow:
        return _continued(sp.exp(e.exp * sp.log(e.base), evaluate=False), var, value)
    inner = _continued(e.args[0], var, value)
    if isinstance(e, sp.log):
        return lambda x, analytic: inner(x, analytic).log(analytic)
    if isinstance(e, sp.exp):
        return lambda x, analytic: inner(x, analytic).exp()
    if isinstance(e, sp.sin):
        return lambda x, analytic: inner(x, analytic).sin()
    if isinstance(e, sp.cos):
        return lambda x, analytic: inner(x, analytic).cos()
    raise Unsupported(f"an integral of {type(e).__name__}: {e}")


def _still(e: sp.Expr, var: sp.Symbol) -> list[sp.Expr]:
    """What a sum or product holds besides its moving parts, as one term."""
    parts = [a for a in e.args if var not in a.free_symbols]
    return [e.func(*parts)] if parts else []


def _sum(f: Function, g: Function) -> Function:
    return lambda x, analytic: f(x, analytic) + g(x, analytic)


def _product(f: Function, g: Function) -> Function:
    return lambda x, analytic: f(x, analytic) * g(x, analytic)
