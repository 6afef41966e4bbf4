"""Two estimates of Tsallis' gradient from M latent draws: GARL, a ratio, and PAFT, by resampling."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.difficulty.expansion import IDS, POINTS, bound, polynomial, rising
from proofs.difficulty.expansion import c as least
from proofs.difficulty.expansion import factor as number
from proofs.difficulty.expansion import scale as size
from proofs.difficulty.expansion import x as variable
from proofs.difficulty.notation import N, q, tsallis_paper
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Draws, Integer, Real
from proofs.kernel.rules import Instance, LinearMean, Moments, Outcomewise, Square
from proofs.kernel.terms import SampleMean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

M, m, i, j, y, o = sp.symbols("M m i j y o")
g, p, v, w, Y = map(sp.IndexedBase, ("g", "p", "v", "w", "Y"))
FINITE = "latent draws Y_i are independent, from one law p over finitely many values"
SIGN = (
    "g is one coordinate of the loss gradient: E[g] = P∇ℓ₁ = −∇P, as with g_i = −w_i ∇ log π; with "
    "the other sign for g and ∇ℓ₁ all sides change sign"
)


def over_draws(body: sp.Expr, index: sp.Symbol = i) -> sp.Sum:
    return sp.Sum(body, (index, 1, M))


def law_mean(body: Any, index: sp.Symbol = o) -> sp.Sum:
    """E h(Y) for one draw."""
    return sp.Sum(p[index] * body(index), (index, 1, N))


def setting(*more: Any) -> tuple[Any, ...]:
    draws = Integer(M, 1), Integer(N, 1, spread=3)
    return (*draws, *more, Array(g, (N,)), Array(p, (N,), law=True), Draws(Y, M, p))


class Garl:
    """(mean of g_i)/(mean of w_i)^q over M draws, for weights w = m + v, v ≥ 0: at least m."""

    mean_g, mean_v = law_mean(lambda k: g[k]), law_mean(lambda k: v[k])
    P = m + mean_v
    D = over_draws(g[Y[i]] - mean_g) / M  # mean of g less E[g]
    u = over_draws(v[Y[i]] - mean_v) / (M * P)  # w̄/P − 1
    estimate = (over_draws(g[Y[i]]) / M) / (over_draws(m + v[Y[i]]) / M) ** q
    ell = mean_g / P  # ∇ℓ₁

    @classmethod
    def moment(cls, a: int, b: int) -> sp.Sum:
        """E (g − E g)^a (w − P)^b."""
        return law_mean(lambda k: (g[k] - cls.mean_g) ** a * (v[k] - cls.mean_v) ** b, y)

    @classmethod
    def target(cls) -> sp.Expr:
        """∇ℓ_q = P^(1−q) ∇ℓ₁."""
        return cls.mean_g / cls.P**q

    @classmethod
    def leading(cls) -> sp.Expr:
        inner = (q + 1) / 2 * cls.ell * cls.moment(0, 2) - cls.moment(1, 1)
        return q / (M * cls.P ** (q + 1)) * inner

    @classmethod
    def second(cls) -> sp.Expr:
        inner = cls.moment(1, 2) - (q + 2) / 3 * cls.ell * cls.moment(0, 3)
        return q * (q + 1) / (2 * M**2 * cls.P ** (q + 2)) * inner

    @classmethod
    def rest(cls) -> sp.Expr:
        P, share = cls.P, cls.P / m
        mixed = cls.moment(2, 2) + (M - 1) * (
            cls.moment(2, 0) * cls.moment(0, 2) + 2 * cls.moment(1, 1) ** 2
        )
        pure = cls.moment(0, 4) + 3 * (M - 1) * cls.moment(0, 2) ** 2
        third = rising(3) * share ** (q + 3) * (mixed / (size * P**2) + size * pure / P**4)
        fourth = rising(4) * share ** (q + 4) * (cls.mean_g**2 / size + size) * pure / P**4
        return (third + fourth) / (2 * M**3 * P**q)

    @classmethod
    def parts(cls, sign: int) -> tuple[tuple[sp.Expr, sp.Expr], ...]:
        """Coefficients, and products of D and u, of the polynomial that bounds the estimate."""
        P, u, D, mu = cls.P, cls.u, cls.D, cls.mean_g
        third = sign * rising(3) * (m / P) ** (-q - 3) / 2
        fourth = sign * rising(4) * (m / P) ** (-q - 4) / 2 * (mu**2 / size + size)
        found = (
            *((mu * (-1) ** k * rising(k), u**k) for k in range(4)),
            *(((-1) ** k * rising(k), D * u**k) for k in range(3)),
            (third / size, D**2 * u**2),
            (third * size + fourth, u**4),
        )
        return tuple((P ** (-q) * coefficient, product) for coefficient, product in found)

    @classmethod
    def side(cls, name: str, domain: Domain, sign: int) -> Clause:
        P, u = cls.P, cls.u
        parts = cls.parts(sign)
        body = sp.Add(*(coefficient * product for coefficient, product in parts))
        apart = sp.Add(*(coefficient * SampleMean(product) for coefficient, product in parts))

        def instance(order: int, value: sp.Expr) -> Instance:
            terms = ((variable, 1 + u), (least, m / P), (number, sign * value), (size, size))
            return Instance(IDS[order], "bound", terms)

        by = ((P ** (-q), instance(2, cls.D)), (P ** (-q), instance(3, cls.mean_g)))
        estimate, mean = SampleMean(cls.estimate), SampleMean(body)
        closed = cls.target() + cls.leading() + cls.second() + sign * cls.rest()
        text = "Taylor's polynomials at w̄/P, draw by draw"
        linear = LinearMean(mean, parts)
        moments = tuple(Moments(SampleMean(product), y) for _, product in parts)
        if sign > 0:
            rule = Outcomewise(estimate, body, "<=", (Step(text, "<=", body, by=by),))
            steps = (
                Step(text, "<=", mean, by=((1, rule),)),
                Step("power by power", "=", apart, by=(linear,)),
                Step("moments of independent draws", "=", closed, by=moments),
            )
            claim = Claim(estimate, "<=", closed)
        else:
            rule = Outcomewise(mean, cls.estimate, "<=", (Step(text, "<=", cls.estimate, by=by),))
            steps = (
                Step("moments of independent draws", "=", apart, by=moments),
                Step("power by power", "=", mean, by=(linear,)),
                Step(text, "<=", estimate, by=((1, rule),)),
            )
            claim = Claim(closed, "<=", estimate)
        return Clause(name, domain, claim, Chain(steps))
