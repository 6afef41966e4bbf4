"""Sphinx extension: ``.. command-output:: grpo-identity …`` shows what a command prints.

Commands run in the project's root with the interpreter that builds the pages. A command that ends
with another exit code than ``:returncode:`` (0 unless given) is an error of the build. ``:tail:``
keeps the last lines only, and says so.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from ledger_data import fingerprint
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = "import sys; from proofs.cli import main; sys.argv[0] = 'grpo-identity'; sys.exit(main())"


def run(command: str, width: int) -> tuple[int, str]:
    """Exit code and everything printed (stdout, then stderr)."""
    name, *arguments = shlex.split(command)
    if name != "grpo-identity":
        raise ValueError(f"only grpo-identity is run here, not {name}")
    environment = {
        **os.environ,
        "COLUMNS": str(width),
        "NO_COLOR": "1",
        "TERM": "dumb",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    lines = [line.rstrip() for line in (done.stdout + done.stderr).splitlines()]
    return done.returncode, "\n".join(lines).strip("\n")


class CommandOutput(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Any]] = {
        "returncode": int,
        "tail": directives.positive_int,
        "width": directives.positive_int,
    }

    def run(self) -> list[nodes.Node]:
        command = " ".join(self.arguments[0].split())
        width = self.options.get("width", 88)
        cache: dict[Any, tuple[int, str]] = self.env.__dict__.setdefault("command_outputs", {})
        key = (command, width, fingerprint())
        if key not in cache:
            cache[key] = run(command, width)
        code, text = cache[key]
        if code != self.options.get("returncode", 0):
            raise self.error(f"{command} ended with exit code {code}:\n{text}")
        if "tail" in self.options:
            lines = text.splitlines()
            if len(lines) > self.options["tail"]:
                text = "\n".join(["…", *lines[-self.options["tail"] :]])
        text = f"$ {command}\n{text}"
        block = nodes.literal_block(text, text, language="text", classes=["command-output"])
        return [block]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("command-output", CommandOutput)
    return {"version": "1", "parallel_read_safe": False}
