"""The smallest input with a property: Hypothesis looks for one and shrinks it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from identity.conformance.operation import CannotRun

__all__ = ["smallest"]

Input = TypeVar("Input")

# A call of a real trainer takes many milliseconds: shrinking may try as many inputs as this, times
# those that the search may.
SHRINKING = 4


class _Enough(BaseException):
    """The inputs that a search may try are used up. No `Exception`, which would be a finding."""


def smallest(strategy: Any, wanted: Callable[[Input], bool], examples: int) -> Input | None:
    """The smallest input found with a property, or None.

    Parameters
    ----------
    strategy : hypothesis strategy
        Of the inputs.
    wanted : callable
        Whether an input has the property.
    examples : int
        How many inputs to try before giving up; once one is found, up to `SHRINKING` times as many
        more to make it smaller.

    Returns
    -------
    input or None
        The same in every run.

    Raises
    ------
    CannotRun
        If an input has the property at one time and not at another.
    """
    from hypothesis import HealthCheck, Phase, Verbosity, find, settings
    from hypothesis.errors import Flaky, NoSuchExample

    found: list[Input] = []
    tried = 0

    def check(value: Input) -> bool:
        nonlocal tried
        tried += 1
        if tried > examples * (1 + SHRINKING if found else 1):
            raise _Enough
        if wanted(value):
            found.append(value)
            return True
        return False

    options = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's, repeated for every input
        try:
            best: Input = find(strategy, check, settings=options, random=random.Random(0))
            return best
        except NoSuchExample:
            return None
        except Flaky as why:
            raise CannotRun("it does not give the same twice for one input") from why
        except _Enough:
            return found[-1] if found else None
