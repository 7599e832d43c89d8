"""Who may write: one holder per name, by file locks on a disk and by leases on an object store.

A file lock dies with its process.  A lease is an object `<name>/<number>`; the highest one holds.
It is taken by creating the next number, which an object store lets only one do (a PUT that must not
replace anything); it is kept by writing it anew at every beat, and lost when it stays as it is for
a while.  That while is measured by whoever waits, on a clock of its own: no two clocks need to
agree.  A holder that was asleep for so long learns at its next beat that it holds no more; what it
wrote meanwhile has the bits its successor writes, since keys name content.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import posixpath
import threading
import time
import uuid
from typing import IO, Any

from engine.files import JsonObject
from engine.store.disk import Disk, Unwritable
from engine.store.seal import Damaged

BEAT_SECONDS = 1.0
LOST_AFTER = 12.0  # seconds without a beat
MOST_SAID = 10_000  # bytes of what a holder says about itself


class Busy(Exception):
    """The output is held by another sweep."""

    def __init__(self, holder: str) -> None:
        super().__init__(
            f"the output is in use by {holder}; wait for it, or give this run another output "
            "with --out"
        )
        self.holder = holder


class FileLocks:
    """Locks of files in one folder; the operating system releases them when a process ends, however
    it ends.
    """

    def __init__(self, folder: str, disk: Disk | None = None) -> None:
        self.folder, self.disk = folder, disk or Disk(folder)

    def pause(self) -> None:
        """Wait a little before asking again."""
        time.sleep(0.02)

    def try_hold(self, name: str, about: str = "") -> contextlib.ExitStack | None:
        """Hold `name` until the returned stack is closed; None when someone else holds it."""
        stack = contextlib.ExitStack()
        file = stack.enter_context(self.disk.append(os.path.join(self.folder, name)))
        try:
            _take(file, self.folder)
            if about:
                file.truncate(0)
                file.write(about)
                file.flush()
                stack.callback(_forget, file)
        except BlockingIOError:
            stack.close()
            return None
        except Unwritable:
            stack.close()
            raise
        except OSError as error:
            with contextlib.suppress(
                OSError
            ):  # what could not be written cannot be written when it is closed
                stack.close()
            raise Unwritable.of(self.disk.root, error, was_there=True) from error
        return stack

    def holder(self, name: str) -> str:
        """What the last holder of a name said about itself."""
        with contextlib.suppress(OSError, Damaged):
            said = self.disk.read(os.path.join(self.folder, name), MOST_SAID) or b""
            return said.decode(errors="replace")
        return ""

    def alive(self, name: str) -> bool:
        """Whether a name that is held is held by someone who lives, and who has said by now who
        that is.
        """
        said = self.holder(name)
        self.pause()  # what a killed one had said stands there for a moment
        return bool(said) and said == self.holder(name)


def _take(file: IO[str], folder: str) -> None:
    """Lock an open file; BlockingIOError when someone else holds it, Unwritable where the file
    system knows no locks (Lustre without -o flock, some NFS).
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        reason = (
            f"cannot lock files in {folder}: its file system gives no locks ({said}); mount it "
            "with them (Lustre: -o flock; NFS: without nolock), or give --out on another disk"
        )
        raise Unwritable(error.errno or errno.ENOLCK, reason) from error


def _forget(file: IO[str]) -> None:
    """Whoever takes the name next shall not be taken for us while it has not yet said who it is."""
    with contextlib.suppress(OSError):
        file.truncate(0)


