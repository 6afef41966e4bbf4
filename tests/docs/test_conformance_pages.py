"""The pages on conformance: they show what the results file has, and no more."""

from __future__ import annotations

import dataclasses
import html
import importlib
import json
import re
import runpy
import shutil
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from identity.conformance import CASES, LIBRARIES, Result
from identity.conformance import conventions as data
from identity.conformance.cases import COMPARISONS
from identity.conformance.deviations import DEVIATIONS, kl_readings
from identity.conformance.expected import _weights
from identity.conformance.factors import FORMS, MULTIPLIERS

ROOT = Path(__file__).resolve().parents[2]
pages: Any = importlib.import_module("conformance")
tables: Any = importlib.import_module("conformance_tables")
figures: Any = importlib.import_module("conformance_figures")
theory_figures: Any = importlib.import_module("theory_figures")
CONTENT = json.loads(pages.RESULTS.read_text(encoding="utf-8"))
ROWS: list[dict[str, Any]] = CONTENT["results"]
LOCKED = set(json.loads((ROOT / "proofs/ledger.lock.json").read_text(encoding="utf-8"))["theorems"])
ORDER = ("equals", "equals ×", "differs", "cannot run")


# --- the results file ---------------------------------------------------------------------------


def test_every_theorem_of_the_results_is_in_the_ledger() -> None:
    assert {row["theorem"] for row in ROWS} - {""} <= LOCKED
    assert all(row["theorem"] for row in ROWS if row["verdict"] != "cannot run")


def test_the_results_file_is_ascii_and_has_versions_of_its_libraries() -> None:
    assert pages.RESULTS.read_bytes().isascii()
    found = {(row["library"], row["version"]) for row in ROWS}
    assert len(found) == len({library for library, _ in found})
    for library, version in found:
        adapter = importlib.import_module(f"identity.conformance.targets.{LIBRARIES[library]}")
        assert CONTENT["versions"][adapter.DISTRIBUTION] == version
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", CONTENT["date"])


def test_results_that_the_pages_refuse() -> None:
    run = pages.read()
    assert pages.problems(run, LOCKED) == []
    good = next(result for result in run.results if result.verdict == "equals")
    for change in (
        {"theorem": "groups.of-nobody"}, {"theorem": ""}, {"case": "unheard_of"},
        {"library": "nobody"}, {"verdict": "passes"},
    ):  # fmt: skip
        broken = dataclasses.replace(run, results=(dataclasses.replace(good, **change),))
        assert len(pages.problems(broken, LOCKED)) == 1, change


# --- the pages ----------------------------------------------------------------------------------


def plain(markup: str) -> str:
    """The text of HTML, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", markup)).split())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages of results, by name, built without the rest and without checking the ledger."""
    from sphinx.application import Sphinx

    proof_ledger: Any = importlib.import_module("proof_ledger")
    ledger: Any = importlib.import_module("ledger_data").Ledger
    folder = tmp_path_factory.mktemp("conformance")
    source = folder / "source"
    (source / "conformance").mkdir(parents=True)
    names = [*LIBRARIES, "matrix"]
    for name in names:
        shutil.copy(ROOT / f"docs/conformance/{name}.rst", source / "conformance")
    listed = "".join(f"   conformance/{name}\n" for name in names)
    (source / "index.rst").write_text(f"x\n=\n\n.. toctree::\n\n{listed}")
    (source / "conf.py").write_text(
        "extensions = ['sphinx.ext.autodoc', 'proof_ledger', 'theory_figures', 'conformance']\n"
        "smartquotes = False\n"
    )
    entries: Any = {n: SimpleNamespace(id=n, verdict="proved") for n in LOCKED}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(proof_ledger, "run_ledger", lambda known=None: ledger("x", entries=entries))
        app = Sphinx(
            source, source, folder / "out", folder / "trees", "html", status=None, warning=None,
            confoverrides={"html_theme": "basic"},
        )  # fmt: skip
        app.build()
    return {
        name: (folder / f"out/conformance/{name}.html").read_text(encoding="utf-8")
        for name in names
    }


def test_every_library_has_a_page() -> None:
    there = {path.stem for path in (ROOT / "docs/conformance").glob("*.rst")}
    assert set(LIBRARIES) <= there
    for name in LIBRARIES:
        text = (ROOT / f"docs/conformance/{name}.rst").read_text(encoding="utf-8")
        assert f".. conformance-library:: {name}\n" in text
        index = (ROOT / "docs/conformance/index.rst").read_text(encoding="utf-8")
        assert f"   {name}\n" in index


