"""What the programs of one lineage print, kept in its output, on a disk or in an object store.

    <out>/logs/commands/<lineage>.out  .err

On a disk programs print there.  To an object store, which knows no appending, the whole of it goes
after every generation; a worker that is killed takes with it what its last one had printed.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine._lasting import is_outside
from engine.commands import PRINTED
from engine.files import weights_folder
from engine.running.logs import LOGS
from engine.store.store import Store

FOLDER = "commands"  # below the logs


class Printed:
    """Asked by every program that starts where to print."""

    def __init__(self, store: Store, lineage: str) -> None:
        self.store, self.lineage = store, lineage
        self.place = ""  # within the output, without an ending; '' before a program has started
        self._home: tempfile.TemporaryDirectory[str] | None = None  # of an object store's
        self._kept = dict[str, bytes]()  # what it has, by ending

    def __call__(self) -> Path:
        """The path to print to, but for .out and .err."""
        self.place = f"{LOGS}/{FOLDER}/{self.lineage}"
        if not self.store.local:
            return self._staged()
        for ending in PRINTED:
            self.store.disk.place(self._path(ending))
        return Path(self._path(""))

    def _path(self, ending: str) -> str:
        return self.store.path(LOGS, FOLDER, f"{self.lineage}{ending}")

    def _staged(self) -> Path:
        """A path on this machine, with what earlier workers have printed."""
        if self._home is None:
            self._home = weights_folder()
            for ending in PRINTED:
                self._kept[ending] = self.store.read(self._path(ending)) or b""
                Path(self._home.name, f"printed{ending}").write_bytes(self._kept[ending])
        return Path(self._home.name) / "printed"

    def keep(self) -> None:
        """Write to an object store what is new."""
        if self._home is None:
            return
        for ending in PRINTED:
            file = Path(self._home.name, f"printed{ending}")
            text = file.read_bytes() if file.is_file() else b""
            if text != self._kept.get(ending, b""):
                with passing():
                    self.store.write(self._path(ending), text)
                    self._kept[ending] = text


@contextlib.contextmanager
def passing() -> Iterator[None]:
    """No generation ends for its log: what the output refuses is for the next commit to notice."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not is_outside(error):
            raise
