"""`ouro threshold FILE`: search where collapse begins, workflow by workflow, until each is known as
narrowly as asked.
"""

from __future__ import annotations

from typing import Annotated

import typer

from engine.cli.options import (
    Address,
    Cpus,
    Debug,
    File,
    Json,
    Local,
    Out,
    Set,
    cluster,
    leave,
    load,
    open_store,
    words,
)
from engine.console.errors import BAD_INPUT, Refused, console, errors

Look = Annotated[bool, typer.Option("--look", help="only say what is known already; runs nothing")]


def threshold(
    file: File,
    sets: Set = None,
    out: Out = None,
    look: Look = False,
    local: Local = False,
    address: Address = None,
    cpus: Cpus = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Search the synthetic fraction at which collapse begins.  The same command again continues."""
    with errors(debug):
        sweep, address = load(file, sets, out), cluster(address, local)
        open_store(sweep)
        if sweep.threshold is None:
            raise Refused(
                f"{file} has no threshold section; add one, such as  threshold: {{width: 0.05}}",
                BAD_INPUT,
            )
        from analysis.threshold.search import look_up, search
        from engine.running.restart import own_command
        from engine.running.session import Options

        terminal = console(as_json)
        if look:
            code = look_up(sweep, terminal, as_json)
        else:
            again = words(file, sets, out)
            how = Options((), local, address, cpus, as_json, again, own_command())
            code = search(sweep, terminal, how)
    leave(code)
