"""The fixed points of the success recursion at ε = 0 from an even start: the Laplace limit."""

from __future__ import annotations

import sympy as sp

from proofs.dynamics.success import RLVR, SUCCESS_RECURSION, beta, eps, following, p, ref, tangent
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Real
from proofs.kernel.rules import Ball, Differentiate, Instance, MeanValue
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

LAPLACE_LIMIT = "dynamics.laplace-limit"

w, r, g, h, k, m, x, y = sp.symbols("w r g h k m x y")  # w: root of the odds; g: 1/β

# λ and w*, the root of the odds at which it is attained: rational numbers just below and above.
LOW, HIGH = (sp.Rational(n, 10**14) for n in (66274341934918, 66274341934919))
FIRST, LAST = (sp.Rational(n, 10**16) for n in (33190501422372972, 33190501422372973))
START = sp.Rational(1, 2)  # p_ref

# Sample points: an exponential of an exponential is soon too large to evaluate.
ROOTS = tuple(sp.Rational(k, 4) for k in (5, 6, 8, 12, 14, 20, 40))
SHARES = tuple(sp.Rational(k, 4) for k in (5, 6, 8, 12, 14, 20))
RATES = tuple(sp.Rational(k, 20) for k in (1, 3, 7, 10, 14, 19))
PENALTIES = tuple(sp.Rational(k, 4) for k in (1, 2, 4, 6, 12, 40))


def curve(at: sp.Expr) -> sp.Expr:
    """u/cosh u at u = log w."""
    u = sp.log(at)
    return 2 * u / (sp.exp(u) + sp.exp(-u))


def bend(at: sp.Expr) -> sp.Expr:
    """2(cosh u − u sinh u) at u = log w: the sign of the curve's slope."""
    u = sp.log(at)
    return sp.exp(u) + sp.exp(-u) - u * (sp.exp(u) - sp.exp(-u))


def rate(at: sp.Expr) -> sp.Expr:
    """p at odds w²."""
    return at**2 / (1 + at**2)


even = following.xreplace({ref: START, eps: sp.Integer(0)})


def mapped(inverse: sp.Expr) -> sp.Expr:
    """p_n from p = w²/(1 + w²) for 1/β = inverse."""
    return even.xreplace({beta: 1 / inverse, p: rate(w)})


def _clause(name: str, domain: Domain, claim: Claim, steps: tuple[Step, ...], words: str) -> Clause:
    return Clause(name, domain, claim, Chain(steps), words)


def _closed(name: str, lhs: sp.Expr, rhs: sp.Expr, words: str) -> Clause:
    step = Step("closed numbers", "<", rhs, by=((1, Ball(lhs, "<", rhs)),))
    return _clause(name, Domain(), Claim(lhs, "<", rhs), (step,), words)


# -- which points are fixed ------------------------------------------------------------------------


def log_above_one(at: sp.Expr, relation: str) -> MeanValue:
    """0 ≤ log w for w ≥ 1, or 0 < log w for w > 1."""
    return MeanValue(sp.log(k), k, 1, at, 1 / k, relation)


BY_ODDS = Instance(SUCCESS_RECURSION, "by-odds", ((sp.Symbol("w"), w),))


