"""identity.dynamics.fit: intervals against grids, rivals, residuals, regimes, odd curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from identity.dynamics import Estimate, TrajectoryFit, fit, trajectory
from tests import tolerances as tol
from tests.backends import load_or_skip

STEPS = np.arange(120.0)
NAMES = ("start", "limit", "natural_frequency", "damping_ratio", "time_constant")
# ω, ζ and the noise of curves from 0.2 to 0.7.
CURVES = ((0.1, 0.3, 0.03), (0.1, 1.0, 0.03), (0.2, 2.5, 0.02), (0.3, 8.0, 0.03))


def curve(omega: float, zeta: float, noise: float, seed: int = 0) -> np.ndarray:
    clean = trajectory((omega, zeta), STEPS, 0.2, 0.7)
    return clean + np.random.default_rng(seed).normal(scale=noise, size=STEPS.size)


def profiles(rewards: np.ndarray, found: TrajectoryFit) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values and least sums of squares of ω, ζ and T, on a grid of log ω and log ζ or T: plain
    linear regression on the shares of `trajectory`."""

    def axis(estimate: Estimate, name: str) -> np.ndarray:
        low = max(estimate.low, estimate.value / 60)
        high = min(estimate.high, max(60 * min(estimate.value, 1e300), 2 * low))
        if not math.isfinite(high):
            high = 3000.0 if name != "natural_frequency" else 200.0
        width = math.log(high / low)
        return np.exp(np.linspace(math.log(low) - 0.5 * width, math.log(high) + 0.5 * width, 141))

    by_time = found.damping_ratio.value > 1
    shapes = axis(found.damping_ratio, "damping_ratio")
    partner = "time_constant" if by_time else "natural_frequency"
    others = axis(getattr(found, partner), partner)
    best = np.empty((others.size, shapes.size))
    centred = rewards - rewards.mean()
    for j, zeta in enumerate(shapes):
        rates = 2 * zeta / others if by_time else others
        shares = trajectory((1.0, float(zeta)), rates[:, None] * STEPS)
        shares = shares - shares.mean(axis=1, keepdims=True)
        best[:, j] = centred @ centred - (shares @ centred) ** 2 / (shares**2).sum(axis=1)
    return {"damping_ratio": (shapes, best.min(axis=0)), partner: (others, best.min(axis=1))}


@pytest.mark.parametrize(("omega", "zeta", "noise"), CURVES[:3])
def test_intervals_are_those_of_the_profile_likelihood(
    omega: float, zeta: float, noise: float
) -> None:
    rewards = curve(omega, zeta, noise)
    found = fit(rewards, level=0.8)
    threshold = float(stats.f.ppf(0.8, 1, STEPS.size - 4))
    total = found.noise_std**2 * (STEPS.size - 4)
    for name, (values, sums) in profiles(rewards, found).items():
        estimate = getattr(found, name)
        assert sums.min() > total * (1 - 1e-9)
        inside = values[sums <= total * (1 + threshold / (STEPS.size - 4))]
        grid = math.log(values[1] / values[0])
        for end, seen in ((estimate.low, inside[0]), (estimate.high, inside[-1])):
            if math.isinf(end):
                assert seen == values[-1]
                continue
            width = math.log(min(estimate.high, values[-1]) / estimate.low)
            assert abs(math.log(end / seen)) <= grid + tol.INTERVAL_SHARE * width, name


@pytest.mark.parametrize(("omega", "zeta", "noise"), CURVES)
@pytest.mark.parametrize("seed", range(4))
def test_what_a_fit_says_is_consistent(omega: float, zeta: float, noise: float, seed: int) -> None:
    rewards = curve(omega, zeta, noise, seed)
    found = fit(rewards)
    estimates = {name: getattr(found, name) for name in NAMES}
    for name, e in estimates.items():
        assert e.low <= e.value <= e.high, name
    low, high = found.damping_ratio.low, found.damping_ratio.high
    wanted = "overdamped" if low > 1 else "underdamped" if high < 1 else "undetermined"
    assert found.regime == wanted
    assert "damping ratio" in found.reason
    e = rewards - fitted(found)
    assert found.noise_std == pytest.approx(math.sqrt(float(e @ e) / 116), rel=1e-9)
    spread = float(np.sum((rewards - rewards.mean()) ** 2))
    assert found.oscillator.r_squared == pytest.approx(1 - float(e @ e) / spread, rel=1e-9)
    fitted_term = 120 * math.log(float(e @ e) / 120)
    assert found.oscillator.aic == pytest.approx(fitted_term + 10, rel=1e-9)
    assert found.oscillator.bic == pytest.approx(fitted_term + 5 * math.log(120), rel=1e-9)
    # The exponential is a limit of the oscillator, with one parameter fewer.
    assert found.exponential.r_squared <= found.oscillator.r_squared + 1e-9
    wider, narrower = fit(rewards, level=0.99), fit(rewards, level=0.5)
    for name in NAMES:
        ends = [getattr(f, name) for f in (narrower, found, wider)]
        assert ends[0].low > ends[1].low > ends[2].low or ends[2].low == -math.inf
        assert ends[0].high < ends[1].high < ends[2].high or ends[2].high == math.inf


