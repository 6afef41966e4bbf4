"""The first-principles checks of surrogates can fail: near misses are rejected."""

from __future__ import annotations

from fractions import Fraction as F
from functools import partial
from typing import Any

import pytest

from proofs.first_principles import FirstPrinciplesError, divergence, full_losses, surrogates
from proofs.first_principles.surds import Surd
from proofs.first_principles.surrogates import CHECKS


def without_lengths(method: str, rewards: Any, lengths: Any, alpha: Any) -> Any:
    """Every method as if it summed tokens."""
    factor, _ = full_losses.prefactor(method, rewards, lengths, alpha)
    return factor, [Surd(1)] * len(lengths)


def of_grpo(method: str, rewards: Any, lengths: Any, alpha: Any) -> Any:
    """GRPO's prefactor for every method."""
    return full_losses.prefactor("grpo", rewards, lengths, alpha)


def without_weights(method: str, rewards: Any, lengths: Any, alpha: Any) -> Any:
    """Right for the methods, and as if all weights were 1/G."""
    factor, scales = full_losses.prefactor(method, rewards, lengths, alpha)
    return (
        (factor / len(lengths), [Surd(1)] * len(lengths)) if "any" in method else (factor, scales)
    )


MUTANTS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "surrogates.on-policy",
        "sign",
        {"closed_form": lambda w, a, z: -surrogates.unclipped(w, a, z)},
    ),
    (
        "surrogates.on-policy",
        "no weights",
        {"closed_form": lambda w, a, z: surrogates.unclipped([[F(1)] * len(r) for r in w], a, z)},
    ),
    ("surrogates.full-loss", "token sums", {"closed_form": without_lengths}),
    ("surrogates.full-loss", "GRPO's prefactor", {"closed_form": of_grpo}),
    ("surrogates.full-loss", "weights do not matter", {"closed_form": without_weights}),
    ("surrogates.full-loss", "the penalty of k1", {"pull": lambda r: F(1)}),
    ("surrogates.full-loss", "the other ratio", {"pull": lambda r: 1 - 1 / r}),
    (
        "surrogates.clip-gradient",
        "clipped for both signs",
        {"closed_form": lambda r, a, b, s: surrogates.one_sided(r, F(1), b, s) * a},
    ),
    (
        "surrogates.clip-gradient",
        "a tie is inside",
        {"closed_form": lambda r, a, b, s: surrogates.one_sided(r, a, b, 1 if a < 0 else -1)},
    ),
    ("surrogates.cispo-gradient", "the ratio", {"closed_form": lambda r, b: r}),
    (
        "surrogates.cispo-gradient",
        "upper bound only",
        {"closed_form": lambda r, b: min(r, 1 + b[1])},
    ),
    ("surrogates.cispo-bound", "an offset", {"bound": F(6, 5)}),
    ("surrogates.cispo-bound", "half", {"bound": F(1, 2)}),
    ("surrogates.gspo-ratio", "twice the gap", {"closed_form": lambda n, gap: 1 - 2 * gap / n}),
    ("surrogates.gspo-ratio", "without 1/L", {"closed_form": lambda n, gap: 1 - gap}),
    ("surrogates.gspo-length", "evenly", {"closed_form": lambda n: [F(1, len(n))] * len(n)}),
    (
        "surrogates.gspo-length",
        "squares",
        {"closed_form": lambda n: [F(x * x, sum(y * y for y in n)) for x in n]},
    ),
    ("surrogates.kl-values", "k2 for k3", {"third": divergence.k2}),
    ("surrogates.kl-values", "k1 for k2", {"second": divergence.k1}),
    ("surrogates.kl-gradients", "k1 as hoped", {"of_k1": divergence.gradient_forward}),
    ("surrogates.kl-gradients", "k3 as hoped", {"of_k3": divergence.gradient_forward}),
    ("surrogates.kl-as-loss", "k2", {"estimators": (divergence.k2,)}),
    ("surrogates.kl-as-loss", "k1 at the witness", {"estimators": (divergence.k3, divergence.k1)}),
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
