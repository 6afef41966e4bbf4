"""What arrays, assumptions, draws, slopes and minima let the kernel prove, and what they need.

``test_attacks_on_arrays`` has what must be refused; here are small true statements of each kind,
and for each the nearest one that is not true everywhere.
"""

from __future__ import annotations

from typing import Any

import pytest
import sympy as sp

from proofs.kernel.domain import Array, Assumption, Domain, Draws, Integer, Real
from proofs.kernel.errors import ProofError
from proofs.kernel.rules import (
    Assume,
    Branch,
    Cite,
    ConstantProduct,
    Context,
    Differentiate,
    ExpSum,
    Factorwise,
    LinearMean,
    MeanValue,
    Moments,
    Outcomewise,
    RealPower,
    Square,
    Termwise,
)
from proofs.kernel.semantics import compare
from proofs.kernel.terms import Maximum, Minimum, SampleMean, Slope
from proofs.kernel.theorem import Chain, Claim, check_proof
from tests.kernel.claims import step

G, N, V, T, i, j, k, y, z, t, a = sp.symbols("G N V T i j k y z t a")
lo, hi, r, u, v = sp.symbols("lo hi r u v")
L, x, C, g, w = (sp.IndexedBase(name) for name in "LxCgw")
Y = sp.IndexedBase("Y")
size = Integer(G, 1)
few = tuple(sp.Rational(n, 4) for n in range(-5, 6))


def total(body: Any, index: sp.Symbol = i, high: Any = G) -> sp.Sum:
    return sp.Sum(body, (index, 1, high))


def holds(domain: Domain, lhs: Any, relation: str, rhs: Any, *by: Any) -> str:
    """Grade of a one-step proof; and the statement is true at samples."""
    grade = check_proof(
        Context(domain), Claim(lhs, relation, rhs), Chain((step(relation, rhs, *by),)), []
    )
    for point in domain.points("holds", 20):
        assert compare(sp.sympify(lhs), relation, sp.sympify(rhs), point) is not False
    return grade


