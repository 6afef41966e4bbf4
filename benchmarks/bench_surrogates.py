"""Cost of identity.surrogates, forward and backward, beside others' in the same run.

    python -m pytest benchmarks/bench_surrogates.py -s

The peers: a bare PPO clip of eight lines, which checks nothing and lets a masked NaN through, and
the plain (not Triton) paths of verl and Liger where these are installed. Absolute times belong to
one machine. What is asserted are ratios within one run, of the time that one core spends, the best
of interleaved rounds: two threads on a busy machine measure the others on it.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from identity.surrogates import policy_loss

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:.*compute_policy_loss:FutureWarning")  # of verl

ROWS, WIDTH = 512, 2048
ROUNDS = 15
CLIP = 0.2
# Eager time of the fastest library over our compiled time, of one core: it was 8 (Liger 18.0 ms,
# ours 2.2 ms, the bare clip compiled 1.6 ms, with a float mask). As wall time of two threads: 6.
COMPILED_RATIO = 4.0
# Peak memory beside the least of the peers': noise, in arrays.
MEMORY_SLACK = 0.5


def batch() -> dict[str, Any]:
    """Responses of random lengths, a little off policy."""
    torch.manual_seed(0)
    old = -3 * torch.rand(ROWS, WIDTH)
    mask = torch.arange(WIDTH) < torch.randint(1, WIDTH + 1, (ROWS, 1))
    return {
        "logp": (old + 0.1 * torch.randn(ROWS, WIDTH)).requires_grad_(),
        "old": old,
        "advantages": torch.randn(ROWS),
        "mask": mask,
        "ones": mask.float(),
    }


def bare(b: dict[str, Any]) -> Any:
    ratio = torch.exp(b["logp"] - b["old"])
    weight = b["advantages"][:, None]
    clipped = torch.clamp(ratio, 1 - CLIP, 1 + CLIP)
    losses = -torch.minimum(ratio * weight, clipped * weight)
    return (losses * b["ones"]).sum() / b["ones"].sum()


def ours(b: dict[str, Any], **changed: Any) -> Any:
    options = {"clip": (CLIP, CLIP), "aggregation": "dapo", **changed}
    return policy_loss(b["logp"], b["old"], b["advantages"], b["mask"], **options)


def liger(b: dict[str, Any]) -> Any:
    module = importlib.import_module("liger_kernel.chunked_loss.grpo_loss")
    loss, _ = module.LigerFusedLinearGRPOFunction.ppo_loss_fn(
        b["logp"], b["ones"], b["advantages"], b["ones"], old_per_token_logps=b["old"],
        epsilon_low=CLIP, epsilon_high=CLIP, beta=0.0, loss_type="bnpo",
    )  # fmt: skip
    return loss


def verl(b: dict[str, Any]) -> Any:
    module = importlib.import_module("verl.trainer.ppo.core_algos")
    weights = b["advantages"][:, None].expand(ROWS, WIDTH)
    return module.compute_policy_loss(
        b["old"], b["logp"], weights, b["ones"], cliprange=CLIP, loss_agg_mode="token-mean"
    )[0]


PEERS: dict[str, tuple[Callable[..., Any], str]] = {
    "liger": (liger, "liger_kernel.chunked_loss.grpo_loss"),
    "verl": (verl, "verl.trainer.ppo.core_algos"),
}


def peers() -> dict[str, Callable[..., Any]]:
    """Those that can be imported here, and the bare clip."""
    found: dict[str, Callable[..., Any]] = {"bare": bare}
    for name, (function, module) in PEERS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                importlib.import_module(module)
            except ImportError:
                continue
        found[name] = function
    return found


OURS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours, grpo": {"aggregation": "grpo"},
    "ours, cispo": {"objective": "cispo", "clip": (1.0, 4.0)},
    "ours, gspo": {"objective": "gspo", "clip": (3e-4, 4e-4), "aggregation": "grpo"},
}


def step(function: Callable[..., Any], b: dict[str, Any]) -> None:
    b["logp"].grad = None
    function(b).backward()


def best_times(functions: dict[str, Callable[..., Any]], b: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of one core, the best of interleaved rounds: waiting is not counted."""
    best = dict.fromkeys(functions, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = time.process_time()
            step(function, b)
            best[name] = min(best[name], 1e3 * (time.process_time() - start))
    torch.set_num_threads(threads)
    return best


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    torch.set_num_threads(2)
    return batch()


@pytest.mark.benchmark(group=f"forward and backward, ({ROWS}, {WIDTH}) float32, eager torch")
@pytest.mark.parametrize("name", [*OURS, "bare", *PEERS])
def test_eager(benchmark: BenchmarkFixture, arrays: dict[str, Any], name: str) -> None:
    if name in PEERS and name not in peers():
        pytest.skip(f"{name} is not installed")
    function = peers()[name] if name not in OURS else lambda b: ours(b, **OURS[name])
    benchmark.pedantic(step, args=(function, arrays), rounds=5, warmup_rounds=2)


def test_the_same_loss(arrays: dict[str, Any]) -> None:
    values, gradients = {}, {}
    for name, function in {**peers(), "ours": ours}.items():
        if name == "verl":
            continue  # clips twice, at 3
        step(function, arrays)
        values[name] = float(function(arrays).detach())
        gradients[name] = arrays["logp"].grad.clone()
    for name, value in values.items():
        assert value == pytest.approx(values["ours"], rel=1e-4)
        torch.testing.assert_close(gradients[name], gradients["ours"], rtol=1e-5, atol=1e-12)


def test_no_slower_than_the_fastest_peer(arrays: dict[str, Any]) -> None:
    times = best_times({**peers(), "ours": ours}, arrays)
    print("\neager, ms:", {name: round(value, 2) for name, value in times.items()})
    assert times["ours"] <= min(value for name, value in times.items() if name != "ours")


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit, by torch's own compiler
@pytest.mark.skipif(not shutil.which("g++"), reason="Inductor needs a C++ compiler")
def test_compiled(arrays: dict[str, Any]) -> None:
    compiled = {
        "ours compiled": torch.compile(ours, fullgraph=True),
        "bare compiled": torch.compile(bare, fullgraph=True),
    }
    times = best_times({**peers(), **compiled}, arrays)
    print("\ncompiled and eager, ms:", {name: round(value, 2) for name, value in times.items()})
    others = [value for name, value in times.items() if name in PEERS]
    if not others:
        pytest.skip("no library to compare with")
    assert COMPILED_RATIO * times["ours compiled"] <= min(others)


PEAK = """
import bench_surrogates as m, torch
torch.set_num_threads(2)
b = m.batch()
step = {**m.peers(), "ours": m.ours}[NAME]
m.step(step, b)  # what is loaded and kept at the first call
b["logp"].grad = None

def kib(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

open("/proc/self/clear_refs", "w").write("5")  # the peak starts here
before = kib("VmRSS")
m.step(step, b)
print(kib("VmHWM") - before)
"""


def peak_arrays(name: str) -> float:
    """Growth of the peak resident memory over one step, in arrays of the batch; a new process."""
    folder = pathlib.Path(__file__).parent
    paths = [str(folder), str(folder.parent), *filter(None, sys.path)]
    # Freed memory goes back to the system at once, so that it can be seen again.
    settings = {"PYTHONPATH": os.pathsep.join(paths), "MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run(
        [sys.executable, "-c", PEAK.replace("NAME", repr(name))],
        capture_output=True, text=True, check=True, env={**os.environ, **settings},
    )  # fmt: skip
    return float(run.stdout) * 1024 / (ROWS * WIDTH * 4)


@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_peak_memory() -> None:
    peaks = {name: peak_arrays(name) for name in (*peers(), "ours")}
    print("\npeak memory in arrays:", {name: round(value, 1) for name, value in peaks.items()})
    assert peaks["ours"] <= min(v for k, v in peaks.items() if k != "ours") + MEMORY_SLACK
