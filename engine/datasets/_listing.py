"""What files of pictures hold, told from names, sizes and headers: nothing is decoded and nothing
heavy imported, so that a plan can ask.
"""

from __future__ import annotations

import os
import posixpath
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from engine import _digests as digests
from engine._cache import Kept
from engine.contents import Contents, named
from engine.datasets._pictures import is_grey
from engine.files import kind_of
from engine.samples import proportional_counts

PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# in small letters; hidden names (.DS_Store, ._x.png) and __MACOSX are none of a folder either
LEFT_BY_SYSTEMS = (
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "@eadir",
)


# ---- a folder with one subfolder per class -------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder in the order in which they are read.

    classes   names of the subfolders, sorted; a label is a place in them; (): there are none, and
              the pictures, which lie in the folder itself, have no labels.
    names     (name relative to the folder, label), class by class, sorted within a class.
    left_out  other files, relative to the folder; hidden ones, and what systems leave in folders,
              are not counted.
    unread    what is no file of this folder, with what it is: x.png (a pipe).
    """

    root: Path
    classes: tuple[str, ...]
    names: tuple[tuple[str, int], ...]
    left_out: tuple[str, ...]
    unread: tuple[str, ...] = ()

    @property
    def pictures(self) -> Iterator[tuple[Path, int]]:
        """(file, label), in the order in which they are read."""
        return ((self.root / name, label) for name, label in self.names)

    @cached_property
    def y(self) -> np.ndarray:
        """The labels, int64 [n]."""
        return np.array([label for _, label in self.names], dtype=np.int64)

    @property
    def counts(self) -> np.ndarray:
        """Pictures of each class, [classes]; [1] without classes."""
        return np.bincount(self.y, minlength=len(self.classes))

    @cached_property
    def digests(self) -> list[bytes]:
        """The digest of each picture's bytes."""
        return digests.each(self.root, [name for name, _ in self.names])

    @cached_property
    def content(self) -> str:
        """The digest of the pictures' names and bytes."""
        return digests.of_all([name for name, _ in self.names], self.digests)

    @cached_property
    def channels(self) -> int:
        """1 where all pictures are grey, else 3; ValueError with the path of what is none.

        Where the first is grey, all headers are read, once per content.
        """
        if not is_grey(f"{self.root}/{self.names[0][0]}"):
            return 3
        cached = Kept(f"images/{self.content}.channels", "1 where all are grey, else 3")
        if (known := cached.read()) is not None:
            return int(known)
        found = 1 if all(is_grey(f"{self.root}/{name}") for name, _ in self.names) else 3
        cached.write(str(found).encode())
        return found


