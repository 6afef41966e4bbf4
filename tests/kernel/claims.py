"""Short ways to write a claim, for tests of the kernel."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.kernel.theorem import Clause, Mutant, Step, Theorem


def step(relation: str, expr: Any, *by: Any) -> Step:
    return Step("step", relation, expr, by)


def theorem(*clauses: Clause, **parts: Any) -> Theorem:
    """A theorem of these clauses (or refutations), with mutants that are false of most claims."""
    name = (clauses[0] if clauses else parts["refutes"][0]).name
    mutants = (Mutant("a", name, lhs=sp.Integer(10**6)), Mutant("b", name, lhs=sp.Integer(10**7)))
    given = {"mutants": mutants, "check": lambda: 1, **parts}
    return Theorem("test.claim", "title", "words", clauses, **given)
