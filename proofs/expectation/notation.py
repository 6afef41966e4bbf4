"""Sampling laws and definitions shared by the topic: defining sums, no closed forms."""

from __future__ import annotations

import sympy as sp

from proofs.groups.notation import G, R, bessel, d, i, mean, mu, s, sigma, total, variance
from proofs.kernel.domain import SCORES, Domain, Group, Integer, Real
from proofs.kernel.terms import RolloutMean, binomial_mean
from proofs.kernel.theorem import Reference

__all__ = [
    "Dp",
    "G",
    "K",
    "R",
    "b",
    "bessel",
    "d",
    "grpo_mean",
    "i",
    "k",
    "mean",
    "mu",
    "p",
    "paper",
    "pmf",
    "q",
    "rollouts",
    "s",
    "sigma",
    "sizes",
    "std_mean",
    "std_sum",
    "std_terms",
    "total",
    "variance",
    "weight",
    "weight_terms",
]

p, b, k, K = sp.symbols("p b k K")
q = 1 - p
Dp = sp.IndexedBase("dp")  # ∇p, one entry per coordinate

unit = Real(p, 0, 1)
sizes = Domain(Integer(G, 2), unit)


def rollouts(size: Integer | None = None, *more: Integer | Real) -> Domain:
    """G i.i.d. rollouts of one prompt. Samples enumerate 2^G reward vectors: keep G small."""
    size = Integer(G, 2, spread=2) if size is None else size
    return Domain(size, unit, *more, *SCORES, Group(G, success=p, slope=Dp))


def pmf(count: sp.Expr, n: sp.Expr = G, rate: sp.Expr = p) -> sp.Expr:
    return sp.binomial(n, count) * rate**count * (1 - rate) ** (n - count)


def weight_terms(n: sp.Expr = G, rate: sp.Expr = p) -> sp.Expr:
    """A⁺(1+b) − A⁻(b) of GRPO: what one more rollout contributes beside b correct others."""
    up = sp.sqrt((n - 1 - b) / (1 + b))
    down = sp.sqrt(b / (n - b))
    return sp.binomial(n - 1, b) * rate**b * (1 - rate) ** (n - 1 - b) * (up + down)


def weight(n: sp.Expr = G, rate: sp.Expr = p) -> sp.Sum:
    """W_G(p) of GRPO, the mean over b ~ Binomial(G−1, p)."""
    return sp.Sum(weight_terms(n, rate), (b, 0, n - 1))


def std_terms(n: sp.Expr = G, rate: sp.Expr = p) -> sp.Expr:
    return pmf(k, n, rate) * sp.sqrt(k * (n - k)) / n


def std_sum(n: sp.Expr = G, rate: sp.Expr = p) -> sp.Sum:
    """E[σ] over the mixed groups 1..G−1."""
    return sp.Sum(std_terms(n, rate), (k, 1, n - 1))


def std_mean(n: sp.Expr = G, rate: sp.Expr = p) -> sp.Sum:
    """E[σ] over all groups: the defining binomial mean."""
    return binomial_mean(sp.sqrt(k * (n - k)) / n, k, n, rate)


grpo_mean = RolloutMean(mean((R[i] - mu) / sigma * s[i, d]), 1, G - 1)  # E[g], g = 0 if unanimous


def paper(place: str, note: str = "") -> Reference:
    return Reference("arXiv 2607.00152", "", place, note)
