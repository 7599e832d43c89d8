"""Kernel inception distance (Binkowski et al. 1801.01401): the unbiased squared MMD of features
under (x.y / d + 1)^3.

Unlike FID its expectation does not depend on n: about zero, and often below, where both sides are
equal.  One estimate from all samples by default; the paper's mean over subsets on request.  KID
proper only on the network of extractor "fid_inception".
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
from engine.parts import (
    Around,
    Dataset,
    Extractor,
    Generator,
    Keys,
    NonNegativeInt,
    Number,
    PositiveInt,
    Undefined,
    Value,
)
from engine.samples import Samples

CHUNK = 4_000_000  # kernel values worked on at once


class Kid:
    """Its floor is the mean between disjoint real sets of the same n.

    extractor    whose features are compared: raw (coordinates, or pixels / 255); ngrams (of a
                 text); lenet or real_resnet18, networks trained here on the real data; resnet18 or
                 inception with ImageNet's weights; fid_inception, that of published FIDs. auto: raw
                 for points; ngrams for text; lenet for labelled images, resnet18 for unlabelled
                 ones.
    subsets      pairs of random subsets whose estimates are averaged, as in the paper; 0: one
                 estimate from all samples.
    subset_size  samples of a subset, at least 3; from the whole set's size on, one estimate from
                 all.
    replicates   at most so many replicates of the data are measured: a matter of time.
    splits       number of real-against-real estimates behind the floor.
    """

    ACCEPTS = READ_BY
    RECORDS = True
    TINY = {"splits": 2}
    BOUNDS = ("held out",)
    KEYS: ClassVar[Keys] = {
        "kid": (
            "squared kernel distance (MMD) to held-out real samples, with its floor",
            "squared MMD",
            "lower",
        ),
        "kid/excess": ("what of it is above the floor", "squared MMD", "lower"),
        "kid/standard_error": ("of this estimate, from these samples", "squared MMD", ""),
    }

    PER_TASK = ("kid",)

    def __init__(
        self,
        *,
        extractor: Extractor = "auto",
        subsets: NonNegativeInt = 0,
        subset_size: PositiveInt = 1000,
        replicates: PositiveInt = 100,
        splits: PositiveInt = 8,
    ) -> None:
        if subset_size < 3:
            raise ValueError(f"kid: subset_size must be at least 3, got {subset_size}")
        self.extractor, self.subsets, self.subset_size = extractor, subsets, subset_size
        self.replicates, self.splits = replicates, splits

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Hold n real samples (or all held-out ones, if fewer) against which as many synthetic ones
        are compared.
        """
        self._dataset = dataset
        pool = real_pool(dataset, real, 2 * n, rng)
        self._like, self.n_ = pool.samples.take(slice(0, 1)), min(n, pool.n_held_out)
        self._few = too_few(self.n_, pool.n_held_out, 3)
        x = self._features(pool.samples)  # [replicates, pool, d]
        self.about_ = {"extractor": features.resolve(self.extractor, dataset)}
        self._real = x[:, : self.n_]
        pairs = disjoint_pairs(
            len(pool), self.n_, 0 if self._few else self.splits, rng
        )  # a replicate for each split
        between = np.array(
            [
                self._estimate(x[i % len(x)][a], x[i % len(x)][b], rng)[0]
                for i, (a, b) in enumerate(pairs)
            ]
        )
        self.floor_, self.floor_sd_ = mean_and_spread(
            between, self._few or f"{len(pool)} real samples cannot give two sets of {self.n_}"
        )

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Value | Number]:
        value, error = self._value(synthetic, rng)
        return {
            "kid": Value(value, self.floor_, self.floor_sd_, self.n_),
            "kid/standard_error": error,
            "kid/excess": excess(value, self.floor_),
        }

    def _value(self, synthetic: Samples, rng: np.random.Generator) -> tuple[Number, Number]:
        reason = refusal(synthetic, self._like)
        if not reason and len(synthetic) < self.n_:
            reason = f"{len(synthetic)} synthetic samples, {self.n_} are compared"
        reason = reason or self._few
        x = self._features(first(synthetic, self.n_)) if not reason else np.zeros(1)
        if reason := reason or degenerate(np.moveaxis(x, 1, 0)):
            return Undefined(reason), Undefined(reason)
        each = np.array(
            [self._estimate(real, own, rng) for real, own in zip(self._real, x, strict=True)]
        )  # [replicates, 2]
        images = self._dataset.GIVES == "images"
        value, error = (
            defined(c[0] if images else c, "the distance is not finite: features too large")
            for c in each.T
        )
        return value, error

    def _estimate(
        self, real: np.ndarray, other: np.ndarray, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Estimate and standard error between two sets [n, d]; of subsets the error is their
        spread, scaled to all n.
        """
        size = min(self.subset_size, len(real))
        if not self.subsets or size == len(real):
            return mmd(real, other)
        drawn = []
        for _ in range(self.subsets):
            a = real[rng.permutation(len(real))[:size]]
            b = other[rng.permutation(len(other))[:size]]
            drawn.append(mmd(a, b)[0])
        values = np.array(drawn)
        spread = values.std(ddof=1) if len(values) > 1 else np.nan
        return float(values.mean()), float(spread * np.sqrt(size / len(real)))

    def _features(self, samples: Samples) -> np.ndarray:
        """[replicates, n, d]; one replicate for images."""
        x = features.extract(samples, self.extractor, self._dataset)
        return x[None] if x.ndim == 2 else np.moveaxis(x[:, : self.replicates], 1, 0)


def mmd(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Unbiased squared MMD of two sets [n, d] of equal size, and its standard error.

    The error is that of the U-statistic of h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(y_i,
    x_j), i != j, both orders: 4 var(E h | i) / n + 2 var(h) / (n (n - 1)), the first being zero
    under equal distributions.  Cost 8 n^2 d.
    """
    n, pairs = len(x), len(x) * (len(x) - 1)
    given, total, squares, cross, diagonal = np.empty(n), 0.0, 0.0, 0.0, 0.0
    for i in range(0, n, step := max(1, CHUNK // n)):
        rows = np.arange(i, min(i + step, n))
        between = cubic(x[rows], y)  # [rows, n]
        h = cubic(x[rows], x) + cubic(y[rows], y) - between - cubic(y[rows], x)
        h[rows - i, rows] = 0
        given[rows] = h.sum(1) / (n - 1)
        total, squares = total + h.sum(), squares + np.square(h).sum()
        cross, diagonal = cross + between.sum(), diagonal + between[rows - i, rows].sum()
    estimate = (total + 2 * (cross - diagonal)) / pairs - 2 * cross / n**2
    variance = max(squares / pairs - (total / pairs) ** 2, 0.0)  # of h
    first_order = max(given.var(ddof=1) - variance / (n - 1), 0.0)  # of its mean given one sample
    return float(estimate), float(np.sqrt(4 * first_order / n + 2 * variance / pairs))


def cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x.y / d + 1)^3 [n, m]."""
    base = x @ y.T
    base /= x.shape[1]
    base += 1
    values: np.ndarray = base * base * base
    return values
