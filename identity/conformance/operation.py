"""An operation of a library: how it is called, and what its own words say that it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from identity.conformance.batches import Answer
from identity.conformance.conventions import FIELDS
from identity.conformance.frameworks import DTYPES
from identity.errors import DomainError

__all__ = ["KINDS", "CannotRun", "Operation", "Settings"]

KINDS = ("advantage", "loss", "aggregate", "kl")


class CannotRun(Exception):
    """Why an operation or a case of it cannot be run: never a verdict on what it computes."""


@dataclass(frozen=True)
class Settings:
    """The numbers that an adapter passes to the library.

    Parameters
    ----------
    clip : pair of float, optional
        The two bounds as passed to the library, whatever it makes of them.
    dual_clip : float, optional
        The bound c of dual clip.
    constant : float, optional
        A number of tokens that the library is given to divide by.
    beta : float
        The coefficient of the divergence in a loss; 0 for none.
    """

    clip: tuple[float, float] | None = None
    dual_clip: float | None = None
    constant: float | None = None
    beta: float = 0.0


@dataclass(frozen=True)
class Operation:
    """One thing that a library computes.

    Parameters
    ----------
    name : str
        Unique in the library, and telling: ``"agg_loss(token-mean)"``.
    kind : {"advantage", "loss", "aggregate", "kl"}
        What goes in and comes out: see `identity.conformance.batches`.
    call : callable
        From the batch of that kind to an `Answer`. It converts, calls the installed library and
        converts back, and does nothing else: no masking, no reordering, no default of its own.
    settings : Settings
        The numbers that it passes.
    says : mapping of str to object
        What the operation's name or documentation promises, as fields of the convention:
        ``{"normaliser": "token_mean"}``. What differs from it is reported. Empty: nothing.
    method : str, optional
        The published method that the library calls this, "grpo" or "dapo": operations of one
        method are compared over libraries.
    dtypes : tuple of str
        Those that the library accepts there.
    lacks : mapping of str to str
        For a case that the call has no means for, the reason: ``{"interleaved": "takes no ids"}``.
    micro_batches, ranks : callable, optional
        From the parts of one batch, in micro-batches of one process or on as many processes, to
        the `Answer` that the library's own accumulation makes of them, gradients put together.
    equal_parts : bool
        Whether the library splits a batch into parts of equal numbers of rows only.
    twin : str, optional
        Name of another operation of the library that is documented to compute the same.
    examples : int
        How many inputs a search may try.
    """

    name: str
    kind: str
    call: Callable[[Any], Answer]
    settings: Settings = Settings()
    says: Mapping[str, object] = field(default_factory=dict)
    method: str | None = None
    dtypes: tuple[str, ...] = ("float32", "float64")
    lacks: Mapping[str, str] = field(default_factory=dict)
    micro_batches: Callable[[Sequence[Any]], Answer] | None = None
    ranks: Callable[[Sequence[Any]], Answer] | None = None
    equal_parts: bool = False
    twin: str | None = None
    examples: int = 30

    def answer(self, batch: Any) -> Answer:
        """Call it, and see that a result of the right shape comes out.

        Raises
        ------
        Exception
            What the library raises; ValueError if the shape is not that of the kind.
        """
        try:
            answer = self.call(batch)
        except SystemExit as why:  # of code that was made to be a script
            raise RuntimeError(f"SystemExit: {why}") from why
        if answer.dtype not in DTYPES:
            raise TypeError(f"it returned {answer.dtype}, not one of {', '.join(DTYPES)}")
        leaf = batch.loss if self.kind == "aggregate" else getattr(batch, "logp", None)
        shape = (len(batch.rewards),) if leaf is None else leaf.shape if self.kind == "kl" else ()
        if answer.value.shape != shape:
            raise ValueError(f"it returned shape {answer.value.shape}, not {shape}")
        if answer.gradient is not None and leaf is not None and answer.gradient.shape != leaf.shape:
            raise ValueError(f"its gradient has shape {answer.gradient.shape}, not {leaf.shape}")
        return answer

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DomainError("kind", self.kind, f"be one of {', '.join(KINDS)}")
        if isinstance(self.dtypes, str) or not set(self.dtypes) <= set(DTYPES) or not self.dtypes:
            raise DomainError("dtypes", self.dtypes, f"be a tuple of some of {', '.join(DTYPES)}")
        fields = FIELDS[self.kind]
        for name, value in self.says.items():
            if name not in fields:
                rule = f"have keys of {', '.join(fields)} only, for an operation of its kind"
                raise DomainError("says", name, rule)
            if fields[name] and value not in fields[name]:
                shown = ", ".join(map(str, fields[name]))
                raise DomainError(f"says[{name!r}]", value, f"be one of {shown}")
