"""Files outside the store: the cache folder, atomic writes, and scratch folders.

A scratch folder is named by the process that made it, so that those of dead runs are known and
removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]  # as a file or a message between processes holds it
PREFIX = "ouro-"
TRIES = 10
# characters of the folder above: Ray puts sockets below, and their paths are limited to about 100
LONGEST = 20


def cache_folder() -> Path:
    """Return $OUROBOROS_CACHE, or the user's cache folder; it need not be there."""
    own = os.environ.get("OUROBOROS_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ouroboros"


# ---- reading what others wrote -------------------------------------------------------------------

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_regular(path: Path, most: int) -> bytes:
    """Read a regular file of at most so many bytes; a pipe or a device is not waited for.

    OSError says what stands there instead, IsADirectoryError that it is a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind in KINDS:
            raise OSError(errno.EINVAL, f"this is {KINDS[kind]}, not a file", str(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return data


def data_root(given: str | None = None) -> Path:
    """Where data sets lie: the parameter, else $OUROBOROS_DATA, else the cache folder."""
    return Path(given or os.environ.get("OUROBOROS_DATA") or cache_folder() / "data")


# ---- atomic writes -------------------------------------------------------------------------------


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, which takes its place in the end (atomic write).

    After an error `path` is as it was and the temporary file is gone.  Several processes may write
    the same file at once: the last one wins, whole.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_atomically(path: Path, content: bytes | str) -> Path:
    """Write a whole file or nothing; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# ---- one process at a time -----------------------------------------------------------------------

UNSHARED = "the cache folder cannot be shared by processes (it is read-only, or has no file locks)"


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Hold a file lock, after waiting for whoever holds it; the system releases it when a process
    ends, however it ends.

    Yields False where no lock can be had (read-only, or a file system without flock): then others
    may do the same work at the same time.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")  # noqa: SIM115  # closed below
    except OSError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True


# ---- scratch folders -----------------------------------------------------------------------------


def scratch_folder() -> Path:
    """Make a new scratch folder of this process, for Ray."""
    base = tempfile.gettempdir()
    base = base if len(base) <= LONGEST else "/tmp"
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))


def weights_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a temporary folder for weights, known by its name as that of a dead run if this one is
    killed.
    """
    return tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-weights-")


def of_dead_processes() -> list[Path]:
    """List the scratch folders of this user whose process is gone."""
    mine = os.getuid()
    return [p for p in _folders("*-*") if p.stat().st_uid == mine and not is_alive(_pid(p))]


def of_former_self() -> list[Path]:
    """List the scratch folders this process left when it was started anew in its own place: Ray's
    threads may write to the very end.
    """
    return [p for p in _folders(f"{os.getpid()}-*") if "-weights-" not in p.name]


def remove(folders: Iterable[Path]) -> None:
    """Remove folders, each in several tries: a process of Ray that is ending may still write."""
    for folder in folders:
        for _ in range(TRIES):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.2)


def _folders(pattern: str) -> list[Path]:
    found: set[Path] = set()
    for base in {tempfile.gettempdir(), "/tmp"}:
        found |= {p for p in Path(base).glob(PREFIX + pattern) if p.is_dir()}
    return sorted(found)


def _pid(folder: Path) -> str:
    return folder.name.split("-")[1]


def is_alive(pid: str) -> bool:
    """Return whether a process of this machine, by its number as text, may still live."""
    return not pid.isdigit() or Path(f"/proc/{pid}").exists()
