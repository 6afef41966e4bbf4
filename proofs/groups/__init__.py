"""Topic ``groups``: one sampled group, exact.

The left side of every statement is the algorithm's definition, written as sums over the
rollouts of one group; the right side is the closed form. Scores are vectors of any dimension:
statements hold for each coordinate d of D.
"""

from proofs.groups.baselines import dapo, dr_grpo, rloo
from proofs.groups.identity import all_pairs, binary_std, identity
from proofs.groups.implemented import as_implemented, loo_std_direction, unanimous_rounding
from proofs.groups.invariance import baseline_invariance
from proofs.groups.real_rewards import real_rewards

THEOREMS = (
    binary_std(),
    identity(),
    baseline_invariance(),
    dr_grpo(),
    dapo(),
    rloo(),
    real_rewards(),
    as_implemented(),
    all_pairs(),
    loo_std_direction(),
    unanimous_rounding(),
)
