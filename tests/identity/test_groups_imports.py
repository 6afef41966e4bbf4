"""What importing the package loads, and what it says it exports and proves."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
