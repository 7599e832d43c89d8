"""What the store has of the lineages of a sweep, read without making anything."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from engine.lineage.loop import ENDS, Lineage
from engine.spec import LineageSpec, Sweep
from engine.store.store import Row, Store


@dataclass(frozen=True)
class History:
    """One lineage: its committed rows in order and how it ended."""

    spec: LineageSpec
    rows: tuple[Row, ...]
    # "ok" when it reached its last generation, a finding, "failed", or "" while it is unfinished
    status: str
    reason: str = ""

    @property
    def t(self) -> int:
        """The last committed generation; -1 before the founder."""
        return int(self.rows[-1]["t"]) if self.rows else -1


class Looking(Store):
    """A store that is only looked at: damage is noted, not set aside.

    Who makes generations finds it too, and repairs it.
    """

    def set_aside(self, path: str) -> None:
        self.damage_found(posixpath.relpath(path, self.root))


def lineage_of(sweep: Sweep, store: Store, spec: LineageSpec) -> Lineage:
    """The lineage as this sweep asks for it: how far, with which metrics."""
    return Lineage(spec, store, generations=sweep.generations, metrics=sweep.metrics_of(spec))


def history(sweep: Sweep, store: Store, spec: LineageSpec) -> History:
    """Its committed rows; its status is the last row's when nothing follows it, `failed` after an
    error, else ''.
    """
    rows = tuple(lineage_of(sweep, store, spec).rows())
    if rows and (rows[-1]["t"] == sweep.generations or rows[-1]["status"] in ENDS):
        return History(spec, rows, rows[-1]["status"], rows[-1]["reason"])
    failure = store.failure(spec.id)
    if failure is None:
        return History(spec, rows, "")
    where = f" ({failure['file']}:{failure['line']})" if failure.get("file") else ""
    return History(spec, rows, "failed", f"{failure['error']}: {failure['message']}{where}")


def histories(sweep: Sweep, store: Store) -> dict[str, History]:
    return {spec.id: history(sweep, store, spec) for spec in sweep.lineages}
