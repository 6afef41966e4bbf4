"""Aggregation: dependence within a group, normalisers, random lengths; the topic's checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from math import prod

from .definitions import Count, total_rational
from .lengths import (
    HALF,
    Numbers,
    Space,
    covariance,
    delta_l_alpha,
    delta_l_bias,
    delta_l_minimum_variance,
    delta_l_unbiased,
    delta_l_unconditional,
    dot,
    entry,
    expectation,
    linear_moments,
    quadratic_form,
    spaces,
    table,
    tilted_mean,
)
from .splitting import padded_width, padding, sequence_mean_split, split

F = Fraction
Law = Sequence[tuple[Fraction, Numbers]]  # probability and (reward, score, length) of a response

LAWS: tuple[Law, ...] = (
    ((HALF, (F(1), HALF, F(2))), (HALF, (F(0), -HALF, F(1)))),
    ((F(1, 4), (F(1), F(3), F(5))), (F(3, 4), (F(-2), F(-1), F(2)))),
    ((F(1, 6), (F(2), F(1), F(1))), (F(1, 3), (F(0), F(1), F(4))), (HALF, (F(1), F(-1), F(3)))),
)


def draws(law: Law, size: int) -> Iterator[tuple[Fraction, Sequence[Numbers]]]:
    """All groups of independent responses."""
    for group in product(law, repeat=size):
        yield prod((chance for chance, _ in group), start=F(1)), [response for _, response in group]


def over_groups(law: Law, size: int, value: Callable[[Sequence[Numbers]], Fraction]) -> Fraction:
    """E of a function of the group."""
    return total_rational(chance * value(group) for chance, group in draws(law, size))


# --- a shared baseline --------------------------------------------------------------------------


def centred_gradients(group: Sequence[Numbers]) -> list[Fraction]:
    """g_i = (R_i − mean R) s_i."""
    mean = total_rational(r for r, *_ in group) / len(group)
    return [(r - mean) * s for r, s, *_ in group]


def policy_gradient(law: Law) -> Fraction:
    """∇J = E[R s]."""
    return expectation(law, lambda y: y[0] * y[1])


def shared_baseline_covariance(
    *, closed_form: Callable[[Fraction, int], Fraction] = lambda j, size: (j / size) ** 2
) -> int:
    """All groups of G = 2..5: every pair of the g_i has the covariance (∇J)²/G²."""
    count = Count()
    for law in LAWS:
        count.equal(expectation(law, entry(1)), 0, "E s = 0")
        gradient = policy_gradient(law)
        for size in (2, 3, 4, 5) if len(law) == 2 else (2, 3, 4):
            outcomes: Space = [(c, centred_gradients(group)) for c, group in draws(law, size)]
            mean = (1 - F(1, size)) * gradient
            count.equal(expectation(outcomes, entry(0)), mean, "E g = (1 − 1/G)∇J", G=size)
            for i in range(size):
                for j in range(i):
                    found = covariance(outcomes, entry(i), entry(j))
                    claimed = closed_form(gradient, size)
                    count.equal(found, claimed, "Cov(g_i, g_j)", G=size, pair=(i, j))
    return count.cases


def solved(matrix: Sequence[Numbers]) -> list[Fraction]:
    """Weights ∝ C⁻¹1 with sum 1, by elimination."""
    rows = [[*row, F(1)] for row in matrix]
    size = len(rows)
    for k in range(size):
        pivot = next(n for n in range(k, size) if rows[n][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [x / rows[k][k] for x in rows[k]]
        for n in range(size):
            if n != k:
                rows[n] = [a - rows[n][k] * b for a, b in zip(rows[n], rows[k], strict=True)]
    answer = [row[-1] for row in rows]
    return [x / total_rational(answer) for x in answer]


def inverse_own(matrix: Sequence[Numbers]) -> list[Fraction]:
    """Weights ∝ 1/(C_ii − c) with sum 1, where all pairs have the covariance c."""
    weights = [1 / (row[i] - row[i - 1]) for i, row in enumerate(matrix)]
    return [x / total_rational(weights) for x in weights]


def best_weights(*, best: Callable[[Sequence[Numbers]], Sequence[Fraction]] = inverse_own) -> int:
    """C⁻¹1 has the least variance over a grid; with one covariance c it is 1/(C_ii − c)."""
    count = Count()
    grid = [F(n, 3) for n in range(-3, 6)]
    matrices = [
        [[c + (d[i] if i == j else 0) for j in range(3)] for i in range(3)]
        for c in (F(0), F(1, 3), F(2), F(-1, 20))
        for d in ((F(1), F(2), F(4)), (F(1, 2), F(1, 2), F(3)))
    ]
    for matrix in matrices:
        x = solved(matrix)
        count.equal(list(best(matrix)), x, "C⁻¹1 ∝ 1/(C_ii − c)", C=matrix)
    for space in spaces(2):  # any covariances
        matrix = [[covariance(space, entry(i), entry(j)) for j in (0, 1)] for i in (0, 1)]
        if matrix[0][0] * matrix[1][1] != matrix[0][1] ** 2 and quadratic_form([F(1)] * 2, matrix):
            matrices.append(matrix)
    for matrix in matrices:
        least = quadratic_form(solved(matrix), matrix)
        for head in product(grid, repeat=len(matrix) - 1):
            other = [*head, 1 - total_rational(head)]
            found = quadratic_form(other, matrix)
            count.true(least <= found, "C⁻¹1 has the least variance", C=matrix, x=other)
    return count.cases


def advantages(group: Sequence[Numbers]) -> list[Fraction]:
    """A_i = R_i − mean R."""
    centre = total_rational(y[0] for y in group) / len(group)
    return [y[0] - centre for y in group]


def shared_baseline(
    *, gradients: Callable[[Sequence[Numbers]], list[Fraction]] = centred_gradients
) -> int:
    """The g_i of a group are correlated, and 1/L is not best: each refuted by its numbers."""
    count = Count()

    def first_two(group: Sequence[Numbers]) -> Fraction:
        return gradients(group)[0] * gradients(group)[1]

    def one_of(k: int) -> Callable[[Sequence[Numbers]], Fraction]:
        return lambda group: gradients(group)[k]

    for law in LAWS:
        for size in (2, 3, 4):
            apart = over_groups(law, size, one_of(0)) * over_groups(law, size, one_of(1))
            found = over_groups(law, size, first_two)
            count.true(found != apart, "g_1 and g_2 are correlated", G=size)
            for _, group in draws(law, size):
                count.equal(total_rational(advantages(group)), 0, "Σ A_i = 0", R=group)
    count.equal(over_groups(LAWS[0], 2, first_two), F(1, 32), "E[g_1 g_2]")
    matrix = [[F(1), HALF], [HALF, F(2)]]
    count.equal(quadratic_form([F(2, 3), F(1, 3)], matrix), F(8, 9), "variance for 1/L")
    count.equal(quadratic_form([F(3, 4), F(1, 4)], matrix), F(7, 8), "variance for (3/4, 1/4)")
    return count.cases


# --- one normaliser per group, or one for the batch ---------------------------------------------

Batch = Sequence[Sequence[int]]  # lengths by prompt and response


def batches() -> Iterator[tuple[Batch, Sequence[Numbers]]]:
    """Lengths and gradients of one to three prompts."""
    for prompts, size in ((1, 3), (2, 2), (2, 3), (3, 2)):
        rows, columns = range(prompts), range(size)
        for k in range(4):
            lengths = [[(k + 2 * c + 3 * i + c * i) % 5 + 1 for i in columns] for c in rows]
            yield lengths, [[F((k * c + 5 * i + c) % 7 - 3, i + 1) for i in columns] for c in rows]


def delta_update(lengths: Sequence[int], g: Numbers, alpha: int) -> Fraction:
    """Σ L^−α g / Σ L^−α."""
    weights = [F(x) ** -alpha for x in lengths]
    return dot(weights, g) / total_rational(weights)


def per_group(batch: Batch, g: Sequence[Numbers], alpha: int) -> Fraction:
    """Mean over prompts of the groups' own estimates."""
    own = [delta_update(x, y, alpha) for x, y in zip(batch, g, strict=True)]
    return total_rational(own) / len(own)