def fitted(found: TrajectoryFit) -> Any:
    t, start, limit = STEPS, found.start.value, found.limit.value
    if math.isinf(found.damping_ratio.value):
        return limit - (limit - start) * np.exp(-t / found.time_constant.value)
    rates = (found.natural_frequency.value, found.damping_ratio.value)
    return trajectory(rates, t, start, limit)


def test_rivals_are_least_squares() -> None:
    rewards = curve(*CURVES[0])
    found = fit(rewards)

    def share_of(model: np.ndarray) -> float:
        return 1 - float(np.sum((rewards - model) ** 2) / np.sum((rewards - rewards.mean()) ** 2))

    for law, names in (
        ("exponential", ("start", "limit", "time_constant")),
        ("logistic", ("low", "high", "midpoint", "width")),
    ):
        parameters = dict(getattr(found, law).parameters)
        assert tuple(parameters) == names

        def model(p: dict[str, float], law: str = law) -> np.ndarray:
            if law == "exponential":
                return p["limit"] - (p["limit"] - p["start"]) * np.exp(-STEPS / p["time_constant"])
            rise = p["high"] - p["low"]
            return p["low"] + rise * special.expit((STEPS - p["midpoint"]) / p["width"])

        best = share_of(model(parameters))
        assert best == pytest.approx(getattr(found, law).r_squared, abs=1e-9)
        for name in names:
            for factor in (0.99, 1.01):
                assert share_of(model(parameters | {name: parameters[name] * factor})) < best


def test_residual_diagnostics() -> None:
    found = fit(curve(*CURVES[0]))
    e = curve(*CURVES[0]) - fitted(found)
    r = found.residuals
    total = float(e @ e)
    assert r.lag1_autocorrelation == pytest.approx(float(e[1:] @ e[:-1]) / total, rel=1e-6)
    assert r.durbin_watson == pytest.approx(float(np.sum(np.diff(e) ** 2)) / total, rel=1e-6)
    lags = [float(e[k:] @ e[:-k]) / total for k in range(1, 11)]
    box = 120 * 122 * sum(x * x / (120 - k) for k, x in enumerate(lags, start=1))
    assert r.ljung_box == pytest.approx(box, rel=1e-6)
    assert r.ljung_box_p == pytest.approx(float(stats.chi2.sf(box, 10)), rel=1e-6)
    bera = stats.jarque_bera(e)
    assert r.jarque_bera == pytest.approx(float(bera.statistic), rel=1e-6)
    assert r.normality_p == pytest.approx(float(bera.pvalue), rel=1e-6)
    up = int((e > 0).sum())
    mean = 2 * up * (120 - up) / 120 + 1
    runs = 1 + int(np.count_nonzero(np.diff(np.sign(e))))
    z = (runs - mean) / math.sqrt((mean - 1) * (mean - 2) / 119)
    assert r.runs_z == pytest.approx(z, rel=1e-6)
    assert r.runs_p == pytest.approx(2 * float(stats.norm.sf(abs(z))), rel=1e-6)
    assert found.remarks == ()


def test_regimes_that_data_can_and_cannot_tell() -> None:
    assert fit(curve(0.1, 0.3, 0.03)).regime == "underdamped"
    assert fit(curve(0.3, 3.0, 0.002)).regime == "overdamped"
    vague = fit(curve(0.1, 1.0, 0.03, seed=1))
    assert vague.regime == "undetermined"
    assert "contains 1" in vague.reason
    noisy = fit(curve(0.1, 0.7, 0.25, seed=1))
    assert noisy.regime == "undetermined"
    # An exponential is compatible with ω = ζ = ∞, not with oscillations.
    slow = 1 - np.exp(-STEPS / 20) + np.random.default_rng(1).normal(scale=0.01, size=120)
    found = fit(slow)
    assert found.regime == "overdamped"
    assert found.damping_ratio.high == found.natural_frequency.high == math.inf
    assert found.time_constant.low < 20 < found.time_constant.high
    assert any("exponential" in remark for remark in found.remarks)


