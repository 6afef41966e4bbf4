"""The lock notices what matters, and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sympy as sp

from identity.proven import _REGISTRY
from proofs import ledger, lock, source
from proofs.kernel.check import Report, check_theorem
from proofs.kernel.domain import Domain, Integer, Real
from proofs.kernel.theorem import Chain, Claim, Theorem
from proofs.lock import LockError, compare, serial
from proofs.source import SourceError, code_hash
from tests.proofs import tiny

FUNCTION = "identity.groups.group_std"
Probe = Callable[..., str]


def report(theorem: Theorem) -> Report:
    found = check_theorem(theorem, {})
    assert found.verdict != "open", found.problems
    return found


def locked(theorem: Theorem) -> dict[str, dict[str, object]]:
    return {theorem.id: lock.entry(report(theorem))}


# -- our lock ------------------------------------------------------------------------------------


def test_the_lock_in_the_repository_is_fresh(reports: dict[str, Report]) -> None:
    """If this fails and the change is meant: grpo-identity prove --lock."""
    entries = lock.read()
    stale = {n: s.changes for n, r in reports.items() if not (s := compare(r, entries)).fresh}
    assert not stale
    assert set(entries) == {t.id for t in ledger.theorems()}


# -- states --------------------------------------------------------------------------------------


def test_fresh_missing_stale() -> None:
    then = locked(tiny.true())
    assert compare(report(tiny.true()), then).fresh
    assert compare(report(tiny.true("tiny.other")), then).name == "missing"
    assert compare(report(replace(tiny.true(), assumptions=("n is odd",))), then) == lock.State(
        "stale", ("the assumptions changed",)
    )


def test_a_statement_or_domain_that_changed_is_stale() -> None:
    then = locked(tiny.true())
    other = tiny.true(claim=Claim((tiny.n + 1) ** 2, "=", tiny.n**2 + (tiny.n + 1) + tiny.n))
    assert compare(report(other), then).fresh  # SymPy gathers n + n: the same structure
    other = tiny.true(claim=Claim((tiny.n + 1) ** 2, "=", tiny.n * (tiny.n + 2) + 1))
    assert compare(report(other), then).changes == ("the statement changed",)
    (clause,) = tiny.true().clauses
    wider = replace(clause, domain=Domain(Integer(tiny.n, 0)))
    assert compare(report(replace(tiny.true(), clauses=(wider,))), then).changes == (
        "the domain changed",
    )


def test_a_verdict_or_grade_that_changed_is_stale() -> None:
    then = locked(tiny.true())
    found = report(tiny.true())
    found.grade = "bounded"
    assert compare(found, then).changes == ("grade was exact, is bounded",)
    found.verdict = "open"
    assert "verdict was proved, is open" in compare(found, then).changes


def test_a_witness_or_correction_that_changed_is_stale() -> None:
    then = locked(tiny.refuted())
    (claim,) = tiny.refuted().refutes
    elsewhere = replace(tiny.refuted(), refutes=(replace(claim, witness=((tiny.n, 3),)),))
    assert compare(report(elsewhere), then).changes == ("the statement changed",)
    assert not compare(report(replace(tiny.refuted(), corrected_by=("tiny.x",))), then).fresh


def test_steps_texts_and_sampling_may_change() -> None:
    then = locked(tiny.true())
    (clause,) = tiny.true().clauses
    told = Chain(tuple(replace(step, text="as is well known") for step in clause.proof.steps))
    other = replace(clause, domain=Domain(Integer(tiny.n, 1, spread=30)), proof=told)
    assert compare(report(replace(tiny.true(), clauses=(other,))), then).fresh


def test_a_statement_in_other_words_is_stale() -> None:
    then = locked(tiny.true())
    (clause,) = tiny.true().clauses
    for other in (
        replace(tiny.true(), words="Another binomial formula."),
        replace(tiny.true(), title="x"),
        replace(tiny.true(), clauses=(replace(clause, words="as is well known"),)),
    ):
        assert compare(report(other), then).changes == ("the words changed",)


def test_implemented_functions_are_compared_by_name_and_code() -> None:
    bare, linked = tiny.true(), tiny.true(implements=(FUNCTION,))
    assert compare(report(linked), locked(bare)).changes == (f"it now implements {FUNCTION}",)
    assert compare(report(bare), locked(linked)).changes == (f"it no longer implements {FUNCTION}",)
    then = locked(linked)
    assert compare(report(linked), then).fresh
    then["tiny.true"]["code"] = {FUNCTION: "0" * 64}
    assert compare(report(linked), then).changes == (f"the code of {FUNCTION} changed",)
    gone = tiny.true(implements=("identity.groups.no_such_function",))
    state = compare(report(gone), locked(linked))
    assert state.name == "stale"
    assert "identity.groups.no_such_function" in state.changes[0]


# -- terms ---------------------------------------------------------------------------------------


def test_terms_are_hashed_by_structure() -> None:
    x, y = sp.symbols("x y")
    assert serial(x + y) == serial(y + x)
    texts = [x + y, x - y, x * y, x**y, y**x, sp.Symbol("x+y"), sp.Symbol("x", positive=True), x,
             sp.Function("x")(y), sp.Function("x"), sp.Indexed("x", y), sp.Sum(x, (y, 1, 2)),
             sp.Sum(x, (y, 1, 3)), sp.Integer(1), sp.Rational(1, 2), None, "None", True, (x,),
             (x, y), Real(x), Real(x, 0), Real(x, 0, open_low=False), Integer(x, 0),
             Domain(Integer(x, 0)), Claim(x, "<", y), Claim(x, "<=", y)]  # fmt: skip
    assert len({serial(t) for t in texts}) == len(texts)


# -- code ----------------------------------------------------------------------------------------

SOURCE = '''
"""A module."""
import math
from identity.lockprobe import helpers
from identity.lockprobe.helpers import scale as factor
from identity.proven import proven

LIMIT = 3
OTHER = 4


class Box:
    """Holds."""

    def size(self) -> int:
        return LIMIT


@proven("tiny.true")
def f(x: int) -> int:
    """Docstring."""
    # a comment
    y: int = factor(x) + helpers.shift(x)
    return g(y) + Box().size()


def g(x):
    return math.floor(x)


def unused():
    return OTHER
'''
HELPERS = """
BASE = 10
UNUSED = 1

