"""How stale may a gradient be? Stability thresholds of softmax bandits, located by measurement.

A bandit with a softmax policy π and known rewards R ascends J = E_π[R] − β KL(π‖π_ref) by gradient
steps with momentum μ (heavy ball) and learning rate η. The gradient is exact but stale:

* delay τ: the step at t uses the gradient at θ_{t−τ};
* block N: the gradient is recomputed every N steps and used for all N of them.

Near the fixed point π* ∝ π_ref exp(R/β) the curvature is K = β times the largest eigenvalue of
the Fisher matrix (βp*(1 − p*) for two arms with one logit), and κ = ηK. Small κ is stable, large
κ is not. Here the full nonlinear ascent runs from beside the fixed point, for many κ at once, and
the sign of the measured growth rate of the deviation is bisected: first over four decades of κ,
then between the largest κ that decays and the smallest that grows. Nothing in the search knows
the theorem's value, which is put beside the interval afterwards, with the short rule
ηK·K_ref < 1 − μ: sharp for τ = 1, too strict otherwise.

    python experiments/stale_refresh.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from identity.dynamics import refresh_threshold

Floats = NDArray[np.float64]

PARAMETERS: dict[str, Any] = {
    "two_arms": {"rewards": [1.0, 0.0], "reference": [0.3, 0.7], "beta": 0.6},
    "five_arms": {
        "rewards": [1.0, 0.8, 0.5, 0.2, 0.0],
        "reference": [0.1, 0.15, 0.2, 0.25, 0.3],
        "beta": 0.6,
    },
    "delays": [1, 2, 4, 8],
    "blocks": [2, 4, 16],
    "momenta": [0.0, 0.9],
    "scan": {"least": 1e-3, "most": 10.0, "points": 40},
    "refinement": {"points": 12, "relative_width": 0.005},
    "run": {"offset": 1e-3, "grown": 1e-1, "decayed": 1e-9, "window": 128, "windows": 48},
}


# --- the bandits --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bandit:
    """What is ascended: gradient of J by θ, shape (runs, logits), and where it vanishes."""

    gradient: Callable[[Floats], Floats]
    fixed_point: Floats
    curvature: float
    direction: Floats  # of the initial deviation, a unit vector


def two_arms(rewards: list[float], reference: list[float], beta: float) -> Bandit:
    """One logit θ, the policy (S(θ), 1 − S(θ)): J' = p(1−p)(ΔR − β(θ − θ_ref))."""
    gain = rewards[0] - rewards[1]
    start = math.log(reference[0] / reference[1])

    def gradient(theta: Floats) -> Floats:
        p = 1 / (1 + np.exp(-theta))
        return p * (1 - p) * (gain - beta * (theta - start))

    top = start + gain / beta
    p = 1 / (1 + math.exp(-top))
    return Bandit(gradient, np.asarray([top]), beta * p * (1 - p), np.asarray([1.0]))


