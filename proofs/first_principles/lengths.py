"""Aggregation over one group, enumerated: every outcome of small laws, token by token.

A response is the list of its tokens' gradients. Lengths are fourth powers where a fractional
exponent α, a multiple of 1/4, is to leave their powers rational.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from math import comb, prod
from typing import Any

from .definitions import Count, total_rational
from .surds import Surd, sqrt, total

F = Fraction
Numbers = Sequence[Fraction]
Space = Sequence[tuple[Fraction, Numbers]]  # probability and what happens
Moments = tuple[Fraction, Fraction]

HALF = F(1, 2)
EXPONENTS = tuple(F(n, 4) for n in (-4, 0, 2, 3, 4, 5))
ROOTS = (1, 2, 3)  # lengths 1, 16, 81


def dot(first: Numbers, second: Numbers) -> Fraction:
    """Σ x_i y_i."""
    return total_rational(a * b for a, b in zip(first, second, strict=True))


def expectation(space: Space, value: Callable[[Numbers], Fraction]) -> Fraction:
    """Σ over outcomes of probability times value."""
    return total_rational(chance * value(outcome) for chance, outcome in space)


def covariance(
    space: Space, first: Callable[[Numbers], Fraction], second: Callable[[Numbers], Fraction]
) -> Fraction:
    """E[(X − E X)(Y − E Y)]."""
    a, b = expectation(space, first), expectation(space, second)
    return expectation(space, lambda o: (first(o) - a) * (second(o) - b))


def entry(i: int) -> Callable[[Numbers], Fraction]:
    """The i-th number of an outcome."""
    return lambda outcome: outcome[i]


def spaces(size: int) -> Iterator[Space]:
    """Some laws of `size` dependent rational numbers, with three outcomes."""
    for seed in range(6):
        chances = (F(1, 6), F(seed + 1, 12), F(10 - seed - 1, 12))
        rows = [
            [F((3 * k + 5 * i * (seed + 1) + k * i * i) % 11 - 4, i + 2) for i in range(size)]
            for k in range(3)
        ]
        yield list(zip(chances, rows, strict=True))


def quadratic_form(x: Numbers, matrix: Sequence[Numbers]) -> Fraction:
    """xᵀCx."""
    return dot(x, [dot(row, x) for row in matrix])


def linear_moments(
    *, closed_form: Callable[[Numbers, Sequence[Numbers]], Fraction] = quadratic_form
) -> int:
    """Mean and variance of Σ x_i g_i by outcomes, and by means and covariances of the g_i."""
    count = Count()
    for size in (1, 2, 3, 4):
        for space in spaces(size):
            for shift in (0, 2, 5):
                x = [F((i * i + shift) % 7 - 3, 2) for i in range(size)]
                estimate = lambda g, x=x: dot(x, g)  # noqa: E731
                means = [expectation(space, entry(i)) for i in range(size)]
                matrix = [
                    [covariance(space, entry(i), entry(j)) for j in range(size)]
                    for i in range(size)
                ]
                count.equal(expectation(space, estimate), dot(x, means), "E Σxg = Σ x E g", x=x)
                found = covariance(space, estimate, estimate)
                count.equal(found, closed_form(x, matrix), "Var Σxg = xᵀCx", x=x)
                count.true(found >= 0, "Var ≥ 0", x=x)
    return count.cases


# --- given the lengths --------------------------------------------------------------------------


def length(root: int) -> int:
    """A length whose powers by multiples of 1/4 are rational."""
    return root**4


def power(root: int, exponent: Fraction) -> Fraction:
    """L^exponent for L = root⁴."""
    whole = 4 * exponent
    if whole.denominator != 1:
        raise ValueError(f"{exponent} is no multiple of 1/4")
    return F(root) ** int(whole)


def aggregate(
    method: str, roots: Sequence[int], g: Numbers, m: Fraction, alpha: Fraction
) -> Fraction:
    """A method on the tokens: response i has L_i tokens of gradient g_i/L_i each."""
    tokens = [(g_i / length(r), length(r)) for r, g_i in zip(roots, g, strict=True)]
    sums = [total_rational([each] * n) if n < 20 else each * n for each, n in tokens]
    if method == "grpo":
        return total_rational(s / n for s, (_, n) in zip(sums, tokens, strict=True)) / len(g)
    if method == "dapo":
        return total_rational(sums) / sum(n for _, n in tokens)
    if method == "dr-grpo":
        return total_rational(sums) / (len(g) * m)
    weights = [1 / power(r, alpha) for r in roots]
    return dot(weights, sums) / (m * total_rational(weights))


def signs(roots: Sequence[int], mean: Fraction, deviation: Fraction) -> Space:
    """Independent g_i = mean ± deviation·√L_i, each sign with probability 1/2."""
    outcomes = list(product((-1, 1), repeat=len(roots)))
    return [
        (
            F(1, len(outcomes)),
            [mean + s * deviation * r**2 for s, r in zip(row, roots, strict=True)],
        )
        for row in outcomes
    ]


def power_sum(roots: Sequence[int], exponent: Fraction) -> Fraction:
    """S(k) = Σ L^k."""
    return total_rational(power(r, exponent) for r in roots)


def table_row(
    method: str, roots: Sequence[int], mean: Fraction, v: Fraction, m: Fraction, alpha: Fraction
) -> Moments:
    """Mean and variance as the table has them."""
    size, one = len(roots), F(1)
    all_tokens, inverse = power_sum(roots, one), power_sum(roots, -one)
    if method == "grpo":
        return mean * inverse / size, v * inverse / size**2
    if method == "dapo":
        return size * mean / all_tokens, v / all_tokens
    if method == "dr-grpo":
        return mean / m, v * all_tokens / (size * m) ** 2
    least = power_sum(roots, 1 - 2 * alpha) / power_sum(roots, -alpha) ** 2
    return mean / m, v / m**2 * least


def groups_of_lengths() -> Iterator[tuple[int, ...]]:
    """All groups of one or two lengths 1, 16, 81, and of three lengths 1, 81."""
    for size in (1, 2):
        yield from product(ROOTS, repeat=size)
    yield from product((1, 3), repeat=3)


def table(*, closed_form: Callable[..., Moments] = table_row) -> int:
    """Every sign vector of g_i = J ± s√L_i: means, variances, relative noise of all methods."""
    count = Count()
    mean, deviation, m = F(3, 2), F(2, 3), F(100)
    for roots in groups_of_lengths():
        space = signs(roots, mean, deviation)
        noise: dict[str, Fraction] = {}
        for method, alpha in [
            ("grpo", F(1)),
            ("dapo", F(1)),
            ("dr-grpo", F(1)),
            *(("delta-l", a) for a in EXPONENTS),
        ]:
            estimate = lambda g, n=method, a=alpha, r=roots: aggregate(n, r, g, m, a)  # noqa: E731
            found = expectation(space, estimate), covariance(space, estimate, estimate)
            claimed = closed_form(method, roots, mean, deviation**2, m, alpha)
            count.equal(found, claimed, "mean and variance", method=method, L=roots, alpha=alpha)
            noise[f"{method} {alpha}"] = found[1] / found[0] ** 2
        count.equal(noise["delta-l 1"], noise["grpo 1"], "CV(ΔL, 1) = CV(GRPO)", L=roots)
        count.equal(noise["delta-l 0"], noise["dr-grpo 1"], "ΔL at 0 is Dr. GRPO", L=roots)
        count.equal(noise["dapo 1"], noise["dr-grpo 1"], "CV(DAPO) = CV(Dr. GRPO)", L=roots)
        order = (noise["grpo 1"] < noise["dapo 1"]) == (len(set(roots)) > 1)
        count.true(order and noise["grpo 1"] <= noise["dapo 1"], "CV(GRPO) ≤ CV(DAPO)", L=roots)
    return count.cases


def inverse_lengths(roots: Sequence[int]) -> list[Fraction]:
    """Weights ∝ 1/L with sum 1."""
    inverse = [F(1, length(r)) for r in roots]
    return [x / total_rational(inverse) for x in inverse]


def delta_l_minimum_variance(
    *, best: Callable[[Sequence[int]], Sequence[Fraction]] = inverse_lengths
) -> int:
    """A grid of weights with sum 1, by sign vectors: none has less variance than 1/L."""
    count = Count()
    steps = [F(n, 8) for n in range(-4, 13)]
    for roots in [roots for roots in groups_of_lengths() if len(roots) > 1]:
        space = signs(roots, F(1), F(1))

        def variance(x: Sequence[Fraction], space: Any = space) -> Fraction:
            return covariance(space, lambda g: dot(x, g), lambda g: dot(x, g))

        least, found = list(best(roots)), variance(best(roots))
        for head in product(steps[:: len(roots) ** 2 - 3], repeat=len(roots) - 1):
            x = [*head, 1 - total_rational(head)]
            excess = total_rational(
                length(r) * (a - b) ** 2 for r, a, b in zip(roots, x, least, strict=True)
            )
            count.equal(variance(x) - found, excess, "excess is ΣL(x − best)²", L=roots, x=x)
    return count.cases


def mean_log_grows(lengths: Sequence[int], low: int, high: int) -> int:
    """Sign of mean log L under weights L^high, less that under L^low, by integer products."""
    shift = min(low, high, 0)
    common = prod(set(lengths)) ** -shift  # makes the weights integers
    weights = [[int(F(x) ** k * common) for x in lengths] for k in (low, high)]
    sums = [sum(row) for row in weights]
    one, two = (
        prod(x ** (w * other) for x, w in zip(lengths, row, strict=True))
        for row, other in zip(weights, reversed(sums), strict=True)
    )
    return int(two > one) - int(two < one)


def tilted_mean(*, sign: Callable[[Sequence[int]], int] = lambda x: int(len(set(x)) > 1)) -> int:
    """Small groups of lengths up to 4, exponents −2..3: mean log L grows, unless all are equal."""
    count = Count()
    for size in (1, 2, 3):
        for lengths in product(range(1, 6 - size), repeat=size):
            for low, high in ((-2, -1), (-1, 0), (0, 1), (1, 3), (-2, 2)):
                found = mean_log_grows(lengths, low, high)
                count.equal(found, sign(lengths), "mean log L grows", L=lengths, k=(low, high))
    return count.cases


def delta_l_alpha(*, turn: int = 1) -> int:
    """ΔL's variance by sign vectors: it falls up to α = 1 and rises after, unless L are equal."""
    count = Count()
    exponents = [F(n, 4) for n in (-4, -1, 0, 2, 3, 4, 5, 6, 10)]
    for roots in groups_of_lengths():
        space = signs(roots, F(1), F(1))
        found = []
        for alpha in exponents:
            estimate = lambda g, a=alpha, r=roots: aggregate("delta-l", r, g, F(1), a)  # noqa: E731
            found.append(covariance(space, estimate, estimate))
            claimed = power_sum(roots, 1 - 2 * alpha) / power_sum(roots, -alpha) ** 2
            count.equal(found[-1], claimed, "Var = V S(1−2α)/S(−α)²", L=roots, alpha=alpha)
        for n, alpha in enumerate(exponents[:-1]):
            step = (found[n + 1] > found[n]) - (found[n + 1] < found[n])
            wanted = 0 if len(set(roots)) == 1 else 1 if alpha >= turn else -1
            count.equal(step, wanted, "falls to 1, rises after", L=roots, alpha=alpha)
    return count.cases


