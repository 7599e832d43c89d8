"""A folder of this machine and all below it: the one way to read, write, move and remove anything
there.

What lies in it may be anybody's.  No link below it is followed (each step of a path is opened from
the step above it, with O_NOFOLLOW), only regular files are read, and nothing is waited for: a link,
a pipe, a device, a socket, a folder where a file should be, a file where a folder should be are
Damaged.  The folder itself may be a link: that is its owner's choice.

What is written is whole or not there, and one error says what is wrong with the folder.  What
stands in its way is set aside in `damaged/` as what it is: a link as a link.

The folder is made once.  When it is deleted or moved while it is in use, it is not made anew: half
an output under the old name would be taken for all of it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from engine.files import KINDS, is_of_the_dead, is_staged, staged_name
from engine.store.seal import Damaged

REASONS = {
    errno.ENOSPC: "the disk is full; free some room, or give --out on another disk",
    errno.EDQUOT: "the quota of this user is used up; free some room, or give --out on another "
    "disk",
    errno.EFBIG: "a file became larger than the system allows; raise `ulimit -f`, or give --out "
    "on another disk",
    errno.EROFS: "it is read-only; mount it for writing, or give another --out",
    errno.EACCES: "this user may not write there; change its permissions, or give another --out",
    errno.EPERM: "this user may not write there; change its permissions, or give another --out",
    errno.ENOENT: "it is not there and cannot be made; give another folder",
    errno.EMFILE: "too many files are open; raise `ulimit -n`",
}


GONE = "it was deleted or moved while it was in use; put it back, or begin anew"
ASIDE = "damaged"  # folder, for a person to look into
LONGEST = 250  # bytes of a name there
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
PASSED = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC  # not to be listed, and cheaper
PASSED_BELOW = PASSED | os.O_NOFOLLOW
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
TRIES = 3  # of making a folder whose place others fill at the same time


class Unwritable(OSError):
    """The output cannot be written, for a reason of the machine;
    what was committed is as it was.
    """

    @classmethod
    def of(cls, folder: str, error: OSError, was_there: bool = False) -> Unwritable:
        """was_there: whether the folder had been there."""
        if isinstance(error, Unwritable):
            return error
        if was_there and error.errno == errno.ENOENT:
            return cls(errno.ENOENT, f"cannot write to {folder}: {GONE}")
        reason = REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()
        return cls(error.errno or errno.EIO, f"cannot write to {folder}: {reason}")

    def __str__(self) -> str:
        return str(self.args[-1])


class Disk:
    """One folder, by its absolute path; all paths given to it are below.

    Reading raises Damaged, which names what is wrong; every failure of a change is Unwritable.
    """

    def __init__(self, root: str) -> None:
        self.root, self._above = root, root.rstrip("/") + "/"
        self._was_there = os.path.isdir(root)

    # ---- the way ----

    def _steps(self, path: str) -> list[str]:
        """The names that lead from the folder to a path."""
        if path == self.root:
            return []
        steps = path[len(self._above) :].split("/")
        if not path.startswith(self._above) or "" in steps or "." in steps or ".." in steps:
            raise Damaged(path, "a path out of the output")
        return steps

    def _at(self, steps: Sequence[str]) -> str:
        return "/".join((self.root, *steps))

    def _enter(self, steps: Sequence[str]) -> int:
        """A descriptor of a folder to open names in it, for whoever closes it."""
        at = os.open(self.root, PASSED)
        for i, step in enumerate(steps, 1):
            try:
                below = os.open(step, PASSED_BELOW, dir_fd=at)
            except OSError as error:
                raise self._found(at, steps[:i], stat.S_IFDIR) or error from None
            finally:
                os.close(at)
            at = below
        return at

    def _found(self, at: int, steps: Sequence[str], wanted: int) -> Damaged | None:
        """What stands in a place instead of what is wanted; None when it is that, or nothing."""
        try:
            about = os.stat(steps[-1], dir_fd=at, follow_symlinks=False)
        except OSError:
            return None
        kind = stat.S_IFMT(about.st_mode)
        if kind == wanted:
            return None
        return Damaged(self._at(steps), f"this is {KINDS[kind]}, not {KINDS[wanted]}")

    # ---- reading ----

    def open(self, path: str) -> BinaryIO | None:
        """A regular file to read, without a buffer; None when there is none."""
        steps = self._steps(path)
        try:
            at = self._enter(steps[:-1])
        except (FileNotFoundError, NotADirectoryError):  # the folder itself is none
            return None
        try:
            descriptor = os.open(steps[-1], FILE, dir_fd=at)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._found(at, steps, stat.S_IFREG) or error from None
        finally:
            os.close(at)
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind != stat.S_IFREG:
            os.close(descriptor)
            raise Damaged(path, f"this is {KINDS[kind]}, not a file")
        return io.FileIO(descriptor)

    def read(self, path: str, most: int | None = None) -> bytes | None:
        """The bytes of a file; None when there is none.

        most  bytes that it may have: a longer one is Damaged.
        """
        file = self.open(path)
        if file is None:
            return None
        with file:
            if most is not None and os.fstat(file.fileno()).st_size > most:
                raise Damaged(path, f"it has more than {most:,} bytes")
            return file.read()

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none when it is not there."""
        try:
            at = self._enter(self._steps(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            listed = os.open(".", FOLDER, dir_fd=at)
        finally:
            os.close(at)
        try:
            return sorted(os.listdir(listed))
        finally:
            os.close(listed)

    def has(self, path: str) -> bool:
        """Whether there is a regular file."""
        file = self.open(path)
        if file is not None:
            file.close()
        return file is not None

    def entries(self, inner: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
        """All that is no folder, by path within the folder; what a link leads to is not below.

        inner: of this folder below alone, named with a slash at its end.
        """
        left = [inner]
        while left:
            inner = left.pop()
            with contextlib.suppress(OSError), os.scandir(f"{self.root}/{inner}") as found:
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(f"{inner}{entry.name}/")
                    else:
                        yield inner + entry.name, entry

    def strange(self, inner: str = "") -> list[str]:
        """The paths of all that is neither file nor folder, but for what was set aside already."""
        found = (name for name, entry in self.entries(inner) if _is_strange(name, entry))
        return sorted(f"{self.root}/{name}" for name in found)

    # ---- changing ----

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unwritable.of(self.root, error, self._was_there) from error

    def make(self, folder: str) -> None:
        """A folder at or below the root, with all above it."""
        with self._changing():
            os.close(self._made(self._steps(folder)))

    def _made(self, steps: Sequence[str]) -> int:
        """A descriptor of a folder that is made where it lacks, for whoever closes it."""
        try:
            at = os.open(self.root, FOLDER)
        except FileNotFoundError:
            if self._was_there:
                raise
            os.makedirs(self.root, exist_ok=True)
            self._was_there, at = True, os.open(self.root, FOLDER)
        for i in range(1, len(steps) + 1):
            try:
                below = self._made_in(at, steps[:i])
            finally:
                os.close(at)
            at = below
        return at

    def _made_in(self, at: int, steps: Sequence[str]) -> int:
        for _ in range(TRIES):
            try:
                return os.open(steps[-1], FOLDER | os.O_NOFOLLOW, dir_fd=at)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(steps[-1], dir_fd=at)
            except OSError:
                if self._found(at, steps, stat.S_IFDIR) is None:
                    raise
                self._set_aside(steps)
        return os.open(steps[-1], FOLDER | os.O_NOFOLLOW, dir_fd=at)

    def write(self, path: str, data: bytes) -> None:
        """All of it or nothing: staged, fsynced and renamed."""
        steps = self._steps(path)
        with self._changing():
            at = self._made(steps[:-1])
            try:
                self._write(at, steps, data)
            finally:
                os.close(at)

    def _write(self, at: int, steps: Sequence[str], data: bytes) -> None:
        temporary = staged_name(steps[-1])

        def opener(name: str, flags: int) -> int:
            return os.open(name, flags | os.O_NOFOLLOW, 0o666, dir_fd=at)

        try:
            with open(temporary, "xb", opener=opener) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._clear(at, steps)
            os.replace(temporary, steps[-1], src_dir_fd=at, dst_dir_fd=at)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=at)
            raise

    def place(self, path: str) -> Path:
        """Where others may write a file, in one piece: its folder is there, and nothing strange in
        its way.
        """
        steps = self._steps(path)
        with self._changing():
            at = self._made(steps[:-1])
            try:
                self._clear(at, steps)
            finally:
                os.close(at)
        return Path(path)

    def _clear(self, at: int, steps: Sequence[str]) -> None:
        """Set aside what stands in a place and is no file."""
        if self._found(at, steps, stat.S_IFREG) is not None:
            self._set_aside(steps)

    def append(self, path: str) -> IO[str]:
        """A file to read and to write at its end, made where it lacks.

        One with a second name (a hard link) is another's, too: it is set aside as it is.
        """
        steps = self._steps(path)

        def opener(name: str, flags: int) -> int:
            more = os.O_NOFOLLOW | os.O_NONBLOCK
            return os.open(steps[-1], flags | more, 0o666, dir_fd=at)

        with self._changing():
            at = self._made(steps[:-1])
            try:
                self._clear(at, steps)
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(steps[-1], dir_fd=at, follow_symlinks=False).st_nlink > 1:
                        self._set_aside(steps)
                return open(path, "a+", encoding="utf-8", errors="replace", opener=opener)
            finally:
                os.close(at)

    def remove(self, path: str) -> None:
        """Remove a file; what is not there is no error, a folder in its place is set aside."""
        steps = self._steps(path)
        with self._changing(), contextlib.suppress(FileNotFoundError):
            at = self._enter(steps[:-1])
            try:
                os.unlink(steps[-1], dir_fd=at)
            except IsADirectoryError:
                self._set_aside(steps)
            finally:
                os.close(at)

    def remove_empty(self, folder: str) -> None:
        """Remove a folder that is empty."""
        steps = self._steps(folder)
        with contextlib.suppress(OSError):
            at = self._enter(steps[:-1])
            try:
                os.rmdir(steps[-1], dir_fd=at)
            finally:
                os.close(at)

    def set_aside(self, path: str) -> None:
        """Move what stands in a place to damaged/, as what it is; nothing, where there is nothing.

        Its name there says when it was found and where.
        """
        with self._changing():
            self._set_aside(self._steps(path))

    def _set_aside(self, steps: Sequence[str]) -> None:
        long = f"{time.time_ns()}-{'-'.join(steps)}"
        name, there = os.fsdecode(os.fsencode(long)[:LONGEST]), list(steps)
        with contextlib.suppress(FileNotFoundError):
            if there == [ASIDE]:  # what is in the way is in the way of itself
                there = [staged_name(ASIDE)]
                os.rename(self._at(steps), self._at(there))
            at = self._enter(there[:-1])
            try:
                aside = self._made([ASIDE])
                try:
                    os.rename(there[-1], name, src_dir_fd=at, dst_dir_fd=aside)
                finally:
                    os.close(aside)
            finally:
                os.close(at)

    def tidy(self) -> list[str]:
        """Set aside all that is strange and remove what writers that are gone have staged; the
        paths of the former.
        """
        strange, dead = [], []
        for name, entry in self.entries():
            if _is_strange(name, entry):
                strange.append(f"{self.root}/{name}")
            elif is_staged(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    if is_of_the_dead(entry.name, entry.stat(follow_symlinks=False).st_mtime):
                        dead.append(f"{self.root}/{name}")
        for path in strange:
            self.set_aside(path)
        for path in dead:
            self.remove(path)
        return sorted(strange)


def _is_strange(name: str, entry: os.DirEntry[str]) -> bool:
    return not entry.is_file(follow_symlinks=False) and not name.startswith(f"{ASIDE}/")
