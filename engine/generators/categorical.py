"""Token frequencies, sampled independently: the discrete chain of Seddik 2404.05090 and Kazdan
2410.16713.

A token that was not drawn has probability 0 for ever after under replace: no smoothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from engine.generators._tables import log, tempered
from engine.parts import Params
from engine.samples import Samples


class Categorical:
    """frequencies_ [replicates, K], K = the largest training token + 1.

    bias = temperature: draws from probabilities proportional to frequencies_ ** (1 / temperature).
    """

    TINY: ClassVar[Params] = {}
    ACCEPTS = ("tokens",)
    KNOWS = ("density", "frequencies")
    COST = "tiny"

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        blocks = data.blocks or (data,)
        counts = [_counts(block) for block in blocks]  # [replicates, K_i] each
        total = np.zeros((len(counts[0]), max(c.shape[1] for c in counts)), dtype=np.int64)
        for c in counts:
            total[:, : c.shape[1]] += c
        self.frequencies_ = total / len(data)
        return {}

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """n tokens [n, replicates]: how many of each is multinomial,
        and their order is shuffled.
        """
        p = self.frequencies_ if bias is None or bias == 1 else tempered(self.frequencies_, bias)
        replicates, outcomes = p.shape
        counts = rng.multinomial(n, p)  # [replicates, K]
        tokens = np.repeat(np.tile(np.arange(outcomes), replicates), counts.ravel()).reshape(
            replicates, n
        )
        return Samples(np.ascontiguousarray(rng.permuted(tokens, axis=1).T))

    def log_density(self, tokens: np.ndarray) -> np.ndarray:
        """Log probability of tokens [n, replicates]: [n, replicates], -inf where it is 0."""
        replicates, outcomes = self.frequencies_.shape
        known = tokens < outcomes
        p = np.where(
            known, self.frequencies_[np.arange(replicates), np.where(known, tokens, 0)], 0.0
        )
        return log(p)

    def save(self, folder: Path) -> None:
        np.savez(folder / "categorical.npz", frequencies=self.frequencies_)

    def load(self, folder: Path) -> None:
        with np.load(folder / "categorical.npz", allow_pickle=False) as saved:
            self.frequencies_ = saved["frequencies"]


def _counts(block: Samples) -> np.ndarray:
    """How often each token occurs, [replicates, largest token + 1]."""
    if "categorical" not in block.memo:
        replicates, outcomes = block.x.shape[1], int(block.x.max()) + 1
        flat = block.x + outcomes * np.arange(replicates)
        block.memo["categorical"] = np.bincount(
            flat.ravel(), minlength=replicates * outcomes
        ).reshape(replicates, outcomes)
    values: np.ndarray = block.memo["categorical"]
    return values
