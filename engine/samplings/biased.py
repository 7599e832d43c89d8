"""Sampling bias (Alemohammad 2307.01850, MAD, their lambda): samples of higher quality and less
diversity than the model's.

Each family has its own knob behind `bias`: a Gaussian draws from N(m, bias * C), a GAN truncates,
diffusion is guided with w = 1/bias - 1, a language model lowers its temperature.  Not the bias of
an estimator.
"""

from __future__ import annotations

import numpy as np

from engine.parts import Around, Dataset, Draw, Fraction, Generator
from engine.samples import Samples


class Biased:
    """Draws with the model's own knob for quality against diversity.

    sampling_bias  MAD's lambda, from 0 to 1: 1 is honest sampling, which is `plain`; 0 is the mode
                   alone. Diffusion and flow matching of images need it above 0, and labels.
    """

    TINY = {"sampling_bias": 0.5}
    RECORDS = True

    def __init__(self, *, sampling_bias: Fraction) -> None:
        self.sampling_bias = sampling_bias

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        """Nothing is needed."""

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        return Draw(generator.sample(n, rng, labels=around.labels, bias=self.sampling_bias), {})
