"""How does a bandit finish? Power laws without KL, exponential with it, slow cold starts, measured.

Two arms, one logit θ, the policy (S(θ), 1 − S(θ)), a reward of 1 for the first arm: p is the
success rate, q = 1 − p. Every method ascends in expectation, θ ← θ + η p q w(p), without noise:

* plain gradient w = 1; GRPO with G rollouts w = W_G(p) from ``identity.expectation``; its limit of
  large groups w = 1/√(pq); Tsallis w = p^{−Q}, Q = 0 the plain gradient, Q = 1 log-likelihood.

Without a restoring force no method saturates exponentially: theory says 1 − p ~ 1/(ηt) for the
plain gradient, 1/(√(G − 1) ηt) for GRPO, and 4/(ηt)² in the limit only, where from p = ½ the whole
curve is p = ½ + ηt/(2√(16 + η²t²)). With −β KL(π‖π_ref) in the objective the approach is
exponential at the rate ηβp*(1 − p*). And a cold start, from small p_0 to ½, takes a time that
depends on the method: about 1/p_0 for the plain gradient, 1/(√(G − 1) p_0) for GRPO, 2/√p_0 in its
limit.

Powers and prefactors are read off at ηt = X/4, X/2 and X; what is still missing at X behaves like
log t/t at worst, so that the interval is ± 1.5 times the last change. Everything else is
extrapolated to η → 0 from three learning rates, each half of the one before: the error of Euler's
steps is aη + bη² + …, the interval ± the last change of the first-order extrapolation. For the
rate of the approach it is wider by the change from an earlier stretch to the last.

    python experiments/bandit_saturation.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from identity.dynamics import cold_start_time
from identity.expectation import update_weight

PARAMETERS: dict[str, Any] = {
    "saturation": {"methods": ["plain", "G=2", "G=8", "G=64", "limit"], "eta": 0.25, "X": 16_384},
    "curve": {"etas": [0.1, 0.05, 0.025], "times": [1.0, 4.0, 16.0]},
    "approach": {
        "betas": [0.25, 0.5, 1.0],
        "reference": 0.3,
        "etas": [0.2, 0.1, 0.05],
        "marks": [1e-5, 10**-7.5, 1e-10],
    },
    "cold_start": {
        "etas": [0.1, 0.05, 0.025],
        "cases": [
            ["G=2", 0.001], ["G=8", 0.001], ["limit", 0.001],
            ["plain", 0.01], ["log-likelihood", 0.01], ["G=8", 0.01], ["limit", 0.01],
        ],
    },
}  # fmt: skip


# --- the methods --------------------------------------------------------------------------------


def weight(method: str, p: float, q: float) -> float:
    """w at p = 1 − q. GRPO's W_G is symmetric and is taken at the smaller of the two."""
    if method.startswith("G="):
        return float(update_weight(min(p, q), int(method[2:])))
    return {"plain": 1.0, "log-likelihood": 1 / p, "limit": 1 / math.sqrt(p * q)}[method]


def halves(theta: float) -> tuple[float, float]:
    """p and q, both to full relative accuracy."""
    small = math.exp(-abs(theta))
    large = 1 / (1 + small)
    return (large, small * large) if theta > 0 else (small * large, large)


def step(method: str) -> Callable[[float], float]:
    """dθ/d(ηt) of a method."""

    def rate(theta: float) -> float:
        p, q = halves(theta)
        return p * q * weight(method, p, q)

    return rate


# --- measurement --------------------------------------------------------------------------------


def saturation(method: str) -> dict[str, Any]:
    """1 − p at ηt = X/8, X/4, X/2 and X, from p = ½."""
    run, rate = PARAMETERS["saturation"], step(method)
    at = {round(run["X"] / run["eta"] / 2**n) for n in range(4)}
    theta, q = 0.0, []
    for t in range(1, max(at) + 1):
        theta += run["eta"] * rate(theta)
        if t in at:
            q.append(halves(theta)[1])
    return {"q": q}


def curve(time: float) -> dict[str, Any]:
    """p of GRPO's limit at ηt = time, for each η, from p = ½."""
    found, rate = [], step("limit")
    for eta in PARAMETERS["curve"]["etas"]:
        theta = 0.0
        for _ in range(round(time / eta)):
            theta += eta * rate(theta)
        found.append(halves(theta)[0])
    return {"by_eta": found}


def approach(beta: float) -> dict[str, Any]:
    """Rate of log|p − p*| by ηt from the reference, for each η: in two stretches."""
    run = PARAMETERS["approach"]
    start = math.log(run["reference"] / (1 - run["reference"]))
    goal = halves(start + 1 / beta)[0]
    found: list[list[float]] = []
    for eta in run["etas"]:
        theta, t = start, 0
        seen: list[tuple[float, float]] = []
        while len(seen) < len(run["marks"]):
            p, q = halves(theta)
            if abs(p - goal) < run["marks"][len(seen)]:
                seen.append((eta * t, math.log(abs(p - goal))))
            theta += eta * p * q * (1 - beta * (theta - start))
            t += 1
        found.append([(b - a) / (s - u) for (s, a), (u, b) in pairwise(seen)])
    return {"by_eta": [later for _, later in found], "earlier": found[-1][0]}


