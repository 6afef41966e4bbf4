"""Symbols of the topic and its sources.

In the formulas q is Tsallis' exponent, as in its paper, and 1 − p is written out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from proofs.kernel.domain import Array, Domain, Draws, Integer, Real
from proofs.kernel.rules import Differentiate
from proofs.kernel.theorem import Chain, Claim, Clause, Reference, Step

__all__ = [
    "ABOVE_ONE",
    "BELOW_ONE",
    "M",
    "N",
    "Y",
    "attempts",
    "g",
    "half",
    "i",
    "law",
    "law_mean",
    "log_q",
    "logistic",
    "n",
    "outcomes",
    "over_draws",
    "p",
    "paced",
    "q",
    "shaping",
    "slope_clause",
    "t",
    "tsallis",
    "tsallis_paper",
    "unit",
    "w",
    "y",
]

p, q, t, n, N = sp.symbols("p q t n N")
half = sp.Rational(1, 2)

unit = Real(p, 0, 1)
attempts = Integer(n, 1)  # pass@K with K = n: the kernel keeps the letter K for itself
outcomes = Integer(N, 1, spread=3)
BELOW_ONE = (
    sp.Rational(1, 10),
    sp.Rational(1, 4),
    half,
    sp.Rational(2, 3),
    sp.Rational(9, 10),
    sp.Rational(1, 3),
)
ABOVE_ONE = tuple(sp.Rational(k, 4) for k in (5, 6, 8, 11, 12, 20))


def tsallis(low: bool) -> Real:
    """The exponent q, below 1 (and positive) or above 1: log_q divides by 1 − q."""
    return Real(q, 0, 1, samples=BELOW_ONE) if low else Real(q, 1, samples=ABOVE_ONE)


def log_q(x: sp.Expr) -> sp.Expr:
    """Tsallis' logarithm, for q ≠ 1."""
    return (x ** (1 - q) - 1) / (1 - q)


logistic = 1 / (1 + sp.exp(-t))  # p as a function of the logit t


def slope_clause(
    name: str,
    domain: Domain,
    derivative: sp.Expr,
    closed: sp.Expr,
    words: str = "",
    given: tuple[Any, ...] = (),
) -> Clause:
    """A derivative and its closed form, by the rules of differentiation."""
    step = Step("differentiate", "=", closed, by=(Differentiate(derivative),))
    return Clause(name, domain, Claim(derivative, "=", closed), Chain((step,)), words, given)


# -- latent draws, for the estimates of Tsallis' gradient ------------------------------------------

M, i, o, y = sp.symbols("M i o y")
g, law_of, w, Y = map(sp.IndexedBase, ("g", "p", "w", "Y"))  # a law p: no success rate is near it


def law(*more: Any) -> tuple[Any, ...]:
    """M independent draws Y_i from one law over N values."""
    return (Integer(M, 1), outcomes, *more, Array(law_of, (N,), law=True), Draws(Y, M, law_of))


def over_draws(body: sp.Expr, index: sp.Symbol = i) -> sp.Sum:
    return sp.Sum(body, (index, 1, M))


def law_mean(body: Callable[[sp.Symbol], sp.Expr], index: sp.Symbol = o) -> sp.Sum:
    """E h(Y) for one draw."""
    return sp.Sum(law_of[index] * body(index), (index, 1, N))


def paced(place: str, note: str = "as we read it", version: str = "v1") -> Reference:
    return Reference("arXiv 2603.11178", version, place, note)


def tsallis_paper(place: str, note: str = "as we read it") -> Reference:
    return Reference("arXiv 2604.25907", "v1", place, note)


def shaping(place: str, note: str = "reconstructed") -> Reference:
    return Reference("arXiv 2510.23049", "", place, note)
