"""What an expression means: evaluation at an exact point, by recursion, in two number systems.

Rationals stay exact (``fmpq``); anything else becomes an Arb ball that is *guaranteed* to
contain the true value. A comparison that the balls cannot decide is ``None``, never ``True``.
The prover does not use this module; samples, mutants and witnesses do. So a mistake there and
a mistake here would have to agree before a false theorem could pass both.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any

import sympy as sp
from flint import acb, arb, arb_series, ctx, fmpq, fmpz

from proofs.kernel.errors import UndefinedValue, Unsupported
from proofs.kernel.quadrature import integral
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
    peel,
)

__all__ = ["compare", "difference", "evaluate", "forget", "show"]

Value = Any  # fmpq, arb, or arb_series inside a derivative
DIGITS = 50
BITS = 230
MANY = 100_000  # terms of one sum
LARGE = 1_000_000  # of a factorial, a binomial coefficient, an exponent
HUGE = 20_000_000  # bits of one number
LONG = 50_000  # bits of an exact power
FASTEST = 10_000  # rate of a Poisson law
_PASSED = (sp.Add, sp.Mul, sp.Pow, sp.exp, sp.log)  # nodes that bind nothing


def evaluate(expr: sp.Expr, point: dict[Any, Any]) -> Value:
    """The value of ``expr`` at ``point``: an ``fmpq`` where rational, else a rigorous ball."""
    old = ctx.prec
    ctx.prec = BITS
    try:
        return _value(sp.sympify(expr), point)
    finally:
        ctx.prec = old


def difference(lhs: sp.Expr, rhs: sp.Expr, point: dict[Any, Any], bits: int = BITS) -> Value:
    old = ctx.prec
    ctx.prec = bits
    try:
        return _value(sp.sympify(lhs), point) - _value(sp.sympify(rhs), point)
    finally:
        ctx.prec = old


def compare(lhs: sp.Expr, relation: str, rhs: sp.Expr, point: dict[Any, Any]) -> bool | None:
    """Truth of ``lhs relation rhs`` at a point; None where the balls overlap.

    For an equation ``True`` needs both sides rational; ``None`` then means "equal to 50 digits"
    if the ball of the difference is that small, and raises otherwise.
    """
    for bits in (BITS, 3 * BITS, 9 * BITS):
        try:
            gap = difference(lhs, rhs, point, bits)
        except Unsupported:  # a divisor's ball may contain zero for want of digits
            if bits == 9 * BITS:
                raise
            continue
        if isinstance(gap, fmpq):
            return bool({"=": gap == 0, "<=": gap <= 0, "<": gap < 0}[relation])
        if gap < 0:
            return relation != "="
        if gap > 0:
            return False
        if gap.is_finite() and float(gap.rad().mid()) <= 10.0**-DIGITS:
            return None
    if not gap.is_finite():
        raise Unsupported("no finite value, at this precision")
    raise Unsupported(f"the ball is too wide to check {DIGITS} digits: {gap}")


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
    if isinstance(value, arb) and (value.contains_integer() or not value.is_finite()):
        raise Unsupported(f"{what} is known as a ball only: {value}")
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
        base, *places = e.args
        row: Any = point[base]
        for index in places:
            at = _integer(_value(index, point), "an index")
            if not 1 <= at <= len(row):
                raise UndefinedValue(f"index {at} out of 1..{len(row)}")
            row = row[at - 1]
        return fmpq(row) if isinstance(row, int) else row
    if isinstance(e, sp.Sum | sp.Product):
        inner, var, low, high = peel(e)
        first = _integer(_value(low, point), "a lower limit")
        last = _integer(_value(high, point), "an upper limit")
        adds = isinstance(e, sp.Sum)
        if last < first - 1:
            raise UndefinedValue(f"{'sum' if adds else 'product'} from {first} to {last}")
        if last - first > MANY:
            raise Unsupported(f"more than {MANY} terms to add up")
        total = fmpq(0 if adds else 1)
        inside = dict(point)
        if last > first:
            inner, still = _still(inner, var)
            inside |= {name: _value(part, point) for name, part in still}
        for n in range(first, last + 1):
            inside[var] = fmpq(n)
            term = _value(inner, inside)
            total = total + term if adds else total * term
        return total
    if isinstance(e, sp.binomial):
        n, k = (_integer(_value(a, point), "a binomial argument") for a in e.args)
        if n < 0:
            raise UndefinedValue(f"binomial({n}, {k})")
        if n > LARGE:
            raise Unsupported(f"binomial({n}, {k})")
        return fmpq(fmpz(n).bin_uiui(n, k)) if 0 <= k <= n else fmpq(0)
    if isinstance(e, sp.factorial):
        n = _integer(_value(e.args[0], point), "a factorial argument")
        if n < 0:
            raise UndefinedValue(f"factorial({n})")
        if n > LARGE:
            raise Unsupported(f"factorial({n})")
        return fmpq(fmpz.fac_ui(n))
    if isinstance(e, sp.KroneckerDelta):
        a, b = (_integer(_value(x, point), "an index") for x in e.args)
        return fmpq(int(a == b))
    if isinstance(e, sp.Derivative | Slope):
        return _derivative(e, point)
    if isinstance(e, Minimum | Maximum):
        return _extreme(e, point)
    if isinstance(e, sp.exp):
        return _ball(_value(e.args[0], point)).exp()
    if isinstance(e, sp.log):
        x = _value(e.args[0], point)
        if isinstance(x, arb | fmpq) and x <= 0:
            raise UndefinedValue(f"log({x})")
        return _ball(x).log()
    if isinstance(e, sp.asin):
        x = _value(e.args[0], point)
        if isinstance(x, arb | fmpq) and abs(x) > 1:
            raise UndefinedValue(f"asin({x})")
        return _ball(x).asin()
    if isinstance(e, sp.sin):
        return _ball(_value(e.args[0], point)).sin()
    if isinstance(e, sp.cos):
        return _ball(_value(e.args[0], point)).cos()
    if isinstance(e, sp.beta):
        a, b = (_value(x, point) for x in e.args)
        if any(isinstance(x, arb | fmpq) and x <= 0 for x in (a, b)):
            raise UndefinedValue(f"B({a}, {b}): Euler's integral diverges")
        a, b = _ball(a), _ball(b)
        return a.gamma() * b.gamma() / (a + b).gamma()
    if isinstance(e, RolloutMean):
        if "group" not in point or point["group"].success is None:
            raise UndefinedValue("a mean over rollouts needs a random group")
        return _rollout_mean(e, point)
    if isinstance(e, SampleMean):
        return _sample_mean(e, point)
    if isinstance(e, DefiniteIntegral):
        return integral(e, lambda part: _value(part, point))
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


@lru_cache(maxsize=10_000)
def _still(body: sp.Expr, var: sp.Symbol) -> tuple[sp.Expr, tuple[tuple[sp.Symbol, sp.Expr], ...]]:
    """The body of a sum with names for the sums in it that do not move: worked out once each."""
    found: dict[sp.Expr, sp.Symbol] = {}

    def named(part: sp.Expr) -> sp.Expr:
        """Only where it stands itself: inside a derivative the same sum is another function."""
        if isinstance(part, sp.Sum | sp.Product):
            return part if var in part.free_symbols else found.setdefault(part, sp.Dummy())
        if type(part) not in _PASSED:
            return part
        return part.func(*map(named, part.args))

    return named(body), tuple((name, part) for part, name in found.items())


def forget() -> None:
    """Clear what was remembered about terms."""
    _still.cache_clear()


def _power(e: sp.Expr, point: dict[Any, Any]) -> Value:
    base, exponent = _value(e.base, point), _value(e.exp, point)
    if isinstance(exponent, fmpq) and exponent.q == 1:
        n = int(exponent.p)
        if abs(n) > LARGE or abs(n) * _bits(base) > HUGE:
            raise Unsupported(f"the power {base} ** {n}")
        if isinstance(base, fmpq) and base != 0 and abs(n) * _bits(base) > LONG:
            base = arb(base)  # exact numbers of that size take too long; a ball is as sure
        if n >= 0:
            return base**n
        if isinstance(base, fmpq):
            if base == 0:
                raise UndefinedValue("division by zero")
            return (1 / base) ** (-n)
        if isinstance(base, arb) and base.contains(0):
            raise Unsupported("division by a ball that contains zero")
        return (1 / base) ** (-n)
    if isinstance(exponent, fmpq) and exponent.q == 2:
        n = int(exponent.p)
        root = _root(base)
        if n < 0:
            if isinstance(root, fmpq) and root == 0:
                raise UndefinedValue("division by zero")
            root = 1 / root
        return root ** abs(n)
    if isinstance(base, fmpq | arb) and not base > 0:
        raise Unsupported(f"a non-integer power of {base}")
    return (_ball(exponent) * _ball(base).log()).exp()


def _bits(value: Value) -> int:
    """Size of an exact number; balls have one size."""
    if not isinstance(value, fmpq):
        return 1
    return int(fmpz(value.p).bit_length()) + int(fmpz(value.q).bit_length())


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
    if isinstance(e, Slope):
        body, var, at = e.args
        start = _value(at, point)
    else:
        body, (var, count), *more = e.args
        if more or count != 1:
            raise UndefinedValue("only first derivatives have a meaning here")
        start = point[var]
    if body.has(sp.Derivative, Slope):
        # Both would perturb by the same t.
        raise Unsupported("a derivative inside a derivative")
    old = ctx.cap
    ctx.cap = 2
    try:
        series = _value(body, {**point, var: arb_series([_ball(start), 1])})
        if isinstance(series, arb_series):
            return series[1]
        return fmpq(0)  # the body does not depend on the variable
    except ValueError as problem:  # a divisor that is 0 there
        raise Unsupported(f"the derivative of {body}: {problem}") from None
    finally:
        ctx.cap = old


def _extreme(e: sp.Expr, point: dict[Any, Any]) -> Value:
    """The smaller or larger of two values; a ball that holds both if they cannot be told apart.

    The derivative of min(f, g), where it exists, is that of f or that of g, also where f = g.
    """
    a, b = (_value(x, point) for x in e.args)
    x, y = (v[0] if isinstance(v, arb_series) else v for v in (a, b))
    if isinstance(x, fmpq) and isinstance(y, fmpq) and x == y and a is x and b is y:
        return a
    if isinstance(e, Maximum):
        x, y = y, x
    if x < y:
        return a
    if y < x:
        return b
    if not (isinstance(a, arb_series) or isinstance(b, arb_series)):
        return _ball(a).union(_ball(b))
    a, b = (v if isinstance(v, arb_series) else arb_series([_ball(v), 0]) for v in (a, b))
    return arb_series([a[0].union(b[0]), a[1].union(b[1])])


def _sample_mean(e: sp.Expr, point: dict[Any, Any]) -> Value:
    """Sum over all draws, each with its probability."""
    draws = point.get("draws")
    if draws is None:
        raise UndefinedValue("a mean over draws needs a domain that declares them")
    law = point[draws.law]
    size = _integer(_value(draws.size, point), "the number of draws")
    if len(law) ** size > MANY:
        raise Unsupported(f"more than {MANY} draws to add up")
    total: Value = fmpq(0)
    for drawn in product(range(1, len(law) + 1), repeat=size):
        weight: Value = fmpq(1)
        for y in drawn:
            weight = weight * law[y - 1]
        inner = {**point, draws.base: list(map(fmpq, drawn))}
        total = total + weight * _value(e.args[0], inner)
    return total


def _rollout_mean(e: sp.Expr, point: dict[Any, Any]) -> Value:
    """Sum over all groups, for the simplest policy: one correct and one wrong response.

    Its scores are ∇p/p and -∇p/(1-p), so nothing here rests on a mean being put in for a score.
    """
    h, low, high = e.args
    group = point["group"]
    size = _integer(point[group.size], "the group size")
    p, slope = point[group.success], point[group.slope]
    if p == 0 or p == 1:
        raise UndefinedValue("a rollout is certain to be correct, or wrong")
    correct, wrong = [x / p for x in slope], [-x / (1 - p) for x in slope]
    # Each kind of rollout: its probability, reward and score.
    kinds = [(p, fmpq(1), correct), (1 - p, fmpq(0), wrong)]
    if group.flip is not None:
        t, f = (point[x] for x in group.flip)
        kinds = [
            (p * t, fmpq(1), correct),
            (p * (1 - t), fmpq(0), correct),
            ((1 - p) * f, fmpq(1), wrong),
            ((1 - p) * (1 - f), fmpq(0), wrong),
        ]
    if len(kinds) ** size > MANY:
        raise Unsupported(f"more than {MANY} groups to add up")
    first = _integer(_value(low, point), "a window")
    last = _integer(_value(high, point), "a window")
    total: Value = fmpq(0)
    for rollouts in product(kinds, repeat=size):
        rewards = [reward for _, reward, _ in rollouts]
        if not first <= sum(rewards, fmpq(0)) <= last:
            continue
        weight: Value = fmpq(1)
        for probability, _, _ in rollouts:
            weight = weight * probability
        scores = [score for _, _, score in rollouts]
        inner = {**point, group.rewards: rewards, group.scores: scores}
        total = total + weight * _value(h, inner)
    return total


def _beta_mean(e: sp.Expr, point: dict[Any, Any]) -> Value:
    """Rigorous quadrature against the Beta density; samples keep a, b at integers ≥ 1."""
    h, var, a, b = e.args
    # Roots and logarithms have cuts, of which the quadrature would have to know.
    origin = {**point, var: fmpq(0)}
    plain = not h.has(sp.log, sp.asin, sp.exp, sp.sin, sp.cos)
    plain = plain and not h.has(DefiniteIntegral, Minimum, Maximum)
    for power in h.atoms(sp.Pow) if plain else ():
        plain = plain and power.exp.free_symbols <= set(point)
        n = _value(power.exp, origin) if plain else None
        plain = plain and isinstance(n, fmpq) and n.q == 1 and n >= 0
    if not plain:
        raise Unsupported("a mean over a Beta law is evaluated for polynomials only")
    alpha, beta = (_value(x, point) for x in (a, b))
    if not all(isinstance(x, fmpq) and x.q == 1 and 1 <= x <= LARGE for x in (alpha, beta)):
        raise Unsupported(f"Beta({alpha}, {beta}): the parameters of a sample are integers")
    m, n = int(alpha.p), int(beta.p)

    def density(x: Any, _: bool) -> Any:
        inner = _value(h, {**point, var: x})
        return inner * x ** (m - 1) * (1 - x) ** (n - 1)

    mass = acb.integral(density, 0, 1)
    if not mass.imag.contains(0):
        raise Unsupported(f"the integral is not real: {mass}")
    return mass.real * arb(m + n).gamma() / (arb(m).gamma() * arb(n).gamma())


def _poisson_mean(e: sp.Expr, point: dict[Any, Any]) -> Value:
    """Partial sum plus a tail ball; the tail bound needs 0 ≤ h(n) ≤ n + 1."""
    h, var, rate_expr = e.args
    if h not in (sp.Integer(1), var, sp.sqrt(var)):
        raise Unsupported("a Poisson mean is evaluated for h(n) = 1, n, √n only")
    rate = _ball(_value(rate_expr, point))
    if not rate > 0:
        raise UndefinedValue(f"a Poisson rate of {rate}")
    if not rate < FASTEST:
        raise Unsupported(f"a Poisson rate of {rate}")
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
    if precision < 1:
        raise UndefinedValue(f"{precision} significant bits")
    if inner.is_Pow and inner.exp == sp.Rational(1, 2):
        x = _value(inner.base, point)
        if not isinstance(x, fmpq) or x < 0:
            raise Unsupported("rounding needs an exact non-negative radicand")
        # The correctly rounded root of a rational: an integer root of more than ``precision``
        # bits, and whether it is exact, decide it. 2^shift makes the radicand that large.
        size = int(fmpz(x.p).bit_length()) - int(fmpz(x.q).bit_length())
        shift = max(0, precision + 4 - size // 2)
        if shift > HUGE:
            raise Unsupported(f"the root of a number of {size} bits")
        scale = fmpz(1) << shift
        floor = fmpz((x * scale * scale).floor()).isqrt()
        sticky = 0 if fmpq(floor * floor) == x * scale * scale else 1
        return _nearest(fmpq(2 * floor + sticky, 2 * scale), precision)
    x = _value(inner, point)
    if not isinstance(x, fmpq):
        raise Unsupported("rounding needs an exact rational")
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
