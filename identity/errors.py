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

    def __init__(self, argument: str, value: object, rule: str) -> None:
        self.argument = argument
        self.value = value
        self.rule = rule
        shown = repr(value)
        if len(shown) > 120:
            shown = shown[:117] + "..."
        # As ValueError would, whose initialiser torch.compile does not trace.
        self.args = (f"{argument} must {rule}; got {shown}",)

    def __reduce__(self) -> tuple[type[DomainError], tuple[str, object, str]]:
        # Without this, unpickling (multiprocessing) would call __init__ with the message alone.
        return type(self), (self.argument, self.value, self.rule)
