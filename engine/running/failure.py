"""Errors of a lineage: of which kind, how the store keeps them, and the exit code that follows."""

from __future__ import annotations

import errno
import os
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

from engine import seams
from engine._foreign import without_passwords
from engine._lasting import is_outside, remedy
from engine.identity import Changed
from engine.lineage.generations import NotReproduced
from engine.lineage.history import History
from engine.seams.seam import WrongAnswer
from engine.status import ExitCode, FailureKind, Status
from engine.store.disk import Unwritable
from engine.store.failures import Failure
from engine.store.rows import Newer

SEAMS = str(Path(seams.__file__).parent)
LONGEST = 2000  # characters of an error's message; of its traceback ten times as many
PASSING = {errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.ESTALE, errno.ENOMEM}


class NotShared(RuntimeError):
    """The output is a local folder that this machine does not see."""


class MayPass(RuntimeError):
    """An error that another try may not meet.

    failure: as the store keeps it; the error itself might not travel.
    """

    def __init__(self, message: str, failure: Failure) -> None:
        super().__init__(message, failure)
        self.failure = failure

    def __str__(self) -> str:
        return str(self.args[0])


def may_pass(error: BaseException) -> bool:
    """Whether trying again elsewhere may help: memory, disk, network.

    Everything else is a bug, and sure to come again.
    """
    if isinstance(error, ConnectionError | TimeoutError | MemoryError | NotShared | MayPass):
        return True
    if is_outside(error):
        return not remedy(error)
    if "OutOfMemory" in type(error).__name__:
        return True
    return isinstance(error, OSError) and error.errno in PASSING


def kind_of(error: BaseException) -> FailureKind:
    """What sort of mend an error asks for."""
    if isinstance(error, NotReproduced):
        return FailureKind.NOT_REPRODUCED
    if isinstance(error, FileNotFoundError | ModuleNotFoundError | Unwritable | Changed | Newer):
        return FailureKind.ENVIRONMENT
    if is_outside(error) and remedy(error):
        return FailureKind.ENVIRONMENT
    return FailureKind.PASSING if may_pass(error) else FailureKind.BUG


def failure_of(
    error: BaseException, t: int, frames: traceback.StackSummary | None = None
) -> Failure:
    """An error as the store keeps it, with the line of the part (or of the engine) that raised it.

    t  the generation that was to be made.
    frames  where it was raised, when the error's own traceback does not say.
    """
    file, line = place_of(frames or traceback.extract_tb(error.__traceback__))
    if isinstance(error, WrongAnswer):
        file, line = str(error.file), error.line
    root = str(Path(__file__).parents[2]) + os.sep
    return Failure(
        kind=kind_of(error),
        error=type(error).__name__,
        message=without_passwords(message_of(error)),
        t=t,
        file=file.removeprefix(root),
        line=line,
        traceback=without_passwords(_text(error, frames)[-10 * LONGEST :]),
        time=time.time(),
    )


def place_of(frames: traceback.StackSummary) -> tuple[str, int]:
    """File and line of the innermost frame outside the libraries."""
    own = [frame for frame in frames if not _of_library(frame.filename)] or frames
    return (own[-1].filename, own[-1].lineno or 0) if own else ("?", 0)


def _of_library(file: str) -> bool:
    """Whether a file is not where an error is to be mended: the seam only passes it on."""
    return "site-packages" in file or "/lib/python" in file or file.startswith(SEAMS)


def message_of(error: BaseException) -> str:
    """What an error says of itself, of which a part's own error may not be capable."""
    try:
        text = f"{error.rule}; {error.mend}" if isinstance(error, WrongAnswer) else str(error)
    except Exception as second:
        return (
            f"(its message cannot be told: {type(second).__name__} in "
            f"{type(error).__name__}.__str__)"
        )
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"


def _text(error: BaseException, frames: traceback.StackSummary | None) -> str:
    """The traceback, as far as it can be told."""
    try:
        return "".join(frames.format() if frames else traceback.format_exception(error))
    except Exception:
        return "".join(traceback.format_tb(error.__traceback__))


def exit_code(
    found: Iterable[History], signal: int | None = None, dead: bool = False, finished: bool = True
) -> int:
    """Return it from what is planned and what is committed; never from what Ray says.

    signal  that interrupted the run.
    dead  whether Ray died.
    finished  whether nothing more would have been asked for.
    """
    found = list(found)
    kinds = {history.failure.kind for history in found if history.failure}
    statuses = {history.status for history in found}
    if not finished:
        statuses.add(Status.UNFINISHED)
    if FailureKind.NOT_REPRODUCED in kinds:
        return ExitCode.DAMAGED
    if FailureKind.ENVIRONMENT in kinds:
        return ExitCode.ENVIRONMENT
    if Status.UNFINISHED in statuses and signal is not None:
        return 128 + signal
    if Status.UNFINISHED in statuses and dead:
        return ExitCode.ENVIRONMENT
    if statuses & {Status.UNFINISHED, Status.FAILED}:
        return ExitCode.FAILED
    return ExitCode.OK