# --- lengths and gradients that depend on each other --------------------------------------------

Joint = Sequence[tuple[Fraction, Sequence[int], Numbers]]  # probability, roots of L, g


def joint_laws(size: int, *, mean: Fraction | None = None) -> Iterator[Joint]:
    """Laws of lengths and gradients; with `mean`, E[g_i | L] is that, and the rest is ±noise."""
    for seed in range(5):
        chances = (F(seed + 1, 12), F(1, 4), F(8 - seed, 12))
        law = []
        for k, chance in enumerate(chances):
            roots = [ROOTS[(k + i * (seed + 1) + i * i) % 3] for i in range(size)]
            noise = [F((2 * k + 3 * i + seed) % 5 - 2, i + 1) for i in range(size)]
            if mean is None:
                law.append((chance, roots, noise))
            else:
                law += [
                    (chance / 3, roots, [mean + 2 * x for x in noise]),
                    (2 * chance / 3, roots, [mean - x for x in noise]),
                ]
        yield law


def expected_estimate(law: Joint, alpha: Fraction, m: Fraction) -> Fraction:
    """E of the ΔL estimate."""
    return total_rational(
        chance * aggregate("delta-l", roots, g, m, alpha) for chance, roots, g in law
    )


def delta_l_unbiased(
    *, closed_form: Callable[[Fraction, Fraction], Fraction] = lambda j, m: j / m
) -> int:
    """Laws with E[g_i | L] = J: the mean of the ΔL estimate is J/M for every α."""
    count = Count()
    for size in (1, 2, 3):
        for law in joint_laws(size, mean=F(5, 7)):
            for alpha in EXPONENTS:
                found = expected_estimate(law, alpha, F(9))
                count.equal(found, closed_form(F(5, 7), F(9)), "E = J/M", G=size, alpha=alpha)
    return count.cases


