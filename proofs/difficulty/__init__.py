"""Topic ``difficulty``: every method as a weight on ∇p, and what such a weight does.

Functions of the success probability p are differentiated by p and by the logit of p; estimators
are means over rollouts, or over draws from a law of any finite size. Weights, forecasts and
exponents are real and symbolic.
"""

from proofs.difficulty.atlas import atlas
from proofs.difficulty.escort import tsallis_loss
from proofs.difficulty.estimators import garl_bias
from proofs.difficulty.expansion import power_remainders
from proofs.difficulty.gated import snr_vanishes, success_gated_snr
from proofs.difficulty.kernel_peak import beta_kernel
from proofs.difficulty.plug_in import plug_in
from proofs.difficulty.resampling import paft
from proofs.difficulty.robustness import minimax
from proofs.difficulty.tangent import log_q_tangent
from proofs.kernel.theorem import Theorem

THEOREMS: tuple[Theorem, ...] = (
    atlas(),
    beta_kernel(),
    minimax(),
    plug_in(),
    success_gated_snr(),
    snr_vanishes(),
    log_q_tangent(),
    tsallis_loss(),
    *power_remainders(),
    garl_bias(),
    paft(),
)
