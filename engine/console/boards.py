"""What a live screen shows: where a run stands, cell by cell; where a search stands, workflow by
workflow.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from engine.console.summary import show_controls, show_kept, show_summary
from engine.console.tables import (
    NARROW,
    answer_text,
    bar,
    changed,
    duration,
    number,
    one_line_each,
    stage_text,
    table,
)
from engine.console.text import line
from engine.lineage.history import History
from engine.names import by_cell, names_of
from engine.outcome.answer import Answer
from engine.outcome.continual import kept
from engine.outcome.control import controls
from engine.outcome.summary import By, Spread, at_end, at_start, has_drift, summarise
from engine.planning.plan import Plan
from engine.spec import Sweep
from engine.training.progress import Stage

WIDE = 90  # columns; from here on there is room for the metric itself
QUIET_SECONDS = 30.0  # a pipe gets a line of a run this often, or at every tenth of the work
SEARCH_QUIET_SECONDS = 5.0  # a pipe gets a line of one workflow this often
LAST_NOTES = 3  # shown below a live table
MOST_STAGES = 3  # lineages of which it is told how far they are inside a generation


@dataclass
class Progress:
    """One cell while it runs."""

    label: str
    lineages: int
    total: int
    reached: dict[str, int] = field(default_factory=dict)  # rows by lineage
    start: dict[str, float] = field(default_factory=dict)  # the metric at generation 0, by lineage
    last: dict[str, float] = field(default_factory=dict)  # ... and now
    ended: dict[str, str] = field(default_factory=dict)  # statuses of the lineages that ended
    running: set[str] = field(default_factory=set)
    touched: float = 0.0
    by: By = "ratio"

    @property
    def done(self) -> int:
        return sum(self.reached.values())

    @property
    def status(self) -> str:
        parts = [
            f"{n} {'done' if s == 'ok' else s.replace('_', ' ')}"
            for s, n in sorted(Counter(self.ended.values()).items())
        ]
        parts += [f"{len(self.running)} running"] if self.running else []
        waiting = self.lineages - len(self.running) - len(self.ended)
        return ", ".join(parts + ([f"{waiting} waiting"] if waiting else []))

    @property
    def value(self) -> str:
        return number(sum(self.last.values()) / len(self.last)) if self.last else ""

    @property
    def drift(self) -> str:
        there = {k: v for k, v in self.start.items() if k in self.last}
        if self.by == "difference":
            both = [self.last[k] - v for k, v in there.items()]
        else:
            both = [self.last[k] / v for k, v in there.items() if v > 0]
        return changed(Spread.of(both), self.by, ranges=False) if both else ""


class SweepBoard:
    """Where a run stands: a line per cell."""

    def __init__(self, sweep: Sweep, plan: Plan) -> None:
        self.sweep, self.missing = sweep, plan.missing
        self.metric = sweep.headline
        per = sweep.generations + 1
        names = names_of(sweep)
        self.names = names
        self.stages: Mapping[str, Stage] = {}  # of the lineages at work, where it lasts
        self.cells = {
            cell: Progress(
                names.cell(members[0]), len(members), len(members) * per, by=sweep.drifts_by
            )
            for cell, members in by_cell(sweep.all_lineages).items()
        }
        self.cell_of = {s.id: self.cells[s.cell_id] for s in sweep.all_lineages}
        self.started = time.monotonic()
        self.first: float | None = None
        self.new = 0
        self.notes: list[str] = []
        self._told, self._tenth = 0.0, -1  # when a pipe was told, at which tenth of the work

    def found(self, history: History) -> None:
        """What the store had of a lineage before this run."""
        cell, metric = self.cell_of[history.spec.id], self.metric
        cell.reached[history.spec.id] = len(history.rows)
        for there, found in ((cell.start, at_start), (cell.last, at_end)):
            if (number := found(history.rows, metric)) is not None:
                there[history.spec.id] = number

    def row(
        self, lineage: str, t: int, last: float, start: float, new: int, seconds: float, going: bool
    ) -> None:
        """A lineage has committed generations up to t; `new` of them were computed since its last
        report.

        last, start: the headline metric now and at generation 0; NaN where it has no value.
        """
        cell = self.cell_of[lineage]
        cell.reached[lineage] = max(cell.reached.get(lineage, 0), t + 1)
        (cell.running.add if going else cell.running.discard)(lineage)
        cell.touched = time.monotonic()
        for there, now in ((cell.start, start), (cell.last, last)):
            if not math.isnan(now):
                there[lineage] = now
        if new and self.first is None:
            self.first = time.monotonic() - seconds
        self.new += new
        self.stages = {k: s for k, s in self.stages.items() if k != lineage or s.t > t}

    def told(self, stages: Mapping[str, Stage]) -> None:
        """Take in how far the lineages at work are inside their generations."""
        self.stages = {k: s for k, s in stages.items() if k not in self.cell_of[k].ended}

    def ended(self, lineage: str, status: str) -> None:
        """A lineage is over; a finding leaves the generations after it uncounted."""
        cell = self.cell_of[lineage]
        cell.running.discard(lineage)
        if lineage not in cell.ended and status != "failed":
            cell.total -= self.sweep.generations + 1 - cell.reached.get(lineage, 0)
        cell.ended[lineage] = status
        self.told(self.stages)

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def done(self) -> int:
        return sum(cell.done for cell in self.cells.values())

    @property
    def total(self) -> int:
        return sum(cell.total for cell in self.cells.values())

    @property
    def finished(self) -> int:
        return sum(len(cell.ended) for cell in self.cells.values())

    @property
    def left(self) -> float | None:
        """Seconds to the end, from the pace so far; None while it is unknown."""
        if self.first is None or self.new < 2 or (elapsed := time.monotonic() - self.first) < 1:
            return None
        return max(self.missing - self.new, 0) / (self.new / elapsed)

    def line(self) -> str:
        """One line for a pipe."""
        share = 100 * self.done // max(self.total, 1)
        text = f"{self.sweep.name}: {self.done} of {self.total} generations ({share} %), "
        text += f"{self.finished} of {len(self.cell_of)} lineages"
        if self.left is not None and self.done != self.total:
            text += f", about {duration(self.left)} left"
        return "; ".join([text, *self._at_work()])

    def _at_work(self) -> list[str]:
        """How far the lineages at work are inside their generations; of many the first."""
        of = {s.id: s for s in self.sweep.all_lineages if s.id in self.stages}
        return [
            f"{self.names.lineage(of[lineage])}: {stage_text(stage)}"
            for lineage, stage in list(self.stages.items())[:MOST_STAGES]
        ]

    def news(self) -> list[str]:
        """Return what a pipe is told now; asked several times a second."""
        now, tenth = time.monotonic(), 10 * self.done // max(self.total, 1)
        if tenth <= self._tenth and now - self._told <= QUIET_SECONDS:
            return []
        self._told, self._tenth = now, tenth
        return [self.line()]

    def last_news(self) -> list[str]:
        """Return what a pipe is told at the end."""
        return [self.line()]

    def show_results(self, console: Console, found: Mapping[str, History]) -> None:
        """Print the summary of the cells."""
        show_summary(console, summarise(self.sweep, found), self.sweep)
        show_kept(console, kept(self.sweep, found))
        show_controls(console, controls(self.sweep, found))

    # ---- in a terminal ----

    def render(self, console: Console) -> RenderableType:
        """Draw the table for a console of this size."""
        columns = self._columns(console.width)
        shown, hidden = self._rows(console.height)
        drawn = table(
            ("cell", "left"),
            ("", "left"),
            ("generations", "right"),
            *columns,
            ("status", "left"),
        )
        width = max(4, min(20, console.width // 8))
        for cell in shown:
            values = {self.metric: cell.value, "drift": cell.drift}
            extra = [values[name] for name, _ in columns]
            done = f"{cell.done}/{cell.total}"
            drawn.add_row(cell.label, bar(cell.done, cell.total, width), done, *extra, cell.status)
        parts: list[RenderableType] = [Text(), one_line_each(drawn)]
        if hidden:
            parts.append(Text(f"... and {hidden} more cells", style="dim"))
        at_work = [Text(line, style="dim", overflow="ellipsis") for line in self._at_work()]
        parts += [Text(), self._foot(console.width), *at_work, *notes_of(self.notes)]
        return Group(*parts)

    def _columns(self, width: int) -> list[tuple[str, JustifyMethod]]:
        """Columns of the headline metric, as far as there is room."""
        if not self.metric:
            return []
        wanted = {self.metric: WIDE, "drift": NARROW}
        if not has_drift(self.sweep):
            wanted = {self.metric: NARROW}
        return [(name, "right") for name, least in wanted.items() if width >= least]

    def _rows(self, height: int) -> tuple[list[Progress], int]:
        """The cells there is room for: the ones most lately active, in the order of the file."""
        cells = list(self.cells.values())
        taken = 9 + min(len(self.stages), MOST_STAGES)
        latest = sorted(cells, key=lambda c: -c.touched)[: max(3, height - taken)]
        chosen = {id(c) for c in latest}
        return [c for c in cells if id(c) in chosen], len(cells) - len(latest)

    def _foot(self, width: int) -> Text:
        text = bar(self.done, self.total, max(4, min(40, width // 4)))
        text += Text(f"  {self.done} of {self.total} generations")
        text += Text(f"   {duration(time.monotonic() - self.started)}", style="dim")
        left = ""
        if not self.done:
            left = "starting workers"
        elif self.left is not None:
            left = f"{duration(self.left)} left"
        return text + Text(f"   {left}", style="bold" if self.done else "dim")


class Question(Protocol):
    """A workflow of a search, as a board shows it."""

    @property
    def label(self) -> str: ...

    @property
    def counts(self) -> tuple[int, int]:
        """How many lineages have ended, how many run."""

    def said(self) -> Answer:
        """What is known of its threshold, and what that rests on."""


class SearchBoard:
    """Where a search stands: a line per workflow; rule: the collapse rule in words."""

    def __init__(self, questions: Sequence[Question], rule: str) -> None:
        self.questions, self.rule = questions, rule
        self.progress: Callable[[], str] = str  # what is spent and left, as a sentence; '': unsaid
        self._said_of_progress = 0.0  # when a pipe was told
        self.notes: list[str] = []
        self._counts: dict[str, int] = {}  # lineages that had ended when a pipe was told, by label
        self._told: dict[str, float] = {}  # when

    def found(self, history: History) -> None:
        """The search has read it already."""

    def row(
        self, lineage: str, t: int, last: float, start: float, new: int, seconds: float, going: bool
    ) -> None:
        """Lineages count when they end."""

    def told(self, stages: Mapping[str, Stage]) -> None:
        """Lineages count when they end."""

    def ended(self, lineage: str, status: str) -> None:
        """The search has heard of it."""

    def note(self, text: str) -> None:
        self.notes.append(text)

    def news(self) -> list[str]:
        """Return the sentences of workflows of which a lineage has ended."""
        now, news = time.monotonic(), []
        for question in self.questions:
            ended, label = question.counts[0], question.label
            quiet = now - self._told.get(label, 0.0) <= SEARCH_QUIET_SECONDS
            if ended == self._counts.setdefault(label, ended) or quiet:
                continue
            self._counts[label], self._told[label] = ended, now
            news.append(answer_text(question.said()).plain)
        if news and now - self._said_of_progress > QUIET_SECONDS and (text := self.progress()):
            self._said_of_progress = now
            news.append(text)
        return news

    def last_news(self) -> list[str]:
        """Return nothing: the answers follow."""
        return []

    def show_results(self, console: Console, found: Mapping[str, History]) -> None:
        """Print the answers as sentences."""
        console.print()
        console.print(line(self.rule, "dim"))
        for question in self.questions:
            console.print(answer_text(question.said()))

    def render(self, console: Console) -> RenderableType:
        """Draw the table."""
        drawn = table()
        for _ in range(2):  # drawn in a thread of its own, while a dictionary may grow
            with contextlib.suppress(RuntimeError):
                drawn = self._table()
                break
        return Group(drawn, Text(self.progress(), style="dim"), *notes_of(self.notes))

    def _table(self) -> Table:
        drawn = table(
            ("workflow", "left"),
            ("lineages", "right"),
            ("running", "right"),
            ("known so far", "left"),
        )
        for question in self.questions:
            ended, running = question.counts
            drawn.add_row(question.label, str(ended), str(running), question.said().what)
        return drawn


def notes_of(notes: Sequence[str]) -> list[Text]:
    """The last notes, as they stand below a live table."""
    return [line(note, "yellow") for note in notes[-LAST_NOTES:]]
