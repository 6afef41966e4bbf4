"""What an expression means: evaluation at an exact point, by recursion, in two number systems.

Rationals stay exact (``fmpq``); anything else becomes an Arb ball that is *guaranteed* to
contain the true value. A comparison that the balls cannot decide is ``None``, never ``True``.
The prover does not use this module; samples, mutants and witnesses do. So a mistake there and
a mistake here would have to agree before a false theorem could pass both.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import sympy as sp
from flint import acb, arb, arb_series, ctx, fmpq, fmpz

from proofs.kernel.errors import UndefinedValue
from proofs.kernel.terms import BetaMean, PoissonMean, RolloutMean, Rounded, peel

__all__ = ["compare", "difference", "evaluate", "show"]

Value = Any  # fmpq, arb, or arb_series inside a derivative
DIGITS = 50
BITS = 230
MANY = 100_000  # terms of one sum


def evaluate(expr: sp.Expr, point: dict[Any, Any]) -> Value:
    """The value of ``expr`` at ``point``: an ``fmpq`` where rational, else a rigorous ball."""
    old = ctx.prec
    ctx.prec = BITS
    try:
        return _value(sp.sympify(expr), point)
    finally:
        ctx.prec = old


def difference(lhs: sp.Expr, rhs: sp.Expr, point: dict[Any, Any]) -> Value:
    old = ctx.prec
    ctx.prec = BITS
    try:
        return _value(sp.sympify(lhs), point) - _value(sp.sympify(rhs), point)
    finally:
        ctx.prec = old


def compare(lhs: sp.Expr, relation: str, rhs: sp.Expr, point: dict[Any, Any]) -> bool | None:
    """Truth of ``lhs relation rhs`` at a point; None where the balls overlap.

    For an equation ``True`` needs both sides rational; ``None`` then means "equal to 50 digits"
    if the ball of the difference is that small, and raises otherwise.
    """
    gap = difference(lhs, rhs, point)
    if isinstance(gap, fmpq):
        return bool({"=": gap == 0, "<=": gap <= 0, "<": gap < 0}[relation])
    if not gap.is_finite():
        raise UndefinedValue("no finite value")
    if gap < 0:
        return relation != "="
    if gap > 0:
        return False
    if float(gap.rad().mid()) > 10.0**-DIGITS:
        raise UndefinedValue(f"the ball is too wide to check {DIGITS} digits: {gap}")
    return None


def show(value: Any) -> str:
    """A witness value for humans: rationals exactly, balls with their guaranteed digits."""
    if isinstance(value, arb):
        return str(value.str(20))
    if isinstance(value, list):
        return "[" + ", ".join(show(v) for v in value) + "]"
    return str(value)


def _integer(value: Value, what: str) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, fmpq) and value.q == 1:
        return int(value.p)
    raise UndefinedValue(f"{what} is not an integer: {value}")


def _ball(value: Value) -> Value:
    return arb(value) if isinstance(value, fmpq | int) else value


def _value(e: sp.Expr, point: dict[Any, Any]) -> Value:  # one branch per node of the language
    if e.is_Rational:
        return fmpq(int(e.p), int(e.q))
    if e.is_Symbol:
        if e not in point:
            raise UndefinedValue(f"{e} has no value")
        value = point[e]
        return fmpq(value) if isinstance(value, int) else value
    if e.is_Add:
        total: Value = fmpq(0)
        for a in e.args:
            total = total + _value(a, point)
        return total
    if e.is_Mul:
        result: Value = fmpq(1)
        for a in e.args:
            result = result * _value(a, point)
        return result
    if e.is_Pow:
        return _power(e, point)
    if isinstance(e, sp.Indexed):
        row: Any = point[e.base]
        for index in e.indices:
            at = _integer(_value(index, point), "an index")
            if not 1 <= at <= len(row):
                raise UndefinedValue(f"index {at} out of 1..{len(row)}")
            row = row[at - 1]
        return fmpq(row) if isinstance(row, int) else row
    if isinstance(e, sp.Sum):
        inner, var, low, high = peel(e)
        first = _integer(_value(low, point), "a lower limit")
        last = _integer(_value(high, point), "an upper limit")
        if last < first - 1:
            raise UndefinedValue(f"sum from {first} to {last}")
        if last - first > MANY:
            raise UndefinedValue(f"more than {MANY} terms to add up")
        total = fmpq(0)
        for n in range(first, last + 1):
            total = total + _value(inner, {**point, var: fmpq(n)})
        return total
    if isinstance(e, sp.binomial):
        n, k = (_integer(_value(a, point), "a binomial argument") for a in e.args)
        if n < 0:
            raise UndefinedValue(f"binomial({n}, {k})")
        return fmpq(fmpz(n).bin_uiui(n, k)) if 0 <= k <= n else fmpq(0)
    if isinstance(e, sp.factorial):
        n = _integer(_value(e.args[0], point), "a factorial argument")
        if n < 0:
            raise UndefinedValue(f"factorial({n})")
        return fmpq(fmpz.fac_ui(n))
    if isinstance(e, sp.KroneckerDelta):
        a, b = (_integer(_value(x, point), "an index") for x in e.args)
        return fmpq(int(a == b))
    if isinstance(e, sp.Derivative):
        return _derivative(e, point)
    if isinstance(e, sp.exp):
        return _ball(_value(e.args[0], point)).exp()
    if isinstance(e, sp.log):
        return _ball(_value(e.args[0], point)).log()
    if isinstance(e, sp.asin):
        return _ball(_value(e.args[0], point)).asin()
    if isinstance(e, sp.beta):
        a, b = (_ball(_value(x, point)) for x in e.args)
        return a.gamma() * b.gamma() / (a + b).gamma()
    if isinstance(e, RolloutMean):
        if "group" not in point or point["group"].success is None:
            raise UndefinedValue("a mean over rollouts needs a random group")
        return _rollout_mean(e, point)
    if isinstance(e, BetaMean):
        return _beta_mean(e, point)
    if isinstance(e, PoissonMean):
        return _poisson_mean(e, point)
    if isinstance(e, Rounded):
        return _rounded(e, point)
    if e is sp.pi:
        return arb.pi()
    if e.func in point:  # an arbitrary function of one integer
        return point[e.func](_integer(_value(e.args[0], point), "an argument"))
    raise UndefinedValue(f"no meaning for {type(e).__name__}: {e}")


def _power(e: sp.Expr, point: dict[Any, Any]) -> Value:
    base, exponent = _value(e.base, point), _value(e.exp, point)
    if isinstance(exponent, fmpq) and exponent.q == 1:
        n = int(exponent.p)
        if n >= 0:
            return base**n
        if isinstance(base, fmpq):
            if base == 0:
                raise UndefinedValue("division by zero")
            return (1 / base) ** (-n)
        if isinstance(base, arb) and base.contains(0):
            raise UndefinedValue("division by a ball that contains zero")
        return (1 / base) ** (-n)
    if isinstance(exponent, fmpq) and exponent.q == 2:
        n = int(exponent.p)
        root = _root(base)
        if n < 0:
            if isinstance(root, fmpq) and root == 0:
                raise UndefinedValue("division by zero")
            root = 1 / root
        return root ** abs(n)
    if isinstance(base, fmpq) and base == 0:
        raise UndefinedValue("zero to a non-integer power")
    return (_ball(exponent) * _ball(base).log()).exp()


def _root(base: Value) -> Value:
    if isinstance(base, fmpq):
        if base < 0:
            raise UndefinedValue("root of a negative number")
        top, bottom = fmpz(base.p), fmpz(base.q)
        a, b = top.isqrt(), bottom.isqrt()
        if a * a == top and b * b == bottom:
            return fmpq(a, b)
        return arb(base).sqrt()
    if isinstance(base, arb) and base < 0:
        raise UndefinedValue("root of a negative number")
    return base.sqrt()


def _derivative(e: sp.Expr, point: dict[Any, Any]) -> Value:
    """First derivative by power series arithmetic: coefficient of t in f(x + t)."""
    (var, count), *more = e.args[1:]
    if more or count != 1:
        raise UndefinedValue("only first derivatives have a meaning here")
    old = ctx.cap
    ctx.cap = 2
    try:
        series = _value(e.args[0], {**point, var: arb_series([_ball(point[var]), 1])})
        if isinstance(series, arb_series):
            return series[1]
        return fmpq(0)  # the body does not depend on the variable
    finally:
        ctx.cap = old


def _rollout_mean(e: sp.Expr, point: dict[Any, Any]) -> Value:
    """Sum over all 2^G reward vectors; given the rewards, scores have their conditional means."""
    h, low, high = e.args
    group = point["group"]
    size = _integer(point[group.size], "the group size")
    p, slope = point[group.success], point[group.slope]
    # Bayes: a rollout is correct or wrong, and then rewarded with probability t or f.
    t, f = (point[x] for x in group.flip) if group.flip else (fmpq(1), fmpq(0))
    rate = t * p + f * (1 - p)
    if rate == 0 or rate == 1 or p == 0 or p == 1:
        raise UndefinedValue("a rollout's reward is certain")
    up = [(t * p * (x / p) + f * (1 - p) * (-x / (1 - p))) / rate for x in slope]
    down = [
        ((1 - t) * p * (x / p) + (1 - f) * (1 - p) * (-x / (1 - p))) / (1 - rate) for x in slope
    ]
    first = _integer(_value(low, point), "a window")
    last = _integer(_value(high, point), "a window")
    total: Value = fmpq(0)
    for rewards in product((0, 1), repeat=size):
        k = sum(rewards)
        if not first <= k <= last:
            continue
        weight = rate**k * (1 - rate) ** (size - k)
        scores = [up if r else down for r in rewards]
        inner = {**point, group.rewards: list(map(fmpq, rewards)), group.scores: scores}
        total = total + weight * _value(h, inner)
    return total


def _beta_mean(e: sp.Expr, point: dict[Any, Any]) -> Value:
    """Rigorous quadrature against the Beta density; samples keep a, b at integers ≥ 1."""
    h, var, a, b = e.args
    # Roots and logarithms have cuts, of which the quadrature would have to know.
    origin = {**point, var: fmpq(0)}
    powers = [_value(x.exp, origin) for x in h.atoms(sp.Pow)]
    if h.has(sp.log, sp.asin, sp.exp) or any(
        not (isinstance(n, fmpq) and n.q == 1 and n >= 0) for n in powers
    ):
        raise UndefinedValue("a mean over a Beta law is evaluated for polynomials only")
    alpha = _integer(_value(a, point), "a Beta parameter of a sample")
    beta = _integer(_value(b, point), "a Beta parameter of a sample")

    def density(x: Any, _: bool) -> Any:
        inner = _value(h, {**point, var: x})
        return inner * x ** (alpha - 1) * (1 - x) ** (beta - 1)

    mass = acb.integral(density, 0, 1).real
    return mass * arb(alpha + beta).gamma() / (arb(alpha).gamma() * arb(beta).gamma())


def _poisson_mean(e: sp.Expr, point: dict[Any, Any]) -> Value:
    """Partial sum plus a tail ball; the tail bound needs 0 ≤ h(n) ≤ n + 1."""
    h, var, rate_expr = e.args
    if h not in (sp.Integer(1), var, sp.sqrt(var)):
        raise UndefinedValue("a Poisson mean is evaluated for h(n) = 1, n, √n only")
    rate = _ball(_value(rate_expr, point))
    if not rate > 0:
        raise UndefinedValue(f"a Poisson rate of {rate}")
    weight, total = (-rate).exp(), arb(0)
    n = 0
    while True:
        total = total + weight * _value(h, {**point, var: fmpq(n)})
        n += 1
        weight = weight * rate / n
        # From here on (n+1)·weight at least halves at each step, so the tail is at most twice it.
        if n > 4 * float(rate.upper()) + 8 and weight * (n + 1) < arb(10) ** (-DIGITS - 8):
            tail = 2 * weight * (n + 1)
            return total + arb(tail / 2, (tail / 2).upper())


def _rounded(e: sp.Expr, point: dict[Any, Any]) -> Value:
    """IEEE 754 round-to-nearest-even with unbounded exponent, on an exact rational."""
    inner, bits = e.args
    precision = _integer(_value(bits, point), "a precision")
    if inner.is_Pow and inner.exp == sp.Rational(1, 2):
        # The correctly rounded root of a rational: enough integer digits decide it.
        x = _value(inner.base, point)
        if not isinstance(x, fmpq) or x < 0:
            raise UndefinedValue("rounding needs an exact non-negative radicand")
        scale = fmpz(1) << (4 * precision + 400)
        floor = fmpz((x * scale * scale).floor()).isqrt()
        sticky = 0 if fmpq(floor * floor) == x * scale * scale else 1
        return _nearest(fmpq(2 * floor + sticky, 2 * scale), precision)
    x = _value(inner, point)
    if not isinstance(x, fmpq):
        raise UndefinedValue("rounding needs an exact rational")
    return _nearest(x, precision)


def _nearest(x: fmpq, precision: int) -> fmpq:
    if x == 0:
        return x
    sign, x = (1, x) if x > 0 else (-1, -x)
    exponent = int(fmpz(x.p).bit_length()) - int(fmpz(x.q).bit_length())
    while x >= fmpq(2) ** (exponent + 1):
        exponent += 1
    while x < fmpq(2) ** exponent:
        exponent -= 1
    unit = fmpq(2) ** (exponent - precision + 1)
    steps = x / unit
    whole = fmpz(steps.floor())
    rest = steps - whole
    if rest > fmpq(1, 2) or (rest == fmpq(1, 2) and whole % 2 == 1):
        whole += 1
    return sign * whole * unit
