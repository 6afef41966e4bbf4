"""The table of all weights: complete, right, and refused where it is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sympy as sp
from difficulty_atlas import ROWS, K, Row, checked, complete, p, settings, tex

from tests.docs.tex import check_tex


def test_rows_are_the_methods() -> None:
    complete()
    assert len({row.label for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
def test_rows_say_what_the_functions_compute(row: Row) -> None:
    checked(row)
    for formula in (row.objective, row.weight, row.mass, row.at_zero):
        check_tex(tex(formula))
    assert row.takes == {} or len(list(settings(row))) > 1


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("log_odds", {"weight": 1 / p**2}),
        ("log_odds", {"objective": sp.log(p)}),
        ("log_odds", {"at_zero": 2 / p}),
        ("pass_at_k", {"weight": (1 - p) ** (K - 1)}),
        ("grpo_pass_at_k", {"objective": 2 * sp.asin(sp.sqrt(1 - (1 - p) ** K))}),
        ("max_rl", {"at_zero": sp.Integer(1)}),
    ],
)
def test_false_rows_are_refused(method: str, change: dict[str, Any]) -> None:
    row = next(row for row in ROWS if row.method == method)
    with pytest.raises(ValueError, match="atlas: "):
        checked(dataclasses.replace(row, **change))
