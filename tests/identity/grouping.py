"""Running a group function on a backend and holding the result against an oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume

from identity import DomainError
from tests import oracles, tolerances
from tests.backends import Backend


def exactly(xp: Backend, values: Sequence[float], dtype: str) -> list[Fraction]:
    """The rewards as exact numbers, as this backend sees them."""
    seen = oracles.flushed(values, dtype) if xp.flushes_subnormals else values
    return oracles.fractions(seen)


def computed(
    xp: Backend,
    function: Callable[..., Any],
    arrays: Sequence[Any],
    dtype: str,
    exact: Sequence[oracles.Number],
    **options: Any,
) -> np.ndarray:
    """The result in NumPy, in the dtype passed. Where the dtype cannot hold the exact result, that
    must be said (eager) and the example ends; so it does where rounding decides."""
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        limit = oracles.to_mpf(oracles.largest_float(dtype))
        largest = max(abs(oracles.to_mpf(value)) / limit for value in exact)
    if largest > 1 + tolerances.NEAR_OVERFLOW and xp.checks_values:
        with pytest.raises(DomainError):
            xp.call(function, *arrays, **options)
    assume(largest < 1 - tolerances.NEAR_OVERFLOW)
    result = xp.call(function, *arrays, **options)
    assert result.dtype == arrays[-1].dtype
    return xp.to_numpy(result)


def assert_close(
    xp: Backend,
    actual: np.ndarray,
    exact: Sequence[oracles.Number],
    dtype: str,
    bound: float,
    *,
    relative_to: oracles.Number | Sequence[oracles.Number] | None = None,
) -> None:
    """Each element within `bound` ulp, relative to itself or to what is given."""
    assert actual.size == len(exact)
    for index, (got, want) in enumerate(zip(actual.ravel().tolist(), exact, strict=True)):
        reference = relative_to[index] if isinstance(relative_to, list) else relative_to
        off = oracles.excess(got, want, dtype, relative_to=reference, flushes=xp.flushes_subnormals)
        assert off <= bound, f"element {index}: {got!r}, exactly {want}, {off} ulp > {bound}"


def assert_all_zero(array: np.ndarray) -> None:
    """Exactly 0 everywhere; a NaN is not."""
    assert (np.asarray(array, dtype=np.float64) == 0.0).all(), array
