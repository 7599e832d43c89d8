"""Plain sampling: as many samples as asked, with the real set's labels or covariates."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.parts import Around, Dataset, Draw, Generator, Params
from engine.samples import Samples


class Plain:
    """The synthetic set of most papers: every sample counts, none is chosen."""

    TINY: ClassVar[Params] = {}
    RECORDS = True

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        """Nothing is needed."""

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        return Draw(generator.sample(n, rng, labels=around.labels), {})
