"""Lengths, weights and gradients of one group, and finite probability spaces, as terms.

g_i is the unnormalised gradient of response i: the sum over its L_i tokens, one coordinate of it.
An aggregation method weighs it by x_i; its estimate is Σ x_i g_i. Nothing here is a closed form.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from proofs.kernel.domain import Array, Assumption, Domain, Integer, Real
from proofs.kernel.theorem import Chain, Claim, Clause, Reference, Step

G, N, M, V, J, alpha, r = sp.symbols("G N M V J alpha r")
i, j, o, y = sp.symbols("i j o y")
a, b, u, v = sp.symbols("a b u v")  # indices of their own, for sums inside sums
L, x, z, m, C = map(sp.IndexedBase, ("L", "x", "z", "m", "C"))
g, w, p, f, Y = map(sp.IndexedBase, ("g", "w", "p", "f", "Y"))

Weight = Callable[[sp.Symbol], sp.Expr]  # x_i, for an index

responses = Integer(G, 1, spread=3)
outcomes = Integer(N, 1, spread=3)
EXPONENTS = tuple(sp.Rational(n, 4) for n in (-4, 0, 1, 2, 3, 4, 6))
POSITIVE = tuple(sp.Rational(n, 2) for n in (1, 2, 3, 4, 6, 9, 14))
lengths = Array(L, (G,), 0)
powered_lengths = Array(L, (G,), 0, samples=POSITIVE)  # where an exponent is real
maximum = Real(M, 0)  # Dr. GRPO's constant: the maximal completion length
exponent = Real(alpha, samples=EXPONENTS)


def over_group(body: sp.Expr, index: sp.Symbol = i) -> sp.Sum:
    return sp.Sum(body, (index, 1, G))


def over_outcomes(body: sp.Expr, index: sp.Symbol = o) -> sp.Sum:
    return sp.Sum(body, (index, 1, N))


def power_sum(k: sp.Expr, index: sp.Symbol = u) -> sp.Sum:
    """S(k) = Σ L_i^k."""
    return over_group(L[index] ** k, index)


# -- the weights x_i, as the methods define them ---------------------------------------------------


def grpo(at: sp.Symbol) -> sp.Expr:
    """Mean over responses of their token means."""
    return 1 / (G * L[at])


def dapo(at: sp.Symbol) -> sp.Expr:
    """Mean over all tokens of the group."""
    return 1 / power_sum(1)


def dr_grpo(at: sp.Symbol) -> sp.Expr:
    """Sum over tokens, over a constant."""
    return 1 / (G * M)


def delta_l(at: sp.Symbol, power: sp.Expr = alpha) -> sp.Expr:
    """ΔL: (1/M) L_i^-α over the sum of these powers."""
    return L[at] ** (-power) / (M * power_sum(-power))


# -- given the lengths ----------------------------------------------------------------------------

MEAN = "E[g_i | L] = J for every response (J one coordinate of ∇J)"
NOISE = "given the lengths, the g_i are uncorrelated and Var(g_i | L) = V L_i"
mean_is_J = Assumption(m, (i,), J, "E[g_i | L] = J")
noise_is_VL = Assumption(
    C, (i, j), sp.KroneckerDelta(i, j) * V * L[i], "Cov(g_i, g_j | L) is V L_i if i = j, else 0"
)


# Any weights with the sum 1/M are z less what their sum exceeds it by, for z those weights.
fixed_sum = Assumption(
    x, (i,), z[i] + (1 / M - over_group(z[u], u)) / G, "the weights add up to 1/M"
)
free_weights = (Array(z, (G,)), Array(x, (G,)), fixed_sum)


def estimate_mean(weight: Weight) -> sp.Expr:
    """E[Σ x_i g_i | L] = Σ x_i m_i."""
    return over_group(weight(i) * m[i])


def estimate_variance(weight: Weight) -> sp.Expr:
    """Var(Σ x_i g_i | L) = Σ_ij x_i x_j C_ij."""
    return over_group(over_group(weight(i) * weight(j) * C[i, j], j))


def delta_paper(place: str, note: str = "") -> Reference:
    return Reference("arXiv 2509.07558", "v1", place, note)


def by_algebra(
    name: str, domain: Domain, lhs: sp.Expr, rhs: sp.Expr, text: str, words: str = ""
) -> Clause:
    """A clause that the normal form decides in one step."""
    return Clause(name, domain, Claim(lhs, "=", rhs), Chain((Step(text, "=", rhs),)), words)
