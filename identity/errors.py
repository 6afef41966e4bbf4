"""The one error that bad input raises."""

from __future__ import annotations

__all__ = ["DomainError"]


class DomainError(ValueError):
    """An argument lies outside the domain on which a function is proven.

    Parameters
    ----------
    argument : str
        Name of the offending argument.
    value : object
        The value that was passed (shown in the message by its ``repr``, shortened).
    rule : str
        The rule that it breaks, written so that "argument must ..." reads well.

    Attributes
    ----------
    argument, value, rule
        As passed, so that a caller can react to them without parsing the message.
    """

    # No call of ValueError's own initialiser, which torch.compile does not trace. Python has put
    # the arguments into `args`, from which an error is unpickled (multiprocessing).
    def __init__(self, argument: str, value: object, rule: str) -> None:
        self.argument = argument
        self.value = value
        self.rule = rule

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 120:
            shown = shown[:117] + "..."
        return f"{self.argument} must {self.rule}; got {shown}"
