"""The options that commands share, and what every command does with them: load the file, open the
output, say it in JSON, leave.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from engine._foreign import without_passwords
from engine.cli import completion
from engine.console.errors import Refused
from engine.status import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from engine.running.session import Ending, Options
    from engine.spec import Sweep
    from engine.store.store import Store

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        autocompletion=completion.experiments,
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
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise typer.BadParameter(f"{folders[-1]}: {said}") from None


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


def _one_of_two(context: typer.Context, given: bool) -> bool:
    """Refuse --quiet together with --verbose."""
    if given and context.params.get("quiet"):
        raise typer.BadParameter("--quiet was given, too: one of the two")
    return given


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="say only how it ended")]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_one_of_two, help="say a line for every generation, too"
    ),
]
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
    """Read the experiment that FILE means; raises SpecError, NoExperiment, NoOutput, Unreachable,
    and Refused when it cannot be read or its tracker is unknown.
    """
    from engine.experiment.sources import load as read

    with reading(file):
        sweep = read(file, list(sets or ()), out)
    from engine.tracking.tracker import refusal

    if problem := refusal(sweep.tracking):
        given = any(one.startswith("tracking=") for one in sets or ())
        where = "--set tracking" if given else "tracking"
        raise Refused(f"{file}: {where}: {problem}", ExitCode.BAD_INPUT)
    return sweep


@contextlib.contextmanager
def reading(file: str) -> Iterator[None]:
    """Whatever keeps a FILE from being read is Refused with its reason, but for what says so."""
    from engine.experiment.reader import SpecError
    from engine.experiment.sources import NoExperiment
    from engine.store.outputs import closed

    try:
        yield
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else error
        raise Refused(f"{file}: {reason}", ExitCode.BAD_INPUT) from None
    except (SpecError, NoExperiment):
        raise
    except Exception as error:
        raise closed(file, error) from None


def open_store(sweep: Sweep) -> Store:
    """Open the output of a sweep, which need not be there yet; makes nothing."""
    return store_at(sweep.out)


def store_at(url: str) -> Store:
    """Open an output by its folder or URL; Unreachable when nobody lets us in."""
    from engine.store.outputs import reached

    return reached(url)


def open_output(sweep: Sweep, again: str) -> Store:
    """Open an output that is there, to read it; again: what `ouro run` is to be given to make it.

    NoOutput when nothing of ours is there.
    """
    from engine.store.outputs import NoOutput, existing

    try:
        return existing(open_store(sweep))
    except NoOutput as error:
        raise NoOutput(f"{error}; `ouro run {again}` makes it") from None


def writable(folder: Path, store: Store) -> Path:
    """Make a folder to write to; Unwritable says why that cannot be."""
    from engine.running.logs import Folder
    from engine.store.disk import Unwritable

    Folder.at(folder, store).make()
    if not os.access(folder, os.W_OK):
        raise Unwritable.of(str(folder), PermissionError(errno.EACCES, "denied"))
    return folder


def changed(sweep: Sweep, store: Store, terminal: Console | None = None) -> list[str]:
    """What behind the output's rows has changed since they were made; said on the terminal."""
    from engine.console.text import line
    from engine.lineage.recorded import changes

    found = changes(sweep, store)
    if terminal is not None:
        for change in found:
            terminal.print(line(change, "yellow"), soft_wrap=True)
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
    return without_passwords(shlex.join(given))


def print_json(value: object) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(without_passwords(json.dumps(value, indent=1)) + "\n")


def show_ending(terminal: Console, ending: Ending, how: Options) -> None:
    """Say how a session ended and where to look; with --json also on stdout, in one line."""
    from engine.console.tables import show_end

    if how.silent:
        print(without_passwords(json.dumps({**ending.summary.report, "exit": ending.code})))
    show_end(terminal, ending.sentences, () if how.quiet else ending.places)


def leave(code: int, at_once: bool = False) -> NoReturn:
    """End now, or at once: whatever Ray's or MLflow's exit handlers would still wait for is not
    ours.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if at_once or code == ExitCode.ENVIRONMENT or code > 128:
        os._exit(code)
    raise typer.Exit(code)
