"""A batch in parts: combined value and gradient are the whole's, for every preset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.aggregation import aggregate, combine
from identity.surrogates import PRESETS
from tests import tolerances
from tests.backends import load_or_skip

ROWS, WIDTH = 8, 5
presets = pytest.mark.parametrize("name", PRESETS)
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


def options(name: str) -> dict[str, Any]:
    return {"constant": 9.0} if PRESETS[name].aggregation in ("dr_grpo", "delta_l") else {}


@st.composite
def splits(draw: st.DrawFn) -> list[list[int]]:
    """Rows dealt out to one to four parts, of which some may be empty, in any order."""
    parts = draw(st.integers(1, 4))
    owners = draw(st.lists(st.integers(0, parts - 1), min_size=ROWS, max_size=ROWS))
    order = draw(st.permutations(range(ROWS)))
    return [[b for b in order if owners[b] == p] for p in range(parts)]


def batch(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    old = rng.uniform(-3, 0, (ROWS, WIDTH))
    logp, ref = (old + rng.normal(0, 0.3, old.shape) for _ in range(2))
    lengths = rng.integers(0, WIDTH + 1, ROWS)
    ids = rng.permutation(np.repeat([4, -1, 7, 2], 2))
    return logp, old, ref, rng.normal(size=ROWS), np.arange(WIDTH) < lengths[:, None], ids


@presets
@given(parts=splits(), seed=st.integers(0, 1000), dtype=st.sampled_from(["float32", "float64"]))
def test_parts_make_the_whole(name: str, parts: list[list[int]], seed: int, dtype: str) -> None:
    backend = load_or_skip("torch")
    torch = backend.xp
    preset = PRESETS[name]
    given_arrays = batch(seed)
    logp, old, ref, advantages = (backend.asarray(a, dtype) for a in given_arrays[:4])
    mask, ids = (backend.asarray(a) for a in given_arrays[4:])
    results = []
    for whole in (True, False):
        leaf = logp.clone().requires_grad_()
        made = []
        for rows in [list(range(ROWS))] if whole else parts:
            index = torch.asarray(rows, dtype=torch.int64)
            arguments = [a[index] for a in (leaf, old, advantages, mask)]
            keywords = {"ref_logp": ref[index]} if preset.kl_coefficient else {}
            if preset.per_group:
                keywords["groups"] = ids[index]
            made.append(preset.partial_sums(*arguments, **keywords, **options(name)))
        value = combine(made)
        value.backward()
        results.append((value.detach().numpy(), leaf.grad.numpy()))
    keywords = {"ref_logp": ref} if preset.kl_coefficient else {}
    loss = preset.loss(
        logp, old, None, mask, advantages=advantages, groups=ids, **keywords, **options(name)
    )
    np.testing.assert_array_equal(loss.numpy(), results[0][0])  # one part is the whole
    (value, gradient), (combined, its_gradient) = results
    bound = tolerances.split_ulp(ROWS) * EPS[dtype]
    size = sum_of_sizes(preset, given_arrays, dtype, name)
    assert abs(float(combined) - float(value)) <= bound * size
    assert (np.abs(its_gradient - gradient) <= bound * np.abs(gradient)).all()


def sum_of_sizes(preset: Any, arrays: tuple[np.ndarray, ...], dtype: str, name: str) -> float:
    """Σ w|ℓ|: the loss of the absolute values."""
    logp, old, ref, advantages = (a.astype(dtype) for a in arrays[:4])
    mask, ids = arrays[4:]
    keywords = {"ref_logp": ref} if preset.kl_coefficient else {}
    tokens = preset.token_loss(logp, old, advantages, mask, **keywords)
    groups = {"groups": ids} if preset.per_group else {}
    return float(aggregate(np.abs(tokens), mask, preset.aggregation, **groups, **options(name)))
