"""Losses that Inductor compiles for a CPU, where they take a path of their own, against eager.

``test_surrogates_compiled`` runs these tests in a process of their own.
"""

from __future__ import annotations

import importlib
import shutil
from typing import Any

import numpy as np
import pytest

from identity.surrogates import policy_loss, token_loss
from tests import tolerances
from tests.backends import load_or_skip

pytestmark = [
    pytest.mark.skipif(not shutil.which("g++"), reason="Inductor needs a C++ compiler"),
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch.jit, by torch itself
]

CASES: dict[str, dict[str, Any]] = {
    "ppo_clip": {"clip": (0.2, 0.28)},
    "dual_clip": {"clip": (0.2, 0.28), "dual_clip": 1.5},
    "cispo": {"objective": "cispo", "clip": (0.2, 0.28)},
}
SHAPE = (4, 21)  # an odd width
MASK = np.arange(SHAPE[1]) < np.array([[21], [9], [0], [1]])


def batch(torch: Any, seed: int, dtype: Any, mask: Any, *, tokens: bool = False) -> tuple[Any, ...]:
    """log π, log π_old, advantages and mask: NaN, inf and 1e30 wherever it is 0."""
    rng = np.random.default_rng(seed)
    old = rng.uniform(-3, 0, SHAPE)
    logp = old + rng.normal(0, 0.3, SHAPE)
    advantages = rng.normal(size=SHAPE if tokens else SHAPE[0])
    logp[0, :3] = [-np.inf, old[0, 1], old[0, 2] + 200.0]  # ratio 0; on policy; saturated
    advantages[(0,) * advantages.ndim] = -0.7
    poison = [np.nan, np.inf, -np.inf, 1e30]
    for array in (logp, old, *([advantages] if tokens else [])):
        array[~MASK] = rng.choice(poison, SHAPE)[~MASK]
    if not tokens:
        advantages[2] = np.nan  # a response without tokens
    arrays = [torch.asarray(a).to(dtype) for a in (logp, old, advantages)]
    return (*arrays, torch.asarray(MASK).to(mask))


def value_and_gradient(function: Any, logp: Any, *others: Any) -> tuple[np.ndarray, np.ndarray]:
    leaf = logp.clone().requires_grad_()
    value = function(leaf, *others)
    value.sum().backward()
    return value.detach().double().numpy(), leaf.grad.double().numpy()


@pytest.mark.parametrize(
    ("case", "dtype", "mask", "aggregation"),
    [
        ("ppo_clip", "float32", "bool", "dapo"),
        ("ppo_clip", "float64", "uint8", "grpo"),
        ("dual_clip", "bfloat16", "bool", "grpo"),
        ("cispo", "float32", "bool", "dapo"),
    ],
)
def test_compiled_as_eager(case: str, dtype: str, mask: str, aggregation: str) -> None:
    load_or_skip("torch")
    torch = importlib.import_module("torch")

    def loss(*arrays: Any) -> Any:
        return policy_loss(*arrays, aggregation=aggregation, **CASES[case])

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True)
    eps = torch.finfo(getattr(torch, dtype)).eps
    for seed in range(3):
        arrays = batch(torch, seed, getattr(torch, dtype), getattr(torch, mask))
        value, gradient = value_and_gradient(loss, *arrays)
        result, slope = value_and_gradient(compiled, *arrays)
        assert np.isfinite(result)
        terms = np.abs(value_and_gradient(token_loss_of(case), *arrays)[0]).max()
        assert abs(result - value) <= tolerances.COMPILED_EPS * eps * max(terms, abs(value))
        np.testing.assert_allclose(slope, gradient, rtol=tolerances.COMPILED_EPS * eps, atol=0)
        np.testing.assert_array_equal(slope == 0, gradient == 0)  # masked, clipped, ratio 0
        assert (slope[~MASK] == 0).all()


def token_loss_of(case: str) -> Any:
    return lambda *arrays: token_loss(*arrays, **CASES[case])


