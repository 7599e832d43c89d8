"""Samples as files that any program reads and writes: npz, safetensors, JSON lines, folders of PNG.

An array is called `x` (one row per sample), class labels `y`.  The axis of replicates is left out
where there is but one: points are [n, d], tokens [n].  Pictures are uint8 [n, height, width,
channels], as PNG one folder per class (its label), or all in one folder without labels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.parts import Finding
from engine.samples import Samples

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("npz", "safetensors", "jsonl", "png")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # PIL's names of pictures with so many channels
MOST_NAMED = 5  # files in a message


class BadOutput(ValueError):
    """What a program left is not what it was asked for."""


@dataclass(frozen=True)
class Rows:
    """What rows of a kind of data look like to the program.

    kind   points, tokens or images.
    shape  of a row as the engine holds it: (replicates, d), (replicates,), (height, width,
           channels).
    """

    kind: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, data: Samples) -> Rows:
        return cls(data.declared.kind, tuple(data.x.shape[1:]))

    @property
    def shown(self) -> tuple[int, ...]:
        """The shape of a row in the files."""
        return self.shape[1:] if self.kind != "images" and self.shape[0] == 1 else self.shape


# ---- to the program ------------------------------------------------------------------------------


def write(data: Samples, stem: Path, form: str) -> Path:
    """Write samples; the file or folder, whose name is the stem and the ending of the format."""
    rows = Rows.of(data)
    arrays = {"x": np.ascontiguousarray(data.x.reshape(len(data), *rows.shown))}
    if data.y is not None:
        arrays["y"] = np.ascontiguousarray(data.y)
    place = named(stem, form)
    if form == "npz":
        np.savez(place, **arrays)  # type: ignore[arg-type]  # the stubs take a switch for an array
    elif form == "safetensors":
        from safetensors.numpy import save_file

        save_file(arrays, place)
    elif form == "jsonl":
        with place.open("w") as file:
            for row in _rows(arrays):
                file.write(json.dumps(row) + "\n")
    else:
        _write_pictures(data, place)
    return place


def named(stem: Path, form: str) -> Path:
    return stem if form == "png" else stem.with_name(f"{stem.name}.{form}")


def _rows(arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, object]]:
    for i in range(len(arrays["x"])):
        yield {name: array[i].tolist() for name, array in arrays.items()}


def _write_pictures(data: Samples, folder: Path) -> None:
    from PIL import Image

    y = data.y
    wide = len(str(int(y.max()))) if y is not None and len(y) else 0
    for i, pixels in enumerate(data.x):
        own = folder if y is None else folder / f"{int(y[i]):0{wide}d}"
        own.mkdir(parents=True, exist_ok=True)
        flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        Image.fromarray(flat).save(own / f"{i:07d}.png", compress_level=1)


# ---- from the program ----------------------------------------------------------------------------


def read(place: Path, form: str, rows: Rows, n: int, labels: np.ndarray | None) -> Samples:
    """What a program drew: n rows, with these labels where they were asked for.

    BadOutput says what was asked and what came; Finding when numbers are not finite.
    """
    if not place.exists() or (form == "png" and not any(place.iterdir())):
        raise BadOutput(f"the program ended well and wrote nothing to {{out}} ({place.name})")
    if form == "png":
        x, y = _pictures(place, rows, n, labels), None
    else:
        x, y = _arrays(place, form)
    x = _checked(x, form, rows, n)
    if labels is not None and y is not None and not np.array_equal(y, labels):
        raise BadOutput("its `y` is not what {labels} asked for, row by row; leave `y` out")
    return Samples(x, None if labels is None else labels.astype(np.int64))


def _arrays(place: Path, form: str) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        if form == "npz":
            with np.load(place, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
        elif form == "safetensors":
            from safetensors.numpy import load_file

            found = load_file(place)
        else:
            found = _lines(place)
    except BadOutput:
        raise
    except Exception as error:  # each library has its own for a file that is cut off
        what = f"{type(error).__name__}: {error}"
        raise BadOutput(f"{place.name} cannot be read, it may be half-written ({what})") from None
    if "x" not in found:
        raise BadOutput(f"{place.name} holds {', '.join(found) or 'nothing'}; it needs `x`")
    return found["x"], found.get("y")


def _lines(place: Path) -> dict[str, np.ndarray]:
    xs, ys = [], []
    for i, line in enumerate(place.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            xs.append(np.asarray(row["x"]))
            ys += [row["y"]] if "y" in row else []
        except (ValueError, KeyError, TypeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise BadOutput(f"{place.name}, line {i} is not {{'x': [...]}} ({what})") from None
        if xs[-1].shape != xs[0].shape:
            came = f"{list(xs[-1].shape)}, and the first {list(xs[0].shape)}"
            raise BadOutput(f"{place.name}, line {i}: its `x` has the shape {came}")
    found = {"x": np.array(xs)}
    return {**found, "y": np.array(ys)} if ys else found


def _checked(x: np.ndarray, form: str, rows: Rows, n: int) -> np.ndarray:
    """The array as the engine holds it; BadOutput for another shape or type."""
    wanted = (n, *rows.shown)
    if x.shape != wanted:
        raise BadOutput(f"asked for `x` of the shape {list(wanted)}, got {list(x.shape)}")
    x = x.reshape(n, *rows.shape)
    whole = np.issubdtype(x.dtype, np.integer)
    if rows.kind == "images":
        if x.dtype == np.uint8:
            return x
        if form != "jsonl" or not whole or (x.size and (x.min() < 0 or x.max() > 255)):
            raise BadOutput(f"asked for pictures as uint8 (0..255), got {x.dtype}")
        return x.astype(np.uint8)
    if rows.kind == "tokens":
        if not whole or (x.size and x.min() < 0):
            raise BadOutput(f"asked for tokens, whole numbers from 0, got {x.dtype}")
        return x.astype(np.int64)
    if not np.issubdtype(x.dtype, np.floating) and not (form == "jsonl" and whole):
        raise BadOutput(f"asked for points as floating-point numbers, got {x.dtype}")
    x = x.astype(np.float32 if x.dtype == np.float32 else np.float64)
    bad = int((~np.isfinite(x)).sum())
    if bad:
        raise Finding("diverged", f"{bad:,} of {x.size:,} values that it drew are not finite")
    return x


# ---- pictures ------------------------------------------------------------------------------------


def _pictures(folder: Path, rows: Rows, n: int, labels: np.ndarray | None) -> np.ndarray:
    files = sorted((p for p in folder.rglob("*") if p.suffix.lower() == ".png"), key=_natural)
    if len(files) != n:
        raise BadOutput(f"asked for {n} pictures, got {len(files)} files *.png")
    if labels is not None and any(file.parent != folder for file in files):
        files = _in_order(folder, files, labels)
    return np.stack([_pixels(file, rows.shape) for file in files])


def _natural(file: Path) -> list[tuple[int, str]]:
    """Numbers in names stand in their order: 2.png before 10.png."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", str(file)) if p]


