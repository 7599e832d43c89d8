"""Samples of text as text: sequences of stored generations, as they read.

What a model wrote is nobody's: `one_line` and `escaped` show its control characters and its
bidirectional marks instead of obeying them, and a page escapes its markup besides.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from engine._foreign import one_line
from engine.identity import Part
from engine.knowledge import Decoded, knows
from engine.lineage.history import History
from engine.samples import Samples
from engine.spec import LineageSpec
from engine.store.store import Store
from engine.tracking.stored import first_stored, stored

SHOWN = 3  # sequences of a generation in a film
LOGGED = 20  # ... in a tracker
IN_TERMINAL = 3  # generations, a line each
MOST_CHARACTERS = 300  # of a sequence
LETTERS = string.ascii_lowercase  # of tokens that stand for nothing else


def is_text(spec: LineageSpec) -> bool:
    """Whether a lineage's samples are sequences of tokens."""
    return bool(spec.dataset.constant("GIVES") == "text")


def sequences(dataset: Part, samples: Samples, most: int) -> list[str]:
    """The first sequences of the first replicate as they read, not escaped: text where the data set
    can tell it, else a letter or a number for each token.
    """
    x, ends = samples.x[:most, 0], samples.lengths
    rows = [row if ends is None else row[: ends[i]] for i, row in enumerate(x)]
    try:
        made = dataset.make() if "decoded" in dataset.trait("KNOWS") else None
        reading = [_plain(row) if made is None else _decoded(made, row) for row in rows]
    except (OSError, ValueError, IndexError):  # its files are not here, or others than they were
        reading = [_plain(row) for row in rows]
    return [_cut(text) for text in reading]


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def _decoded(dataset: object, row: np.ndarray) -> str:
    assert knows(dataset, "decoded")
    return cast(Decoded, dataset).decoded(row)


def _plain(row: np.ndarray) -> str:
    """Tokens as letters, or as numbers where there are too many of them."""
    if row.max(initial=0) < len(LETTERS):
        return "".join(LETTERS[token] for token in row)
    return " ".join(map(str, row))


def of_generation(store: Store, spec: LineageSpec, draw: str) -> str | None:
    """Generation of a lineage from its stored samples, a line for each; None when there are none.

    draw: the key of its draw, or ''.
    """
    samples = stored(store, draw)
    if samples is None:
        return None
    return "".join(f"{one_line(own)}\n" for own in sequences(spec.dataset, samples, LOGGED))


def _indented(texts: Sequence[str]) -> str:
    return "".join(f"  {one_line(own)}\n" for own in texts)


@dataclass(frozen=True)
class Film:
    """A lineage's generations, some sequences of each."""

    spec: LineageSpec
    frames: dict[int, list[str]]

    @property
    def text(self) -> str:
        """A line for each sequence, below its generation."""
        return "\n".join(f"generation {t}\n{_indented(own)}" for t, own in self.frames.items())

    def lines(self, most: int = IN_TERMINAL) -> list[str]:
        """The first sequence of a few generations, from the first to the last."""
        ts = list(self.frames)
        chosen = {ts[round(i * (len(ts) - 1) / (most - 1))] for i in range(most)}
        longest = len(str(ts[-1]))
        return [f"{t:>{longest}}  {''.join(self.frames[t][:1])}" for t in sorted(chosen)]


def film(store: Store, histories: Sequence[History]) -> Film | None:
    """Read the first of these lineages that has stored samples."""
    found = first_stored(store, histories)
    if found is None:
        return None
    history, frames = found
    dataset = history.spec.dataset
    return Film(history.spec, {t: sequences(dataset, own, SHOWN) for t, own in frames.items()})
