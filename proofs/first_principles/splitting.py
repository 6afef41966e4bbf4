"""Batches in parts and batches with padding: naive means over all tokens or sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product

from .definitions import Count, total_rational
from .lengths import HALF, Numbers, Space, covariance, entry, expectation

F = Fraction


def split_values() -> Iterator[Sequence[Numbers]]:
    """Parts of one to four items each."""
    for sizes in [(1,), (3,), *product((1, 2, 4), repeat=2), (2, 2, 2), (1, 3, 4), (4, 4, 1)]:
        for seed in (1, 2):
            yield [
                [F((7 * c + seed * t * t + 3 * t) % 9 - 4, c + 2) for t in range(n)]
                for c, n in enumerate(sizes)
            ]


def mean(values: Numbers) -> Fraction:
    """Σ/n."""
    return total_rational(values) / len(values)


def count_covariance(parts: Sequence[Numbers]) -> Fraction:
    """−Cov(n, mean)/mean(n) over the parts."""
    space: Space = [(F(1, len(parts)), (F(len(p)), mean(p))) for p in parts]
    return -covariance(space, entry(0), entry(1)) / expectation(space, entry(0))


def _check_split(count: Count, parts: Sequence[Numbers], error: Callable[..., Fraction]) -> None:
    sizes = [len(p) for p in parts]
    whole = mean([x for p in parts for x in p])
    weighted = total_rational(n * mean(p) for n, p in zip(sizes, parts, strict=True)) / sum(sizes)
    count.equal(weighted, whole, "weighted by counts", n=sizes)
    unweighted = mean([mean(p) for p in parts])
    count.equal(unweighted - whole, error(parts), "error of equal weights", n=sizes)
    gaps = []
    for r in range(len(parts)):
        marked = [[F(int(c == r))] * n for c, n in enumerate(sizes)]
        gap = mean([mean(p) for p in marked]) - mean([x for p in marked for x in p])
        count.equal(gap, F(1, len(parts)) - F(sizes[r], sum(sizes)), "one part marked", n=sizes)
        gaps.append(gap)
    count.equal(not any(gaps), len(set(sizes)) == 1, "exact iff counts are equal", n=sizes)


def split(*, error: Callable[[Sequence[Numbers]], Fraction] = count_covariance) -> int:
    """Token losses in parts of unequal and equal sizes."""
    count = Count()
    for parts in split_values():
        _check_split(count, parts, error)
    return count.cases


def sequence_mean_split(
    *, error: Callable[[Sequence[Numbers]], Fraction] = count_covariance
) -> int:
    """Sequences of unequal lengths in parts: values per sequence are means over their tokens."""
    count = Count()
    for parts in split_values():
        sequences = [
            [[x + k for k in range((3 * c + b) % 4 + 1)] for b, x in enumerate(p)]
            for c, p in enumerate(parts)
        ]
        by_mean = [[mean(s) for s in p] for p in sequences]
        by_sum = [[total_rational(s) / 7 for s in p] for p in sequences]
        for values in (by_mean, by_sum):
            _check_split(count, values, error)
    return count.cases


def masked_loss(
    loss: Sequence[Numbers], mask: Sequence[Sequence[int]], constant: Fraction
) -> Fraction:
    """Σ over unmasked tokens, over G times the constant."""
    rows = zip(loss, mask, strict=True)
    kept = (x for values, ones in rows for x, one in zip(values, ones, strict=True) if one)
    return total_rational(kept) / (len(loss) * constant)


def padded(rows: Sequence[Sequence[Fraction]], more: int, value: Fraction) -> list[list[Fraction]]:
    """Each row with `more` columns of one value."""
    return [[*row, *[value] * more] for row in rows]


def _padding_cases() -> Iterator[tuple[list[list[Fraction]], list[list[int]], int]]:
    for lengths in product((0, 1, 2, 3), repeat=2):
        if any(lengths):
            loss = [[F(3 * i - t + 5, t + 1) for t in range(3)] for i in range(2)]
            mask = [[int(t < n) for t in range(3)] for n in lengths]
            for more in (1, 2, 5):
                yield loss, mask, more


def padding(*, constant: Callable[[int], Fraction] = lambda width: F(11)) -> int:
    """All masks of two rows, padded: a constant of the run, and token counts, do not change."""
    count = Count()
    for loss, mask, more in _padding_cases():
        wide, ones = padded(loss, more, F(999)), [[*row, *[0] * more] for row in mask]
        before = masked_loss(loss, mask, constant(3))
        after = masked_loss(wide, ones, constant(3 + more))
        count.equal(after, before, "constant", mask=mask, more=more)
        count.equal([sum(row) for row in ones], [sum(row) for row in mask], "counts", mask=mask)
    return count.cases


def padded_width(*, factor: Callable[[int, int], Fraction] = lambda t, w: F(t, t + w)) -> int:
    """The same with the width for the constant: the loss is multiplied by T/(T + W)."""
    count = Count()
    for loss, mask, more in _padding_cases():
        wide, ones = padded(loss, more, F(999)), [[*row, *[0] * more] for row in mask]
        before, after = masked_loss(loss, mask, F(3)), masked_loss(wide, ones, F(3 + more))
        count.equal(after, factor(3, more) * before, "factor T/(T+W)", mask=mask, more=more)
    one = masked_loss([[F(1), F(0)]], [[1, 0]], F(2))
    count.equal((masked_loss([[F(1)]], [[1]], F(1)), one), (1, HALF), "one token")
    return count.cases