def _in_order(folder: Path, files: list[Path], labels: np.ndarray) -> list[Path]:
    """Pictures in one folder per class, in the order in which their labels were asked for."""
    by_class: dict[int, list[Path]] = {}
    for file in files:
        name = file.relative_to(folder).parts[0]
        if not name.isdecimal():
            raise BadOutput(f"folders in {{out}} are named by their label (0, 1, ...), not {name}")
        by_class.setdefault(int(name), []).append(file)
    asked = {
        int(label): int(count)
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True)
    }
    came = {label: len(found) for label, found in sorted(by_class.items())}
    if asked != came:
        raise BadOutput(f"asked for {asked} pictures by label, got {came}")
    return [by_class[int(label)].pop(0) for label in labels]


def _pixels(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            picture.load()
            return _of_channels(picture, shape, file.name)
    except (OSError, SyntaxError) as error:  # PIL's ways to say that a PNG is broken
        raise BadOutput(f"the picture {file.name} cannot be read: {error}") from None


def _of_channels(picture: Image.Image, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Its pixels [height, width, channels]; grey ones that were saved in colour are grey again."""
    pixels = np.asarray(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if shape[-1] == 1 and picture.mode == "RGB" and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    if picture.mode not in MODES.values() or pixels.shape != shape:
        came = f"{picture.mode} {list(pixels.shape)}"
        asked = f"{MODES.get(shape[-1], '?')} {list(shape)}"
        raise BadOutput(f"asked for pictures {asked}, got {came} ({name})")
    return pixels
