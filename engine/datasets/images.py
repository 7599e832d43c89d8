"""Your own pictures: a folder with one subfolder per class, or of pictures without classes, or an
npz of `images` and `labels`.

Pictures are cut to a central square of `size` pixels; a fixed stratified share is held out.  What
there is of which class is told from names and headers, before any pixel is read.  Hidden files and
folders are none; files that are no pictures are left out, which a plan says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine import _digests as digests
from engine.contents import Contents, Lack
from engine.datasets._finite import FiniteSet, n_train, stratified_split, thumbnail
from engine.datasets._listing import (
    Listing,
    list_folder,
    npz_array,
    npz_keys,
    npz_labels,
    split_of,
)
from engine.datasets._torchvision import kept, thumbnails
from engine.files import data_root
from engine.parts import Fraction, OnDisk, PositiveInt
from engine.samples import Samples

if TYPE_CHECKING:
    from PIL import Image

MOST_CHANNELS = 4  # red, green, blue and opacity
WANTED = (
    "path is a folder with one subfolder per class, a folder of pictures, or an .npz file with "
    "`images` (uint8 [n, h, w] or [n, h, w, c]) and, if there are any, `labels`; it lies below the "
    "data root (OUROBOROS_DATA, or the parameter root) or is absolute"
)


class Images(FiniteSet):
    """uint8 [n, size, size, channels]; labels 0.. in the order of the names of the folders (npz: of
    the label values).

    path               a folder with one subfolder per class, or an .npz file with `images` and, if
                       there are any, `labels`; below the data root, or absolute.
    size               pixels along a side: the shorter side of a picture is reduced to it, the rest
                       cut off.
    held_out_fraction  share of the pictures of each class that no model is trained on, strictly
                       between 0 and 1: what metrics compare with.
    """

    GIVES = "images"
    CLASSES: int | None = None  # `contents` counts the folders; an object that has read them knows
    FINITE = True
    TINY = {"path": "flowers5", "size": 8}

    def __init__(
        self,
        *,
        path: OnDisk,
        size: PositiveInt = 32,
        held_out_fraction: Fraction = 0.2,
        root: str | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__(balanced=balanced)
        if not 0 < held_out_fraction < 1:
            raise ValueError(
                f"held_out_fraction must lie strictly between 0 and 1, got {held_out_fraction}"
            )
        self.path, self.size, self.held_out_fraction, self.root = (
            path,
            size,
            held_out_fraction,
            root,
        )

    @property
    def place(self) -> Path:
        """Where the pictures lie."""
        return data_root(self.root) / self.path

    def contents(self) -> Contents | Lack:
        """ValueError for files that hold something else."""
        if not self.place.exists():
            return Lack(f"pictures {self.path}", str(self.place), WANTED)
        found = look(self.place, self.path, self.size, self.held_out_fraction)
        return replace(found, balanced=self.balanced)

    def read(self) -> tuple[Samples, Samples]:
        found = self.contents()
        if isinstance(found, Lack):
            raise FileNotFoundError(f"no pictures at {found.where}: {found.fix}")
        if problem := found.split_refusal():
            raise ValueError(problem)
        how = self.size, self.held_out_fraction, found.content
        train, held_out = read_images(self.place, *how)
        self.CLASSES = 0 if train.y is None else int(train.y.max()) + 1
        return train, held_out


def look(path: Path, name: str, size: int, held_out_fraction: float) -> Contents:
    """What there is, and how it is split."""
    if path.suffix == ".npz":
        shape, classes, counts = _npz_header(path, size)
        left_out: tuple[str, ...] = ()
        content = digests.of_file(path)
    else:
        listing = list_folder(path)
        shape, classes, counts = (size, size, 3), listing.classes, listing.counts
        left_out, content = listing.left_out, listing.content
    total = int(counts.sum())
    why = f"held_out_fraction {held_out_fraction:g} of {total:,}"
    found = split_of(name, counts, classes, n_train(total, held_out_fraction), why)
    own = f"{content}-{size}-{held_out_fraction!r}"
    return replace(found, shape=shape, left_out=left_out, fingerprint=own, content=content)


@lru_cache(maxsize=2)
def read_images(
    path: Path, size: int, held_out_fraction: float, content: str
) -> tuple[Samples, Samples]:
    """Both parts; content: the digest of the files, by which decoded pictures are found again."""
    x, y = _from_npz(path, size) if path.suffix == ".npz" else _from_folder(path, size, content)
    return stratified_split(x, y, n_train(len(x), held_out_fraction))


# ---- a folder ------------------------------------------------------------------------------------


def _from_folder(path: Path, size: int, content: str) -> tuple[np.ndarray, np.ndarray | None]:
    listing = list_folder(path)
    x, y = kept(f"{content}-{size}", lambda: thumbnails(_pictures(listing), size))
    return x, y if listing.classes else None


def _pictures(listing: Listing) -> Iterator[tuple[Image.Image, int]]:
    """Every picture in colour, with its label."""
    from PIL import Image

    for file, label in listing.pictures:
        with Image.open(file) as picture:
            yield picture.convert("RGB"), label


# ---- an npz --------------------------------------------------------------------------------------


def _npz_header(path: Path, size: int) -> tuple[tuple[int, ...], tuple[str, ...], np.ndarray]:
    """Shape of a picture, names of the classes, and pictures of each ([1] without labels);
    ValueError for an npz of something else.
    """
    keys = npz_keys(path)
    if "images" not in keys:
        raise ValueError(
            f"{path} holds {', '.join(keys)}; it needs `images` and, if there are any, `labels`"
        )
    shape, dtype = npz_array(path, "images")
    if dtype != np.uint8:
        raise ValueError(f"`images` of {path} must be uint8, got {dtype}")
    channels = shape[3] if len(shape) == 4 else 1
    if len(shape) not in (3, 4) or not 1 <= channels <= MOST_CHANNELS:
        asked = f"[n, h, w] or [n, h, w, c] with 1 to {MOST_CHANNELS} channels"
        raise ValueError(f"`images` of {path} must be {asked}, got {list(shape)}")
    if "labels" not in keys:
        return (size, size, channels), (), np.array(shape[:1])
    classes, counts = npz_labels(path, "labels")
    if counts.sum() != shape[0]:
        raise ValueError(f"{path} holds {shape[0]:,} images and {counts.sum():,} labels")
    return (size, size, channels), classes, counts


def _from_npz(path: Path, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    from PIL import Image

    with np.load(path, allow_pickle=False) as file:
        images, labels = file["images"], file.get("labels")
    x = np.stack([thumbnail(Image.fromarray(image.squeeze()), size) for image in images])
    y = None if labels is None else np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return x[..., None] if x.ndim == 3 else x, y
