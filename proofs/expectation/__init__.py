"""Topic ``expectation``: what the update of a finite group ascends, on average."""

from proofs.expectation.group_size import group_size_law, rare, second_order
from proofs.expectation.lemmas import power_order, score_means, tangent_line
from proofs.expectation.methods import (
    bessel_weight,
    dapo,
    dapo_same_as_grpo,
    dr_grpo,
    max_rl,
    mixed_share_theorem,
    pass_at_k,
    rloo,
    verifier_noise,
)
from proofs.expectation.shape import arcsine, attenuation, binomial_sum, monotone
from proofs.expectation.silent import (
    conditional_baseline,
    silent_plug_in,
    silent_rate,
    silent_u_statistic,
    tail_miss,
)
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
    dr_grpo(),
    rloo(),
    bessel_weight(),
    mixed_share_theorem(),
    dapo(),
    dapo_same_as_grpo(),
    pass_at_k(),
    max_rl(),
    verifier_noise(),
    binomial_sum(),
    monotone(),
    arcsine(),
    attenuation(),
    group_size_law(),
    second_order(),
    rare(),
    silent_rate(),
    silent_u_statistic(),
    silent_plug_in(),
    conditional_baseline(),
    tail_miss(),
)
