"""MAUVE (Pillutla et al. 2102.01454): how much two distributions overlap, from features that are
clustered together: the area under their divergence curve.

With P of the real and Q of the synthetic samples over the cells, and R = w P + (1 - w) Q, the curve
is (exp(-5 KL(Q || R)), exp(-5 KL(P || R))) over 0 < w < 1.  1 where both are equal, 0.004 where
they share no cell.  The paper clusters features of GPT-2; on others it is another number.
"""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from engine.distances import features
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
    Params,
    PositiveInt,
    Undefined,
    Value,
)
from engine.samples import Samples

SCALE = 5.0  # of the divergences, as in the paper
WEIGHTS = 200  # points of the curve
PER_CELL = 10  # samples of each side, on average


class Mauve:
    """Its floor is the mean between disjoint real sets of the same n.

    extractor   whose features are compared: raw (coordinates, or pixels / 255); ngrams (of a text);
                lenet or real_resnet18, networks trained here on the real data; resnet18 or
                inception with ImageNet's weights; fid_inception, that of published FIDs. auto: raw
                for points; ngrams for text; lenet for labelled images, resnet18 for unlabelled
                ones.
    starts      of the k-means clustering, of which the best counts.
    replicates  at most so many replicates of the data are measured: a matter of time.
    splits      number of real-against-real numbers behind the floor.
    """

    ACCEPTS = READ_BY
    RECORDS = True
    TINY: ClassVar[Params] = {"starts": 1, "splits": 2}
    BOUNDS = ("held out",)
    KEYS: ClassVar[Keys] = {
        "mauve": (
            "area under the divergence curve to held-out real samples, with its floor",
            "0 to 1",
            "higher",
        ),
    }

    def __init__(
        self,
        *,
        extractor: Extractor = "auto",
        starts: PositiveInt = 5,
        replicates: PositiveInt = 10,
        splits: PositiveInt = 4,
    ) -> None:
        self.extractor, self.starts = extractor, starts
        self.replicates, self.splits = replicates, splits

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Hold n real samples (or all held-out ones, if fewer) against which as many synthetic ones
        are compared.
        """
        self._dataset = dataset
        pool = real_pool(dataset, real, 2 * n, rng)
        self._like, self.n_ = pool.samples.take(slice(0, 1)), min(n, pool.n_held_out)
        self._few = too_few(self.n_, pool.n_held_out)
        x = self._features(pool.samples)  # [replicates, pool, d]
        self.about_ = {"extractor": features.resolve(self.extractor, dataset)}
        self._real = x[:, : self.n_]
        pairs = disjoint_pairs(len(pool), self.n_, 0 if self._few else self.splits, rng)
        sets = ((x[i % len(x)][a], x[i % len(x)][b]) for i, (a, b) in enumerate(pairs))
        between = np.array([self._overlap(a, b, rng) for a, b in sets])
        self.floor_, self.floor_sd_ = mean_and_spread(
            between, self._few or f"{len(pool)} real samples cannot give two sets of {self.n_}"
        )

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Value]:
        return {"mauve": Value(self._value(synthetic, rng), self.floor_, self.floor_sd_, self.n_)}

    def _value(self, synthetic: Samples, rng: np.random.Generator) -> Number:
        reason = refusal(synthetic, self._like)
        if not reason and len(synthetic) < self.n_:
            reason = f"{len(synthetic)} synthetic samples, {self.n_} are compared"
        reason = reason or self._few
        x = self._features(first(synthetic, self.n_)) if not reason else np.zeros(1)
        if not reason and not _squarable(x):
            reason = "some synthetic samples have features that are too large to square"
        if reason := reason or degenerate(np.moveaxis(x, 1, 0)):
            return Undefined(reason)
        pairs = zip(self._real, x, strict=True)
        each = np.array([self._overlap(real, own, rng) for real, own in pairs])
        images = self._dataset.GIVES == "images"
        return defined(each[0] if images else each, "not finite")

    def _overlap(self, real: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> float:
        """Of two sets of features [n, d]."""
        both = np.concatenate([real, other])
        cells = min(max(2, round(len(real) / PER_CELL)), len(np.unique(both, axis=0)))
        seed = int(rng.integers(2**31))
        clusters = KMeans(cells, n_init=self.starts, random_state=seed)
        with warnings.catch_warnings():  # fewer cells than asked for: some stay empty
            warnings.simplefilter("ignore", ConvergenceWarning)
            cell = clusters.fit_predict(both)
        p, q = (np.bincount(own, minlength=cells) for own in np.split(cell, [len(real)]))
        return area(divergence_curve(p / p.sum(), q / q.sum(), weights()))

    def _features(self, samples: Samples) -> np.ndarray:
        """[replicates, n, d]; one replicate for images."""
        x = features.extract(samples, self.extractor, self._dataset)
        return x[None] if x.ndim == 2 else np.moveaxis(x[:, : self.replicates], 1, 0)


def _squarable(x: np.ndarray) -> bool:
    return not np.isfinite(x).all() or float(np.abs(x).max(initial=0)) < 1e150


def weights() -> np.ndarray:
    """Of P in the mixtures, strictly between 0 and 1."""
    return (np.arange(WEIGHTS) + 0.5) / WEIGHTS


def divergence_curve(p: np.ndarray, q: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Points (exp(-5 KL(q || r)), exp(-5 KL(p || r))) for r = w p + (1 - w) q of two histograms
    [k], with the ends (1, 0) and (0, 1): [weights + 2, 2].
    """
    inner = [(divergence(q, r), divergence(p, r)) for r in _mixtures(p, q, weights)]
    return np.exp(-SCALE * np.array([(0.0, np.inf), *inner, (np.inf, 0.0)]))


def _mixtures(p: np.ndarray, q: np.ndarray, weights: np.ndarray) -> np.ndarray:
    values: np.ndarray = weights[:, None] * p + (1 - weights[:, None]) * q  # [weights, k]
    return values


def divergence(p: np.ndarray, r: np.ndarray) -> float:
    """KL(p || r) of histograms [k], r > 0 where p is."""
    there = p > 0
    return float(p[there] @ np.log(p[there] / r[there]))


def area(curve: np.ndarray) -> float:
    """Under points [points, 2] from (1, 0) to (0, 1), by trapezoids."""
    x, y = curve.T
    return float(-np.trapezoid(y, x))
