"""Plain sampling: as many samples as asked, with the real set's labels or covariates."""

from __future__ import annotations

import numpy as np

from engine.parts import Dataset, Draw, Generator
from engine.samples import Samples, given


class Plain:
    """The synthetic set of most papers: every sample counts, none is chosen."""

    ACCEPTS = ("points", "tokens", "regression", "images")
    TINY: dict = {}

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        """Nothing is needed."""

    def draw(self, generator: Generator, n: int, real: Samples, rng: np.random.Generator) -> Draw:
        return Draw(generator.sample(n, rng, labels=given(real, n)), {})
