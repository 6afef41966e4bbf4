"""Topic ``surrogates``: ratios, clips, full losses, and the divergence from a reference.

The left side of every statement is a loss as the method defines it, token by token, and its slope
along one direction of parameter space; what the loss holds constant is written with its value.
The right side is the closed form.
"""

from proofs.surrogates.cispo import cispo_bound, cispo_gradient
from proofs.surrogates.clipping import clip_gradient
from proofs.surrogates.divergence import kl_as_loss, kl_gradients, kl_values
from proofs.surrogates.losses import full_loss
from proofs.surrogates.on_policy import on_policy
from proofs.surrogates.sequences import gspo_length, gspo_ratio

THEOREMS = (
    on_policy(),
    full_loss(),
    clip_gradient(),
    cispo_gradient(),
    cispo_bound(),
    gspo_ratio(),
    gspo_length(),
    kl_values(),
    kl_gradients(),
    kl_as_loss(),
)
