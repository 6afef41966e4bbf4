"""Section 5, GSPO: the ratio of a response, over every response of a few tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from math import prod
from typing import Any

import flint

from .clips import CLIPS, LENGTHS, Clip, Rows, mean, numbers, ppo, summed
from .definitions import Count, total_rational
from .jets import Jet, constant, slope
from .surds import ball

F = Fraction


def policies(length: int) -> Iterator[list[list[Fraction]]]:
    """Laws of a response of two-letter tokens: Pr(1) for each token, by the tokens before it."""
    for salt in range(4):
        yield [[F(1 + (salt * n + 2 * t + n) % 5, 7) for n in range(2**t)] for t in range(length)]


def token_probabilities(law: list[list[Fraction]], response: Sequence[int]) -> list[Fraction]:
    """π(token | tokens before it)."""
    found, before = [], 0
    for table, token in zip(law, response, strict=True):
        found.append(table[before] if token else 1 - table[before])
        before = 2 * before + token
    return found


def by_hellinger(length: int, gap: Any) -> Any:
    """1 − (1/L) Σ (√q − √p)²."""
    return 1 - gap / length


def gspo_ratio(*, closed_form: Callable[[int, Any], Any] = by_hellinger) -> int:
    """All responses of 2..4 tokens: E_old[s] is at most 1 − (1/L) Σ(√q − √p)², exactly so at L = 2.

    Below 1 unless the policies are equal, by (1/L)(√q − √p)² for each response. Weighed by the
    product of the token ratios, means over the old policy are means over the new one.
    """
    count = Count()
    for length in (2, 3, 4):
        laws = list(policies(length))
        for old, new in product(laws, repeat=2):
            at = {"L": length, "old": old, "new": new}
            weights, ratios, current = [], [], []
            with flint.ctx.workprec(200):
                mean_s, gap, roots = flint.arb(0), flint.arb(0), []
                for response in product((0, 1), repeat=length):
                    before = token_probabilities(old, response)
                    now = token_probabilities(new, response)
                    steps = [b / a for a, b in zip(before, now, strict=True)]
                    p, q = prod(before, start=F(1)), prod(now, start=F(1))
                    weights.append(p)
                    current.append(q)
                    ratios.append(prod(steps, start=F(1)))
                    logs = sum((ball(x).log() for x in steps), flint.arb(0))
                    mean_s += ball(p) * (logs / length).exp()
                    root = ball(q).sqrt() - ball(p).sqrt()
                    gap += root * root
                    roots.append(root * root)
                bound = closed_form(length, gap)
                if old == new:
                    found = bool(abs(mean_s - 1) < 1e-50 and abs(bound - 1) < 1e-50)
                    count.true(found, "E_old[s] = 1 for equal policies", **at)
                elif length == 2:
                    found = bool(abs(mean_s - bound) < 1e-50)
                    count.true(found, "E_old[s] = 1 − ½Σ(√q − √p)²", **at)
                    count.true(bool(mean_s < 1), "E_old[s] < 1", **at)
                else:
                    count.true(bool(mean_s < bound), "E_old[s] < 1 − (1/L)Σ(√q − √p)²", **at)
                    count.true(bool(bound < 1), "and that is below 1", **at)
                for root in roots if old != new else ():
                    found = bool(mean_s < closed_form(length, root))
                    count.true(found, "1 − E_old[s] ≥ (1/L)(√q_v − √p_v)² for each v", **at)
            values = [F((-1) ** v * (3 * v + 1), v + 2) for v in range(2**length)]
            for f in (values, [F(1)] * len(values)):
                weighed = total_rational(
                    w * x * y for w, x, y in zip(weights, ratios, f, strict=True)
                )
                target = total_rational(q * y for q, y in zip(current, f, strict=True))
                count.equal(weighed, target, "E_old[Π ρ · f] = E_new[f]", **at)
    return count.cases


def by_length(lengths: Sequence[int]) -> list[Fraction]:
    """L_i/ΣL."""
    return [F(n, sum(lengths)) for n in lengths]


@dataclass(frozen=True)
class Responses:
    """One ratio and advantage for each response, and the slopes of its tokens."""

    slopes: Rows
    ratios: list[Fraction]
    advantages: list[Fraction]
    bounds: Clip

    def token_loss(self, i: int, step: Fraction, side: int) -> Jet:
        """−min(sA, clip(s)A) at one token; log s moves by ``step``."""
        ratio = Jet(self.ratios[i], self.ratios[i] * step)
        return -ppo(ratio, self.advantages[i], self.bounds, side)

    def weighed(self, weights: Sequence[Fraction], side: int) -> Jet:
        """Σ weight · loss, once for each response."""
        terms = (self.token_loss(i, mean(z), side) * weights[i] for i, z in enumerate(self.slopes))
        return sum(terms, constant(F(0)))

    def token_mean(self, side: int) -> Jet:
        """The mean over all tokens, each with the loss of its response."""
        rows = [[self.token_loss(i, mean(z), side) for _ in z] for i, z in enumerate(self.slopes)]
        return summed(rows) * F(1, sum(map(len, rows)))

    def by_token(self, side: int) -> Jet:
        """GSPO-token: the ratio's value, the slope of the token; the mean of token means."""
        size = len(self.slopes)
        return summed(
            [
                [self.token_loss(i, x, side) * F(1, size * len(z)) for x in z]
                for i, z in enumerate(self.slopes)
            ]
        )


def gspo_length(*, closed_form: Callable[[Sequence[int]], list[Fraction]] = by_length) -> int:
    """Batches of unequal lengths, ratios inside and outside of the clip: the token mean of GSPO.

    It weighs a response by L_i/ΣL in value and gradient; the mean of token means by 1/G, also for
    GSPO-token.
    """
    count = Count()
    for lengths, salt in product(LENGTHS, range(3)):
        advantages = [row[0] for row in numbers(lengths, salt + 4)]
        ratios = [F(9 + 2 * ((i + salt) % 3), 10) for i in range(len(lengths))]
        group = Responses(numbers(lengths, salt), ratios, advantages, CLIPS[1])
        at = {"L": lengths, "salt": salt}
        claimed = partial(group.weighed, closed_form(lengths))
        evenly = partial(group.weighed, [F(1, len(lengths))] * len(lengths))
        count.equal(group.token_mean(1).value, claimed(1).value, "value of the token mean", **at)
        count.equal(slope(group.token_mean), slope(claimed), "gradient of the token mean", **at)
        count.equal(slope(group.by_token), slope(evenly), "GSPO-token, mean of token means", **at)
        if len(set(lengths)) == 1:
            count.equal(slope(group.token_mean), slope(evenly), "equal lengths", **at)
    return count.cases
