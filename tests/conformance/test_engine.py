"""The engine's parts: calls, closed forms, references, recognition, search, targets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from identity.conformance import (
    CASES,
    LIBRARIES,
    CannotRun,
    Operation,
    Settings,
    Target,
    attribute,
    call,
    conform,
    inputs,
    load,
)
from identity.conformance import expected as reference
from identity.conformance.batches import Answer, Gaps, Rewards
from identity.conformance.calls import recording
from identity.conformance.conventions import (
    NORMALISERS,
    AdvantageConvention,
    KLConvention,
    LossConvention,
    advantage_conventions,
    kl_conventions,
)
from identity.conformance.deviations import DEVIATIONS, deviant_loss
from identity.conformance.factors import FORMS, fit
from identity.conformance.frameworks import epsilon, rounded, torch_answer, torch_array
from identity.conformance.recognise import matches, recognise
from identity.conformance.results import Result, plain
from identity.conformance.search import smallest
from identity.conformance.target import from_function
from identity.errors import DomainError

ROOT = Path(__file__).resolve().parents[2]
CLIPPED = Settings(clip=(0.2, 0.28), dual_clip=3.0, constant=16.0, beta=0.04)


# -- calls ---------------------------------------------------------------------------------------


def stable(*, rewards: Any, eps: float = 1e-6) -> Any:
    return rewards


def renamed(*, scores: Any, eps: float = 1e-6) -> Any:
    return scores


def extended(*, rewards: Any, eps: float = 1e-6, group_size: int) -> Any:
    return rewards


def test_a_call_by_keyword_goes_through() -> None:
    assert call(stable, rewards=[1.0]) == [1.0]


@pytest.mark.parametrize(
    ("function", "words"),
    [(renamed, "no argument 'rewards'"), (extended, "requires an argument 'group_size'")],
)
def test_a_changed_signature_cannot_be_run(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(CannotRun, match=words):
        call(function, rewards=[1.0])


@pytest.mark.parametrize("function", [renamed, extended])
def test_a_release_that_changes_a_signature_gives_no_verdict(function: Callable[..., Any]) -> None:
    def advantages(batch: Rewards) -> Answer:
        return Answer(np.asarray(call(function, rewards=batch.rewards)), None, batch.dtype)

    target = Target("changed", "2.0", (Operation("f", "advantage", advantages),))
    found = list(conform([target]))
    assert len(found) == 2 * sum("advantage" in case.kinds for case in CASES.values())
    assert {result.verdict for result in found} == {"cannot run"}
    assert all("the signature changed" in str(result.reason) for result in found)


@pytest.mark.parametrize(
    ("module", "path"), [("no_such_library", "f"), ("json", "no_such"), ("json", "loads.nothing")]
)
def test_what_is_not_there_cannot_be_run(module: str, path: str) -> None:
    with pytest.raises(CannotRun, match=module):
        attribute(module, path)


def test_a_recording_makes_the_call_again() -> None:
    leaf = torch.tensor([0.1, -2.0], dtype=torch.float32, requires_grad=True)
    with recording() as kept:
        constant = call(torch.nn.L1Loss, reduction="sum")
        call(constant.forward, input=leaf, target=torch.tensor([float("nan"), 1.0]))
    assert kept.complete
    space: dict[str, Any] = {}
    exec(kept.text(), space)
    again = next(value for name, value in space.items() if name.startswith("leaf"))
    assert again.requires_grad
    assert torch.equal(again, leaf)


def test_a_recording_says_when_it_is_not_complete() -> None:
    with recording() as kept:
        call(stable, rewards=SimpleNamespace())
    assert not kept.complete
    assert "<SimpleNamespace>" in kept.text()


# -- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.text)
@pytest.mark.parametrize("eps", [1e-4, 1e-6, 3.7e-5])
def test_a_closed_form_is_found_from_its_values(form: Any, eps: float) -> None:
    sizes, counts = map(
        np.array, zip(*[(g, k) for g in (2, 4, 8, 16, 64) for k in range(1, g)], strict=True)
    )
    sizes, counts = sizes.astype(float), counts.astype(float)
    values = form.value(sizes, counts, eps)
    found = fit(sizes, counts, values, 1e-13 * values)
    assert found is not None
    assert np.allclose(found.at(sizes, counts), values, rtol=1e-12, atol=0)
    if form.takes_eps:
        assert found.eps == pytest.approx(eps, rel=1e-3)


def test_no_closed_form_is_made_up() -> None:
    sizes, counts = np.array([2.0, 4.0, 4.0, 4.0]), np.array([1.0, 1.0, 2.0, 3.0])
    values = np.array([1.0, 1.01, 0.99, 1.02])
    assert fit(sizes, counts, values, 1e-9 * values) is None


# -- references ----------------------------------------------------------------------------------


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("level", ["token", "sequence", "sequence_token"])
@pytest.mark.parametrize(
    ("objective", "dual_clip"),
    [
        ("ppo_clip", False),
        ("ppo_clip", True),
        ("cispo", False),
        ("reinforce", False),
        ("importance", False),
    ],
)
def test_the_changeable_loss_is_the_verified_one_unless_it_is_changed(
    normaliser: str, objective: str, level: str, dual_clip: bool
) -> None:
    bounds = "none" if objective in ("reinforce", "importance") else "offset"
    for kl in (None, *kl_conventions()):
        convention = LossConvention(normaliser, objective, level, bounds, dual_clip, kl)
        for batch in inputs.loss_calibration("float64", True):
            verified = reference.losses(batch, convention, CLIPPED)
            other = deviant_loss(batch, convention, CLIPPED, "")
            answer = Answer(other.value, other.gradient, "float64")
            assert matches(answer, verified, "float64"), str(convention)


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.name)
def test_every_departure_departs(deviation: Any) -> None:
    """From each convention that it makes sense for, on the fixed inputs or on finer ones."""
    kl = KLConvention("k3", "value")
    departing = 0
    for objective in ("ppo_clip", "cispo"):
        for level in ("token", "sequence"):
            convention = LossConvention(
                "token_mean", objective, level, "offset", objective == "ppo_clip", kl
            )
            for batch in inputs.loss_calibration("float64", True):
                fine = replace(batch, logp=batch.logp * 1.01, old_logp=batch.old_logp * 1.01)
                try:
                    changed = deviant_loss(fine, convention, CLIPPED, deviation.change)
                except ValueError:
                    continue
                answer = Answer(changed.value, changed.gradient, "float64")
                plainly = reference.losses(fine, convention, CLIPPED)
                departing += not matches(answer, plainly, "float64")
    assert departing or deviation.change == "kl_weights:token_mean"  # which is the loss's own


def test_advantages_of_the_table_are_those_of_numpy() -> None:
    batch = inputs.rewards_of([[0.0, 1.0, 0.25], [2.0, -1.0]], "float64")
    for convention in advantage_conventions():
        if convention.scale != "std" or convention.baseline != "mean":
            continue
        for rows in (slice(0, 3), slice(3, 5)):
            own = batch.rewards[rows]
            variance = own.var(ddof=convention.ddof)
            denominator = {
                "absent": np.sqrt(variance),
                "added": np.sqrt(variance) + convention.eps,
                "in_variance": np.sqrt(variance + convention.eps),
                "floored": max(np.sqrt(variance), convention.eps),
            }[convention.eps_placement]
            found = reference.advantages(batch, convention).value[rows]
            assert np.allclose(found, (own - own.mean()) / denominator, rtol=1e-13, atol=1e-15)


def test_tolerances_are_no_wider_than_a_dtype_needs() -> None:
    """A relative error of a few hundred units in the last place is always seen."""
    for dtype in ("float64", "float32"):
        for batch in inputs.advantage_calibration(dtype):
            found = reference.advantages(batch, AdvantageConvention(ddof=1))
            wrong = found.value * (1 + 2000 * epsilon(dtype))
            assert not matches(Answer(wrong, None, dtype), found, dtype)
        batch_ = inputs.loss_calibration(dtype, False)[0]
        loss = reference.losses(batch_, LossConvention("token_mean"), CLIPPED)
        assert loss.gradient is not None
        wrong = loss.gradient * (1 + 3000 * epsilon(dtype))
        assert not matches(Answer(loss.value, wrong, dtype), loss, dtype)


# -- recognition ---------------------------------------------------------------------------------


def as_operation(convention: AdvantageConvention) -> Operation:
    def advantages(batch: Rewards) -> Answer:
        value = reference.advantages(batch, convention).value
        return Answer(rounded(value, batch.dtype), None, batch.dtype)

    return Operation(str(convention), "advantage", advantages)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_convention_of_advantages_is_told_from_the_others(dtype: str) -> None:
    """In float32 a tiny ε is none; in float64 only what two names share is confused."""
    confused = []
    for convention in advantage_conventions():
        if dtype == "float32" and 0 < convention.eps < 1e-6:
            continue
        found = recognise(as_operation(convention), dtype)
        if found.convention != convention or found.factor != "1":
            confused.append((convention, str(found)))
    for convention, found_ in confused:
        # A floor that no group reaches, and an ε in the variance that is below its last bit.
        floored = convention.eps_placement == "floored" and "no ε" in found_
        lost = convention.eps_placement == "in_variance" and convention.eps <= 1e-8
        # The batch's baseline goes out of the centred rewards' deviation.
        shared = "batch" in convention.scale and "batch" in found_
        assert floored or lost or shared, (convention, found_)


def test_an_unusual_eps_is_solved_for() -> None:
    found = recognise(as_operation(AdvantageConvention(ddof=1, eps_placement="added", eps=3.7e-5)),
                      "float64")  # fmt: skip
    assert found.convention == AdvantageConvention(ddof=1, eps_placement="added", eps=3.7e-5)


def test_nonsense_is_not_recognised() -> None:
    def advantages(batch: Rewards) -> Answer:
        return Answer(np.sin(37 * batch.rewards), None, batch.dtype)

    assert recognise(Operation("sine", "advantage", advantages), "float64").convention is None


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_extreme_log_ratios_stay_in_every_dtype(dtype: str) -> None:
    def k3(batch: Gaps) -> Answer:
        leaf = torch_array(batch.logp, dtype, leaf=True)
        gap = torch_array(batch.ref_logp, dtype) - leaf
        return torch_answer(leaf, torch.exp(gap) - gap - 1)

    target = Target("own", "0", (Operation("k3", "kl", k3, dtypes=(dtype,)),))
    found = {result.case: result for result in conform([target])}
    assert found["kl_extremes"].verdict == "equals", found["kl_extremes"].words
    reach = "10" if dtype == "float16" else "30"
    assert str(found["kl_extremes"].convention).endswith(f"±{reach}")


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.zeros((1, 3)), "returned shape"), (SystemExit(3), "SystemExit: 3")],
)
def test_what_no_result_can_be_is_told(value: Any, words: str) -> None:
    def odd(batch: Rewards) -> Answer:
        if isinstance(value, BaseException):
            raise value
        return Answer(value, None, batch.dtype)

    for result in conform([Target("own", "0", (Operation("odd", "advantage", odd),))]):
        assert result.verdict == "cannot run"
        assert words in str(result.reason)


# -- search --------------------------------------------------------------------------------------


def test_the_smallest_input_is_found_and_is_always_the_same() -> None:
    lists = st.lists(st.integers(0, 100), max_size=8)
    found = [smallest(lists, lambda values: sum(values) > 50, 200) for _ in range(3)]
    assert found == [[51]] * 3
    assert smallest(lists, lambda values: sum(values) < 0, 50) is None


def test_a_search_stops_at_its_number_of_inputs() -> None:
    calls = 0

    def slow(values: list[int]) -> bool:
        nonlocal calls
        calls += 1
        return sum(values) > 10

    assert smallest(st.lists(st.integers(0, 10**9)), slow, 10) is not None
    assert calls <= 51


# -- targets -------------------------------------------------------------------------------------


def test_the_eight_libraries_have_adapters() -> None:
    assert set(LIBRARIES) == {
        "liger", "ms-swift", "openrlhf", "polgrad", "torchrl", "trl", "tunix", "verl",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["nothing", "json:no_such", "json:__name__"])
def test_an_unknown_target_is_refused(name: str) -> None:
    with pytest.raises(DomainError, match="target"):
        load(name)


def test_a_module_that_is_not_there_cannot_be_run() -> None:
    with pytest.raises(CannotRun, match="no_such_module"):
        load("no_such_module:f")


def of_no_shape(a: Any, b: Any) -> Any:
    return a


def test_a_function_of_no_known_call_shape_is_refused() -> None:
    with pytest.raises(DomainError, match=r"f\(rewards, groups\)"):
        from_function(of_no_shape, "f")
    with pytest.raises(DomainError, match="at least one"):
        from_function(list, "f")


@pytest.mark.parametrize("framework", ["torch", "numpy", "jax"])
def test_functions_of_each_framework(framework: str) -> None:
    def kl(logp: Any, ref_logp: Any) -> Any:
        gap = ref_logp - logp
        exp = {"torch": torch.exp, "numpy": np.exp}.get(framework)
        if exp is None:
            import jax.numpy as jnp

            exp = jnp.exp
        return exp(gap) - gap - 1

    kl.framework = framework  # type: ignore[attr-defined]
    (operation,) = from_function(kl, "kl")
    found = recognise(operation, "float64")
    assert isinstance(found.convention, KLConvention)
    assert found.convention.estimator == "k3"


# -- results -------------------------------------------------------------------------------------


def test_results_are_json() -> None:
    result = Result(
        "a", "1", "f", "c", "float32", "differs", got={"value": np.array([np.nan, np.inf, 1.0])}
    )
    text = json.dumps(result.as_json(), allow_nan=False)
    assert json.loads(text)["got"]["value"] == ["nan", "inf", 1.0]
    assert plain((np.float64(2.0), np.int64(3))) == [2.0, 3]


def test_theorems_named_by_cases_are_in_the_ledger() -> None:
    ledger = json.loads((ROOT / "proofs" / "ledger.lock.json").read_text(encoding="utf-8"))
    known = set(ledger.get("theorems", ledger))
    sources = (ROOT / "identity" / "conformance").glob("*.py")
    import re

    topics = "groups|expectation|preference|aggregation|surrogates"
    named = {
        match
        for source in sources
        for match in re.findall(rf'"((?:{topics})\.[a-z0-9-]+)"', source.read_text("utf-8"))
    }
    assert len(named) >= 12
    assert named <= known


def test_rounding_is_that_of_the_dtype() -> None:
    values = np.array([0.1, 1 / 3, 1e-3])
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        assert np.array_equal(
            rounded(values, dtype), torch_array(values, dtype).to(torch.float64).numpy()
        )
