"""What the installed trainer libraries compute: every operation, every case, every dtype.

Each library is called in a process of its own, so that none disturbs another; at the end one
process calls all of them, and compares what they give for methods of one name. A run that was
interrupted goes on where it stopped: what was found of a library is kept in ``results/*.partial``
until all is there, as long as its version and the code here stay the same.

    python -m experiments.conformance
    python -m experiments.conformance --targets polgrad liger --output some.json
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import identity
from identity.conformance import CASES, LIBRARIES, conform, load
from identity.conformance.cases import COMPARISONS
from identity.conformance.frameworks import DTYPES
from identity.conformance.run import cells

FILE = Path(__file__)
RESULTS = FILE.parent / "results" / "conformance.json"
WITHIN, TOGETHER = COMPARISONS  # of one library, and of all, which are then in one process
VERDICTS = ("equals", "equals ×", "differs", "cannot run")
# What the libraries compute with.
BASIS = ("torch", "jax", "flax", "numpy", "transformers", "accelerate", "tensordict", "hypothesis")
# Small arrays on a shared machine; kernels for bfloat16 may pick instructions that some machines
# advertise but do not run.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}

Row = dict[str, Any]


# --- versions and code ----------------------------------------------------------------------------


def distribution(library: str) -> str:
    """The name that pip knows; its adapter's module imports no library."""
    adapter = importlib.import_module(f"identity.conformance.targets.{LIBRARIES[library]}")
    return str(adapter.DISTRIBUTION)


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Of the libraries, and of what they compute with as far as it is installed."""
    packages = [*map(distribution, libraries), *BASIS]
    found = {name: version(name) for name in packages}
    return {"grpo-identity": identity.__version__, **{n: v for n, v in found.items() if v}}


def code(library: str) -> Iterator[Path]:
    """The files that the results of a library depend on."""
    root = Path(identity.__file__).parent
    adapters = {f"{module}.py" for name, module in LIBRARIES.items() if name != library}
    for folder in ("conformance", "groups", "surrogates", "aggregation"):
        for path in sorted((root / folder).rglob("*.py")):
            if not (path.parent.name == "targets" and path.name in adapters):
                yield path
    yield FILE


def key(library: str) -> str:
    """Changes when the results of a library may."""
    digest = hashlib.sha256(json.dumps(versions([library])).encode())
    digest.update(platform.python_version().encode())
    for path in code(library):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


# --- files ----------------------------------------------------------------------------------------


def write(path: Path, content: dict[str, Any]) -> None:
    """ASCII, one line for each entry and each result; complete or not at all."""
    lines = []
    for name, value in content.items():
        if isinstance(value, list):
            listed = ",\n".join(f"  {json.dumps(v, allow_nan=False)}" for v in value)
            lines.append(f" {json.dumps(name)}: [\n{listed}\n ]")
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(value, allow_nan=False)}")
    draft = path.with_suffix(f"{path.suffix}.draft")
    draft.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="ascii")
    draft.replace(path)


def partial(output: Path, library: str) -> Path:
    """Where the results of one library are kept until all are there."""
    return output.with_name(f"{output.stem}.{library}.partial")


def keep(output: Path, library: str, rows: list[Row], complete: bool) -> None:
    content = {"key": key(library), "complete": complete, "results": rows}
    write(partial(output, library), content)


def kept(output: Path, library: str) -> tuple[list[Row], bool]:
    """What an earlier run found of a library, unless something has changed; whether it is all."""
    path = partial(output, library)
    if path.exists():
        content = json.loads(path.read_text(encoding="ascii"))
        if content["key"] == key(library):
            return content["results"], content["complete"]
    return [], False


def ordered(rows: list[Row], libraries: Sequence[str]) -> list[Row]:
    """By library, operation as its adapter lists them, case and dtype."""
    operations = list(dict.fromkeys((r["library"], r["operation"]) for r in rows))
    place = {name: n for n, name in enumerate(operations)}
    cases, dtypes = [*CASES, *COMPARISONS], list(DTYPES)
    return sorted(
        rows,
        key=lambda r: (
            libraries.index(r["library"]),
            place[r["library"], r["operation"]],
            cases.index(r["case"]),
            dtypes.index(r["dtype"]),
        ),
    )


# --- processes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What one process does.

    Parameters
    ----------
    name : str
        Of a library, or of the comparison.
    libraries : tuple of str
        What is called.
    comparison : str
        The case in which operations are compared, after the others; all of them for one library,
        none for several.
    earlier : list of Row
        What is known already.
    """

    name: str
    libraries: tuple[str, ...]
    comparison: str
    earlier: list[Row] = field(default_factory=list)


