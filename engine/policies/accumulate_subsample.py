"""Accumulate-subsample: n_real points without replacement from all real and synthetic data so far
(Kazdan 2410.16713).

The whole pool is drawn from again every generation; real data have share 1 / (t + 1) of it when the
sets are of equal size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from engine.parts import Params, Pick, Recipe


class AccumulateSubsample:
    TINY: ClassVar[Params] = {}

    def recipe(self, sizes: Mapping[int, int], t: int) -> Recipe:
        return (Pick(tuple(range(-1, t)), sizes[-1]),)

    def needs(self, n_real: int) -> int:
        return 1
