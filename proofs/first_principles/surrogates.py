"""Section 5, ratios and clips: every loss differentiated token by token from its definition.

log π of a token moves as ℓ + z·x. A loss is evaluated as a jet on both sides of x = 0, which shows
where it has no derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any

from .clips import CLIPS, FIFTH, LENGTHS, Clip, Rows, clip, dual_clip, mean, numbers, ppo, summed
from .definitions import Count, total_rational
from .divergence import kl_as_loss, kl_gradients, kl_values
from .full_losses import full_loss
from .jets import NO_SLOPE, Jet, constant, minimum, slope
from .sequences import gspo_length, gspo_ratio

F = Fraction


# --- on policy ------------------------------------------------------------------------------------


def unclipped(weights: Rows, advantages: Rows, slopes: Rows) -> Fraction:
    """−Σ w A z."""
    return -total_rational(
        w * a * z
        for rows in zip(weights, advantages, slopes, strict=True)
        for w, a, z in zip(*rows, strict=True)
    )


@dataclass(frozen=True)
class Batch:
    """Responses of several tokens: one number of each kind for each token."""

    slopes: Rows
    weights: Rows
    advantages: Rows
    logs: Rows

    @classmethod
    def of(cls, lengths: Sequence[int], salt: int) -> Batch:
        """Numbers of both signs; log-probabilities are not positive."""
        slopes, weights, advantages, logs = (numbers(lengths, salt + k) for k in (0, 1, 4, 9))
        return cls(slopes, weights, advantages, [[-abs(e) for e in row] for row in logs])

    def per_response(self) -> Batch:
        """Weights and advantages of whole responses: those of the first tokens."""
        weights, advantages = (
            [[row[0]] * len(row) for row in x] for x in (self.weights, self.advantages)
        )
        return Batch(self.slopes, weights, advantages, self.logs)

    def loss(self, objective: Callable[[Fraction, Fraction, Fraction], Jet]) -> Jet:
        """−Σ w · objective(ℓ, z, A)."""
        rows = zip(self.logs, self.slopes, self.advantages, self.weights, strict=True)
        return -summed(
            [[objective(e, z, a) * w for e, z, a, w in zip(*row, strict=True)] for row in rows]
        )

    def averaged(self) -> Batch:
        """Every slope replaced by the mean over its response: how log s moves."""
        slopes = [[mean(row)] * len(row) for row in self.slopes]
        return Batch(slopes, self.weights, self.advantages, self.logs)

    def unclipped(self, closed_form: Callable[[Rows, Rows, Rows], Fraction]) -> Fraction:
        """The gradient as the theorem states it."""
        return closed_form(self.weights, self.advantages, self.slopes)


OBJECTIVES: dict[str, Callable[..., Jet]] = {  # of one token: its ratio is 1 + z·x + …, on policy
    "REINFORCE": lambda bounds, side, e, z, a: Jet(e, z) * a,
    "ratio": lambda bounds, side, e, z, a: Jet(F(1), z) * a,
    "PPO": lambda bounds, side, e, z, a: ppo(Jet(F(1), z), a, bounds, side),
    "dual clip": lambda bounds, side, e, z, a: dual_clip(Jet(F(1), z), a, bounds, side),
    "CISPO": lambda bounds, side, e, z, a: clip(constant(F(1)), bounds, side) * a * Jet(e, z),
}


def batch_slope(batch: Batch, name: str, bounds: Clip) -> Any:
    """The gradient of a batch's loss on policy."""
    return slope(lambda side: batch.loss(partial(OBJECTIVES[name], bounds, side)))


def on_policy(*, closed_form: Callable[[Rows, Rows, Rows], Fraction] = unclipped) -> int:
    """Batches of unequal lengths, three clips: each loss has the gradient −Σ w A z.

    GSPO has it for weights and advantages of whole responses.
    """
    count = Count()
    for lengths, bounds, salt in product(LENGTHS, CLIPS, range(3)):
        batch, at = Batch.of(lengths, salt), {"L": lengths, "clip": bounds, "salt": salt}
        for name in OBJECTIVES:
            found = batch_slope(batch, name, bounds)
            count.equal(found, batch.unclipped(closed_form), f"{name}: −Σ w A z", **at)
        whole = batch.per_response()
        found = batch_slope(whole.averaged(), "PPO", bounds)
        count.equal(found, whole.unclipped(closed_form), "GSPO: −Σ w A z", **at)
    return count.cases


# --- one ratio ------------------------------------------------------------------------------------


def one_sided(ratio: Fraction, advantage: Fraction, bounds: Clip, side: int) -> Fraction:
    """The derivative of min(rA, clip(r)A) by r on one side, as the theorem states it."""
    low, high = bounds
    beyond = ratio + side * F(1, 10**9)
    flat = beyond > 1 + high if advantage > 0 else beyond < 1 - low
    return F(0) if flat else advantage


