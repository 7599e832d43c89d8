"""Optimal transport dataset distance (Alvarez-Melis and Fusi 2002.02923) between real and synthetic
labelled samples.

A sample is its features and its class, a class the Gaussian of its features; see
`engine/distances/transport.py` for the cost.  Names of labels do not matter: unlike
`conditional_fid`, classes that swapped their names are at distance 0.  On features it is not the
published distance on pixels.  About 0.3 CPU s at 2,000 points of d = 64 with equal class counts,
0.8 s with unequal ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from engine.distances import features
from engine.distances.extractors import READ_BY
from engine.distances.floors import (
    defined,
    degenerate,
    excess,
    first,
    mean_and_spread,
    real_pool,
    refusal,
)
from engine.distances.transport import Labelled, exact, labelled, sinkhorn
from engine.parts import (
    Around,
    Dataset,
    Extractor,
    Generator,
    Keys,
    Needs,
    Number,
    PositiveInt,
    Undefined,
    Value,
    Ways,
)
from engine.samples import Samples, proportional_labels


class Otdd:
    """The floor is between real sets with the reference's class counts and with those of a draw in
    the real proportions. A class that vanished has no points, so its real points pay for the way to
    other classes; one of a single sample is a point mass (the published code leaves such classes
    out). Rows of method sinkhorn are named otdd.method-sinkhorn.

    extractor   whose features are compared: raw (coordinates, or pixels / 255); ngrams (of a text);
                lenet or real_resnet18, networks trained here on the real data; resnet18 or
                inception with ImageNet's weights; fid_inception, that of published FIDs. auto: raw
                for points; ngrams for text; lenet for labelled images, resnet18 for unlabelled
                ones.
    method      of the optimal transport: exact, or sinkhorn (the published implementation's number,
                for comparison only).
    most        points that are coupled on each side; the classes' Gaussians are of all points.
    replicates  at most so many replicates of the data are measured: a matter of time.
    splits      number of real-against-real distances behind the floor.
    """

    ACCEPTS = READ_BY
    RECORDS = True
    NEEDS: ClassVar[Needs] = {"data.labels": {}, "draws.labels": {}}
    TINY = {"splits": 2}
    BOUNDS = ("held out",)
    COVARIANCE = "class"
    KEYS: ClassVar[Keys] = {
        "otdd": (
            "optimal transport distance between labelled sets, with its floor",
            "squared units of the features",
            "lower",
        ),
        "otdd/excess": ("what of it is above the floor", "squared units of the features", "lower"),
        "otdd/coverage": (
            "real classes that have a synthetic sample",
            "share of the classes",
            "higher",
        ),
    }
    PER_TASK = ("otdd",)
    BY: ClassVar[Ways] = {"otdd": "ratio"}

    def __init__(
        self,
        *,
        extractor: Extractor = "auto",
        method: Literal["exact", "sinkhorn"] = "exact",
        most: PositiveInt = 2000,
        replicates: PositiveInt = 10,
        splits: PositiveInt = 4,
    ) -> None:
        self.extractor, self.method, self.most, self.replicates, self.splits = (
            extractor,
            method,
            most,
            replicates,
            splits,
        )

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Hold n real samples (or all held-out ones, if fewer), their classes' Gaussians, and the
        floor.
        """
        self._dataset = dataset
        pool = real_pool(dataset, real, 3 * n, rng)  # so that even a rare class has twice its share
        self._like, self.n_, y = (
            pool.samples.take(slice(0, 1)),
            min(n, pool.n_held_out),
            pool.samples.y,
        )
        if y is None:
            raise ValueError(f"otdd needs labels; data set {type(dataset).__name__} has none")
        x = self._features(pool.samples)  # [replicates, pool, d]
        self.about_ = {"extractor": features.resolve(self.extractor, dataset)}
        self._real = [labelled(each[: self.n_], y[: self.n_], self.most, rng) for each in x]
        self.classes_ = np.unique(y[: self.n_])
        usual = proportional_labels(
            y if real.y is None else real.y, self.n_
        )  # what a faithful model would draw
        pairs = alike(y, y[: self.n_], usual, self.splits, rng)
        between = []  # a replicate for each split
        for i, (one, other) in enumerate(pairs):
            points = x[i % len(x)]
            a = labelled(points[one], y[one], self.most, rng)
            b = labelled(points[other], y[other], self.most, rng)
            between.append(self._distance(a, b))
        self.floor_, self.floor_sd_ = mean_and_spread(
            np.array(between), f"{len(pool)} real samples cannot give two sets of {self.n_}"
        )

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Value | Number]:
        value = self._value(synthetic, rng)
        return {
            "otdd": Value(value, self.floor_, self.floor_sd_, self.n_),
            "otdd/coverage": self._coverage(synthetic),
            "otdd/excess": excess(value, self.floor_),
        }

    def _value(self, synthetic: Samples, rng: np.random.Generator) -> Number:
        reason = refusal(synthetic, self._like) or (
            "" if synthetic.y is not None else "the synthetic samples have no labels"
        )
        if not reason and len(synthetic) < self.n_:
            reason = f"{len(synthetic)} synthetic samples, {self.n_} are compared"
        if reason:
            return Undefined(reason)
        synthetic = first(synthetic, self.n_)
        x = self._features(synthetic)  # [replicates, n, d]
        if reason := degenerate(np.moveaxis(x, 1, 0)):
            return Undefined(reason)
        assert synthetic.y is not None
        sides = (labelled(each, synthetic.y, self.most, rng) for each in x)
        values = np.array(
            [self._distance(real, side) for real, side in zip(self._real, sides, strict=True)]
        )
        images = self._dataset.GIVES == "images"
        return defined(
            values[0] if images else values, "the distance is not finite: features too large"
        )

    def _distance(self, real: Labelled, other: Labelled) -> float:
        return exact(real, other) if self.method == "exact" else sinkhorn(real, other)

    def _coverage(self, synthetic: Samples) -> Number:
        if synthetic.y is None:
            return Undefined("the synthetic samples have no labels")
        return float(np.isin(self.classes_, synthetic.y[: self.n_]).mean())

    def _features(self, samples: Samples) -> np.ndarray:
        """[replicates, n, d]; one replicate for images."""
        x = features.extract(samples, self.extractor, self._dataset)
        return x[None] if x.ndim == 2 else np.moveaxis(x[:, : self.replicates], 1, 0)


def alike(
    y: np.ndarray, one: np.ndarray, two: np.ndarray, pairs: int, rng: np.random.Generator
) -> Iterator[list[np.ndarray]]:
    """Rows of two disjoint sets out of y [pool], with the class counts of the labels `one` and
    `two`: chance in the counts would count as distance.  A class with too few samples is shared
    evenly; none where all samples are too few, or nothing of them is left for one of the sets.
    """
    for _ in range(pairs if len(y) >= len(one) + len(two) else 0):
        halves: list[list[np.ndarray]] = [[], []]
        for k in np.unique(y):
            rows, wanted = (
                rng.permutation(np.flatnonzero(y == k)),
                [int((side == k).sum()) for side in (one, two)],
            )
            here = wanted if sum(wanted) <= len(rows) else [min(n, len(rows) // 2) for n in wanted]
            halves[0].append(rows[: here[0]])
            halves[1].append(rows[here[0] : sum(here)])
        found = [np.concatenate(half) for half in halves]
        if all(map(len, found)):
            yield found
