"""What a sweep's rows say, per cell over its seeds: drift against generation 0, accuracy, verdict,
statuses.

Pure functions of rows and outcomes; the interval of a cell is the range over its seeds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from engine.files import JsonObject
from engine.lineage.history import History
from engine.names import by_cell, names_of
from engine.settings import CollapseRule
from engine.spec import Sweep
from engine.status import Point, Status
from engine.store.keys import beside
from engine.store.rows import Generation

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
    """A cell's summary over its seeds."""

    label: str
    lineages: int
    generations: int  # committed, over all its lineages
    statuses: dict[str, int]
    metric: str
    start: Spread | None  # the metric at generation 0
    last: Spread | None  # ... and at the last generation that has it
    drift: Spread | None  # last / start
    accuracy: Spread | None
    collapsed: int | None  # lineages past the rule; None without a rule or without numbers
    judged: int

    @property
    def verdict(self) -> str:
        if self.collapsed is None:
            return "-"
        if self.collapsed in (0, self.judged):
            return "collapsed" if self.collapsed else "no"
        return f"collapsed {self.collapsed}/{self.judged}"


def headline(sweep: Sweep) -> str:
    """The metric to show where there is room for one: the collapse rule's, else the first one
    measured.
    """
    return sweep.collapse.metric if sweep.collapse else sweep.metrics[0].id if sweep.metrics else ""


def key_of(values: Iterable[str], metric: str) -> str:
    """The key a metric is shown by: its own, or the first of its parts (`moments` ->
    `moments/kl`).
    """
    keys = sorted(k for k in values if k == metric or k.startswith(f"{metric}/"))
    return keys[0] if keys else metric


def value(rows: Iterable[Generation], metric: str) -> float | None:
    """The metric in the first of these rows that has a finite value of it."""
    found = (row.values.get(_key_at(row, metric)) for row in rows)
    return next((v for v in found if v is not None and math.isfinite(v)), None)


def _key_at(row: Generation, metric: str) -> str:
    """The key a metric is shown by at one generation, also where it is undefined there: its floor
    or another of its parts never stands for it.
    """
    return key_of([*row.values, *row.undefined], metric)


def drift(rows: Sequence[Generation], metric: str) -> float | None:
    """The metric at the last generation that has it, as a multiple of generation 0; None where that
    has no meaning.
    """
    start, last = value(rows[:1], metric), value(reversed(rows), metric)
    return last / start if start and last is not None and start > 0 else None


def curve(rows: Iterable[Generation], rule: CollapseRule) -> list[Point]:
    """What a collapse rule reads of a lineage's rows."""
    metric, watched = rule.metric, rule.watched
    points = []
    for row in rows:
        key = _key_at(row, metric)
        floor = row.values.get(beside(key, "floor"))
        seen = row.values.get(_key_at(row, watched)) if watched else None
        due = any(_is_of(k, metric) for k in [*row.values, *row.undefined])
        points.append(Point(row.t, row.values.get(key), floor, seen, row.status, due))
    return points


def _is_of(key: str, metric: str) -> bool:
    return key == metric or key.startswith(f"{metric}/")


def collapsed(history: History, rule: CollapseRule | None) -> bool | None:
    """Whether a lineage is past the collapse rule; None when it cannot be judged."""
    if not rule or history.status in (Status.UNFINISHED, Status.FAILED):
        return None
    return rule.judge(curve(history.rows, rule)).verdict


def summarise(sweep: Sweep, histories: Mapping[str, History]) -> list[Cell]:
    """One summary per cell, in the order of the file."""
    known = set[str]()
    for history in histories.values():
        for row in history.rows:
            known.update(row.values, row.undefined)
    metric = key_of(known, headline(sweep))
    names = names_of(sweep)
    cells = []
    for members in by_cell(sweep.lineages).values():
        own = [histories[spec.id] for spec in members]
        cells.append(_cell(names.cell(members[0]), metric, own, sweep))
    return cells


def _cell(label: str, metric: str, histories: list[History], sweep: Sweep) -> Cell:
    verdicts = [v for h in histories if (v := collapsed(h, sweep.collapse)) is not None]
    return Cell(
        label=label,
        lineages=len(histories),
        generations=sum(len(h.rows) for h in histories),
        statuses=dict(Counter(h.status.value for h in histories)),
        metric=metric,
        start=Spread.of(value(h.rows[:1], metric) for h in histories),
        last=Spread.of(value(reversed(h.rows), metric) for h in histories),
        drift=Spread.of(drift(h.rows, metric) for h in histories),
        accuracy=Spread.of(value(reversed(h.rows), ACCURACY) for h in histories),
        collapsed=sum(verdicts) if verdicts else None,
        judged=len(verdicts),
    )


def to_json(sweep: Sweep, histories: Mapping[str, History]) -> JsonObject:
    """What `summary.json` holds: the cells, and every lineage's end."""
    cells = [{**asdict(cell), "verdict": cell.verdict} for cell in summarise(sweep, histories)]
    names = names_of(sweep)
    lineages = {
        h.spec.id: {
            "label": names.cell(h.spec),
            "seed": h.spec.seed,
            "t": h.t,
            "status": h.status.value,
            "reason": h.reason,
        }
        for h in histories.values()
    }
    statuses = Counter(v["status"] for v in lineages.values())
    head = {
        "name": sweep.name,
        "question": sweep.question,
        "generations": sweep.generations,
        "collapse": None if sweep.collapse is None else sweep.collapse.to_dict(),
    }
    return {**head, "statuses": dict(statuses), "cells": cells, "lineages": lineages}
