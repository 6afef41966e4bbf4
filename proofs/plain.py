"""Terms as text for a terminal, one line each: ``Σ_{i=1..G} (R[i] − μ)·s[i,d] / (G·σ)``.

SymPy's two-dimensional output needs 25 lines for a standard deviation; on one line, with names
for the terms that a topic's notation names, the same formula can be read. Display only: nothing
that is decided depends on this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp
from sympy.printing.pretty.pretty_symbology import greek_unicode

from proofs.kernel.terms import (
    BetaMean,
    DefiniteIntegral,
    PoissonMean,
    RolloutMean,
    Rounded,
    SampleMean,
    Slope,
    canonical,
)

__all__ = ["Plain", "shown_symbol"]

SUM, PRODUCT, POWER, ATOM = range(4)  # how tightly a text binds
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
RELATIONS = {"=": "=", "<=": "≤", "<": "<"}
HALF = sp.Rational(1, 2)


class Plain:
    """A printer that knows names for some terms and notes which of them it used."""

    def __init__(self, names: Mapping[sp.Expr, str] | None = None) -> None:
        self.names = {canonical(term): name for term, name in (names or {}).items()}
        self.used: dict[str, sp.Expr] = {}

    def text(self, term: sp.Expr) -> str:
        return self._print(sp.sympify(term))[0]

    def claim(self, claim: Any) -> str:
        return f"{self.text(claim.lhs)} {RELATIONS[claim.relation]} {self.text(claim.rhs)}"

    def definitions(self) -> list[tuple[str, str]]:
        """The names used so far, with their meaning; those names may use further ones."""
        shown: dict[str, str] = {}
        while set(self.used) - set(shown):
            for name in sorted(set(self.used) - set(shown)):
                meaning = self.used[name]
                all_names = self.names
                self.names = {t: n for t, n in all_names.items() if n != name}
                shown[name] = self._structure(meaning)[0]
                self.names = all_names
        return list(shown.items())

    def _print(self, e: sp.Expr) -> tuple[str, int]:
        name = self._name(e)
        if name is not None:
            return name, ATOM
        root = self._name(e**HALF) if e.is_Add or e.is_Mul else None
        return (f"{root}²", POWER) if root is not None else self._structure(e)

    def _name(self, e: sp.Expr) -> str | None:
        if not e.args or isinstance(e, sp.Indexed):
            return None
        try:
            name = self.names.get(canonical(e))
        except NotImplementedError:  # a sum with two indices at once
            return None
        if name is not None:
            self.used.setdefault(name, e)
        return name

    def _at(self, e: sp.Expr, level: int) -> str:
        """The text, in parentheses if it binds less tightly than asked."""
        text, binds = self._print(e)
        return text if binds >= level else f"({text})"

    def _structure(self, e: sp.Expr) -> tuple[str, int]:
        if isinstance(e, sp.Symbol):
            return shown_symbol(e), ATOM
        if e.is_Rational:
            text = str(e).replace("-", "−")
            return text, SUM if e < 0 else ATOM if e.is_Integer else PRODUCT
        if e.is_Add:
            return self._add(e), SUM
        if e.is_Mul:
            return self._product(e)
        if e.is_Pow:
            return self._power(e)
        if isinstance(e, sp.Indexed):
            return f"{e.base}[{','.join(map(self._index, e.indices))}]", ATOM
        if isinstance(e, sp.Sum | sp.Product):
            sign = "Σ" if isinstance(e, sp.Sum) else "Π"
            text = self._at(e.function, PRODUCT)
            for var, low, high in e.limits:
                text = f"{sign}_{{{shown_symbol(var)}={self.text(low)}..{self.text(high)}}} {text}"
            return text, SUM
        if isinstance(e, sp.factorial):
            return f"{self._at(e.args[0], ATOM)}!", POWER
        if isinstance(e, sp.Derivative):
            body, (var, _) = e.args
            return f"d/d{shown_symbol(var)} {self._at(body, PRODUCT)}", PRODUCT
        return self._function(e)

    def _index(self, e: sp.Expr) -> str:
        return self.text(e).replace(" ", "")

    def _add(self, e: sp.Expr) -> str:
        terms = sorted(e.as_ordered_terms(), key=lambda t: t.could_extract_minus_sign())
        text = ""
        for term in terms:
            negative = bool(term.is_Rational and term < 0) or (
                term.is_Mul and bool(term.args[0].is_Rational) and term.args[0] < 0
            )
            shown = self._at(-term if negative else term, PRODUCT if text or negative else SUM)
            if text:
                text += (" − " if negative else " + ") + shown
            else:
                text = "−" + shown if negative else shown
        return text

    def _product(self, e: sp.Expr) -> tuple[str, int]:
        above: list[sp.Expr] = []
        below: list[sp.Expr] = []
        sign = ""
        for factor in e.args:
            if factor.is_Rational:
                sign = ("" if sign else "−") if factor < 0 else sign
                above += [sp.Integer(abs(factor.p))] if abs(factor.p) != 1 else []
                below += [sp.Integer(factor.q)] if factor.q != 1 else []
            elif factor.is_Pow and factor.exp.is_Rational and factor.exp < 0:
                below.append(factor.base ** (-factor.exp))
            else:
                above.append(factor)
        above.sort(key=lambda f: isinstance(f, sp.Sum))
        top = "·".join(self._at(f, POWER) for f in above) or "1"
        if not below:
            return sign + top, SUM if sign else PRODUCT
        bottom = "·".join(self._at(f, POWER) for f in below)
        if len(below) > 1:
            bottom = f"({bottom})"
        return f"{sign}{top}/{bottom}", SUM if sign else PRODUCT

    def _power(self, e: sp.Expr) -> tuple[str, int]:
        base, exponent = e.base, e.exp
        if exponent.is_Rational and exponent < 0:
            return f"1/{self._at(base ** (-exponent), POWER)}", PRODUCT
        if exponent.is_Rational and exponent.q == 2:
            name = self._name(base**HALF)
            root = name if name is not None else f"√{self._at(base, ATOM)}"
            return (root, POWER) if exponent == HALF else (root + _raised(exponent.p), POWER)
        if exponent.is_Integer:
            return self._at(base, ATOM) + _raised(exponent.p), POWER
        return f"{self._at(base, ATOM)}^{self._at(exponent, ATOM)}", POWER

    def _function(self, e: sp.Expr) -> tuple[str, int]:
        if isinstance(e, RolloutMean):
            body, low, high = map(self.text, e.args)
            return f"E[{body}; {low} ≤ K ≤ {high}]", ATOM
        if isinstance(e, BetaMean):
            body, var, a, b = map(self.text, e.args)
            return f"E[{body}; {var} ~ Beta({a}, {b})]", ATOM
        if isinstance(e, PoissonMean):
            body, var, rate = map(self.text, e.args)
            return f"E[{body}; {var} ~ Poisson({rate})]", ATOM
        if isinstance(e, DefiniteIntegral):
            body, var, low, high = map(self.text, e.args)
            return f"∫[{body}; {var} = {low} … {high}]", ATOM
        if isinstance(e, Rounded):
            body, bits = map(self.text, e.args)
            return f"round_{{{bits} bits}}({body})", ATOM
        if isinstance(e, SampleMean):
            return f"E[{self.text(e.args[0])}]", ATOM
        if isinstance(e, Slope):
            body, var, at = map(self.text, e.args)
            return f"d/d{var}[{body}] at {var} = {at}", SUM
        if e is sp.pi:
            return "π", ATOM
        if isinstance(e, sp.Function | sp.KroneckerDelta):
            short = {
                "Minimum": "min",
                "Maximum": "max",
                "binomial": "C",
                "beta": "B",
                "asin": "arcsin",
                "KroneckerDelta": "δ",
            }
            name = short.get(type(e).__name__, type(e).__name__)
            return f"{name}({', '.join(map(self.text, e.args))})", ATOM
        return str(e), SUM


def shown_symbol(e: sp.Symbol) -> str:
    return str(greek_unicode.get(e.name, e.name))


def _raised(power: int) -> str:
    return "" if power == 1 else str(power).translate(SUPERSCRIPTS)
