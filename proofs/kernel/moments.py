"""Normal form of sums over 1..n, n the size of a group or an array, or an entry of an array.

A sum is linear in its moments: with the summand written as a polynomial over a denominator, what
does not mention the index is taken out of the sum, and what is left is one sum of a monomial for
each term. Used are Σ c f = c Σ f, Σ_i δ_ij f_i = f_j for an index j of the same range, Σ 1 = n, the
sum of a law's probabilities is 1, binary rewards obey R² = R and sum to k, and that nested sums
over independent ranges can be interchanged.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import sympy as sp
from flint import fmpq

from proofs.kernel.errors import Undecided
from proofs.kernel.terms import canonical, peel, substitute

__all__ = ["sum_fraction"]

MOST_INDICES = 4  # of one nested sum: all orders of them are tried

Poly = Any
Fraction = tuple[Poly, Poly]
Monomial = dict[int, int]  # generator -> exponent, which may be negative


def sum_fraction(algebra: Any, e: sp.Sum) -> Fraction:
    """The sum in normal form; raise if it has none here."""
    body, var, _, size = peel(e)
    if algebra.domain.variable(var) is not None:
        raise Undecided(f"the index {var} is also a variable")
    algebra.bound.append((var, size))
    try:
        top, bottom = algebra.fraction(body)
        fixed, moving = _separate(algebra, bottom, var)
        total: Fraction = (algebra.zero, algebra.one)
        for exponents, coefficient in top.to_dict().items():
            outer = [0] * len(exponents)
            inner: Monomial = {}
            for i, n in enumerate(map(int, exponents)):
                if n and algebra.mentions(i, var):
                    inner[i] = n
                else:
                    outer[i] = n
            rest = _divide(inner, moving)
            value = _moment(algebra, var, size, inner, rest)
            weight = algebra.ctx.from_dict({tuple(outer): coefficient})
            total = _plus(algebra, total, (value[0] * weight, value[1]))
    finally:
        algebra.bound.pop()
    top, bottom = algebra.cancel(algebra.reduced(total[0]), total[1])
    found: Fraction = algebra.cancel(top, bottom * fixed)
    return found


def _plus(algebra: Any, a: Fraction, b: Fraction) -> Fraction:
    if a[1] == b[1]:
        return a[0] + b[0], a[1]
    added: Fraction = algebra.cancel(a[0] * b[1] + b[0] * a[1], a[1] * b[1])
    return added


def _separate(algebra: Any, bottom: Poly, var: sp.Symbol) -> tuple[Poly, Poly]:
    """The denominator as (a factor free of the index) · (a factor that may mention it)."""
    if not any(algebra.mentions(i, var) for i in algebra.used(bottom)):
        return bottom, algebra.one
    constant, factors = bottom.factor()
    fixed, moving = algebra.one * constant, algebra.one
    for f, multiplicity in factors:
        if any(algebra.mentions(i, var) for i in algebra.used(f)):
            moving = moving * f**multiplicity
        else:
            fixed = fixed * f**multiplicity
    return fixed, moving


def _divide(inner: Monomial, moving: Poly) -> Poly:
    """Divide the monomial by a denominator that is a monomial too; else return the denominator."""
    terms = moving.to_dict()
    if len(terms) != 1:
        return moving
    ((exponents, coefficient),) = terms.items()
    for i, n in enumerate(map(int, exponents)):
        if n:
            inner[i] = inner.get(i, 0) - n
            if not inner[i]:
                del inner[i]
    return moving * 0 + coefficient


def _moment(algebra: Any, var: sp.Symbol, size: Any, inner: Monomial, rest: Poly) -> Fraction:
    """Σ over var of one monomial over ``rest``."""
    constant = fmpq(1)
    if not algebra.used(rest):
        constant, rest = 1 / fmpq(rest.leading_coefficient()), None
    top, bottom = _sum_of(algebra, var, size, inner, rest)
    return top * constant, bottom


def _sum_of(algebra: Any, var: sp.Symbol, size: Any, inner: Monomial, rest: Any) -> Fraction:
    atoms, group = algebra.atoms, algebra.domain.group
    for i in inner:
        key = atoms[i]
        if isinstance(key, sp.KroneckerDelta):
            return _pick(algebra, var, size, inner, rest, i)
    ours = group is not None and size == group.size
    for i in list(inner):
        key = atoms[i]
        if group is not None and isinstance(key, sp.Indexed) and key.base in group.bases:
            others = key.indices[1:]
            if key.indices[0] != var or any(var in x.free_symbols for x in others):
                raise Undecided(f"the index of {key} is not the summation index itself")
            if group.binary and key.base == group.rewards and inner[i] > 0:
                inner[i] = 1
    if rest is None:
        if not inner:
            found: Fraction = algebra.fraction(size)
            return found
        if list(inner.values()) == [1]:
            (key,) = (atoms[i] for i in inner)
            if ours and group.correct is not None and key == group.rewards[var]:
                known: Fraction = algebra.fraction(group.correct)
                return known
            if _is_law(algebra, key, var, size):
                return algebra.one, algebra.one
    return _nested(algebra, var, size, inner, rest), algebra.one


def _is_law(algebra: Any, key: Any, var: sp.Symbol, size: Any) -> bool:
    """Whether this is a law's probability, summed over all of its last index."""
    if not isinstance(key, sp.Indexed):
        return False
    array = algebra.domain.arrays.get(key.base)
    if array is None or not array.law or key.indices[-1] != var or array.shape[-1] != size:
        return False
    return not any(var in x.free_symbols for x in key.indices[:-1])


