"""Several languages with known laws, one per class: to labelled text what a mixture of Gaussians is
to labelled points.

Class k is the language `markov` with law_seed + k.  A sequence is of one language from its first
token to its last.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from engine.parts import NonNegativeInt, Params, PositiveFloat, PositiveInt, traits_of
from engine.registry import make
from engine.samples import Samples

HELD_OUT = 7_140_006  # names the stream of held-out sequences


class Languages:
    """Tokens [n, replicates, length] in 0..outcomes-1 with labels y [n], shared by the replicates.

    classes        number of languages, all equally frequent.
    outcomes       V, the number of different tokens: the vocabulary.
    order          tokens that the next one depends on; 0: independent tokens.
    length         tokens of a sequence.
    concentration  of the Dirichlet law that each row of a table is drawn from: near 0 the next
                   token is all but certain; at 1 all its probabilities are equally likely.
    law_seed       names the table of class 0; the others have the numbers after it.
    replicates     independent data sets side by side, each with a model and metrics of its own: the
                   more, the narrower every standard error.
    """

    TINY: ClassVar[Params] = {"classes": 2, "outcomes": 4, "length": 6, "replicates": 2}
    GIVES = "text"
    CLASSES = "classes"
    REPLICATES = "replicates"
    VOCABULARY = "outcomes"
    LENGTH = "length"
    KNOWS = ("density",)

    def __init__(
        self,
        *,
        classes: PositiveInt = 3,
        outcomes: PositiveInt = 8,
        order: NonNegativeInt = 1,
        length: PositiveInt = 32,
        concentration: PositiveFloat = 0.3,
        law_seed: NonNegativeInt = 0,
        replicates: PositiveInt = 1,
    ) -> None:
        self.classes, self.outcomes, self.order, self.length = classes, outcomes, order, length
        self.concentration, self.law_seed, self.replicates = concentration, law_seed, replicates
        shared: Params = {"outcomes": outcomes, "order": order, "length": length}
        shared |= {"concentration": concentration, "replicates": replicates}
        self.laws_: list[Any] = [
            make("dataset", "markov", law_seed=law_seed + k, **shared) for k in range(classes)
        ]

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        y = rng.integers(self.classes, size=n)
        each = [law.sample(n, rng).x for law in self.laws_]
        return Samples(np.stack(each)[y, np.arange(n)], y, traits=traits_of(self))

    def held_out(self, n: int) -> Samples:
        return self.sample(n, np.random.default_rng(HELD_OUT))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Log probability of sequences x [n, replicates, length] under the mixture, in nats: [n,
        replicates], -inf where it is 0.
        """
        each = np.stack([law.log_density(x) for law in self.laws_])
        values: np.ndarray = np.logaddexp.reduce(each) - np.log(self.classes)
        return values
