"""What lineages committed as a wide frame: a row per lineage and generation, the axes of the grid
as columns of their own types, every metric a column.

    lineage  seed  t  dataset  generator  policy  sampling  synthetic_fraction  n_real  what varies
    fid  fid_floor  fid_floor_sd  fid_n  ...  status  reason  undefined

An undefined value is NaN, with its reason in `undefined`.  A lineage that failed has a last row of
the generation that it failed at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import pandas as pd

from engine._tasks import of_key as task_of
from engine.lineage.history import History
from engine.names import PARTS, leaves
from engine.spec import LineageSpec
from engine.status import Status
from engine.store.keys import BESIDE, beside, metric_of
from engine.store.rows import Generation

SIZES = (("n_synthetic", "n_drawn"), ("arrival", "arrival"), ("tasks", "stream"))
ALWAYS = (*PARTS, "synthetic_fraction", "n_real")  # columns also where nothing of them varies
Row = Mapping[str, Any]
ByLineage = dict[str, object]  # a value of each lineage, by its id


def axes(specs: Iterable[LineageSpec]) -> dict[str, ByLineage]:
    """What tells cells apart: column -> the value of each lineage, by its id; None: it has none.

    The parts by name, synthetic_fraction and n_real always, other parameters and sizes where they
    vary.  A parameter is called by its own name, by `kind.name` where two kinds have it.
    """
    lineages = {spec.id: spec for spec in specs}
    found: dict[str, ByLineage] = {kind: {} for kind in ALWAYS}
    for lineage, spec in lineages.items():
        for kind in PARTS:
            found[kind][lineage] = getattr(spec, kind).name
        found["synthetic_fraction"][lineage] = spec.synthetic_fraction
        found["n_real"][lineage] = spec.n_real
    for (kind, name), values in _parameters(lineages).items():
        if _varies(lineages, kind, name, values):
            found[f"{kind}.{name}"] = values
    for size, shown in SIZES:
        if len({getattr(spec, size) for spec in lineages.values()}) > 1:
            values = {lineage: getattr(spec, shown) for lineage, spec in lineages.items()}
            found[size] = {k: str(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return _short(found)


def _parameters(lineages: Mapping[str, LineageSpec]) -> dict[tuple[str, str], ByLineage]:
    """Every parameter but the synthetic fraction: (kind, name) -> its value by lineage."""
    found: dict[tuple[str, str], ByLineage] = {}
    known: dict[tuple[str, str], dict[str, object]] = {}  # cells share their parts
    for lineage, spec in lineages.items():
        for kind in PARTS:
            part = getattr(spec, kind)
            own = known.setdefault((kind, part.text), leaves(part))
            for name, value in own.items():
                if (kind, name) != ("policy", "synthetic_fraction"):
                    scalar = not isinstance(value, list | dict)
                    shown = value if scalar else json.dumps(value)
                    found.setdefault((kind, name), {})[lineage] = shown
    return found


def _varies(
    lineages: Mapping[str, LineageSpec], kind: str, name: str, values: Mapping[str, Any]
) -> bool:
    """Whether one part of this name has several values: that two parts differ is no axis."""
    seen: dict[str, set[str]] = {}
    for lineage, value in values.items():
        seen.setdefault(getattr(lineages[lineage], kind).name, set()).add(json.dumps(value))
    return any(len(own) > 1 for own in seen.values())


def _short(found: Mapping[str, ByLineage]) -> dict[str, ByLineage]:
    """Parameters by their own names where these are nobody else's."""
    last = [name.partition(".")[2] or name for name in found]
    taken = {"lineage", "seed", "t", "status", "reason", "undefined"}
    return {
        short if last.count(short) == 1 and short not in taken else name: values
        for (name, values), short in zip(found.items(), last, strict=True)
    }


def wide(
    histories: Iterable[History], columns: Mapping[str, Mapping[str, Any]] | None = None
) -> pd.DataFrame:
    """The frame of these lineages, in their order.

    columns: what tells cells apart, see `axes`; left out: of these lineages.
    """
    found = list(histories)
    told = axes(own.spec for own in found) if columns is None else columns
    rows: list[Row] = []
    for own in found:
        rows += _rows(own, {name: values.get(own.spec.id) for name, values in told.items()})
    first = ["lineage", "seed", "t", *told]
    last = ["status", "reason", "undefined"]
    measured = dict.fromkeys(name for row in rows for name in row)
    order = [*first, *(name for name in measured if name not in {*first, *last}), *last]
    return typed(pd.DataFrame(rows, columns=order))


def _rows(own: History, about: Row) -> Iterable[Row]:
    about = {"lineage": own.spec.id, "seed": own.spec.seed, **about}
    for row in own.rows:
        yield {**about, "t": row.t, **row_of(row)}
    if own.failure is not None:
        end = {"status": Status.FAILED.value, "reason": own.reason, "undefined": ""}
        yield {**about, "t": max(own.failure.t, own.t + 1), **end}


def row_of(row: Generation) -> Row:
    """What a generation says: its numbers by column, its status, why values are undefined."""
    names = _columns(tuple(row.values))
    numbers = {names[key]: value for key, value in row.values.items()}
    nothing = {key: float("nan") for key in row.undefined}
    reasons = "; ".join(f"{key}: {reason}" for key, reason in row.undefined.items())
    end = {"status": row.status.value, "reason": row.reason, "undefined": reasons}
    return {**nothing, **numbers, **end}


@cache
def _columns(keys: tuple[str, ...]) -> dict[str, str]:
    """What each number of a row is called as a column: what stands beside a key by the key's name
    and an underscore, the count of a metric by the metric's, that of a task by the task's key.
    """
    named = {key: key for key in keys}
    for key in keys:
        for column in BESIDE:
            other = beside(key, column)
            if other != key and other in named:
                owner = metric_of(key) if column == "n" and task_of(key) is None else key
                named[other] = f"{owner}_{column}"
    return named


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns by what they hold: whole numbers that are missing here and there stay whole."""
    found = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype == object:
            column = column.infer_objects()
        known = column.dropna()
        whole = len(known) and all(isinstance(v, int) and not isinstance(v, bool) for v in known)
        found[name] = column.astype("Int64") if whole and len(known) < len(column) else column
    return pd.DataFrame(found, index=frame.index)
