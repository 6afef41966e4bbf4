"""Closed forms: the factor on σΔs of k-of-G groups, and multipliers of a whole result."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from identity.conformance.batches import Floats
from identity.conformance.conventions import EPSILONS

__all__ = ["FORMS", "MULTIPLIERS", "Factor", "fit"]


@dataclass(frozen=True)
class Factor:
    """A closed form of the group size G, the number k correct and ε.

    Parameters
    ----------
    text : str
        The formula: σ = √(k(G − k))/G is the population standard deviation, s = σ√(G/(G − 1)).
    value : callable
        From arrays G and k and from ε to the factor.
    takes_eps : bool
        Whether ε matters.
    eps : float
        The ε that was found.
    """

    text: str
    value: Callable[[Floats, Floats, float], Floats]
    takes_eps: bool = False
    eps: float = 0.0

    def at(self, size: Floats, k: Floats) -> Floats:
        """The factor for group sizes and numbers correct."""
        return self.value(size, k, self.eps)

    def __str__(self) -> str:
        return f"{self.text}, ε = {self.eps:g}" if self.takes_eps else self.text


def _sigma(size: Floats, k: Floats) -> Floats:
    return np.asarray(np.sqrt(k * (size - k)) / size)


def _sample(size: Floats, k: Floats) -> Floats:
    return np.asarray(np.sqrt(k * (size - k) / (size * (size - 1))))


FORMS = (
    Factor("1", lambda g, k, e: np.ones_like(g)),
    Factor("√((G−1)/G)", lambda g, k, e: np.sqrt((g - 1) / g)),
    Factor("σ", lambda g, k, e: _sigma(g, k)),
    Factor("σ·G/(G−1)", lambda g, k, e: _sigma(g, k) * g / (g - 1)),
    Factor("G/(G−1)", lambda g, k, e: g / (g - 1)),
    Factor("√(G/(G−1))", lambda g, k, e: np.sqrt(g / (g - 1))),
    Factor("(G−1)/G", lambda g, k, e: (g - 1) / g),
    Factor("1/σ", lambda g, k, e: 1 / _sigma(g, k)),
    Factor("√((G−1)/G)/s", lambda g, k, e: np.sqrt((g - 1) / g) / _sample(g, k)),
    Factor("1/(1+ε/σ)", lambda g, k, e: 1 / (1 + e / _sigma(g, k)), True),
    Factor(
        "√((G−1)/G)/(1+ε/s)",
        lambda g, k, e: np.sqrt((g - 1) / g) / (1 + e / _sample(g, k)),
        True,
    ),
    Factor(
        "√((G−1)/G)/(1+ε(G−1)/(G·s))",
        lambda g, k, e: np.sqrt((g - 1) / g) / (1 + e * (g - 1) / g / _sample(g, k)),
        True,
    ),
    Factor(
        "√(G/(G−1))/(1+ε/s)", lambda g, k, e: np.sqrt(g / (g - 1)) / (1 + e / _sample(g, k)), True
    ),
    Factor("G/(G−1)/(1+ε/σ)", lambda g, k, e: g / (g - 1) / (1 + e / _sigma(g, k)), True),
    Factor("1/√(1+ε/σ²)", lambda g, k, e: 1 / np.sqrt(1 + e / _sigma(g, k) ** 2), True),
    Factor(
        "√((G−1)/G)/√(1+ε/s²)",
        lambda g, k, e: np.sqrt((g - 1) / g) / np.sqrt(1 + e / _sample(g, k) ** 2),
        True,
    ),
)

# Of a whole result: B rows, T columns.
MULTIPLIERS: dict[str, Callable[[int, int], float]] = {
    "1": lambda rows, width: 1.0,
    "−1": lambda rows, width: -1.0,
    "2": lambda rows, width: 2.0,
    "1/2": lambda rows, width: 0.5,
    "B": lambda rows, width: float(rows),
    "1/B": lambda rows, width: 1 / rows,
    "T": lambda rows, width: float(width),
    "1/T": lambda rows, width: 1 / width,
}


def fit(size: Floats, k: Floats, measured: Floats, tolerance: Floats) -> Factor | None:
    """The first closed form that all the measured factors equal, to their tolerances.

    Forms with ε try the usual values, and then the one that the measurements give.
    """
    for form in FORMS:
        for eps in EPSILONS if form.takes_eps else (0.0,):
            candidate = Factor(form.text, form.value, form.takes_eps, eps)
            if np.all(np.abs(candidate.at(size, k) - measured) <= tolerance):
                return candidate
    for form in FORMS:
        if form.takes_eps and (solved := _solved(form, size, k, measured)) is not None:
            candidate = Factor(form.text, form.value, True, solved)
            if np.all(np.abs(candidate.at(size, k) - measured) <= tolerance):
                return candidate
    return None


def _solved(form: Factor, size: Floats, k: Floats, measured: Floats) -> float | None:
    """ε by bisection where it matters most, rounded to three digits."""
    where = int(np.argmin(_sigma(size, k)))
    one = (size[where : where + 1], k[where : where + 1])
    low, high = 0.0, 1.0
    if not form.value(*one, high)[0] < measured[where] < form.value(*one, low)[0]:
        return None
    for _ in range(200):
        middle = (low + high) / 2
        if form.value(*one, middle)[0] > measured[where]:
            low = middle
        else:
            high = middle
    eps = float(f"{high:.2e}")
    return eps if math.isfinite(eps) and eps > 0 else None
