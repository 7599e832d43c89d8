"""`ouro` as a user starts it: in a process of its own, judged by output and exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = """
# Question: how fast does a Gaussian lose its variance?
base:
  dataset: {name: gaussian, replicates: 20}
  generator: gaussian
  n_real: 50
grid:
  policy: [replace, accumulate]
  policy.synthetic_fraction: [0.0, 0.5, 1.0]
seeds: 2
generations: 4
metrics: [moments]
collapse: {metric: moments/trace_ratio, below: 0.5}
tracking: none
"""


def environment(source: Path = ROOT) -> dict[str, str]:
    """Of a user at an 80-column terminal, with the engine of `source`."""
    own = {"PYTHONPATH": str(source), "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    return {
        **{k: v for k, v in os.environ.items() if k not in ("PYTHONWARNINGS", "RAY_AUTH_MODE")},
        **own,
    }


def start(*words: str, cwd: Path, source: Path = ROOT) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "engine.cli", *words]
    return subprocess.Popen(
        command, cwd=cwd, env=environment(source), stdout=-1, stderr=-1, text=True
    )


def ouro(
    *words: str, cwd: Path, source: Path = ROOT, columns: int = 80
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.cli", *words]
    settings = {**environment(source), "COLUMNS": str(columns)}
    return subprocess.run(
        command, cwd=cwd, env=settings, capture_output=True, text=True, timeout=240, check=False
    )