def test_the_matrix_counts_what_the_file_has(built: dict[str, str]) -> None:
    page = built["matrix"]
    libraries = list(dict.fromkeys(row["library"] for row in ROWS))
    counts = Counter((row["case"], row["library"], row["verdict"]) for row in ROWS)
    seen = set()
    for line in re.findall(r"<tr.*?</tr>", page, re.DOTALL):
        head = re.search(r"<strong>(\w+)</strong>", line)
        if head is None:
            continue
        case = head[1]
        assert case not in seen
        seen.add(case)
        cells = [plain(cell) for cell in re.findall(r"<td.*?</td>", line, re.DOTALL)]
        for library, cell in zip(libraries, cells[1:-1], strict=True):
            number = {v: counts[case, library, v] for v in ORDER if counts[case, library, v]}
            assert cell == (" ".join(f"{n} {v}" for v, n in number.items()) or "—"), case
        theorems = {row["theorem"] for row in ROWS if row["case"] == case} - {""}
        assert set(cells[-1].split()) == theorems
    assert seen == {row["case"] for row in ROWS}
    for word in (CONTENT["date"], *CONTENT["versions"].values()):
        if word != CONTENT["versions"]["grpo-identity"]:
            assert word in plain(page)


def test_a_cell_leads_to_the_section_of_its_library(built: dict[str, str]) -> None:
    places = {(row["library"], row["case"]) for row in ROWS}
    for library, case in places:
        label = pages.label(library, case)
        assert f'href="{library}.html#{label}"' in built["matrix"]
        assert f'id="{label}"' in built[library]


def test_a_library_shows_every_verdict_and_every_call(built: dict[str, str]) -> None:
    for library in dict.fromkeys(row["library"] for row in ROWS):
        page = built[library]
        own = [row for row in ROWS if row["library"] == library]
        text = plain(page)
        assert f"Version {own[0]['version']}, run on {CONTENT['date']}" in text
        for row in own:
            section = page[page.index(f'id="{pages.label(library, row["case"])}"') :]
            section = plain(section[: section.index("</section>")])
            assert row["operation"] in section
            assert row["dtype"] in section or row["verdict"] == "cannot run"
            words = row["convention"] or row["reason"]
            assert " ".join(pages.shortened(words).split()) in section
            assert row["theorem"] in section
        for row in pages.differences([Result(**r) for r in own]):
            if row.first.input:
                assert " ".join(row.first.input.split()) in text


def test_a_library_that_was_not_run_says_so(built: dict[str, str]) -> None:
    for library in set(LIBRARIES) - {row["library"] for row in ROWS}:
        assert "The committed results do not have it: run make conformance." in plain(
            built[library]
        )


def test_what_an_operation_keeps() -> None:
    def result(case: str, verdict: str, words: str, dtype: str = "float64") -> Result:
        return Result("a", "1", "f", case, dtype, verdict, words, reason=words)

    both = [result("off_policy", "equals", "PPO clip"), result("on_policy", "equals", "token mean")]
    assert pages.keeps(both) == "PPO clip, token mean"
    assert pages.keeps([*both, result("clip", "differs", "x")]) == "differs in clip: x"
    assert pages.keeps([*both, result("clip", "cannot run", "x")]) == "PPO clip, token mean"
    narrow = result("on_policy", "differs", "rounded", "bfloat16")
    assert pages.keeps([narrow, *both]) == "PPO clip, token mean"
    assert pages.keeps([result("padding", "equals", "x")]) == "not recognised"


def test_values_that_six_digits_do_not_tell_apart_are_shown_in_full() -> None:
    assert pages.values({"value": 1.0}, {"value": 2.0}) == ("value 1", "value 2")
    near = pages.values({"value": -1.0}, {"value": -0.99999997})
    assert near == ("{'value': -1.0}", "{'value': -0.99999997}")


# --- tables and the figure ----------------------------------------------------------------------


def test_tables_have_all_of_the_data() -> None:
    def first(name: str) -> list[str]:
        heads, lines = tables.TABLES[name]()
        assert all(len(line) == len(heads) for line in lines)
        return [line[0].words for line in lines]

    assert first("baselines") == list(data.BASELINES)
    assert first("scales") == list(data.SCALES)
    assert first("placements") == list(data.PLACEMENTS)
    assert first("normalisers") == list(data.NORMALISERS)
    assert first("objectives") == list(data.OBJECTIVES)
    assert first("bounds") == list(data.BOUNDS)
    assert first("multipliers") == list(MULTIPLIERS)
    assert first("deviations") == [*(d.name for d in DEVIATIONS), *kl_readings()]
    assert first("cases") == [*CASES, *COMPARISONS]
    assert len(first("divergences")) == len(list(data.kl_conventions()))


