"""What every array-API generic function here needs: namespaces, dtypes, argument checks.

Arrays stay in the library, on the device and in the dtype they came in. Nothing here imports
torch or jax: ``array_api_compat`` recognises their arrays only if the caller imported them.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

from identity.errors import DomainError

__all__ = [
    "EXACT_INTEGERS",
    "FLOATS",
    "Array",
    "DType",
    "Namespace",
    "as_arrays",
    "common_dtype",
    "computing",
    "dtype_name",
    "finish",
    "floating_dtype",
    "inspectable",
    "integer_argument",
    "is_floating",
    "is_integral",
    "largest_float",
    "mask_argument",
    "name_of",
    "namespace",
    "placement",
    "quiet",
    "real_argument",
    "require_all",
    "require_exact",
    "require_finite",
    "require_ids",
    "require_not_empty",
    "require_real",
    "returned",
    "scalar",
    "signed",
    "smallest_normal",
    "stop_gradient",
]

# The array API has no static types; these names say what is meant.
Array: TypeAlias = Any
DType: TypeAlias = Any
Namespace: TypeAlias = Any

FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTEGERS = {
    f"{sign}int{n}": 2 ** (n - (not sign)) - 1 for sign in ("", "u") for n in (8, 16, 32, 64)
}
_REAL_RULE = "have dtype float16, bfloat16, float32 or float64, an integer dtype or bool"

_NUMPY: Namespace = array_api_compat.array_namespace(np.empty(0))

# Every integer up to this one is exact in the dtype that computes (see `computing`).
EXACT_INTEGERS = {"float16": 2**24, "bfloat16": 2**24, "float32": 2**24, "float64": 2**53}

# Smallest normal and largest number; `xp.finfo` knows no bfloat16 under NumPy.
_LIMITS = {
    "float16": (2.0**-14, (2 - 2.0**-10) * 2.0**15),
    "bfloat16": (2.0**-126, (2 - 2.0**-7) * 2.0**127),
    "float32": (2.0**-126, (2 - 2.0**-23) * 2.0**127),
    "float64": (2.0**-1022, (2 - 2.0**-52) * 2.0**1023),
}


def namespace(*arrays: Array) -> Namespace:
    """The array namespace that all arrays share.

    Raises
    ------
    DomainError
        If an argument is no array, or if they come from two libraries.
    """
    try:
        return array_api_compat.array_namespace(*arrays)
    except TypeError as error:
        kinds = tuple(type(a).__module__.partition(".")[0] for a in arrays)
        raise DomainError("arrays", kinds, "be arrays of one array library") from error


def as_arrays(**arguments: Any) -> tuple[Namespace, list[Array]]:
    """The arguments as arrays of one namespace; sequences and numbers become arrays of it.

    Sequences and Python numbers follow the arrays beside them (library and device), or become
    NumPy arrays if there are none.

    Raises
    ------
    DomainError
        If an argument cannot be an array of numbers, is masked, sparse or nested, or if two
        arguments come from different libraries or lie on different torch devices.
    """
    given = {k: v for k, v in arguments.items() if array_api_compat.is_array_api_obj(v)}
    xp = _NUMPY
    if given:
        first, *rest = given
        xp = array_api_compat.array_namespace(given[first])
        for other in rest:
            if array_api_compat.array_namespace(given[other]) is not xp:
                kind = type(given[other]).__module__.partition(".")[0]
                raise DomainError(other, kind, f"come from the same array library as {first}")
    device = None
    if array_api_compat.is_torch_namespace(xp):
        first = next(iter(given))
        device = given[first].device
        for other, array in given.items():
            if array.device != device:
                raise DomainError(other, array.device, f"lie on the device of {first} ({device})")
    converted = []
    for argument, value in arguments.items():
        if isinstance(value, np.ma.MaskedArray):
            raise DomainError(argument, type(value), "be a plain array: a mask has no meaning here")
        if array_api_compat.is_torch_array(value):
            _require_strided(argument, value)
        if argument in given and not isinstance(value, (np.ndarray, np.generic)):
            converted.append(value)
            continue
        try:
            array = xp.asarray(value) if device is None else xp.asarray(value, device=device)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise DomainError(argument, value, "be an array of real numbers") from error
        converted.append(array)
    for argument, array in zip(arguments, converted, strict=True):
        require_real(argument, array)
    return xp, converted


def _require_strided(argument: str, tensor: Array) -> None:
    """Raise for torch's sparse, nested and other tensors that are no plain arrays."""
    layout = str(tensor.layout)
    if layout != "torch.strided" or tensor.is_nested:
        kind = "nested" if tensor.is_nested else layout
        raise DomainError(argument, kind, "be a plain (dense, strided) tensor")


