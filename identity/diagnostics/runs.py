"""The log of one training run: a few named columns, one value per step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from identity.errors import DomainError

__all__ = ["RUN_QUANTITIES", "RunLog"]

Floats = npt.NDArray[np.float64]
Column = Sequence[float | None] | npt.NDArray[Any]

RUN_QUANTITIES = {
    "train_reward": "mean reward of the rollouts that the step is trained on",
    "heldout_reward": "mean reward on held-out prompts, or true (gold) reward; may be rarer",
    "entropy": "mean entropy of the policy, in any unit",
    "silent_fraction": "share of groups in which every rollout got the same reward",
    "silent_excess": "that share less its prediction p^G + q^G from other rollouts of the prompts",
}
"""What a `RunLog` may hold beside `step`."""

_LARGEST = 1e150  # squares of values stay finite


@dataclass(frozen=True, eq=False)
class RunLog:
    """One value per logged step for each quantity; NaN or None where a step has none.

    Parameters
    ----------
    step : sequence of int
        Steps, strictly increasing, 0 or more.
    train_reward, heldout_reward, entropy, silent_fraction, silent_excess : sequence, optional
        As in `RUN_QUANTITIES`; of the length of `step`. Entropies are 0 or more, the silent
        fraction lies in [0, 1], its excess in [−1, 1].
    source : str, optional
        Where the log comes from.
    recognised : str, optional
        Which columns were read as what.
    caveats : tuple of str, optional
        To be repeated with every reading.

    Raises
    ------
    DomainError
        If a column has another length or shape, is not numeric, holds an infinite value or one
        outside its domain, if steps do not increase, or if no column has any value.

    Examples
    --------
    >>> RunLog(step=[0, 1, 2], train_reward=[0.1, 0.2, 0.2]).quantities
    ('train_reward',)
    """

    step: Any
    train_reward: Any = None
    heldout_reward: Any = None
    entropy: Any = None
    silent_fraction: Any = None
    silent_excess: Any = None
    source: str = "a run"
    recognised: str = "columns given"
    caveats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        step = _column("step", self.step)
        if step.size == 0 or np.isnan(step).any() or (step != np.floor(step)).any():
            raise DomainError("step", self.step, "hold whole numbers, at least one")
        if (step < 0).any() or (step > 2**53).any() or (np.diff(step) <= 0).any():
            raise DomainError("step", self.step, "increase strictly, from 0 or more to 2**53")
        object.__setattr__(self, "step", step)
        low = {"entropy": 0.0, "silent_fraction": 0.0, "silent_excess": -1.0}
        high = {"silent_fraction": 1.0, "silent_excess": 1.0}
        for name in RUN_QUANTITIES:
            given = getattr(self, name)
            if given is None:
                continue
            values = _column(name, given)
            if values.shape != step.shape:
                raise DomainError(name, given, f"have {step.size} values, as many as step")
            present = values[~np.isnan(values)]
            if (present < low.get(name, -np.inf)).any() or (present > high.get(name, np.inf)).any():
                bounds = (
                    f"lie in [{low[name]:g}, {high[name]:g}]" if name in high else "be 0 or more"
                )
                raise DomainError(name, given, bounds)
            object.__setattr__(self, name, values)
        if not self.quantities:
            raise DomainError("train_reward", self.train_reward, "or another column have a value")

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the columns that have a value."""
        columns = ((name, getattr(self, name)) for name in RUN_QUANTITIES)
        return tuple(
            name for name, values in columns if values is not None and not np.isnan(values).all()
        )

    def values(self, *names: str) -> tuple[Floats, ...]:
        """Steps at which all of the named columns have a value, and those values."""
        columns = [self.step, *(getattr(self, name) for name in names)]
        if any(column is None for column in columns):
            return tuple(np.empty(0) for _ in columns)
        kept = ~np.any([np.isnan(column) for column in columns], axis=0)
        return tuple(column[kept] for column in columns)


def _column(name: str, given: Any) -> Floats:
    try:
        flat = not isinstance(given, str | bytes) and np.ndim(given) == 1
    except ValueError:  # rows of different length
        flat = False
    if not flat:
        raise DomainError(name, given, "be a sequence of numbers")
    if any(isinstance(value, bool | np.bool_ | str | bytes | complex) for value in given):
        raise DomainError(name, given, "hold numbers")
    try:
        values = np.array([np.nan if value is None else float(value) for value in given])
    except (TypeError, ValueError, OverflowError) as error:
        raise DomainError(name, given, "hold numbers") from error
    if (np.abs(values[~np.isnan(values)]) > _LARGEST).any():
        raise DomainError(name, given, f"be finite, at most {_LARGEST:g} in magnitude")
    values.flags.writeable = False
    return values
