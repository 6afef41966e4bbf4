"""Where does a training curve start to oscillate? Transitions of a softmax bandit, measured.

Two arms with known rewards, one logit θ, the policy (S(θ), 1 − S(θ)): gradient ascent with
momentum μ on J = E[R] − β KL(π‖π_ref), whose fixed point is θ* = θ_ref + ΔR/β with the stiffness
K = βp*(1 − p*). With κ = ηK, fresh gradients and a start at rest, theory says

* κ < (1 − √μ)²: the deviation x = θ − θ* relaxes without changing sign;
* from there to (1 + √μ)²: complex roots, it oscillates;
* above: real negative roots, its sign alternates from step to step;
* above 2(1 + μ): it grows.

Stale gradients bring the oscillation forward. With a delay τ and μ = 0 it starts at
κ = τ^τ/(τ + 1)^{τ+1}, with a block of N steps and μ = 0 at κ = 1/N.

Each transition is located by bisecting what is seen in the full nonlinear run: whether x (or
(−1)^t x, for alternation) ever changes sign, whether |x| grows. Close to a transition the first
change of sign comes late, when x is tiny; therefore x itself is iterated, in which J' is exactly
−βx p(1 − p) and nothing cancels down to 1e-290.

    python experiments/oscillation_onset.py
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

from identity.dynamics import oscillation_onset

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

PARAMETERS: dict[str, Any] = {
    "bandit": {"gain": 1.0, "reference_logit": math.log(0.3 / 0.7), "beta": 0.6},
    "momenta": [0.0, 0.25, 0.5, 0.8, 0.9, 0.95],
    "delays": [1, 2, 4, 8],
    "momenta_of_delays": [0.0, 0.9],
    "blocks": [2, 4, 16],
    "scan": {"least": 1e-4, "most": 10.0, "points": 50},
    "refinement": {"points": 12, "relative_width": 0.005},
    "run": {"offset": 1e-6, "steps": 20_000, "floor": 1e-290, "grown": 1e-1},
}

# What is looked for, and what is seen above it (below it the opposite).
ONSET, ALTERNATION, STABILITY = "onset of oscillation", "onset of alternation", "stability limit"


# --- measurement --------------------------------------------------------------------------------


def observe(
    kappas: Floats, momentum: float, staleness: str = "none", interval: int = 0
) -> dict[str, NDArray[Any]]:
    """What is seen of x in one run for each κ, which begins at rest.

    ``changed``: x was negative at some step. ``broke``: (−1)^t x was. ``growth``: mean growth of
    log|x| per step; the runs end where |x| has grown, is below the floor, or after all steps.
    """
    bandit, run = PARAMETERS["bandit"], PARAMETERS["run"]
    top = bandit["reference_logit"] + bandit["gain"] / bandit["beta"]
    p = 1 / (1 + math.exp(-top))
    eta = kappas / (bandit["beta"] * p * (1 - p))

    def gradient(x: Floats) -> Floats:
        p = 1 / (1 + np.exp(-(top + x)))
        return p * (1 - p) * (-bandit["beta"]) * x

    x = np.full(kappas.size, run["offset"])
    before = x
    past = [x] * (interval + 1)
    stale = gradient(x)
    changed, broke = np.zeros(kappas.size, dtype=bool), np.zeros(kappas.size, dtype=bool)
    size, lasted = np.abs(x), np.zeros(kappas.size)
    going = np.ones(kappas.size, dtype=bool)
    for t in range(run["steps"]):
        if staleness != "block":
            stale = gradient(past[t % (interval + 1)])
        elif t % interval == 0:
            stale = gradient(x)
        after = x + momentum * (x - before) + eta * stale
        before, x = x, np.where(going, after, x)
        if staleness != "block":
            past[t % (interval + 1)] = x
        changed |= going & (x < 0)
        broke |= going & (x < 0 if t % 2 else x > 0)  # t counts from 0: this is step t + 1
        lasted += going
        # Two steps together: one alone may happen to be next to 0.
        size = np.where(going, np.maximum(np.abs(x), np.abs(before)), size)
        going &= (size > run["floor"]) & (size < run["grown"])
        if not going.any():
            break
    growth = np.log(size / run["offset"]) / lasted
    return {"changed": changed, "broke": broke, "growth": growth}


def above(kappas: Floats, cell: dict[str, Any]) -> Flags:
    """True where the run looks as it should above the transition that the cell looks for."""
    seen = observe(kappas, cell["momentum"], cell["staleness"], cell["interval"])
    if cell["quantity"] == ONSET:
        return seen["changed"]
    return ~seen["broke"] if cell["quantity"] == ALTERNATION else seen["growth"] > 0


def bracket(kappas: Floats, is_above: Flags) -> tuple[float, float]:
    """The two neighbours between which the one change takes place."""
    first = int(np.argmax(is_above))
    if first == 0 or not is_above[first:].all():
        raise RuntimeError(f"no single transition: {is_above.tolist()}")
    return float(kappas[first - 1]), float(kappas[first])


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Interval of κ that holds the transition."""
    scan, refinement = PARAMETERS["scan"], PARAMETERS["refinement"]
    kappas = np.geomspace(scan["least"], scan["most"], scan["points"])
    low, high = bracket(kappas, above(kappas, cell))
    while high / low - 1 > refinement["relative_width"]:
        kappas = np.geomspace(low, high, refinement["points"] + 2)
        low, high = bracket(kappas, above(kappas, cell))
    return {"interval": [low, high]}


# --- beside the theorem -------------------------------------------------------------------------


def cells() -> dict[str, dict[str, Any]]:
    fresh = {"staleness": "none", "interval": 0}
    listed = [
        {"quantity": quantity, "momentum": momentum, **fresh}
        for quantity in (ONSET, ALTERNATION, STABILITY)
        for momentum in PARAMETERS["momenta"]
    ]
    listed += [
        {"quantity": ONSET, "momentum": momentum, "staleness": "delay", "interval": n}
        for momentum in PARAMETERS["momenta_of_delays"]
        for n in PARAMETERS["delays"]
    ]
    listed += [
        {"quantity": ONSET, "momentum": 0.0, "staleness": "block", "interval": n}
        for n in PARAMETERS["blocks"]
    ]
    return {" ".join(str(v) for v in cell.values()): cell for cell in listed}


def exact(cell: dict[str, Any]) -> float:
    """The closed form of the transition."""
    momentum: float = cell["momentum"]
    n: int = cell["interval"]
    if cell["quantity"] == STABILITY:
        return 2 * (1 + momentum)
    if cell["quantity"] == ALTERNATION:
        return (1 + math.sqrt(momentum)) ** 2
    return 1 / n if cell["staleness"] == "block" else oscillation_onset(momentum, n)


def compare(cell: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """One row: what was measured, and the exact value."""
    low, high = measured["interval"]
    value = exact(cell)
    # No theorem gives the onset with a delay: the function's value stands alone there.
    theorems = {"none": "dynamics.onset", "block": "dynamics.block-threshold", "delay": None}
    theorem = theorems[cell["staleness"]]
    return {
        "quantity": cell["quantity"],
        "case": {k: v for k, v in cell.items() if k != "quantity"},
        "measured": math.sqrt(low * high),
        "interval": [low, high],
        "theorem": theorem,
        "function": None if theorem else "identity.dynamics.oscillation_onset",
        "exact": value,
        "brackets": low <= value <= high,
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
