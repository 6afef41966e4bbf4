"""Targets: the libraries that have an adapter, and code of one's own as ``module:function``."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from identity.conformance import targets as _targets
from identity.conformance.batches import Answer, Gaps, Losses, Rewards, Tokens
from identity.conformance.calls import call
from identity.conformance.operation import CannotRun, Operation
from identity.errors import DomainError

__all__ = ["LIBRARIES", "Target", "from_function", "load"]


def _names() -> dict[str, str]:
    found = (module.name for module in pkgutil.iter_modules(_targets.__path__))
    return {name.replace("_", "-"): name for name in sorted(found) if not name.startswith("_")}


LIBRARIES = _names()  # the name in commands, and the module


@dataclass(frozen=True)
class Target:
    """A library, its version, and the operations to call.

    Parameters
    ----------
    library, version : str
        As in results; the version of what is installed.
    operations : tuple of Operation
        What is called.
    """

    library: str
    version: str
    operations: tuple[Operation, ...]


def load(name: str) -> Target:
    """The target of a name.

    Parameters
    ----------
    name : str
        A key of `LIBRARIES`, or ``module:function`` of one's own: see `from_function`.

    Raises
    ------
    CannotRun
        If the library is not installed, or the module cannot be imported.
    DomainError
        If the name is neither, or the function has no known call shape.
    """
    if ":" in name:
        return _own(name)
    if name not in LIBRARIES:
        known = ", ".join(LIBRARIES)
        raise DomainError("target", name, f"be one of {known}, or module:function of your own")
    adapter = importlib.import_module(f"identity.conformance.targets.{LIBRARIES[name]}")
    try:
        version = importlib.metadata.version(adapter.DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise CannotRun(f"{adapter.DISTRIBUTION} is not installed") from None
    return Target(name, version, tuple(adapter.operations()))


def _own(name: str) -> Target:
    module_name, _, path = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` has it
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as why:
        raise CannotRun(f"import {module_name}: {type(why).__name__}: {why}") from why
    for part in path.split("."):
        if not hasattr(found, part):
            raise DomainError("target", name, f"name something in {module_name}")
        found = getattr(found, part)
    try:
        version = importlib.metadata.version(module_name.partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        version = "local"
    return Target(name, version, tuple(from_function(found, path)))


_SHAPES = {  # the longest first, of those that begin alike
    ("rewards", "groups"): "advantage",
    ("logp", "old_logp", "advantages", "mask", "ref_logp"): "loss",
    ("logp", "old_logp", "advantages", "mask"): "loss",
    ("loss", "mask"): "aggregate",
    ("logp", "ref_logp"): "kl",
}


def from_function(function: Any, name: str) -> Iterable[Operation]:
    """Operations of a function of one's own.

    Parameters
    ----------
    function : callable
        One of five call shapes, told apart by the names of the parameters:

        * ``f(rewards, groups)``: advantages, shape (N,), of rewards (N,) and integer ids (N,);
        * ``f(logp, old_logp, advantages, mask)``: a loss, 0-d, of (B, T), (B, T), (B,) and bool
          (B, T); it may take ``ref_logp`` too;
        * ``f(loss, mask)``: the loss of losses of tokens (B, T);
        * ``f(logp, ref_logp)``: estimates, shape (N,), of a divergence;
        * ``f()``: an iterable of `Operation`, for settings, promises and several operations.

        Arguments are torch tensors, unless the function has an attribute ``framework = "numpy"``
        (then no gradient is compared) or ``"jax"``. An attribute ``says``, a dictionary, holds what
        it promises, as in `Operation`; ``settings``, a `Settings`, the numbers that it uses.
    name : str
        Name of the operation.

    Raises
    ------
    DomainError
        If the parameters are none of these.
    """
    if not callable(function):
        raise DomainError("target", name, "be a function")
    module = getattr(function, "forward", None)
    if module is not None and not inspect.isclass(function):  # torch.nn.Module
        function = module
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as why:
        raise DomainError("target", name, f"have a signature ({why})") from why
    named = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    required = {p.name for p in parameters if p.name in named and p.default is p.empty}
    shape = next((shape for shape in _SHAPES if required <= set(shape) <= named), None)
    if not required and shape is None:
        made = list(function())
        if not made or not all(isinstance(o, Operation) for o in made):
            raise DomainError("target", name, "return operations, at least one")
        return made
    if shape is None:
        shapes = "; ".join(f"f({', '.join(shape)})" for shape in _SHAPES)
        raise DomainError("target", name, f"be a function of a known call shape ({shapes}; f())")
    kind, with_ref = _SHAPES[shape], "ref_logp" in shape and "mask" in shape
    framework = getattr(function, "framework", "torch")
    if framework not in _CALLERS:
        raise DomainError("framework", framework, f"be one of {', '.join(_CALLERS)}")
    options: dict[str, Any] = {}
    for key in ("settings", "says", "method", "dtypes"):
        if hasattr(function, key):
            options[key] = getattr(function, key)
    caller = _CALLERS[framework]
    return [Operation(name, kind, lambda b: caller(function, b, with_ref), **options)]


def _arguments(batch: Any, make: Callable[[Any, str], Any], with_ref: bool) -> dict[str, Any]:
    if isinstance(batch, Rewards):
        rewards = make(batch.rewards, batch.dtype)
        return {"rewards": rewards, "groups": make(batch.groups, "int64")}
    if isinstance(batch, Losses):
        return {"loss": make(batch.loss, batch.dtype), "mask": make(batch.mask, "bool")}
    if isinstance(batch, Gaps):
        ref = make(batch.ref_logp, batch.dtype)
        return {"logp": make(batch.logp, batch.dtype), "ref_logp": ref}
    assert isinstance(batch, Tokens)
    values = {
        "logp": make(batch.logp, batch.dtype),
        "old_logp": make(batch.old_logp, batch.dtype),
        "advantages": make(batch.advantages, batch.dtype),
        "mask": make(batch.mask, "bool"),
    }
    if with_ref and batch.ref_logp is None:
        raise CannotRun("it takes ref_logp: set settings.beta to the coefficient that it uses")
    if with_ref:
        values["ref_logp"] = make(batch.ref_logp, batch.dtype)
    return values


def _with_torch(function: Callable[..., Any], batch: Any, with_ref: bool) -> Answer:
    from identity.conformance.frameworks import torch_answer, torch_array, torch_values

    arguments = _arguments(batch, torch_array, with_ref)
    if isinstance(batch, Rewards):
        return torch_values(call(function, **arguments))
    leaf = arguments["loss" if isinstance(batch, Losses) else "logp"].requires_grad_()
    return torch_answer(leaf, call(function, **arguments))


def _with_numpy(function: Callable[..., Any], batch: Any, with_ref: bool) -> Answer:
    import numpy as np

    def make(values: Any, dtype: str) -> Any:
        if dtype == "bfloat16":
            raise CannotRun("NumPy has no bfloat16")
        return np.array(values, dtype)

    result = np.asarray(call(function, **_arguments(batch, make, with_ref)))
    return Answer(result.astype(np.float64), None, result.dtype.name)


def _with_jax(function: Callable[..., Any], batch: Any, with_ref: bool) -> Answer:
    import jax
    import numpy as np

    from identity.conformance.frameworks import jax_answer, jax_array

    with jax.enable_x64(True):
        arguments = _arguments(batch, jax_array, with_ref)
        if isinstance(batch, Rewards):
            result = call(function, **arguments)
            return Answer(np.asarray(result).astype(np.float64), None, result.dtype.name)
        leaf = "loss" if isinstance(batch, Losses) else "logp"
        others = {name: value for name, value in arguments.items() if name != leaf}
        return jax_answer(lambda x: call(function, **{leaf: x, **others}), arguments[leaf])


_CALLERS = {"torch": _with_torch, "numpy": _with_numpy, "jax": _with_jax}
