"""Accumulate: all real data and all synthetic data so far (Gerstgrasser 2404.01413, Kazdan
2410.16713); the size grows.

With a synthetic_fraction the size stays n_real: that share is drawn from all past generations, the
rest from the real set. Dey-Donoho 2410.22812 call the growing form "augment".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from engine.parts import Fraction, Params, Pick, Recipe, rounded


class Accumulate:
    """All that there ever was, or n_real samples of it.

    synthetic_fraction  share of a training set of n_real samples that is drawn from all past
                        generations, the rest being real; None: all real and all synthetic samples
                        so far, so that the set grows.
    """

    TINY: ClassVar[Params] = {}

    def __init__(self, *, synthetic_fraction: Fraction | None = None) -> None:
        self.synthetic_fraction = synthetic_fraction

    def recipe(self, sizes: Mapping[int, int], t: int) -> Recipe:
        past = tuple(range(t))
        if self.synthetic_fraction is None:
            return Pick((-1,), sizes[-1]), Pick(past, sum(sizes[i] for i in past))
        n_past = rounded(self.synthetic_fraction, sizes[-1])
        return Pick((-1,), sizes[-1] - n_past), Pick(past, n_past)

    def needs(self, n_real: int) -> int:
        return 1 if self.synthetic_fraction is None else rounded(self.synthetic_fraction, n_real)
