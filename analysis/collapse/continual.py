"""What is kept of earlier tasks, as tables for figures: a metric by task over the generations, each
of which learns one task.

The accuracy matrix a[t, j] of a cell is such a table of the metric `solver`.  What is said of it in
numbers (average accuracy, forgetting, backward transfer) is in engine/outcome/continual.py, from
where the terminal, `summary.json` and the tracker have it, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.frame.tables import over_seeds
from engine._tasks import of_key as task_of
from engine.outcome.continual import Kept
from engine.outcome.interval import Interval


def tasks_of(frame: pd.DataFrame, key: str) -> list[int]:
    """The tasks of which a key has rows, `<key>/task_<j>`, in their order."""
    known = {str(own): task_of(str(own)) for own in frame["key"].unique()}
    return sorted(j for own, j in known.items() if j is not None and own == f"{key}/task_{j}")


def by_task(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """A row per cell, task and generation from the one on that learns it: columns of `over_seeds`,
    task, and label (what the cell is called).

    frame: `frame.rows.from_store`.  key: such as `solver` or `alignment/auc`.
    """
    labels = frame.drop_duplicates("cell").set_index("cell")["label"].astype(str)
    parts = []
    for task in tasks_of(frame, key):
        own = over_seeds(frame, f"{key}/task_{task}")
        parts.append(own[own["t"] >= task].assign(task=task))
    table = pd.concat(parts) if parts else over_seeds(frame, f"{key}/task_0").assign(task=0)
    named = table.assign(label=[labels[cell] for cell in table["cell"]])
    return named.sort_values(["cell", "task", "t"], ignore_index=True)


def by_lineage(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """A row per lineage, task and generation with a value: label, seed, task, t, value; of the
    solver the accuracy matrices a[t, j].
    """
    keys = {f"{key}/task_{task}": task for task in tasks_of(frame, key)}
    own = frame[frame["key"].isin(keys) & frame["value"].notna()]
    tasks = own["key"].astype(str).map(keys).astype(int)
    labels = own["label"].astype(str)
    return own.assign(task=tasks, label=labels)[["label", "seed", "task", "t", "value"]]


def numbers(found: Sequence[Kept]) -> pd.DataFrame:
    """A row per cell: means over its lineages, with Student's 95 % limits over seeds.

    Columns cell, bound, tasks, lineages, then of accuracy, forgetting, transfer (and start, end,
    drift of the distance, which the column distance names) the mean, `_low`, `_high`; memory is
    the bytes per class that stand for the real data, where the sampling reports them; undefined
    says why there is no accuracy; words say it all, as the terminal does.
    """
    rows = []
    for own in found:
        about = {"cell": own.label, "bound": own.bound, "tasks": own.tasks}
        row: dict[str, object] = {**about, "lineages": len(own.chains)}
        for name in ("accuracy", "forgetting", "transfer"):
            row |= _limits(name, getattr(own, name))
        row["distance"] = own.distance
        for name in ("start", "end", "drift"):
            row |= _limits(name, getattr(own, name))
        row["memory"] = float("nan") if own.memory is None else own.memory
        row["words"] = own.words
        row["undefined"] = "" if own.accuracy is not None else own.why("accuracy")
        rows.append(row)
    return pd.DataFrame(rows)


def _limits(name: str, value: Interval | None) -> dict[str, float]:
    mean, low, high = (None,) * 3 if value is None else (value.mean, value.low, value.high)
    ends = {name: mean, f"{name}_low": low, f"{name}_high": high}
    return {k: float("nan") if v is None else v for k, v in ends.items()}
