"""Generations from files: folders of pictures, npz, CSV and Parquet, read as the real data are,
with their classes by the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.datasets._arrays import (
    array_of,
    header_of,
    is_npz,
    keys_of,
    labels_of,
    pictures_of,
)
from engine.datasets._finite import thumbnail
from engine.datasets._listing import list_folder
from engine.datasets._pictures import in_mode, opened
from engine.samples import Samples, Traits

if TYPE_CHECKING:
    from PIL import Image

TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Like:
    """What the real data are, and a generation therefore must be.

    classes  names of the labels 0, 1, ...; (): there are none.
    cut      whether pictures of another size are cut to that of the real ones.
    columns, label  of tables, see the data set `table`.
    coordinates  names of the columns of x, which a table of a generation may have in another order;
                 (): the real data are no table.
    """

    traits: Traits
    shape: tuple[int, ...]  # of one sample
    classes: tuple[str, ...] = ()
    cut: bool = False
    columns: Sequence[str] | None = None
    label: str | None = None
    coordinates: tuple[str, ...] = ()

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
        if is_npz(path):
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
        listing = list_folder(path, empty=True)  # a class that vanished is a result
        files = [file for file, _ in listing.pictures]
        if not files:
            raise ValueError(f"{path} holds no pictures")
        mode = "L" if self.shape[-1] == 1 else "RGB"
        found = [self._cut(in_mode(opened(file), mode), file) for file in files]
        strange = [file for file, x in zip(files, found, strict=True) if x.shape != self.shape]
        if strange:
            raise ValueError(f"{strange[0]} is in colour, the real pictures are grey")
        names = [listing.classes[label] for label in listing.y] if listing.classes else None
        return np.stack(found), names

    def _cut(self, picture: Image.Image, where: Path) -> np.ndarray:
        """One picture in the size of the real ones; ValueError where it has another."""
        size = self.shape[0]
        if picture.size != (size, size) and not self.cut:
            raise ValueError(
                f"{where} has {picture.width} x {picture.height} pixels, the real pictures are "
                f"compared at {size} x {size}; give size={size} to cut all of them to it"
            )
        return thumbnail(picture, size)

    def _npz(self, path: Path) -> tuple[np.ndarray, Sequence[str] | None]:
        if self.traits.kind == "images":
            labels, x = header_of(path).labels, self._stack(path)
        else:
            x = self._points(path)
            labels = labels_of(path, len(x)) if "labels" in keys_of(path) else None
        return x, None if labels is None else [labels.classes[i] for i in labels.y]

    def _stack(self, path: Path) -> np.ndarray:
        from PIL import Image

        images = pictures_of(path)
        flat = images[..., 0] if images.shape[3] == 1 else images
        return np.stack([self._cut(Image.fromarray(image), path) for image in flat])

    def _points(self, path: Path) -> np.ndarray:
        x = array_of(path, "points")
        if x.ndim not in (2, 3) or x.dtype.kind not in "fiu" or not x.size:
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
        return self._in_order(path, found.columns, found.x)[:, None, :], names

    def _in_order(self, path: Path, columns: Sequence[str], x: np.ndarray) -> np.ndarray:
        """The coordinates [n, d] as the real data order them; ValueError where they are others."""
        if not self.coordinates:
            return x
        if set(columns) != set(self.coordinates):
            raise ValueError(
                f"{path} has the coordinates {', '.join(columns)}, the real data have "
                f"{', '.join(self.coordinates)}; rename its columns, or choose `columns` that both "
                "have"
            )
        return x[:, [columns.index(name) for name in self.coordinates]]


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
