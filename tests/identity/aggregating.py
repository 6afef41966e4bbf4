"""Exact losses and weights from the definitions, and random batches to hold against them.

Shares no code with identity/: weights come row by row from the formulas, at `ORACLE_DIGITS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from hypothesis import strategies as st

from tests import oracles, strategies, tolerances
from tests.backends import Backend

# Method, options; whether group ids go with them.
CASES: dict[str, tuple[str, dict[str, float], bool]] = {
    "grpo": ("grpo", {}, False),
    "dapo": ("dapo", {}, False),
    "dapo-groups": ("dapo", {}, True),
    "dapo-constant": ("dapo", {"constant": 77}, False),
    "dr_grpo": ("dr_grpo", {"constant": 60}, False),
    "bnpo": ("bnpo", {}, False),
    "sequence_sum": ("sequence_sum", {}, False),
    "delta_l": ("delta_l", {"alpha": 0.75, "constant": 60}, False),
    "delta_l-groups": ("delta_l", {"alpha": 1.0, "constant": 48.5}, True),
    "delta_l-flat": ("delta_l", {"alpha": 0.0, "constant": 60}, True),
    "delta_l_batch": ("delta_l_batch", {"alpha": 0.9, "constant": 60}, False),
}
# Where each option, shape and dtype is compiled, these stand for all.
COMPILED_CASES = ("grpo", "dapo-groups", "dr_grpo", "delta_l-groups")
POISON = (np.nan, np.inf, -np.inf, 1e30, -1e30)


def cases_of(xp: Backend) -> st.SearchStrategy[str]:
    return st.sampled_from(COMPILED_CASES if xp.compiled else list(CASES))


def by_length(case: str) -> bool:
    return case.startswith("delta_l")


@dataclass(frozen=True)
class Batch:
    """Losses with poisoned padding, a mask, and group ids."""

    loss: np.ndarray
    mask: np.ndarray
    ids: np.ndarray

    @property
    def counts(self) -> list[int]:
        return [int(n) for n in self.mask.sum(axis=1)]

    def rows(self, chosen: Any) -> Batch:
        return Batch(self.loss[chosen], self.mask[chosen], self.ids[chosen])

    def arguments(self, case: str) -> dict[str, Any]:
        """Options, with NumPy ids."""
        method, options, grouped = CASES[case]
        return {"method": method, **options, **({"groups": self.ids} if grouped else {})}

    def on(self, xp: Backend, dtype: str, case: str) -> tuple[list[Any], dict[str, Any]]:
        """Loss and mask as arrays of the backend, and options."""
        options = self.arguments(case)
        if "groups" in options:
            options["groups"] = xp.asarray(self.ids)
        with np.errstate(over="ignore"):
            return [xp.asarray(self.loss, dtype), xp.asarray(self.mask)], options


def exact_weights(batch: Batch, case: str, dtype: str) -> list[mpmath.mpf]:
    """The weight of an unmasked token of each row; 0 for a row without tokens."""
    method, options, grouped = CASES[case]
    counts = batch.counts
    ids = batch.ids.tolist() if grouped else [0] * len(counts)
    number = len(set(ids))
    constant = Fraction(options.get("constant", 1))
    # alpha is rounded to the dtype that computes
    kind = np.float64 if dtype == "float64" else np.float32
    alpha = oracles.to_mpf(Fraction(float(kind(options.get("alpha", 1.0)))))
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        powers = [mpmath.mpf(n) ** -alpha if n else mpmath.mpf(0) for n in counts]
        weights = []
        for row, n in enumerate(counts):
            members = [j for j, i in enumerate(ids) if i == ids[row]]
            if n == 0:
                weights.append(mpmath.mpf(0))
            elif method == "grpo":
                weights.append(mpmath.mpf(1) / (n * len(counts)))
            elif method == "dapo" and "constant" in options:
                weights.append(1 / oracles.to_mpf(constant))
            elif method in ("dapo", "bnpo"):
                weights.append(mpmath.mpf(1) / (number * sum(counts[j] for j in members)))
            elif method in ("dr_grpo", "sequence_sum"):
                weights.append(1 / (len(counts) * oracles.to_mpf(constant)))
            else:
                total = sum(powers[j] for j in members) * number * oracles.to_mpf(constant)
                weights.append(powers[row] / total)
    return weights


def exact_loss(
    seen: np.ndarray, batch: Batch, weights: Sequence[mpmath.mpf]
) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Σ w ℓ and Σ w|ℓ| for losses as the backend sees them."""
    value, size = mpmath.mpf(0), mpmath.mpf(0)
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        for row, weight in enumerate(weights):
            terms = [oracles.to_mpf(Fraction(float(x))) for x in seen[row][batch.mask[row]]]
            value += weight * mpmath.fsum(terms)
            size += weight * mpmath.fsum(abs(t) for t in terms)
    return value, size


def losses(dtype: str) -> st.SearchStrategy[float]:
    """Losses of any sign over a few decades, and zeros."""
    top = {"float16": 32.0, "bfloat16": 1e6, "float32": 1e6, "float64": 1e12}[dtype]
    numbers = st.floats(-top, top, width=64).filter(lambda x: x == 0 or abs(x) > 1e-4)
    return st.one_of(numbers, strategies.usual_floats(dtype)).map(
        lambda x: strategies.round_to(x, dtype)
    )


@st.composite
def batches(draw: st.DrawFn, xp: Backend, dtype: str) -> Batch:
    """A batch with few rows, some empty, any mask, ids of any size; few shapes where compiled."""
    if xp.compiled:
        rows, tokens = 4, 6
    else:
        rows, tokens = draw(st.integers(0, 6)), draw(st.integers(0, 21))
    size = rows * tokens
    ragged = draw(st.booleans())
    if ragged:
        lengths = draw(st.lists(st.integers(0, tokens), min_size=rows, max_size=rows))
        mask = np.arange(tokens) < np.array(lengths, dtype=int).reshape(rows, 1)
    else:
        flat = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        mask = np.array(flat, dtype=bool).reshape(rows, tokens)
    values = draw(st.lists(losses(dtype), min_size=size, max_size=size))
    loss = np.array(values, dtype=np.float64).reshape(rows, tokens)
    loss[~mask] = draw(st.sampled_from(POISON))
    ids = draw(st.lists(st.sampled_from((-7, 0, 5, 2**31)), min_size=rows, max_size=rows))
    return Batch(loss, mask, np.array(ids, dtype=np.int64))


def sample(rows: int, tokens: int, seed: int = 0, *, empty: Sequence[int] = ()) -> Batch:
    """A fixed batch of right-padded responses, the padding poisoned; some rows without tokens."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, tokens + 1, size=rows)
    lengths[list(empty)] = 0
    mask = np.arange(tokens) < lengths[:, None]
    loss = rng.normal(size=(rows, tokens)) * np.exp(rng.normal(size=(rows, tokens)))
    loss[~mask] = rng.choice(POISON, size=int((~mask).sum()))
    return Batch(loss, mask, rng.integers(-2, 2, size=rows) * 9)


def widened(batch: Batch, width: int, poison: float = np.nan) -> Batch:
    """The same batch with more padding."""
    more = width - batch.mask.shape[1]
    return Batch(
        np.pad(batch.loss, ((0, 0), (0, more)), constant_values=poison),
        np.pad(batch.mask, ((0, 0), (0, more))),
        batch.ids,
    )
