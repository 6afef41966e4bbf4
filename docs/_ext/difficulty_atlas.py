"""Sphinx extension: ``.. difficulty-atlas::``, the table of all methods as one weight each.

A row states what its method ascends; weight and mass are its derivative and that times p(1−p), and
the behaviour at 0 is a limit. `checked` holds each row against `identity.difficulty`, whose list of
methods decides which rows there must be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import sympy as sp
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

p, q, K, G, alpha, beta = sp.symbols("p q K G alpha beta", positive=True)
W = sp.Function("W_G")(p)
RATES = (0.03, 0.3, 0.5, 0.8)
VALUES: dict[sp.Symbol, tuple[Any, ...]] = {
    q: (0.25, 0.75, 1.5),
    K: (1, 2, 5, 8),
    G: (2, 3, 8),
    alpha: (0.5, 2.5),
    beta: (1.0, 3.0),
}


@dataclass(frozen=True)
class Row:
    """One method: what it ascends, and how its weight is usually written."""

    label: str
    method: str
    objective: sp.Expr | str  # an expression in p, or the integral of a weight of finite groups
    weight: sp.Expr
    at_zero: sp.Expr  # w(p) over this tends to 1 as p → 0
    theorems: tuple[str, ...]
    source: str
    takes: dict[str, sp.Symbol] = field(default_factory=dict)

    @property
    def mass(self) -> sp.Expr:
        return sp.powsimp(self.weight * p * (1 - p))


LIMIT = {"at_zero": 1 / sp.sqrt(p), "weight": 1 / sp.sqrt(p * (1 - p))}
ARCSINE = 2 * sp.asin(sp.sqrt(p))
GROUPS = {"group_size": G}
MIXED = 1 - p**G - (1 - p) ** G
ANY = 1 - (1 - p) ** K

ROWS = (
    Row("REINFORCE", "reinforce", p, sp.Integer(1), sp.Integer(1),
        ("difficulty.atlas",), "Williams 1992"),
    Row("RLOO", "rloo", p, sp.Integer(1), sp.Integer(1),
        ("difficulty.atlas", "expectation.rloo"), "arXiv 2402.14740"),
    Row("Dr. GRPO", "dr_grpo", (G - 1) / G * p, (G - 1) / G, (G - 1) / G,
        ("difficulty.atlas", "expectation.dr-grpo"), "arXiv 2503.20783", GROUPS),
    Row("GRPO, groups of G", "grpo", r"\int_0^p W_G", W, sp.sqrt(G - 1),
        ("expectation.grpo-weight",), "arXiv 2607.00152", GROUPS),
    Row("GRPO, limit of large groups", "grpo", ARCSINE, LIMIT["weight"], LIMIT["at_zero"],
        ("difficulty.atlas", "expectation.arcsine"), "arXiv 2607.00152"),
    Row("DAPO, groups of G", "dapo", r"\int_{1/2}^p \frac{W_G}{1 - u^G - (1 - u)^G}\,du",
        W / MIXED, sp.sqrt(G - 1) / (G * p), ("expectation.dapo",), "arXiv 2503.14476", GROUPS),
    Row("DAPO, limit of large groups", "dapo", ARCSINE, LIMIT["weight"], LIMIT["at_zero"],
        ("expectation.dapo", "expectation.arcsine"), "arXiv 2503.14476"),
    Row("MaxRL, groups of G", "max_rl", r"\sum_{i=1}^{G} \frac{1 - (1 - p)^i}{i}",
        (1 - (1 - p) ** G) / p, G, ("expectation.max-rl",), "arXiv 2602.02710", GROUPS),
    Row("MaxRL, limit of large groups", "max_rl", sp.log(p), 1 / p, 1 / p,
        ("expectation.max-rl",), "arXiv 2602.02710"),
    Row("Tsallis, GARL, PAFT", "tsallis", (p ** (1 - q) - 1) / (1 - q), p**-q, p**-q,
        ("difficulty.atlas", "difficulty.tsallis"), "arXiv 2604.25907", {"q": q}),
    Row("log-likelihood", "log_likelihood", sp.log(p), 1 / p, 1 / p,
        ("difficulty.atlas",), "maximum likelihood"),
    Row("log-odds: DPO pairs, but for β/2", "log_odds", sp.log(p / (1 - p)), 1 / (p * (1 - p)),
        1 / p, ("difficulty.atlas", "preference.prompt-level"), "arXiv 2510.00977"),
    Row("pass@K", "pass_at_k", ANY, K * (1 - p) ** (K - 1), K,
        ("difficulty.atlas", "expectation.pass-at-k"), "arXiv 2510.23049", {"k": K}),
    Row("GRPO on pass@K, limit", "grpo_pass_at_k", 2 / K * sp.asin(sp.sqrt(ANY)),
        (1 - p) ** (K / 2 - 1) / sp.sqrt(ANY), 1 / sp.sqrt(K * p),
        ("difficulty.atlas",), "arXiv 2510.23049", {"k": K}),
    Row("Beta kernel as mass (PACED)", "beta_kernel",
        r"\int_0^p u^{\alpha - 1}(1 - u)^{\beta - 1}\,du",
        p ** (alpha - 1) * (1 - p) ** (beta - 1), p ** (alpha - 1),
        ("difficulty.atlas", "difficulty.beta-kernel"), "arXiv 2603.11178",
        {"alpha": alpha, "beta": beta}),
)  # fmt: skip


def settings(row: Row) -> Iterator[dict[sp.Symbol, Any]]:
    """Values for the parameters of a row, each parameter varied on its own."""
    names = list(row.takes.values())
    first = {name: VALUES[name][0] for name in names}
    yield first
    for name in names:
        yield from ({**first, name: value} for value in VALUES[name][1:])


def checked(row: Row) -> None:
    """Raise unless the row says what `identity.difficulty` computes.

    The weight is the function's, and the derivative of the objective where that is a formula; over
    its stated behaviour at 0 it is 1 there, to a relative 1e-4 at p = 1e-9.
    """
    from identity.difficulty import difficulty_weight
    from identity.expectation import update_weight

    for values in settings(row):
        options = {name: values[symbol] for name, symbol in row.takes.items()}

        def number(expression: Any, rate: float, values: dict[Any, Any] = values) -> float:
            expression = sp.sympify(expression)
            if expression.has(W):
                finite = float(update_weight(rate, values[G]))
                expression = expression.subs(W, finite)
            return float(expression.subs({**values, p: sp.Float(rate, 50)}).evalf(50))

        for rate in RATES:
            found = float(difficulty_weight(rate, row.method, **options))
            wanted = [number(row.weight, rate)]
            if isinstance(row.objective, sp.Expr):
                wanted.append(number(sp.diff(row.objective, p), rate))
            if any(abs(found - value) > 1e-12 * abs(value) for value in wanted):
                raise ValueError(f"atlas: {row.label} at p = {rate}: {found}, not {wanted}")
        tiny = 1e-9
        ratio = float(difficulty_weight(tiny, row.method, **options)) / number(row.at_zero, tiny)
        if abs(ratio - 1) > 1e-4:
            raise ValueError(f"atlas: {row.label} at 0: off by a factor {ratio}")


def complete() -> None:
    """Raise unless the rows are those of the methods, in their order."""
    from identity.difficulty import METHODS

    if list(dict.fromkeys(row.method for row in ROWS)) != list(METHODS):
        raise ValueError("atlas: rows and methods differ")
    for row in ROWS:
        if set(row.takes) - set(METHODS[row.method]):
            raise ValueError(f"atlas: {row.label} takes what its method does not")


def tex(expression: sp.Expr | str) -> str:
    if isinstance(expression, str):
        return expression
    text = sp.latex(expression, inv_trig_style="full")
    mixed = r"p^{G} - \left(1 - p\right)^{G}"
    text = text.replace(f"- {mixed} + 1", f"1 - {mixed}")
    return str(text.replace(r"W_{G}{\left(p \right)}", "W_G(p)"))


class DifficultyAtlas(SphinxDirective):
    """The table."""

    def run(self) -> list[nodes.Node]:
        complete()
        heads = ("method", ":math:`F`", ":math:`w = F'`", ":math:`w\\,p(1-p)`",
                 ":math:`w`, :math:`p \\to 0`", "theorem, source")  # fmt: skip
        lines = [".. list-table::", "   :header-rows: 1", ""]
        lines += [f"   {'* -' if n == 0 else '  -'} {head}" for n, head in enumerate(heads)]
        for row in ROWS:
            checked(row)
            call = ", ".join([row.method, *(f"{name}=…" for name in row.takes)])
            theorems = "".join(f"| :ledger:thm:`{name}`\n       " for name in row.theorems)
            formulas = (row.objective, row.weight, row.mass, row.at_zero)
            cells = [
                f"| {row.label}\n       | ``{call}``",
                *(f":math:`{tex(formula)}`" for formula in formulas),
                f"{theorems}| {row.source}",
            ]
            lines += [f"   {'* -' if n == 0 else '  -'} {cell}" for n, cell in enumerate(cells)]
        container = nodes.container(classes=["presets-table", "unbroken"])
        container += self.parse_text_to_nodes("\n".join(lines))
        return [container]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("difficulty-atlas", DifficultyAtlas)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
