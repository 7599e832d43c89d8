"""The options that commands share, and what every command does with them: load the file, open the
output, say it in JSON, leave.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from engine.console.errors import Refused
from engine.status import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from engine.running.session import Ending
    from engine.spec import Sweep
    from engine.store.store import Store

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="an experiment file, an experiment that comes with ouro (quickstart), or an output",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override a value of the file, e.g. seeds=1"),
]
Out = Annotated[
    str | None, typer.Option("--out", help="output folder or URL instead of the file's")
]


_folders: list[str] = []  # of --parts, of the command that runs


def _use_parts(folders: list[str] | None) -> None:
    """Look for parts of one's own in these folders, whatever the command does."""
    _folders.clear()
    if not folders:
        return
    from engine.outside.places import use

    try:
        _folders.extend(map(str, use(folders)))
    except (NotADirectoryError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None


# taken in before a command begins: its function has it among its parameters and leaves it alone
Parts = Annotated[
    list[str] | None,
    typer.Option(
        "--parts",
        metavar="DIR",
        callback=_use_parts,
        is_eager=True,
        expose_value=False,
        help="a folder with parts of your own in generators/, metrics/, ...; also $OUROBOROS_PARTS",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="for machines: one JSON document on stdout")]
Debug = Annotated[bool, typer.Option("--debug", help="show tracebacks")]
Local = Annotated[
    bool, typer.Option("--local", help="in this process, one lineage after the other, without Ray")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_ADDRESS",
        help="a running Ray cluster instead of this machine, e.g. auto",
    ),
]
AllowCommands = Annotated[
    bool,
    typer.Option("--allow-commands", help="run the programs that the file has command lines of"),
]
Cpus = Annotated[
    int | None, typer.Option("--cpus", min=1, help="CPUs to use; default: all this process may use")
]


Rehash = Annotated[
    bool, typer.Option("--rehash", help="read all data files again, whatever the cache says")
]


def load(file: str, sets: Sequence[str] | None, out: str | None) -> Sweep:
    """Read the experiment that FILE means; raises SpecError, NoExperiment and NoOutput, and Refused
    when it cannot be read or its tracker is unknown.
    """
    from engine.experiment.reader import SpecError
    from engine.experiment.sources import NoExperiment
    from engine.experiment.sources import load as read
    from engine.store.outputs import NoOutput

    try:
        sweep = read(file, list(sets or ()), out)
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else error
        raise Refused(f"{file}: {reason}", ExitCode.BAD_INPUT) from None
    except (SpecError, NoExperiment, NoOutput):
        raise
    except Exception as error:
        raise _closed(file, error) from None
    from engine.tracking.tracker import refusal

    if problem := refusal(sweep.tracking):
        raise Refused(f"{file}: tracking: {problem}", ExitCode.BAD_INPUT)
    from engine.lineage.recorded import lacks_files, with_files_of_output

    return with_files_of_output(sweep, open_store(sweep)) if lacks_files(sweep) else sweep


def open_store(sweep: Sweep) -> Store:
    """Open the output of a sweep, which need not be there yet; makes nothing."""
    return store_at(sweep.out)


def store_at(url: str) -> Store:
    """Open an output by its folder or URL; Refused when the environment does not let us in."""
    from engine.store.store import Store

    try:
        store = Store(url, repairs=False)
        if not store.local:
            store.names("")  # whether the object store lets us in
    except Exception as error:
        raise _closed(url, error) from None
    return store


def _closed(url: str, error: Exception) -> Exception:
    """An output that cannot be opened: fsspec's libraries each have errors of their own."""
    if "://" not in url and not isinstance(error, OSError | ValueError | ImportError):
        return error
    said = str(error).partition("\n")[0] or type(error).__name__
    return Refused(f"cannot open the output {url}: {said}", ExitCode.ENVIRONMENT)


def open_output(sweep: Sweep, again: str) -> Store:
    """Open an output that is there, to read it; again: what `ouro run` is to be given to make it.

    NoOutput when nothing of ours is there.
    """
    from engine.store.outputs import NoOutput, existing

    try:
        return existing(open_store(sweep))
    except NoOutput as error:
        raise NoOutput(f"{error}; `ouro run {again}` makes it") from None


def writable(folder: Path) -> Path:
    """Make a folder to write to; Unwritable says why that cannot be."""
    from engine.store.disk import Disk, Unwritable

    Disk(str(folder)).make(str(folder))
    if not os.access(folder, os.W_OK):
        raise Unwritable.of(str(folder), PermissionError(errno.EACCES, "denied"))
    return folder


def changed(sweep: Sweep, store: Store, terminal: Console | None = None) -> list[str]:
    """What behind the output's rows has changed since they were made; said on the terminal."""
    from rich.text import Text

    from engine.lineage.recorded import changes

    found = changes(sweep, store)
    if terminal is not None:
        for line in found:
            terminal.print(Text(line, style="yellow"), soft_wrap=True)
    return found


def look_again(rehash: bool) -> None:
    """With --rehash, believe nothing that the cache says of files."""
    if rehash:
        from engine._digests import distrust_cache

        distrust_cache()


def cluster(address: str | None, local: bool) -> str | None:
    """Return the cluster to join, or None for Ray on this machine (Ray sets RAY_ADDRESS in its
    jobs).
    """
    if address and address.startswith("http") and not local:
        there = f"ray job submit --address {address} --working-dir . -- ouro ..."
        raise Refused(
            f"{address} takes jobs, lineages cannot join there; use  {there}", ExitCode.BAD_INPUT
        )
    return None if address == "local" else address


def words(file: str, sets: Sequence[str] | None, out: str | None) -> str:
    """Return what later commands must be given to mean the same experiment and output."""
    given = [file]
    if out:
        given += ["--out", out]
    for pair in sets or ():
        given += ["--set", pair]
    for folder in _folders:
        given += ["--parts", folder]
    return shlex.join(given)


def print_json(value: object) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def show_ending(terminal: Console, ending: Ending, as_json: bool) -> None:
    """Say how a session ended and where to look; with --json also on stdout, in one line."""
    from engine.console.tables import show_end

    if as_json:
        print(json.dumps({**ending.summary.report, "exit": ending.code}))
    show_end(terminal, ending.sentences, ending.places)


def leave(code: int) -> NoReturn:
    """End now: whatever Ray's or MLflow's exit handlers would still wait for is not ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code == ExitCode.ENVIRONMENT or code > 128:
        os._exit(code)
    raise typer.Exit(code)
