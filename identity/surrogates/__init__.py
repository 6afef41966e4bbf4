"""From log-probabilities and advantages to the loss: ratios, clipping, divergence, presets.

B responses of up to T tokens have log-probabilities log π under the policy, log π_old under the
policy that sampled them, log π_ref under a reference, and a mask of the tokens that count.

Conventions that every function here keeps:

* **Arrays, integers, checks**: as in `identity.groups`. float16 and bfloat16 compute in float32.
  Several arguments have the dtype of their promotion. Checks look at values where these are
  visible, through two reductions of the whole batch; under ``jit``, ``vmap`` and ``torch.compile``
  only shapes and dtypes are checked. With ``fullgraph=True`` torch raises an error of its own,
  which quotes ours.
* **Differentiation** is with respect to ``logp`` alone. ``old_logp``, ``ref_logp`` and advantages
  are constants, so that giving ``logp`` twice means on policy.
* **Masked tokens** never matter, whatever lies there: NaN, ±inf, 1e30. They have value 0 and
  derivative 0, and change no bit of a loss or of a gradient; nor does wider padding, but for the
  sign of a loss that is 0.
* **Losses** are to be minimised: minus the objective.
* **Clips** are offsets from 1: ``(0.2, 0.28)`` is the interval [0.8, 1.28]. A ratio of 1 is always
  inside. A bound counts as inside, so that the derivative there is that of the unclipped surrogate.
* **Extremes**: log-ratios saturate at 64 (512 in float64, 11 in float16), with derivative 0 above;
  log π = −inf gives ratio 0 with derivative 0. Everything stays finite, until a sum leaves the
  dtype, which is an error where visible. log π_old = −inf is an error where visible, since the
  token was sampled; under ``jit`` its ratio saturates, and is 0 where log π = −inf too.
* **Bounds** are in ulp of the computing dtype, as in `identity.groups`.
"""

from identity.surrogates.divergence import kl
from identity.surrogates.losses import policy_loss, token_loss
from identity.surrogates.preset import Preset
from identity.surrogates.published import PRESETS
from identity.surrogates.ratios import importance_ratio

__all__ = ["PRESETS", "Preset", "importance_ratio", "kl", "policy_loss", "token_loss"]
