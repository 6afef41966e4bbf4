"""The first-principles checks of difficulty can fail: near misses are rejected."""

from __future__ import annotations

from fractions import Fraction as F
from functools import partial
from typing import Any

import pytest

from proofs.first_principles import FirstPrinciplesError, difficulty, escorts, pools
from proofs.first_principles.difficulty import CHECKS, ENTRIES
from proofs.first_principles.surds import sqrt


def entry(name: str, weight: Any) -> dict[str, Any]:
    """The atlas with another weight for one method."""
    return {"entries": {**ENTRIES, name: (ENTRIES[name][0], weight)}}


def estimator(name: str, factor: Any) -> dict[str, Any]:
    """The atlas with another factor for one estimator."""
    rows = [(n, m, factor if n == name else f) for n, m, f in difficulty.ESTIMATORS]
    return {"estimators": rows}


def at_one(q: F, order: int, least: F) -> Any:
    """Taylor's constant as if the power never exceeded its value at 1."""
    return pools.constant(q, order, F(1))


def a_third(q: F, order: int, least: F) -> Any:
    """A third of Taylor's constant."""
    return pools.constant(q, order, least) / 3


def opposite_covariance(law: pools.Law, q: F) -> F:
    """The leading bias with + Cov(g, w)."""
    return pools.leading_bias(law, q) + 2 * law.moment(1, 1)


def without_half(law: pools.Law, q: F) -> F:
    """The leading bias with q + 1 for (q + 1)/2."""
    return pools.leading_bias(law, q) + (q + 1) / 2 * law.G / law.P * law.moment(0, 2)


MUTANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("difficulty.atlas", "1/p for the log-odds", entry("log-odds", lambda p: 1 / p)),
    ("difficulty.atlas", "W = 1 for GRPO", entry("grpo", lambda p: 1 + 0 * p)),
    (
        "difficulty.atlas",
        "a factor K",
        entry("GRPO on pass@2", lambda p: 2 * ENTRIES["GRPO on pass@2"][1](p)),
    ),
    ("difficulty.atlas", "Dr. GRPO unscaled", estimator("Dr. GRPO", lambda size: F(1))),
    ("difficulty.atlas", "RLOO scaled", estimator("RLOO", lambda size: F(size - 1, size))),
    ("difficulty.beta-kernel", "the other end", {"peak": lambda a, b: b / (a + b)}),
    ("difficulty.beta-kernel", "of the density", {"peak": lambda a, b: (a + 1) / (a + b + 2)}),
    ("difficulty.minimax", "too high", {"relative": lambda d: 1 - d**2 / 2}),
    ("difficulty.minimax", "too low", {"relative": lambda d: 1 - 2 * d**2}),
    ("difficulty.minimax", "sech", {"logarithmic": lambda h: 2 / (h + 1 / h)}),
    ("difficulty.plug-in", "unbiased", {"factor": lambda k: F(1)}),
    ("difficulty.plug-in", "K + 1", {"factor": lambda k: F(k, k + 1)}),
    ("difficulty.success-gated-snr", "√(pq)", {"closed_form": lambda p: sqrt(p * (1 - p))}),
    ("difficulty.success-gated-snr", "1/√odds", {"closed_form": lambda p: sqrt((1 - p) / p)}),
    ("difficulty.success-gated-snr", "no spread", {"spread": lambda p, c, v: p * (1 - p) * c**2}),
    ("difficulty.snr-vanishes", "√odds", {"claims": (difficulty.root_odds,)}),
    ("difficulty.snr-vanishes", "1/√q", {"claims": (lambda p: sqrt(1 / (1 - p)),)}),
    ("difficulty.log-q-tangent", "half", {"tangent": lambda x: (x - 1) / 2}),
    ("difficulty.log-q-tangent", "q < 0", {"exponents": (F(-1),)}),
    ("difficulty.tsallis", "P^q", {"weight": lambda p, q: escorts.amplification(p, -q)}),
    ("difficulty.tsallis", "P^(1−q)", {"weight": lambda p, q: escorts.amplification(p, q - 1)}),
    ("difficulty.tsallis", "α itself", {"best": lambda alpha, q: escorts.escort(alpha, F(1))}),
    ("difficulty.tsallis", "α^q", {"best": lambda alpha, q: escorts.escort(alpha, 1 / q)}),
    ("difficulty.tsallis", "proper at 1/2", {"improper": (F(1, 5), F(3, 2), F(3))}),
    *(
        (f"difficulty.power-{name}", text, {"bound": bound})
        for name in ("change", "tangent", "parabola", "cubic")
        for text, bound in (("as at x = 1", at_one), ("a third", a_third))
    ),
    ("difficulty.garl-bias", "unbiased", {"leading": lambda law, q: F(0)}),
    ("difficulty.garl-bias", "opposite covariance", {"leading": opposite_covariance}),
    ("difficulty.garl-bias", "q + 1", {"leading": without_half}),
    ("difficulty.paft", "not attenuated", {"exponent": lambda q: -q}),
    ("difficulty.paft", "P^q", {"exponent": lambda q: q}),
    ("difficulty.paft", "evenly", {"chances": lambda w: [F(1, len(w))] * len(w)}),
    ("difficulty.paft", "no 1/J", {"resamples": lambda count: 1}),
]


@pytest.mark.parametrize(("identifier", "name", "changed"), MUTANTS)
def test_a_near_miss_is_rejected(identifier: str, name: str, changed: dict[str, Any]) -> None:
    with pytest.raises(FirstPrinciplesError):
        partial(CHECKS[identifier], **changed)()


def test_every_check_has_two_near_misses_and_holds() -> None:
    names = [identifier for identifier, _, _ in MUTANTS]
    assert {i for i in CHECKS if names.count(i) >= 2} == set(CHECKS)
    for check in CHECKS.values():
        assert check() >= 9
