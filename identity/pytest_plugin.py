"""``pytest --grpo-identity=my_pkg:adapter``: every case of every operation is a test.

A test fails where the operation differs from what it is held against, and is skipped where it
cannot be run. ``-k grpo-identity`` leaves out all other tests. Nothing is imported before the
option is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from identity.conformance.results import Result
    from identity.conformance.run import Cell

__all__ = ["pytest_addoption", "pytest_collection_modifyitems"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("grpo-identity", "hold losses and advantages against the theory")
    group.addoption(
        "--grpo-identity",
        action="append",
        default=[],
        metavar="TARGET",
        help="a library (trl, verl, ...) or module:function of your own; may be repeated",
    )
    group.addoption(
        "--grpo-identity-case",
        action="append",
        default=[],
        metavar="NAME",
        help="only these cases; see `grpo-identity conform --list`",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the cases, before -k and -m choose."""
    targets = config.getoption("--grpo-identity")
    if not targets:
        return
    try:
        from identity.conformance.operation import CannotRun
        from identity.conformance.run import chosen_cases
        from identity.conformance.target import load
    except ModuleNotFoundError as why:
        needed = f'it needs {why.name}: pip install "grpo-identity[conformance]"'
        raise pytest.UsageError(f"--grpo-identity: {needed}") from None
    from identity.errors import DomainError

    try:
        cases = chosen_cases(config.getoption("--grpo-identity-case"))
        for name in dict.fromkeys(targets):
            group = _Group.from_parent(session, name="grpo-identity")
            items.extend(
                _Target.from_parent(group, name=name, found=load(name), cases=cases).collect()
            )
    except (CannotRun, DomainError) as why:
        raise pytest.UsageError(str(why)) from None
    except (Exception, SystemExit) as why:  # of the user's own code, as it is loaded
        raise pytest.UsageError(f"{name}: {type(why).__name__}: {why}") from why


class _Group(pytest.Collector):
    def collect(self) -> list[pytest.Item]:
        return []


class _Target(pytest.Collector):
    def __init__(self, *, found: Any, cases: list[str], **others: Any) -> None:
        super().__init__(**others)
        self.found, self.cases = found, cases

    def collect(self) -> Iterator[pytest.Item]:
        from identity.conformance.run import cells

        for cell in cells(self.found, self.cases):
            name = f"{cell.operation.name}::{cell.case}[{cell.dtype}]"
            yield _Case.from_parent(self, name=name, cell=cell)


class _Differs(Exception):
    def __init__(self, result: Result) -> None:
        super().__init__(result.words)
        self.result = result


class _Case(pytest.Item):
    def __init__(self, *, cell: Cell, **others: Any) -> None:
        super().__init__(**others)
        self.cell = cell

    def runtest(self) -> None:
        result = self.cell.result()
        if result.verdict == "cannot run":
            pytest.skip(result.reason or "cannot run")
        if result.verdict == "differs":
            raise _Differs(result)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if not isinstance(excinfo.value, _Differs):
            return super().repr_failure(excinfo, style)
        result = excinfo.value.result
        lines = [
            f"{result.library} {result.version}, {result.operation}, {result.case}, {result.dtype}",
            result.words,
            *([result.reason] if result.reason else []),
            f"theorem: {result.theorem}",
            "",
            result.input or "",
            f"expected: {result.expected}",
            f"got:      {result.got}",
            f"control:  {result.control}",
        ]
        return "\n".join(lines)

    def reportinfo(self) -> tuple[str, int | None, str]:
        return self.nodeid, None, self.nodeid
