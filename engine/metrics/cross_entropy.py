"""Cross entropy of held-out real text under a language model, per token, and its perplexity.

Kazdan 2410.16713's test loss of language models.  A difference of nats can be compared between
models; their ratio depends on where zero is.  Of texts whose law is known the excess over its
entropy is exact, without the noise of held-out samples.
"""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np

from engine.distances.floors import first
from engine.knowledge import Characters, ExactCrossEntropy, Transitions, called, knows, scored
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


class CrossEntropy:
    """One value per replicate, [replicates].

    points  held-out real sequences that are scored, and as many drawn ones: the same held-out ones
            in every generation.
    start   tokens at the beginning of a sequence that are scored by themselves too: before the
            first there is nothing but BOS, so that its law is that of a chain of frequencies.
    """

    TINY: ClassVar[Params] = {"points": 20}
    RECORDS = True
    ACCEPTS = ("text",)
    NEEDS: ClassVar[Needs] = {"model.density": {}}
    READS = ("density",)
    KEYS: ClassVar[Keys] = {
        "cross_entropy": ("of held-out real text under the model", "nats per token", "lower"),
        "cross_entropy/perplexity": (
            "its exponential: so many tokens, equally probable, would be as hard to tell",
            "tokens",
            "lower",
        ),
        "cross_entropy/bits": (
            "the same in bits, per character of held-out text where the data set tells characters, "
            "so that tokens of several kinds can be compared",
            "bits per character or token",
            "lower",
        ),
        "cross_entropy/own": (
            "of the model's own draw under the model: the entropy of what it writes",
            "nats per token",
            "",
        ),
        "cross_entropy/start": (
            "of the first tokens of held-out real text under the model",
            "nats per token",
            "lower",
        ),
        "cross_entropy/truth": (
            "of held-out real text under the truth, or its exact entropy: what a perfect model has",
            "nats per token",
            "",
        ),
        "cross_entropy/excess": (
            "exact cross entropy of the truth under the model less the exact entropy: their "
            "Kullback-Leibler divergence",
            "nats per token",
            "near 0",
        ),
    }
    BY: ClassVar[Ways] = {
        "cross_entropy": "difference",
        "cross_entropy/bits": "difference",
        "cross_entropy/own": "difference",
        "cross_entropy/start": "difference",
        "cross_entropy/truth": "difference",
        "cross_entropy/perplexity": "ratio",
    }

    def __init__(self, *, points: PositiveInt = 1000, start: PositiveInt = 1) -> None:
        self.points, self.start = points, start

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        self._dataset, self._test = dataset, dataset.held_out(self.points)
        self._per_character = 1.0
        if knows(dataset, "characters"):
            characters = cast(Characters, dataset).characters(self._test).sum()
            self._per_character = _tokens(self._test) / characters
        self._truth: Number = Undefined(f"the law of {called(dataset)} is not known")
        if knows(dataset, "cross entropy"):
            self._truth = cast(ExactCrossEntropy, dataset).entropy()
        elif knows(dataset, "density"):
            self._truth = _per_token(dataset, self._test)

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Number]:
        if not knows(generator, "density"):
            lacking = Undefined(f"{type(generator).__name__} has no density")
            return {"cross_entropy": lacking, "cross_entropy/truth": self._truth}
        held_out = _finite(_per_token(generator, self._test), "some held-out text")
        return {
            "cross_entropy": held_out,
            "cross_entropy/perplexity": (
                held_out if isinstance(held_out, Undefined) else np.exp(held_out)
            ),
            "cross_entropy/bits": (
                held_out
                if isinstance(held_out, Undefined)
                else held_out / np.log(2) * self._per_character
            ),
            "cross_entropy/own": _finite(
                _per_token(generator, first(synthetic, self.points)), "some of the draw"
            ),
            "cross_entropy/start": self._start(generator),
            "cross_entropy/truth": self._truth,
            "cross_entropy/excess": self._excess(generator),
        }

    def _start(self, generator: Generator) -> Number:
        """A text is written from its first token on: the density of a shorter one is that of all
        that begin so.
        """
        if self._test.lengths is not None:
            return Undefined("a completion begins after its prompt, not after BOS")
        begun = Samples(self._test.x[..., : self.start])
        return _finite(_per_token(generator, begun), "the start of some held-out text")

    def _excess(self, generator: Generator) -> Number:
        if not knows(self._dataset, "cross entropy"):
            return Undefined(f"the law of {type(self._dataset).__name__} is not known")
        if not knows(generator, "transitions"):
            return Undefined(f"{type(generator).__name__} has no table of transitions")
        truth = cast(ExactCrossEntropy, self._dataset)
        try:
            table = cast(Transitions, generator).transitions()
        except ValueError as error:
            return Undefined(str(error))
        return _finite(truth.cross_entropy_of(table) - truth.entropy(), "what the truth draws")


def _per_token(model: object, samples: Samples) -> np.ndarray:
    """Mean of -log p over the tokens that count, of samples [n, replicates, length]:
    [replicates].
    """
    mean = scored(model, samples).mean(0)
    if samples.lengths is None:
        values: np.ndarray = -mean / samples.x.shape[-1]
        return values
    values = -mean * len(samples) / _tokens(samples)
    return values


def _tokens(samples: Samples) -> int:
    """How many tokens of a replicate count: of records those of the completions."""
    if samples.lengths is None or samples.prompt_lengths is None:
        return samples.x[:, 0].size
    return int((samples.lengths - samples.prompt_lengths).sum())


def _finite(values: np.ndarray, what: str) -> Number:
    """The values, or Undefined where no replicate has one."""
    if np.isfinite(values).any():
        return values
    return Undefined(f"the model gives {what} probability 0")
