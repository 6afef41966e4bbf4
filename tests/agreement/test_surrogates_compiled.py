"""Compiled losses, in a process of their own.

Libraries that a compiler links with ``-ffast-math`` switch subnormal numbers off for the whole
process that loads them, and other tests need those.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends import load_or_skip

HERE = Path(__file__).resolve()


@pytest.mark.skipif(not shutil.which("g++"), reason="Inductor needs a C++ compiler")
def test_compiled_losses() -> None:
    load_or_skip("torch")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
         str(HERE.with_name("compiled_by_inductor.py"))],
        cwd=HERE.parents[2],
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        capture_output=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "9 passed" in done.stdout
