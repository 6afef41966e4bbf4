"""One sampled group, exactly: standard deviation, advantages, and the update they make.

One prompt has G ≥ 2 rollouts with rewards R_i and scores s_i = ∇ log π(y_i); μ and σ are the
mean and the population standard deviation of its rewards, k the number correct.

Conventions that every function here keeps:

* **Arrays.** NumPy, torch, JAX or any other array-API library; the result stays in that library,
  on the same device, in the same dtype. Integer and bool rewards take the library's default
  floating dtype (or that of the scores beside them). float16 and bfloat16 compute in float32 and
  are rounded once at the end. Sequences become NumPy arrays. Sparse and nested tensors are no
  arrays.
* **Integers** (rewards, advantages, scores, counts) must be exact in the dtype that computes: at
  most 2²⁴ in magnitude, 2⁵³ in float64. They are checked before they are converted, so that no two
  different rewards become equal. Group ids are never converted and may be any integers.
* **Groups.** The last axis of ``rewards`` is the group; leading axes are a batch of groups. Or
  give flat rewards of shape (N,) with ``groups``, N integer ids: groups may then differ in size
  and lie in any order, and results have one entry for each rollout. That sorts the ids once and
  takes O(N) memory and O(N log N) time, under ``jit`` for any number of groups.
* **Unanimous groups** (all rewards equal) give exactly 0, in value and in every derivative.
* **Checks.** Where values can be seen, each rule listed under *Preconditions (checked)* raises
  `identity.errors.DomainError`. Under ``jit``, ``vmap`` and ``torch.compile`` only shapes and
  dtypes are checked. A check on an accelerator waits for it.
* **Bounds** are in ulp of the computing dtype, for results in its normal range; below it, add
  the smallest float (the smallest normal one where subnormals are flushed to 0, as XLA does).
  For float16 and bfloat16 add ½ ulp of that dtype.
* **Derivatives** by automatic differentiation, in reverse and forward mode, of torch and JAX, are
  within 8G + 24 ulp: of 1/(std + eps) for `grpo_advantages`, of the largest entry for the others.
  That holds for rewards of any normal size (each in [2⁻¹²², 2¹²⁰] in float32, [2⁻¹⁰⁰⁰, 2¹⁰⁰⁰] in
  float64, or 0) and eps ≤ 1. `group_update` and `score_contrast` need |A_i s_i| ≤ 2¹⁰⁰ (2⁹⁰⁰).
  `regression_slope` has twice that bound, for rewards and scores in [2⁻⁶⁰, 2⁶⁰]
  ([2⁻⁴⁸⁰, 2⁴⁸⁰]) and a largest entry above 2⁻⁷⁰ (2⁻⁶⁰⁰). Derivatives may overflow where the true
  ones come near the largest float. Second derivatives carry no bound.
"""

from identity.groups.advantages import dr_grpo_advantages, grpo_advantages, rloo_advantages
from identity.groups.spread import binary_std, dapo_keep, group_std
from identity.groups.updates import group_update, regression_slope, score_contrast

__all__ = [
    "binary_std",
    "dapo_keep",
    "dr_grpo_advantages",
    "group_std",
    "group_update",
    "grpo_advantages",
    "regression_slope",
    "rloo_advantages",
    "score_contrast",
]
