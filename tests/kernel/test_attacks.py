"""Attacks that once made the kernel accept something false, kept as regression tests.

Each attack is a derivation of a false (or meaningless) statement from the public rules, found by
a reviewer who had not written the kernel. Correct behaviour is to refuse it: at the latest when
the derivation is checked, or earlier, when a term or a domain is built.
"""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import sympy as sp
from flint import arb

from proofs.groups.notation import G, R, d, i, j, k, s, total
from proofs.kernel.check import check_theorem
from proofs.kernel.domain import SCORES, Domain, Group, Integer, Real, Table
from proofs.kernel.errors import ProofError, UndefinedValue
from proofs.kernel.rules import (
    Ball,
    BetaIntegral,
    BinomialMoments,
    Context,
    Differentiate,
    DropTerms,
    Hypothesis,
    Instance,
    Linear,
    Nonnegative,
    Reverse,
    Shift,
    Split,
    Square,
    Termwise,
    Tower,
    Unroll,
)
from proofs.kernel.semantics import compare, evaluate
from proofs.kernel.terms import BetaMean, PoissonMean, RolloutMean
from proofs.kernel.theorem import (
    Cases,
    Chain,
    Claim,
    Clause,
    Induction,
    Mutant,
    Refutation,
    Step,
    Theorem,
    check_proof,
)
from tests.kernel.test_refuses_false import Statement, undefined_statements

REFUSALS = (ProofError, ArithmeticError, TypeError, ValueError, AttributeError, LookupError)

a, n, m, p, q, t, x, y, z = sp.symbols("a n m p q t x y z")
half = sp.Rational(1, 2)
f, F = sp.Function("f"), sp.Function("F")
slope = sp.IndexedBase("g")
no_variables = Domain()
real = Domain(Real(x))
naturals = Domain(Integer(n, 0))
counted = Domain(Integer(G, 2), Integer(k, 0, G), *SCORES, Group(G, correct=k))
random_group = Domain(Integer(G, 2), Real(p, 0, 1), *SCORES, Group(G, success=p, slope=slope))
hidden_zero = (n + 1) ** 2 - n**2 - 2 * n - 1  # SymPy does not see that this is 0

ATTACKS: list[Any] = []


def attack(title: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def keep(function: Callable[[], Any]) -> Callable[[], Any]:
        ATTACKS.append(pytest.param(function, id=title))
        return function

    return keep


@pytest.mark.parametrize("derive", ATTACKS_LATE := ATTACKS)
def test_the_attack_is_refused(derive: Callable[[], Any]) -> None:
    with pytest.raises(REFUSALS):
        derive()
