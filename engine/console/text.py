"""Where text becomes what a terminal shows.  All of it passes here, so that nobody's names and no
library's errors are obeyed by the terminal, read as markup, or tell a password.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from engine._foreign import escaped, one_line, without_passwords

COLUMNS = range(10, 10_000)  # that a terminal may have; what else $COLUMNS says is not believed


def line(text: str, style: str | Style = "") -> Text:
    """Text that stands in one line, whatever it holds."""
    return Text(one_line(without_passwords(text)), style)


class Rows(Table):
    """A table whose cells of text are one line each, whatever they hold."""

    def add_row(self, *cells: RenderableType | None, **how: Any) -> None:
        """Add a row, see Table."""
        super().add_row(*(line(c) if isinstance(c, str) else c for c in cells), **how)


class Plain(Console):
    """A console that shows text as it is: no markup in it, nothing that a terminal would obey, no
    passwords of URIs.
    """

    def __init__(self, **how: Any) -> None:
        environment = believed(os.environ)
        super().__init__(highlight=False, markup=False, emoji=False, _environ=environment, **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render an object, and all that is in it."""
        if isinstance(renderable, str):
            renderable = Text(renderable)
        return super().render(_shown(renderable), options)


def _shown(renderable: RenderableType) -> RenderableType:
    """Text without what must not be shown, and then without the styles of its parts."""
    if not isinstance(renderable, Text):
        return renderable
    said = escaped(without_passwords(renderable.plain))
    if said == renderable.plain:
        return renderable
    found = renderable.blank_copy(said)
    found.end = renderable.end
    return found


class Terminal(Plain):
    """A console whose reader may leave: `ouro plan F | head -1`."""

    def on_broken_pipe(self) -> None:
        """Leave with an error of ours, in place of rich's exit code."""
        with contextlib.suppress(SystemExit):
            super().on_broken_pipe()
        raise BrokenPipeError(errno.EPIPE, "nobody reads any more")


def console(machine: bool = False) -> Console:
    """Where people read; with --json that is stderr, because stdout is for the machine."""
    return Terminal(file=sys.stderr if machine else sys.stdout)


def believed(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without sizes that no terminal has: 0 of some editors, 10^9, letters."""
    known = dict(environment)
    for name in ("COLUMNS", "LINES"):
        said = known.get(name, "")
        if not (said.isascii() and said.isdecimal() and len(said) < 9 and int(said) in COLUMNS):
            known.pop(name, None)
    return known
