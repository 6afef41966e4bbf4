"""The algorithms' definitions for one group, as terms: nothing here is a closed form."""

from __future__ import annotations

import sympy as sp

from proofs.kernel.domain import COORDINATE, SCORES, Domain, Group, Integer
from proofs.kernel.theorem import Reference

G, k, i, j, r = sp.symbols("G k i j r")
R, s = sp.IndexedBase("R"), sp.IndexedBase("s")
d = COORDINATE


def total(body: sp.Expr, index: sp.Symbol = i) -> sp.Sum:
    """Σ over the rollouts of the group."""
    return sp.Sum(body, (index, 1, G))


def mean(body: sp.Expr, index: sp.Symbol = i) -> sp.Expr:
    return total(body, index) / G


_l = sp.Symbol("l")  # an index of its own: μ also stands inside sums over j
mu = mean(R[_l], _l)
variance = mean((R[j] - mu) ** 2, j)
sigma = sp.sqrt(variance)  # population standard deviation, ddof 0
bessel = sp.sqrt(total((R[j] - mu) ** 2, j) / (G - 1))  # sample standard deviation, ddof 1
correct_mean = total(R[i] * s[i, d]) / k
wrong_mean = total((1 - R[i]) * s[i, d]) / (G - k)
contrast = correct_mean - wrong_mean  # Δs


def leave_one_out(rollout: sp.Symbol) -> sp.Expr:
    """b_i: the mean reward of the other rollouts."""
    return total((1 - sp.KroneckerDelta(rollout, j)) * R[j], j) / (G - 1)


def update(advantage: sp.Expr) -> sp.Expr:
    """g = (1/G) Σ A_i s_i for an advantage written in R[i]."""
    return mean(advantage * s[i, d])


binary_any = Domain(Integer(G, 2), Integer(k, 0, G), *SCORES, Group(G, correct=k))
mixed = Domain(Integer(G, 2), Integer(k, 1, G - 1), *SCORES, Group(G, correct=k))
real_any = Domain(Integer(G, 2), *SCORES, Group(G))
real_spread = Domain(Integer(G, 2), *SCORES, Group(G, spread=True))
rollout = Integer(r, 1, G)


def paper(place: str, note: str = "") -> Reference:
    return Reference("arXiv 2607.00152", "", place, note)
