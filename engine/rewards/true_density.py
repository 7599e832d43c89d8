"""The truth's own log density as reward: the perfect judge of closed-form data sets, not a learnt
approximation of one.
"""

from __future__ import annotations

from typing import Literal, cast

import numpy as np

from engine.knowledge import Components, Density, knows
from engine.parts import Dataset, Generator
from engine.samples import Samples


class TrueDensity:
    """The truth's word, in nats: it learns nothing.

    of  what the reward is the log density of: sample, log p(x); or label, log p(y|x) of the
        sample's own label, for mixtures, whose components are the labels.
    """

    ACCEPTS = ("points", "tokens", "text")
    NEEDS = {
        "data.density": {"of": ("sample",)},
        "data.components": {"of": ("label",)},
        "draws.labels": {"of": ("label",)},
    }
    TINY: dict[str, object] = {}

    def __init__(self, *, of: Literal["sample", "label"] = "sample") -> None:
        self.of = of

    def fit(
        self, dataset: Dataset, real: Samples, generator: Generator, rng: np.random.Generator
    ) -> dict[str, float]:
        if not knows(dataset, "components" if self.of == "label" else "density"):
            has_none = "labelled components" if self.of == "label" else "closed-form density"
            raise ValueError(
                f"true_density (of: {self.of}): data set {type(dataset).__name__} has no "
                f"{has_none}; "
                "use reward classifier or discriminator"
            )
        self._dataset = dataset
        return {}

    def score(self, samples: Samples) -> np.ndarray:
        """[n, replicates]."""
        if self.of == "sample":
            return cast(Density, self._dataset).log_density(samples.x)
        if samples.y is None:
            raise ValueError(
                "true_density of labels scores labelled samples, and these have no labels"
            )
        joint = self._log_joint(samples.x)  # [n, replicates, modes]
        own = np.take_along_axis(joint, samples.y[:, None, None], axis=2)[:, :, 0]
        values: np.ndarray = own - np.logaddexp.reduce(joint, axis=2)
        return values

    def _log_joint(self, x: np.ndarray) -> np.ndarray:
        """log p(x, component), up to a constant: [n, replicates, modes]."""
        truth = cast(Components, self._dataset)
        squares = [np.square((x - centre) / truth.std).sum(-1) for centre in truth.centres_]
        values: np.ndarray = np.log(truth.weights_) - 0.5 * np.stack(squares, axis=-1)
        return values
