"""Labels by a classifier that has learnt from the training set of the same generation, in place of
those that were asked for: the previous solver of deep generative replay (Shin 1705.08690).

With it generators that draw no labels can take part where labels are needed.  Not verification
(`verify`): nothing is left out.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from scipy.special import log_softmax

from engine.parts import Around, Dataset, Draw, Generator, Needs, PartDict, PositiveInt, traits_of
from engine.registry import make
from engine.samples import Samples


class Relabel:
    """Labels are classes that the training set has.  The report holds `confidence`, the mean
    probability of the labels that are given; of draws that had labels also `changed`, the share
    whose label is another one now.

    network   lenet, or resnet18 sized to the picture.
    steps     optimiser steps of its training, 128 samples each.
    sampling  the sampling whose draws are labelled, with its parameters; None: plain.
    """

    ACCEPTS = ("images",)
    NEEDS: ClassVar[Needs] = {"data.labels": {}}
    LABELS = True
    REVISION = 2  # 1 gave labels of classes, too, of which its training set had no row
    TINY = {"steps": 5}

    def __init__(
        self,
        *,
        network: Literal["lenet", "resnet18"] = "lenet",
        steps: PositiveInt = 600,
        sampling: PartDict | None = None,
    ) -> None:
        self.network, self.steps, self.sampling = network, steps, sampling

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        self._inner = make("sampling", **(self.sampling or {"name": "plain"}))
        self._inner.prepare(dataset, real, founder, rng)
        self._classes = traits_of(dataset).classes or 0

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        from engine.training import classifiers  # torch takes seconds to import

        drawn: Draw = self._inner.draw(generator, n, around, rng)
        samples, data = drawn.samples, around.training()
        solver = classifiers.fit(data, self._classes, rng, steps=self.steps, network=self.network)
        logits = classifiers.logits(solver, samples.x).astype(np.float64)
        assert data.y is not None, "its draws are labelled, and so is what is trained on"
        logits[:, np.setdiff1d(np.arange(self._classes), data.y)] = -np.inf
        labels = logits.argmax(1)
        given = np.take_along_axis(log_softmax(logits, axis=1), labels[:, None], axis=1)
        report = {**drawn.report, "confidence": float(np.exp(given).mean())}
        if samples.y is not None:
            report["changed"] = float(np.mean(labels != samples.y))
        return Draw(Samples(samples.x, labels, samples.born, traits=samples.traits), report)
