"""Samples as files that any program reads and writes: npz, safetensors, JSON lines, folders of PNG.

An array is called `x` (one row per sample), class labels `y`.  The axis of replicates is left out
where there is but one: points are [n, d], tokens [n].  Pictures are uint8 [n, height, width,
channels], as PNG one folder per class (its label), or all in one folder without labels.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine._digests import visible_files
from engine.datasets._pictures import in_mode, opened, whole
from engine.files import KINDS
from engine.parts import Finding
from engine.samples import Samples

FORMATS = ("npz", "safetensors", "jsonl", "png")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # PIL's names of pictures with so many channels
MOST_NAMED = 5  # files or labels in a message


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
    _look(place, form)
    if form == "png":
        x, y = _pictures(place, rows, n, labels), None
    else:
        x, y = _arrays(place, form)
    x = _checked(x, form, rows, n)
    if labels is not None and y is not None:
        _compare(y, labels)
    return Samples(x, None if labels is None else labels.astype(np.int64))


def _look(place: Path, form: str) -> None:
    """BadOutput unless there is a file, or a folder that is not empty."""
    empty = form == "png" and place.is_dir() and not any(place.iterdir())
    if empty or not place.exists():
        raise BadOutput(f"the program ended well and wrote nothing to {{out}} ({place.name})")
    wanted = stat.S_IFDIR if form == "png" else stat.S_IFREG
    kind = stat.S_IFMT(place.stat().st_mode)
    if kind != wanted:
        raise BadOutput(f"{{out}} ({place.name}) is {KINDS[kind]}, not {KINDS[wanted]}")


def _compare(y: np.ndarray, labels: np.ndarray) -> None:
    """BadOutput, with the first row that differs, unless they are what was asked for."""
    mend = "; write the rows in the order of {labels}, or leave `y` out"
    if y.shape != labels.shape:
        came = f"asked for `y` of the shape {list(labels.shape)}, got {list(y.shape)}"
        raise BadOutput(came + mend)
    other = np.flatnonzero(np.asarray(y != labels))
    if other.size:
        i = other[0]
        came = f"its `y` is {y[i]!s:.40} in row {i + 1}, where {{labels}} asked for {labels[i]}"
        raise BadOutput(came + mend)


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
    for i, line in enumerate(place.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
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
        if len(ys) not in (0, len(xs)):
            raise BadOutput(f"{place.name}, line {i}: either all lines have a `y`, or none")
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
    found = list(visible_files(folder))
    files = sorted((folder / p for p in found if p.lower().endswith(".png")), key=_natural)
    others = sorted(p for p in found if not p.lower().endswith(".png"))
    if len(files) != n:
        beside = f" (and {_first(others)})" if others else ""
        raise BadOutput(f"asked for {n} pictures, got {len(files)} files *.png{beside}")
    if labels is not None and others:
        raise BadOutput(
            f"{_first(others)} in {{out}} is not read; labels are told by the order of the names "
            "of the pictures, that of {labels}, or by a folder per label"
        )
    if labels is not None and any(file.parent != folder for file in files):
        files = _in_order(folder, files, labels)
    return np.stack([_pixels(file, rows.shape) for file in files])


def _first(names: Sequence[str]) -> str:
    """The first of these names."""
    more = f", ... {len(names)} in all" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


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
        strange = {label for label in {*asked, *came} if asked.get(label) != came.get(label)}
        wanted, got = _counts(asked, strange), _counts(came, strange)
        raise BadOutput(f"asked for {wanted} pictures by label, got {got}")
    return [by_class[int(label)].pop(0) for label in labels]


def _counts(by_label: Mapping[int, int], shown: Container[int]) -> str:
    """How many there are of some labels."""
    own = [f"{label}: {count}" for label, count in by_label.items() if label in shown]
    return "{" + _first(own) + "}"


def _pixels(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Its pixels [height, width, channels], as viewers show them; with opacity where asked for."""
    mode = MODES.get(shape[-1], "?")
    try:
        picture = in_mode(opened(file), mode) if mode in ("L", "RGB") else whole(file)
    except ValueError as error:
        raise BadOutput(f"the picture {error}") from None
    pixels = np.asarray(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if picture.mode not in MODES.values() or pixels.shape != shape:
        came = f"{picture.mode} {list(pixels.shape)}"
        asked = f"{mode} {list(shape)}"
        raise BadOutput(f"asked for pictures {asked}, got {came} ({file.name})")
    return pixels
