"""Samples of a few lineages for pictures: for every workflow the lowest seed at its highest
synthetic fraction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.frame.tables import natural, records
from analysis.report.alignment import alignment, embedded
from analysis.report.answers import grouped
from engine.contents import Contents, Lack
from engine.distances import features
from engine.distances.alignment import LEAST
from engine.lineage.recipe import path, rng
from engine.parts import Dataset
from engine.registry import describe
from engine.samples import Samples
from engine.spec import LineageSpec, Sweep
from engine.store import artifacts as archive
from engine.store.keys import metric_of
from engine.store.store import Store

MOST_WORKFLOWS, MOST_FRAMES = 6, 7
EMBEDDED = 400  # samples of each set
# samples drawn of a task; real ones to take them from; tasks that are shown
PER_TASK, HELD_OUT, MOST_TASKS = 100, 4000, 5
Frames = dict[str, dict[int, Samples]]
Specs = Mapping[str, LineageSpec]  # by the name in the figures


def chosen(sweep: Sweep, frame: pd.DataFrame) -> dict[str, LineageSpec]:
    """One lineage per workflow, by the name that the figures show."""
    about = grouped(frame.drop_duplicates("lineage"))
    about = about.sort_values(
        ["synthetic_fraction", "seed"], ascending=[False, True], kind="stable", na_position="last"
    )
    specs = {spec.id: spec for spec in sweep.lineages}
    best = about.drop_duplicates("group").sort_values(
        "group", key=lambda names: names.map(natural), kind="stable"
    )
    return {str(row.label): specs[str(row.lineage)] for row in records(best)}


def classes_of(spec: LineageSpec, frames: Frames) -> dict[int, str]:
    """Labels of the classes with their names, "0 cat" where they have any; empty without labels."""
    labels = [s.y for own in frames.values() for s in own.values() if s.y is not None]
    if not labels:
        return {}
    contents = spec.dataset.contents
    names = contents.classes if isinstance(contents, Contents) else ()
    found = sorted({*range(len(names)), *np.concatenate(labels).astype(int).tolist()})
    called = {label: names[label] if label < len(names) else "" for label in found}
    return {
        label: f"{label} {name}" if name and name != str(label) else str(label)
        for label, name in called.items()
    }


def generations(last: int, most: int = MOST_FRAMES) -> list[int]:
    """0..last, thinned evenly to as many as a picture can show."""
    return sorted(
        {round(i * last / max(min(most, last + 1) - 1, 1)) for i in range(min(most, last + 1))}
    )


def strips(sweep: Sweep, store: Store, specs: Specs, most: int = MOST_FRAMES) -> Frames:
    """The few samples that were stored of each generation for its picture."""
    return _read(sweep, store, specs, most, archive.STRIP)


def draws(sweep: Sweep, store: Store, specs: Specs, most: int) -> Frames:
    """Whole draws, of the generations that were kept."""
    return _read(sweep, store, specs, most, archive.SAMPLES)


def _read(sweep: Sweep, store: Store, specs: Specs, most: int, what: str) -> Frames:
    store.refresh()
    found = {
        name: _frames(store, spec, generations(sweep.generations, most), what)
        for name, spec in specs.items()
    }
    return {name: frames for name, frames in found.items() if frames}


def _frames(
    store: Store, spec: LineageSpec, wanted: Sequence[int], what: str
) -> dict[int, Samples]:
    nodes = path(spec, max(wanted))
    rows = {}
    for t, node in enumerate(nodes):
        row = store.row("draw", node.draw)
        if row is not None and what in row.files:
            rows[t] = row
    frames = {t: archive.read_samples(store, rows[t], what) for t in _near(wanted, list(rows))}
    return {t: samples for t, samples in frames.items() if samples is not None}


def _near(wanted: Sequence[int], there: Sequence[int]) -> list[int]:
    """The stored generations nearest to the wanted ones (blocks keep the arrays of their last
    generation alone).
    """
    return sorted({min(there, key=lambda s: (abs(s - t), s)) for t in wanted}) if there else []


def is_here(spec: LineageSpec) -> bool:
    """Whether the files of a lineage's data are on this computer, and as they should be."""
    try:
        return not isinstance(spec.dataset.contents, Lack)
    except ValueError:
        return False


def real_of(spec: LineageSpec) -> Samples | None:
    """The real set that a lineage started from; of a stream of tasks, rows of all its classes; None
    where its files are not here.
    """
    if not is_here(spec):
        return None
    n, there = spec.n_real * max(len(spec.stream), 1), spec.dataset.contents
    if spec.stream and isinstance(there, Contents):
        n = min(n, there.train)  # tasks that no generation learns may lack rows
    samples: Samples = spec.dataset.make().sample(n, rng(spec.seed, "real", 0))
    return samples


