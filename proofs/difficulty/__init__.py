"""Topic ``difficulty``."""

from proofs.kernel.theorem import Theorem

THEOREMS: tuple[Theorem, ...] = ()
