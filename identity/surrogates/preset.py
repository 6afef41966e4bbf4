"""A method as one object: advantages, surrogate, aggregation and divergence, with sources."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from identity._arrays import (
    Array,
    Namespace,
    as_arrays,
    computing,
    finish,
    floating_dtype,
    inspectable,
    integer_argument,
    is_floating,
    placement,
    quiet,
    real_argument,
    require_all,
    require_exact,
    require_ids,
)
from identity.aggregation import PartialSums, aggregate, partial_sums
from identity.aggregation._methods import METHODS, alpha_argument
from identity.errors import DomainError
from identity.groups import dr_grpo_advantages, grpo_advantages, rloo_advantages
from identity.surrogates._arithmetic import choice
from identity.surrogates._surrogate import Surrogate
from identity.surrogates._tokens import Tokens, aggregated
from identity.surrogates.divergence import ESTIMATORS, GRADIENTS, kl_of

__all__ = ["Preset"]

_ADVANTAGES = ("grpo", "dr_grpo", "rloo")


@dataclass(frozen=True)
class Preset:
    """A method: what it makes of rewards and log-probabilities, and where that was published.

    ``dataclasses.replace(PRESETS["grpo"], clip=(0.2, 0.28))`` is a variant of one's own; `sources`
    then still speak of the published constants.

    Parameters
    ----------
    name : str
        Short name.
    advantage : {"grpo", "dr_grpo", "rloo"}
        Which function of `identity.groups` makes advantages of rewards.
    objective, clip, dual_clip, level
        As in `token_loss`.
    aggregation : str
        A method of `identity.aggregation.aggregate`.
    alpha : float
        Its exponent, for the methods that have one.
    per_group : bool
        Whether that aggregation is within each group, and then the mean over groups. False, or
        without groups: over the whole batch.
    kl_coefficient : float
        β ≥ 0, what the estimate of KL(π‖π_ref) is multiplied by before it is added to each token's
        loss.
    kl_estimator, kl_gradient
        `estimator` and `gradient` of `kl`.
    ddof, eps
        Of `identity.groups.grpo_advantages`, for ``advantage="grpo"``.
    group_size : int, optional
        The number of rollouts of a prompt, if the method prescribes it.
    sources : mapping of str to str
        For each constant the paper, its arXiv version and the place in it, as we read it. Kept as
        a copy that cannot be changed.

    Raises
    ------
    DomainError
        If a field is none of the allowed values.

    Examples
    --------
    >>> from identity.surrogates import PRESETS
    >>> PRESETS["dapo"].clip
    (0.2, 0.28)
    >>> print(PRESETS["dapo"].sources["clip"])
    arXiv 2503.14476 v2 (DAPO), section 4.1
    """

    name: str
    advantage: str
    objective: str
    clip: tuple[float, float] | None
    aggregation: str
    dual_clip: float | None = None
    level: str | None = None
    alpha: float = 1.0
    per_group: bool = False
    kl_coefficient: float = 0.0
    kl_estimator: str = "k3"
    kl_gradient: str = "value"
    ddof: int = 0
    eps: float = 0.0
    group_size: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise DomainError("name", self.name, "be a string")
        choice("advantage", self.advantage, _ADVANTAGES)
        choice("kl_estimator", self.kl_estimator, ESTIMATORS)
        choice("kl_gradient", self.kl_gradient, GRADIENTS)
        self._surrogate()
        self._store("alpha", alpha_argument(self.alpha))
        self._check_aggregation()
        for name in ("kl_coefficient", "eps"):
            self._store(name, _finite(name, getattr(self, name)))
        self._store("ddof", integer_argument("ddof", self.ddof, (0, 1)))
        if self.group_size is not None:
            self._store("group_size", integer_argument("group_size", self.group_size))
            if self.group_size < 2:
                raise DomainError("group_size", self.group_size, "be at least 2")
        # As plain numbers, which `_surrogate` has found them to be.
        if self.clip is not None:
            self._store(
                "clip", tuple(real_argument("clip", bound, "be numbers") for bound in self.clip)
            )
        if self.dual_clip is not None:
            self._store("dual_clip", real_argument("dual_clip", self.dual_clip, "be a number"))
        self._store("sources", _ReadOnly.of("sources", self.sources))

    def _store(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_aggregation(self) -> None:
        options = METHODS[choice("aggregation", self.aggregation, tuple(METHODS))]
        if self.alpha != 1.0 and "alpha" not in options:
            rule = f"be left out: aggregation {self.aggregation!r} has no exponent"
            raise DomainError("alpha", self.alpha, rule)
        if not isinstance(self.per_group, bool):
            raise DomainError("per_group", self.per_group, "be True or False")
        if self.per_group and "groups" not in options:
            rule = f"be False: aggregation {self.aggregation!r} takes no groups"
            raise DomainError("per_group", True, rule)

    def _surrogate(self) -> Surrogate:
        return Surrogate(self.objective, self.level, self.clip, self.dual_clip)

    def advantages(self, rewards: Array, groups: Array | None = None) -> Array:
        """Advantages of the rewards of each group.

        Parameters
        ----------
        rewards : array, shape (..., G), or (B,) with `groups`
            Rewards; without groups, the last axis is the group.
        groups : integer array, shape (B,), optional
            Group id of each response.

        Returns
        -------
        array, the shape of `rewards`
            As of the function of `identity.groups` that `advantage` names.

        Raises
        ------
        DomainError
            If a precondition of that function fails, or a group has not `group_size` rollouts.
        """
        if self.group_size is not None:
            _require_group_size(rewards, groups, self.group_size)
        if self.advantage == "grpo":
            return grpo_advantages(rewards, ddof=self.ddof, eps=self.eps, groups=groups)
        function = dr_grpo_advantages if self.advantage == "dr_grpo" else rloo_advantages
        return function(rewards, groups=groups)

    def token_loss(
        self,
        logp: Array,
        old_logp: Array | None,
        advantages: Array,
        mask: Array,
        *,
        ref_logp: Array | None = None,
    ) -> Array:
        """Loss of each token, with its share of the divergence from the reference.

        Parameters
        ----------
        logp, old_logp, advantages, mask
            As in `identity.surrogates.token_loss`.
        ref_logp : array, shape (B, T)
            Log-probabilities under the reference; given if and only if `kl_coefficient` is not 0.

        Returns
        -------
        array, shape (B, T)
            Losses, exactly 0 where masked.

        Raises
        ------
        DomainError
            If a precondition of `identity.surrogates.token_loss` or `kl` fails.
        """
        tokens = self._tokens(logp, old_logp, advantages, mask, ref_logp)
        return finish(tokens.xp, tokens.masked(self._losses(tokens)), tokens.dtype, "advantages")

    def loss(
        self,
        logp: Array,
        old_logp: Array | None,
        rewards: Array | None,
        mask: Array,
        *,
        advantages: Array | None = None,
        ref_logp: Array | None = None,
        constant: float | Array | None = None,
        groups: Array | None = None,
    ) -> Array:
        """The scalar loss to minimise.

        Parameters
        ----------
        logp, old_logp, mask
            As in `policy_loss`, B responses of up to T tokens.
        rewards : array, shape (B,) or (P, G) with B = P·G
            Rewards of the responses: of the groups that `groups` names, of one single group without
            it, or of P groups of G, one after the other. None if `advantages` are given.
        advantages : array, shape (B,) or (B, T), optional
            Advantages in place of rewards.
        ref_logp : array, shape (B, T)
            Log-probabilities under the reference; given if and only if `kl_coefficient` is not 0.
        constant : float, optional
            The maximal length of a response, for the aggregations that divide by it.
        groups : integer array, shape (B,), optional
            Group id of each response. Checked, against `group_size` too, even if nothing else
            reads it: with `advantages`, and `per_group` False.

        Returns
        -------
        array, shape ()
            The loss, in the common dtype of log-probabilities and advantages; integer and bool
            rewards follow `logp`. Exactly 0, with derivatives 0, if there is no token.

        Raises
        ------
        DomainError
            If a precondition of `advantages`, of `policy_loss` or of `kl` fails.
        """
        if (rewards is None) == (advantages is None):
            raise DomainError("advantages", advantages, "be given in place of rewards, or rewards")
        groups = _checked_groups(logp, groups)
        if rewards is not None:
            advantages, groups = self._flat_advantages(logp, rewards, groups)
        elif groups is not None and self.group_size is not None:
            _require_group_size(None, groups, self.group_size)
        tokens = self._tokens(logp, old_logp, advantages, mask, ref_logp)
        options = self._options(constant, groups)
        losses, zeroed = self._losses(tokens), self._zeroed(tokens)
        loss = aggregated(aggregate, losses, tokens, self.aggregation, zeroed=zeroed, **options)
        return finish(tokens.xp, loss, tokens.dtype, "advantages")

    def partial_sums(
        self,
        logp: Array,
        old_logp: Array | None,
        advantages: Array,
        mask: Array,
        *,
        ref_logp: Array | None = None,
        constant: float | Array | None = None,
        groups: Array | None = None,
    ) -> PartialSums:
        """What a part of a batch adds to the loss, for `identity.aggregation.combine`.

        Parameters
        ----------
        logp, old_logp, advantages, mask, ref_logp, constant, groups
            As in `loss`, of the responses of this part. The advantages come from whole groups,
            which may be spread over parts, so that `group_size` is not checked here.

        Returns
        -------
        PartialSums
            ``combine`` of all parts is the loss of the whole batch.

        Raises
        ------
        DomainError
            As `loss`.
        """
        groups = _checked_groups(logp, groups)
        tokens = self._tokens(logp, old_logp, advantages, mask, ref_logp)
        options = self._options(constant, groups)
        losses, zeroed = self._losses(tokens), self._zeroed(tokens)
        part = aggregated(partial_sums, losses, tokens, self.aggregation, zeroed=zeroed, **options)
        merged: PartialSums = replace(part, dtype=tokens.dtype)
        return merged

    def _options(self, constant: Any, groups: Any) -> dict[str, Any]:
        groups = groups if self.per_group else None
        return {"alpha": self.alpha, "constant": constant, "groups": groups}

    def _tokens(
        self, logp: Any, old_logp: Any, advantages: Any, mask: Any, ref_logp: Any
    ) -> Tokens:
        others = {}
        if self.kl_coefficient:
            others["ref_logp"] = ref_logp
        elif ref_logp is not None:
            raise DomainError("ref_logp", "an array", "be None, since kl_coefficient is 0")
        return self._surrogate().tokens(logp, old_logp, advantages, mask, **others)

    def _losses(self, tokens: Tokens) -> Array:
        with quiet(tokens.xp):
            losses = self._surrogate().losses(tokens)
            if not self.kl_coefficient:
                return losses
            estimate = kl_of(tokens, self.kl_estimator, self.kl_gradient)
            return losses + self.kl_coefficient * estimate

    def _zeroed(self, tokens: Tokens) -> bool:
        return not self.kl_coefficient and self._surrogate().zeroed(tokens)

    def _flat_advantages(self, logp: Any, rewards: Any, groups: Any) -> tuple[Array, Any]:
        """Advantages (B,) and group ids (B,), or None."""
        xp, (like, array) = as_arrays(logp=logp, rewards=rewards)
        follows = None  # the dtype that the rewards have not of themselves
        if not is_floating(array):
            follows = floating_dtype(xp, like)
            compute = computing(xp, follows)  # which holds integers that float16 does not
            require_exact(xp, "rewards", array, compute)
            array = xp.astype(array, compute)
        shape = tuple(array.shape)
        if len(shape) not in (1, 2) or (len(shape) == 2 and groups is not None):
            rule = "have shape (B,), or (P, G) without groups"
            raise DomainError("rewards", shape, rule)
        responses = tuple(like.shape)[:1]
        if responses and math.prod(shape) != responses[0]:
            raise DomainError("rewards", shape, f"be one for each response of logp, {responses[0]}")
        if 0 in shape:
            return xp.reshape(array, (0,)), groups
        result = self.advantages(array, groups)
        if follows is not None:
            result = finish(xp, result, follows, "rewards")
        if len(shape) == 1:
            return result, groups
        if self.per_group:
            groups = _row_ids(xp, array)
        return xp.reshape(result, (-1,)), groups


class _ReadOnly(Mapping[str, str]):
    """A mapping that cannot be changed, and can be copied and pickled."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str]) -> None:
        self._items = MappingProxyType(dict(items))

    @classmethod
    def of(cls, argument: str, items: object) -> _ReadOnly:
        """The items, if they are strings."""
        if not isinstance(items, Mapping) or not all(
            isinstance(text, str) for item in items.items() for text in item
        ):
            raise DomainError(argument, items, "be a mapping of strings to strings")
        return cls(items)

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(dict(self._items))

    def __reduce__(self) -> tuple[type[_ReadOnly], tuple[dict[str, str]]]:
        return type(self), (dict(self._items),)


