"""``prove`` and ``explain`` as a user meets them: table, JSON, exit codes, files of claims."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sympy as sp
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from proofs import ledger, lock
from proofs.cli import app
from proofs.kernel.check import Report
from proofs.kernel.domain import Group
from proofs.kernel.terms import latex
from proofs.kernel.theorem import Theorem
from proofs.plain import Plain
from tests.proofs import tiny

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
Install = Callable[..., None]


def run(*arguments: object, width: int | None = 100) -> Result:
    env = {"COLUMNS": None if width is None else str(width)}
    return CliRunner().invoke(app, [str(a) for a in arguments], env=env)


def ok(*arguments: object, width: int | None = 100) -> str:
    result = run(*arguments, width=width)
    assert result.exit_code == 0, result.output
    assert not result.stderr
    return result.stdout


def refused(*arguments: object) -> str:
    """The one line of an error that ends with exit code 2 and prints nothing on stdout."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert not result.stdout
    assert "Traceback" not in result.stderr
    return result.stderr.strip()


@pytest.fixture
def tiny_ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Install:
    """Replaces the ledger and its lock; call it with theorems."""
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock.json")
    monkeypatch.setattr(lock.read, "__defaults__", (lock.LOCK,))
    monkeypatch.setattr(lock.write, "__defaults__", (lock.LOCK,))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # workers would not know these theorems

    def install(*theorems: Theorem) -> None:
        collection = ledger.in_order(theorems)
        monkeypatch.setattr(ledger, "theorems", lambda: collection)

    return install


# -- prove ---------------------------------------------------------------------------------------


def test_lock_then_prove(tiny_ledger: Install) -> None:
    tiny_ledger(tiny.true(), tiny.refuted(), tiny.true("tiny.user", uses=("tiny.true",)))
    first = run("prove")
    assert first.exit_code == 1
    assert "missing in the lock: tiny.true, tiny.refuted, tiny.user" in first.stdout
    assert "grpo-identity prove --lock" in first.stdout
    locked = ok("prove", "--lock")
    assert "Locked: " in locked
    text = ok("prove")
    flat = " ".join(text.split())
    assert "3 theorems: 2 proved, 1 refuted, 0 open. 6 of 6 mutants killed." in flat
    assert "Lock: 3 fresh, 0 stale, 0 missing." in flat
    row = next(line for line in text.splitlines() if "tiny.refuted" in line)
    assert re.search(r"n² ≤ n is false at n = 2\. +refuted +exact +\d+\.\d\d", row)


def test_a_pattern_checks_what_is_used_too(tiny_ledger: Install) -> None:
    tiny_ledger(
        tiny.true(), tiny.true("tiny.user", uses=("tiny.true",)), tiny.true("tiny.unrelated")
    )
    ok("prove", "--lock")
    text = " ".join(ok("prove", "*.user").split())
    assert "2 theorems: 2 proved" in text
    assert "1 of the ledger checked because they are used" in text
    assert "unrelated" not in text
    assert "3 theorems" in ok("prove", "tiny")


def test_open_vacuous_and_surviving_mutants_fail(tiny_ledger: Install) -> None:
    (clause,) = tiny.true().clauses
    empty = tiny.Domain(tiny.Integer(tiny.n, 2, 1))
    survivor = tiny.Mutant("holds as well", "square", lhs=(tiny.n - 1) ** 2 + 4 * tiny.n)
    tiny_ledger(
        tiny.false(),
        tiny.true("tiny.vacuous", clauses=(replace(clause, domain=empty),)),
        tiny.true("tiny.survivor", mutants=(*tiny.MUTANTS, survivor)),
    )
    result = run("prove", "--json")
    assert result.exit_code == 1
    found = {t["id"]: t for t in json.loads(result.stdout)["theorems"]}
    assert {t["verdict"] for t in found.values()} == {"open"}
    assert "vacuous" in found["tiny.vacuous"]["problems"][0]
    assert "'holds as well' was not refuted" in found["tiny.survivor"]["problems"][0]
    assert [m["refuted"] for m in found["tiny.survivor"]["mutants"]] == [True, True, False]
    assert json.loads(result.stdout)["summary"]["mutants"] == 7
    text = run("prove")
    assert text.exit_code == 1
    assert "open: tiny.false: Undecided: square: step 1 (expand)" in " ".join(text.stdout.split())


