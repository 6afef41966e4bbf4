"""Puts what is assumed about an array into every place where it occurs, with the rules for it."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.kernel.domain import Assumption
from proofs.kernel.rules import Assume, Termwise
from proofs.kernel.terms import peel
from proofs.kernel.theorem import Step

__all__ = ["assuming", "put_in"]


def assuming(term: sp.Expr, assumption: Assumption) -> tuple[sp.Expr, tuple[Any, ...]]:
    """The term with the assumed values in it, and the rules that lead there."""
    if not term.has(assumption.array):
        return term, ()
    if isinstance(term, sp.Indexed) and term.base == assumption.array:
        at = dict(zip(assumption.indices, term.indices, strict=True))
        return assumption.value.xreplace(at), (Assume(assumption.array, tuple(term.indices)),)
    if isinstance(term, sp.Sum):
        inner, var, low, high = peel(term)
        if high.has(assumption.array):  # a sum up to an entry: the entry is replaced throughout
            value, rules = assuming(high, assumption)
            return term.xreplace({high: value}), rules
        body, rules = assuming(inner, assumption)
        steps = (Step(assumption.meaning, "=", body, by=rules),)
        return sp.Sum(body, (var, low, high)), (Termwise(term, body, steps=steps),)
    parts, found = [], []
    for part in term.args:
        new, rules = assuming(part, assumption)
        parts.append(new)
        found += [rule for rule in rules if rule not in found]
    return term.func(*parts), tuple(found)


def put_in(term: sp.Expr, *assumptions: Assumption) -> tuple[tuple[Step, ...], sp.Expr]:
    """One step for each assumption that the term mentions, and the term that they lead to."""
    steps = []
    for assumption in assumptions:
        new, rules = assuming(term, assumption)
        if rules:
            steps.append(Step(assumption.meaning, "=", new, by=rules))
            term = new
    return tuple(steps), term
