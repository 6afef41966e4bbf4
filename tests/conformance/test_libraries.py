"""The small libraries, where they are installed: the committed results are what they give.

``make peers`` installs them and runs this file; ``make conformance`` writes the results.
"""

from __future__ import annotations

import importlib.metadata
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from identity.conformance import CASES, Target, load
from identity.conformance.run import cells

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results" / "conformance.json"
SMALL = {"liger": "liger-kernel", "polgrad": "polgrad", "torchrl": "torchrl", "trl": "trl"}
DTYPE = "float32"


@cache
def committed() -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """By library and operation, and then by case."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in json.loads(RESULTS.read_text(encoding="utf-8"))["results"]:
        if row["library"] in SMALL and row["dtype"] == DTYPE and row["case"] in CASES:
            found.setdefault((row["library"], row["operation"]), {})[row["case"]] = row
    return found


@cache
def target(library: str) -> Target:
    """The library, if it is there in the version of the results."""
    try:
        version = importlib.metadata.version(SMALL[library])
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{SMALL[library]} is not installed")
    of_results = {row["version"] for (name, _), rows in committed().items() for row in rows.values()
                  if name == library}  # fmt: skip
    if of_results != {version}:
        pytest.skip(f"{library} {version} is installed; the results are of {of_results}")
    return load(library)


@pytest.mark.parametrize("library", SMALL)
def test_all_operations_are_in_the_results(library: str) -> None:
    names = {operation.name for operation in target(library).operations}
    assert names == {name for of, name in committed() if of == library}


@pytest.mark.parametrize(("library", "operation"), sorted(committed()))
def test_the_verdicts_are_those_of_the_results(library: str, operation: str) -> None:
    rows = committed()[library, operation]
    found = target(library)
    chosen = [
        cell for cell in cells(found) if (cell.operation.name, cell.dtype) == (operation, DTYPE)
    ]
    assert {cell.case for cell in chosen} == set(rows)
    for cell in chosen:
        result, row = cell.result(), rows[cell.case]
        for name in ("verdict", "convention", "factor", "theorem"):
            assert getattr(result, name) == row[name], (cell.case, result.words)
