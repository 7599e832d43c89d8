"""Where a session writes beside the store, and what libraries print: it goes to a log, the terminal
is ours.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from engine.spec import Sweep
from engine.store.store import Store

LOGS = "logs"  # folder


def folder_of(sweep: Sweep, store: Store) -> Path:
    """Return where pictures and logs go: the output, or runs/<name> here for an object store."""
    return Path(store.root) if store.local else Path("runs") / sweep.name


def log_of(sweep: Sweep, store: Store) -> Path:
    """Return the file that a sweep's libraries write to."""
    return folder_of(sweep, store) / LOGS / "sweep.log"


def descriptor(stream: IO[str]) -> int:
    """Return a file descriptor that stays with the stream, whatever is redirected."""
    try:
        return os.dup(stream.fileno())
    except OSError:  # it writes to no file
        return 1


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Whatever libraries have to say goes to a file: the terminal is ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def prints_to(path: Path) -> Iterator[None]:
    """What Ray prints, compiled parts included, goes to the log; our console holds on to the
    terminal itself.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with (
        open(path, "a", encoding="utf-8", errors="replace") as file,
        contextlib.redirect_stdout(file),
    ):
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
