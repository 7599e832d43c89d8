"""Arrays of pictures: an npz of `images` and, if there are any, `labels`, checked by its headers
and labels before the first pixel is used.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

CHANNELS = (1, 3, 4)  # grey, colour, colour and opacity
IMAGES = "uint8 [n, h, w], or [n, h, w, c] of 1 (grey), 3 (colour) or 4 (and opacity) channels"
LABELS = "[n] whole numbers or texts"
# what numpy and zipfile raise for a file that is cut off, or of something else
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of an npz.

    y        int64 [n], places in `classes`.
    classes  the values, as text, in their order.
    """

    y: np.ndarray
    classes: tuple[str, ...]

    @property
    def counts(self) -> np.ndarray:
        """Pictures of each class, [classes]."""
        return np.bincount(self.y, minlength=len(self.classes))


@dataclass(frozen=True, eq=False)
class Header:
    """What an npz says of its pictures: their shape [n, h, w, c], c 1 or 3, as they are read."""

    shape: tuple[int, ...]
    labels: Labels | None


def is_npz(path: Path) -> bool:
    """Whether a file is one by its name, in small or capital letters."""
    return path.suffix.lower() == ".npz"


def keys_of(path: Path) -> list[str]:
    """Names of the arrays of an npz; ValueError with its path when it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no npz: {error}") from None


def require(path: Path, key: str) -> None:
    """ValueError for an npz without this array."""
    if key not in (there := keys_of(path)):
        beside = " and, if there are any, `labels`" if key == "images" else ""
        raise ValueError(
            f"{path} holds {', '.join(there) or 'nothing'}; it needs `{key}`{beside}: "
            f"np.savez('{path.name}', {key}=...)"
        )


def header_of(path: Path) -> Header:
    """Shape and labels of an npz of pictures; ValueError with path, key, shape and type of what is
    something else, and what it should be.
    """
    require(path, "images")
    shape, dtype = _header(path, "images")
    if dtype != np.uint8 or len(shape) not in (3, 4) or (shape[3:] and shape[3] not in CHANNELS):
        raise ValueError(
            f"`images` of {path} must be {IMAGES}, got {dtype} {list(shape)}{_mend(shape, dtype)}"
        )
    if 0 in shape:
        raise ValueError(f"`images` of {path} holds no pixels: {dtype} {list(shape)}")
    channels = 1 if len(shape) == 3 or shape[3] == 1 else 3
    labels = labels_of(path, shape[0]) if "labels" in keys_of(path) else None
    return Header((*shape[:3], channels), labels)


def _mend(shape: tuple[int, ...], dtype: np.dtype) -> str:
    """What would make the array one of pictures, as the rest of a sentence."""
    if dtype != np.uint8:
        if dtype.kind == "f":
            return "; of 0 to 1: (255 * images).round().astype('uint8')"
        if dtype == np.uint16:
            return "; of 16 bits: (images >> 8).astype('uint8')"
        return "; of 0 to 255: images.astype('uint8')" if dtype.kind in "iub" else ""
    if len(shape) == 4 and shape[1] in CHANNELS:
        return "; channels stand last: images.transpose(0, 2, 3, 1)"
    if len(shape) == 2 and (side := round(shape[1] ** 0.5)) ** 2 == shape[1]:
        return f"; of {side} x {side} pixels: images.reshape(-1, {side}, {side})"
    if len(shape) == 4 and shape[3] == 2:
        return "; grey with opacity: leave the second channel out"
    return ""


def labels_of(path: Path, n: int) -> Labels:
    """The labels of an npz of n samples; ValueError as for `header_of`.

    [n, 1] are n labels, as Keras keeps them.
    """
    shape, dtype = _header(path, "labels")
    if dtype.kind not in "biuU" or shape not in ((n,), (n, 1)):
        mend = "; if they are whole: labels.astype('int64')" if dtype.kind == "f" else ""
        if dtype.kind not in "biufU":
            mend = "; texts: labels.astype(str)"
        if len(shape) == 2 and shape[1] > 1:
            mend = "; one of several columns each: labels.argmax(1)"
        raise ValueError(
            f"`labels` of {path} must be {LABELS}, one for each of its {n:,}, got {dtype} "
            f"{list(shape)}{mend}"
        )
    values, y = np.unique(_array(path, "labels").reshape(-1), return_inverse=True)
    return Labels(y.astype(np.int64), tuple(map(str, values)))


def pictures_of(path: Path) -> np.ndarray:
    """The pixels of an npz that has such a header, uint8 [n, h, w, 1 or 3]: what is transparent is
    white.
    """
    images = _array(path, "images")
    images = images[..., None] if images.ndim == 3 else images
    if images.shape[3] != 4:
        return images
    from PIL import Image

    from engine.datasets._pictures import shown

    return np.stack([np.asarray(shown(Image.fromarray(image))) for image in images])


def row_digests(path: Path) -> np.ndarray:
    """A digest of each row's pixels, uint64 [n]; ValueError with the path where they are damaged.

    The rows are read one by one, those of an array in Fortran's order all at once.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open("images.npy") as member:
            shape, dtype, fortran = _read_header(member)
            if fortran:
                rows = np.ascontiguousarray(
                    np.frombuffer(member.read(), dtype).reshape(shape[::-1]).T
                )
                found = [_digest(row.tobytes()) for row in rows]
            else:
                size = math.prod(shape[1:]) * dtype.itemsize
                found = [_digest(member.read(size)) for _ in range(shape[0])]
                member.read(1)  # to the end, where the archive's own sum is compared
    except DAMAGE as error:
        raise ValueError(f"`images` of {path} cannot be read: {error}") from None
    return np.frombuffer(b"".join(found), np.uint64)


def _digest(row: bytes) -> bytes:
    return hashlib.blake2b(row, digest_size=8).digest()


def array_of(path: Path, key: str) -> np.ndarray:
    """An array of an npz; ValueError with the path where there is none."""
    require(path, key)
    return _array(path, key)


def counts_of(path: Path, key: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and counts of the values of an array, in their order."""
    values, counts = np.unique(_array(path, key), return_counts=True)
    return tuple(map(str, values)), counts


# ---- reading -------------------------------------------------------------------------------------


def _array(path: Path, key: str) -> np.ndarray:
    """One array; ValueError with the path where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            values: np.ndarray = file[key]
            return values
    except DAMAGE as error:
        raise ValueError(f"`{key}` of {path} cannot be read: {error}") from None


def _header(path: Path, key: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, without its values; ValueError where it has not as many."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
            shape, dtype, _ = _read_header(member)
            there = archive.getinfo(f"{key}.npy").file_size - member.tell()
    except DAMAGE as error:
        raise ValueError(f"`{key}` of {path} cannot be read: {error}") from None
    said = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and (there != said or min(shape, default=0) < 0):
        raise ValueError(
            f"`{key}` of {path} says that it is {dtype} {list(shape)}, of {said:,} bytes, and "
            f"holds {there:,}; write the file again"
        )
    return shape, dtype


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Shape, type, and whether the values stand in Fortran's order."""
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(member)
    return shape, dtype, fortran
