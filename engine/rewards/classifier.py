"""A small classifier's probability of a class, as Ferbach's reward r = 5 * q_0 on CIFAR-10
(2407.09499).

It is trained on real data; the probability is of the classifier, not of the truth.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from engine.parts import Dataset, Finite, Generator, NonNegativeInt, PositiveInt, traits_of
from engine.samples import Samples
from engine.training import classifiers


class Classifier:
    """A LeNet for images, one small MLP per replicate for labelled points.

    target  the class whose probability is the reward, counted from 0 (Ferbach: 0); None: each
            sample's own label.
    scale   factor of the probability (Ferbach: 5).
    n_real  real samples that it learns from, drawn anew from the data set; None: the lineage's own
            real set.
    steps   optimiser steps of its training, 128 samples each.
    """

    ACCEPTS = ("points", "images")
    NEEDS = {"data.labels": {}, "draws.labels": {"target": (None,)}}
    TINY = {"steps": 5}

    def __init__(
        self,
        *,
        target: NonNegativeInt | None = None,
        scale: Finite = 1.0,
        n_real: PositiveInt | None = None,
        steps: PositiveInt = 600,
    ) -> None:
        self.target, self.scale, self.n_real, self.steps = target, scale, n_real, steps

    def fit(
        self, dataset: Dataset, real: Samples, generator: Generator, rng: np.random.Generator
    ) -> dict[str, float]:
        """Returns its accuracy on held-out data."""
        classes = traits_of(dataset).classes
        if real.y is None or not classes:
            raise ValueError(
                f"reward classifier needs labels; data set {type(dataset).__name__} has none"
            )
        if self.target is not None and self.target >= classes:
            raise ValueError(
                f"classifier: target must be below {classes} (the classes there are), "
                f"got {self.target}"
            )
        data = real if self.n_real is None else dataset.sample(self.n_real, rng)
        self._model = classifiers.fit(data, classes, rng, steps=self.steps)
        held_out = dataset.held_out(1000)
        assert held_out.y is not None
        best = classifiers.logits(self._model, _input(held_out)).argmax(
            -1
        )  # [n] or [n, replicates]
        return {"accuracy": float(np.mean(best == held_out.y.reshape(-1, *[1] * (best.ndim - 1))))}

    def score(self, samples: Samples) -> np.ndarray:
        log_q = log_softmax(
            classifiers.logits(self._model, _input(samples)).astype(np.float64), axis=-1
        )  # [n, .., classes]
        if self.target is not None:
            values: np.ndarray = self.scale * np.exp(log_q[..., self.target])
            return values
        if samples.y is None:
            raise ValueError(
                "classifier: these samples have no labels; give the class that counts as `target`"
            )
        y = samples.y.reshape(-1, *[1] * (log_q.ndim - 1))
        values = self.scale * np.exp(np.take_along_axis(log_q, y, axis=-1)[..., 0])
        return values


def _input(samples: Samples) -> np.ndarray:
    """Points as the float32 the network was trained on; images as they are."""
    return (
        samples.x.astype(np.float32) if np.issubdtype(samples.x.dtype, np.floating) else samples.x
    )
