"""First-principles checks of the topic ``difficulty``."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["CHECKS"]

CHECKS: dict[str, Callable[[], int]] = {}
