"""The tables and figures that are made from the results of the experiments."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

pages: Any = importlib.import_module("experiment_pages")
figures: Any = importlib.import_module("experiment_figures")
theory_figures: Any = importlib.import_module("theory_figures")


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.9996501, 1.0010432, "0.99965 … 1.0010"),
        (1012.812460, 1012.812561, "1012.812460 … 1012.812561"),
        (-1.00681, -0.99498, "−1.007 … −0.9950"),
        (4.30558e-05, 4.46935e-05, "4.306e−05 … 4.469e−05"),
    ],
)
def test_intervals_are_shown_to_the_digits_that_they_have(
    low: float, high: float, text: str
) -> None:
    assert pages.shown_interval(low, high) == text
    ends = [float(end.replace("−", "-")) for end in text.split(" … ")]
    assert abs(ends[0] - low) + abs(ends[1] - high) < 0.1 * (high - low)


def test_a_table_refuses_what_its_rows_do_not_show() -> None:
    good = {"interval": [1.0, 2.0], "exact": 1.5, "brackets": True, "theorem": "a.b", "case": {}}
    assert pages.problem([good, {**good, "theorem": None}], {"a.b"}) == ""
    for change in ({"exact": 2.5}, {"brackets": False}, {"theorem": "a.c"}):
        assert pages.problem([good, {**good, **change}], {"a.b"})


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_interval_is_drawn(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[dict[str, Any]] = []
    bars = figures.bars

    def counting(axes: Any, at: Any, rows: Any, *rest: Any, **style: Any) -> None:
        drawn.extend(rows)
        bars(axes, at, rows, *rest, **style)

    monkeypatch.setattr(figures, "bars", counting)
    monkeypatch.setattr(theory_figures, "FIGURES", figures.FIGURES)
    assert "<path" in theory_figures.svg(name)
    assert len(drawn) == {"stale-refresh": 28, "transitions": 18, "group-noise": 24}[name]
    assert all(row["brackets"] for row in drawn)
