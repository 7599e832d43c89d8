"""What trained the generations of learned lineages: another torch, or another number of threads,
gives other last bits.

Closed forms do not depend on either.  What was committed stays as it is; whoever continues it
elsewhere is told, and rows say where they are from.
"""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from engine.lineage.history import History
from engine.lineage.recipe import path
from engine.spec import LineageSpec, Sweep
from engine.store.store import Store

NOTE = "learned generators may differ in the last bits"


def named(machine: Mapping[str, Any]) -> str:
    """torch 2.13.0 and 2 threads; '' of a row that knows neither."""
    if "torch" not in machine:
        return ""
    threads = machine["threads"]
    return (
        f"torch {str(machine['torch']).partition('+')[0]} and {threads} "
        f"thread{'s' if threads != 1 else ''}"
    )


def elsewhere(sweep: Sweep, continued: Iterable[History]) -> str:
    """Which generations of these lineages were trained otherwise than they would be here; '' when
    none.
    """
    torch = importlib.metadata.version("torch")
    found: dict[str, set[tuple[str, int]]] = {}
    for history in filter(lambda h: _learned(h.spec), continued):
        here = named({"torch": torch, "threads": sweep.resources_of(history.spec).threads})
        for row in history.rows:
            if (there := named(row.machine)) and there != here:
                found.setdefault(f"were trained with {there}, here are {here}", set()).add(
                    (history.spec.id, row.t)
                )
    return "; ".join(f"{_which(rows)} {text}" for text, rows in sorted(found.items())) + (
        f": {NOTE}" if found else ""
    )


def trained_with(sweep: Sweep, store: Store) -> str:
    """What the report says of a sweep: "torch 2.13.0 and 1 thread", with counts and a note when
    there is more than one.
    """
    keys = {
        node.model
        for spec in sweep.lineages
        if _learned(spec)
        for node in path(spec, sweep.generations)
    }
    rows = (store.row("model", key) for key in sorted(keys))
    counts = Counter(name for row in rows if row is not None and (name := named(row.machine)))
    if len(counts) < 2:
        return "".join(counts)
    return "; ".join(f"{n} generations: {name}" for name, n in counts.most_common()) + f"; {NOTE}"


def _learned(spec: LineageSpec) -> bool:
    return bool(spec.generator.constant("COST") != "tiny")


def _which(rows: set[tuple[str, int]]) -> str:
    lineages, ts = len({lineage for lineage, _ in rows}), sorted({t for _, t in rows})
    span = f"generation {ts[0]}" if len(ts) == 1 else f"generations {ts[0]} to {ts[-1]}"
    return f"{span} of {lineages} lineage{'s' if lineages != 1 else ''}"
