"""Token-level editing of existing text (ToEdit 2412.14689): what the model is sure of is drawn
anew, the rest stays; and the same of the labels of a regression.

One teacher-forced pass over the original: a token is redrawn where P(x_i | x_<i) >= threshold,
from the top_k of P(. | x_<i) of the original.  Of independent tokens with model p and the full
vocabulary the new law is q_v = p_v (1[p_v < h] + M), M the mass of what is redrawn: one edit raises
the entropy.  Editing bounds no error of a regression (analysis/theory/gaussian.py, the paper claims
2): one edit of a share q multiplies it by 1 + 2 q - q^2, t edits by 1 + t (2 q - q^2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

import numpy as np

from engine._tokens import completions
from engine.knowledge import FittedFrequencies, LanguageModel
from engine.parts import (
    Around,
    Dataset,
    Draw,
    Fraction,
    Generator,
    NonNegativeFloat,
    NonNegativeInt,
)
from engine.samples import Samples
from engine.samplings._choice import chosen, log_probabilities

MOST_NUMBERS = 1 << 23  # logits at a time


class Edit:
    """The report holds `edited`, the share of the tokens (labels) that were redrawn, and `changed`,
    of those that are another one now.  Of records the completion is edited, and ends where it did.

    threshold    of text and tokens: what the model gives at least this probability is redrawn; 0:
                 everything; 1: nothing but what it thinks certain.
    of           what is edited: real, the real set, every generation anew; or training, what the
                 model learnt from (under replace the last edited set: iterated edit).
    top_k        of text and tokens: so many most likely tokens are drawn from; 0: all.
    temperature  of text and tokens: the model's probabilities to the power of 1 / temperature.
    share        of regression: the probability with which a label is redrawn.
    again        of regression: whether a label that was redrawn may be redrawn; false: the edits of
                 the generations are disjoint, `share` of all labels each, while there are any.
    """

    ACCEPTS = ("text", "tokens", "regression")
    NEEDS = {"model.decoding": {"GIVES": ("text",)}, "model.frequencies": {"GIVES": ("tokens",)}}
    TINY = {"threshold": 0.3, "share": 0.5}
    RECORDS = True

    def __init__(
        self,
        *,
        threshold: Fraction = 0.99,
        of: Literal["real", "training"] = "real",
        top_k: NonNegativeInt = 8,
        temperature: NonNegativeFloat = 1.0,
        share: Fraction = 0.1,
        again: bool = True,
    ) -> None:
        self.threshold, self.of, self.top_k, self.temperature = threshold, of, top_k, temperature
        self.share, self.again = share, again

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        """Nothing is needed."""

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        whole = around.real if self.of == "real" else around.training()
        original = _first(whole, n, rng)
        if original.declared.kind == "regression":
            return self._relabelled(generator, original, around, rng)
        labels = None if around.labels is None else original.y
        x, u, edited = np.array(original.x), rng.random(original.x.shape), 0
        free = _editable(original)
        for rows, logits in _logits(generator, original, labels):
            log_p = log_probabilities(logits)
            own = np.take_along_axis(log_p, x[rows][..., None].astype(np.int64), axis=-1)[..., 0]
            sure = (np.exp(own) >= self.threshold) & free[rows]
            log_p = _unended(log_p[sure], original)
            drawn = chosen(log_p, u[rows][sure], temperature=self.temperature, top_k=self.top_k)
            x[rows][sure] = drawn
            edited += len(drawn)
        tokens = max(1, int(free.sum()) * (x.size // free.size))
        report = {"edited": edited / tokens, "changed": float(np.sum(x != original.x)) / tokens}
        y = None if labels is None else np.array(labels)
        return Draw(Samples(x, y, beside=original.beside), report)

    def _relabelled(
        self, generator: Generator, original: Samples, around: Around, rng: np.random.Generator
    ) -> Draw:
        """A model with covariates of its own draws the pairs anew."""
        assert original.y is not None
        drawn = generator.sample(len(original), rng, labels=original.x)
        assert drawn.y is not None, "a generator of regression pairs gave no responses"
        free = self._free(original, around)
        left = np.maximum(free.sum(0), 1)  # [replicates]
        redrawn = free & (rng.random(free.shape) < self.share * len(free) / left)
        x = original.x
        if drawn.x is not x:
            x = np.where(redrawn[..., None], drawn.x, x)
        y = np.where(redrawn, drawn.y, original.y)
        edited = float(redrawn.mean())
        return Draw(Samples(x, y), {"edited": edited, "changed": float(np.mean(y != original.y))})

    def _free(self, original: Samples, around: Around) -> np.ndarray:
        """The labels [n, replicates] that may be redrawn."""
        assert original.y is not None
        if self.again:
            return np.ones(original.y.shape, dtype=bool)
        first = around.real_of(0)
        if not np.array_equal(first.x, original.x):
            raise ValueError(
                "edit: again: false needs the covariates of the first real set in every "
                "generation, to tell which labels are still its own; use policy replace with a "
                "fixed real set"
            )
        values: np.ndarray = original.y == first.y
        return values


def _first(whole: Samples, n: int, rng: np.random.Generator) -> Samples:
    """n rows: all in turn, or a part of them at random."""
    if n == len(whole):
        return whole
    if n > len(whole):
        return whole.take(np.arange(n) % len(whole))
    return whole.take(rng.permutation(len(whole))[:n])


def _editable(original: Samples) -> np.ndarray:
    """Which tokens may be redrawn, as x or [n, 1, length]: of records those of the completion
    before its end.
    """
    if original.lengths is None:
        return np.ones(original.x.shape, dtype=bool)
    begin, end = completions(original)
    place, own = np.arange(original.x.shape[-1]), original.declared.tokenizer
    free: np.ndarray = (place >= begin[:, None]) & (place < end[:, None])  # [n, length]
    if own is not None and own.eos is not None:
        free &= (original.x[:, 0] != own.eos) | (place + 1 < end[:, None])
    return free[:, None]


def _unended(log_p: np.ndarray, original: Samples) -> np.ndarray:
    """Log probabilities [rows, V]; of records without the token that would end one."""
    own = original.declared.tokenizer
    if original.lengths is not None and own is not None and own.eos is not None:
        log_p[:, own.eos] = -np.inf
    return log_p


def _logits(
    generator: Generator, original: Samples, labels: np.ndarray | None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Of every token given those before it, some rows at a time: logits [rows, ..., V]."""
    x, independent = original.x, original.declared.kind == "tokens"
    table = _log_frequencies(generator, x) if independent else np.zeros(0)
    model, vocabulary = cast(LanguageModel, generator), original.declared.vocabulary
    numbers = x[0].size * (table.shape[-1] if independent else vocabulary or 1)
    at_once = max(1, MOST_NUMBERS // numbers)
    for start in range(0, len(x), at_once):
        rows = slice(start, start + at_once)
        if independent:
            yield rows, np.broadcast_to(table, (*x[rows].shape, table.shape[1]))
        else:
            yield rows, model.logits(x[rows], None if labels is None else labels[rows])


def _log_frequencies(generator: Generator, x: np.ndarray) -> np.ndarray:
    """Of independent tokens, also of those in x that the model has never seen: [replicates, V]."""
    p = cast(FittedFrequencies, generator).frequencies_
    p = np.pad(p, ((0, 0), (0, max(0, int(x.max(initial=0)) + 1 - p.shape[1]))))
    values: np.ndarray = np.log(p, out=np.full(p.shape, -np.inf), where=p > 0)
    return values
