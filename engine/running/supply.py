"""Where the lineages of a session come from: a run has a fixed list, a search supplies one after
the other (analysis/threshold/search.py).
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from engine.console.live import Display
from engine.console.tables import duration
from engine.lineage.history import History, histories, lineage_of
from engine.names import names_of
from engine.outcome.document import to_json
from engine.outcome.summary import drift
from engine.planning import plan as planning
from engine.running.job import Job, Source
from engine.running.logs import Folder
from engine.spec import LineageSpec, Sweep
from engine.status import Status
from engine.store.store import Store
from engine.tracking import texts


@dataclass(frozen=True)
class Place:
    """A file that a session has written."""

    what: str
    path: Path
    about: str = ""  # what is to be seen there


@dataclass(frozen=True)
class Summary:
    """What a session has found out."""

    report: Mapping[str, object]  # the JSON document
    numbers: Mapping[str, float] = field(default_factory=dict)  # for the tracker
    places: tuple[Place, ...] = ()
    count: str = ""  # how many lineages have ended, as a sentence
    lines: tuple[str, ...] = ()  # of samples that can be read


class Supply(Source, Protocol):
    """Where the lineages of a session come from, and what is found out with them."""

    again: str  # the command that says later what the session has found out
    adaptive: bool  # asks for one lineage after the other; else `jobs` are all there are

    @property
    def specs(self) -> Mapping[str, LineageSpec]:
        """The lineages that are known so far, by id."""

    @property
    def continued(self) -> Sequence[History]:
        """What the store had of the lineages that are continued."""

    def start(self, display: Display) -> None:
        """Read what the store has; the display hears of it."""

    def jobs(self) -> Sequence[Job]:
        """Return all jobs in order, or one of each kind that may be asked for."""

    def ended(self, lineage: str) -> None:
        """Hear that a lineage is over."""

    def found(self) -> dict[str, History]:
        """Return what the store has now of every lineage."""

    def asked(self, found: Mapping[str, History]) -> Sequence[History]:
        """Return those of them that decide how the session ends."""

    def summary(self, found: Mapping[str, History], folder: Folder, seconds: float) -> Summary:
        """Sum up and write it to the folder; seconds: since the session began."""


class Listed:
    """The fixed list of a run: the lineages of a sweep that lack something.

    only: lineage ids, or their beginnings; leaders: whether what several share runs first.
    """

    again, adaptive = "status", False

    def __init__(
        self,
        sweep: Sweep,
        store: Store,
        known: planning.Paths,
        only: tuple[str, ...] = (),
        leaders: bool = True,
    ) -> None:
        self.sweep, self.store, self.known = sweep, store, known
        self.only, self.leaders = only, leaders
        self.specs = {spec.id: spec for spec in sweep.all_lineages}
        self.continued: list[History] = []
        self._jobs: list[Job] = []
        self._left: deque[Job] = deque()

    @property
    def finished(self) -> bool:
        return not self._left

    def start(self, display: Display) -> None:
        for history in histories(self.sweep, self.store).values():
            display.found(history)
            if not self._is_asked(history.spec):
                continue
            if lineage_of(self.sweep, self.store, history.spec).complete():
                display.ended(history.spec.id, history.status)
            else:
                self.store.forget_failure(history.spec.id)
                self.continued.append(history)
        last, lacking = self.sweep.generations, [history.spec for history in self.continued]
        todo = [(spec, last) for spec in lacking]
        if self.leaders:
            todo = planning.order(lacking, self.known, last)
        self._jobs = [Job.of(self.sweep, self.store, spec, until) for spec, until in todo]
        self._left.extend(self._jobs)

    def jobs(self) -> Sequence[Job]:
        return self._jobs

    def next(self) -> Job | None:
        return self._left.popleft() if self._left else None

    def ended(self, lineage: str) -> None:
        """What is left is in the store."""

    def found(self) -> dict[str, History]:
        return histories(self.sweep, self.store)

    def asked(self, found: Mapping[str, History]) -> Sequence[History]:
        return [history for history in found.values() if self._is_asked(history.spec)]

    def _is_asked(self, spec: LineageSpec) -> bool:
        return not self.only or spec.id.startswith(self.only)

    def summary(self, found: Mapping[str, History], folder: Folder, seconds: float) -> Summary:
        """Write summary.json and the film strip, of text as text."""
        report = to_json(self.sweep, found)
        place = folder.write("summary.json", json_text(report))
        shown = most_drifted(self.sweep, found)
        film = texts.film(self.store, shown) if shown and texts.is_text(shown[0].spec) else None
        strip = self._film_strip(shown, folder) if film is None else self._texts(film, folder)
        places, lines = (Place("summary", place), *strip), self._lines(film)
        count = self._count(found, seconds)
        return Summary(report, _numbers(report), places, count, lines)

    def _count(self, found: Mapping[str, History], seconds: float) -> str:
        asked = self.asked(found)
        if any(history.status in (Status.UNFINISHED, Status.FAILED) for history in asked):
            return ""
        many = f"all {len(found)} lineages"
        if self.only:
            many = f"of {len(found)} lineages the {len(asked)} that were asked for"
        return f"{many} have an outcome, after {duration(seconds)}"

    def _texts(self, film: texts.Film, folder: Folder) -> Iterable[Place]:
        """Write what the lineage wrote that drifted most of those that went furthest."""
        path = folder.write("samples.txt", film.text)
        return (Place("samples", path, names_of(self.sweep).lineage(film.spec)),)

    def _lines(self, film: texts.Film | None) -> tuple[str, ...]:
        if film is None:
            return ()
        who = names_of(self.sweep).lineage(film.spec)
        return (f"what {who} wrote, by generation:", *film.lines())

    def _film_strip(self, shown: Sequence[History], folder: Folder) -> Iterable[Place]:
        """Draw the lineage that drifted most of those that went furthest."""
        from engine.tracking.pictures import film_strip  # matplotlib: seconds to import

        path = folder.place("film_strip.png")
        drawn = film_strip(self.store, shown, path)
        if drawn is None:
            return ()
        return (Place("film strip", path, names_of(self.sweep).lineage(drawn.spec)),)


def json_text(report: Mapping[str, object]) -> str:
    """A report as the text of a file."""
    return json.dumps(report, indent=1) + "\n"


def _numbers(report: Mapping[str, Any]) -> dict[str, float]:
    """What the tracker shows of a run: lineages by status, how many have collapsed, and what cells
    keep of earlier tasks.
    """
    numbers = {f"lineages/{status}": float(n) for status, n in report["statuses"].items()}
    judged = [cell["collapsed"] for cell in report["cells"] if cell["collapsed"] is not None]
    if judged:
        numbers["lineages/collapsed"] = float(sum(judged))
    for cell in report["kept"]:
        numbers |= cell["numbers"]
    return numbers


def most_drifted(sweep: Sweep, found: Mapping[str, History]) -> list[History]:
    """Lineages to draw: those that went furthest, and of them the one that drifted most, first."""
    key = sweep.headline
    sign = sweep.collapse.sign if sweep.collapse else 1  # -1 where less of the metric is worse

    def rank(history: History) -> tuple[int, float]:
        moved = drift(history.rows, key, sweep.drifts_by)
        return -len(history.rows), math.inf if moved is None else -sign * moved

    cells = [own for own in found.values() if own.spec.id not in sweep.control_ids]
    return sorted(cells, key=rank)
