"""Difficulty: every method as one weight on ∇p, and what it costs to get that weight wrong.

A prompt has the success probability p. A method that ascends F(p) takes the step w(p)∇p with
w = F′; its *gradient mass*, w(p)·p(1−p), is the expected step on a prompt with one scalar logit.
`difficulty_weight` has the weight of every method here under one name.

Conventions, beside those of `identity.expectation` for arrays, dtypes, integers, checks and bounds:

* **Exponents** (q, alpha, beta) are numbers of Python or NumPy, static under ``jit``, from 0 to
  2²⁰, rounded to the dtype that computes. q is Tsallis' index wherever it is an argument; it is
  never 1 − p.
* **Ends.** Where a weight is infinite at p = 0 or 1, that p raises, and so does any p whose result
  the dtype cannot hold. Derivatives may be infinite, of the right sign.
* **Scales.** Nothing is normalised over prompts. Functions of weights alone, `escort` and
  `weight_efficiency`, do not depend on their scale.
* **Pools.** A pool of M draws lies along the last axis of its weights, with further axes for
  further pools; arrays are never broadcast.
* **Under** ``jit``, ``vmap`` **and** ``torch.compile`` values are not looked at, and one outside
  the domain gives a result without meaning.
"""

from identity.difficulty.atlas import METHODS, difficulty_weight
from identity.difficulty.kernel import beta_kernel, beta_kernel_peak
from identity.difficulty.pool import garl_estimate, paft_estimate
from identity.difficulty.robust import minimax_efficiency, weight_efficiency
from identity.difficulty.success import success_gated_snr, success_variance
from identity.difficulty.tsallis import escort, tsallis_weight

__all__ = [
    "METHODS",
    "beta_kernel",
    "beta_kernel_peak",
    "difficulty_weight",
    "escort",
    "garl_estimate",
    "minimax_efficiency",
    "paft_estimate",
    "success_gated_snr",
    "success_variance",
    "tsallis_weight",
    "weight_efficiency",
]
