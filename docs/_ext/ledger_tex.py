"""TeX of the ledger's terms, as a reader expects them.

``sympy.latex`` knows neither the kernel's own nodes nor that the 1/G in front of a sum is a
mean. Abbreviations (σ for the root of the mean square, …) are used only where putting the long
form back gives the very same term.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from inspect import isfunction
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

from proofs.kernel.terms import peel

__all__ = ["Abbreviations", "abbreviations", "function_name", "relation", "tex"]

# Names that a topic's ``notation`` module may define, longest terms first, and how they print.
_NAMES: tuple[tuple[str, str], ...] = (
    ("contrast", r"\Delta s_{d}"),
    ("correct_mean", r"\bar{s}_{+,d}"),
    ("wrong_mean", r"\bar{s}_{-,d}"),
    ("sigma", r"\sigma"),
    ("bessel", "t"),
    ("mu", r"\mu"),
    ("weight", r"W_{G}(p)"),
    ("std_mean", r"\mathrm{E}[\sigma]"),
    ("normaliser", r"\mathcal{N}_{t}"),
    ("pair_normaliser", r"\mathcal{Z}_{t}"),
)
_FUNCTIONS = {
    "A_plus": "A^{+}",
    "A_minus": "A^{-}",
    "asin": r"\arcsin",
    "beta": r"\mathrm{B}",
}
_RELATIONS = {"=": "=", "<=": r"\le", "<": "<"}


class _Printer(LatexPrinter):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__({"mul_symbol": None, "fold_short_frac": False})
        self._bound: list[sp.Symbol] = []

    # Sums: a clashing bound name inside another sum gets the next free letter.
    def _print_Sum(self, e: sp.Sum) -> str:
        body, var, low, high = peel(e)
        shown = var
        if var in self._bound or str(var).startswith("_"):
            taken = {*self._bound, *e.free_symbols, *body.free_symbols, *body.atoms(sp.Symbol)}
            letters = (sp.Symbol(c) for c in "ijlmnhrabc")
            shown = next((c for c in letters if c not in taken), var)
            body = body.xreplace({var: shown})
        self._bound.append(shown)
        try:
            inner = self._print(body)
        finally:
            self._bound.pop()
        if body.is_Add:
            inner = rf"\left({inner}\right)"
        limits = rf"_{{{self._print(shown)}={self._print(low)}}}^{{{self._print(high)}}}"
        return rf"\sum{limits} {inner}"

    # Positive terms first: R_i − μ and not −μ + R_i.
    def _print_Add(self, e: sp.Add, order: Any = None) -> str:
        terms = self._as_ordered_terms(e, order=order)
        terms.sort(key=lambda t: t.could_extract_minus_sign())
        text = ""
        for n, term in enumerate(terms):
            if term.could_extract_minus_sign():
                text += " - " if n else "-"
                term = -term
            elif n:
                text += " + "
            inner = self._print(term)
            text += rf"\left({inner}\right)" if term.is_Add else inner
        return text

    # Sums stand beside a fraction, not in its numerator.
    def _print_Mul(self, e: sp.Mul) -> str:
        if e.could_extract_minus_sign():
            inner = self._print(-e)
            return rf"-\left({inner}\right)" if (-e).is_Add else f"-{inner}"
        top, bottom = sp.fraction(e)
        factors = sp.Mul.make_args(top)
        sums = [f for f in factors if isinstance(f, sp.Sum)]
        if not sums:
            return self._product(top, bottom, e)
        rest = sp.Mul(*(f for f in factors if not isinstance(f, sp.Sum)))
        front = "" if rest == 1 and bottom == 1 else self._product(rest, bottom, rest / bottom)
        if (rest / bottom).is_Add:
            front = rf"\left({front}\right)"
        shown = [self._print(s) for s in sums]
        shown = [rf"\left({s}\right)" for s in shown[:-1]] + shown[-1:]
        return " ".join([front, *shown]).strip()

    def _product(self, top: sp.Expr, bottom: sp.Expr, whole: sp.Expr) -> str:
        if not whole.is_Mul:
            return str(self._print(whole))
        if bottom == 1:
            return self._factors(top)
        return rf"\frac{{{self._factors(top)}}}{{{self._factors(bottom)}}}"

    def _factors(self, e: sp.Expr) -> str:
        """Numbers, binomials, powers, roots, then the rest: C(n,k) pᵏ (1−p)ⁿ⁻ᵏ √…"""
        factors = sorted(sp.Mul.make_args(e), key=_place)
        if len(factors) == 1:
            return str(self._print(e))
        text = ""
        for factor in factors:
            shown = self._print(factor)
            if factor.is_Add or isinstance(factor, sp.Sum):
                shown = rf"\left({shown}\right)"
            text += (rf" \cdot {shown}" if shown[0].isdigit() else f" {shown}") if text else shown
        return text

    def _print_Pow(self, e: sp.Pow) -> str:
        if e.exp.is_Rational and e.exp.is_negative:
            return rf"\frac{{1}}{{{self._print(sp.Pow(e.base, -e.exp))}}}"
        if e.exp.is_Rational and e.exp.q == 2 and e.exp.p != 1:
            root = rf"\sqrt{{{self._print(e.base)}}}"
            return rf"\left({root}\right)^{{{e.exp.p}}}"
        if isinstance(e.base, sp.Sum):
            return rf"\left({self._print(e.base)}\right)^{{{self._print(e.exp)}}}"
        return str(super()._print_Pow(e))

    def _print_Indexed(self, e: sp.Indexed) -> str:
        inner = ",".join(self._print(i) for i in e.indices)
        base = r"(\nabla p)" if str(e.base.label) == "dp" else self._print(e.base.label)
        return rf"{base}_{{{inner}}}"

    def _print_Function(self, e: sp.Function, exp: Any = None) -> str:
        shown = _FUNCTIONS.get(type(e).__name__)
        if shown is None:
            return str(super()._print_Function(e, exp))
        name = shown if exp is None else rf"{{{shown}}}^{{{exp}}}"
        return rf"{name}\left({', '.join(self._print(a) for a in e.args)}\right)"

    def _print_binomial(self, e: sp.binomial, exp: Any = None) -> str:
        return rf"\binom{{{self._print(e.args[0])}}}{{{self._print(e.args[1])}}}" + _power(exp)

    def _print_beta(self, e: sp.beta, exp: Any = None) -> str:
        return rf"\mathrm{{B}}\left({self._print(e.args[0])}, {self._print(e.args[1])}\right)" + (
            _power(exp)
        )

    def _print_RolloutMean(self, e: Any, exp: Any = None) -> str:
        body, low, high = e.args
        window = ""
        if (low, high) != (sp.Integer(0), sp.Symbol("G")):
            window = rf"\;;\; {self._print(low)} \le K \le {self._print(high)}"
        return rf"\mathrm{{E}}\left[{self._print(body)}{window}\right]" + _power(exp)

    def _print_BetaMean(self, e: Any, exp: Any = None) -> str:
        body, p, a, b = e.args
        law = rf"{self._print(p)} \sim \mathrm{{Beta}}({self._print(a)}, {self._print(b)})"
        return rf"\mathrm{{E}}_{{{law}}}\left[{self._print(body)}\right]" + _power(exp)

    def _print_PoissonMean(self, e: Any, exp: Any = None) -> str:
        body, n, rate = e.args
        law = rf"{self._print(n)} \sim \mathrm{{Poisson}}({self._print(rate)})"
        return rf"\mathrm{{E}}_{{{law}}}\left[{self._print(body)}\right]" + _power(exp)

    def _print_DefiniteIntegral(self, e: Any, exp: Any = None) -> str:
        body, x, low, high = map(self._print, e.args)
        text = rf"\int_{{{low}}}^{{{high}}} {body}\, d{x}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"

    def _print_Rounded(self, e: Any, exp: Any = None) -> str:
        x, bits = e.args
        return rf"\mathrm{{fl}}_{{{self._print(bits)}}}\left({self._print(x)}\right)" + _power(exp)

    def _print_SampleMean(self, e: Any, exp: Any = None) -> str:
        return rf"\mathrm{{E}}\left[{self._print(e.args[0])}\right]" + _power(exp)

    def _print_Slope(self, e: Any, exp: Any = None) -> str:
        body, var, at = map(self._print, e.args)
        return rf"\left.\frac{{d}}{{d{var}}}\left[{body}\right]\right|_{{{var} = {at}}}" + (
            "" if exp is None else rf"{{}}^{{{exp}}}"
        )

    def _print_Minimum(self, e: Any, exp: Any = None) -> str:
        return self._extreme(r"\min", e, exp)

    def _print_Maximum(self, e: Any, exp: Any = None) -> str:
        return self._extreme(r"\max", e, exp)

    def _extreme(self, name: str, e: Any, exp: Any) -> str:
        return rf"{name}\left({', '.join(map(self._print, e.args))}\right)" + _power(exp)

    def _print_Derivative(self, e: sp.Derivative) -> str:
        body, (var, _) = e.args
        return rf"\frac{{d}}{{d{self._print(var)}}}\left[{self._print(body)}\right]"


def _place(factor: sp.Expr) -> int:
    if factor.is_Number:
        return 0
    if factor.is_Symbol:
        name = factor.name
        return 6 if name.startswith(r"\Delta") else 5 if "(" in name else 1
    if isinstance(factor, sp.binomial | sp.factorial):
        return 2
    if factor.is_Pow and factor.exp.is_Rational and factor.exp.q == 2:
        return 4
    return 3 if factor.is_Add or factor.is_Pow else 6


def _power(exp: Any) -> str:
    return "" if exp is None else rf"^{{{exp}}}"


def tex(expr: Any) -> str:
    """One term, spelled out."""
    return str(_Printer().doprint(sp.sympify(expr)))


def function_name(name: str) -> str:
    """TeX of the name of an arbitrary function."""
    return _FUNCTIONS.get(
        name, name if len(name) == 1 else rf"\mathrm{{{name}}}".replace("_", r"\_")
    )


def relation(sign: str) -> str:
    return _RELATIONS[sign]


@dataclass(frozen=True)
class Abbreviations:
    """Short names for the definitions of one topic."""

    entries: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()

    def shorten(self, expr: Any) -> tuple[sp.Expr, tuple[sp.Symbol, ...]]:
        """The term with its abbreviations, and which of them occur; checked by undoing them."""
        original = short = sp.sympify(expr)
        used: list[sp.Symbol] = []
        for symbol, full in self.entries:
            if symbol in original.free_symbols:
                continue
            pattern, value = full, symbol
            if full.is_Pow and full.exp == sp.Rational(1, 2):
                pattern, value = full.base, symbol**2
            attempt = short.subs(pattern, value)
            if attempt != short:
                back = attempt.subs(symbol, full)
                for s, f in reversed([x for x in self.entries if x[0] in used]):
                    back = back.subs(s, f)
                if back == original:
                    short = attempt
                    used.append(symbol)
        return short, tuple(used)

    def definition(self, symbol: sp.Symbol) -> str:
        """``name = long form`` (itself shortened by the other names)."""
        full = dict(self.entries)[symbol]
        others = Abbreviations(tuple(e for e in self.entries if e[0] != symbol))
        short, _ = others.shorten(full)
        return f"{tex(symbol)} = {tex(short)}"

    def closure(self, used: tuple[sp.Symbol, ...]) -> tuple[sp.Symbol, ...]:
        """The used names, and those that their definitions mention, in a fixed order."""
        found: set[sp.Symbol] = set()
        todo = list(used)
        table = dict(self.entries)
        while todo:
            symbol = todo.pop()
            if symbol not in found:
                found.add(symbol)
                others = Abbreviations(tuple(e for e in self.entries if e[0] != symbol))
                todo += others.shorten(table[symbol])[1]
        return tuple(s for s, _ in self.entries if s in found)


@cache
def abbreviations(topic: str) -> Abbreviations:
    """What ``proofs.TOPIC.notation`` defines under a known name."""
    try:
        module = importlib.import_module(f"proofs.{topic}.notation")
    except ModuleNotFoundError:
        return Abbreviations()
    entries = []
    for name, shown in _NAMES:
        full = getattr(module, name, None)
        full = full() if isfunction(full) else full
        if isinstance(full, sp.Expr) and full.args:
            # √(σ²) must fold to σ, but √(μ(1−μ)) must not fall apart.
            root = full.is_Pow and full.exp == sp.Rational(1, 2)
            entries.append((sp.Symbol(shown, positive=True if root else None), full))
    names = [str(symbol) for symbol, _ in entries]
    if len(set(names)) != len(names):  # a reader could not tell which is meant
        raise ValueError(f"two definitions of {topic} have the same name")
    return Abbreviations(tuple(entries))
