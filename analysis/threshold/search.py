"""The search of a threshold: lineages proposed one by one to wherever a place is free, until enough
is known.

A search supplies a session (engine/running/session.py) with lineages and hears of every one that
ended; no round is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.threshold.workflows import Workflow, read
from engine.console.live import Display
from engine.console.tables import duration
from engine.files import JsonObject, write_atomically
from engine.lineage.history import History, history
from engine.outcome.answer import Answer
from engine.running.job import Job
from engine.running.supply import Place, Summary, json_text
from engine.spec import LineageSpec, Sweep
from engine.store.store import Store


class Search:
    """The supply of one `ouro threshold`."""

    again, adaptive = "threshold", True

    def __init__(self, sweep: Sweep, store: Store) -> None:
        self.sweep, self.store = sweep, store
        self.workflows = read(sweep, store)
        self.specs: dict[str, LineageSpec] = {}  # of all lineages that were started, by id
        for workflow in self.workflows.values():
            self.specs.update(workflow.specs)
        self.there = len(self.specs)  # before this session

    @property
    def finished(self) -> bool:
        return all(w.enough and not w.running for w in self.workflows.values())

    @property
    def continued(self) -> Sequence[History]:
        waiting = [spec for w in self.workflows.values() for spec in w.waiting]
        return [history(self.sweep, self.store, spec) for spec in waiting]

    def start(self, display: Display) -> None:
        """All is read already."""

    def jobs(self) -> Sequence[Job]:
        templates = [workflow.template for workflow in self.workflows.values()]
        return [self._job(spec) for spec in templates]

    def next(self) -> Job | None:
        """From the workflow of which least has been run, so that all get their share of the
        machines.
        """
        for workflow in sorted(self.workflows.values(), key=_share):
            spec = workflow.next()
            if spec is not None:
                self.specs[spec.id] = spec
                self.store.forget_failure(spec.id)
                return self._job(spec)
        return None

    def _job(self, spec: LineageSpec) -> Job:
        return Job.of(self.sweep, self.store, spec, self.sweep.generations)

    def ended(self, lineage: str) -> None:
        spec = self.specs[lineage]
        self.workflows[spec.workflow].ended(history(self.sweep, self.store, spec))

    def found(self) -> dict[str, History]:
        return {spec.id: history(self.sweep, self.store, spec) for spec in self.specs.values()}

    def asked(self, found: Mapping[str, History]) -> Sequence[History]:
        return list(found.values())

    def summary(self, found: Mapping[str, History], folder: Path, seconds: float) -> Summary:
        """Write threshold.json."""
        workflows = list(self.workflows.values())
        said = report(self.sweep, workflows)
        numbers = {}
        for workflow in workflows:
            if workflow.answer.estimate is not None:
                numbers[f"threshold/{workflow.label}"] = workflow.answer.estimate
        place = write_atomically(folder / "threshold.json", json_text(said))
        new, after = len(self.specs) - self.there, duration(seconds)
        count = f"{len(self.specs)} lineages, {new} of them new, after {after}"
        return Summary(said, numbers, (Place("numbers", place),), count)


def _share(workflow: Workflow) -> tuple[int, int]:
    return len(workflow.running), len(workflow.specs)


@dataclass(frozen=True)
class Line:
    """A workflow as a live table shows it."""

    workflow: Workflow

    @property
    def label(self) -> str:
        return self.workflow.label

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.workflow.known), len(self.workflow.running)

    def said(self) -> Answer:
        return self.workflow.said()


def report(sweep: Sweep, found: list[Workflow]) -> JsonObject:
    """What threshold.json holds."""
    assert sweep.collapse is not None and sweep.threshold is not None
    head = {
        "name": sweep.name,
        "question": sweep.question,
        "generations": sweep.generations,
        "collapse": sweep.collapse.to_dict(),
        "threshold": sweep.threshold.to_dict(),
    }
    return {**head, "workflows": [own.to_dict() for own in found]}
