"""What goes into an operation and what comes out of it: NumPy arrays of the values passed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Answer", "Batch", "Gaps", "Losses", "Rewards", "Tokens"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
Booleans = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class Rewards:
    """Input of an ``advantage`` operation.

    Parameters
    ----------
    rewards : float64 array, shape (N,)
        One reward for each rollout, each a value of `dtype`, so that converting it rounds nothing.
    groups : int64 array, shape (N,)
        Id of each rollout's prompt; rows of a group may lie anywhere.
    dtype : str
        The floating dtype to convert to: "float64", "float32", "float16" or "bfloat16".
    """

    rewards: Floats
    groups: Integers
    dtype: str

    @property
    def sizes(self) -> Integers:
        """Number of rollouts of each group, in the order of first appearance."""
        _, first, counts = np.unique(self.groups, return_index=True, return_counts=True)
        return np.asarray(counts[np.argsort(first)], np.int64)

    @property
    def consecutive(self) -> bool:
        """Whether the rows of every group are next to each other."""
        return int(np.count_nonzero(np.diff(self.groups))) == len(self.sizes) - 1

    @property
    def size(self) -> int | None:
        """The group size, if all groups have the same and lie in consecutive rows."""
        sizes = self.sizes
        return int(sizes[0]) if self.consecutive and len(set(sizes.tolist())) == 1 else None


@dataclass(frozen=True, eq=False)
class Tokens:
    """Input of a ``loss`` operation: B responses of up to T tokens.

    Parameters
    ----------
    logp, old_logp : float64 array, shape (B, T)
        Log-probabilities under the policy, which is differentiated, and under the one that
        sampled; values of `dtype`.
    advantages : float64 array, shape (B,)
        One advantage for each response.
    mask : bool array, shape (B, T)
        Which tokens count.
    ref_logp : float64 array, shape (B, T), optional
        Under the reference, for operations with a divergence.
    dtype : str
        The floating dtype to convert to.
    """

    logp: Floats
    old_logp: Floats
    advantages: Floats
    mask: Booleans
    ref_logp: Floats | None
    dtype: str

    def rows(self, start: int, stop: int) -> Tokens:
        """Some of the responses, as a batch."""
        ref = None if self.ref_logp is None else self.ref_logp[start:stop]
        return replace(
            self,
            logp=self.logp[start:stop],
            old_logp=self.old_logp[start:stop],
            advantages=self.advantages[start:stop],
            mask=self.mask[start:stop],
            ref_logp=ref,
        )


@dataclass(frozen=True, eq=False)
class Losses:
    """Input of an ``aggregate`` operation.

    Parameters
    ----------
    loss : float64 array, shape (B, T)
        Loss of each token, which the result is differentiated by; values of `dtype`.
    mask : bool array, shape (B, T)
        Which tokens count.
    dtype : str
        The floating dtype to convert to.
    """

    loss: Floats
    mask: Booleans
    dtype: str

    def rows(self, start: int, stop: int) -> Losses:
        """Some of the responses, as a batch."""
        return replace(self, loss=self.loss[start:stop], mask=self.mask[start:stop])


@dataclass(frozen=True, eq=False)
class Gaps:
    """Input of a ``kl`` operation: sampled tokens, none of them masked.

    Parameters
    ----------
    logp, ref_logp : float64 array, shape (N,)
        Log-probabilities under the policy, which is differentiated, and under the reference.
    dtype : str
        The floating dtype to convert to.
    """

    logp: Floats
    ref_logp: Floats
    dtype: str


Batch = Rewards | Tokens | Losses | Gaps


@dataclass(frozen=True, eq=False)
class Answer:
    """Output of an operation, as float64.

    Parameters
    ----------
    value : float64 array
        Shape (N,) for ``advantage`` and ``kl``, () for ``loss`` and ``aggregate``.
    gradient : float64 array, optional
        Of the value (of its sum, for ``kl``), by `logp` or by `loss`, in their shape. None where
        the operation is not differentiated.
    dtype : str
        Of the value, as the library returned it.
    """

    value: Floats
    gradient: Floats | None
    dtype: str
