"""Topic ``expectation``: what the update of a finite group ascends, on average."""

from proofs.expectation.lemmas import power_order, score_means, tangent_line
from proofs.expectation.weight import (
    general_weight,
    grpo_weight,
    no_bias_at_two,
    saturation,
    unbiased_any_group,
)

THEOREMS = (
    score_means(),
    power_order(),
    tangent_line(),
    general_weight(),
    grpo_weight(),
    no_bias_at_two(),
    unbiased_any_group(),
    saturation(),
)
