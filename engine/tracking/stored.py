"""The few samples that were stored of each generation for its picture."""

from __future__ import annotations

from collections.abc import Sequence

from engine.lineage.history import History
from engine.samples import Samples
from engine.store.artifacts import read_strip
from engine.store.store import Store

MOST_FRAMES = 15  # generations of a film strip
MOST_TRIED = 20  # lineages, until one has stored samples


def stored(store: Store, draw: str) -> Samples | None:
    """Of a generation, by the key of its draw ('': it has none); None where there are none."""
    row = store.row("draw", draw) if draw else None
    return read_strip(store, row) if row else None


def first_stored(
    store: Store, histories: Sequence[History]
) -> tuple[History, dict[int, Samples]] | None:
    """The first of these lineages that has stored samples, with them by generation, thinned to as
    many as a picture can show.
    """
    for history in histories[:MOST_TRIED]:
        if found := _frames(store, history):
            return history, found
    return None


def _frames(store: Store, history: History) -> dict[int, Samples]:
    rows = history.rows
    if len(rows) > MOST_FRAMES:
        apart = (len(rows) - 1) / (MOST_FRAMES - 1)
        rows = tuple(rows[round(i * apart)] for i in range(MOST_FRAMES))
    found = {}
    for row in rows:
        samples = stored(store, row.draw or "")
        if samples is not None:
            found[row.t] = samples
    return found
