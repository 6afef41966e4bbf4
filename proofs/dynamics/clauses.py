"""Clauses of a form that several modules of the topic have."""

from __future__ import annotations

import sympy as sp

from proofs.kernel.domain import Domain
from proofs.kernel.rules import Differentiate
from proofs.kernel.theorem import Chain, Claim, Clause, Step

__all__ = ["PLAIN_TIME", "compared", "differentiated", "y"]

y = sp.Symbol("y")  # what integrals run over, and slopes are taken at
PLAIN_TIME = 1 / (1 - y) - 1 / y + 2 * sp.log(y) - 2 * sp.log(1 - y)  # ∫ dy/(y²(1 − y)²)


def compared(
    name: str, domain: Domain, low: sp.Expr, relation: str, high: sp.Expr, words: str, *steps: Step
) -> Clause:
    """A comparison by these steps; without any, one that the ranges of the variables decide."""
    chain = Chain(steps or (Step("by the ranges", relation, high),))
    return Clause(name, domain, Claim(low, relation, high), chain, words)


def differentiated(
    name: str,
    domain: Domain,
    lhs: sp.Expr,
    rhs: sp.Expr,
    words: str,
    text: str = "differentiated",
    derivative: sp.Expr | None = None,
) -> Clause:
    """An equation by working out a derivative: the left side, or the one in it that is given."""
    rule = Differentiate(lhs if derivative is None else derivative)
    return Clause(
        name, domain, Claim(lhs, "=", rhs), Chain((Step(text, "=", rhs, by=(rule,)),)), words
    )
