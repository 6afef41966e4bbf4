"""Several processes or devices give what one gives: torch.distributed (gloo) and jax.sharding.

What holds to the last bit is the gradient by losses, where denominators are counts, and the
denominators themselves; a value, and a gradient by a parameter that all ranks share, are sums over
ranks, in whatever order the library adds them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from identity.aggregation import aggregate, token_weights
from tests import tolerances
from tests.agreement.aggregation_rank import CASES, IDS, ROWS, SPLITS, TOKENS, inputs
from tests.backends import load_or_skip

SECONDS = 240


def run(arguments: list[list[str]], **environment: str) -> None:
    """All at once; every process is waited for, and killed if it does not end."""
    command = [sys.executable, "-m", "tests.agreement.aggregation_rank"]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    ranks = [
        subprocess.Popen([*command, *own], env=settings, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for own in arguments
    ]  # fmt: skip
    try:
        output = [rank.communicate(timeout=SECONDS)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert [rank.returncode for rank in ranks] == [0] * len(ranks), "\n".join(output)


def expected(case: str) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Value, gradients by losses and by the parameter, and Σ w|ℓ|, from one process."""
    method, options, grouped = CASES[case]
    groups = {"groups": IDS} if grouped else {}
    features, mask, parameter = inputs()
    losses = np.tanh(features @ parameter)
    value = aggregate(losses, mask, method, **options, **groups)
    weights = token_weights(mask, method, dtype="float64", **options, **groups)
    by_parameter = np.einsum("bt,btp->p", weights * (1 - losses**2), features)
    return float(value), weights, by_parameter, float((weights * np.abs(losses)).sum())


def close_to_weights(case: str, gradient: np.ndarray, weights: np.ndarray) -> None:
    if case.startswith("delta_l"):
        bound = 2 * tolerances.token_weight_ulp(ROWS, by_length=True)
        assert (np.abs(gradient - weights) <= bound * np.spacing(weights)).all()
        assert (gradient[weights == 0] == 0).all()
    else:
        np.testing.assert_array_equal(gradient, weights)


@pytest.mark.parametrize("world", SPLITS)
def test_ranks_of_torch_distributed(tmp_path: Path, world: int) -> None:
    load_or_skip("torch")
    torch = pytest.importorskip("torch.distributed")
    if not torch.is_available() or not torch.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    files = [str(tmp_path / f"{rank}.npz") for rank in range(world)]
    store = str(tmp_path / "store")
    run([["gloo", str(rank), str(world), store, files[rank]] for rank in range(world)])
    ranks: list[Any] = [np.load(file) for file in files]
    bound = tolerances.aggregate_ulp(TOKENS, ROWS)
    for case in CASES:
        value, weights, by_parameter, size = expected(case)
        start = 0
        for rank, rows in zip(ranks, SPLITS[world], strict=True):
            assert abs(rank[f"{case} value"] - value) <= bound * np.spacing(size)
            reach = 16 * bound * np.spacing(np.abs(by_parameter).max())
            assert (np.abs(rank[f"{case} parameter"] - by_parameter) <= reach).all()
            gradient = rank[f"{case} loss"]
            own = weights[start : start + rows]
            assert (own[:, gradient.shape[1] :] == 0).all()
            close_to_weights(case, gradient, own[:, : gradient.shape[1]])
            start += rows
            for other in ranks:  # every rank has the same bits
                for name in ("value", "parameter", "denominator"):
                    np.testing.assert_array_equal(rank[f"{case} {name}"], other[f"{case} {name}"])
        if case == "dapo":
            assert ranks[0]["dapo denominator"] == 38
            assert ranks[0]["dapo denominator"].dtype == np.int64


def test_devices_of_jax_sharding(tmp_path: Path) -> None:
    """Sharded over rows, jit gives the bits of one device; by hand, in shard_map, the gradient."""
    load_or_skip("jax")
    out = str(tmp_path / "sharded.npz")
    run([["sharded", out]], XLA_FLAGS="--xla_force_host_platform_device_count=4",
        JAX_PLATFORMS="cpu")  # fmt: skip
    results = np.load(out)
    bound = tolerances.aggregate_ulp(TOKENS, ROWS)
    for case in ("grpo", "delta_l-groups"):
        value, weights, _, size = expected(case)
        got = {n: results[f"{case} {n} value"] for n in ("one", "many", "mapped")}
        slopes = {n: results[f"{case} {n} gradient"] for n in ("one", "many", "mapped")}
        assert got["many"] == got["one"]
        np.testing.assert_array_equal(slopes["many"], slopes["one"])
        for name in got:
            assert abs(got[name] - value) <= bound * np.spacing(size)
            reach = 2 * tolerances.token_weight_ulp(ROWS, by_length=True) * np.spacing(weights)
            assert (np.abs(slopes[name] - weights) <= reach).all()
            assert (slopes[name][weights == 0] == 0).all()
