"""First-principles checks of the lemmas: exact fractions, no code of the derivations."""

from __future__ import annotations

from fractions import Fraction
from itertools import product


def score_means() -> int:
    """All policies w_y(θ)/Σw with small integer weights and slopes, all binary rewards.

    The means given the verdict are formed from the conditional probabilities π(y | verdict).
    """
    cases = 0
    for weights in product((1, 2, 5), repeat=3):
        for slopes in product((-2, 0, 3), repeat=3):
            Z, dZ = Fraction(sum(weights)), Fraction(sum(slopes))
            pi = [w / Z for w in weights]
            dpi = [v / Z - w * dZ / Z**2 for w, v in zip(weights, slopes, strict=True)]
            score = [d / x for d, x in zip(dpi, pi, strict=True)]
            if sum(x * s for x, s in zip(pi, score, strict=True)) != 0:
                raise AssertionError(f"mean score at {weights}, {slopes}")
            for rewards in product((0, 1), repeat=3):
                p = sum(x * r for x, r in zip(pi, rewards, strict=True))
                dp = sum(d * r for d, r in zip(dpi, rewards, strict=True))
                both = sum(x * s * r for x, s, r in zip(pi, score, rewards, strict=True))
                if both != dp:
                    raise AssertionError(f"gradient at {weights}, {slopes}, {rewards}")
                for verdict, share, claimed in ((1, p, dp), (0, 1 - p, -dp)):
                    if not share:
                        continue
                    given = [
                        x / share if r == verdict else 0 for x, r in zip(pi, rewards, strict=True)
                    ]
                    if sum(x * s for x, s in zip(given, score, strict=True)) != claimed / share:
                        raise AssertionError(f"mean score given {verdict} at {weights}, {rewards}")
                cases += 1
    return cases


def _grid() -> list[Fraction]:
    return [Fraction(j, 7) for j in range(1, 22)]


def power_order() -> int:
    cases = 0
    for x, a in product(_grid(), repeat=2):
        for n in range(1, 9):
            if (x < a) != (x**n < a**n):
                raise AssertionError(f"powers at {x}, {a}, {n}")
            cases += 1
    return cases


def tangent_line() -> int:
    cases = 0
    for x, a in product([Fraction(0), *_grid()], _grid()):
        for n in range(1, 9):
            if x**n < a**n + n * a ** (n - 1) * (x - a):
                raise AssertionError(f"tangent at {x}, {a}, {n}")
            cases += 1
    return cases


def mixed_share() -> int:
    """Enumerate all reward vectors; compare the bounds at each."""
    cases = 0
    for G in range(2, 9):
        for p in (Fraction(1, 9), Fraction(1, 3), Fraction(1, 2), Fraction(7, 8)):
            share = sum(
                (
                    p ** sum(r) * (1 - p) ** (G - sum(r))
                    for r in product((0, 1), repeat=G)
                    if 0 < sum(r) < G
                ),
                Fraction(0),
            )
            low = G * p * (1 - p) ** (G - 1)
            if share != 1 - p**G - (1 - p) ** G or share > G * p or share < low:
                raise AssertionError(f"mixed share at G = {G}, p = {p}")
            cases += 1
    return cases
