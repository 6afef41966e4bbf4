"""Tsallis' logarithm lies below its tangent at 1: the pointwise fact behind the escort law."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.difficulty.notation import log_q, q, t, tsallis
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Real
from proofs.kernel.rules import MeanValue, RealPower
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

TANGENT = "difficulty.log-q-tangent"
x, s = sp.symbols("x s")
POINTS = tuple(sp.Rational(k, 4) for k in (1, 2, 3, 5, 8, 12, 40))


def _between(low: Any, high: Any) -> Real:
    return Real(
        x, low, high, samples=tuple(sp.Rational(k, 8) for k in (1, 2, 4, 5, 7, 9, 12, 16, 40, 99))
    )


def _path(y: sp.Expr, power: sp.Expr) -> MeanValue:
    """log_q e^y ≤ e^y − 1, along t·y for t from 0 to 1: the slope has no sign of its own."""
    inner = y * sp.exp(s * power * t * y)
    grows = MeanValue(inner, s, 0, 1, power * t * y**2 * sp.exp(s * power * t * y))
    slope = y * sp.exp(t * y) - y * sp.exp((1 - power) * t * y)
    steps = (Step("z ≤ z e^z at z = qty", "<=", slope, by=((sp.exp((1 - power) * t * y), grows),)),)
    along = t * y if power == 1 else (sp.exp((1 - power) * t * y) - 1) / (1 - power)
    return MeanValue(sp.exp(t * y) - along, t, 0, 1, slope, "<=", steps)


def _tangent(name: str, ranges: tuple[Real, ...], power: sp.Expr, curve: sp.Expr) -> Clause:
    """log_q x ≤ x − 1 on both sides of 1, with x = e^y."""
    by: tuple[Any, ...] = ((1, _path(sp.log(x), power)),)
    if power != 1:
        by += ((1 / (1 - power), RealPower(x, 1 - power)),)
    text = "with y = log x, from 0 to y"
    chain = Chain((Step(text, "<=", x - 1, by=by),))
    return Clause(name, Domain(*ranges, _between(0, None)), Claim(curve, "<=", x - 1), chain)


def _strict(
    name: str, ranges: tuple[Real, ...], power: sp.Expr, curve: sp.Expr, up: bool
) -> Clause:
    """log_q x < x − 1 on one side of 1."""
    sign = 1 if up else -1

    def ends(at: sp.Expr) -> tuple[Any, Any]:
        return (1, at) if up else (at, 1)

    (low, high), (first, last) = ends(t), ends(x)
    falls = MeanValue(-(s ** (-power)), s, low, high, power * s ** (-power - 1), "<")
    slope = sign * (1 - t ** (-power))
    steps = (Step("u^(−q) falls", "<", slope, by=((1, falls),)),)
    rule = MeanValue(sign * (t - curve.xreplace({x: t})), t, first, last, slope, "<", steps)
    chain = Chain((Step("from 1 to x", "<", x - 1, by=((1, rule),)),))
    domain = Domain(*ranges, _between(1, None) if up else _between(0, 1))
    return Clause(name, domain, Claim(curve, "<", x - 1), chain)


def log_q_tangent() -> Theorem:
    kinds: tuple[tuple[str, tuple[Real, ...], sp.Expr, sp.Expr], ...] = (
        ("small", (tsallis(low=True),), q, log_q(x)),
        ("large", (tsallis(low=False),), q, log_q(x)),
        ("one", (), sp.Integer(1), sp.log(x)),
    )
    y = sp.Symbol("y")
    by = ((1, _path(y, sp.Integer(1))),)
    exponent = Domain(Real(y, samples=tuple(sp.Rational(k, 2) for k in range(-6, 7))))
    chain = Chain((Step("from 0 to y", "<=", sp.exp(y) - 1, by=by),))
    clauses = [Clause("exponential", exponent, Claim(y, "<=", sp.exp(y) - 1), chain)]
    for name, ranges, power, curve in kinds:
        clauses += [
            _tangent(name, ranges, power, curve),
            _strict(f"{name}-above", ranges, power, curve, up=True),
            _strict(f"{name}-below", ranges, power, curve, up=False),
        ]
    return Theorem(
        id=TANGENT,
        title="Tsallis' logarithm lies below its tangent at 1",
        words=(
            "log_q x = (x^(1−q) − 1)/(1 − q), and log_1 x = log x, is at most x − 1 for x > 0 and "
            "every q > 0, and less than that for x ≠ 1. With x = e^y: y ≤ e^y − 1 for real y."
        ),
        clauses=tuple(clauses),
        references=(Reference("elementary", "", "log_q is concave for q > 0"),),
        mutants=(
            Mutant("at most log x", "small", rhs=sp.log(x)),
            Mutant("at most (x − 1)/2", "large", rhs=(x - 1) / 2),
            Mutant("log x ≤ (x − 1)/2", "one", rhs=(x - 1) / 2),
            Mutant("less on the other side", "large-above", lhs=x - 1, rhs=log_q(x)),
            Mutant("for q < 0", "small-below", domain=Domain(Real(q, -1, 0), _between(0, 1))),
        ),
        check=CHECKS.get(TANGENT),
    )
