"""From token losses to one number: which weight each token, sequence and group gets.

A batch has B responses of up to T tokens; ``mask`` (B, T) says which tokens count and ``loss``
(B, T) what each contributes. A *method* is a choice of weights w, the loss Σ w ℓ; the names and
formulas are in `token_weights`. `aggregate` computes the loss, `partial_sums` and `combine` the
same from parts of the batch, and the rest says what a method estimates when responses differ in
length.

Conventions that every function here keeps:

* **Arrays.** NumPy, torch, JAX or any other array-API library; results stay in that library, on
  the same device, in the same dtype. float16 and bfloat16 compute in float32 and are rounded once
  at the end. Sequences become NumPy arrays.
* **Order of addition.** Sums over tokens and rows are binary trees of fixed shape, the same on all
  libraries, devices and layouts in memory, to which zeros at the end add nothing: see `_tree`. So
  widening the padding at the end of the rows changes no bit of a loss or of a gradient, but the
  sign of a zero.
* **Masked tokens** are replaced before anything is computed of them.
* **Checks.** Where values can be seen, each rule listed under *Preconditions (checked)* raises
  `identity.errors.DomainError`. Under ``jit``, ``vmap`` and ``torch.compile`` only shapes and
  dtypes are checked. A check on an accelerator waits for it. A bool mask needs no check.
* **Bounds** are in ulp of the computing dtype, for results in its normal range; below it, add the
  smallest float (the smallest normal one where subnormals are flushed to 0, as XLA does). For
  float16 and bfloat16 add ½ ulp of that dtype.
* **Derivatives** with respect to losses are the weights, within the bound of `token_weights`, in
  reverse and forward mode of torch and JAX. Weights are constants: masks, constants and group ids
  have no derivative.
"""

from identity.aggregation.bias import estimator_bias
from identity.aggregation.estimators import (
    coefficient_of_variation,
    estimator_mean,
    estimator_variance,
)
from identity.aggregation.parts import PartialSums, combine, partial_sums
from identity.aggregation.weights import aggregate, token_weights

__all__ = [
    "PartialSums",
    "aggregate",
    "coefficient_of_variation",
    "combine",
    "estimator_bias",
    "estimator_mean",
    "estimator_variance",
    "partial_sums",
    "token_weights",
]
