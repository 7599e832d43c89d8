"""What the engine adds to the work: Tune against the plain loop; commit, tracking and metrics as a
share of a generation.

    python tests/bench/bench_overhead.py [tune] [share]    # --smoke: both, the smallest size

(a) Seconds that Tune adds to a tiny lineage (10 generations in a block) and to a generation that is
a step of its own, once the actor is warm; one worker, so that both sides do the same work one after
the other.  Goals: 0.1 s and 12 ms.

(e) The quickstart's generations in this process: committing them, measuring them and mirroring them
into MLflow, as shares of the whole.  Goal: under 15 % together.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from engine._memory import set_threads  # noqa: E402
from engine.experiment.sources import load  # noqa: E402
from engine.lineage.history import histories, history, lineage_of  # noqa: E402
from engine.running.job import Job  # noqa: E402
from engine.running.signals import Interrupt  # noqa: E402
from engine.running.worker import run_local  # noqa: E402
from engine.spec import Sweep  # noqa: E402
from engine.store.store import Store  # noqa: E402
from engine.tracking.recorder import Recorder  # noqa: E402

GOAL_LINEAGE, GOAL_GENERATION, GOAL_SHARE = 0.1, 0.012, 0.15
SMOKE = "--smoke" in sys.argv
# rounds of the plain loop; lineages after which an actor counts as warm
ROUNDS, WARM = (1, 1) if SMOKE else (3, 5)
SEEDS = {"lineage": 2, "generation": 2} if SMOKE else {"lineage": 60, "generation": 20}
SHORT = ["generations=2", "base.generator.steps=5"] if SMOKE else []  # of the quickstart


class Clock:
    """When each lineage ended, and what it computed."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def row(self, *_: Any) -> None: ...

    def note(self, text: str) -> None: ...

    def tick(self) -> None: ...

    def ended(self, lineage: str, status: str) -> None:
        assert status == "ok", status
        self.ends.append(time.perf_counter())

    def each(self) -> list[float]:
        """Seconds of each lineage after the warm ones."""
        return [b - a for a, b in zip(self.ends[WARM - 1 :], self.ends[WARM:], strict=False)]


@contextlib.contextmanager
def tiny(unit: str) -> Iterator[tuple[Sweep, list[Job]]]:
    """Gaussian lineages of different seeds, so that nothing is shared: in blocks, or with a step
    for each generation.
    """
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "tiny.yaml"
        file.write_text(
            "base: {dataset: gaussian, generator: gaussian, n_real: 100}\ngenerations: 10\n"
        )
        sweep = load(file, [f"seeds={SEEDS[unit]}", f"out={name}/out"])
        store = Store(sweep.out)
        Path(store.root).mkdir()
        jobs = [Job.of(sweep, store, spec, sweep.generations) for spec in sweep.lineages]
        yield sweep, jobs if unit == "lineage" else [replace(job, together=0.0) for job in jobs]


def through_tune(unit: str) -> float:
    """Seconds per lineage; a run of its own, with one worker."""
    from engine.running.ray_tune import run_sweep

    with tiny(unit) as (sweep, jobs):
        clock = Clock()
        run_sweep(jobs, Store(sweep.out), clock, Interrupt(), cpus=1)
        return median(clock.each())


def plain(unit: str) -> float:
    with tiny(unit) as (_, jobs):
        clock = Clock()
        run_local(jobs, clock)
        return median(clock.each())


def tune() -> bool:
    """(a); medians over lineages, sides in turn."""
    passed = True
    for unit, per, goal in (("lineage", 1, GOAL_LINEAGE), ("generation", 11, GOAL_GENERATION)):
        pairs = [(plain(unit), through_tune(unit)) for _ in range(ROUNDS)]
        loop, tuned = (median(side) / per for side in zip(*pairs, strict=True))
        passed &= (good := tuned - loop < goal)
        said = (
            f"plain loop {1e3 * loop:6.1f} ms   Tune {1e3 * tuned:6.1f} ms   added "
            f"{1e3 * (tuned - loop):6.1f} ms"
        )
        print(
            f"(a) per {unit:10s} {said}   goal {1e3 * goal:.0f} ms   {'ok' if good else 'MISSED'}",
            flush=True,
        )
    return passed


# ---- (e) -----------------------------------------------------------------------------------------


def timed(spent: dict[str, float], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its time added under `name` (once, where it calls itself or another of the same
    name).
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if spent.get("inside"):
            return function(*args, **kwargs)
        spent["inside"], started = 1.0, time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent["inside"] = 0.0
            spent[name] += time.perf_counter() - started

    return run


def share() -> bool:
    """(e): one lineage of each policy at its largest fraction; founders, which pay for imports, are
    left out.
    """
    with tempfile.TemporaryDirectory() as name:
        sweep = load(
            ROOT / "experiments" / "quickstart.yaml", ["seeds=1", f"out={name}/out", *SHORT]
        )
        sweep = replace(sweep, lineages=sweep.lineages[-3:])
        set_threads(1)
        store, spent = Store(sweep.out), defaultdict[str, float](float)
        recorder = Recorder(sweep, store)
        recorder._open()
        chains = [lineage_of(sweep, store, spec) for spec in sweep.lineages]
        for chain in chains:
            chain.advance()
            recorder._mirror(history(sweep, recorder.store, chain.spec))
        mirror = timed(spent, "tracking", recorder._mirror)
        read = timed(spent, "tracking", history)
        _instrument(store, chains, spent)
        started = time.perf_counter()
        for chain in chains:
            while not chain.done:
                chain.advance()
                mirror(read(sweep, recorder.store, chain.spec))
        whole = time.perf_counter() - started
        finished = all(found.finished for found in histories(sweep, store).values())
        assert finished and not recorder.tracker.behind, recorder.trouble
    generations = sum(chain.t - 1 for chain in chains)
    parts = {k: v for k, v in spent.items() if k != "inside"}
    for part, seconds in parts.items():
        print(
            f"(e) {part:20s} {1e3 * seconds / generations:7.1f} ms per generation   "
            f"{100 * seconds / whole:5.1f} %"
        )
    total = sum(parts.values()) / whole
    said = (
        f"{100 * total:.1f} % of {1e3 * whole / generations:.0f} ms per generation of the "
        "quickstart"
    )
    print(
        f"(e) together  {said}   goal {100 * GOAL_SHARE:.0f} %   "
        f"{'ok' if total < GOAL_SHARE else 'MISSED'}"
    )
    return total < GOAL_SHARE


def _instrument(store: Store, chains: list[Any], spent: dict[str, float]) -> None:
    for name in ("put", "commit", "write_lineage"):
        setattr(store, name, timed(spent, "commit", getattr(store, name)))
    for chain in chains:
        measured = chain._measured
        chain._measured = lambda metric, node, measured=measured: timed(spent, metric.id, measured)(
            metric, node
        )


if __name__ == "__main__":
    asked = [word for word in sys.argv[1:] if word != "--smoke"] or ["tune", "share"]
    results = [{"tune": tune, "share": share}[word]() for word in asked]
    sys.exit(0 if all(results) or SMOKE else 1)
