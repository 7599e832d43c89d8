"""The search of a threshold: lineages proposed one by one to wherever a place is free, until enough
is known.

A search supplies a session (engine/running/session.py) with lineages and hears of every one that
ended; no round is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.threshold.workflows import HOPELESS, Workflow, read
from engine.console.live import Display
from engine.console.tables import duration
from engine.files import JsonObject
from engine.lineage.history import History, history
from engine.outcome.answer import Answer
from engine.running.job import Job
from engine.running.logs import Folder
from engine.running.supply import Place, Summary, json_text
from engine.spec import LineageSpec, Sweep
from engine.store.store import Store

MOST_READ = 20  # lineages of which the cost of one is measured


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
        self._before, self._started = self._ended, time.monotonic()

    @property
    def finished(self) -> bool:
        return all(w.enough and not w.running for w in self.workflows.values())

    @property
    def _ended(self) -> int:
        return sum(workflow.ended_ones for workflow in self.workflows.values())

    def outlook(self) -> list[tuple[str, str]]:
        """The budget, and what a lineage costs, as (name, value): before anything runs."""
        found = list(self.workflows.values())
        most = sum(workflow.design.budget for workflow in found)
        many = "1 workflow" if len(found) == 1 else f"each of {len(found)} workflows"
        each = ", ".join(sorted({str(workflow.design.budget) for workflow in found}))
        budget = f"at most {each} lineages for {many}: {most} in all, {self._ended} are there"
        takes = f"generations 0 to {self.sweep.generations}; {self._cost()}"
        pairs = [("budget", budget), ("a lineage", takes), ("output", self.sweep.out)]
        at_n = [f"{metric} at n {n:,}" for metric, n in self.sweep.compared.items()]
        return [*pairs, ("compares", ", ".join(at_n))] if at_n else pairs

    def _cost(self) -> str:
        """What a lineage takes: measured, declared, or not known yet."""
        known = [spec for w in self.workflows.values() for spec in w.specs.values()]
        past = [history(self.sweep, self.store, spec) for spec in known[:MOST_READ]]
        ended = [each for each in past if each.rows]
        if ended:
            spent = sum(row.seconds for h in ended for row in h.rows) / len(ended)
            return f"about {duration(spent)} of work, as measured of {len(ended)}"
        shares = [self.sweep.resources_of(w.template) for w in self.workflows.values()]
        hours = [share.hours_per_generation for share in shares]
        declared = [each for each in hours if each is not None]
        if len(declared) == len(hours) and hours:
            spent = 3600 * (self.sweep.generations + 1) * sum(declared) / len(declared)
            return f"about {duration(spent)} of work, as declared"
        return "its time is known once the first has ended"

    def progress(self) -> str:
        """How much of the budget is spent, and how long the rest takes at most."""
        ended, left = self._ended, sum(workflow.left for workflow in self.workflows.values())
        text = f"lineages that have ended: {ended}, at most to come: {left}"
        if (new := ended - self._before) and left:
            pace = (time.monotonic() - self._started) / new
            text += f", at most about {duration(pace * left)}"
        return text

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

    def summary(self, found: Mapping[str, History], folder: Folder, seconds: float) -> Summary:
        """Write threshold.json."""
        workflows = list(self.workflows.values())
        said = report(self.sweep, workflows)
        numbers: dict[str, float] = {}
        for workflow in workflows:
            numbers |= workflow.numbers
        place = folder.write("threshold.json", json_text(said))
        new, after = len(self.specs) - self.there, duration(seconds)
        count = f"{len(self.specs)} lineages, {new} of them new, after {after}"
        if given_up := [w.label for w in workflows if w.hopeless]:
            count += (
                f"; the search of {', '.join(given_up)} stopped after {HOPELESS} failures in a row:"
                " mend what failed, and the same command goes on"
            )
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
        "compared": sweep.compared,
        "threshold": sweep.threshold.to_dict(),
    }
    return {**head, "workflows": [own.to_dict() for own in found]}
