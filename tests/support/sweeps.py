"""Small sweeps for tests, run in this process without Ray, and comparisons of what they leave
behind.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from engine.experiment.sources import load
from engine.lineage.loop import Lineage
from engine.spec import Sweep
from engine.store.store import Store

GAUSSIAN = """
# Question: a test of the loop
base:
  dataset: {name: gaussian, d: 2, replicates: 3}
  generator: gaussian
  n_real: 30
grid:
  policy: [replace, accumulate, augment]
  policy.synthetic_fraction: [0.0, 0.25, 0.5, 0.75]
seeds: 2
generations: 3
metrics: [moments]
"""

VOLATILE = ("time", "seconds", "machine", "speed", "files")


def sweep_of(text: str, folder: Path, *overrides: str) -> Sweep:
    """The sweep of an experiment given as text."""
    file = folder / "experiment.yaml"
    if (
        not file.exists() or file.read_text() != text
    ):  # several processes may read one file: it is never half written
        half = folder / f"experiment.{os.getpid()}.tmp"
        half.write_text(text)
        half.replace(file)
    if not any(own.startswith("out=") for own in overrides):
        overrides = (f"out={folder / 'out'}", *overrides)
    return load(file, list(overrides))


def lineages(sweep: Sweep, store: Store | None = None) -> list[Lineage]:
    store = store or Store(sweep.out)
    return [
        Lineage(s, store, generations=sweep.generations, metrics=sweep.metrics_of(s))
        for s in sweep.all_lineages
    ]


def run(sweep: Sweep, store: Store | None = None, seconds: float = 0) -> list[Lineage]:
    """Run every lineage to its end; seconds > 0 commits cheap generations in blocks."""
    chains = lineages(sweep, store)
    for chain in chains:
        while not chain.done:
            chain.advance_for(seconds)
    return chains


def resume(sweep: Sweep, store: Store, seconds: float = 0) -> None:
    """Run what lacks something, as `ouro run` does."""
    lacking = [not chain.complete() for chain in lineages(sweep, Store(store.url, repairs=False))]
    for chain in itertools.compress(lineages(sweep, store), lacking):
        while not chain.done:
            chain.advance_for(seconds)


def results(sweep: Sweep, store: Store | None = None) -> dict[tuple[str, int], dict[str, Any]]:
    """Every row by lineage and generation, without what may differ between two runs: times and the
    machine.
    """
    found = {}
    for chain in lineages(sweep, store):
        for row in chain.rows():
            known = row.to_json().items()
            found[row.lineage, row.t] = {k: v for k, v in known if k not in VOLATILE}
    return found


def files(out: Path) -> dict[str, bytes]:
    """The bytes of all committed weights and samples, by path."""
    kept = [
        p
        for folder in ("models", "draws")
        for p in sorted((out / folder).rglob("*"))
        if p.is_file()
    ]
    return {
        p.relative_to(out).as_posix(): p.read_bytes()
        for p in kept
        if p.name != "row.json" and p.suffix != ".tmp"
    }
