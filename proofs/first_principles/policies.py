"""Exact policies: rational probabilities and derivatives, and expectations over every group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import compress, product
from math import comb, prod

from .definitions import (
    Method,
    Rewards,
    Vector,
    binary_rewards,
    combine,
    grpo_advantages,
    scaled,
    total_rational,
)
from .surds import Surd, sqrt, total

F = Fraction


@dataclass(frozen=True)
class Policy:
    """A distribution over finitely many responses at one θ, with its exact derivative there.

    ``probabilities[y]`` is π(y), ``gradients[y]`` is ∇π(y), ``correct[y]`` the verdict on y.
    """

    name: str
    probabilities: tuple[Fraction, ...]
    gradients: tuple[tuple[Fraction, ...], ...]
    correct: tuple[bool, ...]

    @classmethod
    def from_weights(
        cls,
        name: str,
        weights: Sequence[Fraction],
        weight_gradients: Sequence[Sequence[Fraction]],
        correct: Sequence[int],
    ) -> Policy:
        """π_y = w_y/Σw and ∇π_y by the quotient rule, for weights w_y(θ) > 0."""
        mass = total_rational(weights)
        mass_gradient = [total_rational(column) for column in zip(*weight_gradients, strict=True)]
        gradients = tuple(
            tuple((dw * mass - w * dm) / mass**2 for dw, dm in zip(row, mass_gradient, strict=True))
            for w, row in zip(weights, weight_gradients, strict=True)
        )
        probabilities = tuple(w / mass for w in weights)
        return cls(name, probabilities, gradients, tuple(map(bool, correct)))

    @classmethod
    def softmax(
        cls,
        name: str,
        features: Sequence[Sequence[int]],
        exp_theta: Sequence[Fraction],
        correct: Sequence[int],
    ) -> Policy:
        """The softmax of the logits Σ_j m_yj θ_j, at a θ whose exponentials are rational.

        The weight of y is Π_j (e^θ_j)^m_yj, and its derivative by θ_j is m_yj times itself.
        """
        weights = [
            prod((x**m for x, m in zip(exp_theta, row, strict=True)), start=Fraction(1))
            for row in features
        ]
        gradients = [[m * w for m in row] for w, row in zip(weights, features, strict=True)]
        return cls.from_weights(name, weights, gradients, correct)

    @classmethod
    def logit(cls, p: Fraction) -> Policy:
        """One prompt with a scalar logit θ: p = e^θ/(1 + e^θ), scores q and −p."""
        return cls.softmax(f"logit prompt with p={p}", [[1], [0]], [p / (1 - p)], [1, 0])

    @classmethod
    def polynomial(
        cls,
        name: str,
        coefficients: Sequence[Sequence[int]],
        theta: Fraction,
        correct: Sequence[int],
    ) -> Policy:
        """Weights Σ_n c_yn θ^n in one parameter, with derivative Σ_n n c_yn θ^(n−1)."""
        weights, gradients = [], []
        for row in coefficients:
            powers = [theta**n for n in range(len(row))]
            weights.append(total_rational(c * x for c, x in zip(row, powers, strict=True)))
            slopes = (
                n * c * x for n, c, x in zip(range(1, len(row)), row[1:], powers, strict=False)
            )
            gradients.append([total_rational(slopes)])
        return cls.from_weights(name, weights, gradients, correct)

    @property
    def scores(self) -> tuple[tuple[Fraction, ...], ...]:
        """s_y = ∇ log π(y) = ∇π(y)/π(y)."""
        return tuple(
            tuple(d / pi for d in row)
            for pi, row in zip(self.probabilities, self.gradients, strict=True)
        )

    @property
    def p(self) -> Fraction:
        """The success probability: the sum of π over the correct responses."""
        return total_rational(compress(self.probabilities, self.correct))

    @property
    def p_gradient(self) -> tuple[Fraction, ...]:
        """∇p: the sum of ∇π over the correct responses."""
        rows = compress(self.gradients, self.correct)
        return tuple(total_rational(column) for column in zip(*rows, strict=True))

    def groups(self, size: int) -> Iterator[tuple[Fraction, tuple[int, ...]]]:
        """All tuples of `size` responses with their probabilities under independent sampling."""
        for group in product(range(len(self.probabilities)), repeat=size):
            yield prod((self.probabilities[y] for y in group), start=Fraction(1)), group

    def rewards(self, group: tuple[int, ...]) -> Rewards:
        """The 0/1 rewards of the responses of a group."""
        return tuple(Fraction(self.correct[y]) for y in group)


def keep_all(rewards: Rewards) -> bool:
    """Use every group."""
    return True


def expected_update(
    policy: Policy, group_size: int, method: Method, keep: Callable[[Rewards], bool] = keep_all
) -> Vector:
    """E[(1/G) Σ A_i s_i | group kept], summed over every tuple of responses.

    The score of a response y has the coefficient Σ_groups P(group) Σ_{i: y_i = y} A_i / G.
    """
    advantages = {r: method(r) for r in binary_rewards(group_size) if keep(r)}
    coefficients: list[list[Surd]] = [[] for _ in policy.scores]
    mass = Fraction(0)
    for probability, group in policy.groups(group_size):
        rewards = policy.rewards(group)
        if rewards in advantages:
            mass += probability
            for y, advantage in zip(group, advantages[rewards], strict=True):
                coefficients[y].append(advantage * probability)
    return scaled(1 / (group_size * mass), combine(map(total, coefficients), policy.scores))


def expected_value(
    group_size: int, p: Fraction, statistic: Callable[[Rewards], Surd | Fraction]
) -> Surd:
    """E[statistic(R)] over all 2^G reward vectors of independent rewards with P(R = 1) = p."""
    return total(
        statistic(rewards) * prod((p if r else 1 - p for r in rewards), start=F(1))
        for rewards in binary_rewards(group_size)
    )


@cache
def enumerated_weight(group_size: int, p: Fraction, method: Method = grpo_advantages) -> Surd:
    """E[g]/p′ of the scalar logit prompt, over all 2^G groups."""
    policy = Policy.logit(p)
    (update,) = expected_update(policy, group_size, method)
    return update / policy.p_gradient[0]


def binomial(n: int, p: Fraction) -> list[Fraction]:
    """The probabilities of B(n, p), k = 0..n."""
    return [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def grpo_weight_formula(group_size: int, p: Fraction) -> Surd:
    """E_B[√((G−1−B)/(1+B)) + √(B/(G−B))], B ~ B(G−1, p)."""
    return total(
        (sqrt(F(group_size - 1 - b, 1 + b)) + sqrt(F(b, group_size - b))) * mass
        for b, mass in enumerate(binomial(group_size - 1, p))
    )


def mixed_mass(group_size: int, p: Fraction) -> Fraction:
    """1 − p^G − q^G."""
    return 1 - p**group_size - (1 - p) ** group_size


# --- what the checks enumerate -------------------------------------------------------------------

POLICIES = (
    Policy.softmax("3-way softmax", [[1, 0], [0, 1], [0, 0]], [F(1, 2), F(3)], [1, 0, 0]),
    Policy.softmax(
        "4-way softmax", [[1, 0], [0, 1], [1, -1], [0, 0]], [F(3, 2), F(2, 3)], [1, 0, 1, 0]
    ),
    Policy.polynomial(
        "5 polynomial weights",
        [[1, 1], [2, 0, 1], [1, 0, 3], [3, 1], [1, 2]],
        F(1, 2),
        [1, 0, 1, 0, 0],
    ),
)
SIZES = (5, 4, 3)
GRID = (F(1, 20), F(1, 3), F(1, 2), F(3, 4))


def cases() -> Iterator[tuple[Policy, int]]:
    """Every policy with every group size, from 2, at which it is enumerated."""
    for policy, largest in zip(POLICIES, SIZES, strict=True):
        for group_size in range(2, largest + 1):
            yield policy, group_size
