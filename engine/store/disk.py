"""A folder of this machine that is written to: bytes are whole or not there, and one error says
what is wrong with it.

The folder is made once.  When it is deleted or moved while it is in use, it is not made anew: half
                          an output under the old name
would be taken for all of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from engine.files import staged

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


class Unwritable(OSError):
    """The output cannot be written, for a reason of the machine;
    what was committed is as it was.
    """

    @classmethod
    def of(cls, folder: str, error: OSError, was_there: bool = False) -> Unwritable:
        """was_there: whether the folder had been there."""
        if was_there and error.errno == errno.ENOENT:
            return cls(errno.ENOENT, f"cannot write to {folder}: {GONE}")
        reason = REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()
        return cls(error.errno or errno.EIO, f"cannot write to {folder}: {reason}")

    def __str__(self) -> str:
        return str(self.args[-1])


class Disk:
    """Writes below one folder.  Every failure is Unwritable."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._made = os.path.isdir(root)

    def make(self, folder: str) -> None:
        """A folder at or below the root, with all above it."""
        try:
            self._make(folder)
        except OSError as error:
            raise Unwritable.of(self.root, error, self._made) from error

    def _make(self, folder: str) -> None:
        if os.path.isdir(folder):
            return
        if folder == self.root:
            if self._made:
                raise FileNotFoundError(errno.ENOENT, "gone", folder)
            os.makedirs(folder, exist_ok=True)
            self._made = True
            return
        self._make(os.path.dirname(folder))
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)

    def write(self, path: str, data: bytes) -> None:
        """All of it or nothing: staged, fsynced and renamed."""
        self.make(os.path.dirname(path))
        try:
            with staged(Path(path)) as temporary, open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unwritable.of(self.root, error, self._made) from error
