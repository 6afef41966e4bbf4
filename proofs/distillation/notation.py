"""Student, teacher and the directions in which the student moves, as terms: definitions only.

The student's probabilities are w and its logits move along a line: the logit of response y is
log w_y + t b_y. At t = 0 that is any policy with positive probabilities and any direction, so a
slope at t = 0 is a component of the gradient. The teacher, tau, does not move.
"""

from __future__ import annotations

import sympy as sp

from proofs.kernel.calculus import derivative
from proofs.kernel.context import Context
from proofs.kernel.domain import Array, Domain, Integer
from proofs.kernel.terms import Slope
from proofs.kernel.theorem import Reference

__all__ = [
    "LINE",
    "LOG_PI",
    "LOG_T",
    "LOG_W",
    "OPD",
    "PI",
    "POSITIVE",
    "WRITTEN",
    "N",
    "along",
    "b",
    "j",
    "moving",
    "outcomes",
    "over",
    "policies",
    "score",
    "score_of",
    "t",
    "tau",
    "w",
    "worked_out",
    "y",
]

N, t, y, j = sp.symbols("N t y j")
w, tau, b = map(sp.IndexedBase, ("w", "tau", "b"))

outcomes = Integer(N, 2, spread=3)
policies = (outcomes, Array(w, (N,), law=True), Array(tau, (N,), law=True))
moving = Domain(*policies, Array(b, (N,)))

WRITTEN = "In the formulas w is the student π, where it is now, and tau is the teacher π_T."
LINE = (
    "The student's logit of response y is log π_y + t b_y: any policy, any direction b, at t = 0."
)
POSITIVE = "Finitely many responses, each with positive probability under both."

OPD = Reference("arXiv 2605.12483", "", "", "reconstructed")


def over(body: sp.Expr, index: sp.Symbol = y) -> sp.Sum:
    """Σ over responses."""
    return sp.Sum(body, (index, 1, N))


def score_of(response: sp.Symbol) -> sp.Expr:
    """log π_t of a response."""
    partition = over(w[j] * sp.exp(t * b[j]), j)
    return sp.log(w[response]) + t * b[response] - sp.log(partition)


LOG_W, LOG_T = sp.log(w[y]), sp.log(tau[y])
LOG_PI = score_of(y)
PI = sp.exp(LOG_PI)


def along(body: sp.Expr) -> Slope:
    """The derivative at t = 0: a component of the gradient."""
    return Slope(body, t, 0)


score = along(LOG_PI)  # ∇log π_y, b_y less its mean


def worked_out(slope: Slope, domain: Domain = moving) -> sp.Expr:
    """A derivative by the rules of differentiation, to be the next line of a derivation."""
    return derivative(slope, Context(domain))
