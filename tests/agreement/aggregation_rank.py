"""One rank of torch.distributed, or a process with several JAX devices, for the tests beside it.

``python -m tests.agreement.aggregation_rank gloo RANK WORLD STORE OUT`` or ``... sharded OUT``.
Writes what it got to OUT (.npz); the test compares it with one process.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np

ROWS, TOKENS, PARAMETERS = 12, 9, 5
# Method, options, with groups; ids span ranks.
CASES: dict[str, tuple[str, dict[str, float], bool]] = {
    "grpo": ("grpo", {}, False),
    "dapo": ("dapo", {}, False),
    "dapo-groups": ("dapo", {}, True),
    "dapo-constant": ("dapo", {"constant": 50}, False),
    "dr_grpo": ("dr_grpo", {"constant": 9}, False),
    "sequence_sum": ("sequence_sum", {}, False),
    "delta_l-groups": ("delta_l", {"alpha": 0.75, "constant": 9}, True),
    "delta_l_batch": ("delta_l_batch", {"constant": 9}, False),
}
# Rows of each rank: unequal, one without tokens (rows 8 to 11 are masked).
SPLITS = {2: (3, 9), 3: (3, 5, 4)}
IDS = np.array([4, 4, 7, 7, 4, 9, 9, 7, 4, 4, 9, 7])
LISTED = np.array([4, 7, 9])


def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (B, T, P), the mask, and a parameter: loss = tanh(features @ parameter)."""
    rng = np.random.default_rng(11)
    mask = np.arange(TOKENS) < np.array([9, 1, 4, 3, 8, 2, 6, 5, 0, 0, 0, 0])[:, None]
    features = rng.normal(size=(ROWS, TOKENS, PARAMETERS))
    return features, mask, rng.normal(size=PARAMETERS)


def gloo(rank: int, world: int, store: str, out: str) -> None:
    torch = importlib.import_module("torch")
    dist = importlib.import_module("torch.distributed")
    aggregation = importlib.import_module("identity.aggregation")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    features, mask, parameter = (torch.asarray(x) for x in inputs())
    start = sum(SPLITS[world][:rank])
    own = slice(start, start + SPLITS[world][rank])
    width = int(mask[own].sum(dim=1).max())  # each rank pads to its own longest response
    results: dict[str, Any] = {}
    for case, (method, options, grouped) in CASES.items():
        weight = parameter.clone().requires_grad_()
        loss = torch.tanh(features[own, :width] @ weight)
        loss.retain_grad()
        groups = {"groups": torch.asarray(IDS[own])} if grouped else {}
        ids = torch.asarray(LISTED) if grouped else None
        part = aggregation.partial_sums(loss, mask[own, :width], method, **options, **groups)
        numerator, denominator = part.totals(ids)
        dist.all_reduce(denominator)
        share = part.share(denominator, ids)
        share.backward()
        value = share.detach().clone()
        dist.all_reduce(value)
        dist.all_reduce(weight.grad)
        results[f"{case} value"] = value.numpy()
        results[f"{case} loss"] = loss.grad.numpy()
        results[f"{case} parameter"] = weight.grad.numpy()
        results[f"{case} denominator"] = denominator.numpy()
        assert numerator.requires_grad
    np.savez(out, **results)
    dist.destroy_process_group()


def sharded(out: str) -> None:
    jax = importlib.import_module("jax")
    aggregation = importlib.import_module("identity.aggregation")
    sharding = importlib.import_module("jax.sharding")
    jax.config.update("jax_enable_x64", True)
    assert len(jax.devices()) == 4
    mesh = sharding.Mesh(np.array(jax.devices()), ("ranks",))
    over_rows = sharding.PartitionSpec("ranks")
    features, mask, parameter = inputs()
    losses = np.tanh(features @ parameter)
    results: dict[str, Any] = {}
    for case, (method, options, grouped) in CASES.items():
        if case not in ("grpo", "delta_l-groups"):
            continue

        def whole(loss: Any, mask: Any, ids: Any, how: Any = (method, options, grouped)) -> Any:
            method, options, grouped = how
            groups = {"groups": ids} if grouped else {}
            return aggregation.aggregate(loss, mask, method, **options, **groups)

        def ranked(loss: Any, mask: Any, ids: Any, how: Any = (method, options, grouped)) -> Any:
            method, options, grouped = how
            groups = {"groups": ids} if grouped else {}
            listed = jax.numpy.asarray(LISTED) if grouped else None
            part = aggregation.partial_sums(loss, mask, method, **options, **groups)
            _, denominator = part.totals(listed)
            return jax.lax.psum(part.share(jax.lax.psum(denominator, "ranks"), listed), "ranks")

        mapped = jax.shard_map(
            ranked, mesh=mesh, in_specs=(over_rows,) * 3, out_specs=sharding.PartitionSpec()
        )
        placed = sharding.NamedSharding(mesh, over_rows)
        many = [jax.device_put(x, placed) for x in (losses, mask, IDS)]
        one = [jax.device_put(x, jax.devices()[0]) for x in (losses, mask, IDS)]
        for name, function, arrays in (
            ("one", whole, one),
            ("many", whole, many),
            ("mapped", mapped, many),
        ):
            value, gradient = jax.jit(jax.value_and_grad(function))(*arrays)
            if name == "many":
                assert len(gradient.sharding.device_set) == 4
            results[f"{case} {name} value"] = np.asarray(value)
            results[f"{case} {name} gradient"] = np.asarray(gradient)
    np.savez(out, **results)


if __name__ == "__main__":
    if sys.argv[1] == "gloo":
        gloo(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
    else:
        sharded(sys.argv[2])
