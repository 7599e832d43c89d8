"""Pictures as viewers show them: a file of any depth and kind becomes 8 bits of grey (L) or colour
(RGB), or is refused by name.

Turned as its EXIF orientation says; what lies behind transparent pixels is white; of 16 bits the
upper 8 count; of several frames or pages the first.  Colour profiles are not applied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from engine.files import open_regular

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112  # EXIF's tag
Turn = Callable[["Image.Image"], "Image.Image"]


def opened(file: Path) -> Image.Image:
    """A picture of a file, decoded, in mode L or RGB; ValueError with its path and why it has none.

    A pipe or a device is not opened.
    """
    return _read(file, upright)


def whole(file: Path) -> Image.Image:
    """The same in the mode that it has, with its opacity."""
    return _read(file, _same)


def _read(file: Path, turn: Turn) -> Image.Image:
    from PIL import Image  # a plan reads no picture

    try:
        if not file.is_file():
            raise ValueError("it is no file")
        with Image.open(file) as picture:
            return turn(picture)
    except MemoryError:
        raise
    except Exception as error:  # each format has its own for a file that is cut off
        raise ValueError(f"{file} cannot be read as a picture: {error}") from None


def upright(picture: Image.Image) -> Image.Image:
    """A picture that was opened, decoded, in mode L or RGB, turned as its EXIF orientation says."""
    from PIL import ImageOps

    if picture.getexif().get(ORIENTATION, 1) == 1:
        return shown(picture, picture.format)
    return shown(ImageOps.exif_transpose(picture), picture.format)


def shown(picture: Image.Image, form: str | None = None) -> Image.Image:
    """The same picture, of a file of this format, in mode L or RGB; ValueError for a mode that has
    no such form.
    """
    turn = TURNS.get(picture.mode)
    if turn is None or (picture.mode == "I" and form not in SIXTEEN_BITS):
        raise ValueError(
            f"its pixels are of the kind {picture.mode!r} ({KINDS.get(picture.mode, 'of PIL')}), "
            "which has no agreed black and white; save it with 8 or 16 bits"
        )
    if picture.mode in ("1", "L", "P", "RGB") and "transparency" in picture.info:
        return _on_white(picture)
    return turn(picture)


def in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """An L or RGB picture in mode L or RGB; grey ones that were saved in colour are grey again, and
    coloured ones stay RGB.
    """
    if mode == "RGB" or picture.mode == "L":
        return picture.convert(mode)
    red, green, blue = (np.asarray(channel) for channel in picture.split())
    same = np.array_equal(red, green) and np.array_equal(red, blue)
    return picture.getchannel(0) if same else picture


# ---- the modes -----------------------------------------------------------------------------------


def _same(picture: Image.Image) -> Image.Image:
    picture.load()
    return picture


def _grey(picture: Image.Image) -> Image.Image:
    return picture.convert("L")


def _colour(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    """What shows where a white sheet lies behind it."""
    from PIL import Image

    clear = picture.convert("RGBA")
    sheet = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(sheet, clear).convert("L" if picture.mode in GREY else "RGB")


def _upper_bits(picture: Image.Image) -> Image.Image:
    """Of 16 bits the upper 8, as a PNG reader without 16 bits sees them."""
    from PIL import Image

    if "transparency" in picture.info:
        raise ValueError("one of its 16-bit greys stands for transparent; save it with 8 bits")
    values = np.clip(np.asarray(picture), 0, 65535)
    return Image.fromarray((values >> 8).astype(np.uint8))


TURNS: Mapping[str, Turn] = {  # PIL's modes, and how each becomes L or RGB
    "L": _same,
    "RGB": _same,
    "1": _grey,
    "P": _colour,
    "RGBX": _colour,
    "CMYK": _colour,
    "YCbCr": _colour,
    "LA": _on_white,
    "PA": _on_white,
    "RGBA": _on_white,
    "I;16": _upper_bits,
    "I;16B": _upper_bits,
    "I;16L": _upper_bits,
    "I;16N": _upper_bits,
    "I": _upper_bits,
}
SIXTEEN_BITS = ("PNG", "PPM")  # whose mode I holds 0 to 65535
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")  # become L
KINDS = {"F": "floating-point numbers", "I": "32-bit whole numbers"}


# ---- grey or colour, told from headers -----------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n"
ANYMAPS = {b"P1": True, b"P2": True, b"P3": False, b"P4": True, b"P5": True, b"P6": False}
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a JPEG before its size


def is_grey(file: str | Path) -> bool:
    """Whether `opened` would give mode L, from the first bytes; ValueError with the path of a file
    that is no picture.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        head = os.read(descriptor, 26)
    finally:
        os.close(descriptor)
    if head.startswith(PNG) and len(head) == 26:
        return head[25] in (0, 4)  # its colour type: grey without and with opacity
    if head.startswith(b"\xff\xd8"):
        with open_regular(Path(file), follow=True) as jpeg:
            jpeg.seek(2)
            return _components(jpeg) == 1
    if head[:2] in ANYMAPS:
        return ANYMAPS[head[:2]]
    from PIL import Image

    try:
        with Image.open(file) as picture:
            return picture.mode in GREY
    except Exception as error:
        raise ValueError(f"{file} cannot be read as a picture: {error}") from None


def _components(jpeg: BinaryIO) -> int:
    """How many colours a JPEG has, from its frame header; 0 where it has none."""
    while jpeg.read(1) == b"\xff":
        marker = jpeg.read(1)
        while marker == b"\xff":  # any number of them may stand before a marker
            marker = jpeg.read(1)
        size = int.from_bytes(jpeg.read(2), "big")
        if marker and marker[0] in FRAMES:
            return (jpeg.read(6) or b"\0")[-1]
        jpeg.seek(max(size - 2, 0), os.SEEK_CUR)
    return 0
