"""Replace: constant size, the newest generation's samples displace real ones.

At synthetic_fraction 1 the plain loop of Zverev 2512.11867 and Kazdan 2410.16713; below 1 the "mix" of Shumailov 2305.17493,
whose real rows are drawn again every generation.  Not `augment`, which keeps all real data and grows.
"""

from __future__ import annotations

from typing import Any, ClassVar

from engine.parts import Fraction, Pick, Recipe, rounded


class Replace:
    TINY: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, synthetic_fraction: Fraction = 1.0) -> None:
        self.synthetic_fraction = synthetic_fraction

    def recipe(self, n_real: int, n_synthetic: int, t: int) -> Recipe:
        n_new = rounded(self.synthetic_fraction, n_real)
        return Pick((-1,), n_real - n_new), Pick((t - 1,), n_new)

    def needs(self, n_real: int) -> int:
        return rounded(self.synthetic_fraction, n_real)