def _fixed_points() -> tuple[Clause, ...]:
    """1/β = r u/cosh u: p_n compares with p as r does with 1."""
    factor = sp.exp(-2 * h * sp.log(w))
    moving = 1 / (1 + factor)
    slope = 2 * sp.log(w) * factor * moving**2
    positive = Step(
        "log w > 0",
        "<",
        slope,
        by=((2 * factor * moving**2, log_above_one(w, "<")),),
    )
    above = Domain(Real(w, 1, samples=ROOTS), Real(r, 1, samples=SHARES))
    below = Domain(Real(w, 1, samples=ROOTS), Real(r, 0, 1, samples=tuple(1 / k for k in SHARES)))
    target = mapped(r * curve(w))
    moved = moving.xreplace({h: r})

    def compare(name: str, domain: Domain, ends: tuple[sp.Expr, sp.Expr], words: str) -> Clause:
        rule = MeanValue(moving, h, *ends, slope, "<", (positive,))
        grows = "1/(1 + w^(−2r)) grows with r"
        if ends[0] == 1:
            steps = (
                Step("odds w²", "=", moving.xreplace({h: sp.Integer(1)})),
                Step(grows, "<", moved, by=((1, rule),)),
                Step("1/√(p(1−p)) = w + 1/w", "=", target, by=(BY_ODDS,)),
            )
            return _clause(name, domain, Claim(rate(w), "<", target), steps, words)
        steps = (
            Step("1/√(p(1−p)) = w + 1/w", "=", moved, by=(BY_ODDS,)),
            Step(grows, "<", moving.xreplace({h: sp.Integer(1)}), by=((1, rule),)),
            Step("odds w²", "=", rate(w)),
        )
        return _clause(name, domain, Claim(target, "<", rate(w)), steps, words)

    here = Step("1/√(p(1−p)) = w + 1/w", "=", rate(w), by=(BY_ODDS,))
    exceeds = Instance(
        SUCCESS_RECURSION, "exceeds", ((ref, START), (eps, sp.Integer(0)), (p, p), (beta, beta))
    )
    anywhere = Domain(Real(p, 0, 1, samples=RATES), Real(beta, 0, samples=PENALTIES))
    return (
        _clause(
            "more-than-half",
            anywhere,
            Claim(START, "<", even),
            (Step("p_n > p_ref", "<", even, by=((1, exceeds),)),),
            "p_n > 1/2 for every p: a fixed point is w²/(1 + w²) with w > 1",
        ),
        _clause(
            "fixed",
            Domain(Real(w, 1)),
            Claim(mapped(curve(w)), "=", rate(w)),
            (here,),
            "for 1/β = u/cosh u, u = log w, the point p = w²/(1 + w²) is fixed",
        ),
        compare("larger", above, (sp.Integer(1), r), "for a larger 1/β, r times it, p_n > p"),
        compare(
            "smaller", below, (r, sp.Integer(1)), "for a smaller one p_n < p: no other is fixed"
        ),
    )


# -- the largest value of u/cosh u -----------------------------------------------------------------


def _bounded(at: sp.Expr) -> tuple[tuple[sp.Expr, MeanValue | Ball], ...]:
    """HIGH (w + 1/w) − 2 log w as a combination: e^z ≥ 1 + z at z = ±(log w − log w₀)."""
    z = sp.log(at) - sp.log(FIRST)
    sinh, cosh = FIRST - 1 / FIRST, FIRST + 1 / FIRST  # twice those of log w₀
    height = HIGH * (cosh - sinh * sp.log(FIRST))
    return (
        (HIGH * FIRST, tangent(z)),
        (HIGH / FIRST, tangent(-z)),
        (HIGH * sinh - 2, log_above_one(at, "<=")),
        (sp.Integer(1), Ball(0, "<", height)),
    )


def _maximum() -> tuple[Clause, ...]:
    domain = Domain(Real(w, 1, open_low=False, samples=(1, *ROOTS)))
    scale = w + 1 / w
    combined = tuple((c / scale, rule) for c, rule in _bounded(w))
    free = Domain(
        Real(w, 1, open_low=False, samples=(1, *ROOTS)),
        Real(g, HIGH, open_low=False, samples=(HIGH, 1, 2, 3, 4, 5)),
    )
    gap = g * scale - 2 * sp.log(w)
    exponent = 2 * sp.log(w) + h * gap
    body = 1 / (1 + sp.exp(-exponent))
    weight = sp.exp(-exponent) * body**2
    sign = Step(
        "1/β > u/cosh u",
        "<",
        weight * gap,
        by=tuple((weight * c, rule) for c, rule in _bounded(w)),
    )
    rule = MeanValue(body, h, 0, 1, weight * gap, "<", (sign,))
    return (
        _clause(
            "largest",
            domain,
            Claim(curve(w), "<", HIGH),
            (Step("tangents of e^z at log w₀", "<", HIGH, by=combined),),
            "u/cosh u < 0.66274341934919 for every u = log w ≥ 0",
        ),
        _closed("reached", LOW, curve(FIRST), "0.66274341934918 < u/cosh u at one u"),
        _clause(
            "no-fixed-point",
            free,
            Claim(rate(w), "<", mapped(g)),
            (
                Step("the exponent 2 log w", "=", body.xreplace({h: sp.Integer(0)})),
                Step("a larger exponent", "<", body.xreplace({h: sp.Integer(1)}), by=((1, rule),)),
                Step("1/√(p(1−p)) = w + 1/w", "=", mapped(g), by=(BY_ODDS,)),
            ),
            "for 1/β ≥ 0.66274341934919, p_n > p for every p ≥ 1/2",
        ),
    )


