"""A normal distribution N(0, diag(spread)), the toy of Kazdan 2410.16713, MAD 2307.01850 and
Shumailov 2305.17493.

Not to be confused with the generator of the same name, which is fitted to it.  Every closed form of
analysis/theory.py is about this truth.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.parts import Params, PositiveFloat, PositiveInt, traits_of
from engine.samples import Samples

HELD_OUT = 7_140_001  # names the stream of held-out points


class Gaussian:
    """Points [n, replicates, d], independent over replicates.

    d           dimensions of a point.
    replicates  independent data sets side by side, each with a model and metrics of its own: the
                more, the narrower every standard error.
    spread      eigenvalues of the covariance, the variances along the axes: one number for all
                axes, or one per axis.
    """

    TINY: ClassVar[Params] = {"d": 2, "replicates": 3}
    GIVES = "points"
    CLASSES = 0
    REPLICATES = "replicates"
    KNOWS = ("density", "moments")

    def __init__(
        self,
        *,
        d: PositiveInt = 1,
        replicates: PositiveInt = 1,
        spread: PositiveFloat | list[PositiveFloat] = 1.0,
    ) -> None:
        self.d, self.replicates, self.spread = d, replicates, spread
        if isinstance(spread, list) and len(spread) != d:
            raise ValueError(
                f"gaussian: spread needs one number, or {d} (one per axis, d = {d}); got "
                f"{len(spread)}"
            )
        self.spread_ = np.broadcast_to(np.asarray(spread, dtype=float), d)  # [d]

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        x = rng.standard_normal((n, self.replicates, self.d)) * np.sqrt(self.spread_)
        return Samples(x, traits=traits_of(self))

    def held_out(self, n: int) -> Samples:
        return self.sample(n, np.random.default_rng(HELD_OUT))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [d] and covariance [d, d] of the truth."""
        return np.zeros(self.d), np.diag(self.spread_)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Of points [n, replicates, d] under the truth: [n, replicates]."""
        values: np.ndarray = -0.5 * (
            np.square(x) / self.spread_ + np.log(2 * np.pi * self.spread_)
        ).sum(-1)
        return values
