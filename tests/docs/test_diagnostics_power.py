"""The tables of measured rates that the page on diagnosing runs shows."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
from scipy.stats import binomtest

power: Any = importlib.import_module("diagnostics_power")
RESULTS = json.loads(power.RESULTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("count", "total"), [(0, 50), (50, 50), (1, 3), (17, 500), (499, 500)])
def test_intervals_are_wilsons(count: int, total: int) -> None:
    exact = binomtest(count, total).proportion_ci(0.95, method="wilson")
    assert power.wilson(count, total) == pytest.approx((exact.low, exact.high), abs=1e-12)


@pytest.mark.parametrize("name", power.TABLES)
def test_tables_are_complete(name: str) -> None:
    head, *rows = power.TABLES[name](RESULTS)
    assert all(len(row) == len(head) for row in rows)
    cells = list(RESULTS["cells"].values())
    healthy = [cell for cell in cells if cell["truth"] == "healthy"]
    unstable = [cell for cell in cells if cell["truth"] == "dynamical instability"]
    wanted = {
        "healthy": len(healthy) + 1,
        "power": len(cells) - len(healthy),
        "told-apart": 5,
        "fired": 5,
        "warnings": len(unstable),
    }
    assert len(rows) == wanted[name]


def test_every_reading_is_counted_once() -> None:
    for row in power.told_apart(RESULTS)[1:]:
        assert sum(map(float, row[2:])) == pytest.approx(100, abs=0.3)


def test_rates_are_those_of_the_counts() -> None:
    cell = {
        "truth": "b", "effect": "e", "done": 200, "alone": [0, 100], "present": [0, 50],
        "primary": {"none": 160, "a": 0, "b": 40},
    }  # fmt: skip
    (_, row) = power.power({"modes": ["a", "b"], "cells": {"x": cell}})
    assert row[:3] == ["b", "e", "200"]
    assert [shown.split(" ")[0] for shown in row[3:]] == ["50.0", "25.0", "20.0"]
