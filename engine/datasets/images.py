"""Your own pictures: a folder with one subfolder per class, or of pictures without classes, or an
npz of `images` and `labels`.

Pictures are read as viewers show them: turned as their EXIF orientation says, transparent pixels on
white, of 16 bits the upper 8, palettes and CMYK as colour; floating-point and 32-bit pixels have no
agreed black and white and are refused by file.  Where all are grey they have one channel, else all
have three.  They are cut to a central square of `size` pixels; a fixed stratified share is held
out.

What there is of which class is told before any picture is decoded.  Hidden names
and what systems leave in folders (.DS_Store, ._x.png, __MACOSX, Thumbs.db, desktop.ini) are none;
other files are left out, and a plan says which.  Links inside the folder are followed, and what
they lead to counts once; a link out of it, a pipe or a device is not read, and named.  Pictures of
which a copy is held out, and classes called train and test, are told.

An npz holds `images`, uint8 [n, h, w] or [n, h, w, c] of 1, 3 or 4 channels (grey, colour, colour
and opacity), and `labels` [n], whole numbers or texts; anything else is refused with its shape and
type.  Each class needs a picture to train on and one to hold out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine import _digests as digests
from engine._cache import Kept
from engine.contents import Contents, Lack
from engine.datasets._arrays import header_of, is_npz, pictures_of, row_digests
from engine.datasets._finite import OwnSet, n_train, split_rows, stratified_split, thumbnail
from engine.datasets._listing import Listing, list_folder, split_of
from engine.datasets._pictures import opened
from engine.datasets._torchvision import kept, thumbnails
from engine.parts import Fraction, OnDisk, PositiveInt
from engine.samples import Samples

if TYPE_CHECKING:
    from PIL import Image

WANTED = (
    "path is a folder with one subfolder per class, a folder of pictures, or an .npz file with "
    "`images` (uint8 [n, h, w] or [n, h, w, c]) and, if there are any, `labels`; it lies below the "
    "data root (OUROBOROS_DATA, or the parameter root) or is absolute"
)


class Images(OwnSet):
    """uint8 [n, size, size, 1 or 3]; labels 0.. in the order of the names of the folders (npz: of
    the label values).

    path               a folder with one subfolder per class, or an .npz file with `images` and, if
                       there are any, `labels`; below the data root, or absolute. ~ and $VARIABLES
                       are filled in.
    size               pixels along a side: the shorter side of a picture is reduced to it, the rest
                       cut off.
    held_out_fraction  share of the pictures of each class that no model is trained on, strictly
                       between 0 and 1: what metrics compare with.
    """

    GIVES = "images"
    CLASSES: int | None = None  # `contents` counts the folders; an object that has read them knows
    FINITE = True
    TINY = {"path": "flowers5", "size": 8}
    REVISION = 2  # 1 clipped 16 bits, dropped opacity and orientation, and saw grey as colour

    def __init__(
        self,
        *,
        path: OnDisk,
        size: PositiveInt = 32,
        held_out_fraction: Fraction = 0.2,
        root: str | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__(path, held_out_fraction, root=root, balanced=balanced)
        self.size = size

    def contents(self) -> Contents | Lack:
        """ValueError for files that hold something else."""
        place = self.place
        try:
            if not place.exists():
                return Lack(f"pictures {self.path}", str(place), WANTED)
            found = self._of_npz(place) if is_npz(place) else self._of_folder(place)
        except OSError as error:  # a folder that may not be read
            raise ValueError(f"{place} cannot be read: {error}") from None
        own = f"{found.content}-{self.size}-{self.held_out_fraction!r}"
        return replace(found, fingerprint=own, balanced=self.balanced)

    def _of_npz(self, path: Path) -> Contents:
        """What an npz holds, and how it is split."""
        content, header = digests.of_file(path), header_of(path)
        total, labels = header.shape[0], header.labels
        classes = () if labels is None else labels.classes
        counts = np.array([total]) if labels is None else labels.counts
        y = None if labels is None else labels.y
        found = split_of(str(self.path), counts, classes, self.n_train(total), self.why(total))
        return replace(
            found,
            shape=(self.size, self.size, header.shape[3]),
            copies=copies(_rows(path, content), y, found.train),
            content=content,
        )

    def _of_folder(self, path: Path) -> Contents:
        """What a folder holds, and how it is split."""
        if not path.is_dir():
            raise ValueError(f"{path} is neither a folder nor an .npz file; {WANTED}")
        listing = list_folder(path)
        total = len(listing.names)
        train, why = self.n_train(total), self.why(total)
        found = split_of(str(self.path), listing.counts, listing.classes, train, why)
        return replace(
            found,
            shape=(self.size, self.size, listing.channels),
            left_out=listing.left_out,
            unread=listing.unread,
            copies=copies(listing.digests, listing.y if listing.classes else None, train),
            content=listing.content,
        )

    def read(self) -> tuple[Samples, Samples]:
        found = self.readable()
        train, held_out = read_images(self.place, self.size, self.held_out_fraction, found.content)
        self.CLASSES = 0 if train.y is None else int(train.y.max()) + 1
        return train, held_out


def copies(digests_of: Sequence[bytes], y: np.ndarray | None, train: int) -> int:
    """Pictures held out that have the same digest as one to train on."""
    if len(set(digests_of)) == len(digests_of):
        return 0
    rows, held_out = split_rows(len(digests_of), y, train)
    seen = {digests_of[row] for row in rows}
    return sum(digests_of[row] in seen for row in held_out)


def _rows(path: Path, content: str) -> list[bytes]:
    """A digest of each picture of an npz, made once for what it holds."""
    cached = Kept(f"images/{content}.rows", "digests of rows, uint64 [n]")
    known = cached.read()
    if known is None:
        known = row_digests(path).tobytes()
        cached.write(known)
    return [known[i : i + 8] for i in range(0, len(known), 8)]


@lru_cache(maxsize=2)
def read_images(
    path: Path, size: int, held_out_fraction: float, content: str
) -> tuple[Samples, Samples]:
    """Both parts; content: the digest of the files, by which decoded pictures are found again."""
    x, y = _from_npz(path, size) if is_npz(path) else _from_folder(path, size, content)
    return stratified_split(x, y, n_train(len(x), held_out_fraction))


# ---- a folder ------------------------------------------------------------------------------------


def _from_folder(path: Path, size: int, content: str) -> tuple[np.ndarray, np.ndarray | None]:
    listing = list_folder(path)
    name = f"{content}-{Images.REVISION}-{size}"
    x, y = kept(name, lambda: thumbnails(_pictures(listing), size))
    return x, y if listing.classes else None


def _pictures(listing: Listing) -> Iterator[tuple[Image.Image, int]]:
    """Every picture, with its label; all of them grey, or all in colour."""
    mode = "L" if listing.channels == 1 else "RGB"
    for file, label in listing.pictures:
        picture = opened(file)
        yield picture if picture.mode == mode else picture.convert(mode), label


# ---- an npz --------------------------------------------------------------------------------------


def _from_npz(path: Path, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    from PIL import Image

    header, images = header_of(path), pictures_of(path)
    flat = images[..., 0] if images.shape[3] == 1 else images
    x = np.stack([thumbnail(Image.fromarray(image), size) for image in flat])
    return x, None if header.labels is None else header.labels.y
