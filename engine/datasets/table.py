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
from engine.datasets._finite import FiniteSet, n_train, stratified_split
from engine.datasets._listing import split_of
from engine.datasets._table import Table as Columns
from engine.datasets._table import read_table
from engine.files import data_root
from engine.parts import Fraction, OnDisk
from engine.samples import Samples

WANTED = (
    "path is a .csv, .tsv or .parquet file; it lies below the data root (OUROBOROS_DATA, or the "
    "parameter root) or is absolute"
)


class Table(FiniteSet):
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
        super().__init__(balanced=balanced)
        if not 0 < held_out_fraction < 1:
            raise ValueError(
                f"held_out_fraction must lie strictly between 0 and 1, got {held_out_fraction}"
            )
        if balanced and label is None:
            raise ValueError("table: balanced draws need classes; name the column of them: label")
        self.path, self.root, self.held_out_fraction = path, root, held_out_fraction
        self.columns, self.label = columns, label

    @property
    def place(self) -> Path:
        """Where the file lies."""
        return data_root(self.root) / self.path

    def contents(self) -> Contents | Lack:
        """ValueError, with column and line, for a file that is no table of finite numbers."""
        if not self.place.is_file():
            return Lack(f"table {self.path}", str(self.place), WANTED)
        content, found = digests.of_file(self.place), self._columns()
        total, share = len(found.x), self.held_out_fraction
        counts = np.array([total]) if found.y is None else np.bincount(found.y)
        why = f"held_out_fraction {share:g} of {total:,}"
        split = split_of(self.place.name, counts, found.classes, n_train(total, share), why)
        own = f"{content}-{self.columns}-{self.label}-{share!r}"
        shape = (1, len(found.columns))
        known = replace(split, shape=shape, balanced=self.balanced, content=content)
        return replace(known, fingerprint=own)

    def read(self) -> tuple[Samples, Samples]:
        told = self.contents()
        if isinstance(told, Lack):
            raise FileNotFoundError(f"no table at {told.where}: {told.fix}")
        if problem := told.split_refusal():
            raise ValueError(problem)
        found = self._columns()
        self.CLASSES = len(found.classes)
        points = found.x[:, None, :]  # [n, 1 replicate, d]
        return stratified_split(points, found.y, n_train(len(points), self.held_out_fraction))

    def _columns(self) -> Columns:
        columns = None if self.columns is None else tuple(self.columns)
        return _read_once(self.place, digests.of_file(self.place), columns, self.label)


@lru_cache(maxsize=2)
def _read_once(
    path: Path, content: str, columns: tuple[str, ...] | None, label: str | None
) -> Columns:
    """The table of a file that holds this: plan and run read it once."""
    return read_table(path, columns, label)
