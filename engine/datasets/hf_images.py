"""A column of pictures of a data set of Hugging Face's library `datasets`, as `images` gives a
folder: cut to central squares, grey where all are, a stratified share held out.

Needs the extra `hf`.  A folder that `save_to_disk` wrote, or a set of the library's cache, which is
opened offline: nothing is fetched, and no code of a data set is run.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from engine._cache import Kept
from engine.contents import Contents, Lack
from engine.datasets._finite import OwnSet, n_train, stratified_split
from engine.datasets._hf import Place, place_of
from engine.datasets._listing import split_of
from engine.datasets._pictures import GREY, upright
from engine.datasets._torchvision import kept, thumbnails
from engine.files import data_root, expanded
from engine.parts import Fraction, OnDisk, Params, PositiveInt
from engine.samples import Samples

if TYPE_CHECKING:
    from PIL import Image


class HfImages(OwnSet):
    """uint8 [n, size, size, 1 or 3]; labels 0.. in the order of the names, or values, of the label.

    path               a folder that Dataset.save_to_disk wrote, below the data root or absolute;
                       None: it is a cached set.
    cached             the name of a set in the library's cache, such as user/set; None: it is a
                       folder.
    config             the configuration of a cached set; None: the only one.
    split              which part of it: train, test, ...
    column             the column of pictures.
    label              the column of class labels (names, texts or whole numbers); None: there are
                       none.
    size               pixels along a side: the shorter side of a picture is reduced to it, the rest
                       cut off.
    held_out_fraction  share of the pictures of each class that no model is trained on.
    """

    TINY: ClassVar[Params] = {"path": "pictures", "size": 8}
    GIVES = "images"
    CLASSES: int | None = None  # known once the labels are read
    FINITE = True

    def __init__(
        self,
        *,
        path: OnDisk | None = None,
        cached: str | None = None,
        config: str | None = None,
        split: str = "train",
        column: str = "image",
        label: str | None = None,
        size: PositiveInt = 32,
        held_out_fraction: Fraction = 0.2,
        root: str | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__(path, held_out_fraction, root=root, balanced=balanced)
        if balanced and label is None:
            raise ValueError(
                "hf_images: balanced draws need classes; name the column of them: label"
            )
        self.cached, self.config, self.split = cached, config, split
        self.column, self.label, self.size = column, label, size
        folder = None if path is None else data_root(root) / expanded(path)
        self._place = place_of("hf_images", path, folder, cached, (config, split))

    def contents(self) -> Contents | Lack:
        """ValueError for a set that has no such columns."""
        if (absent := self._place.lack()) is not None:
            return absent
        content = self._place.content
        found = _Pictures(self._place, content, self.column, self.label)
        total, train = len(found.y), self.n_train(len(found.y))
        classes = found.classes
        counts = np.bincount(found.y) if classes else np.array([total])
        split = split_of(str(self._place), counts, classes, train, self.why(total))
        return replace(
            split,
            shape=(self.size, self.size, found.channels),
            balanced=self.balanced,
            fingerprint=f"{content}-{self.column}-{self.size}-{self.held_out_fraction!r}",
            content=content,
        )

    def read(self) -> tuple[Samples, Samples]:
        content = self.readable().content
        found = _Pictures(self._place, content, self.column, self.label)
        train, held_out = _read(found, self.size, self.held_out_fraction)
        self.CLASSES = len(found.classes)
        return train, held_out


@dataclass(frozen=True)
class _Pictures:
    """Two columns of a set whose files hold this."""

    place: Place
    content: str
    column: str
    label: str | None

    @cached_property
    def y(self) -> np.ndarray:
        """Places in `classes`, int64 [n]; 0 without labels."""
        rows = self.place.opened()
        if self.label is None:
            return np.zeros(len(rows), dtype=np.int64)
        y: np.ndarray = np.unique(self._labels, return_inverse=True)[1].astype(np.int64)
        return y

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of the labels; empty without."""
        if self.label is None:
            return ()
        names = getattr(self.place.column(self.label), "names", None)
        values = np.unique(self._labels).tolist()
        return tuple(names[value] if names else str(value) for value in values)

    @cached_property
    def _labels(self) -> np.ndarray:
        assert self.label is not None
        self.place.column(self.label)
        cells = self.place.opened()[self.label][:]
        for i, cell in enumerate(cells):
            if not isinstance(cell, int | str) or cell == -1:
                raise ValueError(
                    f"{self.place}, row {i + 1}: {self.label!r} is {cell!r:.60}, and no class; "
                    "labels are names or whole numbers from 0"
                )
        return np.array(cells)

    @property
    def channels(self) -> int:
        """1 where all pictures are grey, else 3: of their headers, read once per content."""
        cached = Kept(f"images/{self.content}-{self.column}.channels", "1: all are grey, else 3")
        if (known := cached.read()) is not None:
            return int(known)
        found = 1 if all(picture.mode in GREY for picture in self._opened()) else 3
        cached.write(str(found).encode())
        return found

    def decoded(self) -> Iterator[tuple[Image.Image, int]]:
        """Every picture, with its label; all of them grey, or all in colour."""
        mode = "L" if self.channels == 1 else "RGB"
        for i, (picture, label) in enumerate(zip(self._opened(), self.y.tolist(), strict=True)):
            try:
                whole = upright(picture)
            except (OSError, ValueError) as error:
                raise ValueError(self._unreadable(i, error)) from None
            yield whole if whole.mode == mode else whole.convert(mode), label

    def _opened(self) -> Iterator[Image.Image]:
        """Every picture, as its header says."""
        import datasets
        from PIL import Image

        if not isinstance(self.place.column(self.column), datasets.Image):
            raise ValueError(f"column {self.column} of {self.place} holds no pictures")
        rows = self.place.opened().select_columns(self.column)
        for i, row in enumerate(rows.cast_column(self.column, datasets.Image(decode=False))):
            cell = row[self.column] or {}
            try:
                raw = cell.get("bytes") or Path(cell.get("path") or "").read_bytes()
                yield Image.open(io.BytesIO(raw))
            except (OSError, ValueError) as error:
                raise ValueError(self._unreadable(i, error)) from None

    def _unreadable(self, i: int, error: Exception) -> str:
        return f"{self.place}, row {i + 1}: {self.column!r} cannot be read as a picture: {error}"


@lru_cache(maxsize=2)
def _read(found: _Pictures, size: int, held_out_fraction: float) -> tuple[Samples, Samples]:
    """Both parts."""
    name = f"{found.content}-hf-{found.column}-{found.label}-{size}"
    x, y = kept(name, lambda: thumbnails(found.decoded(), size))
    return stratified_split(x, y if found.classes else None, n_train(len(x), held_out_fraction))
