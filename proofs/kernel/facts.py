"""Facts of the literature that the kernel believes; every use makes a theorem's grade 'cited'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs.kernel.terms import PoissonMean

__all__ = ["FACTS", "LiteratureFact"]


@dataclass(frozen=True)
class LiteratureFact:
    name: str
    reference: str
    words: str
    variables: tuple[Any, ...]
    integers: tuple[Any, ...]
    positive: tuple[Any, ...]
    lhs: Any
    relation: str
    rhs: Any
    nonnegative: tuple[Any, ...] = ()


_k, _m, _n, _p = sp.symbols("k m n p")
_binomial_root = sp.Sum(
    sp.binomial(_n, _k) * _p**_k * (1 - _p) ** (_n - _k) * sp.sqrt(_k), (_k, 0, _n)
)
_poisson_root = PoissonMean(sp.sqrt(_m), _m, _n * _p)
_coupling = (
    "For f with |f(k+1) − f(k)| ≤ 1, |E f(Binomial(n, p)) − E f(Poisson(np))| ≤ n p². Couple each "
    "Bernoulli(p) X with a Poisson(p) N so that X = 0 implies N = 0: E|X − N| = 2(e^(−p) − 1 + p) "
    "≤ p². Here f(k) = √k."
)


def _fact(name: str, lhs: sp.Expr, rhs: sp.Expr) -> LiteratureFact:
    return LiteratureFact(
        name=name,
        reference="Le Cam 1960, Pacific J. Math. 10 (coupling of Bernoulli and Poisson)",
        words=_coupling,
        variables=(_n, _p),
        integers=(_n,),
        positive=(_n, _p, 1 - _p),
        lhs=lhs,
        relation="<=",
        rhs=rhs,
    )


_x, _y = sp.symbols("x y")
_elementary = (
    LiteratureFact(
        name="exponential-tangent",
        reference="convexity of exp: e^x lies above its tangent at 0 (any textbook)",
        words="For real x, 1 + x ≤ e^x.",
        variables=(_x,),
        integers=(),
        positive=(),
        lhs=1 + _x,
        relation="<=",
        rhs=sp.exp(_x),
    ),
    LiteratureFact(
        name="exponential-increasing",
        reference="exp is increasing (any textbook)",
        words="For real x, y, (x − y)(e^x − e^y) ≥ 0.",
        variables=(_x, _y),
        integers=(),
        positive=(),
        lhs=sp.Integer(0),
        relation="<=",
        rhs=(_x - _y) * (sp.exp(_x) - sp.exp(_y)),
    ),
    LiteratureFact(
        name="bernoulli",
        reference="Bernoulli's inequality for real exponents (Hardy, Littlewood, Pólya, §2.15)",
        words="For x > 0 and 0 ≤ y ≤ 1, x^y ≤ 1 + y(x − 1).",
        variables=(_x, _y),
        integers=(),
        positive=(_x,),
        lhs=_x**_y,
        relation="<=",
        rhs=1 + _y * (_x - 1),
        nonnegative=(_y, 1 - _y),
    ),
)


FACTS: dict[str, LiteratureFact] = {
    f.name: f
    for f in (
        _fact("poisson-root-above", _binomial_root, _poisson_root + _n * _p**2),
        _fact("poisson-root-below", _poisson_root - _n * _p**2, _binomial_root),
        *_elementary,
    )
}