def with_covariance(law: Joint, size: int, alpha: Fraction) -> Fraction:
    """J + Σ Cov(W_i, g_i), where every E g_i is J."""
    total_value = expectation([(c, g) for c, _, g in law], entry(0))
    for i in range(size):
        shares = [1 / power(roots[i], alpha) / power_sum(roots, -alpha) for _, roots, _ in law]
        pairs = [(c, (w, g[i])) for (c, _, g), w in zip(law, shares, strict=True)]
        total_value += covariance(pairs, entry(0), entry(1))
    return total_value


def exchangeable(law: Joint, size: int) -> Joint:
    """Every response with every role in turn, so that all E g_i are equal."""
    return [
        (c / size, [*roots[k:], *roots[:k]], [*g[k:], *g[:k]])
        for c, roots, g in law
        for k in range(size)
    ]


def delta_l_bias(
    *, closed_form: Callable[[Joint, int, Fraction], Fraction] = with_covariance
) -> int:
    """Any joint laws: E of the estimate, and J + Σ Cov(W_i, g_i) where all E g_i are J."""
    count = Count()
    for size in (1, 2, 3):
        for plain in joint_laws(size):
            law = exchangeable(plain, size)
            gradient = total_rational(c * g[0] for c, _, g in law)
            for alpha in EXPONENTS:
                claimed = closed_form(law, size, alpha) / 9
                count.equal(expected_estimate(law, alpha, F(9)), claimed, "E", G=size, alpha=alpha)
            flat = expected_estimate(law, F(0), F(9))
            count.equal(flat, gradient / 9, "no bias at α = 0", G=size)
    return count.cases


