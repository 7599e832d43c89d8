"""From the tidy frame to one outcome per lineage by the sweep's collapse rule
(engine/settings.py), and to times until collapse.

A lineage that has not reached its last generation is censored there: it is neither collapsed nor
safe, and never left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.settings import CollapseRule
from engine.status import Judged, Point, Status
from engine.store.keys import metric_of

ABOUT = [
    "lineage",
    "cell",
    "label",
    "workflow",
    "dataset",
    "generator",
    "policy",
    "sampling",
    "synthetic_fraction",
    "n_real",
    "n_synthetic",
]


def functional(
    frame: pd.DataFrame, rule: CollapseRule, *, generations: int | None = None
) -> pd.DataFrame:
    """One row per lineage: y against the level (see `settings.Judged`), verdict (True, False or
    None), censored, status, reason.

    y          grows as things get worse; +inf in an absorbing state, NaN (reason in `undefined`)
               where it has no value.
    t          the generation that y was read at.
    censored   the lineage ended before its last generation, so y is that of an earlier one: a
               finding, or it is unfinished; generations: the last one that was asked for (default:
               the last one in the frame).
    verdict    None for unfinished lineages, too.
    """
    last = _last(frame, generations)
    rows = []
    for curve in curves(frame, rule):
        judged, end = rule.judge(curve.points), curve.end
        whole = end.t == last or end.status.ends
        unfinished = "" if whole else f"unfinished: generation {end.t} of {last}"
        row = {**curve.about, **_numbers(judged)}
        row["verdict"] = judged.verdict if whole or judged.absorbed else None
        row["censored"] = not judged.absorbed and (judged.t < last)
        row["undefined"] = judged.undefined or unfinished
        row["finished"] = whole
        rows.append({**row, "status": end.status.value, "reason": end.reason})
    said = ["censored", "undefined", "finished", "status", "reason"]
    return _frame(rows, [*ABOUT, "seed", *_NUMBERS, *said])


def times(
    frame: pd.DataFrame, rule: CollapseRule, *, generations: int | None = None
) -> pd.DataFrame:
    """One row per lineage: the first generation at which the rule holds (event True), or the last
    one seen (event False).

    fits is the number of trainings until then, one more than the generation (papers count either).
    """
    rows = []
    for curve in curves(frame, rule):
        passed, end = rule.first_passage(curve.points), curve.end
        t = end.t if passed is None else passed
        row = {**curve.about, "t": t, "fits": t + 1, "event": passed is not None}
        rows.append({**row, "status": end.status.value, "reason": end.reason})
    return _frame(rows, [*ABOUT, "seed", "t", "fits", "event", "status", "reason"])


@dataclass(frozen=True)
class End:
    """The last generation of a lineage."""

    t: int
    status: Status
    reason: str


@dataclass(frozen=True)
class Curve:
    """A lineage: what it is (by the columns of ABOUT), its curve as the rule reads it, its end."""

    about: Mapping[str, object]
    points: list[Point]
    end: End


def curves(frame: pd.DataFrame, rule: CollapseRule) -> Iterator[Curve]:
    """One for every lineage."""
    place = ["lineage", "t"]
    value = _column(frame, rule.metric)[["value", "floor", "undefined"]]
    watched = _column(frame, rule.watched)["value"].rename("watched")
    measured = frame[frame["metric"] == metric_of(rule.metric)].drop_duplicates(place)
    due = measured.assign(due=True).set_index(place)["due"]
    wide = generations_of(frame).join(value, on=place).join(watched, on=place).join(due, on=place)
    for _, own in wide.groupby("lineage", observed=True, sort=False):
        first, last = own.iloc[0], own.iloc[-1]
        about = {name: first[name] for name in [*ABOUT, "seed"]}
        end = End(int(last["t"]), Status(last["status"]), str(last["reason"]))
        yield Curve(about, _points(own), end)


def _points(own: pd.DataFrame) -> list[Point]:
    """The curve of one lineage; a generation that was absorbed needs no row of the metric."""
    points = []
    why = own["undefined"].astype(object).where(own["undefined"].notna(), "")
    own = own.assign(due=own["due"].eq(True), undefined=why)
    columns = ["t", "value", "floor", "watched", "status", "due", "undefined"]
    for t, value, floor, watched, name, due, why in own[columns].itertuples(index=False):
        status = Status(name)
        seen = (_some(value), _some(floor), _some(watched))
        points.append(Point(int(t), *seen, status, bool(due) or status.absorbing, str(why)))
    return points


def generations_of(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per lineage and generation, with its status."""
    return frame.drop_duplicates(["lineage", "t"])[
        [*ABOUT, "seed", "t", "status", "reason"]
    ].sort_values(["t"], kind="stable", ignore_index=True)


def _column(frame: pd.DataFrame, key: str | None) -> pd.DataFrame:
    """The rows of a key by lineage and generation."""
    rows = frame[frame["key"] == key] if key else frame.iloc[:0]
    return rows.set_index(["lineage", "t"])


def _last(frame: pd.DataFrame, generations: int | None) -> int:
    return generations if generations is not None else int(frame["t"].max()) if len(frame) else -1


_NUMBERS = ["t", "y", "level", "verdict", "value", "reference", "absorbed"]


def _numbers(judged: Judged) -> dict[str, object]:
    return {name: getattr(judged, name) for name in _NUMBERS}


def _some(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _frame(rows: list[dict[str, object]], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns).sort_values(
        ["generator", "policy", "sampling", "synthetic_fraction", "seed"],
        kind="stable",
        ignore_index=True,
    )
