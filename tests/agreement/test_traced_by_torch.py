"""Calls that torch.compile traces whole: dtypes that differ, arguments that change, bad ones."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from identity.aggregation import aggregate, estimator_bias, token_weights
from identity.preference import mean_discard_rate, pairwise_update
from identity.surrogates import PRESETS, importance_ratio, kl, policy_loss
from tests.backends import load_or_skip

pytestmark = [
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch.jit, by torch itself
]

LOGP = np.log([[0.5, 0.25, 0.5], [0.25, 0.5, 0.125]])
ADVANTAGES = np.array([1.0, -1.0])
MASK = np.array([[True, True, True], [True, True, False]])
KEPT = MASK.tolist()
CLIP = (0.2, 0.28)


def traced(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    torch = importlib.import_module("torch")
    torch.compiler.reset()
    compiled: Callable[..., Any] = torch.compile(
        function, backend="eager", fullgraph=True, **options
    )
    return compiled


def ppo(logp: Any, advantages: Any, mask: Any) -> Any:
    return policy_loss(logp, logp, advantages, mask, clip=CLIP, aggregation="grpo")


TWO_DTYPES: dict[str, tuple[Callable[..., Any], np.ndarray, np.ndarray]] = {
    "policy_loss": (lambda a, b: ppo(a, b, KEPT), LOGP, ADVANTAGES),
    "preset": (lambda a, b: PRESETS["dapo"].loss(a, a, b, KEPT), LOGP, ADVANTAGES > 0),
    "kl": (lambda a, b: kl(a, b), LOGP, LOGP - 0.5),
    "importance_ratio": (lambda a, b: importance_ratio(a, b, KEPT), LOGP, LOGP - 0.5),
    "pairwise_update": (pairwise_update, np.array([1.0, 0.0]), np.array([[1.0], [2.0]])),
    "estimator_bias": (
        lambda a, b: estimator_bias(a, b, "grpo"),
        np.array([[1.0, 2.0]]),
        np.array([[1.0, 3.0]]),
    ),
    "mean_discard_rate": (
        lambda a, b: mean_discard_rate(a, weights=b),
        np.array([0.25, 0.5]),
        np.array([1.0, 0.75]),
    ),
}


@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float64", "float16")])
@pytest.mark.parametrize("name", TWO_DTYPES)
def test_two_dtypes(name: str, dtypes: tuple[str, str]) -> None:
    backend = load_or_skip("torch")
    function, *arrays = TWO_DTYPES[name]
    held = [backend.asarray(a * 1.0, dtype) for a, dtype in zip(arrays, dtypes, strict=True)]
    for pair in (held, held[::-1]) if held[0].shape == held[1].shape else (held,):
        found, expected = traced(function)(*pair), function(*pair)
        assert found.dtype == expected.dtype == max(held, key=lambda a: a.element_size()).dtype
        np.testing.assert_array_equal(backend.to_numpy(found), backend.to_numpy(expected))


def test_a_count_that_changes() -> None:
    """The tokens of all ranks: another Python number in every step."""
    backend = load_or_skip("torch")
    loss, mask = backend.asarray(LOGP, "float32"), backend.asarray(MASK)
    function = traced(lambda loss, mask, count: aggregate(loss, mask, "dapo", constant=count))
    for count in (4, 5, 6, 7.5):
        assert function(loss, mask, count) == aggregate(loss, mask, "dapo", constant=count)


@pytest.mark.parametrize(
    ("method", "constant"), [("grpo", None), ("dapo", None), ("dr_grpo", 7), ("delta_l", 5.0)]
)
def test_shapes_that_change(method: str, constant: float | None) -> None:
    backend = load_or_skip("torch")

    def functions(logp: Any, advantages: Any, mask: Any) -> tuple[Any, Any]:
        loss = policy_loss(
            logp, logp, advantages, mask, clip=CLIP, aggregation=method, constant=constant
        )
        return loss, token_weights(mask, method, constant=constant)

    arrays = [backend.asarray(a, "float32") for a in (LOGP, ADVANTAGES)]
    mask = backend.asarray(MASK)
    for found, expected in zip(
        traced(functions, dynamic=True)(*arrays, mask), functions(*arrays, mask), strict=True
    ):
        np.testing.assert_array_equal(backend.to_numpy(found), backend.to_numpy(expected))


@pytest.mark.parametrize("fullgraph", [False, True])
def test_a_broken_rule_is_named(fullgraph: bool) -> None:
    """Where no graph may break, torch raises an error of its own that quotes ours."""
    backend = load_or_skip("torch")
    torch = importlib.import_module("torch")
    torch.compiler.reset()
    compiled = torch.compile(ppo, backend="eager", fullgraph=fullgraph)
    arrays = [backend.asarray(a, "float32") for a in (LOGP, np.ones(4))]
    with pytest.raises(Exception, match="advantages") as caught:
        compiled(*arrays, backend.asarray(MASK))
    for part in ("(4,)", "have shape (B,) or (B, T)"):
        assert part in str(caught.value)