def whole_batch(batch: Batch, g: Sequence[Numbers], alpha: int) -> Fraction:
    """One normaliser for all rows."""
    return delta_update([x for row in batch for x in row], [y for row in g for y in row], alpha)


def prompt_covariance(batch: Batch, g: Sequence[Numbers], alpha: int) -> Fraction:
    """Cov(S, u)/mean S over prompts."""
    norms = [total_rational(F(x) ** -alpha for x in row) for row in batch]
    own = [delta_update(x, y, alpha) for x, y in zip(batch, g, strict=True)]
    space: Space = [(F(1, len(own)), pair) for pair in zip(norms, own, strict=True)]
    return covariance(space, entry(0), entry(1)) / expectation(space, entry(0))


def batch_group_gap(
    *, closed_form: Callable[[Batch, Sequence[Numbers], int], Fraction] = prompt_covariance
) -> int:
    """Lengths of up to three prompts: the two forms differ by a covariance over prompts."""
    count = Count()
    for batch, g in batches():
        for alpha in (-1, 0, 1, 2):
            gap = whole_batch(batch, g, alpha) - per_group(batch, g, alpha)
            count.equal(gap, closed_form(batch, g, alpha), "gap", L=batch, alpha=alpha)
            same = [batch[0]] * len(batch)
            found = whole_batch(same, g, alpha)
            count.equal(found, per_group(same, g, alpha), "no gap for equal lengths", L=same)
    return count.cases


