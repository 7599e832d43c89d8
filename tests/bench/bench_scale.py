"""A sweep of thousands of trivial lineages: how long the plan takes, how much memory the driver
gains, how fast they pass.

    python tests/bench/bench_scale.py [lineages to plan, lineages to run]        # 10,000 and 2,000
    python tests/bench/bench_scale.py --smoke                                    # 40 and 20

Goals: 10,000 lineages of 6 generations are planned in under 2 s; the driver's memory grows by a
bounded amount per 1,000; MLflow is not far behind when the sweep ends.  Measured on 2 busy cores
(load 5 to 20: the clock says little, CPU more):

    plan of 10,000        1.4 s of CPU with imports, 0.9 s without (1.8 and 1.4 before keys were put
                          together as text)
    run of 10,000         5 min 9 s untracked on two quiet cores, output in memory; driver 165 s of
                          CPU, +9 MB per 1,000 up to 501 MB, and at least 1,041 MB while it sums up
                          60,000 generations
    run of 2,000          602 s; driver 44 s of CPU (143 s when the grid was dicts: Tune copies all
                          of it for each lineage)
    driver, untracked     510 MB at most, +10 MB per 1,000 lineages (and 26 more with Tune's
                          statistics of each trial)
    driver, tracked       +49 MB per 1,000 (+85 with end states set at the end), of which 27 are the
                          recorder's copy of rows
    run of 1,000 tracked  driver 78 s of CPU; ends 18 s after the summary; 2,000 untracked end 26 s
                          after it (pictures, theory)

What grows: Tune keeps its trials, and unfolds its grid in n^2: 0.6 s of CPU for 2,000 lineages, 13
s for 10,000.
"""

from __future__ import annotations

import os
import resource
import sqlite3
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
{tracking}
"""


def ouro(*words: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, "-m", "engine.cli", *words]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def plan(n: int, folder: Path) -> None:
    (folder / "plan.yaml").write_text(TEXT.format(seeds=n // 20, tracking="tracking: none"))
    seconds, cpu = [], []
    for _ in range(3):
        started, before = time.perf_counter(), spent()
        text = ouro("plan", "plan.yaml", folder=folder).communicate()[0]
        seconds.append(time.perf_counter() - started)
        cpu.append(spent() - before)
    print(
        f"ouro plan of {n:,} lineages: {min(seconds):.2f} s, {min(cpu):.2f} s of CPU, "
        f"{len(text.splitlines())} lines",
        flush=True,
    )


def spent() -> float:
    """CPU seconds of the processes that have ended: on a busy machine the clock says little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(n: int, name: str, folder: Path) -> None:
    """The driver's resident memory while it runs n lineages, sampled by how many are there; what
    MLflow takes at the end.
    """
    (folder / f"{name}.yaml").write_text(
        TEXT.format(seeds=n // 20, tracking="tracking: none" if name == "untracked" else "")
    )
    started, used = time.perf_counter(), 0.0
    process = ouro("run", f"{name}.yaml", folder=folder)
    out, seen = folder / "runs" / name, list[tuple[int, float]]()
    while process.poll() is None:
        time.sleep(1)
        done = len(os.listdir(out / "lineages")) if (out / "lineages").is_dir() else 0
        try:
            driver = psutil.Process(process.pid)
            seen.append((done, driver.memory_info().rss / 1e6))
            used = sum(driver.cpu_times()[:2])
        except psutil.NoSuchProcess:
            break
    ended, text = time.time(), process.communicate()[0]
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"exit {process.returncode}\n{text[-2000:]}")
    most, behind = max(memory for _, memory in seen), ended - os.stat(out / "summary.json").st_mtime
    print(
        f"ouro run of {n:,} lineages, {name}: {seconds:.0f} s, driver {used:.0f} s of CPU, ", end=""
    )
    print(
        f"{most:.0f} MB at most, {growth(seen, n)}; {behind:.1f} s after the summary, ",
        end="",
    )
    print(f"{len(text.splitlines())} lines in all{mirrored(out)}", flush=True)


def growth(seen: list[tuple[int, float]], n: int) -> str:
    """Megabytes per 1,000 lineages, from the means over an early and a late stretch of the run."""
    early = [memory for done, memory in seen if 0.1 * n <= done <= 0.3 * n]
    late = [memory for done, memory in seen if 0.8 * n <= done <= 0.99 * n]
    if not early or not late:
        return "over too soon to see it grow"
    grown = sum(late) / len(late) - sum(early) / len(early)
    return f"{grown / (0.7 * n / 1000):+.1f} MB per 1,000 lineages"


def mirrored(out: Path) -> str:
    """What MLflow has: child runs by state, and points."""
    if not (out / "mlflow.db").exists():
        return ""
    with sqlite3.connect(out / "mlflow.db") as database:
        states = database.execute("select status, count(*) from runs group by status").fetchall()
        ((points,),) = database.execute("select count(*) from metrics").fetchall()
    return f"; MLflow has {points:,} points, runs {dict(states)}"


def main() -> None:
    smallest = sys.argv[1:] == ["--smoke"]
    words = ["40", "20"] if smallest else [*sys.argv[1:], "10000", "2000"][:2]
    to_plan, to_run = map(int, words)
    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    ) as name:  # not the disk's pace
        plan(to_plan, Path(name))
        for tracked in ("untracked", "tracked"):
            run(to_run, tracked, Path(name))


if __name__ == "__main__":
    main()
