"""The figure of ``diagnose --figure``: silent rate by group size, gradient mass by difficulty.

Import it only when a figure is asked for: it needs matplotlib (extra ``data``). Series differ in
marker, line style or hatching as well as in colour (the Okabe–Ito palette).
"""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator

from identity.diagnostics import ZONES, Diagnosis

__all__ = ["FORMATS", "draw_figure", "save_figure"]

FORMATS = (".png", ".pdf", ".svg")
"""File suffixes that a figure can be written to."""

_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#6B6B6B"
_INK = "#222222"


def save_figure(report: Diagnosis, path: Path) -> None:
    """Draw the figure and write it; the suffix, one of `FORMATS`, decides the format."""
    figure = draw_figure(report)
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # A path may hold characters that the font lacks; they show as boxes.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(path, dpi=160)


def draw_figure(report: Diagnosis) -> Figure:
    """The two panels, on a figure of its own that touches no global state."""
    figure = Figure(figsize=(11.5, 5.6), layout=ConstrainedLayoutEngine(wspace=0.06))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_INK)
    _draw_silent(left, report)
    _draw_mass(right, report)
    figure.suptitle(_wrapped(_title(report), 150), x=0.01, ha="left", fontsize=10, color=_INK)
    if report.caveats:
        notes = "\n".join(_wrapped(caveat, 200) for caveat in report.caveats)
        figure.supxlabel(notes, x=0.01, ha="left", fontsize=7, color=_GREY)
    return figure


def _title(report: Diagnosis) -> str:
    source = report.source if len(report.source) <= 300 else "…" + report.source[-299:]
    return f"{source} · N = {report.prompts:,} prompts"


def _wrapped(text: str, width: int) -> str:
    # A path may hold a dollar sign, which matplotlib would read as mathematics.
    return textwrap.fill(text, width).replace("$", r"\$")


def _labelled(sizes: list[int]) -> list[int]:
    """Group sizes far enough apart, on a log scale, for their labels not to touch."""
    shown: list[int] = []
    for size in sizes:
        if not shown or size >= 1.3 * shown[-1]:
            shown.append(size)
    return shown


def _draw_silent(axes: Any, report: Diagnosis) -> None:
    sizes = [row.group_size for row in report.silent]
    axes.plot(
        sizes,
        [100 * row.plug_in for row in report.silent],
        color=_ORANGE, marker="o", linestyle="--", linewidth=1.8,
        label=r"plug-in  $\hat p^G+(1-\hat p)^G$  (biased upward)",
    )  # fmt: skip
    known = [row for row in report.silent if row.unbiased is not None]
    if known:
        axes.plot(
            [row.group_size for row in known],
            [100 * row.unbiased for row in known if row.unbiased is not None],
            color=_BLUE, marker="s", linestyle="-", linewidth=1.8,
            label=r"unbiased  (needs $n\geq G$)",
        )  # fmt: skip
    axes.axhline(
        100 * report.unanimous.share,
        color=_GREY, linestyle=":", linewidth=1.6,
        label=rf"observed $\hat p\in\{{0,1\}}$: {100 * report.unanimous.share:.2f} %",
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    labelled = _labelled(sizes)
    axes.set_xticks(labelled, [f"{size:,}" for size in labelled])
    axes.set_xlim(sizes[0] / 1.25, sizes[-1] * 1.25)
    axes.set_ylim(0, max(5.0, 135 * max(row.plug_in for row in report.silent)))
    axes.set_xlabel("group size G (log scale)")
    axes.set_ylabel("silent groups, % of groups")
    axes.set_title("Silent groups", loc="left", fontsize=11, fontweight="bold", color=_INK)
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def _draw_mass(axes: Any, report: Diagnosis) -> None:
    axes.set_title(
        "Gradient mass by difficulty", loc="left", fontsize=11, fontweight="bold", color=_INK
    )
    axes.set_xlabel(r"observed success rate $\hat p$ of the prompt")
    axes.set_ylabel("share of the method's gradient mass, %")
    positions = np.arange(len(ZONES), dtype=np.float64)
    axes.set_xticks(positions, [zone.replace("p", r"$\hat p$") for zone in ZONES], fontsize=9)
    if not report.gradient_mass:
        axes.text(0.5, 0.5, r"no prompt has $0<\hat p<1$", transform=axes.transAxes, ha="center")
        return
    sizes = [row.group_size for row in report.silent]
    # G = 8 is the paper's; else the middle of those asked for.
    size = 8 if 8 in sizes else sizes[len(sizes) // 2]
    by_key = {(row.method, row.group_size): row.zones for row in report.gradient_mass}
    series = (
        ("Dr. GRPO, RLOO (any G)", ("dr_grpo", None), _GREY, ""),
        (f"GRPO, G = {size}", ("grpo", size), _BLUE, "//"),
        ("GRPO and DAPO, large G", ("grpo", None), _GREEN, ".."),
        (f"DAPO per kept group, G = {size}", ("dapo", size), _ORANGE, "xx"),
    )
    width = 0.2
    for i, (label, key, colour, hatch) in enumerate(series):
        heights = 100 * np.asarray(by_key[key])
        bars = axes.bar(
            positions + (i - 1.5) * width, heights, width,
            color=colour, hatch=hatch, edgecolor="white", linewidth=0.6, label=label,
        )  # fmt: skip
        axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=1, color=_INK)
    axes.set_ylim(0, 1.3 * axes.dataLim.ymax)
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper center")
