"""Thresholds, onset, oscillator and regime: against roots, runs of the recursion, 50 digits."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.dynamics import (
    Oscillator,
    oscillation_onset,
    recursion,
    refresh_threshold,
    regime,
)
from tests import tolerances as tol
from tests.identity import dynamics_oracle as oracle

MOMENTA = (0.0, 1e-300, 1e-9, 0.3, 0.5, 0.9, 0.99, 1 - 1e-9, 1 - 2.0**-53)
DELAYS = (2, 3, 4, 8, 16, 97)
BLOCKS = (1, 2, 3, 4, 16, 64, 200)
RUNS = tuple(itertools.product((0.0, 0.3, 0.9, 0.99), (0, 1, 2, 4, 8, 20)))


@pytest.mark.parametrize("mu", MOMENTA)
@pytest.mark.parametrize("tau", DELAYS)
def test_delay_to_the_last_bits(mu: float, tau: int) -> None:
    exact = oracle.delay_threshold(mu, tau)
    value = refresh_threshold(mu, tau, "delay")
    assert oracle.error_eps(value, exact) <= tol.THRESHOLD_EPS["delay"]


@pytest.mark.parametrize("mu", MOMENTA)
@pytest.mark.parametrize("steps", BLOCKS)
def test_block_to_the_last_bit(mu: float, steps: int) -> None:
    exact = oracle.block_threshold(mu, steps)
    value = refresh_threshold(mu, steps, "block")
    assert oracle.error_eps(value, exact) <= tol.THRESHOLD_EPS["block"]


@pytest.mark.parametrize("mu", MOMENTA)
@pytest.mark.parametrize("tau", [0, 1, *DELAYS])
def test_onset_to_the_last_bits(mu: float, tau: int) -> None:
    value = oscillation_onset(mu, tau)
    if mu > 0.999999:  # where 50 digits of golden sections do not reach: no lag in closed form
        with mpmath.workdps(oracle.DIGITS):
            exact = (1 - mpmath.sqrt(mpmath.mpf(mu))) ** 2
        if tau == 0:
            assert oracle.error_eps(value, exact) <= tol.ONSET_EPS
        assert 0 < value < refresh_threshold(mu, tau, "delay")
        return
    assert oracle.error_eps(value, oracle.onset(mu, tau)) <= tol.ONSET_EPS


def test_huge_intervals() -> None:
    for tau in (10**6, 2**53):
        for mu in (0.0, 0.5, 1 - 2.0**-40):
            exact = oracle.delay_threshold(mu, tau)
            value = refresh_threshold(mu, tau)
            assert oracle.error_eps(value, exact) <= tol.THRESHOLD_EPS["delay"]
        assert refresh_threshold(0.0, tau, "block") == 2 / tau
        assert refresh_threshold(0.75, tau, "one_step") == 0.25 / tau
    # Slow momentum: in the limit of many steps it only scales the step by 1/(1 − μ).
    assert refresh_threshold(0.9, 10**6, "block") * 10**6 / 0.1 == pytest.approx(2, rel=1e-4)


def test_numbers_of_the_theory() -> None:
    ratios = [round(t * refresh_threshold(0.0, t), 4) for t in (1, 2, 4, 8)]
    assert ratios == [1.0, 1.2361, 1.3892, 1.4763]
    blocks = [round(n * refresh_threshold(0.9, n, "block") / (1 - 0.9), 2) for n in (2, 4, 16, 64)]
    assert blocks == [4.22, 2.92, 2.98, 2.78]
    for n in (1, 2, 3, 7, 100):
        assert refresh_threshold(0.0, n, "block") == 2 / n
    assert 10**6 * refresh_threshold(0.0, 10**6) == pytest.approx(math.pi / 2, rel=1e-6)


@pytest.mark.parametrize(("mu", "tau"), RUNS)
def test_delay_separates_stable_from_unstable(mu: float, tau: int) -> None:
    threshold = refresh_threshold(mu, tau, "delay")
    for share in (0.05, 0.5, 0.9, 0.999, 1 - 1e-6):
        assert abs(oracle.companion(mu, threshold * share, tau)[0]) < 1
    for share in (1 + 1e-6, 1.001, 1.1, 2, 6):
        assert abs(oracle.companion(mu, threshold * share, tau)[0]) > 1


@pytest.mark.parametrize("mu", [0.0, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("steps", BLOCKS)
def test_block_separates_stable_from_unstable(mu: float, steps: int) -> None:
    threshold = refresh_threshold(mu, steps, "block")
    for share in (0.05, 0.5, 0.9, 0.999, 1 - 1e-6):
        assert abs(np.linalg.eigvals(oracle.block_map(mu, threshold * share, steps))).max() < 1
    for share in (1 + 1e-6, 1.001, 1.1, 2, 6):
        assert abs(np.linalg.eigvals(oracle.block_map(mu, threshold * share, steps))).max() > 1


@given(mu=st.floats(0, 1, exclude_max=True), interval=st.integers(1, 10**7))
def test_the_published_law_is_sufficient(mu: float, interval: int) -> None:
    law = refresh_threshold(mu, interval, "one_step") * (1 - 2.0**-49)
    for staleness in ("delay", "block"):
        assert refresh_threshold(mu, interval, staleness) >= law
    assert refresh_threshold(mu, 1) == 1 - mu == refresh_threshold(mu, 1, "one_step")
    assert refresh_threshold(mu, 0) == 2 * (1 + mu) == refresh_threshold(mu, 1, "block")


@given(mu=st.floats(0, 1, exclude_max=True), interval=st.integers(0, 10**7))
def test_longer_delays_are_worse(mu: float, interval: int) -> None:
    now, later = (refresh_threshold(mu, interval + n) for n in (0, 1))
    assert later < now * (1 + 2.0**-49)
    onset, next_onset = (oscillation_onset(mu, interval + n) for n in (0, 1))
    assert 0 < next_onset < onset * (1 + 2.0**-48)
    assert onset < now or onset == now * (1 - 2.0**-53) or mu < 2.0**-52


@pytest.mark.parametrize(("mu", "tau"), RUNS)
def test_regime_is_that_of_the_slowest_root(mu: float, tau: int) -> None:
    def made(kappa: float) -> Oscillator:
        return Oscillator(learning_rate=kappa, curvature=1.0, momentum=mu, refresh_interval=tau)

    onset, threshold = oscillation_onset(mu, tau), refresh_threshold(mu, tau)
    assert regime(made(onset)) == "critical"
    shares = (0.01, 0.49, 0.99, 1 - 1e-5, 1 + 1e-5, 1.01, 1.5, 3.0)
    for kappa in [onset * s for s in shares] + [threshold * s for s in shares]:
        slowest = oracle.companion(mu, kappa, tau)[0]
        if abs(slowest) >= 1:
            wanted = "unstable"
        elif slowest.imag == 0 and slowest.real > 0:
            wanted = "overdamped"
        else:
            wanted = "underdamped"
        assert regime(made(kappa)) == wanted, kappa


def test_negative_roots_oscillate() -> None:
    """Beyond (1 + √μ)² without lag the roots are real, negative: rewards alternate."""
    o = Oscillator(learning_rate=2.4, curvature=1.0, momentum=0.25)
    assert (oracle.companion(0.25, 2.4, 0)[:2].imag == 0).all()
    assert regime(o) == "underdamped"
    signs = np.sign(recursion(o, 40, limit=0.0, start=1.0))[20:]
    assert (signs[1:] == -signs[:-1]).all()


def test_regime_of_the_reduction() -> None:
    def named(**options: float) -> str:
        return regime(Oscillator(curvature=1.0, **options), model="continuous")  # type: ignore[arg-type]

    # m = (1 + μ + κτ²)/2, γ = 1 − μ − κτ: 4mk = γ² at μ = 0, τ = 0 for κ = 1/2.
    assert named(learning_rate=0.5) == "critical"
    assert named(learning_rate=0.49) == "overdamped"
    assert named(learning_rate=0.51) == "underdamped"
    assert named(learning_rate=0.5, refresh_interval=2) == "unstable"
    assert named(learning_rate=0.25, refresh_interval=2) == "underdamped"
    # The published law is the reduction's; the recursion is stable a little beyond.
    o = Oscillator(learning_rate=0.55, curvature=1.0, refresh_interval=2)
    assert (regime(o, model="continuous"), regime(o)) == ("unstable", "underdamped")


@given(
    eta=st.floats(1e-8, 2), k=st.floats(1e-3, 1.0), mu=st.floats(0, 0.999), tau=st.integers(0, 50),
    convention=st.sampled_from(["taylor", "heavy_ball"]),
)  # fmt: skip
def test_oscillator_is_the_second_order_expansion(
    eta: float, k: float, mu: float, tau: int, convention: str
) -> None:
    o = Oscillator(
        learning_rate=eta, curvature=k, momentum=mu, refresh_interval=tau,
        mass_convention=convention,
    )  # fmt: skip
    with mpmath.workdps(oracle.DIGITS):
        kappa, m = mpmath.mpf(eta) * k, mpmath.mpf(mu)

        def characteristic(x: mpmath.mpf) -> mpmath.mpf:
            lag = kappa * mpmath.exp(-x * tau)
            if convention == "heavy_ball":
                lag = kappa * (1 - x * tau)
            return mpmath.exp(x) - (1 + m) + m * mpmath.exp(-x) + lag

        zeroth, first, second = mpmath.taylor(characteristic, 0, 2)
        scale = (1 - m) + kappa * tau
        assert oracle.error_eps(o.stiffness, zeroth) <= tol.OSCILLATOR_EPS
        assert oracle.error_eps(o.damping, first, scale) <= tol.OSCILLATOR_EPS
        assert oracle.error_eps(o.mass, second) <= tol.OSCILLATOR_EPS
        frequency = mpmath.sqrt(zeroth / second)
        assert oracle.error_eps(o.natural_frequency, frequency) <= tol.OSCILLATOR_EPS
        time_scale = scale / zeroth
        error = oracle.error_eps(o.time_constant, first / zeroth, time_scale)
        assert error <= tol.OSCILLATOR_EPS
        ratio_scale = scale / (2 * mpmath.sqrt(second * zeroth))
        exact = first / (2 * mpmath.sqrt(second * zeroth))
        assert oracle.error_eps(o.damping_ratio, exact, ratio_scale) <= tol.OSCILLATOR_EPS
    plus, minus = o.roots
    assert plus.real >= minus.real or o.damping_ratio < 0
    for root in (plus, minus):
        size = o.stiffness + abs(o.damping * root) + abs(o.mass * root * root)
        value = o.stiffness + o.damping * root + o.mass * root * root
        assert abs(value) <= 32 * 2.0**-52 * size


def test_noise_variance() -> None:
    o = Oscillator(learning_rate=0.5, curvature=1.0, noise_std=3.0, group_size=4)
    assert o.noise_variance == 0.25 * 9 / 4