def list_folder(root: Path, *, empty: bool = False) -> Listing:
    """The pictures below one subfolder per class, or those of a folder without subfolders.

    empty: a subfolder may hold no picture.  ValueError where there are no pictures, and for a root
    that is no folder.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is no folder")
    found = _Walk(root)
    unread = tuple(found.unread)
    own = [name for name in found.files if name.lower().endswith(PICTURES)]
    others = [name for name in found.files if not name.lower().endswith(PICTURES)]
    flat = [name for name in own if "/" not in name]
    classes = sorted({*found.tops, *(name.partition("/")[0] for name in own if "/" in name)})
    if not classes:
        if not flat:
            raise ValueError(
                f"{root} has no subfolders and no pictures ({', '.join(PICTURES)}); it needs a "
                "subfolder per class, with pictures in it, or pictures without classes"
                f"{_said(unread)}"
            )
        return Listing(root, (), tuple((name, 0) for name in flat), tuple(others), unread)
    by_class: dict[str, list[str]] = {name: [] for name in classes}
    for name in own:
        if "/" in name:
            by_class[name.partition("/")[0]].append(name)
    for name, files in by_class.items():
        if not files and not empty:
            within = [said for said in unread if said.startswith(f"{name}/")]
            raise ValueError(
                f"{root / name} is taken for a class and holds no picture "
                f"({', '.join(PICTURES)}); remove it, or give the folder of the classes"
                f"{_said(within)}"
            )
    labelled = [(file, i) for i, name in enumerate(classes) for file in by_class[name]]
    return Listing(root, tuple(classes), tuple(labelled), (*flat, *others), unread)


def _said(unread: Sequence[str]) -> str:
    """What is not read, as the rest of a sentence."""
    return f"; not read: {named(unread)}" if unread else ""


class _Walk:
    """The files of a folder: its own, then those that links inside it lead to and that are not
    listed yet; a link that leads out of it is not followed.

    files   names relative to the folder, by folder, then by name, as torchvision's ImageFolder.
    tops    its own subfolders.
    unread  what is neither file nor folder, and links that lead out of it or nowhere.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._home = root, os.path.realpath(root)
        self.files: list[str] = []
        self.tops: list[str] = []
        self.unread: list[str] = []
        self._links: list[str] = []
        self._walked: set[str] = set()  # folders, relative to the root
        self._walk("", "", set())
        self.tops = [name for name in self._walked if name and "/" not in name]
        listed = set(self.files) if self._links else set()
        while self._links:
            links, self._links = sorted(self._links), []
            for link in links:
                self._follow(link, listed)
        self.files.sort(key=posixpath.split)
        self.unread.sort()

    def _walk(self, folder: str, called: str, listed: set[str]) -> None:
        """Gather what lies in a folder, which is called so, and in those below, but for files that
        are listed.
        """
        folders = [(folder, called)]
        while folders:
            here, name = folders.pop()
            if here in self._walked:
                continue
            self._walked.add(here)
            for entry in digests.visible(self._root / here):
                if entry.name.lower() in LEFT_BY_SYSTEMS:
                    continue
                place = f"{here}/{entry.name}" if here else entry.name
                own = f"{name}/{entry.name}" if name else entry.name
                if entry.is_symlink():
                    self._links.append(own)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append((place, own))
                elif not entry.is_file(follow_symlinks=False):
                    self.unread.append(f"{own} ({kind_of(entry.path)})")
                elif place not in listed:
                    self.files.append(own)

    def _follow(self, link: str, listed: set[str]) -> None:
        """Add what a link leads to; listed: files that are there already, by their own names."""
        target = os.path.realpath(self._root / link)
        place = "" if target == self._home else target.removeprefix(self._home + os.sep)
        if not os.path.exists(target):
            self.unread.append(f"{link} (a link to nothing)")
        elif place == target:
            self.unread.append(f"{link} (a link out of the folder)")
        elif os.path.isdir(target):
            self._walk(place, link, listed)
        elif not os.path.isfile(target):
            self.unread.append(f"{link} (a link to {kind_of(target)})")
        elif place not in listed:
            listed.add(place)
            self.files.append(link)


# ---- IDX (MNIST) ---------------------------------------------------------------------------------


def idx_labels(path: Path) -> np.ndarray:
    """The labels of an IDX file, uint8 [n]; ValueError when it holds something else."""
    content = path.read_bytes()
    if len(content) < 8 or struct.unpack(">ii", content[:8]) != (2049, len(content) - 8):
        raise ValueError(f"{path} is not a whole IDX file of labels")
    return np.frombuffer(content, np.uint8, offset=8)


def check_idx_pictures(path: Path, n: int) -> None:
    """ValueError where an IDX file is not n whole pictures of 28 x 28, by its header and size."""
    with open(path, "rb") as file:
        header = file.read(16)
    if header != struct.pack(">iiii", 2051, n, 28, 28) or path.stat().st_size != 16 + n * 784:
        raise ValueError(f"{path} is not a whole IDX file of {n:,} pictures of 28 x 28")


# ---- both ----------------------------------------------------------------------------------------


def split_of(
    name: str, counts: np.ndarray, classes: tuple[str, ...], train: int, why: str
) -> Contents:
    """What `stratified_split` gives of these counts, by class ([classes], or [1] without classes),
    with `train` rows to train on.
    """
    total = int(counts.sum())
    split = Contents(name, train, total - train, why, classes=classes)
    if not classes or not total:
        return split
    first = proportional_counts(counts, train)
    per_class, apart = (tuple(map(int, own)) for own in (first, counts - first))
    return replace(split, per_class=per_class, apart=apart)
