"""Log-probabilities of sampled tokens and their mask, checked and freed of what is masked."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat

from identity._arrays import (
    EXACT_INTEGERS,
    Array,
    DType,
    Namespace,
    as_arrays,
    common_dtype,
    computing,
    dtype_name,
    floating_dtype,
    inspectable,
    mask_argument,
    name_of,
    quiet,
    require_all,
    require_exact,
    returned,
    stop_gradient,
)
from identity.aggregation._rows import Zeroed, nonzero
from identity.aggregation._tree import tree_sum
from identity.errors import DomainError
from identity.surrogates._arithmetic import (
    LOG_FLOOR,
    LOWEST,
    SATURATION,
    clamp,
    filled,
)

__all__ = ["LEVELS", "Tokens", "aggregated", "tokens_of"]

LEVELS = ("token", "sequence", "sequence_token")

_WHERE = " where mask is 1"
_POSSIBLE = "be below +inf and not NaN"
_SAMPLED = "be finite, since the token was sampled,"


@dataclass(frozen=True)
class Tokens:
    """One batch of tokens, in the dtype that computes."""

    xp: Namespace
    dtype: DType  # of results
    keep: Array | None  # bool, None if there is no mask
    logp: Array  # may be -inf; anything where masked
    others: dict[str, Array]  # other log-probabilities, constants of differentiation
    advantages: Array | None  # (B, 1) or (B, T), a constant too
    numbers: Array | None = None  # the mask as 0 and 1, where torch compiles for a CPU

    @property
    def saturation(self) -> float:
        """The log-ratio at which ratios stop growing."""
        return SATURATION[name_of(self.dtype)]

    @property
    def floor(self) -> float:
        """The log-probability, and difference of two, that counts for all below."""
        return LOG_FLOOR[name_of(self.dtype)]

    def masked(self, values: Array) -> Array:
        """The values, exactly 0 where masked, in value and derivative."""
        if self.keep is None:
            return values
        return self.xp.where(self.keep, values, filled(self.xp, 0.0, values))

    def bounded_logp(self) -> Array:
        """log π, 0 where masked, nowhere below the floor; checked where visible."""
        values = self.masked(self.logp)
        if inspectable(values) and not _ordinary(self.xp, values):
            self._require_possible("logp", self.logp)
        return clamp(self.xp, values, self.floor)

    def difference(self, other: str, *, sampled: bool = False) -> Array:
        """log π minus another log-probability, 0 where masked; checked where visible.

        `sampled` says that the tokens were drawn from the other policy, so that it is finite.
        Where values are not visible, -inf minus -inf is -inf.
        """
        reference = self.others[other]
        with quiet(self.xp):
            # One `where` is enough, since the derivative of a difference is finite everywhere.
            result = self.masked(self.logp - reference)
            visible = inspectable(result)
            if not visible:
                result = self.masked(self.logp - clamp(self.xp, reference, LOWEST))
        if visible and not _ordinary(self.xp, result):
            self._require_possible("logp", self.logp)
            if sampled:
                self._require(other, reference, self.xp.isfinite(reference), _SAMPLED)
            self._require_possible(other, reference)
            both = (self.logp > -math.inf) | (reference > -math.inf)
            self._require(other, reference, both, "be finite where logp is -inf,")
        return result

    def log_ratio(self, level: str) -> Array:
        """log ρ (B, T), or log s (B, 1) at the level of sequences."""
        difference = self.difference("old_logp", sampled=True)
        if level == "token":
            return difference
        assert self.keep is not None
        length = self.xp.sum(self.xp.astype(self.keep, self.xp.int32), axis=1)
        length = nonzero(self.xp, length)
        with quiet(self.xp):
            # In an order that no padding changes.
            mean = tree_sum(self.xp, difference) / self.xp.astype(length, difference.dtype)
            if level == "sequence":
                return mean[:, None]
            # The value of the sequence, the derivative of the token: x − sg(x) is exactly 0.
            token = clamp(self.xp, difference, self.floor, -self.floor)
            return stop_gradient(mean)[:, None] + (token - stop_gradient(token))

    def _require(self, argument: str, array: Array, good: Array, rule: str) -> None:
        if self.keep is not None:
            good, rule = good | ~self.keep, rule + _WHERE
        require_all(self.xp, argument, array, good, rule.rstrip(","))

    def _require_possible(self, argument: str, array: Array) -> None:
        self._require(argument, array, array < math.inf, _POSSIBLE)  # false for NaN


def _ordinary(xp: Namespace, values: Array) -> bool:
    """Whether all values, which may be looked at, are finite: two reductions."""
    if 0 in tuple(values.shape):
        return True
    values = stop_gradient(values)
    return bool((xp.min(values) > -math.inf) & (xp.max(values) < math.inf))


def tokens_of(logp: Any, mask: Any, *, advantages: Any = None, **others: Any) -> Tokens:
    """The checked batch. Without a mask, log-probabilities may have any shape.

    Raises
    ------
    DomainError
        If libraries, dtypes, shapes, or visible values of the mask or advantages break a rule.
    """
    named: dict[str, Any] = {"logp": logp, **others}
    if mask is not None:
        named["mask"] = mask
    if advantages is not None:
        named["advantages"] = advantages
    xp, arrays = as_arrays(**named)
    given = dict(zip(named, arrays, strict=True))
    _require_shapes(given)
    numbers = [name for name in given if name != "mask"]
    own = xp.zeros((0,), dtype=floating_dtype(xp, given["logp"]))
    dtype = common_dtype(xp, own, *(given[name] for name in numbers[1:]))
    compute = computing(xp, dtype)
    for name in numbers:
        if dtype_name(given[name]) == "bool":
            raise DomainError(name, "bool", "hold numbers")
        require_exact(xp, name, given[name], compute)
        given[name] = returned(xp, given[name], compute)
    keep = mask_argument(xp, given["mask"]) if mask is not None else None
    kept = _numbers(xp, given["mask"], compute) if mask is not None else None
    weights = given.get("advantages")
    if weights is not None:
        visible = keep if kept is None else kept != 0.0
        weights = _advantages(xp, stop_gradient(weights), visible)
    constants = {name: stop_gradient(given[name]) for name in others}
    return Tokens(xp, dtype, keep, given["logp"], constants, weights, kept)


def _require_shapes(given: dict[str, Array]) -> None:
    shape = tuple(given["logp"].shape)
    if "mask" in given and len(shape) != 2:
        raise DomainError("logp", shape, "have shape (B, T): responses by tokens")
    for name, array in given.items():
        found = tuple(array.shape)
        if name == "advantages":
            if found not in (shape, shape[:1]):
                raise DomainError(name, found, f"have shape (B,) or (B, T), here {shape}")
        elif found != shape:
            raise DomainError(name, found, f"have the shape of logp, {shape}")


def _numbers(xp: Namespace, mask: Array, dtype: DType) -> Any:
    """The mask in a floating dtype where torch compiles for a CPU, whose bools are slow; or None.

    Not where float32 could not count the tokens of a row.
    """
    if not array_api_compat.is_torch_namespace(xp):
        return None
    if not sys.modules["torch"].compiler.is_compiling() or mask.device.type != "cpu":
        return None
    if int(mask.shape[1]) > EXACT_INTEGERS["float32"]:
        return None
    from identity.surrogates._compiled import numbers_of  # only where there is torch

    return numbers_of(mask, dtype)


def _advantages(xp: Namespace, weights: Array, keep: Any) -> Array:
    """Advantages (B, 1) or (B, T), finite wherever a token is kept."""
    if weights.ndim == 2:
        cleaned = xp.where(keep, weights, filled(xp, 0.0, weights))
        if inspectable(cleaned):
            good = xp.isfinite(cleaned)
            require_all(xp, "advantages", weights, good, "be finite where mask is 1")
        return cleaned
    if inspectable(weights, keep):
        good = xp.isfinite(weights)
        if not bool(xp.all(good)):
            good = good | ~xp.any(keep, axis=1)
        require_all(xp, "advantages", weights, good, "be finite where mask has a 1")
    return weights[:, None]


def aggregated(
    function: Callable[..., Any],
    losses: Array,
    tokens: Tokens,
    method: Any,
    *,
    zeroed: bool,
    **options: Any,
) -> Any:
    """`aggregate` or `partial_sums` of losses that the caller knows only by what they are made of.

    `zeroed` says that they are exactly 0 where masked, and that ``tokens.numbers`` is there.

    Raises
    ------
    DomainError
        As that function; about the advantages where it would name the losses, which overflow.
    """
    try:
        mask = Zeroed(tokens.keep, tokens.numbers) if zeroed else tokens.keep
        return function(losses, mask, method, **options)
    except DomainError as error:
        if error.argument != "loss":
            raise
        rule = f"give losses and sums that {dtype_name(losses)} can hold"
        raise DomainError("advantages", error.value, rule) from error