def work(job: Job, log: str, pipe: Connection) -> None:
    """In a process of its own: what libraries print goes to the log, what is found to the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    targets = [load(name) for name in job.libraries]
    known = {place(row) for row in job.earlier}
    todo = [cell for cell in cells(targets[0]) if len(targets) == 1]
    pipe.send(("total", len(todo)))
    for cell in todo:
        pipe.send(("calling", f"{job.name}: {cell.operation.name}"))
        if (cell.operation.name, cell.case, cell.dtype) not in known:
            pipe.send(("result", cell.result().as_json()))
        pipe.send(("advance", None))
    pipe.send(("calling", f"{job.name}: {job.comparison}"))
    for result in conform(targets, [job.comparison]):
        if place(result.as_json()) not in known:
            pipe.send(("result", result.as_json()))
    pipe.send(("end", None))


def place(row: Row) -> tuple[str, str, str]:
    """Where a result belongs in its library."""
    return row["operation"], row["case"], row["dtype"]


@dataclass
class Running:
    """A process, and what it has sent."""

    job: Job
    process: Any
    log: Path
    bar: Any
    rows: list[Row]
    complete: bool = False


def run(
    jobs: Sequence[Job],
    at_once: int,
    progress: Progress,
    ended: Callable[[Job, list[Row], bool], None],
) -> dict[str, str]:
    """Run the jobs, so many at once.

    Parameters
    ----------
    jobs : sequence of Job
        One process each.
    at_once : int
        How many processes.
    progress : Progress
        Gets a bar for each.
    ended : callable
        Told the job, what it found, and whether that is all.

    Returns
    -------
    dict
        The end of what was printed, for each job that broke off.
    """
    context = multiprocessing.get_context("spawn")
    broken: dict[str, str] = {}
    waiting, running = list(jobs), dict[Any, Running]()
    with tempfile.TemporaryDirectory() as folder:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    log = Path(folder) / f"{job.name}.log"
                    mine, theirs = context.Pipe(duplex=False)
                    process = context.Process(target=work, args=(job, str(log), theirs))
                    process.start()
                    theirs.close()  # so that the end of the process ends the pipe
                    bar = progress.add_task(f"{job.name}: importing", total=None)
                    running[mine] = Running(job, process, log, bar, [*job.earlier])
                for pipe in wait(list(running)):
                    assert isinstance(pipe, Connection)
                    one = running[pipe]
                    if _received(pipe, one, progress):
                        continue
                    del running[pipe]
                    one.process.join()
                    ended(one.job, one.rows, one.complete)
                    if not one.complete:
                        text = one.log.read_text(errors="replace") if one.log.exists() else ""
                        broken[one.job.name] = text[-2000:] or f"exit {one.process.exitcode}"
        finally:
            for one in running.values():
                one.process.kill()
                one.process.join()
                ended(one.job, one.rows, False)
    return broken


def _received(pipe: Connection, one: Running, progress: Progress) -> bool:
    """Take one message; False at the end of the pipe."""
    try:
        kind, value = pipe.recv()
    except EOFError:
        return False
    if kind == "total":
        progress.update(one.bar, total=value)
    elif kind == "calling":
        progress.update(one.bar, description=value)
    elif kind == "advance":
        progress.advance(one.bar)
    elif kind == "result":
        one.rows.append(value)
    else:
        one.complete = True
        progress.update(one.bar, description=f"{one.job.name}: done")
    return True


@contextmanager
def bars() -> Iterator[Progress]:
    """On stderr."""
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
        MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress


# --- the run --------------------------------------------------------------------------------------


def measure(libraries: Sequence[str], output: Path, at_once: int) -> list[Row]:
    """All results, some perhaps from an earlier run that was interrupted."""
    earlier = {name: kept(output, name) for name in libraries}
    found = {name: rows for name, (rows, complete) in earlier.items() if complete}

    def ended(job: Job, rows: list[Row], complete: bool) -> None:
        keep(output, job.name, rows, complete)
        if complete:
            found[job.name] = rows

    compared: list[Row] = []
    with bars() as progress:
        rest = [Job(n, (n,), WITHIN, earlier[n][0]) for n in libraries if n not in found]
        broken = run(rest, at_once, progress, ended)
        if not broken and len(libraries) > 1:
            job = Job(TOGETHER, tuple(libraries), TOGETHER)
            broken = run([job], 1, progress, lambda _, rows, __: compared.extend(rows))
    if broken:
        ends = "\n".join(f"--- {name}\n{text}" for name, text in broken.items())
        sys.exit(f"{ends}\nbroke off: {', '.join(broken)}; run again to go on with these")
    return ordered([row for rows in (*found.values(), compared) for row in rows], libraries)


def check_installed(libraries: Iterable[str]) -> None:
    missing = [name for name in libraries if version(distribution(name)) is None]
    if missing:
        sys.exit(
            f"not installed: {', '.join(missing)}; `make conformance` makes an environment with "
            "all of them and runs this"
        )


def show(rows: list[Row]) -> None:
    table = Table("library", "version", *VERDICTS)
    for library in dict.fromkeys(row["library"] for row in rows):
        own = [row for row in rows if row["library"] == library]
        counts = (str(sum(row["verdict"] == verdict for row in own)) for verdict in VERDICTS)
        table.add_row(library, own[0]["version"], *counts)
    Console().print(table)


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--targets", nargs="+", choices=sorted(LIBRARIES), metavar="LIBRARY", default=[],
        help=f"only these; the file then has no others (all: {', '.join(sorted(LIBRARIES))})",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--jobs", type=int, default=2, help="libraries at once (2)")
    parser.add_argument("--restart", action="store_true", help="drop what an interrupted run left")
    options = parser.parse_args()
    libraries = sorted(set(options.targets) or LIBRARIES)
    check_installed(libraries)
    if options.restart:
        for name in libraries:
            partial(options.output, name).unlink(missing_ok=True)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        rows = measure(libraries, options.output, max(options.jobs, 1))
    except KeyboardInterrupt:
        finished = [name for name in libraries if kept(options.output, name)[1]]
        sys.exit(f"stopped after {len(finished)} of {len(libraries)} libraries; run again to go on")
    head = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": versions(libraries),
    }
    write(options.output, {**head, "results": rows})
    for name in libraries:
        partial(options.output, name).unlink(missing_ok=True)
    show(rows)


if __name__ == "__main__":
    main()
