"""A mixture of round Gaussians, by default five on a ring: the toy on which Zverev 2512.11867
retrains a WGAN.

The paper's centres, weights and widths are unpublished; the defaults are ours.  The label is the
component, so that class-wise metrics and per-class verifiers work on it; it is not the nearest
centre.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.parts import Finite, Params, PositiveFloat, PositiveInt, traits_of
from engine.samples import Samples

HELD_OUT = 7_140_002  # names the stream of held-out points


class Mixture:
    """Points [n, replicates, d] with labels y [n]: sample i comes from component y[i] in every
    replicate.

    So the replicates share how many samples each component has, and are independent given that.

    modes       number of components, which are also the classes.
    radius      of the circle on which the centres lie, in the data's units; given centres do not
                look at it.
    std         standard deviation of each component in every direction, in the data's units.
    centres     [modes][d], in the data's units; None: `modes` points evenly on a circle about the
                origin, the first on the positive x axis.
    weights     shares of the components, normalised here; None: equal ones.
    replicates  independent data sets side by side, each with a model and metrics of its own: the
                more, the narrower every standard error.
    """

    TINY: ClassVar[Params] = {"modes": 2, "replicates": 2}
    GIVES = "points"
    CLASSES = "modes"
    REPLICATES = "replicates"
    KNOWS = ("density", "moments", "components")

    def __init__(
        self,
        *,
        modes: PositiveInt = 5,
        radius: PositiveFloat = 2.0,
        std: PositiveFloat = 0.2,
        centres: list[list[Finite]] | None = None,
        weights: list[PositiveFloat] | None = None,
        replicates: PositiveInt = 1,
    ) -> None:
        self.modes, self.radius, self.std = modes, radius, std
        self.centres, self.weights, self.replicates = centres, weights, replicates
        self.centres_ = (
            _ring(modes, radius) if centres is None else _table(centres, modes)
        )  # [modes, d]
        if weights is not None and len(weights) != modes:
            raise ValueError(
                f"mixture: weights needs {modes} numbers (modes = {modes}); got {len(weights)}"
            )
        self.weights_ = (
            np.full(modes, 1 / modes) if weights is None else np.asarray(weights) / np.sum(weights)
        )  # [modes]

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        y = rng.choice(self.modes, size=n, p=self.weights_)
        noise = rng.standard_normal((n, self.replicates, self.centres_.shape[1]))
        x = self.centres_[y][:, None, :] + self.std * noise
        return Samples(x, y, traits=traits_of(self))

    def held_out(self, n: int) -> Samples:
        return self.sample(n, np.random.default_rng(HELD_OUT))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [d] and covariance [d, d] of the truth: within plus between components."""
        mean = self.weights_ @ self.centres_  # [d]
        away = self.centres_ - mean  # [modes, d]
        return mean, self.std**2 * np.eye(len(mean)) + (away.T * self.weights_) @ away

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Of points [n, replicates, d] under the truth: [n, replicates]."""
        d = x.shape[-1]
        total = np.full(x.shape[:-1], -np.inf)
        for centre, weight in zip(self.centres_, self.weights_, strict=True):
            squares = np.square((x - centre) / self.std).sum(-1)
            total = np.logaddexp(total, np.log(weight) - 0.5 * squares)
        values: np.ndarray = total - 0.5 * d * np.log(2 * np.pi * self.std**2)
        return values


def _ring(modes: int, radius: float) -> np.ndarray:
    angle = 2 * np.pi * np.arange(modes) / modes
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)  # [modes, 2]


def _table(centres: list[list[float]], modes: int) -> np.ndarray:
    widths = {len(centre) for centre in centres}
    if len(centres) != modes or len(widths) != 1 or 0 in widths:
        raise ValueError(
            f"mixture: centres needs {modes} points of one dimension (modes = {modes}); "
            f"got {len(centres)} of dimensions {sorted(widths)}"
        )
    return np.asarray(centres, dtype=float)
