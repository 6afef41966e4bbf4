"""Exact rational points of a domain, drawn by the kernel: no author chooses where it looks.

Samples are no proof. They are a second look, independent of the prover, so they go where a
mistake would show: corners, values far out, and integers that the statement itself mentions.
Where an author names the points that can be evaluated, those and the whole interval are drawn.
"""

from __future__ import annotations

import random
from typing import Any

import sympy as sp
from flint import fmpq

from proofs.kernel.domain import (
    Array,
    Assumption,
    D,
    Domain,
    Draws,
    Group,
    Integer,
    Point,
    Real,
    exact,
)
from proofs.kernel.errors import UndefinedValue
from proofs.kernel.semantics import evaluate

__all__ = ["draw"]


def draw(
    domain: Domain,
    rng: random.Random,
    corner: bool,
    near: tuple[int, ...] = (),
    anywhere: bool = False,
) -> Point | None:
    """One point, or None if the draw left the domain; the caller checks that it is inside."""
    point: Point = {}
    for d in domain.declarations:
        try:
            if isinstance(d, Integer):
                value = _integer(domain, d, point, rng, corner, near)
                if value is None:
                    return None
                point[d.symbol] = fmpq(value)
            elif isinstance(d, Real):
                point[d.symbol] = _real(d, point, rng, corner, anywhere)
            elif isinstance(d, Group):
                _group(d, point, rng)
            elif isinstance(d, Array):
                point[d.base] = _array(d, point, rng, corner, anywhere)
            elif isinstance(d, Assumption):
                point[d.array] = _assumed(domain, d, point)
            elif isinstance(d, Draws):
                point["draws"] = d
            else:
                point[d.function] = _arbitrary(rng.random())
        except (UndefinedValue, TypeError):
            return None
    return point


def _integer(
    domain: Domain,
    d: Integer,
    point: Point,
    rng: random.Random,
    corner: bool,
    near: tuple[int, ...],
) -> int | None:
    first = -int((-exact(evaluate(sp.sympify(d.low), point))).floor())
    last = first + _spread(domain, d)
    if d.high is not None:
        last = int(exact(evaluate(sp.sympify(d.high), point)).floor())
    if last < first:
        return None
    if near and not _is_enumerated(domain, d) and rng.random() < 0.15:
        value = rng.choice(near) + rng.randint(-1, 1)
        if value >= first and (d.high is None or value <= last):
            return value
    ends = corner and rng.random() < 0.5
    return rng.choice((first, last)) if ends else rng.randint(first, last)


def _spread(domain: Domain, d: Integer) -> int:
    """At least ten values; fewer only where a sample enumerates all groups, or sums over arrays."""
    group = domain.group
    if _is_enumerated(domain, d):
        return 2
    if group is None or group.success is None:
        is_size = d.symbol in domain.sizes and domain.arrays
        return min(max(d.spread, 4), 5) if is_size else max(d.spread, 9)
    # A noisy verifier has four kinds of rollout instead of two.
    return max(2, min(d.spread, 9)) if group.flip is None else 2


def _is_enumerated(domain: Domain, d: Integer) -> bool:
    """Whether it is the number of draws, or of what is drawn from."""
    draws = domain.draws
    return draws is not None and d.symbol in (draws.size, *domain.arrays[draws.law].shape)


def _far(rng: random.Random) -> int:
    """A factor that is 1 most of the time: a bound such as x ≤ 1000 must not go unnoticed."""
    return 10 ** rng.randint(2, 9) if rng.random() < 0.1 else 1


def _real(d: Real, point: Point, rng: random.Random, corner: bool, anywhere: bool) -> fmpq:
    if d.samples and not anywhere:
        return exact(sp.sympify(rng.choice(d.samples)))
    u = fmpq(rng.randint(1, 96), 97)
    if corner:
        u = rng.choice((fmpq(0), fmpq(1), fmpq(1, 10**6), 1 - fmpq(1, 10**6), fmpq(1, 2)))
    low = None if d.low is None else exact(evaluate(sp.sympify(d.low), point))
    high = None if d.high is None else exact(evaluate(sp.sympify(d.high), point))
    if low is not None and high is not None:
        return low + (high - low) * u
    stretch = u * rng.choice((1, 5, 100)) * _far(rng)
    if low is not None:
        return low + stretch
    if high is not None:
        return high - stretch
    return stretch * rng.choice((1, -1))


def _group(d: Group, point: Point, rng: random.Random) -> None:
    dimension = int(exact(point[D]).p)
    point["group"] = d
    if d.success is not None:
        if d.slope is not None:
            point[d.slope] = [fmpq(rng.randint(-20, 20), 7) * _far(rng) for _ in range(dimension)]
        return
    size = int(exact(point[d.size]).p)
    if d.correct is not None:
        k = int(exact(point[d.correct]).p)
        rewards = [fmpq(1)] * k + [fmpq(0)] * (size - k)
        rng.shuffle(rewards)
    elif rng.random() < 0.3:
        rewards = [fmpq(rng.randint(0, 1)) for _ in range(size)]
    else:
        far = _far(rng)
        rewards = [fmpq(rng.randint(-30, 30), rng.choice((1, 3, 7))) * far for _ in range(size)]
    far = _far(rng)
    point[d.rewards] = rewards
    point[d.scores] = [
        [fmpq(rng.randint(-50, 50), rng.choice((1, 3, 11))) * far for _ in range(dimension)]
        for _ in range(size)
    ]


def _arbitrary(salt: float) -> Any:
    """A reproducible 'arbitrary' function of an integer, with a memory-free definition."""
    far = _far(random.Random(salt))

    def value(n: int) -> fmpq:
        rng = random.Random(f"{salt}:{n}")
        return fmpq(rng.randint(-60, 60), rng.choice((1, 2, 7))) * far

    return value


def _array(d: Array, point: Point, rng: random.Random, corner: bool, anywhere: bool) -> Any:
    low, high, open_low, open_high = d.bounds
    entry = Real(sp.Symbol("_entry"), low, high, open_low, open_high, d.samples)

    def number() -> fmpq:
        if not d.integer:
            return _real(entry, point, rng, corner and rng.random() < 0.3, anywhere)
        first = None if low is None else -int((-exact(evaluate(low, point))).floor())
        last = None if high is None else int(exact(evaluate(high, point)).floor())
        if first is None:
            first = -9 if last is None else last - 9
        last = first + 9 if last is None else last
        return fmpq(rng.randint(first, max(first, last)))

    def part(sizes: list[int]) -> Any:
        if sizes:
            if d.law and len(sizes) == 1:
                weights = [fmpq(rng.randint(1, 30)) for _ in range(sizes[0])]
                return [w / sum(weights, fmpq(0)) for w in weights]
            if corner and rng.random() < 0.2:
                return [part(sizes[1:])] * sizes[0]  # all alike
            return [part(sizes[1:]) for _ in range(sizes[0])]
        return number()

    return part([int(exact(point[n]).p) for n in d.shape])


def _assumed(domain: Domain, d: Assumption, point: Point) -> Any:
    """The array that the assumption describes."""

    def part(at: list[int], sizes: list[int]) -> Any:
        if sizes:
            return [part([*at, n], sizes[1:]) for n in range(1, sizes[0] + 1)]
        here = {**point, **dict(zip(d.indices, map(fmpq, at), strict=True))}
        return exact(evaluate(d.value, here))

    return part([], [int(exact(point[n]).p) for n in domain.arrays[d.array].shape])
