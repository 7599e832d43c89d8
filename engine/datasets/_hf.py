"""Data sets of Hugging Face's library `datasets`, opened on this machine: a folder that
`save_to_disk` wrote, or one that the library has in its cache.  Nothing is fetched, and no code of
a data set is run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine import _digests as digests
from engine._tokenizers import name_of
from engine.contents import Lack

INSTALL = "install it: pip install 'ouroboros-engine[hf]'"
WANTED = "path is a folder that datasets.Dataset.save_to_disk wrote"
NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # user/set


@dataclass(frozen=True)
class Place:
    """Where a set is: a folder, or the name of a cached one; and which of its splits is meant."""

    folder: Path | None
    cached: str | None
    config: str | None
    split: str

    def __str__(self) -> str:
        return str(self.folder or self.cached)

    def lack(self) -> Lack | None:
        """What of it is not on this machine."""
        if importlib.util.find_spec("datasets") is None:
            return Lack("library datasets", sys.prefix, INSTALL)
        if self.folder is not None:
            if self.folder.exists():
                return None
            return Lack(f"data set {self.folder.name}", str(self.folder), WANTED)
        try:
            _cached(self)
        except FileNotFoundError:
            fix = (
                f"where there is a network: datasets.load_dataset({self.cached!r}); it is kept in "
                "HF_DATASETS_CACHE"
            )
            return Lack(f"data set {self.cached}", f"{_cache_folder()} (offline)", fix)
        return None

    @property
    def content(self) -> str:
        """The digest of its files; ValueError where it is no such set."""
        if self.folder is None:
            files = [Path(file["filename"]) for file in _cached(self).cache_files]
            return name_of(*[digests.of_file(path) for path in files])
        folder = self.folder / self.split
        folder = folder if folder.is_dir() else self.folder
        names = sorted(path.name for path in folder.glob("*.arrow"))
        if not names:
            splits = sorted({path.parent.name for path in self.folder.glob("*/*.arrow")})
            has = f"no split {self.split!r}; it has: {', '.join(splits)}"
            raise ValueError(f"{self} {'has ' + has if splits else f'holds no data set; {WANTED}'}")
        return digests.of_files(folder, names)

    def opened(self) -> Any:
        """Rows of the split, as the library gives them; ValueError where there are none."""
        return _cached(self) if self.folder is None else _of_folder(self, self.content)

    def column(self, name: str) -> Any:
        """What a column of it holds (a feature); ValueError where there is none."""
        features = self.opened().features
        if name not in features:
            raise ValueError(
                f"{self}: there is no column {name!r}; there are: {', '.join(features)}"
            )
        return features[name]


def place_of(
    part: str,
    path: str | None,
    folder: Path | None,
    cached: str | None,
    more: tuple[str | None, str],
) -> Place:
    """ValueError unless a set is given by a folder or by its name."""
    if (path is None) == (cached is None):
        raise ValueError(f"{part}: give path, a folder, or cached, a name; one of both")
    if cached is not None and not NAME.fullmatch(cached):
        raise ValueError(f"{part}: cached is a name such as user/set, got {cached!r:.60}")
    return Place(folder, cached, *more)


@lru_cache(maxsize=2)
def _of_folder(place: Place, content: str) -> Any:
    import datasets

    try:
        found = datasets.load_from_disk(str(place.folder))
    except Exception as error:  # of arrow, JSON, and its own
        said = str(error).splitlines()[:1] or [type(error).__name__]
        raise ValueError(f"{place} cannot be opened as a data set: {said[0]}") from None
    if isinstance(found, datasets.DatasetDict):
        if place.split not in found:
            raise ValueError(f"{place} has no split {place.split!r}; it has: {', '.join(found)}")
        return found[place.split]
    own = found.split
    if own is not None and str(own) != place.split:
        raise ValueError(f"{place} has no split {place.split!r}; it is {own}")
    return found


@lru_cache(maxsize=2)
def _cached(place: Place) -> Any:
    """FileNotFoundError where the cache has no such set, ValueError where it has no such split."""
    import datasets

    assert place.cached is not None
    if Path(place.cached).exists():
        raise ValueError(f"{place} is a file or folder here; give it as path")
    with _offline():
        try:
            return datasets.load_dataset(
                place.cached, place.config, split=place.split, cache_dir=_cache_folder()
            )
        except (OSError, datasets.exceptions.DatasetsError) as error:
            raise FileNotFoundError(str(error)) from None
        except ValueError as error:
            if "cache" in str(error).lower():  # of another configuration
                raise FileNotFoundError(str(error)) from None
            raise ValueError(f"{place}: {str(error).splitlines()[0]}") from None


def _cache_folder() -> str:
    """Of the library, as its variable is now."""
    import datasets

    return os.environ.get("HF_DATASETS_CACHE") or str(datasets.config.HF_DATASETS_CACHE)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """The library asks no server, as with HF_DATASETS_OFFLINE=1, which it reads but once."""
    import datasets

    holders = (datasets.config, datasets.config.constants)  # and those of the hub's own library
    before = [holder.HF_HUB_OFFLINE for holder in holders]
    for holder in holders:
        holder.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for holder, was in zip(holders, before, strict=True):
            holder.HF_HUB_OFFLINE = was


# ---- a column of texts ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of texts as one text: a line, or several, for each row."""

    place: Place
    name: str

    def __str__(self) -> str:
        return f"column {self.name} of {self.place}"

    def read_bytes(self) -> bytes:
        """UTF-8; ValueError for a cell that is no text."""
        kind = getattr(self.place.column(self.name), "dtype", "")
        if kind not in ("string", "large_string"):
            raise ValueError(f"{self} holds {kind or 'no values'}, and no texts")
        cells = self.place.opened()[self.name][:]
        if (empty := next((i for i, cell in enumerate(cells) if cell is None), None)) is not None:
            raise ValueError(f"{self}, row {empty + 1}: the cell is null, and no text")
        return "\n".join(cells).encode()
