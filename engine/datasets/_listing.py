"""What files of pictures hold, told from names, sizes and headers: no pixel is read and nothing
heavy imported, so that a plan can ask.
"""

from __future__ import annotations

import hashlib
import posixpath
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from engine import _digests as digests
from engine._digests import leads_on, visible, visible_files
from engine.contents import Contents
from engine.samples import proportional_counts

PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


# ---- a folder with one subfolder per class -------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder in the order in which they are read.

    classes   names of the subfolders, sorted; a label is a place in them; (): there are none, and
              the pictures, which lie in the folder itself, have no labels.
    names     (name relative to the folder, label), class by class, sorted within a class.
    left_out  other files, relative to the folder; hidden ones are not counted.
    """

    root: Path
    classes: tuple[str, ...]
    names: tuple[tuple[str, int], ...]
    left_out: tuple[str, ...]

    @property
    def pictures(self) -> Iterator[tuple[Path, int]]:
        """(file, label), in the order in which they are read."""
        return ((self.root / name, label) for name, label in self.names)

    @property
    def counts(self) -> np.ndarray:
        """Pictures of each class, [classes]."""
        return np.bincount([label for _, label in self.names], minlength=len(self.classes))

    @cached_property
    def content(self) -> str:
        """The digest of the pictures' names and bytes."""
        return digests.of_files(self.root, [name for name, _ in self.names])


def list_folder(root: Path) -> Listing:
    """The pictures below one subfolder per class, or those of a folder without subfolders;
    ValueError where there are none.

    Links are followed, but not to the folder itself, into it or out of it upwards: their pictures
    would be read again under another class.
    """
    top = sorted(visible(root), key=lambda entry: entry.name)
    classes = [entry.name for entry in top if entry.is_dir() and leads_on(entry, root)]
    left_out = [entry.name for entry in top if entry.is_file()]
    pictures: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        before = len(pictures)
        for file in _files(root, name):
            if file.lower().endswith(PICTURES):
                pictures.append((file, label))
            else:
                left_out.append(file)
        if len(pictures) == before:
            raise ValueError(
                f"{root / name} is taken for a class and holds no picture "
                f"({', '.join(PICTURES)}); remove it, or give the folder of the classes"
            )
    if not classes:
        flat = [name for name in left_out if name.lower().endswith(PICTURES)]
        if not flat:
            raise ValueError(
                f"{root} has no subfolders and no pictures; it needs a subfolder per class, with "
                "pictures in it, or pictures without classes"
            )
        others = tuple(name for name in left_out if not name.lower().endswith(PICTURES))
        return Listing(root, (), tuple((name, 0) for name in flat), others)
    return Listing(root, tuple(classes), tuple(pictures), tuple(left_out))


def _files(root: Path, below: str) -> list[str]:
    """All files below a class's folder as torchvision's ImageFolder orders them: by folder, then by
    name.
    """
    return sorted(visible_files(root, below), key=lambda name: posixpath.split(name))


# ---- an npz --------------------------------------------------------------------------------------


def npz_array(path: Path, key: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array of an npz, from its header; KeyError when it is not there."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    return shape, dtype


def npz_keys(path: Path) -> list[str]:
    """Names of the arrays of an npz; ValueError with its path when it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no npz: {error}") from None


def npz_labels(path: Path, key: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and counts of the labels of an npz, in their order."""
    with np.load(path, allow_pickle=False) as file:
        values, counts = np.unique(file[key], return_counts=True)
    return tuple(map(str, values)), counts


# ---- IDX (MNIST) ---------------------------------------------------------------------------------


def idx_labels(path: Path) -> np.ndarray:
    """The labels of an IDX file, uint8 [n]; ValueError when it holds something else."""
    content = path.read_bytes()
    if len(content) < 8 or struct.unpack(">ii", content[:8]) != (2049, len(content) - 8):
        raise ValueError(f"{path} is not a whole IDX file of labels")
    return np.frombuffer(content, np.uint8, offset=8)


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
    lost = [kind for kind, n in zip(classes, first, strict=True) if not n]
    return replace(split, per_class=tuple(map(int, first)), lost=tuple(lost))


def fingerprint(paths: Iterable[Path]) -> str:
    """Changes when one of these files is written anew."""
    seen = []
    for path in paths:
        stat = path.stat()
        seen.append((str(path.resolve()), stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]