# -- its shape -------------------------------------------------------------------------------------


def _shape() -> tuple[Clause, ...]:
    slope = 2 * w * bend(w) / (w**2 + 1) ** 2
    derivative = sp.Derivative(curve(w), w)
    sinking = (1 + 1 / h**2) * sp.log(h)  # −d/dh of the bend
    weight = 1 + 1 / h**2
    positive = Step("log > 0", "<", sinking, by=((weight, log_above_one(h, "<")),))

    def falling(low: sp.Expr, high: sp.Expr) -> MeanValue:
        """The bend falls from low to high, both at least 1."""
        return MeanValue(-bend(h), h, low, high, sinking, "<", (positive,))

    def between(low: sp.Expr, high: sp.Expr | None) -> Domain:
        inside = tuple(low + sp.Rational(k, 9) for k in range(7))
        first = Real(x, low, high, open_low=False, samples=inside)
        far = tuple(low + sp.Rational(k, 3) for k in range(1, 7))
        return Domain(first, Real(y, x, high, open_high=False, samples=far))

    def monotone(name: str, low: sp.Expr, high: sp.Expr | None, words: str) -> Clause:
        sign = -1 if high is None else 1
        rate_of = sign * 2 * m * bend(m) / (m**2 + 1) ** 2
        scale = 2 * m / (m**2 + 1) ** 2
        if high is None:
            rules = ((scale, falling(low, m)), (scale, Ball(bend(low), "<", 0)))
        else:
            rules = ((scale, falling(m, high)), (scale, Ball(0, "<", bend(high))))
        step = Step("the sign of cosh u − u sinh u", "<", rate_of, by=rules)
        rule = MeanValue(sign * curve(m), m, x, y, rate_of, "<", (step,))
        left, right = (curve(x), curve(y)) if sign > 0 else (curve(y), curve(x))
        steps = (Step("the slope has one sign", "<", right, by=((1, rule),)),)
        return _clause(name, between(low, high), Claim(left, "<", right), steps, words)

    root = sp.sqrt(w)
    below_root = MeanValue(
        2 * sp.sqrt(h) - sp.log(h), h, 1, w, (h - 1) / (h * (sp.sqrt(h) + 1)), "<="
    )
    return (
        _clause(
            "slope",
            Domain(Real(w, 0)),
            Claim(derivative, "=", slope),
            (Step("differentiate", "=", slope, by=(Differentiate(derivative),)),),
            "the slope of u/cosh u in w has the sign of cosh u − u sinh u",
        ),
        _clause(
            "one-zero",
            between(sp.Integer(1), None),
            Claim(bend(y), "<", bend(x)),
            (Step("its slope is −(1 + 1/w²) log w", "<", bend(x), by=((1, falling(x, y)),)),),
            "which falls strictly for u > 0: it has one zero at most",
        ),
        monotone(
            "up", sp.Integer(1), FIRST, "so u/cosh u rises up to the first of two close numbers"
        ),
        monotone("down", LAST, None, "and falls from the second on"),
        _clause(
            "vanishes",
            Domain(Real(w, 1, open_low=False)),
            Claim(curve(w), "<=", 4 / root),
            (
                Step(
                    "log w ≤ 2√w − 2",
                    "<=",
                    4 / root,
                    by=((2 / (w + 1 / w), below_root),),
                ),
            ),
            "towards 0, its value at u = 0",
        ),
        _closed("before", sp.Integer(0), bend(FIRST), "positive at w = 3.3190501422372972"),
        _closed("after", bend(LAST), sp.Integer(0), "negative at w = 3.3190501422372973"),
    )


def kepler(at: sp.Expr) -> sp.Expr:
    """1 at the Laplace limit, which defines it."""
    root = sp.sqrt(1 + at**2)
    return at * sp.exp(root) / (1 + root)


