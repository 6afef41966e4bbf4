"""Solve-rate counts: the type that the diagnostics work on, and the one table that is shipped."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from identity._arrays import integer_argument
from identity.errors import DomainError

__all__ = ["BIG_MATH_CAVEATS", "MAX_INTEGER", "SolveRates", "big_math_solve_rates"]

BIG_MATH_CAVEATS: tuple[str, ...] = (
    "The table carries no problem text and no row order: draws from it match the start "
    "population of arXiv 2607.00152 in distribution only.",
    "Big-Math dropped many unsolved problems, so the share at p̂ = 0 is partly selection.",
    "Six rows record a ratio j/9 without the number of rollouts behind it (9 is only their common "
    "denominator): they enter every figure but the unbiased silent rate, which needs that number.",
)
"""What must be said wherever a figure uses the shipped Big-Math table."""


MAX_INTEGER = 2**53
"""Largest k or n, and count of one row of a log: the integers up to it are exact in float64."""

_MAX_COUNT = 2**900  # rows of a log add up, so counts may exceed MAX_INTEGER


@dataclass(frozen=True)
class SolveRates:
    """How many prompts had ``k`` correct rollouts out of ``n``, aggregated by ``(k, n)``.

    Parameters
    ----------
    correct, rollouts, count : tuple of int
        Parallel columns: k, n and the number of prompts with that pair.
        Within each row 0 ≤ k ≤ n, 1 ≤ n and 0 ≤ count.
    ratio_only : tuple of bool
        True in a row of which only the ratio k/n is recorded, so that the true number of
        rollouts is some unknown multiple of ``rollouts``. Such rows have a plug-in estimate but
        no unbiased one.
    source : str
        Where the counts come from: a path, or a citation.
    recognised : str
        Which of the accepted shapes the source has.
    caveats : tuple of str, optional
        Sentences to repeat wherever a figure uses these counts.
    licence : str, optional
        The licence of the source, if known.

    Raises
    ------
    DomainError
        If the columns differ in length, an entry is no integer, a row breaks the bounds above, n
        exceeds `MAX_INTEGER`, or there is no prompt.

    Examples
    --------
    >>> SolveRates((0, 3), (8, 8), (10, 5), (False, False), "example", "k,n counts").prompts
    15
    """

    correct: tuple[int, ...]
    rollouts: tuple[int, ...]
    count: tuple[int, ...]
    ratio_only: tuple[bool, ...]
    source: str
    recognised: str
    caveats: tuple[str, ...] = ()
    licence: str = ""

    def __post_init__(self) -> None:
        lengths = tuple(map(len, (self.correct, self.rollouts, self.count, self.ratio_only)))
        if len(set(lengths)) != 1:
            raise DomainError("correct, rollouts, count, ratio_only", lengths, "have one length")
        for name in ("correct", "rollouts", "count"):
            # Python's integers: those of NumPy would overflow in the sums over prompts.
            column = tuple(integer_argument(name, value) for value in getattr(self, name))
            object.__setattr__(self, name, column)
        for k, n, c in zip(self.correct, self.rollouts, self.count, strict=True):
            if n < 1:
                raise DomainError("rollouts", n, "be at least 1")
            if not 0 <= k <= n:
                raise DomainError("correct", k, f"lie between 0 and rollouts = {n}")
            if c < 0:
                raise DomainError("count", c, "be non-negative")
            if n > MAX_INTEGER:
                raise DomainError("rollouts", n, "be at most 2**53")
            if c > _MAX_COUNT:
                raise DomainError("count", c, "be at most 2**900, so that sums fit in float64")
        if self.prompts == 0:
            raise DomainError("count", self.count, "name at least one prompt")

    @property
    def prompts(self) -> int:
        """Number of prompts (more precisely: of observed rollout groups, one per prompt row)."""
        return sum(self.count)

    @classmethod
    def from_counts(
        cls,
        counts: Iterable[tuple[tuple[int, int], int]],
        *,
        source: str,
        recognised: str,
        caveats: tuple[str, ...] = (),
    ) -> SolveRates:
        """Build from ``((k, n), count)`` pairs, sorted by n and then k.

        Parameters
        ----------
        counts : iterable of ((int, int), int)
            Distinct ``(k, n)`` pairs with their number of prompts.
        source, recognised, caveats
            As for the class.

        Returns
        -------
        SolveRates
            With every number of rollouts taken as recorded.
        """
        rows = sorted(counts, key=lambda row: (row[0][1], row[0][0]))
        return cls(
            correct=tuple(k for (k, _), _ in rows),
            rollouts=tuple(n for (_, n), _ in rows),
            count=tuple(c for _, c in rows),
            ratio_only=(False,) * len(rows),
            source=source,
            recognised=recognised,
            caveats=caveats,
        )


@cache
def big_math_solve_rates() -> SolveRates:
    """The distribution of solve rates in Big-Math, as counts: 71 rows, N = 215,608 prompts.

    Llama-3.1-8B's recorded solve rate (``llama8b_solve_rate``) of every problem in
    Big-Math-RL-Verified-Processed (config ``all``): 65 values k/64 and six values j/9.

    Returns
    -------
    SolveRates
        Counts by (k, n), with provenance, licence and caveats.

    Notes
    -----
    Provenance: recovered bar by bar from the vector figure ``fig_realdata.pdf`` of
    arXiv 2607.00152 (bars within 6.3e-5 of integers, sum exact; agrees with the dataset card's
    level_3 = 42,501 and level_4 = 41,506). Counts are facts; the figure is CC BY 4.0.

    Caveats, to be repeated wherever a figure uses the table:

    - It carries no problem text and no row order: draws from it match the paper's start
      population in distribution only.
    - Big-Math dropped many unsolved problems, so P(0) is partly selection.
    - The six rows j/9 record ratios over a common denominator; how many rollouts stand behind
      them is not known (9, 18, …, 63 are all possible). They count in every plug-in figure and are
      left out of the unbiased silent rate, which is over the 215,602 prompts with 64 rollouts.

    Examples
    --------
    >>> big_math_solve_rates().prompts
    215608
    """
    text = files(__name__).joinpath("big_math_solve_rates.csv").read_text(encoding="utf-8")
    rows = [
        (int(row["k"]), int(row["n"]), int(row["count"]))
        for row in csv.DictReader(text.splitlines())
    ]
    return SolveRates(
        correct=tuple(k for k, _, _ in rows),
        rollouts=tuple(n for _, n, _ in rows),
        count=tuple(c for _, _, c in rows),
        ratio_only=tuple(n != 64 for _, n, _ in rows),
        source="Big-Math solve rates (open-r1/Big-Math-RL-Verified-Processed, llama8b_solve_rate), "
        "recovered from the vector figure fig_realdata.pdf of arXiv 2607.00152",
        recognised="k,n counts with a count column (shipped table)",
        caveats=BIG_MATH_CAVEATS,
        licence="counts are facts; figure CC BY 4.0",
    )