def batch_or_group(
    *, group_form: Callable[[Batch, Sequence[Numbers], int], Fraction] = per_group
) -> int:
    """The two-prompt example, and that most batches of several prompts tell the forms apart."""
    count = Count()
    example: Batch = [[1, 1], [2, 2]]
    gradients = [[F(1), F(1)], [F(0), F(0)]]
    count.equal(group_form(example, gradients, 1), HALF, "per group")
    count.equal(whole_batch(example, gradients, 1), F(2, 3), "over the batch")
    for batch, g in batches():
        equal = whole_batch(batch, g, 1) == group_form(batch, g, 1)
        norms = {total_rational(F(1, x) for x in row) for row in batch}
        if len(batch) == 1 or len(norms) == 1:
            count.true(equal, "one prompt, or equal sums: the forms agree", L=batch)
        elif prompt_covariance(batch, g, 1):
            count.true(not equal, "the forms differ", L=batch)
    return count.cases


# --- random lengths in the denominator ----------------------------------------------------------


def ratio_expansion(law: Law, size: int) -> tuple[Fraction, Fraction]:
    """Expansion of E[Σg/ΣL] with g = R s, and the bound on its error."""
    mean = expectation(law, entry(2))
    rate = policy_gradient(law) / mean

    def d(y: Numbers) -> Fraction:
        return y[0] * y[1] - rate * y[2]

    def w(y: Numbers) -> Fraction:
        return y[2] - mean

    cross = expectation(law, lambda y: d(y) * w(y))
    third = expectation(law, lambda y: d(y) * w(y) ** 2)
    fourth = expectation(law, lambda y: (d(y) ** 2 + w(y) ** 2) * w(y) ** 2)
    spread = expectation(law, lambda y: d(y) ** 2)
    deviation = expectation(law, lambda y: w(y) ** 2)
    value = rate - cross / (size * mean**2) + third / (size**2 * mean**3)
    pairs = (size - 1) * (spread * deviation + 2 * cross**2 + 3 * deviation**2)
    return value, (fourth + pairs) / (2 * size**3 * mean**3)


def token_mean(group: Sequence[Numbers]) -> Fraction:
    """Σ g_i/ΣL_i."""
    return total_rational(r * s for r, s, _ in group) / total_rational(n for *_, n in group)


def leading_covariance(law: Law) -> Fraction:
    """Cov(g, L) − r Var L."""
    rate = policy_gradient(law) / expectation(law, entry(2))
    return covariance(law, lambda y: y[0] * y[1], entry(2)) - rate * covariance(
        law, entry(2), entry(2)
    )


