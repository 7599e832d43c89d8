"""What lineages keep of earlier tasks, where real data arrive as tasks: generation t learns task t,
and is then tried on every task so far.

With a[t, j] the accuracy on task j after task t (metric `solver`, keys `solver/task_j`), of a chain
that has learnt tasks 0..T:

average accuracy   A_T = mean over j <= T of a[T, j]
forgetting         F_T = mean over j < T of (max over j <= s < T of a[s, j]) - a[T, j]
backward transfer  B_T = mean over j < T of a[T, j] - a[j, j]

(Lopez-Paz and Ranzato 1706.08840; forgetting: Chaudhry et al. 1801.10112.)  Drift is the same of a
distance d[t, j] between real and drawn samples of task j, in multiples of its floor at the same n:
the mean over earlier tasks when each was learnt, and after task T.

A number whose terms are not all there is undefined, and says which one is missing: a chain that
ended early, a metric that was not measured after every task, a task of which nothing was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from engine._tasks import of_key as task_of
from engine.files import JsonObject
from engine.lineage.history import History
from engine.lineage.recipe import path
from engine.names import by_cell, names_of
from engine.outcome.interval import Interval
from engine.outcome.summary import has_tasks
from engine.parts import Undefined
from engine.spec import LineageSpec, Sweep
from engine.store.keys import beside
from engine.store.rows import Generation

SOLVER = "solver"
DISTANCES = ("otdd", "fid")  # the first of these that is measured says whether replay drifts
MEMORY = "bytes_per_class"  # what a sampling reports that keeps moments in place of real data
Bound = Literal["", "lower", "upper"]


# ---- of one chain --------------------------------------------------------------------------------


def matrix(rows: Sequence[Generation], metric: str, last: int) -> np.ndarray:
    """Values of a metric on task j after task t, [last + 1, last + 1]; NaN where there is none.

    metric: its id; its values are those of the keys `<metric>/task_<j>`.
    """
    found = np.full((last + 1, last + 1), np.nan)
    for row in rows:
        for key, value in row.values.items():
            task = task_of(key)
            if task is None or key != f"{metric}/task_{task}" or not task <= row.t <= last:
                continue
            found[row.t, task] = value if math.isfinite(value) else np.nan
    return found


def average_accuracy(a: np.ndarray) -> float | Undefined:
    """A_T of a[t, j], [T + 1, T + 1]."""
    needed = np.zeros(a.shape, dtype=bool)
    needed[-1] = True
    return _gap(a, needed) or float(a[-1].mean())


def forgetting(a: np.ndarray) -> float | Undefined:
    """F_T of a[t, j]: how far each earlier task has fallen below its best, on average."""
    last = len(a) - 1
    needed = np.tri(len(a)).astype(bool)
    needed[:, last] = False
    if gap := _earlier(a) or _gap(a, needed):
        return gap
    best = [a[j:last, j].max() for j in range(last)]
    return float(np.mean(best - a[last, :last]))


def backward_transfer(a: np.ndarray) -> float | Undefined:
    """B_T of a[t, j]: how far each earlier task is above where it was learnt, on average."""
    start, end = when_learnt(a), at_the_end(a)
    if isinstance(start, Undefined) or isinstance(end, Undefined):
        return start if isinstance(start, Undefined) else end
    return end - start


def when_learnt(a: np.ndarray) -> float | Undefined:
    """The mean over earlier tasks of a[j, j]."""
    last = len(a) - 1
    needed = np.eye(len(a), dtype=bool)
    needed[last, last] = False
    return _earlier(a) or _gap(a, needed) or float(np.diag(a)[:last].mean())


def at_the_end(a: np.ndarray) -> float | Undefined:
    """The mean over earlier tasks of a[T, j]."""
    last = len(a) - 1
    needed = np.zeros(a.shape, dtype=bool)
    needed[last, :last] = True
    return _earlier(a) or _gap(a, needed) or float(a[last, :last].mean())


def _earlier(a: np.ndarray) -> Undefined | None:
    return Undefined("there is one task, and none before it") if len(a) < 2 else None


def _gap(a: np.ndarray, needed: np.ndarray) -> Undefined | None:
    """Which needed value is missing first."""
    missing = np.argwhere(needed & np.isnan(a))
    if not len(missing):
        return None
    t, task = missing[0]
    return Undefined(f"task {task} has no value after task {t}")


# ---- of a cell -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """What one lineage keeps; None where it is undefined, for the reasons given."""

    seed: int
    accuracy: float | None
    forgetting: float | None
    transfer: float | None
    start: float | None  # distance of earlier tasks when each was learnt, in multiples of its floor
    end: float | None  # ... and at the end
    memory: float | None  # bytes per class that stand for real data, as its sampling reports them
    undefined: Mapping[str, str]  # why, by the field


@dataclass(frozen=True)
class Kept:
    """What a cell keeps of earlier tasks: means over its lineages that have ended.

    bound     lower: generation t trains on task t alone; upper: on all real rows of all tasks, and
              on nothing drawn; '': neither.
    distance  the metric that start, end and drift are of; '' where none is measured by task.
    """

    label: str
    tasks: int  # that are learnt by the last generation
    bound: Bound
    accuracy: Interval | None
    forgetting: Interval | None
    transfer: Interval | None
    distance: str
    start: Interval | None
    end: Interval | None
    drift: Interval | None  # end - start
    memory: float | None  # bytes per class that its sampling keeps in place of real data
    chains: tuple[Chain, ...]

    @property
    def drifts(self) -> bool | None:
        """Whether the distance of earlier tasks grew beyond what seeds scatter; None where that
        cannot be said (one seed).
        """
        return None if self.drift is None or self.drift.low is None else self.drift.low > 0

    @property
    def words(self) -> str:
        """What it keeps, or why that is not known."""
        said = f"average accuracy not known ({self.why('accuracy')})"
        if self.accuracy is not None:
            said = f"average accuracy {self.accuracy.words()} after {self.tasks} tasks"
        if self.forgetting is not None:
            said += f", forgetting {self.forgetting.words()}"
        if self.end is not None:
            said += f"; {self.distance} of earlier tasks {self.end.words(2)} times its floor"
            said += "" if self.start is None else f", {self.start.mean:.2f} when each was learnt"
        return said + {"": "", "lower": " (lower bound)", "upper": " (upper bound)"}[self.bound]

    def why(self, name: str) -> str:
        """Why a number is undefined, in the words of the first lineage that has none."""
        found = [own.undefined[name] for own in self.chains if name in own.undefined]
        return found[0] if found else "no lineage has ended"

    def to_dict(self) -> JsonObject:
        """Plain values, as in JSON."""
        own = {"drifts": self.drifts, "words": self.words, "numbers": self.numbers}
        return {**asdict(self), **own}

    @property
    def numbers(self) -> dict[str, float]:
        """The means by chart name, as a tracker shows them of the sweep."""
        own = {"average_accuracy": self.accuracy, "forgetting": self.forgetting}
        own |= {"backward_transfer": self.transfer, f"{self.distance}_over_floor": self.end}
        return {f"{name}/{self.label}": v.mean for name, v in own.items() if v is not None}


def kept(sweep: Sweep, histories: Mapping[str, History]) -> list[Kept]:
    """One for every cell, in the order of the file; empty where no data arrive as tasks, or neither
    a solver nor a distance is measured.
    """
    if not has_tasks(sweep) or not measured_by(sweep, SOLVER, *DISTANCES):
        return []
    names = names_of(sweep)
    cells = by_cell(sweep.lineages).values()
    return [_kept(names.cell(own[0]), own, sweep, histories) for own in cells]


def measured_by(sweep: Sweep, *names: str) -> str:
    """The id of the first metric of these names, in their order; '' without one."""
    ids = {metric.part.name: metric.id for metric in reversed(sweep.metrics)}
    return next((ids[name] for name in names if name in ids), "")


def _kept(
    label: str, specs: Sequence[LineageSpec], sweep: Sweep, histories: Mapping[str, History]
) -> Kept:
    solver, distance = measured_by(sweep, SOLVER), measured_by(sweep, *DISTANCES)
    last = sweep.generations
    ended = [own for spec in specs if (own := histories[spec.id]).counts]
    chains = tuple(chain(own, solver, distance, last) for own in ended)
    drift = [None if c.start is None or c.end is None else c.end - c.start for c in chains]
    return Kept(
        label=label,
        tasks=last + 1,
        bound=bound_of(specs[0], last),
        accuracy=Interval.of((own.accuracy for own in chains), within=(0, 1)),
        forgetting=Interval.of((own.forgetting for own in chains), within=(-1, 1)),
        transfer=Interval.of((own.transfer for own in chains), within=(-1, 1)),
        distance=distance,
        start=Interval.of((own.start for own in chains), within=(0, math.inf)),
        end=Interval.of((own.end for own in chains), within=(0, math.inf)),
        drift=Interval.of(drift),
        memory=next((own.memory for own in chains if own.memory is not None), None),
        chains=chains,
    )


def chain(history: History, solver: str, distance: str, last: int) -> Chain:
    """What a lineage that has ended keeps after task `last`, by the ids of the metrics."""
    a = matrix(history.rows, solver, last)
    d = matrix(history.rows, distance, last) / _floors(history.rows, distance, last)
    found = {
        "accuracy": average_accuracy(a),
        "forgetting": forgetting(a),
        "transfer": backward_transfer(a),
        "start": when_learnt(d),
        "end": at_the_end(d),
    }
    early = f"it ended at generation {history.t} of {last}: {history.status.value}"
    why = {k: value.reason for k, value in found.items() if isinstance(value, Undefined)}
    if history.t < last:
        why = dict.fromkeys(why, early)
    elif not solver:
        why |= {k: "the metric solver is not measured" for k in why if k not in ("start", "end")}
    numbers = {k: None if isinstance(v, Undefined) else v for k, v in found.items()}
    memory = history.rows[-1].report.get(MEMORY) if history.rows else None
    return Chain(seed=history.spec.seed, memory=memory, undefined=why, **numbers)


def _floors(rows: Sequence[Generation], metric: str, last: int) -> np.ndarray:
    """What real samples reach against real ones, by generation and task; NaN where that is not
    known, or nothing can be a multiple of it.
    """
    found = np.full((last + 1, last + 1), np.nan)
    for row in rows[: last + 1]:
        for task in range(row.t + 1):
            floor = row.values.get(beside(f"{metric}/task_{task}", "floor"), math.nan)
            found[row.t, task] = floor if floor > 0 else np.nan
    return found


def bound_of(spec: LineageSpec, last: int) -> Bound:
    """Which bound a workflow is of what replay can reach, by the rows of its last generation."""
    recipe = path(spec, last)[last].recipe
    sources = {source for pick in recipe for source in pick.sources}
    if last < 1 or any(source >= 0 for source in sources):
        return ""
    if sources == {-1}:
        return "lower"
    earlier = sum(pick.count for pick in recipe if -1 not in pick.sources)
    return "upper" if earlier == last * spec.n_real else ""
