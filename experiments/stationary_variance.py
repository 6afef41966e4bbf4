"""How far does sampling noise shake a trained policy? Stationary variance by group size, measured.

Two arms that pay 1 with probabilities ρ_1 and ρ_0, one logit θ, the policy (S(θ), 1 − S(θ)).
Every step samples a group of G rollouts from the current policy, and heavy ball with momentum μ
ascends E[R] − β KL(π‖π_ref): the reward part estimated from the group, the KL part exact. The
fixed point is θ* = θ_ref + (ρ_1 − ρ_0)/β, the stiffness K = βp*(1 − p*). Two estimators:

* critic: (1/G) Σ (R_i − b)s_i with the exact baseline b = E_π[R], a mean of independent terms,
  so that its variance at θ* is s²/G with s² = Var((R − b)s);
* leave-one-out: (1/G) Σ (R_i − b_i)s_i, b_i the mean of the other rewards (RLOO). It is unbiased
  too, but its terms share baselines: it is the sample covariance of R and s, of variance
  s²/G + Var(R)Var(s)/(G(G−1)) + Cov(R,s)²/(G(G−1)).

Theory for the linearised motion with noise of variance s²/G: Var(θ) = (1+μ)ηs²/[(1−μ)K(2(1+μ) −
ηK)G], of slope −1 in G on log axes. The critic must show both; leave-one-out must show the
variance with its own noise, and with it a steeper slope.

Many chains run side by side, in batches with streams of their own. They start at θ* and forget
that at the rate of the slower root of the linear motion; after the burn-in the variance still
lacks less than 1e-8 of its value. η is so small that Var(θ) stays below 0.004, so that the motion
is linear up to about that share. Intervals are from the spread between batches, by Student's t,
99.9 % each.

    python experiments/stationary_variance.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy.stats import t as student

from identity.dynamics import stationary_variance

Floats = NDArray[np.float64]

PARAMETERS: dict[str, Any] = {
    "seed": 20260401,
    "bandit": {"pays": [0.8, 0.3], "reference_logit": 0.6, "beta": 2.0},
    "estimators": ["critic", "leave-one-out"],
    "group_sizes": [2, 4, 8, 16, 32, 64],
    # Momentum and ηK. Both decay in about 50 steps.
    "motions": [[0.0, 0.02], [0.9, 0.002]],
    "chains": 512,
    "batches": 40,
    "burn_in": 500,
    "snapshots": {"number": 4, "every": 150},
    "confidence": 0.999,
}


# --- the bandit ---------------------------------------------------------------------------------


def fixed_point() -> tuple[float, float]:
    """θ* and the stiffness K."""
    bandit = PARAMETERS["bandit"]
    gain = bandit["pays"][0] - bandit["pays"][1]
    top = bandit["reference_logit"] + gain / bandit["beta"]
    p = 1 / (1 + math.exp(-top))
    return top, bandit["beta"] * p * (1 - p)


def noise(estimator: str, group_size: int) -> float:
    """G times the variance of the estimated gradient at θ*, from the four outcomes of a rollout."""
    p = 1 / (1 + math.exp(-fixed_point()[0]))
    arms = ((p, 1 - p), (1 - p, -p))  # probability and score
    pays = PARAMETERS["bandit"]["pays"]
    chance = np.asarray([a * f for (a, _), r in zip(arms, pays, strict=True) for f in (r, 1 - r)])
    score = np.asarray([s for _, s in arms for _ in range(2)])  # mean 0
    reward = np.asarray([1.0, 0.0, 1.0, 0.0])
    centred = reward - chance @ reward
    covariance = float(chance @ (centred * score))
    single = float(chance @ (centred * score) ** 2) - covariance**2
    if estimator == "critic":
        return single
    shared = float(chance @ centred**2) * float(chance @ score**2) + covariance**2
    return single + shared / (group_size - 1)


def estimate(rng: np.random.Generator, p: Floats, estimator: str, group_size: int) -> Floats:
    """Estimated ∇E[R] of one sampled group for each chain.

    A group enters only through how often each arm was drawn and paid, so these counts are drawn.
    """
    first, second = PARAMETERS["bandit"]["pays"]
    drawn = rng.binomial(group_size, p)
    paid_first, paid_second = rng.binomial(drawn, first), rng.binomial(group_size - drawn, second)
    paid = paid_first + paid_second
    # Σ R_i s_i and Σ s_i with the scores 1 − p and −p.
    products, scores = paid_first - p * paid, drawn - p * group_size
    if estimator == "critic":
        return (products - (p * first + (1 - p) * second) * scores) / group_size
    return (products - paid * scores / group_size) / (group_size - 1)


# --- measurement --------------------------------------------------------------------------------


def batch_variance(cell: dict[str, Any], number: int) -> float:
    """Variance of θ over the chains of one batch, averaged over the snapshots."""
    bandit, snapshots = PARAMETERS["bandit"], PARAMETERS["snapshots"]
    # One stream for each batch of each cell, whatever else is run.
    words = [PARAMETERS["seed"], PARAMETERS["estimators"].index(cell["estimator"])]
    words += [cell["group_size"], round(100 * cell["momentum"]), number]
    rng = np.random.default_rng(words)
    top, stiffness = fixed_point()
    eta = cell["kappa"] / stiffness
    theta = np.full(PARAMETERS["chains"], top)
    before = theta
    seen = []
    last = PARAMETERS["burn_in"] + snapshots["every"] * (snapshots["number"] - 1)
    for t in range(1, last + 1):
        p = 1 / (1 + np.exp(-theta))
        pull = bandit["beta"] * (theta - bandit["reference_logit"]) * p * (1 - p)
        step = eta * (estimate(rng, p, cell["estimator"], cell["group_size"]) - pull)
        before, theta = theta, theta + cell["momentum"] * (theta - before) + step
        if t >= PARAMETERS["burn_in"] and (t - PARAMETERS["burn_in"]) % snapshots["every"] == 0:
            seen.append(theta.var(ddof=1))
    return float(np.mean(seen))


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    return {"batches": [batch_variance(cell, n) for n in range(PARAMETERS["batches"])]}


# --- beside the theorem -------------------------------------------------------------------------


def cells() -> dict[str, dict[str, Any]]:
    listed = [
        {"estimator": estimator, "momentum": momentum, "kappa": kappa, "group_size": size}
        for estimator in PARAMETERS["estimators"]
        for momentum, kappa in PARAMETERS["motions"]
        for size in PARAMETERS["group_sizes"]
    ]
    return {" ".join(str(v) for v in cell.values()): cell for cell in listed}


def variance_row(cell: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    batches = np.asarray(measured["batches"])
    mean, error = float(batches.mean()), float(batches.std(ddof=1) / math.sqrt(batches.size))
    half = error * float(student.ppf((1 + PARAMETERS["confidence"]) / 2, batches.size - 1))
    value = linear_variance(cell)
    return {
        "quantity": "stationary variance of θ",
        "case": cell,
        "measured": mean,
        "interval": [mean - half, mean + half],
        "theorem": "dynamics.stationary-variance",
        "exact": value,
        "brackets": mean - half <= value <= mean + half,
        "standard_error": error,
        # Independent normal draws that would give the same standard error.
        "effective_samples": round(2 * (mean / error) ** 2),
        "batches": measured["batches"],
    }


def linear_variance(cell: dict[str, Any]) -> float:
    """The theorem's value, with the noise that the estimator has at θ*."""
    _, stiffness = fixed_point()
    size = cell["group_size"]
    return float(
        stationary_variance(
            cell["kappa"] / stiffness,
            stiffness,
            momentum=cell["momentum"],
            noise_std=math.sqrt(noise(cell["estimator"], size)),
            group_size=size,
        )
    )


