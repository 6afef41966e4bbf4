"""The ledger's own rules, on small theorems; and that ours obey them."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

import identity
import proofs
from identity.proven import proven_functions
from proofs import ledger
from proofs.kernel.check import Report
from proofs.kernel.rules import RULES
from proofs.kernel.theorem import Theorem
from proofs.ledger import LedgerError, UnknownTheorem, check_ledger, closure, in_order, select
from tests.proofs import tiny

ROOT = Path(proofs.__file__).parent


def ids(theorems: tuple[Theorem, ...]) -> list[str]:
    return [t.id for t in theorems]


# -- the order -----------------------------------------------------------------------------------


def test_each_theorem_comes_after_those_that_it_uses() -> None:
    third = tiny.true("tiny.c", uses=("tiny.b",))
    second = tiny.true("tiny.b", uses=("tiny.a",))
    assert ids(in_order((third, tiny.true("tiny.d"), second, tiny.true("tiny.a")))) == [
        "tiny.a", "tiny.b", "tiny.c", "tiny.d",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("collection", "complaint"),
    [
        ((tiny.true(), tiny.true()), "two theorems are called tiny.true"),
        ((tiny.true(uses=("tiny.gone",)),), "tiny.true: uses names tiny.gone"),
        ((tiny.refuted(),), "tiny.refuted: corrected_by names tiny.true"),
        ((tiny.true("tiny.a", uses=("tiny.a",)),), "tiny.a → tiny.a"),
        (
            (
                tiny.true("tiny.a", uses=("tiny.b",)),
                tiny.true("tiny.b", uses=("tiny.c",)),
                tiny.true("tiny.c", uses=("tiny.b",)),
            ),
            "tiny.b → tiny.c → tiny.b",
        ),
    ],
)
def test_an_ill_formed_collection_is_refused(
    collection: tuple[Theorem, ...], complaint: str
) -> None:
    with pytest.raises(LedgerError, match=complaint):
        in_order(collection)


def test_a_theorem_under_another_topic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = importlib.import_module("proofs.groups")
    monkeypatch.setattr(groups, "THEOREMS", (tiny.true(),))
    with pytest.raises(LedgerError, match=r"tiny\.true is listed under the topic groups"):
        ledger.theorems.__wrapped__()


def test_a_topic_without_theorems_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(importlib.import_module("proofs.groups"), "THEOREMS")
    with pytest.raises(LedgerError, match=r"proofs\.groups defines no THEOREMS"):
        ledger.theorems.__wrapped__()


# -- choosing ------------------------------------------------------------------------------------

SOME = (
    tiny.true("groups.identity"),
    tiny.true("groups.identity-two", uses=("groups.identity",)),
    tiny.refuted("expectation.silent", corrected_by=("groups.identity-two",)),
)


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([], [0, 1, 2]),
        (["groups"], [0, 1]),
        (["groups.identity"], [0]),
        (["*identity*"], [0, 1]),
        (["*.silent", "groups.identity"], [0, 2]),
        (["expect*"], [2]),
    ],
)
def test_patterns_match_ids_and_topics(patterns: list[str], found: list[int]) -> None:
    assert select(SOME, patterns) == tuple(SOME[i] for i in found)


def test_an_unknown_pattern_suggests_what_is_near() -> None:
    with pytest.raises(UnknownTheorem, match=r"did you mean groups\.identity") as caught:
        select(SOME, ["groups", "groups.identiti"])
    assert caught.value.pattern == "groups.identiti"
    with pytest.raises(UnknownTheorem, match=r"expectation\.silent"):
        select(SOME, ["silnt"])
    with pytest.raises(UnknownTheorem, match=r"no theorem matches 'zzz'$"):
        select(SOME, ["zzz"])


def test_the_closure_holds_what_a_verdict_rests_on() -> None:
    assert closure(SOME, SOME[1:2]) == SOME[:2]
    assert closure(SOME, SOME[2:]) == SOME  # corrected by one that uses another


# -- checking ------------------------------------------------------------------------------------


def test_verdicts_and_progress_in_order() -> None:
    told: list[tuple[str, str | None]] = []
    user = tiny.true("tiny.user", uses=("tiny.true",))
    collection = in_order((tiny.refuted(), tiny.true(), user))
    found = check_ledger(collection, lambda t, r: told.append((t.id, r and r.verdict)))
    assert {name: r.verdict for name, r in found.items()} == {
        "tiny.refuted": "refuted",
        "tiny.true": "proved",
        "tiny.user": "proved",
    }
    assert told == [
        ("tiny.refuted", None), ("tiny.refuted", "refuted"),
        ("tiny.true", None), ("tiny.true", "proved"),
        ("tiny.user", None), ("tiny.user", "proved"),
    ]  # fmt: skip


def test_what_uses_an_open_theorem_is_open() -> None:
    user = tiny.true("tiny.user", uses=("tiny.false",))
    found = check_ledger(in_order((tiny.false(), user)))
    assert [r.verdict for r in found.values()] == ["open", "open"]
    assert "tiny.false is open" in found["tiny.user"].problems[0]


@pytest.mark.parametrize(
    "wrong", [tiny.false("tiny.true"), tiny.refuted("tiny.true", corrected_by=("tiny.extra",))]
)
def test_a_refutation_is_open_until_its_correction_is_proved(wrong: Theorem) -> None:
    found = check_ledger((tiny.refuted(), wrong, tiny.true("tiny.extra")))
    assert found["tiny.refuted"].verdict == "open"
    assert found["tiny.refuted"].grade is None
    assert "corrected by tiny.true" in found["tiny.refuted"].problems[0]


def test_no_theorem_corrects_itself() -> None:
    both = replace(tiny.true(), refutes=tiny.refuted().refutes, corrected_by=("tiny.true",))
    assert check_ledger((both,))["tiny.true"].verdict == "open"


def test_doubt_spreads_to_users_of_a_demoted_refutation() -> None:
    shaky = replace(
        tiny.true("tiny.shaky"), refutes=tiny.refuted().refutes, corrected_by=("tiny.false",)
    )
    user = tiny.true("tiny.user", uses=("tiny.shaky",))
    found = check_ledger(in_order((tiny.false(), shaky, user)))
    assert found["tiny.user"].verdict == "open"
    assert found["tiny.user"].problems == ["it uses tiny.shaky, which is open"]


def test_doubt_spreads_whatever_the_order() -> None:
    """d is corrected by a, which uses b, which is corrected by something open."""
    refutes = tiny.refuted().refutes
    b = replace(tiny.true("tiny.b"), refutes=refutes, corrected_by=("tiny.false",))
    a = tiny.true("tiny.a", uses=("tiny.b",))
    d = replace(tiny.true("tiny.d"), refutes=refutes, corrected_by=("tiny.a",))
    found = check_ledger((d, b, a, tiny.false()))
    assert {r.verdict for r in found.values()} == {"open"}


def test_a_check_that_crashes_leaves_its_theorem_open_and_the_rest_checked() -> None:
    def crash() -> int:
        raise OSError("no such disk")

    found = check_ledger((tiny.true("tiny.broken", check=crash), tiny.true()))
    assert found["tiny.broken"].problems == ["OSError: no such disk"]
    assert [r.verdict for r in found.values()] == ["open", "proved"]


def test_two_processes_report_what_one_does(reports: dict[str, Report]) -> None:
    some = closure(ledger.theorems(), select(ledger.theorems(), ["groups.*std*"]))
    alone = check_ledger(some, jobs=1)
    for name, report in alone.items():
        for field in fields(Report):
            if field.name not in ("seconds", "steps"):
                assert getattr(report, field.name) == getattr(reports[name], field.name)
        assert [(c, s.text, s.procedure) for c, s in report.steps] == [
            (c, s.text, s.procedure) for c, s in reports[name].steps
        ]


# -- our ledger ----------------------------------------------------------------------------------


def test_every_theorem_is_settled(reports: dict[str, Report]) -> None:
    open_ = {name: r.problems for name, r in reports.items() if r.verdict == "open"}
    assert not open_
    for report in reports.values():
        assert len(report.mutants) >= 2
        assert all(m.refuted and m.witness for m in report.mutants)
        assert report.cases >= 1
        if report.verdict == "refuted":
            assert report.witness
            assert report.theorem.corrected_by


def implemented() -> Iterator[tuple[str, str]]:
    """(theorem, function as the theorem names it)."""
    for theorem in ledger.theorems():
        for name in theorem.implements:
            yield theorem.id, name


def imported(name: str) -> object:
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(module), function)


def test_what_a_theorem_implements_says_so() -> None:
    silent = [
        (theorem, name)
        for theorem, name in implemented()
        if theorem not in getattr(imported(name), "__proven__", ())
    ]
    assert not silent, "these functions lack @proven(theorem)"


def test_what_a_function_implements_says_so() -> None:
    for module in pkgutil.walk_packages(identity.__path__, "identity."):
        if not module.name.startswith(("identity.cli", "identity.data")):
            importlib.import_module(module.name)
    named: dict[str, set[str]] = {}
    for theorem, name in implemented():
        function = imported(name)
        assert inspect.isfunction(function)
        named.setdefault(f"{function.__module__}.{function.__qualname__}", set()).add(theorem)
    topics = tuple(f"{topic}." for topic in ledger.TOPICS)
    unnamed = [
        (function, theorem)
        for function, theorems in proven_functions().items()
        if function.startswith("identity.")
        for theorem in theorems
        if theorem.startswith(topics) and theorem not in named.get(function, set())
    ]
    assert not unnamed, "these theorems lack implements=(function,)"


def test_functions_name_theorems_that_exist() -> None:
    known = {t.id for t in ledger.theorems()}
    for function, theorems in proven_functions().items():
        if function.startswith("identity."):
            assert set(theorems) <= known, function


def test_uses_and_corrections_exist_and_stay_in_their_kind(reports: dict[str, Report]) -> None:
    for theorem in ledger.theorems():
        assert {*theorem.uses, *theorem.corrected_by} <= set(reports)
        for right in theorem.corrected_by:
            assert reports[right].verdict == "proved", (theorem.id, right)


# -- what may discharge a step ---------------------------------------------------------------------

FORBIDDEN = {"simplify", "nsimplify", "equals", "limit", "summation", "doit"} | {
    # These guess or approximate as well.
    "evalf", "nsolve", "gammasimp", "combsimp", "hyperexpand", "radsimp", "is_constant",
}  # fmt: skip
SOURCES = [
    path for folder in ("kernel", *ledger.TOPICS) for path in sorted((ROOT / folder).rglob("*.py"))
]


def forbidden_in(tree: ast.AST) -> list[str]:
    """Calls of functions that do not decide, and mentions and imports that would allow a call."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.alias):
            name = node.name.split(".")[-1]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name == "getattr":
                name = next((a.value for a in node.args if isinstance(a, ast.Constant)), "")
        else:
            continue
        if name in FORBIDDEN or name == "*":
            found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_guesses_discharges_a_step(path: Path) -> None:
    assert not forbidden_in(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "source",
    ["sp.simplify(x)", "x.equals(y)", "from sympy import limit", "sp.Sum(f, t).doit()",
     "from sympy import summation as s", "f = sp.nsimplify", "getattr(x, 'doit')()",
     "from sympy import *", "limit(f, x, 0)"],
)  # fmt: skip
def test_the_search_for_guesses_finds_them(source: str) -> None:
    assert forbidden_in(ast.parse(source))


def test_the_sources_searched_are_there() -> None:
    names = {str(p.relative_to(ROOT)) for p in SOURCES}
    assert {"kernel/rules.py", "groups/identity.py", "expectation/__init__.py"} <= names


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_a_rule_is_frozen_and_says_why_it_is_sound(rule: type) -> None:
    assert is_dataclass(rule)
    assert rule.__dataclass_params__.frozen  # type: ignore[attr-defined]
    # @dataclass writes a docstring "Name(field: type, …)" where there is none.
    assert rule.__doc__
    assert not rule.__doc__.startswith(f"{rule.__name__}(")
    assert callable(rule.prove)  # type: ignore[attr-defined]
    assert rule.__module__.startswith("proofs.kernel.")
