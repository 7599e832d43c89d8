"""The sweep while it runs: where it stands (Board), and how that is shown: a table that stays in
place, or lines in a pipe.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from engine.console.tables import NARROW, bar, duration, number, one_line_each, table
from engine.names import Names, by_cell
from engine.outcome.summary import History, headline, value
from engine.planning.plan import Plan
from engine.spec import Sweep

WIDE = 90  # columns; from here on there is room for the metric itself
QUIET_SECONDS = 30.0  # a pipe gets a line this often, or at every tenth of the work


@dataclass
class Progress:
    """One cell while it runs."""

    label: str
    lineages: int
    total: int
    reached: dict[str, int] = field(default_factory=dict)  # rows by lineage
    start: dict[str, float] = field(default_factory=dict)  # the metric at generation 0, by lineage
    last: dict[str, float] = field(default_factory=dict)  # ... and now
    over: dict[str, str] = field(default_factory=dict)  # statuses of the lineages that ended
    running: set[str] = field(default_factory=set)
    touched: float = 0.0

    @property
    def done(self) -> int:
        return sum(self.reached.values())

    @property
    def status(self) -> str:
        parts = [
            f"{n} {'done' if s == 'ok' else s.replace('_', ' ')}"
            for s, n in sorted(Counter(self.over.values()).items())
        ]
        parts += [f"{len(self.running)} running"] if self.running else []
        waiting = self.lineages - len(self.running) - len(self.over)
        return ", ".join(parts + ([f"{waiting} waiting"] if waiting else []))

    @property
    def value(self) -> str:
        return number(sum(self.last.values()) / len(self.last)) if self.last else ""

    @property
    def ratio(self) -> str:
        both = [self.last[k] / v for k, v in self.start.items() if v > 0 and k in self.last]
        return f"{number(sum(both) / len(both))} x" if both else ""


class Board:
    """Where a sweep stands: what the live table and the lines of a pipe are drawn from."""

    def __init__(self, sweep: Sweep, plan: Plan) -> None:
        self.sweep, self.missing = sweep, plan.missing
        self.metric = headline(sweep)
        per = sweep.generations + 1
        names = Names(sweep.lineages)
        self.cells = {
            cell: Progress(names.cell(members[0]), len(members), len(members) * per)
            for cell, members in by_cell(sweep.lineages).items()
        }
        self.cell_of = {s.id: self.cells[s.cell_id] for s in sweep.lineages}
        self.begun = time.monotonic()
        self.first: float | None = None
        self.new = 0
        self.notes: list[str] = []

    def found(self, history: History) -> None:
        """What the store had of a lineage before this run."""
        cell, metric = self.cell_of[history.spec.id], self.metric
        cell.reached[history.spec.id] = len(history.rows)
        for there, rows in ((cell.start, history.rows[:1]), (cell.last, reversed(history.rows))):
            if (v := value(rows, metric)) is not None:
                there[history.spec.id] = v

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

    def ended(self, lineage: str, status: str) -> None:
        """A lineage is over; a finding leaves the generations after it uncounted."""
        cell = self.cell_of[lineage]
        cell.running.discard(lineage)
        if lineage not in cell.over and status != "failed":
            cell.total -= self.sweep.generations + 1 - cell.reached.get(lineage, 0)
        cell.over[lineage] = status

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
        return sum(len(cell.over) for cell in self.cells.values())

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
        return text + (
            ""
            if self.left is None or self.done == self.total
            else f", about {duration(self.left)} left"
        )


class Screen:
    """Shows a board: use it as a context around the sweep.

    The base class shows nothing (`--json`).
    """

    def __init__(self, console: Console, board: Board) -> None:
        self.console, self.board = console, board

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def row(
        self, lineage: str, t: int, last: float, start: float, new: int, seconds: float, going: bool
    ) -> None:
        self.board.row(lineage, t, last, start, new, seconds, going)

    def ended(self, lineage: str, status: str) -> None:
        self.board.ended(lineage, status)

    def note(self, text: str) -> None:
        self.board.note(text)

    def tick(self) -> None:
        """Called several times a second."""


class Lines(Screen):
    """For pipes, logs and very narrow terminals: a line now and then."""

    said, tenth, last = 0.0, -1, ""

    def tick(self) -> None:
        now, tenth = time.monotonic(), 10 * self.board.done // max(self.board.total, 1)
        if tenth > self.tenth or now - self.said > QUIET_SECONDS:
            self.said, self.tenth = now, tenth
            self._say(self.board.line())

    def note(self, text: str) -> None:
        super().note(text)
        self._say(text)

    def _say(self, text: str) -> None:
        if text != self.last:
            self.last = text
            self.console.print(text)

    def __exit__(self, *_: Any) -> None:
        self._say(self.board.line())


class LiveTable(Screen):
    """For terminals: one table that stays in place."""

    def __enter__(self) -> Screen:
        self.live = Live(
            get_renderable=self.render,
            console=self.console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.live.stop()
        for text in self.board.notes:
            self.console.print(Text(text, style="yellow"))

    def render(self) -> RenderableType:
        shown, hidden = self._rows()
        shown_table = table(
            ("cell", "left"),
            ("", "left"),
            ("generations", "right"),
            *self._columns(),
            ("status", "left"),
        )
        width = max(4, min(20, self.console.width // 8))
        for cell in shown:
            extra = (cell.value, cell.ratio)[2 - len(self._columns()) :]
            shown_table.add_row(
                cell.label,
                bar(cell.done, cell.total, width),
                f"{cell.done}/{cell.total}",
                *extra,
                cell.status,
            )
        parts: list[RenderableType] = [Text(), one_line_each(shown_table)]
        if hidden:
            parts.append(Text(f"... and {hidden} more cells", style="dim"))
        return Group(
            *parts, Text(), self._foot(), *(Text(n, style="yellow") for n in self.board.notes[-3:])
        )

    def _columns(self) -> list[tuple[str, str]]:
        """Columns of the headline metric, as far as there is room."""
        wanted = (
            [(self.board.metric, "right", WIDE), ("drift", "right", NARROW)]
            if self.board.metric
            else []
        )
        return [(name, justify) for name, justify, width in wanted if self.console.width >= width]

    def _rows(self) -> tuple[list[Progress], int]:
        """The cells there is room for: the ones most lately active, in the order of the file."""
        cells = list(self.board.cells.values())
        room = max(3, self.console.height - 9)
        latest = sorted(cells, key=lambda c: -c.touched)[:room]
        chosen = {id(c) for c in latest}
        return [c for c in cells if id(c) in chosen], len(cells) - len(latest)

    def _foot(self) -> Text:
        board = self.board
        text = bar(board.done, board.total, max(4, min(40, self.console.width // 4)))
        text += Text(f"  {board.done} of {board.total} generations")
        text += Text(f"   {duration(time.monotonic() - board.begun)}", style="dim")
        left = (
            "starting workers"
            if not board.done
            else ""
            if board.left is None
            else f"{duration(board.left)} left"
        )
        return text + Text(f"   {left}", style="bold" if board.done else "dim")


def screen(console: Console, board: Board, silent: bool = False) -> Screen:
    """The screen that fits where the output goes."""
    if silent:
        return Screen(console, board)
    return (
        LiveTable(console, board)
        if console.is_terminal and console.width >= NARROW
        else Lines(console, board)
    )
