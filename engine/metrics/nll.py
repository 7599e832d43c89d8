"""Mean negative log likelihood of held-out real data under the model: Kazdan 2410.16713's test loss
for density estimates.

In nats per sample.  It reads the model and not its samples; a family without a density has none (a
VAE's bound is `nelbo`).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.knowledge import called, knows, scored
from engine.parts import (
    Around,
    Dataset,
    Generator,
    Keys,
    Needs,
    Number,
    Params,
    PositiveInt,
    Undefined,
    Ways,
)
from engine.samples import Samples


class Nll:
    """Scores one array of held-out data: one value per replicate, [replicates].

    points  held-out real samples that are scored (Kazdan: 500): the same array in every generation,
            so that a model may keep what it worked out for it.
    """

    TINY: ClassVar[Params] = {"points": 20}
    RECORDS = True
    ACCEPTS = ("points", "tokens", "text")
    NEEDS: ClassVar[Needs] = {"model.density": {}}
    MODEL_ONLY = True
    READS = ("density",)
    KEYS: ClassVar[Keys] = {
        "nll": (
            "mean negative log likelihood of held-out real data under the model",
            "nats per sample",
            "lower",
        ),
        "nll/truth": (
            "the same under the truth, where its density is known: what a perfect model has",
            "nats per sample",
            "",
        ),
    }
    BY: ClassVar[Ways] = {"nll": "difference", "nll/truth": "difference"}

    def __init__(self, *, points: PositiveInt = 500) -> None:
        self.points = points

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        self._test = dataset.held_out(self.points)
        self._truth: Number = Undefined(f"the density of {called(dataset)} is not known")
        if knows(dataset, "density"):
            self._truth = -scored(dataset, self._test).mean(0)

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Number]:
        if not knows(generator, "density"):
            return {
                "nll": Undefined(f"{type(generator).__name__} has no density"),
                "nll/truth": self._truth,
            }
        value = -scored(generator, self._test).mean(0)  # [replicates]
        if not np.isfinite(value).any():
            return {
                "nll": Undefined("the model gives some held-out point no density"),
                "nll/truth": self._truth,
            }
        return {"nll": value, "nll/truth": self._truth}
