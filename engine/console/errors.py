"""Where `ouro` speaks: streams that may be closed, every error as a sentence and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator
from typing import TextIO

import typer
from rich.text import Text

from engine._deadline import Slow
from engine._foreign import HoldsPassword, NoPlace, escaped, one_line, without_passwords
from engine._lasting import in_words, is_outside
from engine.console.text import Plain
from engine.status import EnvironmentProblem, ExitCode

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
WORDS = {errno.ENAMETOOLONG, errno.ELOOP}  # of a path that was given


class Refused(Exception):
    """Ends the command with a message and an exit code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


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
    except Exception as caught:
        error = _without_a_folder(caught)
        code = _code(error)
        if debug:
            sys.stderr.write(escaped(without_passwords(traceback.format_exc())))
            raise typer.Exit(code) from None
        try:
            Plain(stderr=True, soft_wrap=True).print(Text(_sentence(error, code), style="red"))
        except OSError:  # nobody can be told but by the exit code
            _silence(sys.stderr)
        _silence(sys.stdout)
        raise typer.Exit(code) from None


def _without_a_folder(error: Exception) -> Exception:
    """What is wrong, where nothing can be found because the working directory is gone."""
    from engine.experiment.sources import NoExperiment
    from engine.store.outputs import NoOutput

    gone = FileNotFoundError | EnvironmentProblem | Refused | NoExperiment | NoOutput
    if isinstance(error, gone):
        try:
            os.getcwd()
        except FileNotFoundError:
            said = "the folder that this was started in is gone; `cd` to one that is there"
            return Refused(said, ExitCode.ENVIRONMENT)
    return error


def _code(error: Exception) -> ExitCode:
    from engine.commands import NotAllowed
    from engine.experiment.kept import NameTaken
    from engine.experiment.reader import SpecError
    from engine.experiment.sources import NoExperiment
    from engine.store.disk import Unwritable
    from engine.store.locks import Busy
    from engine.store.outputs import NoOutput
    from engine.store.rows import Newer
    from engine.store.seal import Damaged

    if isinstance(error, Refused):
        return error.code
    if isinstance(error, Unwritable | EnvironmentProblem | Slow):
        return ExitCode.ENVIRONMENT
    if (isinstance(error, OSError) and error.errno in MACHINES) or is_outside(error):
        return ExitCode.ENVIRONMENT
    if isinstance(error, OSError) and error.errno in WORDS:
        return ExitCode.BAD_INPUT
    kinds = {
        SpecError: ExitCode.BAD_INPUT,
        NoExperiment: ExitCode.BAD_INPUT,
        NoOutput: ExitCode.BAD_INPUT,
        NameTaken: ExitCode.BAD_INPUT,
        HoldsPassword: ExitCode.BAD_INPUT,
        NoPlace: ExitCode.BAD_INPUT,
        Newer: ExitCode.BAD_INPUT,
        NotAllowed: ExitCode.BAD_INPUT,
        Busy: ExitCode.BUSY,
        Damaged: ExitCode.DAMAGED,
    }
    return next((code for kind, code in kinds.items() if isinstance(error, kind)), ExitCode.FAILED)


def _sentence(error: Exception, code: ExitCode) -> str:
    from engine.experiment.reader import SpecError

    if code == ExitCode.FAILED:
        return f"{type(error).__name__}: {error} (--debug shows where)"
    if isinstance(error, SpecError):
        return "\n".join(one_line(f"{error.source}: {problem}") for problem in error.problems)
    if is_outside(error) and not isinstance(error, EnvironmentProblem):
        return in_words(error)
    if isinstance(error, OSError) and error.errno in WORDS:
        return f"{error.filename!s:.200}: {(error.strerror or str(error)).lower()}"
    if type(error) is OSError:
        return f"this machine refuses: {error.strerror or error}" + (
            f": {error.filename}" if error.filename else ""
        )
    return str(error)


def _silence(stream: TextIO) -> None:
    """What could not be written is not tried again when the process ends."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1 if stream is sys.stdout else 2)
