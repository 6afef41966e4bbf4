"""The published methods, each constant with the paper, version and place it is taken from.

Places are given as we read them. What a paper does not print is said to be missing there, and the
value used is attributed to where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from identity.surrogates.preset import Preset

__all__ = ["PRESETS"]

_PPO = "arXiv 1707.06347 v2 (PPO), section 6.1: 0.2 did best of the values tried there"
_GRPO = "arXiv 2402.03300 v3 (DeepSeekMath)"
_DR_GRPO = "arXiv 2503.20783 v1 (Dr. GRPO)"
_DAPO = "arXiv 2503.14476 v2 (DAPO)"
_RLOO = "arXiv 2402.14740 v2 (RLOO)"
_GSPO = "arXiv 2507.18071 v2 (GSPO)"
_CISPO = "arXiv 2506.13585 v1 (MiniMax-M1)"
_TWO = "arXiv 2510.00977 v1 (2-GRPO; later versions not compared)"
_DELTA_L = "arXiv 2509.07558 v1 (ΔL normalization)"
_DELTA_L_SCRIPTS = (
    "its authors' scripts (github.com/zerolllin/Delta-L-Normalization, commit 89da5b9, as we read "
    "them)"
)
_EXACT_STD = (
    "; whether the standard deviation has G or G − 1 is not said there, nor an eps: ddof 0 and "
    "eps 0 are those of the identity, arXiv 2607.00152"
)

_METHODS = (
    Preset(
        name="grpo",
        advantage="grpo",
        objective="ppo_clip",
        clip=(0.2, 0.2),
        aggregation="grpo",
        kl_coefficient=0.04,
        kl_estimator="k3",
        kl_gradient="value",
        sources={
            "advantage": f"{_GRPO}, section 4.1.2{_EXACT_STD}",
            "objective": f"{_GRPO}, equation 3",
            "clip": f"{_GRPO}, equation 3, which has ε without a value; {_PPO}",
            "aggregation": f"{_GRPO}, equation 3: the mean over responses of means over tokens",
            "kl_coefficient": f"{_GRPO}, section 4.2: 0.04",
            "kl_estimator": f"{_GRPO}, equation 4",
            "kl_gradient": f"{_GRPO}, equation 3: the estimate is a term of the objective",
        },
    ),
    Preset(
        name="dr_grpo",
        advantage="dr_grpo",
        objective="ppo_clip",
        clip=(0.2, 0.2),
        aggregation="dr_grpo",
        sources={
            "advantage": f"{_DR_GRPO}, section 3.2: without the standard deviation",
            "objective": f"{_DR_GRPO}, section 3.2",
            "clip": f"{_DR_GRPO} prints ε without a value; {_PPO}",
            "aggregation": f"{_DR_GRPO}, section 3.2 and its listing: sums over tokens, divided by "
            "a constant, the longest response allowed",
            "kl_coefficient": f"{_DR_GRPO}: no divergence term",
        },
    ),
    Preset(
        name="dapo",
        advantage="grpo",
        objective="ppo_clip",
        clip=(0.2, 0.28),
        aggregation="dapo",
        per_group=True,
        sources={
            "advantage": f"{_DAPO}, equation 9{_EXACT_STD}. Its dynamic sampling drops groups of "
            "equal rewards before: identity.groups.dapo_keep",
            "objective": f"{_DAPO}, equation 8",
            "clip": f"{_DAPO}, section 4.1",
            "aggregation": f"{_DAPO}, equation 8: the mean over the tokens of a group",
            "per_group": f"{_DAPO}, equation 8, inside the expectation over prompts; trainers take "
            "the mean over the tokens of a batch, which is per_group=False",
            "kl_coefficient": f"{_DAPO}, section 2.3: no divergence term",
        },
    ),
    Preset(
        name="rloo",
        advantage="rloo",
        objective="reinforce",
        clip=None,
        aggregation="sequence_sum",
        sources={
            "advantage": f"{_RLOO}, section 3.2: the mean of the other responses as baseline",
            "objective": f"{_RLOO}, section 3: REINFORCE without ratio and clip",
            "clip": f"{_RLOO}, section 3: none",
            "aggregation": f"{_RLOO}, section 3: a response is one action, whose log-probability "
            "is the sum over its tokens",
            "kl_coefficient": f"{_RLOO}, section 3: the divergence is part of the reward, "
            "R − β log(π/π_ref), with β = 0.03 for TL;DR in appendix C, and not of the loss; give "
            "rewards that contain it",
        },
    ),
    Preset(
        name="gspo",
        advantage="grpo",
        objective="gspo",
        clip=(3e-4, 4e-4),
        aggregation="grpo",
        level="sequence",
        sources={
            "advantage": f"{_GSPO}, section 4.1{_EXACT_STD}",
            "objective": f"{_GSPO}, equation 5",
            "clip": f"{_GSPO}, section 5.1",
            "aggregation": f"{_GSPO}, equation 5: the mean over responses",
            "level": f"{_GSPO}, section 4.1: the ratio of the response, to the power 1/length",
            "kl_coefficient": f"{_GSPO} leaves the divergence term out",
        },
    ),
    Preset(
        name="cispo",
        advantage="grpo",
        objective="cispo",
        clip=(1.0, 4.0),
        aggregation="dapo",
        per_group=True,
        sources={
            "advantage": f"{_CISPO}, section 3.1: as in GRPO{_EXACT_STD}",
            "objective": f"{_CISPO}, equations 4 and 5",
            "clip": f"{_CISPO}, section 3.1: no lower bound, so low = 1; the upper one was tuned "
            "and its value is not printed. The interval [0, 5] is that of arXiv 2510.13786 v1 "
            "(ScaleRL), as quoted by TRL's recipe for it, so high = 4: an offset from 1, as ε_high "
            "is in equation 5",
            "aggregation": f"{_CISPO}, equation 4: the mean over the tokens of a group",
            "per_group": f"{_CISPO}, equation 4",
            "kl_coefficient": f"{_CISPO}, section 3.1: no divergence term",
        },
    ),
    Preset(
        name="two_grpo",
        advantage="grpo",
        objective="ppo_clip",
        clip=(0.2, 0.2),
        aggregation="grpo",
        group_size=2,
        sources={
            "advantage": f"{_TWO}: GRPO's{_EXACT_STD}. With ddof 0 it is ±1 or 0",
            "objective": f"{_TWO}: GRPO's",
            "clip": f"{_TWO}: GRPO's ε, the value of which we did not find there; {_PPO}",
            "aggregation": f"{_TWO}: GRPO's",
            "kl_coefficient": f"{_TWO}: the objective is written without a divergence term",
            "group_size": f"{_TWO}: two",
        },
    ),
    Preset(
        name="delta_l",
        advantage="grpo",
        objective="ppo_clip",
        clip=(0.2, 0.3),
        aggregation="delta_l",
        alpha=1.0,
        per_group=True,
        sources={
            "advantage": f"{_DELTA_L} changes the aggregation alone; the advantages are GRPO's"
            f"{_EXACT_STD}",
            "objective": f"{_DELTA_L} changes the aggregation alone; the objective is GRPO's",
            "clip": f"{_DELTA_L} changes the aggregation alone; {_DELTA_L_SCRIPTS} have "
            "clip_ratio_low=0.2 and clip_ratio_high=0.3; those in recipe/dapo add a dual clip of "
            "10, left out here",
            "aggregation": f"{_DELTA_L}: weights (1/M) L^-α / Σ L^-α of the group",
            "alpha": f"{_DELTA_L}: α = 1 is the weight of least variance; {_DELTA_L_SCRIPTS} have "
            "1 for countdown and 0.75 for mathematics",
            "per_group": f"{_DELTA_L}: the sum is over the group; its code sums over the batch, "
            "which is aggregation='delta_l_batch' with per_group=False",
            "kl_coefficient": f"{_DELTA_L} changes the aggregation alone; {_DELTA_L_SCRIPTS} have "
            "no divergence term",
        },
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({method.name: method for method in _METHODS})
"""The published methods by name."""
