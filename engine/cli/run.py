"""`ouro run FILE`: run what is missing; the same command again continues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

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
    Rehash,
    Set,
    Verbose,
    changed,
    cluster,
    leave,
    load,
    look_again,
    open_store,
    show_ending,
    words,
)
from engine.console.errors import Refused, errors
from engine.console.text import console, line
from engine.status import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from engine.running.session import Options
    from engine.spec import Sweep

MOST_SAID = 10  # disagreements with theory

Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="ID", help="only this lineage (or those beginning so)"),
]


def run(
    file: File,
    sets: Set = None,
    parts: Parts = None,
    out: Out = None,
    only: Only = None,
    local: Local = False,
    address: Address = None,
    cpus: Cpus = None,
    rehash: Rehash = False,
    allow_commands: AllowCommands = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run what is missing.  The same command again continues."""
    with errors(debug):
        look_again(rehash)
        sweep, address = load(file, sets, out), cluster(address, local)
        open_store(sweep)
        again = words(file, sets, out)
        _refuse_unknown(sweep, only or (), again)
        from engine.running.restart import own_command
        from engine.running.session import Options

        how = Options(
            only=tuple(only or ()),
            local=local,
            address=address,
            cpus=cpus,
            silent=as_json,
            file=again,
            command=own_command(),
            allow_commands=allow_commands,
            quiet=quiet,
            verbose=verbose,
        )
        terminal = console(as_json)
        code = run_sweep(sweep, terminal, how)
        for text in theory_check(sweep, again):
            terminal.print(line(text, style="yellow"))
    leave(code)


def run_sweep(sweep: Sweep, terminal: Console, options: Options) -> int:
    """Run what the store lacks of a sweep; the exit code.  Raises Busy and EnvironmentProblem."""
    from engine.api.work import Work

    work = Work(sweep, terminal, options, said=lambda store: changed(sweep, store, terminal))
    ending = work.run()
    show_ending(terminal, ending, options)
    return ending.code


def _refuse_unknown(sweep: Sweep, only: Sequence[str], again: str) -> None:
    for beginning in only:
        if not any(spec.id.startswith(beginning) for spec in sweep.all_lineages):
            raise Refused(
                f"no lineage of {sweep.source} has the id {beginning!r}; "
                f"`ouro plan {again} --json` lists them",
                ExitCode.BAD_INPUT,
            )


def theory_check(sweep: Sweep, again: str) -> list[str]:
    """Say which lineages of closed-form families are further than five standard errors from their
    laws.
    """
    if all(spec.generator.constant("COST") != "tiny" for spec in sweep.lineages):
        return []
    from analysis.frame.rows import from_store
    from analysis.theory.laws import check, expected

    if not any(expected(spec) for spec in sweep.lineages):
        return []
    found = check(from_store(sweep, progress=False), sweep.lineages)
    said = [f"theory disagrees: {text}" for text in found[:MOST_SAID]]
    if len(found) > MOST_SAID:
        more = len(found) - MOST_SAID
        said.append(f"... and {more} more; `ouro report {again}` lists them")
    return said