class Leases:
    """Leases under one folder of an object store (any fsspec file system whose `pipe_file` knows
    mode="create").
    """

    def __init__(
        self, fs: Any, folder: str, beat: float = BEAT_SECONDS, lost_after: float = LOST_AFTER
    ) -> None:
        self.fs, self.folder, self.beat, self.lost_after = fs, folder, beat, lost_after
        self._seen: dict[
            str, tuple[bytes, float]
        ] = {}  # by path: what it held, and since when on our clock
        self._alive: set[str] = set()  # paths that were renewed while we watched
        self._held: dict[str, JsonObject] = {}  # by path: what we write there
        self._changed = threading.Condition()
        self._heart: threading.Thread | None = None

    def try_hold(self, name: str, about: str = "") -> contextlib.ExitStack | None:
        """Hold `name` until the returned stack is closed; None when someone else holds it."""
        numbers = self._numbers(name)
        if numbers and not self._lost(self._path(name, numbers[-1])):
            return None
        path = self._path(name, numbers[-1] + 1 if numbers else 1)
        note = {"owner": uuid.uuid4().hex, "beats": 0, "about": about}
        try:
            self.fs.pipe_file(path, json.dumps(note).encode(), mode="create")
        except FileExistsError:  # someone was faster, or our own first try went through unheard
            if _owner(self._read(path) or b"") != note["owner"]:
                return None
        with self._changed:
            self._held[path] = note
            if self._heart is None:
                self._heart = threading.Thread(target=self._beat, name="leases", daemon=True)
                self._heart.start()
        stack = contextlib.ExitStack()
        stack.callback(self._release, path, [self._path(name, number) for number in numbers])
        return stack

    def pause(self) -> None:
        """Wait a little before asking again."""
        time.sleep(self.beat / 2)

    def holder(self, name: str) -> str:
        """What the holder of a name says about itself; '' when nobody holds it."""
        numbers = self._numbers(name)
        data = self._read(self._path(name, numbers[-1])) if numbers else None
        return str(json.loads(data)["about"]) if data else ""

    def alive(self, name: str) -> bool:
        """Whether the lease was renewed while we watched it by `try_hold`."""
        return any(self._path(name, number) in self._alive for number in self._numbers(name)[-1:])

    def _lost(self, path: str) -> bool:
        """Whether a lease is gone, or was not renewed for long enough while we watched."""
        data = self._read(path)
        if data is None:
            return False  # released this moment: whoever asks again finds it free
        before, _ = self._seen.get(path, (b"", 0.0))
        if data != before:
            self._seen[path] = (data, time.monotonic())
            (self._alive.add if _owner(data) == _owner(before) else self._alive.discard)(path)
        return time.monotonic() - self._seen[path][1] > self.lost_after

    def _release(self, path: str, older: list[str]) -> None:
        with self._changed:
            note = self._held.pop(path, None)
        for each in [*older, *([path] if note else [])]:
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(each)

    def _beat(self) -> None:
        """Renew what is held, while anything is held."""
        while True:
            with self._changed:
                held = dict(self._held)
                if not held:
                    self._heart = None
                    return
            for path, note in held.items():
                with contextlib.suppress(
                    Exception
                ):  # an unreachable store is tried again at the next beat
                    self._renew(path, note)
            time.sleep(self.beat)

    def _renew(self, path: str, note: JsonObject) -> None:
        data = self._read(path)
        mine = data is not None and _owner(data) == note["owner"]
        with self._changed:
            if path not in self._held:
                return
            if not mine:
                del self._held[path]
                return
            note["beats"] += 1
            self.fs.pipe_file(path, json.dumps(note).encode())

    def _numbers(self, name: str) -> list[int]:
        with contextlib.suppress(FileNotFoundError):
            found = self.fs.ls(posixpath.join(self.folder, name), detail=False, refresh=True)
            return sorted(
                int(stem)
                for path in found
                if (stem := posixpath.basename(path.rstrip("/"))).isdigit()
            )
        return []

    def _path(self, name: str, number: int) -> str:
        return posixpath.join(self.folder, name, f"{number:06d}")

    def _read(self, path: str) -> bytes | None:
        try:
            return bytes(self.fs.cat_file(path))
        except FileNotFoundError:
            return None


def _owner(data: bytes) -> str:
    return str(json.loads(data)["owner"]) if data else ""