def test_weights_of_tokens_are_those_of_the_normalisers() -> None:
    lengths = np.array([1, 3, 2])
    mask = np.arange(5) < lengths[:, None]
    rows, width, constant = 3, 5, 7.0
    values = {
        r"1/\sum_j L_j": np.full(3, 1 / lengths.sum()),
        r"1/(B L_i)": 1 / (rows * lengths),
        r"1/B": np.full(3, 1 / rows),
        r"1/(B c)": np.full(3, 1 / (rows * constant)),
        r"1/(B T)": np.full(3, 1 / (rows * width)),
        r"1": np.ones(3),
    }
    for name, tex in tables.WEIGHTS.items():
        assert np.allclose(_weights(mask, name, constant), values[tex][:, None] * mask), name


def test_multipliers_are_shown_where_they_differ() -> None:
    _, lines = tables.multipliers()
    numbers = [line[1].words for line in lines]
    assert len(set(numbers)) == len(numbers)


def test_factors_of_conventions_are_found() -> None:
    _, lines = tables.factor_table()
    names = [line[0].words for line in lines]
    table = {line[0].words: (line[1].words, line[2].words) for line in lines}
    assert table["√((G−1)/G)"][0] == f"{np.sqrt(7 / 8):.6g}"
    assert "group mean, group std (ddof 1), no ε" in table["√((G−1)/G)"][1]
    assert table["σ"] == (f"{np.sqrt(7) / 8:.6g}", "reward − group mean")
    assert {name.partition(", ε")[0] for name in names} <= {
        *(form.text for form in FORMS), "no closed form of the list"
    }  # fmt: skip
    shown = sum(len(line[2].words.split("; ")) for line in lines)
    assert shown == len(list(tables.plain_conventions()))


def test_a_factor_is_read_back_as_it_was_found() -> None:
    for form in FORMS:
        factor = dataclasses.replace(form, eps=3.16e-5) if form.takes_eps else form
        assert figures.parsed(str(factor)) == factor
        limit = figures.without_eps(factor)
        assert not limit.takes_eps
        at = np.asarray([8.0]), np.asarray([3.0])
        assert np.isclose(limit.at(*at), factor.at(*at), rtol=1e-3)
    assert figures.parsed(None).text == "1"
    for row in ROWS:
        if row["case"] == "binary" and row["factor"]:
            assert row["factor_at"] == "G = 8, k = 1"
            value = figures.parsed(row["factor"]).at(np.asarray([8.0]), np.asarray([1.0]))
            assert np.isclose(value, row["factor_decimal"], rtol=1e-9)


def test_the_figure_has_a_line_for_every_factor_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5))
    figures.conformance_factors(figure)
    left, right = figure.axes
    factors = figures.found(ROWS)
    assert len(left.lines) == len({figures.without_eps(f) for f in factors})
    assert len(right.lines) == sum(f.takes_eps for f in factors)
    monkeypatch.setattr(theory_figures, "FIGURES", figures.FIGURES)
    assert "<path" in theory_figures.svg("conformance-factors")


# --- the guide ----------------------------------------------------------------------------------

REFRESH = runpy.run_path(str(ROOT / "docs/refresh_outputs.py"))


@pytest.mark.parametrize("path", sorted(REFRESH["OUTPUTS"].glob("*.txt")), ids=lambda p: p.stem)
def test_outputs_of_the_guide_are_what_the_commands_print(path: Path) -> None:
    first, shown = path.read_text(encoding="utf-8").split("\n", 1)
    printed = REFRESH["output"](first.removeprefix("$ "))
    comparable = REFRESH["comparable"]
    assert comparable(printed) == comparable(shown), "run `make readme`"


def test_every_output_is_in_the_guide() -> None:
    guide = (ROOT / "docs/conformance/guide.rst").read_text(encoding="utf-8")
    for path in REFRESH["OUTPUTS"].glob("*.txt"):
        assert f"/examples/outputs/{path.name}" in guide


def test_comparable_keeps_what_a_command_finds() -> None:
    comparable = REFRESH["comparable"]
    assert comparable("1 passed in 1.23s") == comparable("1 passed in 4.5s")
    assert comparable("value -1") != comparable("value -2")
    one = "control none\nversions a, Python 3.11.7, torch 2.13.0+cpu\nthe call, in"
    other = "control none\nversions a, Python 3.12.1, torch 2.14.0\nthe call, in"
    assert comparable(one) == comparable(other)
