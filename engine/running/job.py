"""A job: one lineage and how far to take it, as it travels to the process that works on it; who is
asked for jobs, and who hears of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

from engine.files import JsonObject
from engine.settings import Share
from engine.spec import LineageSpec, MeasureSpec, Sweep
from engine.status import Status
from engine.store.store import Store

TOGETHER_SECONDS = 0.5  # millisecond generations are made and committed together for so long


@dataclass(frozen=True)
class Job:
    """One lineage, how far to take it, and what every lineage of the sweep needs to know."""

    spec: LineageSpec
    until: int  # a leader stops here; others at the last generation
    generations: int
    metrics: tuple[MeasureSpec, ...]
    headline: str  # the key to report on the way
    out: str
    resources: Share
    together: float = TOGETHER_SECONDS
    allow_commands: bool = False  # said by who started the session, never by a file or an output

    @classmethod
    def of(cls, sweep: Sweep, store: Store, spec: LineageSpec, until: int) -> Job:
        out = store.root if store.local else store.url
        return cls(
            spec,
            until,
            sweep.generations,
            sweep.metrics_of(spec),
            sweep.headline,
            out,
            sweep.resources_of(spec),
        )

    def to_dict(self) -> JsonObject:
        """Plain values, as they travel to an actor."""
        metrics = [metric.to_dict() for metric in self.metrics]
        return {
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "spec": self.spec.to_dict(),
            "metrics": metrics,
            "resources": self.resources.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: JsonObject) -> Job:
        metrics = tuple(map(MeasureSpec.from_dict, values["metrics"]))
        spec, share = LineageSpec.from_dict(values["spec"]), Share.from_dict(values["resources"])
        return cls(**{**values, "spec": spec, "metrics": metrics, "resources": share})


class Watch(Protocol):
    """Who hears what happens to the lineages that run."""

    def row(
        self, lineage: str, t: int, last: float, start: float, new: int, seconds: float, going: bool
    ) -> None:
        """Hear of committed generations, see engine/console/live.py."""

    def ended(self, lineage: str, status: Status) -> None:
        """Hear that a lineage is over."""

    def note(self, text: str) -> None:
        """Hear a remark."""

    def tick(self) -> None:
        """Called several times a second."""

    def died(self, why: str) -> None:
        """Hear that a Ray of our own has died."""


class Source(Protocol):
    """Asked for a job whenever a place is free."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""

    def next(self) -> Job | None:
        """Return what to run now; None: nothing until something has ended."""
