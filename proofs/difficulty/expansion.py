"""Taylor's polynomials of x^(−q) about 1, with remainders whose means over draws are small.

What is left after the term of degree k is at most a constant times |x − 1|^(k+1). Times a number D
of either sign it is bounded by two squares: their mean over M draws is a moment of order 1/M²,
where that of |D| |x − 1|³ would have no closed form.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.difficulty.notation import q, t
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Real
from proofs.kernel.rules import Instance, MeanValue, Square
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

IDS = tuple(f"difficulty.power-{name}" for name in ("change", "tangent", "parabola", "cubic"))
c, x, w, z, factor, scale = sp.symbols("c x w z D lambda")
EIGHTHS = tuple(sp.Rational(k, 8) for k in range(1, 9))
POINTS = tuple(sp.Rational(k, 4) for k in (1, 2, 3, 4, 6, 8, 12))
THIRDS = tuple(sp.Rational(k, 3) for k in range(-5, 6))
domain = Domain(
    Real(q, 0, samples=POINTS),
    Real(c, 0, 1, open_high=False, samples=EIGHTHS),
    Real(x, c, open_low=False, samples=(*EIGHTHS, *POINTS[4:])),
    Real(factor, samples=THIRDS),
    Real(scale, 0, samples=POINTS),
)


def rising(count: int) -> sp.Expr:
    """q(q+1)…(q+count−1)/count!, what x^(−q) has before (−1)^count (x−1)^count."""
    return sp.Mul(*(q + k for k in range(count))) / sp.factorial(count)


def polynomial(degree: int, step: sp.Expr) -> sp.Expr:
    """Taylor's polynomial of (1 + step)^(−q)."""
    return sp.Add(*((-1) ** k * rising(k) * step**k for k in range(degree + 1)))


def squares(order: int, number: sp.Expr, step: sp.Expr, size: sp.Expr) -> sp.Expr:
    """Two squares whose roots have the product |number · step^(order + 1)|."""
    if order == 0:
        return number**2 / size + size * step**2
    if order == 3:
        return (number**2 / size + size) * step**4
    return number**2 * step**2 / size + size * step**4


def bound(order: int, number: sp.Expr, step: sp.Expr, least: sp.Expr, size: sp.Expr) -> sp.Expr:
    """Of number · (what is left), for 1 + step ≥ least; with one more factor, step, at order 1."""
    constant = rising(order + 1) * least ** (-q - order - 1)
    return constant * squares(order, number, step, size) / 2


def _with_factor(order: int, remainder: sp.Expr) -> sp.Expr:
    """D times what is left, and times u for order 1."""
    return factor * remainder * (x - 1 if order == 1 else 1)


# The way from 1 to x is 1 + t(x − 1) with t = (1 + c)w/(1 + w), w from 0 to 1/c: the kernel sees
# that this is positive for every w ≥ 0, and so need not look at both ends of the way at once.
share = (1 + c) * w / (1 + w)
pace = (1 + c) / (1 + w) ** 2  # dt/dw
along = 1 + share * (x - 1)


def _slope_is_nonnegative(order: int) -> tuple[Any, ...]:
    """Why (bound − remainder), along the way, grows: by the remainder of one order less."""
    u = x - 1
    if order == 0:
        constant = q / 2 * pace
        falls = MeanValue(-(z ** (-q - 1)), z, c, along, (q + 1) * z ** (-q - 2))
        both = tuple((constant * part, falls) for part in (factor**2 / scale, scale * u**2))
        return (*both, (constant * along ** (-q - 1) / scale, Square(factor + scale * u)))
    number = -factor * u if order == 3 else -factor
    weight = {1: u**2, 2: 1 / share, 3: sp.Integer(1)}[order]
    terms = ((q, q + 1), (x, along), (factor, number), (scale, scale / share))
    return ((q * weight * pace, Instance(IDS[order - 1], "bound", terms)),)


def _remainder(order: int, title: str, words: str) -> Theorem:
    u = x - 1
    target = bound(order, factor, u, c, scale)
    # Along the way the squares are those of the end, times t^(order + 1).
    remainder = (1 + t * u) ** (-q) - polynomial(order, t * u)
    path = target * t ** (order + 1) - _with_factor(order, remainder)
    slope = sp.diff(path, t).xreplace({t: share}) * pace
    steps = (Step("one order less", "<=", slope, by=_slope_is_nonnegative(order)),)
    rule = MeanValue(path.xreplace({t: share}), w, 0, 1 / c, slope, "<=", steps)
    claim = Claim(_with_factor(order, x ** (-q) - polynomial(order, u)), "<=", target)
    chain = Chain((Step("from 1 to x", "<=", target, by=((1, rule),)),))
    return Theorem(
        id=IDS[order],
        title=title,
        words=words,
        assumptions=("q > 0, 0 < c ≤ 1, x ≥ c, u = x − 1; D real, λ > 0.",),
        uses=IDS[order - 1 : order] if order else (),
        clauses=(Clause("bound", domain, claim, chain),),
        references=(Reference("elementary", "", "Taylor's theorem, with |DE| ≤ (D²/λ + λE²)/2"),),
        mutants=(
            Mutant("a quarter of it", "bound", rhs=target / 4),
            Mutant("as if c were 1", "bound", rhs=bound(order, factor, u, sp.Integer(1), scale)),
        ),
        check=CHECKS.get(IDS[order]),
    )


def power_remainders() -> tuple[Theorem, ...]:
    """Of degree 0, 1, 2 and 3, each from the one before."""
    return (
        _remainder(
            0,
            "x^(−q) − 1 is of first order in x − 1",
            "D(x^(−q) − 1) ≤ q c^(−q−1) (D²/λ + λu²)/2.",
        ),
        _remainder(
            1,
            "x^(−q) less its tangent at 1 is of second order",
            "D u (x^(−q) − 1 + qu) ≤ q(q+1)/2 c^(−q−2) (D²u²/λ + λu⁴)/2.",
        ),
        _remainder(
            2,
            "x^(−q) less its parabola at 1 is of third order",
            "D(x^(−q) − 1 + qu − q(q+1)u²/2) ≤ q(q+1)(q+2)/6 c^(−q−3) (D²u²/λ + λu⁴)/2.",
        ),
        _remainder(
            3,
            "x^(−q) less its cubic at 1 is of fourth order",
            "D(x^(−q) − 1 + qu − q(q+1)u²/2 + q(q+1)(q+2)u³/6) ≤ q(q+1)(q+2)(q+3)/24 c^(−q−4) "
            "(D²/λ + λ)u⁴/2.",
        ),
    )
