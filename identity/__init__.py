"""Verified reference implementations of group-based policy-gradient methods.

Every public function carries the ids of the theorems that it implements
(``function.__proven__``); ``grpo-identity explain ID`` prints the derivation.
"""

from identity.errors import DomainError
from identity.proven import proven, proven_functions

__version__ = "0.1.0"

__all__ = ["DomainError", "__version__", "proven", "proven_functions"]
