"""The whole ledger, checked once for all tests that look at its reports."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proofs import ledger
from proofs.kernel.check import Report


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """From one check in two processes, also where several pytest-xdist workers ask for it.

    A report travels between workers as it does between the processes of `check_ledger`.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return checked()
    kept = tmp_path_factory.getbasetemp().parent / "reports.pickle"
    with locked(kept.with_suffix(".lock")):
        if not kept.exists():
            plain = {name: ledger._without_theorem(r) for name, r in checked().items()}
            fresh = kept.with_suffix(".tmp")
            fresh.write_bytes(pickle.dumps(plain))
            fresh.replace(kept)
        plain = pickle.loads(kept.read_bytes())
    return {t.id: Report(theorem=t, **plain[t.id]) for t in ledger.theorems()}


def checked() -> dict[str, Report]:
    return ledger.check_ledger(ledger.theorems(), jobs=min(2, os.cpu_count() or 1))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time (where there is no such lock, each checks for itself)."""
    with path.open("w") as file:
        try:
            import fcntl
        except ImportError:
            pass
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
