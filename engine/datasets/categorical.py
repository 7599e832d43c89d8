"""Independent tokens with K outcomes: the discrete truth of Seddik 2404.05090 and Kazdan
2410.16713.

One fixed context; not a language: tokens do not depend on those before them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from engine.parts import NonNegativeFloat, Params, PositiveFloat, PositiveInt, traits_of
from engine.samples import Samples

HELD_OUT = 7_140_004  # names the stream of held-out tokens


class Categorical:
    """Tokens [n, replicates] in 0..K-1.

    outcomes       K, the number of different tokens.
    law            their probabilities: uniform, or zipf: p_k proportional to 1 / (k + 1)^exponent.
    exponent       of the law zipf: the larger, the rarer are the rare tokens; uniform does not look
                   at it.
    probabilities  one per token, normalised here; their number is K then, and `outcomes`, `law` and
                   `exponent` are not looked at. None: those of the law.
    replicates     independent data sets side by side, each with a model and metrics of its own: the
                   more, the narrower every standard error.
    """

    TINY: ClassVar[Params] = {"outcomes": 4, "replicates": 3}
    GIVES = "tokens"
    CLASSES = 0
    REPLICATES = "replicates"
    KNOWS = ("density", "frequencies")

    def __init__(
        self,
        *,
        outcomes: PositiveInt = 10,
        law: Literal["uniform", "zipf"] = "uniform",
        exponent: PositiveFloat = 1.0,
        probabilities: list[NonNegativeFloat] | None = None,
        replicates: PositiveInt = 1,
    ) -> None:
        self.outcomes, self.law, self.exponent = outcomes, law, exponent
        self.probabilities, self.replicates = probabilities, replicates
        if probabilities is not None and not sum(probabilities) > 0:
            raise ValueError(
                "categorical: probabilities needs at least one positive number; got "
                f"{probabilities}"
            )
        weights = np.arange(1, outcomes + 1) ** -(exponent if law == "zipf" else 0.0)
        weights = weights if probabilities is None else np.asarray(probabilities, dtype=float)
        self.probabilities_ = weights / weights.sum()  # [K]

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        x = rng.choice(len(self.probabilities_), size=(n, self.replicates), p=self.probabilities_)
        return Samples(x, traits=traits_of(self))

    def held_out(self, n: int) -> Samples:
        return self.sample(n, np.random.default_rng(HELD_OUT))

    def log_density(self, tokens: np.ndarray) -> np.ndarray:
        """Log probability of tokens [n, replicates] under the truth: [n, replicates], -inf where it
        is 0.
        """
        p = self.probabilities_
        values: np.ndarray = np.log(p, out=np.full(p.shape, -np.inf), where=p > 0)[tokens]
        return values
