"""Improved precision and recall by k-nearest-neighbour manifolds (Kynkaanniemi et al. 2019), k = 5
as in MAD 2307.01850.

Not the precision and recall of a classifier, nor density and coverage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from engine.distances import features
from engine.distances.extractors import READ_BY
from engine.distances.floors import (
    defined,
    disjoint_pairs,
    first,
    mean_and_spread,
    real_pool,
    refusal,
    too_few,
)
from engine.parts import (
    Around,
    Dataset,
    Extractor,
    Generator,
    Keys,
    Number,
    PositiveInt,
    Undefined,
    Value,
)
from engine.samples import Samples

CHUNK = 4_000_000  # distances worked on at once
# a squared distance below this share of the squared lengths is zero: equal samples are at distance
# 0
ROUNDING = 1e-12


class PrecisionRecall:
    """The floor is what a real set of the same n scores.

    extractor   whose features are compared: raw (coordinates, or pixels / 255); ngrams (of a text);
                lenet or real_resnet18, networks trained here on the real data; resnet18 or
                inception with ImageNet's weights; fid_inception, that of published FIDs. auto: raw
                for points; ngrams for text; lenet for labelled images, resnet18 for unlabelled
                ones.
    k           the ball about a sample reaches to its k-th nearest neighbour (MAD: 5); larger ones
                forgive more.
    n_max       at most so many samples are compared on each side: the cost grows with the square.
    replicates  at most so many replicates of the data are measured: a matter of time.
    splits      number of real-against-real comparisons behind the floor.
    """

    ACCEPTS = READ_BY
    RECORDS = True
    TINY = {"k": 2}
    BOUNDS = ("held out", "n_max")
    KEYS: ClassVar[Keys] = {
        "precision_recall/recall": (
            "real samples in the ball of some synthetic one: diversity",
            "share",
            "higher",
        ),
        "precision_recall/precision": (
            "synthetic samples in the ball of some real one: quality",
            "share",
            "higher",
        ),
    }
    PER_TASK = ("precision_recall/recall", "precision_recall/precision")

    def __init__(
        self,
        *,
        extractor: Extractor = "auto",
        k: PositiveInt = 5,
        n_max: PositiveInt = 2000,
        replicates: PositiveInt = 100,
        splits: PositiveInt = 8,
    ) -> None:
        self.extractor, self.k, self.n_max, self.replicates, self.splits = (
            extractor,
            k,
            n_max,
            replicates,
            splits,
        )

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Hold n real samples (`n_max` or all held-out ones, if fewer) and their balls."""
        self._dataset = dataset
        n = min(n, self.n_max)
        pool = real_pool(dataset, real, 2 * n, rng)
        self._like, self.n_ = pool.samples.take(slice(0, 1)), min(n, pool.n_held_out)
        self._few = too_few(self.n_, pool.n_held_out, self.k + 1)
        self.about_ = {"extractor": features.resolve(self.extractor, dataset)}
        x = self._features(pool.samples)  # [replicates, pool, d]
        self._manifolds = (
            [Manifold(each[: self.n_], self.k) for each in x] if self.n_ > self.k else []
        )
        pairs = disjoint_pairs(len(pool), self.n_, self.splits if self.n_ > self.k else 0, rng)
        sets = (
            (x[i % len(x)][a], x[i % len(x)][b]) for i, (a, b) in enumerate(pairs)
        )  # a replicate for each split
        scores = np.array([scored(Manifold(a, self.k), Manifold(b, self.k)) for a, b in sets])
        reason = self._few or (
            f"{len(pool)} real samples cannot give two sets of {self.n_} with {self.k} "
            "neighbours each"
        )
        self.floor_ = [mean_and_spread(column, reason)[0] for column in scores.reshape(-1, 2).T]

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Value]:
        precision, recall = self._scores(synthetic)
        return {
            "precision_recall/precision": Value(precision, self.floor_[0], n=self.n_),
            "precision_recall/recall": Value(recall, self.floor_[1], n=self.n_),
        }

    def _scores(self, synthetic: Samples) -> tuple[Number, Number]:
        reason = refusal(synthetic, self._like)
        if not reason and len(synthetic) < self.n_:
            reason = f"{len(synthetic)} synthetic samples, {self.n_} are compared"
        reason = reason or self._few
        x = self._features(first(synthetic, self.n_)) if not reason else np.zeros(1)
        if not np.isfinite(x).all() or np.abs(x).max() > 1e150:
            reason = (
                "some synthetic samples have values that are not finite, or too large to square"
            )
        if reason:
            return Undefined(reason), Undefined(reason)
        pairs = np.array(
            [scored(m, Manifold(each, self.k)) for m, each in zip(self._manifolds, x, strict=True)]
        )  # [.., 2]
        images = self._dataset.GIVES == "images"
        precision, recall = (
            defined(column[0] if images else column, "not finite") for column in pairs.T
        )
        return precision, recall

    def _features(self, samples: Samples) -> np.ndarray:
        """[replicates, n, d]; one replicate for images."""
        x = features.extract(samples, self.extractor, self._dataset)
        return x[None] if x.ndim == 2 else np.moveaxis(x[:, : self.replicates], 1, 0)


class Manifold:
    """A union of balls: samples x [n, d], squared radii [n] = distance to the k-th nearest other
    sample.
    """

    def __init__(self, x: np.ndarray, k: int) -> None:
        self.x = np.ascontiguousarray(x)
        self.radii = np.concatenate(
            [np.partition(d, k, axis=1)[:, k] for d in squared_distances(self.x, self.x)]
        )


def scored(real: Manifold, synthetic: Manifold) -> tuple[float, float]:
    """Precision and recall; a sample on the edge of a ball is inside."""
    realistic = np.zeros(len(synthetic.x), dtype=bool)
    covered, start = np.zeros(len(real.x), dtype=bool), 0
    for squares in squared_distances(real.x, synthetic.x):  # [rows, synthetic]
        rows = slice(start, start := start + len(squares))
        realistic |= (squares <= real.radii[rows, None]).any(0)
        covered[rows] = (squares <= synthetic.radii).any(1)
    return float(realistic.mean()), float(covered.mean())


def squared_distances(a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
    """Between rows a [n, d] and b [m, d], in blocks of rows [<= n, m];
    equal rows are at 0 exactly.
    """
    centre = b.mean(0)
    a, b = a - centre, b - centre
    aa, bb = np.einsum("ij,ij->i", a, a), np.einsum("ij,ij->i", b, b)
    rows = max(1, CHUNK // len(b))
    for i in range(0, len(a), rows):
        lengths = aa[i : i + rows, None] + bb
        squares = lengths - 2 * (a[i : i + rows] @ b.T)
        yield np.where(squares <= ROUNDING * lengths, 0.0, squares)
