"""Replace: constant size, the newest generation's samples displace real ones.

At synthetic_fraction 1 the plain loop of Zverev 2512.11867 and Kazdan 2410.16713; below 1 the "mix"
of Shumailov 2305.17493, whose real rows are drawn again every generation.  Not `augment`, which
keeps all real data and grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from engine.parts import Fraction, Params, Pick, Recipe, rounded


class Replace:
    """New samples in place of real ones.

    synthetic_fraction  share of a training set of n_real samples that the newest generation gives,
                        the rest being drawn from the real set; 1: nothing real is left.
    whole               train on all of the newest set, whatever its size (Yi 2510.16657 draws more
                        than there are real rows); wants synthetic_fraction 1.
    """

    TINY: ClassVar[Params] = {}

    def __init__(self, *, synthetic_fraction: Fraction = 1.0, whole: bool = False) -> None:
        if whole and synthetic_fraction < 1:
            raise ValueError(
                "replace: whole trains on synthetic data alone, so synthetic_fraction must be "
                f"1, got {synthetic_fraction}; "
                "leave one of the two out"
            )
        self.synthetic_fraction, self.whole = synthetic_fraction, whole

    def recipe(self, sizes: Mapping[int, int], t: int) -> Recipe:
        if self.whole:
            return (Pick((t - 1,), sizes[t - 1]),)
        n_new = rounded(self.synthetic_fraction, sizes[-1])
        return Pick((-1,), sizes[-1] - n_new), Pick((t - 1,), n_new)

    def needs(self, n_real: int) -> int:
        return 1 if self.whole else rounded(self.synthetic_fraction, n_real)
