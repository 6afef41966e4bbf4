"""Figures of the page on experiments, drawn from the committed results.

They are shown by ``.. theory-figure:: NAME``, which `experiment_pages` tells about them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from theory_figures import COLOURS, INK, STYLES

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"

Row = dict[str, Any]


def results(name: str) -> list[Row]:
    """The rows that an experiment wrote."""
    found: list[Row] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["results"]
    return found


def bars(
    axes: Axes, at: Iterable[float], rows: list[Row], unit: Iterable[float], **style: Any
) -> None:
    """Measured intervals, each in its unit, as bars with their ends marked."""
    low, high = (np.asarray([r["interval"][n] for r in rows]) / np.asarray(unit) for n in (0, 1))
    middle = (low + high) / 2
    axes.errorbar(list(at), middle, (high - low) / 2, ls="none", capsize=3, **style)


def stale_refresh(figure: Figure) -> None:
    """Thresholds in units of the short rule; measured growth on the way there."""
    left, right = figure.subplots(1, 2)
    rows = results("stale_refresh")
    number = 0
    for staleness in ("delay", "block"):
        for momentum in (0.0, 0.9):
            wanted = {"momentum": momentum, "staleness": staleness}
            colour = COLOURS[number]
            for arms, mark in (("two", "o"), ("five", "x")):
                part = [r for r in rows if {"arms": arms, **wanted}.items() <= r["case"].items()]
                at = [r["case"]["interval"] for r in part]
                rule = [r["short_rule"] for r in part]
                bars(left, at, part, rule, color=colour, marker=mark, ms=5, mfc="none")
                if arms == "two":
                    exact = [r["exact"] / r["short_rule"] for r in part]
                    name = f"{staleness}, μ = {momentum:g}"
                    left.plot(at, exact, color=colour, ls=STYLES[number], lw=1.2, label=name)
            number += 1
    left.axhline(1.0, color=INK, lw=0.8)
    left.set(xscale="log", yscale="log", ylim=(0.9, 8))
    left.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    left.set_yticks([1, 2, 4], ["1", "2", "4"])
    left.minorticks_off()
    left.set_xlabel("delay, or length of a block, in steps")
    left.set_ylabel("threshold of κ / short rule")
    left.legend(frameon=False, fontsize="small", ncols=2, loc="upper center")
    number = 0
    for row in rows:
        case = row["case"]
        if (case["arms"], case["momentum"], case["staleness"]) != ("two", 0.0, "delay"):
            continue
        kappa, rate = np.asarray(row["scan"]).T
        style = {"color": COLOURS[number], "ls": STYLES[number], "marker": ".", "lw": 1.2}
        scaled = kappa / row["short_rule"]
        shown = (scaled > 0.15) & (scaled < 3)
        label = f"delay {case['interval']}"
        right.plot(scaled[shown], (rate * case["interval"])[shown], label=label, **style)
        number += 1
    right.axhline(0.0, color=INK, lw=0.8)
    right.axvline(1.0, color=INK, lw=0.8)
    right.set(xscale="log", ylim=(-1.3, 1.0))
    right.set_xticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    right.minorticks_off()
    right.set_xlabel("κ / short rule, μ = 0")
    right.set_ylabel("measured growth of log|x| per delay")
    right.legend(frameon=False, fontsize="small")


def transitions(figure: Figure) -> None:
    """What is seen of the heavy ball without lag, over momentum and κ."""
    from identity.dynamics import oscillation_onset, refresh_threshold

    low, high = figure.subplots(1, 2)
    momenta = np.linspace(0, 0.985, 395)
    lines: tuple[tuple[Axes, str, Callable[[float], float]], ...] = (
        (low, "onset of oscillation", oscillation_onset),
        (high, "onset of alternation", lambda mu: float((1 + np.sqrt(mu)) ** 2)),
        (high, "stability limit", lambda mu: refresh_threshold(mu, 0, "delay")),
    )
    rows = [r for r in results("oscillation_onset") if r["case"]["staleness"] == "none"]
    for n, (axes, quantity, value) in enumerate(lines):
        curve = [value(float(mu)) for mu in momenta]
        axes.plot(momenta, curve, color=COLOURS[n], ls=STYLES[n], lw=1.4, label=quantity)
        part = [r for r in rows if r["quantity"] == quantity]
        at = [r["case"]["momentum"] for r in part]
        bars(axes, at, part, np.ones(len(part)), color=COLOURS[n], marker="o", ms=5, mfc="none")
    low.set(yscale="log", ylim=(1e-4, 3))
    high.set(ylim=(0.6, 4.6))
    words = (low, 0.1, 0.01, "relaxes"), (low, 0.6, 0.6, "oscillates"), (high, 0.1, 3.6, "grows")
    for axes, x, y, word in (*words, (high, 0.6, 2.2, "oscillates")):
        axes.text(x, y, word, style="italic")
    for axes in (low, high):
        axes.set(xlim=(-0.03, 1.0))
        axes.set_xlabel("momentum μ")
        axes.legend(frameon=False, fontsize="small", loc="lower left" if axes is low else None)
    low.set_ylabel("κ = ηK")


def group_noise(figure: Figure) -> None:
    """Stationary variance times G, in units of the critic's exact value."""
    axes = figure.add_subplot()
    rows = [r for r in results("stationary_variance") if "group_size" in r["case"]]
    n = 0
    for momentum in (0.0, 0.9):
        base = [
            r
            for r in rows
            if (r["case"]["estimator"], r["case"]["momentum"]) == ("critic", momentum)
        ]
        unit = [r["exact"] for r in base]
        for estimator in ("critic", "leave-one-out"):
            wanted = {"estimator": estimator, "momentum": momentum}
            part = [r for r in rows if wanted.items() <= r["case"].items()]
            # A little to the side of each other, to be told apart.
            at = np.asarray([r["case"]["group_size"] for r in part]) * 1.06 ** (n - 1.5)
            label = f"{estimator}, μ = {momentum:g}"
            exact = [r["exact"] / u for r, u in zip(part, unit, strict=True)]
            axes.plot(at, exact, color=COLOURS[n], ls=STYLES[n], lw=1.2, label=label)
            bars(axes, at, part, unit, color=COLOURS[n], marker="o", ms=4, mfc="none")
            n += 1
    axes.set(xscale="log", ylim=(0.9, 2.4))
    sizes = [2, 4, 8, 16, 32, 64]
    axes.set_xticks(sizes, [str(s) for s in sizes])
    axes.minorticks_off()
    axes.set_xlabel("group size G")
    axes.set_ylabel("Var θ / value for s²/G")
    axes.legend(frameon=False, fontsize="small")


FIGURES: dict[str, tuple[Callable[[Figure], None], tuple[float, float]]] = {
    "stale-refresh": (stale_refresh, (8.2, 3.8)),
    "transitions": (transitions, (8.2, 3.6)),
    "group-noise": (group_noise, (6.4, 3.6)),
}
