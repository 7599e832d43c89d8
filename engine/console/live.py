"""The display of a running session: a table that stays in place, lines in a pipe, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live

from engine.console.tables import NARROW
from engine.console.text import line
from engine.lineage.history import History
from engine.training.progress import Stage


class Board(Protocol):
    """What a display shows (engine/console/boards.py)."""

    notes: list[str]

    def found(self, history: History) -> None:
        """Take in what the store had of a lineage before this session."""

    def row(
        self, lineage: str, t: int, last: float, start: float, new: int, seconds: float, going: bool
    ) -> None:
        """Take in that a lineage has committed generations up to t, `new` of them just computed.

        last, start: the headline metric now and at generation 0; NaN where it has no value.
        """

    def told(self, stages: Mapping[str, Stage]) -> None:
        """Take in how far the lineages at work are inside their generations."""

    def ended(self, lineage: str, status: str) -> None:
        """Take in that a lineage is over."""

    def note(self, text: str) -> None:
        """Keep a remark."""

    def news(self) -> list[str]:
        """Return what a pipe is told now; asked several times a second."""

    def last_news(self) -> list[str]:
        """Return what a pipe is told at the end."""

    def render(self, console: Console) -> RenderableType:
        """Draw it for a terminal."""

    def show_results(self, console: Console, found: Mapping[str, History]) -> None:
        """Print what was found out."""


class Display(Protocol):
    """Shows a session while it runs; a context around its work."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def found(self, history: History) -> None:
        """Hear what the store had of a lineage before this session."""

    def row(
        self, lineage: str, t: int, last: float, start: float, new: int, seconds: float, going: bool
    ) -> None:
        """Hear of committed generations, see Board."""

    def told(self, stages: Mapping[str, Stage]) -> None:
        """Hear how far the lineages at work are inside their generations."""

    def ended(self, lineage: str, status: str) -> None:
        """Hear that a lineage is over."""

    def note(self, text: str) -> None:
        """Show a remark."""

    def tick(self) -> None:
        """Keep up to date; called several times a second."""

    def results(self, found: Mapping[str, History]) -> None:
        """Say what was found out, once the work is over."""

    def say(self, text: str) -> None:
        """Say it at once, above what stays in place."""

    def warn(self, text: str) -> None:
        """Say it at once, even where nothing else is shown."""


class Silent:
    """The display of `--json`: nothing while it runs."""

    def __init__(self, console: Console, board: Board) -> None:
        self.console, self.board = console, board

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None: ...

    def found(self, history: History) -> None:
        self.board.found(history)

    def row(
        self, lineage: str, t: int, last: float, start: float, new: int, seconds: float, going: bool
    ) -> None:
        self.board.row(lineage, t, last, start, new, seconds, going)

    def told(self, stages: Mapping[str, Stage]) -> None:
        self.board.told(stages)

    def ended(self, lineage: str, status: str) -> None:
        self.board.ended(lineage, status)

    def note(self, text: str) -> None:
        self.board.note(text)

    def tick(self) -> None: ...

    def results(self, found: Mapping[str, History]) -> None:
        self.board.show_results(self.console, found)

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        self.console.print(line(text, "yellow"))


class Quiet(Silent):
    """The display of --quiet: nothing, not even at the end."""

    def results(self, found: Mapping[str, History]) -> None: ...


class Lines(Silent):
    """For pipes, logs and very narrow terminals: a line now and then."""

    last = ""

    def tick(self) -> None:
        for text in self.board.news():
            self._print(text)

    def note(self, text: str) -> None:
        super().note(text)
        self._print(text)

    def say(self, text: str) -> None:
        self._print(text)

    def _print(self, text: str) -> None:
        if text != self.last:
            self.last = text
            self.console.print(line(text))

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        for text in self.board.last_news():
            self._print(text)


class LiveTable(Silent):
    """For terminals: one table that stays in place."""

    def __enter__(self) -> Self:
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

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.live.stop()
        for text in self.board.notes:
            self.console.print(line(text, "yellow"))

    def say(self, text: str) -> None:
        self.console.print(line(text, "dim"))

    def render(self) -> RenderableType:
        return self.board.render(self.console)


def display(console: Console, board: Board, silent: bool = False, quiet: bool = False) -> Display:
    """Make the display that fits where the output goes."""
    if quiet:
        return Quiet(console, board)
    if silent:
        return Silent(console, board)
    if console.is_terminal and console.width >= NARROW:
        return LiveTable(console, board)
    return Lines(console, board)
