"""Where `ouro` speaks: streams that may be closed, a console, and every error as a sentence and an
exit code.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.text import Text

from engine.status import ExitCode

BROKEN_PIPE = 141  # as the shell counts a process that SIGPIPE has ended
MACHINES = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}


class Refused(Exception):
    """Ends the command with a message and an exit code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


class Terminal(Console):
    """A console whose reader may leave: `ouro plan F | head -1`."""

    def on_broken_pipe(self) -> None:
        with contextlib.suppress(SystemExit):
            super().on_broken_pipe()
        raise BrokenPipeError(errno.EPIPE, "nobody reads any more")


def console(machine: bool = False) -> Console:
    """Where people read; with --json that is stderr, because stdout is for the machine."""
    return Terminal(file=sys.stderr if machine else sys.stdout, highlight=False)


def open_streams() -> None:
    """A stream that was closed from outside leads nowhere (else the next file that is opened would
    take its number), and a terminal that lacks a letter shows a question mark.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            file = os.open(os.devnull, os.O_RDWR)
            if file != number:
                os.dup2(file, number)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode))  # noqa: SIM115  # as long as the process
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # both are text files


@contextlib.contextmanager
def errors(debug: bool) -> Iterator[None]:
    """Every error as a sentence and an exit code; tracebacks only with --debug."""
    try:
        yield
        sys.stdout.flush()
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        os._exit(BROKEN_PIPE)
    except Exception as error:
        if debug:
            raise
        code = _code(error)
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            Text(_sentence(error, code), style="red")
        )
        _silence_stdout()
        raise typer.Exit(code) from None


def _code(error: Exception) -> ExitCode:
    from engine.commands import NotAllowed
    from engine.experiment.reader import SpecError
    from engine.experiment.sources import NoExperiment
    from engine.store.disk import Unwritable
    from engine.store.locks import Busy
    from engine.store.outputs import NoOutput
    from engine.store.rows import Newer
    from engine.store.seal import Damaged

    if isinstance(error, Refused):
        return error.code
    if isinstance(error, Unwritable) or type(error).__name__ == "EnvironmentProblem":
        return ExitCode.ENVIRONMENT
    if isinstance(error, OSError) and error.errno in MACHINES:
        return ExitCode.ENVIRONMENT
    kinds = {
        SpecError: ExitCode.BAD_INPUT,
        NoExperiment: ExitCode.BAD_INPUT,
        NoOutput: ExitCode.BAD_INPUT,
        Newer: ExitCode.BAD_INPUT,
        NotAllowed: ExitCode.BAD_INPUT,
        Busy: ExitCode.BUSY,
        Damaged: ExitCode.DAMAGED,
    }
    return next((code for kind, code in kinds.items() if isinstance(error, kind)), ExitCode.FAILED)


def _sentence(error: Exception, code: ExitCode) -> str:
    if code == ExitCode.FAILED:
        return f"{type(error).__name__}: {error} (--debug shows where)"
    if type(error) is OSError:
        return f"this machine refuses: {error.strerror or error}" + (
            f": {error.filename}" if error.filename else ""
        )
    return str(error)


def _silence_stdout() -> None:
    """What could not be written is not tried again when the process ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
