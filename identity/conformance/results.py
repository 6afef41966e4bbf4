"""The results of a run: one entry for each operation, case and dtype."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["CANNOT_RUN", "DIFFERS", "EQUALS", "EQUALS_TIMES", "Result", "plain"]

EQUALS, EQUALS_TIMES = "equals", "equals ×"
DIFFERS, CANNOT_RUN = "differs", "cannot run"


@dataclass(frozen=True)
class Result:
    """One verdict.

    Parameters
    ----------
    library, version : str
        What was called.
    operation, case, dtype : str
        Which of its operations, on which inputs.
    verdict : str
        "equals", "equals ×" (times `factor`), "differs" or "cannot run".
    convention : str or None
        What it equals; for "differs" the departure by name, where it has one.
    factor : str or None
        A closed form, if the convention is met up to a factor.
    factor_decimal : float or None
        Its value where `factor_at` says.
    factor_at : str or None
        The sizes at which `factor_decimal` is taken.
    theorem : str
        Id in the ledger: what the case rests on, or what a difference departs from.
    input : str or None
        For "differs": lines of Python that make the call, with the smallest input found.
    expected, got : object
        For "differs": value and gradient, or an error's text.
    control : str or None
        For "differs": a call of the same adapter that gives what is expected.
    reason : str or None
        For "cannot run" why; for "differs" a sentence.
    """

    library: str
    version: str
    operation: str
    case: str
    dtype: str
    verdict: str
    convention: str | None = None
    factor: str | None = None
    factor_decimal: float | None = None
    factor_at: str | None = None
    theorem: str = ""
    input: str | None = None
    expected: Any = None
    got: Any = None
    control: str | None = None
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As a dictionary of what JSON has."""
        return {name: plain(value) for name, value in asdict(self).items()}

    @property
    def words(self) -> str:
        """The verdict as a short sentence."""
        if self.verdict == CANNOT_RUN:
            return f"cannot run: {self.reason}"
        if self.verdict == DIFFERS:
            return f"differs: {self.convention}"
        times = f" × {self.factor}" if self.verdict == EQUALS_TIMES else ""
        return f"equals {self.convention}{times}"


def plain(value: Any) -> Any:
    """Numbers and lists for JSON; what is not finite as a string."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
