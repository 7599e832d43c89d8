"""Latent alignment (Zverev et al. 2512.11867): whether a linear classifier tells synthetic from
held-out real samples on any extractor's features, and how far their means and covariances lie
apart.

A distance such as FID cannot say whether two clouds overlap; an AUC of 1 says that they do not.  A
linear classifier does not see that one cloud is wider than the other: the covariance does.  See
`engine/distances/alignment.py` for the formulas.  Network features are those of the extractor, not
of a classifier that learnt to tell these two sets apart.  About 0.7 CPU s at 2,000 samples of 512
features, 18 s of 2,048.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.distances import features
from engine.distances.alignment import LEAST, centroid, covariance, separability
from engine.distances.extractors import READ_BY
from engine.distances.floors import (
    defined,
    degenerate,
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
    Ways,
)
from engine.samples import Samples

PARTS = ("auc", "centroid", "covariance")


class Alignment:
    """Each number has its floor, the mean between disjoint real sets of the same n. An AUC beside a
    floor near 0.5 is judged as it is ({metric: alignment/auc, above: 0.9, of: one}).

    extractor   whose features are compared: raw (coordinates, or pixels / 255); ngrams (of a text);
                lenet or real_resnet18, networks trained here on the real data; resnet18 or
                inception with ImageNet's weights; fid_inception, that of published FIDs. auto: raw
                for points; ngrams for text; lenet for labelled images, resnet18 for unlabelled
                ones.
    replicates  at most so many replicates of the data are measured: a matter of time.
    splits      number of real-against-real comparisons behind the floors.
    """

    ACCEPTS = READ_BY
    RECORDS = True
    TINY = {"splits": 2, "replicates": 2}
    BOUNDS = ("held out",)
    COVARIANCE = "set"
    KEYS: ClassVar[Keys] = {
        "alignment/auc": (
            "of a linear classifier that tells synthetic from held-out real samples: 0.5 where it "
            "cannot, 1 where it always can; with its floor",
            "share of the pairs",
            "lower",
        ),
        "alignment/centroid": (
            "distance of the means, with its floor",
            "root mean square distances of real samples from their mean",
            "lower",
        ),
        "alignment/covariance": (
            "Frobenius distance of the covariances, with its floor",
            "Frobenius norms of the real covariance",
            "lower",
        ),
    }
    PER_TASK = ("alignment/auc", "alignment/centroid", "alignment/covariance")
    BY: ClassVar[Ways] = {"alignment/centroid": "ratio", "alignment/covariance": "ratio"}

    def __init__(
        self,
        *,
        extractor: Extractor = "auto",
        replicates: PositiveInt = 10,
        splits: PositiveInt = 4,
    ) -> None:
        self.extractor, self.replicates, self.splits = extractor, replicates, splits

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Hold n real samples (or all held-out ones, if fewer) against which as many synthetic ones
        are compared.
        """
        self._dataset = dataset
        pool = real_pool(dataset, real, 2 * n, rng)
        self._like, self.n_ = pool.samples.take(slice(0, 1)), min(n, pool.n_held_out)
        self._few = too_few(self.n_, pool.n_held_out, LEAST)
        self.about_ = {"extractor": features.resolve(self.extractor, dataset)}
        x = self._features(pool.samples)  # [replicates, pool, d]
        self._real = x[:, : self.n_]
        splits = 0 if self._few else self.splits  # a replicate for each split
        pairs = disjoint_pairs(len(pool), self.n_, splits, rng)
        between = [compared(x[i % len(x)][a], x[i % len(x)][b]) for i, (a, b) in enumerate(pairs)]
        reason = self._few or f"{len(pool)} real samples cannot give two sets of {self.n_}"
        each = np.array(between).reshape(-1, len(PARTS)).T  # [parts, splits]
        self.floors_ = [mean_and_spread(values, reason) for values in each]

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Value | Number]:
        return {
            f"alignment/{part}": Value(value, *floor, self.n_)
            for part, value, floor in zip(PARTS, self._values(synthetic), self.floors_, strict=True)
        }

    def _values(self, synthetic: Samples) -> list[Number]:
        """One for each of PARTS."""
        reason = refusal(synthetic, self._like) or self._few
        if not reason and len(synthetic) < self.n_:
            reason = f"{len(synthetic)} synthetic samples, {self.n_} are compared"
        x = self._features(first(synthetic, self.n_)) if not reason else np.zeros((1, 1, 1))
        if reason := reason or degenerate(np.moveaxis(x, 1, 0)):
            return [Undefined(reason)] * len(PARTS)
        each = np.array([compared(*sides) for sides in zip(self._real, x, strict=True)])
        images = self._dataset.GIVES == "images"
        why = "it is not finite: features too large, or real ones that do not vary"
        return [defined(c[0] if images else c, why) for c in each.T]

    def _features(self, samples: Samples) -> np.ndarray:
        """[replicates, n, d]; one replicate for images."""
        x = features.extract(samples, self.extractor, self._dataset)
        return x[None] if x.ndim == 2 else np.moveaxis(x[:, : self.replicates], 1, 0)


def compared(real: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """The PARTS of two feature sets [n, d]."""
    auc, *_ = separability(real, other)
    return auc, centroid(real, other), covariance(real, other)
