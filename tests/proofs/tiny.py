"""Small theorems for tests of the ledger, the lock and the commands."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.kernel.domain import Domain, Integer
from proofs.kernel.rules import Instance
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Refutation, Step, Theorem

n = sp.Symbol("n")
naturals = Domain(Integer(n, 1))
square = Claim((n + 1) ** 2, "=", n**2 + 2 * n + 1)
too_small = Claim(n**2, "<=", n)
MUTANTS = (
    Mutant("one more", "square", rhs=n**2 + 2 * n + 2),
    Mutant("one less", "square", rhs=n**2 + 2 * n),
)


def one_case() -> int:
    assert (1 + 1) ** 2 == 4
    return 1


def true(name: str = "tiny.true", **changes: Any) -> Theorem:
    """(n + 1)² = n² + 2n + 1."""
    by = tuple(Instance(used, "square") for used in changes.get("uses", ()))
    claim = changes.pop("claim", square)
    fields = {
        "title": "A square",
        "words": "(n + 1)² = n² + 2n + 1 for integers n ≥ 1.",
        "clauses": (
            Clause("square", naturals, claim, Chain((Step("expand", "=", claim.rhs, by),))),
        ),
        "mutants": MUTANTS,
        "check": one_case,
    }
    return Theorem(name, **{**fields, **changes})


def false(name: str = "tiny.false", **changes: Any) -> Theorem:
    """The kernel must leave this open."""
    return true(name, claim=Claim((n + 1) ** 2, "=", n**2 + 2 * n), **changes)


def refuted(name: str = "tiny.refuted", **changes: Any) -> Theorem:
    """n² ≤ n is false at n = 2."""
    fields = {
        "title": "Not a bound",
        "words": "n² ≤ n is false at n = 2.",
        "refutes": (Refutation("bound", naturals, too_small, ((n, 2),)),),
        "mutants": (
            Mutant("half of it", "bound", rhs=n / 2),
            Mutant("strict", "bound", relation="<"),
        ),
        "corrected_by": ("tiny.true",),
        "check": one_case,
    }
    return Theorem(name, **{**fields, **changes})
