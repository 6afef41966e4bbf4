"""The first-principles checks of dynamics can fail: near misses are rejected."""

from __future__ import annotations

from fractions import Fraction as F
from functools import partial
from typing import Any

import flint
import pytest

from proofs.first_principles import FirstPrinciplesError, roots, trajectories

CHECKS = {**roots.CHECKS, **trajectories.CHECKS}


def sign_free(m: F, gamma: F, k: F, t: F) -> Any:
    """As if the damping did not matter."""
    return trajectories.left_of_the_way(m, F(0), k, t)


def scaled(factor: float, function: Any) -> Any:
    """The function times a number, or each of its values."""

    def result(*args: Any) -> Any:
        value = function(*args)
        if isinstance(value, tuple):
            return tuple(v * factor for v in value)
        return value * factor

    return result


MUTANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("dynamics.jury", "two conditions", {"closed_form": lambda t, d: abs(t) < 1 + d}),
    ("dynamics.jury", "the product alone", {"closed_form": lambda t, d: abs(d) < 1}),
    (
        "dynamics.onset",
        "up to 2",
        {"closed_form": lambda n, k: (roots.onset_of(n, k)[0], 0 < k < 2)},
    ),
    (
        "dynamics.onset",
        "from (1 − μ)²",
        {"closed_form": lambda n, k: ((1 - n * n) ** 2 < k, roots.onset_of(n, k)[1])},
    ),
    ("dynamics.sine-multiple", "without n", {"closed_form": lambda n, s: s}),
    ("dynamics.sine-multiple", "one less", {"closed_form": lambda n, s: (flint.arb(n) - 0.5) * s}),
    ("dynamics.delay-sufficient", "twice", {"closed_form": scaled(2, roots.sufficient)}),
    ("dynamics.delay-sufficient", "1/τ", {"closed_form": lambda mu, delay: F(1, delay)}),
    ("dynamics.delay-threshold", "1/τ", {"closed_form": lambda n: flint.arb(1) / n}),
    (
        "dynamics.delay-threshold",
        "the limit π/(2τ)",
        {"closed_form": lambda n: flint.arb.pi() / (2 * n)},
    ),
    ("dynamics.refresh-threshold", "1 + μ", {"closed_form": lambda mu: 1 + mu}),
    ("dynamics.refresh-threshold", "(1 − μ)²", {"closed_form": lambda mu: (1 - mu) ** 2}),
    ("dynamics.partial-sum", "N − 1", {"closed_form": lambda mu, n: (F(0), (n - 1) * (1 - mu))}),
    ("dynamics.partial-sum", "at least half", {"closed_form": lambda mu, n: (F(1, 2), F(n))}),
    (
        "dynamics.block-threshold",
        "(1 − μ)/N",
        {"closed_form": lambda mu, n: (1 - mu) / n},
    ),
    ("dynamics.block-threshold", "2/N", {"closed_form": lambda mu, n: F(2, n)}),
    ("dynamics.refresh-threshold-general", "a border of 2", {"sharp": lambda mu: 2 * (1 - mu)}),
    ("dynamics.refresh-threshold-general", "without momentum", {"sharp": lambda mu: F(1)}),
    ("dynamics.oscillator", "no damping", {"closed_form": sign_free}),
    (
        "dynamics.oscillator",
        "the mass of no lag",
        {"reduction": lambda mu, k, tau: (k, 1 - mu - k * tau, (1 + mu) / 2)},
    ),
    (
        "dynamics.overdamped",
        "T = 1/(a + b)",
        {"closed_form": lambda a, b, t: (-trajectories.arb((a + b) * t)).exp()},
    ),
    (
        "dynamics.overdamped",
        "the slow rate",
        {"closed_form": lambda a, b, t: (-trajectories.arb(a * t)).exp()},
    ),
    (
        "dynamics.bandit-saturation",
        "twice as fast",
        {"closed_form": lambda t: trajectories.curve(2 * t)},
    ),
    (
        "dynamics.bandit-saturation",
        "twice the bound",
        {"bounds": scaled(2, trajectories.saturation_bounds)},
    ),
    ("dynamics.bandit-saturation", "half the tail", {"tails": scaled(0.5, trajectories.tail)}),
    ("dynamics.restoring-force", "β itself", {"closed_form": lambda reference, b: reference + b}),
    (
        "dynamics.restoring-force",
        "stiffness β",
        {"stiffness": lambda b, best: trajectories.arb(b)},
    ),
    ("dynamics.exponential-needs-restoring-force", "a high floor", {"floor": F(1, 2)}),
    ("dynamics.exponential-needs-restoring-force", "no floor", {"floor": F(1, 5)}),
    ("dynamics.cold-start", "half", {"closed_form": scaled(0.5, trajectories.escape)}),
    (
        "dynamics.cold-start",
        "a logarithm for all q",
        {"closed_form": lambda q, low, high: trajectories.escape(F(1), low, high)},
    ),
    (
        "dynamics.cold-start-grpo",
        "1/p₀ for every G",
        {"closed_form": lambda n, low, high: trajectories.bounds_by_group(2, low, high)},
    ),
    ("dynamics.cold-start-grpo", "the limit for G = 8", {"printed": 63.15}),
    (
        "dynamics.noise-equilibrium",
        "ε itself",
        {"closed_form": lambda share, q: trajectories.arb(share) + 0 * trajectories.arb(q)},
    ),
    (
        "dynamics.noise-equilibrium",
        "ε^q",
        {"closed_form": lambda share, q: trajectories.mass_at_rest(share, 1 / q)},
    ),
    ("dynamics.noise-fitting", "a floor that is kept", {"score": F(1, 10**9)}),
    ("dynamics.noise-fitting", "bounded at q = 1", {"q": F(1)}),
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
