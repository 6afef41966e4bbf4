"""What a finite group ascends in expectation: weights, surrogates, attenuation, silent groups.

One prompt with success probability p, G rollouts with binary rewards. A method whose advantages
depend on the group only through the number correct has E[g] = W_G(p) ∇p; this package evaluates
W_G, its integral, and the quantities that follow, on arrays of p of any library. The module
`_binomial` says how a sum over G + 1 outcomes becomes a few operations per element.
"""

from identity.expectation.group_size import group_size_law, smallest_group_size
from identity.expectation.silent import (
    conditional_baseline,
    groups_per_kept,
    silent_rate,
    silent_rate_beta,
    silent_rate_unbiased,
    tail_miss,
)
from identity.expectation.surrogate import surrogate
from identity.expectation.weight import (
    expected_std,
    fidelity,
    gradient_mass,
    update_weight,
    verifier_noise_weight,
)

__all__ = [
    "conditional_baseline",
    "expected_std",
    "fidelity",
    "gradient_mass",
    "group_size_law",
    "groups_per_kept",
    "silent_rate",
    "silent_rate_beta",
    "silent_rate_unbiased",
    "smallest_group_size",
    "surrogate",
    "tail_miss",
    "update_weight",
    "verifier_noise_weight",
]
