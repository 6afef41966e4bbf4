"""Cost of identity.expectation, always beside the obvious way in the same run.

    python -m pytest benchmarks/bench_expectation.py

Absolute times belong to one machine; what is asserted and quoted are ratios within one run.
"""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.stats import binom

from identity.expectation import expected_std, smallest_group_size, update_weight

PROMPTS = 10**6
GROUP_SIZE = 64
LEAST_RATIO = 10
ROUNDS = 5

P = np.random.default_rng(1).random(PROMPTS)
K = np.arange(GROUP_SIZE + 1)
SIGMA = np.sqrt(K * (GROUP_SIZE - K)) / GROUP_SIZE
WAYS = np.asarray([math.comb(GROUP_SIZE, k) for k in range(GROUP_SIZE + 1)], dtype=np.float64)


def by_powers(p: np.ndarray) -> np.ndarray:
    """Σ_k C(G,k) p^k q^(G−k) σ_k, broadcast over (N, G + 1): the quickest obvious way."""
    column = p[:, None]
    return (WAYS * column**K * (1 - column) ** (GROUP_SIZE - K)) @ SIGMA


def by_logarithms(p: np.ndarray) -> np.ndarray:
    """The same through exp(log C + k log p + (G−k) log q), which no G makes overflow."""
    column = p[:, None]
    log = np.log(WAYS) + K * np.log(column) + (GROUP_SIZE - K) * np.log1p(-column)
    return np.exp(log) @ SIGMA


def by_scipy(p: np.ndarray) -> np.ndarray:
    return binom.pmf(K[None, :], GROUP_SIZE, p[:, None]) @ SIGMA


def from_table(p: np.ndarray) -> np.ndarray:
    return np.asarray(expected_std(p, GROUP_SIZE))


BROADCAST = {"powers": by_powers, "logarithms": by_logarithms, "scipy": by_scipy}


def seconds(function: Callable[[np.ndarray], np.ndarray]) -> float:
    start = time.perf_counter()
    function(P)
    return time.perf_counter() - start


@pytest.mark.benchmark(group="expected_std, 10^6 p, G = 64")
@pytest.mark.parametrize("way", [from_table, by_powers, by_logarithms])
def test_expected_std(benchmark: BenchmarkFixture, way: Callable[..., np.ndarray]) -> None:
    benchmark.pedantic(way, args=(P,), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("name", BROADCAST)
def test_ten_times_faster_than_broadcasting(name: str) -> None:
    """Best of interleaved rounds, so that a busy machine slows both."""
    from_table(P)
    rounds = 1 if name == "scipy" else ROUNDS
    pairs = [(seconds(from_table), seconds(BROADCAST[name])) for _ in range(rounds)]
    ratio = min(b for _, b in pairs) / min(a for a, _ in pairs)
    print(f"\n{name}: {ratio:.1f} times")
    assert ratio >= LEAST_RATIO


def test_memory_is_linear_in_the_prompts() -> None:
    update_weight(P[:1], GROUP_SIZE)
    peaks = []
    for function in (lambda p: update_weight(p, GROUP_SIZE), by_powers):
        tracemalloc.start()
        function(P)
        peaks.append(tracemalloc.get_traced_memory()[1] / P.nbytes)
        tracemalloc.stop()
    print(f"\npeak memory in arrays of N floats: table {peaks[0]:.1f}, broadcast {peaks[1]:.1f}")
    assert peaks[0] <= LEAST_RATIO / 2 <= GROUP_SIZE <= peaks[1]


@pytest.mark.benchmark(group="building a table (cache cleared)")
@pytest.mark.parametrize("group_size", [8, 64, 4096, 10**6])
def test_first_call(benchmark: BenchmarkFixture, group_size: int) -> None:
    from identity.expectation.weight import weight_table

    benchmark.pedantic(
        lambda: update_weight(0.3, group_size), setup=weight_table.cache_clear, rounds=3
    )


@pytest.mark.benchmark(group="smallest_group_size")
@pytest.mark.parametrize(("p", "fidelity"), [(1e-5, 0.95), (1e-5, 0.99), (0.5, 0.99)])
def test_smallest_group_size(benchmark: BenchmarkFixture, p: float, fidelity: float) -> None:
    benchmark(smallest_group_size, p, fidelity)
