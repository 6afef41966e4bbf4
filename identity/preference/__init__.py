"""Two rollouts and preferences: where GRPO on pairs meets DPO, and what it discards.

One prompt with success probability p, q = 1 − p. A pair is two rollouts with scores
s = ∇ log π(y); s⁺ and s⁻ belong to the better and the worse of them, and Δ is the margin of their
log-ratios to a reference, log(π(y⁺)/π_ref(y⁺)) − log(π(y⁻)/π_ref(y⁻)).

The step of a group of two is ½(s⁺ − s⁻), the descent of DPO's loss βS(−βΔ)(s⁺ − s⁻), S the
logistic function: the same direction, and 2βS(−βΔ) times the length, which is β at the reference
(Δ = 0). That holds for one pair. Over sampling they differ: pairs are mixed with probability 2pq,
and so 2-GRPO ascends p; DPO with one mixed pair for each prompt, at the reference, ascends
(β/2) log(p/q).

Conventions, beside those of `identity.groups` and `identity.expectation` for arrays, dtypes,
integers, checks and bounds:

* **Shapes.** Arguments with one entry for each pair or prompt have one shape and are never
  broadcast. Functions of p, as in `identity.expectation`, also take a number beside an array.
* **Numbers** (beta) are of Python or NumPy, and static under ``jit``.
* **Weights** of prompts are non-negative with a positive sum; only their ratios matter.
* **Under** ``jit``, ``vmap`` **and** ``torch.compile`` values are not looked at, and one outside
  the domain gives a result without meaning: NaN for a reward that is NaN or, where they must be
  binary, neither 0 nor 1.
"""

from identity.preference.budget import budget_variance
from identity.preference.contrast import contrast_gain, optimal_contrast
from identity.preference.dpo import dpo_gradient_weight, dpo_loss
from identity.preference.pairs import pairwise_update, two_grpo_update
from identity.preference.sampling import discard_rate, expected_advantage, mean_discard_rate

__all__ = [
    "budget_variance",
    "contrast_gain",
    "discard_rate",
    "dpo_gradient_weight",
    "dpo_loss",
    "expected_advantage",
    "mean_discard_rate",
    "optimal_contrast",
    "pairwise_update",
    "two_grpo_update",
]
