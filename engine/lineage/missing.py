"""What an output lacks of a sweep: numbers that are gone, numbers that were not made yet, and
arrays that should have stayed.

Nothing is read but rows, and which files are there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from engine.lineage.history import lineage_of
from engine.lineage.loop import Lineage
from engine.names import Names, names_of
from engine.settings import is_kept
from engine.spec import LineageSpec, Sweep
from engine.store.rows import Row
from engine.store.store import KIND_FOLDERS, Store


@dataclass(frozen=True)
class Missing:
    """gone: generations without a row although later ones have one, by name; arrays: files that the
    keep rule keeps, by path in the output; generations: how many were not made yet.
    """

    gone: tuple[str, ...]
    arrays: tuple[str, ...]
    generations: int


def missing(sweep: Sweep, store: Store) -> Missing:
    """What the lineages of a sweep lack."""
    names, gone, arrays, lacking = names_of(sweep), list[str](), set[str](), 0
    store.refresh()
    for spec in sweep.all_lineages:
        lineage = lineage_of(sweep, store, spec)
        there = _there(lineage)
        gone += _gaps(spec, there, names)
        arrays.update(_arrays(sweep, lineage, there))
        if not any(row.status.ends for row in there.values()):
            lacking += sum(t not in there for t in range(sweep.generations + 1))
    return Missing(tuple(gone), tuple(sorted(arrays)), lacking - len(gone))


def _there(lineage: Lineage) -> dict[int, Row]:
    """The last row of each generation that is committed: its draw's, or its model's that ends."""
    found: dict[int, Row] = {}
    for node in lineage.path:
        row: Row | None = lineage.store.row("draw", node.draw)
        if row is None:
            model = lineage.store.row("model", node.model)
            row = model if model is not None and model.status.ends else None
        if row is not None:
            found[node.t] = row
    return found


def _gaps(spec: LineageSpec, there: dict[int, Row], names: Names) -> Iterator[str]:
    last = max(there, default=-1)
    for t in range(last):
        if t not in there:
            yield f"generation {t} of {names.lineage(spec)}"


def _arrays(sweep: Sweep, lineage: Lineage, there: dict[int, Row]) -> Iterator[str]:
    """Files of kept generations that are not there; closed forms are made again and keep none."""
    if lineage.spec.generator.constant("COST") == "tiny":
        return
    store, last = lineage.store, max(there, default=-1)
    for t, draw in there.items():
        if t != last and not is_kept(t, sweep.keep):
            continue
        model = store.row("model", lineage.path[t].model)
        rows: list[Row] = [draw] if model is None else [model, draw]
        for row in rows:
            for name in row.files:
                if not store.has(row, name):
                    yield posixpath.join(KIND_FOLDERS[row.kind], row.key, name)
