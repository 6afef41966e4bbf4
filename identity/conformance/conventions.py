"""What an operation may turn out to compute, as data.

A convention is a point in a small table of choices, each of which some trainer makes. The fields
that an adapter's `says` may name are those of the classes here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

__all__ = [
    "BASELINES",
    "BOUNDS",
    "EPSILONS",
    "FIELDS",
    "NORMALISERS",
    "OBJECTIVES",
    "PLACEMENTS",
    "SCALES",
    "AdvantageConvention",
    "AggregateConvention",
    "Convention",
    "KLConvention",
    "LossConvention",
    "advantage_conventions",
    "kl_conventions",
]

BASELINES = {
    "mean": "group mean",
    "leave_one_out": "leave-one-out mean",
    "batch_mean": "batch mean",
    "none": "no baseline",
}
SCALES = {
    "std": "group std",
    "batch_std": "batch std of rewards",
    "centred_batch_std": "batch std of centred rewards",
    "none": "not standardised",
}
PLACEMENTS = {
    "absent": "no ε",
    "added": "ε added",
    "in_variance": "ε in the variance",
    "floored": "ε as floor",
}
EPSILONS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12)

NORMALISERS = {
    "token_mean": "token mean",
    "sequence_mean_token_mean": "mean over sequences of token means",
    "sequence_mean_token_sum": "mean over sequences of token sums",
    "constant": "token sum over B × a constant",
    "padded_width": "token sum over B × the padded width",
    "token_sum": "token sum",
}

OBJECTIVES = {
    "ppo_clip": "PPO clip",
    "cispo": "CISPO",
    "reinforce": "REINFORCE",
    "importance": "ratio × advantage",
}
BOUNDS = {
    "offset": "clipped to [1 − low, 1 + high]",
    "absolute": "clipped to [low, high]",
    "upper_offset": "at most 1 + high",
    "upper_absolute": "at most high",
    "none": "not clipped",
}


@dataclass(frozen=True)
class AdvantageConvention:
    """(R − baseline)/denominator of each group.

    Parameters
    ----------
    baseline : str
        Key of `BASELINES`.
    scale : str
        Key of `SCALES`: what the denominator is the standard deviation of.
    ddof : int
        0: divided by the number of values; 1: by one less.
    eps_placement : str
        Key of `PLACEMENTS`.
    eps : float
        ε; 0 where absent.
    """

    baseline: str = "mean"
    scale: str = "std"
    ddof: int = 0
    eps_placement: str = "absent"
    eps: float = 0.0

    def __str__(self) -> str:
        if self.scale == "none":
            return f"reward − {BASELINES[self.baseline]}" if self.baseline != "none" else "reward"
        eps = PLACEMENTS[self.eps_placement]
        if self.eps_placement != "absent":
            eps += f" ({self.eps:g})"
        return f"{BASELINES[self.baseline]}, {SCALES[self.scale]} (ddof {self.ddof}), {eps}"


def advantage_conventions() -> Iterator[AdvantageConvention]:
    """All of the table, the plainest first."""
    for baseline in BASELINES:
        yield AdvantageConvention(baseline, "none")
    scales = [scale for scale in SCALES if scale != "none"]
    for scale, ddof, baseline in product(scales, (0, 1), BASELINES):
        yield AdvantageConvention(baseline, scale, ddof)
    placements = [p for p in PLACEMENTS if p != "absent"]
    for placement, eps, scale, ddof, baseline in product(
        placements, EPSILONS, scales, (0, 1), BASELINES
    ):
        yield AdvantageConvention(baseline, scale, ddof, placement, eps)


@dataclass(frozen=True)
class KLConvention:
    """An estimator of KL(π‖π_ref) and what it is differentiated to.

    Parameters
    ----------
    estimator : {"k1", "k2", "k3", "abs"}
        As in `identity.surrogates.kl`; "abs" is |log π − log π_ref|.
    gradient : {"value", "policy", "none"}
        As there; "none" if no gradient flows.
    """

    estimator: str
    gradient: str

    def __str__(self) -> str:
        words = {
            "value": "differentiated as it stands",
            "policy": "with the gradient log(π/π_ref)·∇log π",
            "none": "no gradient",
        }
        return f"{self.estimator}, {words[self.gradient]}"


def kl_conventions() -> Iterator[KLConvention]:
    """All of the table."""
    for estimator, gradient in product(("k3", "k1", "k2", "abs"), ("value", "policy", "none")):
        if (estimator, gradient) != ("k2", "policy"):  # the same as by value
            yield KLConvention(estimator, gradient)


@dataclass(frozen=True)
class LossConvention:
    """A policy loss.

    Parameters
    ----------
    normaliser : str
        Key of `NORMALISERS`.
    objective : {"ppo_clip", "cispo", "reinforce", "importance"}
        As in `identity.surrogates.token_loss`; "importance" is −ρA without a clip.
    level : {"token", "sequence", "sequence_token"}
        Of the importance ratio.
    bounds : {"offset", "absolute", "upper_offset", "upper_absolute", "none"}
        How the two numbers for the clip are read: [1 − low, 1 + high], [low, high], or their upper
        one alone.
    dual_clip : bool
        Whether the dual clip is applied.
    kl : KLConvention, optional
        Divergence added to the loss.
    kl_ratio : bool
        Whether that is multiplied by the importance ratio, which is differentiated too.
    """

    normaliser: str
    objective: str = "ppo_clip"
    level: str = "token"
    bounds: str = "offset"
    dual_clip: bool = False
    kl: KLConvention | None = None
    kl_ratio: bool = False

    @property
    def ratio(self) -> str:
        """Which importance ratio."""
        if self.objective == "reinforce":
            return "no ratio"
        return f"{self.level.replace('_', '-')} ratio"

    @property
    def divergence(self) -> str:
        """What is added for the divergence."""
        return f"β·{'ratio·' if self.kl_ratio else ''}({self.kl})"

    @property
    def surrogate(self) -> str:
        """What is made of ratio and advantage."""
        parts = [OBJECTIVES[self.objective], self.ratio]
        if self.objective in ("ppo_clip", "cispo"):
            parts.append(BOUNDS[self.bounds])
        if self.dual_clip:
            parts.append("dual clip")
        return ", ".join(parts)

    def __str__(self) -> str:
        parts = [self.surrogate, NORMALISERS[self.normaliser]]
        if self.kl is not None:
            parts.append(f"plus {self.divergence}")
        return ", ".join(parts)


@dataclass(frozen=True)
class AggregateConvention:
    """How losses of tokens become one number.

    Parameters
    ----------
    normaliser : str
        Key of `NORMALISERS`.
    """

    normaliser: str

    def __str__(self) -> str:
        return NORMALISERS[self.normaliser]


Convention = AdvantageConvention | AggregateConvention | LossConvention | KLConvention

ESTIMATORS = ("k1", "k2", "k3", "abs")
LEVELS = ("token", "sequence", "sequence_token")
YES_NO = (False, True)

# What an operation of a kind may promise, and the values; none listed: any number.
FIELDS: dict[str, dict[str, tuple[object, ...]]] = {
    "advantage": {
        "baseline": tuple(BASELINES),
        "scale": tuple(SCALES),
        "ddof": (0, 1),
        "eps_placement": tuple(PLACEMENTS),
        "eps": (),
    },
    "aggregate": {"normaliser": tuple(NORMALISERS)},
    "loss": {
        "normaliser": tuple(NORMALISERS),
        "objective": tuple(OBJECTIVES),
        "level": LEVELS,
        "bounds": tuple(BOUNDS),
        "dual_clip": YES_NO,
        "kl_estimator": ESTIMATORS,
    },
    "kl": {"estimator": ESTIMATORS, "gradient": ("value", "policy", "none")},
}
