"""What the store has of the lineages of a sweep, read without making anything."""

from __future__ import annotations

from dataclasses import dataclass

from engine.lineage.loop import Lineage
from engine.spec import LineageSpec, Sweep
from engine.status import Status
from engine.store.failures import Failure
from engine.store.rows import Generation
from engine.store.store import Store


@dataclass(frozen=True)
class History:
    """One lineage: its committed generations in order, and how it ended.

    status  of its last generation, when nothing follows that; failed, after an error (see
            `failure`); else unfinished.
    """

    spec: LineageSpec
    rows: tuple[Generation, ...]
    status: Status
    reason: str = ""
    failure: Failure | None = None

    @property
    def t(self) -> int:
        """The last committed generation; -1 before the founder."""
        return self.rows[-1].t if self.rows else -1

    @property
    def finished(self) -> bool:
        """Whether it has an outcome: its last generation, a finding, or a failure."""
        return self.status is not Status.UNFINISHED

    @property
    def counts(self) -> bool:
        """Whether its end is a result: its last generation or a finding, no failure."""
        return self.finished and self.status is not Status.FAILED

    def asked(self, generations: int) -> int:
        """How many generations it is to have: those up to `generations`, or up to its finding."""
        return len(self.rows) if self.counts else generations + 1


def lineage_of(sweep: Sweep, store: Store, spec: LineageSpec) -> Lineage:
    """The lineage as this sweep asks for it: how far, with which metrics."""
    return Lineage(spec, store, generations=sweep.generations, metrics=sweep.metrics_of(spec))


def history(sweep: Sweep, store: Store, spec: LineageSpec) -> History:
    """What is committed of a lineage."""
    rows = tuple(lineage_of(sweep, store, spec).rows())
    last = rows[-1] if rows else None
    if last is not None and (last.t == sweep.generations or last.status.ends):
        return History(spec, rows, last.status, last.reason)
    failure = store.failure(spec.id)
    if failure is None:
        return History(spec, rows, Status.UNFINISHED)
    return History(spec, rows, Status.FAILED, failure.reason, failure)


def histories(sweep: Sweep, store: Store) -> dict[str, History]:
    return {spec.id: history(sweep, store, spec) for spec in sweep.all_lineages}
