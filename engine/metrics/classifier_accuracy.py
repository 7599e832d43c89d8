"""Classification accuracy score (Ravuri and Vinyals 1905.10887): train on labelled synthetic data,
test on held-out real data.

Top-1, reported with its controls.  It is not the accuracy of a real-trained classifier on synthetic
data, which a generator that has lost all diversity can bring to 1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from engine.distances import extractors
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
    traits_of,
)
from engine.registry import make
from engine.samples import Samples
from engine.training import classifiers

SCORES = ("classifier_accuracy", "classifier_accuracy/relative")
OWN = {"points": "mlp", "text": "ngram"}  # the only network of a kind of data


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
        kind = dataset.GIVES
        if self.network not in self.ACCEPTS[kind]["network"]:
            reads = "text" if self.network == "ngram" else "images"
            raise ValueError(
                f"classifier_accuracy: network {self.network!r} reads {reads}, but "
                f"{type(dataset).__name__} gives {kind}; leave network out"
            )
        auto = OWN.get(kind) or extractors.suited(real.x.shape[1:])
        self.network_ = auto if self.network == "auto" else self.network
        self._traits = traits_of(dataset)
        self.lr_ = self.lr or (2e-3 if self.network_ == "resnet18" else 1e-2)
        self.about_ = {"network": self.network_}
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
        if (reason := _unusable(synthetic)) is not None:
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
            relative = _value((np.asarray(score) - self.chance_) / above)
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
        assert self.test_.y is not None
        learnt = self._likeliest if self.network_ == "ngram" else self._learnt
        guess = learnt(data, rng)  # [n] or [n, replicates]
        return _value((self.test_.y == guess.T).mean(-1))

    def _likeliest(self, data: Samples, rng: np.random.Generator) -> np.ndarray:
        """Of each test text the class under which it is most likely, [n, replicates]."""
        model: Any = make("generator", "ngram")
        model.fit(data.of(self._traits), rng)
        guess: np.ndarray = model.log_density_by_class(self.test_.x).argmax(0)
        return guess

    def _learnt(self, data: Samples, rng: np.random.Generator) -> np.ndarray:
        """Of each test sample the class by a network, [n] or [n, replicates]."""
        assert data.y is not None and self.test_.y is not None
        classes = int(max(data.y.max(), self.test_.y.max())) + 1
        model = classifiers.fit(
            data,
            classes,
            rng,
            steps=self.steps,
            batch=self.batch,
            lr=self.lr_,
            network=self.network_,
        )
        guess: np.ndarray = classifiers.logits(model, self.test_.x).argmax(-1)
        return guess


def _value(x: np.ndarray) -> float | np.ndarray:
    return float(x) if np.ndim(x) == 0 else x


def _unusable(synthetic: Samples) -> str | None:
    if synthetic.y is None:
        return "the synthetic samples have no labels: the generator is unconditional"
    if len(synthetic) < 2:
        return f"{len(synthetic)} synthetic samples are too few to train a classifier on"
    return (
        None
        if np.isfinite(synthetic.x).all()
        else "the synthetic samples hold values that are not finite"
    )
