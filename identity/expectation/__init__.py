"""What a finite group ascends in expectation: weights, surrogates, attenuation, silent groups.

One prompt with success probability p, G rollouts with binary rewards. A method whose advantages
depend on the group only through the number correct has E[g] = W_G(p) ∇p; this package evaluates
W_G, its integral, and the quantities that follow, on arrays of p of any library. The module
`_binomial` says how a sum over G + 1 outcomes becomes a few operations per element.

Conventions that every function here keeps:

* **Dtypes.** float16 and bfloat16, NumPy's from `ml_dtypes` included, compute in float32 and are
  rounded once at the end; bounds are in eps of the dtype that computes. Integers count where that
  dtype holds them exactly, up to 2²⁴ (float64: 2⁵³) in magnitude; visible ones beyond raise
  `identity.errors.DomainError` before anything is rounded.
* **Derivatives** f′ with respect to p (and, in its place, τ, t or f) by automatic differentiation,
  in reverse and forward mode, of torch and JAX, are within c eps of |f′| + |f|/(pq + 1/G) for p in
  [1e-30, 1 − 2^-24] (float32) or [1e-300, 1 − 2^-53] (float64). c is 4096 (5e-4 in float32, 1e-12
  in float64) where a table is evaluated: `expected_std`, `fidelity`, `verifier_noise_weight`, the
  weights and masses of grpo and dapo, the surrogates of grpo, dapo and max_rl; elsewhere c is 16. A
  derivative may be infinite, of the right sign, where it, or 1/p² in a function with a pole at 0,
  passes a quarter of the largest float, and 0 below the smallest normal number. Second ones carry
  no bound.
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
