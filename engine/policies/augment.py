"""Augment: all real data plus the newest generation's samples up to the synthetic fraction
(Bertrand 2310.00429, Seddik 2404.05090 "partially synthetic"); the size is n_real / (1 -
synthetic_fraction).

Bertrand's lambda = n_synthetic / n_real is synthetic_fraction / (1 - synthetic_fraction).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from engine.parts import Fraction, Params, Pick, Recipe, rounded


class Augment:
    """All real samples, and new ones beside them.

    synthetic_fraction  share of synthetic samples in the training set, below 1: all n_real real
                        ones stay, and as many of the newest generation are added as make up this
                        share.
    """

    TINY: ClassVar[Params] = {}

    def __init__(self, *, synthetic_fraction: Fraction = 0.5) -> None:
        if synthetic_fraction >= 1:
            raise ValueError(
                "augment keeps all real data, so its synthetic_fraction must be below 1, got "
                f"{synthetic_fraction}; "
                "replace with synthetic_fraction 1 trains on synthetic data alone"
            )
        self.synthetic_fraction = synthetic_fraction

    def recipe(self, sizes: Mapping[int, int], t: int) -> Recipe:
        return Pick((-1,), sizes[-1]), Pick((t - 1,), self.needs(sizes[-1]))

    def needs(self, n_real: int) -> int:
        return rounded(self.synthetic_fraction / (1 - self.synthetic_fraction), n_real)
