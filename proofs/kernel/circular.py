"""Rules about sine and cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs.kernel.context import Context, Fact
from proofs.kernel.errors import ProofError

__all__ = ["AngleSum", "Complement", "Sine"]


@dataclass(frozen=True)
class AngleSum:
    """sin(x + y) = sin x cos y + cos x sin y, and cos(x + y) = cos x cos y − sin x sin y.

    ``function`` is "sin" or "cos".
    """

    function: str
    x: Any
    y: Any

    def prove(self, ctx: Context) -> Fact:
        x, y = ctx.term(self.x), ctx.term(self.y)
        if self.function == "sin":
            whole, parts = sp.sin(x + y), sp.sin(x) * sp.cos(y) + sp.cos(x) * sp.sin(y)
        elif self.function == "cos":
            whole, parts = sp.cos(x + y), sp.cos(x) * sp.cos(y) - sp.sin(x) * sp.sin(y)
        else:
            raise ProofError(f"the sum of angles is for sin and cos, not {self.function}")
        return ctx.admit(whole, "=", parts, "sum of angles")


@dataclass(frozen=True)
class Complement:
    """sin x = cos y, and cos x = sin y, for x + y = π/2. ``function`` is that of x."""

    function: str
    x: Any
    y: Any

    def prove(self, ctx: Context) -> Fact:
        x, y = ctx.term(self.x), ctx.term(self.y)
        ctx.require(ctx.zero(x + y - sp.pi / 2), f"{x} and {y} do not add up to a right angle")
        if self.function not in ("sin", "cos"):
            raise ProofError(f"complements are for sin and cos, not {self.function}")
        this, other = (sp.sin, sp.cos) if self.function == "sin" else (sp.cos, sp.sin)
        return ctx.admit(this(x), "=", other(y), "complementary angles")


@dataclass(frozen=True)
class Sine:
    """0 < sin x for 0 < x < π, and 0 ≤ sin x for 0 ≤ x ≤ π; of a cosine, cos x = sin(π/2 − x)."""

    angle: Any

    def prove(self, ctx: Context) -> Fact:
        x = ctx.term(self.angle)
        for gap in (x, sp.pi - x):
            ctx.require(ctx.nonnegative(gap), f"cannot show {gap} >= 0")
        inside = all(ctx.algebra.nonnegative(gap, strict=True) for gap in (x, sp.pi - x))
        return ctx.admit(0, "<" if inside else "<=", sp.sin(x), "sign of the sine")
