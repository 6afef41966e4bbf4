"""Topic ``dynamics``: what happens over training.

Near a fixed point training is a heavy ball with stale gradients; far from it, an equation for the
success probability. Times are integrals of dp/p'. Stability is a statement about the roots of a
characteristic equation, which are written in polar or Cartesian coordinates: every term is real.
"""

from proofs.dynamics.bandit import (
    bandit_saturation,
    exponential_needs_restoring_force,
    restoring_force,
)
from proofs.dynamics.cold_start import (
    cold_start,
    cold_start_grpo,
    noise_equilibrium,
    noise_fitting,
)
from proofs.dynamics.delays import delay_threshold
from proofs.dynamics.group_size import group_size_invariance
from proofs.dynamics.laplace import laplace_limit
from proofs.dynamics.oscillator import oscillator, overdamped
from proofs.dynamics.refresh import (
    block_threshold,
    partial_sum,
    refresh_threshold,
    refresh_threshold_general,
)
from proofs.dynamics.stability import jury, onset
from proofs.dynamics.staleness import delay_sufficient, sine_multiple
from proofs.dynamics.stationary import stationary_variance
from proofs.dynamics.success import success_recursion
from proofs.kernel.theorem import Theorem

THEOREMS: tuple[Theorem, ...] = (
    oscillator(),
    overdamped(),
    jury(),
    onset(),
    stationary_variance(),
    refresh_threshold(),
    sine_multiple(),
    delay_sufficient(),
    delay_threshold(),
    partial_sum(),
    block_threshold(),
    refresh_threshold_general(),
    bandit_saturation(),
    restoring_force(),
    exponential_needs_restoring_force(),
    group_size_invariance(),
    success_recursion(),
    laplace_limit(),
    cold_start(),
    cold_start_grpo(),
    noise_equilibrium(),
    noise_fitting(),
)
