"""The reward of on-policy distillation: values, sums, and the gradients that it has on average."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

from identity.distillation import on_policy_distillation_reward
from tests import oracles
from tests.backends import Backend
from tests.identity import distillation_oracle as oracle
from tests.strategies import few_dtypes, round_to

CREDITS = ("token", "to_go", "sequence")
MASK = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])


def masked(logp: Any, teacher_logp: Any, mask: Any, *, credit: str) -> Any:
    return on_policy_distillation_reward(logp, teacher_logp, credit=credit, mask=mask)


def values(seed: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    both = -np.abs(rng.normal(size=(2, *MASK.shape))) * np.array([1.0, 30.0])[:, None, None]
    rounded = np.vectorize(lambda v: round_to(v, dtype), otypes=[float])
    return rounded(both[0]), rounded(both[1])


@pytest.mark.parametrize("credit", CREDITS)
def test_values(xp: Backend, credit: str) -> None:
    for dtype in few_dtypes(xp):
        logp, teacher = values(1, dtype)
        result = xp.to_numpy(
            xp.call(masked, xp.asarray(logp, dtype), xp.asarray(teacher, dtype), xp.asarray(MASK),
                    credit=credit)
        )  # fmt: skip
        assert result.shape == (3,) if credit == "sequence" else MASK.shape
        for b, row in enumerate(MASK):
            exact = [
                oracle.exact(t) - oracle.exact(s) if keep else oracle.exact(0)
                for s, t, keep in zip(logp[b], teacher[b], row, strict=True)
            ]
            for t in [0] if credit == "sequence" else range(len(row)):
                kept = {"token": exact[t : t + 1], "to_go": exact[t:], "sequence": exact}[credit]
                got = result[b] if credit == "sequence" else result[b, t]
                if credit != "sequence" and not row[t]:
                    assert got == 0
                    continue
                scale = sum(abs(x) for x in kept)
                ulps = oracles.excess(
                    got, sum(kept), dtype, relative_to=scale, flushes=xp.flushes_subnormals
                )
                assert ulps <= (1 if credit == "token" else len(row)), (credit, got, kept)


@pytest.mark.parametrize("credit", CREDITS)
def test_masked_tokens_never_matter(xp: Backend, credit: str) -> None:
    logp, teacher = values(2, "float32")
    poison = np.array([math.nan, math.inf, -math.inf, 1e30, -1e30])
    bad = [np.where(MASK == 1, x, p) for x, p in ((logp, poison), (teacher, poison[::-1]))]
    both = [
        xp.to_numpy(
            xp.call(masked, *(xp.asarray(x, "float32") for x in given), xp.asarray(MASK),
                    credit=credit)
        )
        for given in ((logp, teacher), bad)
    ]  # fmt: skip
    np.testing.assert_array_equal(*both)


def test_sums_agree_with_the_first_token_to_go() -> None:
    logp, teacher = values(3, "float64")
    tokens, to_go, whole = (
        on_policy_distillation_reward(logp, teacher, credit=credit) for credit in CREDITS
    )
    np.testing.assert_allclose(to_go[:, 0], whole, rtol=1e-14)
    np.testing.assert_allclose(to_go[:, :-1] - to_go[:, 1:], tokens[:, :-1], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(to_go[:, -1], tokens[:, -1])


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def numerical_gradient(function: Any, steps: list[np.ndarray]) -> list[np.ndarray]:
    """By central differences, good to 1e-9."""
    result = []
    for t, step in enumerate(steps):
        slope = np.zeros_like(step)
        for at in np.ndindex(step.shape):
            ends = []
            for sign in (1, -1):
                moved = [s.copy() for s in steps]
                moved[t][at] += sign * 1e-5
                ends.append(function(moved))
            slope[at] = (ends[0] - ends[1]) / 2e-5
        result.append(slope)
    return result


@pytest.mark.parametrize("credit", CREDITS)
def test_policy_gradient_over_all_responses(credit: str) -> None:
    """Σ P Σ_t reward_t ∇log π_t is −∇KL of responses for "to_go" and "sequence", not for "token".

    For "token" it is minus the sum of next-token gradients at prefixes held constant, which the
    other two are not: each is the biased twin of the other.
    """
    rng = np.random.default_rng(23)
    sizes = (2, 3, 2)
    student = [rng.normal(size=sizes[: t + 1]) for t in range(3)]
    teacher = [rng.normal(size=sizes[: t + 1]) for t in range(3)]
    laws, of_teacher = [softmax(s) for s in student], [softmax(s) for s in teacher]
    responses = list(product(*map(range, sizes)))
    logp, teacher_logp = (
        np.array([[math.log(law[t][y[: t + 1]]) for t in range(3)] for y in responses])
        for law in (laws, of_teacher)
    )
    reward = on_policy_distillation_reward(logp, teacher_logp, credit=credit)
    gradient = [np.zeros_like(s) for s in student]
    for n, y in enumerate(responses):
        chance = math.exp(logp[n].sum())
        for t in range(3):
            score = -laws[t][y[:t]]
            score[y[t]] += 1
            gradient[t][y[:t]] += (
                chance * score * (reward[n] if credit == "sequence" else reward[n, t])
            )

    def of_responses(steps: list[np.ndarray]) -> float:
        p = [softmax(s) for s in steps]
        total = 0.0
        for y in responses:
            logs = [math.log(p[t][y[: t + 1]] / of_teacher[t][y[: t + 1]]) for t in range(3)]
            chances = [p[t][y[: t + 1]] for t in range(3)]
            total += math.prod(chances) * sum(logs)
        return total

    def of_tokens(steps: list[np.ndarray]) -> float:
        total = 0.0
        for t, step in enumerate(steps):
            p = softmax(step)
            each = (p * np.log(p / of_teacher[t])).sum(axis=-1)
            reached = np.ones(())
            for u in range(t):
                reached = reached[..., None] * laws[u]  # as they were: constants
            total += float((reached * each).sum())
        return total

    found = {f: numerical_gradient(f, student) for f in (of_responses, of_tokens)}
    mine, other = (of_tokens, of_responses) if credit == "token" else (of_responses, of_tokens)
    for t in range(3):
        np.testing.assert_allclose(gradient[t], -found[mine][t], rtol=0, atol=1e-8)
    assert max(abs(g + x).max() for g, x in zip(gradient, found[other], strict=True)) > 1e-2
