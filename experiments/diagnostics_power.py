"""Power and false-alarm rates of the run diagnostics on simulated healthy and sick runs.

Every run trains a small policy with GRPO: three answers per prompt (correct, exploit, wrong) whose
logits are a prompt's own plus a shared vector θ. A step draws G rollouts of each of 48 prompts,
rewards them with a verifier that pays each kind of answer at its own rate, and takes
θ ← θ + v, v ← μv + η(g − β∇KL), with g the group-normalised gradient; both gradients may come from
the θ of τ steps earlier. Logged are the trained reward, the true reward on 48 held-out prompts
(every fifth step, four rollouts each), entropy, the share of silent groups, and that share less its
unbiased prediction from the neighbouring visits of each prompt.

Step sizes are given as multiples of the stability threshold of the mean field: with the largest
curvature K at the fixed point, η K = 2 sin(π/(2(2τ + 1))) at μ = 0 (2(1 + μ) at τ = 0).

Run it again to go on where it stopped; --restart begins anew.

    python experiments/diagnostics_power.py
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import MofNCompleteColumn, Progress

from identity.diagnostics import MODES, RunLog, diagnose_run
from identity.expectation import silent_rate_unbiased

RESULTS = Path(__file__).resolve().parent / "results" / "diagnostics_power.json"
ALPHA = 0.05
SEED = 20_261_122
STEPS, EVERY, PROMPTS, EVALUATED = 300, 5, 48, 4
CHUNK = 50  # runs simulated together; a chunk is the unit that is resumed and repeated
SLICE = 4  # runs of the first chunk of each cell whose p-values are kept, to check the code by

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One kind of run.

    `truth` is the failure mode, or "healthy". `step` is η as a multiple of the stability
    threshold; `eta`, where given, η itself (without KL there is no fixed point). `rates` are the
    verifier's rates of reward for correct, exploiting and wrong answers. `doubled` is the share of
    groups that hold each of G/2 rollouts twice. `plateau` starts at the fixed point; with `ramp`
    the step size grows in a straight line from 0.
    """

    name: str
    truth: str
    effect: str
    step: float = 0.005
    eta: float | None = None
    beta: float = 0.8
    momentum: float = 0.0
    delay: int = 0
    group_size: int = 8
    rates: tuple[float, float, float] = (1.0, 0.0, 0.0)
    doubled: float = 0.0
    spread: float = 1.5
    exploit: float = -1.5
    plateau: bool = False
    ramp: bool = False
    runs: int = 500


