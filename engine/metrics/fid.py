"""Frechet distance between held-out real and synthetic samples (Heusel et al. 2017) on any
extractor's features.

It is FID proper only on the published Inception network's features (extractor "fid_inception"):
otherwise read it as FD on the named features.  Points are compared on their raw coordinates, one
distance per replicate.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.distances import features
from engine.distances.extractors import READ_BY
from engine.distances.floors import (
    defined,
    degenerate,
    disjoint_pairs,
    excess,
    first,
    mean_and_spread,
    real_pool,
    refusal,
    too_few,
)
from engine.distances.frechet import frechet, moments_of
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
    traits_of,
)
from engine.samples import Samples


class Fid:
    """Its floor is the mean between disjoint real sets of the same n.

    extractor  whose features are compared: raw (coordinates, or pixels / 255); ngrams (of a text);
               lenet or real_resnet18, networks trained here on the real data; resnet18 or inception
               with ImageNet's weights; fid_inception, that of published FIDs. auto: raw for points;
               ngrams for text; lenet for labelled images, resnet18 for unlabelled ones.
    splits     number of real-against-real distances behind the floor; independent replicates count
               as splits.
    """

    ACCEPTS = READ_BY
    RECORDS = True
    TINY: dict[str, object] = {}
    BOUNDS = ("held out",)
    COVARIANCE = "set"
    KEYS: ClassVar[Keys] = {
        "fid": (
            "Frechet distance to held-out real samples, with its floor",
            "squared units of the features",
            "lower",
        ),
        "fid/excess": ("what of it is above the floor", "squared units of the features", "lower"),
    }
    PER_TASK = ("fid",)
    BY: ClassVar[Ways] = {"fid": "ratio"}

    def __init__(self, *, extractor: Extractor = "auto", splits: PositiveInt = 8) -> None:
        self.extractor = extractor
        # real-vs-real distances behind the floor; independent replicates count as splits
        self.splits = splits

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Hold n real samples (or all held-out ones, if fewer) against which as many synthetic ones
        are compared.
        """
        self._dataset = dataset
        pool = real_pool(dataset, real, 2 * n, rng)
        self._like, self.n_ = pool.samples.take(slice(0, 1)), min(n, pool.n_held_out)
        self._few = too_few(self.n_, pool.n_held_out)
        self.about_ = {"extractor": features.resolve(self.extractor, dataset)}
        x = features.extract(
            pool.samples, self.extractor, dataset
        )  # [pool, d] or [pool, replicates, d]
        self._reference = moments_of(x[: self.n_])
        splits = 0 if self._few else self._pairs(dataset, x)
        pairs = disjoint_pairs(len(pool), self.n_, splits, rng)
        between = np.array([frechet(moments_of(x[a]), moments_of(x[b])) for a, b in pairs])
        self.floor_, self.floor_sd_ = mean_and_spread(
            between, self._few or f"{len(pool)} real samples cannot give two sets of {self.n_}"
        )

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Value | Number]:
        value = self._distance(synthetic)
        return {
            "fid": Value(value, self.floor_, self.floor_sd_, self.n_),
            "fid/excess": excess(value, self.floor_),
        }

    def _pairs(self, dataset: Dataset, x: np.ndarray) -> int:
        """Splits of the pool: replicates that share no labels are splits already."""
        data = traits_of(dataset)
        own = x.shape[1] if data.replicates is not None and not data.classes else 1
        return -(-self.splits // own)

    def _distance(self, synthetic: Samples) -> Number:
        reason = refusal(synthetic, self._like) or self._few
        if not reason and len(synthetic) < self.n_:
            reason = f"{len(synthetic)} synthetic samples, {self.n_} are compared"
        if reason:
            return Undefined(reason)
        x = features.extract(first(synthetic, self.n_), self.extractor, self._dataset)  # [n, d]
        if reason := degenerate(x):
            return Undefined(reason)
        return defined(
            frechet(self._reference, moments_of(x)),
            "the distance is not finite: features too large or too few",
        )
