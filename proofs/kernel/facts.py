"""Facts of the literature that the kernel believes; every use makes a theorem's grade 'cited'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["FACTS", "LiteratureFact"]


@dataclass(frozen=True)
class LiteratureFact:
    name: str
    reference: str
    words: str
    variables: tuple[Any, ...]
    integers: tuple[Any, ...]
    positive: tuple[Any, ...]
    lhs: Any
    relation: str
    rhs: Any


FACTS: dict[str, LiteratureFact] = {}
