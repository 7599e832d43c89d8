"""Pictures are read as viewers show them, or refused by name, as arrays of another shape are."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.datasets._arrays import header_of, labels_of, pictures_of
from engine.datasets._pictures import in_mode, is_grey, opened

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


def saved(folder: Path, picture: Image.Image, ending: str, **how: object) -> Path:
    path = folder / f"x.{ending}"
    picture.save(path, **how)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_of_16_bits_the_upper_8_count(ending: str, tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP * 256 + 17), ending)
    found = opened(path)
    assert found.mode == "L" and is_grey(path)
    assert np.array_equal(np.asarray(found), RAMP.astype(np.uint8))


def hidden_colour(mode: str) -> Image.Image:
    """A picture whose left half is transparent and hides something."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 4)).astype(np.uint8)
    pixels[:, :4, 3], pixels[:, 4:, 3] = 0, 255
    if mode == "RGBA":
        return Image.fromarray(pixels)
    return Image.fromarray(np.ascontiguousarray(pixels[..., [0, 3]]))


@pytest.mark.parametrize(("mode", "becomes"), [("RGBA", "RGB"), ("LA", "L")])
def test_transparent_pixels_are_white(mode: str, becomes: str, tmp_path: Path) -> None:
    given = hidden_colour(mode)
    found = opened(saved(tmp_path, given, "png"))
    assert found.mode == becomes and (np.asarray(found)[:, :4] == 255).all()
    kept = np.asarray(given)[:, 4:, :-1].reshape(8, 4, -1)
    assert np.array_equal(np.asarray(found)[:, 4:].reshape(8, 4, -1), kept)


def test_half_transparent_black_on_white_is_grey(tmp_path: Path) -> None:
    found = opened(saved(tmp_path, Image.new("LA", (4, 4), (0, 128)), "png"))
    assert set(np.asarray(found).ravel()) == {127}


@pytest.mark.parametrize(("mode", "clear"), [("P", 5), ("L", 5), ("RGB", (5, 5, 5))])
def test_a_value_that_stands_for_transparent_is_white(
    mode: str, clear: object, tmp_path: Path
) -> None:
    picture = Image.new(mode, (4, 4), 5 if mode != "RGB" else (5, 5, 5))
    if mode == "P":
        picture.putpalette(list(range(256)) * 3)
    found = opened(saved(tmp_path, picture, "png", transparency=clear))
    assert (np.asarray(found) == 255).all() and found.mode == ("L" if mode == "L" else "RGB")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "tif", "png"])
def test_a_picture_is_turned_as_its_orientation_says(
    ending: str, orientation: int, tmp_path: Path
) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :16] = 255  # white at the upper left as it is stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = opened(saved(tmp_path, Image.fromarray(pixels), ending, exif=exif))
    assert found.size == ((32, 16) if orientation < 5 else (16, 32))
    corner = {
        1: (0, 0),
        2: (0, 1),
        3: (1, 1),
        4: (1, 0),
        5: (0, 0),
        6: (0, 1),
        7: (1, 1),
        8: (1, 0),
    }
    down, right = corner[orientation]
    h, w = (16, 32) if orientation < 5 else (32, 16)
    part = np.asarray(found)[down * h // 2 :, right * w // 2 :][: h // 2, : w // 2]
    assert part.mean() > 240 and np.asarray(found).mean() < 80


def test_a_16_bit_picture_is_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    found = opened(saved(tmp_path, Image.fromarray(RAMP * 256), "tif", exif=exif))
    assert np.array_equal(np.asarray(found), RAMP[::-1, ::-1].astype(np.uint8))


def test_plain_pictures_are_read_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for shape in ((8, 8), (8, 8, 3)):
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        path = saved(tmp_path, Image.fromarray(pixels), "png")
        assert np.array_equal(np.asarray(opened(path)), pixels)
        assert is_grey(path) == (pixels.ndim == 2)


def test_a_grey_jpeg_with_bytes_before_its_markers_is_grey(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("L", (8, 8), 90), "jpg")
    whole = path.read_bytes()
    for marker in (b"\xff\xdb", b"\xff\xc0"):
        path.write_bytes(whole.replace(marker, b"\xff\xff" + marker, 1))
        assert opened(path).mode == "L" and is_grey(path)
    path.write_bytes(whole[:2] + b"\xff")
    assert not is_grey(path)


def test_other_kinds_become_grey_or_colour(tmp_path: Path) -> None:
    one = opened(saved(tmp_path, Image.new("1", (4, 4), 1), "png"))
    assert one.mode == "L" and (np.asarray(one) == 255).all()
    cmyk = opened(saved(tmp_path, Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "jpg"))
    assert cmyk.mode == "RGB" and (np.asarray(cmyk) < 8).all()


@pytest.mark.parametrize("type_", [np.float32, np.int32])
def test_pixels_without_an_agreed_white_are_refused_by_file(type_: type, tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.ones((4, 4), type_)), "tif")
    with pytest.raises(ValueError, match=r"x\.tif cannot .*no agreed black and white"):
        opened(path)


