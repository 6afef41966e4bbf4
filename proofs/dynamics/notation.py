"""Symbols of the topic, its sources, and the recursion that it is about."""

from __future__ import annotations

import sympy as sp

from proofs.kernel.domain import Integer, Real
from proofs.kernel.theorem import Reference

__all__ = [
    "FOLKLORE",
    "MOMENTUM",
    "POSITIVE_DELAY",
    "eta",
    "kappa",
    "momentum",
    "mu",
    "oscillator_paper",
    "phi",
    "r",
    "start",
    "t",
    "target",
    "tau",
    "tsallis_paper",
    "u",
]

mu, kappa, tau, eta = sp.symbols("mu kappa tau eta")
r, u, t = sp.symbols("r u t")
start, target = sp.symbols("R_0 R_infty")
phi = sp.pi * u  # an angle, by its share of a half turn

MOMENTUM = Real(mu, 0, 1, open_low=False)
POSITIVE_DELAY = Integer(tau, 1, spread=5)

FOLKLORE = Reference("folklore", "", "")


def momentum(low: bool = False) -> Real:
    """0 < μ < 1, or 0 ≤ μ < 1 with ``low``."""
    return Real(mu, 0, 1, open_low=not low)


def oscillator_paper(place: str, note: str = "reconstructed", version: str = "v2") -> Reference:
    return Reference("arXiv 2606.30789", version, place, note)


def tsallis_paper(place: str, note: str = "as we read it") -> Reference:
    return Reference("arXiv 2604.25907", "", place, note)
