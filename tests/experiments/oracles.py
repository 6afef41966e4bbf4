"""The exact values of the experiments once more, straight from their definitions.

Thresholds from the roots of the recursions, variances from the covariance equation and from all
groups that can be drawn, times from the integral. Nothing of ``identity`` is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import quad
from scipy.linalg import solve_discrete_lyapunov
from scipy.special import gammaln


def delay_matrix(kappa: float, momentum: float, tau: int) -> np.ndarray:
    """The state (x_t, …, x_{t−n}) moved on by one step."""
    size = max(tau, 1) + 1
    matrix = np.eye(size, k=-1)
    matrix[0, :2] += (1 + momentum, -momentum)
    matrix[0, tau] -= kappa
    return matrix


def block_matrix(kappa: float, momentum: float, steps: int) -> np.ndarray:
    """(x, last step) moved on by a block, step by step."""
    columns = []
    for x, v in np.eye(2):
        start = x
        for _ in range(steps):
            v = momentum * v - kappa * start
            x = x + v
        columns.append((x, v))
    return np.asarray(columns).T


def bisect(low: float, high: float, is_above: Callable[[float], bool]) -> float:
    assert not is_above(low)
    assert is_above(high)
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_above(middle) else (middle, high)
    return math.sqrt(low * high)


def threshold(momentum: float, staleness: str, interval: int) -> float:
    """Smallest κ at which the spectral radius passes 1."""
    build = delay_matrix if staleness == "delay" else block_matrix

    def unstable(kappa: float) -> bool:
        return bool(max(abs(np.linalg.eigvals(build(kappa, momentum, interval)))) > 1)

    grid = np.geomspace(1e-3, 10, 400)
    first = next(n for n, kappa in enumerate(grid) if unstable(kappa))
    return bisect(grid[first - 1], grid[first], unstable)


def meetings(momentum: float) -> np.ndarray:
    """Both κ at which the roots without lag meet: (1 + μ − κ)² = 4μ."""
    return np.roots([1, -2 * (1 + momentum), (1 + momentum) ** 2 - 4 * momentum]).real


def onset(momentum: float, interval: int) -> float:
    """Smallest κ without a real root in (μ, 1): f(z) = z^(τ−1)(1 − z)(z − μ) has its maximum κ."""
    if interval == 0:
        return float(min(meetings(momentum)))
    z = np.linspace(momentum, 1, 2_000_001)[1:-1]
    return float((z ** float(interval - 1) * (1 - z) * (z - momentum)).max())


def outcomes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """All counts of (arm 1 paid, not paid, arm 0 paid, not paid), and the log of their ways."""
    first = np.stack(np.meshgrid(*[np.arange(size + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    first = first[first.sum(axis=1) <= size]
    counts = np.column_stack([first, size - first.sum(axis=1)]).astype(float)
    return counts, gammaln(size + 1) - gammaln(counts + 1).sum(axis=1)


def group_noise(estimator: str, size: int, p: float, pays: list[float]) -> tuple[float, float]:
    """Mean and variance of the estimated gradient over all groups of this size."""
    n, ways = outcomes(size)
    chance = np.asarray(
        [p * pays[0], p * (1 - pays[0]), (1 - p) * pays[1], (1 - p) * (1 - pays[1])]
    )
    weight = np.exp(ways + n @ np.log(chance))
    score, reward = np.asarray([1 - p, 1 - p, -p, -p]), np.asarray([1.0, 0, 1, 0])
    total = (n @ reward)[:, None]
    if estimator == "critic":
        baseline = p * pays[0] + (1 - p) * pays[1]
        value = (n * (reward - baseline) * score).sum(axis=1) / size
    else:
        others = (total - reward) / (size - 1)
        value = (n * (reward - others) * score).sum(axis=1) / size
    mean = float(weight @ value)
    return mean, float(weight @ (value - mean) ** 2)


def stationary(eta: float, stiffness: float, momentum: float, noise: float) -> float:
    """Variance of x from the discrete Lyapunov equation of (x_t, x_{t−1})."""
    driven = np.asarray([[eta**2 * noise, 0], [0, 0]])
    return float(solve_discrete_lyapunov(delay_matrix(eta * stiffness, momentum, 0), driven)[0, 0])


def mean_std(p: float, size: int) -> float:
    """E[σ] of a group, term by term."""
    q = 1 - p
    return math.fsum(
        math.comb(size, k) * p**k * q ** (size - k) * math.sqrt(k * (size - k)) / size
        for k in range(1, size)
    )


def escape(method: str, p0: float) -> float:
    """∫ dθ/θ′ from p0 to ½."""
    speed: dict[str, Callable[[float], float]] = {
        "plain": lambda p: p * (1 - p),
        "log-likelihood": lambda p: 1 - p,
        "limit": lambda p: math.sqrt(p * (1 - p)),
    }

    def integrand(theta: float) -> float:
        p = 1 / (1 + math.exp(-theta))
        return 1 / (mean_std(p, int(method[2:])) if method[:2] == "G=" else speed[method](p))

    return float(quad(integrand, math.log(p0 / (1 - p0)), 0, epsabs=0, epsrel=1e-11, limit=200)[0])


def exact(name: str, row: dict[str, Any], bandit: dict[str, Any]) -> float:
    """The value that a row of an experiment should show."""
    case, quantity = row["case"], row["quantity"]
    if name == "stale_refresh":
        return threshold(case["momentum"], case["staleness"], case["interval"])
    if name == "oscillation_onset":
        mu, steps = case["momentum"], case["interval"]
        if quantity == "stability limit":
            return threshold(mu, "delay", 0)
        if quantity == "onset of alternation":
            return float(max(meetings(mu)))
        return 1 / steps if case["staleness"] == "block" else onset(mu, steps)
    if name == "stationary_variance":
        top = bandit["reference_logit"] + (bandit["pays"][0] - bandit["pays"][1]) / bandit["beta"]
        p = 1 / (1 + math.exp(-top))
        stiffness = bandit["beta"] * p * (1 - p)
        _, noise = group_noise(case["estimator"], case["group_size"], p, bandit["pays"])
        return stationary(case["kappa"] / stiffness, stiffness, case["momentum"], noise)
    if quantity == "ηt from p0 to ½":
        return escape(case["method"], case["p0"])
    if quantity == "p at ηt, GRPO's limit":
        # θ with ∫ 2 cosh(θ/2) dθ = 4 sinh(θ/2) = ηt
        return 1 / (1 + math.exp(-2 * math.asinh(case["time"] / 4)))
    if quantity.startswith("rate"):
        prior = bandit["reference"] * math.exp(1 / case["beta"])
        p = prior / (prior + 1 - bandit["reference"])
        return float(case["beta"] * p * (1 - p))
    limit = case["method"] == "limit"
    if quantity.startswith("power"):
        return -2.0 if limit else -1.0
    # θ′ → w e^{−θ}, so 1 − p → 1/(w ηt); in the limit θ′ → e^{−θ/2}.
    tiny = 1e-13
    size = int(case["method"][2:]) if case["method"][:2] == "G=" else 0
    return 4.0 if limit else tiny / mean_std(tiny, size) if size else 1.0
