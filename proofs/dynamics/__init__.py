"""Topic ``dynamics``."""

from proofs.kernel.theorem import Theorem

THEOREMS: tuple[Theorem, ...] = ()
