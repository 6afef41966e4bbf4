"""The two divergences between a student and its teacher, of tokens and of whole responses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import array_api_compat

from identity._arrays import (
    Array,
    DType,
    Namespace,
    as_arrays,
    common_dtype,
    dtype_name,
    finish,
    inspectable,
    quiet,
    stop_gradient,
)
from identity.distillation._laws import (
    Law,
    filled,
    given_logits,
    law_of,
    require_covered,
    require_laws,
)
from identity.errors import DomainError
from identity.proven import proven

__all__ = ["LEVELS", "PREFIXES", "forward_kl", "reverse_kl"]

LEVELS = ("token", "sequence")
PREFIXES = ("moving", "detached")

# Within this distance of 0, e^d − 1 − d is a series, up to a power that no last bit notices.
_SERIES = 1.0
_TERMS = {"float32": 12, "float64": 19}

_STUDENT, _TEACHER = "student_logits", "teacher_logits"


@proven(
    "distillation.opd",
    "distillation.future-terms",
    "distillation.per-token-kl",
)
def reverse_kl(
    student_logits: Array | Sequence[Array],
    teacher_logits: Array | Sequence[Array],
    *,
    level: str,
    mask: Array | None = None,
    prefixes: str = "moving",
) -> Array:
    """KL(π‖π_T), the student's mean of log π/π_T: of each next token, or of whole responses.

    Parameters
    ----------
    student_logits, teacher_logits : array, shape (..., V), or sequences of arrays
        Logits, or log-probabilities in nats: every law is normalised. −inf is a probability of 0.
        At level ``"token"`` one array of laws over V tokens. At level ``"sequence"`` a list of the
        laws of every next token: array t has shape (..., V1, ..., Vt), and holds the law of token
        t after each of the V1···V(t−1) prefixes.
    level : {"token", "sequence"}
        ``"token"``: one divergence for each law, by a sum over the vocabulary. ``"sequence"``: the
        exact divergence of responses, the sum over t of the mean, over prefixes that the student
        samples, of the divergence of token t.
    mask : array, shape (...), optional
        At level ``"token"``: bool, or 0 and 1; which laws count. What lies elsewhere does not
        matter.
    prefixes : {"moving", "detached"}
        At level ``"sequence"``: whether the probabilities of prefixes are differentiated. The
        value is the same. ``"detached"`` has the gradient of per-token divergences at sampled
        prefixes, which leaves out how a token changes the divergences after it.

    Returns
    -------
    array, shape (...)
        Divergences in nats, at least 0 and exactly 0 for equal logits, in the common dtype;
        exactly 0, with derivative 0, where masked.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: equal shapes, not empty; logits below +inf and not NaN, not all −inf
    in one law, and the teacher's above −inf wherever the student's is: the divergence is infinite
    otherwise. Where the student's probability is 0, nothing is asked of the teacher (0 log 0 = 0),
    nor is anything of the laws after a prefix that the student cannot reach. *(assumed under
    jit)*: such values; a teacher's 0 against a student's positive probability gives inf there.

    *Postcondition*: within ε (V + 4D)(KL + √KL) + (4Dε)² of itself at the logits passed, ε the
    distance from 1 to the next float of the computing dtype, where D is 1 or, if that is more, the
    largest of: the distance of a logit from the largest of its law, and that of both logits of a
    token. No term cancels, so that a divergence as small as 1e-12 is still good to many digits.
    Tokens whose probability under the student is below the smallest float count as 0 there.
    Responses: that bound with the sum of all V and the largest D, KL being that of responses.

    The derivative with respect to the student's logits, at level ``"token"``, is
    π (log π/π_T − KL). For samples in place of the sum over the vocabulary see
    `identity.surrogates.kl`, for the reward whose policy gradient is −∇KL
    `on_policy_distillation_reward`.

    References
    ----------
    arXiv 2605.12483 for the divergence as an objective on the student's own responses;
    reconstructed.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.distillation import reverse_kl
    >>> student, teacher = np.log([[0.5, 0.5], [0.5, 0.5]]), np.log([[0.5, 0.5], [0.25, 0.75]])
    >>> reverse_kl(student, teacher, level="token").round(4)
    array([0.    , 0.1438])

    Two tokens: the laws of the second one after each first token are those above.

    >>> first = np.log([0.5, 0.5])
    >>> float(reverse_kl([first, student], [first, teacher], level="sequence").round(4))
    0.0719
    """
    _choice("prefixes", prefixes, PREFIXES)
    arguments = (_STUDENT, student_logits), (_TEACHER, teacher_logits)
    if _choice("level", level, LEVELS) == "token":
        if prefixes != "moving":
            raise DomainError("prefixes", prefixes, "be 'moving' at level 'token', which has none")
        return _of_tokens(*arguments, mask)
    return _of_responses(*arguments, mask, detached=prefixes == "detached")


@proven(
    "distillation.opd",
    "distillation.future-terms",
)
def forward_kl(
    student_logits: Array | Sequence[Array],
    teacher_logits: Array | Sequence[Array],
    *,
    level: str,
    mask: Array | None = None,
) -> Array:
    """KL(π_T‖π), the teacher's mean of log π_T/π: of each next token, or of whole responses.

    Parameters
    ----------
    student_logits, teacher_logits : array, shape (..., V), or sequences of arrays
        As in `reverse_kl`, in the same order.
    level : {"token", "sequence"}
        As in `reverse_kl`; the prefixes of ``"sequence"`` are those that the teacher samples.
    mask : array, shape (...), optional
        As in `reverse_kl`.

    Returns
    -------
    array, shape (...)
        Divergences in nats, at least 0 and exactly 0 for equal logits, in the common dtype;
        exactly 0, with derivative 0, where masked.

    Raises
    ------
    DomainError
        If a checked precondition fails, or the dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: as in `reverse_kl` with the two laws exchanged: the student's logits
    are above −inf wherever the teacher's are, and nothing is asked of the student where the
    teacher's probability is 0, or after a prefix that the teacher cannot reach. *(assumed under
    jit)*: such values; a student's 0 against a teacher's positive probability gives inf there.

    *Postcondition*: that of `reverse_kl`. The derivative with respect to the student's logits, at
    level ``"token"``, is π − π_T. Prefixes are the teacher's and do not move with the student, so
    that per-token gradients add up to that of responses: there is no future term here.

    References
    ----------
    arXiv 2605.12483; reconstructed. The gradient is that of supervised training on the teacher's
    responses.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.distillation import forward_kl
    >>> student, teacher = np.log([0.5, 0.5]), np.array([0.0, -np.inf])
    >>> float(forward_kl(student, teacher, level="token").round(4))
    0.6931
    """
    arguments = (_TEACHER, teacher_logits), (_STUDENT, student_logits)
    if _choice("level", level, LEVELS) == "token":
        return _of_tokens(*arguments, mask)
    return _of_responses(*arguments, mask, detached=False)


def _choice(argument: str, value: object, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise DomainError(argument, value, f"be one of {tuple(allowed)}")
    return value


Named = tuple[str, Any]


def _of_tokens(mean_of: Named, other: Named, mask: Any) -> Array:
    """The divergence of each law named first from the one named second."""
    xp, dtype, logits, keep = given_logits(mask, **_in_order(mean_of, other))
    names = mean_of[0], other[0]
    with quiet(xp):
        result, _ = _divergence(xp, names, (logits[names[0]], logits[names[1]]), keep)
    return finish(xp, result, dtype, names[1])


def _of_responses(mean_of: Named, other: Named, mask: Any, *, detached: bool) -> Array:
    """The divergence of responses, by the chain rule."""
    if mask is not None:
        raise DomainError("mask", "an array", "be None at level 'sequence': use logits of -inf")
    xp, dtype, steps = _steps(mean_of, other)
    total: Array = None
    weight: Array = None  # the probability of each prefix
    reached: Array = None
    with quiet(xp):
        for t, laws in enumerate(steps):
            names = f"{mean_of[0]}[{t}]", f"{other[0]}[{t}]"
            here, law = _divergence(xp, names, laws, reached)
            if t:
                # A prefix that cannot be reached has weight 0, and its law is the uniform one.
                here = here * (stop_gradient(weight) if detached else weight)
                here = xp.sum(here, axis=tuple(range(-t, 0)))
            total = here if t == 0 else total + here
            played = law.played if reached is None else law.played & reached[..., None]
            chance = law.probability if weight is None else law.probability * weight[..., None]
            reached, weight = played, chance
    return finish(xp, total, dtype, other[0])


def _in_order(one: Named, other: Named) -> dict[str, Any]:
    """The student first, whichever law the mean is taken of."""
    first, second = (one, other) if one[0].startswith("student") else (other, one)
    return {first[0]: first[1], second[0]: second[1]}


def _steps(mean_of: Named, other: Named) -> tuple[Namespace, DType, list[tuple[Array, Array]]]:
    """The pairs of laws of every token, of shapes that fit."""
    for name, value in (mean_of, other):
        wrong = isinstance(value, str) or array_api_compat.is_array_api_obj(value)
        if wrong or not isinstance(value, Sequence) or not len(value):
            rule = "be a list of arrays at level 'sequence', one for each token, not empty"
            raise DomainError(name, type(value).__name__, rule)
    if len(mean_of[1]) != len(other[1]):
        raise DomainError(other[0], len(other[1]), f"have as many arrays as {mean_of[0]}")
    pairs = []
    named = {
        f"{name}[{t}]": array
        for t in range(len(mean_of[1]))
        for name, array in ((mean_of[0], mean_of[1][t]), (other[0], other[1][t]))
    }
    xp, arrays = as_arrays(**named)  # all of one library, on one device
    found = dict(zip(named, arrays, strict=True))
    before: tuple[int, ...] | None = None
    dtype = common_dtype(xp, *arrays)
    for t in range(len(mean_of[1])):
        names = (f"{mean_of[0]}[{t}]", f"{other[0]}[{t}]")
        pair = _in_order(*((name, found[name]) for name in names))
        _, _, both, _ = given_logits(None, dtype, **pair)
        shape = tuple(both[names[0]].shape)
        if before is not None and shape[:-1] != before:
            rule = f"have the shape of the array before, {before}, and one axis more"
            raise DomainError(f"{_STUDENT}[{t}]", shape, rule)
        before = shape
        pairs.append((both[names[0]], both[names[1]]))
    return xp, dtype, pairs


def _divergence(
    xp: Namespace, names: tuple[str, str], laws: tuple[Array, Array], keep: Array | None
) -> tuple[Array, Law]:
    """Σ p (log p − log q) = Σ p (e^d − 1 − d), d = log q/p: a sum without cancellation."""
    (name, other), (first, second) = names, laws
    require_laws(xp, name, first, keep)
    require_laws(xp, other, second, keep)
    require_covered(xp, other, second, stop_gradient(first) > -math.inf, by=name, keep=keep)
    p, q = law_of(xp, first, keep), law_of(xp, second, keep)
    zero = filled(xp, 0.0, p.logits)
    both = p.played & q.played
    # The difference of logits first: it is exact where both are near each other.
    moved = (q.logits - p.logits) - (q.largest - p.largest)
    d = xp.where(both, moved - (q.log_mass - p.log_mass), zero)
    near = xp.abs(d) < _SERIES
    small = xp.where(near, d, zero)
    # Beyond the series q is worth computing by itself: p e^d may overflow where p underflows.
    far = q.probability - p.probability * (1.0 + d)
    terms = xp.where(near, p.probability * _excess(small), far)
    alone = xp.where(p.played, filled(xp, math.inf, p.logits), q.probability)
    result = xp.sum(xp.where(both, terms, alone), axis=-1)
    if not inspectable(result):  # a law of zeros, which nobody could refuse
        result = xp.where(xp.any(p.played, axis=-1), result, filled(xp, math.nan, result))
    return result, p


def _excess(d: Array) -> Array:
    """e^d − 1 − d for |d| ≤ 1 by its series, accurate however small."""
    terms = _TERMS[dtype_name(d)]
    series = d * (1 / math.factorial(terms + 1)) + 1 / math.factorial(terms)
    for power in range(terms - 1, 1, -1):
        series = series * d + 1 / math.factorial(power)
    return series * d * d
