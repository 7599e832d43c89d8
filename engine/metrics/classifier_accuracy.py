"""Classification accuracy score (Ravuri and Vinyals 1905.10887): train on labelled synthetic data,
test on held-out real data.

Top-1, reported with its controls.  It is not the accuracy of a real-trained classifier on synthetic
data, which a generator that has lost all diversity can bring to 1.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from engine.metrics._learners import Learner, refuse_network, share, unusable
from engine.parts import (
    Around,
    Dataset,
    Finding,
    Generator,
    Keys,
    Needs,
    Number,
    PositiveFloat,
    PositiveInt,
    Undefined,
)
from engine.samples import Samples

SCORES = ("classifier_accuracy", "classifier_accuracy/relative")


class ClassifierAccuracy:
    """A LeNet or ResNet-18 for images, an MLP per replicate for points; of text the class whose
    n-gram model (generator `ngram` with its defaults) finds it most likely. A class missing from
    the synthetic set is never predicted. A ResNet-18 takes 4 to 5 CPU minutes at the default steps
    and 32 pixels, a LeNet seconds.

    network  that learns: lenet or resnet18 from images; ngram from text; auto: resnet18 for colour
             from 32 pixels on, else lenet. Points always have an MLP.
    steps    optimiser steps of its training; n-gram models are counted.
    batch    samples per step.
    lr       Adam's learning rate at the start; None: 2e-3 for resnet18, 1e-2 for the small
             networks.
    n_test   held-out real samples that it is tested on, fewer where there are fewer.
    """

    ACCEPTS: ClassVar[dict[str, dict[str, tuple[str, ...]]]] = {
        "images": {"network": ("auto", "lenet", "resnet18")},
        "points": {"network": ("auto",)},
        "text": {"network": ("auto", "ngram")},
    }
    NEEDS: ClassVar[Needs] = {"data.labels": {}, "draws.labels": {}}
    TINY = {"steps": 20}
    KEYS: ClassVar[Keys] = {
        "classifier_accuracy": (
            "of a classifier trained on the synthetic set, on held-out real data",
            "share",
            "higher",
        ),
        "classifier_accuracy/relative": (
            "(score - chance) / (ceiling - chance)",
            "share of the way",
            "higher",
        ),
        "classifier_accuracy/ceiling": (
            "the same recipe on as many real samples, or on all there are",
            "share",
            "",
        ),
        "classifier_accuracy/chance": ("the largest class's share of the test set", "share", ""),
    }

    def __init__(
        self,
        *,
        network: Literal["auto", "lenet", "resnet18", "ngram"] = "auto",
        steps: PositiveInt = 200,
        batch: PositiveInt = 64,
        lr: PositiveFloat | None = None,
        n_test: PositiveInt = 2000,
    ) -> None:
        self.network, self.steps, self.batch, self.lr, self.n_test = (
            network,
            steps,
            batch,
            lr,
            n_test,
        )

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        accepted = self.ACCEPTS[dataset.GIVES]["network"]
        refuse_network("classifier_accuracy", self.network, accepted, dataset)
        how = {"steps": self.steps, "batch": self.batch, "lr": self.lr}
        self.learner_ = Learner.suited(dataset, real.x.shape[1:], self.network, **how)
        self.about_ = {"network": self.learner_.network}
        self.test_ = dataset.held_out(self.n_test)
        assert self.test_.y is not None
        self.chance_ = float(np.bincount(self.test_.y).max() / len(self.test_))
        try:
            same_size = dataset.sample(n, rng)
        except ValueError:  # the real set is smaller than the synthetic one
            same_size = real
        self.ceiling_ = self._score(same_size, rng)

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Number]:
        if (reason := unusable(synthetic, "the synthetic samples")) is not None:
            return self._controls() | {key: Undefined(reason) for key in SCORES}
        try:
            score = self._score(synthetic, rng)
        except Finding as finding:  # the classifier's, not the lineage's
            return self._controls() | {
                key: Undefined(f"the classifier {finding}") for key in SCORES
            }
        above = np.asarray(self.ceiling_) - self.chance_
        relative: Number = Undefined("the ceiling is not above chance")
        if np.all(above > 0):
            way = (np.asarray(score) - self.chance_) / above
            relative = way if way.ndim else float(way)
        return self._controls() | dict(zip(SCORES, (score, relative), strict=True))

    def _controls(self) -> dict[str, Number]:
        return {
            "classifier_accuracy/ceiling": self.ceiling_,
            "classifier_accuracy/chance": self.chance_,
        }

    def _score(self, data: Samples, rng: np.random.Generator) -> float | np.ndarray:
        """Share of the test set that a classifier trained on data gets right: one number, or one
        per replicate.
        """
        return share(self.learner_.right(data, self.test_, rng))
