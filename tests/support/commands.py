"""`ouro` in this process, for tests that start it often: exit code and what it said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from engine.cli import main as cli
from engine.running import worker

GAUSSIANS = """
# Question: a test of the command line
base:
  dataset: {name: gaussian, replicates: 3}
  generator: gaussian
  n_real: 30
grid: {policy: [replace, accumulate]}
seeds: 1
generations: 2
metrics: [moments]
collapse: {metric: moments/trace_ratio, below: 0.5}
tracking: none
"""


@dataclass(frozen=True)
class Said:
    """How a command ended; out: stdout, err: stderr, without line breaks."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def ouro(*words: str, typed: str = "") -> Said:
    """Run a command line, without what this process remembers of outputs."""
    worker._stores.clear()
    ended = CliRunner().invoke(cli.app, list(words), input=typed, env={"COLUMNS": "200"})
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return Said(ended.exit_code, ended.stdout, ended.stderr.replace("\n", " "))
