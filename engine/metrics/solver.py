"""The solver of generative replay (Shin et al. 1705.08690): a classifier trained on the training
set of a generation, tested on held-out real data of the classes seen so far.

Unlike classifier_accuracy it learns from what the generator learns from, new real rows and replayed
ones together, and not from what it draws.  It keeps nothing from generation to generation: the
number is a function of the training set alone.  With tasks it is class-incremental: the classifier
is not told of which task a sample is (van de Ven and Tolias 1904.07734).
"""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import numpy as np

from engine.knowledge import AllRows, NotAtHand, knows
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


class Solver:
    """A LeNet or ResNet-18 for images, an MLP per replicate for points; of text the class whose
    n-gram model (generator `ngram` with its defaults) finds it most likely. Its minibatches hold
    every class equally often: otherwise the newest task would fill them where replay is scarce, and
    starve where it is plenty. A class missing from the training set is never predicted, and counts.
    At generation t there are the keys of tasks 0..t; a task that has not arrived has none. Two
    networks are trained, of which the ceiling is kept for the same classes and as many samples; a
    ResNet-18 takes some 7 CPU minutes at the default steps and 32 pixels, a LeNet seconds. Asked
    for when the draws in a training set were pruned, it has them made again.

    network  that learns: lenet or resnet18 from images; ngram from text; auto: resnet18 for colour
             from 32 pixels on, else lenet. Points always have an MLP.
    steps    optimiser steps of its training, whatever the size of the training set; n-gram models
             are counted.
    batch    samples per step.
    lr       Adam's learning rate at the start; None: 2e-3 for resnet18, 1e-2 for the small
             networks.
    n_test   held-out real samples of the classes seen that it is tested on, fewer where there are
             fewer.
    """

    ACCEPTS: ClassVar[dict[str, dict[str, tuple[str, ...]]]] = {
        "images": {"network": ("auto", "lenet", "resnet18")},
        "points": {"network": ("auto",)},
        "text": {"network": ("auto", "ngram")},
    }
    NEEDS: ClassVar[Needs] = {"data.labels": {}, "draws.labels": {}}
    TINY = {"steps": 20}
    BOUNDS = None  # it learns from the training set, whatever is drawn
    KEYS: ClassVar[Keys] = {
        "solver": (
            "accuracy of a classifier trained on the training set, on held-out real data of the "
            "classes seen",
            "share",
            "higher",
        ),
        "solver/task_N": ("the same on the classes of task N alone", "share", "higher"),
        "solver/joint": (
            "the same recipe on as many real samples of all classes seen, or on all there are",
            "share",
            "",
        ),
        "solver/chance": ("the largest class's share of the test set", "share", ""),
    }

    def __init__(
        self,
        *,
        network: Literal["auto", "lenet", "resnet18", "ngram"] = "auto",
        steps: PositiveInt = 300,
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
        """Hold the test set.  The ceiling is trained when the size of a training set is known."""
        accepted = self.ACCEPTS[dataset.GIVES]["network"]
        refuse_network("solver", self.network, accepted, dataset)
        how = {"steps": self.steps, "batch": self.batch, "lr": self.lr}
        self.learner_ = Learner.suited(dataset, real.x.shape[1:], self.network, **how)
        self.about_ = {"network": self.learner_.network}
        self.test_ = dataset.held_out(self.n_test)
        assert self.test_.y is not None
        self.chance_ = float(np.bincount(self.test_.y).max() / len(self.test_))
        self._dataset, self._real = dataset, real
        self._seed = int(rng.integers(2**63))  # of ceilings, in whatever order they are asked for
        self._joint: dict[int, Number] = {}

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Number]:
        try:
            data = around.training()
        except NotAtHand as reason:
            return self._unknown(str(reason), around)
        if (said := unusable(data, "the training samples")) is not None:
            return self._unknown(said, around)
        controls = {"solver/joint": self._ceiling(len(data)), "solver/chance": self.chance_}
        try:
            right = self._right(data, rng)
        except Finding as finding:  # the classifier's, not the lineage's
            return self._unknown(f"the classifier {finding}", around) | controls
        assert self.test_.y is not None
        tasks = {
            f"solver/task_{j}": share(right[..., np.isin(self.test_.y, classes)])
            for j, classes in classes_of(around).items()
        }
        return {"solver": share(right), **tasks, **controls}

    def _unknown(self, reason: str, around: Around) -> dict[str, Number]:
        keys = ["solver", *(f"solver/task_{j}" for j in classes_of(around)), "solver/joint"]
        return {**{key: Undefined(reason) for key in keys}, "solver/chance": self.chance_}

    def _right(self, data: Samples, rng: np.random.Generator) -> np.ndarray:
        """Of the test samples, bool [n] or [replicates, n]."""
        return self.learner_.right(self.learner_.balanced(data, rng), self.test_, rng)

    def _ceiling(self, n: int) -> Number:
        """The accuracy that n real samples of all classes seen teach; trained once for each n."""
        if n not in self._joint:
            rng = np.random.default_rng([self._seed, n])
            try:
                self._joint[n] = share(self._right(self._same_size(n, rng), rng))
            except Finding as finding:
                self._joint[n] = Undefined(f"the classifier {finding}")
        return self._joint[n]

    def _same_size(self, n: int, rng: np.random.Generator) -> Samples:
        try:
            return self._dataset.sample(n, rng)
        except ValueError:  # the training set is larger than the real data
            known = knows(self._dataset, "all rows")
            return cast(AllRows, self._dataset).training_set() if known else self._real


def classes_of(around: Around) -> dict[int, list[int]]:
    """The classes of each task that has arrived; nothing without tasks."""
    found: dict[int, list[int]] = {}
    for label, task in sorted((around.task_of or {}).items()):
        found.setdefault(task, []).append(label)
    return dict(sorted(found.items()))
