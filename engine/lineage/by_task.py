"""A metric at one generation of a lineage: of all that was drawn and, of a stream of tasks, of the
classes of each task alone.

At generation t of a stream the draw is compared with real data of the classes of tasks 0..t.  Keys
that a metric names in PER_TASK are measured once more for each of these tasks (fid/task_0, ...,
fid/task_t): its real data against the rows drawn of its classes, with a floor and an n of its own,
the same at every generation.  A task that has not arrived has no key in a row; one that was not
drawn has a key without a number, and its reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from engine._tasks import of_key
from engine.distances.floors import first
from engine.lineage.generations import GenerationCache
from engine.lineage.measure import prepared, undefined_of_task
from engine.lineage.recipe import Node
from engine.lineage.seen import Seen
from engine.parts import Dataset
from engine.samples import Samples
from engine.spec import MeasureSpec
from engine.store.measured import Measured


def measured(metric: MeasureSpec, have: GenerationCache, node: Node) -> Measured:
    """What a metric says of a generation."""
    spec, t = have.spec, node.t
    tasks = range(t + 1) if spec.stream else range(1)
    n = spec.drawn(t) if metric.n is None else min(spec.drawn(t), metric.n * len(tasks))
    stream = have.rng(f"metric {metric.part.name}", t)
    around = have.around(node)
    whole = prepared(metric, spec, have.truth(t), have.arrived(t), n, tasks)
    found = whole(first(have.samples(t), n), have.generator(t), around, stream)
    if spec.stream and metric.part.trait("PER_TASK"):
        for j in tasks:
            own = _of_task(j, metric, have, node)
            found = Measured(
                {**found.values, **own.values},
                {**found.undefined, **own.undefined},
                found.about,
            )
    return found


def _of_task(j: int, metric: MeasureSpec, have: GenerationCache, node: Node) -> Measured:
    """Its PER_TASK keys on the rows drawn of task j."""
    spec, t, classes = have.spec, node.t, have.spec.task(j)
    rows = _rows(have.samples(t), classes)
    if rows is None:
        return undefined_of_task(metric, j, "the synthetic samples have no labels")
    n = spec.drawn_of(j) if metric.n is None else min(spec.drawn_of(j), metric.n)
    of_task = cast(Dataset, Seen(have.dataset, classes))
    measure = prepared(metric, spec, of_task, have.real(j), n, (j,))
    stream = have.rng(f"metric {metric.part.name} of task {j}", t)
    found = measure.of_task(j, first(rows, n), have.generator(t), have.around(node), stream)
    if len(rows):
        return found
    none = f"the draw holds no samples of task {j}"
    said = {key: none if of_key(key) == j else why for key, why in found.undefined.items()}
    return replace(found, undefined=said)


def _rows(samples: Samples, classes: tuple[int, ...]) -> Samples | None:
    """Those of these classes, remembered by the samples; None where there are no labels."""
    if samples.y is None:
        return None
    key = ("of classes", classes)
    if key not in samples.memo:
        samples.memo[key] = samples.take(np.flatnonzero(np.isin(samples.y, classes)))
    found: Samples = samples.memo[key]
    return found
