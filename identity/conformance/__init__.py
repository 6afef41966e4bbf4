"""What the installed trainers compute: call them, and say which convention each operation keeps.

`load` finds the adapter of a library, or code of one's own; `conform` calls its operations on the
inputs of the `CASES` and yields a `Result` for each:

* ``equals`` a convention, or ``equals ×`` a factor in closed form;
* ``differs``, with the smallest input found, what was expected and what came out, the theorem that
  it departs from, and a control: a call through the same adapter that gives what is expected;
* ``cannot run``, with the reason.

A difference is a difference, not an error: methods have many conventions, and which one a library
keeps is its own choice. The wording says what is computed.

Conventions, cases and departures are data, in the modules of those names. Adapters of libraries
are in `identity.conformance.targets`; they call what is installed and compute nothing themselves.

The extra ``conformance`` installs what is needed: torch and Hypothesis, which looks for the inputs.
"""

from identity.conformance.batches import Answer, Gaps, Losses, Rewards, Tokens
from identity.conformance.calls import attribute, call
from identity.conformance.cases import CASES, Case
from identity.conformance.operation import CannotRun, Operation, Settings
from identity.conformance.results import Result
from identity.conformance.run import conform
from identity.conformance.target import LIBRARIES, Target, load

__all__ = [
    "CASES",
    "LIBRARIES",
    "Answer",
    "CannotRun",
    "Case",
    "Gaps",
    "Losses",
    "Operation",
    "Result",
    "Rewards",
    "Settings",
    "Target",
    "Tokens",
    "attribute",
    "call",
    "conform",
    "load",
]