def clip_gradient(
    *, closed_form: Callable[[Fraction, Fraction, Clip, int], Fraction] = one_sided
) -> int:
    """A grid of ratios with all ties, both signs, both sides: difference quotients, exactly.

    The surrogate is piecewise linear, so that a quotient over a short distance is the slope. The
    dual clip, c > 1, has 0 beyond c for A < 0 as well, and the same value elsewhere.
    """
    count = Count()
    step = F(1, 10**6)
    for bounds in CLIPS[:2]:
        low, high = bounds
        grid = (F(1, 4), 1 - low, F(9, 10), F(1), F(11, 10), 1 + high, F(2), F(3), F(7, 2))
        for ratio, a, side in product(grid, (F(3, 2), F(-2, 3)), (1, -1)):
            at = {"r": ratio, "A": a, "clip": bounds, "side": side}

            def value(r: Fraction, a: Fraction = a, bounds: Clip = bounds) -> Fraction:
                found: Fraction = ppo(constant(r), a, bounds, 1).value
                return found

            claimed = closed_form(ratio, a, bounds, side)
            found = (value(ratio + side * step) - value(ratio)) / (side * step)
            count.equal(found, claimed, "d/dr min(rA, clip(r)A)", **at)
            moving = ppo(Jet(ratio, F(1)), a, bounds, side).slope
            count.equal(moving, claimed, "its jet", **at)
            if a > 0:
                continue
            for cap in (F(21, 20), 1 + high, F(3)):
                capped = dual_clip(Jet(ratio, F(1)), a, bounds, side, cap)
                beyond = ratio + side * step > cap
                wanted = F(0) if beyond else claimed
                count.equal(capped.slope, wanted, "d/dr of the dual clip", c=cap, **at)
    return count.cases


def detached(ratio: Fraction, bounds: Clip) -> Fraction:
    """clip(r)."""
    low, high = bounds
    return max(min(ratio, 1 + high), 1 - low)


def cispo_gradient(*, closed_form: Callable[[Fraction, Clip], Fraction] = detached) -> int:
    """A grid of ratios, both signs: −clip(r)Az, where PPO has 0 or −rAz, or none at a tie."""
    count = Count()
    for bounds, a, z in product(CLIPS, (F(3, 2), F(-2, 3)), (F(5, 7), F(-4))):
        low, high = bounds
        for r in (F(1, 4), 1 - low + F(1, 10), F(1), 1 + high, F(6)):
            at = {"r": r, "A": a, "z": z, "clip": bounds}
            cispo = partial(cispo_loss, r, a, z, bounds)
            count.equal(slope(cispo), -closed_form(r, bounds) * a * z, "CISPO: −clip(r)Az", **at)
            right, left = (one_sided(r, a, bounds, side) for side in (1, -1))
            wanted: Any = -r * z * right if right == left else NO_SLOPE
            found = slope(partial(ppo_loss, r, a, z, bounds))
            count.equal(found, wanted, "PPO: 0 or −rAz", **at)
    return count.cases


def cispo_loss(r: Fraction, a: Fraction, z: Fraction, bounds: Clip, side: int) -> Jet:
    """−sg(clip(r)) A log π of one token, at the ratio r."""
    return -(clip(constant(r), bounds, side) * a * Jet(F(-1, 3), z))


def ppo_loss(r: Fraction, a: Fraction, z: Fraction, bounds: Clip, side: int) -> Jet:
    """−min(rA, clip(r)A) of one token, its ratio r·exp(z·x)."""
    return -ppo(Jet(r, r * z), a, bounds, side)


def bounded(bound: Fraction, side: int, e: Fraction, z: Fraction, a: Fraction) -> Jet:
    """sg(min(ρ, b)) A log π of one token, on policy."""
    return minimum(F(1), bound, side) * a * Jet(e, z)


def bounded_loss(batch: Batch, bound: Fraction, side: int) -> Jet:
    """Of a batch."""
    return batch.loss(partial(bounded, bound, side))


def cispo_bound(*, bound: Fraction = FIFTH) -> int:
    """Batches on policy, the ratio bounded by 0.2: one fifth of the gradient, not all of it."""
    count = Count()
    for lengths, salt in product(LENGTHS, range(3)):
        batch, at = Batch.of(lengths, salt), {"L": lengths, "salt": salt}
        plain = batch.unclipped(unclipped)
        found = slope(partial(bounded_loss, batch, bound))
        count.equal(found, plain * FIFTH, "one fifth of the gradient", **at)
        count.true(found != plain or plain == 0, "not the unclipped one", **at)
    return count.cases


CHECKS: dict[str, Callable[[], int]] = {
    "surrogates.on-policy": on_policy,
    "surrogates.clip-gradient": clip_gradient,
    "surrogates.cispo-gradient": cispo_gradient,
    "surrogates.cispo-bound": cispo_bound,
    "surrogates.full-loss": full_loss,
    "surrogates.gspo-ratio": gspo_ratio,
    "surrogates.gspo-length": gspo_length,
    "surrogates.kl-values": kl_values,
    "surrogates.kl-gradients": kl_gradients,
    "surrogates.kl-as-loss": kl_as_loss,
}
