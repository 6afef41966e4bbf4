"""Ratios, clips and losses as terms, and the gradient that all of them share on policy.

Token t of response i has the log-probability ℓ_it at the current parameters and the slope z_it
there, in any one direction of parameter space; along that direction it is ℓ_it + x z_it to first
order, and first order is all that a gradient depends on. A slope at x = 0 is a component of a
gradient. What a loss holds constant (old log-probabilities, advantages, whatever is detached) is
written with its value at x = 0, so it does not move with x.
"""

from __future__ import annotations

import sympy as sp

from proofs.groups.notation import R, mu, sigma, variance
from proofs.kernel.calculus import derivative
from proofs.kernel.context import Context
from proofs.kernel.domain import Array, Domain, Integer, Real
from proofs.kernel.rules import Differentiate
from proofs.kernel.terms import Maximum, Minimum, Slope
from proofs.kernel.theorem import Chain, Claim, Clause, Reference, Step

__all__ = [
    "ABOVE",
    "BELOW",
    "CISPO",
    "DAPO",
    "DUAL",
    "GSPO",
    "INSIDE",
    "OFFSETS",
    "PPO",
    "A",
    "G",
    "L",
    "R",
    "T",
    "adv",
    "by_rules",
    "c",
    "clip",
    "clipped",
    "d",
    "dual",
    "ell",
    "high",
    "i",
    "lengths",
    "low",
    "mu",
    "over_responses",
    "over_tokens",
    "r",
    "ratio",
    "sigma",
    "slope",
    "t",
    "token_mean",
    "unclipped",
    "variance",
    "w",
    "x",
    "z",
]

G, T = sp.symbols("G T")
i, t, x, d = sp.symbols("i t x d")
low, high = sp.symbols("epsilon_low epsilon_high")  # offsets from 1: the interval [1−low, 1+high]
r, c, adv = sp.symbols("r c A")  # one ratio, the bound of a dual clip, one advantage
L, w, z, A, ell = map(sp.IndexedBase, ("L", "w", "z", "A", "ell"))

OFFSETS = (Real(low, 0, 1, open_high=False), Real(high, 0))
lengths = (Integer(G, 1), Integer(T, 1), Array(L, (G,), 1, T, integer=True))

PPO = Reference("arXiv 1707.06347", "v2", "equation 7", "as we read it")
DAPO = Reference("arXiv 2503.14476", "v2", "§3.1", "clip-higher, as we read it")
DUAL = Reference("arXiv 1912.09729", "v3", "equation 5", "the dual clip, as we read it")
CISPO = Reference("arXiv 2506.13585", "v1", "equations 4 and 5", "CISPO, as we read them")
GSPO = Reference("arXiv 2507.18071", "v2", "§4.1, equation 5", "as we read them")


# -- surrogates of one ratio, as objectives: to be maximised -------------------------------------


def clip(ratio: sp.Expr) -> sp.Expr:
    """The ratio, clipped to [1 − low, 1 + high]."""
    return Maximum(Minimum(ratio, 1 + high), 1 - low)


def clipped(ratio: sp.Expr, advantage: sp.Expr = adv) -> sp.Expr:
    """PPO: min(ρA, clip(ρ)A)."""
    return Minimum(ratio * advantage, clip(ratio) * advantage)


def dual(ratio: sp.Expr, advantage: sp.Expr = adv) -> sp.Expr:
    """The dual clip of a negative advantage: max(min(ρA, clip(ρ)A), cA)."""
    return Maximum(clipped(ratio, advantage), c * advantage)


# -- losses of tokens and responses ----------------------------------------------------------------

ratio = sp.exp(x * z[i, t])  # π/π_old of token t, on policy


def over_responses(body: sp.Expr, index: sp.Symbol = i) -> sp.Sum:
    return sp.Sum(body, (index, 1, G))


def over_tokens(body: sp.Expr, index: sp.Symbol = t) -> sp.Sum:
    """Σ over the tokens of response i."""
    return sp.Sum(body, (index, 1, L[i]))


def token_mean(body: sp.Expr, index: sp.Symbol = t) -> sp.Expr:
    """The mean over the tokens of response i."""
    return over_tokens(body, index) / L[i]


def slope(loss: sp.Expr) -> Slope:
    """The component of the gradient of a loss."""
    return Slope(loss, x, 0)


unclipped = -over_responses(over_tokens(w[i, t] * A[i, t] * z[i, t]))


# -- derivations -----------------------------------------------------------------------------------

BELOW, INSIDE, ABOVE = (
    Real(r, 0, 1 - low),
    Real(r, 1 - low, 1 + high),
    Real(r, 1 + high),
)


def by_rules(
    name: str,
    domain: Domain,
    lhs: sp.Expr,
    rhs: sp.Expr,
    *,
    text: str = "the branch that applies at x = 0, differentiated",
    end: str = "",
    words: str = "",
) -> Clause:
    """A slope, worked out by the rules of differentiation and brought into closed form."""
    worked_out = derivative(lhs, Context(domain))
    first = Step(text, "=", worked_out, by=(Differentiate(lhs),))
    last = (Step(end or "collect", "=", rhs),) if worked_out != rhs else ()
    return Clause(name, domain, Claim(lhs, "=", rhs), Chain((first, *last)), words)
