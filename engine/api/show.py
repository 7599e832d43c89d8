"""How the objects of the API show themselves in a notebook: small tables of HTML, everything
escaped; what a terminal would be told, as text of the same colours.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

COLUMNS = 100  # of text that a terminal would show
MOST_ROWS = 20  # of a table that shows itself
SHEET = "font-family:Menlo,Consolas,monospace;font-size:13px;line-height:1.35;overflow-x:auto"


def counted(n: int, what: str) -> str:
    """A number of things: 1 lineage, 1,200 lineages."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def heading(text: str, about: str = "") -> str:
    """A name in bold, and what it is about."""
    said = f"<div><b>{html.escape(text)}</b>"
    return said + (f" &nbsp;{html.escape(about)}" if about else "") + "</div>"


def lines(texts: Iterable[str]) -> str:
    """A line each."""
    return "".join(f"<div>{html.escape(text)}</div>" for text in texts)


def table(frame: pd.DataFrame) -> str:
    """The first rows, and how many more there are."""
    first = frame.head(MOST_ROWS)
    first = first.astype(object).where(first.notna(), "")  # None and NaN: nothing is known
    shown = first.to_html(index=False, border=0, float_format=_number)
    more = len(frame) - MOST_ROWS
    return shown + (f"<div>... and {more:,} more rows</div>" if more > 0 else "")


def text(text: str, about: str) -> str:
    """Text as it is, in letters of one width."""
    return f'<div>{html.escape(about)}</div><pre style="{SHEET}">{html.escape(text)}</pre>'


def image(png: bytes, alt: str) -> str:
    """A picture inside the page."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def text_of(say: Callable[[Console], None]) -> str:
    """What would be printed, as plain text of COLUMNS columns."""
    console = _recorder()
    say(console)
    return console.export_text()


def html_of(say: Callable[[Console], None]) -> str:
    """What would be printed, as HTML with its colours."""
    console = _recorder()
    say(console)
    form = f'<pre style="{SHEET}">{{code}}</pre>'
    return console.export_html(inline_styles=True, code_format=form)


def _recorder() -> Console:
    from engine.console.text import Plain

    return Plain(record=True, file=io.StringIO(), width=COLUMNS, force_jupyter=False)


def _number(value: float) -> str:
    return f"{value:.4g}"
