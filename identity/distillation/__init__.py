"""Distillation: divergences from a teacher, its reward, and the way from student to teacher.

Laws are given by logits or log-probabilities over their last axis and normalised here. The
*reverse* divergence KL(π‖π_T) is the mean over what the student samples, the *forward* one
KL(π_T‖π) over what the teacher samples; both take the student first. ``level`` has no default:
the divergence of the next token and that of whole responses are different numbers with different
gradients.

Conventions that every function here keeps:

* **Arrays, integers, checks**: as in `identity.groups`. float16 and bfloat16 compute in float32.
  Several arguments have the dtype of their promotion. Under ``jit``, ``vmap`` and
  ``torch.compile`` only shapes and dtypes are checked.
* **Probability 0** is a logit of −inf: 0 log 0 = 0, and a ratio whose denominator is 0 where the
  mean looks is an error where visible, never a NaN.
* **Masked laws and tokens** never matter, whatever lies there. They have value 0 and derivative 0.
* **Differentiation** is with respect to logits; rewards for a policy gradient are constants.
"""

from identity.distillation.divergence import forward_kl, reverse_kl
from identity.distillation.reward import on_policy_distillation_reward
from identity.distillation.teacher import first_step_gain, geometric_tilt

__all__ = [
    "first_step_gain",
    "forward_kl",
    "geometric_tilt",
    "on_policy_distillation_reward",
    "reverse_kl",
]
