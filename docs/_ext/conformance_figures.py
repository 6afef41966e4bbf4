"""The figure of the factors that were found on σΔs, drawn from the committed results."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from theory_figures import COLOURS, INK, STYLES

from identity.conformance.factors import FORMS, Factor

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results" / "conformance.json"
SIZE = 8


def parsed(text: str | None) -> Factor:
    """The closed form of a result: its formula, and ε if it has one."""
    name, _, eps = (text or "1").partition(", ε = ")
    (form,) = (form for form in FORMS if form.text == name)
    return replace(form, eps=float(eps)) if eps else form


def found(rows: list[dict[str, Any]]) -> dict[Factor, list[str]]:
    """The factors of k-of-G groups that were found, with the libraries that have them."""
    result: dict[Factor, list[str]] = {}
    for row in rows:
        if row["case"] == "binary" and row["verdict"] in ("equals", "equals ×"):
            if row["verdict"] == "equals" and row["convention"] != "σΔs":
                continue
            libraries = result.setdefault(parsed(row["factor"]), [])
            if row["library"] not in libraries:
                libraries.append(row["library"])
    return result


def without_eps(factor: Factor) -> Factor:
    """The plain form that a factor tends to as ε → 0; a factor that has no ε as it is."""
    if not factor.takes_eps:
        return factor
    size, k = np.asarray([5.0, 9.0]), np.asarray([1.0, 4.0])
    limit = factor.value(size, k, 0.0)
    return next(f for f in FORMS if not f.takes_eps and np.allclose(f.at(size, k), limit))


def conformance_factors(figure: Figure) -> None:
    """The factors by k at one group size; what ε takes from them, by the group size."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["results"]
    factors = found(rows)
    left, right = figure.subplots(1, 2)
    ks = np.arange(1, SIZE, dtype=np.float64)
    plain: dict[Factor, list[str]] = {}
    for factor, libraries in factors.items():
        names = plain.setdefault(without_eps(factor), [])
        names.extend(name for name in libraries if name not in names)
    order = sorted(plain, key=lambda factor: [form.text for form in FORMS].index(factor.text))
    for n, factor in enumerate(order):
        style = {
            "color": COLOURS[n % len(COLOURS)],
            "ls": STYLES[(n + n // len(COLOURS)) % len(STYLES)],
        }
        label = f"{factor.text}: {', '.join(sorted(plain[factor]))}"
        curve = factor.at(np.full_like(ks, SIZE), ks)
        left.plot(ks, curve, marker="o", ms=3.5, lw=1.6, label=label, **style)
    left.set_ylim(bottom=0)
    left.set_xlabel(f"k correct of G = {SIZE}")
    left.set_ylabel("factor on σΔs, without its ε")
    sizes = np.arange(2, 65, dtype=np.float64)
    ones = np.ones_like(sizes)
    with_eps = sorted((f for f in factors if f.takes_eps), key=lambda f: (-f.eps, f.text))
    decades = [1e-4, 1e-3]  # shown in any case
    for n, factor in enumerate(with_eps):
        lost = 1 - factor.at(sizes, ones) / without_eps(factor).at(sizes, ones)
        style = {
            "color": COLOURS[n % len(COLOURS)],
            "ls": STYLES[(n + n // len(COLOURS)) % len(STYLES)],
        }
        label = f"{factor}: {', '.join(sorted(factors[factor]))}"
        right.plot(sizes, lost, lw=1.6, label=label, **style)
        decades += [10 ** np.floor(np.log10(lost.min())), 10 ** np.ceil(np.log10(lost.max()))]
    right.set(xscale="log", yscale="log", ylim=(min(decades), max(decades)))
    right.set_xticks([2, 4, 8, 16, 32, 64], ["2", "4", "8", "16", "32", "64"])
    right.minorticks_off()
    right.set_xlabel("group size G, one correct")
    right.set_ylabel("share that ε takes from the factor")
    right.grid(axis="y", color=INK, alpha=0.15)
    for axes in (left, right):
        handles, _ = axes.get_legend_handles_labels()
        if handles:
            axes.legend(
                frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.2)
            )


def height() -> float:
    """Room for the longer legend below."""
    factors = found(json.loads(RESULTS.read_text(encoding="utf-8"))["results"])
    entries = len({without_eps(f) for f in factors}), sum(f.takes_eps for f in factors)
    return 3.9 + 0.2 * max(entries)


FIGURES: dict[str, tuple[Callable[[Figure], None], tuple[float, float]]] = {
    "conformance-factors": (conformance_factors, (9.0, height())),
}
