"""Recent: n_real points in equal parts from the k latest sources, the real set being source -1
(Seddik 2404.05090, 4.2).

While there are fewer than k sources, from all there are.  The points that equal parts leave over go
to the newest sources. Drawing from the stored sets rather than from the past models correlates
generations: that is this project's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from engine.parts import Params, Pick, PositiveInt, Recipe


class Recent:
    """Some of each of the latest sources.

    k  number of latest sources from which the training set is taken in equal parts; 1 is `replace`.
    """

    TINY: ClassVar[Params] = {"k": 2}

    def __init__(self, *, k: PositiveInt = 2) -> None:
        self.k = k

    def recipe(self, sizes: Mapping[int, int], t: int) -> Recipe:
        latest = range(t - 1, max(t - 1 - self.k, -2), -1)
        each, left_over = divmod(sizes[-1], len(latest))
        return tuple(
            Pick((source,), each + (place < left_over)) for place, source in enumerate(latest)
        )

    def needs(self, n_real: int) -> int:
        return -(-n_real // min(self.k, 2))
