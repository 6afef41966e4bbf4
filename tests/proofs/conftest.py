"""The whole ledger, checked once for all tests that look at its reports."""

from __future__ import annotations

import os

import pytest

from proofs import ledger
from proofs.kernel.check import Report


@pytest.fixture(scope="session")
def reports() -> dict[str, Report]:
    return ledger.check_ledger(ledger.theorems(), jobs=min(2, os.cpu_count() or 1))
