"""What the kernel says when it will not accept something."""

from __future__ import annotations

__all__ = ["MalformedTheorem", "ProofError", "Undecided", "UndefinedValue", "Unsupported"]


class ProofError(Exception):
    """A proof was not accepted; the message says which step and why."""


class Undecided(ProofError):
    """A procedure could neither confirm nor deny. Never counted as success."""


class UndefinedValue(ArithmeticError):
    """An expression has no value at a point (division by zero, root of a negative number)."""


class Unsupported(UndefinedValue):
    """The evaluator has no procedure for this value, or too little precision.

    The value may well exist, so this refutes nothing.
    """


class MalformedTheorem(ProofError):
    """A theorem breaks a rule of form: empty domain, missing mutants, unknown id, ..."""
