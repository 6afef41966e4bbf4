"""Trajectory, recursion, stationary variance, success rates, cold starts: 50 digits and runs."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.dynamics import (
    Oscillator,
    cold_start_time,
    recursion,
    stationary_variance,
    success_fixed_point,
    success_recursion,
    trajectory,
)
from tests import tolerances as tol
from tests.backends import Backend
from tests.identity import dynamics_oracle as oracle

DAMPINGS = (0.0, 1e-9, 0.1, 0.9, 1 - 1e-8, 1 - 2.0**-53, 1.0, 1 + 2.0**-52, 1 + 1e-9, 1.01, 3.0,
            30.0, 1e3, 1e8)  # fmt: skip
LAPLACE_LIMIT = "0.66274341934918158097474209710925290"


def check_trajectory(omega: float, zeta: float, t: float) -> None:
    exact = oracle.left_share(omega, zeta, t)
    s = omega * t
    bound = tol.trajectory_eps(zeta, s)
    with mpmath.workdps(2 * oracle.DIGITS + 20):
        covered = 1 - exact
        envelope = exact if zeta >= 1 else (1 + mpmath.mpf(zeta) * s) * mpmath.exp(-zeta * s)
        rise = abs(covered) if zeta >= 1 or s <= 0.25 else max(envelope, abs(covered))
    if envelope > 1e-290:
        left = float(trajectory((omega, zeta), t, 1.0, 0.0))
        assert oracle.error_eps(left, exact, envelope) <= bound
    if rise > 1e-290:
        assert oracle.error_eps(float(trajectory((omega, zeta), t)), covered, rise) <= bound


@pytest.mark.parametrize("zeta", DAMPINGS)
def test_both_shares_of_the_trajectory(zeta: float) -> None:
    for omega, s in ((1.0, 1e-8), (0.3, 1e-3), (1.0, 0.2), (0.3, 0.26), (1.0, 0.51), (0.0123, 1.0),
                     (1.0, 3.0), (0.3, 18.85), (1.0, 77.0), (0.0123, 300.0)):  # fmt: skip
        for scale in (1.0, 1 / max(1.0, 2 * zeta)):
            check_trajectory(omega, zeta, s * scale / omega)


@given(omega=st.floats(1e-6, 10), zeta=st.floats(0, 50), s=st.floats(1e-30, 200))
def test_trajectory_anywhere(omega: float, zeta: float, s: float) -> None:
    check_trajectory(omega, zeta, s / omega)


@pytest.mark.parametrize("zeta", [-1e-9, -0.5, -1.0, -1 - 1e-9, -2.0, -30.0])
def test_curves_that_leave_their_limit(zeta: float) -> None:
    for s in (1e-6, 0.01, 0.7, 5.0, 10.0):
        exact = oracle.left_share(1.0, zeta, s)
        with mpmath.workdps(oracle.DIGITS):
            root = mpmath.sqrt(max(mpmath.mpf(zeta) ** 2 - 1, 0))
            growth = mpmath.exp((root - mpmath.mpf(zeta)) * s) * (1 + abs(zeta) * s)
            covered = 1 - exact
        bound = tol.trajectory_eps(-zeta, s)
        assert oracle.error_eps(float(trajectory((1.0, zeta), s, 1.0, 0.0)), exact, growth) <= bound
        assert oracle.error_eps(float(trajectory((1.0, zeta), s)), covered, growth) <= bound


def test_trajectory_on_every_backend(xp: Backend) -> None:
    t = np.array([0.0, 0.25, 8.0, 64.0])
    for zeta in (0.25, 1.0, 4.0):
        for dtype in ("float32", "float64"):
            result = xp.call(trajectory_of(zeta), xp.asarray(t, dtype))
            assert str(result.dtype).endswith(dtype)
            for time, value in zip(t, xp.to_numpy(result), strict=True):
                left = oracle.left_share(0.125, zeta, float(time))
                with mpmath.workdps(oracle.DIGITS):
                    exact = (left * 2 + (1 - left) * 6) / 8
                bound = 2 * tol.trajectory_eps(zeta, 0.125 * float(time))
                assert oracle.error_eps(float(value), exact, None, dtype) <= bound


def trajectory_of(zeta: float) -> Any:
    """One function object for each ζ, so that a compiled backend compiles it once."""
    return _TRAJECTORIES.setdefault(zeta, lambda t: trajectory((0.125, zeta), t, 0.25, 0.75))


_TRAJECTORIES: dict[float, Any] = {}


def test_starts_at_rest_and_ends_at_the_limit() -> None:
    o = Oscillator(learning_rate=0.01, curvature=1.0, momentum=0.5, refresh_interval=3)
    assert trajectory(o, 0.0, 0.25, 0.75) == 0.25
    assert trajectory(o, 1e6, 0.25, 0.75) == 0.75
    t = 1e-4
    wanted = 0.01 * t * t / (2 * o.mass)
    assert float(trajectory(o, t)) == pytest.approx(wanted, rel=1e-4)
    slow = Oscillator(learning_rate=1e-7, curvature=1.0, momentum=0.5)
    times = np.linspace(1e5, 2e7, 50)
    exponential = -np.expm1(-times / slow.time_constant)
    np.testing.assert_allclose(trajectory(slow, times), exponential, rtol=1e-4)


@pytest.mark.parametrize(
    ("mu", "tau", "kappa", "within"),
    [(0.9, 0, 1e-4, 5e-4), (0.9, 5, 2e-3, 1.5e-2), (0.5, 2, 1e-3, 1e-3), (0.97, 3, 1e-3, 9e-3)],
)
def test_reduction_follows_slow_recursions(
    mu: float, tau: int, kappa: float, within: float
) -> None:
    """The third order that it leaves out is of relative size |λ|."""
    o = Oscillator(learning_rate=kappa, curvature=1.0, momentum=mu, refresh_interval=tau)
    steps = 20 * int(1 / o.natural_frequency)
    curve = recursion(o, steps, start=0.2, limit=0.7)
    assert np.abs(curve - trajectory(o, np.arange(steps + 1.0), 0.2, 0.7)).max() < within
    wrong = Oscillator(learning_rate=1.5 * kappa, curvature=1.0, momentum=mu, refresh_interval=tau)
    assert np.abs(curve - trajectory(wrong, np.arange(steps + 1.0), 0.2, 0.7)).max() > 2 * within


def test_recursion_is_its_definition() -> None:
    o = Oscillator(learning_rate=0.3, curvature=0.5, momentum=0.6, refresh_interval=2)
    rewards = [0.25] * 4
    for _ in range(30):
        pull = o.stiffness * (rewards[-3] - 0.75)
        rewards.append(1.6 * rewards[-1] - 0.6 * rewards[-2] - pull)
    np.testing.assert_allclose(recursion(o, 30, start=0.25, limit=0.75), rewards[3:], rtol=1e-13)


@pytest.mark.parametrize(("mu", "kappa"), [(0.0, 0.5), (0.9, 0.1), (0.9, 3.7), (0.5, 2.9)])
def test_stationary_variance_solves_its_equations(mu: float, kappa: float) -> None:
    """Yule–Walker: v = φ₁c₁ + φ₂c₂ + η²s²/G, c₁ = φ₁v + φ₂c₁, c₂ = φ₁c₁ + φ₂v, in fractions."""
    eta, k, s, size = 0.25, kappa / 0.25, 1.5, 8
    with mpmath.workdps(oracle.DIGITS):
        kappa_exact = mpmath.mpf(eta) * k
        one, two = 1 + mpmath.mpf(mu) - kappa_exact, -mpmath.mpf(mu)
        noise = (mpmath.mpf(eta) * s) ** 2 / size
        system = mpmath.matrix([[1, -one, -two], [-one, 1 - two, 0], [-two, -one, 1]])
        exact = mpmath.lu_solve(system, mpmath.matrix([noise, 0, 0]))[0]
    value = float(stationary_variance(eta, k, momentum=mu, noise_std=s, group_size=size))
    bound = tol.stationary_eps(kappa, 2 * (1 + mu) - kappa)
    assert oracle.error_eps(value, exact) <= bound


def test_stationary_variance_is_inverse_in_group_size() -> None:
    sizes = 2 ** np.arange(1, 7)
    values = stationary_variance(0.1, 1.0, momentum=0.9, group_size=sizes)
    np.testing.assert_array_equal(values * sizes, values[0] * 2)


@given(
    p=st.floats(0, 1), p_ref=st.floats(1e-300, 1 - 2.0**-53), beta=st.floats(1e-3, 1e3),
    eps=st.one_of(st.just(0.0), st.floats(1e-12, 1.0)),
)  # fmt: skip
def test_success_step(p: float, p_ref: float, beta: float, eps: float) -> None:
    value = float(success_recursion(p, p_ref, beta, eps))
    with mpmath.workdps(400 if p_ref < 1e-40 or p > 0.9 or p < 0.1 else oracle.DIGITS):
        variance = mpmath.mpf(p) * (1 - mpmath.mpf(p)) + mpmath.mpf(eps)
        if variance == 0:
            assert value == 1
            return
        gain = 1 / (mpmath.mpf(beta) * mpmath.sqrt(variance))
        odds = (1 - mpmath.mpf(p_ref)) / p_ref * mpmath.exp(-gain)
        exact = 1 / (1 + odds)
        bound = tol.SUCCESS_STEP_EPS + float(4 * gain * odds * exact)
        assert abs(value - exact) / exact <= bound * 2.0**-52
    assert value >= p_ref * (1 - bound * 2.0**-52)


def test_laplace_limit() -> None:
    limit = 1 / float(mpmath.mpf(LAPLACE_LIMIT))
    found = success_fixed_point(0.5, limit * (1 + 1e-13))
    assert found.interior
    assert found.value == pytest.approx(0.91677828, abs=3e-7)
    assert 1 - 2e-6 < found.slope < 1
    beyond = success_fixed_point(0.5, limit * (1 - 1e-13))
    assert not beyond.interior
    assert (beyond.value, beyond.reached) == (1.0, True)
    with mpmath.workdps(40):
        x = mpmath.mpf(LAPLACE_LIMIT)
        root = mpmath.sqrt(1 + x * x)
        assert abs(x * mpmath.exp(root) / (1 + root) - 1) < mpmath.mpf(10) ** -33


@given(
    p_ref=st.one_of(st.floats(0.5, 0.999), st.floats(1e-6, 0.999)), beta=st.floats(0.1, 20),
    eps=st.one_of(st.just(0.0), st.floats(1e-6, 0.5)),
)  # fmt: skip
def test_fixed_point_is_the_least_and_is_reached(p_ref: float, beta: float, eps: float) -> None:
    found = success_fixed_point(p_ref, beta, eps)
    p = oracle.success_limit(p_ref, beta, eps, 3000)
    near_tangent = abs(found.slope - 1) < 0.02
    if p_ref >= 0.5:
        assert found.reached
    if found.reached and not near_tangent and found.slope > -0.98:
        assert p == pytest.approx(found.value, abs=1e-8) or not found.interior
    if not found.interior:
        assert (found.value, eps) == (1.0, 0.0)
        return
    if found.value > 1 - 1e-9:
        return
    assert found.value > p_ref * (1 - 1e-15)
    at = float(success_recursion(found.value, p_ref, beta, eps))
    scale = 1e-13 / max(1e-4, 1 - found.value)
    assert at == pytest.approx(found.value, rel=scale * (2 + abs(found.slope)))
    # None below: the map lies above the diagonal.
    below = np.linspace(p_ref, found.value, 200)[1:-1]
    above = success_recursion(below, p_ref, beta, eps) - below
    assert (above > -1e-12).all()
    if found.value > 1 - 1e-5:  # too close for a difference quotient
        return
    step = 1e-6 * (1 - found.value) * found.value
    ends = success_recursion(np.array([found.value - step, found.value + step]), p_ref, beta, eps)
    slope = float(ends[1] - ends[0]) / (2 * step)
    assert slope == pytest.approx(found.slope, abs=1e-3 * (1 + abs(found.slope)))


def test_small_references_may_never_settle() -> None:
    """Below 1/2 a step can overshoot: the iteration then circles a fixed point or leaves for 1."""
    circles = success_fixed_point(0.001, 0.9)
    assert circles.interior
    assert not circles.reached
    assert circles.slope < -1
    leaves = success_fixed_point(2e-9, 1.0)
    assert not leaves.reached
    p = 2e-9
    for _ in range(50):
        p = float(success_recursion(p, 2e-9, 1.0))
    assert p == 1.0
    assert success_fixed_point(0.3, 2.0).reached


def test_published_cold_starts() -> None:
    assert round(cold_start_time(0.01, 0.5), 5) == 108.18014
    assert round(cold_start_time(0.01, 0.5, "tsallis", q=0), 5) == 108.18014
    assert round(cold_start_time(0.01, 0.5, "tsallis", q=1), 5) == 5.58502
    assert round(cold_start_time(0.001, 0.5, "grpo", group_size=2), 2) == 1012.81
    assert round(cold_start_time(0.001, 0.5, "grpo", group_size=8), 2) == 386.72
    assert round(cold_start_time(0.001, 0.5, "grpo_limit"), 2) == 63.15


SPANS = ((0.01, 0.5), (1e-12, 0.7), (0.3, 0.3 + 1e-9), (1e-3, 1 - 1e-9), (0.4, 0.999))


@pytest.mark.parametrize(("p0", "p1"), SPANS)
def test_cold_starts_of_closed_and_other_forms(p0: float, p1: float) -> None:
    reach = max(abs(math.log(p0)), abs(math.log(1 - p1)))
    for q in (0.0, 0.25, 0.77, 1.0):
        exact = oracle.escape_time(lambda p, _, q=q: p ** -mpmath.mpf(q), p0, p1)
        value = cold_start_time(p0, p1, "tsallis", q=q)
        quadrature = tol.COLD_START_QUADRATURE_EPS + 2 * reach
        assert oracle.error_eps(value, exact) <= (quadrature if 0 < q < 1 else tol.COLD_START_EPS)
    exact = oracle.escape_time(lambda p, q: 1 / mpmath.sqrt(p * q), p0, p1)
    assert oracle.error_eps(cold_start_time(p0, p1, "grpo_limit"), exact) <= tol.COLD_START_EPS
    plain = cold_start_time(p0, p1)
    assert plain == cold_start_time(p0, p1, "rloo") == cold_start_time(p0, p1, "tsallis", q=0)
    assert plain == cold_start_time(p0, p1, "grpo", group_size=2)
    assert cold_start_time(p0, p1, "dr_grpo", group_size=4) == plain / 0.75
    assert cold_start_time(p0, p1, "grpo", group_size=3) == plain / math.sqrt(2)


@pytest.mark.parametrize(("p0", "p1"), [(0.01, 0.5), (1e-5, 0.9), (0.3, 0.3 + 1e-9)])
@pytest.mark.parametrize("group_size", [4, 9])
def test_cold_starts_of_groups(p0: float, p1: float, group_size: int) -> None:
    exact = oracle.escape_time(lambda p, q: oracle.update_weight(min(p, q), group_size), p0, p1)
    reach = max(abs(math.log(p0)), abs(math.log(1 - p1)))
    value = cold_start_time(p0, p1, "grpo", group_size=group_size)
    assert oracle.error_eps(value, exact) <= tol.COLD_START_QUADRATURE_EPS + 2 * reach


def test_large_groups_add_up() -> None:
    """Intervals add, and the two ends are alike: to rounding, also where W changes fast."""
    for size in (100, 10**4, 2**20):
        whole = cold_start_time(1e-9, 1 - 1e-9, "grpo", group_size=size)
        parts = [(1e-9, 3e-7), (3e-7, 1e-4), (1e-4, 0.4), (0.4, 1 - 1e-9)]
        total = math.fsum(cold_start_time(a, b, "grpo", group_size=size) for a, b in parts)
        assert total == pytest.approx(whole, rel=1e-13)
        half = cold_start_time(1e-9, 0.5, "grpo", group_size=size)
        assert half == pytest.approx(whole / 2, rel=1e-7)  # 1 − 1e-9 is rounded
        # √(G − 1) p0 for rare successes; the limit beyond.
        assert half > cold_start_time(1e-9, 0.5, "grpo_limit")
    rare = cold_start_time(1e-12, 0.5, "grpo", group_size=8)
    assert rare * math.sqrt(7) * 1e-12 == pytest.approx(1, rel=1e-3)
    assert cold_start_time(0.2, 0.2) == 0.0
    assert cold_start_time(2.0**-1022, 0.5) == pytest.approx(2.0**1022)
