"""A strict reader of the TeX that the pages use: it accepts too little rather than too much."""

from __future__ import annotations

import re

__all__ = ["TexError", "check_tex"]

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}_^&]|\s+|[^\\{}_^&\s]", re.DOTALL)
ARGUMENTS = {"frac": 2, "binom": 2}
ARGUMENTS |= dict.fromkeys(("sqrt", "bar", "hat", "tilde", "mathbb", "mathcal", "mathsf"), 1)
WORDS = {"mathrm", "text", "mathit"}  # their argument is prose
SYMBOLS = set(
    re.findall(
        r"\w+",
        """
        sum int prod alpha beta gamma delta Delta epsilon varepsilon eta lambda mu nu pi sigma tau
        theta phi varphi psi xi omega ell kappa rho propto sin cos dot bar zeta
        nabla le ge leq geq ne neq in to cdot cdots ldots dots times infty log
        exp min max arcsin Pr quad qquad sim approx mid colon partial lfloor rfloor lceil rceil
        textstyle displaystyle pm iff forall exists
        """,
    )
)
DELIMITERS = set("()[].|") | {r"\{", r"\}", r"\lfloor", r"\rfloor", r"\lceil", r"\rceil", r"\|"}
SPACING = {"\\,", "\\;", "\\ ", "\\!", "\\:", "\\|", "\\{", "\\}"}


class TexError(ValueError):
    """The formula is not what a mathematician would write; the message says where."""


def check_tex(formula: str) -> None:
    """Raise unless every brace, \\left and argument has its partner and no program text is left."""
    for leftover in ("**", "Sum(", "sqrt(", "Mean", "Kronecker", "Indexed", "oo", "zoo", "nan"):
        if leftover in re.sub(r"\\(mathrm|text)\{[^{}]*\}", "", formula):
            raise TexError(f"{leftover!r} in {formula!r}")
    tokens = TOKEN.findall(formula)
    if "".join(tokens) != formula:
        raise TexError(f"stray backslash in {formula!r}")
    end = _Reader(tokens, formula).sequence(0, None)
    if end != len(tokens):
        raise TexError(f"unexpected {tokens[end]!r} in {formula!r}")


class _Reader:
    def __init__(self, tokens: list[str], formula: str) -> None:
        self.tokens = tokens
        self.formula = formula

    def fail(self, problem: str) -> TexError:
        return TexError(f"{problem} in {self.formula!r}")

    def at(self, n: int) -> str:
        return self.tokens[n] if n < len(self.tokens) else ""

    def space(self, n: int) -> int:
        while self.at(n).isspace():
            n += 1
        return n

    def sequence(self, n: int, closing: str | None) -> int:
        """Items up to ``closing`` (or the end); the position of what stopped it."""
        run = ""  # letters in a row: a long run is a word that escaped into mathematics
        while n < len(self.tokens):
            token = self.at(n)
            if token in ("}", r"\right"):
                break
            run = run + token if token.isalpha() and len(token) == 1 else ""
            if len(run) >= 6:
                raise self.fail(f"the word {run!r}")
            if token in ("_", "^"):
                raise self.fail(f"{token} without a base")
            n = self.item(n)
        if closing is not None and self.at(n) != closing:
            raise self.fail(f"no {closing}")
        return n

    def item(self, n: int) -> int:
        """One atom with its subscript and superscript."""
        n = self.atom(n)
        seen: set[str] = set()
        while True:
            m = self.space(n)
            token = self.at(m)
            if token not in ("_", "^"):
                return n
            if token in seen:
                raise self.fail(f"double {token}")
            seen.add(token)
            n = self.argument(m + 1)

    def argument(self, n: int) -> int:
        n = self.space(n)
        if self.at(n) in ("", "}", "_", "^", r"\right"):
            raise self.fail("a missing argument")
        return self.atom(n)

    def atom(self, n: int) -> int:
        token = self.at(n)
        if token == "{":
            return self.sequence(n + 1, "}") + 1
        if token == "&":
            raise self.fail("an alignment mark")
        if not token.startswith("\\"):
            return n + 1
        name = token[1:]
        if token in SPACING:
            return n + 1
        if name == "left":
            n = self.delimiter(n + 1)
            return self.delimiter(self.sequence(n, r"\right") + 1)
        if name in WORDS:
            if self.at(n + 1) != "{":
                raise self.fail(f"{token} without braces")
            close = n + 2
            while self.at(close) not in ("}", ""):
                if self.at(close) == "{":
                    raise self.fail(f"braces inside {token}")
                close += 1
            return close + 1
        if name in ARGUMENTS:
            n += 1
            if name == "sqrt" and self.at(n) == "[":
                n = self.tokens.index("]", n) + 1
            for _ in range(ARGUMENTS[name]):
                n = self.argument(n)
            return n
        if name not in SYMBOLS:
            raise self.fail(f"the unknown command {token}")
        return n + 1

    def delimiter(self, n: int) -> int:
        n = self.space(n)
        if self.at(n) not in DELIMITERS:
            raise self.fail(f"{self.at(n)!r} is no delimiter")
        return n + 1
