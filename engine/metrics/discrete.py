"""Token frequencies: Seddik 2404.05090's sum of squares and distance to model 0, Kazdan
2410.16713's collapse to one token.

Of the model's `frequencies_` where it has them, else of its samples.  Model 0 means the frequencies
of the real set, not the truth behind them; `tv` is the distance to the truth.
"""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np

from engine.knowledge import FittedFrequencies, TrueFrequencies, knows
from engine.parts import Around, Dataset, Generator, Keys, Needs, Number, Params, Ways
from engine.samples import Samples


class Discrete:
    """Compares the frequencies of tokens: one value per replicate, [replicates]."""

    TINY: ClassVar[Params] = {}
    ACCEPTS = ("tokens",)
    NEEDS: ClassVar[Needs] = {"data.frequencies": {}}
    READS = ("frequencies",)
    KEYS: ClassVar[Keys] = {
        "discrete/tv": (
            "total variation distance to the truth, half the L1 distance",
            "0 to 1",
            "lower",
        ),
        "discrete/sum_p2": (
            "sum of squared frequencies: 1 where a single token is left",
            "0 to 1",
            "lower",
        ),
        "discrete/support": ("tokens left", "tokens", "higher"),
        "discrete/entropy": ("of the frequencies", "nats", "higher"),
        "discrete/l1": ("L1 distance to model 0", "0 to 2", "lower"),
        "discrete/l2": ("squared L2 distance to model 0", "0 to 2", "lower"),
        "discrete/fixated": (
            "1 where a single token is left, so that its mean is the collapsed share",
            "share of the replicates",
            "lower",
        ),
    }
    BY: ClassVar[Ways] = {"discrete/entropy": "difference"}

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        self._truth = cast(TrueFrequencies, dataset).probabilities_[None, :]  # [1, K]
        self._first = _frequencies(real.x, self._truth.shape[1])  # [replicates, K]

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Number]:
        p = self._padded(generator, synthetic)  # [replicates, K]
        support = np.count_nonzero(p, axis=1)
        return {
            "discrete/sum_p2": np.square(p).sum(1),
            "discrete/support": support.astype(float),
            "discrete/entropy": -(p * np.log(p, out=np.zeros(p.shape), where=p > 0)).sum(1),
            "discrete/l1": np.abs(p - self._first).sum(1),
            "discrete/l2": np.square(p - self._first).sum(1),
            "discrete/tv": 0.5 * np.abs(p - self._truth).sum(1),
            "discrete/fixated": (support == 1).astype(float),
        }

    def _padded(self, generator: Generator, synthetic: Samples) -> np.ndarray:
        """The model's frequencies over all K tokens of the truth."""
        outcomes = self._truth.shape[1]
        if not knows(generator, "frequencies"):
            return _frequencies(synthetic.x, outcomes)
        p = cast(FittedFrequencies, generator).frequencies_
        return np.pad(p, ((0, 0), (0, outcomes - p.shape[1])))


def _frequencies(tokens: np.ndarray, outcomes: int) -> np.ndarray:
    """Of tokens [n, replicates] in 0..outcomes-1: [replicates, outcomes]."""
    n, replicates = tokens.shape
    flat = tokens + outcomes * np.arange(replicates)
    values: np.ndarray = (
        np.bincount(flat.ravel(), minlength=replicates * outcomes).reshape(replicates, outcomes) / n
    )
    return values
