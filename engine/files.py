"""Files outside the store: the cache folder, atomic writes, and scratch folders.

A scratch folder is named by the process that made it, so that those of dead runs are known and
removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import re
import shutil
import socket
import stat
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

JsonObject = dict[str, Any]  # as a file or a message between processes holds it
PREFIX = "ouro-"
TRIES = 25  # of removing a folder, a fifth of a second apart
# characters of the folder above: Ray puts sockets below, and their paths are limited to about 100
LONGEST = 20
NO_HOME = Path(os.devnull) / "no home"  # nothing can be made below it


def cache_folder() -> Path:
    """Return $OUROBOROS_CACHE, or the user's cache folder; it need not be there, and cannot be made
    where the user has no home (containers).
    """
    own = os.environ.get("OUROBOROS_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "ouroboros"


def _home() -> Path:
    try:
        return Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # a number without a name
        return NO_HOME


# ---- reading what others wrote -------------------------------------------------------------------

OF_A_PATH = {  # errors of a path that was given, wherever it is looked at
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EACCES,
    errno.EPERM,
}


def unread(path: object, error: OSError) -> str:
    """Why what was given cannot be read, as a sentence."""
    return f"{path!s:.200} cannot be read: {(error.strerror or str(error)).lower()}"


@contextlib.contextmanager
def readable(path: object) -> Iterator[None]:
    """Inside, a path that leads nowhere is a ValueError that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in OF_A_PATH:
            raise
        raise ValueError(unread(path, error)) from None


KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def kind_of(path: str | Path) -> str:
    """What stands at a path instead of a file: a pipe, a device, ..."""
    return KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "no file")


def read_regular(path: Path, most: int) -> bytes:
    """Read a regular file of at most so many bytes; a pipe or a device is not waited for.

    OSError says what stands there instead, IsADirectoryError that it is a folder.
    """
    with open_regular(path, follow=True) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return data


def open_regular(path: Path, follow: bool = False) -> BinaryIO:
    """Open a regular file to be read, by default not through a link; a pipe or a device is not
    waited for.

    OSError says what stands there instead, IsADirectoryError that it is a folder.
    """
    how = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, how)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, "this is a link, not a file", str(path)) from None
        raise
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return open(descriptor, "rb")
    os.close(descriptor)
    number = errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL
    raise OSError(number, f"this is {KINDS[kind]}, not a file", str(path))


def data_root(given: str | None = None) -> Path:
    """Where data sets lie: the parameter, else $OUROBOROS_DATA, else the cache folder."""
    own = given or os.environ.get("OUROBOROS_DATA")
    return Path(expanded(own)) if own else cache_folder() / "data"


def expanded(path: str) -> str:
    """A path with ~ and $VARIABLES filled in; ValueError for one that is not set."""
    for name in re.findall(r"\$(\w+|\{[^}]*\})", path):
        if name.strip("{}") not in os.environ:
            raise ValueError(f"{path}: the variable ${name} is not set; set it, or write the path")
    return os.path.expandvars(os.path.expanduser(path))


# ---- atomic writes -------------------------------------------------------------------------------

# as `staged_name`; versions that named no computer wrote on this one, if they still do
STAGED = re.compile(r".*\.(?:([0-9a-f]{8})-)?(\d+)-[0-9a-f]{8}\.tmp", re.DOTALL)
PROBE = re.compile(r"\.probe-[0-9a-f]{8}")  # of such versions, for a moment
# seconds without a write, after which the writer of another computer is taken for dead
GIVEN_UP = 3600.0


def staged_name(name: str) -> str:
    """A temporary name beside a file, which says who writes it: computer and process."""
    return f"{name[:200]}.{_computer()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"


def is_staged(name: str) -> bool:
    """Whether a name is one of those that are to be replaced or removed by their writer."""
    if name.endswith(".tmp"):
        return STAGED.fullmatch(name) is not None
    return name.startswith(".probe-") and PROBE.fullmatch(name) is not None


def is_of_the_dead(name: str, written: float) -> bool:
    """Whether a file is staged, and its writer gone.

    written: its last change, in seconds since the epoch, by which writers on other computers are
    judged.
    """
    if not is_staged(name):
        return False
    own = STAGED.fullmatch(name)
    if own is None:
        return True
    if own[1] in (None, _computer()):
        return not is_alive(own[2])
    return time.time() - written > GIVEN_UP


def _computer() -> str:
    """This computer, in few characters."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, which takes its place in the end (atomic write).

    After an error `path` is as it was and the temporary file is gone.  Several processes may write
    the same file at once: the last one wins, whole.
    """
    temporary = path.with_name(staged_name(path.name))
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
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = open(os.open(path, flags, 0o666), "a")  # noqa: SIM115  # closed below
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
    return [p for p in _folders("*-*") if _is_mine(p) and not is_alive(_pid(p))]


def _is_mine(path: Path) -> bool:
    """Whether it is there and this user's own: others remove theirs at any time."""
    with contextlib.suppress(OSError):
        return path.lstat().st_uid == os.getuid()
    return False


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
