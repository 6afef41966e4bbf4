"""Sphinx extension: figures of the theory pages, drawn from the functions themselves.

``.. theory-figure:: NAME`` puts the drawing of that name into the page, as SVG in the page's own
colours; the content of the directive is its caption, ``:alt:`` says what is to be seen.
``.. presets::`` is the table of all published methods, term by term, from
``identity.surrogates.PRESETS``.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, ClassVar
from xml.sax.saxutils import escape

import matplotlib as mpl
import numpy as np
from docutils import nodes
from docutils.parsers.rst import directives
from ledger_data import fingerprint
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

INK = "#010203"  # becomes the colour of the page's text, in a light and in a dark theme
STYLES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 1)))
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", INK)  # told apart by the blind


def length_weights(figure: Figure) -> None:
    """Weight of one token by the length of its response, in one group of eight."""
    from identity.aggregation import token_weights

    lengths = np.array([32, 64, 128, 256, 512, 1024, 2048, 4096])
    mask = np.arange(lengths.max()) < lengths[:, None]
    axes = figure.add_subplot()
    shown: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("grpo", "GRPO: sequence mean of token means", {}),
        ("dapo", "DAPO: token mean", {}),
        ("dr_grpo", "Dr. GRPO, constant 4096", {"constant": 4096.0}),
        ("delta_l", "ΔL, α = 1, constant 4096", {"constant": 4096.0}),
        ("delta_l", "ΔL, α = ½, constant 4096", {"constant": 4096.0, "alpha": 0.5}),
    )
    for n, (method, label, options) in enumerate(shown):
        weights = token_weights(mask, method, **options)[:, 0]
        axes.plot(lengths, weights, ls=STYLES[n], color=COLOURS[n], label=label, lw=1.8)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("length of the response, in tokens")
    axes.set_ylabel("weight of one of its tokens")
    axes.legend(frameon=False, fontsize="small")


def clip_pieces(figure: Figure) -> None:
    """Surrogates by the ratio, and their gradients by the log-probability."""
    from identity.surrogates import token_loss

    ratios = np.linspace(0.02, 4.0, 996)
    old = np.full((1, ratios.size), -10.0)
    row = old + np.log(ratios)
    mask = np.ones((1, ratios.size), dtype=bool)
    shown: tuple[tuple[str, dict[str, Any]], ...] = (
        ("no clip", {"objective": "ppo_clip", "clip": (1.0, np.inf)}),
        ("PPO clip, [0.8, 1.28]", {"objective": "ppo_clip", "clip": (0.2, 0.28)}),
        (
            "the same with dual clip 3",
            {"objective": "ppo_clip", "clip": (0.2, 0.28), "dual_clip": 3.0},
        ),
        ("CISPO, [0, 2]", {"objective": "cispo", "clip": (1.0, 1.0)}),
    )
    step = 1e-6
    panels = figure.subplots(2, 2, sharex=True)
    for column, sign in enumerate((1.0, -1.0)):
        for n, (label, options) in enumerate(shown):

            def value(live: Any, sign: float = sign, options: dict[str, Any] = options) -> Any:
                """Objective at ``live``; CISPO's clipped ratio is a constant taken at ``row``."""
                if options["objective"] != "cispo":
                    return -token_loss(live, old, np.array([sign]), mask, **options)[0]
                # sg(clip(ρ))·A·log π: its slope in log π, times the live log π.
                there = -token_loss(row, old, np.array([sign]), mask, **options)[0]
                return there / row[0] * live[0]

            gradient = (value(row + step) - value(row - step)) / (2 * step)
            style = {"ls": STYLES[n], "color": COLOURS[n], "lw": 1.8, "label": label}
            if options["objective"] != "cispo":  # its value, A·log π, is not on this scale
                panels[0, column].plot(ratios, value(row), **style)
            panels[1, column].plot(ratios, gradient, **style)
        panels[0, column].set_title(f"A = {sign:+.0f}", fontsize="medium")
        panels[1, column].set_xlabel("ratio ρ")
        for axis in panels[:, column]:
            axis.axvline(1.0, color=INK, lw=0.6, alpha=0.5)
    panels[0, 0].set_ylabel("objective")
    panels[1, 0].set_ylabel("gradient by log π")
    figure.legend(
        *panels[1, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )


def dpo_weight(figure: Figure) -> None:
    """Length of a DPO step relative to the 2-GRPO step on the same pair."""
    from identity.preference import dpo_gradient_weight

    margins = np.linspace(-60, 60, 481)
    axes = figure.add_subplot()
    for n, beta in enumerate((0.03, 0.1, 0.3)):
        ratio = 2 * dpo_gradient_weight(margins, beta=beta) / beta
        axes.plot(margins, ratio, ls=STYLES[n], color=COLOURS[n], lw=1.8, label=f"DPO, β = {beta}")
    axes.axhline(1.0, color=INK, lw=1.2, label="2-GRPO")
    axes.axvline(0.0, color=INK, lw=0.6, alpha=0.5)
    axes.set_xlabel("margin Δ of the log-ratios, in nats (0 at the reference)")
    axes.set_ylabel("DPO's step / (β · 2-GRPO's step)")
    axes.legend(frameon=False, fontsize="small")


def weight_atlas(figure: Figure) -> None:
    """Weight on ∇p and gradient mass of every method, by the success probability."""
    from identity.difficulty import difficulty_weight

    # Label, style, colour, place of the label (side of the panel or rate), method, options.
    shown: tuple[tuple[str, int, int, Any, str, dict[str, Any]], ...] = (
        ("log-odds (DPO)", 0, 1, "right", "log_odds", {}),
        ("DAPO, G = 8", 1, 1, "right", "dapo", {"group_size": 8}),
        ("GRPO, limit", 0, 0, "right", "grpo", {}),
        ("GRPO, G = 8", 1, 0, "right", "grpo", {"group_size": 8}),
        ("REINFORCE", 0, 5, "right", "reinforce", {}),
        ("log-likelihood", 0, 2, "left", "log_likelihood", {}),
        ("Tsallis, q = ½", 2, 2, "left", "tsallis", {"q": 0.5}),
        ("MaxRL, 8", 1, 2, "left", "max_rl", {"group_size": 8}),
        ("pass@8", 0, 3, "inside", "pass_at_k", {"k": 8}),
        ("GRPO on pass@8", 3, 3, "left", "grpo_pass_at_k", {"k": 8}),
    )
    logit = np.linspace(-np.log(199), np.log(199), 400)
    rates = 1 / (1 + np.exp(-logit))
    ticks = np.asarray([0.01, 0.1, 0.5, 0.9, 0.99])
    panels = figure.subplots(2, 1)
    for panel, low, high, mass in ((panels[0], 0.04, 300.0, False), (panels[1], 0.003, 1.4, True)):
        ends: dict[str, list[tuple[float, str, str]]] = {"left": [], "right": []}
        for label, style, colour, side, method, options in shown:
            curve = difficulty_weight(rates, method, **options)
            if mass:
                curve = curve * rates * (1 - rates)
            panel.plot(logit, curve, ls=STYLES[style], color=COLOURS[colour], lw=1.8)
            if side in ends and low < curve[0 if side == "left" else -1] < high:
                ends[side].append((curve[0 if side == "left" else -1], label, COLOURS[colour]))
            else:
                at = int(np.argmin(np.abs(curve - 3 * low)[logit > -1])) + int(np.sum(logit <= -1))
                panel.annotate(
                    label,
                    (logit[at], curve[at]),
                    (-4, 0),
                    textcoords="offset points",
                    ha="right",
                    color=COLOURS[colour],
                    fontsize="small",
                )
        for side, entries in ends.items():
            place = (logit[0], "right", -32) if side == "left" else (logit[-1], "left", 4)
            height = -np.inf
            for value, label, shade in sorted(entries):
                height = max(np.log10(value), height + 0.055 * np.log10(high / low))
                panel.annotate(
                    label,
                    (place[0], 10**height),
                    (place[2], 0),
                    va="center",
                    ha=place[1],
                    textcoords="offset points",
                    color=shade,
                    fontsize="small",
                    annotation_clip=False,
                )
        panel.set(yscale="log", ylim=(low, high), xlim=(logit[0], logit[-1]))
        panel.set_xticks(np.log(ticks / (1 - ticks)), [f"{t:g}" for t in ticks])
        panel.set_xlabel("success probability p, on the scale of its log-odds")
        panel.set_title("gradient mass w(p)·p(1−p)" if mass else "weight w(p)", fontsize="medium")


def regimes(figure: Figure) -> None:
    """Regimes of the heavy ball by momentum and stiffness; thresholds of stale gradients."""
    from identity.dynamics import oscillation_onset, refresh_threshold

    fresh, stale = figure.subplots(1, 2)
    momenta = np.linspace(0, 0.999, 400)
    onset = np.asarray([oscillation_onset(mu) for mu in momenta.tolist()])
    stable = np.asarray([refresh_threshold(mu, 0, "delay") for mu in momenta.tolist()])
    negative = (1 + np.sqrt(momenta)) ** 2
    top = np.full_like(momenta, 5.4)
    for low, high, colour in ((0 * onset, onset, 0), (onset, stable, 2), (stable, top, 1)):
        fresh.fill_between(momenta, low, high, color=COLOURS[colour], alpha=0.22, lw=0)
    fresh.plot(momenta, onset, color=COLOURS[0], lw=1.8, label="critical: (1 − √μ)²")
    label = "(1 + √μ)²: roots negative above"
    fresh.plot(momenta, negative, color=INK, ls=":", lw=1.2, label=label)
    fresh.plot(momenta, stable, color=COLOURS[1], ls="--", lw=1.8, label="stable below 2(1 + μ)")
    for word, place in (("underdamped", (0.5, 1.3)), ("unstable", (0.1, 2.9))):
        fresh.text(*place, word, fontsize="small")
    arrow = {"arrowstyle": "-", "color": INK, "lw": 0.8}
    fresh.annotate("overdamped", (0.04, 0.3), (0.2, 0.62), arrowprops=arrow, fontsize="small")
    fresh.set(xlim=(0, 1), ylim=(0, 5.4))
    fresh.set_title("no lag", fontsize="medium")
    fresh.set_xlabel("momentum μ")
    fresh.set_ylabel("stiffness κ = ηK")
    intervals = list(range(1, 65))
    shown = (("delay", 0.0), ("delay", 0.9), ("block", 0.0), ("block", 0.9))
    for n, (staleness, mu) in enumerate(shown):
        ratio = [k * refresh_threshold(mu, k, staleness) / (1 - mu) for k in intervals]
        label = f"{staleness}, μ = {mu:g}"
        stale.plot(intervals, ratio, ls=STYLES[n], color=COLOURS[n], lw=1.8, label=label)
    stale.axhline(1.0, color=INK, lw=1.0, label="the law ηK·K_ref = 1 − μ")
    stale.set(xscale="log", yscale="log", xlim=(1, 64), ylim=(0.85, 50))
    stale.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
    stale.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    stale.minorticks_off()
    stale.set_title("stale gradients", fontsize="medium")
    stale.set_xlabel("refresh interval K_ref, in steps")
    stale.set_ylabel("largest stable ηK·K_ref/(1 − μ)")
    for panel in (fresh, stale):
        panel.legend(frameon=False, fontsize="x-small", loc="upper right")
    fresh.legend(frameon=False, fontsize="x-small", loc="upper left")


FIGURES: dict[str, tuple[Callable[[Figure], None], tuple[float, float]]] = {
    "length-weights": (length_weights, (6.4, 3.8)),
    "clip-pieces": (clip_pieces, (7.4, 5.2)),
    "dpo-weight": (dpo_weight, (6.4, 3.6)),
    "dynamics-regimes": (regimes, (8.2, 4.0)),
    "weight-atlas": (weight_atlas, (7.4, 8.4)),
}


def svg(name: str) -> str:
    """The figure as an SVG element, its ink in the colour of the text around it."""
    draw, size = FIGURES[name]
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    colours: dict[str, Any] = dict.fromkeys(inked, INK)
    settings = {**colours, "svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10.0}
    with mpl.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor").replace('id="', f'id="{name}-')


class TheoryFigure(SphinxDirective):
    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in FIGURES:
            raise self.error(f"no figure {name!r}; there are {', '.join(FIGURES)}")
        if "alt" not in self.options or not self.content:
            raise self.error("a figure needs :alt: and a caption")
        drawing = _scoped(svg(name), name, self.options["alt"])
        figure = nodes.container(classes=["theory-figure"])
        figure += nodes.raw("", drawing, format="html")
        caption = nodes.paragraph(classes=["theory-caption"])
        caption.extend(self.parse_inline(" ".join(self.content), lineno=self.lineno)[0])
        figure += caption
        return [figure]


def _scoped(drawing: str, name: str, alt: str) -> str:
    """References inside the drawing follow its renamed ids; the whole has a text alternative."""
    for mark in ('xlink:href="#', "url(#"):
        drawing = drawing.replace(mark, f"{mark}{name}-")
    return drawing.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)


class Presets(SphinxDirective):
    """One row for each term of the loss, one column for each published method."""

    def run(self) -> list[nodes.Node]:
        from identity.surrogates import PRESETS

        terms = ("advantage", "objective", "level", "clip", "dual_clip", "aggregation", "alpha")
        more = ("per_group", "kl_coefficient", "kl_estimator", "kl_gradient", "ddof", "eps")
        lines = [".. list-table::", "   :header-rows: 1", "   :stub-columns: 1", ""]
        for n, cell in enumerate(["", *PRESETS]):
            lines.append(
                f"   {'* -' if n == 0 else '  -'} {f'``{cell}``' if cell else ''}".rstrip()
            )
        for term in (*terms, *more, "group_size"):
            lines.append(f"   * - {term}")
            lines += [f"     - {self._cell(preset, term)}" for preset in PRESETS.values()]
        lines += ["", "Where each of these is published:", ""]
        for name, preset in PRESETS.items():
            lines += [f"``{name}``", ""]
            lines += [f"   * {term}: {source}" for term, source in preset.sources.items()]
            lines.append("")
        container = nodes.container(classes=["presets-table"])
        container += self.parse_text_to_nodes("\n".join(lines))
        return [container]

    @staticmethod
    def _cell(preset: Any, term: str) -> str:
        value = getattr(preset, term)
        unused = {
            "alpha": preset.aggregation not in ("delta_l", "delta_l_batch"),
            "kl_estimator": preset.kl_coefficient == 0,
            "kl_gradient": preset.kl_coefficient == 0,
            "ddof": preset.advantage != "grpo",
            "eps": preset.advantage != "grpo",
        }
        if value is None or unused.get(term, False):
            return "—"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"``{value}``" if isinstance(value, str) else str(value)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("theory-figure", TheoryFigure)
    app.add_directive("presets", Presets)
    app.add_config_value("theory_figures_of", fingerprint(), "env")  # redraw when code changed
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
