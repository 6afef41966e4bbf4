"""The surrogates: what each objective makes of a token's log-ratio and advantage."""

from __future__ import annotations

import math
from typing import Any

from identity._arrays import Array, real_argument, stop_gradient
from identity.errors import DomainError
from identity.surrogates._arithmetic import choice, clamp, filled, spread
from identity.surrogates._tokens import LEVELS, Tokens, tokens_of

__all__ = ["OBJECTIVES", "Surrogate"]

OBJECTIVES = ("ppo_clip", "cispo", "gspo", "reinforce")


class Surrogate:
    """An objective with its options, checked."""

    def __init__(self, objective: Any, level: Any, clip: Any, dual_clip: Any) -> None:
        self.objective = choice("objective", objective, OBJECTIVES)
        self.level = _level(self.objective, level)
        self.low, self.high = _log_interval(self.objective, clip)
        self.cap = _log_dual_clip(self.objective, dual_clip)

    def tokens(self, logp: Any, old_logp: Any, advantages: Any, mask: Any, **others: Any) -> Tokens:
        """The checked batch."""
        needed = {"advantages": advantages, "mask": mask, **others}
        if self.objective != "reinforce":
            needed["old_logp"] = old_logp
        for name, value in needed.items():
            if value is None:
                raise DomainError(name, None, "be an array")
        if old_logp is not None:
            others["old_logp"] = old_logp
        return tokens_of(logp, mask, advantages=advantages, **others)

    def zeroed(self, tokens: Tokens) -> bool:
        """Whether losses are exactly 0 where masked, as those of the compiled function are."""
        ratios = self.objective in ("ppo_clip", "cispo") and self.level == "token"
        return ratios and tokens.numbers is not None

    def losses(self, tokens: Tokens) -> Array:
        """The loss of each token, (B, T): of any value where masked, but of derivative 0."""
        assert tokens.advantages is not None
        xp, weights = tokens.xp, -tokens.advantages
        if self.objective == "reinforce":
            return tokens.bounded_logp() * weights
        if self.zeroed(tokens):
            from identity.surrogates._compiled import token_losses  # only where there is torch

            bounds = [self.low, min(self.high, tokens.saturation)]
            bounds.append(min(self.cap, tokens.saturation))
            if self.objective == "cispo":
                bounds.append(tokens.floor)
            old_logp = tokens.others["old_logp"]
            return token_losses(tokens.logp, old_logp, weights, tokens.numbers, tuple(bounds))
        width = int(tokens.logp.shape[1])
        # By `spread` wherever ratios of responses meet values of tokens.
        log_ratio = spread(xp, tokens.log_ratio(self.level), int(weights.shape[1]))
        high = min(self.high, tokens.saturation)
        if self.objective == "cispo":
            ratio = xp.exp(clamp(xp, stop_gradient(log_ratio), self.low, high))
            return (ratio * weights) * tokens.bounded_logp()
        # min(ρA, clip(ρ)A) is A·min(ρ, 1 + high) for A ≥ 0 and A·max(ρ, 1 − low) for A < 0, which
        # a dual clip bounds by c: an interval for each sign, here of the logarithm of ρ.
        cap = min(self.cap, tokens.saturation)
        negative = weights > 0.0  # the advantage is
        lower = xp.where(negative, filled(xp, self.low, weights), filled(xp, -math.inf, weights))
        upper = xp.where(negative, filled(xp, cap, weights), filled(xp, high, weights))
        losses = xp.exp(clamp(xp, log_ratio, lower, upper)) * weights
        return spread(xp, losses, width)


def _level(objective: str, level: Any) -> str:
    if level is None:
        return "sequence" if objective == "gspo" else "token"
    if objective == "reinforce":
        raise DomainError("level", level, "be None for reinforce, which has no ratio")
    name = choice("level", level, LEVELS)
    if objective == "gspo" and name == "token":
        raise DomainError("level", name, "be 'sequence' or 'sequence_token' for gspo")
    return name


def _log_interval(objective: str, clip: Any) -> tuple[float, float]:
    """The interval of the log-ratio."""
    if objective == "reinforce":
        if clip is not None:
            raise DomainError("clip", clip, "be None for reinforce, which has no ratio")
        return -math.inf, math.inf
    rule = "be a pair (low, high) of offsets from 1 with 0 <= low <= 1 and 0 <= high"
    if not isinstance(clip, tuple | list) or len(clip) != 2:
        raise DomainError("clip", clip, rule)
    low, high = (real_argument("clip", bound, rule) for bound in clip)
    if not (0 <= low <= 1 and high >= 0):  # false for NaN
        raise DomainError("clip", clip, rule)
    return (math.log1p(-low) if low < 1 else -math.inf), math.log1p(high)


def _log_dual_clip(objective: str, dual_clip: Any) -> float:
    if dual_clip is None:
        return math.inf
    if objective not in ("ppo_clip", "gspo"):
        raise DomainError("dual_clip", dual_clip, f"be None for {objective}")
    rule = "be None or a number above 1"
    bound = real_argument("dual_clip", dual_clip, rule)
    if not bound > 1:
        raise DomainError("dual_clip", dual_clip, rule)
    return math.log(bound)
