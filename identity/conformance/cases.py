"""The cases, by name: which operations they are for, and what they ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from identity.conformance import advantage_cases, kl_cases, loss_cases
from identity.conformance.context import Context, Outcome
from identity.conformance.operation import Operation

__all__ = ["CASES", "COMPARISONS", "Case"]


@dataclass(frozen=True)
class Case:
    """One question that operations of some kinds are asked.

    Parameters
    ----------
    name : str
        As in ``--case``.
    kinds : tuple of str
        Kinds of operation.
    title : str
        What is tried.
    run : callable
        From a `Context` to an `Outcome`.
    """

    name: str
    kinds: tuple[str, ...]
    title: str
    run: Callable[[Context], Outcome]

    def asks(self, operation: Operation) -> bool:
        """Whether an operation is asked: of its kind, and with a divergence if it is about that."""
        without = self.name == "divergence" and not operation.settings.beta
        return operation.kind in self.kinds and not without


def _case(kinds: tuple[str, ...], run: Callable[[Context], Outcome]) -> Case:
    doc = (run.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return Case(run.__name__, kinds, doc, run)


_SUMS = ("loss", "aggregate")

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        _case(("advantage",), advantage_cases.binary),
        _case(("advantage",), advantage_cases.rewards),
        _case(("advantage",), advantage_cases.unanimous),
        _case(("advantage",), advantage_cases.singleton),
        _case(("advantage",), advantage_cases.ragged),
        _case(("advantage",), advantage_cases.interleaved),
        _case(("advantage",), advantage_cases.unscored),
        _case(_SUMS, loss_cases.on_policy),
        _case(("loss",), loss_cases.off_policy),
        _case(("loss",), loss_cases.clip),
        _case(("loss",), loss_cases.sequence_ratio),
        _case(("loss",), loss_cases.divergence),
        _case(("loss",), loss_cases.bf16_old),
        _case(("loss",), loss_cases.extremes),
        _case(_SUMS, loss_cases.holed),
        _case(_SUMS, loss_cases.masked_nan),
        _case(_SUMS, loss_cases.masked_large),
        _case(_SUMS, loss_cases.masked_rows),
        _case(_SUMS, loss_cases.empty),
        _case(_SUMS, loss_cases.padding),
        _case(_SUMS, loss_cases.micro_batches),
        _case(_SUMS, loss_cases.ranks),
        _case(("kl",), kl_cases.kl_values),
        _case(("kl",), kl_cases.kl_gradient),
        _case(("kl",), kl_cases.kl_extremes),
    )
}

# These hold operations against each other, not against a convention.
COMPARISONS = {
    "two_paths": "Two operations of one library that are documented to compute the same",
    "same_method": "Operations of other libraries that are called by the same method, on one batch",
}
