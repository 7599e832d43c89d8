"""Classifiers that metrics train on labelled samples, to see what these teach of held-out real
ones: LeNet or ResNet-18 of images, an MLP per replicate of points, an n-gram model per class of
text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.distances import extractors
from engine.parts import Dataset, traits_of
from engine.registry import make
from engine.samples import Samples, Traits
from engine.training import classifiers
from engine.training.minibatches import balanced_rows

OWN = {"points": "mlp", "text": "ngram"}  # the only network of a kind of data


@dataclass(frozen=True)
class Learner:
    """A recipe: the network, its optimiser steps, samples per step and Adam's learning rate (n-gram
    models are counted); traits of the data set.
    """

    network: str
    steps: int
    batch: int
    lr: float
    traits: Traits

    @classmethod
    def suited(
        cls, dataset: Dataset, shape: tuple[int, ...], network: str, **training: Any
    ) -> Learner:
        """The one for rows of this shape; network auto: resnet18 for colour from 32 pixels on, else
        lenet.  training: steps, batch and lr, None: 2e-3 for resnet18, 1e-2 for the small ones.
        """
        auto = OWN.get(dataset.GIVES) or extractors.suited(shape)
        chosen = auto if network == "auto" else network
        lr = training.pop("lr") or (2e-3 if chosen == "resnet18" else 1e-2)
        return cls(chosen, lr=lr, traits=traits_of(dataset), **training)

    def right(self, data: Samples, test: Samples, rng: np.random.Generator) -> np.ndarray:
        """Whether the class of each test sample is told right after learning from data: bool [n],
        or [replicates, n].  Finding where training diverges.
        """
        learnt = self._likeliest if self.network == "ngram" else self._by_network
        guess = learnt(data, test, rng)  # [n] or [n, replicates]
        assert test.y is not None
        right: np.ndarray = np.equal(test.y, guess.T)
        return right

    def balanced(self, data: Samples, rng: np.random.Generator) -> Samples:
        """Data in which minibatches hold every class equally often; n-gram models, which learn each
        class by itself, take them as they are.
        """
        if self.network == "ngram" or data.y is None:
            return data
        return data.take(balanced_rows(data.y, self.steps * self.batch, rng))

    def _likeliest(self, data: Samples, test: Samples, rng: np.random.Generator) -> np.ndarray:
        """Of each text the class under which it is most likely, [n, replicates]."""
        model: Any = make("generator", "ngram")
        model.fit(data.of(self.traits), rng)
        guess: np.ndarray = model.log_density_by_class(test.x).argmax(0)
        return guess

    def _by_network(self, data: Samples, test: Samples, rng: np.random.Generator) -> np.ndarray:
        assert data.y is not None and test.y is not None
        classes = int(max(data.y.max(), test.y.max())) + 1
        how: Any = {name: getattr(self, name) for name in ("steps", "batch", "lr", "network")}
        model = classifiers.fit(data, classes, rng, **how)
        guess: np.ndarray = classifiers.logits(model, test.x).argmax(-1)
        return guess


def refuse_network(metric: str, network: str, accepted: tuple[str, ...], dataset: Dataset) -> None:
    """ValueError for a network that does not read this kind of data."""
    if network not in accepted:
        reads = "text" if network == "ngram" else "images"
        raise ValueError(
            f"{metric}: network {network!r} reads {reads}, but {type(dataset).__name__} gives "
            f"{dataset.GIVES}; leave network out"
        )


def share(right: np.ndarray) -> float | np.ndarray:
    """Of what is right, bool [n] or [replicates, n]: one number, or one per replicate."""
    found = right.mean(-1)
    return float(found) if np.ndim(found) == 0 else found


def unusable(data: Samples, which: str) -> str | None:
    """Why nothing can be learnt from data, or None; which: what the data are called."""
    if data.y is None:
        return f"{which} have no labels: the generator is unconditional"
    if len(data) < 2:
        return f"{len(data)} {which.removeprefix('the ')} are too few to train a classifier on"
    return None if np.isfinite(data.x).all() else f"{which} hold values that are not finite"
