"""Topic ``preference``: two rollouts, DPO, and what pairs do over sampling.

One pair and one group come first, with losses that are differentiated; then what two-rollout GRPO
and DPO ascend over the pairs of a prompt; then what contrasts, discarded pairs and a budget of
prompts and rollouts do to the step.
"""

from proofs.kernel.theorem import Theorem
from proofs.preference.budget import budget_variance, rollout_iid
from proofs.preference.contrast import contrast_gain, control_variate
from proofs.preference.discard import discard_rate, mean_discard_rate
from proofs.preference.dpo import dpo_gradient, equivalence
from proofs.preference.exploration import exploration, exploration_equal_epochs
from proofs.preference.pairs import all_groups, two_grpo
from proofs.preference.sampling import advantage_limit, prompt_level, weighted_pairs

THEOREMS: tuple[Theorem, ...] = (
    two_grpo(),
    dpo_gradient(),
    equivalence(),
    all_groups(),
    prompt_level(),
    weighted_pairs(),
    advantage_limit(),
    control_variate(),
    contrast_gain(),
    discard_rate(),
    mean_discard_rate(),
    exploration(),
    exploration_equal_epochs(),
    budget_variance(),
    rollout_iid(),
)
