"""Imagined lineages that learn tasks one after another: their rows, and a frame of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.frame.rows import tidy
from engine.lineage.history import History
from engine.names import names_of
from engine.spec import Sweep
from engine.status import Status
from engine.store.rows import Generation
from tests.support.rows import generation
from tests.support.sweeps import sweep_of

FLOOR = 25.0
STREAM = """
# Question: what is kept of three tasks?
base:
  dataset: digits
  generator: {name: vae, latent: 2, steps: 5}
  n_real: 20
  arrival: tasks
  tasks: [[0, 1], [2, 3], [4, 5]]
grid:
  policy:
    - {name: replay, replayed: false, real: 0}
    - {name: replay, replayed: false, real: all}
    - {name: replay, replayed: false, real: 2}
    - {name: replay}
seeds: 3
generations: 2
metrics: [solver, otdd]
"""
NONE, JOINT, BUFFER, REPLAY = range(4)  # its cells, in the order of the file


def stream(folder: Path, *overrides: str) -> Sweep:
    """A sweep of the bounds, a buffer, and plain replay; nothing of it is run."""
    return sweep_of(STREAM, folder, *overrides)


def rows(lineage: str, a: np.ndarray, d: np.ndarray) -> list[Generation]:
    """A generation per row of a[t, j], the accuracy on task j after task t, and d[t, j], its
    distance; NaN is undefined.
    """
    found = []
    for t in range(len(a)):
        values = {"solver": float(np.nanmean(a[t])), "solver/joint": 0.98}
        values["solver/chance"] = 1 / (2 * t + 2)
        undefined: dict[str, str] = {}
        for j in range(t + 1):
            _put(f"solver/task_{j}", a[t, j], values, undefined)
            _put(f"otdd/task_{j}", d[t, j], values, undefined)
            values |= {f"otdd/task_{j}_floor": FLOOR, f"otdd/task_{j}_floor_sd": 1.0}
        found.append(generation(lineage, t, values, undefined=undefined))
    return found


def _put(key: str, value: float, values: dict[str, float], undefined: dict[str, str]) -> None:
    if np.isnan(value):
        undefined[key] = "nothing of its classes was drawn"
    else:
        values[key] = float(value)


def fading(seed: int, left: float, drift: float, tasks: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """a[t, j] and d[t, j]: with every later task accuracy is multiplied by `left`, and the distance
    grows by `drift` floors; both a little by seed.
    """
    age = np.subtract.outer(np.arange(tasks), np.arange(tasks)).astype(float)  # [t, j]
    age[age < 0] = np.nan
    return (0.98 - 0.002 * seed) * left**age, FLOOR * (1.5 + 0.01 * seed + drift * age)


def imagined(sweep: Sweep, cells: Sequence[tuple[float, float]]) -> dict[str, History]:
    """A history of every lineage, by what is left and by the drift of its cell."""
    places = {cell: place for place, cell in enumerate(dict.fromkeys(_cells(sweep)))}
    found = {}
    for spec in sweep.lineages:
        made = rows(spec.id, *fading(spec.seed, *cells[places[spec.cell_id]]))
        found[spec.id] = History(spec, tuple(made), Status.OK)
    return found


def _cells(sweep: Sweep) -> list[str]:
    return [spec.cell_id for spec in sweep.lineages]


def frame(sweep: Sweep, histories: Mapping[str, History]) -> pd.DataFrame:
    """As it is read from a store."""
    made = (row for own in histories.values() for row in own.rows)
    return tidy(made, {spec.id: spec for spec in sweep.lineages}, sweep.name)


def labels(sweep: Sweep) -> list[str]:
    """What the cells are called."""
    names = names_of(sweep)
    return list(dict.fromkeys(names.cell(spec) for spec in sweep.lineages))