HEALTHY = "healthy"
HACKING, DEGENERACY, CONCENTRATION, INSTABILITY = MODES
CELLS = (
    Cell("healthy", HEALTHY, "G = 8, plain steps"),
    Cell("healthy-group", HEALTHY, "G = 16", group_size=16),
    Cell("healthy-fast", HEALTHY, "steps ten times as large", step=0.05),
    Cell("healthy-momentum", HEALTHY, "momentum 0.9", momentum=0.9, step=0.0005),
    Cell("healthy-noise", HEALTHY, "verifier with t = 0.9, f = 0.1", rates=(0.9, 0.1, 0.1)),
    Cell("healthy-plateau", HEALTHY, "at the fixed point from the start", plateau=True),
    Cell("healthy-delay", HEALTHY, "rollouts 4 steps old", delay=4, step=0.02),
    Cell("healthy-half", HEALTHY, "rollouts 4 steps old, half the threshold", delay=4, step=0.5),
    *(
        Cell(
            f"hacking-{n}", HACKING, effect, rates=(correct, 1.0, 0.0), beta=beta, step=step,
            exploit=exploit, runs=200,
        )
        for n, (effect, correct, beta, step, exploit) in enumerate(
            (
                ("truth paid 0.7, exploit 1; half the KL", 0.7, 0.4, 0.01, -1.5),
                ("truth paid 0.5, exploit 1", 0.5, 0.8, 0.01, -1.5),
                ("truth paid 0.5, exploit 1; half the KL", 0.5, 0.4, 0.01, -1.5),
                ("truth paid 0.3, exploit 1", 0.3, 0.8, 0.01, -1.5),
                ("truth paid 0.6, exploit 1 but rare; a quarter of the KL", 0.6, 0.2, 0.005, -3.0),
            )
        )
    ),
    *(
        Cell(f"doubled-{share}", DEGENERACY, f"{share:.0%} of groups hold each rollout twice",
             doubled=share, step=0.01, runs=200)
        for share in (0.1, 0.2, 0.3, 1.0)
    ),
    Cell("hopeless-60", DEGENERACY, "prompts solved or hopeless", spread=60.0, runs=200),
    *(
        Cell(f"free-{eta}", CONCENTRATION, f"no KL, step size {eta:g}", beta=0.0, eta=eta, runs=200)
        for eta in (0.1, 0.15, 0.3, 1.0)
    ),
    *(
        Cell(
            f"unstable-{delay}-{step}", INSTABILITY,
            f"rollouts {delay} steps old, {step:g} of the threshold",
            delay=delay, step=step, runs=200,
        )
        for delay, step in (
            (0, 1.2), (1, 1.0), (1, 1.2), (4, 1.0), (4, 1.2), (4, 1.5), (8, 1.0), (8, 1.2),
        )
    ),
    Cell(
        "unstable-ramp", INSTABILITY,
        "rollouts 4 steps old, growing from 0 to 1.2 of the threshold",
        delay=4, step=1.2, ramp=True, runs=200,
    ),
)  # fmt: skip


