"""Topic ``preference``."""

from proofs.kernel.theorem import Theorem

THEOREMS: tuple[Theorem, ...] = ()
