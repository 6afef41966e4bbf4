"""Between student and teacher: the geometric mixture, and the first step toward the teacher."""

from __future__ import annotations

import math

from identity._arrays import (
    Array,
    Namespace,
    finish,
    inspectable,
    largest_float,
    name_of,
    quiet,
    real_argument,
    require_all,
    require_finite,
    returned,
    stop_gradient,
)
from identity.distillation._laws import (
    filled,
    given_logits,
    law_of,
    require_covered,
    require_laws,
)
from identity.errors import DomainError
from identity.proven import proven

__all__ = ["first_step_gain", "geometric_tilt"]

_STUDENT, _TEACHER = "student_logits", "teacher_logits"


@proven("distillation.tilt")
def geometric_tilt(student_logits: Array, teacher_logits: Array, *, beta: float) -> Array:
    """Log-probabilities of π* ∝ π^(1−1/β) π_T^(1/β), the best law at divergence penalty β.

    Parameters
    ----------
    student_logits, teacher_logits : array, shape (..., V)
        Logits, or log-probabilities in nats: every law is normalised. −inf is a probability of 0.
    beta : float
        β > 0, dimensionless, or inf. 1 gives the teacher, inf the student, anything between them a
        law in between, and less than 1 one beyond the teacher.

    Returns
    -------
    array, shape (..., V)
        log π* in nats, in the common dtype; −inf where the probability is 0.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: equal shapes, not empty; logits below +inf and not NaN, not all −inf
    in one law; β positive with 1/β at most a quarter of the largest float of the computing dtype.
    Some token has a positive probability under both laws, unless β is 1 or inf; and for β < 1 the
    student's logits are above −inf wherever the teacher's are, since the objective has no bound
    otherwise. *(assumed under jit)*: such values.

    *Postcondition*: within 8ε (1 + (1 + 1/β)D + log V) + Vε of log π*, where D is the largest
    distance of a logit from the largest of its law, over the tokens that count. A token has
    probability 0 where a law with a positive exponent has it 0; exponents of 0 count as 0⁰ = 1.
    Differentiable by both logits.

    π* maximises E_π'[log π_T/π] − β KL(π'‖π) over all laws π'. The maximum is β log Z, Z the sum
    of π^(1−1/β) π_T^(1/β), and every other law is lower by β KL(π'‖π*).

    References
    ----------
    arXiv 2605.12483; reconstructed.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.distillation import geometric_tilt
    >>> student, teacher = np.log([0.1, 0.9]), np.log([0.9, 0.1])
    >>> np.exp(geometric_tilt(student, teacher, beta=2.0)).round(4)
    array([0.5, 0.5])
    >>> np.exp(geometric_tilt(student, teacher, beta=1.0)).round(4)
    array([0.9, 0.1])
    """
    xp, dtype, logits, _ = given_logits(
        student_logits=student_logits, teacher_logits=teacher_logits
    )
    share = _share(beta, name_of(logits[_STUDENT].dtype))
    for name, array in logits.items():
        require_laws(xp, name, array)
    if share > 1.0:
        played = stop_gradient(logits[_TEACHER]) > -math.inf
        require_covered(xp, _STUDENT, logits[_STUDENT], played, by=_TEACHER)
    with quiet(xp):
        student, teacher = law_of(xp, logits[_STUDENT]), law_of(xp, logits[_TEACHER])
        if share == 0.0:  # with 0 times the other one, so that its derivative is 0 and there
            mixed, counts = student.shifted + 0.0 * teacher.shifted, student.played
        elif share == 1.0:
            mixed, counts = teacher.shifted + 0.0 * student.shifted, teacher.played
        else:
            # Good also where both exponents are large and of opposite signs.
            mixed = student.shifted + share * (teacher.shifted - student.shifted)
            counts = student.played & teacher.played
        nowhere = filled(xp, -math.inf, mixed)
        mixed = xp.where(counts, mixed, nowhere)
        if inspectable(mixed):
            some = xp.any(counts, axis=-1)
            most = xp.max(stop_gradient(logits[_TEACHER]), axis=-1)
            rule = "be above -inf for some token for which student_logits is"
            require_all(xp, _TEACHER, most, some, rule)
        law = law_of(xp, mixed)
        result = returned(xp, xp.where(counts, law.shifted - law.log_mass, nowhere), dtype)
        if inspectable(result):
            good = xp.isfinite(stop_gradient(result)) | ~counts
            rule = f"give log-probabilities that {name_of(dtype)} can hold"
            require_all(xp, _TEACHER, stop_gradient(result), good, rule)
        return result