def _numbers() -> tuple[Clause, ...]:
    share = tuple(sp.Rational(n, 10**10) for n in (9167782798, 9167782799))
    penalty = tuple(sp.Rational(n, 10**14) for n in (150887956153830, 150887956153833))
    one = sp.Integer(1)
    return (
        _closed("laplace-below", kepler(LOW), one, "x e^√(1+x²)/(1 + √(1+x²)) < 1 at the lower"),
        _closed("laplace-above", one, kepler(HIGH), "and > 1 at the upper: its root lies between"),
        _closed("penalty-above", penalty[0], 1 / HIGH, "1/λ > 1.50887956153830"),
        _closed("penalty-below", 1 / LOW, penalty[1], "1/λ < 1.50887956153833"),
        _closed("rate-above", share[0], rate(FIRST), "p > .9167782798 at the first number"),
        _closed("rate-below", rate(LAST), share[1], "p < .9167782799 at the second"),
    )


def laplace_limit() -> Theorem:
    one = sp.Integer(1)
    return Theorem(
        id=LAPLACE_LIMIT,
        title="From p_ref = 1/2 a fixed point below 1 exists iff 1/β is at most λ",
        words=(
            "Without ε and from p_ref = 1/2, p = 1/(1 + e^(−2u)) with u > 0 is a fixed point of "
            "the success recursion iff 1/β = u/cosh u, and there is none in (0, 1/2]. u/cosh u "
            "rises from 0 to its maximum, then falls to 0. The maximum is λ = 0.66274341934918…, "
            "the Laplace limit to 14 digits (both are enclosed): for 1/β < λ there are two fixed "
            "points, for 1/β = λ (β = "
            "1.508879561538…) one, p* = .9167782798…, and for a larger 1/β none: p_n > p always."
        ),
        assumptions=(
            "Written with w = e^u, so that w² are the odds p/(1 − p): u = log w, 2 cosh u = w + "
            "1/w. 0 < p < 1, since the advantages are undefined at p = 0 and 1 without ε.",
            "That a continuous function takes the values between two of its values is the "
            "intermediate value theorem; the clauses give the values and the monotone pieces. λ "
            "and p* are enclosed to the digits printed.",
        ),
        uses=(SUCCESS_RECURSION,),
        clauses=(*_fixed_points(), *_maximum(), *_shape(), *_numbers()),
        references=(
            RLVR,
            Reference("S. R. Finch", "", "Mathematical Constants, 2003, §4.8", "the constant"),
        ),
        implements=("identity.dynamics.success_fixed_point",),
        mutants=(
            Mutant("more than 6/10", "more-than-half", lhs=sp.Rational(3, 5)),
            Mutant("u/sinh u", "fixed", lhs=mapped(2 * sp.log(w) / (w - 1 / w))),
            Mutant("twice that", "fixed", lhs=mapped(2 * curve(w))),
            Mutant("downwards", "larger", lhs=mapped(r * curve(w)), rhs=rate(w)),
            Mutant("downwards too", "smaller", lhs=rate(w), rhs=mapped(r * curve(w))),
            Mutant("at most 66/100", "largest", rhs=sp.Rational(66, 100)),
            Mutant("and more than λ", "reached", lhs=HIGH),
            Mutant("by 1/(2w⁴)", "no-fixed-point", lhs=rate(w) + 1 / (2 * w**4)),
            Mutant("the sign of cosh u", "slope", rhs=2 * w * (w + 1 / w) / (w**2 + 1) ** 2),
            Mutant("rising", "one-zero", lhs=bend(x), rhs=bend(y)),
            Mutant("up to 10", "up", domain=Domain(Real(x, 1, 10), Real(y, x, 10))),
            Mutant("from 1 on", "down", domain=Domain(Real(x, 1), Real(y, x))),
            Mutant("at most 1/√w", "vanishes", rhs=1 / sp.sqrt(w)),
            Mutant("negative already", "before", lhs=bend(FIRST), rhs=sp.Integer(0)),
            Mutant("positive still", "after", lhs=sp.Integer(0), rhs=bend(LAST)),
            Mutant("above at the lower", "laplace-below", lhs=one, rhs=kepler(LOW)),
            Mutant("below at the upper", "laplace-above", lhs=kepler(HIGH), rhs=one),
            Mutant("the next digit", "penalty-above", lhs=sp.Rational(150887956153833, 10**14)),
            Mutant("the digit before", "penalty-below", rhs=sp.Rational(150887956153830, 10**14)),
            Mutant("the next digit", "rate-above", lhs=sp.Rational(9167782799, 10**10)),
            Mutant("the digit before", "rate-below", rhs=sp.Rational(9167782798, 10**10)),
        ),
        check=CHECKS.get(LAPLACE_LIMIT),
    )
