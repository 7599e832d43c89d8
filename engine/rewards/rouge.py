"""ROUGE-N (Lin 2004) as reward: how much of what a real text goes on with is in what the model
wrote, as Yi 2510.16657 picks summaries.

F of precision and recall of n-grams, each counted as often as in both.  Not a likelihood: a text
that the real one does not have is worth nothing, however good.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine._tokens import windows
from engine.parts import Dataset, Generator, Needs, Params, PositiveInt
from engine.samples import Samples


class Rouge:
    """From 0 to 1; it learns nothing.

    n  tokens of an n-gram: 1 compares which tokens there are, 2 which pairs.
    """

    ACCEPTS = ("text",)
    NEEDS: ClassVar[Needs] = {"draws.prompts": {}}
    TINY: ClassVar[Params] = {}

    def __init__(self, *, n: PositiveInt = 1) -> None:
        self.n = n

    def fit(
        self, dataset: Dataset, real: Samples, generator: Generator, rng: np.random.Generator
    ) -> dict[str, float]:
        return {}

    def score(self, samples: Samples) -> np.ndarray:
        """[n, replicates]."""
        if samples.prompted is None:
            raise ValueError(
                "rouge: these texts do not go on from real ones; judge the draws of "
                "{name: decode, prompt: ...}"
            )
        real, given = samples.prompted.real, samples.prompted.given
        written = real.shape[-1] - given
        if written < self.n:
            raise ValueError(f"rouge: {written} tokens are written, fewer than n, {self.n}")
        own, theirs = (x[..., given:].reshape(-1, written) for x in (samples.x, real))
        return overlap(own, theirs, self.n).reshape(real.shape[:2])


def overlap(x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """Share of the n-grams of texts x [rows, length] that are in y of the same shape: [rows].

    Both have equally many, so that precision, recall and F are one number.
    """
    both = np.stack([windows(each, int(max(x.max(), y.max())) + 1, n) for each in (x, y)])
    seen, code = np.unique(both, return_inverse=True)
    code = code.reshape(both.shape) + np.arange(len(x))[:, None] * len(seen)
    (a, of_a), (b, of_b) = (np.unique(each, return_counts=True) for each in code)
    shared, i, j = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    common = np.bincount(shared // len(seen), np.minimum(of_a[i], of_b[j]), len(x))
    values: np.ndarray = common / both.shape[2]
    return values
