"""One verdict per failure mode from one run's log, and which mode to look at first."""

from __future__ import annotations

from numbers import Integral, Real

from identity.diagnostics._statistics import holm
from identity.diagnostics.run_modes import Part, concentration, degeneracy, hacking, instability
from identity.diagnostics.run_results import MODES, Finding, RunDiagnosis
from identity.diagnostics.runs import RunLog
from identity.errors import DomainError

__all__ = ["diagnose_run"]


def diagnose_run(
    log: RunLog,
    *,
    alpha: float = 0.05,
    silent_limit: float = 0.9,
    entropy_floor: float = 0.1,
    seed: int = 0,
) -> RunDiagnosis:
    """Tell four failure modes apart: reward hacking, silent groups, concentration, instability.

    Parameters
    ----------
    log : RunLog
        The run.
    alpha : float, optional
        Probability under the nulls that any mode is called present, in [0.001, 0.5]: p-values
        are adjusted by Holm's method.
    silent_limit : float, optional
        Silent share above which groups count as degenerate whatever the reason, in (0, 1).
    entropy_floor : float, optional
        Share of the initial entropy below which the policy counts as concentrated, in (0, 1).
    seed : int, optional
        Of the surrogates behind the p-value of instability; 0 or more.

    Returns
    -------
    RunDiagnosis

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Notes
    -----
    *Preconditions.* Checked: the arguments. Assumed: Gaussian block means; for reward hacking, that
    held-out reward is no more persistent than a random walk; for silent groups, that predictions
    come from other rollouts of the same prompts at nearly the same policy.

    *Postcondition.* The same log and arguments give the same report. What a mode lacks makes it
    "cannot tell", with the reason; a mode that cannot be told does not enter the correction. The
    page on diagnosing runs has the power and the false-alarm rates as measured.

    A mode that is present may follow from another one: silent groups from a concentrated policy
    (p near 0 or 1) or from one that oscillates (predictions then come from another policy), and
    concentration from a reward that is exploited. Of the rest, the one with the smallest adjusted
    p-value is primary, in the order of `MODES` if p-values are equal.

    Examples
    --------
    >>> import math
    >>> cycle = [0.5 + 0.3 * math.cos(math.pi * t / 3) for t in range(120)]
    >>> found = diagnose_run(RunLog(step=range(120), train_reward=cycle))
    >>> found.primary
    'dynamical instability'
    >>> [finding.verdict for finding in found.findings]
    ['cannot tell', 'cannot tell', 'cannot tell', 'present']
    """
    if not isinstance(log, RunLog):
        raise DomainError("log", log, "be a RunLog")
    for name, value, low, high in (
        ("alpha", alpha, 0.001, 0.5),
        ("silent_limit", silent_limit, 0.0, 1.0),
        ("entropy_floor", entropy_floor, 0.0, 1.0),
    ):
        within = isinstance(value, Real) and not isinstance(value, bool) and low <= value <= high
        if not within or (name != "alpha" and value in (0, 1)):
            bounds = f"in [{low:g}, {high:g}]" if name == "alpha" else "strictly between 0 and 1"
            raise DomainError(name, value, f"be a number {bounds}")
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise DomainError("seed", seed, "be an integer, 0 or more")
    confidence = 1 - float(alpha)
    parts = dict(
        zip(
            MODES,
            (
                hacking(log, confidence),
                degeneracy(log, confidence, float(silent_limit)),
                concentration(log, confidence, float(entropy_floor)),
                instability(log, confidence, int(seed)),
            ),
            strict=True,
        )
    )
    told = {mode: part.p_value for mode, part in parts.items() if part.p_value is not None}
    adjusted = dict(zip(told, holm(list(told.values())), strict=True))
    findings = tuple(
        _finding(mode, part, adjusted.get(mode), alpha) for mode, part in parts.items()
    )
    present = [finding.mode for finding in findings if finding.verdict == "present"]
    consequences = _consequences(present, parts["advantage degeneracy"].by_level)
    causes = [mode for mode in present if mode not in consequences]
    primary = min(causes, key=adjusted.__getitem__) if causes else None
    return RunDiagnosis(
        log.source,
        log.recognised,
        log.caveats,
        int(log.step.size),
        float(alpha),
        findings,
        primary,
        consequences,
        _reading(findings, primary, causes, consequences),
    )


def _finding(mode: str, part: Part, adjusted: float | None, alpha: float) -> Finding:
    if adjusted is None:
        verdict = "cannot tell"
    else:
        verdict = "present" if adjusted < alpha else "not found"
    return Finding(
        mode,
        verdict,
        part.statistic,
        part.value,
        part.interval,
        part.threshold,
        part.null,
        part.p_value,
        adjusted,
        MODES[mode],
        part.words.get(verdict, f"Cannot tell: {part.reason}."),
        part.reason,
        part.evidence,
    )


def _consequences(present: list[str], by_level: bool) -> dict[str, str]:
    follows = {}
    if "advantage degeneracy" in present:
        if "dynamical instability" in present and not by_level:
            follows["advantage degeneracy"] = "dynamical instability"
        elif "policy concentration" in present and by_level:
            follows["advantage degeneracy"] = "policy concentration"
    if "policy concentration" in present and "reward hacking" in present:
        follows["policy concentration"] = "reward hacking"
    return follows


def _reading(
    findings: tuple[Finding, ...],
    primary: str | None,
    causes: list[str],
    consequences: dict[str, str],
) -> str:
    untold = [finding.mode for finding in findings if finding.verdict == "cannot tell"]
    if primary is None:
        first = (
            "None of the four can be told from this log."
            if len(untold) == len(findings)
            else "None of the modes that can be told is present."
        )
    else:
        first = f"Look at {primary} first."
        others = [mode for mode in causes if mode != primary]
        if others:
            first += f" Also present: {', '.join(others)}."
        for mode, cause in consequences.items():
            first += f" {mode.capitalize()} is present too, and may follow from {cause}."
    if untold and len(untold) < len(findings):
        first += f" Cannot be told: {', '.join(untold)}."
    return first
