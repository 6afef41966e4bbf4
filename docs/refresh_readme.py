"""Put what the commands really print into README.md: ``make readme``.

A block ``<!-- output: COMMAND | tail N -->`` … ``<!-- end -->`` holds the last (or with ``head``,
the first) N lines of COMMAND's output, run in the project's root.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- output: (.+?) \| (tail|head) (\d+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = "100"


def output(command: str) -> list[str]:
    """The lines that a command prints; it must succeed."""
    words = shlex.split(command)
    if words[0] == "grpo-identity":
        words[0] = str(Path(sys.executable).with_name("grpo-identity"))
    outside = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}  # of our own make
    environment = {**outside, "COLUMNS": COLUMNS, "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        raise SystemExit(
            f"{command} ended with exit code {done.returncode}:\n{done.stdout[-2000:]}"
        )
    return [line.rstrip() for line in done.stdout.strip("\n").splitlines()]


def block(found: re.Match[str]) -> str:
    start, command, side, number, end = found.groups()
    lines = output(command)
    n = int(number)
    if len(lines) > n:
        lines = ["…", *lines[-n:]] if side == "tail" else [*lines[:n], "…"]
    return f"{start}\n```\n" + "\n".join(lines) + f"\n```\n\n{end}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(BLOCK.sub(block, readme.read_text(encoding="utf-8")), encoding="utf-8")
