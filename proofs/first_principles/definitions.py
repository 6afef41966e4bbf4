"""The algorithms as their papers define them, written naively and evaluated exactly.

Nothing here is simplified: a mean is a sum over a group divided by its size, an expectation is a
sum over every tuple of responses.  Rewards and probabilities are rational, advantages are surds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import TypeAlias

from .surds import Rational, Surd, as_surd, sqrt, total

Rewards: TypeAlias = tuple[Fraction, ...]
Scores: TypeAlias = Sequence[Sequence[Rational]]
Vector: TypeAlias = tuple[Surd, ...]
Method: TypeAlias = Callable[[Rewards], Vector]
Weight: TypeAlias = Callable[[int, Fraction], Surd]  # a closed form W_G(p), called with (G, p)


class FirstPrinciplesError(AssertionError):
    """A claim fails at an explicit case; the message is that witness."""


class Count:
    """Counts exact cases, and stops at the first one that fails."""

    def __init__(self) -> None:
        self.cases = 0

    def true(self, holds: bool, claim: str, **witness: object) -> None:
        """Count one case, and raise with the witness if the claim does not hold there."""
        self.cases += 1
        if not holds:
            at = ", ".join(f"{name}={_show(value)}" for name, value in witness.items())
            raise FirstPrinciplesError(f"{claim} fails at {at}")

    def equal(self, found: object, claimed: object, claim: str, **witness: object) -> None:
        """Count one case: an exact equality."""
        self.true(found == claimed, claim, **witness, found=found, claimed=claimed)


def total_rational(values: Iterable[Rational]) -> Fraction:
    """The sum of rational numbers; 0 for none."""
    return Fraction(sum(values))


def _show(value: object) -> str:
    """Write numbers, and tuples of numbers, without their constructors."""
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_show, value)) + ")"
    return str(value)


# --- one group ---------------------------------------------------------------------------------


def mean(values: Sequence[Fraction]) -> Fraction:
    """The arithmetic mean μ."""
    return total_rational(values) / len(values)


def std(rewards: Rewards, ddof: int = 0) -> Surd:
    """The standard deviation: σ for ddof 0, Bessel's t for ddof 1."""
    centre = mean(rewards)
    return sqrt(total_rational((r - centre) ** 2 for r in rewards) / (len(rewards) - ddof))


def others(rewards: Rewards, i: int) -> Rewards:
    """The rewards of the group without rollout i."""
    return rewards[:i] + rewards[i + 1 :]


def grpo_advantages(rewards: Rewards, *, ddof: int = 0, eps: Rational = 0) -> Vector:
    """GRPO: A_i = (R_i − μ)/(std + ε); all zero, by convention at ε = 0, when std = 0."""
    scale = std(rewards, ddof)
    if not scale:
        return (Surd(0),) * len(rewards)
    inverse = (scale + eps).inverse()
    return tuple(inverse * (r - mean(rewards)) for r in rewards)


def dr_grpo_advantages(rewards: Rewards) -> Vector:
    """Dr. GRPO: A_i = R_i − μ."""
    return tuple(Surd(r - mean(rewards)) for r in rewards)


def rloo_advantages(rewards: Rewards) -> Vector:
    """RLOO: A_i = R_i − b_i with b_i the mean of the other rewards."""
    return tuple(Surd(r - mean(others(rewards, i))) for i, r in enumerate(rewards))


def loo_std_advantages(rewards: Rewards) -> Vector:
    """Leave-one-out standardisation: (R_i − mean of the others)/(Bessel's std of the others).

    A rollout whose others have no spread is left unscaled (divided by 1).
    """
    scales = (std(others(rewards, i), ddof=1) for i in range(len(rewards)))
    return tuple(a / (t if t else 1) for a, t in zip(rloo_advantages(rewards), scales, strict=True))


def best_minus_second_advantages(rewards: Rewards) -> Vector:
    """Pass@k, summed over the group: r_max − r_second for the best rollout, 0 for the rest."""
    first, second = sorted(rewards, reverse=True)[:2]
    best = rewards.index(first)
    return tuple(Surd(first - second if i == best else 0) for i in range(len(rewards)))


def success_mean_advantages(rewards: Rewards) -> Vector:
    """MaxRL, summed over the group: 1/k for each of the k successes, all zero when k = 0."""
    k = total_rational(rewards)
    return tuple(Surd(r / k if k else 0) for r in rewards)


def is_mixed(rewards: Rewards) -> bool:
    """DAPO's filter keeps the groups whose rewards are not all equal."""
    return len(set(rewards)) > 1


def combine(coefficients: Iterable[Surd | Rational], vectors: Scores) -> Vector:
    """Σ c_i v_i, coordinate by coordinate."""
    weights = tuple(coefficients)
    return tuple(
        total(c * v for c, v in zip(weights, column, strict=True) if v)
        for column in zip(*vectors, strict=True)
    )


def group_update(advantages: Vector, scores: Scores) -> Vector:
    """g = (1/G) Σ A_i s_i."""
    return combine((a * Fraction(1, len(scores)) for a in advantages), scores)


def scaled(factor: Surd | Rational, vector: Iterable[Surd | Rational]) -> Vector:
    """The vector times a number."""
    return tuple(as_surd(factor) * v for v in vector)


def binary_rewards(group_size: int) -> Iterator[Rewards]:
    """All 2^G vectors of rewards 0 and 1."""
    return product((Fraction(0), Fraction(1)), repeat=group_size)
