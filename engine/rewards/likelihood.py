"""How likely a language model finds a text, per token: the judge of fluency, and the fastest way to
collapse where it alone decides (it seeks the mode).

Of texts that go on from a prompt, and of records, what was written counts.  The quality of a
verifier of Yi 2510.16657 is how many real texts it learnt from.  Not the truth's density
(`true_density`).
"""

from __future__ import annotations

import copy
from typing import Literal, cast

import numpy as np

from engine._tokens import written
from engine.knowledge import Density, scored
from engine.parts import Dataset, Generator, PositiveInt
from engine.registry import make
from engine.samples import Samples


class Likelihood:
    """Mean log-probability per token, in nats.

    by       who judges: judge, an n-gram model of real text; or model, the model that draws, as it
             is when the reward is taught (the sampling's `retrain`), which alone can judge
             records.
    n_judge  of judge: real texts that it learns from, drawn anew from the data set; None: the
             lineage's own real set.
    order    of judge: a token depends on the order - 1 before it.
    """

    ACCEPTS = ("text",)
    NEEDS = {"model.density": {"by": ("model",)}, "data.texts": {"by": ("judge",)}}
    RECORDS = True
    TINY = {"order": 2}

    def __init__(
        self,
        *,
        by: Literal["judge", "model"] = "judge",
        n_judge: PositiveInt | None = None,
        order: PositiveInt = 5,
    ) -> None:
        self.by, self.n_judge, self.order = by, n_judge, order

    def fit(
        self, dataset: Dataset, real: Samples, generator: Generator, rng: np.random.Generator
    ) -> dict[str, float]:
        if self.by == "model":  # which may go on learning itself
            self._model = cast(Density, copy.deepcopy(generator))
            return {}
        data = real if self.n_judge is None else dataset.sample(self.n_judge, rng)
        judge = make("generator", "ngram", order=self.order)
        judge.fit(Samples(data.x, traits=data.declared), rng)
        self._model = judge
        return {}

    def score(self, samples: Samples) -> np.ndarray:
        """[n, replicates]."""
        begin, end = written(samples)
        score = scored(self._model, samples)
        if samples.prompted is not None and (given := samples.prompted.given):
            score = score - self._model.log_density(samples.x[..., :given])
        values: np.ndarray = score / (end - begin)[:, None]
        return values