def slope_row(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Slope of log variance by log G, by weighted least squares; exact: of the exact values."""
    case = {k: v for k, v in parts[0]["case"].items() if k != "group_size"}
    size = np.log([part["case"]["group_size"] for part in parts])
    weight = np.asarray([(part["measured"] / part["standard_error"]) ** 2 for part in parts])
    centred = size - (weight @ size) / weight.sum()
    spread = weight @ centred**2

    def slope(key: str) -> float:
        return float((weight * centred) @ np.log([part[key] for part in parts]) / spread)

    degrees = len(parts) * (PARAMETERS["batches"] - 1)
    half = float(student.ppf((1 + PARAMETERS["confidence"]) / 2, degrees) / math.sqrt(spread))
    value, low, high = slope("exact"), slope("measured") - half, slope("measured") + half
    return {
        "quantity": "slope of log variance by log G",
        "case": case,
        "measured": slope("measured"),
        "interval": [low, high],
        "theorem": "dynamics.stationary-variance",
        "exact": value,
        "brackets": low <= value <= high,
        "minus_one_in_interval": low <= -1 <= high,
    }


def rows(found: dict[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for name, cell in cells().items():
        row = variance_row(cell, found[name])
        groups.setdefault((cell["estimator"], cell["momentum"]), []).append(row)
        yield row
    yield from map(slope_row, groups.values())


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
