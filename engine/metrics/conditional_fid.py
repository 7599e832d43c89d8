"""Conditional Frechet distance (Zverev 2512.11867): the unweighted mean over classes of the
distance within each class.

With few samples per class it is mostly finite-sample bias, so both sides have equal n in each class
and the floor is between real sets of the very same counts.  Not the distance of the whole set
(`fid`), which mixed-up labels leave unmoved.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.distances import features
from engine.distances.extractors import READ_BY
from engine.distances.floors import defined, degenerate, excess, mean_and_spread, real_pool, refusal
from engine.distances.frechet import Moments, frechet, moments_by_group
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

MOST_CACHED = 8  # sets of counts whose real side is kept; labels drawn in fixed shares need one
NOT_FINITE = "the distance is not finite: features too large"


class ConditionalFid:
    """A class that vanished is Undefined and leaves the mean; coverage then falls. n is the
    smallest number compared in a class.

    extractor  whose features are compared: raw (coordinates, or pixels / 255); ngrams (of a text);
               lenet or real_resnet18, networks trained here on the real data; resnet18 or inception
               with ImageNet's weights; fid_inception, that of published FIDs. auto: raw for points;
               ngrams for text; lenet for labelled images, resnet18 for unlabelled ones.
    splits     number of real-against-real distances behind the floor.
    """

    ACCEPTS = READ_BY
    RECORDS = True
    NEEDS: ClassVar[Needs] = {"data.labels": {}, "draws.labels": {}}
    TINY: dict[str, object] = {}
    REVISION = 2  # 1 took a class without held-out real samples for one that the model had lost
    BOUNDS = ("held out",)
    COVARIANCE = "class"
    KEYS: ClassVar[Keys] = {
        "conditional_fid": (
            "mean over classes of the Frechet distance within each, with its floor",
            "squared units of the features",
            "lower",
        ),
        "conditional_fid/excess": (
            "what of it is above the floor",
            "squared units of the features",
            "lower",
        ),
        "conditional_fid/coverage": (
            "classes that have two synthetic samples or more",
            "share of the classes",
            "higher",
        ),
        "conditional_fid/class_N": (
            "the distance within class N",
            "squared units of the features",
            "lower",
        ),
    }
    BY: ClassVar[Ways] = {"conditional_fid": "ratio", "conditional_fid/class_N": "ratio"}

    def __init__(self, *, extractor: Extractor = "auto", splits: PositiveInt = 8) -> None:
        self.extractor = extractor
        self.splits = splits  # real-vs-real distances behind the floor

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Hold the real samples of each class; how many of them are compared depends on the
        synthetic counts.
        """
        self._dataset = dataset
        pool = real_pool(dataset, real, 3 * n, rng)  # so that even a rare class has twice its share
        self._like, y = pool.samples.take(slice(0, 1)), pool.samples.y
        if y is None:
            raise ValueError(
                f"conditional_fid needs labels; data set {type(dataset).__name__} has none"
            )
        self.about_ = {"extractor": features.resolve(self.extractor, dataset)}
        x = features.extract(
            pool.samples, self.extractor, dataset
        )  # [pool, d] or [pool, replicates, d]
        self.classes_ = np.unique(y).tolist()
        self._pool = {k: x[y == k] for k in self.classes_}
        held_out = np.arange(len(y)) < pool.n_held_out
        self._reference = {
            k: x[(y == k) & held_out][: len(self._pool[k]) // 2] for k in self.classes_
        }
        self._floor_seed = int(rng.integers(2**63))
        wanted = proportional_labels(y if real.y is None else real.y, n)
        self._usual = tuple(
            min(int((wanted == k).sum()), len(self._reference[k])) for k in self.classes_
        )
        self._cached: dict[tuple[int, ...], tuple[Moments, Number, Number]] = {}

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Value | Number]:
        reason = refusal(synthetic, self._like) or (
            "" if synthetic.y is not None else "the synthetic samples have no labels"
        )
        x = None if reason else features.extract(synthetic, self.extractor, self._dataset)
        reason = reason if x is None else degenerate(x)
        if reason or x is None:
            return self._with_floor(Undefined(reason), self._usual)
        rows = [np.flatnonzero(synthetic.y == k) for k in self.classes_]
        counts = tuple(
            min(len(r), len(self._reference[k])) for r, k in zip(rows, self.classes_, strict=True)
        )
        return self._report(
            [x[r[:n]] for r, n in zip(rows, counts, strict=True)], counts, [len(r) for r in rows]
        )

    def _report(
        self, groups: list[np.ndarray], counts: tuple[int, ...], found: list[int]
    ) -> dict[str, Value | Number]:
        live = [n >= 2 for n in counts]
        coverage = {"conditional_fid/coverage": float(np.mean([n >= 2 for n in found]))}
        if not any(live):
            reason = "no class has two synthetic samples and two held-out real ones"
            return self._with_floor(Undefined(reason), self._usual) | coverage
        each = frechet(
            self._at(counts)[0],
            moments_by_group([g for g, alive in zip(groups, live, strict=True) if alive]),
        )
        remaining = iter(each)  # [live classes] or [live classes, replicates]
        values: dict[str, Value | Number] = {}
        for k, n, alive in zip(self.classes_, found, live, strict=True):
            values[f"conditional_fid/class_{k}"] = (
                defined(next(remaining), NOT_FINITE) if alive else self._gone(k, n)
            )
        smallest = min(n for n in counts if n >= 2)
        mean = defined(each.mean(0), NOT_FINITE)
        return self._with_floor(mean, counts, smallest) | coverage | values

    def _gone(self, k: int, found: int) -> Undefined:
        """Why class k has no distance at so many synthetic samples: the side that lacks them."""
        if found < 2:
            return Undefined(f"class {k} has {found} synthetic samples; at least 2 are needed")
        held_out = len(self._reference[k])
        return Undefined(
            f"class {k} has {held_out} real samples that are held out; at least 2 are needed"
        )

    def _with_floor(
        self, value: Number, counts: tuple[int, ...], n: int | None = None
    ) -> dict[str, Value | Number]:
        _, floor, spread = self._at(counts)
        return {
            "conditional_fid": Value(value, floor, spread, n),
            "conditional_fid/excess": excess(value, floor),
        }

    def _at(self, counts: tuple[int, ...]) -> tuple[Moments, Number, Number]:
        """The real moments of so many samples in each live class, the floor at these counts, and
        its spread.
        """
        if counts not in self._cached:
            if len(self._cached) >= MOST_CACHED:
                self._cached.clear()
            live = [(k, n) for k, n in zip(self.classes_, counts, strict=True) if n >= 2]
            reference = moments_by_group(
                [self._reference[k][:n] for k, n in live] or [np.zeros((0, 1))]
            )
            self._cached[counts] = (reference, *self._floor(live))
        return self._cached[counts]

    def _floor(self, live: list[tuple[int, int]]) -> tuple[Number, Number]:
        rng = np.random.default_rng(self._floor_seed)
        means = []
        for _ in range(self.splits if live else 0):
            orders = [rng.permutation(len(self._pool[k])) for k, _ in live]
            shuffled = [self._pool[k][order] for (k, _), order in zip(live, orders, strict=True)]
            a = [own[:n] for (_, n), own in zip(live, shuffled, strict=True)]
            b = [own[n : 2 * n] for (_, n), own in zip(live, shuffled, strict=True)]
            means.append(frechet(moments_by_group(a), moments_by_group(b)).mean(0))
        return mean_and_spread(np.array(means), "no class has two held-out real samples")
