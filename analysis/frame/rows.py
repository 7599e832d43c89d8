"""A store or an MLflow server -> one tidy frame: a row per lineage, generation and metric key.

    frame = from_store("experiments/quickstart.yaml")      # or a Sweep, or an output folder
    frame = from_mlflow("http://127.0.0.1:5000", "quickstart")

Both give the same frame.  What belongs to a number stands beside it instead of below it: the
                           replicates' se and quantiles, the
number of samples compared, the real-vs-real floor.  What fitting and sampling told (a loss, an
acceptance) are metrics named
fit/... and report/...  An undefined value is NaN with its reason, never a missing row; a generation
                        that ended its lineage
before anything was measured (a model that diverged) has one row whose metric and key are empty.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
from rich.progress import track

from analysis.frame.tidy import Table
from engine.experiment.reader import load
from engine.lineage.history import Looking
from engine.lineage.loop import ENDS
from engine.lineage.recipe import path
from engine.spec import LineageSpec, Sweep
from engine.store.store import sha256

Row = Mapping[str, Any]
BODY = slice(88, -2)  # of a file of the store: {"sha256": "<64 digits>", "value": <body>}\n
DIGEST = slice(12, 76)
SILENT = {
    "status": "ok",
    "reason": "",
    "fit": {},
}  # what most models of closed forms say, once for all of them


def from_store(source: Sweep | str, *, progress: bool = True) -> pd.DataFrame:
    """The frame of a sweep, of an experiment file, or of everything in an output folder (then every
    metric found in it).
    """
    sweep = (
        load(source) if isinstance(source, str) and source.endswith((".yaml", ".yml")) else source
    )
    store = Reading(sweep.out if isinstance(sweep, Sweep) else sweep)
    specs = (
        {s.id: s for s in sweep.lineages} if isinstance(sweep, Sweep) else dict(_recorded(store))
    )
    name = sweep.name if isinstance(sweep, Sweep) else store.root.rsplit("/", 1)[-1]
    table = Table(name, specs)
    shown = track(
        specs.values(), "reading lineages", transient=True, disable=not progress or len(specs) < 50
    )
    for spec in shown:
        for row in store.generations(spec, sweep if isinstance(sweep, Sweep) else None):
            table.add(spec.id, row)
    return table.frame()


def from_mlflow(uri: str, sweep_name: str, *, sweep_id: str | None = None) -> pd.DataFrame:
    """The same frame, by the MLflow API alone."""
    from engine.tracking.mlflow_runs import rows, specs

    return tidy(rows(uri, sweep_name, sweep_id), specs(uri, sweep_name, sweep_id), sweep_name)


def tidy(
    rows: Iterable[Row], specs: Mapping[str, LineageSpec], sweep_name: str = ""
) -> pd.DataFrame:
    """The frame of rows as `Lineage.rows()` gives them."""
    table = Table(sweep_name, specs)
    for row in rows:
        table.add(row["lineage"], row)
    return table.frame()


Shape = dict[str, tuple[int, tuple[str, ...]]]  # metric -> where its numbers begin, their keys


class Packed(Mapping[str, Any]):
    """A draw's metrics in little memory: the numbers in one array, the keys shared by all draws
    that have the same.
    """

    def __init__(self, shape: Shape, numbers: array[float], undefined: dict[str, Any]) -> None:
        self.shape, self.numbers, self.undefined = shape, numbers, undefined

    @classmethod
    def of(cls, metrics: dict[str, Any], shapes: dict[Any, Shape]) -> Packed:
        keys = tuple((metric, tuple(found["values"])) for metric, found in metrics.items())
        if keys not in shapes:
            starts = itertools.accumulate((len(names) for _, names in keys), initial=0)
            shapes[keys] = {
                metric: (start, names) for (metric, names), start in zip(keys, starts, strict=False)
            }
        numbers = array("d", [v for found in metrics.values() for v in found["values"].values()])
        undefined = {
            metric: found["undefined"] for metric, found in metrics.items() if found["undefined"]
        }
        return cls(shapes[keys], numbers, undefined)

    def __getitem__(self, metric: str) -> dict[str, dict[str, Any]]:
        start, keys = self.shape[metric]
        values = dict(zip(keys, self.numbers[start : start + len(keys)], strict=True))
        return {"values": values, "undefined": self.undefined.get(metric, {})}

    def __contains__(self, metric: object) -> bool:
        return metric in self.shape

    def __iter__(self) -> Iterator[str]:
        return iter(self.shape)

    def __len__(self) -> int:
        return len(self.shape)


class Reading(Looking):
    """A store read from end to end: digests are checked on the bytes as they were written, and of a
    block only what the frame shows is kept.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._shapes: dict[Any, Shape] = {}
        self.refresh()

    def read_json(self, path: str) -> Any:
        data = self.read(path)
        if data is not None and data[DIGEST] == sha256(data[BODY]).encode():
            return json.loads(data[BODY])
        return super().read_json(path)

    def _add_block(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            if row["kind"] == "draw":
                self._blocks["draw"][row["key"]] = self._draw(row)
            else:
                slim = {k: row[k] for k in ("status", "reason", "fit")}
                self._blocks["model"][row["key"]] = SILENT if slim == SILENT else slim

    def _draw(self, row: dict[str, Any]) -> dict[str, Any]:
        slim = {k: row[k] for k in ("kind", "key", "status", "reason", "report")}
        return slim | {"metrics": Packed.of(row["metrics"], self._shapes)}

    def generations(self, spec: LineageSpec, sweep: Sweep | None) -> Iterator[Row]:
        """The committed generations in order, as `Lineage.rows()` has them."""
        metrics = None if sweep is None else [(m, m.id) for m in sweep.metrics_of(spec)]
        for t, keys in enumerate(self._keys(spec, sweep)):
            model, draw = self.row("model", keys[0]), self.row("draw", keys[1])
            if model is None or (draw is None and model["status"] not in ENDS):
                return
            last = model if draw is None or model["status"] != "ok" else draw
            due = (
                None
                if metrics is None or sweep is None
                else [name for m, name in metrics if m.due(t, sweep.generations)]
            )
            measured = self._measured(draw, due) if draw else {"values": {}, "undefined": {}}
            told = {"fit": model["fit"], "report": draw["report"] if draw else {}}
            yield {"t": t, "status": last["status"], "reason": last["reason"], **told, **measured}
            if last["status"] in ENDS:
                return

    def _keys(self, spec: LineageSpec, sweep: Sweep | None) -> Iterable[tuple[str, str]]:
        """Keys of model and draw by generation: as recorded, else (a longer sweep than ever ran) as
        they would be.
        """
        about = self.lineage(spec.id)
        nodes = about["generations"] if about else []
        if sweep is not None and len(nodes) <= sweep.generations:
            return [(n.model, n.draw) for n in path(spec, sweep.generations)]
        return [
            (n["model"], n["draw"])
            for n in nodes[: None if sweep is None else sweep.generations + 1]
        ]

    def _measured(self, row: dict[str, Any], due: list[str] | None) -> dict[str, dict[str, Any]]:
        """Values and reasons of the metrics that are due; of all there are, when that is None."""
        found: dict[str, dict[str, Any]] = {"values": {}, "undefined": {}}
        if due is None:
            later = (
                name.removesuffix(".json") for name in self.names(f"draws/{row['key']}/metrics")
            )
            due = list(dict.fromkeys([*row["metrics"], *later]))
        elif row["status"] in ENDS and row["status"] != "constant":
            return found
        for metric in due:
            if measured := self.measured(row, metric):
                found["values"] |= measured["values"]
                found["undefined"] |= measured["undefined"]
        return found


def _recorded(store: Reading) -> Iterator[tuple[str, LineageSpec]]:
    """The specs of all lineages that an output holds."""
    for about in store.lineages():
        spec = LineageSpec.from_dict(about["spec"])
        yield spec.id, spec
