"""Your own table: numeric columns of a CSV or Parquet file are points, a column of labels their
classes.

A CSV begins with a line of column names; cells are separated by commas (.csv) or tabs (.tsv).  The
whole file is checked when an experiment is planned, and a fixed stratified share is held out.
Coordinates are taken as they are: where columns have different units, bring them to one scale
first, for distances add them up.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine import _digests as digests
from engine.contents import Contents, Lack
from engine.datasets._finite import OwnSet, stratified_split
from engine.datasets._listing import split_of
from engine.datasets._table import Table as Columns
from engine.datasets._table import read_table
from engine.parts import Fraction, OnDisk
from engine.samples import Samples

WANTED = (
    "path is a .csv, .tsv or .parquet file; it lies below the data root (OUROBOROS_DATA, or the "
    "parameter root) or is absolute"
)


class Table(OwnSet):
    """Points float64 [n, 1, d]; labels 0.. in the order of the names of the classes.

    path               the file: .csv, .tsv or .parquet, below the data root or absolute.
    columns            the coordinates, in this order; None: every column but the label.
    label              the column of class labels (texts or whole numbers); None: there are none.
    held_out_fraction  share of the rows that no model is trained on, of each class.
    root               the data root; None: $OUROBOROS_DATA, or the cache folder.
    balanced           draw equally many rows of each class.
    """

    GIVES = "points"
    CLASSES: int | None = None  # known once the file is read
    REPLICATES = 1
    FINITE = True
    TINY = {"path": "iris.csv", "label": "species", "root": "experiments"}

    def __init__(
        self,
        *,
        path: OnDisk,
        columns: list[str] | None = None,
        label: str | None = None,
        held_out_fraction: Fraction = 0.2,
        root: str | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__(path, held_out_fraction, root=root, balanced=balanced)
        if balanced and label is None:
            raise ValueError("table: balanced draws need classes; name the column of them: label")
        self.columns, self.label = columns, label

    def contents(self) -> Contents | Lack:
        """ValueError, with column and line, for a file that is no table of finite numbers."""
        place = self.place
        try:
            if not place.exists():
                return Lack(f"table {self.path}", str(place), WANTED)
            if not place.is_file():
                raise ValueError(f"{place} is no file; {WANTED}")
            content, found = digests.of_file(place), self._columns()
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            raise ValueError(f"{place} cannot be read: {said}") from None
        total = len(found.x)
        counts = np.array([total]) if found.y is None else np.bincount(found.y)
        train, why = self.n_train(total), self.why(total)
        split = split_of(place.name, counts, found.classes, train, why)
        own = f"{content}-{self.columns}-{self.label}-{self.held_out_fraction!r}"
        shape = (1, len(found.columns))
        known = replace(split, shape=shape, balanced=self.balanced, content=content)
        return replace(known, fingerprint=own)

    def read(self) -> tuple[Samples, Samples]:
        self.readable()
        found = self._columns()
        self.CLASSES = len(found.classes)
        points = found.x[:, None, :]  # [n, 1 replicate, d]
        return stratified_split(points, found.y, self.n_train(len(points)))

    @property
    def coordinates(self) -> tuple[str, ...]:
        """The columns that are coordinates, in the order of x."""
        return self._columns().columns

    def _columns(self) -> Columns:
        columns = None if self.columns is None else tuple(self.columns)
        return _read_once(self.place, digests.of_file(self.place), columns, self.label)


@lru_cache(maxsize=2)
def _read_once(
    path: Path, content: str, columns: tuple[str, ...] | None, label: str | None
) -> Columns:
    """The table of a file that holds this: plan and run read it once."""
    return read_table(path, columns, label)