def many_arms(rewards: list[float], reference: list[float], beta: float) -> Bandit:
    """One logit for each arm: ∂J/∂θ_i = π_i (a_i − Σπa) with a = R − β log(π/π_ref)."""
    value, prior = np.asarray(rewards), np.log(reference)

    def gradient(theta: Floats) -> Floats:
        shifted = theta - theta.max(axis=-1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        policy, advantage = np.exp(logs), value - beta * (logs - prior)
        mean: Floats = (policy * advantage).sum(axis=-1, keepdims=True)
        return policy * (advantage - mean)

    top = prior + value / beta
    policy = np.exp(top) / np.exp(top).sum()
    fisher = np.diag(policy) - np.outer(policy, policy)
    # All logits together can be shifted without effect: start off the fixed point elsewhere.
    direction = np.cos(1.0 + np.arange(top.size))
    direction -= direction.mean()
    direction /= np.linalg.norm(direction)
    return Bandit(gradient, top, beta * float(np.linalg.eigvalsh(fisher)[-1]), direction)


BANDITS = {
    "two": two_arms(**PARAMETERS["two_arms"]),
    "five": many_arms(**PARAMETERS["five_arms"]),
}


# --- measurement --------------------------------------------------------------------------------


def growth_rates(
    bandit: Bandit, kappas: Floats, momentum: float, staleness: str, interval: int
) -> tuple[Floats, Floats]:
    """Measured growth of log‖θ − θ*‖ per step, and its standard error, for each κ.

    A run that leaves the neighbourhood, or decays to almost nothing, has the mean rate until
    then, with error 0. For all others it is the slope of the largest deviations of successive
    windows, the first sixth left out.
    """
    run = PARAMETERS["run"]
    eta = (kappas / bandit.curvature)[:, None]
    theta = bandit.fixed_point + run["offset"] * np.tile(bandit.direction, (kappas.size, 1))
    before = theta
    past = [theta] * (interval + 1)  # θ_{t−τ}, …, θ_t
    stale = bandit.gradient(theta)
    ended = np.full(kappas.size, -1)
    rate = np.zeros(kappas.size)
    peaks = np.zeros((run["windows"], kappas.size))
    for t in range(run["windows"] * run["window"]):
        if staleness == "delay":
            stale = bandit.gradient(past[t % (interval + 1)])
        elif t % interval == 0:
            stale = bandit.gradient(theta)
        after = theta + momentum * (theta - before) + eta * stale
        before, theta = theta, np.where(ended[:, None] < 0, after, theta)
        if staleness == "delay":
            past[t % (interval + 1)] = theta
        size = np.sqrt(((theta - bandit.fixed_point) ** 2).sum(axis=1))
        peaks[t // run["window"]] = np.maximum(peaks[t // run["window"]], size)
        ending = (ended < 0) & ((size > run["grown"]) | (size < run["decayed"]))
        rate[ending] = np.log(size[ending] / run["offset"]) / (t + 1)
        ended[ending] = t
        if (ended >= 0).all():
            break
    error = np.zeros(kappas.size)
    for n in np.flatnonzero(ended < 0):
        logs = np.log(peaks[run["windows"] // 6 :, n])
        at = run["window"] * (np.arange(logs.size) - (logs.size - 1) / 2)
        rate[n] = (at * logs).sum() / (at**2).sum()
        rest = logs - logs.mean() - rate[n] * at
        error[n] = math.sqrt((rest**2).sum() / (logs.size - 2) / (at**2).sum())
    return rate, error


def signs(rate: Floats, error: Floats) -> Floats:
    """−1 decays, 1 grows, 0 cannot be told: within four standard errors of 0."""
    return np.where(np.abs(rate) > 4 * error, np.sign(rate), 0.0)


def bracket(kappas: Floats, sign: Floats) -> tuple[float, float]:
    """The largest κ below which all decay, and the smallest above which all grow."""
    grows, decays = np.flatnonzero(sign > 0), np.flatnonzero(sign < 0)
    if not (grows.size and decays.size and decays.max() < grows.min()):
        raise RuntimeError(f"no single change from decay to growth: {sign.tolist()}")
    return float(kappas[decays.max()]), float(kappas[grows.min()])


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Interval that holds the threshold of κ, and the scan that found it."""
    bandit = BANDITS[cell["arms"]]
    case = (cell["momentum"], cell["staleness"], cell["interval"])
    scan, refinement = PARAMETERS["scan"], PARAMETERS["refinement"]
    kappas = np.geomspace(scan["least"], scan["most"], scan["points"])
    rates, errors = growth_rates(bandit, kappas, *case)
    low, high = bracket(kappas, signs(rates, errors))
    scanned = [[significant(k), significant(r)] for k, r in zip(kappas, rates, strict=True)]
    for _ in range(8):
        if high / low - 1 <= refinement["relative_width"]:
            break
        inner = np.geomspace(low, high, refinement["points"] + 2)[1:-1]
        sign = np.concatenate([[-1.0], signs(*growth_rates(bandit, inner, *case)), [1.0]])
        low, high = bracket(np.concatenate([[low], inner, [high]]), sign)
    return {"interval": [low, high], "scan": scanned}


def significant(x: float) -> float:
    """Six significant digits."""
    return float(f"{x:.6g}")


# --- beside the theorem -------------------------------------------------------------------------


def cells() -> dict[str, dict[str, Any]]:
    result = {}
    for arms in BANDITS:
        for momentum in PARAMETERS["momenta"]:
            for staleness, intervals in (("delay", "delays"), ("block", "blocks")):
                for n in PARAMETERS[intervals]:
                    case = {"arms": arms, "momentum": momentum, "staleness": staleness}
                    result[f"{arms} {momentum} {staleness} {n}"] = {**case, "interval": n}
    return result


def compare(cell: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """One row: what was measured, the exact value, the short rule."""
    low, high = measured["interval"]
    momentum, n, staleness = cell["momentum"], cell["interval"], cell["staleness"]
    exact = float(refresh_threshold(momentum, n, staleness=staleness))
    rule = (1 - momentum) / n
    if staleness == "block":
        theorem = "dynamics.block-threshold"
    elif n == 1:
        theorem = "dynamics.refresh-threshold"
    else:
        # With momentum no theorem gives the value: the function's stands alone.
        theorem = "dynamics.delay-threshold" if momentum == 0 else None
    return {
        "quantity": "stability threshold of κ",
        "case": cell,
        "measured": math.sqrt(low * high),
        "interval": [low, high],
        "theorem": theorem,
        "function": None if theorem else "identity.dynamics.refresh_threshold",
        "exact": exact,
        "brackets": low <= exact <= high,
        "short_rule": rule,
        "short_rule_in_interval": low <= rule <= high,
        "times_short_rule": [low / rule, high / rule],
        "scan": measured["scan"],
    }


def rows(found: dict[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for name, cell in cells().items():
        yield compare(cell, found[name])


# --- running: these lines are the same in every experiment --------------------------------------

FILE = Path(__file__)
RESULTS = FILE.parent / "results" / f"{FILE.stem}.json"
PARTIAL = RESULTS.with_suffix(".partial")


def write(path: Path, content: dict[str, Any]) -> None:
    """One line for each entry and each result; complete or not at all."""
    lines = []
    for name, value in content.items():
        if isinstance(value, list):
            listed = ",\n".join(f"  {json.dumps(v, ensure_ascii=False)}" for v in value)
            lines.append(f" {json.dumps(name)}: [\n{listed}\n ]")
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    draft = path.with_suffix(".draft")
    draft.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    draft.replace(path)


def main() -> None:
    """Measure every cell; a run that was interrupted goes on where it stopped."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--restart", action="store_true", help="drop what an interrupted run left")
    restart = parser.parse_args().restart
    packages = ("grpo-identity", "numpy", "scipy")
    versions = {"python": platform.python_version(), **{n: version(n) for n in packages}}
    key = hashlib.sha256(FILE.read_bytes() + json.dumps(versions).encode()).hexdigest()
    found: dict[str, dict[str, Any]] = {}
    if PARTIAL.exists() and not restart:
        kept = json.loads(PARTIAL.read_text(encoding="utf-8"))
        found = kept["found"] if kept["key"] == key else {}
    try:
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task(FILE.stem, total=len(cells()), completed=len(found))
            for name, cell in cells().items():
                if name not in found:
                    progress.update(bar, description=f"{FILE.stem}: {name}")
                    found[name] = measure(cell)
                    write(PARTIAL, {"key": key, "found": found})
                    progress.advance(bar)
    except KeyboardInterrupt:
        sys.exit(f"stopped after {len(found)} of {len(cells())} cells; run again to go on")
    head = {"experiment": FILE.stem, "versions": versions, "parameters": PARAMETERS}
    write(RESULTS, {**head, "results": list(rows(found))})
    PARTIAL.unlink(missing_ok=True)
    show(json.loads(RESULTS.read_text(encoding="utf-8"))["results"])


def show(results: list[dict[str, Any]]) -> None:
    table = Table("quantity", "case", "measured", "interval", "exact", "in it")
    for row in results:
        low, high = row["interval"]
        case = ", ".join(f"{k} {v}" for k, v in row["case"].items())
        table.add_row(
            row["quantity"], case, f"{row['measured']:.6g}", f"[{low:.6g}, {high:.6g}]",
            f"{row['exact']:.6g}", "yes" if row["brackets"] else "NO",
        )  # fmt: skip
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
