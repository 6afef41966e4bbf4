"""identity.dynamics: bad input by argument, value and rule; and a fuzz."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity import DomainError, dynamics
from identity.dynamics import (
    Oscillator,
    cold_start_time,
    fit,
    oscillation_onset,
    recursion,
    refresh_threshold,
    regime,
    stationary_variance,
    success_fixed_point,
    success_recursion,
    trajectory,
)
from tests.backends import load_or_skip
from tests.identity.test_groups_errors import raises, unusual_tensors

PLAIN = Oscillator(learning_rate=0.1, curvature=1.0, momentum=0.5)
NO_NUMBERS = ("1", None, True, [0.5], 0.5j, np.array([0.5]))
NOT_FINITE = (math.nan, math.inf, -math.inf, 10**400, -(10**400))
NO_COUNTS = (0.5, 2.0, "2", None, True, [2], -1, 2**53 + 1)


def made(**options: Any) -> Oscillator:
    return Oscillator(**({"learning_rate": 0.1, "curvature": 1.0} | options))


@pytest.mark.parametrize("name", ["learning_rate", "curvature", "momentum", "noise_std"])
@pytest.mark.parametrize("bad", [*NO_NUMBERS, *NOT_FINITE, -0.5], ids=repr)
def test_numbers_of_an_oscillator(name: str, bad: Any) -> None:
    with pytest.raises(DomainError) as caught:
        made(**{name: bad})
    assert caught.value.argument == name


def test_other_ranges_of_an_oscillator() -> None:
    raises("learning_rate", 0.0, "be positive", lambda: made(learning_rate=0.0))
    raises("momentum", 1.0, "lie in [0, 1)", lambda: made(momentum=1.0))
    raises("noise_std", -1e-9, "be at least 0", lambda: made(noise_std=-1e-9))
    raises("group_size", 0, "be at least 1", lambda: made(group_size=0))
    raises("mass_convention", "heavy", "be one of", lambda: made(mass_convention="heavy"))
    raises("curvature", 1e-200, "hold", lambda: made(learning_rate=1e-200, curvature=1e-200))
    raises("curvature", 1e200, "hold", lambda: made(learning_rate=1e200, curvature=1e200))
    raises("curvature", 1e200, "hold", lambda: made(curvature=1e200, refresh_interval=2**40))
    for bad in NO_COUNTS:
        for name in ("refresh_interval", "group_size"):
            if (name, bad) != ("group_size", 2**53 + 1):
                with pytest.raises(DomainError, match=name):
                    made(**{name: bad})
    assert made(learning_rate=np.float32(0.5)).learning_rate == 0.5
    assert made(refresh_interval=np.int64(3)).refresh_interval == 3


@pytest.mark.parametrize("bad", [*NO_NUMBERS, *NOT_FINITE, -1e-300, 1.0, 1.5], ids=repr)
def test_bad_momentum(bad: Any) -> None:
    for call in (
        lambda: refresh_threshold(bad, 2), lambda: oscillation_onset(bad),
    ):  # fmt: skip
        with pytest.raises(DomainError) as caught:
            call()
        assert caught.value.argument == "momentum"


def test_bad_intervals() -> None:
    for bad in NO_COUNTS:
        for call in (
            lambda b=bad: refresh_threshold(0.5, b), lambda b=bad: oscillation_onset(0.5, b),
        ):  # fmt: skip
            with pytest.raises(DomainError, match="interval"):
                call()
    for staleness in ("block", "one_step"):
        raises("interval", 0, "integer from 1", lambda s=staleness: refresh_threshold(0.5, 0, s))
    for bad in ("", "blocks", None, 1, ["delay"]):
        raises("staleness", bad, "be one of", lambda b=bad: refresh_threshold(0.5, 2, b))


def test_regime_takes_an_oscillator() -> None:
    for bad in (None, 0.5, (0.1, 0.5), "o"):
        raises("oscillator", bad, "be an Oscillator", lambda b=bad: regime(b))
        raises("oscillator", bad, "be an Oscillator", lambda b=bad: recursion(b, 3))
    raises("model", "discrete", "be one of", lambda: regime(PLAIN, model="discrete"))


def test_bad_trajectories() -> None:
    for bad in (None, 0.5, (0.1,), (0.1, 0.2, 0.3), "ab"):
        with pytest.raises(DomainError):
            trajectory(bad, 1.0)
    for omega in (0.0, -1.0, math.nan, math.inf, "1", True):
        with pytest.raises(DomainError, match="natural_frequency"):
            trajectory((omega, 0.5), 1.0)
    for zeta in (math.nan, math.inf, "1", True, 1e300):
        with pytest.raises(DomainError, match="damping_ratio"):
            trajectory((0.5, zeta), 1.0)
    raises("t", -1e-300, "at least 0", lambda: trajectory(PLAIN, [0.0, -1e-300]))
    for bad in (math.nan, math.inf):
        raises("t", bad, "be finite", lambda b=bad: trajectory(PLAIN, [0.0, b]))
        for name in ("start", "limit"):
            with pytest.raises(DomainError, match=name):
                trajectory(PLAIN, 1.0, **{name: bad})
    raises("start", (3,), "shape", lambda: trajectory(PLAIN, [0.0, 1.0], [1.0, 2.0, 3.0]))
    raises("t", (0,), "not be empty", lambda: trajectory(PLAIN, []))
    with pytest.raises(DomainError, match="t must give a result"):
        trajectory((1.0, -2.0), 1000.0)
    with pytest.raises(DomainError, match="float16"):
        trajectory(PLAIN, np.float16(30), 0.0, 7e5)


def test_bad_recursions() -> None:
    for bad in (0, *NO_COUNTS):
        with pytest.raises(DomainError, match="steps"):
            recursion(PLAIN, bad)
    for bad in (*NO_NUMBERS, *NOT_FINITE):
        for name in ("start", "limit"):
            with pytest.raises(DomainError, match=name):
                recursion(PLAIN, 3, **{name: bad})
    unstable = made(learning_rate=50.0)
    with pytest.raises(DomainError, match="steps must be few enough"):
        recursion(unstable, 1000)


VARIANCE: dict[str, Any] = {
    "learning_rate": 0.1, "curvature": 1.0, "momentum": 0.5, "noise_std": 1.0, "group_size": 4,
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANCE)
@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, -0.5, "x", None, True, [0.5, math.nan], []], ids=repr
)
def test_bad_variances(name: str, bad: Any) -> None:
    with pytest.raises(DomainError) as caught:
        stationary_variance(**(VARIANCE | {name: bad}))
    assert caught.value.argument == name


def test_other_bad_variances() -> None:
    def call(**options: Any) -> Any:
        return stationary_variance(**(VARIANCE | options))

    raises("momentum", 1.0, "lie in [0, 1)", lambda: call(momentum=1.0))
    raises("learning_rate", 0.0, "be positive", lambda: call(learning_rate=0.0))
    raises("group_size", 2.5, "be an integer", lambda: call(group_size=2.5))
    raises("group_size", 0.0, "be an integer", lambda: call(group_size=0))
    raises("learning_rate", 3.0, "be stable", lambda: call(learning_rate=3.0))
    raises("learning_rate", 4.0, "be stable", lambda: call(learning_rate=[0.1, 4.0]))
    shapes = {"learning_rate": np.full((3, 1), 0.1), "curvature": np.full((1, 4), 0.1)}
    raises("curvature", (1, 4), "shape", lambda: call(**shapes))
    with pytest.raises(DomainError, match="float32 can hold"):
        call(learning_rate=np.float32(1e-30), curvature=1e-30, noise_std=1e25)


def test_bad_success_rates() -> None:
    good = {"p": 0.5, "p_ref": 0.25, "beta": 1.0, "eps": 0.0}
    bads: dict[str, tuple[Any, ...]] = {
        "p": (-1e-9, 1.1, math.nan, "x", None, []),
        "p_ref": (0.0, 1.0, -1.0, math.nan, "x"),
        "beta": (0.0, -1.0, math.nan, math.inf, "x"),
        "eps": (-1e-9, math.nan, math.inf, "x"),
    }
    for name, values in bads.items():
        for bad in values:
            with pytest.raises(DomainError) as caught:
                success_recursion(**(good | {name: bad}))
            assert caught.value.argument == name
            if name != "p":
                for value in (bad, *NO_NUMBERS):
                    rest = {k: v for k, v in (good | {name: value}).items() if k != "p"}
                    with pytest.raises(DomainError) as caught:
                        success_fixed_point(**rest)
                    assert caught.value.argument == name
    raises("p_ref", (2,), "shape", lambda: success_recursion([0.5] * 3, [0.5] * 2, 1.0))


@pytest.mark.parametrize(
    ("argument", "arguments", "options"),
    [
        *(("p0", (bad, 0.5), {}) for bad in (0.0, 1.0, -0.1, 1e-320, *NO_NUMBERS, *NOT_FINITE)),
        *(("p1", (0.1, bad), {}) for bad in (0.05, 1.0, 0.0, *NO_NUMBERS, *NOT_FINITE)),
        *(("method", (0.1, 0.5, bad), {}) for bad in ("", "GRPO", None, 3)),
        *(
            ("group_size", (0.1, 0.5, method), {"group_size": bad})
            for method in ("grpo", "dr_grpo")
            for bad in (None, 1, 0, 2.0, True, "2")
        ),
        ("group_size", (0.1, 0.5, "grpo"), {"group_size": 2**20 + 1}),
        ("group_size", (0.1, 0.5), {"group_size": 4}),
        ("group_size", (0.1, 0.5, "grpo_limit"), {"group_size": 4}),
        *(("q", (0.1, 0.5, "tsallis"), {"q": bad}) for bad in (-0.1, 1.1, *NO_NUMBERS)),
        *(("q", (0.1, 0.5, "tsallis"), {"q": bad}) for bad in NOT_FINITE),
        ("q", (0.1, 0.5), {"q": 0.5}),
        ("q", (0.1, 0.5, "grpo"), {"group_size": 4, "q": 0.0}),
    ],
    ids=repr,
)
def test_bad_cold_starts(
    argument: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(DomainError) as caught:
        cold_start_time(*arguments, **options)
    assert caught.value.argument == argument


CURVE = 1 - np.exp(-np.arange(20.0) / 5)


@pytest.mark.parametrize(
    ("curve", "rule"),
    [
        (CURVE[:11], "at least 12 steps"),
        ([], "at least 12 steps"),
        (np.full(30, 0.25), "not be constant"),
        (np.zeros(30, dtype=int), "not be constant"),
        (np.where(np.arange(20) == 7, np.nan, CURVE), "be finite (broken at step 7)"),
        (np.where(np.arange(20) == 3, np.inf, CURVE), "be finite (broken at step 3)"),
        (np.where(np.arange(20) == 3, -np.inf, CURVE), "be finite (broken at step 3)"),
        (CURVE[:, None], "be one curve"),
        (CURVE[None], "be one curve"),
        (0.5, "be one curve"),
        (CURVE * 1e300, "vary between"),
        (CURVE * 1e-300, "vary between"),
        (CURVE + 1e290, "not be constant"),
        ((CURVE - 0.5) * 1.7e308, "vary between"),
        (["a"] * 20, "have dtype"),
        (CURVE * 1j, "have dtype"),
        (None, ""),
        (np.ma.masked_array(CURVE, CURVE > 0.5), "plain array"),
        (np.arange(2**53, 2**53 + 20), "in magnitude"),
    ],
)  # fmt: skip
def test_bad_curves(curve: Any, rule: str) -> None:
    with pytest.raises(DomainError) as caught:
        fit(curve)
    assert caught.value.argument == "rewards_per_step"
    assert rule in caught.value.rule


def test_bad_levels_and_traced_curves() -> None:
    for bad in (0.0, 1.0, -0.1, 95, *NO_NUMBERS, *NOT_FINITE):
        with pytest.raises(DomainError, match="level"):
            fit(CURVE, level=bad)
    jax = load_or_skip("jax").xp
    library = importlib.import_module("jax")
    with pytest.raises(DomainError, match="have values to look at"):
        library.jit(lambda c: fit(c).limit.value)(jax.asarray(CURVE))


def test_fit_says_that_it_needs_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(ImportError, match=r"grpo-identity\[fit\]"):
        fit(CURVE)


def test_torch_tensors_that_are_no_arrays() -> None:
    for tensor in unusual_tensors(load_or_skip("torch").xp):
        raises_plain(lambda t=tensor: trajectory(PLAIN, t))
        raises_plain(lambda t=tensor: success_recursion(t, 0.5, 1.0))
        raises_plain(lambda t=tensor: fit(t))


def raises_plain(call: Callable[[], Any]) -> None:
    with pytest.raises(DomainError, match="must be a plain"):
        call()


ANYTHING = st.one_of(
    st.floats(), st.floats(0, 1), st.integers(-3, 40), st.booleans(), st.none(),
    st.text(max_size=2), st.lists(st.floats(0, 1), max_size=3), st.lists(st.floats(), max_size=3),
)  # fmt: skip


@given(a=ANYTHING, b=ANYTHING, c=ANYTHING)
def test_documented_errors_or_finite_results(a: Any, b: Any, c: Any) -> None:
    calls: tuple[Callable[[], Any], ...] = (
        lambda: refresh_threshold(a, b), lambda: refresh_threshold(a, b, "block"),
        lambda: refresh_threshold(a, b, "one_step"), lambda: oscillation_onset(a, b),
        lambda: trajectory((0.1, 0.5), a, b, c), lambda: trajectory((a, b), c),
        lambda: stationary_variance(a, b, group_size=c), lambda: success_recursion(a, b, c),
        lambda: stationary_variance(0.1, 1.0, momentum=a, noise_std=b, group_size=c),
        lambda: success_fixed_point(a, b, c).value, lambda: cold_start_time(a, b),
        lambda: cold_start_time(a, b, "grpo", group_size=c),
        lambda: cold_start_time(a, b, "tsallis", q=c), lambda: cold_start_time(a, b, "grpo_limit"),
        lambda: recursion(PLAIN, a if isinstance(a, int) else 5, start=b, limit=c),
        lambda: made(learning_rate=a, momentum=b, refresh_interval=c).damping_ratio,
    )  # fmt: skip
    for call in calls:
        try:
            result = call()
        except DomainError:
            continue
        assert np.isfinite(np.asarray(result, dtype=np.float64)).all()


def test_every_public_name_exists() -> None:
    assert sorted(dynamics.__all__) == dynamics.__all__
    for name in dynamics.__all__:
        assert getattr(dynamics, name).__doc__
