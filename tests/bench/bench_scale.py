"""A sweep of thousands of trivial lineages: how long the plan takes, how much memory the driver gains, how fast they pass.

    python tests/bench/bench_scale.py [lineages to plan, lineages to run]        # 10,000 and 2,000

Goals: 10,000 lineages of 6 generations are planned in under 2 s; the driver's memory grows by a bounded amount per 1,000.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
TEXT = """
# Question: how large may a sweep be?
base: {{dataset: {{name: gaussian, replicates: 2}}, generator: gaussian, n_real: 20}}
grid:
  policy: [replace, accumulate]
  policy.synthetic_fraction: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
seeds: {seeds}
generations: 5
metrics: [moments]
tracking: {tracking}
"""


def ouro(*words: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, "-m", "engine.cli", *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def plan(n: int, folder: Path) -> None:
    (folder / "plan.yaml").write_text(TEXT.format(seeds=n // 20, tracking="none"))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        answer = ouro("plan", "plan.yaml", folder=folder)
        text = answer.communicate()[0]
        seconds.append(time.perf_counter() - started)
    print(f"ouro plan of {n:,} lineages: {min(seconds):.2f} s, {len(text.splitlines())} lines")


def run(n: int, tracking: str, folder: Path) -> None:
    """The driver's resident memory while it runs n lineages, sampled by how many are done."""
    (folder / f"{tracking}.yaml").write_text(TEXT.format(seeds=n // 20, tracking=tracking))
    started = time.perf_counter()
    process = ouro("run", f"{tracking}.yaml", folder=folder)
    out, seen = folder / "runs" / tracking / "lineages", list[tuple[int, float]]()
    while process.poll() is None:
        time.sleep(1)
        done = len(os.listdir(out)) if out.is_dir() else 0
        try:
            seen.append((done, psutil.Process(process.pid).memory_info().rss / 1e6))
        except psutil.NoSuchProcess:
            break
    text = process.communicate()[0]
    seconds = time.perf_counter() - started
    early, late = ([memory for done, memory in seen if low * n <= done <= high * n] for low, high in ((0.1, 0.3), (0.8, 1.0)))
    growth = (sum(late) / len(late) - sum(early) / len(early)) / (0.7 * n / 1000) if early and late else float("nan")
    most = max(memory for _, memory in seen)
    print(f"ouro run of {n:,} lineages, tracking {tracking}: {seconds:.0f} s, exit {process.returncode}, ", end="")
    print(f"driver {most:.0f} MB at most, {growth:+.1f} MB per 1,000 lineages, {len(text.splitlines())} lines in all")


def main() -> None:
    to_plan, to_run = (int(word) for word in [*sys.argv[1:], "10000", "2000"][:2])
    with tempfile.TemporaryDirectory() as name:
        plan(to_plan, Path(name))
        for tracking in ("none", "sqlite"):
            run(to_run, tracking, Path(name))


if __name__ == "__main__":
    main()