def test_noise_alone_has_no_regime() -> None:
    """Frequencies that were searched for are no evidence: Bonferroni's inequality holds."""
    rng = np.random.default_rng(5)
    for _ in range(15):
        found = fit(rng.normal(size=60))
        assert found.regime == "undetermined"
        assert "a constant explains" in found.reason
        assert (found.limit.low, found.limit.high) == (-math.inf, math.inf)
        assert (found.damping_ratio.low, found.damping_ratio.high) == (0.0, math.inf)


def test_remarks_name_what_is_wrong() -> None:
    rng = np.random.default_rng(2)
    late = special.expit((STEPS - 60) / 5) + rng.normal(scale=0.01, size=120)
    remarks = " ".join(fit(late).remarks)
    assert "correlated in time" in remarks
    assert "logistic" in remarks
    heavy = trajectory((0.1, 0.3), STEPS) + 0.01 * rng.standard_t(2, size=120)
    assert any("not normal" in remark for remark in fit(heavy).remarks)
    rising = STEPS + rng.normal(size=120)
    found = fit(rising)
    assert found.limit.high == math.inf
    assert any("limit" in remark for remark in found.remarks)
    falling = fit(-rising)
    assert falling.limit.low == -math.inf


@pytest.mark.parametrize(
    ("scale", "shift"), [(1.0, 5.0), (-1.0, 0.0), (1e150, 0.0), (1e-150, 0.0), (1.0, -1e6)]
)
def test_units_of_reward_do_not_matter(scale: float, shift: float) -> None:
    rewards = curve(*CURVES[0])
    plain, other = fit(rewards), fit(rewards * scale + shift)
    for name in ("natural_frequency", "damping_ratio", "time_constant"):
        for end in ("value", "low", "high"):
            wanted = getattr(getattr(plain, name), end)
            assert getattr(getattr(other, name), end) == pytest.approx(wanted, rel=2e-3)
    assert other.limit.value == pytest.approx(plain.limit.value * scale + shift, rel=1e-6)
    assert other.regime == plain.regime


def test_curves_without_noise_are_recovered() -> None:
    for omega, zeta in ((0.1, 0.3), (0.1, 1.0), (0.3, 3.0), (2.5, 0.1)):
        found = fit(trajectory((omega, zeta), STEPS, 0.2, 0.7))
        wanted = (0.2, 0.7, omega, zeta, 2 * zeta / omega)
        for name, value in zip(NAMES, wanted, strict=True):
            assert getattr(found, name).value == pytest.approx(value, rel=1e-5)


ODD = {
    "step": (STEPS > 0) * 1.0,
    "late step": (STEPS > 50) * 1.0,
    "last": (STEPS == 119) * 1.0,
    "line": STEPS,
    "sine": np.sin(STEPS / 3),
    "alternating": (-1.0) ** STEPS,
    "bool": STEPS % 7 == 0,
    "int": (STEPS % 5).astype(int),
    "walk": np.cumsum(np.random.default_rng(0).normal(size=120)),
    "short": np.arange(12.0) ** 2,
    "shortest noise": np.random.default_rng(1).normal(size=12),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_curves_give_ordered_intervals(name: str) -> None:
    found = fit(ODD[name])
    for estimate in (getattr(found, n) for n in NAMES):
        assert estimate.low <= estimate.value <= estimate.high
    for law in (found.oscillator, found.exponential, found.logistic):
        assert -1e-9 <= law.r_squared <= 1
        assert math.isfinite(law.bic)
    assert found.regime in ("overdamped", "underdamped", "undetermined")


def test_curves_of_other_libraries() -> None:
    rewards = curve(*CURVES[0]).astype(np.float32)
    wanted = fit(rewards.astype(np.float64))
    for name in ("array-api-strict", "torch", "jax"):
        backend = load_or_skip(name)
        assert fit(backend.asarray(rewards, "float32")) == wanted
    torch = load_or_skip("torch").xp
    assert fit(torch.asarray(rewards).requires_grad_()) == wanted
    assert fit(rewards.tolist()) == wanted
