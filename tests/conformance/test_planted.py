"""Planted differences are found and named; correct implementations are not found at fault."""

from __future__ import annotations

import pytest

from identity.conformance import Operation, Result, Target, conform
from identity.conformance.results import CANNOT_RUN, DIFFERS
from tests.conformance.correct import STYLES
from tests.conformance.planted import CORRECT, PLANTED, Planted

STYLED = [
    pytest.param(operation, style, id=f"{style}-{operation.name}")
    for style, operations in STYLES.items()
    for operation in operations
]


def verdicts(*operations: Operation, **options: object) -> list[Result]:
    target = Target("planted", "0", operations)
    found = list(conform([target], **options))  # type: ignore[arg-type]
    return [result for result in found if result.operation == operations[0].name]


def test_there_are_enough_of_both() -> None:
    assert len(PLANTED) >= 100
    assert len(STYLES) >= 12
    assert len(STYLED) >= 90


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_difference_is_found_and_named(planted: Planted) -> None:
    twin = () if planted.twin is None else (planted.twin,)
    dtype = "float32" if "float32" in planted.operation.dtypes else planted.operation.dtypes[0]
    found = verdicts(planted.operation, *twin, cases=planted.cases, dtypes=[dtype])
    differing = [result for result in found if result.verdict == DIFFERS]
    assert differing, [result.words for result in found]
    for result in differing:
        assert result.theorem
        assert result.convention
        assert result.got is not None
    words = [f"{result.convention}; {result.reason}" for result in differing]
    assert any(planted.words in text for text in words), words


@pytest.mark.parametrize("operation", CORRECT, ids=lambda operation: operation.name)
def test_the_unchanged_ones_are_not_at_fault(operation: Operation) -> None:
    nothing_found(verdicts(operation, dtypes=["float32"]))


@pytest.mark.parametrize(("operation", "style"), STYLED)
def test_a_correct_implementation_is_not_at_fault(operation: Operation, style: str) -> None:
    twins = [other for other in STYLES[style] if other.name == operation.twin]
    # One dtype each, all of them in turn: few bits are where a tolerance fails first.
    dtype = operation.dtypes[len(operation.name) % len(operation.dtypes)]
    nothing_found(verdicts(operation, *twins, dtypes=[dtype]))


def nothing_found(found: list[Result]) -> None:
    """No difference, but for that of the padded width, which is one of the theory itself."""
    assert any(result.verdict != CANNOT_RUN for result in found)
    for result in found:
        if result.theorem == "aggregation.padded-width":
            continue
        assert result.verdict != DIFFERS, (result.case, result.words, result.input)
