"""Fixtures and settings shared by all tests."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

# Before torch is imported: its bfloat16 kernels pick AMX instructions that some machines
# advertise but do not run.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
# Before jax is imported: float64 is on everywhere, and the device need not be preallocated.
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import pytest
from hypothesis import HealthCheck, settings

from tests import backends

backends.compile_operations_faster()  # before jax is imported as well

_COMMON = {
    "deadline": None,  # the first call of a compiled backend takes a second
    "print_blob": True,  # a failure prints a line that replays it
    "suppress_health_check": [HealthCheck.too_slow],
}
settings.register_profile("dev", max_examples=50, **_COMMON)
settings.register_profile("ci", max_examples=200, derandomize=True, **_COMMON)
settings.register_profile("deep", max_examples=10_000, **_COMMON)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") == "true" else "dev")
settings.load_profile(PROFILE)

# What repeats another backend's arithmetic sees a quarter of the random examples in CI; NumPy, the
# strict library, torch and compiled JAX see them all, and the profile "deep" cuts none.
REPEATED_EXAMPLES = 50


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Set the number of examples, for which Hypothesis has no public way once a test is made."""
    test: Any = getattr(item, "obj", None)
    written = getattr(test, "_hypothesis_internal_use_settings", None)
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if written is None or "xp" not in parameters or PROFILE == "deep":
        return
    written = item.session.stash.setdefault(_WRITTEN, {}).setdefault(test, written)
    number = written.max_examples
    if parameters["xp"] in backends.REPEATING:
        number = min(number, REPEATED_EXAMPLES)
    test._hypothesis_internal_use_settings = settings(written, max_examples=number)


# The files that take longest, in that order: begun last, one would be waited for alone.
LONG = (
    "tests/proofs/test_cli_prove.py",  # the first to ask for the reports on the whole ledger
    "tests/conformance/test_planted.py",
    "tests/docs/test_docs.py",
    "tests/identity/test_groups_advantages.py",
    "tests/agreement/test_groups_backends.py",
    "tests/identity/test_groups_spread.py",
    "tests/agreement/test_groups_derivatives.py",
    "tests/identity/test_groups_updates.py",
    "tests/agreement/test_autograd_identity.py",
    "tests/agreement/test_surrogates_derivatives.py",
    "tests/agreement/test_expectation_backends.py",
    "tests/agreement/test_expectation_derivatives.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))


@pytest.fixture(scope="session", params=backends.NAMES)
def xp(request: pytest.FixtureRequest) -> backends.Backend:
    """Every backend in turn; one that cannot run here is skipped and counted."""
    return backends.load_or_skip(request.param)


_OF_THE_TERMINAL = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE",
                    "TTY_INTERACTIVE", "COLUMNS", "LINES", "TERM", "PYTHONIOENCODING")  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def no_terminal() -> Iterator[None]:
    """Commands are tested as in a pipe, whatever the terminal that the tests are run from."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _OF_THE_TERMINAL:
            patch.delenv(name, raising=False)
        yield


_SKIPS = pytest.StashKey[Counter[str]]()
_WRITTEN = pytest.StashKey[dict[object, settings]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SKIPS] = Counter()


class _CountSkips:
    """Counts skipped backends, also those that pytest-xdist's workers report."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self.config.stash[_SKIPS][report.longrepr[2]] += 1


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.pluginmanager.register(_CountSkips(session.config), "count-skipped-backends")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    counts = backends.missing(session.config.stash[_SKIPS])
    if exitstatus == 0 and os.environ.get("CI") == "true" and backends.required_missing(counts):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = backends.missing(terminalreporter.config.stash[_SKIPS])
    if not counts:
        return
    listed = ", ".join(f"{name} ({number} tests)" for name, number in sorted(counts.items()))
    terminalreporter.section("backends skipped")
    terminalreporter.line(listed)
    required = backends.required_missing(counts)
    if required:
        consequence = "CI fails" if os.environ.get("CI") == "true" else "CI would fail"
        terminalreporter.line(f"{consequence}: {', '.join(required)} must run there")
