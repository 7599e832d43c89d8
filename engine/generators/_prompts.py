"""Records, a prompt and its completion, for a generator of text: the prompts that it draws to, and
where what it wrote to them ends.

A model draws to the prompts of its own training set, in their order, of a class those of the class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.generators._choices import Forced
from engine.knowledge import Choose
from engine.samples import LENGTHS, PROMPT_LENGTHS, Samples
from engine.training.progress import pieces


@dataclass(frozen=True)
class Prompts:
    """Prompts of records of one replicate.

    tokens   [m, longest]; what is beyond a prompt's length counts for nothing.
    lengths  [m].
    labels   [m]; empty without classes.
    ends     the token that ends a text, and the one that a row is filled up with; -1: none.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, data: Samples, labels: np.ndarray | None) -> Prompts | None:
        """Those of a training set; None where it holds no records."""
        if data.prompt_lengths is None:
            return None
        own = data.declared.tokenizer
        end = -1 if own is None or own.eos is None else own.eos
        fill = end if own is None or own.pad is None else own.pad
        longest = int(data.prompt_lengths.max(initial=0))
        return cls(
            data.x[:, 0, :longest].copy(),
            data.prompt_lengths,
            np.zeros(0, np.int64) if labels is None else labels,
            np.array([end, max(fill, 0)]),
        )

    def chosen(self, n: int, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Prompts [n, longest] and their lengths [n] for texts of these labels."""
        rows = np.arange(n) % len(self.lengths)
        for k in np.unique(labels) if labels is not None else ():
            mine, of_class = np.flatnonzero(labels == k), np.flatnonzero(self.labels == k)
            rows[mine] = of_class[np.arange(len(mine)) % len(of_class)]
        return self.tokens[rows], self.lengths[rows]

    def completed(
        self,
        n: int,
        generate: Callable[..., np.ndarray],
        choose: Choose,
        rng: np.random.Generator,
        labels: np.ndarray | None,
        at_once: int,
    ) -> Samples:
        """n records of these labels: the prompts in turn, and what `generate` writes to them, so
        many at a time.
        """
        tokens, lengths = self.chosen(n, labels)
        first = int(lengths.min(initial=tokens.shape[1]))
        drawn = []
        for rows in pieces(n, at_once):
            some = Forced(choose, tokens[rows], lengths[rows], first)
            own = None if labels is None else labels[rows]
            begun = tokens[rows, None, :first]
            drawn.append(generate(len(begun), some, rng, begun, own))
        return self.ended(np.concatenate(drawn), lengths, labels)

    def ended(self, x: np.ndarray, begun: np.ndarray, labels: np.ndarray | None) -> Samples:
        """Texts x [n, 1, length] after prompts of lengths `begun` [n], filled up from their ends
        on.
        """
        end, fill = self.ends.tolist()
        places = np.arange(x.shape[2])
        over = (x[:, 0] == end) & (places >= begun[:, None])
        lengths = np.where(over.any(1), over.argmax(1) + 1, x.shape[2]).astype(np.int32)
        x[:, 0][places >= lengths[:, None]] = fill
        beside = {LENGTHS: lengths, PROMPT_LENGTHS: begun.astype(np.int32)}
        return Samples(x, labels, beside=beside)

    def save(self, file: Path) -> None:
        np.savez(file, tokens=self.tokens, lengths=self.lengths, labels=self.labels, ends=self.ends)

    @classmethod
    def load(cls, file: Path) -> Prompts | None:
        if not file.exists():
            return None
        with np.load(file, allow_pickle=False) as saved:
            return cls(saved["tokens"], saved["lengths"], saved["labels"], saved["ends"])


def counted(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """The first place of each row that counts, and the one after the last: [n] each."""
    n, length = len(samples), samples.x.shape[2]
    first, last = samples.prompt_lengths, samples.lengths
    return (
        np.zeros(n, np.int32) if first is None else first,
        np.full(n, length, np.int32) if last is None else last,
    )
