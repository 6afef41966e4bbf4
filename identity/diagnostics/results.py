"""What `diagnose` reports, as typed records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Diagnosis", "GroupSizeAdvice", "MassRow", "Quantile", "SilentRow", "Unanimous"]


@dataclass(frozen=True)
class Unanimous:
    """Prompts whose observed rollouts all agree.

    Attributes
    ----------
    never_correct, always_correct : float
        Shares of prompts with p̂ = 0 and with p̂ = 1.
    share : float
        Their sum: prompts that no group size wakes *if* p = p̂ (the silent rate is then 1).
    prompts : int
        How many prompts that is.
    rollouts : int or None
        Largest number of rollouts behind a p̂ = 0 prompt; None if there is none.
    upper_bound : float or None
        Largest p that 0 correct of that many rollouts leave open at 95 % (one-sided,
        1 − 0.05^(1/n)).
    """

    never_correct: float
    always_correct: float
    share: float
    prompts: int
    rollouts: int | None
    upper_bound: float | None


@dataclass(frozen=True)
class SilentRow:
    """Silent rate at one group size.

    Attributes
    ----------
    group_size : int
        G.
    plug_in : float
        Mean of p̂^G + (1 − p̂)^G over all prompts; biased upward (`expectation.silent-plug-in`).
    plug_in_prompts : int
        Prompts behind it: all.
    unbiased : float or None
        Mean of [C(k,G) + C(n−k,G)]/C(n,G) over the prompts with a recorded n ≥ G
        (`expectation.silent-u-statistic`); None, never extrapolated, if there is none.
    unbiased_prompts : int
        Prompts behind it.
    plug_in_same_prompts : float or None
        The plug-in mean over just the prompts that the unbiased one uses.
    note : str
        Why the unbiased rate is missing or uses fewer prompts; empty otherwise.
    """

    group_size: int
    plug_in: float
    plug_in_prompts: int
    unbiased: float | None
    unbiased_prompts: int
    plug_in_same_prompts: float | None
    note: str


@dataclass(frozen=True)
class MassRow:
    """Where one method's expected gradient comes from.

    Attributes
    ----------
    method : str
        One of `MASS_METHODS`.
    group_size : int or None
        G, or None for the large-G limit.
    zones : tuple of float
        Shares of the mass w(p̂)·p̂(1−p̂) by `ZONES`; they sum to 1.
    extremes, middle : float
        First plus last zone; the zone .4 ≤ p̂ ≤ .6.
    theorem : str
        The ledger id of the weight.
    """

    method: str
    group_size: int | None
    zones: tuple[float, ...]
    extremes: float
    middle: float
    theorem: str


@dataclass(frozen=True)
class Quantile:
    """The exact group size at one quantile of the mixed prompts' difficulty.

    Attributes
    ----------
    share : float
        At least this share of the mixed prompts is as balanced as `p`, or more.
    p : float
        That quantile of min(p̂, 1 − p̂), counted from ½ down.
    group_size : int
        Smallest G with φ(G, p) ≥ target.
    """

    share: float
    p: float
    group_size: int


@dataclass(frozen=True)
class GroupSizeAdvice:
    """The recommended group size.

    Attributes
    ----------
    target : float
        Fidelity asked for.
    recommended : int or None
        Smallest G ≥ 2 at which the mean of φ(G, p̂) over mixed prompts reaches the target; None
        if no prompt is mixed, or the mean falls short at the largest G evaluated, 2^20.
    mean_fidelity : float or None
        That mean at the recommended G.
    mean_fidelity_below : float or None
        The mean at one rollout less (None at G = 2): below the target.
    mixed_prompts : int
        Prompts with 0 < p̂ < 1, over which the mean runs.
    quantiles : tuple of Quantile
        Exact smallest G at quantiles of the mixed prompts' difficulty.
    rule, theorem : str
        The rule in words and the ledger id behind it.
    """

    target: float
    recommended: int | None
    mean_fidelity: float | None
    mean_fidelity_below: float | None
    mixed_prompts: int
    quantiles: tuple[Quantile, ...]
    rule: str
    theorem: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything that `diagnose` reports.

    Attributes
    ----------
    source, recognised, licence : str
        As in `SolveRates`.
    caveats : tuple of str
        To be repeated with the figures.
    prompts : int
        N.
    largest_rollouts : int
        Largest n: p̂ of a mixed prompt lies between 1/n and 1 − 1/n.
    unanimous : Unanimous
    silent : tuple of SilentRow
        One per group size, ascending.
    gradient_mass : tuple of MassRow
        Every method at every group size and in the large-G limit; empty if no prompt is mixed.
    group_size : GroupSizeAdvice
    """

    source: str
    recognised: str
    licence: str
    caveats: tuple[str, ...]
    prompts: int
    largest_rollouts: int
    unanimous: Unanimous
    silent: tuple[SilentRow, ...]
    gradient_mass: tuple[MassRow, ...]
    group_size: GroupSizeAdvice

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, tuples, numbers and None, ready for ``json.dumps``; never NaN."""
        return asdict(self)
