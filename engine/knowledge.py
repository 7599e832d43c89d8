"""What data sets and generators can tell beyond samples: densities, moments, weights.

A part that knows something says so in KNOWS, and has what the protocol of that word asks for; who
needs it says so in NEEDS (engine/parts.py), so that a plan can tell before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import numpy as np

from engine.parts import declared
from engine.samples import Samples, Traits

# logits [rows, V] of the next token -> tokens [rows], and the row [rows] that each continues, of
# the same label and replicate; None: its own
Choose = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray | None]]


class NotAtHand(LookupError):
    """What stands around a draw is not known: generations that were made elsewhere have no models
    and no training sets.
    """


class Density(Protocol):
    """density: of a data set the truth's, of a generator the model's."""

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """In nats, of samples x [n, replicates, ...]: [n, replicates]."""
        ...


class Bound(Protocol):
    """bound: of a generator that has no density but a bound of it."""

    def nelbo(self, samples: Samples, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Reconstruction and KL in nats, each [n] or [n, replicates]."""
        ...


class TrueMoments(Protocol):
    """moments: of a data set."""

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [d] and covariance [d, d] of the truth."""
        ...


class FittedMoments(Protocol):
    """moments: of a generator."""

    mean_: np.ndarray  # [replicates, d]
    covariance_: np.ndarray  # [replicates, d, d]


class Components(Protocol):
    """components: of a data set whose labels are the parts of a mixture of round Gaussians."""

    centres_: np.ndarray  # [modes, d]
    weights_: np.ndarray  # [modes]
    std: float


class TrueFrequencies(Protocol):
    """frequencies: of a data set of tokens."""

    probabilities_: np.ndarray  # [K]


class FittedFrequencies(Protocol):
    """frequencies: of a generator of tokens."""

    frequencies_: np.ndarray  # [replicates, at most K]


class TrueWeights(Protocol):
    """weights: of a data set of regression pairs."""

    weights_: np.ndarray  # [replicates, d]
    noise: float  # standard deviation of the responses


class FittedWeights(Protocol):
    """weights: of a generator of regression pairs."""

    weights_: np.ndarray  # [replicates, d]


class ExactCrossEntropy(Protocol):
    """cross entropy: of a data set of text whose law is known."""

    def entropy(self) -> float:
        """Of the truth, in nats per token."""
        ...

    def cross_entropy_of(self, transitions: np.ndarray) -> np.ndarray:
        """Of the truth against transitions [replicates, (V+1)^m, V] given the m tokens before, in
        nats per token: [replicates].
        """
        ...


class Characters(Protocol):
    """characters: of a data set of text whose tokens stand for characters."""

    def characters(self, samples: Samples) -> np.ndarray:
        """Of each row, of what counts of it: [n]."""
        ...


class Decoded(Protocol):
    """decoded: of a data set of text whose tokens can be read."""

    def decoded(self, x: np.ndarray) -> str:
        """Tokens [length] as text."""
        ...


class Transitions(Protocol):
    """transitions: of a generator of text that looks at a fixed number of tokens."""

    def transitions(self) -> np.ndarray:
        """Probabilities of the next token given the m before it, in the order of
        `_tokens.context_codes`: [replicates, (V+1)^m, V].  ValueError where they are too many.
        """
        ...


class LanguageModel(Protocol):
    """decoding: of a generator of text that gives one token after the other.

    Logits are log-probabilities up to a constant per row, float32 or float64, -inf where the
    probability is 0.  A model that draws by label wants labels [n]; ValueError without.
    """

    def generate(
        self,
        n: int,
        choose: Choose,
        rng: np.random.Generator,
        prompts: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> np.ndarray:
        """n texts [n, replicates, length] whose first tokens are those of prompts [n, replicates,
        m] and whose others `choose` picks.  It is asked once for each token, of all n at a time,
        the replicates of a text side by side (row = text * replicates + replicate): whoever calls
        gives no more texts than memory holds.  ValueError for prompts longer than the texts.
        """
        ...

    def logits(self, x: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Of every token of texts x [b, replicates, length] given those before it: [b, replicates,
        length, V].
        """
        ...


class Completions(Protocol):
    """completions: of a generator of records, each a prompt and what completes it."""

    def completion_log_density(self, samples: Samples) -> np.ndarray:
        """Of the completion of each row given its prompt, in nats: [n, replicates].  Only tokens
        from `prompt_lengths` up to `lengths` count.
        """
        ...

    def complete(
        self,
        prompted: Samples,
        choose: Choose | None,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
    ) -> Samples:
        """A completion of each record's own prompt, chosen as in `LanguageModel.generate`; None: as
        `sample` draws, some at a time where memory holds no more.  Labels [n] are those of the
        records, where the model draws by them.
        """
        ...


class Limits(Protocol):
    """limits: of a closed form that can tell, by what data declare, that it cannot learn them."""

    def beyond(self, data: Traits) -> str:
        """Why, or ''."""
        ...


class AllRows(Protocol):
    """all rows: of a finite data set."""

    def training_set(self) -> Samples:
        """All real training samples, in a fixed order; the same object every time."""
        ...


class Parts(Protocol):
    """parts: of a finite data set that can be handed out piece by piece."""

    def part(self, n: int, t: int, rng: np.random.Generator) -> Samples:
        """The rows t n to (t + 1) n of one permutation of all training samples, which the stream
        names; of t = 0 what `sample` gives.  ValueError where there are fewer.
        """
        ...


OF_DATA: dict[str, type] = {
    "density": Density,
    "moments": TrueMoments,
    "components": Components,
    "frequencies": TrueFrequencies,
    "weights": TrueWeights,
    "cross entropy": ExactCrossEntropy,
    "characters": Characters,
    "decoded": Decoded,
    "all rows": AllRows,
    "parts": Parts,
}
# of rows, so that a data set of some of its classes tells them, too
OF_ROWS = ("all rows", "characters", "decoded")
OF_MODELS: dict[str, type] = {
    "density": Density,
    "bound": Bound,
    "moments": FittedMoments,
    "frequencies": FittedFrequencies,
    "weights": FittedWeights,
    "transitions": Transitions,
    "decoding": LanguageModel,
    "completions": Completions,
    "limits": Limits,
}


def scored(model: object, samples: Samples) -> np.ndarray:
    """Log probability of samples under a model that knows its density, in nats: [n, replicates]; of
    records that of their completions.
    """
    if samples.lengths is not None:
        return cast(Completions, model).completion_log_density(samples)
    return cast(Density, model).log_density(samples.x)


def knows(part: object, word: str) -> bool:
    """Whether a data set or a generator declares that it knows this."""
    return word in declared(part, "KNOWS")


def called(dataset: object) -> str:
    """What a data set is called in a sentence: some classes of Mixture."""
    whole = getattr(dataset, "whole", None)
    return type(dataset).__name__ if whole is None else f"some classes of {type(whole).__name__}"
