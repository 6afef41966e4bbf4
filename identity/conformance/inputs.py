"""The inputs of the cases: strategies for the search, and fixed ones to recognise conventions by.

Values lie on a dyadic grid, so that they are the same in every dtype; rewards that must not are
made so where a case needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from identity.conformance.batches import Gaps, Losses, Rewards, Tokens
from identity.conformance.frameworks import rounded

__all__ = [
    "EXTREME_GAPS",
    "GROUP_SIZES",
    "NON_DYADIC",
    "advantage_calibration",
    "binary_rewards",
    "extreme_batches",
    "gap_batches",
    "gaps",
    "holed",
    "loss_batches",
    "loss_calibration",
    "on_policy_calibration",
    "reward_batches",
    "token_batches",
    "unanimous_rewards",
]

GROUP_SIZES = (2, 4, 8, 16, 64)
NON_DYADIC = (0.1, 0.2, 0.3, 0.7, 0.9, 1 / 3, 2 / 3, 1.1, 3.3, 1e-3)
EXTREME_GAPS = (10.0, 20.0, 30.0)


def rewards_of(groups: Sequence[Sequence[float]], dtype: str) -> Rewards:
    """Consecutive groups with these rewards."""
    values = [value for group in groups for value in group]
    ids = [i for i, group in enumerate(groups) for _ in group]
    return Rewards(rounded(values, dtype), np.array(ids, np.int64), dtype)


# -- advantages ----------------------------------------------------------------------------------


def advantage_calibration(dtype: str) -> list[Rewards]:
    """Groups of spreads from 1 to 2⁻¹⁰, where the usual ε can be told apart."""
    pattern = ((3, -1, 2, -5), (1, 4, -6, 0), (-2, 7, 1, 1))
    scales = (1 / 8, 1 / 256, 1 / 8192)
    four = [[v * s for v in group] for group, s in zip(pattern, scales, strict=True)]
    two = [[0.5, -0.25], [2**-9, 0.0], [2**-6, 2**-8]]
    three = [[1.0, 0.0, 0.0], [0.0, 2**-10, 2**-11]]
    alone = [[group] for group in four]  # where one group is taken at a time
    many = [[float(i % (2 + j)) for i in range(4)] for j in range(5)]
    large = [[float(i * i % 7) for i in range(80)]]
    kinds = [four, two, three, *alone, many, large]
    if dtype == "float64":
        kinds.append([[v * 2.0**-24 for v in group] for group in pattern])
    return [rewards_of(groups, dtype) for groups in kinds]


def binary_rewards(size: int, k: int, dtype: str) -> Rewards:
    """k rewards of 1 in a group."""
    return rewards_of([[1.0] * k + [0.0] * (size - k)], dtype)


def unanimous_rewards(dtype: str, *, beside: bool = False) -> Any:
    """A group of equal rewards that are no dyadic fractions, perhaps beside one of 1 and 0."""

    def batch(value: float, size: int, other: bool) -> Rewards:
        mixed = [[1.0] + [0.0] * (size - 1)] if other else []
        return rewards_of([[value] * size, *mixed], dtype)

    sizes = st.sampled_from((2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 64))
    return st.builds(
        batch, st.sampled_from(NON_DYADIC), sizes, st.booleans() if beside else st.just(False)
    )


@st.composite
def _reward_batch(draw: Any, dtype: str, sizes: str, shuffled: bool, shifted: bool) -> Rewards:
    count = draw(st.integers(2 if sizes == "unequal" or shuffled else 1, 3))
    if sizes == "equal":
        lengths = [draw(st.integers(2, 4))] * count
    else:
        lengths = [draw(st.integers(2, 5)) for _ in range(count)]
        if len(set(lengths)) == 1:
            lengths[-1] += 1
    rows = [draw(st.lists(st.integers(0, 8), min_size=n, max_size=n)) for n in lengths]
    for row in rows:  # no group is unanimous: that is a case of its own
        if len(set(row)) == 1:
            row[-1] = row[0] + 1
    # A baseline takes these away, in the digits that the dtype has.
    shifts = (0, -8, 1024) if dtype in ("float32", "float64") else (0, -8)
    shift = draw(st.sampled_from(shifts)) if shifted else 0
    batch = rewards_of([[v / 8 + shift for v in row] for row in rows], dtype)
    if sizes != "equal" or shuffled:  # ids are names, and not the places of the groups
        batch = Rewards(batch.rewards, np.array([7, 3, 12])[batch.groups], dtype)
    if not shuffled:
        return batch
    order = np.array(draw(st.permutations(range(len(batch.rewards)))))
    if Rewards(batch.rewards, batch.groups[order], dtype).consecutive:
        order = np.argsort(np.arange(len(order)) % lengths[0], kind="stable")
    return Rewards(batch.rewards[order], batch.groups[order], dtype)


def reward_batches(
    dtype: str, *, sizes: str = "equal", shuffled: bool = False, shifted: bool = False
) -> Any:
    """Groups of eighths, none unanimous, in consecutive rows or not, near 0 or not."""
    return _reward_batch(dtype, sizes, shuffled, shifted)


# -- losses --------------------------------------------------------------------------------------


def _tokens(gap: Any, advantages: Any, lengths: Sequence[int], ref: bool, dtype: str) -> Tokens:
    gap = np.asarray(gap, np.float64)
    width = gap.shape[1]
    logp = np.full_like(gap, -2.0) + np.arange(width) % 8 / 8 - np.arange(len(gap))[:, None] % 8 / 4
    mask = np.arange(width) < np.asarray(lengths)[:, None]
    toward = logp + (np.arange(gap.size).reshape(gap.shape) % 5 - 2) / 8 if ref else None
    return Tokens(logp, logp - gap, np.asarray(advantages, np.float64), mask, toward, dtype)


def on_policy_calibration(dtype: str, ref: bool) -> list[Tokens]:
    """Ratio 1, ragged responses."""
    return [
        _tokens(np.zeros((3, 5)), (1, -2, 0.5), (5, 2, 3), ref, dtype),
        _tokens(np.zeros((2, 3)), (1.5, 1), (1, 3), ref, dtype),
    ]


def loss_calibration(dtype: str, ref: bool) -> list[Tokens]:
    """Ratios within and beyond all the usual bounds, with advantages of both signs."""
    near, far = [[1, -1, 2], [4, -4, 0]], [[16, 12, 14], [-16, -12, -14]]
    gap = np.array([*near, *far] * 2) / 8
    advantages = [1, 0.5, 1.5, 1, -1.5, -1, -1, -2]
    small = np.array([[1, 2], [-2, 1], [9, 11], [-9, 10]]) / 8
    wide = (np.arange(17 * 33).reshape(17, 33) * 7 % 25 - 12) / 8
    signs = [(-1) ** row * (1 + row % 4) for row in range(17)]
    return [
        _tokens(gap, advantages, (3, 2, 3, 1, 2, 3, 3, 2), ref, dtype),
        _tokens(small, (-1, 2, 1, -0.5), (2, 1, 2, 2), ref, dtype),
        _tokens(wide, signs, [1 + row * 2 for row in range(17)], ref, dtype),
    ]


@st.composite
def _token_batch(draw: Any, dtype: str, gap: int, ref: bool, sizes: tuple[int, int]) -> Tokens:
    rows, width = draw(st.integers(1, sizes[0])), draw(st.integers(1, sizes[1]))
    shape = (rows, width)

    def grid(low: int, high: int) -> Any:
        numbers = st.lists(st.integers(0, high - low), min_size=rows * width, max_size=rows * width)
        return (np.array(draw(numbers), np.float64).reshape(shape) + low) / 8

    logp = -1 - grid(0, 16)
    # 0 is the simplest draw: no gap.
    gaps_ = np.array(
        draw(st.lists(st.integers(-gap, gap), min_size=rows * width, max_size=rows * width)),
        np.float64,
    ).reshape(shape)
    lengths = [draw(st.integers(1, width)) for _ in range(rows)]
    advantages = [draw(st.sampled_from((1, -1, 2, -2, 0.5, 0, 16, -16))) for _ in range(rows)]
    mask = np.arange(width) < np.array(lengths)[:, None]
    toward = logp + grid(-8, 8) if ref else None
    return Tokens(logp, logp - gaps_ / 8, np.array(advantages, np.float64), mask, toward, dtype)


@st.composite
def _holed(draw: Any, batches: Any) -> Any:
    batch = draw(batches)
    rows, width = batch.mask.shape
    flags = st.lists(st.booleans(), min_size=width, max_size=width)
    mask = np.array([draw(flags.filter(any)) for _ in range(rows)])
    return replace(batch, mask=mask)


def holed(batches: Any) -> Any:
    """The same with masks of any kind, a token in each row: padding at the left, turns of tools."""
    return _holed(batches)


def extreme_batches(dtype: str, gaps_: Sequence[float], ref: bool) -> list[Tokens]:
    """One token each, far from the policy that sampled it, or from the reference if it has one."""
    batches = []
    for gap in (sign * size for size in gaps_ for sign in (1, -1)):
        for advantage in (0.0,) if ref else (1.0, -1.0):
            near, far = np.array([[-1.0 + min(gap, 0)]]), np.array([[-1.0 - max(gap, 0)]])
            mask = np.ones((1, 1), bool)
            old, to = (near, far) if ref else (far, None)
            batches.append(Tokens(near, old, np.array([advantage]), mask, to, dtype))
    return batches


def token_batches(
    dtype: str, *, gap: int = 0, ref: bool = False, sizes: tuple[int, int] = (3, 4)
) -> Any:
    """Responses whose log-ratios are up to `gap` eighths."""
    return _token_batch(dtype, gap, ref, sizes)


@st.composite
def _loss_batch(draw: Any, dtype: str) -> Losses:
    batch = draw(_token_batch(dtype, 8, False, (3, 4)))
    return Losses(batch.logp - batch.old_logp + 1, batch.mask, dtype)


def loss_batches(dtype: str) -> Any:
    """Losses of tokens, for ``aggregate`` operations."""
    return _loss_batch(dtype)


# -- divergences ---------------------------------------------------------------------------------


def gaps(values: Sequence[float], dtype: str) -> Gaps:
    """Tokens with these log-ratios log π − log π_ref, all log-probabilities at most −1."""
    gap = np.asarray(values, np.float64)
    return Gaps(-1 + np.minimum(gap, 0), -1 - np.maximum(gap, 0), dtype)


def gap_batches(dtype: str) -> Any:
    """One or two tokens, log-ratios up to 2."""
    values = st.lists(st.integers(-16, 16), min_size=1, max_size=2)
    return values.map(lambda eighths: gaps([v / 8 for v in eighths], dtype))
