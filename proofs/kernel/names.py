"""What may be a name: a plain symbol that no reader can take for a formula, or for another name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import sympy as sp
from sympy.core.function import UndefinedFunction
from sympy.printing.conventions import split_super_sub
from sympy.printing.latex import accepted_latex_functions, modifier_dict

from proofs.kernel.errors import MalformedTheorem

__all__ = ["check_apart", "check_function", "check_name", "check_plain"]

NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*\Z")
# The language's own, and those that are typeset as known functions.
TAKEN = {
    *("Beta", "BetaMean", "Derivative", "KroneckerDelta", "PoissonMean", "RolloutMean"),
    *("DefiniteIntegral", "Integral", "Maximum", "Minimum", "Product", "SampleMean", "Slope"),
    *("Rounded", "Sum", "asin", "binomial", "e", "exp", "factorial", "inf", "oo", "pi"),
    *accepted_latex_functions,
}  # fmt: skip


def check_plain(symbol: Any) -> None:
    """Raise unless it is a symbol without assumptions."""
    if type(symbol) is not sp.Symbol:
        raise MalformedTheorem(f"{symbol!r} is not a plain symbol, as sympy.symbols makes them")
    if symbol != sp.Symbol(symbol.name):
        raise MalformedTheorem(f"{symbol} carries assumptions; types belong to the domain")


def check_name(symbol: Any) -> None:
    """Raise unless it is a plain symbol whose name reads as nothing but a name."""
    check_plain(symbol)
    name = symbol.name
    if not NAME.match(name) or name in TAKEN:
        raise MalformedTheorem(
            f"{name!r} is no name: an ASCII letter (sigma, not σ), then letters, digits and single "
            "underscores, and no name of the language"
        )
    for part in name.split("_"):  # SymPy typesets xabs as |x|, xhat with a hat
        decoration = next((m for m in modifier_dict if part.lower().endswith(m)), None)
        if decoration and part.lower() != decoration:
            apart = f"{part[: -len(decoration)]}_{part[-len(decoration) :]}"
            raise MalformedTheorem(
                f"{name!r} is no name: {decoration!r} would be typeset as a decoration; "
                f"write {name.replace(part, apart)}"
            )


def check_function(function: Any) -> None:
    """Raise unless the function is arbitrary: it has a name and nothing else.

    A class of one's own may be equal to ``sp.Function(name)`` and yet evaluate itself.
    """
    if type(function) is not UndefinedFunction:
        raise MalformedTheorem(f"{function} is not an arbitrary function")
    plain = sp.Function(function.__name__)
    same = function == plain and function.__bases__ == plain.__bases__
    if not same or dict(vars(function)) != dict(vars(plain)):
        raise MalformedTheorem(f"{function} carries assumptions; it is to be arbitrary")


def check_apart(symbols: Iterable[sp.Symbol], arrays: Iterable[sp.Symbol] = ()) -> None:
    """Raise if two names are one, or look alike in print, as x2 and x_2 do.

    ``arrays`` are those of the names that take indices: R_1 would look like an entry of R, and
    x_i like the i-th of many if i is a name.
    """
    seen: dict[str, sp.Symbol] = {}
    for symbol in symbols:
        printed = _look(symbol)
        if symbol == seen.get(printed):
            raise MalformedTheorem(f"the name {symbol} is declared twice")
        if printed in seen:
            raise MalformedTheorem(f"{symbol} and {seen[printed]} look the same in print")
        seen[printed] = symbol
    indexed = set(map(_look, arrays))
    for symbol in seen.values():
        base, _, subscripts = split_super_sub(symbol.name)
        if subscripts and _look(sp.Symbol(base)) in indexed:
            raise MalformedTheorem(f"{symbol} looks like an entry of {base}")
        if any(_look(sp.Symbol(part)) in seen for part in subscripts):
            raise MalformedTheorem(f"{symbol} looks as if it had an index")


def _look(symbol: sp.Symbol) -> str:
    """What a reader sees: no braces, no spaces; a Greek capital may be a Latin one."""
    return re.sub(r"\\mathrm|[{}\s]", "", sp.latex(symbol))
