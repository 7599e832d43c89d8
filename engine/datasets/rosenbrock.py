"""The Rosenbrock distribution, a banana about the parabola x2 = x1^2: the truth of MAD's
normalising flows (2307.01850).

Pagani, Wiegand and Nadarajah's (1903.09556) in two dimensions, p(x) ~ exp(-a (x1 - mean)^2 - b (x2
- x1^2)^2): its factors are normal, so it is sampled exactly.  Not Rosenbrock's function, which is
an objective.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.parts import Finite, Params, PositiveFloat, PositiveInt, traits_of
from engine.samples import Samples

HELD_OUT = 7_140_008  # names the stream of held-out points


class Rosenbrock:
    """Points [n, replicates, 2], independent over replicates: x1 ~ N(mean, 1/2a), x2 given x1 ~
    N(x1^2, 1/2b).

    The defaults, x1 ~ N(0, 1) and a variance of 1/2 about the parabola, are ours.

    mean        of x1, in the data's units; away from 0 the banana leans.
    a           half the precision of x1: its variance is 1/2a.
    b           half the precision about the parabola, where the variance is 1/2b: the larger, the
                thinner is the banana.
    replicates  independent data sets side by side, each with a model and metrics of its own: the
                more, the narrower every standard error.
    """

    TINY: ClassVar[Params] = {"replicates": 2}
    GIVES = "points"
    CLASSES = 0
    REPLICATES = "replicates"
    KNOWS = ("density", "moments")

    def __init__(
        self,
        *,
        mean: Finite = 0.0,
        a: PositiveFloat = 0.5,
        b: PositiveFloat = 1.0,
        replicates: PositiveInt = 1,
    ) -> None:
        self.mean, self.a, self.b, self.replicates = mean, a, b, replicates
        self.along_, self.across_ = 0.5 / a, 0.5 / b  # variances

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        x1, noise = (
            rng.standard_normal((2, n, self.replicates))
            * np.sqrt([self.along_, self.across_])[:, None, None]
        )
        x1 += self.mean
        x = np.stack([x1, np.square(x1) + noise], axis=-1)  # [n, replicates, 2]
        return Samples(x, traits=traits_of(self))

    def held_out(self, n: int) -> Samples:
        return self.sample(n, np.random.default_rng(HELD_OUT))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [2] and covariance [2, 2] of the truth, from the moments of a normal x1."""
        m, v = self.mean, self.along_
        return np.array([m, m**2 + v]), np.array(
            [[v, 2 * m * v], [2 * m * v, 4 * m**2 * v + 2 * v**2 + self.across_]]
        )

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Of points [n, replicates, 2] under the truth: [n, replicates]."""
        x1, x2 = x[..., 0], x[..., 1]
        values: np.ndarray = (
            0.5 * np.log(self.a * self.b)
            - np.log(np.pi)
            - self.a * (x1 - self.mean) ** 2
            - self.b * (x2 - x1**2) ** 2
        )
        return values