def long_or_short(size: int, rate: Fraction, long: Surd) -> Surd:
    """E Σ W_i R_i s_i over all 2^G groups; a long response has L^−α = long, a short one 1."""
    parts = []
    for group in product((True, False), repeat=size):
        chance = prod(rate if is_long else 1 - rate for is_long in group)
        weights = [long if is_long else Surd(1) for is_long in group]
        gradients = [1 - rate if is_long else F(0) for is_long in group]
        top = total(w * g for w, g in zip(weights, gradients, strict=True))
        parts.append(top / total(weights) * chance)
    return total(parts)


VALUES = {2: F(5, 24), 4: F(209, 1120)}


def delta_l_unconditional(*, values: dict[int, Fraction] = VALUES, slack: int = 2) -> int:
    """Every group of the two-response policy: the values, the bounds for each G, α = 0 and 1/2."""
    count = Count()
    for size, value in values.items():
        count.equal(long_or_short(size, HALF, Surd(HALF)), value, "E at α = 1", G=size)
    root = long_or_short(2, HALF, 1 / sqrt(2))
    count.equal(root, (2 * sqrt(2) - 1) / 8, "E at α = 1/2", G=2)
    for size in range(1, 9):
        for q in (F(1, 10), F(1, 3), HALF, F(4, 5)):
            found = long_or_short(size, q, Surd(HALF))
            count.equal(long_or_short(size, q, Surd(1)), q * (1 - q), "no bias at α = 0", q=q)
            low, high = (
                q * (1 - q) * (1 / (2 - q) + bend * (1 - q) / ((2 - q) ** 2 * size))
                for bend in (1, slack)
            )
            inside = (found - low).sign() >= 0 and (high - found).sign() >= 0
            count.true(inside, "between the bounds", G=size, q=q)
            by_count = total_rational(
                comb(size, k) * q**k * (1 - q) ** (size - k) * (1 - q) * F(k, 2 * size - k)
                for k in range(size + 1)
            )
            count.equal(found, by_count, "by the number of long responses", G=size, q=q)
    return count.cases
