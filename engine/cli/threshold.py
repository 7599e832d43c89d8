"""`ouro threshold FILE`: search where collapse begins, workflow by workflow, until each is known as
narrowly as asked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from engine._foreign import without_passwords
from engine.cli.options import (
    Address,
    AllowCommands,
    Cpus,
    Debug,
    File,
    Json,
    Local,
    Out,
    Parts,
    Quiet,
    Set,
    Verbose,
    changed,
    cluster,
    leave,
    load,
    open_output,
    open_store,
    show_ending,
    words,
)
from engine.console.errors import Refused, errors
from engine.console.text import console
from engine.status import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from engine.running.session import Options
    from engine.spec import Sweep

Look = Annotated[bool, typer.Option("--look", help="only say what is known already; runs nothing")]


def threshold(
    file: File,
    sets: Set = None,
    parts: Parts = None,
    out: Out = None,
    look: Look = False,
    local: Local = False,
    address: Address = None,
    cpus: Cpus = None,
    allow_commands: AllowCommands = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Search the synthetic fraction at which collapse begins.  The same command again continues."""
    with errors(debug):
        sweep, address = load(file, sets, out), cluster(address, local)
        again = words(file, sets, out)
        if sweep.threshold is None:
            raise Refused(
                f"{file} has no threshold section; add one, such as  threshold: {{width: 0.05}}",
                ExitCode.BAD_INPUT,
            )
        from engine.running.restart import own_command
        from engine.running.session import Options

        terminal = console(as_json)
        if look:
            open_output(sweep, again)
            code = look_up(sweep, terminal, as_json)
        else:
            open_store(sweep)
            own = own_command()
            how = Options(
                local=local,
                address=address,
                cpus=cpus,
                silent=as_json,
                file=again,
                command=own,
                allow_commands=allow_commands,
                quiet=quiet,
                verbose=verbose,
            )
            code = search(sweep, terminal, how)
    leave(code)


def search(sweep: Sweep, terminal: Console, options: Options) -> int:
    """Run lineages until every workflow is known well enough; the exit code.

    Raises Busy and EnvironmentProblem.
    """
    from engine.api.work import Work

    work = Work(sweep, terminal, options, said=lambda store: changed(sweep, store, terminal))
    ending = work.search()
    show_ending(terminal, ending, options)
    return ending.code


def look_up(sweep: Sweep, terminal: Console, as_json: bool) -> int:
    """Say what the store knows already."""
    from analysis.threshold.search import report
    from analysis.threshold.workflows import read
    from engine.api.work import search_board
    from engine.store.store import Store

    workflows = read(sweep, Store(sweep.out, repairs=False))
    if as_json:
        print(without_passwords(json.dumps(report(sweep, list(workflows.values())))))
    else:
        search_board(sweep, workflows).show_results(terminal, {})
    return ExitCode.OK