def dtype_name(array: Array) -> str:
    """Name of the dtype in every library, for example ``"float32"``."""
    return name_of(array.dtype)


def name_of(dtype: DType) -> str:
    """Name of a dtype of any library, also of those that NumPy and JAX give as a class."""
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None)
    return name if isinstance(name, str) else str(dtype).rpartition(".")[2]


def is_floating(array: Array) -> bool:
    """Whether the dtype is one of the four real floating dtypes supported here."""
    return dtype_name(array) in FLOATS


def is_integral(array: Array) -> bool:
    """Whether the dtype is a signed or unsigned integer (bool is not)."""
    return dtype_name(array) in _INTEGERS


def require_real(argument: str, array: Array) -> None:
    """Raise unless the dtype is floating, integral or bool."""
    name = dtype_name(array)
    if name not in FLOATS and name not in _INTEGERS and name != "bool":
        raise DomainError(argument, name, _REAL_RULE)


def smallest_normal(dtype: DType | str) -> float:
    """The smallest positive normal number of a floating dtype, given as such or by name."""
    return _LIMITS[dtype if isinstance(dtype, str) else name_of(dtype)][0]


def largest_float(dtype: DType | str) -> float:
    """The largest finite number of a floating dtype, given as such or by name."""
    return _LIMITS[dtype if isinstance(dtype, str) else name_of(dtype)][1]


def floating_dtype(xp: Namespace, array: Array) -> DType:
    """The array's own dtype if floating; the library's default one for integers and bools."""
    return array.dtype if is_floating(array) else xp.asarray(0.5).dtype


def common_dtype(xp: Namespace, *arrays: Array) -> DType:
    """The floating dtype of a result of all arrays; integers and bools follow the others."""
    # By name: torch.compile traces no `result_type`, and NumPy knows none of two halves.
    floating = {dtype_name(a): a.dtype for a in arrays if is_floating(a)}
    if len(floating) <= 1:
        return next(iter(floating.values()), floating_dtype(xp, arrays[0]))
    return xp.float64 if "float64" in floating else xp.float32


def computing(xp: Namespace, dtype: DType) -> DType:
    """The dtype that computes results of a dtype: float32 for float16 and bfloat16, else itself."""
    return xp.float32 if name_of(dtype) in ("float16", "bfloat16") else dtype


def inspectable(*arrays: Array) -> bool:
    """Whether values may be looked at now: not under jit, vmap or torch.compile.

    A transformation that only differentiates keeps values visible. On an accelerator looking
    waits for the device.
    """
    torch = sys.modules.get("torch")
    for array in arrays:
        if torch is not None and isinstance(array, torch.Tensor) and torch.compiler.is_compiling():
            return False
        xp = array_api_compat.array_namespace(array)
        flat = xp.reshape(array, (-1,))
        probe = flat[:1] if flat.shape[0] else flat  # the standard allows no slice beyond the end
        try:
            bool(xp.all(probe == probe))
        except (TypeError, RuntimeError):  # the tracer errors of jax and of torch.func
            return False
    return True


def scalar(array: Array) -> float | int | bool:
    """A 0-d array as a Python number, without torch's warning about gradients."""
    if hasattr(array, "detach"):
        array = array.detach()
    return array.item() if hasattr(array, "item") else _python_number(array)


def _python_number(array: Array) -> float | int | bool:
    if dtype_name(array) == "bool":
        return bool(array)
    return int(array) if is_integral(array) else float(array)


def quiet(xp: Namespace) -> AbstractContextManager[Any]:
    """Silence floating-point warnings of NumPy: results are checked instead.

    Nothing under torch, whose compiler cannot trace ``np.errstate``.
    """
    return nullcontext() if array_api_compat.is_torch_namespace(xp) else np.errstate(all="ignore")


def require_all(xp: Namespace, argument: str, array: Array, good: Array, rule: str) -> None:
    """Raise with the first offending element unless `good` (same shape) is true everywhere."""
    if bool(xp.all(good)):
        return
    bad = xp.reshape(xp.astype(~good, xp.int32), (-1,))
    position = int(xp.argmax(bad))
    value = scalar(xp.reshape(array, (-1,))[position])
    index = tuple(int(i) for i in np.unravel_index(position, tuple(array.shape) or (1,)))
    where = f" at index {index if len(index) > 1 else index[0]}" if array.ndim else ""
    raise DomainError(argument, value, f"{rule} (broken{where})")


