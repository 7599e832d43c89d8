"""A linear model y = x'w* + noise with covariates N(0, I): Kazdan 2410.16713, Gerstgrasser
2404.01413 and Yi 2510.16657.

The true weights belong to the data set and not to a lineage's random stream: they come from
`weights_seed`, one w* per replicate, so that training data, held-out data and metrics agree on
them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from engine.parts import NonNegativeFloat, NonNegativeInt, Params, PositiveInt, traits_of
from engine.samples import Samples

HELD_OUT = 7_140_003  # names the stream of held-out points


class Regression:
    """Covariates x [n, replicates, d] and responses y [n, replicates].

    d             covariates of a pair, and so weights of the model.
    noise         standard deviation of the responses about x'w*.
    replicates    independent data sets side by side, each with a model and metrics of its own: the
                  more, the narrower every standard error.
    weights       w* drawn from N(0, I) per replicate (normal), or all ones (Yi).
    weights_seed  of the drawn w*: it belongs to the data set, not to a lineage.
    design_seed   the covariates are default_rng(design_seed).normal(size=(n, d)), the same in every
                  draw and replicate (Yi's X0 with 12345); None: drawn anew, as held-out covariates
                  always are.
    """

    TINY: ClassVar[Params] = {"d": 2, "replicates": 3}
    GIVES = "regression"
    CLASSES = 0
    REPLICATES = "replicates"
    KNOWS = ("weights",)

    def __init__(
        self,
        *,
        d: PositiveInt = 1,
        noise: NonNegativeFloat = 1.0,
        replicates: PositiveInt = 1,
        weights: Literal["normal", "ones"] = "normal",
        weights_seed: NonNegativeInt = 0,
        design_seed: NonNegativeInt | None = None,
    ) -> None:
        self.d, self.noise, self.replicates = d, noise, replicates
        self.weights, self.weights_seed, self.design_seed = weights, weights_seed, design_seed
        drawn = np.random.default_rng(weights_seed).standard_normal((replicates, d))
        self.weights_ = np.ones((replicates, d)) if weights == "ones" else drawn  # [replicates, d]

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        return self._respond(
            self._design(n) if self.design_seed is not None else self._draw(n, rng), rng
        )

    def held_out(self, n: int) -> Samples:
        rng = np.random.default_rng(HELD_OUT)
        return self._respond(self._draw(n, rng), rng)

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((n, self.replicates, self.d))

    def _design(self, n: int) -> np.ndarray:
        fixed = np.random.default_rng(self.design_seed).normal(size=(n, self.d))
        return np.repeat(fixed[:, None, :], self.replicates, axis=1)  # [n, replicates, d]

    def _respond(self, x: np.ndarray, rng: np.random.Generator) -> Samples:
        y = np.einsum("nrd,rd->nr", x, self.weights_)
        return Samples(x, y + self.noise * rng.standard_normal(y.shape), traits=traits_of(self))
