"""Negative evidence lower bound of held-out real data, in nats (Yi 2510.16657: a VAE on the
binarised MNIST test set).

reconstruction + KL, summed over pixels and latents, mean over samples; both parts are given.  The
weight of the KL in training does not enter: the sum bounds -log p(x) from above whatever the model
was trained for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, cast

import numpy as np

from engine.knowledge import Bound, Density, knows
from engine.parts import (
    Around,
    Dataset,
    Generator,
    Keys,
    Needs,
    Number,
    PositiveInt,
    Undefined,
    Ways,
)
from engine.samples import Samples


class Nelbo:
    """A model with a density and no latents has the tight bound, -log p, and a KL of 0; others are
    Undefined.

    n_test    held-out real samples that are scored, fewer where there are fewer.
    binarise  set pixels above the middle to 1 and the others to 0, as Yi; points stay as they are.
    """

    ACCEPTS = ("images", "points")
    NEEDS: ClassVar[Needs] = {"model.bound|model.density": {}}
    MODEL_ONLY = True
    TINY = {"n_test": 20}
    READS = ("bound", "density")
    KEYS: ClassVar[Keys] = {
        "nelbo": (
            "negative evidence lower bound of held-out real data, per sample",
            "nats",
            "lower",
        ),
        "nelbo/reconstruction": (
            "its part -log p(x|z), summed over pixels or coordinates",
            "nats",
            "lower",
        ),
        "nelbo/kl": ("its part KL(q(z|x) || p(z)), summed over latents", "nats", ""),
    }
    BY: ClassVar[Ways] = {"nelbo": "difference", "nelbo/reconstruction": "difference"}

    def __init__(self, *, n_test: PositiveInt = 2000, binarise: bool = True) -> None:
        self.n_test = n_test
        self.binarise = binarise

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        test = dataset.held_out(self.n_test)
        if self.binarise and dataset.GIVES == "images":
            test = replace(test, x=np.where(test.x > 127, 255, 0).astype(np.uint8), memo={})
        self.test_ = test

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Number]:
        if knows(generator, "bound"):
            reconstruction, kl = (
                part.mean(0) for part in cast(Bound, generator).nelbo(self.test_, rng)
            )  # [] or [replicates]
        elif knows(generator, "density"):
            reconstruction = -cast(Density, generator).log_density(self.test_.x).mean(0)
            kl = np.zeros_like(reconstruction)
        else:
            return {"nelbo": Undefined(f"{type(generator).__name__} has no evidence lower bound")}
        if not np.all(np.isfinite(reconstruction + kl)):
            return {"nelbo": Undefined("the bound is not finite")}
        parts = {
            "nelbo": reconstruction + kl,
            "nelbo/reconstruction": reconstruction,
            "nelbo/kl": kl,
        }
        return {key: float(value) if np.ndim(value) == 0 else value for key, value in parts.items()}