def token_mean_ratio(
    *,
    closed_form: Callable[[Law, int], tuple[Fraction, Fraction]] = ratio_expansion,
    leading: Callable[[Law], Fraction] = leading_covariance,
) -> int:
    """All groups of G = 1..8 (two responses) and 1..6 (three): the token mean's expectation.

    Two forms of the leading term; responses of one length, where there is no bias.
    """
    count = Count()
    for law in LAWS:
        rate = policy_gradient(law) / expectation(law, entry(2))
        off: Law = [(chance, (y[0] * y[1] - rate * y[2], y[2])) for chance, y in law]
        cross = covariance(off, entry(0), entry(1))
        count.equal(leading(law), cross, "Cov(g − rL, L)", law=law)
        for length in (F(1), F(5, 2)):
            alike = [(chance, (reward, score, length)) for chance, (reward, score, _) in law]
            found = over_groups(alike, 3, token_mean)
            count.equal(found, policy_gradient(law) / length, "one length", L=length)
        for size in range(1, 9 if len(law) == 2 else 7):
            found = over_groups(law, size, token_mean)
            value, bound = closed_form(law, size)
            count.true(abs(found - value) <= bound, "within the bound", G=size, found=found)
    return count.cases


def with_length_covariance(law: Law) -> Fraction:
    """E[g] E[1/L] + Cov(g, 1/L)."""
    g, inverse = (lambda y: y[0] * y[1]), (lambda y: 1 / y[2])
    return expectation(law, g) * expectation(law, inverse) + covariance(law, g, inverse)


def grpo_length(*, closed_form: Callable[[Law], Fraction] = with_length_covariance) -> int:
    """All groups: the mean over responses of g/L, without and with the group's baseline."""
    count = Count()
    for law in LAWS:
        for size in (1, 2, 3, 4):
            found = over_groups(
                law, size, lambda z: total_rational(y[0] * y[1] / y[2] for y in z) / len(z)
            )
            count.equal(found, closed_form(law), "E[g/L]", G=size)
            own = over_groups(
                law, size,
                lambda z: total_rational(
                    a / y[2] for a, y in zip(centred_gradients(z), z, strict=True)
                ) / len(z),
            )  # fmt: skip
            claimed = (1 - F(1, size)) * covariance(law, entry(0), lambda y: y[1] / y[2])
            count.equal(own, claimed, "with baseline", G=size)
    for q in (F(1, 5), HALF, F(7, 8)):
        for second, factor in ((F(0), HALF), (F(3, 4), F(-1))):
            law = ((q, (F(1), 1 - q, F(2))), (1 - q, (second, -q, F(1))))
            found = expectation(law, lambda y: y[0] * y[1] / y[2])
            count.equal(found, factor * policy_gradient(law), "two responses", q=q, R=second)
    return count.cases


CHECKS: dict[str, Callable[[], int]] = {
    "aggregation.linear-moments": linear_moments,
    "aggregation.table": table,
    "aggregation.delta-l-minimum-variance": delta_l_minimum_variance,
    "aggregation.tilted-mean": tilted_mean,
    "aggregation.delta-l-alpha": delta_l_alpha,
    "aggregation.delta-l-unbiased": delta_l_unbiased,
    "aggregation.delta-l-bias": delta_l_bias,
    "aggregation.delta-l-unconditional": delta_l_unconditional,
    "aggregation.shared-baseline-covariance": shared_baseline_covariance,
    "aggregation.best-weights": best_weights,
    "aggregation.shared-baseline": shared_baseline,
    "aggregation.batch-group-gap": batch_group_gap,
    "aggregation.batch-or-group": batch_or_group,
    "aggregation.token-mean-ratio": token_mean_ratio,
    "aggregation.grpo-length": grpo_length,
    "aggregation.split": split,
    "aggregation.sequence-mean-split": sequence_mean_split,
    "aggregation.padding": padding,
    "aggregation.padded-width": padded_width,
}
