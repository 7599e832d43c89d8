"""Recall: of a stream of tasks, the classes of task j are drawn from the frozen model of generation
j, the one that learnt them from real rows.

Replay that is never trained through again: in generative replay (`plain`) generation t draws what
it learnt from the draws of t - 1, and drifts; here no class is ever learnt from a draw that was
learnt from a draw and then drawn from again.  Kept models instead of kept rows; GAN Memory (Cong
2006.07543) is the same with one base that the models share.

All earlier models are read, so with `keep: all`, or while a lineage runs, this costs their loading;
of a lineage that was pruned they are trained again first, each from what its recipe names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from engine.parts import Around, Dataset, Draw, Generator, Needs, Params, PartDict, Sampling
from engine.registry import make
from engine.samples import Samples, concat


class Recall:
    """Each class from the model of the task that brought it.

    sampling  the sampling that draws from each of these models, with its parameters; None: plain.
    """

    ACCEPTS = ("points", "tokens", "images", "text")
    RECORDS = True
    LABELS = "sampling"
    NEEDS: ClassVar[Needs] = {"draws.labels": {}}
    TASKS = True
    TINY: ClassVar[Params] = {}

    def __init__(self, *, sampling: PartDict | None = None) -> None:
        self.sampling = sampling

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        self._inner: Sampling = make("sampling", **(self.sampling or {"name": "plain"}))
        self._inner.prepare(dataset, real, founder, rng)

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        """The report is that of the inner draws, their mean over the samples."""
        labels, task_of = around.labels, around.task_of
        if labels is None or task_of is None:
            return self._inner.draw(generator, n, around, rng)
        tasks, newest = np.array([task_of[k] for k in labels.tolist()]), max(task_of.values())
        drawn, places, report = list[Samples](), list[np.ndarray](), dict[str, float]()
        for task in np.unique(tasks).tolist():
            rows = np.flatnonzero(tasks == task)
            model = generator if task == newest else around.generator(task)
            own = replace(around, real=around.real_of(task), labels=labels[rows])
            found = self._inner.draw(model, len(rows), own, rng)
            drawn.append(found.samples)
            places.append(rows)
            for key, value in found.report.items():
                report[key] = report.get(key, 0.0) + value * len(rows) / n
        return Draw(concat(drawn).take(np.argsort(np.concatenate(places))), report)
