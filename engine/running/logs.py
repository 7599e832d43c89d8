"""Where a session writes beside the store, and what libraries print: it goes to a log, the terminal
is ours.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine._foreign import told
from engine.files import write_atomically
from engine.spec import Sweep
from engine.store.disk import Disk
from engine.store.store import Store

LOGS = "logs"  # folder


@dataclass(frozen=True)
class Folder:
    """A folder that pages, tables, pictures and logs are written to: below an output, where nothing
    is taken on trust, or anywhere that a user names.

    inner: the way from the disk's folder to this one.
    """

    disk: Disk
    inner: str = ""

    @classmethod
    def at(cls, path: str | Path, store: Store | None = None) -> Folder:
        """The folder of a path, seen from an output where it lies below one."""
        place = os.path.abspath(path)
        if store is not None and store.local:
            inner = os.path.relpath(place, store.root)
            if inner != ".." and not inner.startswith("../"):
                return cls(store.disk, "" if inner == "." else inner)
        return cls(Disk(place))

    def below(self, name: str) -> Folder:
        return Folder(self.disk, os.path.join(self.inner, name))

    def path(self, name: str = "") -> Path:
        """Where a file of this name is, or the folder itself."""
        return Path(self.disk.root, self.inner, name)

    def make(self) -> Path:
        """The folder is there.  Unwritable where it cannot be."""
        self.disk.make(str(self.path()))
        return self.path()

    def place(self, name: str) -> Path:
        """Where a file can be written: see `Disk.place`."""
        return self.disk.place(str(self.path(name)))

    def write(self, name: str, content: bytes | str) -> Path:
        """A whole file or nothing."""
        return write_atomically(self.place(name), content)


def folder_of(sweep: Sweep, store: Store) -> Path:
    """Return where pictures and logs go: the output, or runs/<name> here for an object store."""
    return Path(store.root) if store.local else Path("runs") / sweep.name


def beside(sweep: Sweep, store: Store) -> Folder:
    """Return the same folder, to write to."""
    return Folder.at(folder_of(sweep, store), store)


def log_of(sweep: Sweep, store: Store) -> Path:
    """Return the file that a sweep's libraries write to, which can be written to."""
    return beside(sweep, store).below(LOGS).place("sweep.log")


def descriptor(stream: IO[str]) -> int:
    """Return a file descriptor that stays with the stream, whatever is redirected."""
    try:
        return os.dup(stream.fileno())
    except OSError:  # it writes to no file
        return 1


class _Formatter(logging.Formatter):
    """What follows the first line of an entry is indented, so that no message looks like another
    entry; nothing that a pager would obey, no passwords.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format an entry, see logging."""
        text = told(super().format(record))
        return text.replace("\n", "\n  ")


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Whatever libraries have to say goes to a file: the terminal is ours."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
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
