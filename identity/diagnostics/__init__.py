"""What group-based training sees on a set of prompts, and what goes wrong in a run.

`read_log` and `diagnose` are about prompts: silent groups, gradient mass, group size. `read_run`
and `diagnose_run` are about one run over time: four failure modes told apart.
"""

from identity.diagnostics.errors import LogFormatError
from identity.diagnostics.planning import COLUMN_THEOREMS, Plan, PlanRow, plan_group_size
from identity.diagnostics.reading import read_any, read_log, read_run
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
from identity.diagnostics.run_columns import RUN_COLUMNS
from identity.diagnostics.run_modes import (
    EXCESS_MARGIN,
    LEAST_EVALUATIONS,
    LEAST_REWARDS,
    LEAST_STEPS,
)
from identity.diagnostics.run_report import diagnose_run
from identity.diagnostics.run_results import MODES, Finding, RunDiagnosis
from identity.diagnostics.runs import RUN_QUANTITIES, RunLog
from identity.diagnostics.shapes import PROMPT_COLUMNS, REWARD_COLUMNS

__all__ = [
    "COLUMN_THEOREMS",
    "DEFAULT_GROUP_SIZES",
    "EXCESS_MARGIN",
    "LEAST_EVALUATIONS",
    "LEAST_REWARDS",
    "LEAST_STEPS",
    "MASS_METHODS",
    "MASS_NOTE",
    "MAX_GROUP_SIZE",
    "MODES",
    "PROMPT_COLUMNS",
    "REWARD_COLUMNS",
    "RUN_COLUMNS",
    "RUN_QUANTITIES",
    "ZONES",
    "Diagnosis",
    "Finding",
    "GroupSizeAdvice",
    "LogFormatError",
    "MassRow",
    "Plan",
    "PlanRow",
    "Quantile",
    "RunDiagnosis",
    "RunLog",
    "SilentRow",
    "Unanimous",
    "diagnose",
    "diagnose_run",
    "plan_group_size",
    "read_any",
    "read_log",
    "read_run",
]
