"""The first-principles checks of noise and success over training can fail: near misses."""

from __future__ import annotations

from fractions import Fraction as F
from functools import partial
from typing import Any

import pytest

from proofs.first_principles import FirstPrinciplesError, training
from proofs.first_principles.training import CHECKS, DRIFTS, LIMITS, SHARE, next_success, stationary

MUTANTS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "dynamics.stationary-variance",
        "without momentum",
        {"closed_form": lambda mu, *rest: stationary(F(0), *rest)},
    ),
    (
        "dynamics.stationary-variance",
        "of one rollout",
        {"closed_form": lambda mu, eta, k, s2, size: stationary(mu, eta, k, s2, 1)},
    ),
    (
        "dynamics.stationary-variance",
        "for a small step",
        {"closed_form": lambda mu, eta, k, s2, size: eta * s2 / (2 * (1 - mu) * k * size)},
    ),
    (
        "dynamics.stationary-variance",
        "a millionth more",
        {"closed_form": lambda *at: stationary(*at) * (1 + F(1, 10**6))},
    ),
    (
        "dynamics.group-size-invariance",
        "the same at both sizes",
        {"drifts": {p: (large, large) for p, (_, large) in DRIFTS.items()}},
    ),
    (
        "dynamics.group-size-invariance",
        "the next digit",
        {"drifts": {**DRIFTS, F(1, 20): (F("0.373"), F("0.713"))}},
    ),
    (
        "dynamics.group-size-invariance",
        "1/(4x)",
        {"closed_form": lambda size, p: 1 / (4 * size * p * (1 - p))},
    ),
    ("dynamics.group-size-invariance", "no first order", {"closed_form": lambda size, p: F(0)}),
    (
        "dynamics.success-recursion",
        "the spread for its root",
        {"closed_form": lambda p, r, b, e: next_success(F(1, 2), r, b * (p * (1 - p) + e) * 2, 0)},
    ),
    (
        "dynamics.success-recursion",
        "ε left out",
        {"closed_form": lambda p, r, b, e: next_success(p, r, b, F(0))},
    ),
    (
        "dynamics.success-recursion",
        "from the last policy",
        {"closed_form": lambda p, r, b, e: next_success(p, p, b, e)},
    ),
    (
        "dynamics.success-recursion",
        "β upside down",
        {"closed_form": lambda p, r, b, e: next_success(p, r, 1 / b, e)},
    ),
    (
        "dynamics.laplace-limit",
        "a digit too high",
        {"limits": (LIMITS[1], LIMITS[1] * 2 - LIMITS[0])},
    ),
    (
        "dynamics.laplace-limit",
        "a digit too low",
        {"limits": (LIMITS[0] * 2 - LIMITS[1], LIMITS[0])},
    ),
    ("dynamics.laplace-limit", "another point", {"share": SHARE + F(1, 10**6)}),
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


def test_from_rest_without_noise_nothing_moves() -> None:
    assert training.heavy_ball(F(1, 2), F(1), F(1), (0, 0, 0)) == [0, 0, 0]