def _finite(argument: str, value: object) -> float:
    rule = "be a finite number of at least 0"
    result = real_argument(argument, value, rule)
    if not 0 <= result < math.inf:  # false for NaN
        raise DomainError(argument, value, rule)
    return result


def _checked_groups(logp: Any, groups: Any) -> Any:
    """The ids as an array of one integer for each response, or None."""
    if groups is None:
        return None
    _, (like, ids) = as_arrays(logp=logp, groups=groups)
    rows = tuple(like.shape)[:1]
    require_ids(ids, rows, f"have one id for each row of logp, shape {rows}")
    return ids


def _require_group_size(rewards: Any, groups: Any, size: int) -> None:
    """Raise unless every group has that many rollouts; ids are looked at where visible."""
    if groups is None:
        _, (array,) = as_arrays(rewards=rewards)
        shape = tuple(array.shape)
        if not shape or shape[-1] != size:
            raise DomainError("rewards", shape, f"have groups of {size} along the last axis")
        return
    xp, (ids,) = as_arrays(groups=groups)
    rule = f"name each group {size} times"
    if ids.ndim != 1 or ids.shape[0] % size:
        raise DomainError("groups", tuple(ids.shape), rule)
    if inspectable(ids) and ids.shape[0]:
        ranked = xp.reshape(xp.sort(ids), (-1, size))
        first = ranked[:, 0]
        new = xp.concat([xp.ones_like(first[:1], dtype=xp.bool), first[1:] != first[:-1]])
        require_all(xp, "groups", first, new & (first == ranked[:, -1]), rule)


def _row_ids(xp: Namespace, rewards: Array) -> Array:
    """0, …, 0, 1, …, 1, …: the row of each element."""
    prompts, size = (int(n) for n in rewards.shape)
    return xp.arange(prompts * size, **placement(rewards)) // size
