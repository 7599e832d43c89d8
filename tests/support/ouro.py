"""`ouro` as a user starts it: in a process of its own, judged by output and exit code."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    *words: str,
    cwd: Path,
    source: Path = ROOT,
    columns: int = 80,
    settings: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end; with this engine, in a child of a process that has imported
    what it needs.

    settings: of its environment.
    """
    settings = {**environment(source), "COLUMNS": str(columns), **(settings or {})}
    if source == ROOT:
        return _forked(words, cwd, settings)
    command = [sys.executable, "-m", "engine.cli", *words]
    return subprocess.run(
        command, cwd=cwd, env=settings, capture_output=True, text=True, timeout=240, check=False
    )


@functools.cache
def _zygote() -> Any:
    """One for all tests of this process, until `end`."""
    from tests.support.zygote import Zygote

    return Zygote(Path(tempfile.mkdtemp(prefix="zygote-")))


def end() -> None:
    """No process and no folder is left of the one that started command lines, if there is one."""
    if _zygote.cache_info().currsize:
        with _zygote() as zygote:
            pass
        shutil.rmtree(zygote.folder)
        _zygote.cache_clear()


def _forked(
    words: Sequence[str], cwd: Path, settings: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    zygote = _zygote()
    try:
        ended = zygote.ouro(*words, cwd=cwd, environment=settings)
    except BaseException:  # the test was given up: the next one does not get its answer
        zygote.process.kill()
        if zygote.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(zygote.pid, signal.SIGKILL)
        end()
        raise
    return subprocess.CompletedProcess(words, ended.code, ended.out, ended.err)