def _pick(
    algebra: Any, var: sp.Symbol, size: Any, inner: Monomial, rest: Any, delta: int
) -> Fraction:
    """Σ_i δ_ij f(i) = f(j), for an index j of the same range that does not depend on i."""
    key = algebra.atoms[delta]
    if inner[delta] < 0:
        raise Undecided(f"{key} in a denominator")
    others = [a for a in key.args if a != var]
    if len(others) != 1 or var in others[0].free_symbols:
        raise Undecided(f"cannot sum against {key}")
    algebra.require_index(others[0], size)
    body = sp.Mul(*(algebra.expression(i) ** n for i, n in inner.items() if i != delta))
    if rest is not None:
        body = body / algebra.to_expr(rest)
    value: Fraction = algebra.fraction(substitute(body, {var: others[0]}))
    return value


def _nested(algebra: Any, var: sp.Symbol, size: Any, inner: Monomial, rest: Any) -> Poly:
    """An atom for the sum; sums inside it are drawn to the front, in an order of their own."""
    ranges: list[tuple[sp.Symbol, Any]] = [(sp.Dummy(), size)]
    factors: list[sp.Expr] = []
    signs: list[str | None] = []
    for i, n in inner.items():
        key = algebra.atoms[i]
        sign = algebra.signs.get(i) or ("0+" if n % 2 == 0 else None)
        signs.append(sign)
        limits = _open(key)[1] if isinstance(key, sp.Sum) else None
        # A range that moves with the index stays inside.
        if limits is None or any(var in high.free_symbols for _, high in limits):
            factors.append(algebra.expression(i) ** n)
            continue
        if not 0 < n * len(limits) <= MOST_INDICES - len(ranges):
            factors.append(key**n)
            continue
        for _ in range(n):
            body, limits = _open(key)
            factors.append(body)
            ranges += limits or []
    body = sp.Mul(*factors)
    if rest is not None:
        body = body / algebra.to_expr(rest)
        signs.append({1: "+"}.get(algebra.sign(rest, True)))
    body = body.xreplace({var: ranges[0][0]})
    if len(ranges) > MOST_INDICES:
        raise Undecided(f"a sum over {len(ranges)} indices")
    orders = (order for order in permutations(ranges) if _is_nested(order))
    total = min((_ordered(body, order) for order in orders), key=_text)
    if total.atoms(sp.Dummy):
        raise Undecided(f"an index of {total} has no range")
    sign = None
    if all(signs):
        strict = all(s == "+" for s in signs) and algebra.nonnegative(size - 1)
        sign = "+" if strict else "0+"
    return algebra.atom(total, sign)


def _open(total: sp.Sum) -> tuple[sp.Expr, Any]:
    """The summand and ranges of a sum from 1, with fresh indices."""
    limits = []
    body: sp.Expr = total
    while isinstance(body, sp.Sum):
        inside, old, low, high = peel(body)
        if low != 1:
            return total, None
        new = sp.Dummy()
        body = inside.xreplace({old: new})
        limits.append((new, high))
    return body, limits


def _is_nested(order: Any) -> bool:
    """Whether each range, the innermost first, mentions indices of ranges further out only."""
    return not any(
        index in size.free_symbols for n, (index, _) in enumerate(order) for _, size in order[n:]
    )


def _ordered(body: sp.Expr, order: Any) -> sp.Expr:
    return canonical(sp.Sum(body, *((i, 1, n) for i, n in order)))


def _text(e: sp.Expr) -> str:
    return str(sp.srepr(e))
