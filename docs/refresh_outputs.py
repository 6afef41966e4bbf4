"""Run the commands that the guides show again, and keep what they print: ``make readme``.

A file of ``docs/examples/outputs`` starts with ``$ command``, run in the project's root; what it
prints follows, and its exit code if that is not 0. They need torch, which the environment that
builds the pages may not have; a test runs them.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = ROOT / "docs" / "examples" / "outputs"
PLUGIN = "identity.pytest_plugin"
LAUNCH = {
    "grpo-identity": ["-c", "from proofs.cli import main; main()"],
    "pytest": ["-m", "pytest", "-p", "no:cacheprovider"],
}


def output(command: str) -> str:
    """What a file holds after its first line."""
    name, *arguments = shlex.split(command)
    launch = LAUNCH[name]
    registered = any(found.value == PLUGIN for found in entry_points(group="pytest11"))
    if name == "pytest" and not registered:  # not installed since it was added
        launch = [*launch, "-p", PLUGIN]
    settings = {"COLUMNS": "88", "NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
    settings |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # pytest tells more where it finds itself in continuous integration.
    ours = ("MAKE", "PYTEST", "CI", "BUILD_NUMBER")
    outside = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    done = subprocess.run(
        [sys.executable, *launch, *arguments],
        cwd=ROOT, env={**outside, **settings}, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    lines = [line.rstrip() for line in (done.stdout + done.stderr).strip("\n").splitlines()]
    if done.returncode:
        lines.append(f"(exit code {done.returncode})")
    return "\n".join(lines) + "\n"


def comparable(text: str) -> str:
    """Without line ends, seconds and versions, which are not the same everywhere."""
    text = " ".join(text.split())
    text = re.sub(r"(?<=in )[\d.]+s|(?<=versions ).*?(?= the call)", "…", text)
    return re.sub(r"Python [\d.]+|(?<=numpy |torch )[\d.]+(\+\w+)?", "…", text)


if __name__ == "__main__":
    for path in sorted(OUTPUTS.glob("*.txt")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        print(first)
        path.write_text(f"{first}\n{output(first.removeprefix('$ '))}", encoding="utf-8")
