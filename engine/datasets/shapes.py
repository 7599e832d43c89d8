"""Blobs, circles, moons and the Swiss roll: the point sets of Kazdan's kernel density runs
(2410.16713).

Their blobs draw new centres for train and test; here the centres are fixed.  Points are independent
draws of one distribution, where scikit-learn's makers of the same names place theirs at even steps.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from engine.parts import NonNegativeFloat, Params, PositiveInt, traits_of
from engine.samples import Samples

HELD_OUT = 7_140_005  # names the stream of held-out points
BLOBS = np.array([[-6.0, -2.0], [0.0, 6.0], [5.0, -4.0]])
NOISE = {"blobs": 1.0, "circles": 0.05, "moons": 0.05, "swiss_roll": 0.05}


class Shapes:
    """Unlabelled points [n, replicates, d], d = 3 for swiss_roll and 2 for the others.

    shape       where the points lie but for the noise: at three centres (blobs), on two circles, on
                two half circles (moons), or on a rolled sheet (swiss_roll).
    noise       standard deviation of the Gaussian noise about the shape, in the data's units; None:
                1 for blobs, .05 for the others.
    replicates  independent data sets side by side, each with a model and metrics of its own: the
                more, the narrower every standard error.
    """

    TINY: ClassVar[Params] = {"replicates": 2}
    GIVES = "points"
    CLASSES = 0
    REPLICATES = "replicates"
    KNOWS = ("moments",)

    def __init__(
        self,
        *,
        shape: Literal["blobs", "circles", "moons", "swiss_roll"] = "moons",
        noise: NonNegativeFloat | None = None,
        replicates: PositiveInt = 1,
    ) -> None:
        self.shape, self.noise, self.replicates = shape, noise, replicates
        self.noise_ = NOISE[shape] if noise is None else noise
        self._place = {
            "blobs": _blobs,
            "circles": _circles,
            "moons": _moons,
            "swiss_roll": _swiss_roll,
        }[shape]

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        x = self._place(*rng.random((2, n, self.replicates)))  # [n, replicates, d]
        return Samples(x + self.noise_ * rng.standard_normal(x.shape), traits=traits_of(self))

    def held_out(self, n: int) -> Samples:
        return self.sample(n, np.random.default_rng(HELD_OUT))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [d] and covariance [d, d] of the truth, by the midpoint rule on 1200 x 1200
        (relative error below 1e-6).
        """
        middle = (np.arange(1200) + 0.5) / 1200
        x = self._place(*np.meshgrid(middle, middle)).reshape(1200**2, -1)
        return x.mean(0), np.cov(x, rowvar=False, bias=True) + self.noise_**2 * np.eye(x.shape[1])


# Each maps two uniforms u, v (any shape) to points (that shape, d) on the noiseless shape.


def _blobs(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    values: np.ndarray = BLOBS[(3 * v).astype(int)]
    return values


def _circles(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius = np.where(v < 0.5, 0.8, 1.0)
    return np.stack([radius * np.cos(2 * np.pi * u), radius * np.sin(2 * np.pi * u)], axis=-1)


def _moons(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    x, y = np.cos(np.pi * u), np.sin(np.pi * u)
    return np.where(
        (v < 0.5)[..., None], np.stack([x, y], axis=-1), np.stack([1 - x, 0.5 - y], axis=-1)
    )


def _swiss_roll(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    t = 1.5 * np.pi * (1 + 2 * u)
    return np.stack([t * np.cos(t), 21 * v, t * np.sin(t)], axis=-1)
