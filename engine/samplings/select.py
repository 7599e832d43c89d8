"""Selection by importance: of more candidates than are needed, those are kept that fit the moments
of the real data in a few fixed directions.

    w(x) = N(B x; m_k, C_k) / N(B x; m, S)        m, S of the candidates of a class, m_k, C_k kept

Without replacement, each with a probability in proportion to its weight (Efraimidis and Spirakis
2006); with many candidates the kept ones have the moments (sampling importance resampling, Rubin
1988).  What no candidate reaches cannot be selected: `correct` moves what was drawn instead.  Not
verification (`verify`): nobody judges whether a sample is good.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from engine.parts import Around, Dataset, Draw, Finding, Generator, PartDict, PositiveInt
from engine.samples import Samples, proportional_labels
from engine.samplings._in_turn import prepared
from engine.samplings._moments import ROUNDING, Memory, Moments, mean_and_covariance, vectors


class Select:
    """Of labelled draws each class by itself; of others the whole set.

    The report holds `bytes_per_class`, the memory that stands for the real data, and `effective`,
    the effective share of the candidates: 1 where all weigh the same.

    basis      the directions: pca, those in which the first real set varies most, with tasks that
               of the earliest task of which a class is drawn; task_pca, those of the real set that
               arrived with the class; class_pca, each class's own; dct, the lowest frequencies of
               the cosine transform of a picture, and coordinates, so many pixels evenly spaced,
               need no memory.
    r          how many directions, all where data have fewer; many of them leave few candidates
               that weigh anything.
    per_class  moments of every class; false: of all classes that arrived together.
    factor     candidates for each sample that is kept.
    sampling   the sampling whose draws are candidates, with its parameters; None: plain.
    """

    ACCEPTS = {
        "points": {"basis": ("coordinates", "pca", "task_pca", "class_pca")},
        "images": {},
    }
    DIRECTIONS = ("r", "per_class")
    LABELS = "sampling"
    TINY = {"r": 2, "factor": 2}

    def __init__(
        self,
        *,
        basis: Literal["coordinates", "dct", "pca", "task_pca", "class_pca"] = "pca",
        r: PositiveInt = 16,
        per_class: bool = True,
        factor: PositiveInt = 4,
        sampling: PartDict | None = None,
    ) -> None:
        self.basis, self.r, self.per_class = basis, r, per_class
        self.factor, self.sampling = factor, sampling

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        self._memory = Memory(self.basis, self.r, self.per_class, real)
        self._candidates = prepared(self.sampling, dataset, real, founder, rng)

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        labels, many = around.labels, n * self.factor
        drawn = self._candidates(generator, around, self.factor)
        each = None if labels is None else np.repeat(labels, self.factor)
        candidates = drawn.sample(many, rng, labels=each)
        if not np.isfinite(candidates.x).all():
            raise Finding("diverged", "candidates that were to be selected from are not finite")
        if candidates.y is not None and (each is None or not np.array_equal(candidates.y, each)):
            labels = proportional_labels(candidates.y, n)  # the sampling gives labels of its own
        groups = self._memory.of(candidates.y, many, around)
        weight = self._log_weights(candidates, groups)
        chosen = _chosen(weight, candidates.y, labels, n, rng)
        x = candidates.x
        x = x[chosen[:, 0]] if x.ndim == 4 else x[chosen, np.arange(x.shape[1])]
        kept = [moments for _, moments in groups]
        report = {
            "effective": _effective(weight, groups),
            "bytes_per_class": self._memory.bytes_per_class(kept, candidates.y),
        }
        return Draw(Samples(x, labels), report)

    def _log_weights(
        self, candidates: Samples, groups: list[tuple[np.ndarray, Moments]]
    ) -> np.ndarray:
        """[candidates, replicates or 1]; 0 of classes without moments."""
        replicates = 1 if candidates.x.ndim == 4 else candidates.x.shape[1]
        found = np.zeros((len(candidates), replicates))
        for rows, moments in groups:
            z = moments.within(vectors(candidates.x[rows]))
            own = mean_and_covariance(z)
            wanted = (moments.mean, moments.covariance)
            found[rows] = (log_density(z, *wanted) - log_density(z, *own)).T
        return found


def log_density(z: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Of points z [replicates, n, r] under normal distributions, [replicates, n], up to a constant;
    variances that are rounding count as the least that is not.
    """
    values, vectors = np.linalg.eigh(covariance)
    least = ROUNDING * np.maximum(values[:, -1:], np.finfo(float).tiny)
    away = (z - mean[:, None]) @ vectors
    squares = np.square(away) / np.maximum(values, least)[:, None]
    found: np.ndarray = -0.5 * squares.sum(2)
    return found


def _chosen(
    log_weight: np.ndarray,
    of: np.ndarray | None,
    labels: np.ndarray | None,
    n: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """The candidates [n, replicates] that take the places with these labels: the largest log weight
    + Gumbel noise among those of the class, none twice.
    """
    score = log_weight + rng.gumbel(size=log_weight.shape)
    if of is None or labels is None:
        best: np.ndarray = np.argsort(-score, axis=0, kind="stable")[:n]
        return best
    found = np.empty((n, score.shape[1]), dtype=np.int64)
    for k in np.unique(labels):
        places, own = np.flatnonzero(labels == k), np.flatnonzero(of == k)
        found[places] = own[np.argsort(-score[own], axis=0, kind="stable")[: len(places)]]
    return found


def _effective(log_weight: np.ndarray, groups: list[tuple[np.ndarray, Moments]]) -> float:
    """(sum w)^2 / (m sum w^2) (Kong 1992), the mean over groups and replicates."""
    each = []
    for rows, _ in groups:
        w = np.exp(log_weight[rows] - log_weight[rows].max(0))
        each.append(np.square(w.sum(0)) / (len(w) * np.square(w).sum(0)))
    return float(np.mean(each)) if each else 1.0