@proven(
    "distillation.first-step",
    "distillation.better-teacher-helps",
)
def first_step_gain(student_logits: Array, teacher_logits: Array, rewards: Array) -> Array:
    """Cov_S(R, log π_T/π_S): the slope of the reward in the first step toward a teacher.

    Parameters
    ----------
    student_logits, teacher_logits : array, shape (..., V)
        Logits, or log-probabilities in nats, of V responses: every law is normalised. −inf is a
        probability of 0.
    rewards : array, shape (..., V)
        The reward of each response, in any unit.

    Returns
    -------
    array, shape (...)
        The covariance under the student, in the unit of the rewards, in the common dtype; exactly
        0 where all rewards are equal.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: equal shapes, not empty; finite rewards; logits below +inf and not
    NaN, not all −inf in one law, and the teacher's above −inf wherever the student's is. Where the
    student's probability is 0 the response does not count. *(assumed under jit)*: such values; NaN
    where a teacher's 0 meets a student's positive probability.

    *Postcondition*: within ε ((2V + 4D) A + 4D)(max R − min R) of itself, A the student's
    mean of the distance of log π_T/π_S from its mean and D as in `reverse_kl`.

    It is dE[R]/dλ at λ = 0 along π_λ ∝ π_S^(1−λ) π_T^λ, `geometric_tilt` at β = 1/λ. It may be
    negative for a teacher of a higher reward. It differs from the gain E_T R − E_S R by at most
    (max R − E_S R) `reverse_kl` from below, and (E_S R − min R) `reverse_kl` from above: a teacher
    that is better by more than the first of these does help.

    References
    ----------
    arXiv 2605.12483; reconstructed. The bound is ours.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.distillation import first_step_gain
    >>> student, teacher = [0.1586, 0.5331, 0.3083], [0.0043, 0.4901, 0.5056]
    >>> rewards = np.array([1.0, 0.0, 1.0])
    >>> float(np.round(np.dot(np.subtract(teacher, student), rewards), 4))
    0.043
    >>> float(first_step_gain(np.log(student), np.log(teacher), rewards).round(4))
    -0.2028
    """
    xp, dtype, given, _ = given_logits(
        student_logits=student_logits, teacher_logits=teacher_logits, rewards=rewards
    )
    for name in (_STUDENT, _TEACHER):
        require_laws(xp, name, given[name])
    require_finite(xp, "rewards", given["rewards"])
    played = stop_gradient(given[_STUDENT]) > -math.inf
    require_covered(xp, _TEACHER, given[_TEACHER], played, by=_STUDENT)
    with quiet(xp):
        student, teacher = law_of(xp, given[_STUDENT]), law_of(xp, given[_TEACHER])
        zero = filled(xp, 0.0, given["rewards"])
        both = student.played & teacher.played
        moved = (teacher.logits - student.logits) - (teacher.largest - student.largest)
        ratio = xp.where(both, moved, zero)  # up to a constant, which a covariance does not see
        if not inspectable(ratio):
            ratio = xp.where(both | ~student.played, ratio, filled(xp, -math.inf, ratio))
        offsets = _from_largest(xp, given["rewards"], student.played)
        p = student.probability
        centred = offsets - xp.sum(p * offsets, axis=-1, keepdims=True)
        deviation = ratio - xp.sum(p * ratio, axis=-1, keepdims=True)
        result = xp.sum(xp.where(student.played, p * centred * deviation, zero), axis=-1)
    return finish(xp, result, dtype, "rewards")


def _share(beta: object, compute: str) -> float:
    """1/β, 0 for β = inf."""
    rule = "be a positive number of Python, or inf"
    number = real_argument("beta", beta, rule)
    if not number > 0.0:  # false for NaN
        raise DomainError("beta", beta, rule)
    low = 4.0 / largest_float(compute)
    if number < low:
        raise DomainError("beta", beta, f"be at least {low:.3g} in {compute}")
    return 1.0 / number


def _from_largest(xp: Namespace, rewards: Array, played: Array) -> Array:
    """Rewards less the largest that is played: exactly 0 where all are equal."""
    nowhere = filled(xp, -math.inf, rewards)
    top = stop_gradient(xp.max(xp.where(played, rewards, nowhere), axis=-1, keepdims=True))
    return xp.where(played, rewards - top, filled(xp, 0.0, rewards))
