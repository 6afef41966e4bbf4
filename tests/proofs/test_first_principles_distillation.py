"""The first-principles checks of distillation can fail: near misses are rejected."""

from __future__ import annotations

from fractions import Fraction as F
from functools import partial
from typing import Any

import pytest

from proofs.first_principles import FirstPrinciplesError, distillation, responses
from proofs.first_principles.distillation import CHECKS
from proofs.first_principles.jets import Logs, log_of


def uncentred(student: Any, teacher: Any, rewards: Any) -> Logs:
    """E_S[R log π_T/π_S], which is no covariance."""
    terms = zip(student, teacher, rewards, strict=True)
    return sum((log_of(q / p) * (p * r) for p, q, r in terms), Logs({}))


def swapped(student: Any, teacher: Any, beta: Any) -> Any:
    """π_k^(1/β) π_T^(1−1/β)."""
    return distillation.geometric(teacher, student, beta)


def nothing(*_: Any) -> Logs:
    return Logs({})


def doubled(*arguments: Any) -> Logs:
    return responses.future(*arguments) * 2


def of_student(student: Any, teacher: Any, node: Any, direction: Any) -> Logs:
    """The forward gradient of the next token, at the student's prefixes."""
    whole = responses.forward_per_token(student, teacher, node, direction)
    return whole * (responses.reached(student, node) / responses.reached(teacher, node))


MUTANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("distillation.opd", "the teacher alone", {"of_sample": lambda p, q: log_of(q)}),
    ("distillation.opd", "sign", {"of_sample": lambda p, q: log_of(p / q)}),
    ("distillation.opd", "student's samples", {
        "backward": lambda p, q, s: -sum(x * y for x, y in zip(p, s, strict=True))}),
    ("distillation.opd", "three times the gap", {"scale": 3}),
    ("distillation.tilt", "swapped", {"tilted": swapped}),
    ("distillation.tilt", "without β", {"scale": lambda beta: F(1)}),
    ("distillation.first-step", "a mean", {"closed_form": uncentred}),
    ("distillation.first-step", "half the divergence", {"reach": lambda d: d / 2}),
    ("distillation.better-teacher-helps", "no divergence", {"reach": lambda d: d * 0}),
    ("distillation.better-teacher-helps", "another teacher", {
        "witness": (distillation.WITNESS[0], (F(1, 5), F(3, 10), F(1, 2)),
                    distillation.WITNESS[2])}),
    ("distillation.future-terms", "none", {"missing": nothing}),
    ("distillation.future-terms", "twice", {"missing": doubled}),
    ("distillation.future-terms", "own log-ratio", {"credit": responses.per_token_gradient}),
    ("distillation.future-terms", "student's prefixes", {"of_teacher": of_student}),
    ("distillation.per-token-kl", "equal after all", {"teacher_after": (F(1, 2), F(1, 2))}),
    ("distillation.per-token-kl", "whole", {"per_token": responses.response_gradient}),
]  # fmt: skip


@pytest.mark.parametrize(("identifier", "name", "changed"), MUTANTS)
def test_a_near_miss_is_rejected(identifier: str, name: str, changed: dict[str, Any]) -> None:
    with pytest.raises(FirstPrinciplesError):
        partial(CHECKS[identifier], **changed)()


def test_every_check_has_two_near_misses_and_holds() -> None:
    names = [identifier for identifier, _, _ in MUTANTS]
    assert {i for i in CHECKS if names.count(i) >= 2} == set(CHECKS)
    for check in CHECKS.values():
        assert check() >= 50
