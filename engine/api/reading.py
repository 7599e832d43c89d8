"""Generations from files: folders of pictures, npz, CSV and Parquet, read as the real data are,
with their classes by the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.datasets._finite import thumbnail
from engine.datasets._listing import list_folder, npz_keys
from engine.samples import Samples, Traits

TABLES = (".csv", ".tsv", ".parquet")
ARRAYS = {"images": "images", "points": "points"}  # what of an npz holds which kind of data


@dataclass(frozen=True)
class Like:
    """What the real data are, and a generation therefore must be.

    classes  names of the labels 0, 1, ...; (): there are none.
    cut      whether pictures of another size are cut to that of the real ones.
    columns, label  of tables, see the data set `table`.
    """

    traits: Traits
    shape: tuple[int, ...]  # of one sample
    classes: tuple[str, ...] = ()
    cut: bool = False
    columns: Sequence[str] | None = None
    label: str | None = None

    def read(self, path: Path) -> Samples:
        """The samples of one generation, those with labels in an order that mixes the classes.

        ValueError, with the path, for what cannot be compared with the real data.
        """
        if not path.exists():
            raise ValueError(f"{path} is not there")
        x, names = self._arrays(path)
        if x.shape[1:] != self.shape:
            raise ValueError(
                f"{path} holds samples of shape {list(x.shape[1:])}, the real ones have "
                f"{list(self.shape)}"
            )
        y = self._labels(path, names)
        samples = Samples(x, y).of(self.traits)
        return samples if y is None else samples.take(mixed(y))

    def _arrays(self, path: Path) -> tuple[np.ndarray, Sequence[str] | None]:
        """Samples [n, ...] and the names of their classes [n], or None."""
        if path.suffix.lower() == ".npz":
            return self._npz(path)
        if self.traits.kind == "images":
            return self._pictures(path)
        if path.suffix.lower() in TABLES:
            return self._table(path)
        raise ValueError(f"{path} cannot be read as {self.traits.kind}; {self._wanted()}")

    def _wanted(self) -> str:
        if self.traits.kind == "images":
            return "give a folder of pictures or an npz of `images`"
        return f"give one of {', '.join(TABLES)}, or an npz of `points`"

    def _labels(self, path: Path, names: Sequence[str] | None) -> np.ndarray | None:
        """Places in the classes of the real data [n]; None where one of both has none."""
        if names is None or not self.classes:
            return None
        place = {name: i for i, name in enumerate(self.classes)}
        strange = sorted({name for name in names if name not in place})
        if strange:
            raise ValueError(
                f"{path} has classes that the real data lack: {', '.join(strange[:5])}; there are: "
                f"{', '.join(self.classes[:20])}"
            )
        return np.array([place[name] for name in names], dtype=np.int64)

    # ---- pictures and arrays ----

    def _pictures(self, path: Path) -> tuple[np.ndarray, Sequence[str] | None]:
        if not path.is_dir():
            raise ValueError(f"{path} is no folder; {self._wanted()}")
        from PIL import Image

        listing, found = list_folder(path), []
        for file, _ in listing.pictures:
            with Image.open(file) as picture:
                found.append(self._cut(np.asarray(picture.convert("RGB")), file))
        names = (
            [listing.classes[label] for _, label in listing.pictures] if listing.classes else None
        )
        return np.stack(found), names

    def _cut(self, pixels: np.ndarray, where: Path) -> np.ndarray:
        """One picture in the size of the real ones; ValueError where it has another."""
        size = self.shape[0]
        if pixels.shape[:2] != (size, size) and not self.cut:
            raise ValueError(
                f"{where} has {pixels.shape[1]} x {pixels.shape[0]} pixels, the real pictures are "
                f"compared at {size} x {size}; give size={size} to cut all of them to it"
            )
        from PIL import Image

        return thumbnail(Image.fromarray(pixels), size)

    def _npz(self, path: Path) -> tuple[np.ndarray, Sequence[str] | None]:
        key = ARRAYS.get(self.traits.kind, "points")
        keys = npz_keys(path)
        if key not in keys:
            raise ValueError(f"{path} holds {', '.join(keys)}; it needs `{key}`")
        with np.load(path, allow_pickle=False) as file:
            x, labels = file[key], file.get("labels")
        if labels is not None and len(labels) != len(x):
            raise ValueError(f"{path} holds {len(x):,} {key} and {len(labels):,} labels")
        names = None if labels is None else [str(label) for label in labels.tolist()]
        return (self._stack(path, x) if key == "images" else self._points(path, x)), names

    def _stack(self, path: Path, images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ValueError(
                f"`images` of {path} must be uint8 [n, h, w] or [n, h, w, c], got {images.dtype} "
                f"{list(images.shape)}"
            )
        x = np.stack([self._cut(image.squeeze(), path) for image in images])
        return x[..., None] if x.ndim == 3 else x

    def _points(self, path: Path, x: np.ndarray) -> np.ndarray:
        if x.ndim not in (2, 3) or x.dtype.kind not in "fiu":
            raise ValueError(
                f"`points` of {path} must be numbers [n, d] or [n, replicates, d], got {x.dtype} "
                f"{list(x.shape)}"
            )
        x = x[:, None, :] if x.ndim == 2 else x
        return x.astype(np.float64)

    # ---- tables ----

    def _table(self, path: Path) -> tuple[np.ndarray, Sequence[str] | None]:
        from engine.datasets._table import read_table

        label = self.label if self.label in column_names(path) else None
        found = read_table(path, self.columns, label)
        names = None if found.y is None else [found.classes[i] for i in found.y]
        return found.x[:, None, :], names


def column_names(path: Path) -> list[str]:
    """The columns of a table, from its header."""
    import pandas as pd

    if path.suffix.lower() == ".parquet":
        from pyarrow import parquet

        return list(parquet.read_schema(path).names)
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    return [str(name).strip() for name in pd.read_csv(path, sep=separator, nrows=0).columns]


def mixed(y: np.ndarray) -> np.ndarray:
    """An order [n] in which the classes of y [n] are spread evenly, each in its own order; the
    order in which a generator is asked for labels (samples.proportional_labels) stays as it is.
    """
    place = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.lexsort((y, place))
