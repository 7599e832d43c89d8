"""The cache folder's files: what is made once per machine and can be made again.

Each ends in a seal: a line of JSON with its name, what made it, and the SHA-256 of all that stands
before the line.  Whoever reads a file is held to it: one that is cut or changed, that another part
or version made, that has no seal, or is no file at all (a link, a folder, a pipe) is set aside in
`damaged/`, said in one line, and made again by whoever asked.  Links below the cache folder are not
followed.  No cache is no error: what cannot be kept is said once, and made anew each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.files import (
    NO_HOME,
    cache_folder,
    exclusive,
    is_of_the_dead,
    is_staged,
    open_regular,
    staged,
)

ASIDE = "damaged"  # folder in the cache folder
NOT_OURS = ("data",)  # folders in it that others fill
NO_DIGEST = 64 * "0"
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """A file of the cache.

    name     below the cache folder, as images/<digest>-32.npz.
    made_by  what makes its content; where that changes, this says something else.
    """

    name: str
    made_by: str

    @property
    def path(self) -> Path:
        return cache_folder() / self.name

    @property
    def is_there(self) -> bool:
        """Whether a file lies there; it may prove damaged when it is read."""
        with contextlib.suppress(OSError):
            return stat.S_ISREG(self.path.lstat().st_mode)
        return False

    def read(self) -> bytes | None:
        """The content as it was written; None where there is none: make it, and `write` it."""
        self._clear_the_way()
        try:
            with open_regular(self.path) as file:
                found = os.fstat(file.fileno())
                content = file.read(max(0, found.st_size - len(self._seal(NO_DIGEST))))
                seal = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _set_aside(self.path, error.strerror or str(error))
            return None
        if seal == self._seal(hashlib.sha256(content).hexdigest()):
            return content
        if not self._is(found):  # another process has made it again meanwhile
            return self.read()
        _set_aside(self.path, "cut or changed, or without the seal of this name and version")
        return None

    def write(self, content: bytes) -> None:
        """Keep it, if the cache folder can be written to."""
        self._clear_the_way()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with staged(self.path) as temporary, open(temporary, "wb") as file:
                file.write(content)
                file.write(self._seal(hashlib.sha256(content).hexdigest()))
        except OSError as error:
            _say_once(_refusal(error))

    def alone(self) -> AbstractContextManager[bool]:
        """Be the only process that makes it, after waiting for whoever does: see `exclusive`."""
        lock = self.path.with_name(f"{self.path.name}.lock")
        self._clear_the_way()
        with contextlib.suppress(OSError):
            if not stat.S_ISREG(lock.lstat().st_mode):
                _set_aside(lock, "no file")
        return exclusive(lock)

    def _seal(self, sha256: str) -> bytes:
        said = {"file": self.name, "made_by": self.made_by, "sha256": sha256}
        return b"\n" + json.dumps(said).encode() + b"\n"

    def _is(self, found: os.stat_result) -> bool:
        """Whether the file that was read is the one that lies there."""
        with contextlib.suppress(OSError):
            return os.path.samestat(found, self.path.lstat())
        return False

    def _clear_the_way(self) -> None:
        """Set aside what stands in the place of a folder above it."""
        root = cache_folder()
        for folder in reversed(self.path.parents):
            if folder == root or not folder.is_relative_to(root):
                continue
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if not stat.S_ISDIR(folder.lstat().st_mode):
                    _set_aside(folder, "no folder")


# ---- what is wrong -------------------------------------------------------------------------------


def problem() -> str:
    """Why nothing can be kept, tried by writing; or ''."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(2**16))
            probe.flush()
    except OSError as error:
        return _refusal(error)
    return ""


def set_aside() -> list[str]:
    """The names below `damaged/`, each with the time when it was found damaged before it."""
    with contextlib.suppress(OSError):
        return sorted(os.listdir(cache_folder() / ASIDE))
    return []


def remove_staged() -> None:
    """Remove what processes that are gone had begun to write."""
    for folder, inner, names in os.walk(cache_folder()):
        if Path(folder) == cache_folder():
            inner[:] = [name for name in inner if name not in NOT_OURS]
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if is_staged(name) and is_of_the_dead(name, os.lstat(path).st_mtime):
                    os.unlink(path)


def _set_aside(path: Path, why: str) -> None:
    """Move what is no sound file out of the way; of each name only the last one is kept."""
    place = path.relative_to(cache_folder()).as_posix()
    aside, name = cache_folder() / ASIDE, place.replace("/", "-")
    try:
        if aside.is_symlink():
            aside.unlink()
        aside.mkdir(exist_ok=True)
        for earlier in _earlier(aside, name):
            earlier.unlink()
        os.rename(path, aside / f"{time.time_ns()}-{name}")
    except FileNotFoundError:  # another process was faster
        return
    except OSError as error:
        why += f"; it stays there ({(error.strerror or str(error)).lower()})"
    LOG.warning("%s in the cache is set aside and made again: %s", place, why.lower())


def _earlier(aside: Path, name: str) -> Iterator[Path]:
    for earlier in aside.iterdir():
        if earlier.name.partition("-")[2] == name and not earlier.is_dir():
            yield earlier


def _refusal(error: OSError) -> str:
    """What it means that the cache folder cannot be written to."""
    folder, reason = cache_folder(), (error.strerror or str(error)).lower()
    found = f"{folder} cannot be written to ({reason})"
    if folder.is_relative_to(NO_HOME):
        found = "this user has no home folder"
    return f"no cache: {found}; set OUROBOROS_CACHE to a folder that can be written to"


@cache
def _say_once(text: str) -> None:
    LOG.warning("%s", text)
