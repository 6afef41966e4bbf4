"""Topic ``aggregation``: how responses of different lengths become one gradient.

The left side of every statement is what a method computes: weighted sums over the responses of a
group, over draws from a law, or over the parts of a batch. Gradients are given coordinate by
coordinate. Probability spaces are finite, of any size.
"""

from proofs.aggregation.baseline import shared_baseline, shared_baseline_covariance
from proofs.aggregation.batches import batch_group_gap, batch_or_group, padded_width, padding
from proofs.aggregation.exponent import delta_l_alpha, tilted_mean
from proofs.aggregation.given_lengths import linear_moments, table
from proofs.aggregation.least_variance import best_weights, minimum_variance
from proofs.aggregation.parts import sequence_mean_split, split
from proofs.aggregation.ratio import grpo_length, token_mean_ratio
from proofs.aggregation.unbiased import delta_l_bias, delta_l_unbiased, delta_l_unconditional
from proofs.kernel.theorem import Theorem

THEOREMS: tuple[Theorem, ...] = (
    linear_moments(),
    table(),
    minimum_variance(),
    tilted_mean(),
    delta_l_alpha(),
    delta_l_unbiased(),
    delta_l_bias(),
    delta_l_unconditional(),
    shared_baseline_covariance(),
    best_weights(),
    shared_baseline(),
    batch_group_gap(),
    batch_or_group(),
    token_mean_ratio(),
    grpo_length(),
    split(),
    sequence_mean_split(),
    padding(),
    padded_width(),
)
