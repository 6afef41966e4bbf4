"""Declarations of indexed numbers: arrays, what is assumed about them, and draws from a law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs.kernel.terms import as_term, latex

__all__ = ["Array", "Assumption", "Draws"]


@dataclass(frozen=True)
class Array:
    """Numbers x[i, …], the indices from 1 to sizes that were declared before.

    Every entry lies between the same bounds, which may mention earlier variables. ``integer``:
    the entries are integers, such as lengths. ``law``: they are probabilities; each is positive
    and the sum over the last index is 1.
    """

    base: sp.IndexedBase
    shape: tuple[sp.Symbol, ...]
    low: Any = None
    high: Any = None
    open_low: bool = True
    open_high: bool = True
    integer: bool = False
    law: bool = False
    samples: tuple[Any, ...] = ()  # points to draw entries from, as for a real variable

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            bound = getattr(self, name)
            object.__setattr__(self, name, None if bound is None else as_term(bound))

    @property
    def bounds(self) -> tuple[Any, Any, bool, bool]:
        """Of every entry: low, high, and whether these ends are left out."""
        if self.law:
            return sp.Integer(0), sp.Integer(1), True, False
        closed = self.integer
        return self.low, self.high, self.open_low and not closed, self.open_high and not closed

    def latex(self) -> str:
        name = sp.latex(self.base.label)
        letters = ("i", "j", "l")[: len(self.shape)]
        entry = rf"{name}_{{{', '.join(letters)}}}"
        sizes = zip(letters, self.shape, strict=True)
        ranges = r",\ ".join(rf"1 \le {i} \le {sp.latex(n)}" for i, n in sizes)
        if self.law:
            total = rf"\sum_{{{letters[-1]}}} {entry} = 1"
            return rf"{entry} > 0,\ {total},\ {ranges}"
        low, high, open_low, open_high = self.bounds
        if self.integer:
            kind = rf"{entry} \in \mathbb{{Z}}"
            kind += "" if low is None else rf",\ {entry} \ge {latex(low)}"
            kind += "" if high is None else rf",\ {entry} \le {latex(high)}"
        else:
            left = "(" if open_low or low is None else "["
            right = ")" if open_high or high is None else "]"
            ends = (
                r"-\infty" if low is None else latex(low),
                r"\infty" if high is None else latex(high),
            )
            kind = rf"{entry} \in {left}{ends[0]}, {ends[1]}{right}"
        return rf"{kind},\ {ranges}"

    def words(self) -> str:
        sizes = " x ".join(map(str, self.shape))
        if self.law:
            return f"{self.base} probabilities ({sizes}), positive, sum 1 over the last index"
        low, high, open_low, open_high = self.bounds
        kind = "integers" if self.integer else "reals"
        left = "(" if open_low or low is None else "["
        right = ")" if open_high or high is None else "]"
        ends = ("-inf" if low is None else low, "inf" if high is None else high)
        return f"{self.base} {kind} ({sizes}), each in {left}{ends[0]}, {ends[1]}{right}"


@dataclass(frozen=True)
class Assumption:
    """What a theorem assumes about an array: every entry x[i, …] equals a term in its indices.

    The statement holds where this holds; rule :class:`rules.Assume` uses it, and samples and
    witnesses of the theorem must obey it.
    """

    array: sp.IndexedBase
    indices: tuple[sp.Symbol, ...]
    value: Any
    meaning: str  # in words, for the reader

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", as_term(self.value))

    @property
    def entry(self) -> sp.Expr:
        return self.array[self.indices]

    def latex(self) -> str:
        return rf"{latex(self.entry)} = {latex(self.value)}"

    def words(self, show: Callable[[sp.Expr], str] = str) -> str:
        return f"assumed: {self.meaning} ({show(self.entry)} = {show(self.value)})"


@dataclass(frozen=True)
class Draws:
    """Y[1], …, Y[size] independent, each with the given law.

    They are random, so they have a value only inside a ``SampleMean``.
    """

    base: sp.IndexedBase
    size: sp.Symbol
    law: sp.IndexedBase

    def latex(self) -> str:
        name, law = sp.latex(self.base.label), sp.latex(self.law.label)
        size = sp.latex(self.size)
        return rf"{name}_1, \ldots, {name}_{{{size}}} \sim {law}\ \text{{independent}}"

    def words(self) -> str:
        return f"{self.base}_1..{self.base}_{self.size} independent, each with law {self.law}"