def cold_start(method: str, p0: float) -> dict[str, Any]:
    """ηt from p0 to ½, for each η; the last step counts in part."""
    found, rate = [], step(method)
    for eta in PARAMETERS["cold_start"]["etas"]:
        theta, t = math.log(p0 / (1 - p0)), 0
        while (after := theta + eta * rate(theta)) < 0:
            theta, t = after, t + 1
        found.append(eta * (t - theta / (after - theta)))
    return {"by_eta": found}


MEASURE: dict[str, Callable[..., dict[str, Any]]] = {
    "saturation": saturation,
    "curve": curve,
    "approach": approach,
    "cold start": cold_start,
}


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    return MEASURE[cell["part"]](**{k: v for k, v in cell.items() if k != "part"})


def cells() -> dict[str, dict[str, Any]]:
    listed: list[dict[str, Any]] = [
        *({"part": "saturation", "method": m} for m in PARAMETERS["saturation"]["methods"]),
        *({"part": "curve", "time": t} for t in PARAMETERS["curve"]["times"]),
        *({"part": "approach", "beta": b} for b in PARAMETERS["approach"]["betas"]),
        *(
            {"part": "cold start", "method": m, "p0": p0}
            for m, p0 in PARAMETERS["cold_start"]["cases"]
        ),
    ]
    return {" ".join(str(v) for v in cell.values()): cell for cell in listed}


# --- beside the theorem -------------------------------------------------------------------------


def settle(values: list[float]) -> tuple[float, float, float]:
    """The last of a sequence whose error is log t/t at worst, t doubling, and its interval."""
    half = 1.5 * abs(values[-1] - values[-2])
    return values[-1], values[-1] - half, values[-1] + half


def extrapolate(values: list[float]) -> tuple[float, float, float]:
    """Limit η → 0 of values at η, η/2, η/4, and its interval."""
    coarse, fine = 2 * values[1] - values[0], 2 * values[2] - values[1]
    best, half = fine + (fine - coarse) / 3, abs(fine - coarse)
    return best, best - half, best + half


def row(
    quantity: str,
    case: dict[str, Any],
    found: tuple[float, float, float],
    theorem: str,
    exact: float,
) -> dict[str, Any]:
    best, low, high = found
    return {
        "quantity": quantity,
        "case": case,
        "measured": best,
        "interval": [low, high],
        "theorem": theorem,
        "exact": exact,
        "brackets": low <= exact <= high,
    }


def saturation_rows(cell: dict[str, Any], q: list[float]) -> Iterable[dict[str, Any]]:
    method, end = cell["method"], PARAMETERS["saturation"]["X"]
    finite = method.startswith("G=")  # whose weight stays at √(G − 1)
    theorem = "expectation.saturation" if finite else "dynamics.exponential-needs-restoring-force"
    power = 2 if method == "limit" else 1
    size = int(method[2:]) if finite else 2
    slopes = [math.log2(after / before) for before, after in pairwise(q)]
    scaled = [x * (end / 2**n) ** power for x, n in zip(q, (3, 2, 1, 0), strict=True)]
    case = {"method": method}
    yield row("power of ηt in 1 − p", case, settle(slopes), theorem, -power)
    prefactor = 4.0 if method == "limit" else 1 / math.sqrt(size - 1)
    yield row(f"(1 − p)(ηt){'²' * (power - 1)}", case, settle(scaled), theorem, prefactor)


def exact_time(method: str, p0: float) -> float:
    if method.startswith("G="):
        return cold_start_time(p0, 0.5, "grpo", group_size=int(method[2:]))
    if method == "log-likelihood":
        return cold_start_time(p0, 0.5, "tsallis", q=1)
    return cold_start_time(p0, 0.5, {"plain": "reinforce", "limit": "grpo_limit"}[method])


def rows(found: dict[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for name, cell in cells().items():
        case = {k: v for k, v in cell.items() if k != "part"}
        if cell["part"] == "saturation":
            yield from saturation_rows(cell, found[name]["q"])
            continue
        best = extrapolate(found[name]["by_eta"])
        theorem = "dynamics.exponential-needs-restoring-force"
        if cell["part"] == "curve":
            t = cell["time"]
            value = 0.5 + t / (2 * math.sqrt(16 + t * t))
            yield row("p at ηt, GRPO's limit", case, best, theorem, value)
        elif cell["part"] == "approach":
            beta, reference = cell["beta"], PARAMETERS["approach"]["reference"]
            p, q = halves(math.log(reference / (1 - reference)) + 1 / beta)
            change = abs(found[name]["by_eta"][-1] - found[name]["earlier"])
            best = (best[0], best[1] - change, best[2] + change)
            yield row("rate of |p − p*| by ηt", case, best, theorem, beta * p * q)
        else:
            theorem = "dynamics.cold-start"
            if cell["method"] not in ("plain", "log-likelihood"):
                theorem += "-grpo"
            yield row("ηt from p0 to ½", case, best, theorem, exact_time(**case))


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
