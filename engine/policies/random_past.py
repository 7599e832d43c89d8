"""Random past: each of n_real points picks a source uniformly among the real set and all
generations so far, then a row of it (Seddik 2404.05090, 4.2), so a row can come twice;
accumulate_subsample draws without replacement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from engine.parts import Params, Pick, Recipe


class RandomPast:
    TINY: ClassVar[Params] = {}

    def recipe(self, sizes: Mapping[int, int], t: int) -> Recipe:
        return (Pick(tuple(range(-1, t)), sizes[-1], "uniform_source"),)

    def needs(self, n_real: int) -> int:
        return 1