def test_compiled_tokens_and_clips() -> None:
    """Losses of tokens with advantages of tokens: exact zeros, and slopes that stay at a bound."""
    load_or_skip("torch")
    torch = importlib.import_module("torch")
    torch.compiler.reset()
    function = token_loss_of("ppo_clip")
    compiled = torch.compile(function, fullgraph=True)
    arrays = batch(torch, 5, torch.float32, torch.bool, tokens=True)
    value, gradient = value_and_gradient(function, *arrays)
    result, slope = value_and_gradient(compiled, *arrays)
    assert (result[~MASK] == 0).all()
    assert (slope[~MASK] == 0).all()
    np.testing.assert_allclose(result, value, rtol=tolerances.FLOAT32_RELATIVE)
    np.testing.assert_allclose(slope, gradient, rtol=tolerances.FLOAT32_RELATIVE)
    high = float(np.float32(np.log1p(0.28)))
    for step, clipped in ((high, False), (np.nextafter(np.float32(high), np.float32(1)), True)):
        logp, old = torch.full(SHAPE, float(step)), torch.zeros(SHAPE)
        _, slope = value_and_gradient(compiled, logp, old, torch.ones(SHAPE), arrays[3])
        assert ((slope[MASK] == 0) == clipped).all()


def test_compiled_extremes() -> None:
    """Both log-probabilities at -inf have ratio 0; float16 has a floor that it can hold."""
    load_or_skip("torch")
    torch = importlib.import_module("torch")
    torch.compiler.reset()
    compiled = torch.compile(token_loss_of("cispo"), fullgraph=True)
    logp = torch.tensor([[-np.inf, -np.inf, -5000.0, -1.0]], dtype=torch.float16)
    old = torch.tensor([[-np.inf, -1.0, -1.0, -1.0]], dtype=torch.float16)
    others = (torch.ones(1, dtype=torch.float16), torch.ones((1, 4), dtype=torch.bool))
    value, slope = value_and_gradient(compiled, logp, old, *others)
    np.testing.assert_allclose(value, [[0.8 * 4096] * 3 + [1.0]], rtol=tolerances.FLOAT16_RELATIVE)
    np.testing.assert_array_equal(slope, [[0.0, 0.0, 0.0, -1.0]])


@pytest.mark.parametrize("case", ["ppo_clip", "cispo"])
def test_transformations_of_functions(case: str) -> None:
    """Second derivatives and batches of batches, traced: those of eager code."""
    load_or_skip("torch")
    torch = importlib.import_module("torch")
    logp, old, advantages, mask = batch(torch, 1, torch.float64, torch.bool)
    logp, advantages = logp.nan_to_num(0.0, 0.0, -1.0), advantages.nan_to_num(0.5)

    def loss(at: Any, mask: Any) -> Any:
        return policy_loss(at, old, advantages, mask, aggregation="grpo", **CASES[case])

    def squares(at: Any, mask: Any) -> Any:
        return (torch.func.grad(loss)(at, mask) ** 2).sum()

    two = torch.stack([logp, logp - 0.1]), torch.stack([mask, ~mask & False])
    torch.compiler.reset()
    for function, arrays in (
        (torch.func.grad(loss), (logp, mask)),
        (torch.func.grad(squares), (logp, mask)),
        (torch.func.vmap(loss), two),
    ):
        traced = torch.compile(function, backend="eager", fullgraph=True)
        torch.testing.assert_close(
            traced(*arrays), function(*arrays), rtol=tolerances.TRACED_RELATIVE, atol=0
        )


def test_the_path_is_taken() -> None:
    """The mask reaches the compiler as bytes, once, and eager code does not ask for them."""
    load_or_skip("torch")
    torch = importlib.import_module("torch")
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(str(graph.graph))
        return graph.forward

    torch.compiler.reset()
    logp, *others = batch(torch, 1, torch.float32, torch.bool)
    for case in CASES:
        loss = torch.compile(
            lambda *a, case=case: policy_loss(*a, aggregation="dapo", **CASES[case]),
            backend=backend, fullgraph=True,
        )  # fmt: skip
        loss(logp, *others)
    assert [graph.count("grpo_identity.bytes_of") for graph in graphs] == [1] * len(CASES)
