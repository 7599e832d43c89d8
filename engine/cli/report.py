"""`ouro report FILE`: the answer as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import (
    Debug,
    File,
    Out,
    Parts,
    Set,
    changed,
    load,
    open_output,
    words,
    writable,
)
from engine.console.errors import errors
from engine.console.text import console, line

To = Annotated[
    str | None, typer.Option("--to", help="folder to write to; default: report/ in the output")
]
Pictures = Annotated[
    bool, typer.Option(help="draw the figures that need samples: film strips, densities, UMAP")
]


def report(
    file: File,
    sets: Set = None,
    parts: Parts = None,
    out: Out = None,
    to: To = None,
    pictures: Pictures = True,
    debug: Debug = False,
) -> None:
    """Write the answer: one HTML page, and every figure with its numbers."""
    with errors(debug):
        sweep = load(file, sets, out)
        store = open_output(sweep, words(file, sets, out))
        from analysis.report.page import write
        from engine.running.logs import folder_of

        folder = writable(Path(to) if to else folder_of(sweep, store) / "report", store)
        terminal = console()
        with terminal.status("reading") as status:
            page = write(
                sweep, folder, pictures=pictures, say=lambda name: status.update(f"drawing {name}")
            )
        said = line("wrote ") + line(str(page), "bold cyan") + line(" and figures/ beside it")
        terminal.print(said, soft_wrap=True)
        changed(sweep, store, terminal)
