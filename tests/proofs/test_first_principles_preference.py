"""The first-principles checks of pairs and preferences can fail: near misses are rejected."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as F
from functools import partial
from itertools import product
from typing import Any

import pytest

from proofs.first_principles import FirstPrinciplesError, budgets, preference
from proofs.first_principles.definitions import scaled
from proofs.first_principles.policies import POLICIES, Policy
from proofs.first_principles.preference import CHECKS, Dual, constant, dpo_descent
from proofs.first_principles.surds import Surd, sqrt

CHANGED: list[tuple[str, str, dict[str, Any]]] = [
    ("two-grpo", "the distance counts",
     {"closed_form": lambda r: scaled(abs(r[0] - r[1]), preference.signs(r))}),
    ("two-grpo", "the worse one first",
     {"closed_form": lambda r: scaled(-1, preference.signs(r))}),
    ("dpo-gradient", "β dropped", {"closed_form": lambda b, x: 1 / (1 + x**b)}),
    ("dpo-gradient", "sign of the margin", {"closed_form": lambda b, x: b * x**b / (1 + x**b)}),
    ("equivalence", "β everywhere", {"closed_form": lambda b, x: F(b)}),
    ("equivalence", "2 dropped", {"closed_form": preference.logistic_weight}),
    ("all-groups", "no root", {"closed_form": lambda k, g, b: Surd(F(2, b * g * k * (g - k)))}),
    ("all-groups", "β dropped",
     {"closed_form": lambda k, g, b: preference.pair_weight(k, g, 1)}),
    ("weighted-pairs", "β/2", {"closed_form": lambda b: F(b, 2)}),
    ("weighted-pairs", "1", {"closed_form": lambda b: F(1)}),
    ("prompt-level", "the factor at ½", {"closed_form": lambda p, b: F(2 * b)}),
    ("prompt-level", "no 2", {"closed_form": lambda p, b: b / (p * (1 - p))}),
    ("advantage-limit", "pairs at every G", {"closed_form": lambda g, p, r: Surd(r - p)}),
    ("advantage-limit", "the limit at every G",
     {"closed_form": lambda g, p, r: (r - p) / sqrt(p * (1 - p))}),
    ("control-variate", "minus c²V₋", {"closed_form": lambda v, u, c: v - c * c * u}),
    ("control-variate", "c for c²", {"closed_form": lambda v, u, c: v + c * u}),
    ("contrast-gain", "mean unchanged", {"closed_form": lambda p, v, u, c: v + c * c * u}),
    ("contrast-gain", "q/p for p/q",
     {"closed_form": lambda p, v, u, c: budgets.relative_variance(1 - p, v, u, c)}),
    ("contrast-gain", "c* without p/q", {"best": lambda p, v, u: v / u}),
    ("discard-rate", "the printed rate", {"closed_form": lambda p: 1 - p * p - (1 - p) ** 2}),
    ("discard-rate", "one side", {"closed_form": lambda p: p * p}),
    ("mean-discard-rate", "Var(p)",
     {"closed_form": lambda w, p: budgets.variance_of(w, p)}),
    ("mean-discard-rate", "0", {"closed_form": lambda w, p: F(0)}),
    ("exploration", "one rollout for a pair",
     {"closed_form": lambda rates: budgets.found_by_enumeration(rates)}),
    ("exploration", "the first pair only",
     {"closed_form": lambda rates: budgets.found_by_pairs(rates[:1])}),
    ("exploration-equal-epochs", "pairs",
     {"closed_form": lambda p, g, m: 1 - (1 - p) ** (2 * m)}),
    ("exploration-equal-epochs", "one epoch",
     {"closed_form": lambda p, g, m: 1 - (1 - p) ** g}),
    ("budget-variance", "within only", {"closed_form": lambda a, b, n: b / n}),
    ("budget-variance", "prompts not divided", {"closed_form": lambda a, b, n: a + b / n}),
    ("rollout-iid", "independent rollouts", {"closed_form": lambda a, n, g: F(0)}),
    ("rollout-iid", "all of it", {"closed_form": lambda a, n, g: a / n}),
]  # fmt: skip
MUTANTS = [
    (f"preference.{slug}", name, partial(CHECKS[f"preference.{slug}"], **changed))
    for slug, name, changed in CHANGED
]


@pytest.mark.parametrize(
    "mutant", [pytest.param(run, id=f"{i}: {name}") for i, name, run in MUTANTS]
)
def test_a_near_miss_is_rejected_with_a_witness(mutant: Callable[[], int]) -> None:
    with pytest.raises(FirstPrinciplesError, match=r"fails at .*="):
        mutant()


def test_every_check_has_two_near_misses_and_holds() -> None:
    names = [identifier for identifier, _, _ in MUTANTS]
    assert {i for i in CHECKS if names.count(i) >= 2} == set(CHECKS)
    for identifier, check in CHECKS.items():
        slug = identifier.removeprefix("preference.").replace("-", "_")
        assert check is getattr(preference, slug)
        assert check() >= 9


def test_the_derivative_of_the_loss_is_the_limit_of_secants() -> None:
    """−(L(x + h·slope) − L(x))/h, L = log(1 + X^(−β)), through log(1 + u) = u − u²/2 + O(u³)."""
    h = F(1, 2**60)
    for beta, value, slope in product((1, 2, 3), (F(1, 3), F(1), F(5, 2)), (F(-2), F(3, 4))):
        before, after = (1 + x**-beta for x in (value, value + h * slope))
        u = after / before - 1
        secant = -(u - u**2 / 2) / h
        assert abs(secant - dpo_descent(Dual(value, slope), beta)) < F(1, 2**40)


def test_a_number_that_does_not_move_has_no_slope() -> None:
    x = Dual(F(2, 3), F(5))
    assert x / constant(F(2)) == Dual(F(1, 3), F(5, 2))
    assert (x / x) == constant(F(1))
    assert x**-1 == constant(F(1)) / x
    assert dpo_descent(constant(F(7)), 2) == 0


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_a_reference_is_a_positive_law(policy: Policy) -> None:
    for law in preference.references(policy):
        assert sum(law) == 1
        assert min(law) > 0