positive = Domain(size, Array(L, (G,), 0), Array(x, (G,)))
SUMS = {
    "constants leave the sum": (total(a * x[i]), a * total(x[i])),
    "a denominator stays inside": (total((x[i] + L[i]) / L[i]), total(x[i] / L[i]) + G),
    "order of two sums": (total(total(x[i] / L[j], j)), total(total(x[i] / L[j]), j)),
    "a product of sums": (total(total(x[i] * L[j], j)), total(x[i]) * total(L[i])),
    "a square of a sum": (total(total(x[i] * x[j], j)), total(x[i]) ** 2),
    "Lagrange's identity": (
        total(total((x[i] * L[j] - x[j] * L[i]) ** 2, j)),
        2 * total(x[i] ** 2) * total(L[i] ** 2) - 2 * total(x[i] * L[i]) ** 2,
    ),
    "a delta picks one": (
        total(total(sp.KroneckerDelta(i, j) * x[i] * L[j], j)),
        total(x[i] * L[i]),
    ),
    "a sum over nothing that moves": (total(a, j), G * a),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_over_arrays(name: str) -> None:
    lhs, rhs = SUMS[name]
    domain = Domain(Real(a), *positive.declarations)
    assert holds(domain, lhs, "=", rhs) == "exact"
    with pytest.raises(ProofError):
        holds(domain, lhs, "=", rhs + total(x[i]) / 10**6)


def test_sums_to_an_entry() -> None:
    tokens = Domain(size, Integer(T, 1), Array(L, (G,), 1, T, integer=True), Array(x, (G, T)))
    assert holds(
        tokens,
        total(total(x[i, k] / L[i], k, L[i])),
        "=",
        total(total(x[i, k], k, L[i]) / L[i]),
    )
    with pytest.raises(ProofError, match="defined"):  # L_i + 1 may be beyond T
        holds(tokens, total(total(x[i, k], k, L[i] + 1)), "=", total(L[i]))


def test_probabilities_sum_to_one() -> None:
    law = Domain(size, Integer(N, 1), Array(w, (G, N), law=True), Array(x, (G,)))
    assert holds(law, total(total(w[i, y], y, N) * x[i]), "=", total(x[i])) == "exact"
    with pytest.raises(ProofError):  # over the first index they do not
        holds(law, total(total(w[i, y]), y, N), "=", N)


def test_an_assumption_is_used_by_its_rule_only() -> None:
    value = sp.KroneckerDelta(i, j) * V * L[i]
    free = (size, Real(V, 0), Array(L, (G,), 0), Array(C, (G, G)))
    assumed = Domain(*free, Assumption(C, (i, j), value, "uncorrelated"))
    variance = total(total(C[i, j], j))
    inner = Termwise(total(C[i, j], j), value, steps=(step("=", value, Assume(C, (i, j))),))
    uses = Termwise(variance, total(value, j), steps=(step("=", total(value, j), inner),))
    assert holds(assumed, variance, "=", V * total(L[i]), uses) == "exact"
    with pytest.raises(ProofError):
        holds(assumed, variance, "=", V * total(L[i]))
    with pytest.raises(ProofError, match="nothing is assumed"):
        holds(Domain(*free), variance, "=", V * total(L[i]), uses)
    point = next(assumed.points("assumed", 1))
    point[C] = [[entry + 1 for entry in row] for row in point[C]]
    assert "uncorrelated" in str(assumed.contains(point))


def test_moments_of_draws() -> None:
    drawn = Domain(size, Integer(N, 1), Array(w, (N,), law=True), Array(g, (N,)), Draws(Y, G, w))
    mean = total(w[y] * g[y], y, N)
    square = SampleMean((total(g[Y[i]]) / G) ** 2)
    second = (total(w[y] * g[y] ** 2, y, N) + (G - 1) * mean**2) / G
    assert holds(drawn, square, "=", second, Moments(square, z)) == "exact"
    with pytest.raises(ProofError):
        holds(drawn, square, "=", mean**2, Moments(square, z))
    ratio = SampleMean(1 / total(g[Y[i]] ** 2 + 1))
    with pytest.raises(ProofError, match="enter as"):
        Moments(ratio, z).prove(Context(drawn))
    split = LinearMean(
        SampleMean(a * total(g[Y[i]]) + 1), ((a, total(g[Y[i]])), (1, sp.Integer(1)))
    )
    with_a = Domain(Real(a), *drawn.declarations)
    assert split.prove(Context(with_a)).relation == "="
    assert Outcomewise(ratio, sp.Integer(1) / G, "<=").prove(Context(drawn)).grade == "exact"
    with pytest.raises(ProofError):
        Outcomewise(ratio, sp.Integer(1) / (2 * G), "<=").prove(Context(drawn))


def test_a_slope_holds_everything_else_constant() -> None:
    domain = Domain(Real(u, samples=few))
    body = sp.exp(u) * t**2
    slope = Slope(body, t, u)
    assert holds(domain, slope, "=", 2 * u * sp.exp(u), Differentiate(slope)) == "exact"
    with pytest.raises(ProofError):
        holds(domain, slope, "=", (2 * u + u**2) * sp.exp(u), Differentiate(slope))
    with pytest.raises(ProofError, match="defined"):
        Differentiate(Slope(sp.sqrt(t**2), t, u)).prove(Context(domain))


def test_minima_piece_by_piece() -> None:
    clip = Maximum(Minimum(r * sp.exp(t), 1 + hi), 1 - lo)
    surrogate = Minimum(r * sp.exp(t) * a, clip * a)
    base = (Real(lo, 0, 1), Real(hi, 0, 5), Real(a, 0))
    pieces = {(0, 1 - lo): r * a, (1 - lo, 1 + hi): r * a, (1 + hi, None): sp.Integer(0)}
    for (low, high), slope in pieces.items():
        domain = Domain(*base, Real(r, low, high))
        term = Slope(surrogate, t, 0)
        assert holds(domain, term, "=", slope, Differentiate(term)) == "exact"
    across = Domain(*base, Real(r, 0))
    with pytest.raises(ProofError, match="which is smaller"):
        Differentiate(Slope(surrogate, t, 0)).prove(Context(across))
    with pytest.raises(ProofError, match="which of"):
        Branch(Minimum(r, 1 + hi)).prove(Context(across))


@pytest.mark.parametrize("extreme", [Minimum, Maximum])
def test_the_algebra_and_the_rule_choose_as_the_evaluator_does(extreme: Any) -> None:
    for first, second in ((r, sp.Integer(1)), (sp.Integer(1), r)):
        for domain in (Domain(Real(r, 1)), Domain(Real(r, 0, 1))):
            term = extreme(first, second)
            (right,) = {
                value
                for value in (first, second)
                if all(compare(term, "=", value, p) for p in domain.points("extreme", 30))
            }
            wrong = second if right == first else first
            ctx = Context(domain)
            assert ctx.zero(term - right)
            assert not ctx.zero(term - wrong)
            assert Branch(term).prove(ctx).rhs == right


def test_exponentials() -> None:
    logs = Domain(size, Array(L, (G,), 0), Real(a, samples=few))
    whole = sp.exp(total(sp.log(L[i])))
    assert holds(logs, whole, "=", sp.Product(L[i], (i, 1, G)), ExpSum(total(sp.log(L[i]))))
    power = L[1] ** a
    assert holds(logs, power, "=", sp.exp(a * sp.log(L[1])), RealPower(L[1], a)) == "exact"
    with pytest.raises(ProofError, match=r"defined|> 0"):
        RealPower(x[1], a).prove(Context(Domain(Real(a), size, Array(x, (G,)))))


def test_at_ratio_one_both_branches_are_one_function() -> None:
    clip = Maximum(Minimum(sp.exp(t), 1 + hi), 1 - lo)
    term = Slope(Minimum(sp.exp(t) * a, clip * a), t, 0)
    domain = Domain(Real(lo, 0, 1), Real(hi, 0), Real(a))
    assert holds(domain, term, "=", a, Differentiate(term)) == "exact"
    touching = Domain(Real(lo, 0, 1), Real(hi, 0, open_low=False), Real(a))
    with pytest.raises(ProofError):  # with hi = 0 the clip begins at ratio 1
        Differentiate(term).prove(Context(touching))


def test_mean_value() -> None:
    domain = Domain(Real(u, 0, 10), Real(v, u, 20))
    rises = MeanValue(t**2, t, u, v, 2 * t, "<")
    assert holds(domain, u**2, "<", v**2, (1, rises)) == "exact"
    with pytest.raises(ProofError):
        MeanValue(-(t**2), t, u, v, -2 * t).prove(Context(domain))
    with pytest.raises(ProofError, match="not the derivative"):
        MeanValue(t**2, t, u, v, 3 * t).prove(Context(domain))
    closed = Domain(Real(u, 0, 10, open_low=False), Real(v, u, 20))
    with pytest.raises(ProofError, match="root"):  # at 0 it has no derivative
        MeanValue(sp.sqrt(t), t, u, v, 1 / (2 * sp.sqrt(t))).prove(Context(closed))


def test_real_powers() -> None:
    domain = Domain(Real(a, samples=few), size, Array(L, (G,), 0))
    powers = total(L[i] ** (1 - 2 * a))
    assert holds(domain, powers, "=", total(L[i] * (L[i] ** (-a)) ** 2)) == "exact"
    slope = sp.Derivative(total(L[i] ** a), a)
    assert holds(domain, slope, "=", total(sp.log(L[i]) * L[i] ** a), Differentiate(slope))
    closed = Domain(Real(a), size, Array(L, (G,), 0, open_low=False))
    with pytest.raises(ProofError, match="power"):
        Context(closed).term(total(L[i] ** a))


def test_products() -> None:
    p = sp.IndexedBase("p")
    domain = Domain(size, Real(u, 0, 1), Array(p, (G,), u, 1))
    whole = sp.Product(1 - p[i], (i, 1, G))
    small = Factorwise(whole, 1 - u, "<=")
    same = ConstantProduct(sp.Product(1 - u, (i, 1, G)))
    claim = Claim(whole, "<=", (1 - u) ** G)
    chain = Chain(
        (
            step("<=", sp.Product(1 - u, (i, 1, G)), (1, small)),
            step("=", (1 - u) ** G, same),
        )
    )
    assert check_proof(Context(domain), claim, chain, []) == "exact"
    with pytest.raises(ProofError, match=">= 0"):
        Factorwise(sp.Product(-p[i], (i, 1, G)), u, "<=").prove(Context(domain))


def test_weighted_squares_and_facts() -> None:
    square = Square(x[i] - a / L[i], weight=L[i], over=((i, G),))
    domain = Domain(Real(a), *positive.declarations)
    rhs = total(L[i] * x[i] ** 2) - 2 * a * total(x[i]) + a**2 * total(1 / L[i])
    assert holds(domain, 0, "<=", rhs, (1, square)) == "exact"
    with pytest.raises(ProofError, match=">= 0"):
        Square(x[i], weight=x[i], over=((i, G),)).prove(Context(domain))
    bernoulli = Cite("bernoulli", ((sp.Symbol("x"), u), (sp.Symbol("y"), v)))
    good = Domain(Real(u, 0), Real(v, 0, 1))
    assert holds(good, u**v, "<=", 1 + v * (u - 1), (1, bernoulli)) == "cited"
    with pytest.raises(ProofError, match=">= 0"):
        bernoulli.prove(Context(Domain(Real(u, 0), Real(v, 0, 2))))
