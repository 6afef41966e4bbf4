"""Topic ``distillation``: a student that learns from a teacher's log-probabilities.

The left side of every statement is a divergence or a mean reward as it is defined, differentiated
along a direction of the student's parameters; the right side is the closed form.
"""

from proofs.distillation.first_step import better_teacher_helps, first_step
from proofs.distillation.opd import opd
from proofs.distillation.sequences import future_terms, per_token_kl
from proofs.distillation.tilt import tilt

THEOREMS = (
    opd(),
    tilt(),
    first_step(),
    better_teacher_helps(),
    future_terms(),
    per_token_kl(),
)