def test_lock_is_refused_while_something_is_open(tiny_ledger: Install) -> None:
    tiny_ledger(tiny.true())
    ok("prove", "--lock")
    before = lock.LOCK.read_bytes()
    tiny_ledger(tiny.true(), tiny.false())
    assert run("prove", "--lock").exit_code == 1
    assert lock.LOCK.read_bytes() == before
    assert "neither PATTERN nor --file" in refused("prove", "--lock", "tiny")
    assert "neither PATTERN nor --file" in refused("prove", "--lock", "--file", "x.py")


def test_stale_and_orphaned_theorems_fail(tiny_ledger: Install) -> None:
    tiny_ledger(tiny.true(), tiny.true("tiny.second"))
    ok("prove", "--lock")
    tiny_ledger(tiny.true(assumptions=("n is even",)))
    result = run("prove")
    assert result.exit_code == 1
    assert "stale: tiny.true: the assumptions changed" in result.stdout
    assert "stale: tiny.second: it is in the lock only" in result.stdout
    answer = json.loads(run("prove", "--json").stdout)
    assert answer["ok"] is False
    assert answer["summary"]["stale"] == 1
    assert answer["summary"]["only_in_lock"] == ["tiny.second"]
    assert answer["theorems"][0]["lock"] == {
        "state": "stale", "changes": ["the assumptions changed"],
    }  # fmt: skip


def test_a_damaged_lock_ends_with_a_message_and_can_be_replaced(tiny_ledger: Install) -> None:
    tiny_ledger(tiny.true())
    lock.LOCK.write_text("{", encoding="utf-8")
    assert "line 1: not JSON" in refused("prove")
    ok("prove", "--lock")
    ok("prove")


def test_an_ill_formed_ledger_ends_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> tuple[Theorem, ...]:
        return ledger.in_order((tiny.true(), tiny.true()))

    monkeypatch.setattr(ledger, "theorems", broken)
    assert refused("prove") == "error: two theorems are called tiny.true"
    assert refused("explain", "x.y") == "error: two theorems are called tiny.true"


def test_json_has_the_documented_shape(tiny_ledger: Install) -> None:
    tiny_ledger(tiny.true(), tiny.refuted())
    ok("prove", "--lock")
    answer = json.loads(ok("prove", "--json"))
    assert answer["version"]
    assert answer["seconds"] > 0
    assert answer["summary"] == {
        "proved": 1, "refuted": 1, "open": 0, "mutants": 4, "mutants_refuted": 4,
        "stale": 0, "missing_in_lock": 0, "only_in_lock": [],
    }  # fmt: skip
    true, refuted = answer["theorems"]
    wanted = {"id", "topic", "title", "verdict", "grade", "assumptions", "statement", "steps",
              "uses", "references", "implements", "mutants", "witness", "corrected_by", "seconds",
              "samples", "first_principles_cases", "problems", "stale"}  # fmt: skip
    assert wanted <= set(true) == set(refuted)
    assert true["steps"][0]["text"] == "expand"
    assert true["steps"][0]["procedure"] == "rational zero test"
    assert true["witness"] is None
    assert true["samples"] == 50
    assert refuted["witness"] == "n = 2: left side 4, right side 2"
    assert refuted["corrected_by"] == ["tiny.true"]
    assert {"name", "refuted", "witness"} <= set(refuted["mutants"][0])
    assert true["clauses"][0]["claim"] == "(n + 1)² = n² + 2·n + 1"


