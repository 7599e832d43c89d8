"""The files of one output, on a disk or on any fsspec URL: what is read is whole, or it is damage,
which is told and set aside.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import fsspec

from engine._deadline import Slow, within
from engine._foreign import open_to_all
from engine.store.disk import ASIDE, Disk
from engine.store.rows import known_schema
from engine.store.seal import Damaged, sealed, unsealed
from engine.store.shapes import Malformed

T = TypeVar("T")
WHOLE_ANSWER = 60.0  # seconds; libraries would wait for a server that drips for ever
SLOWEST = 1e6  # bytes per second
MOST_JSON = 128 << 20  # bytes; the addresses of a million generations are 95 million


def ignore(path: str) -> None:
    """Nobody wants to know."""


class Files:
    """One output, local or on any fsspec URL.

    on_damage  is called with the path (within the output) of each damaged file that is found.
    repairs  whether such a file is moved to damaged/, to be made again; who only looks at an
             output leaves it to those who make generations: they find it, too.
    """

    def __init__(
        self, url: str, *, on_damage: Callable[[str], None] = ignore, repairs: bool = True
    ) -> None:
        self.url, self.on_damage, self.repairs = url, on_damage, repairs
        # others write there too
        self.fs, root = fsspec.core.url_to_fs(open_to_all(url), use_listings_cache=False)
        protocol = self.fs.protocol if isinstance(self.fs.protocol, str) else self.fs.protocol[0]
        self.local = protocol in ("file", "local")
        self.root = os.path.abspath(root) if self.local else root.rstrip("/")
        self.damage: list[str] = []  # what this object has found, by path within the output
        self.disk = Disk(self.root)  # of a local one

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def path(self, *names: str) -> str:
        return posixpath.join(self.root, *filter(None, names))

    def write(self, path: str, data: bytes) -> None:
        """All of it or nothing; Unwritable when the disk refuses."""
        if self.local:
            self.disk.write(path, data)
        else:
            self.fs.pipe_file(path, data)

    def read(self, path: str, most: int | None = None) -> bytes | None:
        """The bytes, or None when there is no such file.

        Damaged when something else is in its place, or it has more bytes than `most`.
        """
        if self.local:
            return self.disk.read(path, most)
        try:
            data = bytes(self._asked(lambda: self.fs.cat_file(path), most or 0))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if most is not None and len(data) > most:
            raise Damaged(path, f"it has more than {most:,} bytes")
        return data

    def _asked(self, call: Callable[[], T], size: int = 0) -> T:
        """What an object store answers; Slow when it does not, in the time of so many bytes."""
        try:
            return within(WHOLE_ANSWER + size / SLOWEST, call)
        except Slow as error:
            raise Slow(f"{self.url}: {error}") from None

    def write_json(self, path: str, value: object) -> None:
        """JSON with its own digest, so that a cut or flipped file is known as such."""
        self.write(path, sealed(value))

    def read_json(self, path: str, of: Callable[[object], T]) -> T | None:
        """What a file holds; None when it is not there.

        Damaged when it is not what was written, or has another shape than `of` reads.
        """
        data = self.read(path, MOST_JSON)
        if data is None:
            return None
        try:
            return of(known_schema(unsealed(data), self.url))
        except Malformed as error:
            raise Damaged(path, str(error)) from None

    def found(
        self, path: str, of: Callable[[object], T], mine: Callable[[T], bool] = lambda _: True
    ) -> T | None:
        """What a file holds; None when there is none, or it is damaged or another's: set aside."""
        try:
            found = self.read_json(path, of)
            if found is None or mine(found):
                return found
        except Damaged as damaged:
            path = damaged.path
        self.set_aside(path)
        return None

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """What turns out to be damaged inside is set aside, and the rest is left."""
        try:
            yield
        except Damaged as damaged:
            self.set_aside(damaged.path)

    def names(self, folder: str) -> list[str]:
        """The names in a folder; none when it is not there."""
        try:
            if self.local:
                with self.whole():
                    return self.disk.names(self.path(folder))
                return []
            place = self.path(folder)
            found = self._asked(lambda: self.fs.ls(place, detail=False, refresh=True))
            return sorted({posixpath.basename(path.rstrip("/")) for path in found})
        except (FileNotFoundError, NotADirectoryError):
            return []

    def has_file(self, path: str) -> bool:
        if not self.local:
            return bool(self._asked(lambda: self.fs.exists(path)))
        with self.whole():
            return self.disk.has(path)
        return False

    def remove(self, path: str) -> None:
        """Remove a file; what is not there is no error."""
        if self.local:
            with self.whole():
                self.disk.remove(path)
            return
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(path)

    def set_aside(self, path: str) -> None:
        """Move a damaged file to damaged/, where a person can look at it; its name there says when
        it was found and where.
        """
        if self.repairs and self.local:
            self.disk.set_aside(path)
        elif self.repairs:
            place = posixpath.relpath(path, self.root)
            name = f"{time.time_ns()}-{place.replace('/', '-')}"
            with contextlib.suppress(FileNotFoundError):
                self.fs.makedirs(self.path(ASIDE), exist_ok=True)
                self.fs.mv(path, self.path(ASIDE, name))
        self.note(path)

    def note(self, path: str) -> None:
        place = posixpath.relpath(path, self.root)
        self.damage.append(place)
        self.on_damage(place)
