"""What `diagnose_run` reports, as typed records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["MODES", "Finding", "RunDiagnosis"]

MODES = {
    "reward hacking": "expectation.verifier-noise",
    "advantage degeneracy": "expectation.silent-rate",
    "policy concentration": "dynamics.exponential-needs-restoring-force",
    "dynamical instability": "dynamics.onset",
}
"""The four failure modes, each with the ledger id of the theorem behind its diagnostic."""


@dataclass(frozen=True)
class Finding:
    """One failure mode: the statistic, its null and what follows.

    Attributes
    ----------
    mode : str
        One of `MODES`.
    verdict : {"present", "not found", "cannot tell"}
        Present: the adjusted p-value is below α.
    statistic : str
        What `value` is.
    value : float or None
        None if it cannot be told, or does not exist (no oscillating root, no gain in reward).
    interval : tuple of float, or None
        Around `value`, at confidence 1 − α.
    threshold : float
        Boundary of the null hypothesis, in units of `value`.
    null : str
        The null hypothesis and the law of the test under it.
    p_value, adjusted_p : float or None
        As it is, and after Holm's correction over the modes that could be told.
    theorem : str
        The ledger id behind the diagnostic.
    explanation : str
        The finding in words.
    reason : str
        Why it cannot be told, or what was left untested; else empty.
    evidence : dict
        Further numbers by name; None where one does not exist.
    """

    mode: str
    verdict: str
    statistic: str
    value: float | None
    interval: tuple[float, float] | None
    threshold: float
    null: str
    p_value: float | None
    adjusted_p: float | None
    theorem: str
    explanation: str
    reason: str
    evidence: dict[str, float | None]


@dataclass(frozen=True)
class RunDiagnosis:
    """Everything that `diagnose_run` reports.

    Attributes
    ----------
    source, recognised : str
        As in `RunLog`.
    caveats : tuple of str
        To be repeated with the reading.
    steps : int
        Logged steps.
    alpha : float
        Probability, under the nulls, that any mode is called present.
    findings : tuple of Finding
        One for each of `MODES`, in that order.
    primary : str or None
        The mode to look at first; None if none is present.
    consequences : dict
        Modes that are present but follow from another one, with that one.
    reading : str
        The whole in words.
    """

    source: str
    recognised: str
    caveats: tuple[str, ...]
    steps: int
    alpha: float
    findings: tuple[Finding, ...]
    primary: str | None
    consequences: dict[str, str]
    reading: str

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, tuples, numbers and None, ready for ``json.dumps``; never NaN."""
        return asdict(self)