def start_logits(cell: Cell, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Logits of prompts at θ = 0: difficulty varies between prompts, the exploit is rare."""
    logits = np.zeros((*shape, 3))
    logits[..., 0] = rng.normal(-0.5, cell.spread, shape)
    logits[..., 1] = rng.normal(cell.exploit, 0.5, shape)
    return logits


def softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def kl_gradient(policy: Floats, reference: Floats) -> Floats:
    """Mean over prompts of ∇KL(π ‖ π_ref) with respect to the logits."""
    ratio = np.log(policy) - np.log(reference)
    divergence = (policy * ratio).sum(axis=-1, keepdims=True)
    gradient: Floats = (policy * (ratio - divergence)).mean(axis=-2)
    return gradient


def mean_field(theta: Floats, logits: Floats, reference: Floats, cell: Cell) -> Floats:
    """Expected step direction: W_G(P)∇P with P the rate of reward, less β∇KL."""
    policy = softmax(logits + theta)
    rates = np.array(cell.rates)
    paid = policy @ rates
    size = cell.group_size
    tail = np.array([math.comb(size - 1, b) for b in range(size)])
    b = np.arange(size)
    weight = np.sqrt((size - 1 - b) / (1 + b)) + np.sqrt(b / (size - b))
    chance = tail * paid[:, None] ** b * (1 - paid[:, None]) ** (size - 1 - b)
    slope = policy * (rates - paid[:, None])
    drive: Floats = ((chance @ weight)[:, None] * slope).mean(axis=0)
    return drive - cell.beta * kl_gradient(policy, reference)


def fixed_point(cell: Cell) -> tuple[Floats, float]:
    """θ at which the mean field vanishes, and the largest curvature K there."""
    logits = start_logits(cell, (4096,), np.random.default_rng(SEED))
    reference = softmax(logits)
    theta = np.zeros(3)
    for _ in range(100):
        theta = theta + mean_field(theta, logits, reference, cell)
    for _ in range(50):
        slopes = jacobian(theta, logits, reference, cell)
        move = mean_field(theta, logits, reference, cell)
        # Adding one number to all logits changes nothing: the least-squares step leaves it at 0.
        theta = theta - np.linalg.lstsq(slopes, move, rcond=1e-6)[0]
        if np.abs(move).max() < 1e-12:
            return theta, float(-np.linalg.eigvals(slopes).real.min())
    raise RuntimeError(f"{cell.name}: no fixed point found")


def jacobian(theta: Floats, logits: Floats, reference: Floats, cell: Cell) -> Floats:
    h = 1e-5
    ends = [
        [mean_field(theta + sign * h * e, logits, reference, cell) for sign in (1, -1)]
        for e in np.eye(3)
    ]
    slopes: Floats = np.array([(up - down) / (2 * h) for up, down in ends]).T
    return slopes


def learning_rate(cell: Cell, curvature: float) -> float:
    if cell.delay == 0:
        threshold = 2 * (1 + cell.momentum)
    elif cell.momentum == 0:
        threshold = 2 * math.sin(math.pi / (2 * (2 * cell.delay + 1)))
    else:
        raise ValueError("the threshold is known for delay or momentum, not both")
    return cell.step * threshold / curvature


def simulate(cell: Cell, runs: int, rng: np.random.Generator) -> Iterator[RunLog]:
    """Logs of independent runs of one kind."""
    size = cell.group_size
    logits = start_logits(cell, (runs, PROMPTS), rng)
    held_out = start_logits(cell, (runs, PROMPTS), rng)
    reference = softmax(logits)
    theta, eta = np.zeros((runs, 3)), cell.eta
    if eta is None:
        point, curvature = fixed_point(cell)
        eta = learning_rate(cell, curvature)
        if cell.plateau:
            theta = theta + point
    past = [theta] * (cell.delay + 1)
    velocity = np.zeros_like(theta)
    shape = (STEPS, runs)
    reward, entropy, silent = np.empty(shape), np.empty(shape), np.empty(shape)
    held = np.full(shape, np.nan)
    paid_counts = np.empty((STEPS, runs, PROMPTS), dtype=np.int64)
    for t in range(STEPS):
        policy = softmax(logits + past[0][:, None, :])
        gradient, correct = grpo(cell, policy, rng)
        paid_counts[t] = correct
        reward[t] = correct.mean(axis=1) / size
        silent[t] = ((correct == 0) | (correct == size)).mean(axis=1)
        entropy[t] = -(policy * np.log(np.maximum(policy, 1e-300))).sum(axis=-1).mean(axis=1)
        if t % EVERY == 0:
            now = softmax(held_out + theta[:, None, :])[..., 0]
            held[t] = rng.binomial(EVALUATED, now).mean(axis=1) / EVALUATED
        penalty = cell.beta * kl_gradient(np.maximum(policy, 1e-300), reference)
        grown = (t + 1) / STEPS if cell.ramp else 1.0
        velocity = cell.momentum * velocity + grown * eta * (gradient - penalty)
        theta = theta + velocity
        past = [*past[1:], theta]
    predicted = np.asarray(silent_rate_unbiased(np.arange(2 * size + 1.0), 2.0 * size, size))
    excess = np.full(shape, np.nan)
    beside = predicted[paid_counts[:-2] + paid_counts[2:]].mean(axis=-1)
    excess[1:-1] = silent[1:-1] - beside
    for run in range(runs):
        columns = (reward, held, entropy, silent, excess)
        yield RunLog(range(STEPS), *(column[:, run] for column in columns))


def grpo(
    cell: Cell, policy: Floats, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Gradient of θ from one group per prompt, and how many of its rollouts were rewarded."""
    size = cell.group_size
    twice = rng.random(policy.shape[:2]) < cell.doubled if cell.doubled else None
    drawn = size if twice is None else np.where(twice, size // 2, size)
    right = rng.binomial(drawn, policy[..., 0])
    rest = 1 - policy[..., 0]
    share = np.divide(policy[..., 1], rest, out=np.zeros_like(rest), where=rest > 0)
    exploiting = rng.binomial(drawn - right, np.minimum(share, 1.0))
    counts = np.stack([right, exploiting, drawn - right - exploiting], axis=-1)
    paid = np.stack(
        [
            counts[..., a] if rate == 1 else rng.binomial(counts[..., a], rate)
            for a, rate in enumerate(cell.rates)
        ],
        axis=-1,
    )
    if twice is not None:
        repeat = np.where(twice, 2, 1)[..., None]
        counts, paid = counts * repeat, paid * repeat
    k = paid.sum(axis=-1)
    mixed = (k > 0) & (k < size)
    safe = np.where(mixed, k, 1)
    up, down = np.sqrt((size - safe) / safe), np.sqrt(safe / (size - safe))
    each = (paid * up[..., None] - (counts - paid) * down[..., None]) / size
    gradient: Floats = (each * mixed[..., None]).mean(axis=1)
    return gradient, k


def outcome(log: RunLog) -> dict[str, Any]:
    """What the table counts of one run."""
    report = diagnose_run(log, alpha=ALPHA)
    evidence = report.findings[-1].evidence
    return {
        "p": [finding.p_value for finding in report.findings],
        "present": [finding.verdict == "present" for finding in report.findings],
        "primary": report.primary or "none",
        "warning": [
            evidence[f"rising {name}: p"] < ALPHA for name in ("lag-1 autocorrelation", "variance")
        ],
    }


def chunk_logs(cell: Cell, chunk: int) -> Iterator[RunLog]:
    """The runs of one chunk: the same ones whenever they are asked for."""
    rng = np.random.default_rng([SEED, zlib.crc32(cell.name.encode()), chunk])
    return simulate(cell, min(CHUNK, cell.runs - chunk * CHUNK), rng)


def empty(cell: Cell) -> dict[str, Any]:
    return {
        **asdict(cell),
        "chunks": 0,
        "done": 0,
        "alone": [0] * len(MODES),
        "present": [0] * len(MODES),
        "any": 0,
        "primary": dict.fromkeys(("none", *MODES), 0),
        "warning": [0, 0],
        "slice": [],
    }


def add(record: dict[str, Any], found: list[dict[str, Any]], slice_size: int = SLICE) -> None:
    """Count one chunk into the record of its cell."""
    if record["chunks"] == 0:
        record["slice"] = [[float(f"{p:.6g}") for p in one["p"]] for one in found[:slice_size]]
    record["chunks"] += 1
    record["done"] += len(found)
    for one in found:
        for n in range(len(MODES)):
            record["alone"][n] += int(one["p"][n] < ALPHA)
            record["present"][n] += int(one["present"][n])
        record["any"] += any(one["present"])
        record["primary"][one["primary"]] += 1
        for n in range(2):
            record["warning"][n] += int(one["warning"][n])


def resumed(path: Path, restart: bool) -> dict[str, Any]:
    """Records so far; those of cells that were defined otherwise are dropped."""
    settings = {
        "alpha": ALPHA, "seed": SEED, "steps": STEPS, "every": EVERY, "prompts": PROMPTS,
        "evaluated": EVALUATED, "chunk": CHUNK,
    }  # fmt: skip
    old: dict[str, Any] = {}
    if path.exists() and not restart:
        old = json.loads(path.read_text(encoding="utf-8"))
    same = old.get("settings") == settings
    cells = {}
    for cell in CELLS:
        kept = old.get("cells", {}).get(cell.name) if same else None
        wanted = json.loads(json.dumps(asdict(cell)))
        if kept is None or {key: kept.get(key) for key in wanted} != wanted:
            kept = empty(cell)
        cells[cell.name] = kept
    return {"settings": settings, "modes": list(MODES), "cells": cells}


def write(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--restart", action="store_true", help="forget earlier results")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where results are kept")
    options = parser.parse_args()
    results = resumed(options.out, options.restart)
    total = sum(cell.runs for cell in CELLS)
    done = sum(record["done"] for record in results["cells"].values())
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("runs", total=total, completed=done)
        for cell in CELLS:
            record = results["cells"][cell.name]
            progress.update(task, description=cell.name)
            while record["done"] < cell.runs:
                found = [outcome(log) for log in chunk_logs(cell, record["chunks"])]
                add(record, found)
                write(options.out, results)
                progress.advance(task, len(found))
    write(options.out, results)


if __name__ == "__main__":
    main()
