"""What a sweep's rows say, per cell over its seeds: drift against generation 0, accuracy, verdict,
statuses.

Pure functions of rows and outcomes; the interval of a cell is the range over its seeds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from engine._tasks import of_key as task_of
from engine.lineage.history import History
from engine.names import by_cell, names_of
from engine.settings import CollapseRule
from engine.spec import Sweep
from engine.status import Point
from engine.store.keys import beside, metric_of
from engine.store.rows import Generation

By = Literal["ratio", "difference"]
ACCURACY = "classifier_accuracy"


@dataclass(frozen=True)
class Spread:
    """Mean, least and greatest over the seeds of a cell."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        known = [v for v in values if v is not None and math.isfinite(v)]
        return cls(sum(known) / len(known), min(known), max(known), len(known)) if known else None


@dataclass(frozen=True)
class Cell:
    """A cell's summary over its seeds; its numbers are those of the lineages that have ended."""

    label: str
    lineages: int
    generations: int  # committed, over all its lineages
    statuses: dict[str, int]
    metric: str
    start: Spread | None  # the metric at generation 0
    last: Spread | None  # ... and at the last generation at which it was due
    drift: Spread | None  # last / start, or last - start; None where these are of other tasks
    accuracy: Spread | None
    collapsed: int | None  # past the level at the last generation; None: no rule, or no numbers
    judged: int
    passed: int | None = None  # past it at some generation (first passage), come back or not
    n: int | None = None  # samples of each generation that the metric compares
    drift_by: By = "ratio"

    @property
    def verdict(self) -> str:
        if self.collapsed is None:
            return "-"
        if self.collapsed in (0, self.judged):
            return "collapsed" if self.collapsed else "no"
        return f"collapsed {self.collapsed}/{self.judged}"


def at_start(rows: Sequence[Generation], key: str) -> float | None:
    """The number of a key at generation 0, of a task's at that at which the task arrived; None
    where it has none.
    """
    first = next((row for row in rows if row.t == (task_of(key) or 0)), None)
    return None if first is None else _known(first.values.get(key))


def at_end(rows: Sequence[Generation], key: str) -> float | None:
    """The number of a key at the last generation at which it was due; None where it has none there,
    whatever an earlier generation had.
    """
    last = next((row for row in reversed(rows) if _is_due(row, key)), None)
    return None if last is None else _known(last.values.get(key))


def drift(rows: Sequence[Generation], key: str, by: By = "ratio") -> float | None:
    """The end as a multiple of generation 0, or less it; None where that has no meaning."""
    start, end = at_start(rows, key), at_end(rows, key)
    if by == "difference":
        return end - start if start is not None and end is not None else None
    return end / start if start is not None and end is not None and start > 0 else None


def has_tasks(sweep: Sweep) -> bool:
    """Whether real data arrive as tasks, in any of its cells."""
    return any(spec.tasks is not None for spec in sweep.lineages)


def has_drift(sweep: Sweep) -> bool:
    """Whether the headline is about the same data at generation 0 and at the end: not where each
    generation adds a task, unless it is the metric of one.
    """
    return not has_tasks(sweep) or task_of(sweep.headline) is not None


def curve(rows: Iterable[Generation], rule: CollapseRule) -> list[Point]:
    """What a collapse rule reads of a lineage's rows."""
    key, watched = rule.metric, rule.watched
    points = []
    for row in rows:
        seen = row.values.get(watched) if watched else None
        floor, why = row.values.get(beside(key, "floor")), row.undefined.get(key, "")
        due = _is_due(row, key)
        points.append(Point(row.t, row.values.get(key), floor, seen, row.status, due, why))
    return points


def _is_due(row: Generation, key: str) -> bool:
    """Whether a generation has or lacks a number, rather than was not to have it: its metric was
    measured there, or the lineage is in a state in which nothing can be.
    """
    own = metric_of(key)
    return row.status.absorbing or any(metric_of(k) == own for k in (*row.values, *row.undefined))


def _known(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def collapsed(history: History, rule: CollapseRule | None) -> bool | None:
    """Whether a lineage is past the collapse rule; None when it cannot be judged."""
    if not rule or not history.counts:
        return None
    return rule.judge(curve(history.rows, rule)).verdict


def passed(history: History, rule: CollapseRule) -> bool:
    """Whether a lineage was past the collapse rule at some generation (first passage)."""
    return rule.first_passage(curve(history.rows, rule)) is not None


def summarise(sweep: Sweep, histories: Mapping[str, History]) -> list[Cell]:
    """One summary per cell, in the order of the file."""
    names = names_of(sweep)
    cells = []
    for members in by_cell(sweep.lineages).values():
        own = [histories[spec.id] for spec in members]
        cells.append(_cell(names.cell(members[0]), own, sweep))
    return cells


def _cell(label: str, histories: list[History], sweep: Sweep) -> Cell:
    key, accuracy = sweep.headline, sweep.key_of(ACCURACY)
    verdicts = [v for h in histories if (v := collapsed(h, sweep.collapse)) is not None]
    ended = [h for h in histories if h.counts]
    rule = sweep.collapse
    moved = (drift(h.rows, key, sweep.drifts_by) for h in ended)
    return Cell(
        label=label,
        lineages=len(histories),
        generations=sum(len(h.rows) for h in histories),
        statuses=dict(Counter(h.status.value for h in histories)),
        metric=key,
        start=Spread.of(at_start(h.rows, key) for h in ended),
        last=Spread.of(at_end(h.rows, key) for h in ended),
        drift=Spread.of(moved) if has_drift(sweep) else None,
        accuracy=Spread.of(at_end(h.rows, accuracy) for h in ended),
        collapsed=sum(verdicts) if verdicts else None,
        judged=len(verdicts),
        passed=sum(passed(h, rule) for h in ended) if rule and verdicts else None,
        n=sweep.n_in(histories[0].spec, metric_of(key)),
        drift_by=sweep.drifts_by,
    )
