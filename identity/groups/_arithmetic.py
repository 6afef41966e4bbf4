"""The arithmetic behind this package: sums over groups and deviations from their mean.

Three ideas make equal rewards give exactly 0 and keep every finite reward in range:

* **Anchor.** Deviations are taken after subtracting one reward of the group, which changes no
  advantage (``groups.baseline-invariance``); equal rewards then become exact zeros.
* **Powers of two.** Each group is multiplied by a power of two from a short table, so that no
  square overflows or underflows. That is exact. Derivatives meet the same factors, in the other
  order, and square what is divided by: the table has enough rungs to keep the product of the
  factors and its inverse representable, and divisors near 1 on the scale of exponents.
* **Integers first.** With d_i = R_i − anchor, the deviation is kept as (G d_i − Σd)/P, P a power
  of two: for 0/1 rewards this is exact, and division by G happens once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from identity._arrays import (
    Array,
    DType,
    Namespace,
    as_arrays,
    computing,
    dtype_name,
    floating_dtype,
    inspectable,
    largest_float,
    quiet,
    require_all,
    require_exact,
    require_finite,
    require_ids,
    require_not_empty,
    scalar,
    signed,
)
from identity.errors import DomainError

__all__ = [
    "Dense",
    "Deviations",
    "Layout",
    "Ragged",
    "converted",
    "deviations",
    "deviations_of",
    "power_of_two",
    "require_groups",
]

# Rules (compare, bound, factor) for a peak, the largest magnitude in a group; the last match wins.
# With G up to 2**24 they keep every square normal, every sum finite, and every product of the
# factors used together, 2**104 at most in float32, representable with its inverse: a derivative
# passes through all of them. Factors are even powers of two: their roots are exact too.
_Rules: TypeAlias = dict[str, tuple[tuple[str, float, float], ...]]
_BEFORE: _Rules = {  # rewards: large ones would overflow, differences of tiny ones be subnormal
    "float32": ((">", 2.0**40, 2.0**-80), ("<", 2.0**-100, 2.0**24)),
    "float64": ((">", 2.0**400, 2.0**-600), ("<", 2.0**-900, 2.0**100)),
}
_AFTER: _Rules = {  # offsets from the anchor: the squares of small ones would underflow
    "float32": (("<", 2.0**-20, 2.0**40), ("<", 2.0**-64, 2.0**80)),
    "float64": (("<", 2.0**-200, 2.0**400), ("<", 2.0**-600, 2.0**600)),
}
_DIVISOR: _Rules = {  # std + eps, for the sake of its square in a derivative
    "float32": ((">", 2.0**40, 2.0**-80),),
    "float64": ((">", 2.0**400, 2.0**-600),),
}
_SCORES: _Rules = {
    "float32": (
        (">", 2.0**20, 2.0**-40),
        (">", 2.0**60, 2.0**-80),
        (">", 2.0**100, 2.0**-100),
        ("<", 2.0**-20, 2.0**40),
        ("<", 2.0**-60, 2.0**80),
    ),
    "float64": (
        (">", 2.0**200, 2.0**-400),
        (">", 2.0**600, 2.0**-800),
        ("<", 2.0**-200, 2.0**400),
        ("<", 2.0**-600, 2.0**800),
    ),
}
_PRODUCTS: _Rules = {  # of weights and scores; the factor goes to both
    name: (
        (">", bound, factor),
        (">", largest_float(name), last),  # infinite
    )
    for name, bound, factor, last in (
        ("float32", 2.0**100, 2.0**-20, 2.0**-80),
        ("float64", 2.0**900, 2.0**-100, 2.0**-600),
    )
}
_RULES = {
    "before": _BEFORE,
    "after": _AFTER,
    "divisor": _DIVISOR,
    "scores": _SCORES,
    "products": _PRODUCTS,
}


def power_of_two(xp: Namespace, peak: Array, rules: str, *, power: float = 1.0) -> Array:
    """For each `peak` a power of two that brings it into the range in which to compute.

    `power` −1 gives its inverse and −½ the inverse root: from constants, since a compiler may
    merge two divisions into one by a product that overflows.
    """
    factor = xp.ones_like(peak)
    for compare, bound, value in _RULES[rules][dtype_name(peak)]:
        outside = peak > bound if compare == ">" else peak < bound
        factor = xp.where(outside, xp.full_like(peak, value**power), factor)
    return factor


class Layout(Protocol):
    """How rewards form groups. Results of the reductions broadcast against the rewards."""

    @property
    def count(self) -> Array | float:
        """Rollouts in the group, as a float."""

    @property
    def width(self) -> float:
        """A power of two, at least the count of every group."""

    def total(self, xp: Namespace, values: Array) -> Array:
        """Sum over each group."""

    def peak(self, xp: Namespace, values: Array) -> Array:
        """Largest value of each group."""

    def anchor(self, xp: Namespace, values: Array) -> Array:
        """The first value of each group."""

    def arrange(self, xp: Namespace, values: Array) -> Array:
        """From the caller's order into this layout's."""

    def restore(self, xp: Namespace, values: Array) -> Array:
        """Back into the caller's order, one value for each rollout."""


