"""What importing the package loads, and what it says it exports and proves."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys

import pytest

import identity.groups

SUBMODULES = ("advantages", "spread", "updates")


@pytest.mark.parametrize("module", ["identity", "identity.groups"])
def test_import_loads_no_heavy_library(module: str) -> None:
    heavy = ("sympy", "mpmath", "flint", "torch", "jax", "jaxlib", "proofs")
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_a_numpy_call_loads_no_heavy_library() -> None:
    code = (
        "import sys, numpy as np; from identity.groups import grpo_advantages as f;"
        "f(np.array([1., 0.])); f([1, 0], groups=[1, 1]);"
        "print([m for m in ('torch', 'jax', 'sympy') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", identity.groups.__all__)
def test_public_functions_are_documented_and_linked(name: str) -> None:
    function = getattr(identity.groups, name)
    assert all(i.startswith("groups.") for i in function.__proven__)
    doc = inspect.getdoc(function)
    assert doc is not None
    for section in ("Parameters", "Returns", "Raises", "Notes", "References", "Examples"):
        assert f"\n{section}\n---" in doc, section
    for promise in ("*Preconditions", "*Postcondition*", "assumed under"):
        assert promise in " ".join(doc.split()), promise


@pytest.mark.parametrize("module", SUBMODULES)
def test_examples_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"identity.groups.{module}"))
    assert results.attempted
    assert not results.failed