def latent(
    sweep: Sweep, store: Store, specs: Specs
) -> tuple[pd.DataFrame, pd.DataFrame, str] | None:
    """(alignment over generations, embedding, name of the features) of images and texts; None where
    nothing can be said.
    """
    pictured = {
        name: spec
        for name, spec in specs.items()
        if spec.dataset.constant("GIVES") in ("images", "text") and is_here(spec)
    }
    if not pictured:
        return None
    first = next(iter(pictured.values())).dataset
    dataset = first.make()
    pictured = {name: spec for name, spec in pictured.items() if spec.dataset == first}
    real = dataset.held_out(2 * EMBEDDED)
    sets = {
        (name, t): samples.take(slice(0, EMBEDDED))
        for name, own in draws(sweep, store, pictured, 4).items()
        for t, samples in own.items()
        if len(samples) >= LEAST
    }
    if len(real) < 2 * LEAST or not sets:
        return None
    extractor = _extractor(sweep)
    x = {key: _features(samples, extractor, dataset) for key, samples in sets.items()}
    real_x = _features(real, extractor, dataset)
    set_y = {key: samples.y for key, samples in sets.items()}
    named = features.resolve(extractor, dataset)
    return _aligned(alignment(real_x, x, real.y, set_y)), _embedded(real_x, x), named


def latent_by_task(sweep: Sweep, store: Store, specs: Specs) -> tuple[pd.DataFrame, str] | None:
    """Real samples of each task and those that each lineage drew after the last one, each task in
    an embedding of its own: columns label ("" of real ones), task, set ("real", "drawn"), x, y; and
    the name of the features.  Tasks of few held-out rows are left out.  None where none is left,
    nothing of an earlier task was drawn, or it is no picture or text.
    """
    store.refresh()
    drawn = {n: _last(store, s, sweep.generations) for n, s in specs.items() if is_here(s)}
    there = {name: own for name, own in drawn.items() if own is not None}
    if not there:
        return None
    first = specs[next(iter(there))]
    dataset, extractor = first.dataset.make(), _extractor(sweep)
    held_out = dataset.held_out(HELD_OUT)
    parts = []
    for task in generations(sweep.generations, MOST_TASKS):
        real = _of_classes(held_out, first.task(task), 2 * PER_TASK)
        if len(real) < 2 * LEAST:
            continue
        own = {name: _of_classes(s, first.task(task), PER_TASK) for name, s in there.items()}
        x = {name: _features(s, extractor, dataset) for name, s in own.items() if len(s)}
        finite = {name: values for name, values in x.items() if np.isfinite(values).all()}
        places = embedded(_features(real, extractor, dataset), finite)
        is_real = (places["set"] == "real").to_numpy()
        labels = np.where(is_real, "", places["set"])
        sets = np.where(is_real, "real", "drawn")
        parts.append(places.assign(label=labels, task=task, set=sets))
    if not parts:
        return None
    return pd.concat(parts, ignore_index=True), features.resolve(extractor, dataset)


def _last(store: Store, spec: LineageSpec, last: int) -> Samples | None:
    """The draw of the last generation, where it holds classes of an earlier task."""
    if spec.dataset.constant("GIVES") not in ("images", "text"):
        return None
    drawn = _frames(store, spec, [last], archive.SAMPLES).get(last)
    if drawn is None or drawn.y is None or not np.isin(drawn.y, spec.seen(last - 1)).any():
        return None
    return drawn


def _of_classes(samples: Samples, classes: Sequence[int], most: int) -> Samples:
    """The first of these classes, at most so many."""
    return samples.take(np.flatnonzero(np.isin(np.asarray(samples.y), classes))[:most])


def _features(samples: Samples, extractor: str, dataset: Dataset) -> np.ndarray:
    """[n, d]; of texts those of the first replicate."""
    x = features.extract(samples, extractor, dataset)
    return x if x.ndim == 2 else x[:, 0]


def _extractor(sweep: Sweep) -> str:
    """The extractor of the file: of the metric that is judged, else of the first that has one."""
    judged = metric_of(sweep.headline)
    for metric in sorted(sweep.metrics, key=lambda m: m.id != judged):
        parameter = describe("metric", metric.part.name).parameters.get("extractor")
        if parameter is not None:
            return str(metric.part.params.get("extractor", parameter.default))
    return "auto"


def _aligned(table: pd.DataFrame) -> pd.DataFrame:
    """One row per workflow and generation, and one of the floor, which they share."""
    names = [("", -1) if key == "floor" else key for key in table["set"]]
    sets_named = ["floor" if key == "floor" else "generated" for key in table["set"]]
    return table.assign(set=sets_named, group=[name for name, _ in names], t=[t for _, t in names])


def _embedded(real: np.ndarray, sets: Mapping[tuple[str, int], np.ndarray]) -> pd.DataFrame:
    """The first generation, which all share, and the last of each workflow."""
    last: dict[str, int] = {}
    for name, t in sets:
        last[name] = max(t, last.get(name, t))
    shown = {f"{name}, generation {t}": x for (name, t), x in sets.items() if t == last[name]}
    first = [x for (_, t), x in sets.items() if t == 0][:1]
    named = {"generation 0": first[0]} | shown if first else shown
    finite = {name: x for name, x in named.items() if np.isfinite(x).all()}
    table = embedded(real[:EMBEDDED], finite)
    return table.assign(panel=table["set"])