@dataclass(frozen=True)
class Dense:
    """Groups of one size along the last axis."""

    size: int

    @property
    def count(self) -> float:
        return float(self.size)

    @property
    def width(self) -> float:
        return 2.0 ** (self.size - 1).bit_length()

    def total(self, xp: Namespace, values: Array) -> Array:
        return xp.sum(values, axis=-1, keepdims=True)

    def peak(self, xp: Namespace, values: Array) -> Array:
        return xp.max(values, axis=-1, keepdims=True)

    def anchor(self, xp: Namespace, values: Array) -> Array:
        return values[..., :1]

    def arrange(self, xp: Namespace, values: Array) -> Array:
        return values

    def restore(self, xp: Namespace, values: Array) -> Array:
        return values


@dataclass(frozen=True)
class Ragged:
    """Groups named by an integer id for each rollout, in any order.

    The rollouts are sorted by id once. A sum over groups is then a segmented scan by doubling:
    after step j each place holds the sum of up to 2**j places before it *in its own group*, so
    groups never mix (a difference of running totals would mix them). It needs O(N) memory and
    O(N log g) work, g the largest group, or N under jit where g is unknown; no step depends on
    the number of groups, and all libraries do the same operations in the same order.
    """

    order: Array  # place in the caller's order of each sorted rollout
    inverse: Array  # sorted place of each rollout of the caller
    reach: Array  # how many sorted places before this one belong to its group
    first: Array  # sorted place where the group begins
    last: Array  # sorted place where it ends
    count: Array  # float, one for each sorted rollout
    width: float
    longest: int  # no group is larger

    @classmethod
    def of(cls, xp: Namespace, ids: Array, dtype: DType) -> Ragged:
        """The layout for integer `ids` of shape (N,)."""
        ids = signed(xp, ids)
        rollouts = int(ids.shape[0])
        order = xp.argsort(ids, stable=True)
        ranked = xp.take(ids, order, axis=0)
        first = xp.searchsorted(ranked, ranked, side="left")
        last = xp.searchsorted(ranked, ranked, side="right") - 1
        size = last - first + 1
        longest = rollouts
        inverse = xp.argsort(order, stable=True)
        if inspectable(ids):
            shared = xp.take(size, inverse, axis=0) >= 2
            require_all(xp, "groups", ids, shared, "name each group at least twice")
            longest = int(scalar(xp.max(size)))
        place = xp.cumulative_sum(xp.ones_like(first)) - 1
        return cls(
            order=order,
            inverse=inverse,
            reach=place - first,
            first=first,
            last=last,
            # Under jit a group of one goes unseen: it is unanimous, so 0 over any positive count.
            count=xp.astype(xp.where(size < 2, xp.full_like(size, 2), size), dtype),
            width=2.0 ** (rollouts - 1).bit_length(),
            longest=longest,
        )

    def total(self, xp: Namespace, values: Array) -> Array:
        step = 1
        while step < self.longest:
            shifted = xp.concat([xp.zeros_like(values[:step]), values[:-step]])
            values = values + xp.where(self.reach >= step, shifted, xp.zeros_like(values))
            step *= 2
        return xp.take(values, self.last, axis=0)

    def peak(self, xp: Namespace, values: Array) -> Array:
        step = 1
        while step < self.longest:
            shifted = xp.concat([values[:step], values[:-step]])
            values = xp.where(self.reach >= step, xp.maximum(values, shifted), values)
            step *= 2
        return xp.take(values, self.last, axis=0)

    def anchor(self, xp: Namespace, values: Array) -> Array:
        return xp.take(values, self.first, axis=0)

    def arrange(self, xp: Namespace, values: Array) -> Array:
        return xp.take(values, self.order, axis=0)

    def restore(self, xp: Namespace, values: Array) -> Array:
        return xp.take(values, self.inverse, axis=0)