def test_an_unknown_pattern_suggests(tiny_ledger: Install) -> None:
    tiny_ledger(tiny.true())
    assert refused("prove", "tiny.ture") == (
        "error: no theorem matches 'tiny.ture'; did you mean tiny.true?"
    )
    assert "did you mean tiny.true" in refused("explain", "tiny.ture")


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_is_wider_than_asked(tiny_ledger: Install, width: int) -> None:
    tiny_ledger(tiny.true(), tiny.refuted())
    ok("prove", "--lock")
    table, text = ok("prove", width=width), ok("explain", "tiny.refuted", width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    # Narrower than 80 the table would lose columns: its lines stay whole, for the terminal to wrap.
    assert max(map(cell_len, table.splitlines())) <= max(width, 80)
    assert "statement" in table


# -- explain -------------------------------------------------------------------------------------


def test_explain_shows_everything(tiny_ledger: Install) -> None:
    tiny_ledger(
        tiny.true(assumptions=("n counts rollouts",), implements=("identity.groups.group_std",)),
        tiny.true("tiny.user", uses=("tiny.true",)),
    )
    ok("prove", "--lock")
    text = ok("explain", "tiny.true")
    for part in (
        "tiny.true: A square", "proved, grade exact", "lock fresh", "n counts rollouts",
        "For n integer, n ≥ 1.", "Claim: (n + 1)² = n² + 2·n + 1", "1. expand",
        "[rational zero test; exact]", "= n² + 2·n + 1", "Mutants: 2 of 2 killed",
        "one more (of square): refuted", "at n = ", "Used by\n  tiny.user",
        "Implemented by\n  identity.groups.group_std", "50 exact points", "1 exact cases",
    ):  # fmt: skip
        assert part in text
    assert "Uses\n  tiny.true" in ok("explain", "tiny.user")


def test_explain_a_refutation(tiny_ledger: Install) -> None:
    tiny_ledger(tiny.true(), tiny.refuted())
    ok("prove", "--lock")
    text = ok("explain", "tiny.refuted")
    for part in ("refuted, grade exact", "Claim: n² ≤ n", "False at n = 2",
                 "n = 2: left side 4, right side 2", "Corrected by\n  tiny.true"):  # fmt: skip
        assert part in text


def test_explain_something_open_says_why(tiny_ledger: Install) -> None:
    tiny_ledger(tiny.false())
    result = run("explain", "tiny.false")
    assert result.exit_code == 1
    assert "Problems" in result.stdout
    assert "[not accepted]" in result.stdout


def test_explain_every_theorem_of_ours_in_100_columns(reports: dict[str, Report]) -> None:
    """From the reports at hand: the command would check each anew."""
    from proofs import terminal
    from proofs.lock import State

    for name, report in reports.items():
        runner = CliRunner(env={"COLUMNS": "100"})
        with runner.isolation() as (out, *_):
            terminal.print_theorem(report, State("fresh"), ())
            text = out.getvalue().decode()
        assert max(map(cell_len, text.splitlines())) <= 100
        assert name in text
        for sign in ("Sum(", "sqrt(", "**", "Indexed", "Rational(", "not accepted"):
            assert sign not in text, (name, sign)


# -- files of claims -----------------------------------------------------------------------------


def test_the_true_example_is_proved() -> None:
    text = " ".join(ok("prove", "--file", EXAMPLES / "true_claim.py").split())
    assert "1 theorem: 1 proved, 0 refuted, 0 open. 3 of 3 mutants killed." in text
    assert "Not locked" in text


def test_the_false_example_is_refused_and_its_refutation_accepted() -> None:
    result = run("prove", "--json", "--file", EXAMPLES / "false_claim.py")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["summary"]["open"] == 1
    claim, refutation = json.loads(result.stdout)["theorems"]
    assert claim["verdict"] == "open"
    assert "the two sides are not shown to be equal" in claim["problems"][0]
    assert refutation["verdict"] == "refuted"
    assert "G = 2; k = 1" in refutation["witness"]
    assert refutation["corrected_by"] == ["groups.as-implemented"]
    text = ok("prove", "*a-difference", "--file", EXAMPLES / "false_claim.py")
    assert "makes-no-difference" not in text


def test_a_claim_of_a_file_is_explained() -> None:
    path = EXAMPLES / "true_claim.py"
    text = ok("explain", "claims.std-at-most-half", "--file", path)
    assert "1. σ² = k(G − k)/G²" in text
    assert "Uses\n  groups.binary-std" in text
    assert "did you mean claims.std-at-most-half" in refused(
        "explain", "claims.std-at-most-haf", "--file", path
    )


HEAD = """
from tests.proofs import tiny
from proofs.kernel.theorem import Theorem
import proofs.kernel.theorem as kernel
"""


def claims(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my_claims.py"
    path.write_text(HEAD + text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "THEOREMS = (ONE,)",
        "THEOREMS = [ONE]\ndef other() -> Theorem:\n    raise RuntimeError",
        "def one() -> Theorem:\n    return ONE\ndef check() -> int:\n    return 1",
        "def one() -> 'kernel.Theorem':\n    return ONE\ndef _two() -> Theorem:\n    return 1 / 0",
        "from __future__ import annotations\ndef one() -> Theorem:\n    return ONE",
        "from functools import cache\n@cache\ndef one() -> Theorem:\n    return ONE",
    ],
)
def test_what_counts_as_a_theorem_of_a_file(tmp_path: Path, text: str) -> None:
    text = text.replace("ONE", "tiny.true('mine.one')")
    path = claims(tmp_path, text)
    if "__future__" in text:
        path.write_text(text.replace("\n", "\n" + HEAD, 1), encoding="utf-8")
    answer = json.loads(ok("prove", "--json", "--file", path))
    assert [t["id"] for t in answer["theorems"]] == ["mine.one"]
    assert answer["theorems"][0]["lock"]["state"] == "unlocked"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def f(:\n    pass", "line 5: SyntaxError: "),
        ("x = 1\ny = x / 0", "line 6: ZeroDivisionError: division by zero"),
        ("def f() -> Theorem:\n    return tiny.nothing", "line 6: AttributeError: "),
        ("def f() -> Theorem:\n    return Theorem()", "line 6: TypeError: "),
        ("def f() -> Theorem:\n    tiny.Claim(1, '>', 0)", "line 6: MalformedTheorem: "),
        ("import sys\nsys.exit(0)", "line 6: SystemExit: 0"),
        ("import no_such_module", "line 5: ModuleNotFoundError: "),
        ("def f() -> Theorem:\n    return 3", "f() must be a Theorem; got int"),
        ("def f(x) -> Theorem:\n    return x", "line 5: f must take no arguments"),
        ("def f():\n    return tiny.true()", "has no theorems"),
        ("THEOREMS = ()", "has no theorems"),
        ("THEOREMS = tiny.true()", "THEOREMS must be a tuple; got Theorem"),
        ("THEOREMS = (tiny.true('groups.identity'),)", "the ledger has a theorem groups.identity"),
        ("THEOREMS = (tiny.true('m.a'), tiny.true('m.a'))", "two theorems are called m.a"),
        ("THEOREMS = (tiny.true('m.a', uses=('m.b',)),)", "uses names m.b, which does not exist"),
        ("THEOREMS = (tiny.true('m.a', uses=('m.a',)),)", "a cycle of uses: m.a → m.a"),
        ("THEOREMS = (tiny.true('m.a', implements=('os.getcwd',)),)", "implements os.getcwd"),
        ("x = '\x00'", "null bytes"),
        ("def f() -> Theorem | None:\n    return None", "f returns "),
        ("def f() -> tuple[Theorem, ...]:\n    return ()", "line 5: f returns "),
        ("ONE = tiny.true()", "ONE would not be checked: list it in THEOREMS"),
        ("THEOREMS = (tiny.true('m.a', words=5),)", "THEOREMS[0]: m.a: words must be text; got 5"),
        ("THEOREMS = (tiny.true('m.a', mutants=None),)", "mutants must be a tuple"),
        ("THEOREMS = (tiny.true('m.a', references=('a',)),)", "references[0] must be a Reference"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, text: str, complaint: str) -> None:
    path = claims(tmp_path, text)
    message = refused("prove", "--file", path)
    assert message.startswith(f"error: {path}")
    assert complaint in message
    assert "\n" not in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refused("prove", "--file", tmp_path / "none.py")
    assert "Is a directory" in refused("prove", "--file", tmp_path)
    (tmp_path / "latin.py").write_bytes(b"x = '\xe4'\n")
    assert "SyntaxError" in refused("prove", "--file", tmp_path / "latin.py")


def test_the_rules_for_a_file_are_those_for_us(tmp_path: Path) -> None:
    """No first-principles check, too few mutants, a check that fails: each leaves it open."""
    path = claims(
        tmp_path,
        """
import sys

print("a file may print; stdout is for the report")

def fails() -> int:
    print("a check may print too")
    raise ValueError("at n = 3")

THEOREMS = (
    tiny.true("mine.unchecked", check=None),
    tiny.true("mine.mutants", mutants=tiny.MUTANTS[:1]),
    tiny.true("mine.fails", check=fails),
    tiny.true("mine.looks-at-nothing", check=lambda: 0),
    tiny.true("mine.counts-in-words", check=lambda: "many"),
    tiny.true("mine.leaves", check=lambda: sys.exit(0)),
    tiny.true("mine.Name"),
    tiny.true("mine.good"),
)
""",
    )
    result = run("prove", "--json", "--file", path)
    assert result.exit_code == 1
    problems = {t["id"]: " ".join(t["problems"]) for t in json.loads(result.stdout)["theorems"]}
    assert "no first-principles check" in problems["mine.unchecked"]
    assert "at least two mutants" in problems["mine.mutants"]
    assert "ValueError: at n = 3" in problems["mine.fails"]
    assert "at least one; got 0" in problems["mine.looks-at-nothing"]
    assert "at least one; got 'many'" in problems["mine.counts-in-words"]
    assert "SystemExit" in problems["mine.leaves"]
    assert "topic.slug" in problems["mine.Name"]
    assert not problems["mine.good"]


# -- what a reader sees is what was checked --------------------------------------------------------


def test_letters_of_the_notation_give_way_to_names(tmp_path: Path) -> None:
    """A variable mu, a bound index t: each is another thing than the letter for a named term."""
    path = claims(
        tmp_path,
        """
import sympy as sp
from proofs.groups.notation import G, R, bessel, mu
from proofs.kernel.domain import SCORES, Domain, Group, Integer, Real

own, t = sp.symbols("mu t")
group = Domain(Integer(G, 2), Real(own, 2, 3), *SCORES, Group(G))

def theorem(name, lhs, rhs):
    claim = tiny.Claim(lhs, "=", rhs)
    chain = tiny.Chain((tiny.Step("algebra", "=", claim.rhs),))
    clause = tiny.Clause("square", group, claim, chain)
    return tiny.true(name, clauses=(clause,))

THEOREMS = (
    theorem("mine.mu", mu * own, own * mu + 0 * G),
    theorem("mine.t", sp.Sum(t * bessel, (t, 1, 3)), 6 * bessel),
)
""",
    )
    shown = run("explain", "mine.mu", "--file", path).stdout
    assert "Claim: μ·(Σ_{l=1..G} R[l])/G = " in shown
    assert "Σ_{t=1..3} t·t" not in run("explain", "mine.t", "--file", path).stdout


def test_a_group_is_shown_with_the_names_that_it_has() -> None:
    group = Group(
        sp.Symbol("N"),
        sp.IndexedBase("r"),
        sp.IndexedBase("z"),
        success=sp.Symbol("q"),
        slope=sp.IndexedBase("dq"),
    )
    assert group.words() == (
        "rewards r[1..N] binary, i.i.d. rollouts with success probability q of gradient dq[d], "
        "scores z[i, d] in R^D"
    )
    assert r"r_i \in" in group.latex()
    assert "R_i" not in group.latex()


def test_a_product_keeps_its_sign_and_a_derivative_its_reach() -> None:
    x = sp.Symbol("x")
    assert Plain().text(sp.Mul(-2, 3, x, evaluate=False)) == "−2·3·x"
    product = sp.Derivative(x**2, x) * sp.Derivative(x**3, x)
    assert latex(product).count(r"\left(\frac{d}{d x}") == 2


# -- as a process --------------------------------------------------------------------------------


def script(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proofs.cli", *arguments],
        capture_output=True, text=True, encoding="utf-8", check=False,
        env={**os.environ, **env}, cwd=ROOT,
    )  # fmt: skip


def test_help_and_version_load_no_algebra() -> None:
    code = (
        "import sys, proofs.cli; "
        "sys.exit(any(m in sys.modules for m in ('sympy', 'flint', 'torch', 'jax', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    shown = script("--version")
    assert re.fullmatch(r"grpo-identity \d+\.\d+\.\d+\n", shown.stdout)
    overview = script("--help")
    assert overview.returncode == 0
    for command in ("prove", "explain", "plan", "diagnose"):
        assert command in overview.stdout
        assert script(command, "--help").returncode == 0


def test_a_pipe_gets_plain_text_and_one_json_object() -> None:
    path = str(EXAMPLES / "true_claim.py")
    shown = script("prove", "--file", path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\x1b" not in shown.stdout
    answer = script("prove", "--json", "--file", path)
    assert json.loads(answer.stdout)["summary"]["proved"] == 1
    assert not answer.stderr
    coded = script("prove", "--file", path, PYTHONIOENCODING="ascii")
    assert coded.returncode == 0  # a terminal without σ shows a question mark


def test_colour_is_left_out_where_it_is_unwanted() -> None:
    arguments = ("prove", "--file", str(EXAMPLES / "true_claim.py"))
    assert "\x1b[32m" in script(*arguments, FORCE_COLOR="1").stdout
    assert "\x1b[3" not in script(*arguments, FORCE_COLOR="1", NO_COLOR="1").stdout


def test_two_processes_from_the_command_line() -> None:
    """The workers start afresh, from the script."""
    answer = script("prove", "--json", "--jobs", "2", "groups.*std*")
    found = json.loads(answer.stdout)
    assert found["summary"]["open"] == 0
    assert "groups.binary-std" in {t["id"] for t in found["theorems"]}
