"""`ouro threshold FILE`: search where collapse begins, workflow by workflow, until each is known as
narrowly as asked.
"""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from engine.cli import main as cli

Local = Annotated[
    bool, typer.Option("--local", help="in this process, one lineage after the other, without Ray")
]
Look = Annotated[bool, typer.Option("--look", help="only say what is known already; runs nothing")]


def threshold(
    file: cli.File,
    sets: cli.Set = None,
    out: cli.Out = None,
    look: Look = False,
    local: Local = False,
    address: cli.Address = None,
    cpus: cli.Cpus = None,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Search the synthetic fraction at which collapse begins.  The same command again continues."""
    with cli.errors(debug):
        sweep, address = cli._load(file, sets, out), cli._cluster(address, local)
        cli._store(sweep)
        if sweep.threshold is None:
            raise cli.Refused(
                f"{file} has no threshold section; add one, such as  threshold: {{width: 0.05}}",
                cli.BAD_INPUT,
            )
        from analysis.threshold.search import look_up, search
        from engine.running.restart import own_command
        from engine.running.session import Options

        again = shlex.join(
            [
                file,
                *(["--out", out] if out else []),
                *(word for s in sets or () for word in ("--set", s)),
            ]
        )
        console = cli._console(as_json)
        if look:
            code = look_up(sweep, console, as_json)
        else:
            code = search(
                sweep, console, Options((), local, address, cpus, as_json, again, own_command())
            )
    cli._leave(code)
