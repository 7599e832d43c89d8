"""ROUGE-N (Lin 2004) as reward: how much of what a real text goes on with is in what the model
wrote, as Yi 2510.16657 picks summaries.

F of precision and recall of n-grams, each counted as often as in both.  Not a likelihood: a text
that the real one does not have is worth nothing, however good.  Of records the completions are
compared, without the token that ends them; one that has no n-gram shares none, which is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine._tokens import completions, written
from engine.parts import Dataset, Generator, Needs, Params, PositiveInt
from engine.samples import Samples, Tokenizer


class Rouge:
    """From 0 to 1; it learns nothing.

    n  tokens of an n-gram: 1 compares which tokens there are, 2 which pairs.
    """

    ACCEPTS = ("text",)
    NEEDS: ClassVar[Needs] = {"draws.prompts": {}}
    TINY: ClassVar[Params] = {}
    RECORDS = True
    SPANS = "n"

    def __init__(self, *, n: PositiveInt = 1) -> None:
        self.n = n

    def fit(
        self, dataset: Dataset, real: Samples, generator: Generator, rng: np.random.Generator
    ) -> dict[str, float]:
        return {}

    def score(self, samples: Samples) -> np.ndarray:
        """[n, replicates]."""
        if samples.prompted is None:
            raise ValueError(
                "rouge: these texts do not go on from real ones; judge the draws of "
                "{name: decode, prompt: ...}, of records those of decode"
            )
        real, shape = samples.prompted.real, samples.x.shape
        begin, end = written(samples)
        if samples.lengths is None and (least := int((end - begin).min(initial=self.n))) < self.n:
            raise ValueError(f"rouge: {least} tokens are written, fewer than n, {self.n}")
        own = real.declared.tokenizer if samples.lengths is not None else None
        ours = Spans(samples.x, begin, _ended(samples.x, end, own))
        theirs = Spans(real.x, begin, _ended(real.x, completions(real)[1], own))
        return overlap(ours, theirs, self.n).reshape(shape[:2])


@dataclass(frozen=True, eq=False)
class Spans:
    """Parts of texts x [n, replicates, length], from their places `begin` up to `end` [n]."""

    x: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    def counts(self, m: int) -> np.ndarray:
        """Which m-grams lie in the part: [n * replicates, length - m + 1]."""
        place = np.arange(max(self.x.shape[-1] - m + 1, 0))
        inside = (place >= self.begin[:, None]) & (place + m <= self.end[:, None])
        values: np.ndarray = np.repeat(inside, self.x.shape[1], axis=0)
        return values


def _ended(x: np.ndarray, end: np.ndarray, own: Tokenizer | None) -> np.ndarray:
    """Ends [n] of records x [n, 1, length], without the token that ends a text."""
    if own is None or own.eos is None:
        return end
    values: np.ndarray = end - (x[np.arange(len(x)), 0, end - 1] == own.eos)
    return values


def overlap(ours: Spans, theirs: Spans, n: int) -> np.ndarray:
    """F of the n-grams of texts and of those that they are compared with: [n * replicates]."""
    codes = _numbered(np.stack([ours.x, theirs.x]).reshape(2, -1, ours.x.shape[-1]), n)
    inside, rows = (ours.counts(n), theirs.counts(n)), codes.shape[1]
    many = int(codes.max(initial=0)) + 1
    codes += np.arange(rows)[:, None] * many
    (a, of_a), (b, of_b) = (
        np.unique(each[own], return_counts=True) for each, own in zip(codes, inside, strict=True)
    )
    shared, i, j = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    common = np.bincount(shared // many, np.minimum(of_a[i], of_b[j]), rows)
    there = inside[0].sum(1) + inside[1].sum(1)
    values: np.ndarray = np.divide(2 * common, there, out=np.zeros(rows), where=there > 0)
    return values


def _numbered(x: np.ndarray, n: int) -> np.ndarray:
    """A number for each different n-gram of x [2, rows, length]: [2, rows, length - n + 1]."""
    tokens = np.unique(x, return_inverse=True)[1].reshape(x.shape)
    many, codes, places = int(tokens.max(initial=0)) + 1, tokens, max(x.shape[2] - n + 1, 0)
    for j in range(1, n):  # few enough for a product each time, however long the n-grams are
        longer = codes[..., :places] * many + tokens[..., j : j + places]
        codes = np.unique(longer, return_inverse=True)[1].reshape(longer.shape)
    return codes[..., :places]
