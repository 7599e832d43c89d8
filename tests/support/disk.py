"""A disk whose power fails at a chosen operation: what the store and its locks ask of the system
passes through it, is counted, and from the failure on nothing is done any more, not even by
`finally`.

Bytes that were written but not fsynced are then lost in one of four ways; a rename and a removal
are in effect at once.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import files
from engine.store import disk, locks, store
from engine.store.store import Store

LOSSES: dict[str, Callable[[bytes], bytes]] = {
    "kept": lambda data: data,
    "emptied": lambda data: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "garbage": lambda data: random.Random(len(data)).randbytes(len(data)),
}
CHANGES = (
    "makedirs",
    "mkdir",
    "replace",
    "rename",
    "unlink",
    "remove",
    "mv",
    "rm_file",
    "pipe_file",
)


Opener = Callable[[str, int], int]


def _place(path: str, folder: int | None, file: int | None = None) -> str:
    """Where a file lies, by its path, its name in an open folder, or as an open file."""
    if file is not None:
        return os.path.realpath(f"/proc/self/fd/{file}")
    return os.path.realpath(path if folder is None else f"/proc/self/fd/{folder}/{path}")


class PowerFailure(BaseException):
    """Nothing catches it, as nothing survives it."""


class Through:
    """A module or file system whose changing calls are counted."""

    def __init__(self, disk: Disk, target: Any) -> None:
        self._disk, self._target = disk, target

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._target, name)
        return self._disk.counted(name, call) if name in CHANGES else call

    def fsync(self, number: int) -> None:
        self._disk.step()
        self._disk.unsynced.discard(os.path.realpath(f"/proc/self/fd/{number}"))


class Written:
    """A file open for writing: its bytes reach the disk at once, and stay only once they are
    fsynced.
    """

    def __init__(self, disk: Disk, path: str, opener: Opener | None) -> None:
        self._disk = disk
        self._file = open(path, "wb", buffering=0, opener=opener)  # noqa: SIM115  # closed by its reader
        disk.unsynced.add(_place(path, None, self._file.fileno()))

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> None:
        self._disk.step()
        self._file.write(data)


class Disk:
    """operations: how many were done; fails_at: the one, counted from 1, that is not done any more
    (0: none).
    """

    def __init__(self, fails_at: int = 0) -> None:
        self.fails_at, self.operations = fails_at, 0
        self.unsynced: set[str] = set()

    def step(self) -> None:
        if self.fails_at and self.operations + 1 >= self.fails_at:
            raise PowerFailure
        self.operations += 1

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def doing(*args: Any, **more: Any) -> Any:
            if name != "makedirs" or not os.path.isdir(args[0]):
                self.step()
            old = new = ""
            if name in ("replace", "rename", "mv"):
                old = _place(args[0], more.get("src_dir_fd"))
                new = _place(args[1], more.get("dst_dir_fd"))
            answer = call(*args, **more)
            if old in self.unsynced:
                self.unsynced ^= {old, new}
            return answer

        return doing

    def open(self, path: str, mode: str = "r", opener: Opener | None = None, **more: Any) -> Any:
        if mode != "rb":
            self.step()
        if mode in ("wb", "xb"):
            return Written(self, path, opener)
        return open(path, mode, opener=opener, **more)

    def under(self, url: str, patch: pytest.MonkeyPatch) -> Store:
        """A store on this disk."""
        for module in (files, disk, store, locks):
            patch.setattr(module, "os", Through(self, os))
            patch.setattr(module, "open", self.open, raising=False)
        made = Store(url)
        made.fs = Through(self, made.fs)
        return made

    def lose(self, how: str) -> bool:
        """What was not fsynced becomes what `how` says; whether there was any."""
        files = [
            file for path in self.unsynced if (file := Path(path)).is_file() and file.stat().st_size
        ]
        for file in files:
            file.write_bytes(LOSSES[how](file.read_bytes()))
        return bool(files)
