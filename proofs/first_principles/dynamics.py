"""First-principles checks of the topic ``dynamics``, by subject."""

from __future__ import annotations

from collections.abc import Callable

from . import roots, training, trajectories

__all__ = ["CHECKS"]

CHECKS: dict[str, Callable[[], int]] = {
    **roots.CHECKS,
    **trajectories.CHECKS,
    **training.CHECKS,
}
