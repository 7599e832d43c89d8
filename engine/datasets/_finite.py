"""Finite sets of pictures and of rows of tables: a fixed training part to draw from, a fixed
held-out part, and their stratified split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.contents import Contents, Lack
from engine.files import data_root, expanded
from engine.parts import traits_of
from engine.samples import Samples, Traits, proportional_labels

if TYPE_CHECKING:
    from PIL import Image

SPLIT_SEED = 1202  # of every fixed split: the truth does not depend on a lineage's seed


class FiniteSet(ABC):
    """What the finite data sets share; a data set says how to read its two parts.

    balanced  draw equally many samples of each class (the first classes get one more where the
              number does not divide); false: at random, so that classes keep about the set's own
              shares.
    root      folder below which data sets lie; None: $OUROBOROS_DATA, else the cache folder. Where
              data lie changes no key.
    """

    KNOWS: tuple[str, ...] = ("all rows", "parts")

    def __init__(self, *, balanced: bool = False) -> None:
        self.balanced = balanced
        self._parts: tuple[Samples, Samples] | None = None

    @abstractmethod
    def contents(self) -> Contents | Lack:
        """What there is to draw from, without reading it; or why it cannot be read here."""

    @abstractmethod
    def read(self) -> tuple[Samples, Samples]:
        """The training part and the held-out part, in a fixed order."""

    def training_set(self) -> Samples:
        """All real training samples, in a fixed order; the same object every time."""
        return self._read_once()[0]

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        """n training samples without replacement."""
        return self.part(n, 0, rng)

    def part(self, n: int, t: int, rng: np.random.Generator) -> Samples:
        """The rows t n to (t + 1) n of a permutation of the training samples; where draws are
        balanced, of each class by itself.
        """
        everything, last = self.training_set(), (t + 1) * n
        if last > len(everything):
            which = f"n={n} real samples" + (f" of part {t}, up to row {last}," if t else "")
            raise ValueError(
                f"{which} were asked of {type(self).__name__}, which has {len(everything)} to "
                "train on"
            )
        if self.balanced and everything.y is not None:
            return everything.take(balanced_rows(everything.y, n, rng, t))
        return everything.take(rng.permutation(len(everything))[t * n : last])

    def held_out(self, n: int) -> Samples:
        """The first n held-out samples in a fixed shuffled order;
        all of them when there are fewer.
        """
        return self._read_once()[1].take(slice(0, n))

    def _read_once(self) -> tuple[Samples, Samples]:
        if self._parts is None:
            train, held_out = self.read()
            traits = traits_of(self)
            self._parts = _described(train, traits), _described(held_out, traits)
        return self._parts


class OwnSet(FiniteSet):
    """What sets of one's own files share: where they lie, and which share of them is held out.

    path               a file or folder below the data root, or absolute; ~ and $VARIABLES are
                       filled in.
    held_out_fraction  share of the rows of each class that no model is trained on, strictly between
                       0 and 1: what metrics compare with.
    """

    def __init__(
        self, path: str | None, held_out_fraction: float, *, root: str | None, balanced: bool
    ) -> None:
        super().__init__(balanced=balanced)
        if not 0 < held_out_fraction < 1:
            raise ValueError(
                f"held_out_fraction must lie strictly between 0 and 1, got {held_out_fraction}"
            )
        self.path, self.held_out_fraction, self.root = path, held_out_fraction, root

    @property
    def place(self) -> Path:
        """Where the files lie."""
        assert self.path is not None, "a set without files has no place"
        return data_root(self.root) / expanded(self.path)

    def n_train(self, total: int) -> int:
        """Rows to train on, of so many."""
        return n_train(total, self.held_out_fraction)

    def why(self, total: int) -> str:
        """Why so many are held out."""
        return f"held_out_fraction {self.held_out_fraction:g} of {total:,}"

    def readable(self) -> Contents:
        """What there is, where both parts can be had; FileNotFoundError and ValueError."""
        found = self.contents()
        if isinstance(found, Lack):
            raise FileNotFoundError(str(found))
        if problem := found.split_refusal():
            raise ValueError(problem)
        return found


def _described(part: Samples, traits: Traits) -> Samples:
    """The same part of a set with its traits: one object in a process, as what was read is one."""
    described: Samples = part.memo.setdefault(("traits", traits), part.of(traits))
    return described


def balanced_rows(y: np.ndarray, n: int, rng: np.random.Generator, t: int = 0) -> np.ndarray:
    """n rows, n / classes of each class (the first classes get one more when it does not divide),
    shuffled; of a later part t those that come after t times as many.
    """
    labels = np.unique(y)
    quota = proportional_labels(labels, n)
    picked = []
    for label in labels:
        rows, want = np.flatnonzero(y == label), int(np.sum(quota == label))
        if (t + 1) * want > len(rows):
            raise ValueError(
                f"balanced=True asks {(t + 1) * want} samples of class {label}, which has "
                f"{len(rows)}; lower n_real to "
                f"{len(labels) * (min(np.unique(y, return_counts=True)[1]) // (t + 1))} or less"
            )
        picked.append(rng.permutation(rows)[t * want : (t + 1) * want])
    return rng.permutation(np.concatenate(picked))


def n_train(total: int, held_out_fraction: float) -> int:
    """Rows to train on, of so many."""
    return total - round(held_out_fraction * total)


def split_rows(total: int, y: np.ndarray | None, n_train: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, of so many with labels y [total]: a fixed split with the
    whole set's class proportions in both parts, each in a fixed shuffled order.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    order = rng.permutation(total)
    if y is None:
        train, test = order[:n_train], order[n_train:]
    else:
        quota = proportional_labels(y, n_train)
        first = [order[y[order] == label][: int(np.sum(quota == label))] for label in np.unique(y)]
        chosen = np.isin(order, np.concatenate(first))
        train, test = order[chosen], order[~chosen]
    return rng.permutation(train), rng.permutation(test)


def stratified_split(x: np.ndarray, y: np.ndarray | None, n_train: int) -> tuple[Samples, Samples]:
    """The samples of both parts of `split_rows`."""
    train, test = split_rows(len(x), y, n_train)
    whole = Samples(x, y)
    return whole.take(train), whole.take(test)


def shuffled(part: Samples) -> Samples:
    """The same samples in a fixed shuffled order: a data set sorted by class gives all classes in
    its first n.
    """
    return part.take(np.random.default_rng(SPLIT_SEED).permutation(len(part)))


def thumbnail(picture: Image.Image, size: int) -> np.ndarray:
    """The shorter side reduced to `size`, cut to the central square: uint8 [size, size, 1] of a
    grey picture (mode L), else [size, size, 3].
    """
    from PIL import Image, ImageOps  # a plan reads no picture

    picture = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
    if picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture)
    return pixels[..., None] if picture.mode == "L" else pixels
