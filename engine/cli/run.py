"""`ouro run FILE`: run what is missing; the same command again continues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

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

if TYPE_CHECKING:
    from engine.spec import Sweep

MOST_SAID = 10  # disagreements with theory

Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="ID", help="only this lineage (or those beginning so)"),
]


def run(
    file: File,
    sets: Set = None,
    out: Out = None,
    only: Only = None,
    local: Local = False,
    address: Address = None,
    cpus: Cpus = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run what is missing.  The same command again continues."""
    with errors(debug):
        sweep, address = load(file, sets, out), cluster(address, local)
        open_store(sweep)
        _refuse_unknown(sweep, only or (), file)
        from engine.running.restart import own_command
        from engine.running.session import Options, run

        again = words(file, sets, out)
        how = Options(tuple(only or ()), local, address, cpus, as_json, again, own_command())
        terminal = console(as_json)
        code = run(sweep, terminal, how)
        for text in theory_check(sweep):
            terminal.print(Text(text, style="yellow"))
    leave(code)


def _refuse_unknown(sweep: Sweep, only: Sequence[str], file: str) -> None:
    for beginning in only:
        if not any(spec.id.startswith(beginning) for spec in sweep.lineages):
            raise Refused(
                f"no lineage of {file} has the id {beginning!r}; `ouro plan {file} --json` "
                "lists them",
                BAD_INPUT,
            )


def theory_check(sweep: Sweep) -> list[str]:
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
        said.append(f"... and {more} more; `ouro report {sweep.source}` lists them")
    return said
