"""Hypothesis strategies for sampled groups: rewards, ids, scores."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from tests.backends import Backend

# Sizes that a compiled backend sees (each costs a compilation) and that others draw from.
COMPILED_SIZES = (2, 3, 8)
LARGEST_SIZE = 40

# Elementwise functions see this many draws in one call, and in return fewer examples.
ROWS = 12
in_rows = settings(max_examples=max(1, settings.default.max_examples // 4))


def group_sizes(xp: Backend) -> st.SearchStrategy[int]:
    """Numbers of rollouts, few where each new shape is compiled."""
    return st.sampled_from(COMPILED_SIZES) if xp.compiled else st.integers(2, LARGEST_SIZE)


def dtypes(xp: Backend) -> st.SearchStrategy[str]:
    """Floating dtypes that the backend has; two where mapping alone is left to be seen."""
    return st.sampled_from(("bfloat16", "float64") if xp.name == "jax-vmap" else xp.dtypes)


def _bfloat16(bits: int) -> float:
    return float(np.array(bits << 16, dtype=np.uint32).view(np.float32))


def few_dtypes(xp: Backend) -> tuple[str, ...]:
    """All of its dtypes; one of half precision and float64 where each costs a compilation, and only
    one of these where it costs one for every operation."""
    kept = {"jax": ("bfloat16",), "jax-vmap": ("float64",)}.get(xp.name, ("bfloat16", "float64"))
    return kept if xp.compiled else xp.dtypes


def finite_floats(dtype: str) -> st.SearchStrategy[float]:
    """Every finite value of the dtype, from subnormals to the largest."""
    if dtype == "bfloat16":
        return st.integers(0, 2**16 - 1).map(_bfloat16).filter(np.isfinite)
    width = int(dtype.removeprefix("float"))
    return st.floats(allow_nan=False, allow_infinity=False, width=width)


def usual_floats(dtype: str) -> st.SearchStrategy[float]:
    """Rewards as people use them: few distinct values, many not dyadic."""
    values = (0.0, 1.0, -1.0, 0.1, 0.2, 1 / 3, 0.5, 0.7, 2.0, 10.0)
    return st.sampled_from(values).map(lambda v: round_to(v, dtype))


def neighbours(dtype: str, exponent: int) -> st.SearchStrategy[float]:
    """Values a few ulp above 2**exponent: their differences live in the last bits."""
    step = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
    return st.integers(0, 5).map(lambda n: float(np.ldexp(1.0 + n * step[dtype], exponent)))


def exponents(dtype: str) -> st.SearchStrategy[int]:
    """Exponents of normal values of the dtype."""
    reach = {"float16": 14, "bfloat16": 126, "float32": 126, "float64": 1022}[dtype]
    return st.integers(-reach, reach)


def round_to(value: float, dtype: str) -> float:
    """The nearest value of the dtype, as a Python float."""
    if dtype == "bfloat16":
        bits = int(np.array(value, dtype=np.float32).view(np.uint32))
        return _bfloat16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
    return float(np.array(value).astype(dtype))


@st.composite
def rewards(draw: st.DrawFn, xp: Backend, dtype: str) -> list[float]:
    """One group of real rewards: ordinary, extreme, nearly equal, or mixed."""
    size = draw(group_sizes(xp))
    close = neighbours(dtype, draw(exponents(dtype)))
    kinds = (usual_floats(dtype), finite_floats(dtype), close)
    element = draw(st.sampled_from((*kinds, st.one_of(kinds))))
    return draw(st.lists(element, min_size=size, max_size=size))


@st.composite
def binary_rewards(draw: st.DrawFn, xp: Backend) -> list[int]:
    """One group of 0/1 rewards, unanimous ones included."""
    size = draw(group_sizes(xp))
    return draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))


@st.composite
def vectors(draw: st.DrawFn, dtype: str, group_size: int, dimension: int = 2) -> list[list[float]]:
    """Scores of a group, moderate in size so that no sum leaves the dtype."""
    bound = {"float16": 64.0, "bfloat16": 64.0, "float32": 2.0**50, "float64": 2.0**400}[dtype]
    if dtype == "bfloat16":
        element = st.integers(-256, 256).map(lambda n: n / 4)
    else:
        width = int(dtype.removeprefix("float"))
        element = st.floats(-bound, bound, width=width)
    row = st.lists(element, min_size=dimension, max_size=dimension)
    return draw(st.lists(row, min_size=group_size, max_size=group_size))


@st.composite
def ragged(draw: st.DrawFn, xp: Backend, dtype: str) -> tuple[list[float], list[int]]:
    """Flat rewards and group ids: ragged, interleaved, unsorted, ids negative and far apart."""
    if xp.compiled:
        shapes = st.sampled_from(((2, 4), (3, 3), (2, 2, 2)))
    else:
        shapes = st.lists(st.integers(2, 9), min_size=1, max_size=8).map(tuple)
    sizes = draw(shapes)
    ids = draw(
        st.lists(
            st.integers(-(2**31), 2**31 - 1), min_size=len(sizes), max_size=len(sizes), unique=True
        )
    )
    flat_ids = draw(st.permutations([i for i, n in zip(ids, sizes, strict=True) for _ in range(n)]))
    element = st.one_of(usual_floats(dtype), finite_floats(dtype))
    values = draw(st.lists(element, min_size=len(flat_ids), max_size=len(flat_ids)))
    return values, list(flat_ids)
