"""First-principles checks: every entry of the ledger, enumerated straight from its definition.

They share no code with the derivations.  Each returns the number of exact cases it has checked,
and raises `FirstPrinciplesError` with a witness at the first one that fails.
"""

from __future__ import annotations

from collections.abc import Callable

from . import (
    aggregation,
    difficulty,
    distillation,
    dynamics,
    expectation,
    groups,
    preference,
    surrogates,
)
from .definitions import FirstPrinciplesError

__all__ = ["CHECKS", "FirstPrinciplesError", "check"]

CHECKS: dict[str, Callable[[], int]] = {
    **groups.CHECKS,
    **expectation.CHECKS,
    **preference.CHECKS,
    **surrogates.CHECKS,
    **aggregation.CHECKS,
    **dynamics.CHECKS,
    **difficulty.CHECKS,
    **distillation.CHECKS,
}


def check(identifier: str) -> int:
    """Run the check of one ledger entry and return the number of cases; KeyError if unknown."""
    return CHECKS[identifier]()
