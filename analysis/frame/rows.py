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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import pandas as pd
from rich import get_console
from rich.progress import track

from analysis.frame.tidy import Table
from engine.experiment.sources import load
from engine.lineage.recipe import path
from engine.names import Names
from engine.spec import LineageSpec, Sweep
from engine.store.reader import Keys, generations
from engine.store.rows import Address, Generation
from engine.store.store import Store


def from_store(
    source: Sweep | str, *, progress: bool = True, names: Names | None = None
) -> pd.DataFrame:
    """The frame of a sweep, of an experiment file, or of everything in an output folder (then every
    metric found in it).  names: of the cells and workflows, where those of a wider grid are wanted.
    """
    if isinstance(source, str) and source.endswith((".yaml", ".yml")):
        source = load(source)
    store = Store(source.out if isinstance(source, Sweep) else source, repairs=False)
    store.refresh()
    if isinstance(source, Sweep):
        name, specs = source.name, {spec.id: spec for spec in source.lineages}
        read = partial(_of_sweep, store, source)
    else:
        name, specs = store.root.rsplit("/", 1)[-1], _recorded(store)
        read = partial(_of_output, store)
    table = Table(name, specs, names)
    quiet = not progress or len(specs) < 50 or not get_console().is_terminal
    for spec in track(specs.values(), "reading lineages", transient=True, disable=quiet):
        for generation in read(spec):
            table.add(generation)
    return table.frame()


def _of_sweep(store: Store, sweep: Sweep, spec: LineageSpec) -> Iterator[Generation]:
    """As a sweep asks for a lineage: its generations, and the metrics that are due there."""
    metrics = [(metric, metric.stored) for metric in sweep.metrics_of(spec)]

    def due(t: int) -> list[str]:
        return [name for metric, name in metrics if metric.due(t, sweep.generations)]

    keys: Sequence[Keys] = _recorded_path(store, spec)
    begun = keys and keys[0].draw == path(spec, 0)[0].draw  # else by keys of a former version
    if not begun or len(keys) <= sweep.generations:  # a longer sweep than ever ran
        keys = path(spec, sweep.generations)
    return generations(store, spec.id, keys[: sweep.generations + 1], due)


def _of_output(store: Store, spec: LineageSpec) -> Iterator[Generation]:
    """All that an output has of a lineage."""
    return generations(store, spec.id, _recorded_path(store, spec))


def _recorded_path(store: Store, spec: LineageSpec) -> tuple[Address, ...]:
    recorded = store.lineage(spec.id)
    return recorded.generations if recorded is not None else ()


def from_mlflow(uri: str, sweep_name: str, *, sweep_id: str | None = None) -> pd.DataFrame:
    """The same frame, by the MLflow API alone."""
    from engine.tracking.mlflow_runs import rows, specs

    found = map(Generation.from_json, rows(uri, sweep_name, sweep_id))
    return tidy(found, specs(uri, sweep_name, sweep_id), sweep_name)


def tidy(
    rows: Iterable[Generation], specs: Mapping[str, LineageSpec], sweep_name: str = ""
) -> pd.DataFrame:
    """The frame of generations as `Lineage.rows()` gives them."""
    table = Table(sweep_name, specs)
    for row in rows:
        table.add(row)
    return table.frame()


def _recorded(store: Store) -> dict[str, LineageSpec]:
    """The specs of all lineages that an output holds, by id."""
    specs = filter(None, (row.known_spec() for row in store.lineages()))
    return {spec.id: spec for spec in specs}
