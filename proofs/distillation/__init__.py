"""Topic ``distillation``."""

from proofs.kernel.theorem import Theorem

THEOREMS: tuple[Theorem, ...] = ()