def grey_with_a_clear_value() -> bytes:
    """A 16-bit PNG of 1 x 1 with a grey that stands for transparent; PIL writes none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        whole = name + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\1\2"))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"tRNS", b"\1\2") + pixels + chunk(b"IEND", b"")


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:200],
    "text": lambda data: b"<html>not found</html>",
    "empty": lambda data: b"",
    "16 bits with a clear grey": lambda data: grey_with_a_clear_value(),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_damaged_picture_is_named(what: str, ending: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(pixels), ending)
    path.write_bytes(BROKEN[what](path.read_bytes()))
    with pytest.raises(ValueError, match=rf"x\.{ending} cannot be read as a picture"):
        opened(path)


def test_grey_that_was_saved_in_colour_is_grey_again() -> None:
    grey = Image.fromarray(RAMP.astype(np.uint8))
    assert np.array_equal(np.asarray(in_mode(grey.convert("RGB"), "L")), np.asarray(grey))
    assert in_mode(Image.new("RGB", (2, 2), "red"), "L").mode == "RGB"


# ---- arrays --------------------------------------------------------------------------------------


def npz(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "a.NPZ.npz", **arrays)  # type: ignore[arg-type]
    return (folder / "a.NPZ.npz").rename(folder / "a.NPZ")


PIXELS = np.zeros((6, 4, 4, 3), np.uint8)
REFUSED = {
    "flat": (PIXELS.reshape(6, 48)[:, :36], r"\[6, 36\]; of 6 x 6 pixels: images.reshape"),
    "channels first": (
        np.zeros((6, 3, 5, 5), np.uint8),
        r"\[6, 3, 5, 5\]; .*transpose\(0, 2, 3, 1\)",
    ),
    "two channels": (np.zeros((6, 5, 5, 2), np.uint8), "leave the second channel out"),
    "floats": (PIXELS / 255, r"got float64 .*255 \* images"),
    "not finite": (np.full((6, 4, 4), np.nan), "got float64"),
    "negative": (PIXELS.astype(int) - 1, "got int64 .*astype"),
    "16 bits": (PIXELS.astype(np.uint16), r"got uint16 .*images >> 8"),
    "objects": (np.array([None] * 6), "got object"),
    "none": (PIXELS[:0], r"holds no pixels: uint8 \[0, 4, 4, 3\]"),
    "no width": (PIXELS[:, :, :0], "holds no pixels"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_images_of_another_shape_or_type_are_refused(what: str, tmp_path: Path) -> None:
    images, said = REFUSED[what]
    with pytest.raises(ValueError, match=r"`images` of .*a\.NPZ.*" + said):
        header_of(npz(tmp_path, images=images))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.arange(5), r"each of its 6, got int64 \[5\]"),
        (np.eye(6), r"float64 \[6, 6\]; one of several columns each"),
        (np.full(6, np.nan), r"float64 \[6\]; if they are whole"),
        (np.arange(6.0), "astype"),
        (np.array(list("abcdef"), object), "got object .*astype"),
    ],
)
def test_labels_of_another_shape_or_type_are_refused(
    labels: np.ndarray, said: str, tmp_path: Path
) -> None:
    path = npz(tmp_path, images=PIXELS, labels=labels)
    with pytest.raises(ValueError, match=r"`labels` of .*a\.NPZ.*" + said):
        labels_of(path, 6)


def test_a_column_of_labels_and_texts_are_labels(tmp_path: Path) -> None:
    for labels in (np.array([7, 3, 7, 3, 3, 3])[:, None], np.array(["7", "3", "7", "3", "3", "3"])):
        found = header_of(npz(tmp_path, images=PIXELS, labels=labels)).labels
        assert found is not None and found.classes == ("3", "7")
        assert found.y.tolist() == [1, 0, 1, 0, 0, 0] and found.counts.tolist() == [4, 2]


def test_an_array_with_opacity_is_on_white(tmp_path: Path) -> None:
    path = npz(tmp_path, images=np.stack([np.asarray(hidden_colour("RGBA"))] * 2))
    found = pictures_of(path)
    assert header_of(path).shape == found.shape == (2, 8, 8, 3) and (found[:, :, :4] == 255).all()


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 9, (4000, 9, 9)).astype(np.uint8)
    path = npz(tmp_path, images=images)
    raw = bytearray(path.read_bytes())
    raw[200_000:200_400] = bytes(400)
    path.write_bytes(bytes(raw))
    assert header_of(path).shape == (4000, 9, 9, 1)
    with pytest.raises(ValueError, match=r"`images` of .*a\.NPZ cannot be read"):
        pictures_of(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"a\.NPZ is no npz"):
        header_of(path)


@pytest.mark.parametrize(
    ("key", "shape", "said"),
    [
        ("images", (10**9, 4, 4), "of 16,000,000,000 bytes, and holds 96"),
        ("images", (3, 4, 4), "of 48 bytes, and holds 96"),
        ("images", (-6, -4, 4), "of 96 bytes, and holds 96"),
        ("labels", (6,), "of 6 bytes, and holds 3"),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_read(
    key: str, shape: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.npz"
    shapes = {"images": (6, 4, 4), "labels": (3,)} | {key: shape}
    with zipfile.ZipFile(path, "w") as archive:
        for name, length in (("images", 96), ("labels", 3)):
            header = {"descr": "|u1", "fortran_order": False, "shape": shapes[name]}
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, header)  # type: ignore[arg-type]
                member.write(bytes(length))
    with pytest.raises(ValueError, match=rf"`{key}` of .*x\.npz says that it is uint8 .*{said}"):
        header_of(path)