def require_exact(xp: Namespace, argument: str, array: Array, dtype: DType) -> None:
    """Raise if a visible integer lies beyond those that the computing `dtype` holds exactly.

    To be called before the conversion, which rounds.
    """
    largest = EXACT_INTEGERS[name_of(dtype)]
    name = dtype_name(array)
    if _INTEGERS.get(name, 0) <= largest or not inspectable(array):
        return
    unsigned = name.startswith("u")
    values = signed(xp, array)
    good = (values >= (0 if unsigned else -largest)) & (values <= largest)
    rule = f"hold integers of at most {largest} in magnitude, which {name_of(dtype)} holds exactly"
    require_all(xp, argument, array, good, rule)


def require_finite(xp: Namespace, argument: str, array: Array) -> None:
    """Raise if a value that may be inspected is NaN or infinite."""
    if is_floating(array) and inspectable(array):
        require_all(xp, argument, array, xp.isfinite(array), "be finite")


def require_not_empty(argument: str, array: Array) -> None:
    """Raise if some axis has length 0."""
    if 0 in tuple(array.shape):
        raise DomainError(argument, tuple(array.shape), "not be empty")


def integer_argument(argument: str, value: object, allowed: Sequence[int] | None = None) -> int:
    """A plain integer argument, optionally one of a few.

    Raises
    ------
    DomainError
        If it is a bool or no integer, or is none of `allowed`.
    """
    rule = "be an integer" if allowed is None else f"be one of {tuple(allowed)}"
    if isinstance(value, bool):
        raise DomainError(argument, value, rule)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except Exception as error:  # a traced or multi-element array raises its library's own kind
        raise DomainError(argument, value, rule) from error
    if allowed is not None and number not in allowed:
        raise DomainError(argument, value, rule)
    return number


def stop_gradient(array: Array) -> Array:
    """The array as a constant of automatic differentiation; itself where there is none."""
    if hasattr(array, "detach"):
        return array.detach()
    if array_api_compat.is_jax_array(array):
        return sys.modules["jax"].lax.stop_gradient(array)
    return array


def real_argument(argument: str, value: object, rule: str) -> float:
    """A real number of Python or NumPy as a float; the caller checks its range.

    An integer or fraction beyond every float is infinite, with its sign.

    Raises
    ------
    DomainError
        If it is a bool or no real number.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise DomainError(argument, value, rule)
    try:
        return float(value)  # before any comparison, which NumPy's numbers make in their dtype
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def mask_argument(xp: Namespace, mask: Array) -> Array:
    """A mask of bools, or of 0 and 1, as bools; checked where it is visible."""
    if dtype_name(mask) == "bool":
        return mask
    values = signed(xp, mask)
    if inspectable(mask):
        require_all(xp, "mask", mask, (values == 0) | (values == 1), "be 0 or 1")
    return values != 0


def placement(array: Array) -> dict[str, Any]:
    """Keyword arguments that create a constant beside the array.

    NumPy has one device; JAX moves constants by itself, and its tracers have no device.
    """
    if array_api_compat.is_numpy_array(array) or array_api_compat.is_jax_array(array):
        return {}
    return {"device": array.device} if hasattr(array, "device") else {}


def require_ids(ids: Array, shape: tuple[int, ...], rule: str) -> None:
    """Raise unless the ids of groups have that shape, as the rule says, and are integers."""
    if tuple(ids.shape) != shape:
        raise DomainError("groups", tuple(ids.shape), rule)
    if not is_integral(ids):
        raise DomainError("groups", dtype_name(ids), "hold integer ids")


def signed(xp: Namespace, integers: Array) -> Array:
    """Unsigned integers of torch, which sorts and compares few of them, as int64, one to one."""
    if array_api_compat.is_torch_namespace(xp) and dtype_name(integers).startswith("uint"):
        return xp.astype(integers, xp.int64)  # 2^63 and above turn negative
    return integers


def returned(xp: Namespace, value: Array, dtype: DType) -> Array:
    """The result in the dtype of the input; `astype` copies even where nothing changes."""
    return value if value.dtype == dtype else xp.astype(value, dtype)


def finish(xp: Namespace, result: Array, dtype: DType, argument: str) -> Array:
    """The result in the caller's dtype; raise if it is visible and not finite there."""
    with quiet(xp):
        result = returned(xp, result, dtype)
        if inspectable(result):
            rule = f"give a result that {name_of(dtype)} can hold"
            require_all(xp, argument, stop_gradient(result), xp.isfinite(result), rule)
        return result