def scale(x):
    return BASE * x

def shift(x):
    return x + 1

def idle(x):
    return UNUSED
"""


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Probe]:
    """A package ``identity.lockprobe`` whose files a test may edit; returns its hash of f."""
    import identity

    folder = tmp_path / "lockprobe"
    folder.mkdir()
    monkeypatch.setattr(identity, "__path__", [*identity.__path__, str(tmp_path)])
    files = {"__init__.py": "from identity.lockprobe.code import f", "code.py": SOURCE}
    files["helpers.py"] = HELPERS

    def hashed(**edits: tuple[str, str]) -> str:
        for name, text in files.items():
            old, new = edits.get(name.removesuffix(".py"), ("", ""))
            assert old in text
            (folder / name).write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
        for module in [m for m in sys.modules if m.startswith("identity.lockprobe")]:
            del sys.modules[module]
        source._modules.cache_clear()
        source._exists.cache_clear()
        return code_hash("identity.lockprobe.f")

    yield hashed
    for module in [m for m in sys.modules if m.startswith("identity.lockprobe")]:
        del sys.modules[module]
    if hasattr(identity, "lockprobe"):
        del identity.lockprobe
    for name in [n for n in _REGISTRY if n.startswith("identity.lockprobe")]:
        del _REGISTRY[name]
    source._modules.cache_clear()
    source._exists.cache_clear()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("code", "return g(y) + Box", "return g(y) - Box"),
        ("code", "math.floor", "math.ceil"),
        ("code", "LIMIT = 3", "LIMIT = 5"),
        ("code", "return LIMIT", "return -LIMIT"),
        ("code", "helpers.shift(x)", "helpers.idle(x)"),
        ("helpers", "BASE = 10", "BASE = 11"),
        ("helpers", "BASE * x", "BASE + x"),
        ("helpers", "x + 1", "x + 2"),
        ("helpers", "BASE = 10\n", "BASE = 10\nBASE += 1\n"),
        ("code", "def g(x):", "def g(x, y=1):"),
    ],
)
def test_a_change_of_code_changes_the_hash(probe: Probe, file: str, old: str, new: str) -> None:
    assert probe(**{file: (old, new)}) != probe()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("code", '"""Docstring."""', '"""Another docstring."""'),
        ("code", '    """Docstring."""\n', ""),
        ("code", "# a comment", "# another"),
        ("code", "f(x: int) -> int", "f(x: float) -> float"),
        ("code", "y: int = ", "y = "),
        ("code", '@proven("tiny.true")', '@proven("tiny.true", "tiny.other")'),
        ("code", "OTHER = 4", "OTHER = 5"),
        ("code", '"""Holds."""', '"""Keeps."""'),
        ("code", '"""A module."""', '"""The module."""'),
        ("code", "return g(y) + Box().size()", "return (g(y)\n            + Box().size())"),
        ("helpers", "UNUSED = 1", "UNUSED = 2"),
    ],
)
def test_a_change_that_does_not_run_leaves_the_hash(
    probe: Probe, file: str, old: str, new: str
) -> None:
    assert probe(**{file: (old, new)}) == probe()


def test_moving_a_function_to_another_file_of_the_package_is_a_change(probe: Probe) -> None:
    before = probe()
    edit = ("def g(x):\n    return math.floor(x)", "from math import floor as g")
    assert probe(code=edit) != before


def test_only_definitions_of_ours_resolve() -> None:
    assert source.resolves(FUNCTION)
    for name in ("identity.groups.nothing", "math.floor", "identity.nowhere.f", "f", "identity"):
        assert not source.resolves(name)
    with pytest.raises(SourceError, match="nothing is not a function of identity"):
        code_hash("identity.groups.nothing")


# -- the file ------------------------------------------------------------------------------------


def test_write_then_read(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    found = {t.id: report(t) for t in (tiny.true(implements=(FUNCTION,)), tiny.refuted())}
    lock.write(found, path)
    entries = lock.read(path)
    assert list(entries) == sorted(found)
    assert all(compare(r, entries).fresh for r in found.values())
    assert [p.name for p in tmp_path.iterdir()] == ["lock.json"]


def test_what_is_open_is_not_locked(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    doubtful = check_theorem(tiny.false(), {})
    with pytest.raises(LockError, match=r"tiny\.false open"):
        lock.write({"tiny.true": report(tiny.true()), "tiny.false": doubtful}, path)
    assert not path.exists()


def test_no_lock_locks_nothing(tmp_path: Path) -> None:
    assert lock.read(tmp_path / "absent.json") == {}


GOOD = {
    "statement": "",
    "words": "",
    "domain": "",
    "assumptions": "",
    "verdict": "",
    "grade": "",
    "code": {},
}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: not JSON"),
        ('{"format": 2,\n "theorems": {', "line 2: not JSON"),
        ("[]", "not a ledger lock of format 2"),
        ('{"format": 1, "theorems": {}}', "not a ledger lock of format 2"),
        ('{"format": 2}', "no object 'theorems'"),
        ('{"format": 2, "theorems": []}', "no object 'theorems'"),
        (json.dumps({"format": 2, "theorems": {"a.b": None}}), r"the entry of a\.b is damaged"),
        (json.dumps({"format": 2, "theorems": {"a.b": {**GOOD, "code": []}}}), "damaged"),
        (json.dumps({"format": 2, "theorems": {"a.b": {**GOOD, "code": {"f": 1}}}}), "damaged"),
        (json.dumps({"format": 2, "theorems": {"a.b": {**GOOD, "grade": None}}}), "damaged"),
        (json.dumps({"format": 2, "theorems": {"a.b": {**GOOD, "more": ""}}}), "damaged"),
    ],
)
def test_a_damaged_lock_is_a_clear_error(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "lock.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LockError, match=complaint):
        lock.read(path)


def test_a_lock_that_cannot_be_read_or_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="cannot be read"):
        lock.read(tmp_path)
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(LockError, match="cannot be read"):
        lock.read(tmp_path / "latin.json")
    with pytest.raises(LockError, match="cannot be written"):
        lock.write({}, tmp_path / "no" / "lock.json")