@dataclass(frozen=True)
class Deviations:
    """Deviations of rewards from their group mean, scaled so that nothing over- or underflows.

    ``scaled`` = scale · (G/P) · (R_i − μ), ``squares`` = Σ scaled², both in the layout's order.
    """

    layout: Layout
    scaled: Array
    squares: Array
    scale: Array
    unanimous: Array

    def root(self, xp: Namespace, ddof: int) -> Array:
        """√(squares/(G − ddof)), positive also for a unanimous group."""
        # The inner `where` keeps √0, whose derivative is infinite, out of the graph.
        squares = xp.where(self.unanimous, xp.ones_like(self.squares), self.squares)
        return xp.sqrt(squares / (self.layout.count - ddof))

    def std(self, xp: Namespace, ddof: int) -> Array:
        """The standard deviation of each group, 0 for a unanimous one."""
        with quiet(xp):
            root = self.root(xp, ddof) / (self.layout.count / self.layout.width) / self.scale
            return xp.where(self.unanimous, xp.zeros_like(root), root)

    def standardised(self, xp: Namespace, ddof: int, eps: float) -> Array:
        """(R_i − μ)/(std + eps), 0 for a unanimous group."""
        with quiet(xp):
            root = self.root(xp, ddof)
            if not eps:
                return self._silence(xp, self.scaled / root)
            # std + eps in the units of root, times a power of two. If half of the scale takes
            # eps beyond the largest float, the advantages underflow.
            half = xp.sqrt(self.scale)
            small = eps * half * (self.layout.count / self.layout.width)
            unit = power_of_two(xp, xp.maximum(root, small * half), "divisor")
            divisor = root * unit + small * (half * unit)
            return self._silence(xp, self.scaled / divisor * unit)

    def centred(self, xp: Namespace, ddof: int) -> Array:
        """(R_i − μ)·G/(G − ddof): Dr. GRPO at ddof 0, RLOO at ddof 1."""
        with quiet(xp):
            divisor = (self.layout.count - ddof) / self.layout.width
            return self._silence(xp, self.scaled / divisor / self.scale)

    def _silence(self, xp: Namespace, advantages: Array) -> Array:
        return xp.where(self.unanimous, xp.zeros_like(advantages), advantages)


def deviations(xp: Namespace, layout: Layout, rewards: Array) -> Deviations:
    """Deviations from the group mean of floating rewards in the dtype that computes."""
    with quiet(xp):
        rewards = layout.arrange(xp, rewards)
        before = power_of_two(xp, layout.peak(xp, xp.abs(rewards)), "before")
        inside = rewards * before
        offset = inside - layout.anchor(xp, inside)
        peak = layout.peak(xp, xp.abs(offset))
        after = power_of_two(xp, peak, "after")
        offset = offset * after
        scaled = offset * (layout.count / layout.width) - layout.total(xp, offset) / layout.width
        return Deviations(
            layout=layout,
            scaled=scaled,
            squares=layout.total(xp, scaled * scaled),
            scale=before * after,
            unanimous=peak == 0.0,
        )


def converted(xp: Namespace, argument: str, array: Array, dtype: DType) -> Array:
    """The array in the dtype that computes for results in `dtype`, refused where that would round
    an integer, and where a value is not finite."""
    compute = computing(xp, dtype)
    require_exact(xp, argument, array, compute)
    require_finite(xp, argument, array)
    return xp.astype(array, compute)


def deviations_of(rewards: Any, groups: Any) -> tuple[Namespace, DType, Deviations]:
    """The dtype of the result and the deviations of the rewards, which are checked.

    Raises
    ------
    DomainError
        If a precondition that `identity.groups.group_std` lists is broken.
    """
    named = {"rewards": rewards} if groups is None else {"rewards": rewards, "groups": groups}
    xp, arrays = as_arrays(**named)
    dtype = floating_dtype(xp, arrays[0])
    shape = tuple(arrays[0].shape)
    if groups is None:
        require_groups("rewards", arrays[0])
    elif len(shape) != 1:
        raise DomainError("rewards", shape, "be flat, shape (N,), when groups are given")
    elif shape[0] < 2:
        raise DomainError("rewards", shape, "hold at least two rollouts")
    else:
        require_ids(arrays[1], shape, f"have the shape of rewards, {shape}")
    values = converted(xp, "rewards", arrays[0], dtype)
    layout: Layout = Dense(shape[-1]) if groups is None else Ragged.of(xp, arrays[1], values.dtype)
    return xp, dtype, deviations(xp, layout, values)


def require_groups(argument: str, array: Array) -> None:
    """Raise unless the last axis holds groups of two or more and no axis is empty."""
    shape = tuple(array.shape)
    if not shape or shape[-1] < 2:
        raise DomainError(argument, shape, "have at least two rollouts along the last axis")
    require_not_empty(argument, array)
