"""The methods by name, the options that each takes, and their checks."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import array_api_compat

from identity._arrays import (
    DType,
    Namespace,
    computing,
    dtype_name,
    inspectable,
    largest_float,
    name_of,
    real_argument,
    require_all,
    smallest_normal,
    stop_gradient,
)
from identity.errors import DomainError

__all__ = ["ALPHA_LIMIT", "METHODS", "Method", "alpha_argument", "constant_argument", "method_of"]

METHODS: dict[str, tuple[str, ...]] = {  # and the options that each takes
    "grpo": (),
    "dapo": ("constant", "groups"),
    "dr_grpo": ("constant",),
    "bnpo": (),
    "sequence_sum": (),
    "delta_l": ("alpha", "constant", "groups"),
    "delta_l_batch": ("alpha", "constant"),
}
_NEED_CONSTANT = ("dr_grpo", "delta_l", "delta_l_batch")

# L^-alpha of every length up to 2**24 is then a normal float32.
ALPHA_LIMIT = 4.0
# Made here: torch.compile formats no floats.
_ALPHA_RULE = f"be a Python number between -{ALPHA_LIMIT:g} and {ALPHA_LIMIT:g}"
_CONSTANT_RULES = {
    name: f"be a number above 0, from {smallest_normal(name):.3g} to {largest_float(name):.3g}, or "
    "a 0-d array of one"
    for name in ("float32", "float64")
}

_LENGTH_RULE = (
    "be the maximal completion length, a constant of the run; the padded width will not do, "
    "since the loss would then change when a batch is padded (aggregation.padded-width)"
)


@dataclass(frozen=True)
class Method:
    """A method with its options."""

    name: str
    alpha: float
    constant: Any  # a positive float, a 0-d array, or None
    grouped: bool

    @property
    def by_length(self) -> bool:
        """Whether a row weighs L^-alpha."""
        return self.name in ("delta_l", "delta_l_batch")

    @property
    def counts_tokens(self) -> bool:
        """Whether a row adds its tokens to the denominator."""
        return self.name in ("dapo", "bnpo")

    @property
    def normalised(self) -> bool:
        """Whether there is a denominator that depends on the batch."""
        return self.name != "dapo" or self.constant is None


def method_of(method: object, alpha: Any, constant: Any, groups: Any) -> Method:
    """The method, if it is known and takes the options given; `constant` stays unchecked."""
    if not isinstance(method, str) or method not in METHODS:
        raise DomainError("method", method, f"be one of {tuple(METHODS)}")
    options = {"alpha": alpha, "constant": constant, "groups": groups}
    number = alpha_argument(alpha)
    for option, value in options.items():
        left_out = number == 1.0 if option == "alpha" else value is None
        if not left_out and option not in METHODS[method]:
            rule = f"be left out: method {method!r} takes no {option}"
            raise DomainError(option, value, rule)
    if method == "dapo" and constant is not None and groups is not None:
        raise DomainError("constant", constant, "be left out where groups are given")
    if constant is None and method in _NEED_CONSTANT:
        raise DomainError("constant", None, _LENGTH_RULE)
    return Method(method, number, constant, groups is not None)


def alpha_argument(alpha: object, limit: float = ALPHA_LIMIT, rule: str = _ALPHA_RULE) -> float:
    """The exponent as a float."""
    number = real_argument("alpha", alpha, rule)
    if not -limit <= number <= limit:  # true for NaN
        raise DomainError("alpha", alpha, rule)
    return number


def constant_argument(xp: Namespace, constant: Any, dtype: DType) -> Any:
    """A positive number as a float, or a 0-d array as one of the dtype that computes `dtype`."""
    if constant is None:
        return None
    compute = computing(xp, dtype)
    compute_name = name_of(compute)
    smallest, largest = smallest_normal(compute_name), largest_float(compute_name)
    rule = _CONSTANT_RULES[compute_name]
    if isinstance(constant, Real) and not isinstance(constant, bool):
        number = real_argument("constant", constant, rule)
        if not smallest <= number <= largest:
            raise DomainError("constant", constant, rule)
        return number
    if not array_api_compat.is_array_api_obj(constant):
        raise DomainError("constant", constant, rule)
    if constant.ndim != 0 or dtype_name(constant) == "bool":
        raise DomainError("constant", constant, rule)
    value = stop_gradient(xp.astype(constant, compute))
    if inspectable(value):
        require_all(xp, "constant", value, (value >= smallest) & (value <= largest), rule)
    return value
