"""Policies, pairs and losses as terms: definitions only, nothing here is a closed form.

A policy is given by its probabilities and moves along a line: the logit of response y is
log π_y + t b_y. At t = 0 that is any policy with positive probabilities and any direction, so a
slope at t = 0 is a directional derivative; what carries no t is constant there, as behind a
stop-gradient.
"""

from __future__ import annotations

import sympy as sp

from proofs.expectation.notation import weight
from proofs.groups.notation import bessel, mu, sigma
from proofs.kernel.domain import Array, Integer, Real
from proofs.kernel.terms import Slope
from proofs.kernel.theorem import Reference

__all__ = [
    "LINE",
    "ON_POLICY",
    "PAIRS",
    "UNDIVIDED",
    "M",
    "N",
    "Q",
    "alpha",
    "at_zero",
    "b",
    "bessel",
    "beta",
    "correct",
    "correct_now",
    "counts",
    "descent",
    "f",
    "gamma",
    "h",
    "i",
    "j",
    "log_ratio",
    "logistic",
    "mu",
    "normaliser",
    "over_pairs",
    "p",
    "pair",
    "pair_normaliser",
    "paper",
    "policy",
    "q",
    "reference",
    "rho",
    "score",
    "sigma",
    "strength",
    "success",
    "t",
    "u",
    "v",
    "verdicts",
    "w",
    "weight",
    "wrong",
    "wrong_now",
    "x",
    "y",
    "z",
]

M, N, Q = sp.symbols("M N Q")
beta, p, t = sp.symbols("beta p t")
i, j, u, v, x, y, z = sp.symbols("i j u v x y z")
q = 1 - p

LINE = (
    "Finitely many responses, each with positive probability. The logits move along a line, which "
    "at one point has the value and the slope of any differentiable path; for several parameters "
    "read the statements coordinate by coordinate."
)
ON_POLICY = "On policy: importance ratio 1, no clipping, no KL term."
PAIRS = "The two rollouts of a prompt are independent; equal rewards make no step."
UNDIVIDED = "σ has ddof 0 and nothing is added to it."

# Samples evaluate e^(βΔ) to 50 digits; any β > 0 is covered.
strength = Real(beta, 0, samples=tuple(sp.Rational(n, 10) for n in (1, 2, 5, 10, 15, 20)))


def at_zero(e: sp.Expr) -> sp.Expr:
    """The term at t = 0, a constant."""
    return e.xreplace({t: sp.Integer(0)})


def logistic(argument: sp.Expr) -> sp.Expr:
    return 1 / (1 + sp.exp(-argument))


def descent(margin: sp.Expr) -> Slope:
    """−∇L at t = 0 of DPO's loss L = −log S(βΔ) of one pair, Δ its margin in t."""
    loss = -sp.log(logistic(beta * margin))
    return Slope(-loss, t, 0)


def log_ratio(probability: sp.Expr, reference: sp.Expr) -> sp.Expr:
    return sp.log(probability / reference)


# -- one policy over N responses, of which u is better than v ------------------------------------

w, b, rho = sp.IndexedBase("w"), sp.IndexedBase("b"), sp.IndexedBase("rho")
_r = sp.Symbol("r")

pair = (
    Integer(N, 1, spread=4),
    Array(w, (N,), law=True),
    Array(b, (N,)),
    Integer(u, 1, N),
    Integer(v, 1, N),
)
reference = Array(rho, (N,), law=True)
pair_normaliser = sp.Sum(w[_r] * sp.exp(t * b[_r]), (_r, 1, N))


def policy(response: sp.Symbol) -> sp.Expr:
    """π_t(y), the softmax of the logits log π_y + t b_y."""
    return w[response] * sp.exp(t * b[response]) / pair_normaliser


# -- one prompt, with M correct and N wrong responses --------------------------------------------

alpha, gamma = sp.IndexedBase("alpha"), sp.IndexedBase("gamma")
f, h = sp.IndexedBase("f"), sp.IndexedBase("h")

counts = (Integer(M, 1, spread=4), Integer(N, 1, spread=4))
verdicts = (
    *counts,
    Real(p, 0, 1),
    Array(alpha, (M,), law=True),
    Array(gamma, (N,), law=True),
    Array(f, (M,)),
    Array(h, (N,)),
)


def _up(response: sp.Symbol) -> sp.Expr:
    return p * alpha[response] * sp.exp(t * f[response])


def _down(response: sp.Symbol) -> sp.Expr:
    return q * gamma[response] * sp.exp(t * h[response])


_right = sp.Sum(_up(_r), (_r, 1, M))
normaliser = _right + sp.Sum(_down(_r), (_r, 1, N))
success = _right / normaliser  # the probability of a correct response, p at t = 0


def correct(response: sp.Symbol) -> sp.Expr:
    """π_t of a correct response: p α_i at t = 0, its logit moving by t f_i."""
    return _up(response) / normaliser


def wrong(response: sp.Symbol) -> sp.Expr:
    """π_t of a wrong response: (1−p) γ_j at t = 0, its logit moving by t h_j."""
    return _down(response) / normaliser


correct_now, wrong_now = p * alpha[i], q * gamma[j]  # at t = 0, where the normaliser is 1


def score(probability: sp.Expr) -> Slope:
    """s = ∂ log π at t = 0."""
    return Slope(sp.log(probability), t, 0)


def over_pairs(body: sp.Expr) -> sp.Sum:
    """Σ over correct i and wrong j."""
    return sp.Sum(body, (j, 1, N), (i, 1, M))


def paper(place: str, note: str = "reconstructed") -> Reference:
    return Reference("arXiv 2510.00977", "", place, note)
