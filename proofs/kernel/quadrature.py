"""The value of an integral: rigorous quadrature by Arb, over complex balls.

Arb asks for the integrand on rectangles of the complex plane, and whether it is analytic there.
So what is evaluated here is the analytic continuation of the real term: a root or a logarithm
whose argument may meet the negative axis has none, and gives a ball without bounds. A term that is
not defined on the range has no value, though its continuation might.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import sympy as sp
from flint import acb, arb, fmpq

from proofs.kernel.errors import UndefinedValue, Unsupported

__all__ = ["integral"]


def integral(e: sp.Expr, value: Callable[[sp.Expr], Any]) -> Any:
    """The ball of ``DefiniteIntegral(f, x, a, b)``; ``value`` evaluates what is free of x."""
    body, var, low, high = e.args
    ends = [value(end) for end in (low, high)]
    if not all(isinstance(end, fmpq | arb) for end in ends):
        raise Unsupported(f"the ends of {e} move")
    if ends[1] < ends[0]:
        raise UndefinedValue(f"the range of {e} is not in order")
    if not ends[0] <= ends[1] and low != high:
        raise Unsupported(f"the ends of {e} cannot be told apart")
    continued = _continued(body, var, value)
    problems: list[UndefinedValue] = []

    def integrand(x: Any, analytic: bool) -> Any:
        try:
            return acb(0) if problems else continued(x, analytic)
        except UndefinedValue as problem:  # which Arb would swallow; it ends soon with zeros
            problems.append(problem)
            return acb(0)

    result = acb.integral(integrand, *(acb(arb(end)) for end in ends))
    if problems:
        raise problems[0]
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
    if e.is_Pow and var not in e.exp.free_symbols:
        return _power(_continued(e.base, var, value), value(e.exp))
    if e.is_Pow:
        base, exponent = _continued(e.base, var, value), _continued(e.exp, var, value)
        return lambda x, a: (exponent(x, a) * _defined(base(x, a), a, strict=True).log(a)).exp()
    inner = _continued(e.args[0], var, value)
    if isinstance(e, sp.log):
        return lambda x, a: _defined(inner(x, a), a, strict=True).log(a)
    if isinstance(e, sp.exp):
        return lambda x, analytic: inner(x, analytic).exp()
    if isinstance(e, sp.sin):
        return lambda x, analytic: inner(x, analytic).sin()
    if isinstance(e, sp.cos):
        return lambda x, analytic: inner(x, analytic).cos()
    raise Unsupported(f"an integral of {type(e).__name__}: {e}")


def _power(base: Function, exponent: Any) -> Function:
    if not isinstance(exponent, fmpq | arb):
        raise Unsupported(f"an exponent of {exponent}")
    if isinstance(exponent, fmpq) and exponent.q == 1:
        n = int(exponent.p)
        return lambda x, a: base(x, a) ** n
    if isinstance(exponent, fmpq) and exponent.q == 2:
        n = int(exponent.p)
        return lambda x, a: _defined(base(x, a), a, strict=n < 0).sqrt(a) ** n
    power = acb(arb(exponent))
    return lambda x, a: (power * _defined(base(x, a), a, strict=True).log(a)).exp()


def _defined(z: Any, analytic: bool, *, strict: bool) -> Any:
    """What a real root or logarithm is taken of; Arb looks at the range itself if not analytic."""
    if not analytic and (z.real < 0 or (strict and z.real <= 0)):
        raise UndefinedValue(f"an integrand that is not defined: a root or logarithm of {z}")
    return z


def _still(e: sp.Expr, var: sp.Symbol) -> list[sp.Expr]:
    """What a sum or product holds besides its moving parts, as one term."""
    parts = [a for a in e.args if var not in a.free_symbols]
    return [e.func(*parts)] if parts else []


def _sum(f: Function, g: Function) -> Function:
    return lambda x, analytic: f(x, analytic) + g(x, analytic)


def _product(f: Function, g: Function) -> Function:
    return lambda x, analytic: f(x, analytic) * g(x, analytic)
