"""What files hold, as digests: of a file of its bytes, of several of their names and bytes.

Digests are cached by size, times of writing and of change (mtime, ctime: an editor that saves in
place keeps the inode, an unpacked archive the mtime), device and inode, so that a plan need not
read 100,000 pictures again.  One cache file serves one place; where it is damaged, or cannot be
written, the files are read.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from engine._cache import Kept

DIGITS = 32  # of a digest, in keys
# a file that was changed so shortly before it was read may change again within one tick of its
# file system's clock: it is read again
UNSETTLED_NS = 2_000_000_000
READERS = 8  # threads: hashing frees the interpreter
LAYOUT = "names, stats [n, 5], digests"  # of a cache file
# what archives of macOS carry along, and what Python leaves; hidden names are none either
UNSEEN = ("__MACOSX", "__pycache__")
_distrusted: set[str] | None = None  # places that were read anew; None: the cache is trusted


def distrust_cache() -> None:
    """Read every file once more in this process, whatever the cache says of it (`--rehash`)."""
    global _distrusted
    _distrusted = set()


def content(place: Path) -> str | None:
    """The digest of a file, or of the visible files of a folder; None when nothing is there.

    ValueError when it is neither (a pipe, a device).
    """
    try:
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(mode):
        return of_file(place)
    if not stat.S_ISDIR(mode):
        raise ValueError(f"{place} is neither a file nor a folder")
    return of_files(place, sorted(visible_files(place)))


def of_file(path: Path) -> str:
    """The beginning of the SHA-256 of a file's bytes."""
    return each(path.parent, [path.name], only=path.name)[0].hex()[:DIGITS]


def of_files(place: Path, names: Sequence[str]) -> str:
    """One digest of the names (relative to a place) and bytes of files, in this order."""
    return of_all(names, each(place, names))


def of_all(names: Sequence[str], of_bytes: Sequence[bytes]) -> str:
    """The same of files whose bytes have these digests."""
    whole = hashlib.sha256()
    for name, own in zip(names, of_bytes, strict=True):
        whole.update(os.fsencode(name) + b"\0" + own)
    return whole.hexdigest()[:DIGITS]


def each(
    place: Path, names: Sequence[str], algorithm: str = "sha256", only: str = ""
) -> list[bytes]:
    """The digest of every file, from the cache where it is as it was.

    only: the cache file is that of this file alone.
    """
    if not names:
        return []
    cached = _kept(place, algorithm, only)
    now, found = time.time_ns(), _stats(place, names)  # before they are read
    known = _read_cache(cached) if _trusted(cached) else None
    if known is not None and known.names == list(names) and np.array_equal(known.stats, found):
        return known.digests
    there = {} if known is None else known.by_name()
    digests = [there.get((name, *own)) for name, own in zip(names, found.tolist(), strict=True)]
    unread = [i for i, digest in enumerate(digests) if digest is None]
    read = partial(_of_bytes, algorithm)
    with ThreadPoolExecutor(READERS) as readers:
        fresh = readers.map(read, [os.path.join(place, names[i]) for i in unread])
        for i, digest in zip(unread, fresh, strict=True):
            digests[i] = digest
    whole = [digest for digest in digests if digest is not None]
    settled = found[:, 1:3].max(axis=1, initial=0) < now - UNSETTLED_NS
    kept = np.where(settled[:, None], found, 0)
    _write_cache(cached, _Known(list(names), kept, whole))
    return whole


def _of_bytes(algorithm: str, path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).digest()


def _stats(place: Path, names: Sequence[str]) -> np.ndarray:
    """Size, mtime, ctime, device and inode of each file, uint64 [n, 5]."""
    found, home = [], f"{place}/"
    for name in names:
        own = os.stat(home + name)
        if not stat.S_ISREG(own.st_mode):
            raise ValueError(f"{home}{name} is not a regular file")
        times = own.st_mtime_ns % 2**64, own.st_ctime_ns % 2**64  # before 1970: negative
        found.append((own.st_size, *times, own.st_dev, own.st_ino))
    return np.array(found, np.uint64)


# ---- the files of a folder -----------------------------------------------------------------------


def visible_files(folder: Path, below: str = "") -> Iterator[str]:
    """The names of all regular files of a folder (below one inside it), relative to it; hidden ones
    are none.

    Links are followed, but not to the folder itself, into it or out of it upwards.
    """
    folders = [below]
    while folders:
        here = folders.pop()
        for entry in visible(folder / here):
            name = f"{here}/{entry.name}" if here else entry.name
            if entry.is_dir():
                if leads_on(entry, folder):
                    folders.append(name)
            elif entry.is_file():
                yield name


def visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, but for hidden names."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name not in UNSEEN:
                yield entry


def leads_on(entry: os.DirEntry[str], root: Path) -> bool:
    """Whether a folder is no link, or one to files elsewhere."""
    if not entry.is_symlink():
        return True
    target, home = Path(entry.path).resolve(), root.resolve()
    return not (target.is_relative_to(home) or home.is_relative_to(target))


# ---- the cache -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    """What the cache holds of a place; stats are 0 where a file is to be read again."""

    names: list[str]
    stats: np.ndarray  # [n, 5]
    digests: list[bytes]

    def by_name(self) -> dict[tuple[object, ...], bytes]:
        """Digests by name and stats."""
        rows = zip(self.names, self.stats.tolist(), self.digests, strict=True)
        return {(name, *own): digest for name, own, digest in rows}


def _trusted(cached: Kept) -> bool:
    """Whether the cache may be believed; where it is not, it is the second time."""
    if _distrusted is None or cached.name in _distrusted:
        return True
    _distrusted.add(cached.name)
    return False


def _kept(place: Path, algorithm: str, only: str) -> Kept:
    of = f"{algorithm}\0{place.resolve()}\0{only}"
    whole = hashlib.sha256(os.fsencode(of)).hexdigest()
    return Kept(f"digests/{whole[:24]}.npz", f"{LAYOUT} of {whole}")


def _read_cache(cached: Kept) -> _Known | None:
    """What is known of a place; None where there is no cache, or a damaged one."""
    content = cached.read()
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        names, stats, digests = file["names"], file["stats"], file["digests"]
    texts = [os.fsdecode(name) for name in names.tobytes().split(b"\0")[:-1]]
    return _Known(texts, stats, [digest.tobytes() for digest in digests])


def _write_cache(cached: Kept, known: _Known) -> None:
    """Keep what is known of a place."""
    names = b"".join(os.fsencode(name) + b"\0" for name in known.names)
    digests = np.frombuffer(b"".join(known.digests), np.uint8).reshape(len(known.names), -1)
    buffer = io.BytesIO()
    np.savez(buffer, names=np.frombuffer(names, np.uint8), stats=known.stats, digests=digests)
    cached.write(buffer.getvalue())
