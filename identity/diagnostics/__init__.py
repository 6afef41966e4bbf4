"""What group-based training sees on a set of prompts: read a log, compute the figures."""

from identity.diagnostics.errors import LogFormatError
from identity.diagnostics.planning import COLUMN_THEOREMS, Plan, PlanRow, plan_group_size
from identity.diagnostics.reading import read_log
from identity.diagnostics.report import (
    DEFAULT_GROUP_SIZES,
    MASS_METHODS,
    MASS_NOTE,
    MAX_GROUP_SIZE,
    ZONES,
    diagnose,
)
from identity.diagnostics.results import (
    Diagnosis,
    GroupSizeAdvice,
    MassRow,
    Quantile,
    SilentRow,
    Unanimous,
)
from identity.diagnostics.shapes import PROMPT_COLUMNS, REWARD_COLUMNS

__all__ = [
    "COLUMN_THEOREMS",
    "DEFAULT_GROUP_SIZES",
    "MASS_METHODS",
    "MASS_NOTE",
    "MAX_GROUP_SIZE",
    "PROMPT_COLUMNS",
    "REWARD_COLUMNS",
    "ZONES",
    "Diagnosis",
    "GroupSizeAdvice",
    "LogFormatError",
    "MassRow",
    "Plan",
    "PlanRow",
    "Quantile",
    "SilentRow",
    "Unanimous",
    "diagnose",
    "plan_group_size",
    "read_log",
]
