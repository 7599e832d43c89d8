"""From the tidy frame to one outcome per lineage by the sweep's collapse rule
(engine/settings.py), and to times until collapse.

A lineage that has not reached its last generation is censored there: it is neither collapsed nor
safe, and never left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from engine.lineage.loop import ENDS
from engine.outcome.summary import key_of
from engine.settings import ABSORBING, CollapseRule, Judged, Point

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
    for about, points, end in curves(frame, rule):
        judged = rule.judge(points)
        whole = end["t"] == last or end["status"] in ENDS
        verdict = judged.verdict if whole or judged.absorbed else None
        censored = not judged.absorbed and (judged.t < last)
        undefined = judged.undefined or (
            "" if whole else f"unfinished: generation {end['t']} of {last}"
        )
        rows.append(
            {**about, **_numbers(judged, verdict), "censored": censored, "undefined": undefined}
            | _end(end)
        )
    return _frame(rows, [*ABOUT, "seed", *_NUMBERS, "censored", "undefined", "status", "reason"])


def times(
    frame: pd.DataFrame, rule: CollapseRule, *, generations: int | None = None
) -> pd.DataFrame:
    """One row per lineage: the first generation at which the rule holds (event True), or the last
    one seen (event False).

    fits is the number of trainings until then, one more than the generation (papers count either).
    """
    rows = []
    for about, points, end in curves(frame, rule):
        passed = rule.first_passage(points)
        t = end["t"] if passed is None else passed
        rows.append({**about, "t": t, "fits": t + 1, "event": passed is not None} | _end(end))
    return _frame(rows, [*ABOUT, "seed", "t", "fits", "event", "status", "reason"])


def curves(
    frame: pd.DataFrame, rule: CollapseRule
) -> Iterator[tuple[dict[str, Any], list[Point], dict[str, Any]]]:
    """Of every lineage: what it is, its curve as the rule reads it, and its last generation {t,
    status, reason}.
    """
    wide = generations_of(frame)
    value, watched = (
        _column(frame, rule.metric),
        _column(frame, rule.watched),
    )
    wide = wide.join(value, on=["lineage", "t"]).join(
        watched["value"].rename("watched"), on=["lineage", "t"]
    )
    for _, own in wide.groupby("lineage", observed=True, sort=False):
        due = own["due"].eq(True) | own["status"].isin(ABSORBING)
        columns = (
            own["t"],
            own["value"],
            own["floor"],
            own["watched"],
            own["status"].astype(str),
            due,
        )
        points = [
            Point(int(t), _some(v), _some(f), _some(w), s, bool(d))
            for t, v, f, w, s, d in zip(*columns, strict=True)
        ]
        first, last = own.iloc[0], own.iloc[-1]
        about = {name: first[name] for name in [*ABOUT, "seed"]}
        yield (
            about,
            points,
            {"t": int(last["t"]), "status": str(last["status"]), "reason": str(last["reason"])},
        )


def generations_of(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per lineage and generation, with its status."""
    return frame.drop_duplicates(["lineage", "t"])[
        [*ABOUT, "seed", "t", "status", "reason"]
    ].sort_values(["t"], kind="stable", ignore_index=True)


def shown_key(frame: pd.DataFrame, metric: str) -> str:
    """The key a metric is judged by: its own, or the first of its parts,
    as `ouro status` has it.
    """
    return key_of([str(k) for k in frame["key"].unique()], metric)


def _column(frame: pd.DataFrame, metric: str | None) -> pd.DataFrame:
    """Value and floor of a metric by lineage and generation; due where there is a row of it."""
    rows = frame[frame["key"] == shown_key(frame, metric)] if metric else frame.iloc[:0]
    return rows.assign(due=True).set_index(["lineage", "t"])[["value", "floor", "due"]]


def _last(frame: pd.DataFrame, generations: int | None) -> int:
    return generations if generations is not None else int(frame["t"].max()) if len(frame) else -1


_NUMBERS = ["t", "y", "level", "verdict", "value", "reference", "absorbed"]


def _numbers(judged: Judged, verdict: bool | None) -> dict[str, Any]:
    return {name: getattr(judged, name) for name in _NUMBERS} | {"verdict": verdict}


def _end(end: dict[str, Any]) -> dict[str, Any]:
    return {"status": end["status"], "reason": end["reason"]}


def _some(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns).sort_values(
        ["generator", "policy", "sampling", "synthetic_fraction", "seed"],
        kind="stable",
        ignore_index=True,
    )
