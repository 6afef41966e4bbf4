"""Surrogates at 50 digits, at the floats passed, straight from their definitions.

One response is a list of tokens; results are a loss for each token, and its derivative with respect
to the log-probability of every token of the response. Nothing is shared with identity/.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

from tests import oracles, tolerances
from tests.backends import Backend
from tests.strategies import round_to

Number = Any

SATURATION = {"float16": 11, "bfloat16": 64, "float32": 64, "float64": 512}
FLOOR = {"float16": -(2**12), "bfloat16": -(2**20), "float32": -(2**20), "float64": -(2**20)}
COMPUTING = {"float16": "float32", "bfloat16": "float32", "float32": "float32",
             "float64": "float64"}  # fmt: skip
# A ratio this close to a bound, relative to the rounding of the logarithms, is on either side.
NEAR_BOUND = 8


@dataclass(frozen=True)
class Options:
    """What is asked of `token_loss`."""

    objective: str = "ppo_clip"
    clip: tuple[float, float] | None = (0.2, 0.28)
    dual_clip: float | None = None
    level: str | None = None

    @property
    def keywords(self) -> dict[str, Any]:
        return {"objective": self.objective, "clip": self.clip, "dual_clip": self.dual_clip,
                "level": self.level}  # fmt: skip

    @property
    def ratio_level(self) -> str:
        return self.level or ("sequence" if self.objective == "gspo" else "token")


@dataclass(frozen=True)
class Row:
    """One response: losses, their Jacobian, and how far rounding may move each, in ulp."""

    losses: list[Number]
    jacobian: list[list[Number]]  # of loss t by log-probability u
    scales: list[Number]  # what an error is relative to
    ulp: float
    near: bool  # whether rounding may decide on which side of a bound a ratio is


def exact(value: Any) -> Number:
    """A float as a number of 50 digits."""
    value = float(value)
    if math.isinf(value):
        return mpmath.mpf(value)
    return oracles.to_mpf(oracles.fractions([value])[0])


def log_ratio(logp: Number, old: Number) -> Number:
    return mpmath.mpf("-inf") if mpmath.isinf(logp) else logp - old


def row(
    logp: Sequence[Any],
    old: Sequence[Any],
    advantages: Sequence[Any],
    mask: Sequence[Any],
    options: Options,
    dtype: str,
) -> Row:
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        return _row(logp, old, advantages, mask, options, dtype)


def _row(logp: Any, old: Any, advantages: Any, mask: Any, options: Options, dtype: str) -> Row:
    width = len(mask)
    kept = [t for t in range(width) if mask[t]]
    zero = mpmath.mpf(0)
    losses = [zero] * width
    scales = [zero] * width
    jacobian = [[zero] * width for _ in range(width)]
    if not kept:
        return Row(losses, jacobian, scales, 0.0, False)
    reinforce = options.objective == "reinforce"
    differences = {} if reinforce else {t: log_ratio(exact(logp[t]), exact(old[t])) for t in kept}
    finite = [abs(d) for d in differences.values() if mpmath.isfinite(d)]
    mean_size = sum(finite, zero) / len(kept) if finite else zero
    largest = max(finite, default=zero)
    sequence = options.ratio_level != "token"
    moved = largest if not sequence else mean_size * (math.ceil(math.log2(width)) + 2)
    near = False
    for t in kept:
        a = exact(advantages[t])
        z = max(exact(logp[t]), mpmath.mpf(FLOOR[dtype]))
        falls = exact(logp[t]) >= FLOOR[dtype]
        if reinforce:
            losses[t], jacobian[t][t] = -a * z, -a if falls else zero
            scales[t] = abs(a)
            continue
        log_rho = sum(differences.values(), zero) / len(kept) if sequence else differences[t]
        assert options.clip is not None
        low, high = (exact(bound) for bound in options.clip)
        bounds = [mpmath.mpf("-inf") if low == 1 else mpmath.log(1 - low), mpmath.log(1 + high),
                  mpmath.log(exact(options.dual_clip)) if options.dual_clip else mpmath.inf,
                  mpmath.mpf(SATURATION[dtype])]  # fmt: skip
        reach = NEAR_BOUND * 2.0 ** (-23 if dtype != "float64" else -52) * (1 + moved)
        near = near or any(abs(log_rho - b) < reach for b in bounds if mpmath.isfinite(b - log_rho))
        top = bounds[3]
        rho = mpmath.exp(min(log_rho, top))
        inside = log_rho <= top
        clipped = min(max(rho, 1 - low), 1 + high)
        if options.objective == "cispo":
            losses[t] = -clipped * a * z
            jacobian[t][t] = -clipped * a if falls else zero
            scales[t] = clipped * abs(a) * max(abs(z), 1)
            continue
        objective = min(rho * a, clipped * a)
        # The derivative of the branch taken, ρ itself or a constant.
        slope = rho * a if inside and (rho * a <= clipped * a) else zero
        if options.dual_clip is not None and a < 0 and exact(options.dual_clip) * a > objective:
            objective, slope = exact(options.dual_clip) * a, zero
        losses[t], scales[t] = -objective, abs(objective)
        if options.ratio_level == "sequence":
            for u in kept:
                jacobian[t][u] = -slope / len(kept)
        else:
            jacobian[t][t] = -slope
    return Row(losses, jacobian, scales, float(moved) + 6.0, near)


def seen(xp: Backend, values: Any, dtype: str) -> np.ndarray:
    """The values as this backend holds them: rounded, subnormals flushed where they are."""
    rounded = np.vectorize(lambda v: round_to(v, dtype) if np.isfinite(v) else v, otypes=[float])
    array = rounded(np.asarray(values, dtype=np.float64))
    if xp.flushes_subnormals:
        array = np.where(np.abs(array) < float(oracles.smallest_normal(COMPUTING[dtype])), 0, array)
    return array


def kl(logp: Any, ref: Any, estimator: str, dtype: str) -> tuple[Number, Number]:
    """The estimate and its derivative by log π."""
    # e^y − 1 − y cancels to y²/2, of which a float64 may leave 2^-2044.
    with mpmath.workdps(tolerances.ORACLE_DIGITS + 2 * 308):
        difference = exact(logp) - exact(ref)
        high = 2**8 if (estimator, dtype) == ("k2", "float16") else -FLOOR[dtype]
        low = -SATURATION[dtype] if estimator == "k3" else -high
        clamped = min(max(difference, mpmath.mpf(low)), mpmath.mpf(high))
        inside = clamped == difference
        if estimator == "k1":
            value, slope = clamped, mpmath.mpf(1)
        elif estimator == "k2":
            value, slope = clamped**2 / 2, clamped
        else:
            value, slope = mpmath.exp(-clamped) - 1 + clamped, 1 - mpmath.exp(-clamped)
        return value, slope if inside else mpmath.mpf(0)


def token_weights(
    mask: np.ndarray, method: str, *, alpha: float = 1.0, constant: Any = None, groups: Any = None
) -> list[list[Number]]:
    """Weights of `identity.aggregation` from their definitions."""
    with mpmath.workdps(tolerances.ORACLE_DIGITS):
        return _token_weights(mask, method, alpha, constant, groups)


def _token_weights(
    mask: np.ndarray, method: str, alpha: float, constant: Any, groups: Any
) -> list[list[Number]]:
    rows = mask.shape[0]
    lengths = [int(n) for n in mask.astype(bool).sum(axis=1)]
    ids = [0] * rows if groups is None else [int(g) for g in groups]
    members = {g: [b for b in range(rows) if ids[b] == g] for g in ids}
    weights = []
    for b in range(rows):
        if not lengths[b]:
            each = mpmath.mpf(0)
        elif method == "grpo":
            each = mpmath.mpf(1) / lengths[b] / rows
        elif method in ("dapo", "bnpo"):
            each = mpmath.mpf(1) / sum(lengths[i] for i in members[ids[b]]) / len(members)
        elif method == "dr_grpo":
            each = mpmath.mpf(1) / exact(constant) / rows
        elif method == "sequence_sum":
            each = mpmath.mpf(1) / rows
        else:
            power = {i: mpmath.mpf(n) ** -exact(alpha) if n else 0 for i, n in enumerate(lengths)}
            pool = members[ids[b]] if method == "delta_l" else range(rows)
            each = power[b] / sum(power[i] for i in pool) / exact(constant)
            each /= len(members) if method == "delta_l" else 1
        weights.append([each if keep else mpmath.mpf(0) for keep in mask[b]])
    return weights
